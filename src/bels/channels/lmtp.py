"""The mailbox: an LMTP server (RFC 2033) on our own loop, to which our mail server hands letters (channels 5).

The mail server is the queue. 250 is said when all that a letter brought is stored, 451 when it could not be, so the letter
comes again under the same name; 550 when it will never be readable, and its sender hears that from the mail server.
"""

from __future__ import annotations

import asyncio
from asyncio import timeout, to_thread
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from json import dumps
from logging import WARNING, getLogger
from typing import Protocol

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from bels.access.personal import ContactKind
from bels.channels.authentication import is_vouched_for
from bels.channels.letter_answers import (
    Post,
    Told,
    ToldTable,
    answer_to,
    is_writable,
    may_be_answered,
    post_once_an_hour,
)
from bels.channels.letters import (
    BYTES_MAX,
    Attached,
    Letter,
    Unreadable,
    plain_address,
    read_letter,
)
from bels.domain.events import ReadingRefused
from bels.domain.terms import Channel, HoldReason, Reason
from bels.journal.faults import UNAVAILABLE
from bels.messages import Status, TryLater
from bels.reception.counter import Answer, Counter, Sender, known_accounts, speaks_for, take
from bels.reception.grammar import LinkCode, Reading, ReceiptQuestion, read_message
from bels.reception.registers import take_register
from bels.reception.tables import FAULTS, TableFault, read_table
from bels.reception.texts import answer_text, command_of

WAIT_S = 120.0
"""The mail server waits ten minutes for the answer to a letter (``lmtp_data_done_timeout``)."""

SESSION_WAIT_S = 300.0
CONNECTIONS_MAX = 10
"""Each may bring the greatest letter at once; the mail server is told to open fewer."""

DRAIN_S = 10.0
HELD_BACK_MAX = timedelta(days=5)
"""How long the mail server may keep a letter for us, and its own time of receipt still counts."""

PARTS_MAX = 10
"""Accounts in one letter's text; more of them is a table."""

BUFFER_BYTES = 64 * 1024
"""What is read of a letter in one go."""

RAW_LENGTH_MAX = 8_000
HOST = "bels"

NO_MAILBOX = "550 5.1.1 No such mailbox here"
ONE_AT_A_TIME = "452 4.5.3 One recipient at a time"
TAKEN = "250 2.0.0 Taken"
TOO_BIG = "552 5.3.4 The letter is too big"
TRY_LATER = "451 4.3.0 Nothing could be stored, keep the letter and try later"
UNREADABLE = "550 5.6.0 The letter cannot be read ({code}): send the readings as plain text, or a table as xlsx or csv"

NOT_OPENED = "Архивы и файлы других видов не открываем: пришлите таблицу как xlsx или csv, показания – текстом письма"
IN_A_TABLE = "Показания более чем по десяти счетам пришлите таблицей, xlsx или csv"

ConfirmLink = Callable[[str, str, str], Awaitable[str | None]]
"""Make the link by which whoever reads a sender's letters confirms what came in its name: of an account, a receipt and the
sender's digest; None where there can be none."""

_LINE_END, _LETTER_END = b"\r\n", b"\r\n.\r\n"

log = getLogger(__name__)


class KeepPhoto(Protocol):
    """Keep a picture, the same ``key`` once: ``evidence.keep_photo``."""

    async def __call__(
        self,
        counter: Counter,
        account: str,
        receipt: str | None,
        content: bytes,
        content_type: str,
        by: str,
        *,
        key: str = "",
    ) -> object:
        """Keep it."""


@dataclass(frozen=True, slots=True)
class Mailroom:
    """What letters are read with. ``mailbox`` is our address, ``authserv_id`` whose word on a sender we take, None: nobody's."""

    counter: Counter
    mailbox: str
    authserv_id: str | None
    post: Post
    confirm_link: ConfirmLink | None = None
    keep_photo: KeepPhoto | None = None
    wait_s: float = WAIT_S


@asynccontextmanager
async def serving_letters(
    room: Mailroom, host: str, port: int, *, shared: bool = False
) -> AsyncIterator[asyncio.Server]:
    """Take letters at an address while this is open; letters under way are finished.

    Whoever reaches the address can write any verdict of authentication: only our mail server may. ``shared``: other processes
    of ours listen there too.

    :raises OSError: the address is taken.
    """
    # It would write addresses of people into the log.
    getLogger("mail.log").setLevel(WARNING)
    loop = asyncio.get_running_loop()
    connections: set[_Connection] = set()
    desk = _Desk(room)
    server = await loop.create_server(
        lambda: _Connection(desk, connections, loop), host, port, reuse_port=shared or None
    )
    try:
        yield server
    finally:
        server.close()
        loop_end = loop.time() + DRAIN_S
        while any(connection.is_busy for connection in connections) and loop.time() < loop_end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in tuple(connections):
            connection.end()
        await server.wait_closed()


