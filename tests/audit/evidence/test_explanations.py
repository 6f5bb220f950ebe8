"""Every sum of an account's life is explained where it stands in its entry, just as its bill explains it, and a stranger agrees."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pytest

from bels.audit.evidence.explanations import ExplainedSum, explanations, verifier_source
from bels.audit.evidence.verify_evidence import judge
from bels.domain.events import PeriodClosed, UsageRecalculated
from bels.domain.money_events import PenaltyAccrued
from bels.domain.terms import Money
from bels.journal.journal import read
from bels.projections import bills
from tests.audit.evidence.packs import GROUPS, HOME, Supplier, live_at_home, live_the_vectors, supplier


async def explained(town: Supplier, account: str) -> list[ExplainedSum]:
    """Explain every sum of an account."""
    rulebook = await town.counter.intake.rules()
    async with town.counter.pool.acquire() as db:
        return [each async for each in explanations(db, account, rulebook)]


async def posted(town: Supplier, account: str) -> dict[tuple[int, str], Money]:
    """List the sums that the entries of an account posted."""
    sums: dict[tuple[int, str], Money] = {}
    async with town.counter.pool.acquire() as db:
        entries = await read(db, {account: 0})
    for entry in entries:
        match entry.event:
            case PeriodClosed() as closed if closed.due_on is not None:
                for i, line in enumerate(closed.charges):
                    sums[entry.version, f"/event/charges/{i}/amount"] = line.amount
            case UsageRecalculated() as changed if changed.rulebook:
                sums[entry.version, "/event/money_after"] = changed.difference
            case PenaltyAccrued() as accrued:
                for i, part in enumerate(accrued.sums):
                    sums[entry.version, f"/event/sums/{i}/accrued"] = part.accrued - part.posted_before
            case _:
                pass
    return sums


async def of_bills(town: Supplier, account: str) -> list[Any]:
    """Give the explanations of all bills of an account, bill by bill, as the API asks for them."""
    rulebook = await town.counter.intake.rules()
    told: list[Any] = []
    async with town.counter.pool.acquire() as db:
        rows = await db.fetch("SELECT period FROM usage WHERE account = $1 ORDER BY period", account)
        for row in rows:
            bill = await bills.find(db, account, row["period"], rulebook)
            if bill is not None and bill.explained is not None:
                told += [*bill.explained.charges, *bill.explained.recalculations, *bill.explained.penalties]
    return told


@pytest.mark.parametrize("group", range(len(GROUPS)), ids=lambda n: f"{GROUPS[n][0]['id']}+{len(GROUPS[n]) - 1}")
async def test_every_sum_of_every_vector_is_explained_as_on_its_bill_and_a_stranger_finds_it_again(
    database: str, group: int
) -> None:
    async with supplier(database) as town:
        await live_the_vectors(town, GROUPS[group])
        for vector in GROUPS[group]:
            account = town.accounts[vector["id"]]
            told = await explained(town, account)
            assert {(e.entry, e.pointer): e.amount for e in told} == await posted(town, account), vector["id"]
            assert [e.explanation for e in told] == await of_bills(town, account), vector["id"]
            manifest, verdict = judge(io.BytesIO(await town.pack(account)), {}, [], [])
            assert manifest["account"] == account
            assert f"{len(told)} charges, recalculations and penalties follow from their explanations" in verdict.proven


async def test_what_an_earlier_system_charged_has_no_explanation_and_is_not_demanded(database: str) -> None:
    async with supplier(database) as town:
        await live_at_home(town)
        told = await explained(town, HOME)
        assert {(e.entry, e.pointer): e.amount for e in told} == await posted(town, HOME)
        assert {e.pointer.split("/")[2] for e in told} == {"charges", "money_after", "sums"}
        assert [e.entry for e in told] == sorted(e.entry for e in told)
        line = next(e for e in told if e.pointer == "/event/money_after").told()
        assert list(line) == ["entry", "pointer", "amount", "explanation"]
        assert Decimal(line["amount"]) == Decimal(line["explanation"]["result"])
        _, verdict = judge(io.BytesIO(await town.pack()), {}, [], [])
        assert "2 entries carry over what an earlier system charged: it is taken as it is" in verdict.open


async def test_an_account_without_a_bill_has_nothing_to_explain(database: str) -> None:
    async with supplier(database) as town:
        assert await explained(town, HOME) == []


def test_the_verifier_is_handed_out_as_it_stands() -> None:
    assert verifier_source().startswith('"""Judge an evidence pack')
