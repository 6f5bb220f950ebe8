"""The bill of a period: everything a consumer must be told, put together from the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import compress

from bels.domain.events import Average, Norm
from bels.domain.explain import Explanation
from bels.domain.money import ZERO
from bels.domain.money_events import ChargeLine, OverdueSum, PenaltyAccrued, PenaltyLine
from bels.domain.periods import DEADLINE_DAY, moscow_date, shift
from bels.domain.rulebook import Rulebook, publication_of
from bels.domain.terms import Money, MovementKind, Period, Purpose, RecalculationReason, Rule
from bels.journal.journal import read_page, read_publication
from bels.journal.write import Db
from bels.projections import explanations, ledger, overview, readings, usage
from bels.projections.ledger import LedgerRow
from bels.projections.readings import ReadingRow
from bels.projections.usage import UsageRow
from bels.projections.words import GROUNDS, RULES

MONTHS_OF_YEAR = 13
"""Months of the picture: the year, and the same month of the year before."""


@dataclass(frozen=True, slots=True)
class BillReading:
    """What one register showed at the beginning and at the end of the period; ``current`` None where nobody sent it.

    ``used`` is the kWh between them.
    """

    meter: str
    register: str
    previous: int
    previous_on: date
    current: int | None
    current_on: date | None
    used: int | None


@dataclass(frozen=True, slots=True)
class BillRecalculation:
    """A recalculation on the bill: which period, on which ground, by which rule, kWh and roubles before and after."""

    entry: int
    period: str
    reason: str
    rule: str
    ground: str
    before: dict[str, int]
    after: dict[str, int]
    money_before: Money
    money_after: Money
    difference: Money


@dataclass(frozen=True, slots=True)
class BillMovement:
    """Money that came or went between this closing and the one before: payments, reversals, refunds, moved payments.

    ``amount`` is signed as the balance is: a payment is negative.
    """

    entry: int
    kind: str
    booked_on: date
    amount: Money
    reference: str


@dataclass(frozen=True, slots=True)
class BillPenalty:
    """Penalties of the bill: ``lines`` are told for the debt of ``period``, ``amount`` is what of them is new."""

    period: str
    due_on: date
    lines: tuple[PenaltyLine, ...]
    amount: Money


@dataclass(frozen=True, slots=True)
class MonthUsage:
    """A month of the picture of the year: mode and kWh by register as they stand billed now."""

    period: str
    mode: str
    kwh: dict[str, int]


@dataclass(frozen=True, slots=True)
class Explained:
    """How every sum of a bill was found: charges, recalculations and penalties in the order of the bill, and the balance.

    ``balance`` is None where it would tell of another household.
    """

    charges: tuple[Explanation, ...]
    recalculations: tuple[Explanation, ...]
    penalties: tuple[Explanation, ...]
    balance: Explanation | None


@dataclass(frozen=True, slots=True)
class Bill:
    """Платёжный документ of one account and period.

    ``opening`` is the balance after the bill before (positive: debt), ``movements`` what was paid since, ``charged`` and
    ``recalculated`` make the bill, ``closing`` is the balance after it. Penalties are a ledger of their own. ``ranges`` are the
    upper bounds of the ranges in kWh, ``deadline_day`` the last day for the next reading; ``is_last``: none is to come.
    """

    account: str
    period: str
    closed_at: datetime
    due_on: date
    mode: str
    missed_in_a_row: int
    locality: str
    stove: str
    rooms: int
    residents: int
    readings: tuple[BillReading, ...]
    charges: tuple[ChargeLine, ...]
    recalculations: tuple[BillRecalculation, ...]
    opening: Money
    movements: tuple[BillMovement, ...]
    charged: Money
    recalculated: Money
    bill: Money
    closing: Money
    penalties: tuple[BillPenalty, ...]
    penalty_opening: Money
    penalty_accrued: Money
    penalty_paid: Money
    penalty_closing: Money
    year: tuple[MonthUsage, ...]
    rulebook: str
    norm: Norm | None = None
    average: Average | None = None
    automatic: bool = False
    ranges: tuple[int, ...] = ()
    is_last: bool = False
    deadline_day: int = DEADLINE_DAY
    explained: Explained | None = None

    @property
    def to_pay(self) -> Money:
        """What is to be paid for electricity: the debt after the bill, 0 where an advance covers it."""
        return max(self.closing, Money("0.00"))


def seen_from(bill: Bill, entry: int, since: str) -> Bill:
    """Give a bill as a household sees it that came after an entry and from a period on: nothing of the one before it.

    The sums stay as they are, for they are its own to pay; how they were found is told only where that is its own too.
    """
    told = bill.explained
    mine = [x.period >= since for x in bill.recalculations]
    due = [x.period >= since for x in bill.penalties]
    movements = tuple(x for x in bill.movements if x.entry > entry)
    if told is not None:
        whole = len(movements) == len(bill.movements) and all(mine) and all(due)
        told = replace(
            told,
            recalculations=tuple(compress(told.recalculations, mine)),
            penalties=tuple(compress(told.penalties, due)),
            balance=told.balance if whole else None,
        )
    return replace(
        bill,
        year=tuple(x for x in bill.year if x.period >= since),
        recalculations=tuple(compress(bill.recalculations, mine)),
        penalties=tuple(compress(bill.penalties, due)),
        movements=movements,
        explained=told,
    )


async def find(db: Db, account: str, period: str, rulebook: Rulebook) -> Bill | None:
    """Put the bill of a closed period together; None where the period was not closed here, or before there was money.

    It is told by the rules under which it was charged, whatever was published since; ``rulebook`` is the one in force.
    """
    known = (await overview.find(db, [account])).get(account)
    rows = await usage.page(db, account, shift(Period(period), -1), shift(Period(period), 1), 1, False)
    row = rows[0] if rows else None
    if known is None or row is None or row.due_on is None or row.closed_at is None or row.charged is None:
        return None
    publication = publication_of(row.rulebook or "")
    if publication not in (0, rulebook.number):
        rulebook = await read_publication(db, publication) or rulebook
    moves = await ledger.of_bill(db, account, period)
    entries = {e for step in row.steps for e in (step.base, step.reading)}
    if row.average is not None:
        entries |= {row.average.since, row.average.until}
    found = {r.entry: r for r in await readings.of_bill(db, account, sorted(entries), period)}
    sums = await _overdue(db, account, moves)
    year = await usage.year(db, account, shift(Period(period), -MONTHS_OF_YEAR), period)
    energy = [m for m in moves if m.purpose == Purpose.ENERGY]
    penalty = [m for m in moves if m.purpose == Purpose.PENALTY]
    recalculated = row.recalculated or ZERO
    # What was paid after the closing stands on the next bill, so the last movement is the closing's own.
    opening = energy[0].balance - energy[0].amount if energy else ZERO
    accrued = sum((m.amount for m in penalty if m.kind == MovementKind.PENALTY), ZERO)
    penalty_opening, penalty_closing = await _penalties(db, account, row, penalty)
    ranges = rulebook.ranges_of(Period(period))
    bill = Bill(
        account=account,
        period=period,
        closed_at=row.closed_at,
        due_on=row.due_on,
        mode=row.mode,
        missed_in_a_row=row.missed,
        locality=known.locality,
        stove=known.stove,
        rooms=known.rooms,
        residents=row.norm.residents if row.norm is not None else known.permanent,
        readings=_readings(row, found),
        charges=row.charges,
        recalculations=tuple(
            BillRecalculation(
                r.entry,
                r.period,
                r.reason,
                r.rule,
                _ground(r.reason, r.rule, r.ground),
                r.before,
                r.after,
                r.money_before or ZERO,
                r.money_after or ZERO,
                r.difference or ZERO,
            )
            for r in row.recalculations
        ),
        opening=opening,
        movements=tuple(
            BillMovement(m.entry, m.kind, m.booked_on, m.amount, m.reference)
            for m in energy
            if m.kind not in (MovementKind.CHARGE, MovementKind.RECALCULATION)
        ),
        charged=row.charged,
        recalculated=recalculated,
        bill=row.charged + recalculated,
        closing=energy[-1].balance if energy else opening,
        penalties=tuple(BillPenalty(s.period, s.due_on, s.lines, s.accrued - s.posted_before) for s in sums),
        penalty_opening=penalty_opening,
        penalty_accrued=accrued,
        penalty_paid=penalty_opening + accrued - penalty_closing,
        penalty_closing=penalty_closing,
        year=tuple(MonthUsage(*month) for month in year),
        rulebook=row.rulebook or "",
        norm=row.norm,
        average=row.average,
        automatic=known.meter is not None and known.meter.automatic,
        ranges=ranges,
        is_last=known.last_period is not None and period >= known.last_period,
        deadline_day=rulebook.settings_of(shift(Period(period), 1)).reading_deadline_day,
    )
    return replace(bill, explained=_explained(bill, row, found, sums, rulebook))


async def last_period(db: Db, account: str) -> str | None:
    """Give the period of the last bill of an account, None where there is none."""
    period = await db.fetchval(
        "SELECT period FROM usage WHERE account = $1 AND due_on IS NOT NULL ORDER BY period DESC LIMIT 1", account
    )
    return str(period) if period is not None else None


async def _overdue(db: Db, account: str, moves: Sequence[LedgerRow]) -> tuple[OverdueSum, ...]:
    """Read the lines of the penalties from the entry that posted them."""
    entry = next((m.entry for m in moves if m.kind == MovementKind.PENALTY), None)
    if entry is None:
        return ()
    (posted,) = await read_page(db, account, entry - 1, entry + 1, 1, False)
    return posted.event.sums if isinstance(posted.event, PenaltyAccrued) else ()


async def _penalties(db: Db, account: str, row: UsageRow, moves: Sequence[LedgerRow]) -> tuple[Money, Money]:
    """Give the penalties' balance before and after the bill."""
    if moves:
        return moves[0].balance - moves[0].amount, moves[-1].balance
    stands = await ledger.penalty_before(db, account, row.entry)
    return stands, stands


def _readings(row: UsageRow, found: dict[int, ReadingRow]) -> tuple[BillReading, ...]:
    shown: list[BillReading] = []
    for step in row.steps:
        base, reading = found.get(step.base), found.get(step.reading)
        if base is not None and reading is not None:
            shown += (
                BillReading(
                    reading.meter or "",
                    register.value,
                    int(base.values[register]),
                    moscow_date(base.received_at),
                    int(reading.values[register]),
                    moscow_date(reading.received_at),
                    used,
                )
                for register, used in step.difference.items()
            )
    if shown:
        return tuple(shown)
    before = [r for r in found.values() if r.meter is not None and r.status == "ACCEPTED"]
    last = max(before, key=lambda r: (r.received_at, r.entry), default=None)
    if last is None:
        return ()
    on = moscow_date(last.received_at)
    return tuple(
        BillReading(last.meter or "", name, int(value), on, None, None, None) for name, value in last.values.items()
    )


def _ground(reason: str, rule: str, ground: str | None) -> str:
    text = f"{GROUNDS[RecalculationReason(reason)]}, {RULES[Rule(rule)]}"
    return f"{text}: {ground}" if ground else text


def _explained(
    bill: Bill, row: UsageRow, found: dict[int, ReadingRow], sums: Sequence[OverdueSum], rulebook: Rulebook
) -> Explained:
    facts = explanations.Facts(row, found, rulebook)
    return Explained(
        tuple(explanations.explain_charge(facts, i) for i in range(len(row.charges))),
        tuple(explanations.explain_recalculation(facts, r) for r in row.recalculations),
        tuple(explanations.explain_penalty(s) for s in sums),
        explanations.explain_balance(
            bill.account,
            bill.period,
            bill.opening,
            tuple((m.kind, m.booked_on, m.amount) for m in bill.movements),
            tuple(c.amount for c in bill.charges),
            tuple(r.difference for r in bill.recalculations),
            bill.closing,
        ),
    )
