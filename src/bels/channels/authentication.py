"""Read Authentication-Results, in which our mail server says whom it has verified (RFC 8601).

The sender of a letter can write such a header too. So only the topmost one counts that carries our own authserv-id; the mail
server must remove those that come in under it (RFC 8601 section 5), as ``deploy/postfix`` shows. What is not understood
vouches for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from re import compile as pattern

HEADER_LENGTH_MAX = 8_000
RESULTS_MAX = 50
COMMENT_DEPTH_MAX = 5

_WORD = pattern(r'"((?:[^"\\]|\\.)*)"|([^\s;="]+)|([;=])')
_QUOTED_PAIR = pattern(r"\\(.)")
_METHOD_VERSION = pattern(r"/[0-9]+$")


@dataclass(frozen=True, slots=True)
class Result:
    """What one method found: ``properties`` such as ``header.from`` or ``smtp.mailfrom``, all in lower case."""

    method: str
    result: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """One header: who wrote it, and what it found."""

    authserv_id: str
    results: tuple[Result, ...]


def is_vouched_for(headers: Sequence[str], authserv_id: str | None, domain: str) -> bool:
    """Say whether our mail server vouches for the domain of a letter's From.

    ``headers`` are the Authentication-Results from the top. DMARC pass is enough; where DMARC is silent, so is SPF or DKIM pass
    of exactly that domain. A DMARC fail is final.
    """
    if not authserv_id or not domain:
        return False
    own = _own(headers, authserv_id)
    if own is None:
        return False
    of_dmarc = [r for r in own.results if r.method == "dmarc" and _is_of(r, "header.from", domain, if_absent=True)]
    if any(r.result == "fail" for r in own.results if r.method == "dmarc"):
        return False
    return any(r.result == "pass" for r in of_dmarc) or any(_is_aligned(r, domain) for r in own.results)


def read_results(text: str) -> Results | None:
    """Read one header, None where it is none."""
    if len(text) > HEADER_LENGTH_MAX:
        return None
    plain = _without_comments(text)
    if plain is None:
        return None
    first, *others = _statements(plain)
    if not first or "=" in first or '"' in plain.partition(";")[0]:
        # Our mail server writes its name plainly; in quotes it is hidden from what removes forged ones.
        return None
    results = [result for words in others[:RESULTS_MAX] if (result := _result(words)) is not None]
    return Results(first[0].lower(), tuple(results))


def _own(headers: Sequence[str], authserv_id: str) -> Results | None:
    """Find the topmost header of ours. One that cannot be read may be it, so what stands below is not looked at."""
    for text in headers:
        read = read_results(text)
        if read is None or read.authserv_id == authserv_id.lower():
            return read
    return None


def _is_aligned(result: Result, domain: str) -> bool:
    if result.result != "pass":
        return False
    match result.method:
        case "dkim":
            return _is_of(result, "header.d", domain)
        case "spf":
            return _is_of(result, "smtp.mailfrom", domain)
        case _:
            return False


def _is_of(result: Result, name: str, domain: str, *, if_absent: bool = False) -> bool:
    found = result.properties.get(name)
    return if_absent if found is None else found.rpartition("@")[2].rstrip(".") == domain.lower()


def _without_comments(text: str) -> str | None:
    """Take out the comments, which may hold comments; None where they do not end."""
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for c in text:
        if escaped or c == "\\":
            escaped = not escaped
        elif c == '"' and depth == 0:
            quoted = not quoted
        elif c == "(" and not quoted:
            depth += 1
            if depth > COMMENT_DEPTH_MAX:
                return None
        elif c == ")" and not quoted and depth:
            depth -= 1
            kept.append(" ")
            continue
        if depth == 0:
            kept.append(c)
    return "".join(kept) if depth == 0 and not quoted else None


def _statements(text: str) -> Iterator[list[str]]:
    """Give the words of each statement; semicolons part them, quotes are taken off."""
    words: list[str] = []
    for found in _WORD.finditer(text):
        quoted, word, sign = found.groups()
        if sign == ";":
            yield words
            words = []
        else:
            words.append(_QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else word or sign)
    yield words


def _result(words: list[str]) -> Result | None:
    """Read ``method=result [reason=...] ptype.property=value ...``."""
    pairs = [(words[i - 1], words[i + 1]) for i in range(1, len(words) - 1) if words[i] == "="]
    if len(words) < 3 or words[1] != "=":
        return None
    method, result = pairs[0]
    properties = {name.lower(): value.lower() for name, value in reversed(pairs[1:]) if "." in name}
    return Result(_METHOD_VERSION.sub("", method.lower()), result.lower(), properties)
