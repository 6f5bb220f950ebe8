import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import strawberry

from bels.api.engine.documents import Schema
from bels.api.engine.scalars import FILE_TEXT_MAX, BadUserInputError, Money, Toml, clean_text, clean_variables
from bels.domain.terms import Period

MOSCOW = timezone(timedelta(hours=3))


@strawberry.input
class Words:
    name: str
    tags: list[str]
    id: strawberry.ID | None = None


@strawberry.type
class Query:
    @strawberry.field
    def text(self, text: str) -> str:
        return text

    @strawberry.field
    def words(self, words: Words) -> list[str]:
        return [words.name, *words.tags]

    @strawberry.field
    def month(self, period: Period) -> Period:
        return period

    @strawberry.field
    def day(self, day: date) -> date:
        return day

    @strawberry.field
    def at(self, at: datetime) -> datetime:
        return at

    @strawberry.field
    def paid(self, amount: Money) -> Money:
        return amount

    @strawberry.field
    def number(self, number: Decimal) -> Decimal:
        return number

    @strawberry.field
    def odd(self, what: str) -> Money:
        odd: Any = {"nan": Decimal("NaN"), "float": 1.5, "part": Decimal("0.001"), "int": 5}
        given: Decimal = odd[what]
        return given

    @strawberry.field
    def file(self, toml: Toml, note: str | None = None) -> int:
        return len(toml)

    @strawberry.field
    def naive(self) -> datetime:
        return datetime(2024, 5, 25)  # noqa: DTZ001


SCHEMA = Schema(Query)


async def answer(document: str, **variables: object) -> Any:
    result = await SCHEMA.execute(document, variables)
    if result.errors:
        return [(error.extensions or {}).get("code") for error in result.errors]
    assert result.data is not None
    return next(iter(result.data.values()))


@pytest.mark.parametrize("text", ["1900-01", "2024-05", "2099-12"])
async def test_a_period_goes_in_and_out_as_a_variable_and_as_a_literal(text: str) -> None:
    assert await answer("query($p: Period!) { month(period: $p) }", p=text) == text
    assert await answer(f'{{ month(period: "{text}") }}') == text


@pytest.mark.parametrize(
    "value", ["2024-13", "2024-5", "2024-05-01", "", "202405", 202405, None, ["2024"], {}, True, "٢٠٢٤-٠٥"]
)
async def test_what_is_no_period_is_bad_user_input(value: object) -> None:
    assert await answer("query($p: Period!) { month(period: $p) }", p=value) == ["BAD_USER_INPUT"]


async def test_a_literal_that_is_no_period_is_found_by_validation() -> None:
    assert await answer('{ month(period: "2024-13") }') == ["BAD_USER_INPUT"]
    assert await answer("{ month(period: 202405) }") == ["BAD_USER_INPUT"]


async def test_a_day_goes_in_and_out() -> None:
    assert await answer("query($d: Date!) { day(day: $d) }", d="2024-02-29") == "2024-02-29"


@pytest.mark.parametrize(
    "value", ["2023-02-29", "20240229", "2024-W01-1", "0001-01-01", "2024-02-29T00:00:00Z", 20240229]
)
async def test_what_is_no_day_is_bad_user_input(value: object) -> None:
    assert await answer("query($d: Date!) { day(day: $d) }", d=value) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2024-05-25T23:59:59+03:00", "2024-05-25T20:59:59Z"),
        ("2024-05-25T20:59:59Z", "2024-05-25T20:59:59Z"),
        ("2024-05-25T20:59:59.250Z", "2024-05-25T20:59:59.250000Z"),
    ],
)
async def test_an_instant_is_read_with_any_offset_and_shown_in_utc(given: str, shown: str) -> None:
    assert await answer("query($a: DateTime!) { at(at: $a) }", a=given) == shown


@pytest.mark.parametrize(
    "value",
    ["2024-05-25T23:59:59", "2024-05-25", "2024-05-25T23:59:60Z", "2024-05-25 23:59:59Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "2024-05-25T24:00:00Z", 1716670799, 1.5],
)  # fmt: skip
async def test_an_instant_without_an_offset_or_out_of_range_is_bad_user_input(value: object) -> None:
    assert await answer("query($a: DateTime!) { at(at: $a) }", a=value) == ["BAD_USER_INPUT"]


async def test_an_instant_of_ours_without_an_offset_is_a_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert await answer("{ naive }") == ["INTERNAL_SERVER_ERROR"]
    assert "a DateTime without an offset is no instant" in caplog.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [("1245.05", "1245.05"), ("5", "5.00"), ("5.1", "5.10"), ("-80.00", "-80.00"), ("-0.00", "0.00"), ("007.5", "7.50"),
     ("5.100000", "5.10"), ("99999999999999999999", "99999999999999999999.00")],
)  # fmt: skip
async def test_a_sum_goes_in_and_is_shown_with_two_digits(given: str, shown: str) -> None:
    assert await answer("query($s: Money!) { paid(amount: $s) }", s=given) == shown
    assert await answer(f'{{ paid(amount: "{given}") }}') == shown


