"""The rules as the schema shows them: tariffs with the source and status of every rate, norms, settings, publications."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.api.context import Info
from bels.api.engine.scalars import Money
from bels.domain import rulebook as rules
from bels.domain import terms
from bels.domain.money_events import RulebookPublished as Published
from bels.domain.periods import period_at
from bels.domain.terms import Period
from bels.journal.entry import Entry
from bels.journal.journal import RULEBOOK, read_page
from bels.journal.write import Db
from bels.publishing import Effect
from bels.rulebooks.reading import RulebookFileError

ENTRIES_OF_PAGE = 10
"""Entries of the rulebook's stream that are read at once; each holds a whole book."""


@strawberry.type(description="The rate of a register in a range.")
class TariffRate:
    """The rate of a register in a range."""

    register: terms.Register = strawberry.field(description="The register.")
    range: int = strawberry.field(description="The range of consumption, from 1.")
    up_to_kwh: int | None = strawberry.field(description="Its upper bound, kWh a month; null in the last range.")
    rate: Decimal | None = strawberry.field(description="Roubles a kWh, with VAT; null where nobody knows it.")
    status: terms.RateStatus = strawberry.field(description="Where it comes from.")


@strawberry.type(
    description="A tariff: the rates of a group and a set of registers, from a day until the next row of the same two."
)
class Tariff:
    """A tariff."""

    version: str = strawberry.field(description="The name of the row, which charges name.")
    group: str = strawberry.field(description="Region and kind of dwelling, for example MO/urban_gas.")
    scheme: terms.Scheme = strawberry.field(description="Which registers it has rates for.")
    effective_on: date = strawberry.field(description="The first day.")
    source: str = strawberry.field(description="The act or publication it was taken from.")
    rates: list[TariffRate] = strawberry.field(description="The rates, register by register, range by range.")

    @classmethod
    def of(cls, row: rules.Tariff, book: rules.Rulebook, on: date) -> Tariff:
        """Show a row with the ranges of a day."""
        bounds = book.ranges_of(_month(on))
        return cls(
            version=row.version,
            group=row.group,
            scheme=row.scheme,
            effective_on=row.effective_on,
            source=row.source,
            rates=[
                TariffRate(
                    register=register,
                    range=i + 1,
                    up_to_kwh=bounds[i] if i < len(bounds) else None,
                    rate=rate,
                    status=row.status.get(register, terms.RateStatus.UNKNOWN)
                    if rate is not None
                    else terms.RateStatus.UNKNOWN,
                )
                for register, rates in row.rates.items()
                for i, rate in enumerate(rates)
            ],
        )


@strawberry.type(description="The bounds of the ranges of consumption, from a day on.")
class Ranges:
    """The bounds of the ranges."""

    effective_on: date = strawberry.field(description="The first day.")
    up_to_kwh: list[int] = strawberry.field(description="Upper bounds but the last, kWh a month; none: all is range 1.")


@strawberry.type(description="The norms of consumption, from a day on: kWh a person and month.")
class Norms:
    """The norms of consumption."""

    effective_on: date = strawberry.field(description="The first day.")
    source: str = strawberry.field(description="The act they were taken from.")
    gas: list[list[int]] = strawberry.field(
        description="Gas stove: rows for 1 to 4 rooms, columns for 1 to 5 residents."
    )
    electric: list[list[int]] = strawberry.field(description="Electric stove: the same.")


