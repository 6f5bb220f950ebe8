"""The till (касса): the one place where partners' payments come in, whichever protocol brought them.

A payment and the reading that came with it are two messages in one transaction: money is taken whenever it is valid, a reading
that is held or refused says so beside it. The partner's own id names both for ever, so that a repeat, at once or in a year, gets
the first answer and books nothing; where nothing could be stored (``TryLater``) the id is as unused as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import msgspec

from bels.domain.commands import PaymentTerms, ReceivePayment, ReversePayment, SubmitReading
from bels.domain.events import CommandRefused, Event
from bels.domain.money import is_amount
from bels.domain.money_events import PaymentReceived
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.read_value import quoted_number
from bels.domain.terms import Channel, EntryNumber, Money, PaymentState, Purpose, Reason, Register, Role
from bels.intake import Intake
from bels.journal.journal import find_messages
from bels.messages import Message, Outcome, Status, TryLater, outcomes_of
from bels.payments import refunds
from bels.payments.find import where_now
from bels.payments.partners import Partner, Partners
from bels.projections import ledger
from bels.projections.ledger import PaymentRow
from bels.reception.counter import Counter, ShownMeter, database, meter_of

PAYMENT_ID_LENGTH_MAX = 100

CLOCK_AHEAD_MAX = timedelta(minutes=5)
"""By how much a partner's clock may be ahead of ours: at midnight its payments would else be of a day that is still to come."""

ACCOUNT_SHOWN_MAX = 40

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

    ``prefixed`` is False for the developer at this machine alone, whose messages go by their own ids. ``channel`` is another
    one where an operator enters a payment.
    """

    partner: Partner
    actor: str
    prefixed: bool = True
    channel: Channel = Channel.BANK

    def message_id(self, payment_id: str) -> str:
        """Name a message of it for ever."""
        return self.partner.message_id(payment_id) if self.prefixed else payment_id


@dataclass(frozen=True, slots=True)
class PayOrder:
    """A payment as a partner orders it: ``amount`` roubles for the account, ``commission`` on top, None where it says nothing.

    ``paid_at`` is the moment of the payer's operation, or its Moscow day where no more is known. ``quoted`` is the commission by
    the contract, None where there is none; ``method`` is how the payer pays. ``values`` are the reading, by register name, None
    where none came; ``given`` is the same as it was written, (place, value), to be named by the meter of the account (see
    ``named_values``), so that a repeat is one whatever meter hangs there by then.
    ``is_strict``: the same id with anything else in it is an error; else only another account or another sum is, as in protocols
    whose repeats may differ in other fields. ``keeps_unknown`` overrules the contract: money that has already come is kept.
    """

    payment_id: str
    account: str
    amount: Decimal
    paid_at: datetime | date
    purpose: Purpose = Purpose.ENERGY
    commission: Money | None = None
    quoted: Money | None = None
    values: Mapping[str, str] | None = None
    meter: str | None = None
    is_strict: bool = True
    keeps_unknown: bool = False
    method: str | None = None
    given: Sequence[tuple[str, str]] | None = None

    @property
    def written(self) -> list[tuple[str, str]] | None:
        """Give the values of the reading as they were written, in one order: in which they came says nothing. None: none came."""
        if self.given is not None:
            return sorted((place.strip(), text.strip()) for place, text in self.given if text.strip()) or None
        return sorted(self.values.items()) if self.values is not None else None


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

    :raises TryLater: nothing was stored that a repeat does not find, and the id is free for the same order.
    """
    if agent.channel is Channel.BANK and agent.prefixed and not is_payment_id(order.payment_id):
        return _nameless(till, order)
    messages = messages_of(till, agent, order, request_id)
    # What came before is found by the one way in, in the same look as for everybody's messages: most orders are new.
    if len(messages) == 1:
        paid = Paid(await till.intake.submit(messages[0]), None)
    else:
        if order.values is None:
            named = await named_values(till, messages[0].account, order.given or ())
            messages = messages_of(till, agent, replace(order, values=named or {}), request_id)
        payment, reading = await till.intake.submit_together(messages)
        paid = Paid(payment, reading if not _is_refused(payment) else None)
    if not order.is_strict and _is_reused(paid.payment):
        # It came before, or at once, in other words: whoever is second hears what the first one did.
        before = await _before(till, agent, order)
        if before is not None and _is_same(order, before[0][1]):
            return Paid(before[0][1], before[1])
    return paid


