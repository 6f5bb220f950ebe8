"""Photos over GraphQL: whoever sees a reading sees what proves it, but a bank does not."""

from __future__ import annotations

from bels.access.callers import LOCAL, Kind, rights_of
from bels.api.context import RIGHTS
from bels.reception.counter import Counter
from bels.reception.evidence import Evidence, keep_photo
from tests.api.client import Client, household

PHOTOS = """{ account(number: "1000101") { readings(first: 10) { edges { node {
  receipt photos { id sha256 contentType at url } } } } } }"""
JPEG = b"\xff\xd8\xff\xe0 a display"


async def test_a_reading_shows_the_photos_that_came_with_it(client: Client) -> None:
    await household(client)
    sent = [
        await client.do("submitReading", account="1000101", values=[{"register": "TOTAL", "value": value}])
        for value in ("10010", "10020")
    ]
    counter = Counter(client.pool, client.intake, (await client.context_of(LOCAL)).app.door)
    kept = await keep_photo(counter, "1000101", sent[1]["receipt"], JPEG, "image/jpeg", "telegram:1")
    assert isinstance(kept, Evidence)

    edges = (await client.ask(PHOTOS))["account"]["readings"]["edges"]

    photos = {edge["node"]["receipt"]: edge["node"]["photos"] for edge in edges}
    assert photos[sent[0]["receipt"]] == []
    (shown,) = photos[sent[1]["receipt"]]
    assert (shown["id"], shown["url"]) == (kept.evidence, f"/evidence/{kept.evidence}")
    assert (shown["sha256"], shown["contentType"]) == (kept.sha256.hex(), "image/jpeg")


def test_a_bank_and_a_link_see_no_photo() -> None:
    asked = frozenset({"Reading.photos"})
    refused = [
        rights_of(Kind.PARTNER, ("readings:write",)),
        rights_of(Kind.LINK, ("reading",)),
        rights_of(Kind.GATEWAY),
    ]

    assert [RIGHTS.first_refused(asked, rights) for rights in refused] == ["Reading.photos"] * 3
    assert RIGHTS.first_refused(asked, rights_of(Kind.CONSUMER)) is None
