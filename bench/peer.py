"""The peer: the service a good developer writes from the documentation of Strawberry and of ``eventsourcing``.

One mutation, ``submitReading``, with the same input, answer and meaning as bels: the account is loaded, the key, the
account, the values, the previous reading and plausibility are checked, and one event is appended by the stock
``PostgresApplicationRecorder``. The peer has no views, no access rights and no supersession: whatever bels does beyond
this counts against bels.

Nothing here may hold it back. What was tuned, and why; medians of three runs of 6 s at 64 connections on 2 cores, with
fsync on (each has its switch, so each can be measured again):

* ``POSTGRES_ENABLE_DB_FUNCTIONS``: the library's own faster way to insert, one call instead of a pipeline that locks
  the table. It is off by default; on, 824 requests/s; off, 477 to 504 in single runs. The largest of all
  choices.
* Threads: the recorder is synchronous, so the resolver hands it to a pool of 4 threads with a connection each. 1 thread
  684/s, 2 threads 765/s, 4 threads 824/s, 16 threads 835/s: from 4 on it is the same within noise. A plain sync
  resolver in the event loop is slower: single runs of 371, 636 and 679/s, with p99 of 336, 129 and 116 ms.
* The library's aggregate cache, without fast-forward, which is right because the one worker is the only writer: 824/s,
  without it 760/s. With several workers it would be wrong, so there it is off.
* uvicorn with uvloop and httptools, no access log; Strawberry with ``ParserCache`` and ``ValidationCache``; psycopg's C
  implementation and the recorder's own pool, over the same Unix socket as bels. Snapshots are off: streams are short.

One worker, as bels has. Compare only the same number of workers: two of them, without the cache, reached 1,244/s
here (one run).
"""

import argparse
import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

import strawberry
import uvicorn
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache

from bench.traffic import Household, households

MOSCOW = ZoneInfo("Europe/Moscow")
DEADLINE_DAY = 25
PLAUSIBLE_KW = 15
ATTEMPTS_MAX = 10
SEED_BATCH = 500

# The domain --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """The answer to one reading: accepted when ``code`` is empty."""

    receipt: str
    period: str
    consumption: dict[str, int]
    code: str = ""
    text: str = ""


class Account(Aggregate):
    """An account with one meter, its last accepted reading, and the outcome of every message it has met."""

    @event("AccountOpened")
    def __init__(self, number: str, registers: list[str], capacity: int, values: dict[str, int], read_at: datetime):
        self.number = number
        self.registers = registers
        self.capacity = capacity
        self.values = values
        self.read_at = read_at
        self.closed_at: datetime | None = None
        self.seen: dict[str, tuple[dict[str, str], Outcome]] = {}

    @staticmethod
    def create_id(number: str) -> UUID:
        """Name the aggregate by its account, as the documentation does."""
        return uuid5(NAMESPACE_URL, f"/accounts/{number}")

    def submit_reading(self, key: str, said: dict[str, str], received_at: datetime) -> Outcome:
        """Accept or refuse a reading; the same message again gets its first outcome."""
        if key in self.seen:
            said_before, outcome = self.seen[key]
            if said_before != said:
                return Outcome("", "", {}, "IDEMPOTENCY_KEY_REUSED", "Этот ключ уже был у другого показания")
            return outcome
        code = self._refusal(said, received_at)
        if code is not None:
            self._refuse(key, said, code, received_at)
        else:
            values = {register: int(text) for register, text in said.items()}
            self._accept(
                key,
                said,
                period_of(received_at),
                values,
                {register: value - self.values[register] for register, value in values.items()},
                received_at,
            )
        return self.seen[key][1]

    def _refusal(self, said: dict[str, str], received_at: datetime) -> str | None:
        if self.closed_at is not None and received_at >= self.closed_at:
            return "ACCOUNT_CLOSED"
        if not all(text.isascii() and text.isdigit() for text in said.values()):
            return "BAD_VALUE"
        if not all(register in said for register in self.registers):
            return "TOO_FEW_VALUES"
        if len(said) > len(self.registers):
            return "TOO_MANY_VALUES"
        values = {register: int(text) for register, text in said.items()}
        if any(value >= 10**self.capacity for value in values.values()):
            return "TOO_MANY_DIGITS"
        if any(value < self.values[register] for register, value in values.items()):
            return "LESS_THAN_PREVIOUS"
        days = max(1, (received_at.astimezone(MOSCOW).date() - self.read_at.astimezone(MOSCOW).date()).days)
        if sum(values.values()) - sum(self.values.values()) > PLAUSIBLE_KW * 24 * days:
            return "IMPLAUSIBLE"
        return None

    @event("ReadingAccepted")
    def _accept(
        self,
        key: str,
        said: dict[str, str],
        period: str,
        values: dict[str, int],
        consumption: dict[str, int],
        received_at: datetime,
    ) -> None:
        self.values = values
        self.read_at = received_at
        self.seen[key] = said, Outcome(self._receipt(), period, consumption)

    @event("ReadingRefused")
    def _refuse(self, key: str, said: dict[str, str], code: str, received_at: datetime) -> None:
        self.seen[key] = (
            said,
            Outcome(self._receipt(), period_of(received_at), {}, code, f"Показание не принято: {code}"),
        )

    @event("AccountClosed")
    def close(self, closed_at: datetime) -> None:
        """Close the account."""
        self.closed_at = closed_at

    def _receipt(self) -> str:
        return f"{self.number}-{self.version + 1}"


