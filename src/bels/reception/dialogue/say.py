"""Every sentence of the dialogue, in Russian: written out by bots, recorded for the telephone.

A sentence is short, and what stands between its parts is a recording of its own: so parts stand at the end where they can, and
sentences are put together from few pieces.
"""

from __future__ import annotations

from bels.domain.terms import Word


class Say(Word):
    """The sentences, by name."""

    GREETING = "GREETING"
    GOODBYE = "GOODBYE"
    CONNECTING = "CONNECTING"
    NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
    NOTHING_HEARD = "NOTHING_HEARD"
    STALE = "STALE"
    NOTE = "NOTE"
    PRESS = "PRESS"
    PRESS_STAR = "PRESS_STAR"
    # Which account.
    CHOOSE_ACCOUNT = "CHOOSE_ACCOUNT"
    ASK_ACCOUNT = "ASK_ACCOUNT"
    SEVEN_DIGITS = "SEVEN_DIGITS"
    ACCOUNT = "ACCOUNT"
    ACCOUNT_ENDS = "ACCOUNT_ENDS"
    # Which meter, and what it shows.
    METER_ENDS = "METER_ENDS"
    ASK_METER = "ASK_METER"
    PREVIOUS = "PREVIOUS"
    PLACE = "PLACE"
    ZONE = "ZONE"
    ASK_VALUE = "ASK_VALUE"
    ONLY_DIGITS = "ONLY_DIGITS"
    PHOTO_KEPT = "PHOTO_KEPT"
    # What it means.
    VALUE = "VALUE"
    USED = "USED"
    COST = "COST"
    MUCH = "MUCH"
    LESS = "LESS"
    MORE_THAN_NEXT = "MORE_THAN_NEXT"
    CONFIRM = "CONFIRM"
    SURE = "SURE"
    NOTHING_SENT = "NOTHING_SENT"
    # What became of it.
    ACCEPTED = "ACCEPTED"
    REPEATED = "REPEATED"
    CONFIRMED = "CONFIRMED"
    HELD = "HELD"
    PARKED = "PARKED"
    NOT_TAKEN = "NOT_TAKEN"
    AFTER_DEADLINE = "AFTER_DEADLINE"
    COUNTS = "COUNTS"
    ANOTHER_COUNTS = "ANOTHER_COUNTS"
    RECEIPT = "RECEIPT"
    PROVE = "PROVE"
    # Why not.
    BAD_ACCOUNT = "BAD_ACCOUNT"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    FOREIGN_METER = "FOREIGN_METER"
    METER_CLOSED = "METER_CLOSED"
    METER_NOT_READ_BY_CONSUMER = "METER_NOT_READ_BY_CONSUMER"
    READINGS_NOT_TAKEN = "READINGS_NOT_TAKEN"
    BAD_VALUE = "BAD_VALUE"
    TOO_FEW_VALUES = "TOO_FEW_VALUES"
    TOO_MANY_VALUES = "TOO_MANY_VALUES"
    TOO_MANY_DIGITS = "TOO_MANY_DIGITS"
    TOO_MANY_MESSAGES = "TOO_MANY_MESSAGES"
    UNKNOWN_READING = "UNKNOWN_READING"
    NOT_HELD = "NOT_HELD"
    OPERATOR_DECIDES = "OPERATOR_DECIDES"
    LINKED_ONLY = "LINKED_ONLY"
    # What else may be asked.
    MENU = "MENU"
    DEBT = "DEBT"
    OVERDUE = "OVERDUE"
    ADVANCE = "ADVANCE"
    NO_DEBT = "NO_DEBT"
    PENALTY = "PENALTY"
    BILL = "BILL"
    DUE = "DUE"
    NO_BILL = "NO_BILL"
    STATE_ACCEPTED = "STATE_ACCEPTED"
    STATE_BILLED = "STATE_BILLED"
    STATE_HELD = "STATE_HELD"
    STATE_NOT_COUNTED = "STATE_NOT_COUNTED"
    STATE_DONE = "STATE_DONE"
    NO_READING = "NO_READING"
    OFFICE_OPEN = "OFFICE_OPEN"
    OFFICE_CLOSED = "OFFICE_CLOSED"
    HOURS = "HOURS"
    OPENS = "OPENS"
    # Labels of options.
    OPTION_ACCOUNT = "OPTION_ACCOUNT"
    OPTION_OTHER_ACCOUNT = "OPTION_OTHER_ACCOUNT"
    OPTION_OTHER_METER = "OPTION_OTHER_METER"
    OPTION_AGAIN = "OPTION_AGAIN"
    OPTION_YES = "OPTION_YES"
    OPTION_FIX = "OPTION_FIX"
    OPTION_CANCEL = "OPTION_CANCEL"
    OPTION_SURE = "OPTION_SURE"
    OPTION_MENU = "OPTION_MENU"
    OPTION_READING = "OPTION_READING"
    OPTION_BALANCE = "OPTION_BALANCE"
    OPTION_BILL = "OPTION_BILL"
    OPTION_LAST = "OPTION_LAST"
    OPTION_HOURS = "OPTION_HOURS"
    OPTION_OPERATOR = "OPTION_OPERATOR"


