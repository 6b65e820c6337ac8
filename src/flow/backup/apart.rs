//! Plan, work and commit as commands of their own, in processes that share nothing but the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::flow::backup::asked::another_source;
use crate::flow::backup::commit::Committer;
use crate::flow::backup::plan::{self, Begun};
use crate::flow::backup::records::{Records, State};
use crate::flow::backup::worker::Worker;
use crate::flow::backup::{WEAK_COMMIT, add_commit, increment, is_uid, new_report, since};
use crate::flow::encode::{Attempts, ReadBack};
use crate::flow::engine::old_gateways::considerate;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::gaps::could_be_skipped;
use crate::flow::source::preflight::ClusterSection;
use crate::flow::source::survey::reach;
use crate::flow::source::window_uids::UidSet;
use crate::flow::{
    BackupPlan, BackupReport, Cancel, CommitPlan, FlowError, JobName, JobReport, PlanReport, PlannedTableReport,
    Progress, WorkPlan, WorkReport,
};
use crate::manifest::{BackupWriter, CommitRule, PlanRecord, Repository};
use crate::model::{KeyRange, hex};
use crate::shard::clip;
use crate::store::Store;

/// The way out for a worker whose keys cannot be read as a whole.
const SKIP: &str = "repair it (HBase's HBCK2 tool), or run the worker with --skip-unreadable: it copies everything else and records what \
                    is missing as gaps";
/// How often a worker looks at what others have recorded, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Plans a backup that workers are to make.
///
/// # Errors
/// The gateway's, the repository's; [`FlowError::Input`] for what cannot be backed up as it was asked for.
pub fn plan_backup(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<PlanReport, FlowError> {
    let start_time = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&plan.source.gateways)?;
    let (manners, sparing) = considerate(&plan.source.gateways, &plan.manners)?;
    let pace = Pace::new(&manners, plan.resources.connections, progress, cancel);
    let survey = plan::survey(plan, None, &threads, progress, &pace)?;
    let Begun { repository, record, warnings, .. } = plan::begin(plan, &survey, &threads, progress)?;
    let mut all = record.warnings.clone();
    all.extend(cluster.section.warnings.into_iter().chain(sparing).chain(warnings));
    all.extend(weak(&repository));
    let tables = record.tables.iter().map(|table| PlannedTableReport {
        table: table.name.clone(),
        kind: table.kind,
        jobs: table.ranges().iter().enumerate().map(|(number, range)| job_report(&table.name, number, range)).collect(),
    });
    Ok(PlanReport {
        backup: record.backup.clone(),
        tables: tables.collect(),
        names_bytes: record.names.as_ref().map_or(0, |names| names.size),
        not_held: record.not_held.clone(),
        warnings: all,
        seconds: start_time.elapsed().as_secs_f64(),
    })
}

fn job_report(table: &str, number: usize, range: &KeyRange) -> JobReport {
    let [start, stop] = [&range.start, &range.stop].map(|key| hex(key).to_lowercase());
    JobReport { job: JobName { table: table.to_owned(), number }.to_string(), start, stop }
}

fn weak(repository: &Repository) -> Option<String> {
    (repository.commit_rule() == CommitRule::ReadBack).then(|| WEAK_COMMIT.to_owned())
}

/// Opens a backup that was planned and is not committed, and takes its lock: one that workers share, or one for itself.
fn open(
    threads: &Threads,
    store: &Store,
    backup: &str,
    append_only: bool,
    take: fn(&Threads, &Repository, bool) -> Result<RepositoryLock, FlowError>,
) -> Result<Begun, FlowError> {
    let reading = threads.wait(Repository::open(store.clone()))?;
    threads.wait(reading.resume_backup(backup))?;
    let Some(record) = threads.wait(reading.plan(backup))? else {
        return Err(FlowError::input(format!(
            "backup {backup} has no plan.json: it was never planned to its end, or a prune has begun to remove it; plan a \
             new one with backup --plan-only"
        )));
    };
    let repository = match record.commit_rule {
        CommitRule::CreateOnly => threads.wait(Repository::init_or_open(store.clone()))?,
        CommitRule::ReadBack => threads.wait(Repository::init_or_open_weak(store.clone()))?,
    };
    let lock = take(threads, &repository, append_only)?;
    if let Some(owner) = lock.claim(&repository, backup)? {
        return Err(FlowError::Locked(format!("somebody else works on backup {backup}: {owner}; wait for its end")));
    }
    // Somebody may have committed it before the lock was taken.
    let writer = threads.wait(repository.resume_backup(backup))?;
    Ok(Begun { repository, lock, writer, record, warnings: Vec::new() })
}

