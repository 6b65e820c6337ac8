//! What is in a repository.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::owner_text;
use crate::flow::locking::process::ProcessIdentity;
use crate::flow::stored::backup_files::{load_backup, load_manifest, metric_rows};
use crate::flow::{FlowError, TableReport};
use crate::manifest::{BackupPaths, IncrementRecord, Repository, WindowRecord};
use crate::model::{KeyLayout, MetricRow, NameCharset, time, time::now_ms};
use crate::store::Store;

/// One line of a list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedBackup {
    /// Backup id.
    pub backup: String,
    /// Beginning, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    pub finished: String,
    /// Wall time.
    pub seconds: f64,
    /// `full`, `incremental` or `window`.
    pub kind: String,
    /// Id of the backup that it adds to.
    pub parent: Option<String>,
    /// It was made of other backups, of the state of the last of them: the wall time covers all since that one began.
    pub merged: bool,
    /// Delete markers and overwritten versions included.
    pub raw: bool,
    /// Number of tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Cells of all tables.
    pub cells: u64,
    /// Points of all tables.
    pub points: u64,
    /// Cells kept raw.
    pub raw_cells: u64,
    /// Bytes of all files.
    pub bytes_written: u64,
    /// Gaps: key ranges that could not be read.
    pub gaps: u64,
    /// Version of the program that wrote it.
    pub tool_version: String,
}

/// One metric of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct MetricReport {
    /// HBase table.
    pub table: String,
    /// Name; `None` when the UID has none.
    pub metric: Option<String>,
    /// UID in upper-case hex.
    pub uid: String,
    /// Points.
    pub points: u64,
    /// Time of the first point, RFC 3339.
    pub first: Option<String>,
    /// Time of the last point, RFC 3339.
    pub last: Option<String>,
}

impl From<MetricRow> for MetricReport {
    fn from(row: MetricRow) -> Self {
        Self {
            table: row.table,
            metric: row.metric,
            uid: row.uid,
            points: row.points,
            first: row.first_time.map(time::text_time),
            last: row.last_time.map(time::text_time),
        }
    }
}

/// Everything about one backup.
#[derive(Debug, Clone, Serialize)]
pub struct ShowReport {
    /// Backup id.
    pub backup: String,
    /// Beginning, RFC 3339.
    pub started: String,
    /// End, RFC 3339.
    pub finished: String,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// `full`, `incremental` or `window`.
    pub kind: String,
    /// Id of the backup that it adds to.
    pub parent: Option<String>,
    /// What a window is a selection of.
    pub window: Option<WindowRecord>,
    /// How an increment was made, and what it promises.
    pub increment: Option<IncrementRecord>,
    /// Ids of the backups of which it was made.
    pub merged: Vec<String>,
    /// Delete markers and overwritten versions included.
    pub raw: bool,
    /// What is exact about it.
    pub exactness: String,
    /// UID widths and salt.
    pub layout: KeyLayout,
    /// The same of rows under another salt.
    pub older_layouts: Vec<KeyLayout>,
    /// How the bytes of names were read.
    pub name_charset: NameCharset,
    /// Where the layout comes from.
    pub layout_from: String,
    /// HBase's cluster id.
    pub cluster_id: Option<String>,
    /// Gateways that it was read through.
    pub gateways: Vec<String>,
    /// The TSD's settings that matter.
    pub opentsdb_conf: BTreeMap<String, String>,
    /// Tables in the order in which they were read.
    pub tables: Vec<TableReport>,
    /// Metrics, the largest first.
    pub metrics: Vec<MetricReport>,
}

/// What a repository holds.
#[derive(Debug)]
pub struct Listed {
    /// Committed backups, oldest first.
    pub backups: Vec<ListedBackup>,
    /// Why the manifests of others cannot be used.
    pub damaged: Vec<String>,
    /// Ids of the backups without a manifest, oldest first.
    pub unfinished: Vec<String>,
}

/// Committed backups, oldest first, and the ids of those that were begun and have no manifest.
///
/// # Errors
/// The repository's.
pub fn list(store: &Store) -> Result<Listed, FlowError> {
    let threads = Threads::for_store()?;
    threads.wait(async {
        let repository = Repository::open(store.clone()).await?;
        let mut backups = Vec::new();
        let (summaries, damaged) = repository.list().await?;
        for summary in summaries {
            backups.push(ListedBackup {
                finished: time::text_time(summary.finished_ms),
                seconds: summary.finished_ms.saturating_sub(summary.started_ms) as f64 / 1000.0,
                tables: summary.tables.len() as u64,
                rows: summary.tally.rows,
                cells: summary.tally.cells,
                points: summary.tally.points,
                raw_cells: summary.raw_cells,
                bytes_written: summary.bytes,
                gaps: summary.gaps,
                tool_version: summary.tool_version,
                kind: summary.kind.into(),
                parent: summary.parent,
                merged: summary.merged,
                raw: summary.raw,
                started: summary.started,
                backup: summary.backup,
            });
        }
        let damaged = damaged.iter().map(ToString::to_string).collect();
        Ok(Listed { backups, damaged, unfinished: repository.unfinished().await? })
    })
}

