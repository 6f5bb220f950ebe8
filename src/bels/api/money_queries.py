"""What may be asked of the books and the rules: trial balance, work lists, tariffs, and what would happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime
from time import monotonic
from typing import Annotated, Any

import strawberry

from bels.access.tenures import is_account
from bels.api.context import Info, Supplier
from bels.api.engine.paging import Connection, connect, encode_cursor, read_page
from bels.api.engine.scalars import BadUserInputError, Money, Toml, clean_text
from bels.api.ledgers import Payment, TrialBalance
from bels.api.objects import After, Before, First, Last, around
from bels.api.rulebooks import (
    PreviewRulebookResult,
    Rulebook,
    RulebookEffect,
    RulebookFaulty,
    RulebookPublication,
    Tariff,
    find_rulebook,
    in_force,
    publications,
)
from bels.domain import terms
from bels.domain.account import Account, nobody
from bels.domain.commands import PublishRulebook
from bels.domain.events import CommandRefused
from bels.domain.money import ZERO
from bels.domain.periods import moscow_date, period_of
from bels.domain.publish_rulebook import publish_rulebook
from bels.domain.terms import Period
from bels.journal.journal import RULEBOOK
from bels.payments import find as payments
from bels.previewing import ClosingPreview, ClosingTotal, preview_closings
from bels.projections import ledger, overview
from bels.publishing import effect_of, retroactive
from bels.rulebooks.reading import RulebookFileError, read_rulebook

ACCOUNTS_OF_PAGE = 100
"""Accounts folded at once; between two such pages others have their turn."""
ACCOUNTS_OF_EFFECT_MAX = 2_000
ACCOUNTS_OF_TOTAL_MAX = 1_000
TIME_MAX_S = 3.0
"""What is counted over accounts stops after this time: an operation may take five seconds."""
LAST_DAY = 31


@strawberry.type(description="What the closing of one period of an account would post.")
class PeriodPreview:
    """What the closing of one period would post."""

    period: Period = strawberry.field(description="The period.")
    mode: terms.Mode = strawberry.field(description="How it would be billed.")
    charged: Money = strawberry.field(description="The charges.")
    recalculated: Money = strawberry.field(description="The recalculations.")
    bill: Money = strawberry.field(description="Both together.")
    penalties: Money = strawberry.field(description="New penalties.")
    due_on: date | None = strawberry.field(description="The day by which it would be to be paid.")


@strawberry.type(description="What the closings of an account through a period would post; nothing is stored.")
class AccountClosing:
    """What the closings of an account would post."""

    account_number: str = strawberry.field(description="The account.")
    closings: list[PeriodPreview] = strawberry.field(description="Its open periods through that one, in order.")
    bill: Money = strawberry.field(description="The sum of their bills.")
    balance: Money = strawberry.field(description="What it would owe for electricity after them.")
    penalty: Money = strawberry.field(description="What it would owe of penalties after them.")
    refusal: terms.Reason | None = strawberry.field(description="Why the next closing would not go through.")
    detail: str | None = strawberry.field(description="What exactly is in the way.")

    @classmethod
    def of(cls, preview: ClosingPreview) -> AccountClosing:
        """Show what an account's closings would post."""
        refusal = preview.refusal
        return cls(
            account_number=preview.account,
            closings=[
                PeriodPreview(
                    period=c.period,
                    mode=c.mode,
                    charged=c.charged,
                    recalculated=c.recalculated,
                    bill=c.bill,
                    penalties=c.penalties,
                    due_on=c.due_on,
                )
                for c in preview.closings
            ],
            bill=sum((c.bill for c in preview.closings), ZERO),
            balance=preview.balance,
            penalty=preview.penalty,
            refusal=refusal.reason if refusal is not None else None,
            detail=refusal.detail if refusal is not None else None,
        )


@strawberry.type(description="How many closings are billed in one way.")
class ModeCount:
    """How many closings are billed in one way."""

    mode: terms.Mode = strawberry.field(description="The way.")
    count: int = strawberry.field(description="Closings.")


@strawberry.type(description="How many accounts have a closing refused for one reason.")
class RefusalCount:
    """How many accounts have a closing refused."""

    refusal: terms.Reason = strawberry.field(description="The reason.")
    count: int = strawberry.field(description="Accounts.")


@strawberry.type(description="What the closings of many accounts would post together.")
class ClosingSum:
    """What the closings of many accounts would post together."""

    accounts: int = strawberry.field(description="Accounts that were looked at: at most 1,000 after the cursor.")
    complete: bool = strawberry.field(description="There are no more accounts to close after these.")
    end_cursor: str | None = strawberry.field(description="Where to go on, for `after`.")
    periods: int = strawberry.field(description="Periods that would be closed.")
    charged: Money = strawberry.field(description="The charges.")
    recalculated: Money = strawberry.field(description="The recalculations.")
    bill: Money = strawberry.field(description="Both together.")
    penalties: Money = strawberry.field(description="New penalties.")
    modes: list[ModeCount] = strawberry.field(description="The ways of billing.")
    refusals: list[RefusalCount] = strawberry.field(description="The reasons why closings would not go through.")


