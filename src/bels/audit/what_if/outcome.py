"""What other rules would have led to for one account: period by period, posted against what would be. Pure; nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bels.audit.replaying.anew import ClosingAnew, Posting, Rules, replay_anew
from bels.domain.account import Account, nobody, replay
from bels.domain.events import CommandRefused
from bels.domain.money import ZERO
from bels.domain.money_events import ChargeLine
from bels.domain.terms import Money, Period
from bels.journal.entry import Entry


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands billed for a period at the end, recalculations of later bills included: kWh, and roubles where they are told.

    ``charges`` are the lines, each with its rate and the row of the tariff.
    """

    kwh: int
    money: Money | None
    charges: tuple[ChargeLine, ...]

    @property
    def rates(self) -> tuple[Decimal, ...]:
        """List the rates it is charged at, roubles a kWh, each once."""
        return tuple(dict.fromkeys(line.rate for line in self.charges))


@dataclass(frozen=True, slots=True)
class PeriodOutcome:
    """One closing: what it posted and what it would post; and what stands for its period at the end, then and so.

    ``rulebook`` is the version it was decided by, None where it stands as posted; ``refusal`` says why it could not be decided.
    """

    period: Period
    was: Posting
    would_be: Posting
    stands: Standing
    would_stand: Standing
    rulebook: str | None
    refusal: CommandRefused | None

    @property
    def difference(self) -> Money:
        """What the bill would be more, in roubles; negative for less."""
        return self.would_be.bill - self.was.bill

    @property
    def changes_mode(self) -> bool:
        """Say whether the period would be billed in another way."""
        return self.was.mode is not self.would_be.mode


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account owes: for electricity, and of penalties."""

    energy: Money
    penalty: Money

    @property
    def whole(self) -> Money:
        """Both together."""
        return self.energy + self.penalty


@dataclass(frozen=True, slots=True)
class Outcome:
    """What other rules would have led to for an account; ``balance`` is its balance now, ``would_balance`` what it would be."""

    account: str
    periods: tuple[PeriodOutcome, ...]
    balance: Balance
    would_balance: Balance

    @property
    def difference(self) -> Money:
        """What the account would owe more, bills and penalties together; payments stand as they are. Negative for less."""
        return self.would_balance.whole - self.balance.whole

    @property
    def was(self) -> Posting:
        """What all closings posted."""
        return _sum([period.was for period in self.periods])

    @property
    def would_be(self) -> Posting:
        """What all closings would post."""
        return _sum([period.would_be for period in self.periods])

    @property
    def tried(self) -> int:
        """Closings that were decided by the rules of the trial."""
        return sum(1 for period in self.periods if period.rulebook is not None and period.refusal is None)

    @property
    def refused(self) -> tuple[PeriodOutcome, ...]:
        """The closings that could not be decided by the rules of the trial: they stand as posted."""
        return tuple(period for period in self.periods if period.refusal is not None)


def what_if(entries: Sequence[Entry], rules: Rules) -> Outcome:
    """Say what rules would have led to for one account, from all its entries in order."""
    anew = replay_anew(entries, rules)
    posted = replay(nobody(anew.account.number), (entry.event for entry in entries))
    before, after = _standing(posted), _standing(anew.account)
    return Outcome(
        anew.account.number,
        tuple(_period(closing, before, after) for closing in anew.closings),
        Balance(posted.ledger.balance, posted.ledger.penalty),
        Balance(anew.account.ledger.balance, anew.account.ledger.penalty),
    )


def _period(closing: ClosingAnew, before: dict[Period, Standing], after: dict[Period, Standing]) -> PeriodOutcome:
    return PeriodOutcome(
        closing.period,
        closing.was,
        closing.would_be,
        before[closing.period],
        after[closing.period],
        closing.rulebook,
        closing.refusal,
    )


def _standing(account: Account) -> dict[Period, Standing]:
    return {
        closed.period: Standing(sum(closed.stands.values()), closed.money, closed.charges) for closed in account.closed
    }


def _sum(postings: Sequence[Posting]) -> Posting:
    return Posting(
        None,
        sum(posting.kwh for posting in postings),
        sum((posting.charged for posting in postings), ZERO),
        sum((posting.recalculated for posting in postings), ZERO),
        sum((posting.penalties for posting in postings), ZERO),
    )
