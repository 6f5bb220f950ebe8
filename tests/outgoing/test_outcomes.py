"""Outcome notices: what a household hears without having asked, and what it does not."""

from __future__ import annotations

from bels.domain.commands import ClosePeriod, ConfirmReading, RejectReading, SubmitReading
from bels.domain.periods import over_at
from bels.domain.terms import Channel, EntryNumber, Meaning, Period, Role
from bels.reception.counter import take
from bels.words import SMS_LENGTH_MAX
from tests.channels.house import House
from tests.outgoing.conftest import EMAIL, PHONE, Speaking

HOME = "1000001"
STRANGER, SECOND = "+79031112233", "+79265550011"


async def sent(house: House, key: str, value: str, phone: str, *, link: bool = False) -> EntryNumber | None:
    """Send a reading of the household by SMS; give its entry."""
    if link:
        await house.link(HOME, Channel.SMS, phone)
    sender = house.desk.sender(Channel.SMS, phone)
    command = SubmitReading(house.at, {"total": value})
    answer = await take(house.desk, sender, key, HOME, command, f"{HOME}#{value}")
    return EntryNumber(answer.outcome.version) if answer.outcome.version is not None else None


async def told(speaking: Speaking) -> list[str]:
    """Plan and send what is news, and give the bodies of the letters."""
    await speaking.news()
    await speaking.send()
    bodies = []
    for letter in speaking.gateways.letters:
        body = letter.get_body()
        assert body is not None
        bodies.append(body.get_content().replace("\r", "").partition("\n\nОтписаться")[0])
    return bodies


async def test_a_strangers_correction_is_told_to_the_household_when_it_is_held_and_when_it_is_decided(
    speaking: Speaking,
) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await sent(house, "a", "10300", PHONE, link=True)
    held = await sent(house, "b", "10310", STRANGER)
    assert held is not None
    house.wait(minutes=5)
    (first,) = await told(speaking)
    assert first == (
        "Л/с 1000001: показание 10310 за май 2024 пока не учтено: отправитель не подтверждён.\n"
        "Если это не вы, передайте верное показание или позвоните нам."
    )

    await house.do(HOME, RejectReading(held, house.at, "чужое"))
    house.wait(minutes=5)
    assert (await told(speaking))[1:] == [
        "Л/с 1000001: показание 10310 проверено и не учтено.\nПосмотрите на счётчик и передайте показание снова."
    ]


