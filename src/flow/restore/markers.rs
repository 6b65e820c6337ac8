//! Delete markers of a target that would hide what is restored.
//!
//! HBase shows a put only when no marker covers it, whichever was written first, and a put that is covered is lost: a
//! flush drops it when marker and put are both in memory, a compaction drops it together with the marker. So the ranges
//! that will be written are read before the first put, raw and without values, and the markers in them are compared with
//! the cells that go there:
//!
//! | marker | covers |
//! | --- | --- |
//! | DeleteFamily (14) | every cell of the family at or below its timestamp |
//! | DeleteFamilyVersion (10) | every cell of the family at exactly its timestamp |
//! | DeleteColumn (12) | every cell of the column at or below its timestamp |
//! | Delete (8) | the cell of the column at exactly its timestamp |
//!
//! In a family with `NEW_VERSION_BEHAVIOR` the order of writing counts as well, so that a marker covers nothing that is
//! written after it; its markers are passed over. So are markers that the backup itself holds (`backup --raw`): what
//! they cover was hidden when it was backed up.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Client, ClusterError};
use crate::flow::FlowError;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::workers::work_through;
use crate::flow::source::descriptions::describe;
use crate::model::{Cell, ShardRow, TableDescriptor, hex};

use super::marker_groups::MarkerGroups;
use super::scene::{Scene, each_cell};
use super::target::Target;

/// Cells that a refusal names.
const NAMED: usize = 3;

/// What the markers of one target cover.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Covered cells of the backup by shard; shards without any are left out.
    pub shards: BTreeMap<String, u64>,
    /// Those of them that no new timestamp brings above the markers.
    no_room: u64,
    /// The first of them in words, in order.
    first: BTreeSet<String>,
    /// Families with covered cells that keep deleted cells, and how (`KEEP_DELETED_CELLS`).
    keeping: BTreeMap<String, String>,
}

impl Coverage {
    /// Covered cells.
    pub fn cells(&self) -> u64 {
        self.shards.values().sum()
    }
}

