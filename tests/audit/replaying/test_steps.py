"""An account told entry by entry, two moments of it compared, and its books held against their replay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from typing import get_args

import asyncpg
import msgspec
import pytest

from bels.audit.replaying.books import replay_books
from bels.audit.replaying.differences import changing_entries, differences, differences_of_moments
from bels.audit.replaying.moments import History, Moment, read_history, replay
from bels.audit.replaying.steps import MADE_BY, REFUSALS, WITH_ITS_CAUSE, made_by, state_of, steps
from bels.demo.situations import SITUATIONS
from bels.domain import commands
from bels.domain.account import nobody
from bels.domain.events import CommandRefused, Event
from bels.domain.periods import moscow_date
from bels.domain.terms import Purpose, Reason
from bels.rulebooks.shipped import PUBLISHED, shipped
from tests.audit.replaying.towns import UNTIL, live_demonstration
from tests.conftest import new_supplier

PAGE = 7


@pytest.fixture(scope="module")
def supplier(postgres: str, template: str) -> str:
    """Give the database of a town, empty still."""
    return new_supplier(postgres, template, "bels_test_steps")


@pytest.fixture
async def town(supplier: str) -> AsyncIterator[asyncpg.Pool]:
    """Give a town that has lived ten months; it lives once."""
    async with asyncpg.create_pool(supplier, min_size=1, max_size=4) as pool:
        if not await pool.fetchval("SELECT EXISTS (SELECT FROM journal)"):
            async for _ in live_demonstration(pool, len(SITUATIONS), 10):
                pass
        yield pool


async def histories(pool: asyncpg.Pool) -> list[History]:
    """Read the history of every account."""
    rows = await pool.fetch("SELECT account FROM overview WHERE account <> 'rulebook' ORDER BY account")
    async with pool.acquire() as db:
        return [await read_history(db, row["account"]) for row in rows]


def test_every_event_names_the_rule_that_makes_it() -> None:
    assert set(MADE_BY) | WITH_ITS_CAUSE | REFUSALS == set(get_args(Event))
    for name in MADE_BY.values():
        assert import_module(name).__doc__
    for command in get_args(commands.Command):
        refused = CommandRefused(command.__name__, Reason.BAD_DATES, UNTIL)
        assert made_by([refused], 1).name != "decide", command


async def test_the_steps_lead_from_nothing_to_the_account_at_its_moment(town: asyncpg.Pool) -> None:
    for history in (await histories(town))[::4]:
        for moment in (Moment(), Moment(moscow_date(UNTIL) - timedelta(days=70), UNTIL - timedelta(days=20))):
            then = replay(history, moment, UNTIL)
            account, after = nobody(history.account), 0
            async with town.acquire() as db:
                while page := await steps(db, then, after, PAGE):
                    for step in page:
                        assert step.counts is then.counts(step.row.entry)
                        # What a step changed is all that it changed: the values that differ are those it tells.
                        assert step.changed == (differences(account, step.account) if step.counts else ())
                        assert step.counts or step.account is account or step.account == account
                        account = step.account
                    after = page[-1].row.entry
            assert after == then.known
            assert replace(account, version=then.last) == then.account


async def test_a_step_says_who_when_by_which_rule_and_what_is_other_since(town: asyncpg.Pool) -> None:
    history = next(h for h in await histories(town) if h.account == "1000010")
    then = replay(history, Moment(), UNTIL)
    async with town.acquire() as db:
        told = await steps(db, then, 0, 100)
    closed = next(step for step in told if step.row.kind == "PeriodClosed")
    assert closed.made_by.name == "close_period"
    assert closed.made_by.text.startswith("Closing a period decides how it is billed")
    assert closed.made_by.acts == ("PP354:app2-f1",)
    assert closed.made_by.rulebook == "demonstration/2"
    changed = {each.path: (each.before, each.after) for each in closed.changed}
    bill = json.loads(closed.row.data)["charged"]
    assert changed["ledger/balance"] == ("0.00", bill)
    assert changed[f"debts/{closed.row.entry}/amount"] == (None, bill)
    period = json.loads(closed.row.data)["period"]
    assert changed["next_period"][0] == period
    labels = {each.path: each.label for each in closed.changed}
    assert labels["ledger/balance"] == "Баланс: электроэнергия, ₽"
    assert closed.row.recorded_at > closed.row.happened_at
    state = json.loads(state_of(closed.account))
    assert (state["version"], state["ledger"]["balance"]) == (closed.row.entry, bill)
    assert msgspec.json.decode(state_of(closed.account), type=dict)["number"] == "1000010"


async def test_two_moments_differ_by_the_entries_that_count_at_one_of_them(town: asyncpg.Pool) -> None:
    differing = 0
    for history in (await histories(town))[::3]:
        for back in (20, 100):
            known_at = UNTIL - timedelta(days=back)
            before, after = replay(history, Moment(known_at=known_at), UNTIL), replay(history, Moment(), UNTIL)
            entries = changing_entries(before, after)
            # What became known since, and nothing else.
            assert all(entry > before.known and after.counts(entry) for entry in entries)
            changed = differences_of_moments(before, after)
            assert bool(entries) or not changed
            backwards = differences_of_moments(after, before)
            assert {(d.path, d.before, d.after) for d in backwards} == {(d.path, d.after, d.before) for d in changed}
            assert differences_of_moments(before, before) == ()
            differing += bool(changed)
    assert differing > 10


async def test_the_three_books_agree_for_every_account(town: asyncpg.Pool) -> None:
    lines = closings = 0
    for history in await histories(town):
        async with town.acquire() as db:
            books = await replay_books(db, history.account, shipped(PUBLISHED))
        assert books is not None
        assert books.different == ()
        assert books.holds, [line for line in books.lines if not line.holds]
        assert [each.difference for each in books.sums] == [Decimal("0.00"), Decimal("0.00")]
        lines += len(books.lines)
        closings += books.closings
    assert (lines > 400, closings > 200) == (True, True)


async def test_a_view_that_was_tampered_with_differs_line_by_line(town: asyncpg.Pool) -> None:
    async with town.acquire() as db:
        tampering = db.transaction(isolation="repeatable_read")
        await tampering.start()
        first = "SELECT min(entry) FROM ledger WHERE account = '1000010' AND kind = $1"
        charge, payment = await db.fetchval(first, "CHARGE"), await db.fetchval(first, "PAYMENT")
        await db.execute("UPDATE ledger SET amount = amount - 100 WHERE account = '1000010' AND entry = $1", charge)
        await db.execute("DELETE FROM ledger WHERE account = '1000010' AND entry = $1", payment)
        await db.execute("UPDATE balance SET balance = balance - 100 WHERE account = '1000010'")
        books = await replay_books(db, "1000010", shipped(PUBLISHED))
        await tampering.rollback()
    assert books is not None
    assert not books.holds
    wrong = {line.entry: line for line in books.lines if not line.holds}
    assert set(wrong) == {charge, payment}
    assert wrong[charge].difference == Decimal("-100.00")
    assert wrong[payment].posted is None
    energy = next(each for each in books.sums if each.purpose is Purpose.ENERGY)
    assert (energy.difference, energy.difference_decided) == (Decimal("-100.00"), Decimal("-100.00"))


async def test_an_account_without_entries_has_no_books(town: asyncpg.Pool) -> None:
    async with town.acquire() as db:
        assert await replay_books(db, "1999999", shipped(PUBLISHED)) is None


async def test_what_is_posted_while_the_books_are_read_is_in_none_of_them(town: asyncpg.Pool) -> None:
    async with town.acquire() as posting, town.acquire() as db:
        transaction = posting.transaction()
        await transaction.start()
        await posting.execute("LOCK TABLE ledger IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(replay_books(db, "1000010", shipped(PUBLISHED)))
        # It has read the entries, and waits for what was posted.
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'ledger'::regclass AND NOT granted)"
        while not await posting.fetchval(waits):  # noqa: ASYNC110 - PostgreSQL has no event for it
            await asyncio.sleep(0.01)
        await posting.execute("UPDATE ledger SET balance = balance + 1 WHERE account = '1000010'")
        await transaction.commit()
        books = await reading
        await posting.execute("UPDATE ledger SET balance = balance - 1 WHERE account = '1000010'")
    assert books is not None
    assert books.holds
