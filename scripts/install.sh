#!/usr/bin/env bash
# install.sh [build] [bed] [s3] [thrift] [readers] [all]     installs what is missing on Debian or Ubuntu
#
#   build    a C compiler and pkg-config, for crates with C in them (Rust itself comes from rustup, see below)
#   bed      a JDK 17 (21 where there is no 17) and Maven, for the test bed
#   s3       Go, which builds versitygw, a Ceph with its RADOS gateway, and exFAT: the stores of the tests
#   thrift   the Thrift compiler, to regenerate src/cluster/generated
#   readers  Python with venv, for the tests with other readers of Parquet
#
# Without a name: build and bed. What is there already is left alone, so a second run does nothing.
set -euo pipefail

fail() { echo "install.sh: $*" >&2; exit 1; }

as_root=()
may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" != 0 ] || return 0
  sudo -n true 2>/dev/null && as_root=(sudo)
}

# Once, and only when something is missing: a fresh container has no list of packages at all.
refreshed=
refresh() {
  if [ -z "$refreshed" ] && may_install; then
    DEBIAN_FRONTEND=noninteractive ${as_root[@]+"${as_root[@]}"} apt-get -o Acquire::Retries=3 update -qq
  fi
  refreshed=yes
}

# candidate PACKAGE: the version that apt-get would install; nothing when there is none
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([^(].*\)/\1/p'; }

packages=()
# want COMMAND PACKAGE...: the packages are needed when the command is absent
want() { command -v "$1" >/dev/null || packages+=("${@:2}"); }

# The test bed is run on 17, which Debian 13 no longer has; 21 should do. It does not start on 25: from 24 on, Java lacks a
# call of Hadoop's.
want_jdk() {
  local version=0 package
  if command -v javac >/dev/null; then version=$(javac -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/'); fi
  [ "$version" -lt 17 ] || [ "$version" -gt 23 ] || return 0
  [ "$version" -lt 24 ] || fail "the JDK on the path is $version, on which the test bed does not start: put a JDK 17 or 21 first"
  refresh
  for package in openjdk-17-jdk-headless openjdk-21-jdk-headless; do
    if [ -n "$(candidate "$package")" ]; then packages+=("$package"); return 0; fi
  done
  fail "the test bed needs a JDK 17 or 21, and there is no package openjdk-17-jdk-headless or openjdk-21-jdk-headless;" \
    "install one (https://adoptium.net, for example), so that javac is on the path"
}

# Any Go since 1.21 fetches the one that versitygw asks for. Debian 12 has 1.19, and a newer one in its backports.
want_go() {
  local version=0
  if command -v go >/dev/null; then version=$(go env GOVERSION | sed 's/go1\.\([0-9]*\).*/\1/'); fi
  [ "$version" -lt 21 ] || return 0
  refresh
  version=$(candidate golang-go | sed 's/^[0-9]*:\{0,1\}1\.\([0-9]*\).*/\1/')
  if [ "${version:-0}" -ge 21 ]; then packages+=(golang-go); return 0; fi
  fail "versitygw needs Go 1.21 or later, and this system packages ${version:+only 1.}${version:-none}. On Debian 12 add the line" \
    "'deb http://deb.debian.org/debian bookworm-backports main' to /etc/apt/sources.list and run:" \
    "apt-get update && apt-get install -t bookworm-backports golang-go; elsewhere take it from https://go.dev/dl"
}

[ $# -gt 0 ] || set -- build bed
for part in "$@"; do
  case $part in
    build) want cc gcc libc6-dev; want pkg-config pkg-config ;;
    bed) want_jdk; want mvn maven; want flock util-linux ;;
    s3)
      want_go
      want radosgw radosgw; want ceph-mon ceph-mon; want ceph-osd ceph-osd; want ceph ceph-common
      want mount.exfat-fuse exfat-fuse; want mkfs.exfat exfatprogs; want losetup mount
      want openssl openssl; want flock util-linux ;;
    thrift) want thrift thrift-compiler ;;
    readers) want python3 python3; python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv) ;;
    all) exec bash "$0" build bed s3 thrift readers ;;
    *) echo "install.sh: unknown part $part; there are build bed s3 thrift readers all" >&2; exit 2 ;;
  esac
done

if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "no apt-get here; please install what Debian calls: ${packages[*]}"
  may_install || fail "not root; please run: apt-get install --no-install-recommends ${packages[*]}"
  refresh
  export DEBIAN_FRONTEND=noninteractive
  ${as_root[@]+"${as_root[@]}"} apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends "${packages[@]}"
fi

command -v cargo >/dev/null ||
  fail "Rust is missing; install it from https://rustup.rs (stable, at least the rust-version in Cargo.toml)"
