"""The voice menu over real calls: keys pressed at a real Asterisk, and what is heard, stored and handed over.

A call takes ten seconds and more, so all of them go on at once, before the first test looks at what became of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from bels.channels import prompts
from bels.channels.voice import Pace, fastagi
from bels.domain.terms import Channel
from bels.reception.counter import Counter
from bels.reception.dialogue.desk import desk_of
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import Reply, Said, Talk
from bels.reception.office import shipped_office
from tests.channels import cases
from tests.channels.cases import CASES, Case, journal_of
from tests.channels.house import House, opened_house
from tests.channels.test_voice import Caller, spelled
from tests.conftest import new_supplier
from tests.peers.asterisk import HANG_UP, SILENT, Asterisk, Heard, asterisk, need_asterisk
from tests.servers import free_port

pytestmark = pytest.mark.peer

PACE = Pace(first_key_s=2.0, next_key_s=1.0, last_key_s=0.5)
SPEED_WORDS_A_MINUTE = 900
PHONE, STRANGER = "79161234567", "79031112233"
STORED = "say-receipt"
NOT_NOW = "00:00-00:01,mon,1,jan"
OPEN, CLOSED = "2024-05-20T12:00", "2024-05-20T20:00"
UNAVAILABLE = "Playback word-unavailable"
OPERATOR = "Queue bels-operators,r,,,10"


@dataclass(slots=True)
class Menu:
    """A supplier of its own, whose voice menu stands at a port; ``replies`` are those of its dialogue, in order."""

    exchange: Asterisk
    house: House
    port: int = 0
    replies: list[Reply] = field(default_factory=list)

    async def take(self, counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        """Take a turn of the real dialogue, and keep its reply."""
        reply = await take_turn(counter, talk, turn_id, said, raw, desk=desk_of(counter, shipped_office()))
        self.replies.append(reply)
        return reply

    async def call(self, *keys: str, phone: str = STRANGER, sip: bool = False, office: str = "*,*,*,*") -> Heard:
        """Call the menu and press keys."""
        return await self.exchange.call(self.port, keys, phone=phone, sip=sip, office=office)

    async def readings(self, account: str) -> list[str]:
        """List the readings in an account's journal that came by telephone."""
        return [event for event in await journal_of(self.house, account) if event in ("ReadingAccepted", "ReadingHeld")]


@dataclass(slots=True)
class Stage:
    """What all calls need: the exchange, the recordings, a PostgreSQL to make suppliers in."""

    exchange: Asterisk
    prompts: Path
    postgres: str
    template: str
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def menu(self, *, at: str = OPEN) -> AsyncIterator[Menu]:
        """Open a supplier and its voice menu at a moment."""
        number = next(self._numbers)
        folder = self.folder / f"{number}"
        async with self._making:
            name = f"bels_test_asterisk_{number}"
            database = await asyncio.to_thread(new_supplier, self.postgres, self.template, name)
            house_opened = opened_house(database, folder, at=at)
            house = await house_opened.__aenter__()
        try:
            menu = Menu(self.exchange, house)
            async with fastagi(house.desk, "127.0.0.1", 0, self.prompts, take=menu.take, pace=PACE) as menu.port:
                yield menu
        finally:
            await house_opened.__aexit__(None, None, None)


def pressed(account: str, *values: str, confirm: str = "1", end: str = "say-menu") -> list[str]:
    """Give the keys of a whole call, pressed over the questions; its last words are heard, and it is hung up at ``end``."""
    return [f">{account}#", *(f">{value}#" for value in values), f">{confirm}", f"{end}>{HANG_UP}"]


async def _case(case: Case, stage: Stage) -> None:
    async with stage.menu() as menu:

        async def dial(keys: list[str]) -> list[str]:
            end = "say-ask-account" if case.account == "9999999" else "say-menu"
            over = [key if key == SILENT else f">{key}" for key in keys]
            heard = await menu.call(*over, f"{end}>{HANG_UP}")
            return heard.sounds if UNAVAILABLE not in heard.next else []

        await cases.check(menu.house, Caller(dial, menu.replies), case)


async def a_linked_caller_hears_the_previous_reading_and_what_the_new_one_means(stage: Stage) -> None:
    """Listen to everything, over SIP and RTP."""
    async with stage.menu() as menu:
        await menu.house.link("1000001", Channel.SMS, f"+{PHONE}")
        heard = await menu.call("1", "10385#", "say-confirm>1", f"say-menu>{HANG_UP}", phone=PHONE, sip=True)

        greeting = ["say-greeting", "say-choose-account", "say-option-account", "0001", "say-press", "1"]
        assert heard.sounds[: len(greeting)] == greeting
        assert heard.after("say-previous") == "10200"
        assert heard.after("say-used") == "185"
        assert await menu.readings("1000001") == ["ReadingAccepted"]
        assert spelled(heard.sounds) in [reply.receipt for reply in menu.replies]


