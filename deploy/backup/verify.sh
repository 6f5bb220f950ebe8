#!/bin/sh
# Prove a restored database: its views, told again from its journal, must be the views that were restored.
#
#   BELS_DATABASE_URL=postgresql://... verify.sh
#
# Prints a digest of every table, rebuilds, and compares. Run it on what was restored for the drill, not on the live database,
# where messages arrive meanwhile. BELS is the program, where PATH has it not.
set -eu
: "${BELS_DATABASE_URL:?the URL of the restored database}"
PATH=${PG_BIN:+$PG_BIN:}$PATH

ask() {
	psql --dbname="$BELS_DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1
}
# A sum of the rows' hashes: their order says nothing, and no table is too large for it.
digests() {
	ask <<-'SQL' | ask
		SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM %I.%I t;',
		              table_schema || '.' || table_name, table_schema, table_name)
		  FROM information_schema.tables
		 WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
		 ORDER BY table_schema, table_name
	SQL
}
before=$(digests)
[ -n "$before" ] || {
	echo "verify: the database is empty" >&2
	exit 2
}
echo "$before"
"${BELS:-bels}" rebuild
after=$(digests)
if [ "$before" != "$after" ]; then
	echo "verify: told again from the journal, these tables are others:" >&2
	echo "$after" | while read -r line; do
		case "
$before
" in
		*"
$line
"*) ;;
		*) echo "  $line" >&2 ;;
		esac
	done
	exit 1
fi
echo "verify: every table is what the journal says"
