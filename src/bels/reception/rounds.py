"""An inspector's round: what to take along, and what comes back from places without a network (rules 1.7, 1.8, 60, 61).

What was recorded offline is named by the device and its own key, so it may come in parts, out of order and many times: each
item is decided once. It belongs to the time when it was taken, however late it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import asyncpg
import msgspec

from bels.domain.accept_reading import barred, meter_at
from bels.domain.account import Account, Meter
from bels.domain.actual_readings import chain, undisproved
from bels.domain.commands import Command, RecordAccessRefusal, TakeControlReading
from bels.domain.events import AccessRefused, CommandRefused, ControlReadingTaken, Event, ReadingRefused
from bels.domain.meter_models import display_of
from bels.domain.read_value import quoted_number
from bels.domain.terms import Channel, Kwh, MeterModel, Period, ReadingKind, Reason, Register, Word
from bels.intake import Intake
from bels.journal.faults import UNAVAILABLE
from bels.journal.journal import find_messages
from bels.journal.write import Db
from bels.messages import Message, Outcome, Status, TryLater
from bels.projections import estimation
from bels.projections.words import month
from bels.reception.counter import ORDER_WITHOUT_DISPLAY
from bels.words import refusal

ITEMS_MAX = 200
DEVICE_LENGTH_MAX = 60
KEY_LENGTH_MAX = 100
ACT_LENGTH_MAX = 100

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A device's clock may run ahead so far; what it took then counts as taken when it came."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What an inspector takes along for an account: nobody's name and no address.

    ``shown`` are the registers of the meter in service in the order of its display, with their places ("" where unknown).
    ``last`` is the last actual reading, taken ``last_at``; ``refusals`` those of access since the last check, ``barred``
    whether readings are not taken for them any more; ``inspection_due`` the day by which a check is due.
    """

    account: str
    version: int
    meter: MeterModel | None
    shown: tuple[tuple[str, Register], ...]
    last: Kwh
    last_at: datetime | None
    last_kind: ReadingKind | None
    refusals: int
    barred: bool
    inspection_due: date | None
    next_period: Period


