"""Readings of ours for ГИС ЖКХ, as ``importMeteringDeviceValuesRequest`` documents (hcs-device-metering-types, 14.4.0.1).

This room translates and writes files; it sends nothing. The channel there is TLS and XAdES-BES by ГОСТ, whose keys live in a
crypto provider of the supplier: its program wraps each document in an envelope, signs it (it adds ``Id`` and ``Signature``),
sends it and asks ``getState``.

A document has at most 1000 values. ``Period`` is always written: a reading of the 26th to 31st is of our next month, and by
default it would be taken for the month of its date. ``ControlValue`` has none in the schema. T1 to T3 have no names there: they
are the places of the meter's display, and where nobody has said which register stands in which, nothing is guessed.
"""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from re import compile as pattern
from typing import Any
from uuid import UUID, uuid5
from xml.etree import ElementTree as ET

import asyncpg
import msgspec

from bels.domain.periods import moscow_date
from bels.domain.terms import Period, ReadingKind, Register
from bels.payments.exchange.folders import PART, sync_folder
from bels.payments.exchange.states import reached
from bels.projections.overview import MeterRow

VALUES_MAX = 1_000
"""``MeteringDevicesValues`` in one document, by the schema."""
PAGE = 1_000
NAMED_MAX = 100
"""Meters named in the result whose readings were left out; all are counted."""
DEVICES_MAX = 2_000_000
PLACES = ("T1", "T2", "T3")

DEVICE_METERING = "http://dom.gosuslugi.ru/schema/integration/device-metering/"
DEVICE_BASE = "http://dom.gosuslugi.ru/schema/integration/metering-device-base/"
BASE = "http://dom.gosuslugi.ru/schema/integration/base/"
VERSION = "10.0.1.1"
"""``base:version``, as the schema fixes it for this request."""

TRANSPORT = UUID("6f0b3c5e-6a43-5d0c-9a54-6a1a3b5f2e13")
"""The space of names of our ``TransportGUID``: a reading has the same one in every document, whoever writes it and when."""

_VALUE = pattern(r"[0-9]{1,15}(\.[0-9]{1,7})?")
_GUID = pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_meter = msgspec.json.Decoder(MeterRow).decode
_values = msgspec.json.Decoder(dict[str, int]).decode

for _prefix, _uri in (("dm", DEVICE_METERING), ("mdb", DEVICE_BASE), ("base", BASE)):
    ET.register_namespace(_prefix, _uri)


class GisError(ValueError):
    """A value or a table of devices cannot be written so; the sentence says which and why."""


@dataclass(frozen=True, slots=True)
class Device:
    """A meter as ГИС ЖКХ knows it: ``root`` is its ``MeteringDeviceRootGUID``; ``display`` are the registers of T1 to T3, None
    where the table does not say and the meter's own display does.
    """

    root: str
    display: tuple[Register, ...] | None = None