WORDS: dict[Say, str] = {
    Say.GREETING: "Здравствуйте! Это БЭЛС, передача показаний.",
    Say.GOODBYE: "До свидания!",
    Say.CONNECTING: "Соединяем с оператором.",
    Say.NOT_UNDERSTOOD: "Не понято.",
    Say.NOTHING_HEARD: "Вы ничего не ввели.",
    Say.STALE: "Этот ответ уже не действует.",
    Say.NOTE: "{text}",
    Say.PRESS: "Нажмите {digit}",
    Say.PRESS_STAR: "Нажмите звёздочку.",
    Say.CHOOSE_ACCOUNT: "Выберите лицевой счёт.",
    Say.ASK_ACCOUNT: "Введите номер лицевого счёта, семь цифр.",
    Say.SEVEN_DIGITS: "В номере лицевого счёта семь цифр.",
    Say.ACCOUNT: "Лицевой счёт {account}",
    Say.ACCOUNT_ENDS: "Лицевой счёт оканчивается на {end}",
    Say.METER_ENDS: "Номер счётчика оканчивается на {end}",
    Say.ASK_METER: "Введите номер счётчика.",
    Say.PREVIOUS: "Прошлое показание {value}",
    Say.PLACE: "Т {place}, {zone}",
    Say.ZONE: "{zone}",
    Say.ASK_VALUE: "Введите показание, только целые киловатт-часы.",
    Say.ONLY_DIGITS: "Нужны только цифры.",
    Say.PHOTO_KEPT: "Фото сохранено, мы приложим его к показанию.",
    Say.VALUE: "{zone} {value}",
    Say.USED: "Расход {kwh}",
    Say.COST: "К счёту {roubles}",
    Say.MUCH: "Расход очень велик.",
    Say.LESS: "Показание меньше прошлого.",
    Say.MORE_THAN_NEXT: "Показание больше более позднего.",
    Say.CONFIRM: "Всё верно?",
    Say.SURE: "Вы уверены, что показание верно?",
    Say.NOTHING_SENT: "Показание не передано.",
    Say.ACCEPTED: "Показание принято.",
    Say.REPEATED: "Это показание уже принято.",
    Say.CONFIRMED: "Показание подтверждено.",
    Say.HELD: "Показание пока не учтено, оно на проверке.",
    Say.PARKED: "Сообщение получено, показание пока не учтено. Его разберёт оператор.",
    Say.NOT_TAKEN: "Показание не принято.",
    Say.AFTER_DEADLINE: "Срок этого месяца прошёл.",
    Say.COUNTS: "Войдёт в счёт за {month}",
    Say.ANOTHER_COUNTS: "В счёт войдёт другое, более позднее показание.",
    Say.RECEIPT: "Номер сообщения {receipt}",
    Say.PROVE: "Подтвердите его кодом из личного кабинета.",
    Say.BAD_ACCOUNT: "Номер лицевого счёта не понят.",
    Say.UNKNOWN_ACCOUNT: "Такой лицевой счёт не найден.",
    Say.ACCOUNT_CLOSED: "Лицевой счёт закрыт.",
    Say.FOREIGN_METER: "Такого счётчика на этом лицевом счёте нет.",
    Say.METER_CLOSED: "Этот счётчик снят.",
    Say.METER_NOT_READ_BY_CONSUMER: "Счётчик передаёт показания сам, отправлять ничего не нужно.",
    Say.READINGS_NOT_TAKEN: "Нужна проверка или замена счётчика.",
    Say.BAD_VALUE: "Показание не понято.",
    Say.TOO_FEW_VALUES: "Названы не все зоны.",
    Say.TOO_MANY_VALUES: "Названы лишние зоны.",
    Say.TOO_MANY_DIGITS: "Цифр больше, чем на счётчике.",
    Say.TOO_MANY_MESSAGES: "Слишком много попыток за день.",
    Say.UNKNOWN_READING: "Показание с таким номером не найдено.",
    Say.NOT_HELD: "Это показание не ждёт подтверждения.",
    Say.OPERATOR_DECIDES: "Решит оператор.",
    Say.LINKED_ONLY: "Это можно узнать после привязки кодом из личного кабинета.",
    Say.MENU: "Что ещё?",
    Say.DEBT: "К оплате {roubles}",
    Say.OVERDUE: "Просрочено {roubles}",
    Say.ADVANCE: "Переплата {roubles}",
    Say.NO_DEBT: "Долга нет.",
    Say.PENALTY: "Пени {roubles}",
    Say.BILL: "Счёт за {month} {roubles}",
    Say.DUE: "Оплатите до {day}",
    Say.NO_BILL: "Счетов ещё нет.",
    Say.STATE_ACCEPTED: "Показание принято.",
    Say.STATE_BILLED: "Показание вошло в счёт за {month}",
    Say.STATE_HELD: "Показание на проверке.",
    Say.STATE_NOT_COUNTED: "Показание не учитывается.",
    Say.STATE_DONE: "Сообщение выполнено.",
    Say.NO_READING: "Показаний ещё нет.",
    Say.OFFICE_OPEN: "Офис открыт.",
    Say.OFFICE_CLOSED: "Офис закрыт, операторы не отвечают.",
    Say.HOURS: "Сегодня мы работаем с {opens} до {closes}",
    Say.OPENS: "Откроемся {day} в {opens}",
    Say.OPTION_ACCOUNT: "Счёт, оканчивающийся на {end}",
    Say.OPTION_OTHER_ACCOUNT: "Другой лицевой счёт.",
    Say.OPTION_OTHER_METER: "Другой счётчик.",
    Say.OPTION_AGAIN: "Начать показания сначала.",
    Say.OPTION_YES: "Всё верно, передать.",
    Say.OPTION_FIX: "Исправить.",
    Say.OPTION_CANCEL: "Не передавать.",
    Say.OPTION_SURE: "Показание верно.",
    Say.OPTION_MENU: "Меню.",
    Say.OPTION_READING: "Передать показание.",
    Say.OPTION_BALANCE: "Баланс.",
    Say.OPTION_BILL: "Последний счёт на оплату.",
    Say.OPTION_LAST: "Последнее показание.",
    Say.OPTION_HOURS: "Часы работы.",
    Say.OPTION_OPERATOR: "Оператор.",
}
"""The words of each; {name} is a part of the line. What stands between parts is recorded once."""
