"""What an operator decides: files that wait, and rows that wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bels.domain.terms import Reason
from bels.payments.registers import booking, review
from bels.payments.registers.faults import FileFault
from bels.payments.registers.files import FileState, RowOutcome
from bels.payments.registers.review import Mended, ResolveError, dismiss_row, reject_file, release_file, take_row
from bels.payments.registers.taking import take_waiting
from bels.payments.till import PayOrder, pay
from tests.channels.household import moscow
from tests.payments.registers.desk import Desk, day, evening, opened_desk

BY = "operator:u-1"
ONLINE = PayOrder("p-2", "1000001", Decimal("50.00"), moscow("2024-05-20T11:30"))
BAD = ["p-1;1000001;200.00", "p-2;10000O1;50.00;;2024-05-20T10:00:00;10385"]


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open a supplier with two banks that bring registers."""
    async with opened_desk(database, tmp_path) as opened:
        yield opened


async def test_a_file_whose_totals_do_not_match_goes_on_when_an_operator_answers_for_it(desk: Desk) -> None:
    file = (await desk.receive(day(["p-1;1000001;200.00"], total="200.01"))).file
    before = await desk.balance()

    released = await release_file(desk.till, file.file, BY, "итог исправлен письмом банка")
    again = await release_file(desk.till, file.file, BY, "ещё раз")
    await take_waiting(desk.till)

    taken = await desk.find(file.file)
    assert released is not None
    assert again is None
    assert (taken.state, taken.fault, taken.decided_by, taken.ground) == (
        FileState.TAKEN,
        FileFault.TOTALS_DIFFER,
        BY,
        "итог исправлен письмом банка",
    )
    assert await desk.balance() == before - 200


async def test_a_file_that_is_rejected_is_never_taken(desk: Desk) -> None:
    content = day(["p-1;1000001;200.00"], total="200.01")
    file = (await desk.receive(content)).file
    before = await desk.balance()

    rejected = await reject_file(desk.till, file.file, BY, "банк пришлёт новый")
    again = await desk.receive(content)
    better = await desk.receive(day(["p-1;1000001;200.00"]))

    assert rejected is not None
    assert rejected.state is FileState.REJECTED
    assert await release_file(desk.till, file.file, BY, "передумали") is None
    assert (again.repeated, again.file.state) == (True, FileState.REJECTED)
    assert better.file.state is FileState.TAKEN
    assert await desk.balance() == before - 200


async def test_a_file_that_cannot_be_read_is_only_judged_again(desk: Desk) -> None:
    file = (await desk.receive(b"7" * 100_000, "D.csv")).file
    assert file.fault is FileFault.LINE_TOO_LONG

    await release_file(desk.till, file.file, BY, "посмотрите ещё раз")
    await take_waiting(desk.till)

    judged = await desk.find(file.file)
    assert (judged.state, judged.fault, judged.decided_by) == (FileState.QUARANTINED, FileFault.LINE_TOO_LONG, None)


async def test_a_release_past_the_totals_does_not_release_past_a_number_that_was_used(desk: Desk) -> None:
    await desk.taken(evening(["1000001;200.00"]), "E1.txt")
    named = "E1.txt"
    spoiled = evening(["1000001;300.00"]) + "\r\nКовалёва Жанна Петровна, Щукина Юлия Фёдоровна".encode("koi8-r")
    file = (await desk.receive(spoiled, named)).file
    assert file.fault is FileFault.WRONG_ENCODING

    await release_file(desk.till, file.file, BY, "буквы не важны")
    await take_waiting(desk.till)

    assert (await desk.find(file.file)).fault is FileFault.NUMBER_REUSED


async def test_a_row_is_mended_and_taken_with_its_reading(desk: Desk) -> None:
    file = await desk.taken(day(BAD))
    before = await desk.balance()

    row = await take_row(desk.till, file.file, 3, BY, "плательщик назвал счёт", Mended(account="1000001"))
    again = await take_row(desk.till, file.file, 3, BY, "ещё раз", Mended(account="1000001"))

    assert row is not None
    assert (row.outcome, row.payment_id, row.reading, row.account, row.resolved_by) == (
        RowOutcome.CREDITED,
        "p-2",
        "ACCEPTED",
        "1000001",
        BY,
    )
    assert again is None
    assert await desk.balance() == before - 50


