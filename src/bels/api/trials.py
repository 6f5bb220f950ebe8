"""What would be, under other rules: nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from time import monotonic
from typing import Annotated

import strawberry
from asyncpg import Record

from bels.access.tenures import is_account
from bels.api.aside import ENTRIES_OF_POINT
from bels.api.context import Info, Supplier
from bels.api.engine.scalars import BadUserInputError, Money, Toml
from bels.api.enums import describe
from bels.api.rulebooks import RulebookFaulty
from bels.api.sums import ChargeLine
from bels.audit.replaying.anew import Posting, Publications, publications_of
from bels.audit.what_if.effects import CLASSES, Effects, bounds_of, outcomes
from bels.audit.what_if.outcome import Outcome, PeriodOutcome, Standing
from bels.audit.what_if.sample import draw_accounts
from bels.audit.what_if.trial import Trial, TrialRules, UnknownPublicationError, month_of
from bels.domain import terms
from bels.domain.terms import Period
from bels.journal.codec import to_entry
from bels.journal.journal import READ, read_rules_stream
from bels.projections import overview
from bels.rulebooks.reading import RulebookFileError, read_rulebook
from bels.rulebooks.shipped import PUBLISHED, shipped

ACCOUNTS_MAX = 200
"""Accounts of one trial; all of them are a work of `bels audit what-if`."""

ENTRIES_MAX = 50_000
"""Entries of one trial: a few seconds of replaying."""

ENTRIES_OF_SLICE = 1_000
"""Entries that are read at once; they are replayed aside from the loop, and between two slices others have their turn."""

TIME_MAX_S = 3.0
"""A trial stops after this time: an operation may take five seconds."""

SEED_MAX = 2**31 - 1


@strawberry.enum(description="Why a trial cannot be made.")
class WhatIfRefusalCode(terms.Word):
    """Why a trial cannot be made."""

    UNKNOWN_RULEBOOK = "UNKNOWN_RULEBOOK"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    NO_TARIFF = "NO_TARIFF"
    TOO_MANY_ACCOUNTS = "TOO_MANY_ACCOUNTS"
    TOO_MANY_ENTRIES = "TOO_MANY_ENTRIES"


describe(
    {
        WhatIfRefusalCode.UNKNOWN_RULEBOOK: "No rulebook was published under this number.",
        WhatIfRefusalCode.UNKNOWN_ACCOUNT: "There is no such account, or no account at all.",
        WhatIfRefusalCode.NO_TARIFF: "These rules have no rate for any of the closings.",
        WhatIfRefusalCode.TOO_MANY_ACCOUNTS: "More accounts were named than one question may have.",
        WhatIfRefusalCode.TOO_MANY_ENTRIES: "The accounts have more entries than one question may replay.",
    }
)

REFUSALS = {
    WhatIfRefusalCode.UNKNOWN_RULEBOOK: (
        "Публикации правил с таким номером нет.",
        "Номера публикаций показывает rulebookHistory.",
    ),
    WhatIfRefusalCode.UNKNOWN_ACCOUNT: (
        "Таких лицевых счетов нет.",
        "Укажите номер из семи цифр, например 1000101.",
    ),
    WhatIfRefusalCode.NO_TARIFF: (
        "По этим правилам нельзя рассчитать ни одного периода: нет тарифа.",
        "Укажите правила, в которых есть тариф, или период, с которого он известен.",
    ),
    WhatIfRefusalCode.TOO_MANY_ACCOUNTS: (
        f"В одном запросе может быть не более {ACCOUNTS_MAX} счетов.",
        "Разделите запрос на части или запустите bels audit what-if.",
    ),
    WhatIfRefusalCode.TOO_MANY_ENTRIES: (
        f"В этих счетах больше {ENTRIES_MAX} записей журнала.",
        "Укажите меньше счетов или запустите bels audit what-if.",
    ),
}
"""The text of each refusal, and how to do it right."""


@strawberry.input(description="Accounts drawn by chance; the same seed draws the same ones of the same accounts.")
class WhatIfSampleInput:
    """Accounts drawn by chance."""

    size: int = strawberry.field(description=f"How many at most: 1 to {ACCOUNTS_MAX}.")
    seed: int = strawberry.field(default=0, description="The seed of the chance, from 0.")


@strawberry.input(
    description=(
        "Which rules to try on which accounts: one of `accounts` and `sample`, and one of `publication`, `rulesOf`, `toml` and "
        '`settlement`. Example: `{accounts: ["1000101"], rulesOf: "2026-07-01", since: "2026-03"}`.'
    )
)
class WhatIfInput:
    """Which rules to try on which accounts."""

    accounts: list[str] | None = strawberry.field(
        default=None, description=f'At most {ACCOUNTS_MAX} numbers of seven digits, for example ["1000101"].'
    )
    sample: WhatIfSampleInput | None = strawberry.field(default=None, description="Accounts drawn by chance.")
    publication: int | None = strawberry.field(default=None, description="A published rulebook, by its number.")
    rules_of: date | None = strawberry.field(
        default=None,
        description="The tariffs, ranges, norms, settings and due day of this day, for every period.",
    )
    toml: Toml | None = strawberry.field(default=None, description="A file of rules, over those in force.")
    settlement: terms.Settlement | None = strawberry.field(
        default=None, description="This settlement policy, under the rules of then."
    )
    since: Period | None = strawberry.field(
        default=None, description="Closings of earlier periods stand as posted; the whole history by default."
    )


@strawberry.type(description="What was posted, or would be.")
class WhatIfPosting:
    """What was posted, or would be."""

    kwh: int = strawberry.field(description="kWh billed, recalculations included.")
    charged: Money = strawberry.field(description="The charges.")
    recalculated: Money = strawberry.field(description="The recalculations.")
    bill: Money = strawberry.field(description="Both together.")
    penalties: Money = strawberry.field(description="New penalties.")

    @classmethod
    def of(cls, posting: Posting) -> WhatIfPosting:
        """Show what is posted."""
        return cls(
            kwh=posting.kwh,
            charged=posting.charged,
            recalculated=posting.recalculated,
            bill=posting.bill,
            penalties=posting.penalties,
        )


@strawberry.type(
    description="What stands billed for a period in the end: kWh, roubles and the tariffs they follow from."
)
class WhatIfStanding:
    """What stands billed for a period in the end."""

    kwh: int = strawberry.field(description="kWh.")
    money: Money | None = strawberry.field(description="Roubles; null where an earlier system did not tell them.")
    charges: list[ChargeLine] = strawberry.field(description="The lines, each with its rate and row of the tariff.")

    @classmethod
    def of(cls, standing: Standing) -> WhatIfStanding:
        """Show what stands."""
        return cls(kwh=standing.kwh, money=standing.money, charges=[ChargeLine.of(line) for line in standing.charges])


@strawberry.type(description="One closing of an account, posted and as it would be.")
class WhatIfClosing:
    """One closing of an account."""

    period: Period = strawberry.field(description="The period.")
    mode: terms.Mode = strawberry.field(description="How it was billed.")
    would_mode: terms.Mode = strawberry.field(description="How it would be billed.")
    posted: WhatIfPosting = strawberry.field(description="What it posted.")
    would_be: WhatIfPosting = strawberry.field(description="What it would post.")
    difference: Money = strawberry.field(description="What the bill would be more; negative for less.")
    stands: WhatIfStanding = strawberry.field(description="What stands for the period now, later bills included.")
    would_stand: WhatIfStanding = strawberry.field(description="What would stand for it.")
    rulebook: str | None = strawberry.field(description="The rules it was decided by; null: it stands as posted.")
    refusal: terms.Reason | None = strawberry.field(description="Why it could not be decided: it stands as posted.")
    detail: str | None = strawberry.field(description="What exactly is in the way.")

    @classmethod
    def of(cls, one: PeriodOutcome) -> WhatIfClosing:
        """Show a closing."""
        was, would_be = one.was, one.would_be
        assert was.mode is not None  # noqa: S101 - a closing has its mode
        assert would_be.mode is not None  # noqa: S101
        return cls(
            period=one.period,
            mode=was.mode,
            would_mode=would_be.mode,
            posted=WhatIfPosting.of(was),
            would_be=WhatIfPosting.of(would_be),
            difference=one.difference,
            stands=WhatIfStanding.of(one.stands),
            would_stand=WhatIfStanding.of(one.would_stand),
            rulebook=one.rulebook,
            refusal=one.refusal.reason if one.refusal is not None else None,
            detail=one.refusal.detail if one.refusal is not None else None,
        )


@strawberry.type(description="One account, closing by closing.")
class WhatIfAccount:
    """One account, closing by closing."""

    account_number: str = strawberry.field(description="The account.")
    closings: list[WhatIfClosing] = strawberry.field(description="Every closing, in order.")
    balance: Money = strawberry.field(description="What it owes for electricity now.")
    would_balance: Money = strawberry.field(description="What it would owe.")
    penalty: Money = strawberry.field(description="What it owes of penalties now.")
    would_penalty: Money = strawberry.field(description="What it would owe of penalties.")

    @classmethod
    def of(cls, outcome: Outcome) -> WhatIfAccount:
        """Show an account."""
        return cls(
            account_number=outcome.account,
            closings=[WhatIfClosing.of(period) for period in outcome.periods],
            balance=outcome.balance.energy,
            would_balance=outcome.would_balance.energy,
            penalty=outcome.balance.penalty,
            would_penalty=outcome.would_balance.penalty,
        )


@strawberry.type(description="One period over all accounts of the trial.")
class WhatIfPeriod:
    """One period over all accounts of the trial."""

    period: Period = strawberry.field(description="The period.")
    closings: int = strawberry.field(description="Closings.")
    changed: int = strawberry.field(description="Closings that would come out otherwise.")
    kwh: int = strawberry.field(description="kWh posted.")
    would_kwh: int = strawberry.field(description="kWh that would be posted.")
    bills: Money = strawberry.field(description="Bills posted.")
    would_bills: Money = strawberry.field(description="Bills that would be posted.")
    difference: Money = strawberry.field(description="What the bills would be more; negative for less.")
    penalties: Money = strawberry.field(description="Penalties posted.")
    would_penalties: Money = strawberry.field(description="Penalties that would be posted.")


@strawberry.type(description="What would change for one account.")
class WhatIfChange:
    """What would change for one account."""

    account_number: str = strawberry.field(description="The account.")
    kwh: int = strawberry.field(description="kWh that it would be billed more.")
    bills: Money = strawberry.field(description="What its bills would be more.")
    penalties: Money = strawberry.field(description="What its penalties would be more.")
    difference: Money = strawberry.field(description="What it would owe more; negative for less.")


@strawberry.type(description="How many closings would be billed in another way.")
class WhatIfModeChange:
    """How many closings would be billed in another way."""

    mode: terms.Mode = strawberry.field(description="How they were billed.")
    would_mode: terms.Mode = strawberry.field(description="How they would be billed.")
    closings: int = strawberry.field(description="How many.")


@strawberry.type(description="How many accounts would owe so much more or less; the bounds of a class of changes.")
class WhatIfClass:
    """How many accounts would owe so much more or less."""

    low: Money | None = strawberry.field(description="The lower bound in roubles; null where there is none.")
    high: Money | None = strawberry.field(description="The upper bound; both 0.00: no change.")
    accounts: int = strawberry.field(description="How many.")


@strawberry.type(description="What other rules would have led to; payments and all facts stay as they are.")
class WhatIfOutcome:
    """What other rules would have led to."""

    rules: str = strawberry.field(description="The rules that were tried.")
    since: Period | None = strawberry.field(description="From which period on; null: the whole history.")
    accounts: int = strawberry.field(description="Accounts that were tried.")
    complete: bool = strawberry.field(
        description="All were tried in time; else ask for fewer, or `bels audit what-if`."
    )
    missing: list[str] = strawberry.field(description="Numbers that no account has.")
    failed: list[str] = strawberry.field(description="Accounts that could not be replayed.")
    more: int = strawberry.field(description="Accounts that would owe more.")
    less: int = strawberry.field(description="Accounts that would owe less.")
    same: int = strawberry.field(description="Accounts that would owe the same.")
    tried: int = strawberry.field(description="Closings that were decided by these rules.")
    refused: int = strawberry.field(description="Closings that could not be decided and stand as posted.")
    difference: Money = strawberry.field(description="What all would owe more, bills and penalties; negative for less.")
    kwh: int = strawberry.field(description="kWh that would be billed more.")
    periods: list[WhatIfPeriod] = strawberry.field(description="Period by period.")
    modes: list[WhatIfModeChange] = strawberry.field(description="Ways of billing that would change.")
    classes: list[WhatIfClass] = strawberry.field(description="Accounts by what they would owe more.")
    largest: list[WhatIfChange] = strawberry.field(description="The largest changes, at most 20.")
    account: WhatIfAccount | None = strawberry.field(description="The account, where one was asked for.")


@strawberry.type(description="A trial that cannot be made.")
class WhatIfRefused:
    """A trial that cannot be made."""

    code: WhatIfRefusalCode = strawberry.field(description="Why.")
    text: str = strawberry.field(description="What is wrong, in Russian.")
    hint: str = strawberry.field(description="How to do it right, in Russian.")
    detail: str | None = strawberry.field(description="What exactly is in the way.")


WhatIfResult = Annotated[
    WhatIfOutcome | WhatIfRefused | RulebookFaulty,
    strawberry.union("WhatIfResult", description="What other rules would have led to, or why that cannot be said."),
]


@strawberry.type
class TrialQuery:
    """What may be asked of it; no type of the schema."""

    @strawberry.field(
        description="What other rules would have led to; nothing is stored. It costs a point for 10 entries."
    )
    async def what_if(self, info: Info, input: WhatIfInput) -> WhatIfResult:
        """Try rules."""
        _check(input)
        app = info.context.app
        if input.accounts is not None and len(set(input.accounts)) > ACCOUNTS_MAX:
            return _refused(WhatIfRefusalCode.TOO_MANY_ACCOUNTS, f"{len(set(input.accounts))}")
        book = None
        if input.toml is not None:
            try:
                book = await asyncio.to_thread(read_rulebook, input.toml, await app.intake.rules())
            except RulebookFileError as error:
                return RulebookFaulty.of(error)
        month = month_of(input.rules_of) if input.rules_of is not None else None
        trial = Trial(input.publication, month, book, input.settlement, input.since)
        try:
            rules = TrialRules(trial, await _publications(app))
        except UnknownPublicationError:
            return _refused(WhatIfRefusalCode.UNKNOWN_RULEBOOK, f"{input.publication}")
        async with app.pool.acquire() as db:
            if input.sample is not None:
                numbers = await draw_accounts(db, input.sample.size, input.sample.seed)
            else:
                numbers = sorted(set(input.accounts or ()))
            found = await overview.find(db, [number for number in numbers if is_account(number)])
        if not found:
            return _refused(WhatIfRefusalCode.UNKNOWN_ACCOUNT, ", ".join(numbers[:3]) or None)
        size = sum(row.version for row in found.values())
        if size > ENTRIES_MAX:
            return _refused(WhatIfRefusalCode.TOO_MANY_ENTRIES, f"{size}")
        info.context.pay(size // ENTRIES_OF_POINT)
        info.context.saw(found)
        sizes = {number: row.version for number, row in found.items()}
        effects, last, complete = await _try(app, sizes, rules)
        if not effects.tried and effects.refused:
            return _refused(WhatIfRefusalCode.NO_TARIFF, min(effects.examples.values()))
        missing = [number for number in numbers if number not in found]
        return _outcome(trial, effects, missing, complete, last if len(found) == 1 else None)


def _check(input: WhatIfInput) -> None:
    rules = (input.publication, input.rules_of, input.toml, input.settlement)
    if sum(rule is not None for rule in rules) != 1:
        raise BadUserInputError("Give one of `publication`, `rulesOf`, `toml` and `settlement`.")
    if (input.accounts is None) == (input.sample is None):
        raise BadUserInputError("Give one of `accounts` and `sample`.")
    sample = input.sample
    if sample is not None and not (1 <= sample.size <= ACCOUNTS_MAX and 0 <= sample.seed <= SEED_MAX):
        raise BadUserInputError(f"`size` may be 1 to {ACCOUNTS_MAX}, `seed` 0 to {SEED_MAX}.")


def _refused(code: WhatIfRefusalCode, detail: str | None) -> WhatIfRefused:
    text, hint = REFUSALS[code]
    return WhatIfRefused(code=code, text=text, hint=hint, detail=detail)


async def _publications(app: Supplier) -> Publications:
    rules = await app.intake.rules()
    async with app.pool.acquire() as db:
        stream = await read_rules_stream(db)
    return publications_of(stream, rules if not rules.number else shipped(PUBLISHED))


async def _try(app: Supplier, sizes: Mapping[str, int], rules: TrialRules) -> tuple[Effects, Outcome | None, bool]:
    """Try rules on accounts, slice by slice, aside from the loop; give also the last outcome.

    Say whether the time was enough for all of them.
    """
    effects = Effects()
    last: Outcome | None = None
    stop_at = monotonic() + TIME_MAX_S
    for numbers in slices(sizes):
        if monotonic() > stop_at:
            return effects, last, False
        async with app.pool.acquire() as db:
            rows = await db.fetch(READ, numbers, [0] * len(numbers))
        last = await app.aside.do(partial(_tried, rows, rules, effects))
    return effects, last, True


def slices(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Put accounts together in order of number, so that a slice has few entries or one account."""
    numbers: list[str] = []
    entries = 0
    for number, size in sorted(sizes.items()):
        if numbers and entries + size > ENTRIES_OF_SLICE:
            yield numbers
            numbers, entries = [], 0
        numbers.append(number)
        entries += size
    if numbers:
        yield numbers


