"""Identity over GraphQL: coming in by a bill, sessions, the office's work, and that nothing typed is repeated."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bels.access.acts import Act
from bels.access.callers import LOCAL, Caller, Kind, Right, rights_of
from bels.access.people import add_person
from bels.access.words import AccessReason
from bels.api.context import RIGHTS
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from tests.api.client import Client, household, months

ACCOUNT = "1000101"
LOGIN, PASSWORD, NEW = "ivanova@example.ru", "мост сова ведро", "лодка туман очки"
HOME = "192.0.2.1"
PASSPORT = {"kind": "PASSPORT", "last": "4821", "on": "2019-04-02"}
EXTRACT = {"kind": "EGRN_EXTRACT", "last": "7730", "on": "2024-03-01"}
PHONE = "+79031234567"

REFUSED = "... on Refusal { code text hint path } ... on IdentityRefused { retryAfterS }"
SIGNED = "... on SignedIn { person session accessToken expiresInS refreshToken mustChangePassword }"
ANSWERS = {
    "registerConsumer": SIGNED,
    "logIn": SIGNED,
    "renewSession": SIGNED,
    "changePassword": SIGNED,
    "logOut": "... on SessionEnded { session }",
    "linkAccount": "... on AccountLinked { accountNumber person fromPeriod }",
    "admitMember": "... on AccountLinked { accountNumber person fromPeriod }",
    "addConsumer": "... on ConsumerAdded { accountNumber person password fromPeriod }",
    "unlinkAccount": "... on AccountUnlinked { accountNumber person }",
    "removeMember": "... on AccountUnlinked { accountNumber person }",
    "resetPassword": "... on PasswordReset { person password sessionsEnded cardsRemoved }",
    "closeCabinet": (
        "... on CabinetClosed { tenure fromPeriod replayed peopleCutOff linksRevoked cardsRemoved sendersUnlinked }"
    ),
    "makeLink": "... on LinkMade { link accountNumber token expiresAt }",
}
ME = """
{ me { kind subject rights login mustChangePassword expiresAt
       accounts { accountNumber account { number } } sessions { id current } } }
