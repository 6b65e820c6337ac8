//! A full backup and its increments folded into one full backup, without the cluster.
//!
//! It is a backup whose source is a chain: planned, done by key ranges, each recorded, and committed as any other, so that
//! an interrupted one is resumed in the same way. What was merged stays until it is pruned.

use std::sync::Arc;
use std::time::Instant;

use crate::codec::{Decoder, SeriesNamer, UidEntry, read_uid_row};
use crate::flow::backup::commit::Committer;
use crate::flow::backup::export::ShardOutcome;
use crate::flow::backup::recorder::Recorder;
use crate::flow::backup::records::{Records, TableState};
use crate::flow::backup::{add_commit, is_uid, new_report};
use crate::flow::encode::{Attempts, EncodeContext, Labels, ReadBack, ShardDecoder, ShardEncoder};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::plan::{BYTES_PER_POINT, LEAST_BATCH};
use crate::flow::source::opentsdb_conf::OpentsdbConf;
use crate::flow::stored::backup_files::{ReadTools, load_manifest};
use crate::flow::stored::chain::Chain;
use crate::flow::{BackupReport, Cancel, FlowError, MergePlan, Progress};
use crate::manifest::{
    BackupKind, BackupWriter, Manifest, PlanRecord, PlannedJob, PlannedTable, Repository, RepositoryError, TableRecord,
};
use crate::model::{KeyLayout, KeyRange, LabelTable, PointBatch, SeriesTable, TableKind, UidKind, UidNames, time};
use crate::shard::clip;

/// Bytes of cells that a piece of work has at least.
const LEAST_PIECE: u64 = 16 << 20;
/// Bytes of cells that a piece of work has at most, where the backups were not cut into larger ones.
const MOST_PIECE: u64 = 512 << 20;

/// Merges a chain.
///
/// # Errors
/// [`FlowError::Input`] for what is no chain; [`FlowError::Damaged`]; the store's. What is recorded stays, and a later run
/// can resume it.
pub fn merge(plan: &MergePlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let start_time = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let repository = threads.wait(open_repository(plan))?;
    let lock = RepositoryLock::backup(&threads, &repository, plan.append_only)?;
    progress.stage("reading the manifests", 0);
    let tip = load_manifest(&threads, &plan.store, &plan.backup)?;
    if tip.kind == BackupKind::Window {
        return Err(FlowError::input(format!(
            "backup {} is a window: only a full backup and its increments make a full backup",
            tip.backup
        )));
    }
    let tip_id = tip.backup.clone();
    let chain = Chain::open(&threads, &plan.store, tip)?;
    let asked = asked(plan, &chain, &repository)?;
    let (writer, record) = match plan.resume {
        true => find_unfinished(&threads, &repository, &lock, &asked)?,
        false => {
            let writer = threads.wait(repository.begin_backup_beside(&tip_id))?;
            lock.works_on(writer.id())?;
            let record = threads.wait(writer.put_plan(asked))?;
            (writer, record)
        }
    };
    let memory = ByteBudget::new(plan.resources.max_memory);
    let tools = ReadTools { threads: &threads, store: &plan.store, memory: &memory, cancel, progress };
    let mut records = Records::default();
    let merging = Merging {
        plan,
        tools,
        chain: &chain,
        writer: &writer,
        names: Arc::new(StoredNames::read(tools, &chain, &record)?),
        conf: OpentsdbConf::recorded(record.opentsdb_conf.clone().unwrap_or_default(), record.rollup_config.clone())?,
        read_back: Arc::new(ReadBack::new(plan.verify_written)),
        record: &record,
    };
    let advice = || format!("merge into backup {} is unfinished; resume it with merge --resume", writer.id());
    merging.tables(&repository, &mut records).map_err(|error| FlowError::unfinished(advice(), error))?;
    let mut report = new_report(&record);
    let (append_only, threads) = (plan.append_only, &threads);
    let committer = Committer {
        threads,
        repository: &repository,
        lock: &lock,
        writer: &writer,
        plan: &record,
        append_only,
        progress,
        cancel,
    };
    let committed = committer.commit(&mut records).map_err(|error| FlowError::unfinished(advice(), error))?;
    add_commit(&mut report, committed);
    report.files_read_back = merging.read_back.files_read();
    report.bytes_read = progress.view().bytes_fetched;
    report.seconds = start_time.elapsed().as_secs_f64();
    Ok(report)
}

async fn open_repository(plan: &MergePlan) -> Result<Repository, RepositoryError> {
    // Where there is none, there is nothing to merge.
    Repository::open(plan.store.clone()).await?;
    match plan.weak_commit {
        true => Repository::init_or_open_weak(plan.store.clone()).await,
        false => Repository::init_or_open(plan.store.clone()).await,
    }
}

