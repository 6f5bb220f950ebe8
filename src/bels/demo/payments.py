"""How the households of the town pay: most of them each bill, by bank; some in advance, in parts, late, or not at all.

A plan is made before anything is billed, so a payment says only how its sum follows from what the account then owes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR
from random import Random

from bels.demo.household import FIRST_NUMBER, HELD, Household, Step, Sum, Town
from bels.domain.commands import (
    ClosePeriod,
    Command,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    ReceivePayment,
    ReversePayment,
)
from bels.domain.ledger import Ledger
from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW, first_day, shift
from bels.domain.terms import AccountNumber, Channel, Money, Period, Purpose, Word

REGISTER_AT = time(21, 30)
"""When the bank sends the register of the day's payments."""

NOBODY = "1999999"
"""An account that no town has: somebody writes it into a payment order."""

ROUND, STEP = Money("500"), Money("100")
DISPUTED = Money("20000")
"""Who is billed more than this has sent a wrong reading, and does not pay before it is put right."""


class Habit(Word):
    """How a household pays its bills."""

    WHOLE = "WHOLE"
    ROUNDED_UP = "ROUNDED_UP"
    IN_PARTS = "IN_PARTS"
    LATE = "LATE"
    FORGETFUL = "FORGETFUL"
    DEBTOR = "DEBTOR"
    MISTYPED = "MISTYPED"
    REVERSED = "REVERSED"
    STRAYED = "STRAYED"
    STANDING_ORDER = "STANDING_ORDER"


DRAWN: Mapping[Habit, int] = {
    Habit.WHOLE: 60,
    Habit.ROUNDED_UP: 15,
    Habit.IN_PARTS: 6,
    Habit.LATE: 9,
    Habit.FORGETFUL: 8,
    Habit.DEBTOR: 2,
}
"""The habits of a drawn household, in a hundred."""


@dataclass(slots=True)
class _Payer:
    """A household while its payments are planned; ``count`` numbers them."""

    h: Household
    chance: Random
    count: int = 0

    def send(
        self,
        on: date,
        command: Command,
        channel: Channel = Channel.BANK,
        *,
        account: str | None = None,
        answers: str | None = None,
        sum_: Sum | None = None,
    ) -> str:
        """Plan a message of a day, unless it is after the end; give its name."""
        name = f"demo:{self.h.number}:money:{self.count}"
        self.count += 1
        at = datetime.combine(on, REGISTER_AT, MOSCOW)
        if at <= self.h.town.until:
            step = Step(at, name, account or self.h.number, channel, command, answers, sum_, self.h.number)
            self.h.steps.append(step)
        return name

    def pay(self, on: date, sum_: Sum, account: str | None = None, purpose: Purpose = Purpose.ENERGY) -> str:
        """Pay by bank."""
        reference = f"{on:%Y%m%d}-{self.h.number}-{self.count}"
        at = datetime.combine(on, REGISTER_AT, MOSCOW)
        return self.send(on, ReceivePayment(ZERO, on, at, reference, purpose), account=account, sum_=sum_)


def plan_payments(h: Household, habit: Habit | None) -> None:
    """Plan the payments of a household whose closings are planned; without a habit it is drawn."""
    # A chance of its own: what the household consumes does not depend on how it pays.
    chance = Random(f"{h.town.seed}:{h.index}:money")
    habit = habit or chance.choices(list(DRAWN), list(DRAWN.values()))[0]
    payer = _Payer(h, chance)
    periods = [step.command.period for step in h.steps if isinstance(step.command, ClosePeriod)]
    for i, period in enumerate(periods):
        _pay_bill(payer, habit, period, i, len(periods) - i)


def plan_strays(town: Town) -> list[Step]:
    """Plan the payment that came for an account that is not there."""
    on = first_day(shift(town.now, -1)) + timedelta(days=13)
    at = datetime.combine(on, REGISTER_AT, MOSCOW)
    payment = ReceivePayment(Money("1200.00"), on, at, f"{on:%Y%m%d}-{NOBODY}-0")
    return [Step(at, f"demo:{NOBODY}:money:0", NOBODY, Channel.BANK, payment)]


