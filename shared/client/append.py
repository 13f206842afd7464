"""A client of the append API for Python services: asks again until it knows the answer.

Needs httpx and nothing else of Tidings, so it may be copied into another project.
"""

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

_BACKOFF_SECONDS_MAX = 10.0
_LATER = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Appended:
    """The log has it. `not_appended` are accounts that took nothing: {account: SetError}."""

    cursor: str
    not_appended: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class AppendRefusedError(Exception):
    """Nothing was kept, and asking again would not help: `problem` says why (RFC 7807)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {problem.get('detail', problem)}")
        self.status = status
        self.problem = problem


class AppendUnknownError(Exception):
    """The time was over. Nobody knows whether it was kept: ask again with the same `key`."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"no answer for {key}: {reason}")
        self.key = key


class AppendClient:
    """Use as many `append` at once as you like; one `http` client may serve them all.

    `deadline_seconds` is for a whole `append`, with all that it asks again.
    """

    def __init__(
        self, url: str, token: str, *, http: httpx.AsyncClient, deadline_seconds: float = 60
    ) -> None:
        self._url = url.rstrip("/") + "/tidings/append"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = http
        self._deadline_seconds = deadline_seconds

    async def append(
        self,
        changed: Mapping[str, Mapping[str, str]],
        order: Mapping[str, Mapping[str, int]] | None = None,
        *,
        key: str | None = None,
    ) -> Appended:
        """`changed` is {account: {type: state}}; `order` has your own counter of some of them.

        Give a `key` of your own, such as the id of a row, where the call itself may be repeated.
        Raises AppendRefusedError, AppendUnknownError.
        """
        body: dict[str, Any] = {"@type": "StateChange", "changed": changed}
        if order is not None:
            body["order"] = order
        key = key or str(uuid.uuid4())
        headers = {**self._headers, "Idempotency-Key": key}
        reason, attempt = "the first try did not end", 0
        try:
            async with asyncio.timeout(self._deadline_seconds):
                while True:
                    try:
                        response = await self._http.post(self._url, json=body, headers=headers)
                    except httpx.TransportError as error:
                        reason, wait = repr(error), 0.0
                    else:
                        if response.status_code not in _LATER:
                            return _appended(response)
                        reason = f"{response.status_code} {response.text}"
                        wait = _retry_after(response)
                    await asyncio.sleep(wait + _jitter(attempt))
                    attempt += 1
        except TimeoutError as error:
            raise AppendUnknownError(key, reason) from error


def _appended(response: httpx.Response) -> Appended:
    if response.is_success:
        answer = response.json()
        return Appended(answer["cursor"], answer.get("notAppended", {}))
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text}
    raise AppendRefusedError(response.status_code, problem)


def _retry_after(response: httpx.Response) -> float:
    """Seconds; a date, which this server never sends, counts as one second."""
    text = response.headers.get("retry-after", "0")
    return min(float(text), 60.0) if text.isdecimal() else 1.0


def _jitter(attempt: int) -> float:
    """Full jitter: producers that failed together do not come back together."""
    return random.uniform(0, min(_BACKOFF_SECONDS_MAX, 0.1 * 2 ** min(attempt, 10)))  # noqa: S311
