//! The smaller tables of a backup: readable columns beside the exact cell.
//!
//! Every table has the cell as `row`, `family`, `qualifier`, `value` (BINARY) and `written` (its timestamp), which alone
//! are read back. `cells` has the timestamp as a plain number, because it may lie outside what other readers can show.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields};

use super::ColumnError;
use super::catalogue;
use super::columns::{Columns, offsets};
use crate::model::{
    Annotation, FileKind, FileRow, Histogram, LabelTable, MetaRow, MetricRow, OwnedCell, RawCell, Rollup, RollupValue,
    SeriesLabel, SeriesLabels, SeriesRows, SeriesTable, ShardRow, TreeRow, UidRow,
};

/// Rows for one of the files beside the points.
#[derive(Debug, Clone, Copy)]
pub enum TableRows<'a> {
    /// Annotations, with the labels of their series where known.
    Annotations(&'a [Annotation], &'a SeriesLabels),
    /// Histograms, with the labels of their series where known.
    Histograms(&'a [Histogram], &'a SeriesLabels),
    /// Rollups, with the labels of their series where known.
    Rollups(&'a [Rollup], &'a SeriesLabels),
    /// UID table.
    Uids(&'a [UidRow]),
    /// Meta table.
    Meta(&'a [MetaRow]),
    /// Tree table.
    Tree(&'a [TreeRow]),
    /// Raw cells of the named HBase table.
    Cells(&'a str, &'a [RawCell]),
    /// Catalogue of series.
    Series(SeriesRows<'a>),
    /// Catalogue of files.
    Files(&'a [FileRow]),
    /// Catalogue of shards.
    Shards(&'a [ShardRow]),
    /// Catalogue of metrics.
    Metrics(&'a [MetricRow]),
}

impl TableRows<'_> {
    /// The kind of file that takes these rows.
    pub fn kind(&self) -> FileKind {
        match self {
            Self::Annotations(..) => FileKind::Annotations,
            Self::Histograms(..) => FileKind::Histograms,
            Self::Rollups(..) => FileKind::Rollups,
            Self::Uids(..) => FileKind::Uids,
            Self::Meta(..) => FileKind::Meta,
            Self::Tree(..) => FileKind::Tree,
            Self::Cells(..) => FileKind::Cells,
            Self::Series(..) => FileKind::Series,
            Self::Files(..) => FileKind::Files,
            Self::Shards(..) => FileKind::Shards,
            Self::Metrics(..) => FileKind::Metrics,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Annotations(rows, _) => rows.len(),
            Self::Histograms(rows, _) => rows.len(),
            Self::Rollups(rows, _) => rows.len(),
            Self::Uids(rows) => rows.len(),
            Self::Meta(rows) => rows.len(),
            Self::Tree(rows) => rows.len(),
            Self::Cells(_, rows) => rows.len(),
            Self::Series(rows) => rows.chosen.len(),
            Self::Files(rows) => rows.len(),
            Self::Shards(rows) => rows.len(),
            Self::Metrics(rows) => rows.len(),
        }
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows as a table.
    ///
    /// # Errors
    /// [`ColumnError::Arrow`] when the columns do not fit each other, which would be a fault of this module.
    pub fn to_table(&self) -> Result<RecordBatch, ColumnError> {
        match *self {
            Self::Annotations(rows, labels) => annotations(rows, labels),
            Self::Histograms(rows, labels) => histograms(rows, labels),
            Self::Rollups(rows, labels) => rollups(rows, labels),
            Self::Uids(rows) => uids(rows),
            Self::Meta(rows) => meta(rows),
            Self::Tree(rows) => tree(rows),
            Self::Cells(table, rows) => cells(table, rows),
            Self::Series(rows) => catalogue::series(&rows),
            Self::Files(rows) => catalogue::files(rows),
            Self::Shards(rows) => catalogue::shards(rows),
            Self::Metrics(rows) => catalogue::metrics(rows),
        }
    }
}

/// The table of a kind without rows, for its columns; `None` for points, which have no Arrow form.
///
/// # Errors
/// As [`TableRows::to_table`].
pub fn empty_table(kind: FileKind) -> Result<Option<RecordBatch>, ColumnError> {
    let labels = SeriesLabels::new();
    let rows = match kind {
        FileKind::Points => return Ok(None),
        FileKind::Rollups => TableRows::Rollups(&[], &labels),
        FileKind::Annotations => TableRows::Annotations(&[], &labels),
        FileKind::Histograms => TableRows::Histograms(&[], &labels),
        FileKind::Uids => TableRows::Uids(&[]),
        FileKind::Meta => TableRows::Meta(&[]),
        FileKind::Tree => TableRows::Tree(&[]),
        FileKind::Cells => TableRows::Cells("", &[]),
        FileKind::Series => TableRows::Series(SeriesRows {
            chosen: &[],
            ids: &[],
            series: &SeriesTable::new(),
            labels: &LabelTable::new(),
        }),
        FileKind::Files => TableRows::Files(&[]),
        FileKind::Shards => TableRows::Shards(&[]),
        FileKind::Metrics => TableRows::Metrics(&[]),
    };
    rows.to_table().map(Some)
}

fn push_cells<'a>(columns: &mut Columns, cells: impl Iterator<Item = &'a OwnedCell> + Clone) {
    columns.binary("row", cells.clone().map(|cell| cell.row.as_slice()));
    columns.binary("family", cells.clone().map(|cell| cell.family.as_slice()));
    columns.binary("qualifier", cells.clone().map(|cell| cell.qualifier.as_slice()));
    columns.binary("value", cells.clone().map(|cell| cell.value.as_slice()));
    columns.time("written", cells.map(|cell| cell.timestamp));
}

/// `tsuid` and, where the series is known, `metric` and `tags`.
fn push_labels<'a>(
    columns: &mut Columns,
    tsuids: impl Iterator<Item = Option<&'a str>> + Clone,
    labels: &'a SeriesLabels,
) {
    let label = |tsuid: Option<&str>| tsuid.and_then(|tsuid| labels.get(tsuid));
    columns.optional_text("tsuid", tsuids.clone());
    columns.optional_text("metric", tsuids.clone().map(|tsuid| label(tsuid)?.metric.as_deref()));
    let tags = |label: &'a SeriesLabel| label.tags_json.as_str();
    columns.optional_text("tags", tsuids.map(|tsuid| label(tsuid).map(tags)));
}

fn annotations(rows: &[Annotation], labels: &SeriesLabels) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    push_labels(&mut columns, rows.iter().map(|row| row.tsuid.as_deref()), labels);
    columns.optional_time("start", rows.iter().map(|row| row.start_ms));
    columns.optional_time("end", rows.iter().map(|row| row.end_ms));
    columns.optional_text("description", rows.iter().map(|row| row.description.as_deref()));
    columns.optional_text("notes", rows.iter().map(|row| row.notes.as_deref()));
    columns.optional_text("custom", rows.iter().map(|row| row.custom.as_deref()));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

fn histograms(rows: &[Histogram], labels: &SeriesLabels) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    push_labels(&mut columns, rows.iter().map(|row| Some(row.tsuid.as_str())), labels);
    columns.time("timestamp", rows.iter().map(|row| row.timestamp));
    columns.optional_byte("codec", rows.iter().map(|row| row.codec));
    columns.array("buckets", false, Arc::new(buckets(rows)?));
    columns.optional_int("underflow", rows.iter().map(|row| row.underflow));
    columns.optional_int("overflow", rows.iter().map(|row| row.overflow));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

/// LIST<STRUCT<lower FLOAT, upper FLOAT, count INT64>>.
fn buckets(rows: &[Histogram]) -> Result<ListArray, ColumnError> {
    let all = || rows.iter().flat_map(|row| row.buckets.iter());
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Float32Array::from_iter_values(all().map(|bucket| bucket.lower))),
        Arc::new(Float32Array::from_iter_values(all().map(|bucket| bucket.upper))),
        Arc::new(Int64Array::from_iter_values(all().map(|bucket| bucket.count))),
    ];
    let field = |name, data_type| Field::new(name, data_type, false);
    let fields = Fields::from(vec![
        field("lower", DataType::Float32),
        field("upper", DataType::Float32),
        field("count", DataType::Int64),
    ]);
    let structs = StructArray::try_new(fields, arrays, None).map_err(|error| ColumnError::Arrow(error.to_string()))?;
    let element = Arc::new(field("element", structs.data_type().clone()));
    let offsets = offsets(rows.iter().map(|row| row.buckets.len()))?;
    ListArray::try_new(element, offsets, Arc::new(structs), None).map_err(|error| ColumnError::Arrow(error.to_string()))
}

fn rollups(rows: &[Rollup], labels: &SeriesLabels) -> Result<RecordBatch, ColumnError> {
    let int = |row: &Rollup| match row.value {
        Some(RollupValue::Int(value)) => Some(value),
        _ => None,
    };
    let float = |row: &Rollup| match row.value {
        Some(RollupValue::Float(value)) => Some(value),
        _ => None,
    };
    let mut columns = Columns::new();
    push_labels(&mut columns, rows.iter().map(|row| Some(row.tsuid.as_str())), labels);
    columns.optional_byte("aggregator_id", rows.iter().map(|row| row.aggregator_id));
    columns.optional_text("aggregator", rows.iter().map(|row| row.aggregator.as_deref()));
    columns.int("base", rows.iter().map(|row| i64::from(row.base)));
    columns.int("interval_number", rows.iter().map(|row| i64::from(row.interval_number)));
    columns.optional_time("timestamp", rows.iter().map(|row| row.timestamp));
    columns.optional_int("value_int", rows.iter().map(int));
    columns.optional_float("value_float", rows.iter().map(float));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

fn uids(rows: &[UidRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("role", rows.iter().map(|row| row.role));
    columns.optional_text("kind", rows.iter().map(|row| row.kind.map(kind_name)));
    columns.optional_text("uid", rows.iter().map(|row| row.uid.as_deref()));
    columns.optional_text("name", rows.iter().map(|row| row.name.as_deref()));
    columns.optional_int("counter", rows.iter().map(|row| row.counter));
    columns.optional_text("json", rows.iter().map(|row| row.json.as_deref()));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

fn kind_name(kind: crate::model::UidKind) -> &'static str {
    match kind {
        crate::model::UidKind::Metric => "metric",
        crate::model::UidKind::Tagk => "tagk",
        crate::model::UidKind::Tagv => "tagv",
    }
}

fn meta(rows: &[MetaRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("tsuid", rows.iter().map(|row| row.tsuid.as_str()));
    columns.text("role", rows.iter().map(|row| row.role));
    columns.optional_int("counter", rows.iter().map(|row| row.counter));
    columns.optional_text("json", rows.iter().map(|row| row.json.as_deref()));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

fn tree(rows: &[TreeRow]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.optional_int("tree", rows.iter().map(|row| row.tree.map(i64::from)));
    columns.text("role", rows.iter().map(|row| row.role));
    columns.optional_text("text", rows.iter().map(|row| row.text.as_deref()));
    push_cells(&mut columns, rows.iter().map(|row| &row.cell));
    columns.table()
}

fn cells(table: &str, rows: &[RawCell]) -> Result<RecordBatch, ColumnError> {
    let mut columns = Columns::new();
    columns.text("table", rows.iter().map(|_| table));
    columns.binary("row", rows.iter().map(|row| row.cell.row.as_slice()));
    columns.binary("family", rows.iter().map(|row| row.cell.family.as_slice()));
    columns.binary("qualifier", rows.iter().map(|row| row.cell.qualifier.as_slice()));
    columns.int("timestamp", rows.iter().map(|row| row.cell.timestamp));
    columns.byte("type", rows.iter().map(|row| row.cell.kind));
    columns.binary("value", rows.iter().map(|row| row.cell.value.as_slice()));
    columns.text("reason", rows.iter().map(|row| row.reason.name()));
    columns.table()
}
