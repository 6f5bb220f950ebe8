"""Autopay (автоплатёж): what is due, by a bound card, on a day of the month or when there is a bill; told of the day before.

It pays what is due on the day of payment, with the commission at most the ceiling; above it nothing is paid, the autopay stops and
says why. A payment that did not go through is tried five times. Each try is an order of its own, and is begun only when MONETA
says that the one before took nothing: a lost answer never takes money twice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from bels.access import personal
from bels.access.people import new_id
from bels.access.personal import PersonalDataError, subject_of, tenure_of
from bels.access.vault import VaultError
from bels.domain.money import ZERO, is_amount, to_kopecks
from bels.domain.periods import MOSCOW, moscow_date
from bels.domain.terms import Channel, Money, Purpose, Word
from bels.journal.write import Db
from bels.outgoing.choices import ChoiceError, of_household
from bels.outgoing.moneta import CANCELED, MonetaApi, MonetaAway, MonetaRefused, Operation
from bels.outgoing.outbox import put_text
from bels.payments.cards.booking import Booked, Completed, Source, book
from bels.payments.cards.contract import METHOD, Cards
from bels.payments.cards.orders import (
    KINDS,
    Order,
    OrderRequest,
    OrderState,
    Started,
    find_order,
    move_order,
    start_order,
    token_of,
)
from bels.payments.cards.refusals import CardReason, CardRefused
from bels.payments.quote import quote
from bels.projections import ledger
from bels.reception.counter import database

AUTOPAY_LETTER = "a"
ATTEMPTS_MAX = 5
TRY_AGAIN = timedelta(hours=3)
LEASE = timedelta(minutes=10)
DAY_MAX = 28
BATCH = 200
AUTOPAYS_MAX = 20
"""Of one person, with those that have stopped, as shown."""

TEXT_KIND = "AUTOPAY"
PAYS_FROM = time(9)
"""In Moscow: nobody is charged in the night after the warning."""

logger = logging.getLogger(__name__)


class AutopayState(Word):
    """Whether it pays."""

    ACTIVE = "ACTIVE"
    STOPPED = "STOPPED"


class StopReason(Word):
    """Why an autopay has stopped."""

    ASKED = "ASKED"
    REPLACED = "REPLACED"
    CEILING = "CEILING"
    BINDING_REMOVED = "BINDING_REMOVED"
    ACCOUNT_LEFT = "ACCOUNT_LEFT"
    NOBODY_TO_WARN = "NOBODY_TO_WARN"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


TOLD: dict[StopReason, str] = {
    StopReason.CEILING: "сумма с комиссией {total} руб. больше вашего предела {ceiling} руб.",
    StopReason.FAILED: "банк пять раз отклонил оплату",
    StopReason.REFUSED: "достигнут предел платежей картой",
}
"""What a household is told of why it stopped."""


@dataclass(frozen=True, slots=True)
class Autopay:
    """An autopay: ``ceiling`` roubles with the commission, on ``day`` of the month or, where it is None, when there is a bill."""

    autopay: str
    person: str
    account: str
    binding: str
    ceiling: Money
    day: int | None
    state: AutopayState
    created_at: datetime
    stopped_at: datetime | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run did: households warned of a payment of tomorrow, payments made, autopays stopped."""

    warned: int
    paid: int
    stopped: int


@dataclass(frozen=True, slots=True)
class _Run:
    autopay: Autopay
    period: str
    attempts: int
    order_id: str | None


_COLUMNS = "autopay, person, account, binding, ceiling, day, state, created_at, stopped_at, why"


