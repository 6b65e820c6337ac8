//! Other programs read what is written: DuckDB, pyarrow, Polars, ClickHouse and, with `TSDB_ARK_SPARK=1`, Spark.
//!
//! The pages of the run columns are made by this crate, so this is the contract: files with dictionaries of every bit
//! width, one and many pages, wholly and partly null columns, read back with the sums that were written. The test fails
//! when the readers cannot be installed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helper functions too")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tsdb_ark::columnar::{TableRows, sort_points};
use tsdb_ark::model::*;
use tsdb_ark::parquet_file::{PointsWriter, TableWriter, views_sql};

fn label(number: usize) -> SeriesLabel {
    let host = format!("host-{number:06}");
    let tags_json = format!("{{\"host\":\"{host}\",\"note\":\"{}\"}}", "ü".repeat(30));
    SeriesLabel {
        metric: (number % 7 != 6).then(|| format!("metric.{}", number % 5)),
        tags: vec![("host".into(), host), ("note".into(), "x".into())],
        tags_json,
        complete: true,
    }
}

/// How the points of a file are made.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    series: usize,
    rows: usize,
    len: usize,
    /// One of: 0 all forms and values mixed, 1 compacted integers, 2 single floats, 3 one integer at constant distances, 4 a
    /// float in 997 integers.
    mix: u8,
}

const SHAPES: &[Shape] = &[
    Shape { name: "width-1-one-entry", series: 1, rows: 1, len: 100, mix: 0 },
    Shape { name: "width-1", series: 2, rows: 2, len: 50, mix: 0 },
    Shape { name: "width-8", series: 256, rows: 2, len: 7, mix: 0 },
    Shape { name: "width-9", series: 257, rows: 3, len: 50, mix: 0 },
    Shape { name: "width-16", series: 65_536, rows: 1, len: 1, mix: 0 },
    Shape { name: "width-17", series: 65_537, rows: 1, len: 2, mix: 0 },
    Shape { name: "width-17-many-pages", series: 70_000, rows: 1, len: 9, mix: 1 },
    Shape { name: "integers", series: 3, rows: 50, len: 1000, mix: 1 },
    Shape { name: "single-floats", series: 3, rows: 50, len: 1000, mix: 2 },
    Shape { name: "constant", series: 3, rows: 50, len: 1000, mix: 3 },
    Shape { name: "few-floats", series: 3, rows: 50, len: 1000, mix: 4 },
    Shape { name: "many-groups", series: 20, rows: 40, len: 600, mix: 0 },
];

fn batch(shape: &Shape) -> PointBatch {
    let mut batch = PointBatch::default();
    for number in 0..shape.series {
        let metric = (number * 5 / shape.series) as u8;
        batch.series.index_of(&[&[0, 0, metric][..], &(number as u32).to_be_bytes()[..]].concat());
    }
    for row in 0..shape.rows {
        for number in 0..shape.series {
            push_segment(&mut batch, shape, number, row);
        }
    }
    sort_points(batch)
}

fn push_segment(batch: &mut PointBatch, shape: &Shape, number: usize, row: usize) {
    let base = 1_700_000_000 / 3600 * 3600 + 3600 * row as u32;
    let form = match shape.mix {
        0 => [Form::Compacted, Form::Single, Form::Appended3, Form::CompactedBareOdd][number % 4],
        1 | 3 | 4 => Form::Compacted,
        _ => Form::Single,
    };
    let (start, int_start, float_start, delays) =
        (batch.timestamps.len(), batch.ints.len(), batch.floats.len(), batch.delays.len());
    for point in 0..shape.len {
        let after = if shape.mix == 3 { point * 3000 } else { point * 3_599_999 / shape.len };
        batch.timestamps.push(i64::from(base) * 1000 + after as i64);
        let float = match shape.mix {
            0 => (number + point).is_multiple_of(3),
            4 => (row * shape.len + point).is_multiple_of(997),
            mix => mix == 2,
        };
        if shape.mix == 3 {
            batch.ints.push(42);
        } else if float {
            batch.floats.push((point * 7 + number) as f64 * 0.25 - 5.0);
        } else {
            batch.ints.push((point * 31 + number) as i64 - 100);
        }
        let mut flags = if float { 0x0f } else { 0x03 };
        flags |= if point % 11 == 3 { FLAG_MILLISECONDS } else { 0 };
        flags |= if point % 13 == 3 { FLAG_SUPERSEDED } else { 0 };
        batch.flags.push(flags);
        if form == Form::Single {
            batch.delays.push((point * 7 % 1000 + row) as i64 - 3);
        }
    }
    let shared = WriteTime::Shared(i64::from(base) * 1000 + 3_600_000 + number as i64);
    batch.segments.push(Segment {
        series: number as u32,
        base,
        start,
        len: shape.len,
        int_start,
        float_start,
        form,
        layout: 0,
        exact: row % 3 != 1,
        write_time: if form == Form::Single { WriteTime::Delays(delays) } else { shared },
        checksum: 0,
    });
}

