"""P-17, P-18: one request and what becomes of it, over real sockets."""

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from py_vapid import Vapid02  # type: ignore[import-untyped]

from services.webhooks.answers import Outcome
from services.webhooks.messages import PushOptions, PushTarget, push_request
from services.webhooks.push_client import ClientLimits
from shared.web_push.endpoint import read_endpoint
from shared.web_push.subscription_keys import parse_subscription_keys
from shared.web_push.vapid import VapidKey, VapidSigner
from tests.support.certificate import Certificate, make_certificate
from tests.support.eventually import PATIENCE, eventually
from tests.support.push_client import (
    LIMITS,
    LOOPBACK,
    OWN_NET,
    SettableClock,
    names,
    push_client,
    request_to,
)
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink, webhook_sink

SHORT = ClientLimits(deadline_seconds=0.6 * PATIENCE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def sink(certificate: Certificate) -> Iterator[WebhookSink]:
    with webhook_sink(certificate) as running:
        yield running


async def test_an_encrypted_and_signed_message_arrives(
    sink: WebhookSink, certificate: Certificate
) -> None:
    """P-13, P-17, V-02: over HTTPS, from the payload to what the subscriber reads."""
    subscriber, key = sink.subscribe("/push/abc?d=e"), VapidKey.generate()
    target = PushTarget(
        endpoint=read_endpoint(sink.url("/push/abc?d=e")),
        keys=parse_subscription_keys(**subscriber.keys),
        vapid_key=key,
    )
    options = PushOptions(ttl_seconds=300, topic="t")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    payload = b'{"@type":"StateChange","changed":{}}'
    request = push_request(payload, target, options, signer=VapidSigner(), now=now)

    async with push_client(*LOOPBACK, authority=certificate.path) as client:
        answer = await client.post(request)

    assert (answer.outcome, answer.status, answer.has_dialled) == (Outcome.ACCEPTED, 201, True)
    (post,) = sink.posts
    assert (post.method, post.content) == ("POST", payload)
    assert post.body != payload
    assert Vapid02.verify(post.headers["authorization"].replace(", ", ","))
    assert {name: post.headers[name] for name in ("ttl", "urgency", "topic", "user-agent")} == {
        "ttl": "300",
        "urgency": "normal",
        "topic": "t",
        "user-agent": "Tidings",
    }
    assert post.headers["content-type"] == "application/json"
    assert post.headers["content-encoding"] == "aes128gcm"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ACCEPTED),
        (204, Outcome.ACCEPTED),
        (301, Outcome.REDIRECTED),
        (400, Outcome.REFUSED),
        (403, Outcome.UNAUTHORIZED),
        (404, Outcome.GONE),
        (410, Outcome.GONE),
        (413, Outcome.TOO_LARGE),
        (429, Outcome.THROTTLED),
        (500, Outcome.SERVER_ERROR),
        (503, Outcome.UNAVAILABLE),
    ],
)
async def test_a_status_becomes_an_outcome(status: int, outcome: Outcome) -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(status=status, headers={"Retry-After": "7"}))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert (answer.outcome, answer.status) == (outcome, status)
    assert answer.retry_after_seconds == 7


async def test_the_first_octets_of_an_answer_are_kept() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(status=400, body=b"no: " + b"x" * 1000))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))
            again = await client.post(request_to(sink.url()), may_repeat=True)

    assert answer.body == b"no: " + b"x" * 196
    assert answer.retry_after_seconds is None
    assert again.was_kept
    assert not again.has_dialled


async def test_the_time_a_request_takes_is_told() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(delay_seconds=0.2))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert 200 <= answer.milliseconds < 5000 * PATIENCE


@pytest.mark.parametrize("manner", [Manner.RESET, Manner.CLOSE, Manner.GARBAGE])
async def test_an_answer_that_breaks_off_is_a_broken_one(manner: Manner) -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=manner))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert (answer.outcome, answer.status) == (Outcome.BROKEN, None)
    assert answer.reason
    assert "127.0.0.1" not in answer.reason


