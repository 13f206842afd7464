"""A dispatcher that serves HTTP on a real socket, and a JMAP client for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from starlette.applications import Starlette

from services.dispatcher.app import Dispatcher, DispatcherResources
from services.dispatcher.blob_store import BlobLimits
from services.dispatcher.settings import PushRules
from shared.bus.control import ControlMessage
from shared.http.authentication import Authenticator
from shared.http.health import health_routes
from shared.http.issuer import JwtSettings, issuer_of
from shared.jmap.session import CORE, CoreLimits
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.store.credentials import issue_token
from shared.store.outbox import OutboxEntry
from shared.store.people import add_grant, add_user
from shared.store.pool import open_pool
from shared.store.records import Role
from shared.web_push.sealing import Vault
from shared.web_push.settings import Exemption, WebhookPolicySettings
from tests.support.certificate import Certificate

CONTACTS = "urn:ietf:params:jmap:contacts"
BLOB = "urn:ietf:params:jmap:blob"
PRINCIPALS = "urn:ietf:params:jmap:principals"
USING = (CORE, CONTACTS)

SECRET_KEY = secrets.token_hex(32)
LOOPBACK = PushRules(policy=WebhookPolicySettings(allow=(Exemption("127.0.0.0/8"),)))

Json = dict[str, Any]


@dataclass
class RunningDispatcher:
    """`committed` are the mutations that it would have handed to the relay, `told` its hints."""

    url: str
    pool: asyncpg.Pool
    dispatcher: Dispatcher
    authenticator: Authenticator
    committed: list[OutboxEntry] = field(default_factory=list)
    told: list[ControlMessage] = field(default_factory=list)
    clients: "list[JmapClient]" = field(default_factory=list)

    async def user(self, name: str) -> "JmapClient":
        _, account_id = await add_user(self.pool, name)
        _, token = await issue_token(self.pool, name)
        self.clients.append(JmapClient(self.url, token, account_id))
        return self.clients[-1]

    async def grant(self, account_id: str, name: str, role: Role) -> None:
        """Known at once, as from a control message."""
        user_id = await add_grant(self.pool, account_id, name, role)
        self.dispatcher.receive_control(ControlMessage(grants_changed=user_id))


class MethodFailedError(AssertionError):
    """A JMAP error where the test expected none."""


@dataclass
class JmapClient:
    """Speaks JMAP as a client that knows only its token and its account."""

    url: str
    token: str
    account_id: str
    using: Sequence[str] = USING

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            trust_env=False,
        )

    async def post(self, request: Any) -> httpx.Response:
        return await self.http.post("/jmap/api", json=request)

    async def request(
        self, *calls: Sequence[Any], created_ids: Mapping[str, str] | None = None
    ) -> Json:
        request: Json = {"using": list(self.using), "methodCalls": list(calls)}
        if created_ids is not None:
            request["createdIds"] = created_ids
        response = await self.post(request)
        assert response.status_code == 200, response.text
        body: Json = response.json()
        return body

    async def call(self, name: str, **arguments: Any) -> Json:
        """The one answer to one call, in this client's account."""
        answer = await self.answer(name, {"accountId": self.account_id, **arguments})
        if answer[0] == "error":
            raise MethodFailedError(f"{name}: {answer[1]}")
        result: Json = answer[1]
        return result

    async def answer(self, name: str, arguments: Json) -> list[Any]:
        body = await self.request([name, arguments, "c0"])
        [answer] = body["methodResponses"]
        assert answer[2] == "c0"
        return list(answer)

    async def error(self, name: str, **arguments: Any) -> Json:
        """The method error that one call answers with."""
        answer = await self.answer(name, {"accountId": self.account_id, **arguments})
        assert answer[0] == "error", answer
        error: Json = answer[1]
        return error

    async def address_book(self) -> str:
        """The default one's id."""
        books = await self.call("AddressBook/get")
        return next(str(book["id"]) for book in books["list"] if book["isDefault"])

    async def add_card(self, **properties: Any) -> str:
        if "addressBookIds" not in properties:
            properties["addressBookIds"] = {await self.address_book(): True}
        answer = await self.call("ContactCard/set", create={"k": properties})
        assert answer["created"], answer
        return str(answer["created"]["k"]["id"])


@asynccontextmanager
async def running_dispatcher(  # noqa: PLR0913 - what a test may choose
    dsn: str,
    *,
    limits: CoreLimits | None = None,
    blob_limits: BlobLimits | None = None,
    certificate: Certificate | None = None,
    push: PushRules = LOOPBACK,
    jwt: JwtSettings | None = None,
    secret_key: str = SECRET_KEY,
) -> AsyncIterator[RunningDispatcher]:
    clock, draining, metrics = SystemClock(), asyncio.Event(), Metrics()
    http = _http(certificate)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(dsn))
        url = url_of(listener, http)
        authenticator = Authenticator(
            pool, clock=clock, issuer=issuer_of(jwt or JwtSettings(), clock)
        )
        committed: list[OutboxEntry] = []
        told: list[ControlMessage] = []

        dispatcher = Dispatcher(
            DispatcherResources(
                pool=pool,
                authenticator=authenticator,
                vault=Vault(secret_key),
                push=push,
                tell=_appender(told),
                committed=committed.append,
                public_url=url,
                clock=clock,
                metrics=metrics,
                limits=limits or CoreLimits(),
                blob_limits=blob_limits or BlobLimits(),
            )
        )
        await dispatcher.prepare()
        app = Starlette(routes=[*dispatcher.routes(), *health_routes({}, draining, metrics)])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(app, listener, http, draining))
            running = RunningDispatcher(url, pool, dispatcher, authenticator, committed, told)
            try:
                yield running
            finally:
                for client in running.clients:
                    await client.http.aclose()
                draining.set()


def _http(certificate: Certificate | None) -> HttpSettings:
    return HttpSettings(
        port=0,
        drain_seconds_max=2,
        tls_cert=certificate.path if certificate else None,
        tls_key=certificate.key_path if certificate else None,
    )


def _appender(told: list[ControlMessage]) -> Callable[[ControlMessage], Awaitable[None]]:
    async def tell(message: ControlMessage) -> None:
        told.append(message)

    return tell
