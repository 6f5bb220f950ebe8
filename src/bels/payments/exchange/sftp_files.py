"""What a bank may do with files over SFTP: ``in`` to send, ``out`` to fetch, and nothing else.

What a client names is never a path of this machine: it is one of ``/``, ``/in``, ``/out`` and plain files in them, whatever dots,
slashes and links stand in it.

A file that is being written lies under its name with ``.part``, and gets its name when its handle is closed in order; a
connection that breaks leaves the part, which nobody takes. Whoever writes ``NAME.part`` itself renames it. Both wake the taker.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import stat
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from asyncssh import FXF_CREAT, FXF_EXCL, FXF_READ, FXF_TRUNC, FXF_WRITE

from bels.payments.exchange.contracts import Exchange
from bels.payments.exchange.folders import (
    FILE_BYTES_MAX,
    KEPT_NAME_BYTES_MAX,
    PART,
    Room,
    Watch,
    is_file_name,
    is_plain,
    moved,
    sync_folder,
    used,
)

HANDLES_MAX = 20
"""Files and listings that one session has open."""
READ_MAX = 256 * 1024

_IN, _OUT = "in", "out"
REFUSED = "Это действие здесь не разрешено."
_NO_FILE = "Такого файла нет."


@dataclass(slots=True)
class Guest:
    """A partner as the server knows it: its room, what is written in it now, how many bytes may still come."""

    agreed: Exchange
    room: Room
    watch: Watch = field(default_factory=Watch)
    uploads: dict[str, Upload] = field(default_factory=dict)
    connections: int = 0
    bytes_left: int = 0


@dataclass(slots=True, eq=False)
class Upload:
    """A file that is being written under a name; ``size`` is where it ends so far, ``is_cut``: a piece of it was refused."""

    name: str
    path: Path
    file: int
    size: int
    is_cut: bool = False


@dataclass(slots=True, eq=False)
class Download:
    """A file that is being read."""

    file: int


class _Listing:
    """The names of a folder as they were when it was opened; read in pieces."""

    def __init__(self, names: list[asyncssh.SFTPName]) -> None:
        self._names = iter(names)

    def __aiter__(self) -> _Listing:
        return self

    async def __anext__(self) -> asyncssh.SFTPName:
        try:
            return next(self._names)
        except StopIteration:
            raise StopAsyncIteration from None


class Files(asyncssh.SFTPServer):
    """What a partner may do with files. Every answer is short work on a local disk, so nothing here waits."""

    def __init__(
        self,
        channel: asyncssh.SSHServerChannel[bytes],
        guest: Guest,
        heard: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(channel)
        self._guest = guest
        self._heard, self._ended = heard, ended
        self._handles: set[Upload | Download] = set()
        self._listings: weakref.WeakSet[_Listing] = weakref.WeakSet()
        self._just_named: dict[str, Upload] = {}

    # What is asked about names.

    def realpath(self, path: bytes) -> bytes:
        """Give the one form of a path, of what is not there too."""
        self._heard()
        return _plain(path).encode()

    def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell of a file or a folder."""
        self._heard()
        folder, name = place_of(path)
        if not name:
            return _of_folder(writable=folder == _IN)
        upload = self._guest.uploads.get(name) if folder == _IN else None
        try:
            found = os.fstat(upload.file) if upload is not None else self._path(folder, name).lstat()
        except OSError:
            raise asyncssh.SFTPNoSuchFile(_NO_FILE) from None
        if not stat.S_ISREG(found.st_mode):
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        return _of_file(found, writable=folder == _IN)

    def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        """Tell of a file or a folder; there are no links to follow."""
        return self.lstat(path)

    def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        """List a folder."""
        self._heard()
        self._room_for_handle()
        folder, name = place_of(path)
        if name:
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        names = [asyncssh.SFTPName(dots, attrs=_of_folder(writable=False)) for dots in (b".", b"..")]
        if not folder:
            names += [asyncssh.SFTPName(each.encode(), attrs=_of_folder(writable=each == _IN)) for each in (_IN, _OUT)]
        else:
            names += [
                asyncssh.SFTPName(
                    entry.name.encode(), attrs=_of_file(entry.stat(follow_symlinks=False), writable=folder == _IN)
                )
                for entry in self._guest.room.files(folder)
                if folder == _IN or not entry.name.endswith(PART)
            ]
        listing = _Listing(names)
        self._listings.add(listing)
        return listing

    # What is done with files.

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Open a file: to read in ``out``, to write in ``in``."""
        self._heard()
        self._room_for_handle()
        folder, name = place_of(path)
        if not folder or not name:
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        if pflags & FXF_WRITE and folder != _IN:
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        opened = self._open_to_write(name, pflags) if pflags & FXF_WRITE else self._open_to_read(folder, name)
        self._handles.add(opened)
        return opened

    def _open_to_read(self, folder: str, name: str) -> Download:
        path = self._path(folder, name)
        if not is_plain(path):
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        if folder != _OUT:
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        try:
            return Download(os.open(path, os.O_RDONLY | os.O_NOFOLLOW))
        except OSError:
            raise asyncssh.SFTPNoSuchFile(_NO_FILE) from None

    def _open_to_write(self, name: str, pflags: int) -> Upload:
        guest = self._guest
        if pflags & FXF_READ or not is_file_name(name):
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        shown = guest.room.of(_IN) / name
        if not name.endswith(PART) and (shown.is_symlink() or shown.exists()):
            raise asyncssh.SFTPFailure("Файл с таким именем уже передан и ещё не обработан.")
        path = shown if name.endswith(PART) else shown.with_name(f"{name}{PART}")
        if any(each.path == path for each in guest.uploads.values()):
            raise asyncssh.SFTPFailure("Файл с таким именем передаётся сейчас.")
        is_new = not is_plain(path)
        if is_new and not pflags & FXF_CREAT:
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        if pflags & FXF_EXCL and not is_new:
            raise asyncssh.SFTPFailure("Файл с таким именем уже есть.")
        if is_new and used(guest.room)[1] >= guest.agreed.files_max:
            raise asyncssh.SFTPFailure("Файлов слишком много: дождитесь обработки переданных.")
        flags = os.O_WRONLY | os.O_NOFOLLOW | (os.O_CREAT if pflags & FXF_CREAT else 0)
        # A part that goes on where it stopped is neither cut nor begun anew.
        flags |= os.O_TRUNC if pflags & FXF_TRUNC else 0
        try:
            file = os.open(path, flags, 0o600)
        except OSError as error:
            raise asyncssh.SFTPFailure("Файл нельзя записать.") from error
        upload = guest.uploads[name] = Upload(name, path, file, os.fstat(file).st_size)
        # Several writers share what is left: it is counted from the disk whenever one begins.
        guest.bytes_left = guest.agreed.bytes_max - used(guest.room)[0]
        return upload

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Read a piece."""
        self._heard()
        if not isinstance(file_obj, Download):
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        return os.pread(file_obj.file, min(size, READ_MAX), offset)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Write a piece, as far as there is room."""
        self._heard()
        if not isinstance(file_obj, Upload):
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        end = offset + len(data)
        more = max(end - file_obj.size, 0)
        if end > FILE_BYTES_MAX or more > self._guest.bytes_left:
            file_obj.is_cut = True
            raise asyncssh.SFTPFailure("Файл слишком велик или место для файлов исчерпано.")
        try:
            written = os.pwrite(file_obj.file, data, offset)
        except OSError:
            file_obj.is_cut = True
            raise
        if written < len(data):
            file_obj.is_cut = True
            raise asyncssh.SFTPFailure("Место для файлов исчерпано.")
        self._guest.bytes_left -= more
        file_obj.size = max(file_obj.size, end)
        return written

    def close(self, file_obj: object) -> None:
        """Close a file; one that was written whole gets its name, and is taken."""
        self._heard()
        if isinstance(file_obj, Download):
            self._handles.discard(file_obj)
            os.close(file_obj.file)
        if not isinstance(file_obj, Upload) or file_obj not in self._handles:
            return
        self._handles.discard(file_obj)
        self._guest.uploads.pop(file_obj.name, None)
        try:
            os.fsync(file_obj.file)
        finally:
            os.close(file_obj.file)
        if file_obj.is_cut:
            # A client closes what it could not write; half a register must never be taken, whatever name it is given.
            file_obj.path.unlink(missing_ok=True)
            return
        if file_obj.name.endswith(PART):
            sync_folder(file_obj.path.parent)
            return
        if not moved(file_obj.path, self._guest.room.of(_IN) / file_obj.name):
            raise asyncssh.SFTPFailure("Файл с таким именем уже передан.")
        # The library closes what is open when a connection breaks, and in the same breath calls ``exit``: only what outlives
        # this turn of the loop was closed by the client.
        self._just_named[file_obj.name] = file_obj
        asyncio.get_running_loop().call_soon(self._whole, file_obj.name)

    def _whole(self, name: str) -> None:
        if self._just_named.pop(name, None) is not None:
            self._guest.watch.is_whole(name)

    def exit(self) -> None:
        """End a session: what was not closed by the client is a part again."""
        for upload in self._just_named.values():
            with suppress(OSError):
                (self._guest.room.of(_IN) / upload.name).replace(upload.path)
        self._just_named.clear()
        self._ended()

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename a file of ``in``, never over another; with its last name it is whole, and is taken."""
        self._heard()
        old, new = place_of(oldpath), place_of(newpath)
        if not old[1] or not is_plain(self._path(*old)):
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        if old[0] != _IN or new[0] != _IN or not new[1] or not is_file_name(new[1]):
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        path, to = self._path(*old), self._path(*new)
        if any(each.path in (path, to) for each in self._guest.uploads.values()):
            raise asyncssh.SFTPFailure("Файл с таким именем передаётся сейчас.")
        if not moved(path, to):
            raise asyncssh.SFTPFailure("Файл с таким именем уже есть.")
        if not new[1].endswith(PART):
            self._guest.watch.is_whole(new[1])

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """Rename a file as OpenSSH asks for it; here too never over another."""
        self.rename(oldpath, newpath)

    def remove(self, path: bytes) -> None:
        """Take back a part; what is whole is taken."""
        self._heard()
        folder, name = place_of(path)
        found = self._path(folder, name) if name else None
        if found is None or not is_plain(found):
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        if folder != _IN or not name.endswith(PART) or any(u.path == found for u in self._guest.uploads.values()):
            raise asyncssh.SFTPPermissionDenied(REFUSED)
        found.unlink(missing_ok=True)

    def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Leave times and rights of a file as they are; clients set them after they have written."""
        self.lstat(path)
        _changes_nothing(attrs)

    def lsetstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Leave times and rights of a file as they are."""
        self.setstat(path, attrs)

    def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        """Tell of an open file."""
        if not isinstance(file_obj, Upload | Download):
            raise asyncssh.SFTPFailure(_NO_FILE)
        return _of_file(os.fstat(file_obj.file), writable=isinstance(file_obj, Upload))

    def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        """Leave times and rights of an open file as they are."""
        _changes_nothing(attrs)

    def fsync(self, file_obj: object) -> None:
        """Bring what was written to the disk."""
        if isinstance(file_obj, Upload):
            os.fsync(file_obj.file)

    # What nobody may do.

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        """Refuse: the folders are agreed."""
        raise asyncssh.SFTPPermissionDenied(REFUSED)

    def rmdir(self, path: bytes) -> None:
        """Refuse: the folders are agreed."""
        raise asyncssh.SFTPPermissionDenied(REFUSED)

    def readlink(self, path: bytes) -> bytes:
        """Refuse: there are no links."""
        raise asyncssh.SFTPNoSuchFile(_NO_FILE)

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """Refuse: there are no links."""
        raise asyncssh.SFTPPermissionDenied(REFUSED)

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        """Refuse: there are no links."""
        raise asyncssh.SFTPPermissionDenied(REFUSED)

    def open56(self, path: bytes, desired_access: int, flags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Refuse: version 3 is spoken."""
        raise asyncssh.SFTPOpUnsupported(REFUSED)

    def lock(self, file_obj: object, offset: int, length: int, flags: int) -> None:
        """Refuse: version 3 is spoken."""
        raise asyncssh.SFTPOpUnsupported(REFUSED)

    def unlock(self, file_obj: object, offset: int, length: int) -> None:
        """Refuse: version 3 is spoken."""
        raise asyncssh.SFTPOpUnsupported(REFUSED)

    def statvfs(self, path: bytes) -> asyncssh.SFTPVFSAttrs:
        """Refuse: the disk is nobody's business."""
        raise asyncssh.SFTPOpUnsupported(REFUSED)

    def fstatvfs(self, file_obj: object) -> asyncssh.SFTPVFSAttrs:
        """Refuse: the disk is nobody's business."""
        raise asyncssh.SFTPOpUnsupported(REFUSED)

    def _path(self, folder: str, name: str) -> Path:
        if folder == _OUT and name.endswith(PART):
            raise asyncssh.SFTPNoSuchFile(_NO_FILE)
        return self._guest.room.of(folder) / name

    def _room_for_handle(self) -> None:
        if len(self._handles) + len(self._listings) >= HANDLES_MAX:
            raise asyncssh.SFTPFailure("Открыто слишком много файлов.")


def _plain(path: bytes) -> str:
    """Give a path as the client sees it, from ``/`` on; no dots lead out of it.

    :raises asyncssh.SFTPNoSuchFile: it is no text.
    """
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        raise asyncssh.SFTPNoSuchFile(_NO_FILE) from None
    plain = posixpath.normpath(posixpath.join("/", text))
    # Two slashes at the beginning mean something to POSIX, one means the same to us.
    return "/" + plain.lstrip("/")


def place_of(path: bytes) -> tuple[str, str]:
    """Give the folder (``in``, ``out`` or "" for both) and the name ("" for the folder itself) that a path means.

    :raises asyncssh.SFTPNoSuchFile: there can be nothing of this name.
    """
    parts = [part for part in _plain(path).split("/") if part]
    if not parts:
        return "", ""
    if parts[0] not in (_IN, _OUT) or len(parts) > 2:
        raise asyncssh.SFTPNoSuchFile(_NO_FILE)
    name = parts[1] if len(parts) == 2 else ""
    if name and not is_file_name(name, KEPT_NAME_BYTES_MAX):
        raise asyncssh.SFTPNoSuchFile(_NO_FILE)
    return parts[0], name


def _of_folder(*, writable: bool) -> asyncssh.SFTPAttrs:
    return asyncssh.SFTPAttrs(
        type=asyncssh.FILEXFER_TYPE_DIRECTORY,
        size=0,
        uid=0,
        gid=0,
        permissions=stat.S_IFDIR | (0o700 if writable else 0o500),
    )


def _of_file(found: os.stat_result, *, writable: bool) -> asyncssh.SFTPAttrs:
    return asyncssh.SFTPAttrs(
        type=asyncssh.FILEXFER_TYPE_REGULAR,
        size=found.st_size,
        uid=0,
        gid=0,
        permissions=stat.S_IFREG | (0o600 if writable else 0o400),
        atime=int(found.st_mtime),
        mtime=int(found.st_mtime),
    )


def _changes_nothing(attrs: asyncssh.SFTPAttrs) -> None:
    if attrs.size is not None:
        raise asyncssh.SFTPOpUnsupported(REFUSED)
