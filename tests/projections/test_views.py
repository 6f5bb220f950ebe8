"""What the views say of one life, and their pages in both directions."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg
import pytest

from bels.domain.commands import (
    CloseAccount,
    ClosePeriod,
    Command,
    ConfirmReading,
    LinkChannel,
    RecordAccessRefusal,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.periods import over_at
from bels.domain.terms import Channel, EntryNumber, Meaning, Mode, Period, Register, Role, Settlement
from bels.intake import Intake
from bels.projections import overview, readings, usage
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import METER, message, moment, numbers, open_household, reading

ACCOUNT = "1000000"


def closing(month: int) -> ClosePeriod:
    period = Period(f"2024-{month:02d}")
    return ClosePeriod(period, over_at(period))


def sent(at: datetime, value: int | str) -> SubmitReading:
    return SubmitReading(at, {"total": str(value)})


async def live(intake: Intake, *commands: Command) -> None:
    """Open the household and ask these things of it, one after another."""
    await intake.handle(open_household(ACCOUNT))
    for n, command in enumerate(commands):
        await intake.submit(message(ACCOUNT, command, f"{n}"))


class Row(NamedTuple):
    """What happened to a reading."""

    entry: int
    kind: str
    status: str
    reason: str | None
    period: str | None
    counted_in: str | None
    changed_by: int | None


async def rows(pool: asyncpg.Pool) -> list[Row]:
    async with pool.acquire() as db:
        page = await readings.page(db, ACCOUNT, None, None, 1000, backward=False)
    return [Row(r.entry, r.kind, r.status, r.reason, r.period, r.counted_in, r.changed_by) for r in page]


async def test_a_later_reading_of_the_period_replaces_the_earlier_and_counts(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await live(intake, sent(moment(1, 20), 150), sent(moment(1, 22), 160), sent(moment(1, 23), "много"), closing(1))

    assert await rows(pool) == [
        Row(2, "INITIAL", "ACCEPTED", None, "2024-01", None, None),
        Row(3, "SENT", "SUPERSEDED", None, "2024-01", None, 4),
        Row(4, "SENT", "ACCEPTED", None, "2024-01", "2024-01", None),
        Row(6, "SENT", "REFUSED", "BAD_VALUE", None, None, None),
    ]


async def test_held_readings_are_rejected_confirmed_and_disprove_others(pool: asyncpg.Pool, intake: Intake) -> None:
    await live(
        intake,
        sent(moment(1, 20), 150),
        closing(1),
        sent(moment(2, 20), 50),
        RejectReading(EntryNumber(6), moment(2, 20, 15), "описка"),
        sent(moment(2, 21), 60),
        ConfirmReading(EntryNumber(8), moment(2, 22), Role.OPERATOR, meaning=Meaning.PREVIOUS_WRONG),
        closing(2),
    )

    assert await rows(pool) == [
        Row(2, "INITIAL", "ACCEPTED", None, "2024-01", None, None),
        Row(3, "SENT", "DISPROVED", None, "2024-01", "2024-01", 8),
        Row(6, "SENT", "REJECTED", "LESS_THAN_PREVIOUS", "2024-02", None, 7),
        Row(8, "PREVIOUS_WRONG", "ACCEPTED", "LESS_THAN_PREVIOUS", "2024-02", "2024-02", 9),
    ]
    async with pool.acquire() as db:
        (_, february) = await usage.page(db, ACCOUNT, None, None, 10, backward=False)
        assert await readings.held(db, None, 10) == []
    assert february.usage == {"total": 0}
    assert february.stands == {"total": -90}
    assert [(r.period, r.posted_in, r.before, r.after) for r in february.recalculations] == [
        ("2024-02", "2024-02", {"total": 0}, {"total": -90})
    ]


async def test_two_refusals_of_access_take_the_reading_away_and_a_check_ends_them(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await live(
        intake,
        sent(moment(1, 20), 150),
        closing(1),
        sent(moment(2, 19), 99_000),
        sent(moment(2, 20), 300),
        RecordAccessRefusal(moment(2, 21)),
        RecordAccessRefusal(moment(2, 22)),
        TakeControlReading(moment(3, 10), {Register.TOTAL: 420}),
        closing(2),
        closing(3),
        RemoveMeter(moment(4, 10), {Register.TOTAL: 450}),
        closing(4),
    )

    assert await rows(pool) == [
        Row(2, "INITIAL", "ACCEPTED", None, "2024-01", None, None),
        Row(3, "SENT", "ACCEPTED", None, "2024-01", "2024-01", None),
        Row(6, "SENT", "SUPERSEDED", "IMPLAUSIBLE", "2024-02", None, 7),
        Row(7, "SENT", "DISREGARDED", None, "2024-02", None, 10),
        Row(12, "CONTROL", "ACCEPTED", None, "2024-03", "2024-03", None),
        # The closing of March brought penalties for January, which nobody has paid.
        Row(19, "FINAL", "ACCEPTED", None, "2024-04", "2024-04", None),
    ]
    async with pool.acquire() as db:
        page = await usage.page(db, ACCOUNT, None, None, 10, backward=False)
        account = (await overview.find(db, [ACCOUNT]))[ACCOUNT]
    assert [u.mode for u in page] == [Mode.METERED, Mode.NORMATIVE_INCREASED, Mode.METERED, Mode.METERED]
    assert account.meter is None


async def test_a_row_tells_who_sent_it_what_and_when(pool: asyncpg.Pool, intake: Intake) -> None:
    at, taken = moment(1, 20), moment(1, 19)
    command = SubmitReading(at, {"total": "00150,9"}, Role.AGENT, taken)
    outcome = (await intake.handle([*open_household(ACCOUNT), message(ACCOUNT, command, "bank 1")]))[2]

    async with pool.acquire() as db:
        row = await readings.find(db, ACCOUNT, 3)
        assert await readings.find(db, ACCOUNT, 1) is None

    assert row is not None
    assert row.meter == METER.number
    assert (row.values, row.delta, row.limit) == ({"total": 150}, {"total": 150}, None)
    assert (row.received_at, row.taken_at, row.recorded_at) == (at, taken, outcome.recorded_at)
    assert (row.channel, row.actor, row.role, row.receipt) == ("office", "clerk:7", "agent", outcome.receipt)


async def test_a_reading_after_missed_periods_shows_their_recalculations_where_they_are_posted(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await live(
        intake,
        *(c for n in range(1, 5) for c in (sent(moment(n, 20), 100 * n), closing(n))),
        closing(5),
        closing(6),
        sent(moment(7, 20), 760),
        closing(7),
    )

    async with pool.acquire() as db:
        page = {u.period: u for u in await usage.page(db, ACCOUNT, None, None, 10, backward=False)}
        (alone,) = await usage.page(db, ACCOUNT, "2024-06", None, 10, backward=False)
    july = page["2024-07"]

    assert [(page[p].mode, page[p].usage, page[p].missed) for p in ("2024-05", "2024-06")] == [
        (Mode.AVERAGE, {"total": 133}, 1),
        (Mode.AVERAGE, {"total": 133}, 2),
    ]
    assert [(r.period, r.before, r.after) for r in july.recalculations] == [
        ("2024-05", {"total": 133}, {"total": 121}),
        ("2024-06", {"total": 133}, {"total": 118}),
    ]
    assert (page["2024-05"].stands, page["2024-06"].stands) == ({"total": 121}, {"total": 118})
    assert page["2024-05"].recalculations == page["2024-06"].recalculations == ()
    assert alone == july
    # Every kWh of the meter is billed once.
    assert sum(u.stands["total"] for u in page.values()) == 760


async def test_a_reading_that_waits_for_the_next_bill_counts_there(pool: asyncpg.Pool) -> None:
    async with Intake(pool, DEFAULT_RULEBOOK.with_settlement(Settlement.NEXT_PERIOD)).running() as intake:
        await live(
            intake,
            *(c for n in range(1, 5) for c in (sent(moment(n, 20), 100 * n), closing(n))),
            closing(5),
            sent(moment(6, 20), 640),
            closing(6),
        )
        before = (await rows(pool))[-1]
        await intake.submit(message(ACCOUNT, closing(7), "last"))
        after = (await rows(pool))[-1]

    async with pool.acquire() as db:
        page = await usage.page(db, ACCOUNT, "2024-04", None, 10, backward=False)
    assert (before.counted_in, after.counted_in) == (None, "2024-07")
    assert [u.deferred for u in page] == [False, True, False]
    assert [r.period for r in page[2].recalculations] == ["2024-05", "2024-06"]


async def test_pages_of_readings_run_both_ways(pool: asyncpg.Pool, intake: Intake) -> None:
    await live(intake, *(sent(moment(1 + n // 3, 1 + n % 3 * 7), 100 + n) for n in range(9)))
    async with pool.acquire() as db:
        every = await readings.page(db, ACCOUNT, None, None, 1000, backward=False)
        entries = [r.entry for r in every]

        async def page(after: int | None, before: int | None, limit: int, backward: bool) -> list[int]:
            return [r.entry for r in await readings.page(db, ACCOUNT, after, before, limit, backward)]

        assert len(entries) == 10
        assert await page(None, None, 4, False) == entries[:4]
        assert await page(entries[3], None, 4, False) == entries[4:8]
        assert await page(entries[7], None, 4, False) == entries[8:]
        assert await page(None, None, 4, True) == entries[:-5:-1]
        assert await page(None, entries[6], 4, True) == entries[5:1:-1]
        assert await page(entries[2], entries[6], 100, True) == entries[5:2:-1]
        assert await page(entries[-1], None, 4, False) == []

        accepted = await readings.page(db, ACCOUNT, None, None, 100, False, ["ACCEPTED"], "2024-02")
        assert [(r.status, r.period) for r in accepted] == [("ACCEPTED", "2024-02")]
        assert await readings.page(db, ACCOUNT, None, None, 100, False, []) == []
        assert await readings.page(db, "7654321", None, None, 100, False) == []


async def test_the_operators_queue_is_the_oldest_first_over_all_accounts(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 5)
    await intake.handle([m for number in named for m in open_household(number)])
    # The later accounts sent first, and two at the same moment.
    days = (20, 18, 18, 12, 11)
    await intake.handle([reading(n, f"sms {n}", 99_000, moment(1, d)) for n, d in zip(named, days, strict=True)])
    right = [named[4], named[3], named[1], named[2], named[0]]

    listed: list[str] = []
    after = None
    async with pool.acquire() as db:
        while page := await readings.held(db, after, 2):
            listed += [r.account for r in page]
            after = (page[-1].received_at, page[-1].account, page[-1].entry)

    assert listed == right


async def test_pages_of_periods_run_both_ways(pool: asyncpg.Pool, intake: Intake) -> None:
    await live(intake, *(closing(n) for n in range(1, 8)))
    async with pool.acquire() as db:

        async def page(after: str | None, before: str | None, limit: int, backward: bool) -> list[int]:
            return [int(u.period[5:]) for u in await usage.page(db, ACCOUNT, after, before, limit, backward)]

        assert await page(None, None, 3, False) == [1, 2, 3]
        assert await page("2024-03", None, 3, False) == [4, 5, 6]
        assert await page(None, None, 3, True) == [7, 6, 5]
        assert await page(None, "2024-05", 3, True) == [4, 3, 2]
        assert await page("2024-02", "2024-05", 10, True) == [4, 3]
        assert await page("2024-07", None, 3, False) == []


async def test_pages_of_accounts_run_both_ways(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 7)
    await intake.handle([m for number in named for m in open_household(number)])
    await intake.submit(message(named[3], CloseAccount(moment(2, 3), "продажа"), "act"))
    async with pool.acquire() as db:

        async def page(
            after: str | None, before: str | None, limit: int, backward: bool, situation: str | None = None
        ) -> list[str]:
            return [o.account for o in await overview.page(db, after, before, limit, backward, situation)]

        assert await page(None, None, 3, False) == named[:3]
        assert await page(named[2], None, 3, False) == named[3:6]
        assert await page(None, None, 3, True) == named[:-4:-1]
        assert await page(None, named[3], 2, True) == [named[2], named[1]]
        assert await page(named[1], named[5], 10, True) == named[4:1:-1]
        assert await page(None, None, 10, False, "CLOSED") == [named[3]]
        assert await overview.count(db) == 7
        assert set(await overview.find(db, [named[0], "7654321", named[0]])) == {named[0]}


@pytest.mark.parametrize(
    ("period", "due"),
    [
        ("2023-12", []),
        ("2024-01", [0, 2]),
        ("2024-02", [0, 1, 2]),
        ("2024-03", [0, 1, 2]),
    ],
)
async def test_the_accounts_to_close_are_those_whose_period_is_due_and_not_past_their_last(
    pool: asyncpg.Pool, intake: Intake, period: str, due: list[int]
) -> None:
    # 0: nothing closed; 1: January closed; 2: left in January; 3: left in January, which is closed.
    named = numbers(1_000_000, 4)
    await intake.handle([m for number in named for m in open_household(number)])
    gone = [message(named[n], CloseAccount(moment(1, 25), "продажа"), f"act {n}") for n in (2, 3)]
    await intake.handle([*gone, *(message(named[n], closing(1), f"closing {n}") for n in (1, 3))])
    expected = [named[n] for n in due]

    async with pool.acquire() as db:
        listed: list[str] = []
        while page := await overview.to_close(db, period, listed[-1] if listed else "", 1):
            listed += [account for account, _ in page]
        assert await overview.count_to_close(db, period) == len(due)
        periods = dict(await overview.to_close(db, period, "", 10))

    assert listed == expected
    assert periods == {named[n]: "2024-02" if n == 1 else "2024-01" for n in due}


async def test_the_overview_tells_the_account_as_it_is_now(pool: asyncpg.Pool, intake: Intake) -> None:
    sender = "9f86d081884c7d65"
    await live(
        intake,
        LinkChannel(Channel.SMS, sender, moment(1, 5)),
        LinkChannel(Channel.TELEGRAM, sender, moment(1, 6)),
        UnlinkChannel(Channel.SMS, sender, moment(1, 7)),
        RegisterTemporaryResidents(2, moment(2, 1).date(), moment(2, 20).date(), moment(1, 8)),
        closing(1),
    )

    async with pool.acquire() as db:
        account = (await overview.find(db, [ACCOUNT]))[ACCOUNT]

    assert account.version == (await intake.account(ACCOUNT)).version
    assert (account.situation, account.next_period, account.last_period) == ("OPEN", "2024-02", None)
    assert (account.permanent, account.temporary, account.owners) == (3, 2, 1)
    assert account.links == ({"channel": "telegram", "sender": sender},)
    assert account.meter is not None
    assert (account.meter.number, account.meter.registers, account.meter.entry) == (METER.number, ("total",), 2)
    assert account.opened_at == account.meter.installed_at == moment(1, 1)
