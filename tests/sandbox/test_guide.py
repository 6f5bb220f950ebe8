"""Every request of the partners' guide is sent as it is printed, and answered as it is printed: by a sandbox, over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bels.channels import osmp, sber_eps
from bels.domain.periods import MOSCOW
from bels.payments.charges.layouts import layouts
from bels.payments.registers.layout import Part, shipped_names
from tests.peers.partner_client import PartnerClient
from tests.sandbox.conftest import Sandbox
from tests.sandbox.opened import partner_of

GUIDE = (Path(__file__).parents[2] / "docs" / "partners.md").read_text("utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
SIGNING_IN = "BELS=http://127.0.0.1:8000 CLIENT=c-abcdefghijklmnop SECRET=bels_..."
WAIT_S = 60

SAID = re.compile(r"<(?:result|CODE|sum|AMOUNT)>[^<]*<|\"(?:state|repeated|number|count|sum)\":[^,}]*")
"""What a protocol's answer says in every sandbox alike."""

EXACT = frozenset(
    ("__typename", "state", "code", "replayed", "outcome", "amount", "total", "commission", "path", "mayCancel", "kwh")
)
"""The same of an answer over GraphQL; of all else the form is as it is printed."""


async def test_every_request_of_the_guide_is_answered_as_it_is_printed(sandbox: Sandbox, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the guide's requests are not sent")
    signing_in, query, variables, asked = "", "", "{}", 0
    async with partner_of(sandbox.url, sandbox.room, 0) as bank:
        ours = await printed_and_ours(sandbox, bank)
        for (kind, text), (_, after) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
            sent = replaced(text, ours)
            if kind == "sh":
                told = await asyncio.to_thread(run, signing_in + sent, tmp_path)
                assert '"errors"' not in told, told
                assert not signing_in or SAID.findall(told)[: len(SAID.findall(after))] == said(after), told
                signing_in = signing_in or sent.partition("curl -s $BELS/graphql")[0]
            elif kind == "graphql":
                query, variables = sent, "{}"
            elif kind == "json" and not text.startswith('{"data"'):
                variables = sent
            elif kind == "json":
                data = await bank.ask(query, **json.loads(variables))
                assert formed(data) == formed(json.loads(text)["data"]), (query, data)
                asked += 1
    assert asked >= 7


async def printed_and_ours(sandbox: Sandbox, bank: PartnerClient) -> dict[str, str]:
    """Say what stands here for the day of the guide, its secret, and its readings."""
    today = sandbox.room.now().astimezone(MOSCOW)
    previous = [
        (await bank.preview(situation, "100.00"))["submission"]["registers"][0]["previous"]
        for situation in ("DUE_TODAY", "DEBT")
    ]
    return {
        SIGNING_IN: f"BELS={sandbox.url} CLIENT={bank.client} SECRET={bank.secret}",
        "2026-11-20": f"{today:%Y-%m-%d}",
        "20261120": f"{today:%Y%m%d}",
        "20.11.2026": f"{today:%d.%m.%Y}",
        '"14900"': f'"{previous[0] + 133}"',
        '"27936"': f'"{previous[1] + 60}"',
    }


def replaced(text: str, ours: Mapping[str, str]) -> str:
    """Put in what stands here."""
    for printed, our in ours.items():
        text = text.replace(printed, our)
    return text


def said(text: str) -> list[str]:
    """Give what an answer that is printed says in every sandbox alike."""
    return SAID.findall(text)


def run(script: str, folder: Path) -> str:
    """Run a block of the guide."""
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def formed(value: Any, name: str = "") -> Any:
    """Give the form of an answer, and of it what is the same in every sandbox."""
    if isinstance(value, dict):
        return {key: formed(of, key) for key, of in value.items()}
    if isinstance(value, list):
        return [formed(of, name) for of in value]
    return value if name in EXACT or value is None else type(value).__name__


def test_the_guide_names_every_code_layout_and_role() -> None:
    table = GUIDE.partition("## OSMP")[2]
    codes = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE) for code in row.split(", ")}

    assert set(osmp.Result) <= codes
    assert [
        code.value for code in sber_eps.Code if not re.search(rf"\| (?:\d+, )*{code.value}(?:, \d+)* \|", table)
    ] == []
    assert [name for name in (*shipped_names(), *layouts(), *Part) if f"`{name}`" not in GUIDE] == []
