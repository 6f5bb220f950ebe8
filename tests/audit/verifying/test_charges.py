"""A sum that is changed in the journal, in a view or in both is found, though every digest fits."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.audit.calculator import CannotBeWorkedOut, evaluate, share, work_out
from bels.audit.findings import Finding, FindingKind
from bels.audit.verifying.charges import check_charges
from bels.audit.verifying.views import check_views
from bels.domain.apportion import apportion
from bels.domain.commands import PublishRulebook
from bels.domain.explain import Explanation, ExplanationStep, Rounding, Unit
from bels.domain.terms import Channel, Settlement
from bels.intake import Intake
from bels.journal.chain import GENESIS, link
from bels.journal.journal import RULEBOOK, accounts
from bels.journal.write import SESSION
from bels.messages import Message
from bels.projections.project import retell
from tests.calculator import evaluate as strangers_evaluate
from tests.calculator import largest_remainder
from tests.conftest import drop_supplier, new_supplier
from tests.domain.vectors import settlement_of, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import feed, numbers, today

LIVES = [vector for vector in vectors("billing") if settlement_of(vector) is Settlement.REDISTRIBUTE]
NAMED = numbers(2_000_000, len(LIVES))
_copies = count(1)


async def tell(url: str) -> None:
    """Publish the rules, tell lives of households, publish other rules."""
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        intake = Intake(pool, DEFAULT_RULEBOOK, today)
        await publish(intake, 0)
        async with intake.running():
            await asyncio.gather(*(feed(intake, vector, number) for vector, number in zip(LIVES, NAMED, strict=True)))
        await publish(Intake(pool, DEFAULT_RULEBOOK, lambda: today() + timedelta(days=1)), 1)


async def publish(intake: Intake, number: int) -> None:
    """Publish the rules of the tests, with a day off that nobody has reached."""
    book = replace(DEFAULT_RULEBOOK, number=number, days_off=(*DEFAULT_RULEBOOK.days_off, date(2027, 6, 1 + number)))
    command = PublishRulebook(book, number, today(), "file")
    await intake.handle([Message(Channel.OFFICE, f"publish {number}", "clerk:7", RULEBOOK, command, "rules")])


@pytest.fixture(scope="module")
def billed(postgres: str, template: str) -> Iterator[str]:
    """Give the name of a database with the bills of households; each test copies it."""
    name = f"bels_billed_{os.getpid()}"
    asyncio.run(tell(new_supplier(postgres, template, name)))
    yield name
    asyncio.run(drop_supplier(postgres, name))


@pytest.fixture
async def db(postgres: str, billed: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection, as servers have it, to a copy that a test may do anything to."""
    name = f"{billed}_{next(_copies)}"
    url = await asyncio.to_thread(new_supplier, postgres, billed, name)
    connection = await asyncpg.connect(url, server_settings=SESSION)
    await connection.execute("ALTER TABLE journal DISABLE TRIGGER ALL")
    yield connection
    await connection.close()
    await drop_supplier(postgres, name)


async def forge(db: asyncpg.Connection, topic: str, change: Callable[[dict[str, Any]], object]) -> tuple[str, int]:
    """Change an entry of a topic, the longest of its kind, and chain its account anew so that every digest fits.

    It gives the account and the entry.
    """
    row = await db.fetchrow(
        "SELECT originator_id AS account, originator_version AS version, state FROM journal WHERE starts_with(topic, $1)"
        " ORDER BY length(state) DESC, originator_id LIMIT 1",
        topic,
    )
    assert row is not None
    state = json.loads(row["state"])
    change(state)
    written = json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode()
    await db.execute(
        "UPDATE journal SET state = $3 WHERE originator_id = $1 AND originator_version = $2",
        row["account"],
        row["version"],
        written,
    )
    digest = GENESIS
    for entry in await db.fetch(
        "SELECT originator_id, originator_version, topic, content, state FROM journal WHERE originator_id = $1 ORDER BY 2",
        row["account"],
    ):
        digest = link(digest, *entry)
        await db.execute(
            "UPDATE journal SET digest = $3 WHERE originator_id = $1 AND originator_version = $2", *entry[:2], digest
        )
    return row["account"], row["version"]


