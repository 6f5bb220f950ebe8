"""``bels audit what-if``: what other rules would have led to, for an account, a sample or all; nothing is stored."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from bels import rule_trials
from bels.app import Bels
from bels.audit.replaying.anew import Publications
from bels.audit.what_if.effects import CLASSES, Effects, bounds_of
from bels.audit.what_if.outcome import Balance, Outcome, Standing
from bels.audit.what_if.sample import Sample
from bels.audit.what_if.trial import Trial, UnknownPublicationError, month_of
from bels.command import DONE, PARTLY, CliError, account_given, ready, run, settings_given, text_of
from bels.domain.periods import period
from bels.domain.terms import Money, Period, Settlement
from bels.progress import progress
from bels.rulebooks.reading import RulebookFileError, read_rulebook
from bels.statement import table

ACCOUNTS_MAX = 10_000
"""Accounts that may be named one by one."""

FAILED_TOLD_MAX = 10

COLUMNS = (
    "account", "closings", "tried", "refused", "kwh_posted", "kwh_would_be", "bills_posted", "bills_would_be",
    "penalties_posted", "penalties_would_be", "balance", "balance_would_be", "penalty", "penalty_would_be", "difference",
)  # fmt: skip

WHAT_IF_HELP = """\
Decide closings anew by other rules and compare them with what was posted; nothing is stored. What was known stays as it is:
readings, meters, residents, acts and payments; a reading that was held or refused stays so.

  bels audit what-if 1000101 --settlement IN_PERIOD      one account, period by period
  bels audit what-if 1000101 --rules-of 2026-07-01 --since 2026-03   today's rules from the bill of March on
  bels audit what-if --sample 0.05 --seed 7 --rulebook FILE          a twentieth of all accounts; the same seed, the same ones
  bels audit what-if --all --publication 3 --csv effects.csv         everybody, with a row for each

--rules-of takes tariffs, ranges, norms, settings and due day as they are on that day, for every period; key rates and
moratoria stay with their days. Roubles that an account would owe more are positive.

