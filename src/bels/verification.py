"""Verify the whole journal, in parallel: its chains against the seals, and the views and charges that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from bels.app import Bels
from bels.audit.findings import Finding, FindingKind
from bels.audit.seals.reading import Head
from bels.audit.seals.statement import Seal
from bels.audit.trail.checking import check_trail
from bels.audit.verifying.chains import (
    ChainsChecked,
    JournalHead,
    Sealed,
    SealedHead,
    Span,
    check_chains,
    missing_account,
    sealed_heads,
)
from bels.audit.verifying.charges import check_charges
from bels.audit.verifying.heads import HeadsTree, differing_parts, root_of
from bels.audit.verifying.messages_check import MessagesChecked, check_messages
from bels.audit.verifying.seals_check import Outside, SealsChecked, check_seals
from bels.audit.verifying.tables import TablesChecked, check_tables
from bels.audit.verifying.views import check_strangers, check_views
from bels.journal.codec import UnknownTopic
from bels.journal.journal import RULEBOOK, accounts, without_entries
from bels.journal.write import Db
from bels.progress import Progress
from bels.workers import Tools, spread

ACCOUNTS_OF_PIECE = 250
"""Accounts that one process checks at a time."""

ACCOUNTS_ALONE_MAX = 500
"""So few accounts are checked sooner than other processes start."""

ACCOUNTS_AT_ONCE = 1_000

FINDINGS_KEPT_MAX = 10_000
"""Findings that are told one by one; all of them are counted."""

PARTS_TOLD_MAX = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified: all accounts or some, and what beside chains and seals; ``alone``: in this process.

    ``processes`` is in how many others where not, None for one on each core.
    """

    accounts: tuple[str, ...] = ()
    views: bool = False
    charges: bool = False
    messages: bool = False
    alone: bool = False
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some accounts to be checked, with all that a process must know: the seals, heads from outside of these accounts."""

    asked: Asked
    span: Span
    accounts: tuple[str, ...]
    sealed: Sealed
    outside: Mapping[str, SealedHead]


@dataclass(frozen=True, slots=True)
class PieceChecked:
    """What was found in some accounts."""

    chains: ChainsChecked
    messages: MessagesChecked
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class Verified:
    """What a verification met and found: findings at most ``FINDINGS_KEPT_MAX``, ``counted`` all of them by kind.

    ``seals`` counts those in the database, ``given`` are the numbers of those from outside that count. ``proven`` is the newest seal
    whose heads were found to lead to its root, in the database, in the journal or in a file from outside. ``warnings`` are what is
    allowed in the database that nobody needs.
    """

    accounts: int = 0
    entries: int = 0
    seals: int = 0
    given: frozenset[int] = frozenset()
    newest: Seal | None = None
    proven: Seal | None = None
    unsealed: int = 0
    unsealed_since: datetime | None = None
    messages: int = 0
    shortened: int = 0
    warnings: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    counted: Counter[FindingKind] = field(default_factory=Counter)

    @property
    def found(self) -> int:
        """Count the findings."""
        return self.counted.total()

    def tell(self, *findings: Finding) -> None:
        """Add findings."""
        self.counted.update(finding.kind for finding in findings)
        self.findings += findings[: max(0, FINDINGS_KEPT_MAX - len(self.findings))]


async def verify(
    bels: Bels, asked: Asked, outside: Outside, progress: Progress, before: TablesChecked | None = None
) -> Verified:
    """Verify the journal against its seals and those from outside, and what follows from it as far as it is asked for.

    It may run beside serving processes: what is appended meanwhile is met or not. ``progress`` counts accounts. ``before`` is how the
    tables were found before bels was opened, which puts triggers back.

    :raises AppError: a worker process was killed.
    """
    async with bels.pool.acquire() as db:
        tables = await check_tables(db)
        checked = await check_seals(db, outside)
    seal = checked.deciding.get(outside.heads_seal) if outside.heads_seal is not None else None
    if outside.heads is not None and (seal is None or seal.heads != outside.heads.root):
        # Heads are worth as much as the seal whose root they lead to.
        checked.tell("the heads given do not lead to a seal that counts: they are left aside", outside.heads_seal)
        outside = replace(outside, heads=None, heads_seal=None)
    sealed = _with_outside(checked, outside)
    if asked.accounts:
        # Of some accounts the heads of all cannot be found.
        sealed = replace(sealed, doubted=None, doubted_at=None)
    verified = Verified(
        seals=checked.count,
        given=frozenset(checked.deciding),
        newest=checked.newest,
        proven=checked.proven,
        warnings=tables.warnings,
    )
    verified.tell(*dict.fromkeys((*(before.findings if before is not None else ()), *tables.findings)))
    if sealed.newest is not None and outside.heads is not None and sealed.newest == outside.heads_seal:
        verified.proven = checked.deciding[sealed.newest]
    found: list[Finding] = []
    heads: list[JournalHead] = []
    seen = _Seen(checked.heads, outside.heads)

    def done(result: PieceChecked) -> None:
        chains = result.chains
        verified.accounts += chains.accounts
        verified.entries += chains.entries
        verified.unsealed += chains.unsealed
        if chains.unsealed_since is not None:
            verified.unsealed_since = min(chains.unsealed_since, verified.unsealed_since or chains.unsealed_since)
        verified.messages += result.messages.messages
        verified.shortened += result.messages.shortened
        heads.extend(chains.heads)
        for finding in result.findings:
            if finding.account is None and finding in found:
                continue
            if len(found) < FINDINGS_KEPT_MAX:
                found.append(finding)
            else:
                verified.counted[finding.kind] += 1
        progress.update(chains.accounts)

    async with bels.pool.acquire() as db:
        pieces = _pieces(db, asked, outside, sealed, seen)
        await spread(bels, check, pieces, done, alone=asked.alone, processes=asked.processes)
        found += await _missing(db, asked, outside, sealed, seen)
        if asked.views and not asked.accounts:
            found += await check_strangers(db)
    if sealed.doubted is not None and checked.doubted is not None:
        found = _resolved(verified, checked, checked.doubted, heads, found)
    verified.tell(*checked.findings, *sorted(found, key=_place))
    return verified


async def check(tools: Tools, piece: Piece) -> PieceChecked:
    """Check some accounts, in whichever process."""
    asked, rulebook = piece.asked, tools.intake.rulebook
    async with tools.pool.acquire() as db:
        chains = await check_chains(db, piece.span, piece.accounts, piece.sealed, piece.outside)
        found = list(chains.findings)
        messages = MessagesChecked()
        if asked.messages:
            messages = await check_messages(db, piece.span)
            found += messages.findings
        try:
            if asked.views:
                found += await check_views(db, piece.accounts, rulebook)
                found += await check_trail(db, piece.accounts)
            if asked.charges:
                found += await check_charges(db, piece.accounts, rulebook)
        except (UnknownTopic, msgspec.DecodeError) as error:
            # What cannot be read of an account is found above; these are the rules, which all rest on.
            text = f"views and charges cannot be checked, an entry of {RULEBOOK} cannot be read: {type(error).__name__}"
            found.append(Finding(FindingKind.ENTRY_UNREADABLE, text))
    return PieceChecked(replace(chains, findings=()), replace(messages, findings=[]), tuple(found))


class _Seen:
    """Which of the accounts that seals know were met in the journal."""

    def __init__(self, *trees: HeadsTree | None) -> None:
        self._trees = [tree for tree in trees if tree is not None]
        self._met = [bytearray(len(tree)) for tree in self._trees]

    def meet(self, numbers: Sequence[str]) -> None:
        """Say that accounts have entries."""
        for tree, met in zip(self._trees, self._met, strict=True):
            for number in numbers:
                if (place := tree.place_of(number)) is not None:
                    met[place] = 1

    def missing(self) -> list[str]:
        """List those that were not met, in order of number."""
        return sorted(
            {
                tree.accounts[place]
                for tree, met in zip(self._trees, self._met, strict=True)
                for place, is_met in enumerate(met)
                if not is_met
            }
        )


def _with_outside(checked: SealsChecked, outside: Outside) -> Sealed:
    """Give what the seals mean for every account, the heads from outside taken into account: they lead to their seal's root."""
    sealed = checked.sealed
    if outside.heads is None or outside.heads_seal is None:
        return sealed
    seal = checked.deciding[outside.heads_seal]
    if sealed.newest is None or sealed.newest < seal.number:
        sealed = replace(sealed, newest=seal.number, newest_at=seal.sealed_at)
    if sealed.doubted is not None and sealed.doubted <= seal.number:
        # Every account can be compared by itself.
        sealed = replace(sealed, doubted=None, doubted_at=None)
    return sealed