async def everybody(db: asyncpg.Connection) -> list[str]:
    """List all accounts and streams of the journal."""
    return [number async for part in accounts(db, 1000) for number in part]


async def texts(db: asyncpg.Connection, place: tuple[str, int]) -> str:
    """Check everybody; give what is found at a place, all else is as it was."""
    found = await check_charges(db, await everybody(db), DEFAULT_RULEBOOK)
    assert {(f.kind, f.account) for f in found} == {(FindingKind.CHARGE_DIFFERS, place[0])}
    return "\n".join(f.text for f in found if f.entry == place[1])


def dearer(state: dict[str, Any]) -> None:
    """Charge more for the first line than its kWh cost."""
    event = state["event"]
    event["charges"][0]["amount"] = str(Decimal(event["charges"][0]["amount"]) + 10)
    event["charged"] = str(Decimal(event["charged"]) + 10)


def at_another_rate(state: dict[str, Any]) -> None:
    """Charge every line at twice its rate, so that all of it adds up."""
    event = state["event"]
    for line in event["charges"]:
        line["rate"] = str(Decimal(line["rate"]) * 2)
        line["amount"] = str(Decimal(line["amount"]) * 2)
    event["charged"] = str(Decimal(event["charged"]) * 2)


async def test_every_sum_of_every_bill_is_found_again(db: asyncpg.Connection) -> None:
    assert await check_charges(db, await everybody(db), DEFAULT_RULEBOOK) == []
    rows = await db.fetch("SELECT split_part(topic, '.', 1) AS kind, count(*) FROM journal GROUP BY 1")
    happened = {row["kind"]: row["count"] for row in rows}
    assert happened["period-closed"] > 100
    assert min(happened["usage-recalculated"], happened["penalty-accrued"]) > 3


@pytest.mark.parametrize("policy", [Settlement.IN_PERIOD, Settlement.NEXT_PERIOD])
async def test_every_sum_is_found_again_under_another_settlement_policy(pool: asyncpg.Pool, policy: Settlement) -> None:
    lives = [vector for vector in vectors("billing") if settlement_of(vector) is policy] + LIVES[:12]
    named, rulebook = numbers(2_000_000, len(lives)), DEFAULT_RULEBOOK.with_settlement(policy)
    async with Intake(pool, rulebook, today).running() as intake:
        await asyncio.gather(*(feed(intake, vector, number) for vector, number in zip(lives, named, strict=True)))
    async with pool.acquire() as db:
        assert await check_charges(db, named, rulebook) == []
        assert await check_views(db, named, rulebook) == []


async def test_an_amount_that_was_changed_in_the_journal_is_found(db: asyncpg.Connection) -> None:
    place = await forge(db, "period-closed", dearer)
    said = await texts(db, place)
    assert "line 1 of the bill" in said
    assert "its explanation leads to" in said
    assert "decided anew" in said


async def test_an_amount_that_was_changed_in_the_journal_and_in_its_bill_is_found(db: asyncpg.Connection) -> None:
    place = await forge(db, "period-closed", dearer)
    await retell(db, [place[0]], DEFAULT_RULEBOOK)
    said = await texts(db, place)
    assert "its explanation does not recompute: step" in said
    assert "decided anew" in said


async def test_a_bill_that_adds_up_at_a_wrong_rate_is_found_by_deciding_anew(db: asyncpg.Connection) -> None:
    place = await forge(db, "period-closed", at_another_rate)
    await retell(db, [place[0]], DEFAULT_RULEBOOK)
    assert await check_views(db, [place[0]], DEFAULT_RULEBOOK) == []

    said = await texts(db, place)

    assert said.startswith("closing of 20")
    assert "PeriodClosed.charged: posted" in said
    posted, anew = (Decimal(part.split(" kWh, ")[1].split(" ")[0]) for part in said.split("; decided anew"))
    assert posted > anew