/// The numbers that every reader should find in the file.
fn numbers(batch: &PointBatch) -> Value {
    let rows = |segments: &mut dyn Iterator<Item = &Segment>| segments.map(|s| s.len as i64).sum::<i64>();
    let weighted =
        |weight: &dyn Fn(&Segment) -> i64| -> i64 { batch.segments.iter().map(|s| weight(s) * s.len as i64).sum() };
    let used: BTreeSet<usize> = batch.segments.iter().map(|s| s.series as usize).collect();
    let labels: HashMap<usize, SeriesLabel> = used.iter().map(|series| (*series, label(*series))).collect();
    let metrics: BTreeSet<&str> = labels.values().filter_map(|label| label.metric.as_deref()).collect();
    let shared = |s: &Segment| match s.write_time {
        WriteTime::Shared(ms) => Some(ms),
        WriteTime::Delays(_) => None,
    };
    let probe = used.iter().copied().nth(used.len() / 2).unwrap();
    let metric = labels[&0].metric.clone().unwrap();
    let of = |matches: &dyn Fn(&Segment) -> bool| rows(&mut batch.segments.iter().filter(|s| matches(s)));
    let flags = |matches: u8| batch.flags.iter().filter(|flags| **flags & matches != 0).count();
    let written = batch.segments.iter().rev().find_map(shared).unwrap_or(0);
    json!({
        "rows": batch.len(),
        "metric_set": of(&|s| labels[&(s.series as usize)].metric.is_some()),
        "metric_distinct": metrics.len(),
        "tags_distinct": used.len(),
        "tags_length": weighted(&|s| labels[&(s.series as usize)].tags_json.chars().count() as i64),
        "tsuid_distinct": used.len(),
        "series_id_sum": weighted(&|s| i64::from(s.series) + 1000),
        "form_sum": weighted(&|s| s.form as i64),
        "flags_sum": batch.flags.iter().map(|flags| i64::from(flags & 0x1f)).sum::<i64>(),
        "int_count": batch.ints.len(),
        "int_sum": batch.ints.iter().sum::<i64>(),
        "float_count": batch.floats.len(),
        "float_sum": batch.floats.iter().sum::<f64>(),
        "exact_count": of(&|s| s.exact),
        "superseded_count": flags(FLAG_SUPERSEDED),
        "written_count": of(&|s| shared(s).is_some()),
        "delay_count": batch.delays.len(),
        "delay_sum": batch.delays.iter().sum::<i64>(),
        "timestamp_sum": batch.timestamps.iter().sum::<i64>(),
        "written_sum": weighted(&|s| shared(s).unwrap_or(0)),
        "one_metric": [json!(metric), json!(of(&|s| labels[&(s.series as usize)].metric.as_ref() == Some(&metric)))],
        "one_tags": [json!(label(probe).tags_json), json!(of(&|s| s.series as usize == probe))],
        "one_tsuid": [json!(tsdb_ark::model::hex(batch.series.get(probe).unwrap())), json!(of(&|s| s.series as usize == probe))],
        "one_series_id": [json!(probe + 1000), json!(of(&|s| s.series as usize == probe))],
        "one_written": [json!(written), json!(of(&|s| shared(s) == Some(written)))],
    })
}

