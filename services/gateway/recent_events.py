"""The newest event of each account that changed lately, so that a reconnect asks NATS nothing.

An event holds every state of its account, so what a cursor missed is in the account's newest
event; older ones need not be kept. Bounded by a count of accounts.
"""

from collections import OrderedDict
from collections.abc import Iterable

from shared.log.event import StoredEvent, changed_since


class RecentEvents:
    """`floor`: every account that changed after it is here."""

    def __init__(self, accounts_max: int, *, floor: int) -> None:
        self._accounts_max = accounts_max
        self._newest: OrderedDict[str, StoredEvent] = OrderedDict()  # by sequence
        self.floor = floor

    def add(self, account_id: str, stored: StoredEvent) -> None:
        """Events come in ascending sequence."""
        self._newest[account_id] = stored
        self._newest.move_to_end(account_id)
        if len(self._newest) > self._accounts_max:
            _, dropped = self._newest.popitem(last=False)
            self.floor = dropped.sequence

    def changed_since(self, account_ids: Iterable[str], since: int) -> dict[str, dict[str, str]]:
        """Account -> type -> state, for a `since` not below the floor."""
        newest = ((account_id, self._newest.get(account_id)) for account_id in account_ids)
        return {
            account_id: changed_since(stored, since)
            for account_id, stored in newest
            if stored is not None and stored.sequence > since
        }
