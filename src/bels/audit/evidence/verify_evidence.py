"""Judge an evidence pack of an account: is all of it as it was written, and does every sum follow?

Needs Python 3.9 or later and the library ``cryptography``, nothing else; what it reads is described in docs/evidence.md::

    python verify_evidence.py evidence.zip [--key HEX|keys.json] [--seal seal-000017.json ...] [--proof proof.json ...] [--json]

Exit status: 0 whole, 1 refused, 2 not judged. The key in a pack is the pack's own word: that it is the supplier's is proven by ``--key``
or ``--seal`` as you got them from elsewhere; only a seal proves that nothing was rewritten by somebody who has the supplier's key.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import operator
import re
import struct
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fractions import Fraction
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
Keys = dict[str, bytes]
UNPACKED_BYTES_MAX, PIECE, RAW_LENGTH_MAX, SIGNATURE_DIGITS, RULEBOOK = 1 << 30, 1 << 16, 65_536, 128, "rulebook"
WRITTEN_WITHIN = timedelta(hours=1)  # An entry may have been on its way when a seal was made, but not for so long.
NEEDED = {"seal.json", "log.json", "ledger.csv", "entries.jsonl", "rulebook.jsonl"}
NEEDED |= {"proofs.jsonl", "explanations.jsonl", "messages.jsonl"}
NAME = re.compile(r"(?!/)(?!.*(?:\.\.|//|/$))[A-Za-z0-9._/-]{1,200}")
NUMBER, KOPECK = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?(E[-+][0-9]{1,2})?"), Fraction(1, 100)
MOVES = {
    "period-closed": ("CHARGE", "charged", 1), "penalty-accrued": ("PENALTY", "amount", 1),
    "balance-carried-over": ("OPENING", "balance", 1), "payment-received": ("PAYMENT", "amount", -1),
    "payment-reversed": ("REVERSAL", "amount", 1), "refund-made": ("REFUND", "amount", 1),
    "payment-moved-out": ("MOVED_OUT", "amount", 1), "payment-moved-in": ("MOVED_IN", "amount", -1),
}  # fmt: skip
"""What moves money: its name in the ledger, where its sum stands in the entry, whether it adds to what is owed."""


class Refused(Exception):
    """The pack is not what it says it is; the sentence says where and why. With a 2: it cannot be judged yet, and why."""


class Verdict:
    """What is proven, and what rests on nothing but the pack's own word."""

    def __init__(self) -> None:
        self.proven, self.open = list[str](), list[str]()

    def lacks(self, what: str, when: object = True) -> None:
        """Say what is not proven, where it is so."""
        self.open += [what] if when else []


