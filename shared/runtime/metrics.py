"""What a process counts: every metric, its kind, its labels; and the text of `/metrics`.

Pure code returns outcomes; adapters count them here. Each composition root makes one `Metrics`.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar, assert_never, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

Child = TypeVar("Child", Counter, Gauge, Histogram)


class Metric(StrEnum):
    """Name, with its unit last."""

    HTTP_REQUESTS = "tidings_http_requests_total"
    HTTP_REQUEST_SECONDS = "tidings_http_request_seconds"
    BUS_REQUESTS = "tidings_bus_requests_total"
    METHOD_CALLS = "tidings_method_calls_total"
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
    TAIL_SEQUENCE = "tidings_tail_sequence"
    CONNECTIONS = "tidings_connections"
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
    WEBHOOK_EVENTS = "tidings_webhook_events_total"
    WEBHOOK_ATTEMPTS = "tidings_webhook_attempts_total"
    WEBHOOK_SECONDS = "tidings_webhook_seconds"
    WEBHOOK_LAG_SECONDS = "tidings_webhook_lag_seconds"
    WEBHOOKS_IN_FLIGHT = "tidings_webhooks_in_flight"
    WEBHOOK_LANES = "tidings_webhook_lanes"
    WEBHOOK_OLDEST_SECONDS = "tidings_webhook_oldest_seconds"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


DECLARED: MappingProxyType[Metric, tuple[Kind, str, tuple[str, ...]]] = MappingProxyType(
    {
        Metric.HTTP_REQUESTS: (Kind.COUNTER, "Answered requests.", ("route", "status")),
        Metric.HTTP_REQUEST_SECONDS: (Kind.HISTOGRAM, "Time to answer.", ("route",)),
        Metric.BUS_REQUESTS: (
            Kind.COUNTER,
            "Requests of others that were answered over NATS.",
            ("subject", "status"),
        ),
        Metric.METHOD_CALLS: (Kind.COUNTER, "JMAP method calls.", ("method", "outcome")),
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
        Metric.TAIL_SEQUENCE: (Kind.GAUGE, "Sequence up to which the tail is complete.", ()),
        Metric.CONNECTIONS: (Kind.GAUGE, "Connected clients.", ("transport",)),
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
        Metric.WEBHOOK_EVENTS: (Kind.COUNTER, "Events merged into lanes.", ()),
        Metric.WEBHOOK_ATTEMPTS: (
            Kind.COUNTER,
            "Requests to endpoints: verification, push, probe.",
            ("kind", "outcome"),
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
        Metric.WEBHOOK_LANES: (
            Kind.GAUGE,
            "Lanes of all workers: converged, behind, failing, paused, unverified.",
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
    Metric.REPLAYED_STATES: (0, 1, 3, 10, 30, 100, 300, 1000, 3000),
    Metric.APPEND_GROUP_REQUESTS: (1, 3, 10, 30, 100, 300),
}


class Metrics:
    """The counts of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
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
                    self._gauges[metric] = Gauge(metric, meaning, labels, registry=self._registry)
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
        self._child(metric, self._gauges[metric], labels).set(value)

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
        return generate_latest(self._registry)
