//! UIDs of the target against those of the backup: the same number must stand for the same name, or every point would
//! belong to another metric.
//!
//! | restored | compared with |
//! | --- | --- |
//! | the UID table, into one that holds rows | that one, all UIDs |
//! | data, meta or trees without the UID table | the UID table that was named, else the one of the backup by its new name |
//! | the UID table, and data, meta or trees into tables that hold rows | the UID table that was named, else the one of the backup by the name that it has without `--rename-table`: wherever the UIDs go, a TSD reads these rows with its own |
//! | everything into tables without rows | nothing |
//!
//! Of a selection only the UIDs count that its rows use, and an existing UID table gets those that it lacks ([`missing`]).
//!
//! Both sides are in key order, so they are read side by side: a page of one and a block of the other are in memory.

use crate::cluster::Client;
use crate::codec::row_key;
use crate::flow::FlowError;
use crate::flow::RestorePlan;
use crate::flow::stored::backup_files::fetch;
use crate::flow::stored::contents::cells_of_file;
use crate::flow::stored::uid_cells::{each_seen, is_counter};
use crate::flow::stored::used_uids::Used;
use crate::manifest::{BackupKind, TableRecord};
use crate::model::{Cell, CellBlock, FileKind, FileRow, KeyRange, OwnedCell, RowView, TableKind, hex};
use crate::parquet_file::read_series;
use crate::scan::{ScanOptions, ShardScan};

use super::scene::Scene;
use super::target::{Target, in_new_namespace, shows_rows};

/// Conflicts, and UIDs without a name, that are named.
const NAMED: usize = 5;

/// Refuses when a UID means something else in the target than in the backup, and warns of what cannot be compared, and of
/// UIDs without a name. Gives the counters that would be lower than the UIDs that are given out; a window, which adds
/// points to tables that are in use, is refused for them.
///
/// # Errors
/// [`FlowError::Refused`]; the gateway's or the store's.
pub fn check(
    scene: &Scene<'_>,
    client: &mut Client,
    targets: &[Target<'_>],
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, FlowError> {
    let Some((saved, files)) = scene.contents.uid_table() else {
        warnings
            .push("the backup has no UID table: whether its UIDs mean the same in the target cannot be checked".into());
        return Ok(Vec::new());
    };
    let restored = targets.iter().find(|target| target.table.kind == TableKind::Uid);
    let uses = |target: &&Target<'_>| !matches!(target.table.kind, TableKind::Uid | TableKind::Other);
    // With UIDs of their own, rows in tables that held none are nobody else's.
    let users: Vec<&Target<'_>> =
        targets.iter().filter(uses).filter(|target| restored.is_none() || target.had_rows).collect();
    let filled = restored.filter(|target| target.had_rows).map(|target| target.name.as_str());
    // What of a selection goes into a UID table that holds rows was compared when it was selected.
    let counters = match filled.filter(|_| scene.contents.selected.is_none()) {
        Some(name) => compare(scene, client, &files, None, name, warnings)?,
        None => Vec::new(),
    };
    if let Some(first) = counters.first().filter(|_| scene.contents.manifest.kind == BackupKind::Window) {
        return Err(FlowError::refused(format!(
            "{first}. Nothing was written; with --metric '*' the window adds the names that the table lacks, and leaves its \
             counters alone"
        )));
    }
    let advice =
        |counter: String| format!("{counter}: set it right with `tsdb uid fsck fix` before a TSD creates names");
    let counters: Vec<String> = counters.into_iter().map(advice).collect();
    if users.is_empty() {
        return Ok(counters);
    }
    let plan = scene.plan;
    let name = match restored {
        None => uid_table(plan, saved),
        Some(_) => plan.uid_table.clone().unwrap_or_else(|| in_new_namespace(&saved.name, &plan.rename_namespaces)),
    };
    // A renamed table belongs to nobody knows which installation.
    let guessed = restored.is_some() && plan.uid_table.is_none();
    let stranger = users.iter().find(|user| plan.rename.iter().any(|(old, _)| *old == user.table.name));
    let all_strange = guessed && users.iter().all(|user| plan.rename.iter().any(|(old, _)| *old == user.table.name));
    if filled.is_some_and(|filled| filled == name || all_strange) {
        return Ok(counters);
    }
    if !client.table_names()?.contains(&name) || !shows_rows(client, &name)? {
        warnings.push(format!(
            "the target has no UID table {name}, or an empty one: whether the UIDs of the restored rows mean the same there \
             cannot be checked; --uid-table names another one{}",
            if restored.is_none() { ", and without --table the UID table is restored as well" } else { "" }
        ));
        return Ok(counters);
    }
    if let Some(user) = stranger.filter(|_| guessed && filled.is_none()) {
        warnings.push(format!(
            "table {} holds rows, and which UID table belongs to them is not known: the UIDs of the backup are compared with \
             {name}; --uid-table names another one",
            user.name
        ));
    }
    let tables: Vec<&TableRecord> = users.iter().map(|user| user.table).collect();
    match &scene.contents.selected {
        Some(selected) => compare(scene, client, &files, Some(Some(&selected.used)), &name, warnings),
        None => compare(scene, client, &files, Some(used(scene, &tables)?.as_ref()), &name, warnings),
    }?;
    Ok(counters)
}

/// What an existing UID table lacks of cells that are sorted by row, the counters left out.
///
/// # Errors
/// [`FlowError::Refused`] when UIDs mean something else there, or a counter is below a UID that it lacks: a TSD would
/// give that one to another name. The gateway's.
pub fn missing(
    scene: &Scene<'_>,
    client: &mut Client,
    cells: &[OwnedCell],
    name: &str,
) -> Result<Vec<OwnedCell>, FlowError> {
    let mut rows = live_rows(scene, client, name);
    let mut found = Findings { table: name, restored: true, ..Findings::default() };
    let (mut lacks, mut counters) = (Vec::new(), Vec::new());
    for cell in cells {
        let there = rows.row(&cell.row)?.and_then(|row| same_column(row, &cell.as_cell()));
        if is_counter(&cell.as_cell()) {
            counters.push((cell, there.map(|there| there.value.to_vec())));
        } else {
            found.cell(&cell.as_cell(), there);
            lacks.extend(there.is_none().then(|| cell.clone()));
        }
    }
    found.finish(&mut Vec::new())?;
    for (counter, there) in counters {
        let there = there.and_then(|value| number_of_counter(&value)).unwrap_or(0);
        let of_kind = lacks.iter().filter(|cell| cell.qualifier == counter.qualifier && cell.family == b"name");
        let most = of_kind.map(|cell| cell.row.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))).max().unwrap_or(0);
        if most > there {
            return Err(FlowError::refused(low_counter(name, &counter.qualifier, there, most)));
        }
    }
    Ok(lacks)
}

