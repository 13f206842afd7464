"""The dispatcher's settings."""

from typing import Annotated

import msgspec
from msgspec import Meta

from services.dispatcher.remote.settings import MethodServiceSettings
from shared.runtime.settings import Secret
from shared.runtime.traces import Traces
from shared.web_push.settings import WebhookPolicySettings


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: of a dispatcher that runs alone."""

    postgres_url: Secret
    nats_url: Secret
    public_url: str = "http://127.0.0.1:8080"
    postgres_connections_max: Annotated[int, Meta(ge=2, le=1000)] = 10  # of one dispatcher


class PushSubscriptionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_WEBHOOK_*: how many subscriptions a user may have, and create."""

    subscriptions_max: Annotated[int, Meta(ge=1, le=10_000)] = 100  # of one user; more: overQuota
    creations_per_hour: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """By one user, all at once or spread; more: rateLimit."""


class PushRules(msgspec.Struct, frozen=True, kw_only=True):
    """What push subscriptions are judged by."""

    policy: WebhookPolicySettings = WebhookPolicySettings()
    limits: PushSubscriptionSettings = PushSubscriptionSettings()


class DispatcherRules(msgspec.Struct, frozen=True, kw_only=True):
    """What its parts are told."""

    push: PushRules = PushRules()
    method_services: MethodServiceSettings = MethodServiceSettings()
    traces: Traces = Traces()
