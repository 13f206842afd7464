"""How far an endpoint was told, and what it is to be told next (docs/adr/0009); pure.

The endpoint is never told an older state after a newer one: whoever reads the log for it reads up
to `fence` at least, which is the greatest sequence that it was ever told of.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from shared.jmap.state_change import Changed
from shared.log.event import StoredEvent, changed_since


class Position(msgspec.Struct, frozen=True):
    """All up to the sequence `cursor` was told, and of each account in `told` all up to its own."""

    cursor: int
    told: Mapping[str, int] = {}

    @property
    def fence(self) -> int:
        return max(self.cursor, *self.told.values(), 0)

    def difference(
        self, events: Mapping[str, StoredEvent], types: Collection[str] | None
    ) -> dict[str, dict[str, str]]:
        """What is new in the last events of the accounts; `types` None is all."""
        found: dict[str, dict[str, str]] = {}
        for account_id, stored in events.items():
            since = max(self.cursor, self.told.get(account_id, 0))
            states = {
                name: state
                for name, state in changed_since(stored, since).items()
                if types is None or name in types
            }
            if states:
                found[account_id] = states
        return found

    def superset(
        self, events: Mapping[str, StoredEvent], types: Collection[str] | None
    ) -> dict[str, dict[str, str]]:
        """The accounts of `difference` with all their states, so that it may replace what was told.

        RFC 8030 section 5.4 drops an undelivered message whole for a later one of its topic, which
        may itself have replaced another: nothing less than everything is sure to be enough.
        """
        changed = self.difference(events, types)
        all_told = Position(0)
        return all_told.difference({name: events[name] for name in changed}, types)

    def after_telling(
        self, account_ids: Collection[str], sequences: Mapping[str, int]
    ) -> "Position":
        """These accounts, of which `sequences` has the last events, were told; others were not."""
        told = {account_id: sequences[account_id] for account_id in account_ids}
        return Position(self.cursor, {**self.told, **told})

    def after_all(self, sequences: Mapping[str, int], up_to: int) -> "Position":
        """Nothing of what a read up to `up_to` found is left to tell."""
        cursor = max(self.cursor, up_to)
        ahead = {**self.told, **sequences}
        return Position(cursor, {name: at for name, at in ahead.items() if at > cursor})


def completed_by(parts: Sequence[Changed]) -> list[set[str]]:
    """For each part of a split message the accounts of which nothing is left after it."""
    last = {account_id: place for place, part in enumerate(parts) for account_id in part}
    return [{name for name, at in last.items() if at == place} for place in range(len(parts))]
