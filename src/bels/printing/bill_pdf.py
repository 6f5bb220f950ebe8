"""The bill as a PDF: the payment document that a consumer gets (ПП 354, п. 69), one page where it can be.

What stands in the bill is printed; nothing is computed but the words around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import segno

from bels.domain.money_events import (
    ChargeLine,
    PenaltyLine,
)
from bels.domain.periods import first_day, shift
from bels.domain.rulebook import Requisites
from bels.domain.terms import MovementKind, Period, Register
from bels.printing.payment_qr import COUNTER_LENGTH_MAX, UnfitForQr, payment_qr
from bels.printing.person import Person
from bels.printing.russian import (
    GROUND_NAMES,
    MINUS,
    MODE_NAMES,
    NBSP,
    REGISTER_NAMES,
    RULE_NAMES,
    by_register,
    decimal,
    kwh,
    money,
    roubles,
    whole,
)
from bels.printing.sheet import (
    BLACK,
    BOTTOM,
    GREY,
    LEFT,
    RIGHT,
    TOP,
    Column,
    Row,
    Sheet,
    leading_of,
    table_height,
    wrapped,
)
from bels.printing.year_chart import draw_year
from bels.projections.bills import Bill, BillMovement, BillPenalty, BillRecalculation
from bels.projections.words import LOCALITIES, STOVES, day, moment, month
from bels.words import HOTLINE, example, plural

NO_PERSON = "без персональных данных"
NO_REQUISITES = "реквизиты поставщика не опубликованы"
MOVEMENTS_MAX = 12
"""Movements that a bill names one by one; the older ones of more stand in one sum."""

_SMS = "+7 (903) 767-67-81".replace(" ", NBSP)
_VOICE = "(498) 662-94-94".replace(" ", NBSP)
_HOTLINES = f"{HOTLINE}, 529-92-84".replace(" ", NBSP)
_SITE = "belssb.ru/individuals/pokaz/"
_OFFICE = "Балашиха, мкр. Салтыковка, ул. Гражданская, 5; пн–пт 8:45–17:15, кроме последнего рабочего дня месяца"

_MOVEMENTS: dict[str, str] = {
    MovementKind.OPENING.value: "Остаток из прежней системы",
    MovementKind.PAYMENT.value: "Оплачено",
    MovementKind.REVERSAL.value: "Платёж отменён",
    MovementKind.REFUND.value: "Возврат переплаты",
    MovementKind.MOVED_OUT.value: "Платёж перенесён на другой счёт",
    MovementKind.MOVED_IN.value: "Платёж перенесён с другого счёта",
}
_LOCALITY_NAMES: dict[str, str] = {locality.value: name for locality, name in LOCALITIES.items()}
_STOVE_NAMES: dict[str, str] = {stove.value: name for stove, name in STOVES.items()}

_PAY_LEFT = RIGHT - 196.0
_QR_SIDE = 122.0
_CHART_LEFT = LEFT + 252.0
_CHART_HEIGHT, _CHART_HEIGHT_MAX = 138.0, 190.0
_SPARE_MIN = 20.0
_ZERO = Decimal("0.00")

_READINGS = (
    Column("Прибор учёта", 100),
    Column("Зона суток", 60),
    Column("Предыдущее показание", 92, number=True),
    Column("снято", 60, number=True),
    Column("Текущее показание", 84, number=True),
    Column("снято", 60, number=True),
    Column("Расход, кВт·ч", RIGHT - LEFT - 456, number=True),
)
_CHARGES = (
    Column("Зона суток", 58),
    Column("Диапазон", 82),
    Column("Способ, основание", 184),
    Column("Объём, кВт·ч", 56, number=True),
    Column("Тариф, ₽/кВт·ч", 62, number=True),
    Column("Сумма, ₽", RIGHT - LEFT - 442, number=True),
)
_RECALCULATIONS = (
    Column("Период", 68),
    Column("Основание", 184),
    Column("", 32),
    Column("Объём, кВт·ч", 107),
    Column("Сумма, ₽", 60, number=True),
    Column("Разница, ₽", RIGHT - LEFT - 451, number=True),
)
_PENALTIES = (
    Column("За период, срок оплаты", 130),
    Column("Просрочка", 140),
    Column("Долг × дни × ставка ÷ доля в день", 165),
    Column("Пени, ₽", RIGHT - LEFT - 435, number=True),
)

QrOrWhyNot = segno.QRCode | str


def bill_pdf(bill: Bill, requisites: Requisites | None, person: Person | None) -> bytes:
    """Print a bill; without ``requisites`` it has no QR, without ``person`` no name and no address."""
    qr = _qr(bill, requisites)
    sheet = _print(bill, requisites, person, qr, 1, _CHART_HEIGHT)
    spare = sheet.y - BOTTOM
    if sheet.page > 1:
        sheet = _print(bill, requisites, person, qr, sheet.page, _CHART_HEIGHT)
    elif bill.year and spare > _SPARE_MIN:
        # A page with room left gives it to the picture.
        sheet = _print(bill, requisites, person, qr, 1, min(_CHART_HEIGHT + spare, _CHART_HEIGHT_MAX))
    return sheet.finish()


def _print(
    bill: Bill, requisites: Requisites | None, person: Person | None, qr: QrOrWhyNot, pages: int, chart_height: float
) -> Sheet:
    title = f"Платёжный документ за {month(bill.period)}, лицевой счёт {bill.account}"
    sheet = Sheet(
        title,
        requisites.name if requisites is not None else "",
        "Плата за электрическую энергию",
        f"Лицевой счёт {bill.account}, {month(bill.period)} — продолжение",
        pages,
    )
    _head(sheet, bill)
    top = sheet.y
    below = _pay_box(sheet, bill, qr, top)
    sheet.y = top
    _parties(sheet, bill, requisites, person)
    sheet.y = min(sheet.y, below)
    _readings(sheet, bill)
    _charges(sheet, bill)
    _recalculations(sheet, bill)
    _balance_and_year(sheet, bill, chart_height)
    _penalties(sheet, bill)
    _how_to_send(sheet, bill, requisites)
    return sheet


def _head(sheet: Sheet, bill: Bill) -> None:
    sheet.text(LEFT, TOP - 14, "Платёжный документ", 17, bold=True)
    sheet.text(LEFT, TOP - 29, f"за электрическую энергию, {month(bill.period)}", 11)
    sheet.text(RIGHT, TOP - 10, "лицевой счёт", 7.5, shade=GREY, right=True)
    sheet.text(RIGHT, TOP - 28, bill.account, 17, bold=True, right=True)
    sheet.y = TOP - 42


def _parties(sheet: Sheet, bill: Bill, requisites: Requisites | None, person: Person | None) -> None:
    if requisites is None:
        _fact(sheet, "Исполнитель", NO_REQUISITES)
    else:
        kpp = f", КПП {requisites.kpp}" if requisites.kpp else ""
        _fact(sheet, "Исполнитель", requisites.name, bold=True)
        _fact(sheet, "", f"ИНН {requisites.inn}{kpp}\n{requisites.address}", gap=0)
        _fact(
            sheet,
            "Счёт для оплаты",
            f"{requisites.account}\n{requisites.bank}, БИК {requisites.bic}\nк/с {requisites.corr_account}",
        )
        contacts = ", ".join(filter(None, (requisites.phone, requisites.site)))
        _fact(sheet, "Связь", "\n".join(filter(None, (contacts, requisites.hours))))
    if person is None:
        _fact(sheet, "Потребитель, адрес", NO_PERSON)
    else:
        _fact(sheet, "Потребитель", person.name, bold=True)
        _fact(sheet, "Адрес", person.address)
    dwelling = (
        f"{_LOCALITY_NAMES.get(bill.locality, bill.locality)}, {_STOVE_NAMES.get(bill.stove, bill.stove)}, "
        f"комнат {bill.rooms}, проживающих {bill.residents}"
    )
    _fact(sheet, "Помещение", dwelling)
    _fact(sheet, "Способ начисления", _method(bill))


def _fact(sheet: Sheet, label: str, text: str, *, bold: bool = False, gap: float = 4.0) -> None:
    label_width = 78.0
    sheet.y -= gap
    sheet.text(LEFT, sheet.y - 8.5, label, 7.5, shade=GREY)
    sheet.lines(LEFT + label_width, text, 8.5, _PAY_LEFT - 14 - LEFT - label_width, bold=bold, most=5)


def _method(bill: Bill) -> str:
    """Say how the kWh were found, and the norm where it was one."""
    text = MODE_NAMES.get(bill.mode, bill.mode)
    if bill.missed_in_a_row:
        text += f"; показание не передано {bill.missed_in_a_row}-й период подряд"
    if bill.average is not None:
        average = bill.average
        periods = plural(average.periods, "месяц", "месяца", "месяцев")
        zones = {register: value for register, value in average.kwh.items() if register is not Register.TOTAL}
        by_zone = ", ".join(f"{REGISTER_NAMES[register]} {whole(value)}" for register, value in zones.items())
        text += f"; {by_zone or kwh(sum(average.kwh.values()))} за {average.periods}{NBSP}{periods}"
    if bill.norm is not None:
        norm = bill.norm
        people = plural(norm.residents, "проживающего", "проживающих", "проживающих")
        text += f"; норматив {kwh(norm.per_person)} × {norm.residents}{NBSP}{people}"
        text += f", с поправками {kwh(norm.kwh)}" if norm.adjustments else f" = {kwh(norm.kwh)}"
    return text


def _pay_box(sheet: Sheet, bill: Bill, qr: QrOrWhyNot, top: float) -> float:
    """Draw what is to be paid, until when, and the QR; give how far down it goes."""
    left, width, height = _PAY_LEFT, RIGHT - _PAY_LEFT, 76.0
    box_top = top - 2
    sheet.canvas.setStrokeGray(BLACK)
    sheet.canvas.setLineWidth(1.4)
    sheet.canvas.roundRect(left, box_top - height, width, height, 5, stroke=1, fill=0)
    inner = width - 24
    sheet.text(left + 12, box_top - 16, "К оплате за электроэнергию", 8.5, to=inner)
    sheet.text(left + 12, box_top - 43, money(bill.to_pay), 26, bold=True, to=inner)
    if bill.to_pay > 0:
        due = f"оплатить до {day(bill.due_on)}"
    elif bill.closing < 0:
        due = f"аванс {money(-bill.closing)}"
    else:
        due = "долга нет"
    sheet.text(left + 12, box_top - 64, due, 13, bold=True, to=inner)
    y = box_top - height
    if bill.rulebook.startswith("demonstration/"):
        y -= 11
        sheet.text(left, y, "Демонстрационный тариф: не для оплаты.", 8.5, bold=True, to=width)
    if bill.penalty_closing > 0:
        y -= 11
        sheet.text(left, y, f"Кроме того пени {money(bill.penalty_closing)}: платятся отдельно.", 7.5, to=width)
    if isinstance(qr, str):
        for line in wrapped(qr, 7.5, width):
            y -= leading_of(7.5) + 1
            sheet.text(left, y, line, 7.5, shade=GREY)
        return y - 6
    y -= 4
    _draw_qr(sheet, qr, left - 5, y - _QR_SIDE)
    hint = "Наведите камеру в приложении банка: реквизиты и сумма заполнятся сами"
    hint_y = y - 18
    for line in wrapped(hint, 7.5, width - _QR_SIDE - 1):
        sheet.text(left + _QR_SIDE + 1, hint_y, line, 7.5, shade=GREY)
        hint_y -= leading_of(7.5)
    return y - _QR_SIDE


def _qr(bill: Bill, requisites: Requisites | None) -> QrOrWhyNot:
    """Make the QR of what is to be paid, or say why there is none."""
    if bill.to_pay <= 0:
        return "QR-кода нет: по этому счёту платить нечего."
    if requisites is None:
        return f"QR-кода нет: {NO_REQUISITES}."
    meters = sorted({reading.meter for reading in bill.readings})
    try:
        text = payment_qr(
            requisites,
            bill.account,
            bill.period,
            bill.to_pay,
            purpose=f"За электроэнергию {bill.period[5:7]}.{bill.period[:4]}, л/с {bill.account}",
            # No CounterVal: a bank would send the reading of this bill again with the payment, as one of the next period.
            counter=meters[0] if len(meters) == 1 and len(meters[0]) <= COUNTER_LENGTH_MAX else None,
        )
    except UnfitForQr as unfit:
        return f"QR-кода нет: поле {unfit.field} не отвечает ГОСТ Р 56042-2014."
    return segno.make_qr(text, encoding="utf-8", error="m")


def _draw_qr(sheet: Sheet, qr: segno.QRCode, left: float, bottom: float) -> None:
    rows = [list(row) for row in qr.matrix_iter(border=4)]
    side = _QR_SIDE / len(rows)
    path = sheet.canvas.beginPath()
    for i, row in enumerate(rows):
        start: int | None = None
        for j, dark in enumerate([*row, 0]):
            if dark and start is None:
                start = j
            elif not dark and start is not None:
                # A hair taller than a module, so that no light shows between two rows.
                path.rect(left + start * side, bottom + (len(rows) - 1 - i) * side, (j - start) * side, side * 1.02)
                start = None
    sheet.canvas.setFillGray(BLACK)
    sheet.canvas.drawPath(path, stroke=0, fill=1)


def _readings(sheet: Sheet, bill: Bill) -> None:
    rows = [
        Row(
            (
                f"№ {reading.meter}",
                REGISTER_NAMES.get(reading.register, reading.register),
                whole(reading.previous),
                day(reading.previous_on),
                "не передано" if reading.current is None else whole(reading.current),
                "" if reading.current_on is None else day(reading.current_on),
                "" if reading.used is None else whole(reading.used),
            )
        )
        for reading in bill.readings
    ]
    sheet.heading("Показания прибора учёта", table_height(_READINGS, rows[:3]))
    if rows:
        sheet.table(_READINGS, rows)
    else:
        sheet.y -= 3
        sheet.lines(LEFT, "Показаний прибора учёта за период нет.", 8, RIGHT - LEFT)


def _charges(sheet: Sheet, bill: Bill) -> None:
    title = f"Начислено за {month(bill.period)}: электроснабжение (индивидуальное потребление)"
    rows = [
        Row(
            (
                REGISTER_NAMES.get(line.register, line.register),
                _range(bill, line),
                _basis(line),
                "" if line.coefficient is not None else whole(line.kwh),
                decimal(line.rate),
                roubles(line.amount),
            )
        )
        for line in bill.charges
    ]
    sheet.heading(title, table_height(_CHARGES, rows[:3]), money(bill.charged))
    sheet.table(_CHARGES, rows)
    if bill.charges:
        sheet.y -= 2
        sheet.lines(LEFT, f"Как найдено: {'; '.join(_formulas(bill))}.", 7.5, RIGHT - LEFT, shade=GREY)


def _range(bill: Bill, line: ChargeLine) -> str:
    """Name a range by its bounds: «1-й, до 3900»."""
    if not bill.ranges:
        return "—"
    if line.range > len(bill.ranges):
        return f"{line.range}-й, от {bill.ranges[-1]}"
    return f"{line.range}-й, до {bill.ranges[line.range - 1]}"


def _basis(line: ChargeLine) -> str:
    mode = MODE_NAMES.get(line.mode, line.mode)
    if line.coefficient is not None:
        mode = f"повышающий коэффициент {decimal(line.coefficient)}"
    return f"{mode}; {RULE_NAMES.get(line.rule, line.rule)}"


def _formulas(bill: Bill) -> Iterator[str]:
    """Say how each sum was found: «185 кВт·ч × 6,73 ₽ = 1 245,05 ₽»."""
    many = len(bill.charges) > 1
    before: ChargeLine | None = None
    for line in bill.charges:
        rate = f"{decimal(line.rate)} ₽"
        if line.coefficient is not None and before is not None:
            text = f"{kwh(before.kwh)} × {rate} × {decimal(line.coefficient)} {MINUS} {money(before.amount)}"
        elif line.coefficient is not None:
            text = f"повышение × {decimal(line.coefficient)}"
        else:
            text = f"{kwh(line.kwh)} × {rate}"
        before = line
        zone = (
            f"{REGISTER_NAMES.get(line.register, line.register)} " if many and line.register != Register.TOTAL else ""
        )
        yield f"{zone}{text} = {money(line.amount)}".replace(" ", NBSP)
    if many:
        yield f"вместе {money(bill.charged)}".replace(" ", NBSP)


def _recalculations(sheet: Sheet, bill: Bill) -> None:
    if not bill.recalculations:
        return
    rows = [
        Row(
            (
                month(r.period),
                _ground(r),
                "было\n" + "\n" * (_before_lines(r) - 1) + "стало",
                f"{by_register(r.before)}\n{by_register(r.after)}",
                roubles(r.money_before) + "\n" * _before_lines(r) + roubles(r.money_after),
                _signed(r.difference),
            )
        )
        for r in bill.recalculations
    ]
    sheet.heading("Перерасчёты", table_height(_RECALCULATIONS, rows[:1]), f"{_signed(bill.recalculated)}{NBSP}₽")
    sheet.table(_RECALCULATIONS, rows)


def _before_lines(recalculation: BillRecalculation) -> int:
    return len(wrapped(by_register(recalculation.before), 8, _RECALCULATIONS[3].width - 6))


def _ground(recalculation: BillRecalculation) -> str:
    """Name the ground once: in the words of the reason, with what the bill adds to them, and the rule."""
    reason = GROUND_NAMES.get(recalculation.reason, "")
    said = [reason] if reason and reason.casefold() not in recalculation.ground.casefold() else []
    said += [recalculation.ground] if recalculation.ground else []
    rule = RULE_NAMES.get(recalculation.rule, recalculation.rule)
    if rule.casefold() not in recalculation.ground.casefold():
        said.append(rule)
    return "; ".join(said)


def _signed(amount: Decimal) -> str:
    return f"+{roubles(amount)}" if amount > 0 else roubles(amount)


def _balance_and_year(sheet: Sheet, bill: Bill, chart_height: float) -> None:
    """Write the money of the account on the left, and draw the year on the right of it."""
    columns = (Column("", 162), Column("", 74, number=True))
    rows = [
        Row((_opening(bill), roubles(bill.opening))),
        *_movements(bill.movements),
        Row((f"Начислено за {month(bill.period)}", _signed(bill.charged))),
    ]
    if bill.recalculations or bill.recalculated:
        rows.append(Row(("Перерасчёты", _signed(bill.recalculated))))
    rows.append(Row(("Аванс на конец" if bill.closing < 0 else "Долг на конец", roubles(bill.closing))))
    rows.append(Row(("К оплате", roubles(bill.to_pay)), bold=True))
    size = 8.5
    height = max(table_height(columns, rows, size=size, headed=False) + 10, chart_height)
    sheet.heading("Расчёты по лицевому счёту, ₽", height)
    sheet.y -= 2
    top = sheet.y
    draw_year(sheet, bill.year, _CHART_LEFT, top - 3, RIGHT - _CHART_LEFT, chart_height - 4)
    sheet.table(columns, rows, size=size, headed=False)
    sheet.y = top - height


def _opening(bill: Bill) -> str:
    before = month(shift(Period(bill.period), -1))[:-5]
    name = "Долг" if bill.opening > 0 else "Аванс" if bill.opening < 0 else "Остаток"
    return f"{name} на начало (счёт за {before})"


def _movements(movements: tuple[BillMovement, ...]) -> Iterator[Row]:
    if not movements:
        yield Row(("Оплачено", roubles(_ZERO)))
        return
    older, named = movements[:-MOVEMENTS_MAX], movements[-MOVEMENTS_MAX:]
    if older:
        number = f"{len(older)} {plural(len(older), 'операция', 'операции', 'операций')}"
        yield Row((f"Прежде того {number}, вместе", _signed(sum((m.amount for m in older), _ZERO))))
    for m in named:
        reference = f" ({m.reference})" if m.reference else ""
        what = wrapped(f"{_MOVEMENTS.get(m.kind, m.kind)} {day(m.booked_on)}{reference}", 8.5, 156, most=2)
        yield Row(("\n".join(what), _signed(m.amount)))


def _penalties(sheet: Sheet, bill: Bill) -> None:
    sums = (bill.penalty_opening, bill.penalty_accrued, bill.penalty_paid, bill.penalty_closing)
    if not bill.penalties and not any(sums):
        return
    rows = [row for penalty in bill.penalties for row in _penalty(penalty)]
    title = "Пени (ЖК РФ, ст. 155, ч. 14): отдельный счёт, платежи за электроэнергию на них не идут"
    sheet.heading(title, table_height(_PENALTIES, rows[:2]))
    if rows:
        sheet.table(_PENALTIES, rows)
    paid = bill.penalty_opening + bill.penalty_accrued - bill.penalty_closing
    total = (
        f"Пени на начало {money(bill.penalty_opening)}; начислено в этом счёте {money(bill.penalty_accrued)}; "
        f"оплачено {money(paid)}; к оплате {money(max(bill.penalty_closing, _ZERO))}."
    )
    sheet.y -= 3
    sheet.lines(LEFT, total, 8.5, RIGHT - LEFT, bold=True)


def _penalty(penalty: BillPenalty) -> Iterator[Row]:
    name = f"{month(penalty.period)}, до {day(penalty.due_on)}"
    for line in penalty.lines:
        days = f"{line.days}{NBSP}{plural(line.days, 'день', 'дня', 'дней')}"
        yield Row(
            (name, f"{day(line.since)} – {day(line.until)}, {days}", _penalty_formula(line), roubles(line.amount))
        )
        name = ""
    earlier = sum((line.amount for line in penalty.lines), _ZERO) - penalty.amount
    if earlier or not penalty.lines:
        yield Row((name, "в прежних счетах уже начислено", "", _signed(-earlier)))
        yield Row(("", "новое в этом счёте", "", roubles(penalty.amount)), bold=True)


def _penalty_formula(line: PenaltyLine) -> str:
    return f"{money(line.principal)} × {line.days} × {decimal(line.rate)} % ÷ {line.divisor}".replace(" ", NBSP)


def _how_to_send(sheet: Sheet, bill: Bill, requisites: Requisites | None) -> None:
    following = shift(Period(bill.period), 1)
    until = first_day(following).replace(day=bill.deadline_day)
    registers = tuple(Register(r) for r in REGISTER_NAMES if r in {reading.register for reading in bill.readings})
    zones = f" ({', '.join(_spoken(registers))})" if len(registers) > 1 else ""
    ways = (
        f"SMS на {_SMS}: {example(registers, bill.account)}{zones}\n"
        f"Голосовое меню {_VOICE}; сайт {_SITE}; личный кабинет ГИС ЖКХ dom.gosuslugi.ru; приложения банков; офис\n"
        f"Вопросы: горячая линия {_HOTLINES}. Офис: {_OFFICE}"
    )
    small = (
        f"Тариф: {', '.join(dict.fromkeys(line.tariff for line in bill.charges)) or '—'}. Правила: {bill.rulebook}. "
        f"Период закрыт {moment(bill.closed_at)} (московское время)."
    )
    needs = (len(wrapped(ways, 8, RIGHT - LEFT)) * leading_of(8)) + 2 * leading_of(6.8) + 6
    heading = f"Показания за {month(following)} передайте до {day(until)} включительно"
    if bill.is_last:
        heading = "Это последний счёт: показания больше передавать не нужно"
        ways = ways.partition("\n")[2].partition("\n")[2]
    elif bill.automatic:
        heading = f"Показания за {month(following)} прибор учёта передаст сам"
        ways = ways.partition("\n")[2].partition("\n")[2]
    sheet.heading(heading, needs)
    sheet.y -= 3
    sheet.lines(LEFT, ways, 8, RIGHT - LEFT)
    sheet.y -= 3
    sheet.lines(LEFT, small, 6.8, RIGHT - LEFT, shade=GREY)


def _spoken(registers: tuple[Register, ...]) -> Iterator[str]:
    """Name the zones in the order of the SMS: day, night; half-peak, night, peak."""
    for register in (Register.TOTAL, Register.DAY, Register.HALF_PEAK, Register.NIGHT, Register.PEAK):
        if register in registers:
            yield REGISTER_NAMES[register]
