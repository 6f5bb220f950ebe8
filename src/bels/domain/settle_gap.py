"""An actual reading ends its gap: the kWh since the reading before it are shared over the periods between (rules 1.4, 1.7, 1.8).

A *step* is the way from one actual reading of a meter to the next. Closing a period bills every step that is not billed
yet, or whose base changed because a fact became known late. Shares of periods already closed become recalculations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from bels.domain.account import Account, Meter, Reading
from bels.domain.actual_readings import CONTROL_KINDS, chain, difference
from bels.domain.apportion import apportion
from bels.domain.closed_period import ClosedPeriod
from bels.domain.events import Share, Step, UsageRecalculated
from bels.domain.periods import after, days_in
from bels.domain.terms import (
    REGISTER_ORDER,
    EntryNumber,
    Kwh,
    Period,
    ReadingKind,
    RecalculationReason,
    Register,
    Rule,
    Settlement,
)

Used = dict[Register, int]


@dataclass(slots=True)
class Settled:
    """What the readings known at a closing say: collected step by step, then read once by ``close_period``.

    ``metered``: kWh of the closing period by readings; ``by_control``: its kWh by control readings, per reason;
    ``added`` and ``removed``: kWh of closed periods; ``grounds``: why a closed period changes.
    """

    steps: list[Step] = field(default_factory=list)
    withdrawn: list[EntryNumber] = field(default_factory=list)
    metered: Used = field(default_factory=dict)
    by_control: dict[RecalculationReason, Used] = field(default_factory=dict)
    added: dict[Period, Used] = field(default_factory=dict)
    removed: dict[Period, Used] = field(default_factory=dict)
    grounds: dict[Period, tuple[RecalculationReason, Rule]] = field(default_factory=dict)
    proven: dict[Period, Used] = field(default_factory=dict)
    deferred: bool = False
    is_final: bool = False


def settle_gaps(account: Account, period: Period, settlement: Settlement, at_once: bool, is_final: bool) -> Settled:
    """Bill every step between actual readings through ``period`` that is not billed yet.

    ``at_once``: no reading waits for the next bill. ``is_final``: the closing period itself takes no kWh from readings (two refusals of access).
    """
    settled = Settled(is_final=is_final)
    for meter in account.meters:
        if meter.installed_in <= period:
            _settle_meter(account, meter, period, settlement, at_once, settled)
    return settled


def _settle_meter(
    account: Account, meter: Meter, period: Period, settlement: Settlement, at_once: bool, settled: Settled
) -> None:
    readings = chain(account, meter.entry, period)
    ends = {r.entry for r in readings}
    for reading in account.readings:
        # A reading that no longer counts, but was billed: its way is taken back and its neighbours' ways are new.
        if reading.meter == meter.entry and reading.entry not in ends:
            _withdraw(account, reading.entry, settled)
    # An earlier system billed everything up to the last reading that was carried over.
    carried = max((i for i, r in enumerate(readings) if r.carried), default=0)
    for base, reading in pairwise(readings[carried:]):
        billed = account.steps.get(reading.entry)
        if billed is not None and billed.base == base.entry:
            continue
        gap = after(base.period, reading.period)
        if _waits(reading, gap, period, settlement, at_once):
            settled.deferred = True
            continue
        if billed is not None:
            _withdraw(account, reading.entry, settled)
        _settle_step(account, meter, base, reading, gap, period, settlement, settled)


def _waits(reading: Reading, gap: tuple[Period, ...], period: Period, settlement: Settlement, at_once: bool) -> bool:
    """NEXT_PERIOD: a reading that ends a gap is billed one period later, unless the period has an act."""
    return (
        settlement is Settlement.NEXT_PERIOD
        and reading.period == period
        and len(gap) > 1
        and reading.kind is ReadingKind.SENT
        and not at_once
    )


def _withdraw(account: Account, end: EntryNumber, settled: Settled) -> None:
    billed = account.steps.get(end)
    if billed is None:
        return
    settled.withdrawn.append(end)
    for share in billed.shares:
        _add(settled.removed.setdefault(share.period, {}), share.kwh)
        settled.grounds.setdefault(share.period, (RecalculationReason.SETTLEMENT, Rule.REDISTRIBUTE))


def _settle_step(
    account: Account,
    meter: Meter,
    base: Reading,
    reading: Reading,
    gap: tuple[Period, ...],
    period: Period,
    settlement: Settlement,
    settled: Settled,
) -> None:
    used = difference(base, reading, meter.model.capacity)
    own = reading.period
    known = {p: closed for p in (gap or (own,)) if p != period and (closed := account.closed_period(p)) is not None}
    final = {p for p, closed in known.items() if closed.final}
    in_period = settlement is Settlement.IN_PERIOD and own == period and len(gap) > 1 and not final
    if not gap:
        shares: dict[Period, Used] = {own: used}
    elif in_period:
        shares = _in_period(used, gap, known)
    else:
        shares = _redistribute(used, gap)
    ground = _ground(account, reading, settlement, period)
    kept = []
    for p, kwh in shares.items():
        if p in final or (p == period and settled.is_final):
            continue
        kept.append(Share(p, kwh))
        if p == period:
            if reading.kind in CONTROL_KINDS:
                _add(settled.by_control.setdefault(ground[0], {}), kwh)
            else:
                _add(settled.metered, kwh)
        elif not in_period:
            _change_closed(account, p, kwh, ground, settled)
    if own in {share.period for share in kept} and reading.entry not in account.steps:
        _move_proven(account, reading, period, settled)
    settled.steps.append(Step(base.entry, reading.entry, used, tuple(kept)))


def _move_proven(account: Account, reading: Reading, period: Period, settled: Settled) -> None:
    """Move the kWh whose time of use the consumer proved, once, from the control reading's period to theirs (61)."""
    for proof in reading.proven:
        closed = account.closed_period(proof.period)
        if closed is None or closed.final:
            continue
        _add(settled.proven.setdefault(proof.period, {}), proof.kwh)
        taken = {register: -kwh for register, kwh in proof.kwh.items()}
        own = (
            settled.by_control[RecalculationReason.CONTROL]
            if reading.period == period
            else settled.added[reading.period]
        )
        _add(own, taken)


