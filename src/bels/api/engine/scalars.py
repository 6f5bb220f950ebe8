"""The scalars of the API, and the one check that every text from outside passes.

GraphQL reserves the names String and ID, so their types cannot be replaced; texts are checked where they enter instead:
``clean_variables`` for the values of a request, ``clean_text`` for the literals of a document and for decoded cursors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from re import compile as pattern
from typing import TYPE_CHECKING, Any, NewType, TypeAlias
from unicodedata import combining, is_normalized, normalize

from graphql import GraphQLError
from strawberry import scalar
from strawberry.types.scalar import ScalarDefinition

from bels.domain.periods import period
from bels.domain.terms import Period

TEXT_MAX = 1_000
"""Characters in a text from outside, unless the field says otherwise."""
FILE_TEXT_MAX = 1_000_000
"""Characters in a text that is a whole file; such a text comes as a variable, never as a literal."""
MARKS_MAX = 30
"""Combining marks in a row."""
YEARS = range(1900, 2100)
"""The years in which households have accounts; a date outside them is a slip of the pen."""

KOPECK = Decimal("0.01")

# A sum is a Decimal everywhere; only the schema has a name of its own for decimals of two digits.
if TYPE_CHECKING:
    Money: TypeAlias = Decimal
else:

    class Money(Decimal):
        """The type of a field that is a sum; its values are plain decimals."""


Toml = NewType("Toml", str)
"""A text that is a whole TOML file."""

_DECIMAL = pattern(r"-?[0-9]{1,20}(?:\.[0-9]{1,6})?")
_DATE = pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME = pattern(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


class BadUserInputError(GraphQLError):
    """What the client sent cannot be used; the sentence is for the client."""

    def __init__(self, message: str, **extensions: object) -> None:
        super().__init__(message, extensions={"code": "BAD_USER_INPUT", **extensions})


def clean_text(text: str, *, characters_max: int = TEXT_MAX) -> str:
    """Check a text from outside and give it in Unicode's composed form (NFC), as everything behind expects it.

    :raises BadUserInputError: it holds NUL or half a surrogate pair, which PostgreSQL cannot keep, too many marks on one letter,
        or it is too long.
    """
    if len(text) > characters_max:
        raise BadUserInputError(f"A text may have {characters_max} characters; this one has {len(text)}.")
    if "\0" in text:
        raise BadUserInputError("A text may not contain the character NUL (U+0000).")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadUserInputError("A text may not contain half of a surrogate pair.") from None
    if is_normalized("NFC", text):
        return text
    # Putting marks in order takes the square of their number, and no language stacks as many (UAX 15, stream-safe format).
    if max(map(len, bytes(map(combining, text)).split(b"\0"))) > MARKS_MAX:
        raise BadUserInputError(f"A text may have {MARKS_MAX} combining marks in a row.")
    return normalize("NFC", text)


def clean_variables(variables: dict[str, Any], *, characters_max: int = TEXT_MAX) -> dict[str, Any]:
    """Clean every text among the variables of a request, in place.

    :raises BadUserInputError: a text cannot be used, with the path to it, or the values are nested too deeply.
    """
    name = ""
    try:
        for name, value in variables.items():
            variables[name] = _clean(value, characters_max)
    except _TextError as fault:
        path = [name, *reversed(fault.path)]
        where = ".".join(str(step) for step in path)
        raise BadUserInputError(f"Variable '${where[:TEXT_MAX]}': {fault.error.message}", path=path) from None
    except RecursionError:
        raise BadUserInputError(f"Variable '${name}' is nested too deeply.") from None
    return variables


class _TextError(Exception):
    """A text cannot be used; the path to it grows, innermost step first, on the way out."""

    def __init__(self, error: BadUserInputError) -> None:
        super().__init__()
        self.error = error
        self.path: list[str | int] = []


def _clean(value: Any, characters_max: int) -> Any:
    kind = type(value)
    if kind is str:
        try:
            return clean_text(value, characters_max=characters_max)
        except BadUserInputError as error:
            raise _TextError(error) from None
    if kind is dict or kind is list:
        step: str | int = 0
        try:
            for step, item in value.items() if kind is dict else enumerate(value):
                value[step] = _clean(item, characters_max)
        except _TextError as fault:
            fault.path.append(step)
            raise
    return value


def _read_period(value: object) -> Period:
    if isinstance(value, str):
        try:
            return period(value)
        except ValueError:
            pass
    raise BadUserInputError(f'A Period is a month written YYYY-MM, for example "2024-05", not {_shown(value)}.')


def _read_date(value: object) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            pass
        else:
            if day.year in YEARS:
                return day
    raise BadUserInputError(
        f'A Date is a day of 1900 to 2099 written YYYY-MM-DD, for example "2024-05-31", not {_shown(value)}.'
    )


def _read_date_time(value: object) -> datetime:
    if isinstance(value, str) and _DATE_TIME.fullmatch(value):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if at.year in YEARS:
                return at.astimezone(UTC)
    raise BadUserInputError(
        'A DateTime is an instant of 1900 to 2099 with its offset, for example "2024-05-25T23:59:59+03:00" '
        f'or "2024-05-25T20:59:59Z", not {_shown(value)}.'
    )


def _read_decimal(value: object) -> Decimal:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise BadUserInputError(f'A Decimal is a text of plain digits, for example "7.33", not {_shown(value)}.')


def _read_money(value: object) -> Decimal:
    # Only the form is judged here: a sum that may not be (0.00, -5.00, 0.001) is a refusal with a receipt.
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise BadUserInputError(
        f'Money is a text of roubles and kopecks with a point, for example "1245.05", not {_shown(value)}.'
    )


def _write_decimal(number: object) -> str:
    if not isinstance(number, Decimal) or not number.is_finite():
        raise TypeError("something else than a finite number was given where the schema has a Decimal")
    return f"{number:f}"


def _write_money(amount: object) -> str:
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise TypeError("something else than a finite sum was given where the schema has Money")
    whole = amount.quantize(KOPECK)
    if whole != amount:
        raise ValueError(f"{amount} is a sum with parts of a kopeck")
    # Zero has no sign.
    return f"{whole + 0:f}"


def _read_toml(value: object) -> Toml:
    if isinstance(value, str):
        return Toml(clean_text(value, characters_max=FILE_TEXT_MAX))
    raise BadUserInputError(f"Toml is the text of a TOML file, not {_shown(value)}.")


def _write_date(day: date) -> str:
    if isinstance(day, datetime):
        raise TypeError("an instant was given where the schema has a Date")
    return day.isoformat()


def _write_date_time(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("a DateTime without an offset is no instant")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str | int | float | None) else f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


SCALARS: Mapping[object, ScalarDefinition] = {
    Period: scalar(
        name="Period",
        description='A billing month, `YYYY-MM`, from 1900-01 to 2099-12. Example: `"2024-05"`.',
        specified_by_url="https://html.spec.whatwg.org/multipage/common-microsyntaxes.html#months",
        serialize=str,
        parse_value=_read_period,
    ),
    date: scalar(
        name="Date",
        description='A day of the calendar in Moscow, `YYYY-MM-DD`. Example: `"2024-05-31"`.',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_write_date,
        parse_value=_read_date,
    ),
    datetime: scalar(
        name="DateTime",
        description=(
            "An instant with its offset from UTC, RFC 3339. Any offset is read, answers are in UTC. "
            'Examples: `"2024-05-25T23:59:59+03:00"`, `"2024-05-25T20:59:59Z"`.'
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_write_date_time,
        parse_value=_read_date_time,
    ),
    Decimal: scalar(
        name="Decimal",
        description=(
            "An exact decimal number as a text of plain digits: no exponent, no NaN, never a JSON number. "
            'Examples: `"7.33"`, `"1.5"`.'
        ),
        specified_by_url="https://www.w3.org/TR/xmlschema11-2/#decimal",
        serialize=_write_decimal,
        parse_value=_read_decimal,
    ),
    Money: scalar(
        name="Money",
        description=(
            "Roubles and kopecks as a text, in answers always with two digits: no exponent, no NaN, never a JSON number. "
            'Examples: `"1245.05"`, `"-80.00"`.'
        ),
        specified_by_url="https://www.w3.org/TR/xmlschema11-2/#decimal",
        serialize=_write_money,
        parse_value=_read_money,
    ),
    Toml: scalar(
        name="Toml",
        description="The text of a TOML file, at most 1,000,000 characters; one of more than 1,000 comes as a variable.",
        specified_by_url="https://toml.io/en/v1.0.0",
        serialize=str,
        parse_value=_read_toml,
    ),
}
"""For ``StrawberryConfig.scalar_map``: fields of types are annotated ``Period``, ``date``, ``Money`` and so on, as everywhere."""

FILES = frozenset({"Toml"})
"""The scalars whose texts are whole files."""
