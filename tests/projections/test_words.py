"""Events in Russian words: no English name of a register, no word twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bels.domain.events import ReadingRefused
from bels.domain.terms import Reason
from bels.projections.words import words
from tests.domain.trade import INSTALLED


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"total": "сто"}, "Показание «сто» не принято"),
        ({"day": "сто", "half_peak": "1"}, "Показание день «сто», полупик «1» не принято"),
        ({"T9": "1"}, "Показание T9 «1» не принято"),
        ({}, "Показание без значений не принято"),
    ],
)
def test_a_refused_reading_names_its_registers_in_russian(values: dict[str, str], said: str) -> None:
    assert words(ReadingRefused(Reason.TOO_MANY_DIGITS, INSTALLED.installed_at, values)).startswith(said)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("", "показанием 10000."),
        ("17/24", "показанием 10000, акт 17/24."),
        ("Акт допуска 17", "показанием 10000, акт допуска 17."),
        ("Актив", "показанием 10000, акт Актив."),
    ],
)
def test_an_act_is_called_an_act_once(act: str, said: str) -> None:
    told = words(replace(INSTALLED, act=act))
    assert told.endswith(said)
    assert "(5 разрядов, один тариф)" in told
