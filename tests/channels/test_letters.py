"""What is read in a letter: the person's own words in any charset, tables, pictures; and what no letter may cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bels.channels.letters import (
    BOUNDARIES_MAX,
    BYTES_MAX,
    LINES_MAX,
    Letter,
    Unreadable,
    decoded_header,
    is_robot,
    own_words,
    plain_address,
    read_letter,
    text_of_html,
)
from bels.reception.grammar import Reading, read_message, read_values
from tests.effort import effort

LETTERS = Path(__file__).parent / "letters"
TABLES = ("table-named-by-rfc-2231", "table-named-by-rfc-2047", "table-named-in-raw-bytes")
SAMPLES = sorted(file.stem for file in LETTERS.glob("*.eml") if file.stem not in (*TABLES, "two-accounts"))
HEAD = b"From: anna@mail.example\r\nSubject: x\r\nMessage-ID: <a@mail.example>\r\n"


def sample(name: str) -> Letter:
    """Read one of the sample letters."""
    return letter((LETTERS / f"{name}.eml").read_bytes())


def letter(content: bytes) -> Letter:
    """Read a letter that can be read."""
    read = read_letter(content)
    assert isinstance(read, Letter), read
    return read


@pytest.mark.parametrize("name", SAMPLES)
def test_every_letter_says_the_same(name: str) -> None:
    read = sample(name)

    parsed = read_message(read.words, in_letter=True)

    assert isinstance(parsed, Reading), read.words
    assert parsed.account == "1000001", read.words
    assert read_values(parsed.tokens, (), None) == {"total": "10385"}, read.words
    assert read.parts() == [read.words]
    assert (read.sender, read.domain) == ("anna@mail.example", "mail.example")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_found_by_its_cyrillic_name(name: str) -> None:
    [table] = sample(name).tables

    assert table.name == "реестр.csv"
    assert table.place == 1


def test_two_accounts_in_one_letter_are_two_messages() -> None:
    parts = sample("two-accounts").parts()

    parsed = [read_message(part, in_letter=True) for part in parts]
    assert [found.account for found in parsed if isinstance(found, Reading)] == ["1000001", "1000003"]


def test_a_value_of_seven_digits_is_no_second_account() -> None:
    read = letter(HEAD + b"\r\n1000001\r\n1010385\r\n")

    assert read.parts() == [read.words]


def test_the_same_letter_by_another_way_has_the_same_key() -> None:
    content = (LETTERS / "utf-8.eml").read_bytes()
    way = b"Received: from a by b; Mon, 20 May 2024 12:00:01 +0300\r\nDKIM-Signature: v=1; b=x\r\n"

    again = letter(way + content)

    assert again.key == letter(content).key
    assert letter(content.replace(b"10385", b"10386")).key != again.key
    assert letter(content.replace(b"<utf-8@", b"<other@")).key != again.key
    assert again.arrived_at is not None
    assert again.arrived_at.isoformat() == "2024-05-20T12:00:01+03:00"


MACHINES = {
    "a vacation": b"Auto-Submitted: auto-replied\r\n",
    "a job": b"Auto-Submitted: auto-generated; x=y\r\n",
    "bulk": b"Precedence: bulk\r\n",
    "a list": b"List-Id: <news.example>\r\n",
    "Exchange": b"X-Auto-Response-Suppress: All\r\n",
    "a report": b"Return-Path: <>\r\n",
    "a delivery report": b'Content-Type: multipart/report; boundary="x"\r\n',
}


@pytest.mark.parametrize("header", MACHINES.values(), ids=MACHINES.keys())
def test_a_machine_wrote_it(header: bytes) -> None:
    assert letter(header + HEAD + b"\r\n1000001 5\r\n").is_automatic
    assert not letter(b"Auto-Submitted: no\r\n" + HEAD + b"\r\n1000001 5\r\n").is_automatic


@pytest.mark.parametrize(
    "address", ["", "MAILER-DAEMON@mail.example", "noreply@a.example", "no-reply@a.example", "bounces+a=b@a.example"]
)
def test_nobody_reads_answers_there(address: str) -> None:
    assert is_robot(address)
    assert not is_robot("anna.noreplyeva@mail.example")


def test_a_letter_of_two_senders_has_none() -> None:
    body = b"\r\n1000001 5\r\n"

    assert letter(b"From: a@x.example, b@y.example\r\n" + body).sender == ""
    assert letter(b"From: a@x.example\r\nFrom: b@y.example\r\n" + body).sender == ""
    assert letter(b"From: \r\n" + body).sender == ""
    assert letter(b'From: "a@x.example" <B@Y.example>\r\n' + body).sender == "b@y.example"


def test_an_address_is_written_one_way() -> None:
    assert plain_address(" <Anna@MAIL.example> ") == "anna@mail.example"
    assert plain_address("анна@почта.рф") == "анна@xn--80a1acny.xn--p1ai"
    assert [plain_address(text) for text in ("", "a", "@b", "a@", "a b@c", "a@" + "я" * 300)] == [""] * 6


def test_a_header_with_a_lying_label_is_read_by_its_letters() -> None:
    assert decoded_header("=?windows-1251?B?8M/LwdrBzsnF?=") == "Показание"
    assert decoded_header("=?utf-8?B?!!!?=") == ""
    assert decoded_header("=?no-such-charset?Q?abc?=") == "abc"


def test_a_signature_and_a_quotation_are_no_words_of_the_person() -> None:
    assert own_words("10385\n-- \n99999") == "10385"
    assert own_words("10385\nС уважением, Иванов\n99999") == "10385"
    assert own_words("> 99999\n10385") == "10385"
    assert own_words("10385\n-----Исходное сообщение-----\n99999") == "10385"
    assert own_words("10385\nОт: БЭЛС <a@b.example>\n99999") == "10385"


def test_html_is_read_as_it_is_seen() -> None:
    assert (
        own_words(text_of_html("<div>1000001<br>10<i>38</i>5</div><style>9</style><script>8</script>"))
        == "1000001\n10385"
    )
    assert own_words(text_of_html("<table><tr><td>1000001</td><td>10385</td></tr></table>")) == "1000001 10385"


def deep(levels: int) -> bytes:
    """Nest parts in parts."""
    opened = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(levels))
    return HEAD + opened + b"Content-Type: text/plain\r\n\r\n1000001 10385\r\n"


def test_a_letter_a_hundred_parts_deep_is_sent_back_at_once() -> None:
    with effort() as done:
        assert read_letter(deep(100)) is Unreadable.TOO_DEEP
        assert read_letter(deep(5_000)) is Unreadable.TOO_DEEP
    assert done.units < 100


def test_a_letter_of_letters_of_letters_ends() -> None:
    inner = HEAD + b"\r\n1000001 10385\r\n"
    for _ in range(BOUNDARIES_MAX - 1):
        inner = HEAD + b"Content-Type: message/rfc822\r\n\r\n" + inner

    assert letter(inner).words == "x"


def test_a_thousand_parts_are_sent_back() -> None:
    parts = b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n" * 1_000

    assert (
        read_letter(HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + parts) is Unreadable.TOO_MANY_PARTS
    )


def test_parts_without_a_header_are_parts_too() -> None:
    parts = b"--b\n\n\n" * (BYTES_MAX // 6)
    whole = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + parts

    with effort() as done:
        assert read_letter(whole) is Unreadable.TOO_MANY_PARTS
    assert done.units < 300


def test_a_letter_of_nothing_but_line_ends_is_sent_back() -> None:
    assert read_letter(deep(50) + b"\n" * (LINES_MAX + 1)) is Unreadable.TOO_MANY_LINES


LITTLE_MORE = {
    "a line of a megabyte": HEAD + b"\r\n" + b"1" * 1_000_000,
    "the greatest letter": HEAD + b"\r\n" + (b"x" * 76 + b"\r\n") * (BYTES_MAX // 78),
    "html without end": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<div>" * 80_000,
    "html of brackets": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<!-" * 130_000,
    "html of open quotes": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<a href='" * 20_000,
    "html of quotations": HEAD + b"Content-Type: text/html\r\n\r\n" + b"<blockquote>" * 16_000,
    "lines without words": HEAD + b"\r\n" + b"\r\n" * 200_000 + b"x",
    "blanks": HEAD + b"\r\n" + b" " * 500_000 + b"x",
    "dashes": HEAD + b"\r\n" + b"-" * 500_000,
    "a subject of a megabyte": b"Subject: " + b"=?utf-8?Q?a?=" * 80_000 + b"\r\n\r\n1000001 10385",
    "a From of a megabyte": b"From: " + b"a@b.example," * 80_000 + b"\r\n\r\n1000001 10385",
}


@pytest.mark.parametrize("content", LITTLE_MORE.values(), ids=LITTLE_MORE.keys())
def test_no_letter_costs_more_than_seconds(content: bytes) -> None:
    with effort() as done:
        read_letter(content)

    assert done.units < 2000


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: text/plain; charset=\xff\xfe\r\n\r\nx",
        b"Content-Type: multipart/mixed\r\n\r\nx",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!=",
        b"Content-Disposition: attachment; filename*=''%ZZ\r\n\r\nx",
        b"Content-Disposition: attachment; filename*0*=koi9''a; filename*2=b\r\n\r\nx",
        b"\xff\xfe\x00\x00",
        b"From: =?utf-8?B?=?= <@>\r\nReferences: \x80\x81\r\n\r\n",
        b"Received: from x; not a date\r\nDate: x\r\n\r\nx",
        b"Received: from x; Mon, 99 May 99999 12:00:00 +9999\r\n\r\nx",
        b"Content-Type: message/rfc822\r\n\r\n",
        b"Content-Type: text/html; charset=undefined\r\n\r\n<p>x",
    ],
)
def test_whatever_is_written_is_read_or_sent_back(content: bytes) -> None:
    assert isinstance(read_letter(content), Letter | Unreadable)


def test_nothing_is_no_letter() -> None:
    assert read_letter(b" \r\n") is Unreadable.EMPTY


def test_a_workbook_that_lost_its_name_is_a_table_and_other_files_are_not_opened() -> None:
    head = HEAD + b'Content-Type: application/octet-stream; name="x"\r\n\r\n'

    assert letter(head + b"PK\x03\x04...xl/workbook.xml").tables
    assert letter(head + b"PK\x03\x04...other").not_read
    assert letter(HEAD + b"Content-Disposition: attachment; filename=x.pdf\r\n\r\n%PDF").not_read