async def three_zones_are_asked_in_the_order_of_the_display(stage: Stage) -> None:
    """Read T1, T2 and T3 of a «Матрица»."""
    async with stage.menu() as menu:
        await menu.house.link("1000002", Channel.VOICE, f"+{PHONE}")
        over = [f"say-ask-value>{value}#" for value in ("1570", "2100", "6200")]
        heard = await menu.call(">1", *over, "say-confirm>1", f"say-menu>{HANG_UP}", phone=PHONE)

        said = [heard.sounds[i : i + 3] for i, sound in enumerate(heard.sounds) if sound == "say-place-1"]
        assert said == [
            ["say-place-1", "1", "zone-night"],
            ["say-place-1", "2", "zone-peak"],
            ["say-place-1", "3", "zone-half_peak"],
        ]
        assert [heard.sounds[i + 1] for i, s in enumerate(heard.sounds) if s == "say-previous"] == [
            "1500",
            "2000",
            "6000",
        ]
        assert heard.after("zone-half_peak") == "6200"
        assert await menu.readings("1000002") == ["ReadingAccepted"]


async def a_hidden_number_may_submit_and_hears_no_consumption(stage: Stage) -> None:
    """Call anonymously."""
    async with stage.menu() as menu:
        await menu.house.link("1000001", Channel.VOICE, f"+{PHONE}")
        heard = await menu.call(*pressed("1000001", "10385"), phone="")

        assert await menu.readings("1000001") == ["ReadingAccepted"]
        assert not {"say-previous", "say-used", "10200", "185"} & set(heard.sounds)


async def hanging_up_before_the_confirmation_stores_nothing(stage: Stage) -> None:
    """Hang up at every step, once over what is said and once in the silence after it."""
    account, day, night = ">1000003#", ">3100#", ">1550#"
    calls = [
        [f">{HANG_UP}"],
        [HANG_UP],
        [account, f">{HANG_UP}"],
        [account, HANG_UP],
        [account, day, f">{HANG_UP}"],
        [account, day, HANG_UP],
        [account, day, night, f">{HANG_UP}"],
        [account, day, night, HANG_UP],
    ]
    async with stage.menu() as menu:
        before = await journal_of(menu.house, "1000003")
        heard = await asyncio.gather(*(menu.call(*keys) for keys in calls))

        assert [each.next for each in heard] == [[]] * len(calls)
        assert not any(STORED in each for each in heard)
        assert await journal_of(menu.house, "1000003") == before


async def hanging_up_after_the_confirmation_leaves_the_reading(stage: Stage) -> None:
    """Hang up while the receipt is read out."""
    async with stage.menu() as menu:
        await menu.call(*pressed("1000001", "10385", end="say-accepted"))

        assert await menu.readings("1000001") == ["ReadingAccepted"]


async def three_silences_end_with_goodbye(stage: Stage) -> None:
    """Say nothing."""
    async with stage.menu() as menu:
        heard = await menu.call(SILENT, SILENT, SILENT)

        assert heard.waits == 3
        assert heard.sounds[-1] == "say-goodbye"
        assert heard.next == ["Hangup"]


async def rubbish_is_answered_and_a_number_too_long_does_not_spill_into_the_next_question(stage: Stage) -> None:
    """Press too few digits, twenty of them, a hash and a star, then do it right."""
    async with stage.menu() as menu:
        wrong_account, wrong_value = await asyncio.gather(
            menu.call(">12#", ">12345678901234567890#", ">1000001#", f"say-ask-value>{HANG_UP}"),
            menu.call(">1000001#", ">12345678901234567890#", "#", ">10385#", f"say-confirm>{HANG_UP}"),
        )

        assert wrong_account.sounds.count("say-seven-digits") == 2
        assert "say-account-ends" in wrong_account
        assert "say-too-many-digits" in wrong_value
        assert wrong_value.after("zone-total") == "10385"
        assert await menu.readings("1000001") == []


async def two_who_call_for_one_account_at_once_give_one_reading(stage: Stage) -> None:
    """Call twice at the same moment."""
    async with stage.menu() as menu:
        first, second = await asyncio.gather(
            *(menu.call(*pressed("1000001", "10385"), phone=phone) for phone in (PHONE, STRANGER))
        )

        assert spelled(first.sounds) == spelled(second.sounds) != ""
        assert {"say-accepted", "say-repeated"} <= {*first.sounds, *second.sounds}
        assert await menu.readings("1000001") == ["ReadingAccepted"]


async def without_bels_a_caller_hears_so_and_gets_the_operator_in_office_hours(stage: Stage) -> None:
    """Call where nobody listens."""
    nobody = free_port()
    in_hours, out_of_hours = await asyncio.gather(
        stage.exchange.call(nobody, [], phone=PHONE), stage.exchange.call(nobody, [], phone=PHONE, office=NOT_NOW)
    )

    assert (in_hours.sounds, in_hours.next) == ([], [UNAVAILABLE, OPERATOR])
    assert (out_of_hours.sounds, out_of_hours.next) == ([], [UNAVAILABLE, "Hangup"])


