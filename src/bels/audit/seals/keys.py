"""The Ed25519 keys that sign seals and evidence packs; public halves stay for ever, the newest key signs.

A private half is sealed by the key ``seals`` of the vault: a nonce of 12 random bytes, AES-256-GCM, bound to the key's name.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.access.vault import Damaged, Vault
from bels.audit.seals.statement import key_name
from bels.journal.write import Db

NAMED_KEY = "seals"
"""The key of the vault that wraps the private halves."""

KEYS_MAX = 1_000
"""Keys that an installation draws in its life."""

_LOCK = 0x62656C73_73656B79
_NONCE_SIZE = 12


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public half of 32 raw bytes under its name, and when it was drawn."""

    key: str
    public: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs, by its name."""

    key: str
    private: Ed25519PrivateKey

    def sign(self, data: bytes) -> bytes:
        """Sign, 64 bytes."""
        return self.private.sign(data)


async def public_keys(db: Db) -> dict[str, bytes]:
    """Give every public key there ever was, 32 raw bytes by its name, the oldest first."""
    return {each.key: each.public for each in await list_keys(db)}


async def list_keys(db: Db) -> list[PublicKey]:
    """List every key there ever was, the oldest first."""
    rows = await db.fetch("SELECT key, public, created_at FROM seal_key ORDER BY created_at, key LIMIT $1", KEYS_MAX)
    return [PublicKey(row["key"], row["public"], row["created_at"]) for row in rows]


async def sign(pool: asyncpg.Pool, vault: Vault, data: bytes, now: datetime) -> tuple[str, bytes]:
    """Sign by the newest key, which is drawn where there is none; give its name and the signature of 64 bytes.

    :raises MasterKeyError: the master key is another one.
    :raises Damaged: the private half was changed.
    """
    signer = await find_signer(pool, vault, now)
    return signer.key, signer.sign(data)


async def find_signer(pool: asyncpg.Pool, vault: Vault, now: datetime) -> Signer:
    """Give the newest key, ready to sign; it is drawn where there is none.

    :raises MasterKeyError: the master key is another one.
    :raises Damaged: the private half was changed.
    """
    cipher = AESGCM(await vault.named_key(NAMED_KEY))
    async with pool.acquire() as db:
        row = await _newest(db)
        if row is None:
            row = await _draw(db, cipher, now, only_first=True)
    try:
        raw = cipher.decrypt(row["private"][:_NONCE_SIZE], row["private"][_NONCE_SIZE:], row["key"].encode())
    except InvalidTag:
        raise Damaged(f"the private half of the key {row['key']} was changed") from None
    return Signer(row["key"], Ed25519PrivateKey.from_private_bytes(raw))


async def new_key(pool: asyncpg.Pool, vault: Vault, now: datetime) -> str:
    """Draw a key that signs from now on; give its name.

    :raises MasterKeyError: the master key is another one.
    """
    cipher = AESGCM(await vault.named_key(NAMED_KEY))
    async with pool.acquire() as db:
        return str((await _draw(db, cipher, now, only_first=False))["key"])


def is_signed(public: bytes, data: bytes, signature: bytes) -> bool:
    """Say whether a signature is of this public key over these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


async def _newest(db: Db) -> asyncpg.Record | None:
    return await db.fetchrow("SELECT key, private FROM seal_key ORDER BY created_at DESC, key DESC LIMIT 1")


async def _draw(db: Db, cipher: AESGCM, now: datetime, *, only_first: bool) -> asyncpg.Record:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key, nonce = key_name(public), secrets.token_bytes(_NONCE_SIZE)
    async with db.transaction():
        # Of two processes that find no key one draws it; the other waits here, and then finds it.
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        found = await _newest(db) if only_first else None
        if found is None:
            found = await db.fetchrow(
                # A clock that was put back must not let an older key sign again.
                """
                INSERT INTO seal_key (key, public, private, created_at)
                SELECT $1, $2, $3, greatest($4, max(created_at) + interval '1 microsecond') FROM seal_key
                RETURNING key, private
                """,
                key,
                public,
                nonce + cipher.encrypt(nonce, private.private_bytes_raw(), key.encode()),
                now,
            )
    assert found is not None  # noqa: S101 - whoever inserts gets a row
    return found
