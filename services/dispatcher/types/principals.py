"""urn:ietf:params:jmap:principals (RFC 9670): the users, as those with whom accounts are shared.

A Principal is a user. Each finds those it may see in its own personal account, its "home".
"""

from services.dispatcher.registry import Call
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject
from shared.jmap.session import Capability
from shared.store.people import VisibleAccount

PRINCIPALS = "urn:ietf:params:jmap:principals"
OWNER = "urn:ietf:params:jmap:principals:owner"

CAPABILITY = Capability(urn=PRINCIPALS, session={})


def principal_capabilities(
    user_id: str, home: str | None, *, is_home: bool, owner_id: str | None
) -> JsonObject:
    """What an account says of principals (sections 1.5.1 and 1.5.2) to this user.

    `home` is the account with the Principals, None when the user has none; `owner_id` whom the
    account in hand belongs to, None: to nobody.
    """
    capabilities: JsonObject = {}
    if is_home:
        capabilities[PRINCIPALS] = {"currentUserPrincipalId": user_id}
    if home is not None and owner_id is not None:
        capabilities[OWNER] = {"accountIdForPrincipal": home, "principalId": owner_id}
    return capabilities


def home_of(call: Call, account_id: str) -> VisibleAccount:
    """The account of a method of this capability.

    Raises MethodError: accountNotFound, accountNotSupportedByMethod.
    """
    account = call.account(account_id)
    if not account.is_personal:
        raise MethodError("accountNotSupportedByMethod")
    return account
