"""The price of a period's kWh: tariffs, ranges shared by registers, the norm and its increase (rules 1.6, 1.7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.charge_usage import Unpriced, charge_usage, sum_of, usage_of
from bels.domain.events import UsageLine
from bels.domain.money_events import ChargeLine
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Mode, Period, Reason, Register, Rule, Scheme
from tests.domain.lives import REGISTERS
from tests.domain.test_laws import steady
from tests.domain.vectors import RULEBOOK
from tests.rules import DEFAULT_RULEBOOK

GAS = "MO/urban_gas"
WINTER = Period("2025-01")
ORDER = (Register.TOTAL, Register.DAY, Register.PEAK, Register.HALF_PEAK, Register.NIGHT)


def used(register: Register, kwh: int, mode: Mode = Mode.METERED) -> UsageLine:
    """Say what a register used."""
    rules = {Mode.METERED: Rule.APP2_F1, Mode.AVERAGE: Rule.P59G, Mode.NORMATIVE_INCREASED: Rule.P60_3}
    return UsageLine(register, kwh, mode, rules[mode])


def charged(*lines: UsageLine, period: Period = WINTER, rules: Rulebook = DEFAULT_RULEBOOK) -> tuple[ChargeLine, ...]:
    """Price lines that can be priced."""
    charges = charge_usage(lines, GAS, period, rules)
    assert not isinstance(charges, Unpriced)
    return charges


def told(charges: tuple[ChargeLine, ...]) -> list[tuple[str, int, int, str]]:
    """Say lines in short: register, range, kWh, amount."""
    return [(c.register.value, c.range, c.kwh, str(c.amount)) for c in charges]


def largest_remainder(whole: int, weights: list[int]) -> list[int]:
    """Share a whole by exact fractions."""
    exact = [Fraction(whole * w, sum(weights)) for w in weights]
    shares = [int(e) for e in exact]
    for i in sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))[: whole - sum(shares)]:
        shares[i] += 1
    return shares


def by_hand(kwh: dict[Register, int], limits: tuple[int, ...]) -> dict[tuple[Register, int], int]:
    """Split kWh over the ranges as rules 1.6 say, negative registers whole in range 1."""
    left = {r: kwh[r] for r in ORDER if kwh.get(r, -1) >= 0}
    split = {(r, 1): n for r, n in kwh.items() if n < 0} | {(r, 1): 0 for r in left}
    below = 0
    for number, limit in enumerate((*limits, 10**12), start=1):
        rest = sum(left.values())
        taken = min(limit - below, rest)
        below = limit
        if taken:
            for register, share in zip(left, largest_remainder(taken, list(left.values())), strict=True):
                if share or number == 1:
                    split[register, number] = share
                left[register] -= share
    return split


@steady(500)
@given(
    registers=st.sampled_from(REGISTERS),
    kwh=st.lists(st.one_of(st.integers(0, 9000), st.integers(-500, 3), st.just(2001)), min_size=3, max_size=3),
    period=st.sampled_from((WINTER, Period("2024-12"), Period("2026-11"))),
)
def test_each_register_gets_its_share_of_each_range_and_each_line_is_rounded_once(
    registers: tuple[Register, ...], kwh: list[int], period: Period
) -> None:
    volumes = dict(zip(registers, kwh, strict=False))

    charges = charged(*(used(r, n) for r, n in volumes.items()), period=period)

    limits = (3900, 6000) if period >= "2025-01" else ()
    assert {(c.register, c.range): c.kwh for c in charges} == by_hand(volumes, limits)
    scheme = {1: Scheme.SINGLE, 2: Scheme.TWO_ZONE, 3: Scheme.THREE_ZONE}[len(registers)]
    tariff = DEFAULT_RULEBOOK.tariff_of(GAS, scheme, period)
    assert tariff is not None
    for c in charges:
        assert c.rate == tariff.rates[c.register][c.range - 1]
        assert c.tariff == tariff.version
        assert c.amount == (c.kwh * c.rate).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert sum_of(charges) == sum((c.amount for c in charges), Decimal(0))
    assert {line.register: line.kwh for line in usage_of(charges)} == volumes


@steady(300)
@given(
    failed=st.lists(st.integers(0, 4000), min_size=3, max_size=3),
    new=st.lists(st.integers(0, 4000), min_size=3, max_size=3),
    registers=st.tuples(st.sampled_from(REGISTERS), st.sampled_from(REGISTERS)),
)
def test_a_failed_meter_and_the_new_one_share_the_ranges_of_the_month(
    failed: list[int], new: list[int], registers: tuple[tuple[Register, ...], tuple[Register, ...]]
) -> None:
    old, young = registers
    lines = [used(r, n, Mode.AVERAGE) for r, n in zip(old, failed, strict=False)]
    lines += [used(r, n) for r, n in zip(young, new, strict=False)]
    volumes: dict[Register, int] = {}
    for line in lines:
        volumes[line.register] = volumes.get(line.register, 0) + line.kwh

    charges = charged(*lines)

    split: dict[tuple[Register, int], int] = {}
    for c in charges:
        split[c.register, c.range] = split.get((c.register, c.range), 0) + c.kwh
        assert c.kwh >= 0
    assert split == by_hand(volumes, (3900, 6000))
    for line in lines:
        assert sum(c.kwh for c in charges if (c.register, c.mode) == (line.register, line.mode)) == line.kwh
    assert sorted(usage_of(charges), key=repr) == sorted(lines, key=repr)


def test_equal_remainders_go_by_the_order_of_registers_whichever_meter_came_first() -> None:
    failed = (used(Register.DAY, 1951, Mode.AVERAGE), used(Register.NIGHT, 1, Mode.AVERAGE))

    charges = charged(*failed, used(Register.TOTAL, 1951))

    assert told(charges) == [
        ("day", 1, 1949, "16430.07"),
        ("day", 2, 2, "22.98"),
        ("night", 1, 1, "3.70"),
        ("total", 1, 1950, "14293.50"),
        ("total", 2, 1, "9.99"),
    ]


@pytest.mark.parametrize(
    ("kwh", "expected"),
    [
        (0, [(1, 0, "0.00")]),
        (3900, [(1, 3900, "28587.00")]),
        (3901, [(1, 3900, "28587.00"), (2, 1, "9.99")]),
        (6000, [(1, 3900, "28587.00"), (2, 2100, "20979.00")]),
        (6001, [(1, 3900, "28587.00"), (2, 2100, "20979.00"), (3, 1, "11.52")]),
        (-3901, [(1, -3901, "-28594.33")]),
    ],
)
def test_ranges_are_marginal_and_a_negative_register_is_whole_in_the_first(
    kwh: int, expected: list[tuple[int, int, str]]
) -> None:
    assert [t[1:] for t in told(charged(used(Register.TOTAL, kwh)))] == expected


def test_a_negative_register_takes_no_part_in_the_split_of_the_others() -> None:
    charges = charged(used(Register.PEAK, -100), used(Register.HALF_PEAK, 3000), used(Register.NIGHT, 1200))

    assert [(c.register.value, c.range, c.kwh) for c in charges] == [
        ("peak", 1, -100),
        ("half_peak", 1, 2786),  # 3900 x 3000 / 4200 = 2785.71
        ("half_peak", 2, 214),
        ("night", 1, 1114),
        ("night", 2, 86),
    ]


def test_the_increase_of_the_norm_stands_beside_each_range_and_comes_to_half_of_it() -> None:
    charges = charged(used(Register.TOTAL, 4001, Mode.NORMATIVE_INCREASED))

    assert told(charges) == [
        ("total", 1, 3900, "28587.00"),
        ("total", 1, 0, "14293.50"),
        ("total", 2, 101, "1008.99"),
        ("total", 2, 0, "504.50"),  # 101 x 9.99 x 1.5 = 1513.485, so 1513.49 in all
    ]
    assert [c.coefficient for c in charges] == [None, Decimal("1.5"), None, Decimal("1.5")]
    assert [(u.register, u.kwh) for u in usage_of(charges)] == [(Register.TOTAL, 4001)]


def test_a_half_kopeck_is_rounded_away_from_nothing_on_either_side() -> None:
    half = tuple(replace(t, rates=dict.fromkeys(t.rates, (Decimal("0.005"),))) for t in DEFAULT_RULEBOOK.tariffs)
    rules = replace(DEFAULT_RULEBOOK, tariffs=half)

    assert told(charged(used(Register.TOTAL, 1), rules=rules)) == [("total", 1, 1, "0.01")]
    assert told(charged(used(Register.TOTAL, -1), rules=rules)) == [("total", 1, -1, "-0.01")]


@pytest.mark.parametrize(
    ("register", "kwh", "period", "reason", "detail"),
    [
        (Register.TOTAL, 3901, "2025-03", Reason.TARIFF_INCOMPLETE, "2025-03: MO/urban_gas/single/"),
        (Register.TOTAL, 0, "2025-07", Reason.NO_TARIFF, "2025-07: MO/urban_gas/single/"),
        (Register.DAY, 1, "2023-01", Reason.NO_TARIFF, "2023-01: MO/urban_gas/two_zone/"),
        (Register.TOTAL, 1, "1999-01", Reason.NO_TARIFF, "1999-01: MO/urban_gas/single total, range 1"),
    ],
)
def test_a_rate_that_nobody_published_is_named_and_never_guessed(
    register: Register, kwh: int, period: str, reason: Reason, detail: str
) -> None:
    unpriced = charge_usage([used(register, kwh)], GAS, Period(period), RULEBOOK)

    assert isinstance(unpriced, Unpriced)
    assert unpriced.reason is reason
    assert unpriced.detail.startswith(detail)


def test_the_tariff_of_the_1st_rules_the_whole_month() -> None:
    (june,) = charged(used(Register.TOTAL, 100), period=Period("2024-06"))
    (july,) = charged(used(Register.TOTAL, 100), period=Period("2024-07"))
    row = DEFAULT_RULEBOOK.tariff_of(GAS, Scheme.SINGLE, Period("2024-07"))
    assert row is not None
    second = replace(row, effective_on=date(2024, 7, 2), rates={Register.TOTAL: (Decimal("99.00"),)})
    later = replace(DEFAULT_RULEBOOK, tariffs=(*DEFAULT_RULEBOOK.tariffs, second))

    assert (str(june.rate), str(july.rate)) == ("6.73", "7.33")
    assert charged(used(Register.TOTAL, 100), period=Period("2024-07"), rules=later) == (july,)
    assert str(charged(used(Register.TOTAL, 1), period=Period("2024-08"), rules=later)[0].rate) == "99.00"
