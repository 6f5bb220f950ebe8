"""Values of a meter on a page: a field for each register in the order of its display, what is wrong with one, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from bels.domain.events import Event, ReadingHeld
from bels.domain.read_value import read_value
from bels.domain.terms import HoldReason, Register
from bels.messages import Outcome, Status
from bels.reception.counter import Answer, ShownMeter
from bels.web.pages import Pages
from bels.words import HOTLINE, ZONE_NAMES, Words

FIELD = "value-"

WARNINGS: dict[HoldReason, str] = {
    HoldReason.LESS_THAN_PREVIOUS: "Похоже, это меньше прежнего показания. Проверьте цифры. Если отправить так, показание "
    "не учтётся, пока его не проверит оператор.",
    HoldReason.IMPLAUSIBLE: "Похоже, расход очень велик. Проверьте цифры: нет ли лишней, не попали ли цифры после запятой. "
    "Если отправить так, показание не учтётся, пока его не подтвердят.",
    HoldReason.MORE_THAN_NEXT: "Похоже, это больше более позднего показания. Если отправить так, показание не учтётся, пока его "
    "не проверит оператор.",
    HoldReason.UNCONFIRMED_SENDER: "За этот месяц уже передано другое показание. Новое заменит его только тогда, когда это "
    "подтвердит владелец счёта.",
}
"""What is said before a reading is sent that would be held."""

_HINTS: dict[HoldReason, str] = {
    HoldReason.LESS_THAN_PREVIOUS: "Если ошиблись, передайте верное показание ещё раз.",
    HoldReason.IMPLAUSIBLE: f"Если ошиблись, передайте верное показание ещё раз. Показание верное? Позвоните: {HOTLINE}.",
    HoldReason.MORE_THAN_NEXT: "Если ошиблись, передайте верное показание ещё раз.",
    HoldReason.UNCONFIRMED_SENDER: f"Чтобы подтвердить, войдите в личный кабинет или позвоните и назовите номер: {HOTLINE}.",
}
_TITLES = {
    Status.ACCEPTED: ("Показание принято", "good"),
    Status.HELD: ("Показание на проверке", "warn"),
    Status.REFUSED: ("Показание не принято", "bad"),
    Status.PARKED: ("Сообщение получено", "warn"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form: one register."""

    id: str
    label: str
    value: str
    hint: str


def name_of(place: str, register: Register) -> str:
    """Name a register as its display and its household do: «T1, ночь»; one alone is «Показание»."""
    name = ZONE_NAMES[register]
    return f"{place}, {name}" if place and register is not Register.TOTAL else name.capitalize()


def fields_of(meter: ShownMeter, given: Mapping[str, str], before: Mapping[Register, int] | None = None) -> list[Field]:
    """Give a field for each register of a meter, in the order of its display; ``before`` is what they showed last."""
    shown = []
    for place, register in meter.shown:
        last = f", прежнее {before[register]}" if before is not None and register in before else ""
        hint = f"Целые кВт·ч, до {meter.capacity} цифр{last}"
        shown.append(Field(FIELD + register.value, name_of(place, register), given.get(register.value, ""), hint))
    return shown


def values_in(meter: ShownMeter, posted: Mapping[str, str]) -> dict[str, str]:
    """Give the values that were posted for the registers of a meter, as digits where they can be read; empty ones are none."""
    said = {register.value: posted.get(FIELD + register.value, "").strip() for register in meter.registers}
    read = {name: read_value(text) for name, text in said.items() if text}
    return {name: said[name] if value is None else str(value) for name, value in read.items()}


def errors_in(meter: ShownMeter, values: Mapping[str, str]) -> dict[str, str]:
    """Say what is wrong with the values, by the id of the field."""
    found = {}
    for place, register in meter.shown:
        text = values.get(register.value)
        value = read_value(text) if text is not None else None
        label = name_of(place, register)
        if text is None:
            found[FIELD + register.value] = f"{label}: введите показание"
        elif value is None:
            found[FIELD + register.value] = f"{label}: нужны только цифры, например 12345"
        elif value >= 10**meter.capacity:
            found[FIELD + register.value] = f"{label}: на счётчике только {meter.capacity} цифр, без цифр после запятой"
    return found


def shown_values(meter: ShownMeter, values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name the values for reading back."""
    return [
        (name_of(place, register), f"{values[register.value]} кВт·ч")
        for place, register in meter.shown
        if register.value in values
    ]


def hold_of(events: tuple[Event, ...]) -> HoldReason | None:
    """Say why a reading would be held, None where it would not."""
    return events[0].reason if events and isinstance(events[0], ReadingHeld) else None


def may_affirm(outcome: Outcome) -> bool:
    """Say whether whoever sent a held reading may say that it is right: one that is only very high."""
    event = outcome.events[0] if outcome.events else None
    if not isinstance(event, ReadingHeld) or event.reason is not HoldReason.IMPLAUSIBLE:
        return False
    return len(outcome.events) == 1 and all(
        event.values[register] >= value for register, value in (event.previous or {}).items()
    )


def outcome_page(pages: Pages, found: Answer, path: str, *, affirm: str = "") -> Response:
    """Write the page of an outcome; the examples in the words for an SMS are none for a page.

    ``affirm`` is the draft by which its sender may say that a held reading is right, "" where it may not.
    """
    outcome = found.outcome
    title, kind = _TITLES[outcome.status]
    hold = hold_of(outcome.events)
    hint = f"{found.words.hint}."
    if hold is not None and len(outcome.events) == 1:
        hint = "Если верно, подтвердите кнопкой ниже." if affirm else _HINTS[hold]
    elif outcome.status is Status.REFUSED:
        hint = f"Начните сначала или позвоните: {HOTLINE}."
    words = found.words
    if outcome.receipt not in words.text:
        words = Words(f"№{outcome.receipt}: {words.text}", words.hint)
    return pages.page(
        "done",
        422 if outcome.status is Status.REFUSED else 200,
        code=found.code,
        push=path,
        title=title,
        kind=kind,
        words=words,
        hint=hint,
        receipt=outcome.receipt,
        path=path,
        affirm=affirm,
    )
