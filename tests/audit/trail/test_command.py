"""``bels audit export``: the trail as a file, from the command line."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from tests.audit.trail.story import Story, accepted, at, paid
from tests.command import bels, environment, fetch
from tests.conftest import new_supplier

READS = "SELECT subject, kind, fields, accounts FROM access_log ORDER BY read"


@pytest.fixture(scope="module")
def env(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment of a supplier with two entries, whose trail was never told."""
    url = new_supplier(postgres, template, "bels_test_export")

    async def fill() -> None:
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
            story = Story(pool)
            await story.tell("1000001", at(1, 5), accepted(100))
            await story.tell("1000002", at(1, 6), paid("250.00"))

    asyncio.run(fill())
    return environment(url, tmp_path_factory.mktemp("export"))


def test_the_trail_is_written_and_the_export_is_recorded(env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "trail.csv"
    said = bels("audit", "export", "--kind", "PaymentReceived", "--format", "csv", "--out", out, env=env)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "1 entries.\n")
    heading, row, end = out.read_text("utf-8-sig").splitlines()
    assert heading.startswith("Лицевой счёт;")
    assert row.startswith("1000002;1;06.01.2026 12:00:00;")
    assert end == "Выгрузка полная, записей:;1;kinds=PaymentReceived"
    assert [path.name for path in tmp_path.iterdir()] == ["trail.csv"]
    reads = asyncio.run(fetch(env["BELS_DATABASE_URL"], READS))
    assert reads[-3:] == [
        ("command", "LOCAL", ["trail.export csv kinds=PaymentReceived"], []),
        ("command", "LOCAL", ["trail.export"], ["1000002"]),
        ("command", "LOCAL", ["trail.exported entries=1 whole"], []),
    ]


def test_without_a_file_it_goes_to_the_standard_output(env: dict[str, str]) -> None:
    said = bels("audit", "export", "--account", "1000001", env=env)
    assert said.returncode == 0
    entry, end = (json.loads(line) for line in said.stdout.splitlines())
    assert (entry["account"], entry["kind"], entry["kwh"]) == ("1000001", "ReadingAccepted", 100)
    assert (end["whole"], end["entries"]) == (True, 1)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--kind", "Dreamt", "there is no kind"),
        ("--since", "yesterday", "since is a day"),
        ("--amount-min", "much", "--amount-min is a sum in roubles"),
        ("--out", "/no/such", "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said(env: dict[str, str], option: str, value: str, sentence: str) -> None:
    said = bels("audit", "export", option, value, env=env)
    assert said.returncode == 2
    assert sentence in said.stderr