def _change_closed(
    account: Account, p: Period, kwh: Kwh, ground: tuple[RecalculationReason, Rule], settled: Settled
) -> None:
    closed = account.closed_period(p)
    if closed is None:
        return
    if closed.estimate is not None and p not in settled.added:
        _add(settled.removed.setdefault(p, {}), closed.estimate)
    _add(settled.added.setdefault(p, {}), kwh)
    before = settled.grounds.get(p)
    if before is None or before[0] is RecalculationReason.SETTLEMENT:
        settled.grounds[p] = ground


def _ground(
    account: Account, reading: Reading, settlement: Settlement, period: Period
) -> tuple[RecalculationReason, Rule]:
    if reading.kind is ReadingKind.CONTROL:
        return RecalculationReason.CONTROL, Rule.P61
    if reading.kind is ReadingKind.PREVIOUS_WRONG:
        return RecalculationReason.PREVIOUS_WRONG, Rule.PREVIOUS_WRONG
    if reading.period == period:
        return RecalculationReason.SETTLEMENT, Rule(f"policy:{settlement.value}")
    # Billed one period later by policy, or known late and then redistributed whatever the policy (rules 1.8).
    late = reading.late or settlement is not Settlement.NEXT_PERIOD
    return RecalculationReason.SETTLEMENT, Rule.REDISTRIBUTE if late else Rule.NEXT_PERIOD


def _redistribute(used: Kwh, gap: tuple[Period, ...]) -> dict[Period, Used]:
    """Share each register over the gap by calendar days; a negative one falls whole on the last period."""
    weights = [days_in(p) for p in gap]
    shares: dict[Period, Used] = {p: {} for p in gap}
    for register, kwh in used.items():
        parts = apportion(kwh, weights) if kwh >= 0 else (*([0] * (len(gap) - 1)), kwh)
        for p, part in zip(gap, parts, strict=True):
            shares[p][register] = part
    return shares