/// Looks for markers that cover what will be restored, in every target that exists. The coverage of each target comes
/// in the order of `targets`.
///
/// # Errors
/// [`FlowError::Refused`] when there are any, unless the plan is to write new timestamps; the gateway's or the store's.
pub fn survey(
    scene: &Scene<'_>,
    client: &mut Client,
    targets: &[Target<'_>],
    warnings: &mut Vec<String>,
) -> Result<Vec<Coverage>, FlowError> {
    let mut found = Vec::new();
    for target in targets {
        if target.create {
            found.push(Coverage::default());
            continue;
        }
        match client.require_types(&target.name) {
            Ok(()) => {}
            Err(ClusterError::Untyped { .. } | ClusterError::NotInThrift1 { .. }) => {
                warnings.push(format!(
                    "whether table {} holds delete markers cannot be seen through this gateway (Thrift1, or HBase before \
                     2.2): restored cells at or below one stay hidden, and are lost with it, which only the check after the \
                     restore shows; if rows were deleted from the table, flush and major-compact it before the restore",
                    target.name
                ));
                found.push(Coverage::default());
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let (descriptor, _) = describe(client, &target.name, &[])?;
        found.push(cover(scene, target, &descriptor).map_err(|e| e.at(format!("table {}", target.name)))?);
    }
    client.disconnect();
    let covered: Vec<_> = targets.iter().zip(&found).filter(|(_, coverage)| coverage.cells() > 0).collect();
    if covered.is_empty() {
        return Ok(found);
    }
    if !scene.plan.new_timestamps || covered.iter().any(|(_, coverage)| coverage.no_room > 0) {
        return Err(FlowError::refused(refusal(&covered)));
    }
    for (target, coverage) in covered {
        warnings.push(format!(
            "{} cells of table {} are covered by delete markers and get a new timestamp above the marker: they are visible \
             again, but the times at which they were written are lost",
            coverage.cells(),
            target.name
        ));
    }
    Ok(found)
}

fn refusal(covered: &[(&Target<'_>, &Coverage)]) -> String {
    let table = |(target, coverage): &(&Target<'_>, &Coverage)| {
        let first: Vec<&str> = coverage.first.iter().map(String::as_str).collect();
        format!("{} cells of table {} (first: {})", coverage.cells(), target.name, first.join("; "))
    };
    let renames: Vec<String> =
        covered.iter().map(|(target, _)| format!("--rename-table {}=NEW", target.table.name)).collect();
    let no_room: u64 = covered.iter().map(|(_, coverage)| coverage.no_room).sum();
    let third = match no_room {
        0 => "(3) Write the covered cells with new timestamps, above the markers: --new-timestamps".to_owned(),
        cells => format!(
            "--new-timestamps is none: above the markers of {cells} of these cells no timestamp is left, they have the \
             highest that HBase takes"
        ),
    };
    format!(
        "delete markers cover cells that would be restored: {}. HBase would hide these cells and drop them at its next flush \
         or compaction. Nothing was written. There are {} ways out: (1) remove the markers in the HBase shell, and run the \
         same command again: {}. (2) Restore into a new table: {}. {third}",
        covered.iter().map(table).collect::<Vec<_>>().join(", "),
        if no_room == 0 { "three" } else { "two" },
        covered.iter().map(shell).collect::<Vec<_>>().join("; "),
        renames.join(" ")
    )
}

/// What removes the markers of a table in the HBase shell. A family that keeps deleted cells keeps its markers in every
/// compaction, so it must not for as long as this one takes.
fn shell((target, coverage): &(&Target<'_>, &Coverage)) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let name = quote(&target.name);
    let alter =
        |family: &str, kept: &str| format!("alter {name}, NAME => {}, KEEP_DELETED_CELLS => '{kept}'", quote(family));
    let mut steps: Vec<String> = Vec::new();
    for family in coverage.keeping.keys() {
        steps.push(format!("{} (the deleted cells that family {family} keeps go as well)", alter(family, "FALSE")));
    }
    steps.extend(["flush", "major_compact"].map(|verb| format!("{verb} {name}")));
    steps.push(format!("compaction_state {name} (again until it says NONE)"));
    steps.extend(coverage.keeping.iter().map(|(family, kept)| alter(family, kept)));
    steps.join("; ")
}

fn cover(scene: &Scene<'_>, target: &Target<'_>, descriptor: &TableDescriptor) -> Result<Coverage, FlowError> {
    let shards: Vec<&ShardRow> =
        scene.contents.shards.iter().filter(|shard| shard.table == target.table.name).collect();
    scene.progress.stage(format!("looking for delete markers in {}", target.name), shards.len() as u64);
    let queue = WorkQueue::new(shards);
    let mut all = Coverage::default();
    let work = |client: &mut Client, shard: &ShardRow| {
        let mut groups = MarkerGroups::new(scene, &target.name, descriptor, shard);
        let (mut cells, mut no_room, mut first, mut families) = (0, 0, BTreeSet::new(), BTreeSet::new());
        while let Some(group) = groups.next(client)? {
            if group.rows.is_empty() {
                continue;
            }
            each_cell(scene, shard, &group.range, &mut |_, cell| {
                if group.covers(cell) {
                    cells += 1;
                    no_room += u64::from(!group.leaves_room(cell));
                    if !families.contains(cell.family) {
                        families.insert(cell.family.to_vec());
                    }
                    first.insert(words(cell));
                    if first.len() > NAMED {
                        first.pop_last();
                    }
                }
                Ok(())
            })?;
        }
        Ok((shard.attempt.clone(), (cells, no_room), first, families))
    };
    let mut covered = BTreeSet::new();
    let start = || scene.plan.gateways.client();
    let connections = scene.plan.resources.connections;
    work_through(connections, &queue, scene.progress, start, work, |(shard, (cells, no_room), first, families)| {
        all.no_room += no_room;
        covered.extend(families);
        if cells > 0 {
            all.shards.insert(shard, cells);
            all.first.extend(first);
            while all.first.len() > NAMED {
                all.first.pop_last();
            }
        }
    })?;
    for family in descriptor.families.iter().filter(|family| covered.contains(&family.name)) {
        let kept = family.attribute("KEEP_DELETED_CELLS").filter(|kept| !kept.eq_ignore_ascii_case("FALSE"));
        let name = String::from_utf8_lossy(&family.name).into_owned();
        all.keeping.extend(kept.map(|kept| (name, kept.to_ascii_uppercase())));
    }
    Ok(all)
}

fn words(cell: &Cell<'_>) -> String {
    let family = String::from_utf8_lossy(cell.family);
    format!("row {} column {family}:{} timestamp {}", hex(cell.row), hex(cell.qualifier), cell.timestamp)
}
