#!/bin/sh
# As root: gives the directories to the server's user. Then makes the data directory, if there is none, with its accounts.
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" && chmod 700 "$PGDATA"
  chmod 775 /run/postgresql
  find "$PGDATA" ! -user postgres -exec chown postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username=postgres --auth-local=trust --auth-host=trust --no-sync >/dev/null
  echo 'host all all all trust' >>"$PGDATA/pg_hba.conf"
  pg_ctl -s -w -o '-c listen_addresses=' start
  psql -qU postgres -c 'CREATE DATABASE shop'
  psql -qU postgres -d shop -c 'CREATE TABLE sale (id serial PRIMARY KEY, what text, at timestamptz DEFAULT now())'
  pg_ctl -s -m fast -w stop
fi
exec "$@" -c listen_addresses='*' -c shared_buffers=16MB -c fsync=off
