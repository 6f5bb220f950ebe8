"""Guessing is slowed to nothing, and nobody is locked out for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from bels.access import throttle
from bels.access.master_key import development_key
from bels.access.throttle import ADDRESS, BOTH, IDENTITY, Counter, Throttle, TooManyAttempts, counted, given_back
from bels.access.vault import Vault

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HOME, ELSEWHERE = "203.0.113.7", "198.51.100.1"
LOGIN = "ivanova@example.ru"


class House:
    """A throttle and the clock that it goes by."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self.now = NOW
        self.throttle = Throttle(pool, vault, lambda: self.now)

    def after(self, **passed: float) -> None:
        """Let time pass."""
        self.now += timedelta(**passed)

    async def wait_s(self, identity: str = LOGIN, address: str = HOME) -> int:
        """Ask how long a try must wait; one that need not is taken back."""
        try:
            await self.throttle.check("login", identity, address)
        except TooManyAttempts as refused:
            return refused.wait_s
        await self.throttle.withdrawn("login", identity, address)
        return 0

    async def fail(self, identity: str = LOGIN, address: str = HOME) -> None:
        """Try, and be wrong."""
        await self.throttle.check("login", identity, address)
        await self.throttle.failed("login", identity, address)

    async def succeed(self, identity: str = LOGIN, address: str = HOME) -> None:
        """Try, and be right."""
        await self.throttle.check("login", identity, address)
        await self.throttle.succeeded("login", identity, address)

    async def guess(self, hours: float, identity: str = LOGIN, address: str = ELSEWHERE) -> int:
        """Fail as often as one is let, for so long, the last time just now; give how often that was."""
        end, times = self.now + timedelta(hours=hours), 0
        while True:
            try:
                await self.fail(identity, address)
                times += 1
            except TooManyAttempts as refused:
                if self.now + timedelta(seconds=refused.wait_s) > end:
                    return times
                self.after(seconds=refused.wait_s)


@pytest.fixture
def house(pool: asyncpg.Pool, tmp_path: Path) -> House:
    """Give the throttle of a new supplier."""
    return House(pool, Vault(pool, development_key(tmp_path)))


async def test_five_failures_are_free_and_then_the_wait_doubles(house: House) -> None:
    waits = []
    for _ in range(20):
        waits.append(await house.wait_s())
        house.after(seconds=waits[-1])
        await house.fail()
    assert waits == [0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]


async def test_asking_again_too_early_makes_no_wait_longer(house: House) -> None:
    for _ in range(6):
        await house.fail()
    house.after(seconds=1)
    await house.fail()
    for _ in range(50):
        assert await house.wait_s() == 2
    house.after(seconds=2)
    assert await house.wait_s() == 0


async def test_a_day_without_a_failure_forgets_them_all(house: House) -> None:
    await house.guess(hours=6, address=HOME)
    assert await house.wait_s() > 0
    house.after(days=1)
    for _ in range(6):
        await house.fail()


async def test_of_hundreds_of_guesses_at_once_six_are_made(house: House) -> None:
    tries = (house.throttle.check("code", LOGIN, f"10.0.{number // 250}.{number % 250}") for number in range(300))
    told = await asyncio.gather(*tries, return_exceptions=True)
    assert told.count(None) == IDENTITY.free + 1
    assert {type(each) for each in told} == {type(None), TooManyAttempts}


async def test_an_attacker_elsewhere_keeps_nobody_from_where_they_come_in(house: House) -> None:
    await house.succeed()
    for number in range(40):
        await house.guess(0.1, address=f"198.51.100.{number}")
    assert await house.wait_s(address="192.0.2.1") > 0
    assert await house.wait_s() == 0
    await house.succeed()


async def test_one_attacker_leaves_a_gap_for_whoever_comes_from_a_new_address(house: House) -> None:
    await house.guess(hours=24)
    # He has just failed again, and waits a quarter of an hour.
    assert await house.wait_s(address=ELSEWHERE) == 900
    assert await house.wait_s() == 300
    house.after(minutes=5)
    assert await house.wait_s(address=ELSEWHERE) == 600
    await house.succeed()
    assert await house.wait_s(address=ELSEWHERE) == 600


async def test_a_stranger_gets_a_few_hundred_guesses_a_day_and_no_more(house: House) -> None:
    alone = await house.guess(hours=24)
    assert 96 <= alone <= 115
    end, many, number = house.now + timedelta(hours=24), 0, 0
    while house.now < end:
        # Always from another address.
        number += 1
        try:
            await house.fail(address=f"2001:db8:{number:x}::1")
            many += 1
        except TooManyAttempts as refused:
            house.after(seconds=refused.wait_s)
    assert 280 <= many <= 305


async def test_an_address_that_tries_many_logins_is_slowed_later(house: House) -> None:
    for number in range(ADDRESS.free + 1):
        await house.fail(f"login{number}")
    assert await house.wait_s("another") == 1
    assert await house.wait_s("another", ELSEWHERE) == 0
    house.after(seconds=1)
    assert await house.guess(24, "x", HOME) < 120


async def test_whoever_succeeds_now_and_then_does_not_clean_his_address(house: House) -> None:
    for number in range(ADDRESS.free + 1):
        await house.fail(f"login{number}")
        await house.succeed("his own")
    assert await house.wait_s("another") == 1
    # Where he is known he still comes in, and that changes nothing for the others.
    await house.succeed("his own")
    assert await house.wait_s("another") == 1


async def test_many_people_of_one_address_come_in_one_after_the_other(house: House) -> None:
    await house.guess(2, "stranger", HOME)
    house.after(minutes=15)
    for number in range(50):
        await house.succeed(f"person{number}")


