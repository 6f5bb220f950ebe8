"""A partner's folder: ``in`` where its files come, ``out`` what it may fetch; its own never leave them by another way.

A file is claimed by a rename out of ``in`` into ``taking``, so that whoever writes there cannot change it any more; when it was
taken it is deleted, for the taker keeps its bytes, sealed, and payers' names stand in them. ``taking`` outlives a crash: the
same content again changes nothing, for the taker knows files by their SHA-256. What nobody can take lies in ``failed`` for a
while, for a person. Answers stand in ``out``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from bels.messages import TryLater
from bels.payments.exchange.contracts import Exchange
from bels.payments.partners import Partner

logger = logging.getLogger(__name__)

FILE_BYTES_MAX = 50_000_000
"""One file, as large as a register can be."""
FILES_OF_ROUND = 100
NAME_BYTES_MAX = 200
KEPT_NAME_BYTES_MAX = 250
"""Of our own files, whose names are longer by what they say."""
LISTED_MAX = 10_000
STILL_S = 10.0
"""A file that came by other means than our SFTP is whole when neither its size nor its time changed for so long."""
KEPT = timedelta(days=30)
ABANDONED_AFTER = timedelta(days=7)
RESULT_LINES_MAX = 100_000

PART = ".part"
RESULT = ".result.txt"
FOLDERS = ("in", "out", "taking", "sending", "failed")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file, in Russian for its sender: in one sentence, and a line for each line of it that is not in order.

    ``is_taken``: it need not be kept here. ``waits``: the whole of it waits for an operator.
    """

    words: str
    problems: tuple[str, ...] = ()
    is_taken: bool = True
    waits: bool = False

    @property
    def is_in_order(self) -> bool:
        """Say whether nobody need look at it."""
        return self.is_taken and not self.waits and not self.problems


class TakeFile(Protocol):
    """Take a register; ``layout`` None where no rule of the exchange fits its name.

    ``how`` says which way it came: ``sftp``, ``pull``, ``folder``.

    :raises TryLater: nothing was stored.
    """

    async def __call__(self, partner: Partner, layout: str | None, name: str, path: Path, how: str) -> Taken:
        """Take it."""


class FolderError(Exception):
    """A file cannot be put there; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Room:
    """The folder of a partner, under the root of all of them."""

    folder: Path

    def of(self, name: str) -> Path:
        """Give one of its folders."""
        return self.folder / name

    def make(self) -> None:
        """Make what is missing of it."""
        self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        for name in FOLDERS:
            self.of(name).mkdir(mode=_FOLDER_MODE, exist_ok=True)

    def files(self, name: str) -> Iterator[os.DirEntry[str]]:
        """Give the plain files of one of its folders; links and what hides are none."""
        with os.scandir(self.of(name)) as entries:
            for count, entry in enumerate(entries):
                if count >= LISTED_MAX:
                    return
                if is_file_name(entry.name, KEPT_NAME_BYTES_MAX) and entry.is_file(follow_symlinks=False):
                    yield entry


@dataclass(slots=True)
class Watch:
    """What a process remembers of a partner's ``in``: what is known to be whole, and since when other files are still."""

    whole: set[str] = field(default_factory=set)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    still: dict[str, tuple[int, int, float]] = field(default_factory=dict)

    def is_whole(self, name: str) -> None:
        """Note that a file is whole, and wake the taker."""
        self.whole.add(name)
        self.woken.set()


@dataclass(frozen=True, slots=True)
class Round:
    """What became of the files of one round: how many were taken, how many a person must look at, whether some still wait."""

    taken: int = 0
    failed: int = 0
    waiting: bool = False


def room_of(root: Path, partner: Partner) -> Room:
    """Give a partner's room."""
    return Room(root / partner.name)


