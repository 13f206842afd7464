"""Endpoints that misbehave while the servers die, and what must hold of them (docs/adr/0009)."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.chaos import Api, Fleet, NotNowError, Person, Record, View, number_of
from tests.support.webhook_sink import Behaviour, Manner, Post, WebhookSink

ANSWER_SECONDS_MAX = 2.0
LEASE_SECONDS = 6.0
ALWAYS_CHANGED = "ContactCard"  # of each account, in the end
_PAUSE_SECONDS = (0.5, 8.0)  # also longer than a lease
_BETWEEN_MOODS_SECONDS = 0.15
_BETWEEN_SUBSCRIPTIONS_SECONDS = (0.2, 1.0)
_MOODS = (
    *[Behaviour()] * 8,
    Behaviour(status=204),
    Behaviour(status=500),
    Behaviour(status=503, headers={"Retry-After": "1"}),
    Behaviour(status=429, headers={"Retry-After": "1"}),
    Behaviour(status=413),
    Behaviour(status=401),
    Behaviour(status=302, headers={"Location": "/"}),
    Behaviour(delay_seconds=0.7),
    Behaviour(manner=Manner.BLACK_HOLE),
    Behaviour(manner=Manner.DRIP_HEAD),
    Behaviour(manner=Manner.DRIP),
    Behaviour(manner=Manner.RESET),
    Behaviour(manner=Manner.CLOSE),
    Behaviour(manner=Manner.GARBAGE),
)


@dataclass
class Endpoint:
    """One URL, and the one subscription that it was given for."""

    path: str
    person: Person
    sink: WebhookSink
    known_first: View  # of the accounts that it sees, where nothing changed since
    subscription_id: str = ""  # none where the answer was lost

    @property
    def changes(self) -> list[tuple[Post, dict[str, dict[str, str]]]]:
        found = []
        for post in self.sink.posts_to(self.path):
            message = json.loads(post.content)
            if message["@type"] == "StateChange":
                found.append((post, message["changed"]))
        return found

    @property
    def verifications(self) -> int:
        return len(self.sink.posts_to(self.path)) - len(self.changes)

    @property
    def view(self) -> View:
        known = dict(self.known_first)
        for _, changed in self.changes:
            known |= _states(changed)
        return known


def _states(changed: Mapping[str, Mapping[str, str]]) -> View:
    return {
        (account_id, type_name): number_of(state)
        for account_id, states in changed.items()
        for type_name, state in states.items()
    }


class WebhookFleet(Fleet):
    """Workers are also stopped for a while, as by a debugger or a machine that swaps."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.strikes: list[tuple[str, float, float]] = []  # what, from, to

    async def strike(self, name: str, dice: random.Random) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if name.startswith("webhooks") and dice.random() < 0.5:
            self._record.counts["stops of a worker"] += 1
            process = self._running[name]
            process.pause()
            try:
                await asyncio.sleep(dice.uniform(*_PAUSE_SECONDS))
            finally:
                process.resume()
            self.strikes.append((f"stop of {name}", begun, loop.time()))
        else:
            await super().strike(name, dice)
            self.strikes.append((f"kill of {name}", begun, loop.time()))

    def struck(self, kinds: Collection[str], since: float, until: float) -> list[str]:
        """Strikes of these kinds that overlap with that time."""
        return [
            f"{what} {begun:.2f} to {ended:.2f}"
            for what, begun, ended in self.strikes
            if begun <= until and ended >= since and what.startswith(tuple(kinds))
        ]


class Moods:
    """Changes how endpoints behave, until the chaos is over."""

    def __init__(self, endpoints: Sequence[Endpoint], record: Record, dice: random.Random) -> None:
        self.gone: set[str] = set()  # paths that answer 410 from some time on
        self._endpoints = endpoints
        self._record = record
        self._dice = dice

    async def run(self, gone_max: int) -> None:
        while not self._record.is_calm:
            await asyncio.sleep(_BETWEEN_MOODS_SECONDS)
            endpoint = self._dice.choice(self._endpoints)
            if endpoint.path in self.gone:
                continue
            if len(self.gone) < gone_max and self._dice.random() < 0.02:
                self.gone.add(endpoint.path)
                self._record.counts["gone"] += 1
                endpoint.sink.behave(endpoint.path, Behaviour(status=410))
                continue
            endpoint.sink.behave(endpoint.path, self._dice.choice(_MOODS))
            self._record.counts["moods"] += 1

    def calm(self, endpoints: Sequence[Endpoint]) -> None:
        """From now on they answer well, but for those that are gone."""
        for endpoint in endpoints:
            if endpoint.path not in self.gone:
                endpoint.sink.behave(endpoint.path)