/// What is to be done, as the plan of a backup.
fn asked(plan: &MergePlan, chain: &Chain, repository: &Repository) -> Result<PlanRecord, FlowError> {
    let members: Vec<&Manifest> = chain.members().iter().map(|member| &member.manifest).collect();
    let (Some(base), Some(tip)) = (members.first(), members.last()) else {
        return Err(FlowError::damaged("a chain without members"));
    };
    if let Some(from) = &plan.from
        && !base.backup.starts_with(from.as_str())
    {
        return Err(FlowError::input(format!(
            "the chain of backup {} begins with {}, and not with {from}: only a whole chain makes a full backup",
            tip.backup, base.backup
        )));
    }
    if let Some(table) = members.iter().flat_map(|member| &member.tables).find(|table| !table.gaps.is_empty()) {
        return Err(FlowError::input(format!("table {} has gaps: a backup with gaps cannot be merged", table.name)));
    }
    if members.len() == 1 && base.raw {
        return Err(FlowError::input(format!(
            "backup {} is a --raw backup without increments: a merge keeps what is visible, and would drop the rest of it",
            base.backup
        )));
    }
    let table = |table: &TableRecord| PlannedTable {
        name: table.name.clone(),
        kind: table.kind,
        versions: chain.versions(table).unwrap_or(table.versions),
        descriptor: table.descriptor.clone(),
        described_by: table.described_by,
        split_keys: table.split_keys.clone(),
        since_ms: None,
        jobs: jobs(plan, chain, table).iter().map(PlannedJob::from).collect(),
    };
    Ok(PlanRecord {
        kind: BackupKind::Full,
        merged: members.iter().map(|member| member.backup.clone()).collect(),
        // It stands for the state that the last member's scan found.
        started_ms: tip.started_ms,
        layout: tip.layout,
        older_layouts: tip.older_layouts.clone(),
        layout_source: tip.layout_source,
        name_charset: tip.name_charset,
        opentsdb_conf: Some(tip.opentsdb_conf.clone()),
        rollup_config: tip.rollup_config.clone(),
        server: tip.server.clone(),
        commit_rule: repository.commit_rule(),
        names_read_ms: tip.started_ms,
        tables: tip.tables.iter().map(table).collect(),
        ..PlanRecord::default()
    })
}

/// The key ranges of a table: neighbours of the first member's shards, joined to pieces that are worth a file.
fn jobs(plan: &MergePlan, chain: &Chain, table: &TableRecord) -> Vec<KeyRange> {
    let shards = chain.shards(&table.name);
    let all: u64 = shards.iter().map(|(_, bytes)| bytes).sum();
    let pieces = 2 * plan.resources.connections as u64;
    let enough = (all / pieces.max(1)).clamp(LEAST_PIECE, MOST_PIECE);
    let mut joined: Vec<(KeyRange, u64)> = Vec::new();
    for (range, bytes) in shards {
        match joined.last_mut().filter(|(last, so_far)| last.stop == range.start && so_far + bytes <= enough) {
            Some((last, so_far)) => {
                last.stop = range.stop;
                *so_far += bytes;
            }
            None => joined.push((range, bytes)),
        }
    }
    joined.into_iter().map(|(range, _)| range).collect()
}

/// The newest unfinished merge of the same backups.
fn find_unfinished(
    threads: &Threads,
    repository: &Repository,
    lock: &RepositoryLock,
    asked: &PlanRecord,
) -> Result<(BackupWriter, PlanRecord), FlowError> {
    for backup in threads.wait(repository.unfinished())?.into_iter().rev() {
        let Ok(Some(record)) = threads.wait(repository.plan(&backup)) else { continue };
        if record.merged != asked.merged {
            continue;
        }
        if let Some(owner) = lock.claim(repository, &backup)? {
            return Err(FlowError::Locked(format!(
                "the merge into {backup} is still running ({owner}); wait until it has finished"
            )));
        }
        return Ok((threads.wait(repository.resume_backup(&backup))?, record));
    }
    let ids = asked.merged.join(", ");
    Err(FlowError::input(format!("there is no unfinished merge of {ids} to resume; run merge without --resume")))
}

/// A merge under way.
struct Merging<'a> {
    plan: &'a MergePlan,
    tools: ReadTools<'a>,
    chain: &'a Chain,
    writer: &'a BackupWriter,
    names: Arc<StoredNames>,
    conf: OpentsdbConf,
    read_back: Arc<ReadBack>,
    record: &'a PlanRecord,
}

