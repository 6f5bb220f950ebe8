"""What is agreed with banks about files: read as data, refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bels.commands_of_partners import check_contracts
from bels.exchanging import check_exchange
from bels.payments.exchange.contracts import exchange_of
from bels.payments.partners import SECTIONS, Partner, PartnersError

EXAMPLE = Path(__file__).parents[3] / "deploy" / "partners" / "partners.toml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJlbHNiZWxzYmVsc2JlbHNiZWxzYmVsc2JlbHNiZWxz"
PULL: dict[str, Any] = {"host": "127.0.0.1", "user": "bels", "key_file": "/etc/bels/x.key", "host_key": KEY}


def partner(**sections: Any) -> Partner:
    """Give a partner with tables."""
    return Partner("c-1", "sber", "Сбербанк", sections=sections)


def test_the_example_of_all_contracts_can_be_used(tmp_path: Path) -> None:
    for name in ("sber.key", "moneta.code"):
        (tmp_path / name).write_text("QWERTY\n", "utf-8")
    table = tmp_path / "partners.toml"
    table.write_text(EXAMPLE.read_text("utf-8").replace("/etc/bels-partners", str(tmp_path)), "utf-8")

    partners = check_contracts(table)

    assert {name for each in partners.partners for name in each.sections} == set(SECTIONS)
    assert [each.name for each in partners.partners] == ["sber", "terminals", "app", "moneta"]
    sber = exchange_of(partners.partners[0])
    assert sber.layout_of("Evening_20240520.TXT") == "evening"
    assert sber.layout_of("other.txt") is None
    assert sber.pull is not None
    assert (len(sber.keys), len(sber.pull.host_keys), sber.pull.fingerprints) == (1, 1, ())


@pytest.mark.parametrize(
    ("below", "where"),
    [
        ("[partner.sber]\n", "partner.sber.nonsense is unknown: addresses, charges, client, "),
        ("[partner.sber.eps]", "partner.sber.eps.nonsense is unknown: balance_sign, encoding, "),
        ("[partner.sber.registers.evening]", "partner.sber.registers.evening.nonsense is unknown: about, bom, "),
        ("[partner.sber.exchange]\n", "partner.sber.exchange.nonsense is unknown: bytes_max, "),
        ("[partner.sber.exchange.pull]", "partner.sber.exchange.pull.nonsense is unknown: done, "),
        ("[partner.sber.charges]", "partner.sber.charges.nonsense is unknown: account, "),
        ("[partner.sber.reconciliation]\n", "partner.sber.reconciliation.nonsense is unknown: accounts, "),
        ("[partner.terminals.osmp]\n", "partner.terminals.osmp.nonsense is unknown: balance_sign, "),
        ("[partner.app.webhooks]\n", "partner.app.webhooks.nonsense is unknown: at_once, "),
        ("[partner.moneta.moneta]\n", "partner.moneta.moneta.nonsense is unknown: api, "),
    ],
)
def test_a_slip_of_the_pen_in_a_contract_is_told_with_the_names_that_there_are(
    below: str, where: str, tmp_path: Path
) -> None:
    for name in ("sber.key", "moneta.code"):
        (tmp_path / name).write_text("QWERTY\n", "utf-8")
    head, found, rest = EXAMPLE.read_text("utf-8").replace("/etc/bels-partners", str(tmp_path)).partition(below)
    assert found
    table = tmp_path / "partners.toml"
    own, _, others = rest.partition("\n")
    table.write_text(f"{head}{found}{own}\nnonsense = 1\n{others}", "utf-8")

    with pytest.raises(PartnersError) as refused:
        check_contracts(table)

    assert str(refused.value).startswith(where)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"keys": "x"}, "keys"),
        ({"keys": ["ssh-ed25519 nothing"]}, "keys"),
        ({"keys": [KEY] * 21}, "keys"),
        ({"files": [{"name": "*.txt"}]}, "files.layout"),
        ({"files": [{"name": "*.txt", "layout": "a", "how": "b"}]}, "files.how"),
        ({"files_max": 0}, "files_max"),
        ({"bytes_max": True}, "bytes_max"),
        ({"shell": True}, "shell"),
        ({"pull": "sftp://bank"}, "pull"),
        ({"pull": {**PULL, "host_key": "any"}}, "pull.host_key"),
        ({"pull": {**PULL, "host_key": []}}, "pull.host_key"),
        ({"pull": {k: v for k, v in PULL.items() if k != "host_key"}}, "pull.host_key"),
        ({"pull": {**PULL, "password": "x"}}, "pull.password"),
        ({"pull": {**PULL, "done": "../x"}}, "pull.done"),
        ({"pull": {**PULL, "port": 70_000}}, "pull.port"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(told: dict[str, Any], word: str) -> None:
    with pytest.raises(PartnersError, match=rf"partner\.sber\.exchange\.{word}"):
        exchange_of(partner(exchange=told))


def test_files_name_registers_that_there_are() -> None:
    files = [{"name": "*.txt", "layout": "evening"}]
    with pytest.raises(PartnersError, match=r"no partner\.sber\.registers\.evening"):
        check_exchange([partner(exchange={"files": files})])
    check_exchange([partner(exchange={"files": files}, registers={"evening": {"layout": "sber-evening"}})])


def test_charges_go_where_there_is_a_place_for_them() -> None:
    theirs = {"layout": "sber-old", "to": "theirs"}
    with pytest.raises(PartnersError, match=r"exchange\.pull\.put"):
        check_exchange([partner(charges=theirs, exchange={"pull": PULL})])
    with pytest.raises(PartnersError, match=r"charges\.day"):
        check_exchange([partner(charges={"layout": "sber-old", "day": 5})])
    check_exchange([partner(charges={**theirs, "day": 5}, exchange={"pull": {**PULL, "put": "in"}})])
