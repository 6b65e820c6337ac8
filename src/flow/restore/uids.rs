//! UIDs of the target against those of the backup: the same number must stand for the same name.

use std::collections::BTreeMap;

use crate::cluster::Client;
use crate::flow::backup_files::{BackupContents, fetch};
use crate::flow::contents::cells_of;
use crate::flow::threads::Threads;
use crate::flow::{FlowError, RestorePlan};
use crate::model::{Cell, CellBlock, KeyRange, OwnedCell, hex};
use crate::scan::{ScanOptions, ShardScan};

use super::target::Target;

/// Refuses when a UID means something else in the target than in the backup, and warns of counters that would be lower
/// than the UIDs that are given out.
///
/// # Errors
/// [`FlowError::Refused`]; the gateway's or the store's.
pub fn check(
    client: &mut Client,
    target: &Target<'_>,
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    warnings: &mut Vec<String>,
) -> Result<(), FlowError> {
    let there = uid_cells(client, &target.name)?;
    let mut conflicts = Vec::new();
    for file in contents.files_of(&target.table.name) {
        let bytes = fetch(threads, &plan.store, file)?;
        cells_of(bytes, file.kind, &contents.manifest.layout, &mut |block| {
            for cell in block.iter().filter(|cell| is_uid(cell)) {
                match there.get(&key_of(&cell)) {
                    Some(found) if is_counter(&cell) => warnings.extend(counter_goes_back(&cell, found, &target.name)),
                    Some(found) if found.value != cell.value => conflicts.push(conflict(&cell, &found.value)),
                    _ => {}
                }
            }
            Ok(())
        })?;
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    let count = conflicts.len();
    conflicts.truncate(5);
    Err(FlowError::refused(format!(
        "the UIDs in {} do not agree with the backup in {count} places (first: {}): data would change its meaning; restore \
         into tables of their own",
        target.name,
        conflicts.join("; ")
    )))
}

/// One UID that means something else there.
fn conflict(cell: &Cell<'_>, there: &[u8]) -> String {
    let column = String::from_utf8_lossy(cell.qualifier);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    if cell.family == b"id" {
        format!("{column} {} is {} there, {} in the backup", text(cell.row), hex(there), hex(cell.value))
    } else {
        format!("{column} {} is {} there, {} in the backup", hex(cell.row), text(there), text(cell.value))
    }
}

/// The newer cell of a counter wins; when it has the lower number, TSDs give out UIDs that are taken, and fail at it.
fn counter_goes_back(cell: &Cell<'_>, there: &OwnedCell, table: &str) -> Option<String> {
    let number = |value: &[u8]| value.try_into().map(u64::from_be_bytes).ok();
    let (saved, live) = (number(cell.value)?, number(&there.value)?);
    let wins = if cell.timestamp >= there.timestamp { saved } else { live };
    (wins < saved.max(live)).then(|| {
        format!(
            "the counter of {} UIDs in {table} will be {wins} although {} are given out (there {live}, in the backup \
             {saved}): set it right with `tsdb uid fsck fix` before a TSD creates names",
            String::from_utf8_lossy(cell.qualifier),
            saved.max(live)
        )
    })
}

type MapKey = (Vec<u8>, Vec<u8>, Vec<u8>);

fn key_of(cell: &Cell<'_>) -> MapKey {
    (cell.row.to_vec(), cell.family.to_vec(), cell.qualifier.to_vec())
}

fn uid_cells(client: &mut Client, table: &str) -> Result<BTreeMap<MapKey, OwnedCell>, FlowError> {
    let options = ScanOptions { max_versions: 1, ..ScanOptions::default() };
    let mut scan = ShardScan::new(client, table, KeyRange::all(), options);
    let mut page = CellBlock::new();
    let mut cells = BTreeMap::new();
    while scan.next_page(&mut page)?.is_some() {
        cells.extend(page.iter().filter(is_uid).map(|cell| (key_of(&cell), cell.to_owned())));
    }
    Ok(cells)
}

/// Forward and reverse maps and the counters; not UIDMeta.
fn is_uid(cell: &Cell<'_>) -> bool {
    let columns: [&[u8]; 3] = [b"metrics", b"tagk", b"tagv"];
    columns.contains(&cell.qualifier) && (cell.family == b"name" || cell.family == b"id")
}

fn is_counter(cell: &Cell<'_>) -> bool {
    cell.family == b"id" && cell.row == [0]
}
