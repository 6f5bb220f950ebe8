"""The demonstration town: lifelike, the same for the same seed, loaded once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bels.access import master_key, people, personal
from bels.access.cabinets import accounts_of
from bels.access.passwords import Passwords
from bels.app import Bels, opened
from bels.audit.trail.patterns import ABOUT, UnusualPattern
from bels.audit.trail.telling import index_trail
from bels.audit.trail.unusual import unusual
from bels.demo.household import FIRST_NUMBER, Step, Town
from bels.demo.load import LAST, listing, load
from bels.demo.people import PASSWORD, ROLES, household
from bels.demo.situations import SITUATIONS
from bels.demo.town import days, plan
from bels.domain.terms import Channel, Mode
from bels.intake import Intake
from bels.messages import Message, Outcome, TryLater
from bels.outgoing.reminders import plan_reminders
from bels.projections.ledger import trial_balance
from bels.projections.project import VIEWS
from bels.reception.outages import outages_at
from bels.settings import Settings
from tests.command import NOT_COMPARED, fetch, views

NOW = datetime(2026, 5, 20, 15, tzinfo=UTC)
SMALL = len(SITUATIONS) + 20


def steps_of(until: datetime = NOW, accounts: int = SMALL, months: int = 14) -> list[Step]:
    """Plan a town."""
    return plan(Town(accounts, months, 7, until), lambda address: f"{abs(hash(address)):032x}")


async def loaded(database: str) -> bool:
    """Load a small town as of a fixed day; say whether the database is the town's."""
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        return (await load(supplier, SMALL, 14, 7)).ours


async def test_every_situation_of_the_list_is_what_it_says(database: str) -> None:
    assert await loaded(database)
    modes: dict[str, Any] = dict(await fetch(database, "SELECT account, mode FROM estimation"))
    shown = {situation.text: modes[str(FIRST_NUMBER + i)] for i, situation in enumerate(SITUATIONS)}
    assert shown["прошлый месяц без показания: начислено по среднему"] == Mode.AVERAGE
    assert shown["больше полугода без показаний: по нормативу, нужна проверка"] == Mode.NORMATIVE
    assert shown["два недопуска: по нормативу с коэффициентом 1,5"] == Mode.NORMATIVE_INCREASED
    assert shown["счётчик неисправен: по среднему без ограничения срока (59 «г»)"] == Mode.AVERAGE
    assert shown["новый счёт: история короче трёх месяцев, без показания по нормативу"] == Mode.NORMATIVE
    assert shown["нет счётчика; были временно проживающие"] == Mode.NORMATIVE
    told = dict(await fetch(database, "SELECT split_part(topic, '.', 1), count(*) FROM journal GROUP BY 1"))
    kinds = {
        "account-closed", "channel-linked", "control-reading-taken", "inspection-due", "interference-found", "meter-failed",
        "meter-removed", "meter-restored", "period-carried-over", "reading-confirmed", "reading-disproved", "reading-held",
        "reading-refused", "reading-rejected", "reading-superseded", "temporary-residents-registered", "usage-recalculated",
    }  # fmt: skip
    assert kinds <= told.keys()
    # What the town asks of bels is what it may ask: only the readings that show a refusal are refused.
    assert "command-refused" not in told
    refused = await fetch(database, "SELECT DISTINCT reason FROM reading WHERE status = 'REFUSED' ORDER BY 1")
    assert [reason for (reason,) in refused] == [
        "BAD_VALUE", "METER_NOT_READ_BY_CONSUMER", "READINGS_NOT_TAKEN", "TOO_FEW_VALUES", "TOO_MANY_DIGITS"
    ]  # fmt: skip
    assert await fetch(database, "SELECT account FROM reading WHERE status = 'HELD' AND account < '1000031'") == [
        ("1000007",)
    ]
    reasons = {reason for (reason,) in await fetch(database, "SELECT DISTINCT reason FROM recalculation")}
    assert reasons == {"SETTLEMENT", "CONTROL", "PREVIOUS_WRONG", "INTERFERENCE"}


