"""MONETA's notices over HTTP: may this order be paid (Check URL), and it is paid (Pay URL); in its words (partners 5).

A notice is taken from MONETA's addresses only, signed, for our account, and not from its test mode. Pay is answered 200 or SUCCESS
only when the money is in the journal; anything else is FAIL, and MONETA repeats it for a day. The command of a Pay notice is not
under its signature: so a return is believed by the mark in the id, which is, or where we have asked for one ourselves.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from logging import getLogger
from re import compile as pattern
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.messages import TryLater
from bels.payments.cards.booking import (
    TRANSACTION_LENGTH_MAX,
    Booked,
    Completed,
    DifferenceKind,
    Doubted,
    Source,
    authorise,
    book,
    close_differences,
    note_difference,
    release,
)
from bels.payments.cards.contract import CURRENCY, Cards
from bels.payments.cards.fiscal import attributes_of, find_fiscal, tell_fiscal
from bels.payments.cards.orders import Order, OrderState, contact_of, find_order, move_order
from bels.payments.cards.refunds import PREFIX, REFUND_LETTER, confirm_return, returned_operation
from bels.payments.cards.signatures import ANSWER, CHECK, PAY, is_signed, signature
from bels.reception.counter import database

CHECK_PATH, PAY_PATH = "/partners/moneta/check", "/partners/moneta/pay"
WAIT_S = 20.0
BODY_BYTES_MAX = 65_536
FIELDS_MAX = 100
SUCCESS, FAIL = "SUCCESS", "FAIL"

ASKS_AMOUNT, PAID, UNDER_WAY, PAYABLE, VOID = "100", "200", "302", "402", "500"
"""Codes of an answer: it names the amount; already paid; not known just now; ready to be paid; not to be paid any more."""

PAID_COMMANDS = ("", "CREDIT", "DEBIT")
AUTHORISE, CANCELLED_DEBIT, CANCELLED_CREDIT = "AUTHORISE", "CANCELLED_DEBIT", "CANCELLED_CREDIT"

TOKEN, MASKED = "paymenttoken", "cardnumber"
TOKEN_LENGTH_MAX = 1_000

_AMOUNT = pattern(r"[0-9]{1,8}(?:\.[0-9]{1,2})?")
_OPERATION = pattern(r"[0-9]{1,20}")

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Notice:
    given: dict[str, str]
    command: str
    transaction: str
    operation: str
    amount: Decimal | None
    currency: str

    @property
    def is_return(self) -> bool:
        """Say whether the id, which is signed, is that of a return."""
        return self.transaction.startswith((PREFIX, f"{REFUND_LETTER}-"))


def moneta_routes(cards: Cards, *, wait_s: float = WAIT_S) -> list[Route]:
    """Make the routes of MONETA's notices, GET and POST."""

    async def check(request: Request) -> Response:
        try:
            async with timeout(wait_s):
                given = await _let_in(cards, request)
                if given is None or not is_signed(given, CHECK, cards.contract.code):
                    return PlainTextResponse(FAIL, 403)
                return await _checked(cards, given)
        except Exception as error:
            _log_not_taken(error)
            return PlainTextResponse(FAIL, 503)

    async def pay(request: Request) -> Response:
        try:
            async with timeout(wait_s):
                given = await _let_in(cards, request)
                if given is None:
                    return PlainTextResponse(FAIL, 403)
                notice = _notice_of(cards, given)
                if notice is None:
                    return PlainTextResponse(FAIL)
                return await _taken(cards, notice)
        except Exception as error:
            _log_not_taken(error)
            return PlainTextResponse(FAIL)

    return [
        Route(CHECK_PATH, check, methods=["GET", "POST"]),
        Route(PAY_PATH, pay, methods=["GET", "POST"]),
    ]


