//! Decoded rows of the smaller tables: useful columns beside the exact cell.

use crate::model::{OwnedCell, PointBatch, RawCell, UidKind};

/// An annotation (qualifier `01` and an offset). Times are the ones in the JSON, as the writer gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// The exact cell.
    pub cell: OwnedCell,
    /// TSUID in upper-case hex from the row key; `None` for a global annotation.
    pub tsuid: Option<String>,
    /// `startTime` in ms UTC (seconds are scaled).
    pub start_ms: Option<i64>,
    /// `endTime` in ms UTC; `None` when 0 or absent.
    pub end_ms: Option<i64>,
    /// `description`.
    pub description: Option<String>,
    /// `notes`.
    pub notes: Option<String>,
    /// `custom` as JSON text.
    pub custom: Option<String>,
}

/// One bucket of a [`Histogram`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistogramBucket {
    /// Lower bound, inclusive.
    pub lower: f32,
    /// Upper bound, exclusive.
    pub upper: f32,
    /// Count.
    pub count: i64,
}

/// A histogram cell (qualifier `06` and an offset).
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The exact cell.
    pub cell: OwnedCell,
    /// TSUID in upper-case hex.
    pub tsuid: String,
    /// Milliseconds, UTC.
    pub timestamp: i64,
    /// Codec id: byte 0 of the value; `None` for an empty value.
    pub codec: Option<u8>,
    /// Buckets when the value reads as the built-in codec's, else empty.
    pub buckets: Vec<HistogramBucket>,
    /// Count below the first bucket.
    pub underflow: Option<i64>,
    /// Count above the last bucket.
    pub overflow: Option<i64>,
}

/// The value of a [`Rollup`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RollupValue {
    /// 1, 2, 4 or 8 bytes, signed.
    Int(i64),
    /// binary32 (widened) or binary64.
    Float(f64),
}

/// A rollup or pre-aggregate cell: aggregator and interval number in the qualifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// The exact cell.
    pub cell: OwnedCell,
    /// TSUID in upper-case hex.
    pub tsuid: String,
    /// Aggregator id (byte form).
    pub aggregator_id: Option<u8>,
    /// Aggregator name: from the text form, or from the rollup configuration.
    pub aggregator: Option<String>,
    /// Base time of the row, seconds.
    pub base: u32,
    /// Number of the interval inside the row.
    pub interval_number: u16,
    /// Start of the interval in ms UTC, when the interval is known from the rollup configuration.
    pub timestamp: Option<i64>,
    /// The value; `None` when it cannot be read.
    pub value: Option<RollupValue>,
}

/// A cell of `tsdb-uid`.
#[derive(Debug, Clone, PartialEq)]
pub struct UidRow {
    /// The exact cell.
    pub cell: OwnedCell,
    /// `forward` (name to UID), `reverse` (UID to name), `counter`, `meta` or `other`.
    pub role: &'static str,
    /// `metric`, `tagk` or `tagv`.
    pub kind: Option<UidKind>,
    /// UID in upper-case hex.
    pub uid: Option<String>,
    /// Name, decoded as ISO-8859-1.
    pub name: Option<String>,
    /// The counter's value.
    pub counter: Option<i64>,
    /// The UIDMeta JSON.
    pub json: Option<String>,
}

/// A cell of `tsdb-meta`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetaRow {
    /// The exact cell.
    pub cell: OwnedCell,
    /// TSUID in upper-case hex: the row key.
    pub tsuid: String,
    /// `ts_meta`, `ts_ctr` or `other`.
    pub role: &'static str,
    /// The counter's value.
    pub counter: Option<i64>,
    /// The TSMeta JSON.
    pub json: Option<String>,
}

/// A cell of `tsdb-tree`.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeRow {
    /// The exact cell.
    pub cell: OwnedCell,
    /// Tree id, 1..=65535.
    pub tree: Option<u16>,
    /// `tree`, `rule`, `branch`, `leaf`, `collision`, `not_matched` or `other`.
    pub role: &'static str,
    /// JSON or text of the value.
    pub text: Option<String>,
}

/// Everything that a page of cells decodes to.
#[derive(Debug, Default)]
pub struct TypedRows {
    /// Points.
    pub points: PointBatch,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Histograms.
    pub histograms: Vec<Histogram>,
    /// Rollups and pre-aggregates.
    pub rollups: Vec<Rollup>,
    /// UID table.
    pub uids: Vec<UidRow>,
    /// Meta table.
    pub meta: Vec<MetaRow>,
    /// Tree table.
    pub tree: Vec<TreeRow>,
    /// Cells kept raw.
    pub raw: Vec<RawCell>,
}
