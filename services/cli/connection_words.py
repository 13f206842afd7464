"""Connections in the words of people; no I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from shared.log.cursor import decode_cursor
from shared.operate.connections import ConnectionDetails, ConnectionFacts, GatewayFacts, Moment

LIST_COLUMNS = ("ID", "User", "Kind", "From", "Age", "Sent", "Last sent", "Waiting")
MOMENT_COLUMNS = ("At", "What", "Up to", "Told")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STATES_SHOWN = 12


def list_row(one: ConnectionFacts, now: datetime) -> Sequence[str]:
    return (
        one.id,
        one.user_name,
        one.transport,
        one.address or "-",
        age(one.opened_at, now if one.ended_at is None else moment(one.ended_at)),
        str(one.messages),
        "-" if one.told_at is None else f"{age(one.told_at, now)} ago",
        waiting(one, now),
    )


def waiting(one: ConnectionFacts, now: datetime) -> str:
    """What an operator must know first."""
    states = "" if not one.pending else f", {_counted(one.pending, 'state')} pending"
    if one.ended_at is not None:
        return f"ended {age(one.ended_at, now)} ago: {one.end_reason}{states}"
    if one.stalled_seconds is not None:
        return f"stalled for {span(one.stalled_seconds)}{states}"
    if not one.is_listening:
        return "push is not enabled" if one.transport == "websocket" else "joins"
    return states.removeprefix(", ")


def gateway_line(gateway: GatewayFacts, now: datetime) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(gateway.connections.items()))
    flags = [] if gateway.is_live else ["does not follow the log"]
    flags += ["is draining"] if gateway.is_draining else []
    return (
        f"Gateway {gateway.id} on {gateway.host}, up for {age(gateway.started_at, now)}: "
        f"{counts or 'no connections'}; {_counted(gateway.users, 'user')}; "
        f"{gateway.ended_kept} ended lately{''.join(f'; {flag}' for flag in flags)}"
    )


def shown_facts(one: ConnectionDetails, now: datetime) -> Mapping[str, str]:
    """In the order in which an operator asks."""
    facts = {
        "User": f"{one.user_name} ({one.user})",
        "Token": one.credential,
        "Kind": one.transport,
        "From": one.address or "-",
        "Opened": f"{one.opened_at}, {age(one.opened_at, now)} ago",
        "Ended": _ending(one, now),
        "Types": _types(one),
        "Options": _options(one),
        "Joined": _joining(one),
        "Accounts": _accounts(one),
        "Sent": _counted(one.messages, "StateChange"),
        "Last sent": "nothing yet"
        if one.told_at is None
        else f"{one.told_at}, {age(one.told_at, now)} ago, up to {place(one.told_cursor)}",
        "Seen": f"up to {place(one.cursor)}" if one.cursor else "nothing",
        "Merged": _merged(one),
        "Filtered": _filtered(one),
        "Waiting": _waiting(one, now),
        "Pings": _pings(one, now),
    }
    return {name: value for name, value in facts.items() if value}


def moment_row(one: Moment) -> Sequence[str]:
    return (one.at, one.kind, place(one.cursor), told(one))


def told(one: Moment) -> str:
    """What a moment was about, on one line."""
    words: list[str] = []
    if one.changed is not None:
        states = [
            f"{account_id}: " + " ".join(f"{name}={state}" for name, state in changed.items())
            for account_id, changed in one.changed.items()
        ]
        words.append("; ".join(states) + (" …" if one.is_cut else ""))
    if one.count > 1:
        words.append(f"{one.count} in a row, the last: {one.detail or 'without a name'}")
    elif one.detail is not None:
        words.append(one.detail)
    if one.merged:
        words.append(f"{_counted(one.merged, 'change')} merged")
    if one.states:
        words.append(f"{_counted(one.states, 'state')} told at once")
    if one.octets:
        words.append(f"{one.octets:,} octets")
    return ", ".join(words)


def place(cursor: str | None) -> str:
    """The sequence in a cursor, which is what other commands show."""
    decoded = decode_cursor(cursor or "")
    return cursor or "-" if decoded is None else str(decoded.sequence)


def age(at: str, now: datetime) -> str:
    return span((now - moment(at)).total_seconds())


def moment(at: str) -> datetime:
    return datetime.fromisoformat(at)


def span(seconds: float) -> str:
    """Two digits are more than anybody needs."""
    if seconds < 10:  # noqa: PLR2004
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} d"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _ending(one: ConnectionDetails, now: datetime) -> str:
    if one.ended_at is None:
        return ""
    by = "" if one.ended_by is None else f" {one.ended_by}"
    return f"{one.ended_at}, {age(one.ended_at, now)} ago: {one.end_reason}{by}"


def _types(one: ConnectionDetails) -> str:
    if one.types is None:
        return "all"
    more = one.type_count - len(one.types)
    return (", ".join(one.types) or "none") + (f" and {more} more" if more > 0 else "")


def _options(one: ConnectionDetails) -> str:
    options = [f"ping every {one.ping_seconds} s"] if one.ping_seconds else []
    return ", ".join(options + (["closes after a state"] if one.closes_after_state else []))


def _joining(one: ConnectionDetails) -> str:
    if one.joined_at is None:
        return "no: push is not enabled" if one.transport == "websocket" else "not yet"
    presented = f"presented {place(one.asked_cursor)}" if one.asked_cursor else "without a cursor"
    how = {
        "fresh": "told only what changes from then on",
        "resumed": f"resumed, {_counted(one.missed, 'state')} missed",
        "reset": f"cursor not of this log, so all was told: {_counted(one.missed, 'state')}",
    }
    return f"{one.joined_at}, {presented}: {how.get(one.outcome or '', one.outcome)}"


def _accounts(one: ConnectionDetails) -> str:
    more = one.account_count - len(one.accounts)
    return (", ".join(one.accounts) or "none") + (f" and {more} more" if more > 0 else "")


def _merged(one: ConnectionDetails) -> str:
    if not one.merged:
        return ""
    return f"{_counted(one.merged, 'change')} waited a moment, and went with others"


def _filtered(one: ConnectionDetails) -> str:
    if not one.filtered:
        return ""
    return (
        f"{_counted(one.filtered, 'change')} of no type that was asked for, "
        f"the last at {place(one.filtered_cursor)}"
    )


def _waiting(one: ConnectionDetails, now: datetime) -> str:
    words = waiting(one, now) if one.ended_at is None else ""
    pending = [
        f"{account_id} {name}={state}"
        for account_id, states in one.pending_states.items()
        for name, state in states.items()
    ]
    if pending:
        words = f"{words or 'never told'} ({', '.join(pending[:_STATES_SHOWN])})"
    if one.unsent_octets:
        words += f", {one.unsent_octets:,} octets not taken yet"
    return words


def _pings(one: ConnectionDetails, now: datetime) -> str:
    if one.pinged_at is None:
        return ""
    answered = (
        "" if one.ping_milliseconds is None else f", answered in {one.ping_milliseconds:.1f} ms"
    )
    return f"{one.pings}, the last {age(one.pinged_at, now)} ago{answered}"
