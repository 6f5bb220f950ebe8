"""An account in two times: as it was on a day, as we knew it on another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Protocol, TypeVar, cast

import strawberry
from graphql import FieldNode, FragmentSpreadNode, GraphQLError, InlineFragmentNode

from bels.access.callers import Right
from bels.api.aside import ENTRIES_OF_POINT
from bels.api.context import Info
from bels.api.engine.paging import Connection, Page, connect, read_page
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.inputs import ACCOUNT
from bels.api.moments import AccountMoment
from bels.api.objects import After, AuditEntry, First, told
from bels.audit.replaying.books import BookLine, BooksReplayed, BookSum, read_books
from bels.audit.replaying.differences import Difference as DomainDifference
from bels.audit.replaying.differences import changing_entries, differences_of_moments
from bels.audit.replaying.moments import (
    History,
    Moment,
    Replayed,
    ReplayError,
    count_entries,
    read_history,
    replay,
)
from bels.audit.replaying.steps import MadeBy as DomainMadeBy
from bels.audit.replaying.steps import Step as DomainStep
from bels.audit.replaying.steps import read_steps, state_of, steps_of
from bels.audit.replaying.steps import told as told_entries
from bels.domain import terms
from bels.domain.account import Situation
from bels.domain.terms import Period
from bels.projections.audit import AuditRow

Done = TypeVar("Done")

REPLAYERS = Right.AUDITOR | Right.OPERATOR
"""Who may ask for an account at another moment: whoever sees the whole of it. A replay knows no household, and so no sight of one."""

ENTRIES_AT_ONCE = 50
"""So few entries are folded at once; of more, others are served meanwhile."""

FOLDS_OF_BOOKS = 3
"""Whoever holds books against each other folds the entries, and decides every closing anew."""

FOLDS_OF_STATE = 2
"""Writing the whole state of an account after an entry costs as much as folding the entries before it so often."""

COST = "It costs a point for 10 entries of the account."

AsOf = Annotated[
    date | None,
    strawberry.argument(description="As it was at the end of this day (auditor, operator); by default all."),
]
KnownAt = Annotated[
    datetime | None,
    strawberry.argument(description="As bels knew it at this moment (auditor, operator); now by default."),
]

INSTEAD = {
    "balance": "moment { balance }",
    "balanceAsOf": "moment { balance }",
    "readings": "moment { readings }",
    "usage": "moment { periods }",
    "audit": "steps",
    "estimation": "moment { mode modeSince missedInARow inspectionDue }",
    "payments": "steps { edges { node { changed } } }",
    "ledger": "`ledger` of the account without `asOf` and `knownAt`: every line has its `bookedOn` and `recordedAt`",
    "bill": "moment { periods }",
    "lastBill": "moment { periods }",
    "senders": "moment { links }",
}
"""What to ask of an account at a moment, in place of a field that tells only how it is now."""

ANSWERED = frozenset(
    {
        *("__typename", "id", "number", "version", "open", "openedAt", "closedAt", "nextPeriod"),
        *("locality", "stove", "rooms", "residents", "meter", "links", "moment", "steps"),
    }
)
"""The fields of an account that are told as of its moment. Any other is refused: today's truth would be taken for that of then."""


@strawberry.input(
    description='A moment in both times. Both left out: now. Example: `{asOf: "2024-05-31", knownAt: "2024-06-03T09:00:00Z"}`.'
)
class MomentInput:
    """A moment in both times."""

    as_of: date | None = strawberry.field(
        default=None, description="The end of this day; by default all that was known."
    )
    known_at: datetime | None = strawberry.field(
        default=None, description="As bels knew it at this moment; now by default."
    )


@strawberry.type(
    description="A value that differs between two states. Sums have two digits, days and instants are ISO 8601."
)
class StateDifference:
    """A value that differs."""

    path: str = strawberry.field(description="Its name for a program, for example periods/2024-05/money.")
    label: str = strawberry.field(description="Its name in Russian.")
    before: str | None = strawberry.field(description="What it was; null where it was not.")
    after: str | None = strawberry.field(description="What it became; null where it is no more.")

    @classmethod
    def of(cls, found: DomainDifference) -> StateDifference:
        """Show a difference."""
        return cls(path=found.path, label=found.label, before=found.before, after=found.after)


@strawberry.type(description="The rule that made an entry.")
class MadeBy:
    """The rule that made an entry."""

    name: str = strawberry.field(description="The rule's file in the domain of bels.")
    text: str = strawberry.field(description="The rule itself, in a sentence.")
    acts: list[str] = strawberry.field(description="The acts and points that the numbers of the entry rest on.")
    rulebook: str | None = strawberry.field(description="The version of the rules, where the entry tells one.")

    @classmethod
    def of(cls, made: DomainMadeBy) -> MadeBy:
        """Show a rule."""
        return cls(name=made.name, text=made.text, acts=list(made.acts), rulebook=made.rulebook)


