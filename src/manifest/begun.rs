//! What makes an unfinished backup or restore resumable: the plan of a backup, the progress of a restore.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::RepositoryError;
use super::id;
use super::kind::BackupKind;
use super::layout::{BACKUPS, BackupPaths, RESTORES, RestorePaths};
use super::plan::PlanRecord;
use super::repository::{READS_AT_ONCE, Repository, read_small};
use super::sealed::{seal, unseal};
use super::{FORMAT, TOOL_VERSION};
use crate::model::Tally;
use crate::model::time::now_ms;

/// A table of a [`RestorePlanRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTarget {
    /// Name in the backup.
    pub table: String,
    /// Name in the target cluster.
    pub target: String,
    /// It held rows before the restore started.
    pub had_rows: bool,
    /// The restore was to make it.
    pub create: bool,
}

/// `restores/<id>/plan.json`: the plan of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestorePlanRecord {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// The restore's id; filled in.
    pub restore: String,
    /// The backup.
    pub backup: String,
    /// The target cluster's id, when the gateway reports it.
    pub cluster_id: Option<String>,
    /// Beginning, RFC 3339; filled in.
    pub started: String,
    /// Tables and where they go.
    pub targets: Vec<RestoreTarget>,
    /// What was selected, as flags; empty: everything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selection: String,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

/// `restores/<id>/files/<kind>-<file name>.json`: the cells of one file are in the target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoredFile {
    /// [`super::FORMAT`]; filled in.
    pub format: u32,
    /// The restore's id; filled in.
    pub restore: String,
    /// The file, relative to the repository.
    pub path: String,
    /// Its BLAKE3.
    pub blake3: String,
    /// What was sent, as the backup holds it.
    pub tally: Tally,
    /// Cells that were written with a new timestamp, above a delete marker of the target.
    #[serde(default)]
    pub new_timestamps: u64,
    /// The puts were acknowledged when they were in the write-ahead log.
    #[serde(default)]
    pub synced: bool,
    /// Earlier records of the same file in this restore; the last one counts.
    #[serde(default)]
    pub attempt: u32,
    /// Hash of the file without these digits; filled in. Must stay the last field.
    pub self_blake3: String,
}

/// `restores/<id>/tables/<table>.json`: the restore created the table, and found it empty and as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct MadeTable {
    format: u32,
    restore: String,
    table: String,
    /// Must stay the last field.
    self_blake3: String,
}

impl Repository {
    /// The plan of a backup; `None` when there is none (it was never written, or a prune has started to remove it).
    ///
    /// # Errors
    /// [`RepositoryError::Edited`], [`RepositoryError::NewerFormat`], [`RepositoryError::Damaged`], and whatever the
    /// store says.
    pub async fn plan(&self, backup: &str) -> Result<Option<PlanRecord>, RepositoryError> {
        let path = BackupPaths::new(backup).plan();
        match read_small(self.store(), &path).await {
            Ok(text) => {
                let plan: PlanRecord = unseal(&text, &path)?;
                if let BackupKind::Other(kind) = plan.kind {
                    return Err(RepositoryError::UnknownKind { path, kind });
                }
                let reason = format!("it belongs to backup {}", plan.backup);
                if plan.backup == backup { Ok(Some(plan)) } else { Err(RepositoryError::Damaged { path, reason }) }
            }
            Err(RepositoryError::Store(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The plans of the newest backups, finished or not, newest first. Those that are missing or cannot be read are left
    /// out.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn newest_plans(&self, most: usize) -> Result<Vec<PlanRecord>, RepositoryError> {
        let ids: Vec<String> = self.store().folders(BACKUPS).await?.into_iter().rev().take(most).collect();
        let reads = ids.iter().map(|backup| self.plan(backup));
        let mut reads = stream::iter(reads).buffered(READS_AT_ONCE);
        let mut plans = Vec::new();
        while let Some(plan) = reads.next().await {
            match plan {
                Ok(plan) => plans.extend(plan),
                Err(RepositoryError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "the plan of a backup cannot be read"),
            }
        }
        Ok(plans)
    }

    /// Starts to record the progress of a restore.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn begin_restore(&self, mut plan: RestorePlanRecord) -> Result<RestoreProgress, RepositoryError> {
        let restore = id::new_backup();
        plan.format = FORMAT;
        plan.restore.clone_from(&restore);
        plan.started = id::rfc3339(now_ms());
        plan.self_blake3.clear();
        let progress = RestoreProgress { repository: self.clone(), paths: RestorePaths::new(&restore), restore };
        let path = progress.paths.plan();
        // Nobody else knows the id: what lies there comes from an earlier try of this very put.
        progress.repository.put_own(&path, seal(&plan, &path)?).await?;
        Ok(progress)
    }

    /// Unfinished restores, newest first. One whose plan cannot be read is skipped: it cannot be resumed.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn unfinished_restores(&self) -> Result<Vec<(RestorePlanRecord, RestoreProgress)>, RepositoryError> {
        let mut found = Vec::new();
        for restore in self.store().folders(RESTORES).await?.into_iter().rev() {
            let paths = RestorePaths::new(&restore);
            if self.store().size(&paths.finished()).await?.is_some() {
                continue;
            }
            let plan = match read_small(self.store(), &paths.plan()).await {
                Err(RepositoryError::Store(error)) if error.is_not_found() => continue,
                Err(RepositoryError::Store(error)) => return Err(error.into()),
                other => other.and_then(|text| unseal::<RestorePlanRecord>(&text, &paths.plan())),
            };
            match plan {
                Ok(plan) if plan.restore == restore => {
                    found.push((plan, RestoreProgress { repository: self.clone(), paths, restore }));
                }
                Ok(_) => tracing::warn!(path = paths.plan(), "belongs to another restore; passed over"),
                Err(error) => tracing::warn!(%error, "a restore cannot be resumed"),
            }
        }
        Ok(found)
    }
}

/// The progress of one restore, in the repository.
#[derive(Debug, Clone)]
pub struct RestoreProgress {
    repository: Repository,
    paths: RestorePaths,
    restore: String,
}

impl RestoreProgress {
    /// The restore's id.
    pub fn id(&self) -> &str {
        &self.restore
    }

