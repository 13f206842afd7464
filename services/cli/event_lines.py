"""Events as lines: JSON for programs, columns for people; and how far a long read has come."""

import os
import sys
from collections.abc import Sequence

import msgspec

from services.cli.output import plain
from shared.operate.event_lines import EventLine
from shared.runtime.clock import Clock

_PROGRESS_SECONDS = 0.5
_ERASE_LINE = "\r\x1b[K"
_ACCOUNT_WIDTH = 26
_HEADER = f"{'At':24}  {'Account':{_ACCOUNT_WIDTH}}  {'Changed':40}  {'Cause':40}  Cursor"


class ReaderGoneError(Exception):
    """Whoever read our output has closed it, as `head` does."""


_encoder = msgspec.json.Encoder()


def json_line(line: object) -> bytes:
    return _encoder.encode(line) + b"\n"


def text_line(line: EventLine) -> bytes:
    changed = " ".join(f"{name}={state}" for name, state in line.changed.items())
    changed = "removed" if line.removed else changed
    cause = " ".join(
        part for part in (line.cause.method, line.cause.principal, line.cause.request_id) if part
    )
    columns = (f"{line.at:24}", f"{line.account:{_ACCOUNT_WIDTH}}", f"{changed:40}", f"{cause:40}")
    return (plain("  ".join((*columns, line.cursor))) + "\n").encode("utf-8", "replace")


class EventWriter:
    """Writes to standard output, which may hold us up: then nothing more is read."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._has_header = as_json

    def write(self, lines: Sequence[EventLine]) -> None:
        """Raises ReaderGoneError."""
        form = json_line if self._as_json else text_line
        header = [] if self._has_header else [f"{_HEADER}\n".encode()]
        self._has_header = True
        write_out(b"".join((*header, *map(form, lines))))


def write_out(octets: bytes) -> None:
    """Raises ReaderGoneError."""
    try:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        # What is left in the buffer would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ReaderGoneError from error


class Progress:
    """On standard error, and only where somebody looks at it."""

    def __init__(self, clock: Clock, *, first: int, end: int) -> None:
        self._clock = clock
        self._first = first
        self._end = end
        self._shown_at = clock.monotonic()
        self._is_wanted = sys.stderr.isatty()
        self._is_there = False

    def tell(self, position: int, shown: int) -> None:
        now = self._clock.monotonic()
        if not self._is_wanted or now - self._shown_at < _PROGRESS_SECONDS:
            return
        self._shown_at, self._is_there = now, True
        span = max(1, self._end - self._first)
        percent = min(100, max(0, position - self._first) * 100 // span)
        sys.stderr.write(
            f"{_ERASE_LINE}{percent} %: read up to {position:,}, {shown:,} events shown"
        )
        sys.stderr.flush()

    def clear(self) -> None:
        """Before anything else is written to the terminal."""
        if self._is_there:
            self._is_there = False
            sys.stderr.write(_ERASE_LINE)
            sys.stderr.flush()
