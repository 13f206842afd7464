"""What it costs to remember the last frames of each connection; prints JSON.

Both servers run side by side and are asked in turns: figures of different runs cannot be compared.
"""

import json
import threading

import pytest

from tests.benchmarks.crowd import Crowd
from tests.benchmarks.measured import Server, server

pytestmark = [pytest.mark.integration, pytest.mark.long]

CONNECTIONS = 1000  # more of both together would need more open files than most may have
BROADCASTS = 10
ROUNDS = 6  # the best one counts: others use the machine, too
FRAMES_KEPT = 32


def test_remembering_frames_costs_little() -> None:
    with server("tidings") as with_frames, server("tidings_without_frames") as without:
        servers = {"with": with_frames, "without": without}
        before = {name: one.ask("memory") for name, one in servers.items()}
        crowds = {name: Crowd(one.port, CONNECTIONS) for name, one in servers.items()}
        try:
            found = {
                "broadcast": _in_turns(servers, crowds, "broadcast"),
                "own": _in_turns(servers, crowds, "each"),
                "bytes": {
                    name: (one.ask("memory") - before[name]) / CONNECTIONS
                    for name, one in servers.items()
                },
            }
        finally:
            for crowd in crowds.values():
                crowd.close()
    print(json.dumps(found))

    assert found["broadcast"]["with"] <= 1.25 * found["broadcast"]["without"]
    assert found["own"]["with"] <= 1.25 * found["own"]["without"]
    of_frames = found["bytes"]["with"] - found["bytes"]["without"]
    assert of_frames <= FRAMES_KEPT * 256, "a kept frame of nobody else is a quarter of a kilobyte"


def _in_turns(
    servers: dict[str, Server], crowds: dict[str, Crowd], command: str
) -> dict[str, float]:
    """CPU of a delivery in microseconds, at best."""
    cost = dict.fromkeys(servers, float("inf"))
    for _ in range(ROUNDS):
        for name, one in servers.items():
            cost[name] = min(cost[name], _round(one, crowds[name], command))
    return {name: seconds * 1e6 for name, seconds in cost.items()}


def _round(running: Server, crowd: Crowd, command: str) -> float:
    answer: list[float] = []
    asking = threading.Thread(target=lambda: answer.append(running.ask(f"{command} {BROADCASTS}")))
    asking.start()
    expected = CONNECTIONS * BROADCASTS
    assert crowd.count(b'"StateChange"', at_least=expected) == expected
    asking.join()
    return answer[0] / expected
