-- Requests to return a payment, or a part of it: the work list of whoever decides, with a deadline. What was returned is told by
-- the journal; a request that stands DECIDED is one whose entry is still to be written, or was written and not yet noted here.
CREATE TABLE IF NOT EXISTS refund_request (
    request       text PRIMARY KEY,
    account       text NOT NULL,
    entry         bigint NOT NULL,
    number        int NOT NULL,
    attempt       int NOT NULL DEFAULT 1,
    payer         text NOT NULL,
    receipt       text NOT NULL,
    reference     text NOT NULL,
    amount        numeric NOT NULL CHECK (amount > 0),
    paid          numeric NOT NULL CHECK (paid >= amount),
    paid_on       date NOT NULL,
    deadline      date NOT NULL,
    reason        text NOT NULL,
    requested_by  text NOT NULL,
    request_key   text NOT NULL,
    content       bytea NOT NULL,
    requested_at  timestamptz NOT NULL,
    state         text NOT NULL DEFAULT 'REQUESTED' CHECK (state IN ('REQUESTED', 'DECIDED', 'RETURNED', 'REFUSED')),
    decided_by    text,
    decided_at    timestamptz,
    ground        text,
    refusal       text,
    refund        text,
    UNIQUE (account, entry, number),
    UNIQUE (requested_by, request_key)
);
CREATE INDEX IF NOT EXISTS refund_request_waiting ON refund_request (deadline, request) WHERE state IN ('REQUESTED', 'DECIDED');
CREATE INDEX IF NOT EXISTS refund_request_of_payer ON refund_request (payer, deadline, request);

-- Payments, as they came, that somebody is taking back whole at this moment: no part of them is returned meanwhile.
CREATE TABLE IF NOT EXISTS taking_back (
    taker text PRIMARY KEY,
    account text NOT NULL,
    entry bigint NOT NULL,
    at timestamptz NOT NULL
);
