"""Write the trail out as a stream: JSON Lines for programs, CSV for a spreadsheet; page by page, by key, in constant memory.

Every page is a short query of its own, so whoever reads slowly holds no transaction. A file ends with a line that says it is whole and
how many entries it has; one without it was cut.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec

from bels.audit.trail.finding import Found, Place, TrailFilter, find
from bels.audit.trail.telling import Told
from bels.cells import harmless_or_sum
from bels.domain.periods import MOSCOW
from bels.domain.terms import Money
from bels.projections.words import CHANNELS

PAGE = 500
"""Entries of one query and one piece of the stream."""

FORMAT = "bels trail 1"
HEADINGS = (
    "Лицевой счёт",
    "Запись",
    "Записано (МСК)",
    "Произошло (МСК)",
    "Событие",
    "Канал",
    "Кто",
    "Основание",
    "Период",
    "Сумма, руб.",
    "кВт·ч",
    "Квитанция",
    "Что произошло",
)
LOST = "Записи нет в журнале, или её нельзя прочесть: проверьте счёт (bels audit verify)."
WHOLE = "Выгрузка полная, записей:"
BEHIND = "позже добавлено и здесь нет, не больше:"

_BOM = "\ufeff"


class ExportForm(StrEnum):
    """How the trail is written."""

    JSONL = "jsonl"
    CSV = "csv"


MEDIA = {
    ExportForm.JSONL: "application/jsonl; charset=utf-8",
    ExportForm.CSV: "text/csv; charset=utf-8; header=present",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the file: its text, how many entries are in it, and which accounts they are of."""

    text: str
    entries: int
    accounts: tuple[str, ...]


async def exported(
    pool: asyncpg.Pool, wanted: TrailFilter, form: ExportForm, told: Told, page: int = PAGE
) -> AsyncGenerator[Piece, None]:
    """Write the entries that are searched for, as far as the index went when it was begun (``told``).

    :raises TooWideError: a page takes too long to find.
    """
    head = _BOM + _lines([HEADINGS]) if form is ExportForm.CSV else ""
    after: Place | None = None
    count = 0
    while True:
        async with pool.acquire() as db:
            found = await find(db, wanted, after, None, page, upto=told.mark)
        if found:
            count += len(found)
            after = found[-1].place
            accounts = tuple(sorted({each.row.account for each in found}))
            text = await asyncio.to_thread(_json if form is ExportForm.JSONL else _csv, found)
            yield Piece(head + text, len(found), accounts)
            head = ""
        if len(found) < page:
            break
    yield Piece(head + _end(wanted, form, told, count), 0, ())


def file_name(form: ExportForm, at: datetime) -> str:
    """Name a file by the day of Moscow on which it was made: ``trail_2026-11-20.csv``."""
    return f"trail_{at.astimezone(MOSCOW):%Y-%m-%d}.{form.value}"


def _json(found: list[Found]) -> str:
    return "".join(f"{msgspec.json.encode(_object(each)).decode()}\n" for each in found)


def _object(found: Found) -> dict[str, Any]:
    row, told = found.row, found.told
    said: dict[str, Any] = {
        "account": row.account,
        "entry": row.entry,
        "recorded_at": _utc(row.recorded_at),
        "kind": row.kind,
        "channel": row.channel,
        "actor": row.actor,
        "rule": row.rule,
        "period": row.period,
        "amount": str(row.amount) if row.amount is not None else None,
        "kwh": row.kwh,
    }
    if told is None:
        return {**said, "lost": LOST}
    return {
        **said,
        "happened_at": _utc(told.happened_at),
        "receipt": told.receipt,
        "request_id": told.request_id,
        "behalf": told.behalf,
        "text": told.text,
        "data": msgspec.Raw(told.data.encode()),
    }


def _csv(found: list[Found]) -> str:
    return _lines([_cells(each) for each in found])


def _cells(found: Found) -> tuple[str, ...]:
    row, told = found.row, found.told
    return (
        row.account,
        str(row.entry),
        _moscow(row.recorded_at),
        _moscow(told.happened_at) if told is not None else "",
        row.kind,
        _channel(row.channel),
        row.actor,
        row.rule or "",
        row.period or "",
        _money(row.amount),
        "" if row.kwh is None else str(row.kwh),
        told.receipt if told is not None else "",
        told.text if told is not None else LOST,
    )


def _lines(rows: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="\r\n").writerows(map(harmless_or_sum, row) for row in rows)
    return text.getvalue()


def _end(wanted: TrailFilter, form: ExportForm, told: Told, count: int) -> str:
    whole_at = _utc(told.whole_at) if told.whole_at is not None else None
    if form is ExportForm.CSV:
        missing = (f"{BEHIND} {told.behind}",) if told.behind else ()
        return _lines([(WHOLE, str(count), *missing, *wanted.said())])
    said = {"format": FORMAT, "whole": True, "entries": count, "whole_at": whole_at, "behind": told.behind}
    return msgspec.json.encode({**said, "filter": wanted.said()}).decode() + "\n"


def _channel(value: str) -> str:
    return next((words for channel, words in CHANNELS.items() if channel.value == value), value)


def _money(amount: Money | None) -> str:
    return "" if amount is None else f"{amount:.2f}".replace(".", ",")


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moscow(at: datetime) -> str:
    return at.astimezone(MOSCOW).strftime("%d.%m.%Y %H:%M:%S")