async def test_a_success_forgets_the_failures_of_that_place(house: House) -> None:
    for _ in range(5):
        await house.fail()
    await house.succeed()
    for _ in range(6):
        await house.fail()
    assert await house.wait_s() == 1


async def test_failures_where_one_is_known_count_against_strangers_too(house: House) -> None:
    await house.succeed()
    for _ in range(6):
        await house.fail()
    assert await house.wait_s(address=ELSEWHERE) == 1
    assert await house.wait_s() == 1


async def test_a_place_is_known_for_thirty_days(house: House) -> None:
    await house.succeed()
    house.after(days=29)
    await house.guess(1, address=ELSEWHERE)
    assert await house.wait_s() == 0
    house.after(days=2)
    await house.guess(1, address=ELSEWHERE)
    assert await house.wait_s() > 0


async def test_the_office_forgives(house: House) -> None:
    await house.guess(6)
    assert await house.wait_s() > 0
    await house.throttle.forgive("login", LOGIN)
    assert await house.wait_s() == 0


async def test_a_try_that_was_not_made_is_not_counted(house: House) -> None:
    for _ in range(50):
        await house.throttle.check("login", LOGIN, HOME)
        await house.throttle.withdrawn("login", LOGIN, HOME)
    assert await house.wait_s() == 0


async def test_what_is_tried_is_counted_each_for_itself(house: House) -> None:
    await house.guess(1, address=HOME)
    await house.throttle.check("registration", LOGIN, HOME)
    assert await house.wait_s() > 0


async def test_a_wait_begins_when_it_is_known_to_be_wrong(house: House) -> None:
    for _ in range(5):
        await house.fail()
    await house.throttle.check("login", LOGIN, HOME)
    house.after(seconds=1)
    await house.throttle.failed("login", LOGIN, HOME)
    assert await house.wait_s() == 1


async def test_a_try_that_names_nobody_counts_for_its_address_alone(house: House) -> None:
    for _ in range(ADDRESS.free + 1):
        await house.fail("")
    assert await house.wait_s("") == 1
    assert await house.wait_s("", ELSEWHERE) == 0
    house.after(days=2)
    await house.succeed("")
    for _ in range(ADDRESS.free + 1):
        await house.fail("")
    assert await house.wait_s("") == 1


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("testclient", "testclient", True),
        ("", "testclient", False),
        ("\ud800", "\0", False),
    ],
)
async def test_addresses_of_one_subscriber_are_one(house: House, one: str, other: str, are_one: bool) -> None:
    for number in range(ADDRESS.free + 1):
        await house.fail(f"login{number}", one)
    assert (await house.wait_s("another", other) > 0) is are_one


async def test_the_table_holds_no_login_and_no_address(pool: asyncpg.Pool, house: House) -> None:
    await house.succeed()
    await house.fail()
    rows = await pool.fetch("SELECT to_jsonb(a)::text AS said FROM attempt AS a")
    assert len(rows) == 4
    for row in rows:
        for text in (LOGIN, HOME):
            assert text not in row["said"]
            assert text.encode().hex() not in row["said"]


async def test_what_is_over_is_deleted_while_others_come(pool: asyncpg.Pool, house: House) -> None:
    await pool.execute(
        """
        INSERT INTO attempt (key, failures, last_at, until)
        SELECT sha256(number::text::bytea), 1, $1, $1 FROM generate_series(1, 300) AS number
        """,
        NOW - timedelta(days=2),
    )
    for number in range(150):
        await house.succeed("one and the same", f"2001:db8:{number:x}::1")
    assert await pool.fetchval("SELECT count(*) FROM attempt WHERE until < $1", NOW) < 60
    assert await pool.fetchval("SELECT count(*) FROM attempt WHERE until > $1", NOW) >= 150


async def test_two_servers_that_count_at_once_never_wait_in_a_circle(pool: asyncpg.Pool, house: House) -> None:
    logins, places = [f"login{number}" for number in range(4)], [f"10.0.0.{number}" for number in range(4)]

    async def mixed(number: int) -> None:
        login, place = logins[number % 4], places[number // 4 % 4]
        try:
            await house.throttle.check("login", login, place)
        except TooManyAttempts:
            return
        await (house.throttle.succeeded if number % 3 else house.throttle.failed)("login", login, place)

    await asyncio.wait_for(asyncio.gather(*map(mixed, range(200))), 30)


def test_the_sentence_is_russian_and_says_when() -> None:
    assert str(TooManyAttempts(8)) == "Слишком много неудачных попыток. Повторите через 8 с."
    assert str(TooManyAttempts(61)) == "Слишком много неудачных попыток. Повторите через 2 мин."


def test_counters_forget_evenly_and_end_where_nothing_becomes_worse() -> None:
    assert (IDENTITY.most, BOTH.most, ADDRESS.most) == (15, 16, 41)
    counter = counted(None, IDENTITY, NOW)
    assert counter == Counter(1, NOW, NOW + timedelta(minutes=96))
    for _ in range(100):
        counter = counted(counter, IDENTITY, NOW)
    assert counter == Counter(15, NOW, NOW + throttle.FORGOTTEN_AFTER)
    assert counted(counter, IDENTITY, NOW + timedelta(hours=12)).failures == 9
    assert counted(counter, IDENTITY, NOW + timedelta(days=3)).failures == 1
    assert given_back(counter, IDENTITY, NOW).failures == 14
    assert given_back(counter, IDENTITY, NOW).wait_s(IDENTITY, NOW) == 0
    assert given_back(counted(None, BOTH, NOW), BOTH, NOW).failures == 0
    assert all(limit.wait_s(limit.most) == limit.wait_s_max for limit in (IDENTITY, ADDRESS, BOTH))
