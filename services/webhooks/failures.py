"""What a request without an answer failed of, in our words: aiohttp's errors, by kind."""

import ssl

import aiohttp

from services.webhooks.answers import Outcome, outcome_of_error
from services.webhooks.dialling import AddressBlockedError
from shared.web_push.endpoint import EndpointError


def failure(error: Exception) -> tuple[Outcome, str]:
    """And why, for an operator; without the URL, which is a secret."""
    match error:
        case aiohttp.ClientConnectorError():
            return _of_connecting(error)
        case EndpointError():
            return Outcome.ADDRESS_BLOCKED, str(error)
        case TimeoutError():
            return Outcome.TIMED_OUT, "There was no answer in time."
        case aiohttp.ClientResponseError():
            return Outcome.BROKEN, "The answer is not HTTP, or its head is too large."
        case _:
            return Outcome.BROKEN, "The connection ended before the answer."


def _of_connecting(error: aiohttp.ClientConnectorError) -> tuple[Outcome, str]:
    match error.__cause__:
        case AddressBlockedError() as cause:
            return Outcome.ADDRESS_BLOCKED, f"Nothing was sent: {cause}."
        case ssl.SSLCertVerificationError() as cause:
            return Outcome.TLS_FAILED, cause.verify_message
        case ssl.SSLError() as cause:
            return Outcome.TLS_FAILED, cause.reason or "TLS failed."
        case OSError() as cause:
            is_dns = isinstance(error, aiohttp.ClientConnectorDNSError)
            outcome = Outcome.DNS_FAILED if is_dns else Outcome.CONNECT_FAILED
            return outcome_of_error(cause, outcome), cause.strerror or str(cause)
        case _:
            return Outcome.CONNECT_FAILED, "No connection was made."
