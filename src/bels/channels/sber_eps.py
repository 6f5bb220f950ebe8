"""Sberbank's ЕПС, protocol 1: ``/partners/sber-eps`` over the till (partners 3).

    ?ACTION=check&ACCOUNT=1000001
    ?ACTION=payment&ACCOUNT=1000001&AMOUNT=1245.05&PAY_ID=123&PAY_DATE=20.05.2024_15:30:15

What is agreed with the bank stands in its contract:

    [partner.sber.eps]
    encoding = "cp1251"                       # or "utf-8", of requests and answers
    readings = { IPU_1 = "1", IPU_2 = "2" }   # parameter and its place on the display, T1.. or register
    info = ["previous", "penalty"]            # what INFO tells after check, see ``Fact``
    phone = "PHONE"                           # where a payer's phone comes; its form is looked at, it is kept nowhere
    unknown_accounts = "refuse"               # "keep": the money is taken and kept unallocated
    balance_sign = "minus"                    # of a debt
    sign = { parameter = "SIGN", digest = "md5", of = ["ACCOUNT", "$secret"], joined = "", secret_file = "/..." }

``PAY_ID`` names a payment for ever: a repeat is 8, with the first EXT_ID, REG_DATE and AMOUNT, so that the bank sees where its
own sum is another one. Under the PAY_ID of another account's payment it is 300: 8 would tell the bank that this one is paid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element

from starlette.requests import Request
from starlette.routing import Route

from bels.access.personal import PersonalDataError, phone_of
from bels.channels.partner_door import (
    PAYMENTS,
    READINGS,
    Facade,
    Meaning,
    Terms,
    Visitor,
    add,
    amount_of,
    contracts_of,
    facade_route,
    is_account,
    is_number,
    is_parameter,
    moment_of,
    number_of,
    read_terms,
    shortened,
)
from bels.channels.partner_facts import (
    LABELS,
    LOOKED_ENOUGH,
    Fact,
    bank_name,
    facts_of,
    masked_address,
    of_reading,
    roubles,
    why_not,
)
from bels.domain.money_events import PaymentReceived
from bels.domain.periods import MOSCOW
from bels.domain.terms import Reason
from bels.messages import Outcome
from bels.payments.looking import may_look
from bels.payments.partners import Partner, PartnersError
from bels.payments.till import Paid, PayOrder, Till, find, pay
from bels.words import refusal

PATH = "/partners/sber-eps"

_PARAMETERS = frozenset(("ACTION", "ACCOUNT", "AMOUNT", "PAY_ID", "PAY_DATE", "SIGN"))
_OWN = frozenset(("info", "phone"))
_MOMENT = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{4}_[0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_FORM = "%d.%m.%Y_%H:%M:%S"


class Code(IntEnum):
    """The result codes of the protocol."""

    OK = 0
    TEMPORARY = 1
    UNKNOWN_ACTION = 2
    NO_ACCOUNT = 3
    BAD_ACCOUNT = 4
    INACTIVE = 5
    BAD_PAY_ID = 6
    FORBIDDEN = 7
    DUPLICATE = 8
    BAD_AMOUNT = 9
    TOO_SMALL = 10
    TOO_BIG = 11
    BAD_PAY_DATE = 12
    BAD_PHONE = 13
    INTERNAL = 300


MEANINGS: Mapping[Code, Meaning] = {
    Code.OK: Meaning("OK", is_fatal=False),
    Code.TEMPORARY: Meaning("Временная ошибка, повторите запрос", is_fatal=False),
    Code.UNKNOWN_ACTION: Meaning("Неизвестный тип запроса"),
    Code.NO_ACCOUNT: Meaning("Лицевой счёт не найден"),
    Code.BAD_ACCOUNT: Meaning("Неверный номер лицевого счёта: 7 цифр"),
    Code.INACTIVE: Meaning("Лицевой счёт не активен: закрыт, долга нет"),
    Code.BAD_PAY_ID: Meaning("Неверный PAY_ID: от 1 до 20 цифр, не нули"),
    Code.FORBIDDEN: Meaning("Приём платежей запрещён поставщиком"),
    Code.DUPLICATE: Meaning("Платёж с этим PAY_ID уже принят"),
    Code.BAD_AMOUNT: Meaning("Неверная сумма: рубли и копейки, например 1245.05"),
    Code.TOO_SMALL: Meaning("Сумма слишком мала"),
    Code.TOO_BIG: Meaning("Сумма слишком велика"),
    Code.BAD_PAY_DATE: Meaning("Неверная PAY_DATE: ДД.ММ.ГГГГ_чч:мм:сс, не позже сегодняшнего дня"),
    Code.BAD_PHONE: Meaning("Неверный номер телефона"),
    Code.INTERNAL: Meaning("Ошибка в запросе"),
}
"""After 8 nothing is repeated either: the payment stands."""

_CODES: Mapping[Reason, Code] = {
    Reason.BAD_ACCOUNT: Code.BAD_ACCOUNT,
    Reason.UNKNOWN_ACCOUNT: Code.NO_ACCOUNT,
    Reason.ACCOUNT_CLOSED: Code.INACTIVE,
    Reason.BAD_MESSAGE_ID: Code.BAD_PAY_ID,
    Reason.BAD_AMOUNT: Code.BAD_AMOUNT,
    Reason.AMOUNT_TOO_SMALL: Code.TOO_SMALL,
    Reason.AMOUNT_TOO_LARGE: Code.TOO_BIG,
    Reason.BAD_DATES: Code.BAD_PAY_DATE,
}
"""Why bels refuses, in the protocol's codes; what is not here is 300."""


