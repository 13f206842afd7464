"""One round of append requests as one transaction: what is new is kept and put into the outbox."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg
import msgspec

from services.dispatcher.append.request import Given
from services.dispatcher.append.rounds import Asks, merged
from shared.log.event import Cause
from shared.store.appends import (
    TYPES_OF_ACCOUNT_MAX,
    KeyClaim,
    KeyedAnswer,
    Refusal,
    claim_keys,
    hold_accounts,
    read_states,
    write_states,
)
from shared.store.outbox import OutboxEntry
from shared.store.pool import Connection


class AppendAsked(Asks, frozen=True, kw_only=True):
    """A request as it is committed."""

    digest: bytes
    cause: Cause


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Kept, now or by an earlier try whose answer is not known: the log must acknowledge it."""

    account_ids: frozenset[str]  # of the round's entries, those that concern it
    not_appended: Mapping[str, Refusal]


class KeyTaken(msgspec.Struct, frozen=True):
    """The key was used for another request."""


class KeyEnded(msgspec.Struct, frozen=True):
    """The key was forgotten in this very moment: the same request may be asked again."""


Result: TypeAlias = Taken | KeyedAnswer | KeyTaken | KeyEnded


LOCK_MILLISECONDS_MAX = 3000
CONTENDED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""Somebody else has an account, a state or a key that the round needs."""


class Committed(msgspec.Struct, frozen=True):
    """`results` are in the order of the requests.

    `entries`, one for each account, have the states that its types have now: those of the round, or
    newer ones that others wrote. One whose states are all of others has no row.
    """

    entries: list[OutboxEntry]
    results: list[Result]


async def commit_round(
    pool: asyncpg.Pool,
    asked: Sequence[AppendAsked],
    now: datetime,
    *,
    lock_milliseconds: int = LOCK_MILLISECONDS_MAX,
) -> Committed:
    """`asked` is a round of `rounds_of`. No lock is waited for longer than `lock_milliseconds`.

    Raises what PostgreSQL raises: CONTENDED, with nothing kept, or something else, after which it
    is not known whether anything was kept.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = {lock_milliseconds:d}")
        types = await hold_accounts(
            connection, {account_id for request in asked for account_id in request.given}
        )
        refused = refusals(asked, types)
        earlier = await _claim(connection, asked, refused)
        outcomes = [
            _outcome(request, not_appended, earlier)
            for request, not_appended in zip(asked, refused, strict=True)
        ]
        written = await _write(connection, asked, outcomes)
        entries = await _with_unmoved(connection, asked, outcomes, written, now)
    return Committed(entries, list(map(_result, asked, outcomes)))


def refusals(
    asked: Sequence[Asks], types: Mapping[str, frozenset[str]]
) -> list[dict[str, Refusal]]:
    """By request: what cannot be kept of it. `types` are those of each account that exists."""
    known = {account_id: set(names) for account_id, names in types.items()}
    refused: list[dict[str, Refusal]] = []
    for request in asked:
        of_request: dict[str, Refusal] = {}
        for account_id, states in request.given.items():
            names = known.get(account_id)
            if names is None:
                of_request[account_id] = "accountNotFound"
            elif len(names | states.keys()) > max(TYPES_OF_ACCOUNT_MAX, len(names)):
                of_request[account_id] = "overQuota"
            else:
                names.update(states)
        refused.append(of_request)
    return refused


class _Kept(msgspec.Struct, frozen=True):
    """`is_fresh`: this transaction writes it; else an earlier one did."""

    not_appended: Mapping[str, Refusal]
    is_fresh: bool


_Outcome: TypeAlias = _Kept | KeyedAnswer | KeyTaken | KeyEnded


async def _claim(
    connection: Connection, asked: Sequence[AppendAsked], refused: Sequence[Mapping[str, Refusal]]
) -> dict[tuple[str, str], KeyedAnswer | None]:
    """A request of which nothing can be kept leaves no key: it may be right later."""
    claims = [
        KeyClaim(request.key, request.digest, not_appended)
        for request, not_appended in zip(asked, refused, strict=True)
        if request.key is not None and len(not_appended) < len(request.given)
    ]
    return await claim_keys(connection, claims) if claims else {}


def _outcome(
    request: AppendAsked,
    not_appended: Mapping[str, Refusal],
    earlier: Mapping[tuple[str, str], KeyedAnswer | None],
) -> _Outcome:
    if request.key is None or len(not_appended) == len(request.given):
        return _Kept(not_appended, is_fresh=True)
    if request.key not in earlier:
        return KeyEnded()
    answer = earlier[request.key]
    if answer is None:
        return _Kept(not_appended, is_fresh=True)
    if answer.digest != request.digest:
        return KeyTaken()
    if answer.cursor is not None:
        return answer
    return _Kept(answer.not_appended, is_fresh=False)


async def _write(
    connection: Connection, asked: Sequence[AppendAsked], outcomes: Sequence[_Outcome]
) -> list[OutboxEntry]:
    fresh = [
        msgspec.structs.replace(request, given=_accepted(request, outcome.not_appended))
        for request, outcome in zip(asked, outcomes, strict=True)
        if isinstance(outcome, _Kept) and outcome.is_fresh
    ]
    writes = merged(fresh)
    # Of several requests for one account the event tells the cause of the last, as the relay does.
    causes: dict[str, Cause] = {}
    for request in fresh:
        for account_id in request.given:
            earlier = causes.get(account_id)
            causes[account_id] = request.cause.after(earlier) if earlier else request.cause
    return await write_states(connection, writes, causes) if writes else []


async def _with_unmoved(
    connection: Connection,
    asked: Sequence[AppendAsked],
    outcomes: Sequence[_Outcome],
    written: Sequence[OutboxEntry],
    now: datetime,
) -> list[OutboxEntry]:
    """Also the states that the round did not move, of accounts that it concerns."""
    entries = {entry.account_id: entry for entry in written}
    unmoved: dict[str, set[str]] = {}
    for request, outcome in zip(asked, outcomes, strict=True):
        if isinstance(outcome, _Kept):
            for account_id, states in _accepted(request, outcome.not_appended).items():
                entry = entries.get(account_id)
                if missing := states.keys() - (entry.states.keys() if entry else ()):
                    unmoved.setdefault(account_id, set()).update(missing)
    if unmoved:
        nothing = OutboxEntry(None, "", {}, Cause(), now)
        for account_id, current in (await read_states(connection, unmoved)).items():
            entry = entries.get(account_id, nothing)
            entries[account_id] = msgspec.structs.replace(
                entry, account_id=account_id, states={**entry.states, **current}
            )
    return list(entries.values())


def _result(request: AppendAsked, outcome: _Outcome) -> Result:
    if not isinstance(outcome, _Kept):
        return outcome
    accepted = _accepted(request, outcome.not_appended)
    return Taken(account_ids=frozenset(accepted), not_appended=outcome.not_appended)


def _accepted(request: AppendAsked, not_appended: Mapping[str, Refusal]) -> Given:
    if not not_appended:
        return request.given
    return {
        account_id: states
        for account_id, states in request.given.items()
        if account_id not in not_appended
    }
