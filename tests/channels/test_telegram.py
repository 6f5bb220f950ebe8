"""Telegram over real HTTP: the twelve cases, and everything that a chat with people brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.access.personal import Personal, put, subject_of
from bels.channels.chat import CLAIMED_FOR, EDITED, IN_A_GROUP, NOT_READ, ReadDisplay, forget_updates, secret_of
from bels.channels.chat_topics import chat_desk, code_by_sms, code_topic, last_bill, reminder_topics
from bels.channels.telegram import PATH, telegram
from bels.domain.commands import ClosePeriod
from bels.domain.terms import Channel, Period
from bels.outgoing.results import Dead, Refused, Sent, Text, TryAgain
from bels.outgoing.sections import SECTIONS_MAX, sections
from bels.outgoing.store import install_outgoing
from bels.outgoing.telegram import telegram_bot, telegram_sender
from bels.reception.codes import Code, bot_links, make_code, normalised_code, send_code, senders_of
from bels.reception.counter import linked_accounts
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import Reply
from bels.reception.evidence import photos_of
from bels.reception.office import shipped_office
from tests.channels.cases import CASES, Case, check, journal_of, unreachable
from tests.channels.chatting import CASES_BY_BUTTONS, InAChat, receipt_in
from tests.channels.house import House
from tests.channels.household import moscow
from tests.peers.bot_api import BLOCKED, DOWN, NO_CHAT, TOKEN, BotApi, Fault, Person, bot_api, flood
from tests.peers.loopback import listening

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"display" * 100
PUBLIC_URL = "https://bels.example"


@dataclass(slots=True)
class Guess:
    """What a display is guessed to show."""

    shows: str | None = None

    async def __call__(self, content: bytes) -> str | None:
        return self.shows


@pytest.fixture
async def api() -> AsyncIterator[BotApi]:
    """Run Telegram's side."""
    async with bot_api() as api:
        yield api


@pytest.fixture
def guess() -> Guess:
    """Give what a display is guessed to show: nothing, unless a test says so."""
    return Guess()


async def hooked(
    stack: AsyncExitStack,
    house: House,
    api: BotApi,
    read_display: ReadDisplay | None = None,
    sms: list[str] | None = None,
) -> str:
    """Serve the webhook in a process of its own, as it were, and give where it listens; ``sms`` gets what goes to phones."""

    async def send(account: str, text: str) -> bool:
        if sms is not None:
            sms.append(text)
        return sms is not None

    desk = Desk(topics=(*reminder_topics(house.desk), code_topic(house.desk, send)))
    webhook = telegram(
        house.desk,
        telegram_bot(TOKEN, api.url),
        partial(take_turn, house.desk, desk=desk),
        public_url=PUBLIC_URL,
        bill=last_bill(house.desk),
        read_display=read_display,
    )
    await stack.enter_async_context(webhook.running())
    return await stack.enter_async_context(listening(Starlette(routes=[webhook.route]))) + PATH


@pytest.fixture
def sms() -> list[str]:
    """Give the phones' side: the texts that were sent to them."""
    return []


@pytest.fixture
async def person(house: House, api: BotApi, guess: Guess, sms: list[str]) -> AsyncIterator[Person]:
    """Let somebody open a private chat with the bot."""
    async with AsyncExitStack() as stack:
        hook = await hooked(stack, house, api, guess, sms)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        async with asyncio.timeout(10):
            while api.webhook is None or "getMe" not in api.asked:  # noqa: ASYNC110 - it registers in the background
                await asyncio.sleep(0.01)
        yield Person(api, hook, http)


async def confirmed(person: Person, text: str = "1000001#10385") -> str:
    """Send a reading and say yes; give what the bot answered."""
    asked = await person.say(text)
    assert asked, person.statuses
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    said = await person.tap(yes)
    assert said
    return said[-1].text


async def readings(house: House, account: str = "1000001") -> int:
    """Count the accepted readings of an account that came since it was opened."""
    return (await journal_of(house, account)).count("ReadingAccepted")


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_typed(house: House, person: Person, case: Case) -> None:
    await check(house, InAChat(person, typed=True), case)


@pytest.mark.parametrize("case", CASES_BY_BUTTONS, ids=str)
async def test_the_cases_tapped(house: House, person: Person, case: Case) -> None:
    await check(house, InAChat(person, typed=False), case)


