//! What a restore has done so far, kept in the repository, so that a later run can resume it.
//!
//! The records say what was acknowledged, no more: whether the target still holds it is decided by reading it back. A
//! credential that may only read cannot keep a log; such a restore works all the same and starts over when interrupted.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::flow::engine::threads::Threads;
use crate::flow::stored::backup_files::{BackupContents, load_backup};
use crate::flow::{FlowError, RestorePlan, Selection};
use crate::manifest::{Repository, RepositoryError, RestorePlanRecord, RestoreProgress, RestoreTarget, RestoredFile};
use crate::model::FileRow;

use super::sent::FileSent;
use super::target::{Target, target_names};

/// The log of one restore.
#[derive(Default)]
pub struct RestoreLog {
    progress: Option<RestoreProgress>,
    done: HashMap<String, RestoredFile>,
    /// The number of the next record of files that have one.
    attempts: Mutex<HashMap<String, u32>>,
    /// Why records are no longer kept.
    trouble: Mutex<Option<String>>,
}

/// An unfinished restore to resume.
pub struct Earlier {
    /// What it was asked for.
    pub plan: RestorePlanRecord,
    progress: RestoreProgress,
    made: HashSet<String>,
}

impl Earlier {
    /// What the earlier run found of a table.
    pub fn target(&self, table: &str) -> Option<&RestoreTarget> {
        self.plan.targets.iter().find(|target| target.table == table)
    }

    /// True for a table of the target that it was to create, and that it did not find created as it was asked for: what
    /// has that name now may be somebody else's.
    pub fn left_unmade(&self, target: &RestoreTarget) -> bool {
        target.create && !self.made.contains(&target.target)
    }
}

/// The newest restore that was begun in the same way and is not finished, and its backup.
///
/// # Errors
/// [`FlowError::Input`] when there is none, saying why those that are there do not fit; the repository's.
pub fn find(
    threads: &Threads,
    repository: &Repository,
    plan: &RestorePlan,
    cluster_id: Option<&str>,
) -> Result<(BackupContents, Earlier), FlowError> {
    let mut reasons = Vec::new();
    for (begun, progress) in threads.wait(repository.unfinished_restores())? {
        let restore = begun.restore.clone();
        if plan.backup != "latest" && !begun.backup.starts_with(&plan.backup) {
            reasons.push(format!("{restore} restores backup {}", begun.backup));
            continue;
        }
        if let Some(reason) = other_cluster(begun.cluster_id.as_deref(), cluster_id, plan.read_back) {
            reasons.push(format!("{restore} {reason}"));
            continue;
        }
        if begun.selection != plan.selection.to_string() {
            reasons.push(match begun.selection.as_str() {
                "" => format!("{restore} restores whole tables, not a selection"),
                other => format!("{restore} restores another selection ({other})"),
            });
            continue;
        }
        let contents = load_backup(threads, &plan.store, &begun.backup)?;
        let fits = match target_names(plan, &contents) {
            Ok(names) => {
                let mut names = names.iter().map(|(table, name)| (table.name.as_str(), name.as_str()));
                let mut targets = begun.targets.iter().map(|t| (t.table.as_str(), t.target.as_str()));
                match plan.selection.is_all() {
                    true => names.eq(targets),
                    // Some tables hold nothing of a selection.
                    false => targets.all(|target| names.any(|name| name == target)),
                }
            }
            Err(_) => false,
        };
        if fits {
            let made = threads.wait(progress.tables())?.into_iter().collect();
            return Ok((contents, Earlier { plan: begun, progress, made }));
        }
        let words = |t: &RestoreTarget| format!("{}={}", t.table, t.target);
        let tables = begun.targets.iter().map(words).collect::<Vec<_>>().join(", ");
        reasons.push(format!("{restore} restores the tables {tables}"));
    }
    Err(FlowError::input(match reasons.is_empty() {
        true => "there is no unfinished restore to resume; run restore without --resume".to_string(),
        false => format!("no unfinished restore fits this command: {}", reasons.join("; ")),
    }))
}

/// Why a restore that was begun in one cluster cannot be resumed in another. Where a gateway does not report its
/// cluster id, what an earlier run sent counts only once it is read back.
fn other_cluster(begun: Option<&str>, here: Option<&str>, read_back: bool) -> Option<String> {
    // Where a gateway does not know the id, a region of a system table stands for it: the two kinds cannot be compared.
    let comparable = |a: &str, b: &str| a.contains(',') == b.contains(',');
    match (begun, here) {
        (Some(begun), Some(here)) if begun == here => None,
        (Some(begun), Some(here)) if comparable(begun, here) => {
            Some(format!("restores into cluster {begun}, this is cluster {here}"))
        }
        _ if read_back => None,
        _ => Some(
            "may restore into another cluster: the gateway does not report its cluster id; leave --no-read-back out, \
             so that what was sent before is checked"
                .into(),
        ),
    }
}

