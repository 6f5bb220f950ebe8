"""The accounts of the sandbox: one of every situation that a partner meets, lived through by the households of the town."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from random import Random

import msgspec

from bels.access import acts, personal
from bels.access.acts import Act
from bels.access.personal import subject_of
from bels.app import Bels
from bels.demo import people
from bels.demo.household import (
    FIRST_NUMBER,
    LAST_READING_DAY,
    LAST_READING_HOUR,
    THREE,
    TWO,
    Household,
    Step,
    Sum,
    Town,
)
from bels.demo.payments import amount_of
from bels.demo.town import days
from bels.domain.commands import (
    CloseAccount,
    ClosePeriod,
    Command,
    ReceivePayment,
    RemoveMeter,
    ReportMeterFailure,
)
from bels.domain.money import ZERO, to_kopecks
from bels.domain.periods import MOSCOW, first_day, shift
from bels.domain.terms import Channel, FailureCause, Stove
from bels.intake import Intake
from bels.messages import Message
from bels.payments.sandbox import SandboxAccount
from bels.publishing import publish_demonstration

MONTHS, SEED = 14, 25
HISTORY = "sandbox"
"""Who sent what was before the sandbox was opened."""

ALL = 99
"""More months than there are."""

_READ_ON, _READ_AT = 20, 19.0
_PAID_ON, _PAID_AT = 5, time(21, 30)


@dataclass(frozen=True, slots=True)
class Situation:
    """An account to try on: the last two digits of its number, its name, what it shows, and how it came about.

    ``unpaid`` is how many of its last bills wait for their money.
    """

    place: int
    name: str
    shows: str
    live: Callable[[Household], None] | None
    draws: Mapping[str, object] = field(default_factory=dict)
    unpaid: int = 0


def _read(h: Household, until_ago: int = 1) -> None:
    """Send a reading in every month, the last one so many months ago."""
    for ago in range(h.town.months - 1, until_ago - 1, -1):
        h.send(ago, _READ_ON, Channel.MOBILE, hour=_READ_AT)


def _regular(h: Household) -> None:
    _read(h)


def _one_missed(h: Household) -> None:
    _read(h, 2)


def _three_missed(h: Household) -> None:
    _read(h, 4)


def _long_silence(h: Household) -> None:
    _read(h, 9)


def _near_rollover(h: Household) -> None:
    _read(h, 2)
    h.send(1, LAST_READING_DAY, Channel.MOBILE, hour=LAST_READING_HOUR)


def _automatic(h: Household) -> None:
    for ago in range(h.town.months - 1, 0, -1):
        h.send(ago, 25, Channel.REMOTE, hour=20.0)


def _replaced(h: Household) -> None:
    _read(h)
    h.replace_meter(min(h.at(0, 3, 11.0), h.town.until - timedelta(hours=1)), h.meter.registers)


def _held(h: Household) -> None:
    _read(h)
    h.send_at(h.town.until - timedelta(hours=20), Channel.SMS, more=30_000)


def _expired(h: Household) -> None:
    _read(h, 4)
    at = h.at(3, 11, 12.0)
    h.act(at, ReportMeterFailure(at, FailureCause.VERIFICATION_EXPIRED, "Акт: поверка истекла"), Channel.INSPECTOR)


def _closed(h: Household) -> None:
    _read(h, 3)
    at = h.at(2, 15, 12.0)
    h.act(at, RemoveMeter(at, h.shows(at), "Акт снятия"), Channel.INSPECTOR)
    after = at + timedelta(minutes=10)
    h.act(after, CloseAccount(after, "Квартира продана"), Channel.OFFICE)


def _nothing(_: Household) -> None:
    """Live without a meter, or with one that nobody reads."""


PENALTIES, ADVANCE = "PENALTIES", "ADVANCE"

SITUATIONS = (
    Situation(1, "DUE_TODAY", "Последний счёт не оплачен, сегодня последний день срока.", _regular, unpaid=1),
    Situation(2, "DEBT", "Не оплачены три счёта.", _regular, unpaid=3),
    Situation(3, "LARGE_DEBT", "Большой долг за девять месяцев, с пенями: больше одного платежа по договору.", _regular,
              {"kwh_a_month": 1_900.0, "stove": Stove.ELECTRIC, "residents": 1}, unpaid=9),
    Situation(4, PENALTIES, "За электроэнергию всё оплачено, но поздно: начислены пени.", _regular),
    Situation(5, "ZERO", "Всё оплачено, долга нет.", _regular),
    Situation(6, ADVANCE, "Аванс 500 рублей.", _regular),
    Situation(7, "TWO_ZONES", "Два тарифа: T1 день, T2 ночь.", _regular, {"registers": TWO, "kwh_a_month": 250.0}, 1),
    Situation(8, "THREE_ZONES", "Три тарифа, «Матрица»: на дисплее T1 ночь, T2 пик, T3 полупик.", _regular,
              {"registers": THREE, "kwh_a_month": 300.0}, 1),
    Situation(9, "AUTOMATIC", "Умный счётчик: показания снимает система, от людей не ждут.", _automatic,
              {"automatic": True, "registers": TWO}, 1),
    Situation(10, "NO_METER", "Счётчика нет: начисляется по нормативу, показание принять не к чему.", _nothing,
              {"has_meter": False}, 1),
    Situation(11, "REPLACED_METER", "Счётчик заменён в этом месяце: новый начал почти с нуля.", _replaced, unpaid=1),
    Situation(12, "AVERAGE_ONE", "Прошлый месяц без показания: начислено по среднему.", _one_missed, unpaid=1),
    Situation(13, "AVERAGE_THREE", "Три месяца без показаний, все по среднему: дальше норматив.", _three_missed, unpaid=1),
    Situation(14, "NORMATIVE", "Давно без показаний: по нормативу, показание пересчитает.", _long_silence, unpaid=1),
    Situation(15, "HELD", "Показание ждёт подтверждения: оно слишком большое.", _held, unpaid=1),
    Situation(16, "NEAR_ROLLOVER", "На счётчике почти 99999: следующее показание перейдёт через ноль.", _near_rollover,
              {"capacity": 5, "last_reading": 99_930, "kwh_a_month": 150.0}, 1),
    Situation(17, "EXPIRED_VERIFICATION", "Поверка счётчика истекла: показания не принимаются к расчёту.", _expired, unpaid=1),
    Situation(18, "CLOSED_WITH_DEBT", "Счёт закрыт, долг остался: платёж принимается.", _closed, unpaid=2),
    Situation(19, "CLOSED_SETTLED", "Счёт закрыт, всё оплачено: платёж станет невыясненным.", _closed),
    Situation(90, "UNKNOWN", "Такого счёта нет.", None),
)  # fmt: skip
"""The situations, the same in every run."""


def accounts_of(block: str) -> tuple[SandboxAccount, ...]:
    """List the accounts of a run, whose numbers begin with five digits of its own."""
    return tuple(SandboxAccount(f"{block}{s.place:02d}", s.name, s.shows) for s in SITUATIONS)


def block_of(place: int, run: int) -> str:
    """Give the five digits that the accounts of a partner's run begin with: of the first partner's first run 10000."""
    return f"{place}{run - 1:04d}"


async def load(bels: Bels, blocks: Iterable[str]) -> None:
    """Let the accounts of some runs have lived through fourteen months by now.

    :raises TryLater: the database cannot be reached; these blocks are lost, begin others.
    """
    await publish_demonstration(bels.pool, bels.intake)
    until = bels.intake.clock().astimezone(UTC).replace(microsecond=0)
    town = Town(len(SITUATIONS), MONTHS, SEED, until)
    lived = [(int(f"{block}{s.place:02d}"), s) for block in blocks for s in SITUATIONS if s.live is not None]
    steps = [step for number, situation in lived for step in _lived(town, number, situation)]
    steps.sort(key=lambda step: (step.at, step.account))
    moment = until
    # The clock of history: what is handled together was known at the moment of its last message.
    intake = Intake(bels.pool, bels.intake.rulebook, lambda: moment)
    for group in days(steps):
        moment = min(group[-1].at.astimezone(UTC) + timedelta(seconds=2), until)
        payers = sorted({step.payer for step in group if step.sum is not None})
        accounts = await intake.accounts(payers) if payers else {}
        messages = []
        for step in group:
            command: Command = step.command
            if isinstance(command, ReceivePayment) and step.sum is not None:
                amount = to_kopecks(amount_of(step.sum, accounts[step.payer].ledger))
                if amount <= 0:
                    continue
                command = replace(command, amount=amount)
            messages.append(_message(step, command))
        await intake.handle(messages)
    async with bels.pool.acquire() as db, db.transaction():
        for number, situation in lived:
            subject = subject_of(str(number), 1)
            household = people.household(SEED, number - FIRST_NUMBER)
            await personal.put(db, bels.vault, subject, household)
            ground = f"песочница: {situation.name}"
            await acts.record(
                db, Act.PERSONAL_DATA_SET, by=HISTORY, subject=subject, account=str(number), reason=ground
            )


def _message(step: Step, command: Command) -> Message:
    raw = msgspec.json.encode(command).decode()
    return Message(step.channel, step.name, f"{HISTORY}:{step.channel.value}", step.account, command, raw)


def _lived(town: Town, number: int, situation: Situation) -> list[Step]:
    """Plan what an account of a situation has lived through: a chance of the situation, so that every run is alike."""
    chance = Random(f"{SEED}:{situation.place}")  # noqa: S311 - a household is drawn; it is a game, not a secret
    h = Household(town, number - FIRST_NUMBER, chance, **situation.draws)  # type: ignore[arg-type]
    assert situation.live is not None  # noqa: S101 - for the type checker
    situation.live(h)
    h.close_periods()
    _pay(h, situation)
    return h.steps


def _pay(h: Household, situation: Situation) -> None:
    """Pay the bills, but for the last ones of a debtor; late where penalties are to be seen."""
    periods = [step.command.period for step in h.steps if isinstance(step.command, ClosePeriod)]
    for i, period in enumerate(periods):
        back = len(periods) - i
        # Two bills wait for the third: the penalties that they leave stay unpaid.
        if back <= situation.unpaid or (situation.name == PENALTIES and back in (4, 5, 6)):
            continue
        usual = datetime.combine(first_day(shift(period, 1)) + timedelta(days=_PAID_ON - 1), _PAID_AT, MOSCOW)
        at = min(usual, h.town.until - timedelta(hours=1))
        _bring(h, at, Sum.WHOLE)
        if situation.name == ADVANCE and back == 1:
            _bring(h, at + timedelta(minutes=45), Sum.STANDING_ORDER)


def _bring(h: Household, at: datetime, how: Sum) -> None:
    name = f"{HISTORY}:{h.number}:{len(h.steps)}"
    command = ReceivePayment(ZERO, at.date(), at, f"{at:%Y%m%d}-{h.number}-{len(h.steps)}")
    h.steps.append(Step(at, name, h.number, Channel.BANK, command, None, how, h.number))
