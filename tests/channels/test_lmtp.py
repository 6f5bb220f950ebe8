"""The mailbox itself, spoken to as our mail server speaks: what is taken, kept, sent back, and what the sender hears."""

from __future__ import annotations

import asyncio
import smtplib
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from openpyxl import Workbook

from bels.access.links import link_url, make_confirm_link
from bels.channels.lmtp import ConfirmLink, Mailroom, serving_letters, take_letter
from bels.domain.commands import SubmitReading
from bels.domain.terms import Channel, Register
from bels.journal.write import Db
from bels.outgoing.outbox import LETTER_BYTES_MAX
from bels.reception.codes import Code, make_code
from bels.reception.counter import STRANGERS_A_DAY, Counter, take
from bels.reception.tables import ROWS_MAX
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check, journal_of, unreachable
from tests.channels.house import House

LETTERS = Path(__file__).parent / "letters"
MAILBOX, OURS = "pokazaniya@bels.example", "mx.bels.example"
ANNA, STRANGER = "anna@mail.example", "stranger@other.example"
VOUCHED = f"{OURS}; dmarc=pass header.from=mail.example"
NAMES = {
    Register.TOTAL: "показание",
    Register.DAY: "день",
    Register.NIGHT: "ночь",
    Register.PEAK: "пик",
    Register.HALF_PEAK: "полупик",
}


