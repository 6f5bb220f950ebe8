"""The voice menu over sockets: keys, silence, hang-ups and faults, with the real dialogue and with written ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import pytest

from bels.access.personal import ContactKind
from bels.channels.prompts import PromptsError, manifest, note
from bels.channels.voice import Pace, fastagi
from bels.domain.terms import Channel, Register
from bels.messages import TryLater
from bels.reception.counter import Counter
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import Ask, AskKind, Line, Option, Part, PartKind, Reply, Said, SaidKind, Talk
from bench.calls import HANG_UP, SILENT, Dialogue, dialogue, dialogues
from bench.calls import Line as Call
from tests.channels import cases
from tests.channels.house import House, opened_house
from tests.channels.test_prompts import silence
from tests.conftest import new_supplier

PHONE = "79161234567"
YES, STAR = Option("yes", "1", Line(Say.OPTION_YES)), Option("operator", "*", Line(Say.OPTION_OPERATOR))
QUICK = Pace(first_key_s=0.1, next_key_s=0.1, last_key_s=0.1, filler_s=0.05, turn_s_max=0.3)

GREETED = Reply((Line(Say.GREETING),), Ask(AskKind.NUMBER, (STAR, Option("zero", "0", Line(Say.OPTION_MENU))), 7))
CONFIRM = Reply((Line(Say.CONFIRM),), Ask(AskKind.CHOICE, (YES,)))
GOODBYE = Reply((Line(Say.GOODBYE),), Ask(AskKind.NOTHING))
CONNECTING = Reply((Line(Say.CONNECTING),), Ask(AskKind.OPERATOR))

Take = Callable[[Counter, Talk, str, Said, str], Awaitable[Reply]]


class Written:
    """A dialogue that is written beforehand: it gives its replies in order, and keeps what it was told."""

    def __init__(self, *replies: Reply | Exception | float) -> None:
        self.replies = list(replies)
        self.talks: list[Talk] = []
        self.turns: list[str] = []
        self.said: list[Said] = []
        self.raw: list[str] = []

    async def __call__(self, counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        """Take a turn; a number in the script is how many seconds it takes."""
        self.talks.append(talk)
        self.turns.append(turn_id)
        self.said.append(said)
        self.raw.append(raw)
        if said.kind is SaidKind.LEFT:
            return GOODBYE
        if self.replies and isinstance(self.replies[0], float):
            await asyncio.sleep(self.replies.pop(0))  # type: ignore[arg-type]
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, Reply)
        return reply


@pytest.fixture(scope="module")
def shared(postgres: str, template: str) -> str:
    """Make a database for the whole module."""
    return new_supplier(postgres, template, "bels_test_voice")


@pytest.fixture(scope="module")
async def desk(shared: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Counter]:
    """Open one counter for all: written dialogues change nothing there."""
    async with opened_house(shared, tmp_path_factory.mktemp("bels")) as house:
        yield house.desk


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with every recording, silent."""
    folder = tmp_path_factory.mktemp("prompts")
    for prompt in manifest():
        silence(folder / f"{prompt}.wav")
    note(folder)
    return folder


@asynccontextmanager
async def menu(desk: Counter, prompts: Path, take: Take, pace: Pace = QUICK) -> AsyncIterator[int]:
    """Serve the voice menu."""
    async with fastagi(desk, "127.0.0.1", 0, prompts, take=take, pace=pace) as port:
        yield port


async def said(desk: Counter, prompts: Path, keys: str, reply: Reply = GREETED) -> tuple[Said, Dialogue]:
    """Give what the dialogue is told of keys that are pressed as an answer, and what was heard."""
    take = Written(reply, GOODBYE)
    async with menu(desk, prompts, take) as port:
        heard = await dialogue(port, [keys])
    return take.said[1], heard


