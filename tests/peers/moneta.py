"""MONETA's side: a payment form, notices with signatures and repeats, MerchantAPI as JSON; all over real HTTP, in the supplier's time.

It takes a payment after the Check URL has let it, then tells the Pay URL until it hears 200 or SUCCESS, for 27 hours; then the operation
is done without an answer, as the manual of Assistant says. Signatures are written down here once more, from that manual.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import md5
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.peers.loopback import listening

MNT_ID, CODE = "54600817", "QWERTY"
USER, PASSWORD = "bels", "api-password"
REPEATS_FOR = timedelta(hours=27)
CARD = "220012******3456"


def signed(*values: str) -> str:
    """Sign values as MONETA does: md5 of all of them and the code."""
    return md5("".join((*values, CODE)).encode()).hexdigest()


@dataclass(slots=True)
class Made:
    """An operation of MONETA."""

    id: str
    transaction: str
    amount: Decimal
    status: str
    at: datetime
    token: str | None = None
    is_return: bool = False
    parent: str | None = None
    currency: str = "RUB"
    answers: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Write it as the API does."""
        attributes = {
            "statusid": self.status,
            "sourceamount": f"{-self.amount if self.is_return else self.amount}",
            "sourcecurrencycode": self.currency,
            "clienttransaction": self.transaction,
            "created": self.at.isoformat(timespec="milliseconds"),
            **({"isrefund": "true", "parentid": self.parent} if self.is_return else {}),
        }
        return {"id": int(self.id), "attribute": [{"key": k, "value": v} for k, v in attributes.items()]}