async def when_bels_stops_in_the_middle_of_a_call_the_caller_is_not_left_alone(stage: Stage) -> None:
    """Stop bels while it waits for a key."""
    async with stage.menu() as menu:
        async with fastagi(menu.house.desk, "127.0.0.1", 0, stage.prompts, take=menu.take) as port:
            call = asyncio.create_task(stage.exchange.call(port, [">1000001#", SILENT], phone=PHONE))
            async with asyncio.timeout(30):
                while len(menu.replies) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        heard = await call

    assert "say-account-ends" in heard
    assert heard.next == [UNAVAILABLE, OPERATOR]


async def a_slow_database_is_bridged_and_a_stuck_one_leads_to_the_operator(stage: Stage) -> None:
    """Hold the table of dialogues for two seconds, then for longer than anybody waits."""
    async with stage.menu() as menu:
        assert menu.house.bels is not None

        async def held(seconds: float, call: asyncio.Task[Heard]) -> Heard:
            assert menu.house.bels is not None
            db = await asyncpg.connect(menu.house.bels.url)
            try:
                async with db.transaction():
                    await db.execute("LOCK TABLE dialogue IN ACCESS EXCLUSIVE MODE")
                    await asyncio.wait({call}, timeout=seconds)
            finally:
                await db.close()
            return await call

        slow = await held(2.5, asyncio.create_task(menu.call(HANG_UP, phone=PHONE)))
        stuck = await held(30, asyncio.create_task(menu.call(HANG_UP, phone=PHONE)))

    assert slow.sounds[:2] == ["word-wait", "say-greeting"]
    assert (stuck.sounds, stuck.next) == (["word-wait"], [UNAVAILABLE, OPERATOR])


async def an_operator_is_reached_in_office_hours(stage: Stage) -> None:
    """Ask for the operator where the office is open."""
    async with stage.menu() as menu:
        heard = await menu.call(">0")

        assert heard.sounds[-1] == "say-connecting"
        assert heard.next == [OPERATOR]
        [waiting] = await menu.house.desk.pool.fetch("SELECT channel, reason FROM hand_over")
        assert tuple(waiting) == ("voice", "ASKED")


async def out_of_office_hours_a_caller_hears_when_somebody_answers(stage: Stage) -> None:
    """Ask for the operator where the office is closed."""
    async with stage.menu(at=CLOSED) as menu:
        heard = await menu.call(">0")

        assert heard.after("say-opens-1") == "day-21"
        assert heard.sounds[-1] == "say-goodbye"
        assert heard.next == ["Hangup"]


Scenario = Callable[[Stage], Awaitable[None]]

SCENARIOS: dict[str, Scenario] = {
    **{
        scenario.__name__: scenario
        for scenario in (
            a_linked_caller_hears_the_previous_reading_and_what_the_new_one_means,
            rubbish_is_answered_and_a_number_too_long_does_not_spill_into_the_next_question,
            a_slow_database_is_bridged_and_a_stuck_one_leads_to_the_operator,
            three_zones_are_asked_in_the_order_of_the_display,
            a_hidden_number_may_submit_and_hears_no_consumption,
            hanging_up_before_the_confirmation_stores_nothing,
            hanging_up_after_the_confirmation_leaves_the_reading,
            three_silences_end_with_goodbye,
            two_who_call_for_one_account_at_once_give_one_reading,
            without_bels_a_caller_hears_so_and_gets_the_operator_in_office_hours,
            when_bels_stops_in_the_middle_of_a_call_the_caller_is_not_left_alone,
            an_operator_is_reached_in_office_hours,
            out_of_office_hours_a_caller_hears_when_somebody_answers,
        )
    },
    **{str(case): partial(_case, case) for case in CASES},
}
"""All of them, those with the longest calls first."""


@pytest.fixture(scope="module")
def stage(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run Asterisk with recordings that a machine has spoken, fast."""
    need_asterisk()

    folder = tmp_path_factory.mktemp("prompts")
    prompts.speak(folder, words_a_minute=SPEED_WORDS_A_MINUTE)
    with asterisk(tmp_path_factory.mktemp("asterisk"), folder) as exchange:
        yield Stage(exchange, folder, postgres, template, tmp_path_factory.mktemp("bels"))


@pytest.fixture(scope="module")
async def played(stage: Stage, request: pytest.FixtureRequest) -> dict[str, BaseException | None]:
    """Play every scenario that a test of this run asks for, all at once; give what went wrong in each."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    wanted = [name for name in SCENARIOS if name in asked]
    async with stage.exchange.listening():
        ended = await asyncio.gather(*(SCENARIOS[name](stage) for name in wanted), return_exceptions=True)
    return dict(zip(wanted, ended, strict=True))


@pytest.mark.parametrize("name", SCENARIOS)
def test_over_the_telephone(name: str, played: dict[str, BaseException | None]) -> None:
    error = played[name]
    if error is not None:
        raise error


def test_asterisk_has_every_recording_and_every_digit(played: dict[str, BaseException | None], stage: Stage) -> None:
    log = stage.exchange.log()

    assert "does not exist" not in log
    assert "Playing" in log
    with suppress(KeyError):
        assert played["an_operator_is_reached_in_office_hours"] is None
        assert "Local/1@operators" in log
