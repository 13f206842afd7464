import pytest

from services.gateway.admission import Admission, FullError, Limits


def test_a_full_process_refuses_with_503() -> None:
    admission = Admission(Limits(connections_max=1))
    place = admission.take("1.1.1.1")

    with pytest.raises(FullError) as refused:
        admission.take("2.2.2.2")

    assert refused.value.status == 503
    place.leave()
    admission.take("2.2.2.2")


def test_an_address_has_its_share() -> None:
    admission = Admission(Limits(connections_per_address_max=1))
    admission.take("1.1.1.1")

    with pytest.raises(FullError) as refused:
        admission.take("1.1.1.1")

    assert (refused.value.status, refused.value.limit) == (429, "address")
    admission.take("2.2.2.2")


def test_a_user_has_a_share_on_whatever_address() -> None:
    admission = Admission(Limits(connections_per_user_max=1))
    first, second = admission.take("1.1.1.1"), admission.take("2.2.2.2")
    first.take_for("anna")

    with pytest.raises(FullError) as refused:
        second.take_for("anna")

    assert (refused.value.status, refused.value.limit) == (429, "user")
    second.leave()
    first.leave()
    admission.take("1.1.1.1").take_for("anna")


def test_a_place_is_left_once() -> None:
    admission = Admission(Limits())
    place = admission.take("1.1.1.1")
    other = admission.take("1.1.1.1")

    place.leave()
    place.leave()
    place.take_for("anna")  # who has left has none

    assert admission.count == 1
    other.leave()
    assert admission.count == 0
