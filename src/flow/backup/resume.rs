//! Resuming an unfinished backup.
//!
//! The store alone is trusted. A shard counts as done when its record carries its own hash, stands under its own name,
//! and every file that it names is there with its size and hash; of records that overlap the first counts. What is not
//! covered is read again under numbers that no record has. Altered records and files stay where they are: nothing is
//! overwritten, and a credential that may not delete is enough.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::backup::asked::contradiction;
use crate::flow::backup::export::{MetricMap, ShardOutcome, count_metrics};
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::survey::Reached;
use crate::flow::stored::backup_files::read_or_problem;
use crate::flow::{BackupPlan, Cancel, FlowError, Progress};
use crate::manifest::layout::parse_shard_record;
use crate::manifest::{BackupWriter, PlanRecord, Repository, RepositoryError, ShardRecord};
use crate::model::{FileKind, KeyRange, RawReason};
use crate::parquet_file::PointsReader;

/// What an earlier run left of one table.
#[derive(Default)]
pub struct KeptTable {
    /// Shards that are done, by their first keys, without overlaps.
    pub shards: Vec<ShardOutcome>,
    /// Numbers that new shards cannot have, because a record lies there.
    pub taken: BTreeSet<u32>,
}

impl KeptTable {
    /// The keys that are done, in order.
    pub fn ranges(&self) -> Vec<KeyRange> {
        self.shards.iter().map(|shard| shard.range.clone()).collect()
    }
}

/// A backup that is resumed.
pub struct Resumed {
    /// Writes the rest.
    pub writer: BackupWriter,
    /// What it was asked for.
    pub plan: PlanRecord,
    /// Tables by name.
    pub tables: BTreeMap<String, KeptTable>,
    /// Records and files that do not count, with the reason.
    pub problems: Vec<String>,
}

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
    Err(FlowError::input(match reasons.is_empty() {
        true => format!("there is no unfinished backup in {place} to resume; run backup without --resume"),
        false => format!(
            "no unfinished backup in {place} fits this command; run backup without --resume, or with the settings that it was started with: {}",
            reasons.join("; ")
        ),
    }))
}

/// Looks at everything that the earlier runs left.
///
/// # Errors
/// The store's, or [`FlowError::Interrupted`]. What is missing or altered is no error.
pub fn look_at(
    threads: &Threads,
    repository: &Repository,
    (writer, plan): (BackupWriter, PlanRecord),
    connections: usize,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Resumed, FlowError> {
    let records = threads.wait(repository.check_shard_records(writer.id()))?;
    progress.stage("checking the unfinished backup", records.len() as u64);
    let mut resumed = Resumed { writer, plan, tables: BTreeMap::new(), problems: Vec::new() };
    for (path, _) in &records {
        if let Some((table, shard)) = parse_shard_record(path) {
            resumed.tables.entry(table).or_default().taken.insert(shard);
        }
    }
    let queue = WorkQueue::new(records);
    let metric_width = usize::from(resumed.plan.layout.metric_width);
    let work = |(): &mut (), (path, record): (String, Result<ShardRecord, String>)| {
        if cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        let record = match record {
            Ok(record) => record,
            Err(problem) => return Ok(Err(format!("{path}: {problem}"))),
        };
        if record.gap.is_some() {
            let range = KeyRange::new(record.start, record.stop);
            return Ok(Err(format!("{path}: {range} of {} could not be read", record.table)));
        }
        let table = record.table.clone();
        Ok(kept_shard(threads, repository, record, metric_width)?.map(|shard| (table, shard)))
    };
    let (tables, problems) = (&mut resumed.tables, &mut resumed.problems);
    work_through(
        connections,
        &queue,
        progress,
        || (),
        work,
        |checked| match checked {
            Ok((table, shard)) => tables.entry(table).or_default().shards.push(shard),
            Err(problem) => problems.push(problem),
        },
    )?;
    for kept in resumed.tables.values_mut() {
        resumed.problems.extend(drop_overlaps(kept));
    }
    resumed.problems.sort();
    Ok(resumed)
}

/// A shard whose files are all as recorded, or the first thing that is wrong.
fn kept_shard(
    threads: &Threads,
    repository: &Repository,
    record: ShardRecord,
    metric_width: usize,
) -> Result<Result<ShardOutcome, String>, FlowError> {
    let mut metrics = MetricMap::new();
    for file in &record.files {
        let read = read_or_problem(repository.store(), &file.path, file.size, &file.blake3);
        let bytes = match threads.wait(read)? {
            Ok(bytes) => bytes,
            Err(problem) => return Ok(Err(format!("{} {problem}", file.path))),
        };
        // The record names only the greatest metrics; the catalogue needs all.
        if record.metrics_left_out > 0 && file.kind == FileKind::Points {
            let mut reader = PointsReader::open_recorded(bytes, file.rows)?;
            while let Some(batch) = reader.next_group()? {
                count_metrics(&mut metrics, &batch, metric_width);
            }
        }
    }
    if record.metrics_left_out == 0 {
        metrics = record.metrics.iter().map(|count| (count.uid.clone().into(), count.into())).collect();
    }
    let mut raw_reasons = BTreeMap::new();
    for (name, count) in &record.raw_cells {
        let Some(reason) = RawReason::from_name(name) else {
            return Ok(Err(format!(
                "shard {} of {} has raw cells of an unknown kind: {name}",
                record.shard, record.table
            )));
        };
        raw_reasons.insert(reason, *count);
    }
    Ok(Ok(ShardOutcome {
        shard: record.shard,
        attempt: record.attempt,
        range: KeyRange::new(record.start, record.stop),
        tally: record.tally,
        raw_reasons,
        by_layout: record.cells_by_layout,
        files: record.files,
        metrics,
    }))
}

/// Sorts the shards and drops those that overlap the one before, which two runs at the same time can leave.
fn drop_overlaps(kept: &mut KeptTable) -> Vec<String> {
    let mut problems = Vec::new();
    // An empty shard sorts before the one that begins at its key, so neither hides the other.
    kept.shards.sort_by(|a, b| (&a.range.start, &a.range.stop).cmp(&(&b.range.start, &b.range.stop)));
    let mut end = Some(Vec::new());
    kept.shards.retain(|shard| {
        let fits = end.as_ref().is_some_and(|end| shard.range.start >= *end);
        if fits {
            end = Some(shard.range.stop.clone()).filter(|stop| !stop.is_empty());
        } else {
            problems.push(format!("shard {} {} overlaps another one", shard.shard, shard.range));
        }
        fits
    });
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: u32, start: &str, stop: &str) -> ShardOutcome {
        ShardOutcome {
            shard: number,
            attempt: String::new(),
            range: KeyRange::new(start, stop),
            tally: Default::default(),
            raw_reasons: BTreeMap::new(),
            by_layout: BTreeMap::new(),
            files: Vec::new(),
            metrics: MetricMap::new(),
        }
    }

    #[test]
    fn of_two_that_overlap_one_counts() {
        let shards = vec![shard(2, "c", ""), shard(0, "", "b"), shard(1, "a", "d"), shard(3, "x", "z")];
        let mut kept = KeptTable { shards, taken: BTreeSet::new() };
        assert_eq!(drop_overlaps(&mut kept).len(), 2);
        assert_eq!(kept.ranges(), [KeyRange::new("", "b"), KeyRange::new("c", "")]);
    }
}