@strawberry.type(description="An entry with the rule that made it and what it changed.")
class AccountStep:
    """An entry with what it changed."""

    step: strawberry.Private[DomainStep]
    entry: AuditEntry = strawberry.field(description="The entry: what happened, when, who brought it and how.")
    made_by: MadeBy = strawberry.field(description="The rule that made it.")
    counts: bool = strawberry.field(description="False where it was not true yet on the day: then it changed nothing.")
    changed: list[StateDifference] = strawberry.field(description="The state before and after it, where they differ.")

    @strawberry.field(
        description="The whole state of the account after it, as JSON. It costs a point for 5 entries before it."
    )
    def state(self, info: Info) -> str:
        """Write the state."""
        info.context.pay(FOLDS_OF_STATE * self.entry.entry // ENTRIES_OF_POINT)
        return state_of(self.step.account)


class Numbered(Protocol):
    """What the account has, of which ``AccountReplay`` is a part."""

    number: str


@strawberry.type
class AccountReplay:
    """What an account has of its replay; no type of the schema."""

    then: strawberry.Private[Replayed | None] = None
    replaying: strawberry.Private[asyncio.Lock | None] = None

    @strawberry.field(
        description=f"Everything about the account at its moment; now where it was asked for without one. {COST}"
    )
    async def moment(self, info: Info) -> AccountMoment:
        """Replay the account."""
        return AccountMoment.of(await _replayed(info, self))

    @strawberry.field(description=f"The account told entry by entry, from the first one on, through its moment. {COST}")
    async def steps(self, info: Info, first: First = None, after: After = None) -> Connection[AccountStep]:
        """Tell the entries with what they changed."""
        page = read_page(first=first, after=after, kinds=(int,))
        replayed = await _replayed(info, self)
        async with info.context.app.pool.acquire() as db:
            rows = await read_steps(db, replayed, _after(page), page.limit)
        found = await _aside(info, replayed.history, partial(steps_of, replayed, rows))
        caller = info.context.caller
        return connect(
            found,
            page,
            node=lambda step: AccountStep(
                step=step,
                entry=told(step.row, caller),
                made_by=MadeBy.of(step.made_by),
                counts=step.counts,
                changed=[StateDifference.of(each) for each in step.changed],
            ),
            key=lambda step: (step.row.entry,),
        )


@strawberry.type(description="An entry that counts at one of two moments only.")
class DifferenceEntry:
    """An entry that counts at one of two moments only."""

    entry: AuditEntry = strawberry.field(description="The entry.")
    appears: bool = strawberry.field(description="True: it counts at the second moment; false: at the first one.")


@strawberry.type(description="What differs between two moments of an account, and which entries made the difference.")
class AccountDifference:
    """What differs between two moments."""

    history: strawberry.Private[History]
    entries_between: strawberry.Private[tuple[int, ...]]
    later: strawberry.Private[Replayed]
    differences: strawberry.Private[tuple[DomainDifference, ...]]
    before: AccountMoment = strawberry.field(description="The account at the first moment.")
    after: AccountMoment = strawberry.field(description="The account at the second moment.")

    @strawberry.field(description="Every value that differs; ten of them cost a point.")
    def changed(self, info: Info) -> list[StateDifference]:
        """List what differs."""
        info.context.pay(len(self.differences) // ENTRIES_OF_POINT)
        return [StateDifference.of(each) for each in self.differences]

    @strawberry.field(description="The entries that made the difference, in the order of the journal.")
    async def entries(self, info: Info, first: First = None, after: After = None) -> Connection[DifferenceEntry]:
        """List the entries that made the difference."""
        page = read_page(first=first, after=after, kinds=(int,))
        since = _after(page)
        numbers = [number for number in self.entries_between if number > since][: page.limit]
        async with info.context.app.pool.acquire() as db:
            rows = await told_entries(db, self.history, numbers)
        caller = info.context.caller

        def node(row: AuditRow) -> DifferenceEntry:
            return DifferenceEntry(entry=told(row, caller), appears=self.later.counts(row.entry))

        return connect(rows, page, node=node, key=lambda row: (row.entry,))


@strawberry.type(
    description=(
        "A movement in three books: posted (the views), replayed (the journal told anew), decided (closings decided again by the "
        "rules in force then). Null where a book does not have it."
    )
)
class LedgerReplayLine:
    """A movement in three books."""

    entry: int = strawberry.field(description="The entry that moved the money, or the closing that would have.")
    kind: terms.MovementKind = strawberry.field(description="What moved the money.")
    purpose: terms.Purpose = strawberry.field(description="Which balance it changes.")
    period: Period | None = strawberry.field(description="The period it concerns.")
    booked_on: date = strawberry.field(description="The day from which it counts.")
    posted: Money | None = strawberry.field(description="As the views have it.")
    replayed: Money | None = strawberry.field(description="As the journal says.")
    decided: Money | None = strawberry.field(description="As it would be decided again.")
    balance: Money | None = strawberry.field(description="The balance after it, as posted.")
    balance_replayed: Money | None = strawberry.field(description="The balance after it, as replayed.")
    difference: Money = strawberry.field(description="Posted less replayed: 0.00.")
    difference_decided: Money = strawberry.field(description="Posted less decided again: 0.00.")
    holds: bool = strawberry.field(description="The three books agree.")

    @classmethod
    def of(cls, line: BookLine) -> LedgerReplayLine:
        """Show a line."""
        return cls(
            entry=line.entry,
            kind=line.kind,
            purpose=line.purpose,
            period=line.period,
            booked_on=line.booked_on,
            posted=line.posted,
            replayed=line.replayed,
            decided=line.decided,
            balance=line.balance,
            balance_replayed=line.balance_replayed,
            difference=line.difference,
            difference_decided=line.difference_decided,
            holds=line.holds,
        )


@strawberry.type(description="A balance in the three books.")
class LedgerReplaySum:
    """A balance in the three books."""

    purpose: terms.Purpose = strawberry.field(description="Which balance.")
    posted: Money = strawberry.field(description="As the views have it.")
    replayed: Money = strawberry.field(description="As the journal says.")
    decided: Money = strawberry.field(description="As it would be decided again.")
    difference: Money = strawberry.field(description="Posted less replayed: 0.00.")
    difference_decided: Money = strawberry.field(description="Posted less decided again: 0.00.")

    @classmethod
    def of(cls, each: BookSum) -> LedgerReplaySum:
        """Show a sum."""
        return cls(
            purpose=each.purpose,
            posted=each.posted,
            replayed=each.replayed,
            decided=each.decided,
            difference=each.difference,
            difference_decided=each.difference_decided,
        )


@strawberry.type(description="The posted ledger of an account against its replay: a visible zero.")
class LedgerReplay:
    """The posted ledger against its replay."""

    books: strawberry.Private[BooksReplayed]
    account_number: str = strawberry.field(description="The account.")
    holds: bool = strawberry.field(description="The three books agree, line by line and in their sums.")
    entries: int = strawberry.field(description="Entries of its journal.")
    closings: int = strawberry.field(description="Closings that were decided again.")
    different: list[str] = strawberry.field(description="What comes out otherwise where a closing is decided again.")
    difference: Money = strawberry.field(description="Posted less replayed, of all balances together: 0.00.")
    difference_decided: Money = strawberry.field(description="Posted less decided again, of all balances: 0.00.")
    sums: list[LedgerReplaySum] = strawberry.field(description="The balances in the three books.")

    @strawberry.field(description="Every movement in the three books, in the order of the journal.")
    def lines(self, first: First = None, after: After = None) -> Connection[LedgerReplayLine]:
        """List movements."""
        page = read_page(first=first, after=after, kinds=(int,))
        since = _after(page)
        rows = list(enumerate(self.books.lines, 1))[since : since + page.limit]
        return connect(rows, page, node=lambda row: LedgerReplayLine.of(row[1]), key=lambda row: (row[0],))

    @classmethod
    def of(cls, books: BooksReplayed) -> LedgerReplay:
        """Show books."""
        return cls(
            books=books,
            account_number=books.account,
            holds=books.holds,
            entries=books.entries,
            closings=books.closings,
            different=list(books.different),
            difference=_sum([each.difference for each in books.sums]),
            difference_decided=_sum([each.difference_decided for each in books.sums]),
            sums=[LedgerReplaySum.of(each) for each in books.sums],
        )


@strawberry.type
class ReplayQuery:
    """What may be asked of a replay; no type of the schema."""

    @strawberry.field(
        description="What differs between any two moments of an account, in both times; null where there is no account."
    )
    async def account_difference(
        self,
        info: Info,
        number: Annotated[str, strawberry.argument(description=ACCOUNT)],
        from_: Annotated[MomentInput, strawberry.argument(name="from", description="The first moment.")],
        to: Annotated[MomentInput, strawberry.argument(description="The second moment.")],
    ) -> AccountDifference | None:
        """Compare an account at two moments."""
        now = info.context.app.intake.clock()
        first, second = (moment_asked(each.as_of, each.known_at, now) for each in (from_, to))
        if info.context.see(number) is None:
            return None
        history = await _history(info, number, folds=2)

        def compare() -> tuple[Replayed, Replayed, tuple[DomainDifference, ...]]:
            before, after = replay(history, first, now), replay(history, second, now)
            return before, after, tuple(differences_of_moments(before, after))

        before, after, changed = await _aside(info, history, compare)
        if not is_account(before) and not is_account(after):
            return None
        return AccountDifference(
            history=history,
            entries_between=changing_entries(before, after),
            later=after,
            before=AccountMoment.of(before),
            after=AccountMoment.of(after),
            differences=changed,
        )

    @strawberry.field(
        description=(
            "The posted ledger of an account against a fresh replay of its journal, and against its closings decided again by the "
            "rules in force then; null where there is no account."
        )
    )
    async def ledger_replay(
        self, info: Info, number: Annotated[str, strawberry.argument(description=ACCOUNT)]
    ) -> LedgerReplay | None:
        """Hold the posted ledger against its replay."""
        if info.context.see(number) is None:
            return None
        rulebook = await info.context.app.intake.rules()
        try:
            async with info.context.app.pool.acquire() as db:
                info.context.pay(FOLDS_OF_BOOKS * await count_entries(db, number) // ENTRIES_OF_POINT)
                hold = await read_books(db, number, rulebook)
        except ReplayError as error:
            raise BadUserInputError(str(error)) from None
        return LedgerReplay.of(await info.context.app.aside.do(hold)) if hold is not None else None


def moment_asked(as_of: date | None, known_at: datetime | None, now: datetime) -> Moment:
    """Read a moment.

    :raises BadUserInputError: nobody can know yet what will be known then.
    """
    if known_at is not None and known_at > now:
        raise BadUserInputError("`knownAt` has not come yet: leave it out to ask what is known now.")
    return Moment(as_of, known_at)


async def replay_asked(info: Info, number: str, as_of: date | None, known_at: datetime | None) -> Replayed | None:
    """Replay an account to a moment that was asked for; None where it was not open at it.

    :raises GraphQLError: the caller may not ask for it, or asks for what cannot be told as of a moment.
    """
    if not REPLAYERS & info.context.caller.rights:
        message = (
            "Only an auditor or an operator may ask for an account with `asOf` or `knownAt`; `balanceAsOf` is open."
        )
        raise GraphQLError(message, extensions={"code": "FORBIDDEN"})
    now = info.context.app.intake.clock()
    moment = moment_asked(as_of, known_at, now)
    for name in _names(info):
        if name not in ANSWERED:
            instead = INSTEAD.get(name)
            told_how = f"ask {instead}" if instead is not None else "ask the account without `asOf` and `knownAt`"
            raise BadUserInputError(f"`{name}` is told only as it is now, not as of a moment: {told_how}.")
    replayed = await _folded(info, number, moment)
    return replayed if is_account(replayed) else None


def is_account(replayed: Replayed) -> bool:
    """Say whether there was an account at the moment."""
    return replayed.account.situation in (Situation.OPEN, Situation.CLOSED)


def _names(info: Info) -> Iterator[str]:
    """Name the fields that are asked of the account itself, each fragment looked at once, whatever its condition."""
    raw = info._raw_info
    waiting = [node.selection_set for node in raw.field_nodes]
    visited: set[str] = set()
    while waiting:
        selections = waiting.pop()
        for selection in selections.selections if selections is not None else ():
            if isinstance(selection, FieldNode):
                yield selection.name.value
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in visited:
                visited.add(selection.name.value)
                waiting.append(raw.fragments[selection.name.value].selection_set)


async def _replayed(info: Info, shown_account: AccountReplay) -> Replayed:
    if shown_account.then is None:
        # Two fields of one account are asked for at once: one of them replays it.
        shown_account.replaying = shown_account.replaying or asyncio.Lock()
        async with shown_account.replaying:
            if shown_account.then is None:
                shown_account.then = await _folded(info, cast("Numbered", shown_account).number, Moment())
    return shown_account.then


async def _folded(info: Info, number: str, moment: Moment) -> Replayed:
    history = await _history(info, number)
    return await _aside(info, history, partial(replay, history, moment, info.context.app.intake.clock()))


async def _aside(info: Info, history: History, work: Callable[[], Done]) -> Done:
    """Do what takes as long as the history of an account is."""
    return work() if len(history.rows) <= ENTRIES_AT_ONCE else await info.context.app.aside.do(work)


async def _history(info: Info, number: str, folds: int = 1) -> History:
    """Read the entries of an account once so many replays of it are paid for."""
    try:
        async with info.context.app.pool.acquire() as db:
            info.context.pay(folds * await count_entries(db, number) // ENTRIES_OF_POINT)
            return await read_history(db, number)
    except ReplayError as error:
        raise BadUserInputError(str(error)) from None


def _after(page: Page) -> int:
    return max(int(str(page.after[0])), 0) if page.after is not None else 0


def _sum(sums: Sequence[Decimal]) -> Decimal:
    return sum(sums, Decimal("0.00"))
