# Throwaway PostgreSQL servers on loopback.
# shellcheck shell=bash

# start_postgres MAJOR DIRECTORY ENV_FILE: makes a cluster below DIRECTORY, starts it on a free port and appends its
# URL to ENV_FILE.
start_postgres() {
  local major=$1 directory=$2 environment=$3 bin password_file password port attempt
  bin=$(bin_directory "$major")
  password=$(random_password)
  password_file=$directory/password
  mkdir -p "$directory"
  chmod 711 "$directory"
  (umask 077 && printf '%s\n' "$password" >"$password_file")
  if is_root; then chown -R "$(server_user)" "$directory"; fi
  as_server_user "$bin/initdb" --pgdata="$directory/data" --username=postgres --auth=scram-sha-256 \
    --pwfile="$password_file" --encoding=UTF8 --locale=C --no-sync >"$directory.log" 2>&1 ||
    die "initdb of PostgreSQL $major failed: $(tail -n 5 "$directory.log")"
  rm -f "$password_file"
  # Another process may take the port between the choice and the start.
  for attempt in 1 2 3 4 5; do
    port=$(free_port)
    write_postgres_settings "$directory" "$port" "$(label_provider "$major")"
    if as_server_user "$bin/pg_ctl" --pgdata="$directory/data" --log="$directory/log" --silent --wait start \
      >>"$directory.log" 2>&1; then
      {
        echo "export PGKEEP_TEST_PG${major}_URL=postgresql://postgres:$password@127.0.0.1:$port/postgres"
        echo "export PGKEEP_TEST_PG${major}_SOCKET_DIR=$directory"
      } >>"$environment"
      return
    fi
    say "PostgreSQL $major did not start on port $port (attempt $attempt): $(tail -n 3 "$directory/log" 2>/dev/null)"
  done
  die "PostgreSQL $major did not start; see $directory/log"
}

# Throwaway data is not synced to disk and keeps little WAL, as it lies in memory; logical WAL, prepared transactions
# and the raised lock table are what the tests' cases need. PRELOAD is a module, or empty. POSTGRES_EXTRA_SETTINGS has the last
# word.
write_postgres_settings() {
  local directory=$1 port=$2 preload=$3
  as_server_user tee "$directory/data/postgresql.auto.conf" >/dev/null <<SETTINGS
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$directory'
fsync = off
synchronous_commit = off
full_page_writes = off
min_wal_size = '80MB'
max_wal_size = '512MB'
wal_level = logical
max_connections = 100
max_locks_per_transaction = 256
max_prepared_transactions = 10
shared_preload_libraries = ''
session_preload_libraries = '$preload'
log_line_prefix = '%m [%p] %q%u@%d '
${POSTGRES_EXTRA_SETTINGS:-}
SETTINGS
}

# stop_postgres DIRECTORY: ends the server and removes its data.
stop_postgres() {
  local directory=$1 pid
  if [ -s "$directory/data/postmaster.pid" ]; then
    pid=$(head -n 1 "$directory/data/postmaster.pid")
    # SIGQUIT: data that is thrown away needs no checkpoint.
    end_process "$pid" QUIT "PostgreSQL in $directory"
  fi
  rm -rf "$directory" "$directory.log"
}
