"""SMS as Kannel's ``sms-service`` brings them: one GET a message, whose body is the answer to the phone (channels 3).

Kannel repeats a request that got no 200 with the same ``%I``, and forgets the message after its last repeat: the answer
is 200 only when the message is stored, 503 when nothing could be. It passes the text in the charset that it names.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from json import dumps
from logging import getLogger
from re import compile as pattern
from typing import Protocol, assert_never
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.channels.sms_grammar import (
    LENGTH_MAX,
    BadAccount,
    BadValue,
    Confirmation,
    NotUnderstood,
    Reading,
    ReceiptQuestion,
    read_message,
    read_values,
)
from bels.domain.commands import ConfirmReading, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.read_value import holds_contact, quoted
from bels.domain.terms import Channel, Reason, Register, Role
from bels.messages import Message, Outcome, TryLater
from bels.words import TRY_LATER, ReceiptState, answer, in_sms, state

PATH = "/channels/sms"

REPEATED_WITHIN = timedelta(minutes=10)
"""The operator's own repeat of a message comes under a new id, with the same sender and text, within this time."""

HELD_BACK_MAX = timedelta(days=3)
"""How long the gateway may keep a message for us, and its own time of receipt still counts."""

WAIT_S = 8.0
"""Kannel waits ten seconds (``http-timeout``)."""

_PARAMETERS_MAX = 50
_ADDRESS_LENGTH_MAX = 40
_UNDECODABLE_BYTES_MAX = 2000
_KANNEL_CODING = {"X-Kannel-Coding": "2"}
_CHARSETS = {
    "iso-8859-1": "iso-8859-1",
    "iso-8859-5": "iso-8859-5",
    "windows-1251": "cp1251",
    "windows-1252": "cp1252",
    "cp1251": "cp1251",
    "koi8-r": "koi8-r",
}
_UTF16 = ("utf-16be", "utf-16", "ucs-2", "ucs-2be", "ucs2")
_MESSAGE_ID = pattern(r"[!-~]{1,100}")
_PHONE = pattern(r"(?:00|\+)?(?:7|8)?(9[0-9]{9})")
_LAYOUT = pattern(r"[\s().-]+")

log = getLogger(__name__)


class DisplayedMeter(Protocol):
    """What the channel needs of a meter in service; ``MeterModel`` is one."""

    @property
    def registers(self) -> tuple[Register, ...]:
        """Registers, in any order."""

    @property
    def display(self) -> Mapping[str, Register] | None:
        """T1.. of the display to registers."""


@dataclass(frozen=True, slots=True)
class Sms:
    """One request of Kannel. ``text`` is None where the bytes are damaged; ``raw`` is the content, for the journal."""

    message_id: str
    sender: str
    text: str | None
    raw: str
    received_at: datetime


def sms_routes(
    *,
    submit: Callable[[Message], Awaitable[Outcome]],
    earlier: Callable[[str, str, datetime], Awaitable[Outcome | None]],
    meter_of: Callable[[str], Awaitable[DisplayedMeter | None]],
    receipt_state: Callable[[str], Awaitable[ReceiptState | None]],
    linked: Callable[[str, str], Awaitable[bool]],
    sender_digest: Callable[[str], str],
    now: Callable[[], datetime],
    token: str | None,
    gateway: Callable[[str], Awaitable[bool]] | None = None,
    at_this_machine: Callable[[Request], Awaitable[bool]] | None = None,
    kept: Callable[[str], str] = str,
    wait_s: float = WAIT_S,
) -> list[Route]:
    """Make the route of ``GET /channels/sms``.

    ``submit`` brings a message in; ``earlier`` finds, by (actor, raw, since), the outcome of the sender's last message if it
    was the same under another id, and taken; ``meter_of`` gives the meter in service of an account; ``receipt_state`` what
    a receipt stands for; ``linked`` whether a sender (by digest) may speak for an account; ``sender_digest`` a keyed hex digest of an address.

    ``kept`` gives a text as it may be kept: sealed where it holds more than a reading.
    ``token`` is the secret that Kannel sends, ``gateway`` says whether it is the credential "client:secret" of a gateway for
    SMS; both None only where nobody else can reach the port, and ``at_this_machine`` says that nobody else asks through a
    browser or a proxy there.

    :raises ValueError: the token is empty: anybody could then write under any phone.
    """
    if token == "":
        raise ValueError("the token of the SMS channel is empty")

    async def handle(sms: Sms) -> str:
        actor = f"sms:{sms.sender}"
        parsed = read_message(sms.text) if sms.text is not None else NotUnderstood()
        if isinstance(parsed, ReceiptQuestion):
            return in_sms(state(parsed.receipt, await receipt_state(parsed.receipt)), parsed.receipt)
        account, command = await command_of(parsed, sms.received_at)
        outcome = await earlier(actor, sms.raw, now() - REPEATED_WITHIN)
        if outcome is None:
            outcome = await submit(Message(Channel.SMS, sms.message_id, actor, account, command, sms.raw))
        known = bool(outcome.account) and await linked(outcome.account, sms.sender)
        return in_sms(answer(outcome, linked=known), outcome.receipt)

    async def command_of(
        parsed: Reading | Confirmation | BadAccount | NotUnderstood, at: datetime
    ) -> tuple[str, SubmitReading | ConfirmReading | ReadingRefused]:
        match parsed:
            case Reading(account, tokens):
                meter = await meter_of(account)
                registers = meter.registers if meter is not None else ()
                values = read_values(tokens, registers, meter.display if meter is not None else None)
                if isinstance(values, BadValue):
                    return account, ReadingRefused(Reason.BAD_VALUE, at, {}, registers, detail=quoted(values.token))
                return account, SubmitReading(at, values)
            case Confirmation(receipt):
                found = await receipt_state(receipt)
                if found is None:
                    return "", ReadingRefused(Reason.UNKNOWN_READING, at, {})
                if found.reading is None:
                    return found.account, ReadingRefused(Reason.NOT_HELD, at, {}, found.registers)
                return found.account, ConfirmReading(found.reading, at, Role.CONSUMER)
            case BadAccount(digits):
                return "", ReadingRefused(
                    Reason.BAD_ACCOUNT, at, {}, detail="letters" if digits is None else str(digits)
                )
            case NotUnderstood(confirming):
                return "", ReadingRefused(Reason.NOT_UNDERSTOOD, at, {}, detail="ДА" if confirming else None)
            case _ as never:
                assert_never(never)

    async def may(request: Request, credential: bytes) -> bool:
        if token is not None and compare_digest(credential, token.encode()):
            return True
        if gateway is None:
            return token is None and (at_this_machine is None or await at_this_machine(request))
        return await gateway(credential.decode("latin-1"))

    async def receive(request: Request) -> Response:
        if request.method != "GET":
            # Starlette would answer HEAD too, and the message would be taken by it.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET"})
        given = _parameters(request.scope["query_string"])
        if given is None:
            return PlainTextResponse("BELS: too many parameters", 400)
        if not await may(request, given.get("token", b"")):
            return PlainTextResponse("BELS: wrong token", 403)
        if "text" not in given:
            return PlainTextResponse("BELS: get-url has no text=%a", 400)
        sms = _read(given, sender_digest, kept, now())
        try:
            async with timeout(wait_s):
                said = await handle(sms)
        except (TryLater, TimeoutError) as error:
            log.warning("SMS %s is not taken (%s), the gateway will repeat it", sms.message_id, type(error).__name__)
            return PlainTextResponse(TRY_LATER, 503)
        except Exception:
            # Whatever it was: Kannel keeps the message and repeats it, under the same id.
            log.exception("SMS %s is not taken, the gateway will repeat it", sms.message_id)
            return PlainTextResponse(TRY_LATER, 503)
        return PlainTextResponse(said, 200, _KANNEL_CODING)

    return [Route(PATH, receive, methods=["GET"])]


