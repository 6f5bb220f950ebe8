"""The contract with MONETA as data, its signatures, and what no input may hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bels.domain.terms import Money, Purpose
from bels.payments.cards.contract import contract_of
from bels.payments.cards.orders import KINDS
from bels.payments.cards.refusals import WORDS, CardReason, holds_card_number
from bels.payments.cards.signatures import ANSWER, CHECK, FORM, PAY, is_signed, signature
from bels.payments.partners import PartnersError, partners_of
from tests.domain.vectors import vector
from tests.payments.cards.paying import contract_with

F11 = vector("F11")
PUBLISHED = {name: value for name, value in F11["given"].items() if name.startswith("MNT_")}
CODE = F11["given"]["code"]


def test_f11_the_signatures_are_those_that_moneta_publishes() -> None:
    check = signature({**PUBLISHED, "MNT_COMMAND": "CHECK"}, CHECK, CODE)
    assert F11["expected"] == {
        "pay_url": signature(PUBLISHED, PAY, CODE),
        "check_url_with_command_CHECK": check,
        "answer_200": signature({**PUBLISHED, "MNT_RESULT_CODE": "200"}, ANSWER, CODE),
        "payment_form": signature(PUBLISHED, FORM, CODE),
    }


def test_a_signature_is_one_in_any_case_and_of_its_own_values_only() -> None:
    signed = {**PUBLISHED, "MNT_SIGNATURE": signature(PUBLISHED, PAY, "QWERTY").upper()}
    assert is_signed(signed, PAY, "QWERTY")
    assert not is_signed({**signed, "MNT_AMOUNT": "120.26"}, PAY, "QWERTY")
    assert not is_signed(signed, PAY, "another")
    assert not is_signed({**signed, "MNT_SIGNATURE": "ё"}, PAY, "QWERTY")
    assert not is_signed(PUBLISHED, PAY, "QWERTY")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("4111111111111111", True),
        ("карта 4111 1111 1111 1111, код 123", True),
        ("1000001 5555-5555-5555-4444", True),
        ("2200.1234.5678.9019", True),
        ("4111111111111112", False),
        ("220012******3456", False),
        ("40702810138250123017", False),
        ("1716195600000", False),
        ("1000001", False),
        ("", False),
    ],
)
def test_a_card_number_is_known_wherever_it_is_written(text: str, holds: bool) -> None:
    assert holds_card_number(text) is holds


def test_every_refusal_has_its_words() -> None:
    assert set(WORDS) == set(CardReason)
    assert all(words.text and words.hint for words in WORDS.values())


def test_the_vat_and_the_limits_are_those_of_the_day(tmp_path: Path) -> None:
    limits = [{"since": date(2026, 1, 1), "operation": "60000.00", "day": "90000.00", "day_count": 5}]
    contract = contract_of(partners_of(contract_with(tmp_path, limits=limits)))
    assert contract is not None
    days = (date(2024, 5, 20), date(2025, 12, 31), date(2026, 1, 1))
    assert [contract.vat_tag(day) for day in days] == [1102, 1102, 1113]
    assert [contract.limits_on(day).operation for day in days] == [Money("15000.00")] * 2 + [Decimal("60000.00")]
    assert (contract.limits_on(days[2]).day, contract.limits_on(days[2]).day_count) == (Decimal("90000.00"), 5)
    assert "QWERTY" not in repr(contract)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"mnt_id": "x"}, "mnt_id"),
        ({"form": "http://moneta.ru/assistant.widget"}, "https"),
        ({"code_file": "moneta.code"}, "whole path"),
        ({"code_file": "/nowhere/moneta.code"}, "cannot be read"),
        ({"vat": [{"since": date(2026, 1, 1), "tag": 7}]}, "tag"),
        ({"limits": [{"since": date(2026, 1, 1), "operation": 15000}]}, "roubles"),
        ({"limits": [{"since": date(2026, 1, 1), "day_count": 0}]}, "day_count"),
        ({"limits": [{"since": date(2026, 1, 1), "day": "0.00"}]}, "limits.day is a text of roubles from 0.01"),
        ({"vat": []}, "vat has no row"),
        ({"sno": 9}, "sno"),
        ({"expires_min": 0}, "expires_min"),
        ({"test_mode": "yes"}, "test_mode"),
        ({"item": 'Электроэнергия «день»"'}, "quotes"),
        ({"payee_inn": "12"}, "payee_inn"),
        ({"colour": "red"}, "unknown"),
    ],
)
def test_a_contract_that_cannot_be_used_is_refused_at_the_start(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(PartnersError, match=says):
        contract_of(partners_of(contract_with(tmp_path, **more)))


def test_without_the_addresses_of_moneta_there_is_no_contract(tmp_path: Path) -> None:
    told = contract_with(tmp_path)
    del told["partner"]["moneta"]["addresses"]
    with pytest.raises(PartnersError, match="addresses"):
        contract_of(partners_of(told))
    assert contract_of(partners_of({})) is None


def test_energy_and_penalties_are_one_kind_of_payment() -> None:
    assert set(KINDS) == set(Purpose)
