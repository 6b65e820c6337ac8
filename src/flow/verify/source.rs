//! The backup against the live cluster.

use crate::cluster::{Api, Gateways};
use crate::flow::compare::window::StoredWindow;
use crate::flow::compare::{Comparison, Found, read_options};
use crate::flow::engine::budget::ByteBudget;
use crate::flow::engine::pace::Pace;
use crate::flow::engine::threads::Threads;
use crate::flow::source::descriptions::describe;
use crate::flow::source::tables;
use crate::flow::stored::backup_files::{BackupContents, saved_descriptor};
use crate::flow::{FlowError, Progress, VerifyPlan, VerifyReport};
use crate::manifest::TableRecord;
use crate::model::{DescriptorSource, FamilyDescriptor, TableDescriptor};
use crate::scan::ScanOptions;

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
    let mut all = Found::new(plan.max_named);
    let window = match StoredWindow::of(threads, &plan.store, contents)?.transpose() {
        Ok(window) => window,
        Err(problem) => {
            return Err(FlowError::damaged(format!(
                "{problem}: which rows of the cluster belong to the window cannot be found out without these names; \
                 --level cells does not need them"
            )));
        }
    };
    let mut client = gateways.client();
    for table in &contents.manifest.tables {
        let (name, raw) = (name_there(plan, table), contents.manifest.raw);
        let described = describe(&mut client, &name, &[])?;
        client.disconnect();
        let there = (described.1 != DescriptorSource::Unknown).then_some(described.0);
        if let Some(there) = there.as_ref().filter(|_| !raw) {
            report.warnings.extend(keeps_more(table, &name, there)?);
        }
        let wanted = window.as_ref().map(|window| window.rows_of(table)).transpose()?.flatten();
        let judge = SourceJudge::new(table, there, contents.manifest.started_ms, raw)?;
        let comparison = Comparison {
            gateways,
            threads,
            store: &plan.store,
            contents,
            table,
            name: &name,
            options: pace.pages(ScanOptions { wanted, ..read_options(table, raw) }),
            connections: plan.resources.connections,
            memory: ByteBudget::new(plan.resources.max_memory),
            pace,
            progress,
            judge: &judge,
            max_named: plan.max_named,
            bytes_read: Default::default(),
        };
        all.add(comparison.run()?);
    }
    report.source_cells = all.cells;
    report.by_kind = all.by_kind;
    report.cells_named = all.named;
    Ok(())
}

/// What is not compared of a table that keeps more versions than it did: HBase shows older ones again that no compaction
/// has dropped, and the backup cannot hold them.
///
/// # Errors
/// [`FlowError::Damaged`] for a saved descriptor that cannot be read.
fn keeps_more(table: &TableRecord, name: &str, there: &TableDescriptor) -> Result<Vec<String>, FlowError> {
    if table.described_by == DescriptorSource::Unknown {
        return Ok(Vec::new());
    }
    let saved = saved_descriptor(table)?;
    let mut raised = Vec::new();
    for family in &there.families {
        let before = saved.families.iter().find(|saved| saved.name == family.name).map(FamilyDescriptor::versions);
        let Some(before) = before.filter(|before| *before < family.versions()) else { continue };
        raised.push(format!(
            "table {name} now keeps {} versions of a cell in family {}; the newest {} were backed up and are compared, older \
             ones that it shows again are not in the backup: a new backup takes them",
            family.versions(),
            String::from_utf8_lossy(&family.name),
            before.min(table.versions)
        ));
    }
    Ok(raised)
}

/// Refuses a comparison that would take every older version of a backup for a lost one.
///
/// # Errors
/// [`FlowError::Input`] for a Thrift1 gateway and a table of which the backup was asked for several versions; the
/// gateway's.
pub fn require_versions(gateways: &Gateways, contents: &BackupContents) -> Result<(), FlowError> {
    let Some(table) = contents.manifest.tables.iter().find(|table| table.versions > 1) else { return Ok(()) };
    let mut client = gateways.client();
    let gateway = client.gateway()?;
    match gateway.api {
        Api::Thrift2 => Ok(()),
        Api::Thrift1 => Err(FlowError::input(format!(
            "{} speaks Thrift1, which shows the latest version of a cell only, and {} was backed up with older ones: \
             verify --level source needs a Thrift2 gateway here (hbase thrift2 start); --level cells needs none",
            gateway.address, table.name
        ))),
    }
}

/// Refuses names of tables that are not there, on either side.
///
/// # Errors
/// [`FlowError::Input`] with the name and the tables that there are; the gateway's.
pub fn require_tables(plan: &VerifyPlan, gateways: &Gateways, contents: &BackupContents) -> Result<(), FlowError> {
    contents.require_tables(plan.rename.iter().map(|(old, _)| old))?;
    let names: Vec<String> = contents.manifest.tables.iter().map(|table| name_there(plan, table)).collect();
    let advice = "Where a table of the backup has another name there, say --rename-table OLD=NEW";
    tables::require_tables(&mut gateways.client(), names.iter().map(String::as_str), advice)
}

/// What the first table of the backup is called in the cluster.
pub fn first_table(plan: &VerifyPlan, contents: &BackupContents) -> Option<String> {
    contents.manifest.tables.first().map(|table| name_there(plan, table))
}

fn name_there(plan: &VerifyPlan, table: &TableRecord) -> String {
    let renamed = plan.rename.iter().find(|(old, _)| *old == table.name).map(|(_, new)| new.clone());
    renamed.unwrap_or_else(|| table.name.clone())
}
