//! Repository to cluster: the backup read upwards.
//!
//! 1. The manifest and its catalogue are read and checked.
//! 2. Every target table is looked at before anything is written ([`target`]): missing ones will be created from the
//!    saved descriptor and split at the saved boundaries; a table with rows is refused unless told otherwise. UIDs must
//!    mean the same there ([`uids`]), and no delete marker may cover what is restored ([`markers`]).
//! 3. UIDs first, then trees, meta and data: each file is read, its cells are rebuilt and put in region-aligned batches
//!    by several connections ([`send`]). Every cell carries its own timestamp, so a batch may be sent twice.
//!    Each file that is sent is recorded ([`log`]), so that an interrupted restore can be resumed.
//! 4. What was sent must add up to what the manifest says; then the target is read back: a new table must add up to the
//!    same, and where it does not, or the table held rows before, every cell of the backup must be among those that the
//!    target shows ([`contain`]). What earlier runs sent is proven with the rest.

pub mod attributes;
mod by_hand;
mod contain;
mod create;
mod descriptors;
mod expiry;
mod fit;
mod log;
mod markers;
mod send;
mod target;
mod uids;
mod view;

use std::time::Instant;

use crate::cluster::Client;
use crate::flow::compare::{Comparison, Found};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::rss::peak_rss_bytes;
use crate::flow::engine::threads::Threads;
use crate::flow::locking::lock::RepositoryLock;
use crate::flow::source::descriptions::describe;
use crate::flow::source::preflight::{self, ClusterSection};
use crate::flow::source::tally_scan::tally_table;
use crate::flow::stored::backup_files::{BackupContents, load_backup, require_files};
use crate::flow::stored::gaps;
use crate::flow::{Cancel, FlowError, Progress, RestorePlan, RestoreReport, RestoredTable};
use crate::manifest::{LockKind, Repository};
use crate::put::Refused;

use contain::TargetJudge;
use create::{make_namespaces, missing_namespaces};
use fit::{Fit, unproven};
use log::RestoreLog;
use markers::{Coverage, Scene};
use send::Sent;
use target::{Target, plan_targets};
use view::Reading;

/// Differing cells that a report names at most.
const MAX_NAMED: usize = 100;

/// Restores a backup.
///
/// # Errors
/// [`FlowError::Refused`] before anything is written when a target is not fit; later errors leave a partly written
/// target, which a later run can resume ([`FlowError::Unfinished`]), because puts carry their timestamps.
pub fn restore(plan: &RestorePlan, progress: &Progress, cancel: &Cancel) -> Result<RestoreReport, FlowError> {
    let begun = Instant::now();
    let threads = Threads::new(plan.resources.cpu)?;
    let pace = Pace::new(&plan.manners, plan.resources.connections, progress, cancel);
    let mut client = plan.gateways.client();
    let repository = threads.wait(Repository::open(plan.store.clone()))?;
    let store = preflight::store_section(&threads, &repository, None)?;
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
    progress.stage("connecting", 0);
    let cluster = ClusterSection::ask(&plan.gateways)?;
    lock.works_on(&contents.manifest.backup)?;
    require_files(&threads, &plan.store, &contents, &plan.tables)?;
    let mut warnings = [cluster.section.warnings, store.warnings].concat();
    warnings.extend(lock.warning().map(str::to_owned));
    let fit = Fit { plan, threads: &threads, contents: &contents, progress };
    let targets = plan_targets(&mut client, &fit, earlier.as_ref(), &mut warnings)?;
    let memory = ByteBudget::new(plan.resources.max_memory);
    let scene = Scene { plan, threads: &threads, contents: &contents, pace: &pace, progress, memory };
    uids::check(&scene, &mut client, &targets, &mut warnings)?;
    let coverage = markers::survey(&scene, &mut client, &targets, &mut warnings)?;
    let mut attention = if plan.dry_run { unproven(&mut client, &targets)? } else { Vec::new() };
    attention.extend(gaps::not_restored(targets.iter().map(|target| target.table)));
    let namespaces = missing_namespaces(&mut client, &targets, &mut warnings)?;
    warnings.extend(namespaces.iter().map(|name| format!("namespace {name} does not exist and is to be created")));
    let mut report = RestoreReport { attention, ..new_report(plan, &contents, warnings) };
    report.gaps = targets.iter().map(|target| target.table.gaps.len() as u64).sum();
    if plan.dry_run {
        report.planned = targets.iter().map(Target::planned).collect();
    } else {
        let mut log = match earlier {
            Some(earlier) => RestoreLog::resume(&threads, earlier, plan.read_back)?,
            None => {
                cluster_id = cluster_id.or(Some(client.cluster_id()?).filter(|id| !id.is_empty()));
                RestoreLog::begin(&threads, &repository, &contents.manifest.backup, cluster_id, &targets)
            }
        };
        report.restore = log.id().map(str::to_string);
        let mut run = Run { scene: &scene, log: &mut log };
        let result = run.tables(&mut client, &namespaces, &targets, &coverage, &mut report);
        // A refusal has its own ways out.
        result.map_err(|error| match error {
            FlowError::Refused(_) => error,
            error => FlowError::unfinished(log.advice(), error),
        })?;
        report.warnings.extend(log.finish(&threads, report.differences == 0 && !report.lacks_cells()));
    }
    let view = progress.view();
    report.seconds = begun.elapsed().as_secs_f64();
    report.bytes_read = view.bytes_read;
    report.repository_bytes_read = view.bytes_fetched;
    report.cluster_bytes_read = view.bytes_read.saturating_sub(view.bytes_fetched);
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
        planned: Vec::new(),
        warnings,
        attention: Vec::new(),
        gaps: 0,
        differences: 0,
        cells_named: Vec::new(),
        dry_run: plan.dry_run,
        seconds: 0.0,
        bytes_read: 0,
        repository_bytes_read: 0,
        cluster_bytes_read: 0,
        bytes_written: 0,
        peak_rss_bytes: 0,
        back_off_seconds: 0.0,
    }
}