/// Does jobs of a backup that was planned, and records what is done.
///
/// # Errors
/// [`FlowError::Input`] for a job that there is not, and for another cluster than the plan's; [`FlowError::Refused`] for a
/// job of the UID table that comes too early; [`FlowError::Locked`] while somebody makes or commits the backup; the
/// gateway's, the repository's. What is recorded stays.
pub fn work(plan: &WorkPlan, progress: &Progress, cancel: &Cancel) -> Result<WorkReport, FlowError> {
    work_on(plan, progress, cancel).map_err(|error| match could_be_skipped(&error) && !plan.run.skip_unreadable {
        true => FlowError::unfinished(SKIP.into(), error),
        false => error,
    })
}

fn work_on(plan: &WorkPlan, progress: &Progress, cancel: &Cancel) -> Result<WorkReport, FlowError> {
    let start_time = Instant::now();
    let run = &plan.run;
    let threads = Threads::new(run.resources.cpu)?;
    let mut begun = open(&threads, &run.store, &plan.backup, run.append_only, RepositoryLock::worker)?;
    if !begun.record.merged.is_empty() {
        return Err(FlowError::input(format!(
            "backup {} is a merge, which no worker does; complete it with merge --resume",
            plan.backup
        )));
    }
    let jobs = jobs(&plan.jobs, &begun.record)?;
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&run.source.gateways)?;
    let (manners, sparing) = considerate(&run.source.gateways, &run.manners)?;
    let pace = Pace::new(&manners, run.resources.connections, progress, cancel);
    if let Some(other) = another_source(&begun.record, &reach(&run.source)?) {
        return Err(FlowError::input(format!("backup {} is of another source: {other}", plan.backup)));
    }
    let survey = plan::survey(run, Some(&mut begun), &threads, progress, &pace)?;
    let Begun { repository, writer, record, warnings, lock } = &begun;
    let ledger = Ledger::new(&threads, repository, writer, record);
    ledger.refresh()?;
    let _canary = pace.watch(&run.source.gateways, survey.found.tables.first().map(|table| table.name.as_str()));
    let is_done = |table: &str, range: &KeyRange| ledger.is_done(table, range);
    let parent = increment::parent_contents(run, record, &threads, progress, cancel)?;
    let worker = Worker {
        plan: run,
        survey: &survey,
        threads: &threads,
        writer,
        attempts: Arc::new(Attempts::beside(ledger.attempts().iter().map(String::as_str))),
        parent: parent.as_ref(),
        since_ms: since(record),
        read_back: Arc::new(ReadBack::new(run.verify_written)),
        pace: &pace,
        progress,
        cancel,
        // Who names jobs wants them done, whatever is there already.
        is_done: plan.jobs.is_empty().then_some(&is_done),
    };
    let seed = lock.token().bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let done = Assignment { worker: &worker, ledger: &ledger, jobs: &jobs, seed }.all()?;
    ledger.refresh()?;
    Ok(WorkReport {
        backup: plan.backup.clone(),
        jobs: done.jobs,
        shards: done.shards,
        missing: ledger.missing(),
        unreadable: ledger.unreadable(),
        left: done.left,
        warnings: cluster.section.warnings.into_iter().chain(sparing).chain(warnings.iter().cloned()).collect(),
        seconds: start_time.elapsed().as_secs_f64(),
        bytes_read: progress.view().bytes_read,
        bytes_written: progress.view().bytes_written,
        files_read_back: worker.read_back.files_read(),
        peak_rss_bytes: peak_rss_bytes(),
        back_off_seconds: pace.back_off_seconds(),
    })
}

