"""Who is not linked to an account may send its reading, but not change one: that is held until confirmed (channels 1).

A reading only names an account, so anybody may bring it. What would take the place of another reading is held where the
sender is not linked, or a stranger could spoil a household's reading by its account number. A letter proves nothing by its
sender's name, so of a letter every reading is held unless its address is linked and the mail system vouches for it.
"""

from __future__ import annotations

from bels.domain.account import Account, Meter
from bels.domain.commands import Claim
from bels.domain.terms import Channel, Kwh, Period, ReadingKind, ReadingStatus

SAME_ADDRESS: dict[Channel, tuple[Channel, ...]] = {
    Channel.SMS: (Channel.SMS, Channel.VOICE),
    Channel.VOICE: (Channel.VOICE, Channel.SMS),
}
"""A phone that is linked for one of them is the same phone on the other."""


def speaks_for(account: Account, claim: Claim | None) -> bool:
    """Say whether a sender may speak for the account: it is linked and proven, or has a credential of its own."""
    if claim is None:
        return True
    channels = SAME_ADDRESS.get(claim.channel, (claim.channel,))
    return claim.proven and any(link.sender == claim.sender and link.channel in channels for link in account.links)


def must_be_confirmed(account: Account, claim: Claim | None, meter: Meter, period: Period, values: Kwh) -> bool:
    """Say whether a reading of this sender is held until somebody confirms it who may speak for the account."""
    if speaks_for(account, claim):
        return False
    unproven = claim is not None and not claim.proven
    return unproven or would_replace(account, meter, period, values)


def may_affirm(account: Account, claim: Claim | None) -> bool:
    """Say whether a sender may say that an implausible reading is right: whoever sent it, unless the household has made itself
    known. A neighbour's two messages could else put tens of thousands of kWh on a bill.
    """
    return not account.links or speaks_for(account, claim)


def would_replace(account: Account, meter: Meter, period: Period, values: Kwh) -> bool:
    """Say whether a reading would take the place of another one of its period, with other values."""
    return any(
        reading.meter == meter.entry
        and reading.period == period
        and reading.kind is ReadingKind.SENT
        and reading.status is ReadingStatus.ACCEPTED
        and dict(reading.values) != dict(values)
        for reading in account.readings
    )
