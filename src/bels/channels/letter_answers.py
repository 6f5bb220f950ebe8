"""The letter that answers a letter: what became of it, row by row where it brought a register (channels 5, RFC 3834).

Two machines that answer each other write for ever. So what a machine wrote is never answered, our answers say that a machine
wrote them and have the null envelope sender, and nobody gets more than one in an hour.
"""

from __future__ import annotations

import csv
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import Enum
from io import StringIO
from re import compile as pattern

from bels.access.quota import spend
from bels.access.raw_texts import RawTexts
from bels.access.vault import Vault
from bels.cells import harmless
from bels.channels.letters import Letter, is_robot
from bels.domain.periods import moscow_date
from bels.domain.read_value import quoted_number
from bels.journal.write import Db
from bels.outgoing.outbox import LETTER_BYTES_MAX, put_letter
from bels.outgoing.results import Letter as Outgoing
from bels.reception.registers import RowAnswer
from bels.words import HOTLINE

SILENCE = timedelta(hours=1)
"""Nobody gets two answers within this time."""

SLOTS = 6
"""An hour is counted in so many parts; the next answer may wait one of them longer."""

ROWS_TOLD_MAX = 500
"""Rows of a great register that are told in words."""

SUBJECT = "Показания: ответ на ваше письмо"
NAME = "БЭЛС"
CODE_HEADER = "X-Bels-Outcome"
RECEIPT_HEADER = "X-Bels-Receipt"
TABLE_NAME = "otvet.csv"

_COLUMNS = ("строка", "лицевой счёт", "номер", "код", "что стало", "что делать")
NAME_LENGTH_MAX = 40
"""What is repeated of the name of a file."""

_SIGNS = pattern(r"[^\w -]|_|(?:https?|www)\b")

Post = Callable[[Db, str, str, bytes], Awaitable[None]]
"""Keep a letter for sending, in the transaction of a connection: its key (planned twice, sent once), to whom, as it goes."""


class Detail(Enum):
    """How much is told of a table: every row in words, what is to be done in words, or codes in the table only."""

    ALL = "all"
    TO_BE_DONE = "to be done"
    CODES = "codes"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one thing in a letter: ``receipt`` is "" where nothing was stored, ``code`` is the outcome's."""

    code: str
    receipt: str
    text: str
    hint: str
    link: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ToldTable:
    """What became of the rows of one file."""

    name: str = field(repr=False)
    rows: tuple[RowAnswer, ...]


def may_be_answered(letter: Letter, mail_from: str, mailbox: str) -> bool:
    """Say whether a letter may be answered at all (RFC 3834 section 2); ``mail_from`` is its envelope sender."""
    own = mailbox.lower()
    robots = is_robot(mail_from) or is_robot(letter.sender)
    return not (letter.is_automatic or robots or own in (mail_from.lower(), letter.sender))


def is_writable(address: str) -> bool:
    """Say whether an answer can be addressed so. Some addresses from which letters come cannot stand in a header: two dots, Cyrillic."""
    try:
        Address(addr_spec=address)
    except (MessageError, ValueError, IndexError):
        return False
    return bool(address)


def answer_to(letter: Letter, told: Sequence[Told | ToldTable], to: str, mailbox: str, at: datetime) -> bytes:
    """Write the answer to a letter, as it goes over the wire.

    A register of thousands of rows is told in as much detail as fits: at the least the code of every row, in the table.
    """
    message = b""
    for detail in Detail:
        message = _composed(letter, told, to, mailbox, at, detail)
        if len(message) <= LETTER_BYTES_MAX:
            break
    return message


def _composed(
    letter: Letter, told: Sequence[Told | ToldTable], to: str, mailbox: str, at: datetime, detail: Detail
) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(NAME, addr_spec=mailbox)
    message["To"] = Address(addr_spec=to)
    receipts = [each.receipt for each in told if isinstance(each, Told) and each.receipt]
    message["Subject"] = f"{SUBJECT}, №{receipts[0]}" if len(receipts) == 1 else SUBJECT
    message["Date"] = format_datetime(at.astimezone(UTC))
    message["Message-ID"] = f"<{letter.key.replace(':', '.')}.answer@{mailbox.rpartition('@')[2]}>"
    if _is_message_id(letter.message_id):
        message["In-Reply-To"] = letter.message_id
        message["References"] = " ".join([*filter(_is_message_id, letter.references), letter.message_id])
    message["Auto-Submitted"] = "auto-replied"
    # Programs that do not know RFC 3834 know this one.
    message["X-Auto-Response-Suppress"] = "All"
    for each in told:
        if isinstance(each, Told):
            message[CODE_HEADER] = each.code
            if each.receipt:
                message[RECEIPT_HEADER] = each.receipt
    texts = [_text(each, detail) for each in told]
    message.set_content("\n\n".join([*texts, _footer()]), charset="utf-8", cte="base64")
    tables = [each for each in told if isinstance(each, ToldTable)]
    for i, table in enumerate(tables, 1):
        name = TABLE_NAME if len(tables) == 1 else f"{i}-{TABLE_NAME}"
        # With a byte order mark a spreadsheet opens it as UTF-8.
        message.add_attachment(_csv(table, detail).encode("utf-8-sig"), maintype="text", subtype="csv", filename=name)
    return message.as_bytes()


