"""Why a payment by card is not begun, in stable codes, and the words of it in Russian: one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from re import compile as pattern

from bels.domain.terms import Word
from bels.words import Words

CARD_DIGITS_MIN, CARD_DIGITS_MAX = 13, 19
"""Digits of a card's number (ISO/IEC 7812)."""

_ROW = pattern(r"[0-9]+(?:[ \u00a0./-][0-9]+)*")
_GROUP = pattern(r"[0-9]+")


class CardReason(Word):
    """Why bels refuses: stable codes of payments by card."""

    CARDS_SWITCHED_OFF = "CARDS_SWITCHED_OFF"
    CARD_NUMBER_GIVEN = "CARD_NUMBER_GIVEN"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    BAD_AMOUNT = "BAD_AMOUNT"
    AMOUNT_TOO_SMALL = "AMOUNT_TOO_SMALL"
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    COMMISSION_CHANGED = "COMMISSION_CHANGED"
    BAD_VALUE = "BAD_VALUE"
    BAD_ADDRESS = "BAD_ADDRESS"
    MESSAGE_ID_REUSED = "MESSAGE_ID_REUSED"
    CARD_LIMIT_EXCEEDED = "CARD_LIMIT_EXCEEDED"
    CARD_BINDING_CONSUMER_ONLY = "CARD_BINDING_CONSUMER_ONLY"
    CARD_BINDING_FIRST_PAYMENT = "CARD_BINDING_FIRST_PAYMENT"
    CARD_BINDING_OTHER_KIND = "CARD_BINDING_OTHER_KIND"
    UNKNOWN_BINDING = "UNKNOWN_BINDING"
    UNKNOWN_PAYMENT = "UNKNOWN_PAYMENT"
    NOT_PAID = "NOT_PAID"
    REFUND_UNDER_WAY = "REFUND_UNDER_WAY"
    BAD_NOTE = "BAD_NOTE"
    BAD_CEILING = "BAD_CEILING"
    BAD_DAY = "BAD_DAY"
    NOBODY_TO_WARN = "NOBODY_TO_WARN"
    UNKNOWN_AUTOPAY = "UNKNOWN_AUTOPAY"
    UNKNOWN_DIFFERENCE = "UNKNOWN_DIFFERENCE"


WORDS: Mapping[CardReason, Words] = {
    CardReason.CARDS_SWITCHED_OFF: Words("Оплата картой сейчас не принимается.", "Оплатите через банк или на почте."),
    CardReason.CARD_NUMBER_GIVEN: Words(
        "В запросе номер карты: мы его не принимаем и не храним.",
        "Номер карты вводят только на странице НКО «МОНЕТА».",
    ),
    CardReason.UNKNOWN_ACCOUNT: Words(
        "Лицевой счёт не найден или закрыт без долга.", "Проверьте семь цифр номера на квитанции."
    ),
    CardReason.BAD_AMOUNT: Words("Сумма указана неверно.", "Рубли и копейки больше нуля: 1245.05."),
    CardReason.AMOUNT_TOO_SMALL: Words("Сумма меньше наименьшей.", "Увеличьте сумму."),
    CardReason.AMOUNT_TOO_LARGE: Words(
        "Сумма с комиссией больше предела одной операции.", "Разделите её на несколько платежей."
    ),
    CardReason.COMMISSION_CHANGED: Words(
        "Комиссия не та, что была показана.", "Запросите расчёт (cardQuote) ещё раз и покажите его плательщику."
    ),
    CardReason.BAD_VALUE: Words("Показание указано неверно.", "Цифры с табло счётчика, по одному на каждую зону."),
    CardReason.BAD_ADDRESS: Words("Адрес для чека указан неверно.", "Электронная почта или телефон."),
    CardReason.MESSAGE_ID_REUSED: Words(
        "Под этим ключом уже был другой запрос.", "Для нового платежа нужен новый ключ."
    ),
    CardReason.CARD_LIMIT_EXCEEDED: Words(
        "Достигнут предел платежей картой.",
        "Повторите на следующий день или в следующем месяце, либо оплатите через банк.",
    ),
    CardReason.CARD_BINDING_CONSUMER_ONLY: Words(
        "Привязать карту можно только в личном кабинете.", "Войдите в кабинет или оплатите без привязки."
    ),
    CardReason.CARD_BINDING_FIRST_PAYMENT: Words(
        "Первый платёж этому поставщику привязанной картой не делают.",
        "Оплатите один раз с вводом карты; дальше подойдёт и привязанная.",
    ),
    CardReason.CARD_BINDING_OTHER_KIND: Words(
        "Карта привязана для платежей другого вида.", "Привяжите её ещё раз при платеже этого вида."
    ),
    CardReason.UNKNOWN_BINDING: Words("Такой привязанной карты нет.", "Посмотрите список привязанных карт."),
    CardReason.UNKNOWN_PAYMENT: Words("Такого платежа картой нет.", "Проверьте номер платежа."),
    CardReason.NOT_PAID: Words("Платёж не проведён: возвращать нечего.", "Посмотрите состояние платежа."),
    CardReason.REFUND_UNDER_WAY: Words("Возврат этого платежа уже начат.", "Посмотрите его состояние в платеже."),
    CardReason.BAD_NOTE: Words(
        "Основание указано неверно.", "От 3 до 200 знаков, без телефонов, адресов почты и номеров документов."
    ),
    CardReason.BAD_CEILING: Words(
        "Предел автоплатежа указан неверно.", "Рубли и копейки больше нуля, не больше предела одной операции."
    ),
    CardReason.BAD_DAY: Words("День автоплатежа указан неверно.", "От 1 до 28, или «по счёту»."),
    CardReason.NOBODY_TO_WARN: Words(
        "Предупредить об автоплатеже некого: ни телефона, ни почты.", "Укажите в офисе телефон или электронную почту."
    ),
    CardReason.UNKNOWN_AUTOPAY: Words("Такого автоплатежа нет.", "Посмотрите список автоплатежей."),
    CardReason.UNKNOWN_DIFFERENCE: Words("Такого открытого расхождения нет.", "Посмотрите список расхождений."),
}
"""What is wrong, and how to do it right."""


@dataclass(frozen=True, slots=True)
class CardRefused:
    """Why it is refused; ``detail`` is what exactly is in the way, without anything personal."""

    reason: CardReason
    detail: str | None = None

    @property
    def words(self) -> Words:
        """The text for the person, and how to do it right."""
        return WORDS[self.reason]


def holds_card_number(text: str) -> bool:
    """Say whether a text holds what may be a card's number: 13 to 19 digits that pass the check of Luhn.

    They may be in groups, with one blank, dot, slash or dash between two; a group is never cut, so an account of a bank, of twenty
    digits, holds none. Thirteen digits from 1 on are a moment in milliseconds, as keys often are, and no card's.
    """
    for row in _ROW.finditer(text):
        groups = _GROUP.findall(row.group())
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > CARD_DIGITS_MAX:
                    break
                if len(digits) >= CARD_DIGITS_MIN and _passes_luhn(digits):
                    return True
    return False


def _passes_luhn(number: str) -> bool:
    if number[0] == "1" and len(number) == CARD_DIGITS_MIN:
        return False
    digits = [int(sign) for sign in reversed(number)]
    return sum(2 * digit - 9 * (digit > 4) if i % 2 else digit for i, digit in enumerate(digits)) % 10 == 0
