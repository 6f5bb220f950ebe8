"""The SMS channel behind the real Kannel and an operator's SMSC: what a phone hears is what stands in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import asyncpg
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bels.channels.sms import guard, sms_routes
from bels.domain.events import ReadingAccepted
from bels.domain.terms import Channel, Register
from bels.journal.journal import find_receipt
from bels.messages import Outcome, outcomes_of
from bels.outgoing.kannel import TEXT_LENGTH_MAX, Report, report_url, send_sms
from bels.outgoing.results import Refused, Sent, TryAgain
from bels.reception.counter import code_of
from bels.words import TRY_LATER
from tests.channels.cases import CASES, Case, Heard, check
from tests.channels.cases import TRY_LATER as NOT_STORED
from tests.channels.house import House, opened_house
from tests.channels.test_sms import receipt_in
from tests.conftest import database_of, new_supplier
from tests.peers.kannel import GATEWAY_PASSWORD, Kannel, kannel, need_kannel
from tests.peers.smsc import ISO_8859_5, UCS_2
from tests.servers import Server, free_port, open_household, start, wait_until_well

pytestmark = pytest.mark.peer

TOKEN = "s3cret & 100%"
NAME = "bels_test_kannel"
PHONE, OTHER = "+79161234567", "+79031112233"
SLOW_S = 0.5
SILENCE_S = 0.3
"""How long a phone listens before it says that nothing came."""


@dataclass(slots=True)
class Front:
    """The address at which Kannel finds bels, whichever supplier a test has opened behind it."""

    url: str
    app: ASGIApp = field(default_factory=lambda: PlainTextResponse("nobody is there", 503))
    reports: asyncio.Queue[tuple[str, Report]] = field(default_factory=asyncio.Queue)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def opens(self, house: House, wait_s: float = 8.0) -> None:
        """Let a supplier answer from now on."""
        routes = sms_routes(house.desk, guard(TOKEN), delivered=self._delivered, wait_s=wait_s)
        self.app = Starlette(routes=routes)

    async def _delivered(self, key: str, report: Report) -> None:
        self.reports.put_nowait((key, report))


@pytest.fixture(scope="module")
async def front() -> AsyncIterator[Front]:
    """Serve at one address in this process."""
    port = free_port()
    made = Front(f"http://127.0.0.1:{port}")
    server = uvicorn.Server(
        uvicorn.Config(made, port=port, lifespan="off", log_level="warning", log_config=None, ws="none")
    )
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield made
    server.should_exit = True
    await serving


@pytest.fixture(scope="module")
async def gateway(front: Front, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kannel]:
    """Run Kannel before that address."""
    async with kannel(tmp_path_factory.mktemp("kannel"), front.url, TOKEN) as running:
        yield running


@pytest.fixture
async def house(front: Front, database: str, tmp_path: Path) -> AsyncIterator[House]:
    """Open a supplier behind the gateway."""
    async with opened_house(database, tmp_path) as opened:
        front.opens(opened)
        yield opened


async def said(house: House, gateway: Kannel, text: str, number: str = PHONE) -> str:
    """Send a text a second later, and hear the answer."""
    house.wait(seconds=1)
    return await gateway.operator.hears(number, text)


async def accepted(house: House, account: str) -> int:
    """Count the readings of an account that were accepted since the house was opened."""
    async with house.desk.pool.acquire() as db:
        counted = await db.fetchval(
            "SELECT count(*) FROM journal WHERE originator_id = $1 AND topic LIKE 'reading-accepted%'", account
        )
    return int(counted)


@dataclass(slots=True)
class ByTelephone:
    """Sends the twelve cases from a phone; Kannel keeps what bels does not take."""

    gateway: Kannel
    text: str = ""
    kept: bool = False
    told: frozenset[str] = frozenset()

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Send a reading; an answer that does not come says that Kannel has tried again in vain."""
        named = f" счетчик №{meter}" if meter is not None else ""
        written = "#".join(values[r] for r in (Register.TOTAL, Register.DAY, Register.NIGHT) if r in values)
        self.text = text if text is not None else f"{account}{named}#{written}"
        house.wait(seconds=1)
        await self.gateway.operator.deliver(PHONE, self.text)
        if not await _is_reachable(house):
            await self.gateway.repeats(self.text)
            assert self.gateway.operator.is_silent(PHONE)
            self.kept = True
            return Heard(NOT_STORED, "", TRY_LATER)
        return await self._heard(house)

    async def again(self, house: House) -> Heard:
        """Wait for what Kannel kept; then let the operator send it once more, which Kannel gives another id."""
        if self.kept:
            self.kept = False
        else:
            await self.gateway.operator.deliver(PHONE, self.text)
        return await self._heard(house)

    async def _heard(self, house: House) -> Heard:
        words = await self.gateway.operator.heard(PHONE)
        receipt = receipt_in(words)
        code = "REPEATED" if receipt in self.told else await _code(house, receipt)
        self.told |= {receipt}
        return Heard(code, receipt, words)


