//! What a worker does: key ranges of tables to files in the repository, each shard recorded as soon as it is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::cluster::Client;
use crate::flow::backup::compared::{Against, export_differences};
use crate::flow::backup::export::{ExportContext, Exported, ShardOutcome, ShardTask, export_shard};
use crate::flow::backup::recorder::Recorder;
use crate::flow::encode::{Attempts, EncodeContext, Labels, ReadBack};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::plan::{BYTES_PER_POINT, LEAST_BATCH};
use crate::flow::source::gaps::{self, AtDamage};
use crate::flow::source::names::Names;
use crate::flow::source::survey::Survey;
use crate::flow::source::table::SourceTable;
use crate::flow::source::window_uids::{UidSet, UidSource};
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::{BackupPlan, Cancel, FlowError, Progress, Resources};
use crate::manifest::{BackupWriter, GapRecord, ShardRecord, new_attempt};
use crate::model::{Gap, KeyRange, TableKind, time};
use crate::scan::{ScanOptions, WantedRows};
use crate::shard::clip;

/// Bytes of a file that is kept until it is read back, with `verify_written` one on each connection.
const COPY_BYTES: u64 = 40 << 20;

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
    /// Attempts that are known.
    pub attempts: Arc<Attempts>,
    /// Which finished files are decoded again.
    pub read_back: Arc<ReadBack>,
    /// How fast to go.
    pub pace: &'a Pace,
    /// Counters.
    pub progress: &'a Progress,
    /// Request to stop.
    pub cancel: &'a Cancel,
    /// The chain that is compared with, for an increment by comparison.
    pub parent: Option<&'a BackupContents>,
    /// Since when tables are read, for an increment by write time, by table.
    pub since_ms: BTreeMap<String, i64>,
    /// Whether other workers have recorded keys of a table meanwhile; `None`: there are none.
    pub is_done: Option<&'a IsDone<'a>>,
}

/// Tells whether all these keys of a table are recorded.
pub type IsDone<'a> = dyn Fn(&str, &KeyRange) -> Result<bool, FlowError> + Sync + 'a;

/// A table that is read.
struct Reading<'a> {
    context: Arc<ExportContext>,
    queue: &'a WorkQueue<ShardTask>,
    /// What a read of the UID table is based on.
    basis: Option<&'a str>,
}

/// What a read of the UID table is based on.
pub struct Basis {
    /// The id of its record.
    pub id: String,
    /// The rows that a window takes; `None`: all.
    pub wanted: Option<WantedRows>,
}

