"""MAX over real HTTP: the twelve cases, and everything that a dialogue with people brings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.channels.chat import EDITED, IN_A_GROUP, NOT_READ, Picture, secret_of
from bels.channels.max_bot import PATH, Max, max_bot, read_update
from bels.domain.terms import Channel
from bels.outgoing.max_messages import max_bot as client_of
from bels.outgoing.max_messages import max_sender, send_document
from bels.outgoing.results import Dead, Letter, Refused, Sent, Text, TryAgain
from bels.reception.codes import Code, bot_links, make_code
from bels.reception.counter import linked_accounts
from bels.reception.dialogue.talking import take_turn
from tests.channels.cases import CASES, Case, check, journal_of, unreachable
from tests.channels.chatting import CASES_BY_BUTTONS, InAChat, receipt_in
from tests.channels.house import House
from tests.peers.loopback import listening
from tests.peers.max_api import BLOCKED, DOWN, NO_CHAT, NOT_READY, TOKEN, Fault, MaxApi, Person, flood, max_api

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"display" * 100
PUBLIC_URL = "https://bels.example"
TAPPED = (1, 4, 7, 12)
"""The dialogue is the same as in Telegram, where all are tapped; a tap itself is MAX's own."""


@pytest.fixture
async def api() -> AsyncIterator[MaxApi]:
    """Run MAX's side."""
    async with max_api() as api:
        yield api


async def no_bill(account: str) -> tuple[str, bytes] | None:
    """Print nothing: these accounts have no bill yet."""
    return None


async def hooked(stack: AsyncExitStack, house: House, api: MaxApi) -> str:
    """Serve the webhook in a process of its own, as it were, and give where it listens."""
    bot = client_of(TOKEN, api.url)
    turn = partial(take_turn, house.desk)
    webhook = max_bot(house.desk, bot, TOKEN, turn, public_url=PUBLIC_URL, bill=no_bill)
    await stack.enter_async_context(webhook.running())
    return await stack.enter_async_context(listening(Starlette(routes=[webhook.route]))) + PATH


@pytest.fixture
async def person(house: House, api: MaxApi) -> AsyncIterator[Person]:
    """Let somebody open a dialogue with the bot."""

    def named(update: dict[str, Any]) -> str:
        read = read_update(update, house.desk)
        assert read is not None
        return read.update_id

    async with AsyncExitStack() as stack:
        hook = await hooked(stack, house, api)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        async with asyncio.timeout(10):
            while api.webhook is None or "GET /me" not in api.asked:  # noqa: ASYNC110 - it registers in the background
                await asyncio.sleep(0.01)
        yield Person(api, hook, http, named)


async def yes_to(person: Person, text: str = "1000001#10385") -> str:
    """Send a reading, and give what the button of its yes brings back."""
    asked = await person.say(text)
    assert asked, person.statuses
    (yes,) = [data for _, data in asked[-1].buttons if data.startswith("yes.")]
    return yes


async def readings(house: House, account: str = "1000001") -> int:
    """Count the accepted readings of an account that came since it was opened."""
    return (await journal_of(house, account)).count("ReadingAccepted")


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_typed(house: House, person: Person, case: Case) -> None:
    await check(house, InAChat(person, typed=True), case)


@pytest.mark.parametrize("case", [case for case in CASES_BY_BUTTONS if case.number in TAPPED], ids=str)
async def test_the_cases_tapped(house: House, person: Person, case: Case) -> None:
    await check(house, InAChat(person, typed=False), case)


async def test_the_webhook_is_registered_with_a_secret_and_the_bots_name_is_known(
    house: House, api: MaxApi, person: Person
) -> None:
    assert api.webhook is not None
    assert api.webhook["url"] == f"{PUBLIC_URL}{PATH}"
    assert api.webhook["secret"] == secret_of(TOKEN, Channel.MAX)
    async with asyncio.timeout(5):
        while True:
            async with house.desk.pool.acquire() as db:
                links = await bot_links(db, "K7MT2345")
            if links:
                break
            await asyncio.sleep(0.01)
    assert links == {Channel.MAX: "https://max.ru/bels_max_bot?start=K7MT2345"}


async def test_a_wrong_secret_is_refused_and_nothing_is_stored(house: House, person: Person) -> None:
    update = {"update_type": "message_created", "timestamp": 1, "message": person.message("1000001#10385")}

    statuses = [await person.bring(update, secret) for secret in ("", "x" * 64, secret_of(TOKEN, Channel.TELEGRAM))]

    assert statuses == [401] * 3
    assert await house.desk.pool.fetchval("SELECT count(*) FROM chat_update") == 0


