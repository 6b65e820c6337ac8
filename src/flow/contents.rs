//! The cells of a backup's file, as they came from HBase.

use bytes::Bytes;

use crate::codec::{Scratch, rebuild_segment};
use crate::flow::FlowError;
use crate::model::{Cell, CellBlock, FileKind, KeyLayouts};
use crate::parquet_file::{CellReader, PointsReader};

/// Bytes of rebuilt cells that are handed on together.
const BLOCK_BYTES: usize = 4 << 20;

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
