"""The throttle: guessing is slowed to nothing, and nobody is locked out for ever.

A try is of something (``what``: a log-in, a registration, a code), for an identity (a login, an account), from an address (an
IPv6 address counts with its whole /64, which is one subscriber's). The rule:

1. A try is counted as a failure before it is made, and given back when it succeeds: a thousand guesses at once are a thousand.
2. There are three counters: of the identity, of the address, of both together. The first 5 failures of an identity are free, and
   of both together; the first 30 of an address, since many people may share one. After those one must wait, from the last
   failure on: 1 s, 2 s, 4 s, and so on, at most 5 minutes for an identity, 15 for the others. What comes before is refused, and
   counts nothing: asking again never makes the wait longer.
3. Failures are forgotten evenly, so that a day without one forgets them all. A success takes back only its own try from the
   identity and the address, or an attacker with a login of his own could wipe his address clean.
4. Where an identity has succeeded from an address within 30 days, it is judged there by the counter of both alone. So whoever
   fails elsewhere, even from a thousand places, cannot keep people from where they usually come in.
5. From an address that is new, a person under attack may have to wait, and finds a gap: an attacker at one address waits three
   times as long as he makes the identity wait. Against many addresses helps ``forgive``, which the office does.

So a stranger gets some 300 guesses a day at an identity, and 100 from an address, whatever else it does. All rows are keyed
digests. Each count looks at a few rows after a random key and deletes those that are over; keys are digests, so that is a fair
sample, and the table holds hardly more than what is not forgotten yet: failures of a day, successes of 30.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil

import asyncpg

from bels.access.vault import Vault
from bels.journal.write import Db

FORGOTTEN_AFTER = timedelta(days=1)
KNOWN_FOR = timedelta(days=30)
SWEPT_ROWS = 20
"""How many rows each count looks at; it writes three, so it sweeps faster than it writes once a sixth of all is over."""
TEXT_LENGTH_MAX = 320

ATTEMPT_DIGEST = "attempt"


class TooManyAttempts(Exception):
    """There were too many failures: the next try is taken in ``wait_s`` whole seconds. The sentence is Russian."""

    def __init__(self, wait_s: int) -> None:
        wait = f"{wait_s} с" if wait_s < 60 else f"{ceil(wait_s / 60)} мин"
        super().__init__(f"Слишком много неудачных попыток. Повторите через {wait}.")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Limit:
    """How many failures are free, and how long a wait becomes at most."""

    free: int
    wait_s_max: int

    @property
    def most(self) -> int:
        """The failures after which nothing becomes worse; they are also how many are forgotten in a day."""
        return self.free + (self.wait_s_max - 1).bit_length() + 1

    def wait_s(self, failures: int) -> int:
        """Say how long to wait after the last of so many failures."""
        over = min(failures, self.most) - self.free
        return 0 if over <= 0 else min(1 << (over - 1), self.wait_s_max)


IDENTITY = Limit(free=5, wait_s_max=5 * 60)
ADDRESS = Limit(free=30, wait_s_max=15 * 60)
BOTH = Limit(free=5, wait_s_max=15 * 60)
PROOFS = Limit(free=5, wait_s_max=60 * 60)
"""Of an account that is proven by a bill: a neighbour who has seen the meter has some hundred sums to try, and gets some
thirty tries a day. Whoever is kept waiting by that is let in at the office."""
OF_WHAT = {"register": PROOFS}
"""What is counted against an identity in another way."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Failures that are remembered at ``last_at``, the last of them; at ``until`` all of them will be forgotten."""

    failures: int
    last_at: datetime
    until: datetime

    def wait_s(self, limit: Limit, now: datetime) -> float:
        """Say how long the next try must wait; 0 or less: not at all."""
        if self.until <= now:
            return 0.0
        return (self.last_at - now).total_seconds() + limit.wait_s(self.failures)


def counted(counter: Counter | None, limit: Limit, now: datetime) -> Counter:
    """Count one more failure."""
    each = FORGOTTEN_AFTER / limit.most
    until = now if counter is None else max(counter.until, now)
    last_at = now if counter is None else max(counter.last_at, now)
    return _remembered(min(until + each, now + FORGOTTEN_AFTER), limit, last_at, now)


