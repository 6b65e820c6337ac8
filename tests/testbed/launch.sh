#!/usr/bin/env bash
# launch.sh FOLDER [key=value...]   runs the test bed in the foreground, with everything it writes in FOLDER.
#
# One line of JSON on standard output says that it is ready and where; the log is FOLDER/bed.log. The bed ends when its
# standard input ends, so whoever holds the other side of the pipe cannot leave it behind (leash=no: it stays).
# The keys are listed in fixture/Bed.java. TSDB_ARK_HBASE=2.5 or 1.4 takes an older HBase; TSDB_ARK_BED_BENCH=1 gives the JVM its
# own choice of compiler and collector and 4 GiB, for measurements.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1" && folder=$(cd "$1" && pwd) && shift
exec 2>>"$folder/bed.log"

jars=$(bash "$here/classpath.sh" hbase)
classes=$(bash "$here/classpath.sh" fixture)
flags=(-Xmx3g -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto)
[ "${TSDB_ARK_BED_BENCH:-0}" != 1 ] || flags=(-Xmx4g)

case $(basename "$jars") in hbase-1.*) flags+=(-Dbed.java.version=1.8.0_402 "-Dlog4j.configuration=file:$here/conf/log4j.properties") ;; esac

mkdir -p "$folder/conf"
exec java "@$here/conf/jvm.args" "${flags[@]}" "-Dbed.home=$here" "-Dlog4j2.configurationFile=$here/conf/log4j2.properties" \
  -cp "$classes:$folder/conf:$jars/*" bed.Bed "$folder" "$@"
