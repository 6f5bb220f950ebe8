"""The bank's transfers (платёжные поручения): recorded once, and matched to the days that they pay (partners 4.4).

A transfer is the partner's whose contract names its payer. Its day is what its purpose names, else the one day whose net sum it is,
else an operator says it. Transfers of others, people among them, are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from re import compile as pattern

import msgspec
from asyncpg import Record

from bels.access.raw_texts import RawTexts
from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.terms import Money
from bels.journal.write import Db, given
from bels.payments.partners import Partner, Partners
from bels.payments.reconciling.contracts import Terms, terms_of
from bels.payments.reconciling.statement import PaymentOrder

DOCUMENT_LENGTH_MAX = 20
PAYER_LENGTH_MAX = 200
PURPOSE_LENGTH_MAX = 500
PARTS_MAX = 31
SOUGHT_DAYS = 14
"""A transfer pays a day at most so many days before it."""

_INN = pattern(r"[0-9]{10}")
_ACCOUNT = pattern(r"[0-9]{20}")
_encode = msgspec.json.Encoder(decimal_format="string").encode


class TransferError(ValueError):
    """A transfer cannot be recorded or matched so; ``field`` is what is wrong, the sentence is Russian."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Part:
    """What of a transfer pays a day, in roubles."""

    day: date
    amount: Money


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer: ``amount`` roubles. ``payer`` and ``purpose`` are sealed where they hold words; ``parts`` are the days it pays."""

    number: int
    document: str
    made_on: date
    amount: Money
    payer_inn: str
    payer_account: str | None
    payer: str | None
    purpose: str | None
    partner: str | None
    by: str
    recorded_at: datetime
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a statement: transfers that are new, that were known, and how many documents are of no partner."""

    new: tuple[int, ...]
    known: int
    others: int


_ROW = """
    document text, made_on date, amount numeric, payer_inn text, payer_account text, payer text, purpose text, purpose_day date,
    partner text"""
_ROW_NAMES = "document, made_on, amount, payer_inn, payer_account, payer, purpose, purpose_day, partner"
_TRANSFER = "number, document, made_on, amount, payer_inn, payer_account, payer, purpose, partner, by, recorded_at"
_WITH_PARTS = f"""
SELECT {_TRANSFER}, array(SELECT (day, amount) FROM transfer_part WHERE transfer = number ORDER BY day) AS parts
  FROM bank_transfer
"""


async def record_transfers(
    db: Db, partners: Partners, texts: RawTexts, orders: Sequence[PaymentOrder], by: str, now: datetime
) -> Recorded:
    """Record those of a statement that partners' contracts name; the same document, day, sum and payer is the same transfer.

    :raises PartnersError: a contract cannot be used.
    :raises TransferError: one cannot be kept.
    """
    terms = {each.client: terms_of(each) for each in partners.partners}
    owned = [(order, owner) for order in orders if (owner := _owner(terms, order)) is not None]
    for order, _ in owned:
        check(order)
    rows = await db.fetch(
        f"""
        INSERT INTO bank_transfer ({_ROW_NAMES}, by, recorded_at)
        SELECT {_ROW_NAMES}, $2, $3 FROM {given(_ROW)} ON CONFLICT DO NOTHING RETURNING number
        """,
        _encode([_values(order, owner, terms[owner], texts) for order, owner in owned]).decode(),
        by,
        now,
    )
    return Recorded(tuple(row["number"] for row in rows), len(owned) - len(rows), len(orders) - len(owned))


async def record_transfer(
    db: Db, partners: Partners, texts: RawTexts, order: PaymentOrder, by: str, now: datetime
) -> tuple[Transfer, bool]:
    """Record one that an operator enters, whoever pays it; True where it was known.

    :raises TransferError: it cannot be kept.
    """
    check(order)
    terms = {each.client: terms_of(each) for each in partners.partners}
    owner = _owner(terms, order)
    values = _values(order, owner, terms.get(owner or "", Terms()), texts)
    row = await db.fetchrow(
        f"""
        INSERT INTO bank_transfer ({_ROW_NAMES}, by, recorded_at)
        SELECT {_ROW_NAMES}, $2, $3 FROM {given(_ROW)} ON CONFLICT DO NOTHING RETURNING number
        """,
        _encode([values]).decode(),
        by,
        now,
    )
    number = (
        row["number"]
        if row is not None
        else await db.fetchval(
            "SELECT number FROM bank_transfer WHERE document = $1 AND made_on = $2 AND amount = $3 AND payer_inn = $4",
            order.document.strip(),
            order.made_on,
            order.amount,
            order.payer_inn,
        )
    )
    found = await find_transfer(db, number)
    if found is None:
        raise LookupError(f"transfer {number}")
    return found, row is None


