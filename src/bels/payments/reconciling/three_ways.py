"""Compare the three books of a partner's day: its register, our ledger, the bank's transfer (partners 4.4).

A row of a register and a payment meet by receipt, else by the partner's id, else by account, sum and day. What does not meet, or
meets and differs, is a difference of a named kind. The sums of a day add up, always:

    their sum - our sum          = the differences of side BOOK - what is still awaited from a register
    their fee - the agreed fee   = the differences of side FEE
    transferred - the net sum    = the differences of side TRANSFER, once a transfer came or is missed

Nothing here moves money: a payment that only bels knows is asked about, never reversed by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
from asyncpg import Record

from bels.access.raw_texts import RawTexts
from bels.domain.money import ZERO, to_kopecks
from bels.domain.terms import Money
from bels.journal.write import Db
from bels.payments.partners import Partner
from bels.payments.reconciling.books import FACTS, MOVED, OURS, REFERENCES, SEALED, THEIRS
from bels.payments.reconciling.contracts import Terms, terms_of
from bels.payments.webhooks.events import tell

MEETING_DAYS = 7
"""A row and a payment may be dated so many days apart and still meet."""

SYSTEM = "bels:reconciling"
"""Who finds, and closes a day on which all agrees."""

_MIDNIGHT = "24:00"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Day:
    """A partner's day as it was last compared; sums in roubles, see schema.sql."""

    partner: str
    day: date
    state: str
    registers: int
    their_count: int
    their_sum: Money
    their_fee: Money
    agreed_fee: Money
    our_count: int
    our_sum: Money
    awaited_count: int
    awaited_sum: Money
    net: Money
    transfer_count: int
    transfer_sum: Money
    transfer_compared: bool
    transfer_awaited: bool
    reconciled_at: datetime
    look_again_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    ground: str | None
    reopened: int
    open_differences: int
    book_differences: Money
    fee_differences: Money
    transfer_differences: Money

    @property
    def difference(self) -> Money:
        """Give their sum less ours."""
        return self.their_sum - self.our_sum

    @property
    def is_closed(self) -> bool:
        """Say whether the day is closed."""
        return self.state == "CLOSED"

    @property
    def adds_up(self) -> bool:
        """Say whether the differences explain the sums to the kopeck."""
        return (
            self.difference == self.book_differences - self.awaited_sum
            and self.their_fee - self.agreed_fee == self.fee_differences
            and self.transfer_differences == (self.transfer_sum - self.net if self.transfer_compared else ZERO)
        )


_DAY = (
    "partner, day, state, registers, their_count, their_sum, their_fee, agreed_fee, our_count, our_sum, awaited_count,"
    " awaited_sum, net, transfer_count, transfer_sum, transfer_compared, transfer_awaited, reconciled_at, look_again_at, closed_at, closed_by,"
    " ground, reopened"
)

_SHOWN = f"""
SELECT {_DAY}, found.* FROM reconciliation
 CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'OPEN') AS open_differences,
           coalesce(sum(amount) FILTER (WHERE side = 'BOOK' AND state <> 'CLEARED'), 0) AS book_differences,
           coalesce(sum(amount) FILTER (WHERE side = 'FEE' AND state <> 'CLEARED'), 0) AS fee_differences,
           coalesce(sum(amount) FILTER (WHERE side = 'TRANSFER' AND state <> 'CLEARED'), 0) AS transfer_differences
      FROM difference WHERE difference.partner = reconciliation.partner AND difference.day = reconciliation.day) AS found
"""

