"""New ids: 100 random bits, so they never meet."""

import secrets

from shared.jmap.ids import Id, id_from

_ENTROPY_BYTES = 13


def new_id(prefix: str) -> Id:
    """`prefix` is the letter of the kind: u user, a account, t token, or a data type's own."""
    return id_from(prefix, secrets.token_bytes(_ENTROPY_BYTES))
