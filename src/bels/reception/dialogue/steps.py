"""One step of the dialogue: from a situation and what was said to the next situation and what is answered.

A step reads, and may hand one message in (``sending.py``); it writes no situation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from bels.access.quota import spend
from bels.access.tenures import is_account
from bels.domain.commands import SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.periods import moscow_date
from bels.domain.read_value import VALUE_LENGTH_MAX, quoted, read_value
from bels.domain.terms import Reason
from bels.reception.codes import normalised_code
from bels.reception.counter import (
    ShownMeter,
    meter_for,
    meter_of,
    receipt_state,
    speaks_for,
)
from bels.reception.dialogue.asking import (
    ENDS,
    ENDS_TO_STRANGERS,
    METER_DIGITS_MAX,
    NOTHING,
    OPERATOR,
    SURE,
    YES,
    ask_of,
    end_of,
)
from bels.reception.dialogue.desk import Desk, Topic
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.sending import (
    TRIES_MAX,
    Step,
    Turn,
    account_of,
    confirm,
    draft,
    hand_in,
    link,
    opening,
    refused,
    sure,
    yes,
)
from bels.reception.dialogue.standing import (
    READING,
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
from bels.reception.dialogue.telling import (
    balance,
    last_bill,
    last_reading,
    office_lines,
    outcome_lines,
    state_lines,
)
from bels.reception.dialogue.turns import Line, Said, SaidKind
from bels.reception.dialogue.writing import written_option
from bels.reception.grammar import (
    BadValue,
    Confirmation,
    Kind,
    LinkCode,
    Reading,
    ReceiptQuestion,
    Token,
    read_message,
    read_values,
)
from bels.reception.waiting import HandOverReason

NAMED_A_DAY = 30
"""Accounts that a sender names in a day to which it is not linked, and times that strangers name one account."""

PHOTOS_MAX = 5

COMMANDS: dict[str, str] = {
    **dict.fromkeys(("меню", "menu", "помощь", "help"), "menu"),
    **dict.fromkeys(("баланс", "долг", "balance"), "balance"),
    **dict.fromkeys(("счет", "квитанция", "bill"), "bill"),
    **dict.fromkeys(("последнее показание", "last"), "last"),
    **dict.fromkeys(("часы", "часы работы", "режим работы", "hours"), "hours"),
    **dict.fromkeys(("оператор", "operator"), "operator"),
    **dict.fromkeys(("показание", "показания", "передать показания", "read"), READING),
    **dict.fromkeys(("другой счет", "account"), "account"),
    **dict.fromkeys(("отмена", "стоп", "cancel", "stop"), "cancel"),
}
"""What may be typed at any time, and the option that it chooses."""

ANSWERS: dict[str, bool] = {
    **dict.fromkeys(("да", "верно", "все верно", "ок", "ok", "yes", "+"), True),
    **dict.fromkeys(("нет", "неверно", "исправить", "no", "-"), False),
}

_ABOUT_ACCOUNT = ("balance", "bill", "last")

log = logging.getLogger(__name__)


async def step(turn: Turn, at: Situation, said: Said) -> Step:
    """Take one step, whatever was said.

    :raises TryLater: nothing was stored.
    """
    if said.kind is SaidKind.LEFT:
        _log_left(turn, at)
        return Step(Over(), ask=NOTHING, keeps=())
    if said.kind is SaidKind.BEGIN:
        _log_left(turn, at)
        code = normalised_code(said.text)
        return await link(turn, code) if code else Step(await opening(turn), (Line(Say.GREETING),), keeps=())
    if not isinstance(at, Over):
        return await _answered(turn, at, said)
    at = await opening(turn)
    if said.kind is SaidKind.SILENCE:
        return Step(at, (Line(Say.GREETING),))
    first = await _answered(turn, at, said)
    return Step(at, (Line(Say.GREETING),)) if first.is_wrong else first


async def _answered(turn: Turn, at: Situation, said: Said) -> Step:
    if said.kind is SaidKind.SILENCE:
        return await _wrong(turn, at, Line(Say.NOTHING_HEARD), said)
    if said.kind is SaidKind.PHOTO:
        return await _photo(turn, at, said)
    text = said.text.strip()
    key = _chosen(said.kind, text, at, turn.desk)
    if key is not None:
        return await _choose(turn, at, key)
    if said.kind is SaidKind.CHOICE:
        return Step(at, (Line(Say.STALE),))
    if isinstance(at, Valuing):
        entered = await _value(turn, at, text)
    elif isinstance(at, NamingMeter):
        entered = await _meter(turn, at, text)
    else:
        entered = None
    if entered is None and said.kind is SaidKind.TEXT:
        entered = await _whole_text(turn, at, text)
    if entered is None and is_account(text) and not isinstance(at, Valuing | NamingMeter):
        entered = await _enter(turn, text, getattr(at, "want", READING))
    if entered is not None:
        return entered
    return await _wrong(turn, at, _hint(at, text), said)


def _chosen(kind: SaidKind, text: str, at: Situation, desk: Desk) -> str | None:
    """Say which option was meant: by its key, its digit, its label, or a word that may be typed at any time."""
    options = ask_of(at, desk).options
    topics = [topic.key for topic in desk.topics]
    if kind is SaidKind.CHOICE:
        anywhere = {*COMMANDS.values(), *topics, *(option.key for option in options)}
        return text if text in anywhere or text.startswith((YES, SURE)) else None
    for option in options:
        if text == option.digit:
            return option.key
    if kind is not SaidKind.TEXT:
        return None
    plain = " ".join(text.lstrip("/").lower().replace("ё", "е").rstrip("?.! ").split())
    for option in options:
        if plain == written_option(option).lower().replace("ё", "е"):
            return option.key
    if isinstance(at, Confirming | Doubting) and plain in ANSWERS:
        return ask_of(at, desk).options[0 if ANSWERS[plain] else 1].key
    if plain in COMMANDS:
        return COMMANDS[plain]
    return next((topic.key for topic in desk.topics if plain in (topic.key, *topic.words)), None)


async def _choose(turn: Turn, at: Situation, key: str) -> Step:
    account = account_of(at)
    if key.startswith(YES):
        return await yes(turn, at, key.removeprefix(YES))
    if key.startswith(SURE):
        return await sure(turn, at, key.removeprefix(SURE))
    if isinstance(at, Choosing) and key in (offers := {f"a{i}": a for i, a in enumerate(at.offered, start=1)}):
        return await _enter(turn, offers[key], at.want, is_offered=True)
    topic = next((topic for topic in turn.desk.topics if topic.key == key), None)
    if topic is not None or key in _ABOUT_ACCOUNT:
        return await _topic(turn, at, key, topic)
    match key:
        case "operator":
            return await _operator(turn, at)
        case "hours":
            office = await turn.desk.office() if turn.desk.office is not None else None
            return Step(at, office_lines(office) if office is not None else (Line(Say.OFFICE_OPEN),))
        case "account":
            return Step(Naming(getattr(at, "want", READING)), keeps=())
        case "meter" if account:
            return Step(NamingMeter(account))
        case "again" if isinstance(at, Valuing):
            return Step(msgspec.structs.replace(at, values=(), tries=0))
        case "fix" | "read" if account:
            return await _enter(turn, account, READING, is_offered=True)
        case "read":
            return Step(await opening(turn))
        case "menu" | "cancel":
            dropped = (Line(Say.NOTHING_SENT),) if isinstance(at, Confirming) or key == "cancel" else ()
            return Step(await _menu(turn, account), dropped)
        case _:
            return Step(at, (Line(Say.STALE),))


async def _menu(turn: Turn, account: str) -> Menu:
    return Menu(account, bool(account) and await speaks_for(turn.counter, account, turn.talk.sender))


async def _enter(turn: Turn, account: str, want: str, *, is_offered: bool = False) -> Step:
    """Go on with an account: to what is wanted of it, usually to the value of its first register."""
    counter, sender = turn.counter, turn.talk.sender
    meter, is_linked = await meter_for(counter, account, sender)
    if not is_linked and not is_offered and not await _may_name(turn, account):
        return Step(Over(), (Line(Say.TOO_MANY_MESSAGES), Line(Say.GOODBYE)), ask=NOTHING)
    if want != READING:
        return await _choose(turn, Menu(account, is_linked), want)
    submission = await counter.intake.may_submit(account)
    if submission.refusal is not None or meter is None:
        # Whoever has nothing to send hears why from the rule itself: an empty reading is never taken.
        return await refused(turn, account, SubmitReading(counter.now(), {}))
    previous = {bound.register: bound.minimum for bound in submission.registers}
    is_known = is_linked and all(register in previous for register in meter.registers)
    return Step(
        Valuing(
            account,
            end_of(meter.number, ENDS if is_linked else ENDS_TO_STRANGERS),
            meter.capacity,
            meter.shown,
            tuple(previous[register] for register in meter.registers) if is_known else (),
        )
    )


async def _may_name(turn: Turn, account: str) -> bool:
    limits = {("named", account): NAMED_A_DAY}
    if turn.talk.sender.digest:
        limits["names", turn.talk.sender.actor] = NAMED_A_DAY
    async with turn.counter.pool.acquire() as db:
        # A turn that meets another, or could not be kept, is stepped again.
        once = f"{turn.talk.channel.value}/{turn.talk.talk}/turn/{turn.turn_id}"
        return await spend(db, turn.counter.door.vault, limits, moscow_date(turn.counter.now()), once=once)


async def _meter(turn: Turn, at: NamingMeter, text: str) -> Step | None:
    """Go on with the meter in service, or hear why another one is not read."""
    if not text or len(text) > VALUE_LENGTH_MAX or not any(c.isdigit() for c in text):
        return None
    known = [meter.model.number for meter in (await turn.counter.intake.account(at.account)).meters]
    # A telephone has digits only. Whoever asks for another meter means another than the one in service.
    named = next((number for number in known if number.casefold() == text.casefold()), None) or next(
        (number for number in known if text.isdigit() and _digits(number) == text[:METER_DIGITS_MAX]), text
    )
    meter = await meter_of(turn.counter, at.account)
    if meter is None or named != meter.number:
        return await refused(turn, at.account, SubmitReading(turn.counter.now(), {}, meter=named))
    step = await _enter(turn, at.account, READING, is_offered=True)
    return replace(step, at=msgspec.structs.replace(step.at, meter=named)) if isinstance(step.at, Valuing) else step


async def _value(turn: Turn, at: Valuing, text: str) -> Step | None:
    """Take the value of the next register, or of all by their names."""
    said = read_message(f"{at.account} {text}")
    tokens = said.tokens if isinstance(said, Reading) and said.account == at.account and said.meter is None else ()
    number = read_value(text)
    if number is None:
        number = _only_number(tokens, at)
    if number is not None:
        if number >= 10**at.capacity:
            return None
        values = (*at.values, str(number))
        if len(values) < len(at.shown):
            return Step(msgspec.structs.replace(at, values=values, tries=0))
        named: Mapping[str, str] = {register.value: v for (_, register), v in zip(at.shown, values, strict=True)}
    else:
        meter = ShownMeter("", at.capacity, at.shown, automatic=False)
        read = read_values(tokens, meter.registers, meter.display)
        # Without their names nobody knows in which order they stand.
        if isinstance(read, BadValue) or not _is_whole(read, meter) or not any(t.kind is Kind.MARK for t in tokens):
            return None
        named = _as_shown(read, meter)
    return await draft(turn, at.account, named, meter_number=at.meter)


def _only_number(tokens: tuple[Token, ...], at: Valuing) -> int | None:
    """Give the one number among words that mean nothing else, or that name the register which is awaited."""
    place, register = at.shown[len(at.values)]
    numbers = [token.text for token in tokens if token.kind is Kind.NUMBER]
    others = {token.text for token in tokens if token.kind not in (Kind.NUMBER, Kind.FILLER)}
    return read_value(numbers[0]) if len(numbers) == 1 and others <= {place, register.value} else None


async def _whole_text(turn: Turn, at: Situation, text: str) -> Step | None:
    """Understand a text as it would be sent by SMS: a reading, a confirmation, a code, a question about a receipt."""
    match read_message(text):
        case LinkCode(code):
            return await link(turn, code)
        case Confirmation(receipt):
            return await confirm(turn, receipt)
        case ReceiptQuestion(receipt):
            return Step(at, state_lines(receipt, await receipt_state(turn.counter, receipt)))
        case Reading(account, tokens, meter) if tokens or meter:
            return await _whole_reading(turn, Reading(account, tokens, meter))
        case _:
            return None


async def _whole_reading(turn: Turn, said: Reading) -> Step:
    counter, account = turn.counter, said.account
    meter, is_linked = await meter_for(counter, account, turn.talk.sender)
    if not is_linked and not await _may_name(turn, account):
        return Step(Over(), (Line(Say.TOO_MANY_MESSAGES), Line(Say.GOODBYE)), ask=NOTHING)
    registers = meter.registers if meter is not None else ()
    values = read_values(said.tokens, registers, meter.display if meter is not None else None)
    if isinstance(values, BadValue):
        refusal = ReadingRefused(Reason.BAD_VALUE, counter.now(), {}, registers, detail=quoted(values.token))
        return await refused(turn, account, refusal)
    is_ours = said.meter is None or (meter is not None and said.meter == meter.number)
    refusal_of_all = (await counter.intake.may_submit(account)).refusal
    if meter is None or refusal_of_all is not None or not is_ours or not _is_whole(values, meter):
        return await refused(turn, account, SubmitReading(counter.now(), values, meter=said.meter))
    return await draft(turn, account, _as_shown(values, meter), meter_number=said.meter)


async def _topic(turn: Turn, at: Situation, key: str, topic: Topic | None) -> Step:
    """Tell what was asked for, of an account only to who may speak for it."""
    counter, account = turn.counter, account_of(at)
    if topic is not None and not topic.about_account:
        return Step(at, await topic.tell(turn.talk, ""))
    if not account:
        first = await opening(turn, key)
        if isinstance(first, Choosing) and len(first.offered) == 1:
            return await _enter(turn, first.offered[0], key, is_offered=True)
        return Step(first)
    if (topic is None or topic.linked) and not await speaks_for(counter, account, turn.talk.sender):
        return Step(await _after_topic(turn, at, account), (Line(Say.LINKED_ONLY),))
    if topic is not None:
        lines = await topic.tell(turn.talk, account)
    elif key == "balance":
        lines = await balance(counter, account, moscow_date(counter.now()))
    elif key == "bill":
        lines = await last_bill(counter, account)
    else:
        lines = await last_reading(counter, account)
    return Step(await _after_topic(turn, at, account), lines)


async def _after_topic(turn: Turn, at: Situation, account: str) -> Situation:
    # Whoever asks in the middle of a reading goes on with it.
    return at if isinstance(at, Valuing | Confirming | Doubting) else await _menu(turn, account)


async def _operator(turn: Turn, at: Situation) -> Step:
    office = await turn.desk.office() if turn.desk.office is not None else None
    _log_left(turn, at)
    if office is not None and not office.is_open:
        return Step(Over(), (*office_lines(office), Line(Say.GOODBYE)), ask=NOTHING, keeps=())
    if turn.desk.hand_over is not None:
        await turn.desk.hand_over(turn.talk, account_of(at), HandOverReason.ASKED)
    return Step(Over(), (Line(Say.CONNECTING),), account=account_of(at), ask=OPERATOR, keeps=())


async def _photo(turn: Turn, at: Situation, said: Said) -> Step:
    evidence, _, guess = said.text.strip().partition(" ")
    kept = tuple(dict.fromkeys((*turn.standing.photos, evidence)))[-PHOTOS_MAX:] if evidence else turn.standing.photos
    lines = (Line(Say.PHOTO_KEPT),)
    read = await _value(turn, at, guess) if isinstance(at, Valuing) and guess else None
    if read is None:
        return Step(at, lines, keeps=kept)
    return replace(read, lines=(*lines, *read.lines), keeps=kept)


async def _wrong(turn: Turn, at: Situation, hint: Line, said: Said) -> Step:
    """Ask again, and after three times give it up; what was said last is kept as a message that was not understood."""
    tries = getattr(at, "tries", 0) + 1
    if tries < TRIES_MAX and not isinstance(at, Over):
        return Step(msgspec.structs.replace(at, tries=tries), (hint,), is_wrong=True)
    _log_left(turn, at)
    silent = said.kind is SaidKind.SILENCE or not said.text.strip()
    account, refusal = _given_up(turn, at, said.text.strip(), silent)
    dropped = (Line(Say.NOTHING_SENT),) if isinstance(at, Confirming) else ()
    if refusal is None:
        return Step(Over(), (hint, *dropped, Line(Say.GOODBYE)), ask=NOTHING, keeps=())
    answer, code = await hand_in(turn, f"turn/{turn.turn_id}", account, refusal, turn.raw)
    lines, receipt = (*dropped, *outcome_lines(answer, code)), answer.outcome.receipt
    if not silent and await _is_helped(turn, at):
        return Step(Over(), (*lines, Line(Say.CONNECTING)), receipt, code, account, ask=OPERATOR, keeps=())
    return Step(Over(), (*lines, Line(Say.GOODBYE)), receipt, code, account, ask=NOTHING, keeps=())


async def _is_helped(turn: Turn, at: Situation) -> bool:
    """Give whoever tried three times to a person, where one answers now."""
    desk = turn.desk
    if desk.office is None or desk.hand_over is None or not (await desk.office()).is_open:
        return False
    await desk.hand_over(turn.talk, account_of(at), HandOverReason.THREE_TRIES)
    return True


def _given_up(turn: Turn, at: Situation, text: str, silent: bool) -> tuple[str, ReadingRefused | None]:
    """Say as what the last of three wrong answers is kept; silence is nothing, unless a part of a reading was said before."""
    now = turn.counter.now()
    if isinstance(at, Valuing) and (at.values or not silent):
        registers = tuple(register for _, register in at.shown)
        said = {register.value: value for register, value in zip(registers, at.values, strict=False)}
        if silent:
            few = f"{len(at.values)}/{len(registers)}"
            return at.account, ReadingRefused(Reason.TOO_FEW_VALUES, now, said, registers, at.capacity, few)
        reason = Reason.TOO_MANY_DIGITS if read_value(text) is not None else Reason.BAD_VALUE
        return at.account, ReadingRefused(reason, now, said, registers, at.capacity, quoted(text))
    if silent:
        return "", None
    if isinstance(at, Naming) and text.isascii() and text.isdigit():
        return "", ReadingRefused(Reason.BAD_ACCOUNT, now, {}, detail=str(len(text)))
    return "", ReadingRefused(Reason.NOT_UNDERSTOOD, now, {})


def _hint(at: Situation, text: str) -> Line:
    match at:
        case Valuing() if read_value(text) is not None:
            return Line(Say.TOO_MANY_DIGITS)
        case Valuing():
            return Line(Say.ONLY_DIGITS)
        case Naming() | Choosing() if text.isdigit():
            return Line(Say.SEVEN_DIGITS)
        case _:
            return Line(Say.NOT_UNDERSTOOD)


def _is_whole(values: Mapping[str, str], meter: ShownMeter) -> bool:
    read = {name: read_value(value) for name, value in values.items()}
    names = {register.value for register in meter.registers}
    return read.keys() == names and all(n is not None and n < 10**meter.capacity for n in read.values())


def _as_shown(values: Mapping[str, str], meter: ShownMeter) -> dict[str, str]:
    return {register.value: values[register.value] for register in meter.registers}


def _digits(number: str) -> str:
    return "".join(c for c in number if c.isascii() and c.isdigit())


def _log_left(turn: Turn, at: Situation) -> None:
    if isinstance(at, Confirming) or (isinstance(at, Valuing) and at.values):
        log.info("a reading by %s was given up before its confirmation", turn.talk.channel.value)
