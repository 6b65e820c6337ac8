#!/usr/bin/env bash
# test.sh [CARGO TEST ARGUMENTS...]     everything that has to pass, on real servers that it starts and stops itself
#
# Installs what is missing (Debian or Ubuntu), checks format, lints and the generated code, runs all tests on HBase 2.6
# (those of old clusters start an HBase 1.4 of their own), checks licences, then runs a smoke test on HBase 2.5, the
# demonstration and a small benchmark. A server that does not start fails the run.
# With arguments only those tests run, on HBase 2.6: scripts/test.sh --test roundtrip
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# Much of a test is waiting for servers.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}

step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }
own_bed=
fetching=
installing=
# One that somebody else started is not ours to stop.
stop_bed() { if [ -n "$own_bed" ]; then scripts/bed.sh stop || true; fi; }
clean_up() {
  stop_bed
  for job in $fetching $installing; do kill "$job" 2>/dev/null || true; done
}
trap clean_up EXIT
# Not within eval: there a bed that does not start would go unnoticed.
start_bed() {
  local exports
  if [ -z "$own_bed" ] && scripts/bed.sh status >/dev/null 2>&1; then
    echo "test.sh: a test bed runs already (scripts/bed.sh status): stop it first (scripts/bed.sh stop)" >&2
    exit 1
  fi
  own_bed=yes
  exports=$(scripts/bed.sh start)
  eval "$exports"
}

# Mostly downloads, which leave the compiler its cores.
fetch() {
  tests/testbed/s3/versitygw.sh
  for hbase in 2.6 1.4 2.5; do tests/testbed/classpath.sh fixture "$hbase"; done
  for tsdb in 2.4.1 2.3.2; do tests/testbed/classpath.sh tsdb "$tsdb"; done
  scripts/readers.sh
}

scripts/install.sh build bed s3 thrift readers

if [ $# -eq 0 ]; then
  # Spark is one more reader of the Parquet files; it takes a minute to install.
  export TSDB_ARK_SPARK=${TSDB_ARK_SPARK:-1}
  fetch >/dev/null &
  fetching=$!
  step "format"
  cargo fmt --check
  step "generated Thrift code"
  scripts/generate-thrift.sh --check
  step "lints"
  cargo clippy --locked --all-targets -- -D warnings
fi

step "build"
cargo test --locked --no-run
step "servers and readers"
if [ $# -eq 0 ]; then wait "$fetching"; fetching=; else tests/testbed/s3/versitygw.sh; fi

step "HBase 2.6"
start_bed
if [ $# -gt 0 ]; then
  cargo test --locked "$@"
  exit
fi
# It is built while tests wait for their servers; without optimisation that takes half the time.
if ! command -v cargo-deny >/dev/null; then
  nice cargo install --locked --quiet --debug cargo-deny@0.20.2 &
  installing=$!
fi
cargo test --locked --no-fail-fast
stop_bed

step "licences, bans, sources"
if [ -n "$installing" ]; then wait "$installing"; installing=; fi
cargo deny --config .config/deny.toml check bans licenses sources

step "HBase 2.5"
export TSDB_ARK_HBASE=2.5
start_bed
cargo test --locked --test roundtrip --test gateway -- golden odd_cells pages_of descriptors
stop_bed
unset TSDB_ARK_HBASE TSDB_ARK_BED

step "demonstration"
TSDB_ARK_PROFILE=dev scripts/demo.sh
step "benchmark, in small: that it runs; its figures mean nothing at this size"
TSDB_ARK_PROFILE=dev scripts/bench.sh --points-single 100000 --points-compacted 500000 --series 10000 --runs 1
step "all passed"
