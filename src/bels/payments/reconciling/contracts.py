"""What a contract says of reconciling with a partner (partners 4.4), as a table of its own:

    [partner.sber.reconciliation]
    since = 2026-01-01           # the first day that is compared
    register = true              # a register comes for every day, also an empty one
    transfer = true              # what was paid is transferred less the fee
    cut_off = "23:00"            # Moscow: what is paid later belongs to the next day; midnight where absent
    answer_days = 1              # a register is missed so many days after its day
    transfer_days = 3            # and a transfer
    payers = ["7707083893"]      # who transfers, by ИНН (of an organisation: 10 digits)
    accounts = ["30232810..."]   # or by account
    purpose_day = 'за ([0-9]{2}[.][0-9]{2}[.][0-9]{4})'  # where the purpose of a transfer names its day

    [[partner.sber.reconciliation.fee]]  # what the bank keeps of each payment, rounded per payment
    since = 2026-01-01
    percent = "1.0"
    minimum = "0.00"
    maximum = "100.00"

Without the table neither register nor transfer is awaited; whatever comes is compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money
from bels.payments.partners import PERCENT_MAX, Partner, PartnersError

SECTION = "reconciliation"
ANSWER_DAYS = 1
TRANSFER_DAYS = 3
WAITING_DAYS_MAX = 30
PAYERS_MAX = 20
FEES_MAX = 100
PATTERN_LENGTH_MAX = 200

_FIELDS = frozenset(
    (
        "since",
        "register",
        "transfer",
        "cut_off",
        "answer_days",
        "transfer_days",
        "payers",
        "accounts",
        "purpose_day",
        "fee",
    )
)
_FEE_FIELDS = frozenset(("since", "percent", "minimum", "maximum"))
_CUT_OFF = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Fee:
    """What a partner keeps of every payment from a day on: ``percent`` of it, in roubles at least ``minimum``."""

    since: date
    percent: Decimal
    minimum: Money = ZERO
    maximum: Money | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a partner is reconciled with. ``cut_off`` is a Moscow time, None for midnight."""

    since: date | None = None
    expects_register: bool = False
    expects_transfer: bool = False
    cut_off: time | None = None
    answer_days: int = ANSWER_DAYS
    transfer_days: int = TRANSFER_DAYS
    payers: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    purpose_day: re.Pattern[str] | None = None
    fees: tuple[Fee, ...] = ()

    def fee_on(self, day: date) -> Fee | None:
        """Give the fee in force on a day; None where none is agreed, and fees are taken as they are told."""
        return max((fee for fee in self.fees if fee.since <= day), key=lambda fee: fee.since, default=None)

    def ends_at(self, day: date) -> datetime:
        """Say when a day is over: at the cut-off, or at midnight."""
        on = day if self.cut_off is not None else day + timedelta(days=1)
        return datetime.combine(on, self.cut_off or time(), MOSCOW)

    def register_missed_at(self, day: date) -> datetime:
        """Say from when on the register of a day is missed."""
        return self.ends_at(day) + timedelta(days=self.answer_days)

    def transfer_missed_at(self, day: date) -> datetime:
        """Say from when on the transfer of a day is missed."""
        return self.ends_at(day) + timedelta(days=self.transfer_days)


def terms_of(partner: Partner) -> Terms:
    """Read what a contract says of reconciling.

    :raises PartnersError: it cannot be used.
    """
    told = partner.sections.get(SECTION)
    if told is None:
        return Terms()
    where = f"partner.{partner.name}.{SECTION}"
    unknown = sorted(set(told) - _FIELDS)
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is unknown: {', '.join(sorted(_FIELDS))}")
    return Terms(
        since=_day(told, "since", where),
        expects_register=_yes(told, "register", where),
        expects_transfer=_yes(told, "transfer", where),
        cut_off=_cut_off(told.get("cut_off"), where),
        answer_days=_days(told, "answer_days", ANSWER_DAYS, where),
        transfer_days=_days(told, "transfer_days", TRANSFER_DAYS, where),
        payers=_digits(told, "payers", 10, where),
        accounts=_digits(told, "accounts", 20, where),
        purpose_day=_pattern(told.get("purpose_day"), where),
        fees=_fees(told.get("fee", []), f"{where}.fee"),
    )


