"""A model of what Tidings needs for a number of accounts, and of what it meets first.

Pure arithmetic over `capacity_costs`: a workload and a design give the parts and their bounds. All
rates are those of the busiest hour; seconds, bytes and CPU cores.
"""

from enum import Enum
from math import ceil, inf
from typing import NamedTuple

import msgspec

from tests.benchmarks import capacity_costs as costs

MICROSECOND = 1e-6
DAY = 86_400

# Assumed machines, of which 60 % are used at the peak.
USED_SHARE = 0.6
POSTGRES_CORES = 32
NATS_CORES = 16
NATS_MEMORY = 32e9
POSTGRES_CONNECTIONS = 2_000  # without a pooler before it
RESTART_SECONDS_MAX = 60  # of one stream
PAGES_IN_MEMORY = 8 * 8192  # of PostgreSQL, for an account that is active

# Settings' defaults, and constants.
POOL_CONNECTIONS = 10  # shared/store/pool.py: of one process, when it is busy
CONNECTIONS_MAX = 20_000  # TIDINGS_GATEWAY_CONNECTIONS_MAX
CONSUMERS_MAX = 1_000  # nats/streams.json
LOG_BYTES_MAX = 2**32  # nats/streams.json
PARTITIONS = 64  # shared/log/subjects.py
ATTEMPTS_KEPT = 33
OUTBOX_SECONDS = 3_600

TOLD_BYTES = 250  # a StateChange with the headers of TCP and IP
WEBHOOK_BYTES = 1_500  # with those of HTTP, both ways


class Design(Enum):
    """Each adds to the one before; only the first is built."""

    AS_IS = "as it is"
    PARTITIONED = "log in several streams"
    BY_INTEREST = "and gateways by interest, read replicas"


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Each account has one user of its own; a user sees `accounts_per_user`, some of others."""

    accounts: int
    active_share: float = 0.5
    changes_per_active_day: float = 40
    peak_factor: float = 3  # of the busiest hour, to the day's mean
    connections_per_user: float = 0.3  # open at the peak
    connection_seconds: float = 3_240  # until it is opened anew: an hour, less up to a fifth
    subscriptions_per_user: float = 0.3
    accounts_per_user: float = 1.2
    cards_per_account: int = 200
    history: int = 64  # events kept of an account
    replicas: int = 3  # servers that hold a stream; primary and standbys do not count here

    @property
    def events(self) -> float:
        """A second."""
        changes = self.accounts * self.active_share * self.changes_per_active_day
        return changes / DAY * self.peak_factor

    @property
    def connections(self) -> float:
        return self.accounts * self.connections_per_user

    @property
    def told(self) -> float:
        """Events to connections, a second."""
        return self.events * self.accounts_per_user * self.connections_per_user

    @property
    def webhooks(self) -> float:
        """A second, if none are merged."""
        return self.events * self.accounts_per_user * self.subscriptions_per_user

    @property
    def looks(self) -> float:
        """Everybody who is told asks what changed, a second."""
        return self.told + self.webhooks


class Part(NamedTuple):
    """`processes` is inf when no number of them would do."""

    name: str
    processes: float
    cores: float
    memory: float = 0
    disk: float = 0
    network: float = 0  # bytes a second, out


class Bound(NamedTuple):
    """`use` 1 is as much as may be."""

    name: str
    use: float


def cpu(rate: float, cost: costs.Cost) -> float:
    """Cores."""
    return rate * cost.value * MICROSECOND


def streams(workload: Workload, design: Design) -> int:
    """Each on disks of its own, since the disk's syncs are what bounds it."""
    if design is Design.AS_IS:
        return 1
    by_rate = workload.events / (costs.LOG_APPENDS_MAX.value * USED_SHARE)
    by_restart = restart_seconds(workload, 1) / RESTART_SECONDS_MAX
    by_memory = log_memory(workload) / NATS_MEMORY
    return max(1, ceil(max(by_rate, by_restart, by_memory)))


def restart_seconds(workload: Workload, of_streams: int) -> float:
    """Of one stream."""
    return cpu(workload.accounts / of_streams, costs.LOG_RESTART)


