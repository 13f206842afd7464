"""Webhooks of a measurement: they take everything, and note when."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from services.cli.bench.client import ANSWER_SECONDS, TYPE, Caller, Ears
from services.cli.bench.target import Cast
from shared.runtime.errors import CouldNotStartError

_HOST = "127.0.0.1"


class Sink:
    """Serves `/0`, `/1` and so on, each the URL of a subscription."""

    def __init__(self, cast: Cast, ears: Ears) -> None:
        self._account_id = cast.account_id
        self._ears = ears
        self._codes: dict[str, str] = {}  # by subscription
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Its URL, without the number."""
        app = web.Application()
        app.add_routes([web.post("/{number:[0-9]+}", self._take)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, 0).start()
            yield f"http://{_HOST}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def verify(self, caller: Caller, count: int) -> None:
        """Send the codes back, which also the strict setting wants. Raises CouldNotStartError."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while len(self._codes) < count:
                    self._asked.clear()
                    await self._asked.wait()
        except TimeoutError as error:
            raise CouldNotStartError(
                f"Only {len(self._codes)} of {count} subscriptions were asked to be verified: may "
                f"webhooks go to {_HOST} (TIDINGS_WEBHOOK_ALLOW), and is it the same machine?"
            ) from error
        update = {key: {"verificationCode": code} for key, code in self._codes.items()}
        await caller.call("PushSubscription/set", {"update": update})

    async def _take(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        if message.get("@type") == "PushVerification":
            self._codes[message["pushSubscriptionId"]] = message["verificationCode"]
            self._asked.set()
        else:
            state = message["changed"].get(self._account_id, {}).get(TYPE)
            if state is not None:
                self._ears.hear(int(request.match_info["number"]), state)
        return web.Response(status=201)
