"""Answers the requests that gateways forward from WebSockets, as `/jmap/api` answers others."""

import asyncio
import logging
import secrets

import msgspec
from nats.aio.msg import Msg

from services.dispatcher.requests import Requests
from shared.bus.connection import Bus, BusUnavailableError
from shared.http.forwarded import (
    FORWARD_QUEUE,
    FORWARD_SECONDS_MAX,
    FORWARD_SUBJECT,
    ForwardedAnswer,
    ForwardedRequest,
    decode_forwarded_request,
    encode_forwarded,
)
from shared.jmap.errors import RequestError, limit_exceeded
from shared.jmap.i_json import encode_json
from shared.jmap.session import CoreLimits
from shared.runtime.logs import correlated
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 64  # of this process; the others wait with NATS
_OK = 200
_FAULT = RequestError("serverFail", "An error of the server.", http_status=500)
_AWAY = RequestError("serverUnavailable", "The database does not answer now.", http_status=503)
_TOO_LARGE = RequestError(
    "serverFail",
    "The request was processed, but its response is larger than the server passes on.",
    http_status=500,
)


class BusRequests:
    """`run` it in the process's task group."""

    def __init__(self, bus: Bus, requests: Requests, limits: CoreLimits) -> None:
        self._bus = bus
        self._requests = requests
        self._limits = limits
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:

            async def take(message: Msg) -> None:
                await self._slots.acquire()
                tasks.create_task(self._respond(message))

            await self._bus.client.subscribe(FORWARD_SUBJECT, queue=FORWARD_QUEUE, cb=take)
            await asyncio.Event().wait()

    async def _respond(self, message: Msg) -> None:
        request_id = secrets.token_hex(8)
        try:
            with correlated(request_id=request_id):
                answer = encode_forwarded(await self._answer(message.data, request_id))
                if len(answer) > self._bus.client.max_payload:
                    answer = encode_forwarded(_problem(_TOO_LARGE))
                await self._bus.publish(message.reply, answer)
        except BusUnavailableError as error:
            _log.warning("answer_not_sent", extra={"error": repr(error)})
        finally:
            self._slots.release()

    async def _answer(self, data: bytes, request_id: str) -> ForwardedAnswer:
        try:
            async with asyncio.timeout(FORWARD_SECONDS_MAX):
                return await self._process(decode_forwarded_request(data), request_id)
        except RequestError as error:
            return _problem(error)
        except POSTGRES_AWAY as error:  # as over HTTP; a time-out is one of them
            _log.warning("database_away", extra={"error": repr(error)})
            return _problem(_AWAY)
        except Exception:  # noqa: BLE001 - a problem for the client, a stack trace for the log
            _log.exception("request_failed", extra={"subject": FORWARD_SUBJECT})
            return _problem(_FAULT)

    async def _process(self, forwarded: ForwardedRequest, request_id: str) -> ForwardedAnswer:
        """Raises RequestError."""
        body = bytes(forwarded.body)
        if len(body) > self._limits.max_size_request:
            raise limit_exceeded(
                "maxSizeRequest",
                f"The request is larger than {self._limits.max_size_request} octets.",
            )
        answer = await self._requests.answer(
            body, forwarded.credential, request_id=request_id, traceparent=None
        )
        return ForwardedAnswer(status=_OK, body=msgspec.Raw(answer))


def _problem(error: RequestError) -> ForwardedAnswer:
    return ForwardedAnswer(status=error.http_status, body=msgspec.Raw(encode_json(error.problem())))
