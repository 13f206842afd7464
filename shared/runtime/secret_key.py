"""TIDINGS_SECRET_KEY, which seals the secrets of webhooks: the same one for every process."""

import msgspec

from shared.runtime.settings import PREFIX, Secret, SettingsError
from shared.web_push.sealing import Vault

SECRET_KEY = f"{PREFIX}SECRET_KEY"
_ADVICE = "make one with `openssl rand -hex 32`, and give the same one to every process."


class SecretKeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: the secret key."""

    secret_key: Secret | None = None
    """Seals the secrets of webhooks and the VAPID key: 32 octets or more in hexadecimal or base64,
    the same for every process. `up` makes one in its data directory; others must be told."""


def vault_of(settings: SecretKeySettings) -> Vault:
    """Raises SettingsError, which says how to make a key."""
    if settings.secret_key is None:
        raise SettingsError(f"{SECRET_KEY} must be set: {_ADVICE}")
    try:
        return Vault(settings.secret_key)
    except ValueError as error:
        raise SettingsError(f"{SECRET_KEY}: {error}; {_ADVICE}") from error
