"""Every event in Russian words that a consumer, an operator and an auditor understand."""

from __future__ import annotations

from datetime import date, datetime
from typing import assert_never

from bels.domain.events import (
    AbsenceRegistered,
    AccessRefused,
    AccountClosed,
    AccountOpened,
    Average,
    ChannelLinked,
    ChannelUnlinked,
    CommandRefused,
    ControlReadingTaken,
    EstimationModeChanged,
    Event,
    InspectionDue,
    InterferenceFound,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    Norm,
    PeriodCarriedOver,
    PeriodClosed,
    PeriodMissed,
    ReadingAccepted,
    ReadingCarriedOver,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
    ResidentsChanged,
    TemporaryResidentsRegistered,
    UsageRecalculated,
)
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
    RulebookPublished,
)
from bels.domain.periods import MOSCOW
from bels.domain.terms import (
    Channel,
    FailureCause,
    HoldReason,
    Kwh,
    Locality,
    Mode,
    Money,
    Period,
    Purpose,
    ReadingKind,
    Reason,
    RecalculationReason,
    Register,
    Role,
    Rule,
    Stove,
)

REGISTERS = {
    Register.TOTAL: "всего",
    Register.DAY: "день",
    Register.PEAK: "пик",
    Register.HALF_PEAK: "полупик",
    Register.NIGHT: "ночь",
}
MODES = {
    Mode.METERED: "по показаниям",
    Mode.AVERAGE: "по среднемесячному объёму",
    Mode.NORMATIVE: "по нормативу",
    Mode.NORMATIVE_INCREASED: "по нормативу с повышающим коэффициентом",
}
CHANNELS = {
    Channel.WEB: "сайт",
    Channel.CABINET: "личный кабинет",
    Channel.MOBILE: "приложение",
    Channel.SMS: "SMS",
    Channel.VOICE: "голосовое меню",
    Channel.EMAIL: "электронная почта",
    Channel.TELEGRAM: "Telegram",
    Channel.MAX: "MAX",
    Channel.OFFICE: "офис",
    Channel.INSPECTOR: "инспектор",
    Channel.GIS: "ГИС ЖКХ",
    Channel.BANK: "банк",
    Channel.REMOTE: "дистанционный опрос",
    Channel.CLOSING: "закрытие периода",
    Channel.MIGRATION: "перенос данных",
}
HOLDS = {
    HoldReason.LESS_THAN_PREVIOUS: "меньше прежнего",
    HoldReason.IMPLAUSIBLE: "расход неправдоподобно велик",
    HoldReason.MORE_THAN_NEXT: "больше более позднего показания",
    HoldReason.UNCONFIRMED_SENDER: "отправитель не подтверждён",
}
RULES = {
    Rule.APP2_F1: "ПП 354, прил. 2, ф. 1",
    Rule.APP2_F4: "ПП 354, прил. 2, ф. 4",
    Rule.P59B: "ПП 354, п. 59 «б»",
    Rule.P59G: "ПП 354, п. 59 «г»",
    Rule.P59_2: "ПП 354, п. 59(2)",
    Rule.P60: "ПП 354, п. 60",
    Rule.P60_3: "ПП 354, п. 60(3)",
    Rule.P61: "ПП 354, п. 61",
    Rule.P62: "ПП 354, п. 62",
    Rule.P84: "ПП 354, п. 84",
    Rule.P56_2: "ПП 354, п. 56(2)",
    Rule.P86: "ПП 354, п. 86",
    Rule.REDISTRIBUTE: "порядок поставщика: распределение по дням",
    Rule.IN_PERIOD: "порядок поставщика: расчёт в периоде показания",
    Rule.NEXT_PERIOD: "порядок поставщика: расчёт в следующем периоде",
    Rule.PREVIOUS_WRONG: "порядок поставщика: прежнее показание ошибочно",
    Rule.RETROACTIVE_TARIFF: "опубликован тариф за прошедшее время",
    Rule.ZHK155: "ЖК РФ, ст. 155",
}
CAUSES = {
    FailureCause.FAILED: "вышел из строя",
    FailureCause.LOST: "утрачен",
    FailureCause.VERIFICATION_EXPIRED: "истёк срок поверки",
    FailureCause.NO_FINAL_VALUES: "снят без конечных показаний",
}
GROUNDS = {
    RecalculationReason.SETTLEMENT: "получено показание",
    RecalculationReason.CONTROL: "снято контрольное показание",
    RecalculationReason.CONTROL_PROVEN: "потребитель доказал время потребления",
    RecalculationReason.PREVIOUS_WRONG: "прежнее показание ошибочно",
    RecalculationReason.INTERFERENCE: "установлено вмешательство в прибор учёта",
    RecalculationReason.TARIFF_CHANGED: "изменён тариф за прошедший период",
}
ROLES = {
    Role.CONSUMER: "потребитель",
    Role.AGENT: "платёжный агент",
    Role.OPERATOR: "оператор",
    Role.INSPECTOR: "инспектор",
    Role.REMOTE: "дистанционный опрос",
    Role.SYSTEM: "система",
}
LOCALITIES = {Locality.URBAN: "город", Locality.RURAL: "село"}
STOVES = {Stove.GAS: "газовая плита", Stove.ELECTRIC: "электроплита"}
REASONS = {
    Reason.BAD_ACCOUNT: "в номере лицевого счёта должно быть 7 цифр",
    Reason.UNKNOWN_ACCOUNT: "лицевой счёт не найден",
    Reason.ACCOUNT_CLOSED: "лицевой счёт закрыт",
    Reason.FOREIGN_METER: "прибор учёта не относится к этому лицевому счёту",
    Reason.METER_CLOSED: "прибор учёта снят",
    Reason.METER_NOT_READ_BY_CONSUMER: "прибор учёта передаёт показания сам",
    Reason.READINGS_NOT_TAKEN: "показания сейчас не принимаются: нет исправного прибора учёта или не было допуска",
    Reason.TAKEN_IN_FUTURE: "показание снято позже, чем передано",
    Reason.BAD_VALUE: "показание должно состоять из цифр",
    Reason.TOO_FEW_VALUES: "указаны не все зоны прибора учёта",
    Reason.TOO_MANY_VALUES: "указаны зоны, которых нет у прибора учёта",
    Reason.TOO_MANY_DIGITS: "в показании больше цифр, чем у прибора учёта",
    Reason.NOT_HELD: "показание не ждёт подтверждения",
    Reason.OPERATOR_ONLY: "подтвердить может только оператор",
    Reason.VALUES_DIFFER: "подтверждаются другие значения",
    Reason.MEANING_REQUIRED: "нужно сказать: переход через ноль или прежнее показание ошибочно",
    Reason.BAD_MEANING: "это объяснение здесь невозможно",
    Reason.UNKNOWN_READING: "такого показания нет",
    Reason.ACCOUNT_EXISTS: "такой лицевой счёт уже есть",
    Reason.BAD_RESIDENTS: "неверное число проживающих, собственников или комнат",
    Reason.BAD_DATES: "даты стоят в неверном порядке или вне допустимых пределов",
    Reason.BAD_METER: "неверные данные прибора учёта: номер, разрядность 5–7, зоны",
    Reason.METER_EXISTS: "прибор учёта уже установлен",
    Reason.NO_METER: "прибора учёта нет",
    Reason.METER_NOT_FAILED: "прибор учёта исправен",
    Reason.ALREADY_FAILED: "прибор учёта уже признан неисправным",
    Reason.LESS_THAN_PREVIOUS: "конечное показание меньше прежнего: нужно сказать, почему",
    Reason.MORE_THAN_NEXT: "показание больше более позднего",
    Reason.ACT_OUT_OF_ORDER: "акт старше действующего прибора учёта",
    Reason.PERIOD_CLOSED: "расчётный период уже закрыт",
    Reason.PERIOD_NOT_CLOSED: "расчётный период ещё не закрыт",
    Reason.TOO_MANY_PERIODS: "допустимо от одного до трёх периодов",
    Reason.NOT_MIGRATING: "перенести можно только новый лицевой счёт",
    Reason.PERIOD_NOT_OVER: "расчётный период ещё не закончился",
    Reason.PERIOD_ALREADY_CLOSED: "расчётный период уже закрыт",
    Reason.PERIOD_OUT_OF_ORDER: "сначала закрываются более ранние периоды",
    Reason.NO_TARIFF: "тариф на этот период не опубликован",
    Reason.TARIFF_INCOMPLETE: "в тарифе на этот период нет нужной ставки",
    Reason.BAD_AMOUNT: "сумма должна быть больше нуля, в рублях и целых копейках, не больше 10 000 000 рублей",
    Reason.UNKNOWN_PAYMENT: "такого платежа нет",
    Reason.PAYMENT_REVERSED: "платёж уже отменён или возвращён",
    Reason.PAYMENT_MOVED: "платёж уже перенесён на другой лицевой счёт",
    Reason.SAME_ACCOUNT: "платёж уже на этом лицевом счёте",
    Reason.REFUND_ABOVE_CREDIT: "вернуть можно не больше переплаты",
    Reason.AMOUNT_TOO_SMALL: "сумма меньше наименьшей для этого способа оплаты",
    Reason.AMOUNT_TOO_LARGE: "сумма больше наибольшей для этого способа оплаты",
    Reason.COMMISSION_CHANGED: "комиссия отличается от показанной плательщику",
    Reason.CANCELLED_TOO_LATE: "отменить платёж можно только в день приёма, позже его возвращают по заявлению",
    Reason.BAD_RULEBOOK: "правила составлены с ошибкой",
    Reason.PAST_CHARGED: "изменение затрагивает уже начисленные периоды",
    Reason.RULEBOOK_CHANGED: "правила тем временем опубликованы заново",
    Reason.NOTHING_CHANGES: "правила не отличаются от действующих",
    Reason.ALREADY_LINKED: "отправитель уже привязан",
    Reason.NOT_LINKED: "отправитель не привязан",
    Reason.BAD_ADDRESS: "такой отправитель не может быть привязан",
    Reason.NOT_UNDERSTOOD: "сообщение не понято",
    Reason.MESSAGE_ID_REUSED: "под этим идентификатором уже было другое сообщение",
    Reason.BAD_MESSAGE_ID: "у сообщения должен быть идентификатор от 1 до 200 знаков",
    Reason.RECEIVED_IN_FUTURE: "время получения ещё не наступило",
    Reason.UNCONFIRMED_SENDER: "отправитель не подтверждён",
    Reason.TOO_MANY_MESSAGES: "слишком много попыток за день",
}
MONTHS = (
    "январь",
    "февраль",
    "март",
    "апрель",
    "май",
    "июнь",
    "июль",
    "август",
    "сентябрь",
    "октябрь",
    "ноябрь",
    "декабрь",
)


