"""A household's account as the schema shows it: its life, how it is estimated, what may be sent; the entry to all the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Annotated

import strawberry

from bels.access.callers import WHOLE, Sight
from bels.api.account_personal import AccountPersonal
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, encode_id, read_page
from bels.api.engine.scalars import Money
from bels.api.notices import AccountNotices
from bels.api.objects import (
    After,
    AuditEntry,
    Average,
    Before,
    First,
    Last,
    Meter,
    Reading,
    RegisterKwh,
    RegisterValue,
    Usage,
    around,
    kwh,
    shown,
    told,
)
from bels.api.replays import AccountReplay, replay_asked
from bels.api.sender_links import AccountSenders
from bels.api.sums import cost_of
from bels.audit.replaying.account_moment import overview_of
from bels.audit.replaying.moments import Replayed
from bels.domain import terms
from bels.domain.forecast_estimate import Silent
from bels.domain.forecast_estimate import Submission as DomainSubmission
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period
from bels.projections import audit, estimation, overview, readings, usage
from bels.projections.estimation import AverageReading, EstimationRow
from bels.projections.overview import OverviewRow


@strawberry.type(description="A reading on which the average rests.")
class AverageBasis:
    """A reading on which the average rests."""

    entry: int = strawberry.field(description="The entry that brought it.")
    at: datetime = strawberry.field(description="When it was received.")
    period: Period = strawberry.field(description="The period it belongs to.")
    values: list[RegisterValue] = strawberry.field(description="What the registers showed.")

    @classmethod
    def of(cls, row: AverageReading | None, sight: Sight) -> AverageBasis | None:
        """Show a row, where there is one and it is seen."""
        if row is None or row.entry <= sight.entry:
            return None
        return cls(entry=row.entry, at=row.at, period=Period(row.period), values=shown(row.values))


@strawberry.type(description="What a coming period will be billed if no reading arrives for it.")
class SilentPeriod:
    """What a coming period will be billed in silence."""

    period: Period = strawberry.field(description="The period.")
    mode: terms.Mode = strawberry.field(description="How it will be billed.")
    usage: list[RegisterKwh] = strawberry.field(description="kWh per register; a norm is TOTAL.")
    rule: str = strawberry.field(description="The act and point.")
    missed_in_a_row: int = strawberry.field(description="Its number in the row of periods without a reading.")
    cost: Money | None = strawberry.field(description="What that costs; null where a rate is not known yet.")

    @classmethod
    def of(cls, silent: Silent, group: str, rulebook: Rulebook) -> SilentPeriod:
        """Show a forecast, priced for a tariff group."""
        return cls(
            period=silent.period,
            mode=silent.mode,
            usage=kwh(silent.kwh),
            rule=silent.rule.value,
            missed_in_a_row=silent.missed,
            cost=cost_of(silent, group, rulebook),
        )


@strawberry.type(description="How an account is estimated, and what silence will be billed.")
class Estimation:
    """How an account is estimated."""

    mode: terms.Mode | None = strawberry.field(description="How the last closed period was billed.")
    since: Period | None = strawberry.field(description="The period from which that holds.")
    missed_in_a_row: int = strawberry.field(description="Periods without a reading, in a row.")
    periods_left: int = strawberry.field(description="Periods that would still go by the average before the norm.")
    inspection_due: date | None = strawberry.field(description="By when a check is due after six missed periods.")
    average: Average | None = strawberry.field(
        description="The average monthly volume, where the history is long enough."
    )
    average_since: AverageBasis | None = strawberry.field(description="The reading from which the average is taken.")
    average_until: AverageBasis | None = strawberry.field(description="The reading to which the average is taken.")
    silence: list[SilentPeriod] = strawberry.field(description="The coming periods that have no reading yet.")

    @classmethod
    def of(cls, row: EstimationRow, group: str, rulebook: Rulebook, sight: Sight = WHOLE) -> Estimation:
        """Show a row, priced for a tariff group."""
        return cls(
            mode=terms.Mode(row.mode) if row.mode is not None else None,
            since=Period(row.since) if row.since is not None else None,
            missed_in_a_row=row.missed_in_a_row,
            periods_left=row.periods_left,
            inspection_due=row.inspection_due,
            average=Average.of(row.average),
            average_since=AverageBasis.of(row.average_since, sight),
            average_until=AverageBasis.of(row.average_until, sight),
            silence=[SilentPeriod.of(s, group, rulebook) for s in row.silent],
        )


@strawberry.type(description="What a register may show now. A value outside is not lost: it is held, or a rollover.")
class RegisterBounds:
    """What a register may show now."""

    register: terms.Register = strawberry.field(description="The register.")
    minimum: int = strawberry.field(description="What it showed last.")
    maximum: int = strawberry.field(description="The most that is plausible now.")


@strawberry.type(
    description="Whether a reading may be sent now, within which bounds, until when, and what silence costs."
)
class Submission:
    """Whether a reading may be sent now."""

    may: bool = strawberry.field(description="A reading may be sent now.")
    refusal: terms.Reason | None = strawberry.field(description="Why not.")
    period: Period = strawberry.field(description="The period that a reading sent now belongs to.")
    until: datetime = strawberry.field(description="Until when it still belongs to that period, exclusive.")
    registers: list[RegisterBounds] = strawberry.field(description="Every register that a reading must name.")
    limit: int | None = strawberry.field(description="The most kWh of all registers together that is plausible.")
    sent: list[RegisterValue] | None = strawberry.field(description="What was already sent for the period.")
    silence: SilentPeriod | None = strawberry.field(
        description="What the period will be billed without a reading; null when one counts already."
    )
    by_normative: SilentPeriod | None = strawberry.field(description="The same by the norm.")

    @classmethod
    def of(cls, submission: DomainSubmission, group: str, rulebook: Rulebook) -> Submission:
        """Show what the domain says, priced for a tariff group."""
        silence, by_norm = submission.silence, submission.by_norm
        return cls(
            may=submission.refusal is None,
            refusal=submission.refusal,
            period=submission.period,
            until=submission.until,
            registers=[
                RegisterBounds(register=b.register, minimum=b.minimum, maximum=b.maximum) for b in submission.registers
            ],
            limit=submission.limit,
            sent=shown(submission.sent) if submission.sent is not None else None,
            silence=SilentPeriod.of(silence, group, rulebook) if silence is not None else None,
            by_normative=SilentPeriod.of(by_norm, group, rulebook) if by_norm is not None else None,
        )


@strawberry.type(description="Residents that the norm counts.")
class Residents:
    """Residents that the norm counts."""

    permanent: int = strawberry.field(description="Permanently registered.")
    temporary: int = strawberry.field(description="Temporarily registered on the 1st of the open period.")
    owners: int = strawberry.field(description="Owners; they count where nobody is registered.")


@strawberry.type(description="A sender that may speak for the account, without its address.")
class ChannelLink:
    """A sender that may speak for the account."""

    channel: terms.Channel = strawberry.field(description="The channel.")
    sender: str = strawberry.field(description="A keyed digest of the phone, chat or e-mail.")


@strawberry.type(description="A household's account (лицевой счёт).")
class Account(AccountPersonal, AccountNotices, AccountSenders, AccountReplay):
    """A household's account."""

    version: int = strawberry.field(description="The number of its last entry: grows with every change.")
    open: bool = strawberry.field(description="False once it is closed.")
    opened_at: datetime | None = strawberry.field(description="When it was opened.")
    closed_at: datetime | None = strawberry.field(description="When it was closed.")
    locality: terms.Locality = strawberry.field(description="Town or village.")
    stove: terms.Stove = strawberry.field(description="The kind of stove.")
    rooms: int = strawberry.field(description="Rooms.")
    residents: Residents = strawberry.field(description="Residents that the norm counts.")
    meter: Meter | None = strawberry.field(description="The meter now in service.")
    links: list[ChannelLink] = strawberry.field(description="Senders that may speak for the account.")

    @classmethod
    def of(cls, row: OverviewRow, sight: Sight = WHOLE, then: Replayed | None = None) -> Account:
        """Show a row, to somebody who sees it from there on; of an account at a moment with its replay."""
        return cls(
            then=then,
            sight=sight,
            id=encode_id("Account", row.account),
            number=row.account,
            version=row.version,
            open=row.situation == "OPEN",
            opened_at=row.opened_at,
            closed_at=row.closed_at,
            next_period=Period(row.next_period) if row.next_period else None,
            locality=terms.Locality(row.locality),
            stove=terms.Stove(row.stove),
            rooms=row.rooms,
            residents=Residents(permanent=row.permanent, temporary=row.temporary, owners=row.owners),
            meter=Meter.of(row.meter) if row.meter is not None else None,
            links=[ChannelLink(channel=terms.Channel(x["channel"]), sender=x["sender"]) for x in row.links],
        )

    @strawberry.field(description="Whether a reading may be sent now, its bounds, until when, and what silence costs.")
    async def submission(self, info: Info) -> Submission:
        """Say whether a reading may be sent now."""
        intake = info.context.app.intake
        said = await intake.may_submit(self.number)
        if said.sent is not None and self.sight.entry:
            # What the household before sent for this period is not shown to the one after it.
            async with info.context.app.pool.acquire() as db:
                mine = await readings.page(db, self.number, self.sight.entry, None, 1, True, None, said.period)
            said = said if mine else replace(said, sent=None)
        return Submission.of(said, intake.rulebook.group_of(self.locality, self.stove), intake.rulebook)

    @strawberry.field(description="How the account is estimated, and what silence will be billed.")
    async def estimation(self, info: Info) -> Estimation | None:
        """Find how the account is estimated."""
        async with info.context.app.pool.acquire() as db:
            row = (await estimation.find(db, [self.number])).get(self.number)
        if row is None:
            return None
        rulebook = await info.context.app.intake.rules()
        return Estimation.of(row, rulebook.group_of(self.locality, self.stove), rulebook, self.sight)

    @strawberry.field(description="Readings, in the order in which they were recorded.")
    async def readings(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        status: Annotated[
            list[terms.ReadingStatus] | None, strawberry.argument(description="Only these; all by default.")
        ] = None,
        period: Annotated[Period | None, strawberry.argument(description="Only those of a period.")] = None,
    ) -> Connection[Reading]:
        """List readings."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int,))
        async with info.context.app.pool.acquire() as db:
            rows = await readings.page(db, self.number, *around(page, self.sight.entry), status, period)
        return connect(rows, page, node=Reading.of, key=lambda row: (row.entry,))

    @strawberry.field(description="Closed billing periods, oldest first, with the recalculations posted in each.")
    async def usage(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Usage]:
        """List closed periods."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(str,))
        async with info.context.app.pool.acquire() as db:
            rows = await usage.page(db, self.number, *around(page, self.before))
        return connect(rows, page, node=lambda row: Usage.of(row, self.sight), key=lambda row: (row.period,))

    @strawberry.field(description="The audit trail: every entry of the account's journal in words.")
    async def audit(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[AuditEntry]:
        """List the journal in words."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int,))
        async with info.context.app.pool.acquire() as db:
            rows = await audit.page(db, self.number, *around(page, self.sight.entry))
        caller = info.context.caller
        return connect(rows, page, node=lambda row: told(row, caller), key=lambda row: (row.entry,))


async def find_account(
    info: Info, number: str, as_of: date | None = None, known_at: datetime | None = None
) -> Account | None:
    """Find an account by number, where the caller sees it: as it is now, or as it was at a moment."""
    then = None
    sight = info.context.see(number)
    if as_of is not None or known_at is not None:
        then = await replay_asked(info, number, as_of, known_at)
        row = overview_of(then) if then is not None else None
    elif sight is not None:
        async with info.context.app.pool.acquire() as db:
            row = (await overview.find(db, [number])).get(number)
    else:
        return None
    return Account.of(row, sight, then) if row is not None and sight is not None else None