impl Worker<'_> {
    /// Exports key ranges of a table with all connections, and gives the number of shards. The UID table needs the
    /// `basis` of the read.
    ///
    /// # Errors
    /// The gateway's, the store's, a proof that fails, or [`FlowError::Interrupted`]. What is recorded stays.
    pub fn table(&self, table: &SourceTable, ranges: &[KeyRange], basis: Option<&Basis>) -> Result<u64, FlowError> {
        self.read(table, ranges, basis).map_err(|error| error.at(format!("table {}", table.name)))
    }

    /// What a read of the UID table is based on, by what is recorded: in a window its rows depend on it.
    ///
    /// # Errors
    /// The gateway's; [`FlowError::Interrupted`].
    pub fn basis(&self, id: String, table: &SourceTable, uids: &UidSet) -> Result<Basis, FlowError> {
        let Some((window, _)) = &self.survey.window else { return Ok(Basis { id, wanted: None }) };
        self.progress.stage("looking up UIDs", 0);
        let source = UidSource {
            table: &table.name,
            names: window.names(),
            charset: self.survey.charset,
            at_damage: AtDamage::of(self.plan),
            pace: self.pace,
            progress: self.progress,
        };
        let rows = source.rows_of(&mut self.plan.source.gateways.client(), uids);
        Ok(Basis { id, wanted: Some(rows.map_err(|error| error.at(format!("table {}", table.name)))?) })
    }

    fn read(&self, table: &SourceTable, ranges: &[KeyRange], basis: Option<&Basis>) -> Result<u64, FlowError> {
        let gateways = &self.plan.source.gateways;
        let wanted = match basis {
            Some(basis) => basis.wanted.clone(),
            None => self.survey.rows_of(table).map(WantedRows::from),
        };
        // Where nothing is wanted nothing is missing.
        let mut known = table.gaps.clone();
        known.retain(|gap| wanted.as_ref().is_none_or(|rows| rows.0.next(&gap.range).is_some()));
        let basis = basis.map(|basis| basis.id.as_str());
        // What is known not to be readable is recorded at once.
        gaps::merged(gaps::clipped(&known, ranges)).iter().try_for_each(|gap| self.put_gap(table, gap, basis))?;
        let ranges = match AtDamage::of(self.plan) {
            AtDamage::Fail => ranges.to_vec(),
            AtDamage::Skip => clip(ranges, &gaps::readable(&known)),
        };
        if ranges.is_empty() {
            return Ok(0);
        }
        self.progress.stage(format!("backing up {}", table.name), ranges.len() as u64);
        let queue = WorkQueue::new(ranges.into_iter().map(|range| ShardTask { range }));
        let reading = Reading { context: Arc::new(self.context(table, wanted)), queue: &queue, basis };
        let work = |client: &mut Client, task: ShardTask| {
            let range = task.range.clone();
            if let Some(is_done) = self.is_done
                && is_done(&table.name, &range)?
            {
                return Ok(false);
            }
            self.shard(&reading, client, task, table).map_err(|error| {
                // The others stop at their next page.
                reading.context.cancel_table.set();
                error.at(format!("shard {range}"))
            })
        };
        let mut shards = 0;
        let start = || gateways.client();
        let collect = |recorded: bool| shards += u64::from(recorded);
        work_through(self.plan.resources.connections, &queue, self.progress, start, work, collect)?;
        Ok(shards)
    }

    fn context(&self, table: &SourceTable, wanted: Option<WantedRows>) -> ExportContext {
        let Resources { connections, max_memory, page_bytes, .. } = self.plan.resources;
        // Per connection: a page being read and one being decoded, each with its index of cells, and a filling batch.
        let copy = if self.plan.verify_written { COPY_BYTES } else { 0 };
        let pages = 4 * page_bytes + copy;
        // Names stay for the whole run.
        let max_memory = max_memory.saturating_sub(self.survey.names.memory());
        let share = (max_memory / connections as u64).saturating_sub(pages);
        let batch_points = (share / (3 * BYTES_PER_POINT)).clamp(LEAST_BATCH, 1_000_000);
        let filling = connections as u64 * (pages + batch_points * BYTES_PER_POINT);
        let names: Arc<dyn Labels> = Arc::<Names>::clone(&self.survey.names);
        let files = EncodeContext {
            threads: self.threads.clone(),
            store: self.writer.store().clone(),
            paths: self.writer.paths().clone(),
            table: table.name.clone(),
            layouts: self.survey.detection.layouts.clone(),
            names,
            footer: EncodeContext::footer(self.writer.id(), self.survey.server.cluster_id.as_deref()),
            read_back: Arc::clone(&self.read_back),
        };
        ExportContext {
            files: Arc::new(files),
            kind: table.kind,
            rollups: table.rollups.clone(),
            charset: self.survey.charset,
            scan: self.pace.pages(ScanOptions {
                written_since: self.since_ms.get(&table.name).copied(),
                max_versions: self.survey.versions(self.plan, table),
                raw: self.survey.raw,
                page_bytes: page_bytes as usize,
                wanted,
                ..ScanOptions::default()
            }),
            batch_points: batch_points as usize,
            spare_batches: Mutex::default(),
            encode_budget: ByteBudget::new(max_memory.saturating_sub(filling).max(2 * batch_points * BYTES_PER_POINT)),
            attempts: Arc::clone(&self.attempts),
            regions: table.regions.clone(),
            pace: self.pace.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            cancel_table: Cancel::new(),
            at_damage: AtDamage::of(self.plan),
            note_uids: self.survey.window.is_some() && table.kind != TableKind::Uid,
        }
    }

    /// Exports one shard and records it, and what cannot be read of its keys. True when there is a shard.
    fn shard(
        &self,
        reading: &Reading<'_>,
        client: &mut Client,
        task: ShardTask,
        table: &SourceTable,
    ) -> Result<bool, FlowError> {
        let (started_ms, queue) = (time::now_ms(), reading.queue);
        let Exported { shard, gaps, rest } = match self.compared(reading, client, &task, table)? {
            Some(shard) => Exported { shard: Some(shard), gaps: Vec::new(), rest: Vec::new() },
            None => export_shard(&reading.context, client, task, &|| queue.hungry())?,
        };
        if let Some(outcome) = &shard {
            self.progress.wrote(outcome.files.iter().map(|file| file.size).sum());
            let metric = |uid: &[u8]| self.survey.names.metric(uid);
            let recorder = Recorder { threads: self.threads, writer: self.writer, metric: &metric };
            recorder.put(outcome, &table.name, started_ms, reading.basis)?;
        }
        gaps.iter().try_for_each(|gap| self.put_gap(table, gap, reading.basis))?;
        self.progress.more(rest.len() as u64);
        queue.put_back(rest.into_iter().rev().map(|range| ShardTask { range }));
        Ok(shard.is_some())
    }

    /// Exports what differs from the parent in a shard of it; `None` where nothing is compared.
    fn compared(
        &self,
        reading: &Reading<'_>,
        client: &mut Client,
        task: &ShardTask,
        table: &SourceTable,
    ) -> Result<Option<ShardOutcome>, FlowError> {
        let Some(contents) = self.parent else { return Ok(None) };
        let known = contents.manifest.tables.iter().find(|known| known.name == table.name);
        let Some(known) = known else { return Ok(None) };
        let shard = contents.shards.iter().find(|shard| shard.table == table.name && shard.range() == task.range);
        let Some(shard) = shard else {
            return Err(FlowError::damaged(format!("{} is no shard of the parent", task.range)));
        };
        let memory = ByteBudget::new(self.plan.resources.max_memory);
        let (threads, store) = (self.threads, self.writer.store());
        let tools = ReadTools { threads, store, memory: &memory, cancel: self.cancel, progress: self.progress };
        let against = Against { contents, table: known, tools, gateways: &self.plan.source.gateways };
        export_differences(&reading.context, &against, client, shard).map(Some)
    }

    fn put_gap(&self, table: &SourceTable, gap: &Gap, basis: Option<&str>) -> Result<(), FlowError> {
        let mut record = ShardRecord::of_gap(&table.name, GapRecord::new(gap, new_attempt()), time::now_ms());
        record.basis = basis.map(str::to_owned);
        Ok(self.threads.wait(self.writer.put_shard_record(record))?)
    }
}
