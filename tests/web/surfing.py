"""A person at the pages over plain HTTP: fills in what a page asks, follows its hidden fields, reads what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache

import httpx
from bs4 import BeautifulSoup, Tag
from starlette.applications import Starlette

from bels.reception.counter import Counter
from bels.web.form import form_routes
from bels.web.link_page import link_routes
from bels.web.pages import Pages, asset_routes, opened_pages

ADDRESS = "203.0.113.7"


@cache
def _pages() -> Pages:
    # Templates are read-only, and reading them takes longer than most tests.
    return opened_pages()


def app_of(counter: Counter) -> Starlette:
    """Put the pages together, as the server does."""
    pages = _pages()
    return Starlette(routes=[*asset_routes(pages), *form_routes(counter, pages), *link_routes(counter, pages)])


@dataclass(slots=True)
class Surfer:
    """Somebody at an address. ``answer`` is what came last, ``page`` is it read."""

    client: httpx.AsyncClient
    path: str = "/readings"
    posted: dict[str, str] = field(default_factory=dict)
    answer: httpx.Response | None = None

    @property
    def page(self) -> BeautifulSoup:
        """The page that came last."""
        assert self.answer is not None
        return BeautifulSoup(self.answer.text, "html.parser")

    @property
    def main(self) -> Tag:
        """Its main part."""
        found = self.page.find("main")
        assert isinstance(found, Tag)
        return found

    @property
    def code(self) -> str:
        """The outcome that it tells programs."""
        return str(self.main["data-code"])

    @property
    def receipt(self) -> str:
        """The receipt on it, "" where there is none."""
        found = self.main.select_one("[data-receipt]")
        return str(found["data-receipt"]) if found is not None else ""

    @property
    def warning(self) -> str:
        """Why a reading would be held, as the page warns; "" where it does not."""
        found = self.main.select_one("[data-warning]")
        return str(found["data-warning"]) if found is not None else ""

    @property
    def form(self) -> Tag:
        """The form of the page."""
        found = self.main.find("form")
        assert isinstance(found, Tag), self.words
        return found

    def fields(self) -> dict[str, str]:
        """Give the fields of the form as they stand."""
        return {str(each["name"]): str(each.get("value", "")) for each in self.form.find_all("input")}

    def said(self, field: str, attribute: str) -> str:
        """Give an attribute of a field."""
        found = self.main.find(id=field)
        assert isinstance(found, Tag)
        return str(found.get(attribute, ""))

    @property
    def words(self) -> str:
        """What it says."""
        return " ".join(self.main.get_text(" ").split())

    async def open(self, path: str) -> Surfer:
        """Open a page."""
        self.path = path
        self.answer = await self.client.get(path)
        return self

    async def post(self, path: str, posted: dict[str, str], **headers: str) -> Surfer:
        """Post fields."""
        self.path, self.posted = path, posted
        self.answer = await self.client.post(path, data=posted, headers=headers)
        return self

    async def go_on(self, typed: dict[str, str] | None = None, button: str = "") -> Surfer:
        """Fill in the form of the page and press a button, by the step that it sends."""
        posted = self.fields()
        typed = typed or {}
        assert set(typed) <= set(posted), (typed, posted)
        step = {"step": button} if button else {}
        return await self.post(str(self.form["action"]), {**posted, **typed, **step})

    async def again(self) -> Surfer:
        """Send the last form again, word for word."""
        return await self.post(self.path, self.posted)


@asynccontextmanager
async def surfing(app: Starlette, address: str = ADDRESS) -> AsyncIterator[Surfer]:
    """Let somebody at an address look at the pages."""
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as client:
        yield Surfer(client)
