"""Two dispatchers on one database give exactly the states that one would."""

import asyncio

import pytest

from shared.jmap.ids import modseq_of
from shared.store.credentials import issue_token
from tests.support.dispatcher import JmapClient, running_dispatcher

pytestmark = pytest.mark.integration

WRITERS = 4
ROUNDS = 12


async def _hammer(client: JmapClient, name: str, won: list[tuple[str, str]]) -> None:
    """Add a book in the state that was read, and try again whenever another was quicker."""
    for number in range(ROUNDS):
        while True:
            state = (await client.call("AddressBook/get", ids=[]))["state"]
            arguments = {
                "accountId": client.account_id,
                "ifInState": state,
                "create": {"k": {"name": f"{name} {number}"}},
            }
            answer = await client.answer("AddressBook/set", arguments)
            if answer[0] != "error":
                break
            assert answer[1]["type"] == "stateMismatch"
        assert answer[1]["oldState"] == state
        won.append((state, answer[1]["newState"]))


async def test_conditional_sets_through_two_dispatchers_make_one_chain(postgres_dsn: str) -> None:
    """C-21, C-32: each state is left exactly once, and no change is lost."""
    async with running_dispatcher(postgres_dsn) as one, running_dispatcher(postgres_dsn) as two:
        first = await one.user("ada")
        clients = [first]
        for dispatcher in (two, one, two):
            _, token = await issue_token(one.pool, "ada")
            clients.append(JmapClient(dispatcher.url, token, first.account_id))
        won: list[tuple[str, str]] = []
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients[:WRITERS]):
                tasks.create_task(_hammer(client, f"w{number}", won))
        chain = dict(won)
        assert len(chain) == len(won) == WRITERS * ROUNDS
        state = "s1"
        for _ in won:
            assert modseq_of(chain[state]) == (modseq_of(state) or 0) + 1
            state = chain[state]
        final = await first.call("AddressBook/get")
        assert final["state"] == state
        assert len(final["list"]) == 1 + WRITERS * ROUNDS
        entries = [*one.committed, *two.committed]
        orders = sorted(entry.states["AddressBook"].order for entry in entries)
        assert orders == list(range(2, 2 + WRITERS * ROUNDS))
        for client in clients:
            await client.http.aclose()
