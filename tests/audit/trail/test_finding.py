"""The trail over all accounts is searched by every key, in one order, and says what the journal says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from bels.audit.trail import finding
from bels.audit.trail.finding import Found, Place, TooWideError, TrailFilter, find
from bels.audit.trail.telling import index_trail
from bels.audit.trail.wanted import FilterError, read_filter
from bels.domain.terms import Channel, Period
from bels.intake import Intake
from bels.projections.audit import page
from tests.audit.trail.story import Story, accepted, at, closed, paid, reversed_payment
from tests.supplier import open_household, reading

SMS = "sms:5f"


@pytest.fixture
async def told(pool: asyncpg.Pool) -> asyncpg.Pool:
    """Give the trail of two accounts in January 2026."""
    story = Story(pool)
    await story.tell("1000001", at(1, 5), accepted(100, "2026-01"), SMS, Channel.SMS)
    await story.tell("1000002", at(1, 6), accepted(120, "2026-01"), "sms:60", Channel.SMS)
    payment = await story.tell("1000001", at(1, 7), paid("900.00"), "partner:c-1", Channel.BANK)
    await story.tell("1000001", at(1, 8), reversed_payment(payment, "900.00"))
    await story.tell("1000002", at(1, 9), paid("100.00"), "partner:c-1", Channel.BANK)
    await story.tell("1000002", at(1, 9), closed("2026-01", at(1, 9)), "closing", Channel.CLOSING)
    await story.told()
    return pool


async def search(pool: asyncpg.Pool, wanted: TrailFilter) -> list[tuple[str, int]]:
    async with pool.acquire() as db:
        return [(each.row.account, each.row.entry) for each in await find(db, wanted, None, None, 100)]


async def test_every_key_finds_its_entries(told: asyncpg.Pool) -> None:
    first, second, payment, back = ("1000001", 1), ("1000002", 1), ("1000001", 2), ("1000001", 3)
    small, closing = ("1000002", 2), ("1000002", 3)
    for wanted, expected in (
        (TrailFilter(), [first, second, payment, back, small, closing]),
        (TrailFilter(kinds=("PaymentReversed",)), [back]),
        (TrailFilter(kinds=("PaymentReversed", "PeriodClosed")), [back, closing]),
        (TrailFilter(channels=(Channel.SMS,)), [first, second]),
        (TrailFilter(channels=(Channel.OFFICE, Channel.CLOSING)), [back, closing]),
        (TrailFilter(actor=SMS), [first]),
        (TrailFilter(period=Period("2026-01")), [first, second, closing]),
        (TrailFilter(amount_min=Decimal("100.01")), [payment, back]),
        (TrailFilter(amount_min=Decimal("100.00"), amount_max=Decimal("100.00")), [small]),
        (TrailFilter(since=at(1, 6), until=at(1, 8)), [second, payment]),
        (TrailFilter(account="1000002"), [second, small, closing]),
        (TrailFilter(account="1000001", kinds=("PaymentReceived",), channels=(Channel.BANK,)), [payment]),
        (TrailFilter(actor="nobody"), []),
        (TrailFilter(receipt="NOSUCHONE"), []),
    ):
        assert await search(told, wanted) == expected, wanted


async def test_a_receipt_finds_all_entries_of_its_message(pool: asyncpg.Pool, intake: Intake) -> None:
    opened, installed = open_household("1000001")
    await intake.submit(opened)
    outcome = await intake.submit(installed)
    await index_trail(pool)
    assert await search(pool, TrailFilter(receipt=outcome.receipt)) == [("1000001", outcome.version)]


async def test_a_rule_finds_what_rests_on_it(pool: asyncpg.Pool) -> None:
    await Story(pool).tell("1000001", at(1, 5), accepted(100))
    await index_trail(pool)
    await pool.execute("UPDATE trail SET rule = 'PP354:62'")
    assert await search(pool, TrailFilter(rule="PP354:62")) == [("1000001", 1)]
    assert await search(pool, TrailFilter(rule="PP354:6")) == []


async def test_pages_lead_through_everything_both_ways_also_where_moments_are_equal(told: asyncpg.Pool) -> None:
    whole = await search(told, TrailFilter())
    for backwards in (False, True):
        seen: list[Found] = []
        place: Place | None = None
        while True:
            async with told.acquire() as db:
                after, before = (None, place) if backwards else (place, None)
                found = await find(db, TrailFilter(), after, before, 2, backwards)
            if not found:
                break
            seen += found
            place = found[-1].place
        names = [(each.row.account, each.row.entry) for each in seen]
        assert names == (whole[::-1] if backwards else whole)


async def test_the_trail_says_what_the_account_itself_says(pool: asyncpg.Pool, intake: Intake) -> None:
    for each in [*open_household("1000001"), reading("1000001", "r1", 150)]:
        await intake.submit(each)
    await index_trail(pool)
    async with pool.acquire() as db:
        found = await find(db, TrailFilter(account="1000001"), None, None, 100)
        assert [each.told for each in found] == await page(db, "1000001", None, None, 100, False)


async def test_an_entry_that_was_taken_out_of_the_journal_is_missed(told: asyncpg.Pool) -> None:
    await told.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    await told.execute("DELETE FROM journal WHERE originator_id = '1000001' AND originator_version = 3")
    async with told.acquire() as db:
        (lost,) = await find(db, TrailFilter(kinds=("PaymentReversed",)), None, None, 10)
    assert (lost.row.account, lost.row.entry, lost.told) == ("1000001", 3, None)


async def test_a_search_that_takes_too_long_says_what_to_name(told: asyncpg.Pool) -> None:
    async with told.acquire() as db:
        with pytest.raises(TooWideError, match=r"^nothing was found in 1 s: ask for a shorter time$"):
            async with finding.limited(db, 1, "ask for a shorter time"):
                await db.execute("SELECT pg_sleep(3)")
        assert await db.fetchval("SELECT 1") == 1


def test_a_filter_is_read_as_it_is_typed() -> None:
    assert read_filter({}) == TrailFilter()
    wanted = read_filter(
        {
            "kind": ["PaymentReversed,RefundMade", "PeriodClosed"],
            "channel": ["OFFICE"],
            "since": ["2026-11-01"],
            "until": ["2026-11-02T00:00:00+03:00"],
            "amountMin": ["-5.5"],
            "receipt": ["abcd1234"],
        }
    )
    assert wanted.kinds == ("PaymentReversed", "RefundMade", "PeriodClosed")
    assert wanted.channels == (Channel.OFFICE,)
    assert wanted.since == datetime(2026, 10, 31, 21, tzinfo=UTC)
    assert wanted.until == wanted.since + timedelta(days=1)
    assert wanted.amount_min == Decimal("-5.50")
    assert wanted.said() == [
        "kinds=PaymentReversed,RefundMade,PeriodClosed",
        "channels=office",
        "amount_min=-5.50",
        "since=2026-10-31T21:00:00+00:00",
        "until=2026-11-01T21:00:00+00:00",
        "receipt=ABCD1234",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kinds", "PaymentReversed"),
        ("kind", "PaymentDreamt"),
        ("kind", ""),
        ("channel", "pigeon"),
        ("since", "yesterday"),
        ("since", "2026-11-20T08:00:00"),
        ("until", "2026-02-30"),
        ("until", "0001-01-01"),
        ("period", "2026-13"),
        ("amountMin", "1e9"),
        ("amountMax", "NaN"),
        ("actor", "x" * 201),
        ("actor", "a\x00b"),
        ("account", "1000001'"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str) -> None:
    with pytest.raises(FilterError):
        read_filter({name: [value]})


def test_one_key_is_named_once() -> None:
    with pytest.raises(FilterError, match="2 times"):
        read_filter({"actor": ["a", "b"]})
