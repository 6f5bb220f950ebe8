"""The counter, where every channel hands in what it read: who speaks, what is taken, what is answered (channels 1).

A channel verifies its sender, reads one command and words the answer; everything between is here, so the same input through
two channels has the same outcome. A sender is a claim until it is linked: a stranger's reading is taken, but it hears no
consumption and no previous value, and changes nothing that others sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import asyncpg

from bels.access import personal
from bels.access.callers import sender_digest
from bels.access.door import Door
from bels.access.personal import ContactKind, PersonalDataError
from bels.access.quota import spend
from bels.domain.commands import Claim, Command, ConfirmReading, SubmitReading
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.periods import DEADLINE_DAY, moscow_date
from bels.domain.speak_for import SAME_ADDRESS
from bels.domain.terms import Channel, EntryNumber, HoldReason, Period, ReadingStatus, Reason, Register
from bels.intake import Intake
from bels.journal.faults import UNAVAILABLE
from bels.journal.journal import look_back
from bels.journal.write import Db
from bels.messages import Message, Outcome, Status, TryLater, digest, outcomes_of
from bels.projections import overview, receipts
from bels.projections.overview import MeterRow, OverviewRow
from bels.words import ReceiptState, Words, answer

STRANGERS_A_DAY = 8
"""Messages about one account by senders who are not linked to it: whether a value is less than the previous one is an answer."""

STRANGERS, STRANGERS_BY_LETTER = "strangers", "strangers by letter"
"""Letters have a budget of their own for an account: they cost nothing and may come in any name, and a table of five thousand
rows would else close as many accounts to everybody who sends an SMS or calls."""

MESSAGES_A_DAY = 60
"""Messages of one sender about accounts to which it is not linked."""

ACCOUNTS_MAX = 9
"""Accounts of a sender that a dialogue offers: a telephone has so many keys."""

ORDER_WITHOUT_DISPLAY: dict[int, tuple[Register, ...]] = {
    1: (Register.TOTAL,),
    2: (Register.DAY, Register.NIGHT),
    3: (Register.HALF_PEAK, Register.NIGHT, Register.PEAK),
}
"""The order of zones where nothing is known of the display: that of an SMS (rules 5)."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What channels work with: the database, the one way in, the door with its keys."""

    pool: asyncpg.Pool
    intake: Intake
    door: Door

    def now(self) -> datetime:
        """Tell the time."""
        return self.intake.clock()

    def sender(self, channel: Channel, address: str, *, proven: bool = True) -> Sender:
        """Name a sender by its address, which is kept as a keyed digest only; "" is nobody (a hidden number)."""
        return Sender(channel, sender_digest(address, self.door.sender_key) if address else "", proven)


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks on a channel: a phone, a chat or an e-mail by its keyed digest. ``proven``: the channel vouches for it."""

    channel: Channel
    digest: str
    proven: bool = True

    @property
    def actor(self) -> str:
        """Name the sender in the journal."""
        return f"{self.channel.value}:{self.digest or 'unknown'}"

    @property
    def claim(self) -> Claim:
        """Give what the domain is told of the sender."""
        return Claim(self.channel, self.digest, self.proven)


@dataclass(frozen=True, slots=True)
class ShownMeter:
    """The meter in service as its household sees it: ``shown`` are its registers in the order of its display, each with the
    place (T1, T2, ...; "" where the display is not known).
    """

    number: str
    capacity: int
    shown: tuple[tuple[str, Register], ...]
    automatic: bool

    @property
    def registers(self) -> tuple[Register, ...]:
        """The registers, in the order of the display."""
        return tuple(register for _, register in self.shown)

    @property
    def display(self) -> Mapping[str, Register] | None:
        """T1.. to registers, None where the display is not known."""
        return {place: register for place, register in self.shown if place} or None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message, and the words for its sender. ``linked``: the sender may speak for the account."""

    outcome: Outcome
    words: Words
    linked: bool

    @property
    def code(self) -> str:
        """The code of the outcome, the same on every channel: REPEATED, ACCEPTED, PARKED, or why it was held or refused."""
        return code_of(self.outcome)


