"""Our schema before the public linters, and beside the one of the last release."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import graphql
import pytest

from tests.peers.graphql import HERE, SCHEMA, need_npm, run, tool, workplace
from tests.peers.graphql.breaking import broken

RELEASED = HERE / "released.graphql"
"""The schema of the last release: a release replaces it with its own."""

# All rules but those of the alphabet: fields stand in the order in which a person asks for them.
RULES = (
    "arguments-have-descriptions",
    "defined-types-are-used",
    "deprecations-have-a-reason",
    "descriptions-are-capitalized",
    "enum-values-all-caps",
    "enum-values-have-descriptions",
    "fields-are-camel-cased",
    "fields-have-descriptions",
    "input-object-values-are-camel-cased",
    "input-object-values-have-descriptions",
    "relay-connection-arguments-spec",
    "relay-connection-types-spec",
    "relay-page-info-spec",
    "types-are-capitalized",
    "types-have-descriptions",
)

BEFORE = """
type Query { bill: Bill  gone: Old @deprecated(reason: "Use bill; removed after 2026-06-30.")  kept(on: Int, by: Int): Int }
type Bill { id: ID }
type Old { id: ID }
enum Kind { GOOD BAD @deprecated(reason: "Use GOOD; removed after 2026-06-30.") }
input Ask { kind: Kind  more: Int }
type Mutation { act(input: Ask): Kind }
"""
NOW = """
type Query { bill: Bill  kept(on: Int): Int }
type Bill { id: ID }
enum Kind { GOOD }
input Ask { kind: Kind  must: Int! }
type Mutation { act(input: Ask): Kind }
"""


@pytest.mark.peer
def test_graphql_eslint_finds_nothing_in_the_schema(tmp_path: Path) -> None:
    need_npm()

    folder = workplace(tmp_path, "lint")
    [report] = json.loads(run(tool("eslint"), "schema.graphql", "--format", "json", "--max-warnings", "0", cwd=folder))
    assert [f"{found['line']}: {found['message']}" for found in report["messages"]] == []


@pytest.mark.peer
def test_graphql_schema_linter_finds_nothing_in_the_schema(tmp_path: Path) -> None:
    need_npm()

    folder = workplace(tmp_path, "lint")
    # A description begins with a capital letter or with the symbol of a unit, which has its own.
    schema = SCHEMA.read_text("utf-8").replace('"""kWh', '"""KWh')
    (folder / "schema.graphql").write_text(schema, "utf-8")
    run(
        tool("graphql-schema-linter"),
        "schema.graphql",
        "--format",
        "compact",
        "--rules",
        ",".join(RULES),
        cwd=folder,
    )


def test_the_schema_breaks_no_client_of_the_last_release() -> None:
    before, now = (graphql.build_schema(path.read_text("utf-8")) for path in (RELEASED, SCHEMA))
    assert broken(before, now, date.today()) == []  # noqa: DTZ011  # The day is that of the one who releases.


def test_only_what_was_deprecated_until_its_day_may_go() -> None:
    before, now = graphql.build_schema(BEFORE), graphql.build_schema(NOW)
    always = [
        "A required field Ask.must was added.",
        "Argument Query.kept(by:) was removed.",
        "Field Ask.more was removed.",
    ]

    assert broken(before, now, date(2026, 7, 1)) == always
    assert broken(before, now, date(2026, 6, 30)) == sorted(
        [*always, "Enum value Kind.BAD was removed.", "Field Query.gone was removed.", "Old was removed."]
    )
    assert broken(before, before, date(2026, 6, 30)) == []
