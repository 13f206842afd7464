"""What the endpoint of a sink was told, and where the lane of a subscription is."""

import json
from typing import Any

from tests.support.webhook_sink import WebhookSink
from tests.support.webhooks import WebhookBench


def told(sink: WebhookSink, path: str) -> list[dict[str, Any]]:
    """What each message said had changed."""
    messages = [json.loads(post.content) for post in sink.posts_to(path)]
    assert all(message["@type"] == "StateChange" for message in messages)
    return [message["changed"] for message in messages]


def newest(sink: WebhookSink, path: str) -> dict[str, dict[str, str]]:
    """What the endpoint knows now; fails when it was told an older state after a newer one."""
    known: dict[str, dict[str, str]] = {}
    for changed in told(sink, path):
        for account_id, states in changed.items():
            mine = known.setdefault(account_id, {})
            for name, state in states.items():
                assert int(state[1:]) >= int(mine.get(name, "s0")[1:]), "an older state"
                mine[name] = state
    return known


async def is_converged(bench: WebhookBench, subscription: str) -> bool:
    lane = await bench.lane(subscription)
    last = await bench.log.keeper.verify()
    has_merged: bool = lane["target"] >= await bench.newest_sequence(subscription)
    is_told: bool = lane["behind_since"] is None and lane["cursor"] <= last.last_sequence
    return has_merged and is_told


async def is_merged(bench: WebhookBench, subscription: str) -> bool:
    lane = await bench.lane(subscription)
    has_merged: bool = lane["target"] > lane["cursor"]
    return has_merged


async def is_failing(bench: WebhookBench, subscription: str) -> bool:
    """After a failure, while nobody looks at it."""
    lane = await bench.lane(subscription)
    return bool(lane["failures"]) and lane["lease"] is None


async def is_gone(bench: WebhookBench, subscription: str) -> bool:
    gone: bool = await bench.pool.fetchval(
        "SELECT NOT EXISTS (SELECT FROM push_subscriptions WHERE id = $1)", subscription
    )
    return gone
