"""The story of an account for a person: what happened, when it was true, when we knew, by which rule, in words; one page to print.

It is told by billing months, as the journal tells it: a month ends with its closing. The page holds everything that it shows, and
runs nothing; whatever came from outside is text in it and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bels.access.acts import Act, ActRow
from bels.audit.evidence.rows import Household, Received, Sent
from bels.audit.seals.statement import Seal
from bels.domain.events import PeriodClosed
from bels.domain.explain import Explanation, ExplanationStep, Source, Unit
from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, Mode, Money, MovementKind, Purpose, Register, Rule
from bels.journal.entry import Behalf, Entry, Ground
from bels.projections.audit import tell
from bels.projections.estimation import EstimationRow
from bels.projections.ledger import BalanceRow, LedgerRow
from bels.projections.overview import OverviewRow
from bels.projections.readings import ReadingRow
from bels.projections.words import CHANNELS, MODES, RULES, day, month, roubles, values, words
from bels.reception.evidence import Evidence

ACTOR_LENGTH_MAX = 24
"""Characters of an actor's name that are shown: a sender is named by a digest of thirty-two."""

COMMAND = "command"
"""For whom a pack is made that was asked for at the installation itself."""

_STATUSES = {
    "HELD": "на проверке",
    "REFUSED": "не принято",
    "PARKED": "ждёт оператора",
    "MISSING": "сообщения нет в базе",
}
"""What became of a message where it was not simply accepted."""

_STATES = {
    "PLANNED": "ждёт отправки",
    "SENT": "отправлено",
    "DELIVERED": "доставлено",
    "FAILED": "не доставлено",
    "CANCELLED": "не понадобилось",
}
_KINDS = {
    "ANSWER": "ответ",
    "CODE": "код",
    "WINDOW_OPENS": "начался приём показаний",
    "WINDOW_CLOSES": "приём показаний кончается",
    "HELD": "показание на проверке",
    "CONFIRMED": "показание подтверждено",
    "REJECTED": "показание отклонено",
    "SUPERSEDED": "показание заменено",
    "RECALCULATED": "перерасчёт",
    "MODE_CHANGED": "изменён способ начисления",
}
_ACTS = {
    Act.CONSUMER_REGISTERED: "Открыт личный кабинет",
    Act.PASSWORD_CHANGED: "Изменён пароль",
    Act.PASSWORD_RESET: "Выдан новый пароль",
    Act.SESSION_REVOKED: "Закончен вход в кабинет",
    Act.ACCOUNT_LINKED: "Счёт добавлен в личный кабинет",
    Act.ACCOUNT_UNLINKED: "Счёт убран из личного кабинета",
    Act.CABINET_CLOSED: "Личный кабинет закрыт, в квартире новый потребитель",
    Act.LINK_MADE: "Выдана одноразовая ссылка",
    Act.CARD_BOUND: "Привязана карта",
    Act.CARD_REMOVED: "Отвязана карта",
    Act.PERSONAL_DATA_SET: "Внесены персональные данные",
    Act.PERSONAL_DATA_ERASED: "Персональные данные уничтожены",
}
_GROUNDS = {
    Ground.IN_PERSON: "лично",
    Ground.BY_PHONE: "по телефону",
    Ground.LETTER: "по письму",
    Ground.POWER_OF_ATTORNEY: "по доверенности",
}
_WHO = {"HOLDER": "владельца счёта", "MEMBER": "члена семьи", "REPRESENTATIVE": "представителя"}
_SITUATIONS = {"OPEN": "действует", "CLOSED": "закрыт"}
SHORT_LINES_MAX = 4
"""Lines, with the sums that they explain, of an item that stays on one page."""

