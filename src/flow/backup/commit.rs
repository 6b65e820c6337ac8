//! The commit: reads back what is recorded, chooses the shards that cover every table once, and writes catalogue, Delta
//! logs, views and, last, the manifest.

use std::collections::{BTreeMap, HashMap};

use crate::flow::backup::catalogue::{self, TableResult};
use crate::flow::backup::records::{Records, State, TableState};
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::gaps;
use crate::flow::stored::strays;
use crate::flow::{Cancel, FlowError, Progress};
use crate::manifest::{
    BackupWriter, GapRecord, HashedFile, Manifest, PlanRecord, PlannedTable, Repository, ShardRecord, Totals,
    new_attempt,
};
use crate::model::{Gap, KeyRange, saturating_sum, time};
use crate::shard::clip;

/// What every manifest says about its exactness.
const EXACTNESS: &str = "every cell that the scan returned is rebuilt byte for byte: from typed columns where a proof at export \
                         showed that they rebuild it, from kept bytes otherwise";
const EXACTNESS_THRIFT1: &str =
    "latest versions only, read through a Thrift1 gateway; every cell that it returned is rebuilt byte for byte";

/// Ranges and problems that a message names at most.
const NAMED: usize = 20;

/// What commits a backup.
pub struct Committer<'a> {
    /// Bridge to the store.
    pub threads: &'a Threads,
    /// Where the backup lies.
    pub repository: &'a Repository,
    /// The repository's lock.
    pub lock: &'a RepositoryLock,
    /// The backup.
    pub writer: &'a BackupWriter,
    /// What was to be done.
    pub plan: &'a PlanRecord,
    /// Never try to delete anything.
    pub append_only: bool,
    /// Counters.
    pub progress: &'a Progress,
    /// Request to stop.
    pub cancel: &'a Cancel,
}

/// A committed backup.
pub struct Committed {
    /// Its manifest.
    pub manifest: Manifest,
    /// What is to be said about files that nothing names.
    pub strays: Option<String>,
}

