"""Read a letter: who wrote it, what the person's own words in it are, which tables and pictures came with it (channels 5).

Letters come in every charset under every label, as HTML only, with quotes and signatures, with nothing but a subject, or
forwarded as an attachment. Nothing here raises: what can never be read says so, and the mail server sends it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message as Part
from email.utils import collapse_rfc2231_value, getaddresses, parsedate_to_datetime
from hashlib import sha256
from itertools import islice
from re import IGNORECASE, MULTILINE
from re import compile as pattern

from bs4 import BeautifulSoup

from bels.domain.terms import Word
from bels.reception.charsets import decoded

BYTES_MAX = 20 * 1024 * 1024
BOUNDARIES_MAX = 60
"""Containers in a letter. A reader of mail goes through all that are open at every line, so depth costs time."""

DEPTH_MAX = 12
"""Letters in letters, and parts in parts."""

PARTS_MAX = 200
DASHES_MAX = 10_000
"""Lines that begin with two dashes. Each of them may begin a part, with or without a header of its own."""

LINES_MAX = 400_000
"""Lines of a letter; the greatest one has so many where it is all attachments."""

TEXT_LENGTH_MAX = 20_000
"""A person writes no more before its signature."""

HTML_BYTES_MAX = 200_000
"""A letter without its pictures has less; markup that never ends is cut."""
TAGS_MAX = 4_000
LINE_LENGTH_MAX = 2_000
TABLES_MAX = 5
PICTURES_MAX = 3
PICTURE_BYTES_MAX = 10_000_000
HEADER_LENGTH_MAX = 1_000
NAME_LENGTH_MAX = 150

_PICTURES = ("image/jpeg", "image/png", "image/heic", "image/heif", "image/webp")
_TABLE_NAME = pattern(r"\.(xlsx|xlsm|xls|csv|tsv)$", IGNORECASE)
_TABLE_TYPES = ("text/csv", "text/tab-separated-values", "application/vnd.ms-excel", "application/csv")
_XLSX_TYPES = ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",)
_ARCHIVE_NAME = pattern(r"\.(zip|rar|7z|gz|tar|tgz|bz2|xz|arj)$", IGNORECASE)
_TEXT_NAME = pattern(r"\.txt$", IGNORECASE)

_NAMING_HEADERS = ("content-disposition", "content-type")
_RAW_NAME = pattern(r"""name\s*=\s*"?([^";]+)""", IGNORECASE)
_CONTENT_HEADERS = ("from", "subject", "message-id", "content-type", "content-transfer-encoding")
_ROBOTS = pattern(
    r"mailer-?daemon|postmaster|no-?_?\.?reply|do-?not-?reply|noreply.*|bounces?(?:[-+=.].*)?|.*-(?:request|owner|bounces?)"
    r"|owner-.*|listserv|majordomo|daemon|auto-?reply|notifications?",
    IGNORECASE,
)
_LISTS = ("list-id", "list-unsubscribe", "list-post", "x-auto-response-suppress", "x-autoreply", "x-autorespond")
_BULK = ("bulk", "list", "junk", "auto_reply")

_TAG = pattern("<")
_BLANKS = pattern(r"\s+")
_BLOCK = pattern(
    r"(?=</?(?:address|article|aside|blockquote|br|dd|div|dl|dt|footer|form|h[1-6]|header|hr|li|ol|p|pre|section|table|tr|ul)\b)",
    IGNORECASE,
)
_CELL = pattern(r"(?=</t[dh]\b)", IGNORECASE)
_UNSEEN = ("style", "script", "head", "title", "blockquote", "template", "noscript", "object", "svg")
_QUOTES = ".gmail_quote, .yahoo_quoted, .moz-cite-prefix, .gmail_attr, .gmail_signature"

_SPACES = pattern(r"[ \t\r\f\v\u00a0]+")
_QUOTE = pattern(r"^\s*>")
_SIGNATURE = pattern(
    r"^\s*--\s*$|^\s*с\s+(?:глубоким\s+)?уважением|^\s*всего\s+(?:вам\s+)?(?:доброго|хорошего)|^\s*best\s+regards"
    r"|^\s*отправлено\s+(?:из|с|со)\s|^\s*sent\s+(?:from|via)\s",
    IGNORECASE,
)
_QUOTED_BELOW = pattern(
    r"(?:^|\s)(?:пишет|писал\(?а?\)?|написал\(?а?\)?|wrote)\s*:?\s*$|^\s*-{2,}\s*(?:исходное|original)\s"
    r"|^\s*_{10,}\s*$|^\s*\*?(?:от|from|от кого)\*?:\s.*@",
    IGNORECASE,
)
_QUOTED_BELOW_NEXT = pattern(r"^\s*(?:пишет|написал\(?а?\)?|wrote)\s*:?\s*$", IGNORECASE)
_FORWARDED = pattern(
    r"^.{0,5}-{2,40}[ \t]{0,5}(?:пересылаемое|пересланное|перенаправленное|forwarded)\s.*$"
    r"|^[ \t]{0,5}(?:начало переадресованного|begin forwarded).*$",
    IGNORECASE | MULTILINE,
)
_HEADER_LINE = pattern(
    r"^\s*\*?(?:от|кому|дата|тема|отправлено|копия|from|to|date|subject|sent|cc|от кого)\*?:\s", IGNORECASE
)
_ACCOUNTS = pattern(
    r"(?:(?P<named>\b(?:л\W{0,2}с|лиц\w*\W{1,3}сч[её]т\w*)\W{0,6})|^[^\w\n]{0,20})(?<!\d)\d{7}(?!\d)",
    IGNORECASE | MULTILINE,
)
_NUMBERS = pattern(r"\d+")
_REPLY = pattern(r"^\s*(?:(?:re|fwd?|aw|отв|на|ha|пересл)(?:\[\d+\])?\s*:\s*)+", IGNORECASE)


class Unreadable(Word):
    """Why a letter will never be read. Its sender hears it from the mail server, in English as all such reports are."""

    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_PARTS = "TOO_MANY_PARTS"
    TOO_MANY_LINES = "TOO_MANY_LINES"
    DAMAGED = "DAMAGED"
    EMPTY = "EMPTY"


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that came with a letter. ``place`` is its number among them, for ever the same."""

    place: int
    name: str = field(repr=False)
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Letter:
    """What was read. ``key`` names the letter: by its Message-ID and content, whatever way it came twice.

    ``sender`` is the one address of its From in lower case with the domain in ASCII, "" where there is none or are several.
    ``text`` are the person's own words, ``subject`` stands apart. ``vouchers`` are the Authentication-Results from the top,
    ``arrived_at`` is when our mail server took the letter. ``is_automatic`` says that a machine wrote it, which gets no
    answer (RFC 3834). ``not_read`` says that there was a file that is never opened.
    """

    key: str
    digest: str
    sender: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    tables: tuple[Attached, ...]
    pictures: tuple[Attached, ...]
    vouchers: tuple[str, ...] = field(repr=False)
    arrived_at: datetime | None
    message_id: str = field(repr=False)
    references: tuple[str, ...] = field(repr=False)
    is_automatic: bool
    not_read: bool

    @property
    def domain(self) -> str:
        """The domain of the sender, "" where there is none."""
        return self.sender.rpartition("@")[2]

    @property
    def words(self) -> str:
        """What the grammar reads: the subject, unless it is that of an answer, and the text."""
        subject = "" if _REPLY.match(self.subject) and self.text else _REPLY.sub("", self.subject)
        return "\n".join(each for each in (subject, self.text) if each)

    def parts(self) -> list[str]:
        """Divide the words by the accounts in them: a person may send the readings of two flats in one letter."""
        words = self.words
        starts: list[int] = []
        for found in _ACCOUNTS.finditer(words):
            between = words[starts[-1] : found.start()] if starts else ""
            # After an account without a value, what has seven digits and no name is the value.
            if not starts or found["named"] or len(_NUMBERS.findall(between)) > 1:
                starts.append(found.start())
        if len(starts) < 2:
            return [words]
        return [words[start:end] for start, end in zip(starts, [*starts[1:], len(words)], strict=True)]


