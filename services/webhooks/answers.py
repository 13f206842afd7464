"""What became of one request, and what its status or its failure means."""

import errno
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

ANSWER_OCTETS_KEPT = 200
RETRY_AFTER_SECONDS_MAX = 24 * 3600
_RETRY_AFTER_CHARACTERS_MAX = 64

# What fails here and not there: it says nothing about the endpoint.
_OWN_FAILURES = frozenset(
    (
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EAFNOSUPPORT,
        errno.EACCES,
        errno.EPERM,
    )
)


class Outcome(StrEnum):
    ACCEPTED = "accepted"  # 2xx
    GONE = "gone"  # 404, 410: the subscription is no more
    THROTTLED = "throttled"  # 429
    UNAVAILABLE = "unavailable"  # 503
    TOO_LARGE = "too_large"  # 413
    UNAUTHORIZED = "unauthorized"  # 401, 403: our token is not taken
    REDIRECTED = "redirected"  # 3xx: never followed
    REFUSED = "refused"  # another 4xx
    SERVER_ERROR = "server_error"  # another 5xx
    DNS_FAILED = "dns_failed"  # the host has no address
    ADDRESS_BLOCKED = "address_blocked"  # by the address policy: nothing was sent
    CONNECT_FAILED = "connect_failed"  # nobody answers there
    TLS_FAILED = "tls_failed"  # such as a certificate that does not hold
    TIMED_OUT = "timed_out"  # no answer in TIDINGS_WEBHOOK_ANSWER_SECONDS_MAX
    BROKEN = "broken"  # reset, ended, or not HTTP
    EGRESS_FAILED = "egress_failed"  # this machine could not; never the endpoint's fault


_BY_STATUS = {
    401: Outcome.UNAUTHORIZED,
    403: Outcome.UNAUTHORIZED,
    404: Outcome.GONE,
    410: Outcome.GONE,
    413: Outcome.TOO_LARGE,
    429: Outcome.THROTTLED,
    503: Outcome.UNAVAILABLE,
}
_BY_CLASS = {
    2: Outcome.ACCEPTED,
    3: Outcome.REDIRECTED,
    4: Outcome.REFUSED,
    5: Outcome.SERVER_ERROR,
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    outcome: Outcome
    status: int | None = None  # None: there was no answer
    milliseconds: int = 0  # from the start to the answer's end
    retry_after_seconds: int | None = None
    body: bytes = b""  # its first ANSWER_OCTETS_KEPT octets
    reason: str = ""  # for an operator, where there was no answer
    has_dialled: bool = False  # an address, since no connection could be used again
    was_kept: bool = False  # it went out on a connection that was there, at first at least


def outcome_of_status(status: int) -> Outcome:
    """What is no final status of HTTP (101, 600) counts as a broken answer."""
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, Outcome.BROKEN)


def outcome_of_error(error: OSError, otherwise: Outcome) -> Outcome:
    """EGRESS_FAILED where the fault is this machine's."""
    return Outcome.EGRESS_FAILED if error.errno in _OWN_FAILURES else otherwise


def retry_after_seconds(text: str, now: datetime) -> int | None:
    """Of a Retry-After header (RFC 9110 section 10.2.3), at most a day; None for garbage."""
    if len(text) > _RETRY_AFTER_CHARACTERS_MAX:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:  # -0000: in UTC, from an unknown place
        at = at.replace(tzinfo=UTC)
    return max(0, min(int((at - now).total_seconds()), RETRY_AFTER_SECONDS_MAX))
