"""Take a register of readings in: every row is a message of its own, in batches, and a row's fault never stops another.

The rules are those of the counter: whoever is not linked to an account is a stranger there, hears no consumption, and brings
so many messages about it a day. A register comes by letter, and of a stranger's letter every reading is held: one table could
else put a first reading on every account of the town. A register counts once against its sender, or a housing company could
not send one.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from json import dumps

from bels.access.quota import spend, spend_each
from bels.access.tenures import is_account
from bels.domain.commands import Claim, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.periods import moscow_date
from bels.domain.read_value import quoted
from bels.domain.terms import Reason, Register
from bels.journal.journal import find_messages
from bels.messages import Message
from bels.projections import overview
from bels.projections.overview import OverviewRow
from bels.reception.counter import STRANGERS_A_DAY, STRANGERS_BY_LETTER, Answer, Counter, Sender, answered, is_linked
from bels.reception.submission import submission
from bels.reception.tables import Row

BATCH_ROWS = 500
"""Rows of one transaction: others wait no longer for it than for a month's closing of as many accounts."""

REGISTERS_A_DAY = 20
"""Registers of one sender: each of them may try a value at every account of the town."""

_ACCOUNT_DIGITS = 7


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What became of one row."""

    row: Row
    answer: Answer

    @property
    def code(self) -> str:
        """The code of the outcome, as on every channel."""
        return self.answer.code


async def take_register(
    counter: Counter, sender: Sender, name: str, rows: Sequence[Row], *, received_at: datetime, request_id: str = ""
) -> list[RowAnswer]:
    """Take the rows of a register in and answer each; the same register under the same ``name`` again hears the same.

    ``name`` is at most 190 characters: a row's message is called by it and the number of the row.

    :raises TryLater: some rows were not stored; bring the whole register again.
    :raises OSError, asyncpg errors of UNAVAILABLE: the same.
    """
    answers: list[RowAnswer] = []
    is_counted = False
    for start in range(0, len(rows), BATCH_ROWS):
        batch = rows[start : start + BATCH_ROWS]
        messages, linked, is_counted = await _messages(
            counter, sender, name, batch, received_at, request_id, is_counted=is_counted
        )
        outcomes = await counter.intake.handle(messages)
        for row, outcome, own in zip(batch, outcomes, linked, strict=True):
            answers.append(RowAnswer(row, answered(counter, outcome, linked=own)))
    return answers


async def _messages(
    counter: Counter,
    sender: Sender,
    name: str,
    rows: Sequence[Row],
    received_at: datetime,
    request_id: str,
    *,
    is_counted: bool,
) -> tuple[list[Message], list[bool], bool]:
    """Make the messages of some rows, and say for each whether its sender may speak for the account."""
    names = [(sender.channel.value, f"{name}/{row.number}") for row in rows]
    async with counter.pool.acquire() as db:
        known = await overview.find(db, sorted({row.account for row in rows if is_account(row.account)}))
        came_before = {found.message_id for found in await find_messages(db, names)}
        linked = [is_linked(known.get(row.account), sender) for row in rows]
        strange = [
            row.account
            for row, (_, message_id), own in zip(rows, names, linked, strict=True)
            if not own and message_id not in came_before and is_account(row.account)
        ]
        may = True
        if strange and not is_counted and sender.digest:
            is_counted = True
            limits = {("registers", sender.actor): REGISTERS_A_DAY}
            once = f"{sender.channel.value}/{name}"
            may = await spend(db, counter.door.vault, limits, moscow_date(counter.now()), once=once)
        spent = (
            await spend_each(
                db, counter.door.vault, STRANGERS_BY_LETTER, Tally(strange), STRANGERS_A_DAY, moscow_date(counter.now())
            )
            if may
            else set(strange)
        )
    messages = []
    for row, (_, message_id), own in zip(rows, names, linked, strict=True):
        claim = (sender if own else replace(sender, proven=False)).claim
        command = _command(row, known.get(row.account), claim, received_at)
        account = row.account if is_account(row.account) else ""
        if not own and account in spent and message_id not in came_before:
            command, account = ReadingRefused(Reason.TOO_MANY_MESSAGES, counter.now(), {}), ""
        messages.append(
            Message(sender.channel, message_id, sender.actor, account, command, _raw(counter, row), request_id)
        )
    return messages, linked, is_counted


def _command(
    row: Row, found: OverviewRow | None, claim: Claim, received_at: datetime
) -> SubmitReading | ReadingRefused:
    meter = found.meter if found is not None else None
    registers = tuple(Register(register) for register in meter.registers) if meter is not None else ()
    if not is_account(row.account):
        digits = len(row.account) if row.account.isdigit() and len(row.account) != _ACCOUNT_DIGITS else None
        return ReadingRefused(
            Reason.BAD_ACCOUNT, received_at, {}, detail=str(digits) if digits is not None else "letters"
        )
    if row.bad_date is not None:
        return ReadingRefused(Reason.BAD_DATES, received_at, {}, registers, detail=quoted(row.bad_date))
    display = {place: Register(r) for place, r in (meter.display or {}).items()} if meter is not None else {}
    return submission(
        row.tokens(), registers, display or None, received_at, taken_on=row.taken_on, meter=row.meter, claim=claim
    )


def _raw(counter: Counter, row: Row) -> str:
    cells = [row.account, *(text for _, text in row.values), row.meter or "", row.bad_date or ""]
    content = {
        "row": row.number,
        "account": row.account,
        "values": list(row.values),
        "meter": row.meter,
        "taken_on": row.taken_on.isoformat() if row.taken_on else row.bad_date,
    }
    # The numbers of meters have letters, but are nobody's name.
    return counter.door.raw_texts.kept(dumps(content, ensure_ascii=False, sort_keys=True), *cells)
