"""OSMP «check / pay» over a real supplier: every code, every way to repeat, and readings that come with the money."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode
from xml.dom import minidom

import asyncpg
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from bels.access.personal import Personal, put, subject_of
from bels.channels.osmp import MEANINGS, PATH, VARIANTS, Result, osmp_routes, osmp_terms
from bels.channels.partner_door import BODY_BYTES_MAX, COMMENT_LENGTH_MAX, PARAMETERS_MAX, QUERY_BYTES_MAX
from bels.domain.commands import ClosePeriod, Command
from bels.domain.events import CommandRefused, ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.money_events import PaymentReceived
from bels.domain.terms import Channel, Period
from bels.journal.journal import read
from bels.messages import Message, Status
from bels.payments.partners import PartnersError, partners_of
from bels.payments.till import find
from tests.channels.cases import unreachable
from tests.channels.house import House, opened_house
from tests.channels.household import CLOSED, moscow
from tests.conftest import new_supplier
from tests.domain.vectors import vectors
from tests.payments.conftest import Banks, opened_banks

AT = "2024-05-20T16:00"
FORM = "application/x-www-form-urlencoded"
FIELDS = {"FIO": "name", "DEBT": "due", "PREV": "previous", "ADDR": "address", "MIN": "minimum"}
AGREED: dict[str, Any] = {
    "readings": {"data1": "1", "data2": "2"},
    "fields": FIELDS,
    "variants": ["cancel", "verify", "balance", "getInfo"],
}
PAY = {"command": "pay", "txn_id": "1234567", "txn_date": "20240520153015", "account": "1000001", "sum": "200.00"}
CHECK = {"command": "check", "txn_id": "1234567", "account": "1000001", "sum": "200.00"}


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal of the partner ``name``."""

    banks: Banks
    http: httpx.AsyncClient
    name: str = "sber"
    encoding: str = "utf-8"

    @property
    def auth(self) -> tuple[str, str]:
        """Its client and its secret."""
        return self.banks.agent(self.name).partner.client, self.banks.secrets[self.name]

    async def send(self, **parameters: str) -> httpx.Response:
        """Send a request, in the agreed encoding."""
        return await self.http.get(f"{PATH}?{urlencode(parameters, encoding=self.encoding)}", auth=self.auth)

    async def ask(self, **parameters: str) -> dict[str, str]:
        """Ask, and give the answer's elements with their texts."""
        return told(await self.send(**parameters))

    async def post(self, **parameters: str) -> dict[str, str]:
        """Ask by a form."""
        content, head = urlencode(parameters, encoding=self.encoding), {"content-type": FORM}
        return told(await self.http.post(PATH, content=content, headers=head, auth=self.auth))

    async def balance(self, account: str = "1000001") -> Decimal:
        """Say what an account owes."""
        return (await self.banks.till.intake.account(account)).ledger.balance


def told(response: httpx.Response, *, is_register: bool = False) -> dict[str, str]:
    """Read an answer, which always has HTTP 200; fields are under the name that they have for people."""
    assert response.status_code == 200, response.text
    document = minidom.parseString(response.content)
    assert document.documentElement is not None
    assert document.documentElement.tagName == "response"
    found: dict[str, str] = {}
    for child in document.documentElement.childNodes:
        for part in child.childNodes if child.nodeName == "fields" else [child]:
            assert isinstance(part, minidom.Element)
            name = part.getAttribute("name") or part.nodeName
            assert name not in found or is_register
            found[name] = "".join(node.data for node in part.childNodes if node.nodeType == node.TEXT_NODE)
    assert len(found["comment"]) <= COMMENT_LENGTH_MAX
    return found


@asynccontextmanager
async def terminal_of(house: House, sber: dict[str, Any], app: dict[str, Any] | None = None) -> AsyncIterator[Terminal]:
    """Serve OSMP to two banks with these contracts."""
    banks = await opened_banks(house, {"sber": sber, "app": app or {}})
    served = Starlette(routes=osmp_routes(banks.till))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://bels.test") as http:
        yield Terminal(banks, http)


@pytest.fixture
async def terminal(database: str, tmp_path: Path) -> AsyncIterator[Terminal]:
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        terminal_of(house, {"osmp": AGREED}, {"osmp": {}}) as made,
    ):
        yield made


