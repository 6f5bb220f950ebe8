"""Open a sandbox and serve it: a database of its own, its clock, its partners, and what to try first."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg

from bels.access.callers import SCOPES, Kind
from bels.access.clients import add_client
from bels.access.door import RAW_KEY
from bels.access.raw_texts import RawTexts
from bels.app import Bels, database, opened
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel
from bels.intake import Clock, utc_now
from bels.sandbox.clock import MovableClock, first_moment
from bels.sandbox.contracts import NAMES, write_contracts
from bels.sandbox.room import ReadyPartner, SandboxRoom, runs_of
from bels.sandbox.store import LOCK, SandboxError, clock_ahead, empty
from bels.settings import Settings

DATA_DIR = Path(".bels-sandbox")
"""Where a sandbox keeps its data, where nothing else is said."""


def settings_of_sandbox(settings: Settings) -> Settings:
    """Give a sandbox a folder of its own in place of the supplier's, and let browsers ask."""
    usual = Settings().data_dir.absolute()
    own = DATA_DIR.absolute() if settings.data_dir.absolute() == usual else settings.data_dir
    return replace(settings, data_dir=own, ide=True)


async def begin_afresh(settings: Settings) -> None:
    """Make the sandbox's database empty.

    :raises SandboxError: it is no sandbox's, or it is served just now.
    """
    with database(settings) as url:
        db = await asyncpg.connect(url)
        try:
            await empty(db)
        finally:
            await db.close()


@asynccontextmanager
async def opened_sandbox(settings: Settings, base: Clock = utc_now) -> AsyncIterator[tuple[Bels, SandboxRoom]]:
    """Open a sandbox: its database marked, its clock where it was, its partners there, each with a run.

    :raises SandboxError: the database is somebody's real one, or another process serves it.
    """
    clock = MovableClock(base)
    async with opened(settings, None, clock) as bels, _alone(bels.url):
        rules = await bels.intake.rules()
        async with bels.pool.acquire() as db:
            clock.ahead = await clock_ahead(db, base(), first_moment(base(), rules) - base())
        raw_texts = RawTexts(await bels.vault.named_key(RAW_KEY))
        partners = await _partners(bels, raw_texts)
        path, contracts = write_contracts(settings.data_dir, partners)
        names = {name: each.client for each in partners for name in (each.client, each.name)}
        runs = await runs_of(bels, partners)
        room = SandboxRoom(bels, clock, raw_texts, partners, contracts, runs, names)
        bels.intake.work = room.faults.around(bels.intake.work)
        here = settings.host in ("127.0.0.1", "::1", "localhost")
        # Webhooks are a part of what is tried here, so that this process delivers them itself.
        channels = replace(settings.channels, deliver=True)
        own = replace(
            settings, channels=channels, partners=replace(settings.partners, partners=path, hooks_on_loopback=here)
        )
        async with room.running():
            yield replace(bels, settings=own), room


@asynccontextmanager
async def _alone(url: str) -> AsyncIterator[None]:
    """Keep others from serving the same sandbox: its clock is that of one process.

    :raises SandboxError: another one does.
    """
    db = await asyncpg.connect(url)
    try:
        if not await db.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            raise SandboxError("another process serves this sandbox: its clock is that of one process")
        yield
    finally:
        await db.close()


async def _partners(bels: Bels, raw_texts: RawTexts) -> tuple[ReadyPartner, ...]:
    """Give the sandbox's partners, and make those that are missing."""
    async with bels.pool.acquire() as db, db.transaction():
        rows = await db.fetch("SELECT client, place, name, secret FROM sandbox_partner ORDER BY place")
        found = [
            ReadyPartner(row["client"], row["place"], row["name"], raw_texts.opened(row["secret"])) for row in rows
        ]
        for place, name in enumerate(NAMES, start=1):
            if place <= len(found):
                continue
            client, secret = await add_client(db, bels.vault, Kind.PARTNER, name, Channel.BANK, tuple(SCOPES))
            await db.execute(
                "INSERT INTO sandbox_partner (client, place, name, secret) VALUES ($1, $2, $3, $4)",
                client,
                place,
                name,
                raw_texts.sealed(secret),
            )
            found.append(ReadyPartner(client, place, name, secret))
    return tuple(found)


def greeting(url: str, room: SandboxRoom) -> str:
    """Say where the sandbox is, who may come, and what to try first."""
    bank = room.partners[0]
    account = room.runs[bank.client].accounts[0].number
    now = room.now().astimezone(MOSCOW).replace(microsecond=0).isoformat()
    partners = "\n".join(f"        {each.name:<5} {each.client}  {each.secret}" for each in room.partners)
    looking = "{ sandboxAccounts { number situation shows } certification { passed of } }"
    paying = (
        f'mutation {{ payWithReading(input: {{paymentId: "1", account: "{account}", amount: "200.00", paidAt: "{now}"}}) '
        "{ __typename ... on PaymentTaken { receipt replayed balance } ... on Refusal { code text hint } } }"
    )
    return f"""\
bels serves a sandbox: {url}

  Its clock says {room.now().astimezone(MOSCOW):%Y-%m-%d %H:%M} in Moscow. Everybody in it is invented.

  Partners (client id, secret; all scopes):
{partners}

  Try   a token, which lives ten minutes of the sandbox's clock:
        TOKEN=$(curl -s {url}/oauth/token -u {bank.client}:{bank.secret} -d grant_type=client_credentials |
          sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')

        the accounts to try on, and what you have passed:
{_curl(url, looking)}

        a payment, the same as often as you like:
{_curl(url, paying)}

        the same account by OSMP, as a terminal asks:
        curl -s '{url}/partners/osmp?command=check&txn_id=1&account={account}&sum=200.00' -u {bank.client}:{bank.secret}

  The guide: docs/partners.md. The cases to pass, the clock and faults on demand: docs/sandbox.md
  Ctrl-C stops it; --fresh begins it anew."""


def _curl(url: str, query: str) -> str:
    body = json.dumps({"query": query}, ensure_ascii=False)
    return f"""\
        curl -s {url}/graphql -H "authorization: Bearer $TOKEN" \\
          -H 'content-type: application/json' -d '{body}'"""
