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
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.access.callers import Kind
from bels.access.clients import check_secret
from bels.domain.read_value import holds_contact
from bels.domain.terms import Channel
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.outgoing.kannel import REPORTS, Report, is_signed
from bels.reception.counter import Counter, Sender
from bels.reception.grammar import LENGTH_MAX
from bels.reception.texts import answer_text
from bels.words import TRY_LATER, in_sms

PATH = "/channels/sms"

REPEATED_WITHIN = timedelta(minutes=10)
"""The operator's own repeat of a message comes under a new id, with the same sender and text, within this time."""

HELD_BACK_MAX = timedelta(days=3)
"""How long the gateway may keep a message for us, and its own time of receipt still counts."""

WAIT_S = 8.0
"""Kannel waits ten seconds (``http-timeout``)."""

KEY_LENGTH_MAX = 64
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

May = Callable[[Request, bytes], Awaitable[bool]]
"""Say whether whoever asks may bring SMS, by the credential that came with the request."""


@dataclass(frozen=True, slots=True)
class Sms:
    """One SMS. ``text`` is None where the bytes are damaged; ``raw`` is the content, for the journal."""

    message_id: str
    sender: Sender
    text: str | None
    raw: str
    received_at: datetime


def guard(
    token: str | None,
    gateway: Callable[[str], Awaitable[bool]] | None = None,
    at_this_machine: Callable[[Request], Awaitable[bool]] | None = None,
) -> May:
    """Say who may bring SMS: whoever has ``token``, the secret that Kannel sends, or is a gateway by its "client:secret".

    Both are None only where nobody else can reach the port, and ``at_this_machine`` says that nobody else asks through a browser
    or a proxy there.

    :raises ValueError: the token is empty: anybody could then write under any phone.
    """
    if token == "":
        raise ValueError("the token of the SMS channel is empty")

    async def may(request: Request, credential: bytes) -> bool:
        if token is not None and compare_digest(credential, token.encode()):
            return True
        if gateway is None:
            return token is None and (at_this_machine is None or await at_this_machine(request))
        return await gateway(credential.decode("latin-1"))

    return may


def gateway_of(counter: Counter, channel: Channel) -> Callable[[str], Awaitable[bool]]:
    """Say of a credential "client:secret" whether it is that of a gateway for a channel."""

    async def is_gateway(credential: str) -> bool:
        client, _, secret = credential.partition(":")
        async with counter.pool.acquire() as db:
            row = await check_secret(db, counter.door.vault, client, secret, counter.now())
        return row is not None and row.kind is Kind.GATEWAY and row.channel is channel

    return is_gateway


def sms_routes(
    counter: Counter,
    may: May,
    *,
    delivered: Callable[[str, Report], Awaitable[object]] | None = None,
    wait_s: float = WAIT_S,
) -> list[Route]:
    """Make the routes of ``GET /channels/sms`` and of the delivery reports.

    ``may`` is the ``guard``; ``delivered`` is told, by its key, what a report says of a text that went out.
    """

    async def receive(request: Request) -> Response:
        if request.method != "GET":
            # Starlette would answer HEAD too, and the message would be taken by it.
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET"})
        given = parameters(request.scope["query_string"])
        if given is None:
            return PlainTextResponse("BELS: too many parameters", 400)
        try:
            async with timeout(wait_s):
                if not await may(request, given.get("token", b"")):
                    return PlainTextResponse("BELS: wrong token", 403)
                if "text" not in given:
                    return PlainTextResponse("BELS: get-url has no text=%a", 400)
                said = await answer_sms(counter, _read(counter, given))
        except Exception as error:
            # Whatever it was: Kannel keeps the message and repeats it, under the same id.
            log_not_taken(error)
            return PlainTextResponse(TRY_LATER, 503)
        return PlainTextResponse(said, 200, _KANNEL_CODING)

    async def report(request: Request) -> Response:
        given = request.query_params
        key = given.get("key", "")[:KEY_LENGTH_MAX]
        if not is_signed(key, given.get("sign", ""), counter.door.sender_key):
            return PlainTextResponse("BELS: wrong signature", 403)
        said = REPORTS.get(given.get("type", ""))
        if said is not None and delivered is not None:
            try:
                async with timeout(wait_s):
                    await delivered(key, said)
            except Exception as error:
                log_not_taken(error)
                return PlainTextResponse("BELS: try later", 503)
        return Response(status_code=204)

    return [Route(PATH, receive, methods=["GET"]), Route(f"{PATH}/delivery", report, methods=["GET"])]


