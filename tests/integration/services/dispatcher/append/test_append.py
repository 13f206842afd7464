"""`POST /tidings/append` over real HTTP, to a real log."""

import asyncio
from typing import Any

import pytest

from services.dispatcher.append.in_hand import InHandLimits
from services.dispatcher.append.request import RequestLimits
from shared.log.cursor import decode_cursor
from shared.store.appends import TYPES_OF_ACCOUNT_MAX
from shared.store.credentials import issue_token
from tests.support.appends import RunningAppendApi, append_api_running, change

pytestmark = pytest.mark.integration


def sequence_of(cursor: str) -> int:
    decoded = decode_cursor(cursor)
    assert decoded is not None
    return decoded.sequence


async def test_the_answer_comes_when_the_event_is_in_the_log(api: RunningAppendApi) -> None:
    account = await api.account()
    cursor = await api.append({account: {"Email": "e1", "Mailbox": "m1"}})

    [stored] = await api.events(account)
    assert sequence_of(cursor) == stored.sequence
    assert {name: state.state for name, state in stored.event.changed.items()} == {
        "Email": "e1",
        "Mailbox": "m1",
    }
    assert stored.event.cause.method == "tidings.append"
    assert stored.event.cause.principal is not None


async def test_many_accounts_are_an_event_each_and_one_answer(api: RunningAppendApi) -> None:
    accounts = [await api.account() for _ in range(20)]
    cursor = await api.append({account: {"Email": "e1"} for account in accounts})

    events = [await api.events(account) for account in accounts]
    assert [len(of_account) for of_account in events] == [1] * 20
    assert sequence_of(cursor) == max(stored.sequence for [stored] in events)


async def test_without_an_order_arrival_counts(api: RunningAppendApi) -> None:
    account = await api.account()
    for state in ("b", "a", "b"):
        await api.append({account: {"Email": state}})
    told = [stored.event.changed["Email"].state for stored in await api.events(account)]
    assert told == ["b", "a", "b"]


async def test_an_order_that_is_not_newer_is_answered_and_makes_no_event(
    api: RunningAppendApi,
) -> None:
    account = await api.account()
    newest = await api.append({account: {"Email": "e5"}}, {account: {"Email": 5}})
    for order in (5, 4, 0):
        late = await api.append({account: {"Email": f"e{order}"}}, {account: {"Email": order}})
        assert late == newest
    assert await api.states(account) == {"Email": "e5"}
    assert len(await api.events(account)) == 1


async def test_the_types_of_a_request_are_judged_one_by_one(api: RunningAppendApi) -> None:
    account = await api.account()
    await api.append(
        {account: {"Email": "e5", "Mailbox": "m1"}}, {account: {"Email": 5, "Mailbox": 1}}
    )
    await api.append(
        {account: {"Email": "e4", "Mailbox": "m2", "Thread": "t"}},
        {account: {"Email": 4, "Mailbox": 2}},
    )
    assert await api.states(account) == {"Email": "e5", "Mailbox": "m2", "Thread": "t"}


async def test_mixing_orders_and_none_never_takes_an_account_back(api: RunningAppendApi) -> None:
    """What came without an order counts as new, and hides no later order of the producer's."""
    account = await api.account()
    await api.append({account: {"Email": "e41"}}, {account: {"Email": 41}})
    for n in range(5):
        await api.append({account: {"Email": f"import{n}"}})
    await api.append({account: {"Email": "e40"}}, {account: {"Email": 40}})
    assert await api.states(account) == {"Email": "import4"}
    await api.append({account: {"Email": "e42"}}, {account: {"Email": 42}})
    await api.append({account: {"Email": "e41"}}, {account: {"Email": 41}})
    assert await api.states(account) == {"Email": "e42"}


async def test_orders_that_race_end_at_the_greatest(
    api: RunningAppendApi, clean_nats_url: str, postgres_dsn: str
) -> None:
    account = await api.account()
    async with append_api_running(clean_nats_url, postgres_dsn) as other:
        await asyncio.gather(
            *(
                side.append({account: {"Email": f"e{order}"}}, {account: {"Email": order}})
                for order in range(1, 101)
                for side in ([api] if order % 3 else [other])
            )
        )
    events = await api.events(account)
    assert events[-1].event.changed["Email"].state == "e100"
    orders = [int(stored.event.changed["Email"].state[1:]) for stored in events]
    assert orders == sorted(orders)


