"""What waits, as the metrics tell it: texts on their way out, people who wait for people, talks, webhooks, partners' work.

It is looked at when the metrics are asked for, at most every fifteen seconds, and tells counts and ages alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from time import monotonic

import asyncpg
from prometheus_client import CollectorRegistry, Gauge

from bels.audit.seals.reading import seal_state
from bels.domain.terms import Channel
from bels.journal.faults import UNAVAILABLE
from bels.outgoing.hours import is_quiet, this_morning
from bels.outgoing.outbox import TextState
from bels.payments.waiting import Waits, waiting

LOOK_EVERY_S = 15.0
WAIT_S = 2.0
A_DAY = timedelta(days=1)
TALKS_WITHIN = timedelta(minutes=10)
"""A talk in which nobody said anything for so long is over, whatever its state says."""

NO_CHANNEL = "none"
"""The channel of a text that has none yet, or for which none was left."""

ENOUGH_TODAY = "ENOUGH_TODAY"
"""Why a text waits that is late by nobody's fault: its household was told enough today."""

ANSWERS, CHOSEN = "answers", "chosen"
"""What somebody asked for just now; what a household chose to hear."""


class Queues:
    """What waits in the channels. ``bots`` are those of the settings: each must have its webhook set since this process began."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        registry: CollectorRegistry,
        clock: Callable[[], datetime],
        bots: Collection[Channel] = (),
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._bots = tuple(bots)
        self._began = clock()
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._due = Gauge("bels_outbox_due", "Texts that should be on their way by now.", ["queue"], registry=registry)
        self._oldest = Gauge(
            "bels_outbox_oldest_seconds", "How long the text that waits longest is due.", ["queue"], registry=registry
        )
        self._texts = Gauge(
            "bels_outbox_texts",
            "Texts of the last day, by channel and by where they stand.",
            ["channel", "state"],
            registry=registry,
        )
        self._hand_overs = Gauge("bels_hand_overs_waiting", "Talks that nobody has taken.", registry=registry)
        self._hand_over_oldest = Gauge(
            "bels_hand_overs_oldest_seconds", "How long the talk that nobody has taken waits.", registry=registry
        )
        self._talks = Gauge(
            "bels_dialogues", "Talks in which something was said within ten minutes.", ["channel"], registry=registry
        )
        self._webhooks = Gauge(
            "bels_webhook_registered",
            "Whether the webhook of a bot was set since this process began: 1 or 0.",
            ["channel"],
            registry=registry,
        )
        self._partners = Gauge(
            "bels_partners_waiting", "What waits in the work with banks and payment apps.", ["what"], registry=registry
        )
        self._partners_oldest = Gauge(
            "bels_partners_oldest_seconds",
            "How long that of it waits which waits longest.",
            ["what"],
            registry=registry,
        )
        self._seal_age = Gauge(
            "bels_seal_age_seconds",
            "How long ago the journal was sealed; +Inf before the first time.",
            registry=registry,
        )
        self._seal_faults = Gauge(
            "bels_seal_faults", "Accounts that the newest seal did not find as they had been sealed.", registry=registry
        )

    async def look(self) -> None:
        """Look, where the last look is old. A database that is away leaves what was told before: health tells of it."""
        async with self._looking:
            if monotonic() - self._looked_at < LOOK_EVERY_S:
                return
            try:
                async with asyncio.timeout(WAIT_S), self._pool.acquire() as db:
                    await self._look(db, self._clock())
            except (TimeoutError, *UNAVAILABLE):
                return
            finally:
                self._looked_at = monotonic()

    async def _look(self, db: asyncpg.pool.PoolConnectionProxy, now: datetime) -> None:
        for queue, condition in ((ANSWERS, "topic = 'ANSWER'"), (CHOSEN, "topic <> 'ANSWER'")):
            # Each has its own index of what is planned. What a gateway did not take waits for its next turn, and is late all the while.
            [(count, oldest)] = await db.fetch(
                f"""
                SELECT count(*), min(CASE WHEN faulty THEN created_at ELSE not_before END) FROM (
                    SELECT not_before, created_at, coalesce(last_error <> $2, false) AS faulty
                    FROM outbox WHERE state = 'PLANNED' AND {condition}
                ) AS waiting WHERE faulty OR not_before <= $1
                """,
                now,
                ENOUGH_TODAY,
            )
            if queue == CHOSEN and oldest is not None:
                # What a household did not ask for waits for the morning: it is late only from then on.
                count, oldest = (0, None) if is_quiet(now) else (count, max(oldest, this_morning(now)))
            self._due.labels(queue).set(count)
            self._oldest.labels(queue).set(_age(oldest, now))
        told = {
            (row["channel"], row["state"]): row["count"]
            for row in await db.fetch(
                """
                SELECT coalesce(channel, $2) AS channel, state, count(*) FROM outbox WHERE created_at > $1 GROUP BY 1, 2
                """,
                now - A_DAY,
                NO_CHANNEL,
            )
        }
        for channel in (*(each.value for each in _SPOKEN_TO), NO_CHANNEL):
            for state in TextState:
                self._texts.labels(channel, state.value).set(told.get((channel, state.value), 0))
        [(count, oldest)] = await db.fetch(
            "SELECT count(*), min(at) FROM hand_over WHERE done_at IS NULL AND taken_at IS NULL"
        )
        self._hand_overs.set(count)
        self._hand_over_oldest.set(_age(oldest, now))
        rows = await db.fetch(
            "SELECT channel, count(*) FROM dialogue WHERE changed_at > $1 GROUP BY 1", now - TALKS_WITHIN
        )
        talks = {row["channel"]: row["count"] for row in rows}
        for each in _TALKED_ON:
            self._talks.labels(each.value).set(talks.get(each.value, 0))
        names = {row["channel"] for row in await db.fetch("SELECT channel FROM bot WHERE told_at >= $1", self._began)}
        for bot in self._bots:
            self._webhooks.labels(bot.value).set(bot.value in names)
        found = await waiting(db, now)
        for what in Waits:
            self._partners.labels(what.value).set(found[what].count)
            self._partners_oldest.labels(what.value).set(_age(found[what].since, now))
        sealed_at, faults = await seal_state(db)
        self._seal_age.set(_age(sealed_at, now) if sealed_at is not None else float("inf"))
        self._seal_faults.set(faults)


_SPOKEN_TO = (Channel.SMS, Channel.EMAIL, Channel.TELEGRAM, Channel.MAX)
_TALKED_ON = (Channel.VOICE, Channel.TELEGRAM, Channel.MAX)


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
