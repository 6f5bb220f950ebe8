"""The cases of every channel at the office: an operator enters them over GraphQL on behalf of a consumer, with one outcome each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from bels.access.callers import Caller, Kind, rights_of
from bels.api.changes import Changes
from bels.api.context import Asking, Context, Supplier
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel, Register
from tests.channels.cases import CASES, TRY_LATER, Case, Heard, check
from tests.channels.house import House, opened_house

OPERATOR = Caller(Kind.OPERATOR, "u-7", rights_of(Kind.OPERATOR), Channel.OFFICE, "operator:u-7")
BEHALF = {"who": "HOLDER", "ground": "IN_PERSON", "document": "паспорт показан"}
SUBMIT = """mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename
  ... on ReadingAccepted { receipt replayed period reading { receivedAt } }
  ... on ReadingHeld { receipt replayed reason text }
  ... on ReadingRefused { refused: receipt code text }
} }"""


@dataclass
class Office:
    """An operator at work; ``key`` names the last message."""

    supplier: Supplier
    key: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    async def send(
        self, house: House, account: str, values: dict[Register, str], *, meter: str | None, text: str | None
    ) -> Heard:
        """Enter a reading as a new message."""
        assert text is None
        self.key += 1
        given = [{"register": register.name, "value": value} for register, value in values.items()]
        self.last = {"account": account, "idempotencyKey": f"k{self.key}", "values": given, "behalf": BEHALF}
        if meter is not None:
            self.last["meter"] = meter
        return await self.again(house)

    async def again(self, house: House) -> Heard:
        """Send the last message once more."""
        connection = HTTPConnection({"type": "http", "headers": [], "client": None})
        context = Context(self.supplier, connection, asking=Asking(OPERATOR), address="192.0.2.1")
        result = await SCHEMA.execute(SUBMIT, {"input": self.last}, context)
        if result.errors is not None:
            codes = {(error.extensions or {}).get("code") for error in result.errors}
            assert codes == {TRY_LATER}, result.errors
            return Heard(TRY_LATER, "", "")
        assert result.data is not None
        told = result.data["submitReading"]
        receipt = told.get("receipt") or told.get("refused") or ""
        return Heard(_code(told), receipt, f"{receipt}: {told.get('text', '')}")


def _code(told: dict[str, Any]) -> str:
    if told.get("replayed"):
        return "REPEATED"
    if told["__typename"] == "ReadingAccepted":
        later = told["period"] > told["reading"]["receivedAt"][:7]
        return "ACCEPTED_NEXT_PERIOD" if later else "ACCEPTED"
    return str(told.get("reason") or told.get("code"))


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[House]:
    """Open a supplier with a few households."""
    async with opened_house(database, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("case", [case for case in CASES if case.text is None], ids=str)
async def test_what_an_operator_enters_has_the_outcome_that_it_has_on_every_channel(house: House, case: Case) -> None:
    assert house.bels is not None
    door, changes = house.desk.door, Changes(house.bels.url)
    async with changes.running():
        office = Office(Supplier(house.desk.pool, house.desk.intake, changes, door))
        await check(house, office, case)


async def test_both_names_and_the_ground_are_kept(house: House) -> None:
    assert house.bels is not None
    changes = Changes(house.bels.url)
    async with changes.running():
        office = Office(Supplier(house.desk.pool, house.desk.intake, changes, house.desk.door))
        await office.send(house, "1000001", {Register.TOTAL: "10385"}, meter=None, text=None)

    state = await house.desk.pool.fetchval(
        "SELECT convert_from(state, 'UTF8')::json -> 'behalf' ->> 'ground' FROM journal"
        " WHERE originator_id = '1000001' ORDER BY originator_version DESC LIMIT 1"
    )
    assert state == "IN_PERSON"
