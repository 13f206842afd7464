"""A JMAP client of a running `tidings up`, seen only from outside."""

import functools
import json
from typing import Any

import httpx

from tests.support.processes import Up
from tests.support.webhook_sink import WebhookSink

CORE = "urn:ietf:params:jmap:core"
CONTACTS = "urn:ietf:params:jmap:contacts"


class JmapUser:
    """A user of a running `up`, perhaps with a webhook."""

    def __init__(self, up: Up, name: str) -> None:
        self.name = name
        self.account = up.command("user", "add", name)["account"]
        issued = up.command("token", "issue", name)
        self.token_id, self.token = issued["id"], issued["token"]
        self._post = functools.partial(
            httpx.post,
            f"{up.url}/jmap/api",
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
        )

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request = {"using": [CORE, CONTACTS], "methodCalls": [[name, arguments, "0"]]}
        [answer] = self._post(json=request).json()["methodResponses"]
        result: dict[str, Any] = answer[1]
        return result

    def subscribe(self, url: str, *, types: list[str] | None = None) -> str:
        create = {"s": {"deviceClientId": "d", "url": url, "types": types}}
        answer = self.call("PushSubscription/set", {"create": create})
        return str(answer["created"]["s"]["id"])

    def change(self) -> str:
        """A new address book; returns the state."""
        arguments = {"accountId": self.account, "create": {"b": {"name": "More"}}}
        return str(self.call("AddressBook/set", arguments)["newState"])

    def told(self, sink: WebhookSink) -> str | None:
        """The state of AddressBook that the endpoint heard of last."""
        found = [json.loads(post.content) for post in sink.posts]
        states = [
            message["changed"][self.account]["AddressBook"]
            for message in found
            if message["@type"] == "StateChange"
        ]
        return states[-1] if states else None
