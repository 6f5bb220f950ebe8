"""Views may be thrown away: told again from the journal they are, row for row, what they were."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from itertools import accumulate, groupby
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bels.domain.commands import MovePaymentOut, ReceivePayment, ReversePayment
from bels.domain.terms import AccountNumber, EntryNumber, Settlement
from bels.intake import Intake
from bels.journal.journal import accounts, read
from bels.journal.write import run
from bels.messages import Message, Outcome
from bels.projections.project import VIEWS, changes_of, retell, told, touched
from tests.domain.lives import Life, live, lives
from tests.domain.vectors import settlement_of, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import (
    TABLES,
    audit,
    feed,
    message,
    numbers,
    open_household,
    reading,
    today,
    told_of,
    views,
)

BILLING = vectors("billing")


async def retell_all(pool: asyncpg.Pool, chunk: int = 7) -> int:
    told = 0
    async with pool.acquire() as db, pool.acquire() as listing:
        async for part in accounts(listing, chunk):
            told += await retell(db, part, DEFAULT_RULEBOOK)
    return told


async def tell_vectors(pool: asyncpg.Pool) -> dict[str, list[Outcome]]:
    """Tell every vector to an account of its own, under its settlement, through a real intake."""
    by_settlement = defaultdict(list)
    for vector, number in zip(BILLING, numbers(2_000_000, len(BILLING)), strict=True):
        by_settlement[settlement_of(vector)].append((vector, number))
    outcomes: dict[str, list[Outcome]] = {}
    for settlement, group in by_settlement.items():
        async with Intake(pool, DEFAULT_RULEBOOK.with_settlement(settlement), today).running() as intake:
            fed = await asyncio.gather(*(_feed_and_pay(intake, vector, number) for vector, number in group))
        outcomes |= dict(zip((number for _, number in group), fed, strict=True))
    return outcomes


async def _feed_and_pay(intake: Intake, vector: dict[str, Any], number: str) -> list[Outcome]:
    """Tell a vector's life, with payments that come and go; one of them is for an account that nobody knows."""
    outcomes = await feed(intake, vector, number)
    at, on = today(), today().date()
    paid = ReceivePayment(Decimal("700.00"), on, at, f"чек {number}")
    for n, to in enumerate((number, number, f"{int(number) + 5_000_000}")):
        brought = replace(message(to, paid, f"{number} payment {n}"), actor="partner:c-bank")
        outcomes.append(await intake.submit(brought))
    booked = [o for o in outcomes[-3:-1] if o.account == number and o.version is not None]
    if booked and booked[0].version is not None:
        reversal = ReversePayment(EntryNumber(booked[0].version), at, "отказ банка")
        outcomes.append(await intake.submit(message(number, reversal, f"{number} reversal")))
    if len(booked) > 1 and booked[1].version is not None:
        move = MovePaymentOut(EntryNumber(booked[1].version), AccountNumber("2000000"), at, "ошибка")
        outcomes.append(await intake.submit(message(number, move, f"{number} move")))
    return outcomes


async def test_every_vector_told_again_from_the_journal_gives_the_same_rows(pool: asyncpg.Pool) -> None:
    outcomes = await tell_vectors(pool)
    live_rows = await views(pool)
    entries = await audit(pool, [o for some in outcomes.values() for o in some])

    assert await retell_all(pool) == entries
    assert await views(pool) == live_rows

    # From nothing, as after an upgrade.
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}")
    await retell_all(pool, 1000)
    assert await views(pool) == live_rows
    assert {table for table, rows in live_rows.items() if len(rows) > 20} == set(TABLES)


async def test_every_table_of_a_view_is_compared_here() -> None:
    assert {table for view in VIEWS for table in view.TABLES} == set(TABLES)


async def test_message_by_message_and_all_at_once_tell_the_same(pool: asyncpg.Pool) -> None:
    # A batch may hold a message or a thousand: where it was cut must leave no trace in the views.
    await tell_vectors(pool)
    whole = await views(pool)
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}")
    async with pool.acquire() as db:
        named = [number async for part in accounts(db, 1000) for number in part]
        by_account = [c.entries for c in changes_of(await read(db, dict.fromkeys(named, 0)))]
        # Where each message of an account ends; the entries of one message are always told together.
        ends = [
            [0, *accumulate(len(list(own)) for _, own in groupby(entries, lambda e: e.receipt))]
            for entries in by_account
        ]
        for size in (1, 5):
            await pool.execute(f"TRUNCATE {', '.join(TABLES)}")
            async with db.transaction():
                for first in range(0, max(map(len, ends)) - 1, size):
                    news = []
                    for entries, cuts in zip(by_account, ends, strict=True):
                        if first < len(cuts) - 1:
                            since, until = cuts[first], cuts[min(first + size, len(cuts) - 1)]
                            (change,) = changes_of(entries[:until])
                            news.append(type(change)(change.account, entries[since:until]))
                    await run(db, *touched(news, DEFAULT_RULEBOOK))
                    await run(db, *told(news, DEFAULT_RULEBOOK))
            assert await views(pool) == whole


