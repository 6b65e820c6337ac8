//! Cluster to repository.
//!
//! Tables are read one after the other, data first and `tsdb-uid` last: a UID is assigned before data uses it, so no
//! data row of the backup names a UID that the backup lacks. Within a table all connections work on shards of it
//! ([`crate::flow::export`]). A shard that is done is recorded at once; the manifest comes last and makes the backup
//! exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::cluster::{Api, Client};
use crate::flow::budget::ByteBudget;
use crate::flow::catalogue::{self, TableResult};
use crate::flow::detect::{Detection, decide, sample_keys};
use crate::flow::export::{ExportContext, ShardOutcome, ShardTask, export_shard};
use crate::flow::inventory::table_report;
use crate::flow::names::{Names, read_names};
use crate::flow::plan::Source;
use crate::flow::queue::WorkQueue;
use crate::flow::rss::peak_rss_bytes;
use crate::flow::tables::{SourceTable, SourceTables};
use crate::flow::tally_scan::even_ranges;
use crate::flow::threads::Threads;
use crate::flow::workers::work_through;
use crate::flow::{BackupPlan, BackupReport, Cancel, FlowError, OpentsdbConf, Progress, Resources};
use crate::manifest::{BackupWriter, FORMAT, Manifest, Repository, ServerFacts, ShardRecord, Totals};
use crate::model::{KeyRange, RawReason, time};
use crate::scan::ScanOptions;

/// What every manifest says about its exactness.
const EXACTNESS: &str = "every cell that the scan returned is rebuilt byte for byte: from typed columns where a proof at export \
                         showed that they rebuild it, from kept bytes otherwise";
const EXACTNESS_THRIFT1: &str =
    "latest versions only, read through a Thrift1 gateway; every cell that it returned is rebuilt byte for byte";
/// Bytes that a point takes in a batch, its share of vectors that grow included.
const BYTES_PER_POINT: u64 = 48;

/// Backs up the source.
///
/// # Errors
/// Whatever stops a run. Nothing is committed then; finished shards stay behind as files that no backup names.
pub fn backup(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let begun = Instant::now();
    let started_ms = time::now_ms();
    let threads = Threads::new(plan.resources.cpu)?;
    let survey = Survey::make(&plan.source, progress, cancel)?;
    if plan.raw {
        plan.source.gateways.client().require_thrift2("read delete markers and hidden versions (--raw)")?;
    }
    let mut report = BackupReport {
        backup: None,
        tables: Vec::new(),
        absent_tables: survey.found.absent.clone(),
        layout: survey.detection.layout,
        layout_from: survey.detection.source.name().into(),
        warnings: survey.detection.warnings.clone(),
        seconds: 0.0,
        bytes_read: 0,
        bytes_written: 0,
        peak_rss_bytes: 0,
    };
    if plan.raw && plan.max_versions == i32::MAX {
        report.warnings.push(
            "a raw backup of all versions: live append and counter rows hold every overwritten version until HBase flushes \
             them, which can be many times the table; --max-versions sets a limit"
                .into(),
        );
    }
    if plan.dry_run {
        report.tables =
            survey.found.tables.iter().map(|t| catalogue::planned_table(t, versions(plan, &survey, t))).collect();
        report.seconds = begun.elapsed().as_secs_f64();
        return Ok(report);
    }
    let repository = threads.wait(Repository::init_or_open(plan.store.clone()))?;
    for unfinished in threads.wait(repository.unfinished())? {
        report
            .warnings
            .push(format!("backup {unfinished} was begun and not finished, or is still running; it is not used"));
    }
    let writer = repository.begin_backup();
    let run = Run { plan, survey: &survey, threads: &threads, writer: &writer, progress, cancel };
    let mut results = Vec::new();
    let mut first_shard = 0;
    for table in &survey.found.tables {
        let result = run.table(table, first_shard).map_err(|e| e.at(format!("table {}", table.name)))?;
        first_shard += result.shards.len() as u32;
        results.push(result);
    }
    progress.stage("committing", 0);
    let mut manifest = run.manifest(&results, started_ms);
    manifest.catalogue = catalogue::write(&threads, &writer, &survey.names, &results)?;
    let view = progress.view();
    manifest.finished_ms = time::now_ms();
    manifest.totals = Totals {
        seconds: begun.elapsed().as_secs_f64(),
        bytes_read: view.bytes_read,
        bytes_written: results.iter().map(|result| result.record.bytes_written).sum(),
        peak_rss_bytes: peak_rss_bytes(),
    };
    if cancel.is_set() {
        return Err(FlowError::Interrupted);
    }
    let manifest = threads.wait(writer.commit(manifest))?;
    report.backup = Some(manifest.backup);
    report.tables = manifest.tables.iter().map(table_report).collect();
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = manifest.totals.bytes_read;
    report.bytes_written = manifest.totals.bytes_written;
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

/// Versions per column that a scan of the table asks for. Through Thrift1 there is one, and the manifest says so.
fn versions(plan: &BackupPlan, survey: &Survey, table: &SourceTable) -> i32 {
    match plan.raw {
        true => plan.max_versions,
        false if survey.thrift1 => 1,
        false => table.versions(),
    }
}

/// What is known before the first shard.
struct Survey {
    found: SourceTables,
    names: Arc<Names>,
    detection: Detection,
    server: ServerFacts,
    thrift1: bool,
}

impl Survey {
    fn make(source: &Source, progress: &Progress, cancel: &Cancel) -> Result<Self, FlowError> {
        progress.stage("looking at the tables", 0);
        let mut client = source.gateways.client();
        let found = SourceTables::find(&mut client, &source.names, source.conf.as_ref())?;
        progress.stage("reading names", 0);
        let uid_table = found.uid().map_or("", |table| table.name.as_str()).to_string();
        let (names, facts) = read_names(&mut client, &uid_table, cancel)?;
        let keys = found.data().map(|data| sample_keys(&mut client, data)).transpose()?.unwrap_or_default();
        let detection = decide(source.conf.as_ref(), &source.layout, &facts, &names, &keys)?;
        let info = client.gateway()?;
        let server = ServerFacts {
            cluster_id: Some(client.cluster_id()?).filter(|id| !id.is_empty()),
            api: info.api.to_string().to_lowercase(),
            transport: info.transport.to_string(),
            addresses: source.gateways.survey().into_iter().map(|(address, _)| address.to_string()).collect(),
            ..ServerFacts::default()
        };
        let thrift1 = info.api == Api::Thrift1;
        let names = Arc::new(Names::new(names, client, &uid_table, detection.layout));
        Ok(Self { found, names, detection, server, thrift1 })
    }
}

struct Run<'a> {
    plan: &'a BackupPlan,
    survey: &'a Survey,
    threads: &'a Threads,
    writer: &'a BackupWriter,
    progress: &'a Progress,
    cancel: &'a Cancel,
}

