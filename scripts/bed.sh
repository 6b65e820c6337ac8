#!/usr/bin/env bash
# bed.sh start [key=value...] | stop | status | ctl COMMAND...     a test bed that stays until it is stopped
#
# `eval "$(scripts/bed.sh start)"` starts HBase with both Thrift gateways and makes every test process of this shell use it.
# Keys and commands are listed in tests/testbed/README.md. State, log and data lie in target/testbed/run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
run=${TSDB_ARK_BED_CACHE:-$root/target/testbed}/run
folder=$run/bed
state=$run/state.json

fail() { echo "bed.sh: $*" >&2; exit 1; }
# field NAME: a number of the state file
field() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$state"; }
# A process number alone could have gone to another program since.
runs() { [ -s "$state" ] && tr '\0' ' ' <"/proc/$(field pid)/cmdline" 2>/dev/null | grep -q "bed\.Bed $folder"; }

ctl() {
  local line
  exec 3<>"/dev/tcp/127.0.0.1/$(field control)"
  echo "$*" >&3
  while read -r line <&3; do
    echo "$line"
    case $line in ok) return 0 ;; err*) return 1 ;; esac
  done
}

start() {
  runs && fail "it runs already; bed.sh status shows where"
  rm -rf "$folder" "$state"
  mkdir -p "$folder"
  setsid nohup bash "$root/tests/testbed/launch.sh" "$folder" leash=no "$@" >"$run/out" </dev/null 2>&1 &
  local pid=$!
  until grep -q '^{' "$run/out"; do
    kill -0 "$pid" 2>/dev/null || { tail -n 40 "$folder/bed.log" >&2; fail "the bed did not start"; }
    sleep 0.1
  done
  grep '^{' "$run/out" >"$state"
  cat "$state" >&2
  echo "export TSDB_ARK_BED=$(field control)"
}

stop() {
  runs || { echo "no bed runs" >&2; return 0; }
  local pid
  pid=$(field pid)
  kill "$pid"
  for _ in $(seq 200); do
    runs || break
    sleep 0.1
  done
  if runs; then kill -9 "$pid"; fi
  rm -f "$state"
}

case ${1:-} in
  start) shift; start "$@" ;;
  stop) stop ;;
  status) runs || fail "no bed runs"; cat "$state"; grep -E 'VmRSS|VmHWM' "/proc/$(field pid)/status" ;;
  ctl) shift; runs || fail "no bed runs"; ctl "$@" ;;
  *) fail "usage: bed.sh start [key=value...] | stop | status | ctl COMMAND..." ;;
esac