def _day(told: Mapping[str, Any], name: str, where: str) -> date | None:
    day = told.get(name)
    if day is not None and type(day) is not date:
        raise PartnersError(f"{where}.{name} is a day, like 2026-01-01")
    return day


def _yes(told: Mapping[str, Any], name: str, where: str) -> bool:
    value = told.get(name, True)
    if not isinstance(value, bool):
        raise PartnersError(f"{where}.{name} is true or false")
    return value


def _cut_off(told: object, where: str) -> time | None:
    if told is None:
        return None
    found = _CUT_OFF.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        raise PartnersError(f'{where}.cut_off is a Moscow time, like "23:00"')
    cut_off = time(int(found[1]), int(found[2]))
    return cut_off if cut_off != time() else None


def _days(told: Mapping[str, Any], name: str, usual: int, where: str) -> int:
    days = told.get(name, usual)
    if type(days) is not int or not 0 <= days <= WAITING_DAYS_MAX:
        raise PartnersError(f"{where}.{name} is a number of days, 0 to {WAITING_DAYS_MAX}")
    return days


def _digits(told: Mapping[str, Any], name: str, length: int, where: str) -> tuple[str, ...]:
    numbers = told.get(name, [])
    if (
        not isinstance(numbers, list)
        or len(numbers) > PAYERS_MAX
        or not all(isinstance(n, str) and re.fullmatch(r"[0-9]+", n) and len(n) == length for n in numbers)
    ):
        raise PartnersError(f"{where}.{name} is a list of at most {PAYERS_MAX} texts of {length} digits")
    return tuple(numbers)


def _pattern(told: object, where: str) -> re.Pattern[str] | None:
    if told is None:
        return None
    try:
        if not isinstance(told, str) or len(told) > PATTERN_LENGTH_MAX:
            raise re.error("not a text")
        pattern = re.compile(told)
    except re.error as error:
        raise PartnersError(f"{where}.purpose_day is no pattern: {error}") from error
    if pattern.groups != 1:
        raise PartnersError(f"{where}.purpose_day has one group, which is the day DD.MM.YYYY")
    return pattern


def _fees(told: object, where: str) -> tuple[Fee, ...]:
    if not isinstance(told, list) or len(told) > FEES_MAX:
        raise PartnersError(f"{where} is a list of at most {FEES_MAX} tables")
    fees = []
    for row in told:
        if not isinstance(row, dict) or set(row) - _FEE_FIELDS:
            raise PartnersError(f"{where} has {', '.join(sorted(_FEE_FIELDS))} and nothing else")
        since = _day(row, "since", where)
        percent = _number(row.get("percent", "0"), f"{where}.percent")
        if since is None or not 0 <= percent <= PERCENT_MAX:
            raise PartnersError(f'{where} has `since`, a day, and `percent`, a text of 0 to {PERCENT_MAX}, like "1.5"')
        maximum = _sum(row, "maximum", where) if "maximum" in row else None
        fees.append(Fee(since, percent, _sum(row, "minimum", where), maximum))
    return tuple(fees)


def _sum(row: Mapping[str, Any], name: str, where: str) -> Money:
    amount = _number(row.get(name, "0"), f"{where}.{name}")
    if amount != 0 and not is_amount(amount):
        raise PartnersError(f'{where}.{name} is a text of roubles, like "100.00"')
    return to_kopecks(amount)


def _number(told: object, where: str) -> Decimal:
    try:
        number = Decimal(told) if isinstance(told, str) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise PartnersError(f'{where} is a text, like "1.00"')
    return number
