"""A network of terminals: OSMP's other side, over real HTTP, by the texts of the protocol alone (partners 2).

It knows nothing of bels: it has tables of its own, reads answers with a strict XML parser, and keeps the protocol's rules. A payment
is asked for until its result is final; 0, 1 and 90 are not the end of one, everything else is. Whoever answers the same payment
differently, or breaks the form, hears ``Breach``.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from re import compile as pattern
from urllib.parse import urlencode, urlsplit
from xml.dom import minidom
from xml.dom.minidom import Element
from xml.parsers.expat import ExpatError

import httpx

OK, TEMPORARY, UNFINISHED = 0, 1, 90
CODES = frozenset((0, 1, 4, 5, 7, 8, 10, 40, 79, 90, 241, 242, 243, 251, 300))
NOT_FATAL = frozenset((OK, TEMPORARY, UNFINISHED))

COMMENT_LENGTH_MAX = 250
ANSWER_BYTES_MAX = 65_536
ANSWERED_WITHIN_S = 60.0

REPEATED_EVERY = timedelta(minutes=5)
GIVEN_UP_AFTER = timedelta(hours=24)

_ELEMENTS = ("osmp_txn_id", "prv_txn", "sum", "balance", "result", "comment", "fields")
_NUMBER = pattern(r"[0-9]{1,20}")
_SUM = pattern(r"-?[0-9]+\.[0-9]{2}")
_FIELD = pattern(r"field[1-9][0-9]?")
_DECLARATION = pattern(rb'<\?xml version="1\.0" encoding="([A-Za-z0-9-]+)"\?>')


class Breach(AssertionError):
    """The provider broke the protocol."""


class State(Enum):
    """Where a payment stands for the network."""

    NEW = auto()
    DONE = auto()
    FAILED = auto()
    UNCLEAR = auto()
    """Nobody answered in time: the day's register will tell."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider said."""

    result: int
    comment: str
    prv_txn: str | None = None
    sum: Decimal | None = None
    balance: Decimal | None = None
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Payment:
    """A payment that was put into a terminal; the money is in it until the payment is done, or goes back when it fails."""

    txn_id: str
    account: str
    sum: str
    txn_date: str
    data: dict[str, str] = field(default_factory=dict)
    state: State = State.NEW
    prv_txn: str | None = None
    asked: int = 0

    @property
    def parameters(self) -> dict[str, str]:
        """What is asked with."""
        told = {"txn_id": self.txn_id, "txn_date": self.txn_date, "account": self.account, "sum": self.sum}
        return {"command": "pay", **told, **self.data}


