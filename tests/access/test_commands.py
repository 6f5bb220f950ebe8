"""The commands that give and take credentials."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.command import bels, environment, fetch
from tests.conftest import new_supplier

PERSON = re.compile(r"\bu-[a-z2-7]{16}\b")
CLIENT = re.compile(r"\bc-[a-z2-7]{16}\b")
CERTIFICATE = "ab" * 32


@pytest.fixture
def env(database: str, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a new supplier."""
    return environment(database, tmp_path)


@pytest.fixture(scope="module")
def unchanged(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment of a supplier for commands that change nothing."""
    return environment(new_supplier(postgres, template, "bels_test_access"), tmp_path_factory.mktemp("access"))


def done(said: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Expect a command to have done everything."""
    assert said.returncode == 0, said.stderr
    return said


def named(pattern: re.Pattern[str], said: subprocess.CompletedProcess[str]) -> str:
    """Give the one name that a command told on the standard error."""
    [name] = pattern.findall(said.stderr)
    return str(name)


def acts(database: str) -> list[tuple[str, str, str]]:
    """Give what was recorded: the act, by whom, to whom."""
    rows = asyncio.run(fetch(database, "SELECT kind, by_subject, subject FROM identity_act ORDER BY act"))
    return [(kind, by, subject) for kind, by, subject in rows]


def test_a_person_is_added_with_a_password_that_is_shown_once(database: str, env: dict[str, str]) -> None:
    said = done(bels("user", "add", "operator", "--login", "Petrova", "--grant", "money", "--grant", "people", env=env))
    person, password = named(PERSON, said), said.stdout.removesuffix("\n")
    assert re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){3}", password)
    assert password not in said.stderr
    [(hashed, must_change, grants)] = asyncio.run(
        fetch(database, f"SELECT password, must_change, grants FROM person WHERE person = '{person}'")
    )
    assert PasswordHasher().verify(hashed, password)
    assert (must_change, grants) == (True, ["money", "people"])
    assert acts(database) == [("USER_ADDED", "local", person)]
    listed = done(bels("user", "list", env=env)).stdout.splitlines()
    assert listed[0].split() == ["person", "kind", "grants", "login", "added", "revoked"]
    assert re.fullmatch(rf"{person} +operator +money people +petrova +\d{{4}}-\d\d-\d\d +-", listed[1])
    assert password not in "".join(listed)


def test_a_person_is_revoked_once(database: str, env: dict[str, str]) -> None:
    person = named(PERSON, done(bels("user", "add", "consumer", "--login", "ivanova@example.ru", env=env)))
    assert done(bels("user", "list", env=env)).stdout.splitlines()[1:] == []
    [listed] = done(bels("user", "list", "--kind", "consumer", env=env)).stdout.splitlines()[1:]
    assert listed.split()[-1] == "-"
    assert done(bels("user", "revoke", person, "--reason", "письмо", env=env)).stderr == f"Revoked: {person}.\n"
    assert done(bels("user", "revoke", person, env=env)).stderr == f"{person} was revoked before.\n"
    [listed] = done(bels("user", "list", "--kind", "consumer", env=env)).stdout.splitlines()[1:]
    assert listed.split()[-1] != "-"
    assert acts(database) == [("USER_ADDED", "local", person), ("USER_REVOKED", "local", person)]
    nobody = bels("user", "revoke", "u-nobody", env=env)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr == "bels: there is no person 'u-nobody': bels user list\n"


def test_a_person_of_the_provider_has_no_password(database: str, env: dict[str, str]) -> None:
    env = {**env, "BELS_OIDC_ISSUER": "https://id.example", "BELS_OIDC_AUDIENCE": "bels"}
    said = done(bels("user", "add", "auditor", "--oidc-subject", "42", env=env))
    assert said.stdout == ""
    assert asyncio.run(fetch(database, "SELECT person, password FROM person")) == [(named(PERSON, said), None)]
    again = bels("user", "add", "auditor", "--oidc-subject", "42", env=env)
    assert again.returncode == 2
    assert "somebody has this login or this subject already" in again.stderr


