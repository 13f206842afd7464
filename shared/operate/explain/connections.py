"""Why an event was, or was not, written to a connection, by its gateway's recorder; no I/O.

The rules are asked in order, and the first that finds something has explained it.
"""

from collections.abc import Callable
from datetime import datetime
from shlex import quote

from shared.log.cursor import decode_cursor
from shared.operate.connections import ConnectionDetails
from shared.operate.explain.connection_case import ConnectionCase, time_of
from shared.operate.explain.findings import (
    AskedTypes,
    Finding,
    event_steps,
    filtered,
    not_allowed,
    not_appended,
    verdict,
)
from shared.operate.explain.wording import moment, span, times
from shared.operate.explain.words import Advice, Reason, Receiver, Step, Verdict

_ENDS = {
    "state_sent": "it had asked to be closed after the first state",
    "lifetime": "its lifetime, or that of its credential, was over",
    "stalled": "its peer took nothing for too long",
    "client": "its client closed it, or went away",
    "protocol": "its client broke the rules of the protocol",
    "revoked": "its credential was revoked, or its user's last account",
    "lost": "the gateway could not read the log",
    "draining": "its gateway was stopped",
    "operator": "an operator closed it",
}


def judge_connection(case: ConnectionCase) -> Verdict:
    found = next(filter(None, (rule(case) for rule in _RULES)), None) or _unexplained(case)
    connection = case.connection
    receiver = Receiver(
        kind="connection",
        id=connection.id,
        user=connection.user_name,
        detail=f"{connection.transport} from {connection.address}"
        + ("" if connection.ended_at is None else ", ended"),
    )
    opened = Step(what="opened", at=time_of(connection.opened_at), text=_opened_text(connection))
    return verdict(receiver, found, (*event_steps(case.event), opened, *_joined(connection)))


def _opened_text(connection: ConnectionDetails) -> str:
    if connection.transport == "websocket":
        return "a WebSocket"
    return f"an event source, {_presented(connection)}"


def _presented(connection: ConnectionDetails) -> str:
    asked = connection.asked_cursor
    return "without a cursor" if asked is None else f"with the cursor {asked}"


def _joined(connection: ConnectionDetails) -> tuple[Step, ...]:
    if connection.transport != "websocket" or connection.joined_at is None:
        return ()
    at = time_of(connection.joined_at)
    return (Step(what="enabled", at=at, text=f"push, {_presented(connection)}"),)


# The rules.


def _not_appended(case: ConnectionCase) -> Finding | None:
    return not_appended(case.event, case.now)


def _sent(case: ConnectionCase) -> Finding | None:
    frame = case.told_by
    if frame is None or not case.is_remembered:
        return None
    connection, at = case.connection, time_of(frame.at)
    after = ""
    if case.event.committed_at is not None and at is not None:
        after = f", {span(at - case.event.committed_at)} after the commit"
    merged = f", with {times(frame.merged, 'change')} that waited" if frame.merged else ""
    step = Step(what="sent", at=at, text=f"{frame.octets} octets, up to {frame.cursor}{merged}")
    is_newest = frame.cursor == connection.told_cursor
    if is_newest and connection.stalled_seconds is not None and connection.unsent_octets:
        return _stalled(case, (step,), "written, and ")
    up_to = decode_cursor(frame.cursor or "")
    superseded = case.event.superseded_by(case.told_in(frame), up_to.sequence if up_to else 0)
    if case.is_newer(frame):
        newer = "a newer state" if superseded is None else f"the newer state of event {superseded}"
        return Finding(
            reason=Reason.TOLD_WITH_LATER,
            headline=f"Sent{_when(at, case.now)} as part of a later frame, which told {newer}"
            f"{after}",
            steps=(step,),
            advice=(_show(case),),
        )
    return Finding(
        reason=Reason.TOLD,
        headline=f"Sent{_when(at, case.now)}{after}; TCP took it, what the client did with it is "
        "not known here",
        steps=(step,),
        advice=(_show(case),),
    )


