"""Personal data of a household: sealed under the key of its tenure, found by exact phone or e-mail, erased with an act.

The subject is a tenure, ``1000101/1``: whoever takes a flat over is another subject, so nothing of one is told to the other.
Erasing destroys the key and deletes the rows, and records an act with what order 179 of Roskomnadzor of 28.10.2022 asks for
(152-ФЗ ст. 21 ч. 7): whose, when, by whom, which categories, where from, how and why. Acts name nobody: a subject is a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import idna
import msgspec

from bels.access import acts
from bels.access.master_key import MasterKeyError
from bels.access.vault import KeyDestroyed, Vault, VaultError
from bels.domain.periods import MOSCOW
from bels.journal.write import Db

NAME_LENGTH_MAX = 200
ADDRESS_LENGTH_MAX = 400
PHONES_MAX = 10
EMAILS_MAX = 10
EMAIL_LENGTH_MAX = 254
CONTACT_LENGTH_MAX = 300
SUBJECTS_MAX = 1_000
FOUND_MAX = 100
REASON_LENGTH_MAX = 300
DOCUMENT_LENGTH_MAX = 200

CONTACTS_KEY = "contacts"
"""The named key of the digests of phones and e-mails."""

_ABOUT = "personal"
_DESTROYED = "; destroyed: "
_PHONE_SIGNS = re.compile(r"[\s\-‐-―().]+")
_RUSSIAN_PHONE = re.compile(r"(?:\+7|007|8|7)?([3-689][0-9]{9})")
_FOREIGN_PHONE = re.compile(r"(?:\+|00)([1-9][0-9]{7,14})")
_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}")
_LONG_NUMBER = re.compile(r"[0-9]{10}")


class PersonalDataError(Exception):
    """The data cannot be kept, or there are none; the Russian sentence is for whoever typed them and repeats none of them."""


class NothingToErase(PersonalDataError):
    """There are no personal data of this subject."""


class PersonalDataErased(PersonalDataError):
    """The personal data of this subject were erased; others are never kept in their place."""


class ContactKind(StrEnum):
    """By what a household is found."""

    PHONE = "PHONE"
    EMAIL = "EMAIL"


@dataclass(frozen=True, slots=True)
class Personal:
    """Who lives there and how they are reached. The name is written as in documents, surname first.

    Phones are kept as +79161234567, e-mails with a lower-case local part and the domain in Unicode.
    """

    name: str | None = None
    address: str | None = None
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


CATEGORIES = {
    "name": "фамилия, имя, отчество",
    "address": "адрес",
    "phones": "номера телефонов",
    "emails": "адреса электронной почты",
    "login": "имя для входа в личный кабинет",
    "cards": "привязки банковских карт",
}
"""The categories of personal data as an act names them."""

_OF_TENURE = ("name", "address", "phones", "emails")
_OF_PERSON = ("login", "cards")


def subject_of(account: str, tenure: int) -> str:
    """Name the subject of an account's tenure: ``1000101/1``."""
    return f"{account}/{tenure}"


def account_of(subject: str) -> str | None:
    """Give the account of a subject; None for one that is no tenure."""
    account, slash, _ = subject.partition("/")
    return account if slash else None


async def tenure_of(db: Db, account: str) -> int:
    """Give the number of an account's tenure today, from 1 on."""
    return await db.fetchval("SELECT number FROM tenure WHERE account = $1", account) or 1


