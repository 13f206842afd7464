"""`tidings bench` for a second each: what it prints, and what it leaves behind."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.support.processes import Up, tidings

pytestmark = pytest.mark.end_to_end

MEMBERS = {
    *("measure", "target", "connections", "seconds", "unit", "count", "failures"),
    *("perSecond", "milliseconds", "cpu", "limitedBy", "more"),
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("bench") / "data")
    yield running
    running.close()


def measured(measure: str, *arguments: str, up: Up | None = None) -> dict[str, Any]:
    environment = {} if up is None else up.environment
    done = tidings(
        "bench", measure, "--seconds", "1", "--json", *arguments, environment=environment
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert report.keys() == MEMBERS
    assert report["measure"] == measure
    assert report["failures"] == 0
    assert report["perSecond"] == pytest.approx(report["count"] / report["seconds"], rel=0.01)
    assert set(report["milliseconds"]) == {"p50", "p90", "p99", "max"}
    assert set(report["cpu"]) == {"tidings", "nats", "postgres", "bench"}
    return report


async def counts(up: Up) -> list[int]:
    """Of users, of accounts that are there, and of tokens."""
    connection = await asyncpg.connect(up.running.postgres_url)
    try:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM tokens),"
            " (SELECT count(*) FROM accounts WHERE removed_at IS NULL)"
        )
    finally:
        await connection.close()
    assert row is not None
    return list(row)


def test_by_default_it_measures_a_tidings_of_its_own() -> None:
    report = measured("append", "--connections", "8")
    assert report["target"] == "private"
    assert report["unit"] == "appends"
    assert report["count"] > 8


@pytest.mark.parametrize(
    ("measure", "connections", "unit", "more"),
    [
        ("latency", 4, "pushes", {"callMillisecondsP50"}),
        ("deliveries", 4, "deliveries", {"callMillisecondsP50"}),
        (
            "connections",
            120,  # of two users
            "connections",
            {"openedPerSecond", "resumedPerSecond", "octetsPerConnection"},
        ),
    ],
)
async def test_of_the_one_that_runs_it_leaves_nothing_behind(
    up: Up, measure: str, connections: int, unit: str, more: set[str]
) -> None:
    before = await counts(up)
    report = measured(measure, "--running", "--connections", str(connections), up=up)
    assert report["target"] == "running"
    assert report["unit"] == unit
    assert report["count"] >= connections
    assert set(report["more"]) == more
    assert await counts(up) == before


def test_people_are_shown_the_same(up: Up) -> None:
    shown = tidings("bench", "append", "--running", "--seconds", "0.5", environment=up.environment)
    assert shown.returncode == 0, shown.stderr
    assert "tidings bench append" in shown.stdout
    assert "limited by" in shown.stdout


def test_what_cannot_be_measured_is_said_in_one_line(up: Up) -> None:
    nowhere = tidings("bench", "append", "--running", environment={"TIDINGS_DATA": "/nonexistent"})
    assert "No tidings runs" in nowhere.stderr
    private = tidings("bench", "append", "--url", up.url)
    assert "say --running, too" in private.stderr