def period_of(at: datetime) -> str:
    """Give the billing period of a moment: its Moscow month up to the deadline day, afterwards the next month."""
    local = at.astimezone(MOSCOW)
    months = local.year * 12 + local.month - (1 if local.day <= DEADLINE_DAY else 0)
    return f"{months // 12:04d}-{months % 12 + 1:02d}"


# The application ---------------------------------------------------------------------------------------------------


class Accounts(Application[UUID]):
    """The application of ``eventsourcing``: it loads an account, asks it, saves what it decided."""

    def open_accounts(self, opened: list[Household]) -> None:
        """Open accounts, many in a transaction."""
        for i in range(0, len(opened), SEED_BATCH):
            self.save(
                *(
                    Account(h.account, ["TOTAL"], h.capacity, {"TOTAL": h.value}, h.read_at)
                    for h in opened[i : i + SEED_BATCH]
                )
            )

    def submit_reading(self, number: str, key: str, said: dict[str, str]) -> Outcome:
        """Decide a reading and record the event; two at once for one account are decided one after the other."""
        for _ in range(ATTEMPTS_MAX):
            try:
                account: Account = self.repository.get(Account.create_id(number))
            except AggregateNotFoundError:
                return Outcome("", "", {}, "UNKNOWN_ACCOUNT", "Такого лицевого счёта нет")
            outcome = account.submit_reading(key, said, datetime.now(UTC))
            try:
                self.save(account)
            except IntegrityError:
                continue
            return outcome
        raise RuntimeError(f"account {number} was changed by others {ATTEMPTS_MAX} times")


def environment(database_url: str, tuning: "Tuning") -> dict[str, str]:
    """Give the settings of the application, by the names of the documentation."""
    given = conninfo_to_dict(database_url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": str(given["dbname"]),
        "POSTGRES_HOST": str(given["host"]),
        "POSTGRES_PORT": str(given.get("port") or 5432),
        "POSTGRES_USER": str(given["user"]),
        "POSTGRES_PASSWORD": str(given.get("password") or ""),
        "POSTGRES_POOL_SIZE": str(max(1, tuning.threads)),
        "POSTGRES_MAX_OVERFLOW": "0",
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if tuning.functions else "n",
        "AGGREGATE_CACHE_MAXSIZE": "100000" if tuning.cache else "",
        "AGGREGATE_CACHE_FASTFORWARD": "y" if tuning.fast_forward else "n",
    }


# The API -----------------------------------------------------------------------------------------------------------


@strawberry.enum
class Register(Enum):
    """A register of a meter."""

    TOTAL = "TOTAL"
    DAY = "DAY"
    PEAK = "PEAK"
    HALF_PEAK = "HALF_PEAK"
    NIGHT = "NIGHT"


@strawberry.input
class RegisterValueInput:
    """What a register shows."""

    register: Register
    value: str


