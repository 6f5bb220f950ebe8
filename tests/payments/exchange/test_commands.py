"""What a person types about partners, as the shell runs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bels.command import DONE, NOTHING_DONE, PARTLY, CliError
from bels.commands_of_partners import add_charges, add_exchange, add_gis, add_partners, add_registers
from bels.domain.periods import period
from tests.conftest import new_supplier

TABLE = """
[partner.sber]
client = "c-sber"
title = "Сбербанк"
[partner.sber.registers.evening]
layout = "sber-evening"
[partner.sber.charges]
layout = "sber-old"
inn = "5001000002"
account = "40702810138250123017"
[partner.app]
client = "c-app"
"""
ROW = "7977;00123;1;1;{sum};12.45;20/05/2024;CLIENTNO:{account};method_pay:1;CLIENTDOCNO:;CounterVal_1:\n"

Shell = Callable[..., int]


@pytest.fixture(scope="module")
def supplier(postgres: str, template: str) -> str:
    """Give a supplier without accounts to all tests of this file."""
    return new_supplier(postgres, template, "bels_test_partners")


@pytest.fixture
def shell(
    supplier: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Give a way to run commands, with the contracts in a file."""
    (tmp_path / "partners.toml").write_text(TABLE, "utf-8")
    keys = tmp_path_factory.getbasetemp() / "commands"
    keys.mkdir(exist_ok=True)
    for name, value in {
        "BELS_DATABASE_URL": supplier,
        "BELS_DATA_DIR": str(keys),
        "BELS_PARTNERS": str(tmp_path / "partners.toml"),
    }.items():
        monkeypatch.setenv(name, value)

    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)

    def command(name: str, _: str, run: Callable[[argparse.Namespace], int] | None, __: str = "") -> Any:
        added = commands.add_parser(name)
        added.set_defaults(run=run)
        return added

    for add in (add_registers, add_exchange, add_partners):
        add(command)
    add_charges(command, period)
    add_gis(command, period)

    def typed(*words: str) -> int:
        arguments = parser.parse_args(words)
        status: int = arguments.run(arguments)
        return status

    return typed


def test_a_register_is_taken_and_listed(shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "0520.txt"
    path.write_text(ROW.format(sum="100.00", account="1000001") + ROW.format(sum="x", account="1000002"), "utf-8")

    assert shell("registers", "take", str(path), "--partner", "sber") == PARTLY
    said = capsys.readouterr().out
    assert "Строка 1: Деньги приняты, но лицевой счёт не найден" in said
    assert "Строка 2: Сумма не читается." in said
    assert shell("registers", "take", str(path), "--partner", "sber", "--layout", "evening") == PARTLY
    assert "уже был получен" in capsys.readouterr().out
    assert shell("registers", "list", "--last", "5") == DONE
    assert "sber evening TAKEN rows" in capsys.readouterr().out
    assert shell("registers", "list", "--partner", "app") == DONE
    assert "No register has come." in capsys.readouterr().out


def test_charges_are_written_into_a_folder(shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    assert shell("charges", "write", "--partner", "sber", "--period", "2024-05", str(folder)) == DONE

    assert [each.name for each in folder.iterdir()] == ["5001000002_40702810138250123017_1_0524.txt"]
    assert "строк 0, сумма 0.00" in capsys.readouterr().out


def test_readings_are_written_for_the_state_system(
    shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    devices, folder = tmp_path / "devices.csv", tmp_path / "gis"
    folder.mkdir()
    devices.write_text("account,meter,root_guid\n1000001,E-1,75da5333-0000-4000-8000-000000000001\n", "utf-8")

    assert shell("gis", "write", "2024-05", str(folder), "--devices", str(devices)) == DONE

    assert capsys.readouterr().out == "Документов 0, показаний 0\n"
    with pytest.raises(CliError, match="is no folder"):
        shell("gis", "write", "2024-05", str(devices), "--devices", str(devices))
    devices.write_text("account,meter\n", "utf-8")
    with pytest.raises(CliError, match="no column root_guid"):
        shell("gis", "write", "2024-05", str(folder), "--devices", str(devices))
    with pytest.raises(CliError, match="nothing"):
        shell("gis", "write", "2024-05", str(folder), "--devices", str(tmp_path / "nothing"))


def test_it_is_said_how_the_exchange_stands(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell("exchange", "--state") == DONE
    assert "No file has been exchanged." in capsys.readouterr().out
    with pytest.raises(CliError, match="BELS_EXCHANGE"):
        shell("exchange")


def test_contracts_are_checked(shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell("partners", "check", str(tmp_path / "partners.toml")) == DONE
    assert "in order: 2 partners" in capsys.readouterr().out
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(TABLE.replace("sber-old", "sber-oldest"), "utf-8")
    with pytest.raises(CliError, match=r"partner\.sber\.charges\.layout"):
        shell("partners", "check", str(wrong))


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("registers", "take", "{mine}/partners.toml", "--partner", "other"), "there is no partner 'other'"),
        (("registers", "take", "{mine}/nothing", "--partner", "sber"), "is no file"),
        (("charges", "write", "--partner", "app", "{mine}"), "charges"),
        (("charges", "write", "--partner", "sber", "{mine}/nothing"), "is no folder"),
        (("partners", "check", "{mine}/nothing"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(shell: Shell, tmp_path: Path, words: tuple[str, ...], word: str) -> None:
    with pytest.raises(CliError, match=word) as refused:
        shell(*(each.format(mine=tmp_path) for each in words))
    assert refused.value.status == NOTHING_DONE


def test_contracts_must_be_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BELS_PARTNERS")
    with pytest.raises(CliError, match="BELS_PARTNERS"):
        shell("registers", "list")