def check(holds: object, why: str, status: int = 1) -> None:
    """Refuse the pack where something does not hold."""
    if not holds:
        raise Refused(why, status)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Refuse what is not of its form, whatever is wrong with it, and say where it stands."""
    try:
        yield
    except Refused as refused:
        raise Refused(f"{where}: {refused.args[0]}") from None
    except Exception as error:
        raise Refused(f"{where}: not of its form ({type(error).__name__}: {str(error)[:200]})") from error


class Pack:
    """A zip whose entries follow one another from the first byte to the directory, each named once, without anything between."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size = file, file.seek(0, 2)
        self._zip = ZipFile(file)
        files, place, directory = self._zip.infolist(), 0, 22 + SIGNATURE_DIGITS
        check(len(self._zip.comment) == SIGNATURE_DIGITS, "it does not end with a signature of 128 digits")
        check(sum(f.file_size for f in files) <= UNPACKED_BYTES_MAX, "it would fill the memory")
        for f in files:
            plain = (f.flag_bits, f.extra, f.comment) == (0, b"", b"") and f.compress_type in (0, 8)
            check(plain and NAME.fullmatch(f.filename), f"{f.filename!r} is not stored plainly")
            check(f.header_offset == place, f"something stands before {f.filename}")
            file.seek(place)
            head = struct.unpack("<4s5H3L2H", file.read(30))
            told = (b"PK\3\4", 0, f.compress_type, f.CRC, f.compress_size, f.file_size, len(f.filename), 0)
            check((head[0], *head[2:4], *head[6:]) == told, f"the directory says something else of {f.filename}")
            place += 30 + len(f.filename) + f.compress_size
            directory += 46 + len(f.filename)
        check(place + directory == self.size, "something stands between its files")
        self.names = {f.filename for f in files}
        check(len({name.lower() for name in self.names}) == len(files), "two files have one name")

    def pieces(self, name: str) -> Iterator[bytes]:
        """Unpack a file, piece by piece, never more than the directory says."""
        given = 0
        with self._zip.open(name) as file:
            while piece := file.read(PIECE):
                given += len(piece)
                yield piece
        check(given == self._zip.getinfo(name).file_size, f"{name} is not as long as the directory says")

    def text(self, name: str) -> str:
        """Read a file whole."""
        return b"".join(self.pieces(name)).decode("utf-8")

    def lines(self, name: str) -> Iterator[Json]:
        """Read the objects of a .jsonl file: one a line, and every line whole."""
        with reading(name):
            *lines, rest = self.text(name).split("\n")
            check(not rest, "the last line is not whole")
            yield from map(parse, lines)

    def signed(self) -> tuple[bytes, bytes]:
        """Give the signature, and what is signed: everything before it, digested."""
        check(re.fullmatch(rb"[0-9a-f]{128}", self._zip.comment), "its comment is no signature")
        digest, left = sha256(), self.size - SIGNATURE_DIGITS
        self._file.seek(0)
        while piece := self._file.read(min(PIECE, left)):
            digest.update(piece)
            left -= len(piece)
        return bytes.fromhex(self._zip.comment.decode("ascii")), b"bels:evidence:1\n" + digest.digest()


def once(pairs: list[tuple[str, Any]]) -> Json:
    """Make an object: one with a name twice does not say the same to everybody."""
    check(len(dict(pairs)) == len(pairs), f"a name is there twice: {sorted(name for name, _ in pairs)[:20]}")
    return dict(pairs)


parse = json.JSONDecoder(object_pairs_hook=once, parse_constant=Fraction).decode


def number(said: Any) -> Fraction:
    """Read a plain decimal number: of digits of ASCII, which no exponent makes endless."""
    check(NUMBER.fullmatch(str(said)), f"{str(said)[:60]!r} is no number")
    return Fraction(str(said))


def check_signature(keys: Keys, key: str, signature: bytes, data: bytes, what: object) -> None:
    """Refuse what was not signed with a key of this name (Ed25519)."""
    check(key in keys, f"{what} is signed by key {key}: give its public key with --key")
    try:
        Ed25519PublicKey.from_public_bytes(keys[key]).verify(signature, data)
    except InvalidSignature:
        raise Refused(f"the signature of {what} does not hold") from None


def key_name(public: bytes) -> str:
    """Name a public key: the first 16 digits of SHA-256 over its 32 raw bytes."""
    return sha256(public).hexdigest()[:16]


def judge_manifest(pack: Pack) -> Json:
    """Check the signature over the whole file, and that the manifest names every file with its digest."""
    with reading("manifest.json"):
        manifest: Json = parse(pack.text("manifest.json"))
        check(manifest["format"] == "bels evidence 1", f"this program does not read {manifest['format']!r}")
        check(re.fullmatch("[0-9a-f]{64}", manifest["public"]), "the public key has not 64 digits")
        public = bytes.fromhex(manifest["public"])
        check(manifest["key"] == key_name(public), "the key is not named as it should be")
        check_signature({manifest["key"]: public}, manifest["key"], *pack.signed(), "the file, which was altered,")
        names = [file["name"] for file in manifest["files"]]
        check(names == sorted(set(names)), "files are not in order of name")
        check({*names, "manifest.json"} == pack.names, "it does not name the files that are there")
        check(set(names) >= NEEDED, f"it lacks {sorted(NEEDED - set(names))}")
        personal = [name for name in names if name == "personal.json" or name.startswith("photos/")]
        check(manifest["personal"] == "included" or not personal, "personal data is there that is said to be masked")
        for file in manifest["files"]:
            digest, size = sha256(), 0
            for piece in pack.pieces(file["name"]):
                digest.update(piece)
                size += len(piece)
            told = file["sha256"], file["size"]
            check(told == (digest.hexdigest(), size), f"{file['name']} is not what was packed")
    return manifest


