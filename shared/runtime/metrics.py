"""What a process counts: every metric, its kind, its labels; and the text of `/metrics`.

Pure code returns outcomes; adapters count them here. Each composition root makes one `Metrics`.
"""

from collections.abc import Callable
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar, assert_never, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

Child = TypeVar("Child", Counter, Gauge, Histogram)


class Metric(StrEnum):
    """Name, with its unit last."""

    BUILD_INFO = "tidings_build_info"
    READY = "tidings_ready"
    DRAINING = "tidings_draining"
    LOOP_LAG_SECONDS = "tidings_loop_lag_seconds"
    LOG_LINES = "tidings_log_lines_total"
    POSTGRES_CONNECTIONS = "tidings_postgres_connections"
    POSTGRES_CONNECTIONS_MAX = "tidings_postgres_connections_max"
    NATS_CONNECTED = "tidings_nats_connected"
    NATS_CONNECTION_CHANGES = "tidings_nats_connection_changes_total"
    HTTP_REQUESTS = "tidings_http_requests_total"
    HTTP_REQUEST_SECONDS = "tidings_http_request_seconds"
    BUS_REQUESTS = "tidings_bus_requests_total"
    METHOD_CALLS = "tidings_method_calls_total"
    METHOD_SECONDS = "tidings_method_seconds"
    SERVICE_CALLS = "tidings_service_calls_total"
    SERVICE_CALL_SECONDS = "tidings_service_call_seconds"
    SERVICE_INSTANCES = "tidings_service_instances"
    APPENDS = "tidings_appends_total"
    APPEND_SECONDS = "tidings_append_seconds"
    APPEND_REQUESTS = "tidings_append_requests_total"
    APPEND_REQUEST_SECONDS = "tidings_append_request_seconds"
    APPEND_REQUESTS_UNDER_WAY = "tidings_append_requests_under_way"
    APPEND_GROUP_REQUESTS = "tidings_append_group_requests"
    OUTBOX_OLDEST_SECONDS = "tidings_outbox_oldest_seconds"
    LOG_SOUND = "tidings_log_sound"
    LOG_SEQUENCE = "tidings_log_sequence"
    LOG_OCTETS = "tidings_log_octets"
    LOG_OCTETS_MAX = "tidings_log_octets_max"
    LOG_REPLICAS = "tidings_log_replicas"
    LOG_REPLICAS_CURRENT = "tidings_log_replicas_current"
    TAIL_LIVE = "tidings_tail_live"
    TAIL_SEQUENCE = "tidings_tail_sequence"
    CONNECTIONS = "tidings_connections"
    CONNECTIONS_MAX = "tidings_connections_max"
    CONNECTIONS_ENDED = "tidings_connections_ended_total"
    JOINS = "tidings_joins_total"
    REPLAYED_STATES = "tidings_replayed_states"
    PUSH_LAG_SECONDS = "tidings_push_lag_seconds"
    PING_SECONDS = "tidings_ping_seconds"
    DRAINED_RATIO = "tidings_drained_ratio"
    PUSH_MESSAGES = "tidings_push_messages_total"
    PUSH_MERGES = "tidings_push_merges_total"
    REFUSALS = "tidings_refusals_total"
    REJOINS = "tidings_rejoins_total"
    SELF_CHECKS = "tidings_self_checks_total"
    WEBHOOK_READING = "tidings_webhook_reading"
    WEBHOOK_EVENTS_PENDING = "tidings_webhook_events_pending"
    WEBHOOK_EVENTS = "tidings_webhook_events_total"
    WEBHOOK_MERGES = "tidings_webhook_merges_total"
    WEBHOOK_ATTEMPTS = "tidings_webhook_attempts_total"
    WEBHOOK_REQUESTS = "tidings_webhook_requests_total"
    WEBHOOK_RETRY_AFTERS = "tidings_webhook_retry_afters_total"
    WEBHOOK_ORIGINS_OPEN = "tidings_webhook_origins_open"
    WEBHOOK_SECONDS = "tidings_webhook_seconds"
    WEBHOOK_LAG_SECONDS = "tidings_webhook_lag_seconds"
    WEBHOOKS_IN_FLIGHT = "tidings_webhooks_in_flight"
    WEBHOOKS_IN_FLIGHT_MAX = "tidings_webhooks_in_flight_max"
    WEBHOOK_LANES = "tidings_webhook_lanes"
    WEBHOOK_OLDEST_SECONDS = "tidings_webhook_oldest_seconds"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


