"""Who lives and works in the demonstration town: invented households, and people of every kind to log in as.

Nobody is real: names are drawn from lists, the city does not exist, e-mails end in a domain that is reserved for examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random

from bels.access import acts, people, personal
from bels.access.acts import Act
from bels.access.cabinets import admit_member
from bels.access.callers import GRANTS, Kind
from bels.access.desk import Desk
from bels.access.documents import Document, DocumentKind
from bels.access.passwords import Passwords, new_password
from bels.access.personal import Personal, subject_of, tenure_of
from bels.access.throttle import Throttle
from bels.access.tokens import Tokens
from bels.access.words import AccessReason, Refused
from bels.app import Bels
from bels.demo.household import FIRST_NUMBER, Town
from bels.demo.situations import SITUATIONS
from bels.demo.town import phone_of
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.terms import Channel
from bels.outgoing.choices import CHOSEN, choose
from bels.reception.outages import NewOutage, OutageKind, announce

PASSWORD = "lamp kettle stove"  # noqa: S105 - of invented people, on a server that only its own machine reaches
"""The password of them all under the key for development, with which bels listens on loopback alone."""

BY = "demo"
"""Who did it, as acts name the load of the town."""

GROUND = "демонстрационный город"


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody to log in as; ``accounts`` are the indices of a consumer's accounts in the town."""

    login: str
    kind: Kind
    grants: tuple[str, ...] = ()
    accounts: tuple[int, ...] = ()


ROLES = (
    Role("demo", Kind.CONSUMER, accounts=(0, 6)),
    Role("operator", Kind.OPERATOR, grants=tuple(sorted(GRANTS))),
    Role("inspector", Kind.INSPECTOR),
    Role("auditor", Kind.AUDITOR),
    Role("administrator", Kind.ADMINISTRATOR),
)

TOLD = ((0, Channel.EMAIL), (4, Channel.EMAIL), (20, Channel.SMS))
"""Which households of the list want to be reminded and told, and how; of one of them a reading is awaited in every month."""

_MEN = ("Алексей", "Борис", "Виктор", "Григорий", "Дмитрий", "Николай", "Павел", "Сергей")
_WOMEN = ("Анна", "Вера", "Галина", "Елена", "Ирина", "Мария", "Ольга", "Татьяна")
_FATHERS = ("Андреев", "Борисов", "Викторов", "Иванов", "Михайлов", "Николаев", "Петров", "Семёнов")
_SURNAMES = ("Берёзов", "Громов", "Зимин", "Ключев", "Лампин", "Полевов", "Ручьёв", "Садов", "Тропин", "Фонарёв")
_STREETS = ("Садовая", "Речная", "Школьная", "Заводская", "Фонарная", "Лесная")


async def settle(bels: Bels, town: Town) -> str:
    """Give the accounts of the list a household each, and the town its people; give their password.

    A load that was stopped does it again, which leads to the same. With a master key of its own a server may be reached by
    others: then the password is made, and this is the only time that it is said.
    """
    await _move_in(bels, town)
    await _speak_first(bels, town)
    password = PASSWORD if _for_development(bels) else new_password()
    passwords = Passwords()
    try:
        desk = Desk(
            bels.pool,
            bels.vault,
            passwords,
            Throttle(bels.pool, bels.vault, bels.intake.clock),
            Tokens(bels.pool, bels.vault, bels.settings.issuer, bels.intake.clock),
            bels.intake,
        )
        for role in ROLES:
            await _employ(desk, role, password, town)
    finally:
        passwords.close()
    return password


async def known_password(bels: Bels) -> str | None:
    """Give the password of the town's people, None where it is not for everybody or the town was loaded without them."""
    if not _for_development(bels):
        return None
    async with bels.pool.acquire() as db:
        found = await people.find_by_login(db, bels.vault, ROLES[0].login)
    return PASSWORD if found is not None and found.revoked_at is None else None