fn low_counter(table: &str, column: &[u8], there: u64, most: u64) -> String {
    let column = text(column);
    format!(
        "the counter of {column} UIDs in {table} is {there}, and the selected rows use UIDs up to {most} that have no name \
         there: a TSD would give them to other names. Nothing was written. Raise the counter in the HBase shell, which \
         loses no increment of a TSD, and run the same command again: incr '{table}', \"\\x00\", 'id:{column}', {}. Or \
         restore data and UIDs under new names with --rename-table",
        most - there
    )
}

/// The UID table of the target when it is not restored.
fn uid_table(plan: &RestorePlan, saved: &TableRecord) -> String {
    let renamed = plan.rename.iter().find(|(old, _)| *old == saved.name).map(|(_, new)| new.clone());
    let by_namespace = || in_new_namespace(&saved.name, &plan.rename_namespaces);
    plan.uid_table.clone().or(renamed).unwrap_or_else(by_namespace)
}

/// Compares what readers saw of the files of the saved table with what `name` shows. `used`: the UIDs that count
/// (`Some(None)`: all) when the table is not the one that is restored. Gives the counters that would go back.
fn compare(
    scene: &Scene<'_>,
    client: &mut Client,
    files: &[&FileRow],
    used: Option<Option<&Used>>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, FlowError> {
    let mut rows = live_rows(scene, client, name);
    scene.progress.stage(format!("comparing UIDs with {name}"), 0);
    let mut found = Findings { table: name, restored: used.is_none(), ..Findings::default() };
    let used = used.flatten();
    for file in files {
        each_seen(scene.tools(), scene.contents, file, &mut |cell| {
            let uid = if cell.family == b"id" { cell.value } else { cell.row };
            if is_counter(cell) || used.is_none_or(|used| used.contains(cell.qualifier, uid)) {
                let there = rows.row(cell.row)?;
                found.cell(cell, there.and_then(|row| same_column(row, cell)));
            }
            Ok(())
        })?;
    }
    found.finish(warnings)
}

fn same_column<'r>(row: RowView<'r>, cell: &Cell<'_>) -> Option<Cell<'r>> {
    row.iter().find(|there| (there.family, there.qualifier) == (cell.family, cell.qualifier))
}

/// The rows that a table of the target shows.
fn live_rows<'s>(
    scene: &'s Scene<'_>,
    client: &'s mut Client,
    name: &'s str,
) -> Rows<impl FnMut(&[u8], &mut CellBlock) -> Next + use<'s>> {
    let mut options = scene.pace.pages(ScanOptions { max_versions: 1, ..ScanOptions::default() });
    Rows::new(move |from: &[u8], page: &mut CellBlock| {
        let range = KeyRange::new(from.to_vec(), Vec::new());
        let mut scan = ShardScan::new(&mut *client, name, range, options.clone());
        let Some(bytes) = scene.pace.next_page(&mut scan, page)? else { return Ok(None) };
        scene.progress.read(bytes);
        options.first_rows = scan.page_rows();
        Ok(scan.position().map(<[u8]>::to_vec))
    })
}

