"""The ledger as the views tell it, on a real PostgreSQL: what was paid, what is owed, and the trial balance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import given, settings

from bels import closing
from bels.domain.close_period import recalculated_at
from bels.domain.commands import (
    CarryOverHistory,
    ChangeResidents,
    CloseAccount,
    ClosePeriod,
    Command,
    InstallMeter,
    LinkChannel,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    OpenAccount,
    ReceivePayment,
    RegisterAbsence,
    ReversePayment,
    SubmitReading,
)
from bels.domain.events import CommandRefused, PeriodClosed, ReadingRefused, UsageRecalculated
from bels.domain.money_events import PaymentReceived, RefundMade, RulebookPublished
from bels.domain.periods import over_at, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    LedgerName,
    Locality,
    Period,
    Purpose,
    Reason,
    RecalculationReason,
    Stove,
)
from bels.intake import Intake
from bels.journal.journal import RULEBOOK, accounts, find_receipt, read
from bels.messages import Message, Outcome, Status, outcomes_of
from bels.projections import ledger, usage
from bels.projections.project import retell
from bels.publishing import effect_of, publish, retroactive
from bels.workers import Tools
from tests.domain.books import HERE, NOTHING, RULES, THERE, Desk, Wish, dearer, posted, wishes
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import (
    METER,
    TABLES,
    audit,
    message,
    moment,
    numbers,
    open_household,
    reading,
    today,
    told_of,
    views,
)

ACCOUNT = "1000000"
AT = moment(2, 10)
FAR = date(2100, 1, 1)


def pay(account: str, name: str, amount: str, at: datetime = AT, purpose: Purpose = Purpose.ENERGY) -> Message:
    """Pay a sum through a bank."""
    command = ReceivePayment(Decimal(amount), at.date(), at, "чек", purpose)
    return Message(Channel.BANK, name, "bank:1", account, command, f"{account} {amount}")


def refund(account: str, name: str, amount: str) -> Message:
    """Return a sum."""
    return message(account, MakeRefund(Decimal(amount), moment(3, 1), "заявление"), name)


def close(account: str, period: str, name: str | None = None) -> Message:
    """Close a period on the 1st of the next."""
    command = ClosePeriod(Period(period), over_at(Period(period)))
    return message(account, command, name or f"{account} {period}")


def without_meter(account: str) -> Message:
    """Open an account that is billed by the norm: 138 kWh, 928.74 a month till June 2024."""
    return message(account, OpenAccount(moment(1, 1), Locality.URBAN, Stove.GAS, 2, 3), f"open {account}")


async def retell_all(pool: asyncpg.Pool, rulebook: Rulebook = DEFAULT_RULEBOOK) -> None:
    """Tell every view again from the journal."""
    async with pool.acquire() as db, pool.acquire() as listing:
        async for part in accounts(listing, 7):
            await retell(db, part, rulebook)


async def check_ledger(pool: asyncpg.Pool, intake: Intake, *named: str) -> None:
    """Check that the views of the ledger agree with the journal, with each other and with double entry."""
    async with pool.acquire() as db:
        for number in named:
            account = await intake.account(number)
            events = [entry.event for entry in await read(db, {number: 0})]
            moved = list(posted(events))
            balances = await db.fetchrow("SELECT * FROM balance WHERE account = $1", number)
            assert (balances is None) == (not moved)
            if balances is None:
                continue
            assert balances["balance"] == account.ledger.balance == balances["receivable"] + balances["unallocated"]
            assert balances["penalty"] == account.ledger.penalty == balances["penalty_receivable"]
            rows = await ledger.page(db, number, None, None, 10_000, False)
            assert [(r.kind, r.purpose, r.amount, r.booked_on) for r in rows] == [
                (m.kind.value, m.purpose.value, m.amount, m.booked_on) for m in moved
            ]
            stands = {purpose.value: NOTHING for purpose in Purpose}
            for row in rows:
                stands[row.purpose] += row.amount
                assert row.balance == stands[row.purpose]
                assert row.debit != row.credit
            days = {m.booked_on + timedelta(days=n) for m in moved for n in (-1, 0, 1)}
            for on in sorted(days)[:40]:
                sums = [
                    sum((m.amount for m in moved if m.booked_on <= on and m.purpose is p), NOTHING) for p in Purpose
                ]
                assert list(await ledger.balance_as_of(db, number, on, None)) == sums
                own = await ledger.trial_balance_as_of(db, on, number)
                assert sum(r.debit - r.credit for r in own) == 0
            assert await ledger.trial_balance(db, number) == await ledger.trial_balance_as_of(db, FAR, number)
        whole = await ledger.trial_balance(db)
        assert whole == await ledger.trial_balance_as_of(db, FAR)
        assert sum(r.debit for r in whole) == sum(r.credit for r in whole)
        assert [r.ledger for r in whole] == list(LedgerName)


_free = iter(range(3_000_000, 9_000_000, 10))
NO_RULES = ("publish", "stray", "work off")


@given(wishes(50).map(lambda wished: [w for w in wished if w.what not in NO_RULES]))
@settings(max_examples=40)
async def test_the_ledger_of_any_life_balances_and_is_the_same_told_again(
    pool: asyncpg.Pool, wished: list[Wish]
) -> None:
    first = next(_free)
    names = {HERE: str(first), THERE: str(first + 1)}
    desk = Desk(replace(RULES, number=0))
    for wish in wished:
        desk.grant(wish)
    intake = Intake(pool, replace(RULES, number=0), today)
    messages = []
    for n, (number, command) in enumerate(desk.asked):
        there = command
        if isinstance(command, MovePaymentOut):
            there = replace(command, to=AccountNumber(names[command.to]))
        elif isinstance(command, MovePaymentIn):
            there = replace(command, source=AccountNumber(names[command.source]))
        messages.append(message(names[number], there, f"{first} {n}"))
    for start in range(0, len(messages), 3):
        await intake.handle(messages[start : start + 3])

    for number, name in names.items():
        assert (await intake.account(name)).ledger == desk.accounts[number].ledger
    await check_ledger(pool, intake, *names.values())
    live = await views(pool, *names.values())
    async with pool.acquire() as db:
        await retell(db, list(names.values()), intake.rulebook)
    assert await views(pool, *names.values()) == live
    await check_ledger(pool, intake, *names.values())


# A payment is booked once ---------------------------------------------------------------------------------------------


async def test_twenty_repeats_of_a_payment_at_once_in_two_processes_book_it_once(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle(open_household(ACCOUNT))
    paid = pay(ACCOUNT, "txn 1", "1245.05")

    async with Intake(pool, DEFAULT_RULEBOOK).running() as other:
        outcomes = await asyncio.gather(*((intake, other)[n % 2].submit(paid) for n in range(20)))
    reused = await intake.submit(pay(ACCOUNT, "txn 1", "1245.06"))

    assert len({o.receipt for o in outcomes}) == 1
    assert sum(not o.repeated for o in outcomes) == 1
    assert isinstance(reused.events[0], CommandRefused)
    assert reused.events[0].reason is Reason.MESSAGE_ID_REUSED
    assert (await intake.account(ACCOUNT)).ledger.balance == Decimal("-1245.05")
    assert await pool.fetchval("SELECT count(*) FROM payment") == 1
    await check_ledger(pool, intake, ACCOUNT)


async def test_of_refunds_that_together_exceed_the_credit_only_one_goes_through(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle([*open_household(ACCOUNT), pay(ACCOUNT, "txn 1", "100.00")])

    async with Intake(pool, DEFAULT_RULEBOOK).running() as other:
        outcomes = await asyncio.gather(
            *((intake, other)[n % 2].submit(refund(ACCOUNT, f"refund {n}", "60.00")) for n in range(10))
        )

    assert sum(isinstance(o.events[0], RefundMade) for o in outcomes) == 1
    assert [o.events[0].reason for o in outcomes if isinstance(o.events[0], CommandRefused)] == [
        Reason.REFUND_ABOVE_CREDIT
    ] * 9
    assert (await intake.account(ACCOUNT)).ledger.balance == -40
    await check_ledger(pool, intake, ACCOUNT)


async def test_a_payment_that_is_reversed_and_moved_at_once_is_only_one_of_both(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle([*open_household(ACCOUNT), pay(ACCOUNT, "txn 1", "100.00")])
    asked: list[Command] = [
        ReversePayment(EntryNumber(3), moment(2, 15), "отказ банка"),
        MovePaymentOut(EntryNumber(3), AccountNumber("1000001"), moment(2, 15), "ошибка"),
    ]

    async with Intake(pool, DEFAULT_RULEBOOK).running() as other:
        outcomes = await asyncio.gather(
            *((intake, other)[n % 2].submit(message(ACCOUNT, asked[n // 5], f"asked {n}")) for n in range(10))
        )

    assert sum(o.status is Status.ACCEPTED for o in outcomes) == 1
    assert (await intake.account(ACCOUNT)).ledger.balance == 0
    await check_ledger(pool, intake, ACCOUNT)


async def test_a_history_is_carried_over_before_anything_is_paid_here(pool: asyncpg.Pool, intake: Intake) -> None:
    carried = CarryOverHistory(None, (), Period("2024-03"), balance=Decimal("700.00"), penalty=Decimal("1.20"))
    late, other = ACCOUNT, "1000001"
    await intake.handle([without_meter(late), without_meter(other)])
    await intake.handle([pay(late, "txn 1", "100.00")])

    (refused, taken) = await intake.handle([message(n, carried, f"history {n}") for n in (late, other)])
    await intake.handle([pay(other, "txn 2", "1.20", moment(4, 20), Purpose.PENALTY), close(other, "2024-04")])

    assert getattr(refused.events[0], "reason", None) is Reason.NOT_MIGRATING
    assert taken.status is Status.ACCEPTED
    assert str((await intake.account(other)).ledger.balance) == "1628.74"
    assert (await intake.account(other)).ledger.penalty == 0
    live = await views(pool)
    await retell_all(pool)
    assert await views(pool) == live
    await check_ledger(pool, intake, late, other)


# What cannot be -------------------------------------------------------------------------------------------------------

BAD_AMOUNTS = ("-1", "0", "0.00", "1.005", "1000000000000", "NaN", "sNaN", "Infinity", "-Infinity", "1E+999999")


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
@pytest.mark.parametrize("account", [ACCOUNT, "7654321", RULEBOOK])
async def test_a_sum_that_cannot_be_is_refused_with_a_receipt_that_is_found_again(
    pool: asyncpg.Pool, intake: Intake, account: str, amount: str
) -> None:
    await publish(pool, intake, DEFAULT_RULEBOOK, "test")
    await intake.handle([*open_household(ACCOUNT), pay(ACCOUNT, "good", "100.00")])
    before = await balances(pool)

    outcomes = await intake.handle([pay(account, "bad", amount), refund(account, "bad refund", amount)])

    for outcome in outcomes:
        assert outcome.status is Status.REFUSED
        assert isinstance(outcome.events[0], CommandRefused)
    assert getattr(outcomes[0].events[0], "reason", None) is Reason.BAD_AMOUNT
    await found_again(pool, outcomes)
    assert await balances(pool) == before
    await only_publications(pool)


async def balances(pool: asyncpg.Pool) -> dict[str, list[str]]:
    """Read what the views say of money."""
    rows = await views(pool)
    return {table: rows[table] for table in ("ledger", "balance", "payment")}


async def found_again(pool: asyncpg.Pool, outcomes: list[Outcome]) -> None:
    """Check that every receipt finds its first answer again."""
    async with pool.acquire() as db:
        for outcome in outcomes:
            recorded = await find_receipt(db, outcome.receipt)
            assert recorded is not None
            assert await outcomes_of(db, [recorded]) == [replace(outcome, repeated=True)]


async def only_publications(pool: asyncpg.Pool) -> None:
    """Check that nobody has written to the rulebook but who published it."""
    async with pool.acquire() as db:
        written = await read(db, {RULEBOOK: 0})
    assert written
    for entry in written:
        event = entry.event
        assert isinstance(event, RulebookPublished) or getattr(event, "command", None) == "PublishRulebook"


STRANGE = (
    "7654321",
    RULEBOOK,
    "suspense-0123456789abcdef01234567",
    "x" * 300,
    "100\x000000",
    "",
    "'; --",
    "\ud83d",
    "№",
)


@pytest.mark.parametrize("account", STRANGE)
async def test_a_payment_for_nobody_is_kept_apart_whatever_the_account_is_called(
    pool: asyncpg.Pool, intake: Intake, account: str
) -> None:
    await publish(pool, intake, DEFAULT_RULEBOOK, "test")
    sent = [pay(account, "txn 1", "500.00"), pay(account, "txn 2", "0.01", purpose=Purpose.PENALTY)]

    outcomes = [await intake.submit(m) for m in sent]
    again = await intake.handle(sent)

    assert [o.status for o in outcomes] == [Status.ACCEPTED] * 2
    assert again == [replace(o, repeated=True) for o in outcomes]
    assert len({o.account for o in outcomes}) == 2
    async with pool.acquire() as db:
        waiting = await ledger.unallocated(db, None, 10)
    assert sorted(str(row.amount) for row in waiting) == ["0.01", "500.00"]
    assert {row.unallocated for row in waiting} == {Reason.UNKNOWN_ACCOUNT.value}
    assert all(row.meant_for is not None and len(row.meant_for) <= 40 for row in waiting)
    await found_again(pool, outcomes)
    await only_publications(pool)
    await check_ledger(pool, intake, *(o.account for o in outcomes))
    await audit(pool, outcomes)


async def test_a_payment_for_a_stream_of_stray_payments_does_not_join_it(pool: asyncpg.Pool, intake: Intake) -> None:
    (first,) = await intake.handle([pay("7654321", "txn 1", "500.00")])

    (second,) = await intake.handle([pay(first.account, "txn 2", "70.00")])

    assert second.account not in (first.account, "7654321")
    (event,) = second.events
    assert isinstance(event, PaymentReceived)
    assert (event.meant_for, event.unallocated) == (first.account, Reason.UNKNOWN_ACCOUNT)
    assert (await intake.account(first.account)).ledger.balance == -500
    await check_ledger(pool, intake, first.account, second.account)


COMMANDS: list[Callable[[], Command]] = [
    lambda: OpenAccount(moment(1, 1), Locality.URBAN, Stove.GAS, 2, 3),
    lambda: CloseAccount(AT, "sold"),
    lambda: CarryOverHistory(None, (), Period("2024-03")),
    lambda: ChangeResidents(date(2024, 3, 1), 2, AT),
    lambda: RegisterAbsence(1, date(2024, 3, 1), date(2024, 3, 20), AT),
    lambda: InstallMeter(METER, AT, {METER.registers[0]: 0}),
    lambda: SubmitReading(AT, {"total": "1"}),
    lambda: ClosePeriod(Period("2024-01"), over_at(Period("2024-01"))),
    lambda: LinkChannel(Channel.SMS, "ab" * 16, AT),
    lambda: ReversePayment(EntryNumber(9), AT, ""),
    lambda: MakeRefund(Decimal("10000.00"), AT, ""),
    lambda: MovePaymentOut(EntryNumber(9), AccountNumber(ACCOUNT), AT, ""),
    lambda: MovePaymentIn(
        Decimal("1.00"), date(2024, 2, 10), AT, Purpose.ENERGY, "", AccountNumber(ACCOUNT), EntryNumber(3), ""
    ),
]


@pytest.mark.parametrize("make", COMMANDS, ids=lambda make: type(make()).__name__)
async def test_the_rulebook_and_stray_payments_are_no_accounts(
    pool: asyncpg.Pool, intake: Intake, make: Callable[[], Command]
) -> None:
    await publish(pool, intake, DEFAULT_RULEBOOK, "test")
    (stray,) = await intake.handle([pay("7654321", "txn 1", "500.00")])
    before = await balances(pool)

    outcomes = [
        await intake.submit(message(number, make(), f"{n}")) for n, number in enumerate((RULEBOOK, stray.account))
    ]

    for outcome in outcomes:
        assert outcome.status is Status.REFUSED
        assert isinstance(outcome.events[0], CommandRefused | ReadingRefused)
    assert outcomes[0].version is None
    await found_again(pool, outcomes)
    await only_publications(pool)
    assert await balances(pool) == before
    await audit(pool, outcomes)


async def test_what_cannot_be_done_with_money_says_why(pool: asyncpg.Pool, intake: Intake) -> None:
    now = datetime.now(UTC)
    tomorrow = ReceivePayment(Decimal("1.00"), now.date() + timedelta(days=2), now, "завтра")
    not_over = ClosePeriod(Period("2024-02"), moment(2, 29))
    await intake.handle([*open_household(ACCOUNT), *open_household("1000001"), close(ACCOUNT, "2024-01")])
    await intake.handle([pay(ACCOUNT, "txn 1", "100.00")])
    entry = EntryNumber((await intake.account(ACCOUNT)).version)
    move = MovePaymentOut(entry, AccountNumber("1000001"), AT, "ошибка")

    asked = [
        message(ACCOUNT, tomorrow, "1"),
        message(ACCOUNT, not_over, "2"),
        message(ACCOUNT, ReversePayment(EntryNumber(99), AT, ""), "3"),
        message(ACCOUNT, ReversePayment(EntryNumber(-1), AT, ""), "4"),
        refund(ACCOUNT, "5", "100.01"),
        message(ACCOUNT, replace(move, to=AccountNumber(ACCOUNT)), "6"),
        message(ACCOUNT, move, "7"),
        message(ACCOUNT, move, "8"),
        message(ACCOUNT, ReversePayment(entry, AT, ""), "9"),
        refund(ACCOUNT, "10", "0.01"),
    ]
    outcomes = [await intake.submit(m) for m in asked]

    assert [getattr(o.events[0], "reason", None) for o in outcomes] == [
        Reason.BAD_DATES,
        Reason.PERIOD_NOT_OVER,
        Reason.UNKNOWN_PAYMENT,
        Reason.UNKNOWN_PAYMENT,
        Reason.REFUND_ABOVE_CREDIT,
        Reason.SAME_ACCOUNT,
        None,
        Reason.PAYMENT_MOVED,
        Reason.PAYMENT_MOVED,
        Reason.REFUND_ABOVE_CREDIT,
    ]
    await found_again(pool, outcomes)
    await check_ledger(pool, intake, ACCOUNT)
    await audit(pool, outcomes)


# Closings -------------------------------------------------------------------------------------------------------------


async def test_a_closing_stopped_after_any_message_and_run_again_equals_one_that_was_not(pool: asyncpg.Pool) -> None:
    intake = Intake(pool, DEFAULT_RULEBOOK, today)
    tools = Tools(pool, intake)
    named = numbers(1_000_000, 8)
    through = Period("2024-07")
    for n in named:
        life = [*open_household(n), reading(n, f"{n} 1", 150), reading(n, f"{n} 5", 900, moment(5, 20))]
        await intake.handle([*life, pay(n, f"{n} txn", "300.00", moment(4, 1)), pay(n, f"{n} back", "50.00")])
        await intake.handle([message(n, ReversePayment(EntryNumber(6), moment(4, 2), "отказ"), f"{n} reversal")])
    # Account n was stopped after n closings; one process died before it heard the answer to the last.
    now = today()
    for stopped, n in enumerate(named):
        done = [closing.closing(n, shift(Period("2024-01"), i), now, "first") for i in range(stopped)]
        for one in done:
            await intake.handle([one])
        await intake.handle(done[-1:])

    await asyncio.gather(*(closing.close_page(tools, closing.Page((n,), through, f"again {n}")) for n in named))
    closed = await closing.close_page(tools, closing.Page(tuple(named), through, "once more"))

    whole = await told_of(pool, named[0])
    assert len(whole["usage"]) == 7
    for n in named[1:]:
        assert await told_of(pool, n) == whole
    assert closed.modes.total() == 0
    await check_ledger(pool, intake, *named)
    live = await views(pool)
    await retell_all(pool)
    assert await views(pool) == live


async def test_a_period_closed_by_two_processes_at_once_is_posted_once(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 10)
    await intake.handle([without_meter(n) for n in named])

    async with Intake(pool, DEFAULT_RULEBOOK).running() as other:
        outcomes = await asyncio.gather(
            *((intake, other)[i % 2].submit(close(n, "2024-01", f"{n} {i}")) for i in range(6) for n in named)
        )

    assert sum(isinstance(o.events[0], PeriodClosed) for o in outcomes) == 10
    assert {str((await intake.account(n)).ledger.balance) for n in named} == {"928.74"}
    await check_ledger(pool, intake, *named)


async def test_a_retroactive_tariff_is_posted_once_by_the_next_closing_of_every_account(pool: asyncpg.Pool) -> None:
    intake = Intake(pool, DEFAULT_RULEBOOK, today)
    tools = Tools(pool, intake)
    await publish(pool, intake, RULES, "test")
    named = numbers(1_000_000, 5)
    await intake.handle([without_meter(n) for n in named])
    await intake.handle([close(n, f"2024-{m:02d}") for n in named for m in range(1, 5)])
    book = dearer(intake.rulebook, date(2024, 3, 1), 100)
    effect = await effect_of(pool, intake, book)
    assert effect.since is not None
    counted = retroactive(intake.rulebook, book, effect.since)
    for n in named:
        effect.count(await intake.account(n), counted)

    refused = await publish(pool, intake, book, "test")
    published = await publish(pool, intake, book, "test", "решение суда")
    repeated = await publish(pool, intake, replace(book, name=book.name), "test", "решение суда")
    for through in ("2024-05", "2024-05", "2024-06"):
        await closing.close_page(tools, closing.Page(tuple(named), Period(through), f"run {through}"))

    assert getattr(refused.events[0], "reason", None) is Reason.PAST_CHARGED
    assert isinstance(published.events[0], RulebookPublished)
    assert repeated.repeated
    assert repeated.receipt == published.receipt
    assert (effect.accounts, effect.lines, effect.difference) == (5, 10, Decimal("1380.00"))
    async with pool.acquire() as db:
        for n in named:
            events = [e.event for e in await read(db, {n: 0})]
            lines = [
                (e.posted_in, e.period, str(e.difference), e.before == e.after)
                for e in events
                if isinstance(e, UsageRecalculated) and e.reason is RecalculationReason.TARIFF_CHANGED
            ]
            assert lines == [
                ("2024-05", "2024-03", "138.00", True),
                ("2024-05", "2024-04", "138.00", True),
            ]
            row = (await usage.page(db, n, "2024-04", None, 1, False))[0]
            assert row.charged == Decimal("928.74") + 138
            account = await intake.account(n)
            assert recalculated_at(account, intake.rulebook) == ()
    await only_publications(pool)
    await check_ledger(pool, intake, *named)
    live = await views(pool)
    await retell_all(pool, intake.rulebook)
    told = await views(pool)
    assert {t: told[t] for t in TABLES} == {t: live[t] for t in TABLES}
