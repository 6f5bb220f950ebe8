"""The payment QR of a bill: the text that a bank's application scans (ГОСТ Р 56042-2014), written and read.

``ST`` + ``0001`` + encoding + separator, then ``Key=value`` by that separator: five keys in order, the others in any (partners 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from re import compile as pattern

from bels.domain.money import to_kopecks
from bels.domain.rulebook import Requisites
from bels.domain.terms import Money, Period

CATEGORY = "Электроэнергия"
TECH_CODE = "02"
"""Housing and utilities (ЖКХ)."""
COUNTER_LENGTH_MAX = 30
TEXT_LENGTH_MAX = 2_953
"""Bytes of the greatest QR there is (version 40, level L): a longer text came from no QR."""

REQUIRED = ("Name", "PersonalAcc", "BankName", "BIC", "CorrespAcc")
"""They come first, in this order."""

LENGTH_MAX: dict[str, int] = {
    "Name": 160,
    "PersonalAcc": 20,
    "BankName": 45,
    "BIC": 9,
    "CorrespAcc": 20,
    "Sum": 18,
    "Purpose": 210,
    "PayeeINN": 12,
    "PayerINN": 12,
    "DrawerStatus": 2,
    "KPP": 9,
    "CBC": 20,
    "OKTMO": 11,
    "PaytReason": 2,
    "TaxPeriod": 10,
    "DocNo": 15,
    "DocDate": 10,
    "TaxPaytKind": 2,
    # The standard bounds none of those below: these bounds are our own, so that the picture stays readable.
    "LastName": 100,
    "FirstName": 100,
    "MiddleName": 100,
    "PayerAddress": 210,
    "PersonalAccount": 30,
    "DocIdx": 30,
    "PensAcc": 20,
    "Contract": 50,
    "PersAcc": 30,
    "Flat": 20,
    "Phone": 20,
    "PayerIdType": 20,
    "PayerIdNum": 30,
    "ChildFio": 160,
    "BirthDate": 10,
    "PaymTerm": 10,
    "PaymPeriod": 6,
    "Category": 50,
    "ServiceName": 50,
    "CounterId": COUNTER_LENGTH_MAX,
    "CounterVal": 30,
    "QuittId": 30,
    "QuittDate": 10,
    "InstNum": 30,
    "ClassNum": 20,
    "SpecFio": 160,
    "AddAmount": 18,
    "RuleId": 30,
    "ExecId": 30,
    "RegType": 30,
    "UIN": 25,
    "TechCode": 2,
}
"""Characters of the value of each key of the standard."""

_HEAD = "ST0001"
_LENGTHS = {
    "PersonalAcc": (20,),
    "BIC": (9,),
    "CorrespAcc": (20, 1),
    "PayeeINN": (10, 12),
    "PayerINN": (10, 12),
    "KPP": (9,),
}
_DIGITS = frozenset(("PersonalAcc", "BIC", "CorrespAcc", "PayeeINN", "PayerINN", "Sum", "AddAmount", "OKTMO"))
_TECH_CODES = frozenset(f"{code:02}" for code in range(1, 16))
_SEPARATORS = "|~^;!*+&%$#@`"
"""The usual one, then those that texts hardly ever contain."""
_CANONICAL = {key.lower(): key for key in LENGTH_MAX}
_PERIOD = pattern(
    r"(?P<month>0[1-9]|1[0-2])\.?(?P<year>20\d\d)|(?P<year_first>20\d\d)[.-]?(?P<month_last>0[1-9]|1[0-2])"
)
_SHOWN_MAX = 20


class Encoding(StrEnum):
    """The character set of a QR, by its digit in the head."""

    CP1251 = "1"
    UTF_8 = "2"
    KOI8_R = "3"


_CODECS = {Encoding.CP1251: "cp1251", Encoding.UTF_8: "utf-8", Encoding.KOI8_R: "koi8-r"}


class UnfitForQr(ValueError):
    """A value does not fit the standard; ``field`` is its name there."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}")
        self.field = field


class NotAPaymentQr(ValueError):
    """A text is not a payment QR of ГОСТ Р 56042."""