def keys_of(account: str, values: Sequence[str], *, meter: str | None, text: str | None) -> list[str]:
    """Give the keys that somebody presses for a case, question by question."""
    if text is not None:
        return ["*#"] * 3
    if meter is not None:
        return [f"{account}#", "*", f"{meter.strip('E-')}#"]
    if account in ("1000004", "9999999"):
        return [f"{account}#"]
    if account == "1000003" and len(values) == 1:
        return [f"{account}#", f"{values[0]}#", SILENT, SILENT, SILENT]
    return [f"{account}#", *(f"{value}#" for value in values), "1"]


def spelled(sounds: Sequence[str]) -> str:
    """Give the receipt that a caller has heard, letter by letter; "" where none was."""
    if "say-receipt" not in sounds:
        return ""
    after = sounds[len(sounds) - sounds[::-1].index("say-receipt") :]
    return "".join(sound.removeprefix("letter-").upper() for sound in after)[:8]


@dataclass(slots=True)
class Caller:
    """Somebody who calls with the twelve cases; ``dial`` leads a call by its keys, and gives the sounds, none when bels cannot."""

    dial: Callable[[list[str]], Awaitable[list[str]]]
    replies: list[Reply]
    _last: list[str] = field(default_factory=list)

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> cases.Heard:
        """Call with a reading."""
        self._last = keys_of(account, tuple(values.values()), meter=meter, text=text)
        return await self.again(house)

    async def again(self, house: House) -> cases.Heard:
        """Call again: a telephone repeats nothing by itself."""
        self.replies.clear()
        sounds = await self.dial(list(self._last))
        if not sounds:
            return cases.Heard(cases.TRY_LATER, "", "")
        told = [reply for reply in self.replies if reply.receipt][-1]
        return cases.Heard(told.code, told.receipt, spelled(sounds))


