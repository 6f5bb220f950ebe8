"""Load the demonstration town: every message at its own moment, through the same intake as all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta

import msgspec

from bels.access.callers import sender_digest
from bels.access.door import sender_key
from bels.app import Bels
from bels.audit.seals.reading import latest_seal
from bels.audit.seals.sealing import seal_journal
from bels.demo.household import FIRST_NUMBER, Step, Town
from bels.demo.payments import NOBODY, Habit, amount_of
from bels.demo.people import known_password, settle, who_logs_in
from bels.demo.situations import SITUATIONS
from bels.demo.town import days, phone_of, plan
from bels.domain.account import Account
from bels.domain.commands import (
    Command,
    ConfirmReading,
    LinkChannel,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    ReceivePayment,
    RejectReading,
    ReversePayment,
    SubmitReading,
)
from bels.domain.money import to_kopecks
from bels.domain.money_events import PaymentMovedOut
from bels.domain.terms import Channel, EntryNumber
from bels.intake import Intake
from bels.journal.journal import find_messages
from bels.messages import Message, Outcome, Status
from bels.progress import progress
from bels.projections import overview
from bels.publishing import publish_demonstration

ACCOUNTS, MONTHS, SEED = 300, 14, 7

FIRST = f"demo:{FIRST_NUMBER}:0"
"""The name of the town's first message: its text says which town it is."""

LAST = "demo:loaded"
"""The name of the town's last message: where it stands, the town is whole."""

STEPS_OF_PAGE = 1000

_MONEY = (ReceivePayment, ReversePayment, MakeRefund, MovePaymentOut, MovePaymentIn)

_ADDRESSED = frozenset({Channel.SMS, Channel.VOICE, Channel.EMAIL, Channel.TELEGRAM, Channel.MAX})
"""Channels in which a household speaks from an address of its own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load led to. ``ours`` is False where the database holds accounts that are not the town's."""

    ours: bool
    said: str
    held: int = 0
    refused: int = 0


async def load(bels: Bels, accounts: int, months: int, seed: int) -> Loaded:
    """Load the town into an empty database, or go on with one whose load was stopped; a whole one stays as it is.

    :raises TryLater: the database cannot be reached; do it again.
    """
    town = Town(accounts, months, seed, bels.intake.clock().astimezone(UTC).replace(microsecond=0))
    async with bels.pool.acquire() as db:
        names = [(Channel.OFFICE.value, FIRST), (Channel.OFFICE.value, LAST)]
        before = {r.message_id: r for r in await find_messages(db, names)}
        count = await overview.count(db)
    if LAST in before:
        said = f"The demonstration town is here already: the database has {count:,} accounts."
        password = await known_password(bels)
        await _seal_first(bels)
        return Loaded(True, f"{said}\n{who_logs_in(password)}" if password is not None else said)
    goes_on = FIRST in before
    if goes_on:
        town = msgspec.json.decode(before[FIRST].raw, type=Town)
    elif count:
        return Loaded(False, f"The database has {count:,} accounts that are not the demonstration town's.")
    await publish_demonstration(bels.pool, bels.intake)
    return await _load(bels, town, goes_on)


async def _load(bels: Bels, town: Town, goes_on: bool) -> Loaded:
    moment = town.until

    # The clock of history: what is handled together was known at the moment of its last message.
    intake = Intake(bels.pool, bels.intake.rulebook, lambda: moment)
    key = await sender_key(bels.pool, bels.vault)
    steps = plan(town, lambda address: sender_digest(address, key))
    answered = {step.answers for step in steps}
    before = await _before(bels, steps) if goes_on else {}
    told: dict[str, Outcome] = {}
    held = refused = 0
    with progress("demo", len(steps), "messages") as bar:
        for group in days(steps):
            moment = min(group[-1].at.astimezone(UTC) + timedelta(seconds=2), town.until)
            payers = sorted({step.payer for step in group if step.sum is not None})
            accounts = await intake.accounts(payers) if payers else {}
            sent: list[Step] = []
            messages: list[Message] = []
            for step in group:
                command = _command(step, told, accounts)
                if step.name in before and before[step.name] is None:
                    continue
                if command is not None or step.name in before:
                    sent.append(step)
                    raw = before.get(step.name)
                    messages.append(_message(step, command or step.command, raw, town, key))
            for step, outcome in zip(sent, await intake.handle(messages), strict=True):
                if step.name in answered:
                    told[step.name] = outcome
                held += outcome.status is Status.HELD
                refused += outcome.status is Status.REFUSED
            bar.update(len(group))
    password = await settle(bels, town)
    # A second address of the first account, and the sign that the town is whole.
    address = sender_digest(f"demo-{FIRST_NUMBER}", key)
    linking = LinkChannel(Channel.CABINET, address, town.until)
    last = Step(town.until, LAST, str(FIRST_NUMBER), Channel.OFFICE, linking)
    await intake.handle([_message(last, linking, None, town, key)])
    await _seal_first(bels)
    return Loaded(
        True,
        f"The demonstration town is loaded: {town.accounts:,} accounts, {town.months} months, {len(steps):,} messages;"
        f" accounts to try: bels demo --list\n{who_logs_in(password)}",
        held,
        refused,
    )