def test_a_client_is_added_given_another_secret_and_revoked(database: str, env: dict[str, str]) -> None:
    said = done(
        bels("client", "add", "partner", "A bank", "--scope", "payments:write", "--certificate", CERTIFICATE, env=env)
    )
    client, first = named(CLIENT, said), said.stdout.removesuffix("\n")
    assert re.fullmatch(r"bels_[\w-]{51}", first)
    assert first not in said.stderr
    gateway = named(CLIENT, done(bels("client", "add", "gateway", "Kannel", "--channel", "sms", env=env)))
    changed = done(bels("client", "secret", client, "--keep-hours", "1", env=env))
    assert changed.stdout.removesuffix("\n") != first
    assert re.fullmatch(r"bels_[\w-]{51}\n", changed.stdout)
    assert f"The old secret of {client} holds on for 1 hours." in changed.stderr
    listed = done(bels("client", "list", env=env)).stdout
    assert "bels_" not in listed
    rows = {line.split()[0]: line for line in listed.splitlines()[1:]}
    assert re.fullmatch(rf"{client} +partner +bank +payments:write +{'ab' * 8}\.\.\. +[\d-]+ +- +A bank", rows[client])
    assert re.fullmatch(rf"{gateway} +gateway +sms +- +- +[\d-]+ +- +Kannel", rows[gateway])
    assert done(bels("client", "revoke", client, env=env)).stderr == f"Revoked: {client}.\n"
    assert done(bels("client", "revoke", client, env=env)).stderr == f"{client} was revoked before.\n"
    refused = bels("client", "secret", client, env=env)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert acts(database) == [
        ("CLIENT_ADDED", "local", client),
        ("CLIENT_ADDED", "local", gateway),
        ("CLIENT_SECRET_CHANGED", "local", client),
        ("CLIENT_REVOKED", "local", client),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("user", "add", "operator"), "say how the person comes in"),
        (("user", "add", "auditor", "--login", "petrova", "--grant", "money"), "grants are an operator's"),
        (("user", "add", "auditor", "--oidc-subject", "42"), "set BELS_OIDC_ISSUER"),
        (("user", "add", "auditor", "--login", "a"), "this cannot be a login"),
        (("user", "add", "robot", "--login", "petrova"), "invalid choice"),
        (("user",), "arguments are required"),
        (("client", "add", "gateway", "Kannel"), "a gateway is its channel: say which with --channel (sms, "),
        (("client", "add", "gateway", "Kannel", "--channel", "bank"), "a gateway cannot be the channel bank"),
        (("client", "add", "gateway", "Kannel", "--channel", "sms", "--scope", "registers:read"), "its channel says all"),
        (("client", "add", "partner", "A", "--certificate", "ab"), "a certificate is named by its SHA-256"),
        (("client", "add", "partner", ""), "a client's name is 1 to 100 printable characters"),
        (("client", "secret", "c-a", "--keep-hours", "721"), "'721' is not a whole number from 0 to 720"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence_and_nothing_on_the_standard_output(
    arguments: tuple[str, ...], sentence: str, unchanged: dict[str, str]
) -> None:
    said = bels(*arguments, env=unchanged)
    assert (said.returncode, said.stdout) == (2, "")
    assert sentence in said.stderr.splitlines()[-1]
    assert said.stderr.splitlines()[-1].startswith("bels")


@pytest.mark.parametrize("what", [("secret",), ("revoke",)])
def test_a_client_that_is_not_there_is_said(what: tuple[str, ...], unchanged: dict[str, str]) -> None:
    said = bels("client", *what, "c-nobody", env=unchanged)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "bels: there is no client 'c-nobody': bels client list\n"


def test_another_master_key_is_said_in_one_sentence(env: dict[str, str], tmp_path: Path) -> None:
    done(bels("user", "add", "operator", "--login", "petrova", env=env))
    key = tmp_path / "another.key"
    done(bels("key", "new", key, env=env))
    for command in (("user", "list"), ("user", "add", "operator", "--login", "ivanova")):
        said = bels(*command, env={**env, "BELS_MASTER_KEY_FILE": str(key)})
        assert (said.returncode, said.stdout) == (1, "")
        assert "is wrapped by the master key" in said.stderr
        assert said.stderr.endswith(
            "Look at BELS_MASTER_KEY_FILE: it must name the key that this database was filled with\n"
        )
        assert "Traceback" not in said.stderr
