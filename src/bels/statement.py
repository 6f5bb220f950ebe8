"""The statement of an account: what each closed period was billed, and how, what was paid and what is owed; read from the views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bels.app import Bels
from bels.domain.money import ZERO
from bels.domain.money_events import ChargeLine
from bels.domain.terms import Mode, Money, MovementKind, Purpose, RecalculationReason, Register
from bels.printing.russian import roubles
from bels.projections import estimation, ledger, overview, usage
from bels.projections.estimation import EstimationRow
from bels.projections.ledger import BalanceRow, LedgerRow, PaymentRow
from bels.projections.usage import RecalculationRow, UsageRow
from bels.projections.words import REGISTERS

ROWS_OF_PAGE = 200

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
    RecalculationReason.TARIFF_CHANGED.value: "тариф изменён за прошлое",
}
MOVEMENTS = {
    MovementKind.PAYMENT.value: "оплата",
    MovementKind.REVERSAL.value: "платёж отменён",
    MovementKind.REFUND.value: "возврат переплаты",
    MovementKind.MOVED_OUT.value: "платёж перенесён на другой счёт",
    MovementKind.MOVED_IN.value: "платёж перенесён с другого счёта",
}
"""The movements that are payments, signed as the balance is."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A movement of payments: ``paid_on`` is the day of the payer's operation, ``booked_on`` the one on which it counts."""

    paid_on: date
    booked_on: date
    kind: str
    purpose: str
    amount: Money
    reference: str


@dataclass(frozen=True, slots=True)
class Statement:
    """Closed periods in order (those that an earlier system billed left out), payments, what is owed, the estimation now.

    ``opening`` is what an earlier system handed over, None where none did.
    """

    account: str
    registers: tuple[str, ...]
    periods: tuple[UsageRow, ...]
    estimation: EstimationRow | None
    payments: tuple[Paid, ...] = ()
    penalties: tuple[tuple[str, Money], ...] = ()
    balance: Money = ZERO
    penalty_balance: Money = ZERO
    opening: Money | None = None


async def find_statement(bels: Bels, account: str) -> Statement | None:
    """Find the statement of an account, None when there is no such account."""
    # One moment for all of it: a closing in between would leave bills that do not add up to the balance.
    async with bels.pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        known = (await overview.find(db, [account])).get(account)
        if known is None:
            return None
        periods: list[UsageRow] = []
        after: str | None = None
        while page := await usage.page(db, account, after, None, ROWS_OF_PAGE, False):
            periods += (row for row in page if not row.carried)
            after = page[-1].period
        estimated = (await estimation.find(db, [account])).get(account)
        moves: list[LedgerRow] = []
        while found := await ledger.page(db, account, _place(moves), None, ROWS_OF_PAGE, False):
            moves += found
        received: list[PaymentRow] = []
        while rows := await ledger.payments(
            db, account, received[-1].entry if received else 0, None, ROWS_OF_PAGE, False
        ):
            received += rows
        owed: BalanceRow | None = (await ledger.find(db, [account])).get(account)
    registers = known.meter.registers if known.meter is not None else ()
    opening = [m.amount for m in moves if m.kind == MovementKind.OPENING and m.purpose == Purpose.ENERGY]
    return Statement(
        account,
        registers,
        tuple(periods),
        estimated,
        tuple(_paid(moves, received)),
        tuple((m.posted_in, m.amount) for m in moves if m.kind == MovementKind.PENALTY),
        owed.balance if owed is not None else ZERO,
        owed.penalty if owed is not None else ZERO,
        sum(opening, ZERO) if opening else None,
    )


def _place(moves: Sequence[LedgerRow]) -> tuple[int, str] | None:
    return (moves[-1].entry, moves[-1].purpose) if moves else None


def _paid(moves: Sequence[LedgerRow], received: Sequence[PaymentRow]) -> Iterator[Paid]:
    """Give the payments; one that is taken back keeps the day of the payment that it takes back."""
    days = {(p.reference, p.purpose, p.amount): p.paid_on for p in received}
    for m in moves:
        if m.kind in MOVEMENTS:
            paid_on = days.get((m.reference, m.purpose, abs(m.amount)), m.booked_on)
            yield Paid(paid_on, m.booked_on, m.kind, m.purpose, m.amount, m.reference)


def as_json(statement: Statement) -> dict[str, Any]:
    """Write a statement for other programs: kWh are whole numbers, roubles are texts with two digits."""
    order = statement.registers
    opening = {} if statement.opening is None else {"opening_balance": _sum(statement.opening)}
    return {
        "account": statement.account,
        "periods": [
            {
                "period": row.period,
                "mode": row.mode,
                "usage_kwh": _ordered(row.usage, order),
                "charges": [_charge(line) for line in row.charges],
                "recalculations": [_recalculation(r, order) for r in row.recalculations],
                "charges_total": _sum(row.charged),
                "recalculation_total": _sum(row.recalculated),
                "bill_total": _sum(row.bill),
                "due_on": row.due_on.isoformat() if row.due_on is not None else None,
            }
            for row in statement.periods
        ],
        "estimation": {
            "mode": statement.estimation.mode if statement.estimation is not None else None,
            "missed_in_a_row": statement.estimation.missed_in_a_row if statement.estimation is not None else 0,
        },
        **opening,
        "payments": [
            {
                "paid_on": p.paid_on.isoformat(),
                "amount": _sum(p.amount),
                "kind": p.kind,
                "reference": p.reference,
                "booked_on": p.booked_on.isoformat(),
                **({"purpose": p.purpose} if p.purpose != Purpose.ENERGY else {}),
            }
            for p in statement.payments
        ],
        "penalties": [{"period": period, "amount": _sum(amount)} for period, amount in statement.penalties],
        "balance": _sum(statement.balance),
        "penalty_balance": _sum(statement.penalty_balance),
    }


