"""Every reason for which the domain refuses is reached, and is the answer that the household or the operator gets."""

from __future__ import annotations

from datetime import date

import pytest

from bels.domain.account import nobody
from bels.domain.commands import (
    CarriedReading,
    CarryOverHistory,
    ChangeResidents,
    CloseAccount,
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    LinkChannel,
    RecordAccessRefusal,
    RecordInterference,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    ReportMeterFailure,
    RestoreMeter,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, ReadingRefused
from bels.domain.periods import over_at
from bels.domain.rulebook import DEFAULT_RULEBOOK
from bels.domain.terms import (
    Channel,
    EntryNumber,
    FailureCause,
    Meaning,
    MeterModel,
    Period,
    Reason,
    Register,
    Role,
)
from tests.domain.trade import INSTALL, METER, OPEN, ORDINARY, TOTAL, closing, day, done, sent, total

HELD_LESS = (*ORDINARY, sent("2024-02-20", 9_000))
HELD_HIGH = (*ORDINARY, sent("2024-01-20", 90_000))
HELD = EntryNumber(3)
DIGEST = "ab" * 16
MAY = Period("2024-05")

REFUSED: list[tuple[Reason, tuple[Command, ...], Command]] = [
    (Reason.UNKNOWN_ACCOUNT, (), sent("2024-02-20", 1)),
    (Reason.UNKNOWN_ACCOUNT, (), closing("2024-01")),
    (Reason.UNKNOWN_ACCOUNT, (), CarryOverHistory(None, (), MAY)),
    (Reason.ACCOUNT_CLOSED, (*ORDINARY, CloseAccount(day("2024-02-10"), "sold")), sent("2024-02-20", 10_100)),
    (Reason.ACCOUNT_CLOSED, (*ORDINARY, CloseAccount(day("2024-02-10"), "sold")), closing("2024-03")),
    (Reason.ACCOUNT_CLOSED, (OPEN, CloseAccount(day("2024-02-10"), "sold")), CarryOverHistory(None, (), MAY)),
    (
        Reason.FOREIGN_METER,
        ORDINARY,
        SubmitReading(day("2024-02-20"), {"total": "10100"}, meter="M9"),
    ),
    (
        Reason.METER_CLOSED,
        (*ORDINARY, RemoveMeter(day("2024-02-10"), total(10_050))),
        SubmitReading(day("2024-02-20"), {"total": "10100"}, meter="M1"),
    ),
    (
        Reason.METER_NOT_READ_BY_CONSUMER,
        (OPEN, InstallMeter(MeterModel("M1", 5, (TOTAL,), automatic=True), day("2024-01-01"), total(0))),
        sent("2024-02-20", 100),
    ),
    (Reason.READINGS_NOT_TAKEN, (OPEN,), sent("2024-02-20", 100)),
    (
        Reason.READINGS_NOT_TAKEN,
        (*ORDINARY, ReportMeterFailure(day("2024-02-10"), FailureCause.LOST)),
        sent("2024-02-20", 10_100),
    ),
    (
        Reason.TAKEN_IN_FUTURE,
        ORDINARY,
        SubmitReading(day("2024-02-20"), {"total": "x"}, taken_at=day("2024-02-21")),
    ),
    (Reason.BAD_VALUE, ORDINARY, SubmitReading(day("2024-02-20"), {"total": "21a0"})),
    (Reason.TOO_FEW_VALUES, ORDINARY, SubmitReading(day("2024-02-20"), {})),
    (Reason.TOO_MANY_VALUES, ORDINARY, SubmitReading(day("2024-02-20"), {"total": "1", "night": "2"})),
    (Reason.TOO_MANY_DIGITS, ORDINARY, sent("2024-02-20", 100_000)),
    (Reason.UNKNOWN_READING, ORDINARY, ConfirmReading(HELD, day("2024-02-21"), Role.OPERATOR)),
    (Reason.UNKNOWN_READING, ORDINARY, RejectReading(HELD, day("2024-02-21"), "")),
    (
        Reason.NOT_HELD,
        (*ORDINARY, sent("2024-02-20", 10_100)),
        ConfirmReading(HELD, day("2024-02-21"), Role.OPERATOR),
    ),
    (Reason.NOT_HELD, (*ORDINARY, sent("2024-02-20", 10_100)), RejectReading(HELD, day("2024-02-21"), "")),
    (
        Reason.OPERATOR_ONLY,
        HELD_LESS,
        ConfirmReading(HELD, day("2024-02-21"), Role.CONSUMER, meaning=Meaning.ROLLOVER),
    ),
    (
        Reason.VALUES_DIFFER,
        HELD_HIGH,
        ConfirmReading(HELD, day("2024-02-21"), Role.CONSUMER, {"total": "90001"}),
    ),
    (Reason.MEANING_REQUIRED, HELD_LESS, ConfirmReading(HELD, day("2024-02-21"), Role.OPERATOR)),
    (
        Reason.BAD_MEANING,
        HELD_HIGH,
        ConfirmReading(HELD, day("2024-02-21"), Role.OPERATOR, meaning=Meaning.PREVIOUS_WRONG),
    ),
    (Reason.ACCOUNT_EXISTS, ORDINARY, OPEN),
    (Reason.BAD_RESIDENTS, ORDINARY, ChangeResidents(date(2024, 3, 1), -1, day("2024-02-20"))),
    (
        Reason.BAD_RESIDENTS,
        ORDINARY,
        RegisterTemporaryResidents(0, date(2024, 3, 1), date(2024, 3, 20), day("2024-02-20")),
    ),
    (
        Reason.BAD_DATES,
        ORDINARY,
        RegisterTemporaryResidents(1, date(2024, 3, 1), date(2024, 3, 6), day("2024-02-20")),
    ),
    (Reason.BAD_DATES, ORDINARY, InstallMeter(METER, day("2023-12-20"), total(1))),
    (Reason.BAD_DATES, ORDINARY, CloseAccount(day("2023-12-20"), "")),
    (Reason.BAD_METER, (OPEN,), InstallMeter(MeterModel("M1", 4, (TOTAL,)), day("2024-01-01"), total(1))),
    (
        Reason.BAD_METER,
        (OPEN,),
        InstallMeter(MeterModel("M1", 5, (Register.DAY,)), day("2024-01-01"), {Register.DAY: 1}),
    ),
    (
        Reason.BAD_METER,
        (OPEN,),
        CarryOverHistory(None, (CarriedReading(day("2024-01-20"), total(1)),), Period("2024-01")),
    ),
    (Reason.METER_EXISTS, ORDINARY, InstallMeter(METER, day("2024-02-10"), total(1))),
    (Reason.NO_METER, (OPEN,), TakeControlReading(day("2024-02-10"), total(1))),
    (Reason.NO_METER, (OPEN,), RecordAccessRefusal(day("2024-02-10"))),
    (Reason.NO_METER, (OPEN,), RemoveMeter(day("2024-02-10"), total(1))),
    (Reason.METER_NOT_FAILED, ORDINARY, RestoreMeter(day("2024-02-10"), total(1))),
    (
        Reason.ALREADY_FAILED,
        (*ORDINARY, ReportMeterFailure(day("2024-02-10"), FailureCause.FAILED)),
        ReportMeterFailure(day("2024-02-11"), FailureCause.FAILED),
    ),
    (
        Reason.ALREADY_FAILED,
        (*ORDINARY, ReportMeterFailure(day("2024-02-10"), FailureCause.FAILED)),
        TakeControlReading(day("2024-02-11"), total(10_100)),
    ),
    (
        Reason.ALREADY_FAILED,
        (*ORDINARY, ReportMeterFailure(day("2024-02-10"), FailureCause.FAILED)),
        RemoveMeter(day("2024-02-11"), None),
    ),
    (Reason.LESS_THAN_PREVIOUS, ORDINARY, RemoveMeter(day("2024-02-10"), total(9_000))),
    (
        Reason.MORE_THAN_NEXT,
        (*ORDINARY, sent("2024-02-20", 10_200)),
        TakeControlReading(day("2024-02-10"), total(10_300)),
    ),
    (Reason.ACT_OUT_OF_ORDER, ORDINARY, RemoveMeter(day("2024-01-01", 0), total(10_000))),
    (
        Reason.ACT_OUT_OF_ORDER,
        (*ORDINARY, TakeControlReading(day("2024-02-15"), total(10_100))),
        RemoveMeter(day("2024-02-10"), total(10_050)),
    ),
    (Reason.PERIOD_CLOSED, (*ORDINARY, closing("2024-01")), ChangeResidents(date(2024, 1, 1), 2, day("2024-02-05"))),
    (
        Reason.PERIOD_CLOSED,
        (*ORDINARY, closing("2024-01"), closing("2024-02")),
        CloseAccount(day("2024-01-15"), "sold"),
    ),
    (
        Reason.PERIOD_NOT_CLOSED,
        ORDINARY,
        RecordInterference(day("2024-02-10"), (Period("2024-01"),)),
    ),
    (
        Reason.PERIOD_NOT_CLOSED,
        ORDINARY,
        TakeControlReading(day("2024-02-10"), total(10_100), proven={Period("2024-01"): total(50)}),
    ),
    (
        Reason.PERIOD_NOT_CLOSED,
        (OPEN,),
        CarryOverHistory(METER, (CarriedReading(day("2024-01-20"), total(1)),), Period("2024-02")),
    ),
    (Reason.TOO_MANY_PERIODS, ORDINARY, RecordInterference(day("2024-02-10"), ())),
    (
        Reason.NOT_MIGRATING,
        ORDINARY,
        CarryOverHistory(METER, (CarriedReading(day("2024-01-20"), total(1)),), Period("2024-01")),
    ),
    (Reason.PERIOD_NOT_OVER, ORDINARY, ClosePeriod(Period("2024-01"), day("2024-01-31"))),
    (Reason.PERIOD_ALREADY_CLOSED, (*ORDINARY, closing("2024-01")), closing("2024-01")),
    (Reason.PERIOD_OUT_OF_ORDER, ORDINARY, ClosePeriod(MAY, over_at(MAY))),
    (
        Reason.ALREADY_LINKED,
        (*ORDINARY, LinkChannel(Channel.SMS, DIGEST, day("2024-02-10"))),
        LinkChannel(Channel.SMS, DIGEST, day("2024-02-11")),
    ),
    (Reason.NOT_LINKED, ORDINARY, UnlinkChannel(Channel.SMS, DIGEST, day("2024-02-11"))),
    (Reason.BAD_ADDRESS, ORDINARY, LinkChannel(Channel.SMS, "+79031234567", day("2024-02-11"))),
]

ELSEWHERE = {
    Reason.BAD_ACCOUNT,  # below: it needs another number
    Reason.NOT_UNDERSTOOD,
    Reason.MESSAGE_ID_REUSED,
    Reason.BAD_MESSAGE_ID,
    Reason.RECEIVED_IN_FUTURE,
}


@pytest.mark.parametrize(
    ("reason", "asked", "command"), REFUSED, ids=[f"{c.__class__.__name__}-{r}" for r, _, c in REFUSED]
)
def test_what_cannot_be_is_refused_with_its_reason(
    reason: Reason, asked: tuple[Command, ...], command: Command
) -> None:
    (refused,) = decide(done(*asked), command, DEFAULT_RULEBOOK)

    assert isinstance(refused, CommandRefused | ReadingRefused)
    assert refused.reason is reason


@pytest.mark.parametrize("command", [OPEN, sent("2024-02-20", 1)])
def test_an_account_number_has_seven_digits(command: Command) -> None:
    (refused,) = decide(nobody("100000"), command, DEFAULT_RULEBOOK)

    assert isinstance(refused, CommandRefused | ReadingRefused)
    assert refused.reason is Reason.BAD_ACCOUNT


def test_every_reason_of_the_domain_is_reached() -> None:
    assert {reason for reason, _, _ in REFUSED} | ELSEWHERE == set(Reason)


def test_a_refusal_changes_nothing_but_the_number_of_entries() -> None:
    before = done(*ORDINARY)
    after = done(*ORDINARY, INSTALL, sent("2024-02-20", 1_000_000))

    assert after.readings[: len(before.readings)] == before.readings
    assert after.next_period == before.next_period
