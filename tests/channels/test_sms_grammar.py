"""The SMS grammar: the vectors, the tables of the rules, and messages as people write them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bels.domain.account import nobody
from bels.domain.commands import SubmitReading
from bels.domain.decide import decide
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.read_value import read_value
from bels.domain.terms import Reason, Register
from bels.messages import Outcome, Status
from bels.reception.grammar import (
    LENGTH_MAX,
    SMS_ORDER,
    BadAccount,
    BadValue,
    Confirmation,
    LinkCode,
    NotUnderstood,
    Reading,
    ReceiptQuestion,
    read_message,
    read_values,
)
from bels.words import answer, example
from tests.channels.household import MATRIX, TWO_ZONES, Town
from tests.domain.vectors import vectors
from tests.effort import effort
from tests.rules import DEFAULT_RULEBOOK

ACCOUNTS = {"total": "1000001", "day night": "1000003", "half_peak night peak": "1000002"}
TOTAL = (Register.TOTAL,)
DAY_NIGHT = (Register.DAY, Register.NIGHT)
THREE = (Register.PEAK, Register.HALF_PEAK, Register.NIGHT)


def values_of(text: str, registers: tuple[Register, ...], display: Mapping[str, Register] | None = None) -> Any:
    parsed = read_message(text)
    assert isinstance(parsed, Reading), parsed
    return read_values(parsed.tokens, registers, display)


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a file: what a person wrote, with which meter, what they meant, what bels must say."""

    text: str
    registers: str
    meant: dict[str, int]
    expected: str


def lines_of(name: str) -> list[Line]:
    """Read a file of messages: the first holds every form that the grammar knows, the second how people really write."""
    lines = []
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            meant = {name: int(value) for name, value in (pair.split("=") for pair in row["meant"].split())}
            lines.append(Line(row["text"], row["registers"], meant, row["expected"]))
    return lines


FORMS = lines_of("sms_messages.csv")
LIFELIKE = lines_of("sms_lifelike.csv")


@dataclass(frozen=True, slots=True)
class Said:
    """What bels made of a message."""

    code: str
    account: str = ""
    values: dict[str, int] | None = None
    words: str = ""


TOWN = Town()


def hear(line: Line) -> Said:
    """Read a message as a channel does, and let the domain decide it."""
    parsed = read_message(line.text)
    number = ""
    event: Any
    match parsed:
        case Confirmation(receipt):
            return Said(f"CONFIRM {receipt}")
        case LinkCode(code):
            return Said(f"LINK {code}")
        case ReceiptQuestion(receipt):
            return Said(f"QUESTION {receipt}")
        case Reading(number, tokens, meter):
            account = TOWN.accounts.get(number, nobody(number))
            model = account.meters[-1].model if account.meters else None
            registers = model.registers if model is not None else ()
            values = read_values(tokens, registers, model.display if model is not None else None)
            if isinstance(values, BadValue):
                event = ReadingRefused(Reason.BAD_VALUE, TOWN.at, {}, registers, detail=values.token)
            else:
                event = decide(account, SubmitReading(TOWN.at, values, meter=meter), DEFAULT_RULEBOOK)[0]
        case BadAccount(digits):
            event = ReadingRefused(Reason.BAD_ACCOUNT, TOWN.at, {}, detail=str(digits))
        case NotUnderstood(after):
            event = ReadingRefused(Reason.NOT_UNDERSTOOD, TOWN.at, {}, detail=after or None)
        case _ as never:
            assert_never(never)
    if isinstance(event, ReadingAccepted | ReadingHeld):
        return Said("OK", number, {str(register): value for register, value in event.values.items()})
    words = answer(Outcome("K7M2P9QX", Status.REFUSED, number, (event,), None, TOWN.at))
    return Said(event.reason, number, None, f"{words.text}. {words.hint}")


def is_wrong(line: Line, said: Said) -> bool:
    """Say whether a reading was taken that nobody sent: other values, or of another account."""
    return said.values is not None and (said.values != line.meant or said.account != ACCOUNTS[line.registers])


def is_helped(line: Line, said: Said) -> bool:
    """Say whether a message was understood, or its sender was told exactly how to write it."""
    if said.code != line.expected:
        return False
    if said.values is not None or said.code.startswith(("CONFIRM", "QUESTION", "LINK")):
        return True
    registers = tuple(Register(r) for r in line.registers.split())
    correction = example(registers, ACCOUNTS[line.registers])
    # Where the account itself was not found, the example is the general one.
    if said.code in ("BAD_ACCOUNT", "NOT_UNDERSTOOD", "UNKNOWN_ACCOUNT"):
        correction = "8 знаков" if "8 знаков" in said.words else example()
    return correction in said.words