_SEALED = "sealed:"
_ORDER = "порядок"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page is made from; everything is of one moment.

    ``shown`` are the words of messages by receipt, cut, opened where they may be; ``unread`` the versions of entries that cannot be
    read; ``sealed_version`` the account's last entry that the newest seal knows.
    """

    account: str
    made_at: datetime
    made_for: str
    personal: bool
    entries: Sequence[Entry]
    unread: Sequence[int]
    head: bytes
    seal: Seal | None
    sealed_version: int
    messages: Sequence[Received]
    shown: Mapping[str, str]
    sent: Sequence[Sent]
    photos: Sequence[Evidence]
    acts: Sequence[ActRow]
    households: Sequence[Household]
    erased: Sequence[int]
    explanations: Mapping[int, Sequence[Explanation]]
    movements: Sequence[LedgerRow]
    overview: OverviewRow | None
    estimation: EstimationRow | None
    balance: BalanceRow | None
    last_reading: ReadingRow | None


@dataclass(frozen=True, slots=True)
class Found:
    """How a sum was found: its title, steps as (words, formula), and what it rests on in one line."""

    title: str
    steps: Sequence[tuple[str, str]]
    sources: str


@dataclass(frozen=True, slots=True)
class Line:
    """An entry in words: ``happened`` is when it was true where that is not when we knew."""

    number: int
    text: str
    happened: str
    rule: str
    sealed: bool
    found: Sequence[Found]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened: a message with its entries, a text that was sent, an act."""

    at: datetime
    kind: str
    title: str
    said: str
    who: Sequence[str]
    lines: Sequence[Line] = ()
    notes: Sequence[str] = ()
    photos: Sequence[Evidence] = ()
    closes: str = ""

    @property
    def is_short(self) -> bool:
        """Say whether it need not be divided between two pages."""
        return len(self.lines) + sum(len(line.found) for line in self.lines) <= SHORT_LINES_MAX


@dataclass(frozen=True, slots=True)
class Month:
    """A billing month of the story: ``period`` is "" where the account has none."""

    period: str
    title: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class BillLine:
    """A bill in the table of bills: kWh and roubles of a period, the balances after it."""

    period: str
    mode: str
    kwh: str
    charged: str
    recalculated: str
    penalty: str
    paid: str
    balance: str
    penalty_balance: str


