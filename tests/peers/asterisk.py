"""Asterisk, the telephone exchange, in front of bels, and telephones that call it and press keys.

``telephone <-> Local channel, or SIP and RTP over loopback <-> dialplan of deploy/asterisk <-> FastAGI of bels``. A telephone
listens at Asterisk's manager interface: it hears what Asterisk plays, and presses keys when Asterisk waits for one.
"""

from __future__ import annotations

import asyncio
import platform
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.peers import need
from tests.servers import ROOT, free_port

PRIVATE = ROOT / ".venv-peers" / "asterisk"
"""Where ``asterisk-root.sh`` unpacks it."""

DEPLOYED = ROOT / "deploy" / "asterisk"
PACKAGES = "mmdebstrap, then as root: tests/peers/asterisk-root.sh .venv-peers/asterisk"
MODULES_LEFT_OUT = (
    *("app_voicemail", "app_voicemail_imap", "app_voicemail_odbc", "cdr_pgsql", "cel_pgsql", "chan_dahdi", "chan_iax2"),
    *(
        "chan_unistim",
        "chan_motif",
        "chan_console",
        "pbx_ael",
        "pbx_dundi",
        "pbx_lua",
        "res_calendar",
        "res_config_ldap",
    ),
    *("res_config_odbc", "res_config_pgsql", "res_hep", "res_odbc", "res_phoneprov", "res_prometheus", "res_snmp"),
    *("res_stun_monitor", "res_xmpp"),
)
"""What would look for a server or a port of its own."""

EMPTY = (
    *(
        "acl",
        "ccss",
        "cdr",
        "cel",
        "codecs",
        "dnsmgr",
        "features",
        "indications",
        "pjproject",
        "sorcery",
        "stasis",
        "udptl",
    ),
    "musiconhold",
)
START_WAIT_S = 40.0
CALL_WAIT_S = 120.0
ANSWER_WAIT_S = 20.0
KEY_MS = 100
CALLS_MAX = 200
RTP_PORTS = 200
SECRET = "manager"

HANG_UP = "hang up"
"""Instead of keys: the telephone hangs up."""

SILENT = "silent"
"""Instead of keys: nothing is pressed."""

OVER = ">"
"""Between a sound and keys: they are pressed over it when it begins; over the next one, where no sound is named."""

ASTERISK = """
[directories]
astetcdir => {folder}/etc
astmoddir => {modules}
astvarlibdir => {private}/usr/share/asterisk
astdatadir => {private}/usr/share/asterisk
astdbdir => {folder}
astkeydir => {folder}
astagidir => {folder}
astspooldir => {folder}/spool
astrundir => {folder}
astlogdir => {folder}
astsbindir => {private}/usr/sbin
[options]
defaultlanguage = en
maxcalls = {calls}
"""

# The trunk is a loop: what is dialled at it comes back as a call from outside, over real SIP, RTP and RFC 4733.
PJSIP = """
[udp]
type = transport
protocol = udp
bind = 127.0.0.1:{sip}
[trunk]
type = endpoint
transport = udp
context = bels-menu
disallow = all
allow = alaw
dtmf_mode = rfc4733
direct_media = no
media_address = 127.0.0.1
bind_rtp_to_media_address = yes
trust_id_inbound = yes
trust_id_outbound = yes
send_pai = yes
aors = trunk
[trunk]
type = aor
contact = sip:127.0.0.1:{sip}
[trunk]
type = identify
endpoint = trunk
match = 127.0.0.1
"""

EXTENSIONS = """
#include "{deployed}/extensions.conf"
[globals]
BELS_PROMPTS={prompts}
OFFICE_TIME=*,*,*,*
OPERATORS_WAIT=10
[robot]
exten => wait,1,Wait({call})
[operators]
exten => _X!,1,Answer()
 same => n,Wait(1)
 same => n,Hangup()
"""

QUEUES = """
[general]
[bels-operators]
strategy = rrmemory
timeout = 5
retry = 1
member => Local/1@operators/n
"""

MANAGER = """
[general]
enabled = yes
bindaddr = 127.0.0.1
port = {ami}
[test]
secret = {secret}
read = agi,call,dialplan
write = all
writetimeout = 5000
"""

