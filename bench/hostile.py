"""What an attacker sends to the GraphQL API: bodies that cost the sender little, and would cost a careless server much."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from graphql import get_introspection_query

NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
SUBMIT = "mutation($input: SubmitReadingInput!) { submitReading(input: $input) { __typename } }"
ACCOUNT = 'account(number: "1000001")'

_MANY: Mapping[str, Mapping[str, object]] = {
    "190,000 texts": {"input": {"values": ["a"] * 190_000}},
    "190,000 empty objects": {"input": {}, "x": [{}] * 190_000},
    "2,000 wrong readings": {"input": {"values": [{"register": "TOTAL"}] * 2_000}},
    "60,000 variables": {f"v{n}": n for n in range(60_000)},
    "400 fields that are not there": {"input": {f"f{n}": n for n in range(400)}},
    "100 texts of 490 marks": {"input": {"values": ["a" + "\u0316\u0301" * 490] * 100}},
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A body, its kind, and with which codes it is refused where the caller may ask at all and has a budget; "" is an answer."""

    kind: str
    name: str
    body: bytes
    codes: tuple[str, ...]


def hostile() -> tuple[Hostile, ...]:
    """List the bodies, kind by kind."""
    parse, valid, bad = ("GRAPHQL_PARSE_FAILED",), ("GRAPHQL_VALIDATION_FAILED",), ("BAD_USER_INPUT",)
    either = (*parse, *valid)
    return (
        *_documents(
            "exponential fragments",
            valid,
            {
                "12 that spread the next one twice": _doubling(12, "NEXT NEXT"),
                "20 that spread the next one twice": _doubling(20, "NEXT NEXT"),
                "90 that spread the next one twice": _doubling(90, "NEXT NEXT"),
                "20 with two aliases each": _doubling(20, "a: number b: number NEXT NEXT"),
                "40 that spread all that follow": _all_that_follow(40),
                "a cycle of 90": _cycle(90),
            },
        ),
        *_documents(
            "aliases and repetition",
            valid,
            {
                "600 aliases of a field": _on_account(" ".join(f"a{n}: number" for n in range(600))),
                "320 aliases of an object": _on_account(" ".join(f"a{n}: meter {{ number }}" for n in range(320))),
                "30 root aliases": "{ " + " ".join(f"a{n}: {ACCOUNT} {{ number }}" for n in range(30)) + " }",
                "900 times a field": _on_account("number " * 900),
                "300 times an object": _on_account("meter { number } " * 300),
                "150 unlike arguments": _on_account(
                    " ".join(f"readings(first: {n}) {{ edges {{ cursor }} }}" for n in range(150))
                ),
                "900 fields that are not there": _on_account(" ".join(f"nope{n}" for n in range(900))),
            },
        ),
        *_documents(
            "directives, variables, operations",
            either,
            {
                "250 directives": _on_account("number " + "@skip(if: true) " * 250),
                "900 unknown directives": _on_account("number " + "@x " * 900),
                "10,000 variables": "query(" + " ".join(f"$v{n}: Int" for n in range(10_000)) + ") { me { kind } }",
                "490 variables": "query(" + " ".join(f"$v{n}: Int" for n in range(490)) + ") { me { kind } }",
                "330 operations": " ".join(f"query A{n} {{ me {{ kind }} }}" for n in range(330)),
            },
        ),
        *_documents(
            "deep documents",
            either,
            {
                "10,000 lists": f"{{ nodes(ids: {'[' * 10_000}{']' * 10_000}) {{ id }} }}",
                "1,900 open lists": f"{{ nodes(ids: {'[' * 1_900}",
                "600 objects": f"{{ nodes(ids: {'{a:' * 600}1{'}' * 600}) {{ id }} }}",
                "900,000 braces": "{" * 900_000,
                "31,000 braces": "{" * 31_000,
                "300 selections": "{ account " * 300 + "}" * 300,
            },
        ),
        *_documents(
            "long documents",
            (*either, *bad),
            {
                "a comment of 900,000 characters": "#" + "x" * 900_000 + "\n{ me { kind } }",
                "900,000 commas": "," * 900_000 + "{ me { kind } }",
                "15,000 comments": "#\n" * 15_000 + "{ me { kind } }",
                "31,000 lines, then an error": "\n" * 31_000 + "{",
                "a block string of 10,000 lines": '{ nodes(ids: ["""' + "\n x" * 10_000 + '"""]) { id } }',
                "a string of 15,000 escapes": '{ nodes(ids: ["' + "\\n" * 15_000 + '"]) { id } }',
            },
        ),
        *(
            Hostile("deep JSON", name, body, bad)
            for name, body in {
                "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
                "100,000 open lists": b"[" * 100_000,
                "160,000 objects": b'{"a":' * 160_000 + b"1" + b"}" * 160_000,
                "100,000 objects among the variables": _raw('{"a":' * 100_000 + "1" + "}" * 100_000),
                "480,000 lists in an unknown property": b'{"query":"{ me { kind } }","x":'
                + b"[" * 480_000
                + b"]" * 480_000
                + b"}",
            }.items()
        ),
        *(
            Hostile("many values", name, _asked(SUBMIT, variables), bad)
            for name, variables in _MANY.items()
        ),
        Hostile("huge integers", "of 6,000 digits in a document",
                _asked("{ heldReadings(first: " + "9" * 6_000 + ") { edges { cursor } } }"), valid),
        Hostile("huge integers", "of 900,000 digits among the variables", _raw('{"a":' + "9" * 900_000 + "}"), bad),
        Hostile("huge integers", "of 30 digits as an account", _asked(SUBMIT, {"input": {"account": 10**30}}), bad),
        Hostile("huge integers", "of 900,000 digits as a reading", _reading("9" * 900_000), bad),
        Hostile("huge integers", "1e999", _raw('{"a": 1e999}'), bad),
        Hostile("lone surrogates", "in a document", _asked('{ nodes(ids: ["\\ud800"]) { id } }'), parse),
        Hostile("lone surrogates", "among the variables", _raw('{"ids": ["\\ud800"]}'), bad),
        Hostile("lone surrogates", "as bytes", b'{"query": "{ me { kind } } #\xed\xa0\x80"}', bad),
        Hostile("lone surrogates", "as a reading", _reading("\ud800"), bad),
        Hostile("lone surrogates", "NUL as a reading", _reading("10\x00385"), bad),
        Hostile("names", "a long operationName",
                _json({"query": "{ me { kind } }", "operationName": "x" * 900_000}), ("OPERATION_RESOLUTION_FAILURE",)),
        Hostile("names", "a long documentId", _json({"documentId": "x" * 900_000}), ("PERSISTED_QUERY_NOT_FOUND",)),
        Hostile("introspection", "the whole schema, by a partner, who may",
                _asked(get_introspection_query(input_value_deprecation=True)), ("",)),
        Hostile("size", "more than a megabyte", b" " * 1_000_100, ("PAYLOAD_TOO_LARGE",)),
    )  # fmt: skip


