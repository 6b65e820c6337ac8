//! Repository to cluster: the backup read upwards.
//!
//! 1. The manifest and its catalogue are read and checked.
//! 2. Every target table is looked at before anything is written ([`target`]): missing ones will be created from the
//!    saved descriptor and split at the saved boundaries; a table with rows is refused unless told otherwise, and then
//!    its UIDs must agree.
//! 3. UIDs first, then trees, meta and data: each file is read, its cells are rebuilt and put in region-aligned batches
//!    by several connections ([`send`]). Every cell carries its own timestamp, so a batch may be sent twice.
//! 4. What was sent must add up to what the manifest says; then the target is read back and must add up to the same.

mod send;
mod target;

use std::time::Instant;

use crate::flow::backup_files::{BackupContents, load_backup};
use crate::flow::rss::peak_rss_bytes;
use crate::flow::tally_scan::tally_table;
use crate::flow::threads::Threads;
use crate::flow::{Cancel, FlowError, Progress, RestorePlan, RestoreReport, RestoredTable};
use crate::manifest::TableRecord;
use crate::model::Tally;
use crate::scan::ScanOptions;

use target::{Target, plan_targets};

/// Restores a backup.
///
/// # Errors
/// [`FlowError::Refused`] before anything is written when a target is not fit; later errors leave a partly written
/// target, and repeating the restore with `--into-existing` completes it, because puts carry their timestamps.
pub fn restore(plan: &RestorePlan, progress: &Progress, cancel: &Cancel) -> Result<RestoreReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    progress.stage("reading the manifest", 0);
    let contents = load_backup(&threads, &plan.store, &plan.backup)?;
    let mut client = plan.gateways.client();
    let mut warnings = Vec::new();
    let targets = plan_targets(&mut client, plan, &threads, &contents, &mut warnings)?;
    let mut report = RestoreReport {
        backup: contents.manifest.backup.clone(),
        tables: Vec::new(),
        warnings,
        differences: 0,
        dry_run: plan.dry_run,
        seconds: 0.0,
        bytes_read: 0,
        bytes_written: 0,
        peak_rss_bytes: 0,
    };
    if !plan.dry_run {
        for target in targets.iter().filter(|target| target.create) {
            target.make(&mut client)?;
        }
        // The manifest lists tables in the order of a backup, UIDs last: a restore goes the other way round.
        for target in targets.iter().rev() {
            let table = restore_table(plan, &threads, &contents, target, progress, cancel)
                .map_err(|e| e.at(format!("table {}", target.name)))?;
            report.differences += u64::from(!table.sent_agrees) + u64::from(table.target_agrees == Some(false));
            report.tables.push(table);
        }
    }
    let view = progress.view();
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = view.bytes_read;
    report.bytes_written = view.bytes_written;
    report.peak_rss_bytes = peak_rss_bytes();
    Ok(report)
}

fn restore_table(
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    target: &Target<'_>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<RestoredTable, FlowError> {
    let sent = send::send_table(plan, threads, contents, target, progress, cancel)?;
    let saved = target.table.tally;
    let mut target_agrees = None;
    if plan.read_back && !target.had_rows {
        let options = read_options(target.table, contents.manifest.raw);
        let found = tally_table(&plan.gateways, &target.name, &options, &plan.resources, progress, cancel)?;
        target_agrees = Some(found.same_cells(&saved));
    }
    Ok(restored(target, &sent, &saved, target_agrees))
}

/// How a table is read so that it shows what the backup saw.
pub(crate) fn read_options(table: &TableRecord, raw: bool) -> ScanOptions {
    ScanOptions { max_versions: table.versions, raw, ..ScanOptions::default() }
}

fn restored(target: &Target<'_>, sent: &Tally, saved: &Tally, target_agrees: Option<bool>) -> RestoredTable {
    RestoredTable {
        table: target.table.name.clone(),
        target: target.name.clone(),
        created: target.create,
        cells: sent.cells,
        bytes: sent.bytes,
        checksum: format!("{:016x}", sent.checksum),
        sent_agrees: sent.same_cells(saved),
        target_agrees,
    }
}
