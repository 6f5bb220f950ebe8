"""The till (касса): the one place where partners' payments come in, whichever protocol brought them.

A payment and the reading that came with it are two messages in one transaction: money is taken whenever it is valid, a reading
that is held or refused says so beside it. The partner's own id names both for ever, so that a repeat, at once or in a year, gets
the first answer and books nothing; where nothing could be stored (``TryLater``) the id is as unused as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import msgspec

from bels.domain.commands import PaymentTerms, ReceivePayment, ReversePayment, SubmitReading
from bels.domain.events import CommandRefused, Event
from bels.domain.money_events import PaymentReceived
from bels.domain.periods import moscow_date
from bels.domain.read_value import quoted_number
from bels.domain.receive_payment import is_kept_unallocated, receive_payment
from bels.domain.terms import Channel, EntryNumber, Money, Purpose, Reason, Register, Role
from bels.intake import Intake
from bels.journal.journal import find_messages
from bels.messages import Message, Outcome, Status, again, digest, outcomes_of
from bels.payments.find import where_now
from bels.payments.partners import Partner, Partners
from bels.projections import ledger
from bels.projections.ledger import PaymentRow
from bels.reception.counter import Counter, ShownMeter, database, meter_of

PAYMENT_ID_LENGTH_MAX = 100

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Till:
    """What every way of paying works with: the counter of the readings, and the partners' contracts."""

    counter: Counter
    partners: Partners

    @property
    def intake(self) -> Intake:
        """The one way in."""
        return self.counter.intake

    def now(self) -> datetime:
        """Tell the time."""
        return self.counter.now()

    def agent(self, client: str) -> Agent:
        """Give the agent that a partner's client is."""
        partner = self.partners.of(client)
        return Agent(partner, partner.actor)


@dataclass(frozen=True, slots=True)
class Agent:
    """Who brings payments: a partner, under the actor's name of its credential.

    ``prefixed`` is False for the developer at this machine alone, whose messages go by their own ids.
    """

    partner: Partner
    actor: str
    prefixed: bool = True

    def message_id(self, payment_id: str) -> str:
        """Name a message of it for ever."""
        return self.partner.message_id(payment_id) if self.prefixed else payment_id


@dataclass(frozen=True, slots=True)
class PayOrder:
    """A payment as a partner orders it: ``amount`` roubles for the account, ``commission`` on top, None where it says nothing.

    ``paid_at`` is the moment of the payer's operation. ``values`` are the reading, by register name, None where none came.
    ``is_strict``: the same id with anything else in it is an error; else only another account or another sum is, as in protocols
    whose repeats may differ in other fields. ``keeps_unknown`` overrules the contract: money that has already come is kept.
    """

    payment_id: str
    account: str
    amount: Decimal
    paid_at: datetime
    purpose: Purpose = Purpose.ENERGY
    commission: Money | None = None
    quoted: Money | None = None
    values: Mapping[str, str] | None = None
    meter: str | None = None
    is_strict: bool = True
    keeps_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Paid:
    """What became of a payment, and of the reading that came with it (None where none came, or the payment was refused)."""

    payment: Outcome
    reading: Outcome | None

    @property
    def received(self) -> PaymentReceived | None:
        """The payment as it was booked, None where it was not."""
        event = self.payment.events[0] if self.payment.events else None
        return event if isinstance(event, PaymentReceived) else None

    @property
    def refusal(self) -> CommandRefused | None:
        """Why it was refused, None where it was not."""
        event = self.payment.events[0] if self.payment.events else None
        return event if isinstance(event, CommandRefused) else None

    @property
    def is_parked(self) -> bool:
        """It waits for an operator: the code failed on it."""
        return self.payment.status is Status.PARKED


@dataclass(frozen=True, slots=True)
class Found:
    """A payment by its partner's id: as it came, as it stands now wherever it was moved, and the reading with it."""

    paid: Paid
    row: PaymentRow | None
    now: PaymentRow | None


