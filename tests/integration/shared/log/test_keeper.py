"""A stream that was lost, put back or half rebuilt is noticed and made whole from PostgreSQL."""

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from shared.bus.connection import BusUnavailableError, open_bus
from shared.bus.inbox import Inbox
from shared.bus.jetstream import JetStream, StreamInfo
from shared.bus.publisher import Publisher
from shared.log.event import Cause, OrderedState, changed_since
from shared.log.keeper import LogForeignError, LogKeeper
from shared.log.open_log import open_readable_log, open_writable_log
from shared.log.subjects import STREAM
from shared.log.topology import LogSettings, stream_config
from shared.store.logs import raise_highest_sequence, read_log, start_epoch
from shared.store.outbox import mark_published
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.servers import NatsServer
from tests.support.stress import AT, Reader, open_fan_out, open_writer, whole_log

pytestmark = pytest.mark.integration


async def _account(pool: asyncpg.Pool, account_id: str, order: int) -> dict[str, OrderedState]:
    """What a mutation leaves in PostgreSQL, without its outbox row."""
    await pool.execute(
        "INSERT INTO accounts (id, name, is_personal) VALUES ($1, $1, true) ON CONFLICT DO NOTHING",
        account_id,
    )
    await pool.execute(
        "INSERT INTO type_states VALUES ($1, 'Email', $2, $3)"
        " ON CONFLICT (account_id, type) DO UPDATE SET state = $2, ord = $3",
        account_id,
        f"s{order}",
        order,
    )
    return {"Email": OrderedState(f"s{order}", order)}


async def _states_in_log(url: str, pool: asyncpg.Pool) -> dict[str, dict[str, str]]:
    async with open_readable_log(url, pool, name="test") as log:
        sound = await log.keeper.verify()
        truth = await whole_log(log, sound.last_sequence)
    return {account: changed_since(events[-1], 0) for account, events in truth.items()}


async def _has_leader(url: str) -> None:
    """Until then a cluster answers nothing about streams."""

    async def is_answered() -> bool:
        async with open_bus(url, name="test") as bus:
            try:
                await JetStream(bus).stream_info(STREAM)
            except BusUnavailableError:
                return False
        return True

    await eventually(is_answered, seconds=30)


