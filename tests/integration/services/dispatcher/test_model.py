"""Any sequence of set, changes, query and queryChanges against a plain model in memory.

C-30 to C-35: a client that follows by /changes and /queryChanges ends where /get and /query are.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.dispatcher import JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration

Json = dict[str, Any]

WORDS = ["ada", "Ada", "bob", "cleo", "ADA BOB", "bob cleo", "ada cleo bob", "straße"]
NAMES = st.sampled_from(WORDS)
DATES = st.sampled_from(["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5Z", "2021-05-05T05:05:05Z"])
CARDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.fixed_dictionaries(
            {
                "components": st.lists(
                    st.fixed_dictionaries(
                        {"kind": st.sampled_from(["given", "surname"]), "value": NAMES}
                    ),
                    max_size=3,
                )
            }
        ),
        "kind": st.sampled_from(["individual", "group"]),
        "nicknames": st.fixed_dictionaries({"n": st.fixed_dictionaries({"name": NAMES})}),
        "created": DATES,
        "updated": DATES,
    },
)
STEPS = st.lists(
    st.tuples(
        st.lists(CARDS, max_size=3),
        st.lists(st.tuples(st.integers(0, 9), CARDS), max_size=2),
        st.lists(st.integers(0, 9), max_size=2),
    ),
    min_size=1,
    max_size=5,
)
CONDITIONS = st.one_of(
    st.fixed_dictionaries({}, optional={"name": NAMES, "kind": st.just("group")}),
    st.fixed_dictionaries(
        {"nickname": st.sampled_from(["ada", "'ada bob'", '"bob cleo"', "bob ada"])}
    ),
    st.fixed_dictionaries({"name/given": NAMES}),
    st.fixed_dictionaries({"text": NAMES}),
    st.fixed_dictionaries({"createdBefore": DATES}),
    st.fixed_dictionaries({"updatedAfter": DATES, "createdAfter": DATES}),
)
FILTERS = st.none() | st.recursive(
    CONDITIONS,
    lambda inner: st.fixed_dictionaries(
        {
            "operator": st.sampled_from(["AND", "OR", "NOT"]),
            "conditions": st.lists(inner, max_size=3),
        }
    ),
    max_leaves=4,
)
SORTS = st.lists(
    st.fixed_dictionaries(
        {"property": st.sampled_from(["created", "updated", "name/given", "name/surname"])},
        optional={"isAscending": st.booleans(), "collation": st.just("i;ascii-casemap")},
    ),
    max_size=2,
)


def words(text: str) -> list[str]:
    return text.casefold().replace("'", "").replace('"', "").split()


def components(card: Json, kind: str | None = None) -> list[str]:
    found = card.get("name", {}).get("components", [])
    return [item["value"] for item in found if kind in (None, item["kind"])]


def texts_of(card: Json, name: str) -> list[str]:
    nicknames = [item["name"] for item in card.get("nicknames", {}).values()]
    match name:
        case "name":
            return components(card)
        case "name/given":
            return components(card, "given")
        case "nickname":
            return nicknames
        case _:
            return components(card) + nicknames


def has_text(card: Json, name: str, wanted: str) -> bool:
    texts = texts_of(card, name)
    if wanted[0] in "'\"":
        phrase = f" {' '.join(words(wanted))} "
        return any(phrase in f" {' '.join(words(text))} " for text in texts)
    found = {word for text in texts for word in words(text)}
    return set(words(wanted)) <= found


def date(text: str) -> str:
    return text.removesuffix("Z").ljust(24, " ")


CHECKS: dict[str, Callable[[Json, str], bool]] = {
    "kind": lambda card, value: card.get("kind") == value,
    "createdBefore": lambda card, value: date(card["created"]) < date(value),
    "createdAfter": lambda card, value: date(card["created"]) >= date(value),
    "updatedAfter": lambda card, value: date(card["updated"]) >= date(value),
}


def matches(card: Json, condition: Json | None) -> bool:
    if condition is None:
        return True
    if "operator" not in condition:
        return all(
            CHECKS[name](card, value) if name in CHECKS else has_text(card, name, value)
            for name, value in condition.items()
        )
    found = [matches(card, inner) for inner in condition["conditions"]]
    match condition["operator"]:
        case "AND":
            return all(found)
        case "OR":
            return any(found)
        case _:
            return not any(found)


def key_of(card: Json, comparator: Json) -> str:
    name = comparator["property"]
    if name in ("created", "updated"):
        return date(card[name])
    first = next(iter(components(card, name.removeprefix("name/"))), "")
    if "collation" in comparator:
        return first.translate({code: code - 32 for code in range(ord("a"), ord("z") + 1)})
    return "".join(c if c == "ß" else c.upper() for c in first)


class Model:
    def __init__(self) -> None:
        self.cards: dict[str, Json] = {}  # in the order of creation

    def query(self, condition: Json | None, sort: list[Json]) -> list[str]:
        found = [
            (place, key)
            for place, key in enumerate(self.cards)
            if matches(self.cards[key], condition)
        ]
        if sort and not sort[0].get("isAscending", True):
            found.reverse()
        ids = [key for _, key in found]
        for comparator in reversed(sort):
            keys = {key: key_of(self.cards[key], comparator) for key in ids}
            ids.sort(key=keys.__getitem__, reverse=not comparator.get("isAscending", True))
        return ids


class Follower:
    """A client's cache, kept up to date by changes alone."""

    def __init__(self, client: JmapClient) -> None:
        self.client = client
        self.state = "s0"
        self.cards: dict[str, Json] = {}
        self.results: list[str] = []

    async def follow(self) -> None:
        while True:
            changes = await self.client.call(
                "ContactCard/changes", sinceState=self.state, maxChanges=2
            )
            wanted = changes["created"] + changes["updated"]
            for record_id in changes["destroyed"]:
                self.cards.pop(record_id, None)
            got = await self.client.call("ContactCard/get", ids=wanted)
            self.cards.update({card["id"]: card for card in got["list"]})
            for record_id in got["notFound"]:
                self.cards.pop(record_id, None)
            self.state = changes["newState"]
            if not changes["hasMoreChanges"]:
                return

    async def follow_query(self, old: str, condition: Json | None, sort: list[Json]) -> str:
        changes = await self.client.call(
            "ContactCard/queryChanges",
            sinceQueryState=old,
            filter=condition,
            sort=sort,
            calculateTotal=True,
        )
        removed = set(changes["removed"])
        self.results = [key for key in self.results if key not in removed]
        for item in changes["added"]:
            self.results.insert(item["index"], item["id"])
        assert len(self.results) == changes["total"]
        return str(changes["newQueryState"])


