"""The index of the trail is told after the append, and misses nothing whatever order transactions commit in."""

from __future__ import annotations

import asyncio

import asyncpg

from bels.audit.trail.finding import TrailFilter, find
from bels.audit.trail.row import UNREADABLE
from bels.audit.trail.telling import catch_up, index_trail, told_so_far
from bels.domain.terms import Channel
from bels.intake import Intake
from tests.audit.trail.story import Story, accepted, at, paid, reversed_payment
from tests.supplier import message, open_household, reading

APPEND = (
    "INSERT INTO journal (originator_id, originator_version, topic, state, digest)"
    " SELECT $1, 1, topic, state, digest FROM journal WHERE originator_id = '1000001' AND originator_version = 1"
)


async def numbers(pool: asyncpg.Pool) -> list[str]:
    async with pool.acquire() as db:
        return [found.row.account for found in await find(db, TrailFilter(), None, None, 100)]


async def test_every_entry_of_the_journal_stands_in_the_trail_once(pool: asyncpg.Pool, intake: Intake) -> None:
    for account in ("1000001", "1000002"):
        for each in [*open_household(account), reading(account, f"r {account}", 150)]:
            await intake.submit(each)
    entries = await pool.fetchval("SELECT count(*) FROM journal")

    assert await index_trail(pool) == entries
    assert await index_trail(pool) == 0
    assert await pool.fetchval("SELECT count(*) FROM trail") == entries
    strange = await pool.fetchval(
        "SELECT count(*) FROM journal j FULL JOIN trail t ON t.account = originator_id AND t.entry = originator_version"
        " WHERE t.id IS DISTINCT FROM notification_id OR (convert_from(state, 'UTF8')::json ->> 'recorded_at')::timestamptz"
        "  IS DISTINCT FROM t.recorded_at OR convert_from(state, 'UTF8')::json ->> 'actor' IS DISTINCT FROM t.actor"
    )
    assert strange == 0


async def test_an_identity_that_commits_late_is_not_left_out(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    await story.tell("1000001", at(1, 20), accepted(150))
    async with pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await slow.execute(APPEND, "1000009")
        await story.tell("1000002", at(1, 20), accepted(150))

        # The higher identity is visible and the lower one is not: neither is told, and whoever asks is told how much is missing.
        waiting = await catch_up(pool, wait_s=0.05)
        assert (waiting.mark, waiting.whole_at, waiting.behind) == (0, None, 3)
        assert await numbers(pool) == []
        await late.commit()
    told = await catch_up(pool)
    assert told.behind == 0
    assert sorted(await numbers(pool)) == ["1000001", "1000002", "1000009"]


async def test_whoever_tells_waits_for_a_writer_that_ends_soon(pool: asyncpg.Pool) -> None:
    await Story(pool).tell("1000001", at(1, 20), accepted(150))
    async with pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await slow.execute(APPEND, "1000009")
        telling = asyncio.create_task(catch_up(pool, wait_s=20))
        await asyncio.sleep(0.05)
        assert not telling.done()
        await late.commit()
        assert (await telling).mark == 2


async def test_a_writer_that_gives_up_holds_nobody_for_ever(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    await story.tell("1000001", at(1, 20), accepted(150))
    async with pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await slow.execute(APPEND, "1000009")
        await late.rollback()
    await story.tell("1000002", at(1, 20), accepted(150))
    told = await catch_up(pool)
    assert (told.mark, told.behind) == (3, 0)
    assert sorted(await numbers(pool)) == ["1000001", "1000002"]


async def test_a_long_reader_does_not_hold_the_trail_back(pool: asyncpg.Pool) -> None:
    await Story(pool).tell("1000001", at(1, 20), accepted(150))
    async with pool.acquire() as backup, backup.transaction(isolation="repeatable_read"):
        assert await backup.fetchval("SELECT count(*) FROM journal") == 1
        assert (await catch_up(pool, wait_s=0.05)).behind == 0


async def test_far_behind_it_is_told_page_by_page_and_goes_on_where_it_stopped(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    for day in range(1, 12):
        await story.tell("1000001", at(1, day), accepted(150))
    first = await catch_up(pool, pages_max=2, page=3)
    assert (first.mark, first.behind, first.whole_at) == (6, 5, None)
    last = await catch_up(pool, pages_max=5, page=3)
    assert (last.mark, last.behind) == (11, 0)
    assert last.whole_at is not None
    assert await pool.fetchval("SELECT count(*) FROM trail") == 11


async def test_two_that_tell_at_once_tell_everything_once(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    for day in range(1, 21):
        await story.tell("1000001", at(1, day), accepted(150))
    await asyncio.gather(*(catch_up(pool, pages_max=20, page=2) for _ in range(4)))
    assert (await catch_up(pool)).behind == 0
    assert await pool.fetchval("SELECT count(*) FROM trail") == 20


async def test_an_entry_that_cannot_be_read_hides_no_other_and_is_told_when_it_can(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    await story.tell("1000001", at(1, 20), accepted(150))
    await pool.execute(APPEND.replace("SELECT $1, 1, topic", "SELECT $1, 1, 'reading-dreamt.1'"), "1000009")
    await story.tell("1000002", at(1, 21), accepted(150))
    await story.told()
    async with pool.acquire() as db:
        found = await find(db, TrailFilter(kinds=(UNREADABLE,)), None, None, 10)
        assert [(each.row.account, each.told) for each in found] == [("1000009", None)]
    assert len(await numbers(pool)) == 3

    await pool.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    await pool.execute("UPDATE journal SET topic = 'reading-accepted.1' WHERE originator_id = '1000009'")
    await index_trail(pool)
    assert await pool.fetchval("SELECT kind FROM trail WHERE account = '1000009'") == "ReadingAccepted"


async def test_the_trail_says_sums_kilowatt_hours_and_what_an_entry_takes_back(pool: asyncpg.Pool) -> None:
    story = Story(pool)
    payment = await story.tell("1000001", at(1, 20), paid("250.00"), "partner:c-1", Channel.BANK)
    await story.tell("1000001", at(1, 21), reversed_payment(payment, "250.00"))
    await story.tell("1000001", at(1, 22), accepted(150, "2026-02"), "sms:5f", Channel.SMS)
    await story.told()
    rows = await pool.fetch("SELECT kind, channel, period, amount::text, kwh, refers FROM trail ORDER BY entry")
    assert [tuple(row) for row in rows] == [
        ("PaymentReceived", "bank", None, "250.00", None, None),
        ("PaymentReversed", "office", None, "250.00", None, 1),
        ("ReadingAccepted", "sms", "2026-02", None, 150, None),
    ]


async def test_nothing_personal_stands_in_the_trail(pool: asyncpg.Pool, intake: Intake) -> None:
    for each in open_household("1000001"):
        await intake.submit(each)
    said = message("1000001", reading("1000001", "x", 5).command, "named", "Иванова Анна, +79161234567")
    await intake.submit(said)
    await index_trail(pool)
    text = str(await pool.fetch("SELECT * FROM trail"))
    assert "Иванова" not in text
    assert "9161234567" not in text


async def test_how_far_it_goes_is_known_before_anything_was_written(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        assert (await told_so_far(db)).behind == 0
    assert (await catch_up(pool)).whole_at is not None
