"""A few households in memory for the channels: their journal is a list, their answers are the domain's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import (
    CarriedReading,
    CarryOverHistory,
    CloseAccount,
    Command,
    OpenAccount,
)
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, ReadingHeld, ReadingRefused
from bels.domain.periods import MOSCOW
from bels.domain.terms import EntryNumber, Locality, MeterModel, Period, Reason, Register, Stove
from bels.messages import Message, Outcome, Status
from bels.words import ReceiptState
from tests.rules import DEFAULT_RULEBOOK

MATRIX = {"T1": Register.NIGHT, "T2": Register.PEAK, "T3": Register.HALF_PEAK}
TWO_ZONES = {"T1": Register.DAY, "T2": Register.NIGHT}
METERS = {
    "1000001": MeterModel("E-1", 6, (Register.TOTAL,)),
    "1000002": MeterModel("M-2", 6, (Register.PEAK, Register.HALF_PEAK, Register.NIGHT), display=MATRIX),
    "1000003": MeterModel("E-3", 6, (Register.DAY, Register.NIGHT), display=TWO_ZONES),
    "1000004": MeterModel("S-4", 6, (Register.TOTAL,), automatic=True),
    "1000005": MeterModel("E-5", 6, (Register.TOTAL,)),
    "1000006": MeterModel("E-6", 6, (Register.DAY, Register.NIGHT)),
}
CLOSED = "1000005"
PREVIOUS = {
    Register.TOTAL: 10200,
    Register.DAY: 3000,
    Register.NIGHT: 1500,
    Register.PEAK: 2000,
    Register.HALF_PEAK: 6000,
}


def moscow(text: str) -> datetime:
    """Read a Moscow time."""
    return datetime.fromisoformat(text).replace(tzinfo=MOSCOW)


def digest(address: str) -> str:
    """Stand for the keyed digest of an address."""
    return sha256(f"key of the test {address}".encode()).hexdigest()[:32]


@dataclass(slots=True)
class Stored:
    """One line of the journal."""

    message: Message
    outcome: Outcome


@dataclass(slots=True)
class Town:
    """Accounts 1000001 (one zone), 1000002 (three), 1000003 (two), 1000004 (automatic), 1000005 (closed), 1000006.

    Each has been read monthly up to 24 April 2024, 100 kWh a register. ``down`` makes everything raise.
    """

    at: datetime = field(default_factory=lambda: moscow("2024-05-20T12:00"))
    down: bool = False
    accounts: dict[str, Account] = field(default_factory=dict)
    stored: list[Stored] = field(default_factory=list)
    linked_senders: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        for number, meter in METERS.items():
            self.accounts[number] = nobody(number)
            self.do(number, OpenAccount(moscow("2023-10-01T00:00"), Locality.URBAN, Stove.GAS, 2, 3))
            readings = tuple(
                CarriedReading(
                    moscow(f"{month}-24T12:00"),
                    {register: PREVIOUS[register] - 100 * (6 - i) for register in meter.registers},
                )
                for i, month in enumerate(("2023-10", "2023-11", "2023-12", "2024-01", "2024-02", "2024-03", "2024-04"))
            )
            self.do(number, CarryOverHistory(meter, readings, Period("2024-04")))
        self.do(CLOSED, CloseAccount(moscow("2024-05-02T12:00"), "продажа"))

    def do(self, number: str, command: Command) -> tuple[Event, ...]:
        """Carry out a command as the office would."""
        events = decide(self.accounts[number], command, DEFAULT_RULEBOOK)
        assert not isinstance(events[0], CommandRefused), events
        self.accounts[number] = replay(self.accounts[number], events)
        return events

    def now(self) -> datetime:
        """Tell the time."""
        return self.at

    def wait(self, **time: float) -> None:
        """Let time pass."""
        self.at += timedelta(**time)

    async def submit(self, message: Message) -> Outcome:
        """Bring a message in, as ``Intake.submit`` does."""
        self.fail_when_down()
        for stored in self.stored:
            if (stored.message.channel, stored.message.message_id) == (message.channel, message.message_id):
                if stored.message.raw != message.raw:
                    reused = CommandRefused("SubmitReading", Reason.MESSAGE_ID_REUSED, self.at)
                    return replace(stored.outcome, status=Status.REFUSED, events=(reused,))
                return replace(stored.outcome, repeated=True)
        account = self.accounts.get(message.account, nobody(message.account))
        command = message.command
        events = (command,) if isinstance(command, ReadingRefused) else decide(account, command, DEFAULT_RULEBOOK)
        version = None
        if message.account in self.accounts:
            version = account.version + 1
            self.accounts[message.account] = replay(account, events)
        outcome = Outcome(
            receipt(len(self.stored)), status_of(events[0]), message.account, events, version, self.at.astimezone(UTC)
        )
        self.stored.append(Stored(message, outcome))
        return outcome

    async def earlier(self, actor: str, raw: str, since: datetime) -> Outcome | None:
        """Find the sender's last message, if it was the same under another id, and taken."""
        self.fail_when_down()
        last = next((stored for stored in reversed(self.stored) if stored.message.actor == actor), None)
        if last is None or last.message.raw != raw or last.outcome.recorded_at < since:
            return None
        return replace(last.outcome, repeated=True) if last.outcome.status in (Status.ACCEPTED, Status.HELD) else None

    async def meter_of(self, number: str) -> MeterModel | None:
        """Give the meter in service."""
        self.fail_when_down()
        account = self.accounts.get(number)
        return account.meters[-1].model if account is not None and account.meters else None

    async def receipt_state(self, number: str) -> ReceiptState | None:
        """Say what a receipt stands for."""
        self.fail_when_down()
        stored = next((s for s in self.stored if s.outcome.receipt == number), None)
        if stored is None:
            return None
        outcome, first = stored.outcome, stored.outcome.events[0]
        account = self.accounts.get(outcome.account)
        reading = account.reading(EntryNumber(outcome.version)) if account and outcome.version else None
        reason = first.reason if isinstance(first, ReadingHeld | ReadingRefused) else None
        return ReceiptState(
            number,
            outcome.account,
            reading.status if reading else None,
            reading.entry if reading else None,
            reading.period if reading else None,
            reason=reason,
            registers=account.meters[-1].model.registers if account else (),
        )

    async def linked(self, account: str, sender: str) -> bool:
        """Say whether a sender may speak for an account."""
        self.fail_when_down()
        return (account, sender) in self.linked_senders

    def link(self, account: str, phone: str) -> None:
        """Link a phone."""
        self.linked_senders.add((account, digest(phone)))

    def fail_when_down(self) -> None:
        """Stand for a database that cannot be reached."""
        if self.down:
            raise ConnectionError("the database is down")


def receipt(number: int) -> str:
    """Number the receipts in their own alphabet."""
    alphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
    tail = ""
    for _ in range(4):
        number, digit = divmod(number, len(alphabet))
        tail = alphabet[digit] + tail
    return f"K7MT{tail}"


def status_of(event: Event) -> Status:
    """Name the status of an answering event."""
    match event:
        case ReadingHeld():
            return Status.HELD
        case ReadingRefused() | CommandRefused():
            return Status.REFUSED
        case _:
            return Status.ACCEPTED
