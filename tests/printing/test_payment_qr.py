"""The payment QR by the letter of ГОСТ Р 56042-2014."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.rulebook import Requisites
from bels.printing.payment_qr import NotAPaymentQr, UnfitForQr, payment_qr, read_payment_qr

SUPPLIER = Requisites(
    name="ЗАО «БЭЛС»",
    inn="5001000002",
    account="40702810138250123017",
    bank='ОАО "БАНК"',
    bic="044525225",
    corr_account="30101810400000000225",
    address="",
    phone="",
)


@pytest.fixture
def vector() -> dict[str, Any]:
    examples = json.loads(Path(__file__).parents[1].joinpath("examples.json").read_text(encoding="utf-8"))
    f12: dict[str, Any] = next(v for v in examples["vectors"] if v["id"] == "F12")
    return f12


def write(amount: str = "1245.05", *, payee: Requisites = SUPPLIER, **more: str | None) -> str:
    return payment_qr(payee, "1000001", "2024-05", Decimal(amount), **more)


def test_the_bill_qr_is_written_to_the_letter(vector: dict[str, Any]) -> None:
    text = write(counter="011355137", counter_value="10385")
    assert text == vector["expected"]["text"]
    assert len(text.encode()) == vector["expected"]["bytes"]


def test_what_is_written_is_read_again(vector: dict[str, Any]) -> None:
    assert read_payment_qr(vector["expected"]["text"]) == vector["given"]["fields"]


def test_a_separator_is_chosen_that_no_value_contains() -> None:
    text = write(payee=replace(SUPPLIER, name="БЭЛС|Балашиха~"), purpose="a^b=c")
    assert text.startswith("ST00012;Name=БЭЛС|Балашиха~;")
    assert read_payment_qr(text)["Purpose"] == "a^b=c"


def test_a_bank_without_a_correspondent_account_has_a_zero() -> None:
    assert read_payment_qr(write(payee=replace(SUPPLIER, corr_account="")))["CorrespAcc"] == "0"


@pytest.mark.parametrize(
    ("field", "payee"),
    [
        ("Name", replace(SUPPLIER, name="я" * 161)),
        ("Name", replace(SUPPLIER, name=" ")),
        ("Name", replace(SUPPLIER, name="БЭЛС\x00")),
        ("Name", replace(SUPPLIER, name="|~^;!*+&%$#@`")),
        ("PersonalAcc", replace(SUPPLIER, account="4070281013825012301")),
        ("PersonalAcc", replace(SUPPLIER, account="4070281013825012301Х")),
        ("BankName", replace(SUPPLIER, bank="Б" * 46)),
        ("BIC", replace(SUPPLIER, bic="04452522")),
        ("CorrespAcc", replace(SUPPLIER, corr_account="301")),
        ("PayeeINN", replace(SUPPLIER, inn="50010000021")),
        ("KPP", replace(SUPPLIER, kpp="5001")),
    ],
)
def test_requisites_that_do_not_fit_are_named(field: str, payee: Requisites) -> None:
    with pytest.raises(UnfitForQr) as unfit:
        write(payee=payee)
    assert unfit.value.field == field


@pytest.mark.parametrize("amount", ["0.00", "-1.00", "0.005", "1" * 17 + ".00"])
def test_a_sum_is_above_zero_in_whole_kopecks_of_at_most_eighteen_digits(amount: str) -> None:
    with pytest.raises(UnfitForQr) as unfit:
        write(amount)
    assert unfit.value.field == "Sum"


def test_the_greatest_values_fit() -> None:
    payee = replace(SUPPLIER, name="я" * 160, bank="Б" * 45)
    fields = read_payment_qr(write("1" * 16 + ".00", payee=payee, purpose="п" * 210))
    assert (len(fields["Sum"]), len(fields["Purpose"])) == (18, 210)
    with pytest.raises(UnfitForQr):
        write(purpose="п" * 211)


def test_a_period_is_a_month() -> None:
    with pytest.raises(UnfitForQr):
        payment_qr(SUPPLIER, "1000001", "2024-13", Decimal(1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ST00012|",
        "https://example.org",
        "ST00022|Name=A|PersonalAcc=1|BankName=B|BIC=1|CorrespAcc=0",
        "ST00019|Name=A|PersonalAcc=1|BankName=B|BIC=1|CorrespAcc=0",
        "ST00012|PersonalAcc=1|Name=A|BankName=B|BIC=1|CorrespAcc=0",
        "ST00012|Name=A|PersonalAcc=1|BankName=B|BIC=1|CorrespAcc=0|Sum",
        "ST00012|Name=A|PersonalAcc=1|BankName=B|BIC=1|CorrespAcc=0|Sum=1|Sum=2",
    ],
)
def test_another_text_is_not_read_as_a_payment(text: str) -> None:
    with pytest.raises(NotAPaymentQr):
        read_payment_qr(text)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=160).filter(str.strip),
    st.decimals("0.01", "9999999999999999.99", places=2),
)
def test_whatever_is_written_reads_the_same(name: str, amount: Decimal) -> None:
    fields = read_payment_qr(write(str(amount), payee=replace(SUPPLIER, name=name)))
    assert fields["Name"] == " ".join(name.split())
    assert Decimal(fields["Sum"]) == amount * 100
