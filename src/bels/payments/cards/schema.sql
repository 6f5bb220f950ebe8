-- Payments by card through MONETA. No card number ever comes here; tokens and contacts are sealed under keys of their subjects.

-- An order: what a payer was shown and is charged. "payer" is whose limits it counts for: a person, or the account of a link.
-- "content" is a keyed digest of what was asked under (payer, key). "operation" is MONETA's first completed operation of it.
CREATE TABLE IF NOT EXISTS card_order (
    order_id   text          PRIMARY KEY,
    payer      text          NOT NULL,
    key        text          NOT NULL,
    content    text          NOT NULL,
    person     text,
    account    text          NOT NULL,
    tenure     int           NOT NULL,
    amount     numeric(12,2) NOT NULL CHECK (amount > 0),
    commission numeric(12,2) NOT NULL CHECK (commission >= 0),
    purpose    text          NOT NULL,
    kind       text          NOT NULL,
    reading    text,
    contact    bytea,
    saves      boolean       NOT NULL,
    binding    text,
    state      text          NOT NULL
        CHECK (state IN ('CREATED', 'CHECKED', 'AUTHORISED', 'PAID', 'FAILED', 'EXPIRED', 'REFUNDED')),
    created_at timestamptz   NOT NULL,
    expires_at timestamptz   NOT NULL,
    changed_at timestamptz   NOT NULL,
    checked_at timestamptz,
    operation  text,
    receipt    text,
    paid_at    timestamptz,
    failure    text,
    bound      text,
    UNIQUE (payer, key),
    CHECK ((state IN ('PAID', 'REFUNDED')) = (operation IS NOT NULL AND receipt IS NOT NULL AND paid_at IS NOT NULL)),
    CHECK (NOT (saves AND (person IS NULL OR binding IS NOT NULL)))
);
CREATE INDEX IF NOT EXISTS card_order_payer_idx ON card_order (payer, created_at);
CREATE INDEX IF NOT EXISTS card_order_person_idx ON card_order (person) WHERE state = 'PAID' AND binding IS NULL;
CREATE INDEX IF NOT EXISTS card_order_open_idx ON card_order (expires_at) WHERE state IN ('CREATED', 'CHECKED');

-- Every operation of MONETA whose money is in the journal: on its account, or unallocated where "why" says so.
CREATE TABLE IF NOT EXISTS card_operation (
    operation   text          PRIMARY KEY,
    order_id    text,
    transaction text          NOT NULL,
    total       numeric(12,2) NOT NULL,
    paid_at     timestamptz   NOT NULL,
    booked_at   timestamptz   NOT NULL,
    source      text          NOT NULL,
    receipt     text          NOT NULL,
    account     text          NOT NULL,
    why         text,
    returned_at timestamptz
);
CREATE INDEX IF NOT EXISTS card_operation_order_idx ON card_operation (order_id);
CREATE INDEX IF NOT EXISTS card_operation_paid_idx ON card_operation (paid_at);

-- What the receipt of a payment says (54-ФЗ), and whether MONETA has it.
CREATE TABLE IF NOT EXISTS card_fiscal (
    operation text        PRIMARY KEY,
    order_id  text        NOT NULL,
    state     text        NOT NULL CHECK (state IN ('REQUESTED', 'SENT', 'DONE')),
    sno       int         NOT NULL,
    items     text        NOT NULL,
    sent_at   timestamptz,
    url       text,
    CHECK (state <> 'DONE' OR url IS NOT NULL)
);

CREATE INDEX IF NOT EXISTS card_fiscal_due_idx ON card_fiscal (operation) WHERE state = 'REQUESTED';

-- A binding as MONETA knows it, beside "card_binding", which seals the token to pay with by its person. The copy here is sealed
-- under a key of the binding itself, only to let MONETA forget it; when it has, that key is destroyed. "same" is a keyed digest.
CREATE TABLE IF NOT EXISTS card_token (
    binding      text        PRIMARY KEY,
    person       text        NOT NULL,
    kind         text        NOT NULL,
    same         bytea       NOT NULL,
    order_id     text        NOT NULL,
    consented_at timestamptz NOT NULL,
    sealed       bytea       NOT NULL,
    next_at      timestamptz NOT NULL,
    attempts     int         NOT NULL DEFAULT 0,
    error        text,
    forgotten_at timestamptz
);
CREATE INDEX IF NOT EXISTS card_token_person_idx ON card_token (person);
CREATE INDEX IF NOT EXISTS card_token_due_idx ON card_token (next_at) WHERE forgotten_at IS NULL;