LOGGER = """
[logfiles]
full => notice,warning,error,verbose(3)
"""

_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def need_asterisk() -> None:
    """Skip, or fail, without Asterisk and a voice."""
    need(str(PRIVATE / "usr/sbin/asterisk"), packages=PACKAGES)
    need("espeak-ng", "sox", packages="espeak-ng sox")


@dataclass(slots=True)
class Heard:
    """What a telephone heard: names of recordings and digits in order, ``next`` is what the dialplan did after bels."""

    sounds: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    waits: int = 0

    def __contains__(self, sound: str) -> bool:
        """Say whether a recording was played or these digits were said."""
        return sound in self.sounds

    def after(self, sound: str) -> str:
        """Give what was heard next to a recording, the last time."""
        return self.sounds[len(self.sounds) - self.sounds[::-1].index(sound)]


@dataclass(slots=True)
class Asterisk:
    """A running exchange."""

    folder: Path
    ami: int
    sip: int
    _calls: dict[str, asyncio.Queue[dict[str, str]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(88002220000))

    def log(self) -> str:
        """Give what it has logged."""
        return (self.folder / "full").read_text("utf-8", "replace")

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Tell telephones what Asterisk does in their calls, while the context is open."""
        async with _manager(self.ami, events=True) as manager:
            task = asyncio.create_task(self._tell(manager))
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _tell(self, manager: _Manager) -> None:
        while True:
            event = await manager.read()
            call = self._calls.get(event.get("Exten", ""))
            if call is not None and event.get("Context") == "bels-menu":
                call.put_nowait(event)

    async def call(
        self, agi: int, keys: Sequence[str], *, phone: str = "", sip: bool = False, office: str = "*,*,*,*"
    ) -> Heard:
        """Call the menu of the bels that listens at the port ``agi``, press ``keys`` whenever it waits, and hear to the end.

        :raises TimeoutError: the call does not end.
        """
        number = str(next(self._numbers))
        self._calls[number] = asyncio.Queue()
        given = f"__BELS_AGI=agi://127.0.0.1:{agi}/readings,__OFFICE_TIME={office.replace(',', chr(92) + ',')}"
        try:
            async with _manager(self.ami) as manager, asyncio.timeout(CALL_WAIT_S):
                if sip:
                    # What is peculiar to a call does not travel over SIP.
                    await manager.do(Action="Setvar", Variable="BELS_AGI", Value=f"agi://127.0.0.1:{agi}/readings")
                await manager.do(
                    Action="Originate",
                    Channel=f"PJSIP/{number}@trunk" if sip else f"Local/{number}@bels-menu/n",
                    ChannelId=f"phone-{number}",
                    Context="robot",
                    Exten="wait",
                    Priority="1",
                    Timeout="30000",
                    **{"CallerID": f"<{phone}>"} if phone else {"CallerID": "Anonymous <anonymous>"},
                    Variable=given,
                    Async="true",
                )
                return await self._hear(manager, number, list(keys))
        finally:
            del self._calls[number]

    async def _hear(self, manager: _Manager, number: str, keys: list[str]) -> Heard:
        heard, phone = Heard(), f"phone-{number}"
        while True:
            event = await self._calls[number].get()
            match event["Event"]:
                case "AGIExecStart":
                    words = [a.replace("\\", "") or b for a, b in _ARGUMENT.findall(event["Command"])]
                    match words:
                        case ["STREAM", "FILE", file, *_]:
                            heard.sounds.append(file.rpartition("/")[2])
                            over, is_over, pressed = (keys or [""])[0].partition(OVER)
                            if is_over and over in ("", heard.sounds[-1]):
                                del keys[0]
                                await self._press(manager, phone, pressed)
                        case ["SAY", "DIGITS", digits, *_]:
                            heard.sounds.append(digits)
                        case ["WAIT", "FOR", "DIGIT", *_]:
                            heard.waits += 1
                            await self._press(manager, phone, keys.pop(0) if keys else HANG_UP)
                        case _:
                            pass
                case "Newexten" if event["Application"] in ("Playback", "Queue", "Hangup"):
                    heard.next.append(f"{event['Application']} {event.get('AppData', '').rpartition('/')[2]}".strip())
                case "Hangup":
                    return heard
                case _:
                    pass

    async def _press(self, manager: _Manager, phone: str, keys: str) -> None:
        if keys == HANG_UP:
            await manager.do(Action="Hangup", Channel=phone)
        elif keys != SILENT:
            for key in keys:
                await manager.do(Action="PlayDTMF", Channel=phone, Digit=key, Duration=str(KEY_MS))


@dataclass(slots=True)
class _Manager:
    """A session with the manager interface."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def do(self, **action: str) -> None:
        """Let Asterisk do something, and wait until it has."""
        self.writer.write("".join(f"{name}: {value}\r\n" for name, value in action.items()).encode() + b"\r\n")
        async with asyncio.timeout(ANSWER_WAIT_S):
            while (answer := await self.read()).get("Response") is None:
                pass
        # Whoever has left cannot press a key or hang up any more.
        assert answer["Response"] == "Success" or "No such channel" in answer["Message"], (action, answer)

    async def read(self) -> dict[str, str]:
        """Read an event or an answer."""
        block = await self.reader.readuntil(b"\r\n\r\n")
        lines = (line.partition(":") for line in block.decode("utf-8", "replace").splitlines() if ":" in line)
        return {name: value.strip() for name, _, value in lines}


@asynccontextmanager
async def _manager(port: int, *, events: bool = False) -> AsyncIterator[_Manager]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        await reader.readline()
        manager = _Manager(reader, writer)
        await manager.do(Action="Login", Username="test", Secret=SECRET, Events="on" if events else "off")
        yield manager
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def asterisk(folder: Path, prompts: Path) -> Iterator[Asterisk]:
    """Run Asterisk in an empty folder, with the dialplan that we deliver and the recordings of a folder.

    :raises RuntimeError: it does not start.
    """
    library = f"{platform.machine()}-linux-gnu"
    modules = next(
        path
        for path in (PRIVATE / f"usr/lib/{library}/asterisk/modules", PRIVATE / "usr/lib/asterisk/modules")
        if path.is_dir()
    )
    ami, sip, rtp = free_port(), free_port(), 20_000 + 2 * (free_port() % 10_000)
    (folder / "etc").mkdir()
    (folder / "spool").mkdir()
    given = {
        "asterisk": ASTERISK.format(folder=folder, modules=modules, private=PRIVATE, calls=CALLS_MAX),
        "modules": "\n".join(["[modules]", "autoload = yes", *(f"noload = {name}.so" for name in MODULES_LEFT_OUT)]),
        "pjsip": PJSIP.format(sip=sip),
        "rtp": f"[general]\nrtpstart = {rtp}\nrtpend = {rtp + RTP_PORTS}\n",
        "extensions": EXTENSIONS.format(deployed=DEPLOYED, prompts=prompts, call=int(CALL_WAIT_S)),
        "queues": QUEUES,
        "manager": MANAGER.format(ami=ami, secret=SECRET),
        "http": "[general]\nenabled = no\n",
        "logger": LOGGER,
        **dict.fromkeys(EMPTY, ""),
    }
    for name, text in given.items():
        (folder / "etc" / f"{name}.conf").write_text(text + "\n")
    loader = next(path for path in (PRIVATE / f"usr/lib/{library}").glob("ld-linux*.so.*"))
    paths = ":".join(str(PRIVATE / path) for path in ("usr/lib", f"lib/{library}", f"usr/lib/{library}"))
    command = [
        str(loader),
        "--library-path",
        paths,
        str(PRIVATE / "usr/sbin/asterisk"),
        "-C",
        str(folder / "etc/asterisk.conf"),
        "-f",
    ]
    with (folder / "console").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait(process, folder)
        yield Asterisk(folder, ami, sip)
    finally:
        # It would wait for calls to end, and nothing of it is kept.
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_WAIT_S
    log = folder / "full"
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and "Asterisk Ready" in log.read_text("utf-8", "replace"):
            return
        time.sleep(0.05)
    said = (folder / "console").read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"Asterisk does not start:\n{said}")
