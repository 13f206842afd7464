"""Requests that wait, as few transactions: which can share one, and what it writes; no I/O.

A transaction writes each (account, type) once. Several requests for one are one write when their
orders say who wins without looking at what is stored: all with an order, or none with one.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from services.dispatcher.append.request import Given
from shared.log.event import GivenState

ROUND_STATES_MAX = 5000  # of one transaction, unless one request alone has more

T = TypeVar("T", bound="Asks")


class Asks(msgspec.Struct, frozen=True, kw_only=True):
    """`key` as the store knows it, None: without one."""

    given: Given
    key: tuple[str, str] | None = None

    @property
    def state_count(self) -> int:
        return sum(map(len, self.given.values()))


def rounds_of(requests: Sequence[T]) -> list[list[T]]:
    """Each a transaction, one after the other; of one account nobody overtakes who came before.

    Two requests of one key never share a round: the second one must find the first.
    """
    rounds: list[list[T]] = []
    left = list(requests)
    while left:
        this, left = _first_round(left)
        rounds.append(this)
    return rounds


def merged(requests: Sequence[Asks]) -> dict[str, dict[str, GivenState]]:
    """What a round writes, of requests that `rounds_of` put together."""
    writes: dict[str, dict[str, GivenState]] = {}
    for request in requests:
        for account_id, states in request.given.items():
            into = writes.setdefault(account_id, {})
            for type_name, state in states.items():
                known = into.get(type_name)
                into[type_name] = state if known is None else _winner(known, state)
    return writes


def _first_round(requests: Sequence[T]) -> tuple[list[T], list[T]]:
    taken: list[T] = []
    left: list[T] = []
    has_order: dict[tuple[str, str], bool] = {}
    keys: set[tuple[str, str]] = set()
    passed_over: set[str] = set()  # accounts
    states = 0
    for request in requests:
        if (
            (taken and states + request.state_count > ROUND_STATES_MAX)
            or request.key in keys
            or not passed_over.isdisjoint(request.given)
            or not _fits(request.given, has_order)
        ):
            left.append(request)
            passed_over.update(request.given)
            continue
        taken.append(request)
        states += request.state_count
        if request.key is not None:
            keys.add(request.key)
        for account_id, given in request.given.items():
            for type_name, state in given.items():
                has_order[account_id, type_name] = state.order is not None
    return taken, left


def _fits(given: Given, has_order: Mapping[tuple[str, str], bool]) -> bool:
    return all(
        has_order.get((account_id, type_name), state.order is not None) is (state.order is not None)
        for account_id, states in given.items()
        for type_name, state in states.items()
    )


def _winner(first: GivenState, second: GivenState) -> GivenState:
    """Of two of a kind: the greater order, else the later one."""
    if first.order is None or second.order is None:
        return second
    return second if second.order > first.order else first
