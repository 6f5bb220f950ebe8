"""Files of banks by the real OpenSSH: its client pushes into our server, its server is where we fetch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import asyncpg
import asyncssh
import pytest

from bels.payments.exchange.contracts import Exchange, exchange_of
from bels.payments.exchange.folders import Room, Taken, claim, put_out, room_of, take_claimed
from bels.payments.exchange.sftp_client import HostKeyChanged, PullError, Seen, pull_files, put_file
from bels.payments.exchange.sftp_files import Guest
from bels.payments.exchange.sftp_server import guests_of, serving_sftp
from bels.payments.partners import Partner
from bels.payments.store import install_payments
from tests.channels.household import moscow
from tests.peers.openssh import Client, Key, Sshd, client, key, need_openssh, sshd

pytestmark = pytest.mark.peer

NOW = moscow("2024-05-20T12:00")
REGISTER = "7977;00123;1;1;1245.05;12.45;20/05/2024;CLIENTNO:1000001\n"


@dataclass(slots=True)
class Desk:
    """Whoever takes files here: it notes what it was given."""

    taken: list[tuple[str, str | None, str, str]] = field(default_factory=list)

    async def __call__(self, partner: Partner, layout: str | None, name: str, path: Path, how: str) -> Taken:
        """Note a file: its name, layout, text and way."""
        self.taken.append((name, layout, await asyncio.to_thread(path.read_text, "utf-8"), how))
        return Taken("Файл принят.", ("строка 3: нет такого лицевого счёта",))


@dataclass(frozen=True, slots=True)
class Ours:
    """Our server with the folders of two banks, one of whom has a client."""

    folder: Path
    guests: dict[str, Guest]
    bank: Client
    stranger: Client
    host: Key
    own: Key
    port: int

    @property
    def guest(self) -> Guest:
        """The bank that has a client."""
        return self.guests["sber"]

    @property
    def room(self) -> Room:
        """Its folder."""
        return self.guest.room

    def lie_in(self, folder: str = "in") -> list[str]:
        """List what lies in a folder of it."""
        return sorted(each.name for each in self.room.of(folder).iterdir())

    def file(self, name: str, text: str = REGISTER) -> Path:
        """Write a file on the bank's side."""
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """Make the keys of everybody."""
    need_openssh()
    folder = tmp_path_factory.mktemp("keys")
    return {name: key(folder, name) for name in ("host", "other_host", "bank", "other_bank", "stranger")}


def agreed_with(name: str, own: Key, **more: object) -> Exchange:
    """Agree with a bank on its key and its files."""
    files = [{"name": "*.txt", "layout": "evening"}]
    return exchange_of(
        Partner(f"c-{name}", name, name, sections={"exchange": {"keys": [own.public], "files": files, **more}})
    )


@pytest.fixture
async def ours(tmp_path: Path, keys: dict[str, Key]) -> AsyncIterator[Ours]:
    """Serve two banks, each with its folder."""
    told = [
        agreed_with("sber", keys["bank"], bytes_max=100_000, files_max=5),
        agreed_with("other", keys["other_bank"]),
    ]
    guests = guests_of(tmp_path / "exchange", told)
    async with serving_sftp(guests, "127.0.0.1", 0, keys["host"].file) as server:
        port = server.get_port()
        ends = {
            name: client(tmp_path, port, "sber", keys[name], keys["host"])
            for name in ("bank", "stranger", "other_bank")
        }
        yield Ours(tmp_path, guests, ends["bank"], ends["stranger"], keys["host"], keys["bank"], port)


async def test_a_bank_puts_a_part_and_renames_it_and_fetches_its_answer(ours: Ours) -> None:
    desk, sent = Desk(), ours.file("0520.txt")
    put_out(ours.room, "charges.txt", b"1000001;1245.05\r\n")

    status, said = await ours.bank.sftp(
        f"put {sent} in/0520.txt.part",
        "rename in/0520.txt.part in/0520.txt",
        "ls -la in",
        "ls out",
        f"get out/charges.txt {ours.folder}",
    )

    assert status == 0, said
    assert "0520.txt" in said
    assert (ours.folder / "charges.txt").read_bytes() == b"1000001;1245.05\r\n"
    assert ours.guest.watch.woken.is_set()
    told = claim(ours.room, ours.guest.watch, 0.0)
    await take_claimed(ours.room, ours.guest.agreed, desk, told)
    assert desk.taken == [("0520.txt", "evening", REGISTER, "sftp")]
    assert (ours.lie_in(), ours.lie_in("taking"), ours.lie_in("failed")) == ([], [], [])
    status, said = await ours.bank.sftp(f"get out/0520.txt.result.txt {ours.folder}")
    assert status == 0, said
    answer = (ours.folder / "0520.txt.result.txt").read_text("utf-8-sig")
    assert "Файл принят." in answer
    assert "строка 3: нет такого лицевого счёта" in answer


