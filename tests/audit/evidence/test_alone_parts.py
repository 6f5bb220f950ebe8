"""Every check of the stand-alone verifier by itself: one part of a pack altered, and signed again by the supplier."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from bels.audit.evidence import verify_evidence
from bels.audit.evidence.verify_evidence import Refused, calculate, half_up, root, root_of_path, share
from bels.audit.seals import merkle
from bels.domain.apportion import apportion
from bels.journal.journal import RULEBOOK
from tests.audit.evidence.packs import (
    FORGER,
    HOME,
    Alter,
    Files,
    Made,
    altered,
    changed_line,
    changed_state,
    files_of,
    lines_of,
    packed,
    put_lines,
    rechained,
    seal_signed,
    states,
    verdict_of,
)


def _any(_: dict[str, Any]) -> bool:
    return True


def _again(name: str) -> Alter:
    def alter(files: Files) -> None:
        files[name] += files[name].splitlines(keepends=True)[0]

    return alter


def _swapped(files: Files) -> None:
    entries = lines_of(files, "entries.jsonl")
    entries[7], entries[8] = entries[8], entries[7]
    put_lines(files, "entries.jsonl", entries)


def _renumbered(files: Files) -> None:
    _swapped(files)
    rechained(files)


def _cut(files: Files) -> None:
    put_lines(files, "entries.jsonl", lines_of(files, "entries.jsonl")[:30])


def _inserted_entry(files: Files) -> None:
    entries = lines_of(files, "entries.jsonl")
    put_lines(files, "entries.jsonl", [*entries[:20], dict(entries[20]), *entries[20:]])
    rechained(files)


def _pointed(pointer: str) -> Callable[[dict[str, Any]], bool]:
    return lambda line: bool(line["pointer"].endswith(pointer))


def _explained(change: Callable[[dict[str, Any]], Any], pointer: str = "/charges/0/amount") -> Alter:
    return changed_line("explanations.jsonl", _pointed(pointer), lambda line: change(line["explanation"]))


def _proof(number: int, account: str, change: Callable[[dict[str, Any]], Any]) -> Alter:
    return changed_line("proofs.jsonl", lambda p: p["seal"]["number"] == number and p["account"] == account, change)


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda said: said.update({name: value})


def _without(name: str) -> Alter:
    def alter(files: Files) -> None:
        del files[name]

    return alter


def _wrote(name: str, content: bytes) -> Alter:
    return lambda files: files.update({name: content})


def _replaced(name: str, old: bytes, new: bytes) -> Alter:
    def alter(files: Files) -> None:
        assert old in files[name], files[name]
        files[name] = files[name].replace(old, new, 1)

    return alter


ALTERED: dict[str, tuple[Alter, str]] = {
    "a file is missing": (_without("log.json"), "manifest.json: it lacks .*log.json"),
    "a state was changed": (
        changed_state("payment-received", "1500.00", "1000.00"),
        "entry 31: its digest does not follow",
    ),
    "a topic was changed": (
        changed_line("entries.jsonl", _any, _set("topic", "account-opened.2")),
        "entry 1: its digest",
    ),
    "a content was changed": (changed_line("entries.jsonl", _any, _set("content", "00" * 16)), "entry 1: its digest"),
    "an entry was taken out": (
        changed_line("entries.jsonl", _any, lambda e: e.clear()),
        "missing or out of order: 2 is here",
    ),
    "entries were swapped": (_swapped, "entry 8: missing or out of order"),
    "entries were swapped and chained": (_renumbered, "history was rewritten"),
    "the tail was cut": (_cut, "the tail was cut"),
    "an entry was put in and chained": (_inserted_entry, "history was rewritten"),
    "a rule was changed": (_replaced("rulebook.jsonl", b"5.38", b"5.39"), "rulebook.jsonl, entry 1: its digest"),
    "a line is not whole": (
        lambda files: files.update({"proofs.jsonl": files["proofs.jsonl"].rstrip()}),
        "proofs.jsonl: the last line is not whole",
    ),
    "two lines are one": (_replaced("proofs.jsonl", b"}\n", b"}"), "proofs.jsonl: not of its form"),
    "no JSON": (_wrote("proofs.jsonl", b"[[[\n"), "proofs.jsonl: not of its form"),
    "no UTF-8": (_wrote("explanations.jsonl", b"\xff\n"), "explanations.jsonl: not of its form"),
    "endless brackets": (_wrote("log.json", b"[" * 100_000), "log.json: not of its form"),
    "a list for an object": (_wrote("seal.json", b"[]"), "seal.json: not of its form"),
    "a number for a text": (changed_line("messages.jsonl", _any, _set("raw", 7)), "messages.jsonl: not of its form"),
    "the seal was changed": (
        _replaced("seal.json", b'"entries": ', b'"entries": 1'),
        "signature of seal 2 .* not hold",
    ),
    "the seal says more": (_replaced("seal.json", b'"entries": ', b'"more": 1, "entries": '), "it is no seal"),
    "no seal": (_wrote("seal.json", b"null"), "seal.json: log.json has 1 leaves, it counts 0"),
    "a leaf was changed": (_wrote("log.json", b'{"leaves": ["' + b"0" * 64 + b'"]}'), "log.json has another root"),
    "a leaf was taken out": (_wrote("log.json", b'{"leaves": []}'), "log.json has 0 leaves, it counts 1"),
    "a path leads elsewhere": (_proof(2, HOME, _set("path", ["00" * 32])), "history was rewritten"),
    "a path is too long": (_proof(2, HOME, lambda p: p["path"].append("00" * 32)), "history was rewritten"),
    "a proof is of another place": (_proof(2, HOME, lambda p: p.update(index=1 - p["index"])), "history was rewritten"),
    "a proof is of another tree": (_proof(2, HOME, _set("size", 3)), "has 2 heads, not 3"),
    "a proof is of another entry": (_proof(1, HOME, _set("version", 18)), "entry 18 .* is not what seal 1 .* knows"),
    "a proof is of no entry": (_proof(1, HOME, _set("version", 0)), "it is of no entry"),
    "a proof is of a stranger": (_proof(1, HOME, _set("account", "1000002")), "of whom the pack does not tell"),
    "a proof is by another seal": (
        _proof(1, HOME, lambda p: p["seal"].update(entries=1)),
        "is not the one that the pack counts",
    ),
    "the newest proof is left out": (_proof(2, HOME, lambda p: p.clear()), "nothing leads from 1000001 to the newest"),
    "the rulebook's is left out": (
        _proof(2, RULEBOOK, lambda p: p.clear()),
        "nothing leads from rulebook to the newest",
    ),
    "all proofs are left out": (_wrote("proofs.jsonl", b""), "says that it is older than seal 2"),
    "a message has other words": (
        changed_line("messages.jsonl", _any, _set("raw", "x")),
        "the words of .* were changed",
    ),
    "a message has another digest": (
        changed_line("messages.jsonl", _any, lambda m: m.update(raw="", content="cae66941d9efbd404e4d88758ea67670")),
        r"the message of entry \d+ is not there, or had other words",
    ),
    "a message is left out": (
        changed_line("messages.jsonl", _any, lambda m: m.clear()),
        r"the message of entry \d+ is not there, or had other words",
    ),
    "a message is there twice": (_again("messages.jsonl"), "messages.jsonl: .* is there twice"),
    "an explanation is left out": (
        changed_line("explanations.jsonl", _any, lambda e: e.clear()),
        r"period-closed.2: there is no explanation of /event/charges/0/amount",
    ),
    "a recalculation is not explained": (
        changed_line("explanations.jsonl", _pointed("money_after"), lambda e: e.clear()),
        "usage-recalculated.2: there is no explanation of /event/money_after",
    ),
    "a penalty is not explained": (
        changed_line("explanations.jsonl", _pointed("accrued"), lambda e: e.clear()),
        "penalty-accrued.1: there is no explanation of /event/sums/0/accrued",
    ),
    "an explanation is there twice": (_again("explanations.jsonl"), "explanations.jsonl: one is there twice"),
    "an explanation is of nothing": (
        changed_line("explanations.jsonl", _any, _set("pointer", "/event/charged")),
        "there is no explanation of",
    ),
    "an explanation is too many": (
        lambda files: files.update(
            {"explanations.jsonl": files["explanations.jsonl"] + b'{"entry": 1, "pointer": ""}\n'}
        ),
        "explain what no entry posts",
    ),
    "an explained sum is another": (
        changed_line("explanations.jsonl", _any, _set("amount", "1.00")),
        "leads to another sum",
    ),
    "a result does not follow": (_explained(_set("result", "1.00")), "the steps do not lead to 1.00"),
    "a step does not follow": (_explained(lambda e: e["steps"][0].update(result="7")), "is not 7"),
    "a step uses other numbers": (_explained(lambda e: e.update(steps=e["steps"][:-1])), "does not use"),
    "a step is no expression": (
        _explained(lambda e: e["steps"][0].update(expression="2 ** 3")),
        "explanations.jsonl: .*not of its form",
    ),
    "a step calls a program": (_explained(lambda e: e["steps"][0].update(expression="exit()")), "is no expression"),
    "a step divides by nothing": (_explained(lambda e: e["steps"][0].update(expression="1 / 0")), "not of its form"),
    "a step is rounded in a new way": (_explained(lambda e: e["steps"][0].update(rounding="DOWN")), "not of its form"),
    "an explanation rests on no entry": (_explained(lambda e: e["sources"][0].update(entry=999)), "not of its form"),
    "a reading was another one": (
        _explained(lambda e: e["sources"][0].update(value="1311 от 20 января")),
        "was not read",
    ),
    "an explanation names another rule": (_explained(_set("rule", "ZHK155")), "names another rule"),
    "a share is of no place": (
        changed_line(
            "explanations.jsonl",
            lambda line: any(s["weights"] for s in line["explanation"]["steps"]),
            lambda line: [s.update(place=-1) for s in line["explanation"]["steps"]],
        ),
        "this cannot be shared",
    ),
    "a penalty uses other numbers": (
        _explained(lambda e: e.update(steps=e["steps"][1:]), "/sums/0/accrued"),
        "does not use",
    ),
    "the ledger has another sum": (_replaced("ledger.csv", b"812.40", b"812.41"), "line 2 does not follow"),
    "the ledger misses its end": (
        lambda files: files.update({"ledger.csv": b"\r\n".join(files["ledger.csv"].split(b"\r\n")[:-2]) + b"\r\n"}),
        "line 22 does not follow",
    ),
    "the ledger has a line too many": (
        lambda files: files.update(
            {"ledger.csv": files["ledger.csv"] + files["ledger.csv"].split(b"\r\n")[1] + b"\r\n"}
        ),
        "line 23 does not follow",
    ),
    "a sum is there twice": (
        _replaced("explanations.jsonl", b'"amount":"', b'"amount":"1.00","amount":"'),
        "explanations.jsonl: a name is there twice",
    ),
    "a leaf is there twice": (_replaced("log.json", b"{", b'{"leaves": [], '), "log.json: a name is there twice"),
    "a number that is none": (_proof(1, HOME, _set("index", float("nan"))), "proofs.jsonl: not of its form"),
    "a place that is not whole": (_proof(1, HOME, _set("index", 0.0)), "no tree of this size has such a leaf"),
    "a version that is not whole": (changed_line("entries.jsonl", _any, _set("version", 1.0)), "entry 1: not of its"),
    "a sum without end": (_replaced("ledger.csv", b"812.40", b"1e999999999"), "'1e999999999' is no number"),
    "a sum in other digits": (_replaced("ledger.csv", b"812.40", "٨١٢.٤٠".encode()), "is no number"),
    "a sum that is a fraction": (changed_line("explanations.jsonl", _any, _set("amount", "3/7")), "'3/7' is no number"),
    "the ledger has a column twice": (_replaced("ledger.csv", b"amount", b"balance,amount"), "two columns have one"),
    "the ledger has no heading": (
        lambda files: files.update({"ledger.csv": b"\r\n".join(files["ledger.csv"].split(b"\r\n")[1:])}),
        "ledger.csv: two columns have one name",
    ),
    "names are there that should be masked": (_wrote("personal.json", b"{}"), "personal data is there"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_part_is_refused_although_the_supplier_signed_it(made: Made, name: str) -> None:
    alter, why = ALTERED[name]
    pack = altered(made.pack, made.key, alter)
    with pytest.raises(Refused, match=why):
        verdict_of(pack)


REWRITTEN: dict[str, tuple[Alter, str]] = {
    "a rate that is not in the rulebook": (
        changed_state("period-closed", '"rate":"6.', '"rate":"7.'),
        "has another rate than",
    ),
    "a tariff of another day": (
        changed_state("period-closed", "/single/2022-12-01", "/single/2021-07-01"),
        "has another rate than",
    ),
    "a publication that is not there": (
        changed_state("period-closed", '/1"', '/7"'),
        "publication 7 of the rulebook is not",
    ),
    "kWh that cost something else": (
        changed_state(
            "period-closed", '"charges":[{"register":"total","kwh":', '"charges":[{"register":"total","kwh":1'
        ),
        "do not cost",
    ),
    "kWh that were not used": (
        changed_state("period-closed", '"usage":{"total":', '"usage":{"total":1'),
        "of other kWh",
    ),
    "kWh that were not used, in a recalculation": (
        changed_state("usage-recalculated", '"after":{"total":', '"after":{"total":1'),
        "of other kWh",
    ),
    "a penalty for more days": (changed_state("penalty-accrued", '"days":', '"days":1'), "not what is accrued"),
    "a charge that is not its lines": (
        changed_state("period-closed", '"charged":"', '"charged":"1'),
        "are not what is charged",
    ),
    "recalculations that the bill does not hold": (
        changed_state("period-closed", '"recalculated":"', '"recalculated":"1'),
        "do not hold the recalculations",
    ),
    "a recalculation that is not its lines": (
        changed_state("usage-recalculated", '"money_after":"', '"money_after":"1'),
        "are not what it comes to",
    ),
    "a recalculation of what did not stand": (
        changed_state("usage-recalculated", '"money_before":"', '"money_before":"1'),
        "does not use|stood charged",
    ),
    "penalties that are not their lines": (
        changed_state("penalty-accrued", '"accrued":"', '"accrued":"1'),
        "not what is accrued",
    ),
    "penalties that are not their parts": (
        changed_state("penalty-accrued", '"amount":"5.15","rulebook"', '"amount":"6.15","rulebook"'),
        "its parts are not its sum",
    ),
    "a payment that is not in the ledger": (
        changed_state("payment-received", "1500.00", "1000.00"),
        r"ledger.csv: line \d+ does not follow",
    ),
    "an opening balance that is not in the ledger": (
        changed_state("balance-carried-over", "812.40", "12.40"),
        "ledger.csv: line 2 does not follow",
    ),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_entries_that_do_not_add_up_are_refused_although_everything_was_made_anew(made: Made, name: str) -> None:
    alter, why = REWRITTEN[name]
    with pytest.raises(Refused, match=why):
        verdict_of(made.forged(alter), key=made.public)


def _stood_less(files: Files) -> None:
    """Say in a recalculation and in its explanation that 100 roubles less stood charged before."""
    for name in ("entries.jsonl", "explanations.jsonl"):
        lines = []
        for line in lines_of(files, name):
            said = json.dumps(line, ensure_ascii=False)
            if line.get("pointer") == "/event/money_after" or line.get("topic") == "usage-recalculated.2":
                for stood, less in (("686.46", "586.46"), ("161.52", "261.52"), ("215.36", "315.36")):
                    said = said.replace(stood, less)
            lines.append(json.loads(said))
        put_lines(files, name, lines)


def test_a_recalculation_of_what_did_not_stand_is_refused_although_it_is_explained(made: Made) -> None:
    with pytest.raises(Refused, match=r"ledger.csv: entry 27: another sum stood charged"):
        verdict_of(made.forged(_stood_less), key=made.public)


def test_an_account_that_a_seal_knows_twice_is_refused(made: Made) -> None:
    def alter(files: Files) -> None:
        proofs = lines_of(files, "proofs.jsonl")
        put_lines(files, "proofs.jsonl", [*proofs, dict(proofs[-1]) | {"account": HOME, "version": 30}])

    with pytest.raises(Refused, match=r"two proofs for seal 2 .* differ"):
        verdict_of(made.forged(alter))


def test_a_seal_with_a_number_that_is_none_is_refused(made: Made) -> None:
    def alter(files: Files) -> None:
        files["seal.json"] = json.dumps(
            seal_signed(json.loads(files["seal.json"]) | {"accounts": 2.5}, made.key)
        ).encode()

    with pytest.raises(Refused, match=r"seal.json: its numbers are none"):
        verdict_of(altered(made.pack, made.key, alter))


def test_what_is_made_anew_without_a_change_is_whole(made: Made) -> None:
    """The forger's tools make good packs: what is refused above is refused for what was altered."""
    assert verdict_of(made.forged(lambda files: None), key=made.public).proven


