"""Somebody who talks: by keys as on a telephone, or by typing and tapping as in a chat."""

from __future__ import annotations

from dataclasses import dataclass, field

from bels.access.personal import ContactKind
from bels.domain.terms import Channel
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import AskKind, Reply, Said, SaidKind, Talk
from bels.reception.dialogue.writing import written_reply
from tests.channels.house import House

PHONE, STRANGER = "+79161234567", "+79031112233"


@dataclass(slots=True)
class Speaker:
    """One talk of somebody; ``reply`` is what was heard last, ``turns`` how many there were."""

    house: House
    talk: Talk
    desk: Desk = field(default_factory=Desk)
    turns: int = 0
    reply: Reply | None = None

    async def says(self, kind: SaidKind, text: str = "", *, turn_id: str | None = None) -> str:
        """Take a turn, and give what is answered as it is written."""
        self.turns += 1
        said = Said(kind, text)
        name = turn_id or f"turn {self.turns}"
        self.reply = await take_turn(self.house.desk, self.talk, name, said, text, desk=self.desk)
        return written_reply(self.reply)

    async def begins(self, text: str = "") -> str:
        """Call, or open the chat."""
        return await self.says(SaidKind.BEGIN, text)

    async def keys(self, *numbers: str) -> str:
        """Press keys, question by question."""
        heard = ""
        for number in numbers:
            heard = await self.says(SaidKind.NUMBER, number)
        return heard

    async def types(self, text: str) -> str:
        """Type a text."""
        return await self.says(SaidKind.TEXT, text)

    async def taps(self, key: str) -> str:
        """Tap a button, by the beginning of its key."""
        whole = next((option.key for option in self.heard.ask.options if option.key.startswith(key)), key)
        return await self.says(SaidKind.CHOICE, whole)

    @property
    def heard(self) -> Reply:
        """The last reply."""
        assert self.reply is not None
        return self.reply

    @property
    def is_over(self) -> bool:
        """The talk has come to its end."""
        return self.heard.ask.kind is AskKind.NOTHING


def caller(house: House, phone: str = PHONE, call: str = "call-1", desk: Desk | None = None) -> Speaker:
    """Call by telephone; "" hides the number."""
    sender = house.desk.sender(Channel.VOICE, phone)
    contact = ContactKind.PHONE if phone else None
    return Speaker(house, Talk(Channel.VOICE, call, sender, contact, phone), desk or Desk())


def chat(house: House, person: str = "700100", desk: Desk | None = None) -> Speaker:
    """Open a chat."""
    sender = house.desk.sender(Channel.TELEGRAM, person)
    return Speaker(house, Talk(Channel.TELEGRAM, f"chat-{sender.digest}", sender), desk or Desk())