_COMPARE = f"""
WITH {THEIRS.replace("theirs AS", "kept AS")}, {OURS.replace("ours AS", "all_ours AS")}, opened AS MATERIALIZED (
    SELECT * FROM json_to_recordset($18::json) AS name (sealed text, plain text)
), all_theirs AS MATERIALIZED (
    -- An id that is kept sealed is compared as it was written.
    SELECT kept.*, coalesce(one.plain, external_id) AS means, coalesce(two.plain, payment_id) AS stands_as,
           coalesce(three.plain, parent) AS returns
      FROM kept LEFT JOIN opened AS one ON one.sealed = external_id LEFT JOIN opened AS two ON two.sealed = payment_id
      LEFT JOIN opened AS three ON three.sealed = parent
), returned AS MATERIALIZED (
    -- Payments of which something was given back, on whatever day; and what was received anew in their place.
    SELECT coalesce(one.plain, parent) AS parent, coalesce(two.plain, payment_id) AS rest
      FROM register_row LEFT JOIN opened AS one ON one.sealed = parent LEFT JOIN opened AS two ON two.sealed = payment_id
     WHERE partner = $1 AND parent IS NOT NULL AND kind = 'REFUND' AND outcome = 'REFUNDED'), named_here AS (
    SELECT receipt, stands_as, means, returns FROM all_theirs WHERE day = $7::date
), ours AS MATERIALIZED (
    -- What stands on the day, and what its rows mean; then what means that. The other days are not compared here.
    SELECT all_ours.*, coalesce(opened.sealed, reference) AS shown_id FROM all_ours LEFT JOIN opened ON opened.plain = reference
     WHERE (day = $7::date OR receipt IN (SELECT receipt FROM named_here) OR reference IN (
               SELECT stands_as FROM named_here UNION SELECT means FROM named_here UNION SELECT returns FROM named_here))
       AND NOT EXISTS (SELECT FROM returned WHERE returned.rest = all_ours.reference)
), near AS MATERIALIZED (
    SELECT * FROM all_theirs
     WHERE day = $7::date OR receipt IN (SELECT receipt FROM ours) OR stands_as IN (SELECT reference FROM ours)
        OR means IN (SELECT reference FROM ours) OR returns IN (SELECT reference FROM ours)
), theirs AS MATERIALIZED (
    -- What another register has told already is told once.
    SELECT * FROM (SELECT near.*, min(file) OVER (PARTITION BY external_id, is_refund, amount, day) AS first_file FROM near) AS each
     WHERE outcome <> 'MATCHED' OR external_id IS NULL OR file = first_file
), registered AS (
    -- An empty register has no rows, and says that there was nothing.
    SELECT count(*)::int AS registers
      FROM (SELECT file FROM files WHERE day = $7::date UNION SELECT file FROM theirs WHERE day = $7::date) AS each
), close_by AS (
    SELECT theirs.id, theirs.file, theirs.line, ours.receipt, 0 AS rank FROM theirs JOIN ours ON ours.receipt = theirs.receipt
     WHERE NOT is_refund
    UNION ALL
    SELECT theirs.id, theirs.file, theirs.line, ours.receipt, 1 FROM theirs JOIN ours ON ours.reference = theirs.stands_as
     WHERE NOT is_refund
    UNION ALL
    SELECT theirs.id, theirs.file, theirs.line, ours.receipt, 2 FROM theirs JOIN ours ON ours.reference = theirs.means
     WHERE NOT is_refund
), named AS (
    -- A row means one payment. Of the rows that mean the same one the first is it, the others repeat it.
    SELECT id, receipt, row_number() OVER (PARTITION BY receipt ORDER BY file, line) AS turn
      FROM (SELECT DISTINCT ON (id) id, file, line, receipt FROM close_by ORDER BY id, rank) AS nearest
), refunds AS (
    -- Money that was given back, there and here: its payment was booked and unbooked.
    SELECT theirs.id, theirs.day, theirs.amount, ours.receipt FROM theirs LEFT JOIN ours ON ours.reference = theirs.returns
     WHERE is_refund AND (theirs.outcome = 'REFUNDED' OR ours.state IN ('REVERSED', 'RETURNED'))
), rows_left AS (
    SELECT id, account, amount, day, row_number() OVER (PARTITION BY account, amount, day ORDER BY file, line) AS turn
      FROM theirs WHERE NOT is_refund AND NOT EXISTS (SELECT FROM named WHERE named.id = theirs.id)
), payments_left AS (
    SELECT receipt, meant AS account, amount, day, row_number() OVER (PARTITION BY meant, amount, day ORDER BY account, entry) AS turn
      FROM ours
     WHERE state <> 'REVERSED' AND NOT EXISTS (SELECT FROM named WHERE named.receipt = ours.receipt)
), met AS (
    SELECT id, receipt, turn FROM named
    UNION ALL
    SELECT id, receipt, 1 FROM rows_left JOIN payments_left USING (account, amount, day, turn)
), stood AS MATERIALIZED (
    -- A payment that was given back stood until then: that which its row means, or the one of that id.
    SELECT met.receipt FROM met JOIN theirs USING (id) JOIN returned ON returned.parent = theirs.means WHERE met.turn = 1
    UNION
    SELECT receipt FROM ours JOIN returned ON returned.parent = ours.reference
     WHERE NOT EXISTS (SELECT FROM theirs WHERE theirs.means = returned.parent AND NOT theirs.is_refund)
    UNION
    SELECT receipt FROM refunds WHERE receipt IS NOT NULL
), pairs AS (
    SELECT theirs.id, theirs.external_id, theirs.account AS their_account, theirs.amount AS their_amount, theirs.day AS their_day,
           theirs.outcome, ours.receipt, ours.shown_id, ours.meant AS our_account, ours.amount AS our_amount,
           ours.day AS our_day, theirs.means,
           ours.state = 'REVERSED' AND ours.receipt NOT IN (SELECT receipt FROM stood) AS is_reversed
      FROM met JOIN theirs USING (id) JOIN ours ON ours.receipt = met.receipt WHERE met.turn = 1
), unmet AS (
    -- The same id twice, and neither is known here: the first is missing, the second repeats it.
    SELECT theirs.*, row_number() OVER (PARTITION BY is_refund, coalesce(external_id, id) ORDER BY file, line) AS turn
      FROM theirs WHERE NOT EXISTS (SELECT FROM met WHERE met.id = theirs.id)
                    AND NOT EXISTS (SELECT FROM refunds WHERE refunds.id = theirs.id)
), standing AS (
    SELECT * FROM ours
     WHERE state <> 'REVERSED' OR receipt IN (SELECT receipt FROM stood)
), booked AS (
    SELECT amount FROM standing WHERE day = $7::date UNION ALL SELECT amount FROM refunds WHERE day = $7::date
), not_told AS (
    SELECT * FROM standing
     WHERE day = $7::date AND NOT EXISTS (SELECT FROM met WHERE met.receipt = standing.receipt AND met.turn = 1)
), fees AS (
    SELECT coalesce(sum(coalesce(fee, agreed)), 0) AS told, coalesce(sum(agreed), 0) AS agreed,
           count(*) FILTER (WHERE fee <> agreed) AS rows
      FROM (SELECT fee, CASE WHEN amount > 0 AND $11::numeric IS NOT NULL
                             THEN least(greatest(round(amount * $11::numeric / 100, 2), $12::numeric), $13::numeric, amount)
                             ELSE coalesce(fee, 0) END AS agreed
              FROM theirs WHERE day = $7::date) AS each
), our_fees AS (
    SELECT coalesce(sum(least(greatest(round(amount * $11::numeric / 100, 2), $12::numeric), $13::numeric, amount)), 0) AS agreed
      FROM standing WHERE day = $7::date AND $11::numeric IS NOT NULL
), sums AS (
    SELECT registers, (SELECT count(*) FROM theirs WHERE day = $7::date)::int AS their_count,
           coalesce((SELECT sum(amount) FROM theirs WHERE day = $7::date), 0) AS their_sum,
           (SELECT count(*) FROM booked)::int AS our_count, coalesce((SELECT sum(amount) FROM booked), 0) AS our_sum,
           (SELECT count(*) FROM not_told)::int AS left_count, coalesce((SELECT sum(amount) FROM not_told), 0) AS left_sum,
           -- Whoever sends no registers is compared by the transfer alone.
           registers = 0 AND NOT $10::boolean AS by_transfer
      FROM registered
), paid AS (
    SELECT count(*)::int AS count, coalesce(sum(amount), 0) AS sum FROM transfer_part WHERE partner = $1 AND day = $7::date
), books AS (
    SELECT sums.*, fees.told AS their_fee, CASE WHEN by_transfer THEN fees.told ELSE fees.agreed END AS agreed_fee, fees.rows AS fee_rows,
           CASE WHEN by_transfer THEN our_sum - our_fees.agreed ELSE their_sum - fees.told END AS net,
           CASE WHEN by_transfer OR NOT $9::boolean THEN left_count ELSE 0 END AS awaited_count,
           CASE WHEN by_transfer OR NOT $9::boolean THEN left_sum ELSE 0 END AS awaited_sum,
           paid.count AS transfer_count, paid.sum AS transfer_sum
      FROM sums, fees, our_fees, paid
), found (kind, key, side, external_id, their_account, our_account, their_amount, our_amount, amount, other_day, receipt, detail,
          is_settled) AS (
    SELECT 'REGISTER_MISSING', '', 'BOOK', NULL, NULL, NULL, NULL::numeric, left_sum, -left_sum, NULL::date, NULL, left_count::text,
           false
      FROM books WHERE registers = 0 AND $10::boolean AND $9::boolean
    UNION ALL
    SELECT 'ONLY_IN_BELS', receipt, 'BOOK', shown_id, NULL, meant, NULL, amount, -amount, NULL, receipt, NULL, false
      FROM not_told, books WHERE registers > 0 AND $9::boolean
    UNION ALL
    SELECT CASE WHEN turn = 1 THEN 'ONLY_IN_REGISTER' ELSE 'DUPLICATE' END,
           CASE WHEN turn = 1 AND NOT is_refund THEN coalesce(external_id, id) ELSE id END, 'BOOK', external_id, account, NULL, amount, NULL, amount,
           NULL, receipt, outcome, false
      FROM unmet WHERE day = $7::date
    UNION ALL
    SELECT 'DUPLICATE', theirs.id, 'BOOK', theirs.external_id, theirs.account, NULL, theirs.amount, NULL, theirs.amount, NULL,
           met.receipt, outcome, false
      FROM met JOIN theirs USING (id) WHERE met.turn > 1 AND theirs.day = $7::date
    UNION ALL
    SELECT 'REVERSED_BUT_PAID', receipt, 'BOOK', external_id, their_account, our_account, their_amount, our_amount, their_amount,
           NULL, receipt, outcome, false
      FROM pairs WHERE is_reversed AND their_day = $7::date
    UNION ALL
    SELECT 'DATE_DIFFERS', receipt, 'BOOK', coalesce(external_id, shown_id), their_account, our_account, their_amount, our_amount,
           CASE WHEN their_day = $7::date THEN our_amount ELSE -our_amount END,
           CASE WHEN their_day = $7::date THEN our_day ELSE their_day END, receipt, NULL, false
      FROM pairs WHERE NOT is_reversed AND their_day <> our_day AND $7::date IN (their_day, our_day)
    UNION ALL
    SELECT 'AMOUNT_DIFFERS', receipt, 'BOOK', coalesce(external_id, shown_id), their_account, our_account, their_amount, our_amount,
           their_amount - our_amount, NULL, receipt, NULL, false
      FROM pairs WHERE NOT is_reversed AND their_amount <> our_amount AND their_day = $7::date
    UNION ALL
    -- The register has won: what was booked first was reversed, what it says was booked.
    SELECT 'AMOUNT_DIFFERS', pairs.receipt, 'BOOK', pairs.external_id, their_account, our_account, their_amount, first.amount, 0, NULL,
           pairs.receipt, outcome, true
      FROM pairs JOIN ours AS first ON first.reference = pairs.means AND first.receipt <> pairs.receipt
     WHERE outcome = 'CORRECTED' AND NOT is_reversed AND their_amount = our_amount AND their_day = $7::date
    UNION ALL
    SELECT 'ACCOUNT_DIFFERS', receipt, 'BOOK', coalesce(external_id, shown_id), their_account, our_account, their_amount, our_amount,
           0, NULL, receipt, NULL, false
      FROM pairs WHERE NOT is_reversed AND their_account <> our_account AND their_day = $7::date
       -- What is no number of ours, as a unified account, is not to be compared.
       AND their_account ~ '^[0-9]{{7}}$' AND our_account ~ '^[0-9]{{7}}$'
    UNION ALL
    SELECT 'UNALLOCATED', receipt, 'BOOK', shown_id, NULL, meant, NULL, amount, 0, NULL, receipt, unallocated, false
      FROM ours WHERE is_unallocated AND day = $7::date
    UNION ALL
    SELECT 'FEE_DIFFERS', '', 'FEE', NULL, NULL, NULL, their_fee, agreed_fee, their_fee - agreed_fee, NULL, NULL, fee_rows::text, false
      FROM books WHERE fee_rows > 0
    UNION ALL
    SELECT 'TRANSFER_MISSING', '', 'TRANSFER', NULL, NULL, NULL, NULL, net, -net, NULL, NULL, NULL, false
      FROM books WHERE transfer_count = 0 AND net <> 0 AND $14::boolean AND $15::boolean
    UNION ALL
    SELECT 'TRANSFER_DIFFERS', '', 'TRANSFER', NULL, NULL, NULL, transfer_sum, net, transfer_sum - net, NULL, NULL, NULL, false
      FROM books WHERE transfer_count > 0 AND transfer_sum <> net
), before AS MATERIALIZED (
    SELECT number, state, other_day FROM difference WHERE partner = $1 AND day = $7::date
), given AS (
    SELECT *, concat_ws('|', coalesce(their_account, ''), coalesce(our_account, ''), coalesce(their_amount::text, ''),
                        coalesce(our_amount::text, ''), amount, coalesce(other_day::text, ''), coalesce(detail, '')) AS facts
      FROM found
), stored AS (
    INSERT INTO difference AS known
        (partner, day, kind, key, side, external_id, their_account, our_account, their_amount, our_amount, amount, other_day,
         receipt, detail, facts, state, found_at, changed_at, ground, worked_by, worked_at)
    SELECT $1, $7::date, kind, key, side, external_id, their_account, our_account, their_amount, our_amount, amount, other_day, receipt,
           detail, facts, CASE WHEN is_settled THEN 'CORRECTED' ELSE 'OPEN' END, $8::timestamptz, $8::timestamptz,
           CASE WHEN is_settled THEN 'верен реестр: платёж исправлен при его приёме' END,
           CASE WHEN is_settled THEN $16::text END, CASE WHEN is_settled THEN $8::timestamptz END
      FROM given
    ON CONFLICT (partner, day, kind, key) DO UPDATE SET
        side = excluded.side, external_id = excluded.external_id, their_account = excluded.their_account,
        our_account = excluded.our_account, their_amount = excluded.their_amount, our_amount = excluded.our_amount,
        amount = excluded.amount, other_day = excluded.other_day, receipt = excluded.receipt, detail = excluded.detail,
        facts = excluded.facts, state = excluded.state, changed_at = excluded.changed_at, ground = excluded.ground,
        worked_by = excluded.worked_by, worked_at = excluded.worked_at, answer_by = NULL,
        reopened = known.reopened + (known.state <> 'OPEN')::int
    WHERE known.facts <> excluded.facts OR known.state = 'CLEARED'
    RETURNING known.number, known.state, known.other_day
), changed AS (
    SELECT stored.*, before.state AS before, before.other_day AS other_before FROM stored LEFT JOIN before USING (number)
), cleared AS (
    UPDATE difference SET state = 'CLEARED', changed_at = $8::timestamptz
     WHERE partner = $1 AND day = $7::date AND state <> 'CLEARED'
       AND NOT EXISTS (SELECT FROM given WHERE given.kind = difference.kind AND given.key = difference.key)
    RETURNING number, other_day
), told AS (
    INSERT INTO reconciling_act (partner, day, difference, act, by, at, ground)
    SELECT $1, $7::date, number, CASE WHEN state = 'CORRECTED' THEN 'CORRECTED' WHEN before IS NULL THEN 'FOUND' ELSE 'REOPENED' END,
           $16::text, $8::timestamptz, NULL
      FROM changed WHERE before IS DISTINCT FROM 'OPEN' OR state <> 'OPEN'
    UNION ALL
    SELECT $1, $7::date, number, 'CLEARED', $16::text, $8::timestamptz, NULL FROM cleared
), compared AS (
    UPDATE reconciliation SET
        registers = books.registers, their_count = books.their_count, their_sum = books.their_sum, their_fee = books.their_fee,
        agreed_fee = books.agreed_fee, our_count = books.our_count, our_sum = books.our_sum, awaited_count = books.awaited_count,
        awaited_sum = books.awaited_sum, net = books.net, transfer_count = books.transfer_count,
        transfer_sum = books.transfer_sum, transfer_compared = books.transfer_count > 0 OR ($14::boolean AND $15::boolean),
        transfer_awaited = books.transfer_count = 0 AND books.net <> 0 AND $14::boolean AND NOT $15::boolean,
        reconciled_at = $8::timestamptz, facts = $17::text
      FROM books WHERE partner = $1 AND reconciliation.day = $7::date
)
SELECT array(SELECT other_day FROM changed WHERE other_day IS NOT NULL
             UNION SELECT other_before FROM changed WHERE other_before IS NOT NULL
             UNION SELECT other_day FROM cleared WHERE other_day IS NOT NULL) AS other_days
"""