async def booked(terminal: Terminal, account: str = "1000001") -> list[Any]:
    """List the payments and the readings that banks brought to an account."""
    async with terminal.banks.till.counter.pool.acquire() as db:
        events = [entry.event for entry in await read(db, {account: 0}) if entry.channel is Channel.BANK]
    return [event for event in events if not isinstance(event, CommandRefused)]


# What the texts of the protocol say.


@pytest.mark.parametrize("vector", vectors("osmp"), ids=[v["id"] for v in vectors("osmp")])
async def test_a_vector_of_the_protocol_gives_its_results(terminal: Terminal, vector: dict[str, Any]) -> None:
    before = await terminal.balance()

    answers = [await terminal.ask(**request) for request in vector["given"]["requests"]]

    expected = vector["expected"]
    assert [int(answer["result"]) for answer in answers] == expected["results"]
    assert before - await terminal.balance() == Decimal(expected["credited"])
    assert len(await booked(terminal)) == expected["payments_posted"]
    if expected.get("same_prv_txn"):
        assert answers[0] == answers[1]
        assert answers[0]["prv_txn"].isdigit()


async def test_check_shows_what_was_agreed_and_pay_books_it(terminal: Terminal) -> None:
    house = terminal.banks.house
    async with house.desk.pool.acquire() as db:
        person = Personal("Иванов Пётр Сергеевич", "Балашиха, ул. Ленина, д. 5, кв. 12")
        await put(db, house.desk.door.vault, subject_of("1000003", 1), person)

    checked = await terminal.ask(**{**CHECK, "account": "1000003"})
    paid = await terminal.ask(**{**PAY, "account": "1000003"})

    assert checked == {
        "osmp_txn_id": "1234567",
        "sum": "200.00",
        "result": "0",
        "comment": "OK",
        "FIO": "И*** П.",
        "DEBT": "0.00",
        "PREV": "день 3000, ночь 1500",
        "ADDR": "Б**, УЛ. Л**, Д. **, КВ. **",
        "MIN": "1.00",
    }
    assert {**paid, "prv_txn": ""} == {
        "osmp_txn_id": "1234567",
        "prv_txn": "",
        "sum": "200.00",
        "result": "0",
        "comment": "OK",
    }
    (payment,) = await booked(terminal, "1000003")
    assert isinstance(payment, PaymentReceived)
    assert payment.paid_at == moscow("2024-05-20T15:30:15")
    assert payment.reference == "1234567"


async def test_a_terminal_probes_without_a_sum_and_reads_what_is_due(terminal: Terminal) -> None:
    await terminal.ask(**PAY)

    probed = await terminal.ask(command="check", txn_id="0", account="1000001", sum="0.00")
    bare = await terminal.ask(command="check", account="1000001")

    assert (probed["result"], probed["sum"], probed["balance"]) == ("0", "0.00", "-200.00")
    assert {**bare, "osmp_txn_id": "0"} == probed


async def test_a_payment_needs_no_check_before_it_and_comes_as_a_form_too(terminal: Terminal) -> None:
    first = await terminal.post(**PAY)
    again = await terminal.ask(**PAY)
    query = await terminal.http.post(f"{PATH}?{urlencode(PAY)}", auth=terminal.auth)

    assert first["result"] == "0"
    assert again == first == told(query)


NO_SUMS = ("1,5", "-5", "1e9", "1.005", "1' OR 1", "NaN", "Infinity", "", " 5", "+5", "5.", ".5", "٢٠٠", "9" * 400)
NO_ACCOUNTS = ("", "100000", "10000001", "1О00001", "1000001'", "１００００01")
NO_IDS = ("", "0", "000", "1" * 21, "-1", "1 2", "abc", "１")
NO_DATES = ("", "2024052015301", "20240231120000", "20240522120000", "00000101000000", "19890101000000", "20.05.2024")
BAD: tuple[tuple[dict[str, str], Result], ...] = (
    *(({"sum": each}, Result.OTHER) for each in NO_SUMS),
    *(({"account": each}, Result.BAD_ACCOUNT) for each in NO_ACCOUNTS),
    *(({"txn_id": each}, Result.OTHER) for each in NO_IDS),
    *(({"txn_date": each}, Result.OTHER) for each in NO_DATES),
    *(({"command": each}, Result.OTHER) for each in ("", "PAY", "drop", "status")),
    ({"sum": "0.00"}, Result.TOO_SMALL),
    ({"sum": "0.99"}, Result.TOO_SMALL),
    ({"sum": "60000.01"}, Result.TOO_BIG),
    ({"sum": "99999999999999999999"}, Result.TOO_BIG),
    ({"account": "1999999"}, Result.NO_ACCOUNT),
    ({"ccy": "USD"}, Result.BAD_CURRENCY),
)


