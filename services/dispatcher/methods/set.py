"""/set (RFC 8620 section 5.3) in two halves around one look into the database.

`draft` turns arguments into the changes that the records themselves allow; `settle` drops those
that other records forbid. What remains is written and answered.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from msgspec import field

from services.dispatcher.methods.arguments import SetArguments
from services.dispatcher.methods.declaration import (
    Change,
    DeclaredType,
    Viewer,
    invalid_value,
)
from shared.jmap.errors import SetError, SetRejectedError, invalid_properties
from shared.jmap.i_json import JsonObject, JsonValue, encode_json
from shared.jmap.ids import is_id
from shared.jmap.patch import apply_patch, touched_properties

RECORD_BYTES_MAX = 1_000_000


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """One create, update or destroy that its own record allows.

    `key` is what the client called it. `stored` is None for a destroy; `answer` is what the
    client has to be told beyond what it asked for. `shares` is with whom the account shall be
    shared from now on (user -> role), None: as before.
    """

    key: str
    record_id: str
    is_create: bool = False
    before: JsonObject | None = None  # as stored
    stored: JsonObject | None = None
    answer: JsonObject = field(default_factory=dict)
    shares: Mapping[str, str] | None = None

    @property
    def is_write(self) -> bool:
        """Sharing is not stored in the record, but seen in it."""
        return self.stored is None or self.shares is not None or not same(self.stored, self.before)


class Drafts(msgspec.Struct, frozen=True, kw_only=True):
    """All of one /set call, in the order creates, updates, destroys."""

    drafts: list[Draft]
    not_created: dict[str, SetError]
    not_updated: dict[str, SetError]
    not_destroyed: dict[str, SetError]
    created_ids: dict[str, str]


_deterministic = msgspec.json.Encoder(order="deterministic")


def same(first: object, second: object) -> bool:
    """Equal as JSON: 1 is not true."""
    return _deterministic.encode(first) == _deterministic.encode(second)


def wanted_ids(arguments: SetArguments, created_ids: Mapping[str, str]) -> list[str]:
    """The existing records that `draft` needs to see."""
    keys = [*(arguments.update or ()), *(arguments.destroy or ())]
    return [_resolved(key, created_ids) for key in keys]


class Drafter:
    """Walks through one call; `records` holds what is stored, by id."""

    def __init__(
        self,
        declared: DeclaredType,
        records: Mapping[str, JsonObject],
        *,
        viewer: Viewer,
        created_ids: Mapping[str, str],
        new_id: Callable[[], str],
    ) -> None:
        self._declared = declared
        self._records = records
        self._viewer = viewer
        self._new_id = new_id
        self._done = Drafts(
            drafts=[],
            not_created={},
            not_updated={},
            not_destroyed={},
            created_ids=dict(created_ids),
        )

    def draft(self, arguments: SetArguments) -> Drafts:
        done = self._done
        for key, given in self._in_order(arguments.create or {}):
            self._attempt(key, done.not_created, partial(self._create, key, given))
        destroyed = {_resolved(key, done.created_ids) for key in arguments.destroy or ()}
        for key, patch in (arguments.update or {}).items():
            update = partial(self._update, key, patch, destroyed)
            self._attempt(key, done.not_updated, update)
        for key in dict.fromkeys(arguments.destroy or ()):
            self._attempt(key, done.not_destroyed, partial(self._destroy, key))
        return done

    def draft_copies(self, originals: Mapping[str, tuple[JsonObject, JsonObject | None]]) -> Drafts:
        """Creation id -> what goes over the original, and the original if it was found."""
        done = self._done
        for key, (given, original) in originals.items():
            if original is None:
                done.not_created[key] = SetError(type="notFound")
                continue
            copy = partial(self._create, key, given, copied=original)
            self._attempt(key, done.not_created, copy)
        return done

    def _create(self, key: str, given: JsonObject, *, copied: JsonObject | None = None) -> Draft:
        """Raises SetRejectedError. `copied` are a record's properties that `given` goes over."""
        if not is_id(key):
            raise invalid_properties("A creation id is an Id.")
        given = self._with_references(given)
        wanted = given if copied is None else {**copied, **given}
        declared, record_id = self._declared, self._new_id()
        defaults = declared.defaults
        self._check_names(given)
        settable = {
            name: value for name, value in wanted.items() if not _is_server_set(declared, name)
        }
        after = {**defaults, **settable}
        self._check_values(after, set(after))
        change = Change(
            record_id=record_id,
            before=None,
            after=after,
            touched=frozenset(settable),
            viewer=self._viewer,
        )
        stored = self._store(change, None)
        shares, viewer = self._shares(change)
        viewed: JsonObject = {"id": record_id, **declared.view(stored, viewer)}
        wrong = [
            name
            for name in given
            if _is_server_set(declared, name) and not same(given[name], viewed.get(name))
        ]
        if wrong:
            raise invalid_properties("Only the server sets it.", *wrong)
        self._done.created_ids[key] = record_id
        return Draft(
            key=key,
            record_id=record_id,
            is_create=True,
            stored=stored,
            answer=_difference(viewed, wanted),
            shares=shares,
        )

    def _update(self, key: str, patch: JsonObject, destroyed: set[str]) -> Draft:
        record_id, before = self._existing(key)
        if record_id in destroyed:
            raise SetRejectedError(SetError(type="willDestroy"))
        declared = self._declared
        current: JsonObject = {"id": record_id, **declared.view(before, self._viewer)}
        patch = self._with_references(patch)
        patched = apply_patch(current, patch, defaults=declared.defaults)
        touched = touched_properties(patch)
        self._check_names(touched)
        fixed = [name for name in touched if _is_fixed(declared, name)]
        wrong = [name for name in fixed if not same(patched.get(name), current.get(name))]
        if wrong:
            raise invalid_properties("It cannot be changed.", *wrong)
        changed = {name for name in touched if not same(patched.get(name), current.get(name))}
        self._check_values(patched, changed)
        if not changed:
            return Draft(key=key, record_id=record_id, before=before, stored=before)
        patched.pop("id", None)
        current.pop("id")
        change = Change(
            record_id=record_id,
            before=current,
            after=patched,
            touched=frozenset(touched),
            viewer=self._viewer,
        )
        stored = self._store(change, before)
        shares, viewer = self._shares(change)
        return Draft(
            key=key,
            record_id=record_id,
            before=before,
            stored=stored,
            answer=_difference(declared.view(stored, viewer), patched),
            shares=shares,
        )

    def _destroy(self, key: str) -> Draft:
        record_id, before = self._existing(key)
        return Draft(key=key, record_id=record_id, before=before)

    def _attempt(self, key: str, errors: dict[str, SetError], make: Callable[[], Draft]) -> None:
        try:
            self._done.drafts.append(make())
        except SetRejectedError as rejected:
            errors[key] = rejected.error

    def _existing(self, key: str) -> tuple[str, JsonObject]:
        record_id = _resolved(key, self._done.created_ids)
        if record_id not in self._records:
            raise SetRejectedError(SetError(type="notFound"))
        return record_id, self._records[record_id]

    def _store(self, change: Change, before: JsonObject | None) -> JsonObject:
        refused = self._declared.refuse(change)
        if refused is not None:
            raise SetRejectedError(refused)
        stored = self._declared.store(change, before)
        size = len(encode_json(stored))
        if size > RECORD_BYTES_MAX:
            raise SetRejectedError(
                SetError(type="tooLarge", description=f"More than {RECORD_BYTES_MAX} octets.")
            )
        return stored

    def _shares(self, change: Change) -> tuple[Mapping[str, str] | None, Viewer]:
        """With whom the change would share the account, and the viewer once it did."""
        sharing, viewer = self._declared.sharing, self._viewer
        if sharing is None or sharing.property not in change.touched:
            return None, viewer
        shares = sharing.roles(change.after[sharing.property])
        if shares == viewer.shares:
            return None, viewer
        return shares, msgspec.structs.replace(viewer, shares=shares)

    def _check_names(self, names: Iterable[str]) -> None:
        if self._declared.keeps_unknown:
            return
        known = self._declared.properties
        unknown = [name for name in names if name != "id" and name not in known]
        if unknown:
            raise invalid_properties("There is no such property.", *unknown)

    def _check_values(self, record: JsonObject, names: set[str]) -> None:
        """All wrong properties at once, as section 5.3 asks."""
        wrong: dict[str, str] = {}
        for item in self._declared.properties.values():
            if item.name not in record:
                if item.is_required:
                    wrong[item.name] = f"{item.name}: required"
            elif item.name in names and (why := invalid_value(item, record[item.name])):
                wrong[item.name] = why
        if wrong:
            raise invalid_properties(" ".join(wrong.values())[:1000], *wrong)

    def _with_references(self, given: JsonObject) -> JsonObject:
        """`#creationId` replaced by the id, where the declaration says that ids stand."""
        references = self._declared.references
        if not any(path.split("/", 1)[0] in references for path in given):
            return given
        return dict(
            self._resolved_member(path, value)
            if path.split("/", 1)[0] in references
            else (path, value)
            for path, value in given.items()
        )

    def _resolved_member(self, path: str, value: JsonValue) -> tuple[str, JsonValue]:
        name, *inside = path.split("/")
        created_ids = self._done.created_ids
        tokens = [_resolved(token, created_ids) for token in inside]
        if isinstance(value, dict):
            value = {_resolved(key, created_ids): item for key, item in value.items()}
        elif isinstance(value, str):
            value = _resolved(value, created_ids)
        left = [*tokens, *(value if isinstance(value, dict) else [value])]
        if any(isinstance(item, str) and item.startswith("#") for item in left):
            raise invalid_properties("A creation id that was not created.", name)
        return "/".join([name, *tokens]), value

    def _in_order(self, creates: Mapping[str, JsonObject]) -> Iterable[tuple[str, JsonObject]]:
        """A record before those that refer to it, else as given."""
        own = [name for name, type_ in self._declared.references.items() if type_ == self._name]
        waiting = dict(creates) if own else {}
        while waiting:
            ready = [key for key in waiting if not _refers_to(waiting[key], own, waiting)]
            for key in ready or list(waiting):  # in a circle: they fail one by one
                yield key, waiting.pop(key)
        if not own:
            yield from creates.items()

    @property
    def _name(self) -> str:
        return self._declared.name


def _refers_to(given: JsonObject, properties: list[str], keys: Iterable[str]) -> bool:
    wanted = {f"#{key}" for key in keys}
    held = (given.get(name) for name in properties)
    return any(not wanted.isdisjoint(held_ids(value)) for value in held)


def held_ids(value: JsonValue) -> list[str]:
    """The ids in an Id or Id[Boolean]."""
    if isinstance(value, dict):
        return list(value)
    return [value] if isinstance(value, str) else []


def _resolved(key: str, created_ids: Mapping[str, str]) -> str:
    return created_ids.get(key[1:], key) if key.startswith("#") else key


def _is_server_set(declared: DeclaredType, name: str) -> bool:
    item = declared.properties.get(name)
    return name == "id" or (item is not None and item.rule.server_set)


def _is_fixed(declared: DeclaredType, name: str) -> bool:
    item = declared.properties.get(name)
    return _is_server_set(declared, name) or (item is not None and item.rule.immutable)


def _difference(viewed: JsonObject, asked: JsonObject) -> JsonObject:
    """What the client could not know: properties that are not as it asked for them."""
    return {
        name: value
        for name, value in viewed.items()
        if name not in asked or not same(value, asked[name])
    }
