"""What an operator notes of a document: its kind, the last four characters of its number, its day. Never the number itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from re import compile as pattern

from bels.domain.terms import Word

NOTE_LENGTH_MIN = 3
NOTE_LENGTH_MAX = 200
YEARS_MAX = 80
"""How old a document may be."""

_LAST = pattern(r"[0-9A-Za-zА-Яа-яЁё]{4}")
_ADDRESS_OR_NUMBER = pattern(r"@|(?:\d[\s().-]*){6}")


class DocumentKind(Word):
    """What kind of document an operator saw."""

    PASSPORT = "PASSPORT"
    TEMPORARY_IDENTITY_CARD = "TEMPORARY_IDENTITY_CARD"
    RESIDENCE_PERMIT = "RESIDENCE_PERMIT"
    FOREIGN_PASSPORT = "FOREIGN_PASSPORT"
    MILITARY_CARD = "MILITARY_CARD"
    EGRN_EXTRACT = "EGRN_EXTRACT"
    SALE_CONTRACT = "SALE_CONTRACT"
    INHERITANCE_CERTIFICATE = "INHERITANCE_CERTIFICATE"
    COURT_DECISION = "COURT_DECISION"
    SOCIAL_TENANCY_CONTRACT = "SOCIAL_TENANCY_CONTRACT"


IDENTITY = frozenset(
    {
        DocumentKind.PASSPORT,
        DocumentKind.TEMPORARY_IDENTITY_CARD,
        DocumentKind.RESIDENCE_PERMIT,
        DocumentKind.FOREIGN_PASSPORT,
        DocumentKind.MILITARY_CARD,
    }
)
"""Documents that say who somebody is."""

OWNERSHIP = frozenset(DocumentKind) - IDENTITY
"""Documents that say whose flat it is."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document that an operator saw: ``last`` are the last four characters of its number, ``on`` is its day."""

    kind: DocumentKind
    last: str
    on: date

    def noted(self, kinds: frozenset[DocumentKind], today: date) -> str | None:
        """Write it as an act keeps it, «PASSPORT …4821 2019-04-02»; None where it is none of these kinds, or cannot be."""
        if self.kind not in kinds or not _LAST.fullmatch(self.last):
            return None
        if not today.year - YEARS_MAX <= self.on.year or self.on > today:
            return None
        return f"{self.kind.value} …{self.last.upper()} {self.on.isoformat()}"


def is_note(text: str) -> bool:
    """Say whether a reason can be kept for ever: short, and without what looks like a phone, an e-mail or a number."""
    plain = text.strip()
    return (
        NOTE_LENGTH_MIN <= len(plain) <= NOTE_LENGTH_MAX
        and plain.isprintable()
        and not _ADDRESS_OR_NUMBER.search(plain)
    )
