"""The accounts to try: each shows one situation of the trade, the same in every town."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

from bels.demo.household import HELD, LAST_READING_DAY, LAST_READING_HOUR, THREE, TWO, Household
from bels.demo.payments import Habit
from bels.domain.commands import (
    CarriedPeriod,
    CarriedReading,
    CarryOverHistory,
    CloseAccount,
    ConfirmReading,
    RecordAccessRefusal,
    RecordInterference,
    RegisterTemporaryResidents,
    RejectReading,
    RemoveMeter,
    ReportMeterFailure,
    RestoreMeter,
    TakeControlReading,
)
from bels.domain.periods import MOSCOW, first_day, period_of, shift
from bels.domain.terms import Channel, FailureCause, Locality, Meaning, Mode, Register, Role, Stove


@dataclass(frozen=True, slots=True)
class Situation:
    """An account of the town that shows one thing: what, and how it comes about."""

    text: str
    live: Callable[[Household], None]
    draws: Mapping[str, object] = field(default_factory=dict)
    habit: Habit = Habit.WHOLE


def _regular(h: Household) -> None:
    h.send_every_month(until_ago=1)


def _first(h: Household) -> None:
    h.send_every_month(until_ago=2)
    h.send(1, LAST_READING_DAY, Channel.SMS, hour=LAST_READING_HOUR)


def _one_missed(h: Household) -> None:
    h.send_every_month(until_ago=2)


def _long_silence(h: Household) -> None:
    h.send_every_month(since_ago=99, until_ago=8)


def _settled(h: Household) -> None:
    h.send_every_month(until_ago=5)
    h.send(1)


def _held(h: Household) -> None:
    h.send_every_month(until_ago=1)
    h.send_at(h.town.until - timedelta(hours=20), Channel.SMS, more=30_000)


def _held_confirmed(h: Household) -> None:
    h.send_every_month(until_ago=3)
    at = h.at(2, 19)
    held = h.send_at(at, Channel.MOBILE, more=2500)
    later = at + timedelta(days=1)
    h.act(later, ConfirmReading(HELD, later, Role.CONSUMER), Channel.MOBILE, held)
    h.send(1, more=2500)


def _rollover_by_operator(h: Household) -> None:
    h.send_every_month(until_ago=3)
    at = h.at(2, 18)
    h.shown(at, {Register.TOTAL: 40})
    held = h.send_at(at, Channel.CABINET)
    later = at + timedelta(days=2)
    note = "Фото прибора: прошёл через ноль"
    h.act(later, ConfirmReading(HELD, later, Role.OPERATOR, meaning=Meaning.ROLLOVER, note=note), Channel.OFFICE, held)
    h.send(1)


def _previous_wrong(h: Household) -> None:
    h.send_every_month(until_ago=4)
    h.send(3, more=300)
    at = h.at(2, 20)
    held = h.send_at(at, Channel.WEB)
    later = at + timedelta(days=1)
    wrong = ConfirmReading(HELD, later, Role.OPERATOR, meaning=Meaning.PREVIOUS_WRONG, note="Фото прибора")
    h.act(later, wrong, Channel.OFFICE, held)
    h.send(1)


def _rejected(h: Household) -> None:
    h.send_every_month(until_ago=2)
    at = h.at(1, 19)
    held = h.send_at(at, Channel.VOICE, more=-900)
    later = at + timedelta(days=1)
    h.act(later, RejectReading(HELD, later, "Потребитель ошибся счётчиком"), Channel.OFFICE, held)


def _replaced(h: Household) -> None:
    h.send_every_month(until_ago=5)
    h.replace_meter(h.at(4, 14, 11), TWO)
    h.send_every_month(since_ago=4, until_ago=1)


def _failed(h: Household) -> None:
    h.send_every_month(until_ago=6)
    at = h.at(5, 11, 12)
    h.act(at, ReportMeterFailure(at, FailureCause.FAILED, "Акт: прибор не считает"), Channel.INSPECTOR)
    h.send(3, channel=Channel.SMS)


def _restored(h: Household) -> None:
    h.send_every_month(until_ago=7)
    at = h.at(6, 9, 12)
    h.act(at, ReportMeterFailure(at, FailureCause.VERIFICATION_EXPIRED, "Акт: поверка истекла"), Channel.INSPECTOR)
    back = h.at(3, 12, 12)
    h.act(back, RestoreMeter(back, h.shows(back), "Акт: прибор поверен"), Channel.INSPECTOR)
    h.send_every_month(since_ago=3, until_ago=1)


def _control_up(h: Household) -> None:
    h.send_every_month(until_ago=5)
    for ago in (4, 3):
        h.send(ago, more=-100 * (5 - ago))
    at = h.at(2, 20, 12)
    h.act(at, TakeControlReading(at, h.shows(at), "Акт проверки"), Channel.INSPECTOR)
    h.send(1)


def _control_down(h: Household) -> None:
    h.send_every_month(until_ago=5)
    for ago in (4, 3):
        h.send(ago, more=400)
    at = h.at(2, 20, 12)
    h.act(at, TakeControlReading(at, h.shows(at), "Акт проверки"), Channel.INSPECTOR)
    h.send(1)


def _no_access(h: Household) -> None:
    h.send_every_month(until_ago=6)
    for ago in (5, 3):
        at = h.at(ago, 12, 12)
        h.act(at, RecordAccessRefusal(at, "Акт о недопуске"), Channel.INSPECTOR)
    h.send(2, channel=Channel.MOBILE)


def _automatic(h: Household) -> None:
    for ago in range(h.town.months - 1, -1, -1):
        h.send(ago, 25, Channel.REMOTE, hour=20.0)
    h.send(1, 20, Channel.SMS)


def _without_meter(h: Household) -> None:
    at = h.at(5, 2, 12)
    since = first_day(period_of(at, 31)) + timedelta(days=9)
    h.act(at, RegisterTemporaryResidents(2, since, since + timedelta(days=45), at), Channel.OFFICE)


def _gone(h: Household) -> None:
    h.send_every_month(until_ago=3)
    at = h.at(2, 15, 12)
    h.act(at, RemoveMeter(at, h.shows(at), "Акт снятия"), Channel.INSPECTOR)
    after = at + timedelta(hours=1)
    h.act(after, CloseAccount(after, "Квартира продана"), Channel.OFFICE)


def _interference(h: Household) -> None:
    h.send_every_month(until_ago=3)
    at = h.at(2, 16, 12)
    now = period_of(at)
    h.act(at, RecordInterference(at, (shift(now, -2), shift(now, -1)), "Акт: обход прибора"), Channel.INSPECTOR)
    h.send_every_month(since_ago=2, until_ago=1)


def _carried_over(h: Household) -> None:
    ago = min(h.opened_ago, h.town.months - 1)
    now = period_of(h.opened_at)
    at = h.opened_at + timedelta(minutes=30)
    shown = h.shows(h.opened_at)
    readings = []
    for back in (14, 10, 8, 6):
        taken = datetime.combine(first_day(shift(now, -back)) + timedelta(days=19), time(20), MOSCOW)
        readings.append(CarriedReading(taken, {r: max(v - back * 170, 0) for r, v in shown.items()}))
    billed = tuple(
        CarriedPeriod(shift(now, -back), Mode.AVERAGE, {Register.TOTAL: 165}, estimated=True) for back in (5, 4, 3)
    ) + tuple(
        CarriedPeriod(shift(now, -back), Mode.NORMATIVE, {Register.TOTAL: 138}, estimated=True) for back in (2, 1)
    )
    h.act(at, CarryOverHistory(h.meter, tuple(readings), shift(now, -1), billed, at), Channel.MIGRATION)
    h.send_every_month(since_ago=ago, until_ago=1)


def _refused(h: Household) -> None:
    h.send_every_month(until_ago=1)
    for ago, values in (
        (5, {"day": "5120"}),
        (4, {"day": "12a45", "night": "800"}),
        (3, {"day": "99999999", "night": "1"}),
    ):
        h.say(h.at(ago, 17), values, Channel.SMS)


def _several_in_window(h: Household) -> None:
    for ago in range(h.town.months - 1, 0, -1):
        h.send(ago, 18, Channel.SMS, more=25)
        h.send(ago, 21, Channel.MOBILE)


def _bank(h: Household) -> None:
    for ago in range(h.town.months - 1, 0, -1):
        h.send(ago, channel=Channel.BANK if ago % 3 else Channel.GIS)


def _linked(h: Household) -> None:
    h.send_every_month(until_ago=1, channel=Channel.TELEGRAM)


SITUATIONS: tuple[Situation, ...] = (
    Situation("обычный счёт, один тариф, показания каждый месяц", _first, {"last_reading": 10_200}),
    Situation("один тариф, счётчик на 6 разрядов", _regular),
    Situation("три тарифа, «Матрица»: T1 ночь, T2 пик, T3 полупик", _regular, {"registers": THREE, "kwh_a_month": 300.0}),
    Situation("два тарифа: T1 день, T2 ночь", _regular, {"registers": TWO, "kwh_a_month": 250.0}),
    Situation("прошлый месяц без показания: начислено по среднему", _one_missed),
    Situation("больше полугода без показаний: по нормативу, нужна проверка", _long_silence),
    Situation("три месяца без показаний, затем показание: перерасчёт", _settled, {"registers": THREE}),
    Situation("показание на проверке: слишком большое (ждёт подтверждения)", _held),
    Situation("слишком большое показание, подтверждено потребителем", _held_confirmed),
    Situation("показание меньше прежнего, оператор: переход через ноль", _rollover_by_operator, {"last_reading": 998_600}),
    Situation("показание меньше прежнего, оператор: прежнее ошибочно", _previous_wrong),
    Situation("замена счётчика: с одного тарифа на два", _replaced),
    Situation("счётчик неисправен: по среднему без ограничения срока (59 «г»)", _failed),
    Situation("счётчик с истёкшей поверкой возвращён в работу", _restored),
    Situation("контрольное показание больше переданных: доначисление", _control_up),
    Situation("контрольное показание меньше переданных: возврат", _control_down),
    Situation("два недопуска: по нормативу с коэффициентом 1,5", _no_access),
    Situation("умный счётчик: показания снимает система", _automatic, {"automatic": True, "registers": TWO}),
    Situation("нет счётчика; были временно проживающие", _without_meter, {"has_meter": False}),
    Situation("счёт закрыт", _gone, habit=Habit.STANDING_ORDER),
    Situation("привязаны телефон и Telegram", _linked),
    Situation(
        "дача: зимой ноль", _regular, {"empty_months": (11, 12, 1, 2, 3), "winter": -0.5, "locality": Locality.RURAL}
    ),
    Situation("электроплита", _regular, {"stove": Stove.ELECTRIC, "kwh_a_month": 420.0, "registers": TWO}),
    Situation("счётчик прошёл через ноль сам", _regular, {"capacity": 5, "initial": 99_100}),
    Situation("новый счёт: история короче трёх месяцев, без показания по нормативу", _one_missed, {"opened_ago": 3}),
    Situation("вмешательство в работу прибора: два месяца по десяти нормативам", _interference),
    Situation("перенесён из прежней системы с неоконченным перерасчётом", _carried_over, {"has_meter": False, "initial": 30_000}),
    Situation("отказанные показания: мало значений, не число, много цифр", _refused, {"registers": TWO}),
    Situation("два показания в каждом месяце: считается последнее", _several_in_window),
    Situation("показания приходят с платежами банка и из ГИС ЖКХ", _bank),
    Situation("показание отклонено оператором", _rejected),
    Situation("долг за пять месяцев, с пенями", _regular, habit=Habit.DEBTOR),
    Situation("заплатил в десять раз больше, переплата возвращена", _regular, habit=Habit.MISTYPED),
    Situation("платёж отменён банком и внесён снова", _regular, habit=Habit.REVERSED),
    Situation("пришёл чужой платёж, его перенесли на счёт 1000035", _regular),
    Situation("платёж ушёл на счёт 1000034 и перенесён обратно", _regular, habit=Habit.STRAYED),
    Situation("платит с округлением вверх: аванс", _regular, habit=Habit.ROUNDED_UP),
    Situation("платит частями", _regular, habit=Habit.IN_PARTS),
    Situation("платит поздно: пени начислены и уплачены", _regular, habit=Habit.LATE),
)  # fmt: skip
"""The accounts from ``FIRST_NUMBER`` on, each of one situation; all others are drawn."""