async def test_the_webhook_is_registered_with_a_secret_and_the_bots_name_is_known(
    house: House, api: BotApi, person: Person
) -> None:
    assert api.webhook is not None
    assert api.webhook.url == f"{PUBLIC_URL}{PATH}"
    assert api.webhook.secret_token == secret_of(TOKEN, Channel.TELEGRAM)
    async with asyncio.timeout(5):
        while True:
            async with house.desk.pool.acquire() as db:
                links = await bot_links(db, "K7MT2345")
            if links:
                break
            await asyncio.sleep(0.01)
    assert links == {Channel.TELEGRAM: "https://t.me/bels_test_bot?start=K7MT2345"}


async def test_a_wrong_secret_is_refused_and_nothing_is_stored(house: House, person: Person) -> None:
    update = {"update_id": 1, "message": {**person.message(), "text": "1000001#10385"}}

    statuses = [await person.bring(update, secret) for secret in ("", "x" * 64, secret_of("other", Channel.TELEGRAM))]

    assert statuses == [401] * 3
    assert await house.desk.pool.fetchval("SELECT count(*) FROM chat_update") == 0
    assert (await person.http.get(person.hook)).status_code == 405


async def test_what_nobody_can_read_is_kept_sealed_and_never_comes_again(house: House, person: Person) -> None:
    unread: list[dict[str, Any] | bytes] = [
        b"no json \xff",
        b"[" * 100_000,
        b"5",
        {"update_id": 7},
        {"update_id": 8, "a_new_kind": {"of": "Анна Иванова"}},
        {"update_id": 9, "message": {"text": "no chat"}},
        {"update_id": "x", "message": {**person.message(), "text": "1"}},
    ]

    statuses = [await person.bring(each) for each in unread for _ in range(2)]

    assert statuses == [200] * 2 * len(unread)
    rows = await house.desk.pool.fetch("SELECT * FROM chat_update")
    assert len(rows) == len(unread)
    assert all(row["malformed"].startswith("sealed:") for row in rows)
    assert await person.bring(b'{"update_id": 1, "x": "' + b"y" * 1_000_000 + b'"}') == 200


async def test_the_same_update_three_times_is_answered_once(house: House, api: BotApi, person: Person) -> None:
    await confirmed(person)
    said = len(api.said)

    statuses = await asyncio.gather(*(person.bring(person.last) for _ in range(3)))

    assert statuses == [200] * 3
    assert (len(api.said), await readings(house)) == (said, 1)


async def test_two_fast_taps_and_two_processes_make_one_reading(house: House, api: BotApi, person: Person) -> None:
    asked = await person.say("1000001#10385")
    assert asked
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    taps = [{"update_id": 900 + i, "callback_query": person.tapping(yes)} for i in range(2)]
    async with AsyncExitStack() as stack:
        other = Person(api, await hooked(stack, house, api), person.http)
        statuses = await asyncio.gather(*(p.bring(tap) for tap in taps for p in (person, other)))
        # Whoever was told to come again comes again.
        again = [await person.bring(tap) for tap in taps]

    assert set(statuses) <= {200, 503}
    assert again == [200, 200]
    assert await readings(house) == 1
    answers = [said.text for said in api.said if "Номер сообщения" in said.text]
    assert len(answers) == 2
    assert len(set(map(receipt_in, answers))) == 1


async def test_updates_out_of_order_and_a_stale_button_confirm_nothing(house: House, person: Person) -> None:
    first = await person.say("1000001#10385")
    second = await person.say("1000001#10390")
    assert first
    assert second
    (old,) = [data for _, data in first[-1].buttons if data.startswith("yes.")]

    said = await person.tap(old)

    assert said
    assert "не действует" in said[0].text
    assert await readings(house) == 0


async def test_an_answer_that_could_not_be_sent_goes_out_when_the_update_comes_again(
    house: House, api: BotApi, person: Person
) -> None:
    asked = await person.say("1000001#10385")
    assert asked
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    api.faults["sendMessage"] = [DOWN]

    assert await person.tap(yes) is None
    assert await readings(house) == 1
    assert await person.again() is None
    house.wait(seconds=10)
    said = await person.again()

    assert said
    assert "Показание принято" in said[0].text
    assert await readings(house) == 1
    assert await person.again() == []


async def test_what_a_process_left_unfinished_is_finished_by_another(house: House, api: BotApi, person: Person) -> None:
    await person.begin()
    # It was killed after its turn, before it said that the answer was sent.
    await house.desk.pool.execute(
        "UPDATE chat_update SET done_at = NULL, parts_sent = 0, claimed_until = $1", house.at + CLAIMED_FOR
    )

    assert await person.again() is None
    house.wait(seconds=CLAIMED_FOR.seconds)
    said = await person.again()

    assert said
    assert await house.desk.pool.fetchval("SELECT count(*) FROM turn") == 1
    assert await person.again() == []


