"""What clients should have known at each cursor, by the log itself."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product

from shared.log.cursor import decode_cursor
from shared.log.event import StoredEvent
from shared.log.open_log import open_readable_log
from shared.store.pool import open_pool
from tests.support.chaos import TYPES, Record
from tests.support.stress import whole_log


async def missed(nats_url: str, postgres_url: str, record: Record) -> list[str]:
    """What clients did not know though it is in the log up to a cursor that they held."""
    async with (
        open_pool(postgres_url, connections_max=1) as pool,
        open_readable_log(nats_url, pool, name="chaos") as log,
    ):
        sound = await log.keeper.verify(seen=0, seen_epoch=None)
        orders = _orders(await whole_log(log, sound.last_sequence))
    found = []
    for visible, place in record.places:
        cursor = decode_cursor(place.cursor)
        if cursor is None or cursor.epoch != sound.epoch:
            found.append(f"{place.cursor} of another log than {sound.epoch}")
            continue
        for key in product(visible, TYPES):
            known, told = place.view.get(key, 0), _order_at(orders[key], cursor.sequence)
            if known < told:
                found.append(f"{place.by}: {key} is s{known} at {place.cursor}, and not s{told}")
    record.counts["cursors compared with the log"] = len(record.places)
    return found


def _orders(
    log: Mapping[str, Sequence[StoredEvent]],
) -> defaultdict[tuple[str, str], list[tuple[int, int]]]:
    """(sequence, order) of each change, by (account, type)."""
    orders: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for account_id, events in log.items():
        for stored in events:
            for type_name, state in stored.event.changed.items():
                orders[account_id, type_name].append((stored.sequence, state.order))
    return orders


def _order_at(orders: Sequence[tuple[int, int]], sequence: int) -> int:
    place = bisect_right(orders, sequence, key=lambda change: change[0])
    return orders[place - 1][1] if place else 0
