"""Take one turn of a dialogue: find where it stands, step, keep the new situation and the answer, whichever process it is.

No lock and no connection is held while a step hands its message in. Two who step at once meet in the version of the dialogue: the
second reads again and steps anew, and what both have handed in has the same name, so it was taken once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from bels.domain.periods import moscow_date
from bels.journal.faults import CONFLICT, UNAVAILABLE
from bels.journal.write import Db
from bels.messages import TryLater, digest
from bels.reception.counter import Counter
from bels.reception.dialogue.asking import NOTHING, ask_of, question
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.sending import Step, Turn, account_of
from bels.reception.dialogue.standing import Over, Standing, decoded, encoded
from bels.reception.dialogue.steps import step
from bels.reception.dialogue.turns import Line, Reply, Said, Talk
from bels.reception.grammar import LENGTH_MAX

BEGINS_ANEW_AFTER = timedelta(hours=24)
"""A dialogue that nobody continued for so long begins anew."""

TURNS_KEPT = timedelta(days=90)
TURNS_A_DAY = 300
"""Turns of one talk in a day; whoever has more hears so, and nothing is kept of them."""

TALK_LENGTH_MAX = 100
TURN_ID_LENGTH_MAX = 90
"""A longer name of a turn, or one with other signs than ASCII, is kept as its digest: it is a part of a message's name."""

RAW_LENGTH_MAX = 8_000
ATTEMPTS_MAX = 8
"""Attempts at a turn that meets others of its talk, before the channel is asked to try later."""

FORGOTTEN_AT_ONCE_MAX = 10_000

