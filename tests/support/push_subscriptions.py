"""PushSubscriptions as a client makes them, and what only the server knows of them."""

from typing import Any

import asyncpg

from shared.web_push.endpoint_secrets import Endpoint, unseal_endpoint
from shared.web_push.sealing import Vault
from tests.support.dispatcher import SECRET_KEY, JmapClient, Json, MethodFailedError
from tests.support.webhook_sink import Subscriber

URL = "https://push.example.com/abc"


async def push_get(client: JmapClient, **arguments: Any) -> Json:
    return await _call(client, "PushSubscription/get", arguments)


async def push_set(client: JmapClient, **arguments: Any) -> Json:
    return await _call(client, "PushSubscription/set", arguments)


async def push_error(client: JmapClient, method: str, **arguments: Any) -> Json:
    """The method error that the call answers with."""
    answer = await client.answer(f"PushSubscription/{method}", arguments)
    assert answer[0] == "error", answer
    error: Json = answer[1]
    return error


async def subscribe(client: JmapClient, **properties: Any) -> Json:
    """What `created` says of it."""
    given = {"deviceClientId": "device", "url": URL, **properties}
    answer = await push_set(client, create={"k": given})
    assert answer["created"], answer
    created: Json = answer["created"]["k"]
    return created


async def refusal(client: JmapClient, **properties: Any) -> Json:
    """The SetError of a create."""
    given = {"deviceClientId": "device", "url": URL, **properties}
    answer = await push_set(client, create={"k": given})
    error: Json = answer["notCreated"]["k"]
    return error


async def update(client: JmapClient, subscription_id: str, **patch: Any) -> Json | None:
    """What `updated` says of it."""
    answer = await push_set(client, update={subscription_id: patch})
    assert answer["updated"] is not None, answer
    updated: Json | None = answer["updated"][subscription_id]
    return updated


async def update_error(client: JmapClient, subscription_id: str, **patch: Any) -> Json:
    answer = await push_set(client, update={subscription_id: patch})
    error: Json = answer["notUpdated"][subscription_id]
    return error


async def shown(client: JmapClient, subscription_id: str) -> Json:
    [found] = (await push_get(client, ids=[subscription_id]))["list"]
    subscription: Json = found
    return subscription


async def endpoint_of(pool: asyncpg.Pool, subscription_id: str) -> Endpoint:
    """As the deliverer reads it; for the code, which else only the push tells."""
    [row] = await pool.fetch(
        """
        SELECT sealed, wrapped FROM push_subscriptions
        JOIN push_subscription_keys ON subscription_id = id WHERE id = $1
        """,
        subscription_id,
    )
    key = Vault(SECRET_KEY).unwrap(row["wrapped"], subscription_id)
    return unseal_endpoint(key, subscription_id, row["sealed"])


def browser_keys() -> dict[str, str]:
    return Subscriber().keys


async def _call(client: JmapClient, name: str, arguments: Json) -> Json:
    answer = await client.answer(name, arguments)
    if answer[0] == "error":
        raise MethodFailedError(f"{name}: {answer[1]}")
    result: Json = answer[1]
    return result