async def test_we_wait_as_long_as_telegram_asks_us_to(house: House, api: BotApi, person: Person) -> None:
    api.faults["sendMessage"] = [flood(1), flood(600)]
    started = asyncio.get_running_loop().time()

    assert await person.begin() is None
    assert asyncio.get_running_loop().time() - started >= 1
    asked = api.asked.count("sendMessage")
    house.wait(seconds=599)
    assert await person.again() is None
    assert api.asked.count("sendMessage") == asked
    house.wait(seconds=1)
    assert await person.again()


async def test_whoever_blocks_the_bot_is_not_reached_and_his_reading_is_taken(
    house: House, api: BotApi, person: Person
) -> None:
    await house.link("1000001", Channel.TELEGRAM, str(person.chat))
    asked = await person.say("1000001#10385")
    assert asked
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    api.faults["sendMessage"] = [BLOCKED]

    assert await person.tap(yes) == []

    async def reachable() -> list[bool]:
        async with house.desk.pool.acquire() as db:
            return [each.reachable for each in await senders_of(db, "1000001")]

    assert await readings(house) == 1
    assert await reachable() == [False]
    await person.begin()
    assert await reachable() == [True]
    left = {"chat": person.message()["chat"], "from": person.message()["from"], "date": 1, **_membership("kicked")}
    assert await person.send(my_chat_member=left) == []
    assert await reachable() == [False]


def _membership(status: str) -> dict[str, object]:
    bot = {"id": 123456789, "is_bot": True, "first_name": "БЭЛС"}
    kicked = {"status": status, "user": bot, "until_date": 0}
    return {"old_chat_member": {"status": "member", "user": bot}, "new_chat_member": kicked}


async def test_what_is_no_turn_gets_a_hint_and_a_group_gets_no_data(house: House, api: BotApi, person: Person) -> None:
    sticker = {
        "file_id": "s", "file_unique_id": "s", "type": "regular", "width": 1, "height": 1, "is_animated": False, "is_video": False,
    }  # fmt: skip
    voice = {"file_id": "v", "file_unique_id": "v", "duration": 3}
    group = person.message("supergroup")
    reading = {**person.message(), "text": "1000001#10385"}

    hints = [
        await person.send(message={**person.message(), "sticker": sticker}),
        await person.send(message={**person.message(), "voice": voice}),
        await person.send(edited_message={**reading, "edit_date": 1}),
        await person.send(message={**group, "text": "/start"}),
    ]
    silent = [
        await person.send(message={**group, "text": "1000001#10385"}),
        await person.send(message={**group, "left_chat_member": {"id": 5, "is_bot": False, "first_name": "Пётр"}}),
    ]

    assert [said[0].text for said in hints if said] == [NOT_READ, NOT_READ, EDITED, IN_A_GROUP]
    assert silent == [[], []]
    assert await house.desk.pool.fetchval("SELECT count(*) FROM turn") == 0


async def test_a_link_with_a_code_links_the_chat_and_it_hears_its_consumption_and_bill(
    house: House, api: BotApi, person: Person
) -> None:
    code = await make_code(house.desk, "1000001", "u-1")
    assert isinstance(code, Code)

    said = await person.begin(code.code)

    assert said
    assert "Привязано: л/с 1000001" in said[0].text
    assert await linked_accounts(house.desk, house.desk.sender(Channel.TELEGRAM, str(person.chat))) == ["1000001"]
    asked = await person.say("1000001#10385")
    assert asked
    assert "185 кВт·ч" in asked[0].text
    await person.say("отмена")
    balance = await person.tap("balance")
    assert balance
    assert len(api.tapped) == 1


async def test_a_chat_is_linked_by_the_code_that_the_phone_of_its_household_gets(
    person: Person, sms: list[str]
) -> None:
    await person.say("1000001")
    said = await person.tap("code_sms")
    assert said
    assert "придёт SMS" in said[0].text
    (code,) = [word for word in sms[0].split() if normalised_code(word)]

    linked = await person.say(f"Код {code}")

    assert linked
    assert "Привязано: л/с 1000001" in linked[0].text