def test_the_manifest_is_held_to_its_word(made: Made) -> None:
    files = files_of(made.pack)
    public = FORGER.public_key().public_bytes_raw().hex()
    for said, why in (
        ({"format": "bels evidence 2"}, "does not read 'bels evidence 2'"),
        ({"key": "0" * 16}, "the key is not named as it should be"),
        ({"public": public}, "the key is not named as it should be"),
        (
            {"public": public, "key": verify_evidence.key_name(bytes.fromhex(public))},
            "the signature of the file, which was altered, does not hold",
        ),
        ({"public": "00"}, "the public key has not 64 digits"),
        ({"entries": 44}, "it names another last entry"),
        ({"head": "0" * 64}, "it names another last entry"),
        ({"account": "1000002"}, "entry 1: its digest does not follow"),
        ({"files": []}, "it does not name the files that are there"),
    ):
        with pytest.raises(Refused, match=why):
            verdict_of(packed(files, made.key, **said))
    manifest = json.loads(files["manifest.json"])
    for name, value, why in (("sha256", "0" * 64, "is not what was packed"), ("size", 1, "is not what was packed")):
        listed = [dict(file) for file in manifest["files"]]
        listed[0][name] = value
        with pytest.raises(Refused, match=why):
            verdict_of(packed(files, made.key, files=listed))
    with pytest.raises(Refused, match="not in order of name"):
        verdict_of(packed(files, made.key, files=[*manifest["files"], manifest["files"][0]]))