async def test_what_nobody_can_read_is_kept_sealed_and_never_logged(
    house: House, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    unread: list[dict[str, Any] | bytes] = [
        b"no json \xff",
        {"update_type": "message_created", "timestamp": 1, "user_locale": "Анна Иванова"},
        {"update_type": "a_new_kind", "timestamp": 1, "user": person.user()},
        {"update_type": "user_added", "timestamp": 1, "chat_id": -5, "user": person.user(), "is_channel": False},
    ]

    statuses = [await person.bring(each) for each in unread for _ in range(2)]

    assert statuses == [200] * 2 * len(unread)
    rows = await house.desk.pool.fetch("SELECT malformed FROM chat_update")
    assert [row["malformed"].startswith("sealed:") for row in rows] == [True] * len(unread)
    assert "Анна" not in caplog.text


async def test_the_same_update_three_times_and_two_fast_taps_make_one_reading(
    house: House, api: MaxApi, person: Person
) -> None:
    yes = await yes_to(person)
    said = await person.tap(yes)
    before = len(api.said)

    statuses = await asyncio.gather(*(person.bring(person.last) for _ in range(3)))
    second = await person.tap(yes)

    assert said
    assert second
    assert statuses == [200] * 3
    assert len(api.said) == before + 1
    assert receipt_in(said[0].text) == receipt_in(second[0].text)
    assert await readings(house) == 1
    assert len(api.tapped) == 2


async def test_an_answer_that_could_not_be_sent_goes_out_when_the_update_comes_again(
    house: House, api: MaxApi, person: Person
) -> None:
    yes = await yes_to(person)
    api.faults["POST /messages"] = [DOWN, flood(1), flood(None)]

    assert await person.tap(yes) is None
    house.wait(seconds=10)
    assert await person.again() is None
    house.wait(seconds=10)
    said = await person.again()

    assert said
    assert "Показание принято" in said[0].text
    assert (await readings(house), await person.again()) == (1, [])


async def test_whoever_stops_the_bot_is_not_reached(house: House, api: MaxApi, person: Person) -> None:
    yes = await yes_to(person)
    api.faults["POST /messages"] = [BLOCKED]

    assert await person.tap(yes) == []
    assert await readings(house) == 1
    dead = "SELECT count(*) FROM dead_chat"
    assert await house.desk.pool.fetchval(dead) == 1
    assert await person.begin()
    assert await house.desk.pool.fetchval(dead) == 0
    assert await person.send("bot_stopped", chat_id=person.chat, user=person.user()) == []
    assert await person.send("dialog_removed", chat_id=person.chat, user=person.user()) == []
    assert await house.desk.pool.fetchval(dead) == 1


async def test_what_is_no_turn_gets_a_hint_and_a_group_gets_no_data(house: House, person: Person) -> None:
    sticker = {"type": "sticker", "payload": {"url": "https://i.max.ru/s", "code": "s"}, "width": 1, "height": 1}
    forwarded = {**person.message(None), "body": None}
    created = "message_created"

    hints = [
        await person.send(created, message=person.message(None, attachments=[sticker])),
        await person.send(created, message=forwarded),
        await person.send("message_edited", message=person.message("1000001#10385")),
        await person.send(created, message=person.message("/start", kind="chat")),
    ]
    silent = [
        await person.send(created, message=person.message("1000001#10385", kind="chat")),
        await person.send(
            created, message={**person.message("1000001#10385"), "sender": {**person.user(), "is_bot": True}}
        ),
        await person.send("message_callback", callback=person.tapping("menu")["callback"]),
    ]

    assert [said[0].text for said in hints if said] == [NOT_READ, NOT_READ, EDITED, IN_A_GROUP]
    assert silent == [[], [], []]
    assert await house.desk.pool.fetchval("SELECT count(*) FROM turn") == 0


async def test_a_link_with_a_code_links_the_dialogue(house: House, person: Person) -> None:
    code = await make_code(house.desk, "1000001", "u-1")
    assert isinstance(code, Code)

    said = await person.begin(code.code)

    assert said
    assert "Привязано: л/с 1000001" in said[0].text
    assert await linked_accounts(house.desk, house.desk.sender(Channel.MAX, str(person.chat))) == ["1000001"]


async def test_photos_are_kept_with_the_reading_and_the_token_goes_nowhere(
    house: House, api: MaxApi, person: Person
) -> None:
    await person.say("1000001")
    assert await person.photo(JPEG + b"1", JPEG + b"2")
    said = await person.photo(JPEG + b"3", text="10385")
    assert said
    (yes,) = [data for _, data in said[-1].buttons if data.startswith("yes.")]
    api.faults["picture"] = [Fault(503, {})]
    assert await person.photo(JPEG) is None
    assert await person.again()
    assert await person.tap(yes)

    assert await house.desk.pool.fetchval("SELECT count(*) FROM evidence WHERE receipt IS NOT NULL") == 4
    assert api.leaked == []


async def test_a_picture_from_somewhere_else_or_too_large_is_not_read(house: House, api: MaxApi) -> None:
    bot = client_of(TOKEN, api.url)
    api.pictures["large"] = JPEG * 1000
    async with httpx.AsyncClient() as http:
        pictures = Max(bot, http)
        assert await pictures.fetch(Picture("http://127.0.0.1:1/secret"), 100) is None
        assert await pictures.fetch(Picture("file:///etc/passwd"), 100) is None
        for inside in (
            "127.0.0.1",
            "[::1]",
            "127.1",
            "0x7f.1",
            "localhost",
            "db",
            "db.internal",
            "localhost.",
            "i.max.ru:22",
        ):
            assert await pictures.fetch(Picture(f"https://{inside}/secret"), 100) is None, inside
        assert await pictures.fetch(Picture(f"{api.url}1/secret"), 100) is None, "a port that begins as ours"
        assert await pictures.fetch(Picture(f"{api.url}/pictures/none"), 100) is None
        cut = await pictures.fetch(Picture(f"{api.url}/pictures/large"), 100)
    assert cut is not None
    assert 100 < len(cut) < 400_000


async def test_a_database_that_is_gone_at_any_step_loses_and_doubles_nothing(house: House, person: Person) -> None:
    async def say(how: str, what: str) -> list[str]:
        async with unreachable(house):
            assert await getattr(person, how)(what) is None
        said = await person.again()
        assert said
        return [data for each in said for _, data in each.buttons]

    await say("begin", "")
    await say("say", "1000001")
    yes, *_ = await say("say", "10385")
    await say("tap", yes)

    assert await readings(house) == 1


async def test_nothing_that_names_a_person_stands_in_clear(house: House, person: Person) -> None:
    await person.say("Меня зовут Анна, пишите на anna@example.ru")
    await person.tap(await yes_to(person))

    chat = f"{person.chat:x}"
    for table in ("turn", "dialogue", "chat_update", "message"):
        rows = [str(dict(row)) for row in await house.desk.pool.fetch(f"SELECT * FROM {table}")]
        assert not [row for row in rows if any(word in row for word in ("88001", f"0{chat}", "Анна", "example"))], table


async def test_the_outbox_speaks_first_and_a_file_is_sent_when_it_is_ready(api: MaxApi) -> None:
    bot = client_of(TOKEN, api.url)
    send = max_sender(bot)
    wrong = Fault(400, {"code": "proto.payload", "message": "wrong"})
    api.faults["POST /messages"] = [flood(7), flood(None), BLOCKED, NO_CHAT, DOWN, wrong]

    answers = [await send("88001", Text("Пора передать показания"), "key") for _ in range(7)]
    long = await send("88001", Text("слово " * 2000), "key")
    api.faults["POST /messages"] = [NOT_READY]
    sent = await send_document(bot, "88001", "1000001-2024-04.pdf", b"%PDF-1.7 a bill")

    assert answers[:6] == [
        TryAgain("TOO_MANY_REQUESTS", 7.0),
        TryAgain("TOO_MANY_REQUESTS"),
        Dead("FORBIDDEN"),
        Dead("CHAT_NOT_FOUND"),
        TryAgain("HTTP_503"),
        Refused("HTTP_400"),
    ]
    assert isinstance(answers[6], Sent)
    assert isinstance(long, Sent)
    assert isinstance(sent, Sent)
    assert [api.uploaded[token] for token in api.said[-1].files] == [b"%PDF-1.7 a bill"]
    assert await send("88001", Letter(b""), "key") == Refused("NOT_A_TEXT")
    await bot.close_session()
    stranger = client_of("another token", api.url)
    assert await max_sender(stranger)("88001", Text("text"), "key") == TryAgain("INVALID_TOKEN")
    await stranger.close_session()
