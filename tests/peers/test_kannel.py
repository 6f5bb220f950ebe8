"""The SMS channel behind the real Kannel: what a phone hears is what stands in the journal, also after bels was down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from bels.access.door import RAW_KEY
from bels.access.master_key import development_key
from bels.access.raw_texts import RawTexts
from bels.access.vault import Vault
from bels.domain.events import ReadingAccepted, ReadingConfirmed, ReadingHeld, ReadingRefused
from bels.domain.terms import HoldReason, Reason, Register
from bels.journal.journal import find_receipt
from bels.messages import Outcome, Status, outcomes_of
from bels.words import TRY_LATER, answer, in_sms
from tests.conftest import database_of, new_supplier
from tests.peers.kannel import Kannel, kannel, need_kannel
from tests.servers import Server, open_household, serving, start, wait_until_well

pytestmark = pytest.mark.peer

TOKEN = "s3cret"
NAME = "bels_test_kannel"
ONE_ZONE = [f"10000{number:02d}" for number in range(10)]
TWO_ZONES = ["1000020", "1000021", "1000022"]


@dataclass(slots=True)
class Town:
    """A small supplier: its server, its database and its SMS gateway."""

    server: Server
    environment: dict[str, str]
    postgres: str
    gateway: Kannel

    async def stored(self, text: str) -> list[Outcome]:
        """Give the outcomes of the messages with this text, as the journal has them."""
        db = await asyncpg.connect(database_of(self.postgres, NAME))
        try:
            rows = await db.fetch(
                "SELECT receipt FROM message WHERE channel = 'sms' AND raw::jsonb ->> 'text' = $1 ORDER BY recorded_at",
                await self.kept(text),
            )
            found = [await find_receipt(db, row["receipt"]) for row in rows]
            return await outcomes_of(db, [message for message in found if message is not None])
        finally:
            await db.close()

    async def kept(self, text: str) -> str:
        """Give a text as it is kept: sealed, where it holds more than a reading."""
        master = development_key(Path(self.environment["BELS_DATA_DIR"]))
        async with asyncpg.create_pool(database_of(self.postgres, NAME), min_size=1, max_size=1) as pool:
            return RawTexts(await Vault(pool, master).named_key(RAW_KEY)).kept(text)

    async def readings(self, account: str) -> int:
        """Count the readings of an account in the journal."""
        db = await asyncpg.connect(database_of(self.postgres, NAME))
        try:
            counted = await db.fetchval(
                "SELECT count(*) FROM journal WHERE originator_id = $1 AND topic LIKE 'reading-%'", account
            )
            return int(counted)
        finally:
            await db.close()

    async def hears(self, text: str) -> tuple[str, Outcome]:
        """Send a text; give what the phone hears and the one outcome in the journal, which must say the same."""
        said = await self.gateway.phone.hears(text)
        [outcome] = await self.stored(text)
        assert said == in_sms(answer(outcome, linked=True), outcome.receipt)
        assert f"№{outcome.receipt}" in said
        return said, outcome

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
def town(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Serve a small supplier behind Kannel."""
    need_kannel()

    environment = {"BELS_DATABASE_URL": new_supplier(postgres, template, NAME), "BELS_SMS_TOKEN": TOKEN}
    environment["BELS_DATA_DIR"] = str(tmp_path_factory.mktemp("bels"))
    with serving(environment) as servers:
        asyncio.run(_households(servers[0].url))
        with kannel(tmp_path_factory.mktemp("kannel"), servers[0].url, TOKEN) as gateway:
            served = Town(servers[0], environment, postgres, gateway)
            yield served
        # The one that was started in place of a killed one is to be stopped.
        servers[0] = served.server


async def _households(url: str) -> None:
    # Three days ago: a household can use a thousand kWh since then, not fifty thousand.
    at = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    async with httpx.AsyncClient(timeout=30) as client:
        for account in ONE_ZONE:
            await open_household(client, url, account, {"TOTAL": 10200}, at)
        for account in TWO_ZONES:
            await open_household(client, url, account, {"DAY": 3000, "NIGHT": 1500}, at)


async def test_a_reading_is_accepted_and_the_answer_arrives_whole(town: Town) -> None:
    said, outcome = await town.hears("1000000#10385")

    assert said.startswith(f"Принято №{outcome.receipt}: л/с 1000000, 10385, расход 185 кВт·ч.")
    assert "ойдёт в счёт за " in said
    assert (outcome.status, outcome.account) == (Status.ACCEPTED, "1000000")
    accepted = outcome.events[0]
    assert isinstance(accepted, ReadingAccepted)
    assert accepted.values == {Register.TOTAL: 10385}


