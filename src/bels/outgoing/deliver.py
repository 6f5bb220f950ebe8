"""A turn of sending: what is due is claimed, worded from what is true now, handed to its gateway, and marked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from bels.access.links import LIVES_S_MAX, make_link, revoke
from bels.access.personal import Personal, subject_of
from bels.access.raw_texts import RawTexts
from bels.access.vault import Vault
from bels.access.words import Refused as LinkRefused
from bels.domain.account import Account
from bels.domain.charge_usage import Unpriced, charge_kwh, sum_of
from bels.domain.forecast_estimate import Silent, may_submit
from bels.domain.periods import first_day
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, Money, Period, ReadingStatus
from bels.intake import Intake
from bels.journal.faults import UNAVAILABLE
from bels.journal.write import Db
from bels.outgoing import choices, outbox
from bels.outgoing.addresses import Links, is_own, kept_of, links_of
from bels.outgoing.choices import Choice, Topic
from bels.outgoing.hours import TEXTS_A_DAY, is_quiet, next_morning, today_since
from bels.outgoing.jobs import wake
from bels.outgoing.outbox import ATTEMPTS_MAX, TextState, Waiting
from bels.outgoing.reminders import ReminderKind
from bels.outgoing.results import Dead, Letter, Refused, Result, Sender, Senders, Sent, Text, TryAgain
from bels.outgoing.wording import Wording, named_readings, notice, reminder
from bels.projections import notices, overview, readings
from bels.projections.notices import NoticeKind

logger = logging.getLogger(__name__)

BATCH = 100
"""Texts that are claimed together; they are all sent well within the lease."""

BATCHES_MAX = 20
"""Batches of a turn; what is left wakes the next one."""

TOGETHER = 20
"""Texts that are at gateways at once."""

SEND_WAIT_S = 35.0
"""How long a gateway may take over one text."""

MADE_BY = "reminders"
"""Who makes the links of reminders."""

PAUSED = "PAUSED"
"""The gateway asked for a pause a moment ago: it was not asked again."""

NO_GATEWAY = "NO_GATEWAY"
"""The channel is switched off in this process."""

NO_GATEWAY_WAIT_S = 600.0

NOT_TOLD = "NOT_TOLD"
"""The view of notices does not know it yet."""

TIMED_OUT = "TIMED_OUT"
"""A gateway that did not answer may have taken the text all the same."""


@dataclass(frozen=True, slots=True)
class Post:
    """What texts are sent with; ``public_url`` is how a consumer's browser reaches us, None where links cannot be made."""

    pool: asyncpg.Pool
    intake: Intake
    vault: Vault
    raw_texts: RawTexts
    senders: Senders
    public_url: str | None = None

    def now(self) -> datetime:
        """Tell the time."""
        return self.intake.clock()


@dataclass(slots=True)
class _Turn:
    """A turn under way: gateways that asked to wait, until when, and what of them was logged."""

    paused: dict[Channel, datetime] = field(default_factory=dict)
    said: set[tuple[Channel, str]] = field(default_factory=set)
    """Which faults of which gateways have been logged: once for all texts of a turn."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the households of a batch, read in one go."""

    accounts: dict[str, Account]
    rulebook: Rulebook
    choices: dict[tuple[str, int], list[Choice]]
    links: dict[str, Links]
    kept: dict[str, Personal]
    told: dict[tuple[str, int], int]
    tenures: dict[str, int]


async def deliver_due(post: Post) -> int:
    """Send what is due; count the texts that were handled. Any number of processes may do so at once.

    :raises TryLater: the database cannot be reached.
    """
    return sum(await asyncio.gather(deliver_answers(post), deliver_chosen(post)))


def _never() -> bool:
    return False


async def deliver_answers(post: Post, stopping: Callable[[], bool] = _never) -> int:
    """Send the answers that are due, by day and by night; count them. No batch is begun once it is ``stopping``."""
    turn, handled = _Turn(), 0
    for _ in range(BATCHES_MAX):
        if stopping():
            return handled
        batch = await _claimed(post, answers=True)
        if not batch:
            return handled
        await _in_turns(_answer(post, turn, waiting) for waiting in batch)
        handled += len(batch)
    await _go_on(post)
    return handled


