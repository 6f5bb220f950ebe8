"""Read the vectors of ``tests/examples.json`` as commands in order of time, and fold them through the domain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bels.domain.account import Account, nobody, replay
from bels.domain.commands import (
    CarriedReading,
    CarryOverHistory,
    CloseAccount,
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    MakeRefund,
    OpenAccount,
    ReceivePayment,
    RecordAccessRefusal,
    RecordInterference,
    RemoveMeter,
    ReportMeterFailure,
    SubmitReading,
    TakeControlReading,
)
from bels.domain.decide import decide
from bels.domain.events import (
    CommandRefused,
    Event,
    InspectionDue,
    PeriodClosed,
    ReadingAccepted,
    ReadingConfirmed,
    ReadingHeld,
    ReadingRefused,
    UsageRecalculated,
)
from bels.domain.money_events import (
    ChargeLine,
)
from bels.domain.periods import MOSCOW, first_day, moscow_date
from bels.domain.rulebook import Rulebook, Tariff
from bels.domain.terms import (
    EntryNumber,
    FailureCause,
    Locality,
    Meaning,
    MeterModel,
    Period,
    RateStatus,
    Register,
    Role,
    Scheme,
    Settlement,
    Stove,
)
from bels.rulebooks.shipped import PUBLISHED, shipped

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent.parent / "examples.json").read_text("utf-8"))


def vectors(kind: str) -> list[dict[str, Any]]:
    """List the vectors of a kind."""
    return [v for v in EXAMPLES["vectors"] if v["kind"] == kind]


def vector(name: str) -> dict[str, Any]:
    """Give the vector of a name, as in ``F08``."""
    return next(v for v in EXAMPLES["vectors"] if v["id"] == name)


def tariff_of(row: dict[str, Any]) -> Tariff:
    """Read a tariff row of the examples."""
    return Tariff(
        row["group"],
        Scheme(row["scheme"]),
        date.fromisoformat(row["effective_from"]),
        {
            Register(name): tuple(Decimal(rate) if rate is not None else None for rate in rates)
            for name, rates in row["rates"].items()
        },
        {Register(name): RateStatus(status) for name, status in row["status"].items()},
        row["source"],
    )


RULEBOOK = replace(shipped(PUBLISHED), tariffs=tuple(tariff_of(row) for row in EXAMPLES["tariffs"]))
"""The shipped rulebook with the tariff rows of the examples, those of Рязань among them."""


def settlement_of(vector: dict[str, Any]) -> Settlement:
    """Give the settlement policy of a vector."""
    return Settlement(vector["given"].get("settings", {}).get("settlement", "REDISTRIBUTE"))


def rulebook_of(vector: dict[str, Any]) -> Rulebook:
    """Give the rulebook under the vector's settings, in the region of its account."""
    region = vector["given"]["account"]["tariff_group"].partition("/")[0]
    return replace(RULEBOOK, region=region).with_settlement(settlement_of(vector))


def kwh(values: dict[str, int]) -> dict[Register, int]:
    """Read kWh per register."""
    return {Register(name): value for name, value in values.items()}


def _meter(given: dict[str, Any], automatic: bool = False) -> MeterModel:
    registers = tuple(Register(r) for r in given["registers"])
    return MeterModel(
        given["number"], given["capacity"], registers, automatic=automatic or given.get("automatic", False)
    )


def _noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=MOSCOW)


def opening(vector: dict[str, Any]) -> list[Command]:
    """Give the commands that set the vector's account up."""
    given = vector["given"]
    account = given["account"]
    history = (given.get("opening") or {}).get("history", [])
    first = given.get("closings", [{}])[0].get("period") if not history else None
    if history:
        opened_at = _noon(history[0]["date"])
    elif first:
        month = first_day(Period(first))
        opened_at = datetime(month.year, month.month, 1, tzinfo=MOSCOW) - timedelta(days=2)
    else:
        opened_at = datetime(2014, 1, 1, tzinfo=MOSCOW)
    residents = account["residents"]
    commands: list[Command] = [
        OpenAccount(
            opened_at,
            Locality.URBAN,
            Stove(account["stove"]),
            account["rooms"],
            residents["permanent"] + residents["temporary"],
        )
    ]
    if history:
        readings = tuple(CarriedReading(_noon(r["date"]), kwh(r["values"])) for r in history)
        through, balance = Period(given["opening"]["period"]), Decimal(given["opening"]["balance"])
        commands.append(CarryOverHistory(_meter(account["meter"]), readings, through, balance=balance))
    return commands


@dataclass(slots=True)
class Told:
    """What a vector's commands led to."""

    account: Account
    events: list[Event] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    entries: dict[str, EntryNumber] = field(default_factory=dict)


def steps(vector: dict[str, Any]) -> Iterator[tuple[datetime, str, dict[str, Any]]]:
    """List what happens in a vector, in the order in which the supplier learns it."""
    given = vector["given"]
    happenings = [
        *(
            (datetime.fromisoformat(r.get("recorded_at", r["received_at"])), "reading", r)
            for r in given.get("readings", [])
        ),
        *((datetime.fromisoformat(a["at"]), "act", a) for a in given.get("acts", [])),
        *((datetime.fromisoformat(c["at"]), "confirmation", c) for c in given.get("confirmations", [])),
        *((datetime.fromisoformat(p["at"]), "payment", p) for p in given.get("payments", [])),
        *((datetime.fromisoformat(c["at"]), "closing", c) for c in given.get("closings", [])),
    ]
    yield from sorted(happenings, key=lambda h: h[0])


