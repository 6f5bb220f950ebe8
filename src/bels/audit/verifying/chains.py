"""Follow the chains of accounts, entry by entry, and compare them with what the seals know of them.

Digests are worked out here and not by the database, which may be what somebody changed. The rows of some accounts are read in the
order of the key, so many at a time that memory stays flat however long an account is (docs/performance.md,
"What the auditor's rooms cost").
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from bels.audit.findings import Finding, FindingKind
from bels.journal.chain import GENESIS
from bels.journal.codec import UnknownTopic, to_entry
from bels.journal.write import Db

ROWS_OF_PAGE = 5_000
"""Entries that are in memory at once: some 5 MB."""

FINDINGS_OF_ACCOUNT_MAX = 20
"""Findings told of one account; the rest are counted in the last of them."""

BACKDATED_TOLERANCE = timedelta(minutes=10)
"""An entry is given its moment before it is written: a slow transaction, and clocks of servers that differ, are no forgery."""

VERSION_MIN, VERSION_MAX = -(2**63), 2**63 - 1

_HEAD = b"bels:entry:1\n"
_numbers = struct.Struct(">QHHH").pack
_RECORDED = b'{"recorded_at":"'
_SECONDS = slice(len(_RECORDED), len(_RECORDED) + 19)
_AFTER_SECONDS = slice(len(_RECORDED) + 19, len(_RECORDED) + 20)


@dataclass(frozen=True, slots=True)
class SealedHead:
    """The head of an account as seals know it, from ``seal`` on until another one.

    ``not_before`` is when the last seal that did not know it was made, None where none was: what it ends with is not older.
    ``outside``: from a file that was kept outside, and leads to the seal's root.
    """

    seal: int
    version: int
    digest: bytes
    not_before: datetime | None = None
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Some accounts that follow one another in the journal: those after ``after``, or from it on, up to ``upto``."""

    after: str
    upto: str
    including: bool = False


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the seals say for all accounts.

    ``upto`` is the newest seal whose heads count, ``newest`` the newest one whose heads were found to lead to its root, made at
    ``newest_at``: entries that it does not know are not older. ``doubted`` is a seal whose heads do not lead to its root, made at
    ``doubted_at``: its root is looked for in the journal instead. ``broken`` are all such seals, from one to another.
    """

    upto: int = 0
    newest: int | None = None
    newest_at: datetime | None = None
    doubted: int | None = None
    doubted_at: datetime | None = None
    broken: tuple[tuple[int, int], ...] = ()

    def is_broken(self, seal: int) -> bool:
        """Say whether the heads that the database has of a seal do not lead to its root."""
        return any(first <= seal <= last for first, last in self.broken)


@dataclass(frozen=True, slots=True)
class JournalHead:
    """An account's head in the journal when a seal was made: at the version that the sealed head has, and as its entries' moments say.

    Versions are 0, and digests empty, where there is no such entry.
    """

    account: str
    version: int
    digest: bytes
    version_by_time: int
    digest_by_time: bytes


@dataclass(frozen=True, slots=True)
class ChainsChecked:
    """What was found in some accounts: ``unsealed`` entries that no seal knows, the first of them written at ``unsealed_since``."""

    accounts: int = 0
    entries: int = 0
    unsealed: int = 0
    unsealed_since: datetime | None = None
    findings: tuple[Finding, ...] = ()
    heads: tuple[JournalHead, ...] = ()


# Whoever may change a table may also let it hold nothing where something must be, or an account twice in one seal: then this is the
# head that was put into the tree, whose root says whether it is the right one.
READ = """
    SELECT originator_id, originator_version, coalesce(topic, ''), coalesce(state, ''), coalesce(content, ''), coalesce(digest, '')
      FROM journal
     WHERE (originator_id, originator_version) > ($1, $2) AND originator_id <= $3
     ORDER BY originator_id, originator_version
     LIMIT $4
