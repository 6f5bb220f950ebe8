"""The payment QR of a bill: the text that a bank's application scans (ГОСТ Р 56042-2014), written and read."""

from __future__ import annotations

from bels.domain.rulebook import Requisites
from bels.domain.terms import Money, Period

CATEGORY = "Электроэнергия"
TECH_CODE = "02"
"""Housing and utilities (ЖКХ)."""
COUNTER_LENGTH_MAX = 30

_HEAD = "ST00012"
"""Format, version 0001, UTF-8 (2)."""
_REQUIRED = ("Name", "PersonalAcc", "BankName", "BIC", "CorrespAcc")
_LENGTH_MAX = {
    "Name": 160,
    "BankName": 45,
    "Sum": 18,
    "Purpose": 210,
    "PersAcc": 30,
    "CounterId": COUNTER_LENGTH_MAX,
    "CounterVal": 30,
    "Category": 50,
}
"""Characters. The standard sets the first four; the others are bounds of our own, so that the picture stays readable."""
_LENGTHS = {"PersonalAcc": (20,), "BIC": (9,), "CorrespAcc": (20, 1), "PayeeINN": (10, 12), "KPP": (9,)}
_DIGITS = ("PersonalAcc", "BIC", "CorrespAcc", "PayeeINN", "Sum")
_SEPARATORS = "|~^;!*+&%$#@`"
"""The usual one, then those that texts hardly ever contain."""


class UnfitForQr(ValueError):
    """A value does not fit the standard; ``field`` is its name there."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}")
        self.field = field


class NotAPaymentQr(ValueError):
    """A text is not a payment QR of ГОСТ Р 56042."""


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
    """Write the text of a payment QR: ``amount`` in roubles, ``period`` as YYYY-MM, ``account`` the seven digits.

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
    given = {name: " ".join(value.split()) for name, value in fields.items() if value is not None}
    for name, value in given.items():
        _check(name, value)
    separator = next((s for s in _SEPARATORS if not any(s in value for value in given.values())), None)
    if separator is None:
        raise UnfitForQr("Name", "and the other values leave no separator")
    return separator.join((_HEAD, *(f"{name}={value}" for name, value in given.items())))


def read_payment_qr(text: str) -> dict[str, str]:
    """Read the text of a payment QR: its fields by name, in their order.

    :raises NotAPaymentQr: another format, a field without a name, twice the same, or a required one is not in its place.
    """
    if not (text.startswith("ST0001") and len(text) > 8 and text[6] in "123"):
        raise NotAPaymentQr(f"{text[:20]!r} does not begin with ST0001, an encoding and a separator")
    fields: dict[str, str] = {}
    for field in text[8:].split(text[7]):
        name, equals, value = field.partition("=")
        if not (name and equals) or name in fields:
            raise NotAPaymentQr(f"{field[:20]!r} is not a field with a name of its own")
        fields[name] = value
    if tuple(fields)[: len(_REQUIRED)] != _REQUIRED:
        raise NotAPaymentQr(f"the text does not begin with {', '.join(_REQUIRED)}")
    return fields


def _check(name: str, value: str) -> None:
    if not value or not value.isprintable():
        raise UnfitForQr(name, "is empty, or has characters that cannot be printed")
    if name in _DIGITS and not (value.isascii() and value.isdigit()):
        raise UnfitForQr(name, "is not digits alone")
    if name == "PaymPeriod" and not (len(value) == 6 and value.isdigit() and 1 <= int(value[:2]) <= 12):
        raise UnfitForQr(name, "is not MMYYYY")
    if name in _LENGTHS and len(value) not in _LENGTHS[name]:
        raise UnfitForQr(name, f"has {len(value)} characters, not {' or '.join(map(str, _LENGTHS[name]))}")
    if len(value) > _LENGTH_MAX.get(name, len(value)):
        raise UnfitForQr(name, f"has {len(value)} characters, more than {_LENGTH_MAX[name]}")
