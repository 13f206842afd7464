"""What the gateway counted, carried to the metrics: counting itself must cost nothing."""

from collections import Counter
from typing import Any

from services.gateway.connections import Connections
from services.gateway.entrance import Entrance
from services.gateway.samples import Samples
from services.gateway.self_check import SelfCheck
from services.gateway.timed_fan_out import TimedFanOut
from shared.runtime.metrics import Metric, Metrics


class Counts:
    """`report` adds what was counted since the last report."""

    def __init__(
        self,
        metrics: Metrics,
        connections: Connections,
        entrance: Entrance,
        fan_out: TimedFanOut,
        self_check: SelfCheck,
    ) -> None:
        self._metrics = metrics
        self._connections = connections
        self._entrance = entrance
        self._fan_out = fan_out
        self._self_check = self_check
        for outcome in ("agrees", "differs"):  # so that the first one is an increase
            metrics.count(Metric.SELF_CHECKS, 0, outcome=outcome)
        self._reported: dict[Metric, Counter[Any]] = {}

    def report(self) -> None:
        connections = self._connections
        sent, merged = connections.sent_and_merged()
        for kind, count in connections.open.items():
            self._metrics.set(Metric.CONNECTIONS, count, transport=kind)
        self._metrics.set(Metric.TAIL_SEQUENCE, self._fan_out.position)
        self._metrics.set(Metric.TAIL_LIVE, float(self._fan_out.is_live))
        self._add(Metric.CONNECTIONS_ENDED, connections.ended, "transport", "reason")
        self._add(Metric.JOINS, connections.joined, "outcome")
        self._add(Metric.PUSH_MESSAGES, sent, "transport")
        self._add(Metric.PUSH_MERGES, merged, "transport")
        self._add(Metric.REJOINS, Counter({(): connections.rejoined}))
        self._add(Metric.REFUSALS, self._entrance.refusals, "status")
        self._add(Metric.SELF_CHECKS, self._self_check.outcomes, "outcome")
        self._metrics.set(Metric.DRAINED_RATIO, connections.drained_ratio)
        self._observe(Metric.REPLAYED_STATES, connections.replayed_states)
        self._observe(Metric.PING_SECONDS, connections.ping_seconds)
        self._observe(Metric.PUSH_LAG_SECONDS, self._fan_out.lags)

    def _observe(self, metric: Metric, samples: Samples) -> None:
        while samples:
            self._metrics.observe(metric, samples.popleft())

    def _add(self, metric: Metric, counted: Counter[Any], *labels: str) -> None:
        """The keys of `counted` are the values of `labels`, a tuple where there are several."""
        for key, count in (counted - self._reported.get(metric, Counter())).items():
            values = key if isinstance(key, tuple) else (key,)
            named = {label: str(value) for label, value in zip(labels, values, strict=True)}
            self._metrics.count(metric, count, **named)
        self._reported[metric] = counted.copy()