/// The key to read on from, if there may be more rows.
type Next = Result<Option<Vec<u8>>, FlowError>;

/// Rows of a table, found by their keys. Keys that ascend are found in one reading of the table.
struct Rows<F> {
    /// Reads rows from a key on.
    read: F,
    page: CellBlock,
    at: usize,
    next: Option<Vec<u8>>,
    asked: Option<Vec<u8>>,
}

impl<F: FnMut(&[u8], &mut CellBlock) -> Next> Rows<F> {
    fn new(read: F) -> Self {
        Self { read, page: CellBlock::new(), at: 0, next: None, asked: None }
    }

    fn row(&mut self, key: &[u8]) -> Result<Option<RowView<'_>>, FlowError> {
        if self.asked.as_deref().is_none_or(|asked| key < asked) {
            self.page.clear();
            (self.at, self.next) = (0, Some(key.to_vec()));
        }
        let asked = self.asked.get_or_insert_default();
        asked.clear();
        asked.extend_from_slice(key);
        loop {
            while self.page.row(self.at).is_some_and(|row| row.key < key) {
                self.at += 1;
            }
            if self.at < self.page.row_count() {
                return Ok(self.page.row(self.at).filter(|row| row.key == key));
            }
            let Some(from) = self.next.take() else { return Ok(None) };
            // What lies before the key was not asked for.
            self.next = (self.read)(from.as_slice().max(key), &mut self.page)?;
            self.at = 0;
        }
    }
}

/// What the comparison of two UID tables comes to.
#[derive(Default)]
struct Findings<'a> {
    table: &'a str,
    restored: bool,
    conflicts: u64,
    nameless: u64,
    /// The first of each, in words.
    named_conflicts: Vec<String>,
    named_nameless: Vec<String>,
    counters: Vec<String>,
}

