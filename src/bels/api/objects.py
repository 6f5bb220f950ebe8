"""The types of the schema: rows of the views with plain attributes, in the names of the field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec
import strawberry

import bels.api.inputs  # noqa: F401  # the grounds are described there
from bels.access.callers import WHOLE, Caller, Sight
from bels.api.context import Info
from bels.api.engine.paging import Node, Page, encode_id
from bels.api.engine.scalars import Money
from bels.api.enums import Quality
from bels.api.photos import Photo, photo_loader
from bels.api.sums import ChargeLine, charges
from bels.domain import terms
from bels.domain.events import Average as DomainAverage
from bels.domain.events import Norm as DomainNorm
from bels.domain.events import UsageRecalculated
from bels.domain.receive_payment import is_suspense
from bels.domain.terms import Period
from bels.journal.entry import Behalf, Ground
from bels.projections import readings
from bels.projections.audit import AuditRow
from bels.projections.overview import MeterRow
from bels.projections.readings import ReadingRow
from bels.projections.usage import RecalculationRow, UsageRow

QUALITY_OF_KIND = {
    "SENT": Quality.ACTUAL,
    "INITIAL": Quality.ACTUAL,
    "FINAL": Quality.ACTUAL,
    "CONTROL": Quality.CONTROL,
    "PREVIOUS_WRONG": Quality.CONTROL,
}
QUALITY_OF_MODE = {
    "METERED": Quality.ACTUAL,
    "AVERAGE": Quality.AVERAGE,
    "NORMATIVE": Quality.NORMATIVE,
    "NORMATIVE_INCREASED": Quality.NORMATIVE,
}
HIDDEN = "*******"
OF_ANOTHER = "Запись о прежних жильцах."

_OF_OTHERS = frozenset({"UsageRecalculated", "PenaltyAccrued", "PaymentMovedIn", "PaymentMovedOut", "PaymentReversed"})
"""Events that may look back at a household before, or at another account."""


class _Sum(msgspec.Struct):
    period: str | None = None


class _LooksAt(msgspec.Struct):
    period: str | None = None
    sums: tuple[_Sum, ...] = ()
    payment: int | None = None
    to: str | None = None
    source: str | None = None


_DECODE = msgspec.json.Decoder(_LooksAt).decode


@strawberry.type(description="Whole kWh of one register.")
class RegisterKwh:
    """Whole kWh of one register."""

    register: terms.Register = strawberry.field(description="The register; a norm is billed as TOTAL.")
    kwh: int = strawberry.field(description="Whole kWh; negative where an overcharge is given back.")


@strawberry.type(description="What one register shows: whole kWh, the integer digits of its display.")
class RegisterValue:
    """What one register shows."""

    register: terms.Register = strawberry.field(description="The register.")
    value: int = strawberry.field(description="Whole kWh on the display.")


@strawberry.type(description="A value of a refused reading, as it was given.")
class GivenValue:
    """A value of a refused reading, as it was given."""

    name: str = strawberry.field(description="The register or place it was given for.")
    value: str = strawberry.field(description="The text as given.")


First = Annotated[int | None, strawberry.argument(description="How many from the start: 1 to 100, 20 by default.")]
After = Annotated[str | None, strawberry.argument(description="The cursor after which to start.")]
Last = Annotated[int | None, strawberry.argument(description="How many from the end: 1 to 100.")]
Before = Annotated[str | None, strawberry.argument(description="The cursor before which to end.")]


def around(page: Page, floor: Any = None) -> tuple[Any, Any, int, bool]:
    """Give a page of a view whose key is one column: after, before, how many rows, backwards; nothing up to ``floor``."""
    after = page.after[0] if page.after is not None else None
    return (
        after if floor is None or (after is not None and after > floor) else floor,
        page.before[0] if page.before is not None else None,
        page.limit,
        page.backwards,
    )


Name = TypeVar("Name", bound=str)


def kwh(used: Mapping[Name, int]) -> list[RegisterKwh]:
    """List kWh per register."""
    return [RegisterKwh(register=terms.Register(r), kwh=n) for r, n in used.items()]


def shown(values: Mapping[Name, int] | Mapping[Name, int | str]) -> list[RegisterValue]:
    """List what registers show; texts of a refused reading are no values."""
    return [RegisterValue(register=terms.Register(r), value=v) for r, v in values.items() if isinstance(v, int)]


@strawberry.type(description="A place of a meter's display and the register that it shows.")
class DisplayPlace:
    """A place of a meter's display."""

    place: str = strawberry.field(description="T1, T2 or T3.")
    register: terms.Register = strawberry.field(description="The register shown there.")