async def answer_sms(counter: Counter, sms: Sms) -> str:
    """Take an SMS in and word the answer.

    :raises TryLater: nothing was stored.
    """
    told = await answer_text(
        counter,
        sms.sender,
        sms.message_id,
        sms.text,
        sms.raw,
        sms.received_at,
        same_since=counter.now() - REPEATED_WITHIN,
    )
    return in_sms(told.words, told.receipt)


def log_not_taken(error: Exception) -> None:
    """Log that a gateway is to repeat its message; without the message's id, which some operators make of the phone."""
    if isinstance(error, (TryLater, *UNAVAILABLE)):
        log.warning("an SMS is not taken (%s), the gateway will repeat it", type(error).__name__)
    else:
        log.error("an SMS is not taken, the gateway will repeat it", exc_info=error)


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


def parameters(query: bytes) -> dict[str, bytes] | None:
    """Read the parameters of a query or a form as bytes, for their charset is a parameter itself; the first of a name counts.

    None where there are too many.
    """
    try:
        pairs = parse_qsl(
            query.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=_PARAMETERS_MAX
        )
    except ValueError:
        return None
    return {name: value.encode("latin-1") for name, value in reversed(pairs)}


def sms_of(
    counter: Counter, address: str, text: str | None, *, to: str, message_id: str, time: str, damaged: bytes = b""
) -> Sms:
    """Make an SMS of what a gateway tells of it, with nothing personal in clear.

    ``damaged`` are the bytes of a text that could not be read whole; ``time`` is the gateway's, and is not always believed.
    """
    kept = counter.door.raw_texts.kept
    sender = counter.sender(Channel.SMS, normalised(address))
    content: dict[str, str] = {
        "from": sender.digest,
        "text": kept((text or "")[:LENGTH_MAX]),
        "to": to[:_ADDRESS_LENGTH_MAX],
    }
    if text is None or "\ufffd" in text:
        content["bytes"] = kept(damaged[:_UNDECODABLE_BYTES_MAX].hex())
    if text is not None and len(text) > LENGTH_MAX:
        content["sha256"] = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    raw = dumps(content, ensure_ascii=False, sort_keys=True)
    received_at = _received_at(time, counter.now())
    if not _MESSAGE_ID.fullmatch(message_id):
        # No id, or no sensible one: the same words of the same phone within a minute are one message.
        name = message_id or f"{sender.digest}\n{raw}\n{received_at:%Y-%m-%dT%H:%M}"
        message_id = f"sha256:{sha256(name.encode('utf-8', 'replace')).hexdigest()}"
    elif holds_contact(message_id):
        message_id = f"sender:{counter.sender(Channel.SMS, message_id).digest}"
    return Sms(message_id, sender, text, raw, received_at)


def _read(counter: Counter, given: Mapping[str, bytes]) -> Sms:
    def plain(*names: str) -> str:
        return next((given[name] for name in names if name in given), b"").decode("utf-8", "replace").strip()

    text = decoded(given["text"], plain("charset") or ("utf-16be" if plain("coding") == "2" else ""))
    return sms_of(
        counter,
        plain("from", "sender"),
        text,
        to=plain("to", "receiver"),
        message_id=plain("id"),
        time=plain("ts", "time"),
        damaged=given["text"],
    )


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
