"""The accounts of the sandbox: each is what its situation says, in every run."""

from __future__ import annotations

from bels.access import personal
from bels.access.personal import subject_of
from bels.domain.account import Account, Situation
from bels.domain.periods import moscow_date
from bels.domain.terms import Mode, ReadingStatus, Reason, Register
from bels.projections import ledger
from bels.sandbox.accounts import SITUATIONS, accounts_of, block_of
from tests.sandbox.conftest import Sandbox


def number_of(sandbox: Sandbox, situation: str, place: int = 0) -> str:
    """Find an account by its situation."""
    run = sandbox.room.runs[sandbox.room.partners[place].client]
    return next(each.number for each in run.accounts if each.situation == situation)


async def account_of(sandbox: Sandbox, situation: str, place: int = 0) -> Account:
    """Fold an account by its situation."""
    return await sandbox.bels.intake.account(number_of(sandbox, situation, place))


def test_the_numbers_of_a_run_are_its_own_and_end_as_in_every_other() -> None:
    blocks = {block_of(place, run) for place in (1, 2) for run in (1, 2, 9_999)}
    first, second = accounts_of(block_of(1, 1)), accounts_of(block_of(2, 37))

    assert len(blocks) == 6
    assert len({account.number for account in first}) == len(SITUATIONS)
    assert all(len(account.number) == 7 for account in (*first, *second))
    assert [a.number[5:] for a in first] == [a.number[5:] for a in second]


async def test_the_money_of_each_account_is_what_it_says(sandbox: Sandbox) -> None:
    balances = {s.name: (await account_of(sandbox, s.name)).ledger for s in SITUATIONS}

    assert balances["DUE_TODAY"].balance > 0 == balances["DUE_TODAY"].penalty
    assert balances["DEBT"].balance > balances["DUE_TODAY"].balance
    assert balances["LARGE_DEBT"].balance > 60_000
    assert balances["LARGE_DEBT"].penalty > 0
    assert balances["PENALTIES"].balance == 0 < balances["PENALTIES"].penalty
    assert balances["ZERO"].balance == balances["ZERO"].penalty == 0
    assert balances["ADVANCE"].balance == -500
    assert balances["CLOSED_WITH_DEBT"].balance > 0
    assert balances["CLOSED_SETTLED"].balance == 0


async def test_a_bill_is_due_on_the_day_on_which_the_sandbox_opens(sandbox: Sandbox) -> None:
    number = number_of(sandbox, "DUE_TODAY")
    async with sandbox.bels.pool.acquire() as db:
        row = (await ledger.find(db, [number]))[number]

    assert [owed.due_on for owed in row.owed] == [moscow_date(sandbox.room.now())]


async def test_every_account_is_in_its_situation(sandbox: Sandbox) -> None:
    states = {s.name: await account_of(sandbox, s.name) for s in SITUATIONS}
    modes = {name: account.closed[-1].mode for name, account in states.items() if account.closed}

    assert {name for name, account in states.items() if account.situation is Situation.CLOSED} == {
        "CLOSED_WITH_DEBT",
        "CLOSED_SETTLED",
    }
    assert states["UNKNOWN"].situation is Situation.UNKNOWN
    assert states["THREE_ZONES"].meters[-1].model.registers == (Register.HALF_PEAK, Register.NIGHT, Register.PEAK)
    assert states["TWO_ZONES"].meters[-1].model.registers == (Register.DAY, Register.NIGHT)
    assert states["AUTOMATIC"].meters[-1].model.automatic
    assert not states["NO_METER"].meters
    assert len(states["REPLACED_METER"].meters) == 2
    assert states["HELD"].readings[-1].status is ReadingStatus.HELD
    assert states["NEAR_ROLLOVER"].readings[-1].values[Register.TOTAL] > 99_900
    assert states["EXPIRED_VERIFICATION"].meters[-1].failed_at is not None
    assert (modes["AVERAGE_ONE"], modes["AVERAGE_THREE"], modes["NORMATIVE"]) == (
        Mode.AVERAGE,
        Mode.AVERAGE,
        Mode.NORMATIVE,
    )
    assert (states["AVERAGE_ONE"].missed_in_a_row, states["AVERAGE_THREE"].missed_in_a_row) == (1, 3)


async def test_what_may_be_sent_follows_from_the_situation(sandbox: Sandbox) -> None:
    zero = await sandbox.bels.intake.may_submit(number_of(sandbox, "ZERO"))
    none = await sandbox.bels.intake.may_submit(number_of(sandbox, "NO_METER"))

    assert zero.refusal is None
    assert none.refusal is Reason.READINGS_NOT_TAKEN


async def test_both_partners_have_the_same_accounts_and_invented_people_in_them(sandbox: Sandbox) -> None:
    ledgers = [(await account_of(sandbox, "DEBT", place)).ledger.balance for place in (0, 1)]
    async with sandbox.bels.pool.acquire() as db:
        found = await personal.find(db, sandbox.bels.vault, subject_of(number_of(sandbox, "DEBT", 1), 1))

    assert ledgers[0] == ledgers[1]
    assert found is not None
    assert found.address is not None
    assert "Ламповск" in found.address
