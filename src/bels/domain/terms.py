"""The words of the trade, as types: one word for one thing, with its Russian term.

Volumes are whole kWh, instants are timezone-aware, periods are calendar months of Europe/Moscow written ``YYYY-MM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NewType

AccountNumber = NewType("AccountNumber", str)
"""Лицевой счёт: exactly seven digits."""

Period = NewType("Period", str)
"""Расчётный период: a calendar month, ``YYYY-MM``; text order is order in time. Arithmetic is in ``periods.py``."""

EntryNumber = NewType("EntryNumber", int)
"""Place of an entry in its account's journal, from 1. A meter and a reading are named by the entry that brought them."""


Money = Decimal
"""Roubles with two digits, exact. A sum that the rules round is rounded once, half-up on the absolute value."""


class Word(StrEnum):
    """A closed set of words that hashes as fast as its text."""

    __hash__ = str.__hash__


class Register(Word):
    """Регистр счётчика, зона суток (ФСТ 1473-э)."""

    TOTAL = "total"
    DAY = "day"
    PEAK = "peak"
    HALF_PEAK = "half_peak"
    NIGHT = "night"


Kwh = Mapping[Register, int]
"""Whole kWh per register, or the integer digits a register shows. Never mutated: the type has no setter."""

REGISTER_ORDER: tuple[Register, ...] = tuple(Register)
"""Order of registers wherever ties are broken (rules 1.4, 1.6): total, day, peak, half_peak, night."""

REGISTER_SETS: tuple[frozenset[Register], ...] = (
    frozenset({Register.TOTAL}),
    frozenset({Register.DAY, Register.NIGHT}),
    frozenset({Register.PEAK, Register.HALF_PEAK, Register.NIGHT}),
)
"""The register sets a household meter may have: one, two or three zones."""


class Scheme(Word):
    """Тарифная схема: which registers a tariff has rates for."""

    SINGLE = "single"
    TWO_ZONE = "two_zone"
    THREE_ZONE = "three_zone"


SCHEME_REGISTERS: Mapping[Scheme, tuple[Register, ...]] = {
    Scheme.SINGLE: (Register.TOTAL,),
    Scheme.TWO_ZONE: (Register.DAY, Register.NIGHT),
    Scheme.THREE_ZONE: (Register.PEAK, Register.HALF_PEAK, Register.NIGHT),
}
"""The registers of each scheme."""


class RateStatus(Word):
    """Откуда ставка: published by an act, derived from published ones, or not known."""

    PUBLISHED = "published"
    DERIVED = "derived"
    UNKNOWN = "unknown"


class Purpose(Word):
    """Назначение платежа: what a payment pays. Penalties never draw on payments for electricity (rules 1.9)."""

    ENERGY = "ENERGY"
    PENALTY = "PENALTY"


class MovementKind(Word):
    """Вид проводки: what moves money on an account. Its two ledgers are in ``post_movements.py``."""

    OPENING = "OPENING"
    CHARGE = "CHARGE"
    RECALCULATION = "RECALCULATION"
    PAYMENT = "PAYMENT"
    REVERSAL = "REVERSAL"
    REFUND = "REFUND"
    MOVED_OUT = "MOVED_OUT"
    MOVED_IN = "MOVED_IN"
    PENALTY = "PENALTY"


class LedgerName(Word):
    """Счёт бухгалтерского учёта, on which a movement is booked."""

    RECEIVABLE = "RECEIVABLE"
    REVENUE = "REVENUE"
    RECALCULATED = "RECALCULATED"
    BANK = "BANK"
    SUSPENSE = "SUSPENSE"
    TRANSFERS = "TRANSFERS"
    PENALTY_RECEIVABLE = "PENALTY_RECEIVABLE"
    PENALTY_INCOME = "PENALTY_INCOME"
    OPENING_BALANCE = "OPENING_BALANCE"


class PaymentState(Word):
    """Состояние платежа."""

    RECEIVED = "RECEIVED"
    REVERSED = "REVERSED"
    MOVED = "MOVED"
    RETURNED = "RETURNED"


class Locality(Word):
    """Тип населённого пункта: decides the tariff group."""

    URBAN = "urban"
    RURAL = "rural"


class Stove(Word):
    """Тип плиты: decides the norm and the tariff group."""

    GAS = "gas"
    ELECTRIC = "electric"


