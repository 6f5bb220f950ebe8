"""A text that somebody typed, from its words to its answer: the same for SMS, letters and chats (rules 5, channels 1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from bels.domain.commands import ConfirmReading, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.terms import ReadingStatus, Reason, Role
from bels.outgoing.choices import unsubscribe_sender
from bels.reception.codes import use_code
from bels.reception.counter import Answer, Counter, Sender, database, meter_of, receipt_state, take
from bels.reception.grammar import (
    BadAccount,
    Confirmation,
    LinkCode,
    NotUnderstood,
    Reading,
    ReceiptQuestion,
    asks_to_stop,
    read_message,
)
from bels.reception.submission import submission
from bels.words import Words, state

Command = SubmitReading | ConfirmReading | ReadingRefused


@dataclass(frozen=True, slots=True)
class Told:
    """The words of an answer, and the receipt they are about; ``answer`` is None where a receipt was only asked for."""

    words: Words
    receipt: str
    answer: Answer | None = None


async def answer_text(
    counter: Counter,
    sender: Sender,
    message_id: str,
    text: str | None,
    raw: str,
    received_at: datetime,
    *,
    request_id: str = "",
    same_since: datetime | None = None,
    in_letter: bool = False,
) -> Told:
    """Read a text, None where it is damaged, take what it brings, and word the answer. A question about a receipt leaves no trace.

    ``raw`` and ``same_since`` are those of ``take``, ``in_letter`` is that of ``read_message``.

    :raises TryLater: nothing was stored.
    """
    if text is not None and asks_to_stop(text):
        return await _stopped(counter, sender)
    parsed = read_message(text, in_letter=in_letter) if text is not None else NotUnderstood()
    if isinstance(parsed, ReceiptQuestion):
        return Told(state(parsed.receipt, await receipt_state(counter, parsed.receipt)), parsed.receipt)
    if isinstance(parsed, LinkCode):
        answer = await use_code(counter, sender, parsed.code, message_id, raw, request_id)
        return Told(answer.words, answer.outcome.receipt, answer)
    account, command = await command_of(counter, parsed, received_at)
    answer = await take(
        counter, sender, message_id, account, command, raw, request_id=request_id, same_since=same_since
    )
    return Told(answer.words, answer.outcome.receipt, answer)


async def _stopped(counter: Counter, sender: Sender) -> Told:
    """Write no more to an address; whose it is, or whether we ever wrote there, is told to nobody."""
    if sender.proven:
        async with database(counter) as db:
            await unsubscribe_sender(db, sender.channel, sender.digest)
    return Told(Words("Больше не пишем вам о показаниях", "Включить снова можно в личном кабинете"), "")


async def command_of(
    counter: Counter, parsed: Reading | Confirmation | BadAccount | NotUnderstood, at: datetime
) -> tuple[str, Command]:
    """Give the account of a text that was read, "" where none is known, and its command, or why there is none."""
    match parsed:
        case Reading(account, tokens, number):
            meter = await meter_of(counter, account)
            registers = meter.registers if meter is not None else ()
            display = meter.display if meter is not None else None
            return account, submission(tokens, registers, display, at, meter=number)
        case Confirmation(receipt):
            found = await receipt_state(counter, receipt)
            if found is None:
                return "", ReadingRefused(Reason.UNKNOWN_READING, at, {})
            if found.reading is None or found.status is ReadingStatus.REFUSED:
                return found.account, ReadingRefused(Reason.NOT_HELD, at, {}, found.registers)
            return found.account, ConfirmReading(found.reading, at, Role.CONSUMER)
        case BadAccount(digits):
            return "", ReadingRefused(Reason.BAD_ACCOUNT, at, {}, detail="letters" if digits is None else str(digits))
        case NotUnderstood(after):
            return "", ReadingRefused(Reason.NOT_UNDERSTOOD, at, {}, detail=after or None)
        case _ as never:
            assert_never(never)
