"""The bill of a period as text in Russian and as JSON; what stands in the bill is written, nothing is computed anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from bels.domain.money_events import ChargeLine
from bels.domain.terms import Period
from bels.printing.person import Person
from bels.printing.russian import MODE_NAMES, REGISTER_NAMES, RULE_NAMES, by_register, decimal, roubles
from bels.projections.bills import Bill
from bels.projections.words import month
from bels.statement import MOVEMENTS, day, table


def as_json(bill: Bill, person: Person | None) -> dict[str, Any]:
    """Write a bill for other programs: roubles are texts with two digits, kWh are whole numbers."""
    whose = {"person": {"name": person.name, "address": person.address}} if person is not None else {}
    told: dict[str, Any] = msgspec.to_builtins(bill)
    return {**whose, **told, "to_pay": f"{bill.to_pay:.2f}"}


def as_text(bill: Bill, person: Person | None) -> str:
    """Write a bill for people."""
    return "\n".join(_lines(bill, person))


def _lines(bill: Bill, person: Person | None) -> Iterator[str]:
    yield f"Счёт за электроэнергию за {month(Period(bill.period))}, лицевой счёт {bill.account}"
    if person is not None:
        yield f"{person.name}, {person.address}"
    missed = f", без показаний подряд: {bill.missed_in_a_row}" if bill.missed_in_a_row else ""
    yield f"Способ начисления: {MODE_NAMES[bill.mode]}{missed}"
    if bill.readings:
        rows = [("Прибор учёта", "Регистр", "Было", "", "Стало", "", "кВт·ч")]
        rows += [
            (r.meter, REGISTER_NAMES[r.register], str(r.previous), day(r.previous_on), _or_dash(r.current), day(r.current_on), _or_dash(r.used))
            for r in bill.readings
        ]  # fmt: skip
        yield ""
        yield from table(rows, "<<>>>>>")
    yield ""
    charges: list[tuple[str, ...]] = [("Начислено", "кВт·ч", "Тариф, ₽", "Диапазон", "Сумма, ₽", "Основание")]
    charges += [_charge(line) for line in bill.charges]
    yield from table(charges, "<>>>><")
    if bill.recalculations:
        rows_of = [("Перерасчёт", "Было", "Стало", "Было, ₽", "Стало, ₽", "Разница, ₽", "Основание")]
        rows_of += [
            (r.period, by_register(r.before), by_register(r.after), roubles(r.money_before), roubles(r.money_after), roubles(r.difference), r.ground)
            for r in bill.recalculations
        ]  # fmt: skip
        yield ""
        yield from table(rows_of, "<<<>>><")
    yield ""
    sums = [("Долг на начало" if bill.opening >= 0 else "Переплата на начало", roubles(abs(bill.opening)))]
    sums += [
        (f"{MOVEMENTS.get(m.kind, 'остаток из прежней системы').capitalize()} {day(m.booked_on)}", roubles(m.amount))
        for m in bill.movements
    ]
    sums.append(("Начислено за период", roubles(bill.charged)))
    if bill.recalculations:
        sums.append(("Перерасчёты", roubles(bill.recalculated)))
    sums.append(("Долг на конец" if bill.closing >= 0 else "Переплата на конец", roubles(abs(bill.closing))))
    if bill.penalty_opening or bill.penalty_accrued or bill.penalty_paid:
        sums.append(("Пени на начало", roubles(bill.penalty_opening)))
        sums += [(f"Пени за долг {p.period}", roubles(p.amount)) for p in bill.penalties if p.amount]
        if bill.penalty_paid:
            sums.append(("Пени уплачены", roubles(-bill.penalty_paid)))
        sums.append(("Пени к оплате", roubles(bill.penalty_closing)))
    yield from table(sums, "<>")
    yield ""
    yield f"К оплате {roubles(bill.to_pay)} ₽ до {day(bill.due_on)}"


def _charge(line: ChargeLine) -> tuple[str, ...]:
    times = f" × {decimal(line.coefficient)}" if line.coefficient is not None else ""
    name = "повышение (коэффициент)" if line.coefficient is not None else REGISTER_NAMES[line.register.value]
    ground = f"{MODE_NAMES[line.mode.value]}, {RULE_NAMES[line.rule.value]}, {line.tariff}"
    return name, str(line.kwh), f"{decimal(line.rate)}{times}", str(line.range), roubles(line.amount), ground


def _or_dash(value: int | None) -> str:
    return str(value) if value is not None else "—"