@dataclass(slots=True)
class Terminals:
    """The network. ``later`` lets time pass, for what is repeated is repeated later.

    ``assumes_success_after``: some networks (Rapida) take a payment for done when nothing else is known after that time.
    """

    url: str
    client: str
    secret: str
    http: httpx.AsyncClient
    now: Callable[[], datetime]
    later: Callable[[timedelta], None]
    encoding: str = "utf-8"
    posts: bool = False
    assumes_success_after: timedelta | None = None
    payments: dict[str, Payment] = field(default_factory=dict)

    async def check(self, account: str, sum_: str = "0.00", txn_id: str = "0", **data: str) -> Answer:
        """Ask whether a payment would be taken; without a sum it is a probe."""
        return await self.ask({"command": "check", "txn_id": txn_id, "account": account, "sum": sum_, **data})

    def put_in(self, txn_id: str, account: str, sum_: str, **data: str) -> Payment:
        """Take cash for an account."""
        payment = Payment(txn_id, account, sum_, f"{self.now():%Y%m%d%H%M%S}", dict(data))
        if txn_id in self.payments:
            raise ValueError(f"{txn_id} is used already")
        self.payments[txn_id] = payment
        return payment

    async def pay(self, payment: Payment) -> Answer | None:
        """Ask once; None where nothing that can be read was answered."""
        payment.asked += 1
        try:
            answer = await self.ask(payment.parameters)
        except (httpx.HTTPError, httpx.HTTPStatusError):
            return None
        self._note(payment, answer)
        return answer

    async def settle(self, payment: Payment) -> Payment:
        """Ask until the result is final, as long as the network does."""
        begun = self.now()
        while payment.state is State.NEW:
            await self.pay(payment)
            waited = self.now() - begun
            if payment.state is not State.NEW:
                break
            if self.assumes_success_after is not None and waited >= self.assumes_success_after:
                payment.state = State.DONE
            elif waited >= GIVEN_UP_AFTER:
                payment.state = State.UNCLEAR
            else:
                self.later(REPEATED_EVERY)
        return payment

    async def cut_off(self, payment: Payment) -> None:
        """Send a payment and lose the line before anything is answered."""
        await hang_up(self.url, (self.client, self.secret), urlencode(payment.parameters, encoding=self.encoding))

    async def cancel(self, payment: Payment) -> Answer:
        """Take a payment back."""
        answer = await self.ask({"command": "cancel", "txn_id": payment.txn_id})
        if answer.result == OK:
            payment.state = State.FAILED
        return answer

    async def register(self, day: str) -> dict[str, tuple[Decimal, bool]]:
        """Fetch the register of a day (YYYYMMDD): by txn_id the sum, and whether it stands."""
        root = read_xml(await self._send({"command": "verify", "date": day}), self.encoding)
        if _text(root, "result") != str(OK) or _text(root, "date") != day:
            raise Breach("verify gave another day, or none")
        found: dict[str, tuple[Decimal, bool]] = {}
        for line in root.getElementsByTagName("payment"):
            txn_id = _text(line, "osmp_txn_id")
            if txn_id in found:
                raise Breach(f"{txn_id} stands twice in the register")
            found[txn_id] = Decimal(_text(line, "sum")), _text(line, "state") == "paid"
        standing = [amount for amount, stands in found.values() if stands]
        if (str(len(standing)), f"{sum(standing, Decimal()):.2f}") != (_text(root, "count"), _text(root, "sum")):
            raise Breach("the totals are not those of the lines")
        return found

    async def ask(self, parameters: Mapping[str, str]) -> Answer:
        """Ask once and read the answer.

        :raises Breach: it is no answer of the protocol.
        """
        return read_answer(await self._send(parameters), parameters.get("txn_id", ""), self.encoding)

    async def _send(self, parameters: Mapping[str, str]) -> httpx.Response:
        query = urlencode(parameters, encoding=self.encoding)
        return await fetch(self.http, self.url, (self.client, self.secret), query, posts=self.posts)

    def _note(self, payment: Payment, answer: Answer) -> None:
        if answer.result == OK:
            if answer.prv_txn is None or not _NUMBER.fullmatch(answer.prv_txn):
                raise Breach("a payment that is taken has a number of the provider")
            if payment.prv_txn not in (None, answer.prv_txn):
                raise Breach(f"{payment.txn_id} had another prv_txn before")
            if any(each.prv_txn == answer.prv_txn for each in self.payments.values() if each is not payment):
                raise Breach(f"the prv_txn {answer.prv_txn} is another payment's")
            if answer.sum is not None and answer.sum != Decimal(payment.sum):
                raise Breach("another sum was taken than was paid")
            payment.prv_txn, payment.state = answer.prv_txn, State.DONE
        elif answer.result not in NOT_FATAL:
            if payment.state is State.DONE:
                raise Breach(f"{payment.txn_id} was taken, and is refused now")
            payment.state = State.FAILED


async def fetch(http: httpx.AsyncClient, url: str, auth: tuple[str, str], query: str, *, posts: bool) -> httpx.Response:
    """Ask a provider once, in the URL or as a form.

    :raises Breach: it does not know who asks.
    """
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        if posts:
            head = {"content-type": "application/x-www-form-urlencoded"}
            response = await http.post(url, content=query, headers=head, auth=auth)
        else:
            response = await http.get(f"{url}?{query}", auth=auth)
    if response.status_code in (401, 403):
        raise Breach(f"the provider does not know us: {response.status_code}")
    response.raise_for_status()
    return response


