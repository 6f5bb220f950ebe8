"""Explain every sum of a bill from what the views hold: the readings, the days, the norm, the ranges, the rate, the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from bels.domain.apportion import apportion, half_up
from bels.domain.charge_usage import usage_of
from bels.domain.events import Step, UsageLine
from bels.domain.explain import Explanation, ExplanationStep, Rounding, Source, Unit
from bels.domain.money import ZERO
from bels.domain.money_events import ChargeLine, OverdueSum
from bels.domain.periods import after, days_in, first_day, moscow_date, shift
from bels.domain.rulebook import Rulebook
from bels.domain.terms import (
    REGISTER_ORDER,
    Kwh,
    Mode,
    Money,
    MovementKind,
    Period,
    ReadingKind,
    RecalculationReason,
    Register,
    Rule,
    Scheme,
)
from bels.projections.readings import ReadingRow
from bels.projections.usage import RecalculationRow, UsageRow
from bels.projections.words import GROUNDS, MODES, REGISTERS, RULES, day, month, roubles

MOVEMENTS = {
    MovementKind.OPENING: "перенесено из прежней системы",
    MovementKind.PAYMENT: "платёж",
    MovementKind.REVERSAL: "отмена платежа",
    MovementKind.REFUND: "возврат переплаты",
    MovementKind.MOVED_OUT: "платёж перенесён на другой счёт",
    MovementKind.MOVED_IN: "платёж перенесён с другого счёта",
    MovementKind.CHARGE: "начислено",
    MovementKind.RECALCULATION: "перерасчёт",
    MovementKind.PENALTY: "пени",
}
"""What each kind of movement is called."""

CONTROL = (ReadingKind.CONTROL.value, ReadingKind.PREVIOUS_WRONG.value)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bill's explanations rest on: the closed period, its readings by entry, the rules."""

    row: UsageRow
    readings: Mapping[int, ReadingRow]
    rulebook: Rulebook

    @property
    def period(self) -> Period:
        """The period of the bill."""
        return Period(self.row.period)


class _Steps:
    """Steps under way: each adds one and gives its result."""

    def __init__(self) -> None:
        self.done: list[ExplanationStep] = []

    def kwh(self, text: str, expression: str, result: int, rounding: Rounding = Rounding.EXACT) -> int:
        self.done.append(ExplanationStep(text, expression, rounding, str(result), Unit.KWH))
        return result

    def share(self, text: str, whole: int, weights: Sequence[int], place: int) -> int:
        result = apportion(whole, weights)[place]
        self.done.append(
            ExplanationStep(text, str(whole), Rounding.LARGEST_REMAINDER, str(result), Unit.KWH, tuple(weights), place)
        )
        return result

    def money(self, text: str, expression: str, result: Money, rounding: Rounding = Rounding.EXACT) -> Money:
        self.done.append(ExplanationStep(text, expression, rounding, str(result), Unit.ROUBLES))
        return result


def explain_charge(facts: Facts, index: int) -> Explanation:
    """Explain a charge line of a bill: its kWh from readings, average or norm, its range, its rate."""
    row, line = facts.row, facts.row.charges[index]
    steps, sources = _Steps(), _Sources(facts)
    if line.coefficient is not None:
        _increase(steps, row.charges[index - 1], line)
    else:
        usage = next(
            u for u in row.lines if u.register is line.register and u.mode is line.mode and u.rule is line.rule
        )
        _usage(facts, steps, sources, usage)
        _range(steps, row.lines, usage, line, facts.rulebook.ranges_of(facts.period))
        steps.money(
            f"{line.kwh} кВт·ч по {_number(line.rate)} ₽", f"{line.kwh} * {line.rate}", line.amount, Rounding.KOPECK
        )
    sources.tariff(line)
    zone = f", {REGISTERS[line.register]}" if line.register is not Register.TOTAL else ""
    title = f"Начисление за {month(facts.period)}{zone}, {MODES[line.mode]}: {roubles(line.amount)}"
    return Explanation(title, line.rule.value, sources.told(), tuple(steps.done), str(line.amount), Unit.ROUBLES)