impl Committer<'_> {
    /// Commits what is recorded.
    ///
    /// # Errors
    /// [`FlowError::Damaged`] names keys that nothing covers, and files that have gone; the store's; a lost lock;
    /// [`FlowError::Interrupted`]. Nothing is committed then.
    pub fn commit(&self, records: &mut Records) -> Result<Committed, FlowError> {
        self.progress.stage("committing", 0);
        records.refresh(self.threads, self.repository, self.writer)?;
        let state = records.state(self.plan);
        require_cover(self.plan, &state, &records.problems)?;
        let tables = self.plan.tables.iter().zip(&state.tables);
        let results: Vec<TableResult> =
            tables.map(|(table, state)| self.result(table, state)).collect::<Result<_, _>>()?;
        let mut manifest = self.manifest(&results);
        let started_ms = self.plan.started_ms;
        manifest.catalogue = catalogue::write(
            self.threads,
            self.writer,
            &results,
            started_ms,
            (self.plan.increment.is_some(), self.append_only),
        )?;
        manifest.catalogue.extend(self.basis(&state)?);
        manifest.finished_ms = time::now_ms();
        manifest.totals = totals(state.tables.iter().flat_map(|table| &table.chosen).copied());
        self.check_presence(&results, &mut manifest)?;
        if self.cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        self.lock.assert_alive()?;
        let manifest = self.threads.wait(self.writer.commit(manifest))?;
        let strays = self.remove_strays(&results, &manifest);
        Ok(Committed { manifest, strays })
    }

    /// A table as its shards add up, with its gaps.
    fn result(&self, planned: &PlannedTable, state: &TableState<'_>) -> Result<TableResult, FlowError> {
        let mut result = TableResult::new(planned);
        let mut found: BTreeMap<KeyRange, &GapRecord> = BTreeMap::new();
        for record in &state.chosen {
            match &record.gap {
                Some(gap) => drop(found.insert(record.shard.range(), gap)),
                None => result.add(self.threads, self.writer, record)?,
            }
        }
        let basis = state.chosen.first().and_then(|record| record.basis.clone());
        for gap in gaps::merged(found.values().map(|gap| gap.gap()).collect()) {
            // Neighbours that have become one get a record of their own.
            result.record.gaps.push(match found.get(&gap.range) {
                Some(recorded) => (*recorded).clone(),
                None => self.put_gap(&planned.name, &gap, basis.clone())?,
            });
        }
        Ok(result)
    }

    fn put_gap(&self, table: &str, gap: &Gap, basis: Option<String>) -> Result<GapRecord, FlowError> {
        let gap = GapRecord::new(gap, new_attempt());
        let record = ShardRecord { basis, ..ShardRecord::of_gap(table, gap.clone(), time::now_ms()) };
        self.threads.wait(self.writer.put_shard_record(record))?;
        Ok(gap)
    }

    /// The record of what the UIDs were read after.
    fn basis(&self, state: &State<'_>) -> Result<Option<HashedFile>, FlowError> {
        let Some(id) = &state.basis else { return Ok(None) };
        let path = self.writer.paths().basis(id);
        let text = self.threads.wait(self.writer.store().get(&path))?;
        let blake3 = blake3::hash(&text).to_hex().to_string();
        Ok(Some(HashedFile { path, size: text.len() as u64, blake3 }))
    }

    /// Files of attempts that do not count. They do no harm, so neither does what keeps them from being removed; but
    /// somebody should know that they are there.
    fn remove_strays(&self, results: &[TableResult], manifest: &Manifest) -> Option<String> {
        let files = results.iter().flat_map(|result| result.files.iter());
        let shards = results.iter().flat_map(|result| result.shards.iter());
        let named = strays::named(manifest, files, shards);
        let left = strays::remove(self.threads, self.lock, self.writer, &named, self.append_only);
        let words = |count: &str, why: &str| {
            format!(
                "{count} files of interrupted attempts lie in the backup's folder{why}; no Delta log and no view names them, \
                 prune removes them"
            )
        };
        match left {
            Ok(0) => None,
            Ok(count) => Some(words(&count.to_string(), "")),
            Err(error) => Some(words("some", &format!(" ({error})"))),
        }
    }

    /// Everything that the manifest is about to promise is in the store, with its size: somebody may have tidied up
    /// since it was written. The names that were read for the plan are promised where they are there.
    fn check_presence(&self, results: &[TableResult], manifest: &mut Manifest) -> Result<(), FlowError> {
        let paths = self.writer.paths();
        let stored = self.threads.wait(self.writer.store().list(paths.folder()))?;
        let stored: HashMap<String, u64> = stored.into_iter().map(|entry| (entry.path, entry.size)).collect();
        let names = self.plan.names.iter().filter(|names| stored.get(&names.path) == Some(&names.size));
        manifest.catalogue.extend(names.cloned());
        let files = results.iter().flat_map(|result| &result.files).map(|file| (file.path.as_str(), file.size));
        let catalogue = manifest.catalogue.iter().map(|file| (file.path.as_str(), file.size));
        let altered = files.chain(catalogue).find(|(path, size)| stored.get(*path) != Some(size));
        let shards = results.iter().flat_map(|result| &result.shards);
        let gaps = manifest
            .tables
            .iter()
            .flat_map(|table| table.gaps.iter().map(|gap| paths.shard(&table.name, &gap.attempt)));
        let mut records = shards.map(|row| paths.shard(&row.table, &row.attempt)).chain(gaps);
        let lost = records.find(|path| !stored.contains_key(path));
        match altered.map(|(path, _)| path.to_string()).or(lost) {
            None => Ok(()),
            Some(path) => Err(FlowError::damaged(format!(
                "{path} was stored and is now missing or has another size: something else is changing the repository; nothing is committed"
            ))),
        }
    }

    fn manifest(&self, results: &[TableResult]) -> Manifest {
        let plan = self.plan;
        let tables = results.iter().zip(0..).map(|(result, order)| {
            let mut record = result.record.clone();
            record.order = order;
            record
        });
        Manifest {
            kind: plan.kind.clone(),
            parent: plan.parent.clone(),
            increment: plan.increment.clone(),
            merged: plan.merged.clone(),
            window: plan.window.clone(),
            started_ms: plan.started_ms,
            raw: plan.raw,
            exactness: exactness(plan, results),
            layout: plan.layout,
            older_layouts: plan.older_layouts.clone(),
            layout_source: plan.layout_source,
            name_charset: plan.name_charset,
            server: plan.server.clone(),
            opentsdb_conf: plan.opentsdb_conf.clone().unwrap_or_default(),
            rollup_config: plan.rollup_config.clone(),
            tables: tables.collect(),
            ..Manifest::default()
        }
    }
}

