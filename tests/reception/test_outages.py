"""Outages: announced once, told while they stand, to everybody and of nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg
import pytest

from bels.domain.periods import MOSCOW
from bels.reception.outages import (
    LASTS_MAX,
    KeyReused,
    NewOutage,
    OutageError,
    OutageKind,
    announce,
    lasts,
    outages_at,
    outages_now,
    withdraw,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=MOSCOW)
EMERGENCY = NewOutage(
    OutageKind.EMERGENCY, "Балашиха", "ул. Гражданская, 1–9", NOON - timedelta(hours=1), NOON + timedelta(hours=6)
)
PLANNED = NewOutage(
    OutageKind.PLANNED,
    "Реутов",
    "ул. Ленина, 2, 4.",
    NOON + timedelta(days=1),
    NOON + timedelta(days=1, hours=4),
    "Замена кабеля.",
)


async def test_everybody_hears_of_an_outage_while_it_stands(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        await announce(db, EMERGENCY, "operator:u-7", "1", NOON)
        await announce(db, PLANNED, "operator:u-7", "2", NOON)

        now = await outages_now(db, NOON)
        evening = await outages_now(db, NOON + timedelta(hours=6))
        far = await outages_now(db, NOON - timedelta(days=5))

    assert now == [
        "Аварийное отключение: Балашиха, ул. Гражданская, 1–9. До 18:00.",
        "Плановые работы: Реутов, ул. Ленина, 2, 4. Завтра с 12:00 до 16:00. Замена кабеля.",
    ]
    assert [each.partition(":")[0] for each in evening] == ["Плановые работы"]
    assert far == []


async def test_works_that_begin_in_a_week_are_not_told_yet(pool: asyncpg.Pool) -> None:
    later = replace(PLANNED, since=NOON + timedelta(days=7), until=NOON + timedelta(days=8))
    async with pool.acquire() as db:
        await announce(db, later, "operator:u-7", "1", NOON)

        assert await outages_now(db, NOON) == []
        assert len(await outages_now(db, NOON + timedelta(days=4))) == 1
        assert (await outages_now(db, NOON + timedelta(days=4)))[0].startswith(
            "Плановые работы: Реутов, ул. Ленина, 2, 4. С 12:00 30.11.2026 до 12:00 01.12.2026."
        )


async def test_an_outage_is_announced_once_under_its_key(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        first, replayed = await announce(db, EMERGENCY, "operator:u-7", "1", NOON)
        again, came_before = await announce(db, EMERGENCY, "operator:u-7", "1", NOON + timedelta(hours=1))
        other, _ = await announce(db, EMERGENCY, "operator:u-8", "1", NOON)
        with pytest.raises(KeyReused):
            await announce(db, replace(EMERGENCY, places="ул. Советская"), "operator:u-7", "1", NOON)

    assert (replayed, came_before) == (False, True)
    assert again == first
    assert other.number != first.number


async def test_a_withdrawn_outage_is_told_no_more(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        outage, _ = await announce(db, EMERGENCY, "operator:u-7", "1", NOON)

        gone = await withdraw(db, outage.number, "operator:u-8", "свет дали", NOON)
        again = await withdraw(db, outage.number, "operator:u-7", "ещё раз", NOON + timedelta(hours=1))
        nowhere = await withdraw(db, outage.number + 7, "operator:u-7", "нет такого", NOON)

        assert await outages_now(db, NOON) == []
        note = await db.fetchval("SELECT note FROM outage")
    assert gone is not None
    assert again is not None
    assert (gone[1], again[1], nowhere) == (False, True, None)
    assert gone[0] == again[0]
    assert gone[0].withdrawn_at == NOON
    assert note == "свет дали"


async def test_pages_go_on_where_the_last_one_ended(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        for n in range(5):
            await announce(db, replace(EMERGENCY, places=f"дом {n}"), "operator:u-7", str(n), NOON)

        first = await outages_at(db, NOON, None, 2)
        rest = await outages_at(db, NOON, (first[-1].until, first[-1].number), 10)

    assert [each.places for each in (*first, *rest)] == [f"дом {n}" for n in range(5)]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(EMERGENCY, places=""),
        replace(EMERGENCY, places="x" * 2_001),
        replace(EMERGENCY, locality=" "),
        replace(EMERGENCY, text="Звоните +7 916 123-45-67"),
        replace(EMERGENCY, places="ivan@example.ru"),
    ],
)
async def test_what_everybody_reads_holds_nobodys_phone(pool: asyncpg.Pool, wrong: NewOutage) -> None:
    async with pool.acquire() as db:
        with pytest.raises(OutageError):
            await announce(db, wrong, "operator:u-7", "1", NOON)
        assert await db.fetchval("SELECT count(*) FROM outage") == 0


def test_an_outage_ends_after_it_began_and_within_ninety_days() -> None:
    assert lasts(EMERGENCY)
    assert not lasts(replace(EMERGENCY, until=EMERGENCY.since))
    assert not lasts(replace(EMERGENCY, until=EMERGENCY.since + LASTS_MAX + timedelta(seconds=1)))
