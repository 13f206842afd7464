"""The filters of RFC 9610 section 3.3.1 on the sample cards, and their plans."""

# ruff: noqa: RUF001 - names as people write them

import json
from typing import Any

import pytest

from tests.support.contacts import PATH
from tests.support.dispatcher import JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration


@pytest.fixture
async def cards(client: JmapClient) -> dict[str, Any]:
    """All sample cards, by id."""
    book = await client.address_book()
    samples = json.loads(PATH.read_text(encoding="utf-8"))
    made = {}
    for start in range(0, len(samples), 60):
        create = {
            f"k{place}": {**card, "addressBookIds": {book: True}}
            for place, card in enumerate(samples[start : start + 60])
        }
        answer = await client.call("ContactCard/set", create=create)
        assert answer["notCreated"] is None
        made.update({answer["created"][key]["id"]: card for key, card in create.items()})
    return made


CONDITIONS: list[tuple[dict[str, str], list[tuple[str, str]]]] = [
    # condition, and the property that must hold the text, as JSON
    ({"name": "jose"}, [("name", "José")]),
    ({"name": "MUÑOZ-díaz"}, [("name", "Muñoz-Díaz")]),
    ({"name": "o’brien zoe"}, [("name", "O’Brien")]),
    ({"name": "иванова"}, [("name", "Иванова")]),
    ({"name": "太"}, [("name", "太郎")]),
    ({"name": "郎太"}, [("name", "nobody")]),
    ({"name": "GROSS"}, [("name", "Groß")]),
    ({"name/surname": "शर्मा"}, [("name", '"surname", "value": "शर्मा"')]),
    ({"name/given": "शर्मा"}, [("name", "nobody")]),
    ({"name/surname2": "castillo"}, [("name", "Castillo")]),
    ({"nickname": "nick-17"}, [("nicknames", '"nick-17"')]),
    ({"organization": "株式"}, [("organizations", "株式会社")]),
    ({"phone": "reach"}, [("phones", "reach")]),
    ({"email": "person17.0@example.com"}, [("emails", "person17.0@example.com")]),
    ({"onlineService": "mastodon"}, [("onlineServices", "Mastodon")]),
    ({"address": "'reykjavik iceland'"}, [("addresses", "Iceland")]),
    ({"address": "'iceland reykjavik'"}, [("addresses", "nowhere")]),
    ({"note": "Lovelace"}, [("notes", "Lovelace")]),
    ({"kind": "group"}, [("kind", "group")]),
    ({"text": "castillo reykjavik"}, [("name", "Castillo"), ("addresses", "Iceland")]),
    ({"createdBefore": "2025-01-01T00:00:00Z"}, [("created", "20")]),
    (
        {"createdAfter": "2012-01-02T03:04:05Z", "createdBefore": "2013-01-01T00:00:00Z"},
        [("created", "2012")],
    ),
    ({"updatedBefore": "2011-01-01T00:00:00Z"}, [("updated", "2010")]),
    ({"name": "!!!"}, [("name", "nobody")]),
    ({"name": "  "}, []),
    ({"uid": "nope"}, [("uid", "nope")]),
]


async def test_every_condition_finds_what_it_should(
    client: JmapClient, cards: dict[str, Any]
) -> None:
    async def found(**condition: Any) -> set[str]:
        return set((await client.call("ContactCard/query", filter=condition))["ids"])

    def holds(card: Any, name: str, text: str) -> bool:
        return text in json.dumps(card.get(name), ensure_ascii=False)

    for condition, parts in CONDITIONS:
        expected = {key for key, card in cards.items() if all(holds(card, *part) for part in parts)}
        assert await found(**condition) == expected, condition
    group = next(card for card in cards.values() if "members" in card)
    member = next(iter(group["members"]))
    assert await found(hasMember=member) == {
        key for key, card in cards.items() if holds(card, "members", member)
    }
    assert len(await found(uid=member)) == 1
    assert await found(inAddressBook=await client.address_book()) == set(cards)
    assert await found(inAddressBook="bnone") == set()


async def test_queries_use_the_indexes(
    client: JmapClient, cards: dict[str, Any], dispatcher: RunningDispatcher
) -> None:
    """With enough cards in the account, a page by name and a rare word are both index scans."""
    pool = dispatcher.pool
    await pool.execute(
        """
        INSERT INTO records
        SELECT account_id, type, 'cx' || n, 1000 + n, 1000 + n, data, ARRAY[n], sort, search
        FROM records CROSS JOIN generate_series(1, 20000) AS n
        WHERE type = 'ContactCard' AND id = $1
        """,
        next(iter(cards)),
    )
    await pool.execute("ANALYZE records")
    for sort in ("created", "updated", "name/given", "name/surname", "name/surname2"):
        plan = await _plan(
            pool, f"ORDER BY ((sort->>'{sort}') COLLATE \"C\") ASC, created_modseq ASC"
        )
        assert "contacts_by_" in plan, plan
        assert "Seq Scan" not in plan
    plan = await _plan(pool, "AND tags @> '{17}'::bigint[] ORDER BY created_modseq")
    assert "records_by_tag" in plan, plan
    assert await client.call("ContactCard/query", sort=[{"property": "name/given"}], limit=10)


async def _plan(pool: Any, tail: str) -> str:
    account_id = await pool.fetchval("SELECT account_id FROM records WHERE id = 'cx1'")
    rows = await pool.fetch(
        "EXPLAIN SELECT id FROM records WHERE account_id = "
        f"'{account_id}' AND type = 'ContactCard' AND data IS NOT NULL {tail} LIMIT 20"
    )
    return "\n".join(row[0] for row in rows)