def test_an_entry_that_says_it_is_older_than_a_seal_that_does_not_know_it_is_refused(made: Made) -> None:
    def alter(files: Files) -> None:
        entries = lines_of(files, "entries.jsonl")
        state = json.loads(entries[38]["state"])
        entries[38]["state"] = entries[38]["state"].replace(state["recorded_at"], "2026-03-02T00:00:00Z")
        put_lines(files, "entries.jsonl", entries)
        rechained(files)

    with pytest.raises(Refused, match="entry 39 of 1000001 says that it is older than seal 1"):
        verdict_of(altered(made.pack, made.key, alter))


def test_an_older_entry_behind_one_that_is_not_is_refused_too(made: Made) -> None:
    def alter(files: Files) -> None:
        entries = lines_of(files, "entries.jsonl")
        last = json.loads(entries[-1]["state"])
        entries[-1]["state"] = entries[-1]["state"].replace(last["recorded_at"], "2026-03-02T00:00:00Z")
        put_lines(files, "entries.jsonl", entries)
        rechained(files)

    with pytest.raises(Refused, match="entry 45 of 1000001 says that it is older than seal 1"):
        verdict_of(altered(made.pack, made.key, alter))


def test_a_state_that_says_two_things_is_refused_although_everything_was_made_anew(made: Made) -> None:
    with pytest.raises(Refused, match=r"entries.jsonl, entry \d+: a name is there twice"):
        verdict_of(made.forged(changed_state("payment-received", '"amount":', '"amount":"1.00","amount":')))