def _tried(rows: Sequence[Record], rules: TrialRules, effects: Effects) -> Outcome | None:
    last: Outcome | None = None
    for outcome in outcomes((to_entry(*row) for row in rows), rules, effects):
        last = outcome
    return last


def _outcome(
    trial: Trial, effects: Effects, missing: list[str], complete: bool, alone: Outcome | None
) -> WhatIfOutcome:
    total = effects.total
    return WhatIfOutcome(
        rules=trial.said(),
        since=trial.since,
        accounts=effects.accounts,
        complete=complete,
        missing=missing,
        failed=effects.failed,
        more=effects.more,
        less=effects.less,
        same=effects.same,
        tried=effects.tried,
        refused=effects.refused.total(),
        difference=effects.difference,
        kwh=total.would_kwh - total.kwh,
        periods=[
            WhatIfPeriod(
                period=period,
                closings=sums.closings,
                changed=sums.changed,
                kwh=sums.kwh,
                would_kwh=sums.would_kwh,
                bills=sums.bills,
                would_bills=sums.would_bills,
                difference=sums.difference,
                penalties=sums.penalties,
                would_penalties=sums.would_penalties,
            )
            for period, sums in sorted(effects.periods.items())
        ],
        modes=[
            WhatIfModeChange(mode=mode, would_mode=would_mode, closings=count)
            for (mode, would_mode), count in sorted(effects.modes.items())
        ],
        classes=[
            WhatIfClass(low=bounds_of(number)[0], high=bounds_of(number)[1], accounts=effects.classes[number])
            for number in CLASSES
            if effects.classes[number]
        ],
        largest=[
            WhatIfChange(
                account_number=change.account,
                kwh=change.kwh,
                bills=change.bills,
                penalties=change.penalties,
                difference=change.difference,
            )
            for change in effects.largest
        ],
        account=WhatIfAccount.of(alone) if alone is not None else None,
    )
