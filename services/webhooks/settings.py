"""TIDINGS_WEBHOOK_* of the deliverer alone; `shared/web_push/settings.py` has what others read."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from services.webhooks.push_client import ClientLimits
from services.webhooks.slots import SlotLimits
from shared.runtime.settings import Secret


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: the servers, of a deliverer that runs alone."""

    postgres_url: Secret
    nats_url: Secret


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_WEBHOOK_*: every limit of a worker."""

    answer_seconds_max: Annotated[float, Meta(gt=0, le=60)] = 15.0  # of one request, all in all
    lease_seconds: Annotated[float, Meta(ge=2)] = 60.0
    """Then a dead worker's lanes are taken over; at least twice ANSWER_SECONDS_MAX."""
    healthy_at_once_max: Annotated[int, Meta(ge=1)] = 200  # requests to endpoints in health
    troubled_at_once_max: Annotated[int, Meta(ge=1)] = 64  # requests to those that failed last time
    slow_at_once_max: Annotated[int, Meta(ge=0)] = 400  # requests to those slower than a second
    origin_at_once_max: Annotated[int, Meta(ge=1)] = 100  # requests to one scheme, host and port
    verifications_at_once_max: Annotated[int, Meta(ge=1)] = 64  # requests that verify
    message_octets_max: Annotated[int, Meta(ge=512)] = 60_000  # a StateChange of more is split
    topics: bool = False
    """Encrypted messages carry a `Topic`, so that a push service keeps one for a device that is
    away, not all; each then says all types of its accounts."""
    contact: str = "mailto:postmaster@localhost"
    """Whom a push service may write to (`sub` of VAPID): mailto: or https:."""
    ca: Path | None = None  # PEM file of authorities to trust besides the system's

    def __post_init__(self) -> None:
        # A request begins only if it ends within the lease, after a read of the log and more.
        if self.lease_seconds < 2 * self.answer_seconds_max:
            raise ValueError("LEASE_SECONDS must be at least twice ANSWER_SECONDS_MAX")

    @property
    def client(self) -> ClientLimits:
        """The slots bound the requests, so that nobody waits for somebody else's in the client."""
        return ClientLimits(
            deadline_seconds=self.answer_seconds_max,
            requests_at_once_max=self.healthy_at_once_max
            + self.troubled_at_once_max
            + self.slow_at_once_max
            + self.verifications_at_once_max,
        )

    @property
    def slots(self) -> SlotLimits:
        return SlotLimits(
            healthy_max=self.healthy_at_once_max,
            troubled_max=self.troubled_at_once_max,
            slow_max=self.slow_at_once_max,
            origin_max=self.origin_at_once_max,
        )
