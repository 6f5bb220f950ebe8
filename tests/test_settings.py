import re
from pathlib import Path

import pytest

from bels.settings import Settings, SettingsError
from tests.servers import ROOT


def test_an_empty_environment_means_the_embedded_database_on_this_machine() -> None:
    settings = Settings.from_environment({})
    assert settings.database_url is None
    assert settings.data_dir == Path.cwd() / ".bels"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_how_gaps_are_settled_is_as_published_unless_it_is_said() -> None:
    assert Settings.from_environment({}).settlement is None


def test_every_variable_is_read_and_others_are_not(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {
            "BELS_DATABASE_URL": " postgresql://bels@db.local/bels ",
            "BELS_DATA_DIR": str(tmp_path),
            "BELS_HOST": "0.0.0.0",
            "BELS_PORT": "18000",
            "BELS_SETTLEMENT": "next_period",
            "PORT": "1",
        }
    )
    assert settings == Settings(
        database_url="postgresql://bels@db.local/bels",
        data_dir=tmp_path,
        host="0.0.0.0",
        port=18000,
        settlement="next_period",
    )


def test_every_variable_is_explained_in_the_readme() -> None:
    read = set(re.findall(r'"(BELS_[A-Z_]+)"', (ROOT / "src/bels/settings.py").read_text("utf-8")))
    table = (ROOT / "README.md").read_text("utf-8").partition("## Settings")[2].partition("## The house")[0]
    explained = set(re.findall(r"`(BELS_[A-Z_]+)`", table))

    assert len(read) > 30
    assert read - explained == set()
    assert explained - read == set()


def test_a_blank_variable_is_as_good_as_none() -> None:
    assert Settings.from_environment({"BELS_PORT": "", "BELS_DATABASE_URL": " "}) == Settings.from_environment({})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8000.0", "http", "8_000", "٨٠٠٠", "9" * 5000])
def test_a_port_out_of_range_is_named(port: str) -> None:
    with pytest.raises(SettingsError, match="BELS_PORT must be a whole number from 1 to 65535"):
        Settings.from_environment({"BELS_PORT": port})


@pytest.mark.parametrize("url", ["mysql://root:secret@db/bels", "db.local/bels?secret", "http://[secret"])
def test_a_database_of_another_kind_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="BELS_DATABASE_URL") as refusal:
        Settings.from_environment({"BELS_DATABASE_URL": url})
    assert "secret" not in str(refusal.value)


def test_seals_become_files_and_hourly_only_where_that_is_asked_for(tmp_path: Path) -> None:
    given = Settings.from_environment({"BELS_SEALS": str(tmp_path), "BELS_SEAL_HOURLY": "on"}).audit
    assert (given.seals, given.seal_hourly) == (tmp_path, True)
    default = Settings.from_environment({}).audit
    assert (default.seals, default.seal_hourly) == (None, False)
    with pytest.raises(SettingsError, match="BELS_SEAL_HOURLY must be one of on, off"):
        Settings.from_environment({"BELS_SEAL_HOURLY": "yes"})


def test_an_unknown_settlement_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="redistribute, in_period, next_period, not 'later'"):
        Settings.from_environment({"BELS_SETTLEMENT": "later"})
