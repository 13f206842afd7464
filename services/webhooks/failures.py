"""What a request without an answer failed of, in our words; without the URL, which is a secret."""

import ssl

from services.webhooks.answers import Outcome, outcome_of_error


class AddressBlockedError(OSError):
    """The address policy forbids it. Without an errno, so that it looks like nothing else."""


class PostFailedError(Exception):
    """There was no answer; `reason` is for an operator."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(outcome, reason)
        self.outcome = outcome
        self.reason = reason


class NoAnswerError(PostFailedError):
    """The connection ended first: if it was a kept one, it may have ended before the request."""


def no_answer() -> NoAnswerError:
    return NoAnswerError(Outcome.BROKEN, "The connection ended before the answer.")


def no_answer_in_time() -> PostFailedError:
    return PostFailedError(Outcome.TIMED_OUT, "There was no answer in time.")


def not_http() -> PostFailedError:
    return PostFailedError(Outcome.BROKEN, "The answer is not HTTP, or its head is too large.")


def not_resolved(error: OSError) -> PostFailedError:
    """The DNS, or what the address policy says of its answer."""
    return _of_error(error, Outcome.DNS_FAILED)


def not_connected(error: OSError) -> PostFailedError:
    """A dial, or the handshake of TLS after it."""
    return _of_error(error, Outcome.CONNECT_FAILED)


def _of_error(error: OSError, otherwise: Outcome) -> PostFailedError:
    match error:
        case AddressBlockedError():
            return PostFailedError(Outcome.ADDRESS_BLOCKED, f"Nothing was sent: {error}.")
        case ssl.SSLCertVerificationError():
            return PostFailedError(Outcome.TLS_FAILED, error.verify_message)
        case ssl.SSLError():
            return PostFailedError(Outcome.TLS_FAILED, error.reason or "TLS failed.")
        case _:
            return PostFailedError(
                outcome_of_error(error, otherwise), error.strerror or str(error) or "It failed."
            )