def log_memory(workload: Workload) -> float:
    return workload.accounts * costs.LOG_MEMORY_HOT.value


def log_disk(workload: Workload) -> float:
    """Of one replica, once the histories are full."""
    idle = 1 - workload.active_share
    events = workload.accounts * (workload.active_share * workload.history + idle)
    return events * costs.LOG_DISK.value


def delivering_cores(workload: Workload) -> float:
    accepts = workload.connections / workload.connection_seconds
    return cpu(workload.told, costs.DELIVERY) + cpu(accepts, costs.ACCEPT)


def gateways(workload: Workload, design: Design) -> float:
    """Processes. Unless by interest, each reads all events before it delivers any."""
    by_connections = workload.connections / CONNECTIONS_MAX
    if design is Design.BY_INTEREST:
        by_cpu = (delivering_cores(workload) + cpu(workload.told, costs.EVENT)) / USED_SHARE
    else:
        left = USED_SHARE - cpu(workload.events, costs.EVENT)
        by_cpu = delivering_cores(workload) / left if left > 0 else inf
    needed = max(1.0, by_connections, by_cpu)
    return needed if needed == inf else ceil(needed)


def events_read(workload: Workload, design: Design) -> float:
    """By all gateways, a second; by interest each watcher is at another one, at worst."""
    if design is Design.BY_INTEREST:
        return workload.told
    return workload.events * gateways(workload, design)


def log_cores(workload: Workload, design: Design) -> float:
    """The leader's of all streams: appends, and what gateways and the webhooks' consumer read."""
    read = events_read(workload, design) + workload.events
    return cpu(workload.events, costs.LOG_APPEND) + cpu(read, costs.LOG_TAIL)


def write_cores(workload: Workload) -> float:
    """Of PostgreSQL; only the primary can."""
    mutations = cpu(workload.events, costs.MUTATION) + cpu(workload.events, costs.MARK)
    return mutations + cpu(workload.webhooks, costs.LANE)


def read_cores(workload: Workload) -> float:
    """Of PostgreSQL; a replica could."""
    return cpu(workload.looks, costs.LOOK)


def postgres_disk(workload: Workload) -> float:
    attempts = ATTEMPTS_KEPT * costs.ATTEMPT_DISK.value
    account = (
        costs.ACCOUNT_DISK.value
        + workload.cards_per_account * costs.CARD_DISK.value
        + workload.subscriptions_per_user * (costs.LANE_DISK.value + attempts)
    )
    outbox = workload.events * OUTBOX_SECONDS * costs.OUTBOX_DISK.value
    return workload.accounts * account + outbox


def parts(workload: Workload, design: Design) -> list[Part]:
    return [
        _log(workload, design),
        *_postgres(workload, design),
        _dispatchers(workload),
        _gateways(workload, design),
        _webhooks(workload),
    ]


def _log(workload: Workload, design: Design) -> Part:
    appends = cpu(workload.events, costs.LOG_APPEND)
    replication = appends * (costs.LOG_REPLICATED.value - 1) if workload.replicas > 1 else 0
    return Part(
        "log",
        streams(workload, design) * workload.replicas,
        log_cores(workload, design) + replication,
        log_memory(workload) * workload.replicas,
        log_disk(workload) * workload.replicas,
        events_read(workload, design) * costs.LOG_DISK.value,
    )


def _postgres(workload: Workload, design: Design) -> list[Part]:
    memory = workload.accounts * workload.active_share * PAGES_IN_MEMORY
    disk = postgres_disk(workload)
    writes, reads = write_cores(workload), read_cores(workload)
    usable = POSTGRES_CORES * USED_SHARE
    if design is not Design.BY_INTEREST:
        both = writes + reads
        return [Part("PostgreSQL", ceil(both / usable), both, memory, disk)]
    primaries = ceil(writes / usable)
    copies = ceil(reads / usable / primaries)  # a replica holds all that its primary holds
    replicas = primaries * copies
    sent = workload.events * costs.WAL.value * copies
    return [
        Part("PostgreSQL", primaries, writes, memory, disk, sent),
        Part("read replicas", replicas, reads, memory * copies, disk * copies),
    ]


