"""A partner's reconciled day as the schema shows it: sums, differences, transfers, acts; inputs and outcomes of working on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Annotated

import strawberry

from bels.access.callers import Kind, Right
from bels.api.context import Info
from bels.api.engine.scalars import Money
from bels.api.enums import describe
from bels.api.inputs import KEY
from bels.api.messages import or_later
from bels.api.outcomes import CommandRefused
from bels.domain import terms
from bels.domain.terms import Period
from bels.journal.write import Db
from bels.payments.partners import Partner
from bels.payments.reconciling import differences, transfers
from bels.payments.reconciling.differences import IN_RUSSIAN, Act, DifferenceKind, DifferenceState, Side
from bels.payments.reconciling.three_ways import Day

DIFFERENCES_MAX = 100
ACTS_MAX = 200
PARTNER = "The partner's name in the contracts, or its client id."

strawberry.enum(DifferenceKind, description="What differs between a partner's register, our ledger and its transfer.")
strawberry.enum(Side, name="DifferenceSide", description="Which two sums a difference explains.")
strawberry.enum(DifferenceState, description="What became of a difference.")
strawberry.enum(Act, name="ReconcilingActKind", description="What was done to a day or to a difference of it.")
describe({kind: f"{text[0].upper()}{text[1:]}." for kind, text in IN_RUSSIAN.items()})
describe(
    {
        Side.BOOK: "Their sum less ours.",
        Side.FEE: "Their fee less the agreed one.",
        Side.TRANSFER: "What was transferred less the net sum.",
    }
)
describe(
    {
        DifferenceState.OPEN: "Waits for an operator.",
        DifferenceState.EXPLAINED: "An operator said why, and nothing is to be done.",
        DifferenceState.CORRECTED: "It was put right, by an operator or by the register.",
        DifferenceState.ASKED_BANK: "The bank was asked, and has a day by which to answer.",
        DifferenceState.CLEARED: "The facts have put it right.",
    }
)
describe(
    {
        Act.FOUND: "A difference was found.",
        Act.REOPENED: "New facts, or a bank's silence, opened it again.",
        Act.CLEARED: "The facts put it right.",
        Act.EXPLAINED: "It was explained.",
        Act.CORRECTED: "It was corrected.",
        Act.ASKED_BANK: "The bank was asked.",
        Act.DAY_CLOSED: "The day was closed.",
        Act.DAY_REOPENED: "The day was opened again.",
        Act.TRANSFER_MATCHED: "A transfer was matched to the day.",
    }
)


@strawberry.enum(description="Where a partner's day stands.")
class ReconciliationState(terms.Word):
    """Where a partner's day stands."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


describe(
    {
        ReconciliationState.OPEN: "Something is open or waited for, or nobody has closed it.",
        ReconciliationState.CLOSED: "All agrees, or is explained.",
    }
)


@strawberry.type(description="A difference of a partner's day.")
class Difference:
    """A difference of a partner's day."""

    number: int = strawberry.field(description="Its number.")
    partner: str = strawberry.field(description="The partner.")
    day: date = strawberry.field(description="The day.")
    kind: DifferenceKind = strawberry.field(description="What differs.")
    side: Side = strawberry.field(description="Which sums it explains.")
    text: str = strawberry.field(description="The same in Russian.")
    payment_id: str | None = strawberry.field(description="The partner's id of the payment.")
    their_account: str | None = strawberry.field(description="The account in the register.")
    our_account: str | None = strawberry.field(description="The account here.")
    their_amount: Money | None = strawberry.field(description="The sum on the partner's side.")
    our_amount: Money | None = strawberry.field(description="The sum on our side.")
    amount: Money = strawberry.field(description="What it adds to the difference of its side.")
    other_day: date | None = strawberry.field(description="The day on which the other side has it.")
    receipt: str | None = strawberry.field(description="The receipt of the payment here.")
    detail: str | None = strawberry.field(
        description="What more is known: an outcome of the register, a number of rows."
    )
    state: DifferenceState = strawberry.field(description="What became of it.")
    found_at: datetime = strawberry.field(description="When it was found.")
    age_days: int = strawberry.field(description="Days since then.")
    ground: str | None = strawberry.field(description="Why it was closed.")
    worked_by: str | None = strawberry.field(description="Who closed it; null for the partner.")
    worked_at: datetime | None = strawberry.field(description="When.")
    answer_by: date | None = strawberry.field(description="The day by which the bank is to answer.")
    reopened: int = strawberry.field(description="How often it was opened again.")


