"""The recordings of the voice menu: what is played for a line, what a folder lacks."""

from __future__ import annotations

import argparse
import shutil
import wave
from pathlib import Path

import pytest

from bels.channels.prompts import (
    KWH,
    MANIFEST,
    MINUS,
    Digits,
    Play,
    manifest,
    note,
    offered,
    speak,
    spoken,
    wrong,
)
from bels.command import DONE, PARTLY, CliError
from bels.commands_of_channels import add_voice
from bels.reception.dialogue.say import WORDS, Say
from bels.reception.dialogue.turns import Line, Option, Part, PartKind
from tests.peers import need

PARTED = "Показание {value} кВт·ч, л/с {account}."


def heard(kind: PartKind, value: str, template: str = "{part}") -> list[str] | None:
    """Give what is heard of a line with one part: names of recordings, and digits."""
    sounds = spoken(Line(Say.GREETING, {"part": Part(kind, value)}), {Say.GREETING: template})
    if sounds is None:
        return None
    return [sound.text if isinstance(sound, Digits) else sound.prompt for sound in sounds]


def silence(path: Path, *, rate: int = 8000, frames: int = 80) -> None:
    """Write a recording of nothing."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(b"\0\0" * frames)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Make a folder with every recording."""
    for prompt in manifest():
        silence(tmp_path / f"{prompt}.wav")
    note(tmp_path)
    return tmp_path


def test_a_line_is_cut_at_its_parts_and_a_unit_is_said_once() -> None:
    words = {Say.GREETING: PARTED}
    parts = {"value": Part(PartKind.KWH, "185"), "account": Part(PartKind.DIGITS, "1000001")}

    assert spoken(Line(Say.GREETING, parts), words) == (
        Play("say-greeting-1"),
        Digits("185"),
        Play(KWH),
        Play("say-greeting-2"),
        Digits("1000001"),
    )
    said = {prompt: text for prompt, text in manifest(words).items() if prompt.startswith("say-")}
    assert said == {"say-greeting-1": "Показание", "say-greeting-2": "лицевой счёт"}


@pytest.mark.parametrize(
    ("kind", "value", "sounds"),
    [
        (PartKind.DIGITS, "0042", ["0042"]),
        (PartKind.KWH, "185", ["185", "word-kwh"]),
        (PartKind.KWH, "-45", [MINUS, "45", "word-kwh"]),
        (PartKind.ROUBLES, "1245.05", ["1245", "word-roubles", "05", "word-kopecks"]),
        (PartKind.ROUBLES, "-12.00", [MINUS, "12", "word-roubles"]),
        (PartKind.ZONE, "half_peak", ["zone-half_peak"]),
        (PartKind.MONTH, "2026-11", ["month-11"]),
        (PartKind.DAY, "2026-11-25", ["day-25", "of-month-11"]),
        (PartKind.TIME, "08:45", ["number-08", "number-40", "number-05"]),
        (PartKind.TIME, "17:15", ["number-17", "number-15"]),
        (PartKind.TIME, "09:00", ["number-09", "number-00", "number-00"]),
        (PartKind.RECEIPT, "K7MT22QZ", ["letter-k", "7", "letter-m", "letter-t", "22", "letter-q", "letter-z"]),
    ],
)
def test_a_part_is_digits_and_recorded_words(kind: PartKind, value: str, sounds: list[str]) -> None:
    assert heard(kind, value) == sounds
    assert {sound for sound in sounds if not sound.isdigit()} <= manifest().keys()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (PartKind.TEXT, "ул. Гражданская, 5"),
        (PartKind.DIGITS, "Е-7"),
        (PartKind.DIGITS, ""),
        (PartKind.KWH, "много"),
        (PartKind.ROUBLES, "1245"),
        (PartKind.ZONE, "sunny"),
        (PartKind.MONTH, "2026-13"),
        (PartKind.DAY, "25.11.2026"),
        (PartKind.TIME, "25:00"),
    ],
)
def test_a_line_that_cannot_be_spoken_is_left_out_whole(kind: PartKind, value: str) -> None:
    assert heard(kind, value, "Это {part}") is None


