"""What a partner sent, read just far enough to know it again: operations, account, payment; never its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from graphql import GraphQLError, OperationDefinitionNode, parse
from graphql.language import FieldNode, StringValueNode, VariableNode, Visitor, visit
from graphql.language.ast import ArgumentNode, ObjectFieldNode

from bels.access.raw_texts import RawTexts
from bels.journal.write import Db

GRAPHQL = "/graphql"
BODY_MAX = 1_000_000
"""Bytes of a body that are looked at."""

ANSWER_MAX = 64_000
"""Bytes of an answer in which its code is looked for."""

TOKENS_MAX = 2_000
DEPTH_MAX = 8
ID_LENGTH_MAX = 200
REQUESTS_MAX = 20_000
"""Requests of one run that are kept; of what comes later nothing is."""

OWN = frozenset(("sandboxAccounts", "sandboxClock", "certification", "moveSandboxClock", "failNext", "resetSandbox"))
"""The fields of the sandbox itself: they never fail, and are no evidence."""

REGISTER, REGISTER_PATH = "register:upload", "registers"

_ACTS = frozenset(
    (
        *("payWithReading", "receivePayment", "cancelPayment", "submitReading", "submitReadings", "confirmReading"),
        *("osmp:pay", "osmp:cancel", "eps:payment", REGISTER),
    )
)
"""What moves money and readings: faults are for these."""

_ID_KEYS = ("paymentid", "txn_id", "pay_id", "idempotencykey")
_ACCOUNT_KEYS = ("account", "accountnumber", "number")
_ACCOUNT = re.compile(r"\d{1,20}", re.ASCII)
_COMMAND = re.compile(r"[a-z]{1,20}", re.ASCII | re.IGNORECASE)
_CODE = re.compile(rb'"(?:code|reason)"\s*:\s*"([A-Z0-9_]{1,60})"|<(?:result|CODE)>\s*(\d{1,4})\s*<')
_DIGEST_SIZE = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: its operations, whether it moves money or readings, what it is about, the digest of its content."""

    operations: tuple[str, ...]
    is_act: bool
    account: str | None
    payment_id: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request of a run as it was kept, with how it ended."""

    number: int
    began_at: datetime
    ended_at: datetime
    operations: tuple[str, ...]
    account: str | None
    payment_id: str | None
    content: bytes
    fault: str | None
    status: int
    code: str | None

    @property
    def is_answered(self) -> bool:
        """Say whether the partner got the answer."""
        return self.status < 500 and self.fault != "LOST_ANSWER"

    def names(self, *operations: str) -> bool:
        """Say whether it asked for one of these."""
        return not set(operations).isdisjoint(self.operations)


def read_request(method: str, path: str, query: bytes, content_type: bytes, body: bytes) -> Sent:
    """Read a request of any of the protocols; of what cannot be read only the digest is known."""
    if path == GRAPHQL:
        return _graphql(body)
    if method == "POST" and REGISTER_PATH in path.split("/"):
        return Sent((REGISTER,), True, None, None, _digest(body))
    pairs = dict(_pairs(query))
    if content_type.startswith(b"application/x-www-form-urlencoded"):
        pairs |= dict(_pairs(body))
    protocol = "osmp" if "command" in pairs else "eps"
    command = pairs.get("command") or pairs.get("action") or ""
    if not _COMMAND.fullmatch(command):
        # Whatever else stood there may be anybody's words.
        command = ""
    operations = (f"{protocol}:{command.lower()}",) if command else (f"{method} {path}"[:ID_LENGTH_MAX],)
    content = _digest(msgspec.json.encode(sorted(pairs.items())))
    return Sent(operations, not set(operations).isdisjoint(_ACTS), _account(pairs), _found(pairs, _ID_KEYS), content)


def code_of(answer: bytes) -> str | None:
    """Find the first code in an answer: of a refusal, of an error, of the XML protocols."""
    found = _CODE.search(answer[:ANSWER_MAX])
    return (found[1] or found[2]).decode() if found is not None else None


def _graphql(body: bytes) -> Sent:
    try:
        told: Any = msgspec.json.decode(body)
        text = told.get("query") if isinstance(told, dict) else None
        variables: Any = (told.get("variables") or {}) if isinstance(told, dict) else {}
        document = parse(text or "", no_location=True, max_tokens=TOKENS_MAX)
    except (msgspec.DecodeError, GraphQLError, TypeError, RecursionError):
        return Sent((), False, None, None, _digest(body))
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    named = [each for each in operations if each.name and each.name.value == told.get("operationName")] or operations
    fields = tuple(
        field.name.value
        for operation in named[:1]
        for field in operation.selection_set.selections
        if isinstance(field, FieldNode)
    )
    written = _Written(variables if isinstance(variables, dict) else {})
    visit(document, written)
    given = {**dict(_flat(variables, DEPTH_MAX)), **written.found}
    content = _digest(msgspec.json.encode([fields, sorted(given.items())]))
    return Sent(fields, not _ACTS.isdisjoint(fields), _account(given), _found(given, _ID_KEYS), content)


class _Written(Visitor):
    """Collects what the fields and the inputs of a document are given: texts that stand in it, and variables."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        super().__init__()
        self._variables = variables
        self.found: dict[str, str] = {}

    def enter_argument(self, node: ArgumentNode, *_: object) -> None:
        """Look at an argument."""
        self._note(node)

    def enter_object_field(self, node: ObjectFieldNode, *_: object) -> None:
        """Look at a field of an input."""
        self._note(node)

    def _note(self, node: ArgumentNode | ObjectFieldNode) -> None:
        value = node.value
        if isinstance(value, VariableNode):
            given = self._variables.get(value.name.value)
            if isinstance(given, str | int):
                self.found.setdefault(node.name.value.lower(), str(given))
        elif isinstance(value, StringValueNode):
            self.found.setdefault(node.name.value.lower(), value.value)


