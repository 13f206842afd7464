"""A connection as operators may ask about it, without a transport."""

from services.gateway.push_connection import PushConnection, PushOptions
from services.gateway.record import Joining, Ring
from tests.support.gateway import credential_of


class OpenConnection:
    """Its fields are there to be set."""

    kind = "sse"
    address = "192.0.2.1"

    def __init__(
        self,
        number: int = 1,
        user: str = "anna",
        *,
        at: float = 0.0,
        options: PushOptions | None = None,
    ) -> None:
        self.number = number
        self.holder = credential_of(user)
        self.push = PushConnection(options or PushOptions(), at)
        self.account_ids: frozenset[str] = frozenset()
        self.is_listening = False
        self.ring: Ring | None = None
        self.joining: Joining | None = None
        self.messages = 0
        self.pings = 0
        self.pong_seconds: float | None = None
        self.ended_at: float | None = None
        self.ended_by: str | None = None