@pytest.fixture(scope="module")
async def shared(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    """Serve tests that book nothing from one house."""
    name = f"bels_osmp_{os.getpid()}"
    url = await asyncio.to_thread(new_supplier, postgres, template, name)
    async with (
        opened_house(url, tmp_path_factory.mktemp("osmp"), at=AT) as house,
        terminal_of(house, {"osmp": AGREED}, {"osmp": {}}) as made,
    ):
        yield made
    server = await asyncpg.connect(postgres)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.mark.parametrize(
    ("number", "changed", "result"), [(str(i), *each) for i, each in enumerate(BAD, 1)], ids=lambda each: str(each)[:40]
)
async def test_what_is_written_wrong_has_its_own_code_and_books_nothing(
    shared: Terminal, number: str, changed: dict[str, str], result: Result
) -> None:
    answer = await shared.ask(**{**PAY, "txn_id": number, **changed})

    assert int(answer["result"]) == result
    assert MEANINGS[result].is_fatal
    assert "prv_txn" not in answer
    assert await booked(shared) == []


def test_only_0_1_and_90_are_repeated() -> None:
    assert {code.value for code, meaning in MEANINGS.items() if not meaning.is_fatal} == {0, 1, 90}
    assert set(MEANINGS) == set(Result)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("a=1&" * (PARAMETERS_MAX + 1), FORM),
        (urlencode([*PAY.items(), ("sum", "300.00")]), FORM),
        ("x" * (BODY_BYTES_MAX + 1), FORM),
        ('{"command": "pay"}', "application/json"),
    ],
)
async def test_a_request_that_cannot_be_read_is_300(shared: Terminal, content: str, kind: str) -> None:
    posted = await shared.http.post(PATH, content=content, headers={"content-type": kind}, auth=shared.auth)

    assert told(posted)["result"] == "300"


async def test_a_query_that_is_too_long_is_300_and_a_look_at_the_headers_pays_nothing(shared: Terminal) -> None:
    assert (await shared.ask(**{**PAY, "data9": "x" * QUERY_BYTES_MAX}))["result"] == "300"
    assert (await shared.http.head(f"{PATH}?{urlencode(PAY)}", auth=shared.auth)).status_code == 405
    assert (await shared.http.put(PATH, auth=shared.auth)).status_code == 405
    assert await booked(shared) == []


async def test_nothing_that_is_sent_becomes_a_part_of_the_answer(shared: Terminal) -> None:
    evil = "<result>0</result>]]>&amp;\x00"

    answer = await shared.send(**{**PAY, "txn_id": evil, "account": evil})

    assert told(answer)["osmp_txn_id"] == ""
    assert answer.content.count(b"<result>") == 1


WORDS = st.one_of(
    st.sampled_from((*VARIANTS, "check", "pay", "1000006", "1", "0", "200.00", "20240520153015")), st.text()
)
ASKED = st.dictionaries(st.sampled_from((*PAY, "data1", "date", "cancel_txn_id", "ccy", "\x00", "ы")), WORDS)


@given(ASKED, st.binary(max_size=50))
@settings(max_examples=40)
async def test_whatever_is_asked_is_answered_by_a_code_of_the_protocol(
    shared: Terminal, asked: dict[str, str], more: bytes
) -> None:
    content = urlencode(asked, errors="surrogatepass").encode() + b"&" + more

    answer = await shared.http.post(PATH, content=content, headers={"content-type": FORM}, auth=shared.auth)

    assert int(told(answer, is_register=asked.get("command") == "verify")["result"]) in list(Result)


# Repeats.