@dataclass(frozen=True, slots=True)
class EpsTerms(Terms):
    """What is agreed with the bank: ``info`` is told after check, ``phone`` is the parameter with a payer's phone."""

    info: tuple[Fact, ...] = ()
    phone: str | None = None


def eps_routes(
    till: Till, *, folder: Path = Path(), request_id: Callable[[Request], str] = lambda _: ""
) -> list[Route]:
    """Make the route of ``/partners/sber-eps``; files of secrets are named from ``folder`` on, that of the contracts.

    :raises PartnersError: a contract's table ``eps`` cannot be used.
    """
    contracts = contracts_of(till, "eps", partial(eps_terms, folder=folder))
    desk = _Desk(till)
    return [facade_route(Facade(PATH, "eps", _fault), till, contracts, desk.answer, request_id=request_id)]


def eps_terms(partner: Partner, folder: Path = Path()) -> EpsTerms:
    """Read the table ``eps`` of a contract.

    :raises PartnersError: it cannot be used.
    """
    told, where = partner.sections["eps"], f"partner.{partner.name}.eps"
    info, phone = told.get("info", []), told.get("phone")
    if not isinstance(info, list) or not all(each in list(Fact) for each in info):
        raise PartnersError(f"{where}.info lists some of {', '.join(Fact)}")
    if phone is not None and not (isinstance(phone, str) and is_parameter(phone) and phone not in _PARAMETERS):
        raise PartnersError(f"{where}.phone is a parameter of the contract's own")
    terms = {"owes_minus": True, **read_terms(partner, "eps", _OWN, _PARAMETERS, folder)}
    return EpsTerms(**terms, info=tuple(Fact(fact) for fact in info), phone=phone)


