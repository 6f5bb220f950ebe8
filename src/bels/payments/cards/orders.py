"""Orders of payments by card: what a payer was shown, and where it stands. MONETA takes the money, never we.

A repeat and the daily list must mean the same payment, and an order may be paid twice by somebody who reloads a page: so a payment
is named by MONETA's operation, not by the order. The order is what was quoted, and is charged as quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from bels.access.cards import card_token
from bels.access.people import new_id
from bels.access.personal import PersonalDataError, email_of, phone_of, subject_of, tenure_of
from bels.access.tenures import is_account
from bels.access.vault import KeyDestroyed, NoSuchKey
from bels.domain.money import is_amount, to_kopecks
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.receive_payment import reason_unallocated
from bels.domain.terms import Money, Purpose, Word
from bels.journal.write import Db
from bels.messages import digest
from bels.payments.cards.contract import CURRENCY, METHOD, Cards
from bels.payments.cards.refusals import CardReason, CardRefused, holds_card_number
from bels.payments.cards.signatures import FORM, signature
from bels.payments.quote import Quote, quote
from bels.reception.counter import database

ORDER_LETTER = "o"
ORDERS_A_DAY_MAX = 100
"""Orders of one payer in a day, whatever became of them."""

VALUES_MAX = 3
VALUE_LENGTH_MAX = 20
CONTACT_LENGTH_MAX = 254

_CONTACT = "contact of a card order"
_LOCK = 0x6361_7264

_encode = msgspec.json.Encoder().encode


class OrderState(Word):
    """Where an order stands."""

    CREATED = "CREATED"
    """The payer was sent to MONETA's form."""
    CHECKED = "CHECKED"
    """MONETA has asked whether it may be paid."""
    AUTHORISED = "AUTHORISED"
    """The money is held on the card, not taken."""
    PAID = "PAID"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    REFUNDED = "REFUNDED"


FROM: Mapping[OrderState, tuple[OrderState, ...]] = {
    OrderState.CREATED: (),
    OrderState.CHECKED: (OrderState.CREATED, OrderState.CHECKED),
    OrderState.AUTHORISED: (OrderState.CREATED, OrderState.CHECKED, OrderState.EXPIRED),
    # Money that completes is never dropped: it may come after the form has expired, or after a card that was declined.
    OrderState.PAID: (
        OrderState.CREATED,
        OrderState.CHECKED,
        OrderState.AUTHORISED,
        OrderState.FAILED,
        OrderState.EXPIRED,
    ),
    OrderState.FAILED: (OrderState.CREATED, OrderState.CHECKED, OrderState.AUTHORISED),
    OrderState.EXPIRED: (OrderState.CREATED, OrderState.CHECKED),
    OrderState.REFUNDED: (OrderState.PAID,),
}
"""The legal moves: from where each state may be come to. No statement moves an order but from these."""

PAYABLE = (OrderState.CREATED, OrderState.CHECKED)


class PaymentKind(Word):
    """The kind of payment, for which a card is bound (partners 11)."""

    UTILITIES = "UTILITIES"


KINDS: Mapping[Purpose, PaymentKind] = {
    Purpose.ENERGY: PaymentKind.UTILITIES,
    Purpose.PENALTY: PaymentKind.UTILITIES,
}


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What somebody wants to pay by card: ``commission`` is what he was shown, ``values`` a reading by register name.

    ``payer`` is whose limits it counts for, ``person`` a consumer, who alone may have a card bound (``saves`` is the consent)
    or pay by one (``binding``). ``contact`` is an e-mail or a phone for the receipt.
    """

    payer: str
    key: str
    account: str
    amount: Decimal
    commission: Decimal
    purpose: Purpose = Purpose.ENERGY
    person: str | None = None
    values: Mapping[str, str] | None = None
    contact: str | None = field(default=None, repr=False)
    saves: bool = False
    binding: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order: sums in roubles. ``operation``, ``receipt`` and ``paid_at`` are of the payment, ``bound`` the binding it led to.

    ``checked_at`` is when MONETA last asked whether it may be paid, which it does just before.
    """

    order_id: str
    payer: str
    person: str | None
    account: str
    tenure: int
    amount: Money
    commission: Money
    purpose: Purpose
    kind: str
    reading: str | None = field(repr=False)
    contact: bytes | None = field(repr=False)
    saves: bool
    binding: str | None
    state: OrderState
    created_at: datetime
    expires_at: datetime
    checked_at: datetime | None
    operation: str | None
    receipt: str | None
    paid_at: datetime | None
    failure: str | None
    bound: str | None

    @property
    def total(self) -> Money:
        """What the payer pays in all."""
        return self.amount + self.commission

    def is_payable(self, now: datetime) -> bool:
        """Say whether it may be paid now."""
        return self.state in PAYABLE and now < self.expires_at