def given_back(counter: Counter, limit: Limit, now: datetime) -> Counter:
    """Take back one that was none; it was let through, so the wait before it was over."""
    less = _remembered(counter.until - FORGOTTEN_AFTER / limit.most, limit, counter.last_at, now)
    return replace(less, last_at=min(less.last_at, now - timedelta(seconds=limit.wait_s(less.failures))))


def _remembered(until: datetime, limit: Limit, last_at: datetime, now: datetime) -> Counter:
    left = max(until - now, timedelta()) * limit.most / FORGOTTEN_AFTER
    # A part of a failure that is not forgotten is one; the microseconds that the division leaves are none.
    return Counter(ceil(round(left, 6)), last_at, until)


@dataclass(frozen=True, slots=True)
class _Keys:
    identity: bytes
    address: bytes
    both: bytes
    known: bytes
    nameless: bool
    limit: Limit

    def limits(self) -> dict[bytes, Limit]:
        """Give every counter that a failure counts in."""
        if self.nameless:
            return {self.address: ADDRESS}
        return {self.identity: self.limit, self.address: ADDRESS, self.both: BOTH}

    def judging(self, rows: Mapping[bytes, Counter], now: datetime) -> dict[bytes, Limit]:
        """Give the counters that say whether it must wait."""
        known = rows.get(self.known)
        return self.limits() if known is None or known.until <= now else {self.both: BOTH}


