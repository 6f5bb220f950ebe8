"""SMS of providers that speak HTTP themselves, without Kannel: one route over a table (channels 3).

The table says how a provider names its fields, how it signs and what it must be answered; what it does not publish is agreed by
contract and written there, not here. A provider is let in by a gateway's credential in the URL that it was given (``token``), and
by its signature where it makes one.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from asyncio import timeout
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from logging import getLogger
from pathlib import Path
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.channels.sms import PATH, WAIT_S, May, answer_sms, decoded, log_not_taken, normalised, parameters, sms_of
from bels.outgoing.results import Dead, Refused, Result, TryAgain
from bels.reception.counter import Counter
from bels.words import TRY_LATER

BODY_BYTES_MAX = 262_144
ITEMS_MAX = 100
"""Messages of one request; a provider that sends more has its request refused, and nothing of it is taken."""

TABLE_BYTES_MAX = 100_000
SECRET = "$secret"  # noqa: S105 - the place of a secret in a rule
DIGESTS = ("md5", "sha1", "sha256", "sha512")
KEY_BYTES = 16

log = getLogger(__name__)

Form = Literal["json", "form", "query"]
_FORMS: tuple[Form, ...] = ("json", "form", "query")
_FIELDS = frozenset(("form", "items", "when", "sender", "to", "text", "id", "time", "answer", "reply", "sign"))
_SIGN_FIELDS = frozenset(("field", "digest", "of", "joined", "secret_file"))

Say = Callable[[str, str, str], Awaitable[Result]]
"""Send an answer apart: the phone, the words, a key that is the same when the message comes again."""


class ProvidersError(ValueError):
    """The table of providers cannot be used; the sentence is for the operator."""


@dataclass(frozen=True, slots=True)
class Sign:
    """How a provider signs: in the field ``place`` stands the hex digest of values joined, ``$secret`` being the secret."""

    place: str
    digest: str
    of: tuple[str, ...]
    joined: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider: where its messages and their fields stand (``a.b`` is b within a), and what it must be answered.

    Only an item whose fields are as ``when`` says is a message; ``text`` None: it brings no messages, only reports, which are
    answered and left. ``reply`` says whether the words for the phone are the answer itself, or are sent apart.
    """

    name: str
    form: Form
    items: str = ""
    when: Mapping[str, str] = field(default_factory=dict)
    sender: str = ""
    to: str = ""
    text: str | None = None
    id: str = ""
    time: str = ""
    answer: str = "OK"
    reply: Literal["body", "apart"] = "apart"
    sign: Sign | None = None


def read_providers(file: Path) -> dict[str, Provider]:
    """Read the table of providers (TOML, a section each); secrets stand in files of their own.

    :raises ProvidersError: it cannot be read, or says what bels does not know.
    """
    try:
        if file.stat().st_size > TABLE_BYTES_MAX:
            raise ProvidersError(f"{file} has more than {TABLE_BYTES_MAX} bytes")
        table = tomllib.loads(file.read_text("utf-8"))
        return {name: _provider(name, given, file.parent) for name, given in table.items()}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProvidersError(f"{file} cannot be read: {error}") from error


def _provider(name: str, given: Any, folder: Path) -> Provider:
    if not isinstance(given, dict) or not set(given) <= _FIELDS or given.get("form") not in _FORMS:
        raise ProvidersError(
            f"the provider {name} has a form ({', '.join(_FORMS)}) and of {', '.join(sorted(_FIELDS))}"
        )
    if "text" in given and "sender" not in given:
        raise ProvidersError(f"the provider {name} brings texts and names no sender")
    if given.get("reply", "apart") not in ("body", "apart"):
        raise ProvidersError(f"the provider {name} has reply body or apart")
    sign = given.pop("sign", None)
    when = {str(path): str(value) for path, value in given.pop("when", {}).items()}
    return Provider(name, **given, when=when, sign=_sign(name, sign, folder) if sign is not None else None)


def _sign(name: str, given: Any, folder: Path) -> Sign:
    if not isinstance(given, dict) or not set(given) <= _SIGN_FIELDS or given.get("digest") not in DIGESTS:
        raise ProvidersError(
            f"the provider {name} signs by {', '.join(sorted(_SIGN_FIELDS))}, digest {'/'.join(DIGESTS)}"
        )
    try:
        secret = (folder / given["secret_file"]).read_text("utf-8").strip()
        sign = Sign(given["field"], given["digest"], tuple(given["of"]), given.get("joined", ""), secret)
    except KeyError as error:
        raise ProvidersError(f"the provider {name} signs without {error}") from None
    if not secret or SECRET not in sign.of:
        raise ProvidersError(f"the provider {name} signs without a secret")
    return sign