@strawberry.type(description="What of a transfer pays a day.")
class TransferPart:
    """What of a transfer pays a day."""

    day: date = strawberry.field(description="The day.")
    amount: Money = strawberry.field(description="The sum.")


@strawberry.type(description="A bank's transfer to us (платёжное поручение).")
class BankTransfer:
    """A bank's transfer to us."""

    number: int = strawberry.field(description="Its number here.")
    document: str = strawberry.field(description="The number of the document.")
    made_on: date = strawberry.field(description="The day of the document.")
    amount: Money = strawberry.field(description="The sum.")
    payer_inn: str | None = strawberry.field(description="The payer's ИНН.")
    payer: str | None = strawberry.field(description="The payer; for operators of money and for itself.")
    purpose: str | None = strawberry.field(description="What it is for; for operators of money and for the payer.")
    partner: str | None = strawberry.field(description="The partner; null where nobody is known to pay so.")
    parts: list[TransferPart] = strawberry.field(description="The days that it pays; none until it is matched.")
    recorded_at: datetime = strawberry.field(description="When it was recorded.")


@strawberry.type(description="What was done to a day or to one of its differences.")
class ReconcilingAct:
    """What was done to a day."""

    act: Act = strawberry.field(description="What.")
    difference: int | None = strawberry.field(description="The number of the difference; null for the day.")
    at: datetime = strawberry.field(description="When.")
    by: str | None = strawberry.field(description="Who; null for the partner.")
    ground: str | None = strawberry.field(description="Why.")


@strawberry.type(description="A partner's day: its register, our ledger and its transfer, compared.")
class Reconciliation:
    """A partner's day."""

    client: strawberry.Private[str]
    partner: str = strawberry.field(description="The partner's name in the contracts.")
    title: str = strawberry.field(description="The partner's title.")
    day: date = strawberry.field(description="The Moscow day of the payers' operations, up to the cut-off.")
    state: ReconciliationState = strawberry.field(description="Where it stands.")
    registers: int = strawberry.field(description="Registers that tell of the day.")
    their_count: int = strawberry.field(description="Rows of the registers.")
    their_sum: Money = strawberry.field(description="Their sum.")
    their_fee: Money = strawberry.field(description="What the partner keeps of it.")
    agreed_fee: Money = strawberry.field(description="What it may keep by contract, rounded per payment.")
    our_count: int = strawberry.field(description="Payments that stand here.")
    our_sum: Money = strawberry.field(description="Their sum.")
    awaited_count: int = strawberry.field(description="Of them, those that no register has told of yet.")
    awaited_sum: Money = strawberry.field(description="Their sum.")
    net: Money = strawberry.field(description="What is to be transferred: the sum less the fee.")
    transfer_count: int = strawberry.field(description="Transfers that pay the day.")
    transfer_sum: Money = strawberry.field(description="What they pay of it.")
    transfer_awaited: bool = strawberry.field(description="A transfer is awaited, and not missed yet.")
    difference: Money = strawberry.field(description="Their sum less ours.")
    book_differences: Money = strawberry.field(description="The sum of differences of side BOOK.")
    fee_differences: Money = strawberry.field(description="The sum of differences of side FEE.")
    transfer_differences: Money = strawberry.field(description="The sum of differences of side TRANSFER.")
    adds_up: bool = strawberry.field(description="The differences explain the sums to the kopeck; always true.")
    open_differences: int = strawberry.field(description="Differences that wait for an operator.")
    reconciled_at: datetime = strawberry.field(description="When it was last compared.")
    look_again_at: datetime | None = strawberry.field(description="Until when something is waited for.")
    closed_at: datetime | None = strawberry.field(description="When it was closed.")
    closed_by: str | None = strawberry.field(description="Who closed it; null for the partner.")
    ground: str | None = strawberry.field(description="Why it was closed.")
    reopened: int = strawberry.field(description="How often it was opened again.")

    @strawberry.field(description="Its differences, open ones first: at most 100, all of them by `differences`.")
    async def differences(self, info: Info) -> list[Difference]:
        """List the differences."""
        async with database(info) as db:
            rows = await differences.of_day(db, self.client, self.day, DIFFERENCES_MAX)
        return shown_differences(info, rows)

    @strawberry.field(description="The transfers that pay it.")
    async def transfers(self, info: Info) -> list[BankTransfer]:
        """List the transfers."""
        async with database(info) as db:
            rows = await transfers.transfers_of(db, self.client, self.day)
        return [shown_transfer(info, row) for row in rows]

    @strawberry.field(description="What was done to it, the last 200 acts, the newest last.")
    async def acts(self, info: Info) -> list[ReconcilingAct]:
        """List the acts."""
        async with database(info) as db:
            rows = await differences.acts_of(db, self.client, self.day, ACTS_MAX)
        return [
            ReconcilingAct(act=row.act, difference=row.difference, at=row.at, by=who(info, row.by), ground=row.ground)
            for row in rows
        ]