def month(period: Period | str) -> str:
    """Name a period: «май 2024»."""
    return f"{MONTHS[int(period[5:7]) - 1]} {period[:4]}"


def day(on: date) -> str:
    """Write a date: 05.06.2024."""
    return on.strftime("%d.%m.%Y")


def moment(at: datetime) -> str:
    """Write an instant in Moscow time: 05.06.2024 12:00."""
    return at.astimezone(MOSCOW).strftime("%d.%m.%Y %H:%M")


def kwh(used: Kwh) -> str:
    """Write kWh per register: «день 130, ночь 55 кВт·ч»."""
    return f"{values(used)} кВт·ч"


def values(shown: Kwh) -> str:
    """Write what the registers show: «день 4321, ночь 1200»; one register alone has no name."""
    if set(shown) == {Register.TOTAL}:
        return str(shown[Register.TOTAL])
    return ", ".join(f"{REGISTERS[register]} {value}" for register, value in shown.items()) or "0"


def words(event: Event) -> str:
    """Say what happened, in one or two Russian sentences."""
    match event:
        case ReadingAccepted():
            return (
                f"Принято показание {values(event.values)} за {month(event.period)}: "
                f"расход {kwh(event.delta)} от показания №{event.base}."
            )
        case PeriodClosed():
            return _closed(event)
        case ReadingSuperseded():
            return f"Показание №{event.reading} заменено более поздним №{event.by}."
        case PeriodMissed():
            return f"За {month(event.period)} показание не передано, периодов подряд: {event.missed_in_a_row}."
        case UsageRecalculated():
            return (
                f"Перерасчёт за {month(event.period)} в счёте за {month(event.posted_in)}: было {kwh(event.before)}, "
                f"стало {kwh(event.after)}{_in_money(event)}. Основание: {GROUNDS[event.reason]}, {RULES[event.rule]}"
                f"{f' ({event.ground})' if event.ground else ''}."
            )
        case EstimationModeChanged():
            before = f" (прежде {MODES[event.before]})" if event.before is not None else ""
            return f"С периода {month(event.period)} начисление {MODES[event.after]}{before}."
        case ReadingHeld():
            limit = f", больше {event.limit} кВт·ч" if event.limit is not None else ""
            return (
                f"Показание {values(event.values)} за {month(event.period)} не учтено, на проверке: "
                f"{HOLDS[event.reason]}{limit}."
            )
        case ReadingRefused():
            given = ", ".join(f"{_register(name)}«{text}»" for name, text in event.values.items())
            return f"Показание {given or 'без значений'} не принято: {REASONS[event.reason]}."
        case ReadingConfirmed():
            kind = ", прежнее показание ошибочно" if event.kind is ReadingKind.PREVIOUS_WRONG else ""
            rollover = ", переход через ноль" if event.rollover else ""
            return (
                f"Показание №{event.reading} подтверждено ({ROLES[event.role]}{kind}{rollover}) "
                f"и учтено за {month(event.period)}."
            )
        case ReadingRejected():
            return f"Показание №{event.reading} отклонено оператором: {event.note or 'без пояснения'}."
        case ReadingDisproved():
            return f"Показание №{event.reading} опровергнуто показанием №{event.by}."
        case ReadingDisregarded():
            return f"Показание №{event.reading} больше не учитывается ({RULES[event.rule]}, запись №{event.by})."
        case _:
            return _of_account_and_acts(event)