@dataclass(slots=True)
class _Read:
    """What is found while walking through the parts."""

    plain: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    tables: list[Attached] = field(default_factory=list)
    pictures: list[Attached] = field(default_factory=list)
    files: int = 0
    not_read: bool = False


def read_letter(content: bytes) -> Letter | Unreadable:
    """Read a letter as it came over the wire. Takes up to seconds for the greatest one: call it in a thread."""
    if not content.strip():
        return Unreadable.EMPTY
    lowered = content.lower()
    if lowered.count(b"boundary=") + lowered.count(b"message/rfc822") > BOUNDARIES_MAX:
        return Unreadable.TOO_DEEP
    if lowered.count(b"\ncontent-type:") > PARTS_MAX or content.count(b"\n--") > DASHES_MAX:
        return Unreadable.TOO_MANY_PARTS
    if content.count(b"\n") > LINES_MAX:
        return Unreadable.TOO_MANY_LINES
    try:
        whole = message_from_bytes(content)
        return _read(whole, content)
    except RecursionError:
        return Unreadable.TOO_DEEP
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, IndexError, AssertionError):
        # The parser of the standard library raises any of these for headers that nobody should write.
        return Unreadable.DAMAGED


def _read(whole: Part, content: bytes) -> Letter:
    read = _Read()
    for depth, part in _walk(whole, 0):
        _take_part(read, part, depth)
    own = own_words("\n".join(read.plain) or "\n".join(map(text_of_html, read.html)))
    if not any(c.isdigit() for c in own):
        # A letter that was forwarded as an attachment brings the words in it.
        own = "\n".join(each for each in (own, *map(own_words, read.forwarded)) if each)
    message_id = _header(whole, "message-id")[:HEADER_LENGTH_MAX]
    digest = _digest(whole, content)
    named = f"{message_id}\n{digest}".encode("utf-8", "replace")
    return Letter(
        key=f"letter:{sha256(named).hexdigest()[:40]}",
        digest=digest,
        sender=_sender(whole),
        subject=_header(whole, "subject")[:HEADER_LENGTH_MAX],
        text=own[:TEXT_LENGTH_MAX],
        tables=tuple(read.tables),
        pictures=tuple(read.pictures),
        vouchers=tuple(
            _plain_header(value) for name, value in whole.raw_items() if name.lower() == "authentication-results"
        ),
        arrived_at=_arrived_at(whole),
        message_id=message_id,
        references=tuple(_header(whole, "references").split()[-10:]),
        is_automatic=_is_automatic(whole),
        not_read=read.not_read,
    )


