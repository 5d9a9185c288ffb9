# Helpers that every script sources: messages, rights, the cache, free ports.
# shellcheck shell=bash

set -euo pipefail

# runuser and dockerd are root's programs, which root's PATH after a plain `su` does not hold.
PATH=$PATH:/usr/sbin:/sbin

# shellcheck disable=SC2034 # used by the scripts that source this file
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }
in_ci() { [ "${CI:-}" = true ]; }

# Shows what a command says only if it fails.
quietly() {
  local output status=0
  output=$(mktemp)
  "$@" >"$output" 2>&1 || status=$?
  [ $status = 0 ] || cat "$output" >&2
  rm -f "$output"
  return $status
}

# Runs a command as root; fails, rather than asks, where nobody could answer.
as_root() {
  if is_root; then
    "$@"
  elif has sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 1
  fi
}

# PostgreSQL refuses to run as root: root runs servers as this user.
server_user() {
  if ! is_root; then
    id -un
  elif id -u postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

as_server_user() {
  if is_root; then
    runuser -u "$(server_user)" -- "$@"
  else
    "$@"
  fi
}

# Where downloads are kept between runs, outside the clone. Root's home is closed to the user that servers run as, so
# root's cache lies where everybody may read.
cache_directory() {
  local cache=${PGKEEP_CACHE:-}
  if [ -z "$cache" ]; then
    if is_root; then cache=/var/cache/pgkeep; else cache=$HOME/.cache/pgkeep; fi
  fi
  mkdir -p "$cache"
  as_server_user test -x "$cache" ||
    die "the user $(server_user), as which PostgreSQL runs, cannot enter $cache; set PGKEEP_CACHE to a folder that it can"
  printf '%s\n' "$cache"
}

# with_lock NAME COMMAND...: two runs never install the same thing at once.
with_lock() {
  local name=$1 lock
  shift
  lock=$(cache_directory)/$name.lock
  (
    flock 9
    "$@" 9>&-
  ) 9>"$lock"
}

# A folder on a memory disk where there is room for the servers, else on the ordinary temporary disk.
fast_temporary_directory() {
  local parent=${TMPDIR:-/tmp} free
  free=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1 || true)
  if [ "${free:-0}" -ge $((4 * 1024 * 1024)) ] && [ -w /dev/shm ]; then
    parent=/dev/shm
  fi
  mktemp -d "$parent/pgkeep-test.XXXXXX"
}

random_password() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

free_port() {
  python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A process that has ended stays visible as a zombie until its parent asks: it does not run.
is_running() {
  kill -0 "$1" 2>/dev/null && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# end_process PID SIGNAL NAME: asks, waits, and only then insists.
end_process() {
  local pid=$1 signal=$2 name=$3
  is_running "$pid" || return 0
  kill "-$signal" "$pid" 2>/dev/null || return 0
  for _ in $(seq 1 150); do
    is_running "$pid" || return 0
    sleep 0.1
  done
  say "$name (process $pid) did not stop within 15 seconds: killing it"
  kill -KILL "$pid" 2>/dev/null || true
}