def _of_account_and_acts(
    event: AccountOpened
    | AccountClosed
    | ResidentsChanged
    | TemporaryResidentsRegistered
    | AbsenceRegistered
    | MeterInstalled
    | MeterRestored
    | MeterRemoved
    | MeterFailed
    | ReadingCarriedOver
    | PeriodCarriedOver
    | ControlReadingTaken
    | AccessRefused
    | InterferenceFound
    | InspectionDue
    | ChannelLinked
    | ChannelUnlinked
    | BalanceCarriedOver
    | PenaltyAccrued
    | PaymentReceived
    | PaymentReversed
    | RefundMade
    | PaymentMovedOut
    | PaymentMovedIn
    | RulebookPublished
    | CommandRefused,
) -> str:
    match event:
        case AccountOpened():
            return (
                f"Открыт лицевой счёт: {LOCALITIES[event.locality]}, {STOVES[event.stove]}, комнат {event.rooms}, "
                f"проживает {event.permanent}, собственников {event.owners}; первый период {month(event.first_period)}."
            )
        case AccountClosed():
            return (
                f"Лицевой счёт закрыт, последний период {month(event.last_period)}. Основание: {event.ground or '—'}."
            )
        case ResidentsChanged():
            on = day(event.effective_on)
            return f"С {on} проживает {event.permanent}, собственников {event.owners}."
        case TemporaryResidentsRegistered():
            return f"Временно проживает {event.persons}: с {day(event.since)} до {day(event.until)}."
        case AbsenceRegistered():
            return f"Временно отсутствует {event.persons}: уезд {day(event.left_on)}, возвращение {day(event.returned_on)}."
        case MeterInstalled():
            zones = ", ".join(REGISTERS[r] for r in event.meter.registers if r is not Register.TOTAL) or "один тариф"
            return (
                f"Введён в эксплуатацию прибор учёта {event.meter.number} ({event.meter.capacity} разрядов, {zones}) "
                f"с показанием {values(event.values)}{_act(event.act)}."
            )
        case MeterRestored():
            return f"Прибор учёта возвращён в работу с показанием {values(event.values)}{_act(event.act)}."
        case MeterRemoved():
            return f"Снят прибор учёта с показанием {values(event.values)}{_act(event.act)}."
        case MeterFailed():
            return (
                f"Прибор учёта {CAUSES[event.cause]}: с периода {month(event.period)} начисление "
                f"по среднемесячному объёму ({RULES[event.rule]}){_act(event.act)}."
            )
        case ReadingCarriedOver():
            return f"Перенесено показание {values(event.values)} за {month(event.period)} из прежней системы."
        case PeriodCarriedOver():
            return f"Период {month(event.period)} начислен в прежней системе {MODES[event.mode]}: {kwh(event.usage)}."
        case ControlReadingTaken():
            return (
                f"Снято контрольное показание {values(event.values)}: разница с показанием №{event.base} — "
                f"{kwh(event.difference)} ({RULES[event.rule]}){_act(event.act)}."
            )
        case AccessRefused():
            return f"Акт о недопуске, {event.number}-й с последней проверки ({RULES[event.rule]}){_act(event.act)}."
        case InterferenceFound():
            periods = ", ".join(month(p) for p in event.periods)
            return f"Установлено вмешательство в прибор учёта за {periods} ({RULES[event.rule]}){_act(event.act)}."
        case InspectionDue():
            return f"Шесть периодов без показаний: проверка до {day(event.due_on)} ({RULES[event.rule]})."
        case ChannelLinked():
            return f"Отправитель привязан к счёту ({CHANNELS[event.channel]})."
        case ChannelUnlinked():
            return f"Отправитель отвязан от счёта ({CHANNELS[event.channel]}). Основание: {event.ground or '—'}."
        case CommandRefused():
            detail = f" ({event.detail})" if event.detail else ""
            return f"Отклонено {event.command}{detail}: {REASONS[event.reason]}."
        case _:
            return _of_money(event)