@strawberry.type(
    description="The settings of the rules, from a day on; the value on the 1st of a period rules the period."
)
class RuleSettings:
    """The settings of the rules."""

    effective_on: date = strawberry.field(description="The first day.")
    settlement: terms.Settlement = strawberry.field(
        description="How a reading after missed periods puts estimates right."
    )
    reading_deadline_day: int = strawberry.field(
        description="The last day of the month on which a reading still counts for it."
    )
    max_average_periods: int = strawberry.field(description="Missed periods in a row that go by the average.")
    average_min_periods: int = strawberry.field(description="Months of history that an average needs.")
    average_window_periods: int = strawberry.field(description="Months back that an average looks.")
    rollover_top_percent: int = strawberry.field(
        description="The top of a register in which going down is a rollover, percent."
    )
    plausible_kw: int = strawberry.field(description="The power a household can draw day and night, kW.")
    plausible_average_factor: int = strawberry.field(description="So many averages are plausible.")
    plausible_floor_kwh: int = strawberry.field(description="So many kWh are always plausible.")
    implausible_confirmed_by: terms.Role = strawberry.field(description="Who may confirm what is implausible.")
    inspection_after_missed: int = strawberry.field(description="Missed periods in a row after which a check is due.")
    interference_norms: int = strawberry.field(description="Norms that a month of interference is billed by.")
    interference_periods_max: int = strawberry.field(description="Months of interference that may be billed.")


@strawberry.type(description="The key rate of the Bank of Russia, from a day on.")
class KeyRate:
    """The key rate."""

    effective_on: date = strawberry.field(description="The first day.")
    percent: Decimal = strawberry.field(description="Percent a year.")
    source: str = strawberry.field(description="Where it was published.")


@strawberry.type(description="From this overdue day on, one divisor-th of the rate a day.")
class PenaltyStep:
    """A step of the penalties."""

    from_day: int = strawberry.field(description="The overdue day, from 1.")
    divisor: int = strawberry.field(description="300 or 130.")


@strawberry.type(description="How penalties accrue, from a day on.")
class PenaltyTerms:
    """How penalties accrue."""

    effective_on: date = strawberry.field(description="The first day.")
    steps: list[PenaltyStep] = strawberry.field(description="By overdue day.")
    cap_percent: Decimal | None = strawberry.field(description="The cap of the rate, percent a year; null without one.")
    source: str = strawberry.field(description="The act.")


@strawberry.type(description="A moratorium: no penalties for these days.")
class Moratorium:
    """A moratorium."""

    since: date = strawberry.field(description="The first day.")
    until: date = strawberry.field(description="The day after the last.")
    source: str = strawberry.field(description="The act.")


@strawberry.type(description="The day of the month after the period by which a bill is to be paid, from a day on.")
class DueDay:
    """The day by which a bill is to be paid."""

    effective_on: date = strawberry.field(description="The first day.")
    day: int = strawberry.field(description="The day of the month; a day off moves it to the next working day.")


