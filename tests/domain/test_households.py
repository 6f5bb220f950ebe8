"""Five real households, told whole and with months left out: what stands billed is what their meters counted."""

from __future__ import annotations

from collections.abc import Iterator
from csv import DictReader
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from bels.domain.account import Account, nobody, replay
from bels.domain.actual_readings import delta
from bels.domain.commands import ClosePeriod, ConfirmReading, InstallMeter, OpenAccount, SubmitReading
from bels.domain.decide import decide
from bels.domain.events import PeriodClosed, ReadingAccepted, ReadingHeld
from bels.domain.periods import MOSCOW, over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    EntryNumber,
    HoldReason,
    Locality,
    MeterModel,
    Mode,
    Register,
    Role,
    Settlement,
    Stove,
)
from tests.rules import DEFAULT_RULEBOOK

HOUSEHOLDS = Path(__file__).parents[3] / "shared" / "data" / "households.csv"
REGISTERS = (Register.HALF_PEAK, Register.NIGHT, Register.PEAK)
CAPACITY = 5
LEFT_OUT_MAX = 2
"""Months left out anywhere; a single run of months may be of any length."""

pytestmark = pytest.mark.skipif(not HOUSEHOLDS.exists(), reason=f"the real households are not here: {HOUSEHOLDS}")

Values = dict[Register, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the household's notebook."""

    at: datetime
    values: Values


def households() -> dict[str, list[Row]]:
    """Read the notebooks, in order of time."""
    if not HOUSEHOLDS.exists():
        return {}
    books: dict[str, list[Row]] = {}
    with HOUSEHOLDS.open(encoding="utf-8") as lines:
        for line in DictReader(lines):
            at = datetime.fromisoformat(f"{line['taken_on']}T12:00:00").replace(tzinfo=MOSCOW)
            books.setdefault(line["account"], []).append(Row(at, {r: int(line[r.value]) for r in REGISTERS}))
    return books


BOOKS = households()
NAMES = ["1000101", "1000102", "1000103", "1000104", "1000105"]


def opened(number: str, first: Row) -> Account:
    """Open the account with the first line as the installation of its meter."""
    account = nobody(number)
    meter = MeterModel("1", CAPACITY, REGISTERS)
    for command in (
        OpenAccount(first.at, Locality.URBAN, Stove.GAS, 2, 3),
        InstallMeter(meter, first.at, first.values),
    ):
        account = replay(account, decide(account, command, DEFAULT_RULEBOOK))
    return account


def told(account: Account, row: Row, rulebook: Rulebook) -> Account:
    """Tell a line; an operator confirms one that is held as implausible after a long silence."""
    entry = EntryNumber(account.version + 1)
    texts = {register.value: str(value) for register, value in row.values.items()}
    events = decide(account, SubmitReading(row.at, texts), rulebook)
    account = replay(account, events)
    if isinstance(events[0], ReadingAccepted):
        return account
    assert isinstance(events[0], ReadingHeld)
    assert events[0].reason is HoldReason.IMPLAUSIBLE
    return replay(account, decide(account, ConfirmReading(entry, row.at, Role.OPERATOR), rulebook))


def closed(account: Account, rulebook: Rulebook) -> tuple[Account, PeriodClosed]:
    """Close the next period."""
    period = account.next_period
    events = decide(account, ClosePeriod(period, over_at(period)), rulebook)
    closing = next(e for e in events if isinstance(e, PeriodClosed))
    return replay(account, events), closing


def billed(account: Account) -> dict[Register, int]:
    """Add up what stands billed, without empty registers."""
    kwh: dict[Register, int] = {}
    for period in account.closed:
        for register, part in period.stands.items():
            kwh[register] = kwh.get(register, 0) + part
    return {register: part for register, part in kwh.items() if part}


def may_leave_out(months: tuple[int, ...]) -> bool:
    """Say whether a pattern of left out months is tried: a few anywhere, or one run of any length."""
    return len(months) <= LEFT_OUT_MAX or months[-1] - months[0] == len(months) - 1


def histories(book: list[Row], rulebook: Rulebook) -> Iterator[tuple[Account, PeriodClosed, Row]]:
    """Tell a notebook with every pattern of left out months: yield each settled closing and its last line told."""
    account, _ = closed(opened("1000100", book[0]), rulebook)
    waiting: list[tuple[Account, int, Row, tuple[int, ...]]] = [(account, 1, book[0], ())]
    while waiting:
        account, month, last, left_out = waiting.pop()
        if month == len(book):
            continue
        missed = (*left_out, month)
        if may_leave_out(missed):
            silent, _ = closed(account, rulebook)
            waiting.append((silent, month + 1, last, missed))
        now, closing = closed(told(account, book[month], rulebook), rulebook)
        if closing.mode is Mode.METERED and not closing.deferred:
            yield now, closing, book[month]
        waiting.append((now, month + 1, book[month], left_out))


def test_there_are_five_households_and_one_night_register_passes_zero() -> None:
    assert sorted(BOOKS) == NAMES
    night = [row.values[Register.NIGHT] for row in BOOKS["1000104"]]
    assert max(night) == 99_994
    assert night[-1] < 1000
    assert any(before.values == row.values for before, row in pairwise(BOOKS["1000103"]))


@pytest.mark.parametrize("policy", Settlement)
@pytest.mark.parametrize("number", NAMES)
def test_a_household_told_whole_is_billed_what_its_meter_counted(number: str, policy: Settlement) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(policy)
    book = BOOKS[number]
    account, _ = closed(opened(number, book[0]), rulebook)

    for before, row in pairwise(book):
        account, closing = closed(told(account, row, rulebook), rulebook)
        assert closing.mode is Mode.METERED
        assert closing.usage == delta(before.values, row.values, CAPACITY)
    whole = delta(book[0].values, book[-1].values, CAPACITY)
    assert billed(account) == {register: kwh for register, kwh in whole.items() if kwh}


@pytest.mark.parametrize("policy", Settlement)
@pytest.mark.parametrize("number", NAMES)
def test_a_household_that_misses_months_is_billed_what_its_meter_counted(number: str, policy: Settlement) -> None:
    book = BOOKS[number]
    settled = 0
    for account, _, last in histories(book, DEFAULT_RULEBOOK.with_settlement(policy)):
        counted = {r: kwh for r, kwh in delta(book[0].values, last.values, CAPACITY).items() if kwh}
        stands = billed(account)
        if policy is Settlement.IN_PERIOD and Register.TOTAL in stands:
            # A norm is billed as ``total`` and subtracted from the zones.
            assert sum(stands.values()) == sum(counted.values())
        else:
            assert stands == counted
        settled += 1
    assert settled > len(book)