def account_of(text: str) -> str:
    """Give the account that shows a situation."""
    return str(FIRST_NUMBER + next(i for i, situation in enumerate(SITUATIONS) if situation.text == text))


async def moved(database: str, text: str) -> list[tuple[Any, ...]]:
    """List the payments on the account of a situation but the usual ones, as (kind, sign)."""
    return await fetch(
        database,
        f"SELECT kind, sign(amount)::int FROM ledger WHERE account = '{account_of(text)}' AND purpose = 'ENERGY'"
        " AND kind NOT IN ('CHARGE', 'RECALCULATION', 'PAYMENT') ORDER BY entry",
    )


async def test_the_town_pays_in_every_way_that_households_do(database: str) -> None:
    assert await loaded(database)
    owed = {number: (balance, penalty) for number, balance, penalty in await fetch(
        database, "SELECT account, balance, penalty FROM balance"
    )}  # fmt: skip
    balance, penalty = owed[account_of("долг за пять месяцев, с пенями")]
    assert balance > 3000
    assert penalty > 0
    assert owed[account_of("платит с округлением вверх: аванс")][0] < 0
    assert await moved(database, "заплатил в десять раз больше, переплата возвращена") == [("REFUND", 1)]
    assert await moved(database, "платёж отменён банком и внесён снова") == [("REVERSAL", 1)]
    assert await moved(database, "пришёл чужой платёж, его перенесли на счёт 1000035") == [("MOVED_OUT", 1)]
    assert await moved(database, "платёж ушёл на счёт 1000034 и перенесён обратно") == [("MOVED_IN", -1)]
    late = account_of("платит поздно: пени начислены и уплачены")
    paid = await fetch(
        database, f"SELECT sum(amount) > 0 FROM payment WHERE account = '{late}' AND purpose = 'PENALTY'"
    )
    assert paid == [(True,)]
    unallocated = await fetch(
        database,
        "SELECT meant_for, payment.unallocated, amount::text FROM payment JOIN balance USING (account)"
        " WHERE suspense AND balance.balance <> 0 ORDER BY 1",
    )
    assert unallocated == [
        (account_of("счёт закрыт"), "ACCOUNT_CLOSED", "500.00"),
        ("1999999", "UNKNOWN_ACCOUNT", "1200.00"),
    ]


async def test_little_is_unusual_in_an_honest_town(database: str) -> None:
    assert await loaded(database)
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        await index_trail(supplier.pool)
        year = (NOW - timedelta(days=365), NOW + timedelta(days=1))
        found = {
            pattern: (await unusual(supplier.pool, pattern, *year, ABOUT[pattern].defaults, None, 10)).rows
            for pattern in UnusualPattern
        }
    # Its meters are read and replaced on any day of the week, by an office of one person.
    outside = found.pop(UnusualPattern.CHANGES_OUTSIDE_OFFICE_HOURS)
    assert {row.actor for row in outside} <= {"demo:office"}
    assert {pattern: rows for pattern, rows in found.items() if rows} == {}


async def test_the_books_of_the_town_balance(database: str) -> None:
    assert await loaded(database)
    async with opened(Settings(database_url=database)) as supplier, supplier.pool.acquire() as db:
        trial = await trial_balance(db)
    assert sum(row.debit for row in trial) == sum(row.credit for row in trial) > 0
    wrong = await fetch(
        database,
        "SELECT account FROM balance WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM ledger"
        " WHERE ledger.account = balance.account AND purpose = 'ENERGY')",
    )
    assert wrong == []


async def test_every_message_is_recorded_when_it_came(database: str) -> None:
    assert await loaded(database)
    late = await fetch(
        database,
        "SELECT count(*) FILTER (WHERE recorded_at < received_at), count(*) FILTER (WHERE recorded_at > received_at"
        " + interval '31 minutes') FROM reading WHERE NOT (kind = 'SENT' AND role = 'SYSTEM') AND account <> '1000026'",
    )
    assert late == [(0, 0)]


