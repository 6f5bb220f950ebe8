"""Bound cards: by consent, for one kind of payment, never for the first one; what is removed is forgotten at MONETA too.

``access/cards.py`` seals the token by its person and wipes it whenever a binding goes: asked, with a forgotten password, with the
account or the person. What goes there is told to MONETA from here, with retries, by a copy of the token under a key of its own,
which pays nothing and is destroyed as soon as MONETA has forgotten it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from re import compile as pattern

from bels.access.cards import Removed, bind_card, remove_cards
from bels.access.vault import KeyDestroyed, NoSuchKey
from bels.access.words import Refused
from bels.journal.write import Db
from bels.messages import digest
from bels.outgoing.moneta import MonetaApi, MonetaAway, MonetaRefused
from bels.payments.cards.contract import Cards
from bels.payments.cards.orders import Order
from bels.reception.counter import database

FORGET_BATCH = 100
FORGET_WAIT = timedelta(minutes=5)
FORGET_WAIT_MAX = timedelta(hours=6)
"""A token that MONETA could not forget is told again after a wait that doubles, for as long as it takes."""

FORGET_REFUSED_MAX = 10
"""So often MONETA may refuse to forget a token before it counts as forgotten."""

_ABOUT = "card token to forget"
_HIDDEN = pattern(r"[xX*•.]{2,13}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bound:
    """A living binding: ``masked`` is what of the number may be shown."""

    binding: str
    account: str
    masked: str
    kind: str
    created_at: datetime


async def bind(db: Db, cards: Cards, order: Order, token: str, shown: str) -> str | None:
    """Bind the card of an order that was paid with consent, in the transaction of ``db``; None where it cannot be bound.

    ``shown`` is the number as MONETA masks it. The same card of the same person and kind is bound once.

    :raises VaultError: the person was erased.
    """
    if order.person is None or not order.saves:
        return None
    raw_texts, now = cards.till.counter.door.raw_texts, cards.now()
    same = digest(raw_texts.sealed(token))
    before: str | None = await db.fetchval(
        """
        SELECT t.binding FROM card_token t JOIN card_binding b USING (binding)
        WHERE t.person = $1 AND t.kind = $2 AND t.same = $3 AND b.removed_at IS NULL
        """,
        order.person,
        order.kind,
        same,
    )
    if before is not None:
        return before
    masked = _HIDDEN.sub(lambda found: "*" * len(found.group()), shown.replace(" ", ""))
    binding = await bind_card(
        db, cards.vault, order.person, order.account, masked=masked, token=token, now=now, request_id=order.order_id
    )
    if isinstance(binding, Refused):
        logger.warning("the card of an order is not bound: %s", binding.reason.value)
        return None
    await db.execute(
        """
        INSERT INTO card_token (binding, person, kind, same, order_id, consented_at, sealed, next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        binding,
        order.person,
        order.kind,
        same,
        order.order_id,
        order.created_at,
        await cards.vault.seal(db, binding, token.encode(), _ABOUT),
        now,
    )
    return binding


async def bindings_of(db: Db, person: str) -> list[Bound]:
    """List the living bindings of a person, the oldest first; there are at most ten."""
    rows = await db.fetch(
        """
        SELECT b.binding, b.account, b.masked, t.kind, b.created_at FROM card_binding b JOIN card_token t USING (binding)
        WHERE b.person = $1 AND b.removed_at IS NULL ORDER BY b.created_at, b.binding
        """,
        person,
    )
    return [Bound(**row) for row in rows]


async def remove_binding(cards: Cards, person: str, binding: str, request_id: str = "") -> bool:
    """Remove a binding because its person asks; False where it has none of that name.

    :raises TryLater: nothing was done.
    """
    async with database(cards.till.counter) as db:
        removed = await remove_cards(
            db,
            person=person,
            binding=binding,
            why=Removed.ASKED,
            by=person,
            now=cards.now(),
            request_id=request_id,
        )
    return removed > 0


async def forget_tokens(cards: Cards, api: MonetaApi) -> int:
    """Let MONETA forget the tokens of bindings that were removed, for whichever reason; count those that it has.

    :raises TryLater: the database cannot be reached.
    """
    forgotten = 0
    for binding, sealed, attempts in await _claim(cards):
        error: str | None = None
        try:
            async with database(cards.till.counter) as db:
                token = (await cards.vault.unseal(db, binding, sealed, _ABOUT)).decode()
            await api.forget(token)
        except (KeyDestroyed, NoSuchKey):
            error = None
        except MonetaRefused as refused:
            # Mostly it knows no such token any more, which is what was wanted; but a right that we lack is mended in time.
            logger.warning("MONETA refuses to forget a token: %s", refused)
            error = str(refused) if attempts < FORGET_REFUSED_MAX else None
        except MonetaAway as away:
            error = str(away)
        async with database(cards.till.counter) as db, db.transaction():
            if error is None:
                forgotten += 1
                await cards.vault.destroy(db, binding)
                await db.execute(
                    "UPDATE card_token SET sealed = '', forgotten_at = $2, error = NULL WHERE binding = $1",
                    binding,
                    cards.now(),
                )
            else:
                await db.execute("UPDATE card_token SET error = $2 WHERE binding = $1", binding, error)
    return forgotten


async def _claim(cards: Cards) -> list[tuple[str, bytes, int]]:
    async with database(cards.till.counter) as db:
        rows = await db.fetch(
            """
            UPDATE card_token SET attempts = attempts + 1,
                next_at = $1::timestamptz + least($3::interval * power(2, least(attempts, 20)), $4::interval)
            WHERE binding IN (
                SELECT t.binding FROM card_token t JOIN card_binding b USING (binding)
                WHERE t.forgotten_at IS NULL AND t.next_at <= $1 AND b.removed_at IS NOT NULL
                ORDER BY t.next_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED)
            RETURNING binding, sealed, attempts
            """,
            cards.now(),
            FORGET_BATCH,
            FORGET_WAIT,
            FORGET_WAIT_MAX,
        )
    return [(row["binding"], row["sealed"], row["attempts"]) for row in rows]
