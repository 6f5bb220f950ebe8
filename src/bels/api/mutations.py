"""What may be asked of bels over GraphQL: each mutation is one message to intake, each row of a batch another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import strawberry
from graphql import GraphQLError

from bels.access import links
from bels.access.callers import Kind, sender_digest
from bels.api import inputs
from bels.api.cabinet_mutations import CabinetMutation
from bels.api.cards import CardMutation
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.api.entries import EntryMutation
from bels.api.inputs import model_of, values_of
from bels.api.messages import (
    TryLaterError,
    behalf_of,
    claim_of,
    content_of,
    may_name,
    message_of,
    note_of,
    raw_of,
    submit,
)
from bels.api.money_mutations import MoneyMutation
from bels.api.notices import NoticeMutation
from bels.api.objects import BehalfShown
from bels.api.office import OfficeMutation
from bels.api.outcomes import (
    CommandDone,
    CommandRefused,
    CommandResult,
    ReadingAccepted,
    ReadingHeld,
    RowOutcome,
    SubmitReadingResult,
    SubmitReadingsResult,
    done,
    not_seen_reading,
    refused_command,
    row_outcome,
    submitted,
)
from bels.api.paying import PayingMutation
from bels.api.personal import PersonalMutation
from bels.api.receipts import find_receipt
from bels.api.reconciling import ReconcilingMutation
from bels.api.registers import RegisterMutation
from bels.api.rounds import RoundMutation
from bels.api.sandbox import SandboxMutation
from bels.api.seals import SealMutation
from bels.api.sender_links import SenderLinkMutation
from bels.api.webhooks import WebhookMutation
from bels.domain import commands
from bels.domain.commands import Command, SubmitReading
from bels.domain.terms import EntryNumber, Reason, Role
from bels.journal.entry import Behalf
from bels.messages import Message, TryLater

ROWS_MAX = 500
VALUES_MAX = 10
"""Values of a reading that are looked at: three registers, and some to say that there are too many."""


class _ForConsumer(Protocol):
    """What the inputs of an operator's commands for a consumer have in common."""

    account: str
    idempotency_key: strawberry.ID
    behalf: inputs.BehalfInput | None


class LinkUsedError(GraphQLError):
    """The one task of the caller's link is done, or the link was revoked."""

    def __init__(self) -> None:
        super().__init__("The link has been used or revoked.", extensions={"code": "UNAUTHENTICATED"})


def texts(values: Sequence[inputs.RegisterReading]) -> Mapping[str, str]:
    """Give the values of a reading by register; one named twice is a value too many, not a silent last one."""
    named: dict[str, str] = {}
    for i, value in enumerate(values[:VALUES_MAX]):
        name = value.register.value
        named[name if name not in named else f"{name} #{i + 1}"] = value.value
    return named


def _reading(info: Info, given: inputs.SubmitReadingInput, behalf: Behalf | None) -> Message:
    app = info.context.app
    caller = info.context.caller_for(Role.CONSUMER if behalf is None else Role.OPERATOR)
    values = texts(given.values)
    command = SubmitReading(
        app.intake.clock(), values, Role.CONSUMER, given.taken_at, given.meter, claim=claim_of(info.context.caller)
    )
    said = () if behalf is None else (behalf,)
    raw = raw_of(("submitReading", given.account, values, given.taken_at, given.meter, *said))
    # Whatever a person wrote for a value, a name or a phone perhaps, is kept sealed.
    raw = app.door.raw_texts.kept(raw, *values.values())
    return message_of(info, caller, given.idempotency_key, given.account, command, raw, behalf=behalf)


async def _carry_out(
    info: Info, role: Role, account: str, key: str, command: Command, given: object, behalf: Behalf | None = None
) -> CommandResult:
    caller = info.context.caller_for(role)
    raw = raw_of((type(command).__name__, given))
    outcome = await submit(info, message_of(info, caller, key, account, command, raw, behalf=behalf))
    shown = done(outcome, caller.channel, caller.actor)
    if isinstance(shown, CommandDone):
        for entry in shown.entries:
            entry.behalf = BehalfShown.of(behalf)
    return shown