def normalised(address: str) -> str:
    """Write a sender one way: +79161234567 for +7916..., 7916..., 8916... and 916...; a short code or a name as it is."""
    plain = _LAYOUT.sub("", address)
    phone = _PHONE.fullmatch(plain)
    return f"+7{phone.group(1)}" if phone is not None else address.strip().lower()[:_ADDRESS_LENGTH_MAX]


def decoded(text: bytes, charset: str) -> str | None:
    """Read the bytes of a text, None when they are damaged.

    The name of the charset is often wrong: what reads as UTF-8 is UTF-8, because no other text does by accident.
    """
    name = charset.strip().lower()
    if name in _UTF16 and text and min(text) < ord(" "):
        try:
            return text.decode("utf-16-be")
        except UnicodeDecodeError:
            return None
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode(_CHARSETS.get(name, "cp1251"), "replace")


def _parameters(query: bytes) -> dict[str, bytes] | None:
    # As bytes: their charset is a parameter itself. The first of a name counts.
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=_PARAMETERS_MAX
        )
    except ValueError:
        return None
    return {name: value.encode("latin-1") for name, value in reversed(pairs)}


def _read(
    given: Mapping[str, bytes], sender_digest: Callable[[str], str], kept: Callable[[str], str], at: datetime
) -> Sms:
    def plain(*names: str) -> str:
        return next((given[name] for name in names if name in given), b"").decode("utf-8", "replace").strip()

    sender = sender_digest(normalised(plain("from", "sender")))
    text = decoded(given["text"], plain("charset") or ("utf-16be" if plain("coding") == "2" else ""))
    content: dict[str, str] = {
        "from": sender,
        "text": kept((text or "")[:LENGTH_MAX]),
        "to": plain("to", "receiver")[:_ADDRESS_LENGTH_MAX],
    }
    if text is None or "\ufffd" in text:
        content["bytes"] = kept(given["text"][:_UNDECODABLE_BYTES_MAX].hex())
    if text is not None and len(text) > LENGTH_MAX:
        content["sha256"] = sha256(given["text"]).hexdigest()
    raw = dumps(content, ensure_ascii=False, sort_keys=True)
    received_at = _received_at(plain("ts", "time"), at)
    message_id = plain("id")
    if not _MESSAGE_ID.fullmatch(message_id):
        # No id, or no sensible one: the same words of the same phone within a minute are one message.
        name = message_id or f"{sender}\n{raw}\n{received_at:%Y-%m-%dT%H:%M}"
        message_id = f"sha256:{sha256(name.encode('utf-8', 'replace')).hexdigest()}"
    elif holds_contact(message_id):
        message_id = f"sender:{sender_digest(message_id)}"
    return Sms(message_id, sender, text, raw, received_at)


def _received_at(written: str, at: datetime) -> datetime:
    """Take the gateway's time of receipt: it is our channel, and its message may have waited for us (rules 1.1)."""
    try:
        if written.isascii() and written.isdigit():
            taken = datetime.fromtimestamp(int(written), UTC)
        else:
            taken = datetime.fromisoformat(written)
            taken = taken if taken.tzinfo is not None else taken.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return at
    return taken if at - HELD_BACK_MAX <= taken <= at else at
