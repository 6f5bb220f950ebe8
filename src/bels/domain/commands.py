"""What may be asked of an account: the closed union of commands, in the imperative.

Every command tells the moment to which it belongs; the domain has no clock. Texts that a person typed (the values of a
reading) stay texts, so that a refusal can repeat them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    AccountNumber,
    Channel,
    EntryNumber,
    FailureCause,
    Kwh,
    Locality,
    Meaning,
    MeterModel,
    Mode,
    Money,
    Period,
    Purpose,
    Reason,
    Register,
    Role,
    Stove,
)


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Открыть лицевой счёт."""

    opened_at: datetime
    locality: Locality
    stove: Stove
    rooms: int
    permanent: int
    owners: int = 1


@dataclass(frozen=True, slots=True)
class CloseAccount:
    """Закрыть лицевой счёт."""

    closed_at: datetime
    ground: str


@dataclass(frozen=True, slots=True)
class CarriedReading:
    """A reading taken over from an earlier system."""

    at: datetime
    values: Kwh


@dataclass(frozen=True, slots=True)
class CarriedPeriod:
    """A period that an earlier system billed. ``estimated``: by 59 «б» or 60, still to be put right."""

    period: Period
    mode: Mode
    usage: Kwh
    estimated: bool
    billed: Money | None = None


@dataclass(frozen=True, slots=True)
class CarryOverHistory:
    """Перенести счёт из прежней системы: meter, its actual readings in order (the first is the initial one), billed periods.

    All periods through ``billed_through`` are closed there. The periods after the last reading must be named with what
    was billed for them. ``balance`` is what the account owes there (negative: an advance), ``penalty`` the penalties apart.
    """

    meter: MeterModel | None
    readings: tuple[CarriedReading, ...]
    billed_through: Period
    periods: tuple[CarriedPeriod, ...] = ()
    carried_at: datetime | None = None
    balance: Money | None = None
    penalty: Money | None = None


@dataclass(frozen=True, slots=True)
class ChangeResidents:
    """Изменить число постоянно проживающих и собственников, с даты."""

    effective_on: date
    permanent: int
    asked_at: datetime
    owners: int = 1


@dataclass(frozen=True, slots=True)
class RegisterTemporaryResidents:
    """Зарегистрировать временно проживающих: ``since`` inclusive, ``until`` exclusive, more than five days."""

    persons: int
    since: date
    until: date
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class RegisterAbsence:
    """Учесть временное отсутствие: more than five full days; counts only without a meter."""

    persons: int
    left_on: date
    returned_on: date
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class InstallMeter:
    """Ввести прибор учёта в эксплуатацию. A meter still in service counts as failed at the act (rules 1.3)."""

    meter: MeterModel
    installed_at: datetime
    values: Kwh
    act: str = ""


@dataclass(frozen=True, slots=True)
class RemoveMeter:
    """Снять прибор учёта. Without ``values`` it counts as failed at the act."""

    removed_at: datetime
    values: Kwh | None
    act: str = ""
    meaning: Meaning | None = None


@dataclass(frozen=True, slots=True)
class ReplaceMeter:
    """Заменить прибор учёта, или перепрограммировать его на другие зоны, одним актом."""

    meter: MeterModel
    replaced_at: datetime
    final_values: Kwh | None
    initial_values: Kwh
    act: str = ""
    meaning: Meaning | None = None


@dataclass(frozen=True, slots=True)
class ReportMeterFailure:
    """Сообщить о неисправном, утраченном или просроченном приборе учёта (59 «г»)."""

    failed_at: datetime
    cause: FailureCause
    act: str = ""


