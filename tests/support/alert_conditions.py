"""When each alert rule fires, and what is just not enough: series as promtool writes them.

A sample every 30 seconds. `0x60` is 0 for half an hour, `0+3x60` counts 3 more with each,
`0x40 1x19` counts one some minutes before the end.
"""

from collections.abc import Mapping
from typing import TypeAlias

Series: TypeAlias = Mapping[str, str]
"""Selector -> values."""

STEP = "0x40 1x19"
NEVER = "0x60"


def gauge(value: float) -> str:
    return f"{value}x60"


def per_sample(count: int) -> str:
    return f"0+{count}x60"


def histogram(name: str, labels: str, bound: str, within: int) -> dict[str, str]:
    """Of a hundred observations a sample `within` are at most `bound`, and none much greater."""
    return {
        f'{name}{{{labels}le="{bound}"}}': per_sample(within),
        f'{name}{{{labels}le="1000"}}': per_sample(100),
        f'{name}{{{labels}le="+Inf"}}': per_sample(100),
    }


def two(metric: str, first: float, second: float) -> dict[str, str]:
    """What two processes say."""
    return {
        f'{metric}{{instance="a"}}': gauge(first),
        f'{metric}{{instance="b"}}': gauge(second),
    }


def counted(metric: str, label: str, *, fires: str, quiet: str) -> tuple[Series, Series]:
    """One of a kind that must not be, and one of another kind."""
    return (
        {f'{metric}{{instance="a",{label}="{fires}"}}': STEP},
        {
            f'{metric}{{instance="a",{label}="{fires}"}}': NEVER,
            f'{metric}{{instance="a",{label}="{quiet}"}}': per_sample(5),
        },
    )


def share(part: str, whole: str, enough: float) -> tuple[Series, Series]:
    """Of a whole of 100."""
    return {part: gauge(enough), whole: gauge(100)}, {part: gauge(enough - 1), whole: gauge(100)}


def lanes(failing: int) -> Series:
    """Of 100, as each of two workers counts them."""
    of = {"failing": failing, "converged": 90 - failing, "behind": 10, "paused": 900}
    return {
        f'tidings_webhook_lanes{{instance="{instance}",state="{state}"}}': gauge(count)
        for instance in "ab"
        for state, count in of.items()
    }


def http(errors: int) -> Series:
    """Of 100 requests."""
    return {
        'tidings_http_requests_total{status="200"}': per_sample(100 - errors),
        'tidings_http_requests_total{status="503"}': per_sample(errors),
    }


