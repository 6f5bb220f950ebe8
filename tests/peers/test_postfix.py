"""The mailbox behind the real Postfix: letters come by SMTP, answers go out by SMTP, and nothing is lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from bels.channels.letter_answers import through_outbox
from bels.channels.lmtp import Mailroom, serving_letters
from bels.domain.terms import Channel, Register
from bels.outgoing.deliver import Post, deliver_answers
from bels.outgoing.mail import mail_sender
from bels.outgoing.results import Dead, Sent, Text, TryAgain
from bels.outgoing.store import install_outgoing
from bels.reception.evidence import keep_photo
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check, journal_of, unreachable
from tests.channels.house import House, opened_house
from tests.channels.test_lmtp import OUTCOMES, REGISTER, confirm_links, rows_of, words_of, written
from tests.peers.postfix import MAIL_WAIT_S, MAILBOX, OURS, VERDICT_HEADER, Postfix, need_postfix, postfix
from tests.servers import free_port

pytestmark = pytest.mark.peer

ANNA = "anna@mail.example"
VOUCHED = "dmarc=pass header.from=mail.example"
LETTERS = Path(__file__).parents[1] / "channels" / "letters"


@dataclass(slots=True)
class World:
    """The mail server of everybody else: notes what comes, by the Message-ID that is answered."""

    answers: dict[str, list[tuple[str, EmailMessage]]] = field(default_factory=dict)
    others: list[EmailMessage] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_RCPT(  # the library calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Know everybody but one."""
        if address.startswith("gone@"):
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Note a letter."""
        assert envelope.original_content is not None
        letter = message_from_bytes(envelope.original_content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        if letter["In-Reply-To"]:
            self.answers.setdefault(letter["In-Reply-To"], []).append((envelope.mail_from or "", letter))
        else:
            self.others.append(letter)
        self.arrived.set()
        return "250 2.0.0 Ok: queued as SINK01"


@dataclass(slots=True)
class Mail:
    """A supplier with its mail server, and the world."""

    house: House
    server: Postfix
    world: World
    room: Mailroom
    outgoing: Post
    serving: AsyncExitStack

    async def opens(self) -> None:
        """Listen for letters."""
        await self.serving.enter_async_context(serving_letters(self.room, "127.0.0.1", self.server.lmtp_port))

    async def sends(self, letter: EmailMessage | bytes, sender: str = ANNA) -> None:
        """Send a letter, which the mail server takes."""
        code, said = await self.server.takes(letter, sender)
        assert code == 250, said

    async def answered(self, message_id: str) -> EmailMessage:
        """Wait for the answer to a letter, which comes with the null envelope sender."""
        async with asyncio.timeout(MAIL_WAIT_S):
            while message_id not in self.world.answers:
                await deliver_answers(self.outgoing)
                self.world.arrived.clear()
                if message_id not in self.world.answers:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.world.arrived.wait(), 0.1)
        [(sender, answer)] = self.world.answers[message_id]
        assert sender in ("", "<>"), sender
        return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Postfix]:
    """Run one Postfix for all."""
    need_postfix()
    with postfix() as server:
        yield server


@pytest.fixture
async def mail(server: Postfix, database: str, tmp_path: Path) -> AsyncIterator[Mail]:
    """Open a supplier to whose accounts Anna is linked, behind the mail server."""
    async with (
        opened_house(database, tmp_path) as house,
        the_world(server.world_port) as world,
        AsyncExitStack() as serving,
    ):
        async with house.desk.pool.acquire() as db:
            await install_outgoing(db)
        for account in ("1000001", "1000003", "1000004", "1000007"):
            await house.link(account, Channel.EMAIL, ANNA)
        door = house.desk.door
        post = through_outbox(door.raw_texts, house.now)
        room = Mailroom(house.desk, MAILBOX, OURS, post, confirm_links(house), keep_photo)
        sender = mail_sender("127.0.0.1", server.out_port, MAILBOX, house.now)
        outgoing = Post(house.desk.pool, house.desk.intake, door.vault, door.raw_texts, {Channel.EMAIL: sender})
        mail = Mail(house, server, world, room, outgoing, serving)
        await mail.opens()
        yield mail


@asynccontextmanager
async def the_world(port: int) -> AsyncIterator[World]:
    """Open the mail server of everybody else."""
    world, loop = World(), asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(world, hostname="world", loop=loop), "127.0.0.1", port)
    try:
        yield world
    finally:
        listening.close()
        await listening.wait_closed()


def letter(text: str, *, key: str = "", verdict: str | None = VOUCHED, headers: str = "") -> EmailMessage:
    """Write a letter under a new Message-ID; ``verdict`` is what the milter finds."""
    written = EmailMessage(policy=policy.SMTP)
    if verdict is not None:
        written[VERDICT_HEADER] = verdict
    for line in headers.splitlines():
        name, _, value = line.partition(": ")
        written[name] = value
    written["From"], written["To"] = ANNA, MAILBOX
    written["Message-ID"] = f"<{key or uuid4().hex}@mail.example>"
    written.set_content(text)
    return written


@dataclass(slots=True)
class Writer:
    """Writes letters as the holder of every account, and reads the answers."""

    mail: Mail
    last: EmailMessage | None = None
    waits: bool = False
    numbers: count[int] = field(default_factory=count)

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Write a letter; it is taken, or the mail server keeps it."""
        if self.last is not None:
            house.wait(minutes=71)
        self.last = letter(text if text is not None else written(account, values, meter))
        await self.mail.sends(self.last)
        answered = asyncio.create_task(self.mail.server.becomes(self.last["Message-ID"], "sent"))
        deferred = asyncio.create_task(self.mail.server.becomes(self.last["Message-ID"], "deferred"))
        done, pending = await asyncio.wait((answered, deferred), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if deferred in done:
            assert "451 4.3.0" in deferred.result()
            self.waits = True
            return Heard(TRY_LATER, "", deferred.result())
        return await self._hears()

    async def again(self, house: House) -> Heard:
        """Let the mail server bring the last letter, or a copy of it that came by another way."""
        assert self.last is not None
        if not self.waits:
            await self.mail.sends(self.last)
        await self.mail.server.becomes(self.last["Message-ID"], "sent", 1 if self.waits else 2)
        self.waits = False
        return await self._hears()

    async def _hears(self) -> Heard:
        assert self.last is not None
        answer = await self.mail.answered(self.last["Message-ID"])
        return Heard(str(answer["X-Bels-Outcome"]), str(answer["X-Bels-Receipt"]), words_of(answer))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_by_letter(mail: Mail, case: Case) -> None:
    await check(mail.house, Writer(mail), case)


async def test_letters_in_every_charset_say_the_same(mail: Mail) -> None:
    names = ("koi8-r", "cp1251-said-to-be-latin", "cp866-of-an-unknown-charset", "html-only", "raw-subject", "nul")
    for name in (*names, "forwarded-as-attachment"):
        content = (LETTERS / f"{name}.eml").read_bytes()
        mail.house.wait(minutes=71)
        await mail.sends(f"{VERDICT_HEADER}: {VOUCHED}\r\n".encode() + content)
        answer = await mail.answered(f"<{name}@mail.example>")
        assert answer["X-Bels-Outcome"] == ("ACCEPTED" if name == names[0] else "REPEATED"), name
    assert (await journal_of(mail.house, "1000001")).count("ReadingAccepted") == 1


async def test_a_register_is_answered_row_by_row(mail: Mail) -> None:
    sent = letter("Направляем реестр")
    sent.add_attachment(REGISTER, maintype="application", subtype="octet-stream", filename="реестр.xlsx")

    await mail.sends(sent)

    answer = await mail.answered(sent["Message-ID"])
    assert [row[3] for row in rows_of(answer)[1:]] == ["ACCEPTED", "ACCEPTED", *OUTCOMES[2:]]
    assert "строк 6, принято 2, не принято 4" in words_of(answer)


async def test_a_photo_is_kept_with_its_reading(mail: Mail) -> None:
    sent = letter("1000001 10385")
    photo = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 40
    sent.add_attachment(photo, maintype="image", subtype="jpeg", filename="счётчик.jpg")

    await mail.sends(sent)

    answer = await mail.answered(sent["Message-ID"])
    await mail.sends(sent)
    await mail.server.becomes(sent["Message-ID"], "sent", 2)
    [kept] = await mail.house.desk.pool.fetch("SELECT account, receipt, content_type, sealed FROM evidence")
    assert (kept["account"], kept["receipt"], kept["content_type"]) == (
        "1000001",
        answer["X-Bels-Receipt"],
        "image/jpeg",
    )
    assert b"JFIF" not in kept["sealed"]


async def test_letters_wait_while_bels_is_down_and_come_once(mail: Mail) -> None:
    await mail.serving.aclose()
    sent = [letter("1000001 10385"), letter("1000003 день 3100 ночь 1550")]
    for each in sent:
        await mail.sends(each)
        await mail.server.becomes(each["Message-ID"], "deferred")

    await mail.opens()

    for each in sent:
        await mail.server.becomes(each["Message-ID"], "sent")
    for account in ("1000001", "1000003"):
        assert (await journal_of(mail.house, account)).count("ReadingAccepted") == 1
    await mail.server.is_empty()
    assert await deliver_answers(mail.outgoing) == 1, "both are of one sender, and within an hour"


async def test_a_forged_verdict_is_taken_out_before_bels_sees_it(mail: Mail) -> None:
    forged = f"Authentication-Results: {OURS}; {VOUCHED}\nauthentication-results: (x) {OURS.upper()} 1; {VOUCHED}"
    sent = letter("1000001 10385", verdict=None, headers=forged)

    await mail.sends(f"Authentication-Results:\r\n\t{OURS};\r\n\t{VOUCHED}\r\n".encode() + sent.as_bytes())

    answer = await mail.answered(sent["Message-ID"])
    assert answer["X-Bels-Outcome"] == "UNCONFIRMED_SENDER"
    assert "Подтвердить по ссылке: https://bels.example/" in words_of(answer)


async def test_machines_that_answer_each_other_stop(mail: Mail) -> None:
    sent = letter("1000001 10385")
    await mail.sends(sent)
    answer = await mail.answered(sent["Message-ID"])
    mail.house.wait(hours=2)
    vacation = letter(
        "Я в отпуске. 1000001 10385", headers=f"Auto-Submitted: auto-replied\nIn-Reply-To: {answer['Message-ID']}"
    )
    bounce = letter("Undelivered: 1000001 10386", verdict=None)
    plain = letter("1000001 10387", headers="Precedence: list")

    for each, sender in ((vacation, ANNA), (bounce, ""), (plain, ANNA)):
        await mail.sends(each, sender)
        await mail.server.becomes(each["Message-ID"], "sent")

    assert await deliver_answers(mail.outgoing) == 0
    assert (await journal_of(mail.house, "1000001")).count("ReadingAccepted") == 1


async def test_another_mailbox_relaying_and_too_great_a_letter_are_refused_at_once(mail: Mail) -> None:
    assert (await mail.server.takes(b"x", ANNA, "other@bels.example"))[0] == 550
    assert (await mail.server.takes(b"x", ANNA, "anna@mail.example"))[0] == 554
    great = b"Subject: x\r\n\r\n" + (b"x" * 76 + b"\r\n") * (25_000_000 // 78)
    assert (await mail.server.takes(great, ANNA))[0] == 552


async def test_what_will_never_be_readable_goes_back_to_its_sender(mail: Mail) -> None:
    head = f"From: {ANNA}\r\nMessage-ID: <deep@mail.example>\r\n".encode()
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(100))

    await mail.sends(head + deep)

    assert "550 5.6.0" in await mail.server.becomes("<deep@mail.example>", "bounced")
    async with asyncio.timeout(MAIL_WAIT_S):
        while not mail.world.others:
            await mail.world.arrived.wait()
            mail.world.arrived.clear()
    assert "TOO_DEEP" in mail.world.others[0].as_string()


async def test_a_letter_of_our_own_accord_goes_out_with_a_way_to_stop_it(mail: Mail) -> None:
    send = mail_sender("127.0.0.1", mail.server.out_port, MAILBOX, mail.house.now)
    direct = mail_sender("127.0.0.1", mail.server.world_port, MAILBOX, mail.house.now)
    nowhere = mail_sender("127.0.0.1", free_port(), MAILBOX, mail.house.now)
    text = Text("Передайте показания до 25-го", "Показания за май", "https://bels.example/stop/1")

    assert isinstance(await send(ANNA, text, "k1"), Sent)
    assert await direct(ANNA, text, "k2") == Sent("SINK01")
    assert await direct("gone@mail.example", text, "k3") == Dead("SMTP_550")
    assert await direct("gone@@mail example", text, "k4") == Dead("BAD_ADDRESS")
    assert isinstance(await nowhere(ANNA, text, "k5"), TryAgain)

    async with asyncio.timeout(MAIL_WAIT_S):
        while len(mail.world.others) < 2:
            await mail.world.arrived.wait()
            mail.world.arrived.clear()
    for found in mail.world.others:
        assert found["List-Unsubscribe"] == "<https://bels.example/stop/1>"
        assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert found["Subject"] == "Показания за май"
        assert found.get_content().strip() == "Передайте показания до 25-го"
        assert found["Auto-Submitted"] == "auto-generated"


async def test_the_database_goes_away_while_a_letter_waits(mail: Mail) -> None:
    sent = letter("1000001 10385")
    async with unreachable(mail.house):
        await mail.sends(sent)
        said = await mail.server.becomes(sent["Message-ID"], "deferred", 2)
    assert "451 4.3.0" in said

    assert (await mail.answered(sent["Message-ID"]))["X-Bels-Outcome"] == "ACCEPTED"
    assert (await journal_of(mail.house, "1000001")).count("ReadingAccepted") == 1
