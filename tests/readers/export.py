"""Reads exports with other programs and prints what each of them sees, by metric, as JSON.

export.py FOLDER: subfolders whose names begin with parquet, plain (its profile), csv, influx or victoria hold exports. Per
metric: points, sum of integers (exact), sum of finite floats, and points that are neither.
"""
import csv
import glob
import json
import math
import os
import re
import sys

import duckdb
import fastparquet
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from line_protocol_parser import parse_line


class Sums:
    def __init__(self):
        self.metrics = {}

    def add(self, metric, whole, real):
        entry = self.metrics.setdefault(metric or "", [0, 0, 0.0, 0])
        entry[0] += 1
        if whole is not None:
            entry[1] += whole
        elif math.isfinite(real):
            entry[2] += real
        else:
            entry[3] += 1


def by_duckdb(folder):
    source = f"read_parquet('{folder}/points/**/*.parquet', hive_partitioning = true)"
    sql = f"""select metric, count(*), sum(value_int::hugeint),
        sum(value) filter (where value_int is null and isfinite(value)),
        count(*) filter (where value_int is null and not isfinite(value)) from {source} group by 1"""
    return {m or "": [n, int(i or 0), f or 0.0, x] for m, n, i, f, x in duckdb.sql(sql).fetchall()}


def by_pyarrow(folder):
    sums = Sums()
    table = ds.dataset(folder + "/points", partitioning="hive").to_table(columns=["metric", "value_int", "value"])
    for row in table.to_pylist():
        sums.add(row["metric"], row["value_int"], row["value"])
    return sums.metrics


def by_polars(folder):
    sums = Sums()
    frame = pl.read_parquet(folder + "/points/**/*.parquet", hive_partitioning=True)
    for row in frame.select("metric", "value_int", "value").iter_rows():
        sums.add(*row)
    return sums.metrics


def by_fastparquet(folder):
    """It lacks BYTE_STREAM_SPLIT and most DELTA encodings, as old readers do."""
    sums = Sums()
    for path in sorted(glob.glob(folder + "/points/**/*.parquet", recursive=True)):
        frame = fastparquet.ParquetFile(path, pandas_nulls=True).to_pandas(columns=["metric", "value_int", "value"])
        for metric, whole, real in frame.itertuples(index=False):
            sums.add(metric, None if pd.isna(whole) else int(whole), real)
    return sums.metrics


def csv_by_duckdb(folder):
    sums = Sums()
    sql = f"select metric, value from read_csv('{folder}/points/*.csv', all_varchar = true, header = true)"
    for metric, value in duckdb.sql(sql).fetchall():
        sums.add(metric, *numbers(value))
    return sums.metrics


def numbers(text):
    return (int(text), None) if re.fullmatch(r"-?[0-9]+", text) else (None, float(text))


def by_csv(folder):
    sums = Sums()
    for path in sorted(glob.glob(folder + "/points/*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, strict=True):
                sums.add(row["metric"], *numbers(row["value"]))
    return sums.metrics


def by_influx(folder):
    sums = Sums()
    for path in sorted(glob.glob(folder + "/points/*.lp")):
        for line in open(path, encoding="utf-8", newline="\n"):
            point = parse_line(line)
            value = point["fields"].pop("value")
            # Nanoseconds, of a time in whole milliseconds.
            assert not point["fields"] and point["tags"] and point["time"] % 1_000_000 == 0, line
            assert 1_500_000_000 <= point["time"] // 1_000_000_000 <= 1_700_000_000, line
            whole = value if isinstance(value, int) else None
            sums.add(point["measurement"], whole, float(value))
    return sums.metrics


def by_victoria(folder):
    sums = Sums()
    for path in sorted(glob.glob(folder + "/points/*.jsonl")):
        for line in open(path, encoding="utf-8"):
            row = json.loads(line)
            assert len(row["values"]) == len(row["timestamps"]) and all(isinstance(t, int) for t in row["timestamps"])
            for value in row["values"]:
                whole = value if isinstance(value, int) else None
                sums.add(row["metric"]["__name__"], whole, float(value))
    return sums.metrics


def old_files(folder):
    """Encodings and codecs of all columns."""
    seen = set()
    for path in glob.glob(folder + "/points/**/*.parquet", recursive=True):
        metadata = pq.ParquetFile(path).metadata
        for group in range(metadata.num_row_groups):
            for at in range(metadata.num_columns):
                column = metadata.row_group(group).column(at)
                seen.update(column.encodings)
                seen.add(column.compression)
    return sorted(seen)


readers = {
    "parquet": {"duckdb": by_duckdb, "pyarrow": by_pyarrow, "polars": by_polars},
    "plain": {"fastparquet": by_fastparquet, "duckdb": by_duckdb, "pyarrow": by_pyarrow, "polars": by_polars},
    "csv": {"csv": by_csv, "duckdb": csv_by_duckdb},
    "influx": {"influx": by_influx},
    "victoria": {"victoria": by_victoria},
}
seen = {}
for name in sorted(os.listdir(sys.argv[1])):
    folder = os.path.join(sys.argv[1], name)
    found = {reader: read(folder) for reader, read in readers.get(name.split("-")[0], {}).items()}
    if found:
        seen[name] = found
    if name.startswith(("parquet", "plain")):
        found["encodings"] = old_files(folder)
        annotations = folder + "/annotations"
        found["annotations"] = pq.read_table(annotations).num_rows if os.path.isdir(annotations) else 0
print(json.dumps(seen, allow_nan=False))
