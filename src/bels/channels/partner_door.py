"""What the protocols of banks have in common: who the partner is, how its request is read, what an answer tells (partners 1 to 3).

A partner proves who it is by HTTP Basic with its client's name and secret, or by the TLS certificate that is noted for it, which
the proxy has verified; and it comes from where its contract says. What is refused here is refused by HTTP 401 or 403; everything
after that is an answer of the protocol, with HTTP 200. What is presented are secrets of 256 bits, which nobody guesses: a right
one is never made to wait, whatever others failed at the same address.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from asyncio import timeout
from base64 import b64decode, urlsafe_b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from hmac import compare_digest
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.access.callers import Kind
from bels.access.clients import ClientRow, check_secret, find_client
from bels.access.doorkeeper import thumbprint_of_hex
from bels.access.throttle import TooManyAttempts
from bels.domain.money import AMOUNT_MAX
from bels.domain.periods import MOSCOW
from bels.domain.terms import Reason
from bels.journal.faults import UNAVAILABLE
from bels.journal.receipts import RECEIPT_ALPHABET
from bels.journal.write import Db
from bels.messages import TryLater
from bels.payments.partners import Partner, PartnersError
from bels.payments.till import Agent, Till
from bels.reception.counter import database

REMEMBERED_FOR = timedelta(seconds=5)
"""How long a credential that was proven is not asked for in the database again: a client that is revoked is out by then."""

REMEMBERED_MAX = 1000

QUERY_BYTES_MAX = 8192
BODY_BYTES_MAX = 8192
PARAMETERS_MAX = 100
BODY_WAIT_S = 20.0
WAIT_S = 45.0
"""Partners wait sixty seconds: whoever is told to repeat before that knows what to do."""

AUTHORIZATION_BYTES_MAX = 1024
CLIENT_LENGTH_MAX = 64
SECRET_LENGTH_MAX = 256
SECRET_BYTES_MAX = 1024
READINGS_MAX = 10
NAME_LENGTH_MAX = 40
COMMENT_LENGTH_MAX = 250

PAYMENTS = "payments:write"
READINGS = "readings:write"
REGISTERS = "registers:read"

DEFAULT_ENCODING = "utf-8"
ENCODINGS = {DEFAULT_ENCODING: "UTF-8", "cp1251": "windows-1251"}
"""In which a partner asks and is answered, and what XML calls it."""

SECRET = "$secret"  # noqa: S105 - the place of a secret in a rule
DIGESTS = ("md5", "sha1", "sha256", "sha512")

_AMOUNT = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,2})?", re.ASCII)
_PAYMENT_ID = re.compile(r"(?=[0-9]*[1-9])[0-9]{1,20}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{7}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)
_PLACE = re.compile(r"[A-Za-z0-9_]{1,20}", re.ASCII)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NEVER_KEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_SIGN_FIELDS = frozenset(("parameter", "digest", "of", "joined", "secret_file"))

log = logging.getLogger(__name__)


class TurnedAway(Exception):
    """Whoever asks is not let in; the answer is HTTP's, in English for the developer."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.answer = PlainTextResponse(f"bels: {reason}\n", status, {**_NEVER_KEPT, **(headers or {})})


class BadRequest(Exception):
    """The request cannot be read; the Russian sentence says why."""


@dataclass(frozen=True, slots=True)
class Sign:
    """How a partner signs: in ``parameter`` stands the hex digest of values joined, ``$secret`` being the secret."""

    parameter: str
    digest: str
    of: tuple[str, ...]
    joined: str
    secret: str = field(repr=False)

    def is_right(self, given: Mapping[str, str], encoding: str) -> bool:
        """Say whether a request is signed with the secret; a value that is missing is empty."""
        text = self.joined.join(self.secret if name == SECRET else given.get(name, "") for name in self.of)
        right = hashlib.new(self.digest, text.encode(encoding, "replace"), usedforsecurity=False).hexdigest()
        return compare_digest(given.get(self.parameter, "").lower().encode("utf-8", "replace"), right.encode())