@dataclass(frozen=True, slots=True)
class Started:
    """An order that was begun; ``is_repeat``: it had been before, under the same key."""

    order: Order
    is_repeat: bool


@dataclass(frozen=True, slots=True)
class Form:
    """Where the payer goes on: MONETA's form, by this method, with these fields. ``url`` holds them too where it is a GET."""

    url: str
    method: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)


_COLUMNS = """order_id, payer, person, account, tenure, amount, commission, purpose, kind, reading, contact, saves, binding, state,
    created_at, expires_at, checked_at, operation, receipt, paid_at, failure, bound"""


def quoted(cards: Cards, amount: Decimal) -> Quote | CardRefused:
    """Tell what an amount costs today, with the commission, before it is paid."""
    if not is_amount(amount):
        return CardRefused(CardReason.BAD_AMOUNT)
    day, partner = moscow_date(cards.now()), cards.contract.partner
    found = quote(partner, to_kopecks(amount), day, METHOD)
    if partner.minimum is not None and found.amount < partner.minimum:
        return CardRefused(CardReason.AMOUNT_TOO_SMALL, str(partner.minimum))
    most = cards.contract.limits_on(day).operation
    if partner.maximum is not None and found.amount > partner.maximum:
        return CardRefused(CardReason.AMOUNT_TOO_LARGE, str(partner.maximum))
    if found.total > most:
        return CardRefused(CardReason.AMOUNT_TOO_LARGE, str(most))
    return found


async def start_order(cards: Cards, asked: OrderRequest) -> Started | CardRefused:
    """Begin a payment by card: after every check, before the payer is sent to MONETA.

    :raises TryLater: nothing was stored.
    """
    wrong = _wrong(asked)
    if wrong is not None:
        return wrong
    raw_texts = cards.till.counter.door.raw_texts
    asked = replace(asked, key=raw_texts.guarded(asked.key))
    # A digest of the sealed text: whoever has the table alone cannot try e-mails and phones against it.
    content = digest(raw_texts.sealed(_encode(_content(asked)).decode())).hex()
    async with database(cards.till.counter) as db:
        before = await _before(db, asked, content)
    if before is not None:
        return before
    told, contact = quoted(cards, asked.amount), _contact(asked.contact)
    if isinstance(told, CardRefused):
        return told
    if asked.commission != told.commission:
        return CardRefused(CardReason.COMMISSION_CHANGED, str(told.commission))
    if isinstance(contact, CardRefused):
        return contact
    if not is_account(asked.account):
        return CardRefused(CardReason.UNKNOWN_ACCOUNT)
    account = await cards.till.intake.account(asked.account)
    if reason_unallocated(account, asked.purpose) is not None:
        return CardRefused(CardReason.UNKNOWN_ACCOUNT)
    async with database(cards.till.counter) as db, db.transaction():
        # One payer's orders are begun one after another, so that no two of them pass a limit together.
        await db.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK, asked.payer)
        before = await _before(db, asked, content)
        refused = before or await beyond_limits(cards, db, asked.payer, told.total)
        if refused is None and asked.binding is not None:
            refused = await _may_use(db, asked.person or "", asked.binding, KINDS[asked.purpose])
        if refused is not None:
            return refused
        return Started(await _insert(cards, db, asked, content, told, contact), False)