/// A backup without a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnfinishedBackup {
    /// Backup id; it begins with the time at which the backup was begun, or with that of what is merged.
    pub backup: String,
    /// The backups that it is made of; empty for one that reads a cluster.
    pub merged: Vec<String>,
    /// Who is at work on it, in words; `None`: nobody.
    pub locked_by: Option<String>,
    /// A prune was interrupted while it removed it: the next one finishes it.
    pub pruning: bool,
}

/// What is known of the backups that were begun and have no manifest, and who is at work in the repository at all.
///
/// # Errors
/// The repository's.
pub fn unfinished(store: &Store, backups: &[String]) -> Result<(Vec<UnfinishedBackup>, Vec<String>), FlowError> {
    let threads = Threads::for_store()?;
    threads.wait(async {
        let this = ProcessIdentity::this();
        let repository = Repository::open(store.clone()).await?;
        let mut locks = repository.locks().await?;
        // Who only reads has no file of its own that shows the store's time.
        locks.retain(|lock| lock.is_live(now_ms(), |record| this.knows_as_gone(record)));
        let mut found = Vec::new();
        for backup in backups {
            let works = |record: &crate::manifest::LockRecord| record.backup.as_ref() == Some(backup);
            let lock = locks.iter().find(|lock| lock.record.as_ref().is_some_and(works));
            let pruning = store.size(&BackupPaths::new(backup).pruning()).await?.is_some();
            // One without a plan that can be read is told all the same.
            let merged = repository.plan(backup).await.ok().flatten().map(|plan| plan.merged).unwrap_or_default();
            found.push(UnfinishedBackup { backup: backup.clone(), merged, locked_by: lock.map(owner_text), pruning });
        }
        Ok((found, locks.iter().map(owner_text).collect()))
    })
}

/// A backup in full.
///
/// # Errors
/// The repository's.
pub fn show(store: &Store, backup: &str) -> Result<ShowReport, FlowError> {
    let threads = Threads::for_store()?;
    let contents = load_backup(&threads, store, backup)?;
    let mut metrics: Vec<MetricReport> =
        metric_rows(&threads, store, &contents)?.into_iter().map(MetricReport::from).collect();
    metrics.sort_by(|a, b| (&a.table, b.points, &a.uid).cmp(&(&b.table, a.points, &b.uid)));
    let manifest = contents.manifest;
    Ok(ShowReport {
        backup: manifest.backup,
        started: manifest.started,
        finished: manifest.finished,
        tool_version: manifest.tool_version,
        kind: manifest.kind.into(),
        parent: manifest.parent,
        window: manifest.window,
        increment: manifest.increment,
        merged: manifest.merged,
        raw: manifest.raw,
        exactness: manifest.exactness,
        layout: manifest.layout,
        older_layouts: manifest.older_layouts,
        name_charset: manifest.name_charset,
        layout_from: manifest.layout_source.name().into(),
        cluster_id: manifest.server.cluster_id,
        gateways: manifest.server.addresses,
        opentsdb_conf: manifest.opentsdb_conf,
        tables: manifest.tables.iter().map(TableReport::from).collect(),
        metrics,
    })
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredFileReport {
    /// Path below the repository.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// Every file in the folder of a backup, whether it can be read or not, and the backup's id.
///
/// # Errors
/// The repository's.
pub fn stored_files(store: &Store, backup: &str) -> Result<(String, Vec<StoredFileReport>), FlowError> {
    let threads = Threads::for_store()?;
    let backup = load_manifest(&threads, store, backup)?.backup;
    let entries = threads.wait(store.list(BackupPaths::new(&backup).folder()))?;
    let files = entries.into_iter().map(|entry| StoredFileReport { path: entry.path, size: entry.size });
    Ok((backup, files.collect()))
}

/// Symbolic links that a listing of the repository met: they are never followed.
pub fn symlinks(store: &Store) -> Vec<String> {
    store.observed().symlinks
}
