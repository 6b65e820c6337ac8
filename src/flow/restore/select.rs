//! From a backup to a selection of it: the files that hold selected cells with the tallies of these, the UIDs that go
//! along, and the tables that are left out.
//!
//! The selected cells are read once to be counted and once more to be sent, so that what was sent is compared with
//! something. Nothing is written here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::Client;
use crate::codec::row_key;
use crate::flow::engine::queue::WorkQueue;
use crate::flow::engine::workers::work_through;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::stored::contents::selected_cells;
use crate::flow::stored::selected::{Selected, Wanted};
use crate::flow::stored::uid_cells::{self, is_counter, uid_cells};
use crate::flow::stored::used_uids::Used;
use crate::flow::{FlowError, SelectionReport};
use crate::manifest::TableRecord;
use crate::model::{CellHasher, FileRow, OwnedCell, ShardRow, TableKind, Tally, successor};

use super::log::Earlier;
use super::scene::Scene;
use super::target::{shows_rows, target_names};
use super::uids;

/// What is selected of a file.
#[derive(Default)]
struct Part {
    tally: Tally,
    rows: Option<(Vec<u8>, Vec<u8>)>,
    used: Used,
}

impl Part {
    fn widen(&mut self, row: &[u8]) {
        match &mut self.rows {
            None => self.rows = Some((row.to_vec(), row.to_vec())),
            Some((first, _)) if row < first.as_slice() => *first = row.to_vec(),
            Some((_, last)) if row > last.as_slice() => *last = row.to_vec(),
            Some(_) => {}
        }
    }

    /// Adds the cells of another part.
    fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        if let Some((first, last)) = &other.rows {
            self.widen(first);
            self.widen(last);
        }
    }
}

/// Narrows a backup to what the plan selects of it.
///
/// # Errors
/// [`FlowError::Input`] when it holds nothing of the selection, [`FlowError::Refused`] for UIDs that mean something else
/// in the target; the store's and the gateway's.
pub fn narrow(
    scene: &Scene<'_>,
    client: &mut Client,
    earlier: Option<&Earlier>,
) -> Result<(BackupContents, SelectionReport), FlowError> {
    let Scene { plan, contents, .. } = *scene;
    let tools = scene.tools();
    let names = target_names(plan, contents)?;
    let wanted = uid_cells::wanted(&plan.selection, contents, tools)?;
    let is_data = |table: &TableRecord| matches!(table.kind, TableKind::Data | TableKind::Rollup);
    let tables: BTreeSet<&str> =
        names.iter().filter(|(table, _)| is_data(table)).map(|(table, _)| table.name.as_str()).collect();
    let of_tables = || contents.files.iter().filter(|file| !file.kind.is_catalogue() && tables.contains(&*file.table));
    let candidates: Vec<&FileRow> = of_tables().filter(|file| wanted.may_be_in(file)).collect();
    let stored: Vec<&FileRow> = contents.stored_files().into_iter().filter(|f| tables.contains(&*f.table)).collect();
    let mut report = SelectionReport {
        files: stored.len() as u64,
        files_read: stored.iter().filter(|file| wanted.may_be_in(file)).count() as u64,
        bytes: stored.iter().map(|file| file.size).sum(),
        ..SelectionReport::default()
    };
    let mut parts = count(scene, &wanted, candidates)?;
    let mut used = Used::default();
    parts.values().for_each(|part| used.add_all(&part.used));
    if parts.is_empty() {
        return Err(FlowError::input(format!(
            "backup {} holds no point of the selection ({}); show --metric lists what it holds",
            contents.manifest.backup, plan.selection
        )));
    }
    report.uids = used.count();
    let uids = contents.uid_table().map(|(table, files)| (table.clone(), files.into_iter().cloned().collect()));
    let restored = names.iter().find(|(table, _)| table.kind == TableKind::Uid);
    let mut wanted = wanted;
    if let Some((table, name)) = restored {
        let cells = uids_to_restore(scene, client, earlier, (table, name), uid_cells(contents, table, &used, tools)?)?;
        report.uid_cells = cells.len() as u64;
        wanted = wanted.with_uid_cells(cells.into_iter().collect());
        let files = contents.files_of(&table.name).filter(|file| !file.kind.is_catalogue());
        parts.extend(count(scene, &wanted, files.collect())?);
    }
    let narrowed = narrowed(contents, &parts, Selected { wanted, used, uids, left_out: Vec::new() });
    // A UID table that lacks nothing is restored all the same, and what was not asked for is not missed.
    let missed = |name: &&String| names.iter().any(|(table, _)| table.name == **name && table.kind != TableKind::Uid);
    let left_out = narrowed.selected.iter().flat_map(|selected| &selected.left_out);
    report.left_out = left_out.filter(missed).cloned().collect();
    Ok((narrowed, report))
}

