"""The evidence pack of an account: all that its history rests on, in one signed zip (docs/evidence.md)."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from bels.access.acts import ActRow
from bels.audit.evidence import rows
from bels.audit.evidence.archive import Archive, PackTooLarge
from bels.audit.evidence.explanations import explanations
from bels.audit.evidence.rows import SHOWN_LENGTH_MAX, Chained, Erasures, Household, Received
from bels.audit.evidence.timeline import Facts, opened_words, timeline
from bels.audit.seals.chunks import ChunksError
from bels.audit.seals.keys import find_signer
from bels.audit.seals.proofs import SealsMissingError, log_leaves, prove
from bels.audit.seals.reading import latest_seal
from bels.audit.seals.statement import Seal, SealError, published
from bels.cells import harmless
from bels.domain.explain import Explanation
from bels.domain.rulebook import Rulebook
from bels.journal.codec import to_entry
from bels.journal.entry import Entry
from bels.journal.faults import UNAVAILABLE
from bels.journal.journal import RULEBOOK
from bels.journal.write import Db
from bels.messages import TryLater
from bels.projections import estimation, ledger, overview, readings
from bels.reception.counter import Counter, database
from bels.reception.evidence import Evidence, open_photo

FORMAT = "bels evidence 1"

ENTRIES_MAX = 20_000
"""Entries of one account: fifty years of thirty a month."""

SEALS_MAX = 100
"""Seals that may be asked for beside the usual."""

PIECE_BYTES = 1 << 20

LEDGER_COLUMNS = (
    "entry", "purpose", "kind", "period", "posted_in", "booked_on", "recorded_at", "receipt", "reference", "amount",
    "balance", "debit", "credit",
)  # fmt: skip

_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
_json = msgspec.json.Encoder().encode


class PackError(Exception):
    """There is no such pack; the sentence (English) says why."""


class SealsBrokenError(PackError):
    """The seals cannot be read: that is a finding for who verifies the journal, not a pack."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which pack is asked for: of an account, by whom, with personal data or masked, with proofs for which seals beside the usual."""

    account: str
    made_for: str
    personal: bool = False
    seals: tuple[int, ...] = ()

    @property
    def recorded(self) -> str:
        """How the record of access names it."""
        return "evidencePack.personal" if self.personal else "evidencePack"


async def write_pack(counter: Counter, asked: Asked, file: BinaryIO) -> int:
    """Write the pack of an account into a file that can be read and sought; give its size in bytes.

    Everything is of one moment: a snapshot of the database.

    :raises PackError: there is no such account or seal.
    :raises SealsBrokenError: the seals cannot be read.
    :raises PackTooLarge: it has too many entries, or photos.
    :raises VaultError: what is sealed is damaged, or a key is lost.
    :raises MasterKeyError: the master key is another one.
    :raises TryLater: the database cannot be reached.
    """
    if len(asked.seals) > SEALS_MAX:
        raise PackError(f"at most {SEALS_MAX} seals may be asked for")
    rulebook = await counter.intake.rules()
    made_at = counter.now()
    try:
        signer = await find_signer(counter.pool, counter.door.vault, made_at)
    except UNAVAILABLE as error:
        raise TryLater(type(error).__name__) from error
    archive = Archive(file)
    try:
        async with database(counter) as db, db.transaction(isolation="repeatable_read", readonly=True):
            work = _Work(db, counter, asked, archive, rulebook, made_at)
            head = await work.fill()
        manifest = {
            "format": FORMAT,
            "account": asked.account,
            "made_at": _moment(made_at),
            "made_for": asked.made_for,
            "personal": "included" if asked.personal else "masked",
            "key": signer.key,
            "public": signer.private.public_key().public_bytes_raw().hex(),
            "entries": work.entries,
            "head": head.hex(),
            "files": sorted(map(msgspec.to_builtins, archive.files), key=lambda each: each["name"]),
        }
        await archive.add("manifest.json", "", _once(_indented(manifest)))
        to_sign = await archive.finish()
    except (SealError, ChunksError, SealsMissingError) as error:
        raise SealsBrokenError(f"the seals cannot be read, see bels audit verify: {error}") from error
    finally:
        archive.close()
    archive.sign(signer.sign(to_sign))
    size = file.seek(0, 2)
    file.seek(0)
    return size