async def test_the_same_txn_id_with_another_account_or_sum_is_300(terminal: Terminal) -> None:
    await terminal.ask(**PAY)

    other = await terminal.ask(**{**PAY, "account": "1000002"})
    dearer = await terminal.ask(**{**PAY, "sum": "200.01"})
    same = await terminal.ask(**{**PAY, "sum": "200", "txn_date": "20240520153016"})

    assert [each["result"] for each in (other, dearer, same)] == ["300", "300", "0"]
    assert await terminal.balance() == -200


async def test_twenty_at_once_book_once(terminal: Terminal) -> None:
    answers = await asyncio.gather(*(terminal.ask(**PAY, data1="10385") for _ in range(20)))

    assert len({tuple(answer.items()) for answer in answers}) == 1
    assert answers[0]["result"] == "0"
    assert [type(event) for event in await booked(terminal)] == [PaymentReceived, ReadingAccepted]


async def test_the_same_txn_id_of_another_partner_is_another_payment(terminal: Terminal) -> None:
    ours = await terminal.ask(**PAY)
    theirs = await replace(terminal, name="app").ask(**PAY)

    assert ours["prv_txn"] != theirs["prv_txn"]
    assert await terminal.balance() == -400


async def test_while_nothing_can_be_stored_the_answer_is_1_and_the_repeat_is_taken(terminal: Terminal) -> None:
    async with unreachable(terminal.banks.house):
        down = [await terminal.ask(**PAY), await terminal.post(**PAY), await terminal.ask(**CHECK)]
    paid = await terminal.ask(**PAY)

    assert {(answer["result"], answer["osmp_txn_id"]) for answer in down} == {("1", "1234567")}
    assert paid["result"] == "0"
    assert await terminal.balance() == -200


async def test_what_waits_for_an_operator_is_not_finished(terminal: Terminal) -> None:
    agent = terminal.banks.agent()
    nonsense = cast(Command, object())
    parked = Message(Channel.BANK, agent.message_id("1234567"), agent.actor, "1000001", nonsense, "nonsense")
    assert (await terminal.banks.till.intake.submit(parked)).status is Status.PARKED

    assert (await terminal.ask(**PAY))["result"] == "90"


# Accounts that are no more.


async def test_a_closed_account_that_owes_nothing_is_inactive(terminal: Terminal) -> None:
    house = terminal.banks.house
    house.at = moscow("2024-06-02T12:00")
    await house.do(CLOSED, ClosePeriod(Period("2024-05"), house.at))
    due = (await terminal.banks.till.intake.account(CLOSED)).ledger.balance
    await terminal.ask(**{**PAY, "account": CLOSED, "sum": str(max(due, Decimal(1)))})

    checked = await terminal.ask(**{**CHECK, "account": CLOSED})
    paid = await terminal.ask(**{**PAY, "account": CLOSED, "txn_id": "2"})

    assert [checked["result"], paid["result"]] == ["79", "79"]


async def test_money_for_nobody_is_kept_where_the_contract_says_so(database: str, tmp_path: Path) -> None:
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        terminal_of(house, {"osmp": {"unknown_accounts": "keep"}}) as terminal,
    ):
        checked = await terminal.ask(**{**CHECK, "account": "1999999"})
        paid = await terminal.ask(**{**PAY, "account": "1999999"})
        found = await find(terminal.banks.till, terminal.banks.agent(), "1234567")

    assert (checked["result"], paid["result"]) == ("5", "0")
    assert found is not None
    assert found.row is not None
    assert found.row.meant_for == "1999999"


# Readings.


async def test_a_reading_comes_in_the_agreed_parameters(terminal: Terminal) -> None:
    one = await terminal.ask(**PAY, data1="10385")
    two = await terminal.ask(**{**PAY, "txn_id": "2", "account": "1000003"}, data1="3100", data2="1600")

    assert re.fullmatch(
        r"Платёж принят\. Показание: принято №\w{8}: л/с 1000001, 10385\. Войдёт в счёт за май", one["comment"]
    )
    assert "л/с 1000003, день 3100, ночь 1600" in two["comment"]
    assert isinstance((await booked(terminal))[1], ReadingAccepted)
    assert isinstance((await booked(terminal, "1000003"))[1], ReadingAccepted)


