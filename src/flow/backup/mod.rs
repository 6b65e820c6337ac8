//! Cluster to repository.
//!
//! Three steps that share nothing but the store: the plan ([`plan`]), workers that read key ranges and record each shard
//! as soon as it is done ([`worker`]), and the commit ([`commit`]), whose manifest comes last. Tables are read one after
//! the other, data first and `tsdb-uid` last: a UID is assigned before data uses it, so no data row of the backup names a
//! UID that the backup lacks. Within a table all connections work on shards of it ([`export`]).

mod asked;
pub mod catalogue;
mod commit;
mod delta_logs;
pub mod export;
mod plan;
mod resume;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use crate::flow::backup::commit::Committer;
use crate::flow::backup::export::{Attempts, ReadBack};
use crate::flow::backup::plan::Unfinished;
use crate::flow::backup::resume::Resumed;
use crate::flow::backup::worker::Worker;
use crate::flow::engine::old_gateways::considerate;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::source::descriptions::not_carried;
use crate::flow::source::gaps::could_be_skipped;
use crate::flow::source::preflight::ClusterSection;
use crate::flow::source::survey::Survey;
use crate::flow::stored::gaps as told;
use crate::flow::{BackupPlan, BackupReport, Cancel, FlowError, Progress, ResumedReport, TableReport};
use crate::manifest::{CommitRule, PlanRecord};

const WEAK_COMMIT: &str = "the backup is committed under the weaker rule of --weak-commit (put, wait, read back), without create-only \
                           puts; the manifest records it. Let nothing else write to this repository meanwhile";
/// The way out for a cluster that cannot be read as a whole.
const SKIP: &str = "repair it (HBase's HBCK2 tool), or run backup with --skip-unreadable (and --resume after a run that was interrupted): it \
                    copies everything else and records what is missing as gaps";
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
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&plan.source.gateways)?;
    let (manners, sparing) = considerate(&plan.source.gateways, &plan.manners)?;
    let pace = Pace::new(&manners, plan.resources.connections, progress, cancel);
    let to_resume = plan.resume.then(|| plan::find_unfinished(plan, &threads)).transpose()?;
    let record = to_resume.as_ref().map(|found| &found.record);
    let survey = plan::survey(plan, record, progress, &pace)?;
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
        None => plan::begin(plan, &survey, &threads, &mut report.warnings)?,
    };
    if repository.commit_rule() == CommitRule::ReadBack {
        report.warnings.push(WEAK_COMMIT.into());
    }
    let Resumed { writer, plan: PlanRecord { started_ms, .. }, tables: mut kept, problems } = start;
    report.resumed = plan.resume.then(|| ResumedReport { problems, ..ResumedReport::default() });
    let _canary = pace.watch(&plan.source.gateways, survey.found.tables.first().map(|table| table.name.as_str()));
    let known = kept.values().flat_map(|table| &table.shards).map(|shard| shard.attempt.as_str());
    let worker = Worker {
        plan,
        survey: &survey,
        threads: &threads,
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
    let results = worker.tables(&mut kept, report.resumed.as_mut()).map_err(unfinished)?;
    let committer = Committer {
        survey: &survey,
        threads: &threads,
        lock: &lock,
        writer: &writer,
        append_only: plan.append_only,
        progress,
        cancel,
    };
    let manifest = committer.commit(&results, started_ms, start_time).map_err(unfinished)?;
    report.warnings.extend(committer.remove_strays(&results, &manifest));
    report.files_read_back = worker.read_back.files_read();
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
