#!/bin/sh
# One database and two users for each role that keeps data, each with the least it needs: `tourmesh_<role>` reads and
# writes rows, `tourmesh_<role>_owner` owns the tables and is used by `tourmesh migrate` alone. The image of PostgreSQL
# runs this once, on an empty data directory; it may also be run by hand, any number of times, as a superuser.
set -eu

: "${TOURMESH_DB_PASSWORD:?is the password of the runtime users}"
: "${TOURMESH_DB_OWNER_PASSWORD:?is the password of the owners}"

for role in catalog booking payment notification identity; do
    # psql quotes the values; \gexec runs what a query returns, which is nothing when it is there already.
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set "name=tourmesh_$role" --set "owner=tourmesh_${role}_owner" \
        --set "password=$TOURMESH_DB_PASSWORD" --set "owner_password=$TOURMESH_DB_OWNER_PASSWORD" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', role) FROM unnest(ARRAY[:'name', :'owner']) role
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"name" PASSWORD :'password';
ALTER ROLE :"owner" PASSWORD :'owner_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'owner')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"name" TO :"name", :"owner";
SQL
done
