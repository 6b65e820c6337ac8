//! Whether an increment can add to a stored backup, and what its files say of write times.

use std::time::Duration;

use crate::flow::FlowError;
use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, fetch, saved_descriptor};
use crate::manifest::{BackupKind, Manifest, Repository, TableRecord};
use crate::model::{FileKind, KeyLayout, NameCharset, PointTimes, TableKind, time};
use crate::parquet_file::PointsReader;
use crate::store::Store;

/// What a backup that was made now would say of its source.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// The cluster's id.
    pub cluster_id: Option<&'a str>,
    /// UID widths and salt.
    pub layout: &'a KeyLayout,
    /// The same of rows under another salt.
    pub older_layouts: &'a [KeyLayout],
    /// How the bytes of names are read.
    pub name_charset: NameCharset,
    /// Its tables.
    pub tables: &'a [(&'a str, TableKind)],
}

/// The newest backup of a cluster that an increment could add to.
///
/// # Errors
/// The repository's.
pub fn latest(
    threads: &Threads,
    repository: &Repository,
    cluster_id: Option<&str>,
) -> Result<Option<Manifest>, FlowError> {
    let (summaries, _) = threads.wait(repository.list())?;
    for summary in summaries.iter().rev().filter(|summary| is_parent(&summary.kind)) {
        let manifest = threads.wait(repository.manifest(&summary.backup))?;
        if manifest.server.cluster_id.as_deref() == cluster_id {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn is_parent(kind: &BackupKind) -> bool {
    matches!(kind, BackupKind::Full | BackupKind::Incremental)
}

/// Why no increment can add to a backup; `None` when one can.
pub fn no_parent(parent: &Manifest, now: Now<'_>) -> Option<String> {
    let other_kind =
        |known: &TableRecord| now.tables.iter().any(|(name, kind)| *name == known.name && *kind != known.kind);
    let why = if !is_parent(&parent.kind) {
        format!("it is of kind {}", parent.kind.name())
    } else if parent.server.cluster_id.as_deref() != now.cluster_id {
        "it is of another cluster".to_owned()
    } else if parent.layout != *now.layout || parent.older_layouts != now.older_layouts {
        format!("it has {}, the tables now have {}", parent.layout, now.layout)
    } else if parent.name_charset != now.name_charset {
        "its names were read with another --name-charset".to_owned()
    } else if let Some(table) = parent.tables.iter().find(|table| !table.gaps.is_empty()) {
        format!("table {} of it has gaps", table.name)
    } else {
        let table = parent.tables.iter().find(|known| other_kind(known))?;
        format!("table {} was decoded as another kind of table", table.name)
    };
    Some(format!("backup {} can be no parent: {why}; make a full backup", parent.backup))
}

/// Why a backup does not hold all versions of its tables' cells, which an increment by write time adds nothing to.
///
/// # Errors
/// [`FlowError::Damaged`] for a saved descriptor that cannot be read.
pub fn lacks_versions(parent: &Manifest) -> Result<Option<String>, FlowError> {
    for table in &parent.tables {
        let kept = saved_descriptor(table)?.versions();
        if kept > table.versions {
            return Ok(Some(format!(
                "backup {} holds {} of up to {kept} versions of a cell of table {}",
                parent.backup, table.versions, table.name
            )));
        }
    }
    Ok(None)
}

/// Why delete markers since the parent may be gone.
pub fn beyond_horizon(parent: &Manifest, horizon: Duration) -> Option<String> {
    let age = time::now_ms().saturating_sub(parent.started_ms);
    (age > i64::try_from(horizon.as_millis()).unwrap_or(i64::MAX)).then(|| {
        format!(
            "backup {} began {} hours ago: a major compaction (by default every 7 days) may have dropped delete markers \
             since (--horizon gives a longer time, where compactions come less often)",
            parent.backup,
            age / 3_600_000
        )
    })
}

/// Whether the newest cells of a chain's points carry the time of their point and not that of the write: the last member
/// with enough of them says so.
///
/// # Errors
/// The store's; [`FlowError::Damaged`]; a file that cannot be read.
pub fn cells_by_point(
    threads: &Threads,
    store: &Store,
    members: &[BackupContents],
) -> Result<Option<String>, FlowError> {
    for member in members.iter().rev() {
        let is_data = |name: &str| member.manifest.tables.iter().any(|t| t.kind == TableKind::Data && t.name == name);
        let points = member.files.iter().filter(|file| file.kind == FileKind::Points && is_data(&file.table));
        // The one with the newest point; one row group of it is enough.
        let Some(file) = points.max_by_key(|file| file.ranges.last_ms) else { continue };
        let mut reader = PointsReader::open_recorded(fetch(threads, store, file)?, file.rows)?;
        let mut times = PointTimes::default();
        reader.next_group()?.iter().for_each(|batch| times.add(batch));
        if times.is_enough() {
            return Ok(times.are_carried().then(|| {
                format!(
                    "the cells of backup {} carry the time of their point and not that of the write, and late points would be \
                     missed",
                    member.manifest.backup
                )
            }));
        }
    }
    Ok(None)
}
