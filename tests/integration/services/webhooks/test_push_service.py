"""P-13, P-19, V-01, V-02: a push service of others takes our messages and reads them.

Needs npm and its registry, so it is not in `make test`: see `make test-push-service`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.cli.embedded.ports import free_port
from services.webhooks.answers import Answer, Outcome
from services.webhooks.messages import PushOptions, PushTarget, push_request
from shared.web_push.content_encryption import PLAINTEXT_OCTETS_MAX
from shared.web_push.endpoint import read_endpoint
from shared.web_push.subscription_keys import parse_subscription_keys
from shared.web_push.vapid import VapidKey, VapidSigner
from tests.support.push_client import LOOPBACK, push_client
from tests.support.push_service import PushService, installed, push_service

pytestmark = pytest.mark.push_service

KEY = VapidKey.generate()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushService]:
    folder = installed(tmp_path_factory.mktemp("push_service"))
    with push_service(folder, free_port()) as running:
        yield running


async def send(payload: bytes, subscription: dict[str, Any], key: VapidKey = KEY) -> Answer:
    target = PushTarget(
        endpoint=read_endpoint(subscription["endpoint"]),
        keys=parse_subscription_keys(**subscription["keys"]),
        vapid_key=key,
    )
    signer = VapidSigner("mailto:push@example.com")
    options = PushOptions(ttl_seconds=60)
    request = push_request(payload, target, options, signer=signer, now=datetime.now(UTC))
    # It parses by the type before it decrypts, and refuses what is not JSON then.
    headers = {**request.headers, "Content-Type": "application/octet-stream"}
    request = msgspec.structs.replace(request, headers=headers)
    async with push_client(*LOOPBACK) as client:
        return await client.post(request)


async def test_a_push_service_takes_and_reads_our_messages(service: PushService) -> None:
    subscription = service.subscribe(KEY.application_server_key)
    payloads = [
        '{"@type":"PushVerification","pushSubscriptionId":"s","verificationCode":"é"}',
        '{"@type":"StateChange","changed":{"a":{"Email":"1"}}}',
        "x" * PLAINTEXT_OCTETS_MAX,
    ]

    for payload in payloads:
        answer = await send(payload.encode(), subscription)
        assert (answer.outcome, answer.status) == (Outcome.ACCEPTED, 201), answer.body

    assert service.messages(subscription) == payloads


async def test_a_push_service_refuses_the_key_of_another(service: PushService) -> None:
    """V-04: as after a rotation that the client has not seen."""
    subscription = service.subscribe(KEY.application_server_key)

    answer = await send(b"{}", subscription, VapidKey.generate())

    assert answer.outcome is Outcome.REFUSED
    assert service.messages(subscription) == []


async def test_a_push_service_tells_that_a_subscription_is_gone(service: PushService) -> None:
    subscription = service.subscribe(KEY.application_server_key)
    service.expire(subscription)

    answer = await send(b"{}", subscription)

    assert (answer.outcome, answer.status) == (Outcome.GONE, 410)