@dataclass(frozen=True, slots=True)
class Terms:
    """What every protocol's table of a contract may say.

    ``readings`` are the places of values by the parameters in which they come. ``keeps_unknown``: money for an account that is not
    known is taken, and kept unallocated; else the payer keeps it. ``owes_minus``: a debt is shown as a negative balance.
    """

    encoding: str = DEFAULT_ENCODING
    keeps_unknown: bool = False
    readings: Mapping[str, str] = field(default_factory=dict, hash=False)
    owes_minus: bool = False
    sign: Sign | None = None

    def agent(self, agent: Agent) -> Agent:
        """Give an agent under these terms: online, who is told that there is no such account has taken no money yet."""
        return replace(agent, partner=replace(agent.partner, refuses_unknown=not self.keeps_unknown))

    def given(self, parameters: Mapping[str, str]) -> list[tuple[str, str]]:
        """Give the reading of a request as it was written: (place, value), nothing where none came."""
        found = [(place, parameters.get(name, "").strip()) for name, place in self.readings.items()]
        return [(place, text) for place, text in found if text]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code of a protocol tells; after one that is fatal the payment is over, after another it is repeated."""

    text: str
    is_fatal: bool = True


AnyTerms = TypeVar("AnyTerms", bound=Terms)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A partner that has proven who it is: as the till knows it, what it may, and the request that it brings."""

    agent: Agent
    scopes: tuple[str, ...]
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Facade:
    """A protocol: its path and its table in a contract, how it answers, and how it tells of a fault.

    ``fault`` is given the parameters, as far as they could be read, and the Russian sentence why not; None: nobody knows what was
    stored, the same request may come again.
    """

    path: str
    section: str
    fault: Callable[[Mapping[str, str], str | None], ElementTree.Element]


Answer = Callable[[Visitor, AnyTerms, Mapping[str, str]], Awaitable[ElementTree.Element | Response]]
"""An answer as a document, or as it is written already where it is long."""


@dataclass(frozen=True, slots=True)
class _Known:
    client: ClientRow
    since: datetime