@dataclass(slots=True)
class Mail:
    """The mailbox of a supplier at a port, and what goes out of it."""

    house: House
    port: int = 0
    answers: list[EmailMessage] = field(default_factory=list)
    photos: list[tuple[str, str | None, bytes]] = field(default_factory=list)
    room: Mailroom | None = None

    async def post(self, db: Db, key: str, to: str, message: bytes) -> None:
        """Take an answer as the outbox does."""
        assert await db.fetchval("SELECT 1") == 1
        read = message_from_bytes(message, policy=policy.default)
        assert isinstance(read, EmailMessage)
        assert read["To"] == to
        self.answers.append(read)

    async def keep_photo(
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
        """Note a picture."""
        assert key
        self.photos.append((account, receipt, content))
        return None

    async def brings(self, letter: bytes, sender: str = ANNA, to: str = MAILBOX) -> tuple[int, str]:
        """Hand a letter over, and hear code and words."""
        return await to_thread(self._brings, letter, sender, to)

    def _brings(self, letter: bytes, sender: str, to: str) -> tuple[int, str]:
        with smtplib.LMTP("127.0.0.1", self.port, timeout=30) as client:
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            code, said = client.rcpt(to)
            if code != 250:
                return code, said.decode()
            code, said = client.data(letter)
            return code, said.decode()

    @property
    def said(self) -> str:
        """The words of the last answer."""
        return words_of(self.answers[-1])


def words_of(answer: EmailMessage) -> str:
    """Give the text of an answer."""
    body = answer.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def confirm_links(house: House) -> ConfirmLink:
    """Make links by which a held reading is confirmed."""

    async def confirm_link(account: str, receipt: str, sender: str) -> str | None:
        async with house.desk.pool.acquire() as db:
            vault = house.desk.door.vault
            token = await make_confirm_link(db, vault, account, receipt, sender, Channel.EMAIL, house.now())
        return link_url("https://bels.example", token) if token is not None else None

    return confirm_link


@asynccontextmanager
async def mailbox(house: House) -> AsyncIterator[Mail]:
    """Open the mailbox of a supplier."""
    mail = Mail(house)

    links = confirm_links(house)
    mail.room = Mailroom(house.desk, MAILBOX, OURS, mail.post, links, mail.keep_photo, wait_s=20)
    async with serving_letters(mail.room, "127.0.0.1", 0) as server:
        mail.port = server.sockets[0].getsockname()[1]
        yield mail


@pytest.fixture
async def mail(house: House) -> AsyncIterator[Mail]:
    """Open the mailbox of a supplier to whose account 1000001 Anna is linked."""
    await house.link("1000001", Channel.EMAIL, ANNA)
    async with mailbox(house) as mail:
        yield mail


def letter(
    text: str,
    *,
    sender: str = ANNA,
    vouched: str | None = VOUCHED,
    key: str = "1",
    headers: str = "",
    subject: str = "",
) -> EmailMessage:
    """Write a letter."""
    written = EmailMessage(policy=policy.SMTP)
    if vouched is not None:
        written["Authentication-Results"] = vouched
    for line in headers.splitlines():
        name, _, value = line.partition(": ")
        written[name] = value
    written["From"], written["To"], written["Message-ID"] = sender, MAILBOX, f"<{key}@mail.example>"
    written["Subject"] = subject
    written.set_content(text)
    return written


def written(account: str, values: dict[Register, str], meter: str | None) -> str:
    """Write a reading as a person does."""
    named = [f"Счётчик № {meter}"] if meter else []
    return "\n".join([f"Лицевой счёт {account}", *named, *(f"{NAMES[r]} {value}" for r, value in values.items())])


@dataclass(slots=True)
class Writer:
    """Writes letters as the holder of every account, and reads the answers."""

    mail: Mail
    ids: count[int] = field(default_factory=count)
    last: bytes = b""

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Write a letter; nobody is answered twice in an hour."""
        if self.last:
            house.wait(minutes=71)
        words = text if text is not None else written(account, values, meter)
        self.last = letter(words, key=f"case{next(self.ids)}").as_bytes()
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Let the mail server bring the last letter once more."""
        code, said = await self.mail.brings(self.last)
        if code != 250:
            assert (code, said[:5]) == (451, "4.3.0")
            return Heard(TRY_LATER, "", said)
        answer = self.mail.answers[-1]
        return Heard(str(answer["X-Bels-Outcome"]), str(answer["X-Bels-Receipt"]), words_of(answer))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_by_letter(house: House, case: Case) -> None:
    for account in ("1000001", "1000003", "1000004", "1000007"):
        await house.link(account, Channel.EMAIL, ANNA)
    async with mailbox(house) as mail:
        await check(house, Writer(mail), case)

    assert len(mail.answers) == case.times


async def test_the_holder_hears_its_consumption(mail: Mail) -> None:
    assert await mail.brings(letter("1000001 10385").as_bytes()) == (250, "2.0.0 Taken")

    [answer] = mail.answers
    assert "расход 185 кВт·ч" in mail.said
    assert (answer["To"], answer["Auto-Submitted"], answer["In-Reply-To"]) == (ANNA, "auto-replied", "<1@mail.example>")
    assert answer["References"] == "<1@mail.example>"
    assert answer["X-Bels-Receipt"] in answer["Subject"]


NOT_THE_HOLDER = {
    "nobody vouches": (ANNA, None),
    "another server vouches": (ANNA, "mx.evil.example; dmarc=pass header.from=mail.example"),
    "a stranger who is who he says": (STRANGER, f"{OURS}; dmarc=pass header.from=other.example"),
}


@pytest.mark.parametrize(("sender", "vouched"), NOT_THE_HOLDER.values(), ids=NOT_THE_HOLDER.keys())
async def test_a_letter_of_anybody_else_is_held(mail: Mail, sender: str, vouched: str | None) -> None:
    await mail.brings(letter("1000001 10385", sender=sender, vouched=vouched).as_bytes(), sender)

    assert mail.answers[-1]["X-Bels-Outcome"] == "UNCONFIRMED_SENDER"
    assert "расход" not in mail.said
    assert "Подтвердить по ссылке: https://bels.example/" in mail.said
    assert (await journal_of(mail.house, "1000001"))[-1] == "ReadingHeld"


async def test_a_forged_sender_is_not_answered_in_his_stead(mail: Mail) -> None:
    await mail.brings(letter("1000003 3100 1550", vouched=None).as_bytes(), STRANGER)

    assert mail.answers[-1]["To"] == STRANGER
    assert "https://" not in mail.said, "the link proves that one reads the letters to the address in From"


async def test_a_household_hears_of_what_came_in_its_name(mail: Mail) -> None:
    await mail.brings(letter("1000001 10385", vouched=None).as_bytes(), STRANGER)

    assert mail.answers[-1]["To"] == ANNA
    assert "https://bels.example/" in mail.said


async def test_two_flats_in_one_letter_get_one_answer(mail: Mail) -> None:
    content = (LETTERS / "two-accounts.eml").read_bytes()

    await mail.brings(f"Authentication-Results: {VOUCHED}\r\n".encode() + content)

    assert mail.answers[-1].get_all("X-Bels-Outcome") == ["ACCEPTED", "UNCONFIRMED_SENDER"]
    assert "1000001" in mail.said
    assert "1000003" in mail.said


async def test_the_same_letter_three_times_at_once_is_one_reading_and_one_answer(mail: Mail) -> None:
    content = letter("1000001 10385").as_bytes()

    replies = await asyncio.gather(*(mail.brings(content) for _ in range(3)))

    # Whoever met another in the account may have been told to come again.
    assert {code for code, _ in replies} <= {250, 451}
    assert (await mail.brings(content))[0] == 250
    assert (await journal_of(mail.house, "1000001")).count("ReadingAccepted") == 1
    assert len(mail.answers) == 1


async def test_nobody_gets_two_answers_in_an_hour(mail: Mail) -> None:
    for minute, key in enumerate(("a", "b", "c")):
        await mail.brings(letter(f"1000001 1038{minute}", key=key).as_bytes())
        mail.house.wait(minutes=25)
    assert len(mail.answers) == 1

    mail.house.wait(minutes=10)
    await mail.brings(letter("1000001 10390", key="d").as_bytes())
    assert len(mail.answers) == 2
    assert (await journal_of(mail.house, "1000001"))[-1] != "ReadingHeld"


async def test_midnight_does_not_forget_who_got_an_answer(mail: Mail) -> None:
    mail.house.wait(hours=11, minutes=50)
    await mail.brings(letter("1000001 10385", key="a").as_bytes())
    mail.house.wait(minutes=30)
    await mail.brings(letter("1000001 10386", key="b").as_bytes())
    assert len(mail.answers) == 1

    mail.house.wait(minutes=45)
    await mail.brings(letter("1000001 10387", key="c").as_bytes())
    assert len(mail.answers) == 2


MACHINES = {
    "an autoreply to our answer": "Auto-Submitted: auto-replied",
    "a list": "List-Id: <news.example>",
    "bulk": "Precedence: bulk",
}


@pytest.mark.parametrize("header", MACHINES.values(), ids=MACHINES.keys())
async def test_machines_get_no_answer_and_what_they_quote_is_no_reading(mail: Mail, header: str) -> None:
    assert (await mail.brings(letter("1000001 10385", headers=header).as_bytes()))[0] == 250

    assert mail.answers == []
    assert "ReadingAccepted" not in await journal_of(mail.house, "1000001")


@pytest.mark.parametrize("sender", ["", "noreply@mail.example", MAILBOX])
async def test_nobody_is_answered_who_does_not_read(mail: Mail, sender: str) -> None:
    assert (await mail.brings(letter("1000001 10385").as_bytes(), sender))[0] == 250
    assert mail.answers == []


async def test_our_own_answer_coming_back_ends_there(mail: Mail) -> None:
    await mail.brings(letter("1000001 10385").as_bytes())
    mail.house.wait(hours=2)

    assert (await mail.brings(mail.answers[0].as_bytes(), MAILBOX))[0] == 250
    assert len(mail.answers) == 1


async def test_a_code_links_an_address_that_is_vouched_for(mail: Mail) -> None:
    made = await make_code(mail.house.desk, "1000003", "person:1")
    assert isinstance(made, Code)

    await mail.brings(letter(f"КОД {made.code}", vouched=None, key="a").as_bytes())
    assert mail.answers[-1]["X-Bels-Outcome"] == "BAD_ADDRESS"
    mail.house.wait(minutes=71)
    made = await make_code(mail.house.desk, "1000003", "person:1")
    assert isinstance(made, Code)
    await mail.brings(letter(f"КОД {made.code}", key="b").as_bytes())
    assert "Привязано: л/с 1000003" in mail.said
    mail.house.wait(minutes=71)
    await mail.brings(letter("1000003 3100 1550", key="c").as_bytes())
    assert mail.answers[-1]["X-Bels-Outcome"] == "ACCEPTED"


async def test_a_photo_is_kept_with_the_reading(mail: Mail) -> None:
    written = letter("1000001 10385")
    written.add_attachment(b"\xff\xd8\xff\xe0picture", maintype="image", subtype="jpeg", filename="счётчик.jpg")

    await mail.brings(written.as_bytes())

    assert mail.photos == [("1000001", mail.answers[-1]["X-Bels-Receipt"], b"\xff\xd8\xff\xe0picture")]


def workbook(*rows: tuple[str | int | None, ...]) -> bytes:
    """Make a register as a housing company does."""
    book, written = Workbook(), BytesIO()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    book.save(written)
    return written.getvalue()


REGISTER = workbook(
    ("Реестр показаний за май 2024",),
    ("№", "Лицевой счёт", "Счётчик №", "Показание", "день", "ночь", "Дата"),
    (1, 1000001, "E-1", 10385, None, None, "19.05.2024"),
    (2, 1000003, None, None, 3100, 1550, None),
    (3, 1000003, "E-1", None, 3100, 1550, None),
    (4, 9999999, None, 5, None, None, None),
    (5, 1000006, None, "12а", None, None, "31.02.2024"),
    (6, "12", None, 5, None, None, None),
    ("", "Итого", "", "", "", "", ""),
)
OUTCOMES = ["ACCEPTED", "UNCONFIRMED_SENDER", "FOREIGN_METER", "UNKNOWN_ACCOUNT", "BAD_DATES", "BAD_ACCOUNT"]


def with_register(content: bytes, name: str = "реестр.xlsx", key: str = "r") -> bytes:
    """Send a register."""
    written = letter("Добрый день! Направляем реестр.", key=key)
    written.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return written.as_bytes()


def rows_of(answer: EmailMessage) -> list[list[str]]:
    """Read the table of an answer."""
    [table] = answer.iter_attachments()
    content = table.get_payload(decode=True)
    assert isinstance(content, bytes)
    return [line.split(";") for line in content.decode("utf-8-sig").splitlines()]


async def test_a_register_is_answered_row_by_row(mail: Mail) -> None:
    assert (await mail.brings(with_register(REGISTER)))[0] == 250

    head, *rows = rows_of(mail.answers[-1])
    assert head[:4] == ["строка", "лицевой счёт", "номер", "код"]
    assert [row[3] for row in rows] == OUTCOMES
    assert [row[0] for row in rows] == ["3", "4", "5", "6", "7", "8"]
    assert "строк 6, принято 1, на проверке 1, не принято 4" in mail.said
    assert "расход 185 кВт·ч" in mail.said, "of the account to which the sender is linked"
    assert "расход 150" not in mail.said, "and of no other"
    for row in rows:
        assert row[2] in mail.said


async def test_the_same_register_again_changes_nothing(mail: Mail) -> None:
    content = with_register(REGISTER)
    await mail.brings(content)
    before = {a: await journal_of(mail.house, a) for a in ("1000001", "1000003", "1000006")}
    receipts = [row[2] for row in rows_of(mail.answers[-1])[1:]]
    mail.house.wait(minutes=71)

    await mail.brings(content)

    assert {a: await journal_of(mail.house, a) for a in before} == before
    assert [row[2] for row in rows_of(mail.answers[-1])[1:]] == receipts
    mail.house.wait(minutes=71)
    await mail.brings(with_register(REGISTER, key="another letter"))
    assert [row[3] for row in rows_of(mail.answers[-1])[1:]] == ["REPEATED", *OUTCOMES[1:]]


async def test_a_register_of_nobody_in_particular_is_held(mail: Mail) -> None:
    content = with_register("Лицевой счёт;день;ночь\n1000003;3100;1550\n".encode("cp1251"), "реестр.csv")

    await mail.brings(content.replace(VOUCHED.encode(), b"mx.evil.example; dmarc=pass"))

    assert [row[3] for row in rows_of(mail.answers[-1])[1:]] == ["UNCONFIRMED_SENDER"]


async def test_a_register_puts_no_first_reading_on_accounts_of_others(mail: Mail) -> None:
    content = with_register("Лицевой счёт;день;ночь\n1000003;3100;1550\n".encode(), "реестр.csv")

    await mail.brings(content)

    assert [row[3] for row in rows_of(mail.answers[-1])[1:]] == ["UNCONFIRMED_SENDER"], (
        "however well its sender is known"
    )


@pytest.mark.parametrize(
    "sender", ["anna..i@mail.example", "анна@mail.example", "a:b@mail.example", ".anna@mail.example"]
)
async def test_a_letter_from_an_address_that_no_header_holds_is_taken_and_does_not_come_for_days(
    mail: Mail, sender: str
) -> None:
    content = f"From: <{sender}>\r\nMessage-ID: <1@mail.example>\r\n\r\n1000001 10385\r\n".encode()

    assert mail.room is not None

    reply = await take_letter(mail.room, content, sender)

    assert reply.startswith("250")
    assert mail.answers == []
    assert (await journal_of(mail.house, "1000001"))[-1] == "ReadingHeld"


async def test_a_line_end_within_a_message_id_adds_no_header_to_the_answer(mail: Mail) -> None:
    content = letter("1000001 10385").as_bytes().replace(b"<1@mail.example>", b"<=?utf-8?q?=0d=0aBcc:x@y.example?=>")

    assert (await mail.brings(content))[0] == 250

    [answer] = mail.answers
    assert (answer["Bcc"], answer["In-Reply-To"]) == (None, None)


async def test_an_answer_carries_nobodys_link_to_somebody_else(mail: Mail) -> None:
    table = "Лицевой счёт;показание\nВаш счёт закрыт http://evil.example/pay;5\n".encode()

    await mail.brings(with_register(table, "Оплатите https://evil.example/pay.csv"))

    assert "evil.example" not in mail.said + str(rows_of(mail.answers[-1]))
    assert "Таблица «Оплатите evil example pay»" in mail.said


async def test_letters_about_an_account_silence_nobody_who_sends_an_sms(mail: Mail) -> None:
    counter, at = mail.house.desk, mail.house.at
    lines = "".join(f"1000003;{2990 + i};1550\n" for i in range(STRANGERS_A_DAY + 1))
    await mail.brings(with_register(f"Лицевой счёт;день;ночь\n{lines}".encode(), "реестр.csv"))
    values, phone = {"day": "3100", "night": "1550"}, counter.sender(Channel.SMS, "+79031112233")

    told = await take(counter, phone, "sms", "1000003", SubmitReading(at, values), "1000003#3100#1550")

    assert told.code == "ACCEPTED"


async def test_a_register_is_no_way_to_ask_for_a_previous_reading(mail: Mail) -> None:
    lines = "".join(f"1000003;{2990 + i};1550\n" for i in range(STRANGERS_A_DAY + 1))

    await mail.brings(with_register(f"Лицевой счёт;день;ночь\n{lines}".encode(), "реестр.csv"))

    assert {row[3] for row in rows_of(mail.answers[-1])[1:]} == {"TOO_MANY_MESSAGES"}


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"PK\x03\x04" + b"\0" * 100, "реестр.xlsx", "повреждён"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "реестр.xls", "сохраните таблицу как xlsx"),
        ("адрес;сумма\nМира;5\n".encode(), "реестр.csv", "не найдены колонки"),
        (b"PK\x03\x04", "реестр.zip", "Архивы"),
    ],
)
async def test_a_table_that_cannot_be_read_is_answered(mail: Mail, content: bytes, name: str, words: str) -> None:
    assert (await mail.brings(with_register(content, name)))[0] == 250

    assert words in mail.said
    assert mail.answers[-1]["X-Bels-Receipt"]


