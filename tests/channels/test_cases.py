"""The twelve cases at the counter itself, and through the dialogue, keyed and typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest

from bels.domain.commands import SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.terms import Channel, Reason, Register
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.reception.counter import take
from bels.reception.dialogue.sending import TRIES_MAX
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import AskKind, Said, SaidKind, Talk
from bels.reception.dialogue.writing import written_reply
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check
from tests.channels.house import House

PHONE = "+79161234567"


@dataclass(slots=True)
class AtTheCounter:
    """Hands commands in, as a channel with fields does."""

    _ids: count[int] = field(default_factory=count)
    _last: tuple[str, str, SubmitReading | ReadingRefused] | None = None

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Hand a reading in."""
        command: SubmitReading | ReadingRefused = SubmitReading(
            house.at, {register.value: value for register, value in values.items()}, meter=meter
        )
        if text is not None:
            command = ReadingRefused(Reason.NOT_UNDERSTOOD, house.at, {})
        self._last = (f"case {next(self._ids)}", account, command)
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Hand the last one in again."""
        assert self._last is not None
        message_id, account, command = self._last
        try:
            sender = house.desk.sender(Channel.SMS, PHONE)
            answer = await take(house.desk, sender, message_id, account, command, repr(command.values))
        except (TryLater, *UNAVAILABLE):
            return Heard(TRY_LATER, "", "")
        words = f"{answer.words.text} №{answer.outcome.receipt}. {answer.words.hint}"
        return Heard(answer.code, answer.outcome.receipt, words)


@dataclass(slots=True)
class InATalk:
    """Answers whatever the dialogue asks, until a message was taken or the talk is over; ``again`` repeats from the turn that failed."""

    typed: bool
    talk: Talk | None = None
    heard: list[str] = field(default_factory=list)
    _calls: count[int] = field(default_factory=count)
    _waiting: list[Said] = field(default_factory=list)
    _turn: int = 0

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Talk until a receipt is told."""
        self._turn += 1
        channel = Channel.TELEGRAM if self.typed else Channel.VOICE
        if not self.typed or self.talk is None:
            name = f"{'chat' if self.typed else 'call'}-{next(self._calls)}"
            self.talk = Talk(channel, name, house.desk.sender(channel, PHONE))
        kind = SaidKind.TEXT if self.typed else SaidKind.NUMBER
        if text is not None:
            self._waiting = [Said(SaidKind.TEXT, text) if self.typed else Said(kind, "*")] * TRIES_MAX
        elif self.typed and meter is None:
            self._waiting = [Said(kind, "#".join((account, *values.values())))]
        else:
            numbers = [account, *(("*", meter if self.typed else _keyed(meter)) if meter is not None else ())]
            self._waiting = [Said(kind, number) for number in (*numbers, *values.values())]
        self._waiting.insert(0, Said(SaidKind.BEGIN))
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Go on with the turn that was not answered; after the last one, take it once more."""
        assert self.talk is not None
        while True:
            said = self._waiting[0] if self._waiting else Said(SaidKind.SILENCE)
            try:
                reply = await take_turn(house.desk, self.talk, f"turn {self._turn}", said, said.text)
            except TryLater:
                return Heard(TRY_LATER, "", "")
            if reply.receipt:
                return Heard(reply.code, reply.receipt, written_reply(reply))
            assert reply.ask.kind is not AskKind.NOTHING, written_reply(reply)
            self._turn += 1
            del self._waiting[:1]
            if any(option.key.startswith("yes.") for option in reply.ask.options):
                yes = reply.ask.options[0]
                self._waiting = [Said(SaidKind.CHOICE, yes.key) if self.typed else Said(SaidKind.NUMBER, yes.digit)]


def _keyed(number: str) -> str:
    return "".join(c for c in number if c.isdigit())


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_at_the_counter(house: House, case: Case) -> None:
    await check(house, AtTheCounter(), case)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("typed", [False, True], ids=["keyed", "typed"])
async def test_the_twelve_cases_in_the_dialogue(house: House, case: Case, typed: bool) -> None:
    await check(house, InATalk(typed), case)
