"""What a delivery, an idle connection and an unwatched event cost, beside the floor; prints JSON.

Ratios are taken from runs one after the other on the same machine; numbers alone mean little.
"""

import json
import resource
import threading

import pytest

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.measured import Server, server
from tests.benchmarks.nchan import Nchan, nchan

pytestmark = [pytest.mark.integration, pytest.mark.long]

BROADCASTS = 10
ROUNDS = 8  # the best one counts: others use the machine, too


@pytest.fixture(autouse=True)
def _many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(kind: str, connections: int, *, is_websocket: bool = False) -> dict[str, float]:
    """CPU per delivery and memory per connection."""
    with nchan() if kind == "nchan" else server(kind) as running:
        before = running.ask("memory")
        crowd = Crowd(running.port, connections, is_websocket=is_websocket)
        try:
            memory = (running.ask("memory") - before) / connections
            best = min(_round(running, crowd, connections) for _ in range(ROUNDS))
        finally:
            crowd.close()
    return {"microseconds": best * 1e6, "bytes": memory}


def _round(running: Server | Nchan, crowd: Crowd, connections: int) -> float:
    answer: list[float] = []
    asking = threading.Thread(target=lambda: answer.append(running.ask(f"broadcast {BROADCASTS}")))
    asking.start()
    assert crowd.count(b'"StateChange"', at_least=connections * BROADCASTS) == (
        connections * BROADCASTS
    )
    asking.join()
    return answer[0] / (connections * BROADCASTS)


@pytest.mark.parametrize("connections", [1000, 5000])
def test_a_delivery_costs_little_more_than_a_write(connections: int) -> None:
    found = {
        "floor": measure("floor", connections),
        "tidings": measure("tidings", connections),
        "nchan": measure("nchan", connections),
        "starlette": measure("starlette", connections),
        "floor_websocket": measure("floor_websocket", connections, is_websocket=True),
        "tidings_websocket": measure("tidings", connections, is_websocket=True),
    }
    cost = {kind: numbers["microseconds"] for kind, numbers in found.items()}
    print(json.dumps({"connections": connections, **found}))

    assert found["tidings"]["bytes"] <= 4 * 1024
    assert found["tidings_websocket"]["bytes"] <= 16 * 1024
    assert cost["tidings"] <= 1.3 * cost["floor"]
    assert cost["tidings"] <= cost["nchan"]
    assert cost["tidings"] <= cost["starlette"] / 3
    assert cost["tidings_websocket"] <= 1.5 * cost["floor_websocket"]


def test_an_event_that_nobody_watches_costs_next_to_nothing() -> None:
    with server("tidings") as running:
        microseconds = min(running.ask("unwatched") for _ in range(ROUNDS)) * 1e6
    print(json.dumps({"unwatched_event_microseconds": microseconds}))

    assert microseconds <= 15
