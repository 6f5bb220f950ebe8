"""What has happened to an account: the closed union of events, in the past tense.

An event carries the numbers that were decided and the rule they rest on, so that views copy and never compute. Channel,
actor and the moment of recording stand in the entry around the event (``journal/entry.py``). Readings and meters are named
by the number of the entry that brought them. Where an event says ``period``, it is the billing period to which the fact
belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from bels.domain.money import ZERO
from bels.domain.money_events import (
    BalanceCarriedOver,
    ChargeLine,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
    RulebookPublished,
)
from bels.domain.terms import (
    Channel,
    EntryNumber,
    FailureCause,
    HoldReason,
    Kwh,
    Locality,
    MeterModel,
    Mode,
    Money,
    Period,
    ReadingKind,
    Reason,
    RecalculationReason,
    Register,
    Role,
    Rule,
    Settlement,
    Stove,
)


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """Лицевой счёт открыт: its first period is the one of ``opened_at``."""

    opened_at: datetime
    first_period: Period
    locality: Locality
    stove: Stove
    rooms: int
    permanent: int
    owners: int


@dataclass(frozen=True, slots=True)
class AccountClosed:
    """Лицевой счёт закрыт: ``last_period`` is still to be closed, later ones are not."""

    closed_at: datetime
    last_period: Period
    ground: str


@dataclass(frozen=True, slots=True)
class ResidentsChanged:
    """Изменилось число постоянно проживающих или собственников, с даты."""

    effective_on: date
    permanent: int
    owners: int


@dataclass(frozen=True, slots=True)
class TemporaryResidentsRegistered:
    """Зарегистрированы временно проживающие: ``since`` inclusive, ``until`` exclusive (point 56)."""

    persons: int
    since: date
    until: date


@dataclass(frozen=True, slots=True)
class AbsenceRegistered:
    """Учтено временное отсутствие: the days of leaving and of return do not count (points 86 to 97)."""

    persons: int
    left_on: date
    returned_on: date


@dataclass(frozen=True, slots=True)
class MeterInstalled:
    """Прибор учёта введён в эксплуатацию; its initial values are an actual reading, named by this entry."""

    meter: MeterModel
    installed_at: datetime
    period: Period
    values: Kwh
    act: str


@dataclass(frozen=True, slots=True)
class MeterRestored:
    """Прибор учёта возвращён в работу после ремонта или поверки: counted as a new installation (59 «г»)."""

    meter: EntryNumber
    restored_at: datetime
    period: Period
    values: Kwh
    act: str


@dataclass(frozen=True, slots=True)
class MeterRemoved:
    """Прибор учёта снят с конечными показаниями; they are an actual reading, named by this entry.

    ``kind`` is ``FINAL``, or ``CONTROL`` where the act says that the previous reading was wrong.
    """

    meter: EntryNumber
    removed_at: datetime
    period: Period
    values: Kwh
    kind: ReadingKind
    base: EntryNumber
    difference: Kwh
    rollover: tuple[Register, ...]
    act: str


@dataclass(frozen=True, slots=True)
class MeterFailed:
    """Прибор учёта не считает: from ``period`` the average without a cap (59 «г»)."""

    meter: EntryNumber
    failed_at: datetime
    period: Period
    cause: FailureCause
    act: str
    rule: Rule = Rule.P59G


@dataclass(frozen=True, slots=True)
class ReadingCarriedOver:
    """Показание перенесено из прежней системы: actual, already billed there."""

    meter: EntryNumber
    at: datetime
    period: Period
    values: Kwh


@dataclass(frozen=True, slots=True)
class PeriodCarriedOver:
    """Расчётный период начислен в прежней системе: closed there, with these kWh; ``billed`` roubles where told."""

    period: Period
    mode: Mode
    usage: Kwh
    estimated: bool
    billed: Money | None = None


@dataclass(frozen=True, slots=True)
class ReadingAccepted:
    """Показание принято: counts for ``period`` unless a later event says otherwise.

    ``base`` is the reading from which ``delta`` (kWh per register) was taken.
    """

    meter: EntryNumber
    period: Period
    received_at: datetime
    taken_at: datetime | None
    values: Kwh
    base: EntryNumber
    delta: Kwh
    role: Role


@dataclass(frozen=True, slots=True)
class ReadingHeld:
    """Показание на проверке: does not count until confirmed. ``limit`` is the plausible kWh it exceeded."""

    meter: EntryNumber
    period: Period
    received_at: datetime
    taken_at: datetime | None
    values: Kwh
    base: EntryNumber
    delta: Kwh
    role: Role
    reason: HoldReason
    limit: int | None = None
    previous: Kwh | None = None


@dataclass(frozen=True, slots=True)
class ReadingRefused:
    """Показание не принято, с причиной. ``values`` are the texts as given, ``expected`` the meter's registers."""

    reason: Reason
    received_at: datetime
    values: Mapping[str, str]
    expected: tuple[Register, ...] = ()
    capacity: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ReadingConfirmed:
    """Показание, бывшее на проверке, подтверждено: counts for the period in which it was received.

    ``rollover`` are the registers that passed zero since the reading on which it rests, by the word of who confirmed it.
    """

    reading: EntryNumber
    period: Period
    confirmed_at: datetime
    kind: ReadingKind
    rollover: tuple[Register, ...]
    role: Role
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReadingRejected:
    """Показание, бывшее на проверке, отклонено оператором."""

    reading: EntryNumber
    rejected_at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class ReadingSuperseded:
    """Показание заменено более поздним; it stays in the history."""

    reading: EntryNumber
    by: EntryNumber


