"""A pack is judged without bels: what was altered is refused, wherever it was, and whoever signed it again."""

from __future__ import annotations

import ast
import io
import json
import random
import struct
import subprocess
import sys
import sysconfig
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

from bels.audit.evidence import verify_evidence
from bels.audit.evidence.explanations import verifier_source
from bels.audit.evidence.verify_evidence import Refused
from bels.audit.seals.statement import Seal, published
from tests.audit.evidence.packs import (
    FORGER,
    HOME,
    Files,
    Made,
    altered,
    changed_state,
    files_of,
    lines_of,
    packed,
    put_lines,
    rechained,
    signed,
    verdict_of,
    zipped,
)


def is_refused(pack: bytes) -> bool:
    """Say whether a pack is refused in the proper way."""
    try:
        verdict_of(pack)
    except Refused:
        return True
    return False


# As it is used: by a stranger, who has Python and cryptography and nothing of ours.


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the program and a folder of libraries: cryptography and what it needs."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "verify_evidence.py").write_text(verifier_source(), "utf-8")
    (folder / "libraries").mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for name in ("cryptography", "cffi", "_cffi_backend*"):
        for found in installed.glob(name):
            (folder / "libraries" / found.name).symlink_to(found)
    return folder


ALONE = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
try:
    import bels
except ImportError:
    sys.argv.pop(0)
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    raise SystemExit("bels is at hand")
"""


def asked(stranger: Path, *arguments: str) -> tuple[int, str, str]:
    """Ask the program as a stranger would; give its exit status and what it said."""
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(stranger / "libraries"), "verify_evidence.py", *arguments]
    done = subprocess.run(command, cwd=stranger, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def answered(folder: Path, *arguments: str) -> tuple[int, str]:
    """Ask the program in this process: what it says, and its exit status."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            status = verify_evidence.main([str(folder / x) if x.endswith((".zip", ".json")) else x for x in arguments])
        except SystemExit as end:
            status = int(str(end.code))
    return status, said.getvalue()


def test_a_stranger_judges_a_pack_and_is_told_what_it_proves(made: Made, stranger: Path) -> None:
    (stranger / "evidence.zip").write_bytes(made.pack)
    (stranger / "seal-000001.json").write_text(published(made.seals[0]))
    status, said, errors = asked(stranger, "evidence.zip")
    assert (status, errors) == (0, "")
    assert f"The pack of account {HOME} is whole and follows." in said
    assert f"NOTHING SAYS YET THAT THE SUPPLIER MADE IT: the pack names its key itself, {made.public}" in said

    status, said, _ = asked(stranger, "evidence.zip", "--seal", "seal-000001.json", "--key", made.public)
    assert status == 0
    assert "NOTHING SAYS YET" not in said
    assert f"+ entries 1 to 24 are those that your {seal_name(made.seals[0])} knows" in said
    assert "sealed by seal 2 of 2026-03-05 00:00 UTC, signed with the key that you know" in said
    assert "- not proven: entries 39 to 45 are not sealed yet, only signed in the pack" in said
    assert "- not proven: entries 25 to 45 could have been written anew by whoever has the key" in said
    assert "personal data is masked, words are judged as they were sealed" in said

    (stranger / "altered.zip").write_bytes(made.pack.replace(b"PK", b"pk", 1))
    status, said, errors = asked(stranger, "altered.zip", "--json")
    assert (status, errors) == (1, "")
    assert json.loads(said)["refused"].startswith("the file: ")


def seal_name(seal: Seal) -> str:
    """Name a seal as the program does."""
    return f"seal {seal.number} of {seal.sealed_at:%Y-%m-%d %H:%M} UTC"


def test_it_runs_on_the_oldest_python_that_it_promises_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(verifier_source(), feature_version=(3, 9))
    taken = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    taken |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    tops = {name.partition(".")[0] for name in taken}
    assert tops - sys.stdlib_module_names == {"cryptography"}
    assert all(find_spec(name) is not None for name in tops)
    # Types joined by a bar are read there only where nobody works them out.
    assert "isinstance" not in verifier_source() or " | " not in "".join(
        ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "isinstance"
    )


