"""PushSubscription (RFC 8620 section 7.2): what may be created, changed and shown."""

import hmac
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from services.dispatcher.methods.declaration import (
    Rule,
    UtcDate,
    invalid_value,
    properties_of,
)
from shared.jmap.errors import (
    MethodError,
    SetError,
    SetRejectedError,
    invalid_arguments,
    invalid_properties,
)
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import is_id, moment_of, utc_date
from shared.jmap.patch import apply_patch, touched_properties
from shared.web_push.address_policy import Exemptions
from shared.web_push.endpoint import Endpoint, EndpointError, parse_endpoint
from shared.web_push.subscription_keys import (
    SubscriptionKeyError,
    SubscriptionKeys,
    parse_subscription_keys,
)

EXPIRES_DEFAULT = timedelta(days=7)
EXPIRES_MAX = timedelta(days=30)  # section 7.2: at least 48 hours, and should be 7 days
TYPES_MAX = 256

HIDDEN = frozenset({"url", "keys"})
"""Set once, never returned."""

TypeName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,254}$")]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """In base64url."""

    p256dh: str
    auth: str


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As a client writes it. No `types` at all means every type; an empty list means none."""

    device_client_id: Annotated[str, Meta(min_length=1, max_length=255), Rule(immutable=True)]
    url: Annotated[str, Rule(immutable=True)]
    keys: Annotated[Keys | None, Rule(immutable=True)] = None
    verification_code: str | None = None
    expires: UtcDate | None = None
    types: Annotated[list[TypeName], Meta(max_length=TYPES_MAX)] | None = None


PROPERTIES = properties_of(PushSubscription)
_DEFAULTS: dict[str, JsonValue] = {
    "keys": None,
    "verificationCode": None,
    "expires": None,
    "types": None,
}


