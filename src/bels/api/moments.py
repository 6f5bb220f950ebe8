"""What an account was at a moment, as the schema shows it."""

from __future__ import annotations

from datetime import date, datetime

import strawberry

from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.enums import describe
from bels.api.objects import After, First, RegisterKwh, RegisterValue, kwh, shown
from bels.audit.replaying import account_moment as moments_of
from bels.audit.replaying.account_moment import MeterMoment as DomainMeter
from bels.audit.replaying.account_moment import PeriodMoment as DomainPeriod
from bels.audit.replaying.account_moment import ReadingMoment as DomainReading
from bels.audit.replaying.moments import Replayed, rulebook_known
from bels.domain import account as accounts
from bels.domain import terms
from bels.domain.terms import Period

AccountSituation = strawberry.enum(
    accounts.Situation, name="AccountSituation", description="Where an account stands in its life."
)
describe(
    {
        accounts.Situation.UNKNOWN: "Not opened yet.",
        accounts.Situation.OPEN: "Open.",
        accounts.Situation.CLOSED: "Closed.",
        accounts.Situation.SUSPENSE: "No account: a payment that waits to be allocated.",
        accounts.Situation.RULEBOOK: "No account: the stream of the rules.",
    }
)


@strawberry.type(description="Who lived there on the day.")
class ResidentsMoment:
    """Who lived there on the day."""

    permanent: int = strawberry.field(description="Permanently registered.")
    temporary: int = strawberry.field(description="Temporarily registered.")
    absent: int = strawberry.field(description="Away; the days of leaving and of return do not count.")
    owners: int = strawberry.field(description="Owners.")


@strawberry.type(description="Temporary residents or an absence that the day falls into.")
class StayMoment:
    """Temporary residents or an absence."""

    persons: int = strawberry.field(description="How many.")
    since: date = strawberry.field(description="Since when; of an absence the day of leaving.")
    until: date = strawberry.field(description="Until when, exclusive; of an absence the day of return.")


@strawberry.type(description="A reading as it stood at the moment.")
class ReadingMoment:
    """A reading as it stood."""

    entry: int = strawberry.field(description="The entry that brought it.")
    meter: int = strawberry.field(description="The entry that brought its meter.")
    kind: terms.ReadingKind = strawberry.field(description="What kind of reading it is.")
    at: datetime = strawberry.field(description="When it was received; a control reading, when it was taken.")
    period: Period = strawberry.field(description="The period it belongs to.")
    values: list[RegisterValue] = strawberry.field(description="What the registers showed.")
    carried: bool = strawberry.field(description="Brought from an earlier system, which billed it.")

    @classmethod
    def of(cls, reading: DomainReading) -> ReadingMoment:
        """Show a reading."""
        return cls(
            entry=reading.entry,
            meter=reading.meter,
            kind=reading.kind,
            at=reading.at,
            period=reading.period,
            values=shown(reading.values),
            carried=reading.carried,
        )


@strawberry.type(description="A meter as it stood at the moment, with its last reading that counts.")
class MeterMoment:
    """A meter as it stood."""

    entry: int = strawberry.field(description="The entry that brought it.")
    number: str = strawberry.field(description="The number on its face.")
    capacity: int = strawberry.field(description="Integer digits of a register.")
    registers: list[terms.Register] = strawberry.field(description="Its registers.")
    installed_at: datetime = strawberry.field(description="When it was put into service.")
    removed_at: datetime | None = strawberry.field(description="When it was taken out.")
    failed_at: datetime | None = strawberry.field(description="When it failed.")
    last_reading: ReadingMoment | None = strawberry.field(description="Its last reading that counts.")

    @classmethod
    def of(cls, meter: DomainMeter) -> MeterMoment:
        """Show a meter."""
        return cls(
            entry=meter.entry,
            number=meter.model.number,
            capacity=meter.model.capacity,
            registers=list(meter.model.registers),
            installed_at=meter.installed_at,
            removed_at=meter.removed_at,
            failed_at=meter.failed_at,
            last_reading=ReadingMoment.of(meter.last_reading) if meter.last_reading is not None else None,
        )