def test_it_answers_as_json_and_by_its_exit_status(made: Made, tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").write_bytes(made.pack)
    (tmp_path / "keys.json").write_text(made.keys)
    (tmp_path / "none.json").write_text("{}")
    (tmp_path / "list.json").write_text("[1]")
    status, said = answered(tmp_path, "evidence.zip", "--key", "keys.json", "--json")
    told = json.loads(said)
    assert (status, told["refused"], told["account"], told["key"]) == (0, None, HOME, made.public)
    assert len(told["proven"]) == 6
    assert len(told["open"]) == 5

    assert answered(tmp_path, "nowhere.zip")[0] == 2
    assert answered(tmp_path, "evidence.zip", "--key", "nowhere.json")[0] == 2
    assert answered(tmp_path, "evidence.zip", "--key", "none.json")[0] == 2
    assert answered(tmp_path, "evidence.zip", "--key", "12ab")[0] == 2
    assert answered(tmp_path, "evidence.zip", "--seal", "list.json")[0] == 2
    assert answered(tmp_path, "evidence.zip", "--wrong")[0] == 2
    status, said = answered(tmp_path, "evidence.zip", "--seal", "none.json")
    assert status == 1
    assert "your seals by others" in said
    status, said = answered(tmp_path, "evidence.zip", "--seal", "none.json", "--key", "keys.json")
    assert status == 1
    assert "REFUSED: --seal: not of its form" in said
    status, said = answered(tmp_path, "evidence.zip", "--key", FORGER.public_key().public_bytes_raw().hex())
    assert status == 1
    assert "which is none of those that you gave" in said


# Altered bytes.


def test_a_pack_with_any_byte_altered_is_refused(made: Made) -> None:
    chance = random.Random(7)
    pack = bytearray(made.small)
    assert not is_refused(bytes(pack))
    for place in range(len(pack)):
        bits = range(8) if place % 29 == 0 else (chance.randrange(8),)
        for bit in bits:
            pack[place] ^= 1 << bit
            assert is_refused(bytes(pack)), (place, bit)
            pack[place] ^= 1 << bit
    assert not is_refused(bytes(pack))


def test_a_long_pack_with_an_altered_byte_is_refused_wherever_it_is(made: Made) -> None:
    chance = random.Random(11)
    for place in sorted(chance.sample(range(len(made.pack)), 300)):
        pack = bytearray(made.pack)
        pack[place] ^= 1 << chance.randrange(8)
        assert is_refused(bytes(pack)), place


def test_a_pack_that_was_cut_is_refused(made: Made) -> None:
    for length in {*range(0, len(made.small), 37), *range(len(made.small) - 200, len(made.small))}:
        assert is_refused(made.small[:length]), length
        assert is_refused(made.small[length + 1 :]), length


def test_a_pack_that_was_added_to_is_refused(made: Made) -> None:
    for more in (b"\0", b"\n", b"0", b"x" * 200, made.small):
        assert is_refused(made.small + more)
        assert is_refused(more + made.small)
    for place in range(1, len(made.small), 97):
        assert is_refused(made.small[:place] + b"\0" + made.small[place:]), place
    file = io.BytesIO(made.small)
    with ZipFile(file, "a") as archive:
        archive.writestr("note.txt", "nothing")
    assert is_refused(file.getvalue())


def test_a_pack_whose_files_were_swapped_or_zipped_again_is_refused(made: Made) -> None:
    files, signature = files_of(made.pack), made.pack[-128:]
    again = zipped(files)[:-128] + signature
    assert is_refused(again)
    files["acts.jsonl"], files["sent.jsonl"] = b"{}\n", b"{}\n"
    files["photos.jsonl"], files["timeline.html"] = files["timeline.html"], files["photos.jsonl"]
    assert is_refused(zipped(files)[:-128] + signature)
    assert is_refused(signed(zipped(files), made.key))


def _inserted(pack: bytes, place: int, junk: bytes) -> bytes:
    """Put bytes in front of the directory, and let its end say so."""
    body = pack[:place] + junk + pack[place:]
    end = len(body) - 22 - 128
    fields = list(struct.unpack("<4s4H2LH", body[end : end + 22]))
    fields[6] += len(junk)
    return body[:end] + struct.pack("<4s4H2LH", *fields) + body[end + 22 :]


def test_a_zip_that_can_be_read_in_two_ways_is_refused_whoever_signed_it(made: Made) -> None:
    files = files_of(made.pack)
    plain = packed(files, made.key)
    assert not is_refused(plain)
    directory = struct.unpack("<L", plain[-128 - 6 : -128 - 2])[0]
    forged = {
        "between files and directory": _inserted(plain, directory, b"junk"),
        "in front of all": b"junk" + plain,
        "another name in front of the data": plain.replace(b"timeline.html", b"timeline.HTML", 1),
        "another size in front of the data": plain[:22] + b"\1" + plain[23:],
        "a name that leads out": plain.replace(b"timeline.html", b"../eline.html"),
        "a name twice": plain.replace(b"sent.jsonl", b"acts.jsonl"),
        "a name in other letters": plain.replace(b"sent.jsonl", b"ACTS.jsonl"),
        "encrypted": plain.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
    }
    for name, body in forged.items():
        assert body != plain, name
        with pytest.raises(Refused, match=r"^(the file|manifest.json): "):
            verdict_of(signed(body, made.key))


def test_a_zip_that_would_fill_the_memory_is_refused(made: Made) -> None:
    plain = packed(files_of(made.pack), made.key)
    bomb = bytearray(plain)
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = -1
        while (at := plain.find(mark, at + 1)) >= 0:
            bomb[at + place : at + place + 4] = b"\xf0\xff\xff\xff"
    with pytest.raises(Refused, match="fill the memory"):
        verdict_of(signed(bytes(bomb), made.key))
    # A file that unpacks to more than it says ends where it said.
    short = bytearray(plain)
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = plain.find(mark)
        short[at + place : at + place + 4] = b"\1\0\0\0"
    with pytest.raises(Refused):
        verdict_of(signed(bytes(short), made.key))


# Somebody with a key: the supplier's, or one of his own.


def _less_paid(files: Files) -> None:
    """Let a household have paid 500 roubles less, and make the ledger fit."""
    entries, less = lines_of(files, "entries.jsonl"), Decimal("500.00")
    entry = next(e for e in entries if e["topic"] == "payment-received.2")
    entry["state"] = entry["state"].replace('"1500.00"', '"1000.00"')
    put_lines(files, "entries.jsonl", entries)
    head, *rows = files["ledger.csv"].decode().splitlines()
    columns, told = head.split(","), []
    for row in rows:
        cells = dict(zip(columns, row.split(","), strict=True))
        if int(cells["entry"]) >= entry["version"] and cells["purpose"] == "ENERGY":
            cells["balance"] = str(Decimal(cells["balance"]) + less)
            if int(cells["entry"]) == entry["version"]:
                cells["amount"] = str(Decimal(cells["amount"]) + less)
        told.append(",".join(cells.values()))
    files["ledger.csv"] = "\r\n".join([head, *told, ""]).encode()


def test_who_makes_all_of_it_anew_is_refused_where_the_key_or_a_seal_is_known(made: Made) -> None:
    forged = made.forged(_less_paid, FORGER)
    assert any("signed with the pack's own key" in said for said in verdict_of(forged).proven)
    with pytest.raises(Refused, match="none of those that you gave"):
        verdict_of(forged, key=made.public)
    with pytest.raises(Refused, match="your seals by others"):
        verdict_of(forged, made.seals[0])


def test_who_has_stolen_the_key_is_refused_by_a_seal_that_was_kept(made: Made) -> None:
    forged = made.forged(_less_paid)
    assert verdict_of(forged, key=made.public).proven
    for key in (None, made.public):
        with pytest.raises(Refused, match=r"seal 2 .* is not the one that the pack counts"):
            verdict_of(forged, made.seals[1], key=key)
        with pytest.raises(Refused, match=r"seal 2 .* is not the one that the pack counts"):
            verdict_of(forged, *made.seals, key=key)
    # Seal 1 is older than what was forged, and the verdict says from where on it proves nothing.
    told = verdict_of(forged, made.seals[0])
    assert "entries 25 to 45 could have been written anew by whoever has the key" in told.open


def test_who_has_stolen_the_key_and_writes_what_an_old_seal_knows_is_refused_by_it(made: Made) -> None:
    forged = made.forged(changed_state("balance-carried-over", '"penalty":"3.17"', '"penalty":"0.00"'))
    with pytest.raises(Refused, match=r"seal 1 .* is not the one that the pack counts"):
        verdict_of(forged, made.seals[0], key=made.public)


def test_who_keeps_the_seals_and_writes_the_entries_anew_is_refused_without_any_copy(made: Made) -> None:
    def alter(files: Files) -> None:
        _less_paid(files)
        rechained(files)

    with pytest.raises(Refused, match=rf"of {HOME} is not what seal 2 .* knows: history was rewritten"):
        verdict_of(altered(made.pack, made.key, alter))


def test_a_seal_that_was_kept_proves_the_entries_that_it_knows(made: Made) -> None:
    first, second = (seal_name(seal) for seal in made.seals)
    told = verdict_of(made.pack, *made.seals)
    assert told.proven[2:4] == [
        f"entries 1 to 24 are those that your {first} knows",
        f"entries 1 to 38 are those that your {second} knows",
    ]
    assert "entries 39 to 45 could have been written anew by whoever has the key" in told.open
    with pytest.raises(Refused, match="--seal: two seals have one number"):
        verdict_of(made.pack, made.seals[0], made.seals[0])
    with pytest.raises(Refused, match=f"--seal: the signature of {first} does not hold"):
        verdict_of(made.pack, replace(made.seals[0], entries=1))
    with pytest.raises(Refused, match=f"--seal: the signature of {first} does not hold"):
        verdict_of(made.pack, replace(made.seals[0], signature=bytes(64)))


def test_a_seal_without_a_proof_in_the_pack_needs_the_suppliers_proof(made: Made, tmp_path: Path) -> None:
    def alter(files: Files) -> None:
        put_lines(files, "proofs.jsonl", [p for p in lines_of(files, "proofs.jsonl") if p["seal"]["number"] == 2])

    pack = altered(made.pack, made.key, alter)
    with pytest.raises(Refused, match=r"it has no proof for your seal 1 .* \(--proof\)"):
        verdict_of(pack, made.seals[0])
    (tmp_path / "evidence.zip").write_bytes(pack)
    (tmp_path / "seal.json").write_text(published(made.seals[0]))
    (tmp_path / "proof.json").write_text(json.dumps(made.proofs[1]))
    # Nothing contradicts such a pack: it is not called a forgery.
    status, said = answered(tmp_path, "evidence.zip", "--seal", "seal.json")
    assert status == 2
    assert said.startswith("NOT JUDGED: it has no proof for your seal 1")
    status, said = answered(tmp_path, "evidence.zip", "--seal", "seal.json", "--proof", "proof.json")
    assert status == 0
    told = verdict_of(pack, made.seals[0], proofs=[made.proofs[1]])
    assert f"entries 1 to 24 are those that your {seal_name(made.seals[0])} knows" in told.proven
    assert f"the rulebook is not tied to your {seal_name(made.seals[0])}" in told.open
    with pytest.raises(Refused, match=r"proofs.jsonl: "):
        verdict_of(pack, made.seals[0], proofs=[made.proofs[1] | {"version": 18}])


def test_a_seal_that_is_newer_than_the_pack_proves_it_by_the_suppliers_proof(made: Made) -> None:
    with pytest.raises(Refused, match="it has no proof for your seal 3"):
        verdict_of(made.pack, made.later)
    told = verdict_of(made.pack, made.later, proofs=[made.proofs[3]])
    assert f"entries 1 to 45 are those that your {seal_name(made.later)} knows" in told.proven
    assert not any("not sealed yet" in said or "written anew" in said for said in told.open)
    with pytest.raises(Refused, match="newer than those that the pack counts"):
        verdict_of(made.pack, proofs=[made.proofs[3]])


def test_a_key_that_came_after_the_seals_is_known_by_all_published_keys(made: Made, tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").write_bytes(made.rotated)
    (tmp_path / "keys.json").write_text(made.keys)
    (tmp_path / "seal.json").write_text(published(made.seals[0]))
    status, said = answered(tmp_path, "evidence.zip")
    assert status == 1
    assert "seal.json: seal 3 of " in said
    assert "give its public key with --key" in said
    assert answered(tmp_path, "evidence.zip", "--key", "keys.json", "--seal", "seal.json")[0] == 0
    assert "your seals by others" in answered(tmp_path, "evidence.zip", "--seal", "seal.json")[1]


def test_a_pack_from_before_the_first_seal_says_so(made: Made) -> None:
    told = verdict_of(made.unsealed)
    assert "entries 1 to 2 are not sealed yet, only signed in the pack" in told.open
    with pytest.raises(Refused, match=r"none of those|by others"):
        verdict_of(made.unsealed, made.seals[0])


def test_a_pack_with_names_photos_and_hostile_words_is_judged_like_any_other(masked: bytes, included: bytes) -> None:
    for pack in (masked, included):
        told = verdict_of(pack)
        assert "no byte was changed since it was signed by key" in told.proven[0]
        assert any(said.startswith("personal data is masked") for said in told.open) == (pack is masked)


def test_what_a_pack_says_cannot_speak_to_the_terminal_or_as_the_program(made: Made, tmp_path: Path) -> None:
    def alter(files: Files) -> None:
        messages = lines_of(files, "messages.jsonl")
        messages[0]["receipt"] = messages[1]["receipt"] = "\x1b[2J\nThe pack is whole and follows.\u202e"
        put_lines(files, "messages.jsonl", messages)

    (tmp_path / "evidence.zip").write_bytes(altered(made.pack, made.key, alter))
    status, said = answered(tmp_path, "evidence.zip")
    assert (status, said.count("\n")) == (1, 1)
    assert said.rstrip().isprintable()
    assert r"REFUSED: messages.jsonl: \x1b[2J\nThe pack is whole and follows.\u202e is there twice" in said