async def take_letter(room: Mailroom, content: bytes, mail_from: str, *, request_id: str = "") -> str:
    """Take one letter in and see to its answer; gives the reply to the mail server.

    :raises TryLater: nothing is acknowledged; the same letter may come again.
    """
    letter = await to_thread(read_letter, content)
    if isinstance(letter, Unreadable):
        log.warning("a letter of %d bytes is refused: %s", len(content), letter.value)
        return UNREADABLE.format(code=letter.value)
    if not mail_from:
        # A report of a mail server, whatever it says of itself.
        letter = replace(letter, is_automatic=True)
    counter, now = room.counter, room.counter.now()
    arrived = letter.arrived_at
    received_at = arrived if arrived is not None and now - HELD_BACK_MAX <= arrived <= now else now
    vouched = is_vouched_for(letter.vouchers, room.authserv_id, letter.domain)
    # What goes to the From of a letter that somebody else sent is a nuisance to whoever has that address.
    is_from = bool(letter.sender) and (vouched or letter.sender == plain_address(mail_from))
    may_answer = may_be_answered(letter, mail_from, room.mailbox)
    sender = counter.sender(Channel.EMAIL, letter.sender, proven=vouched)
    reading = _Reading(room, letter, sender, received_at, request_id, is_from=is_from, may_answer=may_answer)
    try:
        told = [*await reading.tables(), *await reading.texts()]
        to = letter.sender if is_from or any(map(_has_link, told)) else plain_address(mail_from)
        if may_answer and told and is_writable(to):
            await _answer(room, letter, told, to, now)
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    return TAKEN


@dataclass(frozen=True, slots=True)
class _Reading:
    """One letter while it is taken in."""

    room: Mailroom
    letter: Letter
    sender: Sender
    received_at: datetime
    request_id: str
    is_from: bool
    may_answer: bool

    async def tables(self) -> list[Told | ToldTable]:
        """Take the rows of every table in."""
        return [await self._table(table) for table in self.letter.tables]

    async def _table(self, table: Attached) -> Told | ToldTable:
        name = f"{self.letter.key}/t{table.place}"
        rows = await to_thread(read_table, table.content)
        if isinstance(rows, TableFault):
            answer = await self._refused(name, rows.value)
            return Told(answer.code, answer.outcome.receipt, FAULTS[rows], "Исправьте и пришлите письмо снова")
        answers = await take_register(
            self.room.counter,
            self.sender,
            name,
            rows,
            received_at=self.received_at,
            request_id=self.request_id,
        )
        return ToldTable(table.name, tuple(answers))

    async def texts(self) -> list[Told]:
        """Take in what is written, an account at a time; beside a table only what is plainly a reading."""
        letter = self.letter
        if letter.is_automatic:
            # What a machine answers to us quotes our own words: nothing in it is a reading.
            if not letter.tables:
                await self._refused(letter.key, letter.words)
            return []
        parts = letter.parts()
        if letter.tables:
            parts = [
                part
                for part in parts
                if isinstance(parsed := read_message(part, in_letter=True), Reading) and parsed.tokens
            ]
        if len(parts) > PARTS_MAX:
            answer = await self._refused(letter.key, letter.words)
            return [Told(answer.code, answer.outcome.receipt, answer.words.text, IN_A_TABLE)]
        several = len(parts) > 1
        return [
            await self._text(f"{letter.key}/{i}" if several else letter.key, part, alone=not several)
            for i, part in enumerate(parts, 1)
        ]

    async def _text(self, name: str, text: str, *, alone: bool) -> Told:
        counter, sender, raw = self.room.counter, self.sender, self._raw(text)
        parsed = read_message(text, in_letter=True)
        if isinstance(parsed, ReceiptQuestion | LinkCode):
            told = await answer_text(
                counter, sender, name, text, raw, self.received_at, request_id=self.request_id, in_letter=True
            )
            code = told.answer.code if told.answer is not None else "RECEIPT"
            return Told(code, told.receipt, told.words.text, told.words.hint)
        account, command = await command_of(counter, parsed, self.received_at)
        if account and not await speaks_for(counter, account, sender):
            # A letter of whoever is not linked is a claim, however well its address is proven.
            sender = replace(sender, proven=False)
        answer = await take(counter, sender, name, account, command, raw, request_id=self.request_id)
        hint = answer.words.hint
        if answer.code == Reason.NOT_UNDERSTOOD.value and self.letter.not_read:
            hint = NOT_OPENED
        if alone and answer.outcome.account:
            await self._keep_pictures(answer)
        words = answer.words.text
        if not alone and account and account not in words:
            words = f"Л/с {account}: {words}"
        return Told(answer.code, answer.outcome.receipt, words, hint, await self._link(answer))

    async def _keep_pictures(self, answer: Answer) -> None:
        keep, outcome, by = self.room.keep_photo, answer.outcome, self.sender.actor
        if keep is None:
            return
        for picture in self.letter.pictures:
            await keep(
                self.room.counter,
                outcome.account,
                outcome.receipt,
                picture.content,
                picture.content_type,
                by,
                key=f"{self.letter.key}/p{picture.place}",
            )

    async def _link(self, answer: Answer) -> str | None:
        """Make a link to confirm what is held: it goes to the address in From, and proves that its owner wrote."""
        account, make = answer.outcome.account, self.room.confirm_link
        held = answer.outcome.status is Status.HELD and _held_as(answer) == HoldReason.UNCONFIRMED_SENDER
        if (
            make is None
            or not held
            or not self.may_answer
            or not (self.is_from or await self._is_of_household(account))
        ):
            return None
        return await make(account, answer.outcome.receipt, self.sender.digest)

    async def _is_of_household(self, account: str) -> bool:
        as_if_proven = replace(self.sender, proven=True)
        address = self.letter.sender
        return bool(address) and account in await known_accounts(
            self.room.counter, as_if_proven, ContactKind.EMAIL, address
        )

    async def _refused(self, name: str, text: str) -> Answer:
        refusal = ReadingRefused(Reason.NOT_UNDERSTOOD, self.received_at, {})
        return await take(
            self.room.counter, self.sender, name, "", refusal, self._raw(text), request_id=self.request_id
        )

    def _raw(self, text: str) -> str:
        content = {
            "from": self.sender.digest,
            "text": self.room.counter.door.raw_texts.kept(text[:RAW_LENGTH_MAX]),
            "sha256": self.letter.digest,
        }
        return dumps(content, ensure_ascii=False, sort_keys=True)