async def deliver_chosen(post: Post, stopping: Callable[[], bool] = _never) -> int:
    """Send the reminders and notices that are due, outside the quiet hours; count them. No batch is begun once it is ``stopping``.

    :raises TryLater: the database cannot be reached.
    """
    turn, handled = _Turn(), 0
    for _ in range(BATCHES_MAX):
        batch = [] if stopping() or is_quiet(post.now()) else await _claimed(post, answers=False)
        if not batch:
            return handled
        known = await _known(post, batch)
        todays = _within_the_day(known, batch)
        await _in_turns(
            _tell(post, turn, waiting, known) if waiting in todays else _tomorrow(post, waiting) for waiting in batch
        )
        handled += len(batch)
    await _go_on(post)
    return handled


async def _go_on(post: Post) -> None:
    async with post.pool.acquire() as db:
        await wake(db)


async def _claimed(post: Post, *, answers: bool) -> list[Waiting]:
    async with post.pool.acquire() as db:
        return await outbox.claim(db, post.now(), BATCH, answers=answers)


async def _in_turns(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do some works at once; one that fails is told, and its text is tried again when its lease is over."""
    gate = asyncio.Semaphore(TOGETHER)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with gate:
            await work

    results = await asyncio.gather(*(one(work) for work in works), return_exceptions=True)
    for failed in (result for result in results if result is not None):
        if not isinstance(failed, Exception):
            raise failed
        if isinstance(failed, UNAVAILABLE):
            logger.warning("a text could not be sent now: %s", type(failed).__name__)
        else:
            logger.error("a text could not be sent", exc_info=failed)


async def _known(post: Post, batch: Sequence[Waiting]) -> _Known:
    numbers = list(dict.fromkeys(waiting.account for waiting in batch))
    households = list(dict.fromkeys((waiting.account, waiting.tenure) for waiting in batch))
    accounts = await post.intake.accounts(numbers)
    async with post.pool.acquire() as db:
        rows = await overview.find(db, numbers)
        sold = await db.fetch("SELECT account, number FROM tenure WHERE account = ANY($1::text[])", numbers)
        return _Known(
            accounts,
            post.intake.rulebook,
            await choices.of_households(db, post.vault, households),
            {number: links_of(row) for number, row in rows.items()},
            await kept_of(db, post.vault, [subject_of(*household) for household in households]),
            await outbox.told_today(db, households, today_since(post.now())),
            {row["account"]: row["number"] for row in sold},
        )


def _within_the_day(known: _Known, batch: Sequence[Waiting]) -> set[Waiting]:
    """Choose what still fits the day of each household, the oldest first."""
    left = {household: TEXTS_A_DAY - count for household, count in known.told.items()}
    fitting = set()
    for waiting in batch:
        household = waiting.account, waiting.tenure
        if left.setdefault(household, TEXTS_A_DAY) > 0:
            left[household] -= 1
            fitting.add(waiting)
    return fitting


async def _tomorrow(post: Post, waiting: Waiting) -> None:
    now = post.now()
    async with post.pool.acquire() as db:
        wait_s = (next_morning(now) - now).total_seconds()
        await outbox.mark_again(db, waiting, "ENOUGH_TODAY", now, wait_s, counts=False)


async def _answer(post: Post, turn: _Turn, waiting: Waiting) -> None:
    """Send what somebody waits for, to the address that is sealed with it."""
    now = post.now()
    async with post.pool.acquire() as db:
        if await _is_over(db, waiting, now):
            return
        found = await outbox.opened(db, post.vault, post.raw_texts, waiting)
        if found is None or waiting.channel is None:
            await outbox.mark_ended(db, waiting, TextState.CANCELLED, "ERASED", now)
            return
    to, body = found
    result = await _handed(post, turn, waiting.channel, to, body if isinstance(body, Letter) else Text(body), waiting)
    async with post.pool.acquire() as db:
        match result:
            case Sent():
                await _sent(db, post, waiting, result, waiting.channel, None, None)
            case TryAgain():
                await _again(db, post, waiting, result)
            case Refused() | Dead():
                await outbox.mark_ended(db, waiting, TextState.FAILED, result.code, post.now())


async def _is_over(db: Db, waiting: Waiting, now: datetime) -> bool:
    """End a text that is of no use any more, or that was begun too often: every process that sent it died, or failed."""
    if waiting.until is not None and waiting.until <= now:
        await outbox.mark_ended(db, waiting, TextState.CANCELLED, "TOO_LATE", now)
        return True
    if waiting.attempts > ATTEMPTS_MAX:
        await outbox.mark_ended(db, waiting, TextState.FAILED, "GAVE_UP", now)
        return True
    return False


async def _tell(post: Post, turn: _Turn, waiting: Waiting, known: _Known) -> None:
    """Word what a household chose to hear, and send it by the first channel that reaches it."""
    now = post.now()
    async with post.pool.acquire() as db:
        if await _is_over(db, waiting, now):
            return
        if known.tenures.get(waiting.account, 1) != waiting.tenure:
            await outbox.mark_ended(db, waiting, TextState.CANCELLED, "HOUSEHOLD_LEFT", now)
            return
        reach = _reachable(waiting, known)
        if not reach:
            await outbox.mark_ended(db, waiting, TextState.CANCELLED, "NOBODY_LISTENS", now)
            return
        here = [choice for choice in reach if choice.channel in post.senders]
        if not here:
            await _again(db, post, waiting, TryAgain(NO_GATEWAY, NO_GATEWAY_WAIT_S))
            return
        paused = _paused(turn, here[0].channel, now)
        if paused is not None:
            # No link is made for a text that is not handed over.
            await _again(db, post, waiting, paused)
            return
        if waiting.topic is Topic.REMINDERS:
            awaited = _awaited(waiting, known, now)
            if awaited is None:
                await outbox.mark_ended(db, waiting, TextState.CANCELLED, "NOT_NEEDED", now)
                return
            link = await _link(db, post, waiting, now)
            wording = _reminder(waiting, awaited, known, f"{post.public_url}/l/{link[1]}" if link else None)
        else:
            link, found = None, await _notice(db, waiting)
            if isinstance(found, TryAgain):
                await _again(db, post, waiting, found)
                return
            if found is None:
                await outbox.mark_ended(db, waiting, TextState.CANCELLED, "NOT_NEEDED", now)
                return
            wording = found
    await _by_first_living(post, turn, waiting, here, wording, link[0] if link else None)


async def _by_first_living(
    post: Post, turn: _Turn, waiting: Waiting, reach: Sequence[Choice], wording: Wording, link: str | None
) -> None:
    code = "NOBODY_LISTENS"
    for choice in reach:
        result = await _handed(post, turn, choice.channel, choice.address, await _for(post, choice, wording), waiting)
        async with post.pool.acquire() as db:
            match result:
                case Sent():
                    await _sent(db, post, waiting, result, choice.channel, choice.number, wording.kept)
                    return
                case Dead():
                    # The next chosen channel is tried at once.
                    await choices.died(db, choice.number, code := result.code, post.now())
                case Refused():
                    code = result.code
                    break
                case TryAgain():
                    if link is not None and result.code != TIMED_OUT:
                        await revoke(db, link, post.now())
                    await _again(db, post, waiting, result)
                    return
    async with post.pool.acquire() as db:
        await outbox.mark_ended(db, waiting, TextState.FAILED, code, post.now())
        if link is not None:
            await revoke(db, link, post.now())


def _reachable(waiting: Waiting, known: _Known) -> list[Choice]:
    """List the channels on which a household hears this topic: alive, and only as long as the address is its own."""
    links = known.links.get(waiting.account, frozenset())
    kept = known.kept.get(subject_of(waiting.account, waiting.tenure))
    return [
        choice
        for choice in known.choices[waiting.account, waiting.tenure]
        if waiting.topic in choice.topics
        and choice.dead_at is None
        and is_own(choice.channel, choice.address, choice.digest, kept, links)
    ]


def _awaited(waiting: Waiting, known: _Known, now: datetime) -> Silent | None:
    """Say what silence will be billed, None where a reading is not awaited: sent, held, or not to be sent."""
    account = known.accounts[waiting.account]
    submission = may_submit(account, now, known.rulebook)
    period = submission.period
    held = any(r.period == period and r.status is ReadingStatus.HELD for r in account.readings)
    if submission.refusal is not None or submission.sent is not None or held or period != waiting.period:
        return None
    return submission.silence


def _reminder(waiting: Waiting, silence: Silent, known: _Known, url: str | None) -> Wording:
    account, rulebook = known.accounts[waiting.account], known.rulebook
    period = Period(silence.period)
    deadline = first_day(period).replace(day=rulebook.settings_of(period).reading_deadline_day)
    cost = cost_of(silence, rulebook.group_of(account.locality, account.stove), rulebook)
    return reminder(waiting.account, period, ReminderKind(waiting.kind), deadline, silence, cost, url)


def cost_of(silence: Silent, group: str, rulebook: Rulebook) -> Money | None:
    """Price what silence will be billed, as the schema does; None where a rate is not known."""
    priced = charge_kwh(silence.kwh, silence.mode, silence.rule, group, silence.period, rulebook)
    return None if isinstance(priced, Unpriced) else sum_of(priced)


async def _notice(db: Db, waiting: Waiting) -> Wording | TryAgain | None:
    if waiting.entry is None:
        return None
    row = (await notices.find_many(db, [(waiting.account, waiting.entry)])).get((waiting.account, waiting.entry))
    if row is None:
        # The view is being told again, after an upgrade: what is owed is not forgotten meanwhile.
        return TryAgain(NOT_TOLD, NO_GATEWAY_WAIT_S)
    found = {entry: await readings.find(db, waiting.account, entry) for entry in named_readings(row)}
    named = {entry: reading for entry, reading in found.items() if reading is not None}
    if row.kind is NoticeKind.HELD and not named:
        return TryAgain(NOT_TOLD, NO_GATEWAY_WAIT_S)
    if row.kind is NoticeKind.HELD and all(reading.status != ReadingStatus.HELD for reading in named.values()):
        # It was decided before anybody heard that it was held: the decision is the news.
        return None
    return notice(row, named)


async def _link(db: Db, post: Post, waiting: Waiting, now: datetime) -> tuple[str, str] | None:
    """Make a link that takes the reading, for as long as the window is open: its name and its token."""
    if post.public_url is None or waiting.until is None:
        return None
    lives_s = min(LIVES_S_MAX, int((waiting.until - now).total_seconds()))
    if lives_s <= 0:
        return None
    made = await make_link(db, post.vault, waiting.account, "reading", made_by=MADE_BY, now=now, lives_s=lives_s)
    return None if isinstance(made, LinkRefused) else (made.link, made.token)


async def _for(post: Post, choice: Choice, wording: Wording) -> Text:
    if choice.channel is Channel.SMS:
        return Text(wording.sms)
    if choice.channel is not Channel.EMAIL or post.public_url is None:
        return Text(wording.text, wording.subject)
    url = f"{post.public_url}/u/{await choices.unsubscribe_token(post.vault, choice.number)}"
    return Text(f"{wording.text}\n\nОтписаться: {url}", wording.subject, url)


def _paused(turn: _Turn, channel: Channel, now: datetime) -> TryAgain | None:
    until = turn.paused.get(channel)
    return TryAgain(PAUSED, (until - now).total_seconds()) if until is not None and until > now else None


async def _handed(post: Post, turn: _Turn, channel: Channel, to: str, what: Text | Letter, waiting: Waiting) -> Result:
    sender: Sender | None = post.senders.get(channel)
    now = post.now()
    if sender is None:
        return TryAgain(NO_GATEWAY, NO_GATEWAY_WAIT_S)
    paused = _paused(turn, channel, now)
    if paused is not None:
        return paused
    try:
        async with asyncio.timeout(SEND_WAIT_S):
            result = await sender(to, what, waiting.key)
    except TimeoutError:
        logger.warning("the gateway of %s does not answer", channel.value)
        return TryAgain(TIMED_OUT)
    except Exception as error:
        logger.exception("the sender of %s failed", channel.value)
        return TryAgain(type(error).__name__)
    if isinstance(result, TryAgain | Refused) and (channel, result.code) not in turn.said:
        turn.said.add((channel, result.code))
        logger.warning("the gateway of %s does not take a text (%s)", channel.value, result.code)
    if isinstance(result, TryAgain) and result.after_s is not None:
        turn.paused[channel] = now + timedelta(seconds=result.after_s)
    return result


async def _sent(
    db: Db, post: Post, waiting: Waiting, result: Sent, channel: Channel, subscription: int | None, text: str | None
) -> None:
    state = TextState.DELIVERED if result.delivered else TextState.SENT
    await outbox.mark_sent(
        db,
        post.vault,
        waiting,
        state,
        post.now(),
        channel=channel,
        subscription=subscription,
        provider_id=result.provider_id,
        text=text,
    )


async def _again(db: Db, post: Post, waiting: Waiting, result: TryAgain) -> None:
    await outbox.mark_again(
        db, waiting, result.code, post.now(), result.after_s, counts=result.code not in (PAUSED, NO_GATEWAY, NOT_TOLD)
    )