CONDITIONS: dict[str, tuple[Series, Series]] = {
    "TidingsProcessDown": (
        {'up{job="tidings",instance="a"}': gauge(0)},
        {'up{job="tidings",instance="a"}': gauge(1), 'up{job="other"}': gauge(0)},
    ),
    "TidingsNotReady": (
        {'tidings_ready{check="log"}': gauge(0), 'tidings_ready{check="postgres"}': gauge(1)},
        {'tidings_ready{check="log"}': gauge(1)},
    ),
    "TidingsAppendsPostponed": (
        two("tidings_outbox_oldest_seconds", 16, 0),
        two("tidings_outbox_oldest_seconds", 15, 15),
    ),
    "TidingsAppendRefused": counted(
        "tidings_appends_total", "outcome", fires="refused", quiet="postponed"
    ),
    "TidingsLogUnsound": (two("tidings_log_sound", 0, 0), two("tidings_log_sound", 0, 1)),
    "TidingsLogNearlyFull": share("tidings_log_octets", "tidings_log_octets_max", 81),
    "TidingsLogReplicaBehind": (
        two("tidings_log_replicas", 3, 3) | two("tidings_log_replicas_current", 3, 2),
        two("tidings_log_replicas", 3, 3) | two("tidings_log_replicas_current", 3, 3),
    ),
    "TidingsNatsDisconnected": (
        two("tidings_nats_connected", 0, 1),
        two("tidings_nats_connected", 1, 1),
    ),
    "TidingsTailNotLive": (two("tidings_tail_live", 0, 1), two("tidings_tail_live", 1, 1)),
    "TidingsTailBehind": (
        two("tidings_tail_sequence", 9000, 4999) | {"tidings_log_sequence": gauge(10_000)},
        two("tidings_tail_sequence", 9000, 5000) | {"tidings_log_sequence": gauge(10_000)},
    ),
    "TidingsPushSlow": (
        histogram("tidings_push_lag_seconds_bucket", "", "1", 98),
        histogram("tidings_push_lag_seconds_bucket", "", "1", 99),
    ),
    "TidingsConnectionBehindLog": counted(
        "tidings_self_checks_total", "outcome", fires="differs", quiet="same"
    ),
    "TidingsConnectionsNearlyFull": (
        {
            'tidings_connections{instance="a",transport="sse"}': gauge(50),
            'tidings_connections{instance="a",transport="websocket"}': gauge(36),
        }
        | two("tidings_connections_max", 100, 100),
        {
            'tidings_connections{instance="a",transport="sse"}': gauge(85),
            'tidings_connections{instance="b",transport="sse"}': gauge(85),
        }
        | two("tidings_connections_max", 100, 100),
    ),
    "TidingsConnectionsRefused": (
        {'tidings_refusals_total{status="503"}': per_sample(31)},
        {
            'tidings_refusals_total{status="503"}': per_sample(30),
            'tidings_refusals_total{status="401"}': per_sample(1000),
        },
    ),
    "TidingsWebhooksNotReading": (
        two("tidings_webhook_reading", 0, 0),
        two("tidings_webhook_reading", 0, 1),
    ),
    "TidingsWebhookEventsPending": (
        two("tidings_webhook_events_pending", 10_001, 0),
        two("tidings_webhook_events_pending", 10_000, 10_000),
    ),
    "TidingsWebhooksSlow": (
        histogram("tidings_webhook_lag_seconds_bucket", "", "30", 94),
        histogram("tidings_webhook_lag_seconds_bucket", "", "30", 95),
    ),
    "TidingsWebhooksFailing": (lanes(failing=11), lanes(failing=10)),
    "TidingsWebhookUnauthorized": counted(
        "tidings_webhook_attempts_total", "outcome", fires="unauthorized", quiet="timed_out"
    ),
    "TidingsWebhookEgressFailed": (
        {'tidings_webhook_attempts_total{outcome="egress_failed"}': per_sample(1)},
        {
            'tidings_webhook_attempts_total{outcome="egress_failed"}': "0x40 1x1 2x18",
            'tidings_webhook_attempts_total{outcome="server_error"}': per_sample(9),
        },
    ),
    "TidingsWebhookSlotsFull": share(
        'tidings_webhooks_in_flight{group="healthy"}',
        'tidings_webhooks_in_flight_max{group="healthy"}',
        96,
    ),
    "TidingsPostgresPoolExhausted": share(
        'tidings_postgres_connections{state="busy"}', "tidings_postgres_connections_max", 100
    ),
    "TidingsHttpErrors": (http(errors=3), http(errors=2)),
    "TidingsHttpSlow": (
        histogram("tidings_http_request_seconds_bucket", 'route="/jmap/api",', "2", 98),
        histogram("tidings_http_request_seconds_bucket", 'route="/jmap/api",', "2", 99)
        | histogram("tidings_http_request_seconds_bucket", 'route="/tidings/append",', "2", 0),
    ),
    "TidingsMethodServiceGone": (
        {'tidings_service_instances{service="s",instance="a"}': gauge(0)},
        {
            'tidings_service_instances{service="s",instance="a"}': gauge(0),
            'tidings_service_instances{service="s",instance="b"}': gauge(1),
        },
    ),
    "TidingsLoopBlocked": (
        histogram("tidings_loop_lag_seconds_bucket", 'instance="a",', "0.25", 98),
        histogram("tidings_loop_lag_seconds_bucket", 'instance="a",', "0.25", 99),
    ),
    "TidingsErrorsLogged": counted(
        "tidings_log_lines_total", "level", fires="error", quiet="warning"
    ),
    "TidingsLogLinesDropped": counted(
        "tidings_log_lines_total", "level", fires="dropped", quiet="info"
    ),
    "TidingsOpenFilesNearlyFull": share(
        'process_open_fds{job="tidings"}', 'process_max_fds{job="tidings"}', 86
    ),
}
