"""Write what every household owes into a file for a bank, page by page, whole or not at all.

The same money and the same people give the same bytes. Names and addresses are opened page by page, after it is recorded who
is told them; who gave none, or whose data were erased, stands there by the number of the account alone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import asyncpg
import msgspec

from bels.access.access_log import record_read
from bels.access.callers import Caller, Kind, Right
from bels.access.personal import Personal, find_many, subject_of
from bels.domain.money import ZERO, to_kopecks
from bels.domain.periods import moscow_date
from bels.domain.rulebook import Requisites
from bels.domain.terms import Channel, Money, Period
from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.messages import TryLater
from bels.payments.charges.encode import written
from bels.payments.charges.layouts import ENCODINGS, ChargesContract, MeterRole, Role
from bels.payments.exchange.folders import PART, sync_folder
from bels.payments.exchange.states import reached
from bels.payments.till import Till
from bels.projections.overview import MeterRow

PAGE = 1_000
NAMED_MAX = 100
"""Accounts named in the result whose text had to be written otherwise; all are counted."""
END = "\r\n"

_meter = msgspec.json.Decoder(MeterRow).decode
_values = msgspec.json.Decoder(dict[str, int | str]).decode


@dataclass(frozen=True, slots=True)
class ChargedRow:
    """What a file says of an account: roubles to pay, the meter in service, what it showed last and when."""

    account: str
    tenure: int
    amount: Money
    meter: MeterRow | None
    values: Mapping[str, int | str]
    value_on: date | None


@dataclass(slots=True)
class Written:
    """What was written: lines, roubles in all, ``unnamed`` accounts without a name, ``replaced`` whose text the encoding
    does not know (``examples`` are some of them).
    """

    path: Path
    count: int = 0
    total: Money = ZERO
    unnamed: int = 0
    replaced: int = 0
    examples: list[str] = field(default_factory=list)

    def summary(self) -> list[str]:
        """Say it in Russian."""
        lines = [f"{self.path.name}: строк {self.count}, сумма {self.total:.2f}"]
        if self.unnamed:
            lines.append(f"Без имени (нет персональных данных): {self.unnamed}")
        if self.replaced:
            more = ", ..." if self.replaced > len(self.examples) else ""
            lines.append(
                f"Знаки, которых нет в кодировке, заменены: {self.replaced} (л/с {', '.join(self.examples)}{more})"
            )
        return lines


async def write_charges(
    till: Till,
    contract: ChargesContract,
    period: Period,
    folder: Path,
    payee: Requisites | None,
    *,
    by: str,
    page: int = PAGE,
) -> Written:
    """Write the charges of a period into a folder, in place of a file of the same name; ``by`` is recorded.

    :raises PartnersError: nobody says whose charges these are.
    :raises TryLater: the database cannot be reached; no file is written.
    """
    name = contract.file_name(period, payee)
    done = Written(folder / name)
    part, body = folder / f"{name}{PART}", folder / f"{name}.rows{PART}"
    encoding = ENCODINGS[contract.encoding]
    try:
        with await asyncio.to_thread(_private, body) as file:
            async for rows in charged(till.counter.pool, contract, period, page):
                people = await _people(till, contract, rows, name, by)
                await asyncio.to_thread(file.write, _lines(contract, period, rows, people, done).encode(encoding))
        head = contract.header_lines(period, payee, done.count, done.total)
        text = "".join(f"{written_line(line, encoding)}{END}" for line in head)
        await asyncio.to_thread(_join, part, text.encode(encoding), body, done.path)
    finally:
        for each in (part, body):
            each.unlink(missing_ok=True)
    return done


async def charged(
    pool: asyncpg.Pool, contract: ChargesContract, period: Period, page: int = PAGE
) -> AsyncIterator[list[ChargedRow]]:
    """Give pages of what a file says of accounts, in order of number.

    :raises TryLater: the database cannot be reached.
    """
    after = ""
    while True:
        async with reached(pool) as db:
            rows, last = await _page(db, contract, period, after, page)
        if rows:
            yield rows
        if last is None:
            return
        after = last


async def _page(
    db: Db, contract: ChargesContract, period: Period, after: str, page: int
) -> tuple[list[ChargedRow], str | None]:
    """Read a page after an account, and where the next begins: None where there is none."""
    # What a bill said is the balance after the last movement that stands on it or before; what was paid later stands on the next.
    found = await db.fetch(
        """
        WITH page AS (
            SELECT account, situation, meter FROM overview
            WHERE account > $1 AND situation IN ('OPEN', 'CLOSED') ORDER BY account LIMIT $2
        )
        SELECT page.account, page.situation, page.meter, coalesce(tenure.number, 1) AS tenure,
               usage.period IS NOT NULL AS has_bill,
               CASE WHEN $3 THEN bill.energy ELSE balance.balance END AS energy,
               CASE WHEN $3 THEN bill.penalty ELSE balance.penalty END AS penalty,
               reading."values", reading.on_at
        FROM page
        LEFT JOIN balance USING (account)
        LEFT JOIN tenure USING (account)
        LEFT JOIN LATERAL (
            SELECT (array_agg(balance ORDER BY entry DESC) FILTER (WHERE purpose = 'ENERGY'))[1] AS energy,
                   (array_agg(balance ORDER BY entry DESC) FILTER (WHERE purpose = 'PENALTY'))[1] AS penalty
            FROM ledger WHERE ledger.account = page.account AND posted_in <= $4 AND $3
        ) bill ON true
        LEFT JOIN usage ON usage.account = page.account AND usage.period = $4 AND usage.due_on IS NOT NULL
        LEFT JOIN LATERAL (
            SELECT "values", coalesce(taken_at, received_at) AS on_at FROM reading
            WHERE $5 AND reading.account = page.account AND status = 'ACCEPTED' AND meter = page.meter->>'number'
            ORDER BY received_at DESC, entry DESC LIMIT 1
        ) reading ON true
        ORDER BY page.account
        """,
        after,
        page,
        contract.of_bill,
        period,
        bool(contract.layout.meters),
    )
    rows = [row for each in found if (row := _row(each, contract)) is not None]
    return rows, found[-1]["account"] if len(found) == page else None


def _row(found: Any, contract: ChargesContract) -> ChargedRow | None:
    energy, penalty = found["energy"], found["penalty"]
    if contract.of_bill and not found["has_bill"]:
        return None
    amount = max(energy or ZERO, ZERO) + (max(penalty or ZERO, ZERO) if contract.with_penalties else ZERO)
    meter = _meter(found["meter"]) if found["meter"] is not None else None
    if amount == 0 and (contract.only_debt or found["situation"] == "CLOSED"):
        return None
    on = found["on_at"]
    return ChargedRow(
        found["account"],
        found["tenure"],
        to_kopecks(amount),
        meter,
        _values(found["values"]) if found["values"] is not None else {},
        moscow_date(on) if isinstance(on, datetime) else None,
    )


async def _people(
    till: Till, contract: ChargesContract, rows: Sequence[ChargedRow], name: str, by: str
) -> dict[str, Personal]:
    """Open the names and addresses of a page, once it is recorded that the partner is told them."""
    if not {"name", "address"} & set(contract.layout.columns):
        return {}
    subjects = {subject_of(row.account, row.tenure): row.account for row in rows}
    pool, vault = till.counter.pool, till.counter.door.vault
    async with reached(pool) as db:
        found = await find_many(db, vault, list(subjects))
    told = Caller(Kind.PARTNER, contract.partner.client, Right(0), Channel.BANK, contract.partner.actor)
    people = {subjects[subject]: each for subject, each in found.items()}
    try:
        if people:
            await record_read(pool, told, f"charges {name} by {by}", ["charges"], sorted(people))
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    return people


def _lines(
    contract: ChargesContract,
    period: Period,
    rows: Sequence[ChargedRow],
    people: Mapping[str, Personal],
    done: Written,
) -> str:
    encoding = ENCODINGS[contract.encoding]
    lines = []
    for row in rows:
        fields = [_field(role, row, people.get(row.account), contract, period) for role in contract.layout.columns]
        fields += _meters(row, contract)
        told = [written(each, encoding) for each in fields]
        lines.append(";".join(text for text, _ in told) + END)
        done.count += 1
        done.total += row.amount
        done.unnamed += people.get(row.account, _NOBODY).name is None
        if any(otherwise for _, otherwise in told):
            done.replaced += 1
            if len(done.examples) < NAMED_MAX:
                done.examples.append(row.account)
    return "".join(lines)


def _field(role: Role, row: ChargedRow, who: Personal | None, contract: ChargesContract, period: Period) -> str:
    match role:
        case "account":
            return row.account
        case "amount":
            return f"{row.amount:.2f}".replace(".", contract.decimal)
        case "period":
            return f"{period[5:]}{period[2:4]}"
        case "name":
            return (who.name if who is not None else None) or ""
        case "address":
            return (who.address if who is not None else None) or ""
        case "unified_account" | "service_id" | "fias" | "fias_flat":
            # They come from ГИС ЖКХ and are not known here.
            return ""


def _meters(row: ChargedRow, contract: ChargesContract) -> list[str]:
    layout, meter = contract.layout, row.meter
    if not layout.meters or layout.types is None or meter is None:
        return []
    types = layout.types.get(len(meter.registers), {})
    registers = [register for register in meter.registers if register in types][: layout.meters_max]
    return [_of_meter(role, row, meter, register, types) for register in registers for role in layout.meters]


def _of_meter(role: MeterRole, row: ChargedRow, meter: MeterRow, register: str, types: Mapping[str, str]) -> str:
    match role:
        case "type":
            return types[register]
        case "number":
            return meter.number
        case "title":
            return meter.model or ""
        case "value":
            return str(row.values.get(register, ""))
        case "value_on":
            return f"{row.value_on:%d.%m.%Y}" if row.value_on is not None and register in row.values else ""
        case "next_verification" | "info":
            return ""


def written_line(line: str, encoding: str) -> str:
    """Give a line of the header as the encoding can write it."""
    return line.encode(encoding, "replace").decode(encoding)


def _join(part: Path, head: bytes, body: Path, path: Path) -> None:
    with _private(part) as whole, body.open("rb") as rows:
        whole.write(head)
        shutil.copyfileobj(rows, whole)
        whole.flush()
        os.fsync(whole.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb")


_NOBODY = Personal()
