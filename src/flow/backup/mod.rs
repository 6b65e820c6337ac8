//! Cluster to repository.
//!
//! Tables are read one after the other, data first and `tsdb-uid` last: a UID is assigned before data uses it, so no
//! data row of the backup names a UID that the backup lacks. Within a table all connections work on shards of it
//! ([`crate::flow::export`]). A shard that is done is recorded at once; the manifest comes last and commits the
//! backup.

mod asked;
pub mod catalogue;
mod delta_logs;
pub mod export;
mod resume;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::cluster::Client;
use crate::flow::backup::export::{Attempts, ExportContext, Exported, ReadBack, ShardOutcome, ShardTask, export_shard};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::old_gateways::considerate;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::engine::workers::work_through;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::descriptions::not_carried;
use crate::flow::source::gaps::{self, AtDamage, could_be_skipped};
use crate::flow::source::preflight::{self, ClusterSection};
use crate::flow::source::survey::{Survey, reach};
use crate::flow::source::tables::SourceTable;
use crate::flow::source::tally_scan::even_ranges;
use crate::flow::stored::{gaps as told, strays};
use crate::flow::{
    BackupPlan, BackupReport, Cancel, FlowError, OpentsdbConf, Progress, Resources, ResumedReport, TableReport,
};
use crate::manifest::{
    BackupWriter, CommitRule, FORMAT, Manifest, PlanRecord, Repository, RepositoryError, ShardOutcome as Recorded,
    ShardRecord, Totals,
};
use crate::model::{Gap, KeyRange, RawReason, TableKind, saturating_sum, time};
use crate::scan::ScanOptions;
use crate::shard::{clip, uncovered};

use catalogue::TableResult;
use resume::{KeptTable, Resumed};

/// What every manifest says about its exactness.
const EXACTNESS: &str = "every cell that the scan returned is rebuilt byte for byte: from typed columns where a proof at export \
                         showed that they rebuild it, from kept bytes otherwise";
const EXACTNESS_THRIFT1: &str =
    "latest versions only, read through a Thrift1 gateway; every cell that it returned is rebuilt byte for byte";
const WEAK_COMMIT: &str = "the backup is committed under the weaker rule of --weak-commit (put, wait, read back), without create-only \
                           puts; the manifest records it. Let nothing else write to this repository meanwhile";
/// The way out for a cluster that cannot be read as a whole.
const SKIP: &str = "repair it (HBase's HBCK2 tool), or run backup with --skip-unreadable (and --resume after a run that was interrupted): it \
                    copies everything else and records what is missing as gaps";
/// Bytes of a file that is kept until it is read back, with `verify_written` one on each connection.
const COPY_BYTES: u64 = 40 << 20;
/// Bytes that a point takes in a batch, its share of vectors that grow included.
const BYTES_PER_POINT: u64 = 48;

/// Backs up the source.
///
/// # Errors
/// Whatever stops a run. Nothing is committed then; finished shards stay behind, and a later run can resume from them
/// ([`FlowError::Unfinished`]).
pub fn backup(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    make(plan, progress, cancel).map_err(|error| match could_be_skipped(&error) && !plan.skip_unreadable {
        true => FlowError::unfinished(SKIP.into(), error),
        false => error,
    })
}

