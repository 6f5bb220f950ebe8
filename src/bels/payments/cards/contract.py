"""The contract with MONETA, as data: the table ``[partner.moneta.moneta]`` of the partners' file.

    [partner.moneta]
    client = "moneta"                  # no client of the door: MONETA is known by its signature and its addresses
    title = "НКО «МОНЕТА»"
    addresses = ["203.0.113.0/28"]     # required: md5 alone is weak (partners 5)

    [[partner.moneta.commission]]      # what the payer pays on top (method CARD)
    since = 2026-01-01
    percent = "1.0"

    [partner.moneta.moneta]
    mnt_id = "54600817"
    code_file = "/etc/bels/moneta.code"          # the code of integrity («код проверки целостности данных»)
    form = "https://moneta.ru/assistant.widget"
    payee_inn = "5001000002"
    sno = 1                                      # sign of the tax system on the receipt (54-ФЗ, tag 1055)
    vat = [{ since = 2019-01-01, tag = 1102 }, { since = 2026-01-01, tag = 1113 }]
    limits = [{ since = 2024-01-01, operation = "15000.00", day = "30000.00", day_count = 10, month = "60000.00" }]
    api = "https://service.moneta.ru/services"   # without it nothing is returned, paid by itself or reconciled
    api_user = "bels"
    api_password_file = "/etc/bels/moneta.password"

Secrets stand in files of their own, by their whole paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from re import compile as pattern
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx

from bels.access.vault import Vault
from bels.domain.money import is_amount, to_kopecks
from bels.domain.terms import Money
from bels.outgoing.moneta import MonetaApi
from bels.payments.partners import Partner, Partners, PartnersError
from bels.payments.till import Agent, Till

SECTION = "moneta"
CURRENCY = "RUB"
METHOD = "CARD"
"""The method of commissions."""

LIMIT_OF_LAW = Money("15000.00")
"""A payment up to it needs no identification of the payer (161-ФЗ, 115-ФЗ)."""

EXPIRES_MIN = 60
EXPIRES_MIN_MAX = 7 * 24 * 60
ROWS_MAX = 50
SECRET_BYTES_MAX = 1_000
COUNT_MAX = 10_000

VAT_TAGS = (1102, 1103, 1104, 1105, 1106, 1107, 1113, 1114)
"""20 %, 10 %, 0 %, none, 20/120, 10/110; 22 % and 22/122 from 2026 (partners 5)."""

VAT_OF_LAW = ((date.min, 1102), (date(2026, 1, 1), 1113))
SNO_MAX = 6

_RETURNS = ("success_url", "fail_url", "return_url", "inprogress_url")
_FIELDS = frozenset(
    (
        "mnt_id",
        "code_file",
        "form",
        "test_mode",
        "sno",
        "payee_inn",
        "item",
        "commission_item",
        "vat",
        "limits",
        "expires_min",
        "api",
        "api_user",
        "api_password_file",
        "api_account",
        "payment_password_file",
        "card_payer",
        "forget_token",
        "receipt_attribute",
        *_RETURNS,
    )
)
_LIMIT_FIELDS = frozenset(["since", "operation", "day", "day_count", "month", "month_count"])
_ID = pattern(r"[0-9]{1,20}")
_NAME = pattern(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_INN = pattern(r"[0-9]{10}(?:[0-9]{2})?")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be paid by card from a day on, in roubles with the commission; None where there is no bound.

    ``operation`` is of one payment, the others of one payer in a Moscow day and month, as sums and as counts.
    """

    since: date = date.min
    operation: Money = LIMIT_OF_LAW
    day: Money | None = None
    day_count: int | None = None
    month: Money | None = None
    month_count: int | None = None


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """How MONETA's MerchantAPI is called: where, as whom, on which account; ``payer`` is the account that cards pay from.

    ``forget_token`` is the request by which a card's token is removed, as agreed: MONETA publishes none.
    """

    url: str
    user: str
    password_file: Path
    account: str
    payment_password_file: Path | None = None
    payer: str = "card"
    forget_token: str | None = None
    receipt_attribute: str | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What is agreed with MONETA. ``code`` is the shared code of its signatures; ``returns`` are where the form leads back to."""

    partner: Partner
    mnt_id: str
    form: str
    payee_inn: str
    code: str = field(repr=False)
    test_mode: bool = False
    sno: int = 1
    item: str = "Электроэнергия"
    commission_item: str = "Комиссия за приём платежа"
    vat: tuple[tuple[date, int], ...] = VAT_OF_LAW
    limits: tuple[Limits, ...] = (Limits(),)
    expires: timedelta = timedelta(minutes=EXPIRES_MIN)
    returns: Mapping[str, str] = field(default_factory=dict, hash=False)
    api: ApiAccess | None = None

    def vat_tag(self, on: date) -> int:
        """Give the tag of the VAT of a day (54-ФЗ, tag 1199)."""
        return max(row for row in self.vat if row[0] <= on)[1]

    def limits_on(self, day: date) -> Limits:
        """Give the limits in force on a day; before the first row those of the law."""
        return max((row for row in self.limits if row.since <= day), key=lambda row: row.since, default=Limits())


@dataclass(frozen=True, slots=True)
class Cards:
    """What everything about cards works with: the till and the contract."""

    till: Till
    contract: Contract

    @property
    def pool(self) -> asyncpg.Pool:
        """The database."""
        return self.till.counter.pool

    @property
    def vault(self) -> Vault:
        """The keys of what is personal."""
        return self.till.counter.door.vault

    @property
    def agent(self) -> Agent:
        """MONETA, as the till knows who brings payments."""
        return Agent(self.contract.partner, self.contract.partner.actor)

    def now(self) -> datetime:
        """Tell the time."""
        return self.till.now()


def cards_of(till: Till) -> Cards | None:
    """Put payments by card together; None where no partner has a table for it.

    :raises PartnersError: the table, or a secret that it names, cannot be used.
    """
    contract = contract_of(till.partners)
    return Cards(till, contract) if contract is not None else None


def api_of(contract: Contract, http: httpx.AsyncClient) -> MonetaApi | None:
    """Give MONETA's API as the contract says; None where it names none. It reads files.

    :raises PartnersError: a secret cannot be read.
    """
    access = contract.api
    if access is None:
        return None
    return MonetaApi(
        http,
        access.url,
        access.user,
        secret(access.password_file),
        access.account,
        access.payer,
        secret(access.payment_password_file) if access.payment_password_file is not None else None,
        access.forget_token,
        access.receipt_attribute,
    )


def contract_of(partners: Partners) -> Contract | None:
    """Read the contract with MONETA; None where there is none. It reads files.

    :raises PartnersError: it cannot be used.
    """
    found = [partner for partner in partners.partners if SECTION in partner.sections]
    if not found:
        return None
    if len(found) > 1:
        raise PartnersError(f"{found[1].name}.{SECTION}: {found[0].name} is MONETA already")
    partner = found[0]
    told, where = partner.sections[SECTION], f"partner.{partner.name}.{SECTION}"
    unknown = sorted(set(told) - _FIELDS)
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is unknown: {', '.join(sorted(_FIELDS))}")
    test_mode = told.get("test_mode", False)
    if not isinstance(test_mode, bool):
        raise PartnersError(f"{where}.test_mode is true or false")
    if not partner.addresses:
        raise PartnersError(
            f"partner.{partner.name}.addresses names where MONETA's notices come from: its signature is weak"
        )
    sno = told.get("sno", 1)
    if not (type(sno) is int and 1 <= sno <= SNO_MAX):
        raise PartnersError(f"{where}.sno is 1 to {SNO_MAX}")
    minutes = told.get("expires_min", EXPIRES_MIN)
    if not (type(minutes) is int and 1 <= minutes <= EXPIRES_MIN_MAX):
        raise PartnersError(f"{where}.expires_min is 1 to {EXPIRES_MIN_MAX}")
    mnt_id = _text(told, "mnt_id", where, _ID)
    return Contract(
        partner,
        mnt_id,
        _url(told, "form", where),
        _text(told, "payee_inn", where, _INN),
        secret(_path(told, "code_file", where)),
        test_mode,
        sno,
        _item(told, "item", where, "Электроэнергия"),
        _item(told, "commission_item", where, "Комиссия за приём платежа"),
        _vat(told.get("vat"), where),
        _limits(told.get("limits"), where),
        timedelta(minutes=minutes),
        {f"MNT_{name.upper()}": _url(told, name, where) for name in _RETURNS if name in told},
        _api(told, where, mnt_id) if "api" in told else None,
    )


def secret(file: Path) -> str:
    """Read a secret from its file.

    :raises PartnersError: there is none.
    """
    try:
        if file.stat().st_size > SECRET_BYTES_MAX:
            raise PartnersError(f"{file} has more than {SECRET_BYTES_MAX} bytes")
        text = file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise PartnersError(f"{file} cannot be read: {type(error).__name__}") from None
    if not text:
        raise PartnersError(f"{file} is empty")
    return text


def _api(told: Mapping[str, Any], where: str, mnt_id: str) -> ApiAccess:
    payment_password = "payment_password_file"  # noqa: S105 - the name of a field
    access = ApiAccess(
        _url(told, "api", where),
        _text(told, "api_user", where),
        _path(told, "api_password_file", where),
        _text(told, "api_account", where, _ID) if "api_account" in told else mnt_id,
        _path(told, payment_password, where) if payment_password in told else None,
        _text(told, "card_payer", where, _NAME) if "card_payer" in told else "card",
        _text(told, "forget_token", where, _NAME) if "forget_token" in told else None,
        _text(told, "receipt_attribute", where, _NAME) if "receipt_attribute" in told else None,
    )
    secret(access.password_file)
    return access


def _vat(told: object, where: str) -> tuple[tuple[date, int], ...]:
    if told is None:
        return VAT_OF_LAW
    if not isinstance(told, list) or not 1 <= len(told) <= ROWS_MAX:
        raise PartnersError(f"{where}.vat is a list of 1 to {ROWS_MAX} rows since, tag")
    rows = []
    for row in told:
        if not (isinstance(row, dict) and set(row) == {"since", "tag"} and type(row["since"]) is date):
            raise PartnersError(f"{where}.vat has rows of since (a day) and tag")
        if row["tag"] not in VAT_TAGS:
            raise PartnersError(f"{where}.vat: a tag is one of {', '.join(map(str, VAT_TAGS))}")
        rows.append((row["since"], row["tag"]))
    # Before its first row the tag of that row: a payment is never left without one.
    first = min(rows)
    return ((date.min, first[1]), *sorted(rows))


def _limits(told: object, where: str) -> tuple[Limits, ...]:
    if told is None:
        return (Limits(),)
    if not isinstance(told, list) or len(told) > ROWS_MAX:
        raise PartnersError(f"{where}.limits is a list of at most {ROWS_MAX} rows")
    rows = []
    for row in told:
        if not (isinstance(row, dict) and set(row) <= _LIMIT_FIELDS and type(row.get("since")) is date):
            raise PartnersError(f"{where}.limits has rows of {', '.join(sorted(_LIMIT_FIELDS))}")
        for name in ("day_count", "month_count"):
            if name in row and not (type(row[name]) is int and 1 <= row[name] <= COUNT_MAX):
                raise PartnersError(f"{where}.limits.{name} is 1 to {COUNT_MAX}")
        rows.append(
            Limits(
                row["since"],
                _sum(row, "operation", where) or LIMIT_OF_LAW,
                _sum(row, "day", where),
                row.get("day_count"),
                _sum(row, "month", where),
                row.get("month_count"),
            )
        )
    return tuple(rows)


def _sum(told: Mapping[str, Any], name: str, where: str) -> Money | None:
    if name not in told:
        return None
    try:
        amount = Decimal(told[name]) if isinstance(told[name], str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not is_amount(amount):
        raise PartnersError(f'{where}.limits.{name} is a text of roubles, like "15000.00"')
    return to_kopecks(amount)


def _text(told: Mapping[str, Any], name: str, where: str, shape: Any = None) -> str:
    value = told.get(name)
    if not (isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()):
        raise PartnersError(f"{where}.{name} is a text of 1 to 200 characters")
    if shape is not None and not shape.fullmatch(value):
        raise PartnersError(f"{where}.{name} is {shape.pattern}")
    return value


def _item(told: Mapping[str, Any], name: str, where: str, default: str) -> str:
    value = _text(told, name, where) if name in told else default
    # The register's software takes no quotes in the names of items.
    if any(sign in value for sign in "\"'<>&\\"):
        raise PartnersError(f"{where}.{name} holds no quotes and no angle brackets")
    return value


def _path(told: Mapping[str, Any], name: str, where: str) -> Path:
    path = Path(_text(told, name, where))
    if not path.is_absolute():
        raise PartnersError(f"{where}.{name} is the whole path of a file")
    return path


def _url(told: Mapping[str, Any], name: str, where: str) -> str:
    value = _text(told, name, where)
    url = urlsplit(value)
    is_here = url.hostname in ("127.0.0.1", "::1", "localhost")
    if not url.hostname or (url.scheme != "https" and not (is_here and url.scheme == "http")):
        raise PartnersError(f"{where}.{name} is an https URL")
    return value
