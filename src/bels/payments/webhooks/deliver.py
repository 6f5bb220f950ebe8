"""Deliver events to partners: each webhook has a lane of its own, so that a slow one keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import asyncpg
import httpcore

from bels.access.raw_texts import RawTexts
from bels.intake import Clock, utc_now
from bels.journal.faults import UNAVAILABLE
from bels.payments.partners import Partner, Partners
from bels.payments.section import section_of
from bels.payments.webhooks.due import Claimed, Due, Result, claim, due_webhooks, find_due, mark, plan, put_back
from bels.payments.webhooks.events import PartnerEvent, find_events
from bels.payments.webhooks.guard import PORT_MIN, GuardError, Policy, check_url, guarded_pool
from bels.payments.webhooks.signing import signed
from bels.projections.partner_events import PARTNER

logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
"""An event is on its way so soon."""

DEEP_EVERY = timedelta(hours=1)
LANES_MAX = 50
"""Webhooks that a process serves at once."""

LANE_BATCHES_MAX = 100
"""Batches of a lane in one turn; what is left is due at the next."""

PLANS_MAX = 20
AT_ONCE = 4
PER_SECOND = 50
AT_ONCE_MAX, PER_SECOND_MAX, PORTS_MAX = 32, 500, 10
CONNECTIONS_MAX = LANES_MAX * AT_ONCE_MAX
ANSWER_WAIT_S = 10.0
"""How long an endpoint may take over one event, from the look at its name to the head of its answer."""

ANSWER_BYTES_MAX = 1_024
HEARS_S = 1.0
"""What comes after the head of an answer is heard for so long, and so many bytes of it."""

USER_AGENT = "bels-webhooks/1"

_FIELDS = frozenset(("ports", "at_once", "per_second"))


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed with a partner: ports beyond the usual, events under way at once and begun in a second, by webhook."""

    ports: frozenset[int] = frozenset()
    at_once: int = AT_ONCE
    per_second: int = PER_SECOND


@dataclass(frozen=True, slots=True)
class Hooks:
    """What events are delivered with. ``clock`` is the supplier's, ``wall`` the one that receivers have, too."""

    pool: asyncpg.Pool
    raw_texts: RawTexts
    partners: Partners
    policy: Policy
    http: httpcore.AsyncConnectionPool
    clock: Clock
    wall: Clock = utc_now


@asynccontextmanager
async def opened_hooks(
    pool: asyncpg.Pool, raw_texts: RawTexts, partners: Partners, policy: Policy, clock: Clock, wall: Clock = utc_now
) -> AsyncIterator[Hooks]:
    """Open what events are delivered with.

    :raises PartnersError: a contract's table of webhooks cannot be used.
    """
    for partner in partners.partners:
        terms_of(partner)
    async with guarded_pool(policy, CONNECTIONS_MAX) as http:
        yield Hooks(pool, raw_texts, partners, policy, http, clock, wall)


def terms_of(partner: Partner) -> Terms:
    """Read ``[partner.NAME.webhooks]``: ``ports = [9443]``, ``at_once = 8``, ``per_second = 100``.

    :raises PartnersError: it cannot be used.
    """
    told = section_of(partner, "webhooks")
    told.only(_FIELDS)
    ports = told.listed("ports", PORTS_MAX, _is_port, f"ports from {PORT_MIN} on")
    return Terms(
        frozenset(ports),
        told.whole("at_once", AT_ONCE, 1, AT_ONCE_MAX),
        told.whole("per_second", PER_SECOND, 1, PER_SECOND_MAX),
    )


def _is_port(told: object) -> bool:
    return type(told) is int and PORT_MIN <= told <= 65_535


def _never() -> bool:
    return False


async def deliver_webhooks(hooks: Hooks, stopping: Callable[[], bool] = _never, *, deep: bool = False) -> int:
    """Deliver what is due, once; count the attempts. Any number of processes may do so at once."""
    await plan_webhooks(hooks, deep=deep)
    async with hooks.pool.acquire() as db:
        due = await due_webhooks(db, hooks.raw_texts, hooks.clock(), LANES_MAX)
    return sum(await asyncio.gather(*(_lane(hooks, each, stopping) for each in due)))


async def plan_webhooks(hooks: Hooks, *, deep: bool = False) -> int:
    """Make deliveries of new events; count them."""
    planned = 0
    for _ in range(PLANS_MAX):
        async with hooks.pool.acquire() as db:
            new = await plan(db, hooks.clock(), deep=deep)
        if not new:
            break
        planned += new
    return planned


@asynccontextmanager
async def delivering_webhooks(hooks: Hooks) -> AsyncIterator[None]:
    """Deliver while this is open; what is at an endpoint is finished before it is left."""
    stopped = asyncio.Event()
    task = asyncio.create_task(_deliver(hooks, stopped))
    try:
        yield
    finally:
        stopped.set()
        await task


