-- Seals over the journal; statement is what is signed (statement.py), chunks what proofs are made from without reading every head.
CREATE TABLE IF NOT EXISTS seal (
    number    bigint      PRIMARY KEY,
    sealed_at timestamptz NOT NULL,
    statement bytea       NOT NULL,
    signature bytea       NOT NULL,
    chunks    bytea       NOT NULL
);
CREATE OR REPLACE TRIGGER seal_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON seal
    EXECUTE FUNCTION bels_nothing_changes();
REVOKE UPDATE, DELETE, TRUNCATE ON seal FROM PUBLIC, CURRENT_USER;

-- The head of a stream where it differs from that of the seal before: that of a seal is the last one with seal <= its number.
CREATE TABLE IF NOT EXISTS sealed_head (
    account text COLLATE "C" NOT NULL,
    seal    bigint           NOT NULL,
    version bigint           NOT NULL,
    digest  bytea            NOT NULL,
    PRIMARY KEY (account, seal)
);
CREATE OR REPLACE TRIGGER sealed_head_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON sealed_head
    EXECUTE FUNCTION bels_nothing_changes();
REVOKE UPDATE, DELETE, TRUNCATE ON sealed_head FROM PUBLIC, CURRENT_USER;

-- The keys that sign; public halves stay for ever. private is wrapped by the named key "seals" of the vault.
CREATE TABLE IF NOT EXISTS seal_key (
    key        text        PRIMARY KEY,
    public     bytea       NOT NULL,
    private    bytea       NOT NULL,
    created_at timestamptz NOT NULL
);
