"""Whose an address is: bels speaks first only to what the household gave as its own, or what is linked to its account."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bels.access import personal
from bels.access.personal import Personal, subject_of
from bels.access.vault import Vault, VaultError
from bels.domain.speak_for import SAME_ADDRESS
from bels.domain.terms import Channel
from bels.journal.write import Db
from bels.outgoing.choices import address_of, digest_of, of_household
from bels.projections import overview
from bels.projections.overview import OverviewRow

logger = logging.getLogger(__name__)

Links = frozenset[tuple[Channel, str]]
"""Channels and keyed digests of the senders that are linked to an account."""


async def own_address(
    db: Db, vault: Vault, account: str, tenure: int, channel: Channel, address: str | None = None
) -> str | None:
    """Give an address of a household on a channel in its one form; None where it is not its own.

    Its own are the phones and e-mails that it gave, and whatever is linked to the account. Without ``address`` it is the one
    that was chosen or kept before, else the first phone or e-mail.

    :raises ChoiceError: bels does not speak first by this channel, or it is no chat.
    :raises PersonalDataError: it is no phone or no e-mail.
    """
    kept = await personal.find(db, vault, subject_of(account, tenure))
    given = _given(channel, kept)
    if address is None:
        before = await of_household(db, vault, account, tenure)
        address = next((choice.address for choice in before if choice.channel is channel), next(iter(given), None))
    if address is None:
        return None
    plain = address_of(channel, address)
    row = (await overview.find(db, [account])).get(account)
    links = links_of(row) if row is not None else frozenset()
    return plain if is_own(channel, plain, await digest_of(vault, plain), kept, links) else None


def is_own(channel: Channel, address: str, digest: str, kept: Personal | None, links: Links) -> bool:
    """Say whether an address is a household's own: it gave it, or the sender of that address is linked to the account."""
    return address in _given(channel, kept) or any(
        (each, digest) in links for each in SAME_ADDRESS.get(channel, (channel,))
    )


def links_of(row: OverviewRow) -> Links:
    """Give the links of an account: the channel, and the keyed digest of the sender."""
    return frozenset((Channel(link["channel"]), link["sender"]) for link in row.links)


async def kept_of(db: Db, vault: Vault, subjects: Sequence[str]) -> dict[str, Personal]:
    """Give the personal data of households; where some cannot be read, those of the others.

    :raises MasterKeyError: the master key is another one.
    """
    try:
        return await personal.find_many(db, vault, subjects)
    except VaultError:
        found: dict[str, Personal] = {}
        for subject in subjects:
            try:
                kept = await personal.find(db, vault, subject)
            except VaultError as error:
                logger.error("the personal data of %s cannot be read: %s", subject, type(error).__name__)
                continue
            if kept is not None:
                found[subject] = kept
        return found


def _given(channel: Channel, kept: Personal | None) -> tuple[str, ...]:
    if kept is None:
        return ()
    return {Channel.SMS: kept.phones, Channel.EMAIL: kept.emails}.get(channel, ())


def masked(channel: Channel, address: str) -> str:
    """Mask an address: enough for its household to know it by, too little for anybody else."""
    if channel is Channel.EMAIL:
        local, _, domain = address.rpartition("@")
        return f"{local[:1]}***@{domain}"
    return f"***{address[-4:]}" if len(address) > 8 else f"***{address[-2:]}"
