"""A partner that repeats everything, cuts connections and calls at once, while servers are killed: every kopeck once, one answer for one id."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import asyncpg
import httpx
import msgspec
import pytest

from bels.access.callers import SCOPES, Kind
from bels.access.clients import add_client
from bels.app import opened
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel
from bels.embedded import embedded, postmaster_pid
from bels.journal import journal
from bels.settings import Settings
from tests.servers import Server, free_port, open_household, start, wait_until_well
from tests.supplier import check_rebuild

logger = logging.getLogger(__name__)

ACCOUNTS = [str(1000100 + i) for i in range(40)]
NOBODYS = "1999999"
AT_ONCE = 24
SENDS = 3
WAIT_S = 0.1

PAY = """mutation($input: PayWithReadingInput!) { payWithReading(input: $input) { __typename
  ... on PaymentTaken { receipt replayed accountNumber amount commission total balance unallocated paidOn
    reading { state code text hint receipt } }
  ... on CommandRefused { refused: receipt replayed code detail } } }"""
CANCEL = """mutation($input: CancelPaymentInput!) { cancelPayment(input: $input) { __typename
  ... on PaymentCancelled { receipt replayed amount } ... on CommandRefused { replayed code } } }"""
STATUS = "query($id: ID!) { partnerPayment(paymentId: $id) { state receipt amount } }"
LATER = {"TRY_LATER", "OPERATION_TIMED_OUT", "RATE_LIMITED"}

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """A payment as the program has it: ``number`` is its id; by OSMP where ``is_osmp``."""

    number: int
    account: str
    amount: Decimal
    paid_at: datetime
    value: str | None
    is_osmp: bool

    @property
    def id(self) -> str:
        """Name it."""
        return str(1_000_000 + self.number)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it is written to a connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    read: Callable[[bytes], Answer | None]


@dataclass(slots=True)
class Bank:
    """The program: what it was told for every id, and what it holds to be paid."""

    urls: list[str]
    client: str
    secret: str
    token: str = ""
    paid: dict[str, Decimal] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    sent: int = 0
    cut: int = 0
    broken: int = 0
    done: int = 0
    by_osmp: int = 0
    chance: Random = field(default_factory=lambda: Random(1))

    async def sign_in(self, http: httpx.AsyncClient) -> None:
        """Get a token."""
        form = {"grant_type": "client_credentials"}
        answer = await http.post(f"{self.urls[0]}/oauth/token", data=form, auth=(self.client, self.secret))
        if answer.status_code == 200:
            self.token = answer.json()["access_token"]

    async def run(self, operations: Sequence[Operation]) -> None:
        """Carry all operations out, some at once."""
        waiting = list(reversed(operations))
        limits = httpx.Limits(max_connections=AT_ONCE * SENDS)
        async with httpx.AsyncClient(timeout=20, limits=limits) as http:

            async def work() -> None:
                while waiting:
                    await self._carry_out(http, waiting.pop())
                    self.done += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(work())

    async def _carry_out(self, http: httpx.AsyncClient, operation: Operation) -> None:
        call = self._pay(operation)
        match operation.number % 3:
            case 0:
                await self._send_and_hang_up(call)
                answers = [await self._until_answered(http, call) for _ in range(SENDS)]
            case 1:
                answers = list(await asyncio.gather(*(self._until_answered(http, call) for _ in range(SENDS))))
            case _:
                first = await self._until_answered(http, call)
                await self._send_and_hang_up(call)
                answers = [first, await self._until_answered(http, call), await self._until_answered(http, call)]
        assert answers[0] == answers[1] == answers[2], answers
        told = answers[0]
        if not told["taken"]:
            self.refused.add(operation.id)
            return
        assert Decimal(told["amount"]) == operation.amount, told
        self.paid[operation.id] = operation.amount
        self.by_osmp += operation.is_osmp
        if operation.number % 10 == 0:
            other = self._pay(operation, operation.amount + 1)
            reused = await self._until_answered(http, other)
            assert (reused["taken"], reused["code"]) == (False, "300" if operation.is_osmp else "MESSAGE_ID_REUSED")
        if operation.number % 15 == 0:
            await self._cancel(http, operation)

    async def _cancel(self, http: httpx.AsyncClient, operation: Operation) -> None:
        given = {"paymentId": operation.id, "reason": "ошибка кассира"}
        call = self._graphql(CANCEL, {"input": given})
        await self._send_and_hang_up(call)
        told = await asyncio.gather(*(self._until_answered(http, call) for _ in range(SENDS)))
        assert told[0] == told[1] == told[2], told
        # At midnight the day is over.
        if told[0]["taken"]:
            self.cancelled.add(operation.id)

    def _pay(self, operation: Operation, amount: Decimal | None = None) -> Call:
        amount = amount if amount is not None else operation.amount
        if operation.is_osmp:
            return self._osmp(operation, amount)
        values = [{"place": "1", "value": operation.value}] if operation.value is not None else None
        given = {
            "paymentId": operation.id,
            "account": operation.account,
            "amount": str(amount),
            "paidAt": operation.paid_at.isoformat(timespec="seconds"),
            "commission": "1.50",
            "values": values,
        }
        return self._graphql(PAY, {"input": given})

    def _graphql(self, query: str, variables: dict[str, Any]) -> Call:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.token}"}
        body = msgspec.json.encode({"query": query, "variables": variables})
        return Call("POST", "/graphql", headers, body, _of_graphql)

    def _osmp(self, operation: Operation, amount: Decimal) -> Call:
        given = {
            "command": "pay",
            "txn_id": operation.id,
            "txn_date": f"{operation.paid_at.astimezone(MOSCOW):%Y%m%d%H%M%S}",
            "account": operation.account,
            "sum": str(amount),
        }
        if operation.value is not None:
            given["data1"] = operation.value
        basic = b64encode(f"{self.client}:{self.secret}".encode()).decode()
        return Call("GET", f"/partners/osmp?{urlencode(given)}", {"authorization": f"Basic {basic}"}, b"", _of_osmp)

    async def _until_answered(self, http: httpx.AsyncClient, call: Call) -> Answer:
        while True:
            self.sent += 1
            url = self.chance.choice(self.urls) + call.path
            try:
                headers = self._signed(call)
                answer = await http.request(call.method, url, content=call.body, headers=headers)
                if answer.status_code == 401 and headers["authorization"] == f"Bearer {self.token}":
                    # A token lives for ten minutes.
                    await self.sign_in(http)
                told = call.read(answer.content) if answer.status_code in (200, 429, 503) else None
                assert answer.status_code in (200, 401, 429, 503), answer.text
            except httpx.HTTPError:
                told = None
            if told is not None:
                return told
            self.broken += 1
            await asyncio.sleep(WAIT_S)

    def _signed(self, call: Call) -> dict[str, str]:
        """Give the headers of a request, under the token that is valid now."""
        is_token = call.headers["authorization"].startswith("Bearer ")
        return {**call.headers, "authorization": f"Bearer {self.token}"} if is_token else call.headers

    async def _send_and_hang_up(self, call: Call) -> None:
        """Send a request and cut the connection before its answer."""
        self.sent += 1
        self.cut += 1
        at = urlsplit(self.chance.choice(self.urls))
        headers = {**self._signed(call), "host": at.netloc, "content-length": str(len(call.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            _, writer = await asyncio.open_connection(at.hostname, at.port)
            try:
                writer.write(f"{call.method} {call.path} HTTP/1.1\r\n{head}\r\n".encode() + call.body)
                await writer.drain()
                await asyncio.sleep(self.chance.choice((0, 0.002, 0.01)))
            finally:
                writer.close()
            await writer.wait_closed()
        except OSError:
            self.broken += 1


def _of_graphql(body: bytes) -> Answer | None:
    """Read an answer, without what says that it is a repeat; None is to be tried again."""
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    if told.get("errors"):
        assert told["errors"][0]["extensions"]["code"] in LATER, told
        return None
    (answer,) = told["data"].values()
    answer.pop("replayed")
    return {**answer, "taken": answer["__typename"] in ("PaymentTaken", "PaymentCancelled")}


def _of_osmp(body: bytes) -> Answer | None:
    try:
        told = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None
    answer = {each.tag: each.text for each in told}
    if answer["result"] in ("1", "90"):
        return None
    return {**answer, "taken": answer["result"] == "0", "amount": answer.get("sum"), "code": answer["result"]}


def operations(count: int, *, with_osmp: bool) -> list[Operation]:
    """Make operations: every eighth on one account, some for nobody, some of no sum, every third with a reading."""
    chance = Random(count)
    made = []
    for number in range(count):
        account = ACCOUNTS[0] if number % 8 == 0 else NOBODYS if number % 29 == 0 else chance.choice(ACCOUNTS)
        amount = Decimal(chance.randrange(1, 500_000)) / 100 if number % 31 else Decimal("0.00")
        value = str(100 + chance.randrange(400)) if number % 3 == 0 else None
        is_osmp = with_osmp and chance.random() < 0.4
        made.append(Operation(number, account, amount, datetime.now(UTC), value, is_osmp))
    return made


async def add_bank(url: str, folder: Path) -> tuple[str, str]:
    """Add the partner, and write its contract."""
    async with opened(Settings(database_url=url, data_dir=folder)) as bels, bels.pool.acquire() as db:
        client, secret = await add_client(db, bels.vault, Kind.PARTNER, "bank", Channel.BANK, tuple(SCOPES))
    terms = f'[partner.bank]\nclient = "{client}"\n\n[partner.bank.osmp]\nunknown_accounts = "keep"\n'
    (folder / "partners.toml").write_text(terms + 'readings = { data1 = "1" }\n')
    return client, secret


async def kill_a_server(servers: list[Server], environment: dict[str, str], which: int) -> None:
    """Kill a server, as a crash would, and start it again in its place."""
    await asyncio.to_thread(servers[which].kill)
    port = int(servers[which].url.rpartition(":")[2])
    servers[which] = await asyncio.to_thread(start, environment, port)


async def books_are_right(url: str, bank: Bank) -> None:
    """Check every kopeck: the payments of the view, the events of the journal, the books, and that they equal a rebuild."""
    standing = {name: amount for name, amount in bank.paid.items() if name not in bank.cancelled}
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        rows = await pool.fetch(
            "SELECT reference, amount, state FROM payment WHERE actor = $1", f"partner:{bank.client}"
        )
        assert len(rows) == len(bank.paid)
        assert {row["reference"]: row["amount"] for row in rows} == bank.paid
        assert {row["reference"] for row in rows if row["state"] != "RECEIVED"} == bank.cancelled
        (told,) = await pool.fetch(
            "SELECT count(*) AS n, sum((convert_from(state, 'UTF8')::jsonb #>> '{event,amount}')::numeric) AS total"
            " FROM journal WHERE topic LIKE 'payment-received.%'"
        )
        assert (told["n"], told["total"]) == (len(bank.paid), sum(bank.paid.values()))
        assert await pool.fetchval("SELECT sum(bank) FROM balance") == sum(standing.values())
        assert await pool.fetchval("SELECT count(*) FROM message WHERE status = 'PARKED'") == 0
        entries = await pool.fetch(
            "SELECT array_agg(originator_version ORDER BY originator_version) AS versions FROM journal GROUP BY originator_id"
        )
        assert all(row["versions"] == list(range(1, len(row["versions"]) + 1)) for row in entries)
        async with pool.acquire() as db:
            rulebook, _ = await journal.read_rulebook(db, 0)
        assert rulebook is not None
        await check_rebuild(pool, rulebook)


async def every_answer_stands(bank: Bank) -> None:
    """Check that the partner finds by its ids what it was told."""
    async with httpx.AsyncClient(timeout=20) as http:
        for name in sorted(bank.paid)[:20] + sorted(bank.refused)[:5]:
            asked = {"query": STATUS, "variables": {"id": name}}
            headers = {"authorization": f"Bearer {bank.token}"}
            told = (await http.post(f"{bank.urls[0]}/graphql", json=asked, headers=headers)).json()
            status = told["data"]["partnerPayment"]
            if name in bank.paid:
                assert Decimal(status["amount"]) == bank.paid[name]
                assert (status["state"] == "CANCELLED") == (name in bank.cancelled), status
            else:
                assert status is None or status["state"] == "REFUSED"


async def raid(folder: Path, count: int, kill: Callable[[list[Server], Bank], Awaitable[None]]) -> Bank:
    """Run the program against two servers while ``kill`` goes about; give what it was told."""
    environment = {"BELS_DATA_DIR": str(folder), "BELS_PARTNERS": str(folder / "partners.toml")}
    with embedded(folder) as url:
        client, secret = await add_bank(url, folder)
        starting = (asyncio.to_thread(start, environment, free_port()) for _ in range(2))
        servers = list(await asyncio.gather(*starting))
        try:
            async with httpx.AsyncClient(timeout=30) as http:
                opening = (open_household(http, servers[0].url, account, {"TOTAL": 100}) for account in ACCOUNTS)
                await asyncio.gather(*opening)
                bank = Bank([server.url for server in servers], client, secret)
                await bank.sign_in(http)
                osmp = await http.get(f"{servers[0].url}/partners/osmp")
            orders = operations(count, with_osmp=osmp.status_code != 404)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(bank.run(orders))
                await kill(servers, bank)
                await running
            await wait_until_well(servers[0].url)
            await books_are_right(url, bank)
            await every_answer_stands(bank)
            assert len(bank.paid) + len(bank.refused) == count
        finally:
            for server in servers:
                server.process.terminate()
            for server in servers:
                server.process.wait(30)
    return bank


async def until_done(bank: Bank, count: int) -> None:
    """Wait until so many operations are done."""
    while bank.done < count:  # noqa: ASYNC110  # no event for every operation
        await asyncio.sleep(0.01)


async def test_a_partner_that_repeats_and_hangs_up_pays_every_kopeck_once_while_a_server_is_killed(
    tmp_path: Path,
) -> None:
    environment = {"BELS_DATA_DIR": str(tmp_path), "BELS_PARTNERS": str(tmp_path / "partners.toml")}

    async def kill(servers: list[Server], bank: Bank) -> None:
        await until_done(bank, 150)
        await kill_a_server(servers, environment, 0)

    bank = await raid(tmp_path, 600, kill)
    assert bank.broken > 0


@pytest.mark.soak
async def test_ten_thousand_operations_and_five_kills(tmp_path: Path) -> None:
    environment = {"BELS_DATA_DIR": str(tmp_path), "BELS_PARTNERS": str(tmp_path / "partners.toml")}

    async def kill(servers: list[Server], bank: Bank) -> None:
        for number in range(5):
            await until_done(bank, 1_500 * (number + 1))
            if number == 2:
                pid = postmaster_pid(tmp_path)
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            else:
                await kill_a_server(servers, environment, number % 2)

    bank = await raid(tmp_path, 10_000, kill)
    assert bank.broken > 0
    figures = f"{bank.sent} requests, {bank.cut} cut, {bank.broken} broken; {len(bank.paid)} payments of "
    figures += f"{sum(bank.paid.values())} roubles, {len(bank.cancelled)} cancelled, {len(bank.refused)} refused"
    logger.info("%s, %d of them by OSMP", figures, bank.by_osmp)
