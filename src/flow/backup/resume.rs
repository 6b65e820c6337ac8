//! Resuming an unfinished backup: its plan is there, what is missing is done, and then it is committed.
//!
//! Before, the files of all records are read: one that has other bytes than were written is read again from the cluster.
//! Altered records and files stay where they are: nothing is overwritten, and a credential that may not delete is enough.

use std::collections::HashSet;

use crate::flow::backup::asked::contradiction;
use crate::flow::backup::records::Records;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::survey::Reached;
use crate::flow::stored::backup_files::read_or_problem;
use crate::flow::{BackupPlan, Cancel, FlowError, Progress, ResumedReport};
use crate::manifest::{BackupWriter, PlanRecord, Repository, RepositoryError, ShardRecord};
use crate::model::{TableKind, saturating_sum};
use crate::store::Store;

/// The newest unfinished backup that the command line does not contradict.
///
/// # Errors
/// [`FlowError::Input`] when there is none, saying why those that are there do not fit; the repository's.
pub fn find(
    threads: &Threads,
    repository: &Repository,
    lock: &RepositoryLock,
    asked: &BackupPlan,
    reached: &Reached,
) -> Result<(BackupWriter, PlanRecord), FlowError> {
    let mut reasons = Vec::new();
    for backup in threads.wait(repository.unfinished())?.into_iter().rev() {
        let reason = match threads.wait(repository.plan(&backup)) {
            Ok(None) => "it has no plan.json".to_string(),
            Ok(Some(plan)) => match contradiction(&plan, asked, reached) {
                None => {
                    if let Some(owner) = lock.claim(repository, &backup)? {
                        return Err(FlowError::Locked(format!(
                            "backup {backup} is still running ({owner}); wait until it has finished"
                        )));
                    }
                    return Ok((threads.wait(repository.resume_backup(&backup))?, plan));
                }
                Some(difference) => difference,
            },
            Err(RepositoryError::Store(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        reasons.push(format!("{backup}: {reason}"));
    }
    let place = repository.store().place();
    let instead = match asked.catch_up {
        Some(_) => {
            "run backup without --resume, or, behind a full backup that is committed, backup --incremental --by time"
        }
        None => "run backup without --resume",
    };
    Err(FlowError::input(match reasons.is_empty() {
        true => format!("there is no unfinished backup in {place} to resume; {instead}"),
        false => format!(
            "no unfinished backup in {place} fits this command; {instead}, or run it with the settings that it was started \
             with: {}",
            reasons.join("; ")
        ),
    }))
}

/// Reads all files that are recorded, and lets records count no more whose files are not as they were written.
///
/// # Errors
/// The store's, or [`FlowError::Interrupted`]. What is missing or altered is no error.
pub fn check(
    threads: &Threads,
    repository: &Repository,
    writer: &BackupWriter,
    connections: usize,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Records, FlowError> {
    let mut records = Records::default();
    records.refresh(threads, repository, writer)?;
    let all: Vec<&ShardRecord> = records.sound().collect();
    progress.stage("checking the unfinished backup", all.len() as u64);
    let queue = WorkQueue::new(all);
    let mut problems = Vec::new();
    let work = |(): &mut (), record: &ShardRecord| {
        if cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        Ok(problem(threads, repository.store(), record)?.map(|problem| (record.shard.attempt.clone(), problem)))
    };
    work_through(connections, &queue, progress, || (), work, |problem: Option<_>| problems.extend(problem))?;
    problems.iter().for_each(|(attempt, problem)| records.distrust(attempt, problem));
    Ok(records)
}

/// The first file of a record that is not as it was written.
fn problem(threads: &Threads, store: &Store, record: &ShardRecord) -> Result<Option<String>, FlowError> {
    let files = record.files.iter().map(|file| (&file.path, file.size, &file.blake3));
    let metrics = record.all_metrics.iter().map(|file| (&file.path, file.size, &file.blake3));
    for (path, size, hash) in files.chain(metrics) {
        if let Err(problem) = threads.wait(read_or_problem(store, path, size, hash))? {
            return Ok(Some(format!("{path} {problem}")));
        }
    }
    Ok(None)
}

/// What a resumed run begins with.
pub fn report(records: &Records, plan: &PlanRecord) -> ResumedReport {
    let state = records.state(plan);
    let read = state.tables.iter().flat_map(|table| &table.chosen).filter(|record| record.gap.is_none());
    let chosen: HashSet<&str> = read.map(|record| record.shard.attempt.as_str()).collect();
    let kept = records.sound().filter(|record| chosen.contains(record.shard.attempt.as_str()));
    let mut problems = records.problems.clone();
    let is_uid = |table: &str| plan.tables.iter().any(|known| known.name == table && known.kind == TableKind::Uid);
    for record in records.sound().filter(|record| !chosen.contains(record.shard.attempt.as_str())) {
        let (range, table) = (record.shard.range(), &record.shard.table);
        match &record.gap {
            Some(gap) => problems.push(format!("{range} of {table} could not be read: {}", gap.message)),
            // UIDs are read again whenever other tables are.
            None if is_uid(table) => {}
            None => problems.push(format!("shard {range} of {table} overlaps another one")),
        }
    }
    problems.sort();
    ResumedReport {
        shards_kept: chosen.len() as u64,
        cells_kept: saturating_sum(kept.map(|record| record.shard.tally.cells)),
        shards_read: 0,
        problems,
    }
}