@dataclass(frozen=True, slots=True)
class ScannedBill:
    """What a scanned QR pays: ``amount`` roubles, ``period`` as YYYY-MM; None where it says nothing that can be read."""

    payee: str
    payee_account: str
    bic: str
    payee_inn: str | None
    account: str | None
    period: Period | None
    amount: Money | None
    meter: str | None
    value: str | None

    def pays(self, requisites: Requisites) -> bool:
        """Say whether it pays a supplier: its account at its bank, and its ИНН where one is named."""
        return (self.payee_account, self.bic) == (requisites.account, requisites.bic) and (
            self.payee_inn in (None, requisites.inn)
        )


def payment_qr(
    payee: Requisites,
    account: str,
    period: Period | str,
    amount: Money,
    *,
    purpose: str | None = None,
    counter: str | None = None,
    counter_value: str | None = None,
    category: str | None = CATEGORY,
) -> str:
    """Write the text of a bill's QR: ``amount`` in roubles, ``period`` as YYYY-MM, ``account`` the seven digits.

    ``counter`` and ``counter_value`` are the meter's number and what it shows, where the payer's bank is to pass them on.

    :raises UnfitForQr: a value is empty, too long, of a wrong shape, or no separator is left for the values.
    """
    kopecks = amount * 100
    if amount <= 0 or kopecks != kopecks.to_integral_value():
        raise UnfitForQr("Sum", "is not a sum above zero in whole kopecks")
    fields: dict[str, str | None] = {
        "Name": payee.name,
        "PersonalAcc": payee.account,
        "BankName": payee.bank,
        "BIC": payee.bic,
        "CorrespAcc": payee.corr_account or "0",
        "PayeeINN": payee.inn,
        "KPP": payee.kpp,
        "PersAcc": account,
        "PaymPeriod": f"{period[5:7]}{period[:4]}",
        "Sum": f"{kopecks.to_integral_value():f}",
        "Purpose": purpose,
        "CounterId": counter,
        "CounterVal": counter_value,
        "Category": category,
        "TechCode": TECH_CODE,
    }
    return write_payment_qr({name: value for name, value in fields.items() if value is not None})


def write_payment_qr(fields: Mapping[str, str], encoding: Encoding = Encoding.UTF_8) -> str:
    """Write the text of a payment QR: any keys of the standard, the five required first; blanks are made one.

    :raises UnfitForQr: a value is missing, empty, too long, of a wrong shape or not in the encoding, a key is not of the
        standard, or no separator is left for the values.
    """
    given = {name: " ".join(value.split()) for name, value in fields.items()}
    missing = next((name for name in REQUIRED if name not in given), None)
    if missing is not None:
        raise UnfitForQr(missing, "is missing")
    ordered = {**{name: given[name] for name in REQUIRED}, **given}
    for name, value in ordered.items():
        _check(name, value, encoding)
    separator = next((s for s in _SEPARATORS if not any(s in value for value in ordered.values())), None)
    if separator is None:
        raise UnfitForQr("Name", "and the other values leave no separator")
    return separator.join((f"{_HEAD}{encoding.value}", *(f"{name}={value}" for name, value in ordered.items())))


def encode_payment_qr(text: str) -> bytes:
    """Give the bytes of a QR's text, in the encoding that its head names.

    :raises NotAPaymentQr: it is no payment QR, or has characters that its encoding has not.
    """
    codec = _CODECS[_encoding_of(text)]
    try:
        return text.encode(codec)
    except UnicodeEncodeError as error:
        raise NotAPaymentQr(f"{text[error.start]!r} is not in {codec}, which the head names") from None


def decode_payment_qr(raw: bytes) -> str:
    """Give the text of a QR's bytes, which say in their head how they are encoded.

    :raises NotAPaymentQr: they are no payment QR, or not so encoded.
    """
    if len(raw) > TEXT_LENGTH_MAX:
        raise NotAPaymentQr(f"{len(raw)} bytes are in no QR")
    codec = _CODECS[_encoding_of(raw[: len(_HEAD) + 2].decode("latin-1"))]
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        raise NotAPaymentQr(f"the byte at {error.start} is not in {codec}, which the head names") from None