async def test_a_code_goes_out_to_the_phone_of_the_household_and_to_nobody_else(house: House) -> None:
    desk, sender = house.desk, house.desk.sender(Channel.TELEGRAM, "77001")
    async with desk.pool.acquire() as db:
        await install_outgoing(db)
        await put(db, desk.door.vault, subject_of("1000001", 1), Personal(phones=("+79161234567",)))

    asked = [await send_code(desk, account, sender, code_by_sms(desk)) for account in ("1000001", "1000002")]

    rows = await desk.pool.fetch("SELECT account, channel, key, body FROM outbox")
    assert asked == [True, True]
    assert [(row["account"], row["channel"]) for row in rows] == [("1000001", "sms")]
    assert {topic.key for topic in chat_desk(desk, shipped_office(), sms=True).topics} == {
        *("outages", "contacts", "remind", "remind_not", "code_sms")
    }


def test_what_is_no_token_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="no token of a Telegram bot"):
        telegram_bot("secret")


async def test_whoever_is_linked_gets_the_last_bill_as_a_document(house: House, api: BotApi, person: Person) -> None:
    house.at = moscow("2024-06-02T12:00")
    await house.do("1000001", ClosePeriod(Period("2024-05"), house.at))
    await person.say("1000001")
    refused = await person.tap("bill")
    assert refused
    assert refused[-1].document is None
    await house.link("1000001", Channel.TELEGRAM, str(person.chat))
    api.faults["sendDocument"] = [DOWN]

    assert await person.tap("bill") is None
    house.wait(seconds=10)
    said = await person.again()

    assert said
    assert [each.document is not None for each in said] == [True]
    assert said[0].document is not None
    name, content = said[0].document
    assert (name, content[:5]) == ("1000001-2024-05.pdf", b"%PDF-")
    bills = [each.text for each in api.said if "Счёт за" in each.text]
    assert len(bills) == 1