@dataclass(frozen=True, slots=True)
class ReadingDisproved:
    """Показание опровергнуто контрольным: no later consumption or average rests on it (rules 1.3)."""

    reading: EntryNumber
    by: EntryNumber


@dataclass(frozen=True, slots=True)
class ReadingDisregarded:
    """Показание больше не учитывается: its period fell under two refusals of access or a failed meter."""

    reading: EntryNumber
    by: EntryNumber
    rule: Rule


@dataclass(frozen=True, slots=True)
class ProvenUsage:
    """kWh whose time of use the consumer proved (point 61)."""

    period: Period
    kwh: Kwh


@dataclass(frozen=True, slots=True)
class ControlReadingTaken:
    """Снято контрольное показание: takes precedence, and is itself the check of access (point 61)."""

    meter: EntryNumber
    taken_at: datetime
    period: Period
    values: Kwh
    base: EntryNumber
    difference: Kwh
    rollover: tuple[Register, ...]
    proven: tuple[ProvenUsage, ...]
    act: str
    rule: Rule = Rule.P61


@dataclass(frozen=True, slots=True)
class AccessRefused:
    """Составлен акт о недопуске: ``number`` counts them since the last check or installation (60(1), 60(3))."""

    refused_at: datetime
    period: Period
    number: int
    act: str
    rule: Rule = Rule.P60_3


@dataclass(frozen=True, slots=True)
class InterferenceFound:
    """Установлено вмешательство в работу прибора: these closed periods go to ten norms (point 62)."""

    found_at: datetime
    period: Period
    periods: tuple[Period, ...]
    act: str
    rule: Rule = Rule.P62


@dataclass(frozen=True, slots=True)
class PeriodMissed:
    """За период не пришло показание: ``missed_in_a_row`` counts since the last actual reading."""

    period: Period
    missed_in_a_row: int


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of a period's usage: register, kWh, how they were found, by which rule."""

    register: Register
    kwh: int
    mode: Mode
    rule: Rule


@dataclass(frozen=True, slots=True)
class Average:
    """Среднемесячный объём: kWh per register from reading ``since`` to reading ``until``, over ``periods`` months."""

    since: EntryNumber
    until: EntryNumber
    periods: int
    kwh: Kwh


@dataclass(frozen=True, slots=True)
class NormAdjustment:
    """Temporary or absent residents without a meter: so many ``persons`` for full ``days``; ``kwh`` in all, negative for absence."""

    persons: int
    days: int
    kwh: int


