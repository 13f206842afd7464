"""What a method is to the processor: a name, the capability that it needs, and a handler."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from shared.jmap.envelope import Arguments
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject
from shared.log.event import Cause
from shared.store.credentials import Credential
from shared.store.people import VisibleAccount

Gone: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when nobody waits for the response of a request any more."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One method call, its references resolved.

    `created_ids` is the request's map (RFC 8620 section 5.3): a handler adds what it created.
    """

    arguments: JsonObject
    call_id: str
    using: Collection[str]
    credential: Credential
    accounts: Mapping[str, VisibleAccount]
    created_ids: dict[str, str]
    cause: Cause
    now: datetime
    gone: Gone | None = None

    @property
    def user_id(self) -> str:
        return self.credential.user_id

    def account(self, account_id: str) -> VisibleAccount:
        """Raises MethodError (accountNotFound), which also hides what the user may not see."""
        account = self.accounts.get(account_id)
        if account is None:
            raise MethodError("accountNotFound")
        return account

    def writable_account(self, account_id: str) -> VisibleAccount:
        account = self.account(account_id)
        if account.role == "read":
            raise MethodError("accountReadOnly")
        return account


Answers: TypeAlias = Sequence[tuple[str, Arguments]]
"""(name, arguments) of each response; a method may give more than one (section 5.4)."""

Handler: TypeAlias = Callable[[Call], Awaitable[Answers]]


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """`capability` must be in the request's `using`, else the method does not exist."""

    name: str
    capability: str
    handle: Handler


Registry: TypeAlias = Mapping[str, Method]


def registry_of(*groups: Sequence[Method]) -> dict[str, Method]:
    return {method.name: method for group in groups for method in group}
