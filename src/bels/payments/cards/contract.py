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
from pathlib import Path
from re import compile as pattern
from urllib.parse import urlsplit

import asyncpg
import httpx

from bels.access.vault import Vault
from bels.domain.terms import Money
from bels.outgoing.moneta import MonetaApi
from bels.payments.partners import Partner, Partners, PartnersError
from bels.payments.section import Section, section_of
from bels.payments.till import Agent, Till

SECTION = "moneta"
CURRENCY = "RUB"
METHOD = "CARD"
"""The method of commissions."""

KOPECK = Money("0.01")
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
_VAT_FIELDS = frozenset(("since", "tag"))
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
    told = section_of(partner, SECTION)
    told.only(_FIELDS)
    if not partner.addresses:
        raise PartnersError(
            f"partner.{partner.name}.addresses names where MONETA's notices come from: its signature is weak"
        )
    mnt_id = told.text("mnt_id", None, _ID)
    return Contract(
        partner,
        mnt_id,
        _url(told, "form"),
        told.text("payee_inn", None, _INN),
        secret(_path(told, "code_file")),
        told.flag("test_mode"),
        told.whole("sno", 1, 1, SNO_MAX),
        _item(told, "item", "Электроэнергия"),
        _item(told, "commission_item", "Комиссия за приём платежа"),
        _vat(told),
        _limits(told),
        timedelta(minutes=told.whole("expires_min", EXPIRES_MIN, 1, EXPIRES_MIN_MAX)),
        {f"MNT_{name.upper()}": _url(told, name) for name in _RETURNS if name in told.values},
        _api(told, mnt_id) if "api" in told.values else None,
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


def _api(told: Section, mnt_id: str) -> ApiAccess:
    payment_password = "payment_password_file"  # noqa: S105 - the name of a field
    access = ApiAccess(
        _url(told, "api"),
        told.text("api_user"),
        _path(told, "api_password_file"),
        told.text("api_account", mnt_id, _ID),
        _path(told, payment_password) if payment_password in told.values else None,
        told.text("card_payer", "card", _NAME),
        told.text_or_none("forget_token", _NAME),
        told.text_or_none("receipt_attribute", _NAME),
    )
    secret(access.password_file)
    return access


def _vat(told: Section) -> tuple[tuple[date, int], ...]:
    if "vat" not in told.values:
        return VAT_OF_LAW
    rows = []
    for row in told.rows("vat", ROWS_MAX, _VAT_FIELDS):
        if row.values.get("tag") not in VAT_TAGS:
            raise PartnersError(f"{row.at('tag')} is one of {', '.join(map(str, VAT_TAGS))}")
        rows.append((row.since(), row.values["tag"]))
    if not rows:
        raise PartnersError(f"{told.at('vat')} has no row")
    # Before its first row the tag of that row: a payment is never left without one.
    first = min(rows)
    return ((date.min, first[1]), *sorted(rows))


def _limits(told: Section) -> tuple[Limits, ...]:
    if "limits" not in told.values:
        return (Limits(),)
    return tuple(
        Limits(
            row.since(),
            row.money("operation", least=KOPECK) or LIMIT_OF_LAW,
            row.money("day", least=KOPECK),
            row.whole_or_none("day_count", 1, COUNT_MAX),
            row.money("month", least=KOPECK),
            row.whole_or_none("month_count", 1, COUNT_MAX),
        )
        for row in told.rows("limits", ROWS_MAX, _LIMIT_FIELDS)
    )


def _item(told: Section, name: str, default: str) -> str:
    value = told.text(name, default)
    # The register's software takes no quotes in the names of items.
    if any(sign in value for sign in "\"'<>&\\"):
        raise PartnersError(f"{told.at(name)} holds no quotes and no angle brackets")
    return value


def _path(told: Section, name: str) -> Path:
    path = Path(told.text(name))
    if not path.is_absolute():
        raise PartnersError(f"{told.at(name)} is the whole path of a file")
    return path


def _url(told: Section, name: str) -> str:
    value = told.text(name)
    url = urlsplit(value)
    is_here = url.hostname in ("127.0.0.1", "::1", "localhost")
    if not url.hostname or (url.scheme != "https" and not (is_here and url.scheme == "http")):
        raise PartnersError(f"{told.at(name)} is an https URL")
    return value