@strawberry.input(
    description=(
        'A bank\'s transfer, as its document says. Example: `{idempotencyKey: "pp-17", document: "17", madeOn: '
        '"2026-11-21", amount: "2812.75", payerInn: "7707083893", purpose: "Платежи населения за 20.11.2026"}`.'
    )
)
class RecordTransferInput:
    """A bank's transfer."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    document: str = strawberry.field(description="The number of the document, at most 20 characters.")
    made_on: date = strawberry.field(description="The day of the document.")
    amount: Money = strawberry.field(description='Roubles and kopecks above zero, for example "2812.75".')
    payer_inn: str | None = strawberry.field(default=None, description="The payer's ИНН: an organisation, 10 digits.")
    payer_account: str | None = strawberry.field(default=None, description="The payer's account: 20 digits.")
    payer: str | None = strawberry.field(default=None, description="The payer's name, at most 200 characters.")
    purpose: str | None = strawberry.field(default=None, description="What it is for, at most 500 characters.")


@strawberry.input(description="What of a transfer pays a day.")
class TransferPartInput:
    """What of a transfer pays a day."""

    day: date = strawberry.field(description="The day.")
    amount: Money = strawberry.field(description="The sum; all parts together are the transfer.")


@strawberry.input(
    description=(
        'The days that a transfer pays, instead of those it was matched to. Example: `{idempotencyKey: "m-17", transfer: 17, '
        'partner: "sber", parts: [{day: "2026-11-20", amount: "2812.75"}]}`.'
    )
)
class MatchTransferInput:
    """The days that a transfer pays."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    transfer: int = strawberry.field(description="The number of the transfer.")
    partner: str = strawberry.field(description=PARTNER)
    parts: list[TransferPartInput] = strawberry.field(description="The days, 1 to 31.")


@strawberry.input(
    description=(
        'How a difference is closed. Example: `{idempotencyKey: "d-5", difference: 5, state: ASKED_BANK, ground: "запрос 17", '
        'answerBy: "2026-12-01"}`.'
    )
)
class WorkDifferenceInput:
    """How a difference is closed."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    difference: int = strawberry.field(description="Its number.")
    state: DifferenceState = strawberry.field(description="EXPLAINED, CORRECTED or ASKED_BANK.")
    ground: str = strawberry.field(description="Why, 3 to 300 characters; the partner may read it.")
    answer_by: date | None = strawberry.field(
        default=None, description="The day by which a bank that was asked answers."
    )


@strawberry.input(
    description='A day that is worked off. Example: `{idempotencyKey: "c-1", partner: "sber", day: "2026-11-20", ground: "сошлось"}`.'
)
class CloseReconciliationInput:
    """A day that is worked off."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    partner: str = strawberry.field(description=PARTNER)
    day: date = strawberry.field(description="The day.")
    ground: str = strawberry.field(description="Why it is closed, 3 to 300 characters; the partner may read it.")


