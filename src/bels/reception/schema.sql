-- What the channels keep between two messages. Nothing here names a person in clear: senders are keyed digests, words are sealed.

-- A dialogue of a sender with bels, where it stands; any process takes the next turn. What nobody continued goes in time.
CREATE TABLE IF NOT EXISTS dialogue (
    channel    text        NOT NULL,
    talk       text        NOT NULL,
    version    bigint      NOT NULL,
    state      json        NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (channel, talk)
);
CREATE INDEX IF NOT EXISTS dialogue_changed_idx ON dialogue (changed_at);

-- Every turn as it came, under the name that its channel gave it, with what was answered: the same turn hears the same.
CREATE TABLE IF NOT EXISTS turn (
    channel     text        NOT NULL,
    turn_id     text        NOT NULL,
    talk        text        NOT NULL,
    content     bytea       NOT NULL,
    raw         text        NOT NULL,
    reply       json        NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (channel, turn_id)
);
CREATE INDEX IF NOT EXISTS turn_received_idx ON turn (received_at);

-- Codes that link a sender to an account: made in the cabinet, used once, by keyed digest.
CREATE TABLE IF NOT EXISTS link_code (
    code       bytea       PRIMARY KEY,
    account    text        NOT NULL,
    tenure     int         NOT NULL,
    made_by    text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX IF NOT EXISTS link_code_account_idx ON link_code (account);

-- Which accounts a sender speaks for: the overview keeps the links of an account, this finds them the other way round.
CREATE INDEX IF NOT EXISTS overview_links_idx ON overview USING gin ((links::jsonb) jsonb_path_ops)
    WHERE links::text <> '[]';
