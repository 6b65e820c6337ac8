//! UIDs of the target against those of the backup: the same number must stand for the same name, or every point would
//! belong to another metric.
//!
//! The UID table of the target is one of those that are restored, or the one that a TSD there uses: the one that was
//! named, else the one of the backup by its new name.

use std::collections::{BTreeMap, HashSet};

use crate::cluster::Client;
use crate::flow::backup_files::{BackupContents, fetch};
use crate::flow::contents::cells_of;
use crate::flow::threads::Threads;
use crate::flow::{FlowError, RestorePlan};
use crate::manifest::TableRecord;
use crate::model::{CellBlock, FileKind, KeyLayout, KeyRange, OwnedCell, TableKind, hex};
use crate::parquet_file::read_series;
use crate::scan::{ScanOptions, ShardScan};

use super::contain::split;
use super::target::{Target, in_new_namespace};

/// Conflicts, and UIDs without a name, that are named.
const NAMED: usize = 5;
/// Columns of the maps, in the order in which a TSUID has its UIDs.
const COLUMNS: [&[u8]; 3] = [b"metrics", b"tagk", b"tagv"];

/// Row, family and qualifier of a cell of the UID table.
type MapKey = (Vec<u8>, Vec<u8>, Vec<u8>);
/// Forward and reverse maps and the counters.
type Maps = BTreeMap<MapKey, OwnedCell>;
/// Column and UID of the UIDs that data uses.
type Used = HashSet<(Vec<u8>, Vec<u8>)>;

