"""The dialogue: one machine for the telephone and the messengers, whose next turn any process takes."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from datetime import date, timedelta

import pytest

from bels.access import personal
from bels.access.personal import Personal, subject_of
from bels.domain.commands import ClosePeriod, ReplaceMeter
from bels.domain.terms import Channel, MeterModel, Period, Register
from bels.intake import Intake
from bels.messages import Outcome, TryLater
from bels.reception.codes import Code, make_code
from bels.reception.counter import Counter, receipt_state
from bels.reception.dialogue.desk import Desk, Hours, OfficeNow, Topic, desk_of
from bels.reception.dialogue.say import WORDS, Say
from bels.reception.dialogue.talking import TURNS_A_DAY, account_of_talk, forget_dialogues, take_turn
from bels.reception.dialogue.turns import AskKind, Line, Part, PartKind, Said, SaidKind, Talk
from bels.reception.dialogue.writing import spoken, spoken_reply, written, written_reply
from bels.reception.office import shipped_office
from bels.reception.waiting import HandOverReason, hand_overs
from tests.channels.cases import journal_of, unreachable
from tests.channels.house import House
from tests.channels.household import moscow
from tests.reception.talks import PHONE, STRANGER, Speaker, caller, chat
from tests.rules import DEFAULT_RULEBOOK

HELD_OR_TAKEN = ("ReadingAccepted", "ReadingHeld")


async def readings(house: House, account: str = "1000001") -> list[str]:
    """List the readings in an account's journal."""
    return [name for name in await journal_of(house, account) if name in HELD_OR_TAKEN]


# Who hears what.


async def test_a_stranger_keys_account_and_value_and_hears_an_echo_only(house: House) -> None:
    call = caller(house, STRANGER)

    assert await call.begins() == (
        "Здравствуйте! Это БЭЛС, передача показаний.\nВведите номер лицевого счёта, семь цифр."
    )
    assert await call.keys("1000001") == (
        "Лицевой счёт оканчивается на 0001\nНомер счётчика оканчивается на 1\n"
        "Введите показание, только целые киловатт-часы."
    )
    assert await call.keys("10385") == "Лицевой счёт 1000001\nПоказание 10385\nВсё верно?"
    assert await readings(house) == []
    heard = await call.keys("1")

    assert heard == (
        f"Показание принято.\nПоказание 10385\nВойдёт в счёт за май 2024\nНомер сообщения {call.heard.receipt}\nЧто ещё?"
    )
    assert call.heard.code == "ACCEPTED"
    assert await readings(house) == ["ReadingAccepted"]


async def test_a_linked_caller_hears_the_previous_value_the_usage_and_its_cost(house: House) -> None:
    await house.link("1000001", Channel.SMS, PHONE)
    call = caller(house)

    assert "Выберите лицевой счёт." in await call.begins()
    assert [written(option.label) for option in call.heard.ask.options] == [
        "Счёт, оканчивающийся на 0001",
        "Другой лицевой счёт.",
    ]
    assert "Прошлое показание 10200" in await call.keys("1")
    heard = await call.keys("10385")

    assert "Расход 185 кВт·ч\nК счёту 1245,05 руб.\nВсё верно?" in heard
    assert "Расход 185 кВт·ч" in await call.keys("1")


async def test_whoever_is_only_known_is_offered_the_end_of_an_account_and_hears_nothing_of_it(house: House) -> None:
    async with house.desk.pool.acquire() as db:
        vault = house.desk.door.vault
        await personal.put(db, vault, subject_of("1000001", 1), Personal("Иванов Пётр", None, (PHONE,), ()))
    call = caller(house)
    await call.begins()
    assert written(call.heard.ask.options[0].label) == "Счёт, оканчивающийся на 0001"

    heard = await call.keys("1", "10385", "1")
    assert call.heard.code == "ACCEPTED"
    assert "Расход" not in heard
    assert "1000001" not in str([option.key for option in call.heard.ask.options])


