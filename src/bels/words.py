"""What the sender hears: one table of outcomes in Russian, the same on every channel (channels 1).

``Words`` are two sentences: what became of the message, and what to do next with an example for that very meter. Nothing
here decides; whatever has no words of its own still gets an honest sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bels.domain.events import (
    CommandRefused,
    Event,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
)
from bels.domain.periods import DEADLINE_DAY, moscow_date
from bels.domain.terms import EntryNumber, HoldReason, Kwh, Period, ReadingStatus, Reason, Register
from bels.messages import Outcome, Status
from bels.projections.words import MONTHS

SMS_PART_LENGTH = 67
"""Characters of one part of a long Cyrillic SMS; a single one has 70."""

SMS_LENGTH_MAX = 2 * SMS_PART_LENGTH

TRY_LATER = "BELS: servis nedostupen, pokazanie NE prinyato. Povtorite pozzhe."
"""The one answer that is given when nothing could be stored: in Latin letters, as a gateway itself must say it."""

HOTLINE = "8 (495) 524-22-04"
EXAMPLE_ACCOUNT = "1000000"

ZONE_NAMES: dict[Register, str] = {
    Register.TOTAL: "показание",
    Register.DAY: "день",
    Register.PEAK: "пик",
    Register.HALF_PEAK: "полупик",
    Register.NIGHT: "ночь",
}
_SPOKEN_ORDER = (Register.TOTAL, Register.DAY, Register.HALF_PEAK, Register.NIGHT, Register.PEAK)
_EXAMPLES = {
    Register.TOTAL: "12345",
    Register.DAY: "12345",
    Register.HALF_PEAK: "12345",
    Register.NIGHT: "6789",
    Register.PEAK: "2345",
}
_SHOWN_MAX = 24


@dataclass(frozen=True, slots=True)
class Words:
    """What became of a message, and what to do next. Neither is ever empty."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class ReceiptState:
    """What a receipt stands for now.

    ``status`` and ``reading`` are None where no reading came of the message: it waits for an operator, or ``done`` says
    that it was something else and is carried out. ``billed`` says that the period of the reading is closed; ``reason`` is
    why it was held or refused; ``registers`` are those of the account's meter.
    """

    receipt: str
    account: str
    status: ReadingStatus | None
    reading: EntryNumber | None
    period: Period | None = None
    billed: bool = False
    reason: Reason | HoldReason | None = None
    registers: tuple[Register, ...] = ()
    done: bool = False


