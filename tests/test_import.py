"""An import: two files become accounts, readings and closed periods, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import csv
import random
import signal
import subprocess
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bels.app import opened
from bels.domain.periods import period_of
from bels.domain.terms import Period, Settlement
from bels.import_files import AccountsFile, ImportFileError, ReadingsFile
from bels.importing import Import
from bels.progress import progress
from bels.settings import Settings
from bels.statement import as_json, find_statement
from tests.command import BELS, NOT_COMPARED, bels, environment, fetch, statement_of, views
from tests.conftest import new_supplier
from tests.rules import DEFAULT_RULEBOOK

ACCOUNTS = "account,opened_on,locality,stove,rooms,residents,meter,capacity,registers,initial\n"
READINGS = "account,received_at,channel,values\n"
HOUSEHOLD = "1000101,2024-03-22,urban,gas,2,3,M1000101,5,half_peak|night|peak,14124|13047|5795\n"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOUSEHOLDS = Path(__file__).parents[2] / "shared" / "data" / "households.csv"


def written(path: Path, text: str | bytes) -> Path:
    """Write a file and give its path."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def run_import(
    database: str, folder: Path, accounts: str, readings: str, *more: str
) -> subprocess.CompletedProcess[str]:
    """Run ``bels import`` of these rows."""
    first = written(folder / "accounts.csv", ACCOUNTS + accounts)
    second = written(folder / "readings.csv", READINGS + readings)
    return bels("import", first, second, *more, env=environment(database))


async def feed(
    database: str,
    accounts: Path,
    readings: Path,
    through: str | None = None,
    settlement: Settlement = Settlement.REDISTRIBUTE,
) -> Import:
    """Import files in this process."""
    job = Import(accounts, readings, datetime.now(UTC))
    with progress("", 0, "") as silent:
        job.check(silent)
        settings = Settings(database_url=database)
        async with opened(settings, DEFAULT_RULEBOOK.with_settlement(settlement)) as supplier:
            await job.store(supplier, Period(through) if through else job.default_close_through(), silent)
    job.close()
    return job


async def statement(database: str, account: str) -> dict[str, Any]:
    """Read a statement in this process."""
    async with opened(Settings(database_url=database)) as supplier:
        found = await find_statement(supplier, account)
    assert found is not None
    return as_json(found)


def period_of_day(day: str) -> Period:
    """Give the period of a reading taken on a day."""
    return period_of(datetime.fromisoformat(f"{day}T12:00:00+03:00"))


