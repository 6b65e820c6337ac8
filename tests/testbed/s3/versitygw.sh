#!/usr/bin/env bash
# versitygw.sh                      prints the path of the versitygw binary, building it first when it is not there
# versitygw.sh FOLDER PORT http|https   runs the server in the foreground on 127.0.0.1:PORT; buckets are folders of FOLDER/data
#
# https: with a certificate that FOLDER/ca.pem vouches for, an authority made for this run.
# A line "ready" on standard output says that it answers; the log is FOLDER/server.log. It ends with its standard input.
# The binary lies in $TSDB_ARK_BED_CACHE/s3 (default: target/testbed/s3 of the project). Building takes four minutes, once.
# --concurrency 1: without it the server does not check If-None-Match and create the file as one step.
set -euo pipefail
version=v1.7.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/leash.sh"
cache=${TSDB_ARK_BED_CACHE:-$here/../../../target/testbed}/s3
binary=$cache/versitygw-$version

build() {
  command -v go >/dev/null || fail "go is missing: run scripts/install.sh s3"
  local made
  made=$(mktemp -d "$cache/build.XXXXXX")
  GOBIN=$made GOFLAGS=-mod=mod go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2 </dev/null
  mv "$made/versitygw" "$binary"
  rmdir "$made"
}

mkdir -p "$cache"
if [ ! -x "$binary" ]; then
  exec 9>"$cache/lock"
  flock 9
  [ -x "$binary" ] || build
  exec 9>&-
fi
if [ $# -eq 0 ]; then echo "$binary"; exit; fi

folder=$1 port=$2
mkdir -p "$folder/data"
tls=()

certificates() {
  cd "$folder"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test authority" -keyout ca.key -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
  openssl req -newkey rsa:2048 -nodes -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
    -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost")
}
if [ "${3:-http}" = https ]; then
  (certificates) >"$folder/openssl.log" 2>&1 || { cat "$folder/openssl.log" >&2; fail "no certificate"; }
  tls=(--cert "$folder/server.pem" --key "$folder/server.key")
fi
export ROOT_ACCESS_KEY=test-access-key ROOT_SECRET_KEY=test-secret-key
"$binary" --port "127.0.0.1:$port" --region us-east-1 --health /health --quiet "${tls[@]}" \
  posix --concurrency 1 "$folder/data" >"$folder/server.log" 2>&1 </dev/null &
held+=($!)
await_port "$port" 30 "$folder/server.log"
ready "$folder"