class Channel(Word):
    """Канал: how a message came. It follows from the sender's credential, never from the sender's words."""

    WEB = "web"
    CABINET = "cabinet"
    MOBILE = "mobile"
    SMS = "sms"
    VOICE = "voice"
    EMAIL = "email"
    TELEGRAM = "telegram"
    MAX = "max"
    OFFICE = "office"
    INSPECTOR = "inspector"
    GIS = "gis"
    BANK = "bank"
    REMOTE = "remote"
    CLOSING = "closing"
    MIGRATION = "migration"


class Mode(Word):
    """Способ начисления: how the kWh of a period were found."""

    METERED = "METERED"
    AVERAGE = "AVERAGE"
    NORMATIVE = "NORMATIVE"
    NORMATIVE_INCREASED = "NORMATIVE_INCREASED"


class Settlement(Word):
    """Порядок перерасчёта: how a reading after missed periods puts the estimates right (rules 1.4)."""

    REDISTRIBUTE = "REDISTRIBUTE"
    IN_PERIOD = "IN_PERIOD"
    NEXT_PERIOD = "NEXT_PERIOD"


class ReadingKind(Word):
    """Вид показания. ``PREVIOUS_WRONG`` is a held reading that an operator let stand: it acts as a control reading."""

    SENT = "SENT"
    INITIAL = "INITIAL"
    FINAL = "FINAL"
    CONTROL = "CONTROL"
    PREVIOUS_WRONG = "PREVIOUS_WRONG"


