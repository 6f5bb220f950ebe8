"""What a payer sees before paying: whose account it is, what is due and costs what, and what a reading sent with it would do.

The same for every protocol: a bank shows it, and learns no more about a stranger than is needed to see a wrong account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bels.access import personal
from bels.access.master_key import MasterKeyError
from bels.access.personal import subject_of, tenure_of
from bels.access.vault import VaultError
from bels.domain.account import Account, Situation
from bels.domain.commands import PaymentTerms, ReceivePayment, SubmitReading
from bels.domain.events import CommandRefused
from bels.domain.forecast_estimate import Submission
from bels.domain.money import ZERO
from bels.domain.periods import moscow_date
from bels.domain.receive_payment import reason_unallocated, receive_payment
from bels.domain.terms import Money, Purpose, Reason, Register, Role
from bels.intake import Preview
from bels.payments.quote import Quote, quote
from bels.payments.till import Agent, Till, values_by_meter
from bels.projections import ledger
from bels.projections.ledger import BalanceRow, OwedRow
from bels.reception.counter import ShownMeter, database, meter_of


@dataclass(frozen=True, slots=True)
class PreviewOrder:
    """What a payer means to do: pay ``amount`` (None: what is due) by ``method``, with values (place, value) read on ``meter``."""

    account: str
    amount: Decimal | None = None
    purpose: Purpose = Purpose.ENERGY
    method: str | None = None
    given: Sequence[tuple[str, str]] = ()
    meter: str | None = None


@dataclass(frozen=True, slots=True)
class PayableRegister:
    """A register in the order of the display: ``place`` is T1.., None where the display is not known.

    ``previous`` is what it showed last, ``maximum`` the most that is plausible now; both None where no reading is taken now.
    """

    register: Register
    place: str | None
    capacity: int
    previous: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class Payable:
    """What is known of an account before a payment, in roubles.

    ``refusal`` is why a payment now would not go to it. ``next_due`` is the bill to be paid next, ``quoted`` what the payment
    costs, None where nothing is due and no amount was named. ``reading`` is what the values would lead to, and
    ``balance_after`` what is owed for electricity after the payment and the closings that the reading leads to.
    """

    account: str
    masked_name: str | None
    refusal: Reason | None
    balance: Money
    penalty: Money
    overdue: Money
    next_due: OwedRow | None
    minimum: Money | None
    maximum: Money | None
    quoted: Quote | None
    balance_after: Money
    penalty_after: Money
    submission: Submission
    registers: tuple[PayableRegister, ...]
    reading: Preview | None

    @property
    def due(self) -> Money:
        """Give what is to be paid for electricity now."""
        return max(self.balance, ZERO)


async def preview(till: Till, agent: Agent, order: PreviewOrder) -> Payable | None:
    """Say what a payment, and a reading with it, would do; None where there is no such account. Nothing is stored.

    :raises TryLater: the database cannot be reached.
    """
    account = await till.intake.account(order.account)
    if account.situation not in (Situation.OPEN, Situation.CLOSED):
        return None
    today = moscow_date(till.now())
    async with database(till.counter) as db:
        row = (await ledger.find(db, [order.account])).get(order.account)
    name = await masked_name(till, order.account)
    shown = await meter_of(till.counter, order.account)
    submission = await till.intake.may_submit(order.account)
    reading = await _reading(till, order, shown)
    amount = order.amount if order.amount is not None else _due(account, order.purpose)
    quoted = quote(agent.partner, amount, today, order.method) if amount > 0 else None
    paid = {order.purpose: amount}
    # A closing bills the same whoever has paid meanwhile.
    closed = reading.closed.ledger if reading is not None else account.ledger
    return Payable(
        order.account,
        name,
        _refusal(till, agent, account, order, amount),
        account.ledger.balance,
        account.ledger.penalty,
        row.overdue_on(today) if row is not None else ZERO,
        _next_due(row, today),
        agent.partner.minimum,
        agent.partner.maximum,
        quoted,
        closed.balance - paid.get(Purpose.ENERGY, ZERO),
        account.ledger.penalty - paid.get(Purpose.PENALTY, ZERO),
        submission,
        _registers(shown, submission),
        reading,
    )


async def masked_name(till: Till, account: str) -> str | None:
    """Give the name of the household that lives there now, masked as banks show a payee's; None where none is kept.

    :raises TryLater: the database cannot be reached.
    """
    async with database(till.counter) as db:
        subject = subject_of(account, await tenure_of(db, account))
        try:
            kept = await personal.find(db, till.counter.door.vault, subject)
        except (VaultError, MasterKeyError):
            # Whoever pays does not wait for a name.
            return None
    return personal.masked(kept.name) if kept is not None and kept.name else None


async def _reading(till: Till, order: PreviewOrder, shown: ShownMeter | None) -> Preview | None:
    written = [(place, text.strip()) for place, text in order.given if text.strip()]
    if not written:
        return None
    values = values_by_meter(written, shown)
    return await till.intake.preview(order.account, SubmitReading(till.now(), values, Role.AGENT, meter=order.meter))


def _refusal(till: Till, agent: Agent, account: Account, order: PreviewOrder, amount: Decimal) -> Reason | None:
    """Say why a payment now would not go to the account: by the same rule that will take it."""
    if amount <= 0:
        return reason_unallocated(account, order.purpose)
    now, partner = till.now(), agent.partner
    terms = PaymentTerms(partner.minimum, partner.maximum)
    command = ReceivePayment(amount, moscow_date(now), now, "preview", order.purpose, terms=terms)
    (answer,) = receive_payment(account, command)
    return answer.reason if isinstance(answer, CommandRefused) else None


def _due(account: Account, purpose: Purpose) -> Money:
    owed = account.ledger.penalty if purpose is Purpose.PENALTY else account.ledger.balance
    return max(owed, ZERO)


def _next_due(row: BalanceRow | None, today: date) -> OwedRow | None:
    """Find the bill to be paid next: of those that are not overdue, the one that is due first."""
    coming = [owed for owed in row.owed if owed.due_on >= today] if row is not None else []
    return min(coming, key=lambda owed: owed.due_on, default=None)


def _registers(shown: ShownMeter | None, submission: Submission) -> tuple[PayableRegister, ...]:
    if shown is None:
        return ()
    bounds = {bound.register: bound for bound in submission.registers}
    return tuple(
        PayableRegister(
            register,
            place or None,
            shown.capacity,
            bounds[register].minimum if register in bounds else None,
            bounds[register].maximum if register in bounds else None,
        )
        for place, register in shown.shown
    )
