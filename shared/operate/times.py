"""Spans of time as people type them."""

import re
from datetime import timedelta

from shared.runtime.errors import CouldNotStartError

_TIME = re.compile(r"(0|[1-9][0-9]{0,5})([smhd])")
_SECONDS_OF_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class NoTimeError(CouldNotStartError):
    """What was typed is no span of time."""


def time_of(text: str, option: str) -> timedelta:
    """Of 30d, 12h, 5m, 90s. Raises NoTimeError, which names the option."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise NoTimeError(f"{option} {text} is not a time: give a number and s, m, h or d, as 30d.")
    return timedelta(seconds=int(match[1]) * _SECONDS_OF_UNIT[match[2]])
