"""Links of the СБП, the bank of Russia's instant payments: read, checked, and written for an id that a bank gave (partners 7).

``https://qr.nspk.ru/<QRCID>?type=01|02&bank=<12 digits>&sum=<kopecks>&cur=RUB&crc=XXXX``. QRCIDs come from НСПК through the
bank: none is ever made up here.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from re import compile as pattern
from urllib.parse import parse_qsl, urlsplit

from bels.domain.money import AMOUNT_MAX, ZERO, is_amount, to_kopecks
from bels.domain.terms import Money

HOST = "qr.nspk.ru"
CURRENCY = "RUB"
LINK_LENGTH_MAX = 500

_CRC_MARK = "&crc="
_CRC_START = 0xFFFF
_QRCID = pattern(r"A[SD][0-9A-Z]{30}")
_BANK = pattern(r"[0-9]{12}")
_KOPECKS = pattern(r"[1-9][0-9]{0,11}")
_CRC = pattern(r"[0-9A-F]{4}")


class SbpKind(StrEnum):
    """What a link is for: one that serves any number of payments, or one payment of one sum."""

    STATIC = "01"
    DYNAMIC = "02"


_PREFIX = {SbpKind.STATIC: "AS", SbpKind.DYNAMIC: "AD"}


class BadSbpLink(ValueError):
    """A link of the СБП cannot be used; ``part`` is what is wrong with it: link, qrcid, type, bank, sum, cur or crc."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part} {why}")
        self.part = part


@dataclass(frozen=True, slots=True)
class SbpLink:
    """A link of the СБП: ``bank`` is the id of the payee's bank there; ``amount`` in roubles, None where the payer names it."""

    qrcid: str
    kind: SbpKind
    bank: str
    amount: Money | None = None


def crc_of(link: str) -> str:
    """Give the checksum of a link before ``&crc=``: CRC-16/CCITT-FALSE, four upper-case hexadecimal digits."""
    return f"{crc_hqx(link.encode(), _CRC_START):04X}"


def read_sbp_link(text: str) -> SbpLink:
    """Read a link of the СБП; its checksum must be there and right.

    :raises BadSbpLink: it is not one, or a part of it cannot be.
    """
    if not (len(text) <= LINK_LENGTH_MAX and text.isascii() and text.isprintable() and " " not in text):
        raise BadSbpLink("link", f"is not up to {LINK_LENGTH_MAX} visible ASCII characters")
    try:
        split = urlsplit(text)
        pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise BadSbpLink("link", "is not an address with named values") from None
    if (split.scheme, split.netloc, split.fragment) != ("https", HOST, ""):
        raise BadSbpLink("link", f"is not at https://{HOST}/")
    given = dict(pairs)
    if len(given) != len(pairs):
        raise BadSbpLink("link", "says something twice")
    before, mark, crc = text.rpartition(_CRC_MARK)
    if not mark or not _CRC.fullmatch(crc):
        raise BadSbpLink("crc", "is not four upper-case hexadecimal digits at the end")
    if crc != crc_of(before):
        raise BadSbpLink("crc", f"is {crc}; of this link it would be {crc_of(before)}")
    unknown = sorted(set(given) - {"type", "bank", "sum", "cur", "crc"})
    if unknown:
        raise BadSbpLink("link", f"has {unknown[0][:20]!r}, which no such link has")
    link = SbpLink(split.path.removeprefix("/"), _kind(given.get("type", "")), given.get("bank", ""), _amount(given))
    _check(link)
    return link


def sbp_link(link: SbpLink) -> str:
    """Write a link with its checksum, for an id that the bank gave.

    :raises BadSbpLink: a part of it cannot be.
    """
    _check(link)
    text = f"https://{HOST}/{link.qrcid}?type={link.kind.value}&bank={link.bank}"
    if link.amount is not None:
        text += f"&sum={(link.amount * 100).to_integral_value():f}&cur={CURRENCY}"
    return f"{text}{_CRC_MARK}{crc_of(text)}"


def _kind(text: str) -> SbpKind:
    try:
        return SbpKind(text)
    except ValueError:
        raise BadSbpLink("type", "is neither 01 nor 02") from None


def _amount(given: dict[str, str]) -> Money | None:
    if "sum" not in given:
        if "cur" in given:
            raise BadSbpLink("cur", "stands without a sum")
        return None
    if not _KOPECKS.fullmatch(given["sum"]):
        raise BadSbpLink("sum", "is not a number of kopecks above zero")
    if given.get("cur") != CURRENCY:
        raise BadSbpLink("cur", f"is not {CURRENCY}")
    return to_kopecks(Decimal(given["sum"]) / 100)


def _check(link: SbpLink) -> None:
    if not _QRCID.fullmatch(link.qrcid):
        raise BadSbpLink("qrcid", "is not AS or AD and 30 digits and capital letters")
    if not link.qrcid.startswith(_PREFIX[link.kind]):
        raise BadSbpLink("type", f"{link.kind.value} does not go with an id that begins with {link.qrcid[:2]}")
    if not _BANK.fullmatch(link.bank):
        raise BadSbpLink("bank", "is not 12 digits")
    if link.amount is None and link.kind is SbpKind.DYNAMIC:
        raise BadSbpLink("sum", "is missing: a link of one payment names it")
    if link.amount is not None and not (link.amount > ZERO and is_amount(link.amount)):
        raise BadSbpLink("sum", f"is not whole kopecks above zero, up to {AMOUNT_MAX} roubles")
