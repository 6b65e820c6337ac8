//! The maps and counters in the UID table of a backup.

use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools, fetch};
use crate::model::{Cell, CellBlock, FileRow, RawReason};
use crate::parquet_file::CellReader;

/// Columns of the maps, in the order in which a TSUID has its UIDs.
pub const COLUMNS: [&[u8]; 3] = [b"metrics", b"tagk", b"tagv"];

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
    let bytes = fetch(tools.threads, tools.store, file)?;
    tools.progress.fetched(bytes.len() as u64);
    let mut reader = CellReader::open(bytes, file.rows)?;
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
