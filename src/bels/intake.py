"""The one way in: messages that arrive together are handled together, in one transaction, and each gets its own outcome."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b

import asyncpg

from bels.domain.account import Account, Situation, evolve, nobody, replay
from bels.domain.commands import ClosePeriod, Command, SubmitReading
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, ReadingHeld, ReadingRefused
from bels.domain.forecast_estimate import Submission, may_submit
from bels.domain.periods import over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import AccountNumber, Channel, Reason, Word
from bels.journal.codec import check_texts, decode_events, encode_events
from bels.journal.entry import Entry
from bels.journal.journal import Recorded, appended, find_messages, is_known, read, recorded
from bels.journal.write import Db, Write, given, run
from bels.projections.change import Change
from bels.projections.project import told, touched

logger = logging.getLogger(__name__)

BATCH_MAX = 1000
"""Messages of one transaction; a longer batch is handled in several."""

ATTEMPTS_MAX = 4
"""Attempts at a batch that meets other writers, before its messages are handled one by one."""

ATTEMPTS_ALONE_MAX = 60
"""Attempts at a single message that meets other writers, before the sender is asked to try later."""

WAITING_MAX = 20_000
"""Messages that may wait for their batch, before a sender is asked to try later."""

ACCOUNTS_REMEMBERED_MAX = 4096
"""Folded accounts kept in memory, so that the next message reads only what came since."""

MESSAGE_ID_LENGTH_MAX = 200
ACCOUNT_LENGTH_MAX = 40
ACTOR_LENGTH_MAX = 200
RAW_LENGTH_MAX = 65_536

RECEIPT_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


class Status(Word):
    """What became of a message. A refusal is an answer too; PARKED waits for an operator."""

    ACCEPTED = "ACCEPTED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    PARKED = "PARKED"


class TryLater(Exception):
    """Nothing was stored: the database cannot be reached, or too much waits. Send the same message again."""


@dataclass(frozen=True, slots=True)
class Message:
    """A command as it came: on which channel, under which id, from whom, about which account, in which words.

    (channel, message_id) names the message for ever; ``raw`` is its content: the same id with another content is refused
    MESSAGE_ID_REUSED. ``command`` is a ``ReadingRefused`` where the channel could not read a command in it.
    """

    channel: Channel
    message_id: str
    actor: str
    account: str
    command: Command | ReadingRefused
    raw: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one message: a durable receipt and the events it led to, the answering one first.

    ``version`` is the entry of the first event in the account's journal, None where nothing was written there (an unknown
    account). ``repeated`` says that the message had come before: receipt and events are those of the first time.
    """

    receipt: str
    status: Status
    account: str
    events: tuple[Event, ...]
    version: int | None
    recorded_at: datetime
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """What a command would lead to, nothing stored: its events, and those of the closings through its period."""

    events: tuple[Event, ...]
    closings: tuple[Event, ...]
    before: Account
    after: Account


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Give the moment, in UTC: the clock at the edge."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Batch:
    """A batch under way: accounts as they become, entries and messages to write."""

    accounts: dict[str, Account]
    receipts: Iterator[str]
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    recorded: list[Recorded] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    first: dict[tuple[Channel, str], tuple[bytes, Outcome]] = field(default_factory=dict)


