#!/bin/sh
# Makes a Python environment with the other readers of backups and exports and prints its interpreter.
# TSDB_ARK_SPARK=1 adds Spark, which needs a Java runtime; TSDB_ARK_SPARK=delta an older one, for which Maven has what reads
# Delta tables. TSDB_ARK_READERS names another folder for the environment.
set -eu
cd "$(dirname "$0")/.."
venv=${TSDB_ARK_READERS:-target/readers/venv}
pinned="duckdb==2.0.0 pyarrow==26.0.1 polars==2.1.0 deltalake==1.6.6 chdb==4.4.0 pytz fastparquet==2026.9.0 line-protocol-parser==2.0.1"
newest="duckdb pyarrow polars deltalake chdb pytz fastparquet line-protocol-parser"
case ${TSDB_ARK_SPARK:-0} in
    1) pinned="$pinned pyspark==4.3.0" newest="$newest pyspark" ;;
    delta) pinned="$pinned pyspark==4.0.1" newest="$newest pyspark==4.0.1" ;;
esac
stamp="$venv/installed-5-${TSDB_ARK_SPARK:-0}"
if [ ! -e "$stamp" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2
    # A pinned version can leave the index; the newest one still is another reader.
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet $pinned >&2 || "$venv/bin/python" -m pip install --quiet $newest >&2
    # DuckDB's own Delta extension, which PyPI has for this version of DuckDB alone.
    "$venv/bin/python" -m pip install --quiet --upgrade --target "$venv/delta-duckdb" duckdb==1.5.5 duckdb-extension-delta==1.5.5 >&2
    touch "$stamp"
fi
echo "$venv/bin/python"
