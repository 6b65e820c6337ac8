//! What all shards of one table have in common.

use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::RollupTable;
use crate::flow::encode::{Attempts, EncodeContext};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::source::gaps::AtDamage;
use crate::flow::{Cancel, Progress};
use crate::model::{NameCharset, PointBatch, Region, TableKind};
use crate::scan::ScanOptions;

/// What all shards of one table have in common.
pub struct ExportContext {
    /// Where the files go.
    pub files: Arc<EncodeContext>,
    /// What is in the table.
    pub kind: TableKind,
    /// How to read rollup cells.
    pub rollups: Option<RollupTable>,
    /// How the bytes of names are read.
    pub charset: NameCharset,
    /// How to scan.
    pub scan: ScanOptions,
    /// Points of a batch.
    pub batch_points: usize,
    /// Memory for batches that are being encoded.
    pub encode_budget: ByteBudget,
    /// Memory of batches whose shard is done, for the shards to come.
    pub spare_batches: Mutex<Vec<PointBatch>>,
    /// All attempts of the backup.
    pub attempts: Arc<Attempts>,
    /// Where the regions of the table are, in key order.
    pub regions: Vec<Region>,
    /// How fast to go.
    pub pace: Pace,
    /// Counters.
    pub progress: Progress,
    /// Request to stop.
    pub cancel: Cancel,
    /// Set by the first shard that fails: the others of the table need not go on.
    pub cancel_table: Cancel,
    /// What to do at rows that cannot be read.
    pub at_damage: AtDamage,
    /// Note which UIDs the rows name: the UID table is read for them alone.
    pub note_uids: bool,
}

impl ExportContext {
    /// Memory for a batch.
    pub fn spare_batch(&self) -> PointBatch {
        self.spare_batches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}