async def test_a_webhook_is_registered_again_until_it_is_and_only_by_https(
    house: House, api: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    async def turn(*_: object) -> Reply:
        raise AssertionError("nobody says anything")

    async with telegram(house.desk, telegram_bot(TOKEN, api.url), turn, public_url="http://bels.example").running():
        await asyncio.sleep(0)
    async with telegram(house.desk, telegram_bot(TOKEN, api.url), turn, public_url=None).running():
        await asyncio.sleep(0)
    assert "must be https" in caplog.text
    assert api.asked == []
    api.faults["setWebhook"] = [DOWN, flood(1)]
    webhook = telegram(house.desk, telegram_bot(TOKEN, api.url), turn, public_url=PUBLIC_URL)
    async with webhook.running(), asyncio.timeout(10):
        while api.webhook is None:  # noqa: ASYNC110 - it registers in the background
            await asyncio.sleep(0.01)
    assert api.asked.count("setWebhook") == 3
    assert TOKEN not in caplog.text


def test_a_long_text_is_cut_where_a_reader_would() -> None:
    text = "\n\n".join(f"{i} " + "слово " * 30 for i in range(60))

    cut = sections(text, 1000)

    assert [len(each) <= 1000 for each in cut] == [True] * SECTIONS_MAX
    assert cut[-1].endswith("…")
    assert [each[:2].strip().isdigit() for each in cut] == [True] * SECTIONS_MAX
    assert sections("", 10) == []
    assert sections("😀" * 9, 10) == ["😀" * 5, "😀" * 4]
    assert "".join(sections("а" * 25, 10)) == "а" * 25


async def test_reminders_are_turned_on_and_off_in_a_linked_chat(house: House, person: Person) -> None:
    async with house.desk.pool.acquire() as db:
        await install_outgoing(db)
    assert (await person.say("1000001")) is not None
    refused = await person.tap("remind")
    assert refused
    assert "после привязки" in refused[0].text
    await house.link("1000001", Channel.TELEGRAM, str(person.chat))

    on = await person.tap("remind")
    row = await house.desk.pool.fetchrow("SELECT channel, topics, sealed FROM subscription")
    off = await person.tap("remind_not")

    assert on
    assert off
    assert "Напомним здесь" in on[0].text
    assert row is not None
    assert (row["channel"], row["topics"]) == ("telegram", ["REMINDERS", "NOTICES"])
    assert str(person.chat).encode() not in row["sealed"]
    assert "не напоминаем" in off[0].text


async def test_a_photo_of_the_display_is_kept_with_the_reading_that_is_confirmed(house: House, person: Person) -> None:
    assert await person.say("1000001")
    assert await person.photo(JPEG)
    receipt = receipt_in(await confirmed(person))
    async with house.desk.pool.acquire() as db:
        ((kept,),) = (await photos_of(db, [receipt])).values()

    assert (kept.account, kept.tenure, kept.content_type) == ("1000001", 1, "image/jpeg")


async def test_what_is_read_from_a_photo_is_shown_and_waits_for_a_yes(
    house: House, person: Person, guess: Guess
) -> None:
    guess.shows = "10385"
    await person.say("1000001")

    asked = await person.photo(JPEG)

    assert asked
    assert "10385" in asked[0].text
    assert await readings(house) == 0
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    assert await person.tap(yes)
    assert await readings(house) == 1
    assert await house.desk.pool.fetchval("SELECT count(*) FROM evidence WHERE receipt IS NOT NULL") == 1


async def test_an_album_is_answered_once_and_kept_whole(house: House, api: BotApi, person: Person) -> None:
    await person.say("1000003")
    before = len(api.said)

    for i in range(3):
        await person.photo(JPEG + bytes([i]), media_group_id="album 1")

    assert len(api.said) == before + 1
    assert await house.desk.pool.fetchval("SELECT count(*) FROM evidence") == 3


async def test_what_is_no_photo_is_refused_and_one_that_cannot_be_fetched_comes_again(
    house: House, api: BotApi, person: Person
) -> None:
    await person.say("1000001")
    wrong = await person.photo(b"%PDF-1.7 not a photo")
    document = {"file_id": "big", "file_unique_id": "big", "mime_type": "image/png", "file_size": 6_000_000}
    large = await person.send(message={**person.message(), "document": document})
    api.faults["file"] = [Fault(503, "")]
    assert await person.photo(JPEG) is None
    again = await person.again()
    gone = await person.send(message={**person.message(), "document": {**document, "file_size": 5}})

    assert wrong
    assert large
    assert gone
    assert "не снимок" in wrong[0].text
    assert "больше 5 МБ" in large[0].text
    assert "не снимок" in gone[0].text
    assert again
    assert await house.desk.pool.fetchval("SELECT count(*) FROM evidence") == 1


async def test_a_database_that_is_gone_at_any_step_loses_and_doubles_nothing(house: House, person: Person) -> None:
    async def say(how: str, what: str) -> list[str]:
        async with unreachable(house):
            assert await getattr(person, how)(what) is None
        said = await person.again()
        assert said
        return [data for each in said for _, data in each.buttons]

    await say("begin", "")
    await say("say", "1000001")
    (yes, *_) = await say("say", "10385")
    await say("tap", yes)

    assert await readings(house) == 1


async def test_nothing_that_names_a_person_stands_in_clear(house: House, person: Person) -> None:
    await person.say("1000001")
    await person.say("Меня зовут Анна, пишите на anna@example.ru")
    await confirmed(person)

    for table in ("turn", "dialogue", "chat_update", "message", "dead_chat"):
        rows = [str(dict(row)) for row in await house.desk.pool.fetch(f"SELECT * FROM {table}")]
        assert not [row for row in rows if "77001" in row or "Анна" in row or "Иванова" in row or "example" in row], (
            table
        )


async def test_the_outbox_speaks_first(house: House, api: BotApi, person: Person) -> None:
    bot = telegram_bot(TOKEN, api.url)
    send = telegram_sender(bot)
    api.faults["sendMessage"] = [flood(7), BLOCKED, NO_CHAT, DOWN, Fault(400, "Bad Request: message is wrong")]

    answers = [await send("77001", Text("Пора передать показания"), "key") for _ in range(6)]
    long = await send("77001", Text("слово " * 2000), "key")
    await bot.session.close()

    assert answers[:5] == [
        TryAgain("TOO_MANY_REQUESTS", 7.0),
        Dead("FORBIDDEN"),
        Dead("CHAT_NOT_FOUND"),
        TryAgain("TelegramServerError"),
        Refused("BAD_REQUEST"),
    ]
    assert isinstance(answers[5], Sent)
    assert isinstance(long, Sent)
    assert [len(said.text) <= 4096 for said in api.said[-3:]] == [True] * 3
    assert " ".join(said.text for said in api.said[-3:]).split() == ["слово"] * 2000
    assert await send("somebody", Text("text"), "key") == Dead("NO_CHAT")


async def test_updates_are_forgotten_in_time(house: House, person: Person) -> None:
    await person.begin()
    async with house.desk.pool.acquire() as db:
        await forget_updates(db, house.at)
        assert await db.fetchval("SELECT count(*) FROM chat_update") == 1
        house.wait(days=91)
        await forget_updates(db, house.at)
        assert await db.fetchval("SELECT count(*) FROM chat_update") == 0
