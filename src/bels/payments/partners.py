"""Partners as their contracts say: limits, commissions, addresses, and the parts of each protocol, as data (partners 1.7).

A partner is a client of ``bels client add`` (kind partner); the table says what is agreed with it beyond its scopes:

    [partner.sber]
    client = "c-abcdefghijklmnop"
    title = "Сбербанк"
    addresses = ["194.54.14.0/24"]   # from where its requests may come; everywhere where absent
    minimum = "1.00"
    maximum = "15000.00"
    unknown_accounts = "refuse"      # online: the payer keeps the money; "keep": it is kept unallocated
    looks_a_day = 50000              # accounts that it may look at in a day before payments, by every way together

    [[partner.sber.commission]]      # what the payer pays on top, newest row in force
    since = 2026-01-01
    method = "CARD"                  # absent: any
    percent = "1.0"
    minimum = "0.00"
    maximum = "100.00"

Every other table of a partner (``osmp``, ``eps``, ``registers``, ...) belongs to the protocol of its name, which reads it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from bels.domain.money import AMOUNT_MAX, ZERO, is_amount, to_kopecks
from bels.domain.terms import Money

PARTNERS_MAX = 500
FILE_BYTES_MAX = 1_000_000
TITLE_LENGTH_MAX = 100
COMMISSIONS_MAX = 100
PERCENT_MAX = Decimal(100)
LOOKS_A_DAY, LOOKS_A_DAY_MAX = 50_000, 900_000
"""A supplier's busiest bank asks some twice before each payment; who needs more says so in its contract."""

SECTIONS = ("osmp", "eps", "registers", "exchange", "charges", "moneta", "reconciliation", "webhooks")
"""The tables of protocols; another name is a slip of the pen."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_FIELDS = frozenset(
    ("client", "title", "addresses", "minimum", "maximum", "unknown_accounts", "looks_a_day", "commission", *SECTIONS)
)
_COMMISSION_FIELDS = frozenset(("since", "method", "percent", "minimum", "maximum"))

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PartnersError(ValueError):
    """The table of partners cannot be used; the sentence is for the operator."""


@dataclass(frozen=True, slots=True)
class Commission:
    """What the payer pays on top from a day on: ``percent`` of the amount, in roubles at least ``minimum``, at most ``maximum``."""

    since: date
    percent: Decimal
    method: str | None = None
    minimum: Money = ZERO
    maximum: Money | None = None


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner and what is agreed with it: sums in roubles, None where there is no bound. ``client`` is its name at the door."""

    client: str
    name: str
    title: str
    minimum: Money | None = None
    maximum: Money | None = None
    refuses_unknown: bool = False
    commissions: tuple[Commission, ...] = ()
    addresses: tuple[Network, ...] = ()
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    looks_a_day: int = LOOKS_A_DAY

    @property
    def actor(self) -> str:
        """Name the partner in the journal, as its token does."""
        return f"partner:{self.client}"

    def message_id(self, payment_id: str) -> str:
        """Name its payment for ever: ids are its own, another partner's same id is another payment."""
        return f"{self.client}/{payment_id}"

    def may_come_from(self, address: str) -> bool:
        """Say whether its requests may come from an address."""
        if not self.addresses:
            return True
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.addresses)


@dataclass(frozen=True, slots=True)
class Partners:
    """All partners with a contract in the table; another client has the terms of nobody in particular."""

    partners: tuple[Partner, ...] = ()

    def of(self, client: str) -> Partner:
        """Give the partner that a client is."""
        return next((each for each in self.partners if each.client == client), Partner(client, client, client))

    def named(self, name: str) -> Partner | None:
        """Find a partner by its name in the table."""
        return next((each for each in self.partners if each.name == name), None)