async def _seal_first(bels: Bels) -> None:
    """Seal the town's history where nothing is sealed yet: `make run` has nobody who seals at night, and an auditor asks for a seal first."""
    async with bels.pool.acquire() as db:
        if await latest_seal(db) is not None:
            return
    await seal_journal(bels.pool, bels.vault, bels.intake.clock())


async def _before(bels: Bels, steps: Sequence[Step]) -> dict[str, str | None]:
    """Give what the load that was stopped has sent of the steps that move money: the text, or None where nothing was to pay.

    What an account owed then is not what it owes now: such a step is not thought of anew.
    """
    texts: dict[str, str] = {}
    async with bels.pool.acquire() as db:
        for i in range(0, len(steps), STEPS_OF_PAGE):
            names = [(step.channel.value, step.name) for step in steps[i : i + STEPS_OF_PAGE]]
            texts |= {r.message_id: r.raw for r in await find_messages(db, names)}
    last = max((i for i, step in enumerate(steps) if step.name in texts), default=-1)
    return {step.name: texts.get(step.name) for step in steps[: last + 1] if isinstance(step.command, _MONEY)}


def _command(step: Step, told: Mapping[str, Outcome], accounts: Mapping[str, Account]) -> Command | None:
    """Give the command of a step now that what it is about is known; None where there is nothing to do."""
    command = step.command
    outcome = told.get(step.answers or "")
    if isinstance(command, ReceivePayment | MakeRefund) and step.sum is not None:
        amount = amount_of(step.sum, accounts[step.payer].ledger)
        return replace(command, amount=to_kopecks(amount)) if amount > 0 else None
    if step.answers is None or isinstance(command, ReceivePayment):
        return command
    if outcome is None or outcome.version is None:
        return command if isinstance(command, ConfirmReading | RejectReading) else None
    entry = EntryNumber(outcome.version)
    if isinstance(command, ConfirmReading | RejectReading):
        return replace(command, reading=entry)
    if isinstance(command, ReversePayment | MovePaymentOut):
        return replace(command, payment=entry)
    out = outcome.events[0]
    if isinstance(command, MovePaymentIn) and isinstance(out, PaymentMovedOut):
        return replace(command, amount=out.amount, reference=out.reference, payment=out.payment)
    return None


def _message(step: Step, command: Command, raw: str | None, town: Town, key: bytes) -> Message:
    if raw is None:
        raw = msgspec.json.encode(town if step.name == FIRST else command).decode()
    actor = f"demo:{step.channel.value}"
    if step.channel in _ADDRESSED:
        actor = f"{step.channel.value}:{sender_digest(phone_of(int(step.account) - FIRST_NUMBER), key)}"
        if step.channel is Channel.SMS and isinstance(command, SubmitReading):
            raw = "#".join((step.account, *command.values.values()))
    return Message(step.channel, step.name, actor, step.account, command, raw)


def listing() -> str:
    """List the accounts to try, in Russian."""
    lines = ["Счета демонстрационного города:", ""]
    lines += [f"  {FIRST_NUMBER + i}  {situation.text}" for i, situation in enumerate(SITUATIONS)]
    lines += ["", f"Остальные (с {FIRST_NUMBER + len(SITUATIONS)}) живут и платят как придётся."]
    gone = FIRST_NUMBER + next(i for i, s in enumerate(SITUATIONS) if s.habit is Habit.STANDING_ORDER)
    lines.append(f"Невыясненные платежи: на счёт {NOBODY}, которого нет, и на закрытый {gone}.")
    return "\n".join(lines)