async def _carry_out_for(info: Info, command: Command, given: _ForConsumer) -> CommandResult:
    """Carry out what an operator does for a consumer, whoever the consumer is and however he asked."""
    behalf = await behalf_of(info, given.behalf)
    content = content_of(given)
    return await _carry_out(info, Role.OPERATOR, given.account, given.idempotency_key, command, content, behalf)


@dataclass(slots=True)
class _Task:
    done: bool = False


@asynccontextmanager
async def _one_task(info: Info) -> AsyncIterator[_Task]:
    """Carry out the one task of a link. It is done before it is begun: of many at once, one is carried out.

    :raises LinkUsedError: the link was used, or revoked, since it let the caller in.
    """
    app, link = info.context.app, info.context.caller.subject
    async with app.pool.acquire() as db:
        if not await links.done(db, link, app.intake.clock()):
            raise LinkUsedError
    task = _Task()
    try:
        yield task
    finally:
        if not task.done:
            async with app.pool.acquire() as db:
                await links.not_done(db, link)


async def _held(info: Info, receipt: str) -> tuple[str, EntryNumber] | CommandRefused:
    row = await find_receipt(info, receipt)
    if row is None or row.first_version is None or row.reading is None:
        return refused_command(Reason.UNKNOWN_READING, "", detail=receipt[:40])
    return row.account, EntryNumber(row.first_version)