def read_partners(path: Path) -> Partners:
    """Read the table of partners.

    :raises PartnersError: it cannot be used.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise PartnersError(f"{path} has more than {FILE_BYTES_MAX} bytes")
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PartnersError(f"{path} cannot be read: {error}") from error
    return partners_of(table)


def partners_of(table: Mapping[str, Any]) -> Partners:
    """Read a table of partners that was read already.

    :raises PartnersError: it cannot be used.
    """
    unknown = set(table) - {"partner"}
    told = table.get("partner", {})
    if unknown or not isinstance(told, dict):
        raise PartnersError("every table is [partner.NAME] or stands in one")
    if len(told) > PARTNERS_MAX:
        raise PartnersError(f"there are more than {PARTNERS_MAX} partners")
    partners = tuple(_partner(name, of) for name, of in told.items())
    clients = [each.client for each in partners]
    twice = next((client for client in clients if clients.count(client) > 1), None)
    if twice is not None:
        raise PartnersError(f"the client {twice} is two partners")
    return Partners(partners)


def _partner(name: str, told: object) -> Partner:
    where = f"partner.{name}"
    if not _NAME.fullmatch(name):
        raise PartnersError(f"{where}: a name is a small letter and up to 39 small letters, digits, _ and -")
    if not isinstance(told, dict):
        raise PartnersError(f"{where} is not a table")
    unknown = sorted(set(told) - _FIELDS)
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is unknown: {', '.join(sorted(_FIELDS))}")
    client, title = told.get("client"), told.get("title", name)
    if not (isinstance(client, str) and 0 < len(client) <= 40 and client.isprintable()):
        raise PartnersError(f"{where}.client is the id that `bels client add` gave")
    if not (isinstance(title, str) and 0 < len(title) <= TITLE_LENGTH_MAX and title.isprintable()):
        raise PartnersError(f"{where}.title is 1 to {TITLE_LENGTH_MAX} printable characters")
    unknown_accounts = told.get("unknown_accounts", "keep")
    if unknown_accounts not in ("keep", "refuse"):
        raise PartnersError(f'{where}.unknown_accounts is "keep" or "refuse"')
    looks_a_day = told.get("looks_a_day", LOOKS_A_DAY)
    if not (type(looks_a_day) is int and 1 <= looks_a_day <= LOOKS_A_DAY_MAX):
        raise PartnersError(f"{where}.looks_a_day is 1 to {LOOKS_A_DAY_MAX}")
    rows = told.get("commission", [])
    if not isinstance(rows, list) or len(rows) > COMMISSIONS_MAX:
        raise PartnersError(f"{where}.commission is a list of at most {COMMISSIONS_MAX} tables")
    sections = {section: told[section] for section in SECTIONS if section in told}
    bad = next((section for section, of in sections.items() if not isinstance(of, dict)), None)
    if bad is not None:
        raise PartnersError(f"{where}.{bad} is not a table")
    return Partner(
        client,
        name,
        title,
        _sum(told, "minimum", where),
        _sum(told, "maximum", where),
        unknown_accounts == "refuse",
        tuple(_commission(row, f"{where}.commission") for row in rows),
        _networks(told.get("addresses", []), where),
        sections,
        looks_a_day,
    )


def _commission(told: object, where: str) -> Commission:
    if not isinstance(told, dict) or set(told) - _COMMISSION_FIELDS:
        raise PartnersError(f"{where} has {', '.join(sorted(_COMMISSION_FIELDS))} and nothing else")
    since, method = told.get("since"), told.get("method")
    if type(since) is not date:
        raise PartnersError(f"{where}.since is a day, like 2026-01-01")
    if method is not None and not (isinstance(method, str) and method):
        raise PartnersError(f"{where}.method is a word, or absent")
    try:
        percent = Decimal(told.get("percent", "0")) if isinstance(told.get("percent", "0"), str) else None
    except InvalidOperation:
        percent = None
    if percent is None or not (percent.is_finite() and 0 <= percent <= PERCENT_MAX):
        raise PartnersError(f'{where}.percent is a text of 0 to {PERCENT_MAX}, like "1.5"')
    return Commission(since, percent, method, _sum(told, "minimum", where) or ZERO, _sum(told, "maximum", where))


def _sum(told: Mapping[str, Any], name: str, where: str) -> Money | None:
    if name not in told:
        return None
    try:
        amount = Decimal(told[name]) if isinstance(told[name], str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not (amount == 0 or is_amount(amount)):
        raise PartnersError(f'{where}.{name} is a text of roubles up to {AMOUNT_MAX}, like "15000.00"')
    return to_kopecks(amount)


def _networks(told: object, where: str) -> tuple[Network, ...]:
    if not isinstance(told, list) or not all(isinstance(each, str) for each in told):
        raise PartnersError(f"{where}.addresses is a list of networks")
    try:
        return tuple(ipaddress.ip_network(each) for each in told)
    except ValueError as error:
        raise PartnersError(f"{where}.addresses: {error}") from error
