import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from shared.runtime import logs
from shared.runtime.logs import (
    JsonFormatter,
    _LineHandler,
    configure_logs,
    correlated,
    lines_logged,
    log_facts,
)


def line_of(message: str, **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "t", **extra})
    line: dict[str, object] = msgspec.json.decode(JsonFormatter().format(record))
    return line


def test_a_line_is_json_with_its_facts() -> None:
    line = line_of("connection_ended", reason="slow\nclient", seconds=1.5)
    assert line["event"] == "connection_ended"
    assert line["level"] == "info"
    assert line["reason"] == "slow\nclient"
    assert line["seconds"] == 1.5


def test_a_line_carries_the_ids_of_its_request() -> None:
    with correlated(request_id="r1"), correlated(connection_id="c1"):
        line = line_of("x")
    assert (line["request_id"], line["connection_id"]) == ("r1", "c1")
    assert "request_id" not in line_of("x")


def test_no_line_tells_a_credential() -> None:
    line = line_of(
        "to nats://me:hunter2@localhost with Bearer hunter2",
        token="hunter2",
        nats_password="hunter2",
        header="authorization: basic hunter2",
        token_id="t1",
    )
    assert "hunter2" not in str(line)
    assert line["token_id"] == "t1"


def test_an_error_is_told_on_the_same_line() -> None:
    with pytest.raises(ValueError, match="literal") as caught:
        int("postgresql://me:hunter2@localhost")
    exc_info = (caught.type, caught.value, caught.tb)
    text = JsonFormatter().format(logging.makeLogRecord({"exc_info": exc_info}))
    assert "\n" not in text
    assert "ValueError" in text
    assert "hunter2" not in text


def test_what_cannot_be_encoded_is_told_as_text() -> None:
    assert line_of("x", what=object)["what"] == "<class 'object'>"


def test_a_reader_who_stops_reading_does_not_stop_the_writer() -> None:
    reading, writing = os.pipe()
    handler = _LineHandler(writing)
    handler.setFormatter(JsonFormatter())
    record = logging.makeLogRecord({"msg": "m" * 1000, "levelname": "NOTSET"})
    before = dict(lines_logged())
    for _ in range(13_000):  # thirteen megabytes into a pipe of 64 KiB
        handler.emit(record)
    assert lines_logged()["notset"] - before.get("notset", 0) == 13_000
    assert lines_logged()["dropped"] - before.get("dropped", 0) >= 1_500
    os.set_blocking(reading, False)
    assert os.read(reading, 10).startswith(b'{"at":"')
    os.close(reading)
    handler.flush()
    os.close(writing)


def test_what_was_logged_is_written_when_it_is_flushed() -> None:
    reading, writing = os.pipe()
    handler = _LineHandler(writing)
    handler.setFormatter(JsonFormatter())
    for number in range(100):
        handler.emit(logging.makeLogRecord({"msg": "x", "number": number}))
    handler.flush()
    os.close(writing)
    with os.fdopen(reading) as lines:
        numbers = [msgspec.json.decode(line)["number"] for line in lines]
    assert numbers == list(range(100))


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor to read this process's lines from; its logs are as before afterwards."""
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    monkeypatch.setattr(logs, "_ours", None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    reading, writing = os.pipe()
    try:
        configure_logs("info", file_descriptor=writing)
        yield reading
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        os.close(reading)
        os.close(writing)


def listen_alone() -> None:
    """Without the handlers that pytest adds once the fixtures are made."""
    logging.getLogger().handlers[:] = [logs._ours]  # type: ignore[list-item]


def written(configured: int, lines: int) -> list[dict[str, object]]:
    for handler in logging.getLogger().handlers:
        handler.flush()
    found = [msgspec.json.decode(line) for line in os.read(configured, 65_536).splitlines()]
    assert len(found) == lines
    return found


def test_facts_are_the_line_that_a_record_would_be(configured: int) -> None:
    logger = logging.getLogger("tests.facts.same")
    facts = {"status": 201, "token": "hunter2", "said": "Bearer hunter2", "retry_at": None}
    records: list[logging.LogRecord] = []

    def noted(record: logging.LogRecord) -> bool:
        records.append(record)
        return True

    logger.addFilter(noted)
    before = dict(lines_logged())
    listen_alone()
    with correlated(request_id="r1"):
        logger.info("attempt", extra=facts)
        log_facts(logger, "attempt", facts)
        assert len(records) == 1, "that one needs none"
        logging.getLogger().addHandler(logging.NullHandler())
        log_facts(logger, "attempt", facts)
        assert len(records) == 2
    lines = written(configured, 3)
    for line in lines:
        at = datetime.fromisoformat(str(line.pop("at")))
        assert timedelta() <= datetime.now(UTC) - at < timedelta(minutes=1)
    assert [list(line) for line in lines] == [list(lines[0])] * 3
    assert lines == [lines[0]] * 3
    assert "hunter2" not in str(lines)
    assert lines_logged()["info"] - before.get("info", 0) == 3


def test_a_fact_that_cannot_be_encoded_does_not_end_the_caller(configured: int) -> None:
    listen_alone()
    log_facts(logging.getLogger("tests.facts"), "attempt", {"said": "\ud800"})
    [line] = written(configured, 1)
    assert (line["event"], line["line"], line["level"]) == ("line_not_logged", "attempt", "error")


def test_facts_are_not_told_below_their_level(configured: int) -> None:
    listen_alone()
    logging.getLogger().setLevel("WARNING")
    log_facts(logging.getLogger("tests.facts"), "attempt", {})
    logging.getLogger("tests.facts").warning("end")
    assert [line["event"] for line in written(configured, 1)] == ["end"]