class PushGetArguments(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Section 7.2.1: as any /get, without an account."""

    ids: list[str] | None = None
    properties: list[str] | None = None


class PushSetArguments(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Section 7.2.2: as any /set, without an account and without states."""

    create: dict[str, JsonObject] | None = None
    update: dict[str, JsonObject] | None = None
    destroy: list[str] | None = None

    @property
    def object_count(self) -> int:
        return len(self.create or ()) + len(self.update or ()) + len(self.destroy or ())


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a subscription: the credential's own end, where it has one."""

    now: datetime
    credential_ends_at: datetime | None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that is there. `code` is the right one, or None where it cannot be read."""

    id: str
    device_client_id: str
    code: str | None
    is_code_given: bool  # the client has sent it back
    expires_at: datetime | None
    types: list[str] | None

    def shown(self) -> JsonObject:
        types: JsonValue = None if self.types is None else list[JsonValue](self.types)
        return {
            "id": self.id,
            "deviceClientId": self.device_client_id,
            "verificationCode": self.code if self.is_code_given else None,
            "expires": _date(self.expires_at),
            "types": types,
        }

    def __repr__(self) -> str:
        return f"Held({self.id})"


class Lifetime(msgspec.Struct, frozen=True):
    """What the client is told, and when nothing is sent any more."""

    expires_at: datetime | None
    ends_at: datetime


class Creation(msgspec.Struct, frozen=True, kw_only=True):
    """One to be made; `answer` is what the client has to be told but for the id."""

    device_client_id: str
    url: str
    origin: str
    keys: SubscriptionKeys | None
    types: list[str] | None
    lifetime: Lifetime
    answer: JsonObject


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """`lifetime` None: as it was. `is_code_right`: the right code was given."""

    types: list[str] | None
    lifetime: Lifetime | None
    is_code_right: bool
    answer: JsonObject


def check_requested(properties: Sequence[str] | None) -> None:
    """Raises MethodError: forbidden for what is never shown, invalidArguments."""
    names = frozenset(properties or ())
    if names & HIDDEN:
        raise MethodError("forbidden", "url and keys are never returned.")
    unknown = sorted(names - PROPERTIES.keys() - {"id"})
    if unknown:
        raise invalid_arguments(
            f"PushSubscription has no property {', '.join(map(repr, unknown[:5]))}.", "properties"
        )


def shown(held: Held, properties: Collection[str] | None) -> JsonObject:
    """The id always, else what was asked for; None: all that may be shown."""
    return {
        name: value
        for name, value in held.shown().items()
        if properties is None or name == "id" or name in properties
    }


def read_creation(key: str, given: JsonObject, terms: Terms, exemptions: Exemptions) -> Creation:
    """Raises SetRejectedError, which names all that is wrong."""
    if not is_id(key):
        raise invalid_properties("A creation id is an Id.")
    _check_names(given)
    record = {**_DEFAULTS, **given}
    wrong = _wrong_values(record, PROPERTIES.keys())
    if "id" in given:
        wrong["id"] = "Only the server sets the id."
    if "verificationCode" not in wrong and record["verificationCode"] is not None:
        wrong["verificationCode"] = "The server makes the code."
    endpoint = _endpoint(record.get("url"), exemptions, wrong)
    keys = _keys(record["keys"], wrong)
    lifetime = _lifetime(record["expires"], terms, wrong)
    if wrong or endpoint is None or lifetime is None:
        raise _invalid(wrong)
    answer: JsonObject = {name: None for name in _DEFAULTS if name not in given}
    answer |= _unlike(given, "expires", _date(lifetime.expires_at))
    return Creation(
        device_client_id=str(record["deviceClientId"]),
        url=str(record["url"]),
        origin=endpoint.origin,
        keys=keys,
        types=_names(record["types"]),
        lifetime=lifetime,
        answer=answer,
    )


def read_update(held: Held, patch: JsonObject, terms: Terms) -> Update:
    """Raises SetRejectedError."""
    touched = touched_properties(patch)
    _check_names(touched)
    if fixed := touched & HIDDEN:
        raise invalid_properties("It cannot be changed: create another one.", *fixed)
    before = held.shown()
    after = apply_patch(before, patch, defaults=_DEFAULTS)
    changed = {name for name in touched if after.get(name) != before[name]}
    wrong = _wrong_values(after, changed)
    wrong |= {name: "It cannot be changed." for name in ("id", "deviceClientId") if name in changed}
    is_code_right = False
    if "verificationCode" in changed and "verificationCode" not in wrong:
        is_code_right = _is_right(after["verificationCode"], held.code)
        if not is_code_right:
            wrong["verificationCode"] = "This is not the code that was pushed."
    lifetime = None
    if "expires" in touched:
        lifetime = _lifetime(after["expires"], terms, wrong)
    if wrong:
        raise _invalid(wrong)
    return Update(
        types=_names(after["types"]),
        lifetime=lifetime,
        is_code_right=is_code_right,
        answer={} if lifetime is None else _unlike(patch, "expires", _date(lifetime.expires_at)),
    )


def refused_creation(*, held: int, held_max: int, allowance: int) -> SetError | None:
    """Why one more cannot be made; `allowance` is how many more may be made just now."""
    if held >= held_max:
        return SetError(type="overQuota", description=f"A user has {held_max} at most.")
    if allowance < 1:
        return SetError(type="rateLimit", description="Too many were made lately: try again later.")
    return None


def _check_names(names: Collection[str]) -> None:
    unknown = [name for name in names if name != "id" and name not in PROPERTIES]
    if unknown:
        raise invalid_properties("There is no such property.", *unknown)


def _wrong_values(record: JsonObject, names: Collection[str]) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for item in PROPERTIES.values():
        if item.name not in names:
            continue
        if item.name not in record:
            wrong[item.name] = f"{item.name}: required"
        elif why := invalid_value(item, record[item.name]):
            wrong[item.name] = why
    return wrong


def _endpoint(value: JsonValue, exemptions: Exemptions, wrong: dict[str, str]) -> Endpoint | None:
    """None: it is, or was, named in `wrong`. So do the two below."""
    if "url" in wrong:
        return None
    try:
        return parse_endpoint(str(value), exemptions)
    except EndpointError as error:
        wrong["url"] = str(error)
        return None


def _keys(value: JsonValue, wrong: dict[str, str]) -> SubscriptionKeys | None:
    if "keys" in wrong or value is None:
        return None
    keys = msgspec.convert(value, Keys)
    try:
        return parse_subscription_keys(keys.p256dh, keys.auth)
    except SubscriptionKeyError as error:
        wrong["keys"] = str(error)
        return None


def _lifetime(asked: JsonValue, terms: Terms, wrong: dict[str, str]) -> Lifetime | None:
    """A credential with an end of its own ends its subscriptions, and bounds nothing else."""
    if "expires" in wrong:
        return None
    expires_at = None if asked is None else moment_of(str(asked)).replace(microsecond=0)
    if expires_at is not None and expires_at <= terms.now:
        wrong["expires"] = "expires is in the past."
        return None
    if terms.credential_ends_at is not None:
        ends_at = terms.credential_ends_at
        return Lifetime(expires_at, ends_at if expires_at is None else min(expires_at, ends_at))
    now = terms.now.replace(microsecond=0)
    expires_at = now + EXPIRES_DEFAULT if expires_at is None else min(expires_at, now + EXPIRES_MAX)
    return Lifetime(expires_at, expires_at)


def _is_right(given: JsonValue, code: str | None) -> bool:
    return code is not None and hmac.compare_digest(str(given).encode(), code.encode())


def _invalid(wrong: Mapping[str, str]) -> SetRejectedError:
    return invalid_properties(" ".join(wrong.values())[:1000], *wrong)


def _names(types: JsonValue) -> list[str] | None:
    return [str(name) for name in types] if isinstance(types, list) else None


def _unlike(given: JsonObject, name: str, value: JsonValue) -> JsonObject:
    return {} if name in given and given[name] == value else {name: value}


def _date(moment: datetime | None) -> str | None:
    return None if moment is None else utc_date(moment)
