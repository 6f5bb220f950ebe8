"""The voice menu: the dialogue spoken over calls that Asterisk hands over by FastAGI (channels 4).

Every call is a talk of its own. A reply is recordings and digits; keys cut it short unless it is the last one. The dialplan
sets BELS_NEXT to ``unavailable`` before it comes here: it stays so unless the dialogue came to its end, so a caller is never
left without a word, whatever happened to us.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from logging import getLogger
from pathlib import Path
from secrets import token_hex
from typing import assert_never

from bels.access.personal import ContactKind, PersonalDataError, phone_of
from bels.channels.fastagi import LINE_BYTES_MAX, LINE_IS_UP, Agi, AgiError, HungUp, Result
from bels.channels.prompts import WAIT, Digits, Play, PromptsError, Sound, offered, spoken, wrong
from bels.domain.terms import Channel
from bels.messages import TryLater
from bels.reception.counter import Counter
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import Ask, AskKind, Reply, Said, SaidKind, Talk

CALLS_MAX = 200
TURNS_MAX = 100
KEYS_MAX = 40
DIGITS_MAX = 20
"""Digits of a number whose question names no limit."""

FAULTS_SHOWN_MAX = 5
STOP_S_MAX = 2.0
LOOPBACK: tuple[IPv4Network | IPv6Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))

NEXT = "BELS_NEXT"
"""The channel variable by which the dialplan knows what comes after us."""

HANG_UP, OPERATOR = "hangup", "operator"

_KEYS = "0123456789*"
_HIDDEN = 0x60
"""The bits of a caller's presentation (Q.951): restricted, or not available."""

TakeTurn = Callable[[Counter, Talk, str, Said, str], Awaitable[Reply]]

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long is waited for whom, in seconds.

    ``first_key_s`` for the first key after a question, ``next_key_s`` between two, ``last_key_s`` for the # that people press
    after a number that is full already. A turn that takes ``filler_s`` is bridged by a recording, one of ``turn_s_max`` is
    given up.
    """

    first_key_s: float = 7.0
    next_key_s: float = 4.0
    last_key_s: float = 1.0
    filler_s: float = 1.0
    turn_s_max: float = 5.0
    call_s_max: float = 600.0


class Unavailable(Exception):
    """The dialogue cannot go on, and not because of the caller."""


@asynccontextmanager
async def fastagi(
    counter: Counter,
    host: str,
    port: int,
    prompts: Path,
    *,
    peers: Collection[IPv4Network | IPv6Network] = LOOPBACK,
    take: TakeTurn = take_turn,
    pace: Pace = Pace(),
    calls_max: int = CALLS_MAX,
    drain_s: float = 0.0,
    shared: bool = False,
    under_way: set[asyncio.Task[None]] | None = None,
) -> AsyncIterator[int]:
    """Serve the voice menu to Asterisk while the context is open, and give the port; 0 takes a free one.

    ``prompts`` is the folder of the recordings, which Asterisk finds under the same path. Only an Asterisk in one of the
    networks ``peers`` is spoken to: whoever connects may name any phone as the caller's. ``take`` takes a turn of the dialogue.
    Calls may end for ``drain_s`` after the context is left; what lasts longer is given back to the dialplan. ``shared``: other
    processes of ours listen there too. ``under_way``: the set in which the calls stand while they last.

    :raises PromptsError: a recording is missing or another one than is needed.
    :raises OSError: the port cannot be listened on.
    """
    folder = await asyncio.to_thread(_usable, prompts)
    board = _Switchboard(
        counter, folder, tuple(peers), take, pace, calls_max, set() if under_way is None else under_way
    )
    server = await asyncio.start_server(board.connected, host, port, limit=LINE_BYTES_MAX, reuse_port=shared or None)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await board.stop(drain_s)


@dataclass(slots=True)
class _Switchboard:
    """What all calls share."""

    counter: Counter
    prompts: Path
    peers: tuple[IPv4Network | IPv6Network, ...]
    take: TakeTurn
    pace: Pace
    calls_max: int
    calls: set[asyncio.Task[None]]
    turns: set[asyncio.Task[Reply]] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection, which is one call."""
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        try:
            if not self._is_ours(peer):
                log.warning("a call from %s is not taken: it is no Asterisk of ours (BELS_AGI_PEERS)", peer)
            elif len(self.calls) >= self.calls_max:
                log.warning("a call is not taken: there are %d already", len(self.calls))
            else:
                self.calls.add(task)
                await self._taken(reader, writer, peer)
        except (AgiError, HungUp) as error:
            log.warning("a connection from %s is dropped: %s", peer, error)
        except asyncio.CancelledError:
            # We stop, and nobody waits for this task: the dialplan goes on with the call.
            log.info("a call from %s is given back: bels stops", peer)
        finally:
            self.calls.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        agi = await Agi.accepted(reader, writer)
        # A call's id at Asterisk comes again after its restart, or when a dialplan calls us twice in one call.
        name = f"{peer} {agi.variables.get('uniqueid', '')} {token_hex(8)}"
        talk = blake2b(name.encode(), digest_size=16).hexdigest()
        log.info("call %s begins (%s)", talk, agi.variables.get("uniqueid", "")[:40])
        call = _Call(self, agi, _talk(self.counter, talk, agi.variables))
        try:
            async with asyncio.timeout(self.pace.call_s_max):
                await call.run()
        except HungUp:
            log.info("call %s is hung up in turn %d", talk, call.turns)
            await call.leave()
        except TimeoutError:
            log.warning("call %s is ended after %d s", talk, self.pace.call_s_max)
            await call.leave()
        except (Unavailable, AgiError) as error:
            log.warning("call %s cannot go on in turn %d: %s", talk, call.turns, error)
        else:
            log.info("call %s ends after turn %d", talk, call.turns)

    def _is_ours(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        # On a socket for both families an IPv4 address looks so.
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self.peers)

    async def stop(self, drain_s: float) -> None:
        """Let calls end for a while, give the others back to the dialplan, and let turns that are being taken end."""
        if self.calls and drain_s:
            await asyncio.wait(self.calls, timeout=drain_s)
        for call in tuple(self.calls):
            call.cancel()
        if left := {*self.calls, *self.turns}:
            await asyncio.wait(left, timeout=STOP_S_MAX)