_REFUSALS: dict[Reason, str] = {
    Reason.BAD_ACCOUNT: "В номере лицевого счёта должно быть 7 цифр{got}",
    Reason.UNKNOWN_ACCOUNT: "Л/с {account} не найден",
    Reason.ACCOUNT_CLOSED: "Л/с {account} закрыт, показания не принимаются",
    Reason.FOREIGN_METER: "Счётчик {detail} не относится к л/с {account}",
    Reason.METER_CLOSED: "Счётчик {detail} снят, его показания не принимаются",
    Reason.METER_NOT_READ_BY_CONSUMER: "Не принято: счётчик передаёт показания сам",
    Reason.READINGS_NOT_TAKEN: "Показания по л/с {account} не принимаются: нет исправного счётчика или проверки",
    Reason.TAKEN_IN_FUTURE: "Не принято: день снятия показания ещё не наступил",
    Reason.BAD_VALUE: "Не понято «{detail}»",
    Reason.TOO_FEW_VALUES: "Не принято: {need}{got}",
    Reason.TOO_MANY_VALUES: "Не принято: {need}{got}",
    Reason.TOO_MANY_DIGITS: "Не принято: в {quoted} больше цифр, чем на счётчике{capacity}",
    Reason.NOT_HELD: "Это показание не ждёт подтверждения: оно уже учтено, заменено или отклонено",
    Reason.OPERATOR_ONLY: "Это показание может подтвердить только оператор",
    Reason.VALUES_DIFFER: "Подтвердить можно только те значения, что были переданы",
    Reason.MEANING_REQUIRED: "Показание стало меньше: нужна причина, переход через ноль или ошибка в прежнем",
    Reason.BAD_MEANING: "Эта причина к показанию не подходит",
    Reason.UNKNOWN_READING: "Показание с таким номером не найдено",
    Reason.ACCOUNT_EXISTS: "Л/с {account} уже открыт",
    Reason.BAD_RESIDENTS: "Неверное число проживающих, собственников или комнат",
    Reason.BAD_DATES: "Неверные даты",
    Reason.BAD_METER: "Неверные данные счётчика",
    Reason.METER_EXISTS: "Такой счётчик уже установлен",
    Reason.NO_METER: "На л/с {account} нет счётчика",
    Reason.METER_NOT_FAILED: "Счётчик исправен",
    Reason.ALREADY_FAILED: "Счётчик уже числится неисправным",
    Reason.LESS_THAN_PREVIOUS: "Показание меньше прежнего",
    Reason.MORE_THAN_NEXT: "Показание больше более позднего",
    Reason.ACT_OUT_OF_ORDER: "Акт составлен раньше прежнего события со счётчиком",
    Reason.PERIOD_CLOSED: "Расчётный период уже закрыт",
    Reason.PERIOD_NOT_CLOSED: "Расчётный период ещё не закрыт",
    Reason.TOO_MANY_PERIODS: "Указано слишком много периодов",
    Reason.NOT_MIGRATING: "На л/с {account} уже есть своя история",
    Reason.PERIOD_NOT_OVER: "Расчётный период ещё не кончился",
    Reason.PERIOD_ALREADY_CLOSED: "Расчётный период уже закрыт",
    Reason.PERIOD_OUT_OF_ORDER: "Расчётные периоды закрываются по порядку",
    Reason.NO_TARIFF: "Тариф на этот период не опубликован",
    Reason.TARIFF_INCOMPLETE: "В тарифе на этот период нет нужной ставки",
    Reason.BAD_AMOUNT: "Сумма указана неверно",
    Reason.UNKNOWN_PAYMENT: "Такого платежа нет",
    Reason.PAYMENT_REVERSED: "Платёж уже отменён или возвращён",
    Reason.PAYMENT_MOVED: "Платёж уже перенесён на другой счёт",
    Reason.SAME_ACCOUNT: "Платёж уже на этом счёте",
    Reason.REFUND_ABOVE_CREDIT: "Сумма возврата больше переплаты",
    Reason.AMOUNT_TOO_SMALL: "Сумма меньше наименьшей для этого способа оплаты",
    Reason.AMOUNT_TOO_LARGE: "Сумма больше наибольшей для этого способа оплаты",
    Reason.COMMISSION_CHANGED: "Комиссия не та, что была показана",
    Reason.CANCELLED_TOO_LATE: "Платёж отменяют только в день приёма",
    Reason.BAD_RULEBOOK: "В правилах ошибка",
    Reason.PAST_CHARGED: "Изменение затрагивает уже начисленные периоды",
    Reason.RULEBOOK_CHANGED: "Правила тем временем опубликованы заново",
    Reason.NOTHING_CHANGES: "Правила не отличаются от действующих",
    Reason.ALREADY_LINKED: "Этот отправитель уже привязан к л/с {account}, или их слишком много",
    Reason.NOT_LINKED: "Этот отправитель не привязан к л/с {account}",
    Reason.BAD_ADDRESS: "Этот адрес нельзя привязать",
    Reason.NOT_UNDERSTOOD: "Не понято",
    Reason.MESSAGE_ID_REUSED: "Под этим номером уже было другое сообщение",
    Reason.BAD_MESSAGE_ID: "У сообщения нет верного идентификатора",
    Reason.RECEIVED_IN_FUTURE: "Время получения ещё не наступило",
    Reason.UNCONFIRMED_SENDER: "Не подтверждено, что вы можете менять показания л/с {account}",
    Reason.TOO_MANY_MESSAGES: "Не принято: слишком много попыток за день",
}

