"""Book the rows of a register: each meets the payment that came online, or is credited now (partners 4.4).

A row with its bank's id meets the payment of that id; where the sums differ the register wins: the payment is taken back and
received anew. A row without an id meets a payment of the same account, sum and day that no other row has met, and its own name
is put together from them, so that a register that is sent again does not double. Money is never dropped: what cannot be decided
waits for an operator with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import msgspec

from bels.domain.commands import ReversePayment
from bels.domain.events import CommandRefused
from bels.domain.money_events import PaymentReceived
from bels.domain.periods import moscow_date
from bels.domain.read_value import quoted_number
from bels.domain.terms import Channel, EntryNumber, PaymentState, Reason
from bels.journal.write import Db
from bels.messages import Message, Outcome, Status, TryLater
from bels.payments import refunds
from bels.payments.find import where_now
from bels.payments.registers.faults import FileFault, RowFault
from bels.payments.registers.files import TAKEN_OUTCOMES, KeptRow, RegisterFile, RowOutcome
from bels.payments.registers.layout import Layout
from bels.payments.registers.lookups import (
    COMPOSITE,
    Known,
    Online,
    Seen,
    known_messages,
    meters_of,
    online_payments,
    seen_rows,
    stands_under,
)
from bels.payments.registers.rows import BadRow, Judged, Row
from bels.payments.till import Agent, PayOrder, Till, find, messages_of, values_by_meter
from bels.projections import ledger
from bels.projections.ledger import PaymentRow
from bels.reception.counter import ShownMeter, code_of, database

ATTEMPTS_MAX = 5
"""Attempts at a batch whose payments come online at the same moment."""

ACCOUNT_DIGITS = 7

LANES = 3
"""Transactions of a batch that are under way at once: while the database writes one, the next is decided."""

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Plan:
    """What is to be done with a row: its outcome if the messages go through, the id of its money, the messages."""

    row: Row
    external_id: str
    name: str
    base: str | None
    outcome: RowOutcome
    payment_id: str | None = None
    reason: str | None = None
    messages: list[Message] = field(default_factory=list)
    payment_at: int | None = None
    reversal_at: int | None = None
    reading_at: int | None = None
    is_second: bool = False
    receipt: str | None = None
    reading: str | None = None


def request_of(file: int) -> str:
    """Name a register among the requests that bring messages."""
    return f"{COMPOSITE}{file}"


async def book(till: Till, agent: Agent, layout: Layout, file: RegisterFile, rows: Sequence[Judged]) -> list[KeptRow]:
    """Book a batch of rows and say what became of each, in the order of the rows.

    :raises TryLater: some were not booked; the same batch again books nothing twice.
    """
    books = Books(till, agent, layout, file)
    payments = [row for row in rows if isinstance(row, Row) and row.parent is None]
    kept = {plan.row.line: books.kept(plan) for plan in await books.payments(payments)}
    # What is returned may have been paid in the same batch.
    standing = {
        row.external_id: row.payment_id
        for row in kept.values()
        if row.external_id is not None and row.payment_id is not None and row.outcome in TAKEN_OUTCOMES
    }
    for row in rows:
        if isinstance(row, BadRow):
            kept[row.line] = books.bad(row)
        elif row.parent is not None:
            kept[row.line] = await books.refund(row, standing)
    return [kept[row.line] for row in rows]


@dataclass(frozen=True, slots=True)
class Books:
    """The books as a register of a partner sees them."""

    till: Till
    agent: Agent
    layout: Layout
    file: RegisterFile

    @property
    def guarded(self) -> Callable[[str], str]:
        """Seal what may not be kept in clear."""
        return self.till.counter.door.raw_texts.guarded

    @property
    def request_id(self) -> str:
        """Name the register among requests."""
        return request_of(self.file.file)

    @property
    def partner(self) -> str:
        """The partner's client."""
        return self.agent.partner.client

    async def payments(self, rows: Sequence[Row], ids: Sequence[tuple[str, str | None]] | None = None) -> list[_Plan]:
        """Book payments, under these ids or those that the layout gives them.

        :raises TryLater: some were not booked; the same again books nothing twice.
        """
        for _ in range(ATTEMPTS_MAX):
            plans = await self._planned(rows, ids)
            lanes: list[list[_Plan]] = [[] for _ in range(LANES)]
            for plan in plans:
                # An account always takes the same lane, so that its messages keep their order and never meet each other.
                lanes[hash(plan.row.account) % LANES].append(plan)
            # One that fails waits for the others: nothing of this batch may still be under way when somebody begins it anew.
            handled = await asyncio.gather(*(self._handled(lane) for lane in lanes), return_exceptions=True)
            outcomes = [_or_raised(each) for each in handled]
            if all(self._settled(lane, own) for lane, own in zip(lanes, outcomes, strict=True)):
                return plans
        raise TryLater("payments of the register come online at the same moment")

    async def _handled(self, plans: Sequence[_Plan]) -> list[Outcome]:
        messages = [message for plan in plans for message in plan.messages]
        return await self.till.intake.handle(messages) if messages else []

    def _settled(self, plans: Sequence[_Plan], outcomes: Sequence[Outcome]) -> bool:
        """Read what became of plans; False where one met a payment that came in between, and is to be looked at again."""
        start = 0
        for plan in plans:
            own = outcomes[start : start + len(plan.messages)]
            start += len(plan.messages)
            late = _refusal(own[plan.reversal_at]) if plan.reversal_at is not None else None
            if late is not None:
                # The payment could not be taken back, so the sum of the row was not booked either.
                is_moved = late.reason is Reason.PAYMENT_MOVED
                plan.reason = (RowFault.OTHER_ACCOUNT if is_moved else RowFault.TAKEN_BACK).value
                plan.outcome, plan.payment_id = RowOutcome.REVIEW, None
                continue
            if plan.payment_at is not None and not self._is_booked(plan, own[plan.payment_at]):
                return False
            if plan.reading_at is not None and (plan.payment_at is None or not _refusal(own[plan.payment_at])):
                plan.reading = code_of(own[plan.reading_at])
        return True

    def _is_booked(self, plan: _Plan, outcome: Outcome) -> bool:
        refusal = _refusal(outcome)
        if refusal is not None and refusal.reason is Reason.MESSAGE_ID_REUSED and not plan.is_second:
            return False
        plan.receipt = outcome.receipt
        event = outcome.events[0] if outcome.events else None
        if not isinstance(event, PaymentReceived):
            reason = refusal.reason.value if refusal is not None else RowFault.NOT_BOOKED.value
            if outcome.status is Status.PARKED:
                reason = Status.PARKED.value
            plan.outcome, plan.reason, plan.payment_id = RowOutcome.REVIEW, reason, None
        elif event.unallocated is not None and plan.outcome is RowOutcome.CREDITED:
            plan.outcome, plan.reason = RowOutcome.UNALLOCATED, event.unallocated.value
        return True

    async def _planned(self, rows: Sequence[Row], given: Sequence[tuple[str, str | None]] | None) -> list[_Plan]:
        texts = self.till.counter.door.raw_texts
        async with database(self.till.counter) as db:
            ids = given or await self._ids(db, rows)
            has_ids = not isinstance(self.layout.external_id, tuple)
            seen = await seen_rows(db, texts, self.partner, [external for external, _ in ids])
            names = {external: self._name(external) for external, _ in ids}
            known = await known_messages(db, list(names.values()))
            online: Online = {}
            if not has_ids:
                online = await online_payments(db, texts, self.partner, self.agent.actor, rows)
            # Of a row that meets a payment more is asked: whether its reading came, whether it was corrected already.
            met = [external for external, name in names.items() if name in known]
            more = [self._name(f"{each} corrected {self.file.file}") for each in met]
            more += [self._name(f"{each} reading") for each in (*met, *chain.from_iterable(online.values()))]
            known |= await known_messages(db, more) if more else {}
            meters = await meters_of(db, rows)
            plans, in_batch = [], set[str]()
            for row, (external_id, base) in zip(rows, ids, strict=True):
                fault = self._doubt(row, external_id, seen.get(external_id, []), external_id in in_batch)
                in_batch.add(external_id)
                plan = _Plan(row, external_id, names[external_id], base, RowOutcome.CREDITED)
                plans.append(plan)
                if isinstance(fault, RowFault):
                    plan.outcome, plan.reason = RowOutcome.REVIEW, fault.value
                elif isinstance(fault, Seen):
                    plan.outcome, plan.payment_id = RowOutcome.MATCHED, fault.payment_id
                else:
                    await self._plan(db, plan, external_id, known, meters, online)
        return plans

    def _doubt(self, row: Row, external_id: str, seen: Sequence[Seen], is_in_batch: bool) -> RowFault | Seen | None:
        """Say what is in the way of a row by the rows that were kept before; the row it repeats where it is the same."""
        if is_in_batch or any(each.file == self.file.file and each.line < row.line for each in seen):
            return RowFault.TWICE_IN_FILE
        taken = [each for each in seen if each.file != self.file.file and each.outcome in TAKEN_OUTCOMES]
        if not taken:
            return None
        last = max(taken, key=lambda each: (each.file, each.line))
        if last.amount != row.amount:
            return RowFault.OTHER_AMOUNT
        if isinstance(self.layout.external_id, tuple) and not self._is_again:
            return RowFault.POSSIBLE_REPEAT
        return last

    @property
    def _is_again(self) -> bool:
        """Say whether an operator let the file go on as another edition of one that had come."""
        return self.file.fault is FileFault.NUMBER_REUSED and self.file.is_correction

    async def _plan(
        self,
        db: Db,
        plan: _Plan,
        external_id: str,
        known: Mapping[str, Known],
        meters: Mapping[str, ShownMeter],
        online: Online,
    ) -> None:
        row = plan.row
        before = known.get(plan.name)
        if before is not None and before.request_id != self.request_id:
            if before.amount is None:
                # It was refused online, and its money has come all the same.
                self._credit(plan, f"{external_id} corrected {self.file.file}", known, meters)
            elif (before.meant_for or before.account) != quoted_number(row.account):
                plan.outcome, plan.reason = RowOutcome.REVIEW, RowFault.OTHER_ACCOUNT.value
            elif before.amount != row.amount:
                await self._correct(db, plan, external_id, before, known, meters)
            elif await _is_taken_back(db, before):
                plan.outcome, plan.reason = RowOutcome.REVIEW, RowFault.TAKEN_BACK.value
            else:
                self._match(plan, external_id, known, meters)
            return
        candidates = online.get((row.account, row.amount, moscow_date(row.paid_at))) if before is None else None
        if candidates:
            self._match(plan, candidates.popleft(), known, meters)
        else:
            self._credit(plan, external_id, known, meters)

    def _match(
        self, plan: _Plan, payment_id: str, known: Mapping[str, Known], meters: Mapping[str, ShownMeter]
    ) -> None:
        plan.outcome, plan.payment_id = RowOutcome.MATCHED, payment_id
        # The reading may have come with the payment already; if it did not, it is taken now.
        if plan.row.values and self._name(f"{payment_id} reading") not in known:
            plan.messages = _readings(self._messages(plan.row, payment_id, meters))
            plan.reading_at = 0

    def _credit(
        self, plan: _Plan, payment_id: str, known: Mapping[str, Known], meters: Mapping[str, ShownMeter]
    ) -> None:
        plan.payment_id, plan.messages = payment_id, self._messages(plan.row, payment_id, meters)
        done = known.get(plan.name if payment_id == plan.external_id else self._name(payment_id))
        if done is not None and done.amount is not None:
            # It was booked before this process was cut off; its reading was handled with it.
            plan.receipt = done.receipt
            if done.unallocated is not None and plan.outcome is RowOutcome.CREDITED:
                plan.outcome, plan.reason = RowOutcome.UNALLOCATED, done.unallocated
            plan.messages = _readings(plan.messages)
        else:
            plan.payment_at, plan.is_second = 0, done is not None
        plan.reading_at = len(plan.messages) - 1 if plan.row.values else None

    async def _correct(
        self,
        db: Db,
        plan: _Plan,
        external_id: str,
        before: Known,
        known: Mapping[str, Known],
        meters: Mapping[str, ShownMeter],
    ) -> None:
        """Let the register win: take the payment back, wherever it was moved, and receive it with the sum of the row."""
        corrected = f"{external_id} corrected {self.file.file}"
        is_done = self._name(corrected) in known
        if not is_done and await _is_taken_back(db, before):
            plan.outcome, plan.reason = RowOutcome.REVIEW, RowFault.TAKEN_BACK.value
            return
        self._credit(plan, corrected, known, meters)
        plan.outcome, plan.reason = RowOutcome.CORRECTED, str(before.amount)
        if is_done or before.entry is None or plan.payment_at is None:
            return
        was = await ledger.payment_at(db, before.account, before.entry)
        if was is None:
            return
        now = await where_now(db, was)
        if await refunds.take_back(db, was, self.till.now()) is None:
            # A part of it is on its way back to the payer: a person decides what is left.
            plan.outcome, plan.reason, plan.payment_id = RowOutcome.REVIEW, RowFault.TAKEN_BACK.value, None
            plan.messages, plan.payment_at, plan.reading_at = [], None, None
            return
        ground = f"Сумма по реестру {plan.row.amount} вместо {before.amount}"
        plan.messages = self._instead(f"{corrected} reversal", now, ground, plan.messages)
        plan.reversal_at, plan.payment_at = 0, 1
        plan.reading_at = plan.reading_at + 1 if plan.reading_at is not None else None

    def _messages(self, row: Row, payment_id: str, meters: Mapping[str, ShownMeter]) -> list[Message]:
        values = values_by_meter(row.values, meters.get(row.account)) if row.values else None
        return messages_of(self.till, self.agent, self._order(row, payment_id, values), self.request_id)

    def _order(self, row: Row, payment_id: str, values: Mapping[str, str] | None) -> PayOrder:
        return PayOrder(
            payment_id,
            row.account,
            row.amount,
            row.paid_at,
            commission=row.fee if self.layout.fee_from == "payer" else None,
            values=values,
            given=row.values or None,
            is_strict=False,
            keeps_unknown=True,
        )

    def _instead(self, name: str, now: PaymentRow, ground: str, messages: Sequence[Message]) -> list[Message]:
        """Take a payment back, under a name, and book other messages in its place: none of them where it is refused."""
        command = ReversePayment(EntryNumber(now.entry), self.till.now(), ground)
        # One content for all of them is what lets a message stand with another one.
        raw = messages[0].raw if messages else self.guarded(_encode(["reverse", name]).decode())
        reversal = Message(Channel.BANK, self._name(name), self.agent.actor, now.account, command, raw, self.request_id)
        return [reversal, *(replace(each, only_with=reversal.message_id) for each in messages)]

    def _name(self, payment_id: str) -> str:
        return self.guarded(self.agent.message_id(payment_id))

    async def refund(self, row: Row, standing: dict[str, str]) -> KeptRow:
        """Return a payment: the whole of it, or a part; ``standing`` are the ids of the money of this batch.

        :raises TryLater: it was not returned; the same again returns nothing twice.
        """
        texts = self.till.counter.door.raw_texts
        async with database(self.till.counter) as db:
            ((external_id, base),) = await self._ids(db, [row])
            plan = _Plan(row, external_id, self._name(external_id), base, RowOutcome.REFUNDED)
            seen = (await seen_rows(db, texts, self.partner, [external_id], "REFUND")).get(external_id, [])
            known = await known_messages(db, [plan.name])
            parent = row.parent or ""
            stands = standing.get(parent) or await stands_under(db, texts, self.partner, parent)
        rest = f"{external_id} rest"
        before = known.get(plan.name)
        if any(each.file == self.file.file and each.line < row.line for each in seen):
            plan.outcome, plan.reason = RowOutcome.REVIEW, RowFault.TWICE_IN_FILE.value
        elif any(each.outcome in TAKEN_OUTCOMES for each in seen):
            plan.outcome = RowOutcome.MATCHED
        elif before is not None and before.request_id != self.request_id:
            # The id of another message of the bank, of a payment perhaps: under it nothing can be taken back.
            plan.outcome, plan.reason = RowOutcome.REVIEW, Reason.MESSAGE_ID_REUSED.value
        else:
            await self._return(plan, stands, rest, is_again=before is not None)
        if plan.outcome is RowOutcome.REFUNDED and plan.payment_id is not None:
            standing[parent] = plan.payment_id
        return self.kept(plan)

    async def _return(self, plan: _Plan, stands: str, rest: str, *, is_again: bool) -> None:
        """Take back what stands under an id, and book what is left of it; ``is_again``: it was begun before, and cut off."""
        row = plan.row
        found = await find(self.till, self.agent, stands)
        plan.outcome, plan.reason = RowOutcome.REVIEW, RowFault.UNKNOWN_PARENT.value
        if found is None or found.row is None or found.now is None:
            return
        now = found.now
        if not is_again and now.state != PaymentState.RECEIVED:
            plan.reason = RowFault.TAKEN_BACK.value
            return
        if row.amount > now.amount:
            plan.reason = RowFault.REFUND_TOO_LARGE.value
            return
        ground = f"Возврат {row.amount} по реестру"
        messages: list[Message] = []
        if row.amount < now.amount:
            left = PayOrder(
                rest,
                now.meant_for or now.account,
                now.amount - row.amount,
                now.paid_at or row.paid_at,
                commission=now.commission,
                keeps_unknown=True,
            )
            messages = messages_of(self.till, self.agent, left, self.request_id)
        async with refunds.taking_back(self.till.counter, found.row) as is_whole:
            if not is_whole and not is_again:
                plan.reason = RowFault.TAKEN_BACK.value
                return
            outcomes = await self.till.intake.handle(self._instead(plan.external_id, now, ground, messages))
        plan.receipt = outcomes[0].receipt
        if (refusal := _refusal(outcomes[0])) is not None:
            plan.reason = refusal.reason.value
            return
        plan.outcome, plan.reason, plan.payment_id = RowOutcome.REFUNDED, None, rest

    def bad(self, row: BadRow) -> KeptRow:
        """Keep a line that could not be read: it waits for an operator."""
        return KeptRow(
            self.file.file,
            row.line,
            self.partner,
            "PAYMENT",
            self.guarded(row.external_id) if row.external_id is not None else None,
            None,
            None,
            quoted_number(row.account).replace("\x00", ""),
            row.amount,
            row.fee,
            row.transfer,
            moscow_date(row.paid_at) if row.paid_at is not None else None,
            row.paid_at,
            RowOutcome.REVIEW,
            row.fault.value,
            raw=self.till.counter.door.raw_texts.sealed(row.raw),
            given=self._given(row.values),
        )

    def kept(self, plan: _Plan) -> KeptRow:
        """Say what is kept of a row that was booked."""
        row = plan.row
        is_open = plan.outcome is RowOutcome.REVIEW
        external_id, payment_id = self.guarded(plan.external_id), plan.payment_id
        if payment_id is not None:
            payment_id = external_id if payment_id == plan.external_id else self.guarded(payment_id)
        return KeptRow(
            self.file.file,
            row.line,
            self.partner,
            "PAYMENT" if row.parent is None else "REFUND",
            external_id,
            plan.base,
            self.guarded(row.parent) if row.parent is not None else None,
            # A short number is nobody's phone.
            row.account if len(row.account) <= ACCOUNT_DIGITS and row.account.isdigit() else quoted_number(row.account),
            row.amount,
            row.fee,
            row.transfer,
            moscow_date(row.paid_at),
            row.paid_at,
            plan.outcome,
            plan.reason,
            plan.receipt,
            payment_id,
            plan.reading,
            self.till.counter.door.raw_texts.sealed(row.raw) if is_open else None,
            given=self._given(row.values) if is_open else None,
        )

    def _given(self, values: Sequence[tuple[str, str]]) -> str | None:
        return self.guarded(_encode(values).decode()) if values else None

    async def _ids(self, db: Db, rows: Sequence[Row]) -> list[tuple[str, str | None]]:
        """Name rows: by their bank's id, or by what they have, with a number among equals of the file."""
        parts = self.layout.external_id
        if not isinstance(parts, tuple):
            return [(row.external_id or "", None) for row in rows]
        bases = [self._base(row, parts) for row in rows]
        counted = await db.fetch(
            """
            SELECT base, count(*) AS count FROM register_row
             WHERE file = $1 AND base = ANY($2::text[]) AND line < $3 GROUP BY base
            """,
            self.file.file,
            list(set(bases)),
            rows[0].line if rows else 0,
        )
        told = Counter({row["base"]: row["count"] for row in counted})
        found: list[tuple[str, str | None]] = []
        for base in bases:
            told[base] += 1
            found.append((f"{COMPOSITE}{base}/{told[base]}", base))
        return found

    def _base(self, row: Row, parts: Sequence[str]) -> str:
        day = (self.file.day or moscow_date(row.paid_at)).isoformat()
        of = {"day": day, "number": self.file.number or "", "account": row.account, "amount": str(row.amount)}
        base = "/".join(of[part] for part in parts)
        # Two registers that only happen to have one number are told apart by the operator who let the second one go on.
        is_other = self.file.fault is FileFault.NUMBER_REUSED and not self.file.is_correction
        return f"{base}/{self.file.file}" if is_other else base


async def _is_taken_back(db: Db, before: Known) -> bool:
    """Say whether a payment was taken back, wherever it had been moved to by then."""
    if before.state != PaymentState.MOVED or before.entry is None:
        return before.state == PaymentState.REVERSED
    was = await ledger.payment_at(db, before.account, before.entry)
    return was is not None and (await where_now(db, was)).state == PaymentState.REVERSED


def _readings(messages: Sequence[Message]) -> list[Message]:
    """Give the reading of an order whose money is booked already, whichever message brought that."""
    return [replace(message, only_with=None) for message in messages[1:]]


def _or_raised(handled: list[Outcome] | BaseException) -> list[Outcome]:
    if isinstance(handled, BaseException):
        raise handled
    return handled


def _refusal(outcome: Outcome) -> CommandRefused | None:
    event = outcome.events[0] if outcome.events else None
    return event if isinstance(event, CommandRefused) else None
