"""Check the tables that the proof rests on: plain ones, that say the same to everybody and are only added to.

Whoever has all rights can put a view in the place of a table that tells the auditor what was true and the supplier what is not, or
switch a trigger off for a moment and forget it. What was written meanwhile is found by the chains; this finds the door that stands open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asyncpg import Record

from bels.audit.findings import Finding, FindingKind
from bels.journal.write import Db

KEYS = {
    "journal": ["originator_id", "originator_version"],
    "message": ["channel", "message_id"],
    "seal": ["number"],
    "sealed_head": ["account", "seal"],
}
"""The tables, each with its primary key: without it a row may stand there twice."""

FORBIDDING = (
    " BEGIN RAISE EXCEPTION 'bels: % of % is forbidden, the journal is only added to', TG_OP, TG_TABLE_NAME; END "
)
"""The body of the function that the triggers call, as ``bels.journal`` installs it."""


@dataclass(frozen=True, slots=True)
class TablesChecked:
    """What is found in the tables, and ``warnings``: what is allowed that nobody needs."""

    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()


# A trigger's type is a set of bits: 2 BEFORE, 8 DELETE, 16 UPDATE, 32 TRUNCATE; one for each row would have 1, too.
TABLES = """
    SELECT wanted.name, n.nspname, c.relkind::text, c.relpersistence::text, c.relrowsecurity,
           EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid) AS has_rules,
           EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent)) AS is_inherited,
           EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                      AND (a.attgenerated <> '' OR t.typnamespace <> 'pg_catalog'::regnamespace)) AS is_computed,
           EXISTS (SELECT FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT l.collisdeterministic) AS is_blurred,
           (SELECT array_agg(a.attname::text ORDER BY k.place)
              FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid AND i.indisready
               AND i.indislive) AS key,
           EXISTS (SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
                    WHERE g.tgrelid = c.oid AND g.tgname = wanted.name || '_is_only_added_to' AND g.tgenabled IN ('O', 'A')
                      AND g.tgtype = 58 AND g.tgqual IS NULL AND g.tgattr = '' AND p.prosrc = $2) AS is_guarded,
           ARRAY(SELECT g.tgname::text FROM pg_trigger g
                  WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgname <> wanted.name || '_is_only_added_to'
                  ORDER BY 1) AS triggers
      FROM unnest($1::text[]) AS wanted (name)
      JOIN pg_class c ON c.oid = to_regclass(wanted.name)
      JOIN pg_namespace n ON n.oid = c.relnamespace
     ORDER BY wanted.name
"""

# Rights that were given of a table or of its columns; the owner of one that was never granted to anybody has all of them.
RIGHTS = """
    SELECT wanted.name, coalesce(r.rolname::text, 'PUBLIC') AS role, string_agg(DISTINCT acl.privilege_type, ', ') AS rights
      FROM unnest($1::text[]) AS wanted (name)
      JOIN pg_class c ON c.oid = to_regclass(wanted.name)
     CROSS JOIN LATERAL (
           SELECT (aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))).*
           UNION ALL
           SELECT (aclexplode(a.attacl)).* FROM pg_attribute a WHERE a.attrelid = c.oid) AS acl
      LEFT JOIN pg_roles r ON r.oid = acl.grantee
     WHERE acl.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')
     GROUP BY 1, 2
     ORDER BY 1, 2
"""

OTHERS = """
    SELECT c.relname::text AS name, n.nspname::text AS schema
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relname = ANY($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid <> to_regclass(c.relname)
     ORDER BY 1, 2
"""

SETTINGS = """
    SELECT coalesce(r.rolname::text, 'everybody') AS role, setting
      FROM pg_db_role_setting s
     CROSS JOIN LATERAL unnest(s.setconfig) AS setting
      LEFT JOIN pg_roles r ON r.oid = s.setrole
     WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND split_part(setting, '=', 1) IN ('session_replication_role', 'search_path', 'row_security')
     ORDER BY 1, 2
"""


async def check_tables(db: Db) -> TablesChecked:
    """Check the tables as this session meets them; those that are not there yet are none to be checked."""
    names = list(KEYS)
    rows = await db.fetch(TABLES, names, FORBIDDING)
    findings = [Finding(FindingKind.TABLE_CHANGED, text) for row in rows for text in _wrong_with(row)]
    if len({row["nspname"] for row in rows}) > 1:
        where = ", ".join(f"{row['name']} in {row['nspname']}" for row in rows)
        findings.append(Finding(FindingKind.TABLE_CHANGED, f"the tables do not stand in one schema: {where}"))
    if (await db.fetchval("SELECT current_schemas(true)"))[:1] != ["pg_catalog"]:
        text = "the search path has another schema before pg_catalog: comparisons may be other ones than they seem"
        findings.append(Finding(FindingKind.TABLE_CHANGED, text))
    return TablesChecked(tuple(findings), tuple(await _warnings(db, names)))


def _wrong_with(row: Record) -> Iterator[str]:
    name = row["name"]
    if row["relkind"] != "r" or row["has_rules"]:
        yield f"{name} is no plain table: it may say one thing to one and another to the next"
    if row["relpersistence"] != "p":
        yield f"{name} is a table that does not outlive a crash, or this session"
    if row["is_inherited"]:
        yield f"{name} has rows of other tables among its own, or is a part of another"
    if row["relrowsecurity"]:
        yield f"{name} shows some of its rows to some only (row security)"
    if row["is_computed"]:
        yield f"{name} has columns that are computed, or of types that are not PostgreSQL's own"
    if row["is_blurred"]:
        yield f"{name} has a column whose collation takes different texts for one"
    if row["relkind"] == "r" and row["key"] != KEYS[name]:
        yield f"{name} has no primary key ({', '.join(KEYS[name])}): a row may stand there twice"
    if not row["is_guarded"]:
        yield f"the trigger that forbids to change {name} is gone, switched off, or another one"
    if row["triggers"]:
        yield f"{name} has triggers that bels did not make: {', '.join(row['triggers'])}"


async def _warnings(db: Db, names: list[str]) -> list[str]:
    told = [
        f"{row['role']} has the right to {row['rights']} on {row['name']}, which nobody needs"
        for row in await db.fetch(RIGHTS, names)
    ]
    told += [
        f"there is another {row['name']} in the schema {row['schema']}, which other sessions may meet"
        for row in await db.fetch(OTHERS, names)
    ]
    told += [
        f"sessions of {row['role']} begin with {row['setting']}: see that they meet the same tables and triggers"
        for row in await db.fetch(SETTINGS)
    ]
    return told
