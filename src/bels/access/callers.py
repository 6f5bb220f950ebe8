"""Who asks: a kind, the rights that a credential brings, the channel that it is, and the accounts it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from hashlib import blake2b

from bels.domain.terms import Channel, Period, Role


class Kind(StrEnum):
    """The kinds of callers."""

    ANONYMOUS = "ANONYMOUS"
    """No credential: what is public."""
    CONSUMER = "CONSUMER"
    """A person with a cabinet; sees the accounts that are linked to it."""
    LINK = "LINK"
    """Whoever holds a one-task link: one account, one task, once."""
    PARTNER = "PARTNER"
    """A bank or a payment app."""
    GATEWAY = "GATEWAY"
    """SMS, voice, mail, a bot: its credential is its channel."""
    OPERATOR = "OPERATOR"
    INSPECTOR = "INSPECTOR"
    AUDITOR = "AUDITOR"
    """Reads everything but personal data, and changes nothing."""
    ADMINISTRATOR = "ADMINISTRATOR"
    """Gives and takes credentials and keys; sees no account."""
    LOCAL = "LOCAL"
    """The developer at this machine, where ``bels serve --local`` was asked for: everything."""


STAFF = frozenset({Kind.OPERATOR, Kind.INSPECTOR, Kind.AUDITOR, Kind.ADMINISTRATOR})
"""Whose every read is recorded."""


class Right(Flag):
    """What a credential brings. The table in ``rights.txt`` says which of them each field of the schema asks for."""

    ANONYMOUS = auto()
    """Everybody has it."""
    PASSWORD = auto()
    """People who sign in here: their own password and sessions, also while they must change the password."""
    CONSUMER = auto()
    LINK_READING = auto()
    LINK_BILL = auto()
    PARTNER_READINGS = auto()
    """Scope ``readings:write``."""
    PARTNER_PAYMENTS = auto()
    """Scope ``payments:write``."""
    PARTNER_REGISTERS = auto()
    """Scope ``registers:read``."""
    GATEWAY = auto()
    OPERATOR = auto()
    """Accounts, readings, the work lists."""
    OPERATOR_MONEY = auto()
    """Grant ``money``: refunds, reversals, moves."""
    OPERATOR_RULES = auto()
    """Grant ``rules``: publishing tariffs, closing periods."""
    OPERATOR_PEOPLE = auto()
    """Grant ``people``: personal data, forgotten passwords, cabinets."""
    INSPECTOR = auto()
    AUDITOR = auto()
    ADMINISTRATOR = auto()


SCOPES = {
    "readings:write": Right.PARTNER_READINGS,
    "payments:write": Right.PARTNER_PAYMENTS,
    "registers:read": Right.PARTNER_REGISTERS,
}
"""What a partner may be given, as it stands in its token."""

GRANTS = {"money": Right.OPERATOR_MONEY, "rules": Right.OPERATOR_RULES, "people": Right.OPERATOR_PEOPLE}
"""What an operator may be given beside the daily work."""

TASKS = {"reading": Right.LINK_READING, "bill": Right.LINK_BILL}
"""What a one-task link may be for."""

EVERYTHING = ~Right(0)

_OF_KIND = {
    Kind.CONSUMER: Right.CONSUMER,
    Kind.GATEWAY: Right.GATEWAY,
    Kind.OPERATOR: Right.OPERATOR,
    Kind.INSPECTOR: Right.INSPECTOR,
    Kind.AUDITOR: Right.AUDITOR,
    Kind.ADMINISTRATOR: Right.ADMINISTRATOR,
}


PEOPLE = frozenset({Kind.CONSUMER, *STAFF})
"""Who is a person, with sessions of its own."""


def rights_of(kind: Kind, given: tuple[str, ...] = ()) -> Right:
    """Give the rights of a kind with these scopes, grants or tasks; a word that is none of its kind gives nothing."""
    words = {Kind.PARTNER: SCOPES, Kind.OPERATOR: GRANTS, Kind.LINK: TASKS}.get(kind, {})
    found = Right.ANONYMOUS | _OF_KIND.get(kind, Right(0)) | (Right.PASSWORD if kind in PEOPLE else Right(0))
    for word in given:
        found |= words.get(word, Right(0))
    return EVERYTHING if kind is Kind.LOCAL else found


@dataclass(frozen=True, slots=True)
class Sight:
    """From where on an account is seen: entries after ``entry``, periods from ``period`` on (None: all).

    Whoever takes a flat over sees nothing of what was before: not a reading, a bill, a payment or a name.
    """

    entry: int = 0
    period: Period | None = None


WHOLE = Sight()

ROLES = {
    Kind.CONSUMER: Role.CONSUMER,
    Kind.LINK: Role.CONSUMER,
    Kind.GATEWAY: Role.CONSUMER,
    Kind.PARTNER: Role.AGENT,
    Kind.OPERATOR: Role.OPERATOR,
    Kind.INSPECTOR: Role.INSPECTOR,
}
"""In which role the domain meets a caller; auditors and administrators never come that far."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks: the channel that the credential is, the actor's name without personal data, and what it may.

    ``sights`` are the accounts it sees; None where its task needs every account. ``session`` names what can be revoked
    (a session, a client), "" where nothing can. ``expires_at`` is when its token ends, in seconds of the epoch.
    """

    kind: Kind
    subject: str
    rights: Right
    channel: Channel
    actor: str
    sights: Mapping[str, Sight] | None = field(default=None, hash=False)
    session: str = ""
    expires_at: float | None = None

    def sight(self, account: str) -> Sight | None:
        """Say from where on it sees an account; None where it does not, which is told as if there were none."""
        return WHOLE if self.sights is None else self.sights.get(account)

    def message_id(self, key: str) -> str:
        """Name a message for ever: the same key of another credential is another message."""
        return key if self.kind is Kind.LOCAL else f"{self.subject}/{key}"


ANONYMOUS = Caller(Kind.ANONYMOUS, "", Right.ANONYMOUS, Channel.WEB, "anonymous", {})

LOCAL = Caller(Kind.LOCAL, "local", EVERYTHING, Channel.WEB, "local:consumer")
"""The developer at this machine: every operation is allowed, each under the role that it belongs to."""

LOCAL_CALLERS: dict[Role, Caller] = {
    Role.CONSUMER: LOCAL,
    Role.AGENT: Caller(Kind.LOCAL, "local", EVERYTHING, Channel.BANK, "local:agent"),
    Role.OPERATOR: Caller(Kind.LOCAL, "local", EVERYTHING, Channel.OFFICE, "local:operator"),
    Role.INSPECTOR: Caller(Kind.LOCAL, "local", EVERYTHING, Channel.INSPECTOR, "local:inspector"),
    Role.SYSTEM: Caller(Kind.LOCAL, "local", EVERYTHING, Channel.CLOSING, "local:operator"),
}

SENDER_DIGEST_SIZE = 16


def sender_digest(address: str, key: bytes) -> str:
    """Digest a phone, chat or e-mail under this installation's key, so that no address stands in an event."""
    return blake2b(address.strip().lower().encode(), key=key, digest_size=SENDER_DIGEST_SIZE).hexdigest()
