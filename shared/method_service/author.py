"""For those who write a method service in Python: register, take calls, answer, append.

    async with open_bus(url, name="notes") as bus:
        async with method_service(bus, DESCRIPTION, {"Note/get": get_notes}):
            await stopping.wait()

examples/notes_python is a whole one; docs/method-services.md the contract that this keeps.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec
from msgspec import field
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig

from shared.bus.connection import Bus, BusUnavailableError
from shared.jmap.i_json import JsonObject, encode_json
from shared.method_service.contract import (
    CONTRACT_VERSION,
    ServiceDescription,
    cancel_subject,
    metadata_of,
    subject_of,
)

_log = logging.getLogger(__name__)

_APPEND_SUBJECT = "tidings.append"
_APPEND_SECONDS = 10.0
_UNAVAILABLE = "503"
_WAITING_MAX = 256  # calls that are not begun; more are refused

States: TypeAlias = Mapping[str, Mapping[str, tuple[str, int]]]
"""Account -> type -> (state, order)."""


class MethodFailedError(Exception):
    """Answers with a method error (RFC 8620 section 3.6.2); nothing may have changed."""

    def __init__(self, type_: str, description: str | None = None) -> None:
        super().__init__(type_, description)
        self.arguments: JsonObject = {"type": type_}
        if description is not None:
            self.arguments["description"] = description


class AppendFailedError(Exception):
    """The log does not have the states yet: try again later."""


class Access(msgspec.Struct, frozen=True, rename="camel"):
    """How the user may use an account."""

    read_only: bool


class Principal(msgspec.Struct, frozen=True):
    """Who asks, with all accounts that it may see."""

    id: str
    accounts: dict[str, Access]


class MethodCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A call, its references to earlier results resolved."""

    method: str
    arguments: JsonObject
    call_id: str
    using: list[str]
    principal: Principal
    created_ids: dict[str, str]
    version: int = CONTRACT_VERSION
    timeout: int = 10_000  # milliseconds until nobody waits any more
    traceparent: str | None = None

    def account(self, *, to_write: bool = False) -> str:
        """The id in `accountId`. Raises MethodFailedError."""
        account_id = self.arguments.get("accountId")
        if not isinstance(account_id, str):
            raise MethodFailedError("invalidArguments", "accountId is missing.")
        access = self.principal.accounts.get(account_id)
        if access is None:
            raise MethodFailedError("accountNotFound")
        if to_write and access.read_only:
            raise MethodFailedError("accountReadOnly")
        return account_id

    def record_id(self, given: str) -> str:
        """`#k` is what an earlier call of the request created as `k`; if none did, it stays."""
        return self.created_ids.get(given[1:], given) if given.startswith("#") else given


