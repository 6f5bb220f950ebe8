"""Registers taken: each row meets the payment that came online or is credited now, once, whatever happens in between."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bels.domain.commands import MovePaymentIn, MovePaymentOut, SubmitReading
from bels.domain.terms import AccountNumber, Channel, EntryNumber, Role
from bels.messages import Message
from bels.payments.registers import files
from bels.payments.registers.booking import request_of
from bels.payments.registers.faults import FileFault
from bels.payments.registers.files import FileState, FileTooLargeError, Way
from bels.payments.registers.review import release_file
from bels.payments.registers.taking import receive_file, take_waiting, taking_registers
from bels.payments.till import PayOrder, cancel, find, pay
from tests.channels.household import moscow
from tests.payments.registers.desk import Desk, day, evening, opened_desk

SAMPLES = Path(__file__).parent / "samples"
AT = moscow("2024-05-20T11:30")
ONLINE = PayOrder("p-1", "1000001", Decimal("200.00"), AT)


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a supplier with two banks that bring registers."""
    async with opened_desk(database, tmp_path) as opened:
        yield opened


async def test_a_row_is_credited_with_its_reading_and_its_own_day(desk: Desk) -> None:
    desk.banks.house.wait(days=1)
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000001;200.00;2.00;2024-05-20T09:15:00;10385", "p-2;1000003;10.00"]))

    assert await desk.balance() == before - 200
    (row, other) = await desk.rows(file)
    assert (row.outcome, row.reading, str(row.fee), row.payment_id) == ("CREDITED", "ACCEPTED", "2.00", "p-1")
    assert (row.raw, row.given, other.reading) == (None, None, None)
    found = await find(desk.till, desk.banks.agent(), "p-1")
    assert found is not None
    assert found.row is not None
    assert (found.row.paid_at, found.row.receipt, found.row.commission) == (
        moscow("2024-05-20T09:15"),
        row.receipt,
        None,
    )
    assert (file.rows, str(file.amount), str(file.fee), file.number) == (2, "210.00", "2.00", "7")


async def test_the_same_bytes_under_any_name_change_nothing(desk: Desk) -> None:
    content = day(["p-1;1000001;200.00"])
    first = await desk.receive(content)
    before = await desk.balance()

    again = await desk.receive(content, "Dother.csv", Way.SFTP)
    others = await desk.receive(content, bank="app")

    assert not first.repeated
    assert again.repeated
    assert again.file == first.file
    assert not others.repeated
    assert await desk.balance() == before - 200


async def test_a_row_meets_the_payment_that_came_online_by_its_id(desk: Desk) -> None:
    paid = await pay(desk.till, desk.banks.agent(), ONLINE)
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000001;200.00;;2024-05-20T11:30:00;10385"]))

    (row,) = await desk.rows(file)
    assert (row.outcome, row.payment_id, row.receipt, row.reading) == ("MATCHED", "p-1", None, "ACCEPTED")
    assert paid.received is not None
    assert await desk.balance() == before