@pytest.mark.parametrize("vector", vectors("sms"), ids=lambda v: v["id"])
def test_the_vectors_are_read_as_computed(vector: dict[str, Any]) -> None:
    parsed = read_message(vector["given"]["text"])
    expected = vector["expected"]
    match parsed:
        case BadAccount():
            assert expected == {"result": "BAD_ACCOUNT"}
        case NotUnderstood():
            assert expected == {"result": "NOT_UNDERSTOOD"}
        case Reading(number, tokens):
            known = vector["given"]["accounts"].get(number)
            if known is None:
                assert expected == {"result": "UNKNOWN_ACCOUNT"}
                assert not isinstance(read_values(tokens, (), None), BadValue)
                return
            registers = tuple(Register(r) for r in known["registers"])
            display = {mark: Register(r) for mark, r in known.get("display", {}).items()} or None
            values = read_values(tokens, registers, display)
            if isinstance(values, BadValue):
                assert expected == {"result": "BAD_VALUE"}
            elif expected["result"] == "PARSED":
                assert number == expected["account"]
                assert {name: read_value(text) for name, text in values.items()} == expected["values"]
            else:
                assert (len(values), len(registers)) == (expected["got"], expected["need"])
                few = any(register not in values for register in registers)
                assert expected["result"] == ("TOO_FEW_VALUES" if few else "TOO_MANY_VALUES")
        case _:
            pytest.fail(f"{parsed}")


@pytest.mark.parametrize(
    ("text", "registers", "display", "expected"),
    [
        ("1000000#333333#222222#111111", THREE, None, {"half_peak": "333333", "night": "222222", "peak": "111111"}),
        ("1000000.333333;", TOTAL, None, {"total": "333333"}),
        ("1000000.333333;", DAY_NIGHT, None, {"day": "333333"}),
        ("1000000.333333#111111;", DAY_NIGHT, None, {"day": "333333", "night": "111111"}),
        ("1000000.333333#111111;", THREE, None, {"half_peak": "333333", "night": "111111"}),
        ("1000000.333333#111111;", TOTAL, None, {"total": "333333", "value2": "111111"}),
        (" 1000000 # 333333 ; 222222 ", DAY_NIGHT, None, {"day": "333333", "night": "222222"}),
        ("1000000#12a45", TOTAL, None, BadValue("12a45")),
        ("1000000", TOTAL, None, {}),
        ("1000000 ночь 111 день 222", DAY_NIGHT, None, {"night": "111", "day": "222"}),
        ("1000000#12345.6", TOTAL, None, {"total": "12345.6"}),
        (
            "1000000#4321,5#1200,9",
            DAY_NIGHT,
            None,
            {"day": "4321", "night": "5", "value3": "1200", "value4": "9"},
        ),
        ("1000000#T1 4321 T2 55", DAY_NIGHT, TWO_ZONES, {"day": "4321", "night": "55"}),
        ("1000000#T1 4321 T2 55", DAY_NIGHT, None, BadValue("T1")),
        (
            "1000000 T1 4280 T2 2150 T3 6402",
            THREE,
            MATRIX,
            {"night": "4280", "peak": "2150", "half_peak": "6402"},
        ),
        ("1000000 день 222,5 ночь 111", DAY_NIGHT, None, BadValue("222,5")),
        ("1000000 №12345678 5", TOTAL, None, BadValue("№12345678")),
        ("1000000 день 12 345", DAY_NIGHT, None, BadValue("345")),
        ("1000000#10.385", TOTAL, None, BadValue("10.385")),
        ("1000000 3,130", DAY_NIGHT, None, BadValue("3,130")),
        ("1000000 3130 день 1600 ночь", DAY_NIGHT, None, {"day": "3130", "night": "1600"}),
        ("1000000#1#2#3", (), None, {"half_peak": "1", "night": "2", "peak": "3"}),
        ("1000000#T1 5", (), None, {"T1": "5"}),
        ("1000000#5б", (), None, BadValue("5б")),
    ],
)
def test_the_tables_of_the_rules(text: str, registers: Any, display: Any, expected: Any) -> None:
    assert values_of(text, registers, display) == expected


def test_an_account_has_seven_digits() -> None:
    assert read_message("100000#123") == BadAccount(6)
    assert read_message("10000000#123") == BadAccount(8)
    assert read_message("+7 (916) 123-45-67") == NotUnderstood()
    assert read_message("1OООOО1#5") == read_message("1000001#5")


