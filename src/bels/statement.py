"""The statement of an account: what each closed period was billed, and how; read from the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bels.app import Bels
from bels.domain.terms import Mode, RecalculationReason, Register
from bels.projections import estimation, overview, usage
from bels.projections.estimation import EstimationRow
from bels.projections.usage import UsageRow
from bels.projections.words import REGISTERS

PERIODS_OF_PAGE = 200

MODES = {
    Mode.METERED.value: "по показаниям",
    Mode.AVERAGE.value: "по среднему",
    Mode.NORMATIVE.value: "по нормативу",
    Mode.NORMATIVE_INCREASED.value: "по нормативу с коэффициентом",
}
REASONS = {
    RecalculationReason.SETTLEMENT.value: "пришло показание",
    RecalculationReason.CONTROL.value: "контрольное показание",
    RecalculationReason.CONTROL_PROVEN.value: "контрольное показание, время потребления доказано",
    RecalculationReason.PREVIOUS_WRONG.value: "прежнее показание ошибочно",
    RecalculationReason.INTERFERENCE.value: "вмешательство в работу прибора",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """Closed periods in order (those that an earlier system billed left out), and how the account is estimated now."""

    account: str
    registers: tuple[str, ...]
    periods: tuple[UsageRow, ...]
    estimation: EstimationRow | None


async def find_statement(bels: Bels, account: str) -> Statement | None:
    """Find the statement of an account, None when there is no such account."""
    async with bels.pool.acquire() as db:
        known = (await overview.find(db, [account])).get(account)
        if known is None:
            return None
        periods: list[UsageRow] = []
        after: str | None = None
        while page := await usage.page(db, account, after, None, PERIODS_OF_PAGE, False):
            periods += (row for row in page if not row.carried)
            after = page[-1].period
        estimated = (await estimation.find(db, [account])).get(account)
    registers = known.meter.registers if known.meter is not None else ()
    return Statement(account, registers, tuple(periods), estimated)


def as_json(statement: Statement) -> dict[str, Any]:
    """Write a statement for other programs."""
    order = statement.registers
    return {
        "account": statement.account,
        "periods": [
            {
                "period": row.period,
                "mode": row.mode,
                "usage_kwh": _ordered(row.usage, order),
                "recalculations": [
                    {
                        "period": r.period,
                        "before_kwh": _ordered(r.before, order),
                        "after_kwh": _ordered(r.after, order),
                    }
                    for r in row.recalculations
                ],
            }
            for row in statement.periods
        ],
        "estimation": {
            "mode": statement.estimation.mode if statement.estimation is not None else None,
            "missed_in_a_row": statement.estimation.missed_in_a_row if statement.estimation is not None else 0,
        },
    }


def as_text(statement: Statement) -> str:
    """Write a statement for people: a table in Russian."""
    lines = [f"Лицевой счёт {statement.account}", ""]
    rows = [("Период", "Начислено", "кВт·ч", "")]
    for row in statement.periods:
        rows.append((row.period, MODES[row.mode], str(sum(row.usage.values())), _zones(row.usage, statement.registers)))
        for r in row.recalculations:
            before, after = sum(r.before.values()), sum(r.after.values())
            change = f"{r.period}: {before} → {after}, {REASONS[r.reason]}"
            rows.append(("", "  перерасчёт", f"{after - before:+d}", change))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    if len(rows) == 1:
        lines.append("Закрытых периодов нет.")
    else:
        for period, how, kwh, note in rows:
            line = f"{period:<{widths[0]}}  {how:<{widths[1]}}  {kwh:>{widths[2]}}"
            lines.append(f"{line}  {note}".rstrip())
    estimated = statement.estimation
    if estimated is not None and estimated.mode is not None:
        missed = f", без показаний подряд: {estimated.missed_in_a_row}" if estimated.missed_in_a_row else ""
        lines += ["", f"Способ начисления сейчас: {MODES[estimated.mode]}{missed}"]
    return "\n".join(lines)


def _ordered(kwh: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    return {name: kwh[name] for name in (*(r for r in order if r in kwh), *(r for r in kwh if r not in order))}


def _zones(kwh: Mapping[str, int], order: Sequence[str]) -> str:
    zones = {Register(name): value for name, value in _ordered(kwh, order).items()}
    return ", ".join(f"{REGISTERS[zone]} {value}" for zone, value in zones.items() if zone is not Register.TOTAL)
