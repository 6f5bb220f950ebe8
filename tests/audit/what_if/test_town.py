"""Other rules tried on a whole town: with those of then nothing changes, and whoever counts finds the same sums."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest

from bels import rule_trials
from bels.app import Bels, opened
from bels.audit.replaying.anew import replay_anew
from bels.audit.what_if.effects import Effects
from bels.audit.what_if.outcome import Outcome
from bels.audit.what_if.sample import Sample
from bels.audit.what_if.trial import Trial, UnknownPublicationError
from bels.commands_of_audit.what_if import COLUMNS
from bels.demo.load import load
from bels.demo.situations import SITUATIONS
from bels.domain.money import ZERO
from bels.domain.terms import Settlement
from bels.journal.journal import RULEBOOK, next_accounts, read
from bels.progress import progress
from bels.settings import Settings
from tests.command import bels, environment
from tests.conftest import new_supplier

NOW = datetime(2026, 5, 20, 15, tzinfo=UTC)
ACCOUNTS = len(SITUATIONS) + 25


@pytest.fixture(scope="module")
def town(postgres: str, template: str) -> str:
    """Give the URL of a small demonstration town."""
    url = new_supplier(postgres, template, f"bels_test_what_if_{os.getpid()}")

    async def fill() -> None:
        async with opened(Settings(database_url=url), clock=lambda: NOW) as supplier:
            assert (await load(supplier, ACCOUNTS, 14, 7)).ours

    asyncio.run(fill())
    return url


@pytest.fixture
async def supplier(town: str) -> AsyncIterator[Bels]:
    """Open the town."""
    async with opened(Settings(database_url=town), clock=lambda: NOW) as supplier:
        yield supplier


async def test_every_closing_of_the_town_decided_anew_is_the_one_that_was_posted(supplier: Bels) -> None:
    publications = await rule_trials.read_publications(supplier)
    async with supplier.pool.acquire() as db:
        numbers = await next_accounts(db, "", 1000)
        entries = await read(db, dict.fromkeys(numbers, 0))
    closings = 0
    for number, own in groupby(entries, attrgetter("account")):
        anew = replay_anew(list(own), publications.then)
        assert [closing.differences() for closing in anew.closings if not closing.is_same] == []
        if number != RULEBOOK:
            assert anew.account == await supplier.intake.account(number)
        closings += len(anew.closings)
    assert closings > 10 * ACCOUNTS


async def tried(
    supplier: Bels, trial: Trial, wanted: list[str] | Sample = rule_trials.WHOLE
) -> tuple[Effects, list[Outcome]]:
    """Try rules on the town."""
    outcomes: list[Outcome] = []
    publications = await rule_trials.read_publications(supplier)
    count = await rule_trials.count_accounts(supplier, wanted)
    with progress("what-if", count, "accounts") as bar:
        effects = await rule_trials.try_rules(supplier, trial, publications, wanted, count, bar, outcomes.append)
    return effects, outcomes


async def test_another_policy_bills_the_same_kwh_and_says_for_whom_it_would_be_dearer(supplier: Bels) -> None:
    entries = await supplier.pool.fetchval("SELECT count(*) FROM journal")
    effects, outcomes = await tried(supplier, Trial(settlement=Settlement.IN_PERIOD))
    assert await supplier.pool.fetchval("SELECT count(*) FROM journal") == entries
    assert effects.accounts == len(outcomes) == ACCOUNTS
    assert (effects.failed, effects.refused) == ([], {})
    assert [outcome.account for outcome in outcomes] == sorted(outcome.account for outcome in outcomes)
    assert effects.difference == sum((outcome.difference for outcome in outcomes), ZERO) != ZERO
    assert 0 < effects.more + effects.less < ACCOUNTS
    assert effects.total.changed > 0
    none, _ = await tried(supplier, Trial())
    assert (none.same, none.difference, none.total.changed) == (ACCOUNTS, ZERO, 0)


async def test_the_parts_of_the_town_come_to_the_whole(supplier: Bels) -> None:
    trial = Trial(settlement=Settlement.NEXT_PERIOD)
    whole, outcomes = await tried(supplier, trial)
    some = Sample(Fraction(1, 2), 7)
    drawn, told = await tried(supplier, trial, some)
    assert 5 < drawn.accounts < ACCOUNTS - 5
    assert [outcome.account for outcome in told] == list(some.of(outcome.account for outcome in outcomes))
    rest = [outcome.account for outcome in outcomes if not some.takes(outcome.account)]
    others, _ = await tried(supplier, trial, rest)
    others.add(drawn)
    assert others == whole
    with pytest.raises(UnknownPublicationError):
        await tried(supplier, Trial(publication=99))


def test_the_command_tells_a_person_and_writes_a_row_for_each_account(town: str, tmp_path: Path) -> None:
    env = environment(town)
    rows = tmp_path / "rows.csv"
    whole = bels("audit", "what-if", "--all", "--settlement", "IN_PERIOD", "--csv", rows, env=env)
    assert whole.returncode == 0, whole.stderr
    assert "Tried: the rules of then, settled by IN_PERIOD. Nothing is stored." in whole.stdout
    assert f"\nAccounts: {ACCOUNTS}; would owe more " in whole.stdout
    with rows.open(encoding="utf-8", newline="") as file:
        told = list(csv.DictReader(file))
    assert tuple(told[0]) == COLUMNS
    assert len(told) == ACCOUNTS
    changed = max(told, key=lambda row: abs(Decimal(row["difference"])))
    assert f"{changed['account']}  " in whole.stdout

    one = bels("audit", "what-if", changed["account"], "--rules-of", "2026-05-01", "--since", "2026-01", env=env)
    assert one.returncode == 0, one.stderr
    assert f"Account {changed['account']}\nperiod   posted" in one.stdout
    assert "It owes " in one.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--publication", "99", "--all"), "there is no publication 99; the last one is 2: bels rulebook history"),
        (("1999999", "--publication", "1"), "there is no such account"),
        (("--publication", "1"), "name accounts, or give --sample SHARE, or --all: one of the three"),
    ],
)
def test_the_command_says_what_it_cannot_try(town: str, arguments: tuple[str, ...], said: str) -> None:
    told = bels("audit", "what-if", *arguments, env=environment(town))
    assert told.returncode != 0
    assert said in told.stderr
