"""OSMP «check / pay», the protocol of terminals and of many banks: ``/partners/osmp`` over the till (partners 2).

    ?command=check&txn_id=1234567&account=1000001&sum=200.00
    ?command=pay&txn_id=1234567&txn_date=20240520153015&account=1000001&sum=200.00

What is agreed with a partner stands in its contract:

    [partner.qiwi.osmp]
    encoding = "utf-8"                       # or "cp1251", of requests and answers
    readings = { data1 = "1", data2 = "2" }  # parameter and its place on the display, T1.. or register
    fields = { FIO = "name", DEBT = "due" }  # what a terminal shows after check, see ``Fact``
    variants = ["cancel", "verify", "balance", "getInfo"]
    unknown_accounts = "refuse"              # "keep": the money is taken and kept unallocated
    balance_sign = "plus"                    # of a debt
    sign = { parameter = "sign", digest = "md5", of = ["txn_id", "sum", "$secret"], joined = "", secret_file = "/..." }

``txn_id`` names a payment for ever: a repeat gets the first result and ``prv_txn``, another sum or account is 300.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.channels.partner_door import (
    NAME_LENGTH_MAX,
    PAYMENTS,
    READINGS,
    REGISTERS,
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
    moment_of,
    number_of,
    read_terms,
    shortened,
    written,
)
from bels.channels.partner_facts import LOOKED_ENOUGH, Fact, Facts, facts_of, of_reading, roubles, why_not
from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money, PaymentState, Reason
from bels.messages import Status
from bels.payments.find import where_now
from bels.payments.looking import may_look
from bels.payments.partners import Partner, PartnersError
from bels.payments.till import Paid, PayOrder, Till, cancel, find, pay
from bels.projections.ledger import payment_at
from bels.reception.counter import database
from bels.words import refusal

PATH = "/partners/osmp"

VARIANTS = ("cancel", "verify", "balance", "getInfo")
"""Commands that not every text of the protocol has: each is agreed on."""

FIELDS_MAX = 20
REGISTER_ROWS_MAX = 10_000
"""Payments of one ``verify``; whoever brings more in a day sends a register."""

CURRENCIES = ("RUB", "RUR", "643", "810")

_PARAMETERS = frozenset(
    (
        "command",
        "txn_id",
        "txn_date",
        "account",
        "sum",
        "ccy",
        "date",
        "cancel_txn_id",
        "cancel_txn_date",
        "pay_type",
        "trm_id",
    )
)
_OWN = frozenset(("variants", "fields"))
_ANY_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
_NOTHING = re.compile(r"0+(?:\.0{1,2})?", re.ASCII)
_MOMENT = re.compile(r"[0-9]{14}", re.ASCII)
_DAY = re.compile(r"[0-9]{8}", re.ASCII)
_CANCELLED = "отмена по протоколу ОСМП"


class Result(IntEnum):
    """The result codes of the protocol."""

    OK = 0
    TEMPORARY = 1
    BAD_ACCOUNT = 4
    NO_ACCOUNT = 5
    FORBIDDEN = 7
    FORBIDDEN_TECHNICAL = 8
    BAD_SIGNATURE = 10
    BAD_CURRENCY = 40
    INACTIVE = 79
    NOT_FINISHED = 90
    TOO_SMALL = 241
    TOO_BIG = 242
    UNCHECKABLE = 243
    NOT_CANCELLED = 251
    OTHER = 300


MEANINGS: Mapping[Result, Meaning] = {
    Result.OK: Meaning("OK", is_fatal=False),
    Result.TEMPORARY: Meaning("Временная ошибка, повторите запрос", is_fatal=False),
    Result.BAD_ACCOUNT: Meaning("Неверный формат номера лицевого счёта: 7 цифр"),
    Result.NO_ACCOUNT: Meaning("Лицевой счёт не найден"),
    Result.FORBIDDEN: Meaning("Приём платежей запрещён поставщиком"),
    Result.FORBIDDEN_TECHNICAL: Meaning("Приём платежей невозможен по техническим причинам"),
    Result.BAD_SIGNATURE: Meaning("Подпись неверна"),
    Result.BAD_CURRENCY: Meaning("Платежи принимаются только в рублях"),
    Result.INACTIVE: Meaning("Лицевой счёт не активен: закрыт, долга нет"),
    Result.NOT_FINISHED: Meaning("Платёж ещё не обработан, повторите запрос", is_fatal=False),
    Result.TOO_SMALL: Meaning("Сумма слишком мала"),
    Result.TOO_BIG: Meaning("Сумма слишком велика"),
    Result.UNCHECKABLE: Meaning("Состояние счёта проверить нельзя"),
    Result.NOT_CANCELLED: Meaning("Платёж отменить нельзя"),
    Result.OTHER: Meaning("Ошибка в запросе"),
}
"""All codes but 0, 1 and 90 are fatal."""

_RESULTS: Mapping[Reason, Result] = {
    Reason.BAD_ACCOUNT: Result.BAD_ACCOUNT,
    Reason.UNKNOWN_ACCOUNT: Result.NO_ACCOUNT,
    Reason.ACCOUNT_CLOSED: Result.INACTIVE,
    Reason.AMOUNT_TOO_SMALL: Result.TOO_SMALL,
    Reason.AMOUNT_TOO_LARGE: Result.TOO_BIG,
}
"""Why bels refuses, in the protocol's codes; what is not here is 300."""


