#!/usr/bin/env bash
# The servers of scripts/bench, on loopback, with their data on disk.
#
#   server.sh start MAJOR DIRECTORY   makes a cluster there, or starts the one that is there; prints its URL
#   server.sh stop DIRECTORY          ends the server by its process id; the data stay
#
# The data are thrown away one day, so nothing is synced, as in tests; nothing runs beside a measurement (no autovacuum), and
# checkpoints come as rarely as on a server that is tuned for a restore.

. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
. "$REPOSITORY/scripts/lib/install.sh"
. "$REPOSITORY/scripts/lib/postgres.sh"

# shellcheck disable=SC2034 # read by write_postgres_settings
POSTGRES_EXTRA_SETTINGS="shared_buffers = '512MB'
wal_level = replica
max_wal_size = '6GB'
min_wal_size = '1GB'
checkpoint_timeout = '1h'
autovacuum = off
jit = off"

# The tests' label provider takes part in every statement: not in what is measured.
label_provider() { :; }

start() {
  local major=$1 directory=$2 environment=$2.env
  if [ -d "$directory/data" ]; then
    start_again "$major" "$directory"
  else
    (umask 077 && : >"$environment")
    start_postgres "$major" "$directory" "$environment"
  fi
  sed -n "s/^export PGKEEP_TEST_PG${major}_URL=//p" "$environment"
}

# start_again MAJOR DIRECTORY: the port of last time may be taken.
start_again() {
  local major=$1 directory=$2 port
  stop "$directory"
  rm -f "$directory/data/postmaster.pid"
  port=$(free_port)
  write_postgres_settings "$directory" "$port" ""
  as_server_user "$(bin_directory "$major")/pg_ctl" --pgdata="$directory/data" --log="$directory/log" --silent --wait \
    --timeout=300 start >>"$directory.log" 2>&1 || die "PostgreSQL $major did not start: $(tail -n 3 "$directory/log")"
  sed -i "s/@127\.0\.0\.1:[0-9]*/@127.0.0.1:$port/" "$directory.env"
}

# SIGINT: a fast shutdown with a checkpoint, because kept data are used again.
stop() {
  local directory=$1 pid
  [ -s "$directory/data/postmaster.pid" ] || return 0
  pid=$(head -n 1 "$directory/data/postmaster.pid")
  # The file may be left from before a reboot, and its process id be somebody else's.
  [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$directory/data" ] || return 0
  end_process "$pid" INT "PostgreSQL in $directory"
}

case ${1:-} in
  start) start "$2" "$3" ;;
  stop) stop "$2" ;;
  *) die "server.sh start MAJOR DIRECTORY, or server.sh stop DIRECTORY" ;;
esac
