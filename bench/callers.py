"""Who asks in the benchmarks: a gateway, a partner and consumers, with credentials as the real ones have them."""

import asyncio
import base64
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bels.access.callers import SCOPES, Kind
from bels.access.clients import add_client
from bels.access.people import new_id, new_person_id
from bels.access.tokens import Grant, Tokens
from bels.app import Bels, opened
from bels.domain.terms import Channel
from bels.intake import utc_now
from bels.settings import Settings
from bench import traffic

ACCOUNTS_EACH = 2
"""Accounts of a consumer. A thousand consumers have points for 180,000 readings at once, and 4,500 more a second."""

SESSION_LIVES = timedelta(days=1)
TOKEN_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Consumer:
    """A person with a session, and the accounts of its cabinet."""

    person: str
    session: str
    accounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Callers:
    """Everybody; a client is its name and its secret."""

    gateway: tuple[str, str]
    partner: tuple[str, str]
    consumers: tuple[Consumer, ...]


def add_callers(settings: Settings, accounts: int = traffic.ACCOUNTS) -> Callers:
    """Add a gateway, a partner with every scope, and consumers who share the accounts."""

    async def run() -> Callers:
        async with opened(settings) as bels, bels.pool.acquire() as db:
            # People are signed in there: of any other gateway a second reading of an account is held, which is other work.
            gateway = await add_client(db, bels.vault, Kind.GATEWAY, "bench", Channel.GIS)
            partner = await add_client(db, bels.vault, Kind.PARTNER, "bench", Channel.BANK, tuple(SCOPES))
        return Callers(gateway, partner, await _consumers(settings, accounts))

    return asyncio.run(run())


async def _consumers(settings: Settings, accounts: int) -> tuple[Consumer, ...]:
    first, last = traffic.FIRST_ACCOUNT, traffic.FIRST_ACCOUNT + accounts
    consumers = tuple(
        Consumer(new_person_id(), new_id("s"), tuple(range(i, min(i + ACCOUNTS_EACH, last))))
        for i in range(first, last, ACCOUNTS_EACH)
    )
    people, sessions = [each.person for each in consumers], [each.session for each in consumers]
    members = [(str(account), each.person) for each in consumers for account in each.accounts]
    now = datetime.now(UTC)
    async with opened(settings) as bels, bels.pool.acquire() as db, db.transaction():
        await db.execute("INSERT INTO person (person, kind) SELECT unnest($1::text[]), 'CONSUMER'", people)
        await db.execute(
            """
            INSERT INTO session (session, person, token, created_at, used_at, expires_at)
            SELECT session, person, convert_to(session, 'UTF8'), $3, $3, $4
            FROM unnest($1::text[], $2::text[]) AS given (session, person)
            """,
            sessions,
            people,
            now,
            now + SESSION_LIVES,
        )
        await db.execute(
            """
            INSERT INTO membership (account, person, since, entry, period)
            SELECT account, person, $3, 0, '' FROM unnest($1::text[], $2::text[]) AS given (account, person)
            """,
            [account for account, _ in members],
            [person for _, person in members],
            now,
        )
    return consumers


def write_bearers(settings: Settings, consumers: Sequence[Consumer], each: int, file: Path) -> None:
    """Issue ``each`` tokens to every consumer, and write down which of them submit for which account."""

    async def run() -> dict[int, list[str]]:
        async with opened(settings) as bels:
            return await _issued(bels, consumers, each)

    file.write_text(json.dumps(asyncio.run(run())))


async def _issued(bels: Bels, consumers: Sequence[Consumer], each: int) -> dict[int, list[str]]:
    tokens = Tokens(bels.pool, bels.vault, bels.settings.issuer, utc_now)
    found = {}
    for consumer in consumers:
        grant = Grant(kind=Kind.CONSUMER, subject=consumer.person, session=consumer.session)
        issued = [(await tokens.issue(grant))[0] for _ in range(each)]
        shares = max(1, each // len(consumer.accounts))
        for i, account in enumerate(consumer.accounts):
            found[account] = issued[i * shares : (i + 1) * shares] or issued
    return found


def token_of(port: int, client: tuple[str, str]) -> str:
    """Ask a server for a client's token, as a client does: client credentials (RFC 6749 4.4).

    :raises OSError: it gives none.
    """
    basic = base64.b64encode(":".join(client).encode()).decode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/oauth/token",
        b"grant_type=client_credentials",
        {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(asked, timeout=TOKEN_WAIT_S) as answer:
        return str(json.load(answer)["access_token"])