@strawberry.input
class SubmitReadingInput:
    """A reading for an account."""

    account: str
    idempotency_key: strawberry.ID
    values: list[RegisterValueInput]


@strawberry.type
class Consumption:
    """The kWh of a register."""

    register: Register
    kwh: int


@strawberry.type
class ReadingAccepted:
    """The reading counts."""

    receipt: str
    period: str
    consumption: list[Consumption]


@strawberry.interface
class Refusal:
    """Why not."""

    code: str
    text: str


@strawberry.type
class ReadingRefused(Refusal):
    """The reading does not count."""

    receipt: str


@strawberry.type
class Query:
    """GraphQL wants one."""

    @strawberry.field
    def ready(self) -> bool:
        """Say that the server is up."""
        return True


ReadingOutcome = Annotated[ReadingAccepted | ReadingRefused, strawberry.union("ReadingOutcome")]


def answer(outcome: Outcome) -> ReadingAccepted | ReadingRefused:
    """Say an outcome in the words of the API."""
    if outcome.code:
        return ReadingRefused(code=outcome.code, text=outcome.text, receipt=outcome.receipt)
    return ReadingAccepted(
        receipt=outcome.receipt,
        period=outcome.period,
        consumption=[Consumption(register=Register(name), kwh=kwh) for name, kwh in outcome.consumption.items()],
    )


def graphql_app(accounts: Accounts, threads: int) -> GraphQL[None, None]:
    """Put the API together; with no threads the resolver is a plain sync one and runs in the event loop."""
    if threads:
        executor = ThreadPoolExecutor(threads)

        @strawberry.type
        class Mutation:
            @strawberry.mutation
            async def submit_reading(self, input: SubmitReadingInput) -> ReadingOutcome:  # noqa: A002
                said = {value.register.value: value.value for value in input.values}
                loop = asyncio.get_running_loop()
                return answer(
                    await loop.run_in_executor(
                        executor, accounts.submit_reading, input.account, input.idempotency_key, said
                    )
                )

        mutation: type = Mutation
    else:

        @strawberry.type(name="Mutation")
        class SyncMutation:
            @strawberry.mutation
            def submit_reading(self, input: SubmitReadingInput) -> ReadingOutcome:  # noqa: A002
                said = {value.register.value: value.value for value in input.values}
                return answer(accounts.submit_reading(input.account, input.idempotency_key, said))

        mutation = SyncMutation
    schema = strawberry.Schema(Query, mutation, extensions=[ParserCache, ValidationCache])
    return GraphQL(schema, graphql_ide=None)


@dataclass(frozen=True)
class Tuning:
    """How the peer is run; the defaults are the fastest that was found."""

    threads: int = 4
    cache: bool = True
    fast_forward: bool = False
    functions: bool = True


def create_app() -> GraphQL[None, None]:
    """Put a worker together from its environment; uvicorn calls it once in every worker."""
    tuning = Tuning(**json.loads(os.environ["PEER_TUNING"]))
    return graphql_app(Accounts(environment(os.environ["PEER_DATABASE_URL"], tuning)), tuning.threads)


def main() -> None:
    """Serve the peer until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=main.__doc__)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0, metavar="ACCOUNTS", help="open this many accounts first")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=Tuning.threads, help="0: the resolver is sync, in the event loop"
    )
    parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=Tuning.cache)
    parser.add_argument("--fast-forward", action=argparse.BooleanOptionalAction, default=Tuning.fast_forward)
    parser.add_argument("--functions", action=argparse.BooleanOptionalAction, default=Tuning.functions)
    given = parser.parse_args()
    # Without fast-forward a cache would not see what another worker has written.
    cache = given.cache and (given.fast_forward or given.workers == 1)
    tuning = Tuning(given.threads, cache, given.fast_forward, given.functions)
    if given.seed:
        with Accounts(environment(given.database_url, tuning)) as accounts:
            accounts.open_accounts(households(given.seed))
    os.environ["PEER_DATABASE_URL"] = given.database_url
    os.environ["PEER_TUNING"] = json.dumps(asdict(tuning))
    uvicorn.run(
        "bench.peer:create_app",
        factory=True,
        workers=given.workers,
        host="127.0.0.1",
        port=given.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
