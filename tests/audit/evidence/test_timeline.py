"""The story of an account for a person: everything is told, nothing runs, hostile words stay words."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zipfile import ZipFile

import pytest
from bs4 import BeautifulSoup, Tag

from bels.access.acts import Act, ActRow
from bels.audit.evidence.rows import Received
from bels.audit.evidence.timeline import Facts, opened_words, story, timeline, visible
from bels.domain.account import nobody, replay
from bels.domain.commands import ClosePeriod, Command
from bels.domain.decide import decide
from bels.domain.periods import MOSCOW
from bels.domain.terms import AccountNumber, Channel, Period
from bels.journal.entry import Entry
from tests.audit.evidence.life import ADDRESS, NAME, SCRIPT, TURNED, WORDS
from tests.domain.trade import INSTALL, OPEN
from tests.rules import DEFAULT_RULEBOOK


def page_of(pack: bytes) -> BeautifulSoup:
    """Read the page of a pack."""
    with ZipFile(io.BytesIO(pack)) as read:
        return BeautifulSoup(read.read("timeline.html").decode(), "html.parser")


def text_of(page: BeautifulSoup | Tag) -> str:
    """Give what a page says, in one line."""
    return " ".join(page.get_text(" ").split())


@pytest.fixture(scope="session")
def page(included: bytes) -> BeautifulSoup:
    """Read the page with personal data."""
    return page_of(included)


def test_the_head_says_whose_history_it_is_and_what_is_sealed(page: BeautifulSoup, masked: bytes) -> None:
    head = page.header
    assert head is not None
    told = text_of(head)
    assert "Лицевой счёт 1000001" in told
    assert re.search(r"печать №2 от 02\.11\.2024 03:00, записи по №\d+; после неё — ещё 1", told)
    assert "20.11.2024 12:00, для u-auditor" in told
    assert f"{NAME}; {ADDRESS}" in told
    assert re.search(r"(долг|аванс) [\d\xa0 ]+,\d\d", told)
    hidden = page_of(masked).header
    assert hidden is not None
    assert "скрыты: имена, адреса, слова сообщений и снимки" in text_of(hidden)


def test_the_story_is_told_by_months_that_end_with_their_bill(page: BeautifulSoup) -> None:
    titles = [text_of(each) for each in page.find_all("h2")]
    assert titles == [
        "Счета по месяцам",
        *["Апрель 2024", "Май 2024", "Июнь 2024", "Июль 2024", "Август 2024", "Сентябрь 2024", "Октябрь 2024"][1:],
        "Ноябрь 2024, период ещё не закрыт",
    ]
    table = page.select_one("table.bills")
    assert table is not None
    for link in table.select("a"):
        section = page.find(id=str(link["href"])[1:])
        assert isinstance(section, Tag)
        assert "Период" in text_of(section)
        assert "закрыт" in text_of(section)


def test_an_entry_says_when_it_was_true_who_said_it_and_how_every_sum_was_found(page: BeautifulSoup) -> None:
    story = text_of(page)
    assert f"«{WORDS}»" in story
    assert "квитанция" in story
    assert "Отправитель привязан к счёту" in story
    assert re.search(r"показание 20\.05\.2024 минус показание 24\.04\.2024", story)
    assert re.search(r"\d+ − 10200 = \d+ кВт·ч", story)
    assert "Пени на долг за" in story
    assert "SMS: не принято" in story
    assert "Показание «сто» не принято" in story
    assert "(6 разрядов, один тариф)" in story
    assert re.search(r"Повторяет показание №\d+: дан тот же ответ", story)
    assert re.search(r"Снимок показаний e-\w+, SHA-256 [0-9a-f]{16}", story)
    assert "Внесены персональные данные" in story
    assert "Показание на проверке: не понадобилось. Сообщение потребителю" in story
    assert "Ответ: отправлено 20.05.2024" in story
    assert story.count("Ещё не опечатано.") == 1


def test_a_masked_page_shows_neither_words_nor_texts(masked: bytes) -> None:
    page = page_of(masked)
    said = [text_of(each) for each in page.select(".said")]
    # What the house does is told in its own tongue, with brackets.
    people = [each for each in said if "(" not in each]
    assert people == ["«1000001#10385»", "«1000001#10390»", "«1000001#99000»", "«10386»"]


def test_hostile_words_run_nothing_and_hide_nothing(page: BeautifulSoup) -> None:
    told = str(page)
    assert SCRIPT not in told
    assert SCRIPT in text_of(page)
    assert not page.find_all(["script", "img", "iframe", "object", "link", "form", "a"], href=False)
    assert all(str(each["href"]).startswith("#m-") for each in page.find_all("a"))
    assert TURNED not in told
    assert "тихо\\u202eоплачено\\u2066" in told
    assert not re.search(r"(?i)\bon\w+\s*=", re.sub(r">[^<]*<", "><", told))
    assert not re.search(r"(?i)url\(|@import|https?:", re.sub(r">[^<]*<", "><", told))
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert isinstance(policy, Tag)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_signs_that_turn_or_hide_others_are_seen() -> None:
    assert visible("а\u202eб\u200bв\x00 г\xa0д\nе") == "а\\u202eб\\u200bв\\u0000 г\xa0д\nе"


def test_words_that_a_program_wrote_or_that_stay_sealed_are_not_shown() -> None:
    assert opened_words("sealed:AAAA", 10) == ""
    assert opened_words('{"value":"1"}', 10) == ""
    assert opened_words("один два три", 8) == "один два…"


def entries() -> list[Entry]:
    """Open an account in the year 2024 and close two months of it, all recorded at one moment, as a move from elsewhere is."""
    account, told = nobody("1000000"), list[Entry]()
    months = (("2024-01", 2), ("2024-02", 3))
    closings = [ClosePeriod(Period(period), datetime(2024, month, 1, 1, tzinfo=MOSCOW)) for period, month in months]
    life: list[Command] = [OPEN, INSTALL, *closings]
    for n, command in enumerate(life):
        events = decide(account, command, DEFAULT_RULEBOOK)
        account = replay(account, events)
        for event in events:
            told.append(
                Entry(AccountNumber("1000000"), len(told) + 1, MOVED, Channel.MIGRATION, "migration:1", f"R{n}", event)
            )
    return told


MOVED = datetime(2026, 1, 1, tzinfo=UTC)
BARE = Facts(
    "1000000", MOVED, "u-auditor", False, (), (), b"\0" * 32, None, 0, (), {}, (), (), (), (), (), {}, (), None, None, None, None
)  # fmt: skip


def test_a_history_that_came_in_one_moment_is_told_by_its_own_months() -> None:
    months = story(replace(BARE, entries=entries()))
    assert [month.title for month in months] == ["Январь 2024", "Февраль 2024"]


def test_what_led_to_no_entry_stands_where_we_knew_it() -> None:
    refused = Received("RRRR", "sms", "1", "sms:x", MOVED, "PARKED", b"", None, None, (), "")
    act = ActRow(1, MOVED - timedelta(days=1), Act.LINK_MADE, "u-1", "l-1", "1000000", None, None, "")
    (month,) = story(replace(BARE, messages=(refused,), acts=(act,)))
    told = [(item.title, list(item.notes)) for item in month.items]
    assert told == [("Доступ", ["Выдана одноразовая ссылка"]), ("SMS: ждёт оператора", ["Записей в счёте нет."])]
    assert month.title == "После последнего счёта"


def test_entries_that_cannot_be_read_are_named() -> None:
    assert "не удалось прочитать: №3, №7" in text_of(
        BeautifulSoup(timeline(replace(BARE, unread=(3, 7))), "html.parser")
    )
