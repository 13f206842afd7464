"""The Session object (RFC 8620 section 2; checklist C-10 to C-13)."""

from typing import Any

import msgspec

from shared.jmap.session import CORE, Capability, SessionAccount, session_object

OWN = SessionAccount(id="a1", name="ada", is_personal=True, is_read_only=False)
SHARED = SessionAccount(id="a2", name="team", is_personal=False, is_read_only=True)
CAPABILITIES = [
    Capability(urn=CORE, session={"maxSizeUpload": 1}, account={}),
    Capability(urn="x:push", session={"url": "wss://x"}),
    Capability(urn="x:data", session={}, account={"may": True}, account_read_only={"may": False}),
]


def session(*accounts: SessionAccount, url: str = "https://x/") -> Any:
    return session_object("ada", accounts, CAPABILITIES, url)


def test_accounts_show_what_is_usable_on_them() -> None:
    made = session(OWN, SHARED)
    assert made["accounts"]["a1"]["accountCapabilities"] == {CORE: {}, "x:data": {"may": True}}
    assert made["accounts"]["a2"]["accountCapabilities"] == {CORE: {}, "x:data": {"may": False}}
    assert made["accounts"]["a2"]["isReadOnly"]
    assert made["capabilities"]["x:push"] == {"url": "wss://x"}
    assert made["primaryAccounts"] == {CORE: "a1", "x:data": "a1"}


def test_without_a_personal_account_nothing_is_primary() -> None:
    assert session(SHARED)["primaryAccounts"] == {}


def test_urls_are_absolute() -> None:
    made = session(OWN)
    for name in ("apiUrl", "downloadUrl", "uploadUrl", "eventSourceUrl"):
        assert made[name].startswith("https://x/jmap/")
    assert "{blobId}" in made["downloadUrl"]


def test_the_state_moves_with_the_session_only() -> None:
    assert session(OWN)["state"] == session(OWN)["state"]
    assert session(OWN)["state"] != session(OWN, SHARED)["state"]
    assert session(OWN)["state"] != session(OWN, url="https://y")["state"]


def test_an_account_may_say_what_no_other_says() -> None:
    own = msgspec.structs.replace(OWN, capabilities={"x:push": {"me": "u1"}, "x:other": {}})
    made = session(own, SHARED)
    assert made["accounts"]["a1"]["accountCapabilities"]["x:push"] == {"me": "u1"}
    assert "x:push" not in made["accounts"]["a2"]["accountCapabilities"]
    assert made["primaryAccounts"] == {CORE: "a1", "x:data": "a1", "x:push": "a1"}
