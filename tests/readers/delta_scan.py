"""Reads a backup with the Delta extension of DuckDB, which PyPI has for an older DuckDB: run it with a PYTHONPATH that has both.

delta_scan.py FOLDER_OF_THE_BACKUP TABLE...     prints what delta.py asks for
"""

import glob
import json
import os
import sys

import duckdb
import duckdb_extension_delta

SUMS = "select count(*), coalesce(sum(value_float), 0.0) + coalesce(sum(value_int), 0), count(distinct series_id) from points"
HOSTS = (
    "select p.metric, s.tags, count(*) from points p join series s on p.series_id = s.series_id"
    " where p.tsuid = s.tsuid group by p.metric, s.tags order by p.metric, s.tags"
)
folder, tables = sys.argv[1], sys.argv[2:]
connection = duckdb.connect()
run = lambda sql: connection.execute(sql).fetchall()
(extension,) = glob.glob(os.path.dirname(duckdb_extension_delta.__file__) + "/extensions/*/delta.duckdb_extension")
connection.execute(f"load '{extension}'")
for table in tables:
    view = table.split("/")[-1]
    connection.execute(f"create view \"{view}\" as select * from delta_scan('{folder}/{table}')")
counts = {table: run(f'select count(*) from "{table.split("/")[-1]}"')[0][0] for table in tables}
for table in tables:
    assert len(run(f'select * from "{table.split("/")[-1]}"')) == counts[table], table
rows, total, series = run(SUMS)[0]
print(json.dumps({"counts": counts, "points": [rows, float(total), series], "hosts": [list(row) for row in run(HOSTS)]}))
