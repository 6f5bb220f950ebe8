"""Whatever registers, payments, reversals and transfers there are, the sums of every day add up to the kopeck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bels.journal.write import Db
from bels.payments.reconciling.differences import of_day
from bels.payments.reconciling.three_ways import reconcile
from tests.payments.reconciling.books import DAY, Books, Row, keep

DAYS = [DAY + timedelta(days=offset) for offset in (-1, 0, 1)]
_amounts = st.sampled_from(["0.01", "1.49", "100.00", "100.01", "1245.05"])
_ids = st.sampled_from(["1", "2", "3", "4"])
_accounts = st.sampled_from(["1000001", "1000002"])

Payment = tuple[str, str, str, date, str]
payments = st.lists(
    st.tuples(_ids, _amounts, _accounts, st.sampled_from(DAYS), st.sampled_from(["RECEIVED", "REVERSED", "RETURNED"])),
    max_size=4,
    unique_by=lambda payment: payment[0],
)
rows = st.builds(
    Row,
    external_id=_ids | st.none(),
    amount=_amounts,
    account=_accounts,
    on=st.sampled_from(DAYS) | st.none(),
    outcome=st.sampled_from(["MATCHED", "CREDITED", "CORRECTED", "REVIEW", "DISMISSED", "REFUNDED"]),
    fee=st.sampled_from([None, "", "0.00", "1.00"]),
    receipt=_ids.map(lambda payment_id: f"R{payment_id}") | st.none(),
    parent=st.none() | _ids,
    payment_id=st.none() | _ids,
)
registers = st.lists(st.tuples(st.sampled_from(DAYS) | st.none(), st.lists(rows, max_size=4)), max_size=3)


@pytest.fixture
async def db(books: Books) -> Any:
    async with books.banks.bels.pool.acquire() as connection:
        yield connection


async def written(
    db: Db, books: Books, paid: Sequence[Payment], taken: Sequence[tuple[date | None, list[Row]]]
) -> None:
    """Write payments and registers as the views and the room of registers keep them."""
    client = books.partner.client
    for payment_id, amount, account, on, state in paid:
        await db.execute(
            "INSERT INTO payment (account, entry, reference, channel, actor, receipt, purpose, amount, paid_on, recorded_at, state)"
            " VALUES ($1, $2, $3, 'BANK', $4, $5, 'ENERGY', $6, $7, $8, $9)",
            account,
            1_000 + int(payment_id),
            payment_id,
            books.partner.actor,
            f"R{payment_id}",
            Decimal(amount),
            on,
            books.banks.house.at,
            state,
        )
    for i, (day, told) in enumerate(taken):
        file = await db.fetchval(
            "INSERT INTO register_file (partner, sha256, layout, name, way, size, received_at, received_by, state, day)"
            " VALUES ($1, $2, 'evening', '', 'UPLOAD', 1, $3, 'x', 'TAKEN', $4) RETURNING file",
            client,
            bytes([i]),
            books.banks.house.at + timedelta(days=2),
            day,
        )
        for line, row in enumerate(told, 1):
            await keep(db, client, file, line, row)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paid=payments,
    taken=registers,
    transferred=st.lists(_amounts, max_size=2, unique=True),
    later=st.integers(0, 6),
)
async def test_the_sums_of_every_day_are_explained_by_its_differences(
    books: Books,
    db: Db,
    paid: list[Payment],
    taken: list[tuple[date | None, list[Row]]],
    transferred: list[str],
    later: int,
) -> None:
    partner, now = books.partner, books.banks.house.at + timedelta(days=later)
    transaction = db.transaction()
    await transaction.start()
    try:
        await written(db, books, paid, taken)
        for i, amount in enumerate(transferred, 1):
            number = await db.fetchval(
                "INSERT INTO bank_transfer (document, made_on, amount, partner, by, recorded_at)"
                " VALUES ($1, $2, $3, $4, 'x', $5) RETURNING number",
                str(i),
                DAY,
                Decimal(amount),
                partner.client,
                now,
            )
            await db.execute(
                "INSERT INTO transfer_part VALUES ($1, $2, $3, $4, 'x', $5)",
                number,
                partner.client,
                DAY,
                Decimal(amount),
                now,
            )
        for day in DAYS:
            shown, _ = await reconcile(db, books.texts, partner, day, now)
            again, _ = await reconcile(db, books.texts, partner, day, now)
            assert shown.adds_up, shown
            assert again == shown
            found = await of_day(db, partner.client, day)
            assert shown.difference + shown.awaited_sum == sum(each.amount for each in found if each.side == "BOOK")
            assert not [
                twice for twice, count in Counter((each.kind, each.number) for each in found).items() if count > 1
            ]
            if shown.is_closed:
                assert (shown.difference, shown.look_again_at) == (-shown.awaited_sum, None)
    finally:
        await transaction.rollback()
