"""What waits in the work with banks and payment apps is seen as long as it waits."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from prometheus_client import CollectorRegistry

from bels.journal.write import Db
from bels.payments import refunds
from bels.payments.cards.orders import expire_orders
from bels.payments.exchange.states import Work, did, failed
from bels.payments.reconciling.due import reconcile_due
from bels.payments.refunds import RefundOrder
from bels.payments.registers.files import FileState
from bels.payments.till import PayOrder, pay
from bels.payments.waiting import Waits, waiting
from bels.payments.webhooks.due import SLOW_AFTER
from bels.projections import ledger
from bels.queues import Queues
from tests.channels.house import House, opened_house
from tests.payments.cards.paying import opened_paying
from tests.payments.conftest import Banks, opened_banks
from tests.payments.reconciling.books import CONTRACT
from tests.payments.registers.desk import day, opened_desk

MINUTE, A_DAY = 60, 24 * 3600


async def told(house: House) -> dict[str, tuple[float | None, float | None]]:
    """Give what the metrics say, of what waits alone: how many, and how long the longest does."""
    assert house.bels is not None
    registry = CollectorRegistry()
    await Queues(house.bels.pool, registry, house.now).look()
    values = {
        what.value: tuple(
            registry.get_sample_value(f"bels_partners_{name}", {"what": what.value})
            for name in ("waiting", "oldest_seconds")
        )
        for what in Waits
    }
    return {what: (count, oldest) for what, (count, oldest) in values.items() if count != 0}


async def test_a_supplier_whom_nobody_pays_yet_waits_for_nothing(banks: Banks) -> None:
    assert await told(banks.house) == {}


async def test_files_and_rows_that_wait_for_the_office_are_seen(database: str, tmp_path: Path) -> None:
    async with opened_desk(database, tmp_path) as desk:
        house = desk.banks.house
        await desk.taken(day(["a-1;1000001;100.00", "a-2;xxx;50.00"]))
        house.wait(minutes=5)
        quarantined = await desk.receive(day(["b-1;1000001;100.00"], 8, total="99.00"), "D8.csv")
        house.wait(minutes=10)

        seen = await told(house)

    assert quarantined.file.state is FileState.QUARANTINED
    assert seen == {"register_rows": (1, 15 * MINUTE), "registers_quarantined": (1, 10 * MINUTE)}


async def test_a_refund_that_nobody_decides_is_seen_and_then_overdue(banks: Banks) -> None:
    order = PayOrder("1234567", "1000001", Decimal("200.00"), banks.till.now())
    paid = await pay(banks.till, banks.agent(), order)
    assert paid.payment.version is not None
    async with banks.bels.pool.acquire() as db:
        row = await ledger.payment_at(db, "1000001", paid.payment.version)
        assert row is not None
        await refunds.ask(db, row, RefundOrder(None, "ошибка", banks.agent().actor, "1"), banks.till.now())

    at_first = await told(banks.house)
    banks.house.wait(days=31)
    late = await told(banks.house)

    assert at_first == {"refunds": (1, 0)}
    assert late == {"refunds": (1, 31 * A_DAY), "refunds_overdue": (1, 31 * A_DAY)}


async def test_differences_are_seen_until_somebody_works_on_them(database: str, tmp_path: Path) -> None:
    async with opened_house(database, tmp_path) as house:
        banks = await opened_banks(house, {"sber": {"reconciliation": CONTRACT}})
        await reconcile_due(banks.till, house.at)
        house.wait(hours=2)
        seen = await told(house)
        async with banks.bels.pool.acquire() as db:
            await db.execute(
                "UPDATE difference SET state = 'ASKED_BANK', worked_at = $1, answer_by = '2024-05-25'", house.at
            )
        asked = await told(house)
        house.wait(days=7)
        unanswered = await told(house)

    count, oldest = seen["differences_open"]
    assert count
    assert oldest == 2 * 3600
    assert asked == {}
    assert unanswered == {"differences_unanswered": (count, 7 * A_DAY)}


async def test_a_webhook_that_fails_again_and_again_is_seen_and_one_that_is_served_late(banks: Banks) -> None:
    async with banks.bels.pool.acquire() as db:
        await subscribed(db, "wh_failing", "ACTIVE", SLOW_AFTER, banks)
        await subscribed(db, "wh_gone", "GONE", 0, banks)
        await subscribed(db, "wh_well", "ACTIVE", 0, banks)
        for webhook in ("wh_failing", "wh_gone", "wh_well"):
            await db.execute(
                """
                INSERT INTO webhook_delivery (webhook, event, type, subject, recorded_at, state, since, not_before, ended_at)
                VALUES ($1, 'evt_1', 'test.ping.v1', '1', $2, 'PENDING', $2, $2, NULL),
                       ($1, 'evt_2', 'test.ping.v1', '1', $2, 'DEAD', $2, $2, $2)
                """,
                webhook,
                banks.till.now(),
            )
    banks.house.wait(minutes=3)

    seen = await told(banks.house)
    banks.house.wait(days=2)

    assert seen == {
        "webhooks_failing": (1, 3 * MINUTE),
        "webhooks_gone": (1, 0),
        "webhooks_late": (1, 3 * MINUTE),
        "webhook_events_dead": (3, 0),
    }
    assert "webhook_events_dead" not in await told(banks.house)


async def subscribed(db: Db, webhook: str, state: str, failures: int, banks: Banks) -> None:
    """Add a webhook as it stands after so many failures."""
    await db.execute(
        """
        INSERT INTO webhook (id, partner, key, content, url, types, description, state, secret, created_at, told_through,
                             failures, failing_since)
        VALUES ($1, $2, $1, '', 'https://bank.ru', '{}', '', $3, '', $4, $4, $5, CASE WHEN $5 > 0 THEN $4::timestamptz END)
        """,
        webhook,
        banks.agent().actor,
        state,
        banks.till.now(),
        failures,
    )


async def test_an_order_by_card_that_nobody_lets_expire_is_seen(database: str, tmp_path: Path) -> None:
    async with opened_paying(database, tmp_path) as paying:
        await paying.begin()
        waits = await told(paying.house)
        paying.house.wait(hours=2)
        late = await told(paying.house)
        await expire_orders(paying.cards)
        expired = await told(paying.house)

    assert waits == expired == {}
    assert late == {"card_orders_late": (1, 3600)}


async def test_an_exchange_of_files_that_fails_is_seen_from_when_it_was_last_done(banks: Banks) -> None:
    async with banks.bels.pool.acquire() as db:
        for work in (Work.PULL, Work.CHARGES):
            await did(db, "sber", work, banks.till.now())
        banks.house.wait(minutes=30)
        await failed(db, "sber", Work.PULL, banks.till.now(), "HostKeyChanged")
        seen = await told(banks.house)
        await did(db, "sber", Work.PULL, banks.till.now())

    assert seen == {"exchange_failing": (1, 30 * MINUTE)}
    assert await told(banks.house) == {}


async def test_what_waits_is_found_by_indexes_however_long_the_history_is(banks: Banks, tmp_path: Path) -> None:
    async with banks.bels.pool.acquire() as db:
        await db.execute(
            """
            INSERT INTO register_row (file, line, partner, kind, account, outcome)
            SELECT n / 1000, n % 1000, 'x', 'PAYMENT', '1000001', 'CREDITED' FROM generate_series(1, 20000) AS n
            """
        )
        await db.execute("ANALYZE register_row")
        plan = await db.fetch("EXPLAIN SELECT count(*) FROM register_row r WHERE r.outcome = 'REVIEW'")
        found = await waiting(db, banks.till.now())

    assert "register_row_review_idx" in str(plan)
    assert set(found) == set(Waits)
