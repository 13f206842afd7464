"""Who may see an account, and which of them hear of its changes."""

import pytest

from shared.store.people import add_user
from tests.integration.services.console.conftest import Operated

pytestmark = pytest.mark.integration


async def test_of_each_grant_is_said_whether_its_user_is_told_of_changes(
    operated: Operated,
) -> None:
    pool = operated.running.everything.pool
    grace, _ = await add_user(pool, f"{operated.name}-grace")
    joan, _ = await add_user(pool, f"{operated.name}-joan")
    for user in (grace, joan):
        await operated.running.grant(operated.account, user, is_told=False)
    await pool.execute(
        "UPDATE grants SET is_subscribed = false WHERE account_id = $1 AND user_id <> $2",
        operated.account,
        joan,
    )

    grants = (await operated.script.get(f"/accounts/{operated.account}"))["grants"]

    assert [(one["userName"], one["role"], one["isTold"]) for one in grants] == [
        (operated.name, "owner", True),
        (f"{operated.name}-grace", "read", False),
        (f"{operated.name}-joan", "read", True),
    ]