class Intake:
    """Take messages in: ``submit`` one and wait for its outcome, or ``handle`` a batch.

    Every process has its own; what they write meets in the journal, where (account, version) is unique.
    """

    def __init__(self, pool: asyncpg.Pool, rulebook: Rulebook, clock: Clock = utc_now, lanes: int = 3) -> None:
        self._pool = pool
        self.rulebook = rulebook
        self.clock = clock
        self._remembered: OrderedDict[str, Account] = OrderedDict()
        self._waiting: tuple[deque[tuple[Message, asyncio.Future[Outcome]]], ...] = tuple(deque() for _ in range(lanes))
        self._arrived = tuple(asyncio.Event() for _ in range(lanes))
        self._is_stopped = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Intake]:
        """Run the lanes that gather submitted messages into batches."""
        self._is_stopped = False
        tasks = [asyncio.create_task(self._run(lane)) for lane in range(len(self._waiting))]
        try:
            yield self
        finally:
            self._is_stopped = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in self._waiting:
                while waiting:
                    _, future = waiting.popleft()
                    if not future.done():
                        future.set_exception(TryLater("bels is stopping"))

    async def submit(self, message: Message) -> Outcome:
        """Hand one message in and wait for its outcome; what waits together is handled together.

        :raises TryLater: nothing was stored.
        """
        if self._is_stopped:
            raise TryLater("bels is stopping")
        # An account always takes the same lane, so that its messages never meet each other.
        lane = hash(message.account) % len(self._waiting)
        waiting = self._waiting[lane]
        if len(waiting) >= WAITING_MAX:
            raise TryLater("too many messages wait")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting.append((message, future))
        self._arrived[lane].set()
        return await future

    async def _run(self, lane: int) -> None:
        waiting, arrived = self._waiting[lane], self._arrived[lane]
        while True:
            await arrived.wait()
            batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH_MAX))]
            if not waiting:
                arrived.clear()
            if not batch:
                continue
            try:
                outcomes = await self._handle([message for message, _ in batch])
                for (_, future), outcome in zip(batch, outcomes, strict=True):
                    if not future.done():
                        if isinstance(outcome, Exception):
                            future.set_exception(outcome)
                        else:
                            future.set_result(outcome)
            except asyncio.CancelledError:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(TryLater("bels is stopping"))
                raise
            except Exception as error:
                logger.exception("a batch of %d messages failed", len(batch))
                cause = str(error) if isinstance(error, TryLater) else type(error).__name__
                for _, future in batch:
                    if not future.done():
                        future.set_exception(TryLater(cause))

    async def handle(self, messages: Sequence[Message]) -> list[Outcome]:
        """Handle messages together, in one transaction for each thousand; outcomes come in the order of the messages.

        :raises TryLater: some were not stored; send them all again, what was stored gives its first outcome.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(messages), BATCH_MAX):
            for outcome in await self._handle(messages[start : start + BATCH_MAX]):
                if isinstance(outcome, Exception):
                    raise outcome
                outcomes.append(outcome)
        return outcomes

    async def preview(self, account: str, command: Command) -> Preview:
        """Say what a command would lead to, with the closings through its period; nothing is stored.

        :raises TryLater: the database cannot be reached.
        """
        before = await self.account(account)
        events = decide(before, command, self.rulebook)
        after = replay(before, events)
        closings: list[Event] = []
        period = getattr(events[0], "period", None)
        closed = after
        while period and closed.next_period and closed.next_period <= period:
            closing = ClosePeriod(closed.next_period, over_at(closed.next_period))
            led_to = decide(closed, closing, self.rulebook)
            if isinstance(led_to[0], CommandRefused):
                break
            closings += led_to
            closed = replay(closed, led_to)
        return Preview(events, tuple(closings), before, after)

    async def may_submit(self, account: str) -> Submission:
        """Say whether a reading may be sent now, within which bounds, and what silence costs.

        :raises TryLater: the database cannot be reached.
        """
        return may_submit(await self.account(account), self.clock(), self.rulebook)

    async def account(self, number: str) -> Account:
        """Fold an account from the journal.

        :raises TryLater: the database cannot be reached.
        """
        try:
            accounts = self._known({number})
            async with self._pool.acquire() as db:
                await _catch_up(db, accounts)
            return accounts[number]
        except _UNAVAILABLE as error:
            raise TryLater(type(error).__name__) from error

    async def _handle(self, messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
        try:
            for attempt in range(ATTEMPTS_MAX):
                try:
                    return await self._attempt(messages)
                except _CONFLICT:
                    self._forget(messages)
                    await asyncio.sleep(secrets.randbelow(1 + attempt) * 0.002)
        except _UNAVAILABLE as error:
            self._remembered.clear()
            raise TryLater(type(error).__name__) from error
        except Exception:
            # Something in this batch cannot be written: find it, so that it does not stop its neighbours.
            logger.exception("a batch of %d messages failed, they are handled one by one", len(messages))
            self._forget(messages)
        return [await self._alone(message) for message in messages]

    async def _alone(self, message: Message) -> Outcome | Exception:
        try:
            for attempt in range(ATTEMPTS_ALONE_MAX):
                try:
                    return (await self._attempt([message]))[0]
                except _CONFLICT:
                    self._forget([message])
                    await asyncio.sleep(secrets.randbelow(1 + min(attempt, 10)) * 0.003)
            return TryLater("too many writers on one account")
        except _UNAVAILABLE as error:
            self._remembered.clear()
            return TryLater(type(error).__name__)
        except Exception as error:
            logger.exception("a message on %s is parked", message.channel.value)
            self._forget([message])
            return await self._park(message, error)

    async def _park(self, message: Message, error: Exception) -> Outcome | Exception:
        batch = _Batch({}, new_receipts(1))
        recorded_at = self.clock()
        self._record(batch, 0, message, (), None, Status.PARKED, recorded_at)
        try:
            async with self._pool.acquire() as db:
                await run(db, recorded(batch.recorded))
        except asyncpg.UniqueViolationError:
            return TryLater("the message is being handled elsewhere")
        except _UNAVAILABLE as unavailable:
            return TryLater(type(unavailable).__name__)
        except Exception as unwritable:
            logger.exception("a message could not even be parked")
            return TryLater(f"{type(error).__name__}, {type(unwritable).__name__}")
        return batch.outcomes[0]

    async def _attempt(self, messages: Sequence[Message]) -> list[Outcome]:
        """Read, decide, write: once. Nothing is written when it fails."""
        async with self._pool.acquire() as db:
            names = [(m.channel.value, _name(m.message_id)) for m in messages]
            accounts = self._known({m.account for m in messages})
            # Most batches bring nothing that came before and meet nobody: one look tells.
            repeated, grown = await is_known(db, names, {_plain(n): a.version for n, a in accounts.items()})
            repeats = await _repeats(db, await find_messages(db, names)) if repeated else {}
            if grown:
                await _catch_up(db, accounts)
            batch = _Batch(accounts, new_receipts(len(messages)))
            recorded_at = self.clock()
            for i, (message, (_, message_id)) in enumerate(zip(messages, names, strict=True)):
                name = (message.channel, message_id)
                if name in repeats:
                    batch.outcomes[i] = _again(message, *repeats[name])
                elif name in batch.first:
                    batch.outcomes[i] = _again(message, *batch.first[name])
                else:
                    self._decide(batch, i, message, recorded_at)
            if batch.recorded:
                await self._write(db, batch)
        for number in batch.entries:
            self._remember(batch.accounts[number])
        return [batch.outcomes[i] for i in range(len(messages))]

    def _decide(self, batch: _Batch, i: int, message: Message, recorded_at: datetime) -> None:
        account = batch.accounts[message.account]
        try:
            check_texts(message.command)
            if isinstance(message.command, ReadingRefused):
                events: tuple[Event, ...] = (message.command,)
            elif isinstance(message.command, SubmitReading) and message.command.received_at > recorded_at:
                events = (_from_the_future(message.command),)
            else:
                events = decide(account, message.command, self.rulebook)
            after = replay(account, events)
        except Exception:
            logger.exception("a message on %s is parked", message.channel.value)
            self._record(batch, i, message, (), None, Status.PARKED, recorded_at)
            return
        status = _status_of(events[0])
        known = after.situation is not Situation.UNKNOWN
        version = account.version + 1 if known else None
        receipt = self._record(batch, i, message, events, version, status, recorded_at)
        if known:
            actor = _plain(message.actor)[:ACTOR_LENGTH_MAX]
            own = batch.entries.setdefault(message.account, [])
            own += [
                Entry(account.number, account.version + 1 + n, recorded_at, message.channel, actor, receipt, event)
                for n, event in enumerate(events)
            ]
            batch.accounts[message.account] = after

    def _record(
        self,
        batch: _Batch,
        i: int,
        message: Message,
        events: tuple[Event, ...],
        version: int | None,
        status: Status,
        recorded_at: datetime,
    ) -> str:
        receipt = next(batch.receipts)
        name = _name(message.message_id)
        number = _plain(message.account)[:ACCOUNT_LENGTH_MAX]
        outcome = Outcome(receipt, status, number, events, version, recorded_at)
        content = digest(message.raw)
        batch.outcomes[i] = outcome
        batch.first[message.channel, name] = content, outcome
        batch.recorded.append(
            Recorded(
                message.channel,
                name,
                receipt,
                number,
                _plain(message.actor)[:ACTOR_LENGTH_MAX],
                content,
                recorded_at,
                status.value,
                version,
                version + len(events) - 1 if version is not None else None,
                encode_events(events) if version is None and events else None,
                _plain(message.raw)[:RAW_LENGTH_MAX],
            )
        )
        return receipt

    async def _write(self, db: Db, batch: _Batch) -> None:
        numbers = sorted(batch.entries)
        changes = [Change(batch.accounts[number], tuple(batch.entries[number])) for number in numbers]
        async with db.transaction():
            messages = recorded(sorted(batch.recorded, key=lambda r: (r.channel, r.message_id)))
            if not changes:
                await run(db, messages)
                return
            entries = appended(entry for change in changes for entry in change.entries)
            await run(db, messages, entries, *touched(changes, self.rulebook))
            await run(db, *told(changes, self.rulebook), notified(numbers))

    def _known(self, numbers: set[str]) -> dict[str, Account]:
        return {number: self._remembered.get(number) or nobody(number) for number in numbers}

    def _remember(self, account: Account) -> None:
        self._remembered[account.number] = account
        self._remembered.move_to_end(account.number)
        while len(self._remembered) > ACCOUNTS_REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _forget(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._remembered.pop(message.account, None)


_CONFLICT = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)
"""Another writer was first: read again and decide again."""

_UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)
"""The database cannot be reached, has no room, takes no writes or has other tables than this program: no message is to
blame. Nothing was stored, or the sender cannot know. Send it again."""

CHANGES = "bels_changes"
"""The PostgreSQL channel on which every commit names the accounts that it changed."""

_NOTIFIED_MAX = 900
"""Seven-digit numbers that fit one notification of at most 8,000 bytes."""


_TOLD = "channel text, payload text"
NOTIFY = f"SELECT pg_notify(channel, payload) FROM {given(_TOLD)}"


def notified(numbers: Sequence[str]) -> Write:
    """Tell every listening process, at the commit, which accounts changed."""
    payloads = [",".join(numbers[i : i + _NOTIFIED_MAX]) for i in range(0, len(numbers), _NOTIFIED_MAX)]
    return Write(NOTIFY, _TOLD, [(CHANGES, payload) for payload in payloads])


_PAIRS = [a + b for a in RECEIPT_ALPHABET for b in RECEIPT_ALPHABET]


def new_receipts(count: int) -> Iterator[str]:
    """Draw receipts: eight characters that can be dictated, without 0 and O, 1 and I."""
    # One call to the system for a whole batch: each costs more than everything else here.
    drawn = os.urandom(5 * count)
    for i in range(0, 5 * count, 5):
        n = int.from_bytes(drawn[i : i + 5])
        yield _PAIRS[n & 1023] + _PAIRS[n >> 10 & 1023] + _PAIRS[n >> 20 & 1023] + _PAIRS[n >> 30]


def digest(raw: str) -> bytes:
    """Digest the content of a message: what makes two messages under one id the same."""
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _plain(text: str) -> str:
    # PostgreSQL's text knows neither NUL nor lone surrogates; what is stored shows them escaped.
    if "\x00" not in text and text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def _name(message_id: str) -> str:
    # Two ids never become one name: one that is shortened or escaped carries the digest of the whole.
    name = _plain(message_id)
    if name == message_id and len(name) <= MESSAGE_ID_LENGTH_MAX:
        return name
    return f"{name[: MESSAGE_ID_LENGTH_MAX - 33]}~{digest(message_id).hex()}"


def _from_the_future(command: SubmitReading) -> ReadingRefused:
    return ReadingRefused(Reason.RECEIVED_IN_FUTURE, command.received_at, command.values)


def _status_of(event: Event) -> Status:
    if isinstance(event, ReadingRefused | CommandRefused):
        return Status.REFUSED
    return Status.HELD if isinstance(event, ReadingHeld) else Status.ACCEPTED


async def _catch_up(db: Db, accounts: dict[str, Account]) -> None:
    for entry in await read(db, {_plain(number): account.version for number, account in accounts.items()}):
        accounts[entry.account] = evolve(accounts[entry.account], entry.event)


async def _repeats(db: Db, before: Sequence[Recorded]) -> dict[tuple[Channel, str], tuple[bytes, Outcome]]:
    outcomes = await outcomes_of(db, before)
    return {(r.channel, r.message_id): (r.content, outcome) for r, outcome in zip(before, outcomes, strict=True)}


async def outcomes_of(db: Db, recorded: Sequence[Recorded]) -> list[Outcome]:
    """Give the first outcomes of messages again, from the journal."""
    wanted: dict[str, int] = {}
    for r in recorded:
        if r.first_version is not None:
            wanted[r.account] = min(wanted.get(r.account, r.first_version - 1), r.first_version - 1)
    entries = {(e.account, e.version): e.event for e in await read(db, wanted)} if wanted else {}
    outcomes = []
    for r in recorded:
        if r.first_version is not None and r.last_version is not None:
            versions = range(r.first_version, r.last_version + 1)
            events = tuple(entries[AccountNumber(r.account), v] for v in versions)
        else:
            events = decode_events(r.answer) if r.answer is not None else ()
        outcomes.append(
            Outcome(r.receipt, Status(r.status), r.account, events, r.first_version, r.recorded_at, repeated=True)
        )
    return outcomes


def _again(message: Message, content: bytes, outcome: Outcome) -> Outcome:
    if content == digest(message.raw):
        return replace(outcome, repeated=True)
    if isinstance(message.command, SubmitReading | ReadingRefused):
        reused: Event = ReadingRefused(
            Reason.MESSAGE_ID_REUSED, message.command.received_at, message.command.values, detail=outcome.receipt
        )
    else:
        reused = CommandRefused(
            type(message.command).__name__, Reason.MESSAGE_ID_REUSED, outcome.recorded_at, outcome.receipt
        )
    return Outcome(outcome.receipt, Status.REFUSED, message.account, (reused,), None, outcome.recorded_at)
