"""The dialogue for cloud telephony: ``POST /channels/voice``, one JSON message a turn (channels 4).

The provider's scenario tells what happened in a call and is told what to say and what to collect. What the fields are called is
data (``Fields``): a provider that names them otherwise is another value, not another program. Only our own names are shipped:
providers whose scenarios are programs (VoxEngine) send these; the lists of the others are still to be had from them.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bels.access.callers import sender_digest
from bels.access.personal import ContactKind, PersonalDataError, phone_of
from bels.domain.terms import Channel
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.reception.counter import Counter
from bels.reception.dialogue.desk import Desk
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import AskKind, Reply, Said, SaidKind, Talk
from bels.reception.dialogue.writing import spoken_reply

PATH = "/channels/voice"

BODY_BYTES_MAX = 16_384
NAME_LENGTH_MAX = 150
DIGITS_MAX = 40
WAIT_S = 5.0
"""How long a caller may be kept in silence."""

COLLECT_S = 7
"""Seconds that a caller has for the first key."""

NOT_TAKEN = (
    "Сервис временно недоступен. Если вы не слышали номера сообщения, перезвоните и передайте показание ещё раз."
)
"""Whether a reading of this turn is stored nobody knows: to send it again is never wrong, to say that it is not taken may be."""

log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fields:
    """What a provider calls the fields of its message, and its events."""

    call: str = "call"
    turn: str = "turn"
    caller: str = "from"
    event: str = "event"
    digits: str = "digits"
    events: Mapping[str, SaidKind] = field(
        default_factory=lambda: {
            "begin": SaidKind.BEGIN,
            "digits": SaidKind.NUMBER,
            "silence": SaidKind.SILENCE,
            "hangup": SaidKind.LEFT,
        }
    )


class BadTurnError(Exception):
    """The message is no turn of a call; the sentence is for the developer of the scenario."""


def phone_webhook_routes(
    counter: Counter,
    *,
    gateway: Callable[[Request], Awaitable[bool]],
    desk: Desk | None = None,
    fields: Fields | None = None,
    wait_s: float = WAIT_S,
) -> list[Route]:
    """Make the route of ``POST /channels/voice``; ``gateway`` says whether a request has the credential of a gateway for VOICE.

    The answer has ``say`` (sentences, to be read aloud), ``collect`` (``digitsMax``, ``timeoutS``; null where nothing is awaited),
    ``end``, ``transfer``, ``receipt`` and ``code``. 503 means that nobody knows what was stored: the same turn may be sent again; so does
    TryLater of ``gateway``, where it cannot look a credential up.
    """
    names = fields or Fields()

    async def turn(request: Request) -> Response:
        try:
            async with timeout(wait_s):
                if not await gateway(request):
                    log.warning("a call without the credential of a gateway was turned away")
                    challenge = {"www-authenticate": "Bearer"}
                    return _fault(401, "UNAUTHENTICATED", "The credential of a gateway for VOICE is needed.", challenge)
                talk, turn_id, said = _read(await _body(request), names, counter)
                raw = said.text if said.kind is SaidKind.NUMBER else said.kind.value
                reply = await take_turn(counter, talk, turn_id, said, raw, desk=desk)
        except BadTurnError as fault:
            return _fault(400, "BAD_USER_INPUT", str(fault))
        except (TryLater, TimeoutError, *UNAVAILABLE) as error:
            log.warning("a turn of a call is not taken (%s), it may come again", type(error).__name__)
            return _later()
        except Exception:
            # Whatever it was: the caller hears how to be sure, and the same turn may come again.
            log.exception("a turn of a call is not taken, it may come again")
            return _later()
        return JSONResponse(_answer(reply))

    return [Route(PATH, turn, methods=["POST"])]


async def _body(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BadTurnError(f"The message has more than {BODY_BYTES_MAX} bytes.")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadTurnError("The message must be a JSON object.") from None


def _read(given: Mapping[str, Any], names: Fields, counter: Counter) -> tuple[Talk, str, Said]:
    def text(name: str, *, needed: bool = True) -> str:
        value = given.get(name)
        if value is None and not needed:
            return ""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or len(value) > NAME_LENGTH_MAX or (needed and not value):
            raise BadTurnError(f"`{name}` must be a text of 1 to {NAME_LENGTH_MAX} characters.")
        return value

    call, turn_id, event = text(names.call), text(names.turn), text(names.event)
    kind = names.events.get(event)
    if kind is None:
        raise BadTurnError(f"`{names.event}` must be one of {', '.join(names.events)}.")
    digits = text(names.digits, needed=False).removesuffix("#")
    if len(digits) > DIGITS_MAX or not set(digits) <= set("0123456789*#"):
        raise BadTurnError(f"`{names.digits}` must be at most {DIGITS_MAX} keys: 0 to 9, * and #.")
    try:
        phone = phone_of(text(names.caller, needed=False))
    except PersonalDataError:
        # A hidden or a short number: somebody whom nobody knows.
        phone = ""
    # The id of a call may hold a phone or an address.
    talk = f"http-{sender_digest(f'call {call}', counter.door.sender_key)}"
    contact = ContactKind.PHONE if phone else None
    sender = counter.sender(Channel.VOICE, phone)
    said = Said(kind, digits if kind is SaidKind.NUMBER else "")
    return Talk(Channel.VOICE, talk, sender, contact, phone), turn_id, said


def _answer(reply: Reply) -> dict[str, Any]:
    ask = reply.ask
    collect: dict[str, int] | None = None
    if ask.kind is AskKind.NUMBER:
        collect = {"digitsMax": ask.digits_max, "timeoutS": COLLECT_S}
    elif ask.kind is AskKind.CHOICE:
        collect = {"digitsMax": max(len(option.digit) for option in ask.options), "timeoutS": COLLECT_S}
    return {
        "say": spoken_reply(reply),
        "collect": collect,
        "end": ask.kind is AskKind.NOTHING,
        "transfer": ask.kind is AskKind.OPERATOR,
        "receipt": reply.receipt or None,
        "code": reply.code or None,
    }


def _later() -> Response:
    told = {"say": [NOT_TAKEN], "collect": None, "end": True, "transfer": False, "receipt": None, "code": "TRY_LATER"}
    return JSONResponse(told, 503, {"retry-after": "2"})


def _fault(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"code": code, "message": message}, status, headers)
