"""One message to one endpoint: encrypted, signed, sent, counted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from services.webhooks.answers import Answer, Outcome
from services.webhooks.messages import (
    PushOptions,
    PushRequest,
    PushTarget,
    push_request,
    ttl_seconds,
)
from services.webhooks.signing_keys import SigningKeys
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics
from shared.store.lanes import Attempt, Recipient, place_of_attempt
from shared.web_push.content_encryption import PLAINTEXT_OCTETS_MAX
from shared.web_push.endpoint import read_endpoint
from shared.web_push.endpoint_secrets import Endpoint, unseal_endpoint
from shared.web_push.sealing import SealingKey, Vault
from shared.web_push.subscription_keys import SubscriptionKeys
from shared.web_push.vapid import VapidSigner


class Client(Protocol):
    async def post(self, request: PushRequest, *, may_repeat: bool = False) -> Answer: ...


class OpenedRecipient(msgspec.Struct, frozen=True):
    """With its secrets, for as long as somebody looks at it: nothing keeps them."""

    recipient: Recipient
    endpoint: Endpoint
    key: SealingKey

    @property
    def is_encrypted(self) -> bool:
        return self.endpoint.p256dh is not None

    @property
    def octets_max(self) -> int | None:
        """Of a payload; an encrypted one must fit into a single record (RFC 8291 section 4)."""
        return PLAINTEXT_OCTETS_MAX if self.is_encrypted else None

    def attempt(
        self, number: int, kind: str, answer: Answer, *, at: datetime, cursor: int
    ) -> Attempt:
        """To be kept; what the endpoint said may quote its URL, so it is sealed, too."""
        said = answer.body or answer.reason.encode()
        purpose = f"answer:{self.recipient.id}"
        return Attempt(
            subscription_id=self.recipient.id,
            place=place_of_attempt(number),
            at=at,
            kind=kind,
            outcome=answer.outcome,
            status=answer.status,
            milliseconds=answer.milliseconds,
            cursor=cursor,
            sealed_answer=self.key.seal(said, purpose=purpose) if said else None,
            retry_after_seconds=answer.retry_after_seconds,
        )


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message in clear. `may_repeat`: it does no harm to send it twice.

    `replaces`: the accounts that it says everything of, so that a push service may drop what it
    holds of the same ones.
    """

    payload: bytes
    kind: str  # verification, push or replay
    may_repeat: bool
    replaces: Sequence[str] | None = None
    traceparent: str | None = None  # of the newest change that it tells
    is_replay: bool = False  # it is marked, and no push service keeps it


class Sender:
    """Every request is signed, and encrypted where the subscription has keys."""

    def __init__(
        self,
        client: Client,
        keys: SigningKeys,
        signer: VapidSigner,
        vault: Vault,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._keys = keys
        self._signer = signer
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        for outcome in Outcome:  # so that the first one is an increase
            metrics.count(Metric.WEBHOOK_ATTEMPTS, 0, kind="push", outcome=outcome)

    def open(self, recipient: Recipient) -> OpenedRecipient:
        """Raises UnsealError: TIDINGS_SECRET_KEY is another one than when it was made."""
        key = self._vault.unwrap(recipient.wrapped_key, recipient.id)
        return OpenedRecipient(recipient, unseal_endpoint(key, recipient.id, recipient.sealed), key)

    async def load_key(self, recipient: Recipient) -> None:
        """So that `send` need not. Raises as it does."""
        await self._keys.key(recipient.vapid_key_id)

    async def send(self, opened: OpenedRecipient, outgoing: Outgoing) -> Answer:
        """Whatever the endpoint does.

        Raises POSTGRES_ERRORS, UnsealError or SigningKeyGoneError: the signing key cannot be had.
        """
        now = self._clock.now()
        target = PushTarget(
            endpoint=read_endpoint(opened.endpoint.url),
            keys=_keys_of(opened.endpoint),
            vapid_key=await self._keys.key(opened.recipient.vapid_key_id),
        )
        options = PushOptions(
            ttl_seconds=0 if outgoing.is_replay else ttl_seconds(opened.recipient.ends_at, now),
            is_replay=outgoing.is_replay,
            topic=self._topic(opened.recipient.id, outgoing.replaces),
            traceparent=outgoing.traceparent,
        )
        request = push_request(outgoing.payload, target, options, signer=self._signer, now=now)
        answer = await self._client.post(request, may_repeat=outgoing.may_repeat)
        self._metrics.count(Metric.WEBHOOK_ATTEMPTS, kind=outgoing.kind, outcome=answer.outcome)
        connection = "new" if answer.has_dialled else "again" if answer.was_kept else "none"
        self._metrics.count(Metric.WEBHOOK_REQUESTS, connection=connection)
        self._metrics.observe(Metric.WEBHOOK_SECONDS, answer.milliseconds / 1000)
        return answer

    def _topic(self, subscription_id: str, account_ids: Sequence[str] | None) -> str | None:
        """A push service sees it, so it is a keyed hash; it is at most 32 characters (RFC 8030)."""
        if account_ids is None:
            return None
        return self._vault.keyed_hash(" ".join((subscription_id, *account_ids)))


def _keys_of(endpoint: Endpoint) -> SubscriptionKeys | None:
    if endpoint.p256dh is None or endpoint.auth is None:
        return None
    return SubscriptionKeys(p256dh=endpoint.p256dh, auth=endpoint.auth)
