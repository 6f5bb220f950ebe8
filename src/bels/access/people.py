"""People: consumers and staff, how they log in, and what is left of one who is revoked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from unicodedata import normalize

from asyncpg import Record

from bels.access import acts
from bels.access.acts import Act
from bels.access.callers import Kind
from bels.access.store import tell_change
from bels.access.vault import Vault
from bels.domain.terms import Channel
from bels.journal.write import Db

PEOPLE_PAGE_MAX = 1_000
LOGIN_LENGTH_MIN = 3
LOGIN_LENGTH_MAX = 254
ID_LENGTH = 16

CHANNELS = {
    Kind.CONSUMER: Channel.WEB,
    Kind.OPERATOR: Channel.OFFICE,
    Kind.INSPECTOR: Channel.INSPECTOR,
    Kind.AUDITOR: Channel.OFFICE,
    Kind.ADMINISTRATOR: Channel.OFFICE,
}
"""The kinds of people, and the channel that each of them is."""

LOGIN_DIGEST = "login"
OIDC_DIGEST = "oidc"
LOGIN_SEALED = "login"

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PERSON = re.compile(r"u-[a-z2-7]{16}", re.ASCII)
_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?:\+?7|8)?(9[0-9]{9})", re.ASCII)
_PHONE_LAYOUT = re.compile(r"[\s().-]+")
_NICKNAME = re.compile(r"[a-z0-9][a-z0-9._-]*|[а-яё0-9][а-яё0-9._-]*")


class LoginError(ValueError):
    """The text cannot be a login; the sentence is Russian and says how to do it right."""


class LoginTaken(Exception):
    """Somebody has this login, or this identity at the provider, already."""


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A consumer or one of the staff; ``password`` is a hash, None where another provider or nobody lets them in."""

    person: str
    kind: Kind
    grants: tuple[str, ...]
    password: str | None = field(repr=False)
    must_change: bool
    created_at: datetime
    revoked_at: datetime | None


def new_id(letter: str) -> str:
    """Make a name that says nothing, 80 random bits: ``u-`` for people, ``c-`` for clients."""
    return f"{letter}-{''.join(secrets.choice(_ID_LETTERS) for _ in range(ID_LENGTH))}"


def new_person_id() -> str:
    """Make a person's name in tokens, events and acts."""
    return new_id("u")


def normalised_login(text: str) -> str:
    """Give the one form of a login that is an e-mail, a mobile phone or a name.

    :raises LoginError: it is none of them.
    """
    if len(text) <= LOGIN_LENGTH_MAX:
        plain = normalize("NFKC", text).strip().lower()
        phone = _PHONE.fullmatch(_PHONE_LAYOUT.sub("", plain))
        if phone is not None:
            return f"+7{phone.group(1)}"
        if LOGIN_LENGTH_MIN <= len(plain) <= LOGIN_LENGTH_MAX and (
            _EMAIL.fullmatch(plain) or _NICKNAME.fullmatch(plain)
        ):
            return plain
    raise LoginError(
        f"Логин — это электронная почта, мобильный телефон или имя из букв, цифр, точек и дефисов, от {LOGIN_LENGTH_MIN} до "
        f"{LOGIN_LENGTH_MAX} знаков. Например: ivanova@example.ru, +79031234567, ivanova-1968."
    )


async def add_person(
    db: Db,
    vault: Vault,
    kind: Kind,
    *,
    login: str | None,
    password_hash: str | None,
    grants: tuple[str, ...] = (),
    oidc: tuple[str, str] | None = None,
    must_change: bool = False,
) -> str:
    """Add a person and give its name; the act (added, or registered) is the caller's to record.

    ``oidc`` is issuer and subject at an OpenID provider. The login of somebody who is revoked is free.

    :raises LoginError: the login cannot be one.
    :raises LoginTaken: somebody has the login or the identity.
    """
    if kind not in CHANNELS:
        raise ValueError(f"{kind} is no kind of person")
    person, plain = new_person_id(), None if login is None else normalised_login(login)
    login_digest = None if plain is None else await vault.digest(LOGIN_DIGEST, plain)
    oidc_digest = None if oidc is None else await vault.digest(OIDC_DIGEST, _oidc_text(*oidc))
    async with db.transaction():
        await db.execute(
            """
            UPDATE person
            SET login = CASE WHEN login = $1 THEN NULL ELSE login END, oidc = CASE WHEN oidc = $2 THEN NULL ELSE oidc END
            WHERE revoked_at IS NOT NULL AND (login = $1 OR oidc = $2)
            """,
            login_digest,
            oidc_digest,
        )
        added = await db.fetchval(
            """
            INSERT INTO person (person, kind, grants, login, oidc, password, must_change)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT DO NOTHING
            RETURNING person
            """,
            person,
            kind.value,
            list(grants),
            login_digest,
            oidc_digest,
            password_hash,
            must_change,
        )
        if added is None:
            raise LoginTaken
        if plain is not None:
            await db.execute(
                "INSERT INTO personal (subject, sealed, changed_at) VALUES ($1, $2, now())",
                person,
                await vault.seal(db, person, plain.encode(), LOGIN_SEALED),
            )
    return person


