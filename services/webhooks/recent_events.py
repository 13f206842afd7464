"""Events that this worker merged itself, so that it need not ask the log for them again; pure."""

from collections import OrderedDict
from collections.abc import Sequence

from shared.log.event import StoredEvent


class RecentEvents:
    """The last event of each account, of the accounts that changed last."""

    def __init__(self, accounts_max: int) -> None:
        self._accounts_max = accounts_max
        self._events: OrderedDict[str, StoredEvent] = OrderedDict()

    def add(self, account_id: str, stored: StoredEvent) -> None:
        """In any order: what is older than what is known is not kept."""
        known = self._events.get(account_id)
        if known is not None and known.sequence >= stored.sequence:
            return
        self._events[account_id] = stored
        self._events.move_to_end(account_id)
        if len(self._events) > self._accounts_max:
            self._events.popitem(last=False)

    def whole(self, account_ids: Sequence[str], fence: int) -> StoredEvent | None:
        """What a read of these accounts up to `fence` would find, where that is known for sure.

        It is for a single account whose event is the one at `fence`: of several accounts another
        one may have changed before it, and another worker may have merged that.
        """
        if len(account_ids) != 1:
            return None
        known = self._events.get(account_ids[0])
        return known if known is not None and known.sequence == fence else None
