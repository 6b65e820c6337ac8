//! Which tables a command is about, and what is in them.

use std::collections::BTreeSet;

use crate::cluster::{Client, ClusterError};
use crate::flow::source::descriptions::describe;
use crate::flow::source::gaps::AtDamage;
use crate::flow::source::table::SourceTable;
use crate::flow::{FlowError, OpentsdbConf, TableNames};
use crate::manifest::PlannedTable;
use crate::model::{DescriptorSource, FamilyDescriptor, Gap, GapReason, KeyRange, TableDescriptor, TableKind};
use crate::scan::ShardScan;

/// The tables found and the names of those that OpenTSDB may do without and that are not there.
#[derive(Debug)]
pub struct SourceTables {
    /// Tables in the order of a backup: data first, UIDs last.
    pub tables: Vec<SourceTable>,
    /// Optional tables that do not exist.
    pub absent: Vec<String>,
    /// Tables that are named like those of the installation (`tsdb-...`), and that nobody asked for.
    pub left_out: Vec<String>,
}

/// HBase lists a table to those only who have some right on it; whether it exists, everybody may ask.
pub fn hidden(table: String) -> ClusterError {
    let message = "HBase does not list the table for this user, which has no right on it; grant it R and C".to_string();
    ClusterError::AccessDenied { method: "getTableNamesByPattern", table, message }
}

impl SourceTables {
    /// Finds the tables.
    ///
    /// # Errors
    /// [`FlowError::Input`] names a table that must exist and does not, and lists those that do. A disabled table, and
    /// keys without a region, unless they are to be skipped.
    pub fn find(
        client: &mut Client,
        names: &TableNames,
        conf: Option<&OpentsdbConf>,
        descriptions: &[TableDescriptor],
        at_damage: AtDamage,
    ) -> Result<Self, FlowError> {
        let existing: BTreeSet<String> = client.table_names()?.into_iter().collect();
        let wanted = wanted(names, conf);
        let left_out = left_out(&existing, &wanted);
        let mut found = Self { tables: Vec::new(), absent: Vec::new(), left_out };
        for (name, kind, required) in wanted {
            if existing.contains(&name) {
                found.tables.push(read_table(client, name, kind, conf, descriptions, at_damage)?);
            } else if client.table_exists(&name)? {
                return Err(hidden(name).into());
            } else if required {
                return Err(missing(&name, kind, &existing));
            } else {
                found.absent.push(name);
            }
        }
        Ok(found)
    }

    /// The tables that an earlier run planned to read; all of them must exist.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn planned(
        client: &mut Client,
        tables: &[PlannedTable],
        conf: Option<&OpentsdbConf>,
        descriptions: &[TableDescriptor],
        at_damage: AtDamage,
    ) -> Result<Self, FlowError> {
        let existing: BTreeSet<String> = client.table_names()?.into_iter().collect();
        let mut found = Self { tables: Vec::new(), absent: Vec::new(), left_out: Vec::new() };
        for planned in tables {
            let PlannedTable { name, kind, .. } = planned;
            if !existing.contains(name) {
                return Err(match client.table_exists(name)? {
                    true => hidden(name.clone()).into(),
                    false => missing(name, *kind, &existing),
                });
            }
            let table = read_table(client, name.clone(), *kind, conf, descriptions, at_damage)?;
            require_unaltered(&table, planned)?;
            found.tables.push(table);
        }
        Ok(found)
    }

    /// What to say about tables that are left out, perhaps because nobody thought of them: rollups and pre-aggregates.
    pub fn left_out_warning(&self) -> Option<String> {
        (!self.left_out.is_empty()).then(|| {
            format!(
                "not in the backup, though named like tables of this installation: {}; add them with --table, or give the \
                 TSD's configuration with --opentsdb-conf",
                self.left_out.join(", ")
            )
        })
    }

    /// The UID table.
    pub fn uid(&self) -> Option<&SourceTable> {
        self.tables.iter().find(|table| table.kind == TableKind::Uid)
    }

    /// The data tables, the main one first.
    pub fn data(&self) -> impl Iterator<Item = &SourceTable> {
        self.tables.iter().filter(|table| table.kind == TableKind::Data)
    }
}

/// A table that shows more than it did when the backup was planned: the plan would leave cells out.
fn require_unaltered(table: &SourceTable, planned: &PlannedTable) -> Result<(), FlowError> {
    let known = |by: DescriptorSource| by != DescriptorSource::Unknown;
    if !known(table.described_by) || !known(planned.described_by) {
        return Ok(());
    }
    let words = |families: &[FamilyDescriptor]| {
        let words = families
            .iter()
            .map(|family| format!("{} VERSIONS={}", String::from_utf8_lossy(&family.name), family.versions()));
        words.collect::<Vec<_>>().join(", ")
    };
    let Some(before) = planned.descriptor.descriptor(&planned.name) else { return Ok(()) };
    let shown = |family: &FamilyDescriptor| {
        before.families.iter().any(|then| then.name == family.name && then.versions() >= family.versions())
    };
    if table.descriptor.families.iter().all(shown) {
        return Ok(());
    }
    Err(FlowError::refused(format!(
        "{} was altered or made anew since the backup was planned: it had {} and has {}; what it shows more would be left out, so \
         begin a new backup",
        table.name,
        words(&before.families),
        words(&table.descriptor.families)
    )))
}