@strawberry.type(description="What stood billed for a closed period at the moment.")
class PeriodMoment:
    """What stood billed for a closed period."""

    period: Period = strawberry.field(description="The period.")
    mode: terms.Mode = strawberry.field(description="How it was billed.")
    usage: list[RegisterKwh] = strawberry.field(description="kWh billed at its closing.")
    stands: list[RegisterKwh] = strawberry.field(description="kWh that stood billed after recalculations.")
    money: Money | None = strawberry.field(description="Roubles that stood charged; null where no money was told.")
    estimated: bool = strawberry.field(description="Closed without a reading.")
    final: bool = strawberry.field(description="No reading changes it any more.")

    @classmethod
    def of(cls, closed: DomainPeriod) -> PeriodMoment:
        """Show a period."""
        return cls(
            period=closed.period,
            mode=closed.mode,
            usage=kwh(closed.usage),
            stands=kwh(closed.stands),
            money=closed.money,
            estimated=closed.estimated,
            final=closed.final,
        )


@strawberry.type(description="A bill that was not paid whole.")
class OwedMoment:
    """A bill that was not paid whole."""

    entry: int = strawberry.field(description="The entry of its closing.")
    period: Period = strawberry.field(description="Its period.")
    due_on: date = strawberry.field(description="The day by which it is to be paid.")
    amount: Money = strawberry.field(description="The bill.")
    open: Money = strawberry.field(description="What was left to pay of it.")


@strawberry.type(description="What the account owed at the moment. Penalties are apart.")
class BalanceMoment:
    """What the account owed."""

    balance: Money = strawberry.field(description="Electricity: positive is owed, negative an advance.")
    overdue: Money = strawberry.field(description="What should have been paid before the day.")
    penalty: Money = strawberry.field(description="Penalties posted and not paid.")
    owed: list[OwedMoment] = strawberry.field(description="The bills that were not paid whole, oldest first.")


@strawberry.type(description="A sender that could speak for the account, without its address.")
class LinkMoment:
    """A sender that could speak for the account."""

    channel: terms.Channel = strawberry.field(description="The channel.")
    sender: str = strawberry.field(description="A keyed digest of the phone, chat or e-mail.")


@strawberry.type(description="The rules that were the last ones published, as far as was known.")
class RulebookMoment:
    """The rules that were the last ones published."""

    version: str = strawberry.field(description="Their version.")
    number: int = strawberry.field(description="The publication, counted from 1.")
    published_at: datetime = strawberry.field(description="When they were published.")


