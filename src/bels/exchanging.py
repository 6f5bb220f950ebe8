"""Files exchanged with banks while a process serves: our SFTP server, their servers looked at, watched folders, charges.

SFTP is served by every process that has a port for it; everything else is done by one process at a time, the one that holds a
lock in PostgreSQL on a connection of its own. Each partner has its own turn, so that one bank's file keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import asyncpg
import asyncssh

from bels.access.vault import VaultError
from bels.app import AppError, Bels
from bels.domain.periods import moscow_date, shift
from bels.domain.terms import Period
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.payments.charges.layouts import ChargesContract, charges_of
from bels.payments.charges.write import Written, write_charges
from bels.payments.exchange.contracts import Exchange, exchanges_of
from bels.payments.exchange.folders import FolderError, TakeFile, claim, forget_old, put_out, take_claimed
from bels.payments.exchange.sftp_client import PullError, Seen, pull_files, put_file
from bels.payments.exchange.sftp_files import Guest
from bels.payments.exchange.sftp_server import guests_of, serving_sftp
from bels.payments.exchange.states import Work, did, failed, may_try, reached, state_of
from bels.payments.partners import Partner, PartnersError
from bels.payments.reconciling.report import Form, report, report_name
from bels.payments.reconciling.three_ways import days
from bels.payments.registers.layout import layouts_of
from bels.payments.till import Till
from bels.projections import overview

logger = logging.getLogger(__name__)

LOOK_S = 2.0
"""A folder is looked at so often."""
PULL_EVERY_S = 60.0
SELDOM_S = 600.0
"""Charges that are due, and what is old, are looked for so often."""
AT_ONCE = 4
"""Partners whose files are taken at the same time."""
REPORTED_DAYS = 30
"""Reconciliations of so many days lie where their partner fetches them."""
STOP_WAIT_S = 60.0
LEADER_AGAIN_S = 2.0

_LEADER = 0x62656C73_65786368

BY = "bels exchange"


@dataclass(slots=True)
class Turn:
    """What a process remembers of a partner between its turns; the times are of a clock that only goes forward."""

    seen: Seen = field(default_factory=Seen)
    pulled_at: float = -PULL_EVERY_S
    seldom_at: float = -SELDOM_S
    reported: dict[date, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchanging:
    """What files are exchanged with: the till, who takes registers, the guests of our server, what charges are agreed."""

    till: Till
    take: TakeFile
    guests: dict[str, Guest]
    charges: dict[str, ChargesContract]
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


def check_exchange(partners: Sequence[Partner]) -> tuple[tuple[Exchange, ...], dict[str, ChargesContract]]:
    """Read what is agreed with partners about files.

    :raises PartnersError: a table cannot be used.
    """
    agreed = exchanges_of(partners)
    for each in agreed:
        known = layouts_of(each.partner)
        unknown = next((rule.layout for rule in each.files if rule.layout not in known), None)
        if unknown is not None:
            where = f"partner.{each.partner.name}"
            raise PartnersError(f"{where}.exchange.files names {unknown}, and there is no {where}.registers.{unknown}")
    charges = {each.name: told for each in partners if (told := charges_of(each)) is not None}
    by_name = {each.partner.name: each for each in agreed}
    for name, told in charges.items():
        pull = by_name[name].pull if name in by_name else None
        if told.to_theirs and (pull is None or pull.put is None):
            raise PartnersError(f'partner.{name}.charges.to = "theirs" needs partner.{name}.exchange.pull.put')
        if told.day is not None and name not in by_name:
            raise PartnersError(f"partner.{name}.charges.day needs the table partner.{name}.exchange")
    return agreed, charges


@asynccontextmanager
async def exchanging(bels: Bels, till: Till, take: TakeFile) -> AsyncIterator[asyncssh.SSHAcceptor | None]:
    """Exchange files while this is open, as far as the settings and the contracts ask for it; give the SFTP server, if any.

    :raises AppError: a folder, a port, a key or a contract cannot be used.
    """
    given = bels.settings.partners
    try:
        agreed, charges = check_exchange(till.partners.partners)
    except PartnersError as error:
        raise AppError(f"BELS_PARTNERS: {error}") from error
    if given.exchange is None:
        if given.sftp is not None:
            raise AppError("BELS_SFTP needs BELS_EXCHANGE, the folder of the partners' files")
        yield None
        return
    try:
        guests = guests_of(given.exchange, agreed)
    except OSError as error:
        raise AppError(f"BELS_EXCHANGE cannot be written: {error.strerror}") from error
    # At its usual level the library logs from where everybody comes.
    asyncssh.set_log_level(logging.WARNING)
    work = Exchanging(till, take, guests, charges)
    async with AsyncExitStack() as stack:
        acceptor: asyncssh.SSHAcceptor | None = None
        if given.sftp is not None:
            if given.sftp_host_key is None:
                raise AppError(
                    "BELS_SFTP needs BELS_SFTP_HOST_KEY, a file made by: ssh-keygen -t ed25519 -N '' -f FILE"
                )
            try:
                acceptor = await stack.enter_async_context(serving_sftp(guests, *given.sftp, given.sftp_host_key))
            except (OSError, asyncssh.KeyImportError) as error:
                raise AppError(
                    f"BELS_SFTP: {type(error).__name__}: look at the address and BELS_SFTP_HOST_KEY"
                ) from error
        if guests:
            await stack.enter_async_context(_leading(bels.url, work))
        yield acceptor


@asynccontextmanager
async def _leading(url: str, work: Exchanging) -> AsyncIterator[None]:
    """Take turns while this is open; a file that is being taken is finished before it is left."""
    leads, stopping = asyncio.Event(), asyncio.Event()
    leader = asyncio.create_task(_lead(url, leads))
    turns = [asyncio.create_task(_turns(work, guest, leads, stopping)) for guest in work.guests.values()]
    try:
        yield
    finally:
        stopping.set()
        for guest in work.guests.values():
            guest.watch.woken.set()
        _, late = await asyncio.wait(turns, timeout=STOP_WAIT_S)
        for task in (*late, leader):
            task.cancel()
        await asyncio.gather(*turns, leader, return_exceptions=True)


async def _lead(url: str, leads: asyncio.Event) -> None:
    """Hold the lock as long as the connection lives; whoever lost it waits until it has it again."""
    while True:
        with suppress(*UNAVAILABLE, asyncpg.PostgresError):
            db = await asyncpg.connect(url, server_settings={"application_name": "bels exchange"})
            try:
                await db.execute("SELECT pg_advisory_lock($1)", _LEADER)
                leads.set()
                while True:
                    await asyncio.sleep(LEADER_AGAIN_S)
                    await db.execute("SELECT")
            finally:
                leads.clear()
                db.terminate()
        await asyncio.sleep(LEADER_AGAIN_S)


async def _turns(work: Exchanging, guest: Guest, leads: asyncio.Event, stopping: asyncio.Event) -> None:
    turn, watch = Turn(), guest.watch
    while not stopping.is_set():
        watch.woken.clear()
        if leads.is_set():
            try:
                await take_turn(work, guest, turn, time.monotonic())
            except TryLater as error:
                logger.warning("files of %s wait: %s", guest.agreed.partner.name, error)
            except Exception:
                logger.exception("the turn of %s failed", guest.agreed.partner.name)
        elif not stopping.is_set():
            # Whoever leads finds by looking what came to this process.
            watch.whole.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(watch.woken.wait(), LOOK_S)


async def take_turn(work: Exchanging, guest: Guest, turn: Turn, seconds: float) -> None:
    """Do for one partner what is due: take what lies in its folder, look at its server, write its charges.

    :raises TryLater: the database cannot be reached.
    """
    sent = await asyncio.to_thread(claim, guest.room, guest.watch, seconds)
    async with work.at_once:
        await _take(work, guest, sent)
    if guest.agreed.pull is not None and seconds - turn.pulled_at >= PULL_EVERY_S:
        turn.pulled_at = seconds
        await _pull(work, guest, turn)
    if seconds - turn.seldom_at >= SELDOM_S:
        turn.seldom_at = seconds
        await asyncio.to_thread(forget_old, guest.room, work.till.now())
        await _charge(work, guest)
        await _report(work, guest, turn)


async def _take(work: Exchanging, guest: Guest, sent: set[str]) -> None:
    name = guest.agreed.partner.name
    done = await take_claimed(guest.room, guest.agreed, work.take, sent)
    if not (done.taken or done.failed):
        return
    async with reached(work.till.counter.pool) as db:
        if done.failed:
            logger.error("%s: %d files lie in failed", name, done.failed)
            await failed(db, name, Work.TAKE, work.till.now(), f"{done.failed} files lie in failed")
        else:
            await did(db, name, Work.TAKE, work.till.now())
    if done.waiting:
        guest.watch.woken.set()


async def _pull(work: Exchanging, guest: Guest, turn: Turn) -> None:
    pool, name, now = work.till.counter.pool, guest.agreed.partner.name, work.till.now()
    async with reached(pool) as db:
        if not await may_try(db, name, Work.PULL, now):
            return
    try:
        async with work.at_once:
            pulled = await pull_files(pool, guest.room, guest.agreed, work.take, turn.seen, now)
    except PullError as error:
        logger.error("%s: %s: %s", name, type(error).__name__, error)
        async with reached(pool) as db:
            await failed(db, name, Work.PULL, now, f"{type(error).__name__}: {error}")
        return
    async with reached(pool) as db:
        await did(db, name, Work.PULL, now)
    if pulled.failed:
        logger.error("%s: %d files of its server must be looked at", name, pulled.failed)


async def _charge(work: Exchanging, guest: Guest) -> None:
    """Write the charges of the month before, once every account is charged."""
    name, now = guest.agreed.partner.name, work.till.now()
    contract = work.charges.get(name)
    today = moscow_date(now)
    if contract is None or contract.day is None or today.day < contract.day:
        return
    period = shift(Period(f"{today:%Y-%m}"), -1)
    async with reached(work.till.counter.pool) as db:
        state = await state_of(db, name, Work.CHARGES)
        if state is not None and (state.done == period or (state.not_before or now) > now):
            return
        left = await overview.count_to_close(db, period)
    try:
        if left:
            raise PartnersError(f"{left} accounts are not charged for {period}")
        written = await send_charges(work.till, contract, guest, period, by=BY)
        logger.info("charges of %s for %s: %d lines", period, name, written.count)
    except (PartnersError, PullError, FolderError, VaultError, OSError) as error:
        logger.error("charges for %s: %s: %s", name, type(error).__name__, error)
        async with reached(work.till.counter.pool) as db:
            await failed(db, name, Work.CHARGES, now, f"{type(error).__name__}: {error}")
        return
    async with reached(work.till.counter.pool) as db:
        await did(db, name, Work.CHARGES, now, period)


async def _report(work: Exchanging, guest: Guest, turn: Turn) -> None:
    """Put the reconciliation of each of the last days into ``out``, whenever it was compared anew."""
    partner, today = guest.agreed.partner, moscow_date(work.till.now())
    since = today - timedelta(days=REPORTED_DAYS)
    async with reached(work.till.counter.pool) as db:
        for day in await days(db, partner.client, since, today, None, None, REPORTED_DAYS + 1):
            if turn.reported.get(day.day) == day.reconciled_at:
                continue
            told = await report(db, work.till.counter.door.raw_texts, partner, day.day, Form.CSV)
            if told is not None:
                await asyncio.to_thread(put_out, guest.room, report_name(partner, day.day, Form.CSV), told.content)
            turn.reported[day.day] = day.reconciled_at
    turn.reported = {day: at for day, at in turn.reported.items() if day >= since}


async def send_charges(till: Till, contract: ChargesContract, guest: Guest, period: Period, *, by: str) -> Written:
    """Write the charges of a period and put them where the contract says: our ``out``, or their server.

    :raises PartnersError: nobody says whose charges these are.
    :raises PullError: their server cannot be reached.
    :raises TryLater: the database cannot be reached.
    """
    payee = (await till.intake.rules()).requisites
    folder = guest.room.of("sending" if contract.to_theirs else "out")
    written = await write_charges(till, contract, period, folder, payee, by=by)
    if contract.to_theirs and guest.agreed.pull is not None:
        await put_file(guest.agreed.pull, written.path)
        written.path.unlink(missing_ok=True)
    return written
