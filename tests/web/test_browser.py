"""The pages in a real browser: on a small telephone, with and without JavaScript, by keyboard, offline, judged by axe-core."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from bels.access.links import Made, make_confirm_link, make_link
from bels.domain.commands import ClosePeriod, SubmitReading
from bels.domain.terms import Channel, Period
from bels.reception.counter import take
from tests.channels.cases import journal_of, unreachable
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.conftest import new_supplier
from tests.peers.browser import PHONE, WAIT_MS, browsing, faults_of, need_browser, served
from tests.web.surfing import app_of

pytestmark = pytest.mark.peer

PICTURES = os.environ.get("BELS_TEST_PICTURES")
"""A folder for pictures of the pages, where somebody wants to look at them."""


CONTROLLED = (
    "async () => { while (!navigator.serviceWorker.controller) await new Promise((on) => setTimeout(on, 20)); }"
)
"""Ends when the service worker stands behind the page."""


@dataclass(frozen=True, slots=True)
class Place:
    """A supplier's pages in a browser."""

    house: House
    browser: Browser
    url: str

    @asynccontextmanager
    async def person(self, **settings: Any) -> AsyncIterator[Page]:
        """Let somebody with a small telephone look; whatever the browser complains about is a fault."""
        given = {"viewport": PHONE, "locale": "ru-RU", "service_workers": "block", **settings}
        context: BrowserContext = await self.browser.new_context(**given)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "ontent Security Policy" in said.text else None)
        page.set_default_timeout(WAIT_MS)
        try:
            yield page
        finally:
            await context.close()
        # A picture is taken with a style that the policy forbids.
        assert PICTURES or complaints == []


@pytest.fixture(scope="module")
def own_database(postgres: str, template: str) -> str:
    need_browser()
    return new_supplier(postgres, template, f"bels_browser_{os.getpid()}")


@pytest.fixture(scope="module")
async def place(own_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(opened_house(own_database, tmp_path_factory.mktemp("browser")))
        url = await stack.enter_async_context(served(app_of(house.desk)))
        yield Place(house, await stack.enter_async_context(browsing()), url)


async def is_fine(page: Page, name: str) -> None:
    """Judge a page as it stands."""
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
    assert await faults_of(page) == []


async def find(page: Page, place: Place, account: str, meter: str) -> None:
    """Fill in the first page."""
    await page.goto(f"{place.url}/readings")
    await page.get_by_label("Лицевой счёт").fill(account)
    await page.get_by_label("Номер счётчика").fill(meter)
    await page.get_by_role("button", name="Продолжить").click()


async def go_through(page: Page, place: Place, name: str, account: str, meter: str, values: dict[str, str]) -> str:
    """Fill in the whole form with mistakes, judging every page, and give the receipt."""
    await page.goto(f"{place.url}/readings")
    await is_fine(page, f"{name}-1-find")
    await page.get_by_role("button", name="Продолжить").click()
    await expect(page.get_by_role("alert").filter(has_text="7 цифр")).to_be_visible()
    await expect(page.get_by_label("Лицевой счёт")).to_have_attribute("aria-invalid", "true")
    await is_fine(page, f"{name}-2-errors")
    await page.get_by_label("Лицевой счёт").fill(account)
    await page.get_by_label("Номер счётчика").fill(meter)
    await page.get_by_role("button", name="Продолжить").click()
    await expect(page.get_by_role("heading", name="Показания счётчика")).to_be_focused()
    await is_fine(page, f"{name}-3-values")
    for label, value in values.items():
        await page.get_by_label(label).fill(f"{value}9")
    await page.get_by_role("button", name="Продолжить").click()
    await expect(page.locator("[data-warning]")).to_be_visible()
    await is_fine(page, f"{name}-4-warning")
    await page.get_by_role("button", name="Изменить").click()
    for label, value in values.items():
        await expect(page.get_by_label(label)).to_have_value(f"{value}9")
        await page.get_by_label(label).fill(value)
    await page.get_by_role("button", name="Продолжить").click()
    await expect(page.get_by_role("heading", name="Проверьте и отправьте")).to_be_focused()
    await page.get_by_role("button", name="Отправить").dblclick()
    await expect(page.get_by_role("heading", name="Показание принято")).to_be_visible()
    await is_fine(page, f"{name}-5-done")
    return str(await page.locator("[data-receipt]").get_attribute("data-receipt"))


async def test_the_whole_form_on_a_small_telephone_with_htmx(place: Place) -> None:
    async with place.person(color_scheme="dark") as page:
        navigations: list[str] = []
        page.on("framenavigated", lambda frame: navigations.append(frame.url))
        values = {"T1, ночь": "1600", "T2, пик": "2100", "T3, полупик": "6100"}
        receipt = await go_through(page, place, "htmx", "1000002", "M-2", values)
        assert await page.title() == "Показание принято · БЭЛС"
        answered = await page.evaluate("performance.getEntriesByType('navigation').length")
        assert answered == 1

        # Back is a new beginning, not the same message once more.
        await page.go_back()
        await expect(page.get_by_label("Лицевой счёт")).to_be_visible()
        await page.goto(f"{place.url}/receipts")
        await page.get_by_label("Номер сообщения").fill(receipt)
        await page.get_by_role("button", name="Проверить").click()
        await expect(page.get_by_role("status")).to_contain_text("показание принято")
        await is_fine(page, "htmx-6-receipt")
    assert (await journal_of(place.house, "1000002")).count("ReadingAccepted") == 1


async def test_the_whole_form_without_javascript(place: Place) -> None:
    async with place.person(java_script_enabled=False) as page:
        await page.goto(f"{place.url}/readings")
        await page.get_by_role("button", name="Продолжить").click()
        await expect(page.get_by_role("alert").filter(has_text="7 цифр")).to_be_visible()
        await find(page, place, "1000003", "E-3")
        await expect(page.get_by_role("heading", name="Показания счётчика")).to_be_focused()
        await page.get_by_label("T1, день").fill("3100")
        await page.get_by_label("T2, ночь").fill("1600")
        await page.get_by_role("button", name="Продолжить").click()
        await page.get_by_role("button", name="Отправить").dblclick()
        await expect(page.get_by_role("heading", name="Показание принято")).to_be_visible()
        receipt = await page.locator("[data-receipt]").get_attribute("data-receipt")
        await page.reload()
        assert await page.locator("[data-receipt]").get_attribute("data-receipt") == receipt

        # Back shows what was sent; sending it again is the same message.
        await page.go_back()
        await page.get_by_role("button", name="Отправить").click()
        assert await page.locator("[data-receipt]").get_attribute("data-receipt") == receipt
    assert (await journal_of(place.house, "1000003")).count("ReadingAccepted") == 1


async def test_the_form_is_filled_in_by_keyboard_alone(place: Place) -> None:
    async with place.person() as page:
        await page.goto(f"{place.url}/readings")
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="К содержанию")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.type("1000006")
        await page.keyboard.press("Tab")
        await page.keyboard.type("E-6")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Показания счётчика")).to_be_focused()
        await page.keyboard.press("Tab")
        await page.keyboard.type("3100")
        await page.keyboard.press("Tab")
        await page.keyboard.type("12")
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-warning]")).to_contain_text("меньше прежнего")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Показание на проверке")).to_be_focused()
        await is_fine(page, "keyboard-held")


