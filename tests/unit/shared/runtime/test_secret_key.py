import secrets

import pytest

from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.runtime.settings import Secret, SettingsError


def test_the_secret_key_opens_the_vault() -> None:
    settings = SecretKeySettings(secret_key=Secret(secrets.token_hex(32)))

    assert vault_of(settings).keyed_hash("a") == vault_of(settings).keyed_hash("a")
    assert str(settings.secret_key) not in repr(settings)


@pytest.mark.parametrize("given", [None, Secret("too short")])
def test_without_a_good_one_it_is_said_how_to_make_one(given: Secret | None) -> None:
    with pytest.raises(SettingsError, match=r"TIDINGS_SECRET_KEY.*openssl rand -hex 32") as caught:
        vault_of(SecretKeySettings(secret_key=given))
    assert "too short" not in str(caught.value)
