"""Reads a backup through its Delta logs and views, and prints what each reader sees as JSON.

delta.py FOLDER_OF_THE_BACKUP VIEWS_WITH_FULL_PATHS [FOLDER_OF_DELTA_SPARK]

For every folder: rows. For the points: rows, sums of values and of write times, and points per metric and host, where the
host is joined by series_id. What all readers must agree on is compared by the caller.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

import chdb
import duckdb
import polars as pl
from deltalake import DeltaTable

folder, views = os.path.abspath(sys.argv[1]), sys.argv[2]
jars = glob.glob(sys.argv[3] + "/*.jar") if len(sys.argv) > 3 else []
tables = sorted(
    os.path.relpath(at, folder)
    for at, folders, _ in os.walk(folder)
    if "_delta_log" in folders
)
# What a folder's points say, in SQL that all of them understand; {p} and {s} are points and series.
SUMS = "select count(*), coalesce(sum(value_float), 0.0) + coalesce(sum(value_int), 0), count(distinct series_id) from {p}"
HOSTS = (
    "select p.metric, s.tags, count(*) from {p} p join {s} s on p.series_id = s.series_id"
    " where p.tsuid = s.tsuid group by p.metric, s.tags order by p.metric, s.tags"
)


def facts(counts, sums, hosts):
    (rows, total, series) = sums
    return {
        "counts": counts,
        "points": [int(rows), float(total), int(series)],
        "hosts": [[metric, tags, int(count)] for metric, tags, count in hosts],
    }


def by_duckdb(run, kinds):
    counts = {kind: run(f'select count(*) from "{view}"')[0][0] for kind, view in kinds.items()}
    return facts(counts, run(SUMS.format(p="points"))[0], run(HOSTS.format(p="points", s="series")))


def views_relative():
    os.chdir(folder)
    connection = duckdb.connect()
    manifest = json.load(open("manifest.json"))
    (path,) = [file["path"] for file in manifest["catalogue"] if file["path"].endswith(".sql")]
    connection.execute(open(path.split("/")[-1]).read())
    kinds = {table: table.split("/")[-1] for table in tables}
    return by_duckdb(lambda sql: connection.execute(sql).fetchall(), kinds)


def views_full():
    os.chdir("/")
    connection = duckdb.connect()
    connection.execute(open(views).read())
    kinds = {table: table.split("/")[-1] for table in tables}
    result = by_duckdb(lambda sql: connection.execute(sql).fetchall(), kinds)
    table = connection.execute('select distinct "table" from points order by 1').fetchall()
    result["tables"] = [name for (name,) in table]
    return result


def deltalake():
    connection = duckdb.connect()
    for table in tables:
        dataset = DeltaTable(f"{folder}/{table}").to_pyarrow_dataset()
        connection.register(table.split("/")[-1], dataset)
    kinds = {table: table.split("/")[-1] for table in tables}
    return by_duckdb(lambda sql: connection.execute(sql).fetchall(), kinds)


def polars():
    scan = lambda table: pl.scan_delta(f"{folder}/{table}")
    counts = {table: scan(table).select(pl.len()).collect().item() for table in tables}
    for table in tables:
        assert scan(table).collect().height == counts[table]
    value = pl.coalesce("value_float", pl.col("value_int").cast(pl.Float64))
    sums = scan("points").select(pl.len(), value.sum().alias("v"), pl.col("series_id").n_unique().alias("s")).collect()
    hosts = (
        scan("points")
        .join(scan("series"), on=["series_id", "tsuid"], suffix="_s")
        .group_by("metric", "tags")
        .agg(pl.len())
        .sort("metric", "tags")
        .collect()
    )
    return facts(counts, sums.row(0), hosts.rows())


def clickhouse():
    query = lambda sql: chdb.query(sql, "ArrowTable")
    run = lambda sql: [tuple(row.values()) for row in query(sql).to_pylist()]

    local = lambda table: f"deltaLakeLocal('{folder}/{table}')"
    counts = {table: int(run(f"select count(*) from {local(table)}")[0][0]) for table in tables}
    for table in tables:
        # count(*) may come from the statistics alone.
        assert query(f"select * from {local(table)}").num_rows == counts[table], table
    sums = run(SUMS.format(p=local("points")))[0]
    return facts(counts, sums, run(HOSTS.format(p=local("points"), s=local("series"))))


def delta_scan():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "delta_scan.py")
    environment = {**os.environ, "PYTHONPATH": os.path.join(sys.prefix, "delta-duckdb")}
    read = subprocess.run([sys.executable, program, folder, *tables], env=environment, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout.splitlines()[-1])


def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        # That of this version does not know BYTE_STREAM_SPLIT.
        .config("spark.sql.parquet.enableVectorizedReader", "false")
        .config("spark.jars", ",".join(jars))
        .config("spark.sql.warehouse.dir", tempfile.mkdtemp())
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    for table in tables:
        session.read.format("delta").load(f"{folder}/{table}").createOrReplaceTempView(table.split("/")[-1])
    run = lambda sql: [tuple(row) for row in session.sql(sql.replace('"', "`")).collect()]
    result = by_duckdb(run, {table: table.split("/")[-1] for table in tables})
    session.stop()
    return result


found = {
    "views.sql": views_relative(),
    "show --views": views_full(),
    "deltalake": deltalake(),
    "polars": polars(),
    "clickhouse": clickhouse(),
    "delta_scan": delta_scan(),
}
if jars:
    found["spark"] = spark()
print(json.dumps(found))
