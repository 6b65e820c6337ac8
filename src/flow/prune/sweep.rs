//! Deleting: many files at a time, the lock alive, in an order that an interruption cannot turn into harm.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::{Cancel, FlowError, Progress};
use crate::manifest::BackupPaths;
use crate::store::{Store, StoreEntry, StoreError};

/// Files that are deleted at the same time.
const AT_ONCE: usize = 16;
/// Files between two looks at the lock.
const PER_LOOK: usize = 256;
/// Bytes of a plan at most, which a mark holds a copy of.
const MAX_COPY: u64 = 64 << 20;

/// What deletes, and how much it has deleted.
pub struct Sweep<'a> {
    /// The bridge to the store.
    pub threads: &'a Threads,
    /// Where.
    pub store: &'a Store,
    /// Held all the time.
    pub lock: &'a RepositoryLock,
    /// Moves with every file.
    pub progress: &'a Progress,
    /// Looked at before every file.
    pub cancel: &'a Cancel,
    /// Files deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the store keeps under retention, each with its answer.
    pub retained: Vec<String>,
}

impl Sweep<'_> {
    /// Deletes files in any order.
    ///
    /// # Errors
    /// The store's, a lost lock, or [`FlowError::Interrupted`]; some are deleted then.
    pub fn delete(&mut self, entries: &[StoreEntry]) -> Result<(), FlowError> {
        for some in entries.chunks(PER_LOOK) {
            self.lock.assert_alive()?;
            let deletes = stream::iter(some).map(|entry| async {
                if self.cancel.is_set() {
                    return Err(FlowError::Interrupted);
                }
                self.progress.finished();
                match self.store.delete(&entry.path).await {
                    Err(error) if error.is_retained() => Ok(Err(error.to_string())),
                    other => other.map(|()| Ok(entry.size)).map_err(denied),
                }
            });
            let outcomes: Vec<Result<u64, String>> =
                self.threads.wait(deletes.buffer_unordered(AT_ONCE).try_collect())?;
            for outcome in outcomes {
                match outcome {
                    Ok(size) => (self.files, self.bytes) = (self.files + 1, self.bytes.saturating_add(size)),
                    Err(retained) => self.retained.push(retained),
                }
            }
        }
        Ok(())
    }

    /// Removes the folder of a backup. The mark comes first, so that the next prune ends what this one may not; then the
    /// record by which it could be resumed, then the manifest: from there on it is no backup. The mark goes last. A
    /// backup whose first files are under retention stays as it is; false then. As the record is gone when the store
    /// refuses to delete the manifest, the mark holds a copy of it, from which it is put back.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn remove_backup(&mut self, id: &str) -> Result<bool, FlowError> {
        let paths = BackupPaths::new(id);
        let (plan, manifest, mark) = (paths.plan(), paths.manifest(), paths.pruning());
        let entries = self.threads.wait(self.store.list(paths.folder()))?;
        let (last, rest): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.path == mark);
        let (first, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|entry| entry.path == plan);
        let (second, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|entry| entry.path == manifest);
        let copy = match (second.is_empty(), first.is_empty()) {
            (true, _) => Bytes::new(),
            (false, false) => self.small_file(&plan)?,
            (false, true) => self.small_file(&mark)?,
        };
        if last.is_empty() {
            self.put_mark(&mark, copy.clone())?;
        }
        for step in [&first, &second] {
            let retained = self.retained.len();
            self.delete(step)?;
            if self.retained.len() > retained {
                if step.iter().any(|entry| entry.path == manifest) && self.put_back(&plan, copy)? {
                    self.files -= first.len() as u64;
                    self.bytes -= first.iter().map(|entry| entry.size).sum::<u64>();
                }
                self.delete_mark(&mark)?;
                return Ok(false);
            }
        }
        self.delete(&rest)?;
        self.delete_mark(&mark)?;
        self.tidy(paths.folder(), i64::MAX / 2)?;
        Ok(true)
    }

    /// Deletes files of backups that stay. A mark among them is of a prune that was stopped: what it holds a copy of is
    /// put back before.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn delete_strays(&mut self, strays: &[StoreEntry]) -> Result<(), FlowError> {
        for mark in strays {
            let id = mark.path.split('/').nth(1).unwrap_or_default();
            let paths = BackupPaths::new(id);
            if mark.path == paths.pruning() {
                let copy = self.small_file(&mark.path)?;
                self.put_back(&paths.plan(), copy)?;
            }
        }
        self.delete(strays)
    }

    /// Puts the record of what was asked for back; true when it was gone and there is a copy.
    fn put_back(&self, plan: &str, copy: Bytes) -> Result<bool, FlowError> {
        if copy.is_empty() {
            return Ok(false);
        }
        self.lock.assert_alive()?;
        match self.threads.wait(self.store.put_own(plan, copy)) {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A file of a few KiB. Nothing for one that is not there, cannot be read before the store has brought it back, or is
    /// none of ours by its size.
    fn small_file(&self, path: &str) -> Result<Bytes, FlowError> {
        match self.threads.wait(self.store.get_at_most(path, MAX_COPY)) {
            Err(StoreError::TooLarge { .. }) => Ok(Bytes::new()),
            Err(error) if error.is_not_found() || error.is_archived() => Ok(Bytes::new()),
            other => Ok(other?),
        }
    }

    /// The mark is a prune's own file and no part of what is freed. Where everything is under retention it is as well, and
    /// is left to a later prune.
    fn delete_mark(&self, mark: &str) -> Result<(), FlowError> {
        match self.threads.wait(self.store.delete(mark)) {
            Err(error) if error.is_retained() => Ok(()),
            other => other.map_err(denied),
        }
    }

    /// A credential that may not delete here would leave the mark in a backup that stays: deleting what is not there
    /// tells, and changes nothing.
    fn put_mark(&self, mark: &str, copy: Bytes) -> Result<(), FlowError> {
        self.lock.assert_alive()?;
        self.delete_mark(mark)?;
        match self.threads.wait(self.store.put_own(mark, copy)) {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes a folder in any order.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub fn remove_folder(&mut self, path: &str) -> Result<(), FlowError> {
        let entries = self.threads.wait(self.store.list(path))?;
        self.delete(&entries)?;
        self.tidy(path, i64::MAX / 2)
    }

    /// Removes what killed writers left below a folder on disk before that time, and empty folders.
    ///
    /// # Errors
    /// The store's.
    pub fn tidy(&mut self, path: &str, before_ms: i64) -> Result<(), FlowError> {
        if self.cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        let (files, bytes) = self.threads.wait(self.store.tidy(path, before_ms))?;
        self.files += files;
        self.bytes += bytes;
        Ok(())
    }
}

/// The error of a delete, with what prune needs when it is not allowed to.
pub fn denied(error: StoreError) -> FlowError {
    match error {
        StoreError::PermissionDenied { .. } => FlowError::from(error)
            .at("prune needs permission to delete (on S3 s3:DeleteObject), which a backup does without"),
        error => error.into(),
    }
}
