"""The vault: keys of subjects, which seal what is personal and are destroyed to erase it, and keys of the installation.

A subject is a tenure of an account (``1000101/1``) or a person (``u-...``). Its key stands in ``bels_keys.data_key``, wrapped by
the master key. Sealed is: the byte 1, a nonce of 12 random bytes, AES-256-GCM; bound to its subject and to what it is.

A key that was destroyed stays known to no process for longer than ``KEPT_S``: this process forgets it at once, others as
``ACCESS_CHANGES`` tells them its subject (whoever listens there calls ``forget``). In PostgreSQL its old row is gone with the
next vacuum, and from the backups of the keys when the last of them is thrown away.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bels.access.master_key import KEY_SIZE, NONCE_SIZE, MasterKey, Wrapped
from bels.access.store import tell_change
from bels.journal.write import Db

KEPT_S = 60.0
KEPT_MAX = 10_000
REWRAP_PAGE = 500
SUBJECT_LENGTH_MAX = 100
UNSEAL_MAX = 1_000

_VERSION = b"\x01"
_SEALED_MIN = len(_VERSION) + NONCE_SIZE + 16


class VaultError(Exception):
    """What is sealed cannot be read; the sentence names the subject, never what it holds."""


class KeyDestroyed(VaultError):
    """The subject's key was destroyed: its data is erased for ever."""


class NoSuchKey(VaultError):
    """The subject never had a key here: its data came from elsewhere, or the keys were lost."""


class Damaged(VaultError):
    """The sealed bytes were changed, or belong to another subject or another place."""


@dataclass(frozen=True, slots=True)
class _Kept:
    wrapped: bytes
    cipher: AESGCM
    until: float