def code_of(outcome: Outcome) -> str:
    """Give the code of an outcome (channels 1): REPEATED, ACCEPTED, ACCEPTED_NEXT_PERIOD, PARKED, or the reason."""
    if outcome.repeated:
        return "REPEATED"
    if outcome.status is Status.PARKED or not outcome.events:
        return Status.PARKED.value
    match outcome.events[0]:
        case ReadingAccepted() as event if event.period > Period(f"{moscow_date(event.received_at):%Y-%m}"):
            return "ACCEPTED_NEXT_PERIOD"
        case ReadingHeld() as event:
            return event.reason.value
        case event:
            reason = getattr(event, "reason", None)
            return str(reason.value) if isinstance(reason, Reason) else Status.ACCEPTED.value


@asynccontextmanager
async def database(counter: Counter) -> AsyncIterator[Db]:
    """Give a connection to the database.

    :raises TryLater: it cannot be reached, or is lost meanwhile.
    """
    try:
        async with counter.pool.acquire() as db:
            yield db
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error


async def take(
    counter: Counter,
    sender: Sender,
    message_id: str,
    account: str,
    command: Command | ReadingRefused,
    raw: str,
    *,
    request_id: str = "",
    same_since: datetime | None = None,
) -> Answer:
    """Take one message in and word its answer; the same message again hears the same.

    ``raw`` is the message as it came, sealed where it holds more than digits. ``same_since``: the sender's last message says
    the same, and came since then under another id (an operator's own repeat): then that one is answered again.

    :raises TryLater: nothing was stored.
    """
    async with database(counter) as db:
        row = (await overview.find(db, [account])).get(account) if account else None
        linked = is_linked(row, sender) or _is_developers(counter, row, sender)
        if not linked or same_since is not None:
            name = (sender.channel.value, message_id)
            came_before, same = await look_back(db, name, sender.actor, digest(raw), same_since)
            if same is not None:
                outcome = (await outcomes_of(db, [same]))[0]
                return answered(counter, outcome, linked=linked)
            if not came_before and not linked and not await _may_still(db, counter, sender, account, message_id):
                command, account = ReadingRefused(Reason.TOO_MANY_MESSAGES, counter.now(), {}), ""
    if isinstance(command, SubmitReading | ConfirmReading) and not linked:
        command = replace(command, claim=sender.claim)
    outcome = await counter.intake.submit(
        Message(sender.channel, message_id, sender.actor, account, command, raw, request_id)
    )
    return answered(counter, outcome, linked=linked)


def answered(counter: Counter, outcome: Outcome, *, linked: bool) -> Answer:
    """Word an outcome, by the rules in force: the last day of a month's window is one of them."""
    event, last = outcome.events[0] if outcome.events else None, DEADLINE_DAY
    if isinstance(event, ReadingAccepted):
        month = Period(f"{moscow_date(event.received_at):%Y-%m}")
        last = counter.intake.rulebook.settings_of(month).reading_deadline_day
    return Answer(outcome, answer(outcome, linked=linked, deadline_day=last), linked)


async def speaks_for(counter: Counter, account: str, sender: Sender) -> bool:
    """Say whether a sender is linked to an account, and may hear its consumption, balance and bills.

    :raises TryLater: the database cannot be reached.
    """
    async with database(counter) as db:
        row = (await overview.find(db, [account])).get(account)
    return is_linked(row, sender) or _is_developers(counter, row, sender)


async def linked_accounts(counter: Counter, sender: Sender) -> list[str]:
    """List the open accounts to which a sender is linked, in order.

    :raises TryLater: the database cannot be reached.
    """
    if not sender.digest:
        return []
    channels = SAME_ADDRESS.get(sender.channel, (sender.channel,))
    async with database(counter) as db:
        rows = await db.fetch(
            """
            SELECT DISTINCT account FROM overview
            JOIN unnest($1::text[]) AS channel
              ON links::jsonb @> jsonb_build_array(jsonb_build_object('channel', channel, 'sender', $2::text))
            WHERE links::text <> '[]' AND situation = 'OPEN' ORDER BY account LIMIT $3
            """,
            [channel.value for channel in channels],
            sender.digest,
            ACCOUNTS_MAX,
        )
    return [row["account"] for row in rows]