async def _is_reachable(house: House) -> bool:
    try:
        async with house.desk.pool.acquire() as db:
            await db.fetchval("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def _code(house: House, receipt: str) -> str:
    async with house.desk.pool.acquire() as db:
        found = await find_receipt(db, receipt)
        assert found is not None
        [outcome] = await outcomes_of(db, [found])
    return code_of(replace(outcome, repeated=False))


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_the_twelve_cases_through_kannel(house: House, gateway: Kannel, case: Case) -> None:
    await check(house, ByTelephone(gateway), case)


async def test_a_text_is_read_however_it_travels(house: House, gateway: Kannel) -> None:
    await house.link("1000003", Channel.SMS, PHONE)
    operator = gateway.operator

    async def heard(day: int) -> None:
        answer = await operator.heard(PHONE)
        assert f"день {day}, ночь 1600" in answer
        house.wait(seconds=1)

    await operator.deliver(PHONE, "1000003#3130#1600")
    await heard(3130)
    await operator.deliver(PHONE, "л/с 1000003 день 3131 ночь 1600")
    await heard(3131)
    await operator.deliver(PHONE, "л/с 1000003 день 3132 ночь 1600", coding=ISO_8859_5)
    await heard(3132)
    await operator.deliver(PHONE, "л/с 1000003 день 3133 ночь 1600", coding=UCS_2, payload=True)
    await heard(3133)
    await operator.deliver(PHONE, "1000003#3134#1600", coding=UCS_2)
    await heard(3134)
    await operator.deliver(PHONE, "1000003_3135 $1600")
    assert "Не понято" in await operator.heard(PHONE)
    parts = ["Здравствуйте! Лицевой счёт 1000003, пока", "зания счётчика: день 31", "36, ночь 1600. Спасибо!"]
    await operator.deliver_in_parts(PHONE, parts, [2, 0, 1])
    await heard(3136)
    await operator.deliver_in_parts(PHONE, [*"1000003#3137#", "1600"], [6, 4, 13, 0, 11, 2, 9, 1, 12, 3, 5, 7, 8, 10])
    await heard(3137)


async def test_a_damaged_text_is_not_taken(house: House, gateway: Kannel) -> None:
    await gateway.operator.deliver(PHONE, "1000001#103855".encode("utf-16-be")[:-1], coding=UCS_2)

    assert "Не понято" in await gateway.operator.heard(PHONE)
    assert await accepted(house, "1000001") == 0


async def test_the_same_message_three_times_is_one_reading(house: House, gateway: Kannel) -> None:
    answers = [await said(house, gateway, "1000001#10385") for _ in range(3)]
    await asyncio.gather(*(gateway.operator.deliver(OTHER, "1000006#3130#1600") for _ in range(3)))
    answers_at_once = [await gateway.operator.heard(OTHER) for _ in range(3)]

    assert len(set(answers)) == len(set(answers_at_once)) == 1
    assert await accepted(house, "1000001") == await accepted(house, "1000006") == 1


async def test_a_long_cyrillic_answer_arrives_whole_and_short_in_ucs_2(house: House, gateway: Kannel) -> None:
    await house.link("1000001", Channel.SMS, PHONE)
    answer = await said(house, gateway, "1000001#10385")

    assert answer == f"Принято №{receipt_in(answer)}: л/с 1000001, 10385, расход 185 кВт·ч. Войдёт в счёт за май"


async def test_a_slow_database_is_waited_for_by_kannel_and_nothing_is_doubled(
    house: House, front: Front, gateway: Kannel
) -> None:
    front.opens(house, SLOW_S)
    async with house.desk.pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
        await gateway.operator.deliver(PHONE, "1000001#10386")
        await gateway.repeats("1000001#10386")
        assert gateway.operator.is_silent(PHONE)

    assert (await gateway.operator.heard(PHONE)).startswith("Принято №")
    await asyncio.sleep(SILENCE_S)
    assert gateway.operator.is_silent(PHONE)
    assert await accepted(house, "1000001") == 1


async def test_a_gateway_with_a_wrong_token_is_not_heard(house: House, front: Front, tmp_path: Path) -> None:
    folder = tmp_path / "guessing"
    folder.mkdir()
    async with kannel(folder, front.url, "guessed", http_request_retry="0") as guessing:
        assert await guessing.operator.hears(PHONE, "1000001#10385") == TRY_LATER

    async with house.desk.pool.acquire() as db:
        assert await db.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'") == 0


async def test_what_is_sent_out_is_reported_by_its_key(house: House, front: Front, gateway: Kannel) -> None:
    key, secret = count(1), house.desk.door.sender_key

    async def sends(to: str, text: str, password: str = GATEWAY_PASSWORD) -> Sent | Refused | TryAgain:
        url = report_url(front.url, f"text {next(key)}", secret)
        async with httpx.AsyncClient() as http:
            return await send_sms(http, gateway.sendsms, "bels", password, to, text, url)

    async def reports(many: int) -> set[tuple[str, Report]]:
        async with asyncio.timeout(20):
            return {await front.reports.get() for _ in range(many)}

    reminder = "Передайте показания до 25-го: 1000001#12345. Без них начислят по среднему."
    assert await sends("+79160000001", reminder) == Sent()
    assert await gateway.operator.heard("+79160000001") == reminder
    assert await reports(2) == {("text 1", Report.TAKEN), ("text 1", Report.DELIVERED)}
    assert await sends("+79160000100", "Никто не услышит") == Sent()
    assert await reports(2) == {("text 2", Report.TAKEN), ("text 2", Report.FAILED)}
    assert await sends("+79160000099", "Оператор откажет") == Sent()
    assert await reports(1) == {("text 3", Report.FAILED)}
    assert await sends("+79160000002", "BELS, latin") == Sent()
    assert await gateway.operator.heard("+79160000002") == "BELS, latin"
    longest = "ы" * TEXT_LENGTH_MAX
    assert await sends("+79160000003", longest) == Sent()
    assert await gateway.operator.heard("+79160000003") == longest
    assert await sends("+79160000004", longest + "ы") == Refused("TOO_LONG")
    assert await sends("+79160000005", "привет", "wrong") == TryAgain("WRONG_USER")
    async with httpx.AsyncClient() as http:
        nobody = await send_sms(http, f"http://127.0.0.1:{free_port()}/", "bels", "x", PHONE, "текст", "")
    assert nobody == TryAgain("ConnectError")


@dataclass(slots=True)
class Town:
    """A small supplier served by a process of its own: its server, its database and its SMS gateway."""

    server: Server
    environment: dict[str, str]
    postgres: str
    gateway: Kannel

    async def stored(self, account: str) -> list[Outcome]:
        """Give the outcomes of the SMS of an account, as the journal has them."""
        db = await asyncpg.connect(database_of(self.postgres, NAME))
        try:
            rows = await db.fetch("SELECT receipt FROM message WHERE channel = 'sms' AND account = $1", account)
            found = [await find_receipt(db, row["receipt"]) for row in rows]
            return await outcomes_of(db, [message for message in found if message is not None])
        finally:
            await db.close()

    async def readings(self, account: str) -> int:
        """Count the readings of an account in the journal."""
        db = await asyncpg.connect(database_of(self.postgres, NAME))
        try:
            counted = "SELECT count(*) FROM journal WHERE originator_id = $1 AND topic LIKE 'reading-%'"
            return int(await db.fetchval(counted, account))
        finally:
            await db.close()

    @asynccontextmanager
    async def without(self, what: str) -> AsyncIterator[None]:
        """Be without the server, killed, or without its database, which takes no connections."""
        if what == "bels":
            await asyncio.to_thread(self.server.kill)
            try:
                yield
            finally:
                port = int(self.server.url.rpartition(":")[2])
                self.server = await asyncio.to_thread(start, self.environment, port)
            return
        db = await asyncpg.connect(self.postgres)
        try:
            await db.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS false")
            await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", NAME)
            yield
        finally:
            await db.execute(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS true")
            await db.close()
        await wait_until_well(self.server.url)


@pytest.fixture(scope="module")
async def town(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Serve a small supplier behind Kannel."""
    need_kannel()
    database = await asyncio.to_thread(new_supplier, postgres, template, NAME)
    environment = {"BELS_DATABASE_URL": database, "BELS_SMS_TOKEN": TOKEN}
    environment["BELS_DATA_DIR"] = str(tmp_path_factory.mktemp("bels"))
    server = await asyncio.to_thread(start, environment)
    served: Town | None = None
    try:
        # Three days ago: a household can use a thousand kWh since then, not fifty thousand.
        at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
        async with httpx.AsyncClient(timeout=30) as client:
            for i in range(1, 7):
                await open_household(client, server.url, f"100000{i}", {"TOTAL": 10200}, at)
        async with kannel(tmp_path_factory.mktemp("kannel"), server.url, TOKEN) as running:
            served = Town(server, environment, postgres, running)
            yield served
    finally:
        last = served.server if served is not None else server
        last.process.terminate()
        await asyncio.to_thread(last.process.wait, 30)


@pytest.mark.parametrize(
    ("down", "accounts"),
    [("bels", ("1000001", "1000002", "1000003")), ("its database", ("1000004", "1000005", "1000006"))],
)
async def test_what_is_sent_while_bels_is_down_is_taken_once_when_it_is_back(
    town: Town, down: str, accounts: tuple[str, ...]
) -> None:
    operator = town.gateway.operator
    async with town.without(down):
        for account in accounts:
            await operator.deliver(f"+7916{account}", f"{account}#10385")
        for account in accounts:
            await town.gateway.repeats(f"{account}#10385")
            assert operator.is_silent(f"+7916{account}")
        gone_until = datetime.now(UTC)
    answers = [await operator.heard(f"+7916{account}") for account in accounts]

    assert all(answer.startswith("Принято №") for answer in answers)
    assert len({receipt_in(answer) for answer in answers}) == len(accounts)
    for account in accounts:
        [outcome] = await town.stored(account)
        assert await town.readings(account) == 1
        assert operator.is_silent(f"+7916{account}")
        event = outcome.events[0]
        assert isinstance(event, ReadingAccepted)
        assert event.received_at < gone_until, "a reading is as old as its SMS, not as bels's return"
