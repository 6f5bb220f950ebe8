"""Personal data over GraphQL: the household sees its own, the office finds, sets and erases, everybody else sees a mask or nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from bels.access import acts, personal
from bels.access.access_log import page as reads
from bels.access.acts import Act
from bels.access.callers import ANONYMOUS, WHOLE, Caller, Kind, Sight, rights_of
from bels.access.personal import EMAILS_MAX, NAME_LENGTH_MAX, Personal, subject_of
from bels.access.tenures import find_tenure
from bels.api.context import Asking, Context, Supplier
from bels.api.engine.http import GraphQL
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from tests.api.client import Client, household

ACCOUNT = "1000101"
NAME, ADDRESS = "Иванов Пётр Сергеевич", "г. Балашиха, ул. Зелёная, д. 5, кв. 17"
GIVEN = {
    "account": ACCOUNT,
    "name": f"  {NAME} ",
    "address": ADDRESS,
    "phones": ["8 (916) 123-45-67", "+79161234567"],
    "emails": ["Ivanov.P@EXAMPLE.ru"],
    "reason": "заявление в офисе",
}
KEPT = {"name": NAME, "address": ADDRESS, "phones": ["+79161234567"], "emails": ["ivanov.p@example.ru"]}
ERASED = {"account": ACCOUNT, "tenure": 1, "reason": "отзыв согласия", "document": "заявление от 02.04.2026, № …417"}
CLOSED = {
    "account": ACCOUNT,
    "document": {"kind": "EGRN_EXTRACT", "last": "7730", "on": "2024-01-10"},
    "reason": "продажа квартиры",
}

SET = """mutation($input: SetPersonalDataInput!) { setPersonalData(input: $input) { __typename
  ... on PersonalDataSet { accountNumber tenure personalData { name address phones emails } account { number } }
  ... on Refusal { code text path } } }"""
ERASE = """mutation($input: ErasePersonalDataInput!) { erasePersonalData(input: $input) { __typename
  ... on PersonalDataErased { accountNumber tenure act text replayed } ... on Refusal { code text path } } }"""
CLOSE = "mutation($input: CloseCabinetInput!) { closeCabinet(input: $input) { __typename } }"
SHOWN = '{ account(number: "1000101") { personalData { name address phones emails } } }'
MASKED = '{ account(number: "1000101") { maskedName } }'
FIND = "query($phone: String, $email: String) { accountsByContact(phone: $phone, email: $email) { number } }"


def caller(kind: Kind, *given: str, sights: dict[str, Sight] | None = None) -> Caller:
    """Give somebody with these scopes, grants or tasks."""
    return Caller(kind, f"{kind.value.lower()}-1", rights_of(kind, given), Channel.WEB, "test", sights)


PEOPLE = caller(Kind.OPERATOR, "people")
OWNER = caller(Kind.CONSUMER, sights={ACCOUNT: WHOLE})


async def told(client: Client, who: Caller, query: str, **variables: Any) -> dict[str, Any]:
    """Ask over HTTP as somebody: the table of rights and the record of reading are those of the server."""
    if client.supplier is None:
        client.supplier = Supplier(client.pool, client.intake, client.changes, await client.door())
    supplier = client.supplier

    async def context(connection: HTTPConnection) -> Context:
        return Context(supplier, connection, asking=Asking(who), address="192.0.2.1")

    app = httpx.ASGITransport(GraphQL(SCHEMA, context))
    async with httpx.AsyncClient(transport=app, base_url="http://bels") as asked:
        answer = await asked.post("/graphql", json={"query": query, "variables": variables})
    found: dict[str, Any] = answer.json()
    return found


async def done(client: Client, query: str, given: dict[str, Any], who: Caller = PEOPLE) -> dict[str, Any]:
    """Carry out a mutation, by default as an operator of personal data."""
    answer = await told(client, who, query, input=given)
    assert "errors" not in answer, answer
    (outcome,) = answer["data"].values()
    assert isinstance(outcome, dict)
    return outcome


async def shown(client: Client, who: Caller) -> Any:
    """Give the personal data as somebody sees them."""
    answer = await told(client, who, SHOWN)
    assert "errors" not in answer, answer
    return answer["data"]["account"] and answer["data"]["account"]["personalData"]


async def test_what_the_office_sets_is_kept_in_its_one_form_and_seen_by_the_household(client: Client) -> None:
    await household(client)
    assert await shown(client, OWNER) is None
    outcome = await done(client, SET, GIVEN)
    assert outcome == {
        "__typename": "PersonalDataSet", "accountNumber": ACCOUNT, "tenure": 1, "personalData": KEPT, "account": {"number": ACCOUNT},
    }  # fmt: skip
    assert await shown(client, OWNER) == KEPT
    assert await shown(client, PEOPLE) == KEPT


async def test_what_is_set_again_takes_the_place_of_all_that_was(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    await done(client, SET, {"account": ACCOUNT, "name": "Иванова Анна", "reason": "смена фамилии"})
    assert await shown(client, OWNER) == {"name": "Иванова Анна", "address": None, "phones": [], "emails": []}
    assert (await told(client, PEOPLE, FIND, phone="89161234567"))["data"] == {"accountsByContact": []}


async def test_setting_leaves_an_act_that_repeats_nothing(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    async with client.pool.acquire() as db:
        (act,) = await acts.page(db, None, 10)
    assert (act.kind, act.by_subject, act.subject, act.account, act.reason, act.document) == (
        Act.PERSONAL_DATA_SET, "operator-1", "1000101/1", ACCOUNT, "заявление в офисе", None,
    )  # fmt: skip
    assert act.request_id


@pytest.mark.parametrize(
    ("changed", "code", "path"),
    [
        ({"account": "9999999"}, "UNKNOWN_ACCOUNT", ["input", "account"]),
        ({"account": "что-то"}, "UNKNOWN_ACCOUNT", ["input", "account"]),
        ({"phones": ["916123"]}, "BAD_PERSONAL_DATA", None),
        ({"emails": ["ivanov"]}, "BAD_PERSONAL_DATA", None),
        ({"emails": [f"a{i}@example.ru" for i in range(EMAILS_MAX + 1)]}, "BAD_PERSONAL_DATA", None),
        ({"name": "я" * (NAME_LENGTH_MAX + 1)}, "BAD_PERSONAL_DATA", None),
        ({"reason": "просил Иванов, 8 916 123-45-67"}, "BAD_NOTE", ["input", "reason"]),
        ({"reason": " "}, "BAD_NOTE", ["input", "reason"]),
    ],
)
async def test_what_cannot_be_kept_is_refused_without_repeating_it(
    client: Client, changed: dict[str, Any], code: str, path: list[str] | None
) -> None:
    await household(client)
    outcome = await done(client, SET, GIVEN | changed)
    assert (outcome["code"], outcome["path"]) == (code, path)
    assert not any(str(each) in outcome["text"] for value in changed.values() for each in [value] if each != " ")
    assert await client.pool.fetchval("SELECT count(*) FROM personal") == 0
    assert await client.pool.fetchval("SELECT count(*) FROM identity_act") == 0


async def test_a_household_is_found_by_exactly_one_whole_phone_or_e_mail(client: Client) -> None:
    await household(client)
    await household(client, "1000102")
    await done(client, SET, GIVEN)
    await done(client, SET, GIVEN | {"account": "1000102", "emails": []})
    both = [{"number": ACCOUNT}, {"number": "1000102"}]
    for phone in ("+7 916 123-45-67", "89161234567", "9161234567"):
        assert (await told(client, PEOPLE, FIND, phone=phone))["data"] == {"accountsByContact": both}
    answer = await told(client, PEOPLE, FIND, email=" ivanov.p@EXAMPLE.ru ")
    assert answer["data"] == {"accountsByContact": both[:1]}
    assert (await told(client, PEOPLE, FIND, phone="9161234568"))["data"] == {"accountsByContact": []}


@pytest.mark.parametrize(
    "given",
    [{}, {"phone": "89161234567", "email": "ivanov.p@example.ru"}, {"phone": "Иванов"}, {"email": "9161234567"}],
)
async def test_a_search_by_something_else_is_refused_with_a_code(client: Client, given: dict[str, str]) -> None:
    (error,) = (await told(client, PEOPLE, FIND, **given))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert not any(value in error["message"] for value in given.values())


async def test_every_account_that_a_search_shows_stands_in_the_record_of_reading(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    await told(client, PEOPLE, FIND, email="ivanov.p@example.ru")
    await shown(client, PEOPLE)
    async with client.pool.acquire() as db:
        rows = await reads(db, None, 10)
    assert [(row.fields, row.accounts) for row in rows] == [
        (("account", "Account.personalData"), (ACCOUNT,)),
        (("accountsByContact",), (ACCOUNT,)),
        (("setPersonalData", "PersonalDataSet.personalData"), (ACCOUNT,)),
    ]


async def test_who_takes_a_flat_over_sees_its_own_name_and_never_the_one_before(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    assert (await done(client, CLOSE, CLOSED))["__typename"] == "CabinetClosed"
    async with client.pool.acquire() as db:
        tenure = await find_tenure(db, ACCOUNT)
    newcomer = caller(Kind.CONSUMER, sights={ACCOUNT: Sight(tenure.entry, tenure.period or None)})

    assert await shown(client, newcomer) is None
    assert await shown(client, PEOPLE) is None
    assert (await told(client, PEOPLE, FIND, phone="89161234567"))["data"] == {"accountsByContact": []}

    outcome = await done(
        client, SET, {"account": ACCOUNT, "name": "Петрова Ольга Ивановна", "reason": "новый владелец"}
    )
    assert outcome["tenure"] == 2
    assert (await shown(client, newcomer))["name"] == "Петрова Ольга Ивановна"
    # A process that has not heard of the sale yet still gives the old owner its sight.
    assert await shown(client, OWNER) is None
    async with client.pool.acquire() as db:
        kept = await personal.find(db, (await client.door()).vault, subject_of(ACCOUNT, 1))
    assert kept is not None
    assert kept.name == NAME


@pytest.mark.parametrize(
    "who",
    [
        caller(Kind.PARTNER, "payments:write"),
        caller(Kind.PARTNER, "readings:write"),
        caller(Kind.GATEWAY),
        caller(Kind.LINK, "bill", sights={ACCOUNT: WHOLE}),
    ],
)
async def test_banks_gateways_and_links_see_a_masked_name_only(client: Client, who: Caller) -> None:
    await household(client)
    assert (await told(client, who, MASKED))["data"] == {"account": {"maskedName": None}}
    await done(client, SET, GIVEN)
    assert (await told(client, who, MASKED))["data"] == {"account": {"maskedName": "И*** Пётр С."}}
    (error,) = (await told(client, who, SHOWN))["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "who",
    [
        caller(Kind.OPERATOR), caller(Kind.OPERATOR, "money", "rules"), caller(Kind.INSPECTOR), caller(Kind.AUDITOR),
        caller(Kind.ADMINISTRATOR, sights={}), caller(Kind.PARTNER, "payments:write"), caller(Kind.GATEWAY), OWNER, ANONYMOUS,
    ],
)  # fmt: skip
async def test_nobody_else_finds_sets_or_erases(client: Client, who: Caller) -> None:
    code = "UNAUTHENTICATED" if who is ANONYMOUS else "FORBIDDEN"
    for query, variables in ((FIND, {"phone": "89161234567"}), (SET, {"input": GIVEN}), (ERASE, {"input": ERASED})):
        (error,) = (await told(client, who, query, **variables))["errors"]
        assert error["extensions"]["code"] == code
    if who is not OWNER:
        (error,) = (await told(client, who, SHOWN))["errors"]
        assert error["extensions"]["code"] == code


async def test_a_consumer_sees_nobody_elses_data_and_nobody_elses_account(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    assert await shown(client, caller(Kind.CONSUMER, sights={"1000102": WHOLE})) is None
    assert await shown(client, caller(Kind.CONSUMER, sights={})) is None


async def test_erasing_answers_the_act_and_leaves_nothing_to_see(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    outcome = await done(client, ERASE, ERASED)
    assert (outcome["__typename"], outcome["accountNumber"], outcome["tenure"], outcome["replayed"]) == (
        "PersonalDataErased", ACCOUNT, 1, False,
    )  # fmt: skip
    assert outcome["text"].startswith(f"АКТ № {outcome['act']}\n")
    for said in ("152-ФЗ", "лицевой счёт 1000101", "номера телефонов", "отзыв согласия", "№ …417", "operator-1"):
        assert said in outcome["text"]
    assert not any(each in outcome["text"] for each in (NAME, "Зелёная", "9161234567", "ivanov"))

    assert await shown(client, OWNER) is None
    assert (await told(client, caller(Kind.GATEWAY), MASKED))["data"] == {"account": {"maskedName": None}}
    assert (await told(client, PEOPLE, FIND, phone="89161234567"))["data"] == {"accountsByContact": []}
    assert (await done(client, SET, GIVEN))["code"] == "PERSONAL_DATA_ERASED"


async def test_erasing_again_answers_the_same_act(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    first, second = [await done(client, ERASE, ERASED) for _ in range(2)]
    assert second == first | {"replayed": True}


async def test_a_household_that_has_left_is_erased_and_the_next_one_stays(client: Client) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    await done(client, CLOSE, CLOSED)
    await done(client, SET, GIVEN | {"name": "Петрова Ольга"})
    assert (await done(client, ERASE, ERASED))["__typename"] == "PersonalDataErased"
    async with client.pool.acquire() as db:
        vault = (await client.door()).vault
        assert await personal.find(db, vault, subject_of(ACCOUNT, 1)) is None
        assert isinstance(await personal.find(db, vault, subject_of(ACCOUNT, 2)), Personal)


@pytest.mark.parametrize(
    ("changed", "code", "path"),
    [
        ({"account": "9999999"}, "UNKNOWN_ACCOUNT", ["input", "account"]),
        ({"tenure": 2}, "NO_PERSONAL_DATA", ["input", "tenure"]),
        ({"tenure": -1}, "NO_PERSONAL_DATA", ["input", "tenure"]),
        ({"reason": ""}, "BAD_NOTE", ["input", "reason"]),
        ({"reason": "ivanov.p@example.ru просит"}, "BAD_NOTE", ["input", "reason"]),
        ({"document": "паспорт 4511 123456"}, "BAD_DOCUMENT", ["input", "document"]),
        ({"document": "письмо от ivanov.p@example.ru"}, "BAD_DOCUMENT", ["input", "document"]),
    ],
)
async def test_an_erasure_that_cannot_be_put_on_record_erases_nothing(
    client: Client, changed: dict[str, Any], code: str, path: list[str]
) -> None:
    await household(client)
    await done(client, SET, GIVEN)
    outcome = await done(client, ERASE, ERASED | changed)
    assert (outcome["code"], outcome["path"]) == (code, path)
    assert await shown(client, OWNER) == KEPT


async def test_nothing_that_is_set_or_searched_reaches_a_message_or_the_journal(client: Client) -> None:
    await household(client)
    before = (
        await client.pool.fetch("SELECT receipt FROM message"),
        await client.pool.fetchval("SELECT count(*) FROM journal"),
    )
    await done(client, SET, GIVEN)
    await told(client, PEOPLE, FIND, phone="89161234567")
    await done(client, ERASE, ERASED)
    assert before == (
        await client.pool.fetch("SELECT receipt FROM message"),
        await client.pool.fetchval("SELECT count(*) FROM journal"),
    )