fn write_points(path: &Path, batch: &PointBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = PointsWriter::new(file, 3, "tsdb", vec![("format".into(), "1".into())]).unwrap();
    let labels: LabelTable = (0..batch.series.len()).map(label).collect();
    let ids: Vec<i64> = (0..batch.series.len() as i64).map(|id| id + 1000).collect();
    writer.write(batch, &labels, &ids).unwrap();
    let (_, summary) = writer.finish().unwrap();
    assert_eq!(summary.rows as usize, batch.len());
}

fn write_table(path: &Path, rows: TableRows<'_>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = TableWriter::new(rows.kind(), file, Vec::new()).unwrap();
    writer.write(rows).unwrap();
    writer.finish().unwrap();
}

fn cells(count: usize) -> Vec<OwnedCell> {
    let cell = |n: usize| OwnedCell {
        row: (n as u32 / 3).to_be_bytes().to_vec(),
        family: b"t".to_vec(),
        qualifier: vec![1, n as u8],
        timestamp: 1_700_000_000_000 + n as i64,
        kind: kind::PUT,
        value: vec![0xfe; n % 9],
    };
    (0..count).map(cell).collect()
}

/// Writes every table with exact cells; gives what should be found, by path.
fn write_tables(folder: &Path, labels: &SeriesLabels) -> serde_json::Map<String, Value> {
    let mut expected = serde_json::Map::new();
    for count in [0, 1, 25_000] {
        let cells = cells(count);
        let facts = json!([
            count,
            cells.iter().map(|cell| cell.row.len()).sum::<usize>(),
            cells.iter().map(|cell| cell.value.len()).sum::<usize>()
        ]);
        let mut write = |rows: TableRows<'_>| {
            let name = format!("{}/tsdb-{count}.parquet", rows.kind().name());
            write_table(&folder.join(&name), rows);
            expected.insert(name, facts.clone());
        };
        let map = |f: &dyn Fn(usize, &OwnedCell)| cells.iter().enumerate().for_each(|(index, cell)| f(index, cell));
        let rows = std::cell::RefCell::new(TypedRows::default());
        map(&|index, cell| push_rows(&mut rows.borrow_mut(), index, cell));
        let rows = rows.into_inner();
        write(TableRows::Annotations(&rows.annotations, labels));
        write(TableRows::Histograms(&rows.histograms, labels));
        write(TableRows::Rollups(&rows.rollups, labels));
        write(TableRows::Uids(&rows.uids));
        write(TableRows::Meta(&rows.meta));
        write(TableRows::Tree(&rows.tree));
        write(TableRows::Cells("tsdb", &rows.raw));
    }
    expected
}

fn push_rows(rows: &mut TypedRows, index: usize, cell: &OwnedCell) {
    let odd = index % 2 == 1;
    let tsuid = format!("{:06X}", index % 3);
    let text = |name: &str| odd.then(|| format!("{name} {index} ü"));
    let cell = cell.clone();
    let bucket = |n: usize| HistogramBucket { lower: n as f32, upper: n as f32 + 1.0, count: n as i64 + 1 };
    rows.histograms.push(Histogram {
        cell: cell.clone(),
        tsuid: tsuid.clone(),
        timestamp: 1_700_000_000_000,
        codec: odd.then_some(0),
        buckets: (0..index % 4).map(bucket).collect(),
        underflow: odd.then_some(1),
        overflow: None,
    });
    rows.rollups.push(Rollup {
        cell: cell.clone(),
        tsuid: tsuid.clone(),
        aggregator_id: odd.then_some(2),
        aggregator: text("sum"),
        base: 1_700_000_000,
        interval_number: index as u16,
        timestamp: odd.then_some(1_700_000_000_000),
        value: [None, Some(RollupValue::Int(-3)), Some(RollupValue::Float(0.5))][index % 3],
    });
    rows.annotations.push(Annotation {
        cell: cell.clone(),
        tsuid: odd.then(|| tsuid.clone()),
        start_ms: Some(1_700_000_000_000),
        end_ms: None,
        description: text("description"),
        notes: text("notes"),
        custom: None,
    });
    rows.uids.push(UidRow {
        cell: cell.clone(),
        role: "forward",
        kind: odd.then_some(UidKind::Metric),
        uid: text("uid"),
        name: text("name"),
        counter: None,
        json: None,
    });
    rows.meta.push(MetaRow { cell: cell.clone(), tsuid, role: "ts_meta", counter: Some(4), json: text("json") });
    rows.tree.push(TreeRow { cell: cell.clone(), tree: Some(1), role: "leaf", text: text("text") });
    let timestamp = [i64::MIN, -1, 0, i64::MAX][index % 4];
    rows.raw.push(RawCell { cell: OwnedCell { timestamp, ..cell }, reason: RawReason::OddTimestamp });
}

