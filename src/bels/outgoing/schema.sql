-- What bels says by itself: what a household chose to hear, and every text on its way. No address and no text stands in clear:
-- those of a household are sealed under the key of its tenure, and go with it; answers to strangers under a key of the installation.

-- Which topics a household hears by which channel. "digest" is the keyed digest under which the sender of the same address is
-- known; "number" orders the channels of a household: the first living one is used.
CREATE TABLE IF NOT EXISTS subscription (
    number     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    text        NOT NULL,
    tenure     int         NOT NULL,
    channel    text        NOT NULL,
    topics     text[]      NOT NULL,
    sealed     bytea       NOT NULL,
    digest     text        NOT NULL,
    chosen_by  text        NOT NULL,
    chosen_at  timestamptz NOT NULL,
    failures   int         NOT NULL DEFAULT 0,
    dead_at    timestamptz,
    dead_code  text,
    UNIQUE (account, tenure, channel)
);
CREATE INDEX IF NOT EXISTS subscription_digest_idx ON subscription (digest, channel);

-- Every text that goes out. "key" names it for ever: planned twice it is sent once. Times are of the supplier's clock.
CREATE TABLE IF NOT EXISTS outbox (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           text        NOT NULL UNIQUE,
    account       text        NOT NULL,
    tenure        int         NOT NULL,
    topic         text        NOT NULL,
    kind          text        NOT NULL,
    period        text,
    entry         bigint,
    channel       text,
    subscription  bigint,
    address       bytea,
    body          bytea,
    state         text        NOT NULL,
    not_before    timestamptz NOT NULL,
    until         timestamptz,
    claimed_until timestamptz,
    attempts      int         NOT NULL DEFAULT 0,
    last_error    text,
    provider_id   text,
    created_at    timestamptz NOT NULL,
    sent_at       timestamptz,
    ended_at      timestamptz
);
-- Answers never wait behind the reminders of a whole town.
CREATE INDEX IF NOT EXISTS outbox_answer_due_idx ON outbox (not_before, id) WHERE state = 'PLANNED' AND topic = 'ANSWER';
CREATE INDEX IF NOT EXISTS outbox_chosen_due_idx ON outbox (not_before, id) WHERE state = 'PLANNED' AND topic <> 'ANSWER';
CREATE INDEX IF NOT EXISTS outbox_account_idx ON outbox (account, tenure, id);
CREATE INDEX IF NOT EXISTS outbox_created_idx ON outbox (created_at);
