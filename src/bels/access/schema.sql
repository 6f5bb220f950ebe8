-- Who may come in, and what is personal. Apart from the journal: these tables change, and people can be erased from them.
-- Nothing here names a person in clear: logins, phones and e-mails are keyed digests, texts are sealed by a key of their subject.

-- The keys. A schema of its own, so that a backup of everything else leaves them out: a key destroyed here, whose own backups
-- are kept for days only, makes what it sealed unreadable in every older copy of the tables.
CREATE SCHEMA IF NOT EXISTS bels_keys;

-- One key a subject (an account's tenure "1000101/1", a person "u-..."), wrapped by the master key that it names.
CREATE TABLE IF NOT EXISTS bels_keys.data_key (
    subject      text        PRIMARY KEY,
    master       text        NOT NULL,
    wrapped      bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
-- Keys of the installation: of digests of contacts, logins, senders, tokens.
CREATE TABLE IF NOT EXISTS bels_keys.named_key (
    name    text  PRIMARY KEY,
    master  text  NOT NULL,
    wrapped bytea NOT NULL
);

-- Personal data of a subject: one sealed JSON document.
CREATE TABLE IF NOT EXISTS personal (
    subject    text        PRIMARY KEY,
    sealed     bytea       NOT NULL,
    changed_at timestamptz NOT NULL
);
-- Exact phones and e-mails, as keyed digests.
CREATE TABLE IF NOT EXISTS contact (
    subject text  NOT NULL,
    kind    text  NOT NULL,
    digest  bytea NOT NULL,
    PRIMARY KEY (subject, kind, digest)
);
CREATE INDEX IF NOT EXISTS contact_digest_idx ON contact (kind, digest);

-- Consumers and staff. grants are an operator's ("money", "rules", "people").
CREATE TABLE IF NOT EXISTS person (
    person      text        PRIMARY KEY,
    kind        text        NOT NULL,
    grants      text[]      NOT NULL DEFAULT '{}',
    login       bytea       UNIQUE,
    oidc        bytea       UNIQUE,
    password    text,
    must_change boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
-- Partners and gateways. secret is a keyed digest; the one before it holds until previous_until, so that it is changed without a break.
CREATE TABLE IF NOT EXISTS client (
    client         text        PRIMARY KEY,
    kind           text        NOT NULL,
    name           text        NOT NULL,
    channel        text        NOT NULL,
    scopes         text[]      NOT NULL DEFAULT '{}',
    secret         bytea       NOT NULL,
    previous       bytea,
    previous_until timestamptz,
    certificate    text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz
);
-- What a refresh token continues; token and previous are keyed digests. A previous one that is used again revokes the session.
CREATE TABLE IF NOT EXISTS session (
    session    text        PRIMARY KEY,
    person     text        NOT NULL,
    token      bytea       NOT NULL UNIQUE,
    previous   bytea,
    created_at timestamptz NOT NULL,
    used_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    reason     text
);
CREATE INDEX IF NOT EXISTS session_person_idx ON session (person);
CREATE UNIQUE INDEX IF NOT EXISTS session_previous_idx ON session (previous);
-- Keys that sign access tokens; private is sealed by the named key "tokens".
CREATE TABLE IF NOT EXISTS signing_key (
    kid        text        PRIMARY KEY,
    public     text        NOT NULL,
    private    bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    retired_at timestamptz
);

-- A tenure is the time of one household in a flat: the next one sees entries after `entry` and periods from `period` on.
CREATE TABLE IF NOT EXISTS tenure (
    account  text        PRIMARY KEY,
    number   int         NOT NULL,
    since    timestamptz NOT NULL,
    entry    bigint      NOT NULL,
    period   text        NOT NULL
);
-- Which person sees which account, from where on.
CREATE TABLE IF NOT EXISTS membership (
    account  text        NOT NULL,
    person   text        NOT NULL,
    since    timestamptz NOT NULL,
    entry    bigint      NOT NULL,
    period   text        NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (account, person, since)
);
CREATE UNIQUE INDEX IF NOT EXISTS membership_current_idx ON membership (person, account) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS membership_account_idx ON membership (account) WHERE ended_at IS NULL;
-- One-task links, by the keyed digest of their token: ``about`` is what one confirms, ``attempt`` the key of what carried it out.
CREATE TABLE IF NOT EXISTS task_link (
    token      bytea       PRIMARY KEY,
    link       text        NOT NULL UNIQUE,
    account    text        NOT NULL,
    task       text        NOT NULL,
    made_by    text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    opened_at  timestamptz,
    done_at    timestamptz,
    revoked_at timestamptz,
    about      text,
    attempt    text
);
-- Databases from before them; a lock on the table is taken only where they are missing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'task_link'::regclass AND attname = 'attempt') THEN
        ALTER TABLE task_link ADD COLUMN about text, ADD COLUMN attempt text;
    END IF;
END $$;
CREATE INDEX IF NOT EXISTS task_link_account_idx ON task_link (account);
-- Cards bound by a person for an account: the acquirer's token is sealed by the person's key.
CREATE TABLE IF NOT EXISTS card_binding (
    binding    text        PRIMARY KEY,
    person     text        NOT NULL,
    account    text        NOT NULL,
    masked     text        NOT NULL,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    removed_at timestamptz,
    reason     text
);
CREATE INDEX IF NOT EXISTS card_binding_person_idx ON card_binding (person) WHERE removed_at IS NULL;
CREATE INDEX IF NOT EXISTS card_binding_account_idx ON card_binding (account) WHERE removed_at IS NULL;

-- Failures of a login, a registration, a code: by keyed digests of who, from where, and both.
CREATE TABLE IF NOT EXISTS attempt (
    key      bytea       PRIMARY KEY,
    failures int         NOT NULL,
    last_at  timestamptz NOT NULL,
    until    timestamptz NOT NULL
);

-- What was done to credentials, cabinets and keys: who, to whom, why, on which document. Only added to.
CREATE TABLE IF NOT EXISTS identity_act (
    act        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text        NOT NULL,
    by_subject text        NOT NULL,
    subject    text        NOT NULL,
    account    text,
    reason     text,
    document   text,
    request_id text        NOT NULL
);
CREATE INDEX IF NOT EXISTS identity_act_account_idx ON identity_act (account, act);
CREATE INDEX IF NOT EXISTS identity_act_subject_idx ON identity_act (subject, act);
CREATE OR REPLACE TRIGGER identity_act_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON identity_act
    EXECUTE FUNCTION bels_nothing_changes();

-- Every read by staff: when, who, by which request, which fields of the schema at the root, which accounts. Only added to.
CREATE TABLE IF NOT EXISTS access_log (
    read       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    subject    text        NOT NULL,
    kind       text        NOT NULL,
    request_id text        NOT NULL,
    fields     text[]      NOT NULL,
    accounts   text[]      NOT NULL
);
CREATE INDEX IF NOT EXISTS access_log_subject_idx ON access_log (subject, read);
CREATE INDEX IF NOT EXISTS access_log_accounts_idx ON access_log USING gin (accounts);
CREATE INDEX IF NOT EXISTS access_log_at_idx ON access_log (at);
CREATE OR REPLACE TRIGGER access_log_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
    EXECUTE FUNCTION bels_nothing_changes();
REVOKE UPDATE, DELETE, TRUNCATE ON identity_act, access_log FROM PUBLIC, CURRENT_USER;

-- How many messages a sender, or a stranger for an account, has brought on a day: by keyed digests.
CREATE TABLE IF NOT EXISTS spent (
    key      bytea NOT NULL,
    day      date  NOT NULL,
    attempts int   NOT NULL,
    PRIMARY KEY (key, day)
);
