"""What a household is owed to hear without having asked: what became of a held reading, of its bills, of how it is estimated.

An accepted reading has its answer already and adds no row; so does whatever the sender itself confirmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from bels.domain.events import (
    EstimationModeChanged,
    ReadingConfirmed,
    ReadingHeld,
    ReadingRejected,
    ReadingSuperseded,
    UsageRecalculated,
)
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Period, Role, Word
from bels.journal.entry import Entry
from bels.journal.write import Db, Write, given
from bels.projections.change import Change, json


class NoticeKind(Word):
    """What a notice is about."""

    HELD = "HELD"
    """A reading came and does not count yet."""
    CONFIRMED = "CONFIRMED"
    """An operator let a held reading count."""
    REJECTED = "REJECTED"
    """An operator did not let a held reading count."""
    SUPERSEDED = "SUPERSEDED"
    """A reading was replaced by a later one; whether by another sender is asked when it is told."""
    RECALCULATED = "RECALCULATED"
    """A closing put earlier bills right."""
    MODE_CHANGED = "MODE_CHANGED"
    """From a period on kWh are found in another way."""


TABLE = """
CREATE TABLE notice (
    account     text        NOT NULL,
    entry       bigint      NOT NULL,
    kind        text        NOT NULL,
    period      text,
    recorded_at timestamptz NOT NULL,
    actor       text        NOT NULL,
    data        json        NOT NULL,
    PRIMARY KEY (account, entry)
);
CREATE INDEX notice_recorded_idx ON notice (recorded_at);
"""
NAME = "notice"
TABLES = ("notice",)

COLUMNS = """
    account text, entry bigint, kind text, period text, recorded_at timestamptz, actor text, data json"""

INSERT = f"INSERT INTO notice SELECT * FROM {given(COLUMNS)}"


def project(changes: Sequence[Change], rulebook: Rulebook) -> list[Write]:
    """Write what a household is owed to hear of these entries; the recalculations of one message are one notice."""
    rows = [row for change in changes for row in _rows(change.entries)]
    return [Write(INSERT, COLUMNS, rows)] if rows else []


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
    recalculated: list[tuple[Entry, UsageRecalculated]] = []
    for entry in entries:
        match entry.event:
            case ReadingHeld() as held:
                told = {"reading": entry.version, "reason": held.reason, "values": held.values, "delta": held.delta}
                yield _row(entry, NoticeKind.HELD, held.period, told)
            case ReadingConfirmed() as confirmed if confirmed.role is Role.OPERATOR:
                yield _row(entry, NoticeKind.CONFIRMED, confirmed.period, {"reading": confirmed.reading})
            case ReadingRejected() as rejected:
                yield _row(entry, NoticeKind.REJECTED, None, {"reading": rejected.reading})
            case ReadingSuperseded() as superseded:
                told = {"reading": superseded.reading, "by": superseded.by}
                yield _row(entry, NoticeKind.SUPERSEDED, None, told)
            case EstimationModeChanged() as changed if changed.before is not None:
                told = {"before": changed.before, "after": changed.after}
                yield _row(entry, NoticeKind.MODE_CHANGED, changed.period, told)
            case UsageRecalculated() as event:
                recalculated.append((entry, event))
            case _:
                pass
    # The entries of one message are always told together, so that where a batch was cut leaves no trace.
    for _, group in groupby(recalculated, lambda each: (each[0].receipt, each[1].posted_in)):
        together = list(group)
        first, event = together[0]
        lines = [
            {
                "period": e.period,
                "kwh_before": sum(e.before.values()),
                "kwh_after": sum(e.after.values()),
                "before": e.money_before,
                "after": e.money_after,
            }
            for _, e in together
        ]
        yield _row(first, NoticeKind.RECALCULATED, event.posted_in, {"lines": lines})


def _row(entry: Entry, kind: NoticeKind, period: Period | None, data: dict[str, Any]) -> tuple[Any, ...]:
    return (entry.account, entry.version, kind.value, period, entry.recorded_at, entry.actor, json(data))


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice: ``entry`` is that of the journal, ``actor`` who brought it about."""

    account: str
    entry: int
    kind: NoticeKind
    period: str | None
    recorded_at: datetime
    actor: str
    data: dict[str, Any]


_data = msgspec.json.Decoder(dict[str, Any]).decode


async def find_many(db: Db, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], NoticeRow]:
    """Find notices by account and entry."""
    rows = await db.fetch(
        "SELECT notice.* FROM notice JOIN unnest($1::text[], $2::bigint[]) AS key (account, entry) USING (account, entry)",
        [account for account, _ in keys],
        [entry for _, entry in keys],
    )
    return {(row["account"], row["entry"]): _notice(row) for row in rows}


def _notice(row: Any) -> NoticeRow:
    return NoticeRow(**{**dict(row), "kind": NoticeKind(row["kind"]), "data": _data(row["data"])})
