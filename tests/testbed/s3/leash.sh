# Sourced by the scripts that run a server: its processes end with this script, and this script with its standard input.

held=()

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

end_held() {
  local pid
  trap - EXIT
  for pid in "${held[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${held[@]}"; do
    for _ in $(seq 50); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
  done
}
trap end_held EXIT
trap 'exit 143' TERM INT

# await_port PORT SECONDS LOG: returns when the port takes connections
await_port() {
  local end=$((SECONDS + $2)) pid
  until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do
    for pid in "${held[@]}"; do
      kill -0 "$pid" 2>/dev/null || { tail -n 20 "$3" >&2; fail "the server ended at its start"; }
    done
    [ "$SECONDS" -lt "$end" ] || { tail -n 20 "$3" >&2; fail "port $1 does not answer after $2 s"; }
    sleep 0.1
  done
}

# ready FOLDER: says so, waits for the end of standard input, and leaves nothing behind
ready() {
  echo ready
  cat >/dev/null
  end_held
  rm -rf "$1"
}