@strawberry.type(description="What may be done: each mutation is one message, with a receipt.")
class Mutation(
    MoneyMutation,
    CabinetMutation,
    PersonalMutation,
    OfficeMutation,
    EntryMutation,
    RoundMutation,
    NoticeMutation,
    SenderLinkMutation,
    PayingMutation,
    RegisterMutation,
    ReconcilingMutation,
    CardMutation,
    WebhookMutation,
    SandboxMutation,
    SealMutation,
):
    """What may be done."""

    @strawberry.mutation(description="Submit a meter reading: accepted, held with a reason, or refused with a reason.")
    async def submit_reading(self, info: Info, input: inputs.SubmitReadingInput) -> SubmitReadingResult:
        """Submit a reading."""
        if info.context.see(input.account) is None:
            return not_seen_reading(input.account)
        message = _reading(info, input, await behalf_of(info, input.behalf))
        if info.context.caller.kind is not Kind.LINK:
            return submitted(await submit(info, message))
        async with _one_task(info) as task:
            shown = submitted(await submit(info, message))
            task.done = isinstance(shown, ReadingAccepted | ReadingHeld)
        return shown

    @strawberry.mutation(
        description="Submit up to 500 readings, each with its own outcome; sent again, nothing is taken twice."
    )
    async def submit_readings(self, info: Info, input: inputs.SubmitReadingsInput) -> SubmitReadingsResult:
        """Submit readings together."""
        if not 1 <= len(input.rows) <= ROWS_MAX:
            raise BadUserInputError(
                f"`rows` must have 1 to {ROWS_MAX} readings; this one has {len(input.rows)}. Send them in several calls."
            )
        caller = info.context.caller
        seen = [info.context.see(row.account) is not None for row in input.rows]
        named = [(i, row) for i, row in enumerate(input.rows) if seen[i] and may_name(caller, row.idempotency_key)]
        messages = [_reading(info, row, await behalf_of(info, row.behalf)) for _, row in named]
        try:
            outcomes = await info.context.app.intake.handle(messages)
        except TryLater:
            raise TryLaterError from None
        taken = {i: outcome for (i, _), outcome in zip(named, outcomes, strict=True)}
        rows = [
            RowOutcome(index=i, outcome=row_outcome(taken.get(i), i, None if seen[i] else row.account))
            for i, row in enumerate(input.rows)
        ]
        return SubmitReadingsResult(
            rows=rows,
            accepted=sum(isinstance(row.outcome, ReadingAccepted) for row in rows),
            held=sum(isinstance(row.outcome, ReadingHeld) for row in rows),
            refused=sum(not isinstance(row.outcome, ReadingAccepted | ReadingHeld) for row in rows),
        )

    @strawberry.mutation(description="Confirm a held reading, explicitly and with the same values (consumer).")
    async def confirm_reading(self, info: Info, input: inputs.ConfirmReadingInput) -> CommandResult:
        """Confirm a held reading as its consumer."""
        held = await _held(info, input.receipt)
        if isinstance(held, CommandRefused):
            return held
        account, entry = held
        values = texts(input.values) if input.values is not None else None
        claim = claim_of(info.context.caller)
        command = commands.ConfirmReading(entry, info.context.app.intake.clock(), Role.CONSUMER, values, claim=claim)
        behalf = await behalf_of(info, input.behalf)
        role = Role.CONSUMER if behalf is None else Role.OPERATOR
        return await _carry_out(info, role, account, input.idempotency_key, command, content_of(input), behalf)

    @strawberry.mutation(description="Let a held reading count (operator).")
    async def decide_reading(self, info: Info, input: inputs.DecideReadingInput) -> CommandResult:
        """Confirm a held reading as an operator."""
        held = await _held(info, input.receipt)
        if isinstance(held, CommandRefused):
            return held
        account, entry = held
        at = info.context.app.intake.clock()
        command = commands.ConfirmReading(entry, at, Role.OPERATOR, None, input.meaning, note_of(input.note, "note"))
        return await _carry_out(info, Role.OPERATOR, account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Reject a held reading (operator).")
    async def reject_reading(self, info: Info, input: inputs.RejectReadingInput) -> CommandResult:
        """Reject a held reading as an operator."""
        held = await _held(info, input.receipt)
        if isinstance(held, CommandRefused):
            return held
        account, entry = held
        command = commands.RejectReading(entry, info.context.app.intake.clock(), note_of(input.note, "note"))
        return await _carry_out(info, Role.OPERATOR, account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Open an account (operator).")
    async def open_account(self, info: Info, input: inputs.OpenAccountInput) -> CommandResult:
        """Open an account."""
        command = commands.OpenAccount(
            input.opened_at, input.locality, input.stove, input.rooms, input.permanent, input.owners
        )
        return await _carry_out_for(info, command, input)

    @strawberry.mutation(description="Close an account (operator).")
    async def close_account(self, info: Info, input: inputs.CloseAccountInput) -> CommandResult:
        """Close an account."""
        command = commands.CloseAccount(input.closed_at, note_of(input.ground, "ground"))
        return await _carry_out_for(info, command, input)

    @strawberry.mutation(description="Change the residents and owners from a day on (operator).")
    async def change_residents(self, info: Info, input: inputs.ChangeResidentsInput) -> CommandResult:
        """Change residents."""
        at = info.context.app.intake.clock()
        command = commands.ChangeResidents(input.effective_on, input.permanent, at, input.owners)
        return await _carry_out_for(info, command, input)

    @strawberry.mutation(description="Register temporary residents (operator).")
    async def register_temporary_residents(
        self, info: Info, input: inputs.RegisterTemporaryResidentsInput
    ) -> CommandResult:
        """Register temporary residents."""
        at = info.context.app.intake.clock()
        command = commands.RegisterTemporaryResidents(input.persons, input.since, input.until, at)
        return await _carry_out_for(info, command, input)

    @strawberry.mutation(description="Register an absence (operator).")
    async def register_absence(self, info: Info, input: inputs.RegisterAbsenceInput) -> CommandResult:
        """Register an absence."""
        at = info.context.app.intake.clock()
        command = commands.RegisterAbsence(input.persons, input.left_on, input.returned_on, at)
        return await _carry_out_for(info, command, input)

    @strawberry.mutation(description="Put a meter into service (inspector).")
    async def install_meter(self, info: Info, input: inputs.InstallMeterInput) -> CommandResult:
        """Install a meter."""
        command = commands.InstallMeter(model_of(input.meter), input.installed_at, values_of(input.values), input.act)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Take a meter out of service (inspector).")
    async def remove_meter(self, info: Info, input: inputs.RemoveMeterInput) -> CommandResult:
        """Remove a meter."""
        values = values_of(input.values) if input.values is not None else None
        command = commands.RemoveMeter(input.removed_at, values, input.act, input.meaning)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Replace a meter, or its registers, in one act (inspector).")
    async def replace_meter(self, info: Info, input: inputs.ReplaceMeterInput) -> CommandResult:
        """Replace a meter."""
        final = values_of(input.final_values) if input.final_values is not None else None
        command = commands.ReplaceMeter(
            model_of(input.meter),
            input.replaced_at,
            final,
            values_of(input.initial_values),
            input.act,
            input.meaning,
        )
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Report that a meter does not count any more (inspector).")
    async def report_meter_failure(self, info: Info, input: inputs.ReportMeterFailureInput) -> CommandResult:
        """Report a failed meter."""
        command = commands.ReportMeterFailure(input.failed_at, input.cause, input.act)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Put a failed meter back into service (inspector).")
    async def restore_meter(self, info: Info, input: inputs.RestoreMeterInput) -> CommandResult:
        """Restore a meter."""
        command = commands.RestoreMeter(input.restored_at, values_of(input.values), input.act)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Take a control reading (inspector).")
    async def take_control_reading(self, info: Info, input: inputs.TakeControlReadingInput) -> CommandResult:
        """Take a control reading."""
        proven = {p.period: values_of(p.values) for p in input.proven} if input.proven is not None else None
        command = commands.TakeControlReading(
            input.taken_at, values_of(input.values), input.act, tuple(input.rollover or ()), proven
        )
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Record a refusal of access (inspector).")
    async def record_access_refusal(self, info: Info, input: inputs.RecordAccessRefusalInput) -> CommandResult:
        """Record a refusal of access."""
        command = commands.RecordAccessRefusal(input.refused_at, input.act)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Record interference with a meter (inspector).")
    async def record_interference(self, info: Info, input: inputs.RecordInterferenceInput) -> CommandResult:
        """Record interference."""
        command = commands.RecordInterference(input.found_at, tuple(input.periods), input.act)
        return await _carry_out(info, Role.INSPECTOR, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Close the next period of an account (operator); all accounts: `bels close`.")
    async def close_period(self, info: Info, input: inputs.ClosePeriodInput) -> CommandResult:
        """Close a period."""
        command = commands.ClosePeriod(input.period, info.context.app.intake.clock())
        return await _carry_out(info, Role.SYSTEM, input.account, input.idempotency_key, command, input)

    @strawberry.mutation(description="Let a phone, a chat or an e-mail speak for the account (operator).")
    async def link_channel(self, info: Info, input: inputs.LinkChannelInput) -> CommandResult:
        """Link a sender."""
        app = info.context.app
        command = commands.LinkChannel(
            input.channel, sender_digest(input.address, app.door.sender_key), app.intake.clock()
        )
        behalf = await behalf_of(info, input.behalf)
        given = (input.account, command.channel, command.sender, *(() if behalf is None else (behalf,)))
        return await _carry_out(info, Role.OPERATOR, input.account, input.idempotency_key, command, given, behalf)

    @strawberry.mutation(description="Let a phone, a chat or an e-mail speak for the account no more (operator).")
    async def unlink_channel(self, info: Info, input: inputs.UnlinkChannelInput) -> CommandResult:
        """Unlink a sender."""
        app = info.context.app
        sender = sender_digest(input.address, app.door.sender_key)
        command = commands.UnlinkChannel(input.channel, sender, app.intake.clock(), note_of(input.ground, "ground"))
        behalf = await behalf_of(info, input.behalf)
        given = (input.account, command.channel, command.sender, input.ground, *(() if behalf is None else (behalf,)))
        return await _carry_out(info, Role.OPERATOR, input.account, input.idempotency_key, command, given, behalf)
