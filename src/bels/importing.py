"""Import accounts and their readings: every account's messages in order of time, each period closed at its end.

Accounts are independent of each other, so the order of time is kept account by account: what a batch knows of an account is
then at hand, and every view is written once for many messages. Every message is named by its content: an import that was
stopped is run again, what is stored gives its first answer, and closed periods are passed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from bels.app import Bels
from bels.closing import Closed, closing, new_run
from bels.domain.accept_reading import reading_period
from bels.domain.commands import InstallMeter, OpenAccount, SubmitReading
from bels.domain.events import AccountOpened, CommandRefused, ReadingHeld, ReadingRefused
from bels.domain.periods import after, months_between, over_at, period_of, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, Locality, Period, Reason, Register, Role, Scheme, Stove
from bels.import_files import AccountRow, AccountsFile, ReadingRow, ReadingsFile, RowError
from bels.intake import BATCH_MAX
from bels.journal.journal import find_messages
from bels.messages import Message, Outcome, Status, digest
from bels.progress import Progress
from bels.projections import overview
from bels.projections.overview import OverviewRow
from bels.workers import Tools, handled, spread

ACTOR = "import"
HELD_LISTED_MAX = 20
VALUES_NAMED_MAX = 80
MESSAGES_ALONE_MAX = 5000
"""So few messages are handled sooner than other processes start."""

_ROLES = {
    Channel.REMOTE: Role.REMOTE,
    Channel.BANK: Role.AGENT,
    Channel.GIS: Role.AGENT,
    Channel.OFFICE: Role.OPERATOR,
    Channel.INSPECTOR: Role.INSPECTOR,
}

_SCHEMES = {1: Scheme.SINGLE, 2: Scheme.TWO_ZONE, 3: Scheme.THREE_ZONE}
"""The tariff scheme of a meter by the count of its registers."""


@dataclass(slots=True)
class Imported:
    """What an import led to, in rows; ``refused_*`` are rows that were not imported: line or account, reason, detail."""

    seen: int = 0
    accounts: int = 0
    accounts_repeated: int = 0
    readings: int = 0
    readings_repeated: int = 0
    held_count: int = 0
    held: list[str] = field(default_factory=list)
    closed: Closed = field(default_factory=Closed)
    refused_accounts: list[tuple[AccountRow, str, str]] = field(default_factory=list)
    refused_readings: list[tuple[ReadingRow, str, str]] = field(default_factory=list)

    def add(self, other: Imported) -> None:
        """Count what another part of the work led to."""
        self.seen += other.seen
        self.accounts += other.accounts
        self.accounts_repeated += other.accounts_repeated
        self.readings += other.readings
        self.readings_repeated += other.readings_repeated
        self.held_count += other.held_count
        self.held = (self.held + other.held)[:HELD_LISTED_MAX]
        self.closed.add(other.closed)

    def summary(self) -> list[str]:
        """Say in lines what the import led to."""
        lines = [
            f"Accounts opened: {self.accounts:,}{_here_before(self.accounts_repeated)}",
            f"Readings accepted: {self.readings:,}{_here_before(self.readings_repeated)}",
        ]
        if self.held_count:
            lines.append(f"Readings on check (HELD), an operator decides: {self.held_count:,}")
            lines += [f"  {held}" for held in self.held]
            if self.held_count > len(self.held):
                lines.append(f"  and {self.held_count - len(self.held):,} more")
        return lines + self.closed.summary()


def _here_before(count: int) -> str:
    return f" (and {count:,} were here before)" if count else ""


@dataclass(frozen=True, slots=True)
class AccountRows:
    """Everything that the files say of one account; its readings in order of time."""

    number: str
    row: AccountRow | None
    readings: list[ReadingRow]


Source = AccountRow | ReadingRow | Period
"""What a message of an import comes from; a closing comes from its period."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some accounts to import, and through which period to close them."""

    accounts: list[AccountRows]
    through: Period | None
    run: str


