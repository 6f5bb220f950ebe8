"""The metrics: what is counted, that it stays bounded, and who may read it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette

from bels.intake import Intake
from bels.messages import Message, Outcome, TryLater
from bels.observing.batches import within
from bels.observing.metrics import CODES_MAX, SERIES_MAX, Metrics, metrics_route
from tests.supplier import open_household, reading


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """Give one value as it would be told."""
    return metrics.registry.get_sample_value(name, labels) or 0.0


def series(metrics: Metrics, name: str) -> int:
    """Count the series of a metric's samples of this name."""
    return sum(sample.name == name for each in metrics.registry.collect() for sample in each.samples)


def test_requests_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics("1.0")

    metrics.request("POST", "/graphql", 200, 0.004)
    metrics.request("POST", "/graphql", 200, 0.2)

    about = {"method": "POST", "route": "/graphql", "status": "200"}
    assert value(metrics, "bels_http_request_seconds_count", **about) == 2
    assert value(metrics, "bels_http_request_seconds_bucket", le="0.005", **about) == 1
    assert value(metrics, "bels_build_info", version="1.0") == 1


def test_what_clients_invent_makes_no_series() -> None:
    metrics = Metrics("1.0", ["account"])

    for i in range(3 * SERIES_MAX):
        metrics.request(f"M{i}", f"/{i}", 200, 0.1)
        metrics.request("GET", f"/{i}", 200, 0.1)
        metrics.operation(f"kind{i}", [f"field{i}", "account"])
        metrics.error(f"CODE_{i}", f"kind{i}")
        metrics.login_failed(f"way{i}")

    # A few beyond the bound come from the requests of no known method.
    assert series(metrics, "bels_http_request_seconds_count") <= 3 * SERIES_MAX + 1
    assert series(metrics, "bels_graphql_operations_total") == 2
    assert series(metrics, "bels_errors_total") == CODES_MAX + 1
    assert value(metrics, "bels_graphql_operations_total", kind="other", field="account") == 3 * SERIES_MAX
    assert value(metrics, "bels_login_failures_total", kind="other") == 3 * SERIES_MAX


def test_a_refusal_of_the_budget_is_counted_by_who_asked() -> None:
    metrics = Metrics("1.0")

    metrics.error("RATE_LIMITED", "PARTNER")
    metrics.error("FORBIDDEN", "PARTNER")

    assert value(metrics, "bels_budget_refusals_total", kind="PARTNER") == 1
    assert value(metrics, "bels_errors_total", code="FORBIDDEN") == 1


async def test_a_batch_is_counted_with_what_became_of_it(pool: asyncpg.Pool, intake: Intake) -> None:
    metrics = Metrics("1.0")
    batch = [*open_household("1000101"), reading("1000102", "1", 5), reading("1000102", "1", 5)]

    await metrics.around(batch, intake.handle)
    await metrics.around(batch[2:3], intake.handle)

    about = {"channel": "sms"}
    assert value(metrics, "bels_intake_messages_total", channel="office", outcome="ACCEPTED") == 2
    assert value(metrics, "bels_intake_messages_total", outcome="REFUSED", **about) == 1
    assert value(metrics, "bels_intake_messages_total", outcome="REPEATED", **about) == 2
    assert value(metrics, "bels_refusals_total", channel="sms", code="UNKNOWN_ACCOUNT") == 1
    assert value(metrics, "bels_intake_batch_messages_sum") == 5
    assert value(metrics, "bels_intake_batch_seconds_count") == 2
    assert value(metrics, "bels_journal_entries_total") == await pool.fetchval("SELECT count(*) FROM journal") > 0


async def test_a_held_reading_is_counted_by_its_channel_and_why(intake: Intake) -> None:
    metrics = Metrics("1.0")
    await intake.handle(open_household("1000101"))

    await metrics.around([reading("1000101", "1", 99_000)], intake.handle)

    assert value(metrics, "bels_held_total", channel="sms", code="IMPLAUSIBLE") == 1


async def test_a_batch_that_fails_is_counted_and_fails() -> None:
    metrics = Metrics("1.0")

    async def handle(_: Sequence[Message]) -> Sequence[Outcome | Exception]:
        raise TryLater("OSError")

    with pytest.raises(TryLater):
        await metrics.around([reading("1000101", "1", 5)], handle)

    assert value(metrics, "bels_intake_messages_total", channel="sms", outcome="FAILED") == 1


async def test_a_watcher_stands_around_every_batch(intake: Intake) -> None:
    metrics = Metrics("1.0")
    watched = within(metrics.around, within(metrics.around, intake.handle))

    (outcome,) = await watched([reading("1000101", "1", 5)])

    assert isinstance(outcome, Outcome)
    assert value(metrics, "bels_intake_batch_messages_count") == 2


async def test_the_pool_tells_who_waits_for_a_connection(database: str) -> None:
    metrics = Metrics("1.0")
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        metrics.watch_pool(pool)
        async with pool.acquire():
            waiter = asyncio.create_task(pool.fetchval("SELECT 1"))
            await asyncio.sleep(0.05)
            states = {s: value(metrics, "bels_pool_connections", state=s) for s in ("used", "free", "max", "waiting")}
        await waiter

        assert states == {"used": 1, "free": 0, "max": 1, "waiting": 1}
        assert value(metrics, "bels_pool_connections", state="waiting") == 0


async def test_a_blocked_event_loop_shows() -> None:
    import time

    metrics = Metrics("1.0")
    async with metrics.running():
        await asyncio.sleep(0.4)
        time.sleep(0.3)  # noqa: ASYNC251 - this is what is measured
        await asyncio.sleep(0.05)

    assert value(metrics, "bels_event_loop_lag_seconds_sum") > 0.1


async def answer_of(app: Starlette, peer: str, **headers: str) -> httpx.Response:
    """Ask for the metrics as a peer with these headers."""
    transport = httpx.ASGITransport(app, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as client:
        return await client.get("/metrics", headers=headers)


async def test_with_a_token_whoever_brings_it_reads_the_metrics() -> None:
    metrics = Metrics("1.0")
    app = Starlette(routes=[metrics_route(metrics.registry, "s3cret")])

    told = await answer_of(app, "10.0.0.5", authorization="Bearer s3cret")
    refused = await answer_of(app, "127.0.0.1", authorization="Bearer s3creT")

    assert (told.status_code, refused.status_code) == (200, 401)
    assert 'bels_build_info{version="1.0"} 1.0' in told.text
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert "s3cre" not in refused.text


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.5", {}, 403),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, 403),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, 403),
    ],
)
async def test_without_a_token_only_this_machine_reads_the_metrics(
    peer: str, headers: dict[str, str], status: int
) -> None:
    looked: list[int] = []

    async def before() -> None:
        looked.append(1)

    app = Starlette(routes=[metrics_route(Metrics("1.0").registry, None, before)])

    assert (await answer_of(app, peer, **headers)).status_code == status
    assert len(looked) == (status == 200)