async def _pieces(db: Db, asked: Asked, outside: Outside, sealed: Sealed, seen: _Seen) -> AsyncIterator[Piece]:
    if asked.accounts:
        for number in asked.accounts:
            yield _piece(asked, Span(number, number, including=True), (number,), outside, sealed)
        return
    after = ""
    async for numbers in accounts(db, ACCOUNTS_OF_PIECE):
        seen.meet(numbers)
        yield _piece(asked, Span(after, numbers[-1]), tuple(numbers), outside, sealed)
        after = numbers[-1]


def _piece(asked: Asked, span: Span, numbers: tuple[str, ...], outside: Outside, sealed: Sealed) -> Piece:
    return Piece(replace(asked, accounts=()), span, numbers, sealed, _outside_heads(outside, numbers))


def _outside_heads(outside: Outside, numbers: Sequence[str]) -> dict[str, SealedHead]:
    if outside.heads is None or outside.heads_seal is None:
        return {}
    found = {number: outside.heads.head_of(number) for number in numbers}
    return {
        number: SealedHead(outside.heads_seal, *head, outside=True)
        for number, head in found.items()
        if head is not None
    }


async def _missing(db: Db, asked: Asked, outside: Outside, sealed: Sealed, seen: _Seen) -> list[Finding]:
    """Find accounts that seals know and that have no entry."""
    numbers = list(asked.accounts) or seen.missing()
    found: list[Finding] = []
    for first in range(0, len(numbers), ACCOUNTS_AT_ONCE):
        page = numbers[first : first + ACCOUNTS_AT_ONCE]
        gone = await without_entries(db, page)
        known = await sealed_heads(db, gone, sealed.upto, _outside_heads(outside, gone))
        found += [missing_account(account, heads) for account, heads in known.items()]
    return found