_reply = msgspec.json.Decoder(Reply).decode

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is kept of a talk: its version (0: none), where it stands, and the answer to this turn if it came before."""

    version: int
    standing: Standing
    content: bytes | None
    reply: str | None


async def take_turn(
    counter: Counter,
    talk: Talk,
    turn_id: str,
    said: Said,
    raw: str,
    *,
    desk: Desk | None = None,
    request_id: str = "",
) -> Reply:
    """Take a turn; the same ``turn_id`` of a talk again hears the same reply, whatever happened since.

    ``raw`` is the turn as it came, sealed where it holds more than digits. ``desk`` is what others tell the dialogue.

    :raises TryLater: nothing was stored: the same turn may come again.
    :raises ValueError: the talk is not named by 1 to 100 printable ASCII characters, or the turn not at all.
    """
    if not 0 < len(talk.talk) <= TALK_LENGTH_MAX or not _is_plain(talk.talk) or not turn_id:
        raise ValueError(f"a talk is named by 1 to {TALK_LENGTH_MAX} ASCII characters, and a turn has a name")
    if len(turn_id) > TURN_ID_LENGTH_MAX or not _is_plain(turn_id):
        turn_id = f"~{digest(turn_id).hex()}"
    said = Said(said.kind, _plain(said.text)[: LENGTH_MAX + 1])
    raw = counter.door.raw_texts.kept(_plain(raw)[:RAW_LENGTH_MAX])
    try:
        for _ in range(ATTEMPTS_MAX):
            reply = await _attempt(counter, talk, turn_id, said, raw, desk or Desk(), request_id)
            if reply is not None:
                return reply
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    raise TryLater("too many turns of one talk at once")


async def account_of_talk(counter: Counter, talk: Talk) -> str:
    """Say which account a talk is about now, "" where none was named or nobody talks.

    :raises TryLater: the database cannot be reached.
    """
    try:
        return account_of((await _find(counter, talk, "")).standing.situation)
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error


async def forget_dialogues(db: Db, before: datetime) -> int:
    """Forget the turns before a moment and the dialogues that nobody continued since; gives how many turns went.

    Call it until it gives 0: so many go at once that nobody has to wait for them.
    """
    await db.execute(
        """
        DELETE FROM dialogue WHERE (channel, talk) IN
            (SELECT channel, talk FROM dialogue WHERE changed_at < $1 ORDER BY changed_at LIMIT $2)
        """,
        before,
        FORGOTTEN_AT_ONCE_MAX,
    )
    gone = await db.execute(
        """
        DELETE FROM turn WHERE (channel, talk, turn_id) IN
            (SELECT channel, talk, turn_id FROM turn WHERE received_at < $1 ORDER BY received_at LIMIT $2)
        """,
        before,
        FORGOTTEN_AT_ONCE_MAX,
    )
    return int(gone.rpartition(" ")[2])


async def _attempt(
    counter: Counter, talk: Talk, turn_id: str, said: Said, raw: str, desk: Desk, request_id: str
) -> Reply | None:
    """Read, step, write: once. None where another turn of the talk was first."""
    content = digest(f"{said.kind}\n{said.text}")
    found = await _find(counter, talk, turn_id)
    if found.reply is not None:
        if found.content != content:
            log.warning("a turn on %s came again with another content: its first answer stands", talk.channel.value)
        return _answered_before(found.reply)
    today = moscow_date(counter.now())
    turns = found.standing.turns + 1 if found.standing.day == today else 1
    if turns > TURNS_A_DAY:
        log.warning("a talk on %s had %d turns today", talk.channel.value, TURNS_A_DAY)
        return Reply((Line(Say.TOO_MANY_MESSAGES),), NOTHING)
    before = found.standing.situation
    led = await step(Turn(counter, talk, desk, turn_id, raw, found.standing, request_id), before, said)
    standing = replace_standing(found.standing, led)
    reply = _replied(led, desk)
    if await _keep(
        counter,
        talk,
        turn_id,
        found.version,
        msgspec.structs.replace(standing, day=today, turns=turns),
        content,
        raw,
        reply,
    ):
        return reply
    return None


def replace_standing(standing: Standing, led: Step) -> Standing:
    """Give where a talk stands after a step."""
    before, now = account_of(standing.situation), account_of(led.at)
    photos = standing.photos if led.keeps is None else led.keeps
    # A photo of one account's display is no evidence for another's.
    if led.keeps is None and before and now != before:
        photos = ()
    return msgspec.structs.replace(standing, situation=led.at, photos=photos, sent=led.sent or standing.sent)


def _replied(led: Step, desk: Desk) -> Reply:
    ask = led.ask or ask_of(led.at, desk)
    return Reply(
        (*led.lines, *question(led.at)), ask, led.receipt, led.code, led.account or account_of(led.at), led.photos
    )


def _answered_before(text: str) -> Reply:
    try:
        return _reply(text)
    except msgspec.MsgspecError:
        # An older program said what this one has no words for.
        return Reply((Line(Say.STALE),), NOTHING)


async def _find(counter: Counter, talk: Talk, turn_id: str) -> _Found:
    async with counter.pool.acquire() as db:
        (row,) = await db.fetch(
            """
            SELECT version, state, changed_at, content, reply
            FROM (VALUES ($1::text, $2::text)) AS asked (channel, talk)
            LEFT JOIN dialogue USING (channel, talk)
            LEFT JOIN turn ON turn.channel = asked.channel AND turn.talk = asked.talk AND turn.turn_id = $3
            """,
            talk.channel.value,
            talk.talk,
            turn_id,
        )
    new = Standing(talk.sender.digest, Over())
    if row["version"] is None:
        return _Found(0, new, row["content"], row["reply"])
    standing = decoded(row["state"], talk.sender.digest) or new
    if counter.now() - row["changed_at"] > BEGINS_ANEW_AFTER:
        standing = msgspec.structs.replace(standing, situation=Over(), photos=())
    return _Found(row["version"], standing, row["content"], row["reply"])


async def _keep(
    counter: Counter,
    talk: Talk,
    turn_id: str,
    version: int,
    standing: Standing,
    content: bytes,
    raw: str,
    reply: Reply,
) -> bool:
    """Write the situation and the turn together; False where another was first."""
    try:
        async with counter.pool.acquire() as db:
            kept = await db.execute(
                """
                WITH moved AS (
                    INSERT INTO dialogue (channel, talk, version, state, changed_at)
                    VALUES ($1, $2, $4 + 1, $5, $6)
                    ON CONFLICT (channel, talk) DO UPDATE SET
                        version = excluded.version, state = excluded.state, changed_at = excluded.changed_at
                    WHERE dialogue.version = $4
                    RETURNING channel, talk
                )
                INSERT INTO turn (channel, talk, turn_id, content, raw, reply, received_at)
                SELECT channel, talk, $3, $7, $8, $9, $6 FROM moved
                """,
                talk.channel.value,
                talk.talk,
                turn_id,
                version,
                encoded(standing),
                counter.now(),
                content,
                raw,
                msgspec.json.encode(reply).decode(),
            )
    except CONFLICT:
        return False
    return bool(kept.endswith(" 1"))


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable()


def _plain(text: str) -> str:
    # PostgreSQL's text knows neither NUL nor lone surrogates.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", " ")
