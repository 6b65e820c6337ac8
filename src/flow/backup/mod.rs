//! Cluster to repository.
//!
//! Three steps that share nothing but the store: the plan ([`plan`]), workers that read key ranges and record each shard
//! as soon as it is done ([`worker`]), and the commit ([`commit`]), whose manifest comes last. Tables are read one after
//! the other, data first and `tsdb-uid` last: a UID is assigned before data uses it, so no data row of the backup names a
//! UID that the backup lacks. Within a table all connections work on shards of it ([`export`]).
//!
//! An [`increment`] is such a backup of what has changed: its scans are raw and of a range of write times, or compared with
//! the parent's chain ([`compared`]). One may follow a full backup in the same run ([`catch_up`]). A [`merge`] is one whose source is a chain and no cluster.

mod apart;
mod asked;
pub mod catalogue;
mod catch_up;
mod commit;
mod compared;
mod delta_logs;
pub mod export;
mod increment;
mod labels;
mod merge;
mod plan;
mod recorder;
mod records;
mod resume;
mod snapshot;
mod worker;

pub use apart::{commit_backup, plan_backup, work};
pub use merge::merge;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::flow::backup::commit::{Committed, Committer};
use crate::flow::backup::plan::Begun;
use crate::flow::backup::records::{Records, TableState};
use crate::flow::backup::worker::Worker;
use crate::flow::encode::{Attempts, ReadBack};
use crate::flow::engine::old_gateways::considerate;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::source::gaps::could_be_skipped;
use crate::flow::source::preflight::ClusterSection;
use crate::flow::stored::gaps as told;
use crate::flow::{BackupPlan, BackupReport, Cancel, FlowError, Progress, TableReport};
use crate::manifest::{CommitRule, PlanRecord, PlannedTable};
use crate::model::{KeyRange, TableKind};
use crate::shard::clip;

const WEAK_COMMIT: &str = "the backup is committed under the weaker rule of --weak-commit (put, wait, read back), without create-only \
                           puts; the manifest records it. Let nothing else write to this repository meanwhile";
/// The way out for a cluster that cannot be read as a whole.
const SKIP: &str = "repair it (HBase's HBCK2 tool), or run backup with --skip-unreadable (and --resume after a run that was interrupted): it \
                    copies everything else and records what is missing as gaps";

/// Backs up the source, and makes a catch-up pass where one is asked for.
///
/// # Errors
/// Whatever stops a run. Nothing is committed then; finished shards stay behind, and a later run can resume from them
/// ([`FlowError::Unfinished`]).
pub fn backup(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let one = |plan: &BackupPlan| {
        make(plan, progress, cancel).map_err(|error| match could_be_skipped(&error) && !plan.skip_unreadable {
            true => FlowError::unfinished(SKIP.into(), error),
            false => error,
        })
    };
    let mut report = one(plan)?;
    if let Some(asked) = &plan.catch_up {
        catch_up::follow(plan, asked, &mut report, one)?;
    }
    Ok(report)
}

fn make(plan: &BackupPlan, progress: &Progress, cancel: &Cancel) -> Result<BackupReport, FlowError> {
    let (start_time, read_before) = (Instant::now(), progress.view().bytes_read);
    let threads = Threads::new(plan.resources.cpu)?;
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&plan.source.gateways)?;
    let (manners, sparing) = considerate(&plan.source.gateways, &plan.manners)?;
    let pace = Pace::new(&manners, plan.resources.connections, progress, cancel);
    let mut to_resume = plan.resume.then(|| plan::find_unfinished(plan, &threads)).transpose()?;
    let survey = plan::survey(plan, to_resume.as_mut(), &threads, progress, &pace)?;
    if plan.catch_up.is_some() {
        catch_up::require(&mut plan.source.gateways.client(), &survey)?;
    }
    if plan.dry_run {
        let asked = survey.plan_record(plan, 0);
        let mut report = new_report(&asked);
        report.warnings.extend(cluster.section.warnings.into_iter().chain(sparing));
        let tables = asked.tables.iter().zip(&survey.found.tables);
        report.tables = tables.map(|(planned, table)| catalogue::planned_table(planned, &table.gaps)).collect();
        report.catch_up_planned = plan.catch_up.is_some();
        report.seconds = start_time.elapsed().as_secs_f64();
        return Ok(report);
    }
    let begun = match to_resume {
        Some(begun) => begun,
        None => plan::begin(plan, &survey, &threads, progress)?,
    };
    let Begun { repository, lock, writer, record, warnings } = &begun;
    let mut records = match plan.resume {
        true => resume::check(&threads, repository, writer, plan.resources.connections, progress, cancel)?,
        false => Records::default(),
    };
    let mut report = new_report(record);
    report.resumed = plan.resume.then(|| resume::report(&records, record));
    report.warnings.extend(cluster.section.warnings.into_iter().chain(sparing).chain(warnings.iter().cloned()));
    if repository.commit_rule() == CommitRule::ReadBack {
        report.warnings.push(WEAK_COMMIT.into());
    }
    let _canary = pace.watch(&plan.source.gateways, survey.found.tables.first().map(|table| table.name.as_str()));
    let parent = increment::parent_contents(plan, record, &threads, progress, cancel)?;
    let known = records.sound().map(|record| record.shard.attempt.as_str());
    let worker = Worker {
        plan,
        survey: &survey,
        threads: &threads,
        writer,
        attempts: Arc::new(Attempts::beside(known)),
        parent: parent.as_ref(),
        since_ms: since(record),
        read_back: Arc::new(ReadBack::new(plan.verify_written)),
        pace: &pace,
        progress,
        cancel,
        is_done: None,
    };
    let unfinished = |error| {
        let (id, catch_up) = (writer.id(), if plan.catch_up.is_some() { " --catch-up" } else { "" });
        let advice = format!(
            "backup {id} is unfinished and nothing of it is committed; resume it with backup{catch_up} --resume"
        );
        FlowError::unfinished(advice, error)
    };
    let shards_read = read_tables(&worker, &begun, &mut records).map_err(unfinished)?;
    let (append_only, threads) = (plan.append_only, &threads);
    let committer = Committer { threads, repository, lock, writer, plan: record, append_only, progress, cancel };
    let committed = committer.commit(&mut records).map_err(unfinished)?;
    report.resumed.iter_mut().for_each(|resumed| resumed.shards_read = shards_read);
    report.files_read_back = worker.read_back.files_read();
    report.seconds = start_time.elapsed().as_secs_f64();
    report.back_off_seconds = pace.back_off_seconds();
    add_commit(&mut report, committed);
    report.bytes_read = progress.view().bytes_read.saturating_sub(read_before);
    Ok(report)
}

