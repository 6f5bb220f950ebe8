"""The cases that a partner must have lived through before it meets real accounts, and how each is recognised in what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bels.domain.events import ReadingAccepted, ReadingConfirmed, ReadingHeld, ReadingRefused
from bels.domain.money_events import PaymentReceived, PaymentReversed
from bels.domain.periods import moscow_date, period_of
from bels.domain.terms import Money, Reason
from bels.payments.partners import Partner
from bels.payments.quote import quote
from bels.payments.sandbox import Case, CaseState, Evidence, Fault
from bels.sandbox.facts import Deed, Facts
from bels.sandbox.requests import REGISTER, RequestRow

EVIDENCE_MAX = 3
"""Pieces of evidence that are shown of a case."""

PREVIEWS = ("payableAccount", "osmp:check", "eps:check")
STATUSES = ("partnerPayment", "payment", "osmp:status", "osmp:getinfo", "eps:status")

REUSED = frozenset(("MESSAGE_ID_REUSED", "IDEMPOTENCY_KEY_REUSED", "PAYMENT_ID_REUSED"))
_LAST_DAY = 31
_DONE = 200

Seen = Iterable[Evidence]
"""What shows that a case was passed; nothing: it was not."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A case of the checklist: what is expected, what to try, how it is recognised, and how it is seen to be done wrong."""

    id: str
    title: str
    expected: str
    hint: str
    look: Callable[[Facts], Seen]
    wrong: Callable[[Facts], Seen] | None = None


def judge(facts: Facts) -> tuple[Case, ...]:
    """Say where each case stands; a case is passed by evidence alone, and what was done wrong before can be done right after."""
    return tuple(_judged(rule, facts) for rule in RULES)


def _judged(rule: Rule, facts: Facts) -> Case:
    evidence = tuple(rule.look(facts))
    state = CaseState.PASSED if evidence else CaseState.OPEN
    if not evidence and rule.wrong is not None:
        evidence = tuple(rule.wrong(facts))
        state = CaseState.FAILED if evidence else state
    return Case(rule.id, rule.title, rule.expected, state, evidence[:EVIDENCE_MAX], rule.hint)


def _request(request: RequestRow) -> Evidence:
    return Evidence(request.began_at, None, request.payment_id)


def _previewed(facts: Facts) -> Seen:
    shown: dict[str | None, datetime] = {}
    for request in facts.requests:
        if request.names(*PREVIEWS) and request.is_answered:
            shown.setdefault(request.account, request.ended_at)
    for deed in facts.payments:
        at = shown.get(_account(deed))
        if at is not None and at <= deed.outcome.recorded_at:
            yield deed.evidence


def _account(deed: Deed) -> str:
    payment = deed.payment
    return (payment.meant_for if payment is not None else None) or deed.outcome.account


def _with_reading(kind: type[object]) -> Callable[[Facts], Seen]:
    def look(facts: Facts) -> Seen:
        return (payment.evidence for payment, reading in facts.with_reading() if isinstance(reading.event, kind))

    return look


def _mended(facts: Facts) -> Seen:
    held: set[str] = set()
    for deed in facts.deeds:
        if isinstance(deed.event, ReadingHeld):
            held.add(deed.outcome.account)
        elif isinstance(deed.event, ReadingAccepted | ReadingConfirmed) and deed.outcome.account in held:
            yield deed.evidence


def _unknown(facts: Facts) -> Seen:
    for deed in facts.deeds:
        payment = deed.payment
        unallocated = payment.unallocated if payment is not None else None
        if Reason.UNKNOWN_ACCOUNT in (unallocated, deed.refusal):
            yield deed.evidence
    yield from _coded(facts, {"osmp": "5", "eps": "3"})


def _coded(facts: Facts, codes: dict[str, str]) -> Seen:
    for request in facts.requests:
        protocol = request.operations[0].partition(":")[0] if request.operations else ""
        if protocol in codes and request.code == codes[protocol] and request.is_answered:
            yield _request(request)


def _repeated_after(fault: Fault) -> Callable[[Facts], Seen]:
    """See a payment that the fault hit repeated under its id until it was answered, and booked once."""

    def look(facts: Facts) -> Seen:
        for payment_id, sent in facts.pays.items():
            hit = next((i for i, request in enumerate(sent) if request.fault == fault), None)
            booked = facts.booked(payment_id)
            if hit is None or booked is None:
                continue
            again = sent[hit + 1 :]
            if any(r.is_answered and r.fault != fault and r.content == sent[hit].content for r in again):
                yield booked.evidence

    return look


