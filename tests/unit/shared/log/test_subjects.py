from shared.log.subjects import CLOCK_SUBJECT, account_of, partition, subject_of


def test_partitions_are_fnv_1a_32_as_the_server_counts() -> None:
    assert partition("a") == 0xE40C292C % 64  # published FNV-1a test vectors
    assert partition("foobar") == 0xBF9CF968 % 64


def test_the_account_comes_back_from_its_subject() -> None:
    assert account_of(subject_of("a1_-Z")) == "a1_-Z"
    assert account_of(CLOCK_SUBJECT) is None