async def _deliver(hooks: Hooks, stopped: asyncio.Event) -> None:
    lanes: dict[str, asyncio.Task[int]] = {}
    deep_at = hooks.clock()
    while not stopped.is_set():
        lanes = {webhook: lane for webhook, lane in lanes.items() if not lane.done()}
        now = hooks.clock()
        try:
            await plan_webhooks(hooks, deep=now >= deep_at)
            if now >= deep_at:
                deep_at = now + DEEP_EVERY
            async with hooks.pool.acquire() as db:
                due = await due_webhooks(db, hooks.raw_texts, now, LANES_MAX - len(lanes), list(lanes))
            for each in due:
                lanes[each.id] = asyncio.create_task(_lane_or_later(hooks, each, stopped.is_set))
        except UNAVAILABLE as error:
            logger.warning("webhooks could not be looked at now: %s", type(error).__name__)
        except Exception:
            logger.exception("webhooks could not be looked at")
        with suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), LOOKS_EVERY_S)
    await asyncio.gather(*lanes.values())


async def _lane_or_later(hooks: Hooks, due: Due, stopping: Callable[[], bool]) -> int:
    try:
        return await _lane(hooks, due, stopping)
    except UNAVAILABLE as error:
        # What was claimed is sent again when its lease is over.
        logger.warning("a webhook could not be served now: %s", type(error).__name__)
    except Exception:
        logger.exception("a webhook could not be served")
    return 0


async def _lane(hooks: Hooks, first: Due, stopping: Callable[[], bool]) -> int:
    """Serve one webhook until nothing is due, it is held, or its turn is over; count the attempts."""
    terms = terms_of(hooks.partners.of(first.partner.removeprefix(PARTNER)))
    loop, count = asyncio.get_running_loop(), 0
    due: Due | None = first
    for _ in range(LANE_BATCHES_MAX):
        if due is None or stopping():
            break
        begun = loop.time()
        async with hooks.pool.acquire() as db:
            claimed = await claim(db, due.id, hooks.clock(), 1 if due.is_slow else terms.at_once)
            events = await find_events(db, due.partner, [each.event for each in claimed]) if claimed else {}
            missing = [each for each in claimed if each.event not in events]
            if missing:
                await put_back(db, missing, hooks.clock())
        known = [each for each in claimed if each.event in events]
        if not known:
            break
        results = await asyncio.gather(*(_attempt(hooks, due, terms, each, events[each.event]) for each in known))
        async with hooks.pool.acquire() as db:
            await mark(db, due, results, hooks.clock())
            due = await find_due(db, hooks.raw_texts, due.id, hooks.clock())
        count += len(results)
        if due is not None and not stopping():
            await asyncio.sleep(max(0.0, len(results) / terms.per_second - (loop.time() - begun)))
    return count


async def _attempt(hooks: Hooks, due: Due, terms: Terms, claimed: Claimed, event: PartnerEvent) -> Result:
    at, loop = hooks.clock(), asyncio.get_running_loop()
    begun = loop.time()
    status, error, after_s = await _sent(hooks, due, terms, event)
    return Result(claimed, at, status, error, round((loop.time() - begun) * 1000), after_s)


async def _sent(
    hooks: Hooks, due: Due, terms: Terms, event: PartnerEvent
) -> tuple[int | None, str | None, float | None]:
    """Send an event; give the status or the class of the fault, and for how long the endpoint asks to be left alone."""
    body, wall = event.body, hooks.wall()
    headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("user-agent", USER_AGENT),
        ("connection", "close"),
        *signed(event.id, wall, body, due.keys),
    ]
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), ANSWER_WAIT_S)
    try:
        check_url(due.url, hooks.policy, terms.ports)
        async with (
            asyncio.timeout(ANSWER_WAIT_S),
            hooks.http.stream(
                "POST", due.url, headers=headers, content=body, extensions={"timeout": timeout}
            ) as answer,
        ):
            status = answer.status
            after_s = _retry_after_s(answer.headers, wall) if status in (429, 503) else None
            with suppress(httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError):
                # What it says is nothing to us; a short answer is heard out, so that the receiver sees no broken connection.
                async with asyncio.timeout(HEARS_S):
                    await _heard(answer)
            return status, None, after_s
    except GuardError as refused:
        return None, refused.code, None
    except (TimeoutError, httpcore.TimeoutException):
        return None, "TIMED_OUT", None
    except httpcore.ConnectError as error:
        return None, "TLS" if _is_of_tls(error) else "NOT_CONNECTED", None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
        return None, "BROKEN_OFF", None


async def _heard(answer: httpcore.Response) -> None:
    heard = 0
    async for part in answer.aiter_stream():
        heard += len(part)
        if heard > ANSWER_BYTES_MAX:
            return


def _is_of_tls(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _retry_after_s(headers: Sequence[tuple[bytes, bytes]], wall: datetime) -> float | None:
    """Read Retry-After: seconds or a date (RFC 9110, 10.2.3)."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at - wall).total_seconds()) if at.tzinfo is not None else None
    except ValueError:
        return None
