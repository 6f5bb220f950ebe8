"""Letters out, by SMTP to our own mail server, which queues and repeats; what it says at once is what we know of them.

The server is one that we run, so it is trusted: on this machine without TLS, elsewhere with TLS where it offers it, and then its
certificate must be good.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from re import compile as pattern

import aiosmtplib
from aiosmtplib.errors import (
    SMTPDataError,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
)

from bels.outgoing.results import Dead, Letter, Refused, Result, Sender, Sent, Text, TryAgain

NAME = "БЭЛС"
SUBJECT = "Сообщение о вашем лицевом счёте"
WAIT_S = 30.0
"""The mail server stands near and only queues."""

_QUEUED = pattern(r"queued as ([0-9A-Za-z]{4,40})")
_NO_MAILBOX = pattern(r"\b5\.1\.[0-36]\b|\b5\.2\.1\b|[Uu]ser unknown|[Nn]o such (?:user|mailbox)")
_ADDRESS = pattern(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[^\s@<>,;:\"()\[\]\\]{1,255}")
_UNKNOWN_MAILBOX = (550, 551, 553)


def mail_sender(host: str, port: int, mailbox: str, clock: Callable[[], datetime], *, wait_s: float = WAIT_S) -> Sender:
    """Make the sender of letters from ``mailbox``, through the mail server at a host and port."""
    client_tls = None if not _is_this_machine(host) else False

    async def send(address: str, what: Text | Letter, key: str) -> Result:
        if _ADDRESS.fullmatch(address) is None:
            return Dead("BAD_ADDRESS")
        if isinstance(what, Letter):
            message, sender = what.message, what.sender
        else:
            message, sender = _composed(what, address, mailbox, key, clock()), mailbox
        options = [] if address.isascii() else ["SMTPUTF8"]
        try:
            # The library's short way knows no null sender.
            async with aiosmtplib.SMTP(
                hostname=host, port=port, timeout=wait_s, start_tls=client_tls, local_hostname="localhost"
            ) as client:
                _, said = await client.sendmail(sender, [address], message, mail_options=options)
        except (SMTPException, OSError, TimeoutError, ValueError) as error:
            return _result(error)
        queued = _QUEUED.search(said)
        return Sent(queued.group(1) if queued is not None else "")

    return send


def _result(error: Exception) -> Result:
    match error:
        case SMTPRecipientsRefused(recipients=[SMTPRecipientRefused() as first, *_]):
            return _of_recipient(first)
        case SMTPRecipientRefused():
            return _of_recipient(error)
        case SMTPDataError() | SMTPResponseException() if 500 <= error.code < 600:
            return Refused(f"SMTP_{error.code}")
        case SMTPResponseException():
            return TryAgain(f"SMTP_{error.code}")
        case ValueError() | SMTPNotSupported():
            return Refused("BAD_LETTER")
        case _:
            return TryAgain(type(error).__name__)


def _of_recipient(error: SMTPRecipientRefused) -> Result:
    # What the server says may repeat the address, so only its code is kept.
    if error.code < 500:
        return TryAgain(f"SMTP_{error.code}")
    is_gone = error.code in _UNKNOWN_MAILBOX and _NO_MAILBOX.search(error.message)
    return Dead(f"SMTP_{error.code}") if is_gone else Refused(f"SMTP_{error.code}")


def _composed(text: Text, to: str, mailbox: str, key: str, at: datetime) -> bytes:
    """Write a letter of our own accord: a machine did, and one click stops them (RFC 8058)."""
    local, _, domain = to.rpartition("@")
    message = EmailMessage(policy=SMTP if to.isascii() else SMTP.clone(utf8=True))
    message["From"] = Address(NAME, addr_spec=mailbox)
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = " ".join((text.subject or SUBJECT).split())
    message["Date"] = format_datetime(at.astimezone(UTC))
    message["Message-ID"] = f"<{sha256(key.encode()).hexdigest()[:40]}@{mailbox.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    if text.unsubscribe:
        message["List-Unsubscribe"] = f"<{text.unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(text.text, charset="utf-8", cte="base64")
    return message.as_bytes()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
