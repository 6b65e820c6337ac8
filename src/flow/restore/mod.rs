//! Repository to cluster: the backup read upwards.
//!
//! 1. The manifest and its catalogue are read and checked.
//! 2. Every target table is looked at before anything is written ([`target`]): missing ones will be created from the
//!    saved descriptor and split at the saved boundaries; a table with rows is refused unless told otherwise, and then
//!    its UIDs must agree.
//! 3. UIDs first, then trees, meta and data: each file is read, its cells are rebuilt and put in region-aligned batches
//!    by several connections ([`send`]). Every cell carries its own timestamp, so a batch may be sent twice.
//!    Each file that is sent is recorded ([`log`]), so that an interrupted restore can go on.
//! 4. What was sent must add up to what the manifest says; then the target is read back and must add up to the same.

mod by_hand;
mod create;
mod descriptors;
mod expiry;
mod fit;
mod log;
mod markers;
mod send;
mod target;
mod uids;

use std::time::Instant;

use crate::cluster::{Client, ClusterError};
use crate::flow::backup_files::{BackupContents, load_backup};
use crate::flow::lock::RepositoryLock;
use crate::flow::pace::Pace;
use crate::flow::preflight::{self, ClusterSection};
use crate::flow::rss::peak_rss_bytes;
use crate::flow::tally_scan::tally_table;
use crate::flow::threads::Threads;
use crate::flow::{Cancel, FlowError, Progress, RestorePlan, RestoreReport, RestoredTable};
use crate::manifest::{LockKind, Repository, TableRecord};
use crate::scan::ScanOptions;

use create::{make_namespaces, missing_namespaces};
use fit::{Fit, unproven};
use log::RestoreLog;
use send::Sent;
use target::{Target, plan_targets};

/// Restores a backup.
///
/// # Errors
/// [`FlowError::Refused`] before anything is written when a target is not fit; later errors leave a partly written
/// target, with which a later run can go on ([`FlowError::Unfinished`]), because puts carry their timestamps.
pub fn restore(plan: &RestorePlan, progress: &Progress, cancel: &Cancel) -> Result<RestoreReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let pace = Pace::new(&plan.manners, plan.resources.connections, progress, cancel);
    progress.stage("asking the gateways", 0);
    let mut client = plan.gateways.client();
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let store = preflight::store_section(&threads, &repository, None)?;
    let cluster = ClusterSection::ask(&plan.gateways)?;
    progress.stage("reading the manifest", 0);
    let lock = RepositoryLock::shared(&threads, &repository, LockKind::Restore, None)?;
    let mut cluster_id = None;
    let (contents, earlier) = if plan.resume {
        cluster_id = Some(client.cluster_id()?).filter(|id| !id.is_empty());
        let (contents, earlier) = log::find(&threads, &repository, plan, cluster_id.as_deref())?;
        (contents, Some(earlier))
    } else {
        (load_backup(&threads, &plan.store, &plan.backup)?, None)
    };
    lock.works_on(&contents.manifest.backup)?;
    let mut warnings = [cluster.section.warnings, store.warnings].concat();
    warnings.extend(lock.warning().map(str::to_owned));
    let fit = Fit { plan, threads: &threads, contents: &contents, progress };
    let targets = plan_targets(&mut client, &fit, earlier.as_ref(), &mut warnings)?;
    let attention = if plan.dry_run { unproven(&mut client, &targets)? } else { Vec::new() };
    let namespaces = missing_namespaces(&mut client, &targets, &mut warnings)?;
    warnings.extend(namespaces.iter().map(|name| format!("namespace {name} does not exist and is to be created")));
    let mut report = RestoreReport { attention, ..new_report(plan, &contents, warnings) };
    if !plan.dry_run {
        let mut log = match earlier {
            Some(earlier) => RestoreLog::resume(&threads, earlier)?,
            None => {
                cluster_id = cluster_id.or(Some(client.cluster_id()?).filter(|id| !id.is_empty()));
                RestoreLog::begin(&threads, &repository, &contents.manifest.backup, cluster_id, &targets)
            }
        };
        report.restore = log.id().map(str::to_string);
        let mut run = Run { plan, threads: &threads, contents: &contents, log: &mut log, pace: &pace, progress };
        let result = run.tables(&mut client, &namespaces, &targets, &mut report);
        result.map_err(|error| FlowError::unfinished(log.advice(), error))?;
        report.warnings.extend(log.finish(&threads, report.differences == 0));
    }
    let view = progress.view();
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = view.bytes_read;
    report.bytes_written = view.bytes_written;
    report.peak_rss_bytes = peak_rss_bytes();
    report.back_off_seconds = pace.back_off_seconds();
    Ok(report)
}

