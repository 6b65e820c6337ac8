//! Whether a target keeps what the backup holds: its descriptor, or the one that it is to get, against the saved one.

use std::collections::BTreeSet;

use crate::cluster::Client;
use crate::flow::restore::attributes::{Edit, TtlChoice};
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::{FlowError, RestorePlan};
use crate::model::{FamilyDescriptor, TableDescriptor, time};

use super::descriptors::{Unproven, keeps_fewer_deleted, keeps_fewer_versions, named};
use super::expiry::expired;
use super::target::Target;

/// Tables of the cluster that are looked at for what they prove.
const MOST_LOOKED_AT: usize = 100;

/// What a look needs to know.
pub struct Fit<'a> {
    /// What is asked for.
    pub plan: &'a RestorePlan,
    /// How to read the backup.
    pub tools: ReadTools<'a>,
    /// The backup.
    pub contents: &'a BackupContents,
}

impl Fit<'_> {
    /// Compares what the table keeps, or will keep, with what the backup holds. `less` gets what it may not show in the
    /// end.
    pub fn look_at(
        &self,
        target: &Target<'_>,
        saved: &TableDescriptor,
        there: Option<&TableDescriptor>,
        edits: &[Edit],
        warnings: &mut Vec<String>,
        less: &mut Vec<String>,
    ) -> Result<(), FlowError> {
        let name = &target.name;
        let raw = self.contents.manifest.raw;
        let effective = there.unwrap_or(&target.wanted.descriptor);
        if let Some(there) = there {
            if there.is_read_only() {
                return Err(FlowError::refused(format!(
                    "table {name} is READONLY and takes no cells: alter '{name}', READONLY => 'false' in the HBase shell, \
                     run the restore again, and set it back afterwards"
                )));
            }
            if !edits.is_empty() && !target.in_the_making {
                warnings.push(format!(
                    "table {name} exists and keeps its attributes: --attribute and --drop-attribute are for tables that the \
                     restore creates"
                ));
            }
        } else {
            warnings.extend(target.wanted.remarks.iter().cloned());
        }
        less.extend(keeps_fewer_versions(saved, effective));
        if raw {
            warnings.extend(keeps_fewer_deleted(saved, effective));
        }
        if raw && effective.families.iter().any(|family| family.new_version_behavior()) {
            return Err(FlowError::refused(format!(
                "a --raw backup cannot be restored into table {name}, which has NEW_VERSION_BEHAVIOR: there it counts \
                 whether a cell was written before or after a delete, which no gateway says, so that cells would be hidden \
                 that were not. {}",
                if there.is_some() {
                    format!("Restore into a new table with --rename-table {}=NEW", target.table.name)
                } else {
                    "--attribute NEW_VERSION_BEHAVIOR=false restores with HBase's usual rule, by which a delete hides every \
                     cell that is not newer"
                        .to_owned()
                }
            )));
        }
        self.check_ttl(target, effective, edits)?;
        warn_of_ttl(target, effective, warnings);
        Ok(())
    }

    /// Refuses when cells would expire at once and nobody has said that they may.
    fn check_ttl(&self, target: &Target<'_>, effective: &TableDescriptor, edits: &[Edit]) -> Result<(), FlowError> {
        let ours = target.create || target.in_the_making;
        if self.plan.ttl == Some(TtlChoice::Keep) || ours && self.plan.ttl.is_some() {
            return Ok(());
        }
        let said = |family: &FamilyDescriptor| ours && named(edits, Some(&family.name), "TTL");
        let families = effective.families.iter().filter(|family| !said(family)).cloned().collect();
        let open = TableDescriptor { families, ..effective.clone() };
        let table = &target.table.name;
        let expired = expired(self.tools, self.contents, table, &open)?;
        let Some((family, found)) = expired.into_iter().next() else { return Ok(()) };
        let name = &target.name;
        Err(FlowError::refused(format!(
            "cells of table {table} would expire at once in {name}: family {family} {} a TTL of {} s, and {} cells of the \
             first file that was looked at are older, the oldest is of {}. {}, or let them expire with --ttl keep",
            if target.create { "gets" } else { "has" },
            found.ttl,
            found.cells,
            words_of(found.oldest),
            if ours && target.create {
                "Give the family another time to live with --ttl none or --ttl SECONDS".to_owned()
            } else {
                format!("Run alter '{name}', NAME => '{family}', TTL => 'FOREVER' in the HBase shell first")
            }
        )))
    }
}

/// Codecs and the like that no table of the cluster proves to work: only creating a table shows whether they do.
///
/// # Errors
/// The gateway's.
pub fn unproven(client: &mut Client, targets: &[Target<'_>]) -> Result<Vec<String>, FlowError> {
    let created = || targets.iter().filter(|target| target.create);
    if created().all(|target| target.wanted.unproven.is_empty()) {
        return Ok(Vec::new());
    }
    let mut proven = BTreeSet::new();
    for name in client.table_names()?.iter().take(MOST_LOOKED_AT) {
        // A table that is dropped meanwhile, or that the user may not see, proves nothing.
        let Ok(table) = client.table_descriptor(name) else { continue };
        let attributes = table.families.into_iter().flat_map(|family| family.attributes);
        proven.extend(attributes.map(|(_, value)| value.to_ascii_uppercase()));
    }
    let mut texts = Vec::new();
    for target in created() {
        for Unproven { family, name, value } in &target.wanted.unproven {
            if !proven.contains(value.to_ascii_uppercase().as_bytes()) {
                let (table, family) = (&target.table.name, String::from_utf8_lossy(family));
                texts.push(format!(
                    "whether this cluster can do {name}={value} of family {family} of {} shows when the table is created: no \
                     table here has it; --attribute '{table}:{family}:{name}=VALUE' chooses another",
                    target.name
                ));
            }
        }
    }
    Ok(texts)
}

/// A time in words.
fn words_of(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| format!("{time:.0}"))
}

fn warn_of_ttl(target: &Target<'_>, effective: &TableDescriptor, warnings: &mut Vec<String>) {
    let Some(oldest) = target.table.first_point_ms else { return };
    for family in &effective.families {
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
}
