"""Bound cards: sealed by their person's key, and wiped when they go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from bels.access import acts
from bels.access.acts import Act
from bels.access.cabinets import link_account, unlink_account
from bels.access.cards import CARDS_MAX, Removed, bind_card, card_token, cards_of, remove_cards
from bels.access.desk import Desk
from bels.access.vault import KeyDestroyed
from bels.access.words import AccessReason, Refused
from tests.access.household import ACCOUNT, HOME, RIGHT, Clock, consumer, desk_of

MASKED = "220012******3456"
TOKEN = "acquirer-token-7f00"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def desk(pool: asyncpg.Pool, tmp_path: Path, clock: Clock) -> AsyncIterator[Desk]:
    async with desk_of(pool, tmp_path, clock) as made:
        yield made


@pytest.fixture
async def person(desk: Desk) -> str:
    """Give a consumer that sees the account."""
    found = await consumer(desk, "ivanova@example.ru")
    assert not isinstance(await link_account(desk, found, ACCOUNT, RIGHT, address=HOME), Refused)
    return found


async def bound(
    desk: Desk, person: str, masked: str = MASKED, token: str = TOKEN, account: str = ACCOUNT
) -> str | Refused:
    async with desk.pool.acquire() as db:
        return await bind_card(
            db, desk.vault, person, account, masked=masked, token=token, now=desk.intake.clock(), request_id="r-1"
        )


async def test_a_bound_card_is_listed_by_what_may_be_shown(desk: Desk, person: str) -> None:
    binding = await bound(desk, person)
    async with desk.pool.acquire() as db:
        (card,) = await cards_of(db, person)
        assert (card.binding, card.account, card.masked) == (binding, ACCOUNT, MASKED)
        assert await card_token(db, desk.vault, person, card.binding) == TOKEN
        assert await card_token(db, desk.vault, "u-another", card.binding) is None
        assert [act.kind for act in await acts.page(db, None, 10, subject=person)] == [
            Act.CARD_BOUND,
            Act.ACCOUNT_LINKED,
        ]


async def test_the_acquirer_s_token_stands_nowhere_in_clear_and_goes_with_its_person(desk: Desk, person: str) -> None:
    binding = await bound(desk, person)
    assert isinstance(binding, str)
    sealed = await desk.pool.fetchval("SELECT sealed FROM card_binding")
    assert TOKEN.encode() not in sealed
    async with desk.pool.acquire() as db:
        await desk.vault.destroy(db, person)
        with pytest.raises(KeyDestroyed):
            await card_token(db, desk.vault, person, binding)


async def test_a_removed_card_has_no_token_any_more(desk: Desk, person: str, clock: Clock) -> None:
    first, second = await bound(desk, person), await bound(desk, person, "*" * 12 + "0001")
    assert isinstance(first, str)
    assert isinstance(second, str)
    async with desk.pool.acquire() as db:
        for count in (1, 0):
            removed = await remove_cards(
                db, person=person, binding=first, why=Removed.ASKED, by=person, now=clock(), request_id="r-2"
            )
            assert removed == count
        assert [card.binding for card in await cards_of(db, person)] == [second]
        assert await card_token(db, desk.vault, person, first) is None
        assert await db.fetchval("SELECT sealed FROM card_binding WHERE binding = $1", first) == b""
        act, *_ = await acts.page(db, None, 10, subject=person)
    assert (act.kind, act.by_subject, act.account, act.reason) == (Act.CARD_REMOVED, person, ACCOUNT, "ASKED")


async def test_a_stranger_cannot_remove_a_card(desk: Desk, person: str, clock: Clock) -> None:
    binding = await bound(desk, person)
    assert isinstance(binding, str)
    async with desk.pool.acquire() as db:
        assert (
            await remove_cards(db, person="u-another", binding=binding, why=Removed.ASKED, by="u-another", now=clock())
            == 0
        )
        with pytest.raises(ValueError, match="whose cards"):
            await remove_cards(db, binding=binding, why=Removed.ASKED, by=person, now=clock())
        assert len(await cards_of(db, person)) == 1


async def test_a_number_that_shows_too_much_is_refused(desk: Desk, person: str) -> None:
    for masked in ("2200123456783456", "2200127*****3456", "220012******34567", "", "Ivanova", "****34567"):
        assert await bound(desk, person, masked) == Refused(AccessReason.BAD_CARD)


async def test_only_who_belongs_to_the_account_binds_a_card_for_it(desk: Desk, person: str) -> None:
    assert await bound(desk, await consumer(desk)) == Refused(AccessReason.NOT_A_MEMBER)
    assert await bound(desk, person, account="1000002") == Refused(AccessReason.NOT_A_MEMBER)
    assert await bound(desk, person, account="x") == Refused(AccessReason.NOT_A_MEMBER)


async def test_a_person_has_so_many_cards(desk: Desk, person: str) -> None:
    for _ in range(CARDS_MAX):
        assert isinstance(await bound(desk, person), str)
    assert await bound(desk, person) == Refused(AccessReason.LIMIT_REACHED)


async def test_a_card_goes_with_the_account_it_pays(desk: Desk, person: str) -> None:
    await bound(desk, person)
    assert await unlink_account(desk, ACCOUNT, person, by=person) is None
    async with desk.pool.acquire() as db:
        assert await cards_of(db, person) == []
    assert await desk.pool.fetchval("SELECT reason FROM card_binding") == "ACCOUNT_UNLINKED"
