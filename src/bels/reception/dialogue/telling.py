"""Tell what became of a message, what a receipt stands for, what is owed: facts made into lines."""

from __future__ import annotations

from datetime import date

from bels.access.tenures import find_tenure
from bels.domain.events import Event, ReadingAccepted, ReadingConfirmed, ReadingHeld, ReadingSuperseded
from bels.domain.terms import HoldReason, Period, ReadingStatus, Reason
from bels.messages import Status
from bels.projections import bills, ledger, readings
from bels.projections.ledger import BalanceRow
from bels.reception.counter import Answer, Counter
from bels.reception.dialogue.asking import WARNINGS, digits, values_of
from bels.reception.dialogue.desk import OfficeNow
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.turns import Line, Part, PartKind
from bels.words import ReceiptState, Words

REFUSALS: dict[Reason, Say] = {
    Reason.BAD_ACCOUNT: Say.BAD_ACCOUNT,
    Reason.UNKNOWN_ACCOUNT: Say.UNKNOWN_ACCOUNT,
    Reason.ACCOUNT_CLOSED: Say.ACCOUNT_CLOSED,
    Reason.FOREIGN_METER: Say.FOREIGN_METER,
    Reason.METER_CLOSED: Say.METER_CLOSED,
    Reason.METER_NOT_READ_BY_CONSUMER: Say.METER_NOT_READ_BY_CONSUMER,
    Reason.READINGS_NOT_TAKEN: Say.READINGS_NOT_TAKEN,
    Reason.BAD_VALUE: Say.BAD_VALUE,
    Reason.TOO_FEW_VALUES: Say.TOO_FEW_VALUES,
    Reason.TOO_MANY_VALUES: Say.TOO_MANY_VALUES,
    Reason.TOO_MANY_DIGITS: Say.TOO_MANY_DIGITS,
    Reason.TOO_MANY_MESSAGES: Say.TOO_MANY_MESSAGES,
    Reason.NOT_UNDERSTOOD: Say.NOT_UNDERSTOOD,
    Reason.UNKNOWN_READING: Say.UNKNOWN_READING,
    Reason.NOT_HELD: Say.NOT_HELD,
    Reason.OPERATOR_ONLY: Say.OPERATOR_DECIDES,
    Reason.UNCONFIRMED_SENDER: Say.PROVE,
}
"""Refusals that have a sentence of their own; any other is read on a screen."""

WITH_HINT = (Reason.ACCOUNT_CLOSED, Reason.READINGS_NOT_TAKEN, Reason.UNCONFIRMED_SENDER, Reason.TOO_MANY_MESSAGES)
"""Refusals after which only a call or a code helps: a screen says which."""


def note(words: Words) -> Line:
    """Make a line for screens only."""
    return Line(Say.NOTE, {"text": Part(PartKind.TEXT, f"{words.text}. {words.hint}")})


def receipt_line(receipt: str) -> Line:
    """Tell a receipt."""
    return Line(Say.RECEIPT, {"receipt": Part(PartKind.RECEIPT, receipt)})


def outcome_lines(answer: Answer, code: str) -> tuple[Line, ...]:
    """Tell what became of a message, with its receipt; consumption only to who may speak for the account."""
    outcome = answer.outcome
    receipt = receipt_line(outcome.receipt)
    if outcome.status is Status.PARKED or not outcome.events:
        return Line(Say.PARKED), receipt
    event = outcome.events[0]
    match event:
        case ReadingAccepted():
            values = values_of({register.value: str(value) for register, value in event.values.items()})
            first = Line(Say.REPEATED if code == "REPEATED" else Say.ACCEPTED)
            used = (_kwh(sum(event.delta.values())),) if answer.linked else ()
            return first, *values, *used, *_counts(event.period, code, outcome.version, outcome.events), receipt
        case ReadingHeld():
            lines = [Line(Say.HELD), Line(WARNINGS[event.reason])]
            if event.reason is not HoldReason.UNCONFIRMED_SENDER and event.reason is not HoldReason.IMPLAUSIBLE:
                lines.append(Line(Say.OPERATOR_DECIDES))
            return *lines, receipt
        case ReadingConfirmed():
            return Line(Say.CONFIRMED), *_counts(event.period, code, event.reading, outcome.events), receipt
        case _:
            reason = getattr(event, "reason", None)
            if isinstance(reason, Reason) and reason in REFUSALS:
                hint = (
                    (Line(Say.NOTE, {"text": Part(PartKind.TEXT, answer.words.hint)}),) if reason in WITH_HINT else ()
                )
                return Line(Say.NOT_TAKEN), Line(REFUSALS[reason]), *hint, receipt
            refused = (Line(Say.NOT_TAKEN),) if outcome.status is Status.REFUSED else ()
            return *refused, note(answer.words), receipt


def state_lines(receipt: str, state: ReceiptState | None) -> tuple[Line, ...]:
    """Tell what a receipt stands for now, without its values."""
    if state is None:
        return (Line(Say.UNKNOWN_READING),)
    about = Line(Say.ACCOUNT, {"account": digits(state.account)}) if state.account else None
    lines = _status(state)
    return (receipt_line(receipt), *((about,) if about is not None else ()), *lines)