/// The numbers of the jobs that are asked for, by table; empty: whatever is missing.
fn jobs(asked: &[JobName], plan: &PlanRecord) -> Result<BTreeMap<String, BTreeSet<usize>>, FlowError> {
    let mut jobs: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for job in asked {
        let table = plan.tables.iter().find(|table| table.name == job.table);
        if table.is_none_or(|table| job.number >= table.jobs.len()) {
            let known =
                plan.tables.iter().map(|table| format!("{}/0 to {}", table.name, table.jobs.len().saturating_sub(1)));
            return Err(FlowError::input(format!(
                "backup {} has no job {job}; it has {}",
                plan.backup,
                known.collect::<Vec<_>>().join(", ")
            )));
        }
        jobs.entry(job.table.clone()).or_default().insert(job.number);
    }
    Ok(jobs)
}

/// What is recorded, for the connections of a worker.
struct Ledger<'a> {
    threads: &'a Threads,
    repository: &'a Repository,
    writer: &'a BackupWriter,
    plan: &'a PlanRecord,
    seen: Mutex<(Records, Option<Instant>)>,
}

impl<'a> Ledger<'a> {
    fn new(threads: &'a Threads, repository: &'a Repository, writer: &'a BackupWriter, plan: &'a PlanRecord) -> Self {
        Self { threads, repository, writer, plan, seen: Mutex::default() }
    }

    fn refresh(&self) -> Result<(), FlowError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.refresh(self.threads, self.repository, self.writer)?;
        seen.1 = Some(Instant::now());
        Ok(())
    }

    fn with<T>(&self, look: impl FnOnce(&State<'_>) -> T) -> T {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        look(&seen.0.state(self.plan))
    }

    fn attempts(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.sound().map(|record| record.shard.attempt.clone()).collect()
    }

    /// Keys of a table that are not recorded.
    fn holes(&self, table: &str) -> Vec<KeyRange> {
        let at = self.plan.tables.iter().position(|known| known.name == table);
        self.with(|state| at.and_then(|at| state.tables.get(at)).map(|state| state.holes.clone()).unwrap_or_default())
    }

    fn is_done(&self, table: &str, range: &KeyRange) -> Result<bool, FlowError> {
        let old = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() > LOOK);
        if old(self.seen.lock().unwrap_or_else(PoisonError::into_inner).1) {
            self.refresh()?;
        }
        Ok(clip(std::slice::from_ref(range), &self.holes(table)).is_empty())
    }

    /// Jobs with keys that are not recorded.
    fn missing(&self) -> Vec<String> {
        self.jobs_over(|table| self.holes(table))
    }

    /// Jobs with keys that are recorded as gaps.
    fn unreadable(&self) -> Vec<String> {
        self.jobs_over(|name| {
            self.with(|state| {
                let tables = state.tables.iter().zip(&self.plan.tables).filter(|(_, table)| table.name == name);
                let records = tables.flat_map(|(state, _)| &state.chosen);
                records.filter(|record| record.gap.is_some()).map(|record| record.shard.range()).collect()
            })
        })
    }

    /// The jobs that share keys with ranges of their table.
    fn jobs_over(&self, ranges_of: impl Fn(&str) -> Vec<KeyRange>) -> Vec<String> {
        let mut jobs = Vec::new();
        for table in &self.plan.tables {
            let found = ranges_of(&table.name);
            let shares = |(_, range): &(usize, &KeyRange)| !clip(std::slice::from_ref(*range), &found).is_empty();
            let ranges = table.ranges();
            let of_table = ranges.iter().enumerate().filter(shares);
            jobs.extend(of_table.map(|(number, _)| JobName { table: table.name.clone(), number }.to_string()));
        }
        jobs
    }
}

/// The jobs that a worker has to do.
struct Assignment<'a> {
    worker: &'a Worker<'a>,
    ledger: &'a Ledger<'a>,
    jobs: &'a BTreeMap<String, BTreeSet<usize>>,
    /// Where to begin: each worker begins somewhere else.
    seed: usize,
}

#[derive(Default)]
struct Finished {
    jobs: Vec<String>,
    shards: u64,
    left: Option<String>,
}

