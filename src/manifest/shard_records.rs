//! Reading what a backup has recorded of its shards.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::error::RepositoryError;
use super::layout::{BackupPaths, parse_shard_record};
use super::record::{BasisRecord, ShardRecord};
use super::repository::{READS_AT_ONCE, Repository, read_small};
use super::sealed::unseal;

impl Repository {
    /// The records of all finished shards of a backup, committed or not, by table and attempt.
    ///
    /// # Errors
    /// [`RepositoryError::Edited`], [`RepositoryError::NewerFormat`], [`RepositoryError::Damaged`], and whatever the
    /// store says.
    pub async fn shard_records(&self, backup: &str) -> Result<Vec<ShardRecord>, RepositoryError> {
        let entries = self.store().list(&BackupPaths::new(backup).shards()).await?;
        let paths = entries.into_iter().map(|entry| entry.path).filter(|path| parse_shard_record(path).is_some());
        let reads = stream::iter(paths.map(|path| self.shard_record(path))).buffer_unordered(READS_AT_ONCE);
        let mut records: Vec<ShardRecord> = reads.try_collect().await?;
        records.sort_by(|a, b| (&a.shard.table, &a.shard.attempt).cmp(&(&b.shard.table, &b.shard.attempt)));
        Ok(records)
    }

    /// Every shard record of a backup, by path, or what is wrong with it. Files under other names are none.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn check_shard_records(
        &self,
        backup: &str,
    ) -> Result<Vec<(String, Result<ShardRecord, String>)>, RepositoryError> {
        let entries = self.store().list(&BackupPaths::new(backup).shards()).await?;
        self.check_records(backup, entries.into_iter().map(|entry| entry.path)).await
    }

    /// The same of these paths alone; those that are no names of shard records are left out.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn check_records(
        &self,
        backup: &str,
        paths: impl Iterator<Item = String>,
    ) -> Result<Vec<(String, Result<ShardRecord, String>)>, RepositoryError> {
        let backup_paths = BackupPaths::new(backup);
        let check = |path: String| {
            let paths = &backup_paths;
            async move {
                let record = match self.shard_record(path.clone()).await {
                    Err(RepositoryError::Store(error)) if error.is_not_found() => Err("is missing".to_owned()),
                    Err(RepositoryError::Store(error)) => return Err(RepositoryError::from(error)),
                    Err(error) => Err(error.to_string()),
                    Ok(ShardRecord { shard, backup: of, .. })
                        if paths.shard(&shard.table, &shard.attempt) != path || of != backup =>
                    {
                        Err(format!("it is the record of attempt {} at table {}", shard.attempt, shard.table))
                    }
                    Ok(record) => Ok(record),
                };
                Ok((path, record))
            }
        };
        let named = paths.filter(|path| parse_shard_record(path).is_some());
        let checks = stream::iter(named.map(check));
        checks.buffered(READS_AT_ONCE).try_collect().await
    }

    /// What a read of the UID table was based on; `None` when the record is missing or damaged.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn basis(&self, backup: &str, id: &str) -> Result<Option<BasisRecord>, RepositoryError> {
        let path = BackupPaths::new(backup).basis(id);
        let text = match read_small(self.store(), &path).await {
            Err(RepositoryError::Store(error)) if error.is_not_found() => return Ok(None),
            Err(RepositoryError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(None),
            Ok(text) => text,
        };
        let sound = |basis: &BasisRecord| basis.backup == backup && basis.basis == id;
        Ok(unseal::<BasisRecord>(&text, &path).ok().filter(sound))
    }

    async fn shard_record(&self, path: String) -> Result<ShardRecord, RepositoryError> {
        unseal(&read_small(self.store(), &path).await?, &path)
    }
}
