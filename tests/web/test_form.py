"""The form without a login: the twelve cases of all channels, and what stands between a stranger and somebody's account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bels.access.cabinets import ANSWER_S
from bels.domain.terms import Channel, HoldReason, Register
from bels.reception.counter import STRANGERS_A_DAY
from bels.web import form
from bels.web.drafts import DRAFT_LENGTH_MAX, BadDraft, Draft, opened, signed
from bels.web.pages import BODY_BYTES_MAX, FIELDS_MAX
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check, journal_of, unreachable
from tests.channels.house import House, opened_house
from tests.channels.household import METERS
from tests.web.surfing import Surfer, app_of, surfing

ACCOUNT, METER = "1000001", "E-1"
TOTAL = "value-total"
TELLABLE = [case for case in CASES if case.number in (1, 2, 3, 4, 9, 12)]
"""What the form passes on; the others it never makes a message of."""


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    async with opened_house(database, tmp_path) as house:
        yield house


@pytest.fixture
async def surfer(house: House) -> AsyncIterator[Surfer]:
    async with surfing(app_of(house.desk)) as surfer:
        yield surfer


async def find(surfer: Surfer, account: str = ACCOUNT, meter: str = METER) -> Surfer:
    """Fill in the first page."""
    await surfer.open("/readings")
    return await surfer.go_on({"account": account, "meter": meter})


async def filled(surfer: Surfer, value: str, account: str = ACCOUNT, meter: str = METER) -> Surfer:
    """Fill in the form up to the page that reads everything back."""
    await find(surfer, account, meter)
    return await surfer.go_on({TOTAL: value})


async def send(surfer: Surfer, value: str) -> Surfer:
    """Fill in the form and send it."""
    await filled(surfer, value)
    return await surfer.go_on(button="send")


async def messages(house: House) -> int:
    """Count the messages that came by the form."""
    return int(await house.desk.pool.fetchval("SELECT count(*) FROM message WHERE channel = 'web'"))


@dataclass(slots=True)
class ByForm:
    """Drives the form as a case asks."""

    surfer: Surfer
    last: tuple[str, dict[Register, str]] = ("", {})

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        self.last = account, values
        await self.surfer.open("/readings")
        await self.surfer.go_on({"account": account, "meter": meter or METERS[account].number})
        if self.surfer.code == TRY_LATER:
            return self._heard()
        await self.surfer.go_on({f"value-{register.value}": value for register, value in values.items()})
        await self.surfer.go_on(button="send")
        return self._heard()

    async def again(self, house: House) -> Heard:
        if self.surfer.posted["step"] == "send":
            await self.surfer.again()
            return self._heard()
        account, values = self.last
        return await self.send(house, account, values, meter=None, text=None)

    def _heard(self) -> Heard:
        return Heard(self.surfer.code, self.surfer.receipt, self.surfer.words)


@pytest.mark.parametrize("case", TELLABLE, ids=str)
async def test_a_case_of_all_channels_by_the_form(house: House, surfer: Surfer, case: Case) -> None:
    await check(house, ByForm(surfer), case)


async def test_what_nobody_may_ask_for_is_told_alike_and_is_no_message(house: House, surfer: Surfer) -> None:
    loop, told = asyncio.get_running_loop(), []
    # Unknown account, meter of another account, a closed meter, a closed account with another meter, and a robot.
    for account, meter in (("9999999", "E-1"), (ACCOUNT, "E-3"), ("1000007", "E-7"), ("1000005", "E-1")):
        asked_at = loop.time()
        await find(surfer, account, meter)
        assert surfer.answer is not None
        assert loop.time() - asked_at >= ANSWER_S
        told.append(
            (surfer.answer.status_code, surfer.code, surfer.answer.text.replace(account, "").replace(meter, ""))
        )
    await surfer.open("/readings")
    await surfer.go_on({"account": ACCOUNT, "meter": METER, "website": "https://spam.example"})
    assert surfer.answer is not None
    told.append((422, surfer.code, surfer.answer.text.replace(ACCOUNT, "").replace(METER, "")))

    assert len(set(told)) == 1
    assert told[0][:2] == (422, "NOT_FOUND")
    assert await messages(house) == 0
    for account in (ACCOUNT, "1000007"):
        assert "ReadingRefused" not in await journal_of(house, account)


async def test_whoever_knows_both_numbers_hears_why_nothing_is_taken(house: House, surfer: Surfer) -> None:
    for account, meter, code in (
        ("1000004", "S-4", "METER_NOT_READ_BY_CONSUMER"),
        ("1000005", "E-5", "ACCOUNT_CLOSED"),
    ):
        await find(surfer, account, meter)
        assert (surfer.code, await messages(house)) == (code, 0)


async def test_what_is_typed_wrongly_stands_beside_its_field(house: House, surfer: Surfer) -> None:
    await find(surfer, "привет как дела", "")
    assert surfer.code == "BAD_ACCOUNT"
    assert "account-error" in surfer.said("account", "aria-describedby")
    assert "7 цифр" in surfer.words

    await find(surfer, "1000003", "E-3")
    await surfer.go_on({"value-day": "3100"})
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (422, "TOO_FEW_VALUES")
    assert surfer.main.find(id="value-night-error") is not None
    await surfer.go_on({"value-day": "12a45", "value-night": "1600"})
    assert surfer.code == "BAD_VALUE"
    await surfer.go_on({"value-day": "3100123", "value-night": "1600"})
    assert surfer.code == "TOO_MANY_DIGITS"
    await surfer.go_on({"value-day": "3100,7", "value-night": "1600"})
    assert "3100 кВт·ч" in surfer.words
    assert await messages(house) == 0


async def test_registers_are_asked_for_in_the_order_of_the_display_and_read_back_by_name(
    house: House, surfer: Surfer
) -> None:
    await find(surfer, "1000002", "№ м-2")
    labels = [label.get_text() for label in surfer.main.find_all("label")]
    assert labels == ["T1, ночь", "T2, пик", "T3, полупик"]

    await surfer.go_on({"value-night": "1600", "value-peak": "2100", "value-half_peak": "6100"})
    for said in ("T1, ночь 1600 кВт·ч", "T2, пик 2100 кВт·ч", "T3, полупик 6100 кВт·ч"):
        assert said in surfer.words
    await surfer.go_on(button="send")
    assert "полупик 6100, ночь 1600, пик 2100" in surfer.words


async def test_a_stranger_hears_neither_the_consumption_nor_the_previous_value(house: House, surfer: Surfer) -> None:
    seen = []
    for step in (find(surfer), filled(surfer, "10385"), send(surfer, "10385")):
        await step
        seen.append(surfer.words)

    assert not any(secret in page for page in seen for secret in ("10200", "185 кВт"))


async def test_what_was_typed_can_be_changed_before_it_is_sent(house: House, surfer: Surfer) -> None:
    await filled(surfer, "10358")
    await surfer.go_on(button="edit")
    assert surfer.said(TOTAL, "value") == "10358"

    await surfer.go_on({TOTAL: "10385"})
    await surfer.go_on(button="send")
    assert (surfer.code, "10385" in surfer.words, await messages(house)) == ("ACCEPTED", True, 1)


async def test_a_double_click_and_a_reload_give_the_same_receipt(house: House, surfer: Surfer) -> None:
    await filled(surfer, "10385")
    posted = surfer.fields() | {"step": "send"}
    answers = await asyncio.gather(*(surfer.client.post("/readings", data=posted) for _ in range(3)))
    receipts = {Surfer(surfer.client, answer=answer).receipt for answer in answers}
    house.wait(hours=2)
    later = await surfer.post("/readings", posted)

    assert receipts == {later.receipt}
    assert await messages(house) == 1


async def test_another_reading_of_the_month_is_held_and_the_page_warned(house: House, surfer: Surfer) -> None:
    await send(surfer, "10385")
    await filled(surfer, "10400")
    assert surfer.warning == HoldReason.UNCONFIRMED_SENDER.value

    await surfer.go_on(button="send")
    assert surfer.code == "UNCONFIRMED_SENDER"
    assert "личный кабинет" in surfer.words


async def test_a_very_high_reading_counts_when_its_sender_says_so_again(house: House, surfer: Surfer) -> None:
    await send(surfer, "99000")
    assert surfer.code == "IMPLAUSIBLE"

    await surfer.go_on(button="affirm")
    confirmed = surfer.receipt
    assert surfer.code == "ACCEPTED"
    assert (await surfer.again()).receipt == confirmed
    assert (await journal_of(house, ACCOUNT))[-2:] == ["ReadingHeld", "ReadingConfirmed"]


async def test_a_lower_reading_is_not_made_to_count_by_its_sender(house: House, surfer: Surfer) -> None:
    await send(surfer, "9999")
    assert surfer.code == "LESS_THAN_PREVIOUS"
    assert surfer.main.find("form") is None


async def test_the_previous_reading_cannot_be_asked_for_by_trying(house: House, surfer: Surfer) -> None:
    await find(surfer)
    page = surfer.answer
    warned = []
    for i in range(STRANGERS_A_DAY + 2):
        surfer.answer = page
        await surfer.go_on({TOTAL: str(9000 + i)})
        warned.append(surfer.warning != "")

    assert warned == [True] * STRANGERS_A_DAY + [False] * 2


async def test_the_meters_of_an_account_cannot_be_tried_out(house: House, surfer: Surfer) -> None:
    statuses = []
    for i in range(7):
        await find(surfer, ACCOUNT, f"E-{i + 100}")
        assert surfer.answer is not None
        statuses.append(surfer.answer.status_code)
    assert statuses == [422] * 6 + [429]
    assert surfer.answer is not None
    assert int(surfer.answer.headers["retry-after"]) >= 1

    # Its household, at an address of its own, waits a little and comes in.
    house.wait(seconds=3)
    async with surfing(app_of(house.desk), "198.51.100.9") as neighbour:
        await find(neighbour)
        assert neighbour.main.find(id=TOTAL) is not None


async def test_readings_of_an_account_are_read_back_so_often_a_day(
    house: House, surfer: Surfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "STEPS_A_DAY", 1)
    await filled(surfer, "10385")
    assert "10385 кВт·ч" in surfer.words
    await filled(surfer, "10386")
    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (429, "TOO_MANY_MESSAGES")


async def test_an_address_sends_so_many_readings_a_day(
    house: House, surfer: Surfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "FORMS_A_DAY", 1)
    await send(surfer, "10385")
    await filled(surfer, "10390")
    await surfer.go_on(button="send")

    assert (surfer.answer and surfer.answer.status_code, surfer.code) == (429, "TOO_MANY_MESSAGES")
    house.wait(days=1)
    await send(surfer, "10395")
    assert surfer.receipt


async def test_a_draft_is_over_after_half_an_hour_and_is_nobodys_to_write(house: House, surfer: Surfer) -> None:
    vault, now = house.desk.door.vault, house.now()
    draft = await signed(vault, Draft("send", ACCOUNT, METER, {"total": "10385"}), now)
    content, _, signature = draft.partition(".")
    for wrong in (
        "",
        ".",
        f"{content}.",
        f"{content[:-4]}AAAA.{signature}",
        f"{content}.é",
        "x" * (DRAFT_LENGTH_MAX + 1),
    ):
        with pytest.raises(BadDraft):
            await opened(vault, wrong, "send")
        assert (await surfer.post("/readings", {"step": "send", "draft": wrong})).code == "NOT_UNDERSTOOD"
    with pytest.raises(BadDraft):
        await opened(vault, draft, "values")
    house.wait(minutes=31)
    await surfer.post("/readings", {"step": "send", "draft": draft})

    assert surfer.code == "OVER"
    assert "НЕ принято" in surfer.words
    assert await messages(house) == 0


async def test_a_reading_is_sent_again_when_the_database_is_back_and_is_one(house: House, surfer: Surfer) -> None:
    await filled(surfer, "10385")
    async with unreachable(house):
        await surfer.go_on(button="send")
        assert surfer.answer is not None
        assert (surfer.answer.status_code, surfer.code) == (503, TRY_LATER)
        assert "retry-after" in surfer.answer.headers
        assert "НЕ принято" in surfer.words
        await surfer.go_on()
        assert surfer.code == TRY_LATER
    await surfer.go_on()

    assert (surfer.code, await messages(house)) == ("ACCEPTED", 1)
    assert (await journal_of(house, ACCOUNT)).count("ReadingAccepted") == 1


async def test_a_form_of_another_site_is_refused(house: House, surfer: Surfer) -> None:
    given = {"step": "find", "account": ACCOUNT, "meter": METER}
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
    ):
        assert (await surfer.post("/readings", given, **headers)).code == "FORBIDDEN"
    for headers in ({"sec-fetch-site": "same-origin", "origin": "null"}, {"origin": "http://bels"}):
        assert (await surfer.post("/readings", given, **headers)).main.find(id=TOTAL) is not None


async def test_what_no_browser_posts_gets_a_page_that_says_so(surfer: Surfer) -> None:
    form = "application/x-www-form-urlencoded"
    for status, content, media in (
        (413, b"step=" + b"x" * BODY_BYTES_MAX, form),
        (415, b"{}", "application/json"),
        (400, b"step=find&step=send", form),
        (400, b"&".join(b"f%d=1" % i for i in range(FIELDS_MAX + 1)), form),
        (400, b"step=%ff", form),
        (400, b"step=fly", form),
        (422, b"step=find&account=%00&meter=" + b"1" * 999, form),
    ):
        answer = await surfer.client.post("/readings", content=content, headers={"content-type": media})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_receipt_tells_its_state_and_no_values(house: House, surfer: Surfer) -> None:
    await send(surfer, "10385")
    receipt = surfer.receipt
    await surfer.open("/receipts")
    await surfer.go_on({"number": f"№ {receipt[:4].lower()} {receipt[4:]}"})
    assert "показание принято" in surfer.words
    assert "10385" not in surfer.words

    await surfer.go_on({"number": "ABCDEFGH"})
    assert "не найден" in surfer.words
    await surfer.go_on({"number": "?"})
    assert (surfer.answer and surfer.answer.status_code) == 422
    statuses = []
    for _ in range(32):
        await surfer.go_on({"number": "ABCDEFGH"})
        assert surfer.answer is not None
        statuses.append(surfer.answer.status_code)
        if statuses[-1] == 429:
            break
    assert statuses[-1] == 429


async def test_nothing_inline_nothing_foreign_and_nothing_kept_by_others(surfer: Surfer) -> None:
    await surfer.open("/readings")
    assert surfer.answer is not None
    headers = surfer.answer.headers
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"].startswith("private")
    for tag in surfer.page.find_all(True):
        assert not any(name.startswith("on") or name == "style" for name in tag.attrs)
        assert not (tag.name in ("script", "style") and tag.get_text())
        for name in ("src", "href", "action"):
            assert str(tag.get(name, "/")).startswith(("/", "#", "tel:+7495"))
    for name in ("src", "href"):
        for tag in surfer.page.select(f"[{name}]"):
            if str(tag[name]).startswith("/web/"):
                file = await surfer.client.get(str(tag[name]))
                assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)
                seen = await surfer.client.get(str(tag[name]), headers={"if-none-match": file.headers["etag"]})
                assert seen.status_code == 304
    assert (await surfer.client.get("/web/htmx.LICENSE.txt")).status_code == 404
    assert (await surfer.client.get("/web/..%2fform.py")).status_code == 404


async def test_who_sent_it_is_nobody_and_its_raw_words_are_kept(house: House, surfer: Surfer) -> None:
    await send(surfer, "10385")
    row = await house.desk.pool.fetchrow("SELECT actor, raw, m::text AS whole FROM message m WHERE channel = 'web'")
    assert row is not None

    assert (row["actor"], row["raw"]) == ("web:unknown", "1000001#E-1#total=10385")
    assert Channel(row["actor"].partition(":")[0]) is Channel.WEB
    assert surfer.client.headers["user-agent"] not in row["whole"]
    assert isinstance(surfer.answer, httpx.Response)