class Entry:
    """An entry: ``state`` is its stored text, ``event`` what it says has happened, ``kind`` what that is."""

    def __init__(self, line: Json) -> None:
        self.version, self.topic, self.state = operator.index(line["version"]), line["topic"], line["state"]
        self.content, self.digest = line["content"], line["digest"]
        self.kind = self.topic.rpartition(".")[0]
        said = parse(self.state)
        self.event, self.receipt, self.recorded_at = said["event"], said["receipt"], moment(said["recorded_at"])

    def posts(self, kind: str) -> bool:
        """Say whether it is of a kind, and of the time since when there is money in the journal."""
        told = {"period-closed": "due_on", "usage-recalculated": "rulebook", "penalty-accrued": "amount"}
        return self.kind == kind and bool(self.event.get(told[kind]))


def moment(text: str) -> datetime:
    """Read a moment of UTC, of which Python before 3.11 does not know the Z."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # noqa: FURB162


def read_chain(pack: Pack, name: str, account: str) -> list[Entry]:
    """Follow the digests of a stream: SHA-256 over a word, the one before, version and lengths (big-endian), account, topic, content, state."""
    entries, before = list[Entry](), bytes(32)
    for line in pack.lines(name):
        with reading(f"{name}, entry {len(entries) + 1}"):
            entry = Entry(line)
            check(entry.version == len(entries) + 1, f"missing or out of order: {entry.version} is here")
            number, topic, content = account.encode(), entry.topic.encode(), bytes.fromhex(entry.content)
            sizes = struct.pack(">QHHH", entry.version, len(number), len(topic), len(content))
            before = hashed(b"bels:entry:1\n", before, sizes, number, topic, content, entry.state.encode())
            check(before.hex() == entry.digest, "its digest does not follow: it, or one before it, was changed")
            entries.append(entry)
    return entries


def hashed(*parts: bytes) -> bytes:
    """Hash a leaf (after a byte 0), or what is above two nodes (after a byte 1)."""
    return sha256(b"".join(parts)).digest()


def root(level: list[bytes]) -> bytes:
    """Give the root over hashed leaves: neighbours are joined level by level, the last one of an odd level goes up alone."""
    while len(level) > 1:
        pairs = [hashed(b"\1", *level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0] if level else hashed()


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Follow a path from a leaf up to the root, level by level; None where no tree of this size has such a path."""
    nodes, reached = iter(path), leaf
    check(type(index) is int and 0 <= index < size, "no tree of this size has such a leaf")
    while size > 1:
        if index % 2:
            reached = hashed(b"\1", next(nodes, b""), reached)
        elif index + 1 < size:
            reached = hashed(b"\1", reached, next(nodes, b""))
        index, size = index // 2, (size + 1) // 2
    return reached if next(nodes, None) is None else None


class Seal:
    """A seal as it was published; ``signed`` is what its signature covers: sorted names, no blanks, ASCII."""

    def __init__(self, said: Json) -> None:
        self.signature, self.sealed_at = b64decode(said["signature"], validate=True), moment(said["sealed_at"])
        statement = {name: value for name, value in said.items() if name != "signature"}
        words = {"format", "number", "sealed_at", "accounts", "entries", "heads", "log", "faults", "key"}
        check(set(statement) == words and said["format"] == "bels seal 1", "it is no seal")
        self.number, self.accounts, self.key = said["number"], said["accounts"], said["key"]
        check(type(self.number) is int and type(self.accounts) is int and self.number > 0, "its numbers are none")
        self.heads, self.log, self.faults = bytes.fromhex(said["heads"]), bytes.fromhex(said["log"]), said["faults"]
        self.signed = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    def __str__(self) -> str:
        return f"seal {self.number} of {self.sealed_at:%Y-%m-%d %H:%M} UTC"