/// Existing tables whose name is that of a data table with something behind it, but those that are wanted.
fn left_out(existing: &BTreeSet<String>, wanted: &[(String, TableKind, bool)]) -> Vec<String> {
    let data: Vec<&str> =
        wanted.iter().filter(|(_, kind, _)| *kind == TableKind::Data).map(|(name, _, _)| name.as_str()).collect();
    let is_wanted = |table: &&String| wanted.iter().any(|(name, _, _)| name == *table);
    let of_data =
        |table: &&String| data.iter().any(|data| table.strip_prefix(data).is_some_and(|rest| rest.starts_with('-')));
    // Even --no-uid-table names it.
    let is_uid = |table: &&String| table.ends_with("-uid");
    existing.iter().filter(|table| of_data(table) && !is_wanted(table) && !is_uid(table)).cloned().collect()
}

/// Says that a table does not exist, and which do.
fn missing_text(name: &str, existing: &BTreeSet<String>) -> String {
    let have: Vec<&str> = existing.iter().map(String::as_str).collect();
    let have = if have.is_empty() { "no table at all".to_string() } else { have.join(", ") };
    format!("table {name} does not exist on this cluster; it has: {have}")
}

/// Refuses names that are not those of tables of the cluster.
///
/// # Errors
/// [`FlowError::Input`] with the first such name, the tables that there are and `advice`; the gateway's.
pub fn require_tables<'n>(
    client: &mut Client,
    names: impl Iterator<Item = &'n str>,
    advice: &str,
) -> Result<(), FlowError> {
    let existing: BTreeSet<String> = client.table_names()?.into_iter().collect();
    for name in names {
        let listed = existing.contains(name.strip_prefix("default:").unwrap_or(name));
        if listed || existing.contains(name) {
            continue;
        }
        return Err(match client.table_exists(name)? {
            true => hidden(name.to_string()).into(),
            false => FlowError::input(format!("{}. {advice}", missing_text(name, &existing))),
        });
    }
    Ok(())
}

fn missing(name: &str, kind: TableKind, existing: &BTreeSet<String>) -> FlowError {
    let advice = match kind {
        TableKind::Uid => " When the UID table is lost, --no-uid-table backs up the rest, with UIDs in place of names.",
        _ => "",
    };
    FlowError::input(format!(
        "{}. Name the tables with --data-table, --uid-table, --meta-table, --tree-table and --table, or give the TSD's \
         configuration with --opentsdb-conf{}{advice}",
        missing_text(name, existing),
        if advice.is_empty() { "" } else { "." }
    ))
}

/// Names, kinds and whether the table must exist, in the order of a backup.
fn wanted(names: &TableNames, conf: Option<&OpentsdbConf>) -> Vec<(String, TableKind, bool)> {
    let pick = |flag: &Option<String>, key: &str, default: &str| {
        let name = flag.as_deref().or_else(|| conf.and_then(|c| c.get(key))).unwrap_or(default);
        (name.to_string(), flag.is_some())
    };
    let data = match names.data.as_slice() {
        [] => vec![pick(&None, "tsd.storage.hbase.data_table", "tsdb").0],
        given => given.to_vec(),
    };
    let (uid, _) = pick(&names.uid, "tsd.storage.hbase.uid_table", "tsdb-uid");
    let (meta, meta_required) = pick(&names.meta, "tsd.storage.hbase.meta_table", "tsdb-meta");
    let (tree, tree_required) = pick(&names.tree, "tsd.storage.hbase.tree_table", "tsdb-tree");
    let mut list: Vec<_> = data.into_iter().map(|name| (name, TableKind::Data, true)).collect();
    list.extend(names.extra.iter().map(|name| (name.clone(), TableKind::Rollup, true)));
    let rollups = conf.and_then(OpentsdbConf::rollups);
    let configured = rollups.iter().flat_map(|config| config.tables());
    list.extend(configured.map(|name| (name.to_string(), TableKind::Rollup, false)));
    list.push((meta, TableKind::Meta, meta_required));
    list.push((tree, TableKind::Tree, tree_required));
    if !names.no_uid {
        list.push((uid, TableKind::Uid, true));
    }
    let mut seen = BTreeSet::new();
    list.retain(|(name, _, _)| seen.insert(name.clone()));
    list
}

fn read_table(
    client: &mut Client,
    name: String,
    kind: TableKind,
    conf: Option<&OpentsdbConf>,
    descriptions: &[TableDescriptor],
    at_damage: AtDamage,
) -> Result<SourceTable, FlowError> {
    let (descriptor, described_by) = describe(client, &name, descriptions)?;
    let enabled = match client.is_table_enabled(&name) {
        // Old gateways are asked for a row, which may be one that cannot be read.
        Err(error) if at_damage == AtDamage::Skip && ShardScan::is_damage(&error) => true,
        enabled => enabled?,
    };
    let disabled = (!enabled).then(|| ClusterError::TableDisabled { table: name.clone() });
    let (regions, gaps) = match (at_damage, disabled) {
        (AtDamage::Fail, Some(disabled)) => return Err(disabled.into()),
        (AtDamage::Fail, None) => (client.regions(&name)?, Vec::new()),
        (AtDamage::Skip, Some(disabled)) => {
            let (range, message) = (KeyRange::all(), disabled.to_string());
            let gap = Gap { range, reason: GapReason::TableDisabled, message };
            (client.regions_and_faults(&name)?.0, vec![gap])
        }
        (AtDamage::Skip, None) => client.regions_and_faults(&name)?,
    };
    let has_points = descriptor.families.iter().any(|family| family.name == b"t");
    let kind = if kind == TableKind::Rollup && !has_points { TableKind::Other } else { kind };
    let rollups = conf.and_then(OpentsdbConf::rollups).and_then(|config| config.table(&name));
    Ok(SourceTable { name, kind, rollups, descriptor, described_by, regions, gaps })
}
