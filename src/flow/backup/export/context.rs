//! What all shards of one table have in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::RollupTable;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::source::gaps::AtDamage;
use crate::flow::source::names::Names;
use crate::flow::{Cancel, Progress};
use crate::manifest::{BackupPaths, FileName};
use crate::model::{FileKind, KeyLayouts, NameCharset, PointBatch, Region, TableKind};
use crate::scan::ScanOptions;
use crate::store::Store;

use super::attempts::Attempts;
use super::read_back::ReadBack;

/// What all shards of one table have in common.
pub struct ExportContext {
    /// CPU pool and store bridge.
    pub threads: Threads,
    /// The repository's store.
    pub store: Store,
    /// Paths of the backup.
    pub paths: BackupPaths,
    /// Table.
    pub table: String,
    /// What is in it.
    pub kind: TableKind,
    /// How to read rollup cells.
    pub rollups: Option<RollupTable>,
    /// UID widths and salts.
    pub layouts: KeyLayouts,
    /// How the bytes of names are read.
    pub charset: NameCharset,
    /// Names for labels.
    pub names: Arc<Names>,
    /// How to scan.
    pub scan: ScanOptions,
    /// Points of a batch.
    pub batch_points: usize,
    /// Memory for batches that are being encoded.
    pub encode_budget: ByteBudget,
    /// Memory of batches whose shard is done, for the shards to come.
    pub spare_batches: Mutex<Vec<PointBatch>>,
    /// Key-value pairs for the footer of every file.
    pub footer: Vec<(String, String)>,
    /// All attempts of the backup.
    pub attempts: Arc<Attempts>,
    /// Which finished files are decoded again.
    pub read_back: Arc<ReadBack>,
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
}

impl ExportContext {
    /// Memory for a batch.
    pub fn spare_batch(&self) -> PointBatch {
        self.spare_batches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Path and footer of the next file of a kind.
    pub fn new_file(
        &self,
        kind: FileKind,
        attempt: &str,
        numbers: &mut BTreeMap<FileKind, u32>,
    ) -> (String, Vec<(String, String)>) {
        let number = numbers.entry(kind).or_default();
        let name = FileName { table: self.table.clone(), attempt: attempt.to_string(), number: *number };
        *number += 1;
        let mut footer = self.footer.clone();
        footer.push(("tsdb-ark.table".into(), self.table.clone()));
        footer.push(("tsdb-ark.attempt".into(), attempt.to_string()));
        (self.paths.file(kind, &name), footer)
    }
}
