"""What may be asked to see: one SELECT on a view for each entry point."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

import strawberry

from bels.access.callers import Right
from bels.access.words import AccessReason, Refused
from bels.api import inputs
from bels.api.account_money import find_bill
from bels.api.accounts import Account, find_account
from bels.api.budgets import BudgetQuery
from bels.api.cabinets import CabinetQuery
from bels.api.cards import CardQuery
from bels.api.context import Info
from bels.api.engine.paging import Connection, Node, connect, decode_id, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.ledgers import Payment
from bels.api.messages import TryLaterError, claim_of
from bels.api.money_queries import MoneyQuery
from bels.api.mutations import texts
from bels.api.objects import (
    After,
    Before,
    First,
    Last,
    Reading,
    Usage,
    around,
    find_reading,
    told,
)
from bels.api.office import OfficeQuery
from bels.api.outcomes import PreviewReadingResult, not_seen_reading, previewed
from bels.api.paying import PayingQuery
from bels.api.personal import PersonalQuery
from bels.api.receipts import ParkedMessage, Receipt, find_receipt
from bels.api.reconciling import ReconcilingQuery
from bels.api.records import RecordQuery
from bels.api.registers import RegisterQuery
from bels.api.replays import AsOf, KnownAt, ReplayQuery
from bels.api.rounds import RoundQuery
from bels.api.sandbox import SandboxQuery
from bels.api.seals import SealQuery
from bels.api.trail import TrailQuery
from bels.api.trials import TrialQuery
from bels.api.webhooks import WebhookQuery
from bels.domain.commands import SubmitReading
from bels.domain.periods import period
from bels.domain.terms import Period, Reason, Role
from bels.journal.journal import find_parked
from bels.messages import TryLater
from bels.projections import audit, ledger, overview, readings, usage

NODES_MAX = 100
NODE_TYPES = ("Account", "Reading", "Usage", "AuditEntry", "Payment", "Bill")
ENTRY_MAX = 2**53


@strawberry.type(description="A refusal that may be expected: its code, and the words as they stand without details.")
class PossibleRefusal:
    """A refusal that may be expected."""

    code: Reason = strawberry.field(description="The stable code.")
    text: str = strawberry.field(description="The Russian text.")
    hint: str = strawberry.field(description="How to do it right.")


@strawberry.type(description="What may be asked to see.")
class Query(
    MoneyQuery,
    RecordQuery,
    CabinetQuery,
    PersonalQuery,
    BudgetQuery,
    OfficeQuery,
    RoundQuery,
    PayingQuery,
    RegisterQuery,
    ReconcilingQuery,
    CardQuery,
    WebhookQuery,
    SandboxQuery,
    SealQuery,
    ReplayQuery,
    TrialQuery,
    TrailQuery,
):
    """What may be asked to see."""

    @strawberry.field(
        description="An account by number, now or at a moment in both times; null when there is none, or was none then."
    )
    async def account(
        self,
        info: Info,
        number: Annotated[str, strawberry.argument(description=inputs.ACCOUNT)],
        as_of: AsOf = None,
        known_at: KnownAt = None,
    ) -> Account | None:
        """Find an account, at a moment where one is asked for."""
        return await find_account(info, number, as_of, known_at)

    @strawberry.field(description="Accounts in order of number.")
    async def accounts(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        open: Annotated[bool | None, strawberry.argument(description="Only open ones, or only closed ones.")] = None,
    ) -> Connection[Account]:
        """List accounts."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(str,))
        situation = None if open is None else "OPEN" if open else "CLOSED"
        async with info.context.app.pool.acquire() as db:
            rows = await overview.page(db, *around(page), situation)
        info.context.saw(row.account for row in rows)
        return connect(rows, page, node=Account.of, key=lambda row: (row.account,))

    @strawberry.field(description="Any object by its id; null when there is none.")
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
    ) -> Node | None:
        """Find an object."""
        return await _node(info, id)

    @strawberry.field(description="Objects by their ids, in the same order; null where there is none.")
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], strawberry.argument(description="At most 100.")]
    ) -> list[Node | None]:
        """Find objects."""
        if len(ids) > NODES_MAX:
            raise BadUserInputError(f"`ids` may have {NODES_MAX}; this one has {len(ids)}.")
        return [await _node(info, each) for each in ids]

    @strawberry.field(description="What became of a message, by its receipt; for ever.")
    async def receipt(
        self, info: Info, number: Annotated[str, strawberry.argument(description="Eight characters.")]
    ) -> Receipt | None:
        """Find a receipt."""
        row = await find_receipt(info, number)
        return Receipt.of(row) if row is not None else None

    @strawberry.field(description="The whole effect of a reading; nothing is stored.")
    async def preview_reading(self, info: Info, input: inputs.PreviewReadingInput) -> PreviewReadingResult:
        """Preview a reading."""
        app = info.context.app
        sight = info.context.see(input.account)
        if sight is None:
            return not_seen_reading(input.account)
        at, claim = app.intake.clock(), claim_of(info.context.caller)
        command = SubmitReading(at, texts(input.values), Role.CONSUMER, input.taken_at, input.meter, claim=claim)
        try:
            return previewed(await app.intake.preview(input.account, command), input.account, sight)
        except TryLater:
            raise TryLaterError from None

    @strawberry.field(description="Held readings of all accounts, oldest first: the operators' queue.")
    async def held_readings(self, info: Info, first: First = None, after: After = None) -> Connection[Reading]:
        """List held readings."""
        page = read_page(first=first, after=after, kinds=(datetime, str, int))
        key = page.after
        async with info.context.app.pool.acquire() as db:
            rows = await readings.held(db, key, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        info.context.saw(row.account for row in rows)
        return connect(rows, page, node=Reading.of, key=lambda row: (row.received_at, row.account, row.entry))

    @strawberry.field(description="Messages that could not be handled and wait for an operator, oldest first.")
    async def parked_messages(self, info: Info, first: First = None, after: After = None) -> Connection[ParkedMessage]:
        """List parked messages."""
        page = read_page(first=first, after=after, kinds=(datetime, str))
        key = page.after
        async with info.context.app.pool.acquire() as db:
            rows = await find_parked(db, key, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        info.context.saw(row.account for row in rows)
        opens = Right.OPERATOR_PEOPLE in info.context.caller.rights
        return connect(
            rows,
            page,
            node=lambda row: ParkedMessage(
                receipt=row.receipt,
                channel=row.channel,
                message_id=info.context.app.door.raw_texts.opened(row.message_id) if opens else row.message_id,
                account_number=row.account,
                recorded_at=row.recorded_at,
                raw=info.context.app.door.raw_texts.opened(row.raw) if opens else row.raw,
            ),
            key=lambda row: (row.recorded_at, row.receipt),
        )

    @strawberry.field(description="Every refusal there is, with its words: build your own messages from the codes.")
    def possible_refusals(self) -> list[PossibleRefusal]:
        """List refusals."""
        return [
            PossibleRefusal(code=cast("Reason", reason), text=words.text, hint=words.hint)
            for reason in (*Reason, *AccessReason)
            for words in (Refused(reason).words,)
        ]


async def _node(info: Info, id: str) -> Node | None:
    type_name, key = decode_id(id, *NODE_TYPES)
    number, _, rest = key.partition("/")
    if type_name == "Account":
        return await find_account(info, number)
    sight = info.context.see(number)
    if sight is None:
        return None
    if type_name == "Usage":
        if sight.period is not None and rest < sight.period:
            return None
        async with info.context.app.pool.acquire() as db:
            rows = await usage.page(db, number, None, rest + "\x01", 1, True)
        return Usage.of(rows[0], sight) if rows and rows[0].period == rest else None
    if type_name == "Bill":
        return await find_bill(info, number, _period(rest))
    if not (rest.isascii() and rest.isdigit() and int(rest) <= ENTRY_MAX):
        raise BadUserInputError("This is not an id of this API.")
    entry = int(rest)
    if type_name == "Reading":
        return await find_reading(info, number, entry)
    if entry <= sight.entry:
        return None
    async with info.context.app.pool.acquire() as db:
        if type_name == "Payment":
            payment = await ledger.payment_at(db, number, entry)
            return Payment.of(payment) if payment is not None else None
        entries = await audit.page(db, number, entry - 1, None, 1, False)
    return told(entries[0], info.context.caller) if entries and entries[0].entry == entry else None


def _period(text: str) -> Period:
    try:
        return period(text)
    except ValueError:
        raise BadUserInputError("This is not an id of this API.") from None
