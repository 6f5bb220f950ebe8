"""A budget for each client: a bucket that costs drip out of at an even rate, and what a client is told of it.

The buckets are in the process: a supplier of several servers gives each client as many budgets, which is in the client's favour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from time import monotonic
from typing import Any, NamedTuple

from bels.api.engine.context import RefusedError
from bels.api.engine.operations import Operation

BUCKETS_MAX = 10_000
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Limit:
    """A bucket's size in points, and how many points a second come back; ``name`` is what clients are told."""

    points: int
    restore_rate: float
    name: str = "default"

    policy: str = field(init=False)
    """The value of the header RateLimit-Policy: so many points in so many seconds."""

    def __post_init__(self) -> None:
        policy = f'"{self.name}";q={self.points};w={ceil(self.points / self.restore_rate)}'
        object.__setattr__(self, "policy", policy)


class Bucket(NamedTuple):
    """What is left of a budget: points, the points that come back in a second, the seconds until all are back."""

    limit: int
    remaining: int
    restore_rate: float
    reset_s: int


class ExhaustedError(Exception):
    """The budget has not enough left; after ``wait_s`` seconds it has."""

    def __init__(self, bucket: Bucket, wait_s: int, limit: Limit) -> None:
        super().__init__(f"the budget is spent for {wait_s} s")
        self.bucket = bucket
        self.wait_s = wait_s
        self.limit = limit

    def refusal(self) -> RefusedError:
        """Word it for the client: 429 with the time to wait, in the headers and in the error."""
        return RefusedError(
            429,
            "RATE_LIMITED",
            f"The budget of {self.limit.points} points is spent; try again in {self.wait_s} s.",
            [*headers(self.limit, self.bucket), ("retry-after", str(self.wait_s))],
            {"retryAfter": self.wait_s, "bucket": bucket_told(self.bucket)},
        )


class Budgets:
    """The buckets of all clients, the longest unused first; when there are too many, that one is forgotten, and so is full again.

    ``clock`` gives seconds, from any point on.
    """

    def __init__(self, buckets_max: int = BUCKETS_MAX, clock: Callable[[], float] = monotonic) -> None:
        self._max = buckets_max
        self._clock = clock
        # What is spent, and when that was worked out.
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spent)

    def take(self, key: str, cost: float, limit: Limit) -> Bucket:
        """Take a cost out of a client's budget; one that is larger than the budget takes all of it.

        :raises ExhaustedError: not enough is left, and nothing was taken.
        """
        now = self._clock()
        points = limit.points
        spent, at = self._spent.get(key, (0.0, now))
        spent -= (now - at) * limit.restore_rate
        if spent < 0.0:
            spent = 0.0
        after = spent + min(cost, points)
        # Whoever waited as long as it was told must find enough, whatever the digits behind the point say.
        if after > points + TOLERANCE:
            raise ExhaustedError(_bucket(limit, spent), ceil((after - points) / limit.restore_rate), limit)
        self._spent[key] = (after, now)
        self._spent.move_to_end(key)
        if len(self._spent) > self._max:
            self._spent.popitem(last=False)
        return _bucket(limit, after)

    def refund(self, key: str, points: float, limit: Limit) -> Bucket:
        """Give points back that turned out not to be needed."""
        now = self._clock()
        spent, at = self._spent.get(key, (0.0, now))
        spent = max(0.0, spent - (now - at) * limit.restore_rate - points)
        if key in self._spent:
            self._spent[key] = (spent, now)
        return _bucket(limit, spent)

    def look(self, key: str, limit: Limit) -> Bucket:
        """Say what a client has left."""
        return self.refund(key, 0.0, limit)


def _bucket(limit: Limit, spent: float) -> Bucket:
    rate = limit.restore_rate
    return Bucket(limit.points, max(0, int(limit.points - spent + TOLERANCE)), rate, ceil(spent / rate - TOLERANCE))


def headers(limit: Limit, bucket: Bucket) -> list[tuple[str, str]]:
    """Write the headers RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""
    return [
        ("ratelimit-policy", limit.policy),
        ("ratelimit", f'"{limit.name}";r={bucket.remaining};t={bucket.reset_s}'),
    ]


def bucket_told(bucket: Bucket) -> dict[str, object]:
    """Give a bucket as answers have it."""
    return {"limit": bucket.limit, "remaining": bucket.remaining, "restoreRate": bucket.restore_rate}


def cost_told(requested: int, actual: int, bucket: Bucket) -> dict[str, object]:
    """Give ``extensions.cost`` of an answer."""
    return {"requested": requested, "actual": actual, "bucket": bucket_told(bucket)}


def actual_cost(operation: Operation, data: dict[str, Any] | None, requested: int) -> int:
    """Count what an operation really cost: the objects of its answer where it asked for pages, else what was requested.

    A page that was not full costs less; an answer never costs more than was requested. One that failed as a whole gives
    nothing back: the work may have been done.
    """
    if not operation.pages or data is None:
        return requested
    own = operation.limits.mutation_cost * len(operation.roots) if operation.kind.value == "mutation" else 0
    return min(requested, own + _objects(data) - 1)


def _objects(value: Any) -> int:
    """Count objects; an edge and a pageInfo are free, as in the price, unless they have another name in the answer."""
    if type(value) is dict:
        return 1 + sum(
            _objects(item) if key != "edges" else _objects(item) - len(item or ())
            for key, item in value.items()
            if (type(item) is dict and key != "pageInfo") or type(item) is list
        )
    if type(value) is list:
        return sum(_objects(item) for item in value if type(item) is dict or type(item) is list)
    return 0
