"""The stock library reads the whole journal, and folds every account to what our own reader folds it to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
import pytest

from bels.app import opened
from bels.audit.stock import (
    ENTRIES_OF_PAGE,
    StockOrder,
    StockRow,
    compare_stock,
    replay_stock,
    stock_order,
    stock_report,
)
from bels.demo.household import FIRST_NUMBER
from bels.demo.load import load
from bels.demo.situations import SITUATIONS
from bels.domain.account import Situation
from bels.intake import Intake
from bels.settings import Settings
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import open_household, reading

NOW = datetime(2026, 5, 20, 15, tzinfo=UTC)

T = TypeVar("T")


async def in_a_thread(read: Callable[[], T]) -> T:
    """Read as the library does: not in the loop of the server."""
    return await asyncio.to_thread(read)


@pytest.fixture
async def operator(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of somebody who may change the journal itself."""
    db = await asyncpg.connect(database)
    await db.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    yield db
    await db.close()


async def test_the_demonstration_town_reads_the_same_in_every_entry_and_every_account(database: str) -> None:
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        await load(supplier, len(SITUATIONS), 14, 7)
        numbers = [str(FIRST_NUMBER + i) for i in range(len(SITUATIONS))]
        ours = await supplier.intake.accounts(numbers)
        entries = await supplier.pool.fetchval("SELECT count(*) FROM journal")
        streams = await supplier.pool.fetchval("SELECT count(DISTINCT originator_id) FROM journal")

        rows = await in_a_thread(lambda: list(stock_report(database)))
        order = await in_a_thread(lambda: stock_order(database))
        folded = await in_a_thread(lambda: replay_stock(database, numbers[3]))

    assert [row for row in rows if not row.same] == []
    assert [row.account for row in rows] == sorted(row.account for row in rows)
    assert len(rows) == streams > len(numbers)
    assert sum(row.entries for row in rows) == entries > 1000
    assert order == StockOrder(entries, True)
    assert folded == ours[numbers[3]]
    assert folded.closed


async def test_a_history_longer_than_a_page_reads_the_same(database: str, pool: asyncpg.Pool, intake: Intake) -> None:
    count = ENTRIES_OF_PAGE + 7
    sent = [reading("1000000", f"sms {n}", 100 + n % 2) for n in range(count)]
    await intake.handle([*open_household("1000000"), *sent])
    ours = await intake.account("1000000")

    assert ours.version > count
    assert await in_a_thread(lambda: compare_stock(database, "1000000")) == StockRow("1000000", ours.version, True)
    assert await in_a_thread(lambda: replay_stock(database, "1000000")) == ours


async def test_an_entry_of_an_older_shape_reads_the_same(
    database: str, operator: asyncpg.Connection, intake: Intake
) -> None:
    await intake.handle(open_household("1000000"))
    await operator.execute(
        """
        INSERT INTO journal (originator_id, originator_version, topic, state, digest)
        SELECT '1000000', 3, 'payment-received.1', convert_to($1, 'UTF8'), digest
          FROM journal WHERE originator_id = '1000000' AND originator_version = 2
        """,
        '{"recorded_at":"2024-02-01T00:00:00Z","channel":"office","actor":"clerk:7","receipt":"r","event":{"amount":"5.00",'
        '"paid_on":"2024-02-01","received_at":"2024-02-01T00:00:00Z","purpose":"ENERGY","reference":"1"}}',
    )

    folded = await in_a_thread(lambda: replay_stock(database, "1000000"))
    assert folded.ledger.balance == -5
    assert await in_a_thread(lambda: compare_stock(database, "1000000")) == StockRow("1000000", 3, True)


async def test_an_account_that_is_not_in_the_journal_is_nobodys(database: str) -> None:
    assert (await in_a_thread(lambda: replay_stock(database, "1000000"))).situation is Situation.UNKNOWN
    rows = await in_a_thread(lambda: list(stock_report(database, ["1000000"])))
    assert rows == [StockRow("1000000", 0, True)]
    assert await in_a_thread(lambda: list(stock_report(database))) == []
    assert await in_a_thread(lambda: stock_order(database)) == StockOrder(0, True)


async def test_what_only_one_of_the_readers_is_shown_is_named(
    database: str, operator: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    intake = Intake(pool, DEFAULT_RULEBOOK)
    for number in ("1000000", "1000001", "1000002"):
        await intake.handle([*open_household(number), reading(number, f"sms {number}", 185)])
    # Whoever sets the path of the supplier's sessions shows them another journal; the library names the schema.
    await operator.execute(
        "CREATE SCHEMA shown; CREATE TABLE shown.journal AS SELECT * FROM public.journal;"
        " CREATE INDEX ON shown.journal (originator_id, originator_version);"
        " UPDATE shown.journal SET state = convert_to(replace(convert_from(state, 'UTF8'), '185', '184'), 'UTF8')"
        " WHERE originator_id = '1000000';"
        " DELETE FROM public.journal WHERE originator_id = '1000001' AND originator_version = 3;"
    )

    await operator.execute(
        f"ALTER DATABASE {await operator.fetchval('SELECT current_database()')} SET search_path = shown, public"
    )

    rows = await in_a_thread(lambda: list(stock_report(database)))
    order = await in_a_thread(lambda: stock_order(database))

    assert rows == [
        StockRow("1000000", 3, False, "entry 3: the two readers tell another entry"),
        StockRow("1000001", 3, False, "after entry 2 the stock library reads 0 more, our own reader 1"),
        StockRow("1000002", 3, True),
    ]
    assert order == StockOrder(0, False, "1000000, entry 3: the two readers tell another entry")


async def test_an_entry_that_cannot_be_read_is_said_and_stops_nobody_else(
    database: str, operator: asyncpg.Connection, intake: Intake
) -> None:
    await intake.handle([*open_household("1000000"), *open_household("1000001")])
    await operator.execute(
        "UPDATE journal SET topic = 'meter-lost.1' WHERE originator_id = '1000000' AND originator_version = 2"
    )

    rows = await in_a_thread(lambda: list(stock_report(database, ["1000000", "1000001"])))
    order = await in_a_thread(lambda: stock_order(database))

    assert rows == [StockRow("1000000", 0, False, "after entry 0: UnknownTopic"), StockRow("1000001", 2, True)]
    assert order.difference == "among the notifications after 0: UnknownTopic"


def test_no_other_command_waits_for_the_librarys_driver_to_be_loaded() -> None:
    look = "import sys, bels.cli; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], timeout=60, check=False).returncode == 0
