"""Three books of a partner's day compared: what differs, who worked it off, what was transferred; and what a scanned code pays."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import strawberry

from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError, clean_text
from bels.api.messages import key_of, note_of, or_later, raw_of
from bels.api.objects import After, First
from bels.api.outcomes import CommandRefused, refused_command
from bels.api.reconciled import (
    PARTNER,
    BankTransfer,
    CloseReconciliationInput,
    CloseReconciliationResult,
    CodeNotRead,
    Difference,
    DifferenceWorked,
    MatchTransferInput,
    MatchTransferResult,
    ReadPaymentQrResult,
    ReconcileDayInput,
    Reconciliation,
    ReconciliationClosed,
    ReconciliationCompared,
    ReconciliationNotClosed,
    ReconciliationState,
    RecordTransferInput,
    RecordTransferResult,
    ScannedBill,
    ScannedSbpLink,
    TransferMatched,
    TransferRecorded,
    WorkDifferenceInput,
    WorkDifferenceResult,
    database,
    is_partner,
    shown_day,
    shown_differences,
    shown_transfer,
)
from bels.domain.periods import moscow_date
from bels.domain.terms import Reason, Role
from bels.payments.partners import Partner
from bels.payments.reconciling import differences, three_ways, transfers, working
from bels.payments.reconciling.differences import WORKED, DifferenceKind, DifferenceState
from bels.payments.reconciling.statement import PaymentOrder
from bels.payments.reconciling.transfers import TransferError
from bels.payments.reconciling.working import By, KeyReusedError, NotThereError
from bels.printing.payment_qr import NotAPaymentQr, read_bill
from bels.printing.sbp_link import HOST, BadSbpLink, SbpKind, read_sbp_link

GROUND_LENGTH_MIN = 3
GROUND_LENGTH_MAX = 300
DAYS_MAX = 400
NUMBER_MAX = 2**53

PartnerArgument = Annotated[str | None, strawberry.argument(description=f"{PARTNER} A partner has its own alone.")]


@strawberry.type
class ReconcilingQuery:
    """What may be asked of reconciling; no type of the schema."""

    @strawberry.field(description="A partner's day; null where it was never compared, or is another partner's.")
    async def reconciliation(
        self,
        info: Info,
        day: Annotated[date, strawberry.argument(description="The day.")],
        partner: PartnerArgument = None,
    ) -> Reconciliation | None:
        """Find a day."""
        client = _client(info, partner)
        if client is None:
            if partner is None:
                raise BadUserInputError("`partner` is missing.")
            return None
        async with database(info) as db:
            found = await three_ways.day_of(db, client, day)
        return shown_day(info, found) if found is not None else None

    @strawberry.field(description="Days of partners in their order.")
    async def reconciliations(
        self,
        info: Info,
        partner: PartnerArgument = None,
        since: Annotated[date | None, strawberry.argument(description="The first day.")] = None,
        until: Annotated[date | None, strawberry.argument(description="The last day.")] = None,
        state: Annotated[
            ReconciliationState | None, strawberry.argument(description="Only those that stand so.")
        ] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Reconciliation]:
        """List days."""
        page = read_page(first=first, after=after, kinds=(date, str))
        client = _client(info, partner)
        if client is None and partner is not None:
            return connect([], page, node=lambda row: row, key=lambda _: ())
        async with database(info) as db:
            rows = await three_ways.days(
                db,
                client,
                since,
                until,
                state.value if state is not None else None,
                page.after,  # type: ignore[arg-type]  # the cursor's kinds say so
                page.limit,
            )
        return connect(rows, page, node=lambda row: shown_day(info, row), key=lambda row: (row.day, row.partner))

    @strawberry.field(description="Differences, found first before the others: the work list, with their age.")
    async def differences(
        self,
        info: Info,
        state: Annotated[
            DifferenceState | None, strawberry.argument(description="Only of this state; null for all.")
        ] = DifferenceState.OPEN,
        kind: Annotated[DifferenceKind | None, strawberry.argument(description="Only of this kind.")] = None,
        partner: PartnerArgument = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Difference]:
        """List differences."""
        page = read_page(first=first, after=after, kinds=(datetime, int))
        client = _client(info, partner)
        if client is None and partner is not None:
            return connect([], page, node=lambda row: row, key=lambda _: ())
        async with database(info) as db:
            rows = await differences.work_list(db, state, kind, client, page.after, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        shown = {row.number: each for row, each in zip(rows, shown_differences(info, rows), strict=True)}
        return connect(rows, page, node=lambda row: shown[row.number], key=lambda row: (row.found_at, row.number))

    @strawberry.field(description="Banks' transfers, in the order in which they were recorded.")
    async def bank_transfers(
        self,
        info: Info,
        partner: PartnerArgument = None,
        unmatched: Annotated[bool, strawberry.argument(description="Only those whose days are not known.")] = False,
        first: First = None,
        after: After = None,
    ) -> Connection[BankTransfer]:
        """List transfers."""
        page = read_page(first=first, after=after, kinds=(int,))
        client = _client(info, partner)
        if client is None and partner is not None:
            return connect([], page, node=lambda row: row, key=lambda _: ())
        cursor = page.after[0] if page.after is not None else None
        async with database(info) as db:
            rows = await transfers.list_transfers(db, client, unmatched, cursor, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        return connect(rows, page, node=lambda row: shown_transfer(info, row), key=lambda row: (row.number,))

    @strawberry.field(
        description="Read what a scanned code pays: the QR of a bill (ГОСТ Р 56042) or a link of the СБП; public, nothing is kept."
    )
    async def read_payment_qr(
        self, info: Info, text: Annotated[str, strawberry.argument(description="The text of the code.")]
    ) -> ReadPaymentQrResult:
        """Read a scanned code."""
        if text.startswith(f"https://{HOST}/"):
            try:
                link = read_sbp_link(text)
            except BadSbpLink as bad:
                return CodeNotRead(text="Ссылка СБП испорчена: отсканируйте код ещё раз.", detail=str(bad))
            once = link.kind is SbpKind.DYNAMIC
            return ScannedSbpLink(qrcid=link.qrcid, once=once, bank=link.bank, amount=link.amount)
        try:
            bill = read_bill(text)
        except NotAPaymentQr as bad:
            return CodeNotRead(text="Это не код для оплаты: нужен QR-код с квитанции.", detail=str(bad))
        with or_later():
            requisites = (await info.context.app.intake.rules()).requisites
        return ScannedBill(
            payee=bill.payee,
            payee_inn=bill.payee_inn,
            account=bill.account,
            period=bill.period,
            amount=bill.amount,
            meter=bill.meter,
            value=bill.value,
            is_ours=requisites is not None and bill.pays(requisites),
        )


@strawberry.type
class ReconcilingMutation:
    """What may be done to reconcile; no type of the schema."""

    @strawberry.mutation(
        description="Record a bank's transfer, once (operator); it is matched where it says what it pays."
    )
    async def record_transfer(self, info: Info, input: RecordTransferInput) -> RecordTransferResult:
        """Record a transfer."""
        app = info.context.app
        if not 0 <= (moscow_date(app.intake.clock()) - input.made_on).days <= DAYS_MAX:
            return refused_command(Reason.BAD_DATES, "", path=["input", "madeOn"])
        order = PaymentOrder(
            input.document.strip(),
            input.made_on,
            input.amount,
            input.payer_inn or "",
            input.payer_account or "",
            clean_text(input.payer or ""),
            clean_text(input.purpose or ""),
        )
        try:
            with or_later():
                transfer, replayed = await working.enter_transfer(app.till, order, _by(info, "recordTransfer", input))
        except TransferError as fault:
            return _refused(fault)
        except KeyReusedError:
            return _reused()
        return TransferRecorded(transfer=shown_transfer(info, transfer), replayed=replayed)

    @strawberry.mutation(description="Match a transfer to the days that it pays (operator).")
    async def match_transfer(self, info: Info, input: MatchTransferInput) -> MatchTransferResult:
        """Match a transfer."""
        partner = _partner(info, input.partner)
        parts = [transfers.Part(part.day, part.amount) for part in input.parts]
        by, number = _by(info, "matchTransfer", input), _number(input.transfer, "transfer")
        try:
            with or_later():
                transfer, days, replayed = await working.assign_transfer(
                    info.context.app.till, number, partner, parts, by
                )
        except TransferError as fault:
            return _refused(fault)
        except KeyReusedError:
            return _reused()
        return TransferMatched(
            transfer=shown_transfer(info, transfer),
            reconciliations=[shown_day(info, day) for day in days],
            replayed=replayed,
        )

    @strawberry.mutation(description="Close a difference with a ground, or say that the bank was asked (operator).")
    async def work_difference(self, info: Info, input: WorkDifferenceInput) -> WorkDifferenceResult:
        """Work a difference off."""
        if input.state not in WORKED:
            raise BadUserInputError("`state` is EXPLAINED, CORRECTED or ASKED_BANK.")
        number, by = _number(input.difference, "difference"), _by(info, "workDifference", input)
        try:
            with or_later():
                found, replayed = await working.work_difference(
                    info.context.app.till, number, input.state, _ground(input.ground), input.answer_by, by
                )
        except NotThereError as fault:
            raise BadUserInputError(str(fault)) from None
        except KeyReusedError:
            return _reused()
        return DifferenceWorked(difference=shown_differences(info, [found])[0], replayed=replayed)

    @strawberry.mutation(description="Close a partner's day of which nothing is open or waited for (operator).")
    async def close_reconciliation(self, info: Info, input: CloseReconciliationInput) -> CloseReconciliationResult:
        """Close a day."""
        partner, by = _partner(info, input.partner), _by(info, "closeReconciliation", input)
        try:
            with or_later():
                done = await working.close_day(info.context.app.till, partner, input.day, _ground(input.ground), by)
        except NotThereError as fault:
            raise BadUserInputError(str(fault)) from None
        except KeyReusedError:
            return _reused()
        shown = shown_day(info, done.day)
        if done.closed:
            return ReconciliationClosed(reconciliation=shown, replayed=done.replayed)
        if done.day.open_differences:
            text = f"День не закрыт: не разобрано расхождений — {done.day.open_differences}."
        else:
            text = "День не закрыт: реестр или перечисление ещё ожидаются."
        return ReconciliationNotClosed(reconciliation=shown, text=text)

    @strawberry.mutation(description="Compare a partner's day now, without waiting for the night (operator).")
    async def reconcile_day(self, info: Info, input: ReconcileDayInput) -> ReconciliationCompared:
        """Compare a day."""
        partner = _partner(info, input.partner)
        if (moscow_date(info.context.app.intake.clock()) - input.day).days > DAYS_MAX:
            raise BadUserInputError(f"`day` is at most {DAYS_MAX} days ago.")
        try:
            with or_later():
                day = await working.compare_day(info.context.app.till, partner, input.day)
        except NotThereError as fault:
            raise BadUserInputError(str(fault)) from None
        return ReconciliationCompared(reconciliation=shown_day(info, day))


def _client(info: Info, partner: str | None) -> str | None:
    """Give the client that is asked for; a partner is itself, and every other one is told as if there were none."""
    if is_partner(info):
        own = info.context.caller.subject
        return own if partner is None or partner in (own, info.context.app.partners.of(own).name) else None
    if partner is None:
        return None
    named = info.context.app.partners.named(partner)
    return named.client if named is not None else partner


def _partner(info: Info, name: str) -> Partner:
    """Find a partner with a contract.

    :raises BadUserInputError: there is none of that name.
    """
    partners = info.context.app.partners
    found = partners.named(name) or next((each for each in partners.partners if each.client == name), None)
    if found is None:
        raise BadUserInputError(f"No contract names a partner {name[:40]!r}.")
    return found


def _by(info: Info, what: str, given: object) -> By:
    key: str = given.idempotency_key  # type: ignore[attr-defined]  # every such input has one
    return By(info.context.caller_for(Role.OPERATOR).actor, key_of(key), raw_of((what, given)))


def _ground(text: str) -> str:
    ground = note_of(text.strip(), "ground")
    if not GROUND_LENGTH_MIN <= len(ground) <= GROUND_LENGTH_MAX:
        raise BadUserInputError(f"`ground` must have {GROUND_LENGTH_MIN} to {GROUND_LENGTH_MAX} characters.")
    return ground


def _number(number: int, field: str) -> int:
    if not 0 < number < NUMBER_MAX:
        raise BadUserInputError(f"`{field}` must be a number that this API gave.")
    return number


def _refused(fault: TransferError) -> CommandRefused:
    if fault.field in ("amount", "parts"):
        return refused_command(Reason.BAD_AMOUNT, "", detail=str(fault), path=["input", fault.field])
    raise BadUserInputError(f"`{fault.field}`: {fault}")


def _reused() -> CommandRefused:
    return refused_command(Reason.MESSAGE_ID_REUSED, "", path=["input", "idempotencyKey"])
