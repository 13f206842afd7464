"""HTTP by uvicorn inside a composition root, which owns signals, resources and the socket."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import uvicorn
from msgspec import Meta
from starlette.types import ASGIApp

from shared.runtime.errors import CouldNotStartError

_BACKLOG = 4096


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: where a process listens."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"  # address to listen at
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # to listen at; 0: any that is free
    tls_cert: Path | None = None  # PEM file; with the key: HTTPS and WSS without a proxy
    tls_key: Path | None = None  # PEM file; goes with the certificate
    drain_seconds_max: Annotated[int, Meta(ge=1, le=3600)] = (
        3  # for requests under way at the end; then they are cut
    )


def listen(settings: HttpSettings) -> socket.socket:
    """Take the port before anything else is opened, so that a taken one costs nothing.

    Raises:
        CouldNotStartError: it is taken or forbidden, or the certificate cannot be used.
    """
    _check_certificate(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=_BACKLOG
        )
    except OSError as error:
        raise CouldNotStartError(_why_not(error, settings)) from error
    listener.setblocking(False)  # noqa: FBT003
    return listener


def url_of(listener: socket.socket, settings: HttpSettings) -> str:
    """What a client on this machine uses."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{shown}:{listener.getsockname()[1]}"


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    settings: HttpSettings,
    draining: asyncio.Event,
    *,
    http_protocol: type[asyncio.Protocol] | None = None,
) -> None:
    """Answer until `draining`, then finish what is in hand; sets `draining` where it ends earlier.

    The application ends its open streams when `draining` is set; what is still open after
    `drain_seconds_max` is cut.
    """
    config = uvicorn.Config(
        app,
        http=http_protocol or "httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.drain_seconds_max,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    server = _Server(config)
    try:
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(_end_when(draining, server), name="end_http")
            await server.serve(sockets=[listener])
            ending.cancel()
    finally:
        draining.set()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the composition root's."""
        yield


async def _end_when(draining: asyncio.Event, server: uvicorn.Server) -> None:
    await draining.wait()
    server.should_exit = True


def _check_certificate(settings: HttpSettings) -> None:
    if settings.tls_cert is None and settings.tls_key is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise CouldNotStartError("TIDINGS_TLS_CERT and TIDINGS_TLS_KEY go together: set both.")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            settings.tls_cert, settings.tls_key
        )
    except (OSError, ssl.SSLError) as error:
        raise CouldNotStartError(
            f"TIDINGS_TLS_CERT and TIDINGS_TLS_KEY cannot be used ({error}): give PEM files."
        ) from error


def _why_not(error: OSError, settings: HttpSettings) -> str:
    where = f"Port {settings.port} on {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program: stop it, or set TIDINGS_PORT to a free one."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where} is not allowed to this user: set TIDINGS_PORT to 1024 or more."
    return f"{where} cannot be used ({error.strerror or error}): check TIDINGS_HOST."
