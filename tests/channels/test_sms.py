"""The SMS channel as Kannel calls it, over households that the real domain decides."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json import loads
from urllib.parse import quote, urlencode

import httpx
import pytest
from starlette.applications import Starlette

from bels.channels.sms import PATH, decoded, normalised, sms_routes
from bels.domain.commands import ConfirmReading, SubmitReading
from bels.domain.events import ReadingAccepted, ReadingConfirmed, ReadingHeld, ReadingRefused
from bels.domain.terms import Channel, Reason, Role
from bels.messages import Message, Outcome, Status, TryLater
from bels.words import TRY_LATER
from tests.channels.household import Town, digest, moscow

TOKEN = "s3cret"
PHONE = "+79161234567"


@dataclass(slots=True)
class Kannel:
    """The gateway: sends a text as ``get-url`` of kannel.conf says."""

    town: Town
    http: httpx.AsyncClient
    sent: int = 0

    async def sms(self, text: str | bytes, **given: str) -> httpx.Response:
        self.sent += 1
        parameters = {
            "from": PHONE,
            "to": "1234",
            "coding": "0",
            "charset": "UTF-8",
            "smsc": "OP1",
            "id": f"0b1c6c5e-{self.sent}",
            "ts": str(int(self.town.at.timestamp())),
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


def client(town: Town, wait_s: float = 5.0, token: str | None = TOKEN) -> httpx.AsyncClient:
    routes = sms_routes(
        submit=town.submit,
        earlier=town.earlier,
        meter_of=town.meter_of,
        receipt_state=town.receipt_state,
        linked=town.linked,
        sender_digest=digest,
        now=town.now,
        token=token,
        wait_s=wait_s,
    )
    transport = httpx.ASGITransport(Starlette(routes=routes), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://bels.test")


@pytest.fixture
async def kannel() -> AsyncIterator[Kannel]:
    town = Town()
    async with client(town) as http:
        yield Kannel(town, http)


# The twelve cases of every channel; (6) and (7) need a named meter, which an SMS cannot name.


async def test_a_reading_is_accepted_and_echoed(kannel: Kannel) -> None:
    assert await kannel.says("1000001#10385") == "Принято №K7MT2222: л/с 1000001, 10385. Войдёт в счёт за май"
    message, outcome = kannel.town.stored[0].message, kannel.town.stored[0].outcome
    assert message.channel is Channel.SMS
    assert message.message_id == "0b1c6c5e-1"
    assert message.actor == f"sms:{digest(PHONE)}"
    assert message.command == SubmitReading(kannel.town.at, {"total": "10385"})
    assert isinstance(outcome.events[0], ReadingAccepted)
    assert loads(message.raw) == {"from": digest(PHONE), "text": "1000001#10385", "to": "1234"}


async def test_no_phone_is_kept_in_clear(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    await kannel.says("+79161234567")
    for stored in kannel.town.stored:
        kept = f"{stored.message.actor}{stored.message.message_id}{stored.outcome.events}"
        assert "9161234567" not in kept


async def test_a_linked_sender_hears_the_consumption(kannel: Kannel) -> None:
    kannel.town.link("1000001", PHONE)
    assert "расход 185 кВт·ч" in await kannel.says("1000001#10385", **{"from": "89161234567"})
    assert "расход" not in await kannel.says("1000001#10386", **{"from": "+79031112233"})


async def test_kannels_repeat_under_the_same_id_hears_the_same(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    kannel.town.wait(hours=30)
    assert await kannel.says("1000001#10385", id="A") == first
    assert len(kannel.town.stored) == 1


async def test_the_operators_repeat_under_a_new_id_hears_the_same(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    kannel.town.wait(minutes=9)
    assert await kannel.says("1000001#10385", id="B") == first
    assert len(kannel.town.stored) == 1
    kannel.town.wait(minutes=2)
    assert await kannel.says("1000001#10385", id="C") != first
    assert len(kannel.town.stored) == 2


async def test_a_correction_back_counts_whatever_was_said_before(kannel: Kannel) -> None:
    first = await kannel.says("1000001#10385", id="A")
    await kannel.says("1000001#10395", id="B")
    back = await kannel.says("1000001#10385", id="C")
    assert back != first
    assert "10385" in back
    assert len(kannel.town.stored) == 3


async def test_a_refusal_is_judged_anew_under_a_new_id(kannel: Kannel) -> None:
    await kannel.says("9999999#10385", id="A")
    await kannel.says("9999999#10385", id="B")
    assert len(kannel.town.stored) == 2


async def test_letters_in_an_account_are_named(kannel: Kannel) -> None:
    assert "без букв" in await kannel.says("a1000001#10385")


async def test_the_same_text_of_another_phone_is_another_message(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    await kannel.says("1000001#10385", **{"from": "+79031112233"})
    assert len(kannel.town.stored) == 2


async def test_another_text_under_the_same_id_is_refused(kannel: Kannel) -> None:
    await kannel.says("1000001#10385", id="A")
    assert "другое сообщение" in await kannel.says("1000001#10386", id="A")


async def test_a_lower_reading_is_held(kannel: Kannel) -> None:
    said = await kannel.says("1000001#10100")
    assert "10100 меньше прежнего. Проверит оператор" in said
    assert "10200" not in said
    assert kannel.town.stored[0].outcome.status is Status.HELD


async def test_an_implausible_reading_is_held_until_confirmed(kannel: Kannel) -> None:
    said = await kannel.says("1000001#99385")
    assert said.endswith("Если верно, ответьте ДА K7MT2222")
    assert "Подтверждено" in await kannel.says("да, к7мт2222")
    confirmation = kannel.town.stored[1]
    assert confirmation.message.account == "1000001"
    assert isinstance(confirmation.message.command, ConfirmReading)
    assert confirmation.message.command.role is Role.CONSUMER
    assert isinstance(confirmation.outcome.events[0], ReadingConfirmed)
    assert "не ждёт подтверждения" in await kannel.says("ДА K7MT2222 спасибо")


async def test_a_confirmation_that_the_operator_repeats_hears_the_same(kannel: Kannel) -> None:
    await kannel.says("1000001#99385")
    assert await kannel.says("ДА K7MT2222") == await kannel.says("ДА K7MT2222")
    assert len(kannel.town.stored) == 2


async def test_only_an_operator_confirms_a_lower_reading(kannel: Kannel) -> None:
    await kannel.says("1000001#10100")
    assert "только оператор" in await kannel.says("ДА K7MT2222")


async def test_a_confirmation_of_what_was_refused_or_never_came(kannel: Kannel) -> None:
    await kannel.says("1000001#12a45")
    assert "не ждёт подтверждения" in await kannel.says("ДА K7MT2222")
    assert "не найдено" in await kannel.says("ДА ZZZZZZZ9")
    assert "ДА и 8 знаков" in await kannel.says("да")


async def test_a_receipt_can_be_asked_and_leaves_no_trace(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    assert await kannel.says("? K7MT2222") == "№K7MT2222, л/с 1000001: показание принято. Войдёт в счёт за май 2024"
    await kannel.says("1000001#10386")
    assert "заменено более поздним" in await kannel.says("№k7mt2222")
    assert "Номер ZZZZ9999 не найден" in await kannel.says("ZZZZ9999")
    assert len(kannel.town.stored) == 2


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("9999999#1", Reason.UNKNOWN_ACCOUNT, "Л/с 9999999 не найден"),
        ("1000005#10385", Reason.ACCOUNT_CLOSED, "Л/с 1000005 закрыт"),
        ("1000003#3130", Reason.TOO_FEW_VALUES, "нужно 2 показания (день, ночь), у вас 1. Пример: 1000003#12345#6789"),
        ("1000001#1#2", Reason.TOO_MANY_VALUES, "нужно 1 показание, у вас 2. Пример: 1000001#12345"),
        ("1000001#12345678", Reason.TOO_MANY_DIGITS, "больше цифр, чем на счётчике (6)"),
        ("1000004#10385", Reason.METER_NOT_READ_BY_CONSUMER, "счётчик передаёт показания сам"),
        ("1000001#12a45", Reason.BAD_VALUE, "Не понято «12a45». Нужны целые кВт·ч, пример: 1000001#12345"),
        ("1000002 день 1", Reason.TOO_FEW_VALUES, "Пример: 1000002#12345#6789#2345"),
        ("9999999#1b", Reason.BAD_VALUE, "Не понято «1b»"),
        ("100000#1", Reason.BAD_ACCOUNT, "должно быть 7 цифр, у вас 6. Пример: 1000000#12345"),
        ("привет", Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
        ("", Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
        ("1000001#1" + "0" * 10_000, Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_wrong_is_said_with_the_way_to_do_it_right(
    kannel: Kannel, text: str, reason: Reason, said: str
) -> None:
    heard = await kannel.says(text)
    assert said in heard
    assert "K7MT2222" in heard
    assert len(heard) <= 201
    stored = kannel.town.stored[0]
    event = stored.outcome.events[0]
    assert isinstance(event, ReadingRefused)
    assert event.reason is reason
    assert len(stored.message.raw) < 3000


async def test_a_megabyte_is_answered_and_not_kept() -> None:
    # An HTTP client would not send it.
    town = Town()
    async with client(town) as http:
        app = http._transport.app  # type: ignore[attr-defined]
    query = f"token={TOKEN}&from=1&id=A&text=1000001%23{'1' * 1_000_000}".encode()
    scope = {"type": "http", "method": "GET", "path": PATH, "query_string": query, "headers": [], "root_path": ""}
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent[0]["status"] == 200
    stored = town.stored[0]
    assert isinstance(stored.outcome.events[0], ReadingRefused)
    assert stored.outcome.events[0].reason is Reason.NOT_UNDERSTOOD
    assert len(stored.message.raw) < 3000


async def test_a_reading_after_the_25th_counts_for_the_next_month(kannel: Kannel) -> None:
    kannel.town.at = moscow("2024-05-25T23:59:59")
    assert "Войдёт в счёт за май" in await kannel.says("1000001#10385")
    kannel.town.at = moscow("2024-05-26T00:00:00")
    assert "Передано после 25-го: войдёт в счёт за июнь" in await kannel.says("1000001#10386")


async def test_a_reading_that_waited_for_us_counts_from_the_gateways_time(kannel: Kannel) -> None:
    sent = moscow("2024-05-25T23:50")
    kannel.town.at = moscow("2024-05-26T01:00")
    assert "за май" in await kannel.says("1000001#10385", ts=str(int(sent.timestamp())))
    command = kannel.town.stored[0].message.command
    assert isinstance(command, SubmitReading)
    assert command.received_at == sent


@pytest.mark.parametrize("ts", ["", "0", "-1", "99999999999999999999", "вчера", "20240520", "2031-01-01 00:00"])
async def test_a_time_that_cannot_be_is_not_believed(kannel: Kannel, ts: str) -> None:
    await kannel.says("1000001#10385", ts=ts)
    command = kannel.town.stored[0].message.command
    assert isinstance(command, SubmitReading)
    assert command.received_at == kannel.town.at


async def test_when_nothing_can_be_stored_the_gateway_is_told_to_repeat(kannel: Kannel) -> None:
    kannel.town.down = True
    for text in ("1000001#10385", "привет", "ДА K7MT2222", "? K7MT2222"):
        answer = await kannel.sms(text, id="A")
        assert (answer.status_code, answer.text) == (503, TRY_LATER)
    kannel.town.down = False
    assert "Принято" in await kannel.says("1000001#10385", id="A")
    assert len(kannel.town.stored) == 1


async def test_a_slow_house_is_told_to_the_gateway_in_time() -> None:
    town = Town()

    class Slow(Town):
        async def submit(self, message: Message) -> Outcome:
            await sleep(5)
            return await town.submit(message)

    slow = Slow()
    async with client(slow, wait_s=0.01) as http:
        answer = await Kannel(slow, http).sms("1000001#10385")
    assert answer.status_code == 503
    assert not town.stored


async def test_only_the_gateway_may_call(kannel: Kannel) -> None:
    for token in ("wrong", "", "s3cret ", "секрет"):
        assert (await kannel.sms("1000001#10385", token=token)).status_code == 403
    assert (await kannel.http.get(f"{PATH}?text=1000001")).status_code == 403
    assert not kannel.town.stored
    with pytest.raises(ValueError, match="empty"):
        sms_routes(
            submit=kannel.town.submit,
            earlier=kannel.town.earlier,
            meter_of=kannel.town.meter_of,
            receipt_state=kannel.town.receipt_state,
            linked=kannel.town.linked,
            sender_digest=digest,
            now=kannel.town.now,
            token="",
        )


async def test_where_nobody_else_can_reach_the_port_no_token_is_asked() -> None:
    town = Town()
    async with client(town, token=None) as http:
        answer = await http.get(PATH, params={"from": PHONE, "text": "1000001#10385"})
    assert answer.text.startswith("Принято")


async def test_what_the_intake_cannot_take_now_is_repeated_later(caplog: pytest.LogCaptureFixture) -> None:
    class Full(Town):
        async def submit(self, message: Message) -> Outcome:
            raise TryLater("too many messages wait")

    full = Full()
    async with client(full) as http:
        answer = await Kannel(full, http).sms("1000001#10385")
    assert (answer.status_code, answer.text) == (503, TRY_LATER)
    assert "TryLater" in caplog.text
    assert "9161234567" not in caplog.text


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE"])
async def test_only_get_brings_a_message(kannel: Kannel, method: str) -> None:
    url = f"{PATH}?token={TOKEN}&from=1&text=1000001%2310385"
    answer = await kannel.http.request(method, url)
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert not kannel.town.stored


async def test_parameters_may_be_missing_or_named_otherwise(kannel: Kannel) -> None:
    text = quote("1000001#10385")
    assert (await kannel.http.get(f"{PATH}?token={TOKEN}&from=1")).status_code == 400
    assert (await kannel.http.get(f"{PATH}?token={TOKEN}&text={text}{'&a=1' * 60}")).status_code == 400
    assert not kannel.town.stored
    bare = await kannel.http.get(f"{PATH}?token={TOKEN}&text={text}")
    assert bare.status_code == 200
    assert kannel.town.stored[0].message.actor == f"sms:{digest('')}"
    named = f"{PATH}?token={TOKEN}&text={text}&sender={quote(PHONE)}&receiver=1234&time={quote('2024-05-20 08:00')}"
    assert (await kannel.http.get(named)).status_code == 200
    message = kannel.town.stored[1].message
    assert message.actor == f"sms:{digest(PHONE)}"
    assert isinstance(message.command, SubmitReading)
    assert message.command.received_at == datetime(2024, 5, 20, 8, tzinfo=UTC)


async def test_without_an_id_the_same_words_within_a_minute_are_one_message(kannel: Kannel) -> None:
    for _ in range(2):
        await kannel.says("1000001#10385", id="")
        kannel.town.wait(seconds=10)
    assert len(kannel.town.stored) == 1
    kannel.town.wait(minutes=11)
    await kannel.says("1000001#10385", id="")
    await kannel.says("1000001#10385", id="", **{"from": "+79031112233"})
    await kannel.says("1000001#10385", id="пробел и кириллица", **{"from": "+79031112244"})
    names = [stored.message.message_id for stored in kannel.town.stored]
    assert len(set(names)) == len(names) == 4
    assert all(name.startswith("sha256:") and PHONE not in name for name in names)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("１００００01＃10385", {"total": "10385"}),
        ("1000001#1О385", {"total": "1О385"}),
        ("\x001000001#10385\x00", {"total": "10385"}),
        ("Л/с 1000001, показание 10385 кВт·ч", {"total": "10385"}),
    ],
)
async def test_odd_letters_are_read(kannel: Kannel, text: str, values: dict[str, str]) -> None:
    assert "10385" in await kannel.says(text)
    command = kannel.town.stored[0].message.command
    assert isinstance(command, SubmitReading)
    assert command.values == values
    assert "\x00" not in kannel.town.stored[0].message.raw


TEXT = "л/с 1000003 день 3130 ночь 1600"


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
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
    ],
)
async def test_a_text_is_read_in_its_charset(kannel: Kannel, charset: str, encoding: str) -> None:
    assert "день 3130, ночь 1600" in await kannel.says(TEXT.encode(encoding), charset=charset)


async def test_a_damaged_text_is_not_understood_and_kept_as_it_came(kannel: Kannel) -> None:
    bytes_ = TEXT.encode("utf-16-be")[:-1]
    assert "Не понято" in await kannel.says(bytes_, charset="UTF-16BE")
    assert loads(kannel.town.stored[0].message.raw)["bytes"] == bytes_.hex()
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


async def test_a_house_that_fails_while_it_answers_gives_the_first_outcome_at_the_repeat(kannel: Kannel) -> None:
    async def broken(account: str, sender: str) -> bool:
        raise ConnectionError

    town = kannel.town
    routes = sms_routes(
        submit=town.submit,
        earlier=town.earlier,
        meter_of=town.meter_of,
        receipt_state=town.receipt_state,
        linked=broken,
        sender_digest=digest,
        now=town.now,
        token=TOKEN,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://bels.test"
    ) as http:
        assert (await Kannel(town, http).sms("1000001#10385", id="A")).status_code == 503
    assert (await kannel.says("1000001#10385", id="A")).startswith("Принято №K7MT2222")
    assert len(town.stored) == 1


async def test_a_correction_within_the_window_counts(kannel: Kannel) -> None:
    await kannel.says("1000001#10385")
    kannel.town.at += timedelta(minutes=1)
    await kannel.says("1000001#10375")
    events = [stored.outcome.events[0] for stored in kannel.town.stored]
    assert all(isinstance(event, ReadingAccepted) for event in events)
    assert not any(isinstance(event, ReadingHeld) for event in events)
