//! What a worker does: key ranges of tables to files in the repository, each shard recorded as soon as it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::cluster::Client;
use crate::flow::backup::catalogue::{self, TableResult};
use crate::flow::backup::commit::check_cover;
use crate::flow::backup::export::{Attempts, ExportContext, Exported, ReadBack, ShardOutcome, ShardTask, export_shard};
use crate::flow::backup::resume::KeptTable;
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::source::gaps::{self, AtDamage};
use crate::flow::source::survey::Survey;
use crate::flow::source::tables::SourceTable;
use crate::flow::source::tally_scan::even_ranges;
use crate::flow::{BackupPlan, Cancel, FlowError, Progress, Resources, ResumedReport};
use crate::manifest::{BackupWriter, FORMAT, ShardOutcome as Recorded, ShardRecord};
use crate::model::{Gap, KeyRange, RawReason, TableKind, saturating_sum, time};
use crate::scan::ScanOptions;
use crate::shard::{clip, uncovered};

/// Bytes of a file that is kept until it is read back, with `verify_written` one on each connection.
const COPY_BYTES: u64 = 40 << 20;
/// Bytes that a point takes in a batch, its share of vectors that grow included.
const BYTES_PER_POINT: u64 = 48;

/// What reads the tables of a backup.
pub struct Worker<'a> {
    /// What was asked for.
    pub plan: &'a BackupPlan,
    /// The source.
    pub survey: &'a Survey,
    /// CPU pool and store bridge.
    pub threads: &'a Threads,
    /// The backup.
    pub writer: &'a BackupWriter,
    /// All attempts of the backup.
    pub attempts: Arc<Attempts>,
    /// Which finished files are decoded again.
    pub read_back: Arc<ReadBack>,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
    /// Request to stop.
    pub cancel: &'a Cancel,
}