@strawberry.type(description="What a closing would post: account by account, and in total.")
class ClosingPreviewConnection(Connection[AccountClosing]):
    """What a closing would post."""

    period: strawberry.Private[Period]
    after: strawberry.Private[str]

    @strawberry.field(description="The total, from the cursor on: over at most 1,000 accounts, see `complete`.")
    async def total(self, info: Info) -> ClosingSum:
        """Add what the closings would post."""
        app = info.context.app
        total, last, complete = ClosingTotal(), "", True
        stop_at = monotonic() + TIME_MAX_S
        async for accounts, has_more in _to_close(app, self.period, self.after):
            for preview in preview_closings(accounts, self.period, app.intake.clock(), app.intake.rulebook):
                total.count(preview)
                last = preview.account
            if has_more and (total.accounts >= ACCOUNTS_OF_TOTAL_MAX or monotonic() > stop_at):
                complete = False
                break
        return ClosingSum(
            accounts=total.accounts,
            complete=complete,
            end_cursor=encode_cursor((last,)) if last else None,
            periods=total.periods,
            charged=total.charged,
            recalculated=total.recalculated,
            bill=total.bill,
            penalties=total.penalties,
            modes=[ModeCount(mode=mode, count=count) for mode, count in sorted(total.modes.items())],
            refusals=[
                RefusalCount(refusal=terms.Reason(reason), count=count)
                for reason, count in sorted(total.refusals.items())
            ],
        )