def who_logs_in(password: str) -> str:
    """Say as whom one can log in."""
    *others, last = (role.login for role in ROLES)
    return f"Log in as {', '.join(others)} or {last}; the password of each: {password}"


def household(seed: int, index: int) -> Personal:
    """Draw who lives at an account: a name, an address, the telephone that it sends SMS from, for some an e-mail."""
    chance = Random(f"{seed}:{index}:household")
    woman = chance.random() < 0.5
    surname, father = chance.choice(_SURNAMES), chance.choice(_FATHERS)
    given = chance.choice(_WOMEN if woman else _MEN)
    name = f"{surname}а {given} {father}на" if woman else f"{surname} {given} {father}ич"
    address = (
        f"Московская обл., г. Ламповск, ул. {chance.choice(_STREETS)}, "
        f"д. {chance.randint(1, 60)}, кв. {chance.randint(1, 120)}"
    )
    emails = (f"kv{FIRST_NUMBER + index}@example.org",) if index % 2 == 0 else ()
    return Personal(name, address, (phone_of(index),), emails)


async def _move_in(bels: Bels, town: Town) -> None:
    async with bels.pool.acquire() as db, db.transaction():
        for index in range(min(town.accounts, len(SITUATIONS))):
            account = str(FIRST_NUMBER + index)
            subject = subject_of(account, 1)
            if await personal.find(db, bels.vault, subject) is None:
                await personal.put(db, bels.vault, subject, household(town.seed, index))
                await acts.record(db, Act.PERSONAL_DATA_SET, by=BY, subject=subject, account=account, reason=GROUND)


async def _speak_first(bels: Bels, town: Town) -> None:
    """Let some households choose to be told, and announce two outages."""
    now = town.until.astimezone(MOSCOW).replace(minute=0, second=0, microsecond=0)
    works = (now + timedelta(days=2)).replace(hour=10)
    outages = (
        NewOutage(
            OutageKind.EMERGENCY, "Ламповск", "ул. Речная, 1–20", now, now + timedelta(hours=8), "Авария на кабеле."
        ),
        NewOutage(OutageKind.PLANNED, "Ламповск", "ул. Лесная, 2–14", works, works + timedelta(hours=6)),
    )
    async with bels.pool.acquire() as db, db.transaction():
        for index, channel in (each for each in TOLD if each[0] < town.accounts):
            account, home = str(FIRST_NUMBER + index), household(town.seed, index)
            address = home.emails[0] if channel is Channel.EMAIL else home.phones[0]
            tenure = await tenure_of(db, account)
            await choose(db, bels.vault, account, tenure, channel, address, CHOSEN, BY, town.until)
        for number, outage in enumerate(outages):
            await announce(db, outage, BY, f"demo-{number}", town.until)


async def _employ(desk: Desk, role: Role, password: str, town: Town) -> None:
    hashed = await desk.passwords.hash(password, role.login)
    async with desk.pool.acquire() as db, db.transaction():
        found = await people.find_by_login(db, desk.vault, role.login)
        if found is not None:
            person = found.person
            await people.set_password(db, person, hashed, must_change=False)
        else:
            person = await people.add_person(
                db, desk.vault, role.kind, login=role.login, password_hash=hashed, grants=role.grants
            )
            await acts.record(db, Act.USER_ADDED, by=BY, subject=person, reason=GROUND)
    document = Document(DocumentKind.SALE_CONTRACT, "0000", moscow_date(town.until))
    for index in (each for each in role.accounts if each < town.accounts):
        account = str(FIRST_NUMBER + index)
        admitted = await admit_member(desk, person, account, document, GROUND, by=BY)
        if isinstance(admitted, Refused) and admitted.reason is not AccessReason.ALREADY_MEMBER:
            raise RuntimeError(f"the people of the demonstration town are not let in: {admitted.reason.value}")


def _for_development(bels: Bels) -> bool:
    return bels.settings.master_key_file is None and bels.settings.master_key_transit is None
