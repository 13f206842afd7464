"""The variables of an event-source URL (RFC 8620 section 7.3), and the cursor; no I/O.

An absent variable takes its plain meaning: all types, no close, no pings. An *empty* `types=` is
refused: it is neither a list of names nor "*", it is what a template gives for a variable that the
client forgot, and both readings of it (everything, or a stream that never speaks) surprise someone.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

import msgspec

from services.gateway.push_connection import Types

PING_SECONDS_MIN = 30  # section 7.3: the minimum must not be higher
PING_SECONDS_MAX = 300  # section 7.3: the maximum must not be lower
TYPES_MAX = 256
CURSOR_LENGTH_MAX = 256  # a longer one is none of ours, whatever it says
_TYPE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,254}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)


class EventSourceQuery(msgspec.Struct, frozen=True, kw_only=True):
    types: Types = None
    closes_after_state: bool = False
    ping_seconds: int = 0  # as the server will use it
    cursor: str | None = None
    ticket: str | None = None


class QueryError(Exception):
    """Says which variable is wrong and what it must be."""


def event_source_query(query: str, last_event_id: str | None) -> EventSourceQuery:
    """`last_event_id` is the header's value, which wins over the parameter; raises QueryError.

    Unknown parameters are ignored. A cursor is never an error here: what cannot be one of ours is
    passed on as it is, and answered with a full snapshot.
    """
    is_personal = "ticket" in query or "lastEventId" in query
    parameters = _parameters(query) if is_personal else _shared_parameters(query)
    cursor = last_event_id or parameters.get("lastEventId")
    return EventSourceQuery(
        types=_types(parameters.get("types", "*")),
        closes_after_state=_closes_after_state(parameters),
        ping_seconds=_ping_seconds(parameters.get("ping", "0")),
        cursor=cursor[:CURSOR_LENGTH_MAX] if cursor else None,
        ticket=parameters.get("ticket"),
    )


def types_from(names: Iterable[str]) -> frozenset[str]:
    """Raises QueryError for what cannot be a type's name; an unknown one just never changes."""
    types = frozenset(names)
    if len(types) > TYPES_MAX:
        raise QueryError(f"at most {TYPES_MAX} types can be listed")
    for name in types:
        if not _TYPE_NAME.fullmatch(name):
            raise QueryError("types must be type names separated by commas, or the character *")
    return types


def _parameters(query: str) -> Mapping[str, str]:
    try:
        return _once_each(parse_qsl(query, keep_blank_values=True, max_num_fields=32))
    except ValueError as error:
        raise QueryError("the query has too many parameters") from error


_shared_parameters = functools.lru_cache(maxsize=1024)(_parameters)
"""Most clients ask for the same; what is only one client's is not kept."""


def _once_each(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name in parameters and name in ("types", "closeafter", "ping"):
            raise QueryError(f"{name} is given twice")
        parameters.setdefault(name, value)
    return parameters


def _types(value: str) -> Types:
    return None if value == "*" else types_from(value.split(","))


def _closes_after_state(parameters: Mapping[str, str]) -> bool:
    value = parameters.get("closeafter", "no")
    if value not in ("state", "no"):
        raise QueryError('closeafter must be "state" or "no"')
    return value == "state"


def _ping_seconds(value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise QueryError("ping must be a whole number of seconds, 0 for none")
    seconds = int(value)
    return min(max(seconds, PING_SECONDS_MIN), PING_SECONDS_MAX) if seconds else 0
