"""Hand a text to Kannel's ``sendsms``, and read the reports that it brings about it (channels 3).

Kannel answers 202 when it has queued a text, 403 for a wrong user; whatever else it says, it does not have the text. Its reports
come back as a request to the URL that went with the text: it names the text by our key, signed, because a report has no secret
of its own.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from urllib.parse import quote

import httpx

from bels.domain.terms import Word
from bels.outgoing.results import Dead, Letter, Refused, Result, Sender, Sent, Text, TryAgain

SEND_WAIT_S = 10.0
TEXT_LENGTH_MAX = 335
"""Five Cyrillic parts, which is what Kannel lets a user send at once (``max-messages``)."""

DLR_MASK = 31
"""Report everything: 1 delivered, 2 failed, 4 queued, 8 the operator has it, 16 the operator refused it."""

QUEUED, QUEUE_FULL, WRONG_USER = 202, 503, 403
SIGNED = b"bels delivery report"
SIGNATURE_BYTES = 16


class Report(Word):
    """What a delivery report says."""

    TAKEN = "TAKEN"
    """The operator has it."""
    DELIVERED = "DELIVERED"
    """The phone has it."""
    FAILED = "FAILED"
    """It will never arrive."""


REPORTS = {"1": Report.DELIVERED, "2": Report.FAILED, "8": Report.TAKEN, "16": Report.FAILED}
"""Kannel's ``%d``; 4 (queued at us) is no news."""


async def send_sms(
    http: httpx.AsyncClient, url: str, user: str, password: str, to: str, text: str, dlr_url: str
) -> Sent | Refused | TryAgain:
    """Hand one text over; Cyrillic goes as UCS-2, in as many parts as it needs.

    ``dlr_url`` is where reports go: ``report_url``, or "" for none. A text that Kannel may or may not have (the answer did not
    come) is TryAgain: a text that comes twice is better than one that never comes.
    """
    if len(text) > TEXT_LENGTH_MAX:
        return Refused("TOO_LONG")
    given = {
        "username": user,
        "password": password,
        "to": to,
        "text": text,
        "charset": "UTF-8",
        "coding": "0" if text.isascii() else "2",
    }
    if dlr_url:
        given |= {"dlr-mask": str(DLR_MASK), "dlr-url": dlr_url}
    try:
        answer = await http.get(url, params=given, timeout=SEND_WAIT_S)
    except httpx.HTTPError as error:
        # Its text may hold the URL, and with it the phone and the words.
        return TryAgain(type(error).__name__)
    match answer.status_code:
        case 202:
            return Sent()
        case 403:
            # The password is ours to put right; the text is good.
            return TryAgain("WRONG_USER")
        case status if status >= 500:
            return TryAgain(f"HTTP_{status}")
        case status:
            return Refused(f"HTTP_{status}")


def kannel_sender(
    http: httpx.AsyncClient, url: str, user: str, password: str, reports_to: str | None, secret: bytes
) -> Sender:
    """Make the sender of SMS: ``reports_to`` is our own URL as Kannel sees it, None for no reports; ``secret`` signs the keys."""

    async def send(to: str, what: Text | Letter, key: str) -> Result:
        if not isinstance(what, Text):
            return Refused("NOT_A_TEXT")
        if not to.removeprefix("+").isdigit():
            return Dead("NO_PHONE")
        dlr_url = report_url(reports_to, key, secret) if reports_to is not None else ""
        return await send_sms(http, url, user, password, to, what.text, dlr_url)

    return send


def report_url(base: str, key: str, secret: bytes) -> str:
    """Give the URL to which Kannel reports about a text: it writes the kind of report in place of ``%d``."""
    return f"{base}/channels/sms/delivery?key={quote(key, safe='')}&sign={signature(key, secret)}&type=%d"


def signature(key: str, secret: bytes) -> str:
    """Sign the key of a text, so that only who was handed it can report about it."""
    return blake2b(key.encode(), key=secret[:64], person=SIGNED[:16], digest_size=SIGNATURE_BYTES).hexdigest()


def is_signed(key: str, sign: str, secret: bytes) -> bool:
    """Say whether a report names a text of ours."""
    return compare_digest(signature(key, secret).encode(), sign.encode("utf-8", "replace"))
