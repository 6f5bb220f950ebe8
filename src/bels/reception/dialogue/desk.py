"""What the dialogue is told by others: whether the office answers, how a talk is handed over, what else may be asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime

from bels.domain.periods import MOSCOW, moscow_date
from bels.reception.counter import Counter
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.turns import Line, Part, PartKind, Talk
from bels.reception.office import Office, contacts, hours_ahead, state_of
from bels.reception.outages import outages_now
from bels.reception.waiting import HandOverReason, hand_over


@dataclass(frozen=True, slots=True)
class Hours:
    """When the office is open on a day: times of day as 08:45."""

    day: date
    opens: str
    closes: str


@dataclass(frozen=True, slots=True)
class OfficeNow:
    """Whether operators answer now; ``today`` None on a closed day, ``following`` is when they answer again."""

    is_open: bool
    today: Hours | None = None
    following: Hours | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """Something else that may be asked for at any time, by its option.

    ``key`` is at most 20 ASCII characters, ``digit`` its key in the menu of a telephone (6, 7 or 8), ``tell`` gives the lines for
    (talk, account), where account is "" for a topic that is about none. ``linked``: only who may speak for the account hears it.
    """

    key: str
    digit: str
    label: Line
    tell: Callable[[Talk, str], Awaitable[tuple[Line, ...]]]
    about_account: bool = True
    linked: bool = True
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Desk:
    """What stands beside the counter: ``office`` tells whether operators answer (None: always), ``hand_over`` is told
    (talk, account or "", reason) when a talk goes on with a person, and may be told twice of one; ``topics`` are further options.
    """

    office: Callable[[], Awaitable[OfficeNow]] | None = None
    hand_over: Callable[[Talk, str, HandOverReason], Awaitable[None]] | None = None
    topics: tuple[Topic, ...] = ()


NO_OUTAGES = "Об отключениях ничего не сообщалось."


def desk_of(counter: Counter, office: Office, topics: tuple[Topic, ...] = ()) -> Desk:
    """Put the desk together: the hours of the office, the list of talks that wait for a person, outages, contacts.

    ``topics`` are further ones of a channel.
    """

    async def now() -> OfficeNow:
        at, rulebook = counter.now(), await counter.intake.rules()
        state = state_of(office, at, rulebook)
        ((today, of_day),) = hours_ahead(office, at, rulebook, 1)
        following = state.opens_at
        return OfficeNow(
            state.is_open,
            Hours(today, _clock(of_day.opens_at), _clock(of_day.closes_at)) if of_day is not None else None,
            Hours(moscow_date(following), _clock(following), "") if following is not None else None,
        )

    async def to_a_person(talk: Talk, account: str, reason: HandOverReason) -> None:
        await hand_over(counter.pool, talk.channel, talk.talk, account or None, reason, counter.now())

    async def tell_outages(_: Talk, __: str) -> tuple[Line, ...]:
        async with counter.pool.acquire() as db:
            told = await outages_now(db, counter.now())
        return tuple(_text(each) for each in told) or (_text(NO_OUTAGES),)

    async def tell_contacts(_: Talk, __: str) -> tuple[Line, ...]:
        return (_text(contacts(office)),)

    own = (
        Topic("outages", "6", _text("Отключения"), tell_outages, False, False, ("отключения", "авария", "нет света")),
        Topic("contacts", "7", _text("Контакты"), tell_contacts, False, False, ("контакты", "адрес", "телефон")),
    )
    return Desk(now, to_a_person, (*own, *topics))


def _text(text: str) -> Line:
    return Line(Say.NOTE, {"text": Part(PartKind.TEXT, text)})


def _clock(at: datetime) -> str:
    return f"{at.astimezone(MOSCOW):%H:%M}"
