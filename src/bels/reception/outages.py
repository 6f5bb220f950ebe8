"""Outages as operators announce them: what every channel tells whoever asks why there is no light. Nobody's data stand here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.read_value import holds_contact
from bels.domain.terms import Word
from bels.journal.write import Db
from bels.messages import digest
from bels.reception.office import on_day

LOCALITY_LENGTH_MAX = 100
PLACES_LENGTH_MAX = 2_000
TEXT_LENGTH_MAX = 1_000
LASTS_MAX = timedelta(days=90)
TOLD_MAX = 20
"""Outages that are told at once: a bot's message and a listener's patience end."""

COMING = timedelta(days=3)
"""Planned works are told so long before they begin."""


class OutageKind(Word):
    """Why there is no electricity."""

    PLANNED = "PLANNED"
    EMERGENCY = "EMERGENCY"


@dataclass(frozen=True, slots=True)
class NewOutage:
    """What an operator announces: ``places`` are streets and houses in words, ``since`` inclusive, ``until`` exclusive."""

    kind: OutageKind
    locality: str
    places: str
    since: datetime
    until: datetime
    text: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """An announced outage, by its number; ``withdrawn_at`` says since when it is none any more."""

    number: int
    kind: OutageKind
    locality: str
    places: str
    since: datetime
    until: datetime
    text: str
    announced_at: datetime
    withdrawn_at: datetime | None = None


class OutageError(ValueError):
    """An outage cannot be announced so; the sentence says which of its texts is wrong."""


class KeyReused(ValueError):
    """The key names another outage of the same operator."""


_COLUMNS = "number, kind, locality, places, since, until, text, announced_at, withdrawn_at"


def check(outage: NewOutage) -> None:
    """Check what is to be announced; the dates are judged by ``lasts``.

    :raises OutageError: a text is empty, too long or holds a phone or an e-mail.
    """
    for name, text, least, most in (
        ("locality", outage.locality, 1, LOCALITY_LENGTH_MAX),
        ("places", outage.places, 1, PLACES_LENGTH_MAX),
        ("text", outage.text, 0, TEXT_LENGTH_MAX),
    ):
        if not least <= len(text.strip()) <= most:
            raise OutageError(f"`{name}` must have {least} to {most} characters.")
        if holds_contact(text):
            raise OutageError(f"`{name}` must hold no phone and no e-mail: everybody reads it.")


def lasts(outage: NewOutage) -> bool:
    """Say whether an outage begins before it ends, and ends within ninety days."""
    return timedelta() < outage.until - outage.since <= LASTS_MAX


async def announce(db: Db, outage: NewOutage, by: str, key: str, now: datetime) -> tuple[Outage, bool]:
    """Announce an outage, once under the operator's key; True where it had been announced before.

    :raises OutageError: a text cannot be told to everybody.
    :raises KeyReused: the key names another outage.
    """
    check(outage)
    content = digest(repr(outage))
    row = await db.fetchrow(
        f"""
        INSERT INTO outage (kind, locality, places, since, until, text, announced_by, announced_at, key, content)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (announced_by, key) DO NOTHING
        RETURNING {_COLUMNS}
        """,
        outage.kind.value,
        outage.locality.strip(),
        outage.places.strip(),
        outage.since,
        outage.until,
        outage.text.strip(),
        by,
        now,
        key,
        content,
    )
    if row is not None:
        return _outage(row), False
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM outage WHERE announced_by = $1 AND key = $2 AND content = $3", by, key, content
    )
    if row is None:
        raise KeyReused(key)
    return _outage(row), True


async def withdraw(db: Db, number: int, by: str, note: str, now: datetime) -> tuple[Outage, bool] | None:
    """Withdraw an outage: the light is back, or never went out. True where it was withdrawn before, None where there is none."""
    row = await db.fetchrow(
        f"""
        UPDATE outage SET withdrawn_by = $2, withdrawn_at = $3, note = $4
         WHERE number = $1 AND withdrawn_at IS NULL RETURNING {_COLUMNS}
        """,
        number,
        by,
        now,
        note,
    )
    if row is not None:
        return _outage(row), False
    row = await db.fetchrow(f"SELECT {_COLUMNS} FROM outage WHERE number = $1", number)
    return (_outage(row), True) if row is not None else None


async def outages_at(
    db: Db, at: datetime, after: tuple[datetime, int] | None = None, limit: int = TOLD_MAX
) -> list[Outage]:
    """List the outages that stand at a moment or begin within three days of it, the ones that end first before the others."""
    until, number = after or (None, None)
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM outage
         WHERE withdrawn_at IS NULL AND until > $1 AND since <= $2
           AND ($3::timestamptz IS NULL OR (until, number) > ($3, $4::bigint))
         ORDER BY until, number LIMIT $5
        """,
        at,
        at + COMING,
        until,
        number,
        limit,
    )
    return [_outage(row) for row in rows]


async def outages_now(db: Db, now: datetime) -> list[str]:
    """Say in Russian which outages stand now or begin within three days, a text for each; none where there is none."""
    return [words_of(outage, now) for outage in await outages_at(db, now)]


def words_of(outage: Outage, now: datetime) -> str:
    """Say an outage in Russian: «Аварийное отключение: Балашиха, ул. Гражданская, 1–9. До 18:00.»"""
    name = "Плановые работы" if outage.kind is OutageKind.PLANNED else "Аварийное отключение"
    span = f"До {_when(outage.until, now)}"
    if outage.since > now and moscow_date(outage.since) == moscow_date(outage.until):
        # A day is named once.
        hours = f"с {outage.since.astimezone(MOSCOW):%H:%M} до {outage.until.astimezone(MOSCOW):%H:%M}"
        span = f"{_day(outage.since, now)} {hours}"
    elif outage.since > now:
        span = f"С {_when(outage.since, now)} до {_when(outage.until, now)}"
    told = f"{name}: {outage.locality}, {outage.places.rstrip('.')}. {span}."
    return f"{told} {outage.text}" if outage.text else told


def _day(at: datetime, now: datetime) -> str:
    day, today = moscow_date(at), moscow_date(now)
    return on_day(day, today).capitalize() if (day - today).days <= 1 else f"{day:%d.%m.%Y}"


def _when(at: datetime, now: datetime) -> str:
    local, today = at.astimezone(MOSCOW), moscow_date(now)
    if moscow_date(at) == today:
        return f"{local:%H:%M}"
    if (moscow_date(at) - today).days == 1:
        return f"{local:%H:%M} {on_day(moscow_date(at), today)}"
    return f"{local:%H:%M} {local:%d.%m.%Y}"


def _outage(row: asyncpg.Record) -> Outage:
    return Outage(
        row["number"],
        OutageKind(row["kind"]),
        row["locality"],
        row["places"],
        row["since"],
        row["until"],
        row["text"],
        row["announced_at"],
        row["withdrawn_at"],
    )
