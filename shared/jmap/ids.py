"""Ids and dates (RFC 8620 sections 1.2 and 1.4)."""

import base64
import re
from datetime import UTC, datetime
from typing import NewType

Id = NewType("Id", str)
StateToken = NewType("StateToken", str)

ID_PATTERN = "[A-Za-z0-9_-]{1,255}"

_ID = re.compile(ID_PATTERN, re.ASCII)
_DATE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:(?:[0-5]\d|60)(\.\d{1,12})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)
_STATE = re.compile(r"s(0|[1-9]\d{0,17})", re.ASCII)


def is_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def id_from(prefix: str, entropy: bytes) -> Id:
    """A letter first, then lower-case base32, as section 1.2 recommends."""
    return Id(prefix + base64.b32encode(entropy).decode().rstrip("=").lower())


def state_token(modseq: int) -> StateToken:
    return StateToken(f"s{modseq}")


def modseq_of(token: str) -> int | None:
    """None for what `state_token` never made."""
    match = _STATE.fullmatch(token)
    return None if match is None else int(match[1])


def is_utc_date(text: object) -> bool:
    return is_date(text) and str(text).endswith("Z")


def is_date(text: object) -> bool:
    """RFC 3339 with upper-case T and Z, and without a fraction of zero."""
    if not isinstance(text, str) or (match := _DATE.fullmatch(text)) is None:
        return False
    if match[1] is not None and not match[1].strip(".0"):
        return False
    try:
        datetime.fromisoformat(_comparable(text))
    except ValueError:
        return False
    return True


def utc_date(moment: datetime) -> str:
    """To the second; `moment` is aware."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime:
    """Of what `is_utc_date` accepts; to the microsecond, a leap second as the one before it."""
    return datetime.fromisoformat(text[:17] + text[17:19].replace("60", "59") + text[19:])


def _comparable(text: str) -> str:
    """Without fraction and leap second, which `datetime` reads by other rules."""
    return text[:17] + text[17:19].replace("60", "59") + "Z"
