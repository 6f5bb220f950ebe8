"""The channels put together, by hand: what of them is served over HTTP, and the gateways that speak to us otherwise.

Only what serves imports this, and the libraries of the bots are loaded only where there is a bot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request
from starlette.routing import Route

from bels.access.callers import Kind
from bels.access.door import Door
from bels.access.links import link_url, make_confirm_link
from bels.access.tenures import Tenure, find_tenure
from bels.api.context import RIGHTS, caller_of
from bels.api.engine.context import RefusedError
from bels.app import AppError, Bels
from bels.channels.chat import Turn, Webhook
from bels.channels.chat_topics import chat_desk, last_bill
from bels.channels.letter_answers import through_outbox
from bels.channels.lmtp import ConfirmLink, Mailroom, serving_letters
from bels.channels.phone_webhook import phone_webhook_routes
from bels.channels.prompts import PromptsError
from bels.channels.sms import gateway_of, guard, sms_routes
from bels.channels.sms_providers import ProvidersError, provider_routes, read_providers
from bels.channels.voice import LOOPBACK, fastagi
from bels.delivering import delivering_as_set, opened_senders, reported, secret_from
from bels.domain.terms import Channel
from bels.messages import TryLater
from bels.outgoing.kannel import Report
from bels.outgoing.results import Refused as NotSent
from bels.outgoing.results import Result, Senders, Text
from bels.reception.counter import Counter, database
from bels.reception.dialogue.desk import Desk, desk_of
from bels.reception.dialogue.talking import take_turn
from bels.reception.dialogue.turns import Reply, Said, Talk
from bels.reception.evidence import Evidence, find_photo, keep_photo, open_photo
from bels.reception.office import Office
from bels.visitors import Visitors
from bels.web.evidence import evidence_routes
from bels.web.form import form_routes
from bels.web.link_page import link_routes
from bels.web.pages import asset_routes, opened_pages
from bels.web.unsubscribe import unsubscribe_routes


@dataclass(frozen=True, slots=True)
class Gateways:
    """What of the channels is served over HTTP, and what runs beside it."""

    routes: tuple[Route, ...]
    running: Callable[[], AbstractAsyncContextManager[None]] = field(repr=False)
    calls: Callable[[], int] = field(repr=False)
    """How many calls are in the voice menu."""


def gateways_of(bels: Bels, door: Door, office: Office) -> Gateways:
    """Put the channels together, as far as the settings name their gateways; SMS, web form and voice webhook always are.

    :raises AppError: a table or a secret cannot be read.
    """
    counter = Counter(bels.pool, bels.intake, door)
    senders: Senders = {}
    desk, pages = desk_of(counter, office), opened_pages()
    webhooks = _bots(bels, counter, office)
    calls: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_sending(bels, door, senders))
            for webhook in webhooks:
                await stack.enter_async_context(webhook.running())
            await stack.enter_async_context(_voice(bels, counter, desk, calls))
            await stack.enter_async_context(_letters(bels, counter))
            yield

    routes = (
        *_sms(bels, counter, senders),
        *phone_webhook_routes(counter, gateway=_by_token(door, Channel.VOICE), desk=desk),
        *(webhook.route for webhook in webhooks),
        *asset_routes(pages),
        *form_routes(counter, pages),
        *link_routes(counter, pages),
        *evidence_routes(_Photos(counter.pool, door, counter), RIGHTS),
        *unsubscribe_routes(bels.pool, bels.vault),
    )
    return Gateways(routes, running, lambda: len(calls))


def _sms(bels: Bels, counter: Counter, senders: Senders) -> list[Route]:
    """Put the SMS routes together: Kannel's, its delivery reports, and those of the providers in the table."""

    async def at_this_machine(request: Request) -> bool:
        try:
            return (await caller_of(counter.door, request)).kind is Kind.LOCAL
        except RefusedError:
            return False

    async def delivered(key: str, report: Report) -> None:
        await reported(bels, key, report)

    async def say(phone: str, text: str, key: str) -> Result:
        send = senders.get(Channel.SMS)
        return await send(phone, Text(text), key) if send is not None else NotSent("NO_GATEWAY")

    token, table = bels.settings.sms_token, bels.settings.channels.sms_providers
    gateway = None if counter.door.local and token is None else gateway_of(counter, Channel.SMS)
    may = guard(token, gateway, at_this_machine)
    try:
        providers = read_providers(table) if table is not None else {}
    except ProvidersError as error:
        raise AppError(f"BELS_SMS_PROVIDERS: {error}") from error
    return [
        *sms_routes(counter, may, delivered=delivered),
        *provider_routes(counter, providers, may, say=say),
    ]