class Import:
    """An import under way: both files are open, nothing is stored yet.

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
        return shift(period_of(self.readings.last_at, 31), -1)

    def count(self) -> int:
        """Count the accounts that the files name."""
        return len({*self.accounts.numbers(), *self.readings.numbers()})

    async def store(self, bels: Bels, through: Period | None, progress: Progress) -> None:
        """Feed everything and close through a period; ``progress`` counts accounts.

        :raises TryLater: the database cannot be reached; import the same files again.
        """

        def done(part: Imported) -> None:
            self.done.add(part)
            for account, reason, detail in part.refused_accounts:
                self.accounts.reject(account, reason, detail)
            for reading, reason, detail in part.refused_readings:
                self.readings.reject(reading, reason, detail)
            progress.update(part.seen)

        alone = self.count() + 2 * len(self.readings) < MESSAGES_ALONE_MAX
        await spread(bels, store, self._chunks(through), done, alone)

    def _chunks(self, through: Period | None) -> Iterator[Chunk]:
        """Give accounts in such groups that the messages of a group fill a batch and no more."""
        chunk: list[AccountRows] = []
        messages = 0
        for number in sorted({*self.accounts.numbers(), *self.readings.numbers()}):
            row, readings = self.accounts.find(number, self._now), self.readings.of(number)
            since = row.opened_at if row is not None else readings[0].received_at
            closings = months_between(period_of(since), through) + 1 if through is not None else 0
            coming = 2 + len(readings) + max(0, closings)
            if chunk and messages + coming > BATCH_MAX:
                yield Chunk(chunk, through, self._run)
                chunk, messages = [], 0
            chunk.append(AccountRows(f"{number:07d}", row, readings))
            messages += coming
        if chunk:
            yield Chunk(chunk, through, self._run)


async def store(tools: Tools, chunk: Chunk) -> Imported:
    """Feed all messages of some accounts.

    :raises TryLater: the database cannot be reached; do it again.
    """
    async with tools.pool.acquire() as db:
        known = await overview.find(db, [account.number for account in chunk.accounts])
        names = [(Channel.MIGRATION.value, _opening_id(number)) for number in known]
        opened = {r.account: r.content for r in await find_messages(db, names)} if names else {}
    done = Imported(seen=len(chunk.accounts))
    feeds: list[deque[tuple[Message, Source]]] = []
    doubtful: dict[str, Period] = {}
    known_rates: dict[tuple[str, Scheme, str], bool] = {}
    for account in chunk.accounts:
        row, before = account.row, known.get(account.number)
        if row is not None and before is not None and opened.get(row.number) != digest(row.raw):
            detail = "another row was imported for it" if row.number in opened else "it was not opened by an import"
            done.refused_accounts.append((row, Reason.ACCOUNT_EXISTS.value, f"the account exists already: {detail}"))
            row = None
        opened_at = row.opened_at if row is not None else before.opened_at if before is not None else None
        if opened_at is None:
            detail = "the account is neither in accounts.csv nor in the database"
            done.refused_readings += [(r, Reason.UNKNOWN_ACCOUNT.value, detail) for r in account.readings]
            continue
        feeds.append(deque(_messages(account, row, before, opened_at, chunk, tools.intake.rulebook, done)))
        since = _doubtful_since(row, before, feeds[-1], tools.intake.rulebook, known_rates)
        if since is not None:
            doubtful[account.number] = since
    while turn := [sent for feed in feeds for sent in _turn(feed, doubtful)]:
        refused = set()
        for outcome, (message, source) in zip(await handled(tools, [m for m, _ in turn]), turn, strict=True):
            if isinstance(source, AccountRow):
                _count_account(done, outcome, source)
            elif isinstance(source, ReadingRow):
                _count_reading(done, outcome, source)
            elif not done.closed.count(message.account, source, outcome.events):
                refused.add(message.account)
        feeds = [_without_closings(feed) if feed and feed[0][0].account in refused else feed for feed in feeds if feed]
    return done


def _turn(feed: deque[tuple[Message, Source]], doubtful: Mapping[str, Period]) -> Iterator[tuple[Message, Source]]:
    """Take the messages of one account through the first closing that may be refused: none after it is asked for in vain."""
    while feed:
        message, source = feed.popleft()
        yield message, source
        if isinstance(source, str) and source >= doubtful.get(message.account, "9999-12"):
            return


def _without_closings(feed: deque[tuple[Message, Source]]) -> deque[tuple[Message, Source]]:
    return deque((message, source) for message, source in feed if not isinstance(source, str))


def _doubtful_since(
    row: AccountRow | None,
    before: OverviewRow | None,
    feed: Iterable[tuple[Message, Source]],
    rulebook: Rulebook,
    known: dict[tuple[str, Scheme, str], bool],
) -> Period | None:
    """Find the first period to close that may lack a rate: every later one may too, since it can put that one right.

    ``known`` remembers which periods have all their rates.
    """
    if row is not None:
        group = rulebook.group_of(row.locality, row.stove)
    elif before is not None:
        group = rulebook.group_of(Locality(before.locality), Stove(before.stove))
    else:
        return None
    scheme = _SCHEMES[len(_registers(row, before))]
    for _, period in feed:
        if isinstance(period, str):
            found = known.get((group, scheme, period))
            if found is None:
                found = all(_has_rates(rulebook, group, s, period) for s in {Scheme.SINGLE, scheme})
                known[group, scheme, period] = found
            if not found:
                return period
    return None


def _has_rates(rulebook: Rulebook, group: str, scheme: Scheme, period: Period) -> bool:
    tariff = rulebook.tariff_of(group, scheme, period)
    ranges = len(rulebook.ranges_of(period)) + 1
    return tariff is not None and all(
        len(rates) >= ranges and None not in rates[:ranges] for rates in tariff.rates.values()
    )


def _messages(
    account: AccountRows,
    row: AccountRow | None,
    before: OverviewRow | None,
    opened_at: datetime,
    chunk: Chunk,
    rulebook: Rulebook,
    done: Imported,
) -> Iterator[tuple[Message, Source]]:
    """Give the messages of one account in order of time, each period closed at its end."""
    if row is not None:
        yield _opening(row), row
        yield _installation(row), row
    registers = _registers(row, before)
    ends = iter(_to_close(opened_at, before, chunk.through, rulebook))
    period = next(ends, None)
    for reading in account.readings:
        at = reading.received_at
        while period is not None and over_at(period) <= at:
            yield closing(account.number, period, over_at(period), chunk.run), period
            period = next(ends, None)
        try:
            yield _reading(reading, at, opened_at, registers), reading
        except RowError as error:
            done.refused_readings.append((reading, error.reason, error.detail))
    while period is not None:
        yield closing(account.number, period, over_at(period), chunk.run), period
        period = next(ends, None)


def _to_close(
    opened_at: datetime, before: OverviewRow | None, through: Period | None, rulebook: Rulebook
) -> tuple[Period, ...]:
    first = Period(before.next_period) if before is not None else reading_period(opened_at, rulebook)
    last = before.last_period if before is not None else None
    if through is None or through < first:
        return ()
    return after(shift(first, -1), through if last is None else min(through, Period(last)))


def _count_account(done: Imported, outcome: Outcome, row: AccountRow) -> None:
    if outcome.status is not Status.ACCEPTED:
        refused = next((e for e in outcome.events if isinstance(e, CommandRefused)), None)
        reason = refused.reason.value if refused is not None else outcome.status.value
        what = refused.command if refused is not None else f"waits for an operator, receipt {outcome.receipt}"
        done.refused_accounts.append((row, reason, what))
    elif isinstance(outcome.events[0], AccountOpened):
        done.accounts += not outcome.repeated
        done.accounts_repeated += outcome.repeated


def _count_reading(done: Imported, outcome: Outcome, row: ReadingRow) -> None:
    event = outcome.events[0] if outcome.events else None
    if isinstance(event, ReadingHeld):
        done.held_count += 1
        if len(done.held) < HELD_LISTED_MAX:
            previous = "|".join(str(value) for value in (event.previous or {}).values())
            much = f", {sum(event.delta.values()):,} kWh, limit {event.limit:,}" if event.limit is not None else ""
            done.held.append(
                f"line {row.line}: {row.number} {event.reason.value}: {row.values}, previous {previous}{much}"
            )
    elif isinstance(event, ReadingRefused):
        expected = f"the meter shows {'|'.join(event.expected)}" if event.expected else ""
        digits = f" of {event.capacity} digits" if event.capacity is not None else ""
        said = f"; not {event.detail}" if event.detail is not None else ""
        done.refused_readings.append((row, event.reason.value, f"{expected}{digits}{said}".strip("; ")))
    elif outcome.status is Status.PARKED:
        waits = f"waits for an operator, receipt {outcome.receipt}"
        done.refused_readings.append((row, outcome.status.value, waits))
    else:
        done.readings += not outcome.repeated
        done.readings_repeated += outcome.repeated


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
