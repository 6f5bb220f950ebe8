"""What reminders and notices say, in Russian: a letter has a subject and whole sentences, an SMS at most two parts.

Words are chosen when a text is sent, from what is true then. Of several wordings of an SMS the first that fits is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from bels import words
from bels.domain.forecast_estimate import Silent
from bels.domain.terms import HoldReason, Mode, Money, Period, Register
from bels.outgoing.reminders import ReminderKind
from bels.projections.notices import NoticeKind, NoticeRow
from bels.projections.readings import ReadingRow
from bels.projections.words import MODES, month, roubles
from bels.words import SMS_LENGTH_MAX

LINK = "[ссылка]"
"""What stands for a link where a text is kept."""

STOP = "Не хотите таких сообщений – ответьте СТОП."
_NEW_READING = "Если это не вы, передайте верное показание или позвоните нам"


@dataclass(frozen=True, slots=True)
class Wording:
    """A text in two lengths; ``kept`` is what its household may read again, without links."""

    subject: str
    text: str = field(repr=False)
    sms: str = field(repr=False)
    kept: str = field(repr=False)


def reminder(
    account: str,
    period: Period,
    kind: ReminderKind,
    deadline: date,
    silence: Silent,
    cost: Money | None,
    link: str | None,
) -> Wording:
    """Word a reminder: for which period, until when, what silence will be billed, and the link that does the task."""
    name, day = month(period), f"{deadline:%d.%m}"
    kwh = sum(silence.kwh.values())
    price = f", {roubles(cost)}" if cost is not None else ""
    awaited = (
        f"Л/с {account}: начался приём показаний за {name}, последний день – {deadline:%d.%m.%Y}."
        if kind is ReminderKind.WINDOW_OPENS
        else f"Л/с {account}: показаний за {name} ещё нет, последний день – {deadline:%d.%m.%Y}."
    )
    costs = f"Если показаний не будет, начислим {kwh} кВт·ч{price} {MODES[silence.mode]}."

    def told(where: str | None) -> str:
        return "\n".join([awaited, costs, *([f"Передать показание: {where}"] if where else [])])

    def short(where: str | None) -> str:
        whole = f"БЭЛС: ждём показания л/с {account} до {day}. Без них {kwh} кВт·ч{price}."
        if where:
            part = f"БЭЛС: показания до {day}"
            parts = [
                f"{part}, без них {kwh} кВт·ч{price}: {where}",
                *([f"{part}, иначе{price[1:]}: {where}"] if price else []),
            ]
            return first_that_fits(
                [f"{whole} {where} Отписка: СТОП", f"{whole} {where}", *parts, f"{part}: {where}", whole]
            )
        return first_that_fits([f"{whole} Пример ответа: {account}#12345. Отписка: СТОП", whole])

    return Wording(
        f"Показания за {name}: до {deadline:%d.%m.%Y}",
        told(link),
        short(link),
        told(LINK if link is not None else None),
    )


def notice(row: NoticeRow, readings: Mapping[int, ReadingRow]) -> Wording:
    """Word a notice; ``readings`` are those that it names, by entry."""
    subject, sentence, more = _of_notice(row, readings)
    whole = f"Л/с {row.account}: {sentence}."
    text = f"{whole}\n{more}." if more else whole
    sms = first_that_fits(
        [f"БЭЛС, {_lower(whole)} {more}." if more else f"БЭЛС, {_lower(whole)}", f"БЭЛС, {_lower(whole)}"]
    )
    return Wording(subject, text, sms, text)


def named_readings(row: NoticeRow) -> list[int]:
    """Give the entries of the readings that a notice speaks of."""
    return [row.data[name] for name in ("reading", "by") if name in row.data]


def first_that_fits(wordings: Sequence[str]) -> str:
    """Give the first wording that fits two parts of an SMS, else the last one, cut."""
    fitting = (wording for wording in wordings if len(wording) <= SMS_LENGTH_MAX)
    return next(fitting, f"{wordings[-1][: SMS_LENGTH_MAX - 1]}…")


def _of_notice(row: NoticeRow, readings: Mapping[int, ReadingRow]) -> tuple[str, str, str]:
    data, old = row.data, readings.get(row.data.get("reading", 0))
    match row.kind:
        case NoticeKind.HELD:
            why = words.hold(HoldReason(data["reason"]))
            return (
                "Показание на проверке",
                f"показание{_shown(old)}{_for(row.period)} пока не учтено: {why}",
                _NEW_READING,
            )
        case NoticeKind.CONFIRMED:
            return "Показание учтено", f"показание{_shown(old)} проверено и учтено{_for(row.period)}", ""
        case NoticeKind.REJECTED:
            more = "Посмотрите на счётчик и передайте показание снова"
            return "Показание отклонено", f"показание{_shown(old)} проверено и не учтено", more
        case NoticeKind.SUPERSEDED:
            by = readings.get(data["by"])
            sentence = f"показание{_shown(old)} заменено другим:{_shown(by)}"
            return "Показание заменено", sentence, _NEW_READING
        case NoticeKind.RECALCULATED:
            return "Перерасчёт", *_recalculated(row.period, data["lines"])
        case NoticeKind.MODE_CHANGED:
            before, after = MODES[Mode(data["before"])], MODES[Mode(data["after"])]
            sentence = f"с {_genitive(row.period)} начисляем {after}, раньше {before}"
            more = "" if data["after"] == Mode.METERED else "Передайте показание, и начислим по нему"
            return "Изменился способ начисления", sentence, more


def _recalculated(posted_in: str | None, lines: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    before = sum((Decimal(str(line["before"])) for line in lines), Decimal(0))
    after = sum((Decimal(str(line["after"])) for line in lines), Decimal(0))
    kwh_before, kwh_after = sum(line["kwh_before"] for line in lines), sum(line["kwh_after"] for line in lines)
    periods = sorted(line["period"] for line in lines)
    span = month(periods[0]) if len(periods) == 1 else f"{month(periods[0])} – {month(periods[-1])}"
    sentence = (
        f"перерасчёт за {span}: было {kwh_before} кВт·ч, {roubles(before)}, стало {kwh_after} кВт·ч, {roubles(after)}"
    )
    return sentence, f"Разница {roubles(after - before)} – в счёте{_for(posted_in)}"


def _shown(reading: ReadingRow | None) -> str:
    if reading is None:
        return ""
    return f" {words.echo({Register(name): int(value) for name, value in reading.values.items()})}"


def _for(period: str | None) -> str:
    return f" за {month(period)}" if period is not None else ""


_GENITIVE = (
    *("января", "февраля", "марта", "апреля", "мая", "июня"),
    *("июля", "августа", "сентября", "октября", "ноября", "декабря"),
)


def _genitive(period: str | None) -> str:
    return f"{_GENITIVE[int(period[5:7]) - 1]} {period[:4]}" if period is not None else "этого месяца"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
