"""Load the demonstration town: every message at its own moment, through the same intake as all others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, timedelta

import msgspec

from bels.access.callers import sender_digest
from bels.app import Bels
from bels.demo.household import FIRST_NUMBER, HELD, Step, Town
from bels.demo.situations import SITUATIONS
from bels.demo.town import days, phone_of, plan
from bels.domain.commands import ConfirmReading, LinkChannel, RejectReading, SubmitReading
from bels.domain.terms import Channel, EntryNumber
from bels.intake import Intake, Message, Outcome, Status
from bels.journal.journal import find_messages
from bels.progress import progress
from bels.projections import overview

ACCOUNTS, MONTHS, SEED = 300, 14, 7

FIRST = f"demo:{FIRST_NUMBER}:0"
"""The name of the town's first message: its text says which town it is."""

LAST = "demo:loaded"
"""The name of the town's last message: where it stands, the town is whole."""


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
        return Loaded(True, f"The demonstration town is here already: the database has {count:,} accounts.")
    if FIRST in before:
        town = msgspec.json.decode(before[FIRST].raw, type=Town)
    elif count:
        return Loaded(False, f"The database has {count:,} accounts that are not the demonstration town's.")
    return await _load(bels, town)


async def _load(bels: Bels, town: Town) -> Loaded:
    moment = town.until

    # The clock of history: what is handled together was known at the moment of its last message.
    intake = Intake(bels.pool, bels.intake.rulebook, lambda: moment)
    steps = plan(town, lambda address: sender_digest(address, bels.sender_key))
    told: dict[str, Outcome] = {}
    held = refused = 0
    with progress("demo", len(steps), "messages") as bar:
        for group in days(steps):
            moment = min(group[-1].at.astimezone(UTC) + timedelta(seconds=2), town.until)
            messages = [_message(step, town, told, bels.sender_key) for step in group]
            for step, outcome in zip(group, await intake.handle(messages), strict=True):
                if outcome.status is Status.HELD:
                    told[step.name] = outcome
                    held += 1
                refused += outcome.status is Status.REFUSED
            bar.update(len(group))
    # A second address of the first account, and the sign that the town is whole.
    address = sender_digest(f"demo-{FIRST_NUMBER}", bels.sender_key)
    linking = LinkChannel(Channel.CABINET, address, town.until)
    last = Step(town.until, LAST, str(FIRST_NUMBER), Channel.OFFICE, linking)
    await intake.handle([_message(last, town, told, bels.sender_key)])
    return Loaded(
        True,
        f"The demonstration town is loaded: {town.accounts:,} accounts, {town.months} months, {len(steps):,} messages;"
        " accounts to try: bels demo --list",
        held,
        refused,
    )


def _message(step: Step, town: Town, told: dict[str, Outcome], key: bytes) -> Message:
    command = step.command
    if isinstance(command, ConfirmReading | RejectReading) and command.reading == HELD:
        outcome = told.get(step.answers or "")
        command = replace(command, reading=EntryNumber(outcome.version or 0) if outcome is not None else HELD)
    raw = msgspec.json.encode(town if step.name == FIRST else command).decode()
    actor = f"demo:{step.channel.value}"
    if step.channel is Channel.SMS:
        actor = f"sms:{sender_digest(phone_of(int(step.account) - FIRST_NUMBER), key)}"
        if isinstance(command, SubmitReading):
            raw = "#".join((step.account, *command.values.values()))
    return Message(step.channel, step.name, actor, step.account, command, raw)


def listing() -> str:
    """List the accounts to try, in Russian."""
    lines = ["Счета демонстрационного города:", ""]
    lines += [f"  {FIRST_NUMBER + i}  {situation.text}" for i, situation in enumerate(SITUATIONS)]
    lines += ["", f"Остальные (с {FIRST_NUMBER + len(SITUATIONS)}) живут как придётся."]
    return "\n".join(lines)
