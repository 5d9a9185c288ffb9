# The AWS endpoint of the tests, on loopback.
# shellcheck shell=bash

# start_aws DIRECTORY ENV_FILE
start_aws() {
  local directory=$1 environment=$2 waited
  mkdir -p "$directory"
  # moto keeps an open file for each large object.
  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
  # The process must outlive this script and hold none of its descriptors, or a caller that reads them waits for ever.
  setsid "$(python_environment)/bin/python3" "$REPOSITORY/tests/aws/moto_sim.py" --port 0 \
    --port-file "$directory/port" >"$directory/log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$directory/pid"
  for waited in $(seq 1 300); do
    [ -s "$directory/port" ] && break
    is_running "$(cat "$directory/pid")" || die "moto_sim ended at once: $(tail -n 5 "$directory/log")"
    [ "$waited" -lt 300 ] || die "moto_sim did not start within 30 seconds: $(tail -n 5 "$directory/log")"
    sleep 0.1
  done
  aws_environment "http://127.0.0.1:$(cat "$directory/port")" >>"$environment"
}

# aws_environment URL: what makes every AWS tool talk to URL and to nothing else.
aws_environment() {
  cat <<ENVIRONMENT
export PGKEEP_TEST_AWS_URL=$1
export AWS_ACCESS_KEY_ID=test
export AWS_SECRET_ACCESS_KEY=test
export AWS_REGION=eu-west-1
export AWS_DEFAULT_REGION=eu-west-1
export AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE=/dev/null
export AWS_SHARED_CREDENTIALS_FILE=/dev/null
ENVIRONMENT
}

stop_aws() {
  local directory=$1
  if [ -s "$directory/pid" ]; then
    end_process "$(cat "$directory/pid")" TERM "moto_sim"
  fi
  rm -rf "$directory"
}
