"""The sandbox as a whole: its mark, its clock over what falls due, its runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from bels.access.callers import Kind
from bels.access.clients import find_client
from bels.domain.commands import OpenAccount
from bels.domain.terms import Channel, Locality, Stove
from bels.intake import Intake
from bels.messages import Message
from bels.payments.sandbox import (
    CaseState,
    Failing,
    Fault,
    Milestone,
    SandboxReason,
    SandboxRefusedError,
)
from bels.sandbox.clock import moment_of
from bels.sandbox.store import SandboxError, empty, refuse_sandbox
from tests.rules import DEFAULT_RULEBOOK
from tests.sandbox.conftest import Sandbox
from tests.sandbox.opened import OPENED_AT, opened_room


async def test_a_closing_on_the_way_is_done_as_by_the_command_and_once(sandbox: Sandbox) -> None:
    room, client = sandbox.room, sandbox.room.partners[0].client
    number = room.runs[client].accounts[0].number
    before = await sandbox.bels.intake.account(number)

    moved, replayed = await room.move(client, "over a closing", Milestone.CLOSING)
    again, was_replayed = await room.move(client, "over a closing", Milestone.CLOSING)

    after = await sandbox.bels.intake.account(number)
    assert (replayed, was_replayed, again) == (False, True, moved)
    assert moved.closed == (before.next_period,)
    assert moved.closings > 20
    assert moved.refused == 0
    assert moved.charged > 0
    assert after.next_period > before.next_period


async def test_penalties_are_posted_once_a_due_date_is_long_over(sandbox: Sandbox) -> None:
    room, client = sandbox.room, sandbox.room.partners[0].client

    moved, _ = await room.move(client, "a quarter", room.now() + timedelta(days=95))

    assert len(moved.closed) == 3
    assert moved.penalties > 0


async def test_a_move_that_was_broken_off_goes_on_to_where_it_went(sandbox: Sandbox) -> None:
    room, client = sandbox.room, sandbox.room.partners[0].client
    number = room.runs[client].accounts[0].number
    before, opened = room.now(), (await sandbox.bels.intake.account(number)).next_period
    to = moment_of(Milestone.CLOSING, before, await sandbox.bels.intake.rules())
    plan = f'{{"before":"{before.isoformat()}","to":"{to.isoformat()}"}}'
    await sandbox.bels.pool.execute(
        "INSERT INTO sandbox_act VALUES ($1, 'broken off', '[\"move\",\"CLOSING\"]', $2, '')", client, plan
    )
    room.clock.move(to)

    moved, replayed = await room.move(client, "broken off", Milestone.CLOSING)

    assert (replayed, moved.before, moved.closed) == (False, before, (opened,))
    assert room.now() < to + timedelta(days=1)
    assert (await sandbox.bels.intake.account(number)).next_period > opened


async def test_a_key_is_for_one_thing(sandbox: Sandbox) -> None:
    room, client = sandbox.room, sandbox.room.partners[0].client
    await room.fail_next(client, "key", Failing(Fault.SLOW))

    with pytest.raises(SandboxRefusedError) as refused:
        await room.move(client, "key", Milestone.NEXT_DAY)

    assert refused.value.code is SandboxReason.IDEMPOTENCY_KEY_REUSED
    assert await room.fail_next(client, "key", Failing(Fault.SLOW))
    assert len(room.failing_of(client)) == 1


@pytest.mark.parametrize(
    "failing", [Failing(Fault.SLOW, count=0), Failing(Fault.SLOW, share=101), Failing(Fault.SLOW, wait_s=61)]
)
async def test_faults_have_limits(sandbox: Sandbox, failing: Failing) -> None:
    with pytest.raises(SandboxRefusedError) as refused:
        await sandbox.room.fail_next(sandbox.room.partners[0].client, "limits", failing)

    assert refused.value.code is SandboxReason.TOO_MUCH


async def test_whoever_is_no_partner_of_the_sandbox_has_nothing_here(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxRefusedError) as refused:
        await sandbox.room.certify("c-aaaaaaaaaaaaaaaa")

    assert refused.value.code is SandboxReason.NOT_A_PARTNER


async def test_a_reset_begins_a_run_with_new_accounts_on_a_day_on_which_bills_are_due(sandbox: Sandbox) -> None:
    room, (bank, app) = sandbox.room, sandbox.room.partners
    others = room.runs[app.client]
    await room.fail_next(bank.client, "before the reset", Failing(Fault.SLOW))
    before = room.now()

    run, _ = await room.reset(bank.client, "reset")
    again, replayed = await room.reset(bank.client, "reset")

    certified = await room.certify(bank.client)
    assert (run.number, replayed, again) == (2, True, run)
    assert run.accounts[0].number != others.accounts[0].number
    assert (await sandbox.bels.intake.account(run.accounts[0].number)).ledger.balance > 0
    assert room.now() > before
    assert room.runs[app.client] == others
    assert room.failing_of(bank.client) == []
    assert {case.state for case in certified.cases} == {CaseState.OPEN}


async def test_the_clock_the_partners_and_the_runs_are_there_after_a_restart(database: str, tmp_path: Path) -> None:
    async with opened_room(database, tmp_path) as (_, room):
        assert room.now() < OPENED_AT
        await room.move(room.partners[0].client, "1", Milestone.DEADLINE_25)
        was, partners, runs = room.now(), room.partners, room.runs

    async with opened_room(database, tmp_path) as (bels, room):
        async with bels.pool.acquire() as db:
            row = await find_client(db, room.partners[0].client)
        assert row is not None
        assert (row.kind, len(row.scopes)) == (Kind.PARTNER, 3)
        assert (room.partners, room.runs) == (partners, runs)
        assert timedelta(0) <= room.now() - was + timedelta(minutes=1)
        assert bels.settings.partners.partners == tmp_path / "partners.toml"
        with pytest.raises(SandboxError, match="another process"):
            async with opened_room(database, tmp_path):
                pass
        with pytest.raises(SandboxError, match="--sandbox"):
            await refuse_sandbox(bels.pool)
        async with asyncpg.create_pool(database, min_size=1, max_size=1) as other, other.acquire() as db:
            with pytest.raises(SandboxError, match="stop it"):
                await empty(db)


async def test_a_sandbox_is_emptied_and_nothing_else_is(database: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with opened_room(database, tmp_path) as (_, room):
        first = room.partners[0].client
    async with pool.acquire() as db:
        await empty(db)
    await pool.expire_connections()
    async with opened_room(database, tmp_path) as (_, room):
        assert room.partners[0].client != first


async def test_a_real_suppliers_database_is_never_taken_for_a_sandbox(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with Intake(pool, DEFAULT_RULEBOOK, lambda: OPENED_AT).running() as intake:
        opening = OpenAccount(OPENED_AT - timedelta(days=9), Locality.URBAN, Stove.GAS, 2, 3)
        await intake.submit(Message(Channel.OFFICE, "1", "clerk:7", "1000001", opening, "1"))

    with pytest.raises(SandboxError, match="no sandbox made"):
        async with opened_room(database, tmp_path):
            pass
    async with pool.acquire() as db:
        with pytest.raises(SandboxError, match="none"):
            await empty(db)
    await refuse_sandbox(pool)
