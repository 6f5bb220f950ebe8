"""Import accounts and their readings: every account's messages in order of time, each period closed at its end.

Accounts are independent of each other, so the order of time is kept account by account: what a batch knows of an account is
then at hand, and every view is written once for many messages. Every message is named by its content: an import that was
stopped is run again, what is stored gives its first answer, and closed periods are passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from bels.app import Bels
from bels.closing import WRITERS, Closed, closing, handled, new_run, together
from bels.domain.accept_reading import reading_period
from bels.domain.commands import InstallMeter, OpenAccount, SubmitReading
from bels.domain.events import CommandRefused, ReadingHeld, ReadingRefused
from bels.domain.periods import index_of, over_at, period_at, shift
from bels.domain.terms import Channel, Period, Reason, Register, Role
from bels.import_files import AccountRow, AccountsFile, ReadingRow, ReadingsFile, RowError
from bels.intake import BATCH_MAX, Message, Outcome, Status, digest
from bels.journal.journal import find_messages
from bels.progress import Progress
from bels.projections import overview
from bels.projections.overview import OverviewRow

ACTOR = "import"
HELD_LISTED_MAX = 20
ACCOUNTS_OF_CHUNK_MAX = 500
VALUES_NAMED_MAX = 80

_ROLES = {
    Channel.REMOTE: Role.REMOTE,
    Channel.BANK: Role.AGENT,
    Channel.GIS: Role.AGENT,
    Channel.OFFICE: Role.OPERATOR,
    Channel.INSPECTOR: Role.INSPECTOR,
}


@dataclass(slots=True)
class Imported:
    """What an import led to, in rows."""

    accounts: int = 0
    accounts_repeated: int = 0
    readings: int = 0
    readings_repeated: int = 0
    held_count: int = 0
    held: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    closed: Closed = field(default_factory=Closed)


@dataclass(slots=True)
class _Chunk:
    """Messages of some accounts, and what each of them stands for in the files."""

    messages: list[Message] = field(default_factory=list)
    sources: list[AccountRow | ReadingRow | Period] = field(default_factory=list)

    def add(self, message: Message, source: AccountRow | ReadingRow | Period) -> None:
        self.messages.append(message)
        self.sources.append(source)


class Import:
    """An import under way: both files checked, nothing stored yet.

    :raises ImportFileError: a file is not what it should be.
    """

    def __init__(self, accounts: Path, readings: Path, now: datetime) -> None:
        self.accounts = AccountsFile(accounts)
        try:
            self.readings = ReadingsFile(readings)
        except BaseException:
            self.accounts.close()
            raise
        self._now = now
        self._run = new_run()
        self.done = Imported()

    def check(self, progress: Progress) -> None:
        """Check every row of both files; ``progress`` counts bytes of readings.csv."""
        self.accounts.check(self._now)
        for read in self.readings.check(self._now):
            progress.update(read)

    def close(self) -> None:
        """Write the rejects and let the files go."""
        try:
            self.accounts.close()
        finally:
            self.readings.close()

    def default_close_through(self) -> Period | None:
        """Give the last period that was over when the last reading of the file was received."""
        if self.readings.last_at is None:
            return None
        return shift(reading_month(self.readings.last_at), -1)

    def count(self) -> int:
        """Count the accounts that the files name."""
        return len({*self.accounts.numbers(), *self.readings.numbers()})

    async def store(self, bels: Bels, through: Period | None, progress: Progress) -> None:
        """Feed everything and close through a period; ``progress`` counts accounts.

        :raises TryLater: the database cannot be reached; import the same files again.
        """
        chunks = self._chunks(through)

        async def write() -> None:
            for numbers in chunks:
                await self._store(bels, numbers, through)
                progress.update(len(numbers))

        await together(write() for _ in range(WRITERS))

    def _chunks(self, through: Period | None) -> Iterator[list[int]]:
        """Give accounts in such groups that a group's messages fill a batch or more."""
        chunk: list[int] = []
        messages = 0
        for number in sorted({*self.accounts.numbers(), *self.readings.numbers()}):
            # As many closings as readings, as a guess: what does not fit one batch takes another one.
            coming = 2 + 2 * self.readings.count(number)
            if chunk and (messages + coming > BATCH_MAX or len(chunk) >= ACCOUNTS_OF_CHUNK_MAX):
                yield chunk
                chunk, messages = [], 0
            chunk.append(number)
            messages += coming
        if chunk:
            yield chunk

    async def _store(self, bels: Bels, numbers: Sequence[int], through: Period | None) -> None:
        rows = {f"{n:07d}": self.accounts.find(n, self._now) for n in numbers}
        async with bels.pool.acquire() as db:
            known = await overview.find(db, list(rows))
            names = [(Channel.MIGRATION.value, _opening_id(n)) for n in known if rows[n] is not None]
            opened = {r.account: r.content for r in await find_messages(db, names)} if names else {}
        chunk = _Chunk()
        for number, row in rows.items():
            self._add_account(bels, chunk, number, row, known.get(number), opened, through)
        outcomes = await handled(bels, chunk.messages)
        for outcome, source in zip(outcomes, chunk.sources, strict=True):
            self._count(outcome, source)

    def _add_account(
        self,
        bels: Bels,
        chunk: _Chunk,
        number: str,
        row: AccountRow | None,
        known: OverviewRow | None,
        opened: Mapping[str, bytes],
        through: Period | None,
    ) -> None:
        if row is not None and known is not None and opened.get(number) != digest(row.raw):
            detail = "another row was imported for it" if number in opened else "it was not opened by an import"
            self.accounts.reject(row, Reason.ACCOUNT_EXISTS.value, f"account {number} exists already: {detail}")
            row = None
        if row is not None:
            chunk.add(_opening(row), row)
            chunk.add(_installation(row), row)
        if row is None and known is None:
            for reading in self.readings.of(int(number)):
                self._reject(reading, Reason.UNKNOWN_ACCOUNT.value, f"account {number} is in neither file nor database")
            return
        opened_at = row.opened_at if row is not None else known.opened_at if known is not None else None
        registers = _registers(row, known)
        if known is not None:
            first = Period(known.next_period)
        else:
            assert opened_at is not None
            first = reading_period(opened_at, bels.intake.rulebook)
        last = through or Period("")
        if known is not None and known.last_period is not None:
            last = min(last, Period(known.last_period))
        closings = range(index_of(first), index_of(last) + 1) if last and first <= last else range(0)
        ends = iter([(over_at(period_at(i)), period_at(i)) for i in closings])
        end = next(ends, None)
        for reading in self.readings.of(int(number)):
            at = reading.received_at
            while end is not None and end[0] <= at:
                chunk.add(closing(number, end[1], end[0], self._run), end[1])
                end = next(ends, None)
            try:
                chunk.add(_reading(reading, at, opened_at, registers), reading)
            except RowError as error:
                self._reject(reading, error.reason, error.detail)
        while end is not None:
            chunk.add(closing(number, end[1], end[0], self._run), end[1])
            end = next(ends, None)

    def _count(self, outcome: Outcome, source: AccountRow | ReadingRow | Period) -> None:
        if isinstance(source, str):
            self.done.closed.count(outcome, source)
        elif isinstance(source, ReadingRow):
            self._count_reading(outcome, source)
        elif outcome.status is not Status.ACCEPTED:
            refused = next((e for e in outcome.events if isinstance(e, CommandRefused)), None)
            reason = refused.reason.value if refused is not None else outcome.status.value
            self.accounts.reject(source, reason, f"refused by {refused.command if refused is not None else 'bels'}")
        elif outcome.repeated:
            self.done.accounts_repeated += isinstance_of_opening(outcome)
        else:
            self.done.accounts += isinstance_of_opening(outcome)

    def _count_reading(self, outcome: Outcome, row: ReadingRow) -> None:
        self.done.readings_repeated += outcome.repeated
        match outcome.status:
            case Status.ACCEPTED:
                self.done.readings += not outcome.repeated
            case Status.HELD:
                self.done.held_count += 1
                if len(self.done.held) < HELD_LISTED_MAX:
                    held = next(e for e in outcome.events if isinstance(e, ReadingHeld))
                    previous = "|".join(str(value) for value in (held.previous or {}).values())
                    self.done.held.append(
                        f"line {row.line}: {row.number} {held.reason.value} {row.values}, previous {previous}"
                        + (f", {sum(held.delta.values())} kWh of {held.limit}" if held.limit is not None else "")
                    )
            case Status.REFUSED:
                refused = next(e for e in outcome.events if isinstance(e, ReadingRefused))
                expected = f"the meter shows {'|'.join(refused.expected)}" if refused.expected else ""
                digits = f" of {refused.capacity} digits" if refused.capacity is not None else ""
                detail = f"; said: {refused.detail}" if refused.detail is not None else ""
                self._reject(row, refused.reason.value, f"{expected}{digits}{detail}".strip("; "))
            case Status.PARKED:
                self._reject(row, outcome.status.value, f"waits for an operator, receipt {outcome.receipt}")

    def _reject(self, row: ReadingRow, reason: str, detail: str) -> None:
        self.done.refused[reason] += 1
        self.readings.reject(row, reason, detail)