class Seals:
    """The seals of a pack: the newest, those that it counts, those kept outside, and how far each knows a stream."""

    def __init__(self, pack: Pack, keys: Keys, streams: dict[str, list[Entry]], outside: list[Json]) -> None:
        self.keys, self.streams = keys, streams
        self.known: dict[str, dict[int, int]] = {account: {} for account in streams}
        with reading("log.json"):
            self.leaves = [bytes.fromhex(leaf) for leaf in parse(pack.text("log.json"))["leaves"]]
        with reading("seal.json"):
            said = parse(pack.text("seal.json"))
            self.newest = Seal(said) if said is not None else None
            count = self.newest.number - 1 if self.newest else 0
            check(count == len(self.leaves), f"log.json has {len(self.leaves)} leaves, it counts {count} seals")
            if self.newest:
                check_signature(keys, self.newest.key, self.newest.signature, self.newest.signed, self.newest)
                check(self.newest.log == root(self.leaves), "log.json has another root than it says")
                self.leaves.append(hashed(b"\0", self.newest.signed))
        with reading("--seal"):
            self.outside = {seal.number: seal for seal in map(Seal, outside)}
            check(len(self.outside) == len(outside), "two seals have one number")
            for seal in self.outside.values():
                check_signature(keys, seal.key, seal.signature, seal.signed, seal)
                self.place(seal)

    def place(self, seal: Seal) -> None:
        """Check that a seal is the newest or stands in the log; one kept outside may be newer than the pack."""
        if seal.number <= len(self.leaves):
            stands = hashed(b"\0", seal.signed) == self.leaves[seal.number - 1]
            check(stands, f"{seal} is not the one that the pack counts: another stands in its place")
        else:
            mine = self.outside.get(seal.number)
            check(mine and mine.signed == seal.signed, f"{seal} is newer than those that the pack counts")

    def follow(self, proof: Json) -> None:
        """Follow a proof from the digest of an entry to the heads of its seal."""
        seal, account, version = Seal(proof["seal"]), proof["account"], proof["version"]
        self.place(seal)
        if seal.key in self.keys:
            check_signature(self.keys, seal.key, seal.signature, seal.signed, seal)
        check(account in self.streams, f"it is of {account}, of whom the pack does not tell")
        entries, number = self.streams[account], account.encode()
        check(type(version) is int and version > 0, "it is of no entry")
        check(version <= len(entries), f"{seal} knows entry {version} of {account}: the tail was cut, or it is newer")
        head = struct.pack(">QH", version, len(number)) + number + bytes.fromhex(entries[version - 1].digest)
        path = list(map(bytes.fromhex, proof["path"]))
        check(proof["size"] == seal.accounts, f"{seal} has {seal.accounts} heads, not {proof['size']}")
        reached = root_of_path(hashed(b"\0bels:head:1\n", head), proof["index"], seal.accounts, path)
        check(reached == seal.heads, f"entry {version} of {account} is not what {seal} knows: history was rewritten")
        check(self.known[account].setdefault(seal.number, version) == version, f"two proofs for {seal} differ")
        check(account not in [f.split(" ")[0] for f in seal.faults], f"{seal} says that the chain did not hold")
        if version < len(entries):
            self.check_later(account, entries[version:], seal)

    def check_later(self, account: str, unknown: list[Entry], seal: Seal) -> None:
        """Refuse an entry that says it is older than a seal that does not know it."""
        entry = min(unknown, key=lambda each: each.recorded_at)
        later = entry.recorded_at + WRITTEN_WITHIN >= seal.sealed_at
        check(later, f"entry {entry.version} of {account} says that it is older than {seal}, which does not know it")

    def judge(self, pack: Pack, proofs: list[Json], account: str, trusted: bool, verdict: Verdict) -> str:
        """Follow every proof; say how far the entries of an account are sealed, and by whose word; name the seals that lack a proof."""
        for proof in [*pack.lines("proofs.jsonl"), *proofs]:
            with reading("proofs.jsonl"):
                self.follow(proof)
        for stream, entries in self.streams.items():
            if self.newest and entries and self.newest.number not in self.known[stream]:
                check(not self.known[stream], f"proofs.jsonl: nothing leads from {stream} to the newest seal")
                self.check_later(stream, entries, self.newest)
        count, own = len(self.streams[account]), self.known[account]
        for number in sorted(set(self.outside) & set(own)):
            verdict.proven.append(f"entries 1 to {own[number]} are those that your {self.outside[number]} knows")
            untied = self.streams[RULEBOOK] and number not in self.known[RULEBOOK]
            verdict.lacks(f"the rulebook is not tied to your {self.outside[number]}", untied)
        sealed, mine = max(own.values(), default=0), max((own.get(number, 0) for number in self.outside), default=0)
        if sealed > mine:
            whose = "signed with the key that you know" if trusted else "signed with the pack's own key"
            verdict.proven.append(f"entries 1 to {sealed} are sealed by {self.newest}, {whose}")
        anew = f"entries {mine + 1} to {count} could have been written anew by whoever has the key"
        verdict.lacks(anew, trusted and mine < count)
        verdict.lacks(f"entries {sealed + 1} to {count} are not sealed yet, only signed in the pack", sealed < count)
        return ", ".join(str(seal) for number, seal in sorted(self.outside.items()) if number not in own)