def check(order: PaymentOrder) -> None:
    """Check what is kept of a transfer.

    :raises TransferError: it cannot be kept so.
    """
    if not (0 < len(order.document.strip()) <= DOCUMENT_LENGTH_MAX and order.document.isprintable()):
        raise TransferError("document", f"Номер документа — от 1 до {DOCUMENT_LENGTH_MAX} знаков.")
    if not is_amount(order.amount):
        raise TransferError("amount", "Сумма — рубли и копейки больше нуля.")
    if order.payer_inn and not (_INN.fullmatch(order.payer_inn) and order.payer_inn.isascii()):
        raise TransferError("payerInn", "ИНН организации — 10 цифр; переводы граждан здесь не хранятся.")
    if order.payer_account and not (_ACCOUNT.fullmatch(order.payer_account) and order.payer_account.isascii()):
        raise TransferError("payerAccount", "Счёт плательщика — 20 цифр.")
    if len(order.payer) > PAYER_LENGTH_MAX or len(order.purpose) > PURPOSE_LENGTH_MAX:
        raise TransferError(
            "purpose", f"Плательщик — до {PAYER_LENGTH_MAX} знаков, назначение — до {PURPOSE_LENGTH_MAX}."
        )


async def find_transfer(db: Db, number: int) -> Transfer | None:
    """Find a transfer by its number."""
    row = await db.fetchrow(f"{_WITH_PARTS} WHERE number = $1", number)
    return _transfer(row) if row is not None else None


async def transfers_of(db: Db, partner: str, day: date) -> list[Transfer]:
    """List the transfers that pay a partner's day."""
    rows = await db.fetch(
        f"{_WITH_PARTS} WHERE number IN (SELECT transfer FROM transfer_part WHERE partner = $1 AND day = $2) ORDER BY number LIMIT $3",
        partner,
        day,
        PARTS_MAX,
    )
    return [_transfer(row) for row in rows]


async def list_transfers(db: Db, partner: str | None, unmatched: bool, after: int | None, limit: int) -> list[Transfer]:
    """List transfers in the order in which they were recorded: of a partner, or those alone that no day is known for."""
    rows = await db.fetch(
        f"""
        {_WITH_PARTS}
         WHERE ($1::text IS NULL OR partner = $1) AND ($3::bigint IS NULL OR number > $3)
           AND NOT ($2 AND EXISTS (SELECT FROM transfer_part WHERE transfer = number))
         ORDER BY number LIMIT $4
        """,
        partner,
        unmatched,
        after,
        limit,
    )
    return [_transfer(row) for row in rows]


async def match_transfer(
    db: Db, number: int, partner: str, parts: Sequence[Part], by: str, now: datetime
) -> set[tuple[str, date]]:
    """Match a transfer to the days it pays, instead of those it was matched to; give all partners' days concerned.

    :raises TransferError: there is no such transfer, or the parts are not its sum.
    """
    async with db.transaction():
        amount = await db.fetchval("SELECT amount FROM bank_transfer WHERE number = $1 FOR UPDATE", number)
        if amount is None:
            raise TransferError("transfer", "Такого перечисления нет.")
        if not 0 < len(parts) <= PARTS_MAX or len({part.day for part in parts}) != len(parts):
            raise TransferError("parts", f"От 1 до {PARTS_MAX} дней, каждый один раз.")
        if sum((part.amount for part in parts), ZERO) != amount or not all(is_amount(part.amount) for part in parts):
            raise TransferError("parts", f"Суммы дней должны дать сумму перечисления: {amount}.")
        rows = await db.fetch(
            """
            WITH told AS (
                SELECT * FROM json_to_recordset($2::json) AS part (day date, amount numeric)
            ), gone AS (
                DELETE FROM transfer_part WHERE transfer = $1::bigint
                   AND NOT (partner = $3::text AND day IN (SELECT day FROM told)) RETURNING partner, day
            ), kept AS (
                INSERT INTO transfer_part (transfer, partner, day, amount, matched_by, matched_at)
                SELECT $1::bigint, $3::text, day, amount, $4::text, $5::timestamptz FROM told
                ON CONFLICT (transfer, partner, day) DO UPDATE
                    SET amount = excluded.amount, matched_by = excluded.matched_by, matched_at = excluded.matched_at
            ), owned AS (
                UPDATE bank_transfer SET partner = $3::text WHERE number = $1::bigint
            ), days AS (
                SELECT partner, day FROM gone UNION SELECT $3::text, day FROM told
            ), acts AS (
                INSERT INTO reconciling_act (partner, day, act, by, at, ground)
                SELECT partner, day, 'TRANSFER_MATCHED', $4::text, $5::timestamptz, ($1::bigint)::text FROM days
            )
            SELECT partner, day FROM days
            """,
            number,
            _encode([{"day": part.day, "amount": part.amount} for part in parts]).decode(),
            partner,
            by,
            now,
        )
    return {(row["partner"], row["day"]) for row in rows}


