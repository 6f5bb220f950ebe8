"""Reminders and notices over GraphQL: a household chooses for itself, only to what is its own, and sees what it was told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bels.access import personal
from bels.access.callers import WHOLE, Caller, Kind, Sight, rights_of
from bels.access.personal import Personal, subject_of
from bels.api.context import RIGHTS
from bels.domain.terms import Channel
from bels.outgoing.choices import CHOSEN, choose
from bels.outgoing.deliver import Post, deliver_due
from bels.outgoing.outbox import TextState, delivered
from bels.outgoing.reminders import plan_reminders
from bels.outgoing.results import Letter, Result, Sent, Text
from bels.outgoing.store import install_outgoing
from tests.api.client import Client, household
from tests.channels.household import moscow

ACCOUNT, FOREIGN = "1000101", "1000102"
PHONE, EMAIL = "+79161234567", "ivanova@example.ru"
CHOOSE = """mutation($input: ChooseNoticesInput!) { chooseNotices(input: $input) { __typename
  ... on NoticesChosen { accountNumber preferences { channel topics address } } ... on Refusal { code path text } } }"""
STOP = """mutation($input: StopNoticesInput!) { stopNotices(input: $input) { __typename
  ... on NoticesChosen { preferences { channel topics } } ... on Refusal { code } } }"""
SHOWN = """query($first: Int, $after: String) { account(number: "1000101") { notices(first: $first, after: $after) {
  edges { cursor node { kind topic channel period state text error sentAt endedAt } } pageInfo { hasNextPage } } } }"""


def caller(kind: Kind, *given: str, sights: dict[str, Sight] | None = None) -> Caller:
    """Give somebody with these grants."""
    return Caller(kind, f"{kind.value.lower()}-1", rights_of(kind, given), Channel.CABINET, "test", sights)


OWNER = caller(Kind.CONSUMER, sights={ACCOUNT: WHOLE})
OFFICE = caller(Kind.OPERATOR, "people")


@pytest.fixture
async def town(client: Client) -> Client:
    """Give a supplier whose household gave a phone and an e-mail, and asks."""
    async with client.pool.acquire() as db:
        await install_outgoing(db)
    await household(client, ACCOUNT)
    await household(client, FOREIGN)
    await client.context_of(OWNER)
    assert client.supplier is not None
    async with client.pool.acquire() as db:
        vault = client.supplier.door.vault
        await personal.put(db, vault, subject_of(ACCOUNT, 1), Personal(phones=(PHONE,), emails=(EMAIL,)))
    client.caller = OWNER
    return client


async def chosen(town: Client, **given: Any) -> dict[str, Any]:
    """Choose."""
    told: dict[str, Any] = (await town.ask(CHOOSE, input={"account": ACCOUNT, **given}))["chooseNotices"]
    return told


async def test_a_household_chooses_a_channel_and_sees_its_address_masked(town: Client) -> None:
    by_sms = await chosen(town, channel="SMS", topics=["REMINDERS"])
    by_mail = await chosen(town, channel="EMAIL", topics=["REMINDERS", "NOTICES"], address="Ivanova@EXAMPLE.ru")

    assert by_sms["preferences"] == [{"channel": "SMS", "topics": ["REMINDERS"], "address": "***4567"}]
    assert by_mail["preferences"][1] == {
        "channel": "EMAIL",
        "topics": ["REMINDERS", "NOTICES"],
        "address": "i***@example.ru",
    }
    stopped = (await town.ask(STOP, input={"account": ACCOUNT, "topics": ["REMINDERS"]}))["stopNotices"]
    assert stopped["preferences"] == [
        {"channel": "SMS", "topics": []},
        {"channel": "EMAIL", "topics": ["NOTICES"]},
    ]
    listed = await town.ask('{ account(number: "1000101") { preferences { channel topics deadAt } } }')
    assert [each["topics"] for each in listed["account"]["preferences"]] == [[], ["NOTICES"]]


async def test_an_address_that_is_not_the_households_own_is_refused(town: Client) -> None:
    for given in (
        {"channel": "SMS", "address": "+79031112233"},
        {"channel": "EMAIL", "address": "thief@example.ru"},
        {"channel": "TELEGRAM", "address": "700700"},
        {"channel": "MAX"},
    ):
        refused = await chosen(town, topics=["NOTICES"], **given)
        assert (refused["code"], refused["path"]) == ("NOT_LINKED_HERE", ["input", "address"]), given
    bad = await chosen(town, channel="SMS", topics=["NOTICES"], address="девятьсот")
    assert (bad["code"], bad["path"]) == ("BAD_ADDRESS", ["input", "address"])
    assert await town.pool.fetchval("SELECT count(*) FROM subscription") == 0


async def test_a_linked_chat_and_one_that_a_bot_remembered_can_be_chosen(town: Client) -> None:
    assert town.supplier is not None
    door = town.supplier.door
    town.caller = caller(Kind.LOCAL)
    await town.do("linkChannel", account=ACCOUNT, channel="TELEGRAM", address="700700")
    town.caller = OWNER
    linked = await chosen(town, channel="TELEGRAM", topics=["NOTICES"], address="700700")
    assert linked["preferences"][0]["address"] == "***00"

    async with town.pool.acquire() as db:
        await choose(db, door.vault, ACCOUNT, 1, Channel.TELEGRAM, "700700", (), "bot", town.clock.at)
    again = await chosen(town, channel="TELEGRAM", topics=["REMINDERS"])
    assert again["preferences"][0]["topics"] == ["REMINDERS"]


async def test_an_operator_of_personal_data_chooses_as_the_household_asked_and_no_other_staff_may(town: Client) -> None:
    town.caller = OFFICE
    assert (await chosen(town, channel="SMS", topics=["REMINDERS"]))["__typename"] == "NoticesChosen"
    assert await town.pool.fetchval("SELECT chosen_by FROM subscription") == "operator-1"

    for stranger in (caller(Kind.OPERATOR), caller(Kind.INSPECTOR), caller(Kind.AUDITOR)):
        for coordinate in ("Mutation.chooseNotices", "Mutation.stopNotices", "Account.preferences"):
            assert RIGHTS.first_refused(frozenset({coordinate}), stranger.rights) == coordinate


async def test_a_foreign_account_is_told_as_if_it_did_not_exist(town: Client) -> None:
    foreign, nobodys = [
        (await town.ask(CHOOSE, input={"account": number, "channel": "SMS", "topics": ["NOTICES"]}))["chooseNotices"]
        for number in (FOREIGN, "1999999")
    ]
    stopped = (await town.ask(STOP, input={"account": FOREIGN}))["stopNotices"]

    assert foreign == nobodys
    assert foreign["code"] == stopped["code"] == "UNKNOWN_ACCOUNT"


async def test_a_household_sees_what_it_was_told_page_by_page_and_the_next_household_nothing(town: Client) -> None:
    assert town.supplier is not None
    door = town.supplier.door

    async def gateway(_: str, __: Text | Letter, ___: str) -> Result:
        return Sent("7")

    await chosen(town, channel="SMS", topics=[topic.value for topic in CHOSEN])
    post = Post(town.pool, town.intake, door.vault, door.raw_texts, {Channel.SMS: gateway}, "https://lk.bels.example")
    for at in ("2024-01-26T12:00", "2024-02-23T12:00"):
        town.clock.at = moscow(at)
        await plan_reminders(town.pool, town.intake, town.clock.at)
        await deliver_due(post)
    await delivered(town.pool, f"remind/{ACCOUNT}/1/2024-02/WINDOW_OPENS", TextState.DELIVERED, now=town.clock.at)
    newest = (await town.ask(SHOWN, first=1))["account"]["notices"]
    (edge,) = newest["edges"]
    node = edge["node"]
    assert newest["pageInfo"]["hasNextPage"]
    assert (node["kind"], node["topic"], node["channel"], node["period"], node["state"]) == (
        *("WINDOW_CLOSES", "REMINDERS", "SMS", "2024-02"),
        "SENT",
    )
    assert "[ссылка]" in node["text"]
    assert "lk.bels.example" not in node["text"]
    older = (await town.ask(SHOWN, first=5, after=edge["cursor"]))["account"]["notices"]
    assert [each["node"]["state"] for each in older["edges"]] == ["DELIVERED"]

    # The flat is sold: whoever buys it has another tenure.
    await town.pool.execute(
        "INSERT INTO tenure (account, number, since, entry, period) VALUES ($1, 2, $2, 3, '2024-03')",
        ACCOUNT,
        town.clock.at,
    )
    assert (await town.ask(SHOWN))["account"]["notices"]["edges"] == []
    assert (await chosen(town, channel="SMS", topics=["NOTICES"]))["code"] == "UNKNOWN_ACCOUNT"
    town.clock.at += timedelta(days=1)
    town.caller = caller(Kind.CONSUMER, sights={ACCOUNT: Sight(3, None)})
    assert (await town.ask('{ account(number: "1000101") { preferences { channel } } }'))["account"] == {
        "preferences": []
    }
