"""Cards that a person has bound to pay an account: the acquirer's token, sealed by the person's key. No card number is here.

A binding goes with a forgotten password, with the account and with the person; its token is wiped then, not only hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from re import compile as pattern

from bels.access import acts
from bels.access.people import new_id
from bels.access.tenures import hold_account, is_account
from bels.access.vault import Vault
from bels.access.words import AccessReason, Refused
from bels.journal.write import Db

CARDS_MAX = 10
"""Living bindings of a person."""

TOKEN_LENGTH_MAX = 1_000

# PCI DSS 3.4: at most the first six and the last four digits of a card are shown.
_MASKED = pattern(r"[0-9]{0,6}[*•]{2,13}[0-9]{4}")


class Removed(StrEnum):
    """Why a binding was removed."""

    ASKED = "ASKED"
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - the name of a reason
    CABINET_CLOSED = "CABINET_CLOSED"
    ACCOUNT_UNLINKED = "ACCOUNT_UNLINKED"


@dataclass(frozen=True, slots=True)
class Card:
    """A living binding; ``masked`` is what of the number may be shown."""

    binding: str
    account: str
    masked: str
    created_at: datetime


async def bind_card(
    db: Db,
    vault: Vault,
    person: str,
    account: str,
    *,
    masked: str,
    token: str,
    now: datetime,
    request_id: str = "",
) -> str | Refused:
    """Keep what the acquirer gave for a card, of a person that belongs to the account; give the binding's name."""
    if not (_MASKED.fullmatch(masked) and 0 < len(token) <= TOKEN_LENGTH_MAX):
        return Refused(AccessReason.BAD_CARD)
    if not is_account(account):
        return Refused(AccessReason.NOT_A_MEMBER)
    binding = new_id("b")
    async with db.transaction():
        await hold_account(db, account)
        stands = await db.fetchrow(
            """
            SELECT EXISTS (SELECT FROM membership WHERE account = $1 AND person = $2 AND ended_at IS NULL) AS belongs,
                (SELECT count(*) FROM card_binding WHERE person = $2 AND removed_at IS NULL) AS bound
            """,
            account,
            person,
        )
        if stands is None or not stands["belongs"]:
            return Refused(AccessReason.NOT_A_MEMBER)
        if stands["bound"] >= CARDS_MAX:
            return Refused(AccessReason.LIMIT_REACHED)
        await db.execute(
            """
            INSERT INTO card_binding (binding, person, account, masked, sealed, created_at) VALUES ($1, $2, $3, $4, $5, $6)
            """,
            binding,
            person,
            account,
            masked,
            await vault.seal(db, person, token.encode(), _about(binding)),
            now,
        )
        await acts.record(db, acts.Act.CARD_BOUND, by=person, subject=person, account=account, request_id=request_id)
    return binding


async def cards_of(db: Db, person: str) -> list[Card]:
    """List the living bindings of a person, the oldest first."""
    rows = await db.fetch(
        """
        SELECT binding, account, masked, created_at FROM card_binding
        WHERE person = $1 AND removed_at IS NULL ORDER BY created_at, binding LIMIT $2
        """,
        person,
        CARDS_MAX,
    )
    return [Card(**row) for row in rows]


async def card_token(db: Db, vault: Vault, person: str, binding: str) -> str | None:
    """Unseal the acquirer's token of a person's living binding, to pay with it; None where there is none.

    :raises VaultError: it cannot be unsealed.
    """
    sealed = await db.fetchval(
        "SELECT sealed FROM card_binding WHERE binding = $1 AND person = $2 AND removed_at IS NULL", binding, person
    )
    return (await vault.unseal(db, person, sealed, _about(binding))).decode() if sealed is not None else None


async def remove_cards(
    db: Db,
    *,
    person: str | None = None,
    account: str | None = None,
    binding: str | None = None,
    why: Removed,
    by: str,
    now: datetime,
    request_id: str = "",
) -> int:
    """Remove bindings: of a person, of an account, of both, or one of a person; give how many.

    :raises ValueError: neither a person nor an account is named.
    """
    if person is None and account is None:
        raise ValueError("whose cards?")
    removed = await db.fetch(
        """
        WITH removed AS (
            UPDATE card_binding SET removed_at = $4, reason = $5, sealed = ''
            WHERE removed_at IS NULL AND ($1::text IS NULL OR person = $1) AND ($2::text IS NULL OR account = $2)
              AND ($3::text IS NULL OR binding = $3)
            RETURNING person, account
        )
        INSERT INTO identity_act (kind, by_subject, subject, account, reason, request_id)
        SELECT $6, $7, person, account, $5, $8 FROM removed
        RETURNING act
        """,
        person,
        account,
        binding,
        now,
        why.value,
        acts.Act.CARD_REMOVED.value,
        by,
        request_id,
    )
    return len(removed)


def _about(binding: str) -> str:
    return f"card/{binding}"