@dataclass(slots=True)
class Moneta:
    """The other side: ``hook`` is where our Check and Pay URLs are. ``faults`` are given by the API instead of the next answers."""

    now: Callable[[], datetime]
    http: httpx.AsyncClient
    url: str = ""
    hook: str = ""
    test_mode: str = "0"
    made: dict[str, Made] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    ids: count[int] = field(default_factory=lambda: count(123_456))

    def app(self) -> Starlette:
        """Give the server's application."""
        return Starlette(
            routes=[
                Route("/assistant.widget", self._form, methods=["GET", "POST"]),
                Route("/services", self._api, methods=["POST"]),
            ]
        )

    # What a payer does.

    async def pay(self, url: str, fields: Mapping[str, str] | None = None) -> Made | None:
        """Open the form and pay; None where the shop does not let it, or the form is not signed."""
        answer = await (self.http.get(url) if fields is None else self.http.post(url, data=dict(fields)))
        return self.made[answer.text] if answer.status_code == 200 else None

    async def repeat(self) -> None:
        """Tell again what was not heard; what is 27 hours old is done without an answer."""
        for made in list(self.made.values()):
            if made.status != "TAKENIN_NOTSENT":
                continue
            if self.now() - made.at >= REPEATS_FOR:
                made.status = "SUCCEED"
            else:
                await self.tell(made)

    async def tell(self, made: Made, **changed: str) -> str:
        """Bring the notice of an operation to the Pay URL; give the answer. A changed value is signed too."""
        return await self.bring("pay", self.notice(made, **changed))

    def notice(self, made: Made, **changed: str) -> dict[str, str]:
        """Write the notice of an operation."""
        given = {
            "MNT_ID": MNT_ID,
            "MNT_TRANSACTION_ID": made.transaction,
            "MNT_OPERATION_ID": made.id,
            "MNT_AMOUNT": f"{made.amount:.2f}",
            "MNT_CURRENCY_CODE": made.currency,
            "MNT_TEST_MODE": self.test_mode,
            **({"paymenttoken": made.token, "cardnumber": CARD} if made.token is not None else {}),
            **changed,
        }
        return {**given, "MNT_SIGNATURE": self._pay_signature(given)} if "MNT_SIGNATURE" not in changed else given

    async def bring(self, path: str, given: Mapping[str, str]) -> str:
        """Bring a notice as it is; note what an operation of that id has heard."""
        answer = await self.http.post(f"{self.hook}/{path}", data=dict(given))
        made = self.made.get(given.get("MNT_OPERATION_ID", ""))
        if made is not None and path == "pay":
            made.answers.append(answer.text)
            if made.status == "TAKENIN_NOTSENT" and heard(answer.text):
                made.status = "SUCCEED"
        return answer.text

    async def check(self, transaction: str, amount: str, **changed: str) -> ElementTree.Element:
        """Ask the Check URL, and verify that its answer is signed."""
        given = {
            "MNT_COMMAND": "CHECK",
            "MNT_ID": MNT_ID,
            "MNT_TRANSACTION_ID": transaction,
            "MNT_OPERATION_ID": "1",
            "MNT_AMOUNT": amount,
            "MNT_CURRENCY_CODE": "RUB",
            "MNT_TEST_MODE": self.test_mode,
            **changed,
        }
        given["MNT_SIGNATURE"] = signed(given["MNT_COMMAND"], *self._paid(given))
        answer = await self.http.get(f"{self.hook}/check", params=given)
        assert answer.status_code == 200, answer.text
        return verified(answer.text)

    def returned(self, made: Made, transaction: str | None = None) -> Made:
        """Return an operation to its payer, without having been asked by us."""
        back = Made(
            str(next(self.ids)),
            transaction or f"RETURN_{made.transaction}",
            made.amount,
            "SUCCEED",
            self.now(),
            is_return=True,
            parent=made.id,
        )
        self.made[back.id] = back
        return back

    def take(self, transaction: str, amount: str, *, token: str | None = None, status: str = "TAKENIN_NOTSENT") -> Made:
        """Take money for an order of ours, whatever we say."""
        made = Made(str(next(self.ids)), transaction, Decimal(amount), status, self.now(), token)
        self.made[made.id] = made
        return made

    # What the server answers.

    async def _form(self, request: Request) -> Response:
        given = dict(request.query_params)
        if request.method == "POST":
            given = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        names = (
            "MNT_ID",
            "MNT_TRANSACTION_ID",
            "MNT_AMOUNT",
            "MNT_CURRENCY_CODE",
            "MNT_SUBSCRIBER_ID",
            "MNT_TEST_MODE",
        )
        if given.get("MNT_SIGNATURE") != signed(*(given.get(name, "") for name in names)):
            return PlainTextResponse("the form is not signed", 400)
        asked = await self.check(given["MNT_TRANSACTION_ID"], given["MNT_AMOUNT"])
        if asked.findtext("MNT_RESULT_CODE") != "402":
            return PlainTextResponse("the shop does not take it", 409)
        token = given.get("PAYMENTTOKEN")
        if token == "request":
            token = f"token-{next(self.ids)}"
            self.tokens.add(token)
        elif token is not None and token not in self.tokens:
            return PlainTextResponse("no such card", 409)
        made = self.take(given["MNT_TRANSACTION_ID"], given["MNT_AMOUNT"], token=token)
        await self.tell(made)
        return PlainTextResponse(made.id)

    async def _api(self, request: Request) -> Response:
        envelope = json.loads(await request.body(), parse_float=Decimal)["Envelope"]
        ((name, body),) = envelope["Body"].items()
        self.asked.append((name, body))
        if envelope["Header"]["Security"]["UsernameToken"] != {"Username": USER, "Password": PASSWORD}:
            return _fault("Client", "500.1.1")
        if self.faults.get(name):
            fault = self.faults[name].pop(0)
            if fault == "LOST":
                # It is done, and the answer does not arrive.
                self._done(name, body)
                return PlainTextResponse("Bad Gateway", 502)
            return PlainTextResponse("Bad Gateway", 502) if fault == "AWAY" else _fault("Client", fault)
        answer = self._done(name, body)
        if isinstance(answer, Response):
            return answer
        return JSONResponse({"Envelope": {"Body": {f"{name.removesuffix('Request')}Response": answer}}})

    def _done(self, name: str, body: Any) -> dict[str, Any] | Response:
        match name:
            case "PaymentRequest":
                assert isinstance(body["amount"], Decimal), "an amount is a number"
                (attribute,) = body["operationInfo"]["attribute"]
                if attribute["key"] != "PAYMENTTOKEN" or attribute["value"] not in self.tokens:
                    return _fault("Client", "500.2.7")
                return self.take(body["clientTransaction"], str(body["amount"]), status="SUCCEED").told()
            case "RefundRequest":
                made = self.made[str(body["transactionId"])]
                if any(each.parent == made.id for each in self.made.values()):
                    return _fault("Client", "500.4.4")
                return self.returned(made, body["clientTransaction"]).told()
            case "FindOperationsListRequest":
                return self._listed(body["filter"], body["pager"])
            case "ForgetTokenRequest":
                self.forgotten.append(body["paymentToken"])
                self.tokens.discard(body["paymentToken"])
                return {}
            case _:
                return _fault("Client", "500.0.0")

    def _listed(self, filters: Mapping[str, Any], pager: Mapping[str, int]) -> dict[str, Any]:
        since, until = datetime.fromisoformat(filters["dateFrom"]), datetime.fromisoformat(filters["dateTo"])
        rows = [
            each.told()
            for each in self.made.values()
            if since <= each.at < until and filters.get("clientTransaction") in (None, each.transaction)
        ]
        size, start = pager["pageSize"], (pager["pageNumber"] - 1) * pager["pageSize"]
        return {
            "pagesCount": -(-len(rows) // size),
            "size": len(rows[start : start + size]),
            "operation": rows[start : start + size],
        }

    def _paid(self, given: Mapping[str, str]) -> tuple[str, ...]:
        names = ("MNT_ID", "MNT_TRANSACTION_ID", "MNT_OPERATION_ID", "MNT_AMOUNT", "MNT_CURRENCY_CODE")
        return tuple(given.get(name, "") for name in (*names, "MNT_SUBSCRIBER_ID", "MNT_TEST_MODE"))

    def _pay_signature(self, given: Mapping[str, str]) -> str:
        return signed(*self._paid(given))


def _fault(kind: str, code: str) -> Response:
    fault = {"faultcode": kind, "faultstring": "...", "detail": {"faultDetail": code}}
    return JSONResponse({"Envelope": {"Body": {"fault": fault}}}, 500)


def heard(answer: str) -> bool:
    """Say whether an answer of the Pay URL is that the money is taken: SUCCESS, or a signed 200."""
    if answer == "SUCCESS":
        return True
    return answer.startswith("<?xml") and verified(answer).findtext("MNT_RESULT_CODE") == "200"


def verified(text: str) -> ElementTree.Element:
    """Read an answer in XML, whose signature must be right."""
    root = ElementTree.fromstring(text)
    names = ("MNT_RESULT_CODE", "MNT_ID", "MNT_TRANSACTION_ID")
    assert root.findtext("MNT_SIGNATURE") == signed(*(root.findtext(name) or "" for name in names))
    return root


def attributes(text: str) -> dict[str, str]:
    """Read the attributes of an answer."""
    return {each.findtext("KEY") or "": each.findtext("VALUE") or "" for each in verified(text).iter("ATTRIBUTE")}


def query_of(url: str) -> dict[str, str]:
    """Read the fields of a form's URL."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


@asynccontextmanager
async def moneta(now: Callable[[], datetime]) -> AsyncIterator[Moneta]:
    """Run MONETA; tell it ``hook`` before anybody pays."""
    async with httpx.AsyncClient(trust_env=False) as http:
        peer = Moneta(now, http)
        async with listening(peer.app()) as peer.url:
            yield peer
