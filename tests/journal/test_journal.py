"""The journal on a real PostgreSQL: only added to, open to a second reader, installed by many at once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder

from bels.audit.stock import datastore_of
from bels.domain.account import nobody, replay
from bels.intake import Intake
from bels.journal.codec import MAPPER
from bels.journal.entry import Entry
from bels.journal.journal import (
    RULEBOOK,
    accounts,
    appended,
    find_parked,
    install,
    next_accounts,
    read,
    read_between,
    read_page,
    read_rules_stream,
)
from bels.journal.write import run
from bels.messages import Message
from bels.projections import overview, usage
from bels.projections.project import install_views, retell, views_are_told
from bels.publishing import publish_demonstration
from tests.domain.vectors import vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import audit, feed, message, numbers, open_household, reading, today, views


@pytest.fixture
async def empty(database: str) -> str:
    """Give the URL of a database in which nothing is installed."""
    db = await asyncpg.connect(database)
    await db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await db.close()
    return database


async def test_the_stock_library_reads_our_journal_and_folds_the_same_accounts(
    pool: asyncpg.Pool, database: str
) -> None:
    told = vectors("billing")[:12]
    named = dict(zip(numbers(1_000_000, len(told)), told, strict=True))
    async with Intake(pool, DEFAULT_RULEBOOK, today).running() as intake:
        await asyncio.gather(*(feed(intake, vector, number) for number, vector in named.items()))
        folded = {number: await intake.account(number) for number in named}
    ours = await pool.fetch(
        "SELECT originator_id, originator_version, topic, state, notification_id FROM journal ORDER BY notification_id"
    )

    def read_as_a_stranger() -> tuple[dict[str, list[StoredEvent]], list[StoredEvent]]:
        with datastore_of(database) as datastore:
            recorder = PostgresApplicationRecorder(datastore, events_table_name="journal")
            events = {number: list(recorder.select_events(number)) for number in named}
            noted = list(recorder.select_notifications(start=None, limit=10_000))
        return events, [StoredEvent(n.originator_id, n.originator_version, n.topic, n.state) for n in noted]

    events, notified = await asyncio.to_thread(read_as_a_stranger)

    assert notified == [StoredEvent(*tuple(row)[:4]) for row in ours]
    assert sum(len(rows) for rows in events.values()) == len(ours) > 90
    for number, rows in events.items():
        entries = [MAPPER.to_domain_event(row) for row in rows]
        assert entries == await read_all(pool, number)
        assert replay(nobody(number), (entry.event for entry in entries)) == folded[number]


async def read_all(pool: asyncpg.Pool, account: str) -> list[Entry]:
    async with pool.acquire() as db:
        return await read(db, {account: 0})


async def test_every_entry_is_json_that_sql_can_question(pool: asyncpg.Pool, intake: Intake) -> None:
    odd = reading("1000000", "sms 2", 'сто "кВт" \\u0000 🙂\n')
    await intake.handle([*open_household("1000000"), reading("1000000", "sms 1", 185), odd])

    rows = await pool.fetch(
        "SELECT topic, convert_from(state, 'UTF8')::jsonb -> 'event' ->> 'period' AS period,"
        " convert_from(state, 'UTF8')::jsonb #>> '{event,values,total}' AS value FROM journal ORDER BY 1"
    )

    assert [tuple(row) for row in rows] == [
        ("account-opened.1", None, None),
        ("meter-installed.1", "2024-01", "0"),
        ("reading-accepted.1", "2024-01", "185"),
        ("reading-refused.1", None, '*** "***" \\u0000 🙂\n'),
    ]


@pytest.mark.parametrize("table", ["journal", "message"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
async def test_nobody_changes_what_was_recorded(pool: asyncpg.Pool, intake: Intake, table: str, change: str) -> None:
    await intake.handle(open_household("1000000"))
    column = {"journal": "topic", "message": "raw"}[table]
    before = await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")

    with pytest.raises(asyncpg.RaiseError, match="only added to"):
        await pool.execute(change.format(table, column, column))

    assert await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") == before


async def test_a_version_is_taken_once(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    entries = await read_all(pool, "1000000")

    async with pool.acquire() as db:
        with pytest.raises(asyncpg.UniqueViolationError):
            await run(db, appended(entries[-1:], {}, {entries[-1].receipt: b""}))

    assert await read_all(pool, "1000000") == entries


async def test_a_page_of_entries_runs_both_ways_between_two_versions(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading("1000000", f"sms {n}", 100 + n) for n in range(4)]
    await intake.handle([*open_household("1000000"), *open_household("1000001"), *sent])
    entries = await read_all(pool, "1000000")

    async with pool.acquire() as db:
        assert await read_page(db, "1000000", 0, None, 100, backward=False) == entries
        assert await read_page(db, "1000000", 0, None, 100, backward=True) == entries[::-1]
        assert await read_page(db, "1000000", 2, 6, 2, backward=False) == entries[2:4]
        assert await read_page(db, "1000000", 2, 6, 2, backward=True) == [entries[4], entries[3]]
        assert await read_page(db, "1000000", len(entries), None, 5, backward=False) == []
        assert await read(db, {"1000000": 3, "1000001": 1, "9999999": 0}) == [
            *entries[3:],
            *(await read(db, {"1000001": 0}))[1:],
        ]


async def test_of_a_long_history_only_what_is_asked_for_is_read(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = [reading("1000000", f"sms {n}", 100 + n) for n in range(4)]
    await intake.handle([*open_household("1000000"), *open_household("1000001"), *sent])
    one, other = await read_all(pool, "1000000"), await read_all(pool, "1000001")

    async with pool.acquire() as db:
        assert await read_between(db, [("1000000", 2, 3), ("1000001", 1, 1)]) == [*one[1:3], other[0]]
        assert await read_between(db, [("1000000", 3, 2), ("1000000", len(one) + 1, 99), ("1000002", 1, 9)]) == []


async def test_all_accounts_are_listed_once_however_long_their_journals(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 23)
    await intake.handle([m for number in named for m in open_household(number)])
    await intake.handle([reading(named[4], f"sms {n}", 100 + n) for n in range(30)])

    async with pool.acquire() as db:
        for chunk in (1, 7, 23, 1000):
            listed = [part async for part in accounts(db, chunk)]
            assert [number for part in listed for number in part] == named
            assert max(len(part) for part in listed) == min(chunk, 23)
        assert await next_accounts(db, named[20], 10) == named[21:]


async def test_parked_messages_of_one_moment_are_not_lost_between_two_pages(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    for n in range(3):
        await intake.handle([reading("1000000", f"poison {n}.{i}", "\x00") for i in range(2)])

    listed = []
    after = None
    async with pool.acquire() as db:
        while page := await find_parked(db, after, 1):
            listed += page
            after = (page[-1].recorded_at, page[-1].receipt)

    assert sorted(m.message_id for m in listed) == [f"poison {n}.{i}" for n in range(3) for i in range(2)]
    assert [m.recorded_at for m in listed] == sorted(m.recorded_at for m in listed)


async def test_a_publication_is_decoded_once_and_anew_where_other_bytes_are_stored(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await publish_demonstration(pool, intake)
    async with pool.acquire() as db:
        first, again = await read_rules_stream(db), await read_rules_stream(db)
        assert first == await read(db, {RULEBOOK: 0})
        assert [entry is other for entry, other in zip(first, again, strict=True)] == [True] * len(first)

        await db.execute("SET session_replication_role = replica")
        await db.execute("UPDATE journal SET state = state || ' '::bytea WHERE originator_id = $1", RULEBOOK)
        await db.execute("RESET session_replication_role")
        changed = await read_rules_stream(db)
    assert changed == first
    assert not any(entry is other for entry, other in zip(first, changed, strict=True))


async def test_processes_that_start_together_install_one_journal(empty: str) -> None:
    async def start() -> tuple[str, ...]:
        db = await asyncpg.connect(empty)
        try:
            await install(db)
            return await install_views(db)
        finally:
            await db.close()

    started = await asyncio.gather(*(start() for _ in range(4)))
    again = await start()

    assert sorted(map(len, started))[:3] == [0, 0, 0]
    assert again == ()


async def test_a_process_may_start_while_others_write(pool: asyncpg.Pool, database: str) -> None:
    # A writer takes message before journal: an installation in the other order would be a deadlock.
    named = numbers(1_000_000, 4)
    done = asyncio.Event()

    async def write(intake: Intake, number: str) -> int:
        sent = 0
        while not done.is_set():
            sent += 1
            await intake.submit(reading(number, f"sms {number} {sent}", 100 + sent % 50))
        return sent

    async def start() -> None:
        db = await asyncpg.connect(database)
        try:
            for _ in range(25):
                await install(db)
                assert await install_views(db) == ()
        finally:
            await db.close()

    async with Intake(pool, DEFAULT_RULEBOOK).running() as intake:
        await intake.handle([m for number in named for m in open_household(number)])
        writing = [asyncio.create_task(write(intake, number)) for number in named]
        try:
            await asyncio.gather(start(), start())
        finally:
            done.set()
        sent = sum(await asyncio.gather(*writing))

    assert await audit(pool) >= sent
    assert await pool.fetchval("SELECT count(*) FROM message") == sent + 2 * len(named)
    assert await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_a_view_that_is_defined_otherwise_is_made_anew_and_told_from_the_journal(
    pool: asyncpg.Pool, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Message] = [*open_household("1000000"), reading("1000000", "sms 1", 185)]
    await intake.handle(told)
    before = await views(pool)

    monkeypatch.setattr(usage, "TABLE", usage.TABLE + "CREATE INDEX recalculation_idx ON recalculation (posted_in);")
    monkeypatch.setattr(overview, "TABLE", overview.TABLE + "-- another shape")
    async with pool.acquire() as db:
        await install(db)
        assert await install_views(db) == ("overview", "usage")
        # Until it is told it stays stale, also for the next process.
        assert await install_views(db) == ("overview", "usage")
        assert await db.fetchval("SELECT count(*) FROM overview") == 0
        await retell(db, ["1000000"], DEFAULT_RULEBOOK)
        await views_are_told(db)
        assert await install_views(db) == ()

    assert await views(pool) == before
    repeated = await intake.handle([message("1000000", m.command, m.message_id, m.raw) for m in told[:2]])
    assert all(outcome.repeated for outcome in repeated)
