"""An endpoint of webhooks, as others run one: records what it is sent, misbehaves on demand."""

import asyncio
import base64
import contextlib
import functools
import itertools
import secrets
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

import http_ece  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.certificate import Certificate

BOMB_OCTETS = 200 * 1024 * 1024  # inflated
_HEAD_OCTETS_MAX = 64 * 1024
_DRIP_SECONDS = 0.05


class Subscriber:
    """A browser's side of a subscription: its keys, and what it reads with them (RFC 8291)."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._auth = secrets.token_bytes(16)

    @property
    def keys(self) -> dict[str, str]:
        """As JMAP has them: `p256dh` and `auth`."""
        point = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return {"p256dh": _base64url(point), "auth": _base64url(self._auth)}

    def decrypt(self, body: bytes) -> bytes:
        """By a library of others; raises what it raises."""
        plain: bytes = http_ece.decrypt(
            body, private_key=self._private, auth_secret=self._auth, version="aes128gcm"
        )
        return plain


class Manner(Enum):
    """How a request is answered."""

    ANSWER = auto()
    BLACK_HOLE = auto()  # never
    DRIP = auto()  # the head, then an octet of the body at a time, for ever
    DRIP_HEAD = auto()  # an octet of the head at a time, for ever
    ENDLESS_BODY = auto()  # as fast as it is taken
    BOMB = auto()  # gzip of BOMB_OCTETS
    ENDLESS_HEADERS = auto()
    ENDLESS_HEADER = auto()  # one, without an end
    FLOOD_OF_CONTINUES = auto()  # 100 Continue, as fast as it is taken
    RESET = auto()  # a TCP reset once the request is there
    CLOSE = auto()  # an end without an answer
    GARBAGE = auto()  # something that is not HTTP


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    manner: Manner = Manner.ANSWER
    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    extra: bytes = b""  # sent behind the answer, as if to answer the next request
    extra_delay_seconds: float = 0.0


OK = Behaviour()


@dataclass(frozen=True)
class Overlap:
    """Two requests to one path at once, and when they began."""

    path: str
    first_at: float
    second_at: float


@dataclass(frozen=True, kw_only=True)
class Post:
    """A request that arrived whole."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # as sent
    content: bytes  # decrypted, where the sink has the keys of its path
    at: float  # of the monotonic clock
    connection: int  # counts from 1
    raw_head: bytes


