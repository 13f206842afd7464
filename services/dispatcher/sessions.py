"""The Session of each user (RFC 8620 section 2), kept for as long as a credential is."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

import asyncpg
import msgspec

from services.dispatcher.capabilities import Capabilities
from services.dispatcher.types.principals import principal_capabilities
from shared.bus.control import ControlMessage
from shared.http.authentication import CACHE_SECONDS
from shared.jmap.i_json import JsonObject, encode_json
from shared.jmap.session import SessionAccount, account_object, session_object
from shared.runtime.clock import Clock
from shared.store.credentials import Credential
from shared.store.people import VisibleAccount, visible_accounts

_USERS_MAX = 10_000


class UserSession(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may use now; `body` is the Session object as JSON.

    `accounts` has also those that the session leaves out, as nothing in them is subscribed to.
    """

    accounts: Mapping[str, VisibleAccount]
    state: str
    body: bytes
    until: float  # monotonic seconds
    version: int  # of the capabilities


class Sessions:
    """Makes sessions; a change of grants is seen at once, or when its message was lost, soon.

    A change of capabilities in this process is seen at once.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        capabilities: Capabilities,
        public_url: str,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._capabilities = capabilities
        self._public_url = public_url
        self._clock = clock
        self._cache: OrderedDict[str, UserSession] = OrderedDict()
        self._generation = 0

    async def session_of(self, credential: Credential) -> UserSession:
        now = self._clock.monotonic()
        cached = self._cache.get(credential.user_id)
        version = self._capabilities.version
        if cached is not None and cached.until > now and cached.version == version:
            return cached
        generation = self._generation
        accounts = await visible_accounts(self._pool, credential.user_id)
        made = self._session(credential, accounts, now + CACHE_SECONDS)
        if generation == self._generation:
            self._cache.pop(credential.user_id, None)
            self._cache[credential.user_id] = made
            while len(self._cache) > _USERS_MAX:
                self._cache.popitem(last=False)
        return made

    def receive_control(self, message: ControlMessage) -> None:
        """For `listen_control`."""
        if message.grants_changed is not None:
            self._generation += 1
            self._cache.pop(message.grants_changed, None)

    def account_objects(self, user_id: str, accounts: Collection[VisibleAccount]) -> JsonObject:
        """All of a user's accounts as the session shows an account, by id."""
        capabilities = self._capabilities.current()
        return {
            account.id: account_object(account, capabilities)
            for account in _session_accounts(user_id, accounts)
        }

    def _session(
        self, credential: Credential, accounts: Sequence[VisibleAccount], until: float
    ) -> UserSession:
        followed = {account.id for account in accounts if account.is_followed}
        shown = [
            account
            for account in _session_accounts(credential.user_id, accounts)
            if account.id in followed
        ]
        session: JsonObject = session_object(
            credential.user_name, shown, self._capabilities.current(), self._public_url
        )
        return UserSession(
            accounts={account.id: account for account in accounts},
            state=str(session["state"]),
            body=encode_json(session),
            until=until,
            version=self._capabilities.version,
        )


def _session_accounts(user_id: str, accounts: Collection[VisibleAccount]) -> list[SessionAccount]:
    home = next((account.id for account in accounts if account.is_personal), None)
    return [
        SessionAccount(
            id=account.id,
            name=account.name,
            is_personal=account.is_personal,
            is_read_only=account.role == "read",
            capabilities=principal_capabilities(
                user_id,
                home,
                is_home=account.is_personal,
                owner_id=account.owner_id,
            ),
        )
        for account in accounts
    ]