def _in_period(used: Kwh, gap: tuple[Period, ...], known: Mapping[Period, ClosedPeriod]) -> dict[Period, Used]:
    """Leave the estimates as billed and put the rest on the last period; it may be negative."""
    rest = dict(used)
    shares: dict[Period, Used] = {}
    for p in gap[:-1]:
        closed = known.get(p)
        estimate = dict(closed.estimate) if closed is not None and closed.estimate is not None else {}
        shares[p] = estimate
        for register, kwh in _by_registers(estimate, used).items():
            rest[register] -= kwh
    shares[gap[-1]] = rest
    return shares


def _by_registers(estimate: Used, used: Kwh) -> Used:
    """Spread a norm, which is billed as ``total``, over the registers of the meter in proportion to the delta."""
    if set(estimate) <= set(used):
        return estimate
    # The estimate of a meter with other registers, replaced by an act that came late, is spread in the same way.
    whole = sum(estimate.values())
    if Register.TOTAL in used:
        return {Register.TOTAL: whole}
    registers = [r for r in REGISTER_ORDER if r in used]
    weights = [max(used[r], 0) for r in registers]
    if not any(weights):
        # Nothing was used: the whole norm is taken from day or half_peak.
        first = Register.DAY if Register.DAY in used else Register.HALF_PEAK
        return {r: whole if r is first else 0 for r in registers}
    return dict(zip(registers, apportion(whole, weights), strict=True))


def recalculations(
    account: Account, period: Period, usage: Kwh, settled: Settled, norms: Mapping[Period, int]
) -> tuple[UsageRecalculated, ...]:
    """List the recalculation lines of a closing, in order of period.

    A closed period has a line where it was estimated or where its kWh change; the closing period has one for each kind of
    control reading. ``norms`` are the kWh to which an act of interference puts closed periods.
    """
    lines: list[UsageRecalculated] = []
    stands: dict[Period, Kwh] = {}
    for p in sorted({*settled.added, *settled.removed, *settled.proven, *norms}):
        closed = account.closed_period(p)
        if closed is None or closed.unknown:
            continue
        stands[p] = closed.stands
        if not closed.final and (p in settled.added or p in settled.removed):
            now = _changed(closed.stands, settled.removed.get(p, {}), settled.added.get(p, {}))
            if closed.estimated or now != dict(closed.stands):
                reason, rule = settled.grounds[p]
                lines.append(UsageRecalculated(period, p, reason, rule, closed.stands, now))
                stands[p] = now
        if not closed.final and p in settled.proven:
            now = _changed(stands[p], {}, settled.proven[p])
            proven = RecalculationReason.CONTROL_PROVEN
            lines.append(UsageRecalculated(period, p, proven, Rule.P61, stands[p], now))
            stands[p] = now
        if p in norms:
            now = {Register.TOTAL: norms[p]}
            lines.append(UsageRecalculated(period, p, RecalculationReason.INTERFERENCE, Rule.P62, stands[p], now))
    before = usage
    for reason, used in settled.by_control.items():
        now = _changed(before, {}, used)
        rule = Rule.P61 if reason is RecalculationReason.CONTROL else Rule.PREVIOUS_WRONG
        lines.append(UsageRecalculated(period, period, reason, rule, before, now))
        before = now
    return tuple(lines)


def _add(to: Used, kwh: Kwh) -> None:
    for register, part in kwh.items():
        to[register] = to.get(register, 0) + part


def _changed(stands: Kwh, removed: Kwh, added: Kwh) -> Used:
    left = {r: kwh - removed.get(r, 0) for r, kwh in stands.items()}
    left |= {r: -kwh for r, kwh in removed.items() if r not in stands}
    now = {r: kwh + added.get(r, 0) for r, kwh in left.items() if kwh or r in added}
    now |= {r: kwh for r, kwh in added.items() if r not in now}
    return {r: now[r] for r in REGISTER_ORDER if r in now}
