-- An auditor who reads with SQL: the role bels_auditor sees the journal, the seals, the trail, the views and the records of access, and
-- nothing else: no words that people wrote, no names, no keys, no sessions. It is given no right to write anything.
--
-- Run by a superuser in the database of bels, after `bels` has been started once, and again after every upgrade (a view that is made
-- anew loses its rights) and whenever a person was added; running it twice changes nothing:
--
--   psql --set=ON_ERROR_STOP=1 --dbname=bels --file=auditor.sql
--
-- A person is a login of its own, so that the server's log says who asked what:
--
--   CREATE ROLE auditor_ivanova LOGIN PASSWORD '...' CONNECTION LIMIT 2;
--   GRANT bels_auditor TO auditor_ivanova;
--
-- and is taken away by DROP ROLE auditor_ivanova. Whoever reads so does not come through the door of bels: not access_log but the log of
-- PostgreSQL has every statement. Keep that log where neither auditors nor the owner of the database can change it.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bels_auditor') THEN
        CREATE ROLE bels_auditor NOLOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bels_auditor', current_database());
END $$;

-- What PostgreSQL lets everybody write: temporary tables, and large objects. bels needs neither.
DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$;
REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO bels_auditor;

-- What is true, and its proofs.
GRANT SELECT ON journal, seal, sealed_head TO bels_auditor;
-- Without the words themselves: content is their digest.
GRANT SELECT (channel, message_id, receipt, account, actor, content, recorded_at, status, first_version, last_version, request_id)
    ON message TO bels_auditor;
-- Without the private halves.
GRANT SELECT (key, public, created_at) ON seal_key TO bels_auditor;

-- What follows from the journal.
GRANT SELECT ON trail, trail_told, view, overview, estimation, reading, usage, recalculation, ledger, balance, payment, notice,
    partner_event TO bels_auditor;

-- Who looked at what, and what was done to credentials and cabinets.
GRANT SELECT ON access_log, identity_act TO bels_auditor;

-- Settings are not inherited: every person of the role is given them. Nobody but a superuser can switch the log off again.
DO $$
DECLARE
    person text;
BEGIN
    FOR person IN
        SELECT m.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
         WHERE r.rolname = 'bels_auditor' AND m.rolcanlogin AND NOT m.rolsuper
    LOOP
        EXECUTE format('ALTER ROLE %I SET log_statement = ''all''', person);
        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', person);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''10min''', person);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''5min''', person);
        EXECUTE format('ALTER ROLE %I SET timezone = ''Europe/Moscow''', person);
    END LOOP;
END $$;
