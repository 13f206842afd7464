import pytest

from services.console.refusals import refusal_of
from shared.operate.gateways import (
    GatewayBusyError,
    NoGatewayError,
    RefusedByGatewayError,
    UnknownConnectionError,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GatewayBusyError("gateway g1: too much is asked at once"), 503),
        (NoGatewayError(), 503),
        (RefusedByGatewayError("gateway g1: it is not said which"), 400),
        (UnknownConnectionError("g1-1", is_gateway_there=True), 404),
    ],
)
def test_who_may_ask_again_is_told_when(error: Exception, status: int) -> None:
    response = refusal_of(error)
    assert response.status_code == status
    assert ("retry-after" in response.headers) is (status == 503)