    /// Records that all cells of a file are in the target. Safe to call again after an error.
    ///
    /// # Errors
    /// Whatever the store says; a record that is there already is no error.
    pub async fn put(&self, mut file: RestoredFile) -> Result<(), RepositoryError> {
        file.format = FORMAT;
        file.restore.clone_from(&self.restore);
        file.self_blake3.clear();
        let path = self.paths.file(&file.path, file.attempt);
        self.repository.put_own(&path, seal(&file, &path)?).await
    }

    /// Records that a table of the target was created, and was empty and as it was asked for then.
    ///
    /// # Errors
    /// Whatever the store says; a record that is there already is no error.
    pub async fn put_table(&self, table: &str) -> Result<(), RepositoryError> {
        let (restore, table) = (self.restore.clone(), table.to_owned());
        let path = self.paths.table(&table);
        let record = MadeTable { format: FORMAT, restore, table, self_blake3: String::new() };
        self.repository.put_own(&path, seal(&record, &path)?).await
    }

    /// The tables that this restore has created. What cannot be read does not count.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn tables(&self) -> Result<Vec<String>, RepositoryError> {
        let records = self.records::<MadeTable>(&self.paths.tables()).await?;
        let own = |path: &str, made: &MadeTable| made.restore == self.restore && self.paths.table(&made.table) == path;
        Ok(records.into_iter().filter(|(path, made)| own(path, made)).map(|(_, made)| made.table).collect())
    }

    /// The files that are done. What cannot be read, or lies under the name of another file, does not count: puts carry
    /// their timestamps, so doing a file again is exact.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn files(&self) -> Result<Vec<RestoredFile>, RepositoryError> {
        let mut done: BTreeMap<String, RestoredFile> = BTreeMap::new();
        for (path, file) in self.records::<RestoredFile>(&self.paths.files()).await? {
            if file.restore != self.restore || self.paths.file(&file.path, file.attempt) != path {
                tracing::warn!(path, names = file.path, "a progress record lies under another name");
            } else if done.get(&file.path).is_none_or(|other| other.attempt < file.attempt) {
                done.insert(file.path.clone(), file);
            }
        }
        Ok(done.into_values().collect())
    }

    /// The records of a folder that can be read, with their paths.
    async fn records<T: DeserializeOwned>(&self, folder: &str) -> Result<Vec<(String, T)>, RepositoryError> {
        let store = self.repository.store();
        let entries = store.list(folder).await?;
        let reads = entries.into_iter().map(|entry| async move { (read_small(store, &entry.path).await, entry.path) });
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut records = Vec::new();
        while let Some((text, path)) = reads.next().await {
            match text {
                Err(RepositoryError::Store(error)) if error.is_not_found() => continue,
                Err(RepositoryError::Store(error)) => return Err(error.into()),
                other => match other.and_then(|text| unseal::<T>(&text, &path)) {
                    Ok(record) => records.push((path, record)),
                    Err(error) => tracing::warn!(%error, "a progress record does not count"),
                },
            }
        }
        Ok(records)
    }

    /// Records that the restore is complete.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn finish(&self) -> Result<(), RepositoryError> {
        #[derive(Serialize)]
        struct Finished<'a> {
            format: u32,
            restore: &'a str,
            tool_version: &'a str,
            finished: String,
            self_blake3: &'a str,
        }
        let finished = id::rfc3339(now_ms());
        let record =
            Finished { format: FORMAT, restore: &self.restore, tool_version: TOOL_VERSION, finished, self_blake3: "" };
        let path = self.paths.finished();
        self.repository.put_own(&path, seal(&record, &path)?).await
    }
}
