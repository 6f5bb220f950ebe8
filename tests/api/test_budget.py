from typing import Any

import pytest
import strawberry

from bels.api.engine.budget import Budgets, ExhaustedError, Limit, actual_cost, cost_told, headers
from bels.api.engine.documents import Schema
from bels.api.engine.paging import Connection

LIMIT = Limit(100, 10.0)


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_taken_drips_back() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    assert budgets.take("bank", 30, LIMIT) == (100, 70, 10.0, 3)
    assert budgets.take("bank", 50, LIMIT) == (100, 20, 10.0, 8)
    clock.now += 4
    assert budgets.look("bank", LIMIT) == (100, 60, 10.0, 4)
    clock.now += 400
    assert budgets.take("bank", 0, LIMIT) == (100, 100, 10.0, 0)


def test_an_empty_budget_refuses_takes_nothing_and_says_how_long() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    budgets.take("bank", 95, LIMIT)
    with pytest.raises(ExhaustedError) as caught:
        budgets.take("bank", 30, LIMIT)
    assert caught.value.wait_s == 3
    refusal = caught.value.refusal()
    assert (refusal.status, refusal.code) == (429, "RATE_LIMITED")
    assert dict(refusal.headers) == {
        "ratelimit-policy": '"default";q=100;w=10', "ratelimit": '"default";r=5;t=10', "retry-after": "3"
    }  # fmt: skip
    assert refusal.extensions == {"retryAfter": 3, "bucket": {"limit": 100, "remaining": 5, "restoreRate": 10.0}}
    clock.now += 3
    assert budgets.take("bank", 30, LIMIT).remaining == 5


@pytest.mark.parametrize("rate", [0.3, 1 / 3, 7.0, 1e-3])
def test_whoever_waited_as_long_as_told_is_served(rate: float) -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    limit = Limit(100, rate)
    budgets.take("bank", 99.9, limit)
    for _ in range(5):
        with pytest.raises(ExhaustedError) as caught:
            budgets.take("bank", 10, limit)
        clock.now += caught.value.wait_s
        budgets.take("bank", 10, limit)


def test_clients_have_budgets_of_their_own() -> None:
    budgets = Budgets(clock=Clock())
    budgets.take("bank", 100, LIMIT)
    assert budgets.take("app", 1, LIMIT).remaining == 99
    with pytest.raises(ExhaustedError):
        budgets.take("bank", 1, LIMIT)


def test_an_operation_larger_than_the_budget_takes_all_of_it() -> None:
    budgets = Budgets(clock=Clock())
    assert budgets.take("bank", 5_000, LIMIT).remaining == 0
    with pytest.raises(ExhaustedError) as caught:
        budgets.take("bank", 5_000, LIMIT)
    assert caught.value.wait_s == 10


def test_what_was_not_needed_is_given_back() -> None:
    budgets = Budgets(clock=Clock())
    budgets.take("bank", 90, LIMIT)
    assert budgets.refund("bank", 60, LIMIT).remaining == 70
    assert budgets.refund("bank", 500, LIMIT).remaining == 100
    assert budgets.refund("nobody", 5, LIMIT).remaining == 100
    assert len(budgets) == 1


def test_the_buckets_are_bounded_and_the_longest_unused_goes() -> None:
    budgets = Budgets(buckets_max=3, clock=Clock())
    for key in ("a", "b", "c", "a", "d"):
        budgets.take(key, 40, LIMIT)
    assert len(budgets) == 3
    assert budgets.look("a", LIMIT).remaining == 20
    assert budgets.look("b", LIMIT).remaining == 100


def test_clients_are_told_by_headers_and_in_the_answer() -> None:
    bucket = Budgets(clock=Clock()).take("bank", 25, Limit(100, 0.5, "documents"))
    assert headers(Limit(100, 0.5, "documents"), bucket) == [
        ("ratelimit-policy", '"documents";q=100;w=200'), ("ratelimit", '"documents";r=75;t=50')
    ]  # fmt: skip
    assert cost_told(25, 20, bucket) == {
        "requested": 25, "actual": 20, "bucket": {"limit": 100, "remaining": 75, "restoreRate": 0.5}
    }  # fmt: skip


# What an operation really cost.


@strawberry.type
class Reading:
    value: str


@strawberry.type
class Account:
    number: str

    @strawberry.field
    def readings(self, first: int = 20) -> Connection[Reading]:
        raise NotImplementedError


@strawberry.type
class Query:
    @strawberry.field
    def account(self) -> Account | None:
        return None


SCHEMA = Schema(Query)


def page(items: int) -> dict[str, Any]:
    edges = [{"cursor": "x", "node": {"value": "1"}} for _ in range(items)]
    return {"account": {"number": "1", "readings": {"edges": edges, "pageInfo": {"hasNextPage": False}}}}


def test_a_page_that_is_not_full_costs_less() -> None:
    document = "{ account { readings { edges { cursor node { value } } pageInfo { hasNextPage } } } }"
    operation = SCHEMA.find(document)
    assert operation.cost({}) == 22
    assert actual_cost(operation, page(20), 22) == 22
    assert actual_cost(operation, page(3), 22) == 5
    assert actual_cost(operation, page(0), 22) == 2
    assert actual_cost(operation, {"account": None}, 22) == 0
    assert actual_cost(operation, None, 22) == 22


def test_without_pages_an_operation_costs_what_was_requested() -> None:
    operation = SCHEMA.find("{ account { number } }")
    assert actual_cost(operation, {"account": None}, 1) == 1
