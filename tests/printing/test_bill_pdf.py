"""The printed bill, read back by other programs than the one that wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pypdfium2  # type: ignore[import-untyped]
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st

from bels.domain.events import Norm
from bels.domain.money_events import (
    ChargeLine,
    PenaltyLine,
)
from bels.domain.rulebook import Requisites
from bels.domain.terms import Mode, Register, Rule
from bels.printing.bill_pdf import MOVEMENTS_MAX, NO_PERSON, bill_pdf
from bels.printing.payment_qr import read_payment_qr
from bels.printing.person import Person
from bels.projections.bills import (
    Bill,
    BillMovement,
    BillPenalty,
    BillReading,
    BillRecalculation,
    MonthUsage,
)

SUPPLIER = Requisites(
    name="ЗАО «БЭЛС»",
    inn="5001000002",
    kpp="500101001",
    account="40702810138250123017",
    bank='ОАО "БАНК"',
    bic="044525225",
    corr_account="30101810400000000225",
    address="143900, Московская обл., г. Балашиха, мкр. Салтыковка, ул. Гражданская, д. 5",
    phone="8 (495) 524-22-04",
    site="belssb.ru",
    hours="пн–пт 8:45–17:15",
)
PERSON = Person("Королёва Алёна Ильинична", "г. Балашиха, ул. Весёлая, д. 7, корп. 2, кв. 115")


def rub(text: str) -> Decimal:
    return Decimal(text)


def line(
    register: Register,
    kwh: int,
    rate: str,
    amount: str,
    *,
    of_range: int = 1,
    mode: Mode = Mode.METERED,
    rule: Rule = Rule.APP2_F1,
    tariff: str = "MO/urban_gas/single/2022-12-01",
    coefficient: str | None = None,
) -> ChargeLine:
    return ChargeLine(
        register=register,
        kwh=kwh,
        rate=rub(rate),
        range=of_range,
        tariff=tariff,
        rule=rule,
        mode=mode,
        amount=rub(amount),
        coefficient=None if coefficient is None else rub(coefficient),
    )


def year(through: str, *months: int, mode: str = "METERED") -> tuple[MonthUsage, ...]:
    last = int(through[:4]) * 12 + int(through[5:]) - 1
    return tuple(
        MonthUsage(f"{i // 12:04d}-{i % 12 + 1:02d}", mode, {"total": kwh})
        for i, kwh in enumerate(months, last - len(months) + 1)
    )


ORDINARY = Bill(
    account="1000001",
    period="2024-05",
    closed_at=datetime(2024, 6, 1, 7, tzinfo=UTC),
    due_on=date(2024, 6, 10),
    mode="METERED",
    missed_in_a_row=0,
    locality="urban",
    stove="gas",
    rooms=2,
    residents=3,
    readings=(BillReading("011355137", "total", 10200, date(2024, 4, 20), 10385, date(2024, 5, 20), 185),),
    charges=(line(Register.TOTAL, 185, "6.73", "1245.05"),),
    recalculations=(),
    opening=rub("706.65"),
    movements=(BillMovement(41, "PAYMENT", date(2024, 5, 7), rub("-706.65"), "2405071234567"),),
    charged=rub("1245.05"),
    recalculated=rub("0.00"),
    bill=rub("1245.05"),
    closing=rub("1245.05"),
    penalties=(),
    penalty_opening=rub("0.00"),
    penalty_accrued=rub("0.00"),
    penalty_paid=rub("0.00"),
    penalty_closing=rub("0.00"),
    year=year("2024-05", 160, 150, 170, 165, 180, 175, 190, 210, 230, 240, 120, 105, 185),
    rulebook="moscow-region/3",
)

_RYAZAN = "RZ/urban_gas/three_zone/2025-01-01"
THREE_ZONES_AND_RANGES = replace(
    ORDINARY,
    account="1000002",
    period="2025-03",
    closed_at=datetime(2025, 4, 1, 7, tzinfo=UTC),
    due_on=date(2025, 4, 10),
    readings=(
        BillReading("А1-204417", "peak", 99120, date(2025, 2, 24), 1121, date(2025, 3, 25), 2001),
        BillReading("А1-204417", "half_peak", 6400, date(2025, 2, 24), 8401, date(2025, 3, 25), 2001),
        BillReading("А1-204417", "night", 4280, date(2025, 2, 24), 6780, date(2025, 3, 25), 2500),
    ),
    charges=(
        line(Register.PEAK, 1200, "8.23", "9876.00", tariff=_RYAZAN),
        line(Register.PEAK, 647, "11.22", "7259.34", of_range=2, tariff=_RYAZAN),
        line(Register.PEAK, 154, "12.94", "1992.76", of_range=3, tariff=_RYAZAN),
        line(Register.HALF_PEAK, 1200, "6.33", "7596.00", tariff=_RYAZAN),
        line(Register.HALF_PEAK, 646, "8.63", "5574.98", of_range=2, tariff=_RYAZAN),
        line(Register.HALF_PEAK, 155, "9.95", "1542.25", of_range=3, tariff=_RYAZAN),
        line(Register.NIGHT, 1500, "4.75", "7125.00", tariff=_RYAZAN),
        line(Register.NIGHT, 807, "6.47", "5221.29", of_range=2, tariff=_RYAZAN),
        line(Register.NIGHT, 193, "7.46", "1439.78", of_range=3, tariff=_RYAZAN),
    ),
    opening=rub("-500.00"),
    movements=(),
    charged=rub("47627.40"),
    bill=rub("47627.40"),
    closing=rub("47127.40"),
    ranges=(3900, 6000),
    year=tuple(
        MonthUsage(period, mode, {"peak": peak, "half_peak": half_peak, "night": night})
        if mode != "NORMATIVE"
        else MonthUsage(period, mode, {"total": 1380})
        for period, mode, peak, half_peak, night in (
            ("2024-03", "METERED", 1800, 1500, 2200),
            ("2024-04", "METERED", 1500, 1300, 1900),
            ("2024-05", "METERED", 900, 700, 800),
            ("2024-06", "AVERAGE", 1400, 1100, 1600),
            ("2024-07", "AVERAGE", 1400, 1100, 1600),
            ("2024-08", "AVERAGE", 1400, 1100, 1600),
            ("2024-09", "NORMATIVE", 0, 0, 0),
            ("2024-10", "METERED", -300, -120, -250),
            ("2024-11", "METERED", 1500, 1500, 1900),
            ("2024-12", "METERED", 2100, 1900, 2600),
            ("2025-01", "METERED", 2300, 2100, 2700),
            ("2025-02", "METERED", 2000, 1950, 2400),
            ("2025-03", "METERED", 2001, 2001, 2500),
        )
    ),
)

NORM_THEN_ADVANCE = replace(
    ORDINARY,
    period="2024-12",
    closed_at=datetime(2025, 1, 1, 7, tzinfo=UTC),
    due_on=date(2025, 1, 10),
    readings=(BillReading("011355137", "total", 10660, date(2024, 6, 25), 11100, date(2024, 12, 20), 440),),
    charges=(line(Register.TOTAL, 74, "7.33", "542.42", tariff="MO/urban_gas/single/2024-07-01"),),
    recalculations=tuple(
        BillRecalculation(
            90 + i,
            f"2024-{7 + i:02d}",
            "SETTLEMENT",
            "policy:REDISTRIBUTE",
            "получено показание за декабрь 2024",
            {"total": before},
            {"total": after},
            before * rub("7.33"),
            after * rub("7.33"),
            (after - before) * rub("7.33"),
        )
        for i, (before, after) in enumerate(((110, 74), (110, 74), (110, 72), (138, 74), (138, 72)))
    ),
    opening=rub("0.00"),
    movements=(),
    charged=rub("542.42"),
    recalculated=rub("-1759.20"),
    bill=rub("-1216.78"),
    closing=rub("-1216.78"),
    year=(
        *year("2024-06", 100, 120, 110, 130, 90, 110),
        *year("2024-09", 74, 74, 72, mode="AVERAGE"),
        *year("2024-11", 74, 72, mode="NORMATIVE"),
        *year("2024-12", 74),
    ),
)

PENALTIES = replace(
    ORDINARY,
    period="2026-02",
    readings=(BillReading("011355137", "total", 14200, date(2026, 1, 20), 14385, date(2026, 2, 20), 185),),
    closed_at=datetime(2026, 3, 1, 7, tzinfo=UTC),
    due_on=date(2026, 3, 16),
    opening=rub("2000.00"),
    movements=(
        BillMovement(77, "PAYMENT", date(2026, 2, 3), rub("-900.00"), "2602031111111"),
        BillMovement(78, "REVERSAL", date(2026, 2, 5), rub("900.00"), "2602031111111"),
        BillMovement(79, "MOVED_IN", date(2026, 2, 6), rub("-100.00"), "с л/с 1000009"),
        BillMovement(80, "REFUND", date(2026, 2, 9), rub("100.00"), ""),
    ),
    closing=rub("3245.05"),
    penalties=(
        BillPenalty(
            "2025-10",
            date(2025, 11, 10),
            (
                PenaltyLine(rub("2000.00"), date(2025, 12, 11), date(2026, 2, 8), 60, 300, rub("9.5"), rub("38.00")),
                PenaltyLine(rub("2000.00"), date(2026, 2, 9), date(2026, 2, 18), 10, 130, rub("9.5"), rub("14.62")),
            ),
            rub("14.62"),
        ),
        BillPenalty(
            "2025-11",
            date(2025, 12, 10),
            (PenaltyLine(rub("500.00"), date(2026, 1, 10), date(2026, 1, 24), 15, 300, rub("9.5"), rub("2.38")),),
            rub("2.38"),
        ),
    ),
    penalty_opening=rub("38.00"),
    penalty_accrued=rub("17.00"),
    penalty_paid=rub("5.00"),
    penalty_closing=rub("50.00"),
    year=year("2026-02", 160, 185),
)

REFUSED_ACCESS = replace(
    ORDINARY,
    period="2024-07",
    closed_at=datetime(2024, 8, 1, 7, tzinfo=UTC),
    due_on=date(2024, 8, 12),
    mode="NORMATIVE_INCREASED",
    norm=Norm(3, 46, 138),
    readings=(BillReading("011355137", "total", 10660, date(2024, 6, 25), None, None, None),),
    charges=(
        line(
            Register.TOTAL, 138, "7.33", "1011.54",
            mode=Mode.NORMATIVE_INCREASED, rule=Rule.P60_3, tariff="MO/urban_gas/single/2024-07-01",
        ),
        line(
            Register.TOTAL, 0, "7.33", "505.77",
            mode=Mode.NORMATIVE_INCREASED, rule=Rule.P60_3, tariff="MO/urban_gas/single/2024-07-01", coefficient="1.5",
        ),
    ),
    charged=rub("1517.31"),
    bill=rub("1517.31"),
    closing=rub("1517.31"),
    year=(
        *year("2024-03", 100, 120, 110),
        *year("2024-05", 130, 90, mode="AVERAGE"),
        *year("2024-06", 138, mode="NORMATIVE"),
        *year("2024-07", 138, mode="NORMATIVE_INCREASED"),
    ),
)  # fmt: skip

NO_METER = replace(
    ORDINARY,
    period="2024-07",
    closed_at=datetime(2024, 8, 1, 7, tzinfo=UTC),
    due_on=date(2024, 8, 12),
    mode="NORMATIVE",
    missed_in_a_row=4,
    readings=(),
    charges=(
        line(
            Register.TOTAL,
            138,
            "7.33",
            "1011.54",
            mode=Mode.NORMATIVE,
            rule=Rule.APP2_F4,
            tariff="MO/urban_gas/single/2024-07-01",
        ),
    ),
    movements=(),
    opening=rub("0.00"),
    charged=rub("1011.54"),
    bill=rub("1011.54"),
    closing=rub("1011.54"),
    year=(),
)

HUGE = replace(
    ORDINARY,
    readings=(BillReading("9" * 40, "total", 9_999_999, date(2024, 4, 20), 9_999_998, date(2024, 5, 20), 9_999_999),),
    charges=(line(Register.TOTAL, 9_999_999, "12345.67890123", "123456765656.42"),),
    opening=rub("999999999999.99"),
    movements=tuple(
        BillMovement(i, "PAYMENT", date(2024, 5, 7), rub("-999999999.99"), "ссылка" * 12) for i in range(40)
    ),
    charged=rub("123456765656.42"),
    bill=rub("123456765656.42"),
    closing=rub("1083456765656.81"),
    year=year("2024-05", 0, 0, -5, 9_999_999, -9_999_999, 1),
)

LONG = replace(
    THREE_ZONES_AND_RANGES,
    recalculations=tuple(
        BillRecalculation(
            i,
            f"2024-{i % 12 + 1:02d}",
            "TARIFF_CHANGED",
            "policy:RETROACTIVE_TARIFF",
            "Распоряжение Комитета по ценам и тарифам Московской области № 261-Р от 20.12.2024, с обратной силой",
            {"peak": 2001, "half_peak": 2001, "night": 2500},
            {"peak": 1999, "half_peak": 2003, "night": 2500},
            rub("47627.40"),
            rub("47600.10"),
            rub("-27.30"),
        )
        for i in range(12)
    ),
    recalculated=rub("-327.60"),
    bill=rub("47299.80"),
    closing=rub("46799.80"),
)

BILLS = {
    "ordinary": ORDINARY,
    "three-zones": THREE_ZONES_AND_RANGES,
    "five-recalculations": NORM_THEN_ADVANCE,
    "penalties": PENALTIES,
    "refused-access": REFUSED_ACCESS,
    "no-meter": NO_METER,
    "huge": HUGE,
    "long": LONG,
}

HOSTILE = Person(
    "<b>Ёлкина</b> & 😀👩‍👩‍👧 «Анна»\u202e\x00 " + "Я" * 400, "ул. Ёжиковая\n" * 30 + "\ud800 кв. <i>5</i>"
)


def pages(pdf: bytes) -> Iterator[pypdfium2.PdfPage]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        yield from document
    finally:
        document.close()


def text_of(pdf: bytes) -> str:
    """All text of the pages, on one line, its no-break spaces as spaces."""
    return " ".join(" ".join(page.get_textpage().get_text_range() for page in pages(pdf)).split())


def qr_of(pdf: bytes) -> str | None:
    found = [
        barcode.text for page in pages(pdf) for barcode in zxingcpp.read_barcodes(page.render(scale=150 / 72).to_pil())
    ]
    assert len(found) <= 1
    return found[0] if found else None


def tells(text: str, *parts: str) -> None:
    assert [part for part in parts if part not in text] == []


def test_a_bill_says_everything_the_law_asks_for() -> None:
    text = text_of(bill_pdf(ORDINARY, SUPPLIER, PERSON))
    tells(text, "Платёжный документ", "лицевой счёт 1000001", "май 2024", "Балашиха")
    tells(text, "ЗАО «БЭЛС»", "ИНН 5001000002, КПП 500101001", "40702810138250123017", 'ОАО "БАНК", БИК 044525225')
    tells(text, "Королёва Алёна Ильинична", "г. Балашиха, ул. Весёлая, д. 7, корп. 2, кв. 115")
    tells(text, "К оплате за электроэнергию 1 245,05 ₽ оплатить до 10.06.2024")
    tells(text, "№ 011355137 всего 10 200 20.04.2024 10 385 20.05.2024 185")
    tells(text, "всего — по показаниям; ПП 354, прил. 2, ф. 1 185 6,73 1 245,05")
    tells(text, "185 кВт·ч × 6,73 ₽ = 1 245,05 ₽")
    tells(text, "Долг на начало (счёт за апрель) 706,65", "Оплачено 07.05.2024 (2405071234567) −706,65")
    tells(text, "Показания за июнь 2024 передайте до 25.06.2024 включительно", "+7 (903) 767-67-81: 1000001#12345")
    tells(text, "8 (495) 524-22-04, 529-92-84", "MO/urban_gas/single/2022-12-01", "moscow-region/3")
    assert "Пени" not in text
    assert "Перерасчёты" not in text


def test_zones_and_ranges_stand_each_with_its_tariff() -> None:
    text = text_of(bill_pdf(THREE_ZONES_AND_RANGES, SUPPLIER, PERSON))
    tells(text, "пик 2-й, до 6000 по показаниям; ПП 354, прил. 2, ф. 1 647 11,22 7 259,34", "ночь 3-й, от 6000")
    tells(text, "полупик 155 кВт·ч × 9,95 ₽ = 1 542,25 ₽", "вместе 47 627,40 ₽")
    tells(text, "Аванс на начало (счёт за февраль) −500,00", "47 127,40 ₽ оплатить до 10.04.2025")
    tells(text, "1000002#12345#6789#2345 (полупик, ночь, пик)")


def test_every_recalculation_has_its_ground_and_its_sums_before_and_after() -> None:
    text = text_of(bill_pdf(NORM_THEN_ADVANCE, SUPPLIER, PERSON))
    tells(text, "Перерасчёты −1 759,20 ₽", "получено показание за декабрь 2024; порядок поставщика")
    tells(text, "июль 2024", "август 2024", "сентябрь 2024", "октябрь 2024", "ноябрь 2024")
    tells(text, "1 011,54", "527,76", "−483,78")
    tells(text, "0,00 ₽ аванс 1 216,78 ₽", "QR-кода нет: по этому счёту платить нечего.")
    assert "оплатить до" not in text


def test_penalties_are_a_section_of_their_own_and_no_part_of_what_the_qr_pays() -> None:
    pdf = bill_pdf(PENALTIES, SUPPLIER, PERSON)
    text = text_of(pdf)
    tells(text, "октябрь 2025, до 10.11.2025 11.12.2025 – 08.02.2026, 60 дней 2 000,00 ₽ × 60 × 9,5 % ÷ 300 38,00")
    tells(text, "2 000,00 ₽ × 10 × 9,5 % ÷ 130 14,62", "в прежних счетах уже начислено −38,00")
    tells(text, "Пени на начало 38,00 ₽; начислено в этом счёте 17,00 ₽; оплачено 5,00 ₽; к оплате 50,00 ₽.")
    tells(text, "Кроме того пени 50,00 ₽: платятся отдельно.", "Платёж отменён 05.02.2026 (2602031111111) +900,00")
    qr = qr_of(pdf)
    assert qr is not None
    assert read_payment_qr(qr)["Sum"] == "324505"


def test_the_norm_and_its_increase_are_told() -> None:
    text = text_of(bill_pdf(REFUSED_ACCESS, SUPPLIER, PERSON))
    tells(text, "норматив 46 кВт·ч × 3 проживающих = 138 кВт·ч", "не передано")
    tells(text, "повышающий коэффициент 1,5; ПП 354, п. 60(3) 7,33 505,77")
    tells(text, "138 кВт·ч × 7,33 ₽ × 1,5 − 1 011,54 ₽ = 505,77 ₽")


def test_without_a_meter_the_bill_says_so() -> None:
    text = text_of(bill_pdf(NO_METER, SUPPLIER, PERSON))
    tells(text, "Показаний прибора учёта за период нет.", "показание не передано 4-й период подряд")
    tells(text, "Данных о потреблении нет.")


def test_without_a_person_no_personal_data_is_printed() -> None:
    with_person, without = (bill_pdf(ORDINARY, SUPPLIER, person) for person in (PERSON, None))
    assert NO_PERSON in text_of(without)
    assert NO_PERSON not in text_of(with_person)
    for word in ("Королёва", "Весёлая", "115"):
        assert word in text_of(with_person)
        assert word not in text_of(without).replace("011355137", "")
    assert qr_of(with_person) == qr_of(without)


def test_without_requisites_there_is_no_qr_and_a_reason() -> None:
    pdf = bill_pdf(ORDINARY, None, PERSON)
    assert qr_of(pdf) is None
    tells(text_of(pdf), "QR-кода нет: реквизиты поставщика не опубликованы.", "1 245,05 ₽ оплатить до 10.06.2024")
    unfit = replace(SUPPLIER, bank="Банк " * 20)
    tells(text_of(bill_pdf(ORDINARY, unfit, None)), "QR-кода нет: поле BankName не отвечает ГОСТ Р 56042-2014.")


@pytest.mark.parametrize("name", BILLS)
def test_an_independent_reader_reads_the_qr_at_150_dpi(name: str) -> None:
    bill = BILLS[name]
    qr = qr_of(bill_pdf(bill, SUPPLIER, None))
    if bill.to_pay == 0:
        assert qr is None
        return
    assert qr is not None
    fields = read_payment_qr(qr)
    assert Decimal(fields["Sum"]) == bill.to_pay * 100
    assert (fields["PersAcc"], fields["PaymPeriod"]) == (bill.account, bill.period[5:] + bill.period[:4])
    assert fields["PersonalAcc"] == SUPPLIER.account


@pytest.mark.parametrize("person", [PERSON, None, HOSTILE], ids=["person", "nobody", "hostile"])
@pytest.mark.parametrize("name", BILLS)
def test_all_text_is_inside_the_page(name: str, person: Person | None) -> None:
    pdf = bill_pdf(BILLS[name], SUPPLIER, person)
    for page in pages(pdf):
        width, height = page.get_size()
        text = page.get_textpage()
        for i in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(i)
            assert left >= 30
            assert bottom >= 15
            assert right <= width - 30
            assert top <= height - 25


@pytest.mark.parametrize("name", BILLS)
def test_no_line_of_text_is_written_over_another(name: str) -> None:
    for page in pages(bill_pdf(BILLS[name], SUPPLIER, PERSON)):
        text = page.get_textpage()
        boxes = [text.get_rect(i) for i in range(text.count_rects())]
        for i, (left, bottom, right, top) in enumerate(boxes):
            for other in boxes[i + 1 :]:
                wide = min(right, other[2]) - max(left, other[0])
                high = min(top, other[3]) - max(bottom, other[1])
                assert wide < 1 or high < 1.5, (boxes[i], other, text.get_text_bounded(*other))


def test_an_ordinary_bill_is_one_page_and_many_recalculations_make_two() -> None:
    counts = {name: len(list(pages(bill_pdf(bill, SUPPLIER, PERSON)))) for name, bill in BILLS.items()}
    assert [name for name, count in counts.items() if count != 1] == ["huge", "long"]
    long = text_of(bill_pdf(LONG, SUPPLIER, PERSON))
    tells(long, "лист 1 из 2", "лист 2 из 2", "март 2025 — продолжение")
    assert long.count("Распоряжение Комитета") == 12


def test_the_same_bill_is_the_same_bytes() -> None:
    assert bill_pdf(PENALTIES, SUPPLIER, PERSON) == bill_pdf(PENALTIES, SUPPLIER, PERSON)


def test_title_and_language_are_set() -> None:
    pdf = bill_pdf(ORDINARY, SUPPLIER, PERSON)
    document = pypdfium2.PdfDocument(pdf)
    assert document.get_metadata_dict()["Title"] == "Платёжный документ за май 2024, лицевой счёт 1000001"
    document.close()
    assert b"/Lang (ru-RU)" in pdf


def test_movements_beyond_the_limit_stand_in_one_sum() -> None:
    text = text_of(bill_pdf(HUGE, SUPPLIER, PERSON))
    tells(text, "Прежде того 28 операций, вместе −27 999 999 999,72")
    assert text.count("Оплачено 07.05.2024") == MOVEMENTS_MAX


def test_hostile_names_are_shown_as_text() -> None:
    text = text_of(bill_pdf(ORDINARY, SUPPLIER, HOSTILE))
    tells(text, "<b>Ёлкина</b> & ", "«Анна»", "ул. Ёжиковая")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_no_name_and_no_address_breaks_a_bill(name: str, address: str) -> None:
    assert "1 245,05 ₽" in text_of(bill_pdf(ORDINARY, SUPPLIER, Person(name, address)))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            MonthUsage,
            st.integers(0, 11).map(lambda m: f"2024-{m + 1:02d}"),
            st.sampled_from(["METERED", "AVERAGE", "NORMATIVE", "NORMATIVE_INCREASED", "?"]),
            st.dictionaries(
                st.sampled_from(["total", "day", "peak", "half_peak", "night", "?"]), st.integers(-(10**9), 10**9)
            ),
        ),
        max_size=13,
    ).map(tuple)
)
def test_no_year_breaks_its_picture(months: tuple[MonthUsage, ...]) -> None:
    pdf = bill_pdf(replace(ORDINARY, year=months), SUPPLIER, None)
    assert len(list(pages(pdf))) == 1
    assert "Потребление за год, кВт·ч" in text_of(pdf)