async def test_a_name_without_part_is_whole_when_it_is_closed(ours: Ours) -> None:
    status, said = await ours.bank.sftp(f"put -p '{ours.file('реестр 1.txt')}' '/in/реестр 1.txt'", "ls in")

    assert status == 0, said
    assert ours.lie_in() == ["реестр 1.txt"]
    assert claim(ours.room, ours.guest.watch, 0.0) == {"реестр 1.txt"}


@pytest.mark.parametrize(
    "line",
    [
        "get ../../etc/passwd {mine}/stolen",
        "get /etc/passwd {mine}/stolen",
        "get in/../../other/in/secret.txt {mine}/stolen",
        "get /in/link {mine}/stolen",
        "get out/link {mine}/stolen",
        "get /in/waiting.txt {mine}/stolen",
        "ls /etc",
        "ls ../other",
        "mkdir new",
        "mkdir ../new",
        "mkdir in/new",
        "rmdir out",
        "symlink /etc/passwd in/passwd",
        "symlink /etc out/etc",
        "ln in/waiting.txt in/again.txt",
        "put {file} 0520.txt",
        "put {file} ../0520.txt",
        "put {file} out/0520.txt",
        "put {file} other/0520.txt",
        "put {file} in/.hidden",
        "put {file} in/link",
        "put {file} in/deep/0520.txt",
        "rename in/waiting.txt out/waiting.txt",
        "rename in/waiting.txt ../waiting.txt",
        "rename out/charges.txt in/charges.txt",
        "rename in/second.txt in/waiting.txt",
        "rm in/waiting.txt",
        "rm out/charges.txt",
        "rm /etc/passwd",
        "chmod 777 /etc/passwd",
    ],
)
async def test_there_is_no_way_out_of_a_banks_folder(ours: Ours, line: str) -> None:
    (ours.folder / "mine").mkdir()
    secret = ours.guests["other"].room.of("in") / "secret.txt"
    for path in (secret, ours.room.of("in") / "waiting.txt", ours.room.of("in") / "second.txt"):
        path.write_text(REGISTER, "utf-8")
    for name in ("in", "out"):
        (ours.room.of(name) / "link").symlink_to("/etc/passwd")
    put_out(ours.room, "charges.txt", b"1000001;1245.05\r\n")
    before = {name: ours.lie_in(name) for name in ("in", "out")}

    status, said = await ours.bank.sftp(line.format(file=ours.file("0520.txt"), mine=ours.folder / "mine"))

    assert status != 0, said
    assert list((ours.folder / "mine").iterdir()) == []
    assert {name: ours.lie_in(name) for name in ("in", "out")} == before
    assert sorted(each.name for each in (ours.folder / "exchange").iterdir()) == ["other", "sber"]


async def test_only_the_banks_own_key_opens_its_folder(ours: Ours, keys: dict[str, Key]) -> None:
    others = replace(ours.bank, key=keys["other_bank"].file)
    nobody = replace(ours.bank, user="nobody")

    for wrong in (ours.stranger, others, nobody):
        status, said = await wrong.sftp("ls")
        assert status != 0
        assert "Permission denied (publickey)" in said

    password = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive")
    status, said = await ours.bank.ssh(options=password)
    assert status != 0
    assert "Permission denied (publickey)" in said


async def test_a_bank_has_no_shell_no_command_and_no_forwarding(ours: Ours) -> None:
    for arguments, options in (
        (("id",), ()),
        ((), ()),
        ((), ("-tt",)),
        (("scp", "-f", "/etc/passwd"), ()),
        ((), ("-s",)),
        ((), ("-W", "127.0.0.1:22")),
        ((), ("-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22")),
    ):
        status, said = await ours.bank.ssh(*arguments, options=options)
        assert status != 0, (arguments, options, said)
        assert "uid=" not in said
        assert "root:" not in said


async def test_what_is_too_much_is_refused_and_nothing_else_with_it(ours: Ours) -> None:
    big = ours.file("big.txt", "x" * 100_001)
    status, said = await ours.bank.sftp(f"put {big} in/big.txt")
    assert status != 0, said
    status, said = await ours.bank.sftp(f"-put {big} in/big.txt.part", "rename in/big.txt.part in/big.txt")
    assert status != 0, said
    assert ours.lie_in() == []
    assert not ours.guest.watch.woken.is_set()

    small = ours.file("small.txt", "x")
    status, said = await ours.bank.sftp(*(f"-put {small} in/{number}.txt" for number in range(7)))

    assert ours.lie_in() == [f"{number}.txt" for number in range(5)], said


