"""Logs: a line of JSON per event on standard output; a message is a stable event name.

A thread writes them, some milliseconds' worth at a time, from a bounded queue: a reader of our
output who stops reading must not stop the server. What does not fit is dropped and counted.
"""

import atexit
import contextlib
import functools
import itertools
import logging
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

import msgspec

_LINES_MAX = 10_000
_GATHER_SECONDS = 0.005  # to wake the writer for each line would cost as much as to make it
_BATCH = 1000
_FLUSH_SECONDS = 1.0
_HIDDEN = "***"
_SECRET_NAMES = re.compile(
    r"(^|_)(token|password|secret|key|authorization|cookie|verification_code|ticket)$"
)
_CREDENTIALS_OF_URL = re.compile(r"(?<=://)[^/@\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]+")
_ORDINARY_COUNT = len(vars(logging.makeLogRecord({})))
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_correlation: ContextVar[Mapping[str, str]] = ContextVar("correlation", default={})  # noqa: B039
_encode = msgspec.json.Encoder(enc_hook=str).encode
_counts: Counter[str] = Counter()
_DROPPED = "dropped"
_ours: "_LineHandler | None" = None  # that of `configure_logs`

Level = Literal["debug", "info", "warning", "error"]


class LogLineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_LOG_*: of the lines on standard output."""

    level: Level = "info"
    """The least that is told; at `warning` there is no line of each request, attempt and
    connection."""


def lines_logged() -> Mapping[str, int]:
    """How many of each level since the start, and of `dropped`."""
    return _counts


@contextlib.contextmanager
def correlated(**ids: str) -> Iterator[None]:
    """Every line logged inside carries `ids` (a request's, a connection's)."""
    token = _correlation.set({**_correlation.get(), **ids})
    try:
        yield
    finally:
        _correlation.reset(token)


def configure_logs(level: Level = "info", *, file_descriptor: int = 1) -> None:
    """Send the logs of this process to standard output, as JSON; called once, by `__main__`."""
    # Nobody asks a record for these, and to find them costs a fifth of a line.
    logging._srcfile = None  # noqa: SLF001 - the manual of logging says so
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    global _ours  # noqa: PLW0603 - as the logging module's own root is
    handler = _ours = _LineHandler(file_descriptor)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in (
        "uvicorn",
        "asyncio",
        "httpx",
        "httpcore",
    ):  # their lines are theirs: no stable names
        logging.getLogger(name).setLevel(logging.WARNING)
    atexit.register(handler.flush)


def log_facts(logger: logging.Logger, event: str, facts: Mapping[str, object]) -> None:
    """As `logger.info(event, extra=facts)`, for lines that tell of each request.

    Where no other handler listens there is no LogRecord, which is more than half of a line's cost.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    if _ours is None or logging.root.handlers != [_ours]:
        logger.info(event, extra=facts)
    elif _ours.has_room("info"):
        now = time.time()  # noqa: TID251 - as a LogRecord has it
        line = _line(now, "info", event, facts.items())
        line["logger"] = logger.name
        try:
            _ours.add(_encode(line).decode())
        except Exception as error:  # noqa: BLE001 - a bad fact must not end the caller
            logger.error("line_not_logged", extra={"line": event, "error": repr(error)})  # noqa: TRY400


class JsonFormatter(logging.Formatter):
    """One record, one line; nothing that looks like a credential."""

    def format(self, record: logging.LogRecord) -> str:
        # What was given as `extra` stands behind what every record has.
        facts = itertools.islice(vars(record).items(), _ORDINARY_COUNT, None)
        line = _line(
            record.created,
            record.levelname.lower(),
            record.getMessage(),
            (fact for fact in facts if fact[0] not in _ORDINARY),
        )
        line["logger"] = record.name
        if record.exc_info:
            line["error"] = _redacted(self.formatException(record.exc_info))
        return _encode(line).decode()


def _line(
    created: float, level: str, event: str, facts: Iterable[tuple[str, object]]
) -> dict[str, object]:
    line: dict[str, object] = {
        "at": _time_text(created),
        "level": level,
        "event": _redacted(event),
        **_correlation.get(),
    }
    for key, value in facts:
        line[key] = _shown(key, value)
    return line


def _time_text(created: float) -> str:
    second = int(created)
    return f"{_second_text(second)}.{int((created - second) * 1000):03}+00:00"


@functools.lru_cache(4)
def _second_text(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@functools.lru_cache(1024)
def _is_secret(key: str) -> bool:
    return _SECRET_NAMES.search(key) is not None


def _shown(key: str, value: object) -> object:
    if _is_secret(key):
        return _HIDDEN
    return _redacted(value) if isinstance(value, str) else value


def _redacted(text: str) -> str:
    if "://" in text:
        text = _CREDENTIALS_OF_URL.sub(f"{_HIDDEN}@", text)
    if " " in text:
        text = _BEARER.sub(rf"\1 {_HIDDEN}", text)
    return text


class _LineHandler(logging.Handler):
    def __init__(self, file_descriptor: int) -> None:
        super().__init__()
        self._file_descriptor = file_descriptor
        self._lines: deque[str] = deque()  # bounded by _LINES_MAX
        self._wanted = threading.Event()
        self._is_writing = False
        self._dropped = 0
        threading.Thread(target=self._write_for_ever, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if self.has_room(record.levelname.lower()):
            try:
                self.add(self.format(record))
            except Exception:  # noqa: BLE001 - a bad record must not end the caller
                self.handleError(record)

    def has_room(self, level: str) -> bool:
        """For one more line, which is counted, or dropped."""
        _counts[level] += 1
        if len(self._lines) < _LINES_MAX:
            return True
        _counts[_DROPPED] += 1
        self._dropped += 1
        return False

    def add(self, line: str) -> None:
        self._lines.append(line)
        if not self._wanted.is_set():
            self._wanted.set()

    def flush(self) -> None:
        """Wait until what was logged is written; a reader who does not read is not waited for."""
        end = time.monotonic() + _FLUSH_SECONDS
        while (self._lines or self._is_writing) and time.monotonic() < end:
            time.sleep(_GATHER_SECONDS)

    def _write_for_ever(self) -> None:
        while True:
            self._wanted.wait()
            time.sleep(_GATHER_SECONDS)
            self._is_writing = True
            self._wanted.clear()  # before the lines are taken: one that comes now sets it again
            # Gone is the reader: nobody is left to be told.
            while self._lines:
                with contextlib.suppress(OSError):
                    self._write_some()
            self._is_writing = False

    def _write_some(self) -> None:
        lines = [self._lines.popleft() for _ in range(min(len(self._lines), _BATCH))]
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            lines.append(f'{{"level":"warning","event":"log_lines_dropped","lines":{dropped}}}')
        rest = "".join(f"{line}\n" for line in lines).encode(errors="replace")
        while rest:
            rest = rest[os.write(self._file_descriptor, rest) :]