/// Refuses when a UID means something else in the target than in the backup, and warns of what cannot be compared, of
/// UIDs without a name, and of counters that would be lower than the UIDs that are given out.
///
/// # Errors
/// [`FlowError::Refused`]; the gateway's or the store's.
pub fn check(
    client: &mut Client,
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    targets: &[Target<'_>],
    warnings: &mut Vec<String>,
) -> Result<(), FlowError> {
    let Some(table) = contents.manifest.tables.iter().find(|table| table.kind == TableKind::Uid) else {
        warnings
            .push("the backup has no UID table: whether its UIDs mean the same in the target cannot be checked".into());
        return Ok(());
    };
    let restored = targets.iter().find(|target| target.table.kind == TableKind::Uid);
    if restored.is_some_and(|target| !target.had_rows) {
        return Ok(());
    }
    let uses = |target: &&Target<'_>| !matches!(target.table.kind, TableKind::Uid | TableKind::Other);
    let users: Vec<&TableRecord> = targets.iter().filter(uses).map(|target| target.table).collect();
    if restored.is_none() && users.is_empty() {
        return Ok(());
    }
    let name = match restored {
        Some(target) => target.name.clone(),
        None => uid_table(plan, table),
    };
    let there = match restored.is_some() || client.table_names()?.contains(&name) {
        true => maps_there(client, &name)?,
        false => Maps::new(),
    };
    if there.is_empty() {
        warnings.push(format!(
            "the target has no UID table {name}, or an empty one: whether the UIDs of the restored rows mean the same there \
             cannot be checked; --uid-table names another one, and without --table the UID table is restored as well"
        ));
        return Ok(());
    }
    let saved = maps_of_backup(plan, threads, contents, table)?;
    let used = match restored {
        Some(_) => None,
        None => used(plan, threads, contents, &users)?,
    };
    compare(&saved, &there, used.as_ref(), &name, restored.is_some(), warnings)
}

/// The UID table of the target when it is not restored.
fn uid_table(plan: &RestorePlan, saved: &TableRecord) -> String {
    let renamed = plan.rename.iter().find(|(old, _)| *old == saved.name).map(|(_, new)| new.clone());
    let by_namespace = || in_new_namespace(&saved.name, &plan.rename_namespaces);
    plan.uid_table.clone().or(renamed).unwrap_or_else(by_namespace)
}

fn compare(
    saved: &Maps,
    there: &Maps,
    used: Option<&Used>,
    table: &str,
    restored: bool,
    warnings: &mut Vec<String>,
) -> Result<(), FlowError> {
    let (mut conflicts, mut nameless) = (Vec::new(), Vec::new());
    for (key, cell) in saved {
        if is_counter(cell) {
            let found = there.get(key).filter(|_| restored);
            warnings.extend(found.and_then(|found| counter_goes_back(cell, found, table)));
            continue;
        }
        let uid = if cell.family == b"id" { &cell.value } else { &cell.row };
        if used.is_some_and(|used| !used.contains(&(cell.qualifier.clone(), uid.clone()))) {
            continue;
        }
        match there.get(key) {
            Some(found) if found.value != cell.value => conflicts.push(conflict(cell, &found.value)),
            None if cell.family == b"name" => nameless.push(format!("{} {}", text(&cell.qualifier), hex(&cell.row))),
            _ => {}
        }
    }
    if !conflicts.is_empty() {
        let count = conflicts.len();
        conflicts.truncate(NAMED);
        return Err(FlowError::refused(format!(
            "the UIDs in {table} do not agree with the backup in {count} places (first: {}): data would change its meaning; \
             restore into tables of their own, the UID table among them, or name the UID table that belongs to the target \
             with --uid-table",
            conflicts.join("; ")
        )));
    }
    if !nameless.is_empty() && !restored {
        let count = nameless.len();
        nameless.truncate(NAMED);
        warnings.push(format!(
            "{count} UIDs that the restored rows use have no name in {table} (first: {}): a TSD cannot read these rows, and \
             may give the UIDs to other names; restore the UID table as well",
            nameless.join(", ")
        ));
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// One UID that means something else there.
fn conflict(cell: &OwnedCell, there: &[u8]) -> String {
    let column = text(&cell.qualifier);
    if cell.family == b"id" {
        format!("{column} {} is {} there, {} in the backup", text(&cell.row), hex(there), hex(&cell.value))
    } else {
        format!("{column} {} is {} there, {} in the backup", hex(&cell.row), text(there), text(&cell.value))
    }
}

/// The newer cell of a counter wins; when it has the lower number, TSDs give out UIDs that are taken, and fail at it.
fn counter_goes_back(cell: &OwnedCell, there: &OwnedCell, table: &str) -> Option<String> {
    let number = |value: &[u8]| value.try_into().map(u64::from_be_bytes).ok();
    let (saved, live) = (number(&cell.value)?, number(&there.value)?);
    let wins = if cell.timestamp >= there.timestamp { saved } else { live };
    (wins < saved.max(live)).then(|| {
        format!(
            "the counter of {} UIDs in {table} will be {wins} although {} are given out (there {live}, in the backup \
             {saved}): set it right with `tsdb uid fsck fix` before a TSD creates names",
            text(&cell.qualifier),
            saved.max(live)
        )
    })
}

/// What the target shows.
fn maps_there(client: &mut Client, table: &str) -> Result<Maps, FlowError> {
    let options = ScanOptions { max_versions: 1, ..ScanOptions::default() };
    let mut scan = ShardScan::new(client, table, KeyRange::all(), options);
    let mut page = CellBlock::new();
    let mut maps = Maps::new();
    while scan.next_page(&mut page)?.is_some() {
        let cells = page.iter().filter(|cell| is_uid(cell.family, cell.qualifier)).map(|cell| cell.to_owned());
        maps.extend(cells.map(|cell| (key_of(&cell), cell)));
    }
    Ok(maps)
}

/// What readers saw when it was backed up: a raw backup holds names that were given up as well.
fn maps_of_backup(
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    table: &TableRecord,
) -> Result<Maps, FlowError> {
    let mut cells = Vec::new();
    for file in contents.files_of(&table.name).filter(|file| !file.kind.is_catalogue()) {
        let bytes = fetch(threads, &plan.store, file)?;
        cells_of(bytes, file.kind, file.rows, &contents.manifest.layouts(), &mut |block| {
            // Markers of a whole family have no qualifier.
            let wanted =
                |cell: &crate::model::Cell<'_>| cell.qualifier.is_empty() || is_uid(cell.family, cell.qualifier);
            cells.extend(block.iter().filter(wanted).map(|cell| cell.to_owned()));
            Ok(())
        })?;
    }
    let (seen, _) = split(cells, &|_| 1);
    let maps = seen.into_iter().filter(|cell| is_uid(&cell.family, &cell.qualifier));
    Ok(maps.map(|cell| (key_of(&cell), cell)).collect())
}

fn key_of(cell: &OwnedCell) -> MapKey {
    (cell.row.clone(), cell.family.clone(), cell.qualifier.clone())
}

/// Forward and reverse maps and the counters; not UIDMeta.
fn is_uid(family: &[u8], qualifier: &[u8]) -> bool {
    COLUMNS.contains(&qualifier) && (family == b"name" || family == b"id")
}

fn is_counter(cell: &OwnedCell) -> bool {
    cell.family == b"id" && cell.row == [0]
}

/// The UIDs of the series in these tables; `None` when they hold rows whose series are in no list, so that all UIDs of
/// the backup count as used.
fn used(
    plan: &RestorePlan,
    threads: &Threads,
    contents: &BackupContents,
    tables: &[&TableRecord],
) -> Result<Option<Used>, FlowError> {
    let listed = |kind| matches!(kind, FileKind::Points | FileKind::Series | FileKind::Cells);
    let mut used = Used::new();
    for table in tables {
        if contents.files_of(&table.name).any(|file| !listed(file.kind)) {
            return Ok(None);
        }
        for file in contents.files_of(&table.name).filter(|file| file.kind == FileKind::Series) {
            for series in read_series(fetch(threads, &plan.store, file)?)? {
                add_uids(&series.tsuid, &contents.manifest.layout, &mut used);
            }
        }
    }
    Ok(Some(used))
}

/// Adds the UIDs of a TSUID in hex.
fn add_uids(tsuid: &str, layout: &KeyLayout, used: &mut Used) {
    let digits = |at: usize| tsuid.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Vec<u8> = (0..tsuid.len()).step_by(2).map_while(digits).collect();
    let (metric, mut rest) = bytes.split_at(bytes.len().min(usize::from(layout.metric_width)));
    used.insert((COLUMNS[0].to_vec(), metric.to_vec()));
    for (column, width) in COLUMNS[1..].iter().zip([layout.tagk_width, layout.tagv_width]).cycle() {
        let Some((uid, others)) = rest.split_at_checked(usize::from(width)).filter(|(uid, _)| !uid.is_empty()) else {
            return;
        };
        used.insert((column.to_vec(), uid.to_vec()));
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_of_a_series() {
        let layout = KeyLayout { metric_width: 3, tagk_width: 2, tagv_width: 1, ..KeyLayout::default() };
        let mut used = Used::new();
        add_uids("000001", &layout, &mut used);
        add_uids("0000020001FF0002FE", &layout, &mut used);
        let wanted: Used = [
            (&b"metrics"[..], &[0, 0, 1][..]),
            (b"metrics", &[0, 0, 2]),
            (b"tagk", &[0, 1]),
            (b"tagk", &[0, 2]),
            (b"tagv", &[0xff]),
            (b"tagv", &[0xfe]),
        ]
        .into_iter()
        .map(|(column, uid)| (column.to_vec(), uid.to_vec()))
        .collect();
        assert_eq!(used, wanted);
    }
}