def test_a_pack_of_the_rules_is_none_of_an_account(made: Made) -> None:
    files = files_of(made.pack)
    files["entries.jsonl"] = files["rulebook.jsonl"]
    with pytest.raises(Refused, match="it is of no account"):
        verdict_of(packed(files, made.key, account=RULEBOOK))


def test_a_reference_with_a_line_of_its_own_breaks_no_row_of_the_ledger(made: Made) -> None:
    def alter(files: Files) -> None:
        head, row, *rest = files["ledger.csv"].split(b"\r\n")
        files["ledger.csv"] = b"\r\n".join(
            [head + b",more", *(each + ",a\u2028b\x0bc\x85".encode() for each in (row, *rest) if each), b""]
        )

    assert verdict_of(altered(made.pack, made.key, alter)).proven


def test_an_account_whose_chain_did_not_hold_when_it_was_sealed_is_refused(made: Made) -> None:
    def alter(files: Files) -> None:
        seal = json.loads(files["seal.json"])
        seal = seal_signed(seal | {"faults": [f"{HOME} at 17", "1000002 at 3"]}, made.key)
        files["seal.json"] = json.dumps(seal).encode()
        proofs = lines_of(files, "proofs.jsonl")
        put_lines(files, "proofs.jsonl", [p | ({"seal": seal} if p["seal"]["number"] == 2 else {}) for p in proofs])

    with pytest.raises(Refused, match=r"says that the chain did not hold"):
        verdict_of(altered(made.pack, made.key, alter))


