"""The folder of a bank: what is whole is claimed, taken once, answered; nothing else is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.messages import TryLater
from bels.payments.exchange.contracts import Exchange, exchange_of
from bels.payments.exchange.folders import (
    PART,
    STILL_S,
    Room,
    Taken,
    Watch,
    claim,
    forget_old,
    is_file_name,
    moved,
    put_out,
    room_of,
    take_claimed,
    used,
)
from bels.payments.exchange.sftp_files import place_of
from bels.payments.exchange.states import Work, did, failed, may_try, note_fetched, state_of, states, was_fetched
from bels.payments.partners import Partner
from bels.payments.store import install_payments
from tests.channels.household import moscow

SBER = Partner("c-1", "sber", "Сбербанк", sections={"exchange": {"files": [{"name": "*.txt", "layout": "evening"}]}})
NOW = moscow("2024-05-20T12:00")
PARTS = (
    b"",
    b".",
    b"..",
    b"in",
    b"out",
    b"taking",
    b"etc",
    b"passwd",
    b"a.txt",
    b".hidden",
    b"\xff",
    b"a\x00b",
    "я".encode(),
)


@dataclass(slots=True)
class Desk:
    """Whoever takes files here: it notes what it was given, and fails where it is told to."""

    fails: dict[str, Exception] = field(default_factory=dict)
    taken: list[tuple[str, str | None, str]] = field(default_factory=list)

    async def __call__(self, partner: Partner, layout: str | None, name: str, path: Path, how: str) -> Taken:
        """Take a file."""
        if name in self.fails:
            raise self.fails[name]
        self.taken.append((name, layout, how))
        return Taken("Файл принят.")


@pytest.fixture
def agreed() -> Exchange:
    """Agree with a bank on its files."""
    return exchange_of(SBER)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """Make the folder of a bank."""
    room = room_of(tmp_path, SBER)
    room.make()
    return room


def lie(room: Room, folder: str) -> list[str]:
    """List what lies in a folder."""
    return sorted(each.name for each in room.of(folder).iterdir())


def test_a_file_is_claimed_when_it_has_been_still_for_a_while(room: Room) -> None:
    watch, path = Watch(), room.of("in") / "0520.txt"
    path.write_text("half", "utf-8")
    claim(room, watch, 0.0)
    path.write_text("half and half", "utf-8")
    claim(room, watch, STILL_S)
    claim(room, watch, 2 * STILL_S - 0.1)
    assert (lie(room, "in"), lie(room, "taking")) == (["0520.txt"], [])

    claim(room, watch, 2 * STILL_S)

    assert (lie(room, "in"), lie(room, "taking")) == ([], ["0520.txt"])
    assert watch.still == {}


def test_parts_links_folders_and_what_hides_are_never_claimed(room: Room) -> None:
    watch = Watch()
    (room.of("in") / f"0520.txt{PART}").write_text("x", "utf-8")
    (room.of("in") / ".hidden").write_text("x", "utf-8")
    (room.of("in") / "folder.txt").mkdir()
    (room.of("in") / "link.txt").symlink_to("/etc/passwd")
    before = lie(room, "in")

    for seconds in (0.0, 100.0, 200.0):
        watch.is_whole("link.txt")
        claim(room, watch, seconds)

    assert (lie(room, "in"), lie(room, "taking")) == (before, [])


async def test_a_file_of_the_same_name_waits_until_the_first_is_taken(room: Room, agreed: Exchange) -> None:
    watch, desk = Watch(), Desk()
    for _ in range(2):
        (room.of("in") / "0520.txt").write_text("x", "utf-8")
        watch.is_whole("0520.txt")
        claim(room, watch, 0.0)
    assert (lie(room, "in"), lie(room, "taking")) == (["0520.txt"], ["0520.txt"])

    for _ in range(2):
        await take_claimed(room, agreed, desk, set())
        claim(room, watch, 0.0)

    assert desk.taken == [("0520.txt", "evening", "folder")] * 2


async def test_what_cannot_be_stored_now_waits_and_what_cannot_be_taken_lies_apart(
    room: Room, agreed: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk({"a.txt": ValueError("Иванова Мария"), "c.txt": TryLater("away")})
    for name in ("a.txt", "b.csv", "c.txt"):
        (room.of("taking") / name).write_text("x", "utf-8")

    first = await take_claimed(room, agreed, desk, {"b.csv"})
    assert (first.taken, first.failed, first.waiting) == (1, 1, True)
    assert (lie(room, "taking"), lie(room, "failed")) == (["c.txt"], ["a.txt"])
    del desk.fails["c.txt"]
    await take_claimed(room, agreed, desk, set())

    assert desk.taken == [("b.csv", None, "sftp"), ("c.txt", "evening", "folder")]
    assert lie(room, "out") == [f"{name}.result.txt" for name in ("a.txt", "b.csv", "c.txt")]
    assert "ошибки у получателя" in (room.of("out") / "a.txt.result.txt").read_text("utf-8-sig")
    assert "a.txt" not in " ".join(record.getMessage() for record in caplog.records)


def test_a_file_is_never_moved_over_another(room: Room) -> None:
    for name, text in (("new", "1"), ("old", "2")):
        (room.of("in") / name).write_text(text, "utf-8")

    assert not moved(room.of("in") / "new", room.of("in") / "old")
    assert not moved(room.of("in") / "missing", room.of("in") / "other")
    assert moved(room.of("in") / "new", room.of("failed") / "new")
    assert (lie(room, "in"), lie(room, "failed")) == (["old"], ["new"])


def test_a_folder_may_be_somebody_elses_disk(room: Room, tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk here")
    with TemporaryDirectory(dir=other) as mounted:
        path = Path(mounted) / "0520.txt"
        path.write_text("x", "utf-8")
        assert moved(path, room.of("taking") / "0520.txt")
        assert (path.exists(), lie(room, "taking")) == (False, ["0520.txt"])
        path.write_text("y", "utf-8")
        assert not moved(path, room.of("taking") / "0520.txt")
        assert path.exists()


def test_old_answers_and_parts_that_nobody_finished_are_thrown_away(room: Room) -> None:
    put_out(room, "charges.txt", b"x")
    for name in ("whole.txt", f"begun.txt{PART}"):
        (room.of("in") / name).write_text("x", "utf-8")
    now = NOW.fromtimestamp((room.of("out") / "charges.txt").stat().st_mtime, NOW.tzinfo)
    assert used(room) == (2, 2)

    assert forget_old(room, now + timedelta(days=6)) == 0
    assert forget_old(room, now + timedelta(days=8)) == 1
    assert forget_old(room, now + timedelta(days=31)) == 1
    assert (lie(room, "in"), lie(room, "out")) == (["whole.txt"], [])


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\x00b", "a\nb", "a\u202eb", "я" * 101, "\udc80"])
def test_a_name_is_one_printable_component(name: str) -> None:
    assert not is_file_name(name)
    assert is_file_name("реестр № 5.txt")


@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PARTS), max_size=8).map(b"/".join)))
def test_whatever_a_client_names_is_a_plain_file_of_a_folder_or_nothing(path: bytes) -> None:
    try:
        folder, name = place_of(path)
    except asyncssh.SFTPNoSuchFile:
        return
    assert folder in ("", "in", "out")
    assert not name or (folder and is_file_name(name, 250))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"", ("", "")),
        (b"../..", ("", "")),
        (b"//in//a.txt", ("in", "a.txt")),
        (b"/out/../in/./a.txt", ("in", "a.txt")),
        (b"../../in/a.txt", ("in", "a.txt")),
    ],
)
def test_dots_and_slashes_lead_nowhere_else(path: bytes, place: tuple[str, str]) -> None:
    assert place_of(path) == place


@pytest.fixture
async def db(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Give a database that knows how works stand."""
    async with pool.acquire() as db:
        await install_payments(db)
        yield db