def is_file_name(name: str, bytes_max: int = NAME_BYTES_MAX) -> bool:
    """Say whether a file may be called so: printable Unicode in one component that does not hide."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return 0 < size <= bytes_max and name.isprintable() and not name.startswith(".") and "/" not in name


def claim(room: Room, watch: Watch, seconds: float) -> set[str]:
    """Move what is whole out of ``in``; ``seconds`` is a clock that only goes forward. Give what came by our SFTP."""
    sent: set[str] = set()
    seen: dict[str, tuple[int, int, float]] = {}
    for entry in list(room.files("in")):
        if entry.name.endswith(PART):
            continue
        found = entry.stat(follow_symlinks=False)
        size, changed, since = watch.still.get(entry.name, (-1, -1, seconds))
        if (size, changed) != (found.st_size, found.st_mtime_ns):
            since = seconds
        seen[entry.name] = (found.st_size, found.st_mtime_ns, since)
        if (entry.name in watch.whole or seconds - since >= STILL_S) and _claim(room, entry.name):
            del seen[entry.name]
            if entry.name in watch.whole:
                watch.whole.discard(entry.name)
                sent.add(entry.name)
    watch.still.clear()
    watch.still.update(seen)
    # What came meanwhile was not seen, and is not forgotten.
    for name in list(watch.whole):
        if name not in seen and not (room.of("in") / name).exists():
            watch.whole.discard(name)
    return sent


def _claim(room: Room, name: str) -> bool:
    """Move a file out of ``in``, unless one of its name is being taken: then it waits for its turn."""
    return moved(room.of("in") / name, room.of("taking") / name)


async def take_claimed(room: Room, agreed: Exchange, take: TakeFile, sent: Set[str]) -> Round:
    """Take the files that were claimed, oldest first; one that fails stops nobody else. ``sent``: those by our SFTP."""
    entries = sorted(room.files("taking"), key=lambda each: (each.stat(follow_symlinks=False).st_mtime_ns, each.name))
    taken = failed = 0
    waiting = len(entries) > FILES_OF_ROUND
    for entry in entries[:FILES_OF_ROUND]:
        if entry.name.endswith(PART):
            continue
        try:
            is_taken = await take_one(room, agreed, take, entry.name, "sftp" if entry.name in sent else "folder")
        except TryLater:
            # Whatever could not be stored lies where it is until the next round.
            return Round(taken, failed, True)
        taken, failed = taken + is_taken, failed + (not is_taken)
    return Round(taken, failed, waiting)


async def take_one(room: Room, agreed: Exchange, take: TakeFile, name: str, how: str) -> bool:
    """Take a file that was claimed, write the answer and put the file away; say whether a person need not look at it.

    :raises TryLater: nothing was stored, and the file lies where it was.
    """
    path = room.of("taking") / name
    if path.stat(follow_symlinks=False).st_size > FILE_BYTES_MAX:
        answer = Taken(f"Файл не принят: он больше {FILE_BYTES_MAX:,} байт.".replace(",", " "), is_taken=False)
    else:
        try:
            answer = await take(agreed.partner, agreed.layout_of(name), name, path, how)
        except TryLater:
            raise
        except Exception:
            # Its name may be anything: the log says whose it is, the folder which.
            logger.exception("a file of %s could not be taken", agreed.partner.name)
            answer = Taken(
                "Файл не обработан из-за ошибки у получателя. Повторно отправлять его не нужно.", is_taken=False
            )
    put_out(room, f"{name}{RESULT}", result_of(name, answer))
    if answer.is_taken:
        path.unlink()
    else:
        put_away(path, room.of("failed"))
    return answer.is_taken


def result_of(name: str, answer: Taken) -> bytes:
    """Write the answer to a file as a text that Windows opens."""
    lines = [f"Файл: {name}", answer.words]
    if answer.problems:
        lines += ["", f"Замечания по строкам: {len(answer.problems)}", *answer.problems[:RESULT_LINES_MAX]]
    if len(answer.problems) > RESULT_LINES_MAX:
        lines.append(f"... и ещё {len(answer.problems) - RESULT_LINES_MAX}")
    return ("﻿" + "\r\n".join(lines) + "\r\n").encode()


def put_out(room: Room, name: str, text: bytes) -> Path:
    """Put a file where its partner fetches it, whole or not at all, in place of one of the same name."""
    return write_whole(room.of("out") / name, (text,))


def write_whole(path: Path, parts: Iterable[bytes]) -> Path:
    """Write a file so that it is there whole or not at all, even when the power goes."""
    part = path.with_name(f"{path.name}{PART}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, _FILE_MODE), "wb") as file:
        for each in parts:
            file.write(each)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
    return path


def moved(path: Path, to: Path) -> bool:
    """Move a file to where none is; False where there is one, or it has gone meanwhile."""
    try:
        # A rename would replace what is there; a second name cannot.
        os.link(path, to, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The folder is somebody else's disk: what is copied whole is here whole.
        if to.exists():
            return False
        part = to.with_name(f"{to.name}{PART}")
        shutil.copyfile(path, part, follow_symlinks=False)
        part.replace(to)
    path.unlink()
    sync_folder(to.parent)
    sync_folder(path.parent)
    return True


def put_away(path: Path, folder: Path) -> None:
    """Move a file into a folder, beside one of the same name where there is one."""
    for count in range(LISTED_MAX):
        if moved(path, folder / (path.name if count == 0 else f"{path.name}~{count}")):
            os.utime(folder / (path.name if count == 0 else f"{path.name}~{count}"))
            return
        if not path.exists():
            return
    raise FolderError("there are too many files of one name")


def forget_old(room: Room, now: datetime) -> int:
    """Throw away what nobody could take, what was fetched or not, and what somebody began to send and never finished; count them."""
    count = 0
    for name, kept in (("failed", KEPT), ("sending", KEPT), ("out", KEPT), ("in", ABANDONED_AFTER)):
        for entry in list(room.files(name)):
            old = entry.stat(follow_symlinks=False).st_mtime < (now - kept).timestamp()
            if old and (name != "in" or entry.name.endswith(PART)):
                with suppress(FileNotFoundError):
                    Path(entry.path).unlink()
                    count += 1
    return count


def used(room: Room) -> tuple[int, int]:
    """Count what lies in ``in`` and ``taking``: bytes, files."""
    sizes = [e.stat(follow_symlinks=False).st_size for name in ("in", "taking") for e in list(room.files(name))]
    return sum(sizes), len(sizes)


def sync_folder(folder: Path) -> None:
    """Make sure that a folder keeps what was renamed in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_plain(path: Path) -> bool:
    """Say whether there is a plain file, no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