class Vault:
    """Keys of subjects and of the installation. Nothing is read before it is asked for.

    Ask for the named keys at the start (``load``): the first use of one takes a connection of the pool.
    """

    def __init__(
        self, pool: asyncpg.Pool, master: MasterKey, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._master = master
        self._monotonic = monotonic
        self._named: dict[str, bytes] = {}
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._forgotten = 0

    @property
    def master(self) -> str:
        """The name of the master key that wraps now."""
        return self._master.name

    async def load(self, *names: str) -> None:
        """Have these named keys at hand; it also shows whether the master key is the right one.

        :raises MasterKeyError: it is not.
        """
        for name in names:
            await self.named_key(name)

    async def named_key(self, name: str) -> bytes:
        """Give a key of the installation, 32 bytes; it is drawn at first use.

        :raises MasterKeyError: the master key is another one.
        """
        key = self._named.get(name)
        if key is None:
            row = await self._named_row(name)
            if row is None:
                row = await self._new_named_row(name, secrets.token_bytes(KEY_SIZE))
            unwrapped = await self._master.unwrap(row["wrapped"], row["master"], _of_name(name))
            # Another task may have been quicker; both have read the one row that counts.
            key = self._named.setdefault(name, unwrapped)
        return key

    async def adopt(self, name: str, key: bytes) -> bytes:
        """Take a key that is there already as a named one, unless there is one of that name; give the one that counts.

        :raises MasterKeyError: the master key is another one.
        """
        if len(key) != KEY_SIZE:
            raise ValueError(f"a named key has {KEY_SIZE} bytes, not {len(key)}")
        if name not in self._named and await self._named_row(name) is None:
            await self._new_named_row(name, key)
        return await self.named_key(name)

    async def digest(self, name: str, text: str) -> bytes:
        """Digest a text under a named key: HMAC-SHA256, 32 bytes.

        :raises MasterKeyError: the master key is another one.
        """
        # A lone surrogate is no reason to fail: it is a text that nobody has.
        return hmac.digest(await self.named_key(name), text.encode("utf-8", "surrogatepass"), "sha256")

    async def seal(self, db: Db, subject: str, plain: bytes, about: str) -> bytes:
        """Seal under the subject's key, which is made where it is missing, in the transaction of ``db``.

        Until that transaction ends the key cannot be destroyed, so nothing is ever sealed by a key that is no more.

        :raises KeyDestroyed: the subject was erased.
        :raises MasterKeyError: the master key is another one.
        """
        cipher = await self._sealing_cipher(db, subject)
        nonce = secrets.token_bytes(NONCE_SIZE)
        return _VERSION + nonce + cipher.encrypt(nonce, plain, _bound(subject, about))

    async def unseal(self, db: Db, subject: str, sealed: bytes, about: str) -> bytes:
        """Give what was sealed for this subject and about this.

        :raises KeyDestroyed: the subject was erased.
        :raises NoSuchKey: the subject has no key.
        :raises Damaged: the bytes were changed, or sealed for another subject or about something else.
        :raises MasterKeyError: the master key is another one.
        """
        plain = (await self.unseal_many(db, {subject: sealed}, about)).get(subject)
        if plain is None:
            raise KeyDestroyed(f"the key of {subject} was destroyed")
        return plain

    async def unseal_many(self, db: Db, sealed: Mapping[str, bytes], about: str) -> dict[str, bytes]:
        """Give what was sealed, by subject; of those who were erased there is nothing.

        :raises NoSuchKey: a subject has no key.
        :raises Damaged: some bytes were changed, or sealed for another subject or about something else.
        :raises MasterKeyError: the master key is another one.
        """
        if len(sealed) > UNSEAL_MAX:
            raise ValueError(f"{len(sealed)} subjects at once, {UNSEAL_MAX} at most")
        at_hand = {subject: kept for subject in sealed if (kept := self._at_hand(subject)) is not None}
        plain: dict[str, bytes] = {}
        for subject, kept in at_hand.items():
            try:
                plain[subject] = _open(kept.cipher, subject, sealed[subject], about)
            except Damaged:
                # What is kept may be the key of a transaction that was undone: the row is asked before it is said.
                self._kept.pop(subject, None)
        ciphers = await self._read_ciphers(db, [subject for subject in sealed if subject not in plain])
        for subject, found in ciphers.items():
            plain[subject] = _open(found, subject, sealed[subject], about)
        return plain

    async def destroy(self, db: Db, subject: str) -> bool:
        """Destroy the subject's key, in the transaction of ``db``; say whether there was one. It never gets another."""
        was = await db.fetchval(
            """
            UPDATE bels_keys.data_key SET wrapped = NULL, destroyed_at = now()
            WHERE subject = $1 AND wrapped IS NOT NULL RETURNING true
            """,
            subject,
        )
        self.forget(subject)
        await tell_change(db, subject)
        return was is not None

    def forget(self, subject: str) -> None:
        """Forget the subject's key in this process, as it was destroyed by one of them."""
        self._kept.pop(subject, None)
        # Whoever is reading a key just now does not keep it.
        self._forgotten += 1

    async def rewrap(self, *, everything: bool = False) -> int:
        """Wrap by the current master key what another one wraps, or everything; give how many keys.

        It goes page by page, each a statement of its own: one that was stopped is begun again and does the rest. A key that is
        destroyed meanwhile stays destroyed.

        :raises MasterKeyError: a key cannot be unwrapped; the pages before it are done.
        """
        return await self._rewrap(
            """
            SELECT name AS id, master, wrapped FROM bels_keys.named_key
            WHERE name > $1 AND ($2 OR master <> $3) ORDER BY name LIMIT $4
            """,
            """
            UPDATE bels_keys.named_key k SET master = $1, wrapped = new.wrapped
            FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS new (id, before, wrapped)
            WHERE k.name = new.id AND k.wrapped = new.before
            """,
            _of_name,
            everything,
        ) + await self._rewrap(
            """
            SELECT subject AS id, master, wrapped FROM bels_keys.data_key
            WHERE subject > $1 AND ($2 OR master <> $3) AND wrapped IS NOT NULL ORDER BY subject LIMIT $4
            """,
            """
            UPDATE bels_keys.data_key k SET master = $1, wrapped = new.wrapped
            FROM unnest($2::text[], $3::bytea[], $4::bytea[]) AS new (id, before, wrapped)
            WHERE k.subject = new.id AND k.wrapped = new.before
            """,
            _of_subject,
            everything,
        )

    async def _rewrap(self, page: str, write: str, about: Callable[[str], str], everything: bool) -> int:
        done, after = 0, ""
        while rows := await self._pool.fetch(page, after, everything, self._master.name, REWRAP_PAGE):
            ids = [row["id"] for row in rows]
            before = [row["wrapped"] for row in rows]
            keys = await self._master.unwrap_many([Wrapped(r["wrapped"], r["master"], about(r["id"])) for r in rows])
            wrapped = await self._master.wrap_many([(key, about(each)) for key, each in zip(keys, ids, strict=True)])
            tag = await self._pool.execute(write, self._master.name, ids, before, wrapped)
            done += int(tag.rpartition(" ")[2])
            after = ids[-1]
        return done

    async def _named_row(self, name: str) -> asyncpg.Record | None:
        return await self._pool.fetchrow("SELECT master, wrapped FROM bels_keys.named_key WHERE name = $1", name)

    async def _new_named_row(self, name: str, key: bytes) -> asyncpg.Record:
        await self._pool.execute(
            "INSERT INTO bels_keys.named_key (name, master, wrapped) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            name,
            self._master.name,
            await self._master.wrap(key, _of_name(name)),
        )
        row = await self._named_row(name)
        assert row is not None  # noqa: S101 - named keys are never deleted
        return row

    async def _sealing_cipher(self, db: Db, subject: str) -> AESGCM:
        if not 1 <= len(subject) <= SUBJECT_LENGTH_MAX:
            raise ValueError(f"a subject has 1 to {SUBJECT_LENGTH_MAX} characters")
        row = await _locked(db, subject)
        if row is None:
            key = secrets.token_bytes(KEY_SIZE)
            # Whoever makes it at the same time is waited for; then there is a row, and it is theirs.
            await db.execute(
                "INSERT INTO bels_keys.data_key (subject, master, wrapped) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                subject,
                self._master.name,
                await self._master.wrap(key, _of_subject(subject)),
            )
            row = await _locked(db, subject)
        if row is None:
            _no_such_key(subject)
        if row["wrapped"] is None:
            raise KeyDestroyed(f"the key of {subject} was destroyed")
        kept = self._at_hand(subject)
        if kept is not None and kept.wrapped == row["wrapped"]:
            return kept.cipher
        return AESGCM(await self._master.unwrap(row["wrapped"], row["master"], _of_subject(subject)))

    def _at_hand(self, subject: str) -> _Kept | None:
        kept = self._kept.get(subject)
        if kept is not None and kept.until <= self._monotonic():
            del self._kept[subject]
            return None
        return kept

    async def _read_ciphers(self, db: Db, subjects: Sequence[str]) -> dict[str, AESGCM]:
        if not subjects:
            return {}
        forgotten = self._forgotten
        rows = await db.fetch(
            "SELECT subject, master, wrapped FROM bels_keys.data_key WHERE subject = ANY($1::text[])", subjects
        )
        if len(rows) < len(subjects):
            _no_such_key(min(set(subjects) - {row["subject"] for row in rows}))
        living = [row for row in rows if row["wrapped"] is not None]
        keys = await self._master.unwrap_many(
            [Wrapped(row["wrapped"], row["master"], _of_subject(row["subject"])) for row in living]
        )
        ciphers = {row["subject"]: AESGCM(key) for row, key in zip(living, keys, strict=True)}
        if forgotten == self._forgotten:
            self._keep((row["subject"], row["wrapped"], ciphers[row["subject"]]) for row in living)
        return ciphers

    def _keep(self, found: Iterable[tuple[str, bytes, AESGCM]]) -> None:
        until = self._monotonic() + KEPT_S
        for subject, wrapped, cipher in found:
            self._kept[subject] = _Kept(wrapped, cipher, until)
            self._kept.move_to_end(subject)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


async def _locked(db: Db, subject: str) -> asyncpg.Record | None:
    return await db.fetchrow("SELECT master, wrapped FROM bels_keys.data_key WHERE subject = $1 FOR SHARE", subject)


def _no_such_key(subject: str) -> NoReturn:
    raise NoSuchKey(f"there is no key of {subject}")


def _open(cipher: AESGCM, subject: str, sealed: bytes, about: str) -> bytes:
    start = len(_VERSION) + NONCE_SIZE
    if len(sealed) < _SEALED_MIN or not sealed.startswith(_VERSION):
        raise Damaged(f"what is sealed for {subject} is damaged")
    try:
        return cipher.decrypt(sealed[len(_VERSION) : start], sealed[start:], _bound(subject, about))
    except InvalidTag:
        raise Damaged(f"what is sealed for {subject} is damaged, or belongs elsewhere") from None


def _bound(subject: str, about: str) -> bytes:
    # With the length before it no other pair gives the same bytes.
    return b"bels %d %s%s" % (len(subject.encode()), subject.encode(), about.encode())


def _of_name(name: str) -> str:
    return f"named/{name}"


def _of_subject(subject: str) -> str:
    return f"subject/{subject}"
