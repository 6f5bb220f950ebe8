"""Compare entries with the messages that led to them: each is there, says the same words, and has no other entries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec
from asyncpg import Record

from bels.audit.findings import Finding, FindingKind
from bels.audit.verifying.chains import FINDINGS_OF_ACCOUNT_MAX, VERSION_MAX, VERSION_MIN, Span
from bels.intake import RAW_LENGTH_MAX
from bels.journal.write import Db
from bels.messages import digest

ROWS_OF_PAGE = 2_000
"""Entries that are in memory at once, with their messages: words of 64 KB are rare."""

_ESCAPED = re.compile(r"\\x00|\\ud[89a-f][0-9a-f]{2}")
"""What is stored in the place of a NUL and of half a surrogate pair, which PostgreSQL's text cannot hold."""


class _Receipt(msgspec.Struct, gc=False):
    """What of an entry's state says which message led to it."""

    receipt: str


_receipt = msgspec.json.Decoder(_Receipt).decode

READ = """
    SELECT originator_id, originator_version, coalesce(state, '') AS state, coalesce(content, '') AS content
      FROM journal
     WHERE (originator_id, originator_version) > ($1, $2) AND originator_id <= $3
     ORDER BY originator_id, originator_version
     LIMIT $4
"""

MESSAGES = """
    SELECT message.receipt, account, coalesce(content, '') AS content, first_version, last_version, coalesce(raw, '') AS raw
      FROM unnest($1::text[]) AS wanted (receipt)
      JOIN message ON message.receipt = wanted.receipt
"""


@dataclass(slots=True)
class MessagesChecked:
    """What was found: ``messages`` that led to entries, of which ``shortened`` are too long to be kept whole."""

    messages: int = 0
    shortened: int = 0
    findings: list[Finding] = field(default_factory=list)


async def check_messages(db: Db, span: Span) -> MessagesChecked:
    """Compare the entries of some accounts with their messages."""
    checked = MessagesChecked()
    walk: _Walk | None = None
    after, version = span.after, VERSION_MIN if span.including else VERSION_MAX
    while True:
        rows = await db.fetch(READ, after, version, span.upto, ROWS_OF_PAGE)
        receipts = [_receipt_of(row["state"]) for row in rows]
        wanted = sorted({receipt for receipt in receipts if receipt is not None})
        said = {row["receipt"]: row for row in await db.fetch(MESSAGES, wanted)}
        for row, receipt in zip(rows, receipts, strict=True):
            account = row["originator_id"]
            if walk is None or walk.account != account:
                _end(walk, checked)
                walk = _Walk(account)
            walk.meet(row["originator_version"], row["content"], receipt, said.get(receipt) if receipt else None)
        if len(rows) < ROWS_OF_PAGE:
            break
        after, version = rows[-1]["originator_id"], rows[-1]["originator_version"]
    _end(walk, checked)
    return checked


def is_said(raw: str, content: bytes) -> bool:
    """Say whether stored words are those that a digest is of, some of them perhaps escaped."""
    if digest(raw) == content:
        return True
    return _ESCAPED.search(raw) is not None and digest(_ESCAPED.sub(lambda each: _meant(each[0]), raw)) == content


@dataclass(slots=True)
class _Walk:
    """The way through one account: the message whose entries are being met, and until which one they go."""

    account: str
    receipt: str | None = None
    last: int | None = None
    version: int = 0
    messages: int = 0
    shortened: int = 0
    findings: list[Finding] = field(default_factory=list)

    def meet(self, version: int, content: bytes, receipt: str | None, message: Record | None) -> None:
        """Compare the next entry with its message."""
        if receipt is None:
            self._tell(FindingKind.ENTRY_UNREADABLE, "the entry does not say which message led to it", version)
            self._follow(version, None, None)
            return
        if receipt != self.receipt or message is None:
            self._follow(version, receipt, message)
        self.version = version
        if message is None:
            self._tell(FindingKind.MESSAGE_MISSING, f"message {receipt[:60]} is not there", version)
            return
        if message["content"] != content:
            text = f"message {receipt[:60]} has other words by its digest than the entry was made from"
            self._tell(FindingKind.MESSAGE_CHANGED, text, version)
        first, last = message["first_version"], message["last_version"]
        if message["account"] != self.account or first is None or last is None or not first <= version <= last:
            text = f"message {receipt[:60]} says that it led to entries {first} to {last} of {message['account'][:40]}"
            self._tell(FindingKind.MESSAGE_CHANGED, text, version)

    def end(self) -> None:
        """Tell what the last message still misses."""
        self._follow(self.version + 1, None, None)

    def _follow(self, version: int, receipt: str | None, message: Record | None) -> None:
        """Go on from one message to the next: the entries of the one before end here, those of the next one begin."""
        if self.last is not None and self.version < self.last:
            text = f"message {str(self.receipt)[:60]} says that it led to entries through {self.last}, they end here"
            self._tell(FindingKind.MESSAGE_CHANGED, text, self.version)
        self.receipt, self.version = receipt, version
        self.last = message["last_version"] if message is not None else None
        if message is None:
            return
        self.messages += 1
        if message["first_version"] is not None and message["first_version"] < version:
            text = f"message {str(receipt)[:60]} says that it led to entries from {message['first_version']}, they begin here"
            self._tell(FindingKind.MESSAGE_CHANGED, text, version)
        if is_said(message["raw"], message["content"]):
            return
        if len(message["raw"]) >= RAW_LENGTH_MAX:
            self.shortened += 1
            return
        self._tell(
            FindingKind.MESSAGE_CHANGED,
            f"the words of message {str(receipt)[:60]} are not those of its digest",
            version,
        )

    def _tell(self, kind: FindingKind, text: str, version: int) -> None:
        if len(self.findings) < FINDINGS_OF_ACCOUNT_MAX:
            self.findings.append(Finding(kind, text, self.account, version))


def _end(walk: _Walk | None, checked: MessagesChecked) -> None:
    if walk is None:
        return
    walk.end()
    checked.messages += walk.messages
    checked.shortened += walk.shortened
    checked.findings += walk.findings


def _receipt_of(state: bytes) -> str | None:
    try:
        return _receipt(state).receipt
    except (msgspec.DecodeError, ValueError):
        return None


def _meant(escaped: str) -> str:
    return chr(int(escaped.lstrip("\\xu"), 16))
