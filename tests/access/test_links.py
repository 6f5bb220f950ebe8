"""One-task links: opened once, for one account and one task, until it is done or its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from bels.access import acts, links
from bels.access.acts import Act
from bels.access.desk import Desk
from bels.access.links import LINKS_MAX, LIVES_S, LIVES_S_MAX, Made, make_link, open_link, revoke_links
from bels.access.store import ACCESS_CHANGES
from bels.access.words import AccessReason, Refused
from bels.domain.commands import CloseAccount
from bels.domain.terms import Reason
from tests.access.household import ACCOUNT, Clock, desk_of
from tests.supplier import message


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(pool: asyncpg.Pool, tmp_path: Path, clock: Clock) -> AsyncIterator[Desk]:
    async with desk_of(pool, tmp_path, clock) as made:
        yield made


async def made(desk: Desk, task: str = "reading", account: str = ACCOUNT, lives_s: int = LIVES_S) -> Made | Refused:
    async with desk.pool.acquire() as db:
        return await make_link(
            db, desk.vault, account, task, made_by="c-mail", now=desk.intake.clock(), lives_s=lives_s
        )


async def link_of(desk: Desk, task: str = "reading") -> Made:
    link = await made(desk, task)
    assert isinstance(link, Made)
    return link


async def opened(desk: Desk, token: str) -> links.OpenedLink | None:
    async with desk.pool.acquire() as db:
        return await open_link(db, desk.vault, token, desk.intake.clock())


async def test_a_link_says_its_account_and_task_once(desk: Desk) -> None:
    link = await link_of(desk, "bill")

    found = await opened(desk, link.token)
    assert found is not None
    assert (found.link, found.account, found.task) == (link.link, ACCOUNT, "bill")
    assert await opened(desk, link.token) is None


async def test_of_many_who_open_a_link_at_once_one_comes_in(desk: Desk) -> None:
    link = await link_of(desk)
    found = await asyncio.gather(*(opened(desk, link.token) for _ in range(20)))
    assert sum(each is not None for each in found) == 1


async def test_a_link_is_over_with_its_time(desk: Desk, clock: Clock) -> None:
    link = await link_of(desk)
    clock.pass_by(seconds=LIVES_S)
    assert await opened(desk, link.token) is None


@pytest.mark.parametrize("end", [links.done, links.revoke])
async def test_a_link_that_is_done_or_revoked_opens_nothing_and_is_told(
    desk: Desk, clock: Clock, end: Callable[[asyncpg.pool.PoolConnectionProxy, str, datetime], Awaitable[bool]]
) -> None:
    link = await link_of(desk)
    told: asyncio.Queue[object] = asyncio.Queue()
    async with desk.pool.acquire() as db:
        await db.add_listener(ACCESS_CHANGES, lambda *said: told.put_nowait(said[-1]))
        assert await end(db, link.link, clock())
        assert await asyncio.wait_for(told.get(), 5) == link.link
        assert not await end(db, link.link, clock())
        await db.reset()
    assert await opened(desk, link.token) is None


async def test_the_table_cannot_be_used_to_open_a_link(desk: Desk, pool: asyncpg.Pool) -> None:
    link = await link_of(desk)
    row = await pool.fetchrow("SELECT token, t::text AS row FROM task_link t")
    assert row is not None
    assert link.token not in row["row"]
    for guess in (row["token"].hex(), f"bels_l_{row['token'].hex()[:43]}", "", "bels_l_", link.token[:-1], "ы" * 50):
        assert await opened(desk, guess) is None
    assert await opened(desk, link.token) is not None


async def test_who_made_a_link_is_an_act_that_does_not_hold_it(desk: Desk) -> None:
    link = await link_of(desk)
    async with desk.pool.acquire() as db:
        (act,) = await acts.page(db, None, 10, account=ACCOUNT)
    assert (act.kind, act.by_subject, act.subject, act.reason) == (Act.LINK_MADE, "c-mail", link.link, "reading")
    assert link.token not in repr(act)


async def test_a_link_is_for_an_account_that_is_there(desk: Desk) -> None:
    for account in ("1000002", "", "RULEBOOK", "1000001\x00"):
        assert await made(desk, account=account) == Refused(Reason.UNKNOWN_ACCOUNT)


async def test_a_closed_account_may_still_be_paid_but_takes_no_reading(desk: Desk, clock: Clock) -> None:
    await desk.intake.submit(message(ACCOUNT, CloseAccount(clock(), "sold"), "close"))
    assert await made(desk, "reading") == Refused(Reason.ACCOUNT_CLOSED)
    assert isinstance(await made(desk, "bill"), Made)


async def test_an_account_has_so_many_living_links(desk: Desk, clock: Clock) -> None:
    first = [await link_of(desk) for _ in range(LINKS_MAX)]
    assert await made(desk) == Refused(AccessReason.LIMIT_REACHED)
    async with desk.pool.acquire() as db:
        assert await links.revoke(db, first[0].link, clock())
    await link_of(desk)
    clock.pass_by(seconds=LIVES_S)
    await link_of(desk)


async def test_a_link_for_another_task_or_for_too_long_is_not_made(desk: Desk) -> None:
    for task, lives_s in (("everything", LIVES_S), ("bill", 0), ("bill", LIVES_S_MAX + 1)):
        with pytest.raises(ValueError, match="a link is for one of"):
            await made(desk, task, lives_s=lives_s)


async def test_all_links_of_an_account_or_of_one_maker_are_revoked_together(desk: Desk, clock: Clock) -> None:
    of_gateway = await link_of(desk)
    async with desk.pool.acquire() as db:
        of_person = await make_link(db, desk.vault, ACCOUNT, "bill", made_by="u-person", now=clock())
        assert isinstance(of_person, Made)
        assert await revoke_links(db, ACCOUNT, clock(), made_by="u-person") == 1
    assert await opened(desk, of_person.token) is None
    assert await opened(desk, of_gateway.token) is not None
    async with desk.pool.acquire() as db:
        assert await revoke_links(db, ACCOUNT, clock()) == 1
        assert await revoke_links(db, ACCOUNT, clock()) == 0


async def test_links_that_are_long_over_are_forgotten(desk: Desk, clock: Clock) -> None:
    await link_of(desk)
    clock.pass_by(days=100)
    await link_of(desk)
    assert await desk.pool.fetchval("SELECT count(*) FROM task_link") == 1