_SETTLE = """
WITH counted AS (
    SELECT count(*) FILTER (WHERE state = 'OPEN') AS open,
           -- What the facts settled, or a register put right by itself, needs nobody.
           count(*) FILTER (WHERE state <> 'CLEARED' AND NOT (state = 'CORRECTED' AND worked_by = $4::text)) AS differences
      FROM difference WHERE partner = $1 AND day = $2
), judged AS (
    SELECT open > 0 AS opens, differences = 0 AND $5::timestamptz IS NULL AS closes, state AS before
      FROM counted, reconciliation WHERE partner = $1 AND day = $2
), settled AS (
    UPDATE reconciliation SET
        look_again_at = $5::timestamptz,
        state = CASE WHEN opens THEN 'OPEN' WHEN closes THEN 'CLOSED' ELSE before END,
        reopened = reopened + (opens AND before = 'CLOSED')::int,
        closed_at = CASE WHEN opens THEN NULL WHEN closes AND before = 'OPEN' THEN $3::timestamptz ELSE closed_at END,
        closed_by = CASE WHEN opens THEN NULL WHEN closes AND before = 'OPEN' THEN $4::text ELSE closed_by END,
        ground = CASE WHEN opens THEN NULL WHEN closes AND before = 'OPEN' THEN 'всё сошлось' ELSE ground END
      FROM judged WHERE partner = $1 AND day = $2
    RETURNING before, state
)
INSERT INTO reconciling_act (partner, day, act, by, at)
SELECT $1, $2, CASE WHEN state = 'CLOSED' THEN 'DAY_CLOSED' ELSE 'DAY_REOPENED' END, $4::text, $3::timestamptz
  FROM settled WHERE state <> before
RETURNING act
"""


