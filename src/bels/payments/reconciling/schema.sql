-- Three books of one day compared: the partner's register, our ledger, the bank's transfer (partners 4.4).

-- A partner's day as it was last compared: counts, and sums in roubles. awaited_* is what no register has told of yet and need not
-- have; transfer_compared: a transfer came, or is missed. facts is a digest of what was compared, so that a day on which nothing
-- changed costs a look; look_again_at is when waiting ends, NULL where nothing is waited for.
CREATE TABLE IF NOT EXISTS reconciliation (
    partner          text        NOT NULL,
    day              date        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('OPEN', 'CLOSED')),
    registers        int         NOT NULL DEFAULT 0,
    their_count      int         NOT NULL DEFAULT 0,
    their_sum        numeric     NOT NULL DEFAULT 0,
    their_fee        numeric     NOT NULL DEFAULT 0,
    agreed_fee       numeric     NOT NULL DEFAULT 0,
    our_count        int         NOT NULL DEFAULT 0,
    our_sum          numeric     NOT NULL DEFAULT 0,
    awaited_count    int         NOT NULL DEFAULT 0,
    awaited_sum      numeric     NOT NULL DEFAULT 0,
    net              numeric     NOT NULL DEFAULT 0,
    transfer_count   int         NOT NULL DEFAULT 0,
    transfer_sum     numeric     NOT NULL DEFAULT 0,
    transfer_compared boolean    NOT NULL DEFAULT false,
    transfer_awaited boolean     NOT NULL DEFAULT false,
    facts            text        NOT NULL DEFAULT '',
    reconciled_at    timestamptz NOT NULL,
    look_again_at    timestamptz,
    closed_at        timestamptz,
    closed_by        text,
    ground           text,
    reopened         int         NOT NULL DEFAULT 0,
    PRIMARY KEY (partner, day)
);
CREATE INDEX IF NOT EXISTS reconciliation_open_idx ON reconciliation (day, partner) WHERE state = 'OPEN';
CREATE INDEX IF NOT EXISTS reconciliation_day_idx ON reconciliation (day, partner);

-- A difference of a day. amount is what it adds to the difference of its side: BOOK (their sum less ours), FEE (their fee less the
-- agreed one) or TRANSFER (what was transferred less the net sum). CLEARED: the facts have put it right.
CREATE TABLE IF NOT EXISTS difference (
    number        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner       text        NOT NULL,
    day           date        NOT NULL,
    kind          text        NOT NULL,
    key           text        NOT NULL,
    side          text        NOT NULL CHECK (side IN ('BOOK', 'FEE', 'TRANSFER')),
    external_id   text,
    their_account text,
    our_account   text,
    their_amount  numeric,
    our_amount    numeric,
    amount        numeric     NOT NULL,
    other_day     date,
    receipt       text,
    detail        text,
    facts         text        NOT NULL,
    state         text        NOT NULL CHECK (state IN ('OPEN', 'EXPLAINED', 'CORRECTED', 'ASKED_BANK', 'CLEARED')),
    found_at      timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    ground        text,
    worked_by     text,
    worked_at     timestamptz,
    answer_by     date,
    reopened      int         NOT NULL DEFAULT 0,
    UNIQUE (partner, day, kind, key)
);
CREATE INDEX IF NOT EXISTS difference_state_idx ON difference (state, found_at, number);

-- Who did what to a day or a difference, and when: nothing of it is ever changed.
CREATE TABLE IF NOT EXISTS reconciling_act (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partner    text        NOT NULL,
    day        date        NOT NULL,
    difference bigint,
    act        text        NOT NULL,
    by         text        NOT NULL,
    at         timestamptz NOT NULL,
    ground     text
);
CREATE INDEX IF NOT EXISTS reconciling_act_day_idx ON reconciling_act (partner, day, number);

-- Платёжные поручения, by which partners' banks pay us. payer and purpose are sealed where they hold words; payer_inn is that of an
-- organisation (10 digits), '' where it is not known; purpose_day is the day that the purpose names.
CREATE TABLE IF NOT EXISTS bank_transfer (
    number        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document      text        NOT NULL,
    made_on       date        NOT NULL,
    amount        numeric     NOT NULL CHECK (amount > 0),
    payer_inn     text        NOT NULL DEFAULT '',
    payer_account text,
    payer         text,
    purpose       text,
    purpose_day   date,
    partner       text,
    by            text        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    UNIQUE (document, made_on, amount, payer_inn)
);
CREATE INDEX IF NOT EXISTS bank_transfer_partner_idx ON bank_transfer (partner, made_on, number);

-- Which days a transfer pays, and how much of each.
CREATE TABLE IF NOT EXISTS transfer_part (
    transfer   bigint      NOT NULL REFERENCES bank_transfer (number),
    partner    text        NOT NULL,
    day        date        NOT NULL,
    amount     numeric     NOT NULL CHECK (amount > 0),
    matched_by text        NOT NULL,
    matched_at timestamptz NOT NULL,
    PRIMARY KEY (transfer, partner, day)
);
CREATE INDEX IF NOT EXISTS transfer_part_day_idx ON transfer_part (partner, day);

-- What an operator asked for under a key: the same again gets the same answer, another content is an error.
CREATE TABLE IF NOT EXISTS reconciling_request (
    by      text        NOT NULL,
    key     text        NOT NULL,
    content bytea       NOT NULL,
    answer  bigint      NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (by, key)
);

-- The rows of registers by their day, as they are compared.
CREATE INDEX IF NOT EXISTS register_row_day_idx ON register_row (partner, paid_on);
