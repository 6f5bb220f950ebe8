"""What can be wrong with a register: with the whole file, which then waits, or with one line, which waits alone."""

from __future__ import annotations

from collections.abc import Mapping

from bels.domain.terms import Word


class FileFault(Word):
    """Why a whole file waits."""

    NO_LAYOUT = "NO_LAYOUT"
    WRONG_ENCODING = "WRONG_ENCODING"
    NO_BOM = "NO_BOM"
    BAD_ARCHIVE = "BAD_ARCHIVE"
    TOO_LARGE = "TOO_LARGE"
    LINE_TOO_LONG = "LINE_TOO_LONG"
    NO_HEADER = "NO_HEADER"
    BAD_TOTALS = "BAD_TOTALS"
    TOTALS_MISSING = "TOTALS_MISSING"
    TOTALS_DIFFER = "TOTALS_DIFFER"
    AFTER_TOTALS = "AFTER_TOTALS"
    BAD_ROWS = "BAD_ROWS"
    NUMBER_REUSED = "NUMBER_REUSED"


FILE_FAULTS: Mapping[FileFault, str] = {
    FileFault.NO_LAYOUT: "Неизвестно, что это за реестр: по имени файла его формат не определить.",
    FileFault.WRONG_ENCODING: "Кодировка файла не та, что согласована.",
    FileFault.NO_BOM: "В начале файла нет согласованной метки кодировки (BOM): возможно, начало потеряно.",
    FileFault.BAD_ARCHIVE: "Архив не открывается или в нём не один файл.",
    FileFault.TOO_LARGE: "Файл больше, чем может быть реестр.",
    FileFault.LINE_TOO_LONG: "В файле есть строка длиннее, чем может быть строка реестра.",
    FileFault.NO_HEADER: "В файле нет заголовка или в заголовке нет нужных столбцов.",
    FileFault.BAD_TOTALS: "Итоговая строка не читается.",
    FileFault.TOTALS_MISSING: "В файле нет итогов: возможно, пришла только его часть.",
    FileFault.TOTALS_DIFFER: "Итоги файла не сходятся с его строками.",
    FileFault.AFTER_TOTALS: "После итогов в файле есть ещё строки.",
    FileFault.BAD_ROWS: "В файле есть строки с ошибкой, а по договору такой файл не принимается целиком.",
    FileFault.NUMBER_REUSED: "Реестр с этим номером и датой уже был, но с другим содержанием.",
}
"""The same in words, for whoever decides."""

PASSABLE = frozenset(
    (
        FileFault.WRONG_ENCODING,
        FileFault.NO_BOM,
        FileFault.BAD_TOTALS,
        FileFault.TOTALS_MISSING,
        FileFault.TOTALS_DIFFER,
        FileFault.AFTER_TOTALS,
        FileFault.BAD_ROWS,
        FileFault.NUMBER_REUSED,
    )
)
"""An operator may answer for these: the rows can be read. With the others there is nothing to take yet."""


class RowFault(Word):
    """Why a row waits for an operator."""

    BAD_CHARACTER = "BAD_CHARACTER"
    BAD_COLUMNS = "BAD_COLUMNS"
    NO_ACCOUNT = "NO_ACCOUNT"
    BAD_ACCOUNT = "BAD_ACCOUNT"
    BAD_AMOUNT = "BAD_AMOUNT"
    BAD_FEE = "BAD_FEE"
    BAD_DATE = "BAD_DATE"
    BAD_ID = "BAD_ID"
    BAD_TYPE = "BAD_TYPE"
    TWICE_IN_FILE = "TWICE_IN_FILE"
    POSSIBLE_REPEAT = "POSSIBLE_REPEAT"
    OTHER_ACCOUNT = "OTHER_ACCOUNT"
    OTHER_AMOUNT = "OTHER_AMOUNT"
    TAKEN_BACK = "TAKEN_BACK"
    UNKNOWN_PARENT = "UNKNOWN_PARENT"
    REFUND_TOO_LARGE = "REFUND_TOO_LARGE"
    NOT_BOOKED = "NOT_BOOKED"


ROW_FAULTS: Mapping[RowFault, str] = {
    RowFault.BAD_CHARACTER: "В строке есть знаки, которых в тексте не бывает.",
    RowFault.BAD_COLUMNS: "В строке не хватает столбцов.",
    RowFault.NO_ACCOUNT: "Лицевой счёт не указан.",
    RowFault.BAD_ACCOUNT: "Лицевой счёт записан не цифрами.",
    RowFault.BAD_AMOUNT: "Сумма не читается.",
    RowFault.BAD_FEE: "Комиссия не читается.",
    RowFault.BAD_DATE: "Такой даты нет, или она ещё не наступила.",
    RowFault.BAD_ID: "Номер операции не читается.",
    RowFault.BAD_TYPE: "Тип операции неизвестен.",
    RowFault.TWICE_IN_FILE: "Эта операция уже есть выше в этом же файле.",
    RowFault.POSSIBLE_REPEAT: "Такой же платёж (день, счёт, сумма) уже пришёл в другом реестре.",
    RowFault.OTHER_ACCOUNT: "Операция с этим номером уже зачислена на другой лицевой счёт.",
    RowFault.OTHER_AMOUNT: "Операция с этим номером уже пришла в другом реестре с другой суммой.",
    RowFault.TAKEN_BACK: "Операция с этим номером отменена, а в реестре она есть.",
    RowFault.UNKNOWN_PARENT: "Платёж, который возвращается, не найден.",
    RowFault.REFUND_TOO_LARGE: "Возвращается больше, чем было заплачено.",
    RowFault.NOT_BOOKED: "Платёж не удалось провести.",
}
"""The same in words, for whoever decides."""

UNREADABLE = frozenset(
    (
        RowFault.BAD_CHARACTER,
        RowFault.BAD_COLUMNS,
        RowFault.NO_ACCOUNT,
        RowFault.BAD_ACCOUNT,
        RowFault.BAD_AMOUNT,
        RowFault.BAD_FEE,
        RowFault.BAD_DATE,
        RowFault.BAD_TYPE,
    )
)
"""A line with one of these was never looked up in the books: once it is mended it is the payment that its bank means."""


class Quarantined(Exception):
    """The whole file waits: ``fault`` and what exactly is wrong."""

    def __init__(self, fault: FileFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.detail = detail
