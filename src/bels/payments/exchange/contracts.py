"""What is agreed with a partner about files: whose keys open its folder, what its files are, where we fetch them.

[partner.sber.exchange]
keys = ["ssh-ed25519 AAAA.. sber"]                 # who may push to our SFTP server, as user "sber"
files = [{ name = "*.txt", layout = "evening" }]   # the first that fits; absent: as the registers' file_name says
bytes_max = 500000000                              # of all that waits in its folder
files_max = 1000

[partner.sber.exchange.pull]                       # their SFTP server, looked at every minute
host = "sftp.bank.example"
port = 22
user = "bels"
key_file = "/etc/bels/sber.key"                    # our private key
host_key = "ssh-ed25519 AAAA.."                    # theirs, or "SHA256:..."; a list while they change it
folder = "out"
done = "done"                                      # in that folder; "" where they clear it themselves
put = "in"                                         # where charges go with to = "theirs"; absent: they cannot
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import asyncssh

from bels.payments.partners import Partner, PartnersError

KEYS_MAX = 20
FILE_RULES_MAX = 50
TEXT_LENGTH_MAX = 200
BYTES_MAX = 500_000_000
"""Of what waits in a partner's folder, where its contract says nothing."""
FILES_MAX = 1_000
QUOTA_BYTES_MAX = 100_000_000_000
QUOTA_FILES_MAX = 100_000

_FIELDS = frozenset(("keys", "files", "bytes_max", "files_max", "pull"))
_PULL_FIELDS = frozenset(("host", "port", "user", "key_file", "host_key", "folder", "done", "put"))
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class FileRule:
    """Files whose name fits ``name`` (``*`` and ``?``, capitals and small letters alike) have the layout."""

    name: str
    layout: str


@dataclass(frozen=True, slots=True)
class Pull:
    """Their SFTP server: ``host_keys`` are public keys, ``fingerprints`` SHA256 ones; any other key is refused."""

    host: str
    port: int
    user: str
    key_file: Path
    host_keys: tuple[asyncssh.SSHKey, ...]
    fingerprints: tuple[str, ...]
    folder: str = "."
    done: str = "done"
    put: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is agreed with a partner about files; without ``keys`` it cannot push, without ``pull`` we do not fetch."""

    partner: Partner
    keys: tuple[asyncssh.SSHKey, ...] = ()
    files: tuple[FileRule, ...] = ()
    bytes_max: int = BYTES_MAX
    files_max: int = FILES_MAX
    pull: Pull | None = None

    def layout_of(self, name: str) -> str | None:
        """Say which layout a file of this name has, None where nothing is agreed."""
        return next((rule.layout for rule in self.files if fnmatchcase(name.lower(), rule.name.lower())), None)


def exchanges_of(partners: Sequence[Partner]) -> tuple[Exchange, ...]:
    """Read what is agreed with each partner that exchanges files.

    :raises PartnersError: a table cannot be used.
    """
    return tuple(exchange_of(each) for each in partners if "exchange" in each.sections)


def exchange_of(partner: Partner) -> Exchange:
    """Read a partner's table ``exchange``.

    :raises PartnersError: it cannot be used.
    """
    told = partner.sections.get("exchange", {})
    where = f"partner.{partner.name}.exchange"
    _known(told, _FIELDS, where)
    rows = told.get("files", [])
    if not isinstance(rows, list) or len(rows) > FILE_RULES_MAX:
        raise PartnersError(f"{where}.files is a list of at most {FILE_RULES_MAX} tables")
    pull = told.get("pull")
    if pull is not None and not isinstance(pull, dict):
        raise PartnersError(f"{where}.pull is not a table")
    return Exchange(
        partner,
        _keys(told.get("keys", []), f"{where}.keys"),
        tuple(_rule(row, f"{where}.files") for row in rows),
        _whole(told, "bytes_max", BYTES_MAX, QUOTA_BYTES_MAX, where),
        _whole(told, "files_max", FILES_MAX, QUOTA_FILES_MAX, where),
        _pull(pull, f"{where}.pull") if pull is not None else None,
    )


def _pull(told: Mapping[str, Any], where: str) -> Pull:
    _known(told, _PULL_FIELDS, where)
    pins = told.get("host_key")
    pins = [pins] if isinstance(pins, str) else pins
    if not (isinstance(pins, list) and pins and all(isinstance(each, str) for each in pins)):
        raise PartnersError(f"{where}.host_key is the server's public key, or SHA256:..., or a list of them")
    fingerprints = tuple(each for each in pins if _FINGERPRINT.fullmatch(each))
    keys = _keys([each for each in pins if each not in fingerprints], f"{where}.host_key")
    done = told.get("done", "done")
    if not (isinstance(done, str) and len(done) <= TEXT_LENGTH_MAX and done.isprintable() and "/" not in done):
        raise PartnersError(f'{where}.done is the name of a folder in the folder, or ""')
    return Pull(
        _text(told, "host", None, where),
        _whole(told, "port", 22, 65_535, where),
        _text(told, "user", None, where),
        Path(_text(told, "key_file", None, where)),
        keys,
        fingerprints,
        _text(told, "folder", ".", where),
        done,
        _text(told, "put", None, where) if "put" in told else None,
    )


def _rule(told: object, where: str) -> FileRule:
    if not isinstance(told, dict):
        raise PartnersError(f"{where} is a list of tables")
    _known(told, frozenset(("name", "layout")), where)
    return FileRule(_text(told, "name", None, where), _text(told, "layout", None, where))


def _keys(told: object, where: str) -> tuple[asyncssh.SSHKey, ...]:
    if not isinstance(told, list) or len(told) > KEYS_MAX or not all(isinstance(each, str) for each in told):
        raise PartnersError(f"{where} is a list of at most {KEYS_MAX} public keys")
    try:
        return tuple(asyncssh.import_public_key(each) for each in told)
    except asyncssh.KeyImportError as error:
        raise PartnersError(f"{where}: a public key is a line such as ssh-ed25519 AAAA..: {error}") from error


def _known(told: Mapping[str, Any], fields: frozenset[str], where: str) -> None:
    unknown = sorted(set(told) - fields)
    if unknown:
        raise PartnersError(f"{where}.{unknown[0]} is unknown: {', '.join(sorted(fields))}")


def _text(told: Mapping[str, Any], name: str, default: str | None, where: str) -> str:
    text = told.get(name, default)
    if not (isinstance(text, str) and 0 < len(text) <= TEXT_LENGTH_MAX and text.isprintable()):
        raise PartnersError(f"{where}.{name} is a text of 1 to {TEXT_LENGTH_MAX} printable characters")
    return text


def _whole(told: Mapping[str, Any], name: str, default: int, most: int, where: str) -> int:
    number = told.get(name, default)
    if not (type(number) is int and 1 <= number <= most):
        raise PartnersError(f"{where}.{name} is a whole number from 1 to {most}")
    return number
