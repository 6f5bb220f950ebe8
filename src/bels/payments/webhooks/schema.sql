-- What partners are told: their webhooks, what is on its way to each, and the events that no account's journal has. Secrets are
-- sealed under a key of the installation. Events of payments and readings stand in the view partner_event, which may be told anew:
-- a delivery names its event by an id that is the same every time.

CREATE TABLE IF NOT EXISTS webhook (
    id             text        PRIMARY KEY,
    partner        text        NOT NULL,
    key            text        NOT NULL,
    content        bytea       NOT NULL,
    url            text        NOT NULL,
    types          text[]      NOT NULL,
    description    text        NOT NULL,
    state          text        NOT NULL,
    secret         text        NOT NULL,
    previous       text,
    previous_until timestamptz,
    rotation       text,
    created_at     timestamptz NOT NULL,
    told_through   timestamptz NOT NULL,
    failures       int         NOT NULL DEFAULT 0,
    failing_since  timestamptz,
    held_until     timestamptz,
    UNIQUE (partner, key)
);
CREATE INDEX IF NOT EXISTS webhook_state_idx ON webhook (state, id);

-- What other rooms tell: registers, reconciliation, tests. "webhook" is whose alone it is.
CREATE TABLE IF NOT EXISTS webhook_event (
    id          text        PRIMARY KEY,
    partner     text        NOT NULL,
    type        text        NOT NULL,
    subject     text        NOT NULL,
    recorded_at timestamptz NOT NULL,
    data        jsonb       NOT NULL,
    webhook     text
);
CREATE INDEX IF NOT EXISTS webhook_event_told_idx ON webhook_event (partner, recorded_at);

-- One event on its way to one webhook. "subject" is told in order: what is older and pending keeps the younger waiting. "place"
-- is where it stands in that order: one that is told again takes a new one. "since" is from when its days count, "attempts" are
-- those since then, "tries" all. Times are of the supplier's clock.
CREATE SEQUENCE IF NOT EXISTS webhook_place;
CREATE TABLE IF NOT EXISTS webhook_delivery (
    number        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place         bigint      NOT NULL DEFAULT nextval('webhook_place'),
    webhook       text        NOT NULL,
    event         text        NOT NULL,
    type          text        NOT NULL,
    subject       text        NOT NULL,
    recorded_at   timestamptz NOT NULL,
    state         text        NOT NULL,
    since         timestamptz NOT NULL,
    not_before    timestamptz NOT NULL,
    claimed_until timestamptz,
    attempts      int         NOT NULL DEFAULT 0,
    tries         int         NOT NULL DEFAULT 0,
    last_error    text,
    ended_at      timestamptz,
    UNIQUE (event, webhook)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS webhook_delivery_due_idx ON webhook_delivery (webhook, not_before, place) WHERE state = 'PENDING';
CREATE INDEX IF NOT EXISTS webhook_delivery_order_idx ON webhook_delivery (webhook, subject, place) WHERE state = 'PENDING';
CREATE INDEX IF NOT EXISTS webhook_delivery_claimed_idx ON webhook_delivery (webhook, claimed_until)
    WHERE state = 'PENDING' AND claimed_until IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhook_delivery_page_idx ON webhook_delivery (webhook, number);
CREATE INDEX IF NOT EXISTS webhook_delivery_dead_idx ON webhook_delivery (ended_at) WHERE state = 'DEAD';
CREATE INDEX IF NOT EXISTS webhook_delivery_ended_idx ON webhook_delivery (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS webhook_attempt (
    delivery    bigint      NOT NULL,
    number      int         NOT NULL,
    at          timestamptz NOT NULL,
    status      int,
    error       text,
    duration_ms int         NOT NULL,
    PRIMARY KEY (delivery, number)
);
