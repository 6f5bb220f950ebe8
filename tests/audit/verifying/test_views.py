"""Whatever is changed in a view is found and named; what the entries tell is never called a difference."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import count

import asyncpg
import pytest

from bels.audit.findings import FindingKind
from bels.audit.verifying import views as verifying
from bels.audit.verifying.views import check_strangers, check_views
from bels.domain.commands import MovePaymentOut, PublishRulebook, ReceivePayment, ReversePayment
from bels.domain.money_events import RulebookPublished
from bels.domain.terms import AccountNumber, Channel, EntryNumber, Settlement
from bels.intake import Intake
from bels.journal.journal import RULEBOOK, accounts
from bels.journal.write import SESSION
from bels.messages import Message
from bels.projections.project import retell
from tests.conftest import drop_supplier, new_supplier
from tests.domain.vectors import settlement_of, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import TABLES, feed, message, numbers, open_household, reading, today

LIVES = [vector for vector in vectors("billing") if settlement_of(vector) is Settlement.REDISTRIBUTE][:20]
NAMED = numbers(2_000_000, len(LIVES))
_copies = count(1)

OTHER = {
    "text": "coalesce({0}, '') || '?'",
    "bigint": "coalesce({0}, 0) + 1000",
    "integer": "coalesce({0}, 0) + 1",
    "numeric": "coalesce({0}, 0) + 0.01",
    "boolean": "NOT {0}",
    "date": "coalesce({0}, date '2020-01-01') + 1",
    "timestamp with time zone": "coalesce({0}, '2020-01-01') + interval '1 second'",
    "json": """'{{"other": 1}}'""",
    "jsonb": """'{{"other": 1}}'""",
}
"""What a hand may write in place of a value, by the type of its column."""


def publication(number: int) -> Message:
    """Publish the rules of the tests, with a day off that nobody has reached."""
    book = replace(DEFAULT_RULEBOOK, number=number, days_off=(*DEFAULT_RULEBOOK.days_off, date(2027, 6, 1 + number)))
    return Message(
        Channel.OFFICE,
        f"publish {number}",
        "clerk:7",
        RULEBOOK,
        PublishRulebook(book, number, today(), "file"),
        "rules",
    )


async def tell(url: str) -> None:
    """Tell lives of households with payments of a partner that come and go, one of them for nobody."""
    on = today().date()
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=4) as pool,
        Intake(pool, DEFAULT_RULEBOOK, today).running() as intake,
    ):
        await intake.handle([publication(0)])
        await asyncio.gather(*(feed(intake, vector, number) for vector, number in zip(LIVES, NAMED, strict=True)))
        for number in NAMED:
            paid = ReceivePayment(Decimal("700.00"), on, today(), f"чек {number}")
            outcomes = [
                await intake.submit(replace(message(to, paid, f"{number} {n}"), actor="partner:c-bank"))
                for n, to in enumerate((number, number, f"{int(number) + 5_000_000}"))
            ]
            first, second = (EntryNumber(outcome.version or 0) for outcome in outcomes[:2])
            reversal = ReversePayment(first, today(), "отказ банка")
            move = MovePaymentOut(second, AccountNumber("2000000"), today(), "ошибка")
            await intake.submit(message(number, reversal, f"{number} reversal"))
            await intake.submit(message(number, move, f"{number} move"))
            for n in range(2):
                sent = reading(number, f"{number} reading {n}", 90_000 + n, today())
                await intake.submit(replace(sent, actor="partner:c-bank"))


@pytest.fixture(scope="module")
def lived(postgres: str, template: str) -> Iterator[str]:
    """Give the name of a database with the lives of households; each test copies it."""
    name = f"bels_lived_{os.getpid()}"
    asyncio.run(tell(new_supplier(postgres, template, name)))
    yield name
    asyncio.run(drop_supplier(postgres, name))


@pytest.fixture
def url(postgres: str, lived: str) -> Iterator[str]:
    """Give the URL of a copy that a test may do anything to."""
    name = f"{lived}_{next(_copies)}"
    yield new_supplier(postgres, lived, name)
    asyncio.run(drop_supplier(postgres, name))


@pytest.fixture
async def db(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection as servers have it."""
    connection = await asyncpg.connect(url, server_settings=SESSION)
    yield connection
    await connection.close()


