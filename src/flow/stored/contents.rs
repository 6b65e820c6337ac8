//! The cells of a backup's file, as they came from HBase.

use bytes::Bytes;

use crate::codec::{Scratch, rebuild_segment};
use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools, fetch};
use crate::model::{Cell, CellBlock, FileKind, FileRow, KeyLayouts, ShardRow};
use crate::parquet_file::{CellReader, PointsReader};

/// Bytes of rebuilt cells that are handed on together.
const BLOCK_BYTES: usize = 4 << 20;

/// What reading the files of a backup takes.
pub struct ContentsReader<'a> {
    /// How to read.
    pub tools: ReadTools<'a>,
    /// The backup.
    pub contents: &'a BackupContents,
}

impl ContentsReader<'_> {
    /// Calls `each` with the cells of a shard's wanted files, block by block.
    ///
    /// # Errors
    /// The store's; a file that is damaged; [`FlowError::Interrupted`]; what `each` returns.
    pub fn each_block(
        &self,
        shard: &ShardRow,
        wanted: &dyn Fn(&FileRow) -> bool,
        each: &mut dyn FnMut(&FileRow, &CellBlock) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let mut files = self.contents.cells_of_shard(shard).filter(|file| wanted(file));
        files.try_for_each(|file| cells_of_file(self.tools, self.contents, file, &mut |block| each(file, block)))
    }
}

/// Hands the cells of a file of a backup to `each`, block by block.
///
/// # Errors
/// The store's; a file that is damaged; [`FlowError::Interrupted`]; what `each` returns.
pub fn cells_of_file(
    tools: ReadTools<'_>,
    contents: &BackupContents,
    file: &FileRow,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    if tools.cancel.is_set() {
        return Err(FlowError::Interrupted);
    }
    if let Some(source) = &contents.source {
        return source.cells(tools, file, each);
    }
    let _memory = tools.memory.reserve_file(file.kind, file.size);
    let bytes = fetch(tools.threads, tools.store, file)?;
    tools.progress.fetched(bytes.len() as u64);
    cells_of(bytes, file.kind, file.rows, &contents.manifest.layouts(), each)
}

/// Hands the cells of a Parquet file of so many `rows` to `each`, block by block. A catalogue file has none.
///
/// Points that are marked as not exact are passed over: their cells are in the raw table.
///
/// # Errors
/// A file that is damaged, or what `each` returns.
pub fn cells_of(
    file: Bytes,
    kind: FileKind,
    rows: u64,
    layouts: &KeyLayouts,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    match kind {
        FileKind::Points => cells_of_points(file, rows, layouts, each),
        kind if kind.is_catalogue() => Ok(()),
        _ => {
            let mut reader = CellReader::open(file, rows)?;
            let mut block = CellBlock::new();
            while reader.next(&mut block)? {
                each(&block)?;
                block.clear();
            }
            Ok(())
        }
    }
}

fn cells_of_points(
    file: Bytes,
    rows: u64,
    layouts: &KeyLayouts,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let mut reader = PointsReader::open_recorded(file, rows)?;
    let mut block = CellBlock::new();
    let mut scratch = Scratch::default();
    while let Some(batch) = reader.next_group()? {
        for segment in batch.segments.iter().filter(|segment| segment.exact) {
            let mut key: Option<Vec<u8>> = None;
            let mut full = Ok(());
            let collect = &mut |cell: Cell<'_>| {
                if full.is_err() {
                    return;
                }
                if key.is_none() {
                    full = block.push_row(cell.row);
                    key = Some(Vec::new());
                }
                full = full
                    .and_then(|()| block.push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value));
            };
            rebuild_segment(&batch, segment, layouts, &mut scratch, collect)
                .map_err(|e| FlowError::damaged(e.to_string()))?;
            full.map_err(|e| FlowError::damaged(e.to_string()))?;
            if block.bytes().len() >= BLOCK_BYTES {
                each(&block)?;
                block.clear();
            }
        }
    }
    if block.is_empty() { Ok(()) } else { each(&block) }
}
