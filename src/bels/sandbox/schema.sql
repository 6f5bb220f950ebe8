-- Where this table is, the database is a sandbox: an ordinary server does not serve it. ahead is how far its clock runs before ours.
CREATE TABLE IF NOT EXISTS sandbox (
    id      int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    made_at timestamptz NOT NULL,
    ahead   interval NOT NULL
);

-- The partners that it brings along; secret is sealed, so that it can be said again at every start.
CREATE TABLE IF NOT EXISTS sandbox_partner (
    client text PRIMARY KEY,
    place  int NOT NULL UNIQUE,
    name   text NOT NULL,
    secret text NOT NULL
);

-- Their attempts; block is what the numbers of the accounts begin with. A run that is not whole was broken off, and is left.
CREATE TABLE IF NOT EXISTS sandbox_run (
    client   text NOT NULL,
    number   int NOT NULL,
    block    text NOT NULL UNIQUE,
    began_at timestamptz NOT NULL,
    whole    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (client, number)
);

-- What was asked of the sandbox itself: the same key again gets the same answer; one that was broken off has a plan and no answer.
CREATE TABLE IF NOT EXISTS sandbox_act (
    client  text NOT NULL,
    key     text NOT NULL,
    content text NOT NULL,
    plan    text NOT NULL,
    answer  text NOT NULL,
    PRIMARY KEY (client, key)
);

-- What a partner sent, without its words: which operations, about which account and payment, and how it ended.
CREATE TABLE IF NOT EXISTS sandbox_request (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client     text NOT NULL,
    run        int NOT NULL,
    began_at   timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    operations text[] NOT NULL,
    account    text,
    payment_id text,
    content    bytea NOT NULL,
    fault      text,
    status     int NOT NULL,
    code       text
);
CREATE INDEX IF NOT EXISTS sandbox_request_idx ON sandbox_request (client, run, number);