async def set_autopay(
    cards: Cards, person: str, account: str, binding: str, ceiling: Decimal, day: int | None
) -> Autopay | CardRefused:
    """Let an account pay itself by a bound card, in place of what was set for it before; the same again changes nothing.

    :raises TryLater: nothing was stored.
    """
    now = cards.now()
    if not is_amount(ceiling) or ceiling > cards.contract.limits_on(moscow_date(now)).operation:
        return CardRefused(CardReason.BAD_CEILING)
    if day is not None and not 1 <= day <= DAY_MAX:
        return CardRefused(CardReason.BAD_DAY)
    async with database(cards.till.counter) as db, db.transaction():
        kind = await _kind_of(db, person, binding)
        if kind is None:
            return CardRefused(CardReason.UNKNOWN_BINDING)
        if kind != KINDS[Purpose.ENERGY]:
            return CardRefused(CardReason.CARD_BINDING_OTHER_KIND)
        if await _where_to(cards, db, account) is None:
            return CardRefused(CardReason.NOBODY_TO_WARN)
        await db.execute("SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))", person, account)
        row = await db.fetchrow(
            f"SELECT {_COLUMNS} FROM card_autopay WHERE person = $1 AND account = $2 AND state = 'ACTIVE'",
            person,
            account,
        )
        if row is not None and (row["binding"], row["ceiling"], row["day"]) == (binding, to_kopecks(ceiling), day):
            return _autopay(row)
        if row is not None:
            await _stop(db, row["autopay"], StopReason.REPLACED, now)
        row = await db.fetchrow(
            f"""
            INSERT INTO card_autopay (autopay, person, account, binding, ceiling, day, state, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, 'ACTIVE', $7) RETURNING {_COLUMNS}
            """,
            new_id(AUTOPAY_LETTER),
            person,
            account,
            binding,
            to_kopecks(ceiling),
            day,
            now,
        )
        return _autopay(row)


async def stop_autopay(cards: Cards, person: str, autopay: str) -> Autopay | None:
    """Stop an autopay of a person, at any time; None where it has none of that name. What is stopped stays so.

    :raises TryLater: nothing was stored.
    """
    async with database(cards.till.counter) as db, db.transaction():
        await _stop(db, autopay, StopReason.ASKED, cards.now(), person)
        row = await db.fetchrow(
            f"SELECT {_COLUMNS} FROM card_autopay WHERE autopay = $1 AND person = $2", autopay, person
        )
    return _autopay(row) if row is not None else None