async def reconcile(db: Db, texts: RawTexts, partner: Partner, day: date, now: datetime) -> tuple[Day, set[date]]:
    """Compare a partner's day again; give it, and the other days that it has payments of.

    The same facts give the same differences: those that were closed stay closed. What changed is open again, and so is its day.

    :raises PartnersError: the contract cannot be used.
    """
    terms = terms_of(partner)
    fee = terms.fee_on(day)
    missed = now >= terms.register_missed_at(day)
    async with db.transaction():
        await plan_freely(db)
        await db.execute(
            "INSERT INTO reconciliation (partner, day, state, reconciled_at) VALUES ($1, $2, 'OPEN', $3) ON CONFLICT DO NOTHING",
            partner.client,
            day,
            now,
        )
        # Whoever else compares this day waits here, and whoever works one of its differences off.
        await db.execute("SELECT FROM reconciliation WHERE partner = $1 AND day = $2 FOR UPDATE", partner.client, day)
        await db.execute("SELECT FROM difference WHERE partner = $1 AND day = $2 FOR UPDATE", partner.client, day)
        facts = (await facts_of(db, partner, day, day)).get(day, digest_of(terms, ""))
        moved = await _moved(db, partner, day - timedelta(days=MEETING_DAYS), day + timedelta(days=MEETING_DAYS))
        # The planner knows nothing of how many rows a part of the statement has: row by row a large day would take minutes.
        await db.execute("SET LOCAL enable_nestloop = off")
        others = await db.fetchval(
            _COMPARE,
            partner.client,
            partner.actor,
            day - timedelta(days=MEETING_DAYS),
            day + timedelta(days=MEETING_DAYS),
            _cut_off(terms),
            moved,
            day,
            now,
            missed,
            terms.expects_register,
            fee.percent if fee is not None else None,
            fee.minimum if fee is not None else None,
            fee.maximum if fee is not None else None,
            terms.expects_transfer,
            now >= terms.transfer_missed_at(day),
            SYSTEM,
            facts,
            await _opened(db, texts, partner, day),
        )
        await db.execute("SET LOCAL enable_nestloop = on")
        compared = await _shown(db, partner.client, day)
        act = await db.fetchval(_SETTLE, partner.client, day, now, SYSTEM, _look_again_at(terms, compared, now))
        settled = await _shown(db, partner.client, day)
        if act == "DAY_CLOSED":
            await _tell_closed(db, settled, now)
        return settled, set(others)