@pytest.mark.parametrize(
    ("value", "kind", "told_of"),
    [
        ("9000", ReadingHeld, "не учтено"),
        ("много", ReadingRefused, "не понято"),
        ("1" * 500, ReadingRefused, "не понято"),
        ("1234567", ReadingRefused, "больше цифр, чем на счётчике"),
    ],
)
async def test_a_bad_reading_never_refuses_the_money_and_says_so(
    terminal: Terminal, value: str, kind: type, told_of: str
) -> None:
    paid = await terminal.ask(**PAY, data1=value)
    again = await terminal.ask(**PAY, data1=value)

    assert paid["result"] == "0"
    assert paid["comment"].startswith("Платёж принят. Показание: ")
    assert told_of in paid["comment"]
    assert paid["comment"].endswith("по телефону 8 (495) 524-22-04")
    assert again == paid
    assert await terminal.balance() == -200
    agent = terminal.banks.agent()
    found = await find(terminal.banks.till, agent, "1234567")
    assert found is not None
    assert found.paid.reading is not None
    assert isinstance(found.paid.reading.events[0], kind)


async def test_a_partner_that_may_bring_no_readings_is_told_so(terminal: Terminal) -> None:
    async with terminal.banks.till.counter.pool.acquire() as db:
        await db.execute("UPDATE client SET scopes = '{payments:write}' WHERE client = $1", terminal.auth[0])

    paid = await terminal.ask(**PAY, data1="10385")
    register = await terminal.ask(command="verify", date="20240520")

    assert paid["result"] == "0"
    assert "договор" in paid["comment"]
    assert [type(event) for event in await booked(terminal)] == [PaymentReceived]
    assert register["result"] == "7"


async def test_russian_letters_come_and_go_in_the_encoding_of_the_contract(database: str, tmp_path: Path) -> None:
    table = {"encoding": "cp1251", "readings": {"показание": "1"}}
    async with opened_house(database, tmp_path, at=AT) as house:
        with pytest.raises(PartnersError):
            async with terminal_of(house, {"osmp": table}):
                pass
        async with terminal_of(house, {"osmp": {"encoding": "cp1251", "readings": {"v": "1"}}}) as made:
            terminal = replace(made, encoding="cp1251")
            # The letter О stands where a zero should.
            answer = await terminal.send(**PAY, v="1О385", note="за свет, ёлки")
            raw = await terminal.http.post(
                PATH,
                content=urlencode({**PAY, "txn_id": "2"}).encode() + "&note=свет".encode("cp1251"),
                headers={"content-type": FORM},
                auth=terminal.auth,
            )

    assert answer.headers["content-type"] == "text/xml; charset=windows-1251"
    assert answer.content.startswith(b'<?xml version="1.0" encoding="windows-1251"?>')
    assert "Платёж принят".encode("cp1251") in answer.content
    assert "10385" in told(answer)["comment"]
    assert told(raw)["result"] == "0"


# Variants.


async def test_a_payment_is_cancelled_on_its_day_and_not_later(terminal: Terminal) -> None:
    for txn_id in ("1", "2", "3"):
        assert (await terminal.ask(**{**PAY, "txn_id": txn_id}))["result"] == "0"

    done = await terminal.ask(command="cancel", txn_id="1")
    again = await terminal.ask(command="cancel", txn_id="1", account="1000001", sum="200.00")
    renamed = await terminal.ask(command="cancel", txn_id="9001", cancel_txn_id="2", cancel_txn_date="20240520153015")
    wrong = [
        await terminal.ask(command="cancel", txn_id="3", sum="1.00"),
        await terminal.ask(command="cancel", txn_id="3", account="1000002"),
        await terminal.ask(command="cancel", txn_id=""),
    ]
    unknown = await terminal.ask(command="cancel", txn_id="404")
    terminal.banks.house.wait(days=1)
    late = await terminal.ask(command="cancel", txn_id="3")

    assert (done["result"], done["sum"]) == ("0", "200.00")
    assert again == done
    assert renamed["result"] == "0"
    assert [each["result"] for each in wrong] == ["300"] * 3
    assert [unknown["result"], late["result"]] == ["251", "251"]
    assert await terminal.balance() == -200


