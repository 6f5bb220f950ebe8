"""The environment, read once into a frozen value.

Only the top floor (``app``, ``demo``, ``cli``) reads it; the floors below are handed plain arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

SETTLEMENTS = ("redistribute", "in_period", "next_period")


class SettingsError(ValueError):
    """A variable of the environment has a value that bels cannot use; the sentence is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Say where this process keeps its data, where it listens and how it settles.

    ``database_url`` None means the PostgreSQL that comes with the package, kept in ``data_dir``.
    ``settlement`` is what a reading does to the estimated months before it; None: what the published rulebook says. Another one
    is published from the first period on that nobody has been charged for.
    ``sms_token`` is the secret that Kannel sends with every SMS, None while only this machine can send one.
    """

    database_url: str | None = None
    data_dir: Path = Path(".bels")
    host: str = "127.0.0.1"
    port: int = 8000
    settlement: str | None = None
    sms_token: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the ``BELS_*`` variables; one that is absent or blank has its default.

        :raises SettingsError: a value cannot be used.
        """
        given = {name: value.strip() for name, value in environ.items() if name.startswith("BELS_") and value.strip()}
        return cls(
            database_url=_database_url(given["BELS_DATABASE_URL"]) if "BELS_DATABASE_URL" in given else None,
            data_dir=Path(given.get("BELS_DATA_DIR", ".bels")).expanduser().absolute(),
            host=given.get("BELS_HOST", "127.0.0.1"),
            port=_port(given.get("BELS_PORT", "8000")),
            settlement=_settlement(given["BELS_SETTLEMENT"]) if "BELS_SETTLEMENT" in given else None,
            sms_token=given.get("BELS_SMS_TOKEN"),
        )


def _database_url(text: str) -> str:
    # The value may hold a password, so no message repeats it.
    try:
        scheme = urlsplit(text).scheme
    except ValueError as error:
        raise SettingsError("BELS_DATABASE_URL is not a URL; expected postgresql://user@host/database") from error
    if scheme not in ("postgresql", "postgres"):
        raise SettingsError(
            "BELS_DATABASE_URL must begin with postgresql:// (postgresql://user@host/database), "
            f"not with {f'{scheme}://' if scheme else 'something without a scheme'}"
        )
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise SettingsError(f"BELS_PORT must be a whole number from 1 to 65535, not {text!r}")
    return int(text)


def _settlement(text: str) -> str:
    if text not in SETTLEMENTS:
        raise SettingsError(f"BELS_SETTLEMENT must be one of {', '.join(SETTLEMENTS)}, not {text!r}")
    return text
