"""Reads every table of a backup with DuckDB, pyarrow and Polars and prints what each of them sees as JSON.

backup.py FOLDER_OF_THE_BACKUP
"""
import glob
import json
import os
import sys

import duckdb
import polars as pl
import pyarrow.dataset as ds

folder = sys.argv[1]
os.chdir(folder)
kinds = sorted(k for k in os.listdir(".") if os.path.isdir(k) and glob.glob(k + "/*.parquet"))


def by_duckdb():
    connection = duckdb.connect()
    connection.execute(open("views.sql").read())
    counts = {k: connection.execute(f"select count(*) from {k}").fetchone()[0] for k in kinds if k != "catalogue"}
    sums = connection.execute(
        "select metric, count(*), sum(value) from readable_points where metric is not null group by 1"
    ).fetchall()
    tagged = connection.execute("select count(*) from points where tag is not null").fetchone()[0]
    assert tagged == counts["points"], "every point finds its series"
    for view in ("files", "shards", "metrics"):
        counts["catalogue/" + view] = connection.execute(f"select count(*) from {view}").fetchone()[0]
    return {"counts": counts, "metrics": {m: [n, s] for m, n, s in sums}}


def by_pyarrow():
    counts = {k: ds.dataset(k).to_table().num_rows for k in kinds if k != "catalogue"}
    points = ds.dataset("points").to_table(filter=~ds.field("superseded") & ds.field("metric").is_valid())
    metrics = {}
    columns = ("metric", "value_int", "value_float")
    for metric, whole, real in zip(*(points[c].to_pylist() for c in columns)):
        entry = metrics.setdefault(metric, [0, 0.0])
        entry[0] += 1
        entry[1] += whole if whole is not None else real
    return {"counts": counts, "metrics": metrics}


def by_polars():
    counts = {k: pl.scan_parquet(k + "/*.parquet").select(pl.len()).collect().item() for k in kinds if k != "catalogue"}
    for k in counts:
        pl.read_parquet(k + "/*.parquet")
    value = pl.coalesce("value_float", pl.col("value_int").cast(pl.Float64))
    sums = (
        pl.scan_parquet("points/*.parquet")
        .filter(~pl.col("superseded") & pl.col("metric").is_not_null())
        .group_by("metric")
        .agg(pl.len().alias("n"), value.sum().alias("s"))
        .collect()
    )
    return {"counts": counts, "metrics": {m: [n, s] for m, n, s in sums.iter_rows()}}


print(json.dumps({"duckdb": by_duckdb(), "pyarrow": by_pyarrow(), "polars": by_polars()}))
