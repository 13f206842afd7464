"""JSContact (RFC 9553) as far as a server checks it: what a known property may hold.

Properties that are not named here are kept as they come, at every level: a later RFC or a vendor
may define them. Enumerations are open in RFC 9553, so they are strings.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from services.dispatcher.methods.declaration import IdText, Rule, UnsignedInt, UtcDate, Yes
from shared.jmap.i_json import JsonObject, JsonValue

_Text: TypeAlias = str | UnsetType
_Date: TypeAlias = UtcDate | UnsetType
_Language: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*$")]
_Set: TypeAlias = dict[str, Yes] | UnsetType
_Contexts: TypeAlias = dict[Annotated[str, Meta(min_length=1)], Yes] | UnsetType
_Preference: TypeAlias = Annotated[int, Meta(ge=1, le=100)] | UnsetType
_NonEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What most objects of a card may have (sections 1.3.1 and 1.5)."""

    contexts: _Contexts = UNSET
    pref: _Preference = UNSET
    label: _Text = UNSET


class _NameComponent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["NameComponent"] | UnsetType = field(default=UNSET, name="@type")
    value: str
    kind: str
    phonetic: _Text = UNSET


class _Name(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Name"] | UnsetType = field(default=UNSET, name="@type")
    components: list[_NameComponent] | UnsetType = UNSET
    is_ordered: bool | UnsetType = UNSET
    default_separator: _Text = UNSET
    full: _Text = UNSET
    sort_as: dict[str, str] | UnsetType = UNSET
    phonetic_script: _Text = UNSET
    phonetic_system: _Text = UNSET


class _Nickname(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Nickname"] | UnsetType = field(default=UNSET, name="@type")
    name: str


class _OrgUnit(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["OrgUnit"] | UnsetType = field(default=UNSET, name="@type")
    name: str
    sort_as: _Text = UNSET


class _Organization(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Organization"] | UnsetType = field(default=UNSET, name="@type")
    name: _Text = UNSET
    units: list[_OrgUnit] | UnsetType = UNSET
    sort_as: _Text = UNSET


class _Pronouns(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Pronouns"] | UnsetType = field(default=UNSET, name="@type")
    pronouns: str


class _SpeakToAs(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["SpeakToAs"] | UnsetType = field(default=UNSET, name="@type")
    grammatical_gender: _Text = UNSET
    pronouns: dict[IdText, _Pronouns] | UnsetType = UNSET


class _Title(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Title"] | UnsetType = field(default=UNSET, name="@type")
    name: str
    kind: _Text = UNSET
    organization_id: IdText | UnsetType = UNSET


class _EmailAddress(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["EmailAddress"] | UnsetType = field(default=UNSET, name="@type")
    address: _NonEmpty


class _OnlineService(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["OnlineService"] | UnsetType = field(default=UNSET, name="@type")
    service: _Text = UNSET
    uri: _Text = UNSET
    user: _Text = UNSET


class _Phone(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Phone"] | UnsetType = field(default=UNSET, name="@type")
    number: _NonEmpty
    features: _Set = UNSET


class _LanguagePref(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["LanguagePref"] | UnsetType = field(default=UNSET, name="@type")
    language: _Language


class _SchedulingAddress(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["SchedulingAddress"] | UnsetType = field(default=UNSET, name="@type")
    uri: _NonEmpty


class _AddressComponent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["AddressComponent"] | UnsetType = field(default=UNSET, name="@type")
    value: str
    kind: str
    phonetic: _Text = UNSET


class _Address(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Address"] | UnsetType = field(default=UNSET, name="@type")
    components: list[_AddressComponent] | UnsetType = UNSET
    is_ordered: bool | UnsetType = UNSET
    country_code: _Text = UNSET
    coordinates: _Text = UNSET
    time_zone: _Text = UNSET
    full: _Text = UNSET
    default_separator: _Text = UNSET
    phonetic_script: _Text = UNSET
    phonetic_system: _Text = UNSET


class _Resource(_Part, frozen=True, kw_only=True, rename="camel"):
    """Section 1.4.4; `@type` and `kind` depend on where it stands."""

    type_: _Text = field(default=UNSET, name="@type")
    kind: _Text = UNSET
    uri: _NonEmpty
    media_type: _Text = UNSET


class _Directory(_Resource, frozen=True, kw_only=True, rename="camel"):
    list_as: Annotated[int, Meta(ge=1)] | UnsetType = UNSET


class _Media(_Part, frozen=True, kw_only=True, rename="camel"):
    """With `blobId` in the place of `uri` (RFC 9610 section 3)."""

    type_: Literal["Media"] | UnsetType = field(default=UNSET, name="@type")
    kind: str
    uri: _NonEmpty | UnsetType = UNSET
    blob_id: IdText | UnsetType = UNSET
    media_type: _Text = UNSET

    def __post_init__(self) -> None:
        if self.uri is UNSET and self.blob_id is UNSET:
            raise ValueError("A Media object has a uri or a blobId")


class _Anniversary(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Anniversary"] | UnsetType = field(default=UNSET, name="@type")
    kind: str
    date: JsonObject  # PartialDate or Timestamp
    place: _Address | UnsetType = UNSET

    def __post_init__(self) -> None:
        shape = _Timestamp if self.date.get("@type") == "Timestamp" else _PartialDate
        msgspec.convert(self.date, shape)


class _PartialDate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["PartialDate"] | UnsetType = field(default=UNSET, name="@type")
    year: UnsignedInt | UnsetType = UNSET
    month: Annotated[int, Meta(ge=1, le=12)] | UnsetType = UNSET
    day: Annotated[int, Meta(ge=1, le=31)] | UnsetType = UNSET
    calendar_scale: _Text = UNSET


class _Timestamp(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Timestamp"] = field(name="@type")
    utc: str


class _Author(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Author"] | UnsetType = field(default=UNSET, name="@type")
    name: _Text = UNSET
    uri: _Text = UNSET


class _Note(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Note"] | UnsetType = field(default=UNSET, name="@type")
    note: str
    created: _Date = UNSET
    author: _Author | UnsetType = UNSET


class _PersonalInfo(_Part, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["PersonalInfo"] | UnsetType = field(default=UNSET, name="@type")
    kind: str
    value: str
    level: _Text = UNSET
    list_as: Annotated[int, Meta(ge=1)] | UnsetType = UNSET


class _Relation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    type_: Literal["Relation"] | UnsetType = field(default=UNSET, name="@type")
    relation: _Set = UNSET


class Card(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Section 2. `@type`, `version` and `uid` are filled in when they are left out."""

    type_: Literal["Card"] = field(default="Card", name="@type")
    version: Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+$")] = "1.0"
    created: _Date = UNSET
    kind: _NonEmpty | UnsetType = UNSET
    language: _Language | UnsetType = UNSET
    members: _Set = UNSET
    prod_id: _Text = UNSET
    related_to: dict[str, _Relation] | UnsetType = UNSET
    uid: Annotated[_NonEmpty | UnsetType, Rule(unique=True)] = UNSET
    updated: _Date = UNSET

    name: _Name | UnsetType = UNSET
    nicknames: dict[IdText, _Nickname] | UnsetType = UNSET
    organizations: dict[IdText, _Organization] | UnsetType = UNSET
    speak_to_as: _SpeakToAs | UnsetType = UNSET
    titles: dict[IdText, _Title] | UnsetType = UNSET

    emails: dict[IdText, _EmailAddress] | UnsetType = UNSET
    online_services: dict[IdText, _OnlineService] | UnsetType = UNSET
    phones: dict[IdText, _Phone] | UnsetType = UNSET
    preferred_languages: dict[IdText, _LanguagePref] | UnsetType = UNSET

    calendars: dict[IdText, _Resource] | UnsetType = UNSET
    scheduling_addresses: dict[IdText, _SchedulingAddress] | UnsetType = UNSET

    addresses: dict[IdText, _Address] | UnsetType = UNSET

    crypto_keys: dict[IdText, _Resource] | UnsetType = UNSET
    directories: dict[IdText, _Directory] | UnsetType = UNSET
    links: dict[IdText, _Resource] | UnsetType = UNSET
    media: dict[IdText, _Media] | UnsetType = UNSET

    localizations: dict[_Language, dict[str, JsonValue]] | UnsetType = UNSET

    anniversaries: dict[IdText, _Anniversary] | UnsetType = UNSET
    keywords: _Set = UNSET
    notes: dict[IdText, _Note] | UnsetType = UNSET
    personal_info: dict[IdText, _PersonalInfo] | UnsetType = UNSET
