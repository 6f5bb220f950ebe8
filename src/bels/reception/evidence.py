"""Photos of a display, kept with the reading that they prove: sealed by the key of the household's tenure, so erasing erases them.

A photo often comes before it is known which account it is about, or whether a reading follows: until then it is sealed by a key
of the installation, and goes after a week. What a photo shows is never taken for a reading by itself: a person confirms it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from bels.access.people import new_id
from bels.access.personal import subject_of
from bels.access.quota import spend
from bels.access.tenures import find_tenure
from bels.access.vault import KeyDestroyed
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel, Word
from bels.journal.write import Db
from bels.projections import receipts
from bels.reception.counter import Counter
from bels.words import Words

BYTES_MAX = 5_000_000
A_DAY = 20
"""Photos of one sender in a day."""

OF_A_READING_MAX = 4
"""Photos that are kept with one reading: the registers of a display come one after another."""

BELONGS_WITHIN = timedelta(days=1)
"""How long after a photo its reading may follow: a dialogue begins anew after that."""

KEPT_LOOSE = timedelta(days=7)
"""How long a photo is kept that no reading followed."""

SWEPT_MAX = 1_000
RECEIPTS_MAX = 500

NAME_LENGTH = 20
"""Hexadecimal characters of a photo's name that follows from its message: 80 bits, as of a drawn one."""

_ABOUT = "evidence"
_NOBODYS = ""


class PhotoRefusal(Word):
    """Why a picture is not kept."""

    TOO_LARGE = "TOO_LARGE"
    NOT_A_PHOTO = "NOT_A_PHOTO"
    TOO_MANY = "TOO_MANY"
    ERASED = "ERASED"


REFUSALS: dict[PhotoRefusal, Words] = {
    PhotoRefusal.TOO_LARGE: Words("Снимок больше 5 МБ, он не сохранён", "Отправьте его как фото, а не как файл"),
    PhotoRefusal.NOT_A_PHOTO: Words("Это не снимок, он не сохранён", "Подойдёт фото: JPEG, PNG или WebP"),
    PhotoRefusal.TOO_MANY: Words("Слишком много снимков за день", "Показание можно передать и без снимка"),
    PhotoRefusal.ERASED: Words("Снимок не сохранён: данные этого абонента уничтожены", "Показание можно передать"),
}
"""What is told to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A photo that is kept: ``account`` is "" and ``tenure`` 0 while its account is not known, ``receipt`` None before its reading."""

    evidence: str
    account: str
    tenure: int
    receipt: str | None
    sha256: bytes
    content_type: str
    at: datetime


async def keep_photo(
    counter: Counter,
    account: str,
    receipt: str | None,
    content: bytes,
    content_type: str,
    by: str,
    *,
    key: str = "",
) -> Evidence | PhotoRefusal:
    """Keep a photo. ``account`` is "" while it is not known, ``by`` is the actor; the same ``key`` of an actor is one photo.

    What it is follows from its first bytes; ``content_type`` is only what the sender says, and must not contradict them.
    """
    if len(content) > BYTES_MAX:
        return PhotoRefusal.TOO_LARGE
    found = type_of(content)
    if found is None or (content_type.startswith("image/") and not _may_be(content_type, found)):
        return PhotoRefusal.NOT_A_PHOTO
    now = counter.now()
    name = f"e-{counter.sender(Channel.WEB, f'{by} {key}').digest[:NAME_LENGTH]}" if key else new_id("e")
    async with counter.pool.acquire() as db:
        before = await find_photo(db, name)
        if before is not None:
            return before
        if not await spend(db, counter.door.vault, {("photos", by): A_DAY}, moscow_date(now), once=name):
            return PhotoRefusal.TOO_MANY
        tenure = (await find_tenure(db, account)).number if account else 0
        kept = Evidence(name, account, tenure, receipt, sha256(content).digest(), found, now)
        async with db.transaction():
            sealed = await _sealed(counter, db, kept, content)
            if sealed is None:
                return PhotoRefusal.ERASED
            await db.execute(
                """
                INSERT INTO evidence (evidence, account, tenure, receipt, sha256, content_type, sealed, by, at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
                """,
                kept.evidence,
                kept.account,
                kept.tenure,
                kept.receipt,
                kept.sha256,
                kept.content_type,
                sealed,
                by,
                kept.at,
            )
    return kept


