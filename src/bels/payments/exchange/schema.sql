-- Files exchanged with partners: how each work for each of them stands, and what of their server was fetched already.

-- A work that failed is not tried before not_before; error is the kind of the last failure and holds nothing personal. done is
-- what was done last: the period of the charges.
CREATE TABLE IF NOT EXISTS exchange_state (
    partner    text        NOT NULL,
    work       text        NOT NULL,
    tried_at   timestamptz NOT NULL,
    ok_at      timestamptz,
    failures   int         NOT NULL DEFAULT 0,
    not_before timestamptz,
    error      text,
    done       text,
    PRIMARY KEY (partner, work)
);
-- A file of a partner's server that was taken, though it lies there still: it is not fetched every minute again. name is a digest,
-- for banks may write anything into the name of a file.
CREATE TABLE IF NOT EXISTS exchange_fetched (
    partner    text        NOT NULL,
    name       bytea       NOT NULL,
    size       bigint      NOT NULL,
    changed_at bigint      NOT NULL,
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (partner, name)
);
