"""What may be a password, and how it is hashed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import process_time

import pytest
from argon2 import PasswordHasher, extract_parameters

from bels.access import passwords
from bels.access.passwords import Busy, PasswordError, Passwords, checked_password, new_password

GOOD = "лиса варит суп"


@pytest.fixture
def hashing() -> Iterator[Passwords]:
    """Give passwords hashed as a server hashes them."""
    made = Passwords()
    yield made
    made.close()


async def test_a_password_is_verified_and_another_is_not(hashing: Passwords) -> None:
    hashed = await hashing.hash(GOOD)
    assert await hashing.verify(hashed, GOOD)
    assert not await hashing.verify(hashed, GOOD + "!")
    assert GOOD not in hashed


async def test_the_same_password_is_never_hashed_to_the_same_text(hashing: Passwords) -> None:
    assert await hashing.hash(GOOD) != await hashing.hash(GOOD)


async def test_the_parameters_are_not_weaker_than_owasp_asks(hashing: Passwords) -> None:
    parameters = extract_parameters(await hashing.hash(GOOD))
    assert parameters.type.name == "ID"
    assert parameters.memory_cost >= 19_456
    assert parameters.time_cost >= 2


async def test_nobody_has_a_password_and_it_takes_the_same_work(hashing: Passwords) -> None:
    hashed = await hashing.hash(GOOD)

    async def quickest(of: str | None) -> float:
        times = []
        for _ in range(5):
            began = process_time()
            assert await hashing.verify(of, "не тот пароль") is False
            times.append(process_time() - began)
        return min(times)

    assert await quickest(None) > await quickest(hashed) / 2


async def test_a_password_of_another_keyboard_is_the_same_password(hashing: Passwords) -> None:
    hashed = await hashing.hash("\u0439од и ёлка 123")
    assert await hashing.verify(hashed, "\u0438\u0306од и \u0435\u0308лка 123")
    assert await hashing.verify(hashed, "\u0439од\u00a0и\u2003ёлка １２３")


@pytest.mark.parametrize("password", ["", "x" * 129, "x" * 100_000, "\ud800", f"{GOOD}\ud800", "\0"])
async def test_what_cannot_be_a_password_is_wrong_and_no_fault(hashing: Passwords, password: str) -> None:
    assert not await hashing.verify(await hashing.hash(GOOD), password)
    assert not await hashing.verify(None, password)


@pytest.mark.parametrize(
    ("password", "sentence"),
    [
        ("короткий1", passwords.TOO_SHORT),
        ("ﬁﬁﬁ", passwords.TOO_SHORT),
        ("ab" * 65, passwords.TOO_LONG),
        ("\ufdfa" * 20, passwords.TOO_LONG),
        ("десять\nзнаков", passwords.NOT_TEXT),
        ("десять знаков\ud800", passwords.NOT_TEXT),
        ("1111111111111", passwords.TOO_PLAIN),
        ("abababababab", passwords.TOO_PLAIN),
        ("Qwertyuiop", passwords.COMMON),
        ("１２３４５６７８９０", passwords.COMMON),
        ("ivanova@example.ru", passwords.IS_LOGIN),
        ("IVANOVA@example.RU", passwords.IS_LOGIN),
        ("8 903 123-45-67", passwords.IS_LOGIN),
        ("+79031234567", passwords.IS_LOGIN),
    ],
)
def test_a_password_that_will_be_guessed_is_refused_and_it_is_said_how(password: str, sentence: str) -> None:
    login = "+79031234567" if "903" in password else "ivanova@example.ru"
    with pytest.raises(PasswordError) as refused:
        checked_password(password, login)
    assert str(refused.value) == sentence


def test_long_words_digits_and_spaces_are_all_that_is_asked_for() -> None:
    assert checked_password(GOOD, "ivanova@example.ru") == GOOD
    assert checked_password("a b c d e ") == "a b c d e "
    assert checked_password("x1y2z" + "я" * 123) == "x1y2z" + "я" * 123


def test_a_password_that_we_make_may_be_one_and_is_never_the_same() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    for each in made:
        assert checked_password(each) == each


async def test_a_hash_of_older_parameters_is_verified_and_known_as_old(hashing: Passwords) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(GOOD)
    assert await hashing.verify(old, GOOD)
    assert hashing.needs_rehash(old)
    assert not hashing.needs_rehash(await hashing.hash(GOOD))


async def test_too_many_at_once_are_told_to_come_again() -> None:
    hashing = Passwords(at_once=1, waiting_max=2)
    told = await asyncio.gather(*(hashing.verify(None, GOOD) for _ in range(6)), return_exceptions=True)
    assert [type(each) for each in told].count(Busy) == 3
    assert told.count(False) == 3
    assert await hashing.verify(None, GOOD) is False
    hashing.close()


async def test_a_caller_who_has_gone_leaves_its_place() -> None:
    hashing = Passwords(at_once=1, waiting_max=1)
    first = asyncio.create_task(hashing.verify(None, GOOD))
    gone = asyncio.create_task(hashing.verify(None, GOOD))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await hashing.verify(None, GOOD) is False
    assert await first is False
    hashing.close()


async def test_the_loop_goes_on_while_passwords_are_hashed(hashing: Passwords) -> None:
    work = asyncio.create_task(hashing.hash(GOOD))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 2


async def test_a_damaged_hash_is_a_fault_and_not_a_wrong_password(hashing: Passwords) -> None:
    with pytest.raises(RuntimeError, match="cannot be read"):
        await hashing.verify("$argon2id$nonsense", GOOD)