@dataclass(frozen=True, slots=True)
class _Desk:
    till: Till

    async def answer(self, visitor: Visitor, terms: EpsTerms, given: Mapping[str, str]) -> Element:
        """Answer one request of the bank."""
        if terms.sign is not None and not terms.sign.is_right(given, terms.encoding):
            return _written(Code.FORBIDDEN, "Подпись неверна")
        if PAYMENTS not in visitor.scopes:
            return _written(Code.FORBIDDEN)
        match given.get("ACTION", ""):
            case "check":
                return await self._check(visitor, terms, given)
            case "payment":
                return await self._payment(visitor, terms, given)
            case _:
                return _written(Code.UNKNOWN_ACTION)

    async def _check(self, visitor: Visitor, terms: EpsTerms, given: Mapping[str, str]) -> Element:
        """Tell who pays, masked, and what is due; of an AMOUNT, where one is given, also whether it would be taken."""
        number = given.get("ACCOUNT", "")
        if not is_account(number):
            return _written(Code.BAD_ACCOUNT)
        amount = amount_of(given["AMOUNT"]) if "AMOUNT" in given else None
        if isinstance(amount, Reason):
            return _refused(amount)
        if not await may_look(self.till, visitor.agent.partner):
            return _written(Code.TEMPORARY, LOOKED_ENOUGH)
        facts = await facts_of(self.till, visitor.agent.partner, number, with_person=True)
        reason = why_not(facts, self.till, amount)
        if reason is not None:
            return _refused(reason)
        balance = facts.account.ledger.balance
        name, address = (facts.person.name, facts.person.address) if facts.person is not None else (None, None)
        info = [f"{LABELS[fact]}: {shown}" for fact in terms.info if (shown := facts.shown(fact))]
        return _written(
            Code.OK,
            more=(
                ("FIO", bank_name(name or "")),
                ("ADDRESS", masked_address(address or "")),
                ("BALANCE", roubles(-balance if terms.owes_minus else balance)),
                ("REC_SUM", roubles(facts.due)),
                ("INFO", "; ".join(info)),
            ),
        )

    async def _payment(self, visitor: Visitor, terms: EpsTerms, given: Mapping[str, str]) -> Element:
        """Take a payment, once under its PAY_ID, and the reading that came in the agreed parameters."""
        number, pay_id = given.get("ACCOUNT", ""), given.get("PAY_ID", "")
        if not is_account(number):
            return _written(Code.BAD_ACCOUNT)
        if not is_number(pay_id):
            return _written(Code.BAD_PAY_ID)
        amount = amount_of(given.get("AMOUNT", ""))
        if isinstance(amount, Reason):
            return _refused(amount)
        paid_at = moment_of(given.get("PAY_DATE", ""), _MOMENT, _FORM)
        if paid_at is None:
            return _written(Code.BAD_PAY_DATE)
        if terms.phone is not None and given.get(terms.phone) and not _is_phone(given[terms.phone]):
            return _written(Code.BAD_PHONE)
        reading, may_read = terms.given(given), READINGS in visitor.scopes
        order = PayOrder(
            pay_id, number, amount, paid_at, given=reading if reading and may_read else None, is_strict=False
        )
        paid = await pay(self.till, terms.agent(visitor.agent), order, request_id=visitor.request_id)
        if paid.refusal is not None and paid.refusal.reason is Reason.MESSAGE_ID_REUSED:
            return await self._other(visitor, order)
        return self._became(paid, came=bool(reading), may=may_read)

    async def _other(self, visitor: Visitor, order: PayOrder) -> Element:
        """Answer a PAY_ID that came before with another content: with the first payment, if it is this account's."""
        found = await find(self.till, visitor.agent, order.payment_id)
        first = found.paid if found is not None else None
        if first is None or first.received is None:
            return _written(Code.INTERNAL, "Под этим PAY_ID уже был другой запрос")
        if (first.received.meant_for or first.payment.account) != order.account:
            return _written(Code.INTERNAL, "Под этим PAY_ID принят платёж по другому лицевому счёту")
        return _taken(Code.DUPLICATE, first.received, first.payment, "Платёж с этим PAY_ID уже принят на другую сумму")

    def _became(self, paid: Paid, *, came: bool, may: bool) -> Element:
        if paid.is_parked:
            # It waits for an operator; the protocol has no other word for that.
            return _written(Code.TEMPORARY)
        if paid.received is None:
            return _refused(paid.refusal.reason if paid.refusal is not None else Reason.NOT_UNDERSTOOD)
        code = Code.DUPLICATE if paid.payment.repeated else Code.OK
        words = of_reading(self.till, paid, came=came, may=may)
        if words is None:
            return _taken(code, paid.received, paid.payment)
        begun = MEANINGS[code].text if code is Code.DUPLICATE else "Платёж принят"
        return _taken(code, paid.received, paid.payment, shortened(f"{begun}. {words.text}", words.hint))


def _is_phone(text: str) -> bool:
    try:
        phone_of(text)
    except PersonalDataError:
        return False
    return True


def _taken(code: Code, booked: PaymentReceived, outcome: Outcome, message: str = "") -> Element:
    """Tell of a payment that is booked: every time with the first number, moment and sum."""
    return _written(
        code,
        message,
        (
            ("EXT_ID", number_of(outcome.receipt)),
            ("REG_DATE", _moment(outcome.recorded_at)),
            ("AMOUNT", roubles(booked.amount)),
        ),
    )


def _moment(moment: datetime) -> str:
    return moment.astimezone(MOSCOW).strftime(_FORM)


def _refused(reason: Reason) -> Element:
    code = _CODES.get(reason, Code.INTERNAL)
    return _written(code, refusal(reason).text if code is Code.INTERNAL else "")


def _fault(_: Mapping[str, str], why: str | None) -> Element:
    return _written(Code.TEMPORARY) if why is None else _written(Code.INTERNAL, why)


def _written(code: Code, message: str = "", more: Sequence[tuple[str, str]] = ()) -> Element:
    root = Element("response")
    add(root, "CODE", str(code.value))
    add(root, "MESSAGE", shortened(message or MEANINGS[code].text))
    for name, text in more:
        add(root, name, text)
    return root
