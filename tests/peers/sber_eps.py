"""Sberbank's ЕПС, protocol 1: the bank's side over real HTTP, by the texts of the protocol alone (partners 3).

It knows nothing of bels. A payment is sent until the provider says 0 or 8, which both mean that it stands, or a code that ends it;
1 and silence are repeated. Of a duplicate the bank compares number, moment and sum with what it heard first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from re import compile as pattern
from urllib.parse import urlencode

import httpx

from tests.peers.osmp import Breach, State, fetch, hang_up, read_xml

OK, TEMPORARY, DUPLICATE = 0, 1, 8
CODES = frozenset((*range(14), 300))
REPEATED_EVERY = timedelta(minutes=3)
GIVEN_UP_AFTER = timedelta(hours=24)

_OF_CHECK = ("FIO", "ADDRESS", "BALANCE", "REC_SUM", "INFO")
_OF_PAYMENT = ("EXT_ID", "REG_DATE", "AMOUNT")
_SUM = pattern(r"-?[0-9]+\.[0-9]{2}")
_MOMENT = pattern(r"[0-9]{2}\.[0-9]{2}\.[0-9]{4}_[0-9]{2}:[0-9]{2}:[0-9]{2}")
_NAME = pattern(r"[А-ЯЁ-]+(?: [А-ЯЁ]\*\*){0,2}")
_NUMBER = pattern(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Said:
    """What the provider said: its code, and the other elements by name."""

    code: int
    message: str
    more: Mapping[str, str]


@dataclass(slots=True)
class Sent:
    """A payment of a client of the bank, and what the provider first said that it is."""

    pay_id: str
    account: str
    amount: str
    pay_date: str
    extra: dict[str, str] = field(default_factory=dict)
    state: State = State.NEW
    taken: Mapping[str, str] | None = None
    code: int | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """What is asked with."""
        told = {"ACCOUNT": self.account, "AMOUNT": self.amount, "PAY_ID": self.pay_id, "PAY_DATE": self.pay_date}
        return {"ACTION": "payment", **told, **self.extra}


@dataclass(slots=True)
class Bank:
    """The bank. ``later`` lets time pass, for what is repeated is repeated later."""

    url: str
    client: str
    secret: str
    http: httpx.AsyncClient
    now: Callable[[], datetime]
    later: Callable[[timedelta], None]
    encoding: str = "utf-8"
    posts: bool = False
    sent: dict[str, Sent] = field(default_factory=dict)

    async def check(self, account: str, **extra: str) -> Said:
        """Ask who would be paid for."""
        said = await self.ask({"ACTION": "check", "ACCOUNT": account, **extra})
        if said.code == OK:
            if tuple(said.more) != _OF_CHECK:
                raise Breach(f"check tells {', '.join(_OF_CHECK)}, not {', '.join(said.more)}")
            if said.more["FIO"] and not _NAME.fullmatch(said.more["FIO"]):
                raise Breach("the name is not masked")
            if any(letter.isdigit() for letter in said.more["ADDRESS"]):
                raise Breach("the address is not masked")
            if not all(_SUM.fullmatch(said.more[name]) for name in ("BALANCE", "REC_SUM")):
                raise Breach("a sum is no sum")
        elif said.more:
            raise Breach("a refusal tells nothing else")
        return said

    def order(self, pay_id: str, account: str, amount: str, **extra: str) -> Sent:
        """Take an order of a client."""
        if pay_id in self.sent:
            raise ValueError(f"{pay_id} is used already")
        self.sent[pay_id] = Sent(pay_id, account, amount, f"{self.now():%d.%m.%Y_%H:%M:%S}", dict(extra))
        return self.sent[pay_id]

    async def pay(self, payment: Sent) -> Said | None:
        """Send once; None where nothing that can be read was answered."""
        try:
            said = await self.ask(payment.parameters)
        except httpx.HTTPError:
            return None
        self._note(payment, said)
        return said

    async def settle(self, payment: Sent) -> Sent:
        """Send until the code is final, as long as the bank does."""
        begun = self.now()
        while payment.state is State.NEW:
            await self.pay(payment)
            if payment.state is not State.NEW:
                break
            if self.now() - begun >= GIVEN_UP_AFTER:
                payment.state = State.UNCLEAR
            else:
                self.later(REPEATED_EVERY)
        return payment

    async def cut_off(self, payment: Sent) -> None:
        """Send a payment and lose the line before anything is answered."""
        await hang_up(self.url, (self.client, self.secret), urlencode(payment.parameters, encoding=self.encoding))

    async def ask(self, parameters: Mapping[str, str]) -> Said:
        """Ask once and read the answer.

        :raises Breach: it is no answer of the protocol.
        """
        query = urlencode(parameters, encoding=self.encoding)
        response = await fetch(self.http, self.url, (self.client, self.secret), query, posts=self.posts)
        root = read_xml(response, self.encoding)
        told: dict[str, str] = {}
        for node in root.childNodes:
            if node.nodeName in told or node.nodeType != node.ELEMENT_NODE:
                raise Breach(f"{node.nodeName} stands there twice, or is no element")
            told[node.nodeName] = "".join(part.data for part in node.childNodes if part.nodeType == part.TEXT_NODE)
        code, message = told.pop("CODE", ""), told.pop("MESSAGE", "")
        if not code.isdigit() or int(code) not in CODES or not message:
            raise Breach(f"there is no code {code!r}, or it says nothing")
        return Said(int(code), message, told)

    def _note(self, payment: Sent, said: Said) -> None:
        payment.code = said.code
        if said.code in (OK, DUPLICATE):
            self._taken(payment, said)
        elif said.more:
            raise Breach("a refusal tells nothing else")
        elif said.code != TEMPORARY:
            if payment.state is State.DONE:
                raise Breach(f"{payment.pay_id} was taken, and is refused now")
            payment.state = State.FAILED

    def _taken(self, payment: Sent, said: Said) -> None:
        if tuple(said.more) != _OF_PAYMENT:
            raise Breach(f"a payment has {', '.join(_OF_PAYMENT)}, not {', '.join(said.more)}")
        if not (_NUMBER.fullmatch(said.more["EXT_ID"]) and _MOMENT.fullmatch(said.more["REG_DATE"])):
            raise Breach("the number or the moment of registration is none")
        if payment.taken is not None and (said.code != DUPLICATE or dict(said.more) != dict(payment.taken)):
            raise Breach(f"{payment.pay_id} was another payment before")
        if Decimal(said.more["AMOUNT"]) != Decimal(payment.amount):
            raise Breach("another sum was taken than was paid")
        others = [each for each in self.sent.values() if each is not payment and each.taken is not None]
        if any(each.taken["EXT_ID"] == said.more["EXT_ID"] for each in others if each.taken is not None):
            raise Breach(f"the EXT_ID {said.more['EXT_ID']} is another payment's")
        payment.taken, payment.state = dict(said.more), State.DONE