/// A report of nothing yet.
fn new_report(plan: &RestorePlan, contents: &BackupContents, warnings: Vec<String>) -> RestoreReport {
    RestoreReport {
        backup: contents.manifest.backup.clone(),
        restore: None,
        resumed: plan.resume,
        tables: Vec::new(),
        warnings,
        attention: Vec::new(),
        differences: 0,
        dry_run: plan.dry_run,
        seconds: 0.0,
        bytes_read: 0,
        bytes_written: 0,
        peak_rss_bytes: 0,
        back_off_seconds: 0.0,
    }
}

struct Run<'a> {
    plan: &'a RestorePlan,
    threads: &'a Threads,
    contents: &'a BackupContents,
    log: &'a mut RestoreLog,
    pace: &'a Pace,
    progress: &'a Progress,
}

impl Run<'_> {
    fn tables(
        &mut self,
        client: &mut Client,
        namespaces: &[String],
        targets: &[Target<'_>],
        report: &mut RestoreReport,
    ) -> Result<(), FlowError> {
        make_namespaces(client, namespaces)?;
        let mut missing: Vec<&Target<'_>> = targets.iter().filter(|target| target.create).collect();
        // What may be refused comes first, when nothing has been made yet.
        missing.sort_by_key(|target| !target.may_be_refused());
        for target in missing {
            target.make(client, &mut report.warnings)?;
        }
        client.disconnect();
        let _canary = self.pace.watch(&self.plan.gateways, targets.last().map(|target| target.name.as_str()));
        // The manifest lists tables in the order of a backup, UIDs last: a restore goes the other way round.
        for target in targets.iter().rev() {
            let table = self.table(target).map_err(|e| e.at(format!("table {}", target.name)))?;
            if self.plan.read_back && !target.had_rows && table.target_agrees.is_none() {
                report.warnings.push(format!(
                    "{} was not read back: it holds delete markers and hidden versions, which this gateway (HBase before \
                     2.2) does not tell from cells",
                    target.name
                ));
            }
            report.differences += u64::from(!table.sent_agrees) + u64::from(table.target_agrees == Some(false));
            if table.sent_agrees && table.target_agrees != Some(false) {
                report.attention.extend(target.finish(client)?);
            }
            report.tables.push(table);
        }
        Ok(())
    }

    fn table(&mut self, target: &Target<'_>) -> Result<RestoredTable, FlowError> {
        if !target.has_rows {
            self.log.forget(self.contents.files_of(&target.table.name));
        }
        let mut sent = self.send(target)?;
        let mut target_agrees = self.read_back(target)?;
        if target_agrees == Some(false) && sent.files_skipped > 0 {
            // Something happened to the target since the earlier run: what that one sent is sent again.
            self.log.forget(self.contents.files_of(&target.table.name));
            sent = self.send(target)?;
            target_agrees = self.read_back(target)?;
        }
        Ok(restored(target, &sent, target_agrees))
    }

    fn send(&self, target: &Target<'_>) -> Result<Sent, FlowError> {
        send::send_table(self.plan, self.threads, self.contents, target, self.log, self.pace, self.progress)
    }

    /// Whether the target holds what the backup does; `None` where it held other rows before, or cannot be read raw.
    fn read_back(&self, target: &Target<'_>) -> Result<Option<bool>, FlowError> {
        if !self.plan.read_back || target.had_rows {
            return Ok(None);
        }
        let options = read_options(target.table, self.contents.manifest.raw);
        if options.raw {
            match self.plan.gateways.client().require_types(&target.name) {
                Err(ClusterError::Untyped { .. }) => return Ok(None),
                other => other?,
            }
        }
        let (gateways, resources) = (&self.plan.gateways, &self.plan.resources);
        let found = tally_table(gateways, &target.name, &options, resources, self.pace, self.progress)?;
        Ok(Some(found.same_cells(&target.table.tally)))
    }
}

/// How a table is read so that it shows what the backup saw.
pub(crate) fn read_options(table: &TableRecord, raw: bool) -> ScanOptions {
    ScanOptions { max_versions: table.versions, raw, ..ScanOptions::default() }
}

fn restored(target: &Target<'_>, sent: &Sent, target_agrees: Option<bool>) -> RestoredTable {
    let mut all = sent.tally;
    all.add(&sent.skipped);
    RestoredTable {
        table: target.table.name.clone(),
        target: target.name.clone(),
        created: target.create,
        cells: sent.tally.cells,
        bytes: sent.tally.bytes,
        checksum: format!("{:016x}", all.checksum),
        files_skipped: sent.files_skipped,
        cells_skipped: sent.skipped.cells,
        sent_agrees: all.same_cells(&target.table.tally),
        target_agrees,
    }
}