_HINTS: dict[Reason, str] = {
    Reason.BAD_ACCOUNT: "Пример: {example}",
    Reason.UNKNOWN_ACCOUNT: "Проверьте номер по квитанции и отправьте снова, пример: {example}",
    Reason.ACCOUNT_CLOSED: "Если это ошибка, звоните {hotline}",
    Reason.FOREIGN_METER: "Проверьте номера счётчика и счёта по квитанции, пример: {example}",
    Reason.METER_CLOSED: "Отправьте показание нового счётчика, пример: {example}",
    Reason.METER_NOT_READ_BY_CONSUMER: "Отправлять ничего не нужно",
    Reason.READINGS_NOT_TAKEN: "Закажите проверку или замену: {hotline}",
    Reason.TAKEN_IN_FUTURE: "Укажите день не позже сегодняшнего",
    Reason.BAD_VALUE: "Нужны целые кВт·ч, пример: {example}",
    Reason.TOO_FEW_VALUES: "Пример: {example}",
    Reason.TOO_MANY_VALUES: "Пример: {example}",
    Reason.TOO_MANY_DIGITS: "Без цифр после запятой, пример: {example}",
    Reason.NOT_HELD: "Чтобы исправить, отправьте новое: {example}",
    Reason.OPERATOR_ONLY: "Ошиблись – отправьте верное: {example}, иначе звоните {hotline}",
    Reason.VALUES_DIFFER: "Другие значения отправьте как новое показание: {example}",
    Reason.MEANING_REQUIRED: "Укажите причину и повторите",
    Reason.BAD_MEANING: "Укажите другую причину или отклоните показание",
    Reason.UNKNOWN_READING: "Проверьте номер в нашем ответе, он из 8 знаков",
    Reason.ACCOUNT_EXISTS: "Укажите другой номер счёта",
    Reason.BAD_RESIDENTS: "Проживающих от 0 до 100, собственников от 1 до 100, комнат от 1 до 30",
    Reason.BAD_DATES: "Проверьте даты: порядок и что день уже наступил; проживание и отсутствие — дольше 5 дней",
    Reason.BAD_METER: "Нужны номер, разрядность 5, 6 или 7 и зоны: одна, две или три",
    Reason.METER_EXISTS: "Проверьте номер счётчика",
    Reason.NO_METER: "Сначала введите счётчик в эксплуатацию",
    Reason.METER_NOT_FAILED: "Вернуть в работу можно только неисправный счётчик",
    Reason.ALREADY_FAILED: "Введите новый счётчик или верните этот в работу",
    Reason.LESS_THAN_PREVIOUS: "Укажите причину: переход через ноль или ошибка в прежнем",
    Reason.MORE_THAN_NEXT: "Проверьте значения и даты",
    Reason.ACT_OUT_OF_ORDER: "Проверьте дату акта",
    Reason.PERIOD_CLOSED: "Укажите дату в открытом периоде",
    Reason.PERIOD_NOT_CLOSED: "Назовите все начисленные периоды по порядку",
    Reason.TOO_MANY_PERIODS: "Не больше трёх закрытых периодов до акта",
    Reason.NOT_MIGRATING: "Историю переносят только на новый счёт",
    Reason.PERIOD_NOT_OVER: "Закройте период с 1-го числа следующего месяца",
    Reason.PERIOD_ALREADY_CLOSED: "Повторять закрытие не нужно",
    Reason.PERIOD_OUT_OF_ORDER: "Сначала закройте прежние периоды",
    Reason.NO_TARIFF: "Опубликуйте тариф и закройте период снова",
    Reason.TARIFF_INCOMPLETE: "Опубликуйте недостающую ставку и закройте период снова",
    Reason.BAD_AMOUNT: "Рубли и копейки больше нуля, до 10000000.00, например 1245.05",
    Reason.UNKNOWN_PAYMENT: "Укажите квитанцию платежа",
    Reason.PAYMENT_REVERSED: "Повторять не нужно",
    Reason.PAYMENT_MOVED: "Ищите платёж на счёте, куда он перенесён",
    Reason.SAME_ACCOUNT: "Укажите другой счёт",
    Reason.REFUND_ABOVE_CREDIT: "Верните не больше переплаты",
    Reason.AMOUNT_TOO_SMALL: "Заплатите больше или другим способом",
    Reason.AMOUNT_TOO_LARGE: "Разделите платёж или выберите другой способ",
    Reason.COMMISSION_CHANGED: "Покажите плательщику новую комиссию и повторите под новым номером",
    Reason.CANCELLED_TOO_LATE: "Подайте заявление о возврате",
    Reason.BAD_RULEBOOK: "Исправьте названные строки и опубликуйте снова",
    Reason.PAST_CHARGED: "Назовите причину перерасчёта или более позднюю дату",
    Reason.RULEBOOK_CHANGED: "Посмотрите действующие правила и опубликуйте снова",
    Reason.NOTHING_CHANGES: "Публиковать не нужно",
    Reason.ALREADY_LINKED: "Повторять привязку не нужно; лишнюю можно снять",
    Reason.NOT_LINKED: "Привяжите его кодом из личного кабинета",
    Reason.BAD_ADDRESS: "Укажите телефон, почту или чат",
    Reason.NOT_UNDERSTOOD: "Пример: {example}",
    Reason.MESSAGE_ID_REUSED: "Прежнее сообщение принято; новому нужен свой номер",
    Reason.BAD_MESSAGE_ID: "Идентификатор: от 1 до 200 знаков, для каждого сообщения свой",
    Reason.RECEIVED_IN_FUTURE: "Проверьте часы отправителя",
    Reason.UNCONFIRMED_SENDER: "Возьмите код в личном кабинете и отправьте: КОД и 8 знаков, или звоните {hotline}",
    Reason.TOO_MANY_MESSAGES: "Отправьте завтра или звоните {hotline}",
}