class WebhookSink:
    """Runs in a thread, so that nothing it does holds up a test's loop; see `webhook_sink`."""

    def __init__(self, certificate: Certificate | None, address: str, port: int) -> None:
        self._tls = None if certificate is None else _tls(certificate)
        self._address = address
        self.posts: list[Post] = []
        self.answered: list[tuple[Post, int]] = []  # the status, of those that were given one
        self.overlaps: list[Overlap] = []
        self.connections = 0  # ever accepted, also those whose handshake failed
        self.open_connections = 0
        self.port = port
        self._behaviours: dict[str, list[Behaviour]] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._under_way: dict[str, list[Post]] = {}
        self._loop = asyncio.new_event_loop()
        self._tasks = set[asyncio.Task[None]]()

    def url(self, path: str = "/", *, host: str = "") -> str:
        scheme = "http" if self._tls is None else "https"
        address = f"[{self._address}]" if ":" in self._address else self._address
        return f"{scheme}://{host or address}:{self.port}{path}"

    def behave(self, path: str, *behaviours: Behaviour) -> None:
        """One request each, the last one for all that follow; without any: 201."""
        self._behaviours[path] = list(behaviours)

    def subscribe(self, path: str) -> Subscriber:
        """What is sent to `path` from now on is decrypted."""
        return self._subscribers.setdefault(path, Subscriber())

    def posts_to(self, path: str) -> list[Post]:
        return [post for post in self.posts if post.path == path]

    async def _serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, self._address, self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._serve())
        started.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open_connections += 1
        try:
            await self._talk(reader, writer, self.connections)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the deliverer went away, or the test ended
        finally:
            self.open_connections -= 1
            writer.transport.abort()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        if self._tls is not None:
            await writer.start_tls(self._tls)
        while (post := await self._read(reader, connection)) is not None:
            self.posts.append(post)
            behaviour = self._behaviour(post.path)
            with self._noting_overlaps(post, behaviour.manner):
                stays = await _answer(reader, writer, behaviour)
                if behaviour.manner is Manner.ANSWER:
                    self.answered.append((post, behaviour.status))
            if not stays:
                return

    @contextmanager
    def _noting_overlaps(self, post: Post, manner: Manner) -> Iterator[None]:
        others = self._under_way.setdefault(post.path, [])
        self.overlaps += [Overlap(post.path, other.at, post.at) for other in others]
        if manner in _STATUS_FIRST:  # all of it was said; what comes after that may overlap
            others = []
        others.append(post)
        try:
            yield
        finally:
            others.remove(post)

    def _behaviour(self, path: str) -> Behaviour:
        planned = self._behaviours.get(path) or [OK]
        return planned.pop(0) if len(planned) > 1 else planned[0]

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Post | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        assert len(head) < _HEAD_OCTETS_MAX
        start, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = start.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        subscriber = self._subscribers.get(path)
        return Post(
            method=method,
            path=path,
            headers=headers,
            body=body,
            content=body if subscriber is None else subscriber.decrypt(body),
            at=time.monotonic(),
            connection=connection,
            raw_head=head,
        )


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behaviour: Behaviour
) -> bool:
    """Whether the connection stays."""
    await asyncio.sleep(behaviour.delay_seconds)
    match behaviour.manner:
        case Manner.ANSWER:
            answer = _head(behaviour, len(behaviour.body)) + behaviour.body
            if behaviour.extra_delay_seconds:
                writer.write(answer)
                await asyncio.sleep(behaviour.extra_delay_seconds)
                answer = b""
            writer.write(answer + behaviour.extra)
            await writer.drain()
            return behaviour.headers.get("Connection") != "close"
        case Manner.BOMB:
            bomb = _bomb()
            headers = {**behaviour.headers, "Content-Encoding": "gzip"}
            writer.write(_head(Behaviour(status=200, headers=headers), len(bomb)) + bomb)
            await writer.drain()
            return True
        case Manner.RESET:
            # SO_LINGER of zero seconds: the close is a reset.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        case Manner.BLACK_HOLE:
            await reader.read()
        case Manner.GARBAGE:
            writer.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            await writer.drain()
        case Manner.CLOSE:
            pass
        case _:
            await _go_on(writer, *_ENDLESS[behaviour.manner])
    return False


async def _go_on(writer: asyncio.StreamWriter, head: bytes, step: bytes, pause: float) -> None:
    writer.write(head)
    while True:
        writer.write(step)
        await writer.drain()
        await asyncio.sleep(pause)


_STATUS_FIRST = (Manner.DRIP, Manner.ENDLESS_BODY, Manner.BOMB)
_ENDLESS = {
    Manner.DRIP: (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x", _DRIP_SECONDS),
    Manner.DRIP_HEAD: (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", _DRIP_SECONDS),
    Manner.ENDLESS_BODY: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"4000\r\n" + b"x" * 0x4000 + b"\r\n",
        0,
    ),
    Manner.ENDLESS_HEADERS: (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100, 0),
    Manner.ENDLESS_HEADER: (b"HTTP/1.1 200 OK\r\nX-More: ", b"and more" * 1000, 0),
    Manner.FLOOD_OF_CONTINUES: (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0),
}


def _head(behaviour: Behaviour, length: int) -> bytes:
    lines = [f"HTTP/1.1 {behaviour.status} Whatever"]
    lines += [f"{name}: {value}" for name, value in behaviour.headers.items()]
    if "Content-Length" not in behaviour.headers and behaviour.status != 204:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(1024 * 1024)
    packed = b"".join(
        packer.compress(chunk) for _ in itertools.repeat(None, BOMB_OCTETS // len(chunk))
    )
    return packed + packer.flush()


def _tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key_path)
    return context


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


@contextmanager
def webhook_sink(
    certificate: Certificate | None = None, *, address: str = "127.0.0.1", port: int = 0
) -> Iterator[WebhookSink]:
    """On a port of its own; HTTPS with a certificate, which a deliverer must trust."""
    sink = WebhookSink(certificate, address, port)
    started = threading.Event()
    thread = threading.Thread(target=sink.run, args=(started,), name="webhook sink", daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield sink
    finally:
        with contextlib.suppress(RuntimeError):
            sink.stop()
        thread.join(10)
        assert not thread.is_alive()