@strawberry.type(description="The rules in force, public: everything that bels decides by.")
class Rulebook:
    """The rules in force."""

    number: int = strawberry.field(description="The publication, counted from 1; 0 where none was published.")
    name: str = strawberry.field(description="The name of the book.")
    version: str = strawberry.field(description="What decisions name, for example moscow-region/3.")
    region: str = strawberry.field(description="The region whose tariff groups it prefers, for example MO.")
    published_at: datetime | None = strawberry.field(description="When it was published.")
    source: str | None = strawberry.field(description="The file or sender it came from.")
    ranges: list[Ranges] = strawberry.field(description="The bounds of the ranges, oldest first.")
    norms: list[Norms] = strawberry.field(description="The norms, oldest first.")
    settings: list[RuleSettings] = strawberry.field(description="The settings, oldest first.")
    key_rates: list[KeyRate] = strawberry.field(description="The key rates, oldest first.")
    penalty_terms: list[PenaltyTerms] = strawberry.field(description="How penalties accrue, oldest first.")
    moratoria: list[Moratorium] = strawberry.field(description="The moratoria, oldest first.")
    due_days: list[DueDay] = strawberry.field(description="By when bills are to be paid, oldest first.")
    book: strawberry.Private[rules.Rulebook]

    @strawberry.field(description="The tariffs, oldest first: all of them, or only some.")
    def tariffs(
        self,
        group: Annotated[
            str | None, strawberry.argument(description="Only this group, for example MO/urban_gas.")
        ] = None,
        scheme: Annotated[terms.Scheme | None, strawberry.argument(description="Only this set of registers.")] = None,
        on: Annotated[
            date | None,
            strawberry.argument(description="Only what is in force on this day: one of each group and set."),
        ] = None,
    ) -> list[Tariff]:
        """List tariffs."""
        found = [
            row
            for row in self.book.tariffs
            if (group is None or row.group == group) and (scheme is None or row.scheme is scheme)
        ]
        if on is not None:
            found = list(in_force(found, on))
        return [Tariff.of(row, self.book, on or row.effective_on) for row in found]

    @classmethod
    def of(cls, book: rules.Rulebook, published: Published | None) -> Rulebook:
        """Show a book, and when and from where it was published."""
        return cls(
            number=book.number,
            name=book.name,
            version=book.version,
            region=book.region,
            published_at=published.published_at if published is not None else None,
            source=published.source if published is not None else None,
            ranges=[Ranges(effective_on=day, up_to_kwh=list(bounds)) for day, bounds in book.ranges],
            norms=[
                Norms(
                    effective_on=day,
                    source=norms.source,
                    gas=[list(row) for row in norms.gas],
                    electric=[list(row) for row in norms.electric],
                )
                for day, norms in book.norms
            ],
            settings=[RuleSettings(effective_on=day, **asdict(s)) for day, s in book.settings],
            key_rates=[KeyRate(effective_on=day, percent=r.percent, source=r.source) for day, r in book.key_rates],
            penalty_terms=[
                PenaltyTerms(
                    effective_on=day,
                    steps=[PenaltyStep(from_day=step.from_day, divisor=step.divisor) for step in given.steps],
                    cap_percent=given.cap_percent,
                    source=given.source,
                )
                for day, given in book.penalties
            ],
            moratoria=[Moratorium(since=m.since, until=m.until, source=m.source) for m in book.moratoria],
            due_days=[DueDay(effective_on=day, day=due) for day, due in book.due_days],
            book=book,
        )


@strawberry.type(description="A publication of the rules.")
class RulebookPublication:
    """A publication of the rules."""

    number: int = strawberry.field(description="Its number, from 1.")
    version: str = strawberry.field(description="What decisions made under it name.")
    published_at: datetime = strawberry.field(description="When it was published.")
    source: str = strawberry.field(description="The file or sender it came from.")
    actor: str = strawberry.field(description="Who published it, without personal data.")
    receipt: str = strawberry.field(description="The receipt of the message.")
    since: Period | None = strawberry.field(description="The first period whose price changed; null where none did.")
    retroactive: str | None = strawberry.field(description="The reason to change a past that had been charged.")

    @classmethod
    def of(cls, entry: Entry) -> RulebookPublication:
        """Show an entry that published rules."""
        event = entry.event
        if not isinstance(event, Published):
            raise TypeError(type(event).__name__)
        return cls(
            number=event.book.number,
            version=event.book.version,
            published_at=event.published_at,
            source=event.source,
            actor=entry.actor,
            receipt=entry.receipt,
            since=event.since,
            retroactive=event.retroactive,
        )


@strawberry.type(description="What is wrong in a file of rules, and where.")
class RulebookFault:
    """What is wrong in a file of rules."""

    line: int = strawberry.field(description="The line, from 1; 0 where a row in force does not go with the file.")
    where: str = strawberry.field(description="The table, row and key.")
    reason: str = strawberry.field(description="What is wrong, and how to do it right.")


@strawberry.type(description="A file that cannot be read as rules; everything that is to be put right.")
class RulebookFaulty:
    """A file that cannot be read as rules."""

    faults: list[RulebookFault] = strawberry.field(description="The faults in order of lines, at most 50.")
    more: int = strawberry.field(description="How many faults there are beyond those.")

    @classmethod
    def of(cls, error: RulebookFileError) -> RulebookFaulty:
        """Show the faults of a file."""
        faults = [RulebookFault(line=f.line, where=f.where, reason=f.reason) for f in error.faults]
        return cls(faults=faults, more=error.more)


