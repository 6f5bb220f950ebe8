"""One-time codes: whoever holds one links its phone or chat, once, in time, and nobody guesses one."""

from __future__ import annotations

import asyncio

import pytest

from bels.access.personal import Personal, put, subject_of
from bels.access.words import AccessReason, Refused
from bels.domain.commands import UnlinkChannel
from bels.domain.terms import Channel, Reason
from bels.messages import TryLater
from bels.reception.codes import (
    FORGOTTEN_AFTER,
    LIVING_MAX,
    SENT_A_DAY,
    Code,
    forget_codes,
    make_code,
    normalised_code,
    send_code,
    text_of,
    use_code,
)
from bels.reception.counter import Answer, linked_accounts
from tests.channels.house import House

CHAT = "700100200"


async def made(house: House, account: str = "1000001") -> str:
    """Make a code as the cabinet does."""
    code = await make_code(house.desk, account, "u-1")
    assert isinstance(code, Code)
    return code.code


async def use(house: House, code: str, key: str, chat: str = CHAT) -> Answer:
    """Send a code from a chat."""
    sender = house.desk.sender(Channel.TELEGRAM, chat)
    return await use_code(house.desk, sender, code, key, house.desk.door.raw_texts.kept(f"КОД {code}"))


async def test_whoever_sends_the_code_of_an_account_is_linked_to_it(house: House) -> None:
    answer = await use(house, await made(house), "tg:1")

    assert (answer.code, answer.linked) == ("ACCEPTED", True)
    assert answer.words.text == "Привязано: л/с 1000001"
    assert await linked_accounts(house.desk, house.desk.sender(Channel.TELEGRAM, CHAT)) == ["1000001"]


async def test_a_code_that_its_sender_brings_again_says_that_it_is_linked_until_it_is_not(house: House) -> None:
    code, sender = await made(house), house.desk.sender(Channel.TELEGRAM, CHAT)
    await use(house, code, "tg:1")

    again = await use(house, code, "tg:2")
    assert (again.code, again.words.text) == ("ALREADY_LINKED", "Уже привязано: л/с 1000001")
    await house.do("1000001", UnlinkChannel(Channel.TELEGRAM, sender.digest, house.at, "asked"))

    assert (await use(house, code, "tg:3")).code == "NOT_LINKED"
    assert await linked_accounts(house.desk, sender) == []


async def test_a_code_is_used_once_and_the_same_message_hears_the_same(house: House) -> None:
    code = await made(house)

    first, second = await asyncio.gather(use(house, code, "tg:1"), use(house, code, "tg:1"))
    stranger = await use(house, code, "tg:2", chat="999")
    again = await use(house, code, "tg:1")

    assert {first.code, second.code} == {"ACCEPTED", "REPEATED"}
    assert (stranger.code, stranger.linked) == ("NOT_LINKED", False)
    assert (again.code, again.words) == ("REPEATED", first.words)
    assert again.outcome.receipt == first.outcome.receipt


async def test_two_chats_with_one_code_at_once_link_one_of_them(house: House) -> None:
    code = await made(house)

    answers = await asyncio.gather(*(use(house, code, f"tg:{i}", chat=f"{i}") for i in range(4)))

    assert sorted(answer.code for answer in answers) == ["ACCEPTED", "NOT_LINKED", "NOT_LINKED", "NOT_LINKED"]


async def test_a_code_is_over_after_a_quarter_of_an_hour(house: House) -> None:
    code = await made(house)
    house.wait(minutes=15)

    answer = await use(house, code, "tg:1")

    assert answer.code == "NOT_LINKED"
    assert "Код не подошёл" in answer.words.text


async def test_a_code_may_be_typed_as_people_type(house: House) -> None:
    code = await made(house)
    typed = f" {code[:4].lower()} - {code[4:].translate(str.maketrans('ABCEHKMPTXY', 'АВСЕНКМРТХУ'))}"

    assert normalised_code(typed) == code
    assert (await use(house, typed, "tg:1")).code == "ACCEPTED"
    assert [normalised_code(text) for text in ("", "K7MT234", "K7MT23450", "K7MTO234", "й" * 100)] == [""] * 5


async def test_guessing_is_slowed_down_and_every_guess_is_stored(house: House) -> None:
    guesses = [(await use(house, f"AAAAAAA{i}", f"tg:{i}")).code for i in range(2, 9)]
    code = await made(house)
    right_but_too_soon = await use(house, code, "tg:20")
    house.wait(minutes=10)

    assert guesses == ["NOT_LINKED"] * 6 + ["TOO_MANY_MESSAGES"]
    assert right_but_too_soon.code == "TOO_MANY_MESSAGES"
    assert (await use(house, code, "tg:21")).code == "ACCEPTED"
    assert await house.desk.pool.fetchval("SELECT count(*) FROM message WHERE channel = 'telegram'") == 9


async def test_an_account_has_few_living_codes(house: House) -> None:
    for _ in range(LIVING_MAX):
        await made(house)

    assert await make_code(house.desk, "1000001", "u-1") == Refused(AccessReason.LIMIT_REACHED)
    house.wait(minutes=15)
    await made(house)