@dataclass(frozen=True, slots=True)
class OsmpTerms(Terms):
    """What is agreed with a partner: ``fields`` are shown on a terminal, by the name it gives them."""

    variants: frozenset[str] = frozenset()
    fields: Mapping[str, Fact] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class _Told:
    """An answer to be: the parameters asked with, the result and what stands beside it."""

    result: Result
    comment: str = ""
    number: str = ""
    sum: str = ""
    balance: str = ""
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """A payment in the register of a day, for the account that the payer named."""

    reference: str
    receipt: str
    account: str
    amount: Money
    paid_at: datetime | None
    is_cancelled: bool


def osmp_routes(
    till: Till, *, folder: Path = Path(), request_id: Callable[[Request], str] = lambda _: ""
) -> list[Route]:
    """Make the route of ``/partners/osmp``; files of secrets are named from ``folder`` on, that of the contracts.

    :raises PartnersError: a contract's table ``osmp`` cannot be used.
    """
    contracts = contracts_of(till, "osmp", partial(osmp_terms, folder=folder))
    desk = _Desk(till)
    return [facade_route(Facade(PATH, "osmp", _fault), till, contracts, desk.answer, request_id=request_id)]


def osmp_terms(partner: Partner, folder: Path = Path()) -> OsmpTerms:
    """Read the table ``osmp`` of a contract.

    :raises PartnersError: it cannot be used.
    """
    told, where = partner.sections["osmp"], f"partner.{partner.name}.osmp"
    variants, fields = told.get("variants", []), told.get("fields", {})
    if not isinstance(variants, list) or not all(each in VARIANTS for each in variants):
        raise PartnersError(f"{where}.variants lists some of {', '.join(VARIANTS)}")
    if not isinstance(fields, dict) or len(fields) > FIELDS_MAX:
        raise PartnersError(f"{where}.fields is a table of at most {FIELDS_MAX} names")
    for name, fact in fields.items():
        if not (0 < len(name) <= NAME_LENGTH_MAX and name.isprintable()) or fact not in list(Fact):
            raise PartnersError(f"{where}.fields.{name} is one of {', '.join(Fact)}")
    return OsmpTerms(
        **read_terms(partner, "osmp", _OWN, _PARAMETERS, folder),
        variants=frozenset(variants),
        fields={name: Fact(fact) for name, fact in fields.items()},
    )


