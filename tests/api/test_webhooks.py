"""Webhooks over GraphQL: a partner makes them for itself and sees only its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from bels.access.callers import Caller, Kind, rights_of
from bels.api.context import RIGHTS
from bels.api.schema import SCHEMA
from bels.api.webhooks import schema_routes
from bels.domain.terms import Channel
from bels.payments.partners import Partners
from bels.payments.store import install_payments
from bels.payments.webhooks.catalogue import TYPES
from bels.payments.webhooks.deliver import Hooks, deliver_webhooks, opened_hooks
from bels.payments.webhooks.guard import Policy
from bels.payments.webhooks.subscriptions import WEBHOOKS_MAX
from tests.api.client import Client, household
from tests.peers.webhook_receiver import Receiver, running_receiver

ONE = "1000101"
SUBSCRIBE = """mutation($input: SubscribeWebhookInput!) { subscribeWebhook(input: $input) { __typename
  ... on WebhookSubscribed { secret replayed webhook { id url host types state partner } }
  ... on Refusal { code text hint path } } }"""
LIST = "{ webhooks { edges { node { id url description state failures } } pageInfo { hasNextPage } } }"
DELIVERIES = """query($webhook: ID!, $state: WebhookDeliveryState, $first: Int, $after: String) {
  webhookDeliveries(webhook: $webhook, state: $state, first: $first, after: $after) {
    edges { node { eventId type state tries error nextAt attempts { number status error durationMs } } }
    pageInfo { hasNextPage endCursor } } }"""
PAY = """mutation($id: ID!) { receivePayment(input: {account: "1000101", amount: "10.00", paymentId: $id,
  paidOn: "2024-01-20"}) { __typename } }"""


def partner(name: str, *scopes: str) -> Caller:
    """Give a partner with these scopes."""
    return Caller(
        Kind.PARTNER, f"c-{name}", rights_of(Kind.PARTNER, scopes), Channel.BANK, f"partner:c-{name}", None, f"c-{name}"
    )


BANK = partner("bank", "payments:write")
APP = partner("app", "readings:write")
AUDITOR = Caller(Kind.AUDITOR, "u-auditor", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-auditor")


@pytest.fixture(scope="module")
def listening() -> Iterator[Receiver]:
    """Run a receiver for the tests of this file."""
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def bank(client: Client) -> Client:
    """Give a supplier with one household, asked by a bank."""
    async with client.pool.acquire() as db:
        await install_payments(db)
    await household(client, ONE)
    client.caller = BANK
    return client


@pytest.fixture
async def hooks(bank: Client) -> AsyncIterator[Hooks]:
    """Open what events are delivered with."""
    await bank.context_of(BANK)
    assert bank.supplier is not None
    raw_texts = bank.supplier.door.raw_texts
    async with opened_hooks(bank.pool, raw_texts, Partners(), Policy(loopback=True), bank.clock) as opened:
        yield opened


async def subscribed(client: Client, url: str = "http://127.0.0.1:9/in", **given: Any) -> dict[str, Any]:
    """Subscribe."""
    client.keys += 1
    asked = {"idempotencyKey": f"k{client.keys}", "url": url, "types": ["payment.received.v1"], **given}
    told: dict[str, Any] = (await client.ask(SUBSCRIBE, input=asked))["subscribeWebhook"]
    return told


async def act(client: Client, mutation: str, asked: str, **given: Any) -> dict[str, Any]:
    """Do something with a webhook."""
    kind = {"rotateWebhookSecret": "WebhookKey", "pingWebhook": "WebhookKey", "replayWebhooks": "ReplayWebhooks"}.get(
        mutation, "Webhook"
    )
    query = f"mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ {asked} }} }}"
    told: dict[str, Any] = (await client.ask(query, input=given))[mutation]
    return told


async def refused(client: Client, query: str, **variables: Any) -> str:
    """Ask, and expect an error; give its code."""
    result = await SCHEMA.execute(query, variables, await client.context_of(client.caller))
    assert result.errors
    return str((result.errors[0].extensions or {}).get("code"))


async def deliveries(client: Client, webhook: str, **given: Any) -> Any:
    """List deliveries."""
    return (await client.ask(DELIVERIES, webhook=webhook, **given))["webhookDeliveries"]


async def test_a_partner_subscribes_and_its_secret_is_told_once(bank: Client) -> None:
    first = await subscribed(bank, idempotencyKey="once", description="production")
    again = await subscribed(bank, idempotencyKey="once", description="production")
    other = await subscribed(bank, idempotencyKey="once", description="test")

    assert first["secret"].startswith("whsec_")
    assert (first["webhook"]["state"], first["webhook"]["host"]) == ("ACTIVE", "127.0.0.1")
    assert first["webhook"]["partner"] == BANK.actor
    assert (again["secret"], again["replayed"], again["webhook"]["id"]) == (None, True, first["webhook"]["id"])
    assert (other["code"], other["path"]) == ("MESSAGE_ID_REUSED", ["input", "idempotencyKey"])
    assert first["secret"] not in str([tuple(row) for row in await bank.pool.fetch("SELECT * FROM webhook")])


async def test_a_url_that_may_not_be_called_is_refused_with_the_reason(bank: Client) -> None:
    for url, words in (
        ("http://hooks.bank.example/", "HTTPS"),
        ("https://10.0.0.1/", "имя сервера"),
        ("https://user:secret@hooks.bank.example/", "неверно"),
        ("https://hooks.bank.example:22/", "порт"),
        ("https://no-such-name.invalid/", "не найдено"),
    ):
        told = await subscribed(bank, url)
        assert (told["__typename"], told["code"], told["path"]) == ("WebhookRefused", "BAD_ADDRESS", ["input", "url"])
        assert words in told["text"]
        assert told["hint"]


async def test_types_and_words_are_checked(bank: Client) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"types": []},
        {"types": ["payment.received.v9"]},
        {"types": ["test.ping.v1"]},
        {"description": "x" * 101},
        {"description": "звонить +79161234567"},
    )
    for given in wrong:
        asked = {"idempotencyKey": "k", "url": "http://127.0.0.1:9/", "types": ["payment.received.v1"], **given}
        assert await refused(bank, SUBSCRIBE, input=asked) == "BAD_USER_INPUT"


async def test_a_partner_has_so_many_webhooks_and_no_more(bank: Client) -> None:
    made = [await subscribed(bank) for _ in range(WEBHOOKS_MAX + 1)]

    assert [told["__typename"] for told in made] == ["WebhookSubscribed"] * WEBHOOKS_MAX + ["WebhookRefused"]
    assert made[-1]["code"] == "LIMIT_REACHED"
    await act(bank, "deleteWebhook", "webhook", webhook=made[0]["webhook"]["id"])
    assert (await subscribed(bank))["__typename"] == "WebhookSubscribed"


async def test_a_payment_is_delivered_and_its_attempts_are_shown(
    bank: Client, hooks: Hooks, listening: Receiver
) -> None:
    listening.reset()
    made = await subscribed(bank, listening.url)
    webhook = made["webhook"]["id"]
    listening.set(secrets=[made["secret"]], status=500)
    assert (await bank.ask(PAY, id="p1"))["receivePayment"]["__typename"] == "PaymentReceived"
    await deliver_webhooks(hooks)
    waiting = (await deliveries(bank, webhook, state="PENDING"))["edges"][0]["node"]
    bank.clock.at += timedelta(minutes=1)
    listening.set(status=200)
    await deliver_webhooks(hooks)

    (edge,) = (await deliveries(bank, webhook, state="DELIVERED"))["edges"]
    assert [got["right"] for got in listening.got()] == [[True], [True]]
    assert (waiting["error"], waiting["nextAt"] is not None) == ("HTTP_500", True)
    assert edge["node"]["eventId"] == listening.got()[0]["id"]
    assert (edge["node"]["type"], edge["node"]["nextAt"]) == ("payment.received.v1", None)
    assert [(a["number"], a["status"]) for a in edge["node"]["attempts"]] == [(1, 500), (2, 200)]


async def test_a_test_a_pause_a_replay_and_another_secret(bank: Client, hooks: Hooks, listening: Receiver) -> None:
    listening.reset()
    made = await subscribed(bank, listening.url)
    webhook = made["webhook"]["id"]
    pinged = await act(bank, "pingWebhook", "eventId", webhook=webhook, idempotencyKey="p")
    assert await act(bank, "pingWebhook", "eventId", webhook=webhook, idempotencyKey="p") == pinged
    paused = await act(bank, "pauseWebhook", "webhook { state }", webhook=webhook)
    assert await deliver_webhooks(hooks) == 0
    resumed = await act(bank, "resumeWebhook", "webhook { state }", webhook=webhook)
    rotated = await act(
        bank, "rotateWebhookSecret", "secret replayed webhook { oldSecretUntil }", webhook=webhook, idempotencyKey="r"
    )
    again = await act(bank, "rotateWebhookSecret", "secret replayed", webhook=webhook, idempotencyKey="r")
    listening.set(secrets=[made["secret"], rotated["secret"]])
    assert await deliver_webhooks(hooks) == 1
    replayed = await act(bank, "replayWebhooks", "count", webhook=webhook, ids=[pinged["eventId"]])
    assert await deliver_webhooks(hooks) == 1
    hour = {"from": bank.clock.at.isoformat(), "to": (bank.clock.at + timedelta(hours=1)).isoformat()}
    assert (await act(bank, "replayWebhooks", "count", webhook=webhook, **hour))["count"] == 0

    assert (paused["webhook"]["state"], resumed["webhook"]["state"]) == ("PAUSED", "ACTIVE")
    assert (replayed["count"], again) == (1, {"secret": None, "replayed": True})
    assert rotated["webhook"]["oldSecretUntil"] is not None
    assert [(got["id"], got["right"]) for got in listening.got()] == [(pinged["eventId"], [True, True])] * 2
    nothing = {"webhook": webhook}
    query = "mutation($input: ReplayWebhooksInput!) { replayWebhooks(input: $input) { count } }"
    assert await refused(bank, query, input=nothing) == "BAD_USER_INPUT"
    assert await refused(bank, query, input={**nothing, "ids": ["x"] * 101}) == "BAD_USER_INPUT"


async def test_a_webhook_of_another_partner_is_one_that_there_is_not(bank: Client) -> None:
    webhook = (await subscribed(bank))["webhook"]["id"]
    bank.caller = APP

    assert (await bank.ask(LIST))["webhooks"]["edges"] == []
    assert await deliveries(bank, webhook) is None
    assert await deliveries(bank, "wh_none") is None
    for mutation, kind, more in (
        ("pauseWebhook", "Webhook", {}),
        ("resumeWebhook", "Webhook", {}),
        ("deleteWebhook", "Webhook", {}),
        ("pingWebhook", "WebhookKey", {"idempotencyKey": "k"}),
        ("rotateWebhookSecret", "WebhookKey", {"idempotencyKey": "k"}),
        ("replayWebhooks", "ReplayWebhooks", {"ids": ["evt_1"]}),
    ):
        query = f"mutation($input: {kind}Input!) {{ {mutation}(input: $input) {{ __typename }} }}"
        assert await refused(bank, query, input={"webhook": webhook, **more}) == "BAD_USER_INPUT"
    bank.caller = BANK
    assert len((await bank.ask(LIST))["webhooks"]["edges"]) == 1


async def test_lists_come_in_pages(bank: Client) -> None:
    webhook = (await subscribed(bank))["webhook"]["id"]
    for n in range(3):
        await act(bank, "pingWebhook", "eventId", webhook=webhook, idempotencyKey=f"p{n}")

    first = await deliveries(bank, webhook, first=2)
    rest = await deliveries(bank, webhook, first=2, after=first["pageInfo"]["endCursor"])
    assert (len(first["edges"]), first["pageInfo"]["hasNextPage"]) == (2, True)
    assert (len(rest["edges"]), rest["pageInfo"]["hasNextPage"]) == (1, False)


async def test_an_auditor_sees_that_there_are_webhooks_but_not_their_urls(bank: Client) -> None:
    await subscribed(bank)
    bank.caller = AUDITOR
    asked = "{ webhooks { edges { node { partner host } } } }"

    result = await SCHEMA.execute(asked, {}, await bank.context_of(AUDITOR))
    assert result.data is not None
    assert result.data["webhooks"]["edges"] == [{"node": {"partner": BANK.actor, "host": "127.0.0.1"}}]
    rights = AUDITOR.rights
    assert RIGHTS.first_refused(frozenset(("Query.webhooks", "Webhook.host")), rights) is None
    for hidden in ("Webhook.url", "Mutation.pauseWebhook", "WebhookSubscribed.secret"):
        assert RIGHTS.first_refused(frozenset((hidden,)), rights) == hidden
    for scope in ("readings:write", "payments:write", "registers:read"):
        assert RIGHTS.first_refused(frozenset(("Webhook.url",)), rights_of(Kind.PARTNER, (scope,))) is None
    assert RIGHTS.first_refused(frozenset(("Query.webhooks",)), rights_of(Kind.GATEWAY)) == "Query.webhooks"


async def test_the_catalogue_is_published_with_its_schemas(bank: Client) -> None:
    listed = (await bank.ask("{ webhookEventTypes { name description schemaPath endsOn } }"))["webhookEventTypes"]
    transport = httpx.ASGITransport(Starlette(routes=list(schema_routes())))

    assert [each["name"] for each in listed] == [kind.name for kind in TYPES]
    async with httpx.AsyncClient(transport=transport, base_url="http://bels") as http:
        for each in listed:
            answer = await http.get(each["schemaPath"])
            assert answer.headers["content-type"] == "application/schema+json"
            assert answer.json()["title"] == each["name"]
        assert (await http.get("/webhooks/schemas/nothing.v1.json")).status_code == 404