COUNTER = itertools.count()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(STEPS, FILTERS, SORTS, st.integers(-4, 4), st.integers(0, 4))
async def test_who_follows_by_changes_ends_where_the_server_is(
    dispatcher: RunningDispatcher,
    steps: list[Any],
    condition: Json | None,
    sort: list[Json],
    position: int,
    limit: int,
) -> None:
    client = await dispatcher.user(f"user{next(COUNTER)}")
    book = await client.address_book()
    model, follower, late = Model(), Follower(client), Follower(client)
    query_state = "s0"
    for creates, updates, destroys in steps:
        await _mutate(client, model, book, (creates, updates, destroys))
        await follower.follow()
        assert follower.cards.keys() == model.cards.keys()
        query_state = await follower.follow_query(query_state, condition, sort)
        wanted = model.query(condition, sort)
        assert follower.results == wanted
        answer = await client.call(
            "ContactCard/query",
            filter=condition,
            sort=sort,
            position=position,
            limit=limit,
            calculateTotal=True,
        )
        start = max(position + len(wanted), 0) if position < 0 else position
        assert answer["ids"] == wanted[start : start + limit]
        assert (answer["total"], answer["position"]) == (len(wanted), start)
        assert answer["queryState"] == query_state
        await _check_anchor(client, condition, sort, wanted)
    await late.follow()
    got = await client.call("ContactCard/get")
    assert {card["id"]: card for card in got["list"]} == follower.cards == late.cards
    assert got["state"] == follower.state == late.state
    for record_id, card in model.cards.items():
        assert card.items() <= follower.cards[record_id].items()
    await client.http.aclose()


async def _mutate(client: JmapClient, model: Model, book: str, step: Any) -> None:
    creates, updates, destroys = step
    ids = list(model.cards)
    patches = {ids[place]: card for place, card in updates if place < len(ids)}
    gone = list(dict.fromkeys(ids[place] for place in destroys if place < len(ids)))
    answer = await client.call(
        "ContactCard/set",
        create={
            f"k{n}": {**card, "addressBookIds": {book: True}} for n, card in enumerate(creates)
        },
        update=patches,
        destroy=gone,
    )
    assert answer["notCreated"] is None
    for number, card in enumerate(creates):
        told = answer["created"][f"k{number}"]
        model.cards[told["id"]] = {
            "created": told.get("created"),
            "updated": told.get("updated"),
            **card,
        }
    for record_id, patch in patches.items():
        if record_id in gone:
            assert answer["notUpdated"][record_id]["type"] == "willDestroy"
        else:
            model.cards[record_id] |= {**patch, **(answer["updated"][record_id] or {})}
    assert (answer["destroyed"] or []) == gone
    for record_id in gone:
        del model.cards[record_id]


async def _check_anchor(
    client: JmapClient, condition: Json | None, sort: list[Json], wanted: list[str]
) -> None:
    query = {"filter": condition, "sort": sort, "anchorOffset": -1, "limit": 2, "position": 99}
    if not wanted:
        error = await client.error("ContactCard/query", anchor="cnone", **query)
        assert error["type"] == "anchorNotFound"
        return
    answer = await client.call("ContactCard/query", anchor=wanted[-1], **query)
    start = max(len(wanted) - 2, 0)
    assert (answer["position"], answer["ids"]) == (start, wanted[start : start + 2])
