"""The receipt of a payment by card: what it must say (54-ФЗ), and the paper that the payer may have at once (квитанция).

We settle with the payer, so the receipt is ours; MONETA's register prints it from what our answer to its notice tells. Where the
answer was never heard the receipt is REQUESTED: it is due within five working days (partners 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from bels.domain.money import ZERO
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.terms import Money, Purpose, Word
from bels.journal.write import Db
from bels.payments.cards.contract import Cards, Contract
from bels.payments.cards.orders import Order

METHOD, SUBJECT = "full_payment", "service"
"""Signs of the method (tag 1214: paid in full) and of the subject (tag 1212: a service) of a settlement."""

URL_LENGTH_MAX = 1_000

_PURPOSES = {Purpose.ENERGY: "", Purpose.PENALTY: ", пени"}
_encode = msgspec.json.Encoder().encode


class FiscalState(Word):
    """Where a receipt stands."""

    REQUESTED = "REQUESTED"
    """MONETA has not heard from us what it must say."""
    SENT = "SENT"
    """MONETA has heard it."""
    DONE = "DONE"
    """It is printed, and can be seen under its URL."""


@dataclass(frozen=True, slots=True)
class FiscalItem:
    """A line: ``price`` roubles each, the tag of its VAT, the signs of the method (``pm``) and the subject (``po``)."""

    name: str
    price: Money
    quantity: str
    vatTag: int  # noqa: N815 - the register's name
    pm: str = METHOD
    po: str = SUBJECT


@dataclass(frozen=True, slots=True)
class Fiscal:
    """A receipt: its lines, the sign of the tax system, where it stands."""

    operation: str
    state: FiscalState
    sno: int
    items: tuple[FiscalItem, ...]
    sent_at: datetime | None = None
    url: str | None = None


def items_of(contract: Contract, order: Order, paid_at: datetime) -> tuple[FiscalItem, ...]:
    """Write the lines of a payment: together they are what the payer paid, by the VAT of the day of payment."""
    tag = contract.vat_tag(moscow_date(paid_at))
    name = f"{contract.item}{_PURPOSES[order.purpose]}, лицевой счёт {order.account}"
    items = [FiscalItem(name, order.amount, "1", tag)]
    if order.commission > ZERO:
        items.append(FiscalItem(contract.commission_item, order.commission, "1", tag))
    return tuple(items)


def attributes_of(fiscal: Fiscal, contact: str | None) -> list[tuple[str, str]]:
    """Write a receipt as the attributes of MONETA's answer: INVENTORY, CLIENT, SNO, DELIVERY (nothing is delivered)."""
    attributes = [("INVENTORY", _encode(fiscal.items).decode())]
    if contact is not None:
        attributes.append(("CLIENT", _encode({"email" if "@" in contact else "phone": contact}).decode()))
    return [*attributes, ("SNO", str(fiscal.sno)), ("DELIVERY", "0.00")]


async def keep_fiscal(db: Db, cards: Cards, order: Order, operation: str, paid_at: datetime) -> None:
    """Keep what the receipt of an operation must say, once."""
    await db.execute(
        """
        INSERT INTO card_fiscal (operation, order_id, state, sno, items) VALUES ($1, $2, 'REQUESTED', $3, $4)
        ON CONFLICT (operation) DO NOTHING
        """,
        operation,
        order.order_id,
        cards.contract.sno,
        _encode(items_of(cards.contract, order, paid_at)).decode(),
    )


async def find_fiscal(db: Db, operation: str) -> Fiscal | None:
    """Find the receipt of an operation."""
    row = await db.fetchrow(
        "SELECT operation, state, sno, items, sent_at, url FROM card_fiscal WHERE operation = $1", operation
    )
    if row is None:
        return None
    items = msgspec.json.decode(row["items"], type=tuple[FiscalItem, ...])
    return Fiscal(row["operation"], FiscalState(row["state"]), row["sno"], items, row["sent_at"], row["url"])


async def tell_fiscal(db: Db, operation: str, now: datetime) -> None:
    """Note that MONETA is told what the receipt must say."""
    await db.execute(
        "UPDATE card_fiscal SET state = 'SENT', sent_at = $2 WHERE operation = $1 AND state = 'REQUESTED'",
        operation,
        now,
    )


async def finish_fiscal(db: Db, operation: str, url: str) -> bool:
    """Note where a printed receipt can be seen; False where there is no such receipt, or the URL is none."""
    if not (url.startswith("https://") and len(url) <= URL_LENGTH_MAX and url.isprintable()):
        return False
    tag = await db.execute("UPDATE card_fiscal SET state = 'DONE', url = $2 WHERE operation = $1", operation, url)
    return bool(tag == "UPDATE 1")


def slip(contract: Contract, order: Order) -> str | None:
    """Write the payer's paper of a payment (квитанция); None before it is paid."""
    if order.paid_at is None:
        return None
    lines = [
        "Квитанция об оплате",
        f"Получатель: ИНН {contract.payee_inn}",
        f"Лицевой счёт: {order.account}",
        f"Назначение: {contract.item}{_PURPOSES[order.purpose]}",
        f"Сумма: {order.amount:.2f} руб.",
        f"Комиссия: {order.commission:.2f} руб.",
        f"Всего: {order.total:.2f} руб.",
        f"Оплачено: {order.paid_at.astimezone(MOSCOW):%d.%m.%Y %H:%M} (МСК), НКО «МОНЕТА», операция {order.operation}",
        f"Принято: квитанция {order.receipt}",
    ]
    return "\n".join(lines)