def explain_recalculation(facts: Facts, row: RecalculationRow) -> Explanation:
    """Explain a recalculation of a bill: kWh and roubles of its period before and after, and their difference."""
    steps, sources = _Steps(), _Sources(facts)
    period, reason = Period(row.period), RecalculationReason(row.reason)
    for name, after_kwh in row.after.items():
        register, before = Register(name), row.before.get(name, 0)
        if reason is RecalculationReason.TARIFF_CHANGED:
            continue
        if reason is RecalculationReason.INTERFERENCE:
            norms = facts.rulebook.settings_of(facts.period).interference_norms
            if after_kwh % norms == 0:
                steps.kwh(f"{norms} нормативов за месяц", f"{norms} * {after_kwh // norms}", after_kwh)
            continue
        _changed(facts, steps, sources, period, register, before, after_kwh, reason)
    lines = usage_of(row.charges)
    limits = facts.rulebook.ranges_of(period)
    for charge in row.charges:
        if charge.coefficient is not None:
            previous = row.charges[row.charges.index(charge) - 1]
            _increase(steps, previous, charge)
            continue
        usage = next(
            u for u in lines if u.register is charge.register and u.mode is charge.mode and u.rule is charge.rule
        )
        _range(steps, lines, usage, charge, limits)
        text = f"{REGISTERS[charge.register]}, {charge.kwh} кВт·ч по {_number(charge.rate)} ₽ (тариф периода {month(period)})"
        steps.money(text, f"{charge.kwh} * {charge.rate}", charge.amount, Rounding.KOPECK)
        sources.tariff(charge)
    now, stood = row.money_after or ZERO, row.money_before or ZERO
    if len(row.charges) != 1:
        steps.money("стало всего", " + ".join(_signed(c.amount) for c in row.charges) or "0", now)
    steps.money(f"было начислено {roubles(stood)}: разница", f"{now} - {_signed(stood)}", now - stood)
    ground = f"{GROUNDS[reason]}, {RULES[Rule(row.rule)]}" + (f": {row.ground}" if row.ground else "")
    title = f"Перерасчёт за {month(period)} ({ground}): {roubles(now - stood)}"
    return Explanation(title, row.rule, sources.told(), tuple(steps.done), str(now - stood), Unit.ROUBLES)


def explain_penalty(overdue: OverdueSum) -> Explanation:
    """Explain the penalties on the debt of one period: principal, days, part of the rate for each line."""
    steps = _Steps()
    for line in overdue.lines:
        text = (
            f"{roubles(line.principal)} не оплачены {line.days} дн. с {day(line.since)} по {day(line.until)}: "
            f"1/{line.divisor} от {_number(line.rate)} % в день"
        )
        expression = f"{line.principal} * {line.days} * {line.rate} / 100 / {line.divisor}"
        steps.money(text, expression, line.amount, Rounding.KOPECK)
    if len(overdue.lines) != 1:
        total = " + ".join(str(line.amount) for line in overdue.lines) or "0"
        steps.money("всего с первого дня просрочки", total, overdue.accrued)
    new = overdue.accrued - overdue.posted_before
    if overdue.posted_before:
        steps.money("уже начислено прежде", f"{overdue.accrued} - {_signed(overdue.posted_before)}", new)
    sources = (
        Source("долг", f"{month(overdue.period)}, оплатить до {day(overdue.due_on)}", entry=overdue.debt),
        Source(
            "порядок",
            "первые 30 дней просрочки пени не начисляются; ставка — ключевая на день оплаты, но не выше предела",
            "ЖК РФ, ст. 155, ч. 14; ПП 329 от 18.03.2025",
        ),
    )
    title = f"Пени на долг за {month(overdue.period)}: {roubles(new)}"
    return Explanation(title, Rule.ZHK155.value, sources, tuple(steps.done), str(new), Unit.ROUBLES)


def explain_balance(
    account: str,
    period: str | None,
    opening: Money,
    moves: Sequence[tuple[str, date, Money]],
    charges: Sequence[Money],
    recalculations: Sequence[Money],
    closing: Money,
) -> Explanation:
    """Explain a balance: what stood, what was paid since, what was charged with the bill of ``period``.

    Without charges it is the balance of now, since that bill; ``period`` None: since the account was opened.
    """
    steps = _Steps()
    charged, recalculated = sum(charges, ZERO), sum(recalculations, ZERO)
    if len(charges) > 1:
        steps.money("начислено", " + ".join(_signed(c) for c in charges) or "0", charged)
    if len(recalculations) > 1:
        steps.money("перерасчёты", " + ".join(_signed(r) for r in recalculations), recalculated)
    terms = [("остаток после прежнего счёта", opening)]
    terms += [(f"{MOVEMENTS[MovementKind(kind)]} {day(on)}", amount) for kind, on, amount in moves]
    if charges:
        terms.append((f"начислено за {month(period or '')}", charged))
    if recalculations:
        terms.append(("перерасчёты", recalculated))
    steps.money(", ".join(text for text, _ in terms), " + ".join(_signed(amount) for _, amount in terms), closing)
    what = "долг" if closing > 0 else "аванс" if closing < 0 else "сальдо"
    when = f" после счёта за {month(period)}" if charges and period is not None else ""
    title = f"{what.capitalize()} по счёту {account}{when}: {roubles(abs(closing))}"
    return Explanation(title, Rule.ZHK155.value, (), tuple(steps.done), str(closing), Unit.ROUBLES)


