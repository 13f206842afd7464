import secrets

import pytest

from shared.web_push.endpoint_secrets import Endpoint, seal_endpoint, unseal_endpoint
from shared.web_push.sealing import SealingKey, UnsealError

KEY = SealingKey(secrets.token_bytes(32))
PLAIN = Endpoint(url="https://push.example/abc", code="code-abc")
ENCRYPTED = Endpoint(
    url="https://push.example/abc",
    p256dh=b"\x04" + secrets.token_bytes(64),
    auth=secrets.token_bytes(16),
    code="code-abc",
)


@pytest.mark.parametrize("endpoint", [PLAIN, ENCRYPTED])
def test_an_endpoint_is_read_as_it_was_sealed(endpoint: Endpoint) -> None:
    sealed = seal_endpoint(KEY, "p1", endpoint)

    assert unseal_endpoint(KEY, "p1", sealed) == endpoint
    assert b"push.example" not in sealed


def test_an_endpoint_of_one_subscription_is_none_of_another() -> None:
    with pytest.raises(UnsealError):
        unseal_endpoint(KEY, "p2", seal_endpoint(KEY, "p1", PLAIN))


@pytest.mark.parametrize(
    "plain",
    [
        b'{"url":"https://push.example/abc"}',
        b'{"url":"https://push.example/\xff","code":"c"}',
        b'{"url":"https://push.example/abc","code":"c","more":' + b"[" * 100_000,
    ],
)
def test_what_is_no_endpoint_is_refused_without_showing_it(plain: bytes) -> None:
    sealed = KEY.seal(plain, purpose="endpoint:p1")

    with pytest.raises(UnsealError) as caught:
        unseal_endpoint(KEY, "p1", sealed)
    assert caught.value.__cause__ is None
    assert "push.example" not in str(caught.value)


def test_an_endpoint_does_not_show_itself_in_logs() -> None:
    assert repr(ENCRYPTED) == "Endpoint(***)"
