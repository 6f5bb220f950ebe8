"""What looks personal is masked, whatever stands around it; what an operator needs stays."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.observing.scrub import TEXT_MAX, scrub, scrub_value, tell_error
from tests.effort import effort

GAPS = st.sampled_from(["", " ", "-", " (", ") ", ").", "\u00a0", "–", "."])
DIGITS = st.text("0123456789", min_size=9, max_size=9)
AROUND = st.text(st.characters(exclude_categories=["Nd", "Cs"], exclude_characters="@"), max_size=30)


@st.composite
def phones(draw: st.DrawFn) -> str:
    """Draw a Russian mobile number as people write it."""
    digits = draw(DIGITS)
    head = draw(st.sampled_from(["+7", "7", "8", ""]))
    first, second, third, fourth = (draw(GAPS) for _ in range(4))
    if head == "":
        first = ""
    return f"{head}{first}9{digits[:2]}{second}{digits[2:5]}{third}{digits[5:7]}{fourth}{digits[7:]}"


@given(AROUND, phones(), AROUND)
def test_a_phone_is_masked_however_it_is_written(before: str, phone: str, after: str) -> None:
    assert phone not in scrub(before + phone + after)


@given(AROUND, DIGITS, AROUND)
def test_no_nine_digits_of_a_phone_are_left(before: str, digits: str, after: str) -> None:
    assert digits not in scrub(f"{before}+7 9{digits}{after}")


@given(AROUND, st.emails(), AROUND)
def test_an_e_mail_is_masked(before: str, mail: str, after: str) -> None:
    assert mail not in scrub(before + mail + after)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiJ1LTEifQ.c2lnbmF0dXJl",
        "bels_r_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
        "bels_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
        "Bearer c2VjcmV0LXRva2Vu",
        "postgresql://bels:s3cret@db.example.ru/bels",
        "иван@почта.рф",
        "ivan%40example.ru",
        "4276 1600 1234 5678",
        "4276160012345678",
        "95.165.1.2",
        "::ffff:95.165.1.2",
        "2a02:6b8::2:242",
        "8 (495) 123-45-67",
        "Иванов Пётр Сергеевич, ул. Ленина, д. 5",
        "\\u0418\\u0432\\u0430\\u043d\\u043e\\u0432",
        "\\xd0\\x98\\xd0\\xb2\\xd0\\xb0\\xd0\\xbd",
    ],
)
def test_what_is_personal_or_secret_is_masked(secret: str) -> None:
    said = scrub(f"it failed for {secret}: again")

    assert secret.removeprefix("Bearer ") not in said
    assert not any(part in said for part in ("s3cret", "Иванов", "Ленина", "c2ln", "5678"))
    assert said.startswith("it failed for ")


@pytest.mark.parametrize(
    "kept",
    [
        "account 1000101 of 2026-10",
        "request 0c25eb090aa4b923 failed",
        "digest 91612345679161234567abcdef91612345679161234567abcdef916123456791",
        "receipt 5D2K7Q9A at 2026-11-22T23:43:00.063+00:00",
        "u-abcdefgh234567ab in 12:30:45",
        "connect call failed ('127.0.0.1', 5432) and ('10.0.0.5', 5432)",
        "a batch of 1000 messages failed",
        "123e4567-e89b-12d3-a456-426614174000",
        "bels.access and bels_nothing_changes",
    ],
)
def test_what_an_operator_needs_stays(kept: str) -> None:
    assert scrub(kept) == kept


def test_values_are_masked_at_any_depth() -> None:
    given = {"to": ["8 916 123-45-67", 79161234567], "raw": b"8 916", "size": 42, 79161234567: {"a@b.ru": True}}

    assert scrub_value(given) == {
        "to": ["[phone]", "[phone]"],
        "raw": "[5 bytes]",
        "size": 42,
        "[phone]": {"[e-mail]": True},
    }


def test_a_value_that_cannot_be_told_does_not_break_the_log() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("89161234567")

    assert scrub_value(Broken()) == "[Broken without a text: RuntimeError]"


def test_a_long_text_is_cut_so_that_no_half_of_a_phone_is_left() -> None:
    said = scrub("x" * (TEXT_MAX - 6) + "+79161234567" + "y" * 10)

    assert said.endswith("[cut]")
    assert "+7916" not in said


async def test_a_row_that_postgresql_quotes_is_not_told(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as db:
        await db.execute("CREATE TABLE guest (name text PRIMARY KEY, age int CHECK (age > 0))")
        await db.execute("INSERT INTO guest VALUES ('Ivanov', 1)")
        said = []
        for statement, values in [
            ("INSERT INTO guest VALUES ($1, 1)", ["Ivanov"]),
            ("INSERT INTO guest VALUES ($1, -1)", ["Petrov"]),
            ("SELECT $1::text::int", ["Sidorov"]),
            ("SELECT $1::int", ["Fedorov"]),
        ]:
            try:
                await db.fetch(statement, *values)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                said.append(tell_error(error))

    assert len(said) == 4
    assert not any(name in each for each in said for name in ("Ivanov", "Petrov", "Sidorov", "Fedorov"))
    assert (
        'asyncpg.exceptions.UniqueViolationError: 23505 duplicate key value violates unique constraint "guest_pkey"'
        in said[0]
    )
    assert "constraint=guest_age_check" in said[1]
    assert "22P02" in said[2]


def _fail(text: str) -> None:
    try:
        try:
            raise ValueError(text)
        except ValueError as error:
            raise KeyError(text) from error
    except KeyError:
        raise ExceptionGroup(text, [RuntimeError(text), OSError(text)]) from None


@given(st.one_of(phones(), st.emails()))
def test_a_phone_or_e_mail_in_an_exception_is_never_told(personal: str) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        _fail(personal)
    raised.value.add_note(personal)
    said = tell_error(raised.value)

    assert personal not in said
    assert "builtins.RuntimeError" in said


def _fail_twice() -> None:
    try:
        raise ValueError("first")
    except ValueError as error:
        raise KeyError("second") from error


def test_causes_are_told_in_order_with_their_frames() -> None:
    with pytest.raises(KeyError) as raised:
        _fail_twice()

    said = tell_error(raised.value)

    assert (
        said.index("builtins.ValueError: first")
        < said.index("direct cause")
        < said.index("builtins.KeyError: 'second'")
    )
    assert said.count("Traceback (most recent call last):") == 2
    assert 'raise ValueError("first")' in said


@pytest.mark.parametrize(
    "part", ["eyJaaaa", "eyJaaaa.", "a@", "bels_", "9 ", "8(9)", "+7", "a:", "1.", "а ", "\\xd0", "0a", "1234-"]
)
def test_a_hostile_text_does_not_take_long(part: str) -> None:
    with effort() as done:
        scrub(part * (TEXT_MAX // len(part)))
        scrub("a" * TEXT_MAX + part)

    # A hundredth of this is usual; what is not linear takes twice as much.
    assert done.units < 50
