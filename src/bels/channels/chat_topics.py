"""What a chat may ask for beside readings: the last bill as a document, reminders on and off."""

from __future__ import annotations

import asyncio

from bels.access.personal import PersonalDataError
from bels.access.tenures import find_tenure
from bels.access.vault import KeyDestroyed
from bels.channels.chat import LastBill
from bels.outgoing.choices import CHOSEN, LINKED_ONLY, ChoiceError, choose, stop
from bels.outgoing.outbox import send_text_to_household
from bels.printing.bill_pdf import bill_pdf
from bels.projections import bills
from bels.reception.codes import CODE_DIGEST, LIVES, Send, send_code
from bels.reception.counter import Counter
from bels.reception.dialogue.desk import Desk, Topic, desk_of
from bels.reception.dialogue.say import Say
from bels.reception.dialogue.turns import Line, Part, PartKind, Talk
from bels.reception.office import Office

PRINTED_AT_ONCE_MAX = 2
"""Bills under print for chats in one process; the others wait."""

KEY_LENGTH = 40
"""Hexadecimal characters of a text's key that follow from it."""

REMINDED = "Напомним здесь, когда пора передать показания, и напишем, что с ними стало."
NOT_REMINDED = "Больше не напоминаем в этом чате. Ответы на ваши сообщения будут приходить."
NOWHERE_REMINDED = "В этом чате мы и не напоминали."
CODE_ON_ITS_WAY = (
    "Если у этого лицевого счёта указан телефон, на него придёт SMS с кодом. Отправьте код сюда: КОД и 8 знаков."
)
NO_MORE_CODES = "Сегодня кодов больше не отправим. Код можно взять в личном кабинете."
CANNOT = "Включить напоминания не удалось, обратитесь в офис."


def last_bill(counter: Counter) -> LastBill:
    """Give what prints the last bill that the household of now sees; name and address do not stand on it."""
    printing = asyncio.Semaphore(PRINTED_AT_ONCE_MAX)

    async def printed(account: str) -> tuple[str, bytes] | None:
        rulebook = await counter.intake.rules()
        async with counter.pool.acquire() as db:
            period = await bills.last_period(db, account)
            tenure = await find_tenure(db, account)
            if period is None or period < tenure.period:
                return None
            bill = await bills.find(db, account, period, rulebook)
        if bill is None:
            return None
        seen = bills.seen_from(bill, tenure.entry, tenure.period) if tenure.period else bill
        async with printing:
            content = await asyncio.to_thread(bill_pdf, seen, rulebook.requisites, None)
        return f"{account}-{period}.pdf", content

    return printed


def reminder_topics(counter: Counter) -> tuple[Topic, ...]:
    """Give the topics by which a linked chat turns its reminders on and off."""

    async def on(talk: Talk, account: str) -> tuple[Line, ...]:
        if talk.channel not in LINKED_ONLY or not talk.address:
            return _note(CANNOT)
        async with counter.pool.acquire() as db:
            tenure = (await find_tenure(db, account)).number
            try:
                await choose(
                    db,
                    counter.door.vault,
                    account,
                    tenure,
                    talk.channel,
                    talk.address,
                    CHOSEN,
                    talk.sender.actor,
                    counter.now(),
                )
            except (ChoiceError, PersonalDataError, KeyDestroyed):
                return _note(CANNOT)
        return _note(REMINDED)

    async def off(talk: Talk, account: str) -> tuple[Line, ...]:
        async with counter.pool.acquire() as db:
            tenure = (await find_tenure(db, account)).number
            stopped = await stop(db, account, tenure, talk.channel)
        return _note(NOT_REMINDED if stopped else NOWHERE_REMINDED)

    return (
        Topic("remind", "r+", _label("Напоминать здесь"), on, words=("напоминать", "напоминания")),
        Topic("remind_not", "r-", _label("Не напоминать"), off, words=("не напоминать",)),
    )


def code_topic(counter: Counter, send: Send) -> Topic:
    """Give the topic by which a chat that is not linked lets a code be sent to the phone that the household gave.

    Whether there is such a phone is nobody's business, so everybody hears the same.
    """

    async def ask_for(talk: Talk, account: str) -> tuple[Line, ...]:
        may = await send_code(counter, account, talk.sender, send)
        return _note(CODE_ON_ITS_WAY if may else NO_MORE_CODES)

    words = ("код по sms", "код по смс")
    return Topic("code_sms", "r!", _label("Код привязки по SMS"), ask_for, linked=False, words=words)


def code_by_sms(counter: Counter) -> Send:
    """Give what puts a code on its way to the phone that the household gave, as long as the code lives."""

    async def send(account: str, text: str) -> bool:
        vault, now = counter.door.vault, counter.now()
        # Asked for twice at once these are two codes, and two texts.
        key = f"code/{(await vault.digest(CODE_DIGEST, text)).hex()[:KEY_LENGTH]}"
        return await send_text_to_household(counter.pool, vault, account, text, key, now=now, until=now + LIVES)

    return send


def chat_desk(counter: Counter, office: Office, *, sms: bool) -> Desk:
    """Put together what a chat may ask for: hours, outages and contacts, reminders, a code; ``sms``: bels can send SMS."""
    codes = (code_topic(counter, code_by_sms(counter)),) if sms else ()
    return desk_of(counter, office, (*reminder_topics(counter), *codes))


def _label(text: str) -> Line:
    return Line(Say.NOTE, {"text": Part(PartKind.TEXT, text)})


def _note(text: str) -> tuple[Line, ...]:
    return (_label(text),)