_HOLDS: dict[HoldReason, str] = {
    HoldReason.LESS_THAN_PREVIOUS: "меньше прежнего",
    HoldReason.IMPLAUSIBLE: "расход очень велик",
    HoldReason.MORE_THAN_NEXT: "больше более позднего показания",
    HoldReason.UNCONFIRMED_SENDER: "отправитель не подтверждён",
}


def answer(outcome: Outcome, *, linked: bool = False, deadline_day: int = DEADLINE_DAY) -> Words:
    """Say what became of a message.

    ``linked``: the sender may speak for the account. Anyone else gets no consumption and no previous value back, or a
    household's use could be asked for by its account number.
    """
    if outcome.status is Status.PARKED or not outcome.events:
        return Words(
            f"Сообщение №{outcome.receipt} получено, но показание пока не учтено", "Его разберёт оператор, ждите"
        )
    event = outcome.events[0]
    match event:
        case ReadingAccepted():
            return _accepted(outcome, event, linked=linked, deadline_day=deadline_day)
        case ReadingHeld():
            return _held(outcome, event, linked=linked)
        case ReadingConfirmed():
            text = f"Подтверждено №{outcome.receipt}: показание по л/с {outcome.account} принято"
            if _counts_not(event.reading, outcome.events):
                return Words(text, _ANOTHER_COUNTS.format(month(event.period, event.confirmed_at)))
            return Words(text, f"Учтено за {month(event.period, event.confirmed_at)}")
        case ReadingRejected():
            return Words(f"№{outcome.receipt}: показание отклонено", "Чтобы исправить, отправьте новое")
        case ReadingRefused():
            return refusal(event.reason, event.expected, outcome.account, detail=event.detail, capacity=event.capacity)
        case CommandRefused():
            return refusal(event.reason, (), outcome.account)
        case _:
            return Words(f"Записано №{outcome.receipt}, л/с {outcome.account}", "Больше ничего делать не нужно")


def refusal(
    reason: Reason,
    registers: Sequence[Register] = (),
    account: str = "",
    *,
    detail: str | None = None,
    capacity: int | None = None,
) -> Words:
    """Say what is wrong, and how to do it right. ``detail`` is the refusal event's own."""
    shown = _shown(detail or "")
    if reason is Reason.BAD_VALUE and (not shown or _is_number(shown)):
        # The number itself is right, but nobody can tell for which zone.
        text = f"Не понятно, к какой зоне относится {shown}" if shown else "Не понято одно из значений"
        return Words(text, hint(reason, registers, account))
    if reason is Reason.NOT_UNDERSTOOD and shown:
        whose = "кода из личного кабинета" if shown == "КОД" else "номера из нашего ответа"
        return Words(f"Не понято: нужен номер после {shown}", f"Напишите {shown} и 8 знаков {whose}")
    text = _REFUSALS[reason].format(
        account=account or "с таким номером",
        detail=shown,
        quoted=f"«{shown}»" if shown else "значении",
        capacity=f" ({capacity})" if capacity is not None else "",
        need=_needed(registers),
        got=_got(reason, shown),
    )
    return Words(" ".join(text.split()), hint(reason, registers, account))


def hint(reason: Reason, registers: Sequence[Register] = (), account: str = "") -> str:
    """Say how to do it right: the next step, or a correct example for this meter and account."""
    known = "" if reason is Reason.UNKNOWN_ACCOUNT else account
    return _HINTS[reason].format(example=example(registers, known), hotline=HOTLINE)


