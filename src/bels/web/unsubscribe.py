"""The link that stops letters: ``/u/TOKEN``. A mail program stops them with one click (RFC 8058), a person with one button.

Looking at it stops nothing, because programs that look for viruses open every link. Nobody logs in: whoever has the letter has
the link, and it can do nothing else.
"""

from __future__ import annotations

from html import escape

import asyncpg
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bels.access.vault import Vault
from bels.journal.faults import UNAVAILABLE
from bels.outgoing.choices import opened_token, unsubscribe

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
    "content-security-policy": ("default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
}

PAGE = """\
<!doctype html>
<html lang="ru">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title></head>
<body><main><h1>{title}</h1><p>{text}</p>{form}</main></body>
</html>
"""
FORM = """\
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button type="submit">Отписаться</button></form>
"""
ASK = "Напоминания и уведомления о вашем лицевом счёте больше не будут приходить на этот адрес."
DONE = "Больше мы на этот адрес не пишем. Вернуть сообщения можно в личном кабинете или по телефону."
WRONG = "Ссылка неверна или неполна. Скопируйте её из письма целиком."
LATER = "Сейчас это не получилось, вы ещё подписаны. Повторите через минуту."


def unsubscribe_routes(pool: asyncpg.Pool, vault: Vault) -> list[Route]:
    """Give the route of the links that letters end with."""

    async def page(request: Request) -> Response:
        token = request.path_params["token"]
        try:
            if request.method != "POST":
                known = await opened_token(vault, token) is not None
                return _page("Отписаться от сообщений", ASK, FORM) if known else _wrong()
            async with pool.acquire() as db:
                return _page("Вы отписаны", DONE) if await unsubscribe(db, vault, token) else _wrong()
        except UNAVAILABLE:
            return _page("Повторите позже", LATER, status=503, more={"retry-after": "60"})

    return [Route("/u/{token}", page, methods=["GET", "POST"])]


def _wrong() -> Response:
    return _page("Ссылка не подошла", WRONG, status=404)


def _page(title: str, text: str, form: str = "", *, status: int = 200, more: dict[str, str] | None = None) -> Response:
    body = PAGE.format(title=escape(title), text=escape(text), form=form)
    return HTMLResponse(body, status, {**HEADERS, **(more or {})})