def _digest(whole: Part, content: bytes) -> str:
    """Digest what a letter says, without the marks of its way: what came twice by two ways is the same."""
    names = list(_CONTENT_HEADERS)
    if not _header(whole, "message-id"):
        # Only its date tells such a letter from the one of last month. A mail server may have written it on the way.
        names.append("date")
    lines = [f"{name}:{_header(whole, name)}" for name in names]
    ends = [end for end in (content.find(b"\r\n\r\n"), content.find(b"\n\n")) if end >= 0]
    body = content[min(ends) :].strip() if ends else b""
    return sha256("\n".join(lines).encode("utf-8", "replace") + b"\n\n" + body.replace(b"\r\n", b"\n")).hexdigest()


def _walk(part: Part, depth: int) -> Iterator[tuple[int, Part]]:
    """Give the parts that hold something, each with how many letters it stands in."""
    waiting: list[tuple[Part, int, int]] = [(part, depth, 0)]
    for _ in range(PARTS_MAX * 2):
        if not waiting:
            return
        part, letters, deep = waiting.pop(0)
        children = part.get_payload() if part.is_multipart() else None
        if not isinstance(children, list) or deep >= DEPTH_MAX:
            yield letters, part
            continue
        inside = letters + (part.get_content_type() == "message/rfc822")
        waiting[:0] = [(child, inside, deep + 1) for child in children if isinstance(child, Part)]


