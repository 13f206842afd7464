"""What the server can do: what `using` may name and the session shows, as of now."""

from collections.abc import Iterable

from shared.jmap.session import Capability


class Capabilities:
    """Some come, change and go while the process runs: keys are rotated, services start and end.

    `version` grows with each change, so whoever keeps what was made of them knows that it is old.
    """

    def __init__(self, capabilities: Iterable[Capability]) -> None:
        self._held = {item.urn: item for item in capabilities}
        self.version = 0

    def __contains__(self, urn: object) -> bool:
        return urn in self._held

    def current(self) -> tuple[Capability, ...]:
        """By name: whenever each came, all dispatchers make the same session of them."""
        return tuple(self._held[urn] for urn in sorted(self._held))

    def put(self, capability: Capability) -> None:
        """Add it, or replace that of its name."""
        if self._held.get(capability.urn) != capability:
            self._held[capability.urn] = capability
            self.version += 1

    def remove(self, urn: str) -> None:
        if self._held.pop(urn, None) is not None:
            self.version += 1
