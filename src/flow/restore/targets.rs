//! Which tables a restore writes to: what is there, what will be made, and what stands in the way.

use std::collections::BTreeSet;

use crate::cluster::Client;
use crate::flow::FlowError;
use crate::flow::restore::attributes;
use crate::flow::source::descriptions::describe;
use crate::flow::source::tables::hidden;
use crate::flow::stored::backup_files::saved_descriptor;
use crate::model::TableDescriptor;

use super::by_hand::{refuse_markers, refuse_missing_tables};
use super::descriptors::Wanted;
use super::fit::Fit;
use super::log::Earlier;
use super::target::{Target, shows_rows, target_names};

/// Looks at every target and refuses before anything is written. `less` gets what targets may not show in the end.
///
/// # Errors
/// [`FlowError::Input`] for names that do not fit the backup, [`FlowError::Refused`] for targets that must not be
/// written to.
pub fn plan_targets<'a>(
    client: &mut Client,
    fit: &Fit<'a>,
    earlier: Option<&Earlier>,
    warnings: &mut Vec<String>,
    less: &mut Vec<String>,
) -> Result<Vec<Target<'a>>, FlowError> {
    let Fit { plan, tools, contents } = *fit;
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
        fit.look_at(&target, saved, there.as_ref(), edits, warnings, less)?;
        targets.push(target);
    }
    refuse_missing_tables(client, &targets)?;
    refuse_markers(client, tools, contents, &targets)?;
    Ok(targets)
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
