"""The picture of the year: kWh a month as bars stacked by register, and how each month was found."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from bels.domain.terms import REGISTER_ORDER, Mode
from bels.printing.russian import REGISTER_NAMES, whole
from bels.printing.sheet import GREY, PALE, Sheet, width_of
from bels.projections.bills import MonthUsage
from bels.projections.words import MONTHS

Colour = tuple[float, float, float]

_COLOURS: dict[str, Colour] = {
    "total": (0.27, 0.47, 0.63),
    "day": (0.66, 0.80, 0.89),
    "peak": (0.96, 0.80, 0.45),
    "half_peak": (0.42, 0.61, 0.75),
    "night": (0.11, 0.20, 0.34),
}
"""By their lightness distinct in black and white too: night darkest, then total, half-peak, day and peak."""
_OTHER: Colour = (0.5, 0.5, 0.5)

_MODES = {
    Mode.METERED.value: "по показаниям",
    Mode.AVERAGE.value: "по среднему",
    Mode.NORMATIVE.value: "по нормативу",
    Mode.NORMATIVE_INCREASED.value: "по нормативу с коэффициентом",
}
_SMALL = 6.2
_HATCH = 2.4


def draw_year(sheet: Sheet, year: Sequence[MonthUsage], left: float, top: float, width: float, height: float) -> None:
    """Draw the bars into the box whose upper left corner is (left, top), with legend and axes."""
    sheet.text(left, top - 9, "Потребление за год, кВт·ч", 8.5, bold=True, to=width)
    if not year:
        sheet.text(left, top - 26, "Данных о потреблении нет.", 8, shade=GREY, to=width)
        return
    legend_bottom = _legend(sheet, year, left, top - 21, width)
    highest = max(0, *(sum(n for n in month.kwh.values() if n > 0) for month in year))
    lowest = min(0, *(sum(n for n in month.kwh.values() if n < 0) for month in year))
    step = _step(highest - lowest)
    first, last = floor(lowest / step), max(ceil(highest / step), 1)
    labels = [whole(n * step) for n in range(first, last + 1)]
    axis = left + max(width_of(label, _SMALL) for label in labels) + 5
    # Under the axis stand the months and the year; the figures of a negative month need a line more.
    below = 7 if lowest < 0 else 0
    bottom, ceiling = top - height + 19 + below, legend_bottom - 11
    point = (ceiling - bottom) / ((last - first) * step)
    zero = bottom - first * step * point

    for n, label in zip(range(first, last + 1), labels, strict=True):
        y = zero + n * step * point
        sheet.rule(y, 0.8 if n == 0 else 0.25, GREY if n == 0 else PALE, axis, left + width)
        sheet.text(axis - 3, y - 2, label, _SMALL, shade=GREY, right=True)
    pitch = (left + width - axis) / len(year)
    bar = min(pitch * 0.68, 26.0)
    for i, month in enumerate(year):
        x = axis + pitch * i + (pitch - bar) / 2
        up = down = zero
        for register in _registers([month]):
            size = month.kwh[register] * point
            if size >= 0:
                _bar(sheet, month.mode, _COLOURS.get(register, _OTHER), x, up, bar, size)
                up += size
            else:
                _bar(sheet, month.mode, _COLOURS.get(register, _OTHER), x, down + size, bar, -size)
                down += size
        total = sum(month.kwh.values())
        beyond = down - 6.5 if total < 0 else up + 2
        _centred(sheet, x + bar / 2, beyond, whole(total), pitch - 1)
        _centred(sheet, x + bar / 2, bottom - 8 - below, MONTHS[int(month.period[5:7]) - 1][:3], pitch)
        if i == 0 or month.period.endswith("-01"):
            _centred(sheet, x + bar / 2, bottom - 15 - below, month.period[:4], pitch + 4)


def _legend(sheet: Sheet, year: Sequence[MonthUsage], left: float, y: float, width: float) -> float:
    """Write which colour and which filling mean what; give the baseline of its last line."""
    registers = _registers(year)
    modes = [mode for mode in _MODES if any(month.mode == mode for month in year)]
    entries: list[tuple[str, str, Colour]] = []
    if registers != ["total"]:
        entries += [(REGISTER_NAMES.get(r, r), Mode.METERED.value, _COLOURS.get(r, _OTHER)) for r in registers]
    entries += [(_MODES[mode], mode, _OTHER) for mode in modes]
    x = left
    for name, mode, colour in entries:
        needs = 11 + width_of(name, 6.8) + 9
        if x > left and x + needs - 9 > left + width:
            x, y = left, y - 9
        _bar(sheet, mode, colour, x, y - 0.8, 8, 6.4)
        sheet.text(x + 11, y, name, 6.8, to=width - 11)
        x += needs
    return y


def _bar(sheet: Sheet, mode: str, colour: Colour, x: float, y: float, width: float, height: float) -> None:
    """Draw a bar: metered solid, average hatched, by the norm an outline; with the coefficient a hatched outline crosswise."""
    if height <= 0:
        return
    canvas = sheet.canvas
    canvas.saveState()
    canvas.setFillColorRGB(*(colour if mode not in _MODES or mode == Mode.METERED else (1.0, 1.0, 1.0)))
    canvas.setStrokeColorRGB(*(c * 0.8 for c in colour))
    canvas.setLineWidth(0.7)
    canvas.rect(x, y, width, height, fill=1, stroke=1)
    if mode in (Mode.AVERAGE, Mode.NORMATIVE_INCREASED):
        clip = canvas.beginPath()
        clip.rect(x, y, width, height)
        canvas.clipPath(clip, stroke=0, fill=0)
        canvas.setLineWidth(0.9 if mode == Mode.AVERAGE else 0.5)
        for i in range(ceil((width + height) / _HATCH) + 1):
            canvas.line(x + i * _HATCH - height, y, x + i * _HATCH, y + height)
            if mode == Mode.NORMATIVE_INCREASED:
                canvas.line(x + i * _HATCH - height, y + height, x + i * _HATCH, y)
    canvas.restoreState()


def _registers(year: Sequence[MonthUsage]) -> list[str]:
    """List the registers of some months, night at the foot of a bar, then in the order of the rules."""
    order = ["night", *(r.value for r in REGISTER_ORDER if r != "night")]
    found = {register for month in year for register in month.kwh}
    return [r for r in order if r in found] + sorted(found.difference(order))


def _step(span: int) -> int:
    """Choose the step of the axis: 1, 2 or 5 times a power of ten, about four of them in the span."""
    if span < 4:
        return 1
    rough = span / 4
    power = 10.0 ** floor(log10(rough))
    return next(int(n * power) for n in (1, 2, 5, 10) if n * power >= rough and n * power >= 1)


def _centred(sheet: Sheet, x: float, y: float, text: str, width: float) -> None:
    size = _SMALL * min(1.0, width / width_of(text, _SMALL))
    full = width_of(text, size)
    sheet.canvas.setFillGray(1)
    sheet.canvas.rect(x - full / 2 - 0.5, y - 0.8, full + 1, size * 0.85, stroke=0, fill=1)
    sheet.text(x - full / 2, y, text, size)
