"""Laws of the dialogue: whatever is said in whatever order, it answers, and sends nothing that nobody confirmed."""

from __future__ import annotations

from itertools import count

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bels.domain.events import ReadingAccepted, ReadingHeld
from bels.domain.terms import Channel
from bels.journal.journal import read
from bels.reception.dialogue.say import WORDS
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import AskKind, Reply, Said, SaidKind
from bels.reception.dialogue.writing import spoken_reply, written_reply
from tests.channels.house import House
from tests.reception.talks import chat

ACCOUNTS = tuple(f"100000{n}" for n in range(1, 8))
YES = ("1", "да", "всё верно, передать")

# fmt: off
WORDS_SAID = st.sampled_from((
    "1000001", "1000002", "1000003", "1000004", "1000005", "1000007", "9999999", "12", "10385", "10400", "9000", "99000",
    "3100", "1600", "0", "1", "2", "3", "4", "5", "9", "*", "**", "#", "", " ", "да", "нет", "меню", "баланс", "счёт", "отмена", "оператор",
    "всё верно, передать", "исправить", "1000001#10385", "1000002 6102 1580 2050", "ночь 1560 день 3131", "1000003#3100",
    "1000001 сч №E-3 10385", "ДА 22222222", "ДА", "КОД 22222222", "? 22222222", "E-7", "7", "yes.", "sure.", "yes.00000000", "a1",
    "a9", "fix", "again", "meter", "read", "cancel", "hours", "last", "bill", "operator", "account", "😀", "\x00", "\ud83d",
    "１０３８５", "1" * 2000, "x" * 5000, "ev-1 10385", "ev-2",
))
# fmt: on
SAID = st.builds(
    Said,
    st.sampled_from((*SaidKind, SaidKind.TEXT, SaidKind.NUMBER, SaidKind.NUMBER, SaidKind.CHOICE)),
    st.one_of(WORDS_SAID, WORDS_SAID, WORDS_SAID, st.text(max_size=20)),
)
FRAGMENTS = st.sampled_from(
    (
        ("1000001", "10385", "1"),
        ("1000001#10400", "да"),
        ("1000003", "3100", "1600"),
        ("1000002", "1600", "2100", "6100", "1"),
        ("1000001#99000", "да", "да"),
        ("отмена", "1000003#3050#1570"),
        ("1000007", "*", "7"),
    )
).map(lambda texts: [Said(SaidKind.TEXT, text) for text in texts])
TALK = st.lists(st.one_of(SAID.map(lambda said: [said]), FRAGMENTS), min_size=1, max_size=7).map(
    lambda parts: [said for part in parts for said in part]
)
_talks = count(1)


def is_yes(said: Said, before: Reply | None) -> bool:
    """Say whether a turn confirms the draft that was read back just before it."""
    if before is None or not before.ask.options or not before.ask.options[0].key.startswith(("yes.", "sure.")):
        return False
    text = said.text.strip().lower()
    if said.kind is SaidKind.CHOICE:
        return text == before.ask.options[0].key
    return said.kind in (SaidKind.TEXT, SaidKind.NUMBER) and text in YES


@given(TALK, st.booleans())
@settings(max_examples=40)
async def test_whatever_is_said_is_answered_and_nothing_is_sent_without_a_yes(
    house: House, sayings: list[Said], is_linked: bool
) -> None:
    number = next(_talks)
    house.wait(days=1)
    if is_linked:
        await house.link(ACCOUNTS[number % 3], Channel.TELEGRAM, f"{number}")
    talk = chat(house, f"{number}").talk
    readings_before = await _readings(house)
    confirmed: set[str] = set()
    before: Reply | None = None
    for n, said in enumerate(sayings):
        reply = await take_turn(house.desk, talk, f"{n}", said, said.text)
        if is_yes(said, before):
            confirmed.add(reply.receipt)
        assert reply.lines or said.kind is SaidKind.LEFT
        assert all(line.say in WORDS for line in reply.lines)
        assert written_reply(reply) or said.kind is SaidKind.LEFT
        assert spoken_reply(reply) is not None
        assert bool(reply.ask.options) or reply.ask.kind is not AskKind.CHOICE
        assert len({option.digit for option in reply.ask.options}) == len(reply.ask.options)
        assert all(len(option.key) <= 20 and option.key.isascii() for option in reply.ask.options)
        assert bool(reply.code) == bool(reply.receipt)
        assert await take_turn(house.desk, talk, f"{n}", said, said.text) == reply
        before = reply

    assert await _readings(house) - readings_before <= confirmed
    stored = await house.desk.pool.fetch("SELECT state, reply FROM dialogue JOIN turn USING (channel, talk)")
    assert all(msgspec.json.decode(row["state"])["version"] == 1 for row in stored)


async def _readings(house: House) -> set[str]:
    async with house.desk.pool.acquire() as db:
        entries = await read(db, dict.fromkeys(ACCOUNTS, 0))
    return {entry.receipt for entry in entries if isinstance(entry.event, ReadingAccepted | ReadingHeld)}