@asynccontextmanager
async def _voice(bels: Bels, counter: Counter, desk: Desk, calls: set[asyncio.Task[None]]) -> AsyncIterator[None]:
    """Serve the voice menu to Asterisk, where there is one.

    :raises AppError: its port or its recordings cannot be used.
    """
    channels = bels.settings.channels
    if channels.agi is None:
        yield
        return
    if channels.prompts is None:
        raise AppError("BELS_AGI needs BELS_PROMPTS, the folder of the voice menu's recordings")
    async with AsyncExitStack() as stack:
        try:
            menu = fastagi(
                counter,
                *channels.agi,
                channels.prompts,
                peers=(*LOOPBACK, *channels.agi_peers),
                take=partial(take_turn, desk=desk),
                drain_s=bels.settings.drain_s,
                under_way=calls,
                # Two servers stand behind one Asterisk, as behind one nginx, and each is restarted while the other answers.
                shared=True,
            )
            await stack.enter_async_context(menu)
        except (PromptsError, OSError) as error:
            raise AppError(f"BELS_AGI: {error}") from error
        yield


@asynccontextmanager
async def _letters(bels: Bels, counter: Counter) -> AsyncIterator[None]:
    """Take letters from the mail server, where there is one.

    :raises AppError: its port cannot be used, or our address is not known.
    """
    channels = bels.settings.channels
    if channels.lmtp is None:
        yield
        return
    if channels.mailbox is None:
        raise AppError("BELS_LMTP needs BELS_MAILBOX, our address")
    post = through_outbox(counter.door.raw_texts, counter.now)
    room = Mailroom(
        counter,
        channels.mailbox,
        channels.authserv_id,
        post,
        confirm_link=_confirm_links(counter, channels.public_url) if channels.public_url is not None else None,
        keep_photo=keep_photo,
    )
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(serving_letters(room, *channels.lmtp, shared=True))
        except OSError as error:
            raise AppError(f"BELS_LMTP: {error}") from error
        yield


def _confirm_links(counter: Counter, public_url: str) -> ConfirmLink:
    """Make links by which the owner of an address confirms what came in its name."""

    async def make(account: str, receipt: str, sender: str) -> str | None:
        async with database(counter) as db:
            token = await make_confirm_link(
                db, counter.door.vault, account, receipt, sender, Channel.EMAIL, counter.now()
            )
        return link_url(public_url, token) if token is not None else None

    return make


def _bots(bels: Bels, counter: Counter, office: Office) -> list[Webhook]:
    """Put the bots together that have a token.

    :raises AppError: a token cannot be read.
    """
    channels = bels.settings.channels
    desk = chat_desk(counter, office, sms=channels.sendsms is not None)
    bill, webhooks = last_bill(counter), []

    async def turn(talk: Talk, turn_id: str, said: Said, raw: str) -> Reply:
        return await take_turn(counter, talk, turn_id, said, raw, desk=desk)

    take: Turn = turn
    if channels.telegram_token_file is not None:
        from bels.channels.telegram import telegram
        from bels.outgoing.telegram import telegram_bot

        token = secret_from(channels.telegram_token_file, "BELS_TELEGRAM_TOKEN_FILE")
        try:
            bot = telegram_bot(token, channels.telegram_api)
        except ValueError as error:
            raise AppError(f"BELS_TELEGRAM_TOKEN_FILE: {error}") from error
        webhooks.append(telegram(counter, bot, take, public_url=channels.public_url, bill=bill))
    if channels.max_token_file is not None:
        from bels.channels import max_bot
        from bels.outgoing import max_messages

        token = secret_from(channels.max_token_file, "BELS_MAX_TOKEN_FILE")
        try:
            own = max_messages.max_bot(token, channels.max_api)
        except ValueError as error:
            raise AppError(f"BELS_MAX_TOKEN_FILE: {error}") from error
        webhooks.append(max_bot.max_bot(counter, own, token, take, public_url=channels.public_url, bill=bill))
    return webhooks


@asynccontextmanager
async def _sending(bels: Bels, door: Door, senders: Senders) -> AsyncIterator[None]:
    """Send what waits, where this process is to; and let answers to providers' SMS go out, where there are providers.

    :raises AppError: a secret cannot be read.
    """
    async with AsyncExitStack() as stack:
        if bels.settings.channels.sms_providers is not None:
            senders |= await stack.enter_async_context(opened_senders(bels, door))
        await stack.enter_async_context(delivering_as_set(bels, door, senders))
        yield


def _by_token(door: Door, channel: Channel) -> Callable[[Request], Awaitable[bool]]:
    """Say whether a request comes from a gateway for a channel.

    :raises TryLater: its credential cannot be judged now.
    """

    async def may(request: Request) -> bool:
        try:
            caller = await caller_of(door, request)
        except RefusedError as refusal:
            if refusal.status == 503:
                raise TryLater(refusal.code) from None
            return False
        return caller.kind is Kind.LOCAL or (caller.kind is Kind.GATEWAY and caller.channel is channel)

    return may


@dataclass(frozen=True, slots=True)
class _Photos(Visitors):
    """Finds photos of displays for whoever may see them."""

    counter: Counter

    async def find(self, evidence: str) -> tuple[Evidence, Tenure] | None:
        """Find a photo, not opened, with the tenure of now of its account."""
        async with self.counter.pool.acquire() as db:
            photo = await find_photo(db, evidence)
            return (photo, await find_tenure(db, photo.account)) if photo is not None else None

    async def open(self, evidence: str) -> bytes | None:
        """Open a photo; None where it is erased."""
        found = await open_photo(self.counter, evidence)
        return found[1] if found is not None else None
