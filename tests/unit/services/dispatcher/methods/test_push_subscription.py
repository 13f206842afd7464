"""The rules of PushSubscription; over HTTP they are tested in tests/integration."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.dispatcher.methods.push_subscription import (
    EXPIRES_DEFAULT,
    EXPIRES_MAX,
    Creation,
    Held,
    Lifetime,
    PushSetArguments,
    Terms,
    check_requested,
    read_creation,
    read_update,
    refused_creation,
    shown,
)
from shared.jmap.errors import MethodError, SetError, SetRejectedError
from shared.jmap.ids import utc_date
from shared.web_push.address_policy import Exemptions
from tests.support.webhook_sink import Subscriber

NOW = datetime(2026, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)
ENDLESS = Terms(now=NOW, credential_ends_at=None)
ENDING = Terms(now=NOW, credential_ends_at=NOW + timedelta(hours=1))
GIVEN = {"deviceClientId": "d", "url": "https://push.example.com/a"}


def held(*, code: str | None = "code", is_code_given: bool = False) -> Held:
    return Held(
        id="p1",
        device_client_id="d",
        code=code,
        is_code_given=is_code_given,
        expires_at=SECOND + timedelta(days=1),
        types=["Email"],
    )


def create(given: Mapping[str, Any], terms: Terms = ENDLESS) -> Creation:
    return read_creation("k", {**GIVEN, **given}, terms, Exemptions())


def creation_error(given: Mapping[str, Any], terms: Terms = ENDLESS) -> SetError:
    with pytest.raises(SetRejectedError) as caught:
        create(given, terms)
    return caught.value.error


def update_error(subscription: Held, patch: dict[str, Any]) -> SetError:
    with pytest.raises(SetRejectedError) as caught:
        read_update(subscription, patch, ENDLESS)
    return caught.value.error


def test_a_creation_is_read_with_its_keys_and_its_origin() -> None:
    creation = create({"keys": Subscriber().keys, "types": ["Email"]})

    assert creation.origin == "https://push.example.com"
    assert creation.keys is not None
    assert creation.types == ["Email"]
    assert creation.answer == {
        "verificationCode": None,
        "expires": utc_date(SECOND + EXPIRES_DEFAULT),
    }


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"id": "x", "verificationCode": "x"}, ["id", "verificationCode"]),
        ({"verificationCode": 5, "types": 5}, ["types", "verificationCode"]),
        ({"url": "ftp://x", "expires": "2020-01-01T00:00:00Z"}, ["expires", "url"]),
        ({"url": 5, "expires": 5, "keys": 5}, ["expires", "keys", "url"]),
        ({"keys": {"p256dh": "AA", "auth": "AA"}}, ["keys"]),
        ({"colour": "blue"}, ["colour"]),
    ],
)
def test_all_that_is_wrong_with_a_creation_is_named(
    given: dict[str, Any], wrong: list[str]
) -> None:
    error = creation_error(given)

    assert (error.type, error.properties) == ("invalidProperties", wrong)


def test_what_must_be_there_is_asked_for() -> None:
    with pytest.raises(SetRejectedError) as caught:
        read_creation("k", {}, ENDLESS, Exemptions())
    assert caught.value.error.properties == ["deviceClientId", "url"]


def test_a_creation_id_is_an_id() -> None:
    with pytest.raises(SetRejectedError):
        read_creation("no id", {**GIVEN}, ENDLESS, Exemptions())


@pytest.mark.parametrize(
    ("asked", "lifetime"),
    [
        (None, EXPIRES_DEFAULT),
        (timedelta(seconds=1), timedelta(seconds=1)),
        (EXPIRES_MAX, EXPIRES_MAX),
        (EXPIRES_MAX + timedelta(seconds=1), EXPIRES_MAX),
    ],
)
def test_of_an_endless_credential_the_server_bounds_the_life(
    asked: timedelta | None, lifetime: timedelta
) -> None:
    """P-22."""
    expires = None if asked is None else utc_date(SECOND + asked)
    creation = create({"expires": expires})

    assert creation.lifetime == Lifetime(SECOND + lifetime, SECOND + lifetime)
    is_as_asked = asked == lifetime
    assert ("expires" not in creation.answer) is is_as_asked


@pytest.mark.parametrize(
    ("asked", "ends_at"),
    [
        (None, NOW + timedelta(hours=1)),
        (timedelta(minutes=1), SECOND + timedelta(minutes=1)),
        (timedelta(days=999), NOW + timedelta(hours=1)),
    ],
)
def test_of_an_ending_credential_it_ends_with_it_and_expires_as_asked(
    asked: timedelta | None, ends_at: datetime
) -> None:
    """P-21."""
    expires_at = None if asked is None else SECOND + asked
    expires = None if expires_at is None else utc_date(expires_at)
    creation = create({"expires": expires}, ENDING)

    assert creation.lifetime == Lifetime(expires_at, ends_at)
    assert "expires" not in creation.answer


def test_a_date_of_now_is_over_already() -> None:
    assert creation_error({"expires": utc_date(SECOND)}).properties == ["expires"]


def test_the_code_is_shown_once_the_client_gave_it() -> None:
    assert shown(held(), None)["verificationCode"] is None
    assert shown(held(is_code_given=True), None)["verificationCode"] == "code"
    assert shown(held(), ["types"]) == {"id": "p1", "types": ["Email"]}
    assert "code" not in repr(held()).lower()


@pytest.mark.parametrize(
    ("properties", "error"),
    [(["url"], "forbidden"), (["keys", "x"], "forbidden"), (["x"], "invalidArguments")],
)
def test_what_cannot_be_shown_cannot_be_asked_for(properties: list[str], error: str) -> None:
    with pytest.raises(MethodError) as caught:
        check_requested(properties)
    assert caught.value.type == error


def test_all_the_rest_can_be_asked_for() -> None:
    check_requested(None)
    check_requested(["id", "deviceClientId", "verificationCode", "expires", "types"])


def test_an_update_of_nothing_changes_nothing() -> None:
    update = read_update(held(), {}, ENDLESS)

    assert (update.types, update.lifetime, update.is_code_right) == (["Email"], None, False)
    assert update.answer == {}


def test_an_update_may_name_what_stays_the_same() -> None:
    same = {"id": "p1", "deviceClientId": "d", "verificationCode": None, "types": None}

    assert read_update(held(), {**same}, ENDLESS).types is None


@pytest.mark.parametrize(
    ("code", "given", "is_right"),
    [("code", "code", True), ("code", "CODE", False), ("code", "", False), (None, "code", False)],
)
def test_an_update_verifies_with_the_right_code_only(
    code: str | None, given: str, *, is_right: bool
) -> None:
    """P-36."""
    patch = {"verificationCode": given}
    if is_right:
        assert read_update(held(code=code), {**patch}, ENDLESS).is_code_right
    else:
        error = update_error(held(code=code), {**patch})
        assert (error.type, error.properties) == ("invalidProperties", ["verificationCode"])


def test_a_code_of_another_shape_is_no_code() -> None:
    assert update_error(held(), {"verificationCode": 5}).properties == ["verificationCode"]
    given = held(is_code_given=True)
    assert update_error(given, {"verificationCode": None}).properties == ["verificationCode"]
    assert not read_update(given, {"verificationCode": "code"}, ENDLESS).is_code_right


def test_an_update_of_expires_is_told_where_it_is_not_as_asked() -> None:
    """P-37."""
    asked = utc_date(SECOND + timedelta(days=3))
    assert read_update(held(), {"expires": asked}, ENDLESS).answer == {}
    update = read_update(held(), {"expires": utc_date(SECOND + timedelta(days=99))}, ENDLESS)
    assert update.answer == {"expires": utc_date(SECOND + EXPIRES_MAX)}
    assert update_error(held(), {"expires": "2020-01-01T00:00:00Z"}).properties == ["expires"]
    assert update_error(held(), {"expires": "x"}).properties == ["expires"]


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        ({"url": "https://push.example.com/a"}, ["url"]),
        ({"keys/auth": None}, ["keys"]),
        ({"id": "p2", "deviceClientId": None}, ["deviceClientId", "id"]),
        ({"colour": "blue"}, ["colour"]),
        ({"types": [""]}, ["types"]),
    ],
)
def test_an_update_changes_only_what_may_change(patch: dict[str, Any], wrong: list[str]) -> None:
    error = update_error(held(), patch)

    assert (error.type, error.properties) == ("invalidProperties", wrong)


@pytest.mark.parametrize(
    ("count", "allowance", "error"),
    [(9, 1, None), (10, 1, "overQuota"), (9, 0, "rateLimit"), (10, 0, "overQuota")],
)
def test_a_user_has_so_many_and_makes_so_many(
    count: int, allowance: int, error: str | None
) -> None:
    """P-40."""
    refused = refused_creation(held=count, held_max=10, allowance=allowance)

    assert (refused and refused.type) == error


def test_a_set_counts_all_that_it_names() -> None:
    arguments = PushSetArguments(create={"a": {}}, update={"b": {}, "c": {}}, destroy=["d"])

    assert arguments.object_count == 4
    assert PushSetArguments().object_count == 0
