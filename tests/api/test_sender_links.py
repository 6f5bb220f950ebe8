"""Phones and chats over GraphQL: a household makes a code, sees who speaks for its account and unlinks it; nobody else does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
import pytest

from bels.access.callers import LOCAL, Caller, Kind, Sight, rights_of
from bels.api.schema import SCHEMA
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel
from bels.reception.codes import LIVING_MAX, tell_bot, use_code
from bels.reception.counter import Answer, Counter
from tests.api.client import Client, household

ACCOUNT, FOREIGN = "1000101", "1000102"
MAKE = """mutation($input: MakeLinkCodeInput!) { makeLinkCode(input: $input) {
  __typename ... on LinkCodeMade { accountNumber linkCode expiresAt text links { channel url } }
  ... on Refusal { code text hint path } } }"""
UNLINK = """mutation($input: UnlinkSenderInput!) { unlinkSender(input: $input) {
  __typename ... on CommandDone { accountNumber replayed entries { kind } } ... on Refusal { code text path } } }"""
SENDERS = '{ account(number: "%s") { senders { id channel linkedAt name } } }'


def consumer(account: str = ACCOUNT, sight: Sight | None = None, name: str = "u-mine") -> Caller:
    """Give a consumer who sees an account."""
    return Caller(
        Kind.CONSUMER, name, rights_of(Kind.CONSUMER), Channel.WEB, f"consumer:{name}", {account: sight or Sight()}
    )


@pytest.fixture
async def home(client: Client) -> Client:
    """Give a program that asks for its own household, beside which another one lives."""
    for account in (ACCOUNT, FOREIGN):
        await household(client, account)
    client.caller = consumer()
    return client


async def make(client: Client, account: str = ACCOUNT) -> dict[str, Any]:
    """Make a code."""
    told: dict[str, Any] = (await client.ask(MAKE, input={"account": account}))["makeLinkCode"]
    return told


async def use(client: Client, code: str, key: str, chat: str = "77001") -> Answer:
    """Send a code from a chat."""
    door = (await client.context_of(LOCAL)).app.door
    counter = Counter(client.pool, client.intake, door)
    return await use_code(counter, counter.sender(Channel.TELEGRAM, chat), code, key, "КОД")


async def senders(client: Client, account: str = ACCOUNT) -> list[dict[str, Any]]:
    """List the senders of an account."""
    told: list[dict[str, Any]] = (await client.ask(SENDERS % account))["account"]["senders"]
    return told


async def unlink(client: Client, sender: str, key: str, account: str = ACCOUNT) -> dict[str, Any]:
    """Unlink a sender."""
    given = {"account": account, "sender": sender, "idempotencyKey": key}
    told: dict[str, Any] = (await client.ask(UNLINK, input=given))["unlinkSender"]
    return told


async def test_a_household_links_a_chat_by_a_code_sees_it_and_unlinks_it(home: Client) -> None:
    made = await make(home)
    assert made["__typename"] == "LinkCodeMade"
    assert made["linkCode"] in made["text"]
    assert datetime.fromisoformat(made["expiresAt"]) == datetime(2024, 1, 20, 12, 15, tzinfo=MOSCOW)
    assert (await use(home, made["linkCode"], "tg:1")).code == "ACCEPTED"

    (sender,) = await senders(home)
    assert (sender["channel"], len(sender["name"])) == ("TELEGRAM", 4)
    first, again = await unlink(home, sender["id"], "k"), await unlink(home, sender["id"], "k")
    assert (first["__typename"], first["replayed"], again["replayed"]) == ("CommandDone", False, True)
    assert await senders(home) == []
    assert (await unlink(home, sender["id"], "other"))["code"] == "NOT_LINKED"


async def test_a_code_opens_the_bots_that_are_known(home: Client) -> None:
    async with home.pool.acquire() as db:
        await tell_bot(db, Channel.TELEGRAM, "old_bot", home.clock())
        await tell_bot(db, Channel.TELEGRAM, "bels_bot", home.clock())

    made = await make(home)

    assert made["links"] == [{"channel": "TELEGRAM", "url": f"https://t.me/bels_bot?start={made['linkCode']}"}]


async def test_nobody_makes_a_code_of_a_foreign_account(home: Client) -> None:
    foreign, nobodys = await make(home, FOREIGN), await make(home, "1999999")

    assert foreign == nobodys
    assert (foreign["code"], foreign["path"]) == ("UNKNOWN_ACCOUNT", ["input", "account"])
    assert await home.pool.fetchval("SELECT count(*) FROM link_code") == 0


async def test_an_account_has_few_living_codes(home: Client) -> None:
    for _ in range(LIVING_MAX):
        await make(home)

    assert (await make(home))["code"] == "LIMIT_REACHED"


async def test_nobody_unlinks_the_sender_of_a_foreign_account(home: Client) -> None:
    await use(home, (await make(home))["linkCode"], "tg:1")
    (sender,) = await senders(home)
    home.caller = consumer(FOREIGN, name="u-other")

    assert (await unlink(home, sender["id"], "k"))["code"] == "NOT_LINKED"
    assert (await unlink(home, sender["id"], "k", FOREIGN))["code"] == "NOT_LINKED"
    home.caller = consumer()
    assert len(await senders(home)) == 1


async def test_the_next_household_sees_no_sender_of_the_one_before(home: Client) -> None:
    await use(home, (await make(home))["linkCode"], "tg:1")
    version = (await home.ask(f'{{ account(number: "{ACCOUNT}") {{ version }} }}'))["account"]["version"]
    home.caller = consumer(sight=Sight(version, None), name="u-next")

    assert await senders(home) == []
    await use(home, (await make(home))["linkCode"], "tg:2", chat="77002")
    assert len(await senders(home)) == 1


async def test_a_sender_linked_again_is_shown_once(home: Client) -> None:
    await use(home, (await make(home))["linkCode"], "tg:1")
    (first,) = await senders(home)
    await unlink(home, first["id"], "k")
    home.clock.at = datetime(2024, 1, 21, 12, tzinfo=MOSCOW)
    await use(home, (await make(home))["linkCode"], "tg:2")

    (second,) = await senders(home)
    assert (second["name"], second["id"] != first["id"]) == (first["name"], True)
    assert (await unlink(home, first["id"], "late"))["code"] == "NOT_LINKED"
    assert len(await senders(home)) == 1


async def test_an_id_that_is_none_is_refused_and_a_database_that_is_gone_said_so(
    home: Client, pool: asyncpg.Pool
) -> None:
    given = {"account": ACCOUNT, "sender": "nonsense", "idempotencyKey": "k"}
    result = await SCHEMA.execute(UNLINK, {"input": given}, await home.context_of(home.caller))
    assert [(e.extensions or {}).get("code") for e in result.errors or ()] == ["BAD_USER_INPUT"]

    await pool.execute("ALTER TABLE link_code RENAME TO link_code_away")
    result = await SCHEMA.execute(MAKE, {"input": {"account": ACCOUNT}}, await home.context_of(home.caller))
    assert [(e.extensions or {}).get("code") for e in result.errors or ()] == ["TRY_LATER"]
