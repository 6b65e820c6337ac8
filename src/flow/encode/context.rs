//! Where the files of a table go, and what stands in all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::manifest::{BackupPaths, FORMAT, FileName};
use crate::model::{FileKind, KeyLayouts, LabelTable, SeriesTable};
use crate::store::Store;

use super::read_back::ReadBack;

/// Looks up the labels of series.
pub trait Labels: Send + Sync {
    /// The labels of these series, in their order.
    ///
    /// # Errors
    /// Those of looking names up.
    fn labels(&self, series: &SeriesTable) -> Result<LabelTable, FlowError>;
}

/// What all encoders of one table have in common.
pub struct EncodeContext {
    /// CPU pool and store bridge.
    pub threads: Threads,
    /// The repository's store.
    pub store: Store,
    /// Paths of the backup.
    pub paths: BackupPaths,
    /// Table.
    pub table: String,
    /// UID widths and salts.
    pub layouts: KeyLayouts,
    /// Names for labels.
    pub names: Arc<dyn Labels>,
    /// Key-value pairs for the footer of every file.
    pub footer: Vec<(String, String)>,
    /// Which finished files are decoded again.
    pub read_back: Arc<ReadBack>,
}

impl EncodeContext {
    /// What the footers of all files of a backup say.
    pub fn footer(backup: &str, cluster_id: Option<&str>) -> Vec<(String, String)> {
        vec![
            ("tsdb-ark.format".into(), FORMAT.to_string()),
            ("tsdb-ark.version".into(), env!("CARGO_PKG_VERSION").into()),
            ("tsdb-ark.backup".into(), backup.into()),
            ("tsdb-ark.cluster".into(), cluster_id.unwrap_or_default().into()),
        ]
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
