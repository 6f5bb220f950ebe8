"""The two books of a partner that are compared payment by payment: the rows of its registers, and what our ledger has of it.

Both are parts of statements, over days $3 to $4 of partner $1, whose actor is $2 and whose day ends at $5; $6 is what became of
payments that were moved (``MOVED``).
"""

from __future__ import annotations

THEIRS = """
files AS MATERIALIZED (
    -- A register that corrects another of its number stands in its place.
    SELECT file, day, (received_at AT TIME ZONE 'Europe/Moscow')::date AS received_on FROM register_file AS one
     WHERE partner = $1 AND state IN ('TAKING', 'TAKEN')
       AND NOT EXISTS (SELECT FROM register_file AS later
                        WHERE later.partner = one.partner AND later.layout = one.layout AND later.number = one.number
                          AND later.day = one.day AND later.file > one.file AND later.state = 'TAKEN' AND later.is_correction)
), lines AS (
    SELECT row.file, row.line, row.kind, row.external_id, row.payment_id, row.parent, nullif(row.account, '') AS account, row.outcome,
           row.receipt,
           -- Money that was given back is taken off.
           round(CASE WHEN row.kind = 'REFUND' THEN -abs(row.amount) ELSE row.amount END, 2) AS amount,
           -- What is kept of a payment; NULL where the register does not say.
           CASE WHEN row.transfer <> row.amount OR row.fee IS NOT NULL
                THEN round((row.amount - row.transfer) * CASE WHEN row.kind = 'REFUND' THEN -1 ELSE 1 END, 2) END AS fee,
           CASE WHEN $5::text <> '24:00' AND files.day IS NOT NULL THEN files.day
                WHEN row.paid_on IS NULL OR row.paid_on > files.received_on THEN coalesce(files.day, files.received_on)
                WHEN (row.paid_at AT TIME ZONE 'Europe/Moscow')::time >= $5::text::time THEN row.paid_on + 1
                ELSE row.paid_on END AS day
      FROM register_row AS row JOIN files USING (file)
     WHERE row.partner = $1
       AND (row.paid_on BETWEEN $3::date - 3 AND $4::date + 3 OR row.paid_on IS NULL OR row.paid_on > files.received_on)
), theirs AS MATERIALIZED (
    SELECT file || ':' || line AS id, file, line, kind = 'REFUND' AS is_refund, external_id, payment_id, parent, account, outcome,
           receipt, coalesce(amount, 0) AS amount, fee, day
      FROM lines WHERE day BETWEEN $3 AND $4
)"""
"""Only here the tables of registers are read."""

OURS = """
ended AS MATERIALIZED (
    SELECT * FROM json_to_recordset($6::json) AS moved (account text, entry bigint, state text)
), ours AS MATERIALIZED (
    SELECT account, entry, reference, receipt, meant, amount, day, coalesce(ended.state, paid.state) AS state,
           unallocated IS NOT NULL AND paid.state = 'RECEIVED' AS is_unallocated, unallocated
      FROM (SELECT account, entry, reference, receipt, coalesce(meant_for, account) AS meant, round(amount, 2) AS amount, state,
                   unallocated,
                   -- What is paid after the cut-off belongs to the next day.
                   CASE WHEN (paid_at AT TIME ZONE 'Europe/Moscow')::time >= $5::text::time THEN paid_on + 1
                        ELSE paid_on END AS day
              FROM payment
             WHERE actor = $2 AND paid_on BETWEEN $3::date - 1 AND $4 AND source IS NULL) AS paid
      LEFT JOIN ended USING (account, entry)
     WHERE day BETWEEN $3 AND $4
)"""

MOVED = """
WITH RECURSIVE followed (from_account, from_entry, reference, amount, paid_on, account, entry, state) AS (
    SELECT account, entry, reference, amount, paid_on, account, entry, state FROM payment
     WHERE actor = $1 AND paid_on BETWEEN $2::date - 1 AND $3 AND source IS NULL AND state = 'MOVED'
    UNION
    -- UNION ends where it came back.
    SELECT from_account, from_entry, followed.reference, followed.amount, followed.paid_on, there.account, there.entry, there.state
      FROM followed JOIN payment AS there ON there.source = followed.account AND there.reference = followed.reference
       AND there.amount = followed.amount AND there.paid_on = followed.paid_on
     WHERE followed.state = 'MOVED'
)
SELECT coalesce(json_agg(ended), '[]')::text
  FROM (SELECT from_account AS account, from_entry AS entry,
               CASE WHEN bool_or(state = 'RECEIVED') THEN 'RECEIVED' WHEN bool_or(state = 'RETURNED') THEN 'RETURNED'
                    WHEN bool_or(state = 'REVERSED') THEN 'REVERSED' ELSE 'MOVED' END AS state
          FROM followed GROUP BY 1, 2) AS ended
"""
"""What became of the payments of actor $1 that were moved, paid on days $2 to $3: each is where it was moved to, however often."""

FACTS = f"""
WITH {THEIRS}, {OURS}
SELECT day, string_agg(told, ' ' ORDER BY told) AS facts
  FROM (SELECT day, format('theirs %s %s', count(*), sum(hashtextextended(concat_ws('|', id, external_id, account, amount, fee,
                           outcome, receipt), 0)::numeric)) AS told
          FROM theirs GROUP BY day
        UNION ALL
        SELECT day, format('files %s %s', count(*), max(file)) FROM files WHERE day BETWEEN $3 AND $4 GROUP BY day
        UNION ALL
        SELECT day, format('ours %s %s', count(*), sum(hashtextextended(concat_ws('|', receipt, meant, amount, state,
                           is_unallocated), 0)::numeric))
          FROM ours GROUP BY day
        UNION ALL
        SELECT day, format('paid %s %s', count(*), sum(hashtextextended(concat_ws('|', transfer, amount), 0)::numeric))
          FROM transfer_part WHERE partner = $1 AND day BETWEEN $3 AND $4 GROUP BY day) AS each
 GROUP BY day
"""
"""What there is of each day, as a short text: where it is the same as before, nothing is to be compared again."""

LATE_DAYS = """
SELECT DISTINCT paid_on AS day FROM register_row JOIN register_file USING (file)
 WHERE register_file.partner = $1 AND received_at >= $2::date AND state IN ('TAKING', 'TAKEN') AND paid_on < $2
 ORDER BY 1 DESC LIMIT 1000
"""
"""Days before $2 of which a register came since."""

SEALED = """
SELECT DISTINCT name FROM register_row CROSS JOIN LATERAL (VALUES (external_id), (payment_id), (parent)) AS named (name)
 WHERE partner = $1 AND paid_on BETWEEN $2::date - 3 AND $2::date + 3 AND name LIKE 'sealed:%'
"""
"""Ids of the rows of about a day that could be somebody's phone, and are kept sealed."""

REFERENCES = "SELECT reference FROM payment WHERE actor = $1 AND paid_on BETWEEN $2::date - 1 AND $2 AND source IS NULL"
"""Ids of the payments of about a day."""