def _held_as(answer: Answer) -> HoldReason | None:
    reason = getattr(answer.outcome.events[0], "reason", None) if answer.outcome.events else None
    return reason if isinstance(reason, HoldReason) else None


def _has_link(told: Told | ToldTable) -> bool:
    return isinstance(told, Told) and told.link is not None


async def _answer(room: Mailroom, letter: Letter, told: list[Told | ToldTable], to: str, at: datetime) -> None:
    """Send the answer on its way, unless this sender got one within the hour."""
    counter = room.counter
    message = answer_to(letter, told, to, room.mailbox, at)
    sender = counter.sender(Channel.EMAIL, to).digest
    async with counter.pool.acquire() as db:
        kept = await post_once_an_hour(db, counter.door.vault, room.post, letter.key, to, message, sender, at)
    if not kept:
        log.info("a letter is not answered: its sender got an answer within an hour")


@dataclass(frozen=True, slots=True)
class _Desk:
    """What the server asks at every command."""

    room: Mailroom

    async def handle_RCPT(  # noqa: N802  # the server calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if plain_address(address) != plain_address(self.room.mailbox):
            return NO_MAILBOX
        if envelope.rcpt_tos:
            # The server gives one answer to a letter, and a letter has one mailbox here.
            return ONE_AT_A_TIME
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: _Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        server.is_busy = True
        try:
            async with timeout(self.room.wait_s):
                return await take_letter(self.room, content, (envelope.mail_from or "").strip().strip("<>"))
        except (TryLater, TimeoutError) as error:
            log.warning("a letter is not taken (%s), the mail server will bring it again", type(error).__name__)
            return TRY_LATER
        except Exception:
            # Whatever it was: the mail server keeps the letter, and brings it again under the same name.
            log.exception("a letter is not taken, the mail server will bring it again")
            return TRY_LATER
        finally:
            server.is_busy = False

    async def handle_exception(self, error: Exception) -> str:
        """Answer what the server itself could not do; the library would say 500, and the letter would go back."""
        log.error("the LMTP server failed: %s", type(error).__name__)
        return TRY_LATER


class _Connection(LMTP):
    """One connection of the mail server."""

    line_length_limit = BUFFER_BYTES

    def __init__(self, desk: _Desk, connections: set[_Connection], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            desk,
            data_size_limit=BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname=HOST,
            ident=HOST,
            timeout=SESSION_WAIT_S,
            loop=loop,
        )
        self.is_busy = False
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection, or turn it away where there are too many."""
        super().connection_made(transport)
        self._connections.add(self)
        if len(self._connections) > CONNECTIONS_MAX:
            self.end()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._connections.discard(self)
        super().connection_lost(error)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802  # the library calls it so
        """Read a letter as one piece: the library keeps every line apart, and a letter of short ones takes all the memory."""
        envelope = self.envelope
        if arg or envelope is None or not envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 Need RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        # So the end looks alike where there is nothing before it.
        content = bytearray(_LINE_END)
        is_too_big = False
        while not content.endswith(_LETTER_END):
            try:
                content += await self._reader.readuntil(_LETTER_END[-3:])
            except asyncio.LimitOverrunError as error:
                content += await self._reader.readexactly(error.consumed)
            if len(content) > BYTES_MAX + len(_LETTER_END):
                is_too_big = True
                del content[: -len(_LETTER_END)]
        if is_too_big:
            status = TOO_BIG
        else:
            # A line that begins with a dot was sent with one more.
            envelope.original_content = bytes(content[len(_LINE_END) : -3]).replace(b"\r\n.", _LINE_END)
            envelope.original_content = envelope.original_content.removeprefix(b".")
            del content
            status = await self.event_handler.handle_DATA(self, self.session, envelope)
        self.envelope = self._create_envelope()
        await self.push(status)

    def end(self) -> None:
        """Close the connection; what was not answered comes again."""
        if self.transport is not None:
            self.transport.close()
