"""A real supplier has nothing to try: the sandbox's fields say so."""

from __future__ import annotations

import pytest

from bels.access.callers import SCOPES, Caller, Kind, rights_of
from bels.api.context import RIGHTS
from bels.api.schema import SCHEMA
from bels.domain.terms import Channel
from bels.sandbox.requests import OWN
from tests.api.client import Client

MOVE = 'mutation { moveSandboxClock(input: {over: CLOSING, idempotencyKey: "1"}) { __typename } }'
FAIL = 'mutation { failNext(input: {fault: SLOW, idempotencyKey: "1"}) { __typename } }'
RESET = 'mutation { resetSandbox(input: {idempotencyKey: "1"}) { __typename } }'

BANK = Caller(
    Kind.PARTNER, "c-bank", rights_of(Kind.PARTNER, ("payments:write",)), Channel.BANK, "partner:c-bank", None, "c-bank"
)


@pytest.mark.parametrize(
    "query",
    ["{ sandboxClock }", "{ sandboxAccounts { number } }", "{ certification { passed } }", MOVE, FAIL, RESET],
)
async def test_a_real_supplier_says_that_it_is_no_sandbox(client: Client, query: str) -> None:
    result = await SCHEMA.execute(query, None, await client.context_of(BANK))

    assert [(error.extensions or {}).get("code") for error in result.errors or ()] == ["NOT_SANDBOX"]


def test_partners_alone_try_whatever_their_scopes() -> None:
    asked = {field: kind for kind in ("Query", "Mutation") for field in OWN if f"{kind}.{field}" in RIGHTS.table}
    assert set(asked) == OWN

    for field, kind in asked.items():
        coordinates = frozenset({f"{kind}.{field}"})
        for scope in SCOPES:
            assert RIGHTS.first_refused(coordinates, rights_of(Kind.PARTNER, (scope,))) is None
        for other in (Kind.ANONYMOUS, Kind.CONSUMER, Kind.OPERATOR, Kind.AUDITOR, Kind.GATEWAY):
            assert RIGHTS.first_refused(coordinates, rights_of(other)) is not None
