"""PushSubscription/get and /set (RFC 8620 section 7.2) over PostgreSQL: of one credential each."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import asyncpg
import msgspec
from msgspec import field

from services.dispatcher.methods.arguments import read_arguments
from services.dispatcher.methods.get import requested_ids
from services.dispatcher.methods.push_subscription import (
    Creation,
    Held,
    PushGetArguments,
    PushSetArguments,
    Terms,
    check_requested,
    read_creation,
    read_update,
    refused_creation,
    shown,
)
from services.dispatcher.registry import Answers, Call, Method
from services.dispatcher.settings import PushRules
from shared.bus.control import ControlMessage
from shared.jmap.envelope import Arguments
from shared.jmap.errors import MethodError, SetError, SetRejectedError
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.session import CORE, CoreLimits
from shared.log.subjects import STREAM
from shared.store.credentials import hold_credential
from shared.store.ids import new_id
from shared.store.pool import Connection
from shared.store.push_subscriptions import (
    NewPushSubscription,
    StoredPushSubscription,
    delete_push_subscriptions,
    hold_creations,
    insert_push_subscription,
    lock_push_subscriptions,
    mark_code_given,
    read_push_subscriptions,
    spend_creations,
    update_push_subscription,
)
from shared.store.vapid_keys import hold_active_vapid_key
from shared.web_push.endpoint_secrets import Endpoint, unseal_endpoint
from shared.web_push.sealing import UnsealError, Vault

_CODE_BYTES = 24

_log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[ControlMessage], Awaitable[None]]
"""Tells all processes, after the commit; never raises."""


class PushSubscriptionMethods:
    """`key_met` is told, within the call, which VAPID key a new subscription was made under."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        vault: Vault,
        limits: CoreLimits,
        *,
        rules: PushRules,
        tell: Tell,
        key_met: Callable[[str], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._limits = limits
        self._exemptions = rules.policy.exemptions
        self._most = rules.limits
        self._tell = tell
        self._key_met = key_met

    def methods(self) -> list[Method]:
        return [
            Method(name="PushSubscription/get", capability=CORE, handle=self._get),
            Method(name="PushSubscription/set", capability=CORE, handle=self._set),
        ]

    async def _get(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, PushGetArguments)
        check_requested(arguments.properties)
        ids = requested_ids(arguments, call.created_ids, self._limits.max_objects_in_get)
        stored = await read_push_subscriptions(self._pool, call.credential.id, ids)
        if len(stored) > self._limits.max_objects_in_get:
            raise MethodError("requestTooLarge", "Too many subscriptions: name ids.")
        found = {item.id: shown(self._held(item), arguments.properties) for item in stored}
        ordered = list(found) if ids is None else [item for item in ids if item in found]
        answer: Arguments = {
            "list": list[JsonValue](found[item] for item in ordered),
            "notFound": list[JsonValue](item for item in ids or () if item not in found),
        }
        return [("PushSubscription/get", answer)]

    async def _set(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, PushSetArguments)
        objects_max = self._limits.max_objects_in_set
        if arguments.object_count > objects_max:
            raise MethodError("requestTooLarge", f"More than {objects_max} objects.")
        outcome = _Outcome(created_ids=dict(call.created_ids))
        async with self._pool.acquire() as connection, connection.transaction():
            if arguments.create:
                await self._create(connection, call, arguments.create, outcome)
            await self._change(connection, call, arguments, outcome)
        call.created_ids.update(outcome.created_ids)
        if outcome.vapid_key_id is not None:
            await self._key_met(outcome.vapid_key_id)
        if outcome.is_due:
            await self._tell(ControlMessage(webhooks_due=True))
        if outcome.destroyed:
            await self._tell(ControlMessage(subscriptions_ended=outcome.destroyed))
        return [("PushSubscription/set", outcome.answer())]

    async def _create(
        self,
        connection: Connection,
        call: Call,
        create: Mapping[str, JsonObject],
        outcome: "_Outcome",
    ) -> None:
        terms, wanted = _terms(call), dict[str, Creation]()
        for key, given in create.items():
            try:
                wanted[key] = read_creation(key, given, terms, self._exemptions)
            except SetRejectedError as rejected:
                outcome.not_created[key] = rejected.error
        if not wanted:
            return
        if not await hold_credential(connection, call.credential):
            raise MethodError("forbidden", "The credential has ended.")
        per_hour = self._most.creations_per_hour
        room = await hold_creations(connection, call.user_id, per_hour=per_hour)
        outcome.vapid_key_id = await hold_active_vapid_key(connection)
        made = 0
        for key, creation in wanted.items():
            refused = refused_creation(
                held=room.held + made,
                held_max=self._most.subscriptions_max,
                allowance=room.allowance - made,
            )
            if refused is not None:
                outcome.not_created[key] = refused
                continue
            made += 1
            new = _new(call, creation, outcome.vapid_key_id)
            await insert_push_subscription(connection, self._vault, new, stream=STREAM)
            outcome.created[key] = {"id": new.id, **creation.answer}
            outcome.created_ids[key] = new.id
        await spend_creations(connection, call.user_id, made)
        outcome.is_due = made > 0

    async def _change(
        self, connection: Connection, call: Call, arguments: PushSetArguments, outcome: "_Outcome"
    ) -> None:
        """Updates and destroys, with all rows locked that they name."""
        update, destroy = arguments.update or {}, list(dict.fromkeys(arguments.destroy or ()))
        wanted = {outcome.id_of(key) for key in (*update, *destroy)}
        if not wanted:
            return
        stored = await lock_push_subscriptions(connection, call.credential.id, wanted)
        held = {item.id: self._held(item) for item in stored}
        doomed = {outcome.id_of(key) for key in destroy}
        for key, patch in update.items():
            found = held.get(outcome.id_of(key))
            if found is None:
                outcome.not_updated[key] = SetError(type="notFound")
            elif found.id in doomed:
                outcome.not_updated[key] = SetError(type="willDestroy")
            else:
                await _update(connection, key, found, (patch, _terms(call)), outcome)
        gone = await delete_push_subscriptions(
            connection, doomed & held.keys(), because="destroyed"
        )
        for key in destroy:
            if outcome.id_of(key) in gone:
                outcome.destroyed.append(outcome.id_of(key))
            else:
                outcome.not_destroyed[key] = SetError(type="notFound")

    def _held(self, stored: StoredPushSubscription) -> Held:
        return Held(
            id=stored.id,
            device_client_id=stored.device_client_id,
            code=self._code(stored),
            is_code_given=stored.is_code_given,
            expires_at=stored.expires_at,
            types=stored.types,
        )

    def _code(self, stored: StoredPushSubscription) -> str | None:
        try:
            key = self._vault.unwrap(stored.wrapped, stored.id)
            return unseal_endpoint(key, stored.id, stored.sealed).code
        except UnsealError:  # TIDINGS_SECRET_KEY is another one now
            _log.warning("push_subscription_unreadable", extra={"subscription": stored.id})
            return None


class _Outcome(msgspec.Struct, kw_only=True):
    """What a /set call did so far; `is_due`: the deliverer has something to do."""

    created_ids: dict[str, str]
    created: dict[str, JsonObject] = field(default_factory=dict)
    updated: dict[str, JsonObject | None] = field(default_factory=dict)
    destroyed: list[str] = field(default_factory=list)
    not_created: dict[str, SetError] = field(default_factory=dict)
    not_updated: dict[str, SetError] = field(default_factory=dict)
    not_destroyed: dict[str, SetError] = field(default_factory=dict)
    vapid_key_id: str | None = None
    is_due: bool = False

    def id_of(self, key: str) -> str:
        """Of what a client named by its id, or by `#` and its creation id."""
        return self.created_ids.get(key[1:], key) if key.startswith("#") else key

    def answer(self) -> JsonObject:
        return {
            "created": msgspec.to_builtins(self.created) or None,
            "updated": msgspec.to_builtins(self.updated) or None,
            "destroyed": msgspec.to_builtins(self.destroyed) or None,
            "notCreated": msgspec.to_builtins(self.not_created) or None,
            "notUpdated": msgspec.to_builtins(self.not_updated) or None,
            "notDestroyed": msgspec.to_builtins(self.not_destroyed) or None,
        }


async def _update(
    connection: Connection, key: str, held: Held, patch: tuple[JsonObject, Terms], outcome: _Outcome
) -> None:
    try:
        update = read_update(held, *patch)
    except SetRejectedError as rejected:
        outcome.not_updated[key] = rejected.error
        return
    life = update.lifetime
    await update_push_subscription(
        connection,
        held.id,
        types=update.types,
        lifetime=None if life is None else (life.expires_at, life.ends_at),
    )
    if update.is_code_right and await mark_code_given(connection, held.id):
        outcome.is_due = True
    outcome.updated[outcome.id_of(key)] = update.answer or None


def _terms(call: Call) -> Terms:
    return Terms(now=call.now, credential_ends_at=call.credential.expires_at)


def _new(call: Call, creation: Creation, vapid_key_id: str) -> NewPushSubscription:
    keys, credential = creation.keys, call.credential
    return NewPushSubscription(
        id=new_id("p"),
        user_id=credential.user_id,
        credential_id=credential.id,
        token_id=credential.id if credential.is_kept else None,
        device_client_id=creation.device_client_id,
        vapid_key_id=vapid_key_id,
        origin=creation.origin,
        endpoint=Endpoint(
            url=creation.url,
            p256dh=None if keys is None else keys.p256dh,
            auth=None if keys is None else keys.auth,
            code=secrets.token_urlsafe(_CODE_BYTES),
        ),
        types=creation.types,
        expires_at=creation.lifetime.expires_at,
        ends_at=creation.lifetime.ends_at,
    )
