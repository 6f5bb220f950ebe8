"""What ``bels audit replay`` prints, and with which status it ends."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import asyncpg
import pytest

from bels import cli
from tests.audit.replaying.towns import live_demonstration
from tests.conftest import new_supplier


@pytest.fixture(scope="module")
def town(postgres: str, template: str) -> str:
    """Give the database of a town of a few households that has lived."""
    url = new_supplier(postgres, template, "bels_test_replay")

    async def live() -> None:
        async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
            async for _ in live_demonstration(pool, 6, 6, until=datetime(2026, 5, 20, 15, tzinfo=UTC)):
                pass

    asyncio.run(live())
    return url


@pytest.fixture
def environment(town: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the town."""
    monkeypatch.setenv("BELS_DATABASE_URL", town)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end, in this process."""
    with pytest.MonkeyPatch.context() as given:
        given.setattr("sys.argv", ["bels", "audit", "replay", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    told = capsys.readouterr()
    return int(str(ended.value.code)), told.out, told.err


@pytest.mark.usefixtures("environment")
def test_an_account_is_told_at_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    status, now, _ = said(capsys, "1000001")
    assert status == 0
    assert "as known now" in now
    assert "situation     OPEN" in now
    status, then, _ = said(capsys, "1000001", "--as-of", "2026-02-15", "--known-at", "2026-03-01T12:00:00+03:00")
    assert status == 0
    assert "at the end of 2026-02-15, as known at 2026-03-01 12:00:00" in then
    assert "next period   2026-02" in then
    assert len(then) < len(now)
    _, told, _ = said(capsys, "1000001", "--as-of", "2026-02-15", "--json")
    assert json.loads(told)["next_period"] == "2026-02"


@pytest.mark.usefixtures("environment")
def test_every_step_is_told_with_its_rule_and_what_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    status, told, _ = said(capsys, "1000001", "--steps", "--as-of", "2026-04-30")
    assert status == 0
    assert "1. AccountOpened" in told
    assert "by close_period, PP354:app2-f1, rules demonstration" in told
    assert "situation: UNKNOWN -> OPEN" in told
    assert "set aside: it was not true yet" in told


@pytest.mark.usefixtures("environment")
def test_what_we_knew_is_compared_with_what_we_know(capsys: pytest.CaptureFixture[str]) -> None:
    moments = ["--as-of", "2026-03-31", "--difference", "--to-as-of", "2026-04-30"]
    status, told, _ = said(capsys, "1000001", *moments)
    assert status == 0
    assert "periods/2026-03/money" in told
    assert "+ " in told
    assert "Entries that made the difference" in told


@pytest.mark.usefixtures("environment")
def test_the_posted_ledger_agrees_with_its_replay(capsys: pytest.CaptureFixture[str]) -> None:
    status, told, _ = said(capsys, "1000001", "--ledger")
    assert (status, "The three books agree." in told, "DIFFERS" in told) == (0, True, False), told
    assert "difference 0.00; decided again" in told


@pytest.mark.usefixtures("environment")
def test_the_stock_library_reads_the_same_journal(capsys: pytest.CaptureFixture[str]) -> None:
    status, told, _ = said(capsys, "--stock")
    assert status == 0, told
    assert "0 differ" in told
    assert "all the same" in told
    status, told, _ = said(capsys, "--stock", "1000001", "1999999")
    assert (status, "1999999: it has no entries" in told) == (1, True)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("1999999",), "there is no account 1999999"),
        (("1000001", "1000002"), "name one account"),
        ((), "name one account"),
        (("100",), "seven digits"),
        (("1000001", "--ledger", "--as-of", "2026-01-01"), "leave the moments out"),
        (("1000001", "--to-as-of", "2026-01-01"), "are for --difference"),
        (("1000001", "--known-at", "2026-01-01T10:00:00"), "has no offset"),
        (("1000001", "--as-of", "yesterday"), "is not a day"),
        (("1000001", "--as-of", "9999-12-31"), "is not a day of 1900 to 2099"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, told = said(capsys, *arguments)
    assert status == 2
    assert why in told


@pytest.mark.usefixtures("environment")
def test_before_it_was_opened_there_was_no_account(capsys: pytest.CaptureFixture[str]) -> None:
    status, told, _ = said(capsys, "1000001", "--as-of", "2000-01-01")
    assert status == 0
    assert "there was none then" in told
    assert "residents" not in told