DECLARED: MappingProxyType[Metric, tuple[Kind, str, tuple[str, ...]]] = MappingProxyType(
    {
        Metric.BUILD_INFO: (Kind.GAUGE, "1, with what runs here.", ("version", "python")),
        Metric.READY: (
            Kind.GAUGE,
            "1 where a dependency of the process answers, asked at each scrape.",
            ("check",),
        ),
        Metric.DRAINING: (Kind.GAUGE, "1 from the signal that ends the process on.", ()),
        Metric.LOOP_LAG_SECONDS: (
            Kind.HISTOGRAM,
            "How much later than asked the event loop runs what is due.",
            (),
        ),
        Metric.LOG_LINES: (
            Kind.COUNTER,
            "Lines on standard output by level, and those dropped as nobody read.",
            ("level",),
        ),
        Metric.POSTGRES_CONNECTIONS: (
            Kind.GAUGE,
            "Connections of this process to PostgreSQL: busy, idle.",
            ("state",),
        ),
        Metric.POSTGRES_CONNECTIONS_MAX: (Kind.GAUGE, "As many as it may have.", ()),
        Metric.NATS_CONNECTED: (Kind.GAUGE, "1 while a connection to NATS is up.", ("connection",)),
        Metric.NATS_CONNECTION_CHANGES: (
            Kind.COUNTER,
            "Losses and returns of a connection to NATS.",
            ("connection",),
        ),
        Metric.HTTP_REQUESTS: (Kind.COUNTER, "Answered requests.", ("route", "status")),
        Metric.HTTP_REQUEST_SECONDS: (Kind.HISTOGRAM, "Time to answer.", ("route",)),
        Metric.BUS_REQUESTS: (
            Kind.COUNTER,
            "Requests of others that were answered over NATS.",
            ("subject", "status"),
        ),
        Metric.METHOD_CALLS: (Kind.COUNTER, "JMAP method calls.", ("method", "outcome")),
        Metric.METHOD_SECONDS: (Kind.HISTOGRAM, "Until a method has answered.", ("method",)),
        Metric.SERVICE_CALLS: (
            Kind.COUNTER,
            "Calls of method services: ok, or the error's type.",
            ("service", "outcome"),
        ),
        Metric.SERVICE_CALL_SECONDS: (
            Kind.HISTOGRAM,
            "Until a method service has answered, and its changes are in the log.",
            ("service",),
        ),
        Metric.SERVICE_INSTANCES: (Kind.GAUGE, "Method services that answer.", ("service",)),
        Metric.APPENDS: (Kind.COUNTER, "Appends to the log.", ("outcome",)),
        Metric.APPEND_SECONDS: (Kind.HISTOGRAM, "From commit to the log.", ()),
        Metric.APPEND_REQUESTS: (
            Kind.COUNTER,
            "Append requests: appended, partly, repeated, refused, postponed.",
            ("outcome",),
        ),
        Metric.APPEND_REQUEST_SECONDS: (
            Kind.HISTOGRAM,
            "Until the log has acknowledged an append request.",
            (),
        ),
        Metric.APPEND_REQUESTS_UNDER_WAY: (Kind.GAUGE, "Append requests under way.", ()),
        Metric.APPEND_GROUP_REQUESTS: (
            Kind.HISTOGRAM,
            "Append requests that shared a transaction.",
            (),
        ),
        Metric.OUTBOX_OLDEST_SECONDS: (
            Kind.GAUGE,
            "How long the oldest committed change waits to be in the log.",
            (),
        ),
        Metric.LOG_SOUND: (
            Kind.GAUGE,
            "1 while the log may be appended to: it was checked since the connection was made.",
            (),
        ),
        Metric.LOG_SEQUENCE: (Kind.GAUGE, "Sequence of the log's last event.", ()),
        Metric.LOG_OCTETS: (Kind.GAUGE, "Size of the log.", ()),
        Metric.LOG_OCTETS_MAX: (Kind.GAUGE, "Above which appends wait; -1: no limit.", ()),
        Metric.LOG_REPLICAS: (Kind.GAUGE, "NATS servers that should hold the log.", ()),
        Metric.LOG_REPLICAS_CURRENT: (Kind.GAUGE, "NATS servers that hold all of it.", ()),
        Metric.TAIL_LIVE: (Kind.GAUGE, "1 while the gateway follows the log.", ()),
        Metric.TAIL_SEQUENCE: (Kind.GAUGE, "Sequence up to which the tail is complete.", ()),
        Metric.CONNECTIONS: (Kind.GAUGE, "Connected clients.", ("transport",)),
        Metric.CONNECTIONS_MAX: (Kind.GAUGE, "As many clients as one gateway takes.", ()),
        Metric.CONNECTIONS_ENDED: (Kind.COUNTER, "Ended, by reason.", ("transport", "reason")),
        Metric.JOINS: (Kind.COUNTER, "Joins: fresh, resumed, reset.", ("outcome",)),
        Metric.REPLAYED_STATES: (
            Kind.HISTOGRAM,
            "States that a join with a cursor told at once.",
            (),
        ),
        Metric.PUSH_LAG_SECONDS: (
            Kind.HISTOGRAM,
            "From commit to the sockets, of events that somebody listens to.",
            (),
        ),
        Metric.PING_SECONDS: (Kind.HISTOGRAM, "Until a WebSocket answers a ping.", ()),
        Metric.DRAINED_RATIO: (Kind.GAUGE, "Of a drain: 0 before it, 1 when all are closed.", ()),
        Metric.PUSH_MESSAGES: (Kind.COUNTER, "StateChanges sent.", ("transport",)),
        Metric.PUSH_MERGES: (Kind.COUNTER, "Changes merged into a later one.", ("transport",)),
        Metric.REFUSALS: (Kind.COUNTER, "Connections refused, by status.", ("status",)),
        Metric.REJOINS: (Kind.COUNTER, "Connections that joined again.", ()),
        Metric.SELF_CHECKS: (
            Kind.COUNTER,
            "Connections compared with the log: agrees, differs.",
            ("outcome",),
        ),
        Metric.WEBHOOK_READING: (Kind.GAUGE, "1 while this worker merges events into lanes.", ()),
        Metric.WEBHOOK_EVENTS_PENDING: (
            Kind.GAUGE,
            "Events that no worker has merged yet; each worker tells that of all.",
            (),
        ),
        Metric.WEBHOOK_EVENTS: (Kind.COUNTER, "Events merged into lanes.", ()),
        Metric.WEBHOOK_MERGES: (
            Kind.COUNTER,
            "Lanes that were given something to tell; many for one push are coalesced.",
            (),
        ),
        Metric.WEBHOOK_ATTEMPTS: (
            Kind.COUNTER,
            "Requests to endpoints: verification, push, probe.",
            ("kind", "outcome"),
        ),
        Metric.WEBHOOK_REQUESTS: (
            Kind.COUNTER,
            "The same, by their connection: new, again; none: no address to dial was found.",
            ("connection",),
        ),
        Metric.WEBHOOK_RETRY_AFTERS: (
            Kind.COUNTER,
            "Answers whose Retry-After is waited for.",
            (),
        ),
        Metric.WEBHOOK_ORIGINS_OPEN: (
            Kind.GAUGE,
            "Origins that this worker spares, as they do not answer.",
            (),
        ),
        Metric.WEBHOOK_SECONDS: (Kind.HISTOGRAM, "Until an endpoint answered.", ()),
        Metric.WEBHOOK_LAG_SECONDS: (
            Kind.HISTOGRAM,
            "From an event's merging to the endpoint that was told, of those that took it.",
            (),
        ),
        Metric.WEBHOOKS_IN_FLIGHT: (
            Kind.GAUGE,
            "Lanes that this worker looks at: healthy, troubled, slow.",
            ("group",),
        ),
        Metric.WEBHOOKS_IN_FLIGHT_MAX: (Kind.GAUGE, "As many as it may look at.", ("group",)),
        Metric.WEBHOOK_LANES: (
            Kind.GAUGE,
            "Lanes of all workers, told by each: converged, behind, failing, paused, unverified.",
            ("state",),
        ),
        Metric.WEBHOOK_OLDEST_SECONDS: (
            Kind.GAUGE,
            "How long the endpoint has been behind that is behind for the longest.",
            (),
        ),
    }
)

