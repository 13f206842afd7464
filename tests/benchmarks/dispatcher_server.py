"""The dispatcher and its floors on one port, for `test_dispatcher.py`: `… dispatcher_server DSN`.

Floors: a bare Starlette endpoint that echoes JSON, and one that does a single INSERT per request.
"""

import asyncio
import json
import secrets
import sys
from contextlib import AsyncExitStack

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.dispatcher.app import Dispatcher, DispatcherResources
from shared.http.authentication import Authenticator
from shared.jmap.session import CoreLimits
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from shared.web_push.sealing import Vault


async def main(dsn: str) -> None:
    http = HttpSettings(port=0)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(dsn))
        await pool.execute("CREATE TABLE bare (id bigserial PRIMARY KEY, data json NOT NULL)")
        _, account_id = await add_user(pool, "ada")
        _, token = await issue_token(pool, "ada")
        clock = SystemClock()
        dispatcher = Dispatcher(
            DispatcherResources(
                pool=pool,
                authenticator=Authenticator(pool, clock=clock),
                vault=Vault(secrets.token_hex(32)),
                committed=lambda _: None,
                public_url="http://127.0.0.1",
                clock=clock,
                metrics=Metrics(),
                limits=CoreLimits(max_concurrent_requests=64),
            )
        )

        await dispatcher.prepare()

        async def bare_json(request: Request) -> Response:
            return JSONResponse(await request.json())

        async def bare_insert(request: Request) -> Response:
            await pool.execute("INSERT INTO bare (data) VALUES ($1)", await request.body())
            return JSONResponse({"ok": True})

        bare = [
            Route("/bare/json", bare_json, methods=["POST"]),
            Route("/bare/insert", bare_insert, methods=["POST"]),
        ]
        app = Starlette(routes=[*dispatcher.routes(), *bare])
        port = listener.getsockname()[1]
        print(json.dumps({"port": port, "token": token, "account": account_id}), flush=True)
        await serve(app, listener, http, asyncio.Event())


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