async def test_a_connection_that_breaks_leaves_a_part_and_no_register(ours: Ours) -> None:
    options = {"known_hosts": None, "client_keys": [str(ours.own.file)], "username": "sber", "config": None}
    async with asyncssh.connect("127.0.0.1", ours.port, **options) as connection:
        files = await connection.start_sftp_client()
        broken = await files.open("in/0520.txt", "wb")
        await broken.write(REGISTER.encode())
        listed = await files.listdir("in")
        connection.abort()
    async with asyncio.timeout(5):
        while ours.guest.uploads:  # noqa: ASYNC110 - the server hears of it a little later
            await asyncio.sleep(0.01)

    assert sorted(listed) == [".", "..", "0520.txt.part"]
    assert ours.lie_in() == ["0520.txt.part"]
    assert claim(ours.room, ours.guest.watch, 0.0) == claim(ours.room, ours.guest.watch, 100.0) == set()
    assert ours.lie_in("taking") == []
    async with asyncssh.connect("127.0.0.1", ours.port, **options) as connection:
        files = await connection.start_sftp_client()
        async with files.open("in/0520.txt", "wb") as again:
            await again.write(REGISTER.encode())
    assert ours.lie_in() == ["0520.txt"]


async def test_a_bank_has_so_many_connections_and_handles(ours: Ours) -> None:
    options = {"known_hosts": None, "client_keys": [str(ours.own.file)], "username": "sber", "config": None}
    put_out(ours.room, "charges.txt", b"1")
    open_now = [await asyncssh.connect("127.0.0.1", ours.port, **options) for _ in range(5)]
    try:
        with pytest.raises(asyncssh.DisconnectError):
            await asyncssh.connect("127.0.0.1", ours.port, **options)
        files = await open_now[0].start_sftp_client()
        for _ in range(20):
            await files.open("out/charges.txt", "rb")
        with pytest.raises(asyncssh.SFTPFailure):
            await files.open("out/charges.txt", "rb")
    finally:
        for connection in open_now:
            connection.abort()
            await connection.wait_closed()


async def test_who_says_nothing_or_comes_from_elsewhere_is_sent_away(tmp_path: Path, keys: dict[str, Key]) -> None:
    options = {"known_hosts": None, "client_keys": [str(keys["bank"].file)], "username": "sber", "config": None}
    here = agreed_with("sber", keys["bank"])
    elsewhere = replace(here, partner=replace(here.partner, addresses=(ip_network("192.0.2.0/24"),)))

    guests = guests_of(tmp_path / "here", [here])
    async with serving_sftp(guests, "127.0.0.1", 0, keys["host"].file, idle_s=0.3) as server:
        connection = await asyncssh.connect("127.0.0.1", server.get_port(), **options)
        await connection.wait_closed()
    assert guests["sber"].connections == 0

    guests = guests_of(tmp_path / "elsewhere", [elsewhere])
    async with serving_sftp(guests, "127.0.0.1", 0, keys["host"].file) as server:
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect("127.0.0.1", server.get_port(), **options)


# Their server.


@pytest.fixture
async def theirs(tmp_path: Path, keys: dict[str, Key]) -> AsyncIterator[Sshd]:
    """Run a bank's server."""
    folder = tmp_path / "bank"
    folder.mkdir()
    async with sshd(folder, keys["host"], keys["bank"]) as server:
        yield server


@pytest.fixture
async def kept(pool: asyncpg.Pool) -> asyncpg.Pool:
    """Give a database that knows what was fetched."""
    async with pool.acquire() as db:
        await install_payments(db)
    return pool


def pulling(server: Sshd, pin: str | list[str], **more: object) -> Exchange:
    """Agree with a bank on fetching from its server."""
    pull = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "key_file": str(server.client.file),
        "host_key": pin,
        "folder": str(server.folder),
        "put": str(server.folder / "in"),
        **more,
    }
    return agreed_with("sber", server.client, pull=pull)


def made(tmp_path: Path, agreed: Exchange) -> Room:
    """Make our folder for a bank."""
    room = room_of(tmp_path / "exchange", agreed.partner)
    room.make()
    return room


