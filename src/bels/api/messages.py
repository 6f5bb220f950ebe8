"""Every mutation is a message to intake: its name, its content, and what to say when nothing could be stored."""

from __future__ import annotations

import msgspec
from graphql import GraphQLError

from bels.access.callers import Caller
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.domain.commands import Command
from bels.domain.read_value import holds_contact, quoted_number
from bels.domain.receive_payment import is_suspense
from bels.journal.journal import RULEBOOK
from bels.messages import Message, Outcome, TryLater

KEY_LENGTH_MAX = 200

_encode = msgspec.json.Encoder().encode


class TryLaterError(GraphQLError):
    """Nothing was stored; the same request may be sent again."""

    def __init__(self) -> None:
        message = "Сервис недоступен, сообщение НЕ принято. Повторите тот же запрос позже."
        super().__init__(message, extensions={"code": "TRY_LATER", "retryable": True})


def is_key(key: str) -> bool:
    """Say whether a text can name a message."""
    return bool(key.strip()) and len(key) <= KEY_LENGTH_MAX


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


def name_of(info: Info, caller: Caller, key: str) -> str:
    """Name a caller's message, for ever; a key that could be somebody's phone or e-mail is sealed."""
    return info.context.app.door.raw_texts.guarded(caller.message_id(key))


def note_of(text: str, field: str) -> str:
    """Take what an operator writes down for ever.

    :raises BadUserInputError: it holds a phone or an e-mail.
    """
    if holds_contact(text):
        raise BadUserInputError(f"`{field}` must hold no phone and no e-mail: it is kept for ever.")
    return text


def message_of(
    info: Info, caller: Caller, key: str, account: str, command: Command, raw: str, field: str = "idempotencyKey"
) -> Message:
    """Make a message of a caller: its channel is the credential's, its name the caller's key.

    :raises BadUserInputError: the key is empty or too long.
    """
    name = name_of(info, caller, key_of(key, field))
    if account != RULEBOOK:
        # What was written is an operator's to read, should the message be parked, and nobody else's.
        raw = info.context.app.door.raw_texts.guarded(raw)
        # A payer who gives a phone for an account is not to be found by it.
        account = account if is_suspense(account) else quoted_number(account)
    return Message(caller.channel, name, caller.actor, account, command, raw, info.context.request_id)


async def submit(info: Info, message: Message) -> Outcome:
    """Hand a message in and wait for its outcome.

    :raises TryLaterError: nothing was stored.
    """
    try:
        return await info.context.app.intake.submit(message)
    except TryLater:
        raise TryLaterError from None