async def attach_photos(counter: Counter, receipt: str, photos: Sequence[str], by: str) -> list[Evidence]:
    """Keep with a reading photos that its sender sent before it, the last few, sealed by the household's key from now on."""
    now = counter.now()
    async with counter.pool.acquire() as db, db.transaction():
        taken = await receipts.find(db, receipt)
        if taken is None or taken.reading is None:
            return []
        tenure = (await find_tenure(db, taken.account)).number
        rows = await db.fetch(
            f"""
            SELECT {_COLUMNS}, sealed FROM evidence
            WHERE evidence = ANY($5::text[]) AND by = $1 AND receipt IS NULL AND at > $2 AND account IN ('', $3)
            ORDER BY at DESC, evidence LIMIT $4 FOR UPDATE
            """,
            by,
            now - BELONGS_WITHIN,
            taken.account,
            OF_A_READING_MAX,
            list(photos),
        )
        attached: list[tuple[Evidence, bytes]] = []
        for *columns, sealed in rows:
            loose = Evidence(*columns)
            content = await _opened(counter, db, loose, sealed)
            kept = Evidence(loose.evidence, taken.account, tenure, receipt, loose.sha256, loose.content_type, loose.at)
            again = await _sealed(counter, db, kept, content) if content is not None else None
            if again is not None:
                attached.append((kept, again))
        await db.execute(
            """
            UPDATE evidence e SET account = $1, tenure = $2, receipt = $3, sealed = new.sealed
            FROM unnest($4::text[], $5::bytea[]) AS new (evidence, sealed) WHERE e.evidence = new.evidence
            """,
            taken.account,
            tenure,
            receipt,
            [kept.evidence for kept, _ in attached],
            [sealed for _, sealed in attached],
        )
    return [kept for kept, _ in attached]


async def photos_of(db: Db, numbers: Sequence[str]) -> dict[str, list[Evidence]]:
    """Find the photos of readings by their receipts, in the order in which they came."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM evidence WHERE receipt = ANY($1::text[]) ORDER BY at, evidence",
        list(numbers[:RECEIPTS_MAX]),
    )
    found: dict[str, list[Evidence]] = {}
    for row in rows:
        found.setdefault(row["receipt"], []).append(Evidence(*row))
    return found


async def find_photo(db: Db, evidence: str) -> Evidence | None:
    """Find a photo, None where there is none."""
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM evidence WHERE evidence = $1", evidence)
    return Evidence(*row) if row is not None else None


async def open_photo(counter: Counter, evidence: str) -> tuple[Evidence, bytes] | None:
    """Open a photo; None where there is none, or its household was erased.

    :raises VaultError: it is damaged, or its key is lost.
    :raises MasterKeyError: the master key is another one.
    """
    async with counter.pool.acquire() as db:
        row = await db.fetchrow(f"SELECT {_COLUMNS}, sealed FROM evidence WHERE evidence = $1", evidence)
        if row is None:
            return None
        *columns, sealed = row
        found = Evidence(*columns)
        content = await _opened(counter, db, found, sealed)
    return (found, content) if content is not None else None


async def forget_loose_photos(db: Db, now: datetime) -> None:
    """Forget photos that no reading followed within a week."""
    await db.execute(
        """
        DELETE FROM evidence WHERE evidence IN (
            SELECT evidence FROM evidence WHERE receipt IS NULL AND at < $1 LIMIT $2
        )
        """,
        now - KEPT_LOOSE,
        SWEPT_MAX,
    )


def type_of(content: bytes) -> str | None:
    """Say what a picture is by its first bytes: JPEG, PNG or WebP; None for anything else."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None


_COLUMNS = "evidence, account, tenure, receipt, sha256, content_type, at"


def _may_be(given: str, found: str) -> bool:
    return given.partition(";")[0].strip().lower() in (found, "image/jpg" if found == "image/jpeg" else found)


async def _sealed(counter: Counter, db: Db, kept: Evidence, content: bytes) -> bytes | None:
    if kept.account == _NOBODYS:
        return counter.door.raw_texts.sealed(b64encode(content).decode()).encode()
    try:
        return await counter.door.vault.seal(
            db, subject_of(kept.account, kept.tenure), content, f"{_ABOUT} {kept.evidence}"
        )
    except KeyDestroyed:
        return None


async def _opened(counter: Counter, db: Db, kept: Evidence, sealed: bytes) -> bytes | None:
    if kept.account == _NOBODYS:
        return b64decode(counter.door.raw_texts.opened(sealed.decode()))
    try:
        return await counter.door.vault.unseal(
            db, subject_of(kept.account, kept.tenure), sealed, f"{_ABOUT} {kept.evidence}"
        )
    except KeyDestroyed:
        return None
