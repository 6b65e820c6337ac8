//! The catalogue as tables, and back.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields};

use super::ColumnError;
use super::columns::{Columns, Found, offsets};
use crate::model::{
    ColumnRanges, FileKind, FileRow, LabelView, MetricRow, SeriesLabel, SeriesRow, SeriesRows, ShardRow, Tally, hex,
};

pub(super) fn series(rows: &SeriesRows<'_>) -> Result<RecordBatch, ColumnError> {
    let of = |index: &u32| *index as usize;
    let outside = || ColumnError::Contradiction("a series has no TSUID, no label or no number");
    let labels: Option<Vec<LabelView<'_>>> = rows.chosen.iter().map(|index| rows.labels.get(of(index))).collect();
    let ids: Option<Vec<i64>> = rows.chosen.iter().map(|index| rows.ids.get(of(index)).copied()).collect();
    let (labels, ids) = (labels.ok_or_else(outside)?, ids.ok_or_else(outside)?);
    let mut tsuids = StringBuilder::new();
    for index in rows.chosen {
        tsuids.append_value(hex(rows.series.get(of(index)).ok_or_else(outside)?));
    }
    let mut columns = Columns::new();
    columns.int("series_id", ids.into_iter());
    columns.array("tsuid", false, Arc::new(tsuids.finish()));
    columns.optional_text("metric", labels.iter().map(|label| label.metric));
    columns.text("tags", labels.iter().map(|label| label.tags_json));
    columns.array("tag", false, Arc::new(tag_map(&labels)?));
    columns.bool("complete", labels.iter().map(|label| label.complete));
    columns.table()
}

/// MAP<UTF8, UTF8> of the tags.
fn tag_map(labels: &[LabelView<'_>]) -> Result<MapArray, ColumnError> {
    let all = || labels.iter().flat_map(|label| label.tags());
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(all().map(|tag| tag.0))),
        Arc::new(StringArray::from_iter_values(all().map(|tag| tag.1))),
    ];
    let field = |name: &str| Field::new(name, DataType::Utf8, false);
    let arrow = |error: arrow_schema::ArrowError| ColumnError::Arrow(error.to_string());
    let entries =
        StructArray::try_new(Fields::from(vec![field("key"), field("value")]), arrays, None).map_err(arrow)?;
    let entry = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    let offsets = offsets(labels.iter().map(|label| label.tags().len()))?;
    MapArray::try_new(entry, offsets, entries, None, false).map_err(arrow)
}

/// The rows of a series table.
///
/// # Errors
/// [`ColumnError`] when a column is missing.
pub fn read_series(table: &RecordBatch) -> Result<Vec<SeriesRow>, ColumnError> {
    let found = Found(table);
    let (ids, tsuids, metrics) = (found.int("series_id")?, found.text("tsuid")?, found.optional_text("metric")?);
    let (tags, complete) = (found.text("tags")?, found.bool("complete")?);
    let maps = table.column_by_name("tag").and_then(|tag| tag.as_map_opt()).ok_or(ColumnError::Column("tag"))?;
    (0..table.num_rows())
        .map(|index| {
            let label = SeriesLabel {
                metric: optional(metrics, index).map(str::to_owned),
                tags: read_tags(&maps.value(index))?,
                tags_json: tags.value(index).to_owned(),
                complete: complete.value(index),
            };
            Ok(SeriesRow { series_id: ids.value(index), tsuid: tsuids.value(index).to_owned(), label })
        })
        .collect()
}

fn read_tags(entries: &StructArray) -> Result<Vec<(String, String)>, ColumnError> {
    let column = |at: usize| entries.columns().get(at).and_then(|array| array.as_string_opt::<i32>());
    let (keys, values) = column(0).zip(column(1)).ok_or(ColumnError::Column("tag"))?;
    Ok((0..entries.len()).map(|at| (keys.value(at).to_owned(), values.value(at).to_owned())).collect())
}

fn push_tally<'a>(columns: &mut Columns, tallies: impl Iterator<Item = &'a Tally> + Clone) {
    columns.int("key_rows", tallies.clone().map(|tally| tally.rows as i64));
    columns.int("cells", tallies.clone().map(|tally| tally.cells as i64));
    columns.int("points", tallies.clone().map(|tally| tally.points as i64));
    columns.int("bytes", tallies.clone().map(|tally| tally.bytes as i64));
    let checksums: Vec<String> = tallies.map(|tally| format!("{:016x}", tally.checksum)).collect();
    columns.text("checksum", checksums.iter().map(String::as_str));
}