_BUCKETS = {
    Metric.LOOP_LAG_SECONDS: (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
    Metric.WEBHOOK_SECONDS: (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    Metric.WEBHOOK_LAG_SECONDS: (0.03, 0.1, 0.3, 1, 3, 10, 30, 120, 900, 3600, 21600, 86400),
    Metric.PUSH_LAG_SECONDS: (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    Metric.APPEND_SECONDS: (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5, 30, 300),
    Metric.REPLAYED_STATES: (0, 1, 3, 10, 30, 100, 300, 1000, 3000),
    Metric.APPEND_GROUP_REQUESTS: (1, 3, 10, 30, 100, 300),
}


class Metrics:
    """The counts of one process.

    A gauge is not there before it is set: 0 would be a statement of those that are not its own.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._samples: list[Callable[[], None]] = []
        self._totals: dict[tuple[Metric, tuple[tuple[str, str], ...]], float] = {}
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        self._labelled: dict[tuple[Metric, tuple[tuple[str, str], ...]], Any] = {}
        for metric, (kind, meaning, labels) in DECLARED.items():
            match kind:
                case Kind.COUNTER:
                    self._counters[metric] = Counter(
                        metric, meaning, labels, registry=self._registry
                    )
                case Kind.GAUGE:
                    continue
                case Kind.HISTOGRAM:
                    buckets = _BUCKETS.get(metric, Histogram.DEFAULT_BUCKETS)
                    self._histograms[metric] = Histogram(
                        metric, meaning, labels, registry=self._registry, buckets=buckets
                    )
                case _:
                    assert_never(kind)

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(metric, self._counters[metric], labels).inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges.get(metric)
        if gauge is None:
            _, meaning, names = DECLARED[metric]
            gauge = self._gauges[metric] = Gauge(metric, meaning, names, registry=self._registry)
        self._child(metric, gauge, labels).set(value)

    def total(self, metric: Metric, value: float, **labels: str) -> None:
        """Bring a counter to what somebody else has counted, which never goes back."""
        key = (metric, tuple(labels.items()))
        more = value - self._totals.get(key, 0)
        self._totals[key] = value
        self.count(metric, more, **labels)

    def on_scrape(self, sample: Callable[[], None]) -> None:
        """Call `sample`, which sets gauges and totals and must not wait, before each `text`."""
        self._samples.append(sample)

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        self._child(metric, self._histograms[metric], labels).observe(value)

    def _child(self, metric: Metric, parent: Child, labels: dict[str, str]) -> Child:
        """Remembered: to find it by its labels costs more than to count."""
        if not labels:
            return parent
        key = (metric, tuple(labels.items()))
        child = self._labelled.get(key)
        if child is None:
            child = self._labelled[key] = parent.labels(**labels)
        return cast("Child", child)

    def text(self) -> bytes:
        """What `/metrics` answers, of CONTENT_TYPE."""
        for sample in self._samples:
            sample()
        return generate_latest(self._registry)
