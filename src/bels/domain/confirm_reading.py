"""A held reading does not count until confirmed, and then counts for the period in which it was received (rules 1.2)."""

from __future__ import annotations

from dataclasses import replace

from bels.domain.accept_reading import superseded_by
from bels.domain.account import Account, Reading
from bels.domain.actual_readings import base_of, disproved_by, went_down
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
from bels.domain.terms import EntryNumber, HoldReason, Meaning, ReadingKind, ReadingStatus, Reason, Register, Role


def confirm_reading(account: Account, command: ConfirmReading, rulebook: Rulebook) -> tuple[Event, ...]:
    """Confirm a held reading, explicitly and with the same values.

    An implausible one is confirmed by the consumer or an operator, where a register went down by an operator only; one
    that is lower than the previous by an operator, who says ROLLOVER or PREVIOUS_WRONG.
    """
    held = account.reading(command.reading)
    if held is None:
        return (_refused(command, Reason.UNKNOWN_READING),)
    if held.status is not ReadingStatus.HELD:
        return (_refused(command, Reason.NOT_HELD),)
    base = base_of(account, held.meter, held.period, held.at)
    down = went_down(base.values, held.values) if base is not None else ()
    reason = _refusal(command, held, down, rulebook.settings_of(held.period))
    if reason is not None:
        return (_refused(command, reason),)
    if command.meaning is Meaning.PREVIOUS_WRONG:
        return _previous_was_wrong(account, command, held)
    confirmed = ReadingConfirmed(
        held.entry,
        held.period,
        command.confirmed_at,
        ReadingKind.SENT,
        down if command.meaning is Meaning.ROLLOVER else (),
        command.role,
        command.note,
    )
    return (confirmed, *superseded_by(account, held.entry, held.meter, held.period, held.at))


def reject_reading(account: Account, command: RejectReading) -> tuple[Event, ...]:
    """Reject a held reading: an operator says that it does not count."""
    held = account.reading(command.reading)
    if held is None or held.status is not ReadingStatus.HELD:
        reason = Reason.UNKNOWN_READING if held is None else Reason.NOT_HELD
        return (CommandRefused("RejectReading", reason, command.rejected_at, str(command.reading)),)
    return (ReadingRejected(held.entry, command.rejected_at, command.note),)


def _refused(command: ConfirmReading, reason: Reason) -> CommandRefused:
    return CommandRefused("ConfirmReading", reason, command.confirmed_at, str(command.reading))


def _refusal(command: ConfirmReading, held: Reading, down: tuple[Register, ...], settings: Settings) -> Reason | None:
    if command.values is not None:
        said = {name: read_value(text) for name, text in command.values.items()}
        if said != dict(held.values):
            return Reason.VALUES_DIFFER
    by_operator = command.role is Role.OPERATOR
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


def _previous_was_wrong(account: Account, command: ConfirmReading, held: Reading) -> tuple[Event, ...]:
    confirmed = ReadingConfirmed(
        held.entry,
        held.period,
        command.confirmed_at,
        ReadingKind.PREVIOUS_WRONG,
        (),
        command.role,
        command.note,
    )
    superseded = [
        e
        for e in superseded_by(account, held.entry, held.meter, held.period, held.at)
        if isinstance(e, ReadingSuperseded)
    ]
    gone = {e.reading for e in superseded}
    rest = replace_status(account, gone)
    disproved = disproved_by(rest, held.values, account.meter(held.meter), held.at)
    return (confirmed, *superseded, *(ReadingDisproved(r.entry, held.entry) for r in disproved))


def replace_status(account: Account, gone: set[EntryNumber]) -> Account:
    """Give the account as if these readings were superseded already."""
    readings = tuple(replace(r, status=ReadingStatus.SUPERSEDED) if r.entry in gone else r for r in account.readings)
    return replace(account, readings=readings)