class _Work:
    """A pack under work: the files are written one after another, and what the timeline tells is kept on the way."""

    def __init__(
        self, db: Db, counter: Counter, asked: Asked, archive: Archive, rulebook: Rulebook, made_at: datetime
    ) -> None:
        self.db = db
        self.counter = counter
        self.asked = asked
        self.archive = archive
        self.rulebook = rulebook
        self.made_at = made_at
        self.entries = 0
        self._told: list[Entry] = []
        self._unread: list[int] = []
        self._head = b""
        self._sealed = 0
        self._shown: dict[str, str] = {}
        self._explained: dict[int, list[Explanation]] = {}

    async def fill(self) -> bytes:
        """Write every file but the manifest; give the digest of the account's last entry."""
        account, vault, included = self.asked.account, self.counter.door.vault, self.asked.personal
        await self._add("entries.jsonl", "every entry of the account, with its digest", self._entries())
        if not self.entries:
            raise PackError(f"there is no account {account}")
        await self._add("rulebook.jsonl", "every entry of the stream of rules", self._rulebook())
        seal = await self._add_seals()
        await self._add("explanations.jsonl", "how every sum was found", self._explanations())
        erasures = await rows.erasures(self.db, account)
        messages = await rows.received(self.db, account, self._told)
        await self._add("messages.jsonl", "the messages that were received", self._messages(messages, erasures))
        sent = await rows.sent(self.db, vault, account, opened=included)
        await self._add("sent.jsonl", "what was sent to the household", _lines(map(_sent, sent)))
        photos = await rows.photos(self.db, messages)
        entries_of = {each.receipt: each.first for each in messages if each.has_entries}
        await self._add("photos.jsonl", "photos of displays", _lines(_photo(each, entries_of) for each in photos))
        if included:
            await self._add_photos(photos)
        acts = await rows.identity_acts(self.db, account)
        await self._add("acts.jsonl", "what was done to credentials and cabinets", _lines(map(_act, acts)))
        households = await rows.households(self.db, vault, account) if included else []
        if included:
            told = _indented({"households": [_household(each) for each in households]})
            await self._add("personal.json", "personal data of the households", _once(told))
        movements = await rows.movements(self.db, account)
        await self._add("ledger.csv", "every movement of money", _once(_ledger(movements)))
        last = await readings.page(self.db, account, None, None, 1, True, ["ACCEPTED"])
        facts = Facts(
            account=account,
            made_at=self.made_at,
            made_for=self.asked.made_for,
            personal=included,
            entries=self._told,
            unread=self._unread,
            head=self._head,
            seal=seal,
            sealed_version=self._sealed,
            messages=messages,
            shown=self._shown,
            sent=sent,
            photos=photos,
            acts=acts,
            households=households,
            erased=erasures.tenures,
            explanations=self._explained,
            movements=movements,
            overview=(await overview.find(self.db, [account])).get(account),
            estimation=(await estimation.find(self.db, [account])).get(account),
            balance=(await ledger.find(self.db, [account])).get(account),
            last_reading=last[0] if last else None,
        )
        page = await asyncio.to_thread(timeline, facts)
        await self._add("timeline.html", "the story of the account, to be read and printed", _once(page.encode()))
        return facts.head

    async def _add(self, name: str, about: str, pieces: AsyncIterator[bytes]) -> None:
        await self.archive.add(name, about, pieces)

    async def _entries(self) -> AsyncIterator[bytes]:
        account = self.asked.account
        async for page in rows.chained(self.db, account):
            if self.entries + len(page) > ENTRIES_MAX:
                raise PackTooLarge(f"account {account} has more than {ENTRIES_MAX} entries")
            for each in page:
                self.entries += 1
                self._head = each.digest
                try:
                    self._told.append(to_entry(account, each.version, each.topic, each.state))
                except (msgspec.MsgspecError, LookupError, ValueError):
                    # What cannot be read is evidence all the more: the bytes are there, the page says so.
                    self._unread.append(each.version)
            yield b"".join(map(_chained, page))

    async def _rulebook(self) -> AsyncIterator[bytes]:
        async for page in rows.chained(self.db, RULEBOOK):
            for each in page:
                yield _chained(each)

    async def _add_seals(self) -> Seal | None:
        seal = await latest_seal(self.db)
        leaves = await log_leaves(self.db, seal.number) if seal is not None else ()
        proofs = await self._proofs(seal)
        told = published(seal).encode() if seal is not None else b"null\n"
        await self._add("seal.json", "the newest seal", _once(told))
        log = _json({"leaves": [leaf.hex() for leaf in leaves]}) + b"\n"
        await self._add("log.json", "the leaf hashes of the seals before it", _once(log))
        await self._add("proofs.jsonl", "proofs that seals know the account and the rules", _lines(proofs))
        return seal

    async def _proofs(self, newest: Seal | None) -> list[dict[str, Any]]:
        account, asked = self.asked.account, set(self.asked.seals)
        last = newest.number if newest is not None else 0
        if missing := sorted(number for number in asked if not 1 <= number <= last):
            raise PackError(f"there is no seal {missing[0]}, the newest is {last}" if last else "nothing is sealed yet")
        usual = await rows.seals_to_prove(self.db, last) if last else []
        proofs = []
        for number in sorted({*usual, *asked}):
            for stream in (account, RULEBOOK):
                proof = await prove(self.db, stream, number)
                if proof is not None:
                    if stream == account and number == last:
                        self._sealed = proof.version
                    proofs.append(proof.said)
                elif stream == account and number in asked:
                    raise PackError(f"seal {number} is older than the first entry of account {account}")
        return proofs

    async def _explanations(self) -> AsyncIterator[bytes]:
        lines = bytearray()
        async for each in explanations(self.db, self.asked.account, self.rulebook):
            self._explained.setdefault(each.entry, []).append(each.explanation)
            lines += _line(each.told())
            if len(lines) > PIECE_BYTES:
                yield bytes(lines)
                lines.clear()
        yield bytes(lines)

    async def _messages(self, messages: Sequence[Received], erasures: Erasures) -> AsyncIterator[bytes]:
        texts = self.counter.door.raw_texts
        async for page in rows.raw_words(self.db, messages):
            lines = bytearray()
            for message, raw in page:
                may = self.asked.personal and not erasures.concern(message.recorded_at)
                opened = texts.opened(raw) if may else raw
                said = _storable(opened) if opened != raw else None
                self._shown[message.receipt] = opened_words(raw if said is None else said, SHOWN_LENGTH_MAX)
                lines += _line(_message(message, raw, said))
            yield bytes(lines)

    async def _add_photos(self, photos: Sequence[Evidence]) -> None:
        for each in photos:
            found = await open_photo(self.counter, each.evidence)
            if found is not None:
                # A picture is packed already.
                await self.archive.add(_photo_name(each), "a photo of a display", _once(found[1]), deflated=False)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(content), PIECE_BYTES):
        yield content[first : first + PIECE_BYTES]


