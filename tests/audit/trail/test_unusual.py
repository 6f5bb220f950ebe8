"""Each pattern finds who is guilty, and leaves in peace who is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import asyncpg
import pytest

from bels.audit.trail import unusual as patterns
from bels.audit.trail.patterns import ABOUT, ThresholdError, UnusualPattern, thresholds_of
from bels.audit.trail.unusual import Unusual, unusual
from bels.domain.events import AbsenceRegistered, ControlReadingTaken, ReadingRejected
from bels.domain.money_events import RefundMade
from bels.domain.terms import Channel, EntryNumber, Money, Period, Register
from tests.audit.trail.story import Story, accepted, at, closed, confirmed, held, moved_in, paid, reversed_payment

SINCE, UNTIL = at(1, 1), at(12, 31)
A_YEAR = timedelta(days=365)


@pytest.fixture
def story(pool: asyncpg.Pool) -> Story:
    """Give an empty story."""
    return Story(pool)


async def found(story: Story, pattern: UnusualPattern, **thresholds: int) -> list[Unusual]:
    """Give what is found within the year of the story; before and after it nothing is."""
    await story.told()
    limits = thresholds_of(pattern, thresholds)
    for since, until in ((SINCE - A_YEAR, SINCE), (UNTIL, UNTIL + A_YEAR)):
        outside = await unusual(story.pool, pattern, since, until, limits, None, 50)
        assert (outside.rows, outside.resume) == ((), None)
    page = await unusual(story.pool, pattern, SINCE, UNTIL, limits, None, 50)
    assert page.resume is None
    return list(page.rows)


def control(account_value: int) -> ControlReadingTaken:
    return ControlReadingTaken(
        EntryNumber(1),
        at(3, 1),
        Period("2026-03"),
        {Register.TOTAL: account_value},
        EntryNumber(1),
        {Register.TOTAL: 10},
        (),
        (),
        "акт",
    )


async def test_many_corrections_by_one_operator_are_found(story: Story) -> None:
    for n in range(4):
        await story.tell(
            f"100000{n}", at(3, 1 + n), ReadingRejected(EntryNumber(1), at(3, 1), "нет"), actor="operator:u-busy"
        )
    await story.tell("1000001", at(3, 1), ReadingRejected(EntryNumber(1), at(3, 1), "нет"), actor="operator:u-calm")
    # Households confirm their own readings, and closings supersede: that is nobody's correction.
    for n in range(5):
        await story.tell("1000009", at(3, 1 + n), confirmed(1), "consumer:u-home", Channel.CABINET)
    (busy,) = await found(story, UnusualPattern.MANY_CORRECTIONS_BY_ONE_OPERATOR, count=3)
    assert (busy.actor, busy.count, busy.account_count) == ("operator:u-busy", 4, 4)
    assert busy.entries == (("1000000", 1), ("1000001", 1), ("1000002", 1), ("1000003", 1))
    assert (busy.since, busy.until) == (at(3, 1), at(3, 4))


async def test_reversals_and_refunds_are_found_by_number_or_by_sum(story: Story) -> None:
    refund = RefundMade(Money("150000.00"), date(2026, 3, 1), at(3, 1), "заявление")
    await story.tell("1000001", at(3, 1), refund, actor="operator:u-large")
    for n in range(3):
        await story.tell("1000002", at(3, 2 + n), reversed_payment(1, "10.00"), actor="operator:u-often")
    await story.tell("1000003", at(3, 2), reversed_payment(1, "10.00"), actor="operator:u-once")
    for n in range(5):
        await story.tell("1000004", at(3, 2 + n), reversed_payment(1, "10.00"), "partner:c-1", Channel.BANK)
    rows = await found(story, UnusualPattern.REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR, count=3)
    assert [(row.actor, row.count, row.amount) for row in rows] == [
        ("operator:u-often", 3, Money("30.00")),
        ("operator:u-large", 1, Money("150000.00")),
    ]


async def test_readings_that_always_equal_the_average_are_found(story: Story) -> None:
    for month in range(1, 12):
        for account, used in (("1000001", 150), ("1000002", 150 + 7 * (month % 3)), ("1000003", 0)):
            await story.tell(account, at(month, 20), accepted(used), f"sms:{account}", Channel.SMS)
    await story.pool.execute(
        "INSERT INTO overview SELECT (jsonb_populate_record(NULL::overview, row)).* FROM ("
        " SELECT jsonb_object_agg(a.attname, CASE a.attname WHEN 'account' THEN to_jsonb(n.account) ELSE"
        "  CASE format_type(a.atttypid, NULL) WHEN 'text' THEN to_jsonb(''::text) WHEN 'boolean' THEN 'false'::jsonb"
        "   WHEN 'text[]' THEN '[]'::jsonb WHEN 'timestamp with time zone' THEN to_jsonb(now())"
        "   WHEN 'json' THEN '{}'::jsonb WHEN 'jsonb' THEN '{}'::jsonb WHEN 'date' THEN to_jsonb(now()::date) ELSE '0'::jsonb END END) AS row"
        "  FROM pg_attribute a, (VALUES ('1000001'), ('1000002'), ('1000003')) AS n (account)"
        " WHERE a.attrelid = 'overview'::regclass AND a.attnum > 0 AND NOT a.attisdropped GROUP BY n.account) AS made"
    )
    (flat,) = await found(story, UnusualPattern.READINGS_EQUAL_TO_AVERAGE)
    assert (flat.accounts, flat.actor, flat.count, flat.kwh) == (("1000001",), "sms:1000001", 8, 1200)


async def test_households_are_looked_through_slice_by_slice(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    await test_readings_that_always_equal_the_average_are_found(story)
    monkeypatch.setattr(patterns, "ACCOUNTS_AT_ONCE", 1)
    monkeypatch.setattr(patterns, "SLICES_MAX", 2)
    limits = thresholds_of(UnusualPattern.READINGS_EQUAL_TO_AVERAGE, {"count": 6})

    async def look(after: tuple[int, str] | None) -> patterns.Page:
        return await unusual(story.pool, UnusualPattern.READINGS_EQUAL_TO_AVERAGE, SINCE, UNTIL, limits, after, 5)

    first = await look(None)
    assert [row.key for row in first.rows] == ["1000001"]
    assert first.resume == (0, "1000002")
    last = await look(first.resume)
    assert (last.rows, last.resume) == ((), None)


async def test_a_reading_confirmed_by_whoever_entered_it_is_found(story: Story) -> None:
    mine = await story.tell("1000001", at(3, 1, 12, 0), held(900), actor="operator:u-1")
    await story.tell("1000001", at(3, 1, 12, 2), confirmed(mine), actor="operator:u-1")
    others = await story.tell("1000002", at(3, 1, 12, 0), held(900), actor="operator:u-1")
    await story.tell("1000002", at(3, 1, 12, 2), confirmed(others), actor="operator:u-2")
    later = await story.tell("1000003", at(3, 1, 12, 0), held(900), actor="operator:u-1")
    await story.tell("1000003", at(3, 2, 12, 0), confirmed(later), actor="operator:u-1")
    huge = await story.tell("1000004", at(3, 1, 12, 0), held(90_000), "sms:5f", Channel.SMS)
    await story.tell("1000004", at(3, 2, 12, 0), confirmed(huge), actor="operator:u-2")
    own = await story.tell("1000005", at(3, 1, 12, 0), held(90_000), "consumer:u-5", Channel.CABINET)
    await story.tell("1000005", at(3, 1, 12, 1), confirmed(own), "consumer:u-5", Channel.CABINET)

    rows = await found(story, UnusualPattern.HELD_THEN_CONFIRMED)
    assert [(row.accounts, row.actor, row.kwh) for row in rows] == [
        (("1000001",), "operator:u-1", 900),
        (("1000004",), "operator:u-2", 90_000),
    ]
    assert rows[0].entries == (("1000001", 1), ("1000001", 2))


async def test_a_whole_turn_of_the_display_that_nobody_used_is_no_large_confirmation(story: Story) -> None:
    for account, kind in (("1000001", "PREVIOUS_WRONG"), ("1000002", "SENT")):
        mine = await story.tell(account, at(3, 1), held(999_840), "sms:5f", Channel.SMS)
        await story.tell(account, at(3, 2), confirmed(mine))
        await story.pool.execute(
            'INSERT INTO reading (account, entry, kind, status, received_at, recorded_at, channel, actor, role, receipt, "values")'
            " VALUES ($1, $2, $3, 'ACCEPTED', $4, $4, 'sms', 'sms:5f', 'consumer', '', '{}')",
            account,
            mine,
            kind,
            at(3, 1),
        )
    rows = await found(story, UnusualPattern.HELD_THEN_CONFIRMED)
    assert [row.accounts for row in rows] == [("1000002",)]


async def seal(story: Story, number: int, sealed_at: datetime) -> None:
    """Seal all accounts as they are, as far as the pattern looks: numbers, moments, versions."""
    await story.pool.execute("INSERT INTO seal VALUES ($1, $2, '', '', '')", number, sealed_at)
    await story.pool.execute(
        "INSERT INTO sealed_head SELECT originator_id, $1, max(originator_version), '' FROM journal GROUP BY 1", number
    )


async def test_what_is_recorded_later_about_a_sealed_period_is_found(story: Story) -> None:
    absence = AbsenceRegistered(1, date(2026, 1, 5), date(2026, 1, 25))
    for account in ("1000001", "1000002", "1000003", "1000004"):
        await story.tell(account, at(2, 1), closed("2026-01", at(2, 1)), "closing", Channel.CLOSING)
    # Before the seal: an absence of the closed month, in time for whoever checks before sealing.
    await story.tell("1000002", at(2, 3), absence)
    await seal(story, 1, at(2, 5))
    await story.tell("1000001", at(3, 10), absence)
    # After it, but of a month that is still open.
    await story.tell("1000003", at(3, 10), AbsenceRegistered(1, date(2026, 3, 1), date(2026, 3, 20)))
    await story.tell("1000004", at(3, 11), confirmed(7, "2026-01"))

    rows = await found(story, UnusualPattern.LATE_CHANGES_AFTER_SEALING)
    assert [(row.accounts, row.entries[0][1], row.entries[1][1]) for row in rows] == [
        (("1000001",), 1, 2),
        (("1000004",), 1, 2),
    ]


async def test_payments_moved_to_one_account_are_found(story: Story) -> None:
    for n in range(3):
        await story.tell("1000001", at(3, 1 + n), moved_in(f"100001{n}", "500.00"), f"operator:u-{n}")
    await story.tell("1000002", at(3, 1), moved_in("1000012", "500.00"))
    await story.tell("1000003", at(3, 1), moved_in("1000013", "200000.00"))
    rows = await found(story, UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT)
    assert [(row.accounts, row.actor, row.amount) for row in rows] == [
        (("1000001",), None, Money("1500.00")),
        (("1000003",), "operator:u-1", Money("200000.00")),
    ]


async def test_one_sender_for_many_accounts_is_found(story: Story) -> None:
    for n in range(5):
        await story.tell(f"100000{n}", at(3, 1 + n), accepted(100), "sms:many", Channel.SMS)
        await story.tell("1000009", at(3, 1 + n), accepted(100), "sms:own", Channel.SMS)
        await story.tell(f"100001{n}", at(3, 1 + n), accepted(100), "voice:unknown", Channel.VOICE)
        await story.tell(f"100002{n}", at(3, 1 + n), accepted(100), "operator:u-1", Channel.OFFICE)
    (sender,) = await found(story, UnusualPattern.ONE_SENDER_FOR_MANY_ACCOUNTS, count=5)
    assert (sender.actor, sender.account_count, sender.count) == ("sms:many", 5, 5)


async def test_round_readings_by_one_inspector_are_found(story: Story) -> None:
    async def walk(inspector: str, values: list[int]) -> None:
        for n, value in enumerate(values):
            account = f"10{inspector[-1]}00{n:02}"
            entry = await story.tell(account, at(3, 1 + n), control(value), inspector, Channel.INSPECTOR)
            await story.pool.execute(
                'INSERT INTO reading (account, entry, kind, status, received_at, recorded_at, channel, actor, role, receipt, "values")'
                " VALUES ($1, $2, 'CONTROL', 'ACCEPTED', $3, $3, 'inspector', $4, 'inspector', '', $5)",
                account,
                entry,
                at(3, 1 + n),
                inspector,
                f'{{"total": {value}}}',
            )

    await walk("inspector:u-1", [10, 20, 30, 1230, 57])
    await walk("inspector:u-2", [11, 20, 33, 1237, 50, 61, 72])
    (lazy,) = await found(story, UnusualPattern.ROUND_READINGS_BY_ONE_INSPECTOR, count=2)
    assert (lazy.actor, lazy.count) == ("inspector:u-1", 4)


async def test_changes_at_night_and_on_a_weekend_are_found(story: Story) -> None:
    # 2026-03-02 is a Monday.
    for moment in (at(3, 2, 3), at(3, 2, 20), at(3, 7, 12)):
        await story.tell("1000001", moment, paid("1.00"), actor="operator:u-night")
    for hour in (8, 12, 19):
        await story.tell("1000001", at(3, 2, hour), paid("1.00"), actor="operator:u-day")
    await story.tell("1000001", at(3, 2, 3), closed("2026-02", at(3, 2, 3)), "closing", Channel.CLOSING)
    (night,) = await found(story, UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS, count=2)
    assert (night.actor, night.count) == ("operator:u-night", 3)


async def test_finds_are_paged_the_most_first_and_none_twice(story: Story) -> None:
    for n in range(7):
        for i in range(2 + n % 3):
            await story.tell(f"100000{n}", at(3, 1 + i), moved_in("1000012", "5.00"))
    await story.told()
    seen: list[Unusual] = []
    after = None
    while True:
        page = await unusual(
            story.pool,
            UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT,
            SINCE,
            UNTIL,
            thresholds_of(UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT, {"count": 2}),
            after,
            2,
        )
        seen += page.rows
        after = page.resume
        if after is None:
            break
    assert [row.count for row in seen] == sorted((row.count for row in seen), reverse=True)
    assert len({row.key for row in seen}) == len(seen) == 7


@pytest.mark.parametrize("pattern", UnusualPattern)
def test_every_pattern_says_what_it_means_and_why_it_may_be_innocent(pattern: UnusualPattern) -> None:
    about = ABOUT[pattern]
    assert about.means.endswith(".")
    assert about.innocent.endswith(".")
    for name in about.reads:
        assert thresholds_of(pattern, {name: 12}) == replace(about.defaults, **{name: 12})


def test_a_threshold_that_means_nothing_is_refused() -> None:
    with pytest.raises(ThresholdError, match="does not read kwh"):
        thresholds_of(UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS, {"kwh": 1})
    with pytest.raises(ThresholdError, match="1 to"):
        thresholds_of(UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS, {"count": 0})
    with pytest.raises(ThresholdError, match="before"):
        thresholds_of(UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS, {"from_hour": 20, "until_hour": 8})
