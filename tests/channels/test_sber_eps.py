"""Sberbank's ЕПС over a real supplier, and the law that a payment is the same whichever way it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode
from xml.dom import minidom

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from bels.access.personal import Personal, put, subject_of
from bels.channels.osmp import PATH as OSMP_PATH
from bels.channels.osmp import osmp_routes
from bels.channels.partner_facts import bank_name, masked_address, terminal_name
from bels.channels.sber_eps import MEANINGS, PATH, Code, eps_routes, eps_terms
from bels.domain.commands import ClosePeriod, Command
from bels.domain.events import CommandRefused, ReadingAccepted
from bels.domain.money_events import PaymentReceived
from bels.domain.terms import Channel, Period
from bels.journal.entry import Entry
from bels.journal.journal import read
from bels.messages import Message, Status
from bels.payments.partners import PartnersError, partners_of
from bels.payments.till import PayOrder, pay
from tests.channels.cases import unreachable
from tests.channels.house import House, opened_house
from tests.channels.household import CLOSED, moscow
from tests.domain.vectors import vectors
from tests.payments.conftest import Banks, opened_banks

AT = "2024-05-20T16:00"
AGREED: dict[str, Any] = {
    "readings": {"IPU_1": "1", "IPU_2": "2"},
    "info": ["previous", "penalty", "maximum"],
    "phone": "PHONE",
}
PAY = {
    "ACTION": "payment",
    "ACCOUNT": "1000001",
    "AMOUNT": "1245.05",
    "PAY_ID": "123",
    "PAY_DATE": "20.05.2024_15:30:15",
}
CHECK = {"ACTION": "check", "ACCOUNT": "1000001"}


@dataclass(frozen=True, slots=True)
class Bank:
    """The bank's side of the wire."""

    banks: Banks
    http: httpx.AsyncClient
    name: str = "sber"
    encoding: str = "utf-8"

    @property
    def auth(self) -> tuple[str, str]:
        """Its client and its secret."""
        return self.banks.agent(self.name).partner.client, self.banks.secrets[self.name]

    async def send(self, *, path: str = PATH, **parameters: str) -> httpx.Response:
        """Send a request, in the agreed encoding."""
        return await self.http.get(f"{path}?{urlencode(parameters, encoding=self.encoding)}", auth=self.auth)

    async def ask(self, *, path: str = PATH, **parameters: str) -> dict[str, str]:
        """Ask, and give the answer's elements with their texts."""
        return told(await self.send(path=path, **parameters))

    async def booked(self, account: str = "1000001") -> list[Entry]:
        """List what banks brought to an account, without what was refused."""
        async with self.banks.till.counter.pool.acquire() as db:
            entries = [entry for entry in await read(db, {account: 0}) if entry.channel is Channel.BANK]
        return [entry for entry in entries if not isinstance(entry.event, CommandRefused)]


def told(response: httpx.Response) -> dict[str, str]:
    """Read an answer, which always has HTTP 200."""
    assert response.status_code == 200, response.text
    root = minidom.parseString(response.content).documentElement
    assert root is not None
    assert root.tagName == "response"
    found: dict[str, str] = {}
    for child in root.childNodes:
        assert child.nodeName not in found
        found[child.nodeName] = "".join(node.data for node in child.childNodes if node.nodeType == node.TEXT_NODE)
    return found