def _ended_before(case: ConnectionCase) -> Finding | None:
    ended_at = case.ended_at
    if ended_at is None or ended_at > case.at:
        return None
    why = _ENDS.get(case.connection.end_reason or "", "for an unknown reason")
    return Finding(
        reason=Reason.ENDED_BEFORE,
        headline=f"Not sent: the connection had ended {span(case.at - ended_at)} before "
        f"({moment(ended_at, case.now)}): {why}",
        steps=(_end(case),),
        advice=(_again(case),),
    )


def _came_later(case: ConnectionCase) -> Finding | None:
    connection, joined_at = case.connection, case.joined_at
    opened_at = time_of(connection.opened_at) or case.now
    is_late = case.event.at is not None and (joined_at or opened_at) > case.at
    if connection.transport == "websocket" and (joined_at is None or opened_at <= case.at):
        asked = connection.asked_cursor  # None: it began with what came after it
        is_known = asked is None or case.has_reached(asked)
        return _push_not_enabled(case) if joined_at is None or (is_late and is_known) else None
    if not is_late or joined_at is None:
        return None
    if connection.asked_cursor is None:
        return Finding(
            reason=Reason.OPENED_LATER,
            headline=f"Not sent: the connection was opened {moment(opened_at, case.now)}, "
            f"{span(opened_at - case.at)} after the event, without a cursor; it is told only what "
            "changes after it",
            advice=(
                Advice(
                    text="A client that was away must present the last cursor it was given "
                    "(Last-Event-ID, pushState), or ask with /changes. To tell it everything now:",
                    command=case.looker.resync,
                ),
            ),
        )
    if case.has_reached(connection.asked_cursor):
        return Finding(
            reason=Reason.CURSOR_BEYOND,
            headline=f"Not sent: the connection was opened {moment(opened_at, case.now)}, after "
            f"the event, with the cursor {connection.asked_cursor}: its client says that it knows "
            "all up to there",
            advice=(
                Advice(
                    text="It was told on the connection that the cursor is from: look at those of "
                    "the same user.",
                    command=f"tidings explain {case.event.sequence} "
                    f"--user {quote(connection.user_name)}",
                ),
            ),
        )
    return None


def _filtered(case: ConnectionCase) -> Finding | None:
    connection = case.connection
    if connection.transport == "websocket" and connection.types == ():
        return _push_not_enabled(case)
    return filtered(case.event, case.looker, AskedTypes(case.asked_types), case.now)


def _not_allowed(case: ConnectionCase) -> Finding | None:
    return not_allowed(case.event, case.looker, case.access, case.at, case.now)


def _pending(case: ConnectionCase) -> Finding | None:
    connection = case.connection
    waits = connection.pending_states.get(case.event.account_id, {})
    if case.types.isdisjoint(waits):
        return None
    if connection.pending_because == "stalled":
        return _stalled(case, (), "")
    if connection.pending_because == "merging":
        return Finding(
            reason=Reason.MERGING,
            headline="Waits: for some milliseconds, to be told together with what else changes",
            steps=(Step(what="waits", at=case.now, text="for the next frame"),),
        )
    return _ended_untold(case)


def _over(case: ConnectionCase) -> Finding | None:
    if case.ended_at is None:
        return None
    may_be_told = case.has_reached(case.connection.told_cursor) and not case.is_remembered
    return None if may_be_told else _ended_untold(case)


def _told(case: ConnectionCase) -> Finding | None:
    """So many frames came later that this one is not remembered."""
    connection = case.connection
    if case.is_remembered or not case.has_reached(connection.told_cursor):
        return None
    frames = case.frames
    before = "" if not frames else f", before {moment(time_of(frames[0].at) or case.now, case.now)}"
    return Finding(
        reason=Reason.TOLD_NOT_KEPT,
        headline=f"Sent{before}: all up to {connection.told_cursor} was; of its "
        f"{times(connection.messages, 'frame')} the last {len(frames)} are remembered",
        advice=(_show(case),),
    )


