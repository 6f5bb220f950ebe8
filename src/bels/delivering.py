"""What goes out, put together: who plans it, by the clock, and who sends it; in the server or in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from bels.access.door import Door
from bels.access.quota import forget_spent
from bels.app import AppError, Bels
from bels.audit_jobs import audit_jobs
from bels.channels.chat import forget_updates
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel
from bels.outgoing.choices import UNSUBSCRIBE_KEY, forget_households
from bels.outgoing.deliver import Post, deliver_answers, deliver_chosen
from bels.outgoing.jobs import forget_jobs, working
from bels.outgoing.kannel import Report, kannel_sender
from bels.outgoing.mail import mail_sender
from bels.outgoing.outbox import TextState, delivered, forget_texts
from bels.outgoing.outcomes import NEWS_FOR, RECENT, plan_notices
from bels.outgoing.reminders import plan_reminders
from bels.outgoing.results import Senders
from bels.partner_jobs import partner_jobs
from bels.payments.webhooks.subscriptions import forget_deliveries
from bels.reception.codes import forget_codes
from bels.reception.dialogue.talking import TURNS_KEPT, forget_dialogues
from bels.reception.evidence import forget_loose_photos

EVERY_MINUTE = "* * * * *"
EVERY_HOUR_OF_THE_DAY = "5 6-17 * * *"
"""From 09:05 to 20:05 Moscow time, in UTC. Planning again plans nothing twice, so a worker that was away catches up."""

EVERY_NIGHT = "40 0 * * *"

DELIVER, NEWS, PLAN, FORGET = "deliver_due", "plan_notices", "plan_reminders", "forget"


async def post_of(bels: Bels, door: Door, senders: Senders) -> Post:
    """Put together what texts are sent with.

    :raises MasterKeyError: the master key is another one.
    """
    # Read now: the first use of a named key takes a connection of the pool, and they are all in use while texts are sent.
    await bels.vault.load(UNSUBSCRIBE_KEY, "links")
    return Post(bels.pool, bels.intake, bels.vault, door.raw_texts, senders, bels.settings.channels.public_url)


@asynccontextmanager
async def opened_senders(bels: Bels, door: Door) -> AsyncIterator[Senders]:
    """Open a sender for every gateway that the settings name.

    :raises AppError: a file with a password or a token cannot be read, or holds none.
    """
    given, senders = bels.settings.channels, Senders()
    async with AsyncExitStack() as stack:
        if given.sendsms is not None:
            http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
            url, user = _without_user(given.sendsms)
            password = secret_from(given.sendsms_password_file, "BELS_SENDSMS_PASSWORD_FILE")
            # Where Kannel stands on this machine, it brings its reports to this machine's own server.
            reports_to = given.sms_reports or f"http://{bels.settings.host}:{bels.settings.port}"
            senders[Channel.SMS] = kannel_sender(http, url, user, password, reports_to, door.sender_key)
        if given.smtp is not None and given.mailbox is not None:
            host, port = given.smtp
            senders[Channel.EMAIL] = mail_sender(host, port, given.mailbox, bels.intake.clock)
        if given.telegram_token_file is not None:
            # The libraries of the bots take long to load: only who has a bot waits for them.
            from bels.outgoing.telegram import telegram_bot, telegram_sender

            token = secret_from(given.telegram_token_file, "BELS_TELEGRAM_TOKEN_FILE")
            telegram = telegram_bot(token, given.telegram_api)
            stack.push_async_callback(telegram.session.close)
            senders[Channel.TELEGRAM] = telegram_sender(telegram)
        if given.max_token_file is not None:
            from bels.outgoing.max_messages import max_bot, max_sender

            bot = max_bot(secret_from(given.max_token_file, "BELS_MAX_TOKEN_FILE"), given.max_api)
            stack.push_async_callback(bot.close_session)
            senders[Channel.MAX] = max_sender(bot)
        yield senders


def secret_from(file: Path | None, name: str) -> str:
    """Read a secret from its file.

    :raises AppError: there is none.
    """
    try:
        secret = file.read_text("utf-8").strip() if file is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise AppError(f"{name} cannot be read: {type(error).__name__}") from error
    if not secret:
        raise AppError(f"{name} must name a file with the secret in it")
    return secret


def _without_user(url: str) -> tuple[str, str]:
    """Take the user out of a URL: ``http://bels@127.0.0.1:13013/cgi-bin/sendsms``."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), unquote(parts.username or "")


@asynccontextmanager
async def delivering(bels: Bels, door: Door, senders: Senders) -> AsyncIterator[Post]:
    """Plan and send while this is open, and do what is due for partners; what is at its gateway is finished before it is left.

    :raises AppError: a partner's contract or secret cannot be used.
    :raises MasterKeyError: the master key is another one.
    """
    post = await post_of(bels, door, senders)
    answering, telling, stopping = asyncio.Lock(), asyncio.Lock(), asyncio.Event()

    async def deliver() -> None:
        await asyncio.gather(answer(), tell())

    async def answer() -> None:
        async with answering:
            await deliver_answers(post, stopping.is_set)

    async def tell() -> None:
        # Whoever is at it goes on until nothing is due. A turn that waited for it behind a slow gateway would keep answers
        # waiting too; what it may miss is found a minute later.
        if not telling.locked():
            async with telling:
                await deliver_chosen(post, stopping.is_set)

    async def recent_news() -> None:
        async with bels.pool.acquire() as db:
            now = post.now()
            await plan_notices(db, now, now - RECENT)

    async def plan() -> None:
        now = post.now()
        await plan_reminders(bels.pool, bels.intake, now)
        async with bels.pool.acquire() as db:
            await plan_notices(db, now, now - NEWS_FOR)

    async def forget() -> None:
        async with bels.pool.acquire() as db:
            await forget_households(db)
            await forget_texts(db, post.now())
            await forget_jobs(db)
            await forget_codes(db, post.now())
            await forget_updates(db, post.now())
            await forget_loose_photos(db, post.now())
            await forget_spent(db, moscow_date(post.now()))
            while await forget_deliveries(db, post.now()):
                pass
            while await forget_dialogues(db, post.now() - TURNS_KEPT):
                pass

    schedules = {
        DELIVER: (EVERY_MINUTE, deliver),
        NEWS: (EVERY_MINUTE, recent_news),
        PLAN: (EVERY_HOUR_OF_THE_DAY, plan),
        FORGET: (EVERY_NIGHT, forget),
    }
    sealing = audit_jobs(bels, bels.settings.audit.seals, hourly=bels.settings.audit.seal_hourly)
    async with partner_jobs(bels, door) as own, working(bels.pool, deliver, {**schedules, **own, **sealing}):
        try:
            yield post
        finally:
            stopping.set()


@asynccontextmanager
async def delivering_as_set(bels: Bels, door: Door, opened: Senders | None = None) -> AsyncIterator[None]:
    """Plan and send in a server where BELS_DELIVER=on asks for it; elsewhere do nothing.

    ``opened`` are the senders that the server has open already.

    :raises AppError: a file with a password or a token cannot be read.
    :raises MasterKeyError: the master key is another one.
    """
    if not bels.settings.channels.deliver:
        yield
        return
    async with AsyncExitStack() as stack:
        if not opened:
            opened = await stack.enter_async_context(opened_senders(bels, door))
        await stack.enter_async_context(delivering(bels, door, opened))
        yield


async def reported(bels: Bels, key: str, report: Report) -> None:
    """Keep what Kannel reports of a text; that the operator has it is no news."""
    if report is not Report.TAKEN:
        await delivered(bels.pool, key, TextState(report.value), now=bels.intake.clock())
