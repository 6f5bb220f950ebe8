"""What may be watched: the changes of an account, the state of a receipt."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from graphql import GraphQLError

from bels.api import inputs
from bels.api.accounts import Account, find_account
from bels.api.context import Info
from bels.api.objects import AuditEntry, told
from bels.api.receipts import Receipt, find_receipt
from bels.journal.listening import TooManyWatchers
from bels.projections import audit

ENTRIES_MAX = 100


@strawberry.type(description="An account changed; fetch again by `account.id` after a break.")
class AccountChange:
    """An account changed."""

    account: Account = strawberry.field(description="The account as it stands now.")
    entries: list[AuditEntry] = strawberry.field(description="Its new entries, at most 100; none in the first event.")


@strawberry.type(description="What may be watched.")
class Subscription:
    """What may be watched."""

    @strawberry.subscription(description="The changes of an account: once at the start, then after every change.")
    async def account_changed(
        self, info: Info, account_number: Annotated[str, strawberry.argument(description=inputs.ACCOUNT)]
    ) -> AsyncGenerator[AccountChange, None]:
        """Tell the changes of an account."""
        known: int | None = None
        async for _ in _watch(info, account_number):
            account = await find_account(info, account_number)
            if account is None and known is not None:
                return
            if account is None or account.version == known:
                continue
            entries: list[AuditEntry] = []
            if known is not None:
                async with info.context.app.pool.acquire() as db:
                    rows = await audit.page(db, account_number, known, None, ENTRIES_MAX, False)
                entries = [told(row, info.context.caller) for row in rows]
            known = account.version
            yield AccountChange(account=account, entries=entries)

    @strawberry.subscription(description="The state of a receipt: once at the start, then whenever it changes.")
    async def receipt_changed(
        self, info: Info, number: Annotated[str, strawberry.argument(description="Eight characters.")]
    ) -> AsyncGenerator[Receipt, None]:
        """Tell the state of a receipt."""
        row = await find_receipt(info, number)
        if row is None:
            return
        state = None
        async for _ in _watch(info, row.account):
            # Whoever has lost the account since hears no more.
            row = await find_receipt(info, number)
            if row is None:
                return
            if row.state is not state:
                state = row.state
                yield Receipt.of(row)


async def _watch(info: Info, account: str) -> AsyncGenerator[None, None]:
    try:
        async for _ in info.context.app.changes.watch(account):
            yield
    except TooManyWatchers as error:
        raise GraphQLError(str(error), extensions={"code": "RATE_LIMITED"}) from None