async def _checked(cards: Cards, given: dict[str, str]) -> Response:
    if not _is_ours(cards, given):
        return PlainTextResponse(FAIL, 403)
    transaction, amount = given.get("MNT_TRANSACTION_ID", ""), given.get("MNT_AMOUNT", "")
    try:
        async with database(cards.till.counter) as db:
            order = await find_order(db, transaction)
            code = _code(cards, order, given)
            if code in (ASKS_AMOUNT, PAYABLE):
                await move_order(db, transaction, OrderState.CHECKED, cards.now())
    except TryLater:
        return _answer(cards, transaction, UNDER_WAY)
    named = order.total if order is not None and not amount else None
    return _answer(cards, transaction, code, amount=named)


def _code(cards: Cards, order: Order | None, given: dict[str, str]) -> str:
    if order is None or given.get("MNT_CURRENCY_CODE", CURRENCY) not in ("", CURRENCY):
        return VOID
    if order.state is OrderState.PAID:
        return PAID
    if order.state is OrderState.AUTHORISED:
        return UNDER_WAY
    if not order.is_payable(cards.now()):
        return VOID
    asked = given.get("MNT_AMOUNT", "")
    if not asked:
        return ASKS_AMOUNT
    return PAYABLE if _amount(asked) == order.total else VOID


async def _taken(cards: Cards, notice: _Notice) -> Response:
    if notice.amount is None:
        return PlainTextResponse(FAIL)
    if notice.is_return:
        return await _returned(cards, notice, notice.amount, asked_only=False)
    if notice.command == AUTHORISE:
        doubt = await authorise(cards, notice.transaction, notice.amount, notice.currency, notice.operation)
        return PlainTextResponse(FAIL if doubt is not None else SUCCESS)
    if notice.command == CANCELLED_DEBIT:
        doubt = await release(cards, notice.transaction, notice.operation, notice.amount)
        return PlainTextResponse(FAIL if doubt is not None else SUCCESS)
    if notice.command == CANCELLED_CREDIT:
        return await _returned(cards, notice, notice.amount, asked_only=True)
    if notice.command not in PAID_COMMANDS:
        return PlainTextResponse(FAIL)
    token = notice.given.get(TOKEN, "")
    outcome = await book(
        cards,
        Completed(
            notice.operation,
            notice.transaction,
            notice.amount,
            cards.now(),
            Source.NOTICE,
            notice.currency,
            token if 0 < len(token) <= TOKEN_LENGTH_MAX and token != "request" else None,  # noqa: S105
            notice.given.get(MASKED),
        ),
    )
    if isinstance(outcome, Doubted):
        log.warning("a notice of MONETA is doubted: %s", outcome.kind.value)
        return PlainTextResponse(FAIL)
    return await _paid(cards, notice, outcome)


async def _paid(cards: Cards, notice: _Notice, booked: Booked) -> Response:
    """Answer that the money is taken, with what the receipt must say (54-ФЗ)."""
    if booked.order is None:
        return _answer(cards, notice.transaction, PAID)
    async with database(cards.till.counter) as db:
        fiscal = await find_fiscal(db, notice.operation)
        if fiscal is None:
            return _answer(cards, notice.transaction, PAID)
        contact = await contact_of(cards, db, booked.order)
        await tell_fiscal(db, notice.operation, cards.now())
        await close_differences(db, cards, notice.operation, (DifferenceKind.RECEIPT_DUE,))
    return _answer(cards, notice.transaction, PAID, attributes=attributes_of(fiscal, contact))


async def _returned(cards: Cards, notice: _Notice, amount: Decimal, *, asked_only: bool) -> Response:
    operation = await returned_operation(cards, notice.transaction, asked_only=asked_only)
    if operation is None:
        async with database(cards.till.counter) as db:
            order = await find_order(db, notice.transaction.removeprefix(PREFIX))
            kind = DifferenceKind.RETURN_UNASKED if asked_only else DifferenceKind.RETURN_UNKNOWN
            await note_difference(db, cards, notice.operation, kind, order, amount)
        return PlainTextResponse(FAIL)
    outcome = await confirm_return(cards, operation, notice.operation, amount)
    return PlainTextResponse(FAIL if isinstance(outcome, Doubted) else SUCCESS)