@strawberry.input(description="A day that is to be compared now. The same again gives the same.")
class ReconcileDayInput:
    """A day that is to be compared now."""

    partner: str = strawberry.field(description=PARTNER)
    day: date = strawberry.field(description="The day: today or before.")


@strawberry.type(description="A transfer that is recorded.")
class TransferRecorded:
    """A transfer that is recorded."""

    transfer: BankTransfer = strawberry.field(description="The transfer; one that was known is the same.")
    replayed: bool = strawberry.field(description="The request had come before.")


@strawberry.type(description="A transfer that is matched to days.")
class TransferMatched:
    """A transfer that is matched to days."""

    transfer: BankTransfer = strawberry.field(description="The transfer.")
    reconciliations: list[Reconciliation] = strawberry.field(description="The days, compared again.")
    replayed: bool = strawberry.field(description="The request had come before.")


@strawberry.type(description="A difference that is closed.")
class DifferenceWorked:
    """A difference that is closed."""

    difference: Difference = strawberry.field(description="The difference.")
    replayed: bool = strawberry.field(description="The request had come before; the difference is as it stands now.")


@strawberry.type(description="A day that is closed.")
class ReconciliationClosed:
    """A day that is closed."""

    reconciliation: Reconciliation = strawberry.field(description="The day.")
    replayed: bool = strawberry.field(description="The request had come before; the day is as it stands now.")


@strawberry.type(description="A day that cannot be closed yet: something of it is open, or waited for.")
class ReconciliationNotClosed:
    """A day that cannot be closed yet."""

    reconciliation: Reconciliation = strawberry.field(description="The day.")
    text: str = strawberry.field(description="Why, in Russian.")


@strawberry.type(description="A day that was compared.")
class ReconciliationCompared:
    """A day that was compared."""

    reconciliation: Reconciliation = strawberry.field(description="The day.")


@strawberry.type(description="What the QR of a bill pays (ГОСТ Р 56042).")
class ScannedBill:
    """What the QR of a bill pays."""

    payee: str = strawberry.field(description="Whom.")
    payee_inn: str | None = strawberry.field(description="The payee's ИНН.")
    account: str | None = strawberry.field(description="The payer's account with the payee.")
    period: Period | None = strawberry.field(description="The period.")
    amount: Money | None = strawberry.field(description="The sum.")
    meter: str | None = strawberry.field(description="The number of the meter.")
    value: str | None = strawberry.field(description="The value of the meter, as it is written.")
    is_ours: bool = strawberry.field(description="It pays this supplier.")


@strawberry.type(description="What a link of the СБП pays; its checksum is right.")
class ScannedSbpLink:
    """What a link of the СБП pays."""

    qrcid: str = strawberry.field(description="The id that the bank gave.")
    once: bool = strawberry.field(description="It serves one payment.")
    bank: str = strawberry.field(description="The payee's bank in the СБП: 12 digits.")
    amount: Money | None = strawberry.field(description="The sum; null where the payer names it.")


@strawberry.type(description="A code that pays nothing that could be read.")
class CodeNotRead:
    """A code that pays nothing."""

    text: str = strawberry.field(description="What is wrong, in Russian.")
    detail: str = strawberry.field(description="The same for developers: which part of it.")


RecordTransferResult = Annotated[
    TransferRecorded | CommandRefused,
    strawberry.union("RecordTransferResult", description="Whether the transfer is recorded."),
]
MatchTransferResult = Annotated[
    TransferMatched | CommandRefused,
    strawberry.union("MatchTransferResult", description="Whether the transfer is matched."),
]
WorkDifferenceResult = Annotated[
    DifferenceWorked | CommandRefused,
    strawberry.union("WorkDifferenceResult", description="Whether the difference is closed."),
]
CloseReconciliationResult = Annotated[
    ReconciliationClosed | ReconciliationNotClosed | CommandRefused,
    strawberry.union("CloseReconciliationResult", description="Whether the day is closed."),
]
ReadPaymentQrResult = Annotated[
    ScannedBill | ScannedSbpLink | CodeNotRead,
    strawberry.union("ReadPaymentQrResult", description="What a scanned code pays."),
]