class _Sources:
    """What an explanation rests on, each named once."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._named: dict[Source, None] = {}

    def reading(self, entry: int) -> None:
        reading = self._facts.readings.get(entry)
        if reading is not None:
            shown = ", ".join(
                str(value) if name == Register.TOTAL.value else f"{REGISTERS[Register(name)]} {value}"
                for name, value in reading.values.items()
            )
            on = day(moscow_date(reading.received_at))
            text = f"{shown} от {on} ({month(reading.period or '')})" if reading.period else f"{shown} от {on}"
            self._named[Source("показание", text, f"прибор учёта {reading.meter}", entry)] = None

    def norm(self, text: str, document: str) -> None:
        self._named[Source("норматив", text, document)] = None

    def tariff(self, line: ChargeLine) -> None:
        scheme = Scheme(line.tariff.split("/")[-2])
        group = line.tariff.rsplit("/", 2)[0]
        row = self._facts.rulebook.tariff_of(group, scheme, Period(line.tariff[-10:-3]))
        document = row.source if row is not None and row.version == line.tariff else None
        self._named[Source("тариф", f"{line.tariff}: {_number(line.rate)} ₽, диапазон {line.range}", document)] = None

    def told(self) -> tuple[Source, ...]:
        return tuple(self._named)


def _usage(facts: Facts, steps: _Steps, sources: _Sources, line: UsageLine) -> None:
    """Explain the kWh of a line of usage."""
    row = facts.row
    if line.mode is Mode.METERED:
        parts = [
            part for step in row.steps if (part := _metered(facts, steps, sources, step, line.register)) is not None
        ]
        if not parts:
            steps.kwh("показаний, которые начисляются за этот период, нет", "0", line.kwh)
        elif len(parts) > 1:
            steps.kwh("вместе", " + ".join(_signed(p) for p in parts), line.kwh)
    elif line.mode is Mode.AVERAGE and row.average is not None:
        average = row.average
        sources.reading(average.since)
        sources.reading(average.until)
        kwh = average.kwh[line.register]
        expression = _average(facts, line.register, kwh)
        if expression is not None:
            text = f"среднемесячный объём за {average.periods} мес. между показаниями"
            steps.kwh(text, expression, kwh, Rounding.WHOLE_KWH)
        if line.kwh != kwh:
            _days_before_act(facts, steps, kwh, line.kwh)
    elif row.norm is not None:
        norm = row.norm
        sources.norm(f"{norm.per_person} кВт·ч на человека в месяц", facts.rulebook.norms_of(facts.period).source)
        text = f"норматив {norm.per_person} кВт·ч на человека, проживающих {norm.residents}"
        whole = steps.kwh(text, f"{norm.per_person} * {norm.residents}", norm.per_person * norm.residents)
        days = days_in(facts.period)
        terms = [str(whole)]
        for change in norm.adjustments:
            who = "временно проживающий" if change.kwh > 0 else "временно отсутствующий"
            one = abs(change.kwh) // max(change.persons, 1)
            expression = f"{norm.per_person} * {change.days} / {days}"
            steps.kwh(f"{who}, {change.days} дн. из {days}", expression, one, Rounding.WHOLE_KWH)
            terms.append(f"{change.persons} * {_signed(one if change.kwh > 0 else -one)}")
        if norm.adjustments:
            total = whole + sum(change.kwh for change in norm.adjustments)
            steps.kwh("с поправками", " + ".join(terms), total)
            if total != norm.kwh:
                steps.kwh("не меньше нуля", "0", norm.kwh)
        if line.kwh != norm.kwh:
            _days_before_act(facts, steps, norm.kwh, line.kwh)


def _metered(facts: Facts, steps: _Steps, sources: _Sources, step: Step, register: Register) -> int | None:
    """Explain what a way between two readings gives its own bill's period; None where it gives none."""
    reading = facts.readings.get(step.reading)
    share = next((s.kwh for s in step.shares if s.period == facts.period), None)
    if share is None or register not in step.difference or reading is None or reading.kind in CONTROL:
        return None
    return _share(facts, steps, sources, step, register, facts.period, share)