async def _insert(cards: Cards, db: Db, asked: OrderRequest, content: str, told: Quote, contact: str | None) -> Order:
    tenure, now = await tenure_of(db, asked.account), cards.now()
    order_id, sealed = new_id(ORDER_LETTER), None
    if contact is not None:
        subject = subject_of(asked.account, tenure)
        sealed = await cards.vault.seal(db, subject, contact.encode(), f"{_CONTACT} {order_id}")
    values = dict(asked.values) if asked.values else None
    row = await db.fetchrow(
        f"""
        INSERT INTO card_order (order_id, payer, key, content, person, account, tenure, amount, commission, purpose, kind,
                                reading, contact, saves, binding, state, created_at, expires_at, changed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'CREATED', $16, $17, $16)
        RETURNING {_COLUMNS}
        """,
        order_id,
        asked.payer,
        asked.key,
        content,
        asked.person,
        asked.account,
        tenure,
        told.amount,
        told.commission,
        asked.purpose.value,
        KINDS[asked.purpose].value,
        cards.till.counter.door.raw_texts.sealed(_encode(values).decode()) if values is not None else None,
        sealed,
        asked.saves,
        asked.binding,
        now,
        now + cards.contract.expires,
    )
    return _order(row)


async def beyond_limits(cards: Cards, db: Db, payer: str, total: Money) -> CardRefused | None:
    """Say which limit a payment of a payer would pass; what is paid, held or still may be paid counts."""
    now = cards.now()
    day = datetime(now.astimezone(MOSCOW).year, now.astimezone(MOSCOW).month, now.astimezone(MOSCOW).day, tzinfo=MOSCOW)
    row = await db.fetchrow(
        """
        SELECT count(*) FILTER (WHERE created_at >= $2) AS begun,
            count(*) FILTER (WHERE counts AND created_at >= $2) AS day_count, count(*) FILTER (WHERE counts) AS month_count,
            coalesce(sum(amount + commission) FILTER (WHERE counts AND created_at >= $2), 0) AS day,
            coalesce(sum(amount + commission) FILTER (WHERE counts), 0) AS month
        FROM (SELECT amount, commission, created_at,
                     state IN ('AUTHORISED', 'PAID') OR (state IN ('CREATED', 'CHECKED') AND expires_at > $4) AS counts
              FROM card_order WHERE payer = $1 AND created_at >= $3) AS own
        """,
        payer,
        day,
        day.replace(day=1),
        now,
    )
    limits = cards.contract.limits_on(moscow_date(now))
    if row is None or row["begun"] >= ORDERS_A_DAY_MAX:
        return CardRefused(CardReason.CARD_LIMIT_EXCEEDED, str(ORDERS_A_DAY_MAX))
    sums: Sequence[tuple[Decimal, Decimal | None]] = (
        (total, limits.operation),
        (row["day"] + total, limits.day),
        (row["month"] + total, limits.month),
        (Decimal(row["day_count"] + 1), Decimal(limits.day_count) if limits.day_count is not None else None),
        (Decimal(row["month_count"] + 1), Decimal(limits.month_count) if limits.month_count is not None else None),
    )
    passed = next((most for sum_, most in sums if most is not None and sum_ > most), None)
    return CardRefused(CardReason.CARD_LIMIT_EXCEEDED, str(passed)) if passed is not None else None


async def form_of(cards: Cards, order: Order) -> Form | CardRefused:
    """Give MONETA's payment form of an order, signed. A token goes by POST: it stands in no history and in no log.

    :raises TryLater: the database cannot be reached.
    """
    contract = cards.contract
    values: dict[str, str] = {
        "MNT_ID": contract.mnt_id,
        "MNT_TRANSACTION_ID": order.order_id,
        "MNT_AMOUNT": f"{order.total:.2f}",
        "MNT_CURRENCY_CODE": CURRENCY,
        "MNT_TEST_MODE": "1" if contract.test_mode else "0",
        "MNT_DESCRIPTION": f"{contract.item}, лицевой счёт {order.account}",
        **contract.returns,
    }
    values["MNT_SIGNATURE"] = signature(values, FORM, contract.code)
    if order.saves:
        values["PAYMENTTOKEN"] = "request"
    if order.binding is None:
        separator = "&" if urlsplit(contract.form).query else "?"
        return Form(f"{contract.form}{separator}{urlencode(values)}", "GET", tuple(values.items()))
    async with database(cards.till.counter) as db:
        token = await token_of(cards, db, order)
    if token is None:
        return CardRefused(CardReason.UNKNOWN_BINDING)
    return Form(contract.form, "POST", (*values.items(), ("PAYMENTTOKEN", token)))


