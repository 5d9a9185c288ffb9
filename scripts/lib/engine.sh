# A container engine, and the test servers in its containers.
# shellcheck shell=bash

COMPOSE=()

engine_answers() { has docker && docker info >/dev/null 2>&1; }

own_engine_directory() { printf '%s\n' "$(cache_directory)/engine"; }
use_own_engine() {
  DOCKER_HOST=unix://$(own_engine_directory)/docker.sock
  export DOCKER_HOST
}

# engine_possible: whether an engine runs here or could be installed and started.
engine_possible() { engine_answers || { is_root && has apt-get; }; }

# Makes an engine answer: the machine's own if it runs, else one that these scripts install and start. Until
# descriptor 8 is closed, nobody ends it.
acquire_engine() {
  exec 8>"$(cache_directory)/engine.lock"
  flock -s 8
  if ! engine_answers; then
    use_own_engine
    engine_answers || with_lock engine-start start_engine
  fi
  find_compose
}

start_engine() {
  local directory log
  if engine_answers; then return; fi
  is_root || die "no container engine answers, and only root can start one: start Docker, or run without --compose"
  { has dockerd && has docker; } || with_lock install install_packages docker.io
  directory=$(own_engine_directory)
  log=$directory/log
  mkdir -p "$directory"
  rm -f "$directory/dockerd.pid"
  say "starting a container engine"
  setsid dockerd --host "unix://$directory/docker.sock" --data-root "$directory/data" --exec-root "$directory/run" \
    --pidfile "$directory/dockerd.pid" >"$log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$directory/pid"
  for _ in $(seq 1 600); do
    if engine_answers; then return; fi
    is_running "$(cat "$directory/pid")" || die "dockerd ended at once: $(tail -n 5 "$log")"
    sleep 0.1
  done
  die "dockerd did not answer within 60 seconds: $(tail -n 5 "$log")"
}

find_compose() {
  if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
  else
    has docker-compose || with_lock install install_packages docker-compose
    COMPOSE=(docker-compose)
  fi
}

# Ends the engine if these scripts started it, nobody is about to use it, and no container runs in it.
release_engine() {
  local directory
  exec 8>&-
  directory=$(own_engine_directory)
  [ -s "$directory/pid" ] || return 0
  (
    flock -n 8 || exit 0
    [ -z "$(docker --host "unix://$directory/docker.sock" ps --quiet)" ] || exit 0
    end_process "$(cat "$directory/pid")" TERM "the container engine"
    rm -f "$directory/pid" "$directory/docker.sock"
  ) 8>"$(cache_directory)/engine.lock"
}

compose() {
  if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
  else
    has docker-compose || with_lock install install_packages docker-compose
    COMPOSE=(docker-compose)
  fi
}

# Ends the engine if these scripts started it and nobody else uses it.
release_engine() {
  local directory pid
  exec 8>&-
  directory=$(own_engine_directory)
  [ -s "$directory/pid" ] || return 0
  (
    flock -n 8 || exit 0
    pid=$(cat "$directory/pid")
    end_process "$pid" TERM "the container engine"
    rm -f "$directory/pid" "$directory/docker.sock"
  ) 8>"$(cache_directory)/engine.lock"
}

compose() {
  "${COMPOSE[@]}" --file "$REPOSITORY/docker-compose.test.yml" "$@"
}

# start_compose DIRECTORY ENV_FILE: PostgreSQL 17 and the AWS endpoint in containers.
start_compose() {
  local directory=$1 environment=$2 attempt
  acquire_engine
  mkdir -p "$directory"
  PGKEEP_TEST_POSTGRES_IMAGE=${PGKEEP_TEST_POSTGRES_IMAGE:-$(with_lock images stand_in_image postgres)} || exit 1
  PGKEEP_TEST_AWS_IMAGE=${PGKEEP_TEST_AWS_IMAGE:-$(with_lock images stand_in_image aws)} || exit 1
  PGKEEP_TEST_PG_PASSWORD=$(random_password)
  COMPOSE_PROJECT_NAME=pgkeep-test-$(random_password | cut -c1-8)
  export PGKEEP_TEST_POSTGRES_IMAGE PGKEEP_TEST_AWS_IMAGE PGKEEP_TEST_PG_PASSWORD COMPOSE_PROJECT_NAME
  # Another process may take a port between the choice and the start.
  for attempt in 1 2 3; do
    PGKEEP_TEST_PG_PORT=$(free_port)
    PGKEEP_TEST_AWS_PORT=$(free_port)
    export PGKEEP_TEST_PG_PORT PGKEEP_TEST_AWS_PORT
    (umask 077 && export -p | grep -E ' (PGKEEP_TEST_(POSTGRES_IMAGE|AWS_IMAGE|PG_PASSWORD|PG_PORT|AWS_PORT)|COMPOSE_PROJECT_NAME|DOCKER_HOST)=' >"$directory/env")
    if compose up --detach >"$directory/log" 2>&1; then break; fi
    [ "$attempt" -lt 3 ] || die "the containers did not start: $(tail -n 5 "$directory/log")"
    compose down --volumes >>"$directory/log" 2>&1 || true
  done
  await_health
  exec 8>&-
  {
    echo "export PGKEEP_TEST_PG17_URL=postgresql://postgres:$PGKEEP_TEST_PG_PASSWORD@127.0.0.1:$PGKEEP_TEST_PG_PORT/postgres"
    echo "export PGKEEP_TEST_POSTGRES_IMAGE=$PGKEEP_TEST_POSTGRES_IMAGE"
    [ -z "${DOCKER_HOST:-}" ] || echo "export DOCKER_HOST=$DOCKER_HOST"
    aws_environment "http://127.0.0.1:$PGKEEP_TEST_AWS_PORT"
  } >>"$environment"
}

# Version 1 of compose has no `up --wait`.
await_health() {
  local containers container health
  containers=$(compose ps -q)
  for _ in $(seq 1 300); do
    health=$(for container in $containers; do docker inspect --format '{{.State.Health.Status}}' "$container"; done | sort -u)
    [ "$health" != healthy ] || return 0
    sleep 0.3
  done
  compose logs --tail 20 >&2 || true
  die "the containers did not become healthy within 90 seconds"
}

# stop_compose DIRECTORY
stop_compose() {
  local directory=$1
  if [ -s "$directory/env" ]; then
    # shellcheck disable=SC1091 # written by start_compose
    . "$directory/env"
    if engine_answers; then
      find_compose
      compose down --volumes --timeout 5 >>"$directory/log" 2>&1 || say "the containers of $COMPOSE_PROJECT_NAME did not stop: $(tail -n 3 "$directory/log")"
    fi
    release_engine
  fi
  rm -rf "$directory"
}

# compose_status DIRECTORY
compose_status() {
  # shellcheck disable=SC1091 # written by start_compose
  . "$1/env"
  find_compose
  compose ps
}