class PartnerDoor:
    """Say which partner asks. What was proven is remembered for seconds, by a digest that is good in this process alone."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._door = till.counter.door
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._key = secrets.token_bytes(32)

    async def admit(self, request: Request, request_id: str = "") -> Visitor:
        """Say which partner asks, by its secret or its certificate, its address and its contract.

        :raises TurnedAway: nobody who may.
        :raises TryLater: the database cannot be reached.
        """
        headers, peer = request.scope["headers"], request.scope.get("client")
        address = self._door.doorkeeper.address(headers, peer)
        certificate = self._door.doorkeeper.certificate(headers, peer)
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) > 1 or any(len(value) > AUTHORIZATION_BYTES_MAX for value in given):
            raise _unproven()
        if not given and certificate is None:
            raise _unproven()
        authorization = given[0] if given else b""
        try:
            client = await self._client(authorization, certificate, address)
        except UNAVAILABLE as error:
            raise TryLater(type(error).__name__) from error
        if client.kind is not Kind.PARTNER:
            raise TurnedAway(403, "this client is no partner")
        agent = self._till.agent(client.client)
        if not agent.partner.may_come_from(address):
            log.warning("the partner %s came from an address that is not in its contract", client.client)
            raise TurnedAway(403, "the contract names other addresses")
        return Visitor(agent, client.scopes, request_id)

    async def _client(self, authorization: bytes, certificate: str | None, address: str) -> ClientRow:
        shown = authorization + b"\0" + (certificate or "").encode()
        name, now = hashlib.blake2b(shown, key=self._key).digest(), self._till.now()
        known = self._known.get(name)
        if known is not None and timedelta() <= now - known.since < REMEMBERED_FOR:
            return known.client
        client = await self._proven(authorization, certificate, address)
        self._known[name] = _Known(client, now)
        self._known.move_to_end(name)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return client

    async def _proven(self, authorization: bytes, certificate: str | None, address: str) -> ClientRow:
        client: ClientRow | None = None
        said = ""
        if not authorization:
            async with database(self._till.counter) as db:
                client = await _by_certificate(db, certificate or "")
        elif (basic := _basic(authorization)) is not None:
            said, secret = basic
            async with database(self._till.counter) as db:
                client = await check_secret(db, self._door.vault, said, secret, self._till.now())
        if client is None or not _has_certificate(client, certificate):
            await self._count_failure(said[:CLIENT_LENGTH_MAX], address)
            raise _unproven()
        return client

    async def _count_failure(self, client: str, address: str) -> None:
        throttle = self._door.throttle
        try:
            await throttle.check("client", client, address)
        except TooManyAttempts as error:
            raise TurnedAway(429, f"try again in {error.wait_s} s", {"retry-after": str(error.wait_s)}) from None
        await throttle.failed("client", client, address)


def facade_route(
    facade: Facade,
    till: Till,
    contracts: Mapping[str, AnyTerms],
    answer: Answer[AnyTerms],
    *,
    request_id: Callable[[Request], str] = lambda _: "",
    wait_s: float = WAIT_S,
) -> Route:
    """Make the route of a protocol, GET and POST; ``contracts`` are the terms of those who have agreed on it, by client."""
    door = PartnerDoor(till)

    async def receive(request: Request) -> Response:
        if request.method == "HEAD":
            # Starlette takes it for GET, and the payment would be booked by a look.
            return PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, POST"})
        encoding, given = DEFAULT_ENCODING, dict[str, str]()
        try:
            async with timeout(wait_s):
                try:
                    visitor = await door.admit(request, request_id(request))
                except TryLater:
                    # Who says so is not proven, but whoever it is understands what is asked of him.
                    encoding = _encoding_of(request, contracts)
                    given |= await read_parameters(request, encoding)
                    raise
                terms = contracts.get(visitor.agent.partner.client)
                if terms is None:
                    raise TurnedAway(403, f"the contract has no table {facade.section}")
                encoding = terms.encoding
                given |= await read_parameters(request, encoding)
                answered = await answer(visitor, terms, given)
                if isinstance(answered, Response):
                    return answered
                told = answered
        except TurnedAway as away:
            return away.answer
        except BadRequest as bad:
            told = facade.fault(given, str(bad))
        except (TryLater, TimeoutError, ClientDisconnect, *UNAVAILABLE) as error:
            log.warning("a request to %s is not answered (%s), it may come again", facade.path, type(error).__name__)
            told = facade.fault(given, None)
        except Exception:
            # Whatever it was: the partner repeats, and the same id is booked once.
            log.exception("a request to %s is not answered, it may come again", facade.path)
            told = facade.fault(given, None)
        return written(told, encoding)

    return Route(facade.path, receive, methods=["GET", "POST"])


def _encoding_of(request: Request, contracts: Mapping[str, AnyTerms]) -> str:
    basic = _basic(request.headers.get("authorization", "")[:AUTHORIZATION_BYTES_MAX].encode("latin-1", "replace"))
    terms = contracts.get(basic[0]) if basic is not None else None
    return terms.encoding if terms is not None else DEFAULT_ENCODING


async def read_parameters(request: Request, encoding: str) -> dict[str, str]:
    """Read the parameters of a request, of its query and its form together; bytes that are none of the encoding become U+FFFD.

    :raises BadRequest: it is too big or no form, or a parameter stands there twice.
    """
    query: bytes = request.scope["query_string"]
    if len(query) > QUERY_BYTES_MAX:
        raise BadRequest(f"Запрос длиннее {QUERY_BYTES_MAX} байт")
    pairs = _pairs(query, encoding)
    if request.method == "POST":
        pairs += _pairs(await _form(request), encoding)
    given = dict(pairs)
    if len(pairs) > PARAMETERS_MAX:
        raise BadRequest(f"Параметров больше {PARAMETERS_MAX}")
    if len(given) < len(pairs):
        raise BadRequest("Параметр указан дважды")
    return given


def _pairs(content: bytes, encoding: str) -> list[tuple[str, str]]:
    try:
        # As Latin-1 every byte is a sign, whether it came as %XX or as it is.
        pairs = parse_qsl(
            content.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=PARAMETERS_MAX
        )
    except ValueError:
        raise BadRequest(f"Параметров больше {PARAMETERS_MAX}") from None
    return [(_decoded(name, encoding), _decoded(value, encoding)) for name, value in pairs]


def _decoded(text: str, encoding: str) -> str:
    # What is not read so is seldom of any matter: what matters is held against its own form.
    return text.encode("latin-1").decode(encoding, "replace")


async def _form(request: Request) -> bytes:
    body = bytearray()
    async with timeout(BODY_WAIT_S):
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise BadRequest(f"Запрос длиннее {BODY_BYTES_MAX} байт")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind not in ("", "application/x-www-form-urlencoded"):
        raise BadRequest("Параметры передаются как application/x-www-form-urlencoded")
    # Some end it with a line.
    return bytes(body).strip()


def written(root: ElementTree.Element, encoding: str) -> Response:
    """Write an answer in the partner's encoding; what has no place in it becomes a reference."""
    label = ENCODINGS[encoding]
    head = f'<?xml version="1.0" encoding="{label}"?>\n'.encode()
    body = ElementTree.tostring(root, encoding=encoding, xml_declaration=False, short_empty_elements=False)
    return Response(head + body, 200, headers={**_NEVER_KEPT, "content-type": f"text/xml; charset={label}"})