@pytest.mark.parametrize(
    ("text", "account", "meter", "values"),
    [
        ("1000001 счетчик №12345 показание 4321", "1000001", "12345", {"total": "4321"}),
        ("1000001 счётчик № E-7N, 4321", "1000001", "E-7N", {"total": "4321"}),
        ("прибор учета №12345 лс 1000001 показание 4321", "1000001", "12345", {"total": "4321"}),
        ("1000001 сч. №12345 4321", "1000001", "12345", {"total": "4321"}),
        ("1000001 счетчик 4321", "1000001", None, {"total": "4321"}),
        ("лиц. сч. №1000001 показание 4321", "1000001", None, {"total": "4321"}),
        ("сч. №1000001 4321", "1000001", None, {"total": "4321"}),
        ("1000001 счетчик №", "1000001", None, BadValue("№")),
    ],
)
def test_a_meter_is_named_by_its_word_and_the_sign(text: str, account: str, meter: str | None, values: Any) -> None:
    parsed = read_message(text)
    assert isinstance(parsed, Reading)
    assert (parsed.account, parsed.meter) == (account, meter)
    assert read_values(parsed.tokens, TOTAL, None) == values


def test_an_account_that_is_named_may_stand_behind_a_house_and_behind_its_values() -> None:
    for text in ("Победы 2, л/с 1000001 показание 4321", "показание 4321 л/с 1000001"):
        assert values_of(text, TOTAL) == {"total": "4321"}
    assert read_message("4321 л/с 1000001") == BadAccount(4)
    assert read_message("показание 4321 л/с 1000001 и л/с 1000002") == BadAccount(4)


def test_in_a_letter_the_account_is_the_first_number_of_seven_digits() -> None:
    text = "Договор 12345 от 2019, квартира 17. Счёт 1000001, показание 4321"
    assert read_message(text) == BadAccount(5)
    letter = read_message(text, in_letter=True)
    assert isinstance(letter, Reading)
    assert letter.account == "1000001"
    assert read_values(letter.tokens, TOTAL, None) == {"total": "4321"}
    assert read_message("договор 12345", in_letter=True) == BadAccount(5)


def test_a_code_links_its_sender() -> None:
    for text in ("КОД K7M2P9QX", "код: к7м2р9qх", "Kod K7M2 P9QX", "КОДK7M2P9QX", "rjl K7M2P9QX", "код № K7M2P9QX!"):
        assert read_message(text) == LinkCode("K7M2P9QX")
    assert read_message("КОД") == read_message("код K7M2P9") == NotUnderstood("КОД")
    assert read_message("код 1000001 4321") == read_message("1000001 4321")


def test_a_receipt_that_begins_as_a_word_is_a_receipt() -> None:
    for receipt in ("DA7M2P9Q", "KD7M2P9Q", "LF7M2P9Q"):
        assert read_message(receipt) == ReceiptQuestion(receipt)


def test_strange_words_take_no_time() -> None:
    with effort() as done:
        for text in ("а" * 39 + "!", "а1" * 19 + "!", "1000001 " + "д5" * 19 + "§", "добр" * 240, "8 (9" * 240):
            read_message(text)
    assert done.units < 50


def test_ten_thousand_numbers_in_a_letter_take_no_time() -> None:
    with effort() as done:
        for text in ("1. " * 6_600, "сч №1 " * 3_300, "\ufdfa" * 20_000):
            read_message(text, in_letter=True)
    assert done.units < 500


@pytest.mark.parametrize("line", FORMS, ids=lambda line: line.text[:30] or "empty")
def test_every_form_of_a_message_is_answered_as_expected(line: Line) -> None:
    said = hear(line)
    assert said.code == line.expected
    assert not is_wrong(line, said)


def test_of_lifelike_messages_95_percent_are_understood_or_exactly_corrected() -> None:
    told = {line.text: (line.expected, hear(line).code) for line in LIFELIKE if not is_helped(line, hear(line))}
    assert len(LIFELIKE) >= 300
    assert len(told) <= 0.05 * len(LIFELIKE), told


def test_no_message_is_taken_wrongly() -> None:
    assert [line.text for line in (*FORMS, *LIFELIKE) if is_wrong(line, hear(line))] == []


def test_too_long_a_text_is_not_understood() -> None:
    assert isinstance(read_message("1000001#" + "1" * (LENGTH_MAX - 8)), Reading)
    assert read_message("1000001#" + "1" * (LENGTH_MAX - 7)) == NotUnderstood()