impl Merging<'_> {
    /// Does what is missing of all tables, the UIDs last, as every backup does.
    fn tables(&self, repository: &Repository, records: &mut Records) -> Result<(), FlowError> {
        let (threads, record) = (self.tools.threads, self.record);
        for uids in [false, true] {
            records.refresh(threads, repository, self.writer)?;
            let known = records.sound().map(|record| record.shard.attempt.as_str());
            let attempts = Attempts::beside(known);
            let state = records.state(record);
            let basis = match (uids, &state.basis) {
                (false, _) => None,
                (true, Some(basis)) => Some(basis.clone()),
                (true, None) => Some(threads.wait(self.writer.put_basis(state.attempts(record)))?),
            };
            let tables = record.tables.iter().zip(&state.tables).filter(|(table, _)| is_uid(table) == uids);
            let pieces: Vec<(&PlannedTable, KeyRange)> = tables
                .flat_map(|(table, state)| {
                    clip(&table.ranges(), &TableState::unread(state)).into_iter().map(move |range| (table, range))
                })
                .collect();
            self.tools.progress.stage(if uids { "merging UIDs" } else { "merging" }, pieces.len() as u64);
            let queue = WorkQueue::new(pieces);
            let work = |(): &mut (), (table, range): (&PlannedTable, KeyRange)| {
                let place = format!("table {} {range}", table.name);
                self.piece(&attempts, table, range, basis.as_deref()).map_err(|error| error.at(place))
            };
            work_through(self.plan.resources.connections, &queue, self.tools.progress, || (), work, |()| {})?;
        }
        Ok(())
    }

    /// One key range to files, and their record.
    fn piece(
        &self,
        attempts: &Attempts,
        planned: &PlannedTable,
        range: KeyRange,
        basis: Option<&str>,
    ) -> Result<(), FlowError> {
        let started_ms = time::now_ms();
        let tip =
            self.chain.members().last().and_then(|tip| tip.manifest.tables.iter().find(|t| t.name == planned.name));
        let table = tip.ok_or_else(|| FlowError::damaged(format!("table {} is not in the chain", planned.name)))?;
        let rollups = self.conf.rollups().and_then(|rollups| rollups.table(&planned.name));
        let share = self.plan.resources.max_memory / self.plan.resources.connections.max(1) as u64;
        let batch_points = (share / 2 / (3 * BYTES_PER_POINT)).clamp(LEAST_BATCH, 1_000_000) as usize;
        let decoder = Decoder::new(planned.kind, self.record.layouts(), rollups).with_charset(self.record.name_charset);
        let mut decoder = ShardDecoder::new(decoder, batch_points, PointBatch::default());
        let (attempt, first_series) = attempts.next();
        let mut encoder =
            ShardEncoder::new(Arc::new(self.context(planned)), (attempt.clone(), first_series), PointBatch::default());
        let mut rows: Option<(Vec<u8>, Vec<u8>)> = None;
        self.chain.each_block(self.tools, table, &range, None, &mut |block| {
            let key = |at: usize| block.row(at).map(|row| row.key.to_vec());
            let of_block = key(0).zip(block.row_count().checked_sub(1).and_then(key));
            let first = rows.take().map(|(first, _)| first);
            rows = of_block.clone().map(|(start, last)| (first.unwrap_or(start), last));
            while !decoder.page(block) {
                let batch = decoder.take(encoder.take_used());
                encoder.encode(batch, rows.clone())?;
                if !decoder.is_inside_row() {
                    // What is left is of this block.
                    rows.clone_from(&of_block);
                }
            }
            Ok(())
        })?;
        let batch = decoder.take(encoder.take_used());
        encoder.encode(batch, rows)?;
        let tally = decoder.tally();
        let outcome = ShardOutcome::new(attempt, range, 0, tally, encoder.finish()?)?;
        self.tools.progress.counted(tally.cells, tally.points);
        self.tools.progress.wrote(outcome.files.iter().map(|file| file.size).sum());
        let metric = |uid: &[u8]| self.names.names.get(UidKind::Metric, uid).map(str::to_owned);
        let recorder = Recorder { threads: self.tools.threads, writer: self.writer, metric: &metric };
        recorder.put(&outcome, &planned.name, started_ms, basis)
    }

    fn context(&self, table: &PlannedTable) -> EncodeContext {
        let names: Arc<dyn Labels> = Arc::<StoredNames>::clone(&self.names);
        EncodeContext {
            threads: self.tools.threads.clone(),
            store: self.writer.store().clone(),
            paths: self.writer.paths().clone(),
            table: table.name.clone(),
            layouts: self.record.layouts(),
            names,
            footer: EncodeContext::footer(self.writer.id(), self.record.server.cluster_id.as_deref()),
            read_back: Arc::clone(&self.read_back),
        }
    }
}

/// The names that the UID table of a chain holds.
struct StoredNames {
    names: UidNames,
    layout: KeyLayout,
}

impl StoredNames {
    fn read(tools: ReadTools<'_>, chain: &Chain, record: &PlanRecord) -> Result<Self, FlowError> {
        let mut names = UidNames::new();
        let tip = chain.members().last().map(|tip| tip.manifest.tables.as_slice()).unwrap_or_default();
        tools.progress.stage("reading UIDs", 0);
        for table in tip.iter().filter(|table| table.kind == TableKind::Uid) {
            chain.each_block(tools, table, &KeyRange::all(), None, &mut |block| {
                for entry in block.rows().flat_map(read_uid_row) {
                    if let UidEntry::Reverse { kind, uid, name } = entry {
                        names.insert(kind, uid, &record.name_charset.decode(name));
                    }
                }
                Ok(())
            })?;
        }
        Ok(Self { names, layout: record.layout })
    }
}

impl Labels for StoredNames {
    fn labels(&self, series: &SeriesTable) -> Result<LabelTable, FlowError> {
        let mut labels = LabelTable::new();
        let mut namer = SeriesNamer::new(&self.layout, &self.names);
        for tsuid in series.iter() {
            // One without a name is shown in hex.
            let _complete = namer.name(tsuid, &mut labels);
        }
        Ok(labels)
    }
}
