"""Where a payment stands, told to the partner that brought it by its own id: whatever became of it since, and never on whose account."""

from __future__ import annotations

from dataclasses import dataclass

from bels.domain.periods import moscow_date
from bels.domain.terms import PaymentState, Word
from bels.payments import refunds
from bels.payments.refunds import RefundRow, RefundState
from bels.payments.till import Agent, Found, Till, find
from bels.reception.counter import database


class PartnerPaymentState(Word):
    """Where a payment stands. ``MOVED``: it counts on another account than the one it was meant for."""

    RECEIVED = "RECEIVED"
    UNALLOCATED = "UNALLOCATED"
    MOVED = "MOVED"
    CANCELLED = "CANCELLED"
    RETURNED = "RETURNED"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


@dataclass(frozen=True, slots=True)
class Standing:
    """A payment as it came and as it stands. ``may_cancel``: its partner may take it back alone, until midnight in Moscow."""

    found: Found
    state: PartnerPaymentState
    may_cancel: bool
    requests: tuple[RefundRow, ...] = ()


async def standing(till: Till, agent: Agent, payment_id: str) -> Standing | None:
    """Say where a payment stands by its partner's id; None where it never came.

    :raises TryLater: the database cannot be reached.
    """
    found = await find(till, agent, payment_id)
    if found is None:
        return None
    if found.row is None or found.now is None:
        return Standing(
            found, PartnerPaymentState.PARKED if found.paid.is_parked else PartnerPaymentState.REFUSED, may_cancel=False
        )
    async with database(till.counter) as db:
        requests = await refunds.of_payment(db, found.row.account, found.row.entry)
    state = _state(found, requests)
    came_today = moscow_date(found.row.recorded_at) == moscow_date(till.now())
    gone = any(row.state in (RefundState.DECIDED, RefundState.RETURNED) for row in requests)
    may_cancel = came_today and found.now.state == PaymentState.RECEIVED and not gone
    return Standing(found, state, may_cancel, tuple(requests))


def _state(found: Found, requests: list[RefundRow]) -> PartnerPaymentState:
    row, now = found.row, found.now
    if row is None or now is None:
        return PartnerPaymentState.REFUSED
    if now.state == PaymentState.RETURNED:
        return PartnerPaymentState.RETURNED
    if now.state == PaymentState.REVERSED:
        returned = any(each.state is RefundState.RETURNED and each.amount == each.paid for each in requests)
        return PartnerPaymentState.RETURNED if returned else PartnerPaymentState.CANCELLED
    if row.state == PaymentState.MOVED:
        return PartnerPaymentState.MOVED
    return PartnerPaymentState.UNALLOCATED if row.unallocated is not None else PartnerPaymentState.RECEIVED
