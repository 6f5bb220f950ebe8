#!/bin/sh
# Restore a backup into an empty database: restore.sh TABLES.dump [KEYS.dump]
#
#   BELS_DATABASE_URL=postgresql://... restore.sh tables-20261101T003000Z.dump keys-20261105T003000Z.dump
#
# The keys are the newest there are, also under older tables: they hold every key that has not been destroyed. Without keys
# everything is there but personal data, logins and tokens: accounts, readings, bills, balances, audit.
# Afterwards: verify.sh, and bels install where the backup is of an older bels.
set -eu
: "${BELS_DATABASE_URL:?the URL of an empty database}"
PATH=${PG_BIN:+$PG_BIN:}$PATH
tables=${1:?the dump of the tables} keys=${2:-}

ask() {
	psql --dbname="$BELS_DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"
}
whole() { # As it was written, where its digest is beside it.
	if [ -f "$1.sha256" ] && ! [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$(cut -d' ' -f1 "$1.sha256")" ]; then
		echo "restore: $1 is damaged: it has another digest than $1.sha256" >&2
		exit 1
	fi
}
for dump in "$tables" ${keys:+"$keys"}; do
	[ -r "$dump" ] || {
		echo "restore: $dump cannot be read" >&2
		exit 2
	}
	whole "$dump"
done
found=$(ask "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'")
[ "$found" = 0 ] || {
	echo "restore: the database is not empty; make a new one and restore into that" >&2
	exit 2
}
for dump in "$tables" ${keys:+"$keys"}; do
	pg_restore --dbname="$BELS_DATABASE_URL" --no-owner --no-privileges --exit-on-error --single-transaction "$dump"
done
# Whoever was erased after these keys were dumped stays erased.
if [ -n "$keys" ]; then
	ask "UPDATE bels_keys.data_key SET wrapped = NULL, destroyed_at = now()
		WHERE wrapped IS NOT NULL AND subject IN (SELECT subject FROM identity_act WHERE kind = 'PERSONAL_DATA_ERASED')"
fi
# Of the system's own tables only a superuser may; that is no news.
ask "SET client_min_messages = error; ANALYZE"
echo "restore: $(ask 'SELECT count(*) FROM journal') entries of the journal are back"
[ -n "$keys" ] || echo "restore: without keys; personal data, logins and tokens cannot be read"
