"""The twelve semantic cases of every channel as data, and what each must leave behind (channels 1).

A channel's test writes a ``Driver`` and runs ``check`` over ``CASES``; the same data goes through every gateway and must give the
same outcome code, one receipt and the same journal. A channel that cannot name a meter leaves out the cases that do.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg

from bels.domain.terms import Register
from bels.journal.journal import read
from bels.reception.counter import receipt_state
from tests.channels.house import House
from tests.channels.household import moscow
from tests.conftest import database_of

TRY_LATER = "TRY_LATER"
"""The code of an answer to a message that could not be stored: the gateway keeps it."""

ENDED_WITHIN_MS = 10_000

TOTAL, DAY = Register.TOTAL, Register.DAY


@dataclass(frozen=True, slots=True)
class Heard:
    """What the sender heard: the code of the outcome, the receipt ("" where nothing was stored), the words."""

    code: str
    receipt: str
    words: str


class Driver(Protocol):
    """A channel as its sender sees it."""

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Send a reading as a new message, and hear the answer.

        ``meter`` is the number of the meter where it is named. ``text`` is sent instead where it is given: rubbish, which a
        dialogue repeats until it ends. A channel that hears that nothing can be stored gives the code TRY_LATER.
        """

    async def again(self, house: House) -> Heard:
        """Let the gateway send its last message once more, under the same name."""


async def _nothing(_: House) -> None:
    pass


async def _to_the_26th(house: House) -> None:
    house.at = moscow("2024-05-26T12:00")


@dataclass(frozen=True, slots=True)
class Case:
    """One of the twelve. ``events`` are what the account's journal has more afterwards, the names of their types.

    ``times`` it is sent as so many messages, and the last answer counts; ``down``: the database cannot be reached at first.
    """

    number: int
    name: str
    account: str
    values: Mapping[Register, str]
    code: str
    events: tuple[str, ...]
    meter: str | None = None
    text: str | None = None
    times: int = 1
    down: bool = False
    prepare: Callable[[House], Awaitable[None]] = field(default=_nothing, repr=False)

    def __str__(self) -> str:
        """Name the case in a test's parameters."""
        return f"{self.number}_{self.name}"


CASES: tuple[Case, ...] = (
    Case(1, "ok", "1000001", {TOTAL: "10385"}, "ACCEPTED", ("ReadingAccepted",)),
    Case(2, "repeat", "1000001", {TOTAL: "10385"}, "REPEATED", ("ReadingAccepted",), times=2),
    Case(3, "lower_than_previous", "1000001", {TOTAL: "9999"}, "LESS_THAN_PREVIOUS", ("ReadingHeld",)),
    Case(4, "implausibly_high", "1000001", {TOTAL: "99000"}, "IMPLAUSIBLE", ("ReadingHeld",)),
    Case(5, "unknown_account", "9999999", {TOTAL: "10385"}, "UNKNOWN_ACCOUNT", ()),
    Case(6, "meter_of_another", "1000001", {TOTAL: "10385"}, "FOREIGN_METER", ("ReadingRefused",), meter="E-3"),
    Case(7, "closed_meter", "1000007", {TOTAL: "10385"}, "METER_CLOSED", ("ReadingRefused",), meter="E-7"),
    Case(8, "wrong_number_of_zones", "1000003", {DAY: "3100"}, "TOO_FEW_VALUES", ("ReadingRefused",)),
    Case(
        9,
        "outside_the_window",
        "1000001",
        {TOTAL: "10385"},
        "ACCEPTED_NEXT_PERIOD",
        ("ReadingAccepted",),
        prepare=_to_the_26th,
    ),
    Case(10, "smart_meter", "1000004", {TOTAL: "10385"}, "METER_NOT_READ_BY_CONSUMER", ("ReadingRefused",)),
    Case(11, "garbage", "", {}, "NOT_UNDERSTOOD", (), text="привет как дела"),
    Case(12, "down", "1000001", {TOTAL: "10385"}, "ACCEPTED", ("ReadingAccepted",), down=True),
)
"""All of them, in the order of the specification."""

CASES_WITHOUT_METER = tuple(case for case in CASES if case.meter is None)
"""Those of a channel that cannot name a meter."""


async def check(house: House, driver: Driver, case: Case) -> Heard:
    """Run a case through a channel; the code, the receipt, the journal and the words must be right. Gives the last answer."""
    await case.prepare(house)
    before = await journal_of(house, case.account)

    async def send() -> Heard:
        return await driver.send(house, case.account, dict(case.values), meter=case.meter, text=case.text)

    if case.down:
        async with unreachable(house):
            refused = await send()
        assert (refused.code, refused.receipt) == (TRY_LATER, ""), refused
        assert await journal_of(house, case.account) == before
        heard = await driver.again(house)
        assert (await driver.again(house)).receipt == heard.receipt
    else:
        answers = [await send() for _ in range(case.times)]
        heard = answers[-1]
        assert {answer.receipt for answer in answers} == {heard.receipt}
    assert heard.code == case.code, heard
    assert heard.receipt, heard
    assert heard.receipt in heard.words, heard
    state = await receipt_state(house.desk, heard.receipt)
    assert state is not None
    assert state.account == case.account
    after = await journal_of(house, case.account)
    assert tuple(after[len(before) :]) == case.events
    return heard


async def journal_of(house: House, account: str) -> list[str]:
    """List the types of the events in an account's journal."""
    async with house.desk.pool.acquire() as db:
        return [type(entry.event).__name__ for entry in await read(db, {account: 0})]


@asynccontextmanager
async def unreachable(house: House) -> AsyncIterator[None]:
    """Make the database unreachable for everybody: its connections end, new ones are refused."""
    assert house.bels is not None
    name = await house.desk.pool.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(database_of(house.bels.url, "postgres"))
    try:
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE datname = $1", name, ENDED_WITHIN_MS
        )
        # A pool that has not noticed yet would fail once more when the database is back.
        await sleep(0.01)
        yield
    finally:
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        await admin.close()
