"""Reads a folder of Parquet files with DuckDB, pyarrow, Polars, ClickHouse and, when asked, Spark, and compares with expected.json.

Ends with a count of comparisons; any difference, or none at all compared, is a failure.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import chdb
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

folder = Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())
compared = 0

# name -> SQL that every SQL reader understands; times as ms since the epoch come from `{ms}`.
NUMBERS = {
    "rows": "count(*)",
    "metric_set": "count(metric)",
    "metric_distinct": "count(distinct metric)",
    "tags_distinct": "count(distinct tags)",
    "tags_length": "sum({length}(tags))",
    "tsuid_distinct": "count(distinct tsuid)",
    "series_id_sum": "sum(series_id)",
    "form_sum": "sum(form)",
    "flags_sum": "sum(flags)",
    "int_count": "count(value_int)",
    "int_sum": "sum(value_int)",
    "float_count": "count(value_float)",
    "float_sum": "sum(value_float)",
    "exact_count": "sum(case when exact then 1 else 0 end)",
    "superseded_count": "sum(case when superseded then 1 else 0 end)",
    "written_count": "count(written)",
    "delay_count": "count(write_delay)",
    "delay_sum": "sum(write_delay)",
    "timestamp_sum": "sum({ms}(timestamp))",
    "written_sum": "sum({ms}(written))",
}


def same(reader, what, found, wanted):
    global compared
    compared += 1
    close = isinstance(wanted, float) and abs((found or 0) - wanted) <= 1e-6 * max(1.0, abs(wanted))
    if not close and (found or 0) != (wanted or 0):
        sys.exit(f"{reader}: {what}: read {found!r}, written {wanted!r}")


def sql_points(reader, run, name, path, wanted, ms, length="length"):
    columns = ", ".join(f"{sql.format(ms=ms, length=length)} as c{n}" for n, sql in enumerate(NUMBERS.values()))
    for key, found in zip(NUMBERS, run(f"select {columns} from {path}")):
        same(reader, f"{name} {key}", found, wanted[key])
    for column in ("metric", "tsuid", "tags"):
        value, rows = wanted[f"one_{column}"]
        found = run(f"select count(*) from {path} where {column} = '{value}'")[0]
        same(reader, f"{name} where {column}", found, rows)
    value, rows = wanted["one_written"]
    same(reader, f"{name} where written", run(f"select count(*) from {path} where {ms}(written) = {value}")[0], rows)
    value, rows = wanted["one_series_id"]
    same(reader, f"{name} where series_id", run(f"select count(*) from {path} where series_id = {value}")[0], rows)


def duckdb_points(name, path, wanted):
    run = lambda sql: duckdb.sql(sql).fetchall()[0]
    sql_points("duckdb", run, name, f"'{path}'", wanted, "epoch_ms")


def clickhouse(sql):
    return tuple(chdb.query(sql, "ArrowTable").to_pylist()[0].values())


def clickhouse_points(name, path, wanted):
    sql_points("clickhouse", clickhouse, name, f"file('{path}', Parquet)", wanted, "toUnixTimestamp64Milli", "lengthUTF8")


def pyarrow_points(name, path, wanted):
    t = pq.read_table(path)
    total = lambda column: pc.sum(column).as_py()
    ms = lambda column: total(pc.cast(column, pa.int64()))
    distinct = lambda column: pc.count_distinct(column).as_py()
    valid = lambda column: len(column) - column.null_count
    found = {
        "rows": t.num_rows,
        "metric_set": valid(t["metric"]),
        "metric_distinct": distinct(t["metric"]),
        "tags_distinct": distinct(t["tags"]),
        "tags_length": total(pc.utf8_length(t["tags"])),
        "tsuid_distinct": distinct(t["tsuid"]),
        "series_id_sum": total(t["series_id"]),
        "form_sum": total(t["form"]),
        "flags_sum": total(t["flags"]),
        "int_count": valid(t["value_int"]),
        "int_sum": total(t["value_int"]),
        "float_count": valid(t["value_float"]),
        "float_sum": total(t["value_float"]),
        "exact_count": total(t["exact"]),
        "superseded_count": total(t["superseded"]),
        "written_count": valid(t["written"]),
        "delay_count": valid(t["write_delay"]),
        "delay_sum": total(t["write_delay"]),
        "timestamp_sum": ms(t["timestamp"]),
        "written_sum": ms(t["written"]),
    }
    for key in NUMBERS:
        same("pyarrow", f"{name} {key}", found[key], wanted[key])
    for column in ("metric", "tsuid", "tags", "series_id"):
        value, rows = wanted[f"one_{column}"]
        same("pyarrow", f"{name} where {column}", ds.dataset(path).count_rows(filter=ds.field(column) == value), rows)


def polars_points(name, path, wanted):
    ms = lambda column: pl.col(column).cast(pl.Int64).sum().alias(f"{column}_sum")
    found = pl.scan_parquet(path).select(
        pl.len().alias("rows"),
        pl.col("metric").count().alias("metric_set"),
        pl.col("metric").drop_nulls().n_unique().alias("metric_distinct"),
        pl.col("tags").n_unique().alias("tags_distinct"),
        pl.col("tags").str.len_chars().cast(pl.Int64).sum().alias("tags_length"),
        pl.col("tsuid").n_unique().alias("tsuid_distinct"),
        pl.col("series_id").sum().alias("series_id_sum"),
        pl.col("form").cast(pl.Int64).sum().alias("form_sum"),
        pl.col("flags").cast(pl.Int64).sum().alias("flags_sum"),
        pl.col("value_int").count().alias("int_count"),
        pl.col("value_int").sum().alias("int_sum"),
        pl.col("value_float").count().alias("float_count"),
        pl.col("value_float").sum().alias("float_sum"),
        pl.col("exact").sum().alias("exact_count"),
        pl.col("superseded").sum().alias("superseded_count"),
        pl.col("written").count().alias("written_count"),
        pl.col("write_delay").count().alias("delay_count"),
        pl.col("write_delay").sum().alias("delay_sum"),
        ms("timestamp"),
        ms("written"),
    ).collect().row(0, named=True)
    for key in NUMBERS:
        same("polars", f"{name} {key}", found[key], wanted[key])
    for column in ("metric", "tsuid", "tags", "series_id"):
        value, rows = wanted[f"one_{column}"]
        count = pl.scan_parquet(path).filter(pl.col(column) == value).select(pl.len()).collect().item()
        same("polars", f"{name} where {column}", count, rows)


def tables(name, path, wanted):
    rows, row_bytes, value_bytes = wanted
    found = duckdb.sql(f"select count(*), sum(octet_length(\"row\")), sum(octet_length(value)) from '{path}'").fetchall()[0]
    same("duckdb", name, list(map(lambda n: int(n or 0), found)), [rows, row_bytes, value_bytes])
    same("duckdb", f"{name} all columns", len(duckdb.sql(f"select * from '{path}'").fetchall()), rows)
    t = pq.read_table(path)
    lengths = lambda column: pc.sum(pc.binary_length(column)).as_py() or 0
    same("pyarrow", name, [t.num_rows, lengths(t["row"]), lengths(t["value"])], [rows, row_bytes, value_bytes])
    p = pl.read_parquet(path)
    size = lambda column: p[column].bin.size().cast(pl.Int64).sum()
    same("polars", name, [p.height, size("row"), size("value")], [rows, row_bytes, value_bytes])
    sizes = "count(*), sum(length(\"row\")), sum(length(value))"
    same("clickhouse", name, list(map(int, clickhouse(f"select {sizes} from file('{path}', Parquet)"))), [rows, row_bytes, value_bytes])
    every = f"select count(ignore(*)) from (select * from file('{path}', Parquet))"
    same("clickhouse", f"{name} all columns", clickhouse(every)[0], rows)
    same("all", f"{name} columns", sorted(p.columns), sorted(t.column_names))


def views(wanted):
    os.chdir(folder)
    connection = duckdb.connect()
    connection.execute(Path("views.sql").read_text())
    for kind, rows in wanted["rows"].items():
        same("views", kind, connection.sql(f"select count(*) from {kind}").fetchall()[0][0], rows)
    one = lambda sql: connection.sql(sql).fetchall()[0][0]
    same("views", "value", one("select sum(value) from points"), wanted["value_sum"])
    same("views", "written", one("select sum(epoch_ms(written)) from points"), wanted["written_sum"])
    host, rows = wanted["one_host"]
    same("views", "tag", one(f"select count(*) from points where tag['host'] = '{host}'"), rows)
    same("views", "not superseded", one("select count(*) from readable_points"), wanted["readable"])
    same("views", "series tag", one("select count(distinct tag['host']) from series"), wanted["hosts"])
    same("views", "bucket", one("select sum(b.count) from (select unnest(buckets) b from histograms)"), wanted["buckets"])


def spark():
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.warehouse.dir", tempfile.mkdtemp()).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for name, wanted in expected["points"].items():
        path = f"parquet.`{folder / 'points' / name}`"
        sql_points("spark", lambda sql: tuple(session.sql(sql).first()), name, path, wanted, "unix_millis")
    for name, (rows, *_) in expected["tables"].items():
        found = session.read.parquet(str(folder / name)).collect()
        same("spark", name, len(found), rows)
    session.stop()


for name, wanted in expected["points"].items():
    path = str(folder / "points" / name)
    duckdb_points(name, path, wanted)
    pyarrow_points(name, path, wanted)
    polars_points(name, path, wanted)
    clickhouse_points(name, path, wanted)
for name, wanted in expected["tables"].items():
    tables(name, str(folder / name), wanted)
if os.environ.get("TSDB_ARK_SPARK") == "1":
    spark()
views(expected["views"])
print(f"{compared} comparisons, duckdb {duckdb.__version__}, pyarrow {pa.__version__}, polars {pl.__version__}, chdb {chdb.__version__}")