@asynccontextmanager
async def bank_of(house: House, sber: dict[str, Any]) -> AsyncIterator[Bank]:
    """Serve both protocols to the bank with this contract."""
    banks = await opened_banks(house, {"sber": sber, "app": {"eps": {}}})
    served = Starlette(routes=[*eps_routes(banks.till), *osmp_routes(banks.till)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://bels.test") as http:
        yield Bank(banks, http)


@pytest.fixture
async def bank(database: str, tmp_path: Path) -> AsyncIterator[Bank]:
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        bank_of(house, {"eps": AGREED, "osmp": {"readings": {"data1": "1", "data2": "2"}}}) as made,
    ):
        yield made


@pytest.mark.parametrize("vector", vectors("sber_eps"), ids=[v["id"] for v in vectors("sber_eps")])
async def test_a_vector_of_the_protocol_gives_its_codes(bank: Bank, vector: dict[str, Any]) -> None:
    answers = []
    for request in vector["given"]["requests"]:
        answers.append(await bank.ask(**request))
        # Whenever the repeat comes, it is told of the first one.
        bank.banks.house.wait(minutes=5)

    expected = vector["expected"]
    assert [int(answer["CODE"]) for answer in answers] == expected["codes"]
    for name in expected["second_repeats_first"]:
        assert answers[1][name] == answers[0][name]
    assert answers[0]["REG_DATE"] == "20.05.2024_16:00:00"
    assert answers[0]["EXT_ID"].isdigit()
    assert len(await bank.booked()) == expected["payments_posted"]


async def test_check_tells_who_pays_masked_and_what_is_due(bank: Bank) -> None:
    house = bank.banks.house
    async with house.desk.pool.acquire() as db:
        person = Personal("Иванов Иван Иванович", "Балашиха, ул. Ленина, д. 5, кв. 12")
        await put(db, house.desk.door.vault, subject_of("1000001", 1), person)
    await bank.ask(**PAY)

    checked = await bank.ask(**CHECK)
    nobody = await bank.ask(**{**CHECK, "ACCOUNT": "1000003"})

    assert checked == {
        "CODE": "0",
        "MESSAGE": "OK",
        "FIO": "ИВАНОВ И** И**",
        "ADDRESS": "Б**, УЛ. Л**, Д. **, КВ. **",
        "BALANCE": "1245.05",
        "REC_SUM": "0.00",
        "INFO": "Предыдущее показание: 10200; Пени: 0.00; Наибольший платёж: 60000.00",
    }
    assert (nobody["FIO"], nobody["ADDRESS"], nobody["BALANCE"]) == ("", "", "0.00")


async def test_a_bank_looks_at_so_many_accounts_a_day_by_every_way_and_is_paid_from_all_the_same(
    database: str, tmp_path: Path
) -> None:
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        bank_of(house, {"eps": {}, "osmp": {}, "looks_a_day": 3}) as bank,
    ):
        looks = {"path": OSMP_PATH, "command": "check", "txn_id": "0", "sum": "0.00"}
        assert [(await bank.ask(ACTION="check", ACCOUNT=number))["CODE"] for number in ("1000001", "7777777")] == [
            "0",
            "3",
        ]
        assert [(await bank.ask(account=number, **looks))["result"] for number in ("1000001", "1000002")] == [
            "0",
            "243",
        ]
        over = await bank.ask(ACTION="check", ACCOUNT="1000001")
        assert (over["CODE"], "FIO" in over) == ("1", False)

        paid = {"ACCOUNT": "1000001", "AMOUNT": "200.00", "PAY_ID": "1", "PAY_DATE": "20.05.2024_15:30:15"}
        assert (await bank.ask(ACTION="payment", **paid))["CODE"] == "0"
        # Another bank has a day of its own, and so has the next day.
        assert (await replace(bank, name="app").ask(ACTION="check", ACCOUNT="1000001"))["CODE"] == "0"
        house.wait(days=1)
        assert (await bank.ask(ACTION="check", ACCOUNT="1000001"))["CODE"] == "0"


async def test_a_debt_has_the_sign_that_was_agreed(bank: Bank) -> None:
    house = bank.banks.house
    house.at = moscow("2024-06-02T12:00")
    await house.do("1000001", ClosePeriod(Period("2024-05"), house.at))
    owed = (await bank.banks.till.intake.account("1000001")).ledger.balance
    async with bank_of(house, {"eps": {"balance_sign": "plus"}}) as other:
        plus = await other.ask(**CHECK)
    minus = await bank.ask(**CHECK)

    assert owed > 0
    assert (minus["BALANCE"], minus["REC_SUM"]) == (f"-{owed}", f"{owed}")
    assert (plus["BALANCE"], plus["REC_SUM"]) == (f"{owed}", f"{owed}")


