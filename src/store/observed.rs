//! What a store can do, as far as was seen, and a trial that finds out.

use bytes::Bytes;
use object_store::{Attributes, ObjectStoreExt, PutMode};

use super::{Store, StoreError};
use crate::model::time::now_ms;

/// What was seen of a store so far, without asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Files are created without hard links, because the file system has none.
    pub lacks_links: bool,
    /// Directories are not synced, because the file system does not know how.
    pub lacks_directory_sync: bool,
    /// Symbolic links that listings met, as paths below the root. They are never followed.
    pub symlinks: Vec<String>,
    /// The bucket keeps versions: what is deleted stays until the bucket's rule removes it.
    pub keeps_versions: bool,
    /// The store's clock minus this machine's, ms.
    pub clock_ms: Option<i64>,
}

/// How a store answered a create-only put of a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// It refused: no file is ever overwritten.
    CreateOnly,
    /// It overwrote: the condition is ignored.
    Overwrites,
    /// It refuses every put with a condition.
    RefusesConditions,
}

impl Store {
    /// What was seen so far.
    pub fn observed(&self) -> Observed {
        let (facts, seen) = (&self.inner.facts, &self.inner.seen);
        Observed {
            lacks_links: facts.lacks_links(),
            lacks_directory_sync: facts.lacks_directory_sync(),
            symlinks: facts.symlinks(),
            keeps_versions: seen.versions(),
            clock_ms: seen.clock_ms(),
        }
    }

    /// Tries whether files are created only, with a file of the trial's own in a folder, which is deleted again where that
    /// is allowed. The same put shows whether writing is allowed, checksums are taken and the disk has room.
    ///
    /// # Errors
    /// Whatever the store says of a put of its own, and that the trial's file cannot be deleted.
    pub async fn probe(&self, folder: &str) -> Result<Probe, StoreError> {
        let path = probe_path(folder);
        let text = Bytes::from_static(b"{}\n");
        let mut result = match self.put_new(&path, text.clone()).await {
            Err(StoreError::NoConditionalPut { .. }) => return Ok(Probe::RefusesConditions),
            Err(error) if error.is_already_exists() => Ok(()),
            other => other,
        };
        let mut answer = Probe::CreateOnly;
        if result.is_ok() {
            match self.put_new(&path, text).await {
                Err(error) if error.is_already_exists() => {}
                Ok(()) => answer = Probe::Overwrites,
                Err(error) => result = Err(error),
            }
        }
        self.note_clock(&path).await;
        let deleted = self.delete(&path).await;
        result?;
        deleted?;
        Ok(answer)
    }

    /// On disk the clock of a network file system is that of the server, and a new file shows it.
    async fn note_clock(&self, path: &str) {
        if self.local_path(path).is_some()
            && let Ok(meta) = self.inner.objects.head(&object_store::path::Path::from(path)).await
        {
            let ahead = meta.last_modified.timestamp_millis().saturating_sub(now_ms());
            self.inner.seen.set_clock(ahead);
        }
    }

    /// True when a put without a condition succeeds where one with a condition was refused.
    pub(super) async fn probe_without_condition(&self) -> bool {
        let path = probe_path("locks");
        let put = self.put_once(&path, Bytes::from_static(b"{}\n").into(), Attributes::new(), PutMode::Overwrite).await;
        // Where it may not be deleted, prune removes it in time.
        let _ = self.delete(&path).await;
        put.is_ok()
    }
}

/// A name that nobody else gives. Prune removes such files when they are old.
fn probe_path(folder: &str) -> String {
    format!("{folder}/probe-{:016x}.json", fastrand::u64(..))
}

/// True for the name of a file that a trial has left.
pub fn is_probe(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name.strip_prefix("probe-").and_then(|rest| rest.strip_suffix(".json"));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
