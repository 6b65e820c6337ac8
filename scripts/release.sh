#!/usr/bin/env bash
# release.sh                builds the program for machines with an old glibc: target/dist/tsdb-ark, for x86-64 and glibc 2.17 (2012)
# release.sh --check FILE   fails when FILE needs a newer glibc
#
# zig links it against the symbols of that glibc, and compiles the C inside the crates for it. It comes from PyPI, pinned, into
# target/release-tools, and needs nothing else. The result is looked at: no symbol may be newer, or the script fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
glibc=2.17 target=x86_64-unknown-linux-gnu
tools=target/release-tools

check() {
  local newest
  newest=$(objdump -T "$1" | { grep -o 'GLIBC_[0-9.]*' || true; } | sort -uV | tail -n 1)
  echo "$1 needs ${newest:-no glibc}"
  [ "$(printf '%s\n' "GLIBC_$glibc" "$newest" | sort -V | tail -n 1)" = "GLIBC_$glibc" ] ||
    { echo "release.sh: that is newer than GLIBC_$glibc" >&2; return 1; }
}

if [ "${1-}" = --check ]; then check "$2"; exit; fi

if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet ziglang==0.17.1 cargo-zigbuild==0.24.1
fi
export PATH="$PWD/$tools/bin:$PATH"
cargo zigbuild --locked --release --bin tsdb-ark --target "$target.$glibc"

mkdir -p target/dist
cp "target/$target/release/tsdb-ark" target/dist/tsdb-ark
check target/dist/tsdb-ark
