"""Hand in what a talk comes to, each message under a name of its own: a reading by its draft, all else by its turn.

So whoever steps again, at once in another process or after a crash, sends the same message under the same name: it is taken once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import token_hex

from bels.domain.commands import Command, ConfirmReading, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.read_value import read_value
from bels.domain.terms import EntryNumber, HoldReason, Reason, Role
from bels.journal.journal import find_messages
from bels.reception.codes import use_code
from bels.reception.counter import (
    Answer,
    Counter,
    code_of,
    known_accounts,
    linked_accounts,
    receipt_state,
    speaks_for,
    take,
)
from bels.reception.dialogue.asking import NOTHING
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.standing import (
    READING,
    Choosing,
    Confirming,
    Doubting,
    Menu,
    Naming,
    NamingMeter,
    Over,
    Sent,
    Situation,
    Standing,
    Valuing,
)
from bels.reception.dialogue.telling import (
    note,
    outcome_lines,
    receipt_line,
)
from bels.reception.dialogue.turns import Ask, Line, Talk
from bels.reception.meaning import Meaning, meaning_of

_NO_ACCOUNT = (Reason.UNKNOWN_ACCOUNT.value, Reason.BAD_ACCOUNT.value, Reason.TOO_MANY_MESSAGES.value)
TRIES_MAX = 3
"""Wrong or silent answers to one question."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn under way: whose, under which name, in which words, and what stood before it."""

    counter: Counter
    talk: Talk
    desk: Desk
    turn_id: str
    raw: str
    standing: Standing
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a turn leads, and what is said before the next question. ``ask`` is given where it is not the situation's own."""

    at: Situation
    lines: tuple[Line, ...] = ()
    receipt: str = ""
    code: str = ""
    account: str = ""
    ask: Ask | None = None
    sent: Sent | None = None
    photos: tuple[str, ...] = ()
    keeps: tuple[str, ...] | None = None
    is_wrong: bool = False


def account_of(at: Situation) -> str:
    """Give the account that a situation is about, "" where none is."""
    match at:
        case NamingMeter(account=account) | Valuing(account=account) | Confirming(account=account):
            return account
        case Doubting(account=account) | Menu(account=account):
            return account
        case _:
            return ""


async def opening(turn: Turn, want: str = READING) -> Choosing | Naming:
    """Offer the accounts that the sender may mean, or ask for one."""
    talk = turn.talk
    if talk.contact is not None and talk.address:
        known = await known_accounts(turn.counter, talk.sender, talk.contact, talk.address)
    else:
        known = await linked_accounts(turn.counter, talk.sender)
    return Choosing(tuple(known), want) if known else Naming(want)


async def draft(turn: Turn, account: str, values: Mapping[str, str], *, meter_number: str | None) -> Step:
    """Read back what was said and what it means, and ask for a yes."""
    meaning = Meaning()
    if await speaks_for(turn.counter, account, turn.talk.sender):
        meaning = await meaning_of(turn.counter.intake, account, values, meter_number)
    return Step(
        Confirming(
            account,
            token_hex(4),
            {register: str(read_value(value)) for register, value in values.items()},
            meter_number,
            meaning.kwh,
            f"{meaning.roubles:.2f}" if meaning.roubles is not None else "",
            meaning.held.value if meaning.held is not None else "",
        )
    )


async def yes(turn: Turn, at: Situation, draft: str) -> Step:
    """Send the reading of a draft; a second yes hears the same."""
    sent = turn.standing.sent
    if sent is not None and sent.draft == draft:
        return Step(at, sent.lines, sent.receipt, sent.code, sent.account)
    if not isinstance(at, Confirming) or at.draft != draft:
        return Step(at, (Line(Say.STALE),))
    raw = "#".join((at.account, *at.values.values()))
    command = SubmitReading(turn.counter.now(), at.values, meter=at.meter)
    answer, code = await hand_in(
        turn, f"draft/{draft}", at.account, command, f"{raw} {at.meter}" if at.meter is not None else raw
    )
    outcome, lines = answer.outcome, outcome_lines(answer, code)
    following: Situation = Menu(at.account, answer.linked)
    if code == HoldReason.IMPLAUSIBLE and answer.linked and outcome.version is not None:
        following = Doubting(at.account, draft, outcome.version)
    return Step(
        following,
        lines,
        outcome.receipt,
        code,
        at.account,
        sent=Sent(draft, outcome.receipt, code, at.account, lines),
        photos=turn.standing.photos,
        keeps=(),
    )