@asynccontextmanager
async def database(info: Info) -> AsyncIterator[Db]:
    """Give a connection.

    :raises TryLaterError: there is none now.
    """
    with or_later():
        async with info.context.app.pool.acquire() as db:
            yield db


def is_partner(info: Info) -> bool:
    """Say whether a partner asks, who sees its own and not who of us worked on it."""
    return info.context.caller.kind is Kind.PARTNER


def who(info: Info, actor: str | None) -> str | None:
    """Name who did something, to the office alone."""
    return None if is_partner(info) else actor


def _named(info: Info, client: str) -> Partner:
    return info.context.app.partners.of(client)


def shown_day(info: Info, row: Day) -> Reconciliation:
    """Show a day as it was last compared."""
    partner = _named(info, row.partner)
    return Reconciliation(
        client=row.partner,
        partner=partner.name,
        title=partner.title,
        day=row.day,
        state=ReconciliationState(row.state),
        registers=row.registers,
        their_count=row.their_count,
        their_sum=row.their_sum,
        their_fee=row.their_fee,
        agreed_fee=row.agreed_fee,
        our_count=row.our_count,
        our_sum=row.our_sum,
        awaited_count=row.awaited_count,
        awaited_sum=row.awaited_sum,
        net=row.net,
        transfer_count=row.transfer_count,
        transfer_sum=row.transfer_sum,
        transfer_awaited=row.transfer_awaited,
        difference=row.difference,
        book_differences=row.book_differences,
        fee_differences=row.fee_differences,
        transfer_differences=row.transfer_differences,
        adds_up=row.adds_up,
        open_differences=row.open_differences,
        reconciled_at=row.reconciled_at,
        look_again_at=row.look_again_at,
        closed_at=row.closed_at,
        closed_by=who(info, row.closed_by),
        ground=row.ground,
        reopened=row.reopened,
    )


def shown_differences(info: Info, rows: Sequence[differences.Difference]) -> list[Difference]:
    """Show differences, and note the accounts they are of."""
    now, texts = info.context.app.intake.clock(), info.context.app.door.raw_texts
    info.context.saw(row.our_account for row in rows if row.our_account is not None)
    return [
        Difference(
            number=row.number,
            partner=_named(info, row.partner).name,
            day=row.day,
            kind=row.kind,
            side=row.side,
            text=IN_RUSSIAN[row.kind],
            payment_id=texts.opened(row.external_id) if row.external_id is not None else None,
            their_account=row.their_account,
            our_account=row.our_account,
            their_amount=row.their_amount,
            our_amount=row.our_amount,
            amount=row.amount,
            other_day=row.other_day,
            receipt=row.receipt,
            detail=row.detail,
            state=row.state,
            found_at=row.found_at,
            age_days=(now - row.found_at) // timedelta(days=1),
            ground=row.ground,
            worked_by=who(info, row.worked_by),
            worked_at=row.worked_at,
            answer_by=row.answer_by,
            reopened=row.reopened,
        )
        for row in rows
    ]


def shown_transfer(info: Info, row: transfers.Transfer) -> BankTransfer:
    """Show a transfer; its words are for operators of money and for the payer."""
    texts = info.context.app.door.raw_texts
    opens = Right.OPERATOR_MONEY in info.context.caller.rights or is_partner(info)
    return BankTransfer(
        number=row.number,
        document=row.document,
        made_on=row.made_on,
        amount=row.amount,
        payer_inn=row.payer_inn or None,
        payer=texts.opened(row.payer) if opens and row.payer is not None else None,
        purpose=texts.opened(row.purpose) if opens and row.purpose is not None else None,
        partner=_named(info, row.partner).name if row.partner is not None else None,
        parts=[TransferPart(day=part.day, amount=part.amount) for part in row.parts],
        recorded_at=row.recorded_at,
    )