async def _lines(told: Iterable[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    lines = bytearray()
    for each in told:
        lines += _line(each)
        if len(lines) > PIECE_BYTES:
            yield bytes(lines)
            lines.clear()
    yield bytes(lines)


def _line(told: Mapping[str, Any]) -> bytes:
    return _json(told) + b"\n"


def _indented(told: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(_json(told), indent=2) + b"\n"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _maybe(at: datetime | None) -> str | None:
    return _moment(at) if at is not None else None


def _storable(text: str) -> str:
    # What was said may hold half of a surrogate pair, which no file of UTF-8 can.
    return text.encode("utf-8", "backslashreplace").decode()


def _chained(entry: Chained) -> bytes:
    return _line(
        {
            "version": entry.version,
            "topic": entry.topic,
            "content": entry.content.hex(),
            "digest": entry.digest.hex(),
            # Bytes that somebody spoiled are no UTF-8 any more; whoever judges finds that their digest is another.
            "state": entry.state.decode("utf-8", "backslashreplace"),
        }
    )


def _message(message: Received, raw: str, said: str | None) -> dict[str, Any]:
    return {
        "receipt": message.receipt,
        "channel": message.channel,
        "message_id": message.message_id,
        "actor": message.actor,
        "recorded_at": _moment(message.recorded_at),
        "status": message.status,
        "content": message.content.hex(),
        "raw": raw,
        "said": said,
    }


def _sent(text: rows.Sent) -> dict[str, Any]:
    return {
        "topic": text.topic,
        "kind": text.kind,
        "channel": text.channel,
        "state": text.state,
        "created_at": _moment(text.created_at),
        "sent_at": _maybe(text.sent_at),
        "text": text.text,
    }


def _photo(photo: Evidence, entries: Mapping[str, int | None]) -> dict[str, Any]:
    return {
        "name": _photo_name(photo),
        "entry": entries.get(photo.receipt or ""),
        "receipt": photo.receipt,
        "taken_at": _moment(photo.at),
        "sha256": photo.sha256.hex(),
    }


def _photo_name(photo: Evidence) -> str:
    return f"photos/{photo.evidence}.{_ENDINGS[photo.content_type]}"


def _act(act: ActRow) -> dict[str, Any]:
    return {
        "act": act.act,
        "at": _moment(act.at),
        "kind": act.kind.value,
        "by": act.by_subject,
        "subject": act.subject,
        "reason": act.reason,
        "document": act.document,
        "request_id": act.request_id,
    }


def _household(household: Household) -> dict[str, Any]:
    return {
        "tenure": household.tenure,
        "erased": household.erased,
        **msgspec.to_builtins(household.personal),
    }


def _ledger(movements: Sequence[ledger.LedgerRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(LEDGER_COLUMNS)
    for each in movements:
        told = replace(each, reference=harmless(each.reference))
        writer.writerow([_cell(getattr(told, column)) for column in LEDGER_COLUMNS])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return _moment(value)
    return "" if value is None else str(value)
