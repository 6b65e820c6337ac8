//! Removing backups that no rule keeps, and what lost attempts have left behind. Nothing else in the program deletes.
//!
//! 1. The lock that nobody shares ([`crate::flow::lock`]), and a proof that files may be deleted.
//! 2. Everything is looked at ([`survey`]), then decided ([`decide`], [`retention`]); a dry run ends here.
//! 3. Locks that count no more go first, which tells their owners, should they come back, that a prune has run.
//! 4. Then backups, unfinished folders, strays and the progress of restores ([`sweep`]).
//!
//! What is decided once is not looked at again: while the lock is held nobody adds anything.

mod decide;
mod report;
mod retention;
mod survey;
mod sweep;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::{RepositoryLock, owner_text};
use crate::flow::locking::process::ProcessIdentity;
use crate::flow::{Cancel, FlowError, Progress};
use crate::manifest::layout::{BACKUPS, LOCKS, RESTORES};
use crate::manifest::{BackupPaths, Lock, Repository};
use crate::model::time::{now_ms, text_time};
use crate::store::{Store, StoreEntry, is_probe};

use decide::{Candidate, Decisions, decide};
use retention::span_text;
use survey::{Committed, Folder, Survey, Unfinished};
use sweep::{Sweep, denied};

pub use report::{Decision, FolderState, Group, PruneReport, PrunedFolder};
pub use retention::Retention;

/// A prune.
pub struct PrunePlan {
    /// The repository's store.
    pub store: Store,
    /// Which backups stay; `None`: all.
    pub rules: Option<Retention>,
    /// Rules count the backups of each cluster and set of tables apart, not all together.
    pub grouped: bool,
    /// Broken backups go too, when a newer one can be restored.
    pub remove_broken: bool,
    /// How long unfinished backups, strays and the progress of restores stay after their newest file.
    pub grace: Duration,
    /// Only find out.
    pub dry_run: bool,
}

/// Prunes.
///
/// # Errors
/// [`FlowError::Locked`] while somebody else is at work; whatever the store says. What was removed until then is gone, and
/// the next prune ends what this one began.
pub fn prune(plan: &PrunePlan, progress: &Progress, cancel: &Cancel) -> Result<PruneReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::for_store()?;
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let lock = (!plan.dry_run).then(|| RepositoryLock::exclusive(&threads, &repository)).transpose();
    let lock = lock.map_err(|error| match error.exit_code() {
        12 => error.at("prune writes a lock and deletes, which needs permission for both"),
        _ => error,
    })?;
    if let Some(lock) = &lock {
        match lock.assert_may_delete() {
            // The right is there; what retention holds back is told file by file.
            Err(FlowError::Store(error)) if error.is_retained() => {}
            Err(FlowError::Store(error)) => return Err(denied(error)),
            other => other?,
        }
    }
    let now = lock.as_ref().map_or_else(now_ms, RepositoryLock::store_ms);
    let survey = Survey::make(&threads, &repository, progress, cancel)?;
    let locks = threads.wait(repository.locks())?;
    let run = Run { plan, threads: &threads, repository: &repository, survey: &survey, now };
    let mut report = PruneReport { dry_run: plan.dry_run, ..PruneReport::default() };
    let work = run.decide(&locks, lock.as_ref(), &mut report)?;
    match &lock {
        Some(lock) => run.carry_out(&work, lock, progress, cancel, &mut report)?,
        None => work.foretell(&mut report),
    }
    let observed = plan.store.observed();
    report.keeps_versions = observed.keeps_versions;
    report.warnings.extend(observed.symlinks.iter().map(|path| symlink_text(path)));
    report.seconds = begun.elapsed().as_secs_f64();
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// What is to be removed.
#[derive(Default)]
struct Work {
    locks: Vec<StoreEntry>,
    backups: Vec<Folder>,
    strays: Vec<StoreEntry>,
    restores: Vec<Folder>,
}

impl Work {
    fn files(&self) -> u64 {
        let folders = self.backups.iter().chain(&self.restores).map(|folder| folder.files);
        folders.sum::<u64>() + (self.locks.len() + self.strays.len()) as u64
    }

    fn foretell(&self, report: &mut PruneReport) {
        let folders = self.backups.iter().chain(&self.restores).map(|folder| folder.bytes);
        report.files_removed = self.files();
        report.bytes_freed =
            folders.chain(self.locks.iter().chain(&self.strays).map(|entry| entry.size)).fold(0, u64::saturating_add);
    }
}

struct Run<'a> {
    plan: &'a PrunePlan,
    threads: &'a Threads,
    repository: &'a Repository,
    survey: &'a Survey,
    /// The store's time, ms.
    now: i64,
}

