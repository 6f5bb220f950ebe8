"""Which register each place of a meter's display shows: data of the model, from its passport (rules 4)."""

from __future__ import annotations

from collections.abc import Mapping

from bels.domain.terms import MeterModel, Register

DISPLAYS: Mapping[str, Mapping[str, Register]] = {
    "матрица": {"T1": Register.NIGHT, "T2": Register.PEAK, "T3": Register.HALF_PEAK},
    "миртек": {"T1": Register.DAY, "T2": Register.NIGHT},
}
"""Displays of models, by the first word of the model's name in lower case."""


def display_of(meter: MeterModel) -> Mapping[str, Register] | None:
    """Give what T1 to T3 of a meter show: by its own map or its model's; None where nobody has said it."""
    if meter.display is not None:
        return meter.display
    if meter.registers == (Register.TOTAL,):
        return {"T1": Register.TOTAL}
    name = (meter.model or "").lower().replace("«", " ").replace("»", " ").split()
    display = DISPLAYS.get(name[0]) if name else None
    return display if display is not None and set(display.values()) == set(meter.registers) else None
