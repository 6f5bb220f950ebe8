"""Every command of the README and of the auditors' page is run: against the demonstration town, on another port and in another folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.servers import ROOT, free_port, start

README = (ROOT / "README.md").read_text("utf-8")
AUDIT = (ROOT / "docs/audit.md").read_text("utf-8")
MAKE = {"make test", "make run", "make sandbox", "make check", "make bench", "make soak"}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve the demonstration town."""
    environment = {"BELS_DATA_DIR": str(tmp_path_factory.mktemp("town"))}
    port = free_port()
    server = start(environment, port, "--demo")
    try:
        yield {**environment, "BELS_PORT": str(port)}
    finally:
        server.process.terminate()
        server.process.wait(30)


def commands(page: str = README) -> list[str]:
    """List the commands; a command goes on while its quotes are open, and after a pipe."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        command = ""
        for line in block.splitlines():
            command += line + "\n"
            if command.count("'") % 2 == 0 and not line.endswith("|"):
                found.append(command.strip())
                command = ""
    return found


def logged_in(url: str, login: str) -> str:
    """Log in as somebody of the town; give the access token."""
    query = 'mutation($login: String!) { logIn(input: {login: $login, password: "lamp kettle stove"}) { ... on SignedIn { accessToken } } }'
    told = httpx.post(f"{url}/graphql", json={"query": query, "variables": {"login": login}}).json()
    return str(told["data"]["logIn"]["accessToken"])


def test_the_readme_names_both_commands_and_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert {"make test", "make run"} <= set(commands())
    for command in set(commands()) & MAKE:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in commands() if c not in MAKE])
def test_a_command_of_the_readme_does_what_it_says(command: str, town: dict[str, str]) -> None:
    if command.startswith("curl") and shutil.which("curl") is None:
        pytest.skip("curl is not installed: the README's requests are not tried")
    here = command.replace("127.0.0.1:8000", f"127.0.0.1:{town['BELS_PORT']}")
    here = here.replace(".venv/bin/bels", f"{Path(sys.executable).parent}/bels")

    done = subprocess.run(
        ["bash", "-c", here], env={**os.environ, **town}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"errors"' not in done.stdout
    if "logIn" in command:
        assert '"accessToken":"' in done.stdout
    if "submission" in command:
        assert '"may":true' in done.stdout
    if "channels/voice" in command:
        assert ("Прошлое показание" if "digits" in command else "Счёт, оканчивающийся на 0 0 0 0") in done.stdout
    if "makeLink" in command:
        assert '"token":"bels_l_' in done.stdout
    if "outages" in command:
        assert "Аварийное отключение: Ламповск" in done.stdout
    if "channels/sms" in command and "#" in command:
        assert "л/с 1000000, 10385, расход 185 кВт·ч" in done.stdout


def test_the_demonstration_town_is_sealed_so_that_an_auditor_finds_a_seal(town: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{town['BELS_PORT']}"

    assert httpx.get(f"{url}/seals/1.json").json()["faults"] == []


@pytest.mark.parametrize("query", re.findall(r"```graphql\n(.*?)```", AUDIT, re.DOTALL))
def test_an_auditor_asks_as_the_page_for_auditors_says(query: str, town: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{town['BELS_PORT']}"
    asker = {"Authorization": f"Bearer {logged_in(url, 'auditor')}"}
    told = httpx.post(f"{url}/graphql", json={"query": query}, headers=asker).json()

    assert "errors" not in told
    assert all(value is not None for value in told["data"].values())


def test_the_commands_for_auditors_do_what_they_say_in_their_order(town: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the auditor's requests are not tried")
    url = f"http://127.0.0.1:{town['BELS_PORT']}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **town, "PATH": path, "TOKEN": logged_in(url, "auditor")}

    def done(command: str) -> str:
        told = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert told.returncode == 0, (command, told.stdout, told.stderr)
        return told.stdout

    number = int(done("bels audit seal --into . --heads .").split(":")[0].removeprefix("Seal "))
    for command in commands(AUDIT):
        here = command.replace("https://bels.example", url).replace("000017", f"{number:06}")
        said = done(re.sub(r"\b17\b", str(number), here))
        if "verify_evidence.py evidence.zip" in command:
            assert f"are those that your seal {number} of" in said

    # What the API proves is what the program reads.
    done("bels audit pack 1000101 --out other.zip")
    assert "is whole" in done(f"python verify_evidence.py other.zip --seal seal-{number:06}.json --proof proof.json")


def test_the_page_needs_nothing_from_elsewhere_and_its_examples_work(town: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{town['BELS_PORT']}"
    page = httpx.get(f"{url}/", headers={"accept": "text/html"}, follow_redirects=True)
    examples = re.findall(r'\["([^"]+)", `(.*?)`, (`.*?`|"")\]', page.text, re.DOTALL)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in page.text
    assert len(examples) >= 5
    for name, query, variables in examples:
        given = re.sub(r"\$\{.*?Date\.now\(\)\}", "the page", variables.strip('`"'))
        body = {"query": query, "variables": json.loads(given) if given.strip() else None}
        told = httpx.post(f"{url}/graphql", json=body).json()
        assert "errors" not in told, (name, told)
        assert all(value is not None for value in told["data"].values()), name
    assert httpx.get(f"{url}/schema.graphql").text == (ROOT / "src/bels/api/schema.graphql").read_text("utf-8")
