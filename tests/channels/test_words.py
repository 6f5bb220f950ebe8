"""The words of every outcome: Russian, never empty, short enough for an SMS, with an example that is right."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from re import findall, search

import pytest

from bels.domain.events import (
    AccountOpened,
    CommandRefused,
    Event,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
)
from bels.domain.terms import (
    EntryNumber,
    HoldReason,
    Kwh,
    Locality,
    Period,
    ReadingKind,
    ReadingStatus,
    Reason,
    Register,
    Role,
    Stove,
)
from bels.messages import Outcome, Status
from bels.reception.grammar import SMS_ORDER, Reading, read_message, read_values
from bels.words import (
    SMS_LENGTH_MAX,
    TRY_LATER,
    ReceiptState,
    Words,
    answer,
    echo,
    example,
    hint,
    hold,
    in_sms,
    month,
    plural,
    refusal,
    state,
)
from tests.channels.household import moscow

RECEIPT = "K7M2P9QX"
THREE: Kwh = {Register.PEAK: 1234567, Register.HALF_PEAK: 7654321, Register.NIGHT: 9999999}
IN_MAY = moscow("2024-05-20T12:00")


def outcome(*events: Event, status: Status = Status.ACCEPTED, account: str = "1000001") -> Outcome:
    return Outcome(RECEIPT, status, account, events, 7, IN_MAY)


def accepted(values: Kwh, delta: Kwh, at: datetime = IN_MAY, period: str = "2024-05") -> ReadingAccepted:
    return ReadingAccepted(EntryNumber(1), Period(period), at, None, values, EntryNumber(2), delta, Role.CONSUMER)


def held(reason: HoldReason, values: Kwh, previous: Kwh, at: datetime = IN_MAY) -> ReadingHeld:
    one, two = EntryNumber(1), EntryNumber(2)
    delta = {register: abs(value - previous[register]) for register, value in values.items()}
    return ReadingHeld(one, Period("2024-05"), at, None, values, two, delta, Role.CONSUMER, reason, 1000, previous)


def said(words: Words) -> str:
    text = in_sms(words, RECEIPT)
    check(words)
    assert RECEIPT in text
    assert len(text) <= SMS_LENGTH_MAX, text
    return text


def check(words: Words) -> None:
    for sentence in (words.text, words.hint):
        assert sentence.strip() == sentence
        assert search("[А-Яа-я]", sentence), sentence
        assert not findall(r"[{}]|None|\(\)|«»|  |\.\.", sentence), sentence
        latin = findall("[A-Za-z]+", sentence.replace(RECEIPT, ""))
        assert not latin, sentence


ONE = {Register.TOTAL: 10385}


def test_an_accepted_reading_is_answered_in_one_part() -> None:
    words = answer(outcome(accepted(ONE, {Register.TOTAL: 185})))
    assert said(words) == "Принято №K7M2P9QX: л/с 1000001, 10385. Войдёт в счёт за май"
    assert len(said(words)) <= 70


def test_a_linked_sender_hears_the_consumption_and_nobody_else_does() -> None:
    event = accepted(ONE, {Register.TOTAL: 185})
    assert "расход 185 кВт·ч" in said(answer(outcome(event), linked=True))
    assert "185" not in said(answer(outcome(event)))
    down = held(HoldReason.LESS_THAN_PREVIOUS, {Register.TOTAL: 10100}, {Register.TOTAL: 10200})
    assert "10100 меньше прежнего 10200" in said(answer(outcome(down), linked=True))
    assert "10200" not in said(answer(outcome(down)))
    high = held(HoldReason.IMPLAUSIBLE, {Register.TOTAL: 92345}, {Register.TOTAL: 12345})
    assert "расход 80000 кВт·ч" in said(answer(outcome(high), linked=True))
    assert "80000" not in said(answer(outcome(high)))


def test_zones_are_echoed_by_name() -> None:
    values = {Register.PEAK: 2150, Register.HALF_PEAK: 6402, Register.NIGHT: 4280}
    assert echo(values) == "полупик 6402, ночь 4280, пик 2150"
    assert "день 3130, ночь 1600" in said(answer(outcome(accepted({Register.NIGHT: 1600, Register.DAY: 3130}, {}))))


def test_a_reading_after_the_deadline_counts_for_the_next_month() -> None:
    june = answer(outcome(accepted(ONE, {}, moscow("2024-05-26T00:00"), "2024-06")))
    assert june.hint == "Передано после 25-го: войдёт в счёт за июнь"
    january = answer(outcome(accepted(ONE, {}, moscow("2024-12-31T23:00"), "2025-01")), deadline_day=23)
    assert january.hint == "Передано после 23-го: войдёт в счёт за январь 2025"
    late = answer(outcome(accepted(ONE, {}), ReadingSuperseded(EntryNumber(7), EntryNumber(5))))
    assert late.hint == "Но за май действует другое показание, в счёт войдёт оно"
    correction = answer(outcome(accepted(ONE, {}), ReadingSuperseded(EntryNumber(5), EntryNumber(7))))
    assert correction.hint == "Войдёт в счёт за май"


def test_an_implausible_reading_asks_for_a_confirmation_that_is_read_as_one() -> None:
    event = held(HoldReason.IMPLAUSIBLE, {Register.TOTAL: 92345}, {Register.TOTAL: 12345})
    assert answer(outcome(event)).hint == "Если верно, ответьте ДА K7M2P9QX"
    rollover = held(HoldReason.IMPLAUSIBLE, {Register.TOTAL: 5000}, {Register.TOTAL: 99000})
    assert "ДА" not in said(answer(outcome(rollover)))
    assert "оператор" in said(answer(outcome(rollover)))


@pytest.mark.parametrize("reason", HoldReason)
@pytest.mark.parametrize("linked", [False, True])
def test_every_hold_has_its_words(reason: HoldReason, linked: bool) -> None:
    assert hold(reason)
    for values in ({Register.TOTAL: 9999999}, {Register.DAY: 1, Register.NIGHT: 9999999}, THREE):
        for previous in (0, 9999998):
            event = held(reason, values, dict.fromkeys(values, previous))
            said(answer(outcome(event, status=Status.HELD), linked=linked))
            said(answer(outcome(event, ReadingSuperseded(EntryNumber(7), EntryNumber(5))), linked=linked))


DETAILS = (None, "", "0/1", "1/2", "5/3", "Ж" * 40, "12345678901", "12\x0045\n", "{account}", "6")


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_has_its_words_and_the_next_step(reason: Reason) -> None:
    for registers, account, detail in product(((), *SMS_ORDER), ("", "1000001", "79161234567"), DETAILS):
        assert hint(reason, registers, account)
        words = refusal(reason, registers, account, detail=detail, capacity=6)
        if "{" not in (detail or ""):
            said(words)
        refused = ReadingRefused(reason, IN_MAY, {}, registers, None, detail)
        assert len(in_sms(answer(outcome(refused, account=account)), RECEIPT)) <= SMS_LENGTH_MAX
    said(answer(outcome(CommandRefused("ConfirmReading", reason, IN_MAY, "17"), status=Status.REFUSED)))


@pytest.mark.parametrize("order", SMS_ORDER, ids=len)
def test_the_example_for_a_meter_is_a_correct_message(order: tuple[Register, ...]) -> None:
    parsed = read_message(example(tuple(reversed(order)), "1000003"))
    assert isinstance(parsed, Reading)
    assert parsed.account == "1000003"
    values = read_values(parsed.tokens, order, None)
    assert isinstance(values, dict)
    assert set(values) == set(order)


def test_the_example_names_a_known_account_only() -> None:
    assert example() == "1000000#12345"
    assert "9999999" not in hint(Reason.UNKNOWN_ACCOUNT, (), "9999999")
    assert hint(Reason.TOO_FEW_VALUES, SMS_ORDER[1], "1000003") == "Пример: 1000003#12345#6789"


@pytest.mark.parametrize(
    ("reason", "order", "detail", "expected"),
    [
        (Reason.TOO_FEW_VALUES, 1, "1/2", "Не принято: нужно 2 показания (день, ночь), у вас 1"),
        (Reason.TOO_FEW_VALUES, 0, "0/1", "Не принято: нужно 1 показание, у вас ни одного"),
        (Reason.TOO_MANY_VALUES, 2, "4/3", "Не принято: нужно 3 показания (полупик, ночь, пик), у вас 4"),
        (Reason.BAD_VALUE, 0, "12a45", "Не понято «12a45»"),
        (Reason.BAD_VALUE, 1, "111", "Не понятно, к какой зоне относится 111"),
        (Reason.BAD_ACCOUNT, 0, "6", "В номере лицевого счёта должно быть 7 цифр, у вас 6"),
        (Reason.BAD_ACCOUNT, 0, None, "В номере лицевого счёта должно быть 7 цифр"),
        (Reason.FOREIGN_METER, 0, "E-9", "Счётчик E-9 не относится к л/с 1000003"),
    ],
)
def test_a_refusal_says_what_is_wrong(reason: Reason, order: int, detail: str | None, expected: str) -> None:
    assert refusal(reason, SMS_ORDER[order], "1000003", detail=detail).text == expected


def test_other_outcomes_have_words_too() -> None:
    confirmed = ReadingConfirmed(EntryNumber(3), Period("2024-05"), IN_MAY, ReadingKind.SENT, (), Role.CONSUMER)
    assert said(answer(outcome(confirmed))).endswith("показание по л/с 1000001 принято. Учтено за май")
    late = outcome(confirmed, ReadingSuperseded(EntryNumber(3), EntryNumber(5)))
    assert said(answer(late)).endswith("Но за май действует другое показание, в счёт войдёт оно")
    said(answer(outcome(ReadingRejected(EntryNumber(3), IN_MAY, "ошибка"))))
    said(answer(outcome(status=Status.PARKED)))
    opened = AccountOpened(IN_MAY, Period("2024-05"), Locality.URBAN, Stove.GAS, 2, 3, 1)
    said(answer(outcome(opened)))


@pytest.mark.parametrize("status", [None, *ReadingStatus])
def test_every_state_of_a_receipt_has_its_words(status: ReadingStatus | None) -> None:
    reasons = (None, *HoldReason, *Reason)
    for reason, registers, billed, account in product(reasons, ((), SMS_ORDER[2]), (False, True), ("", "1000002")):
        found = ReceiptState(RECEIPT, account, status, EntryNumber(3), Period("2024-09"), billed, reason, registers)
        said(state(RECEIPT, found))
    done = ReceiptState(RECEIPT, "1000002", None, None, done=True)
    assert said(state(RECEIPT, done)) == f"№{RECEIPT}, л/с 1000002: выполнено. Больше ничего делать не нужно"
    assert said(state(RECEIPT, None)).startswith("Номер K7M2P9QX не найден")


def test_russian_forms() -> None:
    forms = ("показание", "показания", "показаний")
    assert [plural(n, *forms) for n in (1, 2, 5, 11, 12, 14, 21, 22, 25, 101, 111, 0)] == [
        *("показание", "показания", "показаний", "показаний", "показаний", "показаний"),
        *("показание", "показания", "показаний", "показание", "показаний", "показаний"),
    ]
    assert month(Period("2024-03"), IN_MAY) == "март"
    assert month(Period("2025-08"), IN_MAY) == "август 2025"
    assert month(Period("2025-08")) == "август 2025"


def test_the_one_answer_without_storage_is_in_latin_letters() -> None:
    assert TRY_LATER.isascii()
    assert 0 < len(TRY_LATER) <= 160
