//! A table of the backup and where it goes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Client;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::{FlowError, PlannedRestore, RestorePlan};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, KeyRange};
use crate::scan::{ScanOptions, ShardScan};

use super::descriptors::Wanted;

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
        plan.rename_namespaces.iter().find(|(old, _)| !contents.table_names().any(|name| space_of(name) == *old))
    {
        let have: BTreeSet<String> = contents.table_names().map(space_of).collect();
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
        if !is_table_name(&name) {
            return Err(FlowError::input(format!(
                "{name:?} is no name of a table: [NAMESPACE:]NAME, of letters, digits and _, and in NAME also - and . but not at \
                 its beginning"
            )));
        }
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

/// Whether HBase takes a name of a table (`TableName.isLegalFullyQualifiedTableName`).
fn is_table_name(name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (space, table) = name.split_once(':').unwrap_or(("default", name));
    !space.is_empty()
        && space.chars().all(word)
        && table.starts_with(word)
        && table.chars().all(|c| word(c) || c == '-' || c == '.')
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

/// Whether a table shows any row.
///
/// # Errors
/// The gateway's.
pub fn shows_rows(client: &mut Client, table: &str) -> Result<bool, FlowError> {
    let mut page = CellBlock::new();
    let plain = ScanOptions { max_versions: 1, ..ScanOptions::default() };
    Ok(ShardScan::new(client, table, KeyRange::all(), plain).next_page(&mut page)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_hbases() {
        for good in ["tsdb", "ns:tsdb", "_x", "tsdb-rollup-1h", "a.b", "n_1:t.2"] {
            assert!(is_table_name(good), "{good}");
        }
        for bad in ["", "a/b", "-a", ".a", ":a", "a:", "a:b:c", "a b", "n-1:t"] {
            assert!(!is_table_name(bad), "{bad}");
        }
    }
}