@dataclass(slots=True)
class _Call:
    """One call, turn by turn."""

    board: _Switchboard
    agi: Agi
    talk: Talk
    turns: int = 0

    async def run(self) -> None:
        """Talk to the end.

        :raises HungUp: the caller has left.
        :raises Unavailable: it cannot go on.
        :raises AgiError: Asterisk did not understand.
        """
        await self._asked("ANSWER")
        await self._asked("SET", "VARIABLE", "CHANNEL(language)", "ru")
        said = Said(SaidKind.BEGIN)
        while self.turns < TURNS_MAX:
            reply = await self._turn(said)
            key = await self._speak(reply)
            match reply.ask.kind:
                case AskKind.NUMBER:
                    said = await self._number(reply.ask, key)
                case AskKind.CHOICE:
                    said = await self._choice(reply.ask, key)
                case AskKind.NOTHING:
                    await self.agi.ask("SET", "VARIABLE", NEXT, HANG_UP)
                    return
                case AskKind.OPERATOR:
                    await self.agi.ask("SET", "VARIABLE", NEXT, OPERATOR)
                    return
                case _ as never:
                    assert_never(never)
        raise Unavailable("too many turns")

    async def leave(self) -> None:
        """Tell the dialogue that the caller has left."""
        try:
            await self._take(Said(SaidKind.LEFT))
        except Unavailable as error:
            log.warning("call %s: the dialogue is not told of the end: %s", self.talk.talk, error)

    async def _turn(self, said: Said) -> Reply:
        """Take a turn, bridging a slow one by a recording; what is being stored is stored to its end, also for nobody."""
        turn = asyncio.ensure_future(self._take(said))
        turn.add_done_callback(_look_away)
        try:
            await asyncio.wait({turn}, timeout=self.board.pace.filler_s)
            if not turn.done():
                await self._sound(Play(WAIT), "")
        finally:
            await asyncio.wait({turn})
        return turn.result()

    async def _take(self, said: Said) -> Reply:
        self.turns += 1
        turn_id, raw = f"{self.talk.talk}/{self.turns}", self.board.counter.door.raw_texts.kept(said.text)
        turn = asyncio.ensure_future(self.board.take(self.board.counter, self.talk, turn_id, said, raw))
        self.board.turns.add(turn)
        turn.add_done_callback(self.board.turns.discard)
        turn.add_done_callback(_look_away)
        done, _ = await asyncio.wait({turn}, timeout=self.board.pace.turn_s_max)
        if not done:
            # Its end is not waited for: a database that hangs may hang while it is told to stop, too.
            turn.cancel()
            raise Unavailable("the turn takes too long")
        try:
            return turn.result()
        except TryLater as error:
            raise Unavailable(str(error)) from None
        except Exception as error:
            log.exception("call %s: turn %d failed", self.talk.talk, self.turns)
            raise Unavailable(type(error).__name__) from None

    async def _speak(self, reply: Reply) -> str:
        """Speak a reply; give the key that cut it short, or nothing. What became of a reading is always heard to its end."""
        keys = ""
        if reply.ask.kind in (AskKind.NUMBER, AskKind.CHOICE):
            # A # ends what was keyed in before, so it is not heard here, unless it is one of the answers.
            keys = _KEYS + ("#" if any(option.digit == "#" for option in reply.ask.options) else "")
        lines = [(sound, "" if reply.receipt else keys) for line in reply.lines for sound in spoken(line) or ()]
        options = [(sound, keys) for option in reply.ask.options for sound in offered(option)]
        for sound, ending in (*lines, *options):
            if key := await self._sound(sound, ending):
                return key
        return ""

    async def _sound(self, sound: Sound, keys: str) -> str:
        match sound:
            case Play(prompt):
                return await self._key("STREAM", "FILE", str(self.board.prompts / prompt), keys)
            case Digits(text):
                return await self._key("SAY", "DIGITS", text, keys)
            case _ as never:
                assert_never(never)

    async def _key(self, *command: str) -> str:
        """Send a command that a key may end, and give the key."""
        code = (await self._asked(*command)).value
        return chr(int(code)) if code.isdecimal() and 0 < int(code) < 128 else ""

    async def _asked(self, *command: str) -> Result:
        result = await self.agi.ask(*command)
        if result.value == "-1":
            # The same for a caller who has left and for a recording that is not there.
            if (await self.agi.ask("CHANNEL", "STATUS")).value != LINE_IS_UP:
                raise HungUp
            # Digits may be an account's: they are not for the log.
            raise Unavailable(f"Asterisk cannot do {' '.join(command[: 2 if command[0] == 'SAY' else 3])}")
        return result

    async def _first(self, key: str) -> str:
        return key or await self._key("WAIT", "FOR", "DIGIT", _ms(self.board.pace.first_key_s))

    async def _choice(self, ask: Ask, key: str) -> Said:
        key = await self._first(key)
        if not key:
            return Said(SaidKind.SILENCE)
        chosen = next((option.key for option in ask.options if option.digit == key), None)
        return Said(SaidKind.CHOICE, chosen) if chosen is not None else Said(SaidKind.NUMBER, key.strip("#"))

    async def _number(self, ask: Ask, key: str) -> Said:
        """Collect a number up to #, a pause or its limit; a key that stands alone is an option, unless # makes it a number."""
        keyed = await self._first(key)
        options = {option.digit: option.key for option in ask.options}
        if not keyed:
            return Said(SaidKind.SILENCE)
        if keyed in ("#", "*") and keyed in options:
            return Said(SaidKind.CHOICE, options[keyed])
        if keyed == "#":
            return Said(SaidKind.NUMBER)
        most = min(max(ask.digits_max or DIGITS_MAX, 1), KEYS_MAX)
        is_pause = False
        if most > 1:
            more = await self._asked("GET", "DATA", "", _ms(self.board.pace.next_key_s), str(most - 1))
            keyed, is_pause = keyed + more.value, more.note == "timeout"
        if len(keyed) == most:
            # What comes now belongs to this number: the # that ends it, or digits too many, which are answered so.
            more = await self._asked("GET", "DATA", "", _ms(self.board.pace.last_key_s), str(KEYS_MAX))
            keyed, is_pause = keyed + more.value, more.note == "timeout"
        if is_pause and keyed in options:
            return Said(SaidKind.CHOICE, options[keyed])
        return Said(SaidKind.NUMBER, keyed)


def _usable(prompts: Path) -> Path:
    if faults := wrong(prompts):
        shown = "; ".join(faults[:FAULTS_SHOWN_MAX])
        raise PromptsError(
            f"{len(faults)} recordings cannot be used in {prompts}: {shown} (bels voice prompts --check)"
        )
    return prompts.absolute()


def _talk(counter: Counter, talk: str, variables: dict[str, str]) -> Talk:
    """Say who calls; nobody, where the number is hidden or no number of a telephone."""
    shown = variables.get("callingpres", "")
    phone = ""
    if not (shown.isdecimal() and int(shown) & _HIDDEN):
        with suppress(PersonalDataError):
            phone = phone_of(variables.get("callerid", ""))
    sender = counter.sender(Channel.VOICE, phone)
    return Talk(Channel.VOICE, talk, sender, ContactKind.PHONE if phone else None, phone)


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _look_away(turn: asyncio.Task[Reply]) -> None:
    # What came of a turn that was given up, or whose caller has left, is told to nobody.
    if not turn.cancelled():
        turn.exception()
