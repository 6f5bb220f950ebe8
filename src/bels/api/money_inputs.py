"""The inputs of money: a payment is named by the payer's id of it, everything else by an idempotency key."""

from __future__ import annotations

from datetime import date

import strawberry

import bels.api.enums  # noqa: F401  # the enums are described there
from bels.api.engine.scalars import Money, Toml
from bels.api.inputs import ACCOUNT, KEY
from bels.domain import terms

GROUND = "Why; kept for the auditor."
AMOUNT = 'Roubles and kopecks above zero, at most 10000000.00, for example "1245.05".'
RECEIPT = "The receipt of the payment."


@strawberry.input(
    description=(
        "A payment, as a bank or an agent reports it; the same payment sent again is taken once. Example: `{account: "
        '"1000101", amount: "1245.05", paidOn: "2024-06-07", paymentId: "SB-2024-06-07-000123"}`.'
    )
)
class ReceivePaymentInput:
    """A payment."""

    account: str = strawberry.field(
        description='The account as the payer gave it, for example "1000101". An unknown one is no refusal: the money is kept.'
    )
    amount: Money = strawberry.field(description=AMOUNT)
    paid_on: date = strawberry.field(description="The Moscow day of the payer's operation: it counts from this day on.")
    payment_id: strawberry.ID = strawberry.field(
        description="The payer's or bank's id of the payment, at most 200 characters: its name for ever."
    )
    purpose: terms.Purpose = strawberry.field(
        default=terms.Purpose.ENERGY, description="What it pays: ENERGY by default."
    )


@strawberry.input(description="The reversal of a payment by its bank or payer: name it by its receipt or by its id.")
class ReversePaymentInput:
    """The reversal of a payment."""

    receipt: str | None = strawberry.field(default=None, description=RECEIPT)
    payment_id: strawberry.ID | None = strawberry.field(default=None, description="The payer's id of the payment.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    ground: str = strawberry.field(description=GROUND)


@strawberry.input(
    description="An overpayment returned: of an account, or of an unallocated payment, whole, by its receipt."
)
class MakeRefundInput:
    """An overpayment returned."""

    account: str | None = strawberry.field(default=None, description=ACCOUNT)
    receipt: str | None = strawberry.field(default=None, description="The receipt of an unallocated payment.")
    amount: Money = strawberry.field(description=AMOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    ground: str = strawberry.field(description=GROUND)


@strawberry.input(description="A payment moved to the account where it belongs, or an unallocated one allocated.")
class MovePaymentInput:
    """A payment moved to another account."""

    receipt: str = strawberry.field(description=RECEIPT)
    to: str = strawberry.field(description=ACCOUNT)
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    ground: str = strawberry.field(description=GROUND)


@strawberry.input(
    description=(
        "Rules to be published: a TOML file over the rules in force. A row replaces the row with the same key, "
        "others are added, what it does not name stays."
    )
)
class PublishRulebookInput:
    """Rules to be published."""

    toml: Toml = strawberry.field(description="The file, as `bels rulebook` writes it.")
    retroactive: str | None = strawberry.field(
        default=None,
        description="The reason, where a past that has been charged changes: it is put right with the next bill.",
    )
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
