//! What a backup consists of: files, shards, metrics, series. Each is one type with two forms: JSON in the records of
//! shards, and rows of the catalogue's tables, which SQL can read.

use serde::{Deserialize, Serialize};

use crate::model::{ColumnRanges, KeyRange, LabelTable, SeriesLabel, SeriesTable, Tally, hex};

macro_rules! file_kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// What a Parquet file of a backup holds. The names are folders, views and part of the repository format.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum FileKind { $($(#[$doc])* $variant,)* }

        impl FileKind {
            /// All kinds.
            pub const ALL: &'static [FileKind] = &[$(FileKind::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(FileKind::$variant => $name,)* }
            }

            /// The kind with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(FileKind::$variant),)* _ => None }
            }
        }
    };
}

file_kinds! {
    /// Decoded points.
    Points => "points",
    /// Rollups and pre-aggregates.
    Rollups => "rollups",
    /// Annotations.
    Annotations => "annotations",
    /// Histograms.
    Histograms => "histograms",
    /// UID table.
    Uids => "uids",
    /// Meta table.
    Meta => "meta",
    /// Tree table.
    Tree => "tree",
    /// Cells kept raw.
    Cells => "cells",
    /// Series of the points files: one row per series and file.
    Series => "series",
    /// Catalogue: one row per file.
    Files => "files",
    /// Catalogue: one row per shard.
    Shards => "shards",
    /// Catalogue: one row per metric.
    Metrics => "metrics",
}

impl FileKind {
    /// True for the tables that describe the backup; they hold no cell.
    pub fn is_catalogue(self) -> bool {
        matches!(self, Self::Series | Self::Files | Self::Shards | Self::Metrics)
    }
}

/// A series and its number within the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesRow {
    /// The number that the points carry.
    pub series_id: i64,
    /// TSUID in upper-case hex.
    pub tsuid: String,
    /// The series in words.
    pub label: SeriesLabel,
}

/// Series on their way to the series table.
#[derive(Debug, Clone, Copy)]
pub struct SeriesRows<'a> {
    /// Indexes of the series to write.
    pub chosen: &'a [u32],
    /// Numbers by index.
    pub ids: &'a [i64],
    /// TSUIDs by index.
    pub series: &'a SeriesTable,
    /// Labels by index.
    pub labels: &'a LabelTable,
}

/// A file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// Path below the repository.
    pub path: String,
    /// HBase table.
    pub table: String,
    /// What the file holds.
    pub kind: FileKind,
    /// Attempt at a shard that wrote it.
    pub attempt: String,
    /// Rows of the Parquet file.
    pub rows: u64,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the bytes, 64 hex digits.
    pub blake3: String,
    /// Bytes of the footer, with the page indexes in front of it.
    pub footer_size: u64,
    /// BLAKE3 of these, 64 hex digits.
    pub footer_blake3: String,
    /// The cells that the file restores.
    pub tally: Tally,
    /// No row of the file is before this one; `None` without cells. In a points file up to a page of the scan before its
    /// first row, else the first row itself.
    #[serde(with = "hex::optional")]
    pub first_row: Option<Vec<u8>>,
    /// No row of the file is behind this one, as above.
    #[serde(with = "hex::optional")]
    pub last_row: Option<Vec<u8>>,
    /// Metrics, and smallest and greatest `metric` and `timestamp`.
    pub ranges: ColumnRanges,
}

impl FileRow {
    /// False where no row of the file can lie in the range.
    pub fn may_meet(&self, range: &KeyRange) -> bool {
        match (&self.first_row, &self.last_row) {
            (Some(first), Some(last)) => range.is_before_stop(first) && *last >= range.start,
            _ => true,
        }
    }
}

/// A shard of the backup: one key range of one table, as one attempt read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardRow {
    /// HBase table.
    pub table: String,
    /// The attempt, which the names of its record and of its files carry; unique in the repository.
    pub attempt: String,
    /// First row key, inclusive.
    #[serde(with = "hex::bytes")]
    pub start: Vec<u8>,
    /// First row key behind the range; empty: no end.
    #[serde(with = "hex::bytes")]
    pub stop: Vec<u8>,
    /// Beginning, ms UTC.
    pub started_ms: i64,
    /// End, ms UTC.
    pub finished_ms: i64,
    /// Everything that the scan returned.
    pub tally: Tally,
}

impl ShardRow {
    /// The keys.
    pub fn range(&self) -> KeyRange {
        KeyRange::new(self.start.clone(), self.stop.clone())
    }
}

/// A metric of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricRow {
    /// HBase table.
    pub table: String,
    /// UID in upper-case hex.
    pub uid: String,
    /// Name; `None` when the UID has none.
    pub metric: Option<String>,
    /// Points.
    pub points: u64,
    /// Earliest point in ms UTC.
    pub first_time: Option<i64>,
    /// Latest point in ms UTC.
    pub last_time: Option<i64>,
}