async def everybody(db: asyncpg.Connection) -> list[str]:
    """List all accounts and streams of the journal."""
    return [number async for part in accounts(db, 1000) for number in part]


async def columns(db: asyncpg.Connection, table: str) -> dict[str, str]:
    """Give the columns of a view with their types."""
    rows = await db.fetch(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass('public.' || $1) AND attnum > 0 ORDER BY attnum",
        table,
    )
    return {row["attname"]: row["type"] for row in rows}


async def test_what_was_told_live_follows_from_the_entries(db: asyncpg.Connection) -> None:
    named = await everybody(db)
    assert await check_views(db, named, DEFAULT_RULEBOOK) == []
    assert await check_strangers(db) == []
    for table in TABLES:
        assert await db.fetchval(f"SELECT count(*) FROM {table}") > 3, table
    assert set(verifying.TABLES) == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
async def test_a_changed_column_is_found_and_named(db: asyncpg.Connection, table: str) -> None:
    for column, kind in (await columns(db, table)).items():
        if column == "account":
            continue
        # The fullest row is as good as any.
        row = await db.fetchrow(
            f"SELECT ctid, account, t::text AS said FROM {table} AS t ORDER BY length(t::text) DESC LIMIT 1"
        )
        assert row is not None
        quoted = f'"{column}"'
        await db.execute(f"UPDATE {table} SET {quoted} = {OTHER[kind].format(quoted)} WHERE ctid = $1", row["ctid"])

        found = await check_views(db, [row["account"]], DEFAULT_RULEBOOK)

        assert {(f.kind, f.account) for f in found} == {(FindingKind.VIEW_DIFFERS, row["account"])}, column
        assert all(f.text.startswith(f"view {table}") for f in found)
        said = {f.text.rpartition(": ")[2] for f in found}
        assert said in (
            {f"{column} do not follow from the entries"},
            {"the row is missing, though the entries tell it", "there is a row that the entries do not tell"},
        )
        # It goes to whoever reads reports: nothing of what stands in the rows.
        assert not any(value in f.text for f in found for value in row["said"].split(",") if len(value) > 24)
        # On the same connection the same statements now write where everybody looks.
        await retell(db, [row["account"]], DEFAULT_RULEBOOK)
    assert await check_views(db, await everybody(db), DEFAULT_RULEBOOK) == []


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_was_taken_away_is_found_and_named(db: asyncpg.Connection, table: str) -> None:
    row = await db.fetchrow(f"DELETE FROM {table} WHERE ctid = (SELECT max(ctid) FROM {table}) RETURNING *")
    assert row is not None

    (found,) = await check_views(db, await everybody(db), DEFAULT_RULEBOOK)

    assert (found.account, found.entry) == (row["account"], row.get("entry"))
    assert "the row is missing" in found.text
    assert found.text.startswith(f"view {table}")


@pytest.mark.parametrize("table", TABLES)
async def test_a_row_that_nothing_tells_is_found_and_named(db: asyncpg.Connection, table: str) -> None:
    # A copy of a row, under an account or a key that has none.
    names = list(await columns(db, table))
    key = "entry" if "entry" in names and table != "usage" else "period" if table == "usage" else "account"
    value = {"entry": "100000", "period": "'2031-01'", "account": "'2999999'"}[key]
    quoted = ", ".join(value if name == key else f'"{name}"' for name in names)
    await db.execute(f"INSERT INTO {table} SELECT {quoted} FROM {table} ORDER BY account LIMIT 1")

    found = [*await check_views(db, await everybody(db), DEFAULT_RULEBOOK), *await check_strangers(db)]

    assert [f.kind for f in found] == [FindingKind.VIEW_DIFFERS]
    assert found[0].text.startswith(f"view {table}")
    assert "do not tell" in found[0].text or found[0].account == "2999999"


async def test_a_row_that_stands_twice_is_found(db: asyncpg.Connection) -> None:
    await db.execute(
        "ALTER TABLE payment DROP CONSTRAINT payment_pkey; INSERT INTO payment SELECT * FROM payment ORDER BY account LIMIT 1;"
        " CREATE INDEX ON payment (account, entry)"
    )

    (found,) = await check_views(db, await everybody(db), DEFAULT_RULEBOOK)

    assert found.text.endswith("the row stands 2 times")


