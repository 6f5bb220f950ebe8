"""`bels deliver` and `bels remind`, as a person or a unit starts them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bels.app import AppError
from bels.delivering import delivering_as_set, opened_senders, reported
from bels.domain.terms import Channel
from bels.outgoing.kannel import Report
from bels.outgoing.outbox import put_text
from bels.outgoing.results import Text
from bels.settings import ChannelSettings
from tests.outgoing.conftest import PHONE, Speaking
from tests.outgoing.test_delivering import until
from tests.servers import ROOT

WAIT_S = 30
COMMANDS = """
import argparse, sys
from bels.commands_of_outgoing import add_deliver, add_remind
from bels.command import CliError
parser = argparse.ArgumentParser()
parts = parser.add_subparsers()
def command(name, summary, run, text=""):
    parts.add_parser(name).set_defaults(run=run)
add_deliver(command)
add_remind(command)
given = parser.parse_args()
try:
    sys.exit(given.run(given))
except CliError as error:
    sys.exit(f"bels: {error}")
"""


def started(name: str, database: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start a command."""
    given = {"BELS_DATABASE_URL": database, "BELS_DATA_DIR": str(folder), **environment}
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BELS_")}
    return subprocess.Popen(
        [sys.executable, "-c", COMMANDS, name],
        env={**clean, **given},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_deliver_sends_what_waits_until_it_is_asked_to_stop(
    speaking: Speaking, database: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, "1000001", 1, Channel.SMS, PHONE, "Код: 1", "a", now=now)
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    url = speaking.gateways.url.replace("//", "//bels@")
    command = started(
        "deliver", database, tmp_path, BELS_SENDSMS=url, BELS_SENDSMS_PASSWORD_FILE=str(secret), BELS_PORT="8123"
    )
    try:
        await until(lambda: len(speaking.gateways.sms) == 1)
        command.send_signal(signal.SIGTERM)
        told, errors = await asyncio.to_thread(command.communicate, timeout=WAIT_S)
    finally:
        command.kill()
    assert (command.returncode, told) == (0, "bels delivers by sms, webhooks, and seals the journal every night\n"), (
        errors
    )
    assert speaking.gateways.sms[0].dlr_url.startswith("http://127.0.0.1:8123/channels/sms/delivery?key=a&sign=")
    assert await speaking.texts("state") == [("SENT",)]


async def test_reports_of_a_kannel_elsewhere_go_to_the_server_that_it_reaches(
    speaking: Speaking, tmp_path: Path
) -> None:
    bels, door = speaking.house.bels, speaking.house.desk.door
    assert bels is not None
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    channels = ChannelSettings.of(
        {
            "BELS_SENDSMS": speaking.gateways.url.replace("//", "//bels@"),
            "BELS_SENDSMS_PASSWORD_FILE": str(secret),
            "BELS_SMS_REPORTS": "http://10.0.7.5:8001/",
        }
    )
    named = replace(bels, settings=replace(bels.settings, host="0.0.0.0", channels=channels))
    async with opened_senders(named, door) as senders:
        await senders[Channel.SMS](PHONE, Text("Код: 1"), "a")

    assert speaking.gateways.sms[0].dlr_url.startswith("http://10.0.7.5:8001/channels/sms/delivery?key=a&")


async def test_deliver_without_a_gateway_and_remind_say_what_they_do(
    speaking: Speaking, database: str, tmp_path: Path
) -> None:
    commands = [started("deliver", database, tmp_path), started("remind", database, tmp_path)]
    (_, refused), (planned, errors) = await asyncio.gather(
        *(asyncio.to_thread(command.communicate, timeout=WAIT_S) for command in commands)
    )

    assert [command.returncode for command in commands] == [1, 0], errors
    assert "nobody is named" in refused
    assert "Notices planned: 0" in planned


async def test_a_supplier_without_a_gateway_has_its_journal_sealed(database: str, tmp_path: Path) -> None:
    command = started("deliver", database, tmp_path, BELS_SEALS=str(tmp_path / "seals"))
    try:
        assert command.stdout is not None
        told = await asyncio.to_thread(command.stdout.readline)
        command.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(command.communicate, timeout=WAIT_S)
    finally:
        command.kill()
    assert (command.returncode, told) == (0, "bels delivers by webhooks, and seals the journal every night\n"), errors


async def test_every_gateway_that_the_settings_name_has_a_sender(speaking: Speaking, tmp_path: Path) -> None:
    bels, door = speaking.house.bels, speaking.house.desk.door
    assert bels is not None
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text("secret\n")
    token.write_text("123456789:AAF-0123456789abcdefghijklmnopqrstu\n")
    channels = ChannelSettings(
        sendsms="http://bels@127.0.0.1:1/cgi-bin/sendsms",
        sendsms_password_file=secret,
        smtp=("127.0.0.1", 1),
        mailbox="bels@example.ru",
        telegram_token_file=token,
        max_token_file=secret,
        deliver=True,
    )
    named = replace(bels, settings=replace(bels.settings, channels=channels))
    async with opened_senders(named, door) as senders:
        assert set(senders) == {Channel.SMS, Channel.EMAIL, Channel.TELEGRAM, Channel.MAX}
    async with delivering_as_set(named, door), delivering_as_set(bels, door):
        pass
    secret.write_text("")
    with pytest.raises(AppError, match="BELS_SENDSMS_PASSWORD_FILE must name a file"):
        async with opened_senders(named, door):
            pass


async def test_reports_of_kannel_are_kept_and_that_the_operator_has_a_text_is_no_news(speaking: Speaking) -> None:
    bels = speaking.house.bels
    assert bels is not None
    async with speaking.pool.acquire() as db:
        await put_text(db, speaking.vault, "1000001", 1, Channel.SMS, PHONE, "Код: 1", "a", now=speaking.house.at)
    await speaking.send()
    states = []
    for report in (Report.TAKEN, Report.DELIVERED):
        await reported(bels, "a", report)
        states += await speaking.texts("state")
    assert states == [("SENT",), ("DELIVERED",)]