def command_of(kind: str, what: dict[str, Any], entries: dict[str, EntryNumber]) -> Command:
    """Read one happening of a vector as a command."""
    if kind == "reading":
        roles = {"consumer": Role.CONSUMER, "agent": Role.AGENT, "automatic": Role.REMOTE}
        taken = what.get("taken_at")
        return SubmitReading(
            datetime.fromisoformat(what["received_at"]),
            {name: str(value) for name, value in what["values"].items()},
            roles[what.get("source", "consumer")],
            datetime.fromisoformat(taken) if taken else None,
        )
    at = datetime.fromisoformat(what["at"])
    if kind == "closing":
        return ClosePeriod(Period(what["period"]), at)
    if kind == "payment":
        if what.get("kind") == "refund":
            return MakeRefund(Decimal(what["amount"]), at, "заявление")
        return ReceivePayment(Decimal(what["amount"]), moscow_date(at), at, f"payment {what['at']}")
    if kind == "confirmation":
        meaning = Meaning(what["meaning"]) if "meaning" in what else None
        return ConfirmReading(entries[what["ref"]], at, Role(what["by"]), meaning=meaning)
    match what["act"]:
        case "INSTALL":
            return InstallMeter(_meter(what["meter"]), at, kwh(what["values"]))
        case "REMOVE":
            return RemoveMeter(at, kwh(what["values"]))
        case "CONTROL":
            proven = {Period(p): kwh(v) for p, v in what.get("proven", {}).items()}
            return TakeControlReading(at, kwh(what["values"]), proven=proven)
        case "ACCESS_REFUSED":
            return RecordAccessRefusal(at)
        case "METER_FAILED":
            return ReportMeterFailure(at, FailureCause.FAILED)
        case "INTERFERENCE":
            return RecordInterference(at, tuple(Period(p) for p in what["periods"]))
        case "CLOSE_ACCOUNT":
            return CloseAccount(at, "sold")
        case _:
            raise ValueError(what)


def tell(vector: dict[str, Any]) -> Told:
    """Fold a whole vector through the domain."""
    rulebook = rulebook_of(vector)
    told = Told(nobody(vector["given"]["account"]["number"]))
    for command in opening(vector):
        events = decide(told.account, command, rulebook)
        told.account = replay(told.account, events)
        told.events += events
    for _, kind, what in steps(vector):
        if "account" in what:
            stranger = nobody(what["account"])
            (refused,) = decide(stranger, command_of(kind, what, told.entries), rulebook)
            assert isinstance(refused, ReadingRefused)
            told.answers.append(
                {"ref": what["ref"], "to": "submit", "status": "REFUSED", "reason": refused.reason.value}
            )
            continue
        command = command_of(kind, what, told.entries)
        events = decide(told.account, command, rulebook)
        if kind == "reading":
            told.entries[what["ref"]] = EntryNumber(told.account.version + 1)
        told.account = replay(told.account, events)
        told.events += events
        if kind in ("reading", "confirmation"):
            told.answers.append({"ref": what["ref"], **answer(events[0])})
    return told


def answer(event: Event) -> dict[str, Any]:
    """Say a submission's or confirmation's outcome as the vectors do."""
    match event:
        case ReadingAccepted():
            return {"to": "submit", "status": "ACCEPTED", "period": event.period, "delta": dict(event.delta)}
        case ReadingHeld():
            limit = {} if event.limit is None else {"limit": event.limit}
            return {"to": "submit", "status": "HELD", "period": event.period, "reason": event.reason.value} | limit
        case ReadingRefused():
            return {"to": "submit", "status": "REFUSED", "reason": event.reason.value}
        case ReadingConfirmed():
            return {"to": "confirm", "status": "ACCEPTED", "period": event.period}
        case CommandRefused():
            return {"to": "confirm", "status": "REFUSED", "reason": event.reason.value}
        case _:
            raise AssertionError(event)


def periods(events: list[Event]) -> list[dict[str, Any]]:
    """Say the closings as the vectors do: kWh, charges, recalculations and sums, or the error that stopped them."""
    closed: list[dict[str, Any]] = []
    for event in events:
        match event:
            case PeriodClosed():
                told: dict[str, Any] = {
                    "period": event.period,
                    "mode": event.mode.value,
                    "kwh": dict(event.usage),
                    "charges": [_charge(line) for line in event.charges],
                    "recalculations": [],
                    "charges_total": str(event.charged),
                    "recalculation_total": str(event.recalculated),
                    "bill_total": str(event.bill),
                }
                if event.missed_in_a_row:
                    told["missed_in_a_row"] = event.missed_in_a_row
                closed.append(told)
            case UsageRecalculated():
                closed[-1]["recalculations"].append(
                    {
                        "period": event.period,
                        "reason": event.reason.value,
                        "rule": event.rule.value,
                        "kwh_before": dict(event.before),
                        "kwh_after": dict(event.after),
                        "money_before": str(event.money_before),
                        "money_after": str(event.money_after),
                        "difference": str(event.difference),
                    }
                )
            case InspectionDue():
                closed[-1]["check_due"] = event.due_on.isoformat()
            case CommandRefused() if event.command == "ClosePeriod":
                detail = event.detail or ""
                closed.append({"period": detail.partition(":")[0], "error": event.reason.value})
            case _:
                pass
    return closed


def _charge(line: ChargeLine) -> dict[str, Any]:
    told = {
        "register": line.register.value,
        "kwh": line.kwh,
        "rate": str(line.rate),
        "range": line.range,
        "tariff_version": line.tariff,
        "rule": line.rule.value,
        "mode": line.mode.value,
        "amount": str(line.amount),
    }
    return told | ({"coefficient": str(line.coefficient)} if line.coefficient is not None else {})