@dataclass(frozen=True, slots=True)
class RestoreMeter:
    """Вернуть неисправный прибор учёта в работу, с показаниями при допуске."""

    restored_at: datetime
    values: Kwh
    act: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Кто говорит: a phone, a chat, an e-mail by its keyed digest, or "" for a page without login, on its channel.

    A claim is all there is until the sender is linked to the account; ``proven`` says that the channel vouches for the
    address (a letter whose sender nobody vouches for is not proven). Who has a credential of his own makes no claim.
    """

    channel: Channel
    sender: str = ""
    proven: bool = True


@dataclass(frozen=True, slots=True)
class SubmitReading:
    """Передать показание: ``values`` by register name, as the sender wrote them.

    ``meter`` is the number of the meter where the channel names it; ``claim`` is who says so, where nothing else tells.
    """

    received_at: datetime
    values: Mapping[str, str]
    role: Role = Role.CONSUMER
    taken_at: datetime | None = None
    meter: str | None = None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class ConfirmReading:
    """Подтвердить показание, бывшее на проверке. An operator says what a value that went down means."""

    reading: EntryNumber
    confirmed_at: datetime
    role: Role
    values: Mapping[str, str] | None = None
    meaning: Meaning | None = None
    note: str | None = None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class RejectReading:
    """Отклонить показание, бывшее на проверке (оператор)."""

    reading: EntryNumber
    rejected_at: datetime
    note: str


@dataclass(frozen=True, slots=True)
class TakeControlReading:
    """Снять контрольное показание. A register that passed zero must be named in ``rollover``."""

    taken_at: datetime
    values: Kwh
    act: str = ""
    rollover: tuple[Register, ...] = ()
    proven: Mapping[Period, Kwh] | None = None


@dataclass(frozen=True, slots=True)
class RecordAccessRefusal:
    """Составить акт о недопуске."""

    refused_at: datetime
    act: str = ""


@dataclass(frozen=True, slots=True)
class RecordInterference:
    """Составить акт о вмешательстве: at most three closed periods before the act."""

    found_at: datetime
    periods: tuple[Period, ...]
    act: str = ""


@dataclass(frozen=True, slots=True)
class ClosePeriod:
    """Закрыть расчётный период."""

    period: Period
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class LinkChannel:
    """Привязать отправителя к счёту: ``sender`` is a keyed digest of the address."""

    channel: Channel
    sender: str
    linked_at: datetime


@dataclass(frozen=True, slots=True)
class UnlinkChannel:
    """Отвязать отправителя от счёта."""

    channel: Channel
    sender: str
    unlinked_at: datetime
    ground: str = ""


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Условия договора с тем, кто принимает платежи: sums in roubles, None where there is no bound.

    ``keeps_unallocated``: a payment that cannot go to its account is kept; else it is refused, and the payer keeps the money.
    ``commission`` is what the payer was to be shown, None where whoever takes the payment settles that alone.
    """

    minimum: Money | None = None
    maximum: Money | None = None
    keeps_unallocated: bool = True
    commission: Money | None = None


NO_TERMS = PaymentTerms()


@dataclass(frozen=True, slots=True)
class ReceivePayment:
    """Принять платёж: ``amount`` roubles, as given. ``paid_on`` is the Moscow day of the payer's operation.

    For an account that is not known, or is closed and owes nothing, the payment is kept unallocated: money is never dropped.
    Then it comes to a stream of its own, with the account ``meant_for`` as given and the reason (``unallocated``).
    ``commission`` is what the payer pays on top, ``terms`` what was agreed with whoever takes the payment.
    """

    amount: Decimal
    paid_on: date
    received_at: datetime
    reference: str
    purpose: Purpose = Purpose.ENERGY
    meant_for: str | None = None
    unallocated: Reason | None = None
    paid_at: datetime | None = None
    commission: Money | None = None
    terms: PaymentTerms = NO_TERMS


@dataclass(frozen=True, slots=True)
class ReversePayment:
    """Отменить платёж целиком. ``by_payer``: whoever brought it takes it back alone, which it may on the day on which it came."""

    payment: EntryNumber
    reversed_at: datetime
    ground: str
    by_payer: bool = False


@dataclass(frozen=True, slots=True)
class MakeRefund:
    """Вернуть переплату: up to the overpayment."""

    amount: Decimal
    refunded_at: datetime
    ground: str


@dataclass(frozen=True, slots=True)
class MovePaymentOut:
    """Перенести платёж на другой лицевой счёт: the half that takes it from here. Whoever asks has seen that ``to`` exists."""

    payment: EntryNumber
    to: AccountNumber
    moved_at: datetime
    ground: str


@dataclass(frozen=True, slots=True)
class MovePaymentIn:
    """Перенести платёж с другого лицевого счёта: the half that books it here, as ``PaymentMovedOut`` says."""

    amount: Money
    paid_on: date
    moved_at: datetime
    purpose: Purpose
    reference: str
    source: AccountNumber
    payment: EntryNumber
    ground: str


@dataclass(frozen=True, slots=True)
class PublishRulebook:
    """Опубликовать правила: ``book`` is the whole rulebook as it should be, made from publication ``base``.

    ``charged_through`` is the last period that any account was charged for, None where none was. ``retroactive`` is the reason
    to change a past that has been charged.
    """

    book: Rulebook
    base: int
    published_at: datetime
    source: str
    charged_through: Period | None = None
    retroactive: str | None = None


Command = (
    OpenAccount
    | CloseAccount
    | CarryOverHistory
    | ChangeResidents
    | RegisterTemporaryResidents
    | RegisterAbsence
    | InstallMeter
    | RemoveMeter
    | ReplaceMeter
    | ReportMeterFailure
    | RestoreMeter
    | SubmitReading
    | ConfirmReading
    | RejectReading
    | TakeControlReading
    | RecordAccessRefusal
    | RecordInterference
    | ClosePeriod
    | LinkChannel
    | UnlinkChannel
    | ReceivePayment
    | ReversePayment
    | MakeRefund
    | MovePaymentOut
    | MovePaymentIn
    | PublishRulebook
)
"""The closed union of all commands."""