async def test_we_fetch_what_lies_still_and_move_it_to_done(theirs: Sshd, kept: asyncpg.Pool, tmp_path: Path) -> None:
    agreed = pulling(theirs, theirs.host.public)
    room, desk, seen = made(tmp_path, agreed), Desk(), Seen()
    for name in ("0520.txt", "0521.txt.part", ".hidden.txt", "growing.txt"):
        (theirs.folder / name).write_text(REGISTER, "utf-8")
    (theirs.folder / "old").mkdir()
    (theirs.folder / "link.txt").symlink_to("/etc/passwd")

    first = await pull_files(kept, room, agreed, desk, seen, NOW)
    with (theirs.folder / "growing.txt").open("a", encoding="utf-8") as growing:
        growing.write(REGISTER)
    second = await pull_files(kept, room, agreed, desk, seen, NOW)

    assert (first.taken, second.taken) == (0, 1)
    assert desk.taken == [("0520.txt", "evening", REGISTER, "pull")]
    assert (theirs.folder / "done" / "0520.txt").read_text("utf-8") == REGISTER
    assert sorted(each.name for each in theirs.folder.iterdir()) == [
        *(".hidden.txt", "0521.txt.part", "done", "growing.txt", "link.txt", "old"),
    ]
    assert [each.name for each in room.of("out").iterdir()] == ["0520.txt.result.txt"]


async def test_a_file_that_cannot_be_moved_is_taken_once(theirs: Sshd, kept: asyncpg.Pool, tmp_path: Path) -> None:
    agreed = pulling(theirs, theirs.host.public)
    room, desk, seen = made(tmp_path, agreed), Desk(), Seen()
    (theirs.folder / "0520.txt").write_text(REGISTER, "utf-8")
    # Where the folder should be is nothing that one can be made in.
    (theirs.folder / "done").symlink_to("/dev/null")

    for _ in range(4):
        await pull_files(kept, room, agreed, desk, seen, NOW)

    assert [name for name, *_ in desk.taken] == ["0520.txt"]
    assert (theirs.folder / "0520.txt").exists()


async def test_another_host_key_is_never_accepted(
    theirs: Sshd, kept: asyncpg.Pool, tmp_path: Path, keys: dict[str, Key]
) -> None:
    (theirs.folder / "0520.txt").write_text(REGISTER, "utf-8")
    other = asyncssh.import_public_key(keys["other_host"].public).get_fingerprint()
    own = asyncssh.import_public_key(theirs.host.public).get_fingerprint()
    for pin in (keys["other_host"].public, other):
        agreed, desk = pulling(theirs, pin), Desk()
        with pytest.raises(HostKeyChanged):
            await pull_files(kept, made(tmp_path, agreed), agreed, desk, Seen(), NOW)
        assert desk.taken == []
    pins: tuple[str | list[str], ...] = (own, [keys["other_host"].public, theirs.host.public], [other, own])
    for one in pins:
        agreed = pulling(theirs, one)
        assert (await pull_files(kept, made(tmp_path, agreed), agreed, Desk(), Seen(), NOW)).left == 1


async def test_a_bank_that_changes_its_host_key_is_an_error_with_a_name(
    kept: asyncpg.Pool, tmp_path: Path, keys: dict[str, Key]
) -> None:
    folder = tmp_path / "bank"
    folder.mkdir()
    async with sshd(folder, keys["host"], keys["bank"]) as before:
        agreed = pulling(before, before.host.public)
        room = made(tmp_path, agreed)
        await pull_files(kept, room, agreed, Desk(), Seen(), NOW)
    async with sshd(folder, keys["other_host"], keys["bank"], before.port):
        with pytest.raises(HostKeyChanged):
            await pull_files(kept, room, agreed, Desk(), Seen(), NOW)
    with pytest.raises(PullError, match="cannot be reached"):
        await pull_files(kept, room, agreed, Desk(), Seen(), NOW)


async def test_a_server_that_does_not_know_our_key_is_an_error(
    theirs: Sshd, kept: asyncpg.Pool, tmp_path: Path, keys: dict[str, Key]
) -> None:
    agreed = pulling(theirs, theirs.host.public, key_file=str(keys["stranger"].file))

    with pytest.raises(PullError, match="does not let us in"):
        await pull_files(kept, made(tmp_path, agreed), agreed, Desk(), Seen(), NOW)


async def test_charges_are_put_onto_their_server_whole(theirs: Sshd, tmp_path: Path) -> None:
    agreed = pulling(theirs, theirs.host.public)
    assert agreed.pull is not None
    (theirs.folder / "in").mkdir()
    path = tmp_path / "charges.txt"
    for text in ("1000001;1245.05", "1000001;1000.00"):
        path.write_text(text, "utf-8")
        await put_file(agreed.pull, path)

    assert [each.name for each in (theirs.folder / "in").iterdir()] == ["charges.txt"]
    assert (theirs.folder / "in" / "charges.txt").read_text("utf-8") == "1000001;1000.00"
