"""Personal data: sealed, found by exact phone or e-mail, erased with an act; nothing of them stands in clear anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.access import acts
from bels.access.acts import Act, ActRow
from bels.access.master_key import FileMasterKey
from bels.access.personal import (
    ADDRESS_LENGTH_MAX,
    NAME_LENGTH_MAX,
    PHONES_MAX,
    ContactKind,
    Personal,
    PersonalDataError,
    account_of,
    act_text,
    email_of,
    erase,
    find,
    find_many,
    masked,
    normalised,
    phone_of,
    put,
    search,
    subject_of,
    tenure_of,
)
from bels.access.vault import Damaged, KeyDestroyed, NoSuchKey, Vault
from bels.intake import Intake
from bels.journal.write import Db
from tests.supplier import open_household, reading, told_of

MASTER = [("one", bytes(range(32)))]
ACCOUNT = "1000101"
SUBJECT = subject_of(ACCOUNT, 1)
IVANOV = Personal(
    "Иванов Пётр Сергеевич",
    "Московская область, г. Химки, ул. Зелёная, д. 5, кв. 17",
    ("+79161234567", "+74955242204"),
    ("ivanov.p@example.ru", "pyotr@почта.рф"),
)
SIGHTS = ("Иванов", "Пётр", "Зелёная", "9161234567", "4955242204", "ivanov", "example.ru", "почта", "xn--80a1acny")
BY = {"by": "u-operator", "request_id": "r-1", "document": "заявление, № ...417"}


@pytest.fixture
async def db(pool: asyncpg.Pool) -> AsyncIterator[Db]:
    """Give a connection."""
    async with pool.acquire() as acquired:
        yield acquired


@pytest.fixture
def vault(pool: asyncpg.Pool) -> Vault:
    """Give a vault over a new, empty supplier."""
    return Vault(pool, FileMasterKey(MASTER))


async def _dump(db: Db) -> dict[str, list[tuple[Any, ...]]]:
    tables = await db.fetch(
        """
        SELECT schemaname || '.' || tablename AS name FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
        """
    )
    return {each["name"]: [tuple(row) for row in await db.fetch(f"SELECT * FROM {each['name']}")] for each in tables}


def _bytes_of(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


async def test_what_was_put_is_found(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    assert await find(db, vault, SUBJECT) == IVANOV
    assert await find(db, vault, subject_of(ACCOUNT, 2)) is None


async def test_what_is_put_again_takes_the_place_of_what_was(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    await put(db, vault, SUBJECT, Personal(name="Иванова Анна", phones=("8 916 123-45-67", "+7 (926) 000-00-01")))
    assert await find(db, vault, SUBJECT) == Personal("Иванова Анна", None, ("+79161234567", "+79260000001"))
    assert await search(db, vault, ContactKind.PHONE, "79161234567", 10) == [SUBJECT]
    assert await search(db, vault, ContactKind.PHONE, "+74955242204", 10) == []
    assert await search(db, vault, ContactKind.EMAIL, "ivanov.p@example.ru", 10) == []


async def test_a_household_is_found_by_its_exact_phone_or_e_mail_however_it_is_written(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    await put(db, vault, subject_of("1000102", 1), Personal(phones=("89161234567",)))
    both = [SUBJECT, subject_of("1000102", 1)]
    for text in ("+7 916 123-45-67", "8(916)1234567", "9161234567", "0079161234567"):
        assert await search(db, vault, ContactKind.PHONE, text, 10) == both
    assert await search(db, vault, ContactKind.PHONE, "9161234567", 1) == [SUBJECT]
    for text in (" Ivanov.P@EXAMPLE.ru ", "pyotr@ПОЧТА.РФ", "PYOTR@xn--80a1acny.xn--p1ai"):
        assert await search(db, vault, ContactKind.EMAIL, text, 10) == [SUBJECT]
    assert await search(db, vault, ContactKind.PHONE, "9161234568", 10) == []
    with pytest.raises(PersonalDataError):
        await search(db, vault, ContactKind.PHONE, "916123", 10)


async def test_no_table_holds_anything_personal_in_clear(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    await put(db, vault, subject_of("1000102", 1), IVANOV)
    told = await _dump(db)
    assert {"public.personal", "public.contact", "public.identity_act", "bels_keys.data_key"} <= told.keys()
    assert len(told["public.contact"]) == 4
    everything = b"\n".join(_bytes_of(value) for rows in told.values() for row in rows for value in row)
    for sight in SIGHTS:
        for coding in ("utf-8", "cp1251", "utf-16-le", "utf-16-be"):
            assert sight.encode(coding) not in everything
        assert sight.encode().hex().encode() not in everything


async def test_what_is_sealed_for_one_household_cannot_be_read_as_anothers(db: Db, vault: Vault) -> None:
    other = subject_of("1000102", 1)
    await put(db, vault, SUBJECT, IVANOV)
    await put(db, vault, other, Personal(name="Сидорова Анна"))
    await db.execute(
        "UPDATE personal SET sealed = (SELECT sealed FROM personal WHERE subject = $1) WHERE subject = $2",
        SUBJECT,
        other,
    )
    with pytest.raises(Damaged, match=other):
        await find(db, vault, other)


async def test_many_households_are_found_at_once(db: Db, vault: Vault) -> None:
    subjects = [subject_of(str(1_000_000 + number), 1) for number in range(100)]
    for each in subjects:
        await put(db, vault, each, Personal(name=f"Фамилия {each}"))
    await erase(db, vault, subjects[0], reason="отзыв согласия", **BY)
    found = await find_many(db, vault, [*subjects, "1999999/1"])
    assert found == {each: Personal(name=f"Фамилия {each}") for each in subjects[1:]}


async def test_an_erased_household_is_not_found_and_cannot_be_put_again(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    assert await find(db, vault, SUBJECT) is None
    assert await search(db, vault, ContactKind.PHONE, "9161234567", 10) == []
    with pytest.raises(PersonalDataError, match="уничтожены"):
        await put(db, vault, SUBJECT, IVANOV)
    with pytest.raises(PersonalDataError, match="Уничтожать нечего"):
        await erase(db, vault, SUBJECT, reason="ещё раз", **BY)
    await put(db, vault, subject_of(ACCOUNT, 2), IVANOV)
    assert await find(db, vault, subject_of(ACCOUNT, 2)) == IVANOV


async def test_an_erased_household_is_unreadable_also_in_a_copy_of_the_tables(pool: asyncpg.Pool, db: Db) -> None:
    vault = Vault(pool, FileMasterKey(MASTER))
    await put(db, vault, SUBJECT, IVANOV)
    copy = [tuple(row) for row in await db.fetch("SELECT subject, sealed, changed_at FROM personal")]
    contacts = [tuple(row) for row in await db.fetch("SELECT subject, kind, digest FROM contact")]
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    await db.executemany("INSERT INTO personal VALUES ($1, $2, $3)", copy)
    await db.executemany("INSERT INTO contact VALUES ($1, $2, $3)", contacts)
    fresh = Vault(pool, FileMasterKey(MASTER))
    assert await find(db, fresh, SUBJECT) is None
    assert await search(db, fresh, ContactKind.PHONE, "9161234567", 10) == []
    with pytest.raises(KeyDestroyed):
        await fresh.unseal(db, SUBJECT, copy[0][1], "personal")
    await db.execute("DELETE FROM bels_keys.data_key")
    with pytest.raises(NoSuchKey):
        await find(db, fresh, SUBJECT)


async def test_erasing_leaves_the_journal_and_what_is_told_from_it_as_they_were(
    pool: asyncpg.Pool, db: Db, vault: Vault, intake: Intake
) -> None:
    for message in [*open_household(ACCOUNT), reading(ACCOUNT, "r-1", 14_200)]:
        await intake.submit(message)
    await put(db, vault, SUBJECT, IVANOV)
    before, told = await _dump(db), await told_of(pool, ACCOUNT)
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    after = await _dump(db)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"public.personal", "public.contact", "public.identity_act", "bels_keys.data_key"}
    assert before["public.journal"]
    assert await told_of(pool, ACCOUNT) == told


async def test_the_act_says_what_the_order_asks_for_and_names_nobody(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, Personal(name=IVANOV.name, phones=IVANOV.phones))
    await erase(db, vault, SUBJECT, reason="отзыв согласия; destroyed: всё", **BY)
    (act,) = await acts.page(db, None, 10, account=ACCOUNT)
    assert (act.kind, act.subject, act.by_subject) == (Act.PERSONAL_DATA_ERASED, SUBJECT, "u-operator")
    text = act_text(act, "АО «Сбыт», г. Химки")
    for line in (
        "Оператор персональных данных: АО «Сбыт», г. Химки",
        "Субъект персональных данных: лицевой счёт 1000101, запись 1000101/1",
        "Категории уничтоженных персональных данных: фамилия, имя, отчество; номера телефонов",
        "Причина уничтожения: отзыв согласия; destroyed: всё",
        "Основание (документ): заявление, № ...417",
        "Уничтожил(а): учётная запись u-operator",
        "Запрос: r-1",
    ):
        assert line in text.splitlines()
    assert "AES-256-GCM" in text
    assert not any(sight in text for sight in SIGHTS)


def test_an_act_is_dated_in_moscow_and_only_erasures_have_one() -> None:
    at = datetime(2025, 6, 30, 21, 30, tzinfo=UTC)
    erased = ActRow(7, at, Act.PERSONAL_DATA_ERASED, "u-a", "u-b", None, "просьба; destroyed: login, cards", None, "")
    text = act_text(erased)
    assert "АКТ № 7" in text
    assert "01.07.2025 00:30:00 (московское время)" in text
    assert "имя для входа в личный кабинет; привязки банковских карт" in text
    with pytest.raises(ValueError, match="USER_ADDED"):
        act_text(ActRow(8, at, Act.USER_ADDED, "u-a", "u-b", None, None, None, ""))


async def test_data_that_can_no_longer_be_read_are_erased_all_the_same(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    await db.execute("UPDATE personal SET sealed = '\\x01'")
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    (act,) = await acts.page(db, None, 10)
    assert "фамилия, имя, отчество; адрес; номера телефонов; адреса электронной почты" in act_text(act)


@pytest.mark.parametrize(
    "reason", ["", "  ", "просьба ivanov@example.ru", "тел. 8 (916) 123-45-67", "45 10 123456", "я" * 301]
)
async def test_a_reason_that_cannot_stand_in_an_act_for_ever_is_refused(db: Db, vault: Vault, reason: str) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    with pytest.raises(PersonalDataError):
        await erase(db, vault, SUBJECT, reason=reason, **BY)
    assert await find(db, vault, SUBJECT) == IVANOV
    assert await acts.page(db, None, 10) == []


async def test_an_erasure_that_is_undone_leaves_the_data(db: Db, vault: Vault) -> None:
    await put(db, vault, SUBJECT, IVANOV)
    transaction = db.transaction()
    await transaction.start()
    await erase(db, vault, SUBJECT, reason="отзыв согласия", **BY)
    await transaction.rollback()
    assert await find(db, vault, SUBJECT) == IVANOV


async def test_the_first_tenure_of_an_account_is_1(db: Db) -> None:
    assert await tenure_of(db, ACCOUNT) == 1
    await db.execute(
        "INSERT INTO tenure (account, number, since, entry, period) VALUES ($1, 3, now(), 0, '2025-07')", ACCOUNT
    )
    assert await tenure_of(db, ACCOUNT) == 3
    assert [account_of(SUBJECT), account_of("u-abc")] == [ACCOUNT, None]


@pytest.mark.parametrize(
    ("personal", "said"),
    [
        (Personal(name="я" * (NAME_LENGTH_MAX + 1)), "Имя: не больше 200"),
        (Personal(address="я" * (ADDRESS_LENGTH_MAX + 1)), "Адрес: не больше 400"),
        (Personal(name="я" * 1_000_000), "Имя: не больше 200"),
        (Personal(name="Иван\x00ов"), "недопустимые"),
        (Personal(name="Иван\ud800ов"), "недопустимые"),
        (Personal(phones=tuple(f"+7916123{n:04}" for n in range(PHONES_MAX + 1))), "телефонов: не больше 10"),
        (Personal(emails=tuple(f"a{n}@example.ru" for n in range(11))), "почты: не больше 10"),
        (Personal(phones=("телефон",)), "не номер телефона"),
        (Personal(emails=("почта",)), "не адрес электронной почты"),
    ],
)
async def test_what_cannot_be_kept_is_refused_in_words_that_do_not_repeat_it(
    db: Db, vault: Vault, personal: Personal, said: str
) -> None:
    with pytest.raises(PersonalDataError, match=said) as refused:
        await put(db, vault, SUBJECT, personal)
    assert not any(part in str(refused.value) for part in ("яя", "Иван", "@example.ru\n"))
    assert await find(db, vault, SUBJECT) is None


def test_blanks_and_repetitions_are_not_kept() -> None:
    given_twice = Personal("  Иванов   Пётр ", "", ("8 916 1234567", "+79161234567"), ("A@b.ru", "a@B.ru"))
    assert normalised(given_twice) == Personal("Иванов Пётр", None, ("+79161234567",), ("a@b.ru",))


PREFIXES = st.sampled_from(["+7", "7", "8", "", "007"])
SIGNS = st.sampled_from(["", " ", "-", "(", ")", ".", "\u00a0", "\u2011", " - "])


@given(
    digits=st.from_regex(r"[3-689][0-9]{9}", fullmatch=True),
    prefix=PREFIXES,
    signs=st.lists(SIGNS, min_size=10, max_size=10),
)
def test_a_russian_phone_has_one_form_however_it_is_written(digits: str, prefix: str, signs: list[str]) -> None:
    written = prefix + "".join(sign + digit for sign, digit in zip(signs, digits, strict=True))
    assert phone_of(written) == f"+7{digits}"


@given(st.text(max_size=30))
def test_any_text_is_a_phone_of_one_form_or_refused(text: str) -> None:
    try:
        phone = phone_of(text)
    except PersonalDataError:
        return
    assert phone.startswith("+")
    assert phone[1:].isascii()
    assert phone[1:].isdigit()
    assert phone_of(phone) == phone


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_an_e_mail_of_one_form_or_refused(local: str, domain: str) -> None:
    try:
        email = email_of(f"{local}@{domain}.ru")
    except PersonalDataError:
        return
    assert email_of(email) == email


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("+77012345678", "+77012345678"),
        ("+375 29 123-45-67", "+375291234567"),
        ("00 49 30 901820", "+4930901820"),
        ("112", None),
        ("+7916123456", None),
        ("+791612345678", None),
        ("8916123456а", None),
        ("٩١٦١٢٣٤٥٦٧", None),
        ("", None),
        ("9" * 100_000, None),
    ],
)
def test_other_phones_are_international_or_refused(text: str, phone: str | None) -> None:
    if phone is None:
        with pytest.raises(PersonalDataError):
            phone_of(text)
    else:
        assert phone_of(text) == phone


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("A.B+c@Example.COM", "a.b+c@example.com"),
        ("иван@xn--80a1acny.xn--p1ai", "иван@почта.рф"),
        ("a@straße.de", "a@straße.de"),
        ("a@b", None),
        ("@b.ru", None),
        ("a b@c.ru", None),
        ("a@b@c.ru", None),
        ("a@-b.ru", None),
        ("a@b..ru", None),
        ("a\x00@b.ru", None),
        ("a\ud800@b.ru", None),
        ("a@\ud800.ru", None),
        ("a" * 65 + "@b.ru", None),
        ("a@" + "b." * 200 + "ru", None),
    ],
)
def test_an_e_mail_has_one_form(text: str, email: str | None) -> None:
    if email is None:
        with pytest.raises(PersonalDataError):
            email_of(text)
    else:
        assert email_of(text) == email


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Иванов Пётр Сергеевич", "И*** Пётр С."),
        ("иванов  Пётр", "И*** Пётр"),
        ("Иванов", "И***"),
        ("Ли", "Л***"),
        ("Салтыкова-Щедрина Анна Ивановна", "С*** Анна И."),
        ("Мамедов Али Гасан оглы", "М*** Али Г."),
        ("Иванов П. С.", "И*** П. С."),
        ("", ""),
    ],
)
def test_a_name_is_masked_as_banks_show_a_payee(name: str, shown: str) -> None:
    assert masked(name) == shown
