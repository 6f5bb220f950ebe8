"""Three books of a day: what differs has a name, and the sums add up to the kopeck."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal

from bels.domain.commands import MovePaymentIn, MovePaymentOut, ReversePayment
from bels.domain.periods import MOSCOW
from bels.domain.terms import AccountNumber, EntryNumber
from bels.payments.reconciling import differences
from bels.payments.reconciling.differences import Act, DifferenceState, acts_of
from bels.payments.reconciling.three_ways import close, day_of
from bels.payments.till import Paid, cancel
from tests.payments.reconciling.books import CONTRACT, DAY, NEXT, Books, Row

A_DAY = {"days": 1, "hours": 12}
"""After this time the register of the day is missed; the transfer a day later."""


async def reverse(books: Books, paid: Paid) -> None:
    """Let the office reverse a payment."""
    assert paid.payment.version is not None
    command = ReversePayment(EntryNumber(paid.payment.version), books.banks.house.at, "ошибка")
    await books.banks.house.do(paid.payment.account, command)


async def move(books: Books, paid: Paid, to: str) -> int:
    """Let the office move a payment to another account; give its entry there."""
    house, version = books.banks.house, paid.payment.version
    assert version is not None
    assert paid.received is not None
    received, source = paid.received, paid.payment.account
    await house.do(source, MovePaymentOut(EntryNumber(version), AccountNumber(to), house.at, "ошибка"))
    moved = await house.do(
        to,
        MovePaymentIn(
            received.amount,
            received.paid_on,
            house.at,
            received.purpose,
            received.reference,
            AccountNumber(source),
            EntryNumber(version),
            "ошибка",
        ),
    )
    assert moved.version is not None
    return moved.version


async def test_a_register_that_agrees_leaves_nothing_open(books: Books) -> None:
    for payment_id, amount in (("1", "1245.05"), ("2", "1096.11"), ("3", "500.00")):
        await books.paid(payment_id, amount)
    await books.register(Row("1", "1245.05"), Row("2", "1096.11"), Row("3", "500.00"))
    books.banks.house.wait(**A_DAY)

    day = await books.compared()

    assert (day.their_count, day.their_sum, day.our_sum) == (3, Decimal("2841.16"), Decimal("2841.16"))
    assert (day.their_fee, day.net) == (Decimal("28.41"), Decimal("2812.75"))
    assert day.transfer_awaited
    assert await books.told_of() == []


async def test_before_the_register_is_missed_payments_wait_and_after_it_the_register_is_missing(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.paid("2", "50.00")

    waiting = await books.compared()
    assert (waiting.awaited_count, waiting.awaited_sum, waiting.open_differences) == (2, Decimal("150.00"), 0)

    books.banks.house.wait(**A_DAY)
    assert await books.told_of() == [("REGISTER_MISSING", Decimal("-150.00"))]

    await books.register(Row("1", "100.00"), Row("2", "50.00"))
    assert await books.told_of() == []


async def test_a_day_without_payments_needs_its_empty_register_all_the_same(books: Books) -> None:
    books.banks.house.wait(**A_DAY)
    assert await books.told_of() == [("REGISTER_MISSING", Decimal("0.00"))]
    await books.register()
    day = await books.compared()
    assert (day.registers, day.state, day.open_differences) == (1, "CLOSED", 0)


async def test_what_only_one_side_has_is_named_and_nothing_is_reversed_by_itself(books: Books) -> None:
    await books.paid("ours", "70.00")
    await books.register(Row("theirs", "30.00", outcome="REVIEW"))
    books.banks.house.wait(**A_DAY)

    assert await books.told_of() == [("ONLY_IN_BELS", Decimal("-70.00")), ("ONLY_IN_REGISTER", Decimal("30.00"))]
    assert (await books.compared()).our_sum == 70


async def test_a_row_that_cannot_be_read_counts_on_the_day_of_its_register(books: Books) -> None:
    await books.register(Row(None, "30.00", on=None, outcome="REVIEW"))
    assert await books.told_of() == [("ONLY_IN_REGISTER", Decimal("30.00"))]


async def test_amounts_and_accounts_that_differ_are_named(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.paid("2", "50.00")
    await books.register(Row("1", "110.00"), Row("2", "50.00", account="1000002"))

    found = {each.kind: each for each in await books.differences() if each.side == "BOOK"}

    assert {kind: each.amount for kind, each in found.items()} == {"AMOUNT_DIFFERS": 10, "ACCOUNT_DIFFERS": 0}
    amount, account = (
        found[differences.DifferenceKind.AMOUNT_DIFFERS],
        found[differences.DifferenceKind.ACCOUNT_DIFFERS],
    )
    assert [amount.their_amount, amount.our_amount] == [110, 100]
    assert (account.their_account, account.our_account) == ("1000002", "1000001")


async def test_where_the_register_has_won_the_correction_stands_as_such(books: Books) -> None:
    first = await books.paid("1", "100.00")
    await reverse(books, first)
    corrected = await books.paid("1/corrected-7", "110.00")
    await books.register(Row("1", "110.00", outcome="CORRECTED", receipt=corrected.payment.receipt))
    books.banks.house.wait(**A_DAY)

    (found,) = [each for each in await books.differences() if each.side == "BOOK"]

    assert [found.kind, found.state, found.amount] == ["AMOUNT_DIFFERS", "CORRECTED", 0]
    assert [found.their_amount, found.our_amount] == [110, 100]


async def test_a_payment_on_another_day_differs_by_its_date_on_both(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "120.00", on=NEXT), day=NEXT)
    await books.register()
    books.banks.house.wait(days=3)

    assert await books.told_of(DAY) == [("DATE_DIFFERS", Decimal("-100.00"))]
    assert await books.told_of(NEXT) == [("AMOUNT_DIFFERS", Decimal("20.00")), ("DATE_DIFFERS", Decimal("100.00"))]


async def test_a_row_that_comes_twice_is_a_duplicate_whoever_knows_it(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"), Row("1", "100.00", outcome="REVIEW"), Row("9", "5.00"), Row("9", "5.00"))

    told = await books.told_of()

    assert told == [
        ("DUPLICATE", Decimal("5.00")),
        ("DUPLICATE", Decimal("100.00")),
        ("ONLY_IN_REGISTER", Decimal("5.00")),
    ]


async def test_rows_without_an_id_meet_by_account_sum_and_day_each_once(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.paid("2", "100.00")
    await books.register(Row(None, "100.00"), Row(None, "100.00"), Row(None, "100.00"))
    assert await books.told_of() == [("ONLY_IN_REGISTER", Decimal("100.00"))]


async def test_what_we_reversed_and_they_have_is_named_unless_they_gave_it_back(books: Books) -> None:
    paid = await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    await cancel(books.banks.till, books.banks.agent(), "1", "ошибка кассира")
    assert await books.told_of() == [("REVERSED_BUT_PAID", Decimal("100.00"))]

    await books.register(Row("r1", "100.00", outcome="REFUNDED", parent="1", on=NEXT), day=NEXT)

    assert paid.received is not None
    books.banks.house.wait(days=3)
    assert await books.told_of() == []
    assert await books.told_of(NEXT) == []
    assert (await books.compared(NEXT)).our_sum == -100


async def test_money_given_back_that_stands_here_is_named(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"), Row("r1", "100.00", outcome="REVIEW", parent="1"))
    assert await books.told_of() == [("ONLY_IN_REGISTER", Decimal("-100.00"))]


async def test_money_for_nobody_is_unallocated_until_an_operator_finds_its_account(books: Books) -> None:
    paid = await books.paid("1", "100.00", account="1999999")
    await books.register(Row("1", "100.00", account="1999999", outcome="UNALLOCATED"))
    assert await books.told_of() == [("UNALLOCATED", Decimal("0.00"))]

    await move(books, paid, "1000002")
    assert await books.told_of() == []


async def test_a_payment_that_was_moved_is_followed_to_where_it_was_reversed(books: Books) -> None:
    paid = await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    await move(books, paid, "1000002")
    assert await books.told_of() == []

    await cancel(books.banks.till, books.banks.agent(), "1", "ошибка кассира")
    assert await books.told_of() == [("REVERSED_BUT_PAID", Decimal("100.00"))]


async def test_a_payment_that_was_moved_there_and_back_stands(books: Books) -> None:
    paid = await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    entry = await move(books, paid, "1000002")
    there = replace(paid, payment=replace(paid.payment, account="1000002", version=entry))
    await move(books, there, "1000001")
    assert await books.told_of() == []


async def test_the_fee_is_compared_with_the_contract_row_by_row(books: Books) -> None:
    await books.paid("1", "1245.05")
    await books.paid("2", "1096.11")
    await books.register(Row("1", "1245.05", fee="12.46"), Row("2", "1096.11", fee="10.96"))

    (fee,) = [each for each in await books.differences() if each.side == "FEE"]

    assert (fee.their_amount, fee.our_amount, fee.amount, fee.detail) == (
        Decimal("23.42"),
        Decimal("23.41"),
        Decimal("0.01"),
        "1",
    )


async def test_a_register_that_tells_no_fee_is_reckoned_with_the_agreed_one(books: Books) -> None:
    await books.paid("1", "1245.05")
    await books.register(Row("1", "1245.05", fee=""))
    day = await books.compared()
    assert (day.their_fee, day.net, day.open_differences) == (Decimal("12.45"), Decimal("1232.60"), 0)


async def test_a_partner_without_registers_waits_for_none(books: Books) -> None:
    app = Books(books.banks, "app")
    await app.paid("1", "100.00")
    books.banks.house.wait(days=5)
    day = await app.compared()
    assert [day.awaited_sum, day.net, day.open_differences, day.state] == [100, 100, 0, "CLOSED"]


async def test_a_register_that_corrects_another_stands_in_its_place(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"), Row("2", "5.00", outcome="REVIEW"), number="7")
    books.banks.house.wait(hours=1)
    await books.register(Row("1", "100.00"), number="7")
    assert await books.told_of() == []


async def test_a_register_in_quarantine_tells_nothing(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"), state="QUARANTINED")
    books.banks.house.wait(**A_DAY)
    assert await books.told_of() == [("REGISTER_MISSING", Decimal("-100.00"))]


async def test_after_the_cut_off_a_payment_belongs_to_the_next_day(books: Books) -> None:
    contract = {**books.partner.sections["reconciliation"], "cut_off": "23:00"}
    partner = replace(books.partner, sections={"reconciliation": contract})
    late = Books(books.banks)
    late.as_agreed(partner)
    books.banks.house.wait(hours=11, minutes=45)
    await late.paid("1", "100.00", at=datetime.combine(DAY, time(22, 59), MOSCOW))
    await late.paid("2", "50.00", at=datetime.combine(DAY, time(23, 0), MOSCOW))
    await late.register(Row("1", "100.00"))
    await late.register(Row("2", "50.00"), day=NEXT)
    books.banks.house.wait(days=3)
    assert (await late.compared(DAY)).our_sum == 100
    assert (await late.compared(NEXT)).our_sum == 50
    assert await late.told_of(DAY) == await late.told_of(NEXT) == []


async def test_the_same_day_again_gives_the_same_and_what_was_closed_stays_closed(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "110.00"))
    (first,) = await books.differences()
    async with books.banks.bels.pool.acquire() as db:
        await differences.work(
            db, first.number, DifferenceState.EXPLAINED, "округление кассы", None, "operator:7", books.banks.house.at
        )

    (again,) = await books.differences()
    assert (again.number, again.state, again.ground) == (first.number, "EXPLAINED", "округление кассы")

    await reverse(books, await books.paid("x", "1.00"))
    (still,) = await books.differences()
    assert still.state == "EXPLAINED"


async def test_new_facts_open_a_difference_and_its_closed_day_again_and_that_is_kept(books: Books) -> None:
    paid = await books.paid("1", "100.00")
    await books.register(Row("1", "110.00", fee="1.00"))
    books.banks.house.wait(days=4)
    now = books.banks.house.at
    async with books.banks.bels.pool.acquire() as db:
        client = books.partner.client
        for each in await books.differences():
            await differences.work(db, each.number, DifferenceState.EXPLAINED, "письмо банка", None, "operator:7", now)
        await books.compared()
        closed = await close(db, client, DAY, "разобрано", "operator:7", now)
        assert closed is not None
        assert (closed[1], closed[0].state, closed[0].closed_by) == (True, "CLOSED", "operator:7")
        assert (await books.compared()).state == "CLOSED"

        await reverse(books, paid)
        day = await books.compared()

        assert (day.state, day.reopened, day.closed_by) == ("OPEN", 1, None)
        acts = [act.act for act in await acts_of(db, client, DAY)]
        assert acts.count(Act.DAY_CLOSED) == acts.count(Act.DAY_REOPENED) == 1
        assert {Act.FOUND, Act.EXPLAINED, Act.CLEARED} <= set(acts)


async def told_closings(books: Books) -> list[dict[str, str]]:
    """Give what the bank was told of its closed days."""
    rows = await books.banks.bels.pool.fetch(
        "SELECT data FROM webhook_event WHERE type = 'reconciliation.closed.v1' AND partner = $1 ORDER BY recorded_at",
        books.partner.actor,
    )
    return [json.loads(row["data"]) for row in rows]


async def test_a_bank_is_told_of_its_day_once_for_each_time_that_it_is_closed(books: Books) -> None:
    paid = await books.paid("1", "100.00")
    await books.register(Row("1", "110.00", fee="1.10"))
    books.banks.house.wait(days=4)
    client, told = books.partner.client, []
    for closing in range(2):
        async with books.banks.bels.pool.acquire() as db:
            for each in await books.differences():
                if each.state == "OPEN":
                    await differences.work(
                        db, each.number, DifferenceState.EXPLAINED, "письмо", None, "operator:7", books.banks.house.at
                    )
            for _ in range(2):
                closed = await close(db, client, DAY, "разобрано", "operator:7", books.banks.house.at)
                assert closed is not None
                assert closed[1]
                await books.compared()
        told = await told_closings(books)
        if closing == 0:
            await reverse(books, paid)
            assert (await books.compared()).state == "OPEN"
            books.banks.house.wait(hours=1)

    assert [each["ourSum"] for each in told] == ["100.00", "0.00"]
    assert told[0] == {
        "day": "2024-05-20", "theirCount": 1, "theirSum": "110.00", "ourCount": 1, "ourSum": "100.00", "transferSum": "0.00",
    }  # fmt: skip


async def test_a_bank_is_told_of_a_day_on_which_all_agrees_and_which_closes_by_itself(books: Books) -> None:
    books.as_agreed(
        replace(books.partner, sections={"reconciliation": {"since": DAY, "transfer": False, "fee": CONTRACT["fee"]}})
    )
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    assert await told_closings(books) == []
    books.banks.house.wait(days=9)

    for _ in range(2):
        assert (await books.compared()).closed_by == "bels:reconciling"

    assert [each["theirSum"] for each in await told_closings(books)] == ["100.00"]


async def test_a_day_is_not_closed_while_anything_is_open_or_awaited(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    await books.compared()
    now = books.banks.house.at
    async with books.banks.bels.pool.acquire() as db:
        for wait in (0, 4):
            books.banks.house.wait(days=wait)
            await books.compared()
            refused = await close(db, books.partner.client, DAY, "разобрано", "operator:7", now)
            assert refused is not None
            assert not refused[1]
        shown = await day_of(db, books.partner.client, DAY)
        assert shown is not None
        assert shown.open_differences == 1
        assert await close(db, books.partner.client, DAY - timedelta(days=9), "?", "operator:7", now) is None


async def test_what_the_bank_does_not_answer_in_time_is_open_again(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "110.00"))
    (found,) = await books.differences()
    now = books.banks.house.at
    async with books.banks.bels.pool.acquire() as db:
        await differences.work(db, found.number, DifferenceState.ASKED_BANK, "запрос 17", NEXT, "operator:7", now)
        assert await differences.ask_again(db, NEXT, "bels", now) == set()
        late = await differences.ask_again(db, NEXT + timedelta(days=1), "bels", now)
        assert late == {(books.partner.client, DAY)}
        again = await differences.find(db, found.number)
    assert again is not None
    assert (again.state, again.reopened, again.ground) == ("OPEN", 1, "запрос 17")


async def test_a_transfer_that_does_not_come_is_missed_by_the_net_sum(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"))
    books.banks.house.wait(days=4)
    net = (await books.compared()).net
    assert [(each.kind, each.amount) for each in await books.differences()] == [("TRANSFER_MISSING", -net)]


async def test_of_a_payment_of_which_a_part_was_given_back_the_rest_is_no_payment_of_its_own(books: Books) -> None:
    first = await books.paid("1", "100.00")
    await reverse(books, first)
    await books.paid("r1/rest", "70.00")
    await books.register(Row("1", "100.00", payment_id="r1/rest"))
    await books.register(Row("r1", "30.00", outcome="REFUNDED", parent="1", on=NEXT, payment_id="r1/rest"), day=NEXT)
    books.banks.house.wait(days=3)

    assert await books.told_of(DAY) == []
    assert await books.told_of(NEXT) == []
    assert [(await books.compared(day)).our_sum for day in (DAY, NEXT)] == [100, -30]


async def test_an_id_that_could_be_a_phone_is_kept_sealed_and_meets_all_the_same(books: Books) -> None:
    await books.paid("79161234567", "100.00")
    await books.paid("79161234568", "100.00")
    sealed = [books.texts.guarded(each) for each in ("79161234567", "79161234568")]
    assert all(each.startswith("sealed:") for each in sealed)
    await books.register(Row(sealed[0], "110.00"), Row(sealed[1], "110.00"))
    await books.paid("79161234569", "1.00")
    books.banks.house.wait(**A_DAY)
    assert await books.told_of() == [("AMOUNT_DIFFERS", Decimal("10.00"))] * 2 + [("ONLY_IN_BELS", Decimal("-1.00"))]
    async with books.banks.bels.pool.acquire() as db:
        assert "7916123456" not in await db.fetchval("SELECT string_agg(difference::text, ' ') FROM difference")


async def test_what_a_second_register_tells_again_is_told_once(books: Books) -> None:
    await books.paid("1", "100.00")
    await books.register(Row("1", "100.00"), number="evening")
    await books.register(Row("1", "100.00"), number="month")
    day = await books.compared()
    assert [day.their_sum, day.open_differences] == [100, 0]