@pytest.mark.parametrize("manner", [Manner.BLACK_HOLE, Manner.DRIP_HEAD])
async def test_an_endpoint_that_does_not_answer_has_until_the_deadline(manner: Manner) -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=manner))
        async with push_client(*LOOPBACK, limits=SHORT) as client:
            answer = await client.post(request_to(sink.url()))
            await eventually(lambda: client.kept_connections == sink.open_connections == 0)

    assert answer.outcome is Outcome.TIMED_OUT
    assert 600 * PATIENCE <= answer.milliseconds < 2000 * PATIENCE


async def test_a_port_where_nobody_listens_is_a_failed_connection() -> None:
    with webhook_sink() as sink:
        url = sink.url()
    async with push_client(*LOOPBACK) as client:
        answer = await client.post(request_to(url))

    assert answer.outcome is Outcome.CONNECT_FAILED
    assert answer.reason


async def test_what_this_machine_lacks_is_not_the_endpoints_fault() -> None:
    with webhook_sink() as sink:
        async with push_client(*LOOPBACK) as client:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                answer = await client.post(request_to(sink.url()))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert answer.outcome is Outcome.EGRESS_FAILED
    assert answer.reason == os.strerror(errno.EMFILE)
    assert sink.connections == 0


async def test_a_connection_is_used_again_for_its_origin_only() -> None:
    with webhook_sink() as one, webhook_sink() as other:
        async with push_client(*LOOPBACK) as client:
            for sink in (one, other, one, other, one):
                await client.post(request_to(sink.url("/a")), may_repeat=True)
            answer = await client.post(request_to(one.url("/a", host="localhost")), may_repeat=True)

    assert (one.connections, other.connections) == (2, 1)
    assert answer.has_dialled


async def test_a_connection_that_grew_old_is_not_used_again() -> None:
    """P-40: its host is resolved and judged again."""
    clock = SettableClock()
    limits = ClientLimits(connection_age_seconds=300, connection_idle_seconds=60)
    with webhook_sink() as sink:
        async with push_client(*LOOPBACK, limits=limits, clock=clock) as client:
            for seconds in (0, 120, 120, 1, 1):
                clock.seconds += seconds
                await client.post(request_to(sink.url()), may_repeat=True)

    assert [post.connection for post in sink.posts] == [1, 1, 1, 1, 2]


async def test_few_connections_are_kept_for_later() -> None:
    limits = ClientLimits(connections_kept_max=3)
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(delay_seconds=0.2))
        async with push_client(*LOOPBACK, limits=limits) as client:
            await asyncio.gather(*(client.post(request_to(sink.url())) for _ in range(10)))
            await eventually(lambda: client.kept_connections == 3)
            await eventually(lambda: sink.open_connections == 3)
        await eventually(lambda: client.kept_connections == sink.open_connections == 0)


