"""The audit trail over all accounts, and what is unusual in it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import strawberry

from bels.api.context import Info
from bels.api.engine.paging import Connection, Edge, PageInfo, connect, encode_cursor, encode_id, read_page
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.enums import describe
from bels.api.objects import After, AuditEntry, Before, First, Last, told
from bels.audit.trail.finding import KINDS, Found, TooWideError, find
from bels.audit.trail.finding import TrailFilter as Wanted
from bels.audit.trail.patterns import ABOUT, ThresholdError, UnusualPattern, thresholds_of
from bels.audit.trail.telling import catch_up
from bels.audit.trail.unusual import DAYS_MAX, Unusual, unusual
from bels.domain import terms
from bels.domain.terms import Period

DAYS = 31
"""How far back is looked where nobody says since when."""
WORDS_MAX = 50
"""Kinds or channels of one filter."""

Pattern = strawberry.enum(UnusualPattern, name="UnusualPattern", description="What is unusual enough to be looked at.")

describe(
    {
        UnusualPattern.MANY_CORRECTIONS_BY_ONE_OPERATOR: "Many corrections by one operator.",
        UnusualPattern.REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR: "Many reversals and refunds by one operator.",
        UnusualPattern.READINGS_EQUAL_TO_AVERAGE: "A household whose readings always give exactly the average.",
        UnusualPattern.HELD_THEN_CONFIRMED: "Held, then confirmed by the same operator in minutes, or in spite of its size.",
        UnusualPattern.LATE_CHANGES_AFTER_SEALING: "Recorded later about a period that was closed and sealed.",
        UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT: "Payments of others moved to one account.",
        UnusualPattern.ONE_SENDER_FOR_MANY_ACCOUNTS: "One phone, chat or address sends for many accounts.",
        UnusualPattern.ROUND_READINGS_BY_ONE_INSPECTOR: "Control readings of one inspector that end in a zero.",
        UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS: "Entries of the office at night or on a weekend.",
    }
)


@strawberry.input(description="Which entries are searched for: all that is given must hold.")
class TrailFilter:
    """Which entries are searched for."""

    kinds: list[str] | None = strawberry.field(
        default=None, description="Names of events, for example PaymentReversed; Unreadable: what cannot be read."
    )
    channels: list[terms.Channel] | None = strawberry.field(default=None, description="How they came.")
    actor: str | None = strawberry.field(default=None, description="Who spoke, as entries name it.")
    rule: str | None = strawberry.field(default=None, description="The act and point, for example PP354:62.")
    period: Period | None = strawberry.field(default=None, description="The billing period they are about.")
    amount_min: Money | None = strawberry.field(default=None, description="Roubles from this sum on.")
    amount_max: Money | None = strawberry.field(default=None, description="Roubles up to this sum.")
    since: datetime | None = strawberry.field(default=None, description="Recorded from this moment on.")
    until: datetime | None = strawberry.field(default=None, description="Recorded before this moment.")
    account: str | None = strawberry.field(default=None, description="Of this account: seven digits.")
    receipt: str | None = strawberry.field(default=None, description="Of the message with this receipt.")


@strawberry.type(description="An entry of the trail, with its place and by what it was found.")
class TrailEdge:
    """An entry of the trail."""

    node: AuditEntry | None = strawberry.field(
        description="The entry in words; null where the journal has lost it or it cannot be read: verify the account."
    )
    cursor: str = strawberry.field(description="The place of the entry, opaque; for `after` and `before`.")
    account_number: str = strawberry.field(description="Whose entry it is.")
    entry: int = strawberry.field(description="Its number in the account's journal.")
    kind: str = strawberry.field(description="The name of the event; Unreadable where it cannot be read.")
    period: Period | None = strawberry.field(description="The billing period it is about.")
    amount: Money | None = strawberry.field(description="Its sum, where it has one.")
    kwh: int | None = strawberry.field(description="Its kWh, where it has any.")


@strawberry.type(description="A page of the trail, in the order in which entries were recorded.")
class TrailConnection:
    """A page of the trail."""

    edges: list[TrailEdge] = strawberry.field(description="The entries of this page, in order.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")
    up_to: datetime | None = strawberry.field(
        description="Nothing appended before this moment is missing; null while the trail is told for the first time."
    )
    behind: int = strawberry.field(description="At most so many entries appended since are missing.")


@strawberry.input(description="From where on something is unusual, in place of a pattern's defaults.")
class UnusualThresholds:
    """From where on something is unusual."""

    count: int | None = strawberry.field(default=None, description="So many entries, payments or accounts.")
    minutes: int | None = strawberry.field(default=None, description="Minutes between two entries, at most.")
    kwh: int | None = strawberry.field(default=None, description="From so many kWh on.")
    roubles: int | None = strawberry.field(default=None, description="From so many roubles on.")
    days: int | None = strawberry.field(default=None, description="Days between what happened and its entry, at least.")
    percent: int | None = strawberry.field(default=None, description="Percent of all, at least.")
    from_hour: int | None = strawberry.field(default=None, description="When the office opens, in Moscow.")
    until_hour: int | None = strawberry.field(default=None, description="When the office closes, in Moscow.")


@strawberry.type(description="An entry that a find rests on.")
class UnusualEntry:
    """An entry that a find rests on."""

    id: strawberry.ID = strawberry.field(description="Its id, for `node`.")
    account_number: str = strawberry.field(description="Whose entry it is.")
    entry: int = strawberry.field(description="Its number in the account's journal.")


@strawberry.type(
    description="Something unusual: who, how often, how much, and which entries to read. It accuses nobody."
)
class UnusualFind:
    """Something unusual."""

    pattern: UnusualPattern = strawberry.field(description="What was searched for.")
    text: str = strawberry.field(description="The find in Russian words.")
    actor: str | None = strawberry.field(description="Who spoke; null where it were several.")
    count: int = strawberry.field(description="How many entries.")
    kwh: int | None = strawberry.field(description="The kWh of all of them.")
    amount: Money | None = strawberry.field(description="The roubles of all of them.")
    since: datetime = strawberry.field(description="When the first was recorded.")
    until: datetime = strawberry.field(description="When the last was recorded.")
    account_count: int = strawberry.field(description="How many accounts.")
    accounts: list[str] = strawberry.field(description="The first of these accounts.")
    entries: list[UnusualEntry] = strawberry.field(description="The first of these entries.")

    @classmethod
    def of(cls, pattern: UnusualPattern, found: Unusual) -> UnusualFind:
        """Show a find."""
        return cls(
            pattern=pattern,
            text=_words(found),
            actor=found.actor,
            count=found.count,
            kwh=found.kwh,
            amount=found.amount,
            since=found.since,
            until=found.until,
            account_count=found.account_count,
            accounts=list(found.accounts),
            entries=[
                UnusualEntry(id=encode_id("AuditEntry", f"{account}/{entry}"), account_number=account, entry=entry)
                for account, entry in found.entries
            ],
        )


@strawberry.type(description="A threshold of a pattern.")
class UnusualThreshold:
    """A threshold of a pattern."""

    name: str = strawberry.field(description="Its name among the thresholds.")
    value: int = strawberry.field(description="Its default.")


@strawberry.type(description="A pattern that can be searched for.")
class UnusualPatternAbout:
    """A pattern that can be searched for."""

    pattern: UnusualPattern = strawberry.field(description="Its name.")
    means: str = strawberry.field(description="What it means, in Russian.")
    innocent: str = strawberry.field(description="Why it may be innocent, in Russian.")
    thresholds: list[UnusualThreshold] = strawberry.field(description="What it reads, with the defaults.")


@strawberry.type
class TrailQuery:
    """What may be asked of it; no type of the schema."""

    @strawberry.field(description="The audit trail over all accounts, oldest first; long ones are exported as a file.")
    async def trail(
        self,
        info: Info,
        filter: Annotated[TrailFilter | None, strawberry.argument(description="Which entries.")] = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> TrailConnection:
        """Search the trail."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(datetime, int))
        wanted, pool = _wanted(filter), info.context.app.pool
        try:
            async with info.context.app.searches:
                far = await catch_up(pool)
                async with pool.acquire() as db:
                    found = await find(
                        db,
                        wanted,
                        page.after,  # type: ignore[arg-type]  # the cursor's kinds say so
                        page.before,  # type: ignore[arg-type]
                        page.limit,
                        page.backwards,
                    )
        except TooWideError as error:
            raise BadUserInputError(f"{str(error).capitalize()}.") from None
        shown = connect(found, page, node=lambda each: each, key=lambda each: each.place)
        info.context.saw(edge.node.row.account for edge in shown.edges)
        return TrailConnection(
            edges=[_edge(info, edge) for edge in shown.edges],
            page_info=shown.page_info,
            up_to=far.whole_at,
            behind=far.behind,
        )

    @strawberry.field(
        description=f"What is unusual in entries of at most {DAYS_MAX} days, the most first; a find accuses nobody. "
        "A page may have no edges and a next page: so far was looked."
    )
    async def unusual(
        self,
        info: Info,
        pattern: Annotated[UnusualPattern, strawberry.argument(description="What is searched for.")],
        since: Annotated[datetime | None, strawberry.argument(description=f"Default: {DAYS} days ago.")] = None,
        until: Annotated[datetime | None, strawberry.argument(description="Default: now.")] = None,
        thresholds: Annotated[
            UnusualThresholds | None, strawberry.argument(description="In place of the pattern's defaults.")
        ] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[UnusualFind]:
        """Search for what is unusual."""
        page = read_page(first=first, after=after, kinds=(int, str))
        given = {name: value for name, value in asdict(thresholds).items() if value is not None} if thresholds else {}
        try:
            limits = thresholds_of(pattern, given)
        except ThresholdError as error:
            raise BadUserInputError(f"{error}.") from None
        end = until or info.context.app.intake.clock()
        start = since or end - timedelta(days=DAYS)
        if not start < end <= start + timedelta(days=DAYS_MAX):
            raise BadUserInputError(f"`since` must be before `until`, by at most {DAYS_MAX} days.")
        pool = info.context.app.pool
        try:
            async with info.context.app.searches:
                await catch_up(pool)
                found = await unusual(pool, pattern, start, end, limits, page.after, page.size)  # type: ignore[arg-type]
        except TooWideError as error:
            raise BadUserInputError(f"{str(error).capitalize()}.") from None
        info.context.saw(account for each in found.rows for account in each.accounts)
        # Its first entries may be of other accounts than the first of its accounts.
        info.context.saw(account for each in found.rows for account, _ in each.entries)
        edges = [
            Edge(node=UnusualFind.of(pattern, each), cursor=encode_cursor((each.count, each.key)))
            for each in found.rows
        ]
        ends = encode_cursor(found.resume) if found.resume is not None else edges[-1].cursor if edges else None
        return Connection(
            edges=edges,
            page_info=PageInfo(
                has_next_page=found.resume is not None,
                has_previous_page=page.after is not None,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=ends,
            ),
        )

    @strawberry.field(description="What can be searched for as unusual, what it means, and why it may be innocent.")
    def unusual_patterns(self) -> list[UnusualPatternAbout]:
        """List patterns."""
        return [
            UnusualPatternAbout(
                pattern=pattern,
                means=about.means,
                innocent=about.innocent,
                thresholds=[
                    UnusualThreshold(name=name, value=value)
                    for name, value in asdict(about.defaults).items()
                    if name in about.reads
                ],
            )
            for pattern, about in ABOUT.items()
        ]


def _wanted(given: TrailFilter | None) -> Wanted:
    if given is None:
        return Wanted()
    kinds, channels = tuple(given.kinds or ()), tuple(given.channels or ())
    if len(kinds) > WORDS_MAX or len(channels) > WORDS_MAX:
        raise BadUserInputError(f"`kinds` and `channels` may have {WORDS_MAX} each.")
    strange = next((kind for kind in kinds if kind not in KINDS), None)
    if strange is not None:
        raise BadUserInputError(f"There is no kind {strange[:60]!r}; an entry's `kind` names one.")
    return Wanted(
        kinds=kinds,
        channels=channels,
        actor=given.actor,
        rule=given.rule,
        period=given.period,
        amount_min=given.amount_min,
        amount_max=given.amount_max,
        since=given.since,
        until=given.until,
        account=given.account,
        receipt=given.receipt.upper() if given.receipt is not None else None,
    )


def _edge(info: Info, edge: Edge[Found]) -> TrailEdge:
    row, entry = edge.node.row, edge.node.told
    return TrailEdge(
        node=told(entry, info.context.caller) if entry is not None else None,
        cursor=edge.cursor,
        account_number=row.account,
        entry=row.entry,
        kind=row.kind,
        period=Period(row.period) if row.period is not None else None,
        amount=row.amount,
        kwh=row.kwh,
    )


def _words(found: Unusual) -> str:
    parts = [f"записей: {found.count}", f"лицевых счетов: {found.account_count}"]
    if found.kwh is not None:
        parts.append(f"кВт·ч: {found.kwh}")
    if found.amount is not None:
        parts.append(f"рублей: {found.amount:.2f}".replace(".", ","))
    return f"{found.actor or 'Разные лица'}: {'; '.join(parts)}."
