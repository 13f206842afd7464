import pytest

from shared.runtime.settings import SettingsError, settings_from
from shared.web_push.address_policy import address_of
from shared.web_push.settings import WebhookPolicySettings


def test_exemptions_are_hosts_addresses_and_networks() -> None:
    environ = {"TIDINGS_WEBHOOK_ALLOW": "localhost, 127.0.0.0/8,::1"}
    exemptions = settings_from(environ, "TIDINGS_WEBHOOK_", WebhookPolicySettings).exemptions

    assert exemptions.hosts == {"localhost"}
    address = address_of("127.0.0.1")
    assert address is not None
    assert exemptions.has_address(address)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("ALLOW", "ok.example,not/a/network", "'not/a/network' is neither"),
        ("VERIFY", "never", "invalid enum value"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"TIDINGS_WEBHOOK_{name}: {problem}"):
        settings_from({f"TIDINGS_WEBHOOK_{name}": text}, "TIDINGS_WEBHOOK_", WebhookPolicySettings)
