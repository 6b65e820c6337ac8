//! What the steps of a restore need to know.

use std::collections::BTreeMap;

use crate::flow::compare::window::StoredWindow;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::contents::ContentsReader;
use crate::flow::{FlowError, Progress, RestorePlan};
use crate::model::{Cell, FileRow, KeyRange, ShardRow};
use crate::scan::WantedRows;

/// What the steps of a restore need to know.
pub struct Scene<'a> {
    /// What is asked for.
    pub plan: &'a RestorePlan,
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// The backup.
    pub contents: &'a BackupContents,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
    /// Bytes of files that are decoded at once.
    pub memory: &'a ByteBudget,
    /// Of a window: the rows that it holds, by table of the backup. Other rows of a target need not be read.
    pub wanted: BTreeMap<String, WantedRows>,
}

impl<'a> Scene<'a> {
    /// How to read the backup.
    pub fn tools(&self) -> ReadTools<'a> {
        let (memory, cancel) = (self.memory, self.pace.cancel());
        ReadTools { threads: self.threads, store: &self.plan.store, memory, cancel, progress: self.progress }
    }
}

/// The rows that a window backup holds, by table; none of another backup, and of one that has lost the names which tell.
///
/// # Errors
/// The store's; [`FlowError::Damaged`].
pub fn wanted(
    threads: &Threads,
    plan: &RestorePlan,
    contents: &BackupContents,
) -> Result<BTreeMap<String, WantedRows>, FlowError> {
    let mut wanted = BTreeMap::new();
    if let Some(Ok(window)) = StoredWindow::of(threads, &plan.store, contents)? {
        for table in &contents.manifest.tables {
            wanted.extend(window.rows_of(table)?.map(|rows| (table.name.clone(), rows)));
        }
    }
    Ok(wanted)
}

/// Calls `each` with every cell of the shard's rows inside a range, and the file that holds it.
///
/// # Errors
/// The store's, or what `each` returns.
pub fn each_cell(
    scene: &Scene<'_>,
    shard: &ShardRow,
    range: &KeyRange,
    each: &mut dyn FnMut(&FileRow, &Cell<'_>) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let reader = ContentsReader { tools: scene.tools(), contents: scene.contents };
    reader.each_block(shard, &|file| file.may_meet(range), &mut |file, block| {
        let mut rows = block.rows().filter(|row| range.contains(row.key));
        rows.try_for_each(|row| row.iter().try_for_each(|cell| each(file, &cell)))
    })
}
