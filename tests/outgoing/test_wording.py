"""The words of reminders and notices where there is little room for them, or little to say."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from bels.domain.forecast_estimate import Silent
from bels.domain.periods import MOSCOW
from bels.domain.terms import Mode, Money, Period, Register, Rule
from bels.outgoing.hours import is_quiet, next_morning, today_since
from bels.outgoing.reminders import ReminderKind, due
from bels.outgoing.wording import first_that_fits, reminder
from bels.words import SMS_LENGTH_MAX
from tests.channels.household import moscow
from tests.rules import DEFAULT_RULEBOOK

PERIOD = Period("2024-06")
SILENT = Silent(PERIOD, Mode.NORMATIVE_INCREASED, {Register.TOTAL: 12345}, Rule.P60_3, 4)
DEADLINE = date(2024, 6, 25)


def short(link: str | None, cost: Money | None = Decimal("123456.78")) -> str:
    """Word a reminder as an SMS."""
    return reminder("1000001", PERIOD, ReminderKind.WINDOW_CLOSES, DEADLINE, SILENT, cost, link).sms


def test_an_sms_says_as_much_as_fits_and_a_link_is_whole_or_not_there() -> None:
    token = "bels_l_" + "x" * 43
    for host in ("b.ru", "lk.bels-balashiha.ru", "x" * 30 + ".example.ru", "x" * 120 + ".ru"):
        link = f"https://{host}/l/{token}"
        text = short(link)
        assert len(text) <= SMS_LENGTH_MAX
        assert (link in text) is (host != "x" * 120 + ".ru"), host
        assert "25.06" in text
        assert "123\u00a0456,78\u00a0₽" in text or "x" * 30 in host


def test_without_a_link_an_sms_shows_how_to_answer_and_how_to_stop() -> None:
    assert short(None, Decimal("533.00")).endswith("Пример ответа: 1000001#12345. Отписка: СТОП")


def test_where_a_rate_is_not_known_no_roubles_are_named() -> None:
    told = reminder("1000001", PERIOD, ReminderKind.WINDOW_OPENS, DEADLINE, SILENT, None, None)

    assert "₽" not in told.text + told.sms
    assert "начислим 12345 кВт·ч по нормативу с повышающим коэффициентом" in told.text


def test_what_never_fits_is_cut() -> None:
    assert len(first_that_fits(["x" * 200, "y" * 150])) == SMS_LENGTH_MAX


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2024-05-22T23:59", None),
        ("2024-05-23T00:00", ("2024-05", ReminderKind.WINDOW_CLOSES)),
        ("2024-05-25T23:59", ("2024-05", ReminderKind.WINDOW_CLOSES)),
        ("2024-05-26T00:00", ("2024-06", ReminderKind.WINDOW_OPENS)),
        ("2024-05-28T23:59", ("2024-06", ReminderKind.WINDOW_OPENS)),
        ("2024-05-29T00:00", None),
        ("2024-12-26T00:00", ("2025-01", ReminderKind.WINDOW_OPENS)),
    ],
)
def test_a_reminder_is_due_by_the_deadline_of_the_rulebook(at: str, expected: tuple[str, ReminderKind] | None) -> None:
    found = due(moscow(at), DEFAULT_RULEBOOK)

    assert (found[:2] if found is not None else None) == expected


def test_the_quiet_hours_are_those_of_moscow() -> None:
    # 18:00 UTC is 21:00 in Moscow.
    assert is_quiet(datetime(2024, 5, 23, 18, tzinfo=UTC))
    assert not is_quiet(datetime(2024, 5, 23, 17, 59, tzinfo=UTC))
    assert not is_quiet(datetime(2024, 5, 24, 6, tzinfo=UTC))
    evening = datetime(2024, 5, 23, 22, tzinfo=UTC)
    assert next_morning(evening) == datetime(2024, 5, 25, 9, tzinfo=MOSCOW)
    assert today_since(evening) == datetime(2024, 5, 24, tzinfo=MOSCOW)
