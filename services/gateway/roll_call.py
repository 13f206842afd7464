"""Which other gateways there are: each says every few seconds that it is there."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from nats.aio.msg import Msg

from shared.bus.connection import Bus, BusUnavailableError
from shared.operate.connections import HERE_SUBJECT

_log = logging.getLogger(__name__)

HERE_SECONDS = 5.0
GONE_SECONDS = 16.0  # after the last that was heard of one
_ID_OCTETS_MAX = 32
_PEERS_MAX = 1000
_GONE = "-"  # before the id of one that ends


class RollCall:
    """`run` it in the process's task group."""

    def __init__(self, bus: Bus, gateway_id: str, *, now: Callable[[], float]) -> None:
        self._bus = bus
        self._id = gateway_id
        self._now = now
        self._heard_at: dict[str, float] = {}
        self._is_newcomer = asyncio.Event()

    def peers(self) -> tuple[str, ...]:
        """Ids of the others that were heard of lately."""
        late = self._now() - GONE_SECONDS
        self._heard_at = {peer: at for peer, at in self._heard_at.items() if at > late}
        return tuple(sorted(self._heard_at))

    async def run(self) -> None:
        """Until cancelled; a newcomer is answered at once."""
        async with self._bus.listening(HERE_SUBJECT, self._hear):
            try:
                while True:
                    await self._say(self._id)
                    self._is_newcomer.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HERE_SECONDS):
                            await self._is_newcomer.wait()
            finally:
                await self._say(f"{_GONE}{self._id}")

    async def _say(self, text: str) -> None:
        try:
            await self._bus.publish(HERE_SUBJECT, text.encode())
        except BusUnavailableError as error:
            _log.info("roll_call_unheard", extra={"error": repr(error)})

    async def _hear(self, message: Msg) -> None:
        if len(message.data) > _ID_OCTETS_MAX:
            return
        peer = message.data.decode("ascii", "replace")
        if peer.startswith(_GONE):
            self._heard_at.pop(peer.removeprefix(_GONE), None)
        elif peer != self._id and (peer in self._heard_at or len(self._heard_at) < _PEERS_MAX):
            if peer not in self._heard_at:
                self._is_newcomer.set()
            self._heard_at[peer] = self._now()