def _paid_anew_after(fault: Fault) -> Callable[[Facts], Seen]:
    """See a payment that the fault hit sent under another id, as if it were another payment."""

    def look(facts: Facts) -> Seen:
        last = {sent[-1].account: sent[-1] for sent in facts.pays.values()}
        for sent in facts.pays.values():
            anew = last[sent[-1].account]
            if sent[-1].fault == fault and anew.number > sent[-1].number:
                yield _request(anew)

    return look


def _other_content(facts: Facts) -> Seen:
    for payment_id, sent in facts.pays.items():
        for request in sent[1:]:
            is_refused = request.code in REUSED or (request.code == "300" and request.names("osmp:pay"))
            if is_refused and request.content != sent[0].content and facts.booked(payment_id) is not None:
                yield _request(request)


def _concurrent(facts: Facts) -> Seen:
    for payment_id, sent in facts.pays.items():
        booked = facts.booked(payment_id)
        until: dict[bytes, datetime] = {}
        for request in sorted(sent, key=lambda each: each.began_at):
            before = until.get(request.content)
            if booked is not None and before is not None and request.began_at < before:
                yield booked.evidence
                break
            until[request.content] = max(before or request.ended_at, request.ended_at)


def _cancelled(facts: Facts) -> Seen:
    return (deed.evidence for deed in facts.deeds if isinstance(deed.event, PaymentReversed))


def _refused_as(*reasons: Reason) -> Callable[[Facts], Seen]:
    def look(facts: Facts) -> Seen:
        return (deed.evidence for deed in facts.deeds if deed.refusal in reasons)

    return look


def _limited(facts: Facts) -> Seen:
    yield from _refused_as(Reason.AMOUNT_TOO_SMALL, Reason.AMOUNT_TOO_LARGE)(facts)
    for small, large in (("241", "10"), ("242", "11")):
        yield from _coded(facts, {"osmp": small, "eps": large})
    for request in facts.requests:
        if request.code in (Reason.AMOUNT_TOO_SMALL, Reason.AMOUNT_TOO_LARGE) and request.is_answered:
            yield _request(request)


def _asked_status(facts: Facts) -> Seen:
    for request in facts.requests:
        booked = facts.booked(request.payment_id)
        if booked is not None and request.names(*STATUSES) and request.is_answered:
            yield booked.evidence


def _refunded(facts: Facts) -> Seen:
    return (told.evidence for told in facts.refunds)


def _over_deadline(facts: Facts) -> Seen:
    for deed in facts.deeds:
        event = deed.event
        if isinstance(event, ReadingAccepted | ReadingHeld) and event.period != period_of(event.received_at, _LAST_DAY):
            yield deed.evidence


def _commission(facts: Facts) -> Seen:
    for deed in facts.payments:
        payment = deed.payment
        if payment is not None and payment.commission and payment.commission in _quoted(facts.partner, payment):
            yield deed.evidence


def _quoted(partner: Partner, payment: PaymentReceived) -> set[Money]:
    methods = {None, *(row.method for row in partner.commissions)}
    return {quote(partner, payment.amount, payment.paid_on, method).commission for method in methods}


def _answered_after(fault: Fault) -> Callable[[Facts], Seen]:
    def look(facts: Facts) -> Seen:
        for payment_id, sent in facts.pays.items():
            booked = facts.booked(payment_id)
            if booked is not None and any(r.fault == fault and r.is_answered and r.status == _DONE for r in sent):
                yield booked.evidence

    return look


def _register_taken(facts: Facts) -> Seen:
    return (told.evidence for told in facts.registers if told.what in ("TAKEN", "MATCHED"))


def _register_matched(facts: Facts) -> Seen:
    return (told.evidence for told in facts.registers if told.what == "MATCHED")


def _register_put_right(facts: Facts) -> Seen:
    """See a register whose totals were wrong, and one after it whose were right."""
    wrong = next((i for i, told in enumerate(facts.registers) if told.what == "QUARANTINED"), None)
    if wrong is None or next(iter(_register_again(facts)), None) is not None:
        return
    yield from (told.evidence for told in facts.registers[wrong + 1 :] if told.what in ("TAKEN", "MATCHED"))