async def sure(turn: Turn, at: Situation, draft: str) -> Step:
    """Confirm a reading that is held because so much is not plausible."""
    sent = turn.standing.sent
    if sent is not None and sent.draft == f"{draft}/sure":
        return Step(at, sent.lines, sent.receipt, sent.code, sent.account)
    if not isinstance(at, Doubting) or at.draft != draft:
        return Step(at, (Line(Say.STALE),))
    command = ConfirmReading(EntryNumber(at.entry), turn.counter.now(), Role.CONSUMER)
    answer, code = await hand_in(turn, f"draft/{draft}/sure", at.account, command, f"{at.account} {at.entry}")
    lines, receipt = outcome_lines(answer, code), answer.outcome.receipt
    return Step(
        Menu(at.account, answer.linked),
        lines,
        receipt,
        code,
        at.account,
        sent=Sent(f"{draft}/sure", receipt, code, at.account, lines),
    )


async def confirm(turn: Turn, receipt: str) -> Step:
    """Confirm a held reading by its receipt: the word itself is the confirmation."""
    now, found = turn.counter.now(), await receipt_state(turn.counter, receipt)
    command: ConfirmReading | ReadingRefused
    if found is None:
        command = ReadingRefused(Reason.UNKNOWN_READING, now, {})
    elif found.reading is None:
        command = ReadingRefused(Reason.NOT_HELD, now, {}, found.registers)
    else:
        command = ConfirmReading(found.reading, now, Role.CONSUMER)
    return await refused(turn, found.account if found is not None else "", command)


async def link(turn: Turn, code: str) -> Step:
    """Link the sender to the account that a code was made for."""
    name, raw = f"{turn.talk.talk}/turn/{turn.turn_id}", turn.counter.door.raw_texts.kept(turn.raw)
    answer = await use_code(turn.counter, turn.talk.sender, code, name, raw, turn.request_id)
    outcome = answer.outcome
    at: Situation = Menu(outcome.account, linked=True) if answer.linked else await opening(turn)
    return Step(at, (note(answer.words), receipt_line(outcome.receipt)), outcome.receipt, answer.code, outcome.account)


async def refused(turn: Turn, account: str, command: Command | ReadingRefused) -> Step:
    """Hand in what is no draft, mostly to be refused, and go on where the answer leads."""
    answer, code = await hand_in(turn, f"turn/{turn.turn_id}", account, command, turn.raw)
    lines, receipt = outcome_lines(answer, code), answer.outcome.receipt
    if code not in _NO_ACCOUNT and account:
        return Step(Menu(account, answer.linked), lines, receipt, code, account)
    at = turn.standing.situation
    tries = (at.tries if isinstance(at, Naming) else 0) + 1
    if tries >= TRIES_MAX or code == Reason.TOO_MANY_MESSAGES:
        return Step(Over(), (*lines, Line(Say.GOODBYE)), receipt, code, account, ask=NOTHING)
    return Step(Naming(getattr(at, "want", READING), tries), lines, receipt, code, account)


async def hand_in(
    turn: Turn, name: str, account: str, command: Command | ReadingRefused, raw: str
) -> tuple[Answer, str]:
    """Hand a message in under a name of this talk, and say its code: the first one, where it came before under this name."""
    counter, sender = turn.counter, turn.talk.sender
    message_id, kept = f"{turn.talk.talk}/{name}", counter.door.raw_texts.kept(raw)
    answer = await take(counter, sender, message_id, account, command, kept, request_id=turn.request_id)
    if answer.outcome.repeated:
        async with counter.pool.acquire() as db:
            (own,) = await find_messages(db, [(sender.channel.value, message_id)])
        if own.receipt == answer.outcome.receipt:
            answer = replace(answer, outcome=replace(answer.outcome, repeated=False))
    return answer, code_of(answer.outcome)
