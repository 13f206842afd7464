"""Control messages: what every process must hear at once, on one NATS core subject.

They are hints. Whoever misses one, because it was not connected, finds out a few seconds later,
when what it has cached expires.
"""

import logging
from collections.abc import Callable

import msgspec
from nats.aio.msg import Msg

from shared.bus.connection import Bus
from shared.jmap.i_json import MSGSPEC_ERRORS

CONTROL_SUBJECT = "tidings.control"

_log = logging.getLogger(__name__)


class ControlMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Exactly one of them is said; unknown members are for newer processes."""

    revoked: str | None = None  # a token's id
    grants_changed: str | None = None  # a user's id
    webhooks_due: bool = False  # a subscription was created or verified: look at them now
    subscriptions_ended: list[str] | None = None  # their ids: forget their secrets
    vapid_key_changed: bool = False  # another one is active


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ControlMessage)


async def send_control(bus: Bus, message: ControlMessage) -> None:
    """Raises BusUnavailableError; the fact itself is in PostgreSQL already."""
    await bus.publish(CONTROL_SUBJECT, _encoder.encode(message))


async def listen_control(bus: Bus, listener: Callable[[ControlMessage], None]) -> None:
    """Call `listener` on the loop for each message, as long as the bus lives."""

    async def receive(message: Msg) -> None:
        try:
            control = _decoder.decode(message.data)
        except MSGSPEC_ERRORS as error:  # of another version, or not ours
            _log.warning("control_message_unreadable", extra={"error": str(error)})
            return
        listener(control)

    await bus.client.subscribe(CONTROL_SUBJECT, cb=receive)