async def post_once_an_hour(
    db: Db, vault: Vault, post: Post, key: str, to: str, message: bytes, sender: str, at: datetime
) -> bool:
    """Keep an answer for sending, False where its sender got one within an hour; ``sender`` is a keyed digest.

    Both are one transaction: an answer that was not kept takes nobody's turn.
    """
    first = int(at.timestamp()) // int(SILENCE.total_seconds() / SLOTS)
    slots: dict[str, datetime] = {}
    for slot in range(first, first + SLOTS + 1):
        begins = datetime.fromtimestamp(slot * SILENCE.total_seconds() / SLOTS, UTC)
        slots[f"{sender}/{slot}"] = begins
    transaction = db.transaction()
    await transaction.start()
    may = True
    try:
        # Each part of the hour is counted on its own day, or midnight would forget it.
        for day in sorted({moscow_date(begins) for begins in slots.values()}):
            limits = {("letter", name): 1 for name, begins in slots.items() if moscow_date(begins) == day}
            may = may and await spend(db, vault, limits, day)
        if may:
            await post(db, key, to, message)
    except BaseException:
        await transaction.rollback()
        raise
    if not may:
        # What is refused must not take the next turns, or who writes often would never be answered again.
        await transaction.rollback()
        return False
    await transaction.commit()
    return True


def _text(told: Told | ToldTable, detail: Detail) -> str:
    if isinstance(told, ToldTable):
        return _table_text(told, detail)
    text = told.text if not told.receipt or told.receipt in told.text else f"№{told.receipt}: {told.text}"
    lines = [f"{text}.", f"{told.hint}."]
    if told.link:
        lines.append(f"Подтвердить по ссылке: {told.link}")
    if told.receipt:
        lines.append(f"Что стало с сообщением, можно узнать в любой день: ответьте «? {told.receipt}».")
    return "\n".join(lines)


def _table_text(table: ToldTable, detail: Detail) -> str:
    tally = Tally(_group(row) for row in table.rows)
    summed = ", ".join(f"{group} {tally[group]}" for group in _GROUPS if tally[group])
    plain = _plain_name(table.name)
    name = f"Таблица «{plain}»" if plain else "Таблица"
    lines = [f"{name}: строк {len(table.rows)}, {summed}.", ""]
    rows = table.rows if detail is Detail.ALL else tuple(row for row in table.rows if _group(row) in _TO_BE_DONE)
    if detail is not Detail.ALL:
        rows = rows[:ROWS_TOLD_MAX]
        lines.append("Здесь – строки, с которыми нужно что-то сделать, все строки – в приложенной таблице.")
    for each in rows:
        words, receipt = each.answer.words, each.answer.outcome.receipt
        text = words.text if receipt in words.text else f"№{receipt}: {words.text}"
        lines.append(f"Строка {each.row.number}: {text}. {words.hint}.")
    return "\n".join(lines)


_GROUPS = ("принято", "уже было", "на проверке", "не принято")
_TO_BE_DONE = ("на проверке", "не принято")


def _group(row: RowAnswer) -> str:
    if row.code == "REPEATED":
        return "уже было"
    match row.answer.outcome.status.value:
        case "ACCEPTED":
            return "принято"
        case "REFUSED":
            return "не принято"
        case _:
            return "на проверке"


def _csv(table: ToldTable, detail: Detail) -> str:
    written = StringIO()
    writer = csv.writer(written, delimiter=";", lineterminator="\r\n")
    with_words = detail is not Detail.CODES
    writer.writerow(_COLUMNS if with_words else _COLUMNS[:4])
    for each in table.rows:
        words = each.answer.words
        told = (words.text, words.hint) if with_words else ()
        cells = (quoted_number(each.row.account), each.answer.outcome.receipt, each.code, *told)
        writer.writerow((each.row.number, *map(harmless, cells)))
    return written.getvalue()


def _plain_name(name: str) -> str:
    """Give a file's name without its ending, as words and numbers: the answer may go to somebody who has sent us nothing, and
    must carry nobody's message or link to him.
    """
    stem = name.rpartition(".")[0] or name
    return " ".join(_SIGNS.sub(" ", stem).split())[:NAME_LENGTH_MAX]


def _footer() -> str:
    return f"Письмо составлено автоматически. Вопросы: {HOTLINE}.\n\n-- \n{NAME}"


def _is_message_id(text: str) -> bool:
    # A line end may have stood in it as an encoded word.
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return is_plain and 3 < len(text) <= 250 and text.startswith("<") and text.endswith(">")


def through_outbox(raw_texts: RawTexts, clock: Callable[[], datetime]) -> Post:
    """Make the ``Post`` that puts an answer into the outbox; it goes out with the null envelope sender."""

    async def post(db: Db, key: str, to: str, message: bytes) -> None:
        await put_letter(db, raw_texts, key, to, Outgoing(message), now=clock())

    return post
