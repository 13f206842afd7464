"""Where connections of webhooks may lead: every address is judged when it is resolved and dialled.

The resolver refuses a host with any address of the inside; the guard judges what is dialled in the
end, also an address that was written in the URL, which asks no resolver.
"""

import asyncio
import errno
import math
import socket
import ssl
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import msgspec
from aiohappyeyeballs import start_connection

from services.webhooks.connections import Connection
from services.webhooks.failures import AddressBlockedError, not_connected, not_resolved
from shared.web_push.address_policy import Exemptions, address_of, why_refused
from shared.web_push.endpoint import Endpoint

# Of one host that are dialled, each a little after the one before.
ADDRESSES_MAX = 8
_LOOK_UPS_MAX = 64
_HOSTS_REMEMBERED_MAX = 4096
_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305 section 8

# A host to its addresses, as text; raises OSError.
LookUp: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
# Address, port, and for IPv6 the flow and the scope.
Place: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[int, int, int, str, Place]


class Guard:
    """A socket for an address that may be dialled (aiohappyeyeballs' `socket_factory`).

    For one connection to `host`: an exempt host must not exempt another one.
    """

    def __init__(self, exemptions: Exemptions, host: str) -> None:
        self._exemptions = exemptions
        self._host = host
        self.has_dialled = False

    def __call__(self, info: AddressInfo) -> socket.socket:
        """Raises AddressBlockedError, before anything is sent."""
        family, kind, protocol, _, place = info
        self.has_dialled = True
        reason = why_refused(
            _with_scope(place), int(place[1]), exemptions=self._exemptions, host=self._host
        )
        if reason is not None:
            raise AddressBlockedError(reason)
        return socket.socket(family, kind, protocol)


class Dialler:
    """Opens connections: resolved, judged, dialled, with TLS where the URL says so."""

    def __init__(
        self,
        exemptions: Exemptions,
        resolver: "Resolver",
        new_connection: Callable[[], Connection],
        tls: ssl.SSLContext,
    ) -> None:
        self._exemptions = exemptions
        self._resolver = resolver
        self._new_connection = new_connection
        self._tls = tls

    def guard(self, endpoint: Endpoint) -> Guard:
        return Guard(self._exemptions, endpoint.host)

    async def dial(self, endpoint: Endpoint, guard: Guard) -> Connection:
        """Raises PostFailedError."""
        try:
            infos = await self._addresses(endpoint)
        except OSError as error:
            raise not_resolved(error) from error
        try:
            dialled = await start_connection(
                infos, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, socket_factory=guard
            )
            return await self._converse(dialled, endpoint)
        except OSError as error:
            raise not_connected(error) from error

    async def _addresses(self, endpoint: Endpoint) -> Sequence[AddressInfo]:
        if address_of(endpoint.host) is not None:
            return [address_info(endpoint.host, endpoint.port)]
        return await self._resolver.resolve(endpoint.host, endpoint.port)

    async def _converse(self, dialled: socket.socket, endpoint: Endpoint) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            if endpoint.scheme == "https":
                _, connection = await loop.create_connection(
                    self._new_connection,
                    sock=dialled,
                    ssl=self._tls,
                    server_hostname=endpoint.host,
                )
            else:
                _, connection = await loop.create_connection(self._new_connection, sock=dialled)
        except BaseException:
            dialled.close()
            raise
        return connection