async def test_a_work_that_fails_waits_longer_each_time(db: asyncpg.pool.PoolConnectionProxy) -> None:
    waits, now = [], NOW
    for _ in range(9):
        await failed(db, "sber", Work.PULL, now, "PullError: away")
        state = await state_of(db, "sber", Work.PULL)
        assert state is not None
        assert state.not_before is not None
        assert not await may_try(db, "sber", Work.PULL, now)
        waits.append((state.not_before - now) // timedelta(minutes=1))
        now = state.not_before
        assert await may_try(db, "sber", Work.PULL, now)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert await may_try(db, "sber", Work.CHARGES, now)
    await did(db, "sber", Work.PULL, now, "2024-05")
    await did(db, "sber", Work.PULL, now)
    (state,) = await states(db, ["sber"])
    assert (state.failures, state.error, state.done, state.ok_at) == (0, None, "2024-05", now)


async def test_a_file_is_known_by_its_size_and_time(db: asyncpg.pool.PoolConnectionProxy) -> None:
    await note_fetched(db, "sber", "0520.txt", 10, 5, NOW)

    assert await was_fetched(db, "sber", "0520.txt", 10, 5)
    others = [("sber", "0520.txt", 11, 5), ("sber", "0520.txt", 10, 6), ("app", "0520.txt", 10, 5)]
    assert not any([await was_fetched(db, *other) for other in others])
    await note_fetched(db, "sber", "x", 1, 1, NOW + timedelta(days=91))
    assert not await was_fetched(db, "sber", "0520.txt", 10, 5)
