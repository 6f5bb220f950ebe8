-- Installed by every process that starts, also while others write. A writer takes message before journal, so does this file.
CREATE OR REPLACE FUNCTION bels_nothing_changes() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'bels: % of % is forbidden, the journal is only added to', TG_OP, TG_TABLE_NAME; END $$;

-- Every message as it came, under the name that its channel gave it, with its receipt and its first outcome.
-- request_id is that of the HTTP request that brought it, as it stands in the logs; '' where none did.
-- first_version..last_version are the entries it led to; answer holds events that stand in no account's journal.
CREATE TABLE IF NOT EXISTS message (
    channel       text        NOT NULL,
    message_id    text        NOT NULL,
    receipt       text        NOT NULL,
    account       text        NOT NULL,
    actor         text        NOT NULL,
    content       bytea       NOT NULL,
    recorded_at   timestamptz NOT NULL,
    status        text        NOT NULL,
    first_version bigint,
    last_version  bigint,
    answer        bytea,
    raw           text        NOT NULL,
    request_id    text        NOT NULL DEFAULT '',
    PRIMARY KEY (channel, message_id)
);
-- Databases from before it; a lock on the table is taken only where it is missing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'message'::regclass AND attname = 'request_id') THEN
        ALTER TABLE message ADD COLUMN request_id text NOT NULL DEFAULT '';
    END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS message_receipt_idx ON message (receipt);
-- The operator repeats an SMS under a new id: found by its sender.
CREATE INDEX IF NOT EXISTS message_sms_idx ON message (actor, recorded_at) WHERE channel = 'sms';
CREATE INDEX IF NOT EXISTS message_parked_idx ON message (recorded_at, receipt) WHERE status = 'PARKED';
-- The messages of an account that led to no entry of their own: the evidence of an account has them, too.
CREATE INDEX IF NOT EXISTS message_apart_idx ON message (account) WHERE last_version IS NULL OR last_version < first_version;
CREATE OR REPLACE TRIGGER message_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON message
    EXECUTE FUNCTION bels_nothing_changes();

-- The journal: what is true. Rows are added and never changed; the trigger says so to everybody.
-- The first five columns are those that the stock PostgreSQL recorder of the eventsourcing library reads.
-- content is the digest of the message that led to the entry, digest the entry's own over its bytes and the one before (chain.py).
CREATE TABLE IF NOT EXISTS journal (
    originator_id      text   NOT NULL,
    originator_version bigint NOT NULL,
    topic              text   NOT NULL,
    state              bytea  NOT NULL,
    notification_id    bigint GENERATED ALWAYS AS IDENTITY,
    content            bytea  NOT NULL DEFAULT '',
    digest             bytea  NOT NULL CHECK (octet_length(digest) = 32),
    PRIMARY KEY (originator_id, originator_version)
);
-- Databases from before the chain; their entries are given digests before anything else is written (adopting.py).
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'journal'::regclass AND attname = 'digest') THEN
        ALTER TABLE journal ADD COLUMN content bytea NOT NULL DEFAULT '',
                            ADD COLUMN digest bytea CHECK (octet_length(digest) = 32);
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS journal_notification_id_idx ON journal (notification_id);
CREATE OR REPLACE TRIGGER journal_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    EXECUTE FUNCTION bels_nothing_changes();

-- Not even the owner may change what is written, unless he takes the right back first; a server whose user is no superuser cannot err.
REVOKE UPDATE, DELETE, TRUNCATE ON journal, message FROM PUBLIC, CURRENT_USER;

-- The key of the senders' digests stood here in clear in early installations; now it is in the vault, and this is empty.
CREATE TABLE IF NOT EXISTS installation (
    id         int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sender_key bytea NOT NULL
);

-- Which views stand, by the digest of their definition; one that is not told must be rebuilt.
CREATE TABLE IF NOT EXISTS view (
    name   text    PRIMARY KEY,
    digest text    NOT NULL,
    told   boolean NOT NULL
);
