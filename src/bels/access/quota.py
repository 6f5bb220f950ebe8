"""How many messages a sender may bring in a day: attempts count, not only successes (channels 1).

Unlike the throttle this never makes anybody wait: a day has so many, and the next day has them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from bels.access.throttle import ATTEMPT_DIGEST
from bels.access.vault import Vault
from bels.journal.write import Db

KEPT = timedelta(days=2)


async def spend(db: Db, vault: Vault, limits: dict[tuple[str, str], int], day: date, *, once: str = "") -> bool:
    """Count one more attempt of each (what, identity) of a day; False where one of them had its ``limit`` before.

    ``once`` names the attempt: when it was let in and comes again, because we could not store it, it is let in again and counts
    no more. The table holds keyed digests of today and yesterday.
    """
    names = sorted(limits)
    keys = [await vault.digest(ATTEMPT_DIGEST, f"day/{what}/{identity}") for what, identity in names]
    named = await vault.digest(ATTEMPT_DIGEST, f"once/{once}/{names}") if once else None
    rows = await db.fetch(
        """
        WITH let_in AS (SELECT FROM spent WHERE key = $3::bytea AND day = ANY ($4::date[])),
        counted AS (
            INSERT INTO spent (key, day, attempts)
            SELECT key, $2, 1 FROM unnest($1::bytea[]) AS key WHERE NOT EXISTS (SELECT FROM let_in) ORDER BY key
            ON CONFLICT (key, day) DO UPDATE SET attempts = least(spent.attempts + 1, 1000000)
            RETURNING key, attempts
        ),
        named AS (
            INSERT INTO spent (key, day, attempts)
            SELECT $3, $2, 1 WHERE $3 IS NOT NULL AND EXISTS (SELECT FROM counted) AND NOT EXISTS (
                SELECT FROM counted JOIN unnest($1::bytea[], $5::int[]) AS given (key, most) USING (key)
                WHERE attempts > most
            )
            ON CONFLICT DO NOTHING
        )
        SELECT key, attempts FROM counted
        """,
        keys,
        day,
        named,
        [day, day - timedelta(days=1)],
        [limits[name] for name in names],
    )
    if not rows:
        return True
    spent = {bytes(row["key"]): row["attempts"] for row in rows}
    return all(spent[key] <= limits[name] for key, name in zip(keys, names, strict=True))


async def spend_each(db: Db, vault: Vault, what: str, attempts: Mapping[str, int], limit: int, day: date) -> set[str]:
    """Count the attempts of many identities of one kind; give those that have had more than ``limit`` on this day."""
    keys = {identity: await vault.digest(ATTEMPT_DIGEST, f"day/{what}/{identity}") for identity in attempts}
    rows = await db.fetch(
        """
        INSERT INTO spent (key, day, attempts)
        SELECT key, $3, more FROM unnest($1::bytea[], $2::int[]) AS given (key, more) ORDER BY key
        ON CONFLICT (key, day) DO UPDATE SET attempts = least(spent.attempts + excluded.attempts, 1000000)
        RETURNING key, attempts
        """,
        list(keys.values()),
        list(attempts.values()),
        day,
    )
    spent = {bytes(row["key"]): row["attempts"] for row in rows}
    return {identity for identity, key in keys.items() if spent[key] > limit}


async def forget_spent(db: Db, today: date) -> None:
    """Forget the days that are over."""
    await db.execute("DELETE FROM spent WHERE day < $1", today - KEPT)