def read_payment_qr(text: str) -> dict[str, str]:
    """Read the text of a payment QR: its fields by the standard's names, in their order.

    Keys may be in any case, fields empty, separators left over at the end; ``PaymPeriod`` is given as MMYYYY, however it is
    written. Keys that are not of the standard are given as they are: it allows them.

    :raises NotAPaymentQr: another format, a field without a name, twice the same, or a required one is not in its place.
    """
    if len(text) > TEXT_LENGTH_MAX:
        raise NotAPaymentQr(f"{len(text)} characters are in no QR")
    _encoding_of(text)
    separator = text[len(_HEAD) + 1]
    fields: dict[str, str] = {}
    for field in text[len(_HEAD) + 2 :].rstrip(separator + "\r\n\t \x00").split(separator):
        written, equals, value = field.partition("=")
        name = _CANONICAL.get(written.strip().lower(), written.strip())
        if not (name and equals) or name in fields:
            raise NotAPaymentQr(f"{field[:_SHOWN_MAX]!r} is not a field with a name of its own")
        fields[name] = value.strip()
    if tuple(fields)[: len(REQUIRED)] != REQUIRED or not all(fields[name] for name in REQUIRED):
        raise NotAPaymentQr(f"the text does not begin with {', '.join(REQUIRED)}")
    if "PaymPeriod" in fields:
        fields["PaymPeriod"] = _period(fields["PaymPeriod"])
    return {name: value for name, value in fields.items() if value}


def read_bill(text: str) -> ScannedBill:
    """Read what a scanned QR pays.

    :raises NotAPaymentQr: it is not a payment QR.
    """
    fields = read_payment_qr(text)
    written, kopecks = fields.get("PaymPeriod", ""), fields.get("Sum", "")
    is_period = len(written) == len("MMYYYY") and _PERIOD.fullmatch(written) is not None
    is_sum = kopecks.isascii() and kopecks.isdigit() and len(kopecks) <= LENGTH_MAX["Sum"]
    return ScannedBill(
        payee=fields["Name"],
        payee_account=fields["PersonalAcc"],
        bic=fields["BIC"],
        payee_inn=fields.get("PayeeINN"),
        account=fields.get("PersAcc"),
        period=Period(f"{written[2:]}-{written[:2]}") if is_period else None,
        amount=to_kopecks(Decimal(kopecks) / 100) if is_sum else None,
        meter=fields.get("CounterId"),
        value=fields.get("CounterVal"),
    )


def _encoding_of(text: str) -> Encoding:
    size = len(_HEAD) + 2
    if not (text.startswith(_HEAD) and len(text) >= size and text[len(_HEAD)] in set(Encoding)):
        raise NotAPaymentQr(f"{text[:_SHOWN_MAX]!r} does not begin with {_HEAD}, an encoding (1, 2, 3) and a separator")
    if text[size - 1].isalnum() or text[size - 1] == "=":
        raise NotAPaymentQr(f"{text[size - 1]!r} is no separator")
    return Encoding(text[len(_HEAD)])


def _period(written: str) -> str:
    """Give a month as MMYYYY, as it is written where it cannot be read."""
    found = _PERIOD.fullmatch(written)
    if found is None:
        return written
    return (found["month"] or found["month_last"]) + (found["year"] or found["year_first"])


def _check(name: str, value: str, encoding: Encoding) -> None:
    if name not in LENGTH_MAX:
        raise UnfitForQr(name, "is not a key of ГОСТ Р 56042")
    if not value or not value.isprintable():
        raise UnfitForQr(name, "is empty, or has characters that cannot be printed")
    try:
        value.encode(_CODECS[encoding])
    except UnicodeEncodeError as error:
        raise UnfitForQr(name, f"has {value[error.start]!r}, which is not in {_CODECS[encoding]}") from None
    if name in _DIGITS and not (value.isascii() and value.isdigit()):
        raise UnfitForQr(name, "is not digits alone")
    if name == "PaymPeriod" and not (len(value) == 6 and value.isdigit() and 1 <= int(value[:2]) <= 12):
        raise UnfitForQr(name, "is not MMYYYY")
    if name == "TechCode" and value not in _TECH_CODES:
        raise UnfitForQr(name, "is not 01 to 15")
    if name in _LENGTHS and len(value) not in _LENGTHS[name]:
        raise UnfitForQr(name, f"has {len(value)} characters, not {' or '.join(map(str, _LENGTHS[name]))}")
    if len(value) > LENGTH_MAX[name]:
        raise UnfitForQr(name, f"has {len(value)} characters, more than {LENGTH_MAX[name]}")
