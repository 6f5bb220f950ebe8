"""Readings for ГИС ЖКХ: what stands in the documents, read by nothing of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bels.channels.gis_readings import (
    Device,
    DeviceValue,
    Exported,
    GisError,
    read_devices,
    requests,
    transport_guid,
    write_readings,
)
from bels.domain.commands import SubmitReading, TakeControlReading
from bels.domain.terms import Channel, EntryNumber, Period, Register, Role
from bels.messages import Message
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.conftest import new_supplier
from tests.domain.vectors import vector

F13 = vector("F13")
MAY, JUNE = Period("2024-05"), Period("2024-06")
DM = "{http://dom.gosuslugi.ru/schema/integration/device-metering/}"
MDB = "{http://dom.gosuslugi.ru/schema/integration/metering-device-base/}"
BASE = "{http://dom.gosuslugi.ru/schema/integration/base/}"
ROOT = "75da5333-0000-4000-8000-00000000000{}"
METERS = {"1000001": "E-1", "1000002": "M-2", "1000003": "E-3", "1000004": "S-4", "1000006": "E-6", "1000007": "E-7N"}
DEVICES = {(account, meter): Device(ROOT.format(account[-1])) for account, meter in METERS.items()}


@pytest.fixture
def supplier(postgres: str, template: str) -> str:
    """Give a new supplier to a test."""
    return new_supplier(postgres, template, "bels_test_gis")


@pytest.fixture
async def house(supplier: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Open the house of the tests, on 20 May 2024."""
    async with opened_house(supplier, tmp_path_factory.mktemp("gis")) as house:
        yield house


async def send(house: House, account: str, values: dict[str, str], channel: Channel = Channel.CABINET) -> EntryNumber:
    """Send a reading as its household would."""
    assert house.bels is not None
    command = SubmitReading(house.at, values, Role.CONSUMER)
    raw = f"{account} {values} {house.at}"
    outcome = await house.bels.intake.submit(Message(channel, raw, f"{channel.value}:1", account, command, raw))
    assert outcome.version is not None, outcome
    return EntryNumber(outcome.version)


async def write(house: House, folder: Path, period: Period = MAY) -> Exported:
    """Write the documents of a period, by pages of two readings."""
    assert house.bels is not None
    return await write_readings(house.bels.pool, DEVICES, period, folder, page=2)


def told(path: Path) -> list[dict[str, Any]]:
    """Read a document as its receiver would, and insist on the order of its schema."""
    root = ET.fromstring(path.read_bytes())
    assert root.tag == f"{DM}importMeteringDeviceValuesRequest"
    assert root.attrib == {f"{BASE}version": "10.0.1.1"}
    found = []
    for each in root:
        assert each.tag == f"{DM}MeteringDevicesValues"
        device, electric = each
        assert (device.tag, electric.tag) == (f"{DM}MeteringDeviceRootGUID", f"{DM}ElectricDeviceValue")
        (value,) = electric
        tags = [part.tag for part in value]
        shown = [part.text for part in value if part.tag.startswith(f"{MDB}MeteringValueT")]
        places = [f"{MDB}MeteringValueT{n + 1}" for n in range(len(shown))]
        period = value.find(f"{DM}Period")
        assert tags == [
            *places,
            f"{DM}DateValue",
            f"{BASE}TransportGUID",
            *([f"{DM}Period"] if period is not None else []),
        ]
        month = [(part.tag.removeprefix(BASE), part.text) for part in period] if period is not None else None
        found.append(
            {
                "device": device.text,
                "kind": value.tag.removeprefix(DM),
                "shown": shown,
                "on": value.findtext(f"{DM}DateValue"),
                "transport": value.findtext(f"{BASE}TransportGUID"),
                "month": month,
            }
        )
    return found


def in_folder(folder: Path) -> list[str]:
    """List what lies in a folder."""
    return [each.name for each in folder.iterdir()]


async def test_a_value_without_a_period_is_of_the_month_of_its_date_and_a_document_has_a_thousand(
    tmp_path: Path,
) -> None:
    given, expected = F13["given"], F13["expected"]
    on = date.fromisoformat(given["date"])

    async def values() -> AsyncIterator[DeviceValue]:
        for n in range(given["count"]):
            yield DeviceValue(ROOT.format(1), (given["value"],), on, transport_guid("1000001", n), given["period"])

    documents: list[list[dict[str, Any]]] = []
    async for each in requests(values()):
        path = tmp_path / f"{len(documents)}.xml"
        each.write(path, encoding="utf-8", xml_declaration=True)
        documents.append(told(path))

    assert [len(each) for each in documents] == expected["requests"]
    year, month = expected["period"].split("-")
    assert documents[1] == [
        {
            "device": ROOT.format(1),
            "kind": "CurrentValue",
            "shown": [given["value"]],
            "on": given["date"],
            "transport": str(transport_guid("1000001", 1000)),
            "month": [("Year", year), ("Month", str(int(month)))],
        }
    ]
    assert len({each["transport"] for document in documents for each in document}) == given["count"]


@pytest.mark.parametrize(
    ("value", "valid"), list(zip(F13["given"]["values_to_check"], F13["expected"]["valid"], strict=True))
)
def test_a_value_has_at_most_seven_decimals(value: str, valid: bool) -> None:
    try:
        DeviceValue(ROOT.format(1), (value,), date(2024, 5, 20), transport_guid("1000001", 1))
        taken = True
    except GisError:
        taken = False
    assert taken is valid