async def find_by_login(db: Db, vault: Vault, login: str) -> PersonRow | None:
    """Find whose login it is, revoked or not; None also for what cannot be a login."""
    try:
        plain = normalised_login(login)
    except LoginError:
        plain = ""  # the same work as for a login that nobody has
    return _row(
        await db.fetchrow(f"SELECT {_COLUMNS} FROM person WHERE login = $1", await vault.digest(LOGIN_DIGEST, plain))
    )


async def find_person(db: Db, person: str) -> PersonRow | None:
    """Find a person by name, revoked or not."""
    if not _PERSON.fullmatch(person):
        return None
    return _row(await db.fetchrow(f"SELECT {_COLUMNS} FROM person WHERE person = $1", person))


async def find_by_oidc(db: Db, vault: Vault, issuer: str, subject: str) -> PersonRow | None:
    """Find who a provider's subject is here, revoked or not."""
    digest = await vault.digest(OIDC_DIGEST, _oidc_text(issuer, subject))
    return _row(await db.fetchrow(f"SELECT {_COLUMNS} FROM person WHERE oidc = $1", digest))


async def login_text(db: Db, vault: Vault, person: str) -> str | None:
    """Unseal a person's login; None where there is none, or it was erased."""
    return (await login_texts(db, vault, [person])).get(person)


async def login_texts(db: Db, vault: Vault, people: Sequence[str]) -> dict[str, str]:
    """Unseal the logins of at most ``PEOPLE_PAGE_MAX`` people; whoever has none, or was erased, is left out."""
    rows = await db.fetch("SELECT subject, sealed FROM personal WHERE subject = ANY($1::text[])", people)
    found = await vault.unseal_many(db, {row["subject"]: row["sealed"] for row in rows}, LOGIN_SEALED)
    return {person: login.decode() for person, login in found.items()}


async def set_password(db: Db, person: str, password_hash: str, *, must_change: bool) -> None:
    """Give a person another password; the act (changed, or reset) and the sessions are the caller's."""
    await db.execute(
        "UPDATE person SET password = $2, must_change = $3 WHERE person = $1", person, password_hash, must_change
    )


async def revoke_person(
    db: Db, person: str, *, now: datetime, by: str, reason: str | None = None, request_id: str = ""
) -> bool:
    """Revoke a person with all its sessions; False where there was nothing to revoke.

    Its password is forgotten; its login stays taken until somebody is added under it.
    """
    async with db.transaction():
        revoked = await db.fetchval(
            """
            WITH revoked AS (
                UPDATE person SET revoked_at = $2, password = NULL WHERE person = $1 AND revoked_at IS NULL RETURNING person
            ), ended AS (
                UPDATE session SET revoked_at = $2, reason = $3
                WHERE person IN (SELECT person FROM revoked) AND revoked_at IS NULL
            )
            SELECT person FROM revoked
            """,
            person,
            now,
            Act.USER_REVOKED.value,
        )
        if revoked is None:
            return False
        await acts.record(db, Act.USER_REVOKED, by=by, subject=person, reason=reason, request_id=request_id)
        await tell_change(db, person)
    return True


async def list_people(db: Db, after: str, limit: int, kind: Kind | None = None) -> list[PersonRow]:
    """List people after a name ("" first), in order of their names, at most ``PEOPLE_PAGE_MAX``: all, or of a kind."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM person
        WHERE person > $1 AND ($3::text IS NULL OR kind = $3)
        ORDER BY person LIMIT $2
        """,
        after,
        min(limit, PEOPLE_PAGE_MAX),
        None if kind is None else kind.value,
    )
    return [found for found in map(_row, rows) if found is not None]


_COLUMNS = "person, kind, grants, password, must_change, created_at, revoked_at"


def _row(row: Record | None) -> PersonRow | None:
    if row is None:
        return None
    return PersonRow(**{**row, "kind": Kind(row["kind"]), "grants": tuple(row["grants"])})


def _oidc_text(issuer: str, subject: str) -> str:
    # An issuer is a URL, so the first space ends it.
    return f"{issuer} {subject}"
