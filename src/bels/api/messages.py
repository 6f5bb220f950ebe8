"""Every mutation is a message to intake: its name, its content, and what to say when nothing could be stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from re import compile as pattern

import msgspec
from graphql import GraphQLError

from bels.access.callers import Caller, Kind, Right
from bels.access.documents import is_note
from bels.access.people import find_person
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.api.inputs import BehalfInput
from bels.domain.commands import Claim, Command
from bels.domain.events import ReadingRefused
from bels.domain.read_value import holds_contact, quoted_number
from bels.domain.receive_payment import is_suspense
from bels.domain.terms import Channel
from bels.journal.entry import Behalf
from bels.journal.faults import UNAVAILABLE
from bels.journal.journal import RULEBOOK
from bels.messages import Message, Outcome, TryLater
from bels.payments.cards.refusals import holds_card_number

KEY_LENGTH_MAX = 200

PARTIES = ("HOLDER", "MEMBER", "REPRESENTATIVE")
"""For whom an operator may act who has no id of his own here."""

_DATE = pattern(r"\b(?:\d{1,2}\.\d{1,2}\.\d{4}|\d{4}-\d{2}-\d{2})\b")
"""The day of a document is no number of it."""

_KEPT = pattern(r" (?:reading|cancel|refund|corrected|rest)\b")

_encode = msgspec.json.Encoder().encode


class TryLaterError(GraphQLError):
    """Nothing was stored; the same request may be sent again."""

    def __init__(self) -> None:
        message = "Сервис недоступен, сообщение НЕ принято. Повторите тот же запрос позже."
        super().__init__(message, extensions={"code": "TRY_LATER", "retryable": True})


@contextmanager
def or_later() -> Iterator[None]:
    """Let a client try later whose request the database could not be reached for.

    :raises TryLaterError: nothing was stored.
    """
    try:
        yield
    except (TryLater, *UNAVAILABLE):
        raise TryLaterError from None


def is_key(key: str) -> bool:
    """Say whether a text can name a message."""
    return bool(key.strip()) and len(key) <= KEY_LENGTH_MAX


def may_name(caller: Caller, key: str) -> bool:
    """Say whether a text can name a message of a caller: of a partner one that is not kept for what comes with its payments.

    A payment's reading, its cancellation, its correction go by the payment's id, a blank and a word; a message that had taken
    such a name before would stand in the way of that.
    """
    return is_key(key) and not (caller.kind is Kind.PARTNER and _KEPT.search(key))


def key_of(key: str, field: str = "idempotencyKey") -> str:
    """Take a text as the name of a message.

    :raises BadUserInputError: it is empty or too long.
    """
    if not is_key(key):
        raise BadUserInputError(f"`{field}` must have 1 to {KEY_LENGTH_MAX} characters.")
    return key


def raw_of(content: object) -> str:
    """Write the content of a message: the same key with another content is refused."""
    return _encode(content).decode()


def content_of(given: object) -> object:
    """Give an input as the content of a message: without ``behalf`` where nobody said it, as it was before there was one."""
    if getattr(given, "behalf", None) is not None:
        return given
    return {f.name: getattr(given, f.name) for f in fields(given) if f.name != "behalf"}  # type: ignore[arg-type]  # an input is a dataclass


async def behalf_of(info: Info, given: BehalfInput | None) -> Behalf | None:
    """Read for whom an operator acts.

    :raises GraphQLError: somebody else than an operator says so.
    :raises BadUserInputError: the party is nobody that there is, or the note of the document cannot be kept for ever.
    """
    if given is None:
        return None
    if Right.OPERATOR not in info.context.caller.rights:
        raise GraphQLError("Only an operator acts on behalf of somebody.", extensions={"code": "FORBIDDEN"})
    who = given.who.strip()
    if who not in PARTIES:
        async with info.context.app.pool.acquire() as db:
            if await find_person(db, who) is None:
                raise BadUserInputError(f"`behalf.who` must be one of {', '.join(PARTIES)}, or the id of a person.")
    document = given.document.strip() if given.document is not None else None
    if document is not None and not is_note(_DATE.sub("…", document)):
        raise BadUserInputError(
            "`behalf.document` must have 3 to 200 characters, without phones, e-mails and whole numbers of documents."
        )
    return Behalf(who, given.ground, document)


def name_of(info: Info, caller: Caller, key: str) -> str:
    """Name a caller's message, for ever; a key that could be somebody's phone or e-mail is sealed."""
    return info.context.app.door.raw_texts.guarded(caller.message_id(key))


def note_of(text: str, field: str) -> str:
    """Take what an operator or a partner writes down for ever.

    :raises BadUserInputError: it holds a phone, an e-mail or the number of a card.
    """
    if holds_contact(text):
        raise BadUserInputError(f"`{field}` must hold no phone and no e-mail: it is kept for ever.")
    if holds_card_number(text):
        raise BadUserInputError(f"`{field}` must hold no number of a card: it is kept for ever.")
    return text


def claim_of(caller: Caller) -> Claim | None:
    """Say whose word a reading is: a gateway passes on what somebody said to it, and vouches for nobody.

    Who has a credential of his own makes no claim. In ГИС ЖКХ people are signed in, so that one speaks for them.
    """
    if caller.kind is not Kind.GATEWAY or caller.channel is Channel.GIS:
        return None
    return Claim(caller.channel, proven=caller.channel is not Channel.EMAIL)


def message_of(
    info: Info,
    caller: Caller,
    key: str,
    account: str,
    command: Command | ReadingRefused,
    raw: str,
    field: str = "idempotencyKey",
    behalf: Behalf | None = None,
) -> Message:
    """Make a message of a caller: its channel is the credential's, its name the caller's key; ``raw`` tells ``behalf``, too.

    :raises BadUserInputError: the key is empty or too long, or is kept for what comes with a partner's payments.
    """
    if not may_name(caller, key_of(key, field)):
        raise BadUserInputError(
            f"`{field}` of a partner must not have `reading`, `cancel`, `refund`, `corrected` or `rest` after a blank: such"
            " names are kept for what comes with payments."
        )
    name = name_of(info, caller, key)
    if account != RULEBOOK:
        # What was written is an operator's to read, should the message be parked, and nobody else's.
        raw = info.context.app.door.raw_texts.guarded(raw)
        # A payer who gives a phone for an account is not to be found by it.
        account = account if is_suspense(account) else quoted_number(account)
    return Message(caller.channel, name, caller.actor, account, command, raw, info.context.request_id, behalf)


async def submit(info: Info, message: Message) -> Outcome:
    """Hand a message in and wait for its outcome.

    :raises TryLaterError: nothing was stored.
    """
    try:
        return await info.context.app.intake.submit(message)
    except TryLater:
        raise TryLaterError from None