/// Writes the catalogue; gives the rows by kind.
fn write_catalogue(folder: &Path, series: usize) -> Vec<(FileKind, usize)> {
    let tally = Tally { rows: 1, cells: 2, points: 3, bytes: 4, checksum: 5 };
    let chosen: Vec<u32> = (0..series as u32).collect();
    let ids: Vec<i64> = (0..series as i64).map(|id| id + 1000).collect();
    let tsuids: SeriesTable = (0..series as u32).map(|id| id.to_be_bytes()[1..].to_vec()).collect();
    let labels: LabelTable = (0..series).map(label).collect();
    let series = SeriesRows { chosen: &chosen, ids: &ids, series: &tsuids, labels: &labels };
    let shard = |n: usize| ShardRow {
        table: "tsdb".into(),
        attempt: format!("{n:012x}"),
        start: vec![n as u8],
        stop: vec![],
        started_ms: 1,
        finished_ms: 2,
        tally,
    };
    let shards: Vec<ShardRow> = (0..4).map(shard).collect();
    let metric = |n: usize| MetricRow {
        table: "tsdb".into(),
        uid: format!("{n:06X}"),
        metric: (n > 0).then(|| format!("metric.{n}")),
        points: 5,
        first_time: (n > 1).then_some(0),
        last_time: None,
    };
    let metrics: Vec<MetricRow> = (0..3).map(metric).collect();
    let file = |n: usize| FileRow {
        path: format!("points/{n}.parquet"),
        table: "tsdb".into(),
        kind: FileKind::Points,
        attempt: "0a0b0c0d0e0f".into(),
        rows: 1,
        size: 2,
        blake3: "00".into(),
        footer_size: 1,
        footer_blake3: "ef".into(),
        tally,
        first_row: (n > 0).then(|| vec![1]),
        last_row: None,
        ranges: {
            let mut ranges = ColumnRanges { first_ms: Some(1), ..ColumnRanges::default() };
            (0..n).for_each(|at| ranges.add_metric(Some(&format!("metric.{at}")), 1));
            ranges
        },
    };
    let files: Vec<FileRow> = (0..2).map(file).collect();
    let tables =
        [TableRows::Series(series), TableRows::Shards(&shards), TableRows::Metrics(&metrics), TableRows::Files(&files)];
    tables
        .map(|rows| {
            let name = rows.kind().name();
            write_table(&folder.join(format!("{name}/{name}.parquet")), rows);
            (rows.kind(), rows.len())
        })
        .to_vec()
}

