"""What a partner did in a run, as the journal and the log of its requests have it: never by its own word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from bels.access.raw_texts import RawTexts
from bels.domain.events import CommandRefused, Event
from bels.domain.money_events import PaymentReceived
from bels.domain.terms import Reason
from bels.journal.journal import find_messages
from bels.journal.write import Db
from bels.messages import Outcome, outcomes_of
from bels.payments.partners import Partner
from bels.payments.sandbox import Evidence
from bels.sandbox.requests import RequestRow, requests_of

MESSAGES_MAX = 20_000
OTHERS_MAX = 1_000

PAYS = ("payWithReading", "receivePayment", "osmp:pay", "eps:payment")
"""Operations that pay, by whichever protocol."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A message of the partner and what became of it; ``id`` is its own name for it, ``part`` what else stands in it."""

    id: str
    part: str
    outcome: Outcome

    @property
    def event(self) -> Event | None:
        """What answered it, None where it waits for an operator."""
        return self.outcome.events[0] if self.outcome.events else None

    @property
    def payment(self) -> PaymentReceived | None:
        """The payment that it brought."""
        return self.event if isinstance(self.event, PaymentReceived) else None

    @property
    def refusal(self) -> Reason | None:
        """Why it was refused, where it was no reading."""
        return self.event.reason if isinstance(self.event, CommandRefused) else None

    @property
    def evidence(self) -> Evidence:
        """Name it."""
        return Evidence(self.outcome.recorded_at, self.outcome.receipt, self.id)


@dataclass(frozen=True, slots=True)
class Told:
    """Something that another room keeps of the partner: its state, when it was, and its name there."""

    what: str
    at: datetime
    name: str = ""

    @property
    def evidence(self) -> Evidence:
        """Name it."""
        return Evidence(self.at, None, self.name or None)


@dataclass(frozen=True)
class Facts:
    """The run of a partner: its messages and its requests in the order of time, and what other rooms keep of it."""

    partner: Partner
    deeds: tuple[Deed, ...] = ()
    requests: tuple[RequestRow, ...] = ()
    refunds: tuple[Told, ...] = ()
    registers: tuple[Told, ...] = ()
    webhooks: tuple[Told, ...] = ()

    @cached_property
    def payments(self) -> list[Deed]:
        """The payments that were booked, or kept unallocated."""
        return [deed for deed in self.deeds if deed.payment is not None]

    @cached_property
    def pays(self) -> dict[str, list[RequestRow]]:
        """The requests that meant to pay, by the id of the payment, in the order in which they ended."""
        found: dict[str, list[RequestRow]] = {}
        for request in self.requests:
            if request.payment_id is not None and request.names(*PAYS):
                found.setdefault(request.payment_id, []).append(request)
        return found

    @cached_property
    def _booked(self) -> dict[str, list[Deed]]:
        found: dict[str, list[Deed]] = {}
        for deed in self.payments:
            found.setdefault(deed.id, []).append(deed)
        return found

    def with_reading(self) -> Iterator[tuple[Deed, Deed]]:
        """Give each payment with the reading that came with it."""
        readings = {deed.id: deed for deed in self.deeds if deed.part == "reading"}
        return ((deed, readings[deed.id]) for deed in self.payments if deed.id in readings)

    def booked(self, payment_id: str | None) -> Deed | None:
        """Find the one payment that is booked under an id; None where there is none, or more than one."""
        found = self._booked.get(payment_id or "", [])
        return found[0] if len(found) == 1 else None


async def facts_of(db: Db, raw_texts: RawTexts, partner: Partner, run: int, since: datetime) -> Facts:
    """Gather what a partner did since its run began."""
    names = await db.fetch(
        """
        SELECT channel, message_id FROM message WHERE actor = $1 AND recorded_at >= $2
        ORDER BY recorded_at, receipt LIMIT $3
        """,
        partner.actor,
        since,
        MESSAGES_MAX,
    )
    recorded = await find_messages(db, [(row["channel"], row["message_id"]) for row in names])
    outcomes = await outcomes_of(db, recorded)
    deeds = [
        _deed(raw_texts.opened(each.message_id), partner.client, outcome)
        for each, outcome in zip(recorded, outcomes, strict=True)
    ]
    requests = [
        replace(row, payment_id=raw_texts.opened(row.payment_id)) if row.payment_id is not None else row
        for row in await requests_of(db, partner.client, run)
    ]
    deeds.sort(key=lambda deed: (deed.outcome.recorded_at, deed.id, deed.part))
    return Facts(
        partner,
        tuple(deeds),
        tuple(requests),
        tuple(await _refunds(db, partner, since)),
        tuple(await _registers(db, partner, since)),
        tuple(await _webhooks(db, partner, since)),
    )


def _deed(message_id: str, client: str, outcome: Outcome) -> Deed:
    # A partner's own ids have no blank: what stands behind one is a part of the payment's message.
    name, _, part = message_id.removeprefix(f"{client}/").partition(" ")
    return Deed(name, part, outcome)


async def _refunds(db: Db, partner: Partner, since: datetime) -> list[Told]:
    rows = await db.fetch(
        """
        SELECT request, state, requested_at FROM refund_request WHERE payer = $1 AND requested_by = $1 AND requested_at >= $2
        ORDER BY requested_at LIMIT $3
        """,
        partner.actor,
        since,
        OTHERS_MAX,
    )
    return [Told(row["state"], row["requested_at"], row["request"]) for row in rows]


async def _registers(db: Db, partner: Partner, since: datetime) -> list[Told]:
    """List the registers, in the order in which they came: one whose every row met an online payment is MATCHED."""
    rows = await db.fetch(
        """
        SELECT f.file, f.received_at, CASE
            WHEN f.state = 'TAKEN' AND f.rows > 0 AND NOT EXISTS (
                SELECT FROM register_row r WHERE r.file = f.file AND r.outcome <> 'MATCHED') THEN 'MATCHED'
            ELSE f.state END AS state
        FROM register_file f WHERE f.partner = $1 AND f.received_at >= $2 ORDER BY f.file LIMIT $3
        """,
        partner.client,
        since,
        OTHERS_MAX,
    )
    return [Told(row["state"], row["received_at"], f"register {row['file']}") for row in rows]


async def _webhooks(db: Db, partner: Partner, since: datetime) -> list[Told]:
    """List the events that the partner acknowledged: TWICE where it did so again for the same event."""
    rows = await db.fetch(
        """
        SELECT d.event, max(a.at) AS at, CASE WHEN count(*) > 1 THEN 'TWICE' ELSE 'ONCE' END AS what
        FROM webhook w JOIN webhook_delivery d ON d.webhook = w.id JOIN webhook_attempt a ON a.delivery = d.number
        WHERE w.partner = $1 AND d.recorded_at >= $2 AND a.status BETWEEN 200 AND 299
        GROUP BY d.number, d.event ORDER BY d.number LIMIT $3
        """,
        partner.actor,
        since,
        OTHERS_MAX,
    )
    return [Told(row["what"], row["at"], row["event"]) for row in rows]