def judge_messages(pack: Pack, entries: list[Entry], verdict: Verdict) -> None:
    """Check that every entry's message is there, with the words that it was made from (BLAKE2b, 16 bytes)."""
    contents, unsure = dict[str, str](), 0
    for message in pack.lines("messages.jsonl"):
        raw, content, receipt = message["raw"], message["content"], message["receipt"]
        check(receipt not in contents, f"{receipt} is there twice")
        contents[receipt] = content
        if blake2b(raw.encode("utf-8"), digest_size=16).hexdigest() != content:
            # The journal cannot keep a NUL or half of a character, nor more than so much, as it came.
            escaped = len(raw) >= RAW_LENGTH_MAX or re.search(r"\\x00|\\ud[89a-f]", raw)
            check(escaped, f"the words of {receipt} were changed")
            unsure += 1
    for entry in entries:
        same = entry.content in ("", contents.get(entry.receipt))
        check(same, f"the message of entry {entry.version} is not there, or had other words")
    old = sum(not entry.content for entry in entries)
    verdict.proven.append(f"{len(contents)} messages have the words that their entries were made from")
    verdict.lacks(f"{unsure} messages were stored shortened or escaped: their words cannot be digested again", unsure)
    verdict.lacks(f"{old} entries are from before words were digested: no message is tied to them", old)


