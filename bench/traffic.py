"""What the benchmarks send: the same households, documents and readings to bels and to its peer."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle

ACCOUNTS = 2_000
FIRST_ACCOUNT = 1_000_001
INITIAL_VALUE = 10_000
INITIAL_DAYS_AGO = 60
CAPACITY = 6
STEP_KWH_MAX = 9
ROWS_PER_CALL = 500

SUBMIT_READING = """\
mutation SubmitReading($input: SubmitReadingInput!) {
  submitReading(input: $input) {
    __typename
    ... on ReadingAccepted { receipt period consumption { register kwh } }
    ... on Refusal { code text }
  }
}"""

SUBMIT_READINGS = """\
mutation SubmitReadings($input: SubmitReadingsInput!) {
  submitReadings(input: $input) {
    rows {
      index
      outcome {
        __typename
        ... on ReadingAccepted { receipt period consumption { register kwh } }
        ... on Refusal { code text }
      }
    }
  }
}"""

ACCOUNT = """\
query Account($number: String!) {
  account(number: $number) {
    number
    estimation { mode missedInARow }
    submission { may until registers { register minimum maximum } }
  }
}"""

PAY_WITH_READING = """\
mutation PayWithReading($input: PayWithReadingInput!) {
  payWithReading(input: $input) {
    __typename
    ... on PaymentTaken { receipt replayed amount balance unallocated reading { state code text } }
    ... on CommandRefused { code text }
  }
}"""

Request = tuple[bytes, bytes]
"""The header lines that are this request's own, each with its end, and the body."""

Bearers = Mapping[int, Sequence[str]]
"""The tokens of whoever submits for an account; they come in turns."""


@dataclass(frozen=True, slots=True)
class Household:
    """An account to seed: one meter, one register, one initial reading."""

    account: str
    meter: str
    capacity: int
    value: int
    read_at: datetime


def households(count: int = ACCOUNTS, now: datetime | None = None) -> list[Household]:
    """List the households that every run begins with; their initial reading is two months old."""
    read_at = (now or datetime.now(UTC)) - timedelta(days=INITIAL_DAYS_AGO)
    return [
        Household(str(FIRST_ACCOUNT + i), f"M{FIRST_ACCOUNT + i}", CAPACITY, INITIAL_VALUE, read_at)
        for i in range(count)
    ]


def submit_reading(
    connection: int, connections: int, accounts: int = ACCOUNTS, bearers: Bearers | None = None
) -> Iterator[Request]:
    """Give the requests of one connection for ever: a random account of its share, a value above its last one.

    Every connection has its own share of the accounts, so that a household never overtakes itself, which would be
    refused as a reading below the previous one.
    """
    chance, values = random.Random(connection), _share(connection, connections, accounts)
    numbers = list(values)
    # Built by hand around one json.dumps: the load generator shares two cores with what it measures.
    before = b'{"query":%b,"operationName":"SubmitReading","variables":{"input":{"account":"' % _text(SUBMIT_READING)
    middle = b'","idempotencyKey":"k-%d-' % connection
    body = before + b"%d" + middle + b'%d","values":[{"register":"TOTAL","value":"%d"}]}}}'
    lines = _lines(numbers, bearers)
    sent = 0
    while True:
        account = chance.choice(numbers)
        values[account] += chance.randint(1, STEP_KWH_MAX)
        sent += 1
        yield next(lines[account]), body % (account, sent, values[account])


def account(
    connection: int, connections: int, accounts: int = ACCOUNTS, bearers: Bearers | None = None
) -> Iterator[Request]:
    """Give the requests of one connection for ever: what a front end shows of a random account of its share."""
    chance, numbers = random.Random(connection), list(_share(connection, connections, accounts))
    body = b'{"query":%b,"operationName":"Account","variables":{"number":"%%d"}}' % _text(ACCOUNT)
    lines = _lines(numbers, bearers)
    while True:
        number = chance.choice(numbers)
        yield next(lines[number]), body % number


def submit_readings(
    connection: int, connections: int, accounts: int = ACCOUNTS, rows: int = ROWS_PER_CALL
) -> Iterator[Request]:
    """Give the requests of one connection for ever, ``rows`` readings each; an account is met again only by a higher value."""
    chance, values = random.Random(connection), _share(connection, connections, accounts)
    numbers = list(values)
    before = b'{"query":%b,"operationName":"SubmitReadings","variables":{"input":{"rows":[' % _text(SUBMIT_READINGS)
    row = b'{"account":"%d","idempotencyKey":"k-%d-%d","values":[{"register":"TOTAL","value":"%d"}]}'
    sent = 0
    while True:
        chosen = chance.sample(numbers, min(rows, len(numbers)))
        chosen += chance.choices(numbers, k=rows - len(chosen))
        parts = []
        for account in chosen:
            values[account] += chance.randint(1, STEP_KWH_MAX)
            sent += 1
            parts.append(row % (account, connection, sent, values[account]))
        yield b"", before + b",".join(parts) + b"]}}}"


def pay(connection: int, connections: int, accounts: int = ACCOUNTS, *, has_reading: bool = False) -> Iterator[Request]:
    """Give the requests of one connection for ever: payments of a minute ago, each with a reading or without."""
    chance, values = random.Random(connection), _share(connection, connections, accounts)
    numbers = list(values)
    paid_at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat(timespec="seconds").encode()
    before = b'{"query":%b,"operationName":"PayWithReading","variables":{"input":{"account":"' % _text(PAY_WITH_READING)
    middle = b'","paidAt":"%b","paymentId":"p-%d-' % (paid_at, connection)
    reading = b'"values":[{"register":"TOTAL","value":"%d"}]'
    body = before + b"%d" + middle + b'%d","amount":"%d.45"' + (b"," + reading if has_reading else b"") + b"}}}"
    sent = 0
    while True:
        account = chance.choice(numbers)
        values[account] += chance.randint(1, STEP_KWH_MAX)
        sent += 1
        told = (account, sent, 100 + sent % 900)
        yield b"", body % ((*told, values[account]) if has_reading else told)


def _share(connection: int, connections: int, accounts: int) -> dict[int, int]:
    """Give the accounts of one connection, each with its last value."""
    return dict.fromkeys(range(FIRST_ACCOUNT + connection, FIRST_ACCOUNT + accounts, connections), INITIAL_VALUE)


def _lines(accounts: Sequence[int], bearers: Bearers | None) -> dict[int, Iterator[bytes]]:
    return {
        each: cycle([b"authorization: Bearer %b\r\n" % token.encode() for token in bearers[each]] if bearers else [b""])
        for each in accounts
    }


def _text(document: str) -> bytes:
    # The body is a %-format, and so is what stands in it.
    return json.dumps(document).encode().replace(b"%", b"%%")
