"""What may be asked of an account's money: ledger, balance, payments, penalties to come, bills."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import strawberry

from bels.access.callers import Sight
from bels.api.bills import Bill
from bels.api.context import Info
from bels.api.engine.paging import Connection, Node, connect, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.ledgers import Balance, BalanceAsOf, LedgerEntry, Payment, PenaltyForecast
from bels.api.objects import After, Before, First, Last, around
from bels.domain.accrue_penalty import overdue_sums
from bels.domain.periods import first_day, moscow_date, shift
from bels.domain.terms import Period
from bels.projections import bills, ledger


@strawberry.type
class AccountMoney(Node):
    """What an account has of money; no type of the schema."""

    sight: strawberry.Private[Sight]
    number: str = strawberry.field(description="Seven digits.")
    next_period: Period | None = strawberry.field(description="The period that closes next.")

    @property
    def before(self) -> Period | None:
        """Give the last period that the caller does not see."""
        return shift(self.sight.period, -1) if self.sight.period is not None else None

    @strawberry.field(description="What it owes now, what is due and when.")
    async def balance(self, info: Info) -> Balance:
        """Find what is owed."""
        async with info.context.app.pool.acquire() as db:
            row = (await ledger.find(db, [self.number])).get(self.number)
        return Balance.of(row, moscow_date(info.context.app.intake.clock()), self.number, self.next_period, self.sight)

    @strawberry.field(description="What it owed at the end of a day, as it was known at a moment.")
    async def balance_as_of(
        self,
        info: Info,
        date: Annotated[date, strawberry.argument(description="The day.")],
        known_at: Annotated[
            datetime | None, strawberry.argument(description="As it was known at this moment; now by default.")
        ] = None,
    ) -> BalanceAsOf:
        """Find what was owed."""
        if self.sight.period is not None and date < first_day(self.sight.period):
            raise BadUserInputError(f"`date` may be {first_day(self.sight.period)} at the earliest.")
        async with info.context.app.pool.acquire() as db:
            balance, penalty = await ledger.balance_as_of(db, self.number, date, known_at)
        return BalanceAsOf(on=date, known_at=known_at, balance=balance, penalty=penalty)

    @strawberry.field(description="Every movement of money with the balance after it, in the order of the journal.")
    async def ledger(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[LedgerEntry]:
        """List movements."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int, str))
        since = max(page.after or (0, ""), (self.sight.entry, "~"))
        async with info.context.app.pool.acquire() as db:
            rows = await ledger.page(
                db,
                self.number,
                since,  # type: ignore[arg-type]  # the cursor's kinds say so
                page.before,  # type: ignore[arg-type]
                page.limit,
                page.backwards,
            )
        return connect(rows, page, node=LedgerEntry.of, key=lambda row: (row.entry, row.purpose))

    @strawberry.field(description="Payments, in the order of the journal.")
    async def payments(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[Payment]:
        """List payments."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int,))
        async with info.context.app.pool.acquire() as db:
            rows = await ledger.payments(db, self.number, *around(page, self.sight.entry))
        return connect(rows, page, node=Payment.of, key=lambda row: (row.entry,))

    @strawberry.field(description="The penalties as they would stand on a day, if nothing is paid until then.")
    async def penalties(
        self, info: Info, on: Annotated[date, strawberry.argument(description="The day, included.")]
    ) -> PenaltyForecast:
        """Forecast penalties."""
        intake = info.context.app.intake
        account = await intake.account(self.number)
        sums = overdue_sums(account.ledger, on, intake.rulebook)
        return PenaltyForecast.of(on, [s for s in sums if self.before is None or (s.period or "") > self.before])

    @strawberry.field(description="The bill of a closed period; null where it was not closed here.")
    async def bill(
        self, info: Info, period: Annotated[Period, strawberry.argument(description="The period.")]
    ) -> Bill | None:
        """Find a bill."""
        return await find_bill(info, self.number, period)

    @strawberry.field(description="The bill of the last closed period.")
    async def last_bill(self, info: Info) -> Bill | None:
        """Find the last bill."""
        async with info.context.app.pool.acquire() as db:
            period = await bills.last_period(db, self.number)
        return await find_bill(info, self.number, period) if period is not None else None


async def find_bill(info: Info, number: str, period: str) -> Bill | None:
    """Find the bill of a period, where the caller sees it."""
    sight = info.context.see(number)
    if sight is None or (sight.period is not None and period < sight.period):
        return None
    rulebook = await info.context.app.intake.rules()
    async with info.context.app.pool.acquire() as db:
        row = await bills.find(db, number, period, rulebook)
    return Bill.of(row, sight) if row is not None else None
