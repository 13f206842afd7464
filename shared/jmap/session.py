"""The Session object (RFC 8620 section 2)."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import field

from shared.jmap.i_json import JsonObject, JsonValue, encode_json

CORE = "urn:ietf:params:jmap:core"


class CoreLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The core capability; every number is enforced."""

    max_size_upload: int = 50_000_000  # octets
    max_concurrent_upload: int = 4  # per user
    max_size_request: int = 10_000_000  # octets
    max_concurrent_requests: int = 4  # per user
    max_calls_in_request: int = 16
    max_objects_in_get: int = 500
    max_objects_in_set: int = 500
    collation_algorithms: tuple[str, ...] = ("i;ascii-casemap", "i;unicode-casemap")


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """A capability as the session shows it; `account` is None when no account has it."""

    urn: str
    session: JsonObject
    account: JsonObject | None = None
    account_read_only: JsonObject | None = None
    """In place of `account` where the user may not write."""


class SessionAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account that the user may see."""

    id: str
    name: str
    is_personal: bool
    is_read_only: bool
    capabilities: JsonObject = field(default_factory=dict)  # that say something of it alone


def session_object(
    user_name: str,
    accounts: Sequence[SessionAccount],
    capabilities: Sequence[Capability],
    public_url: str,
) -> JsonObject:
    """The session; its `state` is a digest of all the rest, so it moves only with it."""
    session: JsonObject = {
        "capabilities": {item.urn: item.session for item in capabilities},
        "accounts": {account.id: account_object(account, capabilities) for account in accounts},
        "primaryAccounts": _primary_accounts(accounts, capabilities),
        "username": user_name,
        **_urls(public_url.rstrip("/")),
    }
    digest = hashlib.sha256(encode_json(session)).hexdigest()[:24]
    return {**session, "state": digest}


def account_object(account: SessionAccount, capabilities: Sequence[Capability]) -> JsonObject:
    """As the session has it under the account's id."""
    usable: JsonObject = {}
    for item in capabilities:
        read_only = item.account if item.account_read_only is None else item.account_read_only
        shown = read_only if account.is_read_only else item.account
        if shown is not None:
            usable[item.urn] = shown
    return {
        "name": account.name,
        "isPersonal": account.is_personal,
        "isReadOnly": account.is_read_only,
        "accountCapabilities": {**usable, **account.capabilities},
    }


def _primary_accounts(
    accounts: Sequence[SessionAccount], capabilities: Sequence[Capability]
) -> JsonObject:
    """The personal account for everything.

    The RFC would leave core out; a widely used client (jmapc) refuses a session without it.
    """
    personal = next((account for account in accounts if account.is_personal), None)
    if personal is None:
        return {}
    return {
        item.urn: personal.id
        for item in capabilities
        if item.account is not None or item.urn in personal.capabilities
    }


def _urls(public_url: str) -> Mapping[str, JsonValue]:
    return {
        "apiUrl": f"{public_url}/jmap/api",
        "downloadUrl": public_url + "/jmap/download/{accountId}/{blobId}/{name}?type={type}",
        "uploadUrl": public_url + "/jmap/upload/{accountId}/",
        "eventSourceUrl": public_url
        + "/jmap/eventsource?types={types}&closeafter={closeafter}&ping={ping}",
    }
