"""What has happened to an account's money, and to the rules: charges, penalties, payments, publications.

Money is roubles with kopecks. These are members of the closed union ``Event`` in ``events.py``, or parts of its members.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from bels.domain.rulebook import Rulebook
from bels.domain.terms import AccountNumber, EntryNumber, Mode, Money, Period, Purpose, Reason, Register, Rule


@dataclass(frozen=True, slots=True)
class BalanceCarriedOver:
    """Сальдо перенесено из прежней системы: roubles, positive = debt, with the penalties apart; due with ``period``."""

    period: Period
    carried_on: date
    due_on: date
    balance: Money
    penalty: Money


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """Строка начисления: one register in one range: kWh x rate (roubles a kWh), rounded once to a kopeck.

    ``tariff`` names the row of the rulebook, ``rule`` the act and point. With ``coefficient`` the line is the increase of the
    line before it (60(3)): half-up(kWh of that line x rate x coefficient) less its amount, with 0 kWh of its own.
    """

    register: Register
    kwh: int
    rate: Decimal
    range: int
    tariff: str
    rule: Rule
    mode: Mode
    amount: Money
    coefficient: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PenaltyLine:
    """Строка пени: ``principal`` roubles unpaid for ``days`` (since .. until, both included), 1/``divisor`` of ``rate`` percent a day."""

    principal: Money
    since: date
    until: date
    days: int
    divisor: int
    rate: Decimal
    amount: Money


@dataclass(frozen=True, slots=True)
class OverdueSum:
    """Пени на задолженность одного периода: all its lines from the first overdue day on, and what of them is new.

    ``accrued`` is the sum of the lines, ``posted_before`` what earlier closings posted of it; ``is_final``: the sum is paid, no
    further line can come.
    """

    debt: EntryNumber
    period: Period
    due_on: date
    lines: tuple[PenaltyLine, ...]
    accrued: Money
    posted_before: Money
    is_final: bool


@dataclass(frozen=True, slots=True)
class PenaltyAccrued:
    """Пени начислены with the bill of ``period``, through ``through``: ``amount`` is what is new, negative when put right."""

    period: Period
    accrued_on: date
    through: date
    sums: tuple[OverdueSum, ...]
    amount: Money
    rulebook: str
    rule: Rule = Rule.ZHK155


@dataclass(frozen=True, slots=True)
class PaymentReceived:
    """Платёж получен: dated by the payer's operation. ``reference`` is the payer's id of it.

    On a stream of its own (невыясненный платёж) ``meant_for`` is the account as given, and ``unallocated`` says why the payment
    could not go there. ``paid_at`` is the moment of the payer's operation where it is known, ``commission`` what the payer paid on
    top of the amount, as it was shown before.
    """

    amount: Money
    paid_on: date
    received_at: datetime
    purpose: Purpose
    reference: str
    meant_for: str | None = None
    unallocated: Reason | None = None
    paid_at: datetime | None = None
    commission: Money | None = None


@dataclass(frozen=True, slots=True)
class PaymentReversed:
    """Платёж отменён банком или плательщиком: the whole of it, as if it had not been made."""

    payment: EntryNumber
    amount: Money
    reversed_on: date
    reversed_at: datetime
    purpose: Purpose
    reference: str
    ground: str


@dataclass(frozen=True, slots=True)
class RefundMade:
    """Переплата возвращена."""

    amount: Money
    refunded_on: date
    refunded_at: datetime
    ground: str


@dataclass(frozen=True, slots=True)
class PaymentMovedOut:
    """Платёж перенесён на другой лицевой счёт ``to``: taken from here whole, with its date."""

    payment: EntryNumber
    amount: Money
    paid_on: date
    moved_at: datetime
    purpose: Purpose
    reference: str
    to: AccountNumber
    ground: str


@dataclass(frozen=True, slots=True)
class PaymentMovedIn:
    """Платёж перенесён с другого счёта: counts here from the day on which it was paid. ``source`` and ``payment`` name it there."""

    amount: Money
    paid_on: date
    moved_at: datetime
    purpose: Purpose
    reference: str
    source: AccountNumber
    payment: EntryNumber
    ground: str


@dataclass(frozen=True, slots=True)
class RulebookPublished:
    """Опубликованы правила: the whole rulebook from this entry on. ``source`` names the file or the sender.

    ``since`` is the first period whose price changes, ``retroactive`` the reason where it was charged already.
    """

    book: Rulebook
    published_at: datetime
    source: str
    since: Period | None
    retroactive: str | None
