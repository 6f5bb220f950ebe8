"""Read what is searched for from texts: of a query string, of a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from re import compile as pattern

from bels.audit.trail.finding import KINDS, TrailFilter
from bels.domain.periods import MOSCOW, period
from bels.domain.terms import Channel, Money, Period

NAMES = (
    "kind",
    "channel",
    "actor",
    "rule",
    "since",
    "until",
    "period",
    "amountMin",
    "amountMax",
    "account",
    "receipt",
)
"""What may be named; kind and channel several times, or with commas between."""
TEXT_MAX = 200
SEVERAL_MAX = 50

_SEVERAL = frozenset({"kind", "channel"})
_SUM = pattern(r"-?[0-9]{1,12}(\.[0-9]{1,2})?")
_PHONE = pattern(r"(?:\d[\s()-]*){7}")
_DAY = pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ACCOUNT = pattern(r"[0-9A-Za-z:_-]{1,40}")


class FilterError(ValueError):
    """Something cannot be searched for; the sentence says what."""


def read_filter(given: Mapping[str, Sequence[str]]) -> TrailFilter:
    """Read a filter: ``since`` and ``until`` are moments with an offset, or days of Moscow.

    :raises FilterError: a name or a value cannot be meant.
    """
    texts = {}
    for name, values in given.items():
        if name not in NAMES:
            raise FilterError(f"{name[:40]!r} is none of {', '.join(NAMES)}")
        several = [part for value in values for part in (value.split(",") if name in _SEVERAL else [value])]
        times_max = SEVERAL_MAX if name in _SEVERAL else 1
        if len(several) > times_max:
            raise FilterError(f"{name} is given {len(several)} times, it may be {times_max}")
        if any(not part or len(part) > TEXT_MAX or not part.isprintable() for part in several):
            raise FilterError(f"{name} must be a text of 1 to {TEXT_MAX} characters")
        texts[name] = several
    one = {name: values[0] for name, values in texts.items()}
    return TrailFilter(
        kinds=tuple(_kind(text) for text in texts.get("kind", ())),
        channels=tuple(_channel(text) for text in texts.get("channel", ())),
        actor=_actor(one.get("actor")),
        rule=one.get("rule"),
        period=_period(one.get("period")),
        amount_min=_sum("amountMin", one.get("amountMin")),
        amount_max=_sum("amountMax", one.get("amountMax")),
        since=_moment("since", one.get("since")),
        until=_moment("until", one.get("until")),
        account=_account(one.get("account")),
        receipt=one["receipt"].upper() if "receipt" in one else None,
    )


def _actor(text: str | None) -> str | None:
    # What is searched for stands in the record of access: a phone or an address is no actor, and must not come there.
    if text is not None and ":" not in text and ("@" in text or _PHONE.search(text) is not None):
        raise FilterError("actor is named as entries name it, as sms:3f0c..., never by a phone or an address")
    return text


def _kind(text: str) -> str:
    if text not in KINDS:
        raise FilterError(
            f"there is no kind {text[:60]!r}; an entry's kind is the name of its event, as PaymentReversed"
        )
    return text


def _channel(text: str) -> Channel:
    try:
        return Channel(text.lower())
    except ValueError:
        raise FilterError(f"there is no channel {text[:60]!r}: {', '.join(Channel)}") from None


def _period(text: str | None) -> Period | None:
    try:
        return period(text) if text is not None else None
    except ValueError:
        raise FilterError("period is a month: YYYY-MM") from None


def _sum(name: str, text: str | None) -> Money | None:
    if text is not None and _SUM.fullmatch(text) is None:
        raise FilterError(f"{name} is a sum in roubles: 1245.05")
    return Decimal(text).quantize(Decimal("0.01")) if text is not None else None


def _account(text: str | None) -> str | None:
    if text is not None and _ACCOUNT.fullmatch(text) is None:
        raise FilterError("account has seven digits")
    return text


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=MOSCOW).astimezone(UTC)
        # A plus of an offset that was not escaped comes as a blank.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError(text)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise FilterError(f"{name} is a day, 2026-11-20, or a moment, 2026-11-20T08:00:00Z") from None