impl RestoreLog {
    /// Begins the log of a new restore.
    pub fn begin(
        threads: &Threads,
        repository: &Repository,
        (backup, selection): (&str, &Selection),
        cluster_id: Option<String>,
        targets: &[Target<'_>],
    ) -> Self {
        let target = |target: &Target<'_>| RestoreTarget {
            table: target.table.name.clone(),
            target: target.name.clone(),
            had_rows: target.had_rows,
            create: target.create,
        };
        let targets = targets.iter().map(target).collect();
        let (backup, selection) = (backup.to_owned(), selection.to_string());
        let record = RestorePlanRecord { backup, cluster_id, targets, selection, ..RestorePlanRecord::default() };
        match threads.wait(repository.begin_restore(record)) {
            Ok(progress) => Self { progress: Some(progress), ..Self::default() },
            Err(error) => Self { trouble: Mutex::new(Some(error.to_string())), ..Self::default() },
        }
    }

    /// Resumes the log of an earlier run. Where nothing is read back, files count only when their puts were acknowledged
    /// after they were in the write-ahead log.
    ///
    /// # Errors
    /// The repository's.
    pub fn resume(threads: &Threads, earlier: Earlier, read_back: bool) -> Result<Self, FlowError> {
        let files = threads.wait(earlier.progress.files())?;
        let attempts = files.iter().map(|file| (file.path.clone(), file.attempt.saturating_add(1))).collect();
        let trusted = files.into_iter().filter(|file| read_back || file.synced);
        let done = trusted.map(|file| (file.path.clone(), file)).collect();
        Ok(Self { progress: Some(earlier.progress), done, attempts: Mutex::new(attempts), ..Self::default() })
    }

    /// The restore's id, when a log is kept.
    pub fn id(&self) -> Option<&str> {
        self.progress.as_ref().map(RestoreProgress::id)
    }

    /// True when an earlier run has sent the file as it is.
    pub fn is_done(&self, file: &FileRow) -> bool {
        let same = |done: &RestoredFile| done.blake3 == file.blake3 && done.tally.same_cells(&file.tally);
        self.done.get(&file.path).is_some_and(same)
    }

    /// Cells of a file that an earlier run has written with new timestamps.
    pub fn new_timestamps(&self, file: &FileRow) -> u64 {
        self.done.get(&file.path).map_or(0, |done| done.new_timestamps)
    }

    /// Forgets what was done to the files: the target does not hold it.
    pub fn forget<'a>(&mut self, files: impl Iterator<Item = &'a FileRow>) {
        for file in files {
            self.done.remove(&file.path);
        }
    }

    /// Records that a file is sent. A log that cannot be kept is no reason to stop a restore.
    pub fn sent(&self, threads: &Threads, file: &FileRow, sent: FileSent, synced: bool) {
        let Some(progress) = self.kept() else { return };
        let (path, blake3) = (file.path.clone(), file.blake3.clone());
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let next = attempts.entry(path.clone()).or_default();
        let attempt = *next;
        *next = attempt.saturating_add(1);
        // Others may write their records at the same time.
        drop(attempts);
        let FileSent { tally, new_timestamps, .. } = sent;
        let record = RestoredFile { path, blake3, tally, new_timestamps, synced, attempt, ..RestoredFile::default() };
        self.note(threads.wait(progress.put(record)));
    }

    /// Records that a table was created and is what was asked for.
    pub fn made(&self, threads: &Threads, table: &str) {
        if let Some(progress) = self.kept() {
            self.note(threads.wait(progress.put_table(table)));
        }
    }

    fn kept(&self) -> Option<&RestoreProgress> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        self.progress.as_ref().filter(|_| trouble.is_none())
    }

    fn note(&self, result: Result<(), RepositoryError>) {
        if let Err(error) = result {
            self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        }
    }

    /// Ends the log of a complete restore. Returns what somebody should know about it.
    pub fn finish(self, threads: &Threads, complete: bool) -> Option<String> {
        let trouble = self.trouble.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ended = match self.progress.filter(|_| complete) {
            Some(progress) => threads.wait(progress.finish()).err().map(|error| error.to_string()),
            None => None,
        };
        let reason = trouble.or(ended)?;
        Some(format!("the progress of the restore could not be kept in the repository: {reason}"))
    }

    /// What to tell whoever meets an interrupted restore.
    pub fn advice(&self) -> String {
        match self.id() {
            Some(id) => format!("restore {id} is not finished; restore --resume completes it"),
            None => "the restore is not finished; repeating it with --into-existing is exact".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_stays_in_its_cluster() {
        let refused = |begun, here, read_back| other_cluster(begun, here, read_back).is_some();
        assert!(!refused(Some("a"), Some("a"), false));
        assert!(refused(Some("a"), Some("b"), true) && refused(Some("a"), Some("b"), false));
        for (begun, here) in [(None, None), (Some("a"), None), (None, Some("a")), (Some("a"), Some("hbase:meta,,1"))] {
            assert!(!refused(begun, here, true), "what was sent is proven");
            assert!(refused(begun, here, false));
        }
    }
}
