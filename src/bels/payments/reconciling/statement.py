"""Read a bank's statement: the text ``1CClientBankExchange`` 1.0x, in which every Russian bank gives one.

``Key=value`` a line, sections ``СекцияРасчСчет`` .. ``КонецРасчСчет`` and ``СекцияДокумент=`` .. ``КонецДокумента``; cp1251, cp866 or
UTF-8; ends with ``КонецФайла`` [source: v8.1c.ru, «Стандарт обмена с системами "Клиент банка"»].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from bels.domain.money import is_amount, to_kopecks
from bels.domain.terms import Money

STATEMENT_BYTES_MAX = 10_000_000
DOCUMENTS_MAX = 20_000
FIELDS_MAX = 200
LINE_LENGTH_MAX = 2_000

_HEAD = "1CClientBankExchange"
_BOM = b"\xef\xbb\xbf"
_ENCODING = "Кодировка"
_DOCUMENT, _DOCUMENT_ENDS = "СекцияДокумент", "КонецДокумента"
_ACCOUNT, _ACCOUNT_ENDS = "СекцияРасчСчет", "КонецРасчСчет"
_ENDS = "КонецФайла"
_OWN = "РасчСчет"


class StatementError(ValueError):
    """A statement cannot be read; ``line`` says where, 0 where no line is to blame. The sentence is Russian, for the operator."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"строка {line}: {text}" if line else text)
        self.line = line


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """A платёжное поручение that came in: ``amount`` roubles of its payer."""

    document: str
    made_on: date
    amount: Money
    payer_inn: str
    payer_account: str
    payer: str
    purpose: str


def read_statement(raw: bytes) -> list[PaymentOrder]:
    """Read what came in by a statement: documents that pay one of the accounts it is of.

    :raises StatementError: it is no statement, or only a part of one.
    """
    if len(raw) > STATEMENT_BYTES_MAX:
        raise StatementError(0, f"выписка больше {STATEMENT_BYTES_MAX} байт")
    lines = _text(raw).rstrip("\x1a\x00 \r\n").splitlines()
    if not lines or lines[0].strip() != _HEAD:
        raise StatementError(1, f"выписка начинается не с {_HEAD}")
    if lines[-1].strip() != _ENDS:
        raise StatementError(len(lines), f"нет {_ENDS}: это не вся выписка")
    own = {line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == _OWN} - {""}
    return [
        _order(at, fields)
        for at, fields in _documents(lines)
        if _payee(fields) in own or (not own and fields.get("ДатаПоступило"))
    ]


def _text(raw: bytes) -> str:
    """Decode a statement: it names its encoding in that encoding."""
    codecs = ("utf-8-sig",) if raw.startswith(_BOM) else ("cp1251", "cp866", "utf-8")
    for codec in codecs:
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        if _ENCODING in text or _ENDS in text:
            return text
    raise StatementError(0, "кодировка не читается: нужна Windows (cp1251), DOS (cp866) или UTF-8")


def _documents(lines: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    fields: dict[str, str] | None = None
    started, count = 0, 0
    for at, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX:
            raise StatementError(at, f"длиннее {LINE_LENGTH_MAX} знаков")
        key, _, value = line.partition("=")
        key = key.strip()
        if key == _DOCUMENT:
            if fields is not None:
                raise StatementError(at, f"документ со строки {started} не закончен")
            fields, started, count = {}, at, count + 1
            if count > DOCUMENTS_MAX:
                raise StatementError(at, f"больше {DOCUMENTS_MAX} документов")
        elif key == _DOCUMENT_ENDS:
            if fields is None:
                raise StatementError(at, "документ не начат")
            yield started, fields
            fields = None
        elif fields is not None:
            if len(fields) >= FIELDS_MAX:
                raise StatementError(at, f"больше {FIELDS_MAX} полей в документе")
            fields.setdefault(key, value.strip())
    if fields is not None:
        raise StatementError(started, "документ не закончен")


def _payee(fields: dict[str, str]) -> str:
    return fields.get("ПолучательСчет") or fields.get("ПолучательРасчСчет") or ""


def _order(at: int, fields: dict[str, str]) -> PaymentOrder:
    try:
        amount = Decimal(fields.get("Сумма", "").replace(",", "."))
        made_on = datetime.strptime(fields.get("Дата", ""), "%d.%m.%Y").date()  # noqa: DTZ007  # a day has no hour
    except (InvalidOperation, ValueError):
        raise StatementError(at, "нет даты ДД.ММ.ГГГГ или суммы документа") from None
    if not is_amount(amount):
        raise StatementError(at, "сумма документа неверна")
    if not fields.get("Номер"):
        raise StatementError(at, "нет номера документа")
    return PaymentOrder(
        document=fields["Номер"],
        made_on=made_on,
        amount=to_kopecks(amount),
        payer_inn=fields.get("ПлательщикИНН", ""),
        payer_account=fields.get("ПлательщикСчет") or fields.get("ПлательщикРасчСчет", ""),
        payer=fields.get("Плательщик1") or fields.get("Плательщик", ""),
        purpose=fields.get("НазначениеПлатежа", ""),
    )