async def hang_up(url: str, auth: tuple[str, str], query: str) -> None:
    """Ask a provider and lose the line before anything is answered."""
    place = urlsplit(url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    basic = b64encode(":".join(auth).encode()).decode()
    head = f"Host: {place.netloc}\r\nAuthorization: Basic {basic}"
    writer.write(f"GET {place.path}?{query} HTTP/1.1\r\n{head}\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def read_xml(response: httpx.Response, encoding: str) -> Element:
    """Read an answer as XML.

    :raises Breach: it is none, or in another encoding than was agreed.
    """
    if not response.content or len(response.content) > ANSWER_BYTES_MAX * 100:
        raise Breach("the answer is empty or endless")
    declared = _DECLARATION.match(response.content)
    label = {"utf-8": "UTF-8", "cp1251": "windows-1251"}[encoding]
    if declared is None or declared.group(1).decode() != label:
        raise Breach(f"the answer does not begin with an XML declaration of {label}")
    if response.headers.get("content-type") != f"text/xml; charset={label}":
        raise Breach("the content type is another one than the document's")
    try:
        root = minidom.parseString(response.content).documentElement
    except ExpatError as error:
        raise Breach(f"the answer is no XML: {error}") from error
    if root is None or root.tagName != "response":
        raise Breach("the root is not response")
    return root


def read_answer(response: httpx.Response, txn_id: str, encoding: str) -> Answer:
    """Read an answer of the protocol.

    :raises Breach: it is none.
    """
    root = read_xml(response, encoding)
    names = [node.nodeName for node in root.childNodes]
    if len(names) != len(set(names)) or not set(names) <= set(_ELEMENTS):
        raise Breach(f"elements are twice or unknown: {names}")
    if names != sorted(names, key=_ELEMENTS.index):
        raise Breach(f"elements are in another order: {names}")
    if not {"osmp_txn_id", "result", "comment"} <= set(names):
        raise Breach(f"elements are missing: {names}")
    if _NUMBER.fullmatch(txn_id) and _text(root, "osmp_txn_id") != txn_id:
        raise Breach("the answer is to another question")
    result, comment = _text(root, "result"), _text(root, "comment")
    if not result.isdigit() or int(result) not in CODES:
        raise Breach(f"there is no result {result!r}")
    if not 0 < len(comment) <= COMMENT_LENGTH_MAX:
        raise Breach("the comment is empty or too long")
    fields = []
    for i, node in enumerate(root.getElementsByTagName("fields")[0].childNodes if "fields" in names else [], 1):
        if not isinstance(node, Element) or node.tagName != f"field{i}" or node.getAttribute("type") != "disp":
            raise Breach("fields are field1, field2, ... of the type disp")
        fields.append((node.getAttribute("name"), _inner(node)))
    return Answer(
        int(result),
        comment,
        _text(root, "prv_txn") if "prv_txn" in names else None,
        _sum(root, "sum") if "sum" in names else None,
        _sum(root, "balance") if "balance" in names else None,
        tuple(fields),
    )


def _sum(root: Element, name: str) -> Decimal:
    text = _text(root, name)
    if not _SUM.fullmatch(text):
        raise Breach(f"{name} is no sum: {text!r}")
    return Decimal(text)


def _text(root: Element, name: str) -> str:
    found = [node for node in root.childNodes if isinstance(node, Element) and node.tagName == name]
    if len(found) != 1:
        raise Breach(f"{name} stands there {len(found)} times")
    return _inner(found[0])


def _inner(node: Element) -> str:
    return "".join(part.data for part in node.childNodes if part.nodeType == part.TEXT_NODE)
