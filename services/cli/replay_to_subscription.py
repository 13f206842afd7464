"""Events sent again to one push subscription, by the deliverer's own sender and rules.

Each POST says that it is a replay (`Tidings-Replay: 1`). The lane's cursor is never moved, and the
endpoint's 404 ends nothing: a replay changes only the list of its own attempts.
"""

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from services.cli.embedded.data_directory import DataDirectory
from services.cli.settings import WEBHOOK_PREFIX, ServerSettings, settings_of, with_servers_in_use
from services.console.replay_routes import OpenTarget
from services.webhooks.answers import Answer, Outcome
from services.webhooks.app import open_client
from services.webhooks.sender import OpenedRecipient, Outgoing, Sender
from services.webhooks.settings import WebhookSettings
from services.webhooks.signing_keys import SigningKeys
from shared.jmap.state_change import encode_state_change, parts_of
from shared.operate.event_lines import EventLine
from shared.operate.replaying import ReplayRefusedError, ReplayStoppedError
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.runtime.settings import PREFIX
from shared.store.lane_admin import UnknownSubscriptionError
from shared.store.lanes import write_attempts
from shared.store.replays import (
    ReplayRecipient,
    next_replay_number,
    place_of_replay,
    read_replay_recipient,
)
from shared.web_push.endpoint import read_endpoint
from shared.web_push.sealing import UnsealError
from shared.web_push.settings import WebhookPolicySettings
from shared.web_push.vapid import VapidSigner

LOOPBACK = "localhost,127.0.0.0/8,::1/128"
_ALLOW = f"{WEBHOOK_PREFIX}ALLOW"


class SentLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event."""

    cursor: str
    sequence: int
    account: str
    outcome: str
    status: int | None
    milliseconds: int


class SubscriptionTarget:
    """Made by `open_subscription_target`. Permissions are looked up for each event."""

    def __init__(  # noqa: PLR0913 - what it stands on
        self,
        pool: asyncpg.Pool,
        subscription_id: str,
        sender: Sender,
        clock: Clock,
        *,
        octets_max: int,
        is_dry: bool,
        tell: Callable[[SentLine], None],
    ) -> None:
        self._pool = pool
        self._id = subscription_id
        self._sender = sender
        self._clock = clock
        self._octets_max = octets_max
        self._is_dry = is_dry
        self._tell = tell
        self._number: int | None = None

    async def send(self, line: EventLine) -> str | None:
        """Raises ReplayStoppedError: it may be sent nothing any more, or did not take it."""
        now = await read_replay_recipient(self._pool, self._id)
        why_not = "it is no more" if now is None else now.why_not
        if now is None or why_not is not None:
            raise ReplayStoppedError(f"nothing may be sent to {self._id}: {why_not}")
        if line.account not in now.accounts:
            return "of an account that its user does not see"
        states = {
            name: state
            for name, state in line.changed.items()
            if now.types is None or name in now.types
        }
        if not states:
            return "of types that it does not want"
        if not self._is_dry:
            await self._send_states(now, line, states)
        return None

    async def _send_states(
        self, now: ReplayRecipient, line: EventLine, states: Mapping[str, str]
    ) -> None:
        opened = self._sender.open(now.recipient)
        octets_max = min(self._octets_max, opened.octets_max or self._octets_max)
        for part in parts_of({line.account: states}, octets_max):
            outgoing = Outgoing(
                payload=encode_state_change(part), kind="replay", may_repeat=True, is_replay=True
            )
            at = self._clock.now()
            answer = await self._sender.send(opened, outgoing)
            attempt = opened.attempt(0, "replay", answer, at=at, cursor=line.sequence)
            place = place_of_replay(await self._next_number())
            await write_attempts(self._pool, [msgspec.structs.replace(attempt, place=place)])
            self._tell(_sent_line(line, answer))
            if answer.outcome is not Outcome.ACCEPTED:
                status = "" if answer.status is None else f", status {answer.status}"
                raise ReplayStoppedError(f"the endpoint did not take it: {answer.outcome}{status}")

    async def _next_number(self) -> int:
        if self._number is None:
            self._number = await next_replay_number(self._pool, self._id)
        else:
            self._number += 1
        return self._number


def _sent_line(line: EventLine, answer: Answer) -> SentLine:
    return SentLine(
        cursor=line.cursor,
        sequence=line.sequence,
        account=line.account,
        outcome=answer.outcome,
        status=answer.status,
        milliseconds=answer.milliseconds,
    )


def tell_nobody(line: SentLine) -> None:
    """For who is told of the whole."""
    del line


@asynccontextmanager
async def open_subscription_target(
    pool: asyncpg.Pool,
    environ: Mapping[str, str],
    subscription_id: str,
    *,
    is_dry: bool,
    may_leave: bool,
    tell: Callable[[SentLine], None] = tell_nobody,
) -> AsyncIterator[SubscriptionTarget]:
    """`may_leave`: also an endpoint that TIDINGS_WEBHOOK_ALLOW does not name, so of somebody else.

    Raises ReplayRefusedError, UnknownSubscriptionError, SettingsError.
    """
    environ, clock = _with_loopback_of_up(environ), SystemClock()
    settings = settings_of(environ, WebhookSettings)
    policy = settings_of(environ, WebhookPolicySettings)
    vault = vault_of(settings_of(with_servers_in_use(environ), SecretKeySettings))
    async with open_client(settings, policy, clock) as client:
        sender = Sender(
            client,
            SigningKeys(pool, vault),
            VapidSigner(settings.contact),
            vault,
            clock,
            Metrics(),
        )
        opened = await _opened(pool, sender, subscription_id)
        endpoint = read_endpoint(opened.endpoint.url)
        if not may_leave and not is_dry and not policy.exemptions.has_host(endpoint.host):
            raise ReplayRefusedError(
                f"{endpoint.origin} is not ours: old states would reach somebody else. "
                "Look with --dry-run, and send with --really"
            )
        yield SubscriptionTarget(
            pool,
            subscription_id,
            sender,
            clock,
            octets_max=settings.message_octets_max,
            is_dry=is_dry,
            tell=tell,
        )


def replay_targets(environ: Mapping[str, str]) -> Callable[[asyncpg.Pool], OpenTarget]:
    """What the console, which knows no deliverer, sends by."""

    def opening(pool: asyncpg.Pool) -> OpenTarget:
        return functools.partial(open_subscription_target, pool, environ)

    return opening


async def _opened(pool: asyncpg.Pool, sender: Sender, subscription_id: str) -> OpenedRecipient:
    found = await read_replay_recipient(pool, subscription_id)
    if found is None:
        raise UnknownSubscriptionError(subscription_id)
    if found.why_not is not None:
        raise ReplayRefusedError(f"nothing may be sent to {subscription_id}: {found.why_not}")
    try:
        return sender.open(found.recipient)
    except UnsealError as error:
        raise ReplayRefusedError(
            "its URL is sealed under another TIDINGS_SECRET_KEY: set the one of the deployment"
        ) from error


def _with_loopback_of_up(environ: Mapping[str, str]) -> Mapping[str, str]:
    """As `tidings up` does it: webhooks to its own machine are no third parties."""
    if environ.get(_ALLOW):
        return environ
    running = DataDirectory(settings_of(environ, ServerSettings).data).running()
    postgres_url = with_servers_in_use(environ)[f"{PREFIX}POSTGRES_URL"]
    if running is None or running.postgres_url != postgres_url:
        return environ
    return {**environ, _ALLOW: LOOPBACK}