def test_what_cannot_be_seen_changes_nothing_or_refuses() -> None:
    assert values_of("\x001000001#10385\x00", TOTAL) == {"total": "10385"}
    assert values_of("\ufeff1000001#10\u200b385\u200e", TOTAL) == {"total": "10385"}
    assert values_of("1000003#31\x0030", DAY_NIGHT) == BadValue("3130")
    assert values_of("1000001#1038\ufffd", TOTAL) == BadValue("1038\ufffd")


ANYTHING = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.text("0123456789О oT#.;,*:=-/№?\n\x00деньночпкулДАKМ２", max_size=60),
    st.builds("1000003{}".format, st.text("0123456789ОT#.,=- №?деньночпкул", max_size=40)),
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_no_text_makes_the_parser_fail(text: str) -> None:
    parsed = read_message(text)
    if isinstance(parsed, Reading):
        assert len(parsed.account) == 7
        assert parsed.account.isascii()
        assert parsed.account.isdigit()
        for registers, display in ((TOTAL, None), (DAY_NIGHT, TWO_ZONES), (THREE, MATRIX), ((), None)):
            values = read_values(parsed.tokens, registers, display)
            if isinstance(values, BadValue):
                assert values.token
            else:
                assert all(read_value(value) is not None for value in values.values())


SEPARATORS = st.text("#;* :=\n", min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_canonical_message_is_read_as_it_was_written(data: st.DataObject) -> None:
    order = data.draw(st.sampled_from(SMS_ORDER))
    account = data.draw(st.integers(0, 9_999_999).map("{:07d}".format))
    values = {str(register): data.draw(st.integers(0, 9_999_999)) for register in order}
    text = account + "".join(data.draw(SEPARATORS) + str(value) for value in values.values())
    parsed = read_message(text)
    assert isinstance(parsed, Reading)
    assert parsed.account == account
    read = read_values(parsed.tokens, tuple(data.draw(st.permutations(order))), None)
    assert read == {name: str(value) for name, value in values.items()}


PROSE = (
    *("20.05.2024", "1.05.24", "за май", "на 20 мая", "май 2024", "2024-05-20", "на 20.05", "25 мая 2024 г."),
    *("тел 89161234567", "+7 916 123-45-67", "8(916)123-45-67", "79161234567"),
    *(
        "кв 5",
        "кв.17",
        "дом 7 кв 12",
        "д.5 кв 12",
        "добрый день",
        "Иванов И.И.",
        "с уважением Иванов А.С.",
        "спасибо",
        "👍",
    ),
    *("счетчик", "показания", "квт", "и", "№", "день", "Т1", "тариф 1", "-", "было", "?"),
)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_whatever_stands_around_the_values_they_are_taken_as_written_or_not_at_all(data: st.DataObject) -> None:
    order = data.draw(st.sampled_from(SMS_ORDER))
    value = st.one_of(st.integers(0, 99), st.integers(2000, 2050), st.integers(0, 9_999_999)).map(str)
    meant = {str(register): data.draw(value) for register in order}
    words = list(meant.values())
    for prose in data.draw(st.lists(st.sampled_from(PROSE), max_size=4)):
        words.insert(data.draw(st.integers(0, len(words))), prose)
    parsed = read_message(" ".join(("1000001", *words)))
    assert isinstance(parsed, Reading)
    assert parsed.account == "1000001"
    display = {f"T{i}": register for i, register in enumerate(order, 1)}
    values = read_values(parsed.tokens, order, data.draw(st.sampled_from((None, display))))
    if isinstance(values, dict) and set(values) == set(meant) and parsed.meter is None:
        named = any(mark in words for mark in ("день", "Т1", "тариф 1"))
        taken = sorted(values.values()) if named else list(values.values())
        assert taken == (sorted(meant.values()) if named else list(meant.values()))


@settings(max_examples=100, deadline=None)
@given(st.text("23456789ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=8, max_size=8), st.booleans())
def test_a_receipt_is_recognised_in_any_letters(receipt: str, small: bool) -> None:
    typed = receipt.translate(str.maketrans("ABCEHKMPTXY", "АВСЕНКМРТХУ"))
    typed = typed.lower() if small else typed
    assert read_message(f"да {typed}") == Confirmation(receipt)
    assert read_message(f"?{typed}") == ReceiptQuestion(receipt)
    assert read_message(f"№ {typed}") == ReceiptQuestion(receipt)