def test_an_option_is_its_label_and_its_key() -> None:
    ends = Line(Say.OPTION_ACCOUNT, {"end": Part(PartKind.DIGITS, "0001")})

    account = offered(Option("1", "1", ends))
    assert account == (Play("say-option-account"), Digits("0001"), Play("say-press"), Digits("1"))
    assert offered(Option("operator", "*", Line(Say.OPTION_OPERATOR)))[-1] == Play("say-press-star")
    assert offered(Option("yes", "", Line(Say.OPTION_YES))) == ()
    assert offered(Option("note", "2", Line(Say.NOTE, {"text": Part(PartKind.TEXT, "…")}))) == ()


def test_every_sentence_has_its_recordings_and_none_reads_signs_aloud() -> None:
    listed = manifest()

    for say in Say:
        name = f"say-{say.value.lower().replace('_', '-')}"
        pieces = [prompt for prompt in listed if prompt == name or prompt.removeprefix(name + "-").isdigit()]
        assert pieces or not any(sign.isalpha() for sign in WORDS[say].partition("{")[0]), say
    assert not [text for text in listed.values() if any(sign in text for sign in "{}№·/₽") or not text]
    assert not [prompt for prompt in listed if not prompt.replace("-", "").replace("_", "").isalnum()]


def test_a_folder_with_every_recording_has_nothing_wrong(recorded: Path) -> None:
    assert wrong(recorded) == []


def test_what_is_missing_damaged_or_outdated_in_a_folder_is_named(recorded: Path) -> None:
    (recorded / "word-wait.wav").unlink()
    (recorded / "say-goodbye.wav").write_bytes(b"RIFF")
    silence(recorded / "month-01.wav", rate=44100)
    silence(recorded / "month-02.wav", frames=0)
    listed = (recorded / MANIFEST).read_text("utf-8")
    (recorded / MANIFEST).write_text(
        listed.replace("Не понято.", "Непонятно.").replace("zone-night,ночь\n", ""), "utf-8"
    )

    faults = dict(fault.split(".wav: ") for fault in wrong(recorded))

    assert faults == {
        "word-wait": "missing",
        "say-goodbye": "not a WAV file",
        "month-01": "44100 Hz, 1 channels, 16 bits instead of 8000 Hz, mono, 16 bits",
        "month-02": "empty",
        "say-not-understood": "recorded with other words",
        "zone-night": f"not named in {MANIFEST}, so nobody knows its words",
    }


@pytest.mark.peer
def test_a_machine_speaks_what_is_missing_and_leaves_the_rest(recorded: Path) -> None:
    need("espeak-ng", "sox", packages="espeak-ng sox")
    untouched = (recorded / "say-goodbye.wav").read_bytes()
    (recorded / "word-wait.wav").unlink()
    silence(recorded / "month-01.wav", rate=44100)

    assert speak(recorded) == 2
    assert wrong(recorded) == []
    with wave.open(str(recorded / "word-wait.wav")) as sound:
        assert sound.getnframes() > 4000
    assert (recorded / "say-goodbye.wav").read_bytes() == untouched
    assert speak(recorded) == 0


def test_the_command_lists_and_checks_the_recordings(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bels(*words: str) -> tuple[int, list[str]]:
        parser = argparse.ArgumentParser()
        commands = parser.add_subparsers()
        add_voice(lambda name, summary, _, text: commands.add_parser(name, help=summary, description=text))
        arguments = parser.parse_args(words)
        return arguments.run(arguments), capsys.readouterr().out.splitlines()

    status, listed = bels("voice", "prompts", "--list")
    assert (status, len(listed)) == (DONE, len(manifest()))
    assert listed[0].startswith('say-greeting,"Здравствуйте!')
    assert bels("voice", "prompts", "--check", str(recorded)) == (
        DONE,
        [f"All {len(manifest())} recordings are there."],
    )
    shutil.rmtree(recorded)
    status, faults = bels("voice", "prompts", "--check", str(recorded))
    assert (status, len(faults)) == (PARTLY, len(manifest()))
    for unclear in (["--speak"], [str(recorded)], ["--list", "--check", str(recorded)]):
        with pytest.raises(CliError):
            bels("voice", "prompts", *unclear)