@strawberry.type(
    description="An account at the end of a day, as bels knew it at a moment: folded anew from its entries."
)
class AccountMoment:
    """An account at a moment."""

    replayed: strawberry.Private[Replayed]
    as_of: date | None = strawberry.field(description="The day that was asked for; null: all that was known.")
    known_at: datetime | None = strawberry.field(description="The moment of knowledge that was asked for; null is now.")
    day: date = strawberry.field(description="The day at whose end it is looked at.")
    entries_known: int = strawberry.field(description="Entries that were known.")
    entries_set_aside: int = strawberry.field(description="Those of them that were not true yet on the day.")
    last_entry: int | None = strawberry.field(description="The last entry that counts.")
    last_recorded_at: datetime | None = strawberry.field(description="When that was recorded.")
    situation: accounts.Situation = strawberry.field(description="Where it stood in its life.")
    opened_at: datetime | None = strawberry.field(description="When it was opened.")
    closed_at: datetime | None = strawberry.field(description="When it was closed.")
    next_period: Period | None = strawberry.field(description="The period that was to close next.")
    last_period: Period | None = strawberry.field(description="The last period of a closed account.")
    locality: terms.Locality = strawberry.field(description="Town or village.")
    stove: terms.Stove = strawberry.field(description="The kind of stove.")
    rooms: int = strawberry.field(description="Rooms.")
    mode: terms.Mode | None = strawberry.field(description="How the last closed period was billed.")
    mode_since: Period | None = strawberry.field(description="The period from which that held.")
    missed_in_a_row: int = strawberry.field(description="Periods without a reading, in a row.")
    inspection_due: date | None = strawberry.field(description="By when a check was due.")

    @classmethod
    def of(cls, replayed: Replayed) -> AccountMoment:
        """Show a replayed account."""
        account = replayed.account
        return cls(
            replayed=replayed,
            as_of=replayed.moment.as_of,
            known_at=replayed.moment.known_at,
            day=replayed.day,
            entries_known=replayed.known,
            entries_set_aside=len(replayed.aside),
            last_entry=replayed.last or None,
            last_recorded_at=replayed.last_recorded_at,
            situation=account.situation,
            opened_at=account.opened_at,
            closed_at=account.closed_at,
            next_period=account.next_period or None,
            last_period=account.last_period,
            locality=account.locality,
            stove=account.stove,
            rooms=account.rooms,
            mode=account.mode,
            mode_since=account.mode_since,
            missed_in_a_row=account.missed_in_a_row,
            inspection_due=account.inspection_due,
        )

    @strawberry.field(description="Who lived there on the day.")
    def residents(self) -> ResidentsMoment:
        """Count who lived there."""
        on = moments_of.residents_on(self.replayed.account, self.replayed.day)
        return ResidentsMoment(permanent=on.permanent, temporary=on.temporary, absent=on.absent, owners=on.owners)

    @strawberry.field(description="Temporary residents of the day.")
    def stays(self) -> list[StayMoment]:
        """List temporary residents."""
        found = moments_of.stays_on(self.replayed.account, self.replayed.day)
        return [StayMoment(persons=each.persons, since=each.since, until=each.until) for each in found]

    @strawberry.field(description="Absences that the day falls into.")
    def absences(self) -> list[StayMoment]:
        """List absences."""
        found = moments_of.absences_on(self.replayed.account, self.replayed.day)
        return [StayMoment(persons=each.persons, since=each.left_on, until=each.returned_on) for each in found]

    @strawberry.field(description="All meters, also those taken out, each with its last reading that counts.")
    def meters(self) -> list[MeterMoment]:
        """List meters."""
        return [MeterMoment.of(meter) for meter in moments_of.meters_of(self.replayed.account)]

    @strawberry.field(description="The readings that count, in order of time.")
    def readings(self, first: First = None, after: After = None) -> Connection[ReadingMoment]:
        """List readings."""
        page = read_page(first=first, after=after, kinds=(int,))
        counted = moments_of.readings_of(self.replayed.account)
        begin = 0
        if page.after is not None:
            begin = next((i for i, row in enumerate(counted, 1) if row.entry == page.after[0]), 0)
            if not begin:
                raise BadUserInputError("This is not a cursor of this connection at this moment.")
        rows = counted[begin : begin + page.limit]
        return connect(rows, page, node=ReadingMoment.of, key=lambda row: (row.entry,))

    @strawberry.field(description="Closed periods, oldest first: what stood billed for each.")
    def periods(self, first: First = None, after: After = None) -> Connection[PeriodMoment]:
        """List closed periods."""
        page = read_page(first=first, after=after, kinds=(str,))
        closed = moments_of.periods_of(self.replayed.account)
        rows = [row for row in closed if page.after is None or (row.period,) > page.after][: page.limit]
        return connect(rows, page, node=PeriodMoment.of, key=lambda row: (row.period,))

    @strawberry.field(description="What the account owed.")
    def balance(self) -> BalanceMoment:
        """Say what was owed."""
        account = self.replayed.account
        owed = moments_of.owed_by(account)
        return BalanceMoment(
            balance=account.ledger.balance,
            overdue=moments_of.overdue_on(owed, self.replayed.day),
            penalty=account.ledger.penalty,
            owed=[
                OwedMoment(entry=x.entry, period=x.period, due_on=x.due_on, amount=x.amount, open=x.open) for x in owed
            ],
        )

    @strawberry.field(description="Senders that could speak for the account.")
    def links(self) -> list[LinkMoment]:
        """List senders."""
        return [LinkMoment(channel=link.channel, sender=link.sender) for link in self.replayed.account.links]

    @strawberry.field(
        description="The rules that were the last ones published, as far as was known; null where none were."
    )
    async def rulebook(self, info: Info) -> RulebookMoment | None:
        """Find the rules that were known."""
        async with info.context.app.pool.acquire() as db:
            found = await rulebook_known(db, self.replayed.moment.known_at)
        if found is None:
            return None
        return RulebookMoment(version=found.book.version, number=found.book.number, published_at=found.published_at)
