"""The trail as a file: complete, in order, harmless in a spreadsheet, and known to be cut where it is."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import asyncpg
import pytest

from bels.audit.trail.export import HEADINGS, ExportForm, exported
from bels.audit.trail.finding import TrailFilter
from bels.audit.trail.telling import catch_up
from bels.domain.terms import Channel
from tests.audit.trail.story import Story, accepted, at, paid, reversed_payment


@pytest.fixture
async def story(pool: asyncpg.Pool) -> Story:
    """Give an account with readings, a payment and its reversal."""
    story = Story(pool)
    for day in range(1, 8):
        await story.tell("1000001", at(1, day), accepted(100 + day), "sms:5f", Channel.SMS)
    payment = await story.tell("1000002", at(1, 9), paid("900.00"), "partner:c-1", Channel.BANK)
    taken_back = replace(reversed_payment(payment, "900.00"), ground='=HYPERLINK("http://x")')
    await story.tell("1000002", at(1, 10), taken_back, "=cmd|calc", Channel.OFFICE)
    return story


async def written(pool: asyncpg.Pool, form: ExportForm, wanted: TrailFilter = TrailFilter()) -> str:  # noqa: B008
    told = await catch_up(pool)
    return "".join([piece.text async for piece in exported(pool, wanted, form, told, page=3)])


async def test_json_lines_hold_every_entry_in_order_and_a_line_that_says_whole(story: Story) -> None:
    lines = [json.loads(line) for line in (await written(story.pool, ExportForm.JSONL)).splitlines()]
    *entries, end = lines
    assert [(each["account"], each["entry"]) for each in entries] == [
        *(("1000001", n) for n in range(1, 8)),
        ("1000002", 1),
        ("1000002", 2),
    ]
    assert end["whole"] is True
    assert (end["entries"], end["behind"], end["filter"]) == (9, 0, [])
    payment = entries[7]
    assert (payment["amount"], payment["data"]["amount"], payment["kind"]) == ("900.00", "900.00", "PaymentReceived")
    assert payment["recorded_at"] == "2026-01-09T09:00:00.000000Z"


async def test_a_spreadsheet_reads_russian_and_runs_nothing(story: Story) -> None:
    text = await written(story.pool, ExportForm.CSV)
    assert text.startswith("\ufeff")
    rows = list(csv.reader(io.StringIO(text[1:]), delimiter=";"))
    assert tuple(rows[0]) == HEADINGS
    assert rows[-2][:6] == ["1000002", "2", "10.01.2026 12:00:00", "21.01.2026 12:00:00", "PaymentReversed", "офис"]
    assert rows[-2][6] == "'=cmd|calc"
    assert rows[-2][9] == "900,00"
    assert rows[-1] == ["Выгрузка полная, записей:", "9"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))]


async def test_an_empty_file_is_whole_too(story: Story) -> None:
    nobody = TrailFilter(actor="nobody")
    assert json.loads(await written(story.pool, ExportForm.JSONL, nobody))["entries"] == 0
    rows = (await written(story.pool, ExportForm.CSV, nobody)).splitlines()
    assert rows[1:] == ["Выгрузка полная, записей:;0;actor=nobody"]


async def test_a_spreadsheet_says_what_the_index_did_not_have_yet(story: Story) -> None:
    told = replace(await catch_up(story.pool), behind=7)
    pieces = [piece.text async for piece in exported(story.pool, TrailFilter(), ExportForm.CSV, told)]
    assert pieces[-1] == "Выгрузка полная, записей:;9;позже добавлено и здесь нет, не больше: 7\r\n"


async def test_a_file_ends_where_the_trail_ended_when_it_was_begun(story: Story) -> None:
    told = await catch_up(story.pool)
    texts = []
    async for piece in exported(story.pool, TrailFilter(), ExportForm.JSONL, told, page=3):
        texts.append(piece.text)
        await story.tell("1000003", at(2, len(texts)), accepted(5))
        await story.told()
    assert json.loads(texts[-1])["entries"] == 9


async def test_a_reader_that_waits_holds_no_connection(story: Story) -> None:
    told = await catch_up(story.pool)
    pieces = exported(story.pool, TrailFilter(), ExportForm.JSONL, told, page=3)
    await anext(pieces)
    busy = await story.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start IS NOT NULL AND backend_type = 'client backend'"
    )
    assert busy == 0
    assert story.pool.get_idle_size() == story.pool.get_size()
    await pieces.aclose()


async def test_each_piece_names_the_accounts_that_are_shown(story: Story) -> None:
    told = await catch_up(story.pool)
    pieces = [piece async for piece in exported(story.pool, TrailFilter(), ExportForm.CSV, told, page=3)]
    assert [piece.accounts for piece in pieces] == [("1000001",), ("1000001",), ("1000001", "1000002"), ()]


async def test_an_entry_that_the_journal_lost_is_said_to_be_lost(story: Story) -> None:
    await story.told()
    await story.pool.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    await story.pool.execute("DELETE FROM journal WHERE originator_id = '1000002' AND originator_version = 2")
    lines = [json.loads(line) for line in (await written(story.pool, ExportForm.JSONL)).splitlines()]
    assert "verify" in lines[-2]["lost"]
    assert "verify" in (await written(story.pool, ExportForm.CSV)).splitlines()[-2]