class ReadingStatus(Word):
    """Состояние показания. Only ``ACCEPTED`` counts; nothing is ever deleted."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    SUPERSEDED = "SUPERSEDED"
    DISPROVED = "DISPROVED"
    DISREGARDED = "DISREGARDED"
    REJECTED = "REJECTED"
    REFUSED = "REFUSED"


class HoldReason(Word):
    """Почему показание на проверке (rules 1.2)."""

    LESS_THAN_PREVIOUS = "LESS_THAN_PREVIOUS"
    IMPLAUSIBLE = "IMPLAUSIBLE"
    MORE_THAN_NEXT = "MORE_THAN_NEXT"
    UNCONFIRMED_SENDER = "UNCONFIRMED_SENDER"
    """Whoever sent it has not proved that he may speak for the account (channels 1)."""


class Meaning(Word):
    """What an operator says of a value that went down: переход через ноль, or the previous reading was wrong."""

    ROLLOVER = "ROLLOVER"
    PREVIOUS_WRONG = "PREVIOUS_WRONG"


class Reason(Word):
    """Why bels refuses: stable codes, the same on every channel."""

    # A reading (rules 1.2), in the order of the checks.
    BAD_ACCOUNT = "BAD_ACCOUNT"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    FOREIGN_METER = "FOREIGN_METER"
    METER_CLOSED = "METER_CLOSED"
    METER_NOT_READ_BY_CONSUMER = "METER_NOT_READ_BY_CONSUMER"
    READINGS_NOT_TAKEN = "READINGS_NOT_TAKEN"
    TAKEN_IN_FUTURE = "TAKEN_IN_FUTURE"
    BAD_VALUE = "BAD_VALUE"
    TOO_FEW_VALUES = "TOO_FEW_VALUES"
    TOO_MANY_VALUES = "TOO_MANY_VALUES"
    TOO_MANY_DIGITS = "TOO_MANY_DIGITS"
    # A confirmation.
    NOT_HELD = "NOT_HELD"
    OPERATOR_ONLY = "OPERATOR_ONLY"
    VALUES_DIFFER = "VALUES_DIFFER"
    MEANING_REQUIRED = "MEANING_REQUIRED"
    BAD_MEANING = "BAD_MEANING"
    UNKNOWN_READING = "UNKNOWN_READING"
    # An account's life and acts.
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    BAD_RESIDENTS = "BAD_RESIDENTS"
    BAD_DATES = "BAD_DATES"
    BAD_METER = "BAD_METER"
    METER_EXISTS = "METER_EXISTS"
    NO_METER = "NO_METER"
    METER_NOT_FAILED = "METER_NOT_FAILED"
    ALREADY_FAILED = "ALREADY_FAILED"
    LESS_THAN_PREVIOUS = "LESS_THAN_PREVIOUS"
    MORE_THAN_NEXT = "MORE_THAN_NEXT"
    ACT_OUT_OF_ORDER = "ACT_OUT_OF_ORDER"
    PERIOD_CLOSED = "PERIOD_CLOSED"
    PERIOD_NOT_CLOSED = "PERIOD_NOT_CLOSED"
    TOO_MANY_PERIODS = "TOO_MANY_PERIODS"
    NOT_MIGRATING = "NOT_MIGRATING"
    # A closing.
    PERIOD_NOT_OVER = "PERIOD_NOT_OVER"
    PERIOD_ALREADY_CLOSED = "PERIOD_ALREADY_CLOSED"
    PERIOD_OUT_OF_ORDER = "PERIOD_OUT_OF_ORDER"
    NO_TARIFF = "NO_TARIFF"
    TARIFF_INCOMPLETE = "TARIFF_INCOMPLETE"
    # Money.
    BAD_AMOUNT = "BAD_AMOUNT"
    UNKNOWN_PAYMENT = "UNKNOWN_PAYMENT"
    PAYMENT_REVERSED = "PAYMENT_REVERSED"
    PAYMENT_MOVED = "PAYMENT_MOVED"
    SAME_ACCOUNT = "SAME_ACCOUNT"
    REFUND_ABOVE_CREDIT = "REFUND_ABOVE_CREDIT"
    AMOUNT_TOO_SMALL = "AMOUNT_TOO_SMALL"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    COMMISSION_CHANGED = "COMMISSION_CHANGED"
    CANCELLED_TOO_LATE = "CANCELLED_TOO_LATE"
    # The rulebook.
    BAD_RULEBOOK = "BAD_RULEBOOK"
    PAST_CHARGED = "PAST_CHARGED"
    RULEBOOK_CHANGED = "RULEBOOK_CHANGED"
    NOTHING_CHANGES = "NOTHING_CHANGES"
    # A link of a channel.
    ALREADY_LINKED = "ALREADY_LINKED"
    NOT_LINKED = "NOT_LINKED"
    BAD_ADDRESS = "BAD_ADDRESS"
    UNCONFIRMED_SENDER = "UNCONFIRMED_SENDER"
    # A message that never becomes a command, or cannot be carried out now.
    NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
    MESSAGE_ID_REUSED = "MESSAGE_ID_REUSED"
    BAD_MESSAGE_ID = "BAD_MESSAGE_ID"
    RECEIVED_IN_FUTURE = "RECEIVED_IN_FUTURE"
    TOO_MANY_MESSAGES = "TOO_MANY_MESSAGES"


class FailureCause(Word):
    """Почему прибор не считает: вышел из строя, утрачен, истёк срок поверки, снят без показаний (59 «г»)."""

    FAILED = "FAILED"
    LOST = "LOST"
    VERIFICATION_EXPIRED = "VERIFICATION_EXPIRED"
    NO_FINAL_VALUES = "NO_FINAL_VALUES"


class RecalculationReason(Word):
    """Основание перерасчёта (rules 1.6)."""

    SETTLEMENT = "SETTLEMENT"
    CONTROL = "CONTROL"
    CONTROL_PROVEN = "CONTROL_PROVEN"
    PREVIOUS_WRONG = "PREVIOUS_WRONG"
    INTERFERENCE = "INTERFERENCE"
    TARIFF_CHANGED = "TARIFF_CHANGED"


class Rule(Word):
    """The act and point that a decided number rests on: ПП 354, or the supplier's published policy."""

    APP2_F1 = "PP354:app2-f1"
    APP2_F4 = "PP354:app2-f4"
    P59B = "PP354:59b"
    P59G = "PP354:59g"
    P59_2 = "PP354:59(2)"
    P60 = "PP354:60"
    P60_3 = "PP354:60(3)"
    P61 = "PP354:61"
    P62 = "PP354:62"
    P84 = "PP354:84"
    P56_2 = "PP354:56(2)"
    P86 = "PP354:86"
    REDISTRIBUTE = "policy:REDISTRIBUTE"
    IN_PERIOD = "policy:IN_PERIOD"
    NEXT_PERIOD = "policy:NEXT_PERIOD"
    PREVIOUS_WRONG = "policy:PREVIOUS_WRONG"
    RETROACTIVE_TARIFF = "policy:RETROACTIVE_TARIFF"
    ZHK155 = "ZhK:155"


class Role(Word):
    """For whom a command speaks."""

    CONSUMER = "consumer"
    AGENT = "agent"
    OPERATOR = "operator"
    INSPECTOR = "inspector"
    REMOTE = "remote"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class MeterModel:
    """Прибор учёта as its passport says: number, digits before the comma, registers, display map.

    ``display`` maps the display's T1..T3 to registers; it is data of the model («Матрица»: T1 night, T2 peak, T3
    half-peak), see ``meter_models.py``. ``automatic`` meters (ИСУ) are read by the remote system only.
    """

    number: str
    capacity: int
    registers: tuple[Register, ...]
    model: str | None = None
    display: Mapping[str, Register] | None = None
    automatic: bool = False