def _share(
    facts: Facts, steps: _Steps, sources: _Sources, step: Step, register: Register, period: Period, share: Kwh
) -> int:
    """Explain the part of the way between two readings that belongs to a period."""
    base, reading = facts.readings[step.base], facts.readings[step.reading]
    sources.reading(step.base)
    sources.reading(step.reading)
    used, wanted = step.difference[register], share.get(register, 0)
    shown, before = int(reading.values[register]), int(base.values[register])
    zone = f"{REGISTERS[register]}: " if register is not Register.TOTAL else ""
    turn = used - (shown - before)
    expression = f"{shown} + {turn} - {before}" if turn else f"{shown} - {before}"
    passed = ", с переходом через ноль" if turn else ""
    since, until = day(moscow_date(base.received_at)), day(moscow_date(reading.received_at))
    steps.kwh(f"{zone}показание {until} минус показание {since}{passed}", expression, used)
    gap = after(Period(base.period or period), Period(reading.period or period))
    if wanted == used or len(gap) < 2 or period not in gap:
        return wanted
    if used >= 0:
        weights = [days_in(p) for p in gap]
        if apportion(used, weights)[gap.index(period)] == wanted:
            text = f"{zone}доля периода {month(period)} по календарным дням ({days_in(period)} из {sum(weights)})"
            return steps.share(text, used, weights, gap.index(period))
    if used < 0 and not wanted:
        return steps.kwh(f"{zone}отрицательный расход относится к периоду показания", "0", 0)
    # IN_PERIOD: what was estimated meanwhile is taken off.
    terms = [str(used)]
    terms += (
        _signed(-_of_register(steps, step, other.kwh, register, zone, other.period))
        for other in step.shares
        if other.period != period
    )
    return steps.kwh(f"{zone}за вычетом начисленного за пропущенные периоды", " + ".join(terms), wanted)


def _of_register(steps: _Steps, step: Step, estimate: Kwh, register: Register, zone: str, period: Period) -> int:
    """Say what of an estimate falls on a register: a norm is spread over the registers in proportion to their kWh."""
    if set(estimate) <= set(step.difference):
        return estimate.get(register, 0)
    registers = [r for r in REGISTER_ORDER if r in step.difference]
    whole = sum(estimate.values())
    if len(registers) == 1:
        return whole
    weights = [max(step.difference[r], 0) for r in registers]
    if not any(weights):
        first = Register.DAY if Register.DAY in registers else Register.HALF_PEAK
        weights = [int(r is first) for r in registers]
    text = f"{zone}доля в нормативе за {month(period)}, пропорционально расходу по зонам"
    return steps.share(text, whole, weights, registers.index(register))


def _average(facts: Facts, register: Register, kwh: int) -> str | None:
    average = facts.row.average
    if average is None:
        return None
    since, until = facts.readings.get(average.since), facts.readings.get(average.until)
    if since is None or until is None:
        return None
    first, last = int(since.values[register]), int(until.values[register])
    for digits in (None, 5, 6, 7):
        turn = 0 if digits is None else int(10**digits)
        if half_up(last + turn - first, average.periods) == kwh:
            return (
                f"({last} + {turn} - {first}) / {average.periods}"
                if turn
                else f"({last} - {first}) / {average.periods}"
            )
    return None


def _days_before_act(facts: Facts, steps: _Steps, month_kwh: int, kwh: int) -> None:
    """A failed meter in the month of the new one: the average for the days before the act."""
    before = shift(facts.period, -1)
    deadline = facts.rulebook.settings_of(before).reading_deadline_day
    installed = [r for r in facts.readings.values() if r.kind == ReadingKind.INITIAL and r.period == facts.period]
    since = first_day(before) + timedelta(days=deadline)
    whole = days_in(before)
    for reading in installed:
        days = max(0, (moscow_date(reading.received_at) - since).days)
        if half_up(month_kwh * days, whole) == kwh:
            text = f"за {days} дн. из {whole}, с {day(since)} до ввода нового прибора учёта"
            steps.kwh(text, f"{month_kwh} * {days} / {whole}", kwh, Rounding.WHOLE_KWH)
            return


