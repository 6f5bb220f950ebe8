"""What a verification finds: where the journal, a seal, a view or a charge is not what it must be."""

from __future__ import annotations

from dataclasses import dataclass

from bels.domain.terms import Word


class FindingKind(Word):
    """The kinds of findings; each says which promise is broken."""

    ENTRY_CHANGED = "ENTRY_CHANGED"
    """The bytes of an entry, or of its digest, are not those that it was appended with."""

    ENTRY_MISSING = "ENTRY_MISSING"
    """The account's versions have a hole."""

    TAIL_CUT = "TAIL_CUT"
    """A seal knows later entries of the account than there are."""

    ACCOUNT_MISSING = "ACCOUNT_MISSING"
    """A seal knows an account that has no entry."""

    HISTORY_REWRITTEN = "HISTORY_REWRITTEN"
    """The chain holds, but its digest at a sealed version is another: entries between two seals were replaced, with digests that fit."""

    ENTRY_BACKDATED = "ENTRY_BACKDATED"
    """An entry says that it was recorded before a seal that does not know it."""

    ENTRY_UNREADABLE = "ENTRY_UNREADABLE"
    """An entry's bytes cannot be read as an event."""

    SEAL_BROKEN = "SEAL_BROKEN"
    """A seal's signature, its tree or its place in the row of seals does not hold."""

    SEAL_MISSING = "SEAL_MISSING"
    """A seal that was given, or that another one counts, is not in the database."""

    TABLE_CHANGED = "TABLE_CHANGED"
    """A table that the proof rests on is not the plain table that was made, or no longer forbids to change what is written."""

    MESSAGE_CHANGED = "MESSAGE_CHANGED"
    """A message's words are not those that its entries were made from."""

    MESSAGE_MISSING = "MESSAGE_MISSING"
    """An entry's message is not there."""

    VIEW_DIFFERS = "VIEW_DIFFERS"
    """A view does not follow from its events."""

    CHARGE_DIFFERS = "CHARGE_DIFFERS"
    """A sum cannot be found again from its explanation, or a closing decided anew leads to another bill."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise and where: ``account`` and ``entry`` as far as they can be told, ``text`` for a person (English).

    ``first`` and ``last`` bound the entries among which it is where a single one cannot be named.
    """

    kind: FindingKind
    text: str
    account: str | None = None
    entry: int | None = None
    first: int | None = None
    last: int | None = None
    seal: int | None = None