fn make(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let start_time = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    progress.stage("asking the gateways", 0);
    let cluster = ClusterSection::ask(&plan.source.gateways)?;
    let (manners, sparing) = considerate(&plan.source.gateways, &plan.manners)?;
    let pace = Pace::new(&manners, plan.resources.connections, progress, cancel);
    let to_resume = plan.resume.then(|| find_unfinished(plan, &threads)).transpose()?;
    let record = to_resume.as_ref().map(|found| &found.record);
    let survey = Survey::make(plan, record, progress, &pace)?;
    if survey.raw {
        require_raw(plan, &survey)?;
    }
    let mut report = new_report(plan, &survey);
    report.warnings.extend(cluster.section.warnings);
    report.warnings.extend(sparing);
    if plan.dry_run {
        let tables = survey.found.tables.iter();
        report.tables = tables.map(|t| catalogue::planned_table(t, survey.versions(plan, t))).collect();
        report.seconds = start_time.elapsed().as_secs_f64();
        return Ok(report);
    }
    let (start, repository, lock) = match to_resume {
        Some(Unfinished { repository, lock, writer, record }) => {
            let found = (writer, record);
            let resumed = resume::look_at(&threads, &repository, found, plan.resources.connections, progress, cancel)?;
            (resumed, repository, lock)
        }
        None => {
            let repository = threads.wait(open_repository(plan))?;
            let found = preflight::store_section(&threads, &repository, survey.server.cluster_id.as_deref())?;
            report.warnings.extend(found.warnings);
            let lock = RepositoryLock::backup(&threads, &repository, plan.append_only)?;
            report.warnings.extend(unfinished(&threads, &repository)?);
            let (writer, asked) = (repository.begin_backup(), survey.plan_record(plan, time::now_ms()));
            lock.works_on(writer.id())?;
            threads.wait(writer.put_plan(asked.clone()))?;
            (Resumed { writer, plan: asked, tables: BTreeMap::new(), problems: Vec::new() }, repository, lock)
        }
    };
    if repository.commit_rule() == CommitRule::ReadBack {
        report.warnings.push(WEAK_COMMIT.into());
    }
    let Resumed { writer, plan: PlanRecord { started_ms, .. }, tables: mut kept, problems } = start;
    report.resumed = plan.resume.then(|| ResumedReport { problems, ..ResumedReport::default() });
    let _canary = pace.watch(&plan.source.gateways, survey.found.tables.first().map(|table| table.name.as_str()));
    let known = kept.values().flat_map(|table| &table.shards).map(|shard| shard.attempt.as_str());
    let run = Run {
        plan,
        survey: &survey,
        threads: &threads,
        lock: &lock,
        writer: &writer,
        attempts: Arc::new(Attempts::beside(known)),
        read_back: Arc::new(ReadBack::new(plan.verify_written)),
        pace: &pace,
        progress,
        cancel,
    };
    let unfinished = |error| {
        let id = writer.id();
        let advice =
            format!("backup {id} is unfinished and nothing of it is committed; resume it with backup --resume");
        FlowError::unfinished(advice, error)
    };
    let results = run.tables(&mut kept, report.resumed.as_mut()).map_err(unfinished)?;
    let manifest = run.commit(&results, started_ms, start_time).map_err(unfinished)?;
    report.warnings.extend(run.remove_strays(&results, &manifest));
    report.files_read_back = run.read_back.files_read();
    report.warnings.extend(catalogue::other_salts(&manifest.tables));
    report.tables = manifest.tables.iter().map(TableReport::from).collect();
    report.warnings.extend(told::remedies(&manifest));
    report.backup = Some(manifest.backup);
    report.seconds = start_time.elapsed().as_secs_f64();
    report.bytes_read = manifest.totals.bytes_read;
    report.bytes_written = manifest.totals.bytes_written;
    report.back_off_seconds = pace.back_off_seconds();
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// Refuses what a raw backup needs and does not get.
fn require_raw(plan: &BackupPlan, survey: &Survey) -> Result<(), FlowError> {
    let mut client = plan.source.gateways.client();
    client.require_thrift2("read delete markers and hidden versions (--raw)")?;
    survey.found.tables.iter().try_for_each(|table| client.require_types(&table.name))?;
    survey.refuse_new_version_behavior()
}

/// A backup that is to be resumed.
struct Unfinished {
    repository: Repository,
    lock: RepositoryLock,
    writer: BackupWriter,
    record: PlanRecord,
}

/// Finds the backup that is to be resumed before the source is looked at: its plan says how.
fn find_unfinished(plan: &BackupPlan, threads: &Threads) -> Result<Unfinished, FlowError> {
    let reached = reach(&plan.source)?;
    let repository = threads.wait(open_repository(plan))?;
    let lock = RepositoryLock::backup(threads, &repository, plan.append_only)?;
    let (writer, record) = resume::find(threads, &repository, &lock, plan, &reached)?;
    Ok(Unfinished { repository, lock, writer, record })
}

/// A report of nothing yet.
fn new_report(plan: &BackupPlan, survey: &Survey) -> BackupReport {
    let mut report = BackupReport {
        backup: None,
        resumed: None,
        tables: Vec::new(),
        absent_tables: survey.found.absent.clone(),
        layout: *survey.detection.layouts.main(),
        older_layouts: survey.detection.layouts.older().to_vec(),
        layout_from: survey.detection.source.name().into(),
        not_held: survey.older_versions(plan),
        warnings: not_carried(&survey.found.tables)
            .into_iter()
            .map(|lost| format!("the backup does not hold {lost}"))
            .chain(survey.detection.warnings.iter().chain(&survey.detection.guessed).cloned())
            .collect(),
        seconds: 0.0,
        bytes_read: 0,
        bytes_written: 0,
        files_read_back: 0,
        peak_rss_bytes: 0,
        back_off_seconds: 0.0,
    };
    if plan.raw && plan.max_versions == i32::MAX {
        report.warnings.push(
            "a raw backup of all versions: live append and counter rows hold every overwritten version until HBase flushes \
             them, which can be many times the table; --max-versions sets a limit"
                .into(),
        );
    }
    report
}

/// Whoever starts a new backup may not know of one that could be resumed.
fn unfinished(threads: &Threads, repository: &Repository) -> Result<Vec<String>, FlowError> {
    let ids = threads.wait(repository.unfinished())?;
    let warning = |id: String| {
        format!(
            "backup {id} is unfinished or still running, and this run does not use it; resume it with backup --resume"
        )
    };
    Ok(ids.into_iter().map(warning).collect())
}

async fn open_repository(plan: &BackupPlan) -> Result<Repository, RepositoryError> {
    match plan.weak_commit {
        true => Repository::init_or_open_weak(plan.store.clone()).await,
        false => Repository::init_or_open(plan.store.clone()).await,
    }
}

struct Run<'a> {
    plan: &'a BackupPlan,
    survey: &'a Survey,
    threads: &'a Threads,
    lock: &'a RepositoryLock,
    writer: &'a BackupWriter,
    attempts: Arc<Attempts>,
    read_back: Arc<ReadBack>,
    pace: &'a Pace,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl Run<'_> {
    /// Exports what is missing of all tables beside what is `kept` of each.
    fn tables(
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
            self.put_record(self.record(outcome, &context.table, started_ms))?;
        }
        self.progress.more(rest.len() as u64);
        queue.put_back(rest.into_iter().rev().map(|range| ShardTask { range }));
        Ok((shard, gaps))
    }

    fn put_record(&self, record: ShardRecord) -> Result<(), FlowError> {
        let table = record.table.clone();
        if let Recorded::AlreadyRecorded(other) = self.threads.wait(self.writer.put_shard_record(record))? {
            let ShardRecord { shard, attempt, .. } = &*other;
            return Err(FlowError::Locked(format!(
                "shard {shard} of {table} was recorded by attempt {attempt}: another process works on backup {} at the same \
                 time; let one of them finish",
                self.writer.id()
            )));
        }
        Ok(())
    }

    /// Records the gaps of a table, each under a number of its own. Only the run that commits does: until then somebody
    /// may still read them.
    fn put_gaps(&self, result: &TableResult) -> Result<(), FlowError> {
        let now = time::now_ms();
        for gap in &result.record.gaps {
            self.put_record(ShardRecord {
                attempt: self.writer.attempt().to_string(),
                table: result.record.name.clone(),
                shard: gap.shard,
                start: gap.start.clone(),
                stop: gap.stop.clone(),
                started_ms: now,
                finished_ms: now,
                gap: Some(gap.clone()),
                ..ShardRecord::default()
            })?;
        }
        Ok(())
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

    /// Writes the catalogue and, last, the manifest.
    fn commit(&self, results: &[TableResult], started_ms: i64, start_time: Instant) -> Result<Manifest, FlowError> {
        self.progress.stage("committing", 0);
        results.iter().try_for_each(|result| self.put_gaps(result))?;
        let mut manifest = self.manifest(results, started_ms);
        let (names, append_only) = (&self.survey.names, self.plan.append_only);
        manifest.catalogue = catalogue::write(self.threads, self.writer, names, results, started_ms, append_only)?;
        manifest.finished_ms = time::now_ms();
        manifest.totals = Totals {
            seconds: start_time.elapsed().as_secs_f64(),
            bytes_read: self.progress.view().bytes_read,
            bytes_written: saturating_sum(results.iter().map(|result| result.record.bytes_written)),
            peak_rss_bytes: peak_rss_bytes(),
        };
        self.check_presence(results, &manifest)?;
        if self.cancel.is_set() {
            return Err(FlowError::Interrupted);
        }
        self.lock.assert_alive()?;
        Ok(self.threads.wait(self.writer.commit(manifest))?)
    }

    /// Files of attempts that this backup's runs lost. They do no harm, so neither does what keeps them from being removed;
    /// but somebody should know that they are there.
    fn remove_strays(&self, results: &[TableResult], manifest: &Manifest) -> Option<String> {
        let files = results.iter().flat_map(|result| result.files.iter());
        let shards = results.iter().flat_map(|result| result.shards.iter());
        let named = strays::named(manifest, files, shards);
        let left = strays::remove(self.threads, self.lock, self.writer, &named, self.plan.append_only);
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
    /// since it was written.
    fn check_presence(&self, results: &[TableResult], manifest: &Manifest) -> Result<(), FlowError> {
        let paths = self.writer.paths();
        let stored = self.threads.wait(self.writer.store().list(paths.folder()))?;
        let stored: HashMap<String, u64> = stored.into_iter().map(|entry| (entry.path, entry.size)).collect();
        let files = results.iter().flat_map(|result| &result.files).map(|file| (file.path.as_str(), file.size));
        let catalogue = manifest.catalogue.iter().map(|file| (file.path.as_str(), file.size));
        let altered = files.chain(catalogue).find(|(path, size)| stored.get(*path) != Some(size));
        let shards = results.iter().flat_map(|result| &result.shards);
        let gaps =
            manifest.tables.iter().flat_map(|table| table.gaps.iter().map(|gap| paths.shard(&table.name, gap.shard)));
        let mut records = shards.filter_map(|row| Some(paths.shard(&row.table, row.shard.parse().ok()?))).chain(gaps);
        let lost = records.find(|path| !stored.contains_key(path));
        match altered.map(|(path, _)| path.to_string()).or(lost) {
            None => Ok(()),
            Some(path) => Err(FlowError::damaged(format!(
                "{path} was stored and is missing or has another size now: somebody changes the repository; nothing is committed"
            ))),
        }
    }

    fn manifest(&self, results: &[TableResult], started_ms: i64) -> Manifest {
        let conf = self.survey.conf.as_ref();
        let layouts = &self.survey.detection.layouts;
        Manifest {
            started_ms,
            raw: self.survey.raw,
            exactness: exactness(self.survey.thrift1, results),
            layout: *layouts.main(),
            older_layouts: layouts.older().to_vec(),
            layout_source: self.survey.detection.source,
            name_charset: self.survey.charset,
            server: self.survey.server.clone(),
            opentsdb_conf: conf.map(OpentsdbConf::kept).unwrap_or_default(),
            rollup_config: conf.and_then(OpentsdbConf::rollup_text).map(str::to_string),
            tables: results
                .iter()
                .zip(0..)
                .map(|(result, order)| {
                    let mut record = result.record.clone();
                    record.order = order;
                    record
                })
                .collect(),
            ..Manifest::default()
        }
    }
}

fn exactness(thrift1: bool, results: &[TableResult]) -> String {
    let mut text = if thrift1 { EXACTNESS_THRIFT1 } else { EXACTNESS }.to_string();
    if results.iter().any(|result| !result.gaps.is_empty()) {
        text += "; keys that could not be read are missing and listed as gaps";
    }
    text
}

/// The shards of a table and its gaps, which there are only where they were asked for, cover all its keys once.
fn check_cover(result: &TableResult) -> Result<(), FlowError> {
    let shards = result.shards.iter().map(|shard| KeyRange::new(shard.start.clone(), shard.stop.clone()));
    let mut ranges: Vec<KeyRange> = shards.chain(gaps::ranges(&result.gaps)).collect();
    ranges.sort_by(|a, b| (&a.start, &a.stop).cmp(&(&b.start, &b.stop)));
    let overlap = ranges.windows(2).find(|pair| matches!(pair, [a, b] if a.stop.is_empty() || a.stop > b.start));
    let what = match (overlap, uncovered(&ranges).first()) {
        (Some([a, b]), _) => format!("shards {a} and {b} overlap"),
        (_, Some(missing)) => format!("no shard covers {missing}"),
        _ => return Ok(()),
    };
    Err(FlowError::damaged(format!("{what}; this is a defect, please report it")))
}

/// Raw reasons by their stable names.
pub fn by_name(reasons: &BTreeMap<RawReason, u64>) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| (reason.name().to_string(), *count)).collect()
}
