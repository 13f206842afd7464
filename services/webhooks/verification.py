"""PushVerification (RFC 8620 section 7.2.2): once per subscription, at once, never again.

That it was begun is committed before the request, so a process that dies in between leaves a
subscription that is never verified, rather than an endpoint that is asked twice: RFC 9749 section 6
forbids to retry. Its client makes another one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg
import msgspec

from services.webhooks.answers import Answer, Outcome
from services.webhooks.attempt_lines import log_attempts
from services.webhooks.sender import OpenedRecipient, Outgoing, Sender
from shared.runtime.clock import Clock
from shared.store.lanes import Recipient, claim_unverified, write_attempts
from shared.store.pool import POSTGRES_ERRORS
from shared.store.push_subscriptions import delete_push_subscriptions, mark_verified
from shared.web_push.sealing import UnsealError

_log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0  # for those of which nobody told us
_RETRY_SECONDS = 0.5
_EGRESS_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)  # few: it holds up others' verifications


class PushVerification(
    msgspec.Struct, frozen=True, tag_field="@type", tag="PushVerification", rename="camel"
):
    push_subscription_id: str
    verification_code: str


class Verifier:
    """`answer_verifies`: a 2xx is enough, else only the code that the client sends back."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        sender: Sender,
        clock: Clock,
        *,
        answer_verifies: bool,
        at_once_max: int,
        verified: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._sender = sender
        self._clock = clock
        self._answer_verifies = answer_verifies
        self._free = at_once_max
        self._verified = verified
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        self._wanted.set()

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining`, and what was begun has ended: nobody may ask again."""
        async with asyncio.TaskGroup() as tasks:
            while not draining.is_set():
                self._wanted.clear()
                for recipient in await self._claim():
                    self._free -= 1
                    tasks.create_task(self._verify(recipient))
                try:
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    async def _claim(self) -> list[Recipient]:
        if self._free <= 0:
            return []
        try:
            return await claim_unverified(self._pool, self._free)
        except POSTGRES_ERRORS as error:
            _log.warning("webhook_verifications_unknown", extra={"error": repr(error)})
            return []

    async def _verify(self, recipient: Recipient) -> None:
        try:
            opened = self._sender.open(recipient)
            await _keep_trying(lambda: self._sender.load_key(recipient))  # while nothing was sent
            body = msgspec.json.encode(PushVerification(recipient.id, opened.endpoint.code))
            outgoing = Outgoing(payload=body, kind="verification", may_repeat=False)
            at, answer = await self._send(opened, outgoing)
            attempt = opened.attempt(0, "verification", answer, at=at, cursor=0)
            log_attempts([attempt], trace_id=None, failures=0, retry_at=None)
            await _keep_trying(lambda: write_attempts(self._pool, [attempt]))
            await _keep_trying(lambda: self._conclude(opened, answer))
        except UnsealError:
            _log.error("webhook_secret_unreadable", extra={"subscription": recipient.id})
        except Exception:  # noqa: BLE001 - a bug with one must not end the others
            _log.exception("webhook_verification_crashed", extra={"subscription": recipient.id})
        finally:
            self._free += 1
            self._wanted.set()

    async def _send(self, opened: OpenedRecipient, outgoing: Outgoing) -> tuple[datetime, Answer]:
        """When it was sent, and what came of it; again after a pause while nothing was sent."""
        pauses = iter(_EGRESS_RETRY_SECONDS)
        while True:
            at = self._clock.now()
            answer = await self._sender.send(opened, outgoing)
            if answer.outcome is not Outcome.EGRESS_FAILED:
                return at, answer
            pause = next(pauses, None)
            if pause is None:
                return at, answer
            _log.warning("webhook_verification_postponed", extra={"error": answer.reason})
            await asyncio.sleep(pause)
            await _keep_trying(lambda: self._sender.load_key(opened.recipient))

    async def _conclude(self, opened: OpenedRecipient, answer: Answer) -> None:
        subscription_id = opened.recipient.id
        if answer.outcome is Outcome.GONE:
            async with self._pool.acquire() as connection, connection.transaction():
                await delete_push_subscriptions(connection, [subscription_id], because="gone")
        elif answer.outcome is Outcome.ACCEPTED and self._answer_verifies:
            async with self._pool.acquire() as connection, connection.transaction():
                await mark_verified(connection, subscription_id)
            self._verified()


async def _keep_trying(work: Callable[[], Awaitable[object]]) -> None:
    """The endpoint is not asked again, so what it takes waits until PostgreSQL is back."""
    while True:
        try:
            await work()
        except POSTGRES_ERRORS as error:
            _log.warning("webhook_verification_postponed", extra={"error": repr(error)})
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
