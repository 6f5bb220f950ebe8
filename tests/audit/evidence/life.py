"""The full life of a household: told through every way there is, with personal data, photos, texts, seals and hostile words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path

from bels.access import acts, personal
from bels.access.acts import Act
from bels.access.personal import Personal, subject_of
from bels.app import door_of, opened
from bels.audit.evidence.pack import Asked, write_pack
from bels.audit.seals.sealing import seal_journal
from bels.delivering import post_of
from bels.domain.commands import (
    ClosePeriod,
    ConfirmReading,
    MakeRefund,
    ReceivePayment,
    RejectReading,
    ReversePayment,
    SubmitReading,
)
from bels.domain.events import ReadingRefused
from bels.domain.terms import Channel, EntryNumber, Period, Reason, Role
from bels.messages import Message, Outcome, Status
from bels.outgoing.choices import CHOSEN, choose
from bels.outgoing.deliver import deliver_due
from bels.outgoing.outbox import put_text
from bels.outgoing.outcomes import NEWS_FOR, plan_notices
from bels.publishing import publish
from bels.reception.counter import Counter, take
from bels.reception.evidence import Evidence, attach_photos, keep_photo
from bels.settings import Settings
from tests.channels.house import House, opened_house
from tests.channels.household import moscow
from tests.outgoing.gateways import opened_gateways
from tests.rules import DEFAULT_RULEBOOK
from tests.test_nothing_personal import spellings

HOME, NEIGHBOUR = "1000001", "1000003"
NOW = "2024-11-20T12:00"
NAME = "Щедринцева Ульяна Ксенофонтовна"
ADDRESS = "г. Балашиха, ул. Малозёрская, д. 38, корп. 2, кв. 617"
PHONE, EMAIL = "+79037514826", "u.schedrintseva77@pochta-balashihi.ru"
WORDS = f"показание 10385, это {NAME}, {ADDRESS}, звоните {PHONE}"
LETTER = f"Прошу принять 10520. {NAME}, {EMAIL}"
TEXT = f"Ульяна Ксенофонтовна, показание принято, {ADDRESS}"
SCRIPT = "<script>alert(document.cookie)</script><img src=https://example.org/x onerror=alert(1)>"
TURNED = "тихо\u202eоплачено\u2066"
FORMULA = "=HYPERLINK(1)"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"the display of the meter " * 400

SIGHTS = (
    NAME,
    *NAME.split(),
    ADDRESS,
    "Малозёрская",
    PHONE,
    "9037514826",
    EMAIL,
    "schedrintseva77",
    "pochta-balashihi",
)
NEEDLES = {needle: sight for sight in SIGHTS for needle in spellings(sight)}


def seen(content: bytes) -> set[str]:
    """Say what personal is found in some bytes, in whatever spelling."""
    return {sight for needle, sight in NEEDLES.items() if needle in content}


async def live(database: str, folder: Path) -> None:
    """Live the life of account 1000001 from May to November 2024."""
    async with opened_house(database, folder) as house:
        assert house.bels is not None
        await publish(house.bels.pool, house.bels.intake, DEFAULT_RULEBOOK, "приказ о тарифах")
        async with opened_gateways(house.now) as gateways:
            post = await post_of(house.bels, house.desk.door, gateways.senders)
            await _moves_in(house)
            await _reads(house)
            house.wait(minutes=5)
            async with house.bels.pool.acquire() as db:
                await plan_notices(db, house.at, house.at - NEWS_FOR)
            await deliver_due(post)
        await _pays(house)
        await _falls_silent(house)


async def _moves_in(house: House) -> None:
    desk, subject = house.desk, subject_of(HOME, 1)
    async with desk.pool.acquire() as db, db.transaction():
        await personal.put(db, desk.door.vault, subject, Personal(NAME, ADDRESS, (PHONE,), (EMAIL,)))
        await acts.record(
            db, Act.PERSONAL_DATA_SET, by="u-clerk", subject=subject, account=HOME, reason="заявление", document="паспорт 4821"
        )  # fmt: skip
    async with desk.pool.acquire() as db:
        await choose(db, desk.door.vault, HOME, 1, Channel.EMAIL, EMAIL, CHOSEN, "consumer:u-1", house.at)
        await put_text(db, desk.door.vault, HOME, 1, Channel.SMS, PHONE, TEXT, "welcome", now=house.at)


async def _reads(house: House) -> None:
    desk = house.desk
    raw = desk.door.raw_texts.kept
    await house.link(HOME, Channel.SMS, PHONE)
    own, stranger = desk.sender(Channel.SMS, PHONE), desk.sender(Channel.SMS, "+79260179348")
    photo = await keep_photo(desk, HOME, None, JPEG, "image/jpeg", own.actor)
    assert isinstance(photo, Evidence)
    read = await take(desk, own, "sms:1", HOME, SubmitReading(house.at, {"total": "10385"}), raw(WORDS))
    assert await attach_photos(desk, read.outcome.receipt, [photo.evidence], own.actor)
    house.wait(minutes=1)
    # The same value by another message leads to nothing new.
    again = await take(desk, own, "sms:2", HOME, SubmitReading(house.at, {"total": "10385"}), "1000001#10385")
    assert again.outcome.repeated
    garbled = ReadingRefused(Reason.BAD_VALUE, house.at, {"total": "сто"})
    assert (await take(desk, own, "sms:3", HOME, garbled, raw("сто"))).outcome.status is Status.REFUSED
    house.wait(minutes=1)
    held = await take(desk, stranger, "sms:4", HOME, SubmitReading(house.at, {"total": "10390"}), "1000001#10390")
    await house.do(HOME, RejectReading(_entry(held.outcome), house.at, SCRIPT))
    more = await take(desk, stranger, "sms:5", HOME, SubmitReading(house.at, {"total": "99000"}), "1000001#99000")
    await house.do(HOME, ConfirmReading(_entry(more.outcome), house.at, Role.OPERATOR))
    corrected = SubmitReading(house.at, {"total": "10386"}, Role.OPERATOR)
    await _send(house, Channel.OFFICE, "visit:1", corrected, "10386")


async def _pays(house: House) -> None:
    await _close(house, "2024-05", "2024-06-01T00:30")
    house.at = moscow("2024-06-05T10:00")
    paid = await _send(house, Channel.BANK, "bank:1", _payment(house, "100.00", FORMULA), "{}")
    await house.do(HOME, ReversePayment(_entry(paid), house.at, TURNED))
    await _send(house, Channel.BANK, "bank:2", _payment(house, "2000.00", "20240605-7"), "{}")
    await house.do(HOME, MakeRefund(Decimal("100.00"), house.at, "заявление"))
    house.at = moscow("2024-06-20T10:00")
    letter = house.desk.door.raw_texts.kept(LETTER)
    await _send(house, Channel.EMAIL, "letter:1", SubmitReading(house.at, {"total": "10520"}), letter)
    await _close(house, "2024-06", "2024-07-01T00:30")
    await seal_journal(house.desk.pool, house.desk.door.vault, moscow("2024-07-02T03:00"))


async def _falls_silent(house: House) -> None:
    for period, at in (("2024-07", "2024-08-01T00:30"), ("2024-08", "2024-09-01T00:30")):
        await _close(house, period, at)
    house.at = moscow("2024-09-20T10:00")
    await _send(house, Channel.CABINET, "cabinet:1", SubmitReading(house.at, {"total": "12300"}), "{}")
    await _close(house, "2024-09", "2024-10-01T00:30")
    await _close(house, "2024-10", "2024-11-01T00:30")
    await seal_journal(house.desk.pool, house.desk.door.vault, moscow("2024-11-02T03:00"))
    house.at = moscow("2024-11-19T09:00")
    await _send(house, Channel.MOBILE, "app:1", SubmitReading(house.at, {"total": "12400"}), "{}")


async def _close(house: House, period: str, at: str) -> None:
    house.at = moscow(at)
    await house.do(HOME, ClosePeriod(Period(period), house.at))


async def _send(house: House, channel: Channel, key: str, command: SubmitReading | ReceivePayment, raw: str) -> Outcome:
    return await house.desk.intake.submit(Message(channel, key, f"{channel.value}:test", HOME, command, raw))


def _payment(house: House, amount: str, reference: str) -> ReceivePayment:
    return ReceivePayment(Decimal(amount), date(house.at.year, house.at.month, house.at.day), house.at, reference)


def _entry(outcome: Outcome) -> EntryNumber:
    assert outcome.version is not None, outcome
    return EntryNumber(outcome.version)


@dataclass(frozen=True, slots=True)
class Lived:
    """A supplier in which the life was lived, closed."""

    database: str
    folder: Path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Counter]:
        """Open it, on 20 November 2024."""
        settings = Settings(database_url=self.database, data_dir=self.folder)
        async with opened(settings, clock=lambda: moscow(NOW)) as bels:
            yield Counter(bels.pool, bels.intake, await door_of(bels, local=False))

    def pack(self, asked: Asked) -> bytes:
        """Give a pack."""

        async def packing() -> bytes:
            async with self.opened() as counter:
                file = BytesIO()
                size = await write_pack(counter, asked, file)
                assert size == len(file.getvalue())
                return file.getvalue()

        return asyncio.run(packing())


def asked(**given: object) -> Asked:
    """Ask for the pack of the household."""
    return replace(Asked(HOME, "u-auditor"), **given)  # type: ignore[arg-type]
