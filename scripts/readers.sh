#!/bin/sh
# Makes a Python environment with the other Parquet readers and prints its interpreter.
# TSDB_ARK_SPARK=1 adds Spark, which needs a Java runtime. TSDB_ARK_READERS names another folder for the environment.
set -eu
cd "$(dirname "$0")/.."
venv=${TSDB_ARK_READERS:-target/readers/venv}
pinned="duckdb==2.0.0 pyarrow==26.0.1 polars==2.1.0 pytz"
newest="duckdb pyarrow polars pytz"
if [ "${TSDB_ARK_SPARK:-0}" = 1 ]; then
    pinned="$pinned pyspark==4.3.0"
    newest="$newest pyspark"
fi
stamp="$venv/installed-${TSDB_ARK_SPARK:-0}"
if [ ! -e "$stamp" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2
    # A pinned version can leave the index; the newest one still is another reader.
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet $pinned >&2 || "$venv/bin/pip" install --quiet $newest >&2
    touch "$stamp"
fi
echo "$venv/bin/python"