async def test_where_the_sums_differ_the_register_wins(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000001;250.00"]))

    assert await desk.balance() == before - 50
    (row,) = await desk.rows(file)
    assert (row.outcome, row.reason, row.payment_id) == ("CORRECTED", "200.00", f"p-1 corrected {file.file}")
    account = await desk.till.intake.account("1000001")
    assert [payment.state for payment in account.ledger.payments] == ["REVERSED", "RECEIVED"]


async def test_what_is_not_the_same_payment_waits(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)
    await pay(desk.till, desk.banks.agent(), replace(ONLINE, payment_id="p-2"))
    await cancel(desk.till, desk.banks.agent(), "p-2", "ошибка кассира")
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000003;200.00", "p-2;1000001;200.00", "p-3;1000003;5.00", "p-3;1000003;5.00"]))

    assert await desk.outcomes(file) == [
        "REVIEW OTHER_ACCOUNT",
        "REVIEW TAKEN_BACK",
        "CREDITED",
        "REVIEW TWICE_IN_FILE",
    ]
    assert await desk.balance() == before


async def test_money_that_was_refused_online_and_came_is_taken(desk: Desk) -> None:
    refused = await pay(desk.till, desk.banks.agent(), replace(ONLINE, amount=Decimal("0.50")))
    before = await desk.balance()

    content = day(["p-1;1000001;0.50"])
    file = await desk.taken(content)

    assert refused.refusal is not None
    assert await desk.outcomes(file) == ["CREDITED"]
    assert await desk.balance() == before - Decimal("0.50")


async def test_without_an_id_a_row_meets_the_same_account_sum_and_day_once(desk: Desk) -> None:
    for n in range(2):
        await pay(desk.till, desk.banks.agent(), replace(ONLINE, payment_id=f"p-{n}"))
    await pay(desk.till, desk.banks.agent("app"), replace(ONLINE, payment_id="p-9"))
    await pay(desk.till, desk.banks.agent(), replace(ONLINE, payment_id="p-8", account="1999999"))
    before = await desk.balance()

    file = await desk.taken(evening(["1000001;200.00"] * 3 + ["1999999;200.00", "1000001;200.01"]), "E1.txt")

    rows = await desk.rows(file)
    assert [(row.outcome, row.payment_id) for row in rows] == [
        ("MATCHED", "p-0"),
        ("MATCHED", "p-1"),
        ("CREDITED", "register 2024-05-20/1/1000001/200.00/3"),
        ("MATCHED", "p-8"),
        ("CREDITED", "register 2024-05-20/1/1000001/200.01/1"),
    ]
    assert await desk.balance() == before - Decimal("400.01")


async def test_two_registers_of_a_day_meet_each_payment_once(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)

    first = await desk.taken(evening(["1000001;200.00"]), "E1.txt")
    second = await desk.taken(evening(["1000001;200.00", "1000003;1.00"]), "E2.txt")

    assert await desk.outcomes(first) == ["MATCHED"]
    assert await desk.outcomes(second) == ["CREDITED", "CREDITED"]


async def test_a_register_that_is_sent_again_put_right_does_not_double(desk: Desk) -> None:
    await desk.taken(evening(["1000001;200.00", "1000001;200.00"]), "E1.txt")
    before = await desk.balance()

    better = (await desk.receive(evening(["1000001;200.00", "1000001;200.00", "1000001;7.00"]), "E1.txt")).file
    assert (better.state, better.fault) == (FileState.QUARANTINED, FileFault.NUMBER_REUSED)
    assert await desk.balance() == before
    await release_file(desk.till, better.file, "operator:u-1", "уточнённый реестр банка")
    assert await take_waiting(desk.till) == 1

    assert await desk.outcomes(better) == ["MATCHED", "MATCHED", "CREDITED"]
    assert await desk.balance() == before - 7


async def test_two_registers_under_one_number_by_mistake_are_told_apart_by_the_operator(desk: Desk) -> None:
    await desk.taken(evening(["1000001;200.00"]), "E1.txt")
    before = await desk.balance()
    other = (await desk.receive(evening(["1000001;200.00", "1000003;7.00"]), "E1.txt")).file

    await release_file(desk.till, other.file, "operator:u-1", "другой реестр того же дня", is_correction=False)
    await take_waiting(desk.till)

    assert await desk.outcomes(other) == ["CREDITED", "CREDITED"]
    assert await desk.balance() == before - 200


async def test_without_a_number_an_equal_row_of_another_file_waits(desk: Desk) -> None:
    await desk.taken(evening(["1000001;200.00"]), "Ex.txt")
    before = await desk.balance()

    other = await desk.taken(evening(["1000001;200.00", "1000003;1.00"]), "Ey.txt")

    assert await desk.outcomes(other) == ["REVIEW POSSIBLE_REPEAT", "CREDITED"]
    assert await desk.balance() == before


async def test_an_id_that_came_in_another_register_is_the_same_payment(desk: Desk) -> None:
    await desk.taken(day(["p-1;1000001;200.00"]))
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000001;200.00", "p-2;1000001;1.00"], 8))
    other = await desk.taken(day(["p-1;1000001;201.00"], 9))

    assert await desk.outcomes(file) == ["MATCHED", "CREDITED"]
    assert await desk.outcomes(other) == ["REVIEW OTHER_AMOUNT"]
    assert await desk.balance() == before - 1


async def test_an_unknown_account_is_kept_unallocated_and_a_bad_row_waits_beside_its_neighbours(desk: Desk) -> None:
    content = day(["p-1;1999999;200.00", "p-2;10000O1;50.00;;2024-05-20T10:00:00;777", "p-3;1000001;5.00"])
    before = await desk.balance()

    file = await desk.taken(content)

    rows = await desk.rows(file)
    assert await desk.outcomes(file) == ["UNALLOCATED UNKNOWN_ACCOUNT", "REVIEW BAD_ACCOUNT", "CREDITED"]
    assert rows[1].raw is not None
    assert rows[1].raw.startswith("sealed:")
    assert await desk.balance() == before - 5
    assert [(t.outcome.value, t.count, str(t.amount)) for t in await desk.tally(file)] == [
        ("CREDITED", 1, "5.00"),
        ("REVIEW", 1, "50.00"),
        ("UNALLOCATED", 1, "200.00"),
    ]


async def test_a_bad_reading_never_holds_the_money(desk: Desk) -> None:
    file = await desk.taken(
        evening(["1000001;200.00;CounterVal_1:много;CounterVal_2:5", "1000003;3.00;CounterVal_1:1"]), "E1.txt"
    )

    assert [(row.outcome, row.reading) for row in await desk.rows(file)] == [
        ("CREDITED", "BAD_VALUE"),
        ("CREDITED", "TOO_FEW_VALUES"),
    ]


async def test_a_fee_that_the_payer_paid_is_a_commission(desk: Desk) -> None:
    desk.banks.house.wait(days=1)
    file = await desk.taken((SAMPLES / "classic.txt").read_bytes().replace(b"2812,75", b"2812,75"), "C5.txt")

    rows = await desk.rows(file)
    assert [row.outcome for row in rows] == ["CREDITED"] * 3
    found = await find(desk.till, desk.banks.agent(), rows[0].payment_id or "")
    assert found is not None
    assert found.row is not None
    assert str(found.row.commission) == "12.45"
    assert (file.number, file.order_number) == ("5", "417")


async def test_what_is_returned_is_taken_back_whole_or_in_part(desk: Desk) -> None:
    desk.banks.house.wait(days=1)
    before = (await desk.balance("1000001"), await desk.balance("1000006"))

    file = await desk.taken((SAMPLES / "tochka.zip").read_bytes(), "registry.zip")
    assert await desk.outcomes(file) == ["CREDITED", "CREDITED", "REFUNDED"]
    assert (await desk.balance("1000001"), await desk.balance("1000006")) == (before[0] - Decimal("1245.05"), before[1])

    head = "TRANS_DATE;TRANSACTION_ID;SUM;COMMISSION;USER_INFO;PARENT_TRANSACTION_ID;TRANSACTION_TYPE"
    line = "2024-05-20 12:00:00;r-{};{},00;0,00;1000001;{};REFUND"
    refunds = [(1, 45, "b0c1-7001"), (2, 200, "b0c1-7001"), (3, 2000, "b0c1-7001"), (4, 1, "nobody")]
    csv = "\n".join([head, *(line.format(*refund) for refund in refunds)])
    zipped = _zipped(csv.encode())
    later = await desk.taken(zipped, "later.zip")

    assert await desk.outcomes(later) == ["REFUNDED", "REFUNDED", "REVIEW REFUND_TOO_LARGE", "REVIEW UNKNOWN_PARENT"]
    assert await desk.balance("1000001") == before[0] - Decimal("1000.05")


def _zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("registry.csv", content)
    return packed.getvalue()


async def test_a_return_under_the_id_of_a_payment_waits_and_credits_nothing(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)
    await pay(desk.till, desk.banks.agent(), replace(ONLINE, payment_id="p-2"))
    before = await desk.balance()
    head = "TRANS_DATE;TRANSACTION_ID;SUM;COMMISSION;USER_INFO;PARENT_TRANSACTION_ID;TRANSACTION_TYPE"
    lines = [f"2024-05-20 12:00:00;{name};50,00;0,00;1000001;p-1;REFUND" for name in ("p-1", "p-2")]

    file = await desk.taken(_zipped("\n".join([head, *lines]).encode()), "returns.zip")

    assert await desk.outcomes(file) == ["REVIEW MESSAGE_ID_REUSED", "REVIEW MESSAGE_ID_REUSED"]
    assert await desk.balance() == before


async def test_a_sum_is_put_right_only_where_the_payment_is_taken_back(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)
    before = await desk.balance()
    number = (await desk.taken(day(["p-9;1000003;1.00"], 1))).file + 1
    taken = desk.banks.agent().message_id(f"p-1 corrected {number} reversal")
    squat = SubmitReading(AT, {"TOTAL": "1"}, Role.CONSUMER)
    await desk.till.intake.submit(Message(Channel.BANK, taken, "partner:sber", "1000001", squat, "squat"))

    file = await desk.taken(day(["p-1;1000001;250.00;;2024-05-20T11:30:00;10385"]))

    assert file.file == number
    assert await desk.outcomes(file) == ["REVIEW TAKEN_BACK"]
    assert await desk.balance() == before


@pytest.mark.parametrize("amount", ["200.00", "250.00"])
async def test_what_was_moved_and_then_taken_back_does_not_stand_for_its_row(desk: Desk, amount: str) -> None:
    paid = await pay(desk.till, desk.banks.agent(), ONLINE)
    assert paid.received is not None
    assert paid.payment.version is not None
    house, entry, source = desk.banks.house, EntryNumber(paid.payment.version), AccountNumber("1000001")
    await house.do("1000001", MovePaymentOut(entry, AccountNumber("1000003"), house.at, "ошибка"))
    there = (Decimal("200.00"), paid.received.paid_on, house.at, paid.received.purpose, "p-1")
    await house.do("1000003", MovePaymentIn(*there, source, entry, "ошибка"))
    await cancel(desk.till, desk.banks.agent(), "p-1", "ошибка")
    before = [await desk.balance(account) for account in ("1000001", "1000003")]

    file = await desk.taken(day([f"p-1;1000001;{amount}"]))

    assert await desk.outcomes(file) == ["REVIEW TAKEN_BACK"]
    assert [await desk.balance(account) for account in ("1000001", "1000003")] == before


async def test_totals_that_do_not_match_take_nothing(desk: Desk) -> None:
    before = await desk.balance()

    taken = await desk.receive(day(["p-1;1000001;200.00"], total="200.01"))

    assert (taken.file.state, taken.file.fault, taken.file.detail) == (
        FileState.QUARANTINED,
        FileFault.TOTALS_DIFFER,
        "sum: 200.01 ≠ 200.00",
    )
    assert await desk.rows(taken.file) == []
    assert await desk.balance() == before


async def test_a_file_that_nobody_can_name_waits_and_comes_again_as_what_it_is(desk: Desk) -> None:
    content = day(["p-1;1000001;200.00"])
    unknown = await desk.receive(content, "what.doc")

    partner = desk.banks.agent().partner
    known = await receive_file(desk.till, partner, "what.doc", [content], Way.UPLOAD, layout="day")

    assert (unknown.file.state, unknown.file.fault) == (FileState.QUARANTINED, FileFault.NO_LAYOUT)
    assert (known.repeated, known.file.state, known.file.file) == (True, FileState.TAKEN, unknown.file.file)


async def test_a_file_larger_than_a_register_is_not_stored(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 10)

    with pytest.raises(FileTooLargeError):
        await desk.receive(b"7" * 11)
    async with desk.banks.bels.pool.acquire() as db:
        assert await files.list_files(db, None, None, None, None, 10) == []


async def test_its_bytes_are_kept_sealed_and_come_back_whole(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "C5.txt"
    path.write_bytes((SAMPLES / "classic.txt").read_bytes() * 4000)
    partner = desk.banks.agent().partner
    taken = await receive_file(desk.till, partner, path.name, path, Way.FOLDER)

    again = b"".join([chunk async for chunk in files.stored_chunks(desk.till, taken.file.file)])
    async with desk.banks.bels.pool.acquire() as db:
        sealed = [bytes(row["sealed"]) for row in await db.fetch("SELECT sealed FROM register_chunk")]
    assert again == path.read_bytes()
    assert len(sealed) > 3
    assert not any("БАЛАШИХА".encode("cp1251") in each for each in sealed)


async def test_a_process_that_dies_is_gone_on_with_and_nothing_is_booked_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = evening([f"100000{1 + n % 3};{n % 5 + 1}.00" for n in range(1700)])
    await pay(desk.till, desk.banks.agent(), replace(ONLINE, amount=Decimal("2.00")))
    before = [await desk.balance(f"100000{n}") for n in (1, 2, 3)]
    kept = files.keep_rows
    calls: list[int] = []

    async def dies(*given: object) -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("power cut")
        return await kept(*given)  # type: ignore[arg-type]  # it is called as the original is

    monkeypatch.setattr(files, "keep_rows", dies)
    with pytest.raises(OSError, match="power cut"):
        await desk.receive(content, "E1.txt")
    monkeypatch.setattr(files, "keep_rows", kept)
    assert await take_waiting(desk.till) == 0
    desk.banks.house.wait(seconds=files.LEASE_S)
    assert await take_waiting(desk.till) == 1

    (file,) = [await desk.find(1)]
    assert (file.state, file.taken_line) == (FileState.TAKEN, 1700)
    assert {(t.outcome.value, t.count) for t in await desk.tally(file)} == {("CREDITED", 1699), ("MATCHED", 1)}
    after = [await desk.balance(f"100000{n}") for n in (1, 2, 3)]
    assert sum(before) - sum(after) == sum(n % 5 + 1 for n in range(1700)) - 2


async def test_ten_of_the_same_at_once_are_one_register(desk: Desk) -> None:
    content = day([f"p-{n};1000001;1.00" for n in range(30)])
    before = await desk.balance()

    taken = await asyncio.gather(*(desk.receive(content) for _ in range(10)))

    assert sum(not each.repeated for each in taken) == 1
    assert {each.file.state for each in taken} == {FileState.TAKEN}
    assert await desk.balance() == before - 30


async def test_its_messages_name_the_register_that_brought_them(desk: Desk) -> None:
    file = await desk.taken(day(["p-1;1000001;200.00"]))

    async with desk.banks.bels.pool.acquire() as db:
        found = await db.fetchrow("SELECT channel, actor, request_id FROM message WHERE message_id LIKE '%/p-1'")
    assert found is not None
    assert tuple(found) == (Channel.BANK, desk.banks.agent().actor, request_of(file.file))


async def test_what_waits_is_taken_while_the_server_runs(desk: Desk) -> None:
    partner = desk.banks.agent().partner
    stored, _ = await files.store_file(desk.till, partner, "D.csv", [day(["p-1;1000001;1.00"])], Way.UPLOAD)

    async with taking_registers(desk.till):
        for _ in range(1000):
            if (await desk.find(stored.file)).state is FileState.TAKEN:
                break
            await asyncio.sleep(0.01)

    assert await desk.outcomes(stored) == ["CREDITED"]
