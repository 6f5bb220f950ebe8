"""The contracts of the sandbox's partners: a bank that comes by every protocol, and an app that comes by GraphQL and registers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bels.payments.partners import Partners, read_partners
from bels.sandbox.room import ReadyPartner

BANK, APP = "bank", "app"
NAMES = (BANK, APP)
"""The partners that a sandbox brings along, by their places from 1."""

FILE = "partners.toml"

_CONTRACTS = {
    BANK: """\
title = "Банк песочницы"
minimum = "10.00"
maximum = "60000.00"
unknown_accounts = "refuse"

[[partner.bank.commission]]
since = 2020-01-01
percent = "1.0"
minimum = "1.00"
maximum = "100.00"

[partner.bank.osmp]
readings = { data1 = "1", data2 = "2", data3 = "3" }
fields = { FIO = "name", DEBT = "due" }
variants = ["cancel", "verify", "balance", "getInfo"]

[partner.bank.eps]
encoding = "utf-8"
readings = { IPU_1 = "1", IPU_2 = "2", IPU_3 = "3" }

[partner.bank.registers.daily]
layout = "generic"
""",
    APP: """\
title = "Приложение песочницы"
minimum = "1.00"
maximum = "15000.00"

[[partner.app.commission]]
since = 2020-01-01
percent = "0.5"

[partner.app.registers.daily]
layout = "generic"
""",
}


def write_contracts(folder: Path, partners: Sequence[ReadyPartner]) -> tuple[Path, Partners]:
    """Write the table of the contracts where a server reads it, and read it."""
    path = folder / FILE
    tables = [f'[partner.{each.name}]\nclient = "{each.client}"\n{_CONTRACTS[each.name]}' for each in partners]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["# Written by the sandbox at every start.", *tables]), "utf-8")
    return path, read_partners(path)
