"""The door, put together: what proves who somebody is, and what seals what is personal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from bels.access.clients import SECRET_DIGEST
from bels.access.doorkeeper import Doorkeeper, Network
from bels.access.oidc import Oidc
from bels.access.passwords import Passwords
from bels.access.people import LOGIN_DIGEST, OIDC_DIGEST
from bels.access.personal import CONTACTS_KEY
from bels.access.raw_texts import RawTexts
from bels.access.throttle import ATTEMPT_DIGEST, Throttle
from bels.access.tokens import Tokens
from bels.access.vault import Vault

RAW_KEY = "raw messages"
SENDER_KEY = "senders"
NAMED_KEYS = (
    RAW_KEY,
    CONTACTS_KEY,
    LOGIN_DIGEST,
    OIDC_DIGEST,
    SECRET_DIGEST,
    ATTEMPT_DIGEST,
    "sessions",
    "sessions-next",
    "links",
    "drafts",
    "unsubscribe",
    "link codes",
    "tokens",
    "registers",
)
"""All named keys that serving asks for; the first use of one takes a connection of its own."""


@dataclass(frozen=True, slots=True)
class Door:
    """What a process needs to know who asks. ``local``: whoever asks from this machine without a credential is its developer."""

    vault: Vault
    tokens: Tokens
    doorkeeper: Doorkeeper
    throttle: Throttle
    passwords: Passwords
    raw_texts: RawTexts
    sender_key: bytes
    oidc: Oidc | None
    local: bool

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear of changes of rights while this is open."""
        async with self.doorkeeper.running():
            yield


async def sender_key(pool: asyncpg.Pool, vault: Vault) -> bytes:
    """Give the key of senders' digests: the one that older databases have in clear moves into the vault, and is cleared there.

    :raises MasterKeyError: the master key is another one.
    """
    async with pool.acquire() as db:
        clear = bytes(await db.fetchval("SELECT sender_key FROM installation"))
        if not clear:
            return await vault.named_key(SENDER_KEY)
        key = await vault.adopt(SENDER_KEY, clear)
        await db.execute("UPDATE installation SET sender_key = ''")
    return key


async def opened_door(
    pool: asyncpg.Pool,
    vault: Vault,
    *,
    url: str,
    issuer: str,
    local: bool,
    trusted_proxies: tuple[Network, ...] = (),
    oidc: Oidc | None = None,
    clock: Callable[[], datetime],
) -> Door:
    """Put the door together; everything that needs the master key is read now, so that a wrong one shows at the start.

    :raises MasterKeyError: the master key is another one.
    """
    await vault.load(*NAMED_KEYS)
    tokens = Tokens(pool, vault, issuer, clock)
    doorkeeper = Doorkeeper(
        pool, vault, tokens, url=url, local=local, trusted_proxies=trusted_proxies, oidc=oidc, clock=clock
    )
    return Door(
        vault=vault,
        tokens=tokens,
        doorkeeper=doorkeeper,
        throttle=Throttle(pool, vault, clock),
        passwords=Passwords(),
        raw_texts=RawTexts(await vault.named_key(RAW_KEY)),
        sender_key=await sender_key(pool, vault),
        oidc=oidc,
        local=local,
    )
