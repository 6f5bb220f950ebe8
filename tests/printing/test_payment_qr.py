"""The payment QR by the letter of ГОСТ Р 56042-2014."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.domain.rulebook import Requisites
from bels.printing.payment_qr import (
    LENGTH_MAX,
    REQUIRED,
    Encoding,
    NotAPaymentQr,
    UnfitForQr,
    decode_payment_qr,
    encode_payment_qr,
    payment_qr,
    read_bill,
    read_payment_qr,
    write_payment_qr,
)
from tests.domain.vectors import vector

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
def f12() -> dict[str, Any]:
    """Give the published bill."""
    return vector("F12")


def write(amount: str = "1245.05", *, payee: Requisites = SUPPLIER, **more: str | None) -> str:
    return payment_qr(payee, "1000001", "2024-05", Decimal(amount), **more)


def test_the_bill_qr_is_written_to_the_letter(f12: dict[str, Any]) -> None:
    text = write(counter="011355137", counter_value="10385")
    assert text == f12["expected"]["text"]
    assert len(text.encode()) == f12["expected"]["bytes"]


def test_what_is_written_is_read_again(f12: dict[str, Any]) -> None:
    assert read_payment_qr(f12["expected"]["text"]) == f12["given"]["fields"]


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


def test_every_key_of_the_standard_is_written_and_read(f12: dict[str, Any]) -> None:
    digits = {"PayerINN": "500100732259", "KPP": "500101001", "OKTMO": "46704000", "AddAmount": "500"}
    others = {key: digits.get(key, "1") for key in LENGTH_MAX if key not in f12["given"]["fields"]}
    fields = {**f12["given"]["fields"], **others}
    assert set(fields) == set(LENGTH_MAX)
    assert read_payment_qr(write_payment_qr({**fields, "TechCode": "15"})) == {**fields, "TechCode": "15"}


@pytest.mark.parametrize(
    ("encoding", "codec"), [(Encoding.CP1251, "cp1251"), (Encoding.UTF_8, "utf-8"), (Encoding.KOI8_R, "koi8-r")]
)
def test_bytes_say_themselves_how_they_are_encoded(encoding: Encoding, codec: str, f12: dict[str, Any]) -> None:
    fields = {**f12["given"]["fields"], "Name": "ЗАО БЭЛС"}
    text = write_payment_qr(fields, encoding)
    raw = encode_payment_qr(text)
    assert raw == text.encode(codec)
    assert raw[6:7].decode() == encoding.value
    assert read_payment_qr(decode_payment_qr(raw)) == fields


def test_a_letter_that_the_encoding_has_not_is_named(f12: dict[str, Any]) -> None:
    fields = f12["given"]["fields"]
    write_payment_qr(fields, Encoding.CP1251)
    with pytest.raises(UnfitForQr, match="koi8-r") as unfit:
        write_payment_qr(fields, Encoding.KOI8_R)
    assert unfit.value.field == "Name"
    with pytest.raises(NotAPaymentQr, match="koi8-r"):
        encode_payment_qr(write_payment_qr(fields).replace("ST00012", "ST00013"))


def test_bytes_in_another_encoding_than_their_head_says_are_refused() -> None:
    raw = write().encode("cp1251")
    with pytest.raises(NotAPaymentQr, match="utf-8"):
        decode_payment_qr(raw)
    with pytest.raises(NotAPaymentQr):
        decode_payment_qr(b"ST0001")
    with pytest.raises(NotAPaymentQr):
        decode_payment_qr(b"ST00012|" + b"x" * 3_000)


def test_the_five_come_first_however_they_are_given(f12: dict[str, Any]) -> None:
    fields = dict(reversed(f12["given"]["fields"].items()))
    read = read_payment_qr(write_payment_qr(fields))
    assert tuple(read)[:5] == REQUIRED
    assert read == f12["given"]["fields"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BIC", None),
        ("Sum", "1245.05"),
        ("TechCode", "16"),
        ("PaymPeriod", "202405"),
        ("CBC", "1" * 21),
        ("DrawerStatus", "101"),
        ("Nonsense", "1"),
    ],
)
def test_a_field_that_does_not_fit_is_named(field: str, value: str | None, f12: dict[str, Any]) -> None:
    given = {**f12["given"]["fields"], field: value}
    with pytest.raises(UnfitForQr) as unfit:
        write_payment_qr({name: text for name, text in given.items() if text is not None})
    assert unfit.value.field == field


@pytest.mark.parametrize("written", ["052024", "202405", "05.2024", "2024.05", "2024-05"])
def test_a_month_is_read_however_it_is_written(written: str, f12: dict[str, Any]) -> None:
    text = f12["expected"]["text"].replace("PaymPeriod=052024", f"PaymPeriod={written}")
    assert read_payment_qr(text)["PaymPeriod"] == "052024"
    assert read_bill(text).period == "2024-05"


def test_keys_in_any_case_empty_fields_and_separators_at_the_end_are_read(f12: dict[str, Any]) -> None:
    lenient = f12["expected"]["text"].replace("PersAcc=", "persacc=").replace("Sum=", "SUM=") + "|KPP=|Own=1||\r\n"
    assert read_payment_qr(lenient) == {**f12["given"]["fields"], "Own": "1"}


def test_a_scanned_bill_says_what_it_pays_and_whom(f12: dict[str, Any]) -> None:
    bill = read_bill(f12["expected"]["text"])
    assert (bill.account, bill.period, bill.amount) == ("1000001", "2024-05", Decimal("1245.05"))
    assert (bill.meter, bill.value) == ("011355137", "10385")
    assert bill.pays(SUPPLIER)
    assert not bill.pays(replace(SUPPLIER, account="40702810138250123018"))
    assert not bill.pays(replace(SUPPLIER, inn="5001007322"))


def test_what_a_scanned_bill_does_not_say_or_cannot_mean_is_nothing() -> None:
    head = "ST00012|Name=A|PersonalAcc=1|BankName=B|BIC=1|CorrespAcc=0"
    for text in (head, f"{head}|Sum=12.5|PaymPeriod=май 2024", f"{head}|Sum={'1' * 19}|PaymPeriod=132024"):
        bill = read_bill(text)
        assert (bill.account, bill.period, bill.amount) == (None, None, None)


@given(st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"ST00012|{text}"))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        read_bill(text)
    except NotAPaymentQr:
        return
