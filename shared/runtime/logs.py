"""Logs: a line of JSON per event on standard output; a message is a stable event name.

A thread writes them, from a bounded queue: a reader of our output who stops reading must not stop
the server. What does not fit is dropped and counted.
"""

import atexit
import contextlib
import logging
import os
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

_LINES_MAX = 10_000
_FLUSH_SECONDS = 1.0
_HIDDEN = "***"
_SECRET_NAMES = re.compile(
    r"(^|_)(token|password|secret|key|authorization|cookie|verification_code|ticket)$"
)
_CREDENTIALS_OF_URL = re.compile(r"(?<=://)[^/@\s]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]+")
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_correlation: ContextVar[Mapping[str, str]] = ContextVar("correlation", default={})  # noqa: B039
_encode = msgspec.json.Encoder(enc_hook=str).encode


@contextlib.contextmanager
def correlated(**ids: str) -> Iterator[None]:
    """Every line logged inside carries `ids` (a request's, a connection's)."""
    token = _correlation.set({**_correlation.get(), **ids})
    try:
        yield
    finally:
        _correlation.reset(token)


def configure_logs(level: int = logging.INFO, *, file_descriptor: int = 1) -> None:
    """Send the logs of this process to standard output, as JSON; called once, by `__main__`."""
    handler = _LineHandler(file_descriptor)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in (
        "uvicorn",
        "asyncio",
        "httpx",
        "httpcore",
    ):  # their lines are theirs: no stable names
        logging.getLogger(name).setLevel(logging.WARNING)
    atexit.register(handler.flush)


class JsonFormatter(logging.Formatter):
    """One record, one line; nothing that looks like a credential."""

    def format(self, record: logging.LogRecord) -> str:
        extras = {key: value for key, value in vars(record).items() if key not in _ORDINARY}
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _redacted(record.getMessage()),
            **_correlation.get(),
            **{key: _shown(key, value) for key, value in extras.items()},
            "logger": record.name,
        }
        if record.exc_info:
            line["error"] = _redacted(self.formatException(record.exc_info))
        return _encode(line).decode()


def _shown(key: str, value: object) -> object:
    if _SECRET_NAMES.search(key):
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
        self._lines: queue.Queue[str] = queue.Queue(_LINES_MAX)
        self._dropped = 0
        threading.Thread(target=self._write_for_ever, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001 - a bad record must not end the caller
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was logged is written; a reader who does not read is not waited for."""
        done = threading.Event()

        def wait_for_writer() -> None:
            self._lines.join()
            done.set()

        threading.Thread(target=wait_for_writer, daemon=True).start()
        done.wait(_FLUSH_SECONDS)

    def _write_for_ever(self) -> None:
        while True:
            line = self._lines.get()
            # Gone is the reader: nobody is left to be told.
            with contextlib.suppress(OSError):
                self._write(line)
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    self._write(
                        f'{{"level":"warning","event":"log_lines_dropped","lines":{dropped}}}'
                    )
            self._lines.task_done()

    def _write(self, line: str) -> None:
        rest = line.encode(errors="replace") + b"\n"
        while rest:
            rest = rest[os.write(self._file_descriptor, rest) :]
