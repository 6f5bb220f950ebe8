"""Messages as their receipts tell them, and those that wait for an operator."""

from __future__ import annotations

from datetime import datetime

import strawberry

from bels.api.context import Info
from bels.api.objects import Reading
from bels.domain import terms
from bels.domain.terms import Period
from bels.projections import receipts
from bels.projections.receipts import ReceiptRow
from bels.projections.receipts import ReceiptState as State


@strawberry.type(description="A message by its receipt: what became of it, for ever.")
class Receipt:
    """A message by its receipt."""

    number: str = strawberry.field(description="Eight characters, without 0 and O, 1 and I.")
    state: State = strawberry.field(description="Where the message stands now.")
    text: str = strawberry.field(description="The same in Russian.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    recorded_at: datetime = strawberry.field(description="When bels got it.")
    account_number: str = strawberry.field(description="The account it named.")
    counted_in: Period | None = strawberry.field(description="The period whose closing billed it.")
    reading: Reading | None = strawberry.field(description="The reading it brought.")

    @classmethod
    def of(cls, row: ReceiptRow) -> Receipt:
        """Show a row."""
        reading = Reading.of(row.reading) if row.reading is not None else None
        counted_in = reading.counted_in if reading is not None and row.state is State.COUNTED else None
        return cls(
            number=row.receipt,
            state=row.state,
            text=RECEIPT_TEXTS[row.state].format(period=counted_in or ""),
            channel=terms.Channel(row.channel),
            recorded_at=row.recorded_at,
            account_number=row.account,
            counted_in=counted_in,
            reading=reading,
        )


async def find_receipt(info: Info, number: str) -> ReceiptRow | None:
    """Find what became of a message, where the caller sees its account and, as a bank or gateway, brought it itself."""
    async with info.context.app.pool.acquire() as db:
        row = await receipts.find(db, number.strip().upper())
    if row is None or not info.context.owns(row.actor):
        return None
    sight = info.context.see(row.account)
    return row if sight is not None and (row.first_version or 0) >= sight.entry + (sight.entry > 0) else None


RECEIPT_TEXTS = {
    State.ACCEPTED: "Принято, будет учтено при закрытии периода.",
    State.HELD: "На проверке: пока не учитывается.",
    State.REFUSED: "Не принято.",
    State.SUPERSEDED: "Заменено более поздним показанием.",
    State.DISPROVED: "Опровергнуто контрольным показанием.",
    State.DISREGARDED: "Больше не учитывается.",
    State.REJECTED: "Отклонено оператором.",
    State.COUNTED: "Учтено в счёте за {period}.",
    State.DONE: "Исполнено.",
    State.PARKED: "Отложено для оператора: обработать автоматически не удалось.",
}


@strawberry.type(description="A message that could not be handled and waits for an operator; nothing is lost.")
class ParkedMessage:
    """A message that waits for an operator."""

    receipt: str = strawberry.field(description="Its receipt.")
    channel: terms.Channel = strawberry.field(description="How it came.")
    message_id: str = strawberry.field(description="Its id on that channel.")
    account_number: str = strawberry.field(description="The account it named.")
    recorded_at: datetime = strawberry.field(description="When bels got it.")
    raw: str = strawberry.field(
        description="Its content as it came; what is more than a reading stays sealed but for operators of personal data."
    )
