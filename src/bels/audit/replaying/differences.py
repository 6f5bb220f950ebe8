"""What differs between two states of an account: each value that is another one, with a path, a name in Russian, before and after.

States share what an event left as it was, so a part is compared only where it is another object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from bels.audit.replaying.account_moment import overdue_on, owed_by, residents_on
from bels.audit.replaying.moments import Replayed
from bels.domain.account import Account
from bels.domain.events import Step
from bels.domain.money_events import ChargeLine
from bels.domain.periods import MOSCOW
from bels.domain.terms import Register
from bels.projections.words import CHANNELS, REGISTERS, month


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs; None where there was none. Texts: roubles with two digits, days and moments (of Moscow) in ISO 8601.

    ``path`` names it for a program (``periods/2024-05/money``), ``label`` for a person.
    """

    path: str
    label: str
    before: str | None
    after: str | None


_Leaves = dict[str, tuple[str, Any]]
"""Name of a value, how it is called in Russian, and the value."""

_OWN = {
    "situation": "Состояние счёта",
    "opened_at": "Открыт",
    "closed_at": "Закрыт",
    "next_period": "Следующий период к закрытию",
    "last_period": "Последний период",
    "locality": "Населённый пункт",
    "stove": "Плита",
    "rooms": "Комнат",
    "mode": "Способ начисления",
    "mode_since": "Способ начисления действует с",
    "missed_in_a_row": "Периодов подряд без показаний",
    "inspection_due": "Проверка до",
}
"""The values of an account that stand alone, as they are called."""

_ON_THE_DAY = {
    "permanent": "Постоянно проживает на день",
    "temporary": "Временно проживает на день",
    "absent": "Временно отсутствует на день",
    "owners": "Собственников на день",
    "overdue": "Просрочено на день",
}


def differences(before: Account, after: Account) -> tuple[Difference, ...]:
    """List what differs between two states of an account, in a fixed order."""
    return tuple(_differences(before, after))


def differences_of_moments(before: Replayed, after: Replayed) -> tuple[Difference, ...]:
    """List what differs between an account at two moments: its state, and what follows for the day from it."""
    then, now = _on_the_day(before), _on_the_day(after)
    return (*_differences(before.account, after.account), *_compared("day", "", then, now))


def changing_entries(before: Replayed, after: Replayed) -> tuple[int, ...]:
    """Number the entries that count at one of two moments of one history only, in order: they made the difference."""
    return tuple(
        entry
        for entry in range(1, max(before.known, after.known) + 1)
        if before.counts(entry) is not after.counts(entry)
    )


def _differences(before: Account, after: Account) -> Iterator[Difference]:
    own_before = {name: (label, getattr(before, name)) for name, label in _OWN.items()}
    own_after = {name: (label, getattr(after, name)) for name, label in _OWN.items()}
    yield from _compared("", "", own_before, own_after)
    for part in _PARTS:
        old, new = part.find(before), part.find(after)
        if old is not new:
            yield from _of_part(part, old, new)


def _compared(path: str, label: str, before: _Leaves, after: _Leaves) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        was, is_now = before.get(name), after.get(name)
        old, new = (was[1] if was is not None else None), (is_now[1] if is_now is not None else None)
        if old is new or old == new:
            continue
        then, now = written(old), written(new)
        # What comes or goes is told by the values it has: an empty one or a "no" of it is none.
        if then == now or (was is None and new is False) or (is_now is None and old is False):
            continue
        own = (was or is_now or ("",))[0]
        yield Difference(f"{path}/{name}" if path else name, f"{label}: {own}" if label else own, then, now)


def written(value: Any) -> str | None:
    """Write a value as a text; None and "" are no value."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Decimal):
        # Zero has no sign.
        return f"{value + 0:.2f}"
    if isinstance(value, datetime):
        return value.astimezone(MOSCOW).isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the account that holds many things: how it is found, its things by key, how one is called, its values."""

    name: str
    find: Callable[[Account], Any]
    keyed: Callable[[Any], Iterable[tuple[str, Any]]]
    label: Callable[[str, Any], str]
    leaves: Callable[[Any], _Leaves]