class Throttle:
    """Slow down guessing. ``check`` before the try, then ``succeeded``, ``failed`` or, if it was never made, ``withdrawn``.

    ``what`` names what is tried. ``identity`` is in the form in which it is looked up (a normalised login, an account), "" where
    the try names nobody: then the address alone counts. ``address`` is the caller's as text, not the proxy's.
    """

    def __init__(self, pool: asyncpg.Pool, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._vault = vault
        self._clock = clock
        self.observe: Callable[[str], None] = lambda _: None
        """Told of every failure what was tried, and "throttled" of every try that must wait; whoever watches sets it."""

    async def check(self, what: str, identity: str, address: str) -> None:
        """Count a try as failed, before it is made, in the counters that judge it.

        :raises TooManyAttempts: it must wait; it is not counted.
        """
        keys, now = await self._keys(what, identity, address), self._clock()
        async with self._pool.acquire() as db:
            # Whoever must wait is told after one read; only a try that may be made takes the locks.
            try:
                _may_try(keys, await _rows(db, keys), now)
            except TooManyAttempts:
                self.observe("throttled")
                raise
            async with _locked(db, keys):
                rows = await _rows(db, keys)
                _may_try(keys, rows, now)
                judging = keys.judging(rows, now)
                await _write(db, {key: counted(rows.get(key), limit, now) for key, limit in judging.items()})
            await _sweep(db, now)

    async def failed(self, what: str, identity: str, address: str) -> None:
        """Let the wait begin now, as judging took its time; count the failure also in the counters that did not judge it."""
        self.observe(what)
        keys, now = await self._keys(what, identity, address), self._clock()
        async with self._pool.acquire() as db, _locked(db, keys):
            rows = await _rows(db, keys)
            judging = keys.judging(rows, now)
            later = {key: replace(rows[key], last_at=max(rows[key].last_at, now)) for key in judging if key in rows}
            other = {key: limit for key, limit in keys.limits().items() if key not in judging}
            await _write(db, {**later, **{key: counted(rows.get(key), limit, now) for key, limit in other.items()}})

    async def succeeded(self, what: str, identity: str, address: str) -> None:
        """Give the try back, forget the failures of both together, and know the identity at this address."""
        keys, now = await self._keys(what, identity, address), self._clock()
        async with self._pool.acquire() as db:
            async with _locked(db, keys):
                back = _all_given_back(keys, await _rows(db, keys), now)
                back.pop(keys.both, None)
                known = {} if keys.nameless else {keys.known: Counter(0, now, now + KNOWN_FOR)}
                await _write(db, {**back, **known})
                await db.execute("DELETE FROM attempt WHERE key = $1", keys.both)
            await _sweep(db, now)

    async def withdrawn(self, what: str, identity: str, address: str) -> None:
        """Give the try back: it was not made, through a fault of ours."""
        keys, now = await self._keys(what, identity, address), self._clock()
        async with self._pool.acquire() as db, _locked(db, keys):
            await _write(db, _all_given_back(keys, await _rows(db, keys), now))

    async def forgive(self, what: str, identity: str) -> None:
        """Forget the failures of an identity, as the office does for whoever stands before it."""
        keys = await self._keys(what, identity, "")
        async with self._pool.acquire() as db:
            await db.execute("DELETE FROM attempt WHERE key = $1", keys.identity)

    async def _keys(self, what: str, identity: str, address: str) -> _Keys:
        who, place = identity[:TEXT_LENGTH_MAX], place_of(address)
        return _Keys(
            identity=await self._vault.digest(ATTEMPT_DIGEST, f"{what}\0identity\0{who}"),
            address=await self._vault.digest(ATTEMPT_DIGEST, f"{what}\0address\0{place}"),
            both=await self._vault.digest(ATTEMPT_DIGEST, f"{what}\0both\0{place}\0{who}"),
            known=await self._vault.digest(ATTEMPT_DIGEST, f"{what}\0known\0{place}\0{who}"),
            nameless=not identity,
            limit=OF_WHAT.get(what, IDENTITY),
        )


def place_of(address: str) -> str:
    """Give what counts as one address: IPv4 whole, of IPv6 the /64 that one subscriber has; other text as it is."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:TEXT_LENGTH_MAX]
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return f"{int(found) >> 64:016x}/64" if mapped is None else str(mapped)
    return str(found)


def _may_try(keys: _Keys, rows: Mapping[bytes, Counter], now: datetime) -> None:
    waits = (rows[key].wait_s(limit, now) for key, limit in keys.judging(rows, now).items() if key in rows)
    wait_s = max(waits, default=0.0)
    if wait_s > 0:
        raise TooManyAttempts(ceil(wait_s))


def _all_given_back(keys: _Keys, rows: Mapping[bytes, Counter], now: datetime) -> dict[bytes, Counter]:
    judging = keys.judging(rows, now)
    return {key: given_back(rows[key], limit, now) for key, limit in judging.items() if key in rows}


async def _rows(db: Db, keys: _Keys) -> dict[bytes, Counter]:
    rows = await db.fetch(
        "SELECT key, failures, last_at, until FROM attempt WHERE key = ANY($1::bytea[])", [*keys.limits(), keys.known]
    )
    return {row["key"]: Counter(row["failures"], row["last_at"], row["until"]) for row in rows}


async def _write(db: Db, counters: Mapping[bytes, Counter]) -> None:
    await db.execute(
        """
        INSERT INTO attempt (key, failures, last_at, until)
        SELECT * FROM unnest($1::bytea[], $2::int[], $3::timestamptz[], $4::timestamptz[])
        ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, last_at = excluded.last_at, until = excluded.until
        """,
        list(counters),
        [each.failures for each in counters.values()],
        [each.last_at for each in counters.values()],
        [each.until for each in counters.values()],
    )


@asynccontextmanager
async def _locked(db: Db, keys: _Keys) -> AsyncIterator[None]:
    """Let nobody else count for this identity or this address: a row that is not there yet cannot be locked itself."""
    numbers = sorted(int.from_bytes(key[:8], signed=True) for key in (keys.identity, keys.address))
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS number", numbers)
        yield


async def _sweep(db: Db, now: datetime) -> None:
    # A row that somebody is just counting in is left alone: a sweep waits for nobody, so nobody waits for it in a circle.
    await db.execute(
        """
        DELETE FROM attempt WHERE key IN (
            SELECT key FROM attempt
            WHERE key IN (SELECT key FROM attempt WHERE key >= $1 ORDER BY key LIMIT $3) AND until < $2
            FOR UPDATE SKIP LOCKED
        )
        """,
        secrets.token_bytes(32),
        now,
        SWEPT_ROWS,
    )
