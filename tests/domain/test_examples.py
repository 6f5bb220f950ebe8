"""Every kWh vector of the billing rules, through the domain alone."""

from __future__ import annotations

from typing import Any

import pytest

from bels.domain.estimate_usage import adjustment
from bels.domain.terms import ReadingStatus
from tests.domain.vectors import expected_periods, periods, tell, vectors

BILLING = vectors("billing")


def test_there_are_vectors() -> None:
    assert len(BILLING) == 77


@pytest.mark.parametrize("vector", BILLING, ids=[v["id"] for v in BILLING])
def test_a_billing_vector_gives_its_answers_periods_and_recalculations(vector: dict[str, Any]) -> None:
    told = tell(vector)

    assert told.answers == vector["expected"].get("answers", [])
    unpriced = len([p for p in vector["expected"].get("periods", []) if "error" in p])
    closed = periods(told.events)
    assert closed[: len(closed) - unpriced] == expected_periods(vector) if closed else True
    statuses = {}
    for ref, status in vector["expected"].get("final", {}).items():
        reading = told.account.reading(told.entries[ref]) if ref in told.entries else None
        statuses[ref] = reading.status.value if reading is not None else ReadingStatus.REFUSED.value
        assert statuses[ref] == status


@pytest.mark.parametrize("vector", vectors("no_meter_adjustment"), ids=lambda v: v["id"])
def test_temporary_residents_and_absence_without_a_meter(vector: dict[str, Any]) -> None:
    given = vector["given"]

    kwh = adjustment(given["norm_per_person"], given["days"], given["days_in_period"])

    assert kwh == vector["expected"]["kwh"]
