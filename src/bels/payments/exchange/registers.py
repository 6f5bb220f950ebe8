"""Hand files of a partner to whoever takes registers, and say in Russian what became of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from bels.messages import TryLater
from bels.payments.exchange.folders import RESULT_LINES_MAX, TakeFile, Taken
from bels.payments.exchange.states import reached
from bels.payments.partners import Partner, PartnersError
from bels.payments.registers.faults import FILE_FAULTS, ROW_FAULTS, RowFault
from bels.payments.registers.files import (
    FileState,
    FileTooLargeError,
    KeptRow,
    RegisterFile,
    RowOutcome,
    Way,
    list_rows,
    tally,
)
from bels.payments.registers.taking import receive_file
from bels.payments.till import Till

ROWS_OF_PAGE = 1_000
BY = "exchange"

WAYS = {"sftp": Way.SFTP, "pull": Way.SFTP, "folder": Way.FOLDER, "command": Way.COMMAND}

OUTCOMES = {
    RowOutcome.CREDITED: "зачислено",
    RowOutcome.MATCHED: "уже зачислено ранее",
    RowOutcome.CORRECTED: "исправлено по реестру",
    RowOutcome.UNALLOCATED: "невыясненные платежи",
    RowOutcome.REFUNDED: "возвраты",
    RowOutcome.REVIEW: "ждут решения оператора",
    RowOutcome.RESOLVING: "в работе у оператора",
    RowOutcome.DISMISSED: "отклонено оператором",
}


def register_taker(till: Till) -> TakeFile:
    """Give what takes a partner's files as registers."""

    async def take(partner: Partner, layout: str | None, name: str, path: Path, how: str) -> Taken:
        return await take_register(till, partner, layout, name, path, WAYS[how], by=BY)

    return take


async def take_register(
    till: Till, partner: Partner, layout: str | None, name: str, path: Path, way: Way, *, by: str
) -> Taken:
    """Take a file as a register, and say what became of it.

    :raises TryLater: it was not taken to its end.
    """
    try:
        taken = await receive_file(till, partner, name, path, way, layout=layout, by=by)
    except FileTooLargeError:
        return Taken("Файл не принят: он больше, чем может быть реестр.", is_taken=False)
    except PartnersError:
        return Taken("Файл не принят: договор с отправителем у получателя настроен неверно.", is_taken=False)
    if taken.file.state in (FileState.RECEIVED, FileState.TAKING):
        raise TryLater("the register is not taken to its end")
    words = await _words(till, taken.file)
    if taken.repeated:
        words = f"Этот файл уже был получен, ничего не изменилось. {words}"
    waits = taken.file.state is FileState.QUARANTINED
    return Taken(words, tuple([line async for line in _problems(till, taken.file)]), waits=waits)


async def _words(till: Till, file: RegisterFile) -> str:
    if file.state is FileState.REJECTED:
        return "Файл отклонён оператором, ни одна строка не проведена."
    if file.state is FileState.QUARANTINED:
        fault = FILE_FAULTS[file.fault] if file.fault is not None else ""
        return f"Файл не проведён и ждёт решения оператора. {fault}"
    async with reached(till.counter.pool) as db:
        counts = await tally(db, file.file)
    told = "; ".join(f"{OUTCOMES[each.outcome]} {each.count} на {each.amount:.2f}" for each in counts)
    return f"Файл принят, строк {file.rows} на {file.amount:.2f}: {told or 'платежей нет'}."


async def _problems(till: Till, file: RegisterFile) -> AsyncIterator[str]:
    """Name every line that a person must look at, by its number and the reason alone."""
    count = 0
    for outcome in (RowOutcome.REVIEW, RowOutcome.UNALLOCATED):
        after: int | None = None
        while count < RESULT_LINES_MAX:
            async with reached(till.counter.pool) as db:
                rows = await list_rows(db, file.file, outcome, after, ROWS_OF_PAGE)
            for row in rows:
                count += 1
                yield f"Строка {row.line}: {_why(row)}"
            if len(rows) < ROWS_OF_PAGE:
                break
            after = rows[-1].line


def _why(row: KeptRow) -> str:
    if row.outcome is RowOutcome.UNALLOCATED:
        return "Деньги приняты, но лицевой счёт не найден или закрыт: платёж невыясненный."
    try:
        return ROW_FAULTS[RowFault(row.reason or "")]
    except ValueError:
        return "Требует решения оператора."