async def test_a_stranger_hears_two_digits_of_a_meter_and_a_linked_caller_four(house: House) -> None:
    new, last, first = MeterModel("77-012345", 6, (Register.TOTAL,)), {Register.TOTAL: 10_200}, {Register.TOTAL: 0}
    await house.do("1000001", ReplaceMeter(new, house.at, last, first, "акт 1"))
    await house.link("1000001", Channel.SMS, PHONE)
    stranger, holder = caller(house, STRANGER), caller(house, call="call-2")
    await stranger.begins()
    await holder.begins()

    assert "Номер счётчика оканчивается на 45\n" in await stranger.keys("1000001")
    assert "Номер счётчика оканчивается на 2345\n" in await holder.keys("1")


async def test_registers_are_asked_in_the_order_and_by_the_names_of_the_display(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()

    assert "Т 1, ночь" in await call.keys("1000002")
    assert "Т 2, пик" in await call.keys("1600")
    assert "Т 3, полупик" in await call.keys("2100")
    assert "Ночь 1600\nПик 2100\nПолупик 6100\n" in await call.keys("6100")
    await call.keys("1")
    state = await receipt_state(house.desk, call.heard.receipt)
    assert state is not None
    assert set(state.registers) == {Register.NIGHT, Register.PEAK, Register.HALF_PEAK}


async def test_a_warning_before_the_yes_and_a_second_yes_where_so_much_is_not_plausible(house: House) -> None:
    await house.link("1000001", Channel.SMS, PHONE)
    call = caller(house)
    await call.begins()
    await call.keys("1")

    assert "Расход 88800 кВт·ч\nРасход очень велик.\nВсё верно?" in await call.keys("99000")
    assert "оно на проверке.\nРасход очень велик." in await call.keys("1")
    assert call.heard.code == "IMPLAUSIBLE"
    assert "Показание подтверждено." in await call.keys("1")
    assert call.heard.code == "ACCEPTED"
    assert (await journal_of(house, "1000001"))[-2:] == ["ReadingHeld", "ReadingConfirmed"]


async def test_a_stranger_whose_reading_is_held_is_not_asked_whether_it_is_sure(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    heard = await call.keys("1000001", "9999")
    assert "меньше" not in heard
    await call.keys("1")
    assert call.heard.code == "LESS_THAN_PREVIOUS"
    assert "10200" not in written_reply(call.heard)
    await call.keys("1", "99000", "1")
    assert call.heard.code == "IMPLAUSIBLE"
    assert "Что ещё?" in written_reply(call.heard)


async def test_nobody_learns_by_trying_which_accounts_there_are(house: House) -> None:
    call = caller(house, STRANGER)
    heard = ""
    for number in range(40):
        await call.begins()
        heard = await call.keys(f"{1000001 + number % 2}")
        if call.is_over:
            break
    assert heard == "Слишком много попыток за день.\nДо свидания!"
    assert call.turns <= 2 * 31


# Mistakes and silence.


async def test_after_three_wrong_answers_the_talk_ends_and_an_operator_has_the_last(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()

    assert "В номере лицевого счёта семь цифр." in await call.keys("12")
    assert "Не понято." in await call.keys("*")
    heard = await call.keys("12345678901234567890")

    assert call.is_over
    assert heard.endswith("До свидания!")
    assert call.heard.code == "BAD_ACCOUNT"
    assert await receipt_state(house.desk, call.heard.receipt) is not None


async def test_three_silences_end_the_talk_and_leave_nothing(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000001")
    heard = [await call.says(SaidKind.SILENCE) for _ in range(3)]

    assert heard[-1] == "Вы ничего не ввели.\nДо свидания!"
    assert call.is_over
    assert call.heard.receipt == ""
    assert "Здравствуйте" in await call.keys("10385")


async def test_a_value_with_more_digits_than_the_meter_is_asked_again(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000001")

    assert "Цифр больше, чем на счётчике." in await call.keys("1038500")
    assert call.heard.ask.digits_max == 7
    assert "Всё верно?" in await call.keys("010385")


async def test_what_was_said_can_be_put_right_before_the_yes(house: House) -> None:
    call = chat(house)
    await call.begins()
    await call.types("1000003")
    await call.types("3100")
    assert "День" in await call.taps("again") or "день" in written_reply(call.heard)
    await call.types("3130")
    await call.types("1555")
    await call.types("исправить")
    await call.types("ночь 1560 день 3131")

    assert "День 3131\nНочь 1560" in written_reply(call.heard)
    await call.types("да")
    assert call.heard.code == "ACCEPTED"


async def test_whoever_hangs_up_before_the_yes_has_sent_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    keyed = ("1000003", "3100", "1600", "2")
    for turns in range(len(keyed) + 1):
        caplog.clear()
        call = caller(house, STRANGER, f"call-{turns}")
        await call.begins()
        for number in keyed[:turns]:
            await call.keys(number)
        heard = await call.says(SaidKind.LEFT)

        assert heard == ""
        assert call.is_over
        assert await readings(house, "1000003") == []
        assert ("given up before its confirmation" in caplog.text) == (turns in (2, 3))
        assert "Здравствуйте" in await call.begins()


# The meter.


async def test_another_meter_is_keyed_by_its_digits(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000007")
    assert await call.keys("*") == "Введите номер счётчика."
    assert "Этот счётчик снят." in await call.keys("7")
    assert call.heard.code == "METER_CLOSED"


async def test_the_meter_in_service_may_be_named(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000007")
    await talk.taps("meter")
    assert "Введите показание" in await talk.types("e-7n")
    await talk.types("90")
    await talk.taps("yes")
    assert talk.heard.code == "ACCEPTED"


# The same again, at once, elsewhere, after a crash.


async def test_the_same_turn_again_hears_the_same_word_for_word(house: House, caplog: pytest.LogCaptureFixture) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000001", "10385")
    first = await call.says(SaidKind.NUMBER, "1", turn_id="yes")
    await call.keys("1")

    assert await call.says(SaidKind.NUMBER, "1", turn_id="yes") == first
    assert await call.says(SaidKind.NUMBER, "2", turn_id="yes") == first
    assert "another content" in caplog.text
    assert await readings(house) == ["ReadingAccepted"]


async def test_a_turn_may_have_any_name_and_a_talk_must_have_a_plain_one(house: House) -> None:
    talk = chat(house)
    for name in ("x" * 500, "ход \x00\ud83d", "1"):
        await talk.begins()
        first = await talk.says(SaidKind.TEXT, "9999999", turn_id=name)
        assert talk.heard.code == "UNKNOWN_ACCOUNT"
        assert await talk.says(SaidKind.TEXT, "9999999", turn_id=name) == first
    with pytest.raises(ValueError, match="ASCII"):
        await take_turn(house.desk, replace(talk.talk, talk="чат"), "1", Said(SaidKind.BEGIN), "")


async def test_two_taps_on_yes_at_once_send_one_reading_and_hear_one_receipt(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001#10385")
    yes = talk.heard.ask.options[0].key

    async def tap(name: str) -> tuple[str, str]:
        reply = await take_turn(house.desk, talk.talk, name, Said(SaidKind.CHOICE, yes), yes)
        return reply.receipt, reply.code

    taps = await asyncio.gather(*(tap(f"tap {i}") for i in range(5)))
    assert len(set(taps)) == 1
    assert taps[0][1] == "ACCEPTED"
    assert await readings(house) == ["ReadingAccepted"]
    state = await receipt_state(house.desk, taps[0][0])
    assert state is not None


async def test_a_button_of_an_older_draft_confirms_nothing(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001#10385")
    old = talk.heard.ask.options[0].key
    await talk.taps("cancel")
    await talk.types("1000001#10999")

    assert "Этот ответ уже не действует." in await talk.says(SaidKind.CHOICE, old)
    assert await readings(house) == []


async def test_a_crash_between_the_reading_and_the_state_takes_it_once(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000001", "10385")

    class Crashing(Intake):
        """Takes the message, and then the database is gone."""

        async def submit(self, message: object) -> Outcome:
            await house.desk.intake.submit(message)  # type: ignore[arg-type]
            raise TryLater("crashed")

    broken = Crashing(house.desk.pool, DEFAULT_RULEBOOK, house.now)
    with pytest.raises(TryLater):
        await take_turn(replace(house.desk, intake=broken), call.talk, "yes", Said(SaidKind.NUMBER, "1"), "1")
    assert await readings(house) == ["ReadingAccepted"]
    await call.says(SaidKind.NUMBER, "1", turn_id="yes")

    assert call.heard.code == "ACCEPTED"
    assert await readings(house) == ["ReadingAccepted"]


async def test_every_turn_may_meet_a_database_that_is_down_and_goes_on_where_it_was(house: House) -> None:
    call = caller(house, STRANGER)
    said = [Said(SaidKind.BEGIN), *(Said(SaidKind.NUMBER, n) for n in ("1000003", "3100", "1600", "1"))]
    codes = []
    for i, each in enumerate(said):
        async with unreachable(house):
            with pytest.raises(TryLater):
                await take_turn(house.desk, call.talk, f"{i}", each, each.text)
        codes.append((await take_turn(house.desk, call.talk, f"{i}", each, each.text)).code)
    assert codes[-1] == "ACCEPTED"
    assert await readings(house, "1000003") == ["ReadingAccepted"]


async def test_one_process_takes_a_turn_and_another_the_next(house: House) -> None:
    async with Intake(house.desk.pool, DEFAULT_RULEBOOK, house.now).running() as other:
        counters = [house.desk, Counter(house.desk.pool, other, house.desk.door)]
        talk = caller(house, STRANGER).talk
        said = [Said(SaidKind.BEGIN), *(Said(SaidKind.NUMBER, n) for n in ("1000003", "3100", "1600", "1"))]
        replies = [await take_turn(counters[i % 2], talk, f"{i}", each, each.text) for i, each in enumerate(said)]
    assert replies[-1].code == "ACCEPTED"


async def test_turns_of_one_talk_that_come_at_once_are_taken_one_after_the_other(house: House) -> None:
    talk = chat(house)
    said = ["1000003", "3100", "1600", "да", "меню", "1000003#3110#1610", "да", "исправить"] * 2

    async def turn(n: int, text: str) -> str:
        for _ in range(10):
            try:
                reply = await take_turn(house.desk, talk.talk, f"{n}", Said(SaidKind.TEXT, text), text)
            except TryLater:
                continue
            return reply.receipt
        raise AssertionError(text)

    receipts = await asyncio.gather(*(turn(n, text) for n, text in enumerate(said)))
    assert await house.desk.pool.fetchval("SELECT version FROM dialogue") == len(said)
    again = await asyncio.gather(*(turn(n, text) for n, text in enumerate(said)))
    assert again == receipts


async def test_two_calls_for_one_account_at_once_send_the_same_reading_once(house: House) -> None:
    calls = [caller(house, STRANGER, "call-1"), caller(house, PHONE, "call-2")]

    async def whole(call: Speaker) -> str:
        await call.begins()
        await call.keys("1000001", "10385", "1")
        return call.heard.receipt

    receipts = await asyncio.gather(*map(whole, calls))
    assert len(set(receipts)) == 1
    assert {call.heard.code for call in calls} == {"ACCEPTED", "REPEATED"}
    assert await readings(house) == ["ReadingAccepted"]


async def test_another_value_by_a_second_stranger_is_held(house: House) -> None:
    first, second = caller(house, STRANGER, "call-1"), caller(house, "", "call-2")
    await asyncio.gather(first.begins(), second.begins())
    await asyncio.gather(first.keys("1000001", "10385"), second.keys("1000001", "10400"))
    await first.keys("1")
    await second.keys("1")
    assert (first.heard.code, second.heard.code) == ("ACCEPTED", "UNCONFIRMED_SENDER")


async def test_a_talk_that_nobody_continued_for_a_day_begins_anew(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001")
    house.wait(hours=23)
    assert "Всё верно?" in await talk.types("10385")
    house.wait(hours=25)
    assert "Этот ответ уже не действует." in await talk.taps("yes")
    assert await readings(house) == []


async def test_a_situation_of_another_program_begins_anew(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001")
    await house.desk.pool.execute(
        "UPDATE dialogue SET state = $1", json.dumps({"sender": "x", "situation": {"type": "old"}})
    )
    assert "Здравствуйте" in await talk.types("10385")


async def test_somebody_else_does_not_go_on_with_my_talk(house: House) -> None:
    first = caller(house, STRANGER, "call-1")
    await first.begins()
    await first.keys("1000001", "10385")
    second = caller(house, PHONE, "call-1")
    second.turns = 10
    assert "Здравствуйте" in await second.keys("1")
    assert await readings(house) == []


async def test_old_talks_are_forgotten(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    house.wait(days=91)
    other = chat(house, "700200")
    await other.begins()
    async with house.desk.pool.acquire() as db:
        assert await forget_dialogues(db, house.at - timedelta(days=90)) == 1
        assert await forget_dialogues(db, house.at - timedelta(days=90)) == 0
        assert await db.fetchval("SELECT count(*) FROM dialogue") == 1


async def test_a_talk_has_so_many_turns_in_a_day(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    state = json.loads(await house.desk.pool.fetchval("SELECT state FROM dialogue"))
    await house.desk.pool.execute("UPDATE dialogue SET state = $1", json.dumps({**state, "turns": TURNS_A_DAY}))
    assert await talk.types("1000001") == "Слишком много попыток за день."
    house.wait(days=1)
    assert "Введите показание" in await talk.types("1000001")


async def test_what_was_typed_is_kept_sealed_and_nobody_is_named_in_the_tables(house: House) -> None:
    talk = chat(house)
    await talk.types("Иванов Пётр, +7 916 123-45-67")
    kept = await house.desk.pool.fetch("SELECT turn::text, dialogue::text FROM turn, dialogue")
    assert "Иванов" not in str(kept)
    # Three digits alone are in some digest or other.
    assert all(part not in str(kept) for part in ("916 123", "123-45-67", "9161234567"))
    raw = await house.desk.pool.fetchval("SELECT raw FROM turn")
    assert "Иванов" in house.desk.door.raw_texts.opened(raw)


# A whole message, typed at any time.


async def test_a_whole_message_is_read_back_and_waits_for_a_yes(house: House) -> None:
    talk = chat(house)
    assert await talk.types("1000002#6102#1580#2050") == (
        "Лицевой счёт 1000002\nНочь 1580\nПик 2050\nПолупик 6102\nВсё верно?"
    )
    await talk.types("Да")
    assert talk.heard.code == "ACCEPTED"


async def test_a_whole_message_that_is_wrong_hears_the_same_code_as_by_sms(house: House) -> None:
    for text, code in (
        ("1000003#3100", "TOO_FEW_VALUES"),
        ("1000001#12a45", "BAD_VALUE"),
        ("1000001#1#2#3", "TOO_MANY_VALUES"),
        ("1000001#1234567", "TOO_MANY_DIGITS"),
        ("1000001 сч №E-3 10385", "FOREIGN_METER"),
        ("1000004#10385", "METER_NOT_READ_BY_CONSUMER"),
        ("1000005#10385", "ACCOUNT_CLOSED"),
        ("9999999#10385", "UNKNOWN_ACCOUNT"),
        ("ДА 22222222", "UNKNOWN_READING"),
    ):
        talk = chat(house, text)
        await talk.types(text)
        assert talk.heard.code == code, text
        assert talk.heard.receipt


async def test_a_held_reading_is_confirmed_by_its_receipt(house: House) -> None:
    await house.link("1000001", Channel.TELEGRAM, "700100")
    talk = chat(house)
    await talk.types("1000001#99000")
    await talk.types("да")
    receipt = talk.heard.receipt
    assert "на проверке" in await talk.types(f"? {receipt}")
    await talk.types(f"ДА {receipt}")
    assert talk.heard.code == "ACCEPTED"
    assert "Показание принято." in await talk.types(f"? {receipt}")


async def test_a_code_links_the_chat_which_then_hears_more(house: House) -> None:
    made = await make_code(house.desk, "1000001", "u-1")
    assert isinstance(made, Code)
    talk = chat(house)
    assert "Привязано: л/с 1000001" in await talk.begins(made.code)
    assert "Прошлое показание 10200" in await talk.taps("read")

    second = await make_code(house.desk, "1000003", "u-1")
    assert isinstance(second, Code)
    assert "Привязано: л/с 1000003" in await talk.types(f"код {second.code}")


# What else may be asked.


async def test_balance_bill_and_last_reading_are_told_to_a_linked_sender(house: House) -> None:
    await house.link("1000001", Channel.TELEGRAM, "700100")
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001")
    await talk.types("10385")
    await talk.types("да")
    assert "Показание принято.\nВойдёт в счёт за май 2024" in await talk.taps("last")
    await house.do("1000001", ClosePeriod(Period("2024-05"), moscow("2024-06-01T12:00")))
    house.at = moscow("2024-06-11T12:00")

    assert "Счёт за май 2024 1245,05 руб.\nК оплате 1245,05 руб.\nОплатите до 10.06.2024" in await talk.taps("bill")
    assert "К оплате 1245,05 руб.\nПросрочено 1245,05 руб." in await talk.types("баланс")
    assert "вошло в счёт за май 2024" in await talk.types("последнее показание")


async def test_balance_is_not_told_to_a_stranger(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("баланс")
    heard = await talk.types("1000001")
    assert "после привязки кодом" in heard
    assert "balance" not in [option.key for option in talk.heard.ask.options]


async def test_in_the_middle_of_a_reading_something_else_may_be_asked(house: House) -> None:
    await house.link("1000001", Channel.TELEGRAM, "700100")
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001")
    assert "Долга нет." in await talk.types("/balance")
    assert "Всё верно?" in await talk.types("10385")


async def test_an_operator_is_given_in_office_hours_and_the_hours_are_told_else(house: House) -> None:
    handed: list[tuple[str, HandOverReason]] = []
    office = OfficeNow(is_open=True, today=Hours(date(2024, 5, 20), "08:45", "17:15"))

    async def now() -> OfficeNow:
        return office

    async def hand_over(talk: Talk, account: str, reason: HandOverReason) -> None:
        handed.append((account, reason))

    desk = Desk(now, hand_over)
    call = caller(house, STRANGER, desk=desk)
    await call.begins()
    assert await call.keys("0") == "Соединяем с оператором."
    assert call.heard.ask.kind is AskKind.OPERATOR
    assert handed == [("", HandOverReason.ASKED)]

    office = OfficeNow(is_open=False, following=Hours(date(2024, 5, 21), "08:45", "17:15"))
    await call.begins()
    assert await call.keys("0") == ("Офис закрыт, операторы не отвечают.\nОткроемся 21.05.2024 в 08:45\nДо свидания!")
    assert call.is_over
    talk = chat(house, desk=desk)
    assert "Откроемся 21.05.2024" in await talk.types("часы работы")


async def test_the_desk_knows_the_office_outages_and_who_waits(house: House) -> None:
    talk = chat(house, desk=desk_of(house.desk, shipped_office()))
    await talk.types("1000001")
    assert "Сегодня мы работаем с 08:45 до 17:15" in await talk.types("часы")
    assert "ничего не сообщалось" in await talk.types("Отключения")
    assert "Гражданская" in await talk.types("контакты")
    assert await talk.types("оператор") == "Соединяем с оператором."
    async with house.desk.pool.acquire() as db:
        (waiting,) = await hand_overs(db, None, 10)
    assert (waiting.account, waiting.reason) == ("1000001", HandOverReason.ASKED)
    lost = caller(house, STRANGER, desk=talk.desk)
    await lost.begins()
    assert (await lost.keys("*", "*", "*")).endswith("Соединяем с оператором.")
    assert (lost.heard.ask.kind, lost.heard.code) == (AskKind.OPERATOR, "NOT_UNDERSTOOD")

    house.at = moscow("2024-05-25T12:00")
    await lost.begins()
    assert (await lost.keys("*", "*", "*")).endswith("До свидания!")
    assert "Откроемся 27.05.2024 в 08:45" in await talk.types("оператор")
    assert talk.is_over


async def test_one_value_is_read_as_people_type_it_and_what_may_mean_two_things_is_asked_again(house: House) -> None:
    async def typed(text: str) -> str:
        talk = chat(house, text)
        await talk.types("1000001")
        return await talk.types(text)

    for text in ("10385", "10385,6", "показание 10385", "10385 кВт", "1О385", "Т1 10385"):
        assert "Показание 10385\nВсё верно?" in await typed(text), text
    for text in ("10 385", "пик 10385", "10385 10386", "минус", "1000003 1000004", "-5", "1e9"):
        assert "Всё верно?" not in await typed(text), text


async def test_others_bring_topics_of_their_own(house: House) -> None:
    async def outages(talk: Talk, account: str) -> tuple[Line, ...]:
        return (Line(Say.NOTE, {"text": Part(PartKind.TEXT, f"Отключений нет {account}")}),)

    label = Line(Say.NOTE, {"text": Part(PartKind.TEXT, "Отключения")})
    desk = Desk(topics=(Topic("outages", "6", label, outages, about_account=False, linked=False, words=("свет",)),))
    talk = chat(house, desk=desk)
    assert "Отключений нет" in await talk.types("Свет?")
    assert "Отключений нет" in await talk.says(SaidKind.CHOICE, "outages")


async def test_a_photo_waits_for_its_reading_and_its_guess_for_a_yes(house: House) -> None:
    talk = chat(house)
    await talk.begins()
    await talk.types("1000001")
    assert await account_of_talk(house.desk, talk.talk) == "1000001"
    heard = await talk.says(SaidKind.PHOTO, "ev-1 10385")
    assert "Фото сохранено" in heard
    assert "Показание 10385\nВсё верно?" in heard
    assert talk.heard.account == "1000001"
    await talk.taps("yes")
    assert talk.heard.photos == ("ev-1",)
    await talk.types("1000001#10386")
    assert await talk.taps("yes")
    assert not talk.heard.photos


# Words.


def test_every_sentence_has_its_words_and_reads_aloud() -> None:
    assert WORDS.keys() == set(Say)
    line = Line(Say.VALUE, {"zone": Part(PartKind.ZONE, "half_peak"), "value": Part(PartKind.DIGITS, "6402")})
    assert (written(line), spoken(line)) == ("Полупик 6402", "Полупик 6 4 0 2")
    cost = Line(Say.COST, {"roubles": Part(PartKind.ROUBLES, "1245.05")})
    assert (written(cost), spoken(cost)) == ("К счёту 1245,05 руб.", "К счёту 1245 рублей 5 копеек")


async def test_a_reply_is_read_aloud_with_its_options(house: House) -> None:
    call = caller(house, STRANGER)
    await call.begins()
    await call.keys("1000001", "10385")
    assert spoken_reply(call.heard)[-5:] == ["Нажмите 1", "Исправить.", "Нажмите 2", "Не передавать.", "Нажмите 3"]
