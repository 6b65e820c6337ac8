//! Target tables: what is there, what will be made, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Client;
use crate::flow::restore::attributes;
use crate::flow::source::descriptions::describe;
use crate::flow::source::tables::hidden;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::{FlowError, PlannedRestore, RestorePlan};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, KeyRange, TableDescriptor};
use crate::scan::{ScanOptions, ShardScan};

use super::by_hand::{refuse_markers, refuse_missing_tables};
use super::descriptors::Wanted;
use super::fit::Fit;
use super::log::Earlier;

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
    /// What it is to be when it is created.
    pub wanted: Wanted,
}

impl Target<'_> {
    /// What a dry run says of it.
    pub fn planned(&self) -> PlannedRestore {
        let Self { table, name, create, .. } = self;
        let (table, cells) = (table.name.clone(), table.tally.cells);
        PlannedRestore { table, target: name.clone(), create: *create, cells }
    }

    /// True when nobody knows before whether the cluster will create the table.
    pub fn may_be_refused(&self) -> bool {
        !self.wanted.unproven.is_empty() || self.name.contains(':')
    }
}

/// Looks at every target and refuses before anything is written.
///
/// # Errors
/// [`FlowError::Input`] for names that do not fit the backup, [`FlowError::Refused`] for targets that must not be
/// written to.
pub fn plan_targets<'a>(
    client: &mut Client,
    fit: &Fit<'a>,
    earlier: Option<&Earlier>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Target<'a>>, FlowError> {
    let Fit { plan, threads, contents, .. } = *fit;
    let names = target_names(plan, contents)?;
    if names.is_empty() {
        return Err(FlowError::input("there is nothing to restore: the backup holds no table that was asked for"));
    }
    let saved = names.iter().map(|(table, _)| saved_descriptor(table)).collect::<Result<Vec<_>, _>>()?;
    let edits = attributes::resolve(&plan.attributes, &saved)?;
    let existing: BTreeSet<String> = client.table_names()?.into_iter().collect();
    let mut targets = Vec::new();
    for (((table, name), saved), edits) in names.into_iter().zip(&saved).zip(&edits) {
        let begun = earlier.and_then(|earlier| earlier.target(&table.name).map(|begun| (earlier, begun)));
        let mut create = !existing.contains(&name);
        if create && client.table_exists(&name)? {
            return Err(hidden(name).into());
        }
        let left_unmade = begun.is_some_and(|(earlier, begun)| earlier.left_unmade(begun));
        if !create && left_unmade && !(plan.into_existing && shows_rows(client, &name)?) {
            // Whose table this is comes out when it is asked for again and looked at.
            create = true;
        }
        let wanted = Wanted::new(saved, &name, edits, plan.ttl);
        let mut target = Target { table, name, create, had_rows: false, in_the_making: false, has_rows: false, wanted };
        let mut there = None;
        if !create {
            let allowed = plan.into_existing || begun.is_some();
            there = Some(look_at_existing(client, &mut target, allowed, saved)?);
        }
        if let Some((_, begun)) = begun {
            target.had_rows &= begun.had_rows || left_unmade;
            target.in_the_making = begun.create;
        }
        fit.look_at(&target, saved, there.as_ref(), edits, warnings)?;
        targets.push(target);
    }
    refuse_missing_tables(client, &targets)?;
    refuse_markers(client, plan, threads, contents, &targets)?;
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
    contents.require_tables(plan.tables.iter().chain(plan.rename.iter().map(|(old, _)| old)))?;
    let renamed: BTreeMap<&str, &str> = plan.rename.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    let space_of = |table: &str| table.split_once(':').map_or("default", |(space, _)| space).to_owned();
    if let Some((old, _)) =
        plan.rename_namespaces.iter().find(|(old, _)| !tables.iter().any(|t| space_of(&t.name) == *old))
    {
        let have: BTreeSet<String> = tables.iter().map(|table| space_of(&table.name)).collect();
        let have: Vec<String> = have.into_iter().collect();
        return Err(FlowError::input(format!("the backup has no namespace {old}; it has: {}", have.join(", "))));
    }
    let mut taken = BTreeMap::new();
    let mut names = Vec::new();
    for table in tables.iter().filter(|t| plan.tables.is_empty() || plan.tables.contains(&t.name)) {
        let name = match renamed.get(table.name.as_str()) {
            Some(new) => (*new).to_owned(),
            None => in_new_namespace(&table.name, &plan.rename_namespaces),
        };
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

/// The table's name in the namespace that takes the place of its own.
pub(super) fn in_new_namespace(table: &str, renames: &[(String, String)]) -> String {
    let (space, name) = table.split_once(':').unwrap_or(("default", table));
    match renames.iter().find(|(old, _)| old == space) {
        Some((_, new)) if new == "default" => name.to_owned(),
        Some((_, new)) => format!("{new}:{name}"),
        None => table.to_owned(),
    }
}

fn look_at_existing(
    client: &mut Client,
    target: &mut Target<'_>,
    into_existing: bool,
    saved: &TableDescriptor,
) -> Result<TableDescriptor, FlowError> {
    let name = &target.name;
    let (descriptor, _) = describe(client, name, &[])?;
    for family in &saved.families {
        if !descriptor.families.iter().any(|f| f.name == family.name) {
            return Err(FlowError::refused(format!(
                "table {name} exists without the family {}; add it, or restore under another name with --rename-table {}=NEW",
                String::from_utf8_lossy(&family.name),
                target.table.name
            )));
        }
    }
    let rows = shows_rows(client, name)?;
    (target.had_rows, target.has_rows) = (rows, rows);
    if rows && !into_existing {
        return Err(FlowError::refused(format!(
            "table {name} exists and holds rows; restore into a new table with --rename-table {}=NEW, resume a restore \
             that was interrupted with --resume, or write into it with --into-existing",
            target.table.name
        )));
    }
    Ok(descriptor)
}

/// Whether a table shows any row.
///
/// # Errors
/// The gateway's.
pub fn shows_rows(client: &mut Client, table: &str) -> Result<bool, FlowError> {
    let mut page = CellBlock::new();
    let plain = ScanOptions { max_versions: 1, ..ScanOptions::default() };
    Ok(ShardScan::new(client, table, KeyRange::all(), plain).next_page(&mut page)?.is_some())
}

/// The descriptor that the manifest holds.
pub fn saved_descriptor(table: &TableRecord) -> Result<TableDescriptor, FlowError> {
    let descriptor = table.descriptor.descriptor(&table.name);
    descriptor
        .ok_or_else(|| FlowError::damaged(format!("the manifest's descriptor of table {} cannot be read", table.name)))
}
