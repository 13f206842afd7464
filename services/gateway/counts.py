"""What the connections counted, carried to the metrics: counting itself must cost nothing."""

from collections import Counter
from typing import Protocol

from shared.runtime.metrics import Metric, Metrics


class Counted(Protocol):
    """Counters that only grow, but for `open`."""

    open: Counter[str]  # by kind
    ended: Counter[tuple[str, str]]  # by kind and reason
    joined: Counter[str]  # by outcome

    def states_sent(self) -> Counter[str]:
        """By kind."""
        ...


class Counts:
    def __init__(self, metrics: Metrics, connections: Counted) -> None:
        self._metrics = metrics
        self._connections = connections
        self._ended: Counter[tuple[str, str]] = Counter()
        self._joined: Counter[str] = Counter()
        self._states_sent: Counter[str] = Counter()

    def report(self) -> None:
        """Add what was counted since the last report."""
        counted = self._connections
        for kind, count in counted.open.items():
            self._metrics.set(Metric.CONNECTIONS, count, transport=kind)
        for (kind, reason), count in (counted.ended - self._ended).items():
            self._metrics.count(Metric.CONNECTIONS_ENDED, count, transport=kind, reason=reason)
        for outcome, count in (counted.joined - self._joined).items():
            self._metrics.count(Metric.JOINS, count, outcome=outcome)
        states_sent = counted.states_sent()
        for kind, count in (states_sent - self._states_sent).items():
            self._metrics.count(Metric.PUSH_MESSAGES, count, transport=kind)
        self._ended, self._joined = counted.ended.copy(), counted.joined.copy()
        self._states_sent = states_sent
