"""The inputs of the schema. Every money or reading mutation has an idempotency key: its message's name for ever."""

from __future__ import annotations

from datetime import date, datetime

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.api.enums import describe
from bels.domain import terms
from bels.domain.terms import Kwh, MeterModel, Period, Register
from bels.journal.entry import Ground

KEY = "A name for this message, yours, at most 200 characters: the same key and content give the same outcome for ever."
ACCOUNT = 'Seven digits, for example "1000101".'
ACT = "The number or name of the act."
AT = "When it happened."
BEHALF = "For whom an operator acts, and by what right; nobody else may say it."

strawberry.enum(Ground, name="BehalfGround", description="By what right an operator acts for a consumer.")
describe(
    {
        Ground.IN_PERSON: "The consumer stood before the operator, with a document (лично).",
        Ground.BY_PHONE: "The consumer called (по телефону).",
        Ground.LETTER: "The consumer wrote (по заявлению).",
        Ground.POWER_OF_ATTORNEY: "Somebody came with a power of attorney (по доверенности).",
    }
)


@strawberry.input(
    description=(
        'For whom an operator acts, and by what right. Example: `{who: "REPRESENTATIVE", ground: POWER_OF_ATTORNEY, '
        'document: "доверенность …4821 2024-01-15"}`.'
    )
)
class BehalfInput:
    """For whom an operator acts, and by what right."""

    who: str = strawberry.field(
        description='"HOLDER", "MEMBER", "REPRESENTATIVE", or a person of the cabinet by its id ("u-...").'
    )
    ground: Ground = strawberry.field(description="By what right.")
    document: str | None = strawberry.field(
        default=None,
        description="What was shown: its kind, its day, the end of its number; 3 to 200 characters, never the number itself.",
    )


@strawberry.input(description='What one register shows, as written: `{register: TOTAL, value: "10385"}`.')
class RegisterReading:
    """What one register shows, as written."""

    register: terms.Register = strawberry.field(description="The register.")
    value: str = strawberry.field(description='The digits of the display, for example "10385"; a fraction is cut.')


@strawberry.input(description="What one register shows, by an act.")
class RegisterValueInput:
    """What one register shows, by an act."""

    register: terms.Register = strawberry.field(description="The register.")
    value: int = strawberry.field(description="Whole kWh.")


@strawberry.input(
    description=(
        "A meter reading: every register of the meter. Example: `{account: "
        '"1000101", idempotencyKey: "may-1", values: [{register: TOTAL, value: "10385"}]}`.'
    )
)
class SubmitReadingInput:
    """A meter reading."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    values: list[RegisterReading] = strawberry.field(description="Every register of the meter.")
    taken_at: datetime | None = strawberry.field(default=None, description="When it was read off the meter.")
    meter: str | None = strawberry.field(default=None, description="The meter's number, to be checked.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="Up to 500 readings; each has its own outcome, and a bad one never stops another.")
class SubmitReadingsInput:
    """Up to 500 readings."""

    rows: list[SubmitReadingInput] = strawberry.field(description="The readings: 1 to 500.")


@strawberry.input(description="A reading to look at, nothing is stored.")
class PreviewReadingInput:
    """A reading to look at."""

    account: str = strawberry.field(description=ACCOUNT)
    values: list[RegisterReading] = strawberry.field(description="Every register of the meter.")
    taken_at: datetime | None = strawberry.field(default=None, description="When it was read off the meter.")
    meter: str | None = strawberry.field(default=None, description="The meter's number, to be checked.")


@strawberry.input(description="The confirmation of a held reading, explicitly and with the same values.")
class ConfirmReadingInput:
    """The confirmation of a held reading."""

    receipt: str = strawberry.field(description="The receipt of the held reading.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    values: list[RegisterReading] | None = strawberry.field(default=None, description="The same values, to be checked.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="An operator's decision that a held reading counts.")
class DecideReadingInput:
    """An operator's decision about a held reading."""

    receipt: str = strawberry.field(description="The receipt of the held reading.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    meaning: terms.Meaning | None = strawberry.field(
        default=None, description="For a value that went down: ROLLOVER or PREVIOUS_WRONG."
    )
    note: str = strawberry.field(description="Why; kept for the auditor.")


