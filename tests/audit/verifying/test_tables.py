"""The tables that the proof rests on are plain, the same for everybody, and forbid to change what is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from bels.audit.findings import FindingKind
from bels.audit.verifying.tables import TablesChecked, check_tables
from bels.journal.write import Db
from tests.audit.verifying.town import Town
from tests.command import bels, environment


@pytest.fixture
async def db(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Give a connection to a supplier's database, of which nothing stays."""
    async with pool.acquire() as connection:
        change = connection.transaction()
        await change.start()
        yield connection
        await change.rollback()


async def test_nothing_is_wrong_with_tables_as_they_were_made(db: Db) -> None:
    assert await check_tables(db) == TablesChecked()


A_VIEW = """
    ALTER TABLE journal RENAME TO journal_that_is_true;
    CREATE VIEW journal AS SELECT * FROM journal_that_is_true WHERE current_setting('application_name') <> 'bels'
"""
TWICE = "ALTER TABLE sealed_head DROP CONSTRAINT sealed_head_pkey"
ELSEWHERE = "CREATE SCHEMA aside; CREATE TABLE aside.seal AS TABLE seal; SET LOCAL search_path = aside, public"
OF_ONE_COLUMN = """
    CREATE OR REPLACE TRIGGER journal_is_only_added_to BEFORE UPDATE OF topic OR DELETE OR TRUNCATE ON journal
        EXECUTE FUNCTION bels_nothing_changes()
"""
NOTHING_RAISED = (
    "CREATE OR REPLACE FUNCTION bels_nothing_changes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
)
LYING = """
    CREATE FUNCTION lie() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.state = ''''; RETURN NEW; END';
    CREATE TRIGGER lying BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION lie()
"""
OPERATORS = "SET LOCAL search_path = public, pg_catalog"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (A_VIEW, "journal is no plain table"),
        ("CREATE RULE hide AS ON INSERT TO message DO INSTEAD NOTHING", "message is no plain table"),
        ("CREATE TABLE more () INHERITS (journal)", "journal has rows of other tables among its own"),
        ("ALTER TABLE journal ENABLE ROW LEVEL SECURITY", "journal shows some of its rows to some only"),
        ("ALTER TABLE seal SET UNLOGGED", "seal is a table that does not outlive a crash"),
        ("CREATE TEMPORARY TABLE journal AS TABLE journal", "journal is a table that does not outlive a crash"),
        (TWICE, "sealed_head has no primary key (account, seal)"),
        (ELSEWHERE, "the tables do not stand in one schema"),
        (OPERATORS, "another schema before pg_catalog"),
        ("ALTER TABLE message ADD COLUMN said text GENERATED ALWAYS AS ('') STORED", "columns that are computed"),
        ("ALTER TABLE journal DISABLE TRIGGER ALL", "the trigger that forbids to change journal is gone"),
        ("ALTER TABLE seal ENABLE REPLICA TRIGGER seal_is_only_added_to", "forbids to change seal is gone"),
        ("DROP TRIGGER message_is_only_added_to ON message", "the trigger that forbids to change message is gone"),
        (OF_ONE_COLUMN, "the trigger that forbids to change journal is gone, switched off, or another one"),
        (NOTHING_RAISED, "the trigger that forbids to change sealed_head is gone"),
        (LYING, "journal has triggers that bels did not make: lying"),
    ],
)
async def test_a_table_that_is_not_as_it_was_made_is_told(db: Db, change: str, said: str) -> None:
    await db.execute(change)
    checked = await check_tables(db)
    assert {finding.kind for finding in checked.findings} == {FindingKind.TABLE_CHANGED}
    assert said in "; ".join(finding.text for finding in checked.findings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("GRANT UPDATE ON journal TO CURRENT_USER", "has the right to UPDATE on journal, which nobody needs"),
        ("GRANT UPDATE (raw), DELETE ON message TO PUBLIC", "PUBLIC has the right to DELETE, UPDATE on message"),
        ("CREATE SCHEMA aside; CREATE VIEW aside.journal AS TABLE journal", "another journal in the schema aside"),
        (
            "ALTER ROLE CURRENT_USER SET session_replication_role = replica",
            "begin with session_replication_role=replica",
        ),
    ],
)
async def test_what_is_allowed_that_nobody_needs_is_a_warning(db: Db, change: str, said: str) -> None:
    await db.execute(change)
    checked = await check_tables(db)
    assert checked.findings == ()
    assert said in "; ".join(checked.warnings)


async def test_a_trigger_that_was_off_is_told_although_whoever_opens_puts_it_back(town: Town) -> None:
    await town.bels.pool.execute("ALTER TABLE journal DISABLE TRIGGER journal_is_only_added_to")
    env = environment(town.bels.url, town.folder)
    said = bels("audit", "verify", env=env)
    assert said.returncode == 1, said.stderr
    assert "TABLE_CHANGED: the trigger that forbids to change journal is gone, switched off" in said.stdout
    assert bels("audit", "verify", env=env).returncode == 0


async def test_a_view_in_the_place_of_the_journal_is_named(town: Town) -> None:
    await town.bels.pool.execute(A_VIEW)
    try:
        said = bels("audit", "verify", env=environment(town.bels.url, town.folder))
    finally:
        await town.bels.pool.execute("DROP VIEW journal; ALTER TABLE journal_that_is_true RENAME TO journal")
    assert said.returncode == 2
    assert "TABLE_CHANGED: journal is no plain table" in said.stderr
