"""What the digests of the chain cost an append: the same readings through the intake, with them and without, batch by batch in turns."""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from bels import intake
from bels.app import Bels, opened
from bels.domain.commands import SubmitReading
from bels.domain.terms import Channel
from bels.journal import journal
from bels.journal.codec import to_topic_and_state
from bels.journal.entry import Entry
from bels.journal.write import Write, given
from bels.messages import Message, Status
from bels.settings import Settings
from bench import ours, traffic
from bench.report import Figure
from bench.servers import fresh_database

ROWS = 500
WARM_UP = 8
PAIRS = 60
"""Batches of each side in a round; which side goes first changes from pair to pair."""

LEAST = 0.95
"""Appending with digests may cost 5 % of the readings a second."""

_COLUMNS = "originator_id text, originator_version bigint, topic text, state text"
_APPEND = f"""
INSERT INTO journal (originator_id, originator_version, topic, state)
SELECT originator_id, originator_version, topic, convert_to(state, 'UTF8') FROM {given(_COLUMNS)}
"""
_NO_COLUMNS = "ALTER TABLE journal DROP COLUMN digest, DROP COLUMN content"


@dataclass(slots=True)
class Side:
    """One of the two suppliers: what its registers show, and the seconds of its batches."""

    bels: Bels
    values: dict[str, int]
    chance: random.Random
    seconds: list[float] = field(default_factory=list)
    sent: int = 0

    def batch(self) -> list[Message]:
        """Draw readings, each above its account's last one."""
        now = datetime.now(UTC)
        messages = []
        for account in self.chance.sample(list(self.values), ROWS):
            self.values[account] += self.chance.randint(1, traffic.STEP_KWH_MAX)
            self.sent += 1
            value = str(self.values[account])
            command = SubmitReading(now, {"total": value})
            name = f"append {self.sent}"
            messages.append(Message(Channel.WEB, name, "bench", account, command, f"{account}#{value}"))
        return messages

    async def hand_in(self) -> None:
        """Hand a batch in and keep how long that took.

        :raises RuntimeError: a reading was not accepted.
        """
        messages = self.batch()
        began = time.perf_counter()
        outcomes = await self.bels.intake.handle(messages)
        self.seconds.append(time.perf_counter() - began)
        if any(outcome.status is not Status.ACCEPTED for outcome in outcomes):
            raise RuntimeError("a reading was not accepted: another work would be measured")


def append(url: str, rounds: int) -> list[Figure]:
    """Hand in batches of 500 readings with digests and without, in turns."""
    runs = [asyncio.run(_round(url)) for _ in range(rounds)]
    chained, plain = (median(run[i] for run in runs) for i in (0, 1))
    return [Figure("append with digests", "readings/s", chained, "without", plain, least=LEAST)]


async def _round(url: str) -> tuple[float, float]:
    """Measure one round: readings a second with digests and without, by the median batch of each."""
    urls = [await fresh_database(url, name) for name in ("bench_chained", "bench_plain")]
    for each in urls:
        await asyncio.to_thread(ours.seed, Settings(database_url=each), traffic.households())
    async with AsyncExitStack() as stack:
        sides = []
        for each in urls:
            bels = await stack.enter_async_context(opened(Settings(database_url=each)))
            values = {household.account: household.value for household in traffic.households()}
            sides.append(Side(bels, values, random.Random(7)))
        chained, plain = sides
        async with plain.bels.pool.acquire() as db:
            await db.execute(_NO_COLUMNS)
        for pair in range(WARM_UP + PAIRS):
            for side in sides if pair % 2 else reversed(sides):
                if side is plain:
                    with _without_digests():
                        await side.hand_in()
                else:
                    await side.hand_in()
        per_s = [ROWS / median(side.seconds[WARM_UP:]) for side in (chained, plain)]
    return per_s[0], per_s[1]


@contextmanager
def _without_digests() -> Iterator[None]:
    """Let the intake append as it did before there was a chain."""
    kept = intake.appended, journal.READ_EVENTS  # type: ignore[attr-defined]
    intake.appended = _appended  # type: ignore[attr-defined]
    journal.READ_EVENTS = journal.READ_EVENTS.replace("SELECT digest,", "SELECT NULL::bytea AS digest,")
    try:
        yield
    finally:
        intake.appended, journal.READ_EVENTS = kept  # type: ignore[attr-defined]


def _appended(entries: Iterable[Entry], heads: dict[str, bytes], contents: Mapping[str, bytes]) -> Write:
    rows = []
    for entry in entries:
        topic, state = to_topic_and_state(entry)
        heads[entry.account] = b""
        rows.append((entry.account, entry.version, topic, state.decode()))
    return Write(_APPEND, _COLUMNS, rows)
