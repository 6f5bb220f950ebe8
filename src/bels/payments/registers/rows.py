"""The rows of a register: what stands in a line by the columns of its layout, or why that cannot be told (partners 4.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache

from bels.domain.money import ZERO, is_amount, is_sum, to_kopecks
from bels.domain.periods import MOSCOW
from bels.domain.receive_payment import PAID_YEAR_MIN
from bels.domain.terms import Money
from bels.payments.registers.faults import ROW_FAULTS, FileFault, Quarantined, RowFault
from bels.payments.registers.layout import WITHOUT_KEY, Column, Layout, Part
from bels.payments.till import is_payment_id

NOON = time(12)
"""A day without an hour: the middle of it is that day in every zone of the country."""

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ufffe\uffff]")
_ACCOUNT = re.compile(r"[0-9]{1,30}", re.ASCII)
_UNIFIED = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{5,29}", re.ASCII)
AMOUNT = {
    "either": re.compile(r"[0-9]{1,12}(?:[.,][0-9]{1,2})?", re.ASCII),
    ",": re.compile(r"[0-9]{1,12}(?:,[0-9]{1,2})?", re.ASCII),
    ".": re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2})?", re.ASCII),
}
"""How a sum is written, by the sign before the kopecks."""


@dataclass(frozen=True, slots=True)
class Row:
    """A payment of a register, or (``parent``) the return of one: roubles; ``values`` are (place, as written).

    ``fee`` is None where nothing is said of it; ``transfer`` is what is left for the supplier.
    """

    line: int
    account: str
    amount: Money
    paid_at: datetime
    fee: Money | None
    transfer: Money
    values: tuple[tuple[str, str], ...] = ()
    external_id: str | None = None
    parent: str | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be taken as it is: why, and what of it could be read."""

    line: int
    fault: RowFault
    raw: str
    account: str = ""
    amount: Money | None = None
    fee: Money | None = None
    transfer: Money | None = None
    paid_at: datetime | None = None
    external_id: str | None = None
    values: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """Say in words what is wrong."""
        return ROW_FAULTS[self.fault]


Judged = Row | BadRow


@dataclass(slots=True)
class Sums:
    """What rows come to: how many, roubles."""

    count: int = 0
    amount: Money = ZERO
    fee: Money = ZERO
    transfer: Money = ZERO

    def add(self, row: Judged) -> None:
        """Add a row; of a bad one what could be read. What is returned counts the other way."""
        self.count += 1
        if row.amount is None:
            return
        sign = -1 if isinstance(row, Row) and row.parent is not None else 1
        self.amount += sign * row.amount
        self.fee += sign * (row.fee or ZERO)
        self.transfer += sign * (row.transfer if row.transfer is not None else row.amount)

    def told(self) -> dict[str, Decimal]:
        """Name the sums as layouts do."""
        return {"count": Decimal(self.count), "sum": self.amount, "fee": self.fee, "transfer": self.transfer}


@lru_cache(8192)
def _moment(text: str, form: str) -> datetime | None:
    """Read a date with or without an hour, of Moscow."""
    try:
        at = datetime.strptime(text, form)  # noqa: DTZ007 - the zone follows
    except ValueError:
        return None
    at = at.replace(tzinfo=MOSCOW) if at.tzinfo is None else at
    return at if "%H" in form else datetime.combine(at.date(), NOON, MOSCOW)


def _money(text: str, pattern: re.Pattern[str]) -> Money | None:
    return to_kopecks(Decimal(text.replace(",", "."))) if pattern.fullmatch(text) else None


_Place = Callable[[Sequence[str], Mapping[str, str]], str]


