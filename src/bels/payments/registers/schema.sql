-- Files of payments, from banks and to banks: layouts as data, a file taken whole or not at all, its rows one by one.

-- A file as it came, once: the same bytes of a partner are the same file under any name. Whoever works on it holds claim until
-- claimed_until; taken_line is the last line whose outcome is kept, so that another process goes on behind it.
CREATE TABLE IF NOT EXISTS register_file (
    file          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner       text        NOT NULL,
    sha256        bytea       NOT NULL,
    layout        text        NOT NULL,
    name          text        NOT NULL,
    way           text        NOT NULL,
    size          bigint      NOT NULL,
    received_at   timestamptz NOT NULL,
    received_by   text        NOT NULL,
    state         text        NOT NULL,
    fault         text,
    detail        text,
    number        text,
    day           date,
    order_number  text,
    order_day     date,
    rows          int         NOT NULL DEFAULT 0,
    bad           int         NOT NULL DEFAULT 0,
    amount        numeric     NOT NULL DEFAULT 0,
    fee           numeric     NOT NULL DEFAULT 0,
    transfer      numeric     NOT NULL DEFAULT 0,
    taken_line    int         NOT NULL DEFAULT 0,
    claim         text,
    claimed_until timestamptz,
    decided_by    text,
    decided_at    timestamptz,
    ground        text,
    is_correction boolean     NOT NULL DEFAULT true,
    ended_at      timestamptz,
    UNIQUE (partner, sha256)
);
CREATE INDEX IF NOT EXISTS register_file_number_idx ON register_file (partner, layout, number, day);
CREATE INDEX IF NOT EXISTS register_file_waiting_idx ON register_file (file) WHERE state IN ('RECEIVED', 'TAKING');
CREATE INDEX IF NOT EXISTS register_file_quarantined_idx ON register_file (received_at) WHERE state = 'QUARANTINED';
CREATE INDEX IF NOT EXISTS register_file_partner_idx ON register_file (partner, file);

-- Its bytes in pieces, sealed: names and addresses of payers stand in them. Forgotten after five years (keeping.py).
CREATE TABLE IF NOT EXISTS register_chunk (
    file   bigint NOT NULL,
    number int    NOT NULL,
    sealed bytea  NOT NULL,
    PRIMARY KEY (file, number)
);

-- What became of each of its lines. base is what equal payments of a file have in common where their bank gives them no id;
-- payment_id is the id under which the money stands now; raw is the line, sealed, and given its readings, where an operator had
-- to look at it.
CREATE TABLE IF NOT EXISTS register_row (
    file        bigint NOT NULL,
    line        int    NOT NULL,
    partner     text   NOT NULL,
    kind        text   NOT NULL,
    external_id text,
    base        text,
    parent      text,
    account     text   NOT NULL,
    amount      numeric,
    fee         numeric,
    transfer    numeric,
    paid_on     date,
    paid_at     timestamptz,
    outcome     text   NOT NULL,
    reason      text,
    receipt     text,
    payment_id  text,
    reading     text,
    raw         text,
    resolved_by text,
    resolved_at timestamptz,
    ground      text,
    given       text,
    PRIMARY KEY (file, line)
);
CREATE INDEX IF NOT EXISTS register_row_external_idx ON register_row (partner, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS register_row_parent_idx ON register_row (partner, parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS register_row_payment_idx ON register_row (partner, payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS register_row_base_idx ON register_row (file, base) WHERE base IS NOT NULL;
CREATE INDEX IF NOT EXISTS register_row_review_idx ON register_row (file, line) WHERE outcome = 'REVIEW';
CREATE INDEX IF NOT EXISTS register_row_resolving_idx ON register_row (resolved_at) WHERE outcome = 'RESOLVING';
