import base64
import secrets

import pytest

from shared.web_push.sealing import UnsealError, Vault

SECRET = secrets.token_bytes(32)


def test_a_sealed_secret_is_read_with_its_key_again() -> None:
    vault = Vault(SECRET.hex())

    key, wrapped = vault.new_key("s1")
    sealed = key.seal(b"https://push.example/abc", purpose="endpoint")

    assert b"push.example" not in sealed
    again = Vault(SECRET.hex()).unwrap(wrapped, "s1")
    assert again.unseal(sealed, purpose="endpoint") == b"https://push.example/abc"


def test_a_sealed_secret_is_good_for_its_purpose_only() -> None:
    vault = Vault(SECRET.hex())
    key, wrapped = vault.new_key("s1")
    sealed = key.seal(b"x", purpose="endpoint")

    with pytest.raises(UnsealError):
        key.unseal(sealed, purpose="answer")
    with pytest.raises(UnsealError):
        vault.unwrap(wrapped, "s2")
    with pytest.raises(UnsealError):
        vault.unwrap(b"", "s1")
    with pytest.raises(UnsealError):
        Vault(secrets.token_hex(32)).unwrap(wrapped, "s1")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex(),
        base64.b64encode(SECRET).decode(),
        base64.urlsafe_b64encode(SECRET).decode().rstrip("=") + "\n",
    ],
)
def test_a_secret_key_may_be_written_in_hex_or_base64(text: str) -> None:
    assert Vault(text).keyed_hash("a") == Vault(SECRET.hex()).keyed_hash("a")


@pytest.mark.parametrize("text", ["", "short", "00" * 31, "x" * 64 + "!"])
def test_a_weak_secret_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="32 octets"):
        Vault(text)


def test_the_server_seals_its_own_secrets_for_a_purpose() -> None:
    vault = Vault(SECRET.hex())
    sealed = vault.seal(b"private", purpose="vapid:v1")

    assert Vault(SECRET.hex()).unseal(sealed, purpose="vapid:v1") == b"private"
    with pytest.raises(UnsealError):
        vault.unseal(sealed, purpose="vapid:v2")
    with pytest.raises(UnsealError):
        vault.unwrap(sealed, "vapid:v1")


def test_keyed_hashes_tell_texts_apart() -> None:
    vault = Vault(SECRET.hex())

    assert vault.keyed_hash("https://a.example") != vault.keyed_hash("https://b.example")
    assert len(vault.keyed_hash("")) == 22
