//! A backup that is being written: its plan, records, and the commit.

use std::time::Duration;

use bytes::Bytes;

use super::error::RepositoryError;
use super::id;
use super::layout::{BACKUPS, BackupPaths};
use super::plan::PlanRecord;
use super::record::{BasisRecord, CommitRule, Manifest, ShardRecord};
use super::repository::{MANIFEST_WAIT, RECORD_WAIT, Repository};
use super::sealed::{seal, unseal};
use super::{FORMAT, TOOL_VERSION};
use crate::store::{Store, StoreError};

/// A backup that is being written.
#[derive(Debug, Clone)]
pub struct BackupWriter {
    repository: Repository,
    paths: BackupPaths,
    backup: String,
    attempt: String,
}

impl BackupWriter {
    /// The backup's id.
    pub fn id(&self) -> &str {
        &self.backup
    }

    /// Where its files go.
    pub fn paths(&self) -> &BackupPaths {
        &self.paths
    }

    /// The store to write them to.
    pub fn store(&self) -> &Store {
        self.repository.store()
    }

    /// This process's try at the backup; clones of the writer share it.
    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    /// Writes down what is asked for, before the first shard, and returns it whole.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_plan(&self, mut plan: PlanRecord) -> Result<PlanRecord, RepositoryError> {
        plan.format = FORMAT;
        plan.backup.clone_from(&self.backup);
        plan.tool_version = TOOL_VERSION.to_owned();
        plan.started = id::rfc3339(plan.started_ms);
        plan.self_blake3.clear();
        let path = self.paths.plan();
        // The id is this process's own: whatever lies there comes from an earlier try of this very put.
        self.put_once(&path, seal(&plan, &path)?, RECORD_WAIT).await?;
        Ok(plan)
    }

    /// Records a finished shard under the name of its attempt, which nobody else gives; all its files must be stored. Safe
    /// to call again after an error.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_shard_record(&self, mut record: ShardRecord) -> Result<(), RepositoryError> {
        record.format = FORMAT;
        record.backup.clone_from(&self.backup);
        record.self_blake3.clear();
        let path = self.paths.shard(&record.shard.table, &record.shard.attempt);
        self.repository.put_own(&path, seal(&record, &path)?).await
    }

    /// Writes down which shards a read of the UID table is based on, and returns the id of that. The id stands for the
    /// content, so several processes may write the same one.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_basis(&self, shards: Vec<String>) -> Result<String, RepositoryError> {
        let basis = BasisRecord::id_of(&shards);
        let backup = self.backup.clone();
        let record = BasisRecord { format: FORMAT, backup, basis: basis.clone(), shards, self_blake3: String::new() };
        let path = self.paths.basis(&basis);
        self.repository.put_own(&path, seal(&record, &path)?).await?;
        Ok(basis)
    }

    /// Commits the backup. Fills in the fields that the manifest's documentation says so of, and returns it whole.
    /// Safe to call again after an error.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyCommitted`] when another attempt committed, and whatever the store says.
    pub async fn commit(&self, mut manifest: Manifest) -> Result<Manifest, RepositoryError> {
        manifest.format = FORMAT;
        self.repository.id().clone_into(&mut manifest.repository);
        manifest.backup.clone_from(&self.backup);
        manifest.attempt.clone_from(&self.attempt);
        manifest.tool_version = TOOL_VERSION.to_owned();
        manifest.commit_rule = self.repository.commit_rule();
        manifest.started = id::rfc3339(manifest.started_ms);
        manifest.finished = id::rfc3339(manifest.finished_ms);
        manifest.self_blake3.clear();
        let path = self.paths.manifest();
        let text = seal(&manifest, &path)?;
        let stored = self.put_once(&path, text.clone(), MANIFEST_WAIT).await?.unwrap_or(text);
        let stored: Manifest = unseal(&stored, &path)?;
        if stored.attempt != self.attempt {
            return Err(RepositoryError::AlreadyCommitted { backup: self.backup.clone() });
        }
        Ok(stored)
    }

    /// Creates a small file that may be the work of another process as well. `None`: created, or there already with this
    /// content. Otherwise what is there instead.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn create(&self, path: &str, text: Bytes) -> Result<Option<Bytes>, RepositoryError> {
        Ok(self.put_once(path, text, RECORD_WAIT).await?)
    }

    /// Creates a file. `None`: created. Otherwise what is there instead.
    async fn put_once(&self, path: &str, text: Bytes, wait: Duration) -> Result<Option<Bytes>, StoreError> {
        match self.repository.commit_rule() {
            CommitRule::CreateOnly => self.store().put_settled(path, text).await,
            CommitRule::ReadBack => {
                let stored = self.store().put_read_back(path, text.clone(), wait).await?;
                Ok((stored != text).then_some(stored))
            }
        }
    }
}

impl Repository {
    /// Starts a backup under a new id. Nothing is written until its first file.
    pub fn begin_backup(&self) -> BackupWriter {
        self.writer(id::new_backup())
    }

    /// Starts a backup whose id comes behind those of all others. Nothing is written until its first file.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn begin_newest_backup(&self) -> Result<BackupWriter, RepositoryError> {
        let last = self.store().folders(BACKUPS).await?.into_iter().max();
        Ok(self.writer(id::new_backup_after(last.as_deref())))
    }

    /// Starts a backup that is to hold the same state as another one: its id comes right behind, so that it is the newest
    /// backup only where the other one was. Nothing is written until its first file.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn begin_backup_beside(&self, backup: &str) -> Result<BackupWriter, RepositoryError> {
        let behind = self.store().folders(BACKUPS).await?.into_iter().filter(|id| id.as_str() > backup);
        let next = behind.min();
        match id::same_time_as(backup, next.as_deref()) {
            Some(id) => Ok(self.writer(id)),
            None if next.is_none() => Ok(self.writer(id::new_backup())),
            None => Err(RepositoryError::Damaged {
                path: format!("{BACKUPS}/{}", next.unwrap_or_default()),
                reason: format!(
                    "it leaves no id for a backup behind {backup}: merge a later backup, or prune one of the two"
                ),
            }),
        }
    }

    /// Resumes a backup that has no manifest yet.
    ///
    /// # Errors
    /// [`RepositoryError::NoBackup`] when nothing of it exists, [`RepositoryError::AlreadyCommitted`], and whatever the
    /// store says.
    pub async fn resume_backup(&self, backup: &str) -> Result<BackupWriter, RepositoryError> {
        if !self.store().folders(BACKUPS).await?.iter().any(|id| id == backup) {
            return Err(self.no_backup(backup));
        }
        let writer = self.writer(backup.to_owned());
        if self.store().size(&writer.paths.manifest()).await?.is_some() {
            return Err(RepositoryError::AlreadyCommitted { backup: backup.to_owned() });
        }
        Ok(writer)
    }

    fn writer(&self, backup: String) -> BackupWriter {
        let paths = BackupPaths::new(&backup);
        BackupWriter { repository: self.clone(), paths, backup, attempt: id::new_attempt() }
    }
}
