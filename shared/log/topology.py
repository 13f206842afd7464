"""The declared streams: `nats/streams.json` and what a deployment chooses."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.log.subjects import STREAM
from shared.runtime.nats_files import NATS_FILES

_STREAMS = NATS_FILES / "streams.json"


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_LOG_*: of the log; without them: as `nats/streams.json` says.

    `tidings migrate` and `tidings up` apply them; a process that may have to make the stream anew
    needs them, too.
    """

    replicas: Annotated[int, Meta(ge=1, le=5)] | None = None  # servers that hold the stream
    history: Annotated[int, Meta(ge=1)] | None = None  # events kept per account
    bytes_max: Annotated[int, Meta(ge=2**20)] | None = None  # then appends wait: nothing is dropped


def stream_config(settings: LogSettings) -> dict[str, Any]:
    """The configuration of STATE without its epoch, in the words of JetStream's API."""
    streams: dict[str, dict[str, Any]] = msgspec.json.decode(_STREAMS.read_bytes())
    chosen = {
        "num_replicas": settings.replicas,
        "max_msgs_per_subject": settings.history,
        "max_bytes": settings.bytes_max,
    }
    return streams[STREAM] | {name: value for name, value in chosen.items() if value is not None}
