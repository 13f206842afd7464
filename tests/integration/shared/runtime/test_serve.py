"""HTTP inside a composition root: ports, certificates, and the end of it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.runtime.errors import CouldNotStartError
from shared.runtime.serve import HttpSettings, listen, serve, url_of

pytestmark = pytest.mark.integration

ANY = HttpSettings(port=0, drain_seconds_max=1)


def application(draining: asyncio.Event) -> Starlette:
    async def hello(_request: Request) -> Response:
        return PlainTextResponse("hello")

    async def lines() -> AsyncIterator[bytes]:
        yield b"first\n"
        await draining.wait()
        yield b"last\n"

    async def stream(_request: Request) -> Response:
        return StreamingResponse(lines())

    async def hang(_request: Request) -> Response:
        draining.set()
        await asyncio.Event().wait()
        return Response()

    return Starlette(routes=[Route("/", hello), Route("/stream", stream), Route("/hang", hang)])


async def test_an_open_stream_has_its_last_line_when_the_process_drains() -> None:
    draining = asyncio.Event()
    listener = listen(ANY)
    url = url_of(listener, ANY)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(application(draining), listener, ANY, draining))
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False) as client,
            client.stream("GET", "/stream") as response,
        ):
            seen = []
            async for line in response.aiter_lines():
                seen.append(line)
                draining.set()
    assert seen == ["first", "last"]


async def test_a_request_that_hangs_is_cut_after_the_drain_time() -> None:
    draining = asyncio.Event()
    listener = listen(ANY)

    async def asks() -> None:
        async with httpx.AsyncClient(base_url=url_of(listener, ANY), trust_env=False) as client:
            assert (await client.get("/")).text == "hello"
            with contextlib.suppress(httpx.RemoteProtocolError):
                assert (await client.get("/hang")).status_code == 500

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(application(draining), listener, ANY, draining))
        tasks.create_task(asks())


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CouldNotStartError) as caught:
            listen(HttpSettings(port=port))
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is taken by another program: "
        "stop it, or set TIDINGS_PORT to a free one."
    )


def test_a_host_that_is_not_ours_is_one_line() -> None:
    with pytest.raises(CouldNotStartError, match="check TIDINGS_HOST"):
        listen(HttpSettings(host="192.0.2.1"))


def test_half_a_certificate_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CouldNotStartError, match="go together"):
        listen(HttpSettings(tls_cert=tmp_path / "cert.pem"))
    with pytest.raises(CouldNotStartError, match="cannot be used"):
        listen(HttpSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))