async def token_of(cards: Cards, db: Db, order: Order) -> str | None:
    """Unseal the token that an order is paid by; None where there is none, or it is gone."""
    if order.person is None or order.binding is None:
        return None
    try:
        return await card_token(db, cards.vault, order.person, order.binding)
    except (KeyDestroyed, NoSuchKey):
        return None


async def find_order(db: Db, order_id: str, *, held: bool = False) -> Order | None:
    """Find an order; ``held``: until the transaction ends nobody else moves it."""
    row = await db.fetchrow(
        f"SELECT {_COLUMNS} FROM card_order WHERE order_id = $1 {'FOR UPDATE' if held else ''}", order_id
    )
    return _order(row) if row is not None else None


async def orders_of(db: Db, person: str, before: str | None, limit: int) -> list[Order]:
    """List a page of a person's orders, the newest first, ``before`` the last of the page before it."""
    rows = await db.fetch(
        f"""
        SELECT {_COLUMNS} FROM card_order
        WHERE payer = $1 AND person = $1 AND ($2::text IS NULL OR (created_at, order_id) <
              (SELECT created_at, order_id FROM card_order WHERE order_id = $2 AND payer = $1))
        ORDER BY created_at DESC, order_id DESC LIMIT $3
        """,
        person,
        before,
        limit,
    )
    return [_order(row) for row in rows]


async def move_order(db: Db, order_id: str, to: OrderState, now: datetime, *, failure: str | None = None) -> bool:
    """Move an order to a state that is not PAID; False where it does not stand where that may be come from.

    :raises ValueError: PAID is come to by a payment alone.
    """
    if to is OrderState.PAID:
        raise ValueError("an order is paid by an operation: pay_order")
    tag = await db.execute(
        """
        UPDATE card_order SET state = $2, changed_at = $3, failure = coalesce($4, failure),
            checked_at = CASE WHEN $2 = 'CHECKED' THEN $3 ELSE checked_at END
        WHERE order_id = $1 AND state = ANY ($5::text[])
        """,
        order_id,
        to.value,
        now,
        failure,
        [state.value for state in FROM[to]],
    )
    return bool(tag == "UPDATE 1")


async def fail_orders(db: Db, order_ids: Sequence[str], now: datetime, failure: str) -> int:
    """Note that nothing was taken for orders whose money is not held; a payment may still come. Count them."""
    tag = await db.execute(
        """
        UPDATE card_order SET state = 'FAILED', changed_at = $2, failure = $3
        WHERE order_id = ANY ($1::text[]) AND state = ANY ($4::text[])
        """,
        list(order_ids),
        now,
        failure,
        [state.value for state in PAYABLE],
    )
    return int(tag.rpartition(" ")[2])


async def pay_order(db: Db, order_id: str, operation: str, receipt: str, paid_at: datetime, now: datetime) -> bool:
    """Move an order to PAID by an operation that is in the journal; False where another one has paid it."""
    tag = await db.execute(
        """
        UPDATE card_order SET state = 'PAID', operation = $2, receipt = $3, paid_at = $4, changed_at = $5, failure = NULL
        WHERE order_id = $1 AND state = ANY ($6::text[])
        """,
        order_id,
        operation,
        receipt,
        paid_at,
        now,
        [state.value for state in FROM[OrderState.PAID]],
    )
    return bool(tag == "UPDATE 1")


async def expire_orders(cards: Cards, limit: int = 1_000) -> int:
    """Let orders expire whose form may be paid no more; count them.

    :raises TryLater: the database cannot be reached.
    """
    async with database(cards.till.counter) as db:
        tag = await db.execute(
            """
            UPDATE card_order SET state = 'EXPIRED', changed_at = $1
            WHERE order_id IN (SELECT order_id FROM card_order
                               WHERE state IN ('CREATED', 'CHECKED') AND expires_at <= $1
                               ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
            """,
            cards.now(),
            limit,
        )
    return int(tag.rpartition(" ")[2])