def calculate(expression: str) -> Fraction:
    """Work an expression of plain numbers out exactly: + - * / and parentheses, nothing else."""
    check(re.fullmatch(r"[-+*/(). 0-9]{1,10000}", expression), f"{expression[:100]!r} is no expression")
    steps = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return Fraction(steps[type(node.op)](value(node.left), value(node.right)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        return Fraction(expression[node.col_offset : node.end_col_offset])

    return value(ast.parse(expression, mode="eval").body)


def half_up(value: Fraction, unit: Fraction) -> Fraction:
    """Round half-up on the absolute value."""
    return (abs(value) / unit + Fraction(1, 2)) // 1 * (unit if value >= 0 else -unit)


def share(whole: Fraction, weights: list[int], place: int) -> Fraction:
    """Share a whole in proportion to weights: whole parts, then one each by the largest remainder, ties to the earlier place."""
    check(whole.denominator == 1 and min(weights) >= 0 and 0 <= place < len(weights), "this cannot be shared")
    parts = [divmod(whole.numerator * weight, sum(weights)) for weight in weights]
    left = whole.numerator - sum(part for part, _ in parts)
    first = sorted(range(len(parts)), key=lambda i: -parts[i][1])[:left]
    return Fraction(parts[place][0] + (place in first))


def recompute(explanation: Json) -> Fraction:
    """Work every step of an explanation out; give the sum to which they lead."""
    found = Fraction(0)
    for step in explanation["steps"]:
        found, rounding = calculate(step["expression"]), step["rounding"]
        if rounding == "LARGEST_REMAINDER":
            found = share(found, step["weights"], step["place"])
        elif rounding != "EXACT":
            found = half_up(found, {"WHOLE_KWH": Fraction(1), "KOPECK": KOPECK}[rounding])
        check(found == number(step["result"]), f"{step['expression']} is not {step['result']}")
    check(found == number(explanation["result"]), f"the steps do not lead to {explanation['result']}")
    return found


def priced(event: Json, usage: str, books: dict[str, list[Json]]) -> list[Fraction]:
    """Price the lines of a charge, each at the tariff of its period's 1st, and see that they are of the kWh in ``usage``."""
    left, amounts = dict(event[usage]), list[Fraction]()
    book = event["rulebook"].rpartition("/")[2]
    check(book == "0" or book in books, f"publication {book} of the rulebook is not in the pack")
    for i, line in enumerate(event["charges"]):
        rate, kwh = number(line["rate"]), number(line["kwh"])
        left[line["register"]] -= kwh
        if book != "0":
            group, scheme, day = line["tariff"].rsplit("/", 2)
            rows = {r["effective_on"]: r["rates"] for r in books[book] if [r["group"], r["scheme"]] == [group, scheme]}
            in_force = max(since for since in rows if since <= event["period"] + "-01")
            same = in_force == day and number(rows[day][line["register"]][line["range"] - 1]) == rate
            check(same, f"the rulebook has another rate than {line['tariff']}")
        if line["coefficient"] is None:
            amounts.append(half_up(kwh * rate, KOPECK))
        else:
            whole = number(event["charges"][i - 1]["kwh"]) * rate * number(line["coefficient"])
            amounts.append(half_up(whole, KOPECK) - amounts[-1])
        check(amounts[-1] == number(line["amount"]), f"{kwh} kWh at {line['rate']} do not cost {line['amount']}")
    check(not any(left.values()), "its lines are of other kWh than were used")
    return amounts


def sums_of(entry: Entry, books: dict[str, list[Json]]) -> Iterator[tuple[str, Fraction, str, list[list[Any]]]]:
    """List the sums of an entry that must be explained: pointer, roubles, rule, and the numbers that its steps must use."""
    event, charges = entry.event, entry.event.get("charges", [])
    if entry.posts("period-closed"):
        check(sum(priced(event, "usage", books)) == number(event["charged"]), "its lines are not what is charged")
        for i, line in enumerate(charges):
            kwh = line["kwh"] if line["coefficient"] is None else charges[i - 1]["kwh"]
            used = [each for each in (kwh, line["rate"], line["coefficient"]) if each is not None]
            yield f"/event/charges/{i}/amount", number(line["amount"]), line["rule"], [used]
    elif entry.posts("usage-recalculated"):
        after, before = event["money_after"], event["money_before"]
        check(sum(priced(event, "after", books)) == number(after), "its lines are not what it comes to")
        yield "/event/money_after", number(after) - number(before), event["rule"], [[after, before]]
    elif entry.posts("penalty-accrued"):
        for i, part in enumerate(event["sums"]):
            lines = [[x["principal"], x["days"], x["rate"], 100, x["divisor"]] for x in part["lines"]]
            owing = (a * b * c / d / e for a, b, c, d, e in (map(number, line) for line in lines))
            accrued = sum((half_up(sum_of_line, KOPECK) for sum_of_line in owing), Fraction(0))
            check(accrued == number(part["accrued"]), f"the lines of penalty {i} are not what is accrued")
            yield f"/event/sums/{i}/accrued", accrued - number(part["posted_before"]), event["rule"], lines
        new = sum(number(part["accrued"]) - number(part["posted_before"]) for part in event["sums"])
        check(new == number(event["amount"]), "its parts are not its sum")


def judge_sums(pack: Pack, entries: list[Entry], books: dict[str, list[Json]], verdict: Verdict) -> None:
    """Check that every charge, recalculation and penalty is explained, by its own numbers, and nothing else is."""
    told: dict[tuple[int, str], Json] = {}
    for line in pack.lines("explanations.jsonl"):
        check(told.setdefault((line["entry"], line["pointer"]), line) is line, "one is there twice")
    verdict.proven.append(f"{len(told)} charges, recalculations and penalties follow from their explanations")
    for entry in entries:
        with reading(f"entry {entry.version}, {entry.topic}"):
            for pointer, amount, rule, used in sums_of(entry, books):
                check((entry.version, pointer) in told, f"there is no explanation of {pointer}")
                said = told.pop((entry.version, pointer))
                how: Json = said["explanation"]
                numbers = [sorted(map(Fraction, re.findall(r"[\d.]+", step["expression"]))) for step in how["steps"]]
                lacking = [each for each in used if sorted(abs(number(n)) for n in each) not in numbers]
                check(not lacking, f"the explanation of {pointer} does not use {lacking}")
                check(how["rule"] == rule, f"the explanation of {pointer} names another rule")
                right = recompute(how) == amount == number(said["amount"])
                check(right, f"the explanation of {pointer} leads to another sum")
                for source in how["sources"]:
                    rests = entries[source["entry"] - 1].event.get("values", {}) if source["entry"] is not None else {}
                    shown = re.findall(r"\d+", source["value"])
                    check(all(str(value) in shown for value in rests.values()), f"{source['value']} was not read")
    check(not told, f"{sorted(told)[:3]} explain what no entry posts")
    unpublished = any(str(entry.event.get("rulebook")).endswith("/0") for entry in entries)
    verdict.lacks("some sums were found under rules that were never published", unpublished)


def judge_ledger(pack: Pack, entries: list[Entry], verdict: Verdict) -> None:
    """Check that the ledger has every movement of the entries, in their order, and the balance after each."""
    owed = {"ENERGY": Fraction(0), "PENALTY": Fraction(0)}
    stands, posted = dict[str, Fraction](), dict[str, Fraction]()
    rows: list[tuple[str, str, str, Fraction, Fraction]] = []

    def move(kind: str, amount: Fraction, purpose: str = "ENERGY") -> None:
        owed[purpose] += amount
        rows.append((str(entry.version), purpose, kind, amount, owed[purpose]))

    for entry in entries:
        event, kind = entry.event, entry.kind
        if entry.posts("usage-recalculated"):
            before, after = number(event["money_before"]), number(event["money_after"])
            check(stands.get(event["period"], before) == before, f"entry {entry.version}: another sum stood charged")
            stands[event["period"]] = after
            posted[event["posted_in"]] += after - before
            move("RECALCULATION", after - before)
        elif kind in MOVES and (kind != "period-closed" or entry.posts(kind)):
            name, field, sign = MOVES[kind]
            move(name, sign * number(event[field]), event.get("purpose", name if name == "PENALTY" else "ENERGY"))
        if entry.posts("period-closed"):
            stands[event["period"]] = number(event["charged"])
            posted[event["period"]] = -number(event["recalculated"])
        if kind == "balance-carried-over" and number(event["penalty"]):
            move("OPENING", number(event["penalty"]), "PENALTY")
    wrong = sorted(period for period, left in posted.items() if left)
    check(not wrong, f"the bills of {wrong} do not hold the recalculations that were posted with them")
    table = csv.DictReader(pack.text("ledger.csv").split("\n"), strict=True)
    check(len(set(table.fieldnames or ())) == len(table.fieldnames or ()), "two columns have one name")
    told = [(r["entry"], r["purpose"], r["kind"], number(r["amount"]), number(r["balance"])) for r in table]
    same = next((i for i, row in enumerate(rows) if told[i : i + 1] != [row]), len(rows))
    check(told == rows, f"line {same + 2} does not follow from the entries")
    verdict.proven.append(f"{len(rows)} movements of money follow from the entries, with the balance after each")


def judge(file: BinaryIO, keys: Keys, outside: list[Json], proofs: list[Json]) -> tuple[Json, Verdict]:
    """Judge a pack with the keys, seals and proofs that one has from elsewhere; give its manifest and what is proven."""
    verdict = Verdict()
    with reading("the file"):
        pack = Pack(file)
    manifest = judge_manifest(pack)
    account, name, public = manifest["account"], manifest["key"], bytes.fromhex(manifest["public"])
    check(re.fullmatch("[0-9]{7}", account), "manifest.json: it is of no account")
    check(not keys or keys.get(name) == public, f"it is signed by key {name}, which is none of those that you gave")
    known = bool(keys) or any(seal.get("key") == name for seal in outside)
    check(known or not outside, f"it is signed by key {name}, your seals by others: give its public key with --key")
    verdict.proven.append(f"no byte was changed since it was signed by key {name}")
    entries, rules = read_chain(pack, "entries.jsonl", account), read_chain(pack, "rulebook.jsonl", RULEBOOK)
    same = entries and (len(entries), entries[-1].digest) == (manifest["entries"], manifest["head"])
    check(same, "manifest.json: it names another last entry than entries.jsonl has")
    verdict.proven.append(f"{len(entries)} entries follow one from the other, none is missing between them")
    seals = Seals(pack, {name: public, **keys}, {account: entries, RULEBOOK: rules}, outside)
    lacking = seals.judge(pack, proofs, account, known, verdict)
    with reading("messages.jsonl"):
        judge_messages(pack, entries, verdict)
    with reading("explanations.jsonl"):
        books = [entry.event["book"] for entry in rules if entry.kind == "rulebook-published"]
        judge_sums(pack, entries, {str(book["number"]): book["tariffs"] for book in books}, verdict)
    with reading("ledger.csv"):
        judge_ledger(pack, entries, verdict)
    check(not lacking, f"it has no proof for your {lacking}: ask for a pack with it, or for the proof (--proof)", 2)
    carried = sum(entry.kind in ("period-carried-over", "balance-carried-over") for entry in entries)
    verdict.lacks(f"{carried} entries carry over what an earlier system charged: it is taken as it is", carried)
    verdict.lacks("what was sent, acts, photos, names and timeline.html rest on the pack's signature alone")
    verdict.lacks("personal data is masked, words are judged as they were sealed", manifest["personal"] == "masked")
    return manifest, verdict


def read_keys(said: str) -> Keys:
    """Read public keys by name: 64 digits, or a file of JSON in which there are keys of 64 digits."""
    found = re.findall("^[0-9a-f]{64}$", said) or re.findall('"([0-9a-f]{64})"', Path(said).read_text("utf-8"))
    if not found:
        raise ValueError(f"{said} names no public key of 64 hexadecimal digits")
    return {key_name(public): public for public in map(bytes.fromhex, found)}


def main(arguments: list[str]) -> int:
    """Judge a pack as a person asks for it, say so, and give the exit status."""
    parser = argparse.ArgumentParser(description="Judge an evidence pack: 0 whole, 1 refused, 2 not judged.")
    parser.add_argument("pack", help="the evidence pack, a zip")
    parser.add_argument("--key", action="append", default=[], help="the public key: 64 digits, or a JSON file")
    parser.add_argument("--seal", action="append", default=[], help="a seal that you kept; may be given again")
    parser.add_argument("--proof", action="append", default=[], help="a proof for such a seal, from the supplier")
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    asked = parser.parse_args(arguments)
    try:
        keys = {name: public for said in asked.key for name, public in read_keys(said).items()}
        mine = [[dict(parse(Path(x).read_text("utf-8"))) for x in each] for each in (asked.seal, asked.proof)]
        with Path(asked.pack).open("rb") as file:
            manifest, verdict, refused, status = *judge(file, keys, *mine), None, 0
    except Refused as why:
        manifest, verdict, refused, status = {}, Verdict(), str(why.args[0]), int((*why.args, 1)[1])
    except (OSError, ValueError, TypeError, RecursionError) as error:
        parser.error(str(error))
    lines = [f"The pack of account {manifest['account']} is whole and follows."] if not refused else []
    lines += [f"{('', 'REFUSED', 'NOT JUDGED')[status]}: {refused}"] if refused else []
    lines += [f"  + {said}" for said in verdict.proven] + [f"  - not proven: {said}" for said in verdict.open]
    if refused is None and not (asked.key or asked.seal):
        lines.append(f"NOTHING SAYS YET THAT THE SUPPLIER MADE IT: the pack names its key itself, {manifest['public']}")
        lines.append("Compare it with the key that the supplier publishes, and give that: --key, or a seal: --seal.")
    said = {"refused": refused, "account": manifest.get("account"), "key": manifest.get("public"), **vars(verdict)}
    shown = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)
    sys.stdout.write((json.dumps(said, indent=2) if asked.json else "\n".join(shown)) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
