"""Which method services there are: who was heard, who has fallen silent, who stands in whose way.

Instances of one capability are one service; the newest version speaks for all of them.
"""

from collections.abc import Callable

import msgspec

from shared.method_service.contract import ServiceDescription

SILENCE_SECONDS = 5.0
"""A service is asked every second. A restart within this time is not seen in the session."""

RETURN_SECONDS = 10.0
"""After a loss of NATS, for services that come back to it later than the dispatcher."""

INSTANCES_MAX = 1000


class _Instance(msgspec.Struct, frozen=True):
    description: ServiceDescription
    forgotten_at: float  # monotonic seconds


class Roster:
    """`conflict` says what a service may not have of the server's own, or None."""

    def __init__(self, conflict: Callable[[ServiceDescription], str | None]) -> None:
        self._conflict = conflict
        self._instances: dict[str, _Instance] = {}
        self.services: dict[str, ServiceDescription] = {}
        """By capability; those that came first stay first."""
        self.refused: dict[str, str] = {}
        """Capability -> why."""

    def hear(self, instance_id: str, description: ServiceDescription, now: float) -> None:
        known = self._instances.get(instance_id)
        if known is None and len(self._instances) >= INSTANCES_MAX:
            return
        later = 0.0 if known is None else known.forgotten_at
        until = max(now + SILENCE_SECONDS, later)
        self._instances[instance_id] = _Instance(description, until)

    def pardon(self, now: float) -> None:
        """The silence was ours: nobody is forgotten before there was time to come back."""
        self._instances = {
            instance_id: _Instance(item.description, max(item.forgotten_at, now + RETURN_SECONDS))
            for instance_id, item in self._instances.items()
        }

    def settle(self, now: float) -> None:
        """Forget the silent, and decide anew who is there."""
        self._instances = {
            instance_id: item
            for instance_id, item in self._instances.items()
            if item.forgotten_at > now
        }
        newest: dict[str, ServiceDescription] = {}
        for item in self._instances.values():
            found = item.description
            known = newest.get(found.capability)
            if known is None or found.newness > known.newness:
                newest[found.capability] = found
        established = [urn for urn in self.services if urn in newest]
        newcomers = sorted(urn for urn in newest if urn not in self.services)
        self.services, self.refused = {}, {}
        for urn in (*established, *newcomers):
            reason = self._conflict(newest[urn]) or self._held_by_another(newest[urn])
            if reason is None:
                self.services[urn] = newest[urn]
            else:
                self.refused[urn] = reason

    def instances(self, capability: str) -> int:
        return sum(item.description.capability == capability for item in self._instances.values())

    def _held_by_another(self, description: ServiceDescription) -> str | None:
        for urn, other in self.services.items():
            both = other.types.keys() & description.types.keys()
            if both:
                return f"{urn} has the type {min(both)} already"
        return None
