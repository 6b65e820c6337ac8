//! Why a shard could not be read on.

use crate::cluster::ClusterError;
use crate::model::{KeyRange, Retry};

/// Why a shard could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The gateway or HBase.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// HBase fails at a row: it has a negative timestamp, or its file is damaged.
    #[error("table {table}: HBase cannot read the rows from {row} on: {source}")]
    Unreadable {
        /// Table.
        table: String,
        /// Where they begin, in hex, or `the beginning of the table`.
        row: String,
        /// The gateway's error.
        source: Box<ClusterError>,
    },
    /// A page that HBase cannot have meant: rows outside the range or out of order, again and again.
    #[error("table {table}, range {range}: {what}; the region may be damaged, or the gateway mixes up answers")]
    Disorder {
        /// Table.
        table: String,
        /// What was left of the range.
        range: KeyRange,
        /// What is wrong, with the row in hex.
        what: String,
    },
}

impl ScanError {
    /// True when the stop flag ended the scan.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Cluster(error) if error.is_interrupted())
    }

    /// Whether another try may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Cluster(error) => error.retry(),
            Self::Disorder { .. } => Retry::Transient,
            Self::Unreadable { .. } => Retry::Permanent,
        }
    }
}
