//! The maps and counters in the UID table of a backup.

use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::part_reader::cell_reader;
use crate::flow::{FlowError, Selection};
use crate::manifest::TableRecord;
use crate::model::{Cell, CellBlock, FileRow, OwnedCell, RawReason, TableKind, UidKind, UidNames};

use super::selected::Wanted;
use super::used_uids::{COLUMNS, Used};

/// Hands on the maps and counters that readers saw of a file's, selected or not: a raw backup holds names that were given up as well.
///
/// # Errors
/// The store's; a damaged file; what `each` returns.
pub fn each_seen(
    tools: ReadTools<'_>,
    contents: &BackupContents,
    file: &FileRow,
    each: &mut dyn FnMut(&Cell<'_>) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    if let Some(source) = &contents.source {
        // Only what readers see.
        return source.cells(tools, file, &mut |block| block.iter().filter(is_uid).try_for_each(|cell| each(&cell)));
    }
    let _memory = tools.memory.reserve_file(file.kind, file.size);
    let mut reader = cell_reader(tools, file, None)?;
    let mut block = CellBlock::new();
    while reader.next(&mut block)? {
        for (at, cell) in block.iter().enumerate() {
            let reason = reader.reasons().get(at);
            let hidden = [RawReason::DeleteMarker, RawReason::Deleted, RawReason::OldVersion];
            if is_uid(&cell) && !reason.is_some_and(|reason| hidden.contains(reason)) {
                each(&cell)?;
            }
        }
        block.clear();
    }
    Ok(())
}

/// Forward and reverse maps and the counters; not UIDMeta.
fn is_uid(cell: &Cell<'_>) -> bool {
    COLUMNS.contains(&cell.qualifier) && (cell.family == b"name" || cell.family == b"id")
}

/// True for the cell that counts the UIDs of a kind.
pub fn is_counter(cell: &Cell<'_>) -> bool {
    cell.family == b"id" && cell.row == [0]
}

/// What a selection wants of a backup, by the names of its UID table.
///
/// # Errors
/// [`FlowError::Input`] for patterns of names where the backup has none; the store's; a damaged file.
pub fn wanted(selection: &Selection, contents: &BackupContents, tools: ReadTools<'_>) -> Result<Wanted, FlowError> {
    let manifest = &contents.manifest;
    let mut names = UidNames::new();
    let uid_table = manifest.tables.iter().find(|table| table.kind == TableKind::Uid);
    if uid_table.is_none() && !(selection.metrics.is_empty() && selection.tags.is_empty()) {
        return Err(FlowError::input(
            "the backup has no UID table, so its metrics and tags have no names: only --from, --to and --since select \
             from it",
        ));
    }
    for file in uid_table.into_iter().flat_map(|table| contents.files_of(&table.name)) {
        each_seen(tools, contents, file, &mut |cell| {
            let column = COLUMNS.iter().position(|column| *column == cell.qualifier);
            if let Some(kind) = column.and_then(|at| UidKind::ALL.get(at)).filter(|_| cell.family == b"name") {
                names.insert(*kind, cell.row, &manifest.name_charset.decode(cell.value));
            }
            Ok(())
        })?;
    }
    Ok(Wanted::new(selection, manifest, names))
}

/// The cells of the backup's UID table that name UIDs of `used`, and the counters, as readers saw them.
///
/// # Errors
/// The store's; a damaged file.
pub fn uid_cells(
    contents: &BackupContents,
    table: &TableRecord,
    used: &Used,
    tools: ReadTools<'_>,
) -> Result<Vec<OwnedCell>, FlowError> {
    let mut cells = Vec::new();
    for file in contents.files_of(&table.name) {
        each_seen(tools, contents, file, &mut |cell| {
            let uid = if cell.family == b"id" { cell.value } else { cell.row };
            if is_counter(cell) || used.contains(cell.qualifier, uid) {
                cells.push(cell.to_owned());
            }
            Ok(())
        })?;
    }
    cells.sort_unstable();
    Ok(cells)
}
