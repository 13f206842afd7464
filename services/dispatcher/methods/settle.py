"""The second half of /set: drop what other records forbid, then answer and write the rest."""

from collections.abc import Mapping

import msgspec
from msgspec import field

from services.dispatcher.methods.declaration import Container, DeclaredType, DefaultFlag
from services.dispatcher.methods.paths import strings_at
from services.dispatcher.methods.set import Draft, Drafts, held_ids
from shared.jmap.errors import SetError
from shared.jmap.i_json import JsonObject


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says about the drafts' surroundings."""

    existing: Mapping[str, frozenset[str]]  # type -> those of the referenced ids that exist
    holders: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(unique property, value) -> the record that has it now."""
    filled: frozenset[str] = frozenset()  # containers, to be destroyed, that have members
    blobs: Mapping[str, bool] = field(default_factory=dict)
    """Referenced blob that the user may use -> whether it is an image."""
    users: frozenset[str] = frozenset()  # those of the users to share with that exist
    records: frozenset[str] = frozenset()
    """All of the type, when a draft shares them."""


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A record to be stored; `stored` None: destroyed."""

    record_id: str
    is_create: bool
    before: JsonObject | None
    stored: JsonObject | None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a /set call but for its states."""

    created: dict[str, JsonObject]
    updated: dict[str, JsonObject | None]
    destroyed: list[str]
    not_created: dict[str, SetError]
    not_updated: dict[str, SetError]
    not_destroyed: dict[str, SetError]
    writes: list[Write]
    created_ids: dict[str, str]
    shares: Mapping[str, str] | None = None  # with whom the account is shared now, if it changed

    @property
    def is_clean(self) -> bool:
        return not (self.not_created or self.not_updated or self.not_destroyed)


def unique_values(declared: DeclaredType, drafts: list[Draft]) -> list[tuple[str, str]]:
    """(property, value) of everything that would be written and has to be unique."""
    return [
        (name, value)
        for draft in drafts
        if draft.is_write
        for name, value in _unique_of(declared, draft.stored)
    ]


def referenced_ids(declared: DeclaredType, drafts: list[Draft]) -> dict[str, set[str]]:
    """Type -> ids that the drafts refer to."""
    wanted: dict[str, set[str]] = {}
    for draft in drafts:
        for name, type_ in declared.references.items():
            wanted.setdefault(type_, set()).update(held_ids((draft.stored or {}).get(name)))
    return wanted


def settle(declared: DeclaredType, drafts: Drafts, known: Known) -> Settled:
    """Each record stands or falls alone; what refers to a fallen one falls too."""
    standing = list(drafts.drafts)
    settled = Settled(
        created={},
        updated={},
        destroyed=[],
        not_created=dict(drafts.not_created),
        not_updated=dict(drafts.not_updated),
        not_destroyed=dict(drafts.not_destroyed),
        writes=[],
        created_ids={},
    )
    while fallen := _fallen(declared, standing, known):
        for index, error in fallen.items():
            _errors_for(settled, standing[index])[standing[index].key] = error
        standing = [draft for index, draft in enumerate(standing) if index not in fallen]
    for draft in standing:
        _accept(settled, draft)
    shares = next((draft.shares for draft in standing if draft.shares is not None), None)
    return msgspec.structs.replace(settled, shares=shares)


def _accept(settled: Settled, draft: Draft) -> None:
    if draft.is_create:
        settled.created[draft.key] = draft.answer
        settled.created_ids[draft.key] = draft.record_id
    elif draft.stored is None:
        settled.destroyed.append(draft.record_id)
    else:
        settled.updated[draft.record_id] = draft.answer or None
    if draft.is_write:
        settled.writes.append(
            Write(
                record_id=draft.record_id,
                is_create=draft.is_create,
                before=draft.before,
                stored=draft.stored,
            )
        )


def _errors_for(settled: Settled, draft: Draft) -> dict[str, SetError]:
    if draft.is_create:
        return settled.not_created
    return settled.not_destroyed if draft.stored is None else settled.not_updated


def _fallen(declared: DeclaredType, standing: list[Draft], known: Known) -> dict[int, SetError]:
    """Index -> why it cannot stand beside the others."""
    created = {draft.record_id for draft in standing if draft.is_create}
    destroyed = {draft.record_id for draft in standing if draft.stored is None}
    taken = _taken(declared, standing, known)
    is_even = _is_shared_evenly(standing, (known.records | created) - destroyed)
    fallen: dict[int, SetError] = {}
    for index, draft in enumerate(standing):
        error = _broken_reference(declared, draft, known, (created, destroyed))
        error = error or _duplicate(declared, draft, taken)
        error = error or _wrong_blob(declared, draft, known)
        error = error or _wrong_share(declared, draft, known, is_even=is_even)
        if declared.container is not None and draft.stored is None:
            error = _still_filled(declared.container, draft, known)
        if error is not None:
            fallen[index] = error
    return fallen


def _broken_reference(
    declared: DeclaredType, draft: Draft, known: Known, own: tuple[set[str], set[str]]
) -> SetError | None:
    created, destroyed = own
    wrong = []
    for name, type_ in declared.references.items():
        existing = known.existing.get(type_, frozenset[str]())
        if type_ == declared.name:
            existing = (existing | created) - destroyed
        if not existing.issuperset(held_ids((draft.stored or {}).get(name))):
            wrong.append(name)
    if not wrong or not draft.is_write:
        return None
    description = "It refers to a record that does not exist."
    return SetError(type="invalidProperties", description=description, properties=wrong)


def _wrong_blob(declared: DeclaredType, draft: Draft, known: Known) -> SetError | None:
    if declared.blobs is None or draft.stored is None or not draft.is_write:
        return None
    wanted = set(strings_at(draft.stored, declared.blobs))
    missing = sorted(wanted - set(known.blobs))
    if missing:
        return SetError(
            type="invalidProperties",
            description="There is no such blob.",
            properties=[declared.blobs.split("/")[0]],
            not_found=missing,
        )
    images = strings_at(draft.stored, declared.images) if declared.images else []
    if all(known.blobs[blob_id] for blob_id in images):
        return None
    return SetError(
        type="invalidProperties",
        description="A photo is an image.",
        properties=[declared.blobs.split("/")[0]],
    )


def _is_shared_evenly(standing: list[Draft], record_ids: frozenset[str] | set[str]) -> bool:
    """Whether every record that will be there is given the same, by name: no guess is made."""
    given = {draft.record_id: draft.shares for draft in standing if draft.shares is not None}
    first = next(iter(given.values()), None)
    return first is None or all(given.get(record_id) == first for record_id in record_ids)


def _wrong_share(
    declared: DeclaredType, draft: Draft, known: Known, *, is_even: bool
) -> SetError | None:
    if declared.sharing is None or draft.shares is None:
        return None
    name = declared.sharing.property
    unknown = sorted(set(draft.shares) - known.users)
    if unknown:
        return SetError(
            type="invalidProperties",
            description=f"{name}: there is no Principal {', '.join(unknown[:5])}.",
            properties=[name],
        )
    if is_even:
        return None
    return SetError(
        type="forbidden",
        description=(
            f"An account is shared as a whole: give every {declared.name} that the account will"
            f" have the same {name}, in one {declared.name}/set."
        ),
    )


def _taken(
    declared: DeclaredType, standing: list[Draft], known: Known
) -> dict[tuple[str, str], str]:
    """(property, value) -> the record that has it after the call; the first one wins."""
    written = {draft.record_id for draft in standing if draft.is_write}
    taken = {value: holder for value, holder in known.holders.items() if holder not in written}
    for draft in standing:
        for value in _unique_of(declared, draft.stored):
            taken.setdefault(value, draft.record_id)
    return taken


def _duplicate(
    declared: DeclaredType, draft: Draft, taken: Mapping[tuple[str, str], str]
) -> SetError | None:
    for name, value in _unique_of(declared, draft.stored):
        holder = taken[name, value]
        if holder != draft.record_id:
            return SetError(
                type="invalidProperties",
                description=f"{name}: another record has it.",
                properties=[name],
                existing_id=holder,
            )
    return None


def _still_filled(container: Container, draft: Draft, known: Known) -> SetError | None:
    return SetError(type=container.error) if draft.record_id in known.filled else None


def _unique_of(declared: DeclaredType, stored: JsonObject | None) -> list[tuple[str, str]]:
    if stored is None:
        return []
    return [
        (item.name, value)
        for item in declared.properties.values()
        if item.rule.unique and isinstance(value := stored.get(item.name), str)
    ]


def move_default(
    flag: DefaultFlag, records: Mapping[str, JsonObject], wanted: str | None
) -> dict[str, bool]:
    """Record -> its new flag, for those whose flag changes.

    `records` are all that the account will have. Exactly one of them is the default: the wanted
    one if it exists, else the one that is, else the first by sort order and name.
    """
    if not records:
        return {}
    current = [record_id for record_id, record in records.items() if record.get(flag.property)]
    if wanted is not None and wanted in records:
        chosen = wanted
    elif current:
        chosen = current[0]
    else:
        chosen = min(records, key=lambda record_id: _rank(record_id, records[record_id]))
    changes = {record_id: False for record_id in current if record_id != chosen}
    if chosen not in current:
        changes[chosen] = True
    return changes


def _rank(record_id: str, record: JsonObject) -> tuple[int, str, str]:
    order = record.get("sortOrder")
    return order if isinstance(order, int) else 0, str(record.get("name")), record_id
