"""People in chats: the twelve cases typed and tapped, and a webhook of bels over real HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from re import compile as pattern
from typing import Any, Protocol

import msgspec

from bels.domain.terms import Register
from bels.reception.dialogue.turns import Reply
from tests.channels.cases import CASES, TRY_LATER, Case, Heard
from tests.channels.house import House

WRONG_ANSWERS = 5
"""More than a dialogue listens to."""

_RECEIPT = pattern(r"Номер сообщения ([2-9A-Z]{8})")
_reply = msgspec.json.Decoder(Reply).decode


def receipt_in(text: str) -> str:
    """Find the receipt in what a bot said."""
    found = _RECEIPT.search(text)
    assert found is not None, text
    return found.group(1)


class Spoken(Protocol):
    """What a bot said."""

    @property
    def text(self) -> str: ...

    @property
    def buttons(self) -> tuple[tuple[str, str], ...]: ...


class Chatter(Protocol):
    """Somebody in a chat; None: the webhook did not take it."""

    @property
    def turn_id(self) -> str: ...

    async def begin(self, payload: str = "") -> Sequence[Spoken] | None: ...

    async def say(self, text: str, **more: Any) -> Sequence[Spoken] | None: ...

    async def tap(self, data: str) -> Sequence[Spoken] | None: ...

    async def again(self) -> Sequence[Spoken] | None: ...


@dataclass(slots=True)
class InAChat:
    """Sends readings as a person does: typed whole where ``typed``, else step by step with buttons."""

    person: Chatter
    typed: bool
    heard: list[str] = field(default_factory=list)
    _waiting: list[tuple[str, str]] = field(default_factory=list)

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Talk until a receipt is told."""
        if text is not None:
            self._waiting = [("say", text)] * WRONG_ANSWERS
        elif self.typed and meter is None:
            self._waiting = [("say", "#".join((account, *values.values())))]
        else:
            named = [("tap", "meter"), ("say", meter)] if meter is not None else []
            self._waiting = [("say", account), *named, *(("say", value) for value in values.values())]
        self._waiting.insert(0, ("begin", ""))
        return await self._go_on(house, await self._next())

    async def again(self, house: House) -> Heard:
        """Let the messenger bring the last update once more, and go on from there."""
        return await self._go_on(house, await self.person.again(), again=True)

    async def _next(self) -> Sequence[Spoken] | None:
        how, what = self._waiting.pop(0)
        said: Sequence[Spoken] | None = await getattr(self.person, how)(what)
        return said

    async def _go_on(self, house: House, said: Sequence[Spoken] | None, *, again: bool = False) -> Heard:
        while True:
            if said is None:
                return Heard(TRY_LATER, "", "")
            reply = await self.reply(house)
            words = "\n".join(each.text for each in said) or (self.heard[-1] if again and self.heard else "")
            self.heard.append(words)
            if reply.receipt:
                return Heard(reply.code, reply.receipt, words)
            again = False
            yes = [data for each in said for _, data in each.buttons if data.startswith("yes.")]
            if yes:
                self._waiting = [("say", "да") if self.typed else ("tap", yes[0])]
            said = await self._next()

    async def reply(self, house: House) -> Reply:
        """Read what the dialogue answered to the last turn: the code is not among the words."""
        text = await house.desk.pool.fetchval("SELECT reply FROM turn WHERE turn_id = $1", self.person.turn_id)
        return _reply(text)


CASES_BY_BUTTONS: tuple[Case, ...] = tuple(case for case in CASES if case.number not in (8, 11))
"""Whoever is asked register by register names neither too few of them nor rubbish."""