def _documents(kind: str, codes: tuple[str, ...], documents: dict[str, str]) -> list[Hostile]:
    return [Hostile(kind, name, _asked(text), codes) for name, text in documents.items()]


def _doubling(count: int, spread: str) -> str:
    """Write fragments that spread the next one twice: 2 to the ``count`` fields."""
    chain = "".join(f"fragment F{n} on Account {{ {spread.replace('NEXT', f'...F{n + 1}')} }} " for n in range(count))
    return f"{{ {ACCOUNT} {{ ...F0 }} }} {chain}fragment F{count} on Account {{ number }}"


def _all_that_follow(count: int) -> str:
    chain = "".join(
        f"fragment F{n} on Account {{ {' '.join(f'...F{later}' for later in range(n + 1, count + 1))} }} "
        for n in range(count)
    )
    return f"{{ {ACCOUNT} {{ ...F0 }} }} {chain}fragment F{count} on Account {{ number }}"


def _cycle(count: int) -> str:
    chain = "".join(f"fragment F{n} on Account {{ ...F{(n + 1) % count} }} " for n in range(count))
    return f"{{ {ACCOUNT} {{ ...F0 }} }} {chain}"


def _on_account(selection: str) -> str:
    return f"{{ {ACCOUNT} {{ {selection} }} }}"


def _json(body: Mapping[str, object]) -> bytes:
    return json.dumps(body).encode()


def _asked(query: str, variables: Mapping[str, object] | None = None) -> bytes:
    return _json({"query": query, **({"variables": variables} if variables is not None else {})})


def _raw(variables: str) -> bytes:
    return b'{"query":%b,"variables":%b}' % (json.dumps(NODES).encode(), variables.encode())


def _reading(value: str) -> bytes:
    given = {"account": "1000001", "idempotencyKey": "x", "values": [{"register": "TOTAL", "value": value}]}
    return _asked(SUBMIT, {"input": given})
