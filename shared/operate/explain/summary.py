"""The verdicts of all receivers in one; no I/O."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from shlex import quote

from shared.operate.connections import gateway_of
from shared.operate.explain.findings import Finding, verdict
from shared.operate.explain.wording import listed, times
from shared.operate.explain.words import (
    Advice,
    EventShown,
    Explanation,
    Outcome,
    Reason,
    Receiver,
    Step,
    Verdict,
)

_WORST_LAST = (Outcome.TOLD, Outcome.WAITS, Outcome.NOT_TOLD, Outcome.UNKNOWN)
_SUMS = {
    Outcome.TOLD: "told",
    Outcome.WAITS: "waiting",
    Outcome.NOT_TOLD: "not told",
    Outcome.UNKNOWN: "not known",
}


def summed_up(
    event: EventShown | None, verdicts: tuple[Verdict, ...], now: datetime
) -> Explanation:
    """The outcome is the worst of them."""
    outcomes = Counter(one.outcome for one in verdicts)
    worst = max(outcomes, key=_WORST_LAST.index)
    headline = verdicts[0].headline
    if len(verdicts) > 1:
        counts = ", ".join(
            f"{outcomes[outcome]} {_SUMS[outcome]}" for outcome in _WORST_LAST if outcomes[outcome]
        )
        headline = f"Of {times(len(verdicts), 'receiver')}: {counts}"
    return Explanation(at=now, headline=headline, outcome=worst, event=event, verdicts=verdicts)


def nothing_known(receiver: Receiver, reason: Reason, headline: str) -> Verdict:
    """Of an event that there is not."""
    advice = Advice(text="The events that the log has:", command="tidings events --last 20")
    return verdict(receiver, Finding(reason=reason, headline=headline, advice=(advice,)))


def but_one_that_ended_before(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that had ended when the event came, but for the first, explain nothing."""
    kept: list[Verdict] = []
    for one in verdicts:
        is_first = all(other.reason is not Reason.ENDED_BEFORE for other in kept)
        if is_first or one.reason is not Reason.ENDED_BEFORE:
            kept.append(one)
    return kept


def gateway_silent(
    receiver: Receiver, steps: tuple[Step, ...], gateways: tuple[str, ...] = ()
) -> Verdict:
    """Nobody answers who would know; `gateways`: those that should, if they are known."""
    if receiver.kind == "connection":
        headline = (
            f"Not known: gateway {gateway_of(receiver.id)}, which connection {receiver.id} is of, "
            "does not answer: it ended, or cannot be reached"
        )
    elif gateways:
        headline = f"Not known: connections of {listed(gateways)}, which did not answer"
    else:
        headline = "Not known: connections, since no gateway answers"
    finding = Finding(
        reason=Reason.GATEWAY_SILENT,
        headline=headline,
        advice=(
            Advice(
                text="A gateway that ended forgets its connections: its log has a line "
                "connection_ended of each. Those that answer:",
                command="tidings connection list",
            ),
        ),
    )
    return verdict(receiver, finding, steps)


def more_connections(receiver: Receiver, count: int) -> Verdict:
    """A user has more than were looked at."""
    finding = Finding(
        reason=Reason.MORE_CONNECTIONS,
        headline=f"Not known: more connections of {receiver.user} than the {count} newest, which "
        "were looked at",
        advice=(
            Advice(
                text="Ask about one of them by its id (--connection ID):",
                command=f"tidings connection list --user {quote(receiver.user or receiver.id)}",
            ),
        ),
    )
    return verdict(receiver, finding)


_NOBODY = {
    "user": Reason.NO_RECEIVER,
    "subscription": Reason.UNKNOWN_SUBSCRIPTION,
    "connection": Reason.UNKNOWN_CONNECTION,
}


def no_receiver(receiver: Receiver, steps: tuple[Step, ...]) -> Verdict:
    """Nobody is there to be told."""
    if receiver.kind == "user":
        headline = (
            f"Not known: {receiver.user} has no push subscription and no connection, now or "
            "lately: nobody was there to be told"
        )
        advice = Advice(
            text="A client opens a stream (/jmap/eventsource, /jmap/ws) or makes a subscription "
            "(PushSubscription/set)."
        )
    else:
        headline = (
            f"Not known: there is no {receiver.kind} {receiver.id}, and there was none lately"
        )
        advice = Advice(text="Those that there are:", command=f"tidings {receiver.kind} list")
    finding = Finding(reason=_NOBODY[receiver.kind], headline=headline, advice=(advice,))
    return verdict(receiver, finding, steps)