async def test_without_a_connection_the_page_says_that_nothing_was_taken(place: Place) -> None:
    async with place.person(service_workers="allow") as page:
        await find(page, place, "1000001", "E-1")
        await page.get_by_label("Показание").fill("10385")
        async with asyncio.timeout(10):
            await page.evaluate(CONTROLLED)
        await page.context.set_offline(True)
        await expect(page.get_by_role("alert")).to_contain_text("НЕ принято")
        await page.get_by_role("button", name="Продолжить").click()
        await is_fine(page, "offline-notice")
        await page.context.set_offline(False)
        await expect(page.locator("#offline")).to_be_hidden()
        await page.get_by_role("button", name="Продолжить").click()
        await expect(page.get_by_role("heading", name="Проверьте и отправьте")).to_be_visible()

        await page.context.set_offline(True)
        await page.goto(f"{place.url}/readings")
        await expect(page.get_by_role("heading", name="Нет связи")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("8 (495)")
        await is_fine(page, "offline-page")


async def test_a_database_that_is_down_is_said_and_what_was_typed_is_kept(place: Place) -> None:
    async with place.person() as page:
        await find(page, place, "1000001", "E-1")
        await page.get_by_label("Показание").fill("10385")
        await page.get_by_role("button", name="Продолжить").click()
        # The page that asks to send again has a button of a similar name: the right one must be there before.
        await expect(page.get_by_role("heading", name="Проверьте и отправьте")).to_be_visible()
        async with unreachable(place.house):
            await page.get_by_role("button", name="Отправить", exact=True).click()
            await expect(page.locator("main")).to_contain_text("НЕ принято")
            await is_fine(page, "later")
        await page.get_by_role("button", name="Отправить ещё раз").click()
        await expect(page.get_by_role("heading", name="Показание принято")).to_be_visible()


async def test_links_of_every_task_in_a_browser(place: Place) -> None:
    house, vault = place.house, place.house.desk.door.vault
    account = "1000007"
    sender = house.desk.sender(Channel.EMAIL, "ivan@example.org", proven=False)
    async with house.desk.pool.acquire() as db:
        reading = await make_link(db, vault, account, "reading", made_by="c-mail", now=house.now())
        bill = await make_link(db, vault, account, "bill", made_by="c-mail", now=house.now())
    assert isinstance(reading, Made)
    assert isinstance(bill, Made)
    command = SubmitReading(house.now(), {"total": "50"})
    held = (await take(house.desk, sender, "letter", account, command, "50")).outcome.receipt
    async with house.desk.pool.acquire() as db:
        confirm = await make_confirm_link(db, vault, account, held, sender.digest, Channel.EMAIL, house.now())
    async with place.person() as page:
        await page.goto(f"{place.url}/l/{confirm}")
        await is_fine(page, "link-confirm")
        await page.get_by_role("button", name="Подтвердить").click()
        await expect(page.get_by_role("heading", name="Показание принято")).to_be_visible()

        house.wait(minutes=1)
        await page.goto(f"{place.url}/l/{reading.token}")
        await is_fine(page, "link-reading")
        await page.get_by_label("Показание").fill("95")
        await page.get_by_role("button", name="Продолжить").click()
        await expect(page.locator(".values")).to_contain_text("95 кВт·ч")
        await is_fine(page, "link-weigh")
        await page.get_by_role("button", name="Отправить").dblclick()
        await expect(page.get_by_role("heading", name="Показание принято")).to_be_visible()
        await is_fine(page, "link-done")
        await page.go_back()
        await expect(page.get_by_role("heading", name="Ссылка уже использована")).to_be_visible()
        await is_fine(page, "link-used")

        house.at = moscow("2024-06-01T12:00")
        await house.do(account, ClosePeriod(Period("2024-05"), house.now()))
        async with house.desk.pool.acquire() as db:
            bill = await make_link(db, vault, account, "bill", made_by="c-mail", now=house.now())
        assert isinstance(bill, Made)
        await page.goto(f"{place.url}/l/{bill.token}")
        await expect(page.get_by_role("link", name="Открыть счёт, PDF")).to_be_visible()
        await is_fine(page, "link-bill")
