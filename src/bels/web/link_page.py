"""The page of a one-task link: send the reading, look at the bill, confirm what is held; as it stands in reminders and letters.

To open the page changes nothing, since mail systems open links before people do. The task is carried out when somebody says so,
once; the same attempt again has the same answer, and one that was refused may be made again. Whoever has the link is of the
household, so it hears the previous values and the consumption, but for whatever was before the household moved in.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from re import compile as pattern

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.access import links
from bels.access.callers import Caller, Kind, rights_of
from bels.access.links import PAGE, LinkState, SeenLink
from bels.access.tenures import find_tenure
from bels.domain.accept_reading import meter_at, reading_period
from bels.domain.actual_readings import base_of
from bels.domain.commands import Command, ConfirmReading, SubmitReading
from bels.domain.events import ReadingAccepted, ReadingHeld, ReadingRefused
from bels.domain.periods import MOSCOW
from bels.domain.terms import Channel, EntryNumber, Kwh, Period, ReadingStatus, Register, Role
from bels.journal.journal import find_messages
from bels.messages import Message, Status, TryLater
from bels.observing.request import request_id_of
from bels.printing.bill_pdf import bill_pdf
from bels.printing.russian import money
from bels.projections import bills, ledger, receipts
from bels.projections.bills import Bill
from bels.projections.readings import ReadingRow
from bels.reception.counter import Answer, Counter, Sender, ShownMeter, answered, meter_of, take
from bels.web.pages import HEADERS, BadPost, Pages, address_of, answering
from bels.web.values import (
    WARNINGS,
    errors_in,
    fields_of,
    hold_of,
    name_of,
    outcome_page,
    shown_values,
    values_in,
)
from bels.words import HOTLINE, month, refusal

PRINTED_AT_ONCE_MAX = 2
"""Bills under print in one process; the others wait."""
WAITING_MAX = 50
"""Bills that wait for it; more are told to come again."""

INTERRUPTED = timedelta(minutes=1)
"""After so long an attempt that left no message has come to nothing, through a fault of ours."""

TRIED = "link"
ATTEMPT_BYTES = 16

_ATTEMPT = pattern(r"[A-Za-z0-9_-]{22}")
_ENDS = {
    LinkState.DONE: (
        "Ссылка уже использована",
        "По этой ссылке всё уже сделано, она действует один раз.",
        "Что стало с показанием, можно узнать по номеру из ответа. Новое показание передайте через форму на сайте.",
    ),
    LinkState.REVOKED: (
        "Ссылка больше не действует",
        "Эта ссылка отозвана.",
        f"Передайте показание через форму на сайте или позвоните: {HOTLINE}.",
    ),
    LinkState.OVER: (
        "Срок ссылки истёк",
        "Ссылка действует несколько дней, и они прошли.",
        f"Передайте показание через форму на сайте или позвоните: {HOTLINE}.",
    ),
}
_UNKNOWN = (
    "Такой ссылки нет",
    "Проверьте, вся ли ссылка скопирована: в письме она могла разорваться на две строки.",
    f"Показание можно передать через форму на сайте или по телефону: {HOTLINE}.",
)


def link_routes(counter: Counter, pages: Pages) -> list[Route]:
    """Give the routes of the page and of the bill that it shows."""
    page = _LinkPage(counter, pages, asyncio.Semaphore(PRINTED_AT_ONCE_MAX), [])
    path = PAGE + "{token}"
    return [
        Route(path, answering(pages, page.answer), methods=["GET", "POST"]),
        Route(path + "/bill.pdf", answering(pages, page.printed), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True)
class _LinkPage:
    counter: Counter
    pages: Pages
    printing: asyncio.Semaphore
    waiting: list[None]

    async def answer(self, request: Request, given: Mapping[str, str]) -> Response:
        """Show the page of a link, or do what was asked on it."""
        link = await self._seen(request)
        if link is None:
            return self._ended(404, "UNKNOWN", _UNKNOWN)
        attempt = given.get("attempt", "")
        is_again = link.state is LinkState.DONE and bool(attempt) and attempt == link.attempt
        if link.state is not LinkState.LIVING and not is_again:
            return self._ended(410, link.state.value, _ENDS[link.state])
        match link.task:
            case "reading":
                return await self._reading(request, link, given)
            case "bill":
                return await self._bill(request, link)
            case _:
                return await self._confirm(request, link, given)

    async def printed(self, request: Request, given: Mapping[str, str]) -> Response:
        """Print the last bill of a link that is for it; no name and no address stand on it."""
        link = await self._seen(request)
        if link is None or link.task != "bill" or link.state is not LinkState.LIVING:
            return self._ended(404, "UNKNOWN", _UNKNOWN)
        bill = await self._last_bill(link)
        if bill is None:
            return self._ended(404, "NO_BILL", ("Счёта ещё нет", "Первый счёт будет после закрытия месяца.", ""))
        if len(self.waiting) >= WAITING_MAX:
            raise BadPost(429, "RATE_LIMITED", "Слишком много счетов печатается сразу, повторите через минуту.")
        requisites = (await self.counter.intake.rules()).requisites
        self.waiting.append(None)
        try:
            async with self.printing:
                pdf = await asyncio.to_thread(bill_pdf, bill, requisites, None)
        finally:
            self.waiting.pop()
        headers = {
            **HEADERS,
            "content-disposition": f'inline; filename="{bill.period}.pdf"',
            "cache-control": "no-store",
        }
        return Response(pdf, media_type="application/pdf", headers=headers)

    async def _seen(self, request: Request) -> SeenLink | None:
        """Look at the link of a request; unknown ones are counted against whoever tries them."""
        token, address = request.path_params["token"], address_of(self.counter.door, request)
        async with self.counter.pool.acquire() as db:
            link = await links.peek(db, self.counter.door.vault, token, self.counter.now())
        if link is None:
            await self.counter.door.throttle.check(TRIED, "", address)
            await self.counter.door.throttle.failed(TRIED, "", address)
        elif await self._was_interrupted(link):
            await self._not_done(link, link.attempt)
            link = replace(link, state=LinkState.LIVING)
        return link

    async def _was_interrupted(self, link: SeenLink) -> bool:
        """Say whether an attempt began the task and never came to an end: its message is nowhere."""
        done_at, attempt = link.done_at, link.attempt
        if link.state is not LinkState.DONE or done_at is None or attempt is None:
            return False
        if self.counter.now() - done_at < INTERRUPTED or self.counter.now() >= link.expires_at:
            return False
        about = links.confirms(link)
        channel = about.channel if about is not None else Channel.WEB
        async with self.counter.pool.acquire() as db:
            return not await find_messages(db, [(channel.value, _caller(link).message_id(attempt))])

    def _ended(self, status: int, code: str, words: tuple[str, str, str]) -> Response:
        title, text, hint = words
        return self.pages.page("message", status, code=code, kept=False, title=title, text=text, hint=hint)

    # Send a reading.

    async def _reading(self, request: Request, link: SeenLink, given: Mapping[str, str]) -> Response:
        step = given.get("step", "")
        if step == "send":
            return await self._submit(request, link, given)
        meter = await meter_of(self.counter, link.account)
        refused = (await self.counter.intake.may_submit(link.account)).refusal
        if meter is None or refused is not None:
            words = refusal(refused, (), _masked(link.account)) if refused is not None else None
            text = words.text if words is not None else "Нет исправного счётчика"
            code = refused.value if refused is not None else ""
            return self._ended(200, code, ("Показание не требуется", f"{text}.", f"Вопросы: {HOTLINE}."))
        values = values_in(meter, given)
        if step == "values":
            return await self._weigh(request, link, meter, values)
        return await self._fields(request, link, meter, values, {})

    async def _fields(
        self,
        request: Request,
        link: SeenLink,
        meter: ShownMeter,
        values: Mapping[str, str],
        errors: Mapping[str, str],
        code: str = "",
    ) -> Response:
        return self.pages.page(
            "link_reading",
            422 if errors else 200,
            code=code,
            kept=bool(errors),
            title="Показания счётчика",
            path=request.url.path,
            account=_masked(link.account),
            meter=meter.number,
            until=_until(link),
            fields=fields_of(meter, values, await self._before(link)),
            errors=errors,
            focus=bool(values) and not errors,
        )

    async def _weigh(self, request: Request, link: SeenLink, meter: ShownMeter, values: Mapping[str, str]) -> Response:
        """Read the values back, with what they mean."""
        errors = errors_in(meter, values)
        command = SubmitReading(self.counter.now(), values, meter=meter.number)
        preview = await self.counter.intake.preview(link.account, command)
        event = preview.events[0]
        code = event.reason.value if isinstance(event, ReadingRefused) else ""
        if errors:
            return await self._fields(request, link, meter, values, errors, code)
        if isinstance(event, ReadingRefused):
            words = refusal(event.reason, meter.registers, _masked(link.account), detail=event.detail)
            return self._ended(422, code, ("Показание не принимается", f"{words.text}.", f"Вопросы: {HOTLINE}."))
        shown = shown_values(meter, values)
        if isinstance(event, ReadingAccepted | ReadingHeld) and await self._before(link) is not None:
            shown.append(("Расход", f"{sum(event.delta.values())} кВт·ч"))
        reason = hold_of(preview.events)
        return self.pages.page(
            "link_confirm",
            title="Проверьте и отправьте",
            path=request.url.path,
            account=_masked(link.account),
            attempt=secrets.token_urlsafe(ATTEMPT_BYTES),
            meter=meter.number,
            posted=[(each.id, each.value) for each in fields_of(meter, values)],
            shown=shown,
            reason=reason.value if reason is not None else "",
            warning=WARNINGS[reason] if reason is not None else "",
            push=request.url.path,
        )

    async def _submit(self, request: Request, link: SeenLink, given: Mapping[str, str]) -> Response:
        """Send the reading as GraphQL would for a caller with this link."""
        meter = await meter_of(self.counter, link.account)
        values = values_in(meter, given) if meter is not None else {}
        number = given.get("meter", "")
        command = SubmitReading(self.counter.now(), values, meter=number)
        text = "#".join((link.account, number, *(f"{name}={value}" for name, value in values.items())))
        found = await self._submitted(request, link, given, command, text)
        return outcome_page(self.pages, found, request.url.path)

    async def _before(self, link: SeenLink) -> Kwh | None:
        """Give what the registers showed last, as far as this household may know it."""
        now = self.counter.now()
        account = await self.counter.intake.account(link.account)
        meter = meter_at(account, now)
        if meter is None:
            return None
        period = reading_period(now, await self.counter.intake.rules())
        base = base_of(account, meter.entry, period, now)
        async with self.counter.pool.acquire() as db:
            tenure = await find_tenure(db, link.account)
        return base.values if base is not None and base.entry > tenure.entry else None

    # Look at the bill.

    async def _bill(self, request: Request, link: SeenLink) -> Response:
        bill = await self._last_bill(link)
        async with self.counter.pool.acquire() as db:
            balance = (await ledger.find(db, [link.account])).get(link.account)
        shown = []
        if bill is not None:
            shown += [
                ("Счёт за", month(Period(bill.period))),
                ("К оплате по счёту", money(bill.to_pay)),
                ("Оплатить до", f"{bill.due_on:%d.%m.%Y}"),
            ]
        if balance is not None:
            owes = balance.balance >= 0
            shown.append(("Долг сейчас" if owes else "Аванс сейчас", money(abs(balance.balance))))
            if balance.penalty > 0:
                shown.append(("Пени", money(balance.penalty)))
        return self.pages.page(
            "link_bill",
            kept=False,
            title="Счёт за электроэнергию",
            path=request.url.path,
            account=_masked(link.account),
            until=_until(link),
            shown=shown,
            is_there=bill is not None,
        )

    async def _last_bill(self, link: SeenLink) -> Bill | None:
        rulebook = await self.counter.intake.rules()
        async with self.counter.pool.acquire() as db:
            tenure = await find_tenure(db, link.account)
            period = await bills.last_period(db, link.account)
            if period is None or period < tenure.period:
                return None
            bill = await bills.find(db, link.account, period, rulebook)
        if bill is None or tenure.number == 1:
            return bill
        # Nothing of the household before is told.
        return bills.seen_from(bill, tenure.entry, tenure.period)

    # Confirm what is held.

    async def _confirm(self, request: Request, link: SeenLink, given: Mapping[str, str]) -> Response:
        about = links.confirms(link)
        async with self.counter.pool.acquire() as db:
            row = await receipts.find(db, about.receipt) if about is not None else None
        reading = row.reading if row is not None else None
        if about is None or row is None or reading is None or row.account != link.account:
            return self._ended(404, "UNKNOWN", _UNKNOWN)
        if request.method == "POST":
            sender = Sender(about.channel, about.sender)
            command = ConfirmReading(EntryNumber(reading.entry), self.counter.now(), Role.CONSUMER)
            found = await self._confirmed(request, link, given, sender, command, about.receipt)
            return outcome_page(self.pages, found, request.url.path)
        if reading.status != ReadingStatus.HELD:
            words = ("Подтверждать не нужно", "Это показание уже учтено, заменено или отклонено.", "")
            return self._ended(200, "NOT_HELD", words)
        return self.pages.page(
            "link_affirm",
            kept=False,
            title="Подтвердите показание",
            path=request.url.path,
            account=_masked(link.account),
            receipt=about.receipt,
            attempt=secrets.token_urlsafe(ATTEMPT_BYTES),
            shown=_held_values(reading),
            until=_until(link),
        )

    async def _confirmed(
        self,
        request: Request,
        link: SeenLink,
        given: Mapping[str, str],
        sender: Sender,
        command: ConfirmReading,
        receipt: str,
    ) -> Answer:
        """Confirm in the name of whoever got the letter: the address is proven by what was sent to it."""
        async with self._begun(request, link, given) as (name, request_id):
            found = await take(
                self.counter, sender, name, link.account, command, f"ДА {receipt}", request_id=request_id
            )
            if found.outcome.status is Status.REFUSED:
                await self._not_done(link, given["attempt"])
        return found

    # Of all tasks.

    async def _submitted(
        self, request: Request, link: SeenLink, given: Mapping[str, str], command: Command, text: str
    ) -> Answer:
        async with self._begun(request, link, given) as (name, request_id):
            caller = _caller(link)
            raw = self.counter.door.raw_texts.kept(text)
            message = Message(caller.channel, name, caller.actor, link.account, command, raw, request_id)
            outcome = await self.counter.intake.submit(message)
            if outcome.status not in (Status.ACCEPTED, Status.HELD):
                await self._not_done(link, given["attempt"])
        return answered(self.counter, outcome, linked=True)

    @asynccontextmanager
    async def _begun(
        self, request: Request, link: SeenLink, given: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, str]]:
        """Begin the task of a link, and give its message's name and its request; take that back where nothing is stored.

        :raises BadPost: another attempt was first.
        """
        attempt = given.get("attempt", "")
        if not _ATTEMPT.fullmatch(attempt):
            raise BadPost(400, "NOT_UNDERSTOOD", "Форма изменена или устарела, откройте ссылку ещё раз.")
        async with self.counter.pool.acquire() as db:
            token = request.path_params["token"]
            begun = await links.carry_out(db, self.counter.door.vault, token, attempt, self.counter.now())
        if not begun:
            raise BadPost(410, LinkState.DONE.value, _ENDS[LinkState.DONE][1])
        try:
            yield _caller(link).message_id(attempt), request_id_of(request.scope)
        except TryLater:
            # Nothing was stored. After any other fault nobody knows: the same attempt may come again, another one later.
            await self._not_done(link, attempt)
            raise

    async def _not_done(self, link: SeenLink, attempt: str | None) -> None:
        async with self.counter.pool.acquire() as db:
            await links.not_done(db, link.link, attempt)


def _caller(link: SeenLink) -> Caller:
    """Name the caller that GraphQL meets with this link."""
    rights = rights_of(Kind.LINK, (link.task,))
    return Caller(Kind.LINK, link.link, rights, Channel.WEB, f"link:{link.link}", session=link.link)


def _masked(account: str) -> str:
    """Give an account by its last four digits, as whoever looks over a shoulder may see it."""
    return f"•••{account[-4:]}"


def _until(link: SeenLink) -> str:
    return f"{link.expires_at.astimezone(MOSCOW):%d.%m.%Y %H:%M}"


def _held_values(reading: ReadingRow) -> list[tuple[str, str]]:
    return [(name_of("", Register(name)), f"{value} кВт·ч") for name, value in reading.values.items()]