async def test_there_is_no_code_of_an_account_that_is_unknown_or_closed(house: House) -> None:
    assert await make_code(house.desk, "1999999", "u-1") == Refused(Reason.UNKNOWN_ACCOUNT)
    assert await make_code(house.desk, "nobody", "u-1") == Refused(Reason.UNKNOWN_ACCOUNT)
    assert await make_code(house.desk, "1000005", "u-1") == Refused(Reason.ACCOUNT_CLOSED)


async def test_a_code_of_the_household_before_links_nobody(house: House) -> None:
    code = await made(house)
    await house.desk.pool.execute(
        "INSERT INTO tenure (account, number, since, entry, period) VALUES ('1000001', 2, now(), 0, '')"
    )

    assert (await use(house, code, "tg:1")).code == "NOT_LINKED"


async def test_whoever_comes_in_while_the_flat_is_sold_is_put_out_again(house: House) -> None:
    code = await made(house)
    # The cabinet is closed between the use of the code and the entry that links its sender.
    await house.desk.pool.execute(
        """
        CREATE FUNCTION sold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO tenure (account, number, since, entry, period) VALUES ('1000001', 2, now(), 0, '');
            DROP TRIGGER sells ON message;
            RETURN NULL;
        END $$;
        CREATE TRIGGER sells AFTER INSERT ON message FOR EACH STATEMENT EXECUTE FUNCTION sold();
        """
    )

    answer = await use(house, code, "tg:1")

    assert answer.linked is False
    assert "Код не подошёл" in answer.words.text
    assert await linked_accounts(house.desk, house.desk.sender(Channel.TELEGRAM, CHAT)) == []


async def test_a_hidden_sender_and_one_that_nobody_vouches_for_cannot_be_linked(house: House) -> None:
    code, desk = await made(house), house.desk
    hidden = await use_code(desk, desk.sender(Channel.VOICE, ""), code, "a", "КОД")
    unproven = await use_code(desk, desk.sender(Channel.EMAIL, "a@example.ru", proven=False), code, "b", "КОД")

    assert (hidden.code, unproven.code) == ("BAD_ADDRESS", "BAD_ADDRESS")
    assert (await use(house, code, "tg:1")).code == "ACCEPTED"


async def test_a_chat_that_is_linked_already_hears_so(house: House) -> None:
    await house.link("1000001", Channel.TELEGRAM, CHAT)

    answer = await use(house, await made(house), "tg:1")

    assert (answer.code, answer.words.text) == ("ALREADY_LINKED", "Уже привязано: л/с 1000001")


async def test_a_code_that_could_not_be_carried_out_works_when_the_same_message_comes_again(house: House) -> None:
    code, desk = await made(house), house.desk
    await desk.pool.execute("ALTER TABLE journal RENAME TO journal_away")
    with pytest.raises(TryLater):
        await use(house, code, "tg:1")
    await desk.pool.execute("ALTER TABLE journal_away RENAME TO journal")
    house.wait(hours=1)

    assert (await use(house, code, "tg:1")).code == "ACCEPTED"


async def test_a_code_goes_to_the_phone_of_the_household_and_not_too_often(house: House) -> None:
    desk, sent = house.desk, list[tuple[str, str]]()
    async with desk.pool.acquire() as db:
        await put(db, desk.door.vault, subject_of("1000001", 1), Personal(phones=("+79161234567",)))

    async def send(account: str, text: str) -> bool:
        sent.append((account, text))
        return True

    sender = desk.sender(Channel.TELEGRAM, CHAT)
    asked = [await send_code(desk, "1000001", sender, send) for _ in range(SENT_A_DAY + 1)]
    other = await send_code(desk, "1000001", desk.sender(Channel.MAX, "5"), send)
    unknown = await send_code(desk, "1999999", desk.sender(Channel.MAX, "6"), send)

    assert asked == [True] * SENT_A_DAY + [False]
    assert (other, unknown, len(sent)) == (False, True, SENT_A_DAY)
    account, text = sent[0]
    assert account == "1000001"
    assert len(text) <= 70
    code = next(word for word in text.split() if normalised_code(word))
    assert (await use(house, code, "tg:1")).code == "ACCEPTED"


async def test_codes_are_kept_as_digests_and_forgotten_in_time(house: House) -> None:
    made_code = await make_code(house.desk, "1000001", "u-1", "request-1")
    assert isinstance(made_code, Code)
    assert made_code.code not in repr(made_code)
    assert made_code.code in text_of(made_code)
    row = await house.desk.pool.fetchrow("SELECT * FROM link_code")
    assert row is not None
    assert made_code.code.encode() not in row["code"]
    assert row["request_id"] == "request-1"

    async with house.desk.pool.acquire() as db:
        await forget_codes(db, house.at + FORGOTTEN_AFTER)
        assert await db.fetchval("SELECT count(*) FROM link_code") == 1
        house.wait(minutes=16)
        await forget_codes(db, house.at + FORGOTTEN_AFTER)
        assert await db.fetchval("SELECT count(*) FROM link_code") == 0
