"""The few calls of the JetStream API that we make, as JSON over request and reply.

nats-py's JetStream context knows fewer fields than the server and waits in ways that lose
messages; the wire format is small and documented.
"""

import base64
from datetime import datetime
from typing import Any

import msgspec

from shared.bus.connection import Bus, BusUnavailableError

_STREAM_NOT_FOUND = 10059
_MESSAGE_NOT_FOUND = 10037
_CONSUMER_NOT_FOUND = 10014
_SEQUENCE_NOT_FOUND = 10043
_SERVER_ERROR = 500  # and above: such as a cluster that has no leader yet


class JetStreamError(Exception):
    """The API's refusal; `code` is its err_code."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


class StreamState(msgspec.Struct, frozen=True, rename={"octets": "bytes"}):
    first_seq: int
    last_seq: int
    messages: int = 0
    octets: int = 0


class Replica(msgspec.Struct, frozen=True):
    current: bool = False  # it has all that the leader has
    offline: bool = False


class StreamCluster(msgspec.Struct, frozen=True):
    """`replicas` are those besides the leader."""

    leader: str = ""
    replicas: list[Replica] = []


class StreamInfo(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    state: StreamState
    cluster: StreamCluster | None = None  # None: of a server that is no cluster

    @property
    def replicas_current(self) -> int:
        """Servers that hold all of it, the leader among them."""
        if self.cluster is None:
            return 1
        others = sum(one.current and not one.offline for one in self.cluster.replicas)
        return others + bool(self.cluster.leader)

    @property
    def epoch(self) -> str | None:
        metadata: dict[str, str] = self.config.get("metadata") or {}
        return metadata.get("epoch")


class RawMessage(msgspec.Struct, frozen=True):
    sequence: int
    body: bytes


class StoredMessage(RawMessage, frozen=True):
    subject: str
    at: datetime  # when the stream took it


class Delivered(msgspec.Struct, frozen=True):
    consumer_seq: int
    stream_seq: int = 0


class ConsumerProgress(msgspec.Struct, frozen=True):
    num_pending: int  # messages that it has not sent yet
    delivered: Delivered
    ack_floor: Delivered  # all up to there was acknowledged
    num_ack_pending: int = 0  # sent, and not acknowledged yet

    def is_complete(self, received: int) -> bool:
        """Whether who has received so many messages of it has them all."""
        return self.num_pending == 0 and self.delivered.consumer_seq == received


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


class _StoredMessage(msgspec.Struct):
    seq: int
    subject: str
    time: datetime
    data: str = ""


class _MessageAnswer(msgspec.Struct):
    message: _StoredMessage


_answers = msgspec.json.Decoder(_Answer)
_infos = msgspec.json.Decoder(StreamInfo)
_messages = msgspec.json.Decoder(_MessageAnswer)
_progress = msgspec.json.Decoder(ConsumerProgress)


class JetStream:
    """Raises BusUnavailableError when nobody answers, JetStreamError when the server refuses."""

    def __init__(self, bus: Bus, *, timeout_seconds: float = 5) -> None:
        self._bus = bus
        self._timeout_seconds = timeout_seconds

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """Asked of the stream's leader; None when there is no such stream."""
        try:
            return _infos.decode(await self._call(f"STREAM.INFO.{stream}", b""))
        except JetStreamError as error:
            if error.code == _STREAM_NOT_FOUND:
                return None
            raise

    async def create_stream(self, config: dict[str, Any]) -> StreamInfo:
        """Does nothing when the stream exists with this very configuration."""
        body = msgspec.json.encode(config)
        return _infos.decode(await self._call(f"STREAM.CREATE.{config['name']}", body))

    async def update_stream(self, config: dict[str, Any]) -> StreamInfo:
        body = msgspec.json.encode(config)
        return _infos.decode(await self._call(f"STREAM.UPDATE.{config['name']}", body))

    async def delete_stream(self, stream: str) -> None:
        try:
            await self._call(f"STREAM.DELETE.{stream}", b"")
        except JetStreamError as error:
            if error.code != _STREAM_NOT_FOUND:
                raise

    async def create_consumer(self, stream: str, config: dict[str, Any]) -> None:
        body = msgspec.json.encode({"stream_name": stream, "config": config})
        await self._call(f"CONSUMER.CREATE.{stream}.{config['name']}", body)

    async def has_consumer(self, stream: str, name: str) -> bool:
        """False also when there is no such stream."""
        try:
            await self._call(f"CONSUMER.INFO.{stream}.{name}", b"")
        except JetStreamError as error:
            if error.code in (_CONSUMER_NOT_FOUND, _STREAM_NOT_FOUND):
                return False
            raise
        return True

    async def consumer_progress(self, stream: str, name: str) -> ConsumerProgress:
        return _progress.decode(await self._call(f"CONSUMER.INFO.{stream}.{name}", b""))

    async def last_message(self, stream: str, subject: str) -> RawMessage | None:
        """The subject's last message as the stream's leader has it; None when it has none."""
        return await self._message(stream, {"last_by_subj": subject})

    async def first_message(self, stream: str, subject: str) -> RawMessage | None:
        """The subject's oldest message that is left."""
        return await self._message(stream, {"next_by_subj": subject, "seq": 1})

    async def newest_message(self, stream: str, subject: str) -> StoredMessage | None:
        """As `last_message`, with its time."""
        return await self._message(stream, {"last_by_subj": subject})

    async def next_message(
        self, stream: str, subject: str, *, sequence: int
    ) -> StoredMessage | None:
        """The subject's first message at `sequence` or behind it."""
        return await self._message(stream, {"next_by_subj": subject, "seq": sequence})

    async def message(self, stream: str, sequence: int) -> StoredMessage | None:
        """What stands there; None when nothing does any more."""
        return await self._message(stream, {"seq": sequence})

    async def erase_message(self, stream: str, sequence: int) -> None:
        """Its bytes are overwritten in the server's files; harmless when it is gone."""
        body = msgspec.json.encode({"seq": sequence})
        try:
            await self._call(f"STREAM.MSG.DELETE.{stream}", body)
        except JetStreamError as error:
            if error.code != _SEQUENCE_NOT_FOUND:
                raise

    async def _message(self, stream: str, which: dict[str, object]) -> StoredMessage | None:
        try:
            reply = await self._call(f"STREAM.MSG.GET.{stream}", msgspec.json.encode(which))
        except JetStreamError as error:
            if error.code == _MESSAGE_NOT_FOUND:
                return None
            raise
        found = _messages.decode(reply).message
        return StoredMessage(found.seq, base64.b64decode(found.data), found.subject, found.time)

    async def _call(self, api: str, body: bytes) -> bytes:
        reply = await self._bus.request(
            f"$JS.API.{api}", body, timeout_seconds=self._timeout_seconds
        )
        error = _answers.decode(reply).error
        if error is not None and error.code >= _SERVER_ERROR:
            raise BusUnavailableError(f"{api}: {error.description}")
        if error is not None:
            raise JetStreamError(error.err_code, error.description)
        return reply