async def autopays_of(db: Db, person: str) -> list[Autopay]:
    """List the autopays of a person, the newest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM card_autopay WHERE person = $1 ORDER BY created_at DESC, autopay LIMIT $2",
        person,
        AUTOPAYS_MAX,
    )
    return [_autopay(row) for row in rows]


async def run_autopay(cards: Cards, api: MonetaApi) -> Ran:
    """Warn of the payments of tomorrow, and make those of today; call it every hour, it does each once.

    :raises TryLater: the database cannot be reached; what was done stays done.
    """
    stopped = await _stop_without_card(cards)
    warned, nobody = await _warn_all(cards)
    paid = 0
    if cards.now().astimezone(MOSCOW).time() >= PAYS_FROM:
        for run in await _claim(cards):
            did = await _pay(cards, api, run)
            paid += did is True
            stopped += isinstance(did, StopReason)
    return Ran(warned, paid, stopped + nobody)


async def _stop_without_card(cards: Cards) -> int:
    """Stop what has lost its card, or its person the account."""
    async with database(cards.till.counter) as db:
        tag = await db.execute(
            """
            UPDATE card_autopay a SET state = 'STOPPED', stopped_at = $1,
                why = CASE WHEN EXISTS (SELECT FROM membership m
                                        WHERE m.person = a.person AND m.account = a.account AND m.ended_at IS NULL)
                           THEN 'BINDING_REMOVED' ELSE 'ACCOUNT_LEFT' END
            WHERE state = 'ACTIVE'
              AND NOT (EXISTS (SELECT FROM card_binding b WHERE b.binding = a.binding AND b.removed_at IS NULL)
                       AND EXISTS (SELECT FROM membership m
                                   WHERE m.person = a.person AND m.account = a.account AND m.ended_at IS NULL))
            """,
            cards.now(),
        )
    return int(tag.rpartition(" ")[2])


async def _warn_all(cards: Cards) -> tuple[int, int]:
    """Tell of the payments of tomorrow; give how many households were told, and how many autopays stopped: nobody to tell."""
    now, today = cards.now(), moscow_date(cards.now())
    tomorrow, after, warned, nobody = today + timedelta(days=1), "", 0, 0
    while True:
        async with database(cards.till.counter) as db:
            # Of a month, from the day before its day on, unless it was set after that; by bill, of the newest that is open.
            rows = await db.fetch(
                f"""
                SELECT {_COLUMNS}, due.period FROM card_autopay a
                CROSS JOIN LATERAL (
                    SELECT CASE WHEN a.day IS NOT NULL THEN $3::text
                           ELSE (SELECT max(bill ->> 'period') FROM json_array_elements(b.owed) AS bills (bill)) END AS period
                    FROM balance b WHERE b.account = a.account AND b.balance > 0) AS due
                WHERE a.state = 'ACTIVE' AND a.autopay > $1 AND due.period IS NOT NULL
                  AND (a.day IS NULL OR (a.day <= $4 AND a.created_at < $5::timestamptz + (a.day - 1) * interval '1 day'))
                  AND NOT EXISTS (SELECT FROM card_autopay_run r WHERE r.autopay = a.autopay AND r.period = due.period)
                ORDER BY a.autopay LIMIT $2
                """,
                after,
                BATCH,
                f"{tomorrow:%Y-%m}",
                tomorrow.day,
                datetime.combine(tomorrow.replace(day=1), time(), MOSCOW),
            )
        for row in rows:
            autopay = _autopay(row)
            if await _warn(cards, autopay, row["period"], tomorrow, now):
                warned += 1
            else:
                nobody += 1
        if len(rows) < BATCH:
            return warned, nobody
        after = rows[-1]["autopay"]


async def _warn(cards: Cards, autopay: Autopay, period: str, pay_on: date, now: datetime) -> bool:
    async with database(cards.till.counter) as db, db.transaction():
        due = await _due(db, autopay.account)
        total = quote(cards.contract.partner, due, pay_on, METHOD).total if due > 0 else due
        text = (
            f"Завтра, {pay_on:%d.%m.%Y}, автоплатёж за электроэнергию, лицевой счёт {autopay.account}: сейчас к оплате "
            f"{total:.2f} руб. с комиссией, не больше {autopay.ceiling:.2f} руб. Отключить можно в личном кабинете."
        )
        if not await _tell(cards, db, autopay, text, f"warn/{period}"):
            await _stop(db, autopay.autopay, StopReason.NOBODY_TO_WARN, now)
            return False
        await db.execute(
            """
            INSERT INTO card_autopay_run (autopay, period, state, warned_at, pay_on, next_at)
            VALUES ($1, $2, 'WARNED', $3, $4, $5) ON CONFLICT DO NOTHING
            """,
            autopay.autopay,
            period,
            now,
            pay_on,
            datetime.combine(pay_on, PAYS_FROM, MOSCOW),
        )
    return True


async def _pay(cards: Cards, api: MonetaApi, run: _Run) -> bool | StopReason:
    """Make a payment that was warned of: True where it is made, else whether and why the autopay stops."""
    try:
        settled = await _settle(cards, api, run)
    except (MonetaAway, MonetaRefused) as error:
        await _again(cards, run, run.order_id, str(error), counts=False)
        return False
    if settled is not None:
        return settled
    if run.autopay.state is not AutopayState.ACTIVE:
        await _finish(cards, run, "STOPPED")
        return False
    if run.attempts > ATTEMPTS_MAX:
        return await _give_up(cards, run, StopReason.FAILED, ZERO)
    async with database(cards.till.counter) as db:
        due = await _due(db, run.autopay.account)
        to = await _where_to(cards, db, run.autopay.account)
    if due <= 0:
        await _finish(cards, run, "NOTHING_DUE")
        return False
    told = quote(cards.contract.partner, due, moscow_date(cards.now()), METHOD)
    if told.total > run.autopay.ceiling:
        return await _give_up(cards, run, StopReason.CEILING, told.total)
    started = await start_order(
        cards,
        OrderRequest(
            run.autopay.person,
            order_key(run.autopay.autopay, run.period, run.attempts),
            run.autopay.account,
            told.amount,
            told.commission,
            person=run.autopay.person,
            contact=to[1] if to is not None and to[0] in (Channel.SMS, Channel.EMAIL) else None,
            binding=run.autopay.binding,
        ),
    )
    if isinstance(started, CardRefused):
        logger.warning("an autopay is refused: %s", started.reason.value)
        return await _give_up(cards, run, StopReason.REFUSED, told.total)
    return await _charge(cards, api, run, started)


def order_key(autopay: str, period: str, attempt: int) -> str:
    """Name the order of one try.

    Words stand between the numbers, which in a row with the last digits of an id may pass for a card's number.
    """
    return f"autopay/{autopay}/of/{period}/try/{attempt}"


async def _settle(cards: Cards, api: MonetaApi, run: _Run) -> bool | None:
    """Say what became of the try before: True where it was paid, False where that is not known yet, None where nothing was taken.

    :raises MonetaAway: MONETA does not answer.
    """
    if run.order_id is None:
        return None
    async with database(cards.till.counter) as db:
        order = await find_order(db, run.order_id)
    if order is None or order.state is OrderState.FAILED:
        return None
    if order.state in (OrderState.PAID, OrderState.REFUNDED):
        await _finish(cards, run, "PAID")
        return True
    found = await api.find(order.order_id, order.created_at - LEASE, cards.now() + LEASE)
    found = [each for each in found if not each.is_return and not each.is_out]
    done = next((each for each in found if each.is_done), None)
    if done is not None:
        return await _booked(cards, run, done)
    if any(each.status != CANCELED for each in found):
        await _again(cards, run, order.order_id, "IN_PROGRESS", counts=False)
        return False
    async with database(cards.till.counter) as db:
        await move_order(db, order.order_id, OrderState.FAILED, cards.now(), failure="NOT_TAKEN")
    return None


async def _charge(cards: Cards, api: MonetaApi, run: _Run, started: Started) -> bool:
    order = started.order
    async with database(cards.till.counter) as db:
        # Noted before the call: whoever comes after a crash looks at MONETA first.
        await db.execute(
            "UPDATE card_autopay_run SET order_id = $3 WHERE autopay = $1 AND period = $2",
            run.autopay.autopay,
            run.period,
            order.order_id,
        )
        token = await token_of(cards, db, order)
    if token is None:
        await _again(cards, run, order.order_id, "NO_TOKEN")
        return False
    if started.is_repeat:
        # Somebody has begun this very try before: what became of it is asked first, at the next turn.
        await _again(cards, run, order.order_id, "REPEAT")
        return False
    description = f"{cards.contract.item}, лицевой счёт {order.account}, автоплатёж"
    try:
        operation = await api.pay_by_token(token, order.total, order.order_id, description)
    except MonetaRefused as refused:
        await _failed(cards, run, order, str(refused))
        return False
    except MonetaAway as away:
        await _again(cards, run, order.order_id, str(away))
        return False
    if operation.status == CANCELED:
        await _failed(cards, run, order, CANCELED)
        return False
    if not operation.is_done:
        await _again(cards, run, order.order_id, operation.status)
        return False
    return await _booked(cards, run, operation)


async def _failed(cards: Cards, run: _Run, order: Order, code: str) -> None:
    async with database(cards.till.counter) as db:
        await move_order(db, order.order_id, OrderState.FAILED, cards.now(), failure=code)
    await _again(cards, run, order.order_id, code)


async def _booked(cards: Cards, run: _Run, operation: Operation) -> bool:
    completed = Completed(
        operation.id,
        operation.transaction,
        operation.amount,
        operation.at or cards.now(),
        Source.ANSWER,
        operation.currency,
    )
    if not isinstance(await book(cards, completed), Booked):
        # The money is taken and waits for the day's list: it must not be taken again.
        await _again(cards, run, run.order_id, "NOT_BOOKED", counts=False)
        return False
    await _finish(cards, run, "PAID")
    return True


async def _give_up(cards: Cards, run: _Run, why: StopReason, total: Money) -> StopReason:
    async with database(cards.till.counter) as db, db.transaction():
        await _stop(db, run.autopay.autopay, why, cards.now())
        reason = TOLD[why].format(total=f"{total:.2f}", ceiling=f"{run.autopay.ceiling:.2f}")
        text = (
            f"Автоплатёж за электроэнергию, лицевой счёт {run.autopay.account}, не сделан и отключён: {reason}. "
            "Оплатите счёт сами; включить автоплатёж снова можно в личном кабинете."
        )
        await _tell(cards, db, run.autopay, text, f"stop/{run.period}")
        await db.execute(
            "UPDATE card_autopay_run SET state = 'STOPPED', error = $3 WHERE autopay = $1 AND period = $2",
            run.autopay.autopay,
            run.period,
            why.value,
        )
    return why


async def _tell(cards: Cards, db: Db, autopay: Autopay, text: str, what: str) -> bool:
    """Put a text for the household on its way, in the transaction of ``db``; False where nobody can be told."""
    to = await _where_to(cards, db, autopay.account)
    if to is None:
        return False
    channel, address = to
    tenure = await tenure_of(db, autopay.account)
    key = f"autopay/{autopay.autopay}/{what}"
    try:
        await put_text(
            db,
            cards.vault,
            autopay.account,
            tenure,
            channel,
            address,
            text,
            key,
            now=cards.now(),
            kind=TEXT_KIND,
        )
    except (VaultError, ChoiceError, PersonalDataError):
        return False
    return True


async def _where_to(cards: Cards, db: Db, account: str) -> tuple[Channel, str] | None:
    """Find where a household hears us: the first living channel that it chose, else its first phone or e-mail."""
    tenure = await tenure_of(db, account)
    try:
        for choice in await of_household(db, cards.vault, account, tenure):
            if choice.topics and choice.dead_at is None and choice.address:
                return choice.channel, choice.address
        kept = await personal.find(db, cards.vault, subject_of(account, tenure))
    except VaultError:
        return None
    if kept is not None and kept.phones:
        return Channel.SMS, kept.phones[0]
    return (Channel.EMAIL, kept.emails[0]) if kept is not None and kept.emails else None


async def _due(db: Db, account: str) -> Money:
    row = (await ledger.find(db, [account])).get(account)
    return max(row.balance, ZERO) if row is not None else ZERO


async def _kind_of(db: Db, person: str, binding: str) -> str | None:
    kind: str | None = await db.fetchval(
        """
        SELECT t.kind FROM card_binding b JOIN card_token t USING (binding)
        WHERE b.binding = $1 AND b.person = $2 AND b.removed_at IS NULL
        """,
        binding,
        person,
    )
    return kind


async def _stop(db: Db, autopay: str, why: StopReason, now: datetime, person: str | None = None) -> None:
    await db.execute(
        """
        WITH stopped AS (
            UPDATE card_autopay SET state = 'STOPPED', stopped_at = $2, why = $3
            WHERE autopay = $1 AND state = 'ACTIVE' AND ($4::text IS NULL OR person = $4) RETURNING autopay)
        UPDATE card_autopay_run r SET state = 'STOPPED' FROM stopped s
        WHERE r.autopay = s.autopay AND r.state = 'WARNED' AND r.order_id IS NULL
        """,
        autopay,
        now,
        why.value,
        person,
    )


async def _claim(cards: Cards) -> list[_Run]:
    # What was stopped after a try had begun is still followed to its end: its money may have been taken.
    async with database(cards.till.counter) as db:
        rows = await db.fetch(
            f"""
            WITH claimed AS (
                UPDATE card_autopay_run SET attempts = attempts + 1, next_at = $1::timestamptz + $3::interval
                WHERE (autopay, period) IN (
                    SELECT r.autopay, r.period FROM card_autopay_run r JOIN card_autopay a USING (autopay)
                    WHERE r.state = 'WARNED' AND r.next_at <= $1 AND (a.state = 'ACTIVE' OR r.order_id IS NOT NULL)
                    ORDER BY r.next_at LIMIT $2 FOR UPDATE OF r SKIP LOCKED)
                RETURNING autopay AS id, period, attempts, order_id)
            SELECT {_COLUMNS}, c.period, c.attempts, c.order_id FROM claimed c JOIN card_autopay a ON a.autopay = c.id
            """,
            cards.now(),
            BATCH,
            LEASE,
        )
    return [_Run(_autopay(row), row["period"], row["attempts"], row["order_id"]) for row in rows]


async def _again(cards: Cards, run: _Run, order_id: str | None, error: str, *, counts: bool = True) -> None:
    async with database(cards.till.counter) as db:
        await db.execute(
            """
            UPDATE card_autopay_run SET next_at = $3, order_id = $4, error = $5, attempts = $6
            WHERE autopay = $1 AND period = $2 AND state = 'WARNED'
            """,
            run.autopay.autopay,
            run.period,
            cards.now() + TRY_AGAIN,
            order_id,
            error,
            run.attempts if counts else run.attempts - 1,
        )


async def _finish(cards: Cards, run: _Run, state: str) -> None:
    async with database(cards.till.counter) as db:
        await db.execute(
            "UPDATE card_autopay_run SET state = $3, error = NULL WHERE autopay = $1 AND period = $2",
            run.autopay.autopay,
            run.period,
            state,
        )


def _autopay(row: Any) -> Autopay:
    names = [name.strip() for name in _COLUMNS.split(",")]
    told = {name: row[name] for name in names}
    return Autopay(**{**told, "state": AutopayState(told["state"])})
