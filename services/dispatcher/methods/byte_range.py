"""One byte range of an HTTP Range header (RFC 9110 section 14)."""

import re

UNSATISFIABLE = (-1, -1)

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end), or UNSATISFIABLE; None: send everything, as for what is malformed or many."""
    match = _RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or (match[1], match[2]) == ("", ""):
        return None
    if match[1] == "":  # the last so many octets
        length = min(int(match[2]), size)
        return (size - length, size) if length else UNSATISFIABLE
    start = int(match[1])
    end = size if match[2] == "" else min(int(match[2]) + 1, size)
    if match[2] != "" and int(match[2]) < start:
        return None
    return (start, end) if start < size else UNSATISFIABLE