def row_reader(layout: Layout, names: Mapping[str, int], today: date) -> Callable[[int, str], Judged | None]:
    """Make the reader of a layout's rows; ``names`` are the columns of its header.

    :raises Quarantined: a column is not in the header.
    """

    def place(column: Column) -> _Place:
        if isinstance(column, int):
            at = column - 1
            return lambda cells, _: cells[at].strip() if at < len(cells) else ""
        if layout.is_by_key:
            return lambda _, keys: keys.get(column, "").strip()
        number = names.get(column.strip().casefold())
        if number is None:
            raise Quarantined(FileFault.NO_HEADER, column)
        return place(number)

    def optional(part: Part) -> _Place | None:
        return place(layout.columns[part]) if part in layout.columns else None

    def counter(key: str) -> _Place:
        return place(key if layout.is_by_key or layout.header else int(key))

    account_at, unified_at = optional(Part.ACCOUNT), optional(Part.UNIFIED_ACCOUNT)
    document_at, time_at = optional(Part.PAYMENT_DOCUMENT_ID), optional(Part.TIME)
    amount_at, paid_at = place(layout.columns[Part.AMOUNT]), place(layout.columns[Part.PAID_AT])
    fee_at, transfer_at = optional(Part.FEE), optional(Part.TRANSFER)
    reading_at = optional(Part.READING)
    counters = [(counter(key), of) for key, of in layout.counters.items()]
    if reading_at is not None:
        counters.append((reading_at, "1"))
    id_at = None if isinstance(layout.external_id, tuple) else place(layout.external_id)
    types = layout.types
    type_at = place(types.column) if types is not None else None
    parent_at = place(types.parent) if types is not None else None
    pattern, date_format = AMOUNT[layout.decimal], layout.date_format
    dated_format = f"{date_format} {layout.time_format}" if time_at is not None else date_format
    first_key = (layout.key_value_from or 1) - 1
    account_key = layout.columns.get(Part.ACCOUNT)
    needed = [layout.columns.get(part, 1) for part in (Part.ACCOUNT, Part.AMOUNT, Part.PAID_AT)]
    least = max((each for each in needed if isinstance(each, int)), default=1)

    def keyed(cells: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for cell in cells[first_key:]:
            key, colon, value = cell.partition(":")
            if colon and not key[:1].isdigit():
                found.setdefault(key.strip(), value)
            elif cell.strip():
                found.setdefault(WITHOUT_KEY, cell)
        return found

    def read(line: int, text: str) -> Judged | None:
        cells = text.split(layout.delimiter)
        keys = keyed(cells) if layout.is_by_key else {}
        if layout.is_by_key and account_key not in keys and not _is_payment(cells, keys):
            # Whatever names no account and is no payment either is a header or a total.
            return None
        fault: RowFault | None = RowFault.BAD_CHARACTER if _CONTROL.search(text) else None
        if fault is None and len(cells) < least:
            fault = RowFault.BAD_COLUMNS
        account = account_at(cells, keys) if account_at is not None else ""
        if not account:
            account = (unified_at(cells, keys) if unified_at is not None else "") or (
                document_at(cells, keys) if document_at is not None else ""
            )
            if not _UNIFIED.fullmatch(account):
                fault = fault or (RowFault.BAD_ACCOUNT if account else RowFault.NO_ACCOUNT)
        elif not _ACCOUNT.fullmatch(account):
            fault = fault or RowFault.BAD_ACCOUNT
        kind, parent = _kind(cells, keys)
        written = amount_at(cells, keys)
        amount = _money(written.removeprefix("-") if parent is not None else written, pattern)
        if amount is None or not is_amount(amount):
            amount, fault = None, fault or RowFault.BAD_AMOUNT
        fee, transfer, is_fee = _fee(cells, keys, amount)
        if not is_fee:
            fault = fault or RowFault.BAD_FEE
        moment = paid_at(cells, keys)
        at = _moment(f"{moment} {time_at(cells, keys)}" if time_at is not None else moment, dated_format)
        if at is None or at.year < PAID_YEAR_MIN or at.astimezone(MOSCOW).date() > today:
            at, fault = None, fault or RowFault.BAD_DATE
        external_id = id_at(cells, keys) if id_at is not None else None
        if external_id is not None and not is_payment_id(external_id):
            external_id, fault = None, fault or RowFault.BAD_ID
        fault = fault or kind
        values = tuple((place_of, value) for value_at, place_of in counters if (value := value_at(cells, keys)))
        if fault is not None or amount is None or at is None or transfer is None:
            fault = fault or RowFault.BAD_FEE
            return BadRow(line, fault, text, account[:40], amount, fee, transfer, at, external_id, values)
        return Row(line, account, amount, at, fee, transfer, values, external_id, parent, text)

    def _is_payment(cells: Sequence[str], keys: Mapping[str, str]) -> bool:
        return (
            _moment(paid_at(cells, keys), date_format) is not None
            and pattern.fullmatch(amount_at(cells, keys)) is not None
            and len(keys) > 1
        )

    def _kind(cells: Sequence[str], keys: Mapping[str, str]) -> tuple[RowFault | None, str | None]:
        if types is None or type_at is None or parent_at is None:
            return None, None
        word = type_at(cells, keys)
        if word == types.payment:
            return None, None
        parent = parent_at(cells, keys)
        if word != types.refund:
            return RowFault.BAD_TYPE, None
        return (None, parent) if is_payment_id(parent) else (RowFault.UNKNOWN_PARENT, None)

    def _fee(
        cells: Sequence[str], keys: Mapping[str, str], amount: Money | None
    ) -> tuple[Money | None, Money | None, bool]:
        """Give the fee, what is left for the supplier, and whether both could be read."""
        fee = left = None
        if fee_at is not None and (text := fee_at(cells, keys)):
            fee = _money(text.removeprefix("-"), pattern)
            if fee is None:
                return None, None, False
        if transfer_at is not None and (text := transfer_at(cells, keys)):
            left = _money(text.removeprefix("-"), pattern)
            if left is None:
                return fee, None, False
        if amount is None:
            return fee, left, True
        if fee is None and left is not None:
            fee = amount - left
        if fee is None and layout.fee_percent is not None:
            # The fee of every row is rounded for itself (4.4).
            fee = to_kopecks(amount * layout.fee_percent / 100)
        if left is None:
            left = amount - fee if fee is not None and layout.fee_from == "recipient" else amount
        is_whole = (fee is None or (is_sum(fee) and fee >= 0)) and left >= 0
        return fee, left, is_whole

    return read
