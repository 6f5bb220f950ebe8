"""The two files of an import, read with flat memory, and the file of what was wrong in each.

A file is read twice: once to check every row and to remember where it stands (24 bytes a row), once account by account.
"""

from __future__ import annotations

import csv
import mmap
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from bels.domain.periods import MOSCOW
from bels.domain.service_meter import refusal_of_model, refusal_of_values
from bels.domain.terms import Channel, Locality, MeterModel, Reason, Register, Stove

ACCOUNT_COLUMNS = (
    "account", "opened_on", "locality", "stove", "rooms", "residents", "meter", "capacity", "registers", "initial",
)  # fmt: skip
READING_COLUMNS = ("account", "received_at", "channel", "values")

BAD_ROW = "BAD_ROW"
"""The reason of a row that is not even a row; all other reasons are the domain's."""

ROW_LENGTH_MAX = 10_000
ROWS_MAX = 2**32 - 1
PERSONS_MAX = 100
ROOMS_MAX = 30
NOON = time(12)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ACCOUNT = re.compile(rb"[0-9]{7}")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CHANNELS = {channel.value.encode(): channel for channel in Channel if channel is not Channel.CLOSING}
_ZONES = "total, day|night or half_peak|night|peak"


class ImportFileError(ValueError):
    """A file cannot be imported at all; the sentence says what to do."""


class RowError(ValueError):
    """A row cannot be imported: its reason, and what to put right."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A row of accounts.csv: an account and its meter, as it was opened. ``raw`` is the row in one way of writing."""

    line: int
    number: str
    opened_at: datetime
    locality: Locality
    stove: Stove
    rooms: int
    residents: int
    meter: MeterModel
    initial: dict[Register, int]
    raw: str


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """A row of readings.csv; ``at_us`` are the microseconds of 1970 at which it was received."""

    line: int
    number: str
    at_us: int
    channel: Channel
    values: str

    @property
    def received_at(self) -> datetime:
        """The moment at which the reading was received, in UTC."""
        return EPOCH + timedelta(microseconds=self.at_us)


class Rejects:
    """The rows of one file that were not imported: written beside it, in the order of its lines, when the import ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".rejects.csv")
        try:
            # Now, and not when everything is stored: then nobody would learn what was left out.
            self.path.open("ab").close()
        except OSError as error:
            raise ImportFileError(f"the rejects file {self.path} cannot be written: {error.strerror}") from error
        self._spool: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by close()
        self._lines = array("Q")
        self._places = array("Q")

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: int, reason: str, detail: str, row: str) -> None:
        """Note a row that was not imported."""
        self._lines.append(line)
        self._places.append(self._spool.tell())
        texts = ('"' + text.replace('"', '""') + '"' for text in (detail, row))
        self._spool.write(f"{line},{reason},{','.join(texts)}\n".encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Write the file, or remove that of an earlier run when nothing was wrong."""
        if not self._lines:
            self.path.unlink(missing_ok=True)
        else:
            with self.path.open("wb") as file:
                file.write(b"line,reason,detail,row\n")
                for i in sorted(range(len(self._lines)), key=self._lines.__getitem__):
                    self._spool.seek(self._places[i])
                    file.write(self._spool.readline())
        self._spool.close()


