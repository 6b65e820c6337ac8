//! The backup against the live cluster.

use crate::cluster::Gateways;
use crate::flow::backup_files::BackupContents;
use crate::flow::budget::ByteBudget;
use crate::flow::compare::Comparison;
use crate::flow::pace::Pace;
use crate::flow::restore::read_options;
use crate::flow::threads::Threads;
use crate::flow::{FlowError, Progress, VerifyPlan, VerifyReport};
use crate::manifest::TableRecord;

use super::differences::SourceJudge;

/// Compares all tables and adds the differences to the report.
///
/// # Errors
/// The gateway's or the store's; [`FlowError::Interrupted`].
pub fn compare(
    plan: &VerifyPlan,
    gateways: &Gateways,
    threads: &Threads,
    contents: &BackupContents,
    pace: &Pace,
    progress: &Progress,
    report: &mut VerifyReport,
) -> Result<(), FlowError> {
    for table in &contents.manifest.tables {
        let found = Comparison {
            gateways,
            threads,
            store: &plan.store,
            contents,
            table,
            name: &name_there(plan, table),
            options: pace.pages(read_options(table, contents.manifest.raw)),
            connections: plan.resources.connections,
            memory: ByteBudget::new(plan.resources.max_memory),
            pace,
            progress,
            judge: &SourceJudge::new(table, contents.manifest.started_ms),
            max_named: plan.max_named,
        };
        let found = found.run()?;
        report.cells += found.cells;
        for (kind, count) in found.by_kind {
            *report.by_kind.entry(kind).or_default() += count;
        }
        let room = plan.max_named.saturating_sub(report.cells_named.len());
        report.cells_named.extend(found.named.into_iter().take(room));
    }
    Ok(())
}

/// What the first table of the backup is called in the cluster.
pub fn first_table(plan: &VerifyPlan, contents: &BackupContents) -> Option<String> {
    contents.manifest.tables.first().map(|table| name_there(plan, table))
}

fn name_there(plan: &VerifyPlan, table: &TableRecord) -> String {
    let renamed = plan.rename.iter().find(|(old, _)| *old == table.name).map(|(_, new)| new.clone());
    renamed.unwrap_or_else(|| table.name.clone())
}
