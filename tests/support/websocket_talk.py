"""What the tests of WebSockets say (RFC 8887)."""

from typing import Any

from tests.support.eventually import eventually
from tests.support.gateway import AUTHORIZATION, GatewayOfTest
from tests.support.websocket import WebSocketClient

ENABLE: dict[str, Any] = {"@type": "WebSocketPushEnable", "dataTypes": None}
DISABLE = {"@type": "WebSocketPushDisable"}


def asking(id_: str | None = None, **arguments: Any) -> dict[str, Any]:
    message = {
        "@type": "Request",
        "using": ["urn:ietf:params:jmap:core"],
        "methodCalls": [["Core/echo", arguments, "c1"]],
    }
    return message if id_ is None else {**message, "id": id_}


def state_change(cursor: str, **changed: dict[str, str]) -> dict[str, Any]:
    return {"@type": "StateChange", "changed": changed, "pushState": cursor}


async def connect(gateway: GatewayOfTest, *headers: str, **more: Any) -> WebSocketClient:
    return await WebSocketClient.connect(gateway.port, AUTHORIZATION, *headers, **more)


async def listening(gateway: GatewayOfTest, client: WebSocketClient, **enable: Any) -> None:
    """Enable push, and wait until it took effect."""
    before = sum(gateway.connections.joined.values())
    client.send({**ENABLE, **enable})
    await eventually(lambda: sum(gateway.connections.joined.values()) == before + 1)
