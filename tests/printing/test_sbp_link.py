"""Links of the СБП: read, checked, and written for ids that a bank gave."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.printing.sbp_link import BadSbpLink, SbpKind, SbpLink, crc_of, read_sbp_link, sbp_link
from tests.domain.vectors import vector

DYNAMIC = "https://qr.nspk.ru/AD10004F7SM1QOR38T1RNP592HT1U2MC?type=02&bank=100000000054&sum=4000&cur=RUB"


@pytest.fixture
def f10() -> dict[str, Any]:
    """Give the published links."""
    return vector("F10")


def with_crc(link: str) -> str:
    return f"{link}&crc={crc_of(link)}"


def test_published_links_have_their_checksums_and_are_written_to_the_letter(f10: dict[str, Any]) -> None:
    links = f10["given"]["urls"]
    assert [crc_of(link) for link in links] == f10["expected"]["crc"]
    for link in links:
        assert sbp_link(read_sbp_link(with_crc(link))) == with_crc(link)


def test_a_link_says_what_it_pays() -> None:
    assert read_sbp_link(f"{DYNAMIC}&crc=0B61") == SbpLink(
        "AD10004F7SM1QOR38T1RNP592HT1U2MC", SbpKind.DYNAMIC, "100000000054", Decimal("40.00")
    )
    static = read_sbp_link("https://qr.nspk.ru/AS1A005HCS949R4298Q9Q6UM6NJREQK6?type=01&bank=100000000008&crc=8435")
    assert (static.kind, static.amount) == (SbpKind.STATIC, None)


@pytest.mark.parametrize(
    ("part", "link"),
    [
        ("crc", f"{DYNAMIC}&crc=0B62"),
        ("crc", f"{DYNAMIC}&crc=0b61"),
        ("crc", DYNAMIC),
        ("link", with_crc(DYNAMIC.replace("https", "http"))),
        ("link", with_crc(DYNAMIC.replace("qr.nspk.ru", "qr.nspk.ru.example.org"))),
        ("link", with_crc(DYNAMIC.replace("qr.nspk.ru", "qr.nspk.ru@example.org"))),
        ("link", with_crc(f"{DYNAMIC}&sum=5000")),
        ("link", with_crc(f"{DYNAMIC}&goto=x")),
        ("link", with_crc(DYNAMIC + "я")),
        ("link", "https://[qr.nspk.ru/"),
        ("link", "tel:112"),
        ("link", ""),
        ("qrcid", with_crc(DYNAMIC.replace("U2MC", "U2M"))),
        ("qrcid", with_crc(DYNAMIC.replace("AD1", "AX1"))),
        ("type", with_crc(DYNAMIC.replace("type=02", "type=01"))),
        ("type", with_crc(DYNAMIC.replace("type=02", "type=03"))),
        ("bank", with_crc(DYNAMIC.replace("100000000054", "10000000005"))),
        ("sum", with_crc(DYNAMIC.replace("sum=4000&cur=RUB", "sum=0&cur=RUB"))),
        ("sum", with_crc(DYNAMIC.replace("sum=4000", "sum=40.00"))),
        ("sum", with_crc(DYNAMIC.replace("&sum=4000&cur=RUB", ""))),
        ("sum", with_crc(DYNAMIC.replace("sum=4000", "sum=999999999999"))),
        ("cur", with_crc(DYNAMIC.replace("cur=RUB", "cur=USD"))),
        ("cur", with_crc(DYNAMIC.replace("&sum=4000", ""))),
    ],
)
def test_a_bad_link_is_refused_by_what_is_wrong_with_it(part: str, link: str) -> None:
    with pytest.raises(BadSbpLink) as bad:
        read_sbp_link(link)
    assert bad.value.part == part


def test_no_link_is_written_for_an_id_that_no_bank_gives() -> None:
    for link in (
        SbpLink("AD1", SbpKind.DYNAMIC, "100000000054", Decimal(1)),
        SbpLink("AD10004F7SM1QOR38T1RNP592HT1U2MC", SbpKind.STATIC, "100000000054"),
        SbpLink("AD10004F7SM1QOR38T1RNP592HT1U2MC", SbpKind.DYNAMIC, "100000000054", Decimal("0.005")),
    ):
        with pytest.raises(BadSbpLink):
            sbp_link(link)


@given(st.integers(0, len(DYNAMIC) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_one_wrong_letter_is_always_noticed(place: int, letter: str) -> None:
    link = DYNAMIC[:place] + letter + DYNAMIC[place + 1 :]
    if link != DYNAMIC:
        with pytest.raises(BadSbpLink):
            read_sbp_link(f"{link}&crc=0B61")