async def facts_of(db: Db, partner: Partner, first: date, last: date) -> dict[date, str]:
    """Digest what there is of each day, and of the contract; a day of which there is nothing is not there."""
    terms = terms_of(partner)
    moved = await _moved(db, partner, first, last)
    rows = await db.fetch(FACTS, partner.client, partner.actor, first, last, _cut_off(terms), moved)
    return {row["day"]: digest_of(terms, row["facts"]) for row in rows}


def digest_of(terms: Terms, facts: str) -> str:
    """Digest what is compared of a day under a contract."""
    return sha256(f"{terms}\n{facts}".encode()).hexdigest()


async def day_of(db: Db, partner: str, day: date) -> Day | None:
    """Find a partner's day as it was last compared."""
    row = await db.fetchrow(f"{_SHOWN} WHERE partner = $1 AND day = $2", partner, day)
    return _day(row) if row is not None else None


async def days(
    db: Db,
    partner: str | None,
    first: date | None,
    last: date | None,
    state: str | None,
    after: tuple[date, str] | None,
    limit: int,
) -> list[Day]:
    """List days as they were last compared, in their order, of one partner or of all."""
    rows = await db.fetch(
        f"""
        {_SHOWN}
         WHERE ($1::text IS NULL OR partner = $1) AND ($2::date IS NULL OR day >= $2) AND ($3::date IS NULL OR day <= $3)
           AND ($4::text IS NULL OR state = $4) AND ($5::date IS NULL OR (day, partner) > ($5, $6::text))
         ORDER BY day, partner LIMIT $7
        """,
        partner,
        first,
        last,
        state,
        *(after or (None, None)),
        limit,
    )
    return [_day(row) for row in rows]