impl Worker<'_> {
    /// Exports what is missing of all tables beside what is `kept` of each.
    ///
    /// # Errors
    /// The gateway's, the store's, a proof that fails, or [`FlowError::Interrupted`].
    pub fn tables(
        &self,
        kept: &mut BTreeMap<String, KeptTable>,
        mut resumed: Option<&mut ResumedReport>,
    ) -> Result<Vec<TableResult>, FlowError> {
        let mut results = Vec::new();
        let mut read = false;
        for table in &self.survey.found.tables {
            let mut kept = kept.remove(&table.name).unwrap_or_default();
            // UIDs come last: rows that are read now may name ones that were not assigned when these were read.
            if read && table.kind == TableKind::Uid {
                kept.shards.clear();
            }
            read |= !uncovered(&kept.ranges()).is_empty();
            let (shards, cells) = (kept.shards.len() as u64, saturating_sum(kept.shards.iter().map(|s| s.tally.cells)));
            let result = self.table(table, kept).map_err(|e| e.at(format!("table {}", table.name)))?;
            if let Some(resumed) = resumed.as_deref_mut() {
                resumed.shards_kept += shards;
                resumed.cells_kept += cells;
                resumed.shards_read += result.shards.len() as u64 - shards;
            }
            results.push(result);
        }
        Ok(results)
    }

    /// Exports what is missing of one table with all connections.
    fn table(&self, table: &SourceTable, kept: KeptTable) -> Result<TableResult, FlowError> {
        let Resources { connections, .. } = self.plan.resources;
        let gateways = &self.plan.source.gateways;
        let missing = uncovered(&kept.ranges());
        let mut result = TableResult::new(table, self.survey.versions(self.plan, table));
        kept.shards.into_iter().for_each(|shard| result.add(shard));
        if missing.is_empty() {
            return Ok(result);
        }
        let mut gaps = gaps::clipped(&table.gaps, &missing);
        let ranges = match AtDamage::of(self.plan) {
            AtDamage::Fail => clip(&even_ranges(gateways, &table.name, connections)?, &missing),
            // Regions that cannot be read cannot be probed either.
            AtDamage::Skip => {
                let regions: Vec<KeyRange> = table.regions.iter().map(|region| region.range.clone()).collect();
                clip(&clip(&regions, &missing), &gaps::readable(&table.gaps))
            }
        };
        self.progress.stage(format!("backing up {}", table.name), ranges.len() as u64);
        let behind_taken = kept.taken.last().map_or(0, |last| last.saturating_add(1));
        let context = Arc::new(self.context(table, kept.taken));
        let queue = WorkQueue::new(ranges.into_iter().map(|range| ShardTask { range }));
        let work = |client: &mut Client, task: ShardTask| {
            let range = task.range.clone();
            self.shard(&context, client, task, &queue).map_err(|error| {
                // The others stop at their next page.
                context.cancel_table.set();
                error.at(format!("shard {range}"))
            })
        };
        let start = || gateways.client();
        work_through(connections, &queue, self.progress, start, work, |(shard, found): (Option<_>, Vec<Gap>)| {
            shard.into_iter().for_each(|shard| result.add(shard));
            gaps.extend(found);
        })?;
        result.set_gaps(gaps, context.next_shard.load(Ordering::SeqCst).max(behind_taken));
        check_cover(&result)?;
        Ok(result)
    }

    fn context(&self, table: &SourceTable, taken_shards: BTreeSet<u32>) -> ExportContext {
        let Resources { connections, max_memory, page_bytes, .. } = self.plan.resources;
        // Per connection: a page being read and one being decoded, each with its index of cells, and a filling batch.
        let copy = if self.plan.verify_written { COPY_BYTES } else { 0 };
        let pages = 4 * page_bytes + copy;
        let share = (max_memory / connections as u64).saturating_sub(pages);
        let batch_points = (share / (3 * BYTES_PER_POINT)).clamp(50_000, 1_000_000);
        let filling = connections as u64 * (pages + batch_points * BYTES_PER_POINT);
        ExportContext {
            threads: self.threads.clone(),
            store: self.writer.store().clone(),
            paths: self.writer.paths().clone(),
            table: table.name.clone(),
            kind: table.kind,
            rollups: table.rollups.clone(),
            layouts: self.survey.detection.layouts.clone(),
            charset: self.survey.charset,
            names: Arc::clone(&self.survey.names),
            scan: self.pace.pages(ScanOptions {
                max_versions: self.survey.versions(self.plan, table),
                raw: self.survey.raw,
                page_bytes: page_bytes as usize,
                ..ScanOptions::default()
            }),
            batch_points: batch_points as usize,
            spare_batches: Mutex::default(),
            encode_budget: ByteBudget::new(max_memory.saturating_sub(filling).max(2 * batch_points * BYTES_PER_POINT)),
            footer: vec![
                ("tsdb-ark.format".into(), FORMAT.to_string()),
                ("tsdb-ark.version".into(), env!("CARGO_PKG_VERSION").into()),
                ("tsdb-ark.backup".into(), self.writer.id().into()),
                ("tsdb-ark.cluster".into(), self.survey.server.cluster_id.clone().unwrap_or_default()),
            ],
            next_shard: AtomicU32::new(0),
            taken_shards,
            attempts: Arc::clone(&self.attempts),
            read_back: Arc::clone(&self.read_back),
            regions: table.regions.clone(),
            pace: self.pace.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            cancel_table: Cancel::new(),
            at_damage: AtDamage::of(self.plan),
        }
    }

    /// Exports one shard and records it.
    fn shard(
        &self,
        context: &Arc<ExportContext>,
        client: &mut Client,
        task: ShardTask,
        queue: &WorkQueue<ShardTask>,
    ) -> Result<(Option<ShardOutcome>, Vec<Gap>), FlowError> {
        let started_ms = time::now_ms();
        let Exported { shard, gaps, rest } = export_shard(context, client, task, &|| queue.hungry())?;
        if let Some(outcome) = &shard {
            self.progress.wrote(outcome.files.iter().map(|file| file.size).sum());
            put_record(self.threads, self.writer, self.record(outcome, &context.table, started_ms))?;
        }
        self.progress.more(rest.len() as u64);
        queue.put_back(rest.into_iter().rev().map(|range| ShardTask { range }));
        Ok((shard, gaps))
    }

    fn record(&self, outcome: &ShardOutcome, table: &str, started_ms: i64) -> ShardRecord {
        let mut record = ShardRecord {
            attempt: outcome.attempt.clone(),
            table: table.to_string(),
            shard: outcome.shard,
            start: outcome.range.start.clone().into(),
            stop: outcome.range.stop.clone().into(),
            started_ms,
            finished_ms: time::now_ms(),
            tally: outcome.tally,
            raw_cells: by_name(&outcome.raw_reasons),
            cells_by_layout: outcome.by_layout.clone(),
            files: outcome.files.clone(),
            ..ShardRecord::default()
        };
        record.set_metrics(catalogue::metric_counts(&outcome.metrics, &self.survey.names));
        record
    }
}

/// Records a shard.
///
/// # Errors
/// The store's; [`FlowError::Locked`] when somebody else has recorded it.
pub fn put_record(threads: &Threads, writer: &BackupWriter, record: ShardRecord) -> Result<(), FlowError> {
    let table = record.table.clone();
    if let Recorded::AlreadyRecorded(other) = threads.wait(writer.put_shard_record(record))? {
        let ShardRecord { shard, attempt, .. } = &*other;
        return Err(FlowError::Locked(format!(
            "shard {shard} of {table} was recorded by attempt {attempt}: another process works on backup {} at the same \
             time; let one of them finish",
            writer.id()
        )));
    }
    Ok(())
}

/// Raw reasons by their stable names.
pub fn by_name(reasons: &BTreeMap<RawReason, u64>) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| (reason.name().to_string(), *count)).collect()
}
