"""Calls in order, over HTTP and with a method that has a bug (RFC 8620 section 3)."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from services.dispatcher.capabilities import Capabilities
from services.dispatcher.processor import Caller, Processor
from services.dispatcher.registry import Answers, Call, Method, registry_of
from services.dispatcher.types.core import METHODS, core_capability
from shared.jmap.envelope import request_from_json
from shared.jmap.session import CORE, CoreLimits
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.traces import Traces
from shared.store.credentials import Credential
from tests.support.dispatcher import (
    CONTACTS,
    JmapClient,
    RunningDispatcher,
    running_dispatcher,
)

pytestmark = pytest.mark.integration

CALLER = Caller(
    credential=Credential(
        id="t1", user_id="u1", user_name="ada", scopes=frozenset({"jmap"}), expires_at=None
    ),
    accounts={},
    session_state="x",
    request_id="r1",
    trace=Traces().received(None),
)


async def _bug(_: Call) -> Answers:
    raise ZeroDivisionError("a secret of the server")


async def test_a_bug_is_a_server_fail_that_the_log_explains(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C-27: and the calls after it go on."""
    registry = registry_of(METHODS, [Method(name="Bug/get", capability=CORE, handle=_bug)])
    capabilities = Capabilities([core_capability(CoreLimits())])
    processor = Processor(
        registry,
        capabilities,
        CoreLimits(),
        clock=SystemClock(),
        metrics=Metrics(),
        traces=Traces(),
    )
    request = request_from_json(
        {"using": [CORE], "methodCalls": [["Bug/get", {}, "0"], ["Core/echo", {}, "1"]]}
    )
    with caplog.at_level(logging.ERROR):
        processed = await processor.process(request, CALLER, datetime.now(UTC))
    failed, echoed = processed.response.method_responses
    assert processed.calls == ["Bug/get serverFail", "Core/echo"]
    assert (failed.name, failed.arguments["type"]) == ("error", "serverFail")
    assert "secret" not in str(failed.arguments)
    [record] = [item for item in caplog.records if item.message == "method_failed"]
    assert vars(record)["fault_id"] in str(failed.arguments["description"])
    assert record.exc_info
    assert echoed.name == "Core/echo"


async def test_references_do_not_multiply_what_a_client_sent(client: JmapClient) -> None:
    """A value of 20 KB, referred to 2,000 times in each of 3 calls, was 120 MB."""
    calls: list[Any] = [["Core/echo", {"a": "x" * 20_000}, "0"]]
    one = {"resultOf": "0", "name": "Core/echo", "path": "/a"}
    many = {f"#{index}": one for index in range(2_000)}
    calls += [["Core/echo", many, str(index)] for index in (1, 2, 3)]
    calls += [["Core/echo", {"x": 1}, "4"]]
    response = await client.http.post("/jmap/api", json={"using": [CORE], "methodCalls": calls})
    assert len(response.content) < 100_000
    answers = response.json()["methodResponses"]
    assert [(name, call_id) for name, _, call_id in answers] == [
        ("Core/echo", "0"),
        ("error", "1"),
        ("error", "2"),
        ("error", "3"),
        ("Core/echo", "4"),
    ]
    assert {answer["type"] for name, answer, _ in answers if name == "error"} == {"requestTooLarge"}


async def test_what_a_request_has_too_much_is_ignored(client: JmapClient) -> None:
    """C-22, C-29."""
    request = {"using": [CORE], "methodCalls": [["Core/echo", {}, "0"]], "vendor": {"x": 1}}
    response = await client.http.post(
        "/jmap/api", json=request, headers={"Accept-Language": "fr, en;q=0.5"}
    )
    assert response.json()["methodResponses"] == [["Core/echo", {}, "0"]]
    assert "createdIds" not in response.json()
    assert response.headers["content-language"] == "en"


async def test_created_ids_go_in_and_out(client: JmapClient) -> None:
    """C-23: all that were sent and all that are new, in one map."""
    body = await client.request(
        [
            "AddressBook/set",
            {"accountId": client.account_id, "create": {"k": {"name": "x"}}},
            "0",
        ],
        created_ids={"sent": "b1"},
    )
    made = body["methodResponses"][0][1]["created"]["k"]["id"]
    assert body["createdIds"] == {"sent": "b1", "k": made}