async def put(db: Db, vault: Vault, subject: str, personal: Personal) -> None:
    """Keep a subject's personal data in place of what was kept; in a transaction of its own or in the one that runs.

    :raises PersonalDataError: a part is too long or no phone or e-mail.
    :raises PersonalDataErased: the subject was erased.
    :raises MasterKeyError: they cannot be sealed.
    """
    kept = normalised(personal)
    contacts = [(ContactKind.PHONE, each) for each in kept.phones] + [(ContactKind.EMAIL, each) for each in kept.emails]
    digests = [await _digest(vault, kind, text) for kind, text in contacts]
    async with db.transaction():
        try:
            sealed = await vault.seal(db, subject, msgspec.json.encode(kept), _ABOUT)
        except KeyDestroyed:
            raise PersonalDataErased("Персональные данные этого абонента уничтожены: внести их снова нельзя.") from None
        # Two at once wait for each other here, so the contacts are those of the last one.
        await db.execute(
            """
            INSERT INTO personal (subject, sealed, changed_at) VALUES ($1, $2, now())
            ON CONFLICT (subject) DO UPDATE SET sealed = excluded.sealed, changed_at = excluded.changed_at
            """,
            subject,
            sealed,
        )
        await db.execute(
            """
            WITH now_theirs AS (SELECT * FROM unnest($2::text[], $3::bytea[]) AS each (kind, digest)),
                 no_more AS (
                     DELETE FROM contact c WHERE subject = $1
                     AND NOT EXISTS (SELECT FROM now_theirs n WHERE n.kind = c.kind AND n.digest = c.digest)
                 )
            INSERT INTO contact (subject, kind, digest) SELECT $1, kind, digest FROM now_theirs ON CONFLICT DO NOTHING
            """,
            subject,
            [kind.value for kind, _ in contacts],
            digests,
        )


async def find(db: Db, vault: Vault, subject: str) -> Personal | None:
    """Give a subject's personal data; None where there are none, or none any more.

    :raises VaultError: they are damaged, or their key is lost.
    :raises MasterKeyError: the master key is another one.
    """
    return (await find_many(db, vault, [subject])).get(subject)


async def find_many(db: Db, vault: Vault, subjects: Sequence[str]) -> dict[str, Personal]:
    """Give the personal data of those subjects that have some, in two statements.

    :raises VaultError: some are damaged, or a key is lost.
    :raises MasterKeyError: the master key is another one.
    """
    if len(subjects) > SUBJECTS_MAX:
        raise ValueError(f"{len(subjects)} subjects at once, {SUBJECTS_MAX} at most")
    rows = await db.fetch("SELECT subject, sealed FROM personal WHERE subject = ANY($1::text[])", subjects)
    plain = await vault.unseal_many(db, {row["subject"]: row["sealed"] for row in rows}, _ABOUT)
    return {subject: msgspec.json.decode(text, type=Personal) for subject, text in plain.items()}


async def search(db: Db, vault: Vault, kind: ContactKind, text: str, limit: int) -> list[str]:
    """Find the subjects with exactly this phone or e-mail, in order; of former tenures too, until they are erased.

    :raises PersonalDataError: it is no phone or no e-mail.
    :raises MasterKeyError: the master key is another one.
    """
    rows = await db.fetch(
        """
        SELECT subject FROM contact JOIN bels_keys.data_key USING (subject)
        WHERE kind = $1 AND digest = $2 AND wrapped IS NOT NULL
        ORDER BY subject LIMIT $3
        """,
        kind.value,
        await _digest_given(vault, kind, text),
        max(0, min(limit, FOUND_MAX)),
    )
    return [row["subject"] for row in rows]


async def households(db: Db, vault: Vault, kind: ContactKind, text: str, limit: int) -> list[str]:
    """Find the accounts whose household of now has exactly this phone or e-mail, in order.

    :raises PersonalDataError: it is no phone or no e-mail.
    :raises MasterKeyError: the master key is another one.
    """
    rows = await db.fetch(
        """
        SELECT split_part(c.subject, '/', 1) AS account
        FROM contact c JOIN bels_keys.data_key USING (subject)
        LEFT JOIN tenure t ON t.account = split_part(c.subject, '/', 1)
        WHERE c.kind = $1 AND c.digest = $2 AND wrapped IS NOT NULL
          AND split_part(c.subject, '/', 2) = coalesce(t.number, 1)::text
        ORDER BY 1 LIMIT $3
        """,
        kind.value,
        await _digest_given(vault, kind, text),
        max(0, min(limit, FOUND_MAX)),
    )
    return [row["account"] for row in rows]