impl Assignment<'_> {
    /// Data first, UIDs last.
    fn all(&self) -> Result<Finished, FlowError> {
        let mut done = Finished::default();
        let tables = || self.ledger.plan.tables.iter().zip(&self.worker.survey.found.tables);
        for (planned, table) in tables().filter(|(planned, _)| !is_uid(planned)) {
            let ranges = self.ranges(&planned.name, &planned.ranges(), &mut done);
            done.shards += self.worker.table(table, &ranges, None)?;
        }
        for (planned, table) in tables().filter(|(planned, _)| is_uid(planned)) {
            self.ledger.refresh()?;
            let mut wanted = Finished::default();
            let ranges = self.ranges(&planned.name, &planned.ranges(), &mut wanted);
            if ranges.is_empty() {
                continue;
            }
            let Some((basis, uids)) = self.basis()? else {
                let why = format!(
                    "{} comes last, and not all data is recorded yet: a row that is read later may name a UID that its read \
                     would miss; jobs that are missing: {}",
                    planned.name,
                    self.ledger
                        .missing()
                        .into_iter()
                        .filter(|job| !wanted.jobs.contains(job))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                if !self.jobs.is_empty() {
                    return Err(FlowError::refused(why));
                }
                done.left = Some(why);
                continue;
            };
            done.jobs.extend(wanted.jobs);
            let basis = self.worker.basis(basis, table, &uids)?;
            done.shards += self.worker.table(table, &ranges, Some(&basis))?;
        }
        Ok(done)
    }

    /// The keys that are to be read of a table, and the names of their jobs.
    fn ranges(&self, table: &str, jobs: &[KeyRange], done: &mut Finished) -> Vec<KeyRange> {
        let holes = self.ledger.holes(table);
        let mut ranges = Vec::new();
        for at in 0..jobs.len() {
            // Workers that begin at the same time would otherwise all do the same jobs.
            let number = if self.jobs.is_empty() { (at + self.seed) % jobs.len() } else { at };
            let range = jobs.get(number).cloned().unwrap_or_default();
            let parts = match self.jobs.is_empty() {
                true => clip(std::slice::from_ref(&range), &holes),
                false if self.jobs.get(table).is_some_and(|wanted| wanted.contains(&number)) => vec![range],
                false => Vec::new(),
            };
            if !parts.is_empty() {
                done.jobs.push(JobName { table: table.to_owned(), number }.to_string());
                ranges.extend(parts);
            }
        }
        ranges
    }

    /// What a read of the UID table is based on, and the UIDs that are named there; `None` as long as data is missing.
    fn basis(&self) -> Result<Option<(String, UidSet)>, FlowError> {
        let plan = self.ledger.plan;
        let found = self.ledger.with(|state| {
            let others = state.tables.iter().zip(&plan.tables).filter(|(_, table)| !is_uid(table));
            let complete = others.into_iter().all(|(state, _)| state.holes.is_empty());
            complete.then(|| (state.basis.clone().ok_or_else(|| state.attempts(plan)), state.named_uids(plan)))
        });
        Ok(match found {
            None => None,
            Some((Ok(basis), uids)) => Some((basis, uids)),
            Some((Err(attempts), uids)) => {
                Some((self.worker.threads.wait(self.worker.writer.put_basis(attempts))?, uids))
            }
        })
    }
}

/// Commits a backup whose jobs are done.
///
/// # Errors
/// [`FlowError::Damaged`] names keys that are not recorded; [`FlowError::Locked`] while somebody works on the backup; the
/// repository's. Nothing is committed then.
pub fn commit_backup(plan: &CommitPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let start_time = Instant::now();
    let threads = &Threads::for_store()?;
    let begun = open(threads, &plan.store, &plan.backup, plan.append_only, RepositoryLock::backup)?;
    let Begun { repository, lock, writer, record, .. } = &begun;
    let mut report = new_report(record);
    report.warnings.extend(weak(repository));
    let append_only = plan.append_only;
    let committer = Committer { threads, repository, lock, writer, plan: record, append_only, progress, cancel };
    let committed = committer.commit(&mut Records::default()).map_err(|error| {
        let id = writer.id();
        let advice =
            format!("backup {id} is not committed; do what is missing with worker --backup {id}, then commit again");
        FlowError::unfinished(advice, error)
    })?;
    add_commit(&mut report, committed);
    report.seconds = start_time.elapsed().as_secs_f64();
    Ok(report)
}