async def test_an_amount_that_was_changed_in_a_bill_only_is_found(db: asyncpg.Connection) -> None:
    row = await db.fetchrow(
        'UPDATE usage SET charges = replace(charges::text, \'"amount":"\', \'"amount":"1\')::json'
        " WHERE ctid = (SELECT max(ctid) FROM usage WHERE json_array_length(charges) = 1) RETURNING account, entry"
    )
    assert row is not None
    assert "its explanation does not recompute: step" in await texts(db, tuple(row))


async def test_a_bill_that_was_taken_away_or_made_up_is_found(db: asyncpg.Connection) -> None:
    row = await db.fetchrow(
        "DELETE FROM usage WHERE ctid = (SELECT max(ctid) FROM usage WHERE json_array_length(charges) = 1)"
        " RETURNING account, entry"
    )
    assert row is not None
    assert "and no bill explains it" in await texts(db, tuple(row))
    await retell(db, [row["account"]], DEFAULT_RULEBOOK)
    await db.execute("UPDATE usage SET entry = entry + 1000 WHERE account = $1 AND entry = $2", *row)
    assert "the bill has a sum of" in await texts(db, (row["account"], row["entry"] + 1000))


async def test_a_recalculation_that_was_changed_is_found(db: asyncpg.Connection) -> None:
    def change(state: dict[str, Any]) -> None:
        state["event"]["money_after"] = str(Decimal(state["event"]["money_after"]) - 100)

    place = await forge(db, "usage-recalculated", change)
    assert "recalculation of" in await texts(db, place)
    await retell(db, [place[0]], DEFAULT_RULEBOOK)
    found = await check_charges(db, [place[0]], DEFAULT_RULEBOOK)
    assert any("posted in all, their sum is" in f.text for f in found)


async def test_penalties_that_were_changed_are_found(db: asyncpg.Connection) -> None:
    def change(state: dict[str, Any]) -> None:
        overdue = state["event"]["sums"][0]
        overdue["accrued"] = str(Decimal(overdue["accrued"]) + 1)
        state["event"]["amount"] = str(Decimal(state["event"]["amount"]) + 1)

    place = await forge(db, "penalty-accrued", change)
    said = await texts(db, place)
    assert "penalties for" in said
    assert "its explanation does not recompute" in said


async def test_a_closing_that_names_rules_of_later_is_found(db: asyncpg.Connection) -> None:
    def change(state: dict[str, Any]) -> None:
        state["event"]["rulebook"] = state["event"]["rulebook"].replace("/1", "/2")

    place = await forge(db, "period-closed", change)
    assert await texts(db, place) == "the closing was decided by publication 2 of the rules, which was not there then"


async def test_a_closing_that_names_rules_that_had_been_replaced_is_found(db: asyncpg.Connection) -> None:
    def change(state: dict[str, Any]) -> None:
        state["recorded_at"] = (today() + timedelta(days=2)).isoformat()

    place = await forge(db, "period-closed", change)
    assert "which another had replaced before" in await texts(db, place)


async def test_an_entry_that_cannot_be_read_is_said_and_stops_nobody_else(db: asyncpg.Connection) -> None:
    await db.execute("UPDATE journal SET topic = 'x.1' WHERE originator_id = $1 AND originator_version = 2", NAMED[0])
    found = await check_charges(db, NAMED, DEFAULT_RULEBOOK)
    text = "no sum can be found again, an entry cannot be read: UnknownTopic"
    assert found == [Finding(FindingKind.CHARGE_DIFFERS, text, NAMED[0])]


async def test_a_closing_that_cannot_be_explained_is_said(db: asyncpg.Connection) -> None:
    def change(state: dict[str, Any]) -> None:
        state["event"]["charges"][0]["tariff"] = "nowhere"

    place = await forge(db, "period-closed", change)
    await retell(db, [place[0]], DEFAULT_RULEBOOK)
    found = await check_charges(db, NAMED, DEFAULT_RULEBOOK)
    assert "a sum of its bills cannot be explained: IndexError" in [f.text for f in found]
    assert (place[0], place[1]) in [(f.account, f.entry) for f in found]


def step(expression: str, result: str, rounding: Rounding = Rounding.EXACT, *shared: Any) -> ExplanationStep:
    """Make a step."""
    return ExplanationStep("", expression, rounding, result, Unit.KWH, *shared)