async def test_views_told_again_while_messages_are_handled_miss_nothing(pool: asyncpg.Pool) -> None:
    done = asyncio.Event()
    named = numbers(1_000_000, 12)

    async def write(intake: Intake, number: str) -> list[Outcome]:
        # The account is opened, too, while its views are told.
        outcomes = [await intake.submit(m) for m in open_household(number)]
        while not done.is_set():
            n = len(outcomes)
            outcomes.append(await intake.submit(reading(number, f"{number} {n}", 100 + n % 60)))
        return outcomes

    async def tell() -> None:
        async with pool.acquire() as db:
            for _ in range(12):
                for start in range(0, len(named), 4):
                    await retell(db, named[start : start + 4], DEFAULT_RULEBOOK)

    async with (
        Intake(pool, DEFAULT_RULEBOOK).running() as here,
        Intake(pool, DEFAULT_RULEBOOK).running() as there,
    ):
        writing = [asyncio.create_task(write((here, there)[n % 2], number)) for n, number in enumerate(named)]
        try:
            await asyncio.gather(tell(), tell())
        finally:
            done.set()
        written = await asyncio.gather(*writing)

    live_rows = await views(pool)
    await audit(pool, [o for some in written for o in some])
    await retell_all(pool)
    assert await views(pool) == live_rows
    assert len(live_rows["overview"]) == len(named)
    assert await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_telling_an_account_that_is_not_there_leaves_no_row(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    before = await views(pool)

    async with pool.acquire() as db:
        assert await retell(db, ["7654321", "1000000"], DEFAULT_RULEBOOK) == 2
        assert await retell(db, [], DEFAULT_RULEBOOK) == 0

    assert await views(pool) == before


async def test_views_that_were_wrong_are_right_after_they_are_told_again(pool: asyncpg.Pool) -> None:
    await tell_vectors(pool)
    right = await views(pool)
    await pool.execute("UPDATE overview SET situation = 'LOST', version = 10000")
    await pool.execute("UPDATE reading SET status = 'HELD', counted_in = '1999-01'")
    await pool.execute("DELETE FROM usage WHERE period LIKE '%-07'")
    await pool.execute("UPDATE usage SET stands = '{}'")
    await pool.execute("DELETE FROM recalculation")

    await retell_all(pool)

    assert await views(pool) == right


_free = iter(range(3_000_000, 9_000_000, 10))


def messages_of_life(life: Life, number: str) -> list[Message]:
    """Give a life's messages; entries are counted per account, so they are the same for any number."""
    *_, (lived, _) = live(life, DEFAULT_RULEBOOK)
    return [message(number, command, f"{number} {n}") for n, command in enumerate(lived.commands)]


@given(st.tuples(lives(), lives()), st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(1, 9))
@settings(max_examples=25)
async def test_lives_of_households_are_told_the_same_however_they_arrive(
    pool: asyncpg.Pool, two: tuple[Life, Life], turns: list[int], size: int
) -> None:
    first = next(_free)
    apart = [str(first), str(first + 1)]
    mixed = [str(first + 2), str(first + 3)]
    intake = Intake(pool, DEFAULT_RULEBOOK, today)

    # Each life by itself, message by message; then both mixed, in batches.
    for life, number in zip(two, apart, strict=True):
        for sent in messages_of_life(life, number):
            await intake.handle([sent])
    queues = [messages_of_life(life, number) for life, number in zip(two, mixed, strict=True)]
    order: list[Message] = []
    while any(queues):
        for turn in turns:
            queue = queues[turn] or queues[1 - turn]
            if queue:
                order.append(queue.pop(0))
    outcomes = [o for i in range(0, len(order), size) for o in await intake.handle(order[i : i + size])]

    for one, other in zip(apart, mixed, strict=True):
        assert await told_of(pool, one) == await told_of(pool, other)
    rows = await views(pool, *apart, *mixed)
    repeated = await intake.handle(order)
    assert [o.receipt for o in repeated] == [o.receipt for o in outcomes]
    assert [o.events for o in repeated] == [o.events for o in outcomes]
    assert all(o.repeated for o in repeated)
    assert await views(pool, *apart, *mixed) == rows
    async with pool.acquire() as db:
        await retell(db, [*apart, *mixed], DEFAULT_RULEBOOK)
    assert await views(pool, *apart, *mixed) == rows


@pytest.mark.parametrize("settlement", Settlement)
async def test_a_life_lived_under_every_settlement_is_told_the_same_again(
    pool: asyncpg.Pool, settlement: Settlement
) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(settlement)
    async with Intake(pool, rulebook, today).running() as intake:
        await asyncio.gather(*(feed(intake, v, n) for v, n in zip(BILLING, numbers(2_000_000, 77), strict=True)))
    live_rows = await views(pool)

    await retell_all(pool)

    assert await views(pool) == live_rows
