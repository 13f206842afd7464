"""Names in the database: they stay as they are."""

from shared.store.waits import WaitsFor


def test_the_names_of_waits_stay() -> None:
    assert [wait.value for wait in WaitsFor] == [
        "window",
        "backoff",
        "retry_after",
        "breaker",
        "own_fault",
        "log_away",
        "secret_unreadable",
        "crashed",
        "lease",
        "slot",
        "ended",
    ]
