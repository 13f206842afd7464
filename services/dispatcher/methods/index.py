"""What of a record is kept beside it for finding it: values, words, sort keys."""

import msgspec

from services.dispatcher.methods.declaration import DeclaredType, QueryRules
from services.dispatcher.methods.paths import strings_at
from services.dispatcher.methods.query import ASCII_CASEMAP
from services.dispatcher.methods.set import held_ids
from services.dispatcher.methods.text import (
    ascii_casemap,
    date_key,
    searchable,
    unicode_casemap,
    words,
)
from shared.jmap.i_json import JsonObject

BLOB = "blobId"
"""The name under which a record's blobs are indexed, whatever its type calls them."""


class IndexEntry(msgspec.Struct, frozen=True):
    """`values` are (name, value) pairs; `sort` and `search` are for the columns of these names."""

    values: frozenset[tuple[str, str]]
    sort: dict[str, str]
    search: dict[str, str]


def index_entry(declared: DeclaredType, stored: JsonObject) -> IndexEntry:
    values = set(indexed_values(declared, stored))
    values.update((BLOB, blob_id) for blob_id in blob_ids(declared, stored))
    rules = declared.query
    if rules is None:
        return IndexEntry(frozenset(values), {}, {})
    for name, path in rules.values.items():
        values.update((name, value) for value in strings_at(stored, path))
    search = {}
    for name, paths in rules.texts.items():
        texts = [text for path in paths for text in strings_at(stored, path)]
        values.update((name, word) for text in texts for word in words(text))
        if texts:
            search[name] = searchable(texts)
    return IndexEntry(frozenset(values), _sort_keys(rules, stored), search)


def indexed_values(declared: DeclaredType, stored: JsonObject) -> list[tuple[str, str]]:
    """(property, value): references to other records, and values that are unique."""
    found: list[tuple[str, str]] = []
    for item in declared.properties.values():
        value = stored.get(item.name)
        if item.rule.references is not None:
            found.extend((item.name, held) for held in held_ids(value))
        elif item.rule.unique and isinstance(value, str):
            found.append((item.name, value))
    return found


def blob_ids(declared: DeclaredType, stored: JsonObject | None) -> set[str]:
    if declared.blobs is None or stored is None:
        return set()
    return set(strings_at(stored, declared.blobs))


def _sort_keys(rules: QueryRules, stored: JsonObject) -> dict[str, str]:
    """A record without the property comes first."""
    keys: dict[str, str] = {}
    for name, sort in rules.sorts.items():
        first = next(iter(strings_at(stored, sort.path)), "")
        if not sort.is_text:
            keys[name] = date_key(first) if first else ""
            continue
        keys[name] = unicode_casemap(first)
        keys[f"{name};{ASCII_CASEMAP}"] = ascii_casemap(first)
    return keys