def _changed(
    facts: Facts,
    steps: _Steps,
    sources: _Sources,
    period: Period,
    register: Register,
    before: int,
    after_kwh: int,
    reason: RecalculationReason,
) -> None:
    """Explain the kWh of a register in a recalculation."""
    zone = f"{REGISTERS[register]}: " if register is not Register.TOTAL else ""
    own = period == facts.period
    parts: list[int] = []
    if reason is not RecalculationReason.CONTROL_PROVEN:
        for step in facts.row.steps:
            share = next((s.kwh for s in step.shares if s.period == period), None)
            reading = facts.readings.get(step.reading)
            if share is None or reading is None or register not in step.difference or step.base not in facts.readings:
                continue
            if own and (reading.kind in CONTROL) != (
                reason in (RecalculationReason.CONTROL, RecalculationReason.PREVIOUS_WRONG)
            ):
                continue
            parts.append(_share(facts, steps, sources, step, register, period, share))
    added = sum(parts)
    if not own and parts and added == after_kwh:
        if len(parts) > 1:
            steps.kwh(f"{zone}вместе", " + ".join(_signed(p) for p in parts), after_kwh)
        return
    rest = after_kwh - before - added
    terms = [_signed(before), *(_signed(p) for p in parts)]
    text = f"{zone}было {before}"
    if rest:
        terms.append(_signed(rest))
        text += f", {'добавлено' if rest > 0 else 'снято'} {abs(rest)}"
    steps.kwh(text, " + ".join(terms), after_kwh)


def _range(
    steps: _Steps, lines: Sequence[UsageLine], usage: UsageLine, charge: ChargeLine, limits: tuple[int, ...]
) -> None:
    """Explain how many kWh of a line fall into its range, where there is more than one."""
    volumes = [line for line in lines if line.kwh > 0]
    whole = sum(line.kwh for line in volumes)
    if not limits or whole <= limits[0] or usage.kwh < 0:
        return
    if len(volumes) > 1:
        steps.kwh("объём месяца по всем зонам", " + ".join(str(line.kwh) for line in volumes), whole)
    registers = list(dict.fromkeys(line.register for line in lines))
    left = {r: sum(line.kwh for line in volumes if line.register is r) for r in registers}
    lower = 0
    for number, limit in enumerate((*limits, None), start=1):
        rest = sum(left.values())
        taken = rest if limit is None else min(limit - lower, rest)
        own = dict(zip(registers, apportion(taken, list(left.values())), strict=True)) if taken else {}
        part = own.get(usage.register, 0)
        same = [line for line in volumes if line.register is usage.register]
        if number < charge.range:
            for r, kwh in own.items():
                left[r] -= kwh
            lower = limit or 0
            continue
        span = f"от {lower}" if limit is None else f"{lower}–{limit}"
        text = f"диапазон {number} ({span} кВт·ч)"
        if limit is not None and taken == limit - lower:
            steps.kwh(text, f"{limit} - {lower}" if lower else str(limit), taken)
        else:
            steps.kwh(text, f"{whole} - {lower}", taken)
        if len([r for r in left.values() if r]) > 1 and taken:
            steps.share(
                "доля зоны пропорционально её объёму", taken, list(left.values()), registers.index(usage.register)
            )
        if charge.kwh != part:
            # Two lines of one register (a failed meter and its successor) share its part by their kWh.
            of_lines = [line.kwh for line in same]
            place = next(i for i, line in enumerate(same) if line == usage)
            if number == 1 and apportion(part, of_lines)[place] == charge.kwh:
                steps.share("доля этой строки в объёме зоны", part, of_lines, place)
            else:
                steps.kwh("часть этой строки", str(charge.kwh), charge.kwh)
        return


def _increase(steps: _Steps, line: ChargeLine, increase: ChargeLine) -> None:
    """Explain the increase after two refusals of access (60(3))."""
    whole = line.amount + increase.amount
    text = f"с повышающим коэффициентом {_number(increase.coefficient or Decimal(1))}"
    steps.money(text, f"{line.kwh} * {line.rate} * {increase.coefficient}", whole, Rounding.KOPECK)
    steps.money("величина повышения", f"{whole} - {line.amount}", increase.amount)


def _number(value: Decimal) -> str:
    return str(value).replace(".", ",")


def _signed(value: int | Decimal) -> str:
    return f"({value})" if value < 0 else str(value)
