"""The bill says what the vectors say, and explains every sum so that a stranger's calculator finds it again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import given, settings

from bels.domain.commands import PublishRulebook
from bels.domain.money_events import RulebookPublished
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, Period, Settlement
from bels.intake import Intake
from bels.journal.journal import RULEBOOK
from bels.messages import Message
from bels.projections import bills
from bels.projections.bills import Bill
from tests.calculator import check
from tests.domain.lives import Life, live, lives
from tests.domain.vectors import rulebook_of, vectors
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import feed, message, today

BILLING = [v for v in vectors("billing") if v["expected"].get("periods")]


async def bill_of(pool: asyncpg.Pool, account: str, period: str, rulebook: Rulebook) -> Bill | None:
    async with pool.acquire() as db:
        return await bills.find(db, account, period, rulebook)


def told(value: object) -> Any:
    """Give a value as a stranger gets it: JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize("vector", BILLING, ids=[v["id"] for v in BILLING])
async def test_a_bill_is_what_the_vector_says_and_recomputes_from_its_explanation(
    vector: dict[str, Any], pool: asyncpg.Pool
) -> None:
    rulebook = rulebook_of(vector)
    account = "1000000"
    async with Intake(pool, rulebook, today).running() as intake:
        await feed(intake, vector, account)

    for expected in vector["expected"]["periods"]:
        bill = await bill_of(pool, account, expected["period"], rulebook)
        if "error" in expected:
            assert bill is None
            continue
        assert bill is not None
        assert bill.explained is not None
        assert str(bill.bill) == expected["bill_total"]
        assert [str(r.difference) for r in bill.recalculations] == [r["difference"] for r in expected["recalculations"]]
        explained = bill.explained
        charged = [check(told(e)) for e in explained.charges]
        recalculated = [check(told(e)) for e in explained.recalculations]
        assert charged == [Fraction(line.amount) for line in bill.charges]
        assert recalculated == [Fraction(r.difference) for r in bill.recalculations]
        assert sum(charged) + sum(recalculated) == Fraction(bill.bill)
        assert check(told(explained.balance)) == Fraction(bill.closing)
        for penalty, explanation in zip(bill.penalties, explained.penalties, strict=True):
            assert check(told(explanation)) == Fraction(penalty.amount)
        for line, explanation in zip(bill.charges, explained.charges, strict=True):
            # The kWh that are charged are the result of a step, not a number from nowhere.
            kwh = [step.result for step in explanation.steps if step.unit == "KWH"]
            assert line.coefficient is not None or str(line.kwh) in kwh
    if "balance" in vector["expected"] and not vector["given"].get("payments"):
        last = [p for p in vector["expected"]["periods"] if "error" not in p][-1]
        final = await bill_of(pool, account, last["period"], rulebook)
        assert final is not None
        assert str(final.closing) == vector["expected"]["balance"]


_free = iter(range(3_000_000, 9_000_000))


@pytest.mark.parametrize("policy", list(Settlement))
@given(life=lives())
@settings(max_examples=20)
async def test_every_sum_of_any_life_recomputes_from_its_explanation(
    pool: asyncpg.Pool, policy: Settlement, life: Life
) -> None:
    rulebook = DEFAULT_RULEBOOK.with_settlement(policy)
    account = str(next(_free))
    *_, (lived, _) = live(life, rulebook)
    sent = [message(account, command, f"{account} {n}") for n, command in enumerate(lived.commands)]
    await Intake(pool, rulebook, today).handle(sent)

    for closed in lived.account.closed:
        bill = await bill_of(pool, account, closed.period, rulebook)
        assert bill is not None
        assert bill.explained is not None
        explained = bill.explained
        found = [check(told(e)) for e in (*explained.charges, *explained.recalculations)]
        assert found == [
            *(Fraction(line.amount) for line in bill.charges),
            *(Fraction(r.difference) for r in bill.recalculations),
        ]
        assert sum(found) == Fraction(bill.bill)
        assert check(told(explained.balance)) == Fraction(bill.closing)
        assert [check(told(e)) for e in explained.penalties] == [Fraction(p.amount) for p in bill.penalties]


async def test_a_bill_is_told_by_the_rules_under_which_it_was_charged(pool: asyncpg.Pool) -> None:
    rulebook = rulebook_of(BILLING[0])
    intake = Intake(pool, rulebook, today)
    first = PublishRulebook(rulebook, 0, today(), "first")
    await intake.handle([Message(Channel.OFFICE, "publish 1", "clerk:7", RULEBOOK, first, "1")])
    async with intake.running():
        await feed(intake, BILLING[0], "1000000")
    before = await bill_of(pool, "1000000", "2024-05", await intake.rules())

    dearer = tuple(
        replace(
            row,
            rates={r: tuple(rate and rate + 1 for rate in rates) for r, rates in row.rates.items()},
            source="new act",
        )
        for row in rulebook.tariffs
    )
    book = replace(await intake.rules(), tariffs=dearer, ranges=((date(2000, 1, 1), (50, 100)),))
    known = replace(
        book,
        tariffs=tuple(replace(row, rates={r: (rates[0],) * 3 for r, rates in row.rates.items()}) for row in dearer),
    )
    second = PublishRulebook(known, 1, today(), "second", Period("2024-05"), "решение суда")
    (published,) = await intake.handle([Message(Channel.OFFICE, "publish 2", "clerk:7", RULEBOOK, second, "2")])
    assert isinstance(published.events[0], RulebookPublished), published
    after = await bill_of(pool, "1000000", "2024-05", await intake.rules())

    assert before is not None
    assert after == before
    assert (await intake.rules()).number == 2