async def test_a_connection_that_is_not_kept_ends_whatever_its_peer_does(
    certificate: Certificate,
) -> None:
    """A peer that takes no farewell of TLS holds no descriptor of ours."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.path, certificate.key_path)
    after: list[bytes] = []

    def answer_once(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with tls.wrap_socket(connection, server_side=True) as talk:
            talk.recv(65536)
            talk.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            # Past TLS: what comes of the connection, without an answer to a farewell.
            with socket.socket(fileno=os.dup(talk.fileno())) as raw:
                raw.settimeout(3 * PATIENCE)
                try:
                    while octets := raw.recv(65536):
                        after.append(octets)
                    after.append(b"end")
                except ConnectionResetError:
                    after.append(b"end")
                except TimeoutError:
                    after.append(b"still open")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = asyncio.get_running_loop().run_in_executor(None, answer_once, listener)
        limits = ClientLimits(connections_kept_max=0)
        async with push_client(*LOOPBACK, authority=certificate.path, limits=limits) as client:
            answer = await client.post(request_to(f"https://localhost:{listener.getsockname()[1]}"))
            await peer

    assert answer.outcome is Outcome.ACCEPTED
    assert after[-1] == b"end"


async def test_no_more_requests_than_allowed_are_under_way() -> None:
    limits = ClientLimits(requests_at_once_max=2)
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=Manner.ANSWER, delay_seconds=0.1))
        async with push_client(*LOOPBACK, limits=limits) as client:
            posts = (client.post(request_to(sink.url()), may_repeat=True) for _ in range(6))
            await asyncio.gather(*posts)

    assert sink.connections <= 2
    assert len(sink.posts) == 6


async def test_what_may_be_repeated_survives_the_end_of_a_kept_connection() -> None:
    with webhook_sink() as sink:
        ends = Behaviour(manner=Manner.CLOSE)
        sink.behave("/", Behaviour(), ends, Behaviour(), ends, Behaviour())
        async with push_client(*LOOPBACK) as client:
            first = await client.post(request_to(sink.url()))
            repeated = await client.post(request_to(sink.url()), may_repeat=True)
            once = await client.post(request_to(sink.url()))

    outcomes = [answer.outcome for answer in (first, repeated, once)]
    assert outcomes == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.BROKEN]
    assert len(sink.posts) == 4


async def test_what_is_not_http_on_a_kept_connection_is_an_answer_and_not_repeated() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(), Behaviour(manner=Manner.GARBAGE), Behaviour())
        async with push_client(*LOOPBACK) as client:
            await client.post(request_to(sink.url()), may_repeat=True)
            answer = await client.post(request_to(sink.url()), may_repeat=True)

    assert answer.outcome is Outcome.BROKEN
    assert (answer.was_kept, answer.has_dialled) == (True, False)
    assert len(sink.posts) == 2


async def test_what_may_not_be_repeated_does_not_go_out_on_a_kept_connection() -> None:
    """P-35: it may just have ended, and a PushVerification would never be sent again."""
    with webhook_sink() as sink:
        async with push_client(*LOOPBACK) as client:
            await client.post(request_to(sink.url()))
            assert client.kept_connections == 1
            answer = await client.post(request_to(sink.url()))

    assert answer.has_dialled
    assert sink.connections == 2


async def test_a_new_connection_that_ends_is_a_failure_at_once() -> None:
    """P-35: a PushVerification is never sent twice by this."""
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=Manner.CLOSE))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()), may_repeat=True)

    assert answer.outcome is Outcome.BROKEN
    assert len(sink.posts) == 1


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=Manner.BLACK_HOLE))
        async with push_client(*LOOPBACK) as client:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(client.post(request_to(sink.url())))
                await eventually(lambda: len(sink.posts) == 1)
                task.cancel()
            await eventually(lambda: client.kept_connections == sink.open_connections == 0)


async def test_names_are_resolved_by_the_system_unless_told_otherwise() -> None:
    with webhook_sink() as sink:
        async with push_client("localhost") as client:
            answer = await client.post(request_to(sink.url(host="localhost")))

    assert answer.outcome is Outcome.ACCEPTED


async def test_an_unknown_name_is_a_failure_of_the_dns() -> None:
    """RFC 6761: .invalid has no address anywhere."""
    async with push_client("hooks.invalid") as client:
        answer = await client.post(request_to("http://hooks.invalid/"))

    assert answer.outcome is Outcome.DNS_FAILED
    assert answer.reason


async def test_a_name_without_an_address_is_a_failure_of_the_dns() -> None:
    async with push_client(look_up=names(none=[])) as client:
        answer = await client.post(request_to("https://none.example/"))

    assert answer.outcome is Outcome.DNS_FAILED


async def test_the_next_address_is_dialled_where_the_first_one_does_not_listen(
    tmp_path: Path,
) -> None:
    certificate = make_certificate(tmp_path / "tls", names=("two.example",))
    look_up = names(two=[f"{OWN_NET}.9", f"{OWN_NET}.3"])
    with webhook_sink(certificate, address=f"{OWN_NET}.3", port=8443) as sink:
        async with push_client(
            f"{OWN_NET}.0/24", authority=certificate.path, look_up=look_up, limits=LIMITS
        ) as client:
            answer = await client.post(request_to("https://two.example:8443/"))

    assert answer.outcome is Outcome.ACCEPTED
    assert sink.posts[0].headers["host"] == "two.example:8443"