@dataclass(frozen=True, slots=True)
class _Desk:
    till: Till

    async def answer(self, visitor: Visitor, terms: OsmpTerms, given: Mapping[str, str]) -> Element | Response:
        """Answer one request of a partner."""
        command = given.get("command", "")
        if terms.sign is not None and not terms.sign.is_right(given, terms.encoding):
            return _written(given, _Told(Result.BAD_SIGNATURE))
        if given.get("ccy", CURRENCIES[0]).upper() not in CURRENCIES:
            return _written(given, _Told(Result.BAD_CURRENCY))
        if command in VARIANTS and command not in terms.variants:
            return _written(given, _Told(Result.OTHER, "Команда не предусмотрена договором"))
        if (REGISTERS if command == "verify" else PAYMENTS) not in visitor.scopes:
            return _written(given, _Told(Result.FORBIDDEN))
        match command:
            case "check":
                return _written(given, await self._check(visitor, terms, given))
            case "pay":
                return _written(given, await self._pay(visitor, terms, given))
            case "cancel":
                return _written(given, await self._cancel(visitor, given))
            case "balance" | "getInfo":
                return _written(given, await self._look(visitor, terms, given, with_fields=command == "getInfo"))
            case "verify":
                return await self._verify(visitor, terms, given)
            case _:
                return _written(given, _Told(Result.OTHER, "Неизвестная команда"))

    async def _check(self, visitor: Visitor, terms: OsmpTerms, given: Mapping[str, str]) -> _Told:
        """Say whether a payment would be taken. A terminal probes with txn_id 0 and no sum, and reads what is due."""
        txn_id, told = given.get("txn_id", "0"), given.get("sum", "0")
        if not _ANY_ID.fullmatch(txn_id):
            return _Told(Result.OTHER, "txn_id: от 1 до 20 цифр")
        is_probe = not is_number(txn_id) or "sum" not in given
        if is_probe and _NOTHING.fullmatch(told):
            return await self._look(visitor, terms, given, with_fields=True)
        amount = amount_of(told)
        if isinstance(amount, Reason):
            return _refused(amount)
        return await self._look(visitor, terms, given, with_fields=True, amount=amount)

    async def _look(
        self,
        visitor: Visitor,
        terms: OsmpTerms,
        given: Mapping[str, str],
        *,
        with_fields: bool,
        amount: Decimal | None = None,
    ) -> _Told:
        """Tell of an account what the contract shows; of a payment of ``amount``, whether it would be taken."""
        number = given.get("account", "")
        if not is_account(number):
            return _Told(Result.BAD_ACCOUNT)
        if not await may_look(self.till, visitor.agent.partner):
            return _Told(Result.UNCHECKABLE, LOOKED_ENOUGH)
        with_person = with_fields and not {Fact.NAME, Fact.ADDRESS}.isdisjoint(terms.fields.values())
        facts = await facts_of(self.till, visitor.agent.partner, number, with_person=with_person)
        reason = why_not(facts, self.till, amount)
        if reason is not None:
            return _refused(reason)
        fields = [(name, facts.shown(fact)) for name, fact in terms.fields.items()] if with_fields else []
        if amount is not None:
            return _Told(Result.OK, sum=roubles(amount), fields=fields)
        return _Told(Result.OK, sum=roubles(facts.due), balance=_balance(facts, terms), fields=fields)

    async def _pay(self, visitor: Visitor, terms: OsmpTerms, given: Mapping[str, str]) -> _Told:
        """Take a payment, once under its txn_id, and the reading that came in the agreed parameters."""
        txn_id, number = given.get("txn_id", ""), given.get("account", "")
        if not is_number(txn_id):
            return _Told(Result.OTHER, "txn_id: от 1 до 20 цифр, не нули")
        if not is_account(number):
            return _Told(Result.BAD_ACCOUNT)
        amount = amount_of(given.get("sum", ""))
        if isinstance(amount, Reason):
            return _refused(amount)
        paid_at = moment_of(given.get("txn_date", ""), _MOMENT, "%Y%m%d%H%M%S")
        if paid_at is None:
            return _Told(Result.OTHER, "txn_date: ГГГГММДДччммсс")
        reading, may_read = terms.given(given), READINGS in visitor.scopes
        order = PayOrder(
            txn_id, number, amount, paid_at, given=reading if reading and may_read else None, is_strict=False
        )
        paid = await pay(self.till, terms.agent(visitor.agent), order, request_id=visitor.request_id)
        return self._became(paid, came=bool(reading), may=may_read)

    def _became(self, paid: Paid, *, came: bool, may: bool) -> _Told:
        if paid.is_parked:
            return _Told(Result.NOT_FINISHED)
        if paid.received is None:
            return _refused(paid.refusal.reason if paid.refusal is not None else Reason.NOT_UNDERSTOOD)
        words = of_reading(self.till, paid, came=came, may=may)
        comment = shortened(f"Платёж принят. {words.text}", words.hint) if words is not None else ""
        return _Told(Result.OK, comment, number_of(paid.payment.receipt), roubles(paid.received.amount))

    async def _cancel(self, visitor: Visitor, given: Mapping[str, str]) -> _Told:
        """Take a payment back on the day on which it came; a reading that came with it stays.

        Some texts name the payment by ``cancel_txn_id``, with a txn_id of the cancelling itself; account and sum, where they are
        given, must be the payment's.
        """
        txn_id = given.get("cancel_txn_id", given.get("txn_id", ""))
        if not is_number(txn_id):
            return _Told(Result.OTHER, "txn_id: от 1 до 20 цифр, не нули")
        found = await find(self.till, visitor.agent, txn_id)
        if found is None or found.paid.received is None:
            return _Told(Result.NOT_CANCELLED, "Платежа с таким номером нет")
        received = found.paid.received
        account = received.meant_for or found.paid.payment.account
        if given.get("account", account) != account:
            return _Told(Result.OTHER, "У платежа с этим номером другой лицевой счёт")
        if "sum" in given and amount_of(given["sum"]) != received.amount:
            return _Told(Result.OTHER, "У платежа с этим номером другая сумма")
        outcome = await cancel(self.till, visitor.agent, txn_id, _CANCELLED, request_id=visitor.request_id)
        if outcome is None:
            return _Told(Result.NOT_CANCELLED)
        if outcome.status is Status.PARKED:
            return _Told(Result.NOT_FINISHED)
        if outcome.status is not Status.ACCEPTED:
            reason = getattr(outcome.events[0], "reason", None)
            return _Told(Result.NOT_CANCELLED, refusal(reason).text if isinstance(reason, Reason) else "")
        return _Told(Result.OK, "Платёж отменён", number_of(outcome.receipt), roubles(received.amount))

    async def _verify(self, visitor: Visitor, terms: OsmpTerms, given: Mapping[str, str]) -> Element | Response:
        """Give the register of a day: every payment of the partner that counts from it, whichever way it came."""
        day = moment_of(given.get("date", ""), _DAY, "%Y%m%d")
        if day is None:
            return _written(given, _Told(Result.OTHER, "date: ГГГГММДД"))
        lines = await _register(self.till, visitor.agent.actor, day.date())
        if len(lines) > REGISTER_ROWS_MAX:
            return _written(given, _Told(Result.OTHER, f"Платежей больше {REGISTER_ROWS_MAX}: сверьте их реестром"))
        # So many elements would keep every other partner waiting.
        return await asyncio.to_thread(_as_register, day.date(), lines, terms.encoding)