impl Run<'_> {
    fn decide(
        &self,
        locks: &[Lock],
        own: Option<&RepositoryLock>,
        report: &mut PruneReport,
    ) -> Result<Work, FlowError> {
        let mut work = Work::default();
        let candidates: Vec<Candidate> = self.survey.committed.iter().map(|backup| self.candidate(backup)).collect();
        let fates: Vec<(Decision, String)> =
            self.survey.unfinished.iter().map(|unfinished| self.fate(unfinished, locks)).collect();
        let stay = self.survey.unfinished.iter().zip(&fates).filter(|(_, (decision, _))| *decision == Decision::Keep);
        let needed: Vec<(&str, &str)> = stay
            .flat_map(|(stays, _)| stays.needs.iter().map(|needs| (needs.as_str(), stays.folder.id.as_str())))
            .collect();
        let decisions = decide(&candidates, &needed, self.plan.rules.as_ref(), self.plan.remove_broken, self.now);
        report.warnings.extend(decisions.warnings.iter().cloned());
        self.committed(&decisions, &mut work, report)?;
        for (unfinished, (decision, why)) in self.survey.unfinished.iter().zip(fates) {
            let folder = &unfinished.folder;
            report.folders.push(self.row(folder, FolderState::Unfinished, None, decision, vec![why]));
            if decision == Decision::Remove {
                report.unfinished_removed += 1;
                work.backups.push(folder.clone());
            }
        }
        for restore in &self.survey.restores {
            let (decision, why) = self.by_age(restore);
            report.folders.push(self.row(restore, FolderState::Restore, None, decision, vec![why]));
            if decision == Decision::Remove {
                report.restores_removed += 1;
                work.restores.push(restore.clone());
            }
        }
        let probes = self.threads.wait(self.repository.store().list(LOCKS))?;
        let left = probes.into_iter().filter(|entry| is_probe(&entry.path) && self.is_old(entry.modified_ms));
        work.locks.extend(left);
        for lock in locks.iter().filter(|lock| own.is_none_or(|own| own.token() != lock.token)) {
            if !self.is_live(lock) {
                report.lock_files_removed += lock.files.len() as u64;
                work.locks.extend(lock.files.iter().cloned());
            } else if self.plan.dry_run {
                report.warnings.push(format!("the repository is locked by {}: prune would refuse", owner_text(lock)));
            }
        }
        Ok(work)
    }

    fn group(&self, backup: &Committed) -> Option<Group> {
        let group = backup.group.clone()?;
        match (self.plan.grouped, &group.window) {
            (true, _) => Some(group),
            (false, None) => None,
            (false, Some(_)) => {
                Some(Group { cluster_id: None, tables: Vec::new(), window: Some("any selection".to_owned()) })
            }
        }
    }

    fn candidate(&self, backup: &Committed) -> Candidate {
        Candidate {
            backup: backup.folder.id.clone(),
            started_ms: backup.started_ms,
            group: self.group(backup),
            parent: backup.parent.clone(),
            needs: backup.needs.clone(),
            damaged: backup.damaged.clone(),
            broken: backup.broken.clone(),
        }
    }

    fn is_live(&self, lock: &Lock) -> bool {
        lock.is_live(self.now, |record| ProcessIdentity::this().knows_as_gone(record))
    }

    fn committed(&self, decisions: &Decisions, work: &mut Work, report: &mut PruneReport) -> Result<(), FlowError> {
        let decided = decisions.restorable.iter().zip(&decisions.reasons);
        for (backup, (restorable, why)) in self.survey.committed.iter().zip(decided) {
            let id = &backup.folder.id;
            report.problems.extend(backup.damaged.iter().map(|problem| format!("backup {id}: {problem}")));
            report
                .problems
                .extend(backup.broken.iter().map(|problem| format!("backup {id} cannot be restored: {problem}")));
            let state = match (&backup.damaged, restorable) {
                (Some(_), _) => FolderState::Damaged,
                (None, false) => FolderState::Broken,
                (None, true) => FolderState::Committed,
            };
            if state == FolderState::Broken && backup.broken.is_none() {
                report
                    .problems
                    .push(format!("backup {id} cannot be restored: a backup that it adds to is missing or broken"));
            }
            let (decision, why) = match why.is_empty() && !self.has_symlink(&backup.folder) {
                true if state == FolderState::Committed => (Decision::Remove, vec!["no rule keeps it".to_string()]),
                true => (Decision::Remove, vec!["broken, and a newer backup can be restored".to_string()]),
                false if why.is_empty() => (Decision::Keep, vec![HAS_SYMLINK.to_string()]),
                false => (Decision::Keep, why.clone()),
            };
            let row = self.row(&backup.folder, state, Some(backup.started_ms), decision, why);
            report.folders.push(PrunedFolder { group: self.group(backup), ..row });
            if decision == Decision::Keep {
                report.kept += u64::from(state == FolderState::Committed);
                report.broken_kept += u64::from(state != FolderState::Committed);
                let strays = self.strays(backup, report)?;
                report.strays_removed += strays.len() as u64;
                work.strays.extend(strays);
            }
        }
        let removals = decisions.removals.iter().filter_map(|at| self.survey.committed.get(*at));
        for backup in removals.filter(|backup| !self.has_symlink(&backup.folder)) {
            report.removed += 1;
            work.backups.push(backup.folder.clone());
        }
        Ok(())
    }

    /// Files of attempts that died, older than the grace. The shard records are asked only when there is a suspect.
    fn strays(&self, backup: &Committed, report: &mut PruneReport) -> Result<Vec<StoreEntry>, FlowError> {
        let mark = BackupPaths::new(&backup.folder.id).pruning();
        let old = |entry: &&StoreEntry| entry.path == mark || self.is_old(entry.modified_ms);
        let suspects: Vec<&StoreEntry> = backup.unnamed.iter().filter(old).collect();
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = self.threads.wait(self.repository.check_shard_records(&backup.folder.id))?;
        let mut named = HashSet::new();
        for (path, record) in recorded.into_iter().filter(|(path, _)| backup.records.contains(path)) {
            match record {
                Ok(record) => named.extend(record.files.into_iter().map(|file| file.path)),
                Err(problem) => {
                    report.problems.push(format!("{path}: {problem}; strays of this backup were left alone"));
                    return Ok(Vec::new());
                }
            }
        }
        Ok(suspects.into_iter().filter(|entry| !named.contains(&entry.path)).cloned().collect())
    }

    /// What becomes of an unfinished backup, and why.
    fn fate(&self, backup: &Unfinished, locks: &[Lock]) -> (Decision, String) {
        let held = locks.iter().find(|lock| self.is_live(lock) && of_backup(lock, &backup.folder.id));
        match held {
            Some(lock) => (Decision::Keep, format!("still running: {}", owner_text(lock))),
            None if self.has_symlink(&backup.folder) => (Decision::Keep, HAS_SYMLINK.to_string()),
            None if backup.pruning => (Decision::Remove, "a prune did not end with it".to_string()),
            None => self.by_age(&backup.folder),
        }
    }

    fn has_symlink(&self, folder: &Folder) -> bool {
        let below = |path: &str| path.strip_prefix(&folder.path).is_some_and(|rest| rest.starts_with('/'));
        self.plan.store.observed().symlinks.iter().any(|path| below(path))
    }

    fn by_age(&self, folder: &Folder) -> (Decision, String) {
        let grace = span_text(self.plan.grace);
        match folder.newest_ms.filter(|newest| !self.is_old(*newest)) {
            Some(_) => (Decision::Keep, format!("younger than the grace of {grace}")),
            None if folder.newest_ms.is_none() => (Decision::Remove, "it holds no file".to_string()),
            None => (Decision::Remove, format!("untouched for longer than {grace}")),
        }
    }

    fn is_old(&self, modified_ms: i64) -> bool {
        let grace = i64::try_from(self.plan.grace.as_millis()).unwrap_or(i64::MAX);
        modified_ms < self.now.saturating_sub(grace)
    }

    fn row(
        &self,
        folder: &Folder,
        state: FolderState,
        started_ms: Option<i64>,
        decision: Decision,
        reasons: Vec<String>,
    ) -> PrunedFolder {
        let time = started_ms.or(folder.newest_ms);
        PrunedFolder {
            backup: folder.id.clone(),
            state,
            group: None,
            started: time.map(text_time).unwrap_or_default(),
            age_seconds: time.map_or(0, |time| self.now.saturating_sub(time) / 1000),
            decision,
            reasons,
            files: folder.files,
            bytes: folder.bytes,
        }
    }

    fn carry_out(
        &self,
        work: &Work,
        lock: &RepositoryLock,
        progress: &Progress,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), FlowError> {
        progress.stage("removing", work.files());
        let (threads, store) = (self.threads, self.repository.store());
        let mut sweep = Sweep { threads, store, lock, progress, cancel, files: 0, bytes: 0, retained: Vec::new() };
        sweep.delete(&work.locks)?;
        for folder in &work.backups {
            if !sweep.remove_backup(&folder.id).map_err(|error| error.at(format!("backup {}", folder.id)))? {
                report.problems.push(format!("backup {} stays, because its files are under retention", folder.id));
                let committed = self.survey.committed.iter().any(|backup| backup.folder.id == folder.id);
                let count = if committed { &mut report.removed } else { &mut report.unfinished_removed };
                *count = count.saturating_sub(1);
            }
        }
        sweep.delete_strays(&work.strays)?;
        for folder in &work.restores {
            sweep.remove_folder(&folder.path)?;
        }
        let grace = i64::try_from(self.plan.grace.as_millis()).unwrap_or(i64::MAX);
        for folder in [BACKUPS, RESTORES] {
            sweep.tidy(folder, self.now.saturating_sub(grace))?;
        }
        (report.files_removed, report.bytes_freed) = (sweep.files, sweep.bytes);
        if let Some(first) = sweep.retained.first() {
            let more = sweep.retained.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more files)") };
            report.problems.push(format!("{first}{more}; prune again when the retention has ended"));
        }
        Ok(())
    }
}

const HAS_SYMLINK: &str = "holds a symbolic link, so prune leaves it alone";

fn symlink_text(path: &str) -> String {
    format!("{path} is a symbolic link, which is never followed inside a repository: put the files themselves there")
}

fn of_backup(lock: &Lock, backup: &str) -> bool {
    lock.record.as_ref().and_then(|record| record.backup.as_deref()) == Some(backup)
}
