//! What a prune found and did.

use serde::Serialize;

/// What a folder of a repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderState {
    /// A committed backup.
    Committed,
    /// A committed backup whose manifest cannot be read.
    Damaged,
    /// A committed backup that cannot be restored: files of it are missing or have another size.
    Broken,
    /// A folder without a manifest.
    Unfinished,
    /// The progress of a restore.
    Restore,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
}

/// What backups have in common that rules count together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The cluster; `None` where no gateway gave its id.
    pub cluster_id: Option<String>,
    /// Its tables, sorted.
    pub tables: Vec<String>,
    /// Of windows: the metrics and tags that they select; `None` for other backups. A window stands for no backup of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// One folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrunedFolder {
    /// Id of the backup or restore.
    pub backup: String,
    /// What it is.
    pub state: FolderState,
    /// The backups that rules count it with; `None` for all but windows, with `--group-by none`, and for what is no committed backup.
    pub group: Option<Group>,
    /// When it began, RFC 3339; for an unfinished one when its newest file was stored.
    pub started: String,
    /// Seconds since then.
    pub age_seconds: i64,
    /// What becomes of it.
    pub decision: Decision,
    /// Why.
    pub reasons: Vec<String>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A finished prune, or what one would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PruneReport {
    /// True when nothing was changed.
    pub dry_run: bool,
    /// Every backup and every folder that may go.
    pub folders: Vec<PrunedFolder>,
    /// Backups that can be restored and stay.
    pub kept: u64,
    /// Damaged and broken ones that stay; no rule counts them.
    pub broken_kept: u64,
    /// Committed backups that go.
    pub removed: u64,
    /// Unfinished backups that go.
    pub unfinished_removed: u64,
    /// Progress of restores that goes.
    pub restores_removed: u64,
    /// Files inside backups that stay which nothing names.
    pub strays_removed: u64,
    /// Files of locks that count no more.
    pub lock_files_removed: u64,
    /// Files that went, all together.
    pub files_removed: u64,
    /// Bytes freed; with `keeps_versions` the bytes of what is marked as deleted.
    pub bytes_freed: u64,
    /// The bucket keeps versions: files are marked as deleted, and their space is free only when the bucket's rule removes
    /// the versions.
    pub keeps_versions: bool,
    /// Damage that was met: somebody must read it.
    pub problems: Vec<String>,
    /// Remarks that somebody should read.
    pub warnings: Vec<String>,
    /// Wall time.
    pub seconds: f64,
    /// Most memory held at any time, in bytes.
    pub peak_rss_bytes: u64,
}

impl PruneReport {
    /// True when there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.files_removed == 0 && self.removed == 0 && self.unfinished_removed == 0 && self.restores_removed == 0
    }
}
