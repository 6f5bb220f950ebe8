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

-- Every turn as it came, under the name that its talk gave it, with what was answered: the same turn hears the same.
CREATE TABLE IF NOT EXISTS turn (
    channel     text        NOT NULL,
    talk        text        NOT NULL,
    turn_id     text        NOT NULL,
    content     bytea       NOT NULL,
    raw         text        NOT NULL,
    reply       json        NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (channel, talk, turn_id)
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

-- Which message used a code up: the same message again is answered as the first time, whatever failed in between.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'link_code'::regclass AND attname = 'used_by') THEN
        ALTER TABLE link_code ADD COLUMN used_by text, ADD COLUMN request_id text NOT NULL DEFAULT '';
    END IF;
END $$;

-- Photos of a display that came with a reading, sealed by the key of the household's tenure: erasing it erases them.
-- receipt is that of the reading, null while its dialogue goes on; a photo that no reading followed goes in time.
CREATE TABLE IF NOT EXISTS evidence (
    evidence     text        PRIMARY KEY,
    account      text        NOT NULL,
    tenure       int         NOT NULL,
    receipt      text,
    sha256       bytea       NOT NULL,
    content_type text        NOT NULL,
    sealed       bytea       NOT NULL,
    by           text        NOT NULL,
    at           timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS evidence_receipt_idx ON evidence (receipt) WHERE receipt IS NOT NULL;
CREATE INDEX IF NOT EXISTS evidence_loose_idx ON evidence (at) WHERE receipt IS NULL;
CREATE INDEX IF NOT EXISTS evidence_account_idx ON evidence (account, at);

-- Answers of the bots on their way: who sends one now, and which were sent; the same update again sends none twice.
-- malformed holds, sealed, an update that could not be read; speaks is which update of an album is answered.
CREATE TABLE IF NOT EXISTS chat_update (
    channel       text        NOT NULL,
    update_id     text        NOT NULL,
    received_at   timestamptz NOT NULL,
    claimed_until timestamptz,
    parts_sent    int         NOT NULL DEFAULT 0,
    done_at       timestamptz,
    malformed     text,
    speaks        text,
    PRIMARY KEY (channel, update_id)
);
CREATE INDEX IF NOT EXISTS chat_update_received_idx ON chat_update (received_at);

-- Chats in which nobody hears us any more, by the sender's digest: the bot is blocked, or was removed.
CREATE TABLE IF NOT EXISTS dead_chat (
    channel text        NOT NULL,
    sender  text        NOT NULL,
    dead_at timestamptz NOT NULL,
    PRIMARY KEY (channel, sender)
);

-- The bots as their messengers know them, told by whichever process set their webhook: a code is used by a link to the bot.
CREATE TABLE IF NOT EXISTS bot (
    channel text        PRIMARY KEY,
    name    text        NOT NULL,
    told_at timestamptz NOT NULL
);

-- Outages as the operators announce them: places and words for everybody, nobody's data. key is the operator's, used once.
CREATE TABLE IF NOT EXISTS outage (
    number       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        NOT NULL,
    locality     text        NOT NULL,
    places       text        NOT NULL,
    since        timestamptz NOT NULL,
    until        timestamptz NOT NULL,
    text         text        NOT NULL,
    announced_by text        NOT NULL,
    announced_at timestamptz NOT NULL,
    key          text        NOT NULL,
    content      bytea       NOT NULL,
    withdrawn_by text,
    withdrawn_at timestamptz,
    note         text
);
CREATE UNIQUE INDEX IF NOT EXISTS outage_key_idx ON outage (announced_by, key);
CREATE INDEX IF NOT EXISTS outage_until_idx ON outage (until, number) WHERE withdrawn_at IS NULL;

-- Calls and chats that wait for a person. A talk waits once: a second time only after the first is done.
CREATE TABLE IF NOT EXISTS hand_over (
    number   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel  text        NOT NULL,
    talk     text        NOT NULL,
    account  text,
    reason   text        NOT NULL,
    at       timestamptz NOT NULL,
    taken_by text,
    taken_at timestamptz,
    done_at  timestamptz,
    note     text
);
CREATE UNIQUE INDEX IF NOT EXISTS hand_over_waits_idx ON hand_over (channel, talk) WHERE done_at IS NULL;
CREATE INDEX IF NOT EXISTS hand_over_at_idx ON hand_over (at, number) WHERE done_at IS NULL;

-- What operators did with messages that nobody could read; the messages themselves are never changed.
CREATE TABLE IF NOT EXISTS message_resolved (
    receipt text        PRIMARY KEY,
    note    text        NOT NULL,
    account text,
    by      text        NOT NULL,
    at      timestamptz NOT NULL
);
-- The messages that nobody could read: they belong to no account, and their answer says so.
CREATE INDEX IF NOT EXISTS message_not_understood_idx ON message (recorded_at, receipt)
    WHERE status = 'REFUSED' AND first_version IS NULL AND position('"NOT_UNDERSTOOD"'::bytea IN answer) > 0;