_FROM_SEALED_HEADS = frozenset(
    {
        FindingKind.HISTORY_REWRITTEN,
        FindingKind.TAIL_CUT,
        FindingKind.ACCOUNT_MISSING,
        FindingKind.ENTRY_BACKDATED,
    }
)


def _resolved(
    verified: Verified, checked: SealsChecked, seal: Seal, heads: Sequence[JournalHead], found: list[Finding]
) -> list[Finding]:
    """Look for the root of a doubted seal in the journal itself; give the findings as they read after that."""
    ordered = sorted(heads, key=lambda head: head.account)
    at_version: list[Head] = [(head.account, head.version, head.digest) for head in ordered if head.version > 0]
    by_time: list[Head] = [
        (head.account, head.version_by_time, head.digest_by_time) for head in ordered if head.version_by_time > 0
    ]
    parts = differing_parts(checked.chunks, at_version, by_time) if checked.chunks is not None else []
    if seal.heads in (root_of(at_version), root_of(by_time)) or (checked.chunks is not None and not parts):
        verified.proven = max(verified.proven or seal, seal, key=lambda each: each.number)
        text = f"the journal itself leads to the root of seal {seal.number}: only what the database says of the seals was changed"
        checked.tell(text, seal.number)
        return [_acquitted(finding, seal) for finding in found]
    whole = f"neither the sealed heads in the database nor the entries of the journal lead to the root of seal {seal.number}"
    if not parts:
        text = f"{whole}: entries from before it were changed, and the sealed heads with them. {_which(found, seal)}"
        return [*found, Finding(FindingKind.HISTORY_REWRITTEN, text, seal=seal.number)]
    for first, before in parts[:PARTS_TOLD_MAX]:
        accounts_told = f"from {first} on" if before is None else f"from {first} to before {before}"
        named = [finding for finding in found if _is_in(finding.account, first, before)]
        text = f"{whole}: it differs among the accounts {accounts_told}. {_which(named, seal)}"
        found = [*found, Finding(FindingKind.HISTORY_REWRITTEN, text, seal=seal.number)]
    return found


def _acquitted(finding: Finding, seal: Seal) -> Finding:
    """Say of a finding that rests on what the database says of a seal that it is the database that was changed."""
    if finding.kind not in _FROM_SEALED_HEADS or finding.seal is None or finding.seal > seal.number:
        return finding
    text = f"what the database says of seal {finding.seal} was changed, for the journal leads to seal {seal.number}; it would mean: {finding.text}"
    return replace(finding, kind=FindingKind.SEAL_BROKEN, text=text)


def _which(found: Sequence[Finding], seal: Seal) -> str:
    named = sorted({finding.account for finding in found if finding.account is not None})
    which = f"Accounts with findings of their own: {', '.join(named[:PARTS_TOLD_MAX])}. " if named else ""
    return (
        f"{which}Which accounts it is can be told by the file of heads of seal {seal.number}, if one was kept (--heads)"
    )


def _is_in(account: str | None, first: str, before: str | None) -> bool:
    return account is not None and first <= account and (before is None or account < before)


def _place(finding: Finding) -> tuple[bool, str, int, str]:
    # What follows from entries is told after the entries themselves.
    follows = finding.kind in (FindingKind.VIEW_DIFFERS, FindingKind.CHARGE_DIFFERS)
    return follows, finding.account or "", finding.entry or finding.first or 0, finding.kind.value