class Rows:
    """The lines of a CSV file, by number and by place; the first one names the columns.

    :raises ImportFileError: the file is not what it should be.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self._bytes: mmap.mmap | bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            self._bytes = b""
        try:
            self._order, self._begin = self._header(columns)
        except ImportFileError:
            self.close()
            raise

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return len(self._bytes)

    def close(self) -> None:
        """Let the file go."""
        if isinstance(self._bytes, mmap.mmap):
            self._bytes.close()
        self._file.close()

    def lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Give each row that is not blank: its line number, its place, its bytes."""
        place, content, end = self._begin, self._bytes, len(self._bytes)
        line = 1
        while place < end:
            line += 1
            stop = content.find(b"\n", place)
            stop = end if stop < 0 else stop
            row = content[place:stop]
            if row.strip():
                yield line, place, row
            place = stop + 1

    def at(self, place: int) -> bytes:
        """Give the row at a place."""
        stop = self._bytes.find(b"\n", place)
        return self._bytes[place : len(self._bytes) if stop < 0 else stop]

    def fields(self, row: bytes) -> list[bytes]:
        """Split a row into its fields, in the order of the columns asked for.

        :raises RowError: the row has more or fewer fields than the first line.
        """
        if len(row) > ROW_LENGTH_MAX:
            raise RowError(BAD_ROW, f"the row is longer than {ROW_LENGTH_MAX:,} bytes")
        if _CONTROL.search(row):
            raise RowError(BAD_ROW, "the row has a control character")
        fields = row.split(b",") if b'"' not in row else _quoted(row)
        if len(fields) != len(self._order):
            hint = "; separate the fields by commas" if b";" in row and len(fields) == 1 else ""
            raise RowError(BAD_ROW, f"{len(fields)} fields where there are {len(self._order)} columns{hint}")
        return [fields[i].strip() for i in self._order]

    def _header(self, columns: Sequence[str]) -> tuple[list[int], int]:
        expected = ",".join(columns)
        content = self._bytes
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ImportFileError(f"{self.path} is UTF-16: save it as UTF-8")
        begin = 3 if content[:3] == b"\xef\xbb\xbf" else 0
        stop = content.find(b"\n", begin)
        stop = len(content) if stop < 0 else stop
        first = content[begin : min(stop, begin + ROW_LENGTH_MAX)].decode("utf-8", "replace").strip()
        if not first:
            raise ImportFileError(f"{self.path} is empty: its first line must name the columns: {expected}")
        names = [name.strip().strip('"').strip() for name in first.split(",")]
        if len(names) == 1 and ";" in first:
            raise ImportFileError(f"{self.path} is separated by semicolons: save it with commas, as {expected}")
        missing = [name for name in columns if name not in names]
        unknown = [name for name in names if name not in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        for what, wrong in (("lacks the columns", missing), ("has unknown columns", unknown), ("names twice", twice)):
            if wrong:
                raise ImportFileError(f"{self.path} {what} {', '.join(map(repr, wrong))}: it must have {expected}")
        return [names.index(name) for name in columns], stop + 1


class AccountsFile:
    """accounts.csv: every row checked, found by account.

    :raises ImportFileError: the file is not what it should be.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Rows(path, ACCOUNT_COLUMNS)
        self.rejects = Rejects(path)
        self.repeats = 0
        self._places: dict[int, tuple[int, int]] = {}

    def check(self, now: datetime) -> None:
        """Read the file once, reject what cannot be imported."""
        for line, place, row in self._rows.lines():
            try:
                account = self._read(line, row, now)
                first = self._places.get(int(account.number))
                if first is None:
                    self._places[int(account.number)] = line, place
                elif self._read(first[0], self._rows.at(first[1]), now).raw == account.raw:
                    self.repeats += 1
                else:
                    raise RowError(
                        Reason.ACCOUNT_EXISTS.value, f"line {first[0]} says otherwise of account {account.number}"
                    )
            except RowError as error:
                self.rejects.add(line, error.reason, error.detail, _text(row))

    def numbers(self) -> Iterator[int]:
        """Give the accounts that can be imported."""
        return iter(self._places)

    def find(self, number: int, now: datetime) -> AccountRow | None:
        """Find the row of an account."""
        place = self._places.get(number)
        return self._read(place[0], self._rows.at(place[1]), now) if place is not None else None

    def reject(self, row: AccountRow, reason: str, detail: str) -> None:
        """Note that a row was not imported."""
        self.rejects.add(row.line, reason, detail, _text(self._rows.at(self._places[int(row.number)][1])))

    def close(self) -> None:
        """Write the rejects and let the file go."""
        self.rejects.close()
        self._rows.close()

    def _read(self, line: int, row: bytes, now: datetime) -> AccountRow:
        fields = self._rows.fields(row)
        if not _ACCOUNT.fullmatch(fields[0]):
            raise RowError(Reason.BAD_ACCOUNT.value, "an account has exactly seven digits")
        try:
            number, opened_on, locality, stove, rooms, residents, meter, capacity, registers, initial = (
                field.decode() for field in fields
            )
        except UnicodeDecodeError as error:
            raise RowError(BAD_ROW, "the row is not UTF-8") from error
        try:
            opened_at = datetime.combine(date.fromisoformat(opened_on), NOON, MOSCOW).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise RowError(
                Reason.BAD_DATES.value, f"opened_on {opened_on!r} is not a date: write 2024-03-22"
            ) from error
        if opened_at > now:
            raise RowError(Reason.BAD_DATES.value, f"opened_on {opened_on} (12:00 Moscow) is in the future")
        if opened_at.year < 1990:
            raise RowError(Reason.BAD_DATES.value, f"opened_on {opened_on} is before 1990")
        if locality not in ("urban", "rural"):
            raise RowError(BAD_ROW, f"locality {locality!r} is neither urban nor rural")
        if stove not in ("gas", "electric"):
            raise RowError(BAD_ROW, f"stove {stove!r} is neither gas nor electric")
        model, values = _meter(meter, capacity, registers, initial)
        raw = ",".join((number, opened_at.isoformat(), locality, stove, rooms, residents, meter, capacity))
        return AccountRow(
            line,
            number,
            opened_at,
            Locality(locality),
            Stove(stove),
            _whole("rooms", rooms, 1, ROOMS_MAX, BAD_ROW),
            _whole("residents", residents, 0, PERSONS_MAX, Reason.BAD_RESIDENTS.value),
            model,
            values,
            f"{raw},{registers},{'|'.join(map(str, values.values()))}",
        )


class ReadingsFile:
    """readings.csv: every row checked, found by account in order of time.

    :raises ImportFileError: the file is not what it should be.
    """

    def __init__(self, path: Path) -> None:
        self._rows = Rows(path, READING_COLUMNS)
        self.rejects = Rejects(path)
        self.last_at: datetime | None = None
        self._slots: dict[int, int] = {}
        self._begins = array("Q")
        self._order = array("Q")
        self._at = array("q")
        self._places = array("Q")
        self._lines = array("Q")

    def __len__(self) -> int:
        return len(self._at)

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return self._rows.size

    def check(self, now: datetime) -> Iterator[int]:
        """Read the file once, reject what cannot be imported, remember where the rest stands; say the bytes that are read."""
        slots, slot_of, at, places, lines = self._slots, array("Q"), self._at, self._places, self._lines
        latest = _microseconds(now)
        parse, said = self._parse, 0
        for line, place, row in self._rows.lines():
            try:
                number, at_us, _, _ = parse(row)
                if at_us > latest:
                    raise RowError(Reason.RECEIVED_IN_FUTURE.value, "received_at is in the future")
            except RowError as error:
                self.rejects.add(line, error.reason, error.detail, _text(row))
                continue
            slot_of.append(slots.setdefault(int(number), len(slots)))
            at.append(at_us)
            places.append(place)
            lines.append(line)
            if place - said > 2**20:
                yield place - said
                said = place
        if at:
            self.last_at = EPOCH + timedelta(microseconds=max(at))
        self._sort(slot_of)
        yield self._rows.size - said

    def numbers(self) -> Iterator[int]:
        """Give the accounts that have readings here."""
        return iter(self._slots)

    def count(self, number: int) -> int:
        """Count the readings of an account."""
        slot = self._slots.get(number)
        return self._begins[slot + 1] - self._begins[slot] if slot is not None else 0

    def of(self, number: int) -> list[ReadingRow]:
        """Give the readings of an account in order of time; of the same moment, in order of lines."""
        slot = self._slots.get(number)
        if slot is None:
            return []
        own = self._order[self._begins[slot] : self._begins[slot + 1]]
        rows = []
        for i in sorted(own, key=self._at.__getitem__):
            account, at_us, channel, values = self._parse(self._rows.at(self._places[i]))
            rows.append(ReadingRow(self._lines[i], account.decode(), at_us, channel, values))
        return rows

    def reject(self, row: ReadingRow, reason: str, detail: str) -> None:
        """Note that a row was not imported."""
        slot = self._slots[int(row.number)]
        own = self._order[self._begins[slot] : self._begins[slot + 1]]
        place = next(self._places[i] for i in own if self._lines[i] == row.line)
        self.rejects.add(row.line, reason, detail, _text(self._rows.at(place)))

    def close(self) -> None:
        """Write the rejects and let the file go."""
        self.rejects.close()
        self._rows.close()

    def _parse(self, row: bytes) -> tuple[bytes, int, Channel, str]:
        number, moment, named, values = self._rows.fields(row)
        if not _ACCOUNT.fullmatch(number):
            raise RowError(Reason.BAD_ACCOUNT.value, "an account has exactly seven digits")
        channel = _CHANNELS.get(named)
        if channel is None:
            raise RowError(
                BAD_ROW, f"channel {_text(named)[:40]!r} is not one of {', '.join(c.value for c in _CHANNELS.values())}"
            )
        try:
            at = datetime.fromisoformat(moment.decode())
        except ValueError as error:
            raise RowError(
                Reason.BAD_DATES.value,
                f"received_at {_text(moment)[:40]!r} is not a moment: write 2024-04-22T12:00:00+03:00",
            ) from error
        if at.tzinfo is None:
            raise RowError(
                Reason.BAD_DATES.value,
                f"received_at {_text(moment)[:40]!r} has no offset: write 2024-04-22T12:00:00+03:00",
            )
        if at.year < 1990:
            raise RowError(Reason.BAD_DATES.value, f"received_at {_text(moment)[:40]} is before 1990")
        if at.year > 9000:
            raise RowError(Reason.RECEIVED_IN_FUTURE.value, "received_at is in the future")
        try:
            text = values.decode()
        except UnicodeDecodeError as error:
            raise RowError(BAD_ROW, "the row is not UTF-8") from error
        if not text:
            raise RowError(Reason.TOO_FEW_VALUES.value, "no values")
        return number, _microseconds(at), channel, text

    def _sort(self, slot_of: array[int]) -> None:
        """Gather the rows of each account, without a number object for each row."""
        counts = array("Q", bytes(8 * (len(self._slots) + 1)))
        for slot in slot_of:
            counts[slot + 1] += 1
        for slot in range(len(self._slots)):
            counts[slot + 1] += counts[slot]
        self._begins = array("Q", counts)
        self._order = array("Q", bytes(8 * len(slot_of)))
        for i, slot in enumerate(slot_of):
            self._order[counts[slot]] = i
            counts[slot] += 1


def _open(path: Path) -> IO[bytes]:
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            raise ImportFileError(f"{path} {problem}")
        return path.open("rb")
    except OSError as error:
        raise ImportFileError(f"{path} cannot be read: {error.strerror}") from error


def _quoted(row: bytes) -> list[bytes]:
    try:
        fields: list[str] = next(csv.reader([row.decode("utf-8", "surrogateescape").rstrip("\r")], strict=True))
    except (csv.Error, StopIteration) as error:
        raise RowError(BAD_ROW, "a quotation mark is not closed in its line") from error
    return [field.encode("utf-8", "surrogateescape") for field in fields]


def _meter(number: str, capacity: str, registers: str, initial: str) -> tuple[MeterModel, dict[Register, int]]:
    names = registers.split("|")
    if not set(names) <= set(Register):
        raise RowError(Reason.BAD_METER.value, f"registers {registers!r} are not {_ZONES}")
    model = MeterModel(
        number, _whole("capacity", capacity, 5, 7, Reason.BAD_METER.value), tuple(Register(name) for name in names)
    )
    refusal = refusal_of_model(model)
    if refusal is not None:
        what = f"registers {registers!r} are not {_ZONES}" if number and len(number) <= 40 else "meter is no number"
        raise RowError(refusal.value, what)
    texts = initial.split("|")
    if len(texts) != len(names):
        few = Reason.TOO_FEW_VALUES if len(texts) < len(names) else Reason.TOO_MANY_VALUES
        raise RowError(few.value, f"initial has {len(texts)} values for {registers}")
    top = 10**model.capacity - 1
    shown = [_whole("initial", text, 0, top, Reason.BAD_VALUE.value) for text in texts]
    values = dict(zip(model.registers, shown, strict=True))
    refusal = refusal_of_values(model, values)
    if refusal is not None:
        raise RowError(refusal.value, f"initial {initial} does not fit {registers} of {capacity} digits")
    return model, values


def _whole(name: str, text: str, least: int, most: int, reason: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise RowError(reason, f"{name} {text[:40]!r} is not a whole number from {least} to {most}")
    return int(text)


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _text(row: Any) -> str:
    return bytes(row).decode("utf-8", "backslashreplace").strip()