async def close(db: Db, partner: str, day: date, ground: str, by: str, now: datetime) -> tuple[Day, bool] | None:
    """Close a day of which nothing is open and nothing is waited for; False where that is not so, None where there is no such day."""
    async with db.transaction():
        found = await db.fetchrow(
            "SELECT state, look_again_at FROM reconciliation WHERE partner = $1 AND day = $2 FOR UPDATE", partner, day
        )
        if found is None:
            return None
        shown = await _shown(db, partner, day)
        if shown.is_closed:
            return shown, True
        if shown.open_differences or shown.look_again_at is not None or not shown.adds_up:
            return shown, False
        await db.execute(
            """
            WITH closed AS (
                UPDATE reconciliation SET state = 'CLOSED', closed_at = $3, closed_by = $4, ground = $5
                 WHERE partner = $1 AND day = $2)
            INSERT INTO reconciling_act (partner, day, act, by, at, ground) VALUES ($1, $2, 'DAY_CLOSED', $4, $3, $5)
            """,
            partner,
            day,
            now,
            by,
            ground,
        )
        closed = await _shown(db, partner, day)
        await _tell_closed(db, closed, now)
        return closed, True


async def _tell_closed(db: Db, day: Day, now: datetime) -> None:
    """Tell the partner that its day is closed; closed again after it was reopened, it is told again."""
    told = {
        "day": day.day.isoformat(),
        "theirCount": day.their_count,
        "theirSum": f"{day.their_sum:.2f}",
        "ourCount": day.our_count,
        "ourSum": f"{day.our_sum:.2f}",
        "transferSum": f"{day.transfer_sum:.2f}",
    }
    await tell(db, day.partner, "reconciliation.closed.v1", f"{day.day}/{day.reopened}", told, now=now)


