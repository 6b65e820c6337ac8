//! Target tables: what is there, what will be made, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Client, ClusterError};
use crate::flow::backup_files::BackupContents;
use crate::flow::threads::Threads;
use crate::flow::{FlowError, RestorePlan};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, KeyRange, TableDescriptor, TableKind, time};
use crate::scan::{ScanOptions, ShardScan};

use super::log::Earlier;
use super::{markers, uids};

/// One table of the backup and where it goes.
pub struct Target<'a> {
    /// The table in the backup.
    pub table: &'a TableRecord,
    /// Its name in the target cluster.
    pub name: String,
    /// It does not exist yet.
    pub create: bool,
    /// It held rows before the restore began.
    pub had_rows: bool,
    /// An earlier run was about to create it: its request may still be under way in the cluster.
    pub in_the_making: bool,
    /// It holds rows now; more than `had_rows` when an earlier run wrote some.
    pub has_rows: bool,
}

impl Target<'_> {
    /// Creates the table from the saved descriptor, split at the saved boundaries.
    ///
    /// # Errors
    /// The gateway's; a framed one is refused.
    pub fn make(&self, client: &mut Client) -> Result<(), FlowError> {
        let descriptor = TableDescriptor { name: self.name.clone(), ..saved_descriptor(self.table)? };
        let splits: Vec<Vec<u8>> = self.table.split_keys.iter().map(|key| key.clone().into()).collect();
        match client.create_table(&descriptor, &splits) {
            Err(ClusterError::TableExists { .. }) if self.in_the_making => Ok(()),
            created => created.map_err(|e| FlowError::from(e).at(format!("creating {}", self.name))),
        }
    }
}

/// Looks at every target and refuses before anything is written.
///
/// # Errors
/// [`FlowError::Input`] for names that do not fit the backup, [`FlowError::Refused`] for targets that must not be
/// written to.
pub fn plan_targets<'a>(
    client: &mut Client,
    plan: &RestorePlan,
    threads: &Threads,
    contents: &'a BackupContents,
    earlier: Option<&Earlier>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Target<'a>>, FlowError> {
    let names = target_names(plan, contents)?;
    let existing: BTreeSet<String> = client.table_names()?.into_iter().collect();
    let mut targets = Vec::new();
    for (table, name) in names {
        let create = !existing.contains(&name);
        let mut target = Target { table, name, create, had_rows: false, in_the_making: false, has_rows: false };
        let begun = earlier.and_then(|earlier| earlier.target(&table.name));
        if !create {
            let allowed = plan.into_existing || begun.is_some();
            look_at_existing(client, &mut target, allowed, contents.manifest.raw, warnings)?;
        }
        if let Some(begun) = begun {
            target.had_rows &= begun.had_rows;
            target.in_the_making = begun.create;
        }
        warn_of_ttl(&target, warnings)?;
        targets.push(target);
    }
    if targets.is_empty() {
        return Err(FlowError::input("there is nothing to restore: the backup holds no table that was asked for"));
    }
    for target in targets.iter().filter(|t| t.had_rows && t.table.kind == TableKind::Uid) {
        uids::check(client, target, plan, threads, contents, warnings)?;
    }
    Ok(targets)
}

/// The tables that are asked for, in the order of the backup, and their names in the target.
///
/// # Errors
/// [`FlowError::Input`] for names that do not fit the backup.
pub fn target_names<'a>(
    plan: &RestorePlan,
    contents: &'a BackupContents,
) -> Result<Vec<(&'a TableRecord, String)>, FlowError> {
    let tables = &contents.manifest.tables;
    let known: BTreeSet<&str> = tables.iter().map(|t| t.name.as_str()).collect();
    let unknown =
        plan.tables.iter().chain(plan.rename.iter().map(|(old, _)| old)).find(|n| !known.contains(n.as_str()));
    if let Some(name) = unknown {
        let have: Vec<&str> = known.into_iter().collect();
        return Err(FlowError::input(format!("the backup has no table {name}; it has: {}", have.join(", "))));
    }
    let renamed: BTreeMap<&str, &str> = plan.rename.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    let mut taken = BTreeMap::new();
    let mut names = Vec::new();
    for table in tables.iter().filter(|t| plan.tables.is_empty() || plan.tables.contains(&t.name)) {
        let name = renamed.get(table.name.as_str()).copied().unwrap_or(&table.name).to_string();
        if let Some(other) = taken.insert(name.clone(), &table.name) {
            return Err(FlowError::input(format!(
                "tables {other} and {} would both be restored as {name}",
                table.name
            )));
        }
        names.push((table, name));
    }
    Ok(names)
}

fn look_at_existing(
    client: &mut Client,
    target: &mut Target<'_>,
    into_existing: bool,
    raw_backup: bool,
    warnings: &mut Vec<String>,
) -> Result<(), FlowError> {
    let name = &target.name;
    let descriptor = client.table_descriptor(name)?;
    for family in &saved_descriptor(target.table)?.families {
        let Some(there) = descriptor.families.iter().find(|f| f.name == family.name) else {
            return Err(FlowError::refused(format!(
                "table {name} exists without the family {}; add it, or restore under another name with --rename-table {}=NEW",
                String::from_utf8_lossy(&family.name),
                target.table.name
            )));
        };
        if raw_backup && there.versions() < family.versions() {
            warnings.push(format!(
                "family {} of {name} keeps {} versions, the saved one kept {}: older versions will not be shown",
                String::from_utf8_lossy(&family.name),
                there.versions(),
                family.versions()
            ));
        }
    }
    let rows = shows_rows(client, name)?;
    markers::warn(client, name, warnings)?;
    (target.had_rows, target.has_rows) = (rows, rows);
    if rows && !into_existing {
        return Err(FlowError::refused(format!(
            "table {name} exists and holds rows; restore into a new table with --rename-table {}=NEW, go on with a restore \
             that was interrupted with --resume, or write into it with --into-existing",
            target.table.name
        )));
    }
    Ok(())
}

/// Whether a table shows any row.
fn shows_rows(client: &mut Client, table: &str) -> Result<bool, FlowError> {
    let mut page = CellBlock::new();
    let plain = ScanOptions { max_versions: 1, ..ScanOptions::default() };
    Ok(ShardScan::new(client, table, KeyRange::all(), plain).next_page(&mut page)?.is_some())
}

fn warn_of_ttl(target: &Target<'_>, warnings: &mut Vec<String>) -> Result<(), FlowError> {
    let Some(oldest) = target.table.first_point_ms else { return Ok(()) };
    for family in &saved_descriptor(target.table)?.families {
        let Some(seconds) = family.ttl_seconds() else { continue };
        // Cell timestamps are write times, which are not before the points; points alone give a safe hint.
        if oldest.saturating_add(seconds.saturating_mul(1000)) < time::now_ms() {
            warnings.push(format!(
                "family {} of {} lives {seconds} s: cells written longer ago than that vanish at once after the restore",
                String::from_utf8_lossy(&family.name),
                target.name
            ));
        }
    }
    Ok(())
}

/// The descriptor that the manifest holds.
pub fn saved_descriptor(table: &TableRecord) -> Result<TableDescriptor, FlowError> {
    let descriptor = table.descriptor.descriptor(&table.name);
    descriptor
        .ok_or_else(|| FlowError::damaged(format!("the manifest's descriptor of table {} cannot be read", table.name)))
}
