"""Append requests to answers: kept in PostgreSQL, then acknowledged by the log (docs/adr/0011).

A process may die at any await here. Before the commit nothing has happened; after it a sweeper
appends what was kept, and the same request under the same key is answered from what was kept.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

import asyncpg
import msgspec

from services.dispatcher.append.commit import (
    CONTENDED,
    LOCK_MILLISECONDS_MAX,
    AppendAsked,
    KeyEnded,
    KeyTaken,
    Result,
    Taken,
    commit_round,
)
from services.dispatcher.append.grouped import Grouped
from services.dispatcher.append.request import (
    RequestLimits,
    digest_of,
    given_from_json,
    key_from,
)
from services.dispatcher.append.rounds import rounds_of
from services.dispatcher.relay import Relay
from shared.bus.publisher import AppendRefusedError
from shared.jmap.errors import RequestError
from shared.jmap.i_json import JsonObject
from shared.log.appender import LogUnavailableError
from shared.log.cursor import Cursor, encode_cursor
from shared.log.event import Cause
from shared.log.guard import LogGuard
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics
from shared.store.appends import KeyedAnswer, Refusal, settle_keys
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_GROUP_MAX = 256  # requests
_COMMIT_SECONDS_MAX = 5.0
_ANSWER_SECONDS_MAX = 10.0
_ROUND_LOCK_MILLISECONDS = 200
_ALONE_AT_ONCE = 4  # connections
_GONE: Refusal = "accountNotFound"
_NOT_FOUND, _UNPROCESSABLE, _UNAVAILABLE = 404, 422, 503


class AppendCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a transport received it; `key` is the text of its Idempotency-Key."""

    body: bytes
    user_id: str
    key: str | None
    request_id: str
    traceparent: str | None


class AppendAnswer(msgspec.Struct, frozen=True):
    """`status` is HTTP's; `body` is the reply or, from 400 on, problem details."""

    status: int
    body: JsonObject


class _Contended(msgspec.Struct, frozen=True):
    """Somebody holds what the round needs: each asks alone, so that one does not hold up all."""


class _Landing(msgspec.Struct, frozen=True):
    """What a commit leaves to wait for; no future: it is known already, or was refused."""

    result: Result
    appended: Sequence["asyncio.Future[int]"] = ()