async def test_the_log_is_made_once_and_then_kept(clean_nats_url: str, postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        async with open_writer(clean_nats_url, pool) as first:
            made = await first.keeper.verify()
        async with open_writer(clean_nats_url, pool) as second:
            found = await second.keeper.verify()
            await second.keeper.apply_topology()

    assert found == made
    assert made.first_sequence == 1


async def test_what_is_appended_while_the_log_is_looked_at_is_no_loss(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """Else a check under load would find more in PostgreSQL than in the stream, and rebuild it."""

    class BusyStream(JetStream):
        """While its answer is on the way, an event comes and is noted."""

        async def stream_info(self, stream: str) -> StreamInfo | None:
            info = await super().stream_info(stream)
            self.count += 1
            states = {"Email": OrderedState(f"s{self.count}", self.count)}
            sequence = await log.appender.append("a1", states, at=AT, cause=Cause())
            await raise_highest_sequence(pool, stream, epoch=epoch, sequence=sequence)
            return info

        count = 0

    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        epoch = await log.guard.epoch()
        publisher = Publisher(Inbox[int](log.bus))  # not to be used: nothing is to be repaired
        keeper = LogKeeper(pool, BusyStream(log.bus), publisher, stream_config(LogSettings()))
        assert (await keeper.verify()).epoch == epoch
        assert (await keeper.require_sound()).epoch == epoch
        assert (await keeper.ensure()).epoch == epoch
        assert (await log.keeper.verify()).epoch == epoch


async def test_the_stream_is_brought_to_its_declaration_once(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool:
        async with open_writer(clean_nats_url, pool) as log:
            made = await log.keeper.verify()
            assert await log.keeper.apply_topology() is False
        chosen = LogSettings(history=8, bytes_max=2**30)
        async with open_writable_log(clean_nats_url, pool, name="test", settings=chosen) as log:
            assert await log.keeper.apply_topology() is True
            assert await log.keeper.apply_topology() is False
            assert await log.keeper.verify() == made
            info = await JetStream(log.bus).stream_info(STREAM)

    assert info is not None
    assert info.config["max_msgs_per_subject"] == 8
    assert info.config["max_bytes"] == 2**30
    assert info.config["discard"] == "new"


@pytest.mark.parametrize("loss", ["deleted", "older copy"])
async def test_a_lost_store_is_rebuilt_above_every_cursor(
    loss: str, fresh_nats: NatsServer, postgres_dsn: str, tmp_path: Path
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(fresh_nats.url, pool) as log:
        before = await log.guard.epoch()
        states = await _account(pool, "a1", 1)
        await log.appender.append("a1", states, at=AT, cause=Cause())
        fresh_nats.stop()
        shutil.copytree(fresh_nats.store_dir, tmp_path / "copy")
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: log.guard.is_sound and log.bus.is_connected, seconds=20)
        states = await _account(pool, "a1", 2)
        sequence = await log.appender.append("a1", states, at=AT, cause=Cause())
        await mark_published(pool, {1: sequence}, stream=STREAM, epoch=before)

        fresh_nats.stop()
        shutil.rmtree(fresh_nats.store_dir)
        if loss == "older copy":
            shutil.copytree(tmp_path / "copy", fresh_nats.store_dir)
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: _epoch_changed(pool, before), seconds=30)
        await eventually(lambda: log.guard.is_sound, seconds=20)

        sound = await log.keeper.verify()
        assert sound.epoch != before
        assert sound.first_sequence > sequence
        assert await _states_in_log(fresh_nats.url, pool) == {"a1": {"Email": "s2"}}


async def test_a_loss_that_only_a_reader_can_know_of_is_noticed(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """The gateway told clients of a sequence whose acknowledgement nobody lived to record."""
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        sound = await log.keeper.verify()
        await log.keeper.verify(seen=sound.last_sequence, seen_epoch=sound.epoch)
        seen = sound.last_sequence + 10

        with pytest.raises(Exception, match="gave out"):
            await log.keeper.verify(seen=seen, seen_epoch=sound.epoch)

        assert (await log.keeper.ensure()).first_sequence > seen


async def test_a_rebuild_that_died_half_way_is_finished(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool:
        await _account(pool, "a1", 5)
        async with open_writable_log(clean_nats_url, pool, name="test") as log:
            sound = await log.keeper.ensure()
            await _account(pool, "a2", 6)
            await pool.execute("UPDATE logs SET is_complete = false")  # died while appending
            again = await log.keeper.ensure()
            assert again.epoch == sound.epoch
            assert (await _states_in_log(clean_nats_url, pool)).keys() == {"a1", "a2"}

            async with pool.acquire() as connection:  # died before the stream was replaced
                await start_epoch(connection, STREAM, epoch="newer", sequence=9_000_000)
            anew = await log.keeper.ensure()
            assert anew.epoch not in (sound.epoch, "newer")
            assert anew.first_sequence > 9_000_000
            record = await read_log(pool, STREAM)
            assert record is not None
            assert record.is_complete


async def test_rebuilders_take_turns(clean_nats_url: str, postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        for n in range(50):
            await _account(pool, f"a{n}", 1)
        async with (
            open_writable_log(clean_nats_url, pool, name="test") as first,
            open_writable_log(clean_nats_url, pool, name="test") as second,
        ):
            one, two = await asyncio.gather(first.keeper.ensure(), second.keeper.ensure())

            assert one.epoch == two.epoch
            assert len(await _states_in_log(clean_nats_url, pool)) == 50


async def test_the_stream_of_another_database_is_left_alone_until_told(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        owned = await log.keeper.verify()
        await pool.execute("DELETE FROM logs")

        with pytest.raises(LogForeignError, match="log rebuild"):
            await log.keeper.ensure()

        taken = await log.keeper.rebuild()
        assert taken.first_sequence > owned.last_sequence


async def test_listeners_of_a_rebuilt_log_are_told_everything_again(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as log,
        open_fan_out(clean_nats_url, pool) as fan_out,
    ):
        await log.appender.append("a1", await _account(pool, "a1", 1), at=AT, cause=Cause())
        reader = Reader(["a1"])
        joined = await fan_out.join(reader, ["a1"], "0")
        assert joined.outcome == "reset"
        await _account(pool, "a1", 2)  # committed, and the log lost before it was appended

        await log.keeper.rebuild()

        await eventually(lambda: reader.known.get(("a1", "Email")) == 2, seconds=15)
        await eventually(lambda: fan_out.is_live)
        assert reader.cursor is not None
        old, late = Reader(["a1"]), Reader(["a1"])
        assert (await fan_out.join(old, ["a1"], joined.cursor)).outcome == "reset"
        assert (await fan_out.join(late, ["a1"], reader.cursor)).changed == {"a1": {"Email": "s2"}}


async def _epoch_changed(pool: asyncpg.Pool, before: str) -> bool:
    record = await read_log(pool, STREAM)
    return record is not None and record.epoch != before and record.is_complete


async def test_a_stream_of_a_cluster_takes_events_as_soon_as_it_was_made(
    three_nats_servers: list[NatsServer], postgres_dsn: str
) -> None:
    """Its leader is elected after the cluster has answered that it is there."""
    url = ",".join(server.url for server in three_nats_servers)
    await _has_leader(url)
    chosen = LogSettings(replicas=3)
    async with open_pool(postgres_dsn) as pool:
        await _account(pool, "a1", 1)
        async with open_writable_log(url, pool, name="test", settings=chosen) as log:
            made = await log.keeper.ensure()
            for _ in range(10):
                last, made = made, await log.keeper.rebuild()
                assert made.first_sequence > last.last_sequence
        assert (await _states_in_log(url, pool)).keys() == {"a1"}
