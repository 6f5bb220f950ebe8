"""Files of banks from end to end: pushed, dropped or due, they become money in the books, answers and charges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from bels.app import AppError, Bels
from bels.domain.commands import ClosePeriod
from bels.domain.terms import Period
from bels.exchanging import Exchanging, Turn, exchanging, send_charges, take_turn
from bels.payments.charges.layouts import charges_of
from bels.payments.exchange.contracts import Pull, exchange_of
from bels.payments.exchange.folders import STILL_S, Room
from bels.payments.exchange.registers import register_taker
from bels.payments.exchange.sftp_files import Guest
from bels.payments.exchange.sftp_server import guests_of, serving_sftp
from bels.payments.exchange.states import StateRow, Work, state_of
from bels.payments.reconciling.due import reconcile_days
from bels.settings import PartnerSettings
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.payments.conftest import Banks, opened_banks

ANSWER_WAIT_S = 20.0
ROW = "7977;00123;1;1;{sum};12.45;20/05/2024;CLIENTNO:{account};method_pay:1;CLIENTDOCNO:;CounterVal_1:{value}\n"
NAME = "evening_20240520.txt"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """Two banks and the folder where their files lie; «sber» has a key."""

    banks: Banks
    folder: Path
    key: asyncssh.SSHKey

    @property
    def bels(self) -> Bels:
        """The supplier, whose settings name the folder and a port."""
        host_key = self.folder / "host"
        settings = PartnerSettings(sftp=("127.0.0.1", 0), sftp_host_key=host_key, exchange=self.folder / "exchange")
        return replace(self.banks.bels, settings=replace(self.banks.bels.settings, partners=settings))

    @property
    def room(self) -> Room:
        """The folder of the bank."""
        return Room(self.folder / "exchange" / "sber")

    def drop(self, name: str, text: str) -> None:
        """Put a file where somebody who mounts the folder puts it."""
        (self.room.of("in") / name).write_bytes(text.encode("cp1251"))

    def answer(self, name: str) -> str:
        """Read what the bank is answered."""
        return (self.room.of("out") / f"{name}.result.txt").read_text("utf-8-sig")

    async def owes(self, account: str = "1000001") -> Decimal:
        """Say what an account owes."""
        return (await self.banks.till.intake.account(account)).ledger.balance

    async def state(self, work: Work) -> StateRow | None:
        """Say how a work stands."""
        async with self.bels.pool.acquire() as db:
            return await state_of(db, "sber", work)

    def work(self) -> tuple[Exchanging, Guest]:
        """Put together what one turn works with."""
        partner = self.banks.agent().partner
        agreed = [exchange_of(partner)]
        guests = guests_of(self.folder / "exchange", agreed)
        contract = charges_of(partner)
        told = {"sber": contract} if contract is not None else {}
        till = self.banks.till
        return Exchanging(till, register_taker(till), guests, told), guests["sber"]


@asynccontextmanager
async def opened_exchange(database: str, folder: Path, **more: Any) -> AsyncIterator[Exchanged]:
    """Open a supplier with two banks; ``more`` are tables of the bank «sber» beside its register."""
    key, host = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    host.write_private_key(folder / "host")
    told = {
        "registers": {"evening": {"layout": "sber-evening"}},
        **more,
        "exchange": {"keys": [key.export_public_key().decode()], **more.get("exchange", {})},
    }
    async with opened_house(database, folder) as house:
        banks = await opened_banks(house, {"sber": told})
        yield Exchanged(banks, folder, key)


@asynccontextmanager
async def pushing(exchanged: Exchanged, port: int) -> AsyncIterator[asyncssh.SFTPClient]:
    """Come to our server as the bank."""
    host_key = asyncssh.read_private_key(exchanged.folder / "host").convert_to_public()
    async with (
        asyncssh.connect(
            "127.0.0.1",
            port,
            username="sber",
            client_keys=[exchanged.key],
            known_hosts=([host_key], [], []),
            config=None,
        ) as connection,
        connection.start_sftp_client() as files,
    ):
        yield files


async def until(files: asyncssh.SFTPClient, path: str) -> None:
    """Wait until there is a file."""
    async with asyncio.timeout(ANSWER_WAIT_S):
        while not await files.exists(path):  # noqa: ASYNC110 - a bank can only look
            await asyncio.sleep(0.02)


async def test_a_register_that_a_bank_pushes_is_money_in_the_books(database: str, tmp_path: Path) -> None:
    rows = "".join(ROW.format(sum="1245.05", account=a, value=v) for a, v in (("1000001", "10385"), ("10000x1", "")))
    async with (
        opened_exchange(database, tmp_path) as exchanged,
        exchanging(exchanged.bels, exchanged.banks.till, register_taker(exchanged.banks.till)) as server,
    ):
        before = await exchanged.owes()
        assert server is not None
        async with pushing(exchanged, server.get_port()) as files:
            for name in (NAME, "again.txt"):
                async with files.open(f"in/{name}.part", "wb") as file:
                    await file.write(rows.encode("cp1251"))
                await files.rename(f"in/{name}.part", f"in/{name}")
                await until(files, f"out/{name}.result.txt")
            listed = sorted(str(name) for name in await files.listdir("out"))

        assert listed == [".", "..", "again.txt.result.txt", f"{NAME}.result.txt"]
        assert await exchanged.owes() == before - Decimal("1245.05")
        assert "зачислено 1 на 1245.05" in exchanged.answer(NAME)
        assert "Строка 2: Лицевой счёт записан не цифрами." in exchanged.answer(NAME)
        assert "уже был получен" in exchanged.answer("again.txt")
        readings = (await exchanged.banks.till.intake.account("1000001")).readings
        assert {"total": 10385} in [each.values for each in readings]
        state = await exchanged.state(Work.TAKE)
        assert state is not None
        assert state.failures == 0


async def test_one_process_does_the_work_and_another_takes_over(database: str, tmp_path: Path) -> None:
    async with opened_exchange(database, tmp_path) as exchanged:
        take = register_taker(exchanged.banks.till)
        async with exchanging(exchanged.bels, exchanged.banks.till, take) as second:
            async with exchanging(exchanged.bels, exchanged.banks.till, take):
                assert second is not None
                async with exchanged.bels.pool.acquire() as db, asyncio.timeout(ANSWER_WAIT_S):
                    while True:
                        locks = await db.fetch(
                            "SELECT granted FROM pg_locks WHERE locktype = 'advisory' AND database ="
                            " (SELECT oid FROM pg_database WHERE datname = current_database())"
                        )
                        if sorted(lock["granted"] for lock in locks) == [False, True]:
                            break
                        await asyncio.sleep(0.02)
            before = await exchanged.owes()
            async with pushing(exchanged, second.get_port()) as files:
                async with files.open(f"in/{NAME}", "wb") as file:
                    await file.write(ROW.format(sum="100.00", account="1000001", value="").encode())
                await until(files, f"out/{NAME}.result.txt")
            assert await exchanged.owes() == before - 100


@pytest.fixture
async def exchanged(database: str, tmp_path: Path) -> AsyncIterator[Exchanged]:
    """Give a bank whose files lie in a folder, whose server is away, and which gets charges on the 3rd."""
    host_key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    pull = {"host": "127.0.0.1", "port": 1, "user": "bels", "key_file": str(tmp_path / "host"), "host_key": host_key}
    charges = {
        "layout": "sber-old",
        "day": 3,
        "inn": "5001000002",
        "account": "40702810138250123017",
    }
    async with opened_exchange(database, tmp_path, exchange={"pull": pull}, charges=charges) as exchanged:
        yield exchanged


async def test_a_file_in_a_watched_folder_is_taken_when_it_is_still(exchanged: Exchanged) -> None:
    work, guest = exchanged.work()
    turn, before = Turn(), await exchanged.owes()
    exchanged.drop(NAME, ROW.format(sum="200.00", account="1000001", value="10385"))

    for seconds in (1000.0, 1000.0 + STILL_S - 1):
        await take_turn(work, guest, turn, seconds)
    assert await exchanged.owes() == before
    await take_turn(work, guest, turn, 1000.0 + STILL_S)

    assert await exchanged.owes() == before - 200
    assert "Файл принят" in exchanged.answer(NAME)
    assert [name for name in ("in", "taking", "failed") if any(exchanged.room.of(name).iterdir())] == []


async def test_a_file_that_cannot_be_stored_waits_for_the_database(exchanged: Exchanged) -> None:
    work, guest = exchanged.work()
    turn, before = Turn(), await exchanged.owes()
    exchanged.drop(NAME, ROW.format(sum="200.00", account="1000001", value=""))
    guest.watch.is_whole(NAME)
    async with exchanged.bels.pool.acquire() as db:
        await db.execute("ALTER TABLE register_file RENAME TO register_file_away")
    await take_turn(work, guest, turn, 1000.0)
    assert [each.name for each in exchanged.room.of("taking").iterdir()] == [NAME]
    async with exchanged.bels.pool.acquire() as db:
        await db.execute("ALTER TABLE register_file_away RENAME TO register_file")

    await take_turn(work, guest, turn, 1001.0)

    assert await exchanged.owes() == before - 200


async def test_a_server_that_is_away_is_an_error_that_waits_and_is_seen(exchanged: Exchanged) -> None:
    work, guest = exchanged.work()
    turn = Turn()
    for seconds in (1000.0, 1010.0, 1070.0):
        await take_turn(work, guest, turn, seconds)
    first = await exchanged.state(Work.PULL)
    exchanged.banks.house.wait(minutes=2)
    await take_turn(work, guest, turn, 1140.0)
    second = await exchanged.state(Work.PULL)

    assert first is not None
    assert second is not None
    assert (first.failures, second.failures) == (1, 2)
    assert (second.error or "").startswith("PullError: the server cannot be reached")


async def test_charges_are_written_once_when_every_account_is_charged(exchanged: Exchanged) -> None:
    house: House = exchanged.banks.house
    work, guest = exchanged.work()
    turn, path = Turn(), exchanged.room.of("out") / "5001000002_40702810138250123017_1_0524.txt"

    async def day(at: str) -> StateRow | None:
        house.at = moscow(at)
        turn.seldom_at = -1e9
        await take_turn(work, guest, turn, 1000.0)
        return await exchanged.state(Work.CHARGES)

    assert await day("2024-06-02T12:00") is None
    early = await day("2024-06-03T12:00")
    assert early is not None
    assert "not charged for 2024-05" in (early.error or "")
    await house.do_all([(f"100000{n}", ClosePeriod(Period("2024-05"), house.at)) for n in range(1, 8)])
    done = await day("2024-06-03T14:00")
    assert done is not None
    assert (done.done, done.failures) == ("2024-05", 0)
    assert len(path.read_bytes().decode("cp1251").splitlines()) == 8
    path.unlink()
    await day("2024-06-04T12:00")
    assert not path.exists()


async def test_a_bank_fetches_the_reconciliation_of_its_days(exchanged: Exchanged) -> None:
    work, guest = exchanged.work()
    turn, at = Turn(), exchanged.banks.house.at
    exchanged.drop(NAME, ROW.format(sum="200.00", account="1000001", value=""))
    guest.watch.is_whole(NAME)
    await take_turn(work, guest, turn, 1000.0)
    async with exchanged.bels.pool.acquire() as db:
        await reconcile_days(
            db, exchanged.banks.till.counter.door.raw_texts, exchanged.banks.agent().partner, {at.date()}, at
        )
    turn.seldom_at = -1e9
    await take_turn(work, guest, turn, 1001.0)
    path = exchanged.room.of("out") / "sverka_sber_2024-05-20.csv"

    assert "200,00" in path.read_text("cp1251")
    path.unlink()
    turn.seldom_at = -1e9
    await take_turn(work, guest, turn, 1002.0)
    assert not path.exists()


async def test_charges_are_put_onto_the_banks_own_server(exchanged: Exchanged) -> None:
    # Its server is one like ours.
    theirs = guests_of(exchanged.folder / "theirs", [exchange_of(exchanged.banks.agent().partner)])
    work, guest = exchanged.work()
    exchanged.key.write_private_key(exchanged.folder / "own")
    async with serving_sftp(theirs, "127.0.0.1", 0, exchanged.folder / "host") as server:
        host_key = asyncssh.read_private_key(exchanged.folder / "host").convert_to_public()
        pull = Pull(
            "127.0.0.1", server.get_port(), "sber", exchanged.folder / "own", (host_key,), (), "out", "done", "in"
        )
        agreed = replace(guest, agreed=replace(guest.agreed, pull=pull))
        contract = replace(work.charges["sber"], to_theirs=True)
        written = await send_charges(exchanged.banks.till, contract, agreed, Period("2024-05"), by="clerk:7")

    assert [each.name for each in theirs["sber"].room.of("in").iterdir()] == [written.path.name]
    assert list(exchanged.room.of("sending").iterdir()) == []


async def test_what_is_set_wrong_is_said_at_the_start(exchanged: Exchanged) -> None:
    bels, till = exchanged.bels, exchanged.banks.till
    take = register_taker(till)
    given = bels.settings.partners
    wrong = {
        "BELS_EXCHANGE": replace(given, exchange=None),
        "BELS_SFTP_HOST_KEY": replace(given, sftp_host_key=None),
        "look at the address and BELS_SFTP_HOST_KEY": replace(given, sftp_host_key=exchanged.folder / "nothing"),
        "BELS_EXCHANGE cannot be written": replace(given, exchange=exchanged.folder / "host"),
    }
    for word, partners in wrong.items():
        with pytest.raises(AppError, match=word):
            async with exchanging(replace(bels, settings=replace(bels.settings, partners=partners)), till, take):
                pass
    partners = replace(given, sftp=None, exchange=None)
    async with exchanging(replace(bels, settings=replace(bels.settings, partners=partners)), till, take) as server:
        assert server is None