def _flat(told: Any, depth: int) -> Iterator[tuple[str, str]]:
    if depth == 0:
        return
    if isinstance(told, dict):
        for name, value in told.items():
            if isinstance(value, dict | list):
                yield from _flat(value, depth - 1)
            elif value is not None:
                yield str(name).lower(), str(value)
    elif isinstance(told, list):
        for i, value in enumerate(told):
            for name, text in _flat(value, depth - 1):
                # The values of a reading have one name: their place makes them differ.
                yield (name if i == 0 else f"{i}:{name}"), text


def _pairs(query: bytes) -> Iterator[tuple[str, str]]:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        return
    for name, value in pairs:
        yield name.lower(), value


def _found(given: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    found = next((given[name] for name in names if given.get(name)), None)
    return found[:ID_LENGTH_MAX] if found is not None else None


def _account(given: Mapping[str, str]) -> str | None:
    found = _found(given, _ACCOUNT_KEYS)
    return found if found is not None and _ACCOUNT.fullmatch(found) else None


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGEST_SIZE).digest()


async def keep_request(
    db: Db,
    client: str,
    run: int,
    sent: Sent,
    began_at: datetime,
    ended_at: datetime,
    fault: str | None,
    status: int,
    code: str | None,
    raw_texts: RawTexts,
) -> None:
    """Keep a request of a run; an id that could be somebody's phone is sealed."""
    await db.execute(
        """
        INSERT INTO sandbox_request
            (client, run, began_at, ended_at, operations, account, payment_id, content, fault, status, code)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
        WHERE (SELECT count(*) FROM sandbox_request WHERE client = $1 AND run = $2) < $12
        """,
        client,
        run,
        began_at,
        ended_at,
        list(sent.operations),
        sent.account,
        raw_texts.guarded(sent.payment_id) if sent.payment_id is not None else None,
        sent.content,
        fault,
        status,
        code,
        REQUESTS_MAX,
    )


async def requests_of(db: Db, client: str, run: int) -> list[RequestRow]:
    """List the requests of a run in the order in which they ended."""
    rows = await db.fetch(
        """
        SELECT number, began_at, ended_at, operations, account, payment_id, content, fault, status, code
        FROM sandbox_request WHERE client = $1 AND run = $2 ORDER BY number LIMIT $3
        """,
        client,
        run,
        REQUESTS_MAX,
    )
    return [
        RequestRow(
            row["number"],
            row["began_at"],
            row["ended_at"],
            tuple(row["operations"]),
            row["account"],
            row["payment_id"],
            row["content"],
            row["fault"],
            row["status"],
            row["code"],
        )
        for row in rows
    ]