async def known_accounts(counter: Counter, sender: Sender, kind: ContactKind, address: str) -> list[str]:
    """List the accounts that a sender may mean: those it is linked to first, then those whose household gave this address.

    Whoever is only known may be offered the end of an account's number, and hears nothing of what is in it.

    :raises TryLater: the database cannot be reached.
    """
    found = await linked_accounts(counter, sender)
    try:
        async with database(counter) as db:
            found += await personal.households(db, counter.door.vault, kind, address, ACCOUNTS_MAX)
    except PersonalDataError:
        pass
    return list(dict.fromkeys(found))[:ACCOUNTS_MAX]


async def meter_of(counter: Counter, account: str) -> ShownMeter | None:
    """Find the meter in service of an account, None where there is none.

    :raises TryLater: the database cannot be reached.
    """
    return (await meter_for(counter, account, None))[0]


async def meter_for(counter: Counter, account: str, sender: Sender | None) -> tuple[ShownMeter | None, bool]:
    """Find the meter in service of an account, and say whether a sender speaks for it, in one look.

    :raises TryLater: the database cannot be reached.
    """
    async with database(counter) as db:
        row = (await overview.find(db, [account])).get(account)
    linked = sender is not None and (is_linked(row, sender) or _is_developers(counter, row, sender))
    if row is None or row.meter is None:
        return None, linked
    return ShownMeter(row.meter.number, row.meter.capacity, _shown(row.meter), row.meter.automatic), linked


async def receipt_state(counter: Counter, receipt: str) -> ReceiptState | None:
    """Say what a receipt stands for now, None where there is none.

    :raises TryLater: the database cannot be reached.
    """
    async with database(counter) as db:
        row = await receipts.find(db, receipt)
    if row is None:
        return None
    reading = row.reading
    if reading is None:
        return ReceiptState(receipt, row.account, None, None, done=row.state is receipts.ReceiptState.DONE)
    return ReceiptState(
        receipt,
        row.account,
        ReadingStatus(reading.status),
        EntryNumber(reading.entry),
        Period(reading.period) if reading.period is not None else None,
        reading.counted_in is not None,
        _reason(reading.reason, reading.status),
        tuple(Register(r) for r in reading.values if r in list(Register)),
    )


def _shown(meter: MeterRow) -> tuple[tuple[str, Register], ...]:
    display = meter.display or {}
    registers = {Register(r) for r in meter.registers}
    if display and {Register(r) for r in display.values()} >= registers:
        return tuple(
            (place, Register(display[place])) for place in sorted(display) if Register(display[place]) in registers
        )
    return tuple(("", register) for register in ORDER_WITHOUT_DISPLAY[len(registers)])


def is_linked(row: OverviewRow | None, sender: Sender) -> bool:
    """Say whether a sender is linked to an account and proven: the same that the domain says of a claim."""
    if row is None or not sender.digest or not sender.proven:
        return False
    channels = [channel.value for channel in SAME_ADDRESS.get(sender.channel, (sender.channel,))]
    return any(link["sender"] == sender.digest and link["channel"] in channels for link in row.links)


def _is_developers(counter: Counter, row: OverviewRow | None, sender: Sender) -> bool:
    # Only on a developer's machine does an account answer to any sender, until it has named one of this channel.
    return (
        counter.door.local
        and row is not None
        and not any(link["channel"] == sender.channel.value for link in row.links)
    )


async def _may_still(db: Db, counter: Counter, sender: Sender, account: str, message_id: str) -> bool:
    # A gateway brings a message again for as long as we cannot store it: it is counted once.
    # Nobody without an address shares one budget with all who have none.
    whose = STRANGERS_BY_LETTER if sender.channel is Channel.EMAIL else STRANGERS
    limits = {(whose, account): STRANGERS_A_DAY} if account else {}
    if sender.digest:
        limits["messages", sender.actor] = MESSAGES_A_DAY
    name = f"{sender.channel.value}/{message_id}"
    return not limits or await spend(db, counter.door.vault, limits, moscow_date(counter.now()), once=name)


def _reason(reason: str | None, status: str) -> Reason | HoldReason | None:
    if reason is None:
        return None
    return Reason(reason) if status == ReadingStatus.REFUSED else HoldReason(reason)
