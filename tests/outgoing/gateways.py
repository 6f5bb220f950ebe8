"""Gateways that keep what they are handed: an HTTP one that speaks as Kannel's sendsms does, and an SMTP one."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from aiosmtpd.smtp import SMTP

from bels.domain.terms import Channel
from bels.outgoing.kannel import kannel_sender
from bels.outgoing.mail import mail_sender
from bels.outgoing.results import Dead, Letter, Result, Senders, Sent, Text, TryAgain

MAILBOX = "bels@example.ru"


@dataclass(frozen=True, slots=True)
class Sms:
    """An SMS as Kannel has it."""

    to: str
    text: str
    dlr_url: str


@dataclass
class Gateways:
    """What was handed over: ``said`` is what the HTTP gateway answers next (status), by default 202.

    A bot's texts are in ``chats``; ``blocked`` chats answer so, ``pause_s`` is its 429. ``wait_s`` makes the HTTP gateway slow.
    """

    sms: list[Sms] = field(default_factory=list)
    letters: list[EmailMessage] = field(default_factory=list)
    chats: list[tuple[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    said: list[int] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    pause_s: float | None = None
    no_mailbox: set[str] = field(default_factory=set)
    senders: Senders = field(default_factory=dict)
    url: str = ""
    wait_s: float = 0.0

    async def handle_RCPT(self, _: Any, __: Any, envelope: Any, address: str, ___: Any) -> str:
        """Refuse a mailbox that is not there."""
        if address in self.no_mailbox:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        """Take a letter."""
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.letters.append(parsed)
        return "250 2.0.0 Ok: queued as 4F2A17"

    async def to_chat(self, address: str, what: Text | Letter, key: str) -> Result:
        """Take a text for a chat, as a bot's sender would tell it."""
        assert isinstance(what, Text)
        self.keys.append(key)
        if address in self.blocked:
            return Dead("BLOCKED")
        if self.pause_s is not None:
            return TryAgain("HTTP_429", self.pause_s)
        self.chats.append((address, what.text))
        return Sent("42", delivered=True)

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            given = {k: v[0] for k, v in parse_qs(urlsplit(head.split()[1]).query).items()}
            await asyncio.sleep(self.wait_s)
            status = self.said.pop(0) if self.said else 202
            if status == 202:
                self.sms.append(Sms(given["to"], given["text"], given.get("dlr-url", "")))
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            # Whoever asked was killed.
            pass
        finally:
            writer.close()


@asynccontextmanager
async def opened_gateways(clock: Callable[[], datetime]) -> AsyncIterator[Gateways]:
    """Open the gateways, and give the real senders that speak to them."""
    gateways = Gateways()
    loop = asyncio.get_running_loop()
    http = await asyncio.start_server(gateways.http, "127.0.0.1", 0)
    smtp = await loop.create_server(lambda: SMTP(gateways, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    async with httpx.AsyncClient(trust_env=False) as client:
        gateways.url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}/cgi-bin/sendsms"
        gateways.senders = {
            Channel.SMS: kannel_sender(client, gateways.url, "bels", "secret", "http://127.0.0.1:1", b"s" * 32),
            Channel.EMAIL: mail_sender("127.0.0.1", smtp.sockets[0].getsockname()[1], MAILBOX, clock),
            Channel.TELEGRAM: gateways.to_chat,
        }
        yield gateways
    for server in (http, smtp):
        server.close()
        await server.wait_closed()