@strawberry.type
class MoneyQuery:
    """What may be asked of the books and the rules; no type of the schema."""

    @strawberry.field(description="The trial balance of the supplier, or of one account: now, or at the end of a day.")
    async def trial_balance(
        self,
        info: Info,
        on: Annotated[date | None, strawberry.argument(description="The day; now by default.")] = None,
        account: Annotated[str | None, strawberry.argument(description="Only this account.")] = None,
    ) -> TrialBalance:
        """Add up the ledgers."""
        if account is not None:
            info.context.see(account)
        async with info.context.app.pool.acquire() as db:
            if on is None:
                rows = await ledger.trial_balance(db, account)
            else:
                rows = await ledger.trial_balance_as_of(db, on, account)
        return TrialBalance.of(on, rows)

    @strawberry.field(
        description="Payments that no account is known for, longest waiting first: the operators' work list."
    )
    async def unallocated_payments(self, info: Info, first: First = None, after: After = None) -> Connection[Payment]:
        """List unallocated payments."""
        page = read_page(first=first, after=after, kinds=(datetime, str))
        async with info.context.app.pool.acquire() as db:
            rows = await ledger.unallocated(db, page.after, page.limit)  # type: ignore[arg-type]  # the cursor's kinds say so
        info.context.saw(row.meant_for for row in rows if row.meant_for is not None and is_account(row.meant_for))
        return connect(rows, page, node=Payment.of, key=lambda row: (row.recorded_at, row.account))

    @strawberry.field(description="A payment by the receipt of the message that brought it; null when there is none.")
    async def payment(
        self, info: Info, receipt: Annotated[str, strawberry.argument(description="Eight characters.")]
    ) -> Payment | None:
        """Find a payment."""
        async with info.context.app.pool.acquire() as db:
            row = await payments.by_receipt(db, receipt)
        if row is None or not info.context.owns(row.actor):
            return None
        sight = info.context.see(row.account)
        return Payment.of(row) if sight is not None and row.entry > sight.entry else None

    @strawberry.field(description="The tariff of a dwelling in force on a day (public); null where none is known.")
    async def tariff(
        self,
        info: Info,
        locality: Annotated[terms.Locality, strawberry.argument(description="Town or village.")],
        stove: Annotated[terms.Stove, strawberry.argument(description="The kind of stove.")],
        scheme: Annotated[
            terms.Scheme | None, strawberry.argument(description="Which registers the meter has; SINGLE by default.")
        ] = None,
        on: Annotated[date | None, strawberry.argument(description="The day; today by default.")] = None,
    ) -> Tariff | None:
        """Find a tariff."""
        book = await info.context.app.intake.rules()
        day = on or moscow_date(info.context.app.intake.clock())
        wanted = book.group_of(locality, stove), scheme or terms.Scheme.SINGLE
        found = list(in_force((row for row in book.tariffs if (row.group, row.scheme) == wanted), day))
        return Tariff.of(found[0], book, day) if found else None

    @strawberry.field(description="The rules in force (public).")
    async def rulebook(self, info: Info) -> Rulebook:
        """Find the rules in force."""
        return await find_rulebook(info)

    @strawberry.field(description="Every publication of the rules, oldest first (public).")
    async def rulebook_history(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[RulebookPublication]:
        """List publications."""
        page = read_page(first=first, after=after, last=last, before=before, kinds=(int,))
        since, until, limit, backward = around(page)
        async with info.context.app.pool.acquire() as db:
            entries = await publications(db, since or 0, until, limit, backward)
        return connect(entries, page, node=RulebookPublication.of, key=lambda entry: (entry.version,))

    @strawberry.field(description="What publishing a file would change of what has been charged; nothing is stored.")
    async def preview_rulebook(
        self,
        info: Info,
        toml: Annotated[Toml, strawberry.argument(description="The file.")],
        reason: Annotated[
            str | None, strawberry.argument(description="The reason to change a past that has been charged.")
        ] = None,
    ) -> PreviewRulebookResult:
        """Say what a publication would change."""
        app = info.context.app
        old = await app.intake.rules()
        try:
            book = await asyncio.to_thread(read_rulebook, toml, old)
        except RulebookFileError as error:
            return RulebookFaulty.of(error)
        effect = await effect_of(app.pool, app.intake, book)
        given = clean_text(reason) if reason is not None else None
        command = PublishRulebook(book, old.number, app.intake.clock(), "preview", effect.charged_through, given)
        answer = publish_rulebook(nobody(RULEBOOK), command, old)[0]
        looked_at, complete = 0, True
        if effect.since is not None and effect.is_retroactive:
            then = retroactive(old, book, effect.since)
            stop_at = monotonic() + TIME_MAX_S
            async for accounts, has_more in _all(app):
                for account in accounts:
                    effect.count(account, then)
                looked_at += len(accounts)
                if has_more and (looked_at >= ACCOUNTS_OF_EFFECT_MAX or monotonic() > stop_at):
                    complete = False
                    break
        refused = answer if isinstance(answer, CommandRefused) else None
        return RulebookEffect.of(
            effect,
            looked_at,
            complete,
            refused.reason if refused is not None else None,
            refused.detail if refused is not None else None,
        )

    @strawberry.field(
        description="What closing all open periods through this one would post (operator); nothing is stored."
    )
    async def preview_close(
        self,
        info: Info,
        period: Annotated[
            Period, strawberry.argument(description="At the latest the running month; it is closed at its end.")
        ],
        first: First = None,
        after: After = None,
    ) -> ClosingPreviewConnection:
        """Say what a closing would post."""
        page = read_page(first=first, after=after, kinds=(str,))
        app = info.context.app
        now = app.intake.clock()
        running = period_of(now, LAST_DAY)
        if period > running:
            raise BadUserInputError(
                f"`period` may be {running} at the latest, the running month; this one is {period}."
            )
        since: Any = page.after[0] if page.after is not None else ""
        async with app.pool.acquire() as db:
            found = await overview.to_close(db, period, since, page.limit)
        numbers = [number for number, _ in found]
        accounts = await app.intake.accounts(numbers)
        info.context.saw(numbers)
        previews = preview_closings((accounts[n] for n in numbers), period, now, app.intake.rulebook)
        shown = connect(previews, page, node=AccountClosing.of, key=lambda preview: (preview.account,))
        return ClosingPreviewConnection(edges=shown.edges, page_info=shown.page_info, period=period, after=since)


async def _to_close(app: Supplier, period: Period, after: str) -> AsyncIterator[tuple[list[Account], bool]]:
    """Give the accounts that have periods to close, page by page, and whether there may be more."""
    while True:
        async with app.pool.acquire() as db:
            found = await overview.to_close(db, period, after, ACCOUNTS_OF_PAGE)
        numbers = [number for number, _ in found]
        if not numbers:
            return
        after = numbers[-1]
        folded = await app.intake.accounts(numbers)
        yield [folded[number] for number in numbers], len(numbers) == ACCOUNTS_OF_PAGE
        await asyncio.sleep(0)


async def _all(app: Supplier) -> AsyncIterator[tuple[list[Account], bool]]:
    """Give all accounts, page by page, and whether there may be more."""
    after: str | None = None
    while True:
        async with app.pool.acquire() as db:
            found = await overview.page(db, after, None, ACCOUNTS_OF_PAGE, False, None)
        numbers = [row.account for row in found]
        if not numbers:
            return
        after = numbers[-1]
        folded = await app.intake.accounts(numbers)
        yield [folded[number] for number in numbers], len(numbers) == ACCOUNTS_OF_PAGE
        await asyncio.sleep(0)