@strawberry.input(description="An operator's decision that a held reading does not count.")
class RejectReadingInput:
    """An operator's decision that a held reading does not count."""

    receipt: str = strawberry.field(description="The receipt of the held reading.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    note: str = strawberry.field(description="Why; kept for the auditor.")


@strawberry.input(description="A place of a meter's display and its register.")
class DisplayPlaceInput:
    """A place of a meter's display and its register."""

    place: str = strawberry.field(description="T1, T2 or T3.")
    register: terms.Register = strawberry.field(description="The register shown there.")


@strawberry.input(description="A meter as its passport says.")
class MeterInput:
    """A meter as its passport says."""

    number: str = strawberry.field(description="The number on its face.")
    capacity: int = strawberry.field(description="Integer digits of a register: 5, 6 or 7.")
    registers: list[terms.Register] = strawberry.field(
        description="TOTAL; or DAY, NIGHT; or HALF_PEAK, NIGHT, PEAK: in the order of an SMS."
    )
    model: str | None = strawberry.field(default=None, description="Its model, where known.")
    display: list[DisplayPlaceInput] | None = strawberry.field(
        default=None, description="What T1 to T3 of the display show; by the model where not said."
    )
    automatic: bool = strawberry.field(default=False, description="Read by the remote system only.")


@strawberry.input(description="A new account.")
class OpenAccountInput:
    """A new account."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    opened_at: datetime = strawberry.field(description=AT)
    locality: terms.Locality = strawberry.field(description="Town or village.")
    stove: terms.Stove = strawberry.field(description="The kind of stove.")
    rooms: int = strawberry.field(description="Rooms, 1 to 30.")
    permanent: int = strawberry.field(description="Permanent residents, 0 to 100.")
    owners: int = strawberry.field(default=1, description="Owners, 1 to 100.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="The closing of an account.")
class CloseAccountInput:
    """The closing of an account."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    closed_at: datetime = strawberry.field(description=AT)
    ground: str = strawberry.field(description="Why; kept for the auditor.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="Residents from a day on.")
class ChangeResidentsInput:
    """Residents from a day on."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    effective_on: date = strawberry.field(description="From this day on.")
    permanent: int = strawberry.field(description="Permanent residents, 0 to 100.")
    owners: int = strawberry.field(default=1, description="Owners, 1 to 100.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="Temporary residents, more than five days in a row.")
class RegisterTemporaryResidentsInput:
    """Temporary residents."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    persons: int = strawberry.field(description="How many.")
    since: date = strawberry.field(description="The first day.")
    until: date = strawberry.field(description="The day after the last one.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="An absence of more than five full days; it counts only without a meter.")
class RegisterAbsenceInput:
    """An absence."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    persons: int = strawberry.field(description="How many.")
    left_on: date = strawberry.field(description="The day of leaving; it does not count.")
    returned_on: date = strawberry.field(description="The day of return; it does not count.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="A meter put into service.")
class InstallMeterInput:
    """A meter put into service."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    meter: MeterInput = strawberry.field(description="The meter.")
    installed_at: datetime = strawberry.field(description=AT)
    values: list[RegisterValueInput] = strawberry.field(description="Its initial values.")
    act: str = strawberry.field(description=ACT)


@strawberry.input(description="A meter taken out of service.")
class RemoveMeterInput:
    """A meter taken out of service."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    removed_at: datetime = strawberry.field(description=AT)
    values: list[RegisterValueInput] | None = strawberry.field(
        default=None, description="Its final values; without them it counts as failed."
    )
    act: str = strawberry.field(description=ACT)
    meaning: terms.Meaning | None = strawberry.field(default=None, description="For a final value that went down.")


@strawberry.input(description="A meter, or its registers, replaced in one act.")
class ReplaceMeterInput:
    """A meter replaced in one act."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    meter: MeterInput = strawberry.field(description="The new meter.")
    replaced_at: datetime = strawberry.field(description=AT)
    final_values: list[RegisterValueInput] | None = strawberry.field(
        default=None, description="The old meter's final values; without them it counts as failed."
    )
    initial_values: list[RegisterValueInput] = strawberry.field(description="The new meter's initial values.")
    act: str = strawberry.field(description=ACT)
    meaning: terms.Meaning | None = strawberry.field(default=None, description="For a final value that went down.")


@strawberry.input(description="A meter that does not count any more.")
class ReportMeterFailureInput:
    """A meter that does not count any more."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    failed_at: datetime = strawberry.field(description=AT)
    cause: terms.FailureCause = strawberry.field(description="Why.")
    act: str = strawberry.field(description=ACT)


@strawberry.input(description="A failed meter back in service.")
class RestoreMeterInput:
    """A failed meter back in service."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    restored_at: datetime = strawberry.field(description=AT)
    values: list[RegisterValueInput] = strawberry.field(description="What it shows when it is admitted.")
    act: str = strawberry.field(description=ACT)


@strawberry.input(description="kWh whose time of use the consumer proved.")
class ProvenUsageInput:
    """kWh whose time of use the consumer proved."""

    period: Period = strawberry.field(description="The closed period they belong to.")
    values: list[RegisterValueInput] = strawberry.field(description="kWh per register.")


@strawberry.input(description="A control reading by an inspector.")
class TakeControlReadingInput:
    """A control reading by an inspector."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    taken_at: datetime = strawberry.field(description=AT)
    values: list[RegisterValueInput] = strawberry.field(description="What the registers show.")
    act: str = strawberry.field(description=ACT)
    rollover: list[terms.Register] | None = strawberry.field(
        default=None, description="Registers that passed zero since the reading before."
    )
    proven: list[ProvenUsageInput] | None = strawberry.field(
        default=None, description="kWh whose time of use the consumer proved."
    )


@strawberry.input(description="A refusal of access, by an act.")
class RecordAccessRefusalInput:
    """A refusal of access."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    refused_at: datetime = strawberry.field(description=AT)
    act: str = strawberry.field(description=ACT)


@strawberry.input(description="Interference with a meter, by an act.")
class RecordInterferenceInput:
    """Interference with a meter."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    found_at: datetime = strawberry.field(description=AT)
    periods: list[Period] = strawberry.field(description="One to three closed periods before the act.")
    act: str = strawberry.field(description=ACT)


@strawberry.input(description="The closing of one period of one account.")
class ClosePeriodInput:
    """The closing of one period of one account."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    period: Period = strawberry.field(description="The next period of the account; it must be over.")


@strawberry.input(description="A sender that may speak for the account.")
class LinkChannelInput:
    """A sender that may speak for the account."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    channel: terms.Channel = strawberry.field(description="SMS, VOICE, EMAIL, TELEGRAM, MAX, CABINET or MOBILE.")
    address: str = strawberry.field(description="The phone, chat or e-mail; only its keyed digest is stored.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


@strawberry.input(description="A sender that may speak for the account no more.")
class UnlinkChannelInput:
    """A sender that may speak for the account no more."""

    account: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    channel: terms.Channel = strawberry.field(description="The channel.")
    address: str = strawberry.field(description="The phone, chat or e-mail.")
    ground: str = strawberry.field(description="Why; kept for the auditor.")
    behalf: BehalfInput | None = strawberry.field(default=None, description=BEHALF)


def values_of(values: list[RegisterValueInput]) -> Kwh:
    """Read the values of an act."""
    return {v.register: v.value for v in values}


def model_of(meter: MeterInput) -> MeterModel:
    """Read a meter."""
    display = {d.place.strip().upper(): d.register for d in meter.display} if meter.display is not None else None
    return MeterModel(
        meter.number.strip(),
        meter.capacity,
        tuple(Register(r) for r in meter.registers),
        meter.model,
        display,
        meter.automatic,
    )