def reading_month(at: datetime) -> Period:
    """Give the calendar month of a moment, in Moscow."""
    from bels.domain.periods import period_of

    return period_of(at, 31)


def isinstance_of_opening(outcome: Outcome) -> bool:
    """Tell the opening of an account from the installation of its meter."""
    return outcome.version == 1


def _opening_id(number: str) -> str:
    return f"import:{number}:open"


def _opening(row: AccountRow) -> Message:
    opening = OpenAccount(row.opened_at, row.locality, row.stove, row.rooms, row.residents)
    return Message(Channel.MIGRATION, _opening_id(row.number), ACTOR, row.number, opening, row.raw)


def _installation(row: AccountRow) -> Message:
    installation = InstallMeter(row.meter, row.opened_at, row.initial)
    return Message(Channel.MIGRATION, f"import:{row.number}:meter", ACTOR, row.number, installation, row.raw)


def _registers(row: AccountRow | None, known: OverviewRow | None) -> tuple[str, ...]:
    """Give the registers of an account's meter: as the row says, or else as the meter in service has them."""
    if row is not None:
        return row.meter.registers
    return known.meter.registers if known is not None and known.meter is not None else (Register.TOTAL,)


def _reading(row: ReadingRow, at: datetime, opened_at: datetime | None, registers: Sequence[str]) -> Message:
    texts = row.values.split("|")
    if len(texts) != len(registers):
        reason = Reason.TOO_FEW_VALUES if len(texts) < len(registers) else Reason.TOO_MANY_VALUES
        raise RowError(
            reason.value, f"{len(texts)} values where the meter shows {len(registers)}: {'|'.join(registers)}"
        )
    if opened_at is not None and at < opened_at:
        raise RowError(Reason.BAD_DATES.value, f"received before the account was opened, {opened_at.date()}")
    values = {register: text.strip() for register, text in zip(registers, texts, strict=True)}
    said = row.values
    if len(said) > VALUES_NAMED_MAX or not said.isascii():
        said = blake2b(said.encode(), digest_size=16).hexdigest()
    return Message(
        row.channel,
        f"import:{row.number}:{row.at_us}:{said}",
        ACTOR,
        row.number,
        SubmitReading(at, values, _ROLES.get(row.channel, Role.CONSUMER)),
        f"{row.number},{at.isoformat()},{row.channel.value},{row.values}",
    )