@pytest.mark.parametrize("case", cases.CASES, ids=str)
async def test_the_twelve_cases_have_the_outcomes_of_every_channel(
    house: House, prompts: Path, case: cases.Case
) -> None:
    replies: list[Reply] = []

    async def take(counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        replies.append(reply := await take_turn(counter, talk, turn_id, said, raw))
        return reply

    async with menu(house.desk, prompts, take, Pace()) as port:

        async def dial(keys: list[str]) -> list[str]:
            return (await dialogue(port, keys, caller=PHONE)).sounds

        await cases.check(house, Caller(dial, replies), case)


async def test_a_call_is_spoken_answered_by_keys_and_ends(desk: Counter, prompts: Path) -> None:
    parts = {"account": Part(PartKind.DIGITS, "1000001")}
    take = Written(GREETED, Reply((Line(Say.ACCOUNT, parts), Line(Say.CONFIRM)), Ask(AskKind.CHOICE, (YES,))), GOODBYE)
    async with menu(desk, prompts, take) as port:
        heard = await dialogue(port, ["1000001#", "1"], caller=PHONE)

    assert take.said == [Said(SaidKind.BEGIN), Said(SaidKind.NUMBER, "1000001"), Said(SaidKind.CHOICE, "yes")]
    assert take.raw[:2] == ["", "1000001"]
    assert heard.sounds[:3] == ["say-greeting", "say-option-operator", "say-press-star"]
    assert heard.sounds[6:] == [
        *("say-account", "1000001", "say-confirm", "say-option-yes", "say-press", "1"),
        "say-goodbye",
    ]
    assert heard.next == "hangup"


async def test_each_call_is_a_talk_of_its_own_and_its_turns_are_numbered(desk: Counter, prompts: Path) -> None:
    take = Written(GREETED, GOODBYE, GREETED, GOODBYE)
    async with menu(desk, prompts, take) as port:
        for _ in range(2):
            await dialogue(port, ["1#"], caller=PHONE)

    first, _, second, _ = take.talks
    assert first.talk != second.talk
    assert PHONE[1:] not in first.talk
    assert take.turns == [f"{first.talk}/1", f"{first.talk}/2", f"{second.talk}/1", f"{second.talk}/2"]
    assert (first.channel, first.sender) == (Channel.VOICE, second.sender)


@pytest.mark.parametrize("caller", [PHONE, "+79161234567", "89161234567", "9161234567"])
async def test_a_caller_is_known_by_its_number_however_it_is_written(desk: Counter, prompts: Path, caller: str) -> None:
    take = Written(GOODBYE)
    async with menu(desk, prompts, take) as port:
        await dialogue(port, [], caller=caller)

    [talk] = take.talks
    assert talk.sender == desk.sender(Channel.VOICE, "+79161234567")
    assert (talk.contact, talk.address) == (ContactKind.PHONE, "+79161234567")


@pytest.mark.parametrize(
    ("caller", "shown"), [("", "0"), ("anonymous", "0"), ("101", "0"), (PHONE, "32"), (PHONE, "67")]
)
async def test_a_hidden_number_is_nobodys(desk: Counter, prompts: Path, caller: str, shown: str) -> None:
    take = Written(GOODBYE)
    async with menu(desk, prompts, take) as port:
        call = await Call.opened(port, caller, callingpres=shown)
        while await call.asked():
            await call.say("200 result=0")
        await call.close()

    [talk] = take.talks
    assert (talk.sender.digest, talk.contact, talk.address) == ("", None, "")


@pytest.mark.parametrize(
    ("keys", "kind", "text"),
    [
        ("1000001#", SaidKind.NUMBER, "1000001"),
        ("1000001", SaidKind.NUMBER, "1000001"),
        ("12#", SaidKind.NUMBER, "12"),
        ("12", SaidKind.NUMBER, "12"),
        ("#", SaidKind.NUMBER, ""),
        ("1*2#", SaidKind.NUMBER, "1*2"),
        ("12345678901234567890#", SaidKind.NUMBER, "12345678901234567890"),
        ("0#", SaidKind.NUMBER, "0"),
        ("0", SaidKind.CHOICE, "zero"),
        ("*", SaidKind.CHOICE, "operator"),
        (SILENT, SaidKind.SILENCE, ""),
    ],
)
async def test_keys_are_a_number_up_to_the_hash_a_pause_or_its_length(
    desk: Counter, prompts: Path, keys: str, kind: SaidKind, text: str
) -> None:
    assert (await said(desk, prompts, keys))[0] == Said(kind, text)


@pytest.mark.parametrize(
    ("key", "kind", "text"),
    [
        ("1", SaidKind.CHOICE, "yes"),
        ("7", SaidKind.NUMBER, "7"),
        ("*", SaidKind.NUMBER, "*"),
        ("#", SaidKind.NUMBER, ""),
        (SILENT, SaidKind.SILENCE, ""),
    ],
)
async def test_a_choice_is_one_key(desk: Counter, prompts: Path, key: str, kind: SaidKind, text: str) -> None:
    assert (await said(desk, prompts, key, CONFIRM))[0] == Said(kind, text)


async def test_keys_cut_a_question_short_and_count_but_never_the_last_words(desk: Counter, prompts: Path) -> None:
    take = Written(GREETED, GOODBYE)
    async with menu(desk, prompts, take) as port:
        call = await Call.opened(port, PHONE)
        heard: list[list[str]] = []
        replies = {"STREAM": f"200 result={ord('1')} endpos=800", "GET": "200 result=2"}
        while words := await call.asked():
            heard.append(words)
            await call.say(replies.get(words[0], "200 result=1"))
        await call.close()

    assert [words for words in heard if words[0] in ("STREAM", "GET", "WAIT")] == [
        ["STREAM", "FILE", str(prompts / "say-greeting"), "0123456789*"],
        ["GET", "DATA", "", "100", "6"],
        ["STREAM", "FILE", str(prompts / "say-goodbye"), ""],
    ]
    assert take.said[1] == Said(SaidKind.NUMBER, "12")


async def test_what_became_of_a_reading_is_heard_to_its_end_whatever_is_pressed(desk: Counter, prompts: Path) -> None:
    stored = Reply((Line(Say.ACCEPTED),), Ask(AskKind.CHOICE, (YES,)), "K7MT2222", "ACCEPTED")
    async with menu(desk, prompts, Written(stored, GOODBYE)) as port:
        call = await Call.opened(port, PHONE)
        asked = [words async for words in _answered(call, {"WAIT": f"200 result={ord('1')}"})]

    keys = {words[2].rpartition("/")[2]: words[3] for words in asked if words[0] == "STREAM"}
    assert keys["say-accepted"] == ""
    assert keys["say-option-yes"] == "0123456789*"


async def test_a_line_for_screens_is_left_out_and_the_question_is_still_heard(desk: Counter, prompts: Path) -> None:
    screen = Line(Say.NOTE, {"text": Part(PartKind.TEXT, "ул. Гражданская, 5")})
    _, heard = await said(desk, prompts, "1", Reply((screen, Line(Say.CONFIRM)), Ask(AskKind.CHOICE, (YES,))))

    assert heard.sounds[:2] == ["say-confirm", "say-option-yes"]


async def test_an_operator_is_asked_for_by_the_dialplan(desk: Counter, prompts: Path) -> None:
    async with menu(desk, prompts, Written(CONNECTING)) as port:
        heard = await dialogue(port, [])

    assert (heard.sounds, heard.next) == (["say-connecting"], "operator")


@pytest.mark.parametrize("keys", [[HANG_UP], ["1#", HANG_UP]])
async def test_the_dialogue_is_told_when_a_caller_hangs_up(desk: Counter, prompts: Path, keys: Sequence[str]) -> None:
    take = Written(GREETED, CONFIRM)
    async with menu(desk, prompts, take) as port:
        heard = await dialogue(port, keys)

    assert take.said[-1] == Said(SaidKind.LEFT)
    assert take.turns[-1].endswith(f"/{len(keys) + 1}")
    assert heard.next == ""


@pytest.mark.parametrize("at", ["ANSWER", "SET", "STREAM", "WAIT", "GET"])
@pytest.mark.parametrize("how", [["HANGUP", "200 result=-1"], ["200 result=-1"], ["511 dead"], []])
async def test_a_caller_may_hang_up_at_any_command(desk: Counter, prompts: Path, at: str, how: list[str]) -> None:
    take = Written(GREETED, CONFIRM)
    async with menu(desk, prompts, take) as port:
        call = await Call.opened(port, PHONE)
        replies = {"WAIT": [f"200 result={ord('1')}"], "CHANNEL": ["511 dead"]}
        while words := await call.asked():
            if words[0] != at:
                await call.say(*replies.get(words[0], ["200 result=0"]))
            elif how:
                await call.say(*how)
            else:
                break
        await call.close()
        await until(lambda: bool(take.said) and take.said[-1].kind is SaidKind.LEFT)

    assert SaidKind.CHOICE not in {each.kind for each in take.said}


async def test_a_recording_that_asterisk_lacks_is_no_hang_up_and_leads_to_the_operator(
    desk: Counter, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take = Written(GREETED)
    async with menu(desk, prompts, take) as port:
        call = await Call.opened(port, PHONE)
        answers = {"STREAM": "200 result=-1", "CHANNEL": "200 result=6"}
        asked = [words async for words in _answered(call, answers)]

    assert ["CHANNEL", "STATUS"] in asked
    assert not any("BELS_NEXT" in words for words in asked)
    assert "cannot do STREAM FILE" in caplog.text
    assert [each.kind for each in take.said] == [SaidKind.BEGIN]


async def test_a_slow_turn_is_bridged_after_a_while(desk: Counter, prompts: Path) -> None:
    async with menu(desk, prompts, Written(0.15, GREETED, GOODBYE)) as port:
        heard = await dialogue(port, ["1#"])

    assert heard.sounds[:2] == ["word-wait", "say-greeting"]
    assert heard.next == "hangup"


@pytest.mark.parametrize("fault", [5.0, TryLater("the database cannot be reached"), OSError("down")])
async def test_a_turn_that_cannot_be_taken_leaves_the_caller_to_the_dialplan(
    desk: Counter, prompts: Path, fault: float | Exception
) -> None:
    async with menu(
        desk, prompts, Written(GREETED, *([fault] if isinstance(fault, Exception) else [fault, CONFIRM]))
    ) as port:
        async with asyncio.timeout(2):
            heard = await dialogue(port, ["1000001#"])

    assert heard.next == ""
    assert heard.sounds[-1] in ("say-press", "0", "say-option-menu", "word-wait")


async def test_what_is_being_stored_is_stored_although_the_caller_hangs_up_meanwhile(
    desk: Counter, prompts: Path
) -> None:
    stored: list[str] = []

    async def take(counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        if said.kind is SaidKind.BEGIN:
            return CONFIRM
        await asyncio.sleep(0.15)
        stored.append(said.kind)
        return GOODBYE

    async with menu(desk, prompts, take) as port:
        call = await Call.opened(port, PHONE)
        answers = {"WAIT": f"200 result={ord('1')}"}
        async for words in _answered(call, answers):
            if words[0] == "STREAM" and words[2].endswith("word-wait"):
                break
        await call.close()
        await until(lambda: len(stored) == 2)

    assert stored == [SaidKind.CHOICE, SaidKind.LEFT]


async def test_more_calls_than_there_is_room_for_go_back_to_the_dialplan(desk: Counter, prompts: Path) -> None:
    take = Written(GREETED, GOODBYE)
    calls: set[asyncio.Task[None]] = set()
    async with fastagi(desk, "127.0.0.1", 0, prompts, take=take, calls_max=1, under_way=calls) as port:
        first = await Call.opened(port, PHONE)
        assert await first.asked() == ["ANSWER"]
        assert len(calls) == 1
        second = await Call.opened(port, PHONE)
        assert await second.asked() == []
        await second.close()
        await first.close()


async def test_a_call_has_its_time(desk: Counter, prompts: Path) -> None:
    take = Written(*([GREETED] * 90))
    pace = Pace(first_key_s=0.02, next_key_s=0.02, last_key_s=0.02, call_s_max=0.3)
    async with menu(desk, prompts, take, pace) as port:
        heard = await dialogue(port, [SILENT] * 100, playing_s=0.02)

    assert heard.next == ""
    assert take.said[-1] == Said(SaidKind.LEFT)


async def test_only_an_asterisk_of_ours_is_spoken_to(
    desk: Counter, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take = Written()
    async with fastagi(desk, "127.0.0.1", 0, prompts, take=take, peers=[ip_network("10.0.0.0/8")]) as port:
        call = await Call.opened(port, PHONE)
        assert await call.asked() == []
        await call.close()

    assert take.said == []
    assert "127.0.0.1" in caplog.text


async def test_what_is_no_asterisk_harms_nobody(desk: Counter, prompts: Path) -> None:
    take = Written(GREETED, GOODBYE)
    async with menu(desk, prompts, take) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert (await dialogue(port, ["1#"])).is_whole


async def test_the_menu_does_not_open_without_its_recordings(desk: Counter, tmp_path: Path) -> None:
    with pytest.raises(PromptsError, match=re.escape("say-greeting.wav: missing")):
        async with fastagi(desk, "127.0.0.1", 0, tmp_path, take=Written()):
            pass


async def test_nothing_of_a_caller_stands_in_the_log(
    desk: Counter, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bels")
    async with menu(desk, prompts, Written(GREETED, OSError("down"))) as port:
        await dialogue(port, ["1000001#"], caller=PHONE)

    assert "begins" in caplog.text
    assert PHONE[1:] not in caplog.text
    assert "1000001" not in caplog.text


async def test_a_hundred_call_at_once(desk: Counter, prompts: Path) -> None:
    async def take(counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        return {SaidKind.BEGIN: GREETED, SaidKind.NUMBER: CONFIRM}.get(said.kind, GOODBYE)

    async with menu(desk, prompts, take, Pace()) as port:
        led = await dialogues(port, [["1000001#", "1"]] * 100)

    assert (led.calls, led.whole, led.fillers) == (100, 100, 0)
    assert led.p50_ms <= led.p99_ms <= led.max_ms


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _answered(call: Call, answers: dict[str, str]) -> AsyncIterator[list[str]]:
    while words := await call.asked():
        yield words
        await call.say(answers.get(words[0], "200 result=0"))
    await call.close()