def test_words_that_could_not_be_stored_as_they_came_are_named_and_not_refused(made: Made) -> None:
    def alter(files: Files) -> None:
        lines = lines_of(files, "messages.jsonl")
        lines[0]["raw"] = "a \\x00 in it"
        lines[1] |= {"raw": "sealed:AAAA\\ud800", "said": None}
        put_lines(files, "messages.jsonl", lines)

    told = verdict_of(altered(made.pack, made.key, alter)).open
    assert "2 messages were stored shortened or escaped: their words cannot be digested again" in told


def test_the_states_of_a_pack_are_those_of_the_household(made: Made) -> None:
    kinds = {event for _, state in states(files_of(made.pack)) for event in state["event"]}
    assert {"charges", "money_after", "sums", "balance"} <= kinds


# Its own arithmetic, against ours.


def test_its_trees_are_those_of_the_seals() -> None:
    for size in range(1, 40):
        leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
        assert root(leaves) == merkle.root(leaves)
        for index in range(size):
            path = merkle.inclusion_path(leaves, index)
            assert root_of_path(leaves[index], index, size, path) == root(leaves)
            assert root_of_path(leaves[index], index, size, [*path, bytes(32)]) is None
            assert not path or root_of_path(leaves[index], index, size, path[:-1]) != root(leaves)
            with pytest.raises(Refused, match="no tree of this size"):
                root_of_path(leaves[index], size, size, path)
    assert root([]) == merkle.root([])


def test_its_calculator_is_that_of_a_school() -> None:
    assert calculate("2 + 3 * (4 - 10) / 4") == Decimal("-2.5")
    assert calculate("-35 * 5.93 - (-1)") == Decimal("-206.55")
    assert [half_up(calculate(x), calculate("0.01")) for x in ("0.125", "-0.125", "1 / 3")] == [
        *(calculate(x) for x in ("0.13", "-0.13", "0.33")),
    ]
    chance = random.Random(3)
    for _ in range(300):
        weights = [chance.randrange(60) for _ in range(chance.randrange(1, 6))] + [chance.randrange(1, 32)]
        whole = chance.randrange(5000)
        assert tuple(share(calculate(str(whole)), weights, i) for i in range(len(weights))) == apportion(whole, weights)
    for wrong in (
        "",
        "1 +",
        "(1",
        "1)",
        "1 // 2",
        "2(3)",
        "2 ** 9",
        "1e9",
        "0x10",
        "a",
        "1,5",
        "__import__",
        "1" * 20_000,
        "(" * 999,
    ):
        with pytest.raises((Refused, LookupError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError)):
            calculate(wrong)