def _behind(case: ConnectionCase) -> Finding | None:
    if case.has_reached(case.gateway_cursor):
        return None
    gateway = case.connection.gateway
    return Finding(
        reason=Reason.GATEWAY_BEHIND,
        headline=f"Waits: gateway {gateway} has not read the event from the log yet",
        steps=(
            Step(what="waits", at=case.now, text=f"the gateway is at {case.gateway_cursor or '?'}"),
        ),
        advice=(
            Advice(
                text="Longer than a second: does the gateway reach NATS? See its /health/ready, "
                "and:",
                command="tidings connection list",
            ),
        ),
    )


_RULES: tuple[Callable[[ConnectionCase], Finding | None], ...] = (
    _not_appended,
    _sent,
    _ended_before,
    _came_later,
    _filtered,
    _not_allowed,
    _pending,
    _over,
    _told,
    _behind,
)


def _unexplained(case: ConnectionCase) -> Finding:
    connection = case.connection
    return Finding(
        reason=Reason.UNEXPLAINED,
        headline="Not known: it should have been sent, and nothing says why it was not",
        steps=(
            Step(
                what="connection",
                at=case.now,
                text=f"at {connection.cursor}, told up to {connection.told_cursor}",
            ),
        ),
        advice=(
            Advice(
                text="Please report it, with the output of --json. To tell it everything:",
                command=case.looker.resync,
            ),
        ),
    )


# What they share.


def _stalled(case: ConnectionCase, steps: tuple[Step, ...], written: str) -> Finding:
    connection = case.connection
    length = connection.stalled_seconds or 0.0
    return Finding(
        reason=Reason.STALLED,
        headline=f"Waits: {written}the peer has taken nothing for {length:.1f} s; "
        f"{connection.unsent_octets} octets are written and not taken, "
        f"{times(connection.pending, 'state')} wait behind them",
        steps=(*steps, Step(what="stalled", at=case.now, text=f"for {length:.1f} s")),
        advice=(
            Advice(
                text="The client, or what is between, does not read. After "
                "TIDINGS_GATEWAY_STALL_SECONDS it is closed, and learns all by its cursor when it "
                "comes again. To close it now:",
                command=f"tidings connection close {connection.id}",
            ),
        ),
    )


def _push_not_enabled(case: ConnectionCase) -> Finding:
    enabled = (
        "" if case.joined_at is None else f"; it was enabled {moment(case.joined_at, case.now)}"
    )
    return Finding(
        reason=Reason.PUSH_NOT_ENABLED,
        headline=f"Not sent: push was not enabled on the WebSocket{enabled}",
        advice=(
            Advice(
                text="Its client sends WebSocketPushEnable (RFC 8887 section 4.3.5.2), with the "
                "pushState that it knows."
            ),
        ),
    )


def _ended_untold(case: ConnectionCase) -> Finding:
    why = _ENDS.get(case.connection.end_reason or "", "for an unknown reason")
    return Finding(
        reason=Reason.ENDED_UNTOLD,
        headline=f"Not sent: the connection ended{_when(case.ended_at, case.now)} before it was "
        f"told: {why}",
        steps=(_end(case),),
        advice=(_again(case),),
    )


def _end(case: ConnectionCase) -> Step:
    reason = case.connection.end_reason or ""
    return Step(what="ended", at=case.ended_at, text=_ENDS.get(reason, reason))


def _again(case: ConnectionCase) -> Advice:
    user = case.connection.user_name
    return Advice(
        text="It learns what it missed when its client comes again with its cursor. What "
        f"{user} has open now:",
        command=f"tidings connection list --user {quote(user)}",
    )


def _show(case: ConnectionCase) -> Advice:
    return Advice(
        text="All that is remembered of it:",
        command=f"tidings connection show {case.connection.id}",
    )


def _when(at: datetime | None, now: datetime) -> str:
    return "" if at is None else f" {moment(at, now)}"
