import pytest

from services.gateway.connection_id import connection_id, new_gateway_id, number_of
from shared.operate.connections import gateway_of


@pytest.mark.parametrize("number", [1, 31, 32, 33, 123_456_789])
def test_an_id_names_a_number_and_its_gateway(number: int) -> None:
    gateway = new_gateway_id()
    text = connection_id(gateway, number)

    assert number_of(text, gateway) == number
    assert gateway_of(text) == gateway
    assert text.isascii()
    assert text.isalnum() or text.replace("-", "").isalnum()


@pytest.mark.parametrize(
    "text", ["", "-", "4k2m9x", "4k2m9x-", "4k2m9x-0", "4k2m9x-U", "4k2m9x-\n", "4k2m9y-1"]
)
def test_what_is_no_id_of_a_gateways_connection_is_none_that_it_has(text: str) -> None:
    assert number_of(text, "4k2m9x") == 0


def test_an_endless_number_is_not_read() -> None:
    assert number_of("4k2m9x-" + "z" * 1_000_000, "4k2m9x") == 0


def test_no_two_gateways_have_one_id() -> None:
    assert len({new_gateway_id() for _ in range(1000)}) == 1000
