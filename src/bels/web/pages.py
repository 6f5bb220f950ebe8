"""Pages for people without a program: templates, what browsers are given, and how a posted form is read.

Everything works without JavaScript: a page is a whole document, and htmx, where it runs, takes ``#main`` out of it. The policy of
content allows nothing inline and nothing from elsewhere. What is posted is small, urlencoded and comes from our own pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bels.access.door import Door
from bels.access.throttle import TooManyAttempts
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.words import HOTLINE

BODY_BYTES_MAX = 8192
BODY_WAIT_S = 20.0
FIELDS_MAX = 20
WAIT_S = 10.0
"""How long a page may take; a message that is stored later is known by its name when it comes again."""

TRY_AGAIN_S = 30
ASSETS_PATH = "/web"
ASSETS_AGE_S = 365 * 24 * 3600
WORKER = "worker.js"
OFFLINE = "offline.html"

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # A link's address is a secret: other sites hear nothing of it, and our own forms still tell where they come from.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

_MEDIA = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class BadPost(Exception):
    """What was posted cannot be read, or comes from a page of another site; the sentence is Russian."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that browsers are given; ``tag`` changes with its content."""

    content: bytes
    media: str
    tag: str


@dataclass(frozen=True, slots=True)
class Pages:
    """Templates and files, read once."""

    templates: Environment
    assets: Mapping[str, Asset]

    def page(
        self,
        template: str,
        status: int = 200,
        *,
        code: str = "",
        wait_s: int | None = None,
        push: str | None = None,
        kept: bool = True,
        **told: object,
    ) -> Response:
        """Write a page. ``code`` is the outcome for programs, ``push`` the address of a step for htmx's history.

        ``kept``: the browser may show it again when somebody goes back; otherwise nothing of it is kept.
        """
        text = self.templates.get_template(f"{template}.html").render(code=code, **told)
        headers = {**HEADERS, "cache-control": "private, no-cache" if kept else "no-store", "vary": "HX-Request"}
        if wait_s is not None:
            headers["retry-after"] = str(wait_s)
        if push is not None:
            headers["hx-push-url"] = push
        return HTMLResponse(text, status, headers)


Handler = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
"""Answers a request with the fields that were posted, none for a GET."""


def opened_pages() -> Pages:
    """Read templates and files."""
    templates = Environment(
        loader=PackageLoader("bels.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digits = "".join(c for c in HOTLINE if c.isdigit())
    templates.globals["hotline"] = Markup('<a class="phone" href="tel:+7{}">{}</a>').format(digits[1:], HOTLINE)
    static = files("bels.web") / "static"
    assets = {}
    for entry in static.iterdir():
        media = _MEDIA.get(entry.name.rpartition(".")[2])
        if media is not None:
            assets[entry.name] = _asset(entry.read_bytes(), media)
    templates.globals["asset"] = lambda name: f"{ASSETS_PATH}/{name}?v={assets[name].tag}"
    assets[OFFLINE] = _asset(templates.get_template(OFFLINE).render(code="OFFLINE").encode(), "text/html")
    return Pages(templates, assets)


def asset_routes(pages: Pages) -> list[Route]:
    """Give the route of the files."""

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        found = pages.assets.get(name)
        if found is None:
            return Response(None, 404)
        lasting = request.query_params.get("v") == found.tag
        headers = {
            **HEADERS,
            "etag": f'"{found.tag}"',
            "cache-control": f"public, max-age={ASSETS_AGE_S}, immutable" if lasting else "no-cache",
        }
        if name == WORKER:
            headers["service-worker-allowed"] = "/"
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
        return Response(found.content, 200, headers, f"{found.media}; charset=utf-8")

    return [Route(f"{ASSETS_PATH}/{{name}}", asset, methods=["GET"])]


def answering(pages: Pages, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Read what is posted, and turn whatever goes wrong into a page that says what to do."""

    async def answer(request: Request) -> Response:
        given: Mapping[str, str] = {}
        try:
            if request.method == "POST":
                if not is_own(request):
                    raise BadPost(403, "FORBIDDEN", "Эта форма открыта не на нашем сайте.")
                given = await posted(request)
            async with asyncio.timeout(WAIT_S):
                return await handle(request, given)
        except BadPost as bad:
            return pages.page("message", bad.status, code=bad.code, title="Не получилось", text=str(bad), hint="")
        except TooManyAttempts as many:
            return pages.page(
                "message",
                429,
                code="TOO_MANY_ATTEMPTS",
                wait_s=many.wait_s,
                title="Слишком много попыток",
                text=str(many),
                hint="Номера лицевого счёта и счётчика напечатаны в квитанции.",
            )
        except (TryLater, *UNAVAILABLE):
            return pages.page(
                "later",
                503,
                code="TRY_LATER",
                wait_s=TRY_AGAIN_S,
                title="Сервис недоступен",
                path=request.url.path,
                given=given,
            )

    return answer


def is_own(request: Request) -> bool:
    """Say whether a form was posted from a page of ours; a program that sends neither header is nobody's browser."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def posted(request: Request) -> dict[str, str]:
    """Read the fields of a posted form.

    :raises BadPost: it is no such form, too long, or slow.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadPost(415, "NOT_UNDERSTOOD", "Форма отправлена в неизвестном виде.")
    body = b""
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise BadPost(413, "NOT_UNDERSTOOD", "В форме слишком много текста.")
    except TimeoutError:
        raise BadPost(408, "NOT_UNDERSTOOD", "Форма шла слишком долго.") from None
    try:
        given = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise BadPost(400, "NOT_UNDERSTOOD", "Форма отправлена в неизвестном виде.") from None
    fields = dict(given)
    if len(fields) < len(given):
        raise BadPost(400, "NOT_UNDERSTOOD", "Одно из полей пришло дважды.")
    return {name: value.replace("\x00", "") for name, value in fields.items()}


def address_of(door: Door, request: Request) -> str:
    """Give the caller's address."""
    return door.doorkeeper.address(request.scope["headers"], request.scope.get("client"))


def _asset(content: bytes, media: str) -> Asset:
    return Asset(content, media, sha256(content).hexdigest()[:16])