"""

HEADS = """
    SELECT DISTINCT ON (head.account, head.seal)
           head.account, head.seal, coalesce(head.version, 0), coalesce(head.digest, ''), before.sealed_at
      FROM sealed_head head
      LEFT JOIN seal before ON before.number = head.seal - 1 AND before.number > 0
     WHERE head.account = ANY($1::text[]) AND head.seal BETWEEN 1 AND $2
     ORDER BY head.account, head.seal, head.version DESC, head.digest DESC
"""


async def check_chains(
    db: Db, span: Span, accounts: Sequence[str], sealed: Sealed, outside: Mapping[str, SealedHead]
) -> ChainsChecked:
    """Follow the entries of the accounts of a span and compare their digests with the sealed ones.

    ``accounts`` are those of the span that were there when it was made. ``outside`` are heads from a file that was kept outside: they
    count instead of what the database says of that seal.
    """
    known = await sealed_heads(db, accounts, sealed.upto, outside)
    walks: list[_Walk] = []
    walk: _Walk | None = None
    after, version = span.after, VERSION_MIN if span.including else VERSION_MAX
    topics: dict[str, bytes] = {}
    while True:
        rows = await db.fetch(READ, after, version, span.upto, ROWS_OF_PAGE)
        for account, own in groupby(rows, itemgetter(0)):
            if walk is None or walk.account != account:
                walk = _Walk(account, known.get(account, ()), sealed)
                walks.append(walk)
            walk.follow(own, topics)
        if len(rows) < ROWS_OF_PAGE:
            break
        after, version = rows[-1][0], rows[-1][1]
    return _sum_of(walks, sealed)


def follow_rows(
    account: str, rows: Iterable[Any], heads: Sequence[SealedHead] = (), sealed: Sealed = Sealed()
) -> ChainsChecked:
    """Follow the rows of one account: number, version, topic, state, content, digest."""
    walk = _Walk(account, heads, sealed)
    walk.follow(rows, {})
    return _sum_of([walk], sealed)


async def sealed_heads(
    db: Db, accounts: Sequence[str], upto: int, outside: Mapping[str, SealedHead]
) -> dict[str, list[SealedHead]]:
    """Read the heads that the seals through a number know of accounts, in the order of the seals; those from outside win."""
    known: dict[str, list[SealedHead]] = {}
    for account, seal, version, digest, not_before in await db.fetch(HEADS, list(accounts), upto):
        known.setdefault(account, []).append(SealedHead(seal, version, digest, not_before))
    for account, head in outside.items():
        heads = known.setdefault(account, [])
        at = next((i for i, each in enumerate(heads) if each.seal > head.seal), len(heads))
        if at and heads[at - 1].version == head.version and heads[at - 1].digest == head.digest:
            continue
        # What the database says of this very seal does not count beside it.
        heads[at - 1 if at and heads[at - 1].seal == head.seal else at : at] = [head]
    return known


def missing_account(account: str, heads: Iterable[SealedHead]) -> Finding:
    """Say that an account that seals know has no entry."""
    last = max(heads, key=lambda head: head.version)
    text = f"the account is gone: seal {last.seal} knows {last.version} of its entries"
    return Finding(FindingKind.ACCOUNT_MISSING, text, account, 1, 1, last.version, last.seal)


def _sum_of(walks: Sequence[_Walk], sealed: Sealed) -> ChainsChecked:
    for walk in walks:
        walk.end()
    since = [walk.unsealed_since for walk in walks if walk.unsealed_since is not None]
    return ChainsChecked(
        len(walks),
        sum(walk.entries for walk in walks),
        sum(walk.unsealed for walk in walks),
        min(since) if since else None,
        tuple(finding for walk in walks for finding in walk.told()),
        tuple(walk.head_then() for walk in walks) if sealed.doubted is not None else (),
    )


@dataclass(slots=True)
class _Walk:
    """The way through one account: what it rests on, and what was found."""

    account: str
    heads: Sequence[SealedHead]
    sealed: Sealed
    entries: int = 0
    expected: int = 1
    unsealed: int = 0
    unsealed_since: datetime | None = None
    before: bytes | None = GENESIS
    """The digest of the entry before; None after a hole."""
    changed: Finding | None = None
    changed_more: int = 0
    backdated: Finding | None = None
    backdated_more: int = -1
    findings: list[Finding] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)
    """The digests at the versions that seals know."""
    doubted_version: int = 0
    by_time: tuple[int, bytes] = (0, b"")
    _floors: list[tuple[int, int, datetime | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # An entry that the seal before did not know is not older than that seal, whatever it says. The row of a seal may say
        # anything, infinity too; that it is not what was signed is found elsewhere.
        reached = 0
        for head in self.heads:
            if head.version > reached:
                at = head.not_before
                if at is not None and (not MINYEAR < at.year < MAXYEAR or self.sealed.is_broken(head.seal - 1)):
                    at = None
                self._floors.append((head.version, head.seal - 1, at))
                reached = head.version
        if self.sealed.newest is not None:
            self._floors.append((VERSION_MAX, self.sealed.newest, self.sealed.newest_at))
        if self.sealed.doubted is not None:
            then = [head.version for head in self.heads if head.seal <= self.sealed.doubted]
            self.doubted_version = then[-1] if then else 0

    @property
    def last_sealed(self) -> int:
        """The newest entry that a seal knows."""
        return max((head.version for head in self.heads), default=0)

    def follow(self, rows: Iterable[Any], topics: dict[str, bytes]) -> None:
        """Follow the next entries; the digest is that of ``bels.journal.chain.link``, written out for speed (a test compares them)."""
        number = self.account.encode()
        length, before, expected, entries = len(number), self.before, self.expected, self.entries
        wanted = {head.version for head in self.heads} | ({self.doubted_version} if self.doubted_version else set())
        last_sealed = self.last_sealed
        upto, floor, floor_at = self._floor(expected)
        doubted_at = _seconds(self.sealed.doubted_at) if self.sealed.doubted_at is not None else b""
        for _, version, topic, state, content, digest in rows:
            entries += 1
            if version != expected:
                before = self._gap(expected, version, before)
                if version < expected:
                    continue
            expected = version + 1
            kind = topics.get(topic)
            if kind is None:
                kind = topics[topic] = topic.encode()
                self._known(version, topic)
            follows = True
            if before is not None:
                try:
                    sizes = _numbers(version, length, len(kind), len(content))
                except struct.error:
                    sizes = b""
                said = b"".join((_HEAD, before, sizes, number, kind, content, state))
                if sha256(said).digest() != digest:
                    follows = False
                    self._changed(version, topic, state)
            before = digest
            if version in wanted:
                self.digests[version] = digest
            if version > upto:
                upto, floor, floor_at = self._floor(version)
            # Moments of the same form are compared as texts; another form is read, and so is what no seal knows: of two moments in one
            # entry the later one counts, however it is spelled.
            if (
                floor
                and follows
                and (version > last_sealed or state[_SECONDS] < floor or state[_AFTER_SECONDS] not in _UTC)
            ):
                self._dated(version, topic, state, floor_at)
            if version > last_sealed:
                self.unsealed += 1
                if self.unsealed_since is None:
                    self.unsealed_since = recorded_at(state)
            if doubted_at and state[_SECONDS] <= doubted_at and self._was_there(state):
                self.by_time = version, digest
        self.before, self.expected, self.entries = before, expected, entries

    def end(self) -> None:
        """Compare what was met with the seals."""
        cut = self._cut()
        if cut is not None:
            text = f"the tail is cut: entries {self.expected} to {cut.version} are gone, seal {cut.seal} knows them"
            self.findings.append(
                Finding(FindingKind.TAIL_CUT, text, self.account, self.expected, self.expected, cut.version, cut.seal)
            )
        self._compare()

    def told(self) -> list[Finding]:
        """Give the findings, at most ``FINDINGS_OF_ACCOUNT_MAX``."""
        found = [
            *_with_more(self.changed, self.changed_more, "do not follow either"),
            *self.findings,
            *_with_more(self.backdated, self.backdated_more, "say the same"),
        ]
        if len(found) <= FINDINGS_OF_ACCOUNT_MAX:
            return found
        kept = found[:FINDINGS_OF_ACCOUNT_MAX]
        text = f"{kept[-1].text} (and {len(found) - len(kept)} more findings in this account)"
        return [*kept[:-1], replace(kept[-1], text=text)]

    def head_then(self) -> JournalHead:
        """Give the head in the journal when the doubted seal was made."""
        at = self.digests.get(self.doubted_version, b"")
        return JournalHead(self.account, self.doubted_version if at else 0, at, *self.by_time)

    def _floor(self, version: int) -> tuple[int, bytes, datetime | None]:
        for upto, _, at in self._floors:
            if version <= upto:
                return upto, _seconds(at - BACKDATED_TOLERANCE) if at is not None else b"", at
        return VERSION_MAX, b"", None

    def _gap(self, expected: int, version: int, before: bytes | None) -> bytes | None:
        """Tell a hole, or an entry that stands before the first one; give what the next entry can rest on."""
        if version < expected:
            text = f"there is an entry {version}" + (": entries count from 1" if version < 1 else " more than once")
            self.findings.append(Finding(FindingKind.ENTRY_CHANGED, text, self.account, version))
            return before
        which = f"entry {expected} is" if version == expected + 1 else f"entries {expected} to {version - 1} are"
        text = f"{which} missing: after entry {expected - 1} comes {version}"
        self.findings.append(
            Finding(
                FindingKind.ENTRY_MISSING, text, self.account, expected, expected, version - 1, self._knowing(expected)
            )
        )
        return None

    def _known(self, version: int, topic: str) -> None:
        try:
            to_entry(self.account, version, topic, b"")
        except UnknownTopic:
            text = f"topic {topic[:60]!r} is not known to this program; other entries of it are not told one by one"
            self.findings.append(Finding(FindingKind.ENTRY_UNREADABLE, text, self.account, version))
        except msgspec.DecodeError:
            pass

    def _changed(self, version: int, topic: str, state: bytes) -> None:
        if self.changed is not None:
            self.changed_more += 1
            return
        fits = max(
            (
                each
                for each in self.heads
                if self.digests.get(each.version) == each.digest and not self._is_doubtful(each)
            ),
            key=_version,
            default=None,
        )
        since = f", and is sealed through entry {fits.version} (seal {fits.seal})" if fits is not None else ""
        unread = "" if _is_readable(self.account, version, topic, state) else "; it cannot be read any more"
        text = f"the digest does not follow: entry {version} is not what was appended after entry {version - 1}{unread}"
        self.changed = Finding(
            FindingKind.ENTRY_CHANGED,
            f"{text}. All before it follows{since}",
            self.account,
            version,
            fits.version + 1 if fits is not None else 1,
            version,
            self._knowing(version),
        )

    def _dated(self, version: int, topic: str, state: bytes, floor_at: datetime | None) -> None:
        at = recorded_at(state)
        if at is None:
            text = f"the moment of the entry ({topic[:60]}) cannot be read"
            self.findings.append(Finding(FindingKind.ENTRY_UNREADABLE, text, self.account, version))
        elif floor_at is not None and at < floor_at - BACKDATED_TOLERANCE:
            self.backdated_more += 1
            if self.backdated is not None:
                return
            seal = next((seal for upto, seal, _ in self._floors if version <= upto), 0)
            knows = max((head.version for head in self.heads if head.seal <= seal), default=0)
            whole = f"knows no entry of the account after {knows}" if knows else "does not know the account"
            text = f"the entry says it was recorded at {_text(at)}; seal {seal}, made at {_text(floor_at)}, {whole}"
            self.backdated = Finding(FindingKind.ENTRY_BACKDATED, text, self.account, version, knows + 1, version, seal)

    def _was_there(self, state: bytes) -> bool:
        """Say whether an entry was recorded when the doubted seal was made."""
        at, then = recorded_at(state), self.sealed.doubted_at
        return at is not None and then is not None and at <= then

    def _compare(self) -> None:
        """Tell where the chain holds and a sealed digest is another: between the last one that fits and the first that does not."""
        changed = self.changed.entry if self.changed is not None and self.changed.entry is not None else VERSION_MAX
        met = [head for head in sorted(self.heads, key=_version) if head.version in self.digests]
        fitting = [head for head in met if self.digests[head.version] == head.digest]
        proven = max((head.version for head in fitting if not self._is_doubtful(head)), default=0)
        fits = rewritten = 0
        for head in met:
            if head in fitting:
                # What a seal says whose heads do not lead to its root bounds nothing.
                fits = fits if self._is_doubtful(head) else head.version
            elif head.version <= proven and self._is_doubtful(head):
                text = (
                    f"the database says that seal {head.seal} knows another digest of entry {head.version}, but its heads do not lead"
                    f" to its root, and the chain is whole up to entry {proven}, which is sealed: the sealed head was changed"
                )
                self.findings.append(Finding(FindingKind.SEAL_BROKEN, text, self.account, head.version, seal=head.seal))
            elif head.version < changed and not rewritten:
                rewritten = head.version
                self.findings.append(self._rewritten(head, fits))

    def _rewritten(self, head: SealedHead, fits: int) -> Finding:
        before = f"entries through {fits} are those that were sealed before" if fits else "no seal before it fits"
        doubt = "; the heads of that seal in the database do not lead to its root" if self._is_doubtful(head) else ""
        text = (
            f"the digests follow, but entry {head.version} has another one than seal {head.seal} knows:"
            f" of entries {fits + 1} to {head.version} at least one was replaced ({before}{doubt})"
        )
        one = head.version if fits + 1 == head.version else None
        return Finding(FindingKind.HISTORY_REWRITTEN, text, self.account, one, fits + 1, head.version, head.seal)

    def _is_doubtful(self, head: SealedHead) -> bool:
        return not head.outside and self.sealed.is_broken(head.seal)

    def _knowing(self, version: int) -> int | None:
        """The first seal that knows an entry."""
        return min((head.seal for head in self.heads if head.version >= version), default=None)

    def _cut(self) -> SealedHead | None:
        """Give the head that is longest by far of those that the account does not reach, of those that are sure if there are any."""
        cut = [head for head in self.heads if head.version >= self.expected]
        sure = [head for head in cut if not self._is_doubtful(head)]
        return max(sure or cut, key=_version, default=None)


class _Recorded(msgspec.Struct, gc=False):
    """What of an entry's state says when it was recorded."""

    recorded_at: datetime


_recorded = msgspec.json.Decoder(_Recorded).decode
_UTC = (b"Z", b".")
_version = attrgetter("version")


def _with_more(finding: Finding | None, more: int, what: str) -> Iterable[Finding]:
    if finding is None:
        return ()
    return (replace(finding, text=f"{finding.text}; {more} later ones {what}") if more > 0 else finding,)


def recorded_at(state: bytes) -> datetime | None:
    """Read when an entry was recorded, in UTC; None where it cannot be read."""
    try:
        return _recorded(state).recorded_at.astimezone(UTC)
    except (msgspec.DecodeError, ValueError, OverflowError):
        return None


def _is_readable(account: str, version: int, topic: str, state: bytes) -> bool:
    try:
        to_entry(account, version, topic, state)
    except (UnknownTopic, msgspec.DecodeError, LookupError, ValueError, TypeError, AttributeError):
        return False
    return True


def _seconds(at: datetime) -> bytes:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