impl Findings<'_> {
    fn cell(&mut self, cell: &Cell<'_>, there: Option<Cell<'_>>) {
        match there {
            _ if is_counter(cell) => {
                let found = there.filter(|_| self.restored);
                self.counters.extend(found.and_then(|found| counter_goes_back(cell, &found, self.table)));
            }
            Some(found) if found.value != cell.value => {
                self.conflicts += 1;
                if self.named_conflicts.len() < NAMED {
                    self.named_conflicts.push(conflict(cell, found.value));
                }
            }
            None if cell.family == b"name" => {
                self.nameless += 1;
                if self.named_nameless.len() < NAMED {
                    self.named_nameless.push(format!("{} {}", text(cell.qualifier), hex(cell.row)));
                }
            }
            _ => {}
        }
    }

    /// Gives the counters that would go back.
    fn finish(self, warnings: &mut Vec<String>) -> Result<Vec<String>, FlowError> {
        let Self { table, .. } = self;
        if self.conflicts > 0 {
            return Err(FlowError::refused(format!(
                "the UIDs in {table} do not agree with the backup in {} places (first: {}): data would change its meaning; \
                 restore all tables, data and UIDs, under new names with --rename-table, or name the UID table that belongs \
                 to the target with --uid-table",
                self.conflicts,
                self.named_conflicts.join("; ")
            )));
        }
        if self.nameless > 0 && !self.restored {
            warnings.push(format!(
                "{} UIDs that the restored rows use have no name in {table} (first: {}): a TSD cannot read these rows, and \
                 may give the UIDs to other names; restore the UID table as well",
                self.nameless,
                self.named_nameless.join(", ")
            ));
        }
        Ok(self.counters)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// One UID that means something else there.
fn conflict(cell: &Cell<'_>, there: &[u8]) -> String {
    let column = text(cell.qualifier);
    if cell.family == b"id" {
        format!("{column} {} is {} there, {} in the backup", text(cell.row), hex(there), hex(cell.value))
    } else {
        format!("{column} {} is {} there, {} in the backup", hex(cell.row), text(there), text(cell.value))
    }
}

fn number_of_counter(value: &[u8]) -> Option<u64> {
    value.try_into().map(u64::from_be_bytes).ok()
}

/// The newer cell of a counter wins; when it has the lower number, TSDs give out UIDs that are taken, and fail at it.
fn counter_goes_back(cell: &Cell<'_>, there: &Cell<'_>, table: &str) -> Option<String> {
    let (saved, live) = (number_of_counter(cell.value)?, number_of_counter(there.value)?);
    let wins = if cell.timestamp >= there.timestamp { saved } else { live };
    (wins < saved.max(live)).then(|| {
        format!(
            "the counter of {} UIDs in {table} will be {wins} although {} are given out (there {live}, in the backup \
             {saved})",
            text(cell.qualifier),
            saved.max(live)
        )
    })
}

/// The UIDs in the row keys of these tables; `None` when they hold rows whose series are in no list, so that all UIDs of
/// the backup count as used. A key that fits no layout names nothing.
fn used(scene: &Scene<'_>, tables: &[&TableRecord]) -> Result<Option<Used>, FlowError> {
    let layouts = scene.contents.manifest.layouts();
    let mut used = Used::default();
    for table in tables {
        let keyed = matches!(table.kind, TableKind::Data | TableKind::Rollup);
        let listed = |kind| matches!(kind, FileKind::Points | FileKind::Series | FileKind::Cells);
        if scene.contents.files_of(&table.name).any(|file| !keyed || !listed(file.kind)) {
            return Ok(None);
        }
        for file in scene.contents.files_of(&table.name).filter(|file| file.kind != FileKind::Points) {
            if file.kind == FileKind::Series {
                let _memory = scene.memory.reserve_file(file.kind, file.size);
                let bytes = fetch(scene.threads, &scene.plan.store, file)?;
                scene.progress.fetched(bytes.len() as u64);
                for series in read_series(bytes)? {
                    used.add_tsuid(&series.tsuid, layouts.main());
                }
                continue;
            }
            cells_of_file(scene.tools(), scene.contents, file, &mut |block| {
                for found in block.rows().filter_map(|row| row_key::find(row.key, &layouts)) {
                    used.add_series(found.key.metric, found.key.tags, layouts.main());
                }
                Ok(())
            })?;
        }
    }
    Ok(Some(used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    /// A table whose pages have two rows, and the keys that pages were asked for from.
    fn pages<'a>(
        keys: &'a [&'a [u8]],
        asked: &'a mut Vec<Vec<u8>>,
    ) -> Rows<impl FnMut(&[u8], &mut CellBlock) -> Next + 'a> {
        Rows::new(|from: &[u8], page: &mut CellBlock| {
            asked.push(from.to_vec());
            page.clear();
            let left: Vec<&[u8]> = keys.iter().copied().filter(|key| *key >= from).collect();
            for key in left.iter().take(2) {
                page.push_row(key).unwrap();
                page.push_cell(b"id", b"metrics", 1, kind::PUT, key).unwrap();
            }
            Ok(left.get(2).map(|key| key.to_vec()))
        })
    }

    #[test]
    fn rows_are_found_side_by_side() {
        let keys: [&[u8]; 7] = [b"\0", b"b", b"ba", b"d", b"e", b"g", b"h"];
        let mut asked = Vec::new();
        let mut rows = pages(&keys, &mut asked);
        let mut value = |key: &[u8]| {
            let row = rows.row(key).unwrap();
            row.map(|row| row.iter().next().unwrap().value.to_vec())
        };
        for (key, there) in [
            ("a", false),
            ("b", true),
            ("b", true),
            ("ba", true),
            ("c", false),
            ("g", true),
            ("i", false),
            ("j", false),
        ] {
            assert_eq!(value(key.as_bytes()), there.then(|| key.as_bytes().to_vec()), "{key}");
        }
        // Another file begins further up.
        assert_eq!(value(b"d"), Some(b"d".to_vec()));
        assert_eq!(value(b"\0"), Some(b"\0".to_vec()));
        assert_eq!(value(b"h"), Some(b"h".to_vec()));
        drop(rows);
        let wanted: [&[u8]; 6] = [b"a", b"d", b"g", b"d", b"\0", b"h"];
        assert_eq!(asked, wanted, "each page once as long as keys ascend, and none without a wanted key");
        let mut none = Vec::new();
        assert!(pages(&[], &mut none).row(b"x").unwrap().is_none());
    }
}
