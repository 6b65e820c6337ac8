#!/usr/bin/env bash
# release.sh     builds the program for machines with an old glibc: target/dist/tsdb-ark, for x86-64 and glibc 2.17 (2012)
#
# zig links it against the symbols of that glibc, and compiles the C inside the crates for it. It comes from PyPI, pinned, into
# target/release-tools, and needs nothing else. The result is looked at: no symbol may be newer, or the script fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
glibc=2.17 target=x86_64-unknown-linux-gnu
tools=target/release-tools

if [ ! -x "$tools/bin/cargo-zigbuild" ]; then
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet ziglang==0.17.1 cargo-zigbuild==0.24.1
fi
export PATH="$PWD/$tools/bin:$PATH"
cargo zigbuild --locked --release --bin tsdb-ark --target "$target.$glibc"

mkdir -p target/dist
cp "target/$target/release/tsdb-ark" target/dist/tsdb-ark
newest=$(objdump -T target/dist/tsdb-ark | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "target/dist/tsdb-ark needs $newest"
[ "$(printf '%s\n' "GLIBC_$glibc" "$newest" | sort -V | tail -n 1)" = "GLIBC_$glibc" ] ||
  { echo "release.sh: that is newer than GLIBC_$glibc" >&2; exit 1; }