def timeline(facts: Facts) -> str:
    """Write the page."""
    pages = Environment(
        loader=PackageLoader("bels.audit.evidence", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(visible=visible, moment=_moment, number=_number, month=month)
    return pages.get_template("timeline.html").render(
        facts=facts,
        summary=_summary(facts),
        bills=bill_lines(facts),
        months=story(facts),
        made=f"{_moment(facts.made_at)}, {_maker(facts.made_for)}",
        unsealed=sum(entry.version > facts.sealed_version for entry in facts.entries),
    )


def story(facts: Facts) -> list[Month]:
    """Tell everything in the order in which we knew it, by billing months: a month ends with the closing of its period."""
    items = _in_order(facts)
    months: list[Month] = []
    standing: list[Item] = []
    for item in items:
        standing.append(item)
        if item.closes:
            months.append(Month(item.closes, _titled(item.closes), tuple(standing)))
            standing = []
    if standing:
        following = facts.overview.next_period if facts.overview is not None else ""
        ended = facts.overview is not None and facts.overview.situation == "CLOSED"
        title = f"{_titled(following)}, период ещё не закрыт" if following and not ended else "После последнего счёта"
        months.append(Month("" if ended else following, title, tuple(standing)))
    return months


def bill_lines(facts: Facts) -> list[BillLine]:
    """Tell every bill in a line, from the ledger."""
    own: defaultdict[str, list[LedgerRow]] = defaultdict(list)
    for movement in facts.movements:
        own[movement.posted_in].append(movement)
    balance = penalty_balance = ZERO
    told = []
    for entry in facts.entries:
        bill = entry.event
        if not isinstance(bill, PeriodClosed) or bill.due_on is None:
            continue
        moves = own.get(bill.period, [])
        sums: defaultdict[str, Money] = defaultdict(lambda: ZERO)
        for move in moves:
            if move.purpose == Purpose.PENALTY:
                penalty_balance = move.balance
            else:
                balance = move.balance
            sums[move.kind] += move.amount
        charged = sums.pop(MovementKind.CHARGE, ZERO)
        recalculated = sums.pop(MovementKind.RECALCULATION, ZERO)
        penalty = sums.pop(MovementKind.PENALTY, ZERO)
        paid = sum(sums.values(), ZERO)
        told.append(
            BillLine(
                bill.period,
                MODES[bill.mode],
                _kwh(bill.usage),
                _sum(charged),
                _sum(recalculated),
                _sum(penalty),
                _sum(paid),
                _sum(balance, zero="0,00"),
                _sum(penalty_balance),
            )
        )
    return told


def visible(text: str) -> str:
    """Give a text in which every sign can be seen: what would turn or hide others is written as its code."""
    return "".join(c if c.isprintable() or c in "\n\u00a0\u202f" else f"\\u{ord(c):04x}" for c in text)


class _Sources:
    """What explanations rest on: a document is named where it counts first, a general order is told there only."""

    def __init__(self) -> None:
        self._told: set[Source] = set()

    def found(self, explanation: Explanation) -> Found:
        """Tell how a sum was found."""
        steps = [(step.text, _formula(step)) for step in explanation.steps]
        entries = [source.entry for source in explanation.sources if source.entry is not None]
        told = (
            [f"{'запись' if len(entries) == 1 else 'записи'} {', '.join(f'№{e}' for e in entries)}"] if entries else []
        )
        told += [text for source in explanation.sources if source.entry is None and (text := self._source(source))]
        return Found(explanation.title, steps, "; ".join(told))

    def _source(self, source: Source) -> str:
        known = source in self._told
        self._told.add(source)
        if known and source.name == _ORDER:
            return ""
        document = f" ({source.document})" if source.document and not known else ""
        return f"{source.name}: {source.value}{document}"


def _formula(step: ExplanationStep) -> str:
    unit = "₽" if step.unit is Unit.ROUBLES else "кВт·ч"
    shares = f" по долям {'+'.join(map(str, step.weights))}" if step.weights else ""
    plain = f"{step.expression}{shares} = {step.result}"
    return plain.replace(" * ", " × ").replace("-", "−").replace(".", ",") + f"\u00a0{unit}"


def _in_order(facts: Facts) -> list[Item]:
    by_receipt = {message.receipt: message for message in facts.messages}
    sources = _Sources()
    photos = {receipt: tuple(own) for receipt, own in groupby(facts.photos, key=lambda photo: photo.receipt or "")}
    items: list[tuple[datetime, int, Item]] = []
    known = datetime.min.replace(tzinfo=MOSCOW)
    # Entries stand in the order of the journal, whatever clocks said.
    for receipt, own in groupby(facts.entries, key=lambda entry: entry.receipt):
        entries = list(own)
        known = max(known, entries[-1].recorded_at)
        item = _of_entries(facts, sources, entries, by_receipt.get(receipt), photos.get(receipt, ()))
        items.append((known, 0, item))
    alone = [message for message in facts.messages if not message.has_entries]
    items += [(message.recorded_at, 1, _of_message(facts, message)) for message in alone]
    items += [(act.at, 2, _of_act(act)) for act in facts.acts]
    items += [(text.created_at, 3, _of_text(text)) for text in facts.sent]
    items.sort(key=lambda each: each[:2])
    return [item for _, _, item in items]


def _of_entries(
    facts: Facts, sources: _Sources, entries: Sequence[Entry], message: Received | None, photos: Sequence[Evidence]
) -> Item:
    first = entries[0]
    closed = [entry.event.period for entry in entries if isinstance(entry.event, PeriodClosed)]
    status = message.status if message is not None else "MISSING"
    return Item(
        first.recorded_at,
        "entries",
        _titled_by(first.channel, status),
        facts.shown.get(first.receipt, ""),
        _who(first.actor, first.receipt, first.behalf),
        tuple(_line(facts, sources, entry) for entry in entries),
        photos=photos,
        closes=closed[-1] if closed else "",
    )


def _line(facts: Facts, sources: _Sources, entry: Entry) -> Line:
    row = tell(entry)
    happened = _moment(row.happened_at)
    rule = RULES[Rule(row.rule)] if row.rule is not None else ""
    return Line(
        entry.version,
        row.text,
        happened if happened != _moment(row.recorded_at) else "",
        # Where the words name the rule it is not said twice.
        rule if rule not in row.text else "",
        entry.version <= facts.sealed_version,
        [sources.found(each) for each in facts.explanations.get(entry.version, ())],
    )


def _of_message(facts: Facts, message: Received) -> Item:
    if message.first is not None:
        notes = [f"Повторяет показание №{message.first}: дан тот же ответ, новых записей нет."]
    else:
        notes = [words(event) for event in message.answer] or ["Записей в счёте нет."]
    return Item(
        message.recorded_at,
        "message",
        _titled_by(message.channel, message.status),
        facts.shown.get(message.receipt, ""),
        _who(message.actor, message.receipt, None),
        notes=notes,
    )


def _of_act(act: ActRow) -> Item:
    notes = ["; ".join(text for text in (_ACTS.get(act.kind, act.kind.value), act.reason, act.document) if text)]
    return Item(act.at, "act", "Доступ", "", [f"акт {act.act}", act.by_subject], notes=notes)


def _of_text(text: Sent) -> Item:
    state = _STATES.get(text.state, text.state)
    sent = f" {_moment(text.sent_at)}" if text.sent_at is not None else ""
    notes = [f"{_KINDS.get(text.kind, text.kind).capitalize()}: {state}{sent}."]
    via = [_channel(text.channel)] if text.channel is not None else []
    return Item(text.created_at, "sent", "Сообщение потребителю", text.text or "", via, notes=notes)


def _summary(facts: Facts) -> list[tuple[str, str]]:
    known, balance, estimation, reading = facts.overview, facts.balance, facts.estimation, facts.last_reading
    told: list[tuple[str, str]] = []
    if known is not None:
        opened = f", открыт {_day(known.opened_at)}" if known.opened_at is not None else ""
        closed = f", закрыт {_day(known.closed_at)}" if known.closed_at is not None else ""
        told.append(("Лицевой счёт", f"{_SITUATIONS.get(known.situation, known.situation)}{opened}{closed}"))
    if balance is not None:
        what = "долг" if balance.balance > 0 else "аванс" if balance.balance < 0 else "сальдо"
        penalty = f"; пени {roubles(balance.penalty)}" if balance.penalty else ""
        told.append(("Расчёты", f"{what} {roubles(abs(balance.balance))}{penalty}"))
    if estimation is not None and estimation.mode is not None:
        since = f" с периода {month(estimation.since)}" if estimation.since is not None else ""
        told.append(("Начисление", f"{MODES[Mode(estimation.mode)]}{since}"))
    if known is not None and known.meter is not None:
        failed = ", вышел из строя" if known.meter.failed_at is not None else ""
        told.append(("Прибор учёта", f"{known.meter.number} с {_day(known.meter.installed_at)}{failed}"))
    if reading is not None:
        shown = values({Register(name): int(value) for name, value in reading.values.items()})
        told.append(("Последнее показание", f"{shown} от {_day(reading.received_at)}, запись №{reading.entry}"))
    return told


def _maker(made_for: str) -> str:
    return "командой у самой установки" if made_for == COMMAND else f"для {made_for}"


def _who(actor: str, receipt: str, behalf: Behalf | None) -> list[str]:
    told = [f"квитанция {receipt}", actor if len(actor) <= ACTOR_LENGTH_MAX else f"{actor[:ACTOR_LENGTH_MAX]}…"]
    if behalf is not None:
        document = f", {behalf.document}" if behalf.document else ""
        told.append(f"за {_WHO.get(behalf.who, behalf.who)}: {_GROUNDS[behalf.ground]}{document}")
    return told


def _titled_by(channel: str, status: str) -> str:
    told = _STATUSES.get(status)
    return f"{_channel(channel)}: {told}" if told is not None else _channel(channel)


def _channel(channel: str) -> str:
    known = set(Channel)
    name = CHANNELS[Channel(channel)] if channel in known else channel
    return name[:1].upper() + name[1:]


def _titled(period: str) -> str:
    return month(period).capitalize()


def _moment(at: datetime) -> str:
    return f"{at.astimezone(MOSCOW):%d.%m.%Y %H:%M}"


def _day(at: datetime | date) -> str:
    return day(at.astimezone(MOSCOW).date() if isinstance(at, datetime) else at)


def _kwh(usage: Mapping[Any, int]) -> str:
    return _number(sum(usage.values()))


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\u00a0")


def _sum(amount: Money, zero: str = "") -> str:
    return roubles(amount)[:-2] if amount else zero


def opened_words(text: str, length_max: int) -> str:
    """Give the words of a message as the page shows them: none where they stay sealed or a program wrote them, cut where they are long."""
    if text.startswith((_SEALED, "{", "[")):
        return ""
    return text if len(text) <= length_max else f"{text[:length_max]}…"