@pytest.mark.parametrize("given", ["7.33", "1.5", "-0.745", "10"])
async def test_a_decimal_goes_in_and_out_as_it_is(given: str) -> None:
    assert await answer("query($n: Decimal!) { number(number: $n) }", n=given) == given


NO_DECIMALS = [
    "NaN",
    "-Infinity",
    "1e5",
    "1,5",
    " 1",
    "1 ",
    "+1",
    "",
    ".5",
    "5.",
    "1_000",
    "١",
    "1" * 21,
    "1.0000001",
    5,
    1.5,
    True,
]


@pytest.mark.parametrize("value", [*NO_DECIMALS, None, [], {}])
async def test_what_is_no_decimal_is_bad_user_input(value: object) -> None:
    assert await answer("query($s: Money!) { paid(amount: $s) }", s=value) == ["BAD_USER_INPUT"]
    assert await answer("query($n: Decimal!) { number(number: $n) }", n=value) == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("literal", ["5", "1.5", "1e3", "true", "null", "NaN"])
async def test_a_literal_that_is_no_decimal_is_found_by_validation(literal: str) -> None:
    for text in (f"{{ paid(amount: {literal}) }}", f"{{ number(number: {literal}) }}"):
        (code,) = await answer(text)
        assert code in ("BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED")


@pytest.mark.parametrize("what", ["nan", "float", "part", "int"])
async def test_a_sum_of_ours_that_is_none_is_a_fault_of_ours(what: str) -> None:
    assert await answer("query($w: String!) { odd(what: $w) }", w=what) == ["INTERNAL_SERVER_ERROR"]


async def test_a_file_may_be_as_long_as_a_file(caplog: pytest.LogCaptureFixture) -> None:
    text = "query($t: Toml!, $n: String) { file(toml: $t, note: $n) }"
    assert await answer(text, t="#" * FILE_TEXT_MAX) == FILE_TEXT_MAX
    assert await answer(text, t="#" * (FILE_TEXT_MAX + 1)) == ["BAD_USER_INPUT"]
    assert await answer(text, t="a\0b") == ["BAD_USER_INPUT"]
    assert await answer(text, t=5) == ["BAD_USER_INPUT"]
    assert await answer("query($t: String!) { text(text: $t) }", t="#" * 1_001) == ["BAD_USER_INPUT"]
    assert await answer('{ file(toml: "' + "#" * 1_001 + '") }') == ["BAD_USER_INPUT"]


def test_the_scalars_say_what_they_are() -> None:
    sdl = str(SCHEMA)
    for name in ("Period", "Date", "DateTime", "Money", "Decimal", "Toml"):
        assert f"scalar {name} @specifiedBy(url: " in sdl


def test_a_text_is_composed() -> None:
    assert clean_text(unicodedata.normalize("NFD", "Балашихинский")) == "Балашихинский"
    assert clean_text("a\nb\t") == "a\nb\t"


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "я\udc00", "x" * 1_001])
def test_a_text_that_cannot_be_kept_is_bad_user_input(text: str) -> None:
    with pytest.raises(BadUserInputError) as caught:
        clean_text(text)
    assert caught.value.extensions == {"code": "BAD_USER_INPUT"}


def test_the_longest_text_passes() -> None:
    assert clean_text("x" * 1_000) == "x" * 1_000


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "x" * 1_001])
async def test_every_string_and_id_passes_the_check(bad: str) -> None:
    words = "query($w: Words!) { words(words: $w) }"
    assert await answer("query($t: String!) { text(text: $t) }", t=bad) == ["BAD_USER_INPUT"]
    assert await answer(words, w={"name": bad, "tags": []}) == ["BAD_USER_INPUT"]
    assert await answer(words, w={"name": "a", "tags": ["b", bad]}) == ["BAD_USER_INPUT"]
    assert await answer(words, w={"name": "a", "tags": [], "id": bad}) == ["BAD_USER_INPUT"]


async def test_a_literal_passes_the_check_too() -> None:
    assert await answer(r'{ text(text: "a\u0000b") }') == ["BAD_USER_INPUT"]
    assert await answer('{ text(text: "' + "x" * 1_001 + '") }') == ["BAD_USER_INPUT"]
    assert await answer('{ text(text: "' + unicodedata.normalize("NFD", "й") + '") }') == "й"


async def test_variables_are_composed() -> None:
    assert await answer("query($t: String!) { text(text: $t) }", t=unicodedata.normalize("NFD", "й")) == "й"


def test_the_path_to_a_bad_text_is_told() -> None:
    with pytest.raises(BadUserInputError, match=r"Variable '\$input\.tags\.1'") as caught:
        clean_variables({"input": {"name": "a", "tags": ["b", "\0"]}})
    assert caught.value.extensions == {"code": "BAD_USER_INPUT", "path": ["input", "tags", 1]}


def test_variables_nested_too_deeply_are_bad_user_input() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(BadUserInputError, match="nested too deeply"):
        clean_variables({"deep": deep})


async def test_an_instant_of_any_zone_is_shown_in_utc() -> None:
    at = datetime(2024, 5, 26, 2, 0, tzinfo=MOSCOW)
    assert await answer("query($a: DateTime!) { at(at: $a) }", a=at.isoformat()) == "2024-05-25T23:00:00Z"
    assert at.astimezone(UTC).hour == 23
