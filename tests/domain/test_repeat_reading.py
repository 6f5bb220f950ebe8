"""The same values of the same meter on the same day are one reading, by whatever way and however late they come again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from bels.domain.account import Account, replay
from bels.domain.commands import Command, InstallMeter, ReplaceMeter, SubmitReading, TakeControlReading
from bels.domain.decide import decide
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingSuperseded
from bels.domain.repeat_reading import repeated_reading
from bels.domain.terms import EntryNumber, ReadingStatus, Role
from tests.domain.trade import (
    METER,
    NEW_METER,
    OPEN,
    ORDINARY,
    ZONE_METER,
    closings,
    day,
    done,
    sent,
    total,
    when,
    zones,
)
from tests.rules import DEFAULT_RULEBOOK

FIRST = EntryNumber(3)
"""The first reading of an ordinary account."""


def repeats(account: Account, command: SubmitReading) -> EntryNumber | None:
    """Say which reading a message repeats under the default rules."""
    return repeated_reading(account, command, DEFAULT_RULEBOOK)


def test_the_same_values_later_on_the_day_are_the_first_reading_again() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100))

    assert repeats(account, SubmitReading(day("2024-01-20", 23), {"total": "10100"})) == FIRST
    assert repeats(account, SubmitReading(day("2024-01-20", 0), {"total": "10100"})) == FIRST


def test_the_same_values_by_a_bank_are_the_first_reading_again() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100))

    assert repeats(account, sent("2024-01-20", 10_100, Role.AGENT)) == FIRST


@pytest.mark.parametrize("text", ["10100", "010100", "10100,7", "10100.", "１０１００", "1О1О0"])
def test_it_is_what_was_meant_that_counts_not_how_it_was_written(text: str) -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100))

    assert repeats(account, SubmitReading(day("2024-01-20"), {"total": text})) == FIRST


def test_other_values_on_the_day_are_a_correction() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100))

    assert repeats(account, sent("2024-01-20", 10_101)) is None
    assert repeats(account, SubmitReading(day("2024-01-20"), {"total": "много"})) is None
    assert repeats(account, SubmitReading(day("2024-01-20"), {})) is None


def test_an_unchanged_meter_on_another_day_is_a_reading_of_nothing_used() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100), *closings("2024-01"))

    assert repeats(account, sent("2024-01-21", 10_100)) is None
    (accepted,) = when(account, sent("2024-02-20", 10_100))
    assert isinstance(accepted, ReadingAccepted)
    assert accepted.delta == total(0)


def test_the_moscow_day_counts_and_with_it_the_period() -> None:
    late = SubmitReading(day("2024-01-25", 23) + timedelta(minutes=59), {"total": "10100"})
    account = done(*ORDINARY, late)

    after_midnight = replace(late, received_at=late.received_at + timedelta(minutes=1))
    assert repeats(account, late) == FIRST
    assert repeats(account, after_midnight) is None


def test_the_last_of_several_on_a_day_is_the_one_that_is_repeated() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100), SubmitReading(day("2024-01-20", 13), {"total": "10110"}))
    meant = SubmitReading(day("2024-01-20", 14), {"total": "10110"})

    assert repeats(account, meant) == EntryNumber(4)
    # Whoever writes 6, then 7, then 6 again, means 6.
    assert repeats(account, replace(meant, values={"total": "10100"})) is None


def test_a_held_reading_is_not_repeated_but_sent_again() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 99_000))

    assert account.readings[-1].status is ReadingStatus.HELD
    assert repeats(account, sent("2024-01-20", 99_000)) is None


def test_the_first_value_after_a_slip_that_is_held_takes_the_slip_away() -> None:
    slip = SubmitReading(day("2024-01-20", 13), {"total": "99000"})
    account = done(*ORDINARY, sent("2024-01-20", 10_100), slip)
    again = SubmitReading(day("2024-01-20", 14), {"total": "10100"})

    assert repeats(account, again) is None
    accepted, *superseded = when(account, again)
    assert isinstance(accepted, ReadingAccepted)
    assert ReadingSuperseded(EntryNumber(4), EntryNumber(5)) in superseded


def test_a_row_that_comes_late_repeats_what_the_household_sent_on_that_day() -> None:
    account = done(
        *ORDINARY, sent("2024-01-20", 10_100), *closings("2024-01"), sent("2024-02-20", 10_210), *closings("2024-02")
    )

    assert repeats(account, sent("2024-01-20", 10_100, Role.AGENT)) == FIRST
    assert repeats(account, sent("2024-01-20", 10_101, Role.AGENT)) is None
    assert repeats(account, sent("2024-01-19", 10_100, Role.AGENT)) is None


def test_after_a_control_reading_the_same_values_are_weighed_again() -> None:
    control = TakeControlReading(day("2024-01-20", 13), total(10_105), "акт")
    account = done(*ORDINARY, sent("2024-01-20", 10_100), control)
    later = SubmitReading(day("2024-01-20", 14), {"total": "10100"})

    assert repeats(account, later) is None
    (held,) = when(account, later)
    assert isinstance(held, ReadingHeld)


def test_the_same_values_of_a_new_meter_are_its_own_reading() -> None:
    replaced = ReplaceMeter(NEW_METER, day("2024-01-20", 13), total(10_100), total(10_100), "акт")
    account = done(*ORDINARY, sent("2024-01-20", 10_100), replaced)
    later = SubmitReading(day("2024-01-20", 14), {"total": "10100"})

    assert repeats(account, later) is None
    assert repeats(account, replace(later, meter="M1")) is None


def test_the_meter_may_be_named() -> None:
    account = done(*ORDINARY, sent("2024-01-20", 10_100))
    again = sent("2024-01-20", 10_100)

    assert repeats(account, replace(again, meter="M1")) == FIRST
    assert repeats(account, replace(again, meter="M7")) is None
    assert repeats(account, replace(again, taken_at=day("2024-01-21"))) is None


def test_all_zones_must_be_the_same() -> None:
    installed = InstallMeter(ZONE_METER, day("2024-01-01", 1), zones(0, 0, 0))
    values = {"night": "30", "peak": "10", "half_peak": "20"}
    account = done(OPEN, installed, SubmitReading(day("2024-01-20"), values))

    assert repeats(account, SubmitReading(day("2024-01-20"), dict(reversed(values.items())))) == FIRST
    assert repeats(account, SubmitReading(day("2024-01-20"), {"night": "30", "peak": "10"})) is None
    assert repeats(account, SubmitReading(day("2024-01-20"), {**values, "total": "60"})) is None


def test_the_remote_system_always_says_what_it_means_and_nobody_repeats_it() -> None:
    automatic = InstallMeter(replace(METER, automatic=True), day("2024-01-01", 1), total(10_000))
    remote = sent("2024-01-20", 10_100, Role.REMOTE)
    account = done(OPEN, automatic, remote)

    assert repeats(account, remote) is None
    assert repeats(account, sent("2024-01-20", 10_100)) is None


def test_nobody_repeats_anything_before_the_first_reading() -> None:
    assert repeats(done(), sent("2024-01-20", 10_100)) is None
    assert repeats(done(*ORDINARY), sent("2024-01-20", 10_000)) is None


@drawn(st.lists(st.tuples(st.integers(0, 23), st.integers(10_000, 10_003)), min_size=1, max_size=8))
def test_what_is_taken_for_a_repeat_would_have_billed_the_same(sendings: list[tuple[int, int]]) -> None:
    plain, spared = done(*ORDINARY), done(*ORDINARY)
    for hour, value in sorted(sendings, key=lambda sending: sending[0]):
        command = SubmitReading(day("2024-01-20", hour), {"total": str(value)})
        plain = replay(plain, decide(plain, command, DEFAULT_RULEBOOK))
        if repeats(spared, command) is None:
            spared = replay(spared, decide(spared, command, DEFAULT_RULEBOOK))

    (closing,) = closings("2024-01")
    assert _billed(plain, closing) == _billed(spared, closing)


def _billed(account: Account, closing: Command) -> dict[str, int]:
    closed = replay(account, decide(account, closing, DEFAULT_RULEBOOK)).closed[-1]
    return {register.value: kwh for register, kwh in closed.stands.items()}
