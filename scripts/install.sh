#!/usr/bin/env bash
# install.sh [build] [bed] [s3] [thrift] [readers] [all]     installs what is missing on Debian or Ubuntu
#
#   build    a C compiler and pkg-config, for crates with C in them (Rust itself comes from rustup, see below)
#   bed      a JDK 17 and Maven, for the test bed
#   s3       Go, which builds versitygw, a Ceph with its RADOS gateway, and exFAT: the stores of the tests
#   thrift   the Thrift compiler, to regenerate src/cluster/generated
#   readers  Python with venv, for the tests with other readers of Parquet
#
# Without a name: build and bed. What is there already is left alone, so a second run does nothing.
set -euo pipefail

packages=()
# want COMMAND PACKAGE...: the packages are needed when the command is absent
want() { command -v "$1" >/dev/null || packages+=("${@:2}"); }

want_jdk() {
  local version=0
  if command -v javac >/dev/null; then version=$(javac -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/'); fi
  [ "$version" -ge 17 ] || packages+=(openjdk-17-jdk-headless)
}

# Any Go since 1.21 fetches the one that a module asks for. Debian 12 has an older one, and a newer one in its backports.
want_go() {
  local version=0
  if command -v go >/dev/null; then version=$(go env GOVERSION | sed 's/go1\.\([0-9]*\).*/\1/'); fi
  [ "$version" -lt 21 ] || return 0
  packages+=(golang)
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
  if ! command -v apt-get >/dev/null; then
    echo "install.sh: no apt-get here; please install what Debian calls: ${packages[*]}" >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      echo "install.sh: not root; please run: apt-get install --no-install-recommends ${packages[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get -o Acquire::Retries=3 update -qq
  "${as_root[@]}" apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends "${packages[@]}"
fi

if ! command -v cargo >/dev/null; then
  echo "install.sh: Rust is missing; install it from https://rustup.rs (stable, at least the rust-version in Cargo.toml)" >&2
  exit 1
fi