/// Reads what is missing of all tables, the UIDs last: rows that are read now may name ones that were not assigned when
/// these were read. Gives the number of shards.
fn read_tables(worker: &Worker<'_>, begun: &Begun, records: &mut Records) -> Result<u64, FlowError> {
    let Begun { repository, writer, record: plan, .. } = begun;
    let tables = || plan.tables.iter().zip(&worker.survey.found.tables).enumerate();
    let missing: Vec<Vec<KeyRange>> = records.state(plan).tables.iter().map(TableState::unread).collect();
    let mut shards = 0;
    for ((_, (planned, table)), missing) in tables().zip(&missing).filter(|((_, (planned, _)), _)| !is_uid(planned)) {
        shards += worker.table(table, &clip(&planned.ranges(), missing), None)?;
    }
    for (at, (planned, table)) in tables().filter(|(_, (planned, _))| is_uid(planned)) {
        records.refresh(worker.threads, repository, writer)?;
        let state = records.state(plan);
        let missing = state.tables.get(at).map(TableState::unread).unwrap_or_default();
        let ranges = clip(&planned.ranges(), &missing);
        if !ranges.is_empty() {
            let basis = match &state.basis {
                Some(basis) => basis.clone(),
                None => worker.threads.wait(writer.put_basis(state.attempts(plan)))?,
            };
            let basis = worker.basis(basis, table, &state.named_uids(plan))?;
            shards += worker.table(table, &ranges, Some(&basis))?;
        }
    }
    Ok(shards)
}

/// Since when the tables of a plan are read.
fn since(record: &PlanRecord) -> BTreeMap<String, i64> {
    record.tables.iter().filter_map(|table| Some((table.name.clone(), table.since_ms?))).collect()
}

fn is_uid(table: &PlannedTable) -> bool {
    table.kind == TableKind::Uid
}

/// A report of nothing yet.
fn new_report(plan: &PlanRecord) -> BackupReport {
    BackupReport {
        backup: None,
        kind: plan.kind.clone().into(),
        window: plan.window.clone(),
        resumed: None,
        tables: Vec::new(),
        absent_tables: plan.absent_tables.clone(),
        layout: plan.layout,
        older_layouts: plan.older_layouts.clone(),
        layout_from: plan.layout_source.name().into(),
        not_held: plan.not_held.clone(),
        warnings: plan.warnings.clone(),
        seconds: 0.0,
        bytes_read: 0,
        bytes_written: 0,
        files_read_back: 0,
        peak_rss_bytes: 0,
        back_off_seconds: 0.0,
        catch_up: None,
        catch_up_planned: false,
    }
}

/// What a commit adds to a report.
fn add_commit(report: &mut BackupReport, Committed { manifest, strays }: Committed) {
    report.warnings.extend(strays);
    report.warnings.extend(catalogue::other_salts(&manifest.tables));
    report.tables = manifest.tables.iter().map(TableReport::from).collect();
    report.warnings.extend(told::remedies(&manifest));
    report.bytes_read = manifest.totals.bytes_read;
    report.bytes_written = manifest.totals.bytes_written;
    report.peak_rss_bytes = peak_rss_bytes();
    report.backup = Some(manifest.backup);
}