def messages_of(till: Till, agent: Agent, order: PayOrder, request_id: str = "") -> list[Message]:
    """Make the messages of an order: the payment, and the reading where one came, its values named already."""
    now = till.now()
    kept = agent.partner
    raw_texts = till.counter.door.raw_texts
    terms = PaymentTerms(kept.minimum, kept.maximum, order.keeps_unknown or not kept.refuses_unknown, order.quoted)
    if order.keeps_unknown:
        # Money that has come is taken, whatever its size.
        terms = PaymentTerms()
    at = order.paid_at if isinstance(order.paid_at, datetime) else None
    command = ReceivePayment(
        order.amount,
        paid_on(order, now),
        now,
        order.payment_id,
        order.purpose,
        paid_at=at,
        commission=order.commission,
        terms=terms,
    )
    written = order.written
    content = [
        "pay",
        order.account.strip(),
        _written(order.amount),
        # One moment is one moment in every time zone.
        at.astimezone(MOSCOW).isoformat() if at is not None else order.paid_at.isoformat(),
        order.purpose,
        _written(order.commission) if order.commission is not None else None,
        written,
        order.meter if written is not None else None,
        order.method,
    ]
    texts = [text for _, text in written or ()]
    raw = _raw(content)
    # Whatever a payer wrote for a value, a name or a phone perhaps, is kept sealed.
    raw = raw_texts.guarded(raw_texts.kept(raw, *texts) if texts else raw)
    account = quoted_number(order.account.strip())
    name = raw_texts.guarded(agent.message_id(order.payment_id))
    payment = Message(agent.channel, name, agent.actor, account, command, raw, request_id)
    if written is None:
        return [payment]
    # Of a payment of which only the day is known, noon: no day of the calendar begins or ends there.
    taken = at if at is not None else datetime.combine(order.paid_at, time(12), MOSCOW)
    reading = SubmitReading(min(taken, now), order.values or {}, Role.AGENT, meter=order.meter)
    # No payment's id has a blank, so that no other message of the partner has this name by chance.
    name = raw_texts.guarded(agent.message_id(f"{order.payment_id} reading"))
    # Where its payment is refused, or loses its id to another order at the same moment, the reading is not taken either.
    return [
        payment,
        Message(agent.channel, name, agent.actor, account, reading, raw, request_id, only_with=payment.message_id),
    ]


def paid_on(order: PayOrder, now: datetime) -> date:
    """Give the Moscow day from which a payment counts: that of the payer's operation, today where its clock is a little ahead."""
    if not isinstance(order.paid_at, datetime):
        return order.paid_at
    is_ahead = now < order.paid_at <= now + CLOCK_AHEAD_MAX
    return moscow_date(now if is_ahead else order.paid_at)