async def _register(till: Till, actor: str, day: date) -> list[_Line]:
    async with database(till.counter) as db:
        rows = await db.fetch(
            """
            SELECT account, entry, reference, receipt, coalesce(meant_for, account) AS paid_for, amount, paid_at, state
            FROM payment WHERE actor = $1 AND paid_on = $2 AND source IS NULL
            ORDER BY paid_at, receipt LIMIT $3
            """,
            actor,
            day,
            REGISTER_ROWS_MAX + 1,
        )
        lines = []
        for row in rows:
            state = row["state"]
            if state == PaymentState.MOVED:
                # The office moves few: whether such a one was cancelled says the account where it is now.
                moved = await payment_at(db, row["account"], row["entry"])
                state = (await where_now(db, moved)).state if moved is not None else state
            is_cancelled = state == PaymentState.REVERSED
            lines.append(
                _Line(row["reference"], row["receipt"], row["paid_for"], row["amount"], row["paid_at"], is_cancelled)
            )
        return lines


def _as_register(day: date, lines: Sequence[_Line], encoding: str) -> Response:
    root = Element("response")
    standing = [line for line in lines if not line.is_cancelled]
    add(root, "date", f"{day:%Y%m%d}")
    add(root, "count", str(len(standing)))
    add(root, "sum", roubles(sum((line.amount for line in standing), ZERO)))
    payments = SubElement(root, "payments")
    for line in lines:
        payment = SubElement(payments, "payment")
        add(payment, "osmp_txn_id", line.reference)
        add(payment, "prv_txn", number_of(line.receipt))
        if line.paid_at is not None:
            add(payment, "txn_date", f"{line.paid_at.astimezone(MOSCOW):%Y%m%d%H%M%S}")
        add(payment, "account", line.account)
        add(payment, "sum", roubles(line.amount))
        add(payment, "state", "cancelled" if line.is_cancelled else "paid")
    add(root, "result", str(Result.OK.value))
    add(root, "comment", MEANINGS[Result.OK].text)
    return written(root, encoding)


def _balance(facts: Facts, terms: OsmpTerms) -> str:
    balance = facts.account.ledger.balance
    return roubles(-balance if terms.owes_minus else balance)


def _refused(reason: Reason) -> _Told:
    result = _RESULTS.get(reason, Result.OTHER)
    return _Told(result, refusal(reason).text if result is Result.OTHER else "")


def _fault(given: Mapping[str, str], why: str | None) -> Element:
    return _written(given, _Told(Result.TEMPORARY) if why is None else _Told(Result.OTHER, why))


def _written(given: Mapping[str, str], told: _Told) -> Element:
    root = Element("response")
    txn_id = given.get("txn_id", "")
    # Only a number is said back: whatever else stood there is not ours to repeat.
    add(root, "osmp_txn_id", txn_id if _ANY_ID.fullmatch(txn_id) else "")
    if told.number:
        add(root, "prv_txn", told.number)
    if told.sum:
        add(root, "sum", told.sum)
    if told.balance:
        add(root, "balance", told.balance)
    add(root, "result", str(told.result.value))
    add(root, "comment", shortened(told.comment or MEANINGS[told.result].text))
    shown = [(name, text) for name, text in told.fields if text]
    if shown:
        fields = SubElement(root, "fields")
        for i, (name, text) in enumerate(shown, 1):
            add(fields, f"field{i}", text).attrib.update(name=name, type="disp")
    return root