class Resolver:
    """All addresses of a host must be ones that may be dialled, and come in time.

    Who asks for the same host meanwhile, or soon after, gets the same answer.
    """

    def __init__(
        self,
        exemptions: Exemptions,
        look_up: LookUp,
        *,
        seconds_max: float,
        remembered_seconds: float,
    ) -> None:
        self._exemptions = exemptions
        self._look_up = look_up
        self._seconds_max = seconds_max
        self._remembered_seconds = remembered_seconds
        self._asked: OrderedDict[tuple[str, int], _Asked] = OrderedDict()

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """Raises OSError; AddressBlockedError where one address is of the inside."""
        while True:
            asked = self._asked.get((host, port))
            if asked is None or asked.ends_at <= asyncio.get_running_loop().time():
                answer = await self._ask(host, port)
            else:
                answer = await asyncio.shield(asked.answer)
            if isinstance(answer, OSError):
                raise answer
            if answer is not None:
                return answer

    async def _ask(self, host: str, port: int) -> "_AddressAnswer":
        """For all who wait meanwhile; a failure is not remembered."""
        loop = asyncio.get_running_loop()
        asked = self._asked[host, port] = _Asked(loop.create_future())
        if len(self._asked) > _HOSTS_REMEMBERED_MAX:
            self._asked.popitem(last=False)
        answer: _AddressAnswer = None
        try:
            answer = await self._resolve(host, port)
            asked.ends_at = loop.time() + self._remembered_seconds
        except OSError as error:
            answer = error
        finally:
            asked.answer.set_result(answer)
            if asked.ends_at <= loop.time() or answer is None or isinstance(answer, OSError):
                asked.ends_at = 0.0
                if self._asked.get((host, port)) is asked:
                    del self._asked[host, port]
        return answer

    async def _resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        try:
            async with asyncio.timeout(self._seconds_max):
                found = list(dict.fromkeys(await self._look_up(host)))
        except TimeoutError as error:
            raise OSError(f"no answer of the DNS within {self._seconds_max:g} s") from error
        if not found:
            raise OSError("the host has no address")
        for address in found:
            reason = why_refused(address, port, exemptions=self._exemptions, host=host)
            if reason is not None:
                raise AddressBlockedError(f"{reason}, or that of another of its addresses")
        return [address_info(address, port) for address in found[:ADDRESSES_MAX]]


# None: who asked gave up; ask again.
_AddressAnswer: TypeAlias = Sequence[AddressInfo] | OSError | None


class _Asked(msgspec.Struct, eq=False):
    answer: asyncio.Future[_AddressAnswer]
    ends_at: float = math.inf  # of the loop's time; it is shared until then


class SystemLookUp:
    """The system's resolver. Threads of its own: slow names must not hold up what others do.

    They are daemons, since nobody can end a look-up: the process need not wait for it.
    """

    def __init__(
        self,
        look_ups_max: int = _LOOK_UPS_MAX,
        resolve: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """`resolve` may block, for how long it likes."""
        self._free = look_ups_max
        self._resolve = resolve or system_addresses

    async def __call__(self, host: str) -> Sequence[str]:
        if not self._free:
            raise OSError(errno.EAGAIN, "too many look-ups are under way")
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()
        thread = threading.Thread(
            target=self._run, args=(host, loop, found), name="webhook DNS", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread for a look-up") from error
        self._free -= 1
        return await found

    def _run(
        self, host: str, loop: asyncio.AbstractEventLoop, found: asyncio.Future[Sequence[str]]
    ) -> None:
        outcome: Sequence[str] | OSError
        try:
            outcome = self._resolve(host)
        except OSError as error:
            outcome = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._finish, found, outcome)

    def _finish(
        self, found: asyncio.Future[Sequence[str]], outcome: Sequence[str] | OSError
    ) -> None:
        self._free += 1
        if found.done():  # nobody waits any more
            return
        if isinstance(outcome, OSError):
            found.set_exception(outcome)
        else:
            found.set_result(outcome)


def system_addresses(host: str) -> Sequence[str]:
    infos = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [_with_scope(info[4]) for info in infos]


def _with_scope(place: Place) -> str:
    """An address as text; one with a scope is never taken, so that it must not get lost."""
    address, _, *rest = place
    scope = f"%{rest[1]}" if len(rest) > 1 and rest[1] else ""
    return f"{address!s}{scope}"


def address_info(address: str, port: int) -> AddressInfo:
    """Of an address as text, without a scope."""
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