async def test_a_town_loaded_twice_is_loaded_once(database: str) -> None:
    assert await loaded(database)
    before = await views(database)
    entries = await fetch(database, "SELECT count(*) FROM journal")
    assert await loaded(database)
    assert await views(database) == before
    assert await fetch(database, "SELECT count(*) FROM journal") == entries


@pytest.mark.parametrize("groups", [4, 150, 450, 560])
async def test_a_load_that_was_stopped_goes_on_to_the_same_town(
    groups: int, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Intake.handle
    left = groups

    async def until_it_stops(intake: Intake, messages: list[Message]) -> list[Outcome]:
        nonlocal left
        left -= 1
        if not left:
            raise TryLater("stopped")
        return await handle(intake, messages)

    monkeypatch.setattr(Intake, "handle", until_it_stops)
    with pytest.raises(TryLater):
        await loaded(database)
    assert await fetch(database, "SELECT count(*) > 0 FROM journal") == [(True,)]
    # The second load is later and asks for another town: it goes on with the one that was begun.
    async with opened(Settings(database_url=database), clock=lambda: NOW.replace(hour=18)) as supplier:
        assert (await load(supplier, 300, 6, 1)).ours
    assert await fetch(database, "SELECT count(*) FROM overview WHERE account LIKE '1%'") == [(SMALL,)]
    stopped = await views(database, without=tuple(NOT_COMPARED))
    async with opened(Settings(database_url=database)) as supplier, supplier.pool.acquire() as db:
        await db.execute("ALTER TABLE journal DISABLE TRIGGER USER; ALTER TABLE message DISABLE TRIGGER USER")
        await db.execute(f"TRUNCATE journal, message, {', '.join(table for view in VIEWS for table in view.TABLES)}")
    monkeypatch.setattr(Intake, "handle", handle)
    assert await loaded(database)
    assert await views(database, without=tuple(NOT_COMPARED)) == stopped


async def who_is_let_in(supplier: Bels, password: str) -> list[str]:
    """List the logins of the town's people that this is the password of."""
    passwords = Passwords()
    try:
        async with supplier.pool.acquire() as db:
            found = {role.login: await people.find_by_login(db, supplier.vault, role.login) for role in ROLES}
        return [login for login, row in found.items() if row and await passwords.verify(row.password, password)]
    finally:
        passwords.close()


async def test_the_town_has_somebody_of_every_kind_to_log_in_as(database: str) -> None:
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        said = (await load(supplier, SMALL, 2, 7)).said
        again = (await load(supplier, SMALL, 2, 7)).said
        assert await who_is_let_in(supplier, PASSWORD) == [role.login for role in ROLES]
        async with supplier.pool.acquire() as db:
            rows = [await people.find_by_login(db, supplier.vault, role.login) for role in ROLES]
            consumer = rows[0]
            assert consumer is not None
            cabinet = [each.account for each in await accounts_of(db, consumer.person)]
    shown = [(row.kind, row.grants, row.must_change) for row in rows if row is not None]
    assert shown == [(role.kind, role.grants, False) for role in ROLES]
    assert cabinet == ["1000000", "1000006"]
    assert said.endswith(f"the password of each: {PASSWORD}")
    assert again.endswith(f"the password of each: {PASSWORD}")


async def test_under_a_key_of_its_own_the_password_of_the_town_is_made_and_said_once(
    database: str, tmp_path: Path
) -> None:
    key = tmp_path / "master.key"
    master_key.write_new(key)
    async with opened(Settings(database_url=database, master_key_file=key), clock=lambda: NOW) as supplier:
        said = (await load(supplier, SMALL, 2, 7)).said
        again = (await load(supplier, SMALL, 2, 7)).said
        assert await who_is_let_in(supplier, PASSWORD) == []
        assert len(await who_is_let_in(supplier, said.rpartition(" ")[2])) == len(ROLES)
    assert "password" not in again


async def test_the_households_of_the_list_have_names_that_only_their_keys_open(database: str) -> None:
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        await load(supplier, SMALL, 2, 7)
        subjects = [f"{FIRST_NUMBER + i}/1" for i in range(SMALL)]
        async with supplier.pool.acquire() as db:
            found = await personal.find_many(db, supplier.vault, subjects)
            kept = await personal.households(db, supplier.vault, personal.ContactKind.PHONE, "8 910 000-00-00", 10)
    assert list(found.values()) == [household(7, i) for i in range(len(SITUATIONS))]
    assert kept == ["1000000"]


async def test_the_town_has_what_every_channel_can_be_tried_with(database: str) -> None:
    async with opened(Settings(database_url=database), clock=lambda: NOW.replace(day=24)) as supplier:
        await load(supplier, SMALL, 2, 7)
        async with supplier.pool.acquire() as db:
            outages = await outages_at(db, NOW.replace(day=24))
            phone = personal.phone_of(household(7, 20).phones[0])
            kept = await personal.households(db, supplier.vault, personal.ContactKind.PHONE, phone, 10)
        planned = await plan_reminders(supplier.pool, supplier.intake, NOW.replace(day=24))
    assert [outage.kind for outage in outages] == ["EMERGENCY", "PLANNED"]
    assert kept == ["1000020"]
    reminded = await fetch(database, "SELECT account, state FROM outbox ORDER BY account")
    assert planned.count == len(reminded)
    assert ("1000004", "PLANNED") in reminded


async def test_a_load_that_was_stopped_before_its_end_lets_the_same_people_in(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Intake.handle

    async def all_but_the_last(intake: Intake, messages: list[Message]) -> list[Outcome]:
        if messages and messages[0].message_id == LAST:
            raise TryLater("stopped")
        return await handle(intake, messages)

    monkeypatch.setattr(Intake, "handle", all_but_the_last)
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        with pytest.raises(TryLater):
            await load(supplier, SMALL, 2, 7)
        monkeypatch.setattr(Intake, "handle", handle)
        assert (await load(supplier, SMALL, 2, 7)).ours
        assert await who_is_let_in(supplier, PASSWORD) == [role.login for role in ROLES]
    acts = await fetch(database, "SELECT kind, count(*) FROM identity_act GROUP BY 1 ORDER BY 1")
    assert acts == [("ACCOUNT_LINKED", 2), ("PERSONAL_DATA_SET", len(SITUATIONS)), ("USER_ADDED", len(ROLES))]


async def test_a_database_with_other_accounts_stays_as_it_is(database: str) -> None:
    first, second = steps_of()[:2]
    async with opened(Settings(database_url=database), clock=lambda: NOW) as supplier:
        opening = Message(Channel.OFFICE, "1", "clerk", first.account, first.command, "")
        await supplier.intake.handle([opening])
        said = await load(supplier, SMALL, 14, 7)
    assert not said.ours
    assert said.said == "The database has 1 accounts that are not the demonstration town's."
    assert second.at >= first.at


@pytest.mark.parametrize(
    "until", [NOW, datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC), datetime(2024, 2, 29, 23, tzinfo=UTC)]
)
@pytest.mark.parametrize("months", [2, 3, 14, 30])
def test_a_town_is_a_plan_in_order_of_time_that_ends_now(until: datetime, months: int) -> None:
    steps = steps_of(until, months=months)
    assert steps == steps_of(until, months=months)
    assert [s.at for s in steps] == sorted(s.at for s in steps)
    assert steps[-1].at <= until
    assert len({s.name for s in steps}) == len(steps)
    assert (steps[0].name, steps[0].account) == (f"demo:{FIRST_NUMBER}:0", str(FIRST_NUMBER))
    assert [s for group in days(steps) for s in group] == steps


def test_the_list_names_every_account_to_try() -> None:
    assert all(f"{FIRST_NUMBER + i}  {situation.text}" in listing() for i, situation in enumerate(SITUATIONS))
