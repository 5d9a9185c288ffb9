#!/bin/sh
# The part of the public image's entry point that the tests rely on: make a cluster once, then become the server.
set -eu

: "${PGDATA:=/var/lib/postgresql/data}" "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
SOCKETS=/var/run/postgresql

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" "$SOCKETS"
  chown -R postgres:postgres "$PGDATA" "$SOCKETS"
  chmod 700 "$PGDATA"
  # busybox's setpriv cannot change the user.
  exec su -p -s /bin/sh postgres -c 'exec docker-entrypoint.sh "$@"' -- sh "$@"
fi

make_cluster() {
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "error: the server needs a password: set POSTGRES_PASSWORD" >&2
    exit 1
  fi
  password_file=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$password_file"
  # POSTGRES_INITDB_ARGS is a list of words.
  # shellcheck disable=SC2086
  initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile="$password_file" --auth=scram-sha-256 \
    ${POSTGRES_INITDB_ARGS:-}
  rm -f "$password_file"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
}

make_database() {
  pg_ctl --pgdata="$PGDATA" --options="-c listen_addresses='' -k $SOCKETS" --wait start
  PGPASSWORD=$POSTGRES_PASSWORD createdb --host="$SOCKETS" --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  make_cluster
  [ "$POSTGRES_DB" = postgres ] || make_database
fi

if [ "${1:-}" = postgres ]; then
  shift
  set -- postgres -D "$PGDATA" -c listen_addresses='*' -k "$SOCKETS" "$@"
fi
exec "$@"
