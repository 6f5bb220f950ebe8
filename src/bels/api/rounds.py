"""An inspector's round: what to take along, and what comes back from places without a network."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import strawberry

from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.enums import describe
from bels.api.inputs import ACCOUNT, ACT, RegisterValueInput, values_of
from bels.api.messages import or_later
from bels.api.objects import After, First, RegisterKwh, kwh
from bels.domain import terms
from bels.domain.terms import Period, Role
from bels.reception import rounds
from bels.reception.rounds import (
    ACT_LENGTH_MAX,
    DEVICE_LENGTH_MAX,
    ITEMS_MAX,
    KEY_LENGTH_MAX,
    Control,
    ItemState,
    RoundItem,
)

NAMED_MAX = 500
"""Accounts that a list of a round may name."""
PREFIX_LENGTH_MAX = 7
VALUES_MAX = 10

strawberry.enum(ItemState, name="RoundItemState", description="What became of an item of a round.")
describe(
    {
        ItemState.TAKEN: "It is in the journal (записано).",
        ItemState.REFUSED: "It was refused; the same key always hears so (не принято).",
        ItemState.PARKED: "It is kept for an operator: it could not be handled.",
        ItemState.TRY_AGAIN: "Nothing was stored: put right what is said and send it again under the same key.",
    }
)


@strawberry.type(description="A register of the meter as its display shows it.")
class RoundRegister:
    """A register of the meter as its display shows it."""

    place: str = strawberry.field(description="T1, T2 or T3; empty where the display is not known.")
    register: terms.Register = strawberry.field(description="The register.")
    last: int | None = strawberry.field(description="What it showed last.")


@strawberry.type(description="What an inspector takes along for an account: nobody's name and no address.")
class RoundStop:
    """What an inspector takes along for an account."""

    account_number: str = strawberry.field(description="The account.")
    version: int = strawberry.field(description="Its last entry: what is told is as of there.")
    meter: str | None = strawberry.field(description="The number on the meter's face; null where there is none.")
    model: str | None = strawberry.field(description="Its model, where known.")
    capacity: int | None = strawberry.field(description="Integer digits of a register: 5, 6 or 7.")
    registers: list[RoundRegister] = strawberry.field(description="Its registers, in the order of its display.")
    last_at: datetime | None = strawberry.field(description="When they showed the last values.")
    last_kind: terms.ReadingKind | None = strawberry.field(description="What kind of reading that is.")
    access_refusals: int = strawberry.field(description="Refusals of access since the last check.")
    barred: bool = strawberry.field(description="Readings are not taken until a check, after two refusals of access.")
    inspection_due: date | None = strawberry.field(description="By when a check is due after six missed periods.")
    next_period: Period | None = strawberry.field(description="The period that is open.")

    @classmethod
    def of(cls, stop: rounds.Stop) -> RoundStop:
        """Show a stop."""
        model = stop.meter
        return cls(
            account_number=stop.account,
            version=stop.version,
            meter=model.number if model is not None else None,
            model=model.model if model is not None else None,
            capacity=model.capacity if model is not None else None,
            registers=[
                RoundRegister(place=place, register=register, last=stop.last.get(register))
                for place, register in stop.shown
            ],
            last_at=stop.last_at,
            last_kind=stop.last_kind,
            access_refusals=stop.refusals,
            barred=stop.barred,
            inspection_due=stop.inspection_due,
            next_period=stop.next_period or None,
        )


@strawberry.input(description="A control reading as it was taken on the spot.")
class RoundControlInput:
    """A control reading as it was taken on the spot."""

    meter: str = strawberry.field(description="The number on the meter's face, to be checked.")
    values: list[RegisterValueInput] = strawberry.field(description="What the registers showed.")
    rollover: list[terms.Register] | None = strawberry.field(
        default=None, description="Registers that passed zero since the reading before."
    )


@strawberry.input(description="A refusal of access on the spot.")
class RoundRefusalInput:
    """A refusal of access on the spot."""

    nobody_home: bool = strawberry.field(default=False, description="Nobody opened.")


@strawberry.input(description="What happened at one stop: either `control` or `refusal`.")
class RoundItemInput:
    """What happened at one stop."""

    key: strawberry.ID = strawberry.field(description="The device's own name of it, at most 100 characters, for ever.")
    account: str = strawberry.field(description=ACCOUNT)
    taken_at: datetime = strawberry.field(description="When it happened, by the device's clock.")
    act: str = strawberry.field(description=f"{ACT} At most 100 characters.")
    control: RoundControlInput | None = strawberry.field(default=None, description="A control reading.")
    refusal: RoundRefusalInput | None = strawberry.field(default=None, description="A refusal of access.")


@strawberry.input(
    description=(
        "What a device recorded offline, up to 200 items, in any order and in parts. Example: "
        '`{device: "tablet-3", items: [{key: "17", account: "1000101", takenAt: "2024-05-20T12:00:00+03:00", '
        'act: "акт 17", control: {meter: "M1", values: [{register: TOTAL, value: 10385}]}}]}`.'
    )
)
class SynchroniseRoundInput:
    """What a device recorded offline."""

    device: str = strawberry.field(
        description="The device's name, at most 60 characters: with an item's key it names it."
    )
    items: list[RoundItemInput] = strawberry.field(description="1 to 200 items.")


@strawberry.type(description="What became of an item, and what its inspector has to do.")
class RoundItemOutcome:
    """What became of an item."""

    key: str = strawberry.field(description="The device's own name of it.")
    account_number: str = strawberry.field(description="The account.")
    state: ItemState = strawberry.field(description="What became of it.")
    refusal: terms.Reason | None = strawberry.field(description="Why it was not taken.")
    text: str = strawberry.field(description="The same in Russian.")
    advice: str | None = strawberry.field(description="What to do, or to know, in Russian.")
    period: Period | None = strawberry.field(description="The period it belongs to.")
    difference: list[RegisterKwh] = strawberry.field(description="Signed kWh to the reading before.")
    access_refusals: int | None = strawberry.field(description="Which refusal of access in a row it is.")
    late: bool = strawberry.field(description="Its period had been billed: the next bill puts it right.")
    later_known: bool = strawberry.field(description="A later control reading was there before it.")
    receipt: str | None = strawberry.field(description="Its receipt; null where nothing was stored.")
    replayed: bool = strawberry.field(description="It had come before: this is its first outcome.")


@strawberry.type(description="What became of the items, in the order of the input.")
class RoundSynchronised:
    """What became of the items."""

    items: list[RoundItemOutcome] = strawberry.field(description="One for each item.")
    taken: int = strawberry.field(description="How many are in the journal, those that had come before included.")
    refused: int = strawberry.field(description="How many are not.")


@strawberry.type
class RoundQuery:
    """What an inspector takes along; no type of the schema."""

    @strawberry.field(
        description="What to take along for open accounts, in order of number: named ones, or those of a prefix or locality."
    )
    async def round(
        self,
        info: Info,
        accounts: Annotated[
            list[str] | None, strawberry.argument(description="Only these, at most 500; the others are left out.")
        ] = None,
        prefix: Annotated[str | None, strawberry.argument(description="The first digits of their numbers.")] = None,
        locality: Annotated[terms.Locality | None, strawberry.argument(description="Only towns or villages.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[RoundStop]:
        """List what to take along."""
        page = read_page(first=first, after=after, kinds=(str,))
        if accounts is not None and len(accounts) > NAMED_MAX:
            raise BadUserInputError(f"`accounts` may have {NAMED_MAX}; this one has {len(accounts)}.")
        if prefix and not (prefix.isascii() and prefix.isdigit() and len(prefix) <= PREFIX_LENGTH_MAX):
            raise BadUserInputError(f"`prefix` must be 1 to {PREFIX_LENGTH_MAX} digits.")
        app = info.context.app
        last = str(page.after[0]) if page.after is not None else None
        kind = locality.value if locality is not None else None
        with or_later():
            async with app.pool.acquire() as db:
                found = await rounds.accounts_of_round(db, accounts, prefix or "", kind, last, page.limit)
            numbers = [number for number in found if info.context.see(number) is not None]
            stops = await rounds.stops_of(app.pool, app.intake, numbers)
        return connect(stops, page, node=RoundStop.of, key=lambda stop: (stop.account,))


@strawberry.type
class RoundMutation:
    """What an inspector brings back; no type of the schema."""

    @strawberry.mutation(
        description="Bring in what was recorded without a network, up to 200 items, each with its own outcome (inspector)."
    )
    async def synchronise_round(self, info: Info, input: SynchroniseRoundInput) -> RoundSynchronised:
        """Synchronise a round."""
        if not 1 <= len(input.items) <= ITEMS_MAX:
            raise BadUserInputError(f"`items` must have 1 to {ITEMS_MAX}; this one has {len(input.items)}.")
        device = _named(input.device, "device", DEVICE_LENGTH_MAX)
        items = [_item(item, i) for i, item in enumerate(input.items)]
        app, caller = info.context.app, info.context.caller_for(Role.INSPECTOR)
        for item in items:
            info.context.see(item.account)
        with or_later():
            outcomes = await rounds.synchronise(
                app.pool,
                app.intake,
                caller.actor,
                device,
                items,
                guarded=app.door.raw_texts.guarded,
                request_id=info.context.request_id,
            )
        shown = [_shown(outcome) for outcome in outcomes]
        taken = sum(each.state is ItemState.TAKEN for each in shown)
        return RoundSynchronised(items=shown, taken=taken, refused=len(shown) - taken)


def _item(given: RoundItemInput, i: int) -> RoundItem:
    if (given.control is None) == (given.refusal is None):
        raise BadUserInputError(f"`items[{i}]` must have either `control` or `refusal`.")
    control = None
    if given.control is not None:
        if len(given.control.values) > VALUES_MAX:
            raise BadUserInputError(f"`items[{i}].control.values` may have {VALUES_MAX} values.")
        control = Control(
            given.control.meter.strip(), values_of(given.control.values), tuple(given.control.rollover or ())
        )
    return RoundItem(
        _named(given.key, f"items[{i}].key", KEY_LENGTH_MAX),
        given.account.strip(),
        given.taken_at,
        _named(given.act, f"items[{i}].act", ACT_LENGTH_MAX),
        control,
        given.refusal.nobody_home if given.refusal is not None else False,
    )


def _named(text: str, field: str, most: int) -> str:
    if not 1 <= len(text.strip()) <= most:
        raise BadUserInputError(f"`{field}` must have 1 to {most} characters.")
    return text.strip()


def _shown(outcome: rounds.ItemOutcome) -> RoundItemOutcome:
    return RoundItemOutcome(
        key=outcome.key,
        account_number=outcome.account,
        state=outcome.state,
        refusal=outcome.reason,
        text=outcome.text,
        advice=outcome.advice,
        period=outcome.period,
        difference=kwh(outcome.difference or {}),
        access_refusals=outcome.refusals,
        late=outcome.late,
        later_known=outcome.later_known,
        receipt=outcome.receipt,
        replayed=outcome.replayed,
    )