@strawberry.type(description="What a publication would change for an account.")
class AccountEffect:
    """What a publication would change for an account."""

    account_number: str = strawberry.field(description="The account.")
    difference: Money = strawberry.field(description="What its next bill would be put right by.")


@strawberry.type(description="What publishing a file would change of what has been charged; nothing is stored.")
class RulebookEffect:
    """What publishing a file would change."""

    refusal: terms.Reason | None = strawberry.field(description="Why it would not be published as it is.")
    detail: str | None = strawberry.field(description="What exactly is in the way.")
    since: Period | None = strawberry.field(description="The first period whose price would change.")
    row: str | None = strawberry.field(description="What would change in it.")
    charged_through: Period | None = strawberry.field(description="The last period that any account was charged for.")
    retroactive: bool = strawberry.field(description="A past that has been charged would change: a reason is needed.")
    looked_at: int = strawberry.field(description="Accounts that were looked at.")
    complete: bool = strawberry.field(description="All accounts were looked at; else go on with `bels rulebook`.")
    accounts: int = strawberry.field(description="Accounts whose bills would be put right.")
    lines: int = strawberry.field(description="Recalculations that would be posted.")
    difference: Money = strawberry.field(description="What they come to.")
    unpriced: int = strawberry.field(description="Accounts where a rate would be missing.")
    examples: list[AccountEffect] = strawberry.field(description="The first accounts, at most 20.")

    @classmethod
    def of(
        cls, effect: Effect, looked_at: int, complete: bool, refusal: terms.Reason | None, detail: str | None
    ) -> RulebookEffect:
        """Show what was counted."""
        return cls(
            refusal=refusal,
            detail=detail,
            since=effect.since,
            row=effect.row,
            charged_through=effect.charged_through,
            retroactive=effect.is_retroactive,
            looked_at=looked_at,
            complete=complete,
            accounts=effect.accounts,
            lines=effect.lines,
            difference=effect.difference,
            unpriced=effect.unpriced,
            examples=[AccountEffect(account_number=number, difference=sum_) for number, sum_ in effect.examples],
        )


PreviewRulebookResult = Annotated[
    RulebookEffect | RulebookFaulty,
    strawberry.union("PreviewRulebookResult", description="What publishing a file would change."),
]


def in_force(rows: Iterable[rules.Tariff], on: date) -> Iterable[rules.Tariff]:
    """Give the tariffs in force on a day, one of each group and scheme."""
    last: dict[tuple[str, terms.Scheme], rules.Tariff] = {}
    for row in sorted(rows, key=lambda row: row.effective_on):
        if row.effective_on <= on:
            last[row.group, row.scheme] = row
    return last.values()


def _month(on: date) -> Period:
    return period_at(on.year * 12 + on.month - 1)


async def publications(db: Db, after: int, before: int | None, limit: int, backward: bool) -> list[Entry]:
    """List a page of the publications in the rulebook's stream; what was refused stands between them."""
    found: list[Entry] = []
    while len(found) < limit:
        entries = await read_page(db, RULEBOOK, after, before, min(ENTRIES_OF_PAGE, limit), backward)
        if not entries:
            break
        found += [entry for entry in entries if isinstance(entry.event, Published)]
        if backward:
            before = entries[-1].version
        else:
            after = entries[-1].version
    return found[:limit]


async def find_rulebook(info: Info) -> Rulebook:
    """Find the rules in force, and when and from where they were published."""
    book = await info.context.app.intake.rules()
    async with info.context.app.pool.acquire() as db:
        last = await publications(db, 0, None, 1, True)
    event = last[0].event if last else None
    return Rulebook.of(book, event if isinstance(event, Published) else None)