def _of_money(
    event: BalanceCarriedOver
    | PenaltyAccrued
    | PaymentReceived
    | PaymentReversed
    | RefundMade
    | PaymentMovedOut
    | PaymentMovedIn
    | RulebookPublished,
) -> str:
    match event:
        case PaymentReceived():
            text = f"Получен платёж {event.reference} от {day(event.paid_on)}: {roubles(event.amount)}{_purpose(event.purpose)}"
            if event.unallocated is not None:
                return f"{text}. Не разнесён на счёт {event.meant_for}: {REASONS[event.unallocated]}."
            return f"{text}."
        case PaymentReversed():
            return (
                f"Платёж №{event.payment} ({event.reference}) отменён: {roubles(event.amount)}{_purpose(event.purpose)}. "
                f"Основание: {event.ground or '—'}."
            )
        case RefundMade():
            return f"Возвращена переплата {roubles(event.amount)}. Основание: {event.ground or '—'}."
        case PaymentMovedOut():
            return (
                f"Платёж №{event.payment} ({event.reference}) на {roubles(event.amount)} перенесён на счёт {event.to}. "
                f"Основание: {event.ground or '—'}."
            )
        case PaymentMovedIn():
            source = "из невыясненных платежей" if event.source.startswith("suspense-") else f"со счёта {event.source}"
            return (
                f"Платёж {event.reference} от {day(event.paid_on)} на {roubles(event.amount)} перенесён {source}. "
                f"Основание: {event.ground or '—'}."
            )
        case PenaltyAccrued():
            months = ", ".join(month(s.period) for s in event.sums)
            return (
                f"Пени в счёте за {month(event.period)} по {day(event.through)}: {roubles(event.amount)} "
                f"на долг за {months} ({RULES[event.rule]})."
            )
        case BalanceCarriedOver():
            penalty = f", пени {roubles(event.penalty)}" if event.penalty else ""
            return f"Перенесено сальдо за {month(event.period)}: {roubles(event.balance)}{penalty}."
        case RulebookPublished():
            since = f", цены меняются с периода {month(event.since)}" if event.since is not None else ""
            reason = f" Основание для прошедших периодов: {event.retroactive}." if event.retroactive else ""
            return f"Опубликованы правила {event.book.version}{since}. Источник: {event.source}.{reason}"
        case _ as never:
            assert_never(never)


