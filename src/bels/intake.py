"""The one way in: messages that arrive together are handled together, in one transaction, and each gets its own outcome."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import asyncpg

from bels.domain.account import Account, Situation, nobody, replay
from bels.domain.commands import (
    ClosePeriod,
    Command,
    PublishRulebook,
    ReceivePayment,
    SubmitReading,
)
from bels.domain.decide import addressed, decide
from bels.domain.events import (
    CommandRefused,
    Event,
    ReadingHeld,
    ReadingRefused,
)
from bels.domain.forecast_estimate import Submission, may_submit
from bels.domain.money_events import RulebookPublished
from bels.domain.periods import over_at
from bels.domain.receive_payment import SUSPENSE_PREFIX, is_kept_unallocated, reason_unallocated, receive_payment
from bels.domain.repeat_reading import repeated_reading
from bels.domain.rulebook import Rulebook
from bels.domain.terms import AccountNumber, Channel, EntryNumber, Purpose, Reason
from bels.journal.chain import GENESIS
from bels.journal.codec import check_texts, encode_events
from bels.journal.entry import Entry
from bels.journal.faults import CONFLICT, UNAVAILABLE
from bels.journal.journal import (
    RULEBOOK,
    Recorded,
    appended,
    find_messages,
    is_known,
    read,
    read_events,
    read_rulebook,
    recorded,
)
from bels.journal.notify import notified
from bels.journal.receipts import new_receipts
from bels.journal.write import Db, run
from bels.messages import Message, Outcome, Status, TryLater, again, digest, repeat_of, repeats_of
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


@dataclass(frozen=True, slots=True)
class Preview:
    """What a command would lead to, nothing stored: its events, and those of the closings through its period.

    ``closed`` is the account after these closings; ``stopped`` is why a closing would not go through, None where all do.
    """

    events: tuple[Event, ...]
    closings: tuple[Event, ...]
    before: Account
    after: Account
    closed: Account
    stopped: CommandRefused | None


_Waiting = tuple[Sequence[Message], asyncio.Future[list[Outcome]]]

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Give the moment, in UTC: the clock at the edge."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Batch:
    """A batch under way: accounts as they become, the digests of their last entries, entries and messages to write."""

    accounts: dict[str, Account]
    heads: dict[str, bytes]
    receipts: Iterator[str]
    rulebook: Rulebook
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    recorded: list[Recorded] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    first: dict[tuple[Channel, str], tuple[bytes, Outcome]] = field(default_factory=dict)
    same: dict[int, tuple[Message, EntryNumber]] = field(default_factory=dict)


class Intake:
    """Take messages in: ``submit`` one and wait for its outcome, or ``handle`` a batch.

    Every process has its own; what they write meets in the journal, where (account, version) is unique. ``work`` handles one
    batch, and whoever observes puts a wrapper of it in its place; ``waiting`` is what each lane is to handle, message by message
    or, where some are handed in together, a few of one account in one transaction.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        rulebook: Rulebook,
        clock: Clock = utc_now,
        lanes: int = 3,
        remembered_max: int = ACCOUNTS_REMEMBERED_MAX,
    ) -> None:
        self._pool = pool
        self.rulebook = rulebook
        self._rulebook_version = 0
        self.clock = clock
        # Each with the digest of its last entry.
        self._remembered: OrderedDict[str, tuple[Account, bytes]] = OrderedDict()
        self._remembered_max = remembered_max
        self.waiting: tuple[deque[_Waiting], ...] = tuple(deque() for _ in range(lanes))
        self._arrived = tuple(asyncio.Event() for _ in range(lanes))
        self._is_stopped = False
        self.work: Callable[[Sequence[Message]], Awaitable[Sequence[Outcome | Exception]]] = self._handle

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Intake]:
        """Run the lanes that gather submitted messages into batches."""
        self._is_stopped = False
        tasks = [asyncio.create_task(self._run(lane)) for lane in range(len(self.waiting))]
        try:
            yield self
        finally:
            self._is_stopped = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for waiting in self.waiting:
                while waiting:
                    _, future = waiting.popleft()
                    if not future.done():
                        future.set_exception(TryLater("bels is stopping"))

    async def submit(self, message: Message) -> Outcome:
        """Hand one message in and wait for its outcome; what waits together is handled together.

        :raises TryLater: nothing was stored.
        """
        return (await self.submit_together([message]))[0]

    async def submit_together(self, messages: Sequence[Message]) -> list[Outcome]:
        """Hand in a few messages of one account and wait for their outcomes: they are handled in one transaction, with others.

        :raises TryLater: some were not stored; send them all again, what was stored gives its first outcome.
        """
        if self._is_stopped:
            raise TryLater("bels is stopping")
        # An account always takes the same lane, so that its messages never meet each other.
        lane = hash(messages[0].account) % len(self.waiting)
        waiting = self.waiting[lane]
        if len(waiting) >= WAITING_MAX:
            raise TryLater("too many messages wait")
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        waiting.append((messages, future))
        self._arrived[lane].set()
        return await future

    async def _run(self, lane: int) -> None:
        waiting, arrived = self.waiting[lane], self._arrived[lane]
        while True:
            await arrived.wait()
            batch: list[_Waiting] = []
            size = 0
            while waiting and size + len(waiting[0][0]) <= BATCH_MAX:
                batch.append(waiting.popleft())
                size += len(batch[-1][0])
            if not waiting:
                arrived.clear()
            if not batch:
                continue
            try:
                outcomes = iter(await self.work([message for messages, _ in batch for message in messages]))
                for messages, future in batch:
                    _answer(future, [next(outcomes) for _ in messages])
            except asyncio.CancelledError:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(TryLater("bels is stopping"))
                raise
            except Exception as error:
                logger.exception("a batch of %d messages failed", size)
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
            for outcome in await self.work(messages[start : start + BATCH_MAX]):
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
        stopped: CommandRefused | None = None
        while period and closed.next_period and closed.next_period <= period:
            closing = ClosePeriod(closed.next_period, over_at(closed.next_period))
            led_to = decide(closed, closing, self.rulebook)
            if isinstance(led_to[0], CommandRefused):
                stopped = led_to[0]
                break
            closings += led_to
            closed = replay(closed, led_to)
        return Preview(events, tuple(closings), before, after, closed, stopped)

    async def may_submit(self, account: str) -> Submission:
        """Say whether a reading may be sent now, within which bounds, and what silence costs.

        :raises TryLater: the database cannot be reached.
        """
        return may_submit(await self.account(account), self.clock(), self.rulebook)

    async def account(self, number: str) -> Account:
        """Fold an account from the journal.

        :raises TryLater: the database cannot be reached.
        """
        return (await self.accounts([number]))[number]

    async def accounts(self, numbers: Sequence[str]) -> dict[str, Account]:
        """Fold accounts from the journal.

        :raises TryLater: the database cannot be reached.
        """
        try:
            accounts, heads = self._known(set(numbers))
            async with self._pool.acquire() as db:
                await self._heed_publications(db)
                await _catch_up(db, accounts, heads)
            return accounts
        except UNAVAILABLE as error:
            raise TryLater(type(error).__name__) from error

    async def rules(self) -> Rulebook:
        """Give the rulebook in force, whoever published it.

        :raises TryLater: the database cannot be reached.
        """
        try:
            async with self._pool.acquire() as db:
                await self._heed_publications(db)
            return self.rulebook
        except UNAVAILABLE as error:
            raise TryLater(type(error).__name__) from error

    async def _heed_publications(self, db: Db) -> None:
        book, version = await read_rulebook(db, self._rulebook_version)
        self._heed(book, version)

    def _heed(self, book: Rulebook | None, version: int) -> None:
        # Two lanes may learn of publications in either order: an older one never replaces a newer.
        if version > self._rulebook_version:
            self.rulebook, self._rulebook_version = book or self.rulebook, version

    async def _handle(self, messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
        try:
            for attempt in range(ATTEMPTS_MAX):
                try:
                    return await self._attempt(messages)
                except CONFLICT:
                    self._forget(messages)
                    await asyncio.sleep(secrets.randbelow(1 + attempt) * 0.002)
        except UNAVAILABLE as error:
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
                except CONFLICT:
                    self._forget([message])
                    await asyncio.sleep(secrets.randbelow(1 + min(attempt, 10)) * 0.003)
            return TryLater("too many writers on one account")
        except TryLater as error:
            return error
        except UNAVAILABLE as error:
            self._remembered.clear()
            return TryLater(type(error).__name__)
        except Exception as error:
            logger.exception("a message on %s is parked", message.channel.value)
            self._forget([message])
            return await self._park(message, error)

    async def _park(self, message: Message, error: Exception) -> Outcome | Exception:
        batch = _Batch({}, {}, new_receipts(1), self.rulebook)
        recorded_at = self.clock()
        self._record(batch, 0, message, (), None, Status.PARKED, recorded_at)
        try:
            async with self._pool.acquire() as db:
                await run(db, recorded(batch.recorded))
        except asyncpg.UniqueViolationError:
            return TryLater("the message is being handled elsewhere")
        except UNAVAILABLE as unavailable:
            return TryLater(type(unavailable).__name__)
        except Exception as unwritable:
            logger.exception("a message could not even be parked")
            return TryLater(f"{type(error).__name__}, {type(unwritable).__name__}")
        return batch.outcomes[0]

    async def _attempt(self, messages: Sequence[Message]) -> list[Outcome]:
        """Read, decide, write: once. Nothing is written when it fails."""
        async with self._pool.acquire() as db:
            names = [(m.channel.value, _name(m.message_id)) for m in messages]
            # A message that stands with another one is looked up with it: the other may have come before.
            lead = {(m.channel.value, _name(m.only_with)) for m in messages if m.only_with is not None}
            wanted = [*names, *lead.difference(names)] if lead else names
            accounts, heads = self._known({m.account for m in messages})
            # Most batches bring nothing that came before and meet nobody: one look tells.
            known = {_plain(n): a.version for n, a in accounts.items()}
            known[RULEBOOK] = min(known.get(RULEBOOK, self._rulebook_version), self._rulebook_version)
            repeated, grown = await is_known(db, wanted, known)
            repeats = await repeats_of(db, await find_messages(db, wanted)) if repeated else {}
            if grown:
                await self._heed_publications(db)
                await _catch_up(db, accounts, heads)
            batch = _Batch(accounts, heads, new_receipts(len(messages)), self.rulebook)
            recorded_at = self.clock()
            twice: list[tuple[int, Message, tuple[Channel, str]]] = []
            named: set[tuple[Channel, str]] = set()
            for i, (message, (_, message_id)) in enumerate(zip(messages, names, strict=True)):
                name = (message.channel, message_id)
                if name in repeats:
                    batch.outcomes[i] = again(message, *repeats[name])
                elif name in named:
                    twice.append((i, message, name))
                elif message.only_with is not None and (alone := _without(message, repeats, batch)) is not None:
                    batch.outcomes[i] = alone
                else:
                    named.add(name)
                    self._decide(batch, i, message, recorded_at)
            if batch.same:
                await self._repeat(db, batch, recorded_at)
            for i, message, name in twice:
                batch.outcomes[i] = again(message, *batch.first[name])
            if batch.recorded:
                await self._write(db, batch)
        for number in batch.entries:
            if number == RULEBOOK:
                self._heed(batch.rulebook, batch.accounts[number].version)
            self._remember(batch.accounts[number], batch.heads[number])
        return [batch.outcomes[i] for i in range(len(messages))]

    def _decide(self, batch: _Batch, i: int, message: Message, recorded_at: datetime) -> None:
        message = _to_suspense(batch, message)
        account = addressed(batch.accounts[message.account], message.command)
        try:
            check_texts(message.command)
            if isinstance(message.command, ReadingRefused):
                events: tuple[Event, ...] = (message.command,)
            elif isinstance(message.command, SubmitReading) and message.command.received_at > recorded_at:
                events = (_from_the_future(message.command),)
            elif isinstance(message.command, SubmitReading) and (
                same := repeated_reading(account, message.command, batch.rulebook)
            ):
                batch.same[i] = message, same
                return
            else:
                events = decide(account, message.command, batch.rulebook)
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
                Entry(
                    account.number,
                    account.version + 1 + n,
                    recorded_at,
                    message.channel,
                    actor,
                    receipt,
                    event,
                    message.behalf,
                )
                for n, event in enumerate(events)
            ]
            batch.accounts[message.account] = after
            if isinstance(message.command, PublishRulebook) and isinstance(events[0], RulebookPublished):
                batch.rulebook = events[0].book

    async def _repeat(self, db: Db, batch: _Batch, recorded_at: datetime) -> None:
        """Answer readings that only repeat one with that one: their messages are kept, and lead to no entry."""
        wanted: dict[str, int] = {}
        for message, same in batch.same.values():
            wanted[message.account] = min(wanted.get(message.account, same - 1), same - 1)
        entries = {(e.account, e.version): e for e in await read(db, wanted)}
        entries |= {(e.account, e.version): e for own in batch.entries.values() for e in own}
        for i, (message, same) in batch.same.items():
            entry = entries[AccountNumber(message.account), same]
            # It points to the reading, and from there to no entry of its own.
            self._record(batch, i, message, (), same, Status.ACCEPTED, recorded_at)
            outcome = repeat_of(entry)
            batch.outcomes[i] = outcome
            batch.first[message.channel, _name(message.message_id)] = digest(message.raw), outcome

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
                message.request_id,
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
            contents = {message.receipt: message.content for message in batch.recorded}
            entries = appended((entry for change in changes for entry in change.entries), batch.heads, contents)
            await run(db, messages, entries, *touched(changes, batch.rulebook))
            await run(db, *told(changes, batch.rulebook), notified(numbers))

    def _known(self, numbers: set[str]) -> tuple[dict[str, Account], dict[str, bytes]]:
        known = {number: self._remembered.get(number) or (nobody(number), GENESIS) for number in numbers}
        return {number: known[number][0] for number in numbers}, {number: known[number][1] for number in numbers}

    def _remember(self, account: Account, head: bytes) -> None:
        self._remembered[account.number] = account, head
        self._remembered.move_to_end(account.number)
        while len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)

    def _forget(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._remembered.pop(message.account, None)


def _answer(future: asyncio.Future[list[Outcome]], outcomes: Sequence[Outcome | Exception]) -> None:
    if future.done():
        return
    failed = next((each for each in outcomes if isinstance(each, Exception)), None)
    if failed is not None:
        future.set_exception(failed)
    else:
        future.set_result([each for each in outcomes if isinstance(each, Outcome)])


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


def _to_suspense(batch: _Batch, message: Message) -> Message:
    """Give a payment that cannot go to its account a stream of its own: money is never dropped."""
    command = message.command
    if not isinstance(command, ReceivePayment):
        return message
    if reason_unallocated(batch.accounts[message.account], command.purpose) is None:
        return message
    (answer,) = receive_payment(batch.accounts[message.account], command)
    if not isinstance(answer, CommandRefused) or not is_kept_unallocated(command, answer.reason):
        return message
    stream = SUSPENSE_PREFIX + digest(f"{message.channel.value} {message.message_id}").hex()[:24]
    batch.accounts.setdefault(stream, nobody(stream))
    meant_for, reason = _plain(message.account)[:ACCOUNT_LENGTH_MAX], answer.reason
    kept = replace(command, purpose=Purpose.ENERGY, meant_for=meant_for, unallocated=reason)
    return replace(message, account=stream, command=kept)


def _without(
    message: Message, repeats: Mapping[tuple[Channel, str], tuple[bytes, Outcome]], batch: _Batch
) -> Outcome | None:
    """Give the answer of the message without which this one may not be taken; None where it may.

    :raises TryLater: that message did not come, or could not be stored.
    """
    name = (message.channel, _name(message.only_with or ""))
    before = repeats.get(name) or batch.first.get(name)
    if before is None:
        raise TryLater("the message that it came with is not stored")
    content, outcome = before
    return outcome if outcome.status is Status.REFUSED or content != digest(message.raw) else None


def _from_the_future(command: SubmitReading) -> ReadingRefused:
    return ReadingRefused(Reason.RECEIVED_IN_FUTURE, command.received_at, command.values)


def _status_of(event: Event) -> Status:
    if isinstance(event, ReadingRefused | CommandRefused):
        return Status.REFUSED
    return Status.HELD if isinstance(event, ReadingHeld) else Status.ACCEPTED


async def _catch_up(db: Db, accounts: dict[str, Account], heads: dict[str, bytes]) -> None:
    for number, events, head in await read_events(db, {_plain(n): account.version for n, account in accounts.items()}):
        accounts[number] = replay(accounts[number], events)
        heads[number] = head
