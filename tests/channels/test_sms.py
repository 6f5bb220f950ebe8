"""The SMS channel as Kannel calls it, over a real supplier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from json import loads
from re import search
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from starlette.applications import Starlette

from bels.access.callers import Kind
from bels.access.clients import add_client
from bels.channels.sms import PATH, WAIT_S, decoded, gateway_of, guard, normalised, sms_routes
from bels.domain.events import ReadingAccepted, ReadingConfirmed, ReadingHeld, ReadingRefused
from bels.domain.terms import Channel, Reason, Register
from bels.journal.journal import Recorded, find_receipt
from bels.messages import Outcome, outcomes_of
from bels.outgoing.kannel import Report, report_url
from bels.reception.codes import Code, make_code
from bels.reception.counter import code_of
from bels.words import TRY_LATER
from tests.channels.cases import CASES, Case, Heard, check, unreachable
from tests.channels.cases import TRY_LATER as NOT_STORED
from tests.channels.house import House
from tests.channels.household import moscow
from tests.servers import ROOT

TOKEN = "s3cret"
PHONE, STRANGER = "+79161234567", "+79031112233"
RECEIPT = "№([2-9A-HJ-NP-Z]{8})"


@dataclass(slots=True)
class Kannel:
    """The gateway: sends a text as ``get-url`` of kannel.conf says; every message comes a second after the one before."""

    house: House
    http: httpx.AsyncClient
    sent: int = 0

    async def sms(self, text: str | bytes, **given: str) -> httpx.Response:
        self.sent += 1
        self.house.wait(seconds=1)
        parameters = {
            "from": PHONE,
            "to": "1234",
            "coding": "0",
            "charset": "UTF-8",
            "smsc": "OP1",
            "id": f"0b1c6c5e-{self.sent}",
            "ts": str(int(self.house.at.timestamp())),
            "udh": "",
            "token": TOKEN,
        } | given
        return await self.http.get(f"{PATH}?{urlencode(parameters)}&text={quote(text)}")

    async def says(self, text: str | bytes, **given: str) -> str:
        answer = await self.sms(text, **given)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-kannel-coding"] == "2"
        assert answer.text
        return answer.text

    async def stored(self) -> list[tuple[Recorded, Outcome]]:
        """Give what was stored of our SMS, in order."""
        async with self.house.desk.pool.acquire() as db:
            rows = await db.fetch("SELECT receipt FROM message WHERE channel = 'sms' ORDER BY recorded_at")
            found = [await find_receipt(db, row["receipt"]) for row in rows]
            recorded = [each for each in found if each is not None]
            return list(zip(recorded, await outcomes_of(db, recorded), strict=True))

    async def event(self) -> ReadingAccepted | ReadingHeld | ReadingRefused:
        """Give the answering event of the one SMS that was stored."""
        [(_, outcome)] = await self.stored()
        event = outcome.events[0]
        assert isinstance(event, ReadingAccepted | ReadingHeld | ReadingRefused)
        return event


def receipt_in(said: str) -> str:
    """Find the receipt in an answer."""
    found = search(RECEIPT, said)
    assert found is not None, said
    return found.group(1)


def client(house: House, wait_s: float = 5.0, token: str | None = TOKEN) -> httpx.AsyncClient:
    routes = sms_routes(house.desk, guard(token), wait_s=wait_s)
    transport = httpx.ASGITransport(Starlette(routes=routes), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://bels.test")


@pytest.fixture
async def kannel(house: House) -> AsyncIterator[Kannel]:
    async with client(house) as http:
        yield Kannel(house, http)


@dataclass(slots=True)
class BySms:
    """Sends the twelve cases as texts."""

    kannel: Kannel
    ids: count[int]
    last: tuple[str, str] = ("", "")
    heard: frozenset[str] = frozenset()

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Send a reading."""
        named = f" счетчик №{meter}" if meter is not None else ""
        written = " ".join(values[r] for r in (Register.TOTAL, Register.DAY, Register.NIGHT) if r in values)
        self.last = (f"case-{next(self.ids)}", text if text is not None else f"{account}{named} {written}")
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Send the last one again, under the same id."""
        name, text = self.last
        answer = await self.kannel.sms(text, id=name)
        if answer.status_code == 503:
            assert answer.text == TRY_LATER
            return Heard(NOT_STORED, "", answer.text)
        receipt = receipt_in(answer.text)
        code = "REPEATED" if receipt in self.heard else await self.code(receipt)
        self.heard |= {receipt}
        return Heard(code, receipt, answer.text)

    async def code(self, receipt: str) -> str:
        """Give the code under which a receipt was first stored."""
        [outcome] = [outcome for _, outcome in await self.kannel.stored() if outcome.receipt == receipt]
        return code_of(replace(outcome, repeated=False))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_by_sms(kannel: Kannel, case: Case) -> None:
    await check(kannel.house, BySms(kannel, count()), case)


async def test_a_reading_is_accepted_and_echoed(kannel: Kannel) -> None:
    said = await kannel.says("1000001#10385")
    assert said == f"Принято №{receipt_in(said)}: л/с 1000001, 10385. Войдёт в счёт за май"
    [(message, _)] = await kannel.stored()
    sender = kannel.house.desk.sender(Channel.SMS, PHONE)
    assert message.channel is Channel.SMS
    assert message.message_id == "0b1c6c5e-1"
    assert message.actor == sender.actor
    event = await kannel.event()
    assert isinstance(event, ReadingAccepted)
    assert (event.received_at, event.values) == (kannel.house.at, {Register.TOTAL: 10385})
    assert loads(message.raw) == {"from": sender.digest, "text": "1000001#10385", "to": "1234"}


async def test_no_phone_is_kept_in_clear(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    await kannel.says("+79161234567")
    await kannel.says("1000001 10390 тел 89161234567", id="79161234567")
    for message, outcome in await kannel.stored():
        assert "9161234567" not in f"{message}{outcome}"


async def test_a_linked_sender_hears_the_consumption(kannel: Kannel) -> None:
    await kannel.house.link("1000001", Channel.SMS, PHONE)
    assert "расход 185 кВт·ч" in await kannel.says("1000001#10385", **{"from": "89161234567"})
    assert "расход" not in await kannel.says("1000001#10386", **{"from": STRANGER})


async def test_kannels_repeat_under_the_same_id_hears_the_same(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    kannel.house.wait(hours=30)
    assert await kannel.says("1000001#10385", id="A") == first
    assert len(await kannel.stored()) == 1


async def test_the_operators_repeat_under_a_new_id_hears_the_same(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    kannel.house.wait(minutes=9)
    assert await kannel.says("1000001#10385", id="B") == first
    assert len(await kannel.stored()) == 1
    kannel.house.wait(days=1)
    assert await kannel.says("1000001#10385", id="C") != first
    assert len(await kannel.stored()) == 2


async def test_the_same_message_three_times_at_once_is_one_reading(kannel: Kannel) -> None:
    same = [kannel.says("1000001#10385", id="A") for _ in range(3)]
    other = [kannel.says("1000001#10385", id=name) for name in "BCD"]
    said = set(await asyncio.gather(*same, *other))
    assert len(said) == 1
    events = [event for _, outcome in await kannel.stored() for event in outcome.events]
    assert len({event.values[Register.TOTAL] for event in events if isinstance(event, ReadingAccepted)}) == 1
    async with kannel.house.desk.pool.acquire() as db:
        accepted = await db.fetchval(
            "SELECT count(*) FROM journal WHERE originator_id = '1000001' AND topic LIKE 'reading-accepted%'"
        )
    assert accepted == 1


async def test_a_correction_back_counts_whatever_was_said_before(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    await kannel.says("1000001#10395", id="B")
    back = await kannel.says("1000001#10385", id="C")
    assert back != first
    assert "10385" in back
    assert len(await kannel.stored()) == 3


async def test_a_refusal_is_judged_anew_under_a_new_id(kannel: Kannel) -> None:
    await kannel.says("9999999#10385", id="A")
    await kannel.says("9999999#10385", id="B")
    assert len(await kannel.stored()) == 2


async def test_letters_in_an_account_are_named(kannel: Kannel) -> None:
    assert "без букв" in await kannel.says("a1000001#10385")


async def test_the_same_text_of_another_phone_is_another_message(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    await kannel.says("1000001#10385", **{"from": STRANGER})
    assert len(await kannel.stored()) == 2


async def test_another_text_under_the_same_id_is_refused(kannel: Kannel) -> None:
    await kannel.says("1000001#10385", id="A")
    assert "другое сообщение" in await kannel.says("1000001#10386", id="A")


async def test_a_lower_reading_is_held(kannel: Kannel) -> None:
    said = await kannel.says("1000001#10100")
    assert "10100 меньше прежнего. Проверит оператор" in said
    assert "10200" not in said
    assert isinstance(await kannel.event(), ReadingHeld)


async def test_an_implausible_reading_is_held_until_confirmed(kannel: Kannel) -> None:
    said = await kannel.says("1000001#99385")
    receipt = receipt_in(said)
    assert said.endswith(f"Если верно, ответьте ДА {receipt}")
    assert "Подтверждено" in await kannel.says(f"да, {receipt.lower()}")
    _, (confirmation, outcome) = await kannel.stored()
    assert confirmation.account == "1000001"
    assert isinstance(outcome.events[0], ReadingConfirmed)
    assert "не ждёт подтверждения" in await kannel.says(f"ДА {receipt} спасибо")


async def test_a_confirmation_that_the_operator_repeats_hears_the_same(kannel: Kannel) -> None:
    receipt = receipt_in(await kannel.says("1000001#99385"))
    assert await kannel.says(f"ДА {receipt}") == await kannel.says(f"ДА {receipt}")
    assert len(await kannel.stored()) == 2


async def test_only_an_operator_confirms_a_lower_reading(kannel: Kannel) -> None:
    receipt = receipt_in(await kannel.says("1000001#10100"))
    assert "только оператор" in await kannel.says(f"ДА {receipt}")


async def test_a_confirmation_of_what_was_refused_or_never_came(kannel: Kannel) -> None:
    receipt = receipt_in(await kannel.says("1000001#12a45"))
    assert "не ждёт подтверждения" in await kannel.says(f"ДА {receipt}")
    assert "не найдено" in await kannel.says("ДА ZZZZZZZ9")
    assert "ДА и 8 знаков" in await kannel.says("да")


async def test_a_receipt_can_be_asked_and_leaves_no_trace(kannel: Kannel) -> None:
    await kannel.house.link("1000001", Channel.SMS, PHONE)
    receipt = receipt_in(await kannel.says("1000001#10385"))
    told = f"№{receipt}, л/с 1000001: показание принято. Войдёт в счёт за май 2024"
    assert await kannel.says(f"? {receipt}") == told
    await kannel.says("1000001#10386")
    assert "заменено более поздним" in await kannel.says(f"№{receipt.lower()}")
    assert "Номер ZZZZ9999 не найден" in await kannel.says("ZZZZ9999")
    assert len(await kannel.stored()) == 2


async def test_a_code_from_the_cabinet_links_the_phone(kannel: Kannel) -> None:
    made = await make_code(kannel.house.desk, "1000001", "c-1")
    assert isinstance(made, Code)
    assert "Привязано: л/с 1000001" in await kannel.says(f"Код {made.code.lower()}", id="A")
    assert "Привязано: л/с 1000001" in await kannel.says(f"Код {made.code.lower()}", id="A")
    assert "расход 185 кВт·ч" in await kannel.says("1000001#10385")
    assert "Код не подошёл" in await kannel.says(f"Код {made.code}", **{"from": STRANGER})
    assert "КОД" in await kannel.says("код")


WRONG = (
    ("9999999#1", Reason.UNKNOWN_ACCOUNT, "Л/с 9999999 не найден"),
    ("1000005#10385", Reason.ACCOUNT_CLOSED, "Л/с 1000005 закрыт"),
    ("1000003#3130", Reason.TOO_FEW_VALUES, "нужно 2 показания (день, ночь), у вас 1. Пример: 1000003#12345#6789"),
    ("1000001#1#2", Reason.TOO_MANY_VALUES, "нужно 1 показание, у вас 2. Пример: 1000001#12345"),
    ("1000001#12345678", Reason.TOO_MANY_DIGITS, "больше цифр, чем на счётчике (6)"),
    ("1000004#10385", Reason.METER_NOT_READ_BY_CONSUMER, "счётчик передаёт показания сам"),
    ("1000001 счетчик №E-3 10385", Reason.FOREIGN_METER, "Счётчик E-3 не относится к л/с 1000001"),
    ("1000007 счетчик №E-7 10385", Reason.METER_CLOSED, "Счётчик E-7 снят"),
    ("1000001#12a45", Reason.BAD_VALUE, "Не понято «12a45». Нужны целые кВт·ч, пример: 1000001#12345"),
    ("1000002 день 1", Reason.TOO_FEW_VALUES, "Пример: 1000002#12345#6789#2345"),
    ("9999999#1b", Reason.BAD_VALUE, "Не понято «1b»"),
    ("100000#1", Reason.BAD_ACCOUNT, "должно быть 7 цифр, у вас 6. Пример: 1000000#12345"),
    ("привет", Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
    ("", Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
    ("1000001#1" + "0" * 10_000, Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
)


async def test_what_is_wrong_is_said_with_the_way_to_do_it_right(kannel: Kannel) -> None:
    for text, reason, said in WRONG:
        heard = await kannel.says(text)
        assert said in heard
        assert len(heard) <= 201
        message, outcome = (await kannel.stored())[-1]
        assert outcome.receipt in heard
        event = outcome.events[0]
        assert isinstance(event, ReadingRefused)
        assert event.reason is reason
        assert len(message.raw) < 3000


async def test_a_megabyte_is_answered_and_not_kept(kannel: Kannel) -> None:
    # An HTTP client would not send it.
    app = Starlette(routes=sms_routes(kannel.house.desk, guard(TOKEN)))
    query = f"token={TOKEN}&from=1&id=A&text=1000001%23{'1' * 1_000_000}".encode()
    scope = {"type": "http", "method": "GET", "path": PATH, "query_string": query, "headers": [], "root_path": ""}
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    event = await kannel.event()
    assert isinstance(event, ReadingRefused)
    assert event.reason is Reason.NOT_UNDERSTOOD
    [(message, _)] = await kannel.stored()
    assert len(message.raw) < 3000


async def test_a_reading_after_the_25th_counts_for_the_next_month(kannel: Kannel) -> None:
    kannel.house.at = moscow("2024-05-25T23:59:50")
    assert "Войдёт в счёт за май" in await kannel.says("1000001#10385")
    kannel.house.at = moscow("2024-05-26T00:00:00")
    assert "Передано после 25-го: войдёт в счёт за июнь" in await kannel.says("1000001#10386")


async def test_a_reading_that_waited_for_us_counts_from_the_gateways_time(kannel: Kannel) -> None:
    sent = moscow("2024-05-25T23:50")
    kannel.house.at = moscow("2024-05-26T01:00")
    assert "за май" in await kannel.says("1000001#10385", ts=str(int(sent.timestamp())))
    event = await kannel.event()
    assert isinstance(event, ReadingAccepted)
    assert event.received_at == sent


async def test_a_time_that_cannot_be_is_not_believed(kannel: Kannel) -> None:
    await kannel.house.link("1000001", Channel.SMS, PHONE)
    times = ("", "0", "-1", "99999999999999999999", "вчера", "20240520", "2031-01-01 00:00")
    for value, time in enumerate(times, 10385):
        await kannel.says(f"1000001#{value}", ts=time)
        _, outcome = (await kannel.stored())[-1]
        event = outcome.events[0]
        assert isinstance(event, ReadingAccepted)
        assert event.received_at == kannel.house.at


async def test_when_nothing_can_be_stored_the_gateway_is_told_to_repeat(
    kannel: Kannel, caplog: pytest.LogCaptureFixture
) -> None:
    receipt = receipt_in(await kannel.says("1000003 3130 1600"))
    async with unreachable(kannel.house):
        for text in ("1000001#10385", "привет", f"ДА {receipt}", f"? {receipt}", f"КОД {receipt}"):
            answer = await kannel.sms(text, id="A")
            assert (answer.status_code, answer.text) == (503, TRY_LATER)
    assert "9161234567" not in caplog.text
    assert "Принято" in await kannel.says("1000001#10385", id="A")
    assert len(await kannel.stored()) == 2


async def test_a_slow_database_is_told_to_the_gateway_in_time_and_nothing_is_doubled(house: House) -> None:
    async with client(house, wait_s=0.5) as http, house.desk.pool.acquire() as db:
        kannel = Kannel(house, http)
        async with db.transaction():
            await db.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
            assert (await kannel.sms("1000001#10385", id="A")).status_code == 503
            assert (await kannel.sms("1000001#10385", id="A")).status_code == 503
        assert (await kannel.says("1000001#10385", id="A")).startswith("Принято")
        assert len(await kannel.stored()) == 1


async def test_only_the_gateway_may_call(kannel: Kannel) -> None:
    for token in ("wrong", "", "s3cret ", "секрет"):
        assert (await kannel.sms("1000001#10385", token=token)).status_code == 403
    assert (await kannel.http.get(f"{PATH}?text=1000001")).status_code == 403
    assert not await kannel.stored()
    with pytest.raises(ValueError, match="empty"):
        guard("")


async def test_a_gateway_for_sms_has_a_credential_of_its_own(house: House) -> None:
    desk = house.desk
    may = guard(None, gateway_of(desk, Channel.SMS))
    async with desk.pool.acquire() as db:
        given = {
            channel: await add_client(db, desk.door.vault, Kind.GATEWAY, "Kannel", channel)
            for channel in (Channel.SMS, Channel.VOICE)
        }
    transport = httpx.ASGITransport(Starlette(routes=sms_routes(desk, may)))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels.test") as http:

        async def status(token: str) -> int:
            answer = await http.get(PATH, params={"from": PHONE, "text": "1000001#10385", "id": "A", "token": token})
            return answer.status_code

        client, secret = given[Channel.SMS]
        assert await status(f"{client}:{secret}") == 200
        other, password = given[Channel.VOICE]
        for wrong in (f"{other}:{password}", f"{client}:{password}", client, secret, ":", "", "ы:ы"):
            assert await status(wrong) == 403


async def test_where_nobody_else_can_reach_the_port_no_token_is_asked(house: House) -> None:
    async with client(house, token=None) as http:
        answer = await http.get(PATH, params={"from": PHONE, "text": "1000001#10385"})
    assert answer.text.startswith("Принято")


async def test_only_get_brings_a_message(kannel: Kannel) -> None:
    url = f"{PATH}?token={TOKEN}&from=1&text=1000001%2310385"
    for method in ("POST", "HEAD", "PUT", "DELETE"):
        answer = await kannel.http.request(method, url)
        assert answer.status_code == 405
        assert "GET" in answer.headers["allow"]
    assert not await kannel.stored()


async def test_parameters_may_be_missing_or_named_otherwise(kannel: Kannel) -> None:
    text = quote("1000001#10385")
    assert (await kannel.http.get(f"{PATH}?token={TOKEN}&from=1")).status_code == 400
    assert (await kannel.http.get(f"{PATH}?token={TOKEN}&text={text}{'&a=1' * 60}")).status_code == 400
    assert not await kannel.stored()
    bare = await kannel.http.get(f"{PATH}?token={TOKEN}&text={text}")
    assert bare.status_code == 200
    [(message, _)] = await kannel.stored()
    assert message.actor == "sms:unknown"
    kannel.house.wait(days=1)
    named = f"{PATH}?token={TOKEN}&text={text}&sender={quote(PHONE)}&receiver=1234&time={quote('2024-05-21 08:00')}"
    assert (await kannel.http.get(named)).status_code == 200
    _, (message, outcome) = await kannel.stored()
    assert message.actor == kannel.house.desk.sender(Channel.SMS, PHONE).actor
    assert isinstance(outcome.events[0], ReadingAccepted)
    assert outcome.events[0].received_at == datetime(2024, 5, 21, 8, tzinfo=UTC)


async def test_without_an_id_the_same_words_within_a_minute_are_one_message(kannel: Kannel) -> None:
    for _ in range(2):
        await kannel.says("1000001#10385", id="")
        kannel.house.wait(seconds=10)
    assert len(await kannel.stored()) == 1
    kannel.house.wait(days=1)
    await kannel.says("1000001#10385", id="")
    await kannel.says("1000003#3130#1600", id="", **{"from": STRANGER})
    await kannel.says("1000006#3130#1600", id="пробел и кириллица", **{"from": "+79031112244"})
    names = [message.message_id for message, _ in await kannel.stored()]
    assert len(set(names)) == len(names) == 4
    assert all(name.startswith("sha256:") and PHONE not in name for name in names)


async def test_odd_letters_are_read(kannel: Kannel) -> None:
    odd = ("１００００01＃10385", "1000001#1О385", "\x001000001#10385\x00", "Л/с 1000001, показание 10385 кВт·ч")
    for text in odd:
        assert "10385" in await kannel.says(text)
        message, outcome = (await kannel.stored())[-1]
        event = outcome.events[0]
        assert isinstance(event, ReadingAccepted)
        assert event.values == {Register.TOTAL: 10385}
        assert "\x00" not in message.raw


TEXT = "л/с 1000003 день 3130 ночь 1600"


CHARSETS = (
    ("UTF-8", "utf-8"),
    ("", "utf-8"),
    ("GSM", "utf-8"),
    ("ISO-8859-1", "utf-8"),
    ("no-such-charset", "utf-8"),
    ("UTF-16BE", "utf-16-be"),
    ("UTF-16BE", "utf-8"),
    ("ISO-8859-5", "iso-8859-5"),
    ("WINDOWS-1251", "cp1251"),
    ("KOI8-R", "koi8-r"),
    ("", "cp1251"),
)


async def test_a_text_is_read_in_its_charset(kannel: Kannel) -> None:
    await kannel.house.link("1000003", Channel.SMS, PHONE)
    for value, (charset, encoding) in enumerate(CHARSETS, 3130):
        text = f"л/с 1000003 день {value} ночь 1600"
        assert f"день {value}, ночь 1600" in await kannel.says(text.encode(encoding), charset=charset)


async def test_a_damaged_text_is_not_understood_and_kept_as_it_came(kannel: Kannel) -> None:
    bytes_ = TEXT.encode("utf-16-be")[:-1]
    assert "Не понято" in await kannel.says(bytes_, charset="UTF-16BE")
    [(message, _)] = await kannel.stored()
    assert kannel.house.desk.door.raw_texts.opened(loads(message.raw)["bytes"]) == bytes_.hex()
    assert decoded("да".encode("utf-16-be"), "UCS-2") == "да"
    assert decoded(b"", "UTF-16BE") == ""
    assert decoded(b"1000001#12", "UTF-16BE") == "1000001#12"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("+79161234567", PHONE),
        ("79161234567", PHONE),
        ("89161234567", PHONE),
        ("9161234567", PHONE),
        ("007 916 123-45-67", PHONE),
        ("8 (916) 123-45-67", PHONE),
        ("1234", "1234"),
        ("+380501234567", "+380501234567"),
        ("MegaFon", "megafon"),
        ("", ""),
        ("\x00ы" * 100, ("\x00ы" * 100)[:40]),
    ],
)
def test_a_sender_is_written_one_way(address: str, expected: str) -> None:
    assert normalised(address) == expected


async def test_a_correction_within_the_window_counts(kannel: Kannel) -> None:
    await kannel.house.link("1000001", Channel.SMS, PHONE)
    await kannel.says("1000001#10385")
    kannel.house.wait(minutes=1)
    await kannel.says("1000001#10375")
    events = [outcome.events[0] for _, outcome in await kannel.stored()]
    assert all(isinstance(event, ReadingAccepted) for event in events)
    assert not any(isinstance(event, ReadingHeld) for event in events)


def test_the_gateway_that_we_install_keeps_what_we_cannot_take_and_says_so_in_latin_letters() -> None:
    text = (ROOT / "deploy" / "kannel" / "kannel.conf").read_text("utf-8")
    lines = [line.partition(" = ") for line in text.splitlines() if line and not line.startswith("#")]
    settings = {name: value.strip('"') for name, _, value in lines}
    assert (settings["http-request-retry"], settings["http-queue-delay"]) == ("100", "10")
    assert float(settings["http-timeout"]) > WAIT_S
    assert settings["reply-couldnotfetch"] == TRY_LATER
    assert TRY_LATER.isascii()
    assert (settings["mo-recode"], settings["concatenation"]) == ("false", "true")
    assert "id=%I" in settings["get-url"]


async def test_a_delivery_report_names_the_text_by_its_signed_key(house: House) -> None:
    told: list[tuple[str, Report]] = []

    async def delivered(key: str, said: Report) -> None:
        if key == "down":
            raise ConnectionError
        told.append((key, said))

    routes = sms_routes(house.desk, guard(TOKEN), delivered=delivered)
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport) as http:

        async def report(key: str, kind: str) -> int:
            url = report_url("http://bels.test", key, house.desk.door.sender_key)
            return (await http.get(url.replace("%d", kind))).status_code

        for kind in ("8", "1", "2", "16", "4", "x", ""):
            assert await report("text 1/ы", kind) == 204
        assert await report("down", "1") == 503
        forged = report_url("http://bels.test", "text 2", b"another installation")
        assert (await http.get(forged.replace("%d", "1"))).status_code == 403
        assert (await http.get("http://bels.test/channels/sms/delivery?type=1")).status_code == 403
    assert told == [
        ("text 1/ы", Report.TAKEN),
        ("text 1/ы", Report.DELIVERED),
        ("text 1/ы", Report.FAILED),
        ("text 1/ы", Report.FAILED),
    ]