exit status: 0 done, 1 some closings or accounts could not be tried (each case is said), 2 nothing was tried
"""


def add(what: Any) -> None:
    """Add ``bels audit what-if``."""
    summary = "Say what other rules would have led to; nothing is stored"
    form = argparse.RawDescriptionHelpFormatter
    added = what.add_parser("what-if", help=summary, description=WHAT_IF_HELP, formatter_class=form)
    added.set_defaults(run=_what_if)
    added.add_argument("accounts", nargs="*", metavar="ACCOUNT", help="seven digits")
    added.add_argument("--sample", type=_share, metavar="SHARE", help="of all accounts, more than 0 through 1, as 0.05")
    added.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample's chance (default 0)")
    added.add_argument("--all", action="store_true", help="every account")
    rules = added.add_mutually_exclusive_group(required=True)
    rules.add_argument("--rulebook", type=Path, metavar="FILE", help="a file of rules, over those in force")
    rules.add_argument("--publication", type=_publication, metavar="N", help="a published rulebook, by its number")
    rules.add_argument("--rules-of", type=_day, metavar="DAY", help="the rules of this day for every period")
    policies = [policy.value for policy in Settlement]
    rules.add_argument("--settlement", choices=policies, help="this settlement policy under the rules of then")
    added.add_argument("--since", type=_period, metavar="PERIOD", help="earlier closings stand as posted (YYYY-MM)")
    added.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each account")


def _what_if(arguments: argparse.Namespace) -> int:
    given = [bool(arguments.accounts), arguments.sample is not None, arguments.all]
    if sum(given) != 1:
        raise CliError("name accounts, or give --sample SHARE, or --all: one of the three")
    if len(arguments.accounts) > ACCOUNTS_MAX:
        raise CliError(f"at most {ACCOUNTS_MAX:,} accounts can be named: take --sample or --all")
    numbers = [account_given(text) for text in arguments.accounts]
    text = text_of(arguments.rulebook) if arguments.rulebook is not None else None

    async def trying() -> int:
        async with ready(settings_given()) as bels:
            return await _try(bels, arguments, numbers, text)

    return run(trying())


async def _try(bels: Bels, arguments: argparse.Namespace, numbers: Sequence[str], text: str | None) -> int:
    publications = await rule_trials.read_publications(bels)
    trial = _trial(arguments, text, publications)
    wanted: Sequence[str] | Sample = numbers
    if not numbers:
        wanted = Sample(arguments.sample, arguments.seed) if arguments.sample is not None else rule_trials.WHOLE
    outcomes: list[Outcome] = []
    count = await rule_trials.count_accounts(bels, wanted)
    with _rows(arguments.csv) as row, progress("what-if", count, "accounts") as bar:

        def told(outcome: Outcome) -> None:
            if row is not None:
                row.writerow(_row(outcome))
            if len(numbers) == 1:
                outcomes.append(outcome)

        is_told = row is not None or len(numbers) == 1
        try:
            effects = await rule_trials.try_rules(
                bels, trial, publications, wanted, count, bar, told if is_told else None
            )
        except UnknownPublicationError as error:
            last = publications.newest.number
            raise CliError(
                f"there is no publication {error.args[0]}; the last one is {last}: bels rulebook history"
            ) from error
    missing = len(set(numbers)) - effects.accounts - len(effects.failed) if numbers else 0
    if not effects.accounts and not effects.failed:
        raise CliError("there is no such account" if numbers else "there are no accounts in this sample")
    told_of = [line for outcome in outcomes for line in _periods(outcome)] or _sums(effects)
    print("\n".join([f"Tried: {trial.said()}. Nothing is stored.", *told_of, *_troubles(effects)]))
    if missing:
        print(f"Accounts that there are not: {missing:,}")
    return PARTLY if missing or effects.failed or effects.refused else DONE


def _trial(arguments: argparse.Namespace, text: str | None, publications: Publications) -> Trial:
    book = None
    if text is not None:
        try:
            book = read_rulebook(text, publications.newest)
        except RulebookFileError as error:
            raise CliError(f"{arguments.rulebook} cannot be tried:\n{error}") from error
    return Trial(
        arguments.publication,
        month_of(arguments.rules_of) if arguments.rules_of is not None else None,
        book,
        Settlement(arguments.settlement) if arguments.settlement is not None else None,
        arguments.since,
    )


@contextmanager
def _rows(path: Path | None) -> Iterator[Any]:
    if path is None:
        yield None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            yield writer
    except OSError as error:
        raise CliError(f"{path} cannot be written ({error.strerror})") from error


def _row(outcome: Outcome) -> tuple[object, ...]:
    was, would_be = outcome.was, outcome.would_be
    return (
        outcome.account, len(outcome.periods), outcome.tried, len(outcome.refused), was.kwh, would_be.kwh, was.bill,
        would_be.bill, was.penalties, would_be.penalties, outcome.balance.energy, outcome.would_balance.energy,
        outcome.balance.penalty, outcome.would_balance.penalty, outcome.difference,
    )  # fmt: skip


def _periods(outcome: Outcome) -> list[str]:
    rows = [
        ("period", "posted", "would be", "kWh", "would be", "bill", "would be", "difference", "penalties", "would be")
    ]
    for one in outcome.periods:
        was, would_be = one.was, one.would_be
        rows.append(
            (
                one.period,
                was.mode.value if was.mode is not None else "-",
                would_be.mode.value if would_be.mode is not None else "-",
                f"{was.kwh:,}",
                f"{would_be.kwh:,}",
                f"{was.bill:,.2f}",
                f"{would_be.bill:,.2f}",
                f"{one.difference:+,.2f}",
                f"{was.penalties:,.2f}",
                f"{would_be.penalties:,.2f}",
            )
        )
    standing = [("stands for", "kWh", "would be", "rate", "would be", "roubles", "would be")]
    standing += [
        (
            one.period,
            f"{one.stands.kwh:,}",
            f"{one.would_stand.kwh:,}",
            _rates(one.stands),
            _rates(one.would_stand),
            _money(one.stands.money),
            _money(one.would_stand.money),
        )
        for one in outcome.periods
        if one.stands != one.would_stand
    ]
    balance, would = outcome.balance, outcome.would_balance
    return [
        f"Account {outcome.account}",
        *table(rows, "<<<>>>>>>>"),
        *(
            ["What stands otherwise in the end, later bills included:", *table(standing, "<>>>>>>")]
            if standing[1:]
            else []
        ),
        f"It owes {_owed(balance)}; it would owe {_owed(would)}.",
    ]


def _rates(standing: Standing) -> str:
    return " ".join(map(str, standing.rates)) or "-"


def _money(amount: Money | None) -> str:
    return f"{amount:,.2f}" if amount is not None else "-"


def _owed(balance: Balance) -> str:
    return f"{balance.energy:,.2f} and penalties of {balance.penalty:,.2f}"


def _sums(effects: Effects) -> list[str]:
    """Say in lines for whom what would change, and how much."""
    total = effects.total
    lines = [
        f"Accounts: {effects.accounts:,}; would owe more {effects.more:,}, less {effects.less:,}, the same {effects.same:,}",
        f"Closings: {total.closings:,}; decided anew {effects.tried:,}, otherwise than posted {total.changed:,}",
        f"kWh: posted {total.kwh:,}, would be {total.would_kwh:,}, difference {total.would_kwh - total.kwh:+,}",
        f"Bills: posted {total.bills:,.2f}, would be {total.would_bills:,.2f}, difference {total.difference:+,.2f} roubles",
        f"Penalties: posted {total.penalties:,.2f}, would be {total.would_penalties:,.2f} roubles",
    ]
    changed = {period: sums for period, sums in sorted(effects.periods.items()) if sums.changed}
    if changed:
        rows = [("period", "closings", "otherwise", "kWh", "bills", "penalties")]
        rows += [
            (
                period,
                f"{sums.closings:,}",
                f"{sums.changed:,}",
                f"{sums.would_kwh - sums.kwh:+,}",
                f"{sums.difference:+,.2f}",
                f"{sums.would_penalties - sums.penalties:+,.2f}",
            )
            for period, sums in changed.items()
        ]
        lines += ["Differences by period:", *table(rows, "<>>>>>")]
    if effects.modes:
        lines.append("Ways of billing that change:")
        lines += [f"  {was.value} to {now.value}: {count:,}" for (was, now), count in sorted(effects.modes.items())]
    if effects.more or effects.less:
        lines.append("Accounts by what they would owe more (roubles):")
        lines += [
            f"  {_class(number):>24}: {effects.classes[number]:,}" for number in CLASSES if effects.classes[number]
        ]
        lines.append("The largest changes:")
        lines += [f"  {c.account}  {c.difference:>+14,.2f}  {c.kwh:>+10,} kWh" for c in effects.largest]
    return lines


def _troubles(effects: Effects) -> list[str]:
    lines = [
        f"Closings that stand as posted, {reason}: {count:,} (for example {effects.examples[reason]})"
        for reason, count in sorted(effects.refused.items())
    ]
    if effects.failed:
        told = ", ".join(effects.failed[:FAILED_TOLD_MAX])
        lines.append(f"Accounts that could not be replayed: {len(effects.failed):,} ({told}); see the log")
    return lines


def _class(number: int) -> str:
    low, high = bounds_of(number)
    if not number:
        return "the same"
    if low is None:
        return f"below {high:,.0f}"
    return f"above {low:,.0f}" if high is None else f"{low:,.0f} to {high:,.0f}"


def _share(text: str) -> Fraction:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write a number more than 0 through 1, as 0.05")
    return share


def _publication(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 10**6):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no publication: write its number, as bels rulebook history tells it"
        )
    return int(text)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: write YYYY-MM-DD") from None


def _period(text: str) -> Period:
    try:
        return period(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