/// Reads what [`push_tally`] wrote, row by row.
fn read_tallies(found: Found<'_>) -> Result<Vec<Tally>, ColumnError> {
    let (rows, cells, points) = (found.int("key_rows")?, found.int("cells")?, found.int("points")?);
    let (bytes, checksums) = (found.int("bytes")?, found.text("checksum")?);
    (0..rows.len())
        .map(|index| {
            let text = checksums.value(index);
            let bad = |_| ColumnError::Value { column: "checksum", value: text.to_owned() };
            Ok(Tally {
                rows: count("key_rows", rows.value(index))?,
                cells: count("cells", cells.value(index))?,
                points: count("points", points.value(index))?,
                bytes: count("bytes", bytes.value(index))?,
                checksum: u64::from_str_radix(text, 16).map_err(bad)?,
            })
        })
        .collect()
}

fn count(column: &'static str, value: i64) -> Result<u64, ColumnError> {
    u64::try_from(value).map_err(|_| ColumnError::Value { column, value: value.to_string() })
}

fn optional(array: &StringArray, index: usize) -> Option<&str> {
    (!array.is_null(index)).then(|| array.value(index))
}

fn optional_time(array: &PrimitiveArray<TimestampMillisecondType>, index: usize) -> Option<i64> {
    (!array.is_null(index)).then(|| array.value(index))
}