@dataclass(frozen=True, slots=True)
class Norm:
    """Норматив: ``per_person`` kWh a month for so many residents; ``kwh`` is the whole of it, adjustments included."""

    residents: int
    per_person: int
    kwh: int
    adjustments: tuple[NormAdjustment, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """kWh of a step of readings that belong to one period."""

    period: Period
    kwh: Kwh


@dataclass(frozen=True, slots=True)
class Step:
    """The way from one actual reading to the next, and to which periods its kWh were billed.

    Shares of periods that are final (two refusals, interference) are left out.
    """

    base: EntryNumber
    reading: EntryNumber
    difference: Kwh
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class PeriodClosed:
    """Расчётный период закрыт: its usage is decided and is never rewritten.

    ``steps`` are the ways between readings that this closing billed, ``withdrawn`` the earlier ones (named by their last
    reading) that they replace. ``deferred`` is true where the settlement policy bills the reading one period later.

    ``charges`` are the lines of the bill, ``charged`` their sum, ``recalculated`` the sum of the recalculations posted with it,
    ``due_on`` the day by which the bill is to be paid; None in what was closed before there was money in the journal.
    """

    period: Period
    closed_at: datetime
    mode: Mode
    usage: Kwh
    lines: tuple[UsageLine, ...]
    missed_in_a_row: int
    average: Average | None
    norm: Norm | None
    settlement: Settlement
    steps: tuple[Step, ...]
    withdrawn: tuple[EntryNumber, ...]
    deferred: bool
    rulebook: str
    charges: tuple[ChargeLine, ...] = ()
    charged: Money = ZERO
    recalculated: Money = ZERO
    due_on: date | None = None

    @property
    def bill(self) -> Money:
        """The sum of the bill: its charges and the recalculations posted with it."""
        return self.charged + self.recalculated


@dataclass(frozen=True, slots=True)
class UsageRecalculated:
    """Перерасчёт: kWh and roubles of ``period`` before and after, at its own tariff, billed with ``posted_in``.

    ``charges`` are the lines of the period as they stand since. ``ground`` says in words what the rule alone does not (the
    reason of a retroactive tariff).
    """

    posted_in: Period
    period: Period
    reason: RecalculationReason
    rule: Rule
    before: Kwh
    after: Kwh
    money_before: Money = ZERO
    money_after: Money = ZERO
    charges: tuple[ChargeLine, ...] = ()
    rulebook: str = ""
    ground: str | None = None

    @property
    def difference(self) -> Money:
        """What the recalculation adds to the bill, in roubles."""
        return self.money_after - self.money_before


@dataclass(frozen=True, slots=True)
class EstimationModeChanged:
    """Изменился способ начисления, с периода."""

    period: Period
    before: Mode | None
    after: Mode


@dataclass(frozen=True, slots=True)
class InspectionDue:
    """Шесть периодов подряд без показаний: a check is due (point 84)."""

    period: Period
    due_on: date
    rule: Rule = Rule.P84


@dataclass(frozen=True, slots=True)
class ChannelLinked:
    """Отправитель привязан к счёту: ``sender`` is a keyed digest of the phone, chat or e-mail, never the address."""

    channel: Channel
    sender: str
    linked_at: datetime


@dataclass(frozen=True, slots=True)
class ChannelUnlinked:
    """Отправитель отвязан от счёта."""

    channel: Channel
    sender: str
    unlinked_at: datetime
    ground: str


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """Просьба отклонена, с причиной: any command but a reading. ``command`` is its name."""

    command: str
    reason: Reason
    refused_at: datetime
    detail: str | None = None


Event = (
    AccountOpened
    | AccountClosed
    | ResidentsChanged
    | TemporaryResidentsRegistered
    | AbsenceRegistered
    | MeterInstalled
    | MeterRestored
    | MeterRemoved
    | MeterFailed
    | ReadingCarriedOver
    | PeriodCarriedOver
    | BalanceCarriedOver
    | ReadingAccepted
    | ReadingHeld
    | ReadingRefused
    | ReadingConfirmed
    | ReadingRejected
    | ReadingSuperseded
    | ReadingDisproved
    | ReadingDisregarded
    | ControlReadingTaken
    | AccessRefused
    | InterferenceFound
    | PeriodMissed
    | PeriodClosed
    | UsageRecalculated
    | EstimationModeChanged
    | InspectionDue
    | ChannelLinked
    | ChannelUnlinked
    | PenaltyAccrued
    | PaymentReceived
    | PaymentReversed
    | RefundMade
    | PaymentMovedOut
    | PaymentMovedIn
    | RulebookPublished
    | CommandRefused
)
"""The closed union of all events: of accounts, of payments that no account is known for, and of the rulebook."""
