//! The tables of a restore one after the other: made, sent, read back, reported.

use crate::cluster::Client;
use crate::flow::compare::{Comparison, Found};
use crate::flow::source::descriptions::describe;
use crate::flow::source::tally_scan::tally_table;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::{FlowError, RestorePlan, RestoreReport, RestoredTable};
use crate::put::Refused;
use crate::scan::ScanOptions;

use super::contain::TargetJudge;
use super::create::make_namespaces;
use super::log::RestoreLog;
use super::markers::Coverage;
use super::plan::Planned;
use super::scene::Scene;
use super::send;
use super::sent::Sent;
use super::target::Target;
use super::view::Reading;

/// Most differing cells that a report names.
const MAX_NAMED: usize = 100;

/// A report of nothing yet.
pub fn new_report(plan: &RestorePlan, contents: &BackupContents, warnings: Vec<String>) -> RestoreReport {
    RestoreReport {
        backup: contents.manifest.backup.clone(),
        restore: None,
        resumed: plan.resume,
        tables: Vec::new(),
        planned: Vec::new(),
        selection: None,
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

/// A restore under way.
pub struct Run<'s, 'a> {
    /// What it needs to know.
    pub scene: &'s Scene<'a>,
    /// What it has done.
    pub log: &'s mut RestoreLog,
}

impl Run<'_, '_> {
    /// Creates what is missing, sends all tables and reads them back.
    ///
    /// # Errors
    /// Those of creating, sending and reading.
    pub fn tables(
        &mut self,
        client: &mut Client,
        planned: &Planned<'_>,
        report: &mut RestoreReport,
    ) -> Result<(), FlowError> {
        let Planned { targets, coverage, namespaces, .. } = planned;
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
            report.attention.extend(what_is_hidden(target, &sent));
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

    /// What the target lacks of the backup; `None` with `--no-read-back`.
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
        let wanted = self.scene.wanted.get(&target.table.name).cloned();
        let judge = TargetJudge::new(target.table, &descriptor, &reading, sent);
        let comparison = Comparison {
            gateways: &plan.gateways,
            threads,
            store: &plan.store,
            contents,
            table: target.table,
            name: &target.name,
            options: pace.pages(ScanOptions { wanted, ..options.clone() }),
            connections: plan.resources.connections,
            memory: self.scene.memory.clone(),
            pace,
            progress,
            judge: &judge,
            max_named: MAX_NAMED,
            bytes_read: Default::default(),
        };
        comparison.run().map(Some)
    }
}

/// Whether the target shows every cell of the backup, with new timestamps only where the restore wrote them.
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

/// Newer values of the target that lie below what was restored.
fn what_is_hidden(target: &Target<'_>, sent: &Sent) -> Option<String> {
    (sent.above_newer > 0).then(|| {
        format!(
            "table {}: {} cells got a timestamp above a newer value that the table held, because none was free between it and \
             the delete marker: where the family keeps one version, the newer value is hidden",
            target.name, sent.above_newer
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
