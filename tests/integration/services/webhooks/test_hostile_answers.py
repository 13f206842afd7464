"""P-18, P-40: no endpoint takes more than its share, and none is believed without TLS."""

import asyncio
import resource
import ssl
import time
from pathlib import Path

import pytest

from services.webhooks.answers import Outcome
from services.webhooks.push_client import client_tls
from tests.support.certificate import Certificate, make_certificate
from tests.support.eventually import PATIENCE, eventually
from tests.support.push_client import LOOPBACK, push_client, request_to
from tests.support.webhook_sink import Behaviour, Manner, webhook_sink


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def resident_octets() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    with webhook_sink() as sink, webhook_sink() as inside:
        sink.behave("/", Behaviour(status=status, headers={"Location": inside.url()}))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert answer.outcome is Outcome.REDIRECTED
    assert inside.connections == 0
    assert len(sink.posts) == 1


async def test_cookies_are_not_kept() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(headers={"Set-Cookie": "a=b; Path=/"}))
        async with push_client(*LOOPBACK) as client:
            for _ in range(2):
                await client.post(request_to(sink.url(host="localhost")))

    assert len(sink.posts) == 2
    assert all("cookie" not in post.headers for post in sink.posts)


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook_sink() as sink, webhook_sink() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert answer.outcome is Outcome.ACCEPTED
    assert proxy.connections == 0


async def test_a_bomb_is_not_unpacked() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=Manner.BOMB))
        async with push_client(*LOOPBACK) as client:
            await client.post(request_to(sink.url()))
            before = resident_octets()
            answers = [await client.post(request_to(sink.url())) for _ in range(5)]
            grown = resident_octets() - before

    assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}
    assert all(answer.body.startswith(b"\x1f\x8b") for answer in answers)
    assert grown < 20 * 1024 * 1024


@pytest.mark.parametrize("manner", [Manner.ENDLESS_BODY, Manner.DRIP])
async def test_an_answer_that_does_not_end_is_cut_off(manner: Manner) -> None:
    """Its status has come: the message was accepted."""
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=manner))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))
            await eventually(lambda: client.kept_connections == sink.open_connections == 0)

    assert (answer.outcome, answer.status) == (Outcome.ACCEPTED, 200)
    assert 0 < len(answer.body) <= 200
    assert answer.milliseconds < 2000 * PATIENCE


@pytest.mark.parametrize("manner", [Manner.ENDLESS_HEADERS, Manner.ENDLESS_HEADER])
async def test_a_head_that_does_not_end_is_cut_off(manner: Manner) -> None:
    before = resident_octets()
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(manner=manner))
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))
            await eventually(lambda: client.kept_connections == sink.open_connections == 0)

    assert (answer.outcome, answer.status) == (Outcome.BROKEN, None)
    assert answer.milliseconds < 2000 * PATIENCE
    assert resident_octets() - before < 20 * 1024 * 1024


async def test_interim_answers_without_end_are_cut_off_and_hold_up_nobody() -> None:
    """As fast as they can be sent: without a bound they took all of the loop until the deadline."""
    with webhook_sink() as sink, webhook_sink() as hostile:
        hostile.behave("/", Behaviour(manner=Manner.FLOOD_OF_CONTINUES))
        async with push_client(*LOOPBACK) as client:
            begun = time.monotonic()
            flooded = asyncio.gather(*(client.post(request_to(hostile.url())) for _ in range(5)))
            answers = [await client.post(request_to(sink.url())) for _ in range(100)]
            assert {answer.outcome for answer in await flooded} == {Outcome.BROKEN}

    assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}
    assert time.monotonic() - begun < 3 * PATIENCE


async def test_the_certificate_must_be_for_the_host(tmp_path: Path) -> None:
    wrong = make_certificate(tmp_path / "wrong", names=("wrong.example",), addresses=())
    with webhook_sink(wrong) as sink:
        async with push_client(*LOOPBACK, authority=wrong.path) as client:
            answer = await client.post(request_to(sink.url()))

    assert answer.outcome is Outcome.TLS_FAILED
    assert "mismatch" in answer.reason
    assert not sink.posts