async def test_another_mailbox_and_a_second_recipient_are_refused(mail: Mail) -> None:
    assert (await mail.brings(b"x", to="other@bels.example"))[0] == 550
    assert (await mail.brings(b"x", to="Pokazaniya@BELS.example"))[0] == 250

    def two() -> tuple[int, bytes]:
        with smtplib.LMTP("127.0.0.1", mail.port, timeout=30) as client:
            client.ehlo_or_helo_if_needed()
            client.mail(ANNA)
            client.rcpt(MAILBOX)
            return client.rcpt(MAILBOX)

    assert (await to_thread(two))[0] == 452


async def test_what_will_never_be_readable_is_sent_back(mail: Mail) -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(100))

    assert await mail.brings(deep) == (
        550,
        "5.6.0 The letter cannot be read (TOO_DEEP): send the readings as plain text, or a table as xlsx or csv",
    )
    great = b"From: a@b.example\r\n\r\n" + (b"x" * 76 + b"\r\n") * (25_000_000 // 78)
    assert await mail.brings(great) == (552, "5.3.4 The letter is too big")


async def test_a_line_of_a_megabyte_and_lines_of_dots_are_read(mail: Mail) -> None:
    for key, text in (("a", "1000001 10385\r\n" + "x" * 1_000_000), ("b", "."), ("c", "..\r\n.\r\n.x"), ("d", "")):
        content = f"From: {ANNA}\r\nMessage-ID: <{key}@x>\r\n\r\n{text}".encode()
        assert (await mail.brings(content))[0] == 250


async def test_a_slow_database_is_no_answer(mail: Mail) -> None:
    assert mail.room is not None
    slow = replace(mail.room, wait_s=0.3)
    async with serving_letters(slow, "127.0.0.1", 0) as server, mail.house.desk.pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
        port, mail.port = mail.port, server.sockets[0].getsockname()[1]
        assert (await mail.brings(letter("1000001 10385").as_bytes()))[0] == 451
    mail.port = port
    assert (await mail.brings(letter("1000001 10385").as_bytes()))[0] == 250
    assert mail.answers[-1]["X-Bels-Outcome"] in ("ACCEPTED", "REPEATED")
    assert (await journal_of(mail.house, "1000001")).count("ReadingAccepted") == 1


async def test_a_register_that_the_database_did_not_take_comes_again(mail: Mail) -> None:
    content = with_register(REGISTER)
    async with unreachable(mail.house):
        assert (await mail.brings(content))[0] == 451

    assert (await mail.brings(content))[0] == 250
    assert [row[3] for row in rows_of(mail.answers[-1])[1:]] == OUTCOMES


async def test_no_address_and_no_words_stand_in_clear(mail: Mail) -> None:
    await mail.brings(letter("Анна Иванова, 1000001 10385", subject="от Анны").as_bytes())

    rows = await mail.house.desk.pool.fetch("SELECT actor, raw, message_id FROM message WHERE channel = 'email'")
    kept = " ".join(str(cell) for row in rows for cell in row.values())
    assert "Анн" not in kept
    assert "mail.example" not in kept


async def test_a_letter_that_waited_for_us_counts_for_the_month_in_which_our_mail_server_took_it(mail: Mail) -> None:
    mail.house.wait(days=6)
    way = b"Received: from x by mx.bels.example (Postfix); Sat, 25 May 2024 23:50:00 +0300\r\n"

    await mail.brings(way + letter("1000001 10385", key="late").as_bytes())

    assert mail.answers[-1]["X-Bels-Outcome"] == "ACCEPTED"
    assert "за май" in mail.said


async def test_a_great_register_is_answered_in_as_many_words_as_fit(mail: Mail) -> None:
    lines = "".join(f"{2_000_000 + i};{i}\n" for i in range(ROWS_MAX))

    assert (await mail.brings(with_register(f"Лицевой счёт;показание\n{lines}".encode(), "реестр.csv")))[0] == 250

    rows = rows_of(mail.answers[-1])[1:]
    assert len(rows) == ROWS_MAX
    assert {row[3] for row in rows} == {"UNKNOWN_ACCOUNT"}
    assert len(mail.answers[-1].as_bytes()) <= LETTER_BYTES_MAX
    assert f"строк {ROWS_MAX}, не принято {ROWS_MAX}" in mail.said