@strawberry.type(description="The meter now in service.")
class Meter:
    """The meter now in service."""

    number: str = strawberry.field(description="The number on its face.")
    model: str | None = strawberry.field(description="Its model, where known.")
    capacity: int = strawberry.field(description="Integer digits of a register: 5, 6 or 7.")
    registers: list[terms.Register] = strawberry.field(description="Its registers, in the order of an SMS.")
    display: list[DisplayPlace] = strawberry.field(description="What T1 to T3 of its display show, where known.")
    automatic: bool = strawberry.field(description="Read by the remote system only.")
    installed_at: datetime = strawberry.field(description="When it was put into service.")
    failed_at: datetime | None = strawberry.field(description="When it failed; null while it works.")

    @classmethod
    def of(cls, row: MeterRow) -> Meter:
        """Show a row."""
        return cls(
            number=row.number,
            model=row.model,
            capacity=row.capacity,
            registers=[terms.Register(r) for r in row.registers],
            display=[DisplayPlace(place=p, register=terms.Register(r)) for p, r in (row.display or {}).items()],
            automatic=row.automatic,
            installed_at=row.installed_at,
            failed_at=row.failed_at,
        )


@strawberry.type(description="A reading: every one that came, also the refused, and what became of it.")
class Reading(Node):
    """A reading."""

    entry: int = strawberry.field(description="The entry of the account's journal that brought it: its name for ever.")
    meter: str | None = strawberry.field(description="The meter's number; null where none was in service.")
    kind: terms.ReadingKind = strawberry.field(description="What kind of reading it is.")
    quality: Quality = strawberry.field(description="What it rests on.")
    status: terms.ReadingStatus = strawberry.field(description="What became of it.")
    period: Period | None = strawberry.field(description="The billing period it belongs to; null when refused.")
    received_at: datetime = strawberry.field(description="When a channel of the supplier got it.")
    taken_at: datetime | None = strawberry.field(description="When it was read off the meter, where said.")
    recorded_at: datetime = strawberry.field(description="When bels knew.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    role: terms.Role = strawberry.field(description="For whom the sender spoke.")
    receipt: str = strawberry.field(description="The receipt of its message.")
    values: list[RegisterValue] = strawberry.field(description="What the registers showed; empty when refused.")
    given: list[GivenValue] = strawberry.field(description="The values of a refused reading, as given.")
    consumption: list[RegisterKwh] = strawberry.field(description="kWh since the reading it was compared with.")
    refusal: terms.Reason | None = strawberry.field(description="Why it was refused.")
    hold: terms.HoldReason | None = strawberry.field(description="Why it is or was held.")
    limit: int | None = strawberry.field(description="The plausible kWh it exceeded, where held for that.")
    counted_in: Period | None = strawberry.field(description="The period whose closing billed it.")

    @strawberry.field(description="Photos of the display that came with it.")
    async def photos(self, info: Info) -> list[Photo]:
        """Find its photos, with those of the other readings of a list."""
        loaders = info.context.loaders
        if "photos" not in loaders:
            loaders["photos"] = photo_loader(info.context.app.pool)
        found: list[Photo] = await loaders["photos"].load(self.receipt)
        return found

    @classmethod
    def of(cls, row: ReadingRow) -> Reading:
        """Show a row."""
        refused = row.status == "REFUSED"
        return cls(
            id=encode_id("Reading", f"{row.account}/{row.entry}"),
            entry=row.entry,
            meter=row.meter,
            kind=terms.ReadingKind(row.kind),
            quality=QUALITY_OF_KIND[row.kind],
            status=terms.ReadingStatus(row.status),
            period=Period(row.period) if row.period is not None else None,
            received_at=row.received_at,
            taken_at=row.taken_at,
            recorded_at=row.recorded_at,
            channel=terms.Channel(row.channel),
            role=terms.Role(row.role),
            receipt=row.receipt,
            values=[] if refused else shown(row.values),
            given=[GivenValue(name=n, value=str(v)) for n, v in row.values.items()] if refused else [],
            consumption=kwh(row.delta or {}),
            refusal=terms.Reason(row.reason) if refused and row.reason is not None else None,
            hold=terms.HoldReason(row.reason) if not refused and row.reason is not None else None,
            limit=row.limit,
            counted_in=Period(row.counted_in) if row.counted_in is not None else None,
        )


@strawberry.type(description="One line of a period's usage.")
class UsageLine:
    """One line of a period's usage."""

    register: terms.Register = strawberry.field(description="The register.")
    kwh: int = strawberry.field(description="Whole kWh.")
    mode: terms.Mode = strawberry.field(description="How they were found.")
    rule: str = strawberry.field(description="The act and point they rest on, for example PP354:59b.")


@strawberry.type(description="The norm that a period was billed by.")
class Norm:
    """The norm that a period was billed by."""

    residents: int = strawberry.field(description="Residents on the 1st of the period.")
    per_person: int = strawberry.field(description="kWh a person and month.")
    kwh: int = strawberry.field(description="kWh of the period.")

    @classmethod
    def of(cls, norm: DomainNorm | None) -> Norm | None:
        """Show a norm, where there is one."""
        return cls(residents=norm.residents, per_person=norm.per_person, kwh=norm.kwh) if norm is not None else None


@strawberry.type(description="The average that a period was billed by.")
class Average:
    """The average that a period was billed by."""

    since: int = strawberry.field(description="The entry of the reading from which it was taken.")
    until: int = strawberry.field(description="The entry of the reading to which it was taken.")
    periods: int = strawberry.field(description="Months between them.")
    kwh: list[RegisterKwh] = strawberry.field(description="kWh a month, per register.")

    @classmethod
    def of(cls, average: DomainAverage | None) -> Average | None:
        """Show an average, where there is one."""
        if average is None:
            return None
        return cls(since=average.since, until=average.until, periods=average.periods, kwh=kwh(average.kwh))


@strawberry.type(description="A recalculation: kWh and roubles of a period before and after, on a ground, by a rule.")
class Recalculation:
    """A recalculation."""

    entry: int = strawberry.field(description="The entry of the account's journal.")
    posted_in: Period = strawberry.field(description="The period with whose bill it was posted.")
    period: Period = strawberry.field(description="The period it puts right.")
    reason: terms.RecalculationReason = strawberry.field(description="The ground.")
    rule: str = strawberry.field(description="The act and point, or the supplier's policy.")
    ground: str | None = strawberry.field(description="What the rule alone does not say, in words.")
    before: list[RegisterKwh] = strawberry.field(description="kWh that stood billed before.")
    after: list[RegisterKwh] = strawberry.field(description="kWh that stand billed since.")
    money_before: Money | None = strawberry.field(description="What stood charged before; null before there was money.")
    money_after: Money | None = strawberry.field(description="What stands charged since.")
    difference: Money | None = strawberry.field(description="What it adds to its bill.")
    charges: list[ChargeLine] = strawberry.field(description="The lines of the period as they stand since.")

    @classmethod
    def of(cls, row: RecalculationRow) -> Recalculation:
        """Show a row."""
        return cls(
            entry=row.entry,
            posted_in=Period(row.posted_in),
            period=Period(row.period),
            reason=terms.RecalculationReason(row.reason),
            rule=row.rule,
            ground=row.ground,
            before=kwh(row.before),
            after=kwh(row.after),
            money_before=row.money_before,
            money_after=row.money_after,
            difference=row.difference,
            charges=charges(row.charges),
        )

    @classmethod
    def foreseen(cls, event: UsageRecalculated) -> Recalculation:
        """Show a recalculation that a closing would post."""
        is_priced = bool(event.rulebook)
        return cls(
            entry=0,
            posted_in=event.posted_in,
            period=event.period,
            reason=event.reason,
            rule=event.rule.value,
            ground=event.ground,
            before=kwh(event.before),
            after=kwh(event.after),
            money_before=event.money_before if is_priced else None,
            money_after=event.money_after if is_priced else None,
            difference=event.difference if is_priced else None,
            charges=charges(event.charges),
        )


@strawberry.type(description="A closed billing period: what was billed, how, and what now stands.")
class Usage(Node):
    """A closed billing period."""

    period: Period = strawberry.field(description="The billing period.")
    mode: terms.Mode = strawberry.field(description="How it was billed.")
    quality: Quality = strawberry.field(description="What its kWh rest on.")
    usage: list[RegisterKwh] = strawberry.field(description="kWh billed at its closing.")
    stands: list[RegisterKwh] = strawberry.field(description="kWh that stand billed after all recalculations.")
    lines: list[UsageLine] = strawberry.field(description="The lines of its usage, each with its rule.")
    missed_in_a_row: int = strawberry.field(description="Its number in the row of periods without a reading.")
    average: Average | None = strawberry.field(description="The average it was billed by.")
    norm: Norm | None = strawberry.field(description="The norm it was billed by.")
    settlement: terms.Settlement | None = strawberry.field(description="The settlement policy in force.")
    deferred: bool = strawberry.field(description="A reading came and is billed with the next period (NEXT_PERIOD).")
    carried: bool = strawberry.field(description="Billed by an earlier system.")
    closed_at: datetime | None = strawberry.field(description="When it was closed.")
    rulebook: str | None = strawberry.field(description="The version of the rules it was closed under.")
    recalculations: list[Recalculation] = strawberry.field(description="The recalculations posted with its bill.")
    charges: list[ChargeLine] = strawberry.field(description="The lines of its charge, as billed at its closing.")
    charged: Money | None = strawberry.field(description="The sum of the charges; null before there was money.")
    recalculated: Money | None = strawberry.field(description="The sum of the recalculations posted with its bill.")
    bill: Money | None = strawberry.field(description="The bill: charges and recalculations together.")
    due_on: date | None = strawberry.field(description="The day by which the bill is to be paid.")
    money: Money | None = strawberry.field(description="What stands charged for the period after all recalculations.")

    @classmethod
    def of(cls, row: UsageRow, sight: Sight = WHOLE) -> Usage:
        """Show a row, without recalculations of what a household before used."""
        since = sight.period or ""
        return cls(
            id=encode_id("Usage", f"{row.account}/{row.period}"),
            period=Period(row.period),
            mode=terms.Mode(row.mode),
            quality=QUALITY_OF_MODE[row.mode],
            usage=kwh(row.usage),
            stands=kwh(row.stands),
            lines=[UsageLine(register=x.register, kwh=x.kwh, mode=x.mode, rule=x.rule.value) for x in row.lines],
            missed_in_a_row=row.missed,
            average=Average.of(row.average),
            norm=Norm.of(row.norm),
            settlement=terms.Settlement(row.settlement) if row.settlement is not None else None,
            deferred=row.deferred,
            carried=row.carried,
            closed_at=row.closed_at,
            rulebook=row.rulebook,
            recalculations=[Recalculation.of(r) for r in row.recalculations if r.period >= since],
            charges=charges(row.charges),
            charged=row.charged,
            recalculated=row.recalculated,
            bill=row.bill,
            due_on=row.due_on,
            money=row.money,
        )


@strawberry.type(name="Behalf", description="For whom an operator acted, and by what right.")
class BehalfShown:
    """For whom an operator acted."""

    who: str = strawberry.field(description="HOLDER, MEMBER, REPRESENTATIVE, or a person of the cabinet by its id.")
    ground: Ground = strawberry.field(description="By what right.")
    document: str | None = strawberry.field(description="What was shown, without its number.")

    @classmethod
    def of(cls, behalf: Behalf | None) -> BehalfShown | None:
        """Show for whom, where anybody said."""
        if behalf is None:
            return None
        return cls(who=behalf.who, ground=behalf.ground, document=behalf.document)


@strawberry.type(description="An entry of the account's journal, in words a person understands.")
class AuditEntry(Node):
    """An entry of the account's journal."""

    entry: int = strawberry.field(description="Its number in the account's journal, from 1.")
    kind: str = strawberry.field(description="The name of the event, for example ReadingAccepted.")
    text: str = strawberry.field(description="What happened, in Russian.")
    recorded_at: datetime = strawberry.field(description="When bels knew.")
    happened_at: datetime = strawberry.field(description="When it was true.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    actor: str = strawberry.field(description="Who spoke, without personal data.")
    receipt: str = strawberry.field(description="The receipt of the message that led to it.")
    rule: str | None = strawberry.field(description="The act and point it rests on.")
    data: str = strawberry.field(description="The event itself, as JSON.")
    request_id: str = strawberry.field(
        description="The request that brought the message, as in the logs; empty where none did."
    )
    behalf: BehalfShown | None = strawberry.field(
        default=None, description="For whom an operator acted; null where everybody spoke for himself, or nobody said."
    )

    @classmethod
    def of(cls, row: AuditRow) -> AuditEntry:
        """Show a row."""
        return cls(
            id=encode_id("AuditEntry", f"{row.account}/{row.entry}"),
            entry=row.entry,
            kind=row.kind,
            text=row.text,
            recorded_at=row.recorded_at,
            happened_at=row.happened_at,
            channel=terms.Channel(row.channel),
            actor=row.actor,
            receipt=row.receipt,
            rule=row.rule,
            data=row.data,
            request_id=row.request_id,
            behalf=BehalfShown.of(row.behalf),
        )


def told(row: AuditRow, caller: Caller) -> AuditEntry:
    """Show a row to somebody: without what an entry says of the household before, or of an account that is not seen."""
    entry, sight = AuditEntry.of(row), caller.sight(row.account)
    if caller.sights is None or sight is None or row.kind not in _OF_OTHERS:
        return entry
    event = _DECODE(row.data)
    periods = [event.period, *(each.period for each in event.sums)]
    if event.payment is not None and event.payment <= sight.entry and row.kind != "PaymentMovedIn":
        return _untold(entry)
    if sight.period is not None and any(each is not None and each < sight.period for each in periods):
        return _untold(entry)
    other = event.to or event.source
    if other is None or is_suspense(other) or caller.sight(other) is not None:
        return entry
    entry.text, entry.data = entry.text.replace(other, HIDDEN), entry.data.replace(other, HIDDEN)
    return entry


def _untold(entry: AuditEntry) -> AuditEntry:
    entry.text, entry.data = OF_ANOTHER, "{}"
    return entry


async def find_reading(info: Info, number: str, entry: int) -> Reading | None:
    """Find a reading by its entry, where the caller sees it."""
    sight = info.context.see(number)
    if sight is None or entry <= sight.entry:
        return None
    async with info.context.app.pool.acquire() as db:
        row = await readings.find(db, number, entry)
    return Reading.of(row) if row is not None else None