async def test_the_same_text_again_hears_the_same_words_and_changes_nothing(town: Town) -> None:
    first, outcome = await town.hears("1000001#10385")
    again, same = await town.hears("1000001#10385")

    assert again == first
    assert same == outcome
    assert await town.readings("1000001") == 1


async def test_a_lower_reading_is_held_for_an_operator(town: Town) -> None:
    said, outcome = await town.hears("1000002#10100")

    assert "10100 меньше прежнего" in said
    held = outcome.events[0]
    assert isinstance(held, ReadingHeld)
    assert held.reason is HoldReason.LESS_THAN_PREVIOUS


async def test_an_implausible_reading_is_held_until_the_sender_confirms_it(town: Town) -> None:
    said, outcome = await town.hears("1000003#60200")
    assert said.endswith(f"Если верно, ответьте ДА {outcome.receipt}")
    held = outcome.events[0]
    assert isinstance(held, ReadingHeld)
    assert held.reason is HoldReason.IMPLAUSIBLE

    said, confirmation = await town.hears(f"ДА {outcome.receipt}")
    assert f"Подтверждено №{confirmation.receipt}" in said
    assert confirmation.account == "1000003"
    confirmed = confirmation.events[0]
    assert isinstance(confirmed, ReadingConfirmed)
    assert confirmed.reading == outcome.version


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("9999999#10385", Reason.UNKNOWN_ACCOUNT, "Л/с 9999999 не найден"),
        ("100000#10385", Reason.BAD_ACCOUNT, "должно быть 7 цифр, у вас 6"),
        ("1000020#3100", Reason.TOO_FEW_VALUES, "нужно 2 показания (день, ночь), у вас 1. Пример: 1000020#12345#6789"),
        ("1000004#1#2", Reason.TOO_MANY_VALUES, "нужно 1 показание, у вас 2. Пример: 1000004#12345"),
        ("1000004#103a85", Reason.BAD_VALUE, "Не понято «103a85»"),
        ("hello & goodbye, 100% + more?", Reason.BAD_ACCOUNT, "должно быть 7 цифр"),
        ("когда дадут свет?!", Reason.NOT_UNDERSTOOD, "Не понято. Пример: 1000000#12345"),
    ],
)
async def test_a_text_that_is_no_reading_is_answered_with_what_to_do(
    town: Town, text: str, reason: Reason, words: str
) -> None:
    said, outcome = await town.hears(text)

    assert words in said
    assert outcome.status is Status.REFUSED
    refused = outcome.events[0]
    assert isinstance(refused, ReadingRefused)
    assert refused.reason is reason


async def test_a_cyrillic_text_is_read(town: Town) -> None:
    said, outcome = await town.hears("Показания 1000021: ночь 1550, день 3100")

    assert "день 3100, ночь 1550" in said
    accepted = outcome.events[0]
    assert isinstance(accepted, ReadingAccepted)
    assert accepted.values == {Register.DAY: 3100, Register.NIGHT: 1550}


async def test_a_cyrillic_text_is_read_from_a_gateway_that_leaves_it_in_ucs_2(town: Town, tmp_path: Path) -> None:
    with kannel(tmp_path, town.server.url, TOKEN, recode=False) as gateway:
        said = await gateway.phone.hears("л/с 1000022 день 3100 ночь 1550")

    assert "день 3100, ночь 1550" in said
    [outcome] = await town.stored("л/с 1000022 день 3100 ночь 1550")
    assert outcome.status is Status.ACCEPTED


@pytest.mark.parametrize(("down", "account"), [("bels", "1000005"), ("its database", "1000006")])
async def test_what_is_sent_while_bels_is_down_is_taken_once_when_it_is_back(
    town: Town, down: str, account: str
) -> None:
    text = f"{account}#10385"
    async with town.without(down):
        hearing = asyncio.create_task(town.gateway.phone.hears(text))
        await town.gateway.repeats(text)
        assert not hearing.done()
        gone_until = datetime.now(UTC)
    said = await hearing

    assert said.startswith("Принято №")
    [outcome] = await town.stored(text)
    assert outcome.receipt in said
    assert await town.readings(account) == 1
    accepted = outcome.events[0]
    assert isinstance(accepted, ReadingAccepted)
    assert accepted.received_at < gone_until, "a reading is as old as its SMS, not as bels's return"


async def test_a_gateway_with_a_wrong_token_is_not_heard(town: Town, tmp_path: Path) -> None:
    with kannel(tmp_path, town.server.url, "guessed", repeats=0) as gateway:
        assert await gateway.phone.hears("1000007#10385") == TRY_LATER

    assert await town.stored("1000007#10385") == []
    assert await town.readings("1000007") == 0