def rejects(path: Path) -> list[list[str]]:
    """Read the rejects of a file, without the line of columns."""
    with path.with_name(path.name + ".rejects.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def other_database(postgres: str, template: str) -> str:
    """Give a second supplier, to compare with."""
    return new_supplier(postgres, template, "bels_test_other")


def town(folder: Path, accounts: int, months: int) -> tuple[Path, Path]:
    """Write a town of seeded households, some of whose months are missing."""
    chance = random.Random(11)
    opened_rows, readings = [], []
    for i in range(accounts):
        number = 2_000_000 + i
        registers = chance.choice((("total",), ("day", "night"), ("half_peak", "night", "peak")))
        values = [chance.randrange(100, 80_000) for _ in registers]
        opened_rows.append(
            f"{number},2024-03-{chance.randrange(1, 25):02d},urban,gas,2,3,M{number},6,"
            f"{'|'.join(registers)},{'|'.join(map(str, values))}\n"
        )
        for month in range(months):
            values = [v + chance.randrange(20, 150) for v in values]
            if chance.random() < 0.15:
                continue
            day = date(2024 + (3 + month) // 12, (3 + month) % 12 + 1, chance.randrange(15, 26))
            channel = chance.choice(("sms", "web", "bank", "mobile"))
            readings.append(
                f"{number},{day}T{chance.randrange(10, 22)}:00:00+03:00,{channel},{'|'.join(map(str, values))}\n"
            )
    chance.shuffle(readings)
    return (
        written(folder / "accounts.csv", ACCOUNTS + "".join(opened_rows)),
        written(folder / "readings.csv", READINGS + "".join(readings)),
    )


def test_an_import_bills_every_period_that_was_over_at_its_last_reading(database: str, tmp_path: Path) -> None:
    readings = (
        "1000101,2024-06-22T12:00:00+03:00,bank,14452|13315|6107\n"
        "1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887\n"
    )
    done = run_import(database, tmp_path, HOUSEHOLD, readings)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert not (tmp_path / "readings.csv.rejects.csv").exists()
    said = statement_of("1000101", environment(database))
    assert [(p["period"], p["mode"], p["usage_kwh"]) for p in said["periods"]] == [
        ("2024-03", "METERED", {"half_peak": 0, "night": 0, "peak": 0}),
        ("2024-04", "METERED", {"half_peak": 103, "night": 59, "peak": 92}),
        ("2024-05", "NORMATIVE", {"total": 138}),
    ]
    assert said["estimation"] == {"mode": "NORMATIVE", "missed_in_a_row": 1}
    # Urban, gas: 6.73 a kWh since 2022-12; the norm is 46 a person.
    may = said["periods"][-1]
    assert may["charges"] == [
        {
            "register": "total",
            "kwh": 138,
            "rate": "6.73",
            "range": 1,
            "tariff_version": "MO/urban_gas/single/2022-12-01",
            "rule": "PP354:59(2)",
            "mode": "NORMATIVE",
            "amount": "928.74",
        }
    ]
    assert (may["charges_total"], may["recalculation_total"], may["bill_total"]) == ("928.74", "0.00", "928.74")
    assert (may["due_on"], may["recalculations"]) == ("2024-06-10", [])
    assert said["balance"] == f"{sum(Decimal(p['bill_total']) for p in said['periods']):.2f}"
    assert (said["payments"], said["penalties"], said["penalty_balance"]) == ([], [], "0.00")
    # The last reading waits for the end of its period: now it is over.
    closed = run_import(database, tmp_path, HOUSEHOLD, readings, "--close-through", "2024-06")
    assert closed.returncode == 0, closed.stderr
    june = statement_of("1000101", environment(database))["periods"][-1]
    assert (june["mode"], june["usage_kwh"]) == ("METERED", {"half_peak": 111, "night": 103, "peak": 108})
    [line] = june["recalculations"]
    assert (line["period"], line["reason"], line["rule"]) == ("2024-05", "SETTLEMENT", "policy:REDISTRIBUTE")
    assert line["before_kwh"] == {"total": 138}
    assert line["after_kwh"] == {"half_peak": 114, "night": 106, "peak": 112}
    assert line["money_before"] == "928.74"
    assert Decimal(line["difference"]) == Decimal(line["money_after"]) - Decimal("928.74")
    assert june["recalculation_total"] == line["difference"]
    assert Decimal(june["bill_total"]) == Decimal(june["charges_total"]) + Decimal(line["difference"])
    assert list(june["usage_kwh"]) == ["half_peak", "night", "peak"]


def test_bad_rows_are_reported_with_line_and_reason_and_the_good_ones_are_kept(database: str, tmp_path: Path) -> None:
    accounts = HOUSEHOLD + "1000102,2024-13-01,urban,gas,2,3,M2,5,total,100\n" + HOUSEHOLD
    readings = (
        "1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887\n"
        "1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887\n"
        "1000101,2024-05-22T12:00:00,sms,14329|13194|6000\n"
        "1000101,2024-05-22T12:00:00+03:00,sms,14329|13194\n"
        "1000102,2024-05-22T12:00:00+03:00,sms,200\n"
        "1000101,2024-03-01T12:00:00+03:00,sms,14000|13000|5000\n"
        "\n"
        '1000101,2024-05-23T12:00:00+03:00,sms,"1432x|13194|6000"\n'
        "1000101,2024-06-20T12:00:00+03:00,sms,99329|13400|6200\n"
        "1000101,2024-07-20T12:00:00+03:00,sms,14552|13415|6207\n"
    )
    done = run_import(database, tmp_path, accounts, readings)
    assert done.returncode == 1
    assert [row[:2] for row in rejects(tmp_path / "accounts.csv")] == [["3", "BAD_DATES"]]
    assert [row[:2] for row in rejects(tmp_path / "readings.csv")] == [
        ["4", "BAD_DATES"],
        ["5", "TOO_FEW_VALUES"],
        ["6", "UNKNOWN_ACCOUNT"],
        ["7", "BAD_DATES"],
        ["9", "BAD_VALUE"],
    ]
    naive = rejects(tmp_path / "readings.csv")[0]
    assert "no offset: write 2024-04-22T12:00:00+03:00" in naive[2]
    assert naive[3] == "1000101,2024-05-22T12:00:00,sms,14329|13194|6000"
    assert str(tmp_path / "readings.csv.rejects.csv") in done.stdout
    assert "Readings accepted: 2 (and 1 were here before)" in done.stdout
    assert "line 10: 1000101 IMPLAUSIBLE: 99329|13400|6200, previous 14227|13106|5887" in done.stdout
    # What was wrong is put right, and the rejects of the earlier run are gone.
    again = run_import(database, tmp_path, HOUSEHOLD, "1000101,2024-05-22T12:00:00+03:00,sms,14329|13194|6000\n")
    assert again.returncode == 0, again.stdout + again.stderr
    assert not list(tmp_path.glob("*.rejects.csv"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n", "is empty"),
        (b"account;received_at;channel;values\n", "separated by semicolons: save it with commas"),
        (b"account,received_at,values\n", "lacks the columns 'channel'"),
        (b"account,received_at,channel,values,note\n", "unknown columns 'note'"),
        (b"account,account,received_at,channel,values\n", "names twice 'account'"),
        ("account,received_at,channel,values\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_with_a_sentence(text: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match=sentence):
        ReadingsFile(written(tmp_path / "readings.csv", text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    accounts = written(tmp_path / "accounts.csv", ACCOUNTS)
    done = bels("import", accounts, tmp_path / "nothing.csv", env=environment("postgresql://nobody@/nothing"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"bels: {tmp_path / 'nothing.csv'} does not exist\n"


def check_readings(folder: Path, text: bytes) -> ReadingsFile:
    """Check a file of readings."""
    readings = ReadingsFile(written(folder / "readings.csv", text))
    assert sum(readings.check(NOW)) >= 0
    return readings


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("100101,2024-04-22T12:00:00+03:00,sms,1", "BAD_ACCOUNT"),
        ("١٠٠٠١٠١,2024-04-22T12:00:00+03:00,sms,1", "BAD_ACCOUNT"),
        ("1000101,2024-04-22,sms,1", "BAD_DATES"),
        ("1000101,22.04.2024 12:00,sms,1", "BAD_DATES"),
        ("1000101,2024-02-30T12:00:00+03:00,sms,1", "BAD_DATES"),
        ("1000101,0001-01-01T00:00:00+03:00,sms,1", "BAD_DATES"),
        ("1000101,9999-12-31T23:59:59-12:00,sms,1", "RECEIVED_IN_FUTURE"),
        ("1000101,2026-06-01T00:00:01+00:00,sms,1", "RECEIVED_IN_FUTURE"),
        ("1000101,2024-04-22T12:00:00+03:00,pigeon,1", "BAD_ROW"),
        ("1000101,2024-04-22T12:00:00+03:00,closing,1", "BAD_ROW"),
        ("1000101,2024-04-22T12:00:00+03:00,sms,", "TOO_FEW_VALUES"),
        ("1000101,2024-04-22T12:00:00+03:00,sms", "BAD_ROW"),
        ("1000101,2024-04-22T12:00:00+03:00,sms,1,2", "BAD_ROW"),
        ('1000101,2024-04-22T12:00:00+03:00,sms,"1', "BAD_ROW"),
        ("1000101;2024-04-22T12:00:00+03:00;sms;1", "BAD_ROW"),
    ],
)
def test_a_row_of_readings_that_cannot_be_imported_says_why(row: str, reason: str, tmp_path: Path) -> None:
    check_readings(tmp_path, (READINGS + row).encode()).close()
    assert [(line, why, text) for line, why, _, text in rejects(tmp_path / "readings.csv")] == [("2", reason, row)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("100010,2024-03-22,urban,gas,2,3,M1,5,total,1", "BAD_ACCOUNT"),
        ("1000101,22.03.2024,urban,gas,2,3,M1,5,total,1", "BAD_DATES"),
        ("1000101,2026-06-02,urban,gas,2,3,M1,5,total,1", "BAD_DATES"),
        ("1000101,2024-03-22,city,gas,2,3,M1,5,total,1", "BAD_ROW"),
        ("1000101,2024-03-22,urban,wood,2,3,M1,5,total,1", "BAD_ROW"),
        ("1000101,2024-03-22,urban,gas,0,3,M1,5,total,1", "BAD_ROW"),
        ("1000101,2024-03-22,urban,gas,2,-1,M1,5,total,1", "BAD_RESIDENTS"),
        ("1000101,2024-03-22,urban,gas,2,3,,5,total,1", "BAD_METER"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,4,total,1", "BAD_METER"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,day,1", "BAD_METER"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,T1|T2,1|2", "BAD_METER"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,day|night,1", "TOO_FEW_VALUES"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,total,1|2", "TOO_MANY_VALUES"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,total,100000", "BAD_VALUE"),
        ("1000101,2024-03-22,urban,gas,2,3,M1,5,total,1.5", "BAD_VALUE"),
    ],
)
def test_a_row_of_accounts_that_cannot_be_imported_says_why(row: str, reason: str, tmp_path: Path) -> None:
    accounts = AccountsFile(written(tmp_path / "accounts.csv", ACCOUNTS + row))
    accounts.check(NOW)
    accounts.close()
    assert [(line, why, text) for line, why, _, text in rejects(tmp_path / "accounts.csv")] == [("2", reason, row)]


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf"values",channel,account,received_at\r\n"1|2", sms ,1000101,2024-04-22T09:00:00Z\r\n\r\n'
    readings = check_readings(tmp_path, text)
    [row] = readings.of(1000101)
    assert (row.line, row.number, row.channel, row.values) == (2, "1000101", "sms", "1|2")
    assert row.received_at == datetime(2024, 4, 22, 9, tzinfo=UTC)
    readings.close()


def test_readings_come_out_account_by_account_in_order_of_time(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = [(chance.randrange(1_000_000, 1_000_050), chance.randrange(10_000)) for _ in range(3000)]
    start = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [f"{n},{(start + timedelta(minutes=m)).isoformat()},web,{i}\n" for i, (n, m) in enumerate(rows)]
    readings = check_readings(tmp_path, (READINGS + "".join(lines)).encode())
    for number in {n for n, _ in rows}:
        # Of the same moment the later line comes later.
        expected = sorted((m, i) for i, (n, m) in enumerate(rows) if n == number)
        assert [int(row.values) for row in readings.of(number)] == [i for _, i in expected]
        assert readings.count(number) == len(expected)
    readings.close()


def test_an_import_run_twice_stores_everything_once(database: str, tmp_path: Path) -> None:
    accounts, readings = town(tmp_path, accounts=20, months=6)
    first = bels("import", accounts, readings, env=environment(database))
    assert first.returncode == 0, first.stderr
    before = asyncio.run(views(database))
    again = bels("import", accounts, readings, env=environment(database))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Accounts opened: 0 (and 20 were here before)" in again.stdout
    assert "Periods closed: 0" in again.stdout
    assert asyncio.run(views(database)) == before


async def test_another_row_for_an_account_that_exists_is_reported(database: str, tmp_path: Path) -> None:
    accounts = written(tmp_path / "accounts.csv", ACCOUNTS + HOUSEHOLD)
    readings = written(tmp_path / "readings.csv", READINGS + "1000101,2024-04-22T12:00:00+03:00,sms,14227|13106|5887\n")
    await feed(database, accounts, readings)
    written(accounts, ACCOUNTS + HOUSEHOLD.replace("gas", "electric"))
    written(readings, READINGS + "1000101,2024-05-22T12:00:00+03:00,sms,14329|13194|6000\n")
    job = await feed(database, accounts, readings)
    assert [row[1] for row in rejects(accounts)] == ["ACCOUNT_EXISTS"]
    # Its readings are good rows all the same.
    assert job.done.readings == 1


async def test_a_reading_that_bels_refuses_is_a_rejected_row(database: str, tmp_path: Path) -> None:
    rows = "1000101,2024-04-22T12:00:00+03:00,sms,142270|13106|5887\n"
    accounts = written(tmp_path / "accounts.csv", ACCOUNTS + HOUSEHOLD)
    readings = written(tmp_path / "readings.csv", READINGS + rows)
    await feed(database, accounts, readings)
    [[line, reason, detail, _]] = rejects(readings)
    assert (line, reason) == ("2", "TOO_MANY_DIGITS")
    assert detail == "the meter shows half_peak|night|peak of 5 digits; not 142270"


def test_a_period_that_is_not_over_is_not_closed_by_an_import(database: str, tmp_path: Path) -> None:
    done = run_import(database, tmp_path, HOUSEHOLD, "", "--close-through", "2099-12")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bels: 2099-12 is not over: it can be closed from 2100-01-01 00:00 Moscow time")
    assert asyncio.run(fetch(database, "SELECT count(*) FROM journal")) == [(0,)]


def test_an_import_that_is_killed_and_run_again_equals_one_run(
    database: str, other_database: str, tmp_path: Path
) -> None:
    accounts, readings = town(tmp_path, accounts=300, months=12)
    command = ("import", str(accounts), str(readings), "--close-through", "2025-03")
    stopped = subprocess.Popen(
        [BELS, *command], env=environment(database), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    async def kill_in_the_middle() -> int:
        db = await asyncpg.connect(database)
        try:
            while stopped.poll() is None:
                entries = int(await db.fetchval("SELECT count(*) FROM journal WHERE originator_id LIKE '2%'"))
                if entries:
                    stopped.send_signal(signal.SIGKILL)
                    return entries
                await asyncio.sleep(0.01)
            return 0
        finally:
            await db.close()

    assert asyncio.run(kill_in_the_middle())
    assert stopped.wait() == -signal.SIGKILL
    again = bels(*command, env=environment(database))
    assert again.returncode == 0, again.stdout + again.stderr
    once = bels(*command, env=environment(other_database))
    assert once.returncode == 0, once.stderr
    assert asyncio.run(views(database, without=tuple(NOT_COMPARED))) == asyncio.run(
        views(other_database, without=tuple(NOT_COMPARED))
    )
    assert statement_of("2000007", environment(database)) == statement_of("2000007", environment(other_database))


def test_an_import_that_is_told_to_stop_says_how_to_go_on(database: str, tmp_path: Path) -> None:
    accounts, readings = town(tmp_path, accounts=300, months=24)
    command: list[str | Path] = [BELS, "import", accounts, readings]
    with subprocess.Popen(command, env=environment(database), stderr=subprocess.PIPE, text=True) as stopped:
        assert stopped.stderr is not None
        assert stopped.stderr.readline().startswith("check: 100 %")
        time.sleep(0.7)
        stopped.send_signal(signal.SIGTERM)
        said = stopped.stderr.read()
        assert stopped.wait() == 130
    assert said.splitlines()[-1] == "bels: stopped; run the same command again to go on"
    assert "Traceback" not in said


@pytest.mark.parametrize("settlement", list(Settlement))
async def test_real_households_are_billed_what_their_meters_counted(
    settlement: Settlement, database: str, tmp_path: Path
) -> None:
    if not HOUSEHOLDS.exists():
        pytest.skip(f"THE REAL HOUSEHOLDS ARE NOT HERE: {HOUSEHOLDS}")
    order = ("half_peak", "night", "peak")
    rows: dict[str, list[dict[str, str]]] = {}
    with HOUSEHOLDS.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["account"], []).append(row)
    opened_rows, sent = "", ""
    for account, own in rows.items():
        own.sort(key=lambda row: row["taken_on"])
        values = "|".join(own[0][register] for register in order)
        opened_rows += f"{account},{own[0]['taken_on']},urban,gas,2,3,M{account},5,{'|'.join(order)},{values}\n"
        # Months left out: one, then four in a row; the last two readings stay, so that every policy has settled.
        left_out = {5, 9, 10, 11, 12} & set(range(1, len(own) - 2))
        for i, row in enumerate(own[1:], 1):
            if i not in left_out:
                sent += f"{account},{row['taken_on']}T12:00:00+03:00,sms,{'|'.join(row[r] for r in order)}\n"
    accounts = written(tmp_path / "accounts.csv", ACCOUNTS + opened_rows)
    readings = written(tmp_path / "readings.csv", READINGS + sent)
    last_months = {account: period_of_day(own[-1]["taken_on"]) for account, own in rows.items()}
    job = await feed(database, accounts, readings, max(last_months.values()), settlement)
    assert (job.done.held_count, len(job.readings.rejects), len(job.accounts.rejects)) == (0, 0, 0)
    assert not job.done.closed.refusals
    for account, own in rows.items():
        billed = 0
        for period in (await statement(database, account))["periods"]:
            if period["period"] <= last_months[account]:
                billed += sum(period["usage_kwh"].values())
                for line in period["recalculations"]:
                    billed += sum(line["after_kwh"].values()) - sum(line["before_kwh"].values())
        # One of the meters passes zero on the way.
        assert billed == sum((int(own[-1][r]) - int(own[0][r])) % 100_000 for r in order), account


def test_a_row_with_a_control_character_stores_nothing_of_its_account(database: str, tmp_path: Path) -> None:
    done = run_import(database, tmp_path, HOUSEHOLD.replace("M1000101", "M\x00"), "")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert [row[1] for row in rejects(tmp_path / "accounts.csv")] == ["BAD_ROW"]
    mended = run_import(database, tmp_path, HOUSEHOLD, "")
    assert mended.returncode == 0, mended.stderr


def test_a_rejects_file_that_cannot_be_written_stops_the_import_before_it_stores(database: str, tmp_path: Path) -> None:
    (tmp_path / "readings.csv.rejects.csv").mkdir()

    done = run_import(database, tmp_path, HOUSEHOLD, "")

    assert done.returncode == 2
    assert "rejects" in done.stderr
    assert "Traceback" not in done.stderr
    assert asyncio.run(views(database))["overview"] == []


def test_only_what_was_accepted_is_counted_as_here_before(database: str, tmp_path: Path) -> None:
    rows = "".join(
        f"1000101,2024-04-22T1{i}:00:00+03:00,sms,{values}\n"
        for i, values in enumerate(("14227|13106|5887", "142270|13106|5887", "99999|13106|5887"))
    )
    run_import(database, tmp_path, HOUSEHOLD, rows)

    again = run_import(database, tmp_path, HOUSEHOLD, rows)

    assert "Readings accepted: 0 (and 1 were here before)" in again.stdout


def published_rules(folder: Path, kind: str) -> Path:
    """Write a file of the rates that nobody has published to us: urban, gas, from July 2025 on."""
    return written(
        folder / "rates.toml",
        f"""
[[tariff]]
group = "MO/urban_gas"
scheme = "{kind}"
effective_on = 2025-07-01
rates = {{ total = ["8.24", "10.50", "12.00"] }}
status = {{ total = "published" }}
source = "a newspaper"
""",
    )


ONE_REGISTER = "1000102,2025-04-02,urban,gas,2,3,M2,5,total,100\n"
MONTHLY = "".join(f"1000102,2025-{month:02d}-20T12:00:00+03:00,web,{month * 100}\n" for month in range(4, 11))


async def refusals(database: str) -> list[tuple[Any, ...]]:
    """List the closings that stand refused in the journal."""
    return await fetch(
        database,
        "SELECT convert_from(state, 'UTF8')::jsonb #>> '{event,reason}' FROM journal"
        " WHERE topic LIKE 'command-refused.%' AND originator_id <> 'rulebook' ORDER BY originator_id, originator_version",
    )


def test_a_period_without_a_rate_stops_an_account_once_and_is_closed_when_the_rate_is_published(
    database: str, tmp_path: Path
) -> None:
    env = environment(database)
    published = Path(__file__).parents[1] / "src/bels/rulebooks/moscow-region.toml"
    done = run_import(database, tmp_path, ONE_REGISTER, MONTHLY, "--rulebook", str(published))
    assert done.returncode == 1, done.stderr
    assert "Closings refused, NO_TARIFF: 1 (the first: account 1000102, 2025-07;" in done.stdout
    assert "run the same command again" in done.stdout
    # The later periods are not asked for, the later readings are taken.
    assert asyncio.run(refusals(database)) == [("NO_TARIFF",)]
    assert asyncio.run(fetch(database, "SELECT count(*) FROM reading WHERE account = '1000102'")) == [(8,)]
    assert statement_of("1000102", env)["periods"][-1]["period"] == "2025-06"

    closed = bels("close", "2025-09", env=env)
    assert closed.returncode == 1
    # Neither does a closing of several periods ask for the later ones.
    assert asyncio.run(refusals(database)) == [("NO_TARIFF",), ("NO_TARIFF",)]

    rates = published_rules(tmp_path, "single")
    assert bels("rulebook", "publish", rates, env=env).returncode == 0
    closed = bels("close", "2025-09", env=env)
    assert closed.returncode == 0, closed.stdout
    assert "Periods closed: 3" in closed.stdout
    assert "Bills: 2,472.00 roubles (charges 2,472.00, recalculations 0.00)" in closed.stdout
    september = statement_of("1000102", env)["periods"][-1]
    assert (september["period"], september["bill_total"]) == ("2025-09", "824.00")
