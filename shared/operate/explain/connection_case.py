"""All that is known of one event and one connection; no I/O."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from shared.log.cursor import Cursor, decode_cursor
from shared.operate.connections import ConnectionDetails, Moment
from shared.operate.explain.evidence import AccessEvidence, EventEvidence, Types, wanted
from shared.operate.explain.findings import Looker


class ConnectionCase(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one event and one connection."""

    event: EventEvidence
    connection: ConnectionDetails
    access: AccessEvidence
    gateway_cursor: str | None  # all up to there was passed on by its gateway
    now: datetime

    @property
    def at(self) -> datetime:
        """When the event was there to be told; unknown counts as now."""
        return self.event.at or self.now

    @property
    def asked_types(self) -> Types:
        """What it asks for; of very many only the first are known: then it may be all."""
        connection = self.connection
        if connection.types is None or connection.type_count <= len(connection.types):
            return connection.types
        was_filtered = self._is_at_event(connection.filtered_cursor)
        return connection.types if was_filtered else None

    @property
    def types(self) -> frozenset[str]:
        """Of the event, that the connection asks for."""
        return wanted(self.event.changed, self.asked_types)

    @property
    def ended_at(self) -> datetime | None:
        return time_of(self.connection.ended_at)

    @property
    def joined_at(self) -> datetime | None:
        return time_of(self.connection.joined_at)

    @property
    def looker(self) -> Looker:
        connection = self.connection
        return Looker(
            noun="connection",
            user=connection.user_name,
            resync=f"tidings connection resync {connection.id}",
            asks="by the types of the event source's URL, or by WebSocketPushEnable",
        )

    def has_reached(self, cursor: str | None) -> bool:
        """Whether who holds that cursor knows the event."""
        decoded = None if cursor is None else decode_cursor(cursor)
        return (
            decoded is not None
            and decoded.epoch == self.event.epoch
            and decoded.sequence >= (self.event.sequence or 0)
        )

    def _is_at_event(self, text: str | None) -> bool:
        cursor = None if text is None else decode_cursor(text)
        return cursor == Cursor(self.event.epoch, self.event.sequence or 0)

    @property
    def frames(self) -> tuple[Moment, ...]:
        """Those that are remembered."""
        return tuple(one for one in self.connection.moments if one.kind == "state")

    @property
    def told_by(self) -> Moment | None:
        """The first frame that told of it, or of what superseded it."""
        for frame in self.frames:
            if self.has_reached(frame.cursor) and (self.told_in(frame) or frame.is_cut):
                return frame
        return None

    @property
    def is_remembered(self) -> bool:
        """Whether a frame from before the event is, or all of them are."""
        frames = self.frames
        return len(frames) == self.connection.messages or any(
            not self.has_reached(frame.cursor) for frame in frames
        )

    def told_in(self, frame: Moment) -> Mapping[str, str]:
        """What it said of the types that the event changed, whatever is asked for now."""
        states = (frame.changed or {}).get(self.event.account_id, {})
        return {name: state for name, state in states.items() if name in self.event.changed}

    def is_newer(self, frame: Moment) -> bool:
        """Whether the frame told newer states than the event's own."""
        told = self.told_in(frame)
        return any(self.event.changed[name] != state for name, state in told.items())


def time_of(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
