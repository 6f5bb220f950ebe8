"""Commands that nobody should send, and sensible ones in any order."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from bels.domain.commands import (
    CarriedPeriod,
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
    ReceivePayment,
    RecordAccessRefusal,
    RecordInterference,
    RegisterAbsence,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    ReplaceMeter,
    ReportMeterFailure,
    RestoreMeter,
    ReversePayment,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.periods import MOSCOW, over_at, shift
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    FailureCause,
    Locality,
    Meaning,
    MeterModel,
    Mode,
    Period,
    Purpose,
    Register,
    Role,
    Stove,
)

_START = datetime(2024, 1, 1, tzinfo=MOSCOW)
TOTAL = Register.TOTAL
ZONES = (Register.PEAK, Register.HALF_PEAK, Register.NIGHT)

instants = st.integers(0, 330).map(lambda days: _START + timedelta(days=days, hours=days * 5 % 24))
days = st.integers(0, 400).map(lambda n: date(2023, 11, 1) + timedelta(days=n))
periods = st.integers(-2, 11).map(lambda n: shift(Period("2024-01"), n))
numbers = st.one_of(st.integers(0, 3000), st.sampled_from((-1, 0, 4990, 99_000, 99_990, 10**5, 10**6, 10**30)))
registers = st.sampled_from(((TOTAL,), (TOTAL,), (TOTAL,), ZONES, (Register.DAY, Register.NIGHT), (), (TOTAL, TOTAL)))
kwh = st.one_of(
    numbers.map(lambda n: {TOTAL: n}),
    st.tuples(numbers, numbers, numbers).map(lambda v: dict(zip(ZONES, v, strict=True))),
    st.dictionaries(st.sampled_from(tuple(Register)), numbers, max_size=4),
)
good_kwh = st.integers(0, 3000).map(lambda n: {TOTAL: n})
texts = st.one_of(
    st.integers(0, 3000).map(lambda n: {"total": str(n)}),
    st.tuples(numbers, numbers, numbers).map(lambda v: {r.value: str(n) for r, n in zip(ZONES, v, strict=True)}),
    st.dictionaries(
        st.sampled_from(("total", "day", "night", "peak", "half_peak", "", "итого")),
        st.one_of(numbers.map(str), st.text(max_size=12), st.sampled_from(("", " ", "12,5", "١٢", "½", "9" * 500))),
        max_size=4,
    ),
)
entries = st.integers(-1, 40).map(EntryNumber)
roles = st.sampled_from(tuple(Role))
meanings = st.sampled_from((None, None, *Meaning))
models = st.builds(
    MeterModel,
    st.sampled_from(("M1", "M2", "", "x" * 50)),
    st.sampled_from((4, 5, 5, 5, 7)),
    registers,
    automatic=st.sampled_from((False, False, False, True)),
)
good_models = st.builds(MeterModel, st.just("M3"), st.just(5), st.sampled_from(((TOTAL,), (TOTAL,), ZONES)))


def _closing(period: Period) -> ClosePeriod:
    return ClosePeriod(period, over_at(period))


def _installation(model: MeterModel, at: datetime, n: int) -> InstallMeter:
    return InstallMeter(model, at, dict.fromkeys(model.registers, n))


def _carrying(model: MeterModel, at: datetime, n: int, later: int, through: Period) -> CarryOverHistory:
    return CarryOverHistory(
        model,
        tuple(
            CarriedReading(at + timedelta(days=30 * i), dict.fromkeys(model.registers, n + 100 * i))
            for i in range(later)
        ),
        through,
    )


acts: st.SearchStrategy[Command] = st.one_of(
    st.builds(_installation, good_models, instants, st.integers(0, 3000)),
    st.builds(InstallMeter, models, instants, kwh),
    st.builds(RemoveMeter, instants, st.one_of(st.none(), good_kwh, kwh), st.just(""), meanings),
    st.builds(
        ReplaceMeter,
        st.one_of(good_models, models),
        instants,
        st.one_of(st.none(), good_kwh, kwh),
        st.one_of(good_kwh, kwh),
        st.just(""),
        meanings,
    ),
    st.builds(ReportMeterFailure, instants, st.sampled_from(tuple(FailureCause))),
    st.builds(RestoreMeter, instants, st.one_of(good_kwh, kwh)),
    st.builds(
        TakeControlReading,
        instants,
        st.one_of(good_kwh, good_kwh, kwh),
        st.just(""),
        registers,
        st.one_of(st.none(), st.dictionaries(periods, kwh, max_size=2)),
    ),
    st.builds(RecordAccessRefusal, instants),
    st.builds(RecordInterference, instants, st.lists(periods, max_size=4).map(tuple)),
)

readings: st.SearchStrategy[Command] = st.one_of(
    st.builds(SubmitReading, instants, texts, roles, st.one_of(st.none(), instants)),
    st.builds(SubmitReading, instants, st.integers(0, 3000).map(lambda n: {"total": str(n)})),
    st.builds(SubmitReading, instants, st.integers(99_000, 99_999).map(lambda n: {"total": str(n)})),
    st.builds(SubmitReading, instants, texts, meter=st.sampled_from(("M1", "M2", "M9", ""))),
    st.builds(ConfirmReading, entries, instants, st.just(Role.OPERATOR), st.none(), meanings),
    st.builds(ConfirmReading, entries, instants, roles, st.one_of(st.none(), texts), meanings),
    st.builds(RejectReading, entries, instants, st.just("")),
)

life: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        OpenAccount,
        instants,
        st.sampled_from(tuple(Locality)),
        st.sampled_from(tuple(Stove)),
        st.integers(-1, 40),
        st.integers(-1, 101),
        st.integers(0, 3),
    ),
    st.builds(CloseAccount, instants, st.just("sold")),
    st.builds(
        CarryOverHistory,
        st.one_of(st.none(), models, good_models),
        st.lists(st.builds(CarriedReading, instants, kwh), max_size=3).map(tuple),
        periods,
        st.lists(st.builds(CarriedPeriod, periods, st.sampled_from(tuple(Mode)), kwh, st.booleans()), max_size=3).map(
            tuple
        ),
        st.one_of(st.none(), instants),
    ),
    st.builds(_carrying, good_models, instants, st.integers(0, 3000), st.integers(0, 4), periods),
    st.builds(ChangeResidents, days, st.integers(-1, 101), instants, st.integers(0, 101)),
    st.builds(RegisterTemporaryResidents, st.integers(-1, 101), days, days, instants),
    st.builds(RegisterAbsence, st.integers(-1, 101), days, days, instants),
    st.builds(LinkChannel, st.sampled_from(tuple(Channel)), st.sampled_from(("", "ab" * 16, "+7")), instants),
    st.builds(UnlinkChannel, st.sampled_from(tuple(Channel)), st.sampled_from(("", "ab" * 16, "+7")), instants),
)

amounts = st.one_of(
    st.integers(1, 10**6).map(lambda n: Decimal(n) / 100),
    st.sampled_from(("0", "-5.00", "0.001", "1E+12", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "1E-999")).map(
        Decimal
    ),
)
purposes = st.sampled_from((Purpose.ENERGY, Purpose.ENERGY, Purpose.PENALTY))
neighbours = st.sampled_from(("1000000", "1000001", "", "rulebook")).map(AccountNumber)

money: st.SearchStrategy[Command] = st.one_of(
    st.builds(ReceivePayment, amounts, days, instants, st.text(max_size=5), purposes),
    st.builds(
        lambda amount, at, n: ReceivePayment(amount, (at - timedelta(days=n)).date(), at, "чек"),
        amounts,
        instants,
        st.integers(0, 200),
    ),
    st.builds(ReversePayment, entries, instants, st.just("")),
    st.builds(MakeRefund, amounts, instants, st.just("")),
    st.builds(MovePaymentOut, entries, neighbours, instants, st.just("")),
    st.builds(
        MovePaymentIn,
        st.integers(1, 10**6).map(lambda n: Decimal(n) / 100),
        days,
        instants,
        purposes,
        st.just(""),
        neighbours,
        entries,
        st.just(""),
    ),
    st.builds(
        lambda through, balance, penalty: CarryOverHistory(None, (), through, balance=balance, penalty=penalty),
        periods,
        amounts,
        amounts,
    ),
)

closings: st.SearchStrategy[Command] = st.one_of(periods.map(_closing), st.builds(ClosePeriod, periods, instants))

_opened: list[Command] = [
    OpenAccount(_START, Locality.URBAN, Stove.GAS, 2, 3),
    InstallMeter(MeterModel("M1", 5, (TOTAL,)), _START, {TOTAL: 99_500}),
]


@st.composite
def absurd_commands(draw: st.DrawFn) -> list[Command]:
    """Draw some forty commands: on nobody's account, or on an ordinary one whose months are closed among them."""
    anything = st.one_of(acts, readings, readings, life, money, closings)
    if draw(st.integers(0, 3)) == 0:
        return draw(st.lists(anything, max_size=25))
    asked = list(_opened)
    start = draw(st.sampled_from((0, 500)))
    asked[1] = InstallMeter(MeterModel("M1", 5, (TOTAL,)), _START, {TOTAL: start})
    for month in range(draw(st.integers(1, 9))):
        asked += draw(st.lists(st.one_of(acts, readings, readings, money, anything), max_size=5))
        asked.append(_closing(shift(Period("2024-01"), month)))
    return asked
