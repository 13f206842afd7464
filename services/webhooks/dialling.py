"""Where connections of webhooks may lead: every address is judged when it is resolved and dialled.

The resolver refuses a host with any address of the inside; the guard judges what is dialled in the
end, also an address that was written in the URL, which asks no resolver.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.web_push.address_policy import Exemptions, why_refused

# Of one host that are dialled, one after another.
ADDRESSES_MAX = 8
_LOOK_UPS_MAX = 64

# A host to its addresses, as text; raises OSError.
LookUp: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
# Address, port, and for IPv6 the flow and the scope.
Place: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
AddressInfo: TypeAlias = tuple[int, int, int, str, Place]


class AddressBlockedError(OSError):
    """The address policy forbids it. Without an errno, so that it looks like nothing else."""


class Dial:
    """Of one request: the host of its URL, and whether it needed a new connection."""

    __slots__ = ("has_dialled", "host")

    def __init__(self, host: str) -> None:
        self.host = host
        self.has_dialled = False


# Of the request whose connection is being opened; an exempt host must not exempt another one.
current_dial: ContextVar[Dial] = ContextVar("current_dial")


class Guard:
    """A socket for an address that may be dialled (aiohttp's `socket_factory`)."""

    def __init__(self, exemptions: Exemptions) -> None:
        self._exemptions = exemptions

    def __call__(self, info: AddressInfo) -> socket.socket:
        """Raises AddressBlockedError, before anything is sent."""
        family, kind, protocol, _, place = info
        dial = current_dial.get()
        dial.has_dialled = True
        reason = why_refused(
            _with_scope(place), int(place[1]), exemptions=self._exemptions, host=dial.host
        )
        if reason is not None:
            raise AddressBlockedError(reason)
        return socket.socket(family, kind, protocol)


class Resolver(AbstractResolver):
    """All addresses of a host must be ones that may be dialled, and come in time."""

    def __init__(self, exemptions: Exemptions, look_up: LookUp, *, seconds_max: float) -> None:
        self._exemptions = exemptions
        self._look_up = look_up
        self._seconds_max = seconds_max

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError; AddressBlockedError where one address is of the inside."""
        del family  # both
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
        return [_result(host, address, port) for address in found[:ADDRESSES_MAX]]

    async def close(self) -> None:
        pass


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


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )
