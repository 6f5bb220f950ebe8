"""Generated lives of money: two accounts, a cash desk, a bank that takes back, and rules that change the past.

What is owed is found here a second time, from the events alone and in plain arithmetic, to be compared with what bels keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import strategies as st

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import (
    ClosePeriod,
    Command,
    ConfirmReading,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    PublishRulebook,
    ReceivePayment,
    RecordAccessRefusal,
    ReversePayment,
    SubmitReading,
    TakeControlReading,
)
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, PeriodClosed, UsageRecalculated
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
    RulebookPublished,
)
from bels.domain.periods import MOSCOW, days_in, first_day, moscow_date, over_at, shift
from bels.domain.post_movements import Movement, movements
from bels.domain.rulebook import KeyRate, Rulebook
from bels.domain.terms import AccountNumber, EntryNumber, Period, Purpose, Reason, Register, Role
from tests.domain.trade import INSTALL, OPEN
from tests.rules import DEFAULT_RULEBOOK

HERE, THERE, NOWHERE = "1000000", "1000001", "suspense-1"
KOPECK = Decimal("0.01")
NOTHING = Decimal("0.00")


RULES = replace(
    DEFAULT_RULEBOOK,
    number=1,
    key_rates=tuple(
        (date.fromisoformat(day), KeyRate(Decimal(percent), "test"))
        for day, percent in (
            ("2000-01-01", "16"),
            ("2024-03-25", "8.5"),
            ("2024-04-30", "7"),
            ("2024-05-01", "9.4"),
            ("2024-06-17", "6.25"),
            ("2024-08-01", "18"),
            ("2024-11-11", "5"),
        )
    ),
)
"""Published rules under which the key rate goes up and down, over the cap of 9.5 and below it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something that is wished for in the open month of one of the two accounts; ``n`` is a number for it to use."""

    what: str
    there: bool
    day: int
    n: int


WISHES = (
    *("close",) * 6,
    *("read",) * 4,
    *("pay",) * 4,
    *("pay late", "pay penalty", "reverse", "refund", "move", "publish", "control", "refuse", "stray", "work off"),
)


def wishes(most: int = 60) -> st.SearchStrategy[list[Wish]]:
    """Draw what will be wished for."""
    one = st.builds(Wish, st.sampled_from(WISHES), st.booleans(), st.integers(1, 28), st.integers(0, 10_000))
    return st.lists(one, min_size=10, max_size=most)


def dearer(book: Rulebook, since: date, kopecks: int) -> Rulebook:
    """Give a book in which every rate of a town's kWh is dearer from the first of a month on."""
    rows = [t for t in book.tariffs if not (t.group == "MO/urban_gas" and t.effective_on == since)]
    for scheme in {t.scheme for t in book.tariffs}:
        old = book.tariff_of("MO/urban_gas", scheme, Period(f"{since:%Y-%m}"))
        assert old is not None
        rates = {r: tuple(v + kopecks * KOPECK if v is not None else None for v in vs) for r, vs in old.rates.items()}
        rows.append(replace(old, effective_on=since, rates=rates))
    return replace(book, tariffs=tuple(sorted(rows, key=lambda t: (t.effective_on, t.group, t.scheme))))


@dataclass(slots=True)
class Desk:
    """Two accounts, what came in for nobody, and the rules of the day."""

    rulebook: Rulebook = RULES
    accounts: dict[str, Account] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    asked: list[tuple[str, Command]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open both accounts; the one that is there has paid nothing yet either."""
        for number in (HERE, THERE, NOWHERE):
            self.accounts[number], self.events[number] = nobody(number), []
        for number in (HERE, THERE):
            self.ask(number, OPEN)
            self.ask(number, INSTALL)

    def ask(self, number: str, command: Command) -> tuple[Event, ...]:
        """Ask something of an account."""
        events = decide(self.accounts[number], command, self.rulebook)
        self.asked.append((number, command))
        if self.accounts[number].situation.value != "UNKNOWN" or not isinstance(events[0], CommandRefused):
            self.accounts[number] = replay(self.accounts[number], events)
            self.events[number] += events
        return events

    def grant(self, wish: Wish) -> tuple[str, tuple[Event, ...]]:
        """Do what is wished for; give the account and what happened there."""
        number = THERE if wish.there else HERE
        account = self.accounts[number]
        first = first_day(account.next_period)
        at = datetime(first.year, first.month, wish.day, 12, tzinfo=MOSCOW)
        match wish.what:
            case "close":
                closed_at = over_at(account.next_period) + timedelta(hours=wish.n % 900)
                return number, self.ask(number, ClosePeriod(account.next_period, closed_at))
            case "read":
                return number, self._read(number, at, wish.n)
            case "control":
                shown = max((r.values[Register.TOTAL] for r in account.readings), default=0)
                return number, self.ask(number, TakeControlReading(at, {Register.TOTAL: shown + wish.n % 90}))
            case "refuse":
                return number, self.ask(number, RecordAccessRefusal(at)) if wish.n % 5 == 0 else ()
            case "pay" | "pay late" | "pay penalty" | "stray":
                return self._pay(number, at, wish)
            case "refund":
                amount = account.ledger.overpaid
                if wish.n % 3 == 0:
                    amount = Decimal(wish.n) / 100
                return number, self.ask(number, MakeRefund(amount, at, "заявление"))
            case "reverse":
                return number, self.ask(number, ReversePayment(self._payment(number, wish.n), at, "отказ банка"))
            case "move":
                to = HERE if wish.there else THERE
                return to, self._move(number, self._payment(number, wish.n), to, at)
            case "work off":
                return number, self._move(NOWHERE, self._payment(NOWHERE, wish.n), number, at)
            case "publish":
                self._publish(wish.n)
            case _:
                raise ValueError(wish.what)
        return number, ()

    def _read(self, number: str, at: datetime, n: int) -> tuple[Event, ...]:
        account = self.accounts[number]
        shown = max((r.values[Register.TOTAL] for r in account.readings), default=0)
        told = self.ask(number, SubmitReading(at, {"total": str((shown + n % 700) % 100_000)}))
        held = EntryNumber(self.accounts[number].version)
        return told + self.ask(number, ConfirmReading(held, at, Role.OPERATOR)) if n % 2 else told

    def _pay(self, number: str, at: datetime, wish: Wish) -> tuple[str, tuple[Event, ...]]:
        purpose = Purpose.PENALTY if wish.what == "pay penalty" else Purpose.ENERGY
        amount = Decimal(wish.n * 13 + 1) / 100
        owed = self.accounts[number].ledger.balance
        if wish.n % 4 == 0 and owed > 0:
            amount = owed
        on = moscow_date(at) - timedelta(days=wish.n % 130 if wish.what == "pay late" else 0)
        stray = wish.what == "stray"
        command = ReceivePayment(
            amount,
            on,
            at,
            f"чек {wish.n}",
            purpose,
            meant_for="9" if stray else None,
            unallocated=Reason.UNKNOWN_ACCOUNT if stray else None,
        )
        to = NOWHERE if stray else number
        return to, self.ask(to, command)

    def _payment(self, number: str, n: int) -> EntryNumber:
        payments = self.accounts[number].ledger.payments
        return payments[n % len(payments)].entry if payments else EntryNumber(n)

    def _move(self, number: str, payment: EntryNumber, to: str, at: datetime) -> tuple[Event, ...]:
        (out,) = self.ask(number, MovePaymentOut(payment, AccountNumber(to), at, "ошибка"))
        if not isinstance(out, PaymentMovedOut):
            return ()
        source = AccountNumber(number)
        return self.ask(
            to,
            MovePaymentIn(out.amount, out.paid_on, at, out.purpose, out.reference, source, out.payment, "ошибка"),
        )

    def _publish(self, n: int) -> None:
        charged = [a.closed[-1].period for a in self.accounts.values() if a.closed]
        through = max(charged, default=None)
        since = first_day(shift(Period("2024-01"), n % 14))
        book = dearer(self.rulebook, since, n % 500 - 100)
        at = datetime(2026, 1, 1, tzinfo=MOSCOW)
        command = PublishRulebook(book, self.rulebook.number, at, "test", through, f"решение {n}")
        (event,) = decide(nobody("rulebook"), command, self.rulebook)
        if isinstance(event, RulebookPublished):
            self.rulebook = event.book


def posted(events: list[Event]) -> Iterator[Movement]:
    """List every movement of an account, from its events."""
    closed_on: date | None = None
    for event in events:
        if isinstance(event, PeriodClosed):
            closed_on = moscow_date(event.closed_at)
        yield from movements(event, closed_on)


# A second opinion -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Owed:
    """A bill or a refund: its sum, when it was due, and the parts that were paid, by day."""

    amount: Decimal
    due_on: date | None
    paid: list[tuple[date, Decimal]] = field(default_factory=list)

    @property
    def left(self) -> Decimal:
        """What is not paid."""
        return self.amount - sum((part for _, part in self.paid), NOTHING)


def second_opinion(events: list[Event]) -> tuple[list[Owed], Decimal]:
    """Find who owes what, from the events alone: debts oldest first with what paid them, and the advance."""
    debts: list[Owed] = []
    paid: dict[int, tuple[date, Decimal]] = {}
    for entry, event in enumerate(events, start=1):
        match event:
            case PeriodClosed():
                rest = [e for e in events[entry:] if isinstance(e, UsageRecalculated) and e.posted_in == event.period]
                bill = sum((line.amount for line in event.charges), NOTHING)
                bill += sum((e.money_after - e.money_before for e in rest), NOTHING)
                if bill > 0:
                    debts.append(Owed(bill, event.due_on))
                elif bill < 0:
                    paid[entry] = (event.closed_at.astimezone(MOSCOW).date(), -bill)
            case BalanceCarriedOver():
                if event.balance > 0:
                    debts.append(Owed(event.balance, event.due_on))
                elif event.balance < 0:
                    paid[entry] = (event.carried_on, -event.balance)
            case RefundMade():
                debts.append(Owed(event.amount, None))
            case PaymentReceived() | PaymentMovedIn() if event.purpose is Purpose.ENERGY:
                paid[entry] = (event.paid_on, event.amount)
            case PaymentReversed() | PaymentMovedOut() if event.purpose is Purpose.ENERGY:
                del paid[event.payment]
            case _:
                pass
    advance = NOTHING
    for _, (on, left) in sorted(paid.items(), key=lambda p: (p[1][0], p[0])):
        amount = left
        for debt in debts:
            part = min(debt.left, amount)
            if part:
                debt.paid.append((on, part))
                amount -= part
        advance += amount
    return debts, advance


def penalty_of(debt: Owed, through: date, rulebook: Rulebook) -> Decimal:
    """Find the penalty of one debt through a day in one go: no border but the 31st and the 91st day, and the payments."""
    if debt.due_on is None:
        return NOTHING
    unpaid = debt.amount - sum((part for on, part in debt.paid if on <= debt.due_on), NOTHING)
    days: dict[date, Decimal] = {}
    for on, part in debt.paid:
        if debt.due_on < on <= through:
            days[on] = days.get(on, NOTHING) + part
    penalty, since = NOTHING, 1
    for until in sorted({*days, through} if sum(days.values()) < unpaid else days):
        key = rulebook.key_rate_on(until)
        assert key is not None
        rate = min(Decimal("9.5"), key)
        number = (until - debt.due_on).days
        for first, last, divisor in ((31, 90, 300), (91, 10**6, 130)):
            count = min(number, last) - max(since, first) + 1
            if count > 0:
                penalty += (unpaid * count * rate / 100 / divisor).quantize(KOPECK, ROUND_HALF_UP)
        unpaid -= days.get(until, NOTHING)
        since = number + 1
    return penalty


def penalties_posted(events: list[Event]) -> Decimal:
    """Add up the penalties that closings have posted."""
    return sum((e.amount for e in events if isinstance(e, PenaltyAccrued)), NOTHING)


def last_day(period: Period) -> date:
    """Give the last day of a period."""
    return first_day(period) + timedelta(days=days_in(period) - 1)