def is_payment_id(text: str) -> bool:
    """Say whether a text can be a partner's id of a payment: 1 to 100 visible ASCII characters, no blanks."""
    return 0 < len(text) <= PAYMENT_ID_LENGTH_MAX and all("!" <= c <= "~" for c in text)


async def pay(till: Till, agent: Agent, order: PayOrder, *, request_id: str = "") -> Paid:
    """Take a payment, and the reading with it, in one transaction; the same again gets the same answer.

    :raises TryLater: nothing was stored, and the id is free for the same order.
    """
    messages = messages_of(till, agent, order, request_id)
    before = await _before(till, messages)
    if before is not None:
        first, reading = before
        content = digest(messages[0].raw)
        if first[0] != content and (order.is_strict or not _is_same(order, first[1])):
            return Paid(again(messages[0], first[0], first[1]), None)
        if first[0] != content:
            return Paid(first[1], reading)
        if reading is None and _is_refused(first[1]):
            return Paid(first[1], None)
    elif len(messages) > 1 and await _would_be_refused(till, messages[0]):
        messages = messages[:1]
    if len(messages) == 1:
        return Paid(await till.intake.submit(messages[0]), None)
    payment, reading = await till.intake.handle(messages)
    return Paid(payment, reading if not _is_reused(payment) else None)


def messages_of(till: Till, agent: Agent, order: PayOrder, request_id: str = "") -> list[Message]:
    """Make the messages of an order: the payment, and the reading where one came."""
    now = till.now()
    kept = agent.partner
    guarded = till.counter.door.raw_texts.guarded
    terms = PaymentTerms(kept.minimum, kept.maximum, order.keeps_unknown or not kept.refuses_unknown, order.quoted)
    if order.keeps_unknown:
        # Money that has come is taken, whatever its size.
        terms = PaymentTerms()
    command = ReceivePayment(
        order.amount,
        moscow_date(order.paid_at),
        now,
        order.payment_id,
        order.purpose,
        paid_at=order.paid_at,
        commission=order.commission,
        terms=terms,
    )
    # The same sum is the same content, however many zeros it is written with.
    amount = f"{order.amount.normalize():f}" if order.amount.is_finite() else str(order.amount)
    content = [
        "pay",
        order.account,
        amount,
        order.paid_at.isoformat(),
        order.purpose,
        str(order.commission) if order.commission is not None else None,
        dict(order.values) if order.values is not None else None,
        order.meter,
    ]
    raw = guarded(_encode(content).decode())
    account = quoted_number(order.account)
    name = guarded(agent.message_id(order.payment_id))
    payment = Message(Channel.BANK, name, agent.actor, account, command, raw, request_id)
    if order.values is None:
        return [payment]
    reading = SubmitReading(min(order.paid_at, now), order.values, Role.AGENT, meter=order.meter)
    # No payment's id has a blank, so that no other message of the partner has this name by chance.
    name = guarded(agent.message_id(f"{order.payment_id} reading"))
    return [payment, Message(Channel.BANK, name, agent.actor, account, reading, raw, request_id)]


async def find(till: Till, agent: Agent, payment_id: str) -> Found | None:
    """Find a payment by its partner's id, None where it never came.

    :raises TryLater: the database cannot be reached.
    """
    outcomes = await _outcomes(till, _names(till, agent, payment_id))
    first = outcomes[0]
    if first is None:
        return None
    paid = Paid(first[1], outcomes[1][1] if outcomes[1] is not None else None)
    if paid.received is None or paid.payment.version is None:
        return Found(paid, None, None)
    async with database(till.counter) as db:
        row = await ledger.payment_at(db, paid.payment.account, paid.payment.version)
        return Found(paid, row, await where_now(db, row) if row is not None else None)