NO_SUMS = ("1,5", "-5", "1e9", "1.005", "1' OR 1", "NaN", "", "٢٠٠")
NO_DATES = ("", "20240520153015", "31.02.2024_12:00:00", "1.5.2024_1:1:1", "22.05.2024_12:00:00", "20.05.1989_12:00:00")
BAD: tuple[tuple[dict[str, str], Code], ...] = (
    *(({"ACTION": each}, Code.UNKNOWN_ACTION) for each in ("", "pay", "PAYMENT", "cancel")),
    *(({"ACCOUNT": each}, Code.BAD_ACCOUNT) for each in ("", "12", "10000011", "1О00001", "'; --")),
    *(({"PAY_ID": each}, Code.BAD_PAY_ID) for each in ("", "0", "1" * 21, "abc", "-1")),
    *(({"AMOUNT": each}, Code.BAD_AMOUNT) for each in NO_SUMS),
    *(({"PAY_DATE": each}, Code.BAD_PAY_DATE) for each in NO_DATES),
    ({"ACCOUNT": "1999999"}, Code.NO_ACCOUNT),
    ({"AMOUNT": "0.99"}, Code.TOO_SMALL),
    ({"AMOUNT": "0"}, Code.TOO_SMALL),
    ({"AMOUNT": "60000.01"}, Code.TOO_BIG),
    ({"AMOUNT": "1" * 20}, Code.TOO_BIG),
    ({"PHONE": "12"}, Code.BAD_PHONE),
)


async def test_what_is_written_wrong_has_its_own_code_and_books_nothing(bank: Bank) -> None:
    for number, (changed, code) in enumerate(BAD, 1):
        answer = await bank.ask(**{**PAY, "PAY_ID": str(number), **changed})

        assert (int(answer["CODE"]), set(answer)) == (code, {"CODE", "MESSAGE"}), changed
        assert MEANINGS[code].is_fatal
    assert await bank.booked() == []


async def test_a_check_of_a_sum_says_whether_it_would_be_taken(bank: Bank) -> None:
    answers = [await bank.ask(**CHECK, AMOUNT=each) for each in ("200.00", "0.50", "60001", "1,5")]

    assert [int(answer["CODE"]) for answer in answers] == [Code.OK, Code.TOO_SMALL, Code.TOO_BIG, Code.BAD_AMOUNT]


async def test_a_closed_account_that_owes_nothing_is_inactive(bank: Bank) -> None:
    house = bank.banks.house
    house.at = moscow("2024-06-02T12:00")
    await house.do(CLOSED, ClosePeriod(Period("2024-05"), house.at))
    due = (await bank.banks.till.intake.account(CLOSED)).ledger.balance
    await bank.ask(**{**PAY, "ACCOUNT": CLOSED, "AMOUNT": str(max(due, Decimal(1)))})

    checked = await bank.ask(**{**CHECK, "ACCOUNT": CLOSED})
    paid = await bank.ask(**{**PAY, "ACCOUNT": CLOSED, "PAY_ID": "2"})

    assert [int(checked["CODE"]), int(paid["CODE"])] == [Code.INACTIVE, Code.INACTIVE]


async def test_a_duplicate_tells_of_the_first_payment_and_another_account_s_is_none(bank: Bank) -> None:
    first = await bank.ask(**PAY)
    cheaper = await bank.ask(**{**PAY, "AMOUNT": "1.00"})
    later = await bank.ask(**{**PAY, "PAY_DATE": "20.05.2024_15:59:00"})
    other = await bank.ask(**{**PAY, "ACCOUNT": "1000002"})
    theirs = await replace(bank, name="app").ask(**PAY)

    assert [int(each["CODE"]) for each in (first, cheaper, later, other, theirs)] == [0, 8, 8, 300, 0]
    facts = ("EXT_ID", "REG_DATE", "AMOUNT")
    assert [cheaper[name] for name in facts] == [later[name] for name in facts] == [first[name] for name in facts]
    assert set(other) == {"CODE", "MESSAGE"}
    assert theirs["EXT_ID"] != first["EXT_ID"]
    assert len(await bank.booked()) == 2


async def test_twenty_at_once_book_once_and_one_of_them_is_the_first(bank: Bank) -> None:
    answers = await asyncio.gather(*(bank.ask(**PAY, IPU_1="10385") for _ in range(20)))

    assert sorted(int(answer["CODE"]) for answer in answers) == [0] + [8] * 19
    assert len({(answer["EXT_ID"], answer["REG_DATE"], answer["AMOUNT"]) for answer in answers}) == 1
    assert [type(entry.event) for entry in await bank.booked()] == [PaymentReceived, ReadingAccepted]


