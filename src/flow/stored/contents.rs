//! The cells of a backup's file, as they came from HBase.

use bytes::Bytes;

use crate::codec::row_key::RowKey;
use crate::codec::{Scratch, rebuild_segment};
use crate::flow::FlowError;
use crate::flow::stored::backup_files::{BackupContents, ReadTools};
use crate::flow::stored::part_reader::{cell_reader, points_reader};
use crate::flow::stored::selected::{Chooser, Wanted};
use crate::model::{Cell, CellBlock, FileKind, FileRow, Form, KeyLayouts, OutOfSpace, PointBatch, Segment, ShardRow};
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

/// Hands the cells of a file of a backup, or those of them that are selected, to `each`, block by block.
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
    if let Some(selected) = &contents.selected {
        return selected_cells(tools, contents, &selected.wanted, file, each);
    }
    if let Some(source) = &contents.source {
        return source.cells(tools, file, each);
    }
    let _memory = tools.memory.reserve_file(file.kind, file.size);
    let layouts = &contents.manifest.layouts();
    match file.kind {
        FileKind::Points => points_of(points_reader(tools, file, None)?, layouts, None, each),
        kind if kind.is_catalogue() => Ok(()),
        _ => others_of(cell_reader(tools, file, None)?, each),
    }
}

/// Hands the wanted cells of a file of a backup to `each`, block by block.
///
/// # Errors
/// As [`cells_of_file`].
pub fn selected_cells(
    tools: ReadTools<'_>,
    contents: &BackupContents,
    wanted: &Wanted,
    file: &FileRow,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    if tools.cancel.is_set() {
        return Err(FlowError::Interrupted);
    }
    let mut chooser = wanted.chooser(&file.table);
    let mut kept = CellBlock::new();
    let mut choose = |block: &CellBlock| {
        kept.clear();
        for row in block.rows() {
            let mut begun = false;
            for cell in row.iter().filter(|cell| chooser.cell(cell)) {
                if !std::mem::replace(&mut begun, true) {
                    kept.push_row(row.key).map_err(full)?;
                }
                kept.push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value).map_err(full)?;
            }
        }
        if kept.is_empty() { Ok(()) } else { each(&kept) }
    };
    if let Some(source) = &contents.source {
        return source.cells(tools, file, &mut choose);
    }
    let _memory = tools.memory.reserve_file(file.kind, file.size);
    if file.kind == FileKind::Points {
        let mut chooser = wanted.chooser(&file.table);
        let reader = points_reader(tools, file, Some(&mut chooser))?;
        return points_of(reader, wanted.layouts(), Some(&mut chooser), each);
    }
    others_of(cell_reader(tools, file, Some(&wanted.chooser(&file.table)))?, &mut choose)
}

/// Adds the cells of a segment that `keep` is true for to a block, as a row.
///
/// # Errors
/// [`FlowError::Damaged`] for points that rebuild to no cells, and for more than a block can hold.
pub fn push_segment(
    (batch, segment): (&PointBatch, &Segment),
    layouts: &KeyLayouts,
    scratch: &mut Scratch,
    block: &mut CellBlock,
    keep: impl Fn(&Cell<'_>) -> bool,
) -> Result<(), FlowError> {
    let (mut begun, mut filled) = (false, Ok(()));
    let collect = &mut |cell: Cell<'_>| {
        if filled.is_err() || !keep(&cell) {
            return;
        }
        if !std::mem::replace(&mut begun, true) {
            filled = block.push_row(cell.row);
        }
        filled =
            filled.and_then(|()| block.push_cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value));
    };
    rebuild_segment(batch, segment, layouts, scratch, collect).map_err(|e| FlowError::damaged(e.to_string()))?;
    filled.map_err(full)
}

fn full(error: OutOfSpace) -> FlowError {
    FlowError::damaged(error.to_string())
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
        FileKind::Points => points_of(PointsReader::open_recorded(file, rows)?, layouts, None, each),
        kind if kind.is_catalogue() => Ok(()),
        _ => others_of(CellReader::open(file, rows)?, each),
    }
}

fn others_of(
    mut reader: CellReader,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let mut block = CellBlock::new();
    while reader.next(&mut block)? {
        each(&block)?;
        block.clear();
    }
    Ok(())
}

fn points_of(
    mut reader: PointsReader,
    layouts: &KeyLayouts,
    mut chooser: Option<&mut Chooser<'_>>,
    each: &mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let mut rebuilt = Rebuilt::new(layouts, each);
    while let Some(batch) = reader.next_group()? {
        rebuilt.batch(&batch, chooser.as_deref_mut())?;
    }
    rebuilt.finish()
}

/// Cells that are built from points and handed on in blocks.
struct Rebuilt<'a> {
    layouts: &'a KeyLayouts,
    each: &'a mut dyn FnMut(&CellBlock) -> Result<(), FlowError>,
    block: CellBlock,
    scratch: Scratch,
}

impl<'a> Rebuilt<'a> {
    fn new(layouts: &'a KeyLayouts, each: &'a mut dyn FnMut(&CellBlock) -> Result<(), FlowError>) -> Self {
        Self { layouts, each, block: CellBlock::new(), scratch: Scratch::default() }
    }

    /// Builds the cells of a batch, or those of them that are chosen.
    fn batch(&mut self, batch: &PointBatch, mut chooser: Option<&mut Chooser<'_>>) -> Result<(), FlowError> {
        for segment in batch.segments.iter().filter(|segment| segment.exact) {
            if chooser.as_mut().is_some_and(|chooser| !chooser.segment(batch, segment)) {
                continue;
            }
            let one_by_one = chooser.as_deref().filter(|_| segment.form == Form::Single);
            let key = RowKey { salt: &[], metric: &[], base: segment.base, tags: &[] };
            let keep = |cell: &Cell<'_>| one_by_one.is_none_or(|chooser| chooser.time(&key, cell));
            push_segment((batch, segment), self.layouts, &mut self.scratch, &mut self.block, keep)?;
            if self.block.bytes().len() >= BLOCK_BYTES {
                (self.each)(&self.block)?;
                self.block.clear();
            }
        }
        Ok(())
    }

    /// Hands on what is left.
    fn finish(self) -> Result<(), FlowError> {
        if self.block.is_empty() { Ok(()) } else { (self.each)(&self.block) }
    }
}