async def test_a_reading_that_an_operator_confirms_is_told_to_its_household(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    held = await sent(house, "a", "99000", STRANGER)
    assert held is not None
    await house.do(HOME, ConfirmReading(held, house.at, Role.OPERATOR))
    house.wait(minutes=5)

    # That it was held is no news any more.
    assert await told(speaking) == ["Л/с 1000001: показание 99000 проверено и учтено за май 2024."]
    assert sorted(await speaking.texts("kind", "state")) == [("CONFIRMED", "SENT"), ("HELD", "CANCELLED")]


async def test_whoever_has_just_had_the_answer_is_told_nothing_more(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.SMS, PHONE)
    await sent(house, "a", "99000", PHONE, link=True)
    house.wait(minutes=5)

    assert await speaking.news() == 0


async def test_an_accepted_reading_and_a_correction_of_ones_own_are_no_news(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await sent(house, "a", "10300", PHONE, link=True)
    assert await speaking.pool.fetchval("SELECT count(*) FROM notice WHERE account = $1", HOME) == 0
    await sent(house, "b", "10301", PHONE)
    house.wait(minutes=5)

    assert await told(speaking) == []


async def test_a_reading_that_another_sender_replaced_is_news(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await sent(house, "a", "10300", PHONE, link=True)
    await sent(house, "b", "10310", SECOND, link=True)
    house.wait(minutes=5)

    (replaced,) = await told(speaking)
    assert replaced == (
        "Л/с 1000001: показание 10300 заменено другим: 10310.\n"
        "Если это не вы, передайте верное показание или позвоните нам."
    )


async def test_silence_and_the_recalculation_after_it_are_told_with_kwh_and_roubles(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    for period in ("2024-05", "2024-06"):
        house.at = over_at(Period(period))
        await house.do(HOME, ClosePeriod(Period(period), house.at))
    speaking.at("2024-07-20T12:00")
    await sent(house, "a", "10350", PHONE)
    house.at = over_at(Period("2024-07"))
    await house.do(HOME, ClosePeriod(Period("2024-07"), house.at))
    speaking.at("2024-08-01T12:00")
    texts = await told(speaking)

    kinds = await speaking.texts("kind", "period", "state")
    assert ("RECALCULATED", "2024-07", "SENT") in kinds
    assert ("MODE_CHANGED", "2024-07", "SENT") in kinds
    recalculated = next(text for text in texts if "перерасчёт" in text)
    assert "перерасчёт за май 2024 – июнь 2024: было 200 кВт·ч" in recalculated
    assert "стало 100 кВт·ч" in recalculated
    assert "в счёте за июль 2024" in recalculated
    changed = next(text for text in texts if "начисляем" in text)
    assert changed == "Л/с 1000001: с июля 2024 начисляем по показаниям, раньше по среднемесячному объёму."


async def test_news_older_than_the_choice_or_than_three_days_is_not_told(speaking: Speaking) -> None:
    house = speaking.house
    await sent(house, "a", "99000", STRANGER)
    house.wait(minutes=5)
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    assert await speaking.news() == 0

    await sent(house, "b", "98000", STRANGER)
    house.wait(days=4)
    assert await speaking.news() == 0


async def test_every_notice_fits_two_parts_of_an_sms(speaking: Speaking) -> None:
    await speaking.choose(HOME, Channel.SMS, PHONE)
    kinds = {
        "REJECTED": '{"reading": 1}',
        "SUPERSEDED": '{"reading": 1, "by": 2}',
        "RECALCULATED": '{"lines": [{"period": "2024-01", "kwh_before": 100000, "kwh_after": 200000, '
        '"before": "1234567.89", "after": "7654321.98"}]}',
        "MODE_CHANGED": '{"before": "NORMATIVE_INCREASED", "after": "AVERAGE"}',
    }
    for entry, (kind, data) in enumerate(kinds.items()):
        await speaking.pool.execute(
            "INSERT INTO notice VALUES ('1000001', $1, $2, '2024-05', $3, 'closing', $4)",
            100 + entry,
            kind,
            speaking.house.at,
            data,
        )
    await speaking.news()
    await speaking.send()
    speaking.at("2024-05-21T12:00")
    await speaking.send()

    assert len(speaking.gateways.sms) == len(kinds)
    assert max(len(sms.text) for sms in speaking.gateways.sms) <= SMS_LENGTH_MAX


async def test_a_notice_waits_while_its_view_is_told_again(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    await sent(house, "a", "99000", STRANGER)
    house.wait(minutes=5)
    await speaking.news()
    async with speaking.pool.acquire() as db:
        await db.execute("CREATE TABLE before AS TABLE notice")
        await db.execute("DELETE FROM notice")
        await speaking.send()
        assert await speaking.texts("state", "attempts") == [("PLANNED", 0)]
        await db.execute("INSERT INTO notice TABLE before")
    house.wait(minutes=11)

    assert len(await told(speaking)) == 1


async def test_a_decision_about_a_held_reading_by_rollover_is_told_too(speaking: Speaking) -> None:
    house = speaking.house
    await speaking.choose(HOME, Channel.EMAIL, EMAIL)
    held = await sent(house, "a", "50", PHONE)
    assert held is not None
    await house.do(HOME, ConfirmReading(held, house.at, Role.OPERATOR, meaning=Meaning.ROLLOVER))
    house.wait(minutes=5)

    (text,) = await told(speaking)
    assert text == "Л/с 1000001: показание 50 проверено и учтено за май 2024."