@dataclass(frozen=True, slots=True)
class Control:
    """A control reading as it was taken: the number on the meter's face, what it showed, what passed zero."""

    meter: str
    values: Kwh
    rollover: tuple[Register, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundItem:
    """What happened at one stop, under the device's own ``key``: a control reading, or None: no access.

    ``nobody_home`` says of a refusal that nobody opened.
    """

    key: str
    account: str
    taken_at: datetime
    act: str
    control: Control | None
    nobody_home: bool = False


class ItemState(Word):
    """What became of an item. REFUSED and PARKED are answered for ever; TRY_AGAIN was not stored."""

    TAKEN = "TAKEN"
    REFUSED = "REFUSED"
    PARKED = "PARKED"
    TRY_AGAIN = "TRY_AGAIN"


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of an item, in words, with what to do.

    ``late``: its period had been billed; ``later_known``: a later control reading was there before it. ``difference`` is in
    kWh to the reading before, ``refusals`` counts refusals of access in a row.
    """

    key: str
    account: str
    state: ItemState
    reason: Reason | None
    text: str
    advice: str | None
    period: Period | None = None
    difference: Kwh | None = None
    refusals: int | None = None
    late: bool = False
    later_known: bool = False
    receipt: str | None = None
    replayed: bool = False


async def accounts_of_round(
    db: Db, named: Sequence[str] | None, prefix: str, locality: str | None, after: str | None, limit: int
) -> list[str]:
    """List open accounts in order of number: the named ones, those that begin with digits, those of a kind of locality."""
    rows = await db.fetch(
        """
        SELECT account FROM overview
         WHERE situation = 'OPEN' AND ($1::text[] IS NULL OR account = ANY($1)) AND account >= $2
           AND starts_with(account, $2) AND ($3::text IS NULL OR locality = $3) AND ($4::text IS NULL OR account > $4)
         ORDER BY account LIMIT $5
        """,
        list(named) if named is not None else None,
        prefix,
        locality,
        after,
        limit,
    )
    return [row["account"] for row in rows]


async def stops_of(pool: asyncpg.Pool, intake: Intake, numbers: Sequence[str]) -> list[Stop]:
    """Gather what to take along for accounts, in the order given.

    :raises TryLater: the database cannot be reached.
    """
    accounts = await intake.accounts(numbers)
    try:
        async with pool.acquire() as db:
            due = {number: row.inspection_due for number, row in (await estimation.find(db, numbers)).items()}
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    return [_stop(accounts[number], due.get(number)) for number in numbers]


def shown_registers(model: MeterModel) -> tuple[tuple[str, Register], ...]:
    """List the registers of a meter in the order of its display, with their places; "" where nobody knows the display."""
    display = display_of(model) or {}
    if set(display.values()) >= set(model.registers):
        return tuple((place, display[place]) for place in sorted(display) if display[place] in model.registers)
    return tuple(("", register) for register in ORDER_WITHOUT_DISPLAY.get(len(model.registers), model.registers))


async def synchronise(
    pool: asyncpg.Pool,
    intake: Intake,
    actor: str,
    device: str,
    items: Sequence[RoundItem],
    *,
    guarded: Callable[[str], str] = str,
    request_id: str = "",
) -> list[ItemOutcome]:
    """Take in what a device recorded, each item once, in order of time; outcomes come in the order of the items.

    ``guarded`` seals what may not be kept in clear.

    :raises TryLater: some items were not stored; send them all again.
    """
    now = intake.clock()
    accounts = await intake.accounts(sorted({item.account for item in items}))
    in_time = sorted(range(len(items)), key=lambda i: (items[i].account, items[i].taken_at, i))
    early = {i for i in in_time if items[i].taken_at > now + CLOCK_TOLERANCE}
    messages = {
        i: _message(items[i], accounts[items[i].account], actor, device, now, guarded, request_id)
        for i in in_time
        if i not in early
    }
    try:
        async with pool.acquire() as db:
            names = [(Channel.INSPECTOR.value, message.message_id) for message in messages.values()]
            before = {found.message_id for found in await find_messages(db, names)}
        outcomes = dict(zip(messages, await intake.handle(list(messages.values())), strict=True))
        async with pool.acquire() as db:
            late, later = await _late(db, outcomes), await _later_known(db, outcomes)
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    return [
        _future(items[i])
        if i in early
        else _told(items[i], outcomes[i], late=i in late, later=i in later, replayed=messages[i].message_id in before)
        for i in range(len(items))
    ]


def _stop(account: Account, due: date | None) -> Stop:
    meter = _in_service(account)
    readings = undisproved(chain(account, meter.entry)) if meter is not None else []
    last = readings[-1] if readings else None
    refusals = 0
    for act in sorted(account.access, key=lambda act: (act.at, act.entry)):
        refusals = refusals + 1 if act.refused else 0
    return Stop(
        account.number,
        account.version,
        meter.model if meter is not None else None,
        shown_registers(meter.model) if meter is not None else (),
        last.values if last is not None else {},
        last.at if last is not None else None,
        last.kind if last is not None else None,
        refusals,
        any(check is None for _, check in barred(account.access)),
        due,
        account.next_period,
    )


def _in_service(account: Account) -> Meter | None:
    return account.meters[-1] if account.meters and account.meters[-1].removed_at is None else None


def _message(
    item: RoundItem,
    account: Account,
    actor: str,
    device: str,
    now: datetime,
    guarded: Callable[[str], str],
    request_id: str,
) -> Message:
    raw = guarded(msgspec.json.encode(item).decode())
    # The device names the item, not who signed in on it: a colleague who sends it again sends the same.
    name = guarded(f"round/{device}/{item.key}")
    command = _command(item, account, min(item.taken_at, now))
    return Message(Channel.INSPECTOR, name, actor, quoted_number(item.account), command, raw, request_id)


def _command(item: RoundItem, account: Account, at: datetime) -> Command | ReadingRefused:
    if item.control is None:
        what = "никого не было" if item.nobody_home else "не допущен"
        return RecordAccessRefusal(at, f"{item.act}; {what}")
    closed = account.closed_at is not None and at >= account.closed_at
    meter = meter_at(account, at)
    if not closed and meter is not None and meter.model.number != item.control.meter:
        known = any(m.model.number == item.control.meter for m in account.meters)
        return ReadingRefused(
            Reason.METER_CLOSED if known else Reason.FOREIGN_METER,
            at,
            {register.value: str(value) for register, value in item.control.values.items()},
            meter.model.registers,
            meter.model.capacity,
            quoted_number(item.control.meter),
        )
    return TakeControlReading(at, item.control.values, item.act, item.control.rollover)


async def _late(db: Db, outcomes: dict[int, Outcome]) -> set[int]:
    """Find the items whose period had been closed before them."""
    looked = [
        (i, outcome.account, event.period, outcome.version)
        for i, outcome in outcomes.items()
        if (event := _act(outcome)) is not None and outcome.version is not None
    ]
    rows = await db.fetch(
        """
        SELECT given.place FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[]) AS given (place, account, period, version)
          JOIN usage ON usage.account = given.account AND usage.period = given.period AND usage.entry < given.version
        """,
        *([list(column) for column in zip(*looked, strict=True)] if looked else [[], [], [], []]),
    )
    return {row["place"] for row in rows}


async def _later_known(db: Db, outcomes: dict[int, Outcome]) -> set[int]:
    """Find the control readings before which a later one was there."""
    looked = [
        (i, outcome.account, event.taken_at, outcome.version)
        for i, outcome in outcomes.items()
        if isinstance(event := _act(outcome), ControlReadingTaken) and outcome.version is not None
    ]
    rows = await db.fetch(
        """
        SELECT DISTINCT given.place
          FROM unnest($1::int[], $2::text[], $3::timestamptz[], $4::bigint[]) AS given (place, account, at, version)
          JOIN reading ON reading.account = given.account AND reading.kind = 'CONTROL'
           AND reading.received_at > given.at AND reading.entry < given.version
        """,
        *([list(column) for column in zip(*looked, strict=True)] if looked else [[], [], [], []]),
    )
    return {row["place"] for row in rows}


def _act(outcome: Outcome) -> ControlReadingTaken | AccessRefused | None:
    event: Event | None = outcome.events[0] if outcome.events else None
    return event if isinstance(event, ControlReadingTaken | AccessRefused) else None


def _future(item: RoundItem) -> ItemOutcome:
    words = refusal(Reason.TAKEN_IN_FUTURE, (), item.account)
    advice = "Проверьте часы устройства и отправьте снова"
    return ItemOutcome(item.key, item.account, ItemState.TRY_AGAIN, Reason.TAKEN_IN_FUTURE, words.text, advice)


def _told(item: RoundItem, outcome: Outcome, *, late: bool, later: bool, replayed: bool) -> ItemOutcome:
    """Say what became of an item, and what its inspector has to do."""
    if outcome.status is Status.PARKED or not outcome.events:
        text = "Сохранено и отложено для оператора: обработать автоматически не удалось"
        return ItemOutcome(
            item.key, item.account, ItemState.PARKED, None, text, None, receipt=outcome.receipt, replayed=replayed
        )
    event = outcome.events[0]
    if isinstance(event, CommandRefused | ReadingRefused):
        words = refusal(event.reason, (), item.account, detail=event.detail)
        return ItemOutcome(
            item.key,
            item.account,
            ItemState.REFUSED,
            event.reason,
            words.text,
            _ADVICE.get(event.reason, words.hint),
            receipt=outcome.receipt,
            replayed=replayed,
        )
    advice: list[str] = []
    if isinstance(event, AccessRefused):
        text, period, difference, number = "Недопуск записан", event.period, None, event.number
        if number == 2:
            advice.append("Второй недопуск подряд: начисление пойдёт по нормативу с повышением до проверки")
    elif isinstance(event, ControlReadingTaken):
        text, period, difference, number = "Контрольное показание записано", event.period, event.difference, None
    else:
        raise TypeError(type(event).__name__)
    if later:
        advice.append("Более позднее контрольное показание уже записано: это учтено как более раннее")
    if late:
        advice.append(f"Период {month(period)} уже закрыт: разница войдёт в ближайший счёт перерасчётом")
    return ItemOutcome(
        item.key,
        item.account,
        ItemState.TAKEN,
        None,
        text,
        ". ".join(advice) or None,
        period,
        difference,
        number,
        late,
        later,
        outcome.receipt,
        replayed,
    )


_ADVICE = {
    Reason.METER_CLOSED: "Прибор тем временем заменён: снимите показание нового или передайте акт оператору",
    Reason.FOREIGN_METER: "Прибор с другим номером: сверьте номер на месте или передайте акт о замене оператору",
    Reason.NO_METER: "Прибора на учёте нет: передайте акт о вводе оператору",
    Reason.ALREADY_FAILED: "Прибор числится неисправным: нужен акт о замене или о вводе после ремонта",
    Reason.MORE_THAN_NEXT: "Более позднее показание меньше: сверьте значения и передайте акт оператору",
    Reason.PERIOD_CLOSED: "Период закрыт прежней системой: передайте акт оператору",
    Reason.ACCOUNT_CLOSED: "Счёт закрыт: передайте акт оператору",
    Reason.UNKNOWN_ACCOUNT: "Проверьте номер счёта по списку обхода",
    Reason.MESSAGE_ID_REUSED: "Под этим ключом уже записано другое: новому нужен свой ключ",
}
