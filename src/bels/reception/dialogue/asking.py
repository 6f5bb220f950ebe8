"""What each situation asks: the sentences of its question, and what may be answered."""

from __future__ import annotations

from typing import assert_never

from bels.domain.terms import HoldReason, Register
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.standing import (
    Choosing,
    Confirming,
    Doubting,
    Menu,
    Naming,
    NamingMeter,
    Over,
    Situation,
    Valuing,
)
from bels.reception.dialogue.turns import Ask, AskKind, Line, Option, Part, PartKind

ACCOUNT_DIGITS = 7
METER_DIGITS_MAX = 20
ENDS = 4
"""Digits at the end of an account or a meter that are told instead of the whole number."""

ENDS_TO_STRANGERS = 2
"""Digits of a meter that are told to who is not linked: enough to know the own one by, and no help with the form, to which the
number is a proof."""

WARNINGS: dict[str, Say] = {
    HoldReason.IMPLAUSIBLE: Say.MUCH,
    HoldReason.LESS_THAN_PREVIOUS: Say.LESS,
    HoldReason.MORE_THAN_NEXT: Say.MORE_THAN_NEXT,
    HoldReason.UNCONFIRMED_SENDER: Say.PROVE,
}
"""Why a reading is held, or would be."""

YES, SURE = "yes.", "sure."
"""Keys that name the draft which they confirm: a button of an older draft confirms nothing."""

NOTHING = Ask(AskKind.NOTHING)
OPERATOR = Ask(AskKind.OPERATOR)


def digits(value: str) -> Part:
    """Make a part that is spoken digit by digit."""
    return Part(PartKind.DIGITS, value)


def option(key: str, digit: str, say: Say, **parts: Part) -> Option:
    """Make an option."""
    return Option(key, digit, Line(say, parts))


def end_of(number: str, digits: int = ENDS) -> str:
    """Give the last digits of a number, "" where it has none."""
    return "".join(c for c in number if c.isascii() and c.isdigit())[-digits:]


def question(at: Situation) -> tuple[Line, ...]:
    """Say what a situation asks."""
    match at:
        case Over():
            return ()
        case Choosing():
            return (Line(Say.CHOOSE_ACCOUNT),)
        case Naming():
            return (Line(Say.ASK_ACCOUNT),)
        case NamingMeter():
            return (Line(Say.ASK_METER),)
        case Valuing():
            return _asked_value(at)
        case Confirming():
            return _read_back(at)
        case Doubting():
            return (Line(Say.SURE),)
        case Menu():
            return (Line(Say.MENU),)
        case _ as never:
            assert_never(never)


def ask_of(at: Situation, desk: Desk) -> Ask:
    """Say what may be answered in a situation."""
    match at:
        case Over():
            return NOTHING
        case Choosing():
            accounts = tuple(
                option(f"a{i}", f"{i}", Say.OPTION_ACCOUNT, end=digits(end_of(account)))
                for i, account in enumerate(at.offered, start=1)
            )
            return Ask(AskKind.CHOICE, (*accounts, option("account", "0", Say.OPTION_OTHER_ACCOUNT)))
        case Naming():
            return Ask(AskKind.NUMBER, (option("operator", "0", Say.OPTION_OPERATOR),), ACCOUNT_DIGITS)
        case NamingMeter():
            return Ask(AskKind.NUMBER, (option("menu", "*", Say.OPTION_MENU),), METER_DIGITS_MAX)
        case Valuing():
            again, meter = option("again", "*", Say.OPTION_AGAIN), option("meter", "*", Say.OPTION_OTHER_METER)
            # One digit more than the meter has: who keys too many is told so, and none is cut off.
            return Ask(AskKind.NUMBER, (again if at.values else meter,), at.capacity + 1)
        case Confirming():
            return Ask(
                AskKind.CHOICE,
                (
                    option(f"{YES}{at.draft}", "1", Say.OPTION_YES),
                    option("fix", "2", Say.OPTION_FIX),
                    option("cancel", "3", Say.OPTION_CANCEL),
                ),
            )
        case Doubting():
            return Ask(
                AskKind.CHOICE,
                (
                    option(f"{SURE}{at.draft}", "1", Say.OPTION_SURE),
                    option("fix", "2", Say.OPTION_FIX),
                    option("menu", "3", Say.OPTION_MENU),
                ),
            )
        case Menu():
            return Ask(AskKind.CHOICE, _menu(at, desk))
        case _ as never:
            assert_never(never)


def values_of(values: dict[str, str]) -> tuple[Line, ...]:
    """Repeat what was understood, zones by name."""
    return tuple(
        Line(Say.VALUE, {"zone": Part(PartKind.ZONE, register), "value": digits(value)})
        for register, value in values.items()
    )


def _asked_value(at: Valuing) -> tuple[Line, ...]:
    lines: list[Line] = []
    n = len(at.values)
    if n == 0:
        lines.append(Line(Say.ACCOUNT_ENDS, {"end": digits(end_of(at.account))}))
        if at.ends:
            lines.append(Line(Say.METER_ENDS, {"end": digits(at.ends)}))
    place, register = at.shown[n]
    zone = Part(PartKind.ZONE, register)
    if register is not Register.TOTAL:
        if place[1:].isdigit():
            lines.append(Line(Say.PLACE, {"place": digits(place[1:]), "zone": zone}))
        else:
            lines.append(Line(Say.ZONE, {"zone": zone}))
    if at.previous:
        lines.append(Line(Say.PREVIOUS, {"value": digits(str(at.previous[n]))}))
    return (*lines, Line(Say.ASK_VALUE))


def _read_back(at: Confirming) -> tuple[Line, ...]:
    lines = [Line(Say.ACCOUNT, {"account": digits(at.account)}), *values_of(at.values)]
    if at.kwh is not None and at.held != HoldReason.LESS_THAN_PREVIOUS:
        lines.append(Line(Say.USED, {"kwh": Part(PartKind.KWH, str(at.kwh))}))
    if at.roubles:
        lines.append(Line(Say.COST, {"roubles": Part(PartKind.ROUBLES, at.roubles)}))
    if at.held in WARNINGS:
        lines.append(Line(WARNINGS[at.held]))
    return (*lines, Line(Say.CONFIRM))


def _menu(at: Menu, desk: Desk) -> tuple[Option, ...]:
    options = []
    if at.account:
        options.append(option("read", "1", Say.OPTION_READING))
        if at.linked:
            options += [
                option("balance", "2", Say.OPTION_BALANCE),
                option("bill", "3", Say.OPTION_BILL),
                option("last", "4", Say.OPTION_LAST),
            ]
    if desk.office is not None:
        options.append(option("hours", "5", Say.OPTION_HOURS))
    options += [
        Option(topic.key, topic.digit, topic.label)
        for topic in desk.topics
        if not topic.about_account or (at.account and (at.linked or not topic.linked))
    ]
    options.append(option("account", "9", Say.OPTION_OTHER_ACCOUNT))
    options.append(option("operator", "0", Say.OPTION_OPERATOR))
    return tuple(options)
