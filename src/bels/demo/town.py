"""The demonstration town: households drawn by a seeded chance, and all their messages in order of time.

Nothing here knows the database. The same seed and the same end give the same plan, which is how a load that was stopped goes
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random

from bels.demo.household import CONSUMER_CHANNELS, FIRST_NUMBER, ONE, THREE, TWO, Household, Step, Town
from bels.demo.payments import plan_payments, plan_strays
from bels.demo.situations import SITUATIONS
from bels.domain.commands import (
    CloseAccount,
    LinkChannel,
    RecordAccessRefusal,
    RemoveMeter,
    ReportMeterFailure,
    TakeControlReading,
)
from bels.domain.terms import Channel, FailureCause, Locality, Stove

TOGETHER_WITHIN = timedelta(minutes=30)
"""Messages so near to each other are recorded together, at the moment of the last."""


def plan(town: Town, digest: Callable[[str], str]) -> list[Step]:
    """Plan all messages of the town in order of time; ``digest`` makes a sender of a phone or a chat."""
    steps: list[Step] = []
    for index in range(town.accounts):
        chance = Random(f"{town.seed}:{index}")
        if index < len(SITUATIONS):
            household = Household(town, index, chance, **SITUATIONS[index].draws)  # type: ignore[arg-type]
            SITUATIONS[index].live(household)
        else:
            household = _drawn(town, index, chance)
        _link(household, digest)
        household.close_periods()
        plan_payments(household, SITUATIONS[index].habit if index < len(SITUATIONS) else None)
        steps += household.steps
    steps += [step for step in plan_strays(town) if steps[0].at < step.at <= town.until]
    # The opening of the first account is the first message of all: by it a town is known again.
    steps.sort(key=lambda s: (s.at, s.account))
    return steps


def phone_of(index: int) -> str:
    """Give the telephone of a household."""
    return f"+79{FIRST_NUMBER + index:07d}00"


def _link(h: Household, digest: Callable[[str], str]) -> None:
    wanted = h.index in (0, 20) or (h.index >= len(SITUATIONS) and h.chance.random() < 0.3)
    if wanted:
        at = h.opened_at + timedelta(hours=2)
        h.act(at, LinkChannel(Channel.SMS, digest(phone_of(h.index)), at), Channel.OFFICE)
    if h.index == 20:
        at = h.opened_at + timedelta(hours=3)
        h.act(at, LinkChannel(Channel.TELEGRAM, digest(f"chat-{h.number}"), at), Channel.CABINET)


def _drawn(town: Town, index: int, chance: Random) -> Household:
    registers = chance.choices((ONE, TWO, THREE), (60, 25, 15))[0]
    electric, dacha = chance.random() < 0.2, chance.random() < 0.1
    automatic = chance.random() < 0.08
    residents = chance.choices((0, 1, 2, 3, 4, 5), (3, 22, 30, 24, 16, 5))[0]
    h = Household(
        town,
        index,
        chance,
        registers=registers,
        kwh_a_month=(chance.lognormvariate(4.2, 0.3) + 38 * residents) * (1.8 if electric else 1.0),
        winter=-0.6 if dacha else chance.uniform(0.1, 0.4),
        stove=Stove.ELECTRIC if electric else Stove.GAS,
        locality=Locality.RURAL if dacha or chance.random() < 0.15 else Locality.URBAN,
        rooms=chance.choices((1, 2, 3, 4), (25, 40, 28, 7))[0],
        residents=residents,
        automatic=automatic,
        opened_ago=99 if chance.random() < 0.9 else chance.randint(1, 10),
        capacity=chance.choices((5, 6, 7), (35, 55, 10))[0],
        empty_months=(11, 12, 1, 2, 3) if dacha else (),
    )
    if automatic:
        for ago in range(town.months - 1, -1, -1):
            h.send(ago, 25, Channel.REMOTE, hour=20.0)
        return h
    misses = chance.choices((0.02, 0.12, 0.35, 0.8), (45, 35, 15, 5))[0]
    channels, weights = zip(*CONSUMER_CHANNELS, strict=True)
    usual = chance.choices(channels, weights)[0]
    event_ago = chance.randint(2, max(2, town.months - 3))
    fate = chance.choices(("none", "replace", "fail", "refuse", "control", "close", "slip"), (72, 5, 3, 3, 5, 3, 9))[0]
    for ago in range(min(h.opened_ago, town.months - 1), -1, -1):
        if ago == event_ago:
            if _befall(h, fate, ago):
                break
        elif chance.random() >= misses:
            h.send(ago, channel=usual if chance.random() < 0.8 else None)
    return h


def _befall(h: Household, fate: str, ago: int) -> bool:
    """Let something happen to a household; say whether its readings end with it."""
    at = h.at(ago, h.chance.randint(4, 15), 10 + 5 * h.chance.random())
    match fate:
        case "replace":
            h.replace_meter(at, h.chance.choice((h.meter.registers, TWO, THREE)))
        case "fail":
            h.act(at, ReportMeterFailure(at, FailureCause.FAILED, "Акт: прибор не считает"), Channel.INSPECTOR)
            return True
        case "refuse":
            for back in (ago, ago - 1):
                refused_at = h.at(back, 12, 12)
                h.act(refused_at, RecordAccessRefusal(refused_at, "Акт о недопуске"), Channel.INSPECTOR)
            return True
        case "control":
            h.act(
                at,
                TakeControlReading(at, h.shows(at, h.chance.choice((-30, 0, 60))), "Акт проверки"),
                Channel.INSPECTOR,
            )
        case "close":
            h.act(at, RemoveMeter(at, h.shows(at), "Акт снятия"), Channel.INSPECTOR)
            h.act(at + timedelta(hours=1), CloseAccount(at + timedelta(hours=1), "Квартира продана"), Channel.OFFICE)
            return True
        case "slip":
            h.send(ago, 18, more=40_000)
            if h.chance.random() < 0.6:
                h.send(ago, 20)
        case _:
            h.send(ago)
    return False


def days(steps: list[Step]) -> Iterator[list[Step]]:
    """Give the steps in groups that are recorded together: those of an evening, those of a night."""
    group: list[Step] = []
    names: set[str] = set()
    touched: set[str] = set()
    for step in steps:
        # What a payment comes to is known when everything before it on its account is recorded.
        waits = step.answers in names or (step.sum is not None and not touched.isdisjoint((step.account, step.payer)))
        if group and (step.at - group[0].at > TOGETHER_WITHIN or waits):
            yield group
            group = []
            names, touched = set(), set()
        group.append(step)
        names.add(step.name)
        touched |= {step.account, step.payer}
    if group:
        yield group