def _charge(line: ChargeLine) -> dict[str, Any]:
    coefficient = {} if line.coefficient is None else {"coefficient": str(line.coefficient)}
    return {
        "register": line.register.value,
        "kwh": line.kwh,
        "rate": str(line.rate),
        "range": line.range,
        "tariff_version": line.tariff,
        "rule": line.rule.value,
        "mode": line.mode.value,
        "amount": _sum(line.amount),
        **coefficient,
    }


def _recalculation(row: RecalculationRow, order: Sequence[str]) -> dict[str, Any]:
    return {
        "period": row.period,
        "reason": row.reason,
        "rule": row.rule,
        "before_kwh": _ordered(row.before, order),
        "after_kwh": _ordered(row.after, order),
        "money_before": _sum(row.money_before),
        "money_after": _sum(row.money_after),
        "difference": _sum(row.difference),
    }


def _sum(amount: Money | None) -> str | None:
    return f"{amount:.2f}" if amount is not None else None


def as_text(statement: Statement) -> str:
    """Write a statement for people: tables in Russian."""
    lines = [f"Лицевой счёт {statement.account}", ""]
    if not statement.periods:
        lines.append("Закрытых периодов нет.")
    else:
        rows: list[tuple[str, ...]] = [("Период", "Начислено", "кВт·ч", "Сумма, ₽", "Счёт, ₽", "Оплатить до", "")]
        for row in statement.periods:
            rows += _rows(row, statement.registers)
        lines += table(rows, "<<>>><<")
    if statement.opening is not None:
        lines += ["", f"Остаток из прежней системы: {roubles(statement.opening)} ₽"]
    if statement.payments:
        paid = [("Оплачено", "Сумма, ₽", "")]
        for p in statement.payments:
            note = MOVEMENTS[p.kind] + (", пени" if p.purpose == Purpose.PENALTY else "")
            paid.append((day(p.booked_on), roubles(-p.amount), f"{note}, {p.reference}" if p.reference else note))
        lines += ["", *table(paid, "<><")]
    if statement.penalties:
        penalties = [("Пени", "Сумма, ₽"), *((period, roubles(amount)) for period, amount in statement.penalties)]
        lines += ["", *table(penalties, "<>")]
    lines += ["", _owed(statement.balance)]
    if statement.penalty_balance or statement.penalties:
        lines.append(f"Пени к оплате: {roubles(statement.penalty_balance)} ₽")
    estimated = statement.estimation
    if estimated is not None and estimated.mode is not None:
        missed = f", без показаний подряд: {estimated.missed_in_a_row}" if estimated.missed_in_a_row else ""
        lines += ["", f"Способ начисления сейчас: {MODES[estimated.mode]}{missed}"]
    return "\n".join(lines)


def _rows(row: UsageRow, order: Sequence[str]) -> Iterator[tuple[str, ...]]:
    yield (
        row.period,
        MODES[row.mode],
        str(sum(row.usage.values())),
        _money(row.charged),
        _money(row.bill),
        day(row.due_on),
        _zones(row.usage, order),
    )
    for r in row.recalculations:
        before, after = sum(r.before.values()), sum(r.after.values())
        change = f"{r.period}: {before} → {after}, {REASONS[r.reason]}"
        yield "", "  перерасчёт", f"{after - before:+d}", _money(r.difference), "", "", change


def table(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Write the lines of a table; ``sides`` says for each column to which side it is set, < or >."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(sides))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def _owed(balance: Money) -> str:
    if balance > 0:
        return f"Долг: {roubles(balance)} ₽"
    return f"Переплата: {roubles(-balance)} ₽" if balance < 0 else "Долга нет"


def _money(amount: Money | None) -> str:
    return roubles(amount) if amount is not None else "—"


def day(on: date | None) -> str:
    """Write a day as people do: 05.06.2024, a dash where there is none."""
    return f"{on:%d.%m.%Y}" if on is not None else "—"


def _ordered(kwh: Mapping[str, int], order: Sequence[str]) -> dict[str, int]:
    return {name: kwh[name] for name in (*(r for r in order if r in kwh), *(r for r in kwh if r not in order))}


def _zones(kwh: Mapping[str, int], order: Sequence[str]) -> str:
    zones = {Register(name): value for name, value in _ordered(kwh, order).items()}
    return ", ".join(f"{REGISTERS[zone]} {value}" for zone, value in zones.items() if zone is not Register.TOTAL)