async def test_what_is_left_out_has_its_default(client: JmapClient) -> None:
    """C-25: an omitted argument and null are the same where null is the default."""
    plain = await client.call("ContactCard/query")
    named = await client.call(
        "ContactCard/query", filter=None, sort=None, position=0, anchor=None, limit=None
    )
    assert plain == named
    assert await client.call("AddressBook/get") == await client.call(
        "AddressBook/get", ids=None, properties=None
    )


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ({"resultOf": "q", "name": "ContactCard/query", "path": "/ids"}, None),
        ({"resultOf": "g", "name": "ContactCard/get", "path": "/list/*/id"}, None),
        ({"resultOf": "g", "name": "ContactCard/query", "path": "/ids"}, "invalidResultReference"),
        ({"resultOf": "n", "name": "ContactCard/query", "path": "/ids"}, "invalidResultReference"),
        ({"resultOf": "q", "name": "ContactCard/query", "path": "/no"}, "invalidResultReference"),
    ],
)
async def test_results_are_referred_to(
    client: JmapClient, reference: dict[str, str], kind: str | None
) -> None:
    """C-28, C-36."""
    card = await client.add_card()
    account = {"accountId": client.account_id}
    body = await client.request(
        ["ContactCard/query", account, "q"],
        ["ContactCard/get", account, "g"],
        ["ContactCard/get", {**account, "#ids": reference, "properties": ["id"]}, "last"],
    )
    name, answer, call_id = body["methodResponses"][-1]
    assert call_id == "last"
    if kind is None:
        assert answer["list"] == [{"id": card}]
    else:
        assert (name, answer["type"]) == ("error", kind)


async def test_a_name_given_twice_is_invalid(client: JmapClient) -> None:
    """C-28."""
    reference = {"resultOf": "0", "name": "Core/echo", "path": "/x"}
    body = await client.request(
        ["Core/echo", {"x": []}, "0"],
        ["AddressBook/get", {"accountId": client.account_id, "ids": [], "#ids": reference}, "1"],
    )
    assert body["methodResponses"][1][1]["type"] == "invalidArguments"


async def test_ids_are_never_given_again(client: JmapClient) -> None:
    """C-05: nothing makes this server reallocate ids; a destroyed one stays gone."""
    seen: set[str] = set()
    for _ in range(5):
        card = await client.add_card(uid="urn:uuid:same")
        assert card not in seen
        seen.add(card)
        await client.call("ContactCard/set", destroy=[card])
    got = await client.call("ContactCard/get", ids=sorted(seen))
    assert sorted(got["notFound"]) == sorted(seen)


async def test_calls_are_counted_by_method_and_outcome(client: JmapClient) -> None:
    await client.request(["Core/echo", {}, "0"], ["Nope/x", {}, "1"], ["AddressBook/get", {}, "2"])
    text = (await client.http.get("/metrics")).text
    for line in (
        'tidings_method_calls_total{method="Core/echo",outcome="ok"} 1.0',
        'tidings_method_calls_total{method="unknown",outcome="unknownMethod"} 1.0',
        'tidings_method_calls_total{method="AddressBook/get",outcome="invalidArguments"} 1.0',
        'tidings_http_requests_total{route="/jmap/api",status="200"} 1.0',
    ):
        assert line in text


async def test_only_what_is_used_is_known(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-07: capabilities are registered URNs, and each is in the session."""
    session = (await client.http.get(f"{dispatcher.url}/jmap/session")).json()
    for urn in (CORE, CONTACTS):
        assert urn in session["capabilities"]
    answer: Any = await client.post({"using": ["urn:x"], "methodCalls": []})
    assert answer.json()["type"].endswith("unknownCapability")


async def test_concurrent_requests_are_limited(postgres_dsn: str) -> None:
    """C-10, C-26: maxConcurrentRequests."""
    async with running_dispatcher(
        postgres_dsn, limits=CoreLimits(max_concurrent_requests=1)
    ) as dispatcher:
        client = await dispatcher.user("ada")
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> Any:
            yield b'{"using":[],'
            begun.set()
            await go_on.wait()
            yield b'"methodCalls":[]}'

        headers = {"Content-Type": "application/json"}
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(
                client.http.post("/jmap/api", content=slow(), headers=headers)
            )
            await begun.wait()
            second = await client.post({"using": [], "methodCalls": []})
            while second.status_code == 200:
                second = await client.post({"using": [], "methodCalls": []})
            go_on.set()
        assert (second.status_code, second.json()["limit"]) == (429, "maxConcurrentRequests")
        assert first.result().status_code == 200
        await client.http.aclose()