async def erase(
    db: Db, vault: Vault, subject: str, *, by: str, reason: str, document: str | None, request_id: str
) -> None:
    """Erase a subject: destroy its key, delete its rows, record the act with the categories that were there.

    It also works where they can no longer be read; then the act names every category that may have been there.

    :raises NothingToErase: there is nothing.
    :raises PersonalDataError: the reason or document cannot stand in an act.
    """
    reason, document = _for_an_act(reason, REASON_LENGTH_MAX), document and _for_an_act(document, DOCUMENT_LENGTH_MAX)
    if not reason:
        raise PersonalDataError("Укажите основание уничтожения персональных данных.")
    async with db.transaction():
        categories = await _categories(db, vault, subject)
        if not await vault.destroy(db, subject):
            raise NothingToErase("Уничтожать нечего: персональных данных этого абонента нет.")
        await db.execute("DELETE FROM personal WHERE subject = $1", subject)
        await db.execute("DELETE FROM contact WHERE subject = $1", subject)
        await acts.record(
            db,
            acts.Act.PERSONAL_DATA_ERASED,
            by=by,
            subject=subject,
            account=account_of(subject),
            reason=f"{reason}{_DESTROYED}{', '.join(categories)}",
            document=document,
            request_id=request_id,
        )


def act_text(row: acts.ActRow, operator: str | None = None) -> str:
    """Print an act of erasure in Russian, without personal data; ``operator`` is the supplier's name and address.

    Blanks are left for what bels does not know: who signs by name, whom it is about by name.
    """
    if row.kind is not acts.Act.PERSONAL_DATA_ERASED:
        raise ValueError(f"act {row.act} is {row.kind.value}, no act of erasure")
    reason, _, codes = (row.reason or "").rpartition(_DESTROYED)
    categories = [CATEGORIES.get(code, code) for code in codes.split(", ") if code]
    at = row.at.astimezone(MOSCOW)
    whose = f"лицевой счёт {row.account}, запись {row.subject}" if row.account else f"запись {row.subject}"
    lines = [
        f"АКТ № {row.act}",
        "об уничтожении персональных данных",
        "(ст. 21 Федерального закона от 27.07.2006 № 152-ФЗ; приказ Роскомнадзора от 28.10.2022 № 179)",
        "",
        f"Оператор персональных данных: {operator or '_' * 40}",
        f"Субъект персональных данных: {whose}",
        f"Категории уничтоженных персональных данных: {'; '.join(categories) or 'не установлены'}",
        "Информационная система, из которой они уничтожены: bels, таблицы personal и contact",
        "Способ уничтожения: уничтожен ключ шифрования субъекта (AES-256-GCM), записи удалены",
        f"Причина уничтожения: {reason}",
        f"Основание (документ): {row.document or 'нет'}",
        f"Дата и время уничтожения: {at:%d.%m.%Y %H:%M:%S} (московское время)",
        f"Уничтожил(а): учётная запись {row.by_subject}",
        f"Запрос: {row.request_id or 'нет'}",
        "",
        f"Должность, фамилия, инициалы, подпись: {'_' * 40}",
    ]
    return "\n".join(lines) + "\n"


def normalised(personal: Personal) -> Personal:
    """Give the data as they are kept: trimmed, phones and e-mails in their one form, each once.

    :raises PersonalDataError: a part is too long, or no phone or e-mail.
    """
    phones = tuple(dict.fromkeys(map(phone_of, _limited(personal.phones, PHONES_MAX, "телефонов"))))
    emails = tuple(dict.fromkeys(map(email_of, _limited(personal.emails, EMAILS_MAX, "адресов электронной почты"))))
    return Personal(
        _line(personal.name, NAME_LENGTH_MAX, "Имя"),
        _line(personal.address, ADDRESS_LENGTH_MAX, "Адрес"),
        phones,
        emails,
    )