async def cancel(
    till: Till, agent: Agent, payment_id: str, ground: str, *, request_id: str = "", by_payer: bool = True
) -> Outcome | None:
    """Take a payment back, wherever it was moved: by its partner alone on the day on which it came. None: it never came.

    The reading that came with it stays: a household has read its meter, whoever pays.

    :raises TryLater: nothing was stored.
    """
    found = await find(till, agent, payment_id)
    if found is None or found.now is None:
        return None
    command = ReversePayment(EntryNumber(found.now.entry), till.now(), ground, by_payer)
    guarded = till.counter.door.raw_texts.guarded
    raw = guarded(_encode(["cancel", payment_id]).decode())
    name = guarded(agent.message_id(f"{payment_id} cancel"))
    return await till.intake.submit(
        Message(Channel.BANK, name, agent.actor, found.now.account, command, raw, request_id)
    )


async def named_values(till: Till, account: str, given: Sequence[tuple[str, str]]) -> dict[str, str] | None:
    """Name the values of a protocol by the registers of the account's meter; None where none was given.

    ``given`` are (place, value as written): the place is a register's name (``day``), the display's (``T1``) or a number
    from 1 in the order of the display. Values for which the meter has no register get names that are refused.

    :raises TryLater: the database cannot be reached.
    """
    written = [(place, text.strip()) for place, text in given if text.strip()]
    if not written:
        return None
    return values_by_meter(written, await meter_of(till.counter, account))


def values_by_meter(written: Sequence[tuple[str, str]], meter: ShownMeter | None) -> dict[str, str]:
    """Name the values that are not empty by the registers of a meter; see ``named_values``."""
    values: dict[str, str] = {}
    for place, text in written:
        values[_register(place, meter)] = text
    return values


def _register(place: str, meter: ShownMeter | None) -> str:
    lower = place.strip().lower()
    if lower in set(Register):
        return lower
    if meter is not None:
        if meter.display is not None and place.strip().upper() in meter.display:
            return meter.display[place.strip().upper()].value
        if lower.isascii() and lower.isdigit() and 1 <= int(lower) <= len(meter.registers):
            return meter.registers[int(lower) - 1].value
    return f"value{lower}"


def _names(till: Till, agent: Agent, payment_id: str) -> list[str]:
    guarded = till.counter.door.raw_texts.guarded
    return [guarded(agent.message_id(payment_id)), guarded(agent.message_id(f"{payment_id} reading"))]


async def _before(till: Till, messages: Sequence[Message]) -> tuple[tuple[bytes, Outcome], Outcome | None] | None:
    """Find what came before under these names: the payment with its content's digest, and the reading."""
    outcomes = await _outcomes(till, [message.message_id for message in messages])
    if outcomes[0] is None:
        return None
    return outcomes[0], outcomes[1][1] if len(outcomes) > 1 and outcomes[1] is not None else None


async def _outcomes(till: Till, names: Sequence[str]) -> list[tuple[bytes, Outcome] | None]:
    async with database(till.counter) as db:
        recorded = await find_messages(db, [(Channel.BANK.value, name) for name in names])
        outcomes = await outcomes_of(db, recorded)
    known = {r.message_id: (r.content, outcome) for r, outcome in zip(recorded, outcomes, strict=True)}
    return [known.get(name) for name in names]


async def _would_be_refused(till: Till, payment: Message) -> bool:
    """Say whether a payment would be refused: then nothing of its order is taken."""
    command = payment.command
    if not isinstance(command, ReceivePayment):
        return False
    (answer,) = receive_payment(await till.intake.account(payment.account), command)
    return isinstance(answer, CommandRefused) and not is_kept_unallocated(command, answer.reason)


def _is_same(order: PayOrder, first: Outcome) -> bool:
    event: Event | None = first.events[0] if first.events else None
    if not isinstance(event, PaymentReceived):
        return False
    return event.amount == order.amount and (event.meant_for or first.account) == quoted_number(order.account)


def _is_refused(outcome: Outcome) -> bool:
    return bool(outcome.events) and isinstance(outcome.events[0], CommandRefused)


def _is_reused(outcome: Outcome) -> bool:
    event = outcome.events[0] if outcome.events else None
    return isinstance(event, CommandRefused) and event.reason is Reason.MESSAGE_ID_REUSED
