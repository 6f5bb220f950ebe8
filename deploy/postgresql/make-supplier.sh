#!/bin/sh
# Run once by the image of PostgreSQL in a new cluster: the database, and its owner, who is no superuser.
set -eu
password=$(cut -d: -f5- /run/secrets/bels_pgpass)
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres --set=password="$password" <<'SQL'
CREATE ROLE bels LOGIN PASSWORD :'password';
CREATE DATABASE bels OWNER bels;
REVOKE CONNECT, TEMPORARY ON DATABASE bels FROM PUBLIC;
SQL
