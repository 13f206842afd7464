"""What each part costs, each figure with its source; `docs/scaling.md` shows this table.

"Here" is a script of this folder on two shared cores, in November 2026. CPU seconds and bytes are
told rather than wall time, since others used the machine too.
"""

import msgspec

LOG_SCRIPT = "here, `capacity_log.py`"
STORE_SCRIPT = "here, `capacity_store.py`"
OTHER = "another machine, "
WHOLE = "`tidings up`, eight writers, by hand"


class Cost(msgspec.Struct, frozen=True):
    """A figure in the unit that `unit` names."""

    what: str
    value: float
    unit: str
    source: str


# The log: nats-server 2.15, one event of 226 octets, an account with two types.
LOG_MEMORY = Cost("memory of an account, index only", 310, "B", f"{LOG_SCRIPT}: 100k to 500k")
LOG_MEMORY_HOT = Cost(
    "memory of an account, just after random updates", 900, "B", f"{OTHER}1.25M subjects"
)
LOG_DISK = Cost("disk of an event", 350, "B", LOG_SCRIPT)
LOG_RESTART = Cost("restart, by account", 4.7, "µs", f"{LOG_SCRIPT}: 500k in 2.3 s")
LOG_APPEND = Cost(
    "CPU of an append, synced",
    200,
    "µs",
    f"{LOG_SCRIPT}: 112 to 178, 128 in flight; {WHOLE}: 290",
)
LOG_TAIL = Cost("CPU of an event to one more tail", 15, "µs", f"{LOG_SCRIPT}: 2 to 11; {OTHER}21")
LOG_APPENDS_MAX = Cost(
    "appends of one stream on one disk, synced",
    2400,
    "/s",
    f"{LOG_SCRIPT}: 2,400 to 3,700; 600 to 1,700 while others used the disk",
)
LOG_REPLICATED = Cost("CPU of R3, all servers, to R1", 4, "times", f"{OTHER}without sync")

# Gateways.
CONNECTION_MEMORY = Cost(
    "memory of an idle connection (SSE 3.9 KB, WebSocket 5.5 KB)", 5600, "B", "docs/measured.md"
)
FRAMES_MEMORY = Cost(
    "memory of the 32 frames kept of a connection, each told to it alone",
    6000,
    "B",
    "here, `test_recorder.py`: 4,600 to 6,900",
)
SOCKET_MEMORY = Cost("memory of its socket in the kernel", 4096, "B", OTHER + "planning figure")
EVENT = Cost(
    "CPU of an event, watched or not, in each process that reads it",
    13,
    "µs",
    "docs/measured.md: 12 to 14",
)
DELIVERY = Cost(
    "CPU of a delivery", 13.5, "µs", f"{OTHER}12.3 at the floor; docs/measured.md: 1.1 of it"
)
ACCEPT = Cost(
    "CPU of an accepted, authenticated connection", 480, "µs", "docs/measured.md: 2,080 a second"
)

# PostgreSQL 18, durable.
ACCOUNT_DISK = Cost("disk of an account: user, grant, token, two states", 1142, "B", STORE_SCRIPT)
CARD_DISK = Cost("disk of a card with its indexes", 2304, "B", STORE_SCRIPT)
LANE_DISK = Cost("disk of a subscription with its lane", 1061, "B", STORE_SCRIPT)
ATTEMPT_DISK = Cost("disk of a kept attempt; 33 are kept", 230, "B", STORE_SCRIPT)
OUTBOX_DISK = Cost("disk of an outbox row; kept an hour", 279, "B", STORE_SCRIPT)
WAL = Cost("WAL of a mutation", 4372, "B", STORE_SCRIPT)
MUTATION = Cost(
    "CPU in PostgreSQL of a mutation of one card", 1117, "µs", f"{STORE_SCRIPT}: 1,105 to 1,125"
)
MARK = Cost("CPU in PostgreSQL of its mark as appended", 7, "µs", f"{STORE_SCRIPT}: 100 at a time")
LOOK = Cost("CPU in PostgreSQL of /changes and /get of what was told", 560, "µs", STORE_SCRIPT)
LANE = Cost(
    "CPU in PostgreSQL of a lane's merge, claim and settling",
    70,
    "µs",
    f"{STORE_SCRIPT}: 100k lanes, 200 at a time",
)

# The other processes.
DISPATCHER_MUTATION = Cost("CPU in a dispatcher of a mutation", 945, "µs", STORE_SCRIPT)
DISPATCHER_APPEND = Cost(
    "CPU in a dispatcher of telling the log of a mutation",
    400,
    "µs",
    f"{WHOLE}: what is left of 1,427",
)
DISPATCHER_LOOK = Cost("CPU in a dispatcher of /changes and /get", 810, "µs", STORE_SCRIPT)
WEBHOOK = Cost(
    "CPU in a worker of a webhook, in clear",
    255,
    "µs",
    "ADR 9, before ADR 21: 230 to 280; less now",
)

COSTS = tuple(value for value in list(globals().values()) if isinstance(value, Cost))
