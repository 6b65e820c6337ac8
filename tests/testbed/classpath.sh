#!/usr/bin/env bash
# classpath.sh hbase|tsdb|delta|fixture [VERSION]   prints the folder with the jars (or classes), filling it first when needed.
#
# Folders lie in $TSDB_ARK_BED_CACHE (default: target/testbed of the project), are named by version and by a hash of what
# they come from, and appear by one rename, under a lock: any number of test processes may ask at once.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${TSDB_ARK_BED_CACHE:-$here/../../target/testbed}
mkdir -p "$cache" && cache=$(cd "$cache" && pwd)

fail() { echo "classpath.sh: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is missing: run scripts/install.sh bed"; }

hbase_version() {
  case ${1:-${TSDB_ARK_HBASE:-2.6}} in
    2.6) echo 2.6.1 ;;
    2.5) echo 2.5.8 ;;
    1.4) echo 1.4.13 ;;
    1.1) echo 1.1.2 ;;
    *) echo "${1:-$TSDB_ARK_HBASE}" ;;
  esac
}

# resolve POM PROPERTY VERSION [-DNAME=VALUE...] FOLDER: copies every runtime jar into the folder
resolve() {
  need mvn; need java
  mvn -B -q -f "$1" "-D$2=$3" "${@:4:$#-4}" -DincludeScope=runtime "-DoutputDirectory=${*: -1}" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies </dev/null >&2 ||
    fail "Maven could not resolve $1 with $2 $3"
}

# sources VERSION: the fixture's files; what HBase 1.x calls otherwise lies in fixture1 under the same name
sources() {
  local file
  for file in "$here"/fixture/*.java; do
    case $1 in 1.*) [ ! -e "$here/fixture1/$(basename "$file")" ] || file=$here/fixture1/$(basename "$file") ;; esac
    echo "$file"
  done
}

# compile JARS VERSION FOLDER
compile() {
  need javac
  mkdir -p "$3"
  mapfile -t files < <(sources "$2")
  javac -nowarn -proc:none -cp "$1/*" -d "$3" "${files[@]}" >&2 || fail "the fixture does not compile"
}

# fill FOLDER COMMAND ARGS...: runs the command with a new folder as its last argument, then gives it its name
fill() {
  local folder=$1; shift
  if [ ! -d "$folder" ]; then
    exec 9>"$cache/lock"
    flock 9
    if [ ! -d "$folder" ]; then
      draft=$(mktemp -d "$cache/draft.XXXXXX")
      trap 'rm -rf "$draft"' EXIT
      "$@" "$draft/out"
      mv -T "$draft/out" "$folder"
    fi
    flock -u 9
  fi
  echo "$folder"
}

digest() { cat "$@" | sha256sum | cut -c1-8; }

case ${1:-} in
  hbase)
    version=$(hbase_version "${2:-}")
    case $version in
      1.0.* | 1.1.*) pom=$here/hbase1/pom.xml more=(-Dlibthrift.version=0.9.0) ;;
      1.*) pom=$here/hbase1/pom.xml more=() ;;
      *) pom=$here/hbase/pom.xml more=() ;;
    esac
    fill "$cache/hbase-$version-$(digest "$pom")" resolve "$pom" hbase.version "$version" "${more[@]}" ;;
  tsdb)
    version=${2:-2.4.1}
    fill "$cache/tsdb-$version-$(digest "$here/tsdb/pom.xml")" resolve "$here/tsdb/pom.xml" opentsdb.version "$version" ;;
  delta)
    version=${2:-4.0.0}
    fill "$cache/delta-$version-$(digest "$here/delta/pom.xml")" resolve "$here/delta/pom.xml" delta.version "$version" ;;
  fixture)
    version=$(hbase_version "${2:-}")
    jars=$(bash "$here/classpath.sh" hbase "$version")
    mapfile -t files < <(sources "$version")
    fill "$cache/fixture-$(basename "$jars")-$(digest "${files[@]}")" compile "$jars" "$version" ;;
  *) fail "usage: classpath.sh hbase|tsdb|delta|fixture [VERSION]" ;;
esac