async def test_while_nothing_can_be_stored_the_code_is_1_and_the_repeat_is_taken(bank: Bank) -> None:
    async with unreachable(bank.banks.house):
        down = await bank.ask(**PAY)
    paid = await bank.ask(**PAY)

    assert (down["CODE"], set(down)) == ("1", {"CODE", "MESSAGE"})
    assert paid["CODE"] == "0"


async def test_what_waits_for_an_operator_is_temporary(bank: Bank) -> None:
    agent = bank.banks.agent()
    parked = Message(Channel.BANK, agent.message_id("123"), agent.actor, "1000001", cast(Command, object()), "nonsense")
    assert (await bank.banks.till.intake.submit(parked)).status is Status.PARKED

    assert (await bank.ask(**PAY))["CODE"] == "1"


async def test_a_bad_reading_never_refuses_the_money_and_says_so(bank: Bank) -> None:
    paid = await bank.ask(**PAY, IPU_1="9000")
    again = await bank.ask(**PAY, IPU_1="9000")
    late = await bank.ask(**{**PAY, "PAY_ID": "2"})
    without = await bank.ask(**{**PAY, "PAY_ID": "2"}, IPU_1="10385")

    assert paid["CODE"] == "0"
    assert "меньше прежнего" in paid["MESSAGE"]
    assert again["CODE"] == "8"
    assert "меньше прежнего" in again["MESSAGE"]
    assert late["MESSAGE"] == "OK"
    assert "Показание не принято" in without["MESSAGE"]


async def test_the_bank_asks_and_is_answered_in_cp1251(database: str, tmp_path: Path) -> None:
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        bank_of(house, {"eps": {"encoding": "cp1251", "readings": {"IPU": "1"}}}) as made,
    ):
        bank = replace(made, encoding="cp1251")
        answer = await bank.send(**PAY, IPU="1О385", FIO="Иванов Ёжик")

    assert answer.headers["content-type"] == "text/xml; charset=windows-1251"
    assert "Платёж принят".encode("cp1251") in answer.content
    assert "10385" in told(answer)["MESSAGE"]