def _take_part(read: _Read, part: Part, letters: int) -> None:
    kind, name = part.get_content_type(), _file_name(part)
    if part.is_multipart():
        read.not_read = True
        return
    is_attached = part.get_content_disposition() == "attachment" or (bool(name) and not kind.startswith("text/"))
    is_table = bool(_TABLE_NAME.search(name)) or kind in _TABLE_TYPES or kind in _XLSX_TYPES
    if is_table or _ARCHIVE_NAME.search(name) or kind in _PICTURES or is_attached:
        _take_file(read, part, kind, name, is_table=is_table)
    elif kind == "text/plain":
        (read.forwarded if letters else read.plain).append(_text(part, TEXT_LENGTH_MAX * 20))
    elif kind == "text/html":
        html = _text(part, HTML_BYTES_MAX)
        if letters:
            read.forwarded.append(text_of_html(html))
        else:
            read.html.append(html)


def _take_file(read: _Read, part: Part, kind: str, name: str, *, is_table: bool) -> None:
    read.files += 1
    content = _bytes(part)
    # A workbook is one also where its name got lost on the way.
    is_table = is_table or (content.startswith(b"PK\x03\x04") and b"xl/workbook.xml" in content)
    file = Attached(read.files, name[:NAME_LENGTH_MAX], kind, content)
    if is_table and len(read.tables) < TABLES_MAX:
        read.tables.append(file)
    elif kind in _PICTURES and len(read.pictures) < PICTURES_MAX and len(content) <= PICTURE_BYTES_MAX:
        read.pictures.append(file)
    elif _TEXT_NAME.search(name) and kind == "text/plain":
        read.forwarded.append(decoded(content, part.get_content_charset())[:TEXT_LENGTH_MAX])
    else:
        read.not_read = True


def _bytes(part: Part) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Part, bytes_max: int) -> str:
    return decoded(_bytes(part)[:bytes_max], part.get_content_charset()).replace("\x00", "")


def text_of_html(html: str) -> str:
    """Give what a person sees of HTML, without what it only quotes: a line for a block, a blank between cells."""
    # The parser takes the square of what is not closed, so a letter has so many tags and no more.
    ends = next(islice((found.start() for found in _TAG.finditer(html)), TAGS_MAX, None), len(html))
    html = html[:ends]
    # Breaks go in before the parsing: to put them into a deep tree takes the square of its depth.
    broken = _CELL.sub(" ", _BLOCK.sub("\n", _BLANKS.sub(" ", html)))
    soup = BeautifulSoup(broken, "html.parser")
    for tag in [*soup.find_all(_UNSEEN), *soup.select(_QUOTES)]:
        tag.extract()
    return soup.get_text()


def own_words(text: str) -> str:
    """Cut what is not the person's own: the letter that is answered, signatures, advertisements of mail programs.

    Of a letter that only forwards another, that one's words are taken.
    """
    forwarded = _FORWARDED.search(text)
    if forwarded is not None and not any(c.isdigit() for c in text[: forwarded.start()]):
        following = text[forwarded.end() :].splitlines()
        text = "\n".join(line for line in following if not _HEADER_LINE.match(line) and not _QUOTE.match(line))
    elif forwarded is not None:
        text = text[: forwarded.start()]
    kept: list[str] = []
    lines = [line[:LINE_LENGTH_MAX] for line in text.splitlines()]
    for i, line in enumerate(lines):
        if _SIGNATURE.search(line) or _QUOTED_BELOW.search(line):
            break
        if i + 1 < len(lines) and "@" in line and _QUOTED_BELOW_NEXT.search(lines[i + 1]):
            break
        plain = _SPACES.sub(" ", line).strip()
        if plain and not _QUOTE.match(line):
            kept.append(plain)
    return "\n".join(kept)