@dataclass(frozen=True, slots=True)
class DeviceValue:
    """A reading as it goes there: ``values`` are what T1 to T3 show, kWh, as ``Value`` of the schema; ``on`` is its Moscow day.

    ``period`` is the month for which it counts, None for that of ``on``.
    """

    root: str
    values: tuple[str, ...]
    on: date
    transport: UUID
    period: Period | None = None
    is_control: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        :raises GisError: they are not one to three, or one is no number of up to 15 digits and 7 decimals.
        """
        if not 1 <= len(self.values) <= len(PLACES):
            raise GisError(f"a device shows 1 to {len(PLACES)} values, not {len(self.values)}")
        for value in self.values:
            if not _VALUE.fullmatch(value):
                raise GisError(f"{value[:40]!r} is no value: up to 15 digits, and up to 7 after the point")

    @property
    def month(self) -> Period:
        """The month as it is written."""
        return self.period or Period(f"{self.on:%Y-%m}")


@dataclass(slots=True)
class Exported:
    """What was written: documents, values; ``unmapped`` readings of meters that the table does not name, ``unplaced`` ones of
    meters whose display nobody has told (``examples`` are some of each, ``ACCOUNT/METER``).
    """

    paths: list[Path] = field(default_factory=list)
    values: int = 0
    unmapped: int = 0
    unplaced: int = 0
    examples: dict[str, list[str]] = field(default_factory=lambda: {"unmapped": [], "unplaced": []})

    @property
    def is_whole(self) -> bool:
        """Every reading was written."""
        return not (self.unmapped or self.unplaced)

    def summary(self) -> list[str]:
        """Say it in Russian."""
        lines = [f"Документов {len(self.paths)}, показаний {self.values}"]
        for kind, count, told in (
            ("unmapped", self.unmapped, "Нет RootGUID в таблице"),
            ("unplaced", self.unplaced, "Не известно, что показывают T1-T3"),
        ):
            if count:
                more = ", ..." if count > len(self.examples[kind]) else ""
                lines.append(f"{told}: {count} ({', '.join(self.examples[kind])}{more})")
        return lines

    def leave_out(self, kind: str, account: str, meter: str) -> None:
        """Count a reading that is not written, and name its meter."""
        if kind == "unmapped":
            self.unmapped += 1
        else:
            self.unplaced += 1
        if len(self.examples[kind]) < NAMED_MAX:
            self.examples[kind].append(f"{account}/{meter}")


def transport_guid(account: str, entry: int) -> UUID:
    """Name a reading for ГИС ЖКХ for ever: by its account and its entry in the journal."""
    return uuid5(TRANSPORT, f"{account}/{entry}")


def read_devices(path: Path) -> dict[tuple[str, str], Device]:
    """Read a table of devices: CSV in UTF-8 with ``account,meter,root_guid`` and, where wanted, ``display``: the registers of T1
    to T3, as in ``day|night``. By (account, meter's number).

    :raises GisError: it is no such table; the sentence names the line.
    :raises OSError: it cannot be read.
    """
    found: dict[tuple[str, str], Device] = {}
    roots: set[str] = set()
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            if missing := {"account", "meter", "root_guid"} - set(rows.fieldnames or ()):
                raise GisError(f"{path.name}: there is no column {min(missing)}")
            for row in rows:
                at = f"{path.name}, line {rows.line_num}"
                key = ((row["account"] or "").strip(), (row["meter"] or "").strip())
                root = (row["root_guid"] or "").strip().lower()
                if not all(key) or not _GUID.fullmatch(root):
                    raise GisError(f"{at}: write an account, a meter and the GUID of the device")
                if key in found or root in roots:
                    raise GisError(f"{at}: this meter or this GUID stands above already")
                if len(found) == DEVICES_MAX:
                    raise GisError(f"{at}: more than {DEVICES_MAX} devices")
                found[key] = Device(root, _display(row.get("display"), at))
                roots.add(root)
        except (csv.Error, UnicodeDecodeError) as error:
            raise GisError(f"{path.name}, line {rows.line_num + 1}: it is no CSV in UTF-8") from error
    return found


async def requests(values: AsyncIterator[DeviceValue]) -> AsyncIterator[ET.ElementTree[ET.Element]]:
    """Give documents of at most ``VALUES_MAX`` values each, in the order in which these come."""
    waiting: list[DeviceValue] = []
    async for value in values:
        waiting.append(value)
        if len(waiting) == VALUES_MAX:
            yield _request(waiting)
            waiting.clear()
    if waiting:
        yield _request(waiting)


def _request(values: Sequence[DeviceValue]) -> ET.ElementTree[ET.Element]:
    """Give one document. Its elements stand in the order of the schema."""
    root = ET.Element(f"{{{DEVICE_METERING}}}importMeteringDeviceValuesRequest", {f"{{{BASE}}}version": VERSION})
    for each in values:
        told = ET.SubElement(root, f"{{{DEVICE_METERING}}}MeteringDevicesValues")
        _text(told, DEVICE_METERING, "MeteringDeviceRootGUID", each.root)
        electric = ET.SubElement(told, f"{{{DEVICE_METERING}}}ElectricDeviceValue")
        value = ET.SubElement(electric, f"{{{DEVICE_METERING}}}{'ControlValue' if each.is_control else 'CurrentValue'}")
        for place, shown in zip(PLACES, each.values, strict=False):
            _text(value, DEVICE_BASE, f"MeteringValue{place}", shown)
        _text(value, DEVICE_METERING, "DateValue", each.on.isoformat())
        _text(value, BASE, "TransportGUID", str(each.transport))
        if not each.is_control:
            month = ET.SubElement(value, f"{{{DEVICE_METERING}}}Period")
            _text(month, BASE, "Year", str(int(each.month[:4])))
            _text(month, BASE, "Month", str(int(each.month[5:])))
    return ET.ElementTree(root)


async def write_readings(
    pool: asyncpg.Pool,
    devices: Mapping[tuple[str, str], Device],
    period: Period,
    folder: Path,
    page: int = PAGE,
) -> Exported:
    """Write the readings that count for a period as ``gis-PERIOD-NNNN.xml``, all of the documents or none.

    :raises GisError: documents of the period lie there already.
    :raises TryLater: the database cannot be reached; nothing was written.
    :raises OSError: the folder cannot be written.
    """
    await asyncio.to_thread(_check_folder, folder, period)
    done = Exported()
    parts: list[Path] = []
    try:
        async for document in requests(_values_of(pool, devices, period, done, page)):
            parts.append(folder / f"gis-{period}-{len(parts) + 1:04d}.xml{PART}")
            await asyncio.to_thread(_write, document, parts[-1])
        done.paths += await asyncio.to_thread(_keep, parts, folder)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return done


async def _values_of(
    pool: asyncpg.Pool, devices: Mapping[tuple[str, str], Device], period: Period, done: Exported, page: int
) -> AsyncIterator[DeviceValue]:
    """Give the readings of a period, account by account; what is left out is counted.

    What came from ГИС ЖКХ does not go back there, and what was carried over from a former system was for that system to send.
    """
    account, entry = "", 0
    while True:
        async with reached(pool) as db:
            rows = await db.fetch(
                """
                SELECT reading.account, reading.entry, reading.meter, reading.kind, reading.period, reading."values",
                       coalesce(reading.taken_at, reading.received_at) AS on_at, overview.meter AS in_service
                FROM reading JOIN overview USING (account)
                WHERE (reading.account, reading.entry) > ($1, $2) AND reading.period = $3 AND reading.status = 'ACCEPTED'
                  AND reading.kind IN ('SENT', 'CONTROL', 'PREVIOUS_WRONG') AND reading.channel NOT IN ('gis', 'migration')
                  AND reading.meter IS NOT NULL
                ORDER BY reading.account, reading.entry LIMIT $4
                """,
                account,
                entry,
                period,
                page,
            )
        for row in rows:
            if (value := _device_value(row, devices, done)) is not None:
                yield value
        if len(rows) < page:
            return
        account, entry = rows[-1]["account"], rows[-1]["entry"]


def _device_value(row: Any, devices: Mapping[tuple[str, str], Device], done: Exported) -> DeviceValue | None:
    account, meter, values = row["account"], row["meter"], _values(row["values"])
    device = devices.get((account, meter))
    if device is None:
        done.leave_out("unmapped", account, meter)
        return None
    display = device.display or _display_of(meter, values, row["in_service"])
    if display is None or set(display) != set(values):
        done.leave_out("unplaced", account, meter)
        return None
    done.values += 1
    return DeviceValue(
        device.root,
        tuple(str(values[register]) for register in display),
        moscow_date(row["on_at"]),
        transport_guid(account, row["entry"]),
        Period(row["period"]),
        row["kind"] == ReadingKind.CONTROL,
    )


def _display_of(meter: str, values: Mapping[str, int], in_service: str | None) -> tuple[Register, ...] | None:
    """Give the registers of T1 to T3 by the meter's own display: known of the meter now in service alone."""
    if set(values) == {Register.TOTAL}:
        return (Register.TOTAL,)
    shown = _meter(in_service) if in_service is not None else None
    if shown is None or shown.number != meter or not shown.display:
        return None
    places = PLACES[: len(values)]
    return tuple(Register(shown.display[p]) for p in places) if set(places) == set(shown.display) else None


def _display(text: str | None, at: str) -> tuple[Register, ...] | None:
    if not (text or "").strip():
        return None
    try:
        display = tuple(Register(each.strip()) for each in (text or "").split("|"))
    except ValueError:
        raise GisError(f"{at}: display is the registers of T1 to T3, as in day|night") from None
    if len(display) > len(PLACES) or len(set(display)) != len(display):
        raise GisError(f"{at}: display is one to three registers, each once")
    return display


def _text(parent: ET.Element, space: str, name: str, text: str) -> None:
    ET.SubElement(parent, f"{{{space}}}{name}").text = text


def _check_folder(folder: Path, period: Period) -> None:
    if any(folder.glob(f"gis-{period}-*.xml")):
        raise GisError(f"{folder} has documents of {period} already")


def _keep(parts: Sequence[Path], folder: Path) -> list[Path]:
    paths = [part.rename(part.with_name(part.name.removesuffix(PART))) for part in parts]
    sync_folder(folder)
    return paths


def _write(document: ET.ElementTree[ET.Element], part: Path) -> None:
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        document.write(file, encoding="utf-8", xml_declaration=True)
        file.flush()
        os.fsync(file.fileno())