def _register_again(facts: Facts) -> Seen:
    """See a file sent again as it was."""
    sent: set[bytes] = set()
    for request in facts.requests:
        if request.names(REGISTER) and request.is_answered:
            if request.content in sent:
                yield _request(request)
            sent.add(request.content)


def _webhook(*kinds: str) -> Callable[[Facts], Seen]:
    def look(facts: Facts) -> Seen:
        return (told.evidence for told in facts.webhooks if told.what in kinds)

    return look


RULES: tuple[Rule, ...] = (
    Rule(
        "PREVIEW_BEFORE_PAYMENT",
        "Просмотр перед платежом",
        "До платежа плательщику показано, чей это счёт, сколько нужно заплатить и какая комиссия.",
        "Спросите payableAccount (в ОСМП и ЕПС — check) и затем заплатите за тот же счёт.",
        _previewed,
    ),
    Rule(
        "PAID_WITH_READING",
        "Платёж с показанием",
        "Деньги и показание приняты одной операцией под одним номером.",
        "Заплатите за счёт ZERO или DUE_TODAY с показанием чуть больше прежнего.",
        _with_reading(ReadingAccepted),
    ),
    Rule(
        "READING_HELD",
        "Показание задержано, деньги приняты",
        "Сомнительное показание не мешает платежу: плательщику сказано, что его надо подтвердить.",
        "Заплатите за счёт DEBT с показанием, которое меньше прежнего или намного больше.",
        _with_reading(ReadingHeld),
    ),
    Rule(
        "READING_MENDED",
        "Задержанное показание исправлено",
        "После задержки показание подтверждено или прислано верное.",
        "После READING_HELD подтвердите показание (confirmReading) или пришлите верное.",
        _mended,
    ),
    Rule(
        "READING_REFUSED",
        "Показание отклонено, деньги приняты",
        "Непригодное показание отклонено с причиной, платёж принят.",
        "Заплатите за счёт NO_METER с показанием.",
        _with_reading(ReadingRefused),
    ),
    Rule(
        "UNKNOWN_ACCOUNT",
        "Неизвестный счёт",
        "Ответ о неизвестном счёте понят: платёж не повторяется под новыми номерами.",
        "Заплатите за счёт UNKNOWN.",
        _unknown,
    ),
    Rule(
        "REPEAT_AFTER_LOST_ANSWER",
        "Повтор после потерянного ответа",
        "Когда ответа нет, тот же платёж повторён под тем же номером; получена первая квитанция, проводка одна.",
        "Попросите failNext(LOST_ANSWER), заплатите и повторите тот же запрос.",
        _repeated_after(Fault.LOST_ANSWER),
        _paid_anew_after(Fault.LOST_ANSWER),
    ),
    Rule(
        "OTHER_CONTENT_REFUSED",
        "Тот же номер с другим содержанием",
        "Другой платёж под использованным номером отклонён, проводка одна.",
        "Повторите прошлый платёж под тем же номером с другой суммой.",
        _other_content,
    ),
    Rule(
        "REPEAT_AFTER_TEMPORARY_FAILURE",
        "Повтор после временной ошибки",
        "После временной ошибки тот же запрос повторён под тем же номером до успеха.",
        "Попросите failNext(TRY_LATER), заплатите и повторяйте до успеха.",
        _repeated_after(Fault.TRY_LATER),
        _paid_anew_after(Fault.TRY_LATER),
    ),
    Rule(
        "REPEAT_AFTER_PROXY_ERROR",
        "Повтор после ошибки 502",
        "После ошибки посредника тот же запрос повторён под тем же номером.",
        "Попросите failNext(SERVER_ERROR), заплатите и повторите тот же запрос.",
        _repeated_after(Fault.SERVER_ERROR),
        _paid_anew_after(Fault.SERVER_ERROR),
    ),
    Rule(
        "SLOW_ANSWER",
        "Медленный ответ",
        "Медленного ответа дождались, проводка одна.",
        "Попросите failNext(SLOW, waitS: 5) и заплатите.",
        _answered_after(Fault.SLOW),
    ),
    Rule(
        "CONCURRENT_REPEATS",
        "Одновременные повторы",
        "Один и тот же платёж, присланный одновременно, проведён один раз.",
        "Пришлите один запрос двумя соединениями сразу; с failNext(SLOW) они встретятся наверняка.",
        _concurrent,
    ),
    Rule(
        "STATUS_BY_ID",
        "Состояние по номеру",
        "Состояние своего платежа узнано по своему номеру.",
        "Спросите partnerPayment(paymentId) о проведённом платеже.",
        _asked_status,
    ),
    Rule(
        "CANCELLED_WITHIN_DAY",
        "Отмена в тот же день",
        "Ошибочный платёж отменён в день оплаты.",
        "Заплатите и отмените этот платёж (cancelPayment, в ОСМП — cancel).",
        _cancelled,
    ),
    Rule(
        "CANCELLED_TOO_LATE",
        "Отмена на другой день",
        "Отмена на другой день отклонена, и это понято.",
        "Заплатите, переведите часы (NEXT_DAY) и попробуйте отменить.",
        _refused_as(Reason.CANCELLED_TOO_LATE),
    ),
    Rule(
        "REFUND_REQUESTED",
        "Возврат по заявлению",
        "После дня оплаты о возврате подано заявление.",
        "Попросите requestRefund о проведённом платеже.",
        _refunded,
    ),
    Rule(
        "OVER_THE_25TH",
        "Показание после 25-го",
        "Показание, присланное после 25-го, относится к следующему месяцу.",
        "Переведите часы (DEADLINE_25) и пришлите показание.",
        _over_deadline,
    ),
    Rule(
        "LIMITS",
        "Пределы суммы",
        "Сумма вне пределов договора отклонена, и это понято.",
        "Заплатите меньше наименьшей суммы договора.",
        _limited,
    ),
    Rule(
        "COMMISSION_AS_SHOWN",
        "Комиссия как показана",
        "С плательщика взята та комиссия, которую назвал договор.",
        "Заплатите с комиссией, которую назвал просмотр.",
        _commission,
    ),
    Rule(
        "REGISTER_TAKEN",
        "Реестр принят",
        "Реестр платежей за день принят: его итоги сходятся со строками.",
        "Загрузите реестр за день.",
        _register_taken,
    ),
    Rule(
        "REGISTER_RECONCILED",
        "Реестр сошёлся с платежами",
        "Каждая строка реестра нашла свой платёж, ни одна не проведена второй раз.",
        "Загрузите реестр с платежами, проведёнными онлайн, под теми же номерами.",
        _register_matched,
    ),
    Rule(
        "REGISTER_PUT_RIGHT",
        "Реестр с неверными итогами исправлен",
        "Задержанный реестр исправлен, а не послан снова таким же.",
        "Загрузите реестр с неверной суммой, затем исправленный.",
        _register_put_right,
        _register_again,
    ),
    Rule(
        "WEBHOOK_RECEIVED",
        "Вебхук получен",
        "Событие получено, подпись проверена, ответ 2xx.",
        "Подпишитесь на события и проведите платёж.",
        _webhook("ONCE", "TWICE"),
    ),
    Rule(
        "WEBHOOK_TWICE",
        "Вебхук получен дважды",
        "Повторное событие узнано по номеру и подтверждено.",
        "Попросите повторить события или failNext(DUPLICATE_WEBHOOK) и проведите платёж.",
        _webhook("TWICE"),
    ),
)
"""The checklist, in the order in which it is best gone through."""


def summary(name: str, number: int, cases: Sequence[Case], at: datetime) -> str:
    """Sum up a run in Russian, for whoever signs the contract."""
    passed = [case for case in cases if case.state is CaseState.PASSED]
    lines = [
        f"Песочница bels. Партнёр: {name}. Прогон {number}. {moscow_date(at):%d.%m.%Y}.",
        f"Пройдено {len(passed)} из {len(cases)}.",
    ]
    for case in cases:
        mark = {CaseState.PASSED: "пройден", CaseState.OPEN: "не пройден", CaseState.FAILED: "ошибка"}[case.state]
        shown = ", ".join(e.receipt or e.payment_id or f"{e.at:%d.%m.%Y %H:%M:%S}" for e in case.evidence)
        lines.append(f"{case.id}: {mark}" + (f" ({shown})" if shown else ""))
    return "\n".join(lines)
