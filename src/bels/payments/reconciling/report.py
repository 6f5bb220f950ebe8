"""Tell of a partner's day: a file of CSV for programs, a page for people to print and sign."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from jinja2 import Environment, PackageLoader, StrictUndefined

from bels.access.raw_texts import RawTexts
from bels.cells import harmless_or_sum
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money
from bels.journal.write import Db
from bels.payments.partners import Partner
from bels.payments.reconciling.differences import (
    IN_RUSSIAN,
    STATES_IN_RUSSIAN,
    Difference,
    DifferenceState,
    of_day,
)
from bels.payments.reconciling.three_ways import Day, day_of
from bels.payments.registers.files import RowOutcome

ROWS_OF_PAGE_MAX = 1_000
ROWS_OF_FILE_MAX = 100_000

HEADINGS = (
    "№",
    "Расхождение",
    "Состояние",
    "Номер у банка",
    "ЛС в реестре",
    "ЛС у нас",
    "Сумма в реестре",
    "Сумма у нас",
    "Разница",
    "Другой день",
    "Квитанция",
    "Пояснение",
    "Ответ до",
)

AMOUNTS = tuple(HEADINGS.index(name) for name in ("Сумма в реестре", "Сумма у нас", "Разница"))
"""The columns of roubles."""

LONG = tuple(HEADINGS.index(name) for name in ("Номер у банка", "Пояснение"))
"""The columns whose words are others', of any length."""

OUTCOMES = {
    RowOutcome.CREDITED: "зачислено по реестру",
    RowOutcome.MATCHED: "сошлось с зачисленным",
    RowOutcome.CORRECTED: "исправлено по реестру",
    RowOutcome.UNALLOCATED: "невыясненный платёж",
    RowOutcome.REFUNDED: "возвращено",
    RowOutcome.REVIEW: "строка ждёт решения оператора",
    RowOutcome.RESOLVING: "строка в работе у оператора",
    RowOutcome.DISMISSED: "строка снята оператором",
}
"""What became of the row of a difference, for who reads the report."""


class Form(StrEnum):
    """How a day is told: a file with ``;`` and decimal commas, or a page."""

    CSV = "csv"
    HTML = "html"


class ReportEncoding(StrEnum):
    """In which character set a CSV is written; a page is always UTF-8."""

    CP1251 = "cp1251"
    UTF_8 = "utf-8"


@dataclass(frozen=True, slots=True)
class Told:
    """A report, and the accounts of ours that stand in it."""

    content: bytes
    accounts: tuple[str, ...]


def report_name(partner: Partner, day: date, form: Form) -> str:
    """Name the file of a day's report: ``sverka_sber_2026-11-20.csv``."""
    return f"sverka_{partner.name}_{day.isoformat()}.{form.value}"


async def report(
    db: Db, texts: RawTexts, partner: Partner, day: date, form: Form, encoding: ReportEncoding = ReportEncoding.CP1251
) -> Told | None:
    """Give the report of a partner's day as it was last compared, its ids opened; None where it was not compared."""
    shown = await day_of(db, partner.client, day)
    if shown is None:
        return None
    limit = ROWS_OF_FILE_MAX if form is Form.CSV else ROWS_OF_PAGE_MAX
    found = await of_day(db, partner.client, day, limit + 1)
    standing = [
        replace(each, external_id=texts.opened(each.external_id) if each.external_id is not None else None)
        for each in found
        if each.state is not DifferenceState.CLEARED
    ]
    told, cut = standing[:limit], len(standing) > limit
    text = _csv(partner, shown, told) if form is Form.CSV else _page(partner, shown, told, cut)
    accounts = {each.our_account for each in told if each.our_account is not None}
    charset = encoding.value if form is Form.CSV else "utf-8"
    return Told(text.encode(charset, "replace"), tuple(sorted(accounts)))


def sums_of(day: Day) -> list[tuple[str, str, str]]:
    """Tell the sums of a day: what they are, how many, roubles with a decimal comma."""
    return [
        ("Реестр банка", str(day.their_count), _money(day.their_sum)),
        ("Зачислено у нас", str(day.our_count), _money(day.our_sum)),
        ("Разница: реестр минус зачислено", "", _money(day.difference)),
        ("в том числе расхождения", "", _money(day.book_differences)),
        ("в том числе не сверялось с реестром", str(day.awaited_count), _money(-day.awaited_sum)),
        ("Комиссия по реестру", "", _money(day.their_fee)),
        ("Комиссия по договору", "", _money(day.agreed_fee)),
        ("К перечислению", "", _money(day.net)),
        ("Перечислено", str(day.transfer_count), _money(day.transfer_sum)),
        ("Разница: перечислено минус к перечислению", "", _money(day.transfer_sum - day.net)),
    ]


def _csv(partner: Partner, day: Day, found: Sequence[Difference]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(("Сверка", partner.title, f"{day.day:%d.%m.%Y}", _state(day)))
    writer.writerow(("Показатель", "Количество", "Сумма"))
    writer.writerows(sums_of(day))
    writer.writerow(())
    writer.writerow(HEADINGS)
    writer.writerows(map(harmless_or_sum, _row(each)) for each in found)
    return text.getvalue()


def _page(partner: Partner, day: Day, found: Sequence[Difference], cut: bool) -> str:
    pages = Environment(
        loader=PackageLoader("bels.payments.reconciling", "."), autoescape=True, undefined=StrictUndefined
    )
    return pages.get_template("report.html").render(
        title=partner.title,
        day=day,
        state=_state(day),
        sums=sums_of(day),
        headings=HEADINGS,
        amounts=AMOUNTS,
        long=LONG,
        rows=[_row(each) for each in found],
        cut=cut,
        moment=_moment,
    )


def _row(each: Difference) -> tuple[str, ...]:
    return (
        str(each.number),
        IN_RUSSIAN[each.kind],
        STATES_IN_RUSSIAN[each.state],
        each.external_id or "",
        each.their_account or "",
        each.our_account or "",
        _money(each.their_amount) if each.their_amount is not None else "",
        _money(each.our_amount) if each.our_amount is not None else "",
        _money(each.amount),
        f"{each.other_day:%d.%m.%Y}" if each.other_day is not None else "",
        each.receipt or "",
        each.ground or _detail(each.detail or ""),
        f"{each.answer_by:%d.%m.%Y}" if each.answer_by is not None else "",
    )


def _detail(text: str) -> str:
    return OUTCOMES[RowOutcome(text)] if text in set(RowOutcome) else text


def _state(day: Day) -> str:
    return "День закрыт" if day.is_closed else "День открыт"


def _money(amount: Money) -> str:
    return f"{amount:.2f}".replace(".", ",")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(MOSCOW):%d.%m.%Y %H:%M}"
