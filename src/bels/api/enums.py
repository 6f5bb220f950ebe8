"""The words of the trade as enums of the schema; imported before any type or input names one."""

from __future__ import annotations

import strawberry

from bels.domain import terms
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
ReceiptState = strawberry.enum(State, description="Where a message stands; COUNTED names the period that billed it.")


@strawberry.enum(description="What a number of a reading or a period rests on.")
class Quality(terms.Word):
    """What a number rests on: never mixed in a list without it."""

    ACTUAL = "ACTUAL"
    CONTROL = "CONTROL"
    AVERAGE = "AVERAGE"
    NORMATIVE = "NORMATIVE"
