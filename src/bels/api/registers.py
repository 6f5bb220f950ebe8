"""Files of payments: where each of them stands, what became of its rows, and what an operator decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from bels.access.callers import Kind, Right
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, decode_id, encode_id, read_page
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.enums import describe
from bels.api.inputs import ACCOUNT
from bels.api.messages import note_of, or_later
from bels.api.outcomes import CommandRefused, refused_command
from bels.domain.terms import Reason, Role
from bels.journal.write import Db
from bels.payments.partners import PartnersError
from bels.payments.registers import files, review
from bels.payments.registers.faults import FILE_FAULTS, ROW_FAULTS, FileFault, RowFault
from bels.payments.registers.files import FileState, KeptRow, RegisterFile, RowOutcome
from bels.payments.registers.review import Mended, ResolveError
from bels.words import refusal

TYPE = "PaymentRegister"
GROUND_LENGTH_MIN = 3
GROUND_LENGTH_MAX = 300
NAME_LENGTH_MAX = 40
LINE_MAX = 2**31
FILE_MAX = 2**53

GROUND = "Why, 3 to 300 characters, without phones and e-mails; kept for the auditor."
REGISTER = "The id of the register."

First = Annotated[int | None, strawberry.argument(description="How many from the start: 1 to 100, 20 by default.")]
After = Annotated[str | None, strawberry.argument(description="The cursor after which to start.")]
Partner = Annotated[
    str | None, strawberry.argument(description="Only of this partner: its name in the contracts, or its client id.")
]

strawberry.enum(FileState, name="RegisterState", description="Where a register stands.")
strawberry.enum(FileFault, name="RegisterFault", description="Why a whole register waits in quarantine.")
strawberry.enum(RowOutcome, name="RegisterRowOutcome", description="What became of a row of a register.")
describe(
    {
        FileState.RECEIVED: "It is stored, and will be judged (получен).",
        FileState.QUARANTINED: "It waits for an operator whole, nothing of it is taken (карантин).",
        FileState.REJECTED: "An operator refused it for good (отклонён).",
        FileState.TAKING: "Its rows are being booked (разносится).",
        FileState.TAKEN: "Every row has its outcome (разнесён).",
    }
)
describe(FILE_FAULTS)
describe(
    {
        RowOutcome.CREDITED: "It was credited now (зачислено).",
        RowOutcome.MATCHED: "It met a payment that stands in the books (сошлось).",
        RowOutcome.CORRECTED: "It met one with another sum, and the register won (исправлено).",
        RowOutcome.UNALLOCATED: "Its account is not known: kept unallocated (невыясненный платёж).",
        RowOutcome.REFUNDED: "It returned a payment, or a part of one (возвращено).",
        RowOutcome.REVIEW: "It waits for an operator (на проверке).",
        RowOutcome.RESOLVING: "An operator decided, and it is being booked.",
        RowOutcome.DISMISSED: "An operator decided that there is nothing to book (снято с проверки).",
    }
)


@strawberry.type(description="How many rows of a register have an outcome.")
class RegisterTally:
    """How many rows of a register have an outcome."""

    outcome: RowOutcome = strawberry.field(description="The outcome.")
    count: int = strawberry.field(description="How many rows.")
    amount: Money = strawberry.field(description="Their sum.")


@strawberry.type(description="A line of a register, and what became of it.")
class PaymentRegisterRow:
    """A line of a register."""

    line: int = strawberry.field(description="Its line in the file, from 1.")
    external_id: str | None = strawberry.field(description="The bank's id of the payment; null where it has none.")
    account_number: str = strawberry.field(description="The account as it is given.")
    amount: Money | None = strawberry.field(description="The sum; null where it cannot be read.")
    fee: Money | None = strawberry.field(description="The bank's fee; null where nothing is said of it.")
    paid_on: date | None = strawberry.field(
        description="The day of the payer's operation; null where it cannot be read."
    )
    outcome: RowOutcome = strawberry.field(description="What became of it.")
    reason: str | None = strawberry.field(
        description="Why: the code of a fault or a refusal; of a corrected payment its sum before."
    )
    text: str | None = strawberry.field(description="The same in Russian.")
    receipt: str | None = strawberry.field(description="The receipt of what it brought; null where it brought nothing.")
    payment_id: str | None = strawberry.field(description="The id under which its money stands in the books.")
    reading: str | None = strawberry.field(description="The code of the reading's outcome; null where it brought none.")
    raw: str | None = strawberry.field(
        description="The line of a row that waits or waited, for its bank and for operators of personal data."
    )
    resolved_at: datetime | None = strawberry.field(description="When an operator decided.")
    ground: str | None = strawberry.field(description="Why it was decided so.")

    @classmethod
    def of(cls, info: Info, row: KeptRow) -> PaymentRegisterRow:
        """Show a row."""
        caller, texts = info.context.caller, info.context.app.door.raw_texts
        opens = caller.kind is Kind.PARTNER or Right.OPERATOR_PEOPLE in caller.rights

        def opened(text: str | None) -> str | None:
            return texts.opened(text) if text is not None else None

        return cls(
            line=row.line,
            external_id=opened(row.external_id),
            account_number=row.account,
            amount=row.amount,
            fee=row.fee,
            paid_on=row.paid_on,
            outcome=row.outcome,
            reason=row.reason,
            text=_words(row.reason),
            receipt=row.receipt,
            payment_id=opened(row.payment_id),
            reading=row.reading,
            raw=opened(row.raw) if opens else None,
            resolved_at=row.resolved_at,
            ground=row.ground,
        )


@strawberry.type(description="A file of payments that a partner brought (реестр).")
class PaymentRegister:
    """A file of payments."""

    id: strawberry.ID = strawberry.field(description="The id of the register.")
    file: int = strawberry.field(description="Our number of the file.")
    partner: str = strawberry.field(description="The partner's client id.")
    partner_title: str = strawberry.field(description="What the partner is called.")
    layout: str = strawberry.field(description="Which of the partner's registers it is; empty where that is not known.")
    name: str = strawberry.field(description="The name under which the file came first.")
    way: str = strawberry.field(description="How it came: UPLOAD, FOLDER, SFTP, LETTER or COMMAND.")
    size: int = strawberry.field(description="Its bytes.")
    sha256: str = strawberry.field(description="The digest of its bytes, in hexadecimal digits: its name for ever.")
    received_at: datetime = strawberry.field(description="When it came.")
    state: FileState = strawberry.field(description="Where it stands.")
    fault: FileFault | None = strawberry.field(description="Why it waits in quarantine, or waited.")
    fault_text: str | None = strawberry.field(description="The same in Russian.")
    detail: str | None = strawberry.field(description="What exactly is wrong.")
    number: str | None = strawberry.field(description="The register's own number.")
    day: date | None = strawberry.field(description="The register's day.")
    order_number: str | None = strawberry.field(description="The number of the bank's transfer that it names.")
    order_day: date | None = strawberry.field(description="The day of that transfer.")
    row_count: int = strawberry.field(description="How many rows it has.")
    amount: Money = strawberry.field(description="The sum of its rows.")
    fee: Money = strawberry.field(description="The fees of its rows.")
    transfer: Money = strawberry.field(description="What its rows leave for the supplier: what the bank transfers.")
    decided_at: datetime | None = strawberry.field(description="When an operator released or rejected it.")
    ground: str | None = strawberry.field(description="Why it was decided so.")
    ended_at: datetime | None = strawberry.field(description="When it was taken to its end, or rejected.")

    @classmethod
    def of(cls, info: Info, kept: RegisterFile) -> PaymentRegister:
        """Show a file."""
        app = info.context.app
        return cls(
            id=encode_id(TYPE, str(kept.file)),
            file=kept.file,
            partner=kept.partner,
            partner_title=app.partners.of(kept.partner).title,
            layout=kept.layout,
            name=app.door.raw_texts.opened(kept.name),
            way=kept.way,
            size=kept.size,
            sha256=kept.sha256.hex(),
            received_at=kept.received_at,
            state=kept.state,
            fault=kept.fault,
            fault_text=FILE_FAULTS[kept.fault] if kept.fault is not None else None,
            detail=kept.detail,
            number=kept.number,
            day=kept.day,
            order_number=kept.order_number,
            order_day=kept.order_day,
            row_count=kept.rows,
            amount=kept.amount,
            fee=kept.fee,
            transfer=kept.transfer,
            decided_at=kept.decided_at,
            ground=kept.ground,
            ended_at=kept.ended_at,
        )

    @strawberry.field(description="Its rows by what became of them: how many, and their sum.")
    async def totals(self, info: Info) -> list[RegisterTally]:
        """Count the rows by outcome."""
        async with _database(info) as db:
            rows = await files.tally(db, self.file)
        return [RegisterTally(outcome=row.outcome, count=row.count, amount=row.amount) for row in rows]

    @strawberry.field(description="Its rows in the order of their lines.")
    async def rows(
        self,
        info: Info,
        outcome: Annotated[
            RowOutcome | None, strawberry.argument(description="Only rows with this outcome; REVIEW is what waits.")
        ] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[PaymentRegisterRow]:
        """List rows."""
        page = read_page(first=first, after=after, kinds=(int,))
        start = min(_number(page.after), LINE_MAX - 1) if page.after is not None else None
        async with _database(info) as db:
            rows = await files.list_rows(db, self.file, outcome, start, page.limit)
        info.context.saw(row.account for row in rows)
        return connect(rows, page, node=lambda row: PaymentRegisterRow.of(info, row), key=lambda row: (row.line,))


@strawberry.input(
    description=(
        'A register in quarantine that may go on. Example: `{id: "...", ground: "банк подтвердил суммы письмом 17"}`.'
    )
)
class ReleaseRegisterInput:
    """A register in quarantine that may go on."""

    id: strawberry.ID = strawberry.field(description=REGISTER)
    ground: str = strawberry.field(description=GROUND)
    is_correction: bool = strawberry.field(
        default=True,
        description=(
            "Where another register has its number: equal rows of both are the same payments. False: it is another register "
            "that got the number by mistake."
        ),
    )
    layout: str | None = strawberry.field(
        default=None, description="Which of the partner's registers it is, where it was taken for another one."
    )


@strawberry.input(description="A register in quarantine of which nothing is to be taken.")
class RejectRegisterInput:
    """A register in quarantine of which nothing is to be taken."""

    id: strawberry.ID = strawberry.field(description=REGISTER)
    ground: str = strawberry.field(description=GROUND)


@strawberry.input(
    description=(
        "What a row that waits means. Example: "
        '`{id: "...", line: 17, ground: "плательщик назвал счёт", account: "1000101"}`.'
    )
)
class ResolveRegisterRowInput:
    """What a row that waits means."""

    id: strawberry.ID = strawberry.field(description=REGISTER)
    line: int = strawberry.field(description="The line of the row.")
    ground: str = strawberry.field(description=GROUND)
    dismiss: bool = strawberry.field(
        default=False, description="There is nothing to book: it is no payment, or it was booked by hand."
    )
    account: str | None = strawberry.field(default=None, description=ACCOUNT)
    amount: Money | None = strawberry.field(default=None, description="The sum, where the row does not tell it.")
    paid_on: date | None = strawberry.field(default=None, description="The day, where the row does not tell it.")


@strawberry.type(description="A register that goes on: it is judged and booked within seconds.")
class RegisterReleased:
    """A register that goes on."""

    register: PaymentRegister = strawberry.field(description="The register.")


@strawberry.type(description="A register that was refused for good.")
class RegisterRejected:
    """A register that was refused for good."""

    register: PaymentRegister = strawberry.field(description="The register.")


@strawberry.type(description="A register that does not wait for a decision: it was decided on before, or is taken.")
class RegisterNotWaiting:
    """A register that does not wait for a decision."""

    register: PaymentRegister = strawberry.field(description="The register as it stands.")


@strawberry.type(description="A row that was decided on.")
class RegisterRowResolved:
    """A row that was decided on."""

    row: PaymentRegisterRow = strawberry.field(description="The row; where it waits again, its reason says why.")


@strawberry.type(description="A row that does not wait for a decision.")
class RegisterRowNotWaiting:
    """A row that does not wait for a decision."""

    row: PaymentRegisterRow = strawberry.field(description="The row as it stands.")


ReleaseRegisterResult = Annotated[
    RegisterReleased | RegisterNotWaiting,
    strawberry.union("ReleaseRegisterResult", description="Whether the register goes on."),
]
RejectRegisterResult = Annotated[
    RegisterRejected | RegisterNotWaiting,
    strawberry.union("RejectRegisterResult", description="Whether the register is refused."),
]
ResolveRegisterRowResult = Annotated[
    RegisterRowResolved | RegisterRowNotWaiting | CommandRefused,
    strawberry.union("ResolveRegisterRowResult", description="What became of the row."),
]


@strawberry.type
class RegisterQuery:
    """What may be asked of registers; no type of the schema."""

    @strawberry.field(description="Files of payments, the newest first; a partner sees its own.")
    async def registers(
        self,
        info: Info,
        partner: Partner = None,
        day: Annotated[date | None, strawberry.argument(description="Only of this day of the register.")] = None,
        state: Annotated[FileState | None, strawberry.argument(description="Only in this state.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[PaymentRegister]:
        """List files."""
        page = read_page(first=first, after=after, kinds=(int,))
        before = _number(page.after) if page.after is not None else None
        async with _database(info) as db:
            rows = await files.list_files(db, _whose(info, partner), day, state, before, page.limit)
        return connect(rows, page, node=lambda row: PaymentRegister.of(info, row), key=lambda row: (row.file,))

    @strawberry.field(description="A file of payments; null where there is none, or it is another partner's.")
    async def register(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description=REGISTER)]
    ) -> PaymentRegister | None:
        """Find a file."""
        file = _file_of(id)
        async with _database(info) as db:
            kept = await files.find_file(db, file)
        whose = _whose(info, None)
        if kept is None or (whose is not None and kept.partner != whose):
            return None
        return PaymentRegister.of(info, kept)


@strawberry.type
class RegisterMutation:
    """What may be decided about registers; no type of the schema."""

    @strawberry.mutation(description="Let a register in quarantine go on, with the ground (operator of money).")
    async def release_register(self, info: Info, input: ReleaseRegisterInput) -> ReleaseRegisterResult:
        """Release a register."""
        till, file = info.context.app.till, _file_of(input.id)
        by, ground = info.context.caller_for(Role.OPERATOR).actor, _ground(input.ground)
        before = await _found(info, file)
        try:
            if input.layout is not None and files.layout_named(till.partners.of(before.partner), input.layout) is None:
                raise BadUserInputError(f"This partner has no register {input.layout[:NAME_LENGTH_MAX]}.")
            with or_later():
                kept = await review.release_file(
                    till, file, by, ground, is_correction=input.is_correction, layout=input.layout
                )
        except PartnersError as error:
            raise BadUserInputError(str(error)) from None
        if kept is None:
            return RegisterNotWaiting(register=PaymentRegister.of(info, await _found(info, file)))
        return RegisterReleased(register=PaymentRegister.of(info, kept))

    @strawberry.mutation(description="Refuse a register in quarantine for good, with the ground (operator of money).")
    async def reject_register(self, info: Info, input: RejectRegisterInput) -> RejectRegisterResult:
        """Reject a register."""
        till, file = info.context.app.till, _file_of(input.id)
        by, ground = info.context.caller_for(Role.OPERATOR).actor, _ground(input.ground)
        await _found(info, file)
        with or_later():
            kept = await review.reject_file(till, file, by, ground)
        if kept is None:
            return RegisterNotWaiting(register=PaymentRegister.of(info, await _found(info, file)))
        return RegisterRejected(register=PaymentRegister.of(info, kept))

    @strawberry.mutation(
        description="Decide on a row that waits: book it as it is meant, or dismiss it (operator of money)."
    )
    async def resolve_register_row(self, info: Info, input: ResolveRegisterRowInput) -> ResolveRegisterRowResult:
        """Resolve a row."""
        till, file = info.context.app.till, _file_of(input.id)
        by, ground = info.context.caller_for(Role.OPERATOR).actor, _ground(input.ground)
        if not 0 < input.line < LINE_MAX:
            raise BadUserInputError("`line` must be a line of the register.")
        if input.dismiss and (input.account, input.amount, input.paid_on) != (None, None, None):
            raise BadUserInputError("A row is dismissed, or taken with `account`, `amount` and `paidOn`; not both.")
        await _found(info, file)
        mended = Mended(input.account, Decimal(input.amount) if input.amount is not None else None, input.paid_on)
        try:
            with or_later():
                if input.dismiss:
                    row = await review.dismiss_row(till, file, input.line, by, ground)
                else:
                    row = await review.take_row(till, file, input.line, by, ground, mended)
        except ResolveError as fault:
            return refused_command(fault.reason, "", detail=fault.detail, path=["input", fault.field])
        if row is not None:
            return RegisterRowResolved(row=PaymentRegisterRow.of(info, row))
        async with _database(info) as db:
            row = await review.find_row(db, file, input.line)
        if row is None:
            raise BadUserInputError(f"This register has no row in line {input.line}.")
        return RegisterRowNotWaiting(row=PaymentRegisterRow.of(info, row))


@asynccontextmanager
async def _database(info: Info) -> AsyncIterator[Db]:
    """Give a connection.

    :raises TryLaterError: there is none now.
    """
    with or_later():
        async with info.context.app.pool.acquire() as db:
            yield db


def _whose(info: Info, partner: str | None) -> str | None:
    """Say whose registers are seen: a partner's are its own."""
    caller = info.context.caller
    if caller.kind is Kind.PARTNER:
        return caller.subject
    named = info.context.app.partners.named(partner) if partner is not None else None
    return named.client if named is not None else partner


async def _found(info: Info, file: int) -> RegisterFile:
    async with _database(info) as db:
        kept = await files.find_file(db, file)
    if kept is None:
        raise BadUserInputError("There is no such register.")
    return kept


def _file_of(id: str) -> int:
    key = decode_id(id, TYPE).key
    if not (key.isascii() and key.isdigit() and 0 < int(key[:20]) < FILE_MAX):
        raise BadUserInputError("This is not an id of this API.")
    return int(key)


def _number(key: tuple[object, ...]) -> int:
    (number,) = key
    return number if isinstance(number, int) else 0


def _ground(text: str) -> str:
    ground = note_of(text.strip(), "ground")
    if not GROUND_LENGTH_MIN <= len(ground) <= GROUND_LENGTH_MAX:
        raise BadUserInputError(f"`ground` must have {GROUND_LENGTH_MIN} to {GROUND_LENGTH_MAX} characters.")
    return ground


def _words(reason: str | None) -> str | None:
    if reason is None:
        return None
    if reason in set(RowFault):
        return ROW_FAULTS[RowFault(reason)]
    return refusal(Reason(reason)).text if reason in set(Reason) else None