"""
ANONYMOUS = Caller(Kind.ANONYMOUS, "", Right.ANONYMOUS, Channel.WEB, "anonymous", {})
CLERK = Caller(Kind.OPERATOR, "u-clerk", rights_of(Kind.OPERATOR, ("people",)), Channel.OFFICE, "operator:u-clerk")
GATEWAY = Caller(Kind.GATEWAY, "c-sms", rights_of(Kind.GATEWAY), Channel.SMS, "gateway:c-sms")


async def do(client: Client, mutation: str, caller: Caller = ANONYMOUS, **given: Any) -> dict[str, Any]:
    """Ask for something as somebody, where the table lets such a caller ask."""
    assert RIGHTS.first_refused(frozenset({f"Mutation.{mutation}"}), caller.rights) is None
    client.caller = caller
    kind = mutation[0].upper() + mutation[1:] + "Input"
    query = f"mutation($input: {kind}!) {{ {mutation}(input: $input) {{ __typename {REFUSED} {ANSWERS[mutation]} }} }}"
    try:
        told: dict[str, Any] = (await client.ask(query, input=given))[mutation]
    finally:
        client.caller = LOCAL
    return told


async def me(client: Client, caller: Caller) -> dict[str, Any]:
    client.caller = caller
    try:
        told: dict[str, Any] = (await client.ask(ME))["me"]
    finally:
        client.caller = LOCAL
    return told


async def admitted(client: Client, token: str) -> Caller:
    """Come to the door with an access token."""
    door = (await client.context_of(LOCAL)).app.door
    return await door.doorkeeper.admit([(b"authorization", f"Bearer {token}".encode())], (HOME, 1))


async def bill(client: Client) -> dict[str, Any]:
    """Give what a bill says, as one types it: the household of February 2024."""
    await household(client)
    await months(client, {"2024-01": 10120, "2024-02": 10260})
    query = "query($n: String!) { account(number: $n) { lastBill { period toPay } } }"
    told = (await client.ask(query, n=ACCOUNT))["account"]["lastBill"]
    return {**told, "meter": "M1"}


async def registered(client: Client, login: str = LOGIN) -> tuple[dict[str, Any], dict[str, Any]]:
    proof = await bill(client)
    signed = await do(client, "registerConsumer", account=ACCOUNT, proof=proof, login=login, password=PASSWORD)
    assert signed["__typename"] == "SignedIn", signed
    return signed, proof


async def test_a_consumer_registers_with_a_bill_and_is_let_in_by_the_token(client: Client) -> None:
    signed, _ = await registered(client)
    caller = await admitted(client, signed["accessToken"])

    assert (caller.kind, caller.subject, caller.session) == (Kind.CONSUMER, signed["person"], signed["session"])
    assert not signed["mustChangePassword"]
    told = await me(client, caller)
    assert told["kind"] == "CONSUMER"
    assert told["login"] == LOGIN
    assert told["rights"] == ["anonymous", "password", "consumer"]
    assert told["accounts"] == [{"accountNumber": ACCOUNT, "account": {"number": ACCOUNT}}]
    assert told["sessions"] == [{"id": signed["session"], "current": True}]
    assert not told["mustChangePassword"]
    assert told["expiresAt"] is not None


async def test_nobody_and_the_developer_may_ask_who_they_are(client: Client) -> None:
    told = await me(client, ANONYMOUS)
    assert (told["kind"], told["subject"], told["login"], told["accounts"], told["sessions"]) == (
        "ANONYMOUS",
        None,
        None,
        [],
        [],
    )
    assert (await me(client, LOCAL))["rights"] == ["everything"]


async def test_a_stranger_hears_one_and_the_same(client: Client) -> None:
    proof = await bill(client)
    answers = [
        await do(client, "registerConsumer", account=account, proof=given, login=LOGIN, password=PASSWORD)
        for account, given in (
            (ACCOUNT, {**proof, "toPay": "1.00"}),
            ("1000102", proof),
            ("x", proof),
            (ACCOUNT, {**proof, "period": "2023-01"}),
            (ACCOUNT, {**proof, "meter": None}),
        )
    ]
    assert answers[0]["code"] == "NOT_PROVEN"
    assert answers[0]["path"] == ["input", "proof"]
    assert all(each == answers[0] for each in answers)


async def test_log_in_answers_an_unknown_login_and_a_wrong_password_alike_and_then_slows_down(client: Client) -> None:
    await registered(client)
    wrong = await do(client, "logIn", login=LOGIN, password="не тот пароль")
    assert wrong == await do(client, "logIn", login="nobody@example.ru", password=PASSWORD)
    assert wrong["code"] == "WRONG_CREDENTIALS"
    for _ in range(6):
        told = await do(client, "logIn", login="petrov@example.ru", password="не тот пароль")
    told = await do(client, "logIn", login="petrov@example.ru", password="не тот пароль")
    assert told["code"] == "TOO_MANY_ATTEMPTS"
    assert told["retryAfterS"] >= 1
    assert "Повторите через" in told["hint"]
    # Guessing at one login keeps nobody else out.
    assert (await do(client, "logIn", login=LOGIN, password=PASSWORD))["__typename"] == "SignedIn"


async def test_a_session_goes_on_and_ends(client: Client) -> None:
    first, _ = await registered(client)
    second = await do(client, "logIn", login=LOGIN, password=PASSWORD)
    caller = await admitted(client, first["accessToken"])

    renewed = await do(client, "renewSession", refreshToken=first["refreshToken"])
    assert (renewed["session"], renewed["person"]) == (first["session"], first["person"])
    assert renewed["refreshToken"] != first["refreshToken"]

    ended = await do(client, "logOut", caller, session=second["session"])
    assert ended == {"__typename": "SessionEnded", "session": second["session"]}
    again = await do(client, "logOut", caller, session=second["session"])
    assert (again["code"], again["path"]) == ("UNKNOWN_SESSION", ["input", "session"])
    assert (await do(client, "renewSession", refreshToken=second["refreshToken"]))["code"] == "SESSION_ENDED"
    assert (await do(client, "logOut", caller))["session"] == first["session"]
    assert (await do(client, "renewSession", refreshToken=renewed["refreshToken"]))["code"] == "SESSION_ENDED"
    assert (await do(client, "renewSession", refreshToken="bels_r_"))["code"] == "SESSION_ENDED"


async def test_a_session_of_another_person_cannot_be_ended(client: Client) -> None:
    signed, _ = await registered(client)
    other = Caller(Kind.CONSUMER, "u-other", rights_of(Kind.CONSUMER), Channel.WEB, "consumer:u-other", {})
    assert (await do(client, "logOut", other, session=signed["session"]))["code"] == "UNKNOWN_SESSION"
    assert len((await me(client, await admitted(client, signed["accessToken"])))["sessions"]) == 1


async def test_who_is_no_person_is_told_to_sign_in(client: Client) -> None:
    told = await SCHEMA.execute(
        "mutation($input: ChangePasswordInput!) { changePassword(input: $input) { __typename } }",
        {"input": {"oldPassword": PASSWORD, "newPassword": NEW}},
        await client.context_of(ANONYMOUS),
    )
    assert [(error.extensions or {})["code"] for error in told.errors or []] == ["UNAUTHENTICATED"]
    assert PASSWORD not in repr(told)


async def test_the_office_resets_a_password_and_only_a_change_of_it_is_open_then(client: Client) -> None:
    signed, _ = await registered(client)
    reset = await do(client, "resetPassword", CLERK, person=signed["person"], document=PASSPORT, reason="забыла пароль")
    assert reset["__typename"] == "PasswordReset", reset
    assert (reset["sessionsEnded"], reset["cardsRemoved"]) == (1, 0)
    assert (await do(client, "logIn", login=LOGIN, password=PASSWORD))["code"] == "WRONG_CREDENTIALS"

    once = await do(client, "logIn", login=LOGIN, password=reset["password"])
    assert once["mustChangePassword"]
    caller = await admitted(client, once["accessToken"])
    assert caller.rights == Right.ANONYMOUS | Right.PASSWORD
    wrong = await do(client, "changePassword", caller, oldPassword="не тот пароль", newPassword=NEW)
    assert (wrong["code"], wrong["path"]) == ("WRONG_CREDENTIALS", ["input", "oldPassword"])
    short = await do(client, "changePassword", caller, oldPassword=reset["password"], newPassword="short")
    assert (short["code"], short["path"]) == ("BAD_PASSWORD", ["input", "newPassword"])
    changed = await do(client, "changePassword", caller, oldPassword=reset["password"], newPassword=NEW)
    assert not changed["mustChangePassword"]
    assert Right.CONSUMER in (await admitted(client, changed["accessToken"])).rights


async def test_an_account_is_shared_and_left(client: Client) -> None:
    signed, proof = await registered(client)
    async with client.pool.acquire() as db:
        door = (await client.context_of(LOCAL)).app.door
        person = await add_person(db, door.vault, Kind.CONSUMER, login=None, password_hash=None)
    other = Caller(Kind.CONSUMER, person, rights_of(Kind.CONSUMER), Channel.WEB, f"consumer:{person}", {})

    linked = await do(client, "linkAccount", other, account=ACCOUNT, proof=proof)
    assert linked == {"__typename": "AccountLinked", "accountNumber": ACCOUNT, "person": person, "fromPeriod": None}
    assert (await do(client, "linkAccount", other, account=ACCOUNT, proof=proof))["code"] == "ALREADY_MEMBER"
    seen = (await cabinet(client))["members"]
    assert {each["person"] for each in seen} == {signed["person"], person}
    left = await do(client, "unlinkAccount", other, account=ACCOUNT)
    assert left == {"__typename": "AccountUnlinked", "accountNumber": ACCOUNT, "person": person}
    assert (await do(client, "unlinkAccount", other, account=ACCOUNT))["code"] == "NOT_A_MEMBER"


async def cabinet(client: Client, account: str = ACCOUNT) -> Any:
    client.caller = CLERK
    try:
        query = "query($a: String!) { cabinet(account: $a) { tenure since members { person login fromPeriod } } }"
        return (await client.ask(query, a=account))["cabinet"]
    finally:
        client.caller = LOCAL


async def test_the_sale_of_a_flat_cuts_off_at_once_and_the_office_lets_the_next_one_in(client: Client) -> None:
    signed, proof = await registered(client)
    old = await admitted(client, signed["accessToken"])
    linked = await client.do("linkChannel", account=ACCOUNT, channel="SMS", address=PHONE)
    assert linked["__typename"] == "CommandDone"
    made = await do(client, "makeLink", CLERK, account=ACCOUNT, task="BILL")
    assert made["__typename"] == "LinkMade"
    given = {"account": ACCOUNT, "document": EXTRACT, "reason": "продажа квартиры"}

    closed = await do(client, "closeCabinet", CLERK, **given)
    assert closed == {
        "__typename": "CabinetClosed",
        "tenure": 2,
        "fromPeriod": "2024-03",
        "replayed": False,
        "peopleCutOff": 1,
        "linksRevoked": 1,
        "cardsRemoved": 0,
        "sendersUnlinked": 1,
    }
    again = await do(client, "closeCabinet", CLERK, **given)
    assert (again["replayed"], again["tenure"], again["peopleCutOff"]) == (True, 2, 0)
    # The old owner's token is still good, and shows nothing of the account.
    told = await me(client, await admitted(client, signed["accessToken"]))
    assert told["accounts"] == []
    assert (await do(client, "linkAccount", old, account=ACCOUNT, proof=proof))["code"] == "NOT_PROVEN"

    async with client.pool.acquire() as db:
        door = (await client.context_of(LOCAL)).app.door
        person = await add_person(db, door.vault, Kind.CONSUMER, login="new@example.ru", password_hash=None)
    admitted_now = await do(
        client, "admitMember", CLERK, account=ACCOUNT, person=person, document=EXTRACT, reason="новый собственник"
    )
    assert admitted_now["fromPeriod"] == "2024-03"
    assert (await cabinet(client))["members"] == [
        {"person": person, "login": "new@example.ru", "fromPeriod": "2024-03"}
    ]
    removed = await do(client, "removeMember", CLERK, account=ACCOUNT, person=person, reason="по заявлению")
    assert removed["__typename"] == "AccountUnlinked"
    assert (await do(client, "removeMember", CLERK, account=ACCOUNT, person=person, reason="+7 903 123 45 67"))[
        "code"
    ] == "BAD_NOTE"
    assert await cabinet(client, "1000999") is None


async def test_the_office_makes_a_consumer_of_whoever_has_no_bill_yet(client: Client) -> None:
    await household(client)
    given = {
        "account": ACCOUNT,
        "login": "New@Example.ru",
        "document": {**EXTRACT, "on": "2024-01-10"},
        "reason": "новый собственник",
    }
    added = await do(client, "addConsumer", CLERK, **given)
    assert (added["__typename"], added["fromPeriod"]) == ("ConsumerAdded", None)
    signed = await do(client, "logIn", login="new@example.ru", password=added["password"])
    assert (signed["person"], signed["mustChangePassword"]) == (added["person"], True)
    again = await do(client, "addConsumer", CLERK, **given)
    assert (again["code"], again["path"]) == ("LOGIN_TAKEN", ["input", "login"])
    assert [each["login"] for each in (await cabinet(client))["members"]] == ["new@example.ru"]


async def test_what_the_office_types_is_checked_and_points_into_the_input(client: Client) -> None:
    await household(client)
    for mutation, given, code, path in (
        ("closeCabinet", {"document": PASSPORT}, "BAD_DOCUMENT", ["input", "document"]),
        ("closeCabinet", {"reason": "x"}, "BAD_NOTE", ["input", "reason"]),
        ("closeCabinet", {"account": "1000999"}, "UNKNOWN_ACCOUNT", ["input", "account"]),
        ("admitMember", {"person": "u-nobody"}, "UNKNOWN_PERSON", ["input", "person"]),
        ("addConsumer", {"login": "x"}, "BAD_LOGIN", ["input", "login"]),
        ("addConsumer", {"login": "new", "account": "1000999"}, "UNKNOWN_ACCOUNT", ["input", "account"]),
    ):
        whole = {"account": ACCOUNT, "document": {**EXTRACT, "on": "2024-01-10"}, "reason": "продажа квартиры", **given}
        told = await do(client, mutation, CLERK, **whole)
        assert (told["code"], told["path"]) == (code, path), mutation
        assert told["text"]
        assert told["hint"]


async def test_a_gateway_makes_links_only_for_senders_that_are_linked(client: Client) -> None:
    await household(client)
    await client.do("linkChannel", account=ACCOUNT, channel="SMS", address=PHONE)
    await client.do("linkChannel", account=ACCOUNT, channel="TELEGRAM", address="77001")

    made = await do(client, "makeLink", GATEWAY, account=ACCOUNT, task="READING", address=PHONE)
    assert made["__typename"] == "LinkMade"
    assert made["token"].startswith("bels_l_")
    answers = [
        await do(client, "makeLink", GATEWAY, account=account, task="READING", address=address)
        for account, address in ((ACCOUNT, "+79000000000"), (ACCOUNT, "77001"), (ACCOUNT, None), ("1000999", PHONE))
    ]
    assert answers[0]["code"] == "NOT_LINKED_HERE"
    assert all(each == answers[0] for each in answers)


async def test_every_code_of_the_door_is_a_code_of_the_schema(client: Client) -> None:
    values = (await client.ask('{ __type(name: "RefusalCode") { enumValues { name } } }'))["__type"]["enumValues"]
    assert {reason.value for reason in AccessReason} <= {value["name"] for value in values}


async def test_nothing_that_was_typed_is_logged_or_stored(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        signed, _ = await registered(client)
        await do(client, "logIn", login=LOGIN, password="не тот пароль")
        caller = await admitted(client, signed["accessToken"])
        await do(client, "changePassword", caller, oldPassword=PASSWORD, newPassword=NEW)
    secrets = (LOGIN, PASSWORD, NEW, "не тот пароль", signed["accessToken"], signed["refreshToken"], HOME)
    for secret in secrets:
        assert secret not in caplog.text
    for table in ("message", "journal", "person", "personal", "session", "attempt", "identity_act", "access_log"):
        for row in await client.pool.fetch(f"SELECT t::text AS row FROM {table} t"):
            for secret in secrets:
                assert secret not in row["row"], table
    kinds = [row["kind"] for row in await client.pool.fetch("SELECT kind FROM identity_act ORDER BY act")]
    assert kinds == [Act.CONSUMER_REGISTERED, Act.ACCOUNT_LINKED, Act.PASSWORD_CHANGED]
