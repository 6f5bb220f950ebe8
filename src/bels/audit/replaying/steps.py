"""An account told entry by entry: what each said, by which rule it was made, and what it changed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from bels.audit.replaying.differences import Difference, differences
from bels.audit.replaying.moments import History, Replayed, state_with
from bels.domain import (
    accept_reading,
    accrue_penalty,
    close_period,
    confirm_reading,
    inspect_meter,
    link_channel,
    open_account,
    publish_rulebook,
    receive_payment,
    service_meter,
)
from bels.domain.account import Account
from bels.domain.events import (
    AbsenceRegistered,
    AccessRefused,
    AccountClosed,
    AccountOpened,
    ChannelLinked,
    ChannelUnlinked,
    CommandRefused,
    ControlReadingTaken,
    EstimationModeChanged,
    Event,
    InspectionDue,
    InterferenceFound,
    MeterFailed,
    MeterInstalled,
    MeterRemoved,
    MeterRestored,
    PeriodCarriedOver,
    PeriodClosed,
    PeriodMissed,
    ReadingAccepted,
    ReadingCarriedOver,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingDisregarded,
    ReadingHeld,
    ReadingRefused,
    ReadingRejected,
    ReadingSuperseded,
    ResidentsChanged,
    TemporaryResidentsRegistered,
    UsageRecalculated,
)
from bels.domain.money_events import (
    BalanceCarriedOver,
    PaymentMovedIn,
    PaymentMovedOut,
    PaymentReceived,
    PaymentReversed,
    PenaltyAccrued,
    RefundMade,
    RulebookPublished,
)
from bels.journal.codec import to_entry
from bels.journal.journal import find_requests
from bels.journal.write import Db
from bels.projections.audit import AuditRow, rule_of, tell

STEPS_MAX = 1_000
"""Steps that are told at once."""

_MADE_BY = {
    open_account: (
        AccountOpened,
        AccountClosed,
        ResidentsChanged,
        TemporaryResidentsRegistered,
        AbsenceRegistered,
        PeriodCarriedOver,
        ReadingCarriedOver,
        BalanceCarriedOver,
    ),
    service_meter: (MeterInstalled, MeterRestored, MeterRemoved, MeterFailed),
    accept_reading: (ReadingAccepted, ReadingHeld, ReadingRefused),
    confirm_reading: (ReadingConfirmed, ReadingRejected),
    inspect_meter: (ControlReadingTaken, AccessRefused, InterferenceFound),
    close_period: (PeriodMissed, PeriodClosed, UsageRecalculated, EstimationModeChanged, InspectionDue),
    accrue_penalty: (PenaltyAccrued,),
    link_channel: (ChannelLinked, ChannelUnlinked),
    receive_payment: (PaymentReceived, PaymentReversed, RefundMade, PaymentMovedOut, PaymentMovedIn),
    publish_rulebook: (RulebookPublished,),
}

MADE_BY: dict[type[Event], str] = {kind: rule.__name__ for rule, kinds in _MADE_BY.items() for kind in kinds}
"""The file of the rule that makes an event."""

WITH_ITS_CAUSE: frozenset[type[Event]] = frozenset({ReadingSuperseded, ReadingDisproved, ReadingDisregarded})
"""What several rules make: by the rule of the event before it that it goes with."""

REFUSALS: frozenset[type[Event]] = frozenset({CommandRefused})
"""What any rule may say: its ``command`` names who did."""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The rule that made an entry: ``name`` is the file of the domain, ``text`` its first sentence, which is the rule.

    ``acts`` are the acts and points that its numbers rest on; ``rulebook`` the version of the rules, where the event has one.
    """

    name: str
    text: str
    acts: tuple[str, ...]
    rulebook: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """An entry with what it changed: ``counts`` is false where it was not true yet on the day, and so changed nothing.

    ``account`` is the whole account after it.
    """

    row: AuditRow
    made_by: MadeBy
    counts: bool
    changed: tuple[Difference, ...]
    account: Account


async def steps(db: Db, replayed: Replayed, after: int, limit: int) -> tuple[Step, ...]:
    """Tell the entries that were known at a moment, after an entry, one by one; at most ``limit`` and ``STEPS_MAX``."""
    return steps_of(replayed, await read_steps(db, replayed, after, limit))


