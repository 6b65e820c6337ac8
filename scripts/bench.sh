#!/usr/bin/env bash
# bench.sh [--json FILE] [--points-single N] [--points-compacted N] [--series N] [--runs N] [--connections N] [--instructions] [--offline | --foreground]
#
# Measures the release build against a real HBase of its own (tests/testbed: a JDK 17 and Maven) and prints a table;
# tests/bench/main.rs says what the figures are. --instructions counts instructions too, with valgrind. --offline leaves
# HBase out, --foreground measures only what users of the
# cluster feel of a backup. Full sizes take about a quarter of an hour, 4 GiB of memory and as much disk; nothing else should
# run meanwhile. TSDB_ARK_PROFILE=dev saves the release build where only the running counts.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
arguments=()
while [ $# -gt 0 ]; do
  arguments+=("$1")
  # The file is named from where the caller stands.
  if [ "$1" = --json ] && [ $# -gt 1 ]; then
    shift
    case $1 in /*) arguments+=("$1") ;; *) arguments+=("$here/$1") ;; esac
  fi
  shift
done
export TSDB_ARK_BED_BENCH=1
exec cargo bench --locked --quiet --profile "${TSDB_ARK_PROFILE:-bench}" --bench bench -- ${arguments[@]+"${arguments[@]}"}
