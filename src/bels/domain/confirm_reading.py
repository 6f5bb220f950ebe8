"""A held reading does not count until confirmed, and then counts for the period in which it was received (rules 1.2)."""

from __future__ import annotations

from dataclasses import replace

from bels.domain.accept_reading import superseded_by
from bels.domain.account import Account, Reading
from bels.domain.actual_readings import CONTROL_KINDS, base_of, disproved_by, following_of, shows_more, went_down
from bels.domain.commands import ConfirmReading, RejectReading
from bels.domain.events import (
    CommandRefused,
    Event,
    ReadingConfirmed,
    ReadingDisproved,
    ReadingRejected,
    ReadingSuperseded,
)
from bels.domain.read_value import read_value
from bels.domain.rulebook import Rulebook, Settings
from bels.domain.speak_for import may_affirm, must_be_confirmed
from bels.domain.terms import EntryNumber, HoldReason, Meaning, ReadingKind, ReadingStatus, Reason, Register, Role


def confirm_reading(account: Account, command: ConfirmReading, rulebook: Rulebook) -> tuple[Event, ...]:
    """Confirm a held reading, explicitly and with the same values.

    An implausible one is confirmed by the consumer or an operator (of a household that has linked a sender, by who speaks for
    it), where a register went down by an operator only; one
    that is lower than the previous by an operator, who says ROLLOVER or PREVIOUS_WRONG; one of an unconfirmed sender by
    whoever may speak for the account (``speak_for.py``). A later control reading that is
    lower disproves it at once; a later final reading that is lower rules it out.
    """
    held = account.reading(command.reading)
    if held is None:
        return (_refused(command, Reason.UNKNOWN_READING),)
    if held.status is not ReadingStatus.HELD:
        return (_refused(command, Reason.NOT_HELD),)
    base = base_of(account, held.meter, held.period, held.at)
    down = went_down(base.values, held.values) if base is not None else ()
    denied_by = _denied_by(account, command, held, base)
    reason = _refusal(command, held, down, rulebook.settings_of(held.period))
    if reason is None and not _is_of_household(account, command, held):
        reason = Reason.UNCONFIRMED_SENDER
    if reason is None and denied_by is not None and denied_by.kind not in CONTROL_KINDS:
        reason = Reason.MORE_THAN_NEXT
    if reason is not None:
        return (_refused(command, reason),)
    wrong = command.meaning is Meaning.PREVIOUS_WRONG
    confirmed = ReadingConfirmed(
        held.entry,
        held.period,
        command.confirmed_at,
        ReadingKind.PREVIOUS_WRONG if wrong else ReadingKind.SENT,
        () if wrong or base is None else _passed_zero(base, held, down),
        command.role,
        command.note,
    )
    superseded = superseded_by(account, held.entry, held.meter, held.period, held.at)
    gone = {e.reading for e in superseded if isinstance(e, ReadingSuperseded)}
    if held.entry in gone:
        return (confirmed, *superseded)
    disproved = [ReadingDisproved(held.entry, denied_by.entry)] if denied_by is not None else []
    if wrong:
        rest = replace_status(account, gone)
        older = disproved_by(rest, held.values, account.meter(held.meter), held.at)
        disproved += [ReadingDisproved(r.entry, held.entry) for r in older]
    return (confirmed, *superseded, *disproved)


def reject_reading(account: Account, command: RejectReading) -> tuple[Event, ...]:
    """Reject a held reading: an operator says that it does not count."""
    held = account.reading(command.reading)
    if held is None or held.status is not ReadingStatus.HELD:
        reason = Reason.UNKNOWN_READING if held is None else Reason.NOT_HELD
        return (CommandRefused("RejectReading", reason, command.rejected_at, str(command.reading)),)
    return (ReadingRejected(held.entry, command.rejected_at, command.note),)


def _is_of_household(account: Account, command: ConfirmReading, held: Reading) -> bool:
    if held.hold is HoldReason.IMPLAUSIBLE and not may_affirm(account, command.claim):
        return False
    return not must_be_confirmed(account, command.claim, account.meter(held.meter), held.period, held.values)


def _refused(command: ConfirmReading, reason: Reason) -> CommandRefused:
    return CommandRefused("ConfirmReading", reason, command.confirmed_at, str(command.reading))


def _refusal(command: ConfirmReading, held: Reading, down: tuple[Register, ...], settings: Settings) -> Reason | None:
    if command.values is not None:
        said = {name: read_value(text) for name, text in command.values.items()}
        if said != dict(held.values):
            return Reason.VALUES_DIFFER
    by_operator = command.role is Role.OPERATOR
    if held.hold is HoldReason.UNCONFIRMED_SENDER:
        return None if command.meaning is None else Reason.BAD_MEANING
    if held.hold is HoldReason.IMPLAUSIBLE:
        if not by_operator and (down or settings.implausible_confirmed_by is Role.OPERATOR):
            return Reason.OPERATOR_ONLY
        return Reason.BAD_MEANING if command.meaning is Meaning.PREVIOUS_WRONG else None
    if not by_operator:
        return Reason.OPERATOR_ONLY
    if command.meaning is None:
        return Reason.MEANING_REQUIRED
    if held.hold is HoldReason.MORE_THAN_NEXT and command.meaning is Meaning.PREVIOUS_WRONG:
        return Reason.BAD_MEANING
    return None


def _passed_zero(base: Reading, held: Reading, down: tuple[Register, ...]) -> tuple[Register, ...]:
    """List the registers that passed zero, but for those of which that was known already when the reading was held."""
    return tuple(r for r in down if base.turns.get(r, 0) + 1 > held.turns.get(r, 0))


def _denied_by(account: Account, command: ConfirmReading, held: Reading, base: Reading | None) -> Reading | None:
    """Find the next actual reading if it shows that the held one cannot be right: it has less than the held one."""
    following = following_of(account, held.meter, held.period, held.at)
    if following is None or base is None:
        return None
    if command.meaning is Meaning.PREVIOUS_WRONG:
        return following if went_down(held.values, following.values) else None
    capacity = account.meter(held.meter).model.capacity
    return following if shows_more(base, held.values, following, capacity) else None


def replace_status(account: Account, gone: set[EntryNumber]) -> Account:
    """Give the account as if these readings were superseded already."""
    readings = tuple(replace(r, status=ReadingStatus.SUPERSEDED) if r.entry in gone else r for r in account.readings)
    return replace(account, readings=readings)