class Appends:
    """`run` it in the process's task group. `own_types` are made by this server alone."""

    def __init__(  # noqa: PLR0913 - a composition root puts it together
        self,
        pool: asyncpg.Pool,
        relay: Relay,
        guard: LogGuard,
        clock: Clock,
        metrics: Metrics,
        *,
        own_types: Collection[str],
        limits: RequestLimits,
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._guard = guard
        self._clock = clock
        self._metrics = metrics
        self._own_types = own_types
        self._limits = limits
        self._under_way = 0
        self._alone = asyncio.Semaphore(_ALONE_AT_ONCE)
        self._commits = Grouped(
            self._commit, POSTGRES_ERRORS, items_max=_GROUP_MAX, seconds_max=_COMMIT_SECONDS_MAX
        )
        self._settlements = Grouped(
            self._settle, POSTGRES_ERRORS, items_max=_GROUP_MAX, seconds_max=_COMMIT_SECONDS_MAX
        )

    async def run(self) -> None:
        """Until cancelled; without it no request is answered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commits.run(), name="append_commits")
            tasks.create_task(self._settlements.run(), name="append_settlements")

    async def answer(self, call: AppendCall) -> AppendAnswer:
        """Raises RequestError: below 500 nothing was kept; 503: ask again under the same key."""
        begun = self._clock.monotonic()
        self._count_under_way(1)
        try:
            answer, outcome = await self._ask(call)
        except RequestError as error:
            outcome = "postponed" if error.http_status >= _UNAVAILABLE else "refused"
            self._metrics.count(Metric.APPEND_REQUESTS, outcome=outcome)
            raise
        finally:
            self._count_under_way(-1)
        self._metrics.count(Metric.APPEND_REQUESTS, outcome=outcome)
        self._metrics.observe(Metric.APPEND_REQUEST_SECONDS, self._clock.monotonic() - begun)
        return answer

    def _count_under_way(self, more: int) -> None:
        self._under_way += more
        self._metrics.set(Metric.APPEND_REQUESTS_UNDER_WAY, self._under_way)

    async def _ask(self, call: AppendCall) -> tuple[AppendAnswer, str]:
        """And what became of it, for the metric."""
        given = given_from_json(call.body, self._own_types, self._limits)
        key = key_from(call.key)
        asked = AppendAsked(
            given=given,
            key=None if key is None else (call.user_id, key),
            digest=digest_of(call.body),
            cause=Cause(
                method="tidings.append",
                request_id=call.request_id,
                principal=call.user_id,
                traceparent=call.traceparent,
            ),
        )
        if not self._guard.is_sound:
            raise _unavailable("The log cannot be written now; nothing was kept.")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                return await self._answer(asked)
        except POSTGRES_ERRORS as error:  # and with them the end of the time
            raise _unavailable(
                "PostgreSQL or the log did not answer in time; it may have been kept."
            ) from error
        except (LogUnavailableError, AppendRefusedError) as error:
            raise _unavailable(
                "It is kept, and will be in the log when that can be written."
            ) from error

    async def _answer(self, asked: AppendAsked) -> tuple[AppendAnswer, str]:
        landing = await self._committed(asked)
        match landing.result:
            case KeyedAnswer(not_appended=not_appended, cursor=str(cursor)):
                return _done(cursor, not_appended), "repeated"
            case Taken(not_appended=not_appended, account_ids=kept):
                if not landing.appended:  # those that an earlier request had kept are gone since
                    gone = dict.fromkeys(kept, _GONE)
                    return _refused({**not_appended, **gone}), "refused"
                cursor = await self._landed(landing.appended)
                if asked.key is not None:
                    cursor = await self._settlements.answer((asked.key, cursor))
                return _done(cursor, not_appended), "partly" if not_appended else "appended"
            case KeyTaken():
                raise RequestError(
                    "invalidArguments",
                    "This Idempotency-Key was used for another request.",
                    http_status=_UNPROCESSABLE,
                )
            case KeyEnded() | KeyedAnswer():
                raise _unavailable("The Idempotency-Key ended just now.")
            case _:
                assert_never(landing.result)

    async def _committed(self, asked: AppendAsked) -> _Landing:
        landing = await self._commits.answer(asked)
        if not isinstance(landing, _Contended):
            return landing
        async with self._alone, asyncio.timeout(_COMMIT_SECONDS_MAX):
            [landing] = await self._land([asked])
        return landing

    async def _landed(self, appended: Sequence["asyncio.Future[int]"]) -> str:
        """The cursor once the log has acknowledged each account's event."""
        await asyncio.wait(appended)
        sequence = max(future.result() for future in appended)
        return encode_cursor(Cursor(await self._guard.epoch(), sequence))

    async def _commit(self, asked: Sequence[AppendAsked]) -> list[_Landing | _Contended]:
        landings: dict[int, _Landing | _Contended] = {}
        for round_ in rounds_of(asked):
            landed: Sequence[_Landing | _Contended]
            try:
                landed = await self._land(round_, lock_milliseconds=_ROUND_LOCK_MILLISECONDS)
            except CONTENDED as error:
                _log.info("append_round_contended", extra={"error": str(error)})
                landed = [_Contended()] * len(round_)
            landings.update(zip(map(id, round_), landed, strict=True))
        return [landings[id(request)] for request in asked]

    async def _land(
        self, round_: Sequence[AppendAsked], *, lock_milliseconds: int = LOCK_MILLISECONDS_MAX
    ) -> list[_Landing]:
        committed = await commit_round(
            self._pool, round_, self._clock.now(), lock_milliseconds=lock_milliseconds
        )
        self._metrics.observe(Metric.APPEND_GROUP_REQUESTS, len(round_))
        appended = {entry.account_id: self._relay.follow(entry) for entry in committed.entries}
        return [
            _Landing(result, [appended[key] for key in _concerned(result) if key in appended])
            for result in committed.results
        ]

    async def _settle(self, answers: Sequence[tuple[tuple[str, str], str]]) -> list[str]:
        """Who settled a key first, here or in another process, has said the answer for all."""
        settled = await settle_keys(self._pool, dict(reversed(answers)))
        return [settled.get(key, cursor) for key, cursor in answers]


def _concerned(result: Result) -> Collection[str]:
    return result.account_ids if isinstance(result, Taken) else ()


def _done(cursor: str, not_appended: Mapping[str, Refusal]) -> AppendAnswer:
    body: JsonObject = {"cursor": cursor}
    if not_appended:
        body["notAppended"] = {key: _problem(refusal) for key, refusal in not_appended.items()}
    return AppendAnswer(200, body)


def _refused(not_appended: Mapping[str, Refusal]) -> AppendAnswer:
    """Nothing of it could be kept."""
    is_unknown = set(not_appended.values()) == {_GONE}
    status = _NOT_FOUND if is_unknown else _UNPROCESSABLE
    kind = _GONE if is_unknown else "overQuota"
    problem = RequestError(kind, "No account of the request took it.", http_status=status).problem()
    problem["notAppended"] = {key: _problem(refusal) for key, refusal in not_appended.items()}
    return AppendAnswer(status, problem)


def _problem(refusal: Refusal) -> JsonObject:
    descriptions = {
        "accountNotFound": "There is no such account.",
        "overQuota": "The account has states of as many types as it may.",
    }
    return {"type": refusal, "description": descriptions[refusal]}


def _unavailable(detail: str) -> RequestError:
    return RequestError("serverUnavailable", detail, http_status=_UNAVAILABLE)
