"""Names in NATS: stream, and one subject per account in one of 64 virtual partitions.

A stream owns a range of partitions; with one stream it is all of them.
"""

STREAM = "STATE"
STREAM_SUBJECTS = "state.>"
CLOCK_SUBJECT = "state._.clock"
"""Always holds one message, so that every `multi_last` ends with Nats-UpTo-Sequence."""

PARTITIONS = 64
_FNV_OFFSET_BASIS = 2166136261
_FNV_PRIME = 16777619


def partition(account_id: str) -> int:
    """FNV-1a 32 modulo 64, as the NATS server's own `partition()` mapping counts."""
    digest = _FNV_OFFSET_BASIS
    for byte in account_id.encode():
        digest = (digest ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return digest % PARTITIONS


def subject_of(account_id: str) -> str:
    return f"state.{partition(account_id)}.{account_id}"


def account_of(subject: str) -> str | None:
    """The account of a subject; None for the clock."""
    return None if subject == CLOCK_SUBJECT else subject.rsplit(".", 1)[1]