class Subscriber:
    """Makes subscriptions, each for a path of its own: an answer that was lost is not asked for."""

    def __init__(
        self,
        people: Sequence[Person],
        sinks: Sequence[WebhookSink],
        api: Api,
        record: Record,
        dice: random.Random,
    ) -> None:
        self.endpoints: list[Endpoint] = []
        self._people = people
        self._sinks = sinks
        self._api = api
        self._record = record
        self._dice = dice

    async def run(self) -> None:
        """Until cancelled, which must be before the last writes."""
        while True:
            await asyncio.sleep(self._dice.uniform(*_BETWEEN_SUBSCRIPTIONS_SECONDS))
            number = len(self.endpoints)
            person, sink = self._dice.choice(self._people), self._dice.choice(self._sinks)
            self.endpoints.append(Endpoint(f"/late{number}", person, sink, {}))
            if number % 3 == 0:
                sink.behave(self.endpoints[-1].path, self._dice.choice(_MOODS))
            try:
                await self.subscribe(self.endpoints[-1])
            except NotNowError:
                self._record.counts["subscriptions not answered"] += 1

    async def subscribe(self, endpoint: Endpoint) -> None:
        """Raises NotNowError."""
        given: dict[str, Any] = {"deviceClientId": "chaos", "url": endpoint.sink.url(endpoint.path)}
        if self._dice.random() < 0.5:
            given["keys"] = endpoint.sink.subscribe(endpoint.path).keys
        call = ["PushSubscription/set", {"create": {"k": given}}, "0"]
        [[_, answer, _]] = await self._api.request(endpoint.person.token, [call])
        if not answer.get("created"):
            raise NotNowError(str(answer))
        endpoint.subscription_id = answer["created"]["k"]["id"]
        self._record.counts["subscriptions"] += 1


def wrong_views(endpoints: Sequence[Endpoint], truth: View) -> list[str]:
    """Endpoints that do not know the newest state of each account they see."""
    found = []
    for endpoint in endpoints:
        view = endpoint.view
        wrong = {
            key: f"s{view.get(key)} instead of s{state}"
            for key, state in truth.items()
            if key[0] in endpoint.person.visible
            and (key in view or key[1] == ALWAYS_CHANGED)
            and view.get(key) != state
        }
        if wrong:
            found.append(f"{endpoint.path} ({endpoint.subscription_id}): {wrong}")
    return found


def violations(endpoints: Sequence[Endpoint], fleet: WebhookFleet, gone: set[str]) -> list[str]:
    """What no endpoint may ever see, whatever died."""
    found = []
    for endpoint in endpoints:
        if endpoint.verifications > 1:
            found.append(f"{endpoint.path}: {endpoint.verifications} PushVerifications")
        found += _steps_back(endpoint, fleet)
        if endpoint.path in gone:
            found += _after_the_end(endpoint, fleet)
    for sink in {id(endpoint.sink): endpoint.sink for endpoint in endpoints}.values():
        for overlap in sink.overlaps:
            # A worker that is stopped cannot end the request that it had begun.
            if not fleet.struck(["stop"], overlap.first_at, overlap.second_at):
                found.append(f"two at once: {overlap}")
    return found


def _steps_back(endpoint: Endpoint, fleet: WebhookFleet) -> list[str]:
    found = []
    known = Counter[tuple[str, str]]()
    told_at: dict[tuple[str, str], float] = {}
    for post, changed in endpoint.changes:
        for key, state in _states(changed).items():
            if state < known[key]:
                near = fleet.struck(["stop", "kill"], told_at[key] - 10, post.at)
                found.append(
                    f"{endpoint.path}: {key} went from s{known[key]} at {told_at[key]:.2f} back to"
                    f" s{state} at {post.at:.2f}; {near}"
                )
            known[key] = max(known[key], state)
            told_at[key] = post.at
    return found


def _after_the_end(endpoint: Endpoint, fleet: WebhookFleet) -> list[str]:
    """Who was told 410 and died before that was written is not the only one who may be told it."""
    ends = [
        post.at
        for post, status in endpoint.sink.answered
        if post.path == endpoint.path and status == 410
    ]
    found = []
    for first, later in itertools.pairwise(ends):
        if not fleet.struck(["stop", "kill of webhooks", "kill of postgres"], first - 1, later):
            found.append(f"{endpoint.path}: told 410 at {first:.2f}, asked again at {later:.2f}")
    return found