async def match_by_itself(db: Db, partner: Partner, by: str, now: datetime) -> set[date]:
    """Match a partner's transfers whose purpose names the day, or whose sum is the net sum of one day alone; give the days."""
    rows = await db.fetch(
        """
        WITH free AS (
            SELECT number, made_on, amount, purpose_day FROM bank_transfer
             WHERE partner = $1::text AND made_on > $2 AND NOT EXISTS (SELECT FROM transfer_part WHERE transfer = number)
        ), alike AS (
            SELECT free.number, reconciliation.day, free.amount,
                   count(*) OVER (PARTITION BY free.number) AS days, count(*) OVER (PARTITION BY reconciliation.day) AS transfers
              FROM free JOIN reconciliation ON reconciliation.partner = $1::text AND net = amount AND transfer_count = 0
               AND reconciliation.day BETWEEN made_on - $3::int AND made_on
             WHERE purpose_day IS NULL
        ), matched AS (
            INSERT INTO transfer_part (transfer, partner, day, amount, matched_by, matched_at)
            SELECT number, $1::text, purpose_day, amount, $4::text, $5::timestamptz FROM free WHERE purpose_day IS NOT NULL
            UNION ALL
            SELECT number, $1::text, day, amount, $4::text, $5::timestamptz FROM alike WHERE days = 1 AND transfers = 1
            ON CONFLICT DO NOTHING
            RETURNING transfer, day
        ), acts AS (
            INSERT INTO reconciling_act (partner, day, act, by, at, ground)
            SELECT $1::text, day, 'TRANSFER_MATCHED', $4::text, $5::timestamptz, transfer::text FROM matched
        )
        SELECT DISTINCT day FROM matched
        """,
        partner.client,
        (now - timedelta(days=10 * SOUGHT_DAYS)).date(),
        SOUGHT_DAYS,
        by,
        now,
    )
    return {row["day"] for row in rows}


def _owner(terms: dict[str, Terms], order: PaymentOrder) -> str | None:
    """Find whose transfer it is: by the payer's account, else by its ИНН."""
    by_account = [
        client for client, each in terms.items() if order.payer_account and order.payer_account in each.accounts
    ]
    by_inn = [client for client, each in terms.items() if order.payer_inn and order.payer_inn in each.payers]
    owners = by_account or by_inn
    return owners[0] if len(owners) == 1 else None


def _values(order: PaymentOrder, owner: str | None, terms: Terms, texts: RawTexts) -> dict[str, object]:
    return {
        "document": order.document.strip(),
        "made_on": order.made_on,
        "amount": to_kopecks(order.amount),
        "payer_inn": order.payer_inn,
        "payer_account": order.payer_account or None,
        "payer": texts.guarded(order.payer) if order.payer else None,
        "purpose": texts.guarded(order.purpose) if order.purpose else None,
        "purpose_day": _purpose_day(order, terms),
        "partner": owner,
    }


def _purpose_day(order: PaymentOrder, terms: Terms) -> date | None:
    found = terms.purpose_day.search(order.purpose) if terms.purpose_day is not None else None
    if found is None:
        return None
    try:
        day = datetime.strptime(found[1], "%d.%m.%Y").date()  # noqa: DTZ007  # a day has no hour
    except ValueError:
        return None
    # Another year is a slip of the pen: an operator says the day.
    return day if timedelta() <= order.made_on - day <= timedelta(days=SOUGHT_DAYS) else None


def _transfer(row: Record) -> Transfer:
    parts = tuple(Part(day, to_kopecks(Decimal(amount))) for day, amount in row["parts"])
    told = {each.name: row[each.name] for each in fields(Transfer) if each.name != "parts"}
    return Transfer(**told, parts=parts)