async def _moved(db: Db, partner: Partner, first: date, last: date) -> str:
    """Say what became of payments that were moved."""
    moved: str = await db.fetchval(MOVED, partner.actor, first, last)
    return moved


async def _opened(db: Db, texts: RawTexts, partner: Partner, day: date) -> str:
    """Give the ids of about a day that are kept sealed, as JSON rows: sealed and as they were written."""
    sealed = [row["name"] for row in await db.fetch(SEALED, partner.client, day)]
    names = {name: texts.opened(name) for name in sealed}
    references = [row["reference"] for row in await db.fetch(REFERENCES, partner.actor, day)]
    names |= {kept: reference for reference in references if (kept := texts.guarded(reference)) != reference}
    return _encode([{"sealed": kept, "plain": plain} for kept, plain in names.items()]).decode()


async def plan_freely(db: Db) -> None:
    """Let this transaction join whole days at once: connections that serve find every row by a key (``SESSION``)."""
    await db.execute("SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on")


async def _shown(db: Db, partner: str, day: date) -> Day:
    found = await day_of(db, partner, day)
    if found is None:
        raise LookupError(f"{partner} {day}")
    return found


def _look_again_at(terms: Terms, day: Day, now: datetime) -> datetime | None:
    """Say when the first of what is waited for is missed; None where nothing is."""
    waits = [terms.ends_at(day.day)]
    if terms.expects_register or day.registers:
        waits.append(terms.register_missed_at(day.day))
    if day.transfer_awaited:
        waits.append(terms.transfer_missed_at(day.day))
    return min((at for at in waits if at > now), default=None)


def _cut_off(terms: Terms) -> str:
    return terms.cut_off.isoformat() if terms.cut_off is not None else _MIDNIGHT


def _day(row: Record) -> Day:
    told: dict[str, Any] = {
        name: to_kopecks(value) if isinstance(value, Decimal) else value for name, value in row.items()
    }
    return Day(**told)