async def _let_in(cards: Cards, request: Request) -> dict[str, str] | None:
    """Read a notice, where it comes from MONETA's addresses; None where it does not, or cannot be read."""
    if request.method == "HEAD":
        # Starlette would answer it too, and the notice would be taken by it.
        return None
    address = cards.till.counter.door.doorkeeper.address(request.scope["headers"], request.scope.get("client"))
    if not cards.contract.partner.may_come_from(address):
        log.warning("a notice in MONETA's name comes from another address")
        return None
    raw = request.scope["query_string"]
    if request.method == "POST":
        raw = b""
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > BODY_BYTES_MAX:
                return None
    if len(raw) > BODY_BYTES_MAX:
        return None
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        return None
    given = dict(pairs)
    # A name that comes twice is two notices in one: whichever was signed, the other might be read.
    return given if len(given) == len(pairs) else None


def _notice_of(cards: Cards, given: dict[str, str]) -> _Notice | None:
    """Judge a Pay notice; None where it is not MONETA's, or not for us."""
    if not is_signed(given, PAY, cards.contract.code):
        log.warning("a notice in MONETA's name is not signed by it")
        return None
    operation = given.get("MNT_OPERATION_ID", "")
    transaction = given.get("MNT_TRANSACTION_ID", "")
    if not _is_ours(cards, given) or not _OPERATION.fullmatch(operation):
        return None
    if not 0 < len(transaction) <= TRANSACTION_LENGTH_MAX:
        return None
    return _Notice(
        given,
        given.get("MNT_COMMAND", "").strip().upper(),
        transaction,
        operation,
        _amount(given.get("MNT_AMOUNT", "")),
        given.get("MNT_CURRENCY_CODE", "") or CURRENCY,
    )


def _is_ours(cards: Cards, given: dict[str, str]) -> bool:
    if given.get("MNT_ID") != cards.contract.mnt_id:
        log.warning("a notice of MONETA is for another account")
        return False
    if given.get("MNT_TEST_MODE", "0") not in ("", "0") and not cards.contract.test_mode:
        log.warning("a notice of MONETA is of its test mode, and refused here")
        return False
    return True


def _amount(text: str) -> Decimal | None:
    return Decimal(text).quantize(Decimal("0.01")) if _AMOUNT.fullmatch(text) else None


def _answer(
    cards: Cards,
    transaction: str,
    code: str,
    *,
    amount: Decimal | None = None,
    attributes: Sequence[tuple[str, str]] = (),
) -> Response:
    """Write a signed answer in XML, in the order of MONETA's own examples."""
    values = {"MNT_RESULT_CODE": code, "MNT_ID": cards.contract.mnt_id, "MNT_TRANSACTION_ID": transaction}
    told = [
        ("MNT_ID", cards.contract.mnt_id),
        ("MNT_TRANSACTION_ID", transaction),
        ("MNT_RESULT_CODE", code),
        *([("MNT_AMOUNT", f"{amount:.2f}")] if amount is not None else []),
        ("MNT_SIGNATURE", signature(values, ANSWER, cards.contract.code)),
    ]
    body = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told)
    if attributes:
        pairs = (f"<KEY>{escape(key)}</KEY><VALUE>{escape(value)}</VALUE>" for key, value in attributes)
        listed = "".join(f"<ATTRIBUTE>{pair}</ATTRIBUTE>" for pair in pairs)
        body += f"<MNT_ATTRIBUTES>{listed}</MNT_ATTRIBUTES>"
    xml = f'<?xml version="1.0" encoding="UTF-8"?><MNT_RESPONSE>{body}</MNT_RESPONSE>'
    return Response(xml, media_type="application/xml")


def _log_not_taken(error: Exception) -> None:
    # What a notice says never stands in a log; what went wrong does.
    if isinstance(error, TryLater | TimeoutError):
        log.warning("a notice of MONETA is not taken now: %s", type(error).__name__)
    else:
        log.error("a notice of MONETA is not taken: %s", type(error).__name__, exc_info=error)
