"""The canonical log line of an attempt: one for each request to an endpoint.

It never says where the endpoint is: `tidings subscription show` does, to who may know.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from shared.runtime.clock import utc_text
from shared.runtime.logs import log_facts
from shared.store.lanes import Attempt

_log = logging.getLogger(__name__)


def log_attempts(
    attempts: Sequence[Attempt],
    *,
    trace_id: str | None,
    failures: int,
    retry_at: datetime | None,
) -> None:
    """`failures` in a row, with these; `retry_at`: not before then, None where it need not be."""
    for attempt in attempts:
        log_facts(
            _log,
            "webhook_attempt",
            {
                "subscription": attempt.subscription_id,
                "kind": attempt.kind,
                "outcome": attempt.outcome,
                "status": attempt.status,
                "milliseconds": attempt.milliseconds,
                "sequence": attempt.cursor,
                "failures": failures,
                "retry_at": None if retry_at is None else utc_text(retry_at),
                "trace_id": trace_id,
            },
        )
