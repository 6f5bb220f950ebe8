"""The sandbox, put together: its partners and their runs, its clock, its faults, its checklist."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from bels.access.raw_texts import RawTexts
from bels.app import Bels, door_of
from bels.closing import Closed, close_through
from bels.domain.periods import MOSCOW, moscow_date
from bels.journal.faults import UNAVAILABLE
from bels.messages import TryLater
from bels.outgoing.reminders import due, plan_reminders
from bels.payments.partners import Partners
from bels.payments.reconciling.due import reconcile_due
from bels.payments.sandbox import (
    FAULTS_MAX,
    WAIT_S_MAX,
    Certification,
    Failing,
    Fault,
    Milestone,
    Moved,
    Run,
    SandboxReason,
    SandboxRefusedError,
)
from bels.payments.till import Till
from bels.payments.webhooks.subscriptions import replay
from bels.reception.counter import Counter
from bels.sandbox.accounts import accounts_of, block_of, load
from bels.sandbox.checklist import judge, summary
from bels.sandbox.clock import MovableClock, check_move, first_moment, moment_of, months_over, mornings
from bels.sandbox.facts import facts_of
from bels.sandbox.faults import Faults
from bels.sandbox.requests import Sent, keep_request
from bels.sandbox.store import keep_ahead

LOOK_EVERY_S = 1.0
RUNS_MAX = 9_999
ACTS_MAX = 100_000
SUMMARY_KEY = "sandbox summaries"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ReadyPartner:
    """A partner that the sandbox has made, with its secret, which is invented as all else here is."""

    client: str
    place: int
    name: str
    secret: str


@dataclass(slots=True)
class SandboxRoom:
    """A supplier to try on; see ``bels.payments.sandbox.Sandbox``. ``names`` are the partners' clients, also by name."""

    bels: Bels
    clock: MovableClock
    raw_texts: RawTexts
    partners: tuple[ReadyPartner, ...]
    contracts: Partners
    runs: dict[str, Run]
    names: Mapping[str, str]
    faults: Faults = field(default_factory=Faults)
    _acting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _told_through: dict[str, datetime] = field(default_factory=dict)

    def now(self) -> datetime:
        """Tell the time of the sandbox."""
        return self.clock()

    async def run_of(self, client: str) -> Run:
        """Give a partner's run.

        :raises SandboxRefusedError: nobody here has that name.
        """
        return self._run(client)

    def _run(self, client: str) -> Run:
        run = self.runs.get(client)
        if run is None:
            raise SandboxRefusedError(
                SandboxReason.NOT_A_PARTNER, "Песочница открыта партнёрам, которых она назвала при запуске."
            )
        return run

    async def move(self, client: str, key: str, until: datetime | Milestone) -> tuple[Moved, bool]:
        """Move the clock forward, with all that falls due on the way.

        :raises SandboxRefusedError: it cannot be moved so, or the key meant something else.
        :raises TryLater: the database cannot be reached; the same key goes on to the same moment.
        """
        self._run(client)

        async def plan() -> _Way:
            rules = await self.bels.intake.rules()
            before = self.now()
            to = moment_of(until, before, rules) if isinstance(until, Milestone) else until.astimezone(MOSCOW)
            check_move(before, to, self.clock.ahead)
            return _Way(before, to)

        return await self._once(client, key, ["move", until], self._go, Moved, plan, _Way)

    async def reset(self, client: str, key: str) -> tuple[Run, bool]:
        """Begin a new run of a partner, with new accounts, on a day on which bills are due.

        :raises SandboxRefusedError: there were too many runs, or the key meant something else.
        """
        self._run(client)
        return await self._once(client, key, ["reset"], lambda _: self._reset(client), Run)

    async def fail_next(self, client: str, key: str, failing: Failing) -> bool:
        """Make a partner's requests fail; say whether this was asked before.

        :raises SandboxRefusedError: too much is asked to fail, or the key meant something else.
        """
        self._run(client)
        limits = 0 < failing.count <= FAULTS_MAX and 0 < failing.share <= 100 and 0 <= failing.wait_s <= WAIT_S_MAX
        if not limits:
            text = f"count от 1 до {FAULTS_MAX}, share от 1 до 100, waitS до {WAIT_S_MAX}."
            raise SandboxRefusedError(SandboxReason.TOO_MUCH, text)

        async def ask(_: None) -> bool:
            if not self.faults.wants_webhook(client):
                self._told_through[client] = self.now()
            if not self.faults.ask(client, failing):
                raise SandboxRefusedError(
                    SandboxReason.TOO_MUCH, "Уже заказано слишком много сбоев: сначала дождитесь их."
                )
            return True

        return (await self._once(client, key, ["fail", failing], ask, bool))[1]

    def failing_of(self, client: str) -> Sequence[Failing]:
        """Say what is still going to fail."""
        return self.faults.waiting(client)

    async def certify(self, client: str) -> Certification:
        """Look which cases a partner's run has passed.

        :raises SandboxRefusedError: nobody here has that name.
        """
        run = self._run(client)
        partner = self.contracts.of(client)
        async with self.bels.pool.acquire() as db:
            facts = await facts_of(db, self.raw_texts, partner, run.number, run.began_at)
        cases = judge(facts)
        text = summary(f"{partner.title} ({client})", run.number, cases, self.now())
        key = await self.bels.vault.named_key(SUMMARY_KEY)
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return Certification(run, cases, f"{text}\nПодпись песочницы: {signature}")

    async def keep(
        self, client: str, sent: Sent, began: float, fault: Fault | None, status: int, code: str | None
    ) -> None:
        """Keep what a partner did; ``began`` is how many seconds ago it began. A database that is away spoils no answer."""
        run = self.runs.get(client)
        if run is None:
            return
        ended_at = self.now()
        with suppress(*UNAVAILABLE):
            async with self.bels.pool.acquire() as db:
                await keep_request(
                    db,
                    client,
                    run.number,
                    sent,
                    ended_at - timedelta(seconds=began),
                    ended_at,
                    fault.value if fault is not None else None,
                    status,
                    code,
                    self.raw_texts,
                )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver the webhooks again that were asked to come twice, while this is open."""

        async def look() -> None:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                for client in self.runs:
                    if self.faults.wants_webhook(client):
                        with suppress(*UNAVAILABLE):
                            await self._tell_again(client)

        task = asyncio.create_task(look())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _tell_again(self, client: str) -> None:
        """Deliver the first event that a partner acknowledged since it asked for this once more."""
        actor = self.contracts.of(client).actor
        async with self.bels.pool.acquire() as db:
            row = await db.fetchrow(
                """
                SELECT d.webhook, d.event, d.ended_at FROM webhook w JOIN webhook_delivery d ON d.webhook = w.id
                WHERE w.partner = $1 AND d.state = 'DELIVERED' AND d.ended_at > $2 AND d.tries = 1
                ORDER BY d.ended_at LIMIT 1
                """,
                actor,
                self._told_through[client],
            )
            if row is None:
                return
            self._told_through[client] = row["ended_at"]
            if self.faults.next_webhook_of(client):
                await replay(db, actor, row["webhook"], self.now(), ids=[row["event"]])

    async def _once(
        self,
        client: str,
        key: str,
        asked: object,
        act: Callable[[Any], Awaitable[Any]],
        kind: type[Any],
        plan: Callable[[], Awaitable[Any]] | None = None,
        planned: type[Any] | None = None,
    ) -> tuple[Any, bool]:
        """Do what is asked, or give its first answer again; what was planned and broken off goes on as it was planned."""
        content = _encode(asked).decode()
        async with self._acting, self._in_reach() as pool:
            before = await pool.fetchrow(
                "SELECT content, plan, answer FROM sandbox_act WHERE client = $1 AND key = $2", client, key
            )
            if before is not None and before["content"] != content:
                raise SandboxRefusedError(
                    SandboxReason.IDEMPOTENCY_KEY_REUSED, "Этот idempotencyKey уже использован с другим содержанием."
                )
            if before is not None and before["answer"]:
                return msgspec.json.decode(before["answer"], type=kind), True
            given = None
            if before is not None:
                given = msgspec.json.decode(before["plan"], type=planned) if planned is not None else None
            elif plan is not None:
                given = await plan()
                await self._note(pool, client, key, content, _encode(given).decode(), "")
            answer = await act(given)
            await self._note(pool, client, key, content, "", _encode(answer).decode())
        return answer, False

    async def _note(self, pool: asyncpg.Pool, client: str, key: str, content: str, plan: str, answer: str) -> None:
        await pool.execute(
            """
            INSERT INTO sandbox_act (client, key, content, plan, answer)
            SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM sandbox_act) < $6
            ON CONFLICT (client, key) DO UPDATE SET answer = excluded.answer
            """,
            client,
            key,
            content,
            plan,
            answer,
            ACTS_MAX,
        )

    @asynccontextmanager
    async def _in_reach(self) -> AsyncIterator[asyncpg.Pool]:
        """Give the pool; say TryLater where the database cannot be reached."""
        try:
            yield self.bels.pool
        except UNAVAILABLE as error:
            raise TryLater(type(error).__name__) from error

    async def _go(self, way: _Way) -> Moved:
        """Go a way on, doing what falls due; what was done of it before is not done again."""
        rules = await self.bels.intake.rules()
        closings, closed, reminders = months_over(way.before, way.to), Closed(), 0
        ends = {at: period for period, at in closings}
        reminding = [at for at in mornings(way.before, way.to) if due(at, rules) is not None]
        for at in sorted([*ends, *reminding, way.to]):
            await self._go_to(at)
            if at in ends:
                closed.add(await close_through(self.bels, ends[at], 1, _Unseen()))
            if at in reminding:
                reminders += (await plan_reminders(self.bels.pool, self.bels.intake, self.now())).count
        if moscow_date(way.to) > moscow_date(way.before):
            counter = Counter(self.bels.pool, self.bels.intake, await door_of(self.bels, local=False))
            await reconcile_due(Till(counter, self.contracts), self.now())
        return Moved(
            way.before,
            self.now(),
            tuple(period for period, _ in closings),
            closed.modes.total(),
            closed.refusals.total(),
            closed.charged + closed.recalculated,
            closed.penalties,
            reminders,
        )

    async def _go_to(self, at: datetime) -> None:
        self.clock.move(at)
        async with self.bels.pool.acquire() as db:
            await keep_ahead(db, self.clock.ahead)

    async def _reset(self, client: str) -> Run:
        partner = next(each for each in self.partners if each.client == client)
        rules = await self.bels.intake.rules()
        # The accounts show what they are to show on the day on which bills are due.
        opening = first_moment(self.now(), rules)
        if moscow_date(self.now()) > moscow_date(opening):
            opening = first_moment(moment_of(Milestone.CLOSING, self.now(), rules), rules)
        if opening > self.now():
            check_move(self.now(), opening, self.clock.ahead)
            await self._go(_Way(self.now(), opening))
        self.faults.forget(client)
        (run,) = await begin(self.bels, (partner,))
        self.runs[client] = run
        return run


async def begin(bels: Bels, partners: Sequence[ReadyPartner]) -> list[Run]:
    """Begin a run of each of these partners, with accounts of its own.

    :raises SandboxRefusedError: there were too many runs.
    :raises TryLater: the database cannot be reached; these runs are left, begin others.
    """
    runs = []
    async with bels.pool.acquire() as db, db.transaction():
        for partner in partners:
            number = await db.fetchval(
                "SELECT coalesce(max(number), 0) + 1 FROM sandbox_run WHERE client = $1", partner.client
            )
            if number > RUNS_MAX:
                raise SandboxRefusedError(SandboxReason.BAD_TIME, "Прогонов слишком много: начните песочницу заново.")
            block, began_at = block_of(partner.place, number), bels.intake.clock()
            await db.execute(
                "INSERT INTO sandbox_run (client, number, block, began_at) VALUES ($1, $2, $3, $4)",
                partner.client,
                number,
                block,
                began_at,
            )
            runs.append((partner.client, block, Run(number, began_at, accounts_of(block))))
    await load(bels, [block for _, block, _ in runs])
    async with bels.pool.acquire() as db:
        # Broken off before this, a run is never gone on with: what its households owed then is not known any more.
        await db.execute(
            "UPDATE sandbox_run SET whole = true WHERE block = ANY($1::text[])", [block for _, block, _ in runs]
        )
    return [run for _, _, run in runs]


async def runs_of(bels: Bels, partners: Sequence[ReadyPartner]) -> dict[str, Run]:
    """Give the run that each partner is in, and begin one for whoever has none."""
    async with bels.pool.acquire() as db:
        rows = await db.fetch(
            """
            SELECT DISTINCT ON (client) client, number, block, began_at FROM sandbox_run WHERE whole
            ORDER BY client, number DESC
            """
        )
    runs = {row["client"]: Run(row["number"], row["began_at"], accounts_of(row["block"])) for row in rows}
    new = [partner for partner in partners if partner.client not in runs]
    if new:
        runs |= zip((partner.client for partner in new), await begin(bels, new), strict=True)
    return runs


@dataclass(frozen=True, slots=True)
class _Way:
    """The way of the clock in one move."""

    before: datetime
    to: datetime


class _Unseen:
    """The progress of a closing that nobody watches."""

    def update(self, n: int = 1) -> object:
        """Say nothing."""
        return n
