"""The words of the trade as enums of the schema; imported before any type or input names one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import strawberry
from strawberry.types.enum import EnumValue

from bels.access.words import WORDS, AccessReason
from bels.domain import explain, terms
from bels.projections import words
from bels.projections.receipts import ReceiptState as State

Register = strawberry.enum(terms.Register, description="A register of a meter: one, two or three zones of the day.")
Locality = strawberry.enum(terms.Locality, description="Town or village: decides the tariff group.")
Stove = strawberry.enum(terms.Stove, description="The kind of stove: decides the norm.")
Channel = strawberry.enum(terms.Channel, description="How a message came. It follows from the credential.")
Mode = strawberry.enum(terms.Mode, description="How the kWh of a period were found.")
Settlement = strawberry.enum(terms.Settlement, description="How a reading after missed periods puts estimates right.")
ReadingKind = strawberry.enum(terms.ReadingKind, description="What kind of reading it is.")
ReadingStatus = strawberry.enum(terms.ReadingStatus, description="What became of a reading. Only ACCEPTED counts.")
HoldReason = strawberry.enum(terms.HoldReason, description="Why a reading is held.")
Meaning = strawberry.enum(terms.Meaning, description="What an operator says of a value that went down.")
RefusalCode = strawberry.enum(
    terms.Reason, name="RefusalCode", description="Why bels refuses: the same codes on every channel, for ever."
)
RecalculationReason = strawberry.enum(terms.RecalculationReason, description="The ground of a recalculation.")
FailureCause = strawberry.enum(terms.FailureCause, description="Why a meter does not count.")
Role = strawberry.enum(terms.Role, description="For whom a message spoke.")
Scheme = strawberry.enum(terms.Scheme, description="Which registers a tariff has rates for.")
RateStatus = strawberry.enum(terms.RateStatus, description="Where a rate comes from.")
Purpose = strawberry.enum(terms.Purpose, description="What a payment pays; penalties are a ledger of their own.")
MovementKind = strawberry.enum(terms.MovementKind, description="What moves money on an account.")
LedgerName = strawberry.enum(terms.LedgerName, description="A ledger of the double entry.")
PaymentState = strawberry.enum(terms.PaymentState, description="What became of a payment.")
Rounding = strawberry.enum(explain.Rounding, description="How the result of a step follows from its expression.")
Unit = strawberry.enum(explain.Unit, description="What a result counts.")
ReceiptState = strawberry.enum(State, description="Where a message stands.")


@strawberry.enum(description="What a number of a reading or a period rests on.")
class Quality(terms.Word):
    """What a number rests on: never mixed in a list without it."""

    ACTUAL = "ACTUAL"
    CONTROL = "CONTROL"
    AVERAGE = "AVERAGE"
    NORMATIVE = "NORMATIVE"


READING_KINDS = {
    terms.ReadingKind.SENT: "Sent by a consumer or for one (переданное).",
    terms.ReadingKind.INITIAL: "Shown when the meter was put into service (начальное).",
    terms.ReadingKind.FINAL: "Shown when it was taken out (конечное).",
    terms.ReadingKind.CONTROL: "Taken by an inspector (контрольное).",
    terms.ReadingKind.PREVIOUS_WRONG: "Let stand by an operator: the one before was wrong; acts as a control reading.",
}
READING_STATUSES = {
    terms.ReadingStatus.ACCEPTED: "Counts (принято).",
    terms.ReadingStatus.HELD: "Does not count until it is confirmed (на проверке).",
    terms.ReadingStatus.SUPERSEDED: "A later one counts instead (заменено).",
    terms.ReadingStatus.DISPROVED: "A control reading showed less (опровергнуто).",
    terms.ReadingStatus.DISREGARDED: "Its period fell under two refusals of access or a failed meter (не учитывается).",
    terms.ReadingStatus.REJECTED: "An operator decided that it does not count (отклонено).",
    terms.ReadingStatus.REFUSED: "Was never taken (не принято).",
}
SETTLEMENTS = {
    terms.Settlement.REDISTRIBUTE: "The consumption is shared over the missed periods by their days.",
    terms.Settlement.IN_PERIOD: "The estimates stay, the period of the reading takes the rest.",
    terms.Settlement.NEXT_PERIOD: "As REDISTRIBUTE, with the bill of the next period.",
}
MEANINGS = {
    terms.Meaning.ROLLOVER: "The register passed zero (переход через ноль).",
    terms.Meaning.PREVIOUS_WRONG: "The reading before was wrong (прежнее ошибочно).",
}
QUALITIES = {
    Quality.ACTUAL: "Rests on what the meter showed.",
    Quality.CONTROL: "Rests on an inspector's or operator's word.",
    Quality.AVERAGE: "Estimated by the average.",
    Quality.NORMATIVE: "Billed by the norm.",
}
STATES = {
    State.ACCEPTED: "A reading that counts, its period is still open.",
    State.HELD: "A reading that does not count until it is confirmed.",
    State.REFUSED: "Not taken.",
    State.SUPERSEDED: "A later reading counts instead.",
    State.DISPROVED: "A control reading showed less.",
    State.DISREGARDED: "Does not count any more.",
    State.REJECTED: "An operator decided that it does not count.",
    State.COUNTED: "A reading that is billed; `countedIn` names the period.",
    State.DONE: "Something else than a reading, carried out.",
    State.PARKED: "Kept for an operator: it could not be handled.",
}
SCHEMES = {
    terms.Scheme.SINGLE: "One register: TOTAL.",
    terms.Scheme.TWO_ZONE: "Two registers: DAY, NIGHT.",
    terms.Scheme.THREE_ZONE: "Three registers: PEAK, HALF_PEAK, NIGHT.",
}
RATE_STATUSES = {
    terms.RateStatus.PUBLISHED: "Published by an act (опубликована).",
    terms.RateStatus.DERIVED: "Derived from published ones (выведена).",
    terms.RateStatus.UNKNOWN: "Not known: what needs it cannot be charged (неизвестна).",
}
PURPOSES = {
    terms.Purpose.ENERGY: "Electricity (электроэнергия).",
    terms.Purpose.PENALTY: "Penalties (пени).",
}
MOVEMENT_KINDS = {
    terms.MovementKind.OPENING: "The balance of an earlier system (входящее сальдо).",
    terms.MovementKind.CHARGE: "The charges of a period (начисление).",
    terms.MovementKind.RECALCULATION: "A recalculation (перерасчёт).",
    terms.MovementKind.PAYMENT: "A payment (платёж).",
    terms.MovementKind.REVERSAL: "A payment taken back by bank or payer (отмена платежа).",
    terms.MovementKind.REFUND: "An overpayment returned (возврат).",
    terms.MovementKind.MOVED_OUT: "A payment moved to another account (перенос с лицевого счёта).",
    terms.MovementKind.MOVED_IN: "A payment moved from another account (перенос на лицевой счёт).",
    terms.MovementKind.PENALTY: "Penalties posted with a bill (пени).",
}
LEDGERS = {
    terms.LedgerName.RECEIVABLE: "What consumers owe for electricity; a credit is an advance.",
    terms.LedgerName.REVENUE: "What was charged.",
    terms.LedgerName.RECALCULATED: "What recalculations added to the charges, or took from them.",
    terms.LedgerName.BANK: "Money that came and went.",
    terms.LedgerName.SUSPENSE: "Payments that no account is known for (невыясненные).",
    terms.LedgerName.TRANSFERS: "Payments on their way between two accounts: zero when all have arrived.",
    terms.LedgerName.PENALTY_RECEIVABLE: "What consumers owe of penalties.",
    terms.LedgerName.PENALTY_INCOME: "Penalties posted.",
    terms.LedgerName.OPENING_BALANCE: "The other side of balances carried over from an earlier system.",
}
PAYMENT_STATES = {
    terms.PaymentState.RECEIVED: "Counts.",
    terms.PaymentState.REVERSED: "Was taken back by bank or payer: as if it had not been made.",
    terms.PaymentState.MOVED: "Was moved to another account.",
    terms.PaymentState.RETURNED: "Was returned to the payer.",
}
ROUNDINGS = {
    explain.Rounding.EXACT: "The expression gives the result as it is.",
    explain.Rounding.WHOLE_KWH: "Rounded half-up to a whole kWh.",
    explain.Rounding.KOPECK: "Rounded half-up to a kopeck.",
    explain.Rounding.LARGEST_REMAINDER: (
        "The expression is a whole that is shared in proportion to `weights`; the result is the share at `place`."
    ),
}
UNITS = {explain.Unit.KWH: "kWh.", explain.Unit.ROUBLES: "Roubles."}


def describe(described: Mapping[Any, str]) -> None:
    """Give every value of an enum its description; the Russian tables are those of the audit trail."""
    kind: type[Enum] = type(next(iter(described)))
    definition: Any = kind.__strawberry_definition__  # type: ignore[attr-defined]
    for value in definition.values:
        value.description = described[kind(value.value)]


for table in (
    words.REGISTERS,
    words.LOCALITIES,
    words.STOVES,
    words.CHANNELS,
    words.MODES,
    words.HOLDS,
    words.REASONS,
    words.GROUNDS,
    words.CAUSES,
    words.ROLES,
    READING_KINDS,
    READING_STATUSES,
    SETTLEMENTS,
    MEANINGS,
    QUALITIES,
    STATES,
    SCHEMES,
    RATE_STATUSES,
    PURPOSES,
    MOVEMENT_KINDS,
    LEDGERS,
    PAYMENT_STATES,
    ROUNDINGS,
    UNITS,
):
    describe(table)

# The codes of the door stand beside those of the domain: one enum for whoever reads a refusal. Nobody sends one.
RefusalCode.__strawberry_definition__.values += [  # type: ignore[attr-defined]
    EnumValue(each.value, each.value, description=WORDS[each].text) for each in AccessReason
]