def _dispatchers(workload: Workload) -> Part:
    writes = cpu(workload.events, costs.DISPATCHER_MUTATION)
    writes += cpu(workload.events, costs.DISPATCHER_APPEND)
    cores = writes + cpu(workload.looks, costs.DISPATCHER_LOOK)
    return Part("dispatchers", ceil(cores / USED_SHARE), cores)


def _gateways(workload: Workload, design: Design) -> Part:
    of_connection = costs.CONNECTION_MEMORY.value + costs.FRAMES_MEMORY.value
    of_connection += costs.SOCKET_MEMORY.value
    cores = delivering_cores(workload) + cpu(events_read(workload, design), costs.EVENT)
    return Part(
        "gateways",
        gateways(workload, design),
        cores,
        memory=workload.connections * of_connection,
        network=workload.told * TOLD_BYTES,
    )


def _webhooks(workload: Workload) -> Part:
    cores = cpu(workload.webhooks, costs.WEBHOOK)
    network = workload.webhooks * WEBHOOK_BYTES
    return Part("webhook workers", ceil(cores / USED_SHARE), cores, network=network)


def postgres_connections(workload: Workload, design: Design) -> float:
    """If all pools are full."""
    others = (_dispatchers(workload), _webhooks(workload))
    processes = gateways(workload, design) + sum(part.processes for part in others)
    return processes * POOL_CONNECTIONS


def bounds(workload: Workload, design: Design) -> list[Bound]:
    """What more processes do not help against."""
    count = streams(workload, design)
    primary = write_cores(workload)
    if design is not Design.BY_INTEREST:
        primary += read_cores(workload)
    appends = workload.events / count / (costs.LOG_APPENDS_MAX.value * USED_SHARE)
    found = [
        Bound("appends of one stream", appends),
        Bound("restart of one stream", restart_seconds(workload, count) / RESTART_SECONDS_MAX),
        Bound("memory of one stream", log_memory(workload) / count / NATS_MEMORY),
        Bound(
            "CPU of one stream's leader",
            log_cores(workload, design) / count / (NATS_CORES * USED_SHARE),
        ),
        Bound("one PostgreSQL primary", primary / (POSTGRES_CORES * USED_SHARE)),
        Bound(
            "connections to PostgreSQL",
            postgres_connections(workload, design) / POSTGRES_CONNECTIONS,
        ),
    ]
    if design is not Design.AS_IS:
        found.append(Bound("64 partitions", count / PARTITIONS))
    if design is not Design.BY_INTEREST:
        found += [
            Bound("one gateway's tail", cpu(workload.events, costs.EVENT) / USED_SHARE),
            Bound("1,000 consumers of a stream", (gateways(workload, design) + 1) / CONSUMERS_MAX),
        ]
    return found


def first_bound(workload: Workload, design: Design) -> Bound:
    return max(bounds(workload, design), key=lambda bound: bound.use)


# What more streams are added against is at its bound by design, and no ceiling.
GROWS_WITH_STREAMS = ("appends of one stream", "restart of one stream", "memory of one stream")


ACCOUNTS_MAX = 10**9  # nobody looks further


def ceilings(design: Design, workload: Workload) -> dict[str, float]:
    """Bound -> accounts at which it is met, the first one first; the rest as in `workload`."""

    def use(name: str, accounts: int) -> float:
        grown = msgspec.structs.replace(workload, accounts=accounts)
        return dict(bounds(grown, design))[name]

    def met_at(name: str) -> float:
        low, high = 1, ACCOUNTS_MAX
        if use(name, high) <= 1:
            return inf
        while high - low > low / 1000:
            middle = (low + high) // 2
            low, high = (middle, high) if use(name, middle) <= 1 else (low, middle)
        return low

    names = [name for name, _ in bounds(workload, design)]
    if design is not Design.AS_IS:
        names = [name for name in names if name not in GROWS_WITH_STREAMS]
    found = {name: met_at(name) for name in names}
    met = ((name, accounts) for name, accounts in found.items() if accounts < inf)
    return dict(sorted(met, key=lambda item: item[1]))


def accounts_of_default_log(workload: Workload) -> float:
    """How many fill the stream's default size, once their histories are full."""
    return LOG_BYTES_MAX / (log_disk(workload) / workload.accounts)
