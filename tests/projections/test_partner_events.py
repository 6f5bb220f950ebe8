"""What a partner is told of what it brought: which entries are news, and to whom."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import asyncpg

from bels.domain.commands import (
    Command,
    ConfirmReading,
    MakeRefund,
    MovePaymentIn,
    MovePaymentOut,
    ReceivePayment,
    RejectReading,
    ReversePayment,
    SubmitReading,
)
from bels.domain.terms import AccountNumber, Channel, EntryNumber, Purpose, Role
from bels.intake import Intake
from bels.journal.journal import read
from bels.messages import Message, Outcome
from bels.payments.webhooks.catalogue import checked, find_type
from bels.projections import partner_events
from bels.projections.project import changes_of, retell
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import message, moment, open_household, reading

ONE, OTHER = "1000001", "1000002"
BANK, APP = "partner:c-bank", "partner:c-app"
AT = moment(1, 21)


def brought(actor: str, account: str, command: Command, name: str) -> Message:
    """Put a command into a message of a partner."""
    return Message(Channel.BANK, f"{actor}/{name}", actor, account, command, repr(command))


def paid(actor: str, account: str, name: str, amount: str = "200.00") -> Message:
    """Pay by a partner."""
    return brought(actor, account, ReceivePayment(Decimal(amount), AT.date(), AT, name), name)


def sent(actor: str, value: int, name: str) -> Message:
    """Send a reading by a partner."""
    return brought(actor, ONE, SubmitReading(moment(1, 20), {"total": str(value)}, Role.AGENT), name)


async def told(pool: asyncpg.Pool, *, partner: str | None = None) -> list[tuple[str, str, Any]]:
    """Read what partners are told; every event has the shape of its type."""
    rows = await pool.fetch(
        "SELECT * FROM partner_event WHERE $1::text IS NULL OR partner = $1 ORDER BY account, entry", partner
    )
    for row in rows:
        assert checked(row["type"], json.loads(row["data"])) == json.loads(row["data"])
        assert row["id"] == partner_events.event_id(row["account"], row["entry"], row["type"])
    return [(row["type"], row["partner"], json.loads(row["data"])) for row in rows]


async def whole(pool: asyncpg.Pool) -> list[str]:
    """Read the rows of the view as they are."""
    return [row["row"] for row in await pool.fetch("SELECT e::text AS row FROM partner_event e ORDER BY id")]


async def opened(intake: Intake) -> None:
    """Open two households."""
    for account in (ONE, OTHER):
        await intake.handle(open_household(account))


async def test_a_partner_is_told_of_its_payment_and_of_what_became_of_it(pool: asyncpg.Pool, intake: Intake) -> None:
    await opened(intake)
    first, second = [await intake.submit(paid(BANK, ONE, name)) for name in ("p1", "p2")]
    assert first.version is not None
    assert second.version is not None
    await intake.submit(brought(BANK, ONE, ReversePayment(EntryNumber(first.version), AT, "ошибка", True), "p1 cancel"))
    await intake.submit(message(ONE, ReversePayment(EntryNumber(second.version), AT, "отказ Ивановой"), "reversal"))

    names = {"accountNumber": ONE, "paymentId": "p1", "receipt": first.receipt}
    rows = await told(pool)
    assert rows[0] == (
        "payment.received.v1",
        BANK,
        {**names, "amount": "200.00", "purpose": "ENERGY", "paidOn": "2024-01-21"},
    )
    assert rows[2] == ("payment.cancelled.v1", BANK, {**names, "amount": "200.00", "reversedOn": "2024-01-21"})
    assert rows[3][0] == "payment.reversed.v1"
    assert rows[3][2] == {**rows[2][2], "paymentId": "p2", "receipt": second.receipt}
    assert "Иванов" not in str(rows)


async def test_a_moved_payment_stays_its_partners_wherever_it_is(pool: asyncpg.Pool, intake: Intake) -> None:
    await opened(intake)
    came = await intake.submit(paid(BANK, "1999999", "stray"))
    stream = came.account
    await move(intake, stream, 1, ONE)
    there = (await intake.account(ONE)).version
    await move(intake, ONE, there, OTHER)
    last = EntryNumber((await intake.account(OTHER)).version)
    await intake.submit(message(OTHER, ReversePayment(last, AT, "отказ"), "reversal"))

    names = {"accountNumber": "1999999", "paymentId": "stray", "receipt": came.receipt, "amount": "200.00"}
    rows = await told(pool)
    assert sorted(kind for kind, _, _ in rows) == [
        "payment.moved.v1",
        "payment.moved.v1",
        "payment.received.v1",
        "payment.reversed.v1",
    ]
    assert {partner for _, partner, _ in rows} == {BANK}
    assert all({name: data[name] for name in names} == names for _, _, data in rows)
    # The account it was moved to is not the partner's to know.
    assert ONE not in str(rows)
    assert OTHER not in str(rows)
    subjects = await pool.fetch("SELECT DISTINCT subject FROM partner_event")
    assert [row["subject"] for row in subjects] == [stream]
    await rebuilt_alike(pool, [OTHER, ONE, stream])


async def move(intake: Intake, source: str, payment: int, to: str) -> None:
    """Move a payment as the office does: out there, in here."""
    entry = EntryNumber(payment)
    kept = (await intake.account(source)).ledger.payment(entry)
    assert kept is not None
    out = MovePaymentOut(entry, AccountNumber(to), AT, "ошибка")
    await intake.submit(message(source, out, f"out {source}"))
    into = MovePaymentIn(
        kept.amount, kept.paid_on, AT, Purpose.ENERGY, kept.reference, AccountNumber(source), entry, "ошибка"
    )
    await intake.submit(message(to, into, f"in {source}"))


async def test_money_for_nobody_that_is_returned_is_told(pool: asyncpg.Pool, intake: Intake) -> None:
    came = await intake.submit(paid(BANK, "1999999", "stray"))
    await intake.submit(message(came.account, MakeRefund(Decimal("200.00"), AT, "по заявлению"), "refund"))

    kind, partner, data = (await told(pool))[1]
    assert (kind, partner) == ("payment.returned.v1", BANK)
    assert data == {
        "accountNumber": "1999999",
        "paymentId": "stray",
        "receipt": came.receipt,
        "amount": "200.00",
        "returnedOn": "2024-01-21",
    }
    await rebuilt_alike(pool, [came.account])


async def test_a_reading_is_told_to_whoever_brought_it_and_to_nobody_else(pool: asyncpg.Pool, intake: Intake) -> None:
    await opened(intake)
    accepted = await intake.submit(sent(APP, 100, "r1"))
    own = await intake.submit(reading(ONE, "sms", 130))
    held = [await intake.submit(sent(BANK, value, f"h{value}")) for value in (90_000, 91_000)]
    assert held[0].version is not None
    assert held[1].version is not None
    await intake.submit(message(ONE, RejectReading(EntryNumber(held[0].version), AT, "звонили"), "reject"))
    await intake.submit(message(ONE, ConfirmReading(EntryNumber(held[1].version), AT, Role.OPERATOR), "confirm"))

    app, bank = await told(pool, partner=APP), await told(pool, partner=BANK)
    assert [kind for kind, _, _ in app] == ["reading.accepted.v1", "reading.superseded.v1"]
    assert app[0][2]["values"] == {"TOTAL": 100}
    assert app[1][2] == {"accountNumber": ONE, "receipt": accepted.receipt}
    assert [kind for kind, _, _ in bank] == [
        "reading.held.v1",
        "reading.held.v1",
        "reading.rejected.v1",
        "reading.confirmed.v1",
    ]
    assert bank[0][2]["reason"] == "IMPLAUSIBLE"
    assert bank[3][2] == {"accountNumber": ONE, "receipt": held[1].receipt, "period": "2024-01"}
    assert own.receipt not in str(app + bank)
    await rebuilt_alike(pool, [ONE])


async def test_what_comes_in_one_transaction_is_told_as_one_by_one(pool: asyncpg.Pool, intake: Intake) -> None:
    await opened(intake)
    outcomes: list[Outcome] = await intake.handle(
        [paid(BANK, ONE, "p1"), sent(BANK, 100, "r1"), sent(BANK, 120, "r2"), reading(ONE, "sms", 130)]
    )
    assert [o.version for o in outcomes] == [3, 4, 5, 7]
    assert [kind for kind, _, _ in await told(pool)] == [
        "payment.received.v1",
        "reading.accepted.v1",
        "reading.accepted.v1",
        "reading.superseded.v1",
        "reading.superseded.v1",
    ]
    await rebuilt_alike(pool, [ONE])


async def test_what_others_bring_costs_no_statement(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle([*open_household(ONE), reading(ONE, "r", 100)])
    async with pool.acquire() as db:
        changes = changes_of(await read(db, {ONE: 0}))

    assert not any(write.rows for write in partner_events.project(changes, DEFAULT_RULEBOOK))


async def rebuilt_alike(pool: asyncpg.Pool, accounts: list[str]) -> None:
    """Tell accounts again, one by one in this order, and find the same rows."""
    before = await whole(pool)
    async with pool.acquire() as db:
        await db.execute("TRUNCATE partner_event")
        for account in accounts:
            await retell(db, [account], DEFAULT_RULEBOOK)
    assert await whole(pool) == before


def test_every_type_of_the_view_is_in_the_catalogue() -> None:
    kinds = ("payment", "reading")
    assert all(
        find_type(f"{kinds[0]}.{what}.v1") for what in ("received", "cancelled", "reversed", "moved", "returned")
    )
    assert all(
        find_type(f"{kinds[1]}.{what}.v1") for what in ("accepted", "held", "confirmed", "rejected", "superseded")
    )