def add(parent: ElementTree.Element, name: str, text: str) -> ElementTree.Element:
    """Add an element with a text, without the signs that XML cannot have."""
    child = ElementTree.SubElement(parent, name)
    child.text = _ILLEGAL.sub("\ufffd", text)
    return child


def contracts_of(till: Till, section: str, read: Callable[[Partner], AnyTerms]) -> dict[str, AnyTerms]:
    """Read a protocol's table of every contract that has one, by client.

    :raises PartnersError: one cannot be used.
    """
    return {each.client: read(each) for each in till.partners.partners if section in each.sections}


def read_terms(
    partner: Partner, section: str, own: frozenset[str], taken: frozenset[str], folder: Path
) -> dict[str, Any]:
    """Read what every protocol's table may say; ``own`` are the protocol's further names, ``taken`` its parameters.

    :raises PartnersError: it cannot be used.
    """
    told, where = partner.sections[section], f"partner.{partner.name}.{section}"
    known = {"encoding", "unknown_accounts", "readings", "balance_sign", "sign", *own}
    if strange := sorted(set(told) - known):
        raise PartnersError(f"{where}.{strange[0]} is unknown: {', '.join(sorted(known))}")
    given: dict[str, Any] = {}
    if "encoding" in told:
        given["encoding"] = _one_of(told["encoding"], tuple(ENCODINGS), f"{where}.encoding")
    if "unknown_accounts" in told:
        given["keeps_unknown"] = (
            _one_of(told["unknown_accounts"], ("refuse", "keep"), f"{where}.unknown_accounts") == "keep"
        )
    if "balance_sign" in told:
        given["owes_minus"] = _one_of(told["balance_sign"], ("minus", "plus"), f"{where}.balance_sign") == "minus"
    readings = told.get("readings", {})
    if not isinstance(readings, dict) or len(readings) > READINGS_MAX:
        raise PartnersError(f"{where}.readings is a table of at most {READINGS_MAX} parameters")
    for name, place in readings.items():
        if not is_parameter(name) or name in taken:
            raise PartnersError(f"{where}.readings: {name!r} is no parameter of the contract's own")
        if not isinstance(place, str) or not _PLACE.fullmatch(place):
            raise PartnersError(f'{where}.readings.{name} is a register, T1.., or "1".. in the order of the display')
    given["readings"] = dict(readings)
    if "sign" in told:
        given["sign"] = _sign(told["sign"], f"{where}.sign", folder)
    return given


def _one_of(told: object, words: tuple[str, ...], where: str) -> str:
    if not isinstance(told, str) or told not in words:
        raise PartnersError(f"{where} is one of {', '.join(words)}")
    return told