fn exactness(plan: &PlanRecord, results: &[TableResult]) -> String {
    let mut text = if plan.server.api == "thrift1" { EXACTNESS_THRIFT1 } else { EXACTNESS }.to_string();
    if results.iter().any(|result| !result.record.gaps.is_empty()) {
        text += "; keys that could not be read are missing and listed as gaps";
    }
    text
}

/// What the shards took. Several at the same time count once as time.
fn totals<'a>(records: impl Iterator<Item = &'a ShardRecord>) -> Totals {
    let records: Vec<&ShardRecord> = records.collect();
    let mut times: Vec<(i64, i64)> =
        records.iter().map(|record| (record.shard.started_ms, record.shard.finished_ms)).collect();
    times.sort_unstable();
    let (mut worked, mut until) = (0, i64::MIN);
    for (from, to) in times {
        worked += to.saturating_sub(from.max(until)).max(0);
        until = until.max(to);
    }
    Totals {
        seconds: worked as f64 / 1000.0,
        bytes_read: saturating_sum(records.iter().map(|record| record.bytes_read)),
        bytes_written: saturating_sum(records.iter().flat_map(|record| &record.files).map(|file| file.size)),
        peak_rss_bytes: records.iter().map(|record| record.peak_rss_bytes).max().unwrap_or_default(),
    }
}

/// Names what no record covers, by table and job, and why records do not count.
fn require_cover(plan: &PlanRecord, state: &State<'_>, problems: &[String]) -> Result<(), FlowError> {
    let lacking = plan.tables.iter().zip(&state.tables).filter(|(_, state)| !state.holes.is_empty());
    let words = |(table, state): (&PlannedTable, &TableState<'_>)| {
        let jobs = table.ranges();
        let of_job = |(number, range): (usize, &KeyRange)| {
            clip(std::slice::from_ref(range), &state.holes)
                .into_iter()
                .map(|hole| format!("{hole} (job {}/{number})", table.name))
                .collect::<Vec<_>>()
        };
        let holes: Vec<String> = jobs.iter().enumerate().flat_map(of_job).collect();
        format!("of table {}: {}", table.name, some(&holes))
    };
    let lacking: Vec<String> = lacking.map(words).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let why = if problems.is_empty() { String::new() } else { format!("; {}", some(problems)) };
    Err(FlowError::damaged(format!("keys are not recorded yet, so nothing is committed: {}{why}", lacking.join("; "))))
}

/// The first of them, and how many more there are.
fn some(all: &[String]) -> String {
    let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardRow;

    #[test]
    fn time_at_work_counts_once() {
        let record = |started_ms, finished_ms, bytes_read| ShardRecord {
            shard: ShardRow { started_ms, finished_ms, ..ShardRow::default() },
            bytes_read,
            peak_rss_bytes: bytes_read,
            ..ShardRecord::default()
        };
        let records =
            [record(1_000, 5_000, 1), record(2_000, 3_000, 2), record(4_000, 6_000, 3), record(9_000, 9_500, 4)];
        let totals = totals(records.iter());
        assert_eq!((totals.seconds, totals.bytes_read, totals.peak_rss_bytes), (5.5, 10, 4));
    }
}