def _header(part: Part, name: str) -> str:
    """Give the first header of a name as a text; raw bytes in it are read as a text without a label."""
    value = next((value for found, value in part.raw_items() if found.lower() == name), "")
    return decoded_header(_plain_header(value))


def _plain_header(value: object) -> str:
    return " ".join(str(value)[: HEADER_LENGTH_MAX * 20].split())


def decoded_header(value: str) -> str:
    """Read a header: encoded words (RFC 2047), also with a lying label, or raw bytes."""
    raw = value.encode("utf-8", "surrogateescape")
    if not raw.isascii():
        return decoded(raw).replace("\x00", "")
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    return "".join(piece if isinstance(piece, str) else decoded(piece, charset) for piece, charset in pieces).replace(
        "\x00", ""
    )


def _arrived_at(whole: Part) -> datetime | None:
    """Read the time in the topmost Received, which our mail server wrote: nobody before it can put one above."""
    _, _, written = _header(whole, "received").rpartition(";")
    try:
        arrived = parsedate_to_datetime(written.strip()) if written else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return arrived if arrived is not None and arrived.tzinfo is not None else None


def _file_name(part: Part) -> str:
    """Give the name of a file (RFC 2231, RFC 2047 or raw bytes), "" where it has none."""
    for value in (str(value) for name, value in part.raw_items() if name.lower() in _NAMING_HEADERS):
        if not value.isascii() and (raw := _RAW_NAME.search(decoded(value.encode("utf-8", "surrogateescape")))):
            return raw.group(1).strip()
    given = part.get_param("filename", None, "content-disposition") or part.get_param("name")
    if isinstance(given, tuple):
        charset, _, text = given
        return decoded(text.encode("latin-1", "replace"), charset) if charset else collapse_rfc2231_value(given)
    return decoded_header(str(given)) if given else ""


def _sender(whole: Part) -> str:
    values = [_plain_header(value) for name, value in whole.raw_items() if name.lower() == "from"]
    if len(values) != 1:
        return ""
    addresses = [address for _, address in getaddresses(values) if address]
    return plain_address(addresses[0]) if len(addresses) == 1 else ""


def plain_address(address: str) -> str:
    """Write an address one way: lower case, the domain in ASCII; "" where it is none."""
    local, at, domain = address.strip().strip("<>").lower().rpartition("@")
    if not at or not local or not domain or len(address) > 320 or any(c.isspace() or c in "<>,;" for c in local):
        return ""
    try:
        ascii_domain = domain if domain.isascii() else domain.encode("idna").decode("ascii")
        local.encode("utf-8")
    except UnicodeError:
        return ""
    return f"{local}@{ascii_domain}"


def is_robot(address: str) -> bool:
    """Say whether an address is nobody's who reads answers; "" is the null sender."""
    return not address or bool(_ROBOTS.fullmatch(address.partition("@")[0]))


def _is_automatic(whole: Part) -> bool:
    """Say whether a machine wrote a letter, which must not be answered (RFC 3834 section 2)."""
    submitted = _header(whole, "auto-submitted").partition(";")[0].strip().lower()
    if submitted not in ("", "no"):
        return True
    if _header(whole, "precedence").strip().lower() in _BULK:
        return True
    if any(whole.get(name) is not None for name in _LISTS):
        return True
    if _header(whole, "return-path").strip() == "<>":
        return True
    return whole.get_content_type() in ("multipart/report", "message/delivery-status")