async def find(till: Till, agent: Agent, payment_id: str) -> Found | None:
    """Find a payment by its partner's id, None where it never came.

    :raises TryLater: the database cannot be reached.
    """
    outcomes = await _outcomes(till, _names(till, agent, payment_id), agent.channel)
    first = outcomes[0]
    if first is None:
        return None
    paid = Paid(first[1], outcomes[1][1] if outcomes[1] is not None and outcomes[1][0] == first[0] else None)
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
    if found is None or found.row is None or found.now is None:
        return None
    if found.now.state == PaymentState.MOVED:
        raise TryLater("the payment is on its way to another account")
    now = till.now()
    if found.now.source is not None and by_payer:
        # Where it was moved to nothing says when it came: its own entry does.
        by_payer = moscow_date(found.row.recorded_at) != moscow_date(now)
    command = ReversePayment(EntryNumber(found.now.entry), now, ground, by_payer)
    guarded = till.counter.door.raw_texts.guarded
    raw = guarded(_encode(["cancel", payment_id]).decode())
    name = guarded(agent.message_id(f"{payment_id} cancel"))
    message = Message(agent.channel, name, agent.actor, found.now.account, command, raw, request_id)
    async with refunds.taking_back(till.counter, found.row) as is_whole:
        # Where a part of it went back to the payer already the whole of it cannot go again.
        return await till.intake.submit(message) if is_whole else _uncancellable(found.paid.payment, now)


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
    for i, (place, text) in enumerate(written):
        name = _register(place, meter)
        # One that is named twice is a value too many, not a silent last one.
        values[name if name not in values else f"{name} #{i + 1}"] = text
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


async def _before(till: Till, agent: Agent, order: PayOrder) -> tuple[tuple[bytes, Outcome], Outcome | None] | None:
    """Find what came before under this id: the payment with its content's digest, and the reading that came with it."""
    payment, reading = await _outcomes(till, _names(till, agent, order.payment_id), agent.channel)
    if payment is None:
        return None
    # Both have one content; a reading with another one came with an order that was not this payment.
    return payment, reading[1] if reading is not None and reading[0] == payment[0] else None


async def _outcomes(till: Till, names: Sequence[str], channel: Channel) -> list[tuple[bytes, Outcome] | None]:
    async with database(till.counter) as db:
        recorded = await find_messages(db, [(channel.value, name) for name in names])
        outcomes = await outcomes_of(db, recorded)
    known = {r.message_id: (r.content, outcome) for r, outcome in zip(recorded, outcomes, strict=True)}
    return [known.get(name) for name in names]


def _is_same(order: PayOrder, first: Outcome) -> bool:
    event: Event | None = first.events[0] if first.events else None
    if isinstance(event, PaymentReceived):
        return event.amount == order.amount and (event.meant_for or first.account) == quoted_number(
            order.account.strip()
        )
    # Nothing was booked: its answer stands, whatever is sent under its id.
    return first.status is Status.PARKED or (isinstance(event, CommandRefused) and event.command == "ReceivePayment")


def _is_refused(outcome: Outcome) -> bool:
    return bool(outcome.events) and isinstance(outcome.events[0], CommandRefused)


def _is_reused(outcome: Outcome) -> bool:
    event = outcome.events[0] if outcome.events else None
    return isinstance(event, CommandRefused) and event.reason is Reason.MESSAGE_ID_REUSED


def _written(amount: Decimal) -> str:
    """Write a sum: the same one is the same content, however many zeros it is written with."""
    # What is no sum may have an exponent of a million: it is not written out.
    return f"{amount.normalize():f}" if is_amount(amount) else str(amount)[:ACCOUNT_SHOWN_MAX]


def _raw(content: Sequence[object]) -> str:
    try:
        return _encode(content).decode()
    except UnicodeEncodeError:
        # Half of a surrogate pair is no text, but no reason to lose money either.
        return ascii(content)


def _nameless(till: Till, order: PayOrder) -> Paid:
    """Refuse an order whose id can name nothing; nothing is stored of it, and it has no receipt."""
    now = till.now()
    refused = CommandRefused("ReceivePayment", Reason.BAD_MESSAGE_ID, now)
    account = quoted_number(order.account.strip())
    return Paid(Outcome("", Status.REFUSED, account, (refused,), None, now), None)


def _uncancellable(first: Outcome, now: datetime) -> Outcome:
    refused = CommandRefused("ReversePayment", Reason.PAYMENT_REVERSED, now)
    return Outcome(first.receipt, Status.REFUSED, first.account, (refused,), None, now)