async def last_reading(counter: Counter, account: str) -> tuple[Line, ...]:
    """Tell what became of the last reading that was sent for an account."""
    async with counter.pool.acquire() as db:
        rows = await readings.page(
            db, account, None, None, 1, True, [s.value for s in ReadingStatus if s is not ReadingStatus.REFUSED]
        )
        since = (await find_tenure(db, account)).entry
    # What the household before has sent is not told to the one of now.
    if not rows or rows[0].entry <= since:
        return (Line(Say.NO_READING),)
    row = rows[0]
    state = ReceiptState(
        row.receipt,
        account,
        ReadingStatus(row.status),
        None,
        Period(row.period) if row.period is not None else None,
        row.counted_in is not None,
        HoldReason(row.reason) if row.reason in list(HoldReason) else None,
    )
    values = values_of({register: str(value) for register, value in row.values.items()})
    return *values, *_status(state), receipt_line(row.receipt)


async def balance(counter: Counter, account: str, today: date) -> tuple[Line, ...]:
    """Tell what an account owes, what of it is late, and penalties."""
    async with counter.pool.acquire() as db:
        row = (await ledger.find(db, [account])).get(account)
    return _owed(row, today)


async def last_bill(counter: Counter, account: str) -> tuple[Line, ...]:
    """Tell the last bill of an account: its period, what is to be paid, and by which day."""
    rulebook = await counter.intake.rules()
    async with counter.pool.acquire() as db:
        period = await bills.last_period(db, account)
        since = (await find_tenure(db, account)).period
        bill = await bills.find(db, account, period, rulebook) if period is not None and period >= since else None
    if bill is None:
        return (Line(Say.NO_BILL),)
    lines = [
        Line(
            Say.BILL,
            {"month": Part(PartKind.MONTH, bill.period), "roubles": Part(PartKind.ROUBLES, f"{bill.bill:.2f}")},
        ),
        Line(Say.DEBT, {"roubles": Part(PartKind.ROUBLES, f"{bill.to_pay:.2f}")}),
    ]
    if bill.to_pay:
        lines.append(Line(Say.DUE, {"day": Part(PartKind.DAY, bill.due_on.isoformat())}))
    return tuple(lines)


def office_lines(office: OfficeNow) -> tuple[Line, ...]:
    """Tell whether operators answer, and when."""
    lines = [Line(Say.OFFICE_OPEN if office.is_open else Say.OFFICE_CLOSED)]
    if office.today is not None:
        lines.append(
            Line(
                Say.HOURS,
                {
                    "opens": Part(PartKind.TIME, office.today.opens),
                    "closes": Part(PartKind.TIME, office.today.closes),
                },
            )
        )
    if office.following is not None and not office.is_open:
        day = Part(PartKind.DAY, office.following.day.isoformat())
        lines.append(Line(Say.OPENS, {"day": day, "opens": Part(PartKind.TIME, office.following.opens)}))
    return tuple(lines)


def _status(state: ReceiptState) -> tuple[Line, ...]:
    month = Part(PartKind.MONTH, state.period) if state.period is not None else None
    match state.status:
        case None:
            return (Line(Say.STATE_DONE if state.done else Say.PARKED),)
        case ReadingStatus.ACCEPTED if month is not None and state.billed:
            return (Line(Say.STATE_BILLED, {"month": month}),)
        case ReadingStatus.ACCEPTED:
            counts = (Line(Say.COUNTS, {"month": month}),) if month is not None else ()
            return Line(Say.STATE_ACCEPTED), *counts
        case ReadingStatus.HELD:
            why = (Line(WARNINGS[state.reason]),) if state.reason in WARNINGS else ()
            return Line(Say.STATE_HELD), *why
        case ReadingStatus.SUPERSEDED:
            return (Line(Say.ANOTHER_COUNTS),)
        case ReadingStatus.REFUSED:
            refusal = REFUSALS.get(state.reason) if isinstance(state.reason, Reason) else None
            return Line(Say.NOT_TAKEN), *((Line(refusal),) if refusal is not None else ())
        case _:
            return (Line(Say.STATE_NOT_COUNTED),)


def _counts(period: Period, code: str, reading: int | None, events: tuple[Event, ...]) -> tuple[Line, ...]:
    if any(isinstance(event, ReadingSuperseded) and event.reading == reading for event in events):
        return (Line(Say.ANOTHER_COUNTS),)
    counts = Line(Say.COUNTS, {"month": Part(PartKind.MONTH, period)})
    return (Line(Say.AFTER_DEADLINE), counts) if code == "ACCEPTED_NEXT_PERIOD" else (counts,)


def _kwh(kwh: int) -> Line:
    return Line(Say.USED, {"kwh": Part(PartKind.KWH, str(kwh))})


def _owed(row: BalanceRow | None, today: date) -> tuple[Line, ...]:
    if row is None:
        return (Line(Say.NO_DEBT),)

    def roubles(say: Say, amount: object) -> Line:
        return Line(say, {"roubles": Part(PartKind.ROUBLES, f"{amount:.2f}")})

    overdue = row.overdue_on(today)
    if row.balance > 0:
        lines = [roubles(Say.DEBT, row.balance)]
        if overdue > 0:
            lines.append(roubles(Say.OVERDUE, overdue))
    else:
        lines = [roubles(Say.ADVANCE, row.advance) if row.advance > 0 else Line(Say.NO_DEBT)]
    if row.penalty > 0:
        lines.append(roubles(Say.PENALTY, row.penalty))
    return tuple(lines)