-- Returns of whole payments. At most one of an operation is under way or done.
CREATE TABLE IF NOT EXISTS card_refund (
    refund       text          PRIMARY KEY,
    maker        text          NOT NULL,
    key          text          NOT NULL,
    content      text          NOT NULL,
    order_id     text          NOT NULL,
    operation    text          NOT NULL,
    total        numeric(12,2) NOT NULL,
    ground       text          NOT NULL,
    state        text          NOT NULL CHECK (state IN ('REQUESTED', 'AT_PAYEE', 'RETURNED', 'REFUSED')),
    requested_at timestamptz   NOT NULL,
    due_at       timestamptz   NOT NULL,
    next_at      timestamptz   NOT NULL,
    attempts     int           NOT NULL DEFAULT 0,
    returned_by  text,
    code         text,
    ended_at     timestamptz,
    UNIQUE (maker, key)
);
CREATE UNIQUE INDEX IF NOT EXISTS card_refund_living_idx ON card_refund (operation) WHERE state <> 'REFUSED';
CREATE INDEX IF NOT EXISTS card_refund_order_idx ON card_refund (order_id);
CREATE INDEX IF NOT EXISTS card_refund_due_idx ON card_refund (next_at) WHERE state IN ('REQUESTED', 'AT_PAYEE');

-- What a notice, or a day's list, says otherwise than we do. Worked off and closed by an operator, or by the money that came.
CREATE TABLE IF NOT EXISTS card_difference (
    number    bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operation text          NOT NULL,
    kind      text          NOT NULL,
    order_id  text,
    there     numeric(12,2),
    here      numeric(12,2),
    found_at  timestamptz   NOT NULL,
    closed_at timestamptz,
    closed_by text,
    note      text,
    UNIQUE (operation, kind)
);
CREATE INDEX IF NOT EXISTS card_difference_open_idx ON card_difference (number) WHERE closed_at IS NULL;

-- Payments that make themselves: on a day of the month, or ("day" is null) when there is a bill. "ceiling" is with the commission.
CREATE TABLE IF NOT EXISTS card_autopay (
    autopay    text          PRIMARY KEY,
    person     text          NOT NULL,
    account    text          NOT NULL,
    binding    text          NOT NULL,
    ceiling    numeric(12,2) NOT NULL CHECK (ceiling > 0),
    day        int           CHECK (day BETWEEN 1 AND 28),
    state      text          NOT NULL CHECK (state IN ('ACTIVE', 'STOPPED')),
    created_at timestamptz   NOT NULL,
    stopped_at timestamptz,
    why        text
);
CREATE UNIQUE INDEX IF NOT EXISTS card_autopay_active_idx ON card_autopay (account, person) WHERE state = 'ACTIVE';
CREATE INDEX IF NOT EXISTS card_autopay_person_idx ON card_autopay (person, created_at);
CREATE INDEX IF NOT EXISTS card_autopay_scan_idx ON card_autopay (autopay) WHERE state = 'ACTIVE';

-- One payment of an autopay: of a month, warned of a day before it is due.
CREATE TABLE IF NOT EXISTS card_autopay_run (
    autopay   text        NOT NULL,
    period    text        NOT NULL,
    state     text        NOT NULL CHECK (state IN ('WARNED', 'PAID', 'NOTHING_DUE', 'STOPPED')),
    warned_at timestamptz NOT NULL,
    pay_on    date        NOT NULL,
    next_at   timestamptz NOT NULL,
    attempts  int         NOT NULL DEFAULT 0,
    order_id  text,
    error     text,
    PRIMARY KEY (autopay, period)
);
CREATE INDEX IF NOT EXISTS card_autopay_run_due_idx ON card_autopay_run (next_at) WHERE state = 'WARNED';
