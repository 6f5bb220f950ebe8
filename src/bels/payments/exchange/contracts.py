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
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import asyncssh

from bels.payments.partners import Partner, PartnersError
from bels.payments.section import TEXT_LENGTH_MAX, Section, section_of

KEYS_MAX = 20
FILE_RULES_MAX = 50
BYTES_MAX = 500_000_000
"""Of what waits in a partner's folder, where its contract says nothing."""
FILES_MAX = 1_000
QUOTA_BYTES_MAX = 100_000_000_000
QUOTA_FILES_MAX = 100_000

_FIELDS = frozenset(("keys", "files", "bytes_max", "files_max", "pull"))
_RULE_FIELDS = frozenset(("name", "layout"))
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
    told = section_of(partner, "exchange")
    told.only(_FIELDS)
    pull = told.table("pull")
    return Exchange(
        partner,
        _keys(told.listed("keys", KEYS_MAX, _is_text, "public keys"), told.at("keys")),
        tuple(
            FileRule(each.text("name"), each.text("layout"))
            for each in told.rows("files", FILE_RULES_MAX, _RULE_FIELDS)
        ),
        told.whole("bytes_max", BYTES_MAX, 1, QUOTA_BYTES_MAX),
        told.whole("files_max", FILES_MAX, 1, QUOTA_FILES_MAX),
        _pull(pull) if pull is not None else None,
    )


def _pull(told: Section) -> Pull:
    told.only(_PULL_FIELDS)
    pins = told.values.get("host_key")
    pins = [pins] if isinstance(pins, str) else pins
    if not (isinstance(pins, list) and pins and len(pins) <= KEYS_MAX and all(map(_is_text, pins))):
        raise PartnersError(f"{told.at('host_key')} is the server's public key, or SHA256:..., or a list of them")
    fingerprints = tuple(each for each in pins if _FINGERPRINT.fullmatch(each))
    keys = _keys([each for each in pins if each not in fingerprints], told.at("host_key"))
    done = told.values.get("done", "done")
    if not (isinstance(done, str) and len(done) <= TEXT_LENGTH_MAX and done.isprintable() and "/" not in done):
        raise PartnersError(f'{told.at("done")} is the name of a folder in the folder, or ""')
    return Pull(
        told.text("host"),
        told.whole("port", 22, 1, 65_535),
        told.text("user"),
        Path(told.text("key_file")),
        keys,
        fingerprints,
        told.text("folder", "."),
        done,
        told.text_or_none("put"),
    )


def _keys(lines: Sequence[str], where: str) -> tuple[asyncssh.SSHKey, ...]:
    try:
        return tuple(asyncssh.import_public_key(each) for each in lines)
    except asyncssh.KeyImportError as error:
        raise PartnersError(f"{where}: a public key is a line such as ssh-ed25519 AAAA..: {error}") from error


def _is_text(told: object) -> bool:
    return isinstance(told, str)
