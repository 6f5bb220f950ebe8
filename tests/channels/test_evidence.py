"""Photos of a display: kept sealed with their reading, seen by the household and the staff, erased with the household."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from bels.access.callers import ANONYMOUS, Caller, Kind, Right, Sight, rights_of
from bels.access.personal import Personal, erase, put, subject_of
from bels.access.rights import Rights
from bels.access.tenures import Tenure, find_tenure
from bels.api.photos import photo_loader
from bels.domain.commands import SubmitReading
from bels.domain.terms import Channel, Period
from bels.reception.counter import take
from bels.reception.evidence import (
    A_DAY,
    BYTES_MAX,
    KEPT_LOOSE,
    OF_A_READING_MAX,
    REFUSALS,
    Evidence,
    PhotoRefusal,
    attach_photos,
    find_photo,
    forget_loose_photos,
    keep_photo,
    open_photo,
    photos_of,
)
from bels.web.evidence import FIELD, evidence_routes
from tests.channels.house import House

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"display" * 100
PNG = b"\x89PNG\r\n\x1a\n" + b"display" * 100
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + b"display" * 100
BY = "telegram:somebody"


async def kept(
    house: House, content: bytes = JPEG, account: str = "", receipt: str | None = None, key: str = ""
) -> Evidence:
    """Keep a photo."""
    said = "image/jpeg" if content is JPEG else ""
    found = await keep_photo(house.desk, account, receipt, content, said, BY, key=key)
    assert isinstance(found, Evidence), found
    return found


async def reading(house: House, value: str = "10385") -> str:
    """Send a reading of account 1000001, and give its receipt."""
    sender = house.desk.sender(Channel.TELEGRAM, "77")
    command = SubmitReading(house.at, {"total": value})
    return (await take(house.desk, sender, f"tg:{value}", "1000001", command, value)).outcome.receipt


async def test_a_photo_is_kept_with_the_reading_that_follows_it_and_sealed_by_the_households_key(house: House) -> None:
    loose = await kept(house)
    receipt = await reading(house)

    (attached,) = await attach_photos(house.desk, receipt, [loose.evidence], BY)

    assert (attached.evidence, attached.account, attached.tenure) == (loose.evidence, "1000001", 1)
    async with house.desk.pool.acquire() as db:
        assert await photos_of(db, [receipt]) == {receipt: [attached]}
        sealed = await db.fetchval("SELECT sealed FROM evidence")
    assert b"display" not in sealed
    assert await open_photo(house.desk, loose.evidence) == (attached, JPEG)
    loader = photo_loader(house.desk.pool)
    (shown,), none = await loader.load_many([receipt, "AAAAAAAA"])
    assert (shown.url, shown.sha256) == (f"/evidence/{loose.evidence}", sha256(JPEG).hexdigest())
    assert none == []
    assert await attach_photos(house.desk, receipt, [loose.evidence], BY) == []


async def test_a_photo_of_another_sender_or_of_yesterday_is_not_kept_with_a_reading(house: House) -> None:
    photos = [(await kept(house)).evidence]
    receipt = await reading(house)
    assert await attach_photos(house.desk, receipt, photos, "telegram:another") == []
    house.wait(days=1, seconds=1)
    assert await attach_photos(house.desk, receipt, photos, BY) == []
    assert await attach_photos(house.desk, "AAAAAAAA", photos, BY) == []


async def test_the_last_few_photos_belong_to_a_reading(house: House) -> None:
    names = []
    for i in range(OF_A_READING_MAX + 2):
        names.append((await kept(house, PNG + bytes([i]))).evidence)
        house.wait(seconds=1)

    attached = await attach_photos(house.desk, await reading(house), names, BY)

    assert {each.evidence for each in attached} == set(names[-OF_A_READING_MAX:])


async def test_what_is_no_picture_is_refused_whatever_it_is_called(house: House) -> None:
    desk = house.desk
    wrong = [
        await keep_photo(desk, "", None, content, content_type, BY)
        for content, content_type in (
            (b"%PDF-1.7", "image/jpeg"),
            (b"<svg onload=alert(1)>", "image/svg+xml"),
            (b"", ""),
            (PNG, "image/gif"),
        )
    ]
    large = await keep_photo(desk, "", None, JPEG + b"\0" * BYTES_MAX, "", BY)

    assert wrong == [PhotoRefusal.NOT_A_PHOTO] * 4
    assert large is PhotoRefusal.TOO_LARGE
    assert (await kept(house, WEBP)).content_type == "image/webp"
    assert set(REFUSALS) == set(PhotoRefusal)


async def test_the_photo_of_a_message_that_comes_twice_is_one_and_a_sender_has_only_so_many_a_day(house: House) -> None:
    first, again = await kept(house, key="tg:1"), await kept(house, key="tg:1")
    assert first == again
    for i in range(A_DAY - 1):
        await kept(house, PNG + bytes([i]))

    assert await keep_photo(house.desk, "", None, WEBP, "", BY) is PhotoRefusal.TOO_MANY
    house.wait(days=1)
    assert isinstance(await keep_photo(house.desk, "", None, WEBP, "", BY), Evidence)


async def test_erasing_the_household_erases_its_photos(house: House) -> None:
    photo = await kept(house, account="1000001")
    desk, subject = house.desk, subject_of("1000001", 1)
    async with desk.pool.acquire() as db:
        await put(db, desk.door.vault, subject, Personal(name="Иванова Анна"))
        await erase(db, desk.door.vault, subject, by="u-1", reason="по заявлению", document=None, request_id="")

    assert await open_photo(desk, photo.evidence) is None
    assert await keep_photo(desk, "1000001", None, PNG, "", BY) is PhotoRefusal.ERASED


async def test_a_photo_that_no_reading_followed_goes_in_time(house: House) -> None:
    loose, own = await kept(house), await kept(house, PNG, "1000001", await reading(house))
    house.wait(days=KEPT_LOOSE.days, seconds=1)
    async with house.desk.pool.acquire() as db:
        await forget_loose_photos(db, house.at)

        assert await find_photo(db, loose.evidence) is None
        assert await find_photo(db, own.evidence) == own


@dataclass(slots=True)
class Album:
    """Photos of a house as the route finds them; ``asks`` is who asks."""

    house: House
    asks: Caller = ANONYMOUS
    recorded: list[tuple[str, str]] = field(default_factory=list)

    async def caller(self, request: Request) -> Caller:
        return self.asks

    async def find(self, evidence: str) -> tuple[Evidence, Tenure] | None:
        async with self.house.desk.pool.acquire() as db:
            found = await find_photo(db, evidence)
            return (found, await find_tenure(db, found.account)) if found is not None else None

    async def open(self, evidence: str) -> bytes | None:
        found = await open_photo(self.house.desk, evidence)
        return found[1] if found is not None else None

    async def record(self, caller: Caller, request: Request, field: str, account: str) -> None:
        self.recorded.append((caller.subject, account))


@pytest.fixture
async def album(house: House) -> Album:
    return Album(house)


def caller(kind: Kind, sights: dict[str, Sight] | None) -> Caller:
    """Give somebody who asks."""
    return Caller(kind, f"u-{kind.value.lower()}", rights_of(kind), Channel.WEB, "somebody", sights)


async def test_the_household_and_the_staff_see_a_photo_and_nobody_else(album: Album) -> None:
    house = album.house
    photo = await kept(house)
    rights = Rights({FIELD: Right.CONSUMER | Right.OPERATOR})
    app = Starlette(routes=evidence_routes(album, rights))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bels") as http:

        async def status(asks: Caller) -> int:
            album.asks = asks
            return (await http.get(f"/evidence/{photo.evidence}")).status_code

        own, foreign = {"1000001": Sight()}, {"1000002": Sight()}
        assert await status(caller(Kind.CONSUMER, own)) == 404
        await attach_photos(house.desk, await reading(house), [photo.evidence], BY)
        assert await status(ANONYMOUS) == 401
        assert await status(caller(Kind.GATEWAY, None)) == 403
        assert await status(caller(Kind.CONSUMER, foreign)) == 404
        assert await status(caller(Kind.CONSUMER, {"1000001": Sight(99, None)})) == 404
        assert album.recorded == []
        album.asks = caller(Kind.OPERATOR, None)
        shown = await http.get(f"/evidence/{photo.evidence}")
        assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, JPEG, "image/jpeg")
        assert (shown.headers["cache-control"], shown.headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert album.recorded == [("u-operator", "1000001")]
        assert await status(caller(Kind.CONSUMER, own)) == 200
        assert [(await http.get(f"/evidence/{name}")).status_code for name in ("e-nothing", "%2e%2e", "x")] == [404] * 3

        await house.desk.pool.execute(
            "INSERT INTO tenure (account, number, since, entry, period) VALUES ('1000001', 2, now(), 99, '2024-06')"
        )
        assert await status(caller(Kind.CONSUMER, {"1000001": Sight(99, Period("2024-06"))})) == 404
        assert await status(caller(Kind.OPERATOR, None)) == 200