async def test_a_signature_that_was_agreed_must_be_right(database: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("тайна", "utf-8")
    sign = {
        "parameter": "SIGN",
        "digest": "sha256",
        "of": ["$secret", "ACTION", "ACCOUNT", "AMOUNT", "PAY_ID"],
        "secret_file": "secret",
    }
    async with opened_house(database, tmp_path, at=AT) as house:
        banks = await opened_banks(house, {"sber": {"eps": {"sign": sign}}, "app": {"eps": {}}})
        served = Starlette(routes=eps_routes(banks.till, folder=tmp_path))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://bels.test") as http:
            bank = Bank(banks, http)
            wrong = [await bank.ask(**PAY), await bank.ask(**PAY, SIGN="00")]
            right = await bank.ask(**PAY, SIGN=sha256("тайнаpayment10000011245.05123".encode()).hexdigest())

    assert [each["CODE"] for each in wrong] == ["7", "7"]
    assert right["CODE"] == "0"


@pytest.mark.parametrize("table", [{"info": ["passport"]}, {"info": "name"}, {"phone": "ACCOUNT"}, {"fields": {}}])
def test_a_contract_that_cannot_be_kept_is_refused_at_the_start(table: dict[str, Any]) -> None:
    (partner,) = partners_of({"partner": {"q": {"client": "c-abcdefghijklmnop", "eps": table}}}).partners

    with pytest.raises(PartnersError, match=r"partner\.q\.eps"):
        eps_terms(partner)


@pytest.mark.parametrize(
    ("name", "at_a_terminal", "at_the_bank"),
    [
        ("Иванов Пётр Сергеевич", "И*** П.", "ИВАНОВ П** С**"),
        ("петров-Водкин  кузьма", "П*** К.", "ПЕТРОВ-ВОДКИН К**"),
        ("Ким", "К***", "КИМ"),
        ("", "", ""),
        ("Ибн Сина Абу Али", "И*** С.", "ИБН С** А**"),
    ],
)
def test_a_name_is_masked_as_each_protocol_shows_it(name: str, at_a_terminal: str, at_the_bank: str) -> None:
    assert (terminal_name(name), bank_name(name)) == (at_a_terminal, at_the_bank)


def test_an_address_keeps_no_word_and_no_number() -> None:
    masked = masked_address("143900, Балашиха, пр-т Ленина 5к2, кв.12")

    assert masked == "**, Б**, П**-Т** Л** **К****, КВ.**"


# The same facts, whichever way a partner comes.

_ids = count(1_000_000)
MOMENTS = st.integers(0, 2_000_000).map(lambda seconds: moscow("2024-05-20T15:59") - timedelta(seconds=seconds))
AMOUNTS = st.integers(100, 6_000_000).map(lambda kopecks: Decimal(kopecks) / 100)
READINGS = st.sampled_from((None, "10385", "10200", "9000", "много", "99999", ""))


@given(AMOUNTS, MOMENTS, READINGS, st.sampled_from(("1000001", "1000004", "1999999")), st.permutations(range(3)))
@settings(max_examples=20)
async def test_a_payment_is_the_same_whichever_way_it_came(
    bank: Bank, amount: Decimal, paid_at: datetime, value: str | None, account: str, order: list[int]
) -> None:
    pay_id = str(next(_ids))
    sums = f"{amount:.2f}"
    agent = bank.banks.agent()
    refusing = replace(agent, partner=replace(agent.partner, refuses_unknown=True))

    async def by_osmp() -> str:
        reading = {"data1": value} if value is not None else {}
        moment = f"{paid_at:%Y%m%d%H%M%S}"
        asked = {"command": "pay", "txn_id": pay_id, "txn_date": moment, "account": account, "sum": sums, **reading}
        return (await bank.ask(path=OSMP_PATH, **asked)).get("prv_txn", "")

    async def by_eps() -> str:
        reading = {"IPU_1": value} if value is not None else {}
        moment = f"{paid_at:%d.%m.%Y_%H:%M:%S}"
        asked = {
            "ACTION": "payment",
            "PAY_ID": pay_id,
            "PAY_DATE": moment,
            "ACCOUNT": account,
            "AMOUNT": sums,
            **reading,
        }
        return (await bank.ask(**asked)).get("EXT_ID", "")

    async def by_till() -> str:
        written = [("1", value)] if value is not None else None
        paid = await pay(bank.banks.till, refusing, PayOrder(pay_id, account, amount, paid_at, given=written))
        return paid.payment.receipt if paid.received is not None else ""

    ways = (by_osmp, by_eps, by_till)
    before = len(await bank.booked(account))

    first = await ways[order[0]]()
    after = await bank.booked(account)
    answers = [first, *[await ways[way]() for way in order[1:]]]

    # One payment, one number of it for both protocols, one booking: by whichever way it came first.
    assert len({bool(answer) for answer in answers}) == 1
    numbers = {answer for way, answer in zip(order, answers, strict=True) if way != 2}
    assert len(numbers) == 1
    assert await bank.booked(account) == after
    if account != "1999999":
        event = after[before].event
        assert isinstance(event, PaymentReceived)
        assert (event.amount, event.paid_at, event.reference) == (amount, paid_at, pay_id)
        assert after[before].actor == agent.actor


async def test_three_payments_by_three_ways_have_the_same_facts_but_their_numbers(bank: Bank) -> None:
    moment = moscow("2024-05-20T15:30:15")
    osmp = {"command": "pay", "txn_id": "1", "txn_date": "20240520153015", "account": "1000001", "sum": "1245.05"}
    await bank.ask(path=OSMP_PATH, **osmp)
    await bank.ask(**{**PAY, "PAY_ID": "2"})
    await pay(bank.banks.till, bank.banks.agent(), PayOrder("3", "1000001", Decimal("1245.05"), moment))

    events = [entry.event for entry in await bank.booked() if isinstance(entry.event, PaymentReceived)]
    async with bank.banks.till.counter.pool.acquire() as db:
        rows = [dict(row) for row in await db.fetch("SELECT * FROM ledger WHERE account = '1000001' ORDER BY entry")]
        payments = [dict(row) for row in await db.fetch("SELECT * FROM payment WHERE account = '1000001'")]

    own = ("entry", "receipt", "reference", "balance", "recorded_at")
    assert [event.reference for event in events] == ["1", "2", "3"]
    assert len({replace(event, reference="") for event in events}) == 1
    for table in (rows, payments):
        assert len({tuple((name, row[name]) for name in row if name not in own) for row in table}) == 1
