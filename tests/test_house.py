"""The house rules that a reader would otherwise have to remember."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
SOURCES = sorted((HOUSE / "src").rglob("*.py"))
DOMAIN = sorted((HOUSE / "src/bels/domain").rglob("*.py"))
LOCKS = [HOUSE / "requirements.lock", HOUSE / "requirements-dev.lock"]

MODULE_LINES_MAX = 600
NEWER_SQL = re.compile(
    # Each came after PostgreSQL 15, the oldest that is promised: RETURNING old/new, MERGE .. RETURNING, aggregates, JSON, keys.
    r"\bRETURNING\b[^\"]*?\b(?:old|new)\.\w|\bMERGE\s+INTO\b[^\"]*\bRETURNING\b|\b(?-i:IS\s+(?:NOT\s+)?JSON)\b"
    r"|\b(?:WITHOUT\s+OVERLAPS|NOT\s+ENFORCED|AT\s+LOCAL|SYSTEM_USER|transaction_timeout)\b"
    r"|(?<![.\w])(?:any_value|json_(?:table|value|query|exists|scalar|serialize|arrayagg|objectagg|array|object\s*\(\s*'[^,)]*:)"
    r"|uuidv[47]|array_(?:sample|shuffle|sort|reverse)|random_normal|casefold|pg_input_\w+|to_(?:bin|oct)|date_(?:add|subtract))\s*\(",
    re.IGNORECASE,
)
CLOCKS = {"now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp", "monotonic", "perf_counter", "time_ns"}


def taken_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Give every name taken from somewhere else: ``x.name`` and ``import name``; a local variable may be called ``now``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides its floor"
            yield node.module or ""


def test_the_domain_is_told_the_date_and_never_looks_at_a_clock() -> None:
    assert DOMAIN
    read = [
        f"{path.relative_to(HOUSE)}:{line}: {name}"
        for path in DOMAIN
        for line, name in taken_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in CLOCKS
    ]
    assert read == []


def test_the_domain_imports_only_itself_and_the_standard_library() -> None:
    # Which parts of the standard library it may not import either is a contract of import-linter.
    foreign = [
        f"{path.relative_to(HOUSE)}: {module}"
        for path in DOMAIN
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module.split(".")[0] not in sys.stdlib_module_names and module.split(".")[:2] != ["bels", "domain"]
    ]
    assert foreign == []


def test_a_floor_imports_only_floors_below_it() -> None:
    linter = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert linter.returncode == 0, linter.stdout + linter.stderr


def test_a_module_is_short_enough_to_be_read() -> None:
    long = {
        str(path.relative_to(HOUSE)): lines
        for path in SOURCES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MODULE_LINES_MAX
    }
    assert long == {}


@pytest.mark.parametrize(
    ("sql", "is_newer"),
    [
        ("UPDATE a SET b = 1 RETURNING old.b AS before, new.b", True),
        ("INSERT INTO a SELECT 1 ON CONFLICT (b) DO UPDATE SET c = 1 RETURNING number, new.c", True),
        ("SELECT any_value(a) FROM b", True),
        ("UPDATE a SET b = known.old_b FROM known RETURNING a.b, known.newer", False),
        ("SELECT json_agg(a), json_build_object('a', 1) FROM b", False),
    ],
)
def test_sql_of_a_newer_postgresql_is_known_when_it_is_seen(sql: str, is_newer: bool) -> None:
    assert bool(NEWER_SQL.search(sql)) == is_newer


def test_no_statement_asks_for_a_newer_postgresql_than_is_promised() -> None:
    newer = {
        f"{path.relative_to(HOUSE)}: {found.group()[:80]}"
        for path in [*SOURCES, *sorted((HOUSE / "src").rglob("*.sql"))]
        for found in NEWER_SQL.finditer(path.read_text(encoding="utf-8"))
    }
    assert newer == set()


def test_the_promised_commands_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test", "check", "bench", "soak", "lock", "format", "schema", "clean", "help"} <= targets


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_every_package_with_hashes_and_names_no_machine(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|/(home|root|tmp|work)/", text)
    pins = [pin for pin in text.replace("\\\n", " ").splitlines() if pin and not pin.lstrip().startswith("#")]
    assert pins
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+==\S+ ", pin), pin
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin


def test_everything_that_runs_is_pinned_alike_for_the_tests() -> None:
    runtime, dev = (
        set(re.findall(r"^[a-z0-9._-]+==\S+", lock.read_text(encoding="utf-8"), re.MULTILINE)) for lock in LOCKS
    )
    assert runtime < dev
