"""Times, spans and lists as an operator reads them; no I/O."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TEXT_MAX = 120


def moment(at: datetime, now: datetime) -> str:
    """12:00:31Z, with the date where that is not today's."""
    at = at.astimezone(UTC)
    form = "%H:%M:%SZ" if at.date() == now.astimezone(UTC).date() else "%Y-%m-%d %H:%M:%SZ"
    return at.strftime(form)


def span(length: timedelta) -> str:
    """In two units at most: 35 ms, 2.4 s, 5 min 3 s, 2 d 4 h."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    for unit, name, smaller, smaller_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
    ):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} {seconds % unit // smaller:.0f} {smaller_name}"
    return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"


def listed(words: Collection[str]) -> str:
    """Email; Email and Mailbox; Email, Mailbox and Thread; nothing."""
    names = sorted(words)
    if len(names) <= 1:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def types_text(types: Collection[str] | None) -> str:
    """What a receiver asked for."""
    if types is None:
        return "all types"
    if not types:
        return "no type at all"
    return f"{listed(types)} only"


def times(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def quoted(text: str) -> str:
    """The beginning of what somebody else said, in one line that cannot speak to the terminal."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: _TEXT_MAX + 1])
    return f"“{line[:_TEXT_MAX].strip()}{'…' if len(line) > _TEXT_MAX else ''}”"