async def test_an_unknown_account_is_told_and_the_others_are_appended(
    api: RunningAppendApi,
) -> None:
    account = await api.account()
    response = await api.post(change({account: {"Email": "e1"}, "anobody": {"Email": "e1"}}))
    assert response.status_code == 200
    assert response.json()["notAppended"]["anobody"]["type"] == "accountNotFound"
    assert sequence_of(response.json()["cursor"])
    assert await api.states(account) == {"Email": "e1"}


async def test_without_any_known_account_it_is_not_found(api: RunningAppendApi) -> None:
    response = await api.post(change({"anobody": {"Email": "e1"}}), key="k")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["notAppended"]["anobody"]["type"] == "accountNotFound"
    assert not await api.pool.fetchval("SELECT count(*) FROM append_keys")


async def test_an_account_has_so_many_types_and_no_more(api: RunningAppendApi) -> None:
    """The account has an AddressBook of its own."""
    account = await api.account()
    await api.append({account: {f"T{n}": "s" for n in range(TYPES_OF_ACCOUNT_MAX - 1)}})
    response = await api.post(change({account: {"One": "s"}}))
    assert response.status_code == 422
    assert response.json()["notAppended"][account]["type"] == "overQuota"
    await api.append({account: {"T0": "s2"}})


@pytest.mark.parametrize(
    ("scopes", "status", "challenge"),
    [(["jmap", "operate"], 403, "insufficient_scope"), ([], 401, "Bearer")],
)
async def test_only_the_scope_append_may_append(
    api: RunningAppendApi, scopes: list[str], status: int, challenge: str
) -> None:
    name = await api.pool.fetchval("SELECT name FROM users")
    token = (await issue_token(api.pool, name, scopes))[1] if scopes else "wrong"
    account = await api.account()
    response = await api.post(change({account: {"Email": "e1"}}), token=token)
    assert response.status_code == status
    assert challenge in response.headers["www-authenticate"]
    assert response.headers["content-type"] == "application/problem+json"
    assert await api.events(account) == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "notJSON"),
        (b"{}", 400, "notRequest"),
        (change({"a1": {"ContactCard": "s9"}}), 403, "forbidden"),
        (change({f"a{n}": {"Email": "s"} for n in range(1001)}), 400, "limit"),
        (b" " * 1_000_001, 413, "limit"),
    ],
)
async def test_a_wrong_request_is_refused_whole(
    api: RunningAppendApi, body: Any, status: int, kind: str
) -> None:
    response = await api.post(body)
    assert response.status_code == status
    assert response.json()["type"] == f"urn:ietf:params:jmap:error:{kind}"


async def test_the_states_of_records_cannot_be_overwritten(api: RunningAppendApi) -> None:
    account = await api.account()
    before = await api.pool.fetch("SELECT * FROM type_states ORDER BY type")
    response = await api.post(change({account: {"Email": "e1", "AddressBook": "s999"}}))
    assert response.status_code == 403
    assert await api.pool.fetch("SELECT * FROM type_states ORDER BY type") == before


async def test_content_type_and_method_are_checked(api: RunningAppendApi) -> None:
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "text/plain"}
    response = await api.http.post("/tidings/append", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert (await api.http.get("/tidings/append")).status_code == 405


async def test_too_much_at_once_is_told_to_come_later(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    in_hand = InHandLimits(requests_max=4, requests_of_user_max=2)
    async with append_api_running(clean_nats_url, postgres_dsn, in_hand=in_hand) as api:
        account = await api.account()
        responses = await asyncio.gather(
            *(api.post(change({account: {"Email": f"e{n}"}})) for n in range(40))
        )
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert {r.headers["retry-after"] for r in responses if r.status_code == 429} == {"1"}


async def test_the_size_of_a_request_is_a_setting_of_the_process(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    limits = RequestLimits(max_size_request=100)
    async with append_api_running(clean_nats_url, postgres_dsn, limits=limits) as api:
        assert (await api.post(b" " * 101)).status_code == 413
        assert (await api.post(change({"anobody": {"Email": "e1"}}))).status_code == 404


async def test_what_happens_is_counted(api: RunningAppendApi) -> None:
    account = await api.account()
    await api.append({account: {"Email": "e1"}}, key="k")
    await api.append({account: {"Email": "e1"}}, key="k")
    await api.post(change({account: {"Email": "e1"}, "anobody": {"Email": "e1"}}))
    await api.post(change({"anobody": {"Email": "e1"}}))
    text = api.metrics.text().decode()
    for outcome, count in (("appended", 1), ("repeated", 1), ("partly", 1), ("refused", 1)):
        assert f'tidings_append_requests_total{{outcome="{outcome}"}} {count}.0' in text
    assert 'http_requests_total{route="/tidings/append",status="200"} 3.0' in text