def example(registers: Sequence[Register] = (), account: str = "") -> str:
    """Write a correct message for a meter: ``1000003#12345#6789``."""
    number = account if len(account) == 7 and account.isascii() and account.isdigit() else EXAMPLE_ACCOUNT
    values = [_EXAMPLES[register] for register in _in_order(registers or (Register.TOTAL,))]
    return "#".join((number, *values))


def hold(reason: HoldReason) -> str:
    """Say in a few words why a reading is held."""
    return _HOLDS[reason]


def state(receipt: str, found: ReceiptState | None) -> Words:
    """Say what became of a receipt. Values are left out: whoever has the number need not be the one who sent it."""
    if found is None:
        return Words(f"Номер {_shown(receipt)} не найден", hint(Reason.UNKNOWN_READING))
    name = f"№{found.receipt}, л/с {found.account}" if found.account else f"№{found.receipt}"
    period = f" за {month(found.period)}" if found.period is not None else ""
    again = f"Чтобы исправить, отправьте новое: {example(found.registers, found.account)}"
    match found.status:
        case None if found.done:
            return Words(f"{name}: выполнено", "Больше ничего делать не нужно")
        case None:
            return Words(f"{name}: получено, показание пока не учтено", "Его разберёт оператор, ждите")
        case ReadingStatus.ACCEPTED if found.billed:
            return Words(f"{name}: показание вошло в счёт{period}", "Больше ничего делать не нужно")
        case ReadingStatus.ACCEPTED:
            return Words(f"{name}: показание принято", f"Войдёт в счёт{period}")
        case ReadingStatus.HELD:
            why = f", {hold(found.reason)}" if isinstance(found.reason, HoldReason) else ""
            if found.reason is HoldReason.UNCONFIRMED_SENDER:
                return Words(f"{name}: на проверке{why}", _CONFIRM_BY_CODE)
            if found.reason is HoldReason.IMPLAUSIBLE:
                return Words(f"{name}: на проверке{why}", f"Если верно, ответьте ДА {found.receipt}")
            return Words(f"{name}: на проверке{why}", f"Решит оператор. {again}")
        case ReadingStatus.SUPERSEDED:
            return Words(f"{name}: заменено более поздним показанием", again)
        case ReadingStatus.DISPROVED:
            return Words(f"{name}: опровергнуто контрольным показанием", again)
        case ReadingStatus.DISREGARDED:
            return Words(
                f"{name}: не учитывается, прибор неисправен или не было допуска", f"Подробнее по телефону {HOTLINE}"
            )
        case ReadingStatus.REJECTED:
            return Words(f"{name}: отклонено оператором", again)
        case ReadingStatus.REFUSED:
            if not isinstance(found.reason, Reason):
                return Words(f"{name}: не принято", again)
            if found.reason in _WITH_FACTS:
                # The numbers that were wrong stood in the first answer.
                return Words(f"{name}: {_WITH_FACTS[found.reason]}", again)
            return refusal(found.reason, found.registers, found.account)


def in_sms(words: Words, receipt: str) -> str:
    """Join words and receipt into one SMS of at most three parts; the hint is left out where all is too long."""
    text = words.text if receipt in words.text else f"№{receipt}: {words.text}"
    whole = f"{text}. {words.hint}"
    if len(whole) <= SMS_LENGTH_MAX:
        return whole
    return text if len(text) <= SMS_LENGTH_MAX else f"{text[: SMS_LENGTH_MAX - 1]}…"


def plural(number: int, one: str, few: str, many: str) -> str:
    """Choose the form after a number: 1 показание, 2 показания, 5 показаний, 11 показаний."""
    if number % 100 in range(11, 15):
        return many
    return one if number % 10 == 1 else few if number % 10 in (2, 3, 4) else many


def month(period: Period, seen_at: datetime | None = None) -> str:
    """Name a period as in «за май»; with its year where that is not the year of ``seen_at``."""
    name, year = MONTHS[int(period[5:]) - 1], int(period[:4])
    return name if seen_at is not None and moscow_date(seen_at).year == year else f"{name} {year}"


_CONFIRM_BY_CODE = "Код – в личном кабинете, отправьте: КОД и 8 знаков"
_ANOTHER_COUNTS = "Но за {} действует другое показание, в счёт войдёт оно"

