"""Every reason for which the domain refuses is reached, and is the answer that the household or the operator gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

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
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    OpenAccount,
    PaymentTerms,
    PublishRulebook,
    ReceivePayment,
    RecordAccessRefusal,
    RecordInterference,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    ReportMeterFailure,
    RestoreMeter,
    ReversePayment,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, ReadingRefused
from bels.domain.periods import over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    FailureCause,
    Locality,
    Meaning,
    MeterModel,
    Money,
    Period,
    Purpose,
    Reason,
    Register,
    Role,
    Settlement,
    Stove,
)
from tests.domain.trade import INSTALL, METER, OPEN, ORDINARY, TOTAL, closing, day, done, sent, total
from tests.rules import DEFAULT_RULEBOOK

HELD_LESS = (*ORDINARY, sent("2024-02-20", 9_000))
HELD_HIGH = (*ORDINARY, sent("2024-01-20", 90_000))
HELD = EntryNumber(3)
DIGEST = "ab" * 16
MAY = Period("2024-05")
CLOSED = (*ORDINARY, CloseAccount(day("2024-01-20"), "sold"), closing("2024-01"))
PAID = ReceivePayment(Decimal("100.00"), date(2024, 2, 10), day("2024-02-10"), "чек 1")
PAYMENT = EntryNumber(3)
OTHER = AccountNumber("1000001")


def paid(amount: str, on: date = date(2024, 2, 10)) -> ReceivePayment:
    """Pay a sum on 10 February 2024."""
    return ReceivePayment(Decimal(amount), on, day("2024-02-10"), "чек 2")


def refund(amount: str) -> MakeRefund:
    """Return a sum on 15 February 2024."""
    return MakeRefund(Decimal(amount), day("2024-02-15"), "заявление")


def move_in(account: str = "1000001") -> MovePaymentIn:
    """Book a payment that was taken from another account."""
    amount, on = Decimal("100.00"), date(2024, 2, 10)
    return MovePaymentIn(
        amount, on, day("2024-02-15"), Purpose.ENERGY, "чек 1", AccountNumber(account), PAYMENT, "ошибка"
    )


BAD_AMOUNTS = ("0", "0.00", "-1", "0.001", "1.005", "1E+12", "10000000.01", "NaN", "sNaN", "Infinity", "-Infinity")
REVERSE = ReversePayment(PAYMENT, day("2024-02-15"), "отказ банка")
MOVE = MovePaymentOut(PAYMENT, OTHER, day("2024-02-15"), "ошибка")

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
    *((Reason.BAD_AMOUNT, ORDINARY, paid(amount)) for amount in BAD_AMOUNTS),
    *((Reason.BAD_AMOUNT, (*ORDINARY, PAID), refund(amount)) for amount in BAD_AMOUNTS),
    (Reason.BAD_AMOUNT, (OPEN,), CarryOverHistory(None, (), MAY, balance=Decimal("1E+12"))),
    (Reason.BAD_AMOUNT, (OPEN,), CarryOverHistory(None, (), MAY, penalty=Decimal("0.005"))),
    (Reason.BAD_DATES, ORDINARY, paid("1", date(2024, 2, 11))),
    (Reason.BAD_DATES, ORDINARY, paid("1", date(1989, 12, 31))),
    (Reason.UNKNOWN_ACCOUNT, (), PAID),
    (Reason.UNKNOWN_ACCOUNT, (), refund("1")),
    (Reason.UNKNOWN_ACCOUNT, (), move_in()),
    (Reason.ACCOUNT_CLOSED, CLOSED, PAID),
    (Reason.UNKNOWN_PAYMENT, ORDINARY, REVERSE),
    (Reason.UNKNOWN_PAYMENT, ORDINARY, MOVE),
    (Reason.UNKNOWN_PAYMENT, (), REVERSE),
    (Reason.UNKNOWN_PAYMENT, (*ORDINARY, PAID), replace(REVERSE, payment=EntryNumber(2))),
    (Reason.PAYMENT_REVERSED, (*ORDINARY, PAID, REVERSE), REVERSE),
    (Reason.PAYMENT_REVERSED, (*ORDINARY, PAID, REVERSE), MOVE),
    (Reason.PAYMENT_MOVED, (*ORDINARY, PAID, MOVE), MOVE),
    (Reason.PAYMENT_MOVED, (*ORDINARY, PAID, MOVE), REVERSE),
    (Reason.SAME_ACCOUNT, (*ORDINARY, PAID), replace(MOVE, to=AccountNumber("1000000"))),
    (Reason.REFUND_ABOVE_CREDIT, (*ORDINARY, PAID), refund("100.01")),
    (Reason.AMOUNT_TOO_SMALL, ORDINARY, replace(PAID, terms=PaymentTerms(minimum=Money("100.01")))),
    (Reason.AMOUNT_TOO_LARGE, ORDINARY, replace(PAID, terms=PaymentTerms(maximum=Money("99.99")))),
    (Reason.BAD_AMOUNT, ORDINARY, replace(PAID, commission=Money("-0.01"))),
    (
        Reason.COMMISSION_CHANGED,
        ORDINARY,
        replace(PAID, commission=Money("1.00"), terms=PaymentTerms(commission=Money("1.50"))),
    ),
    (Reason.UNKNOWN_ACCOUNT, (), replace(PAID, terms=PaymentTerms(keeps_unallocated=False))),
    (Reason.CANCELLED_TOO_LATE, (*ORDINARY, PAID), replace(REVERSE, by_payer=True)),
    (Reason.REFUND_ABOVE_CREDIT, ORDINARY, refund("0.01")),
    (Reason.REFUND_ABOVE_CREDIT, (*ORDINARY, PAID, REVERSE), refund("0.01")),
]

UNKNOWN_RATES = replace(
    DEFAULT_RULEBOOK, tariffs=tuple(replace(t, rates=dict.fromkeys(t.rates, (None,))) for t in DEFAULT_RULEBOOK.tariffs)
)
NO_RANGES = replace(
    DEFAULT_RULEBOOK,
    tariffs=tuple(replace(t, rates={r: v[:1] for r, v in t.rates.items()}) for t in DEFAULT_RULEBOOK.tariffs),
)
IN_2025 = (
    OpenAccount(day("2025-01-01", 0), Locality.URBAN, Stove.GAS, 2, 3),
    InstallMeter(METER, day("2025-01-01"), total(0)),
)
HUNGRY = (*IN_2025, sent("2025-01-20", 3901), ConfirmReading(HELD, day("2025-01-21"), Role.OPERATOR))

UNPRICED: list[tuple[Reason, Rulebook, tuple[Command, ...], Command]] = [
    (Reason.NO_TARIFF, UNKNOWN_RATES, ORDINARY, closing("2024-01")),
    (Reason.NO_TARIFF, replace(DEFAULT_RULEBOOK, tariffs=()), ORDINARY, closing("2024-01")),
    (Reason.TARIFF_INCOMPLETE, NO_RANGES, HUNGRY, closing("2025-01")),
]


@pytest.mark.parametrize(("reason", "rulebook", "asked", "command"), UNPRICED)
def test_a_rate_that_nobody_has_published_stops_the_closing(
    reason: Reason, rulebook: Rulebook, asked: tuple[Command, ...], command: Command
) -> None:
    account = done(*asked, rulebook=rulebook)

    (refused,) = decide(account, command, rulebook)

    assert isinstance(refused, CommandRefused)
    assert refused.reason is reason
    assert len(decide(account, command, DEFAULT_RULEBOOK)) > 1


BOOK = replace(DEFAULT_RULEBOOK, number=1)
PUBLICATIONS: list[tuple[Reason, PublishRulebook]] = [
    (Reason.BAD_RULEBOOK, PublishRulebook(replace(BOOK, due_days=()), 1, day("2024-02-10"), "file")),
    (Reason.RULEBOOK_CHANGED, PublishRulebook(replace(BOOK, name="other"), 0, day("2024-02-10"), "file")),
    (Reason.NOTHING_CHANGES, PublishRulebook(BOOK, 1, day("2024-02-10"), "file")),
    (
        Reason.PAST_CHARGED,
        PublishRulebook(BOOK.with_settlement(Settlement.IN_PERIOD), 1, day("2024-02-10"), "file", Period("2024-01")),
    ),
]


@pytest.mark.parametrize(("reason", "command"), PUBLICATIONS)
def test_a_rulebook_that_cannot_be_is_refused_with_its_reason(reason: Reason, command: PublishRulebook) -> None:
    (refused,) = decide(nobody("rulebook"), command, BOOK)

    assert isinstance(refused, CommandRefused)
    assert refused.reason is reason


ELSEWHERE = {
    Reason.BAD_ACCOUNT,  # below: it needs another number
    Reason.NOT_UNDERSTOOD,
    Reason.MESSAGE_ID_REUSED,
    Reason.BAD_MESSAGE_ID,
    Reason.RECEIVED_IN_FUTURE,
    Reason.UNCONFIRMED_SENDER,  # tests/domain/test_speak_for.py
    Reason.TOO_MANY_MESSAGES,
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
    reached = {row[0] for row in (*REFUSED, *UNPRICED, *PUBLICATIONS)}
    assert reached | ELSEWHERE == set(Reason)


def test_a_refusal_changes_nothing_but_the_number_of_entries() -> None:
    before = done(*ORDINARY)
    after = done(*ORDINARY, INSTALL, sent("2024-02-20", 1_000_000))

    assert after.readings[: len(before.readings)] == before.readings
    assert after.next_period == before.next_period
