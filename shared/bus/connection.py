"""A NATS connection that cannot go deaf.

nats-py 2.16 ends its read loop, silently and for good, on an exception in the error callback, on
a PONG that nobody waits for any more, and on a message that it cannot read; it closes for good on
most errors that a server reports; and it sends what was published before a reconnect after it, when
the caller has long been told of a failure. `_Client` closes these holes. Its own `drain` and
JetStream context are not used (docs/adr/0005).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import DEFAULT_SUB_PENDING_BYTES_LIMIT, Subscription
from nats.errors import Error as NatsError

from shared.runtime.metrics import Metric, Metrics

_log = logging.getLogger(__name__)

_SERVER_VERSION_MIN = (2, 15, 1)  # older ones ignore fields that they do not know


_RECONNECT_SECONDS = 0.25
_ERROR_CHARACTERS_MAX = 500
_PERMISSIONS_VIOLATION = "permissions violation"


class BusUnavailableError(Exception):
    """NATS could not be reached, or did not answer in time; a request may have taken effect."""


class ServerTooOldError(Exception):
    """The NATS server would ignore fields that the log depends on."""


class _Client(Client):
    def __init__(self) -> None:
        super().__init__()
        self._ears: dict[int, Callable[[Msg], None]] = {}  # by subscription

    async def hear(self, subject: str, receive: Callable[[Msg], None]) -> Subscription:
        """As `subscribe`, without a queue and a task between the socket and `receive`."""

        async def receive_early(message: Msg) -> None:
            receive(message)

        subscription = await self.subscribe(
            subject, cb=receive_early, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._ears[subscription._id] = receive  # noqa: SLF001 - as nats-py calls it
        return subscription

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        """What cannot be read, such as headers or a reply subject in no UTF-8, is dropped."""
        receive = self._ears.get(sid)
        try:
            if receive is None:
                await super()._process_msg(sid, subject, reply, data, headers)
                return
            known = await self._process_headers(headers) if headers else None
            receive(self._build_message(sid, subject, reply, data, known))
        except Exception as error:  # noqa: BLE001 - else the read loop would end, silently
            await self._error_cb(error)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._ears.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():  # its waiter timed out or was cancelled
            self._pongs.pop(0)
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    async def _select_next_server(self) -> None:
        if self._transport is not None:  # of an attempt that failed after it had connected
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._select_next_server()

    async def _process_err(self, err_msg: str) -> None:
        """nats-py closes for good on most errors that a server reports."""
        if _PERMISSIONS_VIOLATION in err_msg.lower():
            await super()._process_err(err_msg)
        else:
            await self._process_op_err(NatsError(f"nats: {err_msg}"))

    async def _attempt_reconnect(self) -> None:
        # Whoever published these was or will be told that it failed; a rolled-back log must not
        # get them before it was checked.
        self._pending.clear()
        self._pending_data_size = 0
        while True:
            try:
                await super()._attempt_reconnect()
            except RuntimeError as error:  # uvloop, of a transport that closed under its writer
                await _report(error)
                self._status = Client.RECONNECTING
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                return


class Bus:
    """One connection. It reconnects by itself; `generation` counts its connections."""

    def __init__(self, client: _Client, name: str) -> None:
        self.client = client
        self.name = name
        self.generation = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_connected(self) -> bool:
        return bool(self.client.is_connected)

    def on_connection_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop after each loss and each return of the connection."""
        self._listeners.append(listener)

    def forget_listener(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    async def publish(
        self, subject: str, body: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Hand to the connection; raises BusUnavailableError at once while there is none."""
        try:
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except NatsError as error:
            raise BusUnavailableError(f"not published: {error!r}") from error

    async def request(
        self,
        subject: str,
        body: bytes,
        *,
        timeout_seconds: float,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        """Raises BusUnavailableError when nobody answers in time, or nobody listens at all."""
        try:
            message = await self.client.request(
                subject, body, timeout=timeout_seconds, headers=headers
            )
        except (NatsError, TimeoutError) as error:
            raise BusUnavailableError(f"no answer to {subject}: {error!r}") from error
        return bytes(message.data)

    async def hear(self, subject: str, receive: Callable[[Msg], None]) -> Subscription:
        """Call `receive`, which must not wait, for each message as it is read from the socket."""
        return await self.client.hear(subject, receive)

    @asynccontextmanager
    async def listening(
        self, subject: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Call `receive` for each message, one after the other, until the block ends.

        Raises BusUnavailableError when it cannot begin; a reconnect in between is survived.
        """
        try:
            subscription = await self.client.subscribe(subject, cb=receive)
        except NatsError as error:
            raise BusUnavailableError(f"cannot listen to {subject}: {error!r}") from error
        try:
            yield
        finally:
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await subscription.unsubscribe()

    async def share(
        self,
        subject: str,
        queue: str,
        receive: Callable[[Msg], Awaitable[None]],
        *,
        until: asyncio.Event,
        pending_octets_max: int = DEFAULT_SUB_PENDING_BYTES_LIMIT,
    ) -> None:
        """Be one of `queue` until `until` is set; returns when the last message was received.

        From then on the others of the queue get what comes. Raises BusUnavailableError.
        """
        try:
            subscription = await self.client.subscribe(
                subject, queue=queue, cb=receive, pending_bytes_limit=pending_octets_max
            )
        except NatsError as error:
            raise BusUnavailableError(f"cannot listen to {subject}: {error!r}") from error
        await until.wait()
        with suppress(NatsError, TimeoutError):  # NATS is away, and nothing is on its way here
            await subscription.drain()  # type: ignore[no-untyped-call]

    async def _changed(self) -> None:
        self.generation += 1
        for listener in tuple(self._listeners):
            listener()


def watch_buses(metrics: Metrics, buses: Sequence[Bus]) -> None:
    """Whether they are connected, and how often that changed, at each scrape; by their names."""

    def sample() -> None:
        for bus in buses:
            metrics.set(Metric.NATS_CONNECTED, float(bus.is_connected), connection=bus.name)
            changes = bus.generation
            metrics.total(Metric.NATS_CONNECTION_CHANGES, changes, connection=bus.name)

    metrics.on_scrape(sample)


@asynccontextmanager
async def open_bus(url: str, *, name: str, connect_seconds: float = 30) -> AsyncIterator[Bus]:
    """Connect to one of the comma-separated servers of `url`, as the user of the first of them.

    Answers come to `_INBOX.<user>.>`, which a server may keep from other users (nats/access.conf).

    Raises BusUnavailableError when none answers in `connect_seconds`, ServerTooOldError.
    """
    client = _Client()
    bus = Bus(client, name)
    options: dict[str, Any] = {
        "servers": url.split(","),
        "name": name,
        "error_cb": _report,
        "disconnected_cb": bus._changed,  # noqa: SLF001 - its own module
        "reconnected_cb": bus._changed,  # noqa: SLF001
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": _RECONNECT_SECONDS,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "pending_size": 0,  # publishing without a connection fails at once
        **_identity(url.split(",", maxsplit=1)[0]),
    }
    try:
        async with asyncio.timeout(connect_seconds):
            await client.connect(**options)
    except (TimeoutError, NatsError, OSError) as error:
        await _close(client)
        raise BusUnavailableError(
            f"no NATS server at {_without_password(url)}: {error!r}"
        ) from error
    try:
        _require_version(client)
        yield bus
    finally:
        await _close(client)


def _identity(url: str) -> dict[str, str]:
    """Of a URL without a password nothing: its user, if any, is a token, no name to be shown."""
    parts = urlsplit(url)
    if not parts.username or parts.password is None:
        return {}
    # Given as options they serve for servers, too, that the first one tells of.
    return {
        "user": parts.username,
        "password": parts.password,
        "inbox_prefix": f"_INBOX.{parts.username}",
    }


async def _report(error: Exception) -> None:
    """nats-py's read loop ends when this raises, so it must not."""
    text = repr(error)[:_ERROR_CHARACTERS_MAX]  # one of decoding quotes all that it could not read
    _log.warning("nats_error", extra={"error": text})


async def _close(client: Client) -> None:
    try:
        await client.close()
    except RuntimeError:  # uvloop: data was left for a transport that is gone
        client._pending.clear()  # noqa: SLF001 - nats-py has no other way to drop it
        client._pending_data_size = 0  # noqa: SLF001
        await client.close()


def _require_version(client: Client) -> None:
    version = client.connected_server_version
    found = (version.major, version.minor, version.patch)
    if found < _SERVER_VERSION_MIN:
        wanted = ".".join(map(str, _SERVER_VERSION_MIN))
        raise ServerTooOldError(
            f"NATS server {'.'.join(map(str, found))} is too old: the log needs {wanted} or newer"
        )


def _without_password(url: str) -> str:
    return ",".join(part.rsplit("@", 1)[-1] for part in url.split(","))