def phone_of(text: str) -> str:
    """Give a phone in its one form, +79161234567: a Russian one may begin with +7, 8, 7 or nothing, others with + or 00.

    :raises PersonalDataError: it is no phone.
    """
    plain = _PHONE_SIGNS.sub("", text) if len(text) <= CONTACT_LENGTH_MAX else ""
    if russian := _RUSSIAN_PHONE.fullmatch(plain):
        return f"+7{russian.group(1)}"
    foreign = _FOREIGN_PHONE.fullmatch(plain)
    # What begins with +7 and was not taken for a Russian one is a Kazakh one (+77...) or has too few or too many digits.
    if foreign is None or (foreign.group(1).startswith("7") and not re.fullmatch(r"7[0-9]{10}", foreign.group(1))):
        raise PersonalDataError("Это не номер телефона. Пример: +7 916 123-45-67.")
    return f"+{foreign.group(1)}"


def email_of(text: str) -> str:
    """Give an e-mail in its one form: lower case, the domain in Unicode as IDNA 2008 spells it.

    :raises PersonalDataError: it is no e-mail.
    """
    given = text if len(text) <= CONTACT_LENGTH_MAX else ""
    local, at, domain = unicodedata.normalize("NFC", given.strip()).lower().rpartition("@")
    wrong = PersonalDataError("Это не адрес электронной почты. Пример: ivanov@example.ru.")
    if not at or not _LOCAL_PART.fullmatch(local) or not local.isprintable() or "." not in domain:
        raise wrong
    try:
        ascii_domain = idna.encode(domain, uts46=True, transitional=False)
        domain = idna.decode(ascii_domain)
    except (idna.IDNAError, UnicodeError):
        raise wrong from None
    if len(local.encode()) + 1 + len(ascii_domain) > EMAIL_LENGTH_MAX:
        raise wrong
    return f"{local}@{domain}"


def masked(name: str) -> str:
    """Mask a name as banks show a payee's before a payment: enough to see an error, too little to learn who lives there.

    Of «Иванов Пётр Сергеевич» it is «И*** Пётр С.»: of the surname, which stands first, the first letter and three stars
    whatever its length; the given name whole; of the patronymic its first letter; further words are left out. A lone word
    is taken for a surname, so are initials for a given name.
    """
    surname, *others = unicodedata.normalize("NFC", name).split() or [""]
    if not surname:
        return ""
    parts = [f"{surname[0].upper()}***", *others[:1], *(f"{word[0].upper()}." for word in others[1:2])]
    return " ".join(parts)


async def _digest_given(vault: Vault, kind: ContactKind, text: str) -> bytes:
    """Digest a phone or e-mail as somebody typed it."""
    return await _digest(vault, kind, phone_of(text) if kind is ContactKind.PHONE else email_of(text))


async def _digest(vault: Vault, kind: ContactKind, text: str) -> bytes:
    return await vault.digest(CONTACTS_KEY, f"{kind.value}:{text}")


async def _categories(db: Db, vault: Vault, subject: str) -> list[str]:
    if account_of(subject) is None:
        return list(_OF_PERSON)
    try:
        kept = await find(db, vault, subject)
    except (VaultError, MasterKeyError):
        return list(_OF_TENURE)
    return [code for code in _OF_TENURE if kept is not None and getattr(kept, code)]


def _for_an_act(text: str, length_max: int) -> str:
    line = _line(text, length_max, "Основание") or ""
    # An act is kept for ever: a phone, an e-mail or a whole passport number in it could never be taken out again.
    if "@" in line or _LONG_NUMBER.search(_PHONE_SIGNS.sub("", line)):
        raise PersonalDataError("Акт не должен содержать телефонов, адресов почты и полных номеров документов.")
    return line


def _limited(values: Iterable[str], count_max: int, what: str) -> tuple[str, ...]:
    given = tuple(values)
    if len(given) > count_max:
        raise PersonalDataError(f"Слишком много {what}: не больше {count_max}.")
    return given


def _line(text: str | None, length_max: int, what: str) -> str | None:
    if text is None:
        return None
    if len(text) > 2 * length_max:
        raise PersonalDataError(f"{what}: не больше {length_max} знаков.")
    line = " ".join(unicodedata.normalize("NFC", text).split())
    if len(line) > length_max:
        raise PersonalDataError(f"{what}: не больше {length_max} знаков.")
    if not line.isprintable():
        raise PersonalDataError(f"{what}: есть недопустимые знаки.")
    return line or None