def _of_part(part: _Part, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, tuple) and part.keyed is not _in_order:
        old, new = _ends_apart(old, new)
    before, after = dict(part.keyed(old)), dict(part.keyed(new))
    for key in dict.fromkeys((*before, *after)):
        was, is_now = before.get(key), after.get(key)
        if was is is_now or was == is_now:
            continue
        label = part.label(key, is_now if is_now is not None else was)
        empty: _Leaves = {}
        then = part.leaves(was) if was is not None else empty
        now = part.leaves(is_now) if is_now is not None else empty
        yield from _compared(f"{part.name}/{key}" if key else part.name, label, then, now)


def _ends_apart(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Leave out what both begin with and what both end with: of a thousand readings an event mostly touches one or two."""
    shorter = min(len(old), len(new))
    first = next((i for i in range(shorter) if old[i] is not new[i]), shorter)
    last = next((i for i in range(shorter - first) if old[-1 - i] is not new[-1 - i]), shorter - first)
    return old[first : len(old) - last], new[first : len(new) - last]


def _plain(*names: tuple[str, str]) -> Callable[[Any], _Leaves]:
    return lambda thing: {name: (label, getattr(thing, name)) for name, label in names}


def _registers(name: str, label: str, used: Mapping[Register, int] | None) -> _Leaves:
    return {f"{name}/{r.value}": (f"{label}, {REGISTERS[r]}", kwh) for r, kwh in (used or {}).items()}


def _by_entry(things: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((str(thing.entry), thing) for thing in things)


def _by_period(things: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((str(thing.period), thing) for thing in things)


def _in_order(things: Iterable[Any]) -> Iterable[tuple[str, Any]]:
    return ((str(i), thing) for i, thing in enumerate(things, 1))


def _reading(reading: Any) -> _Leaves:
    return {
        "status": ("состояние", reading.status),
        "kind": ("вид", reading.kind),
        "at": ("получено", reading.at),
        "period": ("период", reading.period),
        "meter": ("прибор учёта", reading.meter),
        **_registers("values", "показывает", reading.values),
        "hold": ("на проверке", reading.hold),
        "rollover": ("через ноль прошли", ", ".join(reading.rollover)),
        "late": ("поступило после закрытия периода", reading.late),
        "carried": ("из прежней системы", reading.carried),
        **_registers("turns", "полных оборотов", reading.turns),
    }


def _meter(meter: Any) -> _Leaves:
    return {
        "number": ("номер", meter.model.number),
        "model": ("модель", meter.model.model),
        "capacity": ("разрядов", meter.model.capacity),
        "registers": ("зоны", ", ".join(meter.model.registers)),
        "automatic": ("опрашивается дистанционно", meter.model.automatic),
        "installed_at": ("установлен", meter.installed_at),
        "removed_at": ("снят", meter.removed_at),
        "failed_at": ("вышел из строя", meter.failed_at),
    }


def _closed(closed: Any) -> _Leaves:
    return {
        "mode": ("способ начисления", closed.mode),
        **_registers("usage", "начислено при закрытии, кВт·ч", closed.usage),
        **_registers("stands", "стоит к оплате, кВт·ч", closed.stands),
        "money": ("стоит к оплате, ₽", closed.money),
        "charges": ("строки начисления", "; ".join(_charge(line) for line in closed.charges)),
        "estimated": ("без показания", closed.estimated),
        **_registers("estimate", "ещё не проверено показанием, кВт·ч", closed.estimate),
        "final": ("окончательно", closed.final),
        "priced_by": ("номер публикации правил", closed.priced_by or None),
    }


def _charge(line: ChargeLine) -> str:
    times = f" × {line.coefficient}" if line.coefficient is not None else ""
    return (
        f"{line.register.value} {line.kwh} × {line.rate}{times} = {line.amount:.2f} ({line.tariff}, {line.rule.value})"
    )


def _settled(step: Step) -> _Leaves:
    leaves: _Leaves = {
        "base": ("от показания", step.base),
        **_registers("difference", "расход, кВт·ч", step.difference),
    }
    for share in step.shares:
        leaves |= _registers(f"shares/{share.period}", f"за {month(share.period)}, кВт·ч", share.kwh)
    return leaves


def _on_the_day(replayed: Replayed) -> _Leaves:
    residents = residents_on(replayed.account, replayed.day)
    values: dict[str, Any] = {name: getattr(residents, name) for name in _ON_THE_DAY if name != "overdue"}
    values["overdue"] = overdue_on(owed_by(replayed.account), replayed.day)
    return {name: (_ON_THE_DAY[name], value) for name, value in values.items()}


_PARTS: tuple[_Part, ...] = (
    _Part(
        "residents",
        lambda account: account.residents,
        lambda residents: ((r.effective_on.isoformat() if r.effective_on > date.min else "open", r) for r in residents),
        lambda key, _: "Проживающие с открытия" if key == "open" else f"Проживающие с {key}",
        _plain(("permanent", "постоянно"), ("owners", "собственников")),
    ),
    _Part(
        "stays",
        lambda account: account.stays,
        _in_order,
        lambda key, _: f"Временно проживающие, запись {key}",
        _plain(("persons", "человек"), ("since", "с"), ("until", "до")),
    ),
    _Part(
        "absences",
        lambda account: account.absences,
        _in_order,
        lambda key, _: f"Временное отсутствие, запись {key}",
        _plain(("persons", "человек"), ("left_on", "уезд"), ("returned_on", "возвращение")),
    ),
    _Part("meters", lambda account: account.meters, _by_entry, lambda key, _: f"Прибор учёта №{key}", _meter),
    _Part("readings", lambda account: account.readings, _by_entry, lambda key, _: f"Показание №{key}", _reading),
    _Part(
        "access",
        lambda account: account.access,
        _by_entry,
        lambda key, _: f"Акт о доступе №{key}",
        _plain(("at", "когда"), ("period", "период"), ("refused", "недопуск")),
    ),
    _Part(
        "interferences",
        lambda account: account.interferences,
        _by_period,
        lambda key, _: f"Вмешательство, {month(key)}",
        lambda act: {"periods": ("периоды", ", ".join(act.periods)), "billed": ("учтено в счёте", act.billed)},
    ),
    _Part("periods", lambda account: account.closed, _by_period, lambda key, _: f"Период {month(key)}", _closed),
    _Part(
        "steps",
        lambda account: account.steps,
        lambda steps: ((str(entry), step) for entry, step in steps.items()),
        lambda key, _: f"Распределение расхода до показания №{key}",
        _settled,
    ),
    _Part(
        "links",
        lambda account: account.links,
        lambda links: ((f"{link.channel.value}:{link.sender}", link) for link in links),
        lambda _, link: f"Отправитель ({CHANNELS[link.channel]})",
        _plain(("sender", "привязан")),
    ),
    _Part(
        "ledger",
        lambda account: account.ledger,
        lambda ledger: [("", ledger)],
        lambda _, __: "Баланс",
        _plain(("balance", "электроэнергия, ₽"), ("penalty", "пени, ₽")),
    ),
    _Part(
        "debts",
        lambda account: account.ledger.debts,
        _by_entry,
        lambda key, debt: f"Долг №{key} ({month(debt.period)})" if debt.period is not None else f"Возврат №{key}",
        _plain(("amount", "сумма, ₽"), ("due_on", "оплатить до"), ("penalty", "начислено пени, ₽")),
    ),
    _Part(
        "credits",
        lambda account: account.ledger.credits,
        _by_entry,
        lambda key, _: f"Оплата долга №{key}",
        _plain(("amount", "сумма, ₽"), ("paid_on", "день оплаты")),
    ),
    _Part(
        "payments",
        lambda account: account.ledger.payments,
        _by_entry,
        lambda key, _: f"Платёж №{key}",
        _plain(
            ("amount", "сумма, ₽"),
            ("paid_on", "день оплаты"),
            ("purpose", "назначение"),
            ("reference", "номер операции"),
            ("state", "состояние"),
        ),
    ),
)
"""All parts of an account but the values that stand alone, in the order in which differences are told."""