def _pay_bill(payer: _Payer, habit: Habit, period: Period, i: int, back: int) -> None:
    """Pay the bill of a period, the ``i``-th of the household and the ``back``-th from the last."""
    next_month = first_day(shift(period, 1))
    usual = next_month + timedelta(days=payer.chance.randint(2, 19))
    match habit:
        case Habit.WHOLE:
            payer.pay(usual, Sum.WHOLE)
        case Habit.ROUNDED_UP:
            payer.pay(usual, Sum.ROUNDED_UP)
        case Habit.IN_PARTS:
            payer.pay(usual, Sum.WHOLE if i % 3 == 2 else Sum.PART)
        case Habit.LATE:
            if i % 2:
                late = next_month + timedelta(days=payer.chance.randint(62, 80))
                payer.pay(late, Sum.WHOLE)
                payer.pay(late, Sum.PENALTY, purpose=Purpose.PENALTY)
        case Habit.FORGETFUL:
            if payer.chance.random() >= 0.3:
                payer.pay(usual, Sum.WHOLE)
        case Habit.DEBTOR:
            if back > 5:
                payer.pay(usual, Sum.WHOLE)
        case Habit.MISTYPED:
            payer.pay(usual, Sum.TENFOLD if back == 4 else Sum.WHOLE)
            if back == 4:
                _refund(payer, usual + timedelta(days=6))
        case Habit.REVERSED:
            _reverse(payer, next_month) if back == 3 else payer.pay(usual, Sum.WHOLE)
        case Habit.STRAYED:
            _stray(payer, next_month) if back == 3 else payer.pay(usual, Sum.WHOLE)
        case Habit.STANDING_ORDER:
            payer.pay(next_month + timedelta(days=14), Sum.WHOLE)
            if back == 1:
                payer.pay(next_month + timedelta(days=24), Sum.STANDING_ORDER)


def _refund(payer: _Payer, on: date) -> None:
    at = datetime.combine(on, REGISTER_AT, MOSCOW)
    refund = MakeRefund(ZERO, at, "Заявление потребителя: ошибся на порядок")
    payer.send(on, refund, Channel.OFFICE, sum_=Sum.OVERPAID)


def _reverse(payer: _Payer, month: date) -> None:
    first = payer.pay(month + timedelta(days=4), Sum.WHOLE)
    on = month + timedelta(days=6)
    at = datetime.combine(on, REGISTER_AT, MOSCOW)
    payer.send(on, ReversePayment(HELD, at, "Банк отозвал платёж"), answers=first)
    payer.pay(month + timedelta(days=9), Sum.WHOLE)


def _stray(payer: _Payer, month: date) -> None:
    """Pay to the neighbour's account; the office moves the payment to where it belongs."""
    neighbour = f"{FIRST_NUMBER + payer.h.index - 1:07d}"
    own = AccountNumber(payer.h.number)
    paid_on = month + timedelta(days=3)
    paid = payer.pay(paid_on, Sum.WHOLE, neighbour)
    on = month + timedelta(days=5)
    at = datetime.combine(on, REGISTER_AT, MOSCOW)
    ground = "Заявление потребителя: ошибся в номере счёта"
    out = payer.send(on, MovePaymentOut(HELD, own, at, ground), Channel.OFFICE, account=neighbour, answers=paid)
    booked = MovePaymentIn(ZERO, paid_on, at, Purpose.ENERGY, "", AccountNumber(neighbour), HELD, ground)
    payer.send(on, booked, Channel.OFFICE, answers=out)


def amount_of(how: Sum, ledger: Ledger) -> Money:
    """Give the sum of a payment or a refund, from what its payer owes; 0 or less: there is nothing to pay."""
    owed = ledger.balance
    if owed > DISPUTED and how is not Sum.PENALTY:
        return ZERO
    match how:
        case Sum.WHOLE:
            return owed
        case Sum.ROUNDED_UP:
            return (owed / ROUND).to_integral_value(ROUND_CEILING) * ROUND
        case Sum.PART:
            return (owed / 2 / STEP).to_integral_value(ROUND_FLOOR) * STEP
        case Sum.TENFOLD:
            return owed * 10
        case Sum.OVERPAID:
            return ledger.overpaid
        case Sum.PENALTY:
            return ledger.penalty
        case Sum.STANDING_ORDER:
            return ROUND