struct Run<'s, 'a> {
    scene: &'s Scene<'a>,
    log: &'s mut RestoreLog,
}

impl Run<'_, '_> {
    fn tables(
        &mut self,
        client: &mut Client,
        namespaces: &[String],
        targets: &[Target<'_>],
        coverage: &[Coverage],
        report: &mut RestoreReport,
    ) -> Result<(), FlowError> {
        make_namespaces(client, namespaces)?;
        let mut missing: Vec<&Target<'_>> = targets.iter().filter(|target| target.create).collect();
        // What may be refused comes first, when nothing has been made yet.
        missing.sort_by_key(|target| !target.may_be_refused());
        for target in missing {
            target.make(client, &mut report.warnings)?;
            self.log.made(self.scene.threads, &target.name);
        }
        client.disconnect();
        let plan = self.scene.plan;
        let _canary = self.scene.pace.watch(&plan.gateways, targets.last().map(|target| target.name.as_str()));
        // The manifest lists tables in the order of a backup, UIDs last: a restore goes the other way round.
        for (target, coverage) in targets.iter().zip(coverage).rev() {
            let (sent, found) = self.table(target, coverage).map_err(|e| e.at(format!("table {}", target.name)))?;
            let table = restored(target, &sent, found.as_ref());
            report.attention.extend(what_was_refused(target, &sent.refused));
            report.attention.extend(found.as_ref().and_then(|found| not_shown(target, found)));
            report.warnings.extend(found.as_ref().and_then(|found| not_looked_for(target, found)));
            report.differences += u64::from(!table.sent_agrees || table.target_agrees == Some(false));
            let named = found.into_iter().flat_map(|found| found.named);
            report.cells_named.extend(named.take(MAX_NAMED.saturating_sub(report.cells_named.len())));
            report.warnings.extend(remarks(target, &table));
            if table.sent_agrees && table.target_agrees != Some(false) && sent.refused.is_empty() {
                report.attention.extend(target.finish(client)?);
            }
            report.tables.push(table);
        }
        Ok(())
    }

    fn table(&mut self, target: &Target<'_>, coverage: &Coverage) -> Result<(Sent, Option<Found>), FlowError> {
        if !target.has_rows {
            self.log.forget(self.scene.contents.files_of(&target.table.name));
        }
        let mut sent = send::send_table(self.scene, target, coverage, self.log)?;
        let mut found = self.read_back(target, &sent)?;
        if sent.files_skipped > 0 && found.as_ref().is_some_and(|found| !agrees(found, &sent)) {
            // Something happened to the target since the earlier run: what that one sent is sent again.
            self.log.forget(self.scene.contents.files_of(&target.table.name));
            sent = send::send_table(self.scene, target, coverage, self.log)?;
            found = self.read_back(target, &sent)?;
        }
        Ok((sent, found))
    }

    /// What the target lacks of the backup; `None` when nobody wants to know.
    fn read_back(&self, target: &Target<'_>, sent: &Sent) -> Result<Option<Found>, FlowError> {
        let Scene { plan, threads, contents, pace, progress, .. } = *self.scene;
        if !plan.read_back {
            return Ok(None);
        }
        let client = &mut plan.gateways.client();
        let (descriptor, _) = describe(client, &target.name, &[])?;
        let reading = Reading::new(client, target, &descriptor, contents.manifest.raw)?;
        client.disconnect();
        let options = &reading.options;
        if !target.had_rows && sent.new_timestamps == 0 && reading.equal_is_enough() {
            let mut found = tally_table(&plan.gateways, &target.name, options, &plan.resources, pace, progress)?;
            found.add(&sent.refused.tally);
            if found.same_cells(&target.table.tally) {
                return Ok(Some(Found::default()));
            }
        }
        let judge = TargetJudge::new(target.table, &descriptor, &reading, sent);
        let comparison = Comparison {
            gateways: &plan.gateways,
            threads,
            store: &plan.store,
            contents,
            table: target.table,
            name: &target.name,
            options: pace.pages(options.clone()),
            connections: plan.resources.connections,
            memory: self.scene.memory.clone(),
            pace,
            progress,
            judge: &judge,
            max_named: MAX_NAMED,
        };
        comparison.run().map(Some)
    }
}

/// Whether the target shows all cells of the backup, no other ones than were sent so with new timestamps.
fn agrees(found: &Found, sent: &Sent) -> bool {
    found.by_kind.is_empty() && found.new_timestamps == sent.new_timestamps
}

/// What somebody should know about a table that was restored.
fn remarks(target: &Target<'_>, table: &RestoredTable) -> Vec<String> {
    let mut remarks = Vec::new();
    if table.also_there > 0 && !target.had_rows {
        remarks.push(format!(
            "table {} held no rows before the restore, and now shows {} cells that the backup lacks: something else writes to it",
            target.name, table.also_there
        ));
    }
    if table.hidden_dropped > 0 {
        remarks.push(format!(
            "HBase has dropped {} of the hidden cells and delete markers that were written to {}, as it does at any flush or \
             compaction; what readers see is as it was",
            table.hidden_dropped, target.name
        ));
    }
    remarks
}

/// Versions that nobody has seen in the target.
fn not_shown(target: &Target<'_>, found: &Found) -> Option<String> {
    (found.not_shown > 0).then(|| {
        format!(
            "table {}: {} older versions were sent and not read back: the gateway speaks Thrift1, which shows the latest \
             version of a cell only; the same restore with --into-existing through a Thrift2 gateway reads them back",
            target.name, found.not_shown
        )
    })
}

/// What readers do not see, where nothing else was read back.
fn not_looked_for(target: &Target<'_>, found: &Found) -> Option<String> {
    (found.hidden > 0).then(|| {
        format!(
            "table {}: what readers see was read back; {} hidden versions and delete markers were sent and not looked for",
            target.name, found.hidden
        )
    })
}

/// What the cluster did not take, and how to restore it all the same.
fn what_was_refused(target: &Target<'_>, refused: &Refused) -> Option<String> {
    let cells = refused.tally.cells;
    let count = if cells == 1 { "1 cell was".to_owned() } else { format!("{cells} cells were") };
    (cells > 0).then(|| {
        format!(
            "table {}: {count} refused, the others were sent: {}; once the cause is removed, restore --resume sends \
             the rest",
            target.name,
            refused.named.join("; ")
        )
    })
}

fn restored(target: &Target<'_>, sent: &Sent, found: Option<&Found>) -> RestoredTable {
    let mut all = sent.tally;
    all.add(&sent.skipped);
    all.add(&sent.refused.tally);
    RestoredTable {
        table: target.table.name.clone(),
        target: target.name.clone(),
        created: target.create,
        cells: sent.tally.cells,
        bytes: sent.tally.bytes,
        checksum: format!("{:016x}", all.checksum),
        files_skipped: sent.files_skipped,
        cells_skipped: sent.skipped.cells,
        cells_refused: sent.refused.tally.cells,
        sent_agrees: all.same_cells(&target.table.tally),
        target_agrees: found.map(|found| agrees(found, sent)),
        by_kind: found.map(|found| found.by_kind.clone()).unwrap_or_default(),
        also_there: found.map_or(0, |found| found.also_there),
        new_timestamps: sent.new_timestamps,
        hidden_dropped: found.map_or(0, |found| found.dropped),
    }
}
