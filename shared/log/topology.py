"""The declared streams: `nats/streams.json` and what a deployment chooses."""

from pathlib import Path
from typing import Any

import msgspec

from shared.log.subjects import STREAM

_STREAMS = Path(__file__).parents[2] / "nats" / "streams.json"


def stream_config(*, replicas: int = 1) -> dict[str, Any]:
    """The configuration of STATE without its epoch, in the words of JetStream's API."""
    streams: dict[str, dict[str, Any]] = msgspec.json.decode(_STREAMS.read_bytes())
    return streams[STREAM] | {"num_replicas": replicas}
