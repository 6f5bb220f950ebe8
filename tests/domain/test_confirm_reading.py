"""Held readings confirmed and rejected (rules 1.2), beyond the vectors."""

from __future__ import annotations

from bels.domain.account import replay
from bels.domain.commands import (
    ConfirmReading,
    InstallMeter,
    RejectReading,
    RemoveMeter,
    SubmitReading,
    TakeControlReading,
)
from bels.domain.events import (
    CommandRefused,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingRejected,
)
from bels.domain.terms import EntryNumber, Meaning, Period, ReadingKind, ReadingStatus, Reason, Role
from tests.domain.trade import METER, OPEN, ORDINARY, ZONE_METER, closing, day, done, sent, stands, total, when, zones

FEBRUARY = Period("2024-02")
JANUARY_READ = (*ORDINARY, sent("2024-01-20", 10_100), closing("2024-01"))


def _confirm(entry: int, role: Role = Role.OPERATOR, meaning: Meaning | None = None) -> ConfirmReading:
    return ConfirmReading(EntryNumber(entry), day("2024-02-24"), role, meaning=meaning)


def test_previous_wrong_disproves_the_readings_that_are_higher() -> None:
    account = done(*JANUARY_READ, sent("2024-02-20", 10_050))
    held = account.readings[-1].entry

    assert when(account, _confirm(held, meaning=Meaning.PREVIOUS_WRONG)) == (
        ReadingConfirmed(held, FEBRUARY, day("2024-02-24"), ReadingKind.PREVIOUS_WRONG, (), Role.OPERATOR, None),
        ReadingDisproved(EntryNumber(3), held),
    )


def test_an_implausible_reading_is_confirmed_by_the_consumer() -> None:
    account = done(*JANUARY_READ, sent("2024-02-20", 40_000))
    held = account.readings[-1].entry

    assert when(account, _confirm(held, Role.CONSUMER)) == (
        ReadingConfirmed(held, FEBRUARY, day("2024-02-24"), ReadingKind.SENT, (), Role.CONSUMER, None),
    )


def test_an_implausible_rollover_is_confirmed_by_an_operator_only() -> None:
    near_the_top = (OPEN, InstallMeter(METER, day("2024-01-01", 1), total(95_500)))
    account = done(*near_the_top, sent("2024-01-03", 90_000))
    held = account.readings[-1].entry

    (refused,) = when(account, _confirm(held, Role.CONSUMER))
    assert isinstance(refused, CommandRefused)
    assert refused.reason is Reason.OPERATOR_ONLY
    assert when(account, _confirm(held)) == (
        ReadingConfirmed(
            held, Period("2024-01"), day("2024-02-24"), ReadingKind.SENT, tuple(total(0)), Role.OPERATOR, None
        ),
    )


def test_an_operator_rejects_a_held_reading() -> None:
    account = done(*JANUARY_READ, sent("2024-02-20", 9_000))
    held = account.readings[-1].entry

    assert when(account, RejectReading(held, day("2024-02-24"), "a slip")) == (
        ReadingRejected(held, day("2024-02-24"), "a slip"),
    )
    assert account.reading(held) is not None


def test_a_held_reading_above_the_final_values_of_its_meter_cannot_be_confirmed() -> None:
    account = done(*JANUARY_READ, sent("2024-02-10", 90_000), RemoveMeter(day("2024-02-12"), total(10_150)))

    (refused,) = when(account, _confirm(account.readings[-2].entry, Role.CONSUMER))

    assert isinstance(refused, CommandRefused)
    assert refused.reason is Reason.MORE_THAN_NEXT


def test_a_held_reading_confirmed_against_a_lower_control_reading_is_disproved_at_once() -> None:
    given = (*JANUARY_READ, sent("2024-02-10", 90_000), TakeControlReading(day("2024-02-12"), total(10_150)))
    account = done(*given)
    held = account.readings[-2].entry

    told = done(
        *given, _confirm(held, Role.CONSUMER), closing("2024-02"), sent("2024-03-20", 10_200), closing("2024-03")
    )

    reading = told.reading(held)
    assert reading is not None
    assert reading.status is ReadingStatus.DISPROVED
    assert stands(told) == {"2024-01": total(100), "2024-02": total(50), "2024-03": total(50)}


def test_a_control_reading_stands_when_a_rollover_and_then_the_next_reading_become_known() -> None:
    account = done(
        OPEN,
        InstallMeter(METER, day("2024-01-01", 1), total(99_900)),
        closing("2024-01"),
        sent("2024-02-10", 20),
        TakeControlReading(day("2024-02-12"), total(30)),
        sent("2024-02-20", 50),
        closing("2024-02"),
    )

    assert stands(account) == {"2024-01": total(0), "2024-02": total(150)}


def test_a_rollover_known_before_a_reading_was_held_is_not_counted_again() -> None:
    account = done(
        OPEN,
        InstallMeter(ZONE_METER, day("2024-01-01", 1), zones(5_000, 5_000, 99_900)),
        closing("2024-01"),
        SubmitReading(day("2024-02-20"), {"peak": "5010", "half_peak": "5000", "night": "20"}),
        closing("2024-02"),
        SubmitReading(day("2024-03-10"), {"peak": "5009", "half_peak": "5000", "night": "30"}),
        TakeControlReading(day("2024-03-12"), zones(5_009, 5_000, 35)),
    )
    held = next(r.entry for r in account.readings if r.status is ReadingStatus.HELD)
    (confirmed,) = when(account, _confirm(held, meaning=Meaning.ROLLOVER))

    told = replay(account, (confirmed, *when(replay(account, (confirmed,)), closing("2024-03"))))

    assert stands(told) == {"2024-01": zones(0, 0, 0), "2024-02": zones(10, 0, 120), "2024-03": zones(-1, 0, 15)}
