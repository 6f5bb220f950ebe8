"""Every vector of the billing rules, in kWh and roubles, through the domain alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from bels.domain.charge_usage import charge_kwh
from bels.domain.estimate_usage import adjustment
from bels.domain.money_events import ChargeLine
from bels.domain.terms import Mode, Period, ReadingStatus, Register, Rule
from tests.domain.vectors import EXAMPLES, RULEBOOK, periods, tell, vectors

BILLING = vectors("billing")
READ = {"account", "settings", "opening", "readings", "acts", "confirmations", "payments", "closings"}


def test_there_are_vectors() -> None:
    assert len(BILLING) == 77
    assert Counter(v["kind"] for v in EXAMPLES["vectors"]) >= Counter(
        billing=77, penalty=7, penalty_days=1, due_date=1, allocation=1, no_meter_adjustment=2
    )


def test_every_word_of_a_billing_vector_is_told_and_compared() -> None:
    assert {key for v in BILLING for key in v["given"]} <= READ
    assert {key for v in BILLING for key in v["expected"]} == {"answers", "periods", "final", "balance"}


@pytest.mark.parametrize("vector", BILLING, ids=[v["id"] for v in BILLING])
def test_a_billing_vector_gives_its_answers_bills_and_balance(vector: dict[str, Any]) -> None:
    told = tell(vector)

    assert told.answers == vector["expected"].get("answers", [])
    assert periods(told.events) == vector["expected"].get("periods", [])
    if "balance" in vector["expected"]:
        assert str(told.account.ledger.balance) == vector["expected"]["balance"]
    statuses = {}
    for ref, status in vector["expected"].get("final", {}).items():
        reading = told.account.reading(told.entries[ref]) if ref in told.entries else None
        statuses[ref] = reading.status.value if reading is not None else ReadingStatus.REFUSED.value
        assert statuses[ref] == status


@pytest.mark.parametrize("vector", vectors("no_meter_adjustment"), ids=lambda v: v["id"])
def test_temporary_residents_and_absence_without_a_meter(vector: dict[str, Any]) -> None:
    given = vector["given"]

    kwh = adjustment(given["norm_per_person"], given["days"], given["days_in_period"])
    (line,) = charged(kwh, given["rate"])

    assert kwh == vector["expected"]["kwh"]
    assert (line.kwh, str(line.rate), str(line.amount)) == (kwh, given["rate"], vector["expected"]["amount"])


def charged(kwh: int, rate: str) -> tuple[ChargeLine, ...]:
    """Price kWh of June 2024 at a rate."""
    june = Period("2024-06")
    tariffs = tuple(replace(t, rates=dict.fromkeys(t.rates, (Decimal(rate),))) for t in RULEBOOK.tariffs)
    lines = charge_kwh(
        {Register.TOTAL: kwh}, Mode.NORMATIVE, Rule.APP2_F4, "MO/urban_gas", june, replace(RULEBOOK, tariffs=tariffs)
    )
    assert isinstance(lines, tuple)
    return lines