pub(super) fn files(rows: &[FileRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("path", rows.iter().map(|row| row.path.as_str()));
    columns.text("table", rows.iter().map(|row| row.table.as_str()));
    columns.text("kind", rows.iter().map(|row| row.kind.name()));
    columns.text("attempt", rows.iter().map(|row| row.attempt.as_str()));
    columns.int("rows", rows.iter().map(|row| row.rows as i64));
    columns.int("size", rows.iter().map(|row| row.size as i64));
    columns.text("blake3", rows.iter().map(|row| row.blake3.as_str()));
    columns.int("footer_size", rows.iter().map(|row| row.footer_size as i64));
    columns.text("footer_blake3", rows.iter().map(|row| row.footer_blake3.as_str()));
    push_tally(&mut columns, rows.iter().map(|row| &row.tally));
    columns.optional_binary("first_row", rows.iter().map(|row| row.first_row.as_deref()));
    columns.optional_binary("last_row", rows.iter().map(|row| row.last_row.as_deref()));
    columns.optional_time("first_time", rows.iter().map(|row| row.ranges.first_ms));
    columns.optional_time("last_time", rows.iter().map(|row| row.ranges.last_ms));
    columns.int("timestamp_nulls", rows.iter().map(|row| row.ranges.timestamp_nulls as i64));
    columns.optional_text("first_metric", rows.iter().map(|row| row.ranges.first_metric.as_deref()));
    columns.optional_text("last_metric", rows.iter().map(|row| row.ranges.last_metric.as_deref()));
    columns.int("metric_nulls", rows.iter().map(|row| row.ranges.metric_nulls as i64));
    columns.array("metrics", false, Arc::new(metric_lists(rows)?));
    columns.int("metrics_left_out", rows.iter().map(|row| row.ranges.names.metrics_left_out as i64));
    columns.table()
}

/// LIST<UTF8> of the metrics in each file.
fn metric_lists(rows: &[FileRow]) -> Result<ListArray, ColumnError> {
    let names = StringArray::from_iter_values(rows.iter().flat_map(|row| &row.ranges.names.metrics));
    let element = Arc::new(Field::new("element", DataType::Utf8, false));
    let offsets = offsets(rows.iter().map(|row| row.ranges.names.metrics.len()))?;
    ListArray::try_new(element, offsets, Arc::new(names), None).map_err(|error| ColumnError::Arrow(error.to_string()))
}

/// The rows of a files table.
///
/// # Errors
/// [`ColumnError`] when a column is missing or a value impossible.
pub fn read_files(table: &RecordBatch) -> Result<Vec<FileRow>, ColumnError> {
    let found = Found(table);
    let (paths, tables, kinds) = (found.text("path")?, found.text("table")?, found.text("kind")?);
    let (attempts, rows, sizes) = (found.text("attempt")?, found.int("rows")?, found.int("size")?);
    let (hashes, tallies) = (found.text("blake3")?, read_tallies(found)?);
    let (footers, footer_hashes) = (found.int("footer_size")?, found.text("footer_blake3")?);
    let (first_rows, last_rows) = (found.optional_binary("first_row")?, found.optional_binary("last_row")?);
    let key = |array: &arrow_array::BinaryArray, at: usize| (!array.is_null(at)).then(|| array.value(at).to_vec());
    tallies
        .into_iter()
        .zip(read_ranges(found)?)
        .enumerate()
        .map(|(at, (tally, ranges))| {
            let kind = FileKind::from_name(kinds.value(at));
            let unknown = || ColumnError::Value { column: "kind", value: kinds.value(at).to_owned() };
            Ok(FileRow {
                path: paths.value(at).to_owned(),
                table: tables.value(at).to_owned(),
                kind: kind.ok_or_else(unknown)?,
                attempt: attempts.value(at).to_owned(),
                rows: count("rows", rows.value(at))?,
                size: count("size", sizes.value(at))?,
                blake3: hashes.value(at).to_owned(),
                footer_size: count("footer_size", footers.value(at))?,
                footer_blake3: footer_hashes.value(at).to_owned(),
                tally,
                first_row: key(first_rows, at),
                last_row: key(last_rows, at),
                ranges,
            })
        })
        .collect()
}

/// What each file says of its columns.
fn read_ranges(found: Found<'_>) -> Result<Vec<ColumnRanges>, ColumnError> {
    let (first_times, last_times) = (found.optional_time("first_time")?, found.optional_time("last_time")?);
    let (first_metrics, last_metrics) = (found.optional_text("first_metric")?, found.optional_text("last_metric")?);
    let (timestamp_nulls, metric_nulls) = (found.int("timestamp_nulls")?, found.int("metric_nulls")?);
    let (metrics, left_out) = (found.text_list("metrics")?, found.int("metrics_left_out")?);
    (0..metrics.len())
        .map(|at| {
            let mut ranges = ColumnRanges::default();
            let names = metrics.value(at);
            let names = names.as_string_opt::<i32>().ok_or(ColumnError::Column("metrics"))?;
            ranges.names.metrics = names.iter().flatten().map(str::to_owned).collect();
            ranges.names.metrics_left_out = count("metrics_left_out", left_out.value(at))?;
            ranges.first_metric = optional(first_metrics, at).map(str::to_owned);
            ranges.last_metric = optional(last_metrics, at).map(str::to_owned);
            ranges.metric_nulls = count("metric_nulls", metric_nulls.value(at))?;
            (ranges.first_ms, ranges.last_ms) = (optional_time(first_times, at), optional_time(last_times, at));
            ranges.timestamp_nulls = count("timestamp_nulls", timestamp_nulls.value(at))?;
            Ok(ranges)
        })
        .collect()
}

pub(super) fn shards(rows: &[ShardRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("table", rows.iter().map(|row| row.table.as_str()));
    columns.text("attempt", rows.iter().map(|row| row.attempt.as_str()));
    columns.binary("start", rows.iter().map(|row| row.start.as_slice()));
    columns.binary("stop", rows.iter().map(|row| row.stop.as_slice()));
    columns.time("started", rows.iter().map(|row| row.started_ms));
    columns.time("finished", rows.iter().map(|row| row.finished_ms));
    push_tally(&mut columns, rows.iter().map(|row| &row.tally));
    columns.table()
}

/// The rows of a shards table.
///
/// # Errors
/// [`ColumnError`] when a column is missing or a value impossible.
pub fn read_shards(table: &RecordBatch) -> Result<Vec<ShardRow>, ColumnError> {
    let found = Found(table);
    let (tables, attempts) = (found.text("table")?, found.text("attempt")?);
    let (starts, stops) = (found.binary("start")?, found.binary("stop")?);
    let (started, finished) = (found.time("started")?, found.time("finished")?);
    let row = |(at, tally)| ShardRow {
        table: tables.value(at).to_owned(),
        attempt: attempts.value(at).to_owned(),
        start: starts.value(at).to_vec(),
        stop: stops.value(at).to_vec(),
        started_ms: started.value(at),
        finished_ms: finished.value(at),
        tally,
    };
    Ok(read_tallies(found)?.into_iter().enumerate().map(row).collect())
}

pub(super) fn metrics(rows: &[MetricRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("table", rows.iter().map(|row| row.table.as_str()));
    columns.text("uid", rows.iter().map(|row| row.uid.as_str()));
    columns.optional_text("metric", rows.iter().map(|row| row.metric.as_deref()));
    columns.int("points", rows.iter().map(|row| row.points as i64));
    columns.optional_time("first_time", rows.iter().map(|row| row.first_time));
    columns.optional_time("last_time", rows.iter().map(|row| row.last_time));
    columns.table()
}

/// The rows of a metrics table.
///
/// # Errors
/// [`ColumnError`] when a column is missing or a value impossible.
pub fn read_metrics(table: &RecordBatch) -> Result<Vec<MetricRow>, ColumnError> {
    let found = Found(table);
    let (tables, uids, metrics) = (found.text("table")?, found.text("uid")?, found.optional_text("metric")?);
    let points = found.int("points")?;
    let (first_times, last_times) = (found.optional_time("first_time")?, found.optional_time("last_time")?);
    (0..table.num_rows())
        .map(|at| {
            Ok(MetricRow {
                table: tables.value(at).to_owned(),
                uid: uids.value(at).to_owned(),
                metric: optional(metrics, at).map(str::to_owned),
                points: count("points", points.value(at))?,
                first_time: optional_time(first_times, at),
                last_time: optional_time(last_times, at),
            })
        })
        .collect()
}
