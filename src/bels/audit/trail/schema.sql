-- The index of the trail: where in the journal an entry stands, by what it is searched; its words are told from the journal itself.
-- Told after the append (telling.py), so the journal's writers pay nothing. Nothing personal, and nothing that cannot be told again.
-- id is journal.notification_id; refers is the entry of the same account that it confirms, replaces or takes back; other the
-- account to which, or from which, a payment was moved.
CREATE TABLE IF NOT EXISTS trail (
    account     text        NOT NULL,
    entry       bigint      NOT NULL,
    id          bigint      NOT NULL,
    recorded_at timestamptz NOT NULL,
    happened_at timestamptz NOT NULL,
    kind        text        NOT NULL,
    channel     text        NOT NULL,
    actor       text        NOT NULL,
    rule        text,
    period      text,
    amount      numeric(14, 2),
    kwh         bigint,
    refers      bigint,
    other       text,
    PRIMARY KEY (account, entry)
);
CREATE UNIQUE INDEX IF NOT EXISTS trail_time_idx ON trail (recorded_at, id);
CREATE INDEX IF NOT EXISTS trail_kind_idx ON trail (kind, recorded_at, id);
CREATE INDEX IF NOT EXISTS trail_actor_idx ON trail (actor, recorded_at, id);
-- Closings and what was carried over are most of the journal: whoever asks for them reads the time.
CREATE INDEX IF NOT EXISTS trail_channel_idx ON trail (channel, recorded_at, id) WHERE channel NOT IN ('closing', 'migration');
CREATE INDEX IF NOT EXISTS trail_rule_idx ON trail (rule, recorded_at, id) WHERE rule IS NOT NULL;
CREATE INDEX IF NOT EXISTS trail_period_idx ON trail (period, recorded_at, id) WHERE period IS NOT NULL;
CREATE INDEX IF NOT EXISTS trail_amount_idx ON trail (amount, recorded_at, id) WHERE amount IS NOT NULL;

-- How far it goes: every entry up to the id mark that was ever written stands in it; whole_at is the last moment (the database's
-- clock) before which nothing was missing.
CREATE TABLE IF NOT EXISTS trail_told (
    one      int         PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    mark     bigint      NOT NULL,
    whole_at timestamptz
);
INSERT INTO trail_told (mark) VALUES (0) ON CONFLICT DO NOTHING;