@pytest.mark.parametrize("value", ["", "-1", "1.", "1,5", "1e3", "1" * 16, "١", "1\n"])
def test_what_is_no_value_of_the_schema_is_refused(value: str) -> None:
    with pytest.raises(GisError, match="is no value"):
        DeviceValue(ROOT.format(1), (value,), date(2024, 5, 20), transport_guid("1000001", 1))


async def test_a_reading_of_the_26th_is_written_for_the_next_month(house: House, tmp_path: Path) -> None:
    house.at = moscow("2024-05-26T00:30")
    entry = await send(house, "1000001", {"total": "10385"})

    may, june = await write(house, tmp_path), await write(house, tmp_path, JUNE)

    assert may.paths == []
    assert [path.name for path in june.paths] == ["gis-2024-06-0001.xml"]
    assert told(june.paths[0]) == [
        {
            "device": ROOT.format(1),
            "kind": "CurrentValue",
            "shown": ["10385"],
            "on": "2024-05-26",
            "transport": str(transport_guid("1000001", entry)),
            "month": [("Year", "2024"), ("Month", "6")],
        }
    ]


async def test_accounts_stand_in_order_and_zones_in_the_places_of_the_display(house: House, tmp_path: Path) -> None:
    await send(house, "1000003", {"day": "3100", "night": "1600"})
    await send(house, "1000002", {"peak": "2050", "half_peak": "6050", "night": "1550"})
    await send(house, "1000001", {"total": "10250"})

    done = await write(house, tmp_path)

    assert done.is_whole
    assert [(each["device"], each["shown"]) for each in told(done.paths[0])] == [
        (ROOT.format(1), ["10250"]),
        (ROOT.format(2), ["1550", "2050", "6050"]),
        (ROOT.format(3), ["3100", "1600"]),
    ]


async def test_what_was_superseded_or_held_or_came_from_there_is_not_written(house: House, tmp_path: Path) -> None:
    await send(house, "1000001", {"total": "10250"})
    house.wait(hours=1)
    await send(house, "1000001", {"total": "10260"})
    await send(house, "1000004", {"total": "10210"}, Channel.GIS)
    await send(house, "1000003", {"day": "9999", "night": "9999"})

    done = await write(house, tmp_path)

    assert [each["shown"] for each in told(done.paths[0])] == [["10260"]]
    assert done.is_whole


async def test_a_control_reading_goes_as_one_and_has_no_period_there(house: House, tmp_path: Path) -> None:
    await house.do("1000001", TakeControlReading(house.at, {Register.TOTAL: 10270}, "акт 8"))

    done = await write(house, tmp_path)

    (each,) = told(done.paths[0])
    assert (each["kind"], each["shown"], each["month"]) == ("ControlValue", ["10270"], None)


async def test_readings_of_unknown_devices_and_displays_are_counted_and_named(house: House, tmp_path: Path) -> None:
    await send(house, "1000006", {"day": "3050", "night": "1550"})
    await send(house, "1000001", {"total": "10250"})
    assert house.bels is not None

    done = await write_readings(house.bels.pool, {("1000006", "E-6"): Device(ROOT.format(6))}, MAY, tmp_path)

    assert not done.is_whole
    assert not in_folder(tmp_path)
    assert done.summary() == [
        "Документов 0, показаний 0",
        "Нет RootGUID в таблице: 1 (1000001/E-1)",
        "Не известно, что показывают T1-T3: 1 (1000006/E-6)",
    ]
    display = (Register.NIGHT, Register.DAY)
    done = await write_readings(house.bels.pool, {("1000006", "E-6"): Device(ROOT.format(6), display)}, MAY, tmp_path)
    assert [each["shown"] for each in told(done.paths[0])] == [["1550", "3050"]]


async def test_the_same_readings_are_named_alike_in_every_document(house: House, tmp_path: Path) -> None:
    await send(house, "1000001", {"total": "10250"})
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        await write(house, folder)

    assert (first / "gis-2024-05-0001.xml").read_bytes() == (second / "gis-2024-05-0001.xml").read_bytes()
    with pytest.raises(GisError, match="has documents of 2024-05 already"):
        await write(house, first)


def test_a_table_of_devices_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    good = f"account,meter,root_guid,display\n1000006,E-6,{ROOT.format(6).upper()},night|day\n1000001,E-1,{ROOT.format(1)},\n"
    path.write_text(good, "utf-8-sig")
    assert read_devices(path) == {
        ("1000006", "E-6"): Device(ROOT.format(6), (Register.NIGHT, Register.DAY)),
        ("1000001", "E-1"): Device(ROOT.format(1)),
    }
    for line, fault in {
        "1000002,M-2,not-a-guid,": "line 4: write an account",
        f"1000002,M-2,{ROOT.format(1)},": "line 4: this meter or this GUID stands above",
        f"1000001,E-1,{ROOT.format(3)},": "line 4: this meter or this GUID stands above",
        f"1000002,M-2,{ROOT.format(2)},evening": "line 4: display is",
        f"1000002,M-2,{ROOT.format(2)},day|day": "line 4: display is",
    }.items():
        path.write_text(f"{good}{line}\n", "utf-8")
        with pytest.raises(GisError, match=fault):
            read_devices(path)
    path.write_text("account;meter;root_guid\n", "utf-8")
    with pytest.raises(GisError, match="there is no column account"):
        read_devices(path)