def told(*steps: ExplanationStep, result: str) -> Explanation:
    """Make an explanation."""
    return Explanation("", "", (), steps, result, Unit.KWH)


EXPRESSIONS = st.recursive(
    st.decimals(0, 10_000, places=2).map(str),
    lambda part: (
        st.builds("{} {} {}".format, part, st.sampled_from("+-*"), part)
        | part.map("({})".format)
        | part.map("-{}".format)
        | st.builds("{} / 7".format, part)
    ),
)


@given(EXPRESSIONS)
def test_two_calculators_find_the_same(expression: str) -> None:
    assert evaluate(expression) == strangers_evaluate(expression)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 31), min_size=1, max_size=12).filter(any))
def test_a_share_is_what_the_bill_shares(whole: int, weights: list[int]) -> None:
    shares = [share(whole, weights, place) for place in range(len(weights))]
    assert shares == list(apportion(whole, weights))
    assert shares == [largest_remainder(whole, weights, place) for place in range(len(weights))]


@pytest.mark.parametrize(
    ("value", "rounding", "result"),
    [
        ("2.5", Rounding.WHOLE_KWH, "3"),
        ("-2.5", Rounding.WHOLE_KWH, "-3"),
        ("2.49", Rounding.WHOLE_KWH, "2"),
        ("0.005", Rounding.KOPECK, "0.01"),
        ("-0.005", Rounding.KOPECK, "-0.01"),
        ("10 / 3", Rounding.KOPECK, "3.33"),
        ("1 / 4", Rounding.EXACT, "0.25"),
    ],
)
def test_a_step_is_rounded_as_it_says(value: str, rounding: Rounding, result: str) -> None:
    assert work_out(told(step(value, result, rounding), result=result)) == Decimal(result)


@pytest.mark.parametrize(
    ("explanation", "why"),
    [
        (told(result="1"), "there is no step"),
        (told(step("1 + 1", "3"), result="3"), "step 1 gives 2, not 3"),
        (told(step("1", "1"), step("2", "2"), result="1"), "the last step gives 2, not 1"),
        (told(step("1 / 0", "1"), result="1"), "step 1: a division by nothing"),
        (told(step("1 / 3", "0.33"), result="0.33"), "step 1 gives 0.333"),
        (told(step("2 ** 3", "8"), result="8"), "in place of a number"),
        (told(step("kwh", "8"), result="8"), "an expression with 'k'"),
        (told(step("1.", "1"), result="1"), "an expression with '.'"),
        (told(step("(1", "1"), result="1"), "ends too early"),
        (told(step("(1 1)", "1"), result="1"), "a parenthesis that is not closed"),
        (told(step("1 1", "1"), result="1"), "goes on with '1'"),
        (told(step("", "1"), result="1"), "ends too early"),
        (told(step("1", "one"), result="1"), "a result that is no number"),
        (told(step("1", "Infinity"), result="1"), "a result that is no number"),
        (told(step("1", "1E+999999999"), result="1"), "a result that is no number"),
        (told(step("1", "1"), result="NaN"), "a result that is no number"),
        (told(step("(" * 30 + "1" + ")" * 30, "1"), result="1"), "within one another"),
        (told(step("1" + " + 1" * 5000, "5001"), result="5001"), "more than 10000 characters"),
        (told(step("5", "5", Rounding.LARGEST_REMAINDER, (1, 1), 2), result="5"), "a share without"),
        (told(step("5", "5", Rounding.LARGEST_REMAINDER, (0, 0), 0), result="5"), "a share without"),
        (told(step("5", "5", Rounding.LARGEST_REMAINDER), result="5"), "a share without"),
        (told(step("5.5", "5", Rounding.LARGEST_REMAINDER, (1,), 0), result="5"), "what is not whole"),
    ],
)
def test_what_does_not_lead_to_its_result_is_refused(explanation: Explanation, why: str) -> None:
    with pytest.raises(CannotBeWorkedOut, match=re.escape(why)):
        work_out(explanation)
