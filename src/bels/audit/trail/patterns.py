"""What is unusual enough to be looked at: the named patterns, what each means, and why it may be innocent.

A pattern accuses nobody. It is a search with thresholds that an auditor sets, and its rows name the entries to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from bels.domain.terms import Word

COUNT_MAX = 1_000_000


class UnusualPattern(Word):
    """The patterns that can be searched for."""

    MANY_CORRECTIONS_BY_ONE_OPERATOR = "MANY_CORRECTIONS_BY_ONE_OPERATOR"
    REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR = "REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR"
    READINGS_EQUAL_TO_AVERAGE = "READINGS_EQUAL_TO_AVERAGE"
    HELD_THEN_CONFIRMED = "HELD_THEN_CONFIRMED"
    LATE_CHANGES_AFTER_SEALING = "LATE_CHANGES_AFTER_SEALING"
    PAYMENTS_MOVED_TO_ONE_ACCOUNT = "PAYMENTS_MOVED_TO_ONE_ACCOUNT"
    ONE_SENDER_FOR_MANY_ACCOUNTS = "ONE_SENDER_FOR_MANY_ACCOUNTS"
    ROUND_READINGS_BY_ONE_INSPECTOR = "ROUND_READINGS_BY_ONE_INSPECTOR"
    CHANGES_OUTSIDE_OFFICE_HOURS = "CHANGES_OUTSIDE_OFFICE_HOURS"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something is unusual; a pattern reads some of them.

    ``count`` entries, payments or accounts; ``minutes`` between two entries; ``kwh``; ``roubles``; ``days`` between what happened and
    its entry; ``percent`` of all; office hours ``from_hour`` to ``until_hour`` of a working day in Moscow.
    """

    count: int = 1
    minutes: int = 10
    kwh: int = 5_000
    roubles: int = 100_000
    days: int = 3
    percent: int = 50
    from_hour: int = 8
    until_hour: int = 20


BOUNDS: Mapping[str, tuple[int, int]] = {
    "count": (1, COUNT_MAX),
    "minutes": (0, 1_000_000),
    "kwh": (0, 100_000_000),
    "roubles": (0, 1_000_000_000),
    "days": (0, 10_000),
    "percent": (1, 100),
    "from_hour": (0, 23),
    "until_hour": (1, 24),
}
"""The least and the greatest value of each threshold."""


class ThresholdError(ValueError):
    """A threshold is out of its bounds; the sentence says which."""


@dataclass(frozen=True, slots=True)
class About:
    """What a pattern is: what it means and why it may be innocent (Russian), which thresholds it reads, and their defaults."""

    means: str
    innocent: str
    reads: tuple[str, ...]
    defaults: Thresholds


ABOUT: Mapping[UnusualPattern, About] = {
    UnusualPattern.MANY_CORRECTIONS_BY_ONE_OPERATOR: About(
        "Один оператор сделал много исправлений: подтвердил, отклонил или заменил показания, отменил, перенёс или вернул платежи.",
        "Оператору поручена очередь показаний на проверке или разбор ошибочного реестра.",
        ("count",),
        Thresholds(count=50),
    ),
    UnusualPattern.REVERSALS_AND_REFUNDS_BY_ONE_OPERATOR: About(
        "Один оператор много раз отменял платежи и возвращал деньги, или на большую сумму.",
        "Банк прислал список ошибочных платежей, и их отменял один человек.",
        ("count", "roubles"),
        Thresholds(count=10),
    ),
    UnusualPattern.READINGS_EQUAL_TO_AVERAGE: About(
        "Показания всегда дают ровно средний расход прежних: похоже, что счётчик не читают, а значения придумывают.",
        "Расход и вправду ровный: дача с одним холодильником, насос, дежурное освещение.",
        ("count",),
        Thresholds(count=6),
    ),
    UnusualPattern.HELD_THEN_CONFIRMED: About(
        "Показание ушло на проверку, и оператор подтвердил его сам через минуты после того, как ввёл, или подтвердил очень большой расход.",
        "Оператор перезвонил и сверил по фотографии; расход за много месяцев без показаний велик.",
        ("minutes", "kwh"),
        Thresholds(),
    ),
    UnusualPattern.LATE_CHANGES_AFTER_SEALING: About(
        "Акт, показание или факт записан позже и относится к периоду, который уже был закрыт и опечатан.",
        "Акты и справки приносят позже, правила велят пересчитать прошлые периоды: посмотрите на документ.",
        ("days",),
        Thresholds(),
    ),
    UnusualPattern.PAYMENTS_MOVED_TO_ONE_ACCOUNT: About(
        "На один лицевой счёт перенесли несколько платежей с других, или на большую сумму.",
        "Плательщик долго платил по старому номеру счёта.",
        ("count", "roubles"),
        Thresholds(count=3),
    ),
    UnusualPattern.ONE_SENDER_FOR_MANY_ACCOUNTS: About(
        "С одного телефона, чата или адреса приходят показания многих лицевых счетов.",
        "Председатель товарищества или сын многих соседей шлёт за всех.",
        ("count",),
        Thresholds(count=10),
    ),
    UnusualPattern.ROUND_READINGS_BY_ONE_INSPECTOR: About(
        "У одного инспектора много контрольных показаний с нулём на конце: похоже, что он не дошёл до счётчика.",
        "Таких обходов было мало, и это случай: с нулём кончается каждое десятое показание.",
        ("count", "percent"),
        Thresholds(count=10),
    ),
    UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS: About(
        "Записи офиса сделаны ночью или в выходной.",
        "Дежурство, аварийная смена, срочное закрытие месяца.",
        ("count", "from_hour", "until_hour"),
        Thresholds(count=5),
    ),
}
"""Every pattern, in the order in which they are shown."""


def thresholds_of(pattern: UnusualPattern, given: Mapping[str, int]) -> Thresholds:
    """Give the thresholds of a pattern: its defaults, and what is given in their place.

    :raises ThresholdError: one is out of its bounds, or the pattern does not read it.
    """
    about = ABOUT[pattern]
    for name, value in given.items():
        if name not in about.reads:
            raise ThresholdError(f"{pattern.value} reads {', '.join(about.reads)}; it does not read {name}")
        least, most = BOUNDS[name]
        if not least <= value <= most:
            raise ThresholdError(f"{name} must be {least} to {most}, not {value}")
    found = replace(about.defaults, **given)
    if found.from_hour >= found.until_hour:
        raise ThresholdError("from_hour must be before until_hour")
    return found


NAMES = tuple(each.name for each in fields(Thresholds))
"""The names of all thresholds."""
