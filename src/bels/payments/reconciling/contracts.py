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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money
from bels.payments.partners import Partner, PartnersError
from bels.payments.section import section_of

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
    if SECTION not in partner.sections:
        return Terms()
    told = section_of(partner, SECTION)
    told.only(_FIELDS)
    return Terms(
        since=told.day("since"),
        expects_register=told.flag("register", default=True),
        expects_transfer=told.flag("transfer", default=True),
        cut_off=_cut_off(told.values.get("cut_off"), told.where),
        answer_days=told.whole("answer_days", ANSWER_DAYS, 0, WAITING_DAYS_MAX),
        transfer_days=told.whole("transfer_days", TRANSFER_DAYS, 0, WAITING_DAYS_MAX),
        payers=tuple(told.listed("payers", PAYERS_MAX, _digits(10), "texts of 10 digits")),
        accounts=tuple(told.listed("accounts", PAYERS_MAX, _digits(20), "texts of 20 digits")),
        purpose_day=_pattern(told.values.get("purpose_day"), told.where),
        fees=tuple(
            Fee(row.since(), row.percent("percent"), row.money("minimum") or ZERO, row.money("maximum"))
            for row in told.rows("fee", FEES_MAX, _FEE_FIELDS)
        ),
    )


def _cut_off(told: object, where: str) -> time | None:
    if told is None:
        return None
    found = _CUT_OFF.fullmatch(told) if isinstance(told, str) else None
    if found is None:
        raise PartnersError(f'{where}.cut_off is a Moscow time, like "23:00"')
    cut_off = time(int(found[1]), int(found[2]))
    return cut_off if cut_off != time() else None


def _digits(count: int) -> Callable[[object], bool]:
    digits = re.compile(rf"[0-9]{{{count}}}")
    return lambda told: isinstance(told, str) and digits.fullmatch(told) is not None


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