/// The tallies of what is wanted in files, by path; files without any are left out.
fn count(scene: &Scene<'_>, wanted: &Wanted, files: Vec<&FileRow>) -> Result<HashMap<String, Part>, FlowError> {
    let Scene { plan, contents, progress, .. } = *scene;
    progress.stage("counting what is selected", files.len() as u64);
    let mut parts = HashMap::new();
    let work = |(): &mut (), file: &FileRow| {
        let (mut part, mut hasher) = (Part::default(), CellHasher::new());
        selected_cells(scene.tools(), contents, wanted, file, &mut |block| {
            part.tally.add(&hasher.block(block));
            for row in block.rows() {
                part.widen(row.key);
                if let Some(found) = row_key::find(row.key, wanted.layouts()) {
                    part.used.add_series(found.key.metric, found.key.tags, wanted.layouts().main());
                }
            }
            Ok(())
        })
        .map_err(|error| error.at(file.path.clone()))?;
        Ok((file.path.clone(), part))
    };
    work_through(
        plan.resources.connections,
        &WorkQueue::new(files),
        progress,
        || (),
        work,
        |(path, part)| {
            if part.tally.cells > 0 {
                parts.insert(path, part);
            }
        },
    )?;
    Ok(parts)
}

/// Of the cells that the selection needs of the UID table, those that are to be written: all of them and the counters
/// into a table without rows, else what it lacks.
fn uids_to_restore(
    scene: &Scene<'_>,
    client: &mut Client,
    earlier: Option<&Earlier>,
    (table, name): (&TableRecord, &String),
    cells: Vec<OwnedCell>,
) -> Result<Vec<OwnedCell>, FlowError> {
    let begun = earlier.and_then(|earlier| earlier.target(&table.name));
    let is_ours = begun.is_some_and(|begun| !begun.had_rows);
    if is_ours || !client.table_names()?.contains(name) || !shows_rows(client, name)? {
        return Ok(cells);
    }
    let missing = uids::missing(scene, client, &cells, name)?;
    if let Some(first) = missing.first()
        && !scene.plan.into_existing
        && begun.is_none()
    {
        return Err(FlowError::refused(format!(
            "the UID table {name} lacks {} cells of names that the selected rows use (first: row {}); --into-existing adds \
             them, or restore the UIDs under a new name too, with --rename-table {}=NEW",
            missing.len(),
            String::from_utf8_lossy(&first.row).escape_debug(),
            table.name
        )));
    }
    debug_assert!(!missing.iter().any(|cell| is_counter(&cell.as_cell())), "counters are never set back");
    Ok(missing)
}

/// The backup as if it held nothing but the parts.
fn narrowed(contents: &BackupContents, parts: &HashMap<String, Part>, mut selected: Selected) -> BackupContents {
    let mut manifest = contents.manifest.clone();
    let mut files = Vec::new();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut shards: BTreeMap<(&str, &str), Part> = BTreeMap::new();
    for file in &contents.files {
        let Some(part) = parts.get(&file.path) else { continue };
        tallies.entry(&file.table).or_default().add(&part.tally);
        shards.entry((&file.table, &file.attempt)).or_default().add(part);
        let (first_row, last_row) = part.rows.clone().unzip();
        files.push(FileRow { tally: part.tally, first_row, last_row, ..file.clone() });
    }
    let narrow_shard = |shard: &ShardRow| {
        let Part { tally, rows, .. } = shards.get(&(shard.table.as_str(), shard.attempt.as_str()))?;
        let (start, last) = rows.clone()?;
        let stop = successor(&last).unwrap_or_else(|| shard.stop.clone());
        Some(ShardRow { tally: *tally, start, stop, ..shard.clone() })
    };
    let shards = contents.shards.iter().filter_map(narrow_shard).collect();
    manifest.tables.retain_mut(|table| match tallies.get(table.name.as_str()) {
        Some(tally) => {
            table.tally = *tally;
            true
        }
        None => {
            selected.left_out.push(table.name.clone());
            false
        }
    });
    let source = contents.source.clone();
    BackupContents { manifest, files, shards, source, selected: Some(selected) }
}
