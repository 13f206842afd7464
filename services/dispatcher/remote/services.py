"""Finds method services and puts their methods and capabilities beside the server's own."""

import asyncio
import functools
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import asyncpg
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.dispatcher.capabilities import Capabilities
from services.dispatcher.registry import Method
from services.dispatcher.remote.calls import RemoteCalls
from services.dispatcher.remote.changes import Changes, Follow
from services.dispatcher.remote.exchange import Exchange
from services.dispatcher.remote.roster import Roster
from services.dispatcher.remote.settings import MethodServiceSettings
from shared.bus.connection import Bus, BusUnavailableError
from shared.jmap.session import Capability, CoreLimits
from shared.method_service.contract import ContractError, ServiceDescription, read_info
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics

_log = logging.getLogger(__name__)

_INFO_SUBJECT = "$SRV.INFO"
_ROUND_SECONDS = 1.0
_FIRST_ROUND_SECONDS = 0.25
_COMPLAINTS_MAX = 1000  # remembered, so that each is logged once


class MethodServices:
    """`methods` are those of the services that are there now; `run` keeps them so."""

    def __init__(
        self,
        capabilities: Capabilities,
        own: Mapping[str, Method],
        settings: MethodServiceSettings,
        *,
        limits: CoreLimits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.methods: dict[str, Method] = {}
        self.met = asyncio.Event()
        self._capabilities = capabilities
        self._own_types = frozenset(name.partition("/")[0] for name in own)
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._roster = Roster(self._conflict)
        self._told: dict[str, ServiceDescription] = {}
        self._complaints: set[str] = set()

    async def run(self, bus: Bus, pool: asyncpg.Pool, follow: Follow) -> None:
        """Until cancelled; sets `met` when those that are there now were found."""
        changes = Changes(pool, follow, self._clock, log_seconds=self._settings.log_seconds)
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            exchange = await stack.enter_async_context(Exchange(bus, tasks))
            calls = RemoteCalls(
                exchange,
                changes,
                settings=self._settings,
                limits=self._limits,
                clock=self._clock,
                metrics=self._metrics,
            )
            tasks.create_task(changes.run())
            await self._look(bus, calls)

    async def _look(self, bus: Bus, calls: RemoteCalls) -> None:
        inbox = bus.client.new_inbox()
        subscription = await bus.client.subscribe(inbox, cb=self._receive_info)
        bus.on_connection_change(self._pardon)
        pause = _FIRST_ROUND_SECONDS
        try:
            while True:
                try:
                    await bus.publish(_INFO_SUBJECT, b"", reply=inbox)
                except BusUnavailableError:
                    self._pardon()
                await asyncio.sleep(pause)
                self._roster.settle(self._clock.monotonic())
                self._apply(calls)
                self.met.set()
                pause = _ROUND_SECONDS
        finally:
            bus.forget_listener(self._pardon)
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await subscription.unsubscribe()

    async def _receive_info(self, message: Msg) -> None:
        if message.headers:  # not of a service, but that there is none
            return
        try:
            found = read_info(bytes(message.data))
        except ContractError as error:
            if self._is_new(str(error)):
                _log.warning("method_service_unreadable", extra={"reason": str(error)})
            return
        if found is not None:
            self._roster.hear(*found, self._clock.monotonic())

    def _pardon(self) -> None:
        self._roster.pardon(self._clock.monotonic())

    def _conflict(self, description: ServiceDescription) -> str | None:
        urn = description.capability
        if urn in self._capabilities and urn not in self._told:
            return "the server has this capability itself"
        both = self._own_types & description.types.keys()
        return f"the server has the type {min(both)} itself" if both else None

    def _apply(self, calls: RemoteCalls) -> None:
        services = self._roster.services
        for urn, reason in self._roster.refused.items():
            complaint = f"{urn}: {reason}"
            if self._is_new(complaint):
                _log.warning("method_service_refused", extra={"reason": complaint})
        for urn in self._told.keys() - services.keys():
            _log.warning("method_service_gone", extra={"capability": urn})
            self._capabilities.remove(urn)
            self._metrics.set(Metric.SERVICE_INSTANCES, 0, service=self._told[urn].name)
        for urn, description in services.items():
            count = self._roster.instances(urn)
            self._metrics.set(Metric.SERVICE_INSTANCES, count, service=description.name)
            if self._told.get(urn) != description:
                facts = {"capability": urn, "version": description.version}
                _log.info("method_service_there", extra=facts)
                self._capabilities.put(
                    Capability(urn=urn, session=description.session, account=description.account)
                )
        if self._told != services:
            self._told = dict(services)
            methods = _methods(services, calls)
            self.methods.clear()
            self.methods.update(methods)

    def _is_new(self, complaint: str) -> bool:
        """Each is told once, while it is the same."""
        if complaint in self._complaints or len(self._complaints) >= _COMPLAINTS_MAX:
            return False
        self._complaints.add(complaint)
        return True


def _methods(services: Mapping[str, ServiceDescription], calls: RemoteCalls) -> dict[str, Method]:
    return {
        name: Method(
            name=name, capability=urn, handle=functools.partial(calls.call, description, name)
        )
        for urn, description in services.items()
        for name in description.methods
    }