async def test_a_row_that_is_mended_meets_the_payment_that_came_online(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent(), ONLINE)
    file = await desk.taken(day(BAD))
    before = await desk.balance()

    row = await take_row(desk.till, file.file, 3, BY, "плательщик назвал счёт", Mended(account="1000001"))

    assert row is not None
    assert (row.outcome, row.payment_id) == (RowOutcome.MATCHED, "p-2")
    assert await desk.balance() == before


async def test_an_equal_row_is_taken_as_a_payment_of_its_own(desk: Desk) -> None:
    await desk.taken(evening(["1000001;200.00"]), "Ex.txt")
    file = await desk.taken(evening(["1000001;200.00", "1000003;1.00"]), "Ey.txt")
    before = await desk.balance()

    row = await take_row(desk.till, file.file, 1, BY, "банк подтвердил два платежа", Mended())

    assert row is not None
    assert (row.outcome, row.payment_id) == (RowOutcome.CREDITED, f"register row {file.file}/1")
    assert await desk.balance() == before - 200


async def test_a_row_is_dismissed_with_its_ground(desk: Desk) -> None:
    file = await desk.taken(day(BAD))
    before = await desk.balance()

    row = await dismiss_row(desk.till, file.file, 3, BY, "банк отозвал платёж")

    assert row is not None
    assert (row.outcome, row.ground) == (RowOutcome.DISMISSED, "банк отозвал платёж")
    assert await dismiss_row(desk.till, file.file, 3, BY, "ещё раз") is None
    assert await take_row(desk.till, file.file, 3, BY, "передумали", Mended(account="1000001")) is None
    assert await dismiss_row(desk.till, file.file, 2, BY, "зачислена") is None
    assert await desk.balance() == before


@pytest.mark.parametrize(
    ("mended", "reason"),
    [
        (Mended(), Reason.BAD_ACCOUNT),
        (Mended(account="Иванов"), Reason.BAD_ACCOUNT),
        (Mended(account="1000001", amount=Decimal(-1)), Reason.BAD_AMOUNT),
        (Mended(account="1000001", paid_on=date(2024, 5, 21)), Reason.BAD_DATES),
        (Mended(account="1000001", paid_on=date(1024, 5, 21)), Reason.BAD_DATES),
    ],
)
async def test_a_row_is_not_taken_for_what_cannot_be(desk: Desk, mended: Mended, reason: Reason) -> None:
    file = await desk.taken(day(BAD))

    with pytest.raises(ResolveError) as raised:
        await take_row(desk.till, file.file, 3, BY, "проба", mended)

    assert raised.value.reason is reason
    assert await desk.outcomes(file) == ["CREDITED", "REVIEW BAD_ACCOUNT"]


async def test_a_decision_that_was_cut_off_is_carried_out_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await desk.taken(day(BAD))
    before = await desk.balance()
    kept = booking.Books.kept

    def dies(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(booking.Books, "kept", dies)
    with pytest.raises(OSError, match="power cut"):
        await take_row(desk.till, file.file, 3, BY, "плательщик назвал счёт", Mended(account="1000001"))
    monkeypatch.setattr(booking.Books, "kept", kept)
    assert await desk.outcomes(file) == ["CREDITED", "RESOLVING BAD_ACCOUNT"]
    assert await review.finish_resolving(desk.till) == 0
    desk.banks.house.wait(seconds=review.RESOLVING_S)
    assert await review.finish_resolving(desk.till) == 1

    assert await desk.outcomes(file) == ["CREDITED", "CREDITED BAD_ACCOUNT"]
    assert await desk.balance() == before - 50


async def test_another_bank_s_payment_of_the_same_id_is_not_met(desk: Desk) -> None:
    await pay(desk.till, desk.banks.agent("app"), replace(ONLINE, payment_id="p-1", amount=Decimal("200.00")))
    before = await desk.balance()

    file = await desk.taken(day(["p-1;1000001;200.00"]))

    assert await desk.outcomes(file) == ["CREDITED"]
    assert await desk.balance() == before - 200
