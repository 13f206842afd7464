"""A gateway whose WebSocket says everything back, for the Autobahn test suite.

The suite needs Python 2.7 (`pip install autobahntestsuite` there), so that it cannot be a part of
`make test`; tests/integration/services/gateway/test_websocket_framing.py has an equal set. To run
the suite itself: `python -m tests.support.autobahn >spec.json`, and beside it `wstest --mode
fuzzingclient --spec spec.json`, which writes reports/servers/index.json. Binary messages are not of
JMAP: the gateway closes with 1003 where those cases want an echo, so they are left out.

Of its 481 other cases none fails (version 25.10.1): 252 pass; 10 pass "non-strict", because the
answer to a message is not awaited before the broken frame that follows it closes, and because text
is judged by frame; 3 judge nothing; 216 are of compression, which is declined.
"""

import asyncio
import json
from unittest import mock

from services.gateway import websocket
from services.gateway.settings import GatewaySettings
from services.gateway.websocket_messages import RequestMessage
from shared.store.credentials import Credential
from tests.support.gateway import GatewayOfTest, credential_of, gateway_running

MESSAGE_BYTES_MAX = 16 << 20
BINARY_CASES = ["1.2.*", "5.2", "9.2.*", "9.4.*", "9.6.*", "9.8.*"]


class AnyTicket(dict[str, Credential]):
    def pop(self, ticket: str, *_: object) -> Credential:
        del ticket
        return credential_of("anna")


async def say_back(holder: Credential, request: RequestMessage) -> bytes:
    del holder
    return request.body


def specification(gateway: GatewayOfTest) -> str:
    url = f"ws://127.0.0.1:{gateway.port}/jmap/ws?ticket=any"
    server = {"agent": "tidings", "url": url, "protocols": ["jmap"]}
    spec = {"servers": [server], "cases": ["*"], "exclude-cases": BINARY_CASES}
    return json.dumps({**spec, "exclude-agent-cases": {}}, indent=1)


async def main() -> None:
    settings = GatewaySettings(
        websocket_message_bytes_max=MESSAGE_BYTES_MAX, requests_at_once_max=10_000
    )
    async with gateway_running(settings) as gateway:
        gateway.tickets = AnyTicket()
        gateway.answer = say_back
        print(specification(gateway), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with mock.patch.object(websocket, "decode_message", lambda body: RequestMessage(None, body)):
        asyncio.run(main())
