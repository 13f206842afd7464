"""Which values of a record its index entry holds."""

from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.set import held_ids
from shared.jmap.i_json import JsonObject


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
