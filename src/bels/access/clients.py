"""Clients: partners and gateways, each with a channel that it is and a secret that is shown once."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from zlib import crc32

from asyncpg import Record

from bels.access import acts
from bels.access.acts import Act
from bels.access.callers import LOCAL, SCOPES, Kind
from bels.access.people import new_id
from bels.access.store import tell_change
from bels.access.vault import Vault
from bels.domain.terms import Channel
from bels.journal.write import Db

CLIENTS_PAGE_MAX = 1_000
NAME_LENGTH_MAX = 100
KEEP_S_MAX = 30 * 24 * 3600
SECRET_BYTES = 32

CHANNELS = {
    Kind.PARTNER: (Channel.BANK,),
    Kind.GATEWAY: (Channel.SMS, Channel.VOICE, Channel.EMAIL, Channel.TELEGRAM, Channel.MAX, Channel.GIS),
}
"""The kinds of clients, and the channels that one of them can be."""

SECRET_DIGEST = "client_secret"  # noqa: S105 - the name of a key

_CLIENT = re.compile(r"c-[a-z2-7]{16}", re.ASCII)
_SECRET = re.compile(r"(bels_[A-Za-z0-9_-]{43})([0-9a-f]{8})", re.ASCII)
_CERTIFICATE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ClientError(ValueError):
    """A client cannot be added or changed so; the sentence says why."""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A partner or a gateway; ``certificate`` is the SHA-256 of its TLS certificate in hex, None where none is asked for."""

    client: str
    kind: Kind
    name: str
    channel: Channel
    scopes: tuple[str, ...]
    certificate: str | None
    created_at: datetime
    revoked_at: datetime | None


def new_secret() -> str:
    """Make a secret: ``bels_``, 256 random bits, and their CRC-32, by which scanners know one that has leaked."""
    body = f"bels_{secrets.token_urlsafe(SECRET_BYTES)}"
    return f"{body}{crc32(body.encode()):08x}"


def certificate_given(text: str) -> str:
    """Give a certificate's SHA-256 as it is stored: hex in small letters, no colons.

    :raises ClientError: it is not one.
    """
    plain = text.replace(":", "").lower()
    if not _CERTIFICATE.fullmatch(plain):
        raise ClientError("a certificate is named by its SHA-256: 64 hexadecimal digits, with or without colons")
    return plain


async def add_client(
    db: Db,
    vault: Vault,
    kind: Kind,
    name: str,
    channel: Channel,
    scopes: tuple[str, ...] = (),
    certificate: str | None = None,
    *,
    by: str = LOCAL.subject,
    request_id: str = "",
) -> tuple[str, str]:
    """Add a client and give its name and its secret, which nobody can give again.

    :raises ClientError: the kind cannot be that channel or have those scopes, or the name or certificate is none.
    """
    if kind not in CHANNELS:
        raise ClientError(f"{kind.value} is no kind of client: {' or '.join(each.value for each in CHANNELS)}")
    if channel not in CHANNELS[kind]:
        channels = ", ".join(each.value for each in CHANNELS[kind])
        raise ClientError(f"a {kind.value.lower()} cannot be the channel {channel.value}: {channels}")
    unknown = [each for each in scopes if kind is not Kind.PARTNER or each not in SCOPES]
    if unknown:
        known = ", ".join(SCOPES) if kind is Kind.PARTNER else "it has none, its channel says all"
        raise ClientError(f"a {kind.value.lower()} cannot have the scope {unknown[0][:40]!r}: {known}")
    if not (0 < len(name) <= NAME_LENGTH_MAX and name.isprintable() and name == name.strip()):
        raise ClientError(f"a client's name is 1 to {NAME_LENGTH_MAX} printable characters")
    client, secret = new_id("c"), new_secret()
    digest = await vault.digest(SECRET_DIGEST, secret)
    async with db.transaction():
        await db.execute(
            """
            INSERT INTO client (client, kind, name, channel, scopes, secret, certificate) VALUES ($1, $2, $3, $4, $5, $6, $7)
            """,
            client,
            kind.value,
            name,
            channel.value,
            sorted(set(scopes)),
            digest,
            None if certificate is None else certificate_given(certificate),
        )
        await acts.record(db, Act.CLIENT_ADDED, by=by, subject=client, request_id=request_id)
    return client, secret