async def test_the_register_of_a_day_has_every_payment_of_the_partner_and_none_of_another(terminal: Terminal) -> None:
    for txn_id in ("1", "2"):
        await terminal.ask(**{**PAY, "txn_id": txn_id})
    await terminal.ask(**{**PAY, "txn_id": "3", "txn_date": "20240519120000"})
    await replace(terminal, name="app").ask(**{**PAY, "txn_id": "4"})
    await terminal.ask(command="cancel", txn_id="2")

    answer = await terminal.send(command="verify", date="20240520")

    root = minidom.parseString(answer.content).documentElement
    assert root is not None
    payments = [
        {part.nodeName: part.firstChild.data for part in payment.childNodes if part.firstChild is not None}  # type: ignore[union-attr]
        for payment in root.getElementsByTagName("payment")
    ]
    assert [(each["osmp_txn_id"], each["state"], each["sum"]) for each in payments] in (
        [("1", "paid", "200.00"), ("2", "cancelled", "200.00")],
        [("2", "cancelled", "200.00"), ("1", "paid", "200.00")],
    )
    assert {each["txn_date"] for each in payments} == {"20240520153015"}
    heads = {node.nodeName: node.firstChild.data for node in root.childNodes if node.nodeName != "payments"}  # type: ignore[union-attr]
    assert heads == {"date": "20240520", "count": "1", "sum": "200.00", "result": "0", "comment": "OK"}
    assert (await terminal.ask(command="verify", date="20240231"))["result"] == "300"


async def test_balance_and_get_info_tell_of_an_account_without_a_payment(terminal: Terminal) -> None:
    balance = await terminal.ask(command="balance", account="1000001")
    info = await terminal.ask(command="getInfo", account="1000001")

    assert (balance["result"], balance["balance"], balance["sum"]) == ("0", "0.00", "0.00")
    assert "PREV" not in balance
    assert info["PREV"] == "10200"


@pytest.mark.parametrize("command", ["cancel", "verify", "balance", "getInfo"])
async def test_a_variant_that_was_not_agreed_is_300(shared: Terminal, command: str) -> None:
    assert (await replace(shared, name="app").ask(command=command, account="1000001"))["result"] == "300"


async def test_a_signature_that_was_agreed_must_be_right(database: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("соль\n", "utf-8")
    sign = {
        "parameter": "sign",
        "digest": "md5",
        "of": ["txn_id", "sum", "$secret"],
        "joined": ";",
        "secret_file": str(tmp_path / "secret"),
    }
    async with (
        opened_house(database, tmp_path, at=AT) as house,
        terminal_of(house, {"osmp": {"sign": sign}}) as terminal,
    ):
        right = md5("1234567;200.00;соль".encode(), usedforsecurity=False).hexdigest()
        signed = [await terminal.ask(**PAY, sign=each) for each in ("", "00", right[:-1], "ы")]
        paid = await terminal.ask(**PAY, sign=right.upper())

    assert [each["result"] for each in signed] == ["10"] * 4
    assert paid["result"] == "0"


@pytest.mark.parametrize(
    "table",
    [
        {"encoding": "koi8-r"},
        {"readings": {"sum": "1"}},
        {"readings": {"data1": 1}},
        {"readings": "data1"},
        {"fields": {"FIO": "passport"}},
        {"fields": ["name"]},
        {"variants": ["refund"]},
        {"unknown_accounts": True},
        {"balance_sign": "+"},
        {"colour": "red"},
        {"sign": {"parameter": "sign", "digest": "crc32", "of": ["$secret"], "secret_file": "/nowhere"}},
        {"sign": {"parameter": "sign", "digest": "md5", "of": ["$secret"], "secret_file": "/nowhere"}},
        {"sign": {"parameter": "sign", "digest": "md5", "of": ["sum"], "secret_file": "/nowhere"}},
        {"sign": {}},
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused_at_the_start(table: dict[str, Any]) -> None:
    (partner,) = partners_of({"partner": {"q": {"client": "c-abcdefghijklmnop", "osmp": table}}}).partners

    with pytest.raises(PartnersError, match=r"partner\.q\.osmp"):
        osmp_terms(partner)
