"""Take one turn of a dialogue: find where it stands, step, keep the new state and the answer, whichever process it is."""

from __future__ import annotations

from bels.reception.counter import Counter
from bels.reception.dialogue.turns import Reply, Said, Talk


async def take_turn(counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
    """Take a turn; the same ``turn_id`` again hears the same reply, whatever happened since.

    ``raw`` is the turn as it came, sealed where it holds more than digits.

    :raises TryLater: nothing was stored: the same turn may come again.
    """
    raise NotImplementedError
