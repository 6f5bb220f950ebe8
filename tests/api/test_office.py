"""The office over GraphQL: what everybody may ask, what waits for an operator, and for whom an operator acts."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bels.access.callers import Caller, Kind, Right, rights_of
from bels.access.people import add_person
from bels.access.vault import Vault
from bels.api.context import RIGHTS, Context
from bels.api.schema import SCHEMA
from bels.domain.events import ReadingRefused
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, Reason
from bels.messages import Message
from bels.reception.waiting import HandOverReason, hand_over
from tests.api.client import MASTER, Client, household

ACCOUNT = "1000101"


def operator(name: str = "u-clerk", *grants: str) -> Caller:
    """Give an operator with these grants."""
    return Caller(Kind.OPERATOR, name, rights_of(Kind.OPERATOR, grants), Channel.OFFICE, f"operator:{name}")


CONSUMER = Caller(Kind.CONSUMER, "u-mine", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-mine", {})


async def told(client: Client, query: str, **variables: Any) -> list[tuple[str, object]]:
    """Ask, and give the errors with their codes."""
    result = await SCHEMA.execute(query, variables, await client.context_of(client.caller))
    return [(error.message, (error.extensions or {}).get("code")) for error in result.errors or ()]


# Hours -----------------------------------------------------------------------------------------------------------

OFFICE = """query($at: DateTime) { office(at: $at) { address served isOpen opensAt closesAt text
  phones { kind number } days { day opensAt closesAt } } }"""


async def test_everybody_may_ask_when_the_office_is_open(client: Client) -> None:
    client.clock.at = datetime(2026, 11, 23, 12, tzinfo=MOSCOW)
    client.caller = CONSUMER

    open_now = (await client.ask(OFFICE))["office"]
    closed = (await client.ask(OFFICE, at="2026-11-27T18:00:00+03:00"))["office"]

    assert (open_now["isOpen"], open_now["opensAt"], open_now["closesAt"]) == (True, None, "2026-11-23T14:15:00Z")
    assert open_now["address"] == "Балашиха, мкр. Салтыковка, ул. Гражданская, 5"
    assert {"kind": "SMS", "number": "+7 (903) 767-67-81"} in open_now["phones"]
    assert [day["day"] for day in open_now["days"]] == [f"2026-11-{n}" for n in range(23, 30)]
    assert open_now["days"][5] == {"day": "2026-11-28", "opensAt": None, "closesAt": None}
    assert (closed["isOpen"], closed["opensAt"], closed["closesAt"]) == (False, "2026-12-01T05:45:00Z", None)
    assert closed["text"] == "Офис закрыт. Откроется во вторник, 1 декабря, в 08:45."


@pytest.mark.parametrize("at", ["1999-12-31T00:00:00Z", "2099-06-01T00:00:00Z"])
async def test_of_a_moment_without_a_calendar_nobody_says_anything(client: Client, at: str) -> None:
    assert await told(client, OFFICE, at=at) == [("`at` must be a moment of 2000 to 2098.", "BAD_USER_INPUT")]


# Outages ---------------------------------------------------------------------------------------------------------

ANNOUNCE = """mutation($input: AnnounceOutageInput!) { announceOutage(input: $input) { __typename
  ... on OutageAnnounced { replayed outage { number words } } ... on Refusal { code path } } }"""
OUTAGE = {
    "idempotencyKey": "o-1",
    "kind": "EMERGENCY",
    "locality": "Балашиха",
    "places": "ул. Гражданская, 1–9",
    "since": "2024-01-20T11:00:00+03:00",
    "until": "2024-01-20T18:00:00+03:00",
}
OUTAGES = "{ outages(first: 1) { edges { node { number kind words } cursor } pageInfo { hasNextPage } } }"


async def test_an_outage_is_announced_told_to_everybody_and_withdrawn(client: Client) -> None:
    first = (await client.ask(ANNOUNCE, input=OUTAGE))["announceOutage"]
    again = (await client.ask(ANNOUNCE, input=OUTAGE))["announceOutage"]
    await client.ask(ANNOUNCE, input={**OUTAGE, "idempotencyKey": "o-2", "kind": "PLANNED"})
    page = (await client.ask(OUTAGES))["outages"]
    rest = (await client.ask(OUTAGES.replace("first: 1", f'first: 5, after: "{page["edges"][0]["cursor"]}"')))[
        "outages"
    ]
    withdraw = (
        """mutation($n: Int!) { withdrawOutage(input: {number: $n, note: "свет дали"}) { withdrawnAt replayed } }"""
    )
    gone = (await client.ask(withdraw, n=first["outage"]["number"]))["withdrawOutage"]

    assert first["outage"]["words"] == "Аварийное отключение: Балашиха, ул. Гражданская, 1–9. До 18:00."
    assert again == {**first, "replayed": True}
    assert page["pageInfo"] == {"hasNextPage": True}
    assert page["edges"][0]["node"] == {
        "number": first["outage"]["number"],
        "kind": "EMERGENCY",
        "words": first["outage"]["words"],
    }
    assert [edge["node"]["kind"] for edge in rest["edges"]] == ["PLANNED"]
    assert gone == {"withdrawnAt": "2024-01-20T09:00:00Z", "replayed": False}
    assert (await client.ask(withdraw, n=first["outage"]["number"]))["withdrawOutage"]["replayed"]
    assert [e["node"]["kind"] for e in (await client.ask(OUTAGES))["outages"]["edges"]] == ["PLANNED"]


async def test_an_outage_that_cannot_be_is_refused(client: Client) -> None:
    await client.ask(ANNOUNCE, input=OUTAGE)

    backwards = await client.ask(ANNOUNCE, input={**OUTAGE, "idempotencyKey": "o-3", "until": OUTAGE["since"]})
    reused = await client.ask(ANNOUNCE, input={**OUTAGE, "places": "ул. Советская"})

    assert backwards["announceOutage"] == {
        "__typename": "CommandRefused",
        "code": "BAD_DATES",
        "path": ["input", "until"],
    }
    assert reused["announceOutage"]["code"] == "MESSAGE_ID_REUSED"
    named = await told(client, ANNOUNCE, input={**OUTAGE, "idempotencyKey": "o-4", "text": "8 916 123-45-67"})
    assert named == [("`text` must hold no phone and no e-mail: everybody reads it.", "BAD_USER_INPUT")]
    nowhere = 'mutation { withdrawOutage(input: {number: 77, note: "нет"}) { replayed } }'
    assert await told(client, nowhere.replace('"нет"', '"нет такого"')) == [
        ("There is no outage 77.", "BAD_USER_INPUT")
    ]
    assert (await told(client, nowhere.replace("нет", "н")))[0][1] == "BAD_USER_INPUT"


# What nobody could read ------------------------------------------------------------------------------------------

UNREAD = "query($after: String) { messagesNotUnderstood(first: 2, after: $after) { edges { cursor node { receipt channel raw } } } }"
RESOLVE = """mutation($input: ResolveMessageInput!) { resolveMessage(input: $input) { __typename
  ... on MessageResolved { receipt note accountNumber replayed } ... on Refusal { code } } }"""


async def unread(client: Client, *texts: str) -> list[str]:
    """Let texts come by SMS that nobody can read, and give their receipts."""
    door = await client.door()
    receipts = []
    for n, text in enumerate(texts):
        command = ReadingRefused(Reason.NOT_UNDERSTOOD, client.clock.at, {})
        raw = door.raw_texts.kept(text)
        sent = Message(Channel.SMS, f"sms {text} {n}", "sms:5f", "", command, raw)
        receipts.append((await client.intake.submit(sent)).receipt)
    return receipts


async def test_what_nobody_could_read_waits_until_an_operator_deals_with_it(client: Client) -> None:
    await household(client)
    first, second, third = await unread(client, "Иванов, свет 100", "7", "привет")
    await client.do("submitReading", account=ACCOUNT, values=[{"register": "TOTAL", "value": "много"}])
    client.caller = operator()

    page = (await client.ask(UNREAD))["messagesNotUnderstood"]["edges"]
    rest = (await client.ask(UNREAD, after=page[-1]["cursor"]))["messagesNotUnderstood"]["edges"]
    given = {"receipt": second.lower(), "note": "позвонили, передал показание", "account": ACCOUNT}
    done = (await client.ask(RESOLVE, input=given))["resolveMessage"]
    again = (await client.ask(RESOLVE, input={**given, "note": "иначе"}))["resolveMessage"]
    left = (await client.ask(UNREAD))["messagesNotUnderstood"]["edges"]

    assert {edge["node"]["receipt"] for edge in (*page, *rest)} == {first, second, third}
    assert done == {
        "__typename": "MessageResolved",
        "receipt": second,
        "note": "позвонили, передал показание",
        "accountNumber": ACCOUNT,
        "replayed": False,
    }
    assert again == {**done, "replayed": True}
    assert {edge["node"]["receipt"] for edge in left} == {first, third}
    unknown = {"receipt": "AAAAAAAA", "note": "нет такого"}
    assert (await client.ask(RESOLVE, input=unknown))["resolveMessage"]["code"] == "UNKNOWN_READING"
    stranger = {"receipt": first, "note": "нет такого", "account": "9999999"}
    assert (await client.ask(RESOLVE, input=stranger))["resolveMessage"]["code"] == "UNKNOWN_ACCOUNT"


async def test_its_words_are_opened_only_for_who_may_see_personal_data(client: Client) -> None:
    await unread(client, "Иванов, свет 100", "7")

    async def raw(caller: Caller) -> dict[str, str]:
        client.caller = caller
        edges = (await client.ask(UNREAD))["messagesNotUnderstood"]["edges"]
        return {"digits" if edge["node"]["raw"] == "7" else "words": edge["node"]["raw"] for edge in edges}

    auditor = Caller(Kind.AUDITOR, "u-a", rights_of(Kind.AUDITOR), Channel.OFFICE, "auditor:u-a")
    assert (await raw(operator("u-clerk", "people")))["words"] == "Иванов, свет 100"
    for caller in (operator(), auditor):
        assert (await raw(caller))["words"].startswith("sealed:")


# Who waits for a person ------------------------------------------------------------------------------------------

WAITING = "{ handOvers(first: 10) { edges { node { number channel talk accountNumber reason takenBy } } } }"
TAKE = """mutation($n: Int!) { takeHandOver(input: {number: $n}) { __typename
  ... on HandOverTaken { handOver { takenBy takenAt } } ... on HandOverWithAnother { handOver { takenBy } } } }"""
FINISH = """mutation($n: Int!) { finishHandOver(input: {number: $n, note: "показание принято"}) { __typename
  ... on HandOverFinished { handOver { doneAt } } ... on HandOverWithAnother { handOver { takenBy } } } }"""


async def test_a_talk_waits_once_and_is_taken_by_one_operator(client: Client) -> None:
    at, pool = client.clock.at, client.pool
    number = await hand_over(pool, Channel.VOICE, "call-1", None, HandOverReason.ASKED, at)
    same = await hand_over(pool, Channel.VOICE, "call-1", ACCOUNT, HandOverReason.THREE_TRIES, at)
    other = await hand_over(pool, Channel.TELEGRAM, "call-1", None, HandOverReason.OTHER, at)
    client.caller = operator("u-one")

    waits = [edge["node"] for edge in (await client.ask(WAITING))["handOvers"]["edges"]]
    mine = (await client.ask(TAKE, n=number))["takeHandOver"]
    again = (await client.ask(TAKE, n=number))["takeHandOver"]
    client.caller = operator("u-two")
    theirs = (await client.ask(TAKE, n=number))["takeHandOver"]
    not_theirs = (await client.ask(FINISH, n=number))["finishHandOver"]
    client.caller = operator("u-one")
    done = (await client.ask(FINISH, n=number))["finishHandOver"]
    left = [edge["node"]["number"] for edge in (await client.ask(WAITING))["handOvers"]["edges"]]

    assert same == number != other
    assert waits[0] == {
        "number": number,
        "channel": "VOICE",
        "talk": "call-1",
        "accountNumber": ACCOUNT,
        "reason": "ASKED",
        "takenBy": None,
    }
    assert (
        mine
        == again
        == {
            "__typename": "HandOverTaken",
            "handOver": {"takenBy": "operator:u-one", "takenAt": "2024-01-20T09:00:00Z"},
        }
    )
    assert theirs == not_theirs == {"__typename": "HandOverWithAnother", "handOver": {"takenBy": "operator:u-one"}}
    assert done["__typename"] == "HandOverFinished"
    assert left == [other]
    # A chat that is over may ask for a person again.
    assert await hand_over(pool, Channel.VOICE, "call-1", None, HandOverReason.ASKED, at) > other
    assert await told(client, TAKE, n=777) == [("There is no talk 777.", "BAD_USER_INPUT")]
    assert (await told(client, TAKE, n=-1))[0][1] == "BAD_USER_INPUT"


async def test_of_eight_operators_at_once_one_gets_the_talk(client: Client, pool: asyncpg.Pool) -> None:
    number = await hand_over(pool, Channel.MAX, "chat-1", None, HandOverReason.ASKED, client.clock.at)

    # The supplier is opened before, as a server does; opened by eight at once it would wait for its own connections.
    contexts = [await client.context_of(operator(f"u-{n}")) for n in range(8)]

    async def take(context: Context) -> str:
        result = await SCHEMA.execute(TAKE, {"n": number}, context)
        assert result.data is not None
        return str(result.data["takeHandOver"]["__typename"])

    taken = await asyncio.gather(*map(take, contexts))

    assert sorted(taken) == ["HandOverTaken"] + ["HandOverWithAnother"] * 7


async def test_a_talk_without_a_name_cannot_wait(pool: asyncpg.Pool) -> None:
    for talk in ("", "x" * 101):
        with pytest.raises(ValueError, match="a talk has a name"):
            await hand_over(pool, Channel.MAX, talk, None, HandOverReason.ASKED, datetime(2024, 1, 1, tzinfo=UTC))


# For whom an operator acts ---------------------------------------------------------------------------------------

BEHALF = {"who": "REPRESENTATIVE", "ground": "POWER_OF_ATTORNEY", "document": "доверенность …4821 2024-01-15"}
VALUES = [{"register": "TOTAL", "value": "10050"}]
AUDIT = '{ account(number: "1000101") { audit(last: 20) { edges { node { kind actor behalf { who ground document } } } } } }'
DONE = "{ __typename ... on CommandDone { entries { kind behalf { who ground document } } } ... on Refusal { code } }"


async def carry_out(client: Client, mutation: str, **given: Any) -> Any:
    """Carry out a mutation, and give its outcome with for whom it was."""
    kind = mutation[0].upper() + mutation[1:] + "Input"
    query = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {DONE} }}"
    return (await client.ask(query, input={"idempotencyKey": mutation, **given}))[mutation]


async def test_every_command_of_an_operator_names_both_identities_and_the_ground(client: Client) -> None:
    await household(client)
    client.caller = operator()
    at = client.clock.at.isoformat()
    link = {"account": ACCOUNT, "channel": "SMS", "address": "+79161234567"}
    commands: dict[str, dict[str, Any]] = {
        "changeResidents": {"account": ACCOUNT, "effectiveOn": "2024-02-01", "permanent": 2},
        "registerTemporaryResidents": {"account": ACCOUNT, "persons": 1, "since": "2024-01-01", "until": "2024-01-20"},
        "registerAbsence": {"account": ACCOUNT, "persons": 1, "leftOn": "2024-01-01", "returnedOn": "2024-01-20"},
        "linkChannel": link,
        "unlinkChannel": {**link, "ground": "просьба"},
        "closeAccount": {"account": ACCOUNT, "closedAt": at, "ground": "продажа"},
    }

    for mutation, given in commands.items():
        outcome = await carry_out(client, mutation, **given, behalf=BEHALF)
        assert outcome["__typename"] == "CommandDone", (mutation, outcome)
        assert all(entry["behalf"] == BEHALF for entry in outcome["entries"]), mutation
    opened = await carry_out(
        client,
        "openAccount",
        account="1000102",
        openedAt=at,
        locality="URBAN",
        stove="GAS",
        rooms=2,
        permanent=3,
        behalf={"who": "HOLDER", "ground": "IN_PERSON"},
    )
    assert opened["entries"][0]["behalf"] == {"who": "HOLDER", "ground": "IN_PERSON", "document": None}
    entries = [edge["node"] for edge in (await client.ask(AUDIT))["account"]["audit"]["edges"]]
    acted = [entry for entry in entries if entry["actor"] == "operator:u-clerk"]
    assert len(acted) >= len(commands)
    assert all(entry["behalf"] == BEHALF for entry in acted)
    assert all(entry["behalf"] is None for entry in entries if entry not in acted)


async def test_a_reading_that_an_operator_enters_may_say_for_whom(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 21, 12, tzinfo=MOSCOW)
    client.caller = operator()

    without = await client.do("submitReading", account=ACCOUNT, values=VALUES)
    client.clock.at = datetime(2024, 1, 22, 12, tzinfo=MOSCOW)
    by_phone = {"who": "HOLDER", "ground": "BY_PHONE"}
    given = {"account": ACCOUNT, "values": [{"register": "TOTAL", "value": "10060"}], "behalf": by_phone}
    named = await client.do("submitReading", **given)

    assert (without["__typename"], named["__typename"]) == ("ReadingAccepted", "ReadingAccepted")
    raws = await client.pool.fetch("SELECT raw FROM message WHERE actor = 'operator:u-clerk' ORDER BY recorded_at")
    assert "BY_PHONE" not in raws[0]["raw"]
    assert json.loads(raws[1]["raw"])[-1] == {"who": "HOLDER", "ground": "BY_PHONE", "document": None}
    edges = (await client.ask(AUDIT))["account"]["audit"]["edges"]
    assert [edge["node"]["behalf"] for edge in edges[-3:]] == [
        None,
        {**by_phone, "document": None},
        {**by_phone, "document": None},
    ]


async def test_a_held_reading_may_be_confirmed_on_the_phone(client: Client) -> None:
    await household(client)
    client.clock.at = datetime(2024, 1, 21, 12, tzinfo=MOSCOW)
    held = await client.do("submitReading", account=ACCOUNT, values=[{"register": "TOTAL", "value": "99000"}])
    client.caller = operator()

    by_phone = {"who": "HOLDER", "ground": "BY_PHONE"}
    done = await carry_out(client, "confirmReading", receipt=held["receipt"], behalf=by_phone)

    assert done["entries"][0] == {"kind": "ReadingConfirmed", "behalf": {**by_phone, "document": None}}


async def test_the_same_key_for_another_party_is_another_message(client: Client) -> None:
    await household(client)
    client.caller = operator()
    given = {"account": ACCOUNT, "effectiveOn": "2024-02-01", "permanent": 2}

    first = await carry_out(client, "changeResidents", **given, behalf=BEHALF)
    other = await carry_out(client, "changeResidents", **given, behalf={**BEHALF, "who": "MEMBER"})
    nobody = await carry_out(client, "changeResidents", **given)
    again = await carry_out(client, "changeResidents", **given, behalf=BEHALF)

    assert (first["__typename"], again) == ("CommandDone", first)
    assert other["code"] == nobody["code"] == "MESSAGE_ID_REUSED"


async def test_what_nobody_did_for_another_is_the_message_that_it_always_was(client: Client) -> None:
    await household(client)
    client.caller = operator()
    await carry_out(client, "changeResidents", account=ACCOUNT, effectiveOn="2024-02-01", permanent=2)

    raw = await client.pool.fetchval("SELECT raw FROM message WHERE message_id LIKE '%changeResidents'")
    name, content = json.loads(raw)
    assert name == "ChangeResidents"
    assert set(content) == {"account", "idempotency_key", "effective_on", "permanent", "owners"}


async def test_a_person_of_the_cabinet_is_named_by_an_id_that_there_is(client: Client) -> None:
    await household(client)
    async with client.pool.acquire() as db:
        vault = Vault(client.pool, MASTER)
        name = await add_person(db, vault, Kind.CONSUMER, login="ivanov", password_hash=None)
    client.caller = operator()
    given = {"account": ACCOUNT, "effectiveOn": "2024-02-01", "permanent": 2}

    done = await carry_out(client, "changeResidents", **given, behalf={"who": name, "ground": "LETTER"})

    assert done["entries"][0]["behalf"]["who"] == name


@pytest.mark.parametrize(
    "wrong",
    [
        {**BEHALF, "who": "Иванов"},
        {**BEHALF, "who": "u-aaaaaaaaaaaaaaaa"},
        {**BEHALF, "document": "паспорт 4510 123456"},
        {**BEHALF, "document": "паспорт 4510 123456 от 15.01.2024"},
        {**BEHALF, "document": "x"},
        {**BEHALF, "document": "ivan@example.ru"},
    ],
)
async def test_nobodys_name_and_no_number_of_a_document_is_kept(client: Client, wrong: dict[str, str]) -> None:
    await household(client)
    client.caller = operator()
    query = f"mutation($input: ChangeResidentsInput!) {{ changeResidents(input: $input) {DONE} }}"
    given = {"idempotencyKey": "1", "account": ACCOUNT, "effectiveOn": "2024-02-01", "permanent": 2, "behalf": wrong}

    ((message, code),) = await told(client, query, input=given)

    assert code == "BAD_USER_INPUT"
    assert message.startswith("`behalf.")


@pytest.mark.parametrize("kind", [Kind.CONSUMER, Kind.PARTNER, Kind.GATEWAY, Kind.LINK])
async def test_only_an_operator_acts_on_behalf_of_somebody(client: Client, kind: Kind) -> None:
    await household(client)
    words = {Kind.PARTNER: ("readings:write",), Kind.LINK: ("reading",)}.get(kind, ())
    client.caller = Caller(kind, "x-1", rights_of(kind, words), Channel.WEB, "x:1")
    query = "mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename } }"
    given = {"idempotencyKey": "1", "account": ACCOUNT, "values": VALUES, "behalf": BEHALF}

    errors = await told(client, query, input=given)

    assert errors == [("Only an operator acts on behalf of somebody.", "FORBIDDEN")]


async def test_out_of_the_databases_reach_everything_is_asked_to_come_later(client: Client) -> None:
    context = await client.context_of(client.caller)
    take = "mutation { takeHandOver(input: {number: 1}) { __typename } }"
    enter = 'mutation { enterReadings(input: {idempotencyKey: "1", lines: ["1000101 5"]}) { accepted } }'
    item = '{key: "1", account: "1000101", takenAt: "2024-01-19T10:00:00Z", act: "1", refusal: {}}'
    bring = f'mutation {{ synchroniseRound(input: {{device: "d", items: [{item}]}}) {{ taken }} }}'
    await client.pool.close()

    for query in (take, enter, bring, "{ outages { edges { cursor } } }", "{ round { edges { cursor } } }"):
        result = await SCHEMA.execute(query, {}, context)
        assert [(error.extensions or {})["code"] for error in result.errors or ()] == ["TRY_LATER"], query


# Rights ----------------------------------------------------------------------------------------------------------


def test_the_office_is_public_and_its_lists_are_not() -> None:
    for public in ("Query.office", "Query.outages", "Office.isOpen", "Outage.words"):
        assert RIGHTS.first_refused(frozenset({public}), Right.ANONYMOUS) is None
    household_rights = rights_of(Kind.CONSUMER)
    for staffs in (
        *("Query.messagesNotUnderstood", "Query.handOvers", "Query.previewEntries", "Query.round"),
        *("Mutation.announceOutage", "Mutation.withdrawOutage", "Mutation.resolveMessage", "Mutation.takeHandOver"),
        *("Mutation.finishHandOver", "Mutation.enterReadings", "Mutation.synchroniseRound", "AuditEntry.behalf"),
    ):
        assert RIGHTS.first_refused(frozenset({staffs}), household_rights) == staffs
    assert RIGHTS.first_refused(frozenset({"Mutation.synchroniseRound"}), rights_of(Kind.OPERATOR)) is not None
    assert RIGHTS.first_refused(frozenset({"Mutation.resolveMessage"}), rights_of(Kind.AUDITOR)) is not None
