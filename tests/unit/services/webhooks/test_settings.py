import pytest

from services.webhooks.settings import WebhookSettings
from shared.runtime.settings import SettingsError, settings_from

PREFIX = "TIDINGS_WEBHOOK_"


def test_a_lease_holds_a_request_and_as_long_again_before_it() -> None:
    """Else a look that reads the log first has no time left to begin a request in."""
    environ = {f"{PREFIX}ANSWER_SECONDS_MAX": "20", f"{PREFIX}LEASE_SECONDS": "40"}
    assert settings_from(environ, PREFIX, WebhookSettings).lease_seconds == 40

    environ[f"{PREFIX}LEASE_SECONDS"] = "39"
    with pytest.raises(SettingsError, match="LEASE_SECONDS must be at least twice ANSWER_SECONDS"):
        settings_from(environ, PREFIX, WebhookSettings)
