"""What operators watch, as lines: JSON for programs, columns for people."""

import typer

from services.cli.connection_words import place, told
from services.cli.event_lines import json_line, write_out
from services.cli.output import plain
from shared.operate.connections import Watched, WatchedMoment, gateway_of
from shared.operate.gateways import Silence, Watching

_HEADER = f"{'At':24}  {'Connection':12}  {'User':16}  {'What':14}  {'Up to':>10}  Told\n"


async def write_watched(watching: Watching, *, as_json: bool, until_end_of: str | None) -> None:
    """For ever, or until that connection has ended. Raises ReaderGoneError."""
    notices = _Notices(tells_counts=until_end_of is None)
    if not as_json:
        write_out(_HEADER.encode())
    async for answer in watching:
        notices.tell(answer, watching.lost_messages)
        if isinstance(answer, Silence):
            if until_end_of is not None and answer.gateway == gateway_of(until_end_of):
                return
            continue
        if answer.moments:
            form = json_line if as_json else _text_line
            write_out(b"".join(map(form, answer.moments)))
        if any(_is_end_of(one, until_end_of) for one in answer.moments):
            return


def warn_of_silent(silent: tuple[str, ...]) -> None:
    for gateway in silent:
        _note(f"gateway {gateway} did not answer: it hangs, or has just died.")


class _Notices:
    """What people must know besides, on standard error."""

    def __init__(self, *, tells_counts: bool) -> None:
        self._tells_counts = tells_counts
        self._counts: dict[str, int] = {}  # connections that are watched, by gateway
        self._lost = 0

    def tell(self, answer: Watched | Silence, lost: int) -> None:
        if isinstance(answer, Silence):
            self._counts.pop(answer.gateway, None)
            _note(f"gateway {answer.gateway} says nothing any more: it hangs, or has died.")
            return
        before, now = self._counts.get(answer.gateway), answer.connections
        self._counts[answer.gateway] = now
        if self._tells_counts and before != now:
            watched = f"{now} connection is" if now == 1 else f"{now} connections are"
            _note(f"{watched} watched on gateway {answer.gateway}.")
        if answer.dropped:
            _note(f"{answer.dropped} moments came too fast, and are not shown.")
        if lost > self._lost:
            _note(f"{lost - self._lost} messages of a gateway were lost.")
            self._lost = lost


def _text_line(one: WatchedMoment) -> bytes:
    columns = (
        f"{one.moment.at:24}",
        f"{one.connection:12}",
        f"{one.user_name:16}",
        f"{one.moment.kind:14}",
        f"{place(one.moment.cursor):>10}",
        told(one.moment),
    )
    return (plain("  ".join(columns)) + "\n").encode("utf-8", "replace")


def _is_end_of(one: WatchedMoment, connection_id: str | None) -> bool:
    return one.connection == connection_id and one.moment.kind == "ended"


def _note(text: str) -> None:
    typer.echo(f"tidings: {text}", err=True)