def provider_routes(
    counter: Counter,
    providers: Mapping[str, Provider],
    may: May,
    *,
    say: Say | None = None,
    wait_s: float = WAIT_S,
) -> list[Route]:
    """Make the route ``/channels/sms/{provider}``; ``may`` is that of Kannel's route, ``say`` sends answers that go apart."""

    async def receive(request: Request) -> Response:
        provider = providers.get(request.path_params["provider"])
        if provider is None:
            return PlainTextResponse("BELS: no such provider", 404)
        if request.method == "HEAD" or (request.method == "GET") != (provider.form == "query"):
            return PlainTextResponse("Method Not Allowed", 405)
        try:
            async with timeout(wait_s):
                if not await may(request, request.query_params.get("token", "").encode("utf-8", "replace")):
                    return PlainTextResponse("BELS: wrong token", 403)
                given = await _given(provider, request)
                items = list(_items(provider, given)) if given is not None else []
                if given is None or len(items) > ITEMS_MAX:
                    return PlainTextResponse("BELS: the request cannot be read", 400)
                if not all(is_signed(provider, item) for item in items):
                    return PlainTextResponse("BELS: wrong signature", 403)
                said = [await _answered(counter, provider, item, say) for item in items if _is_message(provider, item)]
        except Exception as error:
            log_not_taken(error)
            return PlainTextResponse(TRY_LATER, 503)
        return PlainTextResponse(said[0] if said and provider.reply == "body" else provider.answer)

    return [Route(f"{PATH}/{{provider}}", receive, methods=["GET", "POST"])]


def is_signed(provider: Provider, item: Mapping[str, Any]) -> bool:
    """Say whether an item is signed as its provider signs; true where it signs nothing, and its credential must do."""
    sign = provider.sign
    if sign is None:
        return True
    values = [sign.secret if name == SECRET else _value(item, name) for name in sign.of]
    digest = hashlib.new(sign.digest, sign.joined.join(values).encode(), usedforsecurity=False).hexdigest()
    return compare_digest(digest.encode(), _value(item, sign.place).lower().encode("utf-8", "replace"))


async def _answered(counter: Counter, provider: Provider, item: Mapping[str, Any], say: Say | None) -> str:
    """Take one message in, and let its sender hear the answer.

    :raises TryLater: nothing was stored.
    :raises TimeoutError: the answer could not be sent; the message will come again, and is answered the same.
    """
    address, name = _value(item, provider.sender), _value(item, provider.id)
    sms = sms_of(
        counter,
        address,
        _value(item, provider.text or ""),
        to=_value(item, provider.to),
        message_id=f"{provider.name}:{name}" if name else "",
        time=_value(item, provider.time),
    )
    words = await answer_sms(counter, sms)
    if provider.reply == "apart" and say is not None:
        key = hashlib.blake2b(sms.message_id.encode(), digest_size=KEY_BYTES).hexdigest()
        match await say(normalised(address), words, f"sms/{key}"):
            case TryAgain(code):
                raise TimeoutError(code)
            case Refused(code) | Dead(code):
                # The reading is taken; a sender that cannot be answered (a name, a short number) is no reason to repeat it.
                log.warning("the answer to an SMS of %s is not sent: %s", provider.name, code)
            case _:
                pass
    return words


async def _given(provider: Provider, request: Request) -> Any:
    """Read a request, None where it cannot be."""
    if provider.form == "query":
        return _texts(request.scope["query_string"])
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    if provider.form == "form":
        return _texts(body)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _texts(query: bytes) -> dict[str, str] | None:
    given = parameters(query)
    if given is None:
        return None
    return {name: decoded(value, "") or "" for name, value in given.items()}


def _items(provider: Provider, given: Any) -> Iterator[Mapping[str, Any]]:
    found = _at(given, provider.items) if provider.items else given
    for item in found if isinstance(found, list) else [found]:
        if isinstance(item, dict):
            yield item


def _is_message(provider: Provider, item: Mapping[str, Any]) -> bool:
    if provider.text is None or _at(item, provider.text) is None:
        return False
    return all(_value(item, path) == value for path, value in provider.when.items())


def _value(item: Mapping[str, Any], path: str) -> str:
    found = _at(item, path) if path else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _at(given: Any, path: str) -> Any:
    for name in path.split("."):
        given = given.get(name) if isinstance(given, dict) else None
    return given