async def check_secret(db: Db, vault: Vault, client_id: str, secret: str, now: datetime) -> ClientRow | None:
    """Give the client whose secret it is; None for a wrong secret, a revoked client and an unknown one, after the same work.

    The secret before the last change is right until its time is over.
    """
    digest = await vault.digest(SECRET_DIGEST, secret if _is_secret(secret) else "")
    row = await db.fetchrow(
        f"SELECT {_COLUMNS}, secret, previous, previous_until FROM client WHERE client = $1",
        client_id if _CLIENT.fullmatch(client_id) else "",
    )
    none = bytes(len(digest))
    current: bytes = none if row is None else row["secret"]
    previous: bytes = (
        none if row is None or row["previous"] is None or row["previous_until"] <= now else row["previous"]
    )
    # Both are compared whichever is right: the time says nothing.
    right = compare_digest(digest, current) | compare_digest(digest, previous)
    if row is None or not right or row["revoked_at"] is not None:
        return None
    return _row(row)


async def find_client(db: Db, client: str) -> ClientRow | None:
    """Find a client by name, revoked or not."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM client WHERE client = $1", client if _CLIENT.fullmatch(client) else ""
    )
    return None if row is None else _row(row)


async def payers(db: Db) -> list[tuple[str, str]]:
    """Name whoever may ever have brought a payment, revoked since or not: the channel and the subject of each."""
    rows = await db.fetch(
        """
        SELECT channel, client AS subject FROM client WHERE kind = $1
        UNION ALL SELECT $3, person FROM person WHERE kind = $2
        """,
        Kind.PARTNER.value,
        Kind.OPERATOR.value,
        Channel.OFFICE.value,
    )
    return [(row["channel"], row["subject"]) for row in rows]


async def change_secret(
    db: Db, vault: Vault, client: str, keep_s: float, *, now: datetime, by: str, request_id: str = ""
) -> str:
    """Give a client another secret; the one it has holds on for ``keep_s``, so that the change needs no break.

    Whoever changes it twice lets only the last of the old ones hold on.

    :raises ClientError: there is no such client, it is revoked, or the time is too long.
    """
    if not 0 <= keep_s <= KEEP_S_MAX:
        raise ClientError(f"an old secret holds on for at most {KEEP_S_MAX // 3600} hours")
    secret = new_secret()
    async with db.transaction():
        changed = await db.fetchval(
            """
            UPDATE client SET previous = secret, previous_until = $3, secret = $2
            WHERE client = $1 AND revoked_at IS NULL
            RETURNING client
            """,
            client,
            await vault.digest(SECRET_DIGEST, secret),
            now + timedelta(seconds=keep_s),
        )
        if changed is None:
            raise ClientError(f"there is no client {client[:40]!r} that is not revoked")
        await acts.record(db, Act.CLIENT_SECRET_CHANGED, by=by, subject=client, request_id=request_id)
    return secret


async def revoke_client(
    db: Db,
    client: str,
    *,
    now: datetime,
    by: str,
    reason: str | None = None,
    request_id: str = "",
) -> bool:
    """Revoke a client at once; False where there was nothing to revoke."""
    async with db.transaction():
        revoked = await db.fetchval(
            "UPDATE client SET revoked_at = $2 WHERE client = $1 AND revoked_at IS NULL RETURNING client", client, now
        )
        if revoked is None:
            return False
        await acts.record(db, Act.CLIENT_REVOKED, by=by, subject=client, reason=reason, request_id=request_id)
        await tell_change(db, client)
    return True


async def list_clients(db: Db, after: str, limit: int, kind: Kind | None = None) -> list[ClientRow]:
    """List clients after a name ("" first), in order of their names, at most ``CLIENTS_PAGE_MAX``: all, or of a kind."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM client
        WHERE client > $1 AND ($3::text IS NULL OR kind = $3)
        ORDER BY client LIMIT $2
        """,
        after,
        min(limit, CLIENTS_PAGE_MAX),
        None if kind is None else kind.value,
    )
    return [_row(row) for row in rows]


_COLUMNS = "client, kind, name, channel, scopes, certificate, created_at, revoked_at"


def _is_secret(text: str) -> bool:
    parts = _SECRET.fullmatch(text)
    return parts is not None and f"{crc32(parts.group(1).encode()):08x}" == parts.group(2)


def _row(row: Record) -> ClientRow:
    return ClientRow(
        client=row["client"],
        kind=Kind(row["kind"]),
        name=row["name"],
        channel=Channel(row["channel"]),
        scopes=tuple(row["scopes"]),
        certificate=row["certificate"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