class MethodReply(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`changed` is in the log, or will be, before the client has the answer.

    `name` is set for you.
    """

    name: str = ""
    arguments: JsonObject
    created_ids: dict[str, str] = field(default_factory=dict)
    changed: States = field(default_factory=dict)


Handler: TypeAlias = Callable[[MethodCall], Awaitable[MethodReply]]

_calls = msgspec.json.Decoder(MethodCall)


@asynccontextmanager
async def method_service(
    bus: Bus,
    description: ServiceDescription,
    handlers: Mapping[str, Handler],
    *,
    calls_max: int = 32,
) -> AsyncIterator[Service]:
    """Serve while the block runs; at its end no more calls are taken, and those in hand finished.

    `handlers` are by method name. More than `calls_max` calls wait, up to a bound, and are not
    begun when their time is over; over it they are answered serverUnavailable at once.
    """
    async with asyncio.TaskGroup() as tasks:
        calls = _Calls(tasks, calls_max)
        config = ServiceConfig(
            name=description.name, version=description.version, metadata=metadata_of(description)
        )
        cancels = await bus.client.subscribe(cancel_subject(description.name), cb=calls.cancel)
        service = await add_service(bus.client, config)
        for method, handler in handlers.items():
            await service.add_endpoint(
                EndpointConfig(
                    name=method.replace("/", "-"),
                    subject=subject_of(method),
                    handler=calls.taker(method, handler),
                )
            )
        try:
            yield service
        finally:
            await _leave(service)
            await calls.finished()
            await cancels.unsubscribe()


async def append_states(bus: Bus, token: str, states: States) -> None:
    """Returns when the log has them; repeating it is harmless. Raises AppendFailedError.

    For a service's own outbox: `token` has the scope `append`.
    """
    body = encode_json(
        {
            "@type": "StateChange",
            "changed": _part(states, 0),
            "order": _part(states, 1),
        }
    )
    try:
        message = await bus.client.request(
            _APPEND_SUBJECT,
            body,
            timeout=_APPEND_SECONDS,
            headers={"Authorization": f"Bearer {token}"},
        )
    except (NatsError, TimeoutError) as error:
        raise AppendFailedError(f"no answer: {error!r}") from error
    if "Nats-Service-Error-Code" in (message.headers or {}):
        raise AppendFailedError(message.data.decode(errors="replace")[:500])


def _part(states: States, place: int) -> dict[str, dict[str, str | int]]:
    return {
        account_id: {type_name: pair[place] for type_name, pair in of_account.items()}
        for account_id, of_account in states.items()
    }


async def _leave(service: Service) -> None:
    """`stop` alone would throw away calls that have arrived and were not taken yet."""
    for endpoint in service._endpoints:  # noqa: SLF001 - nats-py has no other way to them
        if endpoint._subscription is not None:  # noqa: SLF001
            await endpoint._subscription.drain()  # noqa: SLF001
    service._endpoints.clear()  # noqa: SLF001
    await service.stop()


class _Calls:
    """Those under way. A handler is a task, so that one slow call holds no other."""

    def __init__(self, tasks: asyncio.TaskGroup, calls_max: int) -> None:
        self._tasks = tasks
        self._slots = asyncio.Semaphore(calls_max)
        self._in_hand_max = calls_max + _WAITING_MAX
        self._running: dict[str, asyncio.Task[None]] = {}
        self._handling: dict[str, asyncio.Task[None]] = {}

    def taker(self, method: str, handler: Handler) -> Callable[[Request], Awaitable[None]]:
        async def take(request: Request) -> None:
            if len(self._running) >= self._in_hand_max:
                await request.respond_error(_UNAVAILABLE, "too many calls are under way")
                return
            name = request._msg.reply  # noqa: SLF001 - as a cancel names the call
            task = self._tasks.create_task(self._answer(method, handler, request, name))
            self._running[name] = self._handling[name] = task

        return take

    async def cancel(self, message: Msg) -> None:
        """Nobody waits for this call any more."""
        task = self._handling.get(message.data.decode(errors="replace"))
        if task is not None:
            task.cancel()

    async def finished(self) -> None:
        if self._running:
            await asyncio.wait(self._running.values())

    async def _answer(self, method: str, handler: Handler, request: Request, name: str) -> None:
        try:
            answer = await self._handle(method, handler, request)
            self._handling.pop(name, None)  # from here on it is answered, whoever waits
            if isinstance(answer, _NotBegun):
                await request.respond_error(_UNAVAILABLE, "the call waited for too long")
            elif answer is None:
                await request.respond_error("500", "a fault of the service, which its log has")
            else:
                await request.respond(encode_json(answer))
        except (NatsError, BusUnavailableError) as error:
            _log.warning("answer_not_sent", extra={"method": method, "error": repr(error)})
        finally:
            self._running.pop(name, None)
            self._handling.pop(name, None)

    async def _handle(
        self, method: str, handler: Handler, request: Request
    ) -> "MethodReply | _NotBegun | None":
        """None: a fault."""
        now = asyncio.get_running_loop().time
        try:
            call = _read(request.data)
            ends_at = now() + call.timeout / 1000
            async with self._slots:
                if now() >= ends_at:
                    return _NotBegun()
                async with asyncio.timeout_at(ends_at):
                    reply = await handler(call)
        except MethodFailedError as error:
            return MethodReply(name="error", arguments=error.arguments)
        except Exception:  # noqa: BLE001 - a fault of one call is no other call's
            _log.exception("method_failed", extra={"method": method})
            return None
        return msgspec.structs.replace(reply, name=method)


class _NotBegun:
    """Its time was over before there was room for it."""


def _read(body: bytes) -> MethodCall:
    """Raises MethodFailedError."""
    call = _calls.decode(body)
    if call.version != CONTRACT_VERSION:
        raise MethodFailedError("serverUnavailable", "Of another version of the contract.")
    return call