impl Run<'_> {
    /// Exports one table with all connections.
    fn table(&self, table: &SourceTable, first_shard: u32) -> Result<TableResult, FlowError> {
        let Resources { connections, .. } = self.plan.resources;
        let gateways = &self.plan.source.gateways;
        let ranges = even_ranges(gateways, &table.name, connections)?;
        self.progress.stage(format!("backing up {}", table.name), ranges.len() as u64);
        let context = Arc::new(self.context(table, first_shard));
        let queue = WorkQueue::new(ranges.into_iter().map(|range| ShardTask { range }));
        let mut result = TableResult::new(table, versions(self.plan, self.survey, table));
        let work = |client: &mut Client, task: ShardTask| {
            let range = task.range.clone();
            self.shard(&context, client, task, &queue).map_err(|error| {
                // The others stop at their next page.
                context.cancel_table.set();
                error.at(format!("shard {range}"))
            })
        };
        let start = || gateways.client();
        work_through(connections, &queue, self.progress, start, work, |outcome| result.add(outcome))?;
        Ok(result)
    }

    fn context(&self, table: &SourceTable, first_shard: u32) -> ExportContext {
        let Resources { connections, max_memory, page_bytes, .. } = self.plan.resources;
        // Per connection: a page being read and one being decoded, each with its index of cells, and a filling batch.
        let pages = 4 * page_bytes;
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
            layout: self.survey.detection.layout,
            names: Arc::clone(&self.survey.names),
            scan: ScanOptions {
                max_versions: versions(self.plan, self.survey, table),
                raw: self.plan.raw,
                page_bytes: page_bytes as usize,
                ..ScanOptions::default()
            },
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
            first_shard,
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
            cancel_table: Cancel::new(),
        }
    }

    /// Exports one shard and records it.
    fn shard(
        &self,
        context: &Arc<ExportContext>,
        client: &mut Client,
        task: ShardTask,
        queue: &WorkQueue<ShardTask>,
    ) -> Result<ShardOutcome, FlowError> {
        let started_ms = time::now_ms();
        let outcome = export_shard(context, client, task, &|| queue.hungry())?;
        self.progress.wrote(outcome.files.iter().map(|file| file.size).sum());
        let record = self.record(&outcome, &context.table, started_ms);
        self.threads.wait(self.writer.put_shard_record(record))?;
        self.progress.more(outcome.rest.len() as u64);
        queue.put_back(outcome.rest.iter().rev().map(|range: &KeyRange| ShardTask { range: range.clone() }));
        Ok(outcome)
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
            files: outcome.files.clone(),
            ..ShardRecord::default()
        };
        record.set_metrics(catalogue::metric_counts(&outcome.metrics, &self.survey.names));
        record
    }

    fn manifest(&self, results: &[TableResult], started_ms: i64) -> Manifest {
        let conf = self.plan.source.conf.as_ref();
        Manifest {
            started_ms,
            raw: self.plan.raw,
            exactness: if self.survey.thrift1 { EXACTNESS_THRIFT1 } else { EXACTNESS }.into(),
            layout: self.survey.detection.layout,
            layout_source: self.survey.detection.source,
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

/// Raw reasons by their stable names.
pub fn by_name(reasons: &BTreeMap<RawReason, u64>) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| (reason.name().to_string(), *count)).collect()
}

/// Points by metric UID of several shards together.
pub type MetricMap = HashMap<Vec<u8>, crate::flow::export::MetricTally>;
