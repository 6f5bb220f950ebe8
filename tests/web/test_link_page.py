"""The page of a one-task link: looking at it changes nothing, its task is carried out once, and it tells the household alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pypdfium2  # type: ignore[import-untyped]
import pytest

from bels.access import links
from bels.access.callers import Kind
from bels.access.links import CONFIRM_LINKS_MAX, Made, link_url, make_confirm_link, make_link, open_link, peek
from bels.access.store import install_access
from bels.access.tokens import Grant
from bels.domain.commands import ClosePeriod, ReceivePayment, SubmitReading
from bels.domain.terms import Channel, Period, Register
from bels.reception.counter import Answer, receipt_state, take
from bels.web import link_page
from tests.channels.cases import TRY_LATER, journal_of, unreachable
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.web.surfing import Surfer, app_of, surfing

ACCOUNT = "1000001"
TOTAL = "value-total"
LETTERS = "ivan@example.org"


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened_house(database, tmp_path) as house:
        yield house


@pytest.fixture
async def surfer(house: House) -> AsyncIterator[Surfer]:
    async with surfing(app_of(house.desk)) as surfer:
        yield surfer


async def link_for(house: House, task: str = "reading", account: str = ACCOUNT) -> str:
    """Make a link and give its token."""
    async with house.desk.pool.acquire() as db:
        made = await make_link(db, house.desk.door.vault, account, task, made_by="c-mail", now=house.now())
    assert isinstance(made, Made)
    return made.token


async def letter(house: House, value: str, key: str = "letter", *, proven: bool = False) -> Answer:
    """Send a reading by a letter for which nobody vouches."""
    sender = house.desk.sender(Channel.EMAIL, LETTERS, proven=proven)
    return await take(house.desk, sender, key, ACCOUNT, SubmitReading(house.at, {"total": value}), value)


async def confirm_link(house: House, receipt: str) -> str:
    """Make the link that the answer to a letter brings."""
    sender = house.desk.sender(Channel.EMAIL, LETTERS).digest
    async with house.desk.pool.acquire() as db:
        token = await make_confirm_link(db, house.desk.door.vault, ACCOUNT, receipt, sender, Channel.EMAIL, house.now())
    assert token is not None
    return token


def path_of(token: str) -> str:
    return link_url("https://lk.example.ru/", token).removeprefix("https://lk.example.ru")


async def count(house: House, accepted: str = "ReadingAccepted") -> int:
    return (await journal_of(house, ACCOUNT)).count(accepted)


async def test_a_reading_is_sent_by_a_link_as_the_household_itself_would(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    await surfer.open(path_of(token))
    assert surfer.answer is not None
    assert surfer.answer.headers["cache-control"] == "no-store"
    assert "•••0001" in surfer.words
    assert ACCOUNT not in surfer.answer.text
    assert "прежнее 10200" in surfer.words
    assert "до 23.05.2024 12:00" in surfer.words

    await surfer.go_on({TOTAL: "10385"})
    assert "Расход 185 кВт·ч" in surfer.words
    await surfer.go_on(button="send")
    assert surfer.code == "ACCEPTED"
    assert "расход 185 кВт·ч" in surfer.words
    row = await house.desk.pool.fetchrow("SELECT * FROM message WHERE receipt = $1", surfer.receipt)
    link = await house.desk.pool.fetchval("SELECT link FROM task_link")
    assert row is not None
    assert (row["channel"], row["actor"], row["raw"][:7]) == ("web", f"link:{link}", "sealed:")
    assert row["message_id"].startswith(f"{link}/")


async def test_mail_systems_that_look_at_a_link_use_nothing_up(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    for _ in range(5):
        await surfer.open(path_of(token))
        assert (await surfer.client.head(path_of(token))).status_code == 200
    row = await house.desk.pool.fetchrow("SELECT opened_at, done_at FROM task_link")
    assert row is not None
    assert (row["opened_at"], row["done_at"]) == (None, None)
    async with house.desk.pool.acquire() as db:
        assert await open_link(db, house.desk.door.vault, token, house.now()) is not None
    # Whoever got a token for it has not carried it out.
    await surfer.open(path_of(token))
    assert surfer.main.find(id=TOTAL) is not None


async def test_a_link_is_carried_out_once_however_often_it_is_clicked(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    await surfer.open(path_of(token))
    await surfer.go_on({TOTAL: "10385"})
    posted = {**surfer.fields(), "step": "send"}
    answers = await asyncio.gather(*(surfer.client.post(path_of(token), data=posted) for _ in range(4)))
    receipts = {Surfer(surfer.client, answer=answer).receipt for answer in answers}
    assert len(receipts) == 1
    assert receipts != {""}

    await surfer.post(path_of(token), {**posted, "attempt": "A" * 22, TOTAL: "10390"})
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (410, "DONE")
    await surfer.open(path_of(token))
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (410, "DONE")
    assert "уже использована" in surfer.words
    house.wait(days=10)
    assert {(await surfer.post(path_of(token), posted)).receipt} == receipts
    assert await count(house) == 1


async def test_of_two_who_send_by_one_link_at_once_one_does(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    posted = [{"step": "send", "meter": "E-1", TOTAL: f"1038{i}", "attempt": f"{i}" * 22} for i in range(2)]
    answers = await asyncio.gather(*(surfer.client.post(path_of(token), data=each) for each in posted))

    assert sorted(answer.status_code for answer in answers) == [200, 410]
    assert await count(house) == 1


async def test_what_was_refused_may_be_sent_again_by_the_same_link(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    await surfer.post(path_of(token), {"step": "send", "meter": "E-3", TOTAL: "10385", "attempt": "A" * 22})
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (422, "FOREIGN_METER")
    await surfer.post(path_of(token), {"step": "send", "meter": "E-1", TOTAL: "10385"})
    assert surfer.code == "NOT_UNDERSTOOD"

    # A program that has carried it out meanwhile is not undone by the refused attempt's coming again.
    link = await house.desk.pool.fetchval("SELECT link FROM task_link")
    async with house.desk.pool.acquire() as db:
        assert await links.done(db, link, house.now())
        refused = {"step": "send", "meter": "E-3", TOTAL: "10385", "attempt": "A" * 22}
        assert (await surfer.post(path_of(token), refused)).code == "DONE"
        await links.not_done(db, link)

    await surfer.open(path_of(token))
    await surfer.go_on({TOTAL: "10 385"})
    assert surfer.code == "BAD_VALUE"
    await surfer.go_on({TOTAL: "10385"})
    await surfer.go_on(button="edit")
    assert surfer.said(TOTAL, "value") == "10385"
    await surfer.go_on()
    await surfer.go_on(button="send")
    assert surfer.code == "ACCEPTED"


async def test_links_that_are_over_revoked_or_unknown_say_what_to_do(house: House, surfer: Surfer) -> None:
    over, revoked = await link_for(house), await link_for(house)
    async with house.desk.pool.acquire() as db:
        seen = await peek(db, house.desk.door.vault, revoked, house.now())
        assert seen is not None
        await links.revoke(db, seen.link, house.now())
    await surfer.open(path_of(revoked))
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (410, "REVOKED")
    house.wait(days=4)
    await surfer.open(path_of(over))
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (410, "OVER")
    assert "8 (495)" in surfer.words
    await surfer.post(path_of(over), {"step": "send", "meter": "E-1", TOTAL: "10385", "attempt": "A" * 22})
    assert await count(house) == 0

    statuses = []
    for i in range(32):
        await surfer.open(path_of(f"bels_l_{i:043}"))
        assert surfer.answer is not None
        statuses.append(surfer.answer.status_code)
    assert (statuses[0], statuses[-1]) == (404, 429)


async def test_a_reading_by_a_link_waits_for_the_database_and_is_one(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    await surfer.open(path_of(token))
    await surfer.go_on({TOTAL: "10385"})
    async with unreachable(house):
        await surfer.go_on(button="send")
        assert (surfer.answer and surfer.answer.status_code, surfer.code) == (503, TRY_LATER)
    await surfer.go_on()

    assert surfer.code == "ACCEPTED"
    assert await count(house) == 1


async def test_an_attempt_that_was_cut_off_leaves_the_link_to_be_used(house: House, surfer: Surfer) -> None:
    token = await link_for(house)
    async with house.desk.pool.acquire() as db:
        # As after a crash between the two.
        assert await links.carry_out(db, house.desk.door.vault, token, "A" * 22, house.now())
    await surfer.open(path_of(token))
    assert surfer.code == "DONE"
    house.at += link_page.INTERRUPTED + timedelta(seconds=1)
    await surfer.open(path_of(token))
    await surfer.go_on({TOTAL: "10385"})
    await surfer.go_on(button="send")

    assert surfer.code == "ACCEPTED"


async def test_a_household_is_told_nothing_of_the_one_before(house: House, surfer: Surfer) -> None:
    version = await house.desk.pool.fetchval("SELECT version FROM overview WHERE account = $1", ACCOUNT)
    await house.desk.pool.execute(
        "INSERT INTO tenure (account, number, since, entry, period) VALUES ($1, 2, $2, $3, '2024-05')",
        ACCOUNT,
        house.now(),
        version,
    )
    await surfer.open(path_of(await link_for(house)))
    assert "прежнее" not in surfer.words

    await surfer.go_on({TOTAL: "10385"})
    assert "Расход" not in surfer.words
    await surfer.open(path_of(await link_for(house, "bill")))
    assert "Счёта ещё нет" in surfer.words


async def test_a_bill_is_shown_and_printed_as_often_as_wanted(house: House, surfer: Surfer) -> None:
    await house.do(ACCOUNT, SubmitReading(house.now(), {"total": "10385"}))
    house.at = moscow("2024-06-02T12:00")
    token = await link_for(house, "bill")
    await surfer.open(path_of(token))
    assert "Счёта ещё нет" in surfer.words
    assert (await surfer.client.get(f"{path_of(token)}/bill.pdf")).status_code == 404

    await house.do(ACCOUNT, ClosePeriod(Period("2024-05"), house.now()))
    for _ in range(2):
        await surfer.open(path_of(token))
        assert "Счёт за май 2024" in surfer.words
        assert "Долг сейчас" in surfer.words
    pdf = await surfer.client.get(f"{path_of(token)}/bill.pdf")
    assert (pdf.status_code, pdf.headers["cache-control"]) == (200, "no-store")
    document = pypdfium2.PdfDocument(pdf.content)
    assert "без персональных данных" in document[0].get_textpage().get_text_bounded()
    document.close()
    other = await link_for(house, "reading")
    assert (await surfer.client.get(f"{path_of(other)}/bill.pdf")).status_code == 404


async def test_whoever_has_paid_a_bill_reads_that_no_debt_is_left_and_not_of_an_advance_of_nothing(
    house: House, surfer: Surfer
) -> None:
    house.at = moscow("2024-06-02T12:00")
    await house.do(ACCOUNT, ClosePeriod(Period("2024-05"), house.now()))
    owed = await house.desk.pool.fetchval("SELECT balance FROM balance WHERE account = $1", ACCOUNT)
    await house.do(ACCOUNT, ReceivePayment(owed, house.now().date(), house.now(), "платёж 1"))
    await surfer.open(path_of(await link_for(house, "bill")))

    assert "Долг сейчас 0,00 ₽" in " ".join(surfer.words.split()).replace("\xa0", " ")


async def test_a_letters_reading_counts_when_its_sender_confirms_it_by_the_link(house: House, surfer: Surfer) -> None:
    held = await letter(house, "10385")
    assert held.code == "UNCONFIRMED_SENDER"
    token = await confirm_link(house, held.outcome.receipt)
    for _ in range(2):
        await surfer.open(path_of(token))
    assert "10385 кВт·ч" in surfer.words
    assert await count(house, "ReadingConfirmed") == 0

    await surfer.go_on()
    assert surfer.code == "ACCEPTED"
    receipt = surfer.receipt
    assert (await surfer.again()).receipt == receipt
    assert await count(house, "ReadingConfirmed") == 1
    state = await receipt_state(house.desk, held.outcome.receipt)
    assert state is not None
    assert state.status == "ACCEPTED"
    actor = await house.desk.pool.fetchval("SELECT actor FROM message WHERE receipt = $1", receipt)
    assert actor == f"email:{house.desk.sender(Channel.EMAIL, LETTERS).digest}"


async def test_a_correction_is_confirmed_by_whoever_is_linked_and_nobody_else(house: House, surfer: Surfer) -> None:
    await house.do(ACCOUNT, SubmitReading(house.now(), {"total": "10385"}))
    house.wait(minutes=1)
    held = await letter(house, "10400")
    token = await confirm_link(house, held.outcome.receipt)
    await surfer.open(path_of(token))
    await surfer.go_on()
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (422, "UNCONFIRMED_SENDER")

    await house.link(ACCOUNT, Channel.EMAIL, LETTERS)
    await surfer.open(path_of(token))
    await surfer.go_on()
    assert surfer.code == "ACCEPTED"


async def test_what_needs_no_confirmation_any_more_says_so(house: House, surfer: Surfer) -> None:
    held = await letter(house, "10385")
    token = await confirm_link(house, held.outcome.receipt)
    house.wait(minutes=1)
    await house.do(ACCOUNT, SubmitReading(house.now(), {"total": "10390"}))
    await surfer.open(path_of(token))

    assert surfer.code == "NOT_HELD"


async def test_links_that_confirm_take_no_place_of_others_and_open_nothing(house: House, pool: asyncpg.Pool) -> None:
    held = await letter(house, "10385")
    vault, digest = house.desk.door.vault, house.desk.sender(Channel.EMAIL, LETTERS).digest
    async with house.desk.pool.acquire() as db:
        made = [
            await make_confirm_link(db, vault, ACCOUNT, held.outcome.receipt, digest, Channel.EMAIL, house.now())
            for _ in range(CONFIRM_LINKS_MAX + 1)
        ]
        assert [token is not None for token in made] == [True] * CONFIRM_LINKS_MAX + [False]
        assert await open_link(db, vault, made[0] or "", house.now()) is None
        about = await db.fetchval("SELECT string_agg(about, '') FROM task_link")
    assert LETTERS not in about
    await link_for(house)


async def test_the_holder_of_a_token_has_no_rights_left_when_the_page_has_carried_it_out(
    house: House, surfer: Surfer
) -> None:
    token = await link_for(house)
    async with house.desk.pool.acquire() as db:
        opened = await open_link(db, house.desk.door.vault, token, house.now())
    assert opened is not None
    grant = Grant(kind=Kind.LINK, subject=opened.link, given=(opened.task,), account=ACCOUNT)
    bearer = f"Bearer {(await house.desk.door.tokens.issue(grant))[0]}".encode()
    headers = [(b"authorization", bearer)]
    caller = await house.desk.door.doorkeeper.admit(headers, None)
    assert (caller.actor, caller.channel) == (f"link:{opened.link}", Channel.WEB)
    await surfer.open(path_of(token))
    await surfer.go_on({TOTAL: "10385"})
    await surfer.go_on(button="send")
    assert surfer.code == "ACCEPTED"

    with pytest.raises(Exception, match="used or revoked"):
        await house.desk.door.doorkeeper.admit(headers, None)
    assert Register.TOTAL in (await house.desk.intake.account(ACCOUNT)).readings[-1].values


async def test_a_database_from_before_learns_what_pages_of_links_need(pool: asyncpg.Pool) -> None:
    await pool.execute("ALTER TABLE task_link DROP COLUMN about, DROP COLUMN attempt")
    async with pool.acquire() as db:
        for _ in range(2):
            await install_access(db)
        await db.execute("SELECT about, attempt FROM task_link")