def values_of(cards: Cards, order: Order) -> dict[str, str] | None:
    """Give the reading that travels with an order, by register name."""
    if order.reading is None:
        return None
    return msgspec.json.decode(cards.till.counter.door.raw_texts.opened(order.reading), type=dict[str, str])


async def contact_of(cards: Cards, db: Db, order: Order) -> str | None:
    """Give the e-mail or phone for the receipt; None where none was given, or it was erased."""
    if order.contact is None:
        return None
    subject = subject_of(order.account, order.tenure)
    try:
        return (await cards.vault.unseal(db, subject, order.contact, f"{_CONTACT} {order.order_id}")).decode()
    except (KeyDestroyed, NoSuchKey):
        return None


async def has_paid_unbound(db: Db, person: str) -> bool:
    """Say whether a person has paid this supplier by a card that was not bound: before, no bound card pays (partners 11)."""
    return bool(
        await db.fetchval(
            "SELECT EXISTS (SELECT FROM card_order WHERE person = $1 AND state = 'PAID' AND binding IS NULL)", person
        )
    )


async def _may_use(db: Db, person: str, binding: str, kind: PaymentKind) -> CardRefused | None:
    bound = await db.fetchval(
        """
        SELECT t.kind FROM card_binding b JOIN card_token t USING (binding)
        WHERE b.binding = $1 AND b.person = $2 AND b.removed_at IS NULL
        """,
        binding,
        person,
    )
    if bound is None:
        return CardRefused(CardReason.UNKNOWN_BINDING)
    if bound != kind:
        return CardRefused(CardReason.CARD_BINDING_OTHER_KIND)
    if not await has_paid_unbound(db, person):
        return CardRefused(CardReason.CARD_BINDING_FIRST_PAYMENT)
    return None


def _wrong(asked: OrderRequest) -> CardRefused | None:
    texts = [asked.key, asked.account, asked.contact or "", asked.binding or ""]
    texts += [text for pair in (asked.values or {}).items() for text in pair]
    if any(map(holds_card_number, texts)):
        return CardRefused(CardReason.CARD_NUMBER_GIVEN)
    values = asked.values or {}
    if len(values) > VALUES_MAX or any(not 0 < len(text) <= VALUE_LENGTH_MAX for text in values.values()):
        return CardRefused(CardReason.BAD_VALUE)
    if asked.person is None and (asked.saves or asked.binding is not None):
        return CardRefused(CardReason.CARD_BINDING_CONSUMER_ONLY)
    return None


def _contact(text: str | None) -> str | CardRefused | None:
    if text is None or not text.strip():
        return None
    if len(text) > CONTACT_LENGTH_MAX:
        return CardRefused(CardReason.BAD_ADDRESS)
    try:
        return email_of(text) if "@" in text else phone_of(text)
    except PersonalDataError:
        return CardRefused(CardReason.BAD_ADDRESS)


def _content(asked: OrderRequest) -> list[object]:
    amount = f"{asked.amount.normalize():f}" if asked.amount.is_finite() else str(asked.amount)
    return [
        asked.account,
        amount,
        asked.purpose,
        dict(asked.values) if asked.values else None,
        asked.contact,
        asked.saves,
        asked.binding,
    ]


async def _before(db: Db, asked: OrderRequest, content: str) -> Started | CardRefused | None:
    row = await db.fetchrow(
        f"SELECT content, {_COLUMNS} FROM card_order WHERE payer = $1 AND key = $2", asked.payer, asked.key
    )
    if row is None:
        return None
    told: dict[str, Any] = dict(row)
    if told.pop("content") != content:
        return CardRefused(CardReason.MESSAGE_ID_REUSED)
    return Started(_order(told), True)


def _order(row: Any) -> Order:
    return Order(**{**dict(row), "purpose": Purpose(row["purpose"]), "state": OrderState(row["state"])})