async def read_steps(db: Db, replayed: Replayed, after: int, limit: int) -> list[AuditRow]:
    """Say the entries in words that were known at a moment, after an entry; at most ``limit`` and ``STEPS_MAX``."""
    first = min(max(after, 0), replayed.known)
    return await told(db, replayed.history, range(first + 1, min(replayed.known, first + min(limit, STEPS_MAX)) + 1))


def steps_of(replayed: Replayed, rows: Sequence[AuditRow]) -> tuple[Step, ...]:
    """Tell entries that follow each other one by one, with what each changed."""
    aside, events = replayed.aside, replayed.history.events(replayed.known)
    account = replayed.after(rows[0].entry - 1 if rows else 0)
    found: list[Step] = []
    for row in rows:
        changed: tuple[Difference, ...] = ()
        if row.entry not in aside:
            is_now = state_with(account, row.entry, events[row.entry - 1], aside)
            changed, account = differences(account, is_now), is_now
        found.append(Step(row, made_by(events, row.entry), row.entry not in aside, changed, account))
    return tuple(found)


async def told(db: Db, history: History, numbers: Iterable[int]) -> list[AuditRow]:
    """Say entries of an account in words, with the requests that brought them."""
    entries = [to_entry(history.account, *history.rows[number - 1]) for number in numbers]
    requests = await find_requests(db, list({entry.receipt for entry in entries}))
    return [tell(entry, requests.get(entry.receipt, "")) for entry in entries]


def state_of(account: Account) -> str:
    """Write the whole state of an account as JSON: everything that the next entry would be decided on."""
    return msgspec.json.encode(account).decode()


def made_by(events: Sequence[Event], entry: int) -> MadeBy:
    """Say which rule made an entry, of the events of an account from the first on."""
    event = events[entry - 1]
    name = _rule_file(events, entry)
    return MadeBy(name.rpartition(".")[2], _sentence(name), acts_of(event), getattr(event, "rulebook", None) or None)


def acts_of(event: Event) -> tuple[str, ...]:
    """List the acts and points that an event's numbers rest on, each once."""
    own = rule_of(event)
    rules = [line.rule.value for line in (*getattr(event, "lines", ()), *getattr(event, "charges", ()))]
    return tuple(dict.fromkeys([own, *rules] if own is not None else rules))


def _rule_file(events: Sequence[Event], entry: int) -> str:
    for event in reversed(events[:entry]):
        kind = type(event)
        if kind in WITH_ITS_CAUSE:
            continue
        if isinstance(event, CommandRefused):
            return _DECIDED_BY.get(event.command, "bels.domain.decide")
        return MADE_BY[kind]
    return "bels.domain.decide"


def _sentence(module: str) -> str:
    """Give the first sentence of a rule's file, which is the rule; nothing where texts were left out of the program."""
    return " ".join((sys.modules[module].__doc__ or "").partition("\n\n")[0].split())


_DECIDED_BY = {
    "ClosePeriod": close_period.__name__,
    "ConfirmReading": confirm_reading.__name__,
    "RejectReading": confirm_reading.__name__,
    "SubmitReading": accept_reading.__name__,
    "LinkChannel": link_channel.__name__,
    "UnlinkChannel": link_channel.__name__,
    "PublishRulebook": publish_rulebook.__name__,
    **dict.fromkeys(
        (
            "OpenAccount",
            "CloseAccount",
            "CarryOverHistory",
            "ChangeResidents",
            "RegisterTemporaryResidents",
            "RegisterAbsence",
        ),
        open_account.__name__,
    ),
    **dict.fromkeys(
        ("InstallMeter", "RemoveMeter", "ReplaceMeter", "ReportMeterFailure", "RestoreMeter"), service_meter.__name__
    ),
    **dict.fromkeys(("TakeControlReading", "RecordAccessRefusal", "RecordInterference"), inspect_meter.__name__),
    **dict.fromkeys(
        ("ReceivePayment", "ReversePayment", "MakeRefund", "MovePaymentOut", "MovePaymentIn"), receive_payment.__name__
    ),
}
"""The file of the rule that answers a command, by its name."""
