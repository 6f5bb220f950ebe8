"""Calls to MONETA's MerchantAPI as JSON: pay by a token, return, list operations, forget a token.

The envelope is that of its SOAP service written as JSON: ``{"Envelope": {"Header": {"Security": {"UsernameToken": ...}},
"Body": {"NAMERequest": ...}}}``, answered by ``NAMEResponse`` or by ``fault``; an operation is an id and a list of key and value
(source: docs.moneta.ru, MONETA.MerchantAPI v2). Amounts are JSON numbers of two digits.

A call never tries again by itself. What became of one that was not answered is not known: look it up by ``find`` before another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from re import compile as pattern
from typing import Any

import httpx
import msgspec

from bels.domain.periods import MOSCOW

ANSWER_WAIT_S = 60.0
ANSWER_BYTES_MAX = 20_000_000
PAGE_SIZE = 1_000
PAGES_MAX = 500
"""Half a million operations of a few days: more is another service."""

VERSION = "VERSION_2"

SUCCEED, TAKEN_IN, IN_PROGRESS, CREATED, CANCELED, FROZEN = (
    "SUCCEED",
    "TAKENIN_NOTSENT",
    "INPROGRESS",
    "CREATED",
    "CANCELED",
    "FROZEN",
)
"""The states of an operation: done; on our account, our answer still awaited; under way; begun; cancelled; held."""

_encode = msgspec.json.Encoder(decimal_format="number").encode
_CODE = pattern(r"[0-9A-Za-z_.-]{1,40}")


class MonetaAway(Exception):
    """MONETA did not answer, or not so that it can be understood: what became of the call is not known. It holds a code only."""


class MonetaRefused(Exception):
    """MONETA refused the call: nothing came of it. It holds MONETA's code only."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of MONETA: ``transaction`` is our id of it, ``amount`` a sum without a sign, ``at`` when it was begun.

    ``is_out``: money left our account; ``is_return``: it went back to a payer, and ``parent`` is the operation that it returns.
    """

    id: str
    status: str
    amount: Decimal
    transaction: str = ""
    currency: str = "RUB"
    at: datetime | None = None
    is_return: bool = False
    parent: str | None = None
    is_out: bool = False
    receipt_url: str | None = None

    @property
    def is_done(self) -> bool:
        """Say whether its money has come to where it goes."""
        return self.status in (SUCCEED, TAKEN_IN)


@dataclass(frozen=True, slots=True)
class MonetaApi:
    """MONETA's API: ``account`` is ours, ``payer`` the account that cards pay from."""

    http: httpx.AsyncClient = field(repr=False)
    url: str
    user: str
    password: str = field(repr=False)
    account: str
    payer: str = "card"
    payment_password: str | None = field(default=None, repr=False)
    forget_request: str | None = None
    receipt_attribute: str | None = None

    async def pay_by_token(self, token: str, amount: Decimal, transaction: str, description: str) -> Operation:
        """Take an amount from the card of a token.

        :raises MonetaRefused: nothing was taken.
        :raises MonetaAway: what became of it is not known.
        """
        body: dict[str, Any] = {
            "version": VERSION,
            "payer": self.payer,
            "payee": self.account,
            "amount": amount,
            "isPayerAmount": True,
            "clientTransaction": transaction,
            "description": description,
            "operationInfo": {"attribute": [{"key": "PAYMENTTOKEN", "value": token}]},
        }
        return self._operation(await self._call("PaymentRequest", body))

    async def give_back(self, operation: str, amount: Decimal, transaction: str, description: str) -> Operation:
        """Return an amount of an operation to its payer.

        :raises MonetaRefused: nothing is returned.
        :raises MonetaAway: what became of it is not known.
        """
        body: dict[str, Any] = {
            "version": VERSION,
            "transactionId": int(operation),
            "amount": amount,
            "clientTransaction": transaction,
            "description": description,
        }
        if self.payment_password is not None:
            body["paymentPassword"] = self.payment_password
        return self._operation(await self._call("RefundRequest", body))

    async def find(self, transaction: str, since: datetime, until: datetime) -> list[Operation]:
        """Find the operations that carry our id.

        :raises MonetaAway: MONETA does not answer.
        :raises MonetaRefused: it does not let us.
        """
        found = await self._list({"clientTransaction": transaction}, since, until)
        return [each for each in found if each.transaction == transaction]

    async def operations(self, since: datetime, until: datetime) -> list[Operation]:
        """List the operations on our account in a time.

        :raises MonetaAway: MONETA does not answer.
        :raises MonetaRefused: it does not let us.
        """
        return await self._list({}, since, until)

    async def operation(self, id: str) -> Operation:  # noqa: A002 - MONETA's word
        """Look an operation up.

        :raises MonetaAway: MONETA does not answer.
        :raises MonetaRefused: there is none.
        """
        answer = await self._call("GetOperationDetailsByIdRequest", int(id))
        return self._operation(answer.get("operation"))

    async def forget(self, token: str) -> None:
        """Let MONETA forget the token of a card.

        :raises MonetaAway: what became of it is not known; it may be asked again.
        :raises MonetaRefused: there is no such token any more, or no request for it is agreed.
        """
        if self.forget_request is None:
            raise MonetaAway("NO_REQUEST_AGREED")
        await self._call(self.forget_request, {"paymentToken": token})

    async def _list(self, more: Mapping[str, str], since: datetime, until: datetime) -> list[Operation]:
        found: dict[str, Operation] = {}
        filters = {
            "accountId": self.account,
            "dateFrom": since.isoformat(timespec="milliseconds"),
            "dateTo": until.isoformat(timespec="milliseconds"),
            **more,
        }
        for page in range(1, PAGES_MAX + 1):
            request = {"filter": filters, "pager": {"pageNumber": page, "pageSize": PAGE_SIZE}}
            answer = await self._call("FindOperationsListRequest", request)
            rows = answer.get("operation") or []
            if not isinstance(rows, list):
                raise MonetaAway("BAD_ANSWER")
            for row in rows:
                operation = self._operation(row)
                found[operation.id] = operation
            pages = answer.get("pagesCount", 1)
            if not rows or not isinstance(pages, int) or page >= pages:
                return list(found.values())
        raise MonetaAway("TOO_MANY_OPERATIONS")

    async def _call(self, request: str, body: object) -> Mapping[str, Any]:
        security = {"UsernameToken": {"Username": self.user, "Password": self.password}}
        envelope = {"Envelope": {"Header": {"Security": security}, "Body": {request: body}}}
        try:
            async with self.http.stream(
                "POST",
                self.url,
                content=_encode(envelope),
                headers={"content-type": "application/json;charset=UTF-8"},
                timeout=ANSWER_WAIT_S,
                follow_redirects=False,
            ) as response:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise MonetaAway("TOO_LONG")
        except httpx.HTTPError as error:
            # What the library says of an error may name what was sent.
            raise MonetaAway(type(error).__name__) from None
        try:
            answer = json.loads(content, parse_float=Decimal)["Envelope"]["Body"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MonetaAway(f"HTTP_{response.status_code}") from None
        fault = answer.get("fault") or answer.get("Fault") if isinstance(answer, dict) else None
        if isinstance(fault, dict):
            code = _fault_code(fault)
            if str(fault.get("faultcode", "")).rpartition(":")[2].lower().startswith("client"):
                raise MonetaRefused(code)
            raise MonetaAway(code)
        name = f"{request.removesuffix('Request')}Response"
        if not isinstance(answer, dict) or response.status_code != httpx.codes.OK or name not in answer:
            raise MonetaAway("BAD_ANSWER")
        found = answer[name]
        return found if isinstance(found, dict) else {}

    def _operation(self, given: object) -> Operation:
        try:
            if not isinstance(given, dict):
                raise TypeError("no operation")
            told = _attributes(given.get("attribute") or [])
            # Answers of the first version stand beside the attributes.
            status = told.get("statusid") or str(given.get("status", ""))
            amount = Decimal(told.get("sourceamount") or str(given.get("amount", "0")))
            at = told.get("created") or told.get("modified") or given.get("dateTime")
            operation = Operation(
                str(given.get("id") or given["transaction"]),
                status,
                abs(amount),
                told.get("clienttransaction") or str(given.get("clientTransaction", "")),
                told.get("sourcecurrencycode", "RUB"),
                _moment(at),
                told.get("isrefund", "").lower() in ("true", "1"),
                told.get("parentid"),
                amount < 0,
                told.get(self.receipt_attribute) if self.receipt_attribute is not None else None,
            )
        except (KeyError, TypeError, ValueError, InvalidOperation):
            raise MonetaAway("BAD_OPERATION") from None
        if not (operation.amount.is_finite() and operation.id.isascii() and operation.id.isdigit()):
            raise MonetaAway("BAD_OPERATION")
        return operation


def _attributes(given: Sequence[Mapping[str, object]]) -> dict[str, str]:
    return {str(each["key"]).lower(): str(each.get("value", "")) for each in given}


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=MOSCOW)


def _fault_code(fault: Mapping[str, Any]) -> str:
    detail = fault.get("detail")
    code = detail.get("faultDetail") if isinstance(detail, dict) else None
    # Words of a fault may repeat what was sent: only a code is told on.
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "FAULT"
