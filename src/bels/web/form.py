"""The form for readings without a login: an account and its meter, the values, what was understood, a receipt.

Whoever fills it in is a stranger. It must know two numbers that stand on one bill, hears nothing of the account but the names of
the registers, and changes nothing that others sent. Unknown account, another meter, an account without one: all are told alike,
after the same time, and slow down whoever tries. What the steps settled travels in a signed draft, whose id names the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from re import compile as pattern
from unicodedata import normalize

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bels.access.cabinets import ANSWER_S
from bels.access.desk import Desk, tried
from bels.access.quota import spend
from bels.access.tenures import is_account
from bels.access.throttle import place_of
from bels.domain.commands import Claim, ConfirmReading, SubmitReading
from bels.domain.events import ReadingRefused
from bels.domain.periods import moscow_date
from bels.domain.terms import Channel, EntryNumber, Reason, Role
from bels.journal.journal import find_messages
from bels.observing.request import request_id_of
from bels.projections import overview
from bels.reception.counter import STRANGERS_A_DAY, Answer, Counter, Sender, ShownMeter, meter_of, receipt_state, take
from bels.web.drafts import BadDraft, Draft, opened, signed
from bels.web.pages import BadPost, Pages, address_of, answering
from bels.web.values import WARNINGS, errors_in, fields_of, hold_of, may_affirm, outcome_page, shown_values, values_in
from bels.words import refusal, state

PATH = "/readings"
RECEIPTS_PATH = "/receipts"

FORMS_A_DAY = 200
"""Readings from one address in a day: behind one may be a whole house, or a telephone network."""

STEPS_A_DAY = 100
"""Readings of one account that are read back in a day: to say what would come of one is work."""

METER_LENGTH_MAX = 40
NOBODY = Sender(Channel.WEB, "")
TRIED = "form"
RECEIPT_TRIED = "receipt"

_RECEIPT = pattern(r"[0-9A-Z]{8}")
_LAYOUT = pattern(r"[\s№#.-]+")
_LATIN = str.maketrans("авекмнорстух", "abekmhopctyx")
"""Letters that look alike on a meter, whichever keyboard they are typed on."""
_NOT_FOUND = "Такого сочетания лицевого счёта и счётчика нет: проверьте оба номера по квитанции"
_OVER = "Прошло больше 30 минут, или страница устарела."


def form_routes(counter: Counter, pages: Pages) -> list[Route]:
    """Give the routes of the form and of the page that tells what a receipt stands for."""
    form = _Form(counter, pages)
    return [
        Route(PATH, answering(pages, form.answer), methods=["GET", "POST"]),
        Route(RECEIPTS_PATH, answering(pages, form.receipts), methods=["GET", "POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Form:
    counter: Counter
    pages: Pages

    async def answer(self, request: Request, given: Mapping[str, str]) -> Response:
        """Answer one step of the form."""
        if request.method != "POST":
            return self._find_page({}, {})
        match given.get("step"):
            case "find":
                return await self._find(request, given)
            case "values":
                return await self._values(given)
            case "edit":
                return await self._edit(given)
            case "send":
                return await self._send(request, given)
            case "affirm":
                return await self._affirm(request, given)
            case _:
                raise BadPost(400, "NOT_UNDERSTOOD", "Форма отправлена в неизвестном виде.")

    async def receipts(self, request: Request, given: Mapping[str, str]) -> Response:
        """Tell what a receipt stands for; its values are told to nobody."""
        typed = given.get("number", "")[:METER_LENGTH_MAX]
        receipt = normalize("NFKC", _LAYOUT.sub("", typed)).upper()
        if request.method != "POST":
            return self._receipts_page("", 200)
        if not _RECEIPT.fullmatch(receipt):
            return self._receipts_page(typed, 422, error="В номере 8 знаков: цифры и латинские буквы")
        async with tried(_desk(self.counter), address_of(self.counter.door, request), (RECEIPT_TRIED, "")) as attempt:
            found = await receipt_state(self.counter, receipt)
            attempt.right = found is not None
        words = state(receipt, found)
        if found is None:
            return self._receipts_page(typed, 422, error=words.text)
        return self._receipts_page(receipt, 200, words=words)

    def _receipts_page(self, number: str, status: int, *, words: object = None, error: str = "") -> Response:
        errors = {"number": error} if error else {}
        title = "Что стало с показанием"
        return self.pages.page("receipts", status, title=title, number=number, words=words, errors=errors)

    def _find_page(self, given: Mapping[str, str], errors: Mapping[str, str], code: str = "") -> Response:
        typed = {name: given.get(name, "")[:METER_LENGTH_MAX] for name in ("account", "meter")}
        status = 422 if errors else 200
        return self.pages.page("form_find", status, code=code, title="Передать показание", given=typed, errors=errors)

    async def _find(self, request: Request, given: Mapping[str, str]) -> Response:
        account = "".join(normalize("NFKC", given.get("account", "")).split())
        number = given.get("meter", "").strip()
        errors = {}
        if not is_account(account):
            errors["account"] = "В номере лицевого счёта должно быть 7 цифр"
        if not 0 < len(number) <= METER_LENGTH_MAX or not _plain(number):
            errors["meter"] = "Введите номер счётчика"
        if errors:
            code = Reason.BAD_ACCOUNT if "account" in errors else Reason.BAD_METER
            return self._find_page(given, errors, code.value)
        meter = await self._proven(request, account, number, is_robot=bool(given.get("website")))
        if meter is None:
            return self._find_page(given, {"account": _NOT_FOUND}, "NOT_FOUND")
        refused = (await self.counter.intake.may_submit(account)).refusal
        if refused is not None:
            words = refusal(refused, meter.registers, account)
            title = "Показание не требуется" if meter.automatic else "Показание не принимается"
            return self._message(200, refused.value, title, words.text, words.hint)
        return await self._values_page(Draft("values", account, meter.number), meter, {}, {})

    async def _proven(self, request: Request, account: str, number: str, *, is_robot: bool) -> ShownMeter | None:
        """Give the meter of an account that somebody named with its number; why not is told neither by words nor by time.

        :raises TooManyAttempts: there were too many wrong ones.
        """
        loop = asyncio.get_running_loop()
        answered_at = loop.time() + ANSWER_S
        address = address_of(self.counter.door, request)
        async with tried(_desk(self.counter), address, (TRIED, account)) as attempt:
            async with self.counter.pool.acquire() as db:
                row = (await overview.find(db, [account])).get(account)
            known = row.meter.number if row is not None and row.meter is not None else ""
            is_right = compare_digest(_plain(known).encode(), _plain(number).encode()) and bool(_plain(known))
            attempt.right = is_right and not is_robot
        if attempt.right:
            return await meter_of(self.counter, account)
        await asyncio.sleep(answered_at - loop.time())
        return None

    async def _values(self, given: Mapping[str, str]) -> Response:
        draft, meter = await self._going_on(given, "values")
        if not await self._may_still("form steps", draft.account, STEPS_A_DAY):
            raise _too_many()
        values = values_in(meter, given)
        errors = errors_in(meter, values)
        command = SubmitReading(self.counter.now(), values, meter=draft.meter, claim=Claim(Channel.WEB))
        preview = await self.counter.intake.preview(draft.account, command)
        event = preview.events[0]
        code = event.reason.value if isinstance(event, ReadingRefused) else ""
        if errors:
            return await self._values_page(draft, meter, values, errors, code)
        if isinstance(event, ReadingRefused):
            words = refusal(event.reason, meter.registers, draft.account, detail=event.detail, capacity=event.capacity)
            return self._message(422, code, "Показание не принимается", words.text, words.hint)
        # That it would be held tells something of what others sent: no more often than sending itself would tell it.
        tells = await self._may_still("form warnings", draft.account, STRANGERS_A_DAY)
        reason = hold_of(preview.events) if tells else None
        sent = await signed(
            self.counter.door.vault, Draft("send", draft.account, draft.meter, values), self.counter.now()
        )
        shown = [("Лицевой счёт", draft.account), ("Счётчик", draft.meter), *shown_values(meter, values)]
        return self.pages.page(
            "form_confirm",
            title="Проверьте и отправьте",
            path=PATH,
            draft=sent,
            shown=shown,
            reason=reason.value if reason is not None else "",
            warning=WARNINGS[reason] if reason is not None else "",
            push=PATH,
        )

    async def _edit(self, given: Mapping[str, str]) -> Response:
        draft, meter = await self._going_on(given, "send")
        return await self._values_page(Draft("values", draft.account, draft.meter), meter, draft.values, {})

    async def _values_page(
        self, draft: Draft, meter: ShownMeter, values: Mapping[str, str], errors: Mapping[str, str], code: str = ""
    ) -> Response:
        return self.pages.page(
            "form_values",
            422 if errors else 200,
            code=code,
            title="Показания счётчика",
            about=f"Лицевой счёт {draft.account}, счётчик {meter.number}.",
            path=PATH,
            draft=await signed(
                self.counter.door.vault, Draft("values", draft.account, meter.number), self.counter.now()
            ),
            fields=fields_of(meter, values),
            errors=errors,
            push=None if errors else PATH,
        )

    async def _send(self, request: Request, given: Mapping[str, str]) -> Response:
        draft = await self._opened(given, "send")
        await self._may_send(request, draft)
        text = "#".join((draft.account, draft.meter, *(f"{name}={value}" for name, value in draft.values.items())))
        raw = self.counter.door.raw_texts.kept(text, *draft.values.values())
        command = SubmitReading(self.counter.now(), dict(draft.values), meter=draft.meter)
        request_id = request_id_of(request.scope)
        found = await take(self.counter, NOBODY, draft.id, draft.account, command, raw, request_id=request_id)
        return await self._done(found)

    async def _affirm(self, request: Request, given: Mapping[str, str]) -> Response:
        draft = await self._opened(given, "affirm")
        await self._may_send(request, draft)
        command = ConfirmReading(EntryNumber(draft.reading), self.counter.now(), Role.CONSUMER)
        raw = f"ДА {draft.receipt}"
        request_id = request_id_of(request.scope)
        return await self._done(
            await take(self.counter, NOBODY, draft.id, draft.account, command, raw, request_id=request_id)
        )

    async def _done(self, found: Answer) -> Response:
        outcome = found.outcome
        affirm = ""
        if may_affirm(outcome) and outcome.version is not None:
            draft = Draft("affirm", outcome.account, "", receipt=outcome.receipt, reading=outcome.version)
            affirm = await signed(self.counter.door.vault, draft, self.counter.now())
        return outcome_page(self.pages, found, PATH, affirm=affirm)

    async def _may_send(self, request: Request, draft: Draft) -> None:
        """Let a message through that came before, or is in time and one of not too many.

        :raises BadPost: it is not.
        """
        now = self.counter.now()
        async with self.counter.pool.acquire() as db:
            if await find_messages(db, [(Channel.WEB.value, draft.id)]):
                return
            if draft.is_over(now):
                raise BadPost(422, "OVER", f"{_OVER} Показание НЕ принято, начните сначала.")
        place = place_of(address_of(self.counter.door, request))
        if not await self._may_still("forms", place, FORMS_A_DAY, once=f"form/{draft.id}"):
            raise _too_many()

    async def _may_still(self, what: str, identity: str, limit: int, *, once: str = "") -> bool:
        async with self.counter.pool.acquire() as db:
            today = moscow_date(self.counter.now())
            return await spend(db, self.counter.door.vault, {(what, identity): limit}, today, once=once)

    async def _going_on(self, given: Mapping[str, str], step: str) -> tuple[Draft, ShownMeter]:
        draft = await self._opened(given, step)
        meter = await meter_of(self.counter, draft.account)
        if draft.is_over(self.counter.now()) or meter is None or meter.number != draft.meter:
            raise BadPost(422, "OVER", f"{_OVER} Начните сначала.")
        return draft, meter

    async def _opened(self, given: Mapping[str, str], step: str) -> Draft:
        try:
            return await opened(self.counter.door.vault, given.get("draft", ""), step)
        except BadDraft:
            raise BadPost(400, "NOT_UNDERSTOOD", "Форма изменена или устарела, начните сначала.") from None

    def _message(self, status: int, code: str, title: str, text: str, hint: str) -> Response:
        return self.pages.page("message", status, code=code, title=title, text=f"{text}.", hint=f"{hint}.")


def _too_many() -> BadPost:
    words = refusal(Reason.TOO_MANY_MESSAGES)
    return BadPost(429, Reason.TOO_MANY_MESSAGES.value, f"{words.text}. {words.hint}.")


def _desk(counter: Counter) -> Desk:
    door = counter.door
    return Desk(counter.pool, door.vault, door.passwords, door.throttle, door.tokens, counter.intake)


def _plain(number: str) -> str:
    """Read the number of a meter as people copy it: «№ 0110-70118» is 11070118, and a Russian «Е-1» is E-1."""
    shown = normalize("NFKC", number.replace("№", "")).casefold().translate(_LATIN)
    return "".join(c for c in shown if c.isalnum()).lstrip("0")