/// What the views should show: everything in the folder.
fn view_facts(batches: &[PointBatch], catalogue: &[(FileKind, usize)]) -> Value {
    let mut rows: serde_json::Map<String, Value> =
        catalogue.iter().map(|(kind, rows)| (kind.name().to_owned(), json!(rows))).collect();
    rows.insert("points".into(), json!(batches.iter().map(PointBatch::len).sum::<usize>()));
    for kind in FileKind::ALL.iter().filter(|kind| !kind.is_catalogue() && **kind != FileKind::Points) {
        rows.insert(kind.name().into(), json!(25_001));
    }
    let written = |batch: &PointBatch| -> i64 {
        let segment = |s: &Segment| match s.write_time {
            WriteTime::Shared(ms) => ms * s.len as i64,
            WriteTime::Delays(at) => (0..s.len).map(|n| batch.timestamps[s.start + n] + batch.delays[at + n]).sum(),
        };
        batch.segments.iter().map(segment).sum()
    };
    let values = |batch: &PointBatch| batch.ints.iter().sum::<i64>() as f64 + batch.floats.iter().sum::<f64>();
    let shown = |batch: &PointBatch| batch.flags.iter().filter(|flags| **flags & FLAG_SUPERSEDED == 0).count();
    let host: usize =
        batches.iter().map(|batch| batch.segments.iter().filter(|s| s.series == 1).map(|s| s.len).sum::<usize>()).sum();
    let hosts = catalogue.iter().find(|(kind, _)| *kind == FileKind::Series).map(|(_, rows)| *rows);
    json!({
        "rows": rows,
        "value_sum": batches.iter().map(values).sum::<f64>(),
        "written_sum": batches.iter().map(written).sum::<i64>(),
        "one_host": ["host-000001", host],
        "readable": batches.iter().map(shown).sum::<usize>(),
        "hosts": hosts,
        "buckets": (0..25_000usize).map(|n| (1..=n % 4).sum::<usize>()).sum::<usize>(),
    })
}

/// All files of the folder, as the views name them.
fn files_by_kind(folder: &Path) -> BTreeMap<FileKind, Vec<String>> {
    let files = |kind: &FileKind| {
        let names = std::fs::read_dir(folder.join(kind.name())).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| format!("{}/{}", kind.name(), name.to_str().unwrap())).collect();
        names.sort();
        (*kind, names)
    };
    FileKind::ALL.iter().map(files).collect()
}

/// The interpreter of an environment that has the readers.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("scripts/readers.sh");
    let output = Command::new(&script).output().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    let (text, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the other readers cannot be installed:\n{noise}");
    root.join(text.trim())
}

#[test]
fn other_readers_agree() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("points")).unwrap();
    let batches: Vec<PointBatch> = SHAPES.iter().map(batch).collect();
    let mut points = serde_json::Map::new();
    for (shape, batch) in SHAPES.iter().zip(&batches) {
        let name = format!("{}.parquet", shape.name);
        write_points(&folder.join("points").join(&name), batch);
        points.insert(name, numbers(batch));
    }
    let labels = SeriesLabels::from([("000001".to_owned(), label(1))]);
    let tables = write_tables(folder, &labels);
    let catalogue = write_catalogue(folder, 70_000);
    std::fs::write(folder.join("views.sql"), views_sql(&files_by_kind(folder), &[], "").unwrap()).unwrap();
    let expected = json!({ "points": points, "tables": tables, "views": view_facts(&batches, &catalogue) });
    std::fs::write(folder.join("expected.json"), expected.to_string()).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python()).arg(root.join("tests/readers/read.py")).arg(folder).output().unwrap();
    let (text, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{noise}");
    println!("{text}");

    // A backup without any row of a kind has its view all the same, with the same columns.
    std::fs::write(folder.join("no-files.sql"), views_sql(&BTreeMap::new(), &[], "").unwrap()).unwrap();
    let compared = Command::new(python()).args(["-c", SAME_VIEWS]).current_dir(folder).output().unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
    assert_eq!(String::from_utf8_lossy(&compared.stdout), format!("{} views\n", FileKind::ALL.len() + 1));
}

const SAME_VIEWS: &str = "
import duckdb
def described(script):
    db = duckdb.connect()
    db.execute(open(script).read())
    views = [row[0] for row in db.execute('select view_name from duckdb_views() where not internal').fetchall()]
    return db, {view: [row[:2] for row in db.execute(f'describe {view}').fetchall()] for view in views}
(_, full), (db, empty) = described('views.sql'), described('no-files.sql')
assert full == empty, (full, empty)
assert all(db.execute(f'select count(*) from {view}').fetchall() == [(0,)] for view in empty)
assert db.execute(\"select metric, tag['host'], avg(value) from readable_points group by all\").fetchall() == []
print(len(empty), 'views')
";
