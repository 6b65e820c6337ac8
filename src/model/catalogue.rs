//! Rows of the catalogue: what a backup consists of, as tables that SQL can read.

use serde::{Deserialize, Serialize};

use crate::model::{ColumnRanges, SeriesLabel, Tally};

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

/// A file of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Path below the backup's folder.
    pub path: String,
    /// HBase table.
    pub table: String,
    /// What the file holds.
    pub kind: FileKind,
    /// Shard that wrote it.
    pub shard: String,
    /// Rows of the Parquet file.
    pub rows: u64,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the bytes, in hex.
    pub blake3: String,
    /// The cells that the file restores.
    pub tally: Tally,
    /// Lowest row key; `None` without cells.
    pub first_key: Option<Vec<u8>>,
    /// Highest row key; `None` without cells.
    pub last_key: Option<Vec<u8>>,
    /// Smallest and greatest `metric` and `timestamp`.
    pub ranges: ColumnRanges,
}

/// A shard of the backup: one key range of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRow {
    /// HBase table.
    pub table: String,
    /// Shard id.
    pub shard: String,
    /// First row key, inclusive.
    pub start: Vec<u8>,
    /// First row key behind the range; empty: no end.
    pub stop: Vec<u8>,
    /// Everything that the scan returned.
    pub tally: Tally,
    /// The attempt whose files count.
    pub attempt: String,
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