def _sign(told: object, where: str, folder: Path) -> Sign:
    if not isinstance(told, dict) or set(told) - _SIGN_FIELDS:
        raise PartnersError(f"{where} has {', '.join(sorted(_SIGN_FIELDS))} and nothing else")
    parameter, of, joined = told.get("parameter"), told.get("of"), told.get("joined", "")
    if not isinstance(parameter, str) or not is_parameter(parameter):
        raise PartnersError(f"{where}.parameter is where the signature stands")
    if not isinstance(of, list) or not all(isinstance(each, str) for each in of) or SECRET not in of:
        raise PartnersError(f"{where}.of lists the parameters that are signed, and {SECRET}")
    if parameter in of or not isinstance(joined, str) or len(joined) > NAME_LENGTH_MAX:
        raise PartnersError(f"{where}: the signature signs itself, or what joins the values is no short text")
    digest = _one_of(told.get("digest"), DIGESTS, f"{where}.digest")
    try:
        file = folder / str(told["secret_file"])
        if file.stat().st_size > SECRET_BYTES_MAX:
            raise PartnersError(f"{file} has more than {SECRET_BYTES_MAX} bytes")
        secret = file.read_text("utf-8").strip()
    except (KeyError, OSError, UnicodeDecodeError) as error:
        raise PartnersError(f"{where}.secret_file cannot be read: {type(error).__name__}") from error
    if not secret:
        raise PartnersError(f"{where}.secret_file is empty: anybody could then sign")
    return Sign(parameter, digest, tuple(of), joined, secret)


def is_parameter(text: str) -> bool:
    """Say whether a text can be the name of a parameter."""
    return _PARAMETER.fullmatch(text) is not None


def is_account(text: str) -> bool:
    """Say whether a text can be the number of an account: seven digits (partners 8)."""
    return _ACCOUNT.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Say whether a text can be a partner's number of a payment: 1 to 20 digits, not all of them zeros."""
    return _PAYMENT_ID.fullmatch(text) is not None


def amount_of(text: str) -> Decimal | Reason:
    """Read a sum of roubles; what is written otherwise than ``200.00`` is BAD_AMOUNT, what nobody can pay too small or too big."""
    if not _AMOUNT.fullmatch(text):
        return Reason.BAD_AMOUNT
    amount = Decimal(text)
    if amount == 0:
        return Reason.AMOUNT_TOO_SMALL
    return amount if amount <= AMOUNT_MAX else Reason.AMOUNT_TOO_LARGE


def moment_of(text: str, digits: re.Pattern[str], form: str) -> datetime | None:
    """Read a moment of Moscow, written in ``form``; None where there is none like it.

    ``digits`` say how many stand where: strptime takes one for two, and those of other scripts.
    """
    if digits.fullmatch(text):
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=MOSCOW)
    return None


def number_of(receipt: str) -> str:
    """Give a receipt as the number that protocols ask for: the same for ever, and one receipt's alone."""
    number = 0
    for letter in receipt:
        number = number * len(RECEIPT_ALPHABET) + RECEIPT_ALPHABET.index(letter)
    return str(number)


def shortened(text: str, more: str = "") -> str:
    """Give a comment that fits, with what else there is to say where that fits too."""
    whole = f"{text}. {more}" if more else text
    if len(whole) <= COMMENT_LENGTH_MAX:
        return whole
    return text if len(text) <= COMMENT_LENGTH_MAX else f"{text[: COMMENT_LENGTH_MAX - 1]}…"


async def _by_certificate(db: Db, certificate: str) -> ClientRow | None:
    """Find the partner for which a certificate is noted; None where there is none, or more than one."""
    rows = await db.fetch(
        "SELECT client FROM client WHERE certificate = $1 AND kind = $2 AND revoked_at IS NULL LIMIT 2",
        urlsafe_b64decode(certificate + "=" * (-len(certificate) % 4)).hex(),
        Kind.PARTNER.value,
    )
    return await find_client(db, rows[0]["client"]) if len(rows) == 1 else None


def _has_certificate(client: ClientRow, presented: str | None) -> bool:
    if client.certificate is None:
        return True
    return presented is not None and compare_digest(presented, thumbprint_of_hex(client.certificate))


def _basic(authorization: bytes) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        client, colon, secret = b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except (Base64Error, ValueError):
        return None
    fits = len(client) <= CLIENT_LENGTH_MAX and len(secret) <= SECRET_LENGTH_MAX
    return (client, secret) if colon and fits else None


def _unproven() -> TurnedAway:
    # One and the same for an unknown client, a wrong secret, a revoked client and another certificate.
    reason = "the client, its secret or its certificate is not right"
    return TurnedAway(401, reason, {"www-authenticate": 'Basic realm="bels", charset="UTF-8"'})
