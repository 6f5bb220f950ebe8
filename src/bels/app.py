"""bels put together, by hand: settings, PostgreSQL, tables, rules, intake. What it serves is in ``routes.py``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import metadata

import asyncpg

from bels.access.door import Door, opened_door
from bels.access.master_key import MasterKeyError, opened_master_key
from bels.access.oidc import Oidc
from bels.access.store import install_access
from bels.access.vault import Vault
from bels.audit.store import install_audit
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Settlement
from bels.embedded import embedded, ensure_running
from bels.intake import Clock, Intake, utc_now
from bels.journal.adopting import chain_entries
from bels.journal.journal import install
from bels.journal.write import SESSION, as_it_is
from bels.observing.batches import within
from bels.observing.tracing import Tracing, tracing_to
from bels.payments.partners import Partners, PartnersError, read_partners
from bels.payments.store import install_payments
from bels.payments.till import Till
from bels.projections.project import install_views
from bels.publishing import install_rulebook, publish_settlement
from bels.reception.counter import Counter
from bels.reception.store import install_reception
from bels.rulebooks.shipped import PUBLISHED, shipped
from bels.settings import Settings

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 20
"""Of one process. While the disk keeps commits waiting, the turns of many calls hold some: questions need others beside them."""

CONNECT_WAIT_S = 30.0
STATEMENT_WAIT_S = 60.0
POSTGRES_VERSION_MIN = 15
LOOK_AFTER_POSTGRES_S = 1.0


class AppError(RuntimeError):
    """bels cannot start; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Bels:
    """An open supplier: its database, the one way in, the views that are not told yet, the keys of what is personal."""

    url: str
    settings: Settings
    pool: asyncpg.Pool
    intake: Intake
    stale: tuple[str, ...]
    vault: Vault
    tracing: Tracing | None


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Give the URL of the supplier's PostgreSQL: ``BELS_DATABASE_URL``, or the embedded one, running."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with embedded(settings.data_dir) as url:
        yield url


@asynccontextmanager
async def opened(settings: Settings, rulebook: Rulebook | None = None, clock: Clock = utc_now) -> AsyncIterator[Bels]:
    """Open the supplier: PostgreSQL up, schema installed, rules published, intake running.

    ``rulebook`` is what counts while nothing is published, and then nothing is: None publishes the book that bels brings along.

    :raises AppError: the database cannot be used.
    """
    # Its job library takes long to load, and not every command opens the database.
    from bels.outgoing.store import install_outgoing

    with database(settings) as url:
        async with _traced(settings) as tracing, _pool(url, tracing) as pool:
            async with pool.acquire() as db:
                version = int(await db.fetchval("SHOW server_version_num")) // 10_000
                if version < POSTGRES_VERSION_MIN:
                    raise AppError(f"bels needs PostgreSQL {POSTGRES_VERSION_MIN} or newer, this is {version}")
                await install(db)
                if chained := await chain_entries(db):
                    logger.info("%d entries of before were given their digests", chained)
                await install_access(db)
                stale = await install_views(db)
                await install_reception(db)
                await install_outgoing(db)
                await install_payments(db)
                await install_audit(db)
            intake = Intake(pool, rulebook or shipped(PUBLISHED), clock)
            if tracing is not None:
                intake.work = within(tracing.around, intake.work)
            async with _vault(settings, pool) as vault, intake.running(), _looked_after(settings):
                if rulebook is None and not stale:
                    await install_rulebook(pool, intake)
                yield Bels(url, settings, pool, intake, stale, vault, tracing)


@asynccontextmanager
async def _vault(settings: Settings, pool: asyncpg.Pool) -> AsyncIterator[Vault]:
    """Open the vault; its keys are read when something asks for them, so that a closing needs no master key."""
    opening = opened_master_key(
        settings.master_key_file, settings.master_key_transit, settings.master_key_token_file, settings.data_dir
    )
    async with AsyncExitStack() as stack:
        try:
            master = await stack.enter_async_context(opening)
        except MasterKeyError as error:
            raise AppError(str(error)) from error
        yield Vault(pool, master)


async def door_of(bels: Bels, *, local: bool) -> Door:
    """Put the door of a serving process together.

    :raises AppError: the master key is another one, or the OpenID provider's settings are incomplete.
    """
    settings = bels.settings
    try:
        oidc = None
        if settings.oidc_issuer is not None:
            oidc = Oidc(settings.oidc_issuer, settings.oidc_audience or "", clock=bels.intake.clock)
        return await opened_door(
            bels.pool,
            bels.vault,
            url=bels.url,
            issuer=settings.issuer,
            local=local,
            trusted_proxies=settings.trusted_proxies,
            oidc=oidc,
            clock=bels.intake.clock,
        )
    except (MasterKeyError, ValueError) as error:
        raise AppError(str(error)) from error


def till_of(bels: Bels, door: Door) -> Till:
    """Put the till together, with the contracts that the settings name.

    :raises AppError: their table cannot be used.
    """
    table = bels.settings.partners.partners
    try:
        partners = read_partners(table) if table is not None else Partners()
    except PartnersError as error:
        raise AppError(f"BELS_PARTNERS: {error}") from error
    return Till(Counter(bels.pool, bels.intake, door), partners)


async def settle_as_asked(bels: Bels) -> None:
    """Publish another settlement policy where the settings ask for one: before what charges, never before what only reads.

    :raises TryLater: the database cannot be reached.
    """
    if bels.settings.settlement is not None:
        await publish_settlement(bels.pool, bels.intake, Settlement(bels.settings.settlement.upper()))


@asynccontextmanager
async def _traced(settings: Settings) -> AsyncIterator[Tracing | None]:
    tracing = tracing_to(settings.otlp_endpoint, metadata.version("bels"))
    try:
        yield tracing
    finally:
        if tracing is not None:
            await tracing.close()


@asynccontextmanager
async def _pool(url: str, tracing: Tracing | None) -> AsyncIterator[asyncpg.Pool]:
    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=CONNECTIONS_MAX,
            timeout=CONNECT_WAIT_S,
            command_timeout=STATEMENT_WAIT_S,
            init=tracing.watch if tracing is not None else None,
            reset=as_it_is,
            server_settings={"application_name": "bels", **SESSION},
        )
    except (OSError, asyncpg.PostgresError) as error:
        raise AppError(f"PostgreSQL cannot be reached ({type(error).__name__}): look at BELS_DATABASE_URL") from error
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 10)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def _looked_after(settings: Settings) -> AsyncIterator[None]:
    """Bring a killed embedded PostgreSQL back while bels runs."""
    if settings.database_url is not None:
        yield
        return

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK_AFTER_POSTGRES_S)
            try:
                await asyncio.to_thread(ensure_running, settings.data_dir)
            except Exception:
                logger.exception("the embedded PostgreSQL cannot be brought back")

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