async def test_the_certificate_must_not_have_expired(tmp_path: Path) -> None:
    expired = make_certificate(tmp_path / "expired", is_expired=True)
    with webhook_sink(expired) as sink:
        async with push_client(*LOOPBACK, authority=expired.path) as client:
            answer = await client.post(request_to(sink.url()))

    assert answer.outcome is Outcome.TLS_FAILED
    assert "expired" in answer.reason
    assert not sink.posts


async def test_the_certificate_must_be_of_a_known_authority(certificate: Certificate) -> None:
    with webhook_sink(certificate) as sink:
        async with push_client(*LOOPBACK) as client:
            answer = await client.post(request_to(sink.url()))

    assert answer.outcome is Outcome.TLS_FAILED
    assert "self-signed" in answer.reason
    assert not sink.posts


async def test_what_speaks_no_tls_is_not_spoken_to() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(refuse, "127.0.0.1", 0) as server,
        push_client(*LOOPBACK) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        answer = await client.post(request_to(f"https://127.0.0.1:{port}/"))

    assert answer.outcome is Outcome.TLS_FAILED


@pytest.mark.parametrize(
    ("octets", "outcome", "status", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nhello", Outcome.ACCEPTED, 200, b"hello"),
        (b"HTTP/1.1 201 -\r\nContent-Length: 10\r\n\r\nabc", Outcome.ACCEPTED, 201, b"abc"),
        (b"HTTP/1.1 410 -\r\nTransfer-Encoding: chunked\r\n\r\nzz", Outcome.GONE, 410, b""),
        (b"HTTP/1.1 101 -\r\nConnection: upgrade\r\n\r\n", Outcome.BROKEN, 101, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Outcome.BROKEN, None, b""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n",
            Outcome.BROKEN,
            None,
            b"",
        ),
        (b"", Outcome.BROKEN, None, b""),
    ],
)
async def test_a_connection_that_ends_early_leaves_what_was_said_by_then(
    octets: bytes, outcome: Outcome, status: int | None, body: bytes
) -> None:
    """RFC 9112 section 8: also where it has read only a part of the request, and half-closes."""

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(octets)
        writer.write_eof()
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(answer_early, "127.0.0.1", 0) as server,
        push_client(*LOOPBACK) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        answer = await client.post(request_to(f"http://127.0.0.1:{port}/"))
        await eventually(lambda: client.kept_connections == 0)

    assert (answer.outcome, answer.status, answer.body) == (outcome, status, body)


async def test_a_connection_that_says_something_unasked_is_not_used_again() -> None:
    with webhook_sink() as sink:
        sink.behave("/", Behaviour(extra=b"HTTP/1.1 200 OK\r\n", extra_delay_seconds=0.05))
        async with push_client(*LOOPBACK) as client:
            assert (await client.post(request_to(sink.url()))).outcome is Outcome.ACCEPTED
            await eventually(lambda: client.kept_connections == sink.open_connections == 0)


def test_tls_is_new_and_verified() -> None:
    context = client_tls()

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("late_seconds", [0.0, 0.05])
async def test_an_answer_ahead_of_its_request_is_not_taken_for_one(late_seconds: float) -> None:
    """It would end the next subscription at the same origin."""
    second = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
    with webhook_sink() as sink, webhook_sink() as other:
        sink.behave("/", Behaviour(extra=second, extra_delay_seconds=late_seconds), Behaviour())
        other.behave("/", Behaviour(delay_seconds=0.5 * PATIENCE))
        async with push_client(*LOOPBACK) as client:
            urls = [sink.url(), other.url(), sink.url()]  # the other gives it time
            answers = [await client.post(request_to(url), may_repeat=True) for url in urls]

    assert {answer.outcome for answer in answers} == {Outcome.ACCEPTED}
    assert sink.connections == 2