async def test_what_differs_in_many_rows_is_bounded(db: asyncpg.Connection) -> None:
    more = 7
    await db.execute(
        "INSERT INTO notice SELECT $1, entry, 'HELD', NULL, now(), 'clerk:7', '{}' FROM generate_series(1001, $2::int) AS entry",
        NAMED[0],
        1000 + verifying.ROWS_NAMED_MAX + more,
    )

    found = await check_views(db, NAMED, DEFAULT_RULEBOOK)

    assert len(found) == verifying.ROWS_NAMED_MAX + 1
    assert found[0].text == "view notice, row of entry 1001: there is a row that the entries do not tell"
    assert found[-1].text.startswith(f"view notice: {more} more rows differ")


async def test_a_forecast_of_before_a_publication_stands_until_its_account_moves(
    url: str, db: asyncpg.Connection
) -> None:
    later, named = [today() + timedelta(hours=n) for n in range(3)], await everybody(db)
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        (published,) = await Intake(pool, DEFAULT_RULEBOOK, lambda: later[1]).handle([publication(1)])
        assert isinstance(published.events[0], RulebookPublished), published.events
        assert await check_views(db, named, DEFAULT_RULEBOOK) == []
        moving = Intake(pool, DEFAULT_RULEBOOK, lambda: later[2])
        await moving.handle([*open_household("1000000"), reading("1000000", "sms", 185)])
    told_by = await db.fetch("SELECT DISTINCT rulebook FROM estimation ORDER BY 1")
    assert [row["rulebook"].rpartition("/")[2] for row in told_by] == ["1", "2"]
    assert await check_views(db, [*named, "1000000"], DEFAULT_RULEBOOK) == []

    # It names rules that were published, but they were not in force any more.
    await db.execute("UPDATE estimation SET rulebook = $1 WHERE account = '1000000'", told_by[0]["rulebook"])
    (found,) = await check_views(db, [*named, "1000000"], DEFAULT_RULEBOOK)
    assert (found.account, found.text) == ("1000000", "view estimation: rulebook do not follow from the entries")


async def test_an_account_that_grows_meanwhile_is_no_finding_and_nobody_waits(url: str, db: asyncpg.Connection) -> None:
    named = await everybody(db)
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=3) as pool,
        pool.acquire() as slow,
        slow.transaction(),
        Intake(pool, DEFAULT_RULEBOOK, today).running() as intake,
    ):
        # Somebody is in the middle of writing; the check does not wait for it.
        await slow.execute("UPDATE overview SET situation = situation WHERE account = $1", named[0])
        done = asyncio.Event()

        async def send() -> int:
            sent = 0
            while not done.is_set():
                number = NAMED[1 + sent % (len(NAMED) - 1)]
                await intake.submit(reading(number, f"{number} meanwhile {sent}", 91_000 + sent, today()))
                sent += 1
            return sent

        sending = asyncio.create_task(send())
        found = [await check_views(db, named, DEFAULT_RULEBOOK) for _ in range(4)]
        done.set()
        assert await sending > 4
        assert found == [[]] * 4
    assert await db.fetchval("SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()") == 0


async def test_an_entry_that_cannot_be_told_is_said_and_hides_nothing_else(db: asyncpg.Connection) -> None:
    await db.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    await db.execute(
        "UPDATE journal SET topic = 'meter-lost.1' WHERE originator_id = $1 AND originator_version = 2", NAMED[0]
    )
    await db.execute("UPDATE overview SET rooms = rooms + 1 WHERE account = $1", NAMED[1])

    found = await check_views(db, await everybody(db), DEFAULT_RULEBOOK)

    assert [(f.account, f.text) for f in found] == [
        (NAMED[0], "the views cannot be told from the entries: UnknownTopic"),
        (NAMED[1], "view overview: rooms do not follow from the entries"),
    ]


async def test_a_view_that_is_not_there_is_said(db: asyncpg.Connection) -> None:
    await db.execute("DROP TABLE notice")

    (found,) = await check_views(db, NAMED, DEFAULT_RULEBOOK)

    assert (found.account, found.text) == (None, "view notice: there is no such table")
