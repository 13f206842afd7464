"""Questions to `explain`, over the servers of a test."""

from typing import Any

import asyncpg
import msgspec

from shared.bus.connection import Bus
from shared.operate.explain.explaining import Resources, explain
from shared.operate.explain.words import (
    AllOfUser,
    ByAccount,
    BySequence,
    Explanation,
    OneConnection,
    OneSubscription,
    Question,
    Reason,
    Receivers,
    Verdict,
    WhichEvent,
)
from shared.web_push.sealing import Vault
from tests.support.eventually import eventually
from tests.support.webhook_sink import Behaviour
from tests.support.webhooks import WebhookBench, WebhookUser

SERVER_ERROR = Behaviour(status=500, body=b"the \x1b[31mdatabase\nis away")


async def change(bench: WebhookBench, user: WebhookUser, *types: str) -> int:
    """The sequence of a new event of the user's account."""
    await bench.change(user.account_id, *types)
    return bench.sequences[user.account_id]


def texts(verdict: Verdict) -> str:
    return " | ".join((verdict.headline, *(f"{step.what}: {step.text}" for step in verdict.steps)))


class Explainer(msgspec.Struct, frozen=True):
    """Asks as the command line and the console do."""

    pool: asyncpg.Pool
    bus: Bus | None
    vault: Vault
    origin_at_once_max: int = 100

    async def ask(self, event: int | str | WhichEvent, receivers: Receivers) -> Explanation:
        """`event`: a sequence, or an account."""
        which: Any = event
        if isinstance(event, int):
            which = BySequence(event)
        if isinstance(event, str):
            which = ByAccount(account=event)
        resources = Resources(
            pool=self.pool,
            bus=self.bus,
            vault=self.vault,
            by="a test",
            origin_at_once_max=self.origin_at_once_max,
        )
        return await explain(resources, Question(which, receivers))

    async def subscription(self, event: int | str | WhichEvent, subscription_id: str) -> Verdict:
        [verdict] = (await self.ask(event, OneSubscription(subscription_id))).verdicts
        return verdict

    async def connection(self, event: int | str | WhichEvent, connection_id: str) -> Verdict:
        [verdict] = (await self.ask(event, OneConnection(connection_id))).verdicts
        return verdict

    async def user(self, event: int | str | WhichEvent, user: str) -> list[Verdict]:
        return list((await self.ask(event, AllOfUser(user))).verdicts)

    async def becomes(
        self,
        reason: Reason,
        event: int | str | WhichEvent,
        subscription_id: str,
        saying: str = "",
    ) -> Verdict:
        """The verdict, once it has that reason, and these words somewhere."""
        seen: list[Verdict] = []

        async def is_found() -> bool:
            seen[:] = [await self.subscription(event, subscription_id)]
            return seen[0].reason is reason and saying in texts(seen[0])

        try:
            await eventually(is_found, seconds=15)
        except AssertionError as error:
            raise AssertionError(f"not {reason}, but {seen}") from error
        return seen[0]
