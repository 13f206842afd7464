"""From the octets of a request to those of its response, whichever way they came."""

import logging
from collections.abc import Sequence

import msgspec

from services.dispatcher.processor import Caller, Processor
from services.dispatcher.registry import Gone
from services.dispatcher.sessions import Sessions, UserSession
from shared.jmap.envelope import request_from_json
from shared.jmap.errors import not_json
from shared.jmap.i_json import NotIJsonError, decode_i_json, encode_json
from shared.runtime.clock import Clock
from shared.runtime.trace_context import TraceContext
from shared.store.credentials import Credential
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True):
    """The Response as JSON; `calls` are for the log."""

    body: bytes
    calls: Sequence[str]


class Requests:
    """Answers requests of who is authenticated already."""

    def __init__(self, sessions: Sessions, processor: Processor, clock: Clock) -> None:
        self._sessions = sessions
        self._processor = processor
        self._clock = clock

    async def answer(
        self,
        body: bytes,
        credential: Credential,
        *,
        request_id: str,
        trace: TraceContext,
        gone: Gone | None = None,
    ) -> Answered:
        """Raises RequestError."""
        try:
            request = request_from_json(decode_i_json(body))
        except NotIJsonError as error:
            raise not_json(str(error)) from error
        session = await self._sessions.session_of(credential)
        caller = Caller(
            credential=credential,
            accounts=session.accounts,
            session_state=session.state,
            request_id=request_id,
            trace=trace,
            gone=gone,
        )
        processed = await self._processor.process(request, caller, self._clock.now())
        state = await self._state_after(credential, session)
        response = msgspec.structs.replace(processed.response, session_state=state)
        return Answered(encode_json(response), processed.calls)

    async def _state_after(self, credential: Credential, before: UserSession) -> str:
        """A call may have changed, or met, what the session says (RFC 9749 section 5)."""
        try:
            return (await self._sessions.session_of(credential)).state
        except POSTGRES_AWAY as error:  # what the calls did is done, and must be told
            _log.warning("database_away", extra={"error": repr(error)})
            return before.state
