"""What each caller may: the table in ``rights.toml``, read once; a field that is not in it is refused to everybody."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files

from bels.access.callers import GRANTS, SCOPES, TASKS, Right

WORDS: dict[str, Right] = {
    "anonymous": Right.ANONYMOUS,
    "password": Right.PASSWORD,
    "consumer": Right.CONSUMER,
    "gateway": Right.GATEWAY,
    "operator": Right.OPERATOR,
    "inspector": Right.INSPECTOR,
    "auditor": Right.AUDITOR,
    "administrator": Right.ADMINISTRATOR,
    **{f"link:{task}": right for task, right in TASKS.items()},
    **{f"partner:{scope.partition(':')[0]}": right for scope, right in SCOPES.items()},
    **{f"operator:{grant}": right for grant, right in GRANTS.items()},
}
"""The rights by the words of the table."""

CASES_MAX = 4_096
"""Pairs of an operation and a caller's rights whose answer is remembered."""


class RightsError(ValueError):
    """The table cannot be read; the sentence says where."""


class Rights:
    """The table: which rights a field of the schema asks for, by its coordinate ("Account.readings"); any one of them will do."""

    def __init__(self, table: Mapping[str, Right]) -> None:
        self.table = dict(table)
        self._first_refused = lru_cache(CASES_MAX)(self._find_refused)

    def first_refused(self, coordinates: frozenset[str], rights: Right) -> str | None:
        """Name the first field, in order of the alphabet, that somebody with these rights may not see; None when there is none."""
        return self._first_refused(coordinates, rights.value)

    def _find_refused(self, coordinates: Iterable[str], rights: int) -> str | None:
        refused = (each for each in coordinates if not self.table.get(each, Right(0)).value & rights)
        return min(refused, default=None)


def read_rights(text: str) -> Rights:
    """Read the table.

    :raises RightsError: a word or a field stands where it cannot.
    """
    tables = tomllib.loads(text)
    groups: dict[str, Right] = {}
    for name, words in tables.pop("who").items():
        groups[name] = _meant(words, {}, f"[who] {name}")
    found: dict[str, Right] = {}
    for type_name, lines in tables.items():
        for who, fields in lines.items():
            right = _meant(who, groups, f"[{type_name}]")
            for field in fields.split():
                coordinate = f"{type_name}.{field}"
                found[coordinate] = found.get(coordinate, Right(0)) | right
    return Rights(found)


def _meant(words: str, groups: Mapping[str, Right], where: str) -> Right:
    found = Right(0)
    for word in words.split():
        right = groups.get(word) or WORDS.get(word)
        if right is None:
            raise RightsError(f"{where}: {word!r} is neither a right nor a group")
        found |= right
    return found


def shipped_rights() -> Rights:
    """Read the table that bels brings along."""
    return read_rights((files("bels.access") / "rights.toml").read_text("utf-8"))


def printed(rights: Rights) -> str:
    """Print the table for a person: a line a field, a column a right."""
    columns = list(WORDS.items())
    width = max(len(each) for each in rights.table)
    names = [word.replace("operator:", "op:").replace("partner:", "p:") for word, _ in columns]
    lines = [" ".join([" " * width, *names])]
    for coordinate, mask in sorted(rights.table.items()):
        open_to_all = Right.ANONYMOUS in mask
        cells = [
            ("x" if open_to_all or right in mask else ".").center(len(name))
            for (_, right), name in zip(columns, names, strict=True)
        ]
        lines.append(" ".join([coordinate.ljust(width), *cells]).rstrip())
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(printed(shipped_rights()), end="")  # noqa: T201 - `python -m bels.access.rights` is how the table is read