def roubles(amount: Money) -> str:
    """Write a sum: «1 245,05 ₽», with no-break spaces."""
    return f"{amount:,.2f}".replace(",", "\u00a0").replace(".", ",").replace("-", "−") + "\u00a0₽"


def _purpose(purpose: Purpose) -> str:
    return " на пени" if purpose is Purpose.PENALTY else ""


def _act(act: str) -> str:
    if not act:
        return ""
    # Many write what it is before its number: «Акт допуска 17».
    return f", {act[0].lower()}{act[1:]}" if act.casefold().startswith("акт ") else f", акт {act}"


def _register(name: str) -> str:
    """Name a register as it was given; one register alone has no name, and what we do not know is said as it came."""
    known = set(Register)
    return "" if name == Register.TOTAL else f"{REGISTERS[Register(name)] if name in known else name} "


def _closed(event: PeriodClosed) -> str:
    text = f"Период {month(event.period)} закрыт {MODES[event.mode]}: {kwh(event.usage)}"
    if event.average is not None:
        text += _average(event.average)
    elif event.norm is not None:
        text += _norm(event.norm)
    rules = ", ".join(dict.fromkeys(RULES[line.rule] for line in event.lines))
    wait = " Переданное показание учитывается в следующем счёте." if event.deferred else ""
    money = ""
    if event.due_on is not None:
        money = f" Начислено {roubles(event.charged)}"
        if event.recalculated:
            money += f", перерасчёты {roubles(event.recalculated)}, всего {roubles(event.bill)}"
        money += f", оплатить до {day(event.due_on)}."
    return f"{text} ({rules}).{wait}{money}"


def _in_money(event: UsageRecalculated) -> str:
    if not event.rulebook:
        return ""
    return (
        f"; было {roubles(event.money_before)}, стало {roubles(event.money_after)}, разница {roubles(event.difference)}"
    )


def _average(average: Average) -> str:
    return (
        f"; в среднем за {average.periods} мес. между показаниями №{average.since} и №{average.until}: "
        f"{kwh(average.kwh)}"
    )


def _norm(norm: Norm) -> str:
    return f"; норматив {norm.per_person} кВт·ч на человека, человек {norm.residents}"
