#!/bin/sh
# Back up the supplier's database: everything but the keys, kept long, and the keys, kept for days.
#
#   BELS_DATABASE_URL=postgresql://... BELS_BACKUP_DIR=/var/backups/bels backup.sh
#
# Writes tables-<time>.dump (all but the schema bels_keys) and keys-<time>.dump (it alone), pg_dump's custom format, each with a
# .sha256 beside it. What erasure destroys is a key: a week after it no backup can be read for that person any more, however old
# and however many. So the keys' dumps must not be copied to where things are kept longer.
#
# BELS_BACKUP_KEEP_DAYS (90) and BELS_BACKUP_KEYS_KEEP_DAYS (7) say how long; PG_BIN is the folder of pg_dump where PATH has none
# of the server's version.
set -eu
umask 077
: "${BELS_DATABASE_URL:?the URL of the database}" "${BELS_BACKUP_DIR:?the folder of the backups}"
PATH=${PG_BIN:+$PG_BIN:}$PATH
keep_days=${BELS_BACKUP_KEEP_DAYS:-90}
keys_keep_days=${BELS_BACKUP_KEYS_KEEP_DAYS:-7}
for days in "$keep_days" "$keys_keep_days"; do
	case $days in
	'' | 0* | *[!0-9]* | ?????*)
		echo "backup: days to keep are a whole number from 1 to 9999, not '$days'" >&2
		exit 2
		;;
	esac
done
now=$(date +%s)
time=$(date -u -d "@$now" +%Y%m%dT%H%M%SZ)
mkdir -p "$BELS_BACKUP_DIR"
cd "$BELS_BACKUP_DIR"

# One backup at a time; the lock goes with the process.
exec 9>.lock
flock -n 9 || {
	echo "backup: another one is under way in $BELS_BACKUP_DIR" >&2
	exit 1
}
rm -f ./*.part
trap 'rm -f ./*.part' EXIT

dump() { # NAME OPTION: written aside, proved readable to its end, put in its place when it is whole and on the disk.
	pg_dump --dbname="$BELS_DATABASE_URL" --format=custom --no-owner --no-privileges --lock-wait-timeout=60s \
		"$2" --file="$1-$time.dump.part"
	pg_restore --file=/dev/null "$1-$time.dump.part"
	(sha256sum <"$1-$time.dump.part" | cut -d' ' -f1 | tr -d '\n' && echo "  $1-$time.dump") >"$1-$time.dump.sha256.part"
	sync "$1-$time.dump.part" "$1-$time.dump.sha256.part"
	mv "$1-$time.dump.sha256.part" "$1-$time.dump.sha256"
	mv "$1-$time.dump.part" "$1-$time.dump"
	sync .
	echo "backup: $1-$time.dump, $(wc -c <"$1-$time.dump") bytes"
}

# The keys after the tables: whatever is sealed in the tables then has its key here, unless it was destroyed meanwhile.
dump tables --exclude-schema=bels_keys
dump keys --schema=bels_keys

# A destroyed key leaves a dead row behind until this.
psql --dbname="$BELS_DATABASE_URL" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
	--command='SET client_min_messages = error' --command='VACUUM bels_keys.data_key'

# Only after both are written: a supplier whose backups fail keeps the last ones. By the time in the name, as a copy is younger.
forget() { # NAME DAYS
	oldest=$(date -u -d "@$((now - $2 * 86400))" +%Y%m%dT%H%M%SZ)
	for file in "$1"-*.dump; do
		made=${file#"$1"-}
		made=${made%.dump}
		if expr "$made" "<" "$oldest" >/dev/null; then
			rm -f "$file" "$file.sha256"
			echo "backup: $file is older than $2 days, removed"
		fi
	done
}
forget tables "$keep_days"
forget keys "$keys_keep_days"