_WITH_FACTS = {
    Reason.BAD_VALUE: "не принято, значение не понято",
    Reason.TOO_FEW_VALUES: "не принято, мало значений",
    Reason.TOO_MANY_VALUES: "не принято, лишние значения",
    Reason.TOO_MANY_DIGITS: "не принято, слишком много цифр",
    Reason.FOREIGN_METER: "не принято, счётчик другого счёта",
    Reason.METER_CLOSED: "не принято, счётчик снят",
}


def _accepted(outcome: Outcome, event: ReadingAccepted, *, linked: bool, deadline_day: int) -> Words:
    usage = f", расход {sum(event.delta.values())} кВт·ч" if linked else ""
    text = f"Принято №{outcome.receipt}: л/с {outcome.account}, {echo(event.values)}{usage}"
    if _counts_not(outcome.version, outcome.events):
        return Words(text, _ANOTHER_COUNTS.format(month(event.period, event.received_at)))
    received = moscow_date(event.received_at)
    counts = f"войдёт в счёт за {month(event.period, event.received_at)}"
    if (int(event.period[:4]), int(event.period[5:])) > (received.year, received.month):
        return Words(text, f"Передано после {deadline_day}-го: {counts}")
    return Words(text, f"В{counts[1:]}")


def _held(outcome: Outcome, event: ReadingHeld, *, linked: bool) -> Words:
    registers = tuple(event.values)
    again = f"Ошиблись – отправьте верное: {example(registers, outcome.account)}"
    down = [r for r in _in_order(registers) if event.values[r] < (event.previous or {}).get(r, 0)]
    name = f"Не учтено №{outcome.receipt}"
    if _counts_not(outcome.version, outcome.events):
        another = _ANOTHER_COUNTS.format(month(event.period, event.received_at))
        return Words(f"{name}: {hold(event.reason)}", another)
    match event.reason:
        case HoldReason.IMPLAUSIBLE:
            usage = f"расход {sum(event.delta.values())} кВт·ч очень велик" if linked else hold(event.reason)
            if down:
                return Words(f"{name}: {usage}. Проверит оператор", again)
            return Words(f"{name}: {echo(event.values)}, {usage}", f"Если верно, ответьте ДА {outcome.receipt}")
        case HoldReason.LESS_THAN_PREVIOUS:
            register = down[0] if down else registers[0]
            previous = f" {event.previous[register]}" if linked and event.previous else ""
            what = f"{_named(register)}{event.values[register]}"
            return Words(f"{name}: {what} {hold(event.reason)}{previous}. Проверит оператор", again)
        case HoldReason.MORE_THAN_NEXT:
            return Words(f"{name}: {echo(event.values)} {hold(event.reason)}. Проверит оператор", again)
        case HoldReason.UNCONFIRMED_SENDER:
            return Words(f"{name}: {echo(event.values)}. Подтвердите по ссылке или кодом", _CONFIRM_BY_CODE)


def echo(values: Kwh) -> str:
    """Repeat what was understood, zones by name: «полупик 6402, ночь 4280, пик 2150»."""
    return ", ".join(f"{_named(register)}{values[register]}" for register in _in_order(tuple(values)))


def _named(register: Register) -> str:
    return "" if register is Register.TOTAL else f"{ZONE_NAMES[register]} "


def _in_order(registers: Sequence[Register]) -> list[Register]:
    return [register for register in _SPOKEN_ORDER if register in registers]


def _counts_not(reading: int | None, events: tuple[Event, ...]) -> bool:
    return any(isinstance(e, ReadingSuperseded | ReadingDisproved) and e.reading == reading for e in events)


def _needed(registers: Sequence[Register]) -> str:
    number = len(registers)
    if number == 0:
        return "нужно показание каждой зоны"
    zones = f" ({', '.join(ZONE_NAMES[r] for r in _in_order(registers))})" if number > 1 else ""
    return f"нужно {number} {plural(number, 'показание', 'показания', 'показаний')}{zones}"


def _got(reason: Reason, detail: str) -> str:
    number = detail.partition("/")[0]
    if reason is Reason.BAD_ACCOUNT and number == "letters":
        return ", без букв"
    if not (number.isascii() and number.isdigit()):
        return ""
    count = int(number)
    if reason is Reason.BAD_ACCOUNT:
        return f", у вас {count}"
    return f", у вас {count}" if count else ", у вас ни одного"


def _shown(text: str) -> str:
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= _SHOWN_MAX else f"{clean[: _SHOWN_MAX - 1]}…"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
