//! Keys of a table that could not be read.

use serde::{Deserialize, Serialize};

use crate::model::KeyRange;

/// Why keys are missing from a backup. The names are part of the repository format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// No region covers the keys: a hole in `hbase:meta`.
    NoRegion,
    /// Two regions claim the keys, and a scan shows the rows of one of them only.
    RegionsOverlap,
    /// The region is not open on any region server.
    RegionNotOpen,
    /// HBase fails at a row, or at the file that holds it.
    Unreadable,
    /// A row is larger than a reply may be.
    RowTooLarge,
    /// The table is disabled.
    TableDisabled,
}

impl GapReason {
    /// The reason in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoRegion => "no region",
            Self::RegionsOverlap => "regions overlap",
            Self::RegionNotOpen => "region not open",
            Self::Unreadable => "unreadable",
            Self::RowTooLarge => "row too large",
            Self::TableDisabled => "table disabled",
        }
    }
}

/// Keys that a backup lacks because they could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The keys.
    pub range: KeyRange,
    /// Why.
    pub reason: GapReason,
    /// What HBase said, or what was seen.
    pub message: String,
}
