//! Cells as HBase returns them, and the arena that holds many of them.

/// HBase KeyValue type codes, as `TColumnValue.type` carries them on a raw scan.
pub mod kind {
    /// A value.
    pub const PUT: u8 = 4;
    /// Deletes one version: the cell of the same column with exactly this timestamp.
    pub const DELETE: u8 = 8;
    /// Deletes all cells of the family with exactly this timestamp.
    pub const DELETE_FAMILY_VERSION: u8 = 10;
    /// Deletes all cells of the column at or below this timestamp.
    pub const DELETE_COLUMN: u8 = 12;
    /// Deletes all cells of the family at or below this timestamp.
    pub const DELETE_FAMILY: u8 = 14;
}

/// One HBase cell, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell<'a> {
    /// Row key.
    pub row: &'a [u8],
    /// Column family.
    pub family: &'a [u8],
    /// Column qualifier; may be empty.
    pub qualifier: &'a [u8],
    /// Milliseconds, as HBase stores them.
    pub timestamp: i64,
    /// One of [`kind`].
    pub kind: u8,
    /// Value; empty for delete markers.
    pub value: &'a [u8],
}

impl Cell<'_> {
    /// Copies the borrowed bytes.
    pub fn to_owned(&self) -> OwnedCell {
        OwnedCell {
            row: self.row.to_vec(),
            family: self.family.to_vec(),
            qualifier: self.qualifier.to_vec(),
            timestamp: self.timestamp,
            kind: self.kind,
            value: self.value.to_vec(),
        }
    }
}

/// One HBase cell with its own bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedCell {
    /// Row key.
    pub row: Vec<u8>,
    /// Column family.
    pub family: Vec<u8>,
    /// Column qualifier; may be empty.
    pub qualifier: Vec<u8>,
    /// Milliseconds, as HBase stores them.
    pub timestamp: i64,
    /// One of [`kind`].
    pub kind: u8,
    /// Value; empty for delete markers.
    pub value: Vec<u8>,
}

impl OwnedCell {
    /// Borrows the cell.
    pub fn as_cell(&self) -> Cell<'_> {
        Cell {
            row: &self.row,
            family: &self.family,
            qualifier: &self.qualifier,
            timestamp: self.timestamp,
            kind: self.kind,
            value: &self.value,
        }
    }
}

/// A stretch of a [`CellBlock`]'s bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

/// One cell of a [`CellBlock`]: where its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRef {
    /// Qualifier bytes.
    pub qualifier: Span,
    /// Value bytes.
    pub value: Span,
    /// Milliseconds.
    pub timestamp: i64,
    /// Index into the block's families.
    pub family: u8,
    /// One of [`kind`].
    pub kind: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowRef {
    key: Span,
    first_cell: u32,
}

/// The block would need more than 4 GiB of bytes, 4 G cells or 255 families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of cells cannot hold more than 4 GiB, 2^32 cells or 255 families; ask the gateway for smaller pages")]
pub struct OutOfSpace;

/// Rows and cells over one buffer: the shape of a gateway reply, and of cells on their way back.
///
/// The buffer is either the reply itself (the parser only records where things are) or grows by
/// [`push_row`](Self::push_row) and [`push_cell`](Self::push_cell). Cleared blocks keep their capacity.
#[derive(Debug, Clone, Default)]
pub struct CellBlock {
    bytes: Vec<u8>,
    rows: Vec<RowRef>,
    cells: Vec<CellRef>,
    families: Vec<Vec<u8>>,
}

impl CellBlock {
    /// An empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets rows, cells and bytes, keeps capacity and the family names.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.cells.clear();
    }

    /// The buffer, for a parser that reads a reply straight into it.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The buffer.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Number of cells.
    pub fn cell_count(&self) -> usize {
        self.cells.len()
    }

    /// True when there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory that the block holds, capacity included.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.rows.capacity() * size_of::<RowRef>()
            + self.cells.capacity() * size_of::<CellRef>()
    }

    /// The number of the family, adding it when it is new.
    ///
    /// # Errors
    /// [`OutOfSpace`] for the 256th family.
    pub fn family(&mut self, name: &[u8]) -> Result<u8, OutOfSpace> {
        family_of(&mut self.families, name)
    }

    /// The buffer, and the place for the cells of the last row, for a parser that reads the one into the other.
    ///
    /// # Errors
    /// [`OutOfSpace`] when no row was started.
    pub fn parts(&mut self) -> Result<(&[u8], RowCells<'_>), OutOfSpace> {
        let Self { bytes, rows, cells, families } = self;
        if rows.is_empty() { Err(OutOfSpace) } else { Ok((bytes, RowCells { cells, families, last: None })) }
    }

    /// Family names by number.
    pub fn families(&self) -> &[Vec<u8>] {
        &self.families
    }

    /// Starts a row whose key is already in the buffer. Cells added next belong to it.
    ///
    /// # Errors
    /// [`OutOfSpace`] when the span is outside the buffer or there are too many cells.
    pub fn start_row_at(&mut self, key: Span) -> Result<(), OutOfSpace> {
        self.check(key)?;
        let first_cell = u32::try_from(self.cells.len()).map_err(|_| OutOfSpace)?;
        self.rows.push(RowRef { key, first_cell });
        Ok(())
    }

    /// Adds a cell whose bytes are already in the buffer to the last row.
    ///
    /// # Errors
    /// [`OutOfSpace`] when a span is outside the buffer, the family is unknown or no row was started.
    pub fn add_cell_at(&mut self, cell: CellRef) -> Result<(), OutOfSpace> {
        self.check(cell.qualifier)?;
        self.check(cell.value)?;
        if self.rows.is_empty() || usize::from(cell.family) >= self.families.len() {
            return Err(OutOfSpace);
        }
        self.cells.push(cell);
        Ok(())
    }

    fn check(&self, span: Span) -> Result<(), OutOfSpace> {
        if span.offset as usize + span.len as usize <= self.bytes.len() { Ok(()) } else { Err(OutOfSpace) }
    }

    /// Starts a row, copying its key. Cells pushed next belong to it.
    ///
    /// # Errors
    /// [`OutOfSpace`].
    pub fn push_row(&mut self, key: &[u8]) -> Result<(), OutOfSpace> {
        let key = self.push_bytes(key)?;
        self.start_row_at(key)
    }

    /// Adds a cell to the last row, copying its bytes.
    ///
    /// # Errors
    /// [`OutOfSpace`], also when no row was started.
    pub fn push_cell(
        &mut self,
        family: &[u8],
        qualifier: &[u8],
        timestamp: i64,
        kind: u8,
        value: &[u8],
    ) -> Result<(), OutOfSpace> {
        let family = self.family(family)?;
        let qualifier = self.push_bytes(qualifier)?;
        let value = self.push_bytes(value)?;
        self.add_cell_at(CellRef { qualifier, value, timestamp, family, kind })
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<Span, OutOfSpace> {
        let offset = u32::try_from(self.bytes.len()).map_err(|_| OutOfSpace)?;
        let len = u32::try_from(bytes.len()).map_err(|_| OutOfSpace)?;
        offset.checked_add(len).ok_or(OutOfSpace)?;
        self.bytes.extend_from_slice(bytes);
        Ok(Span { offset, len })
    }

    /// Drops everything from row `rows` on; the buffer keeps its bytes. For a parser that runs out of input.
    pub fn truncate_rows(&mut self, rows: usize) {
        if let Some(row) = self.rows.get(rows) {
            self.cells.truncate(row.first_cell as usize);
            self.rows.truncate(rows);
        }
    }

    /// Keeps the cells that `keep` is true for, and the rows that have any; the buffer keeps its bytes.
    pub fn retain(&mut self, mut keep: impl FnMut(&Cell<'_>) -> bool) {
        let (mut rows, mut cells) = (Vec::with_capacity(self.rows.len()), Vec::with_capacity(self.cells.len()));
        for (row, view) in self.rows.iter().zip(self.rows()) {
            let first_cell = cells.len() as u32;
            cells.extend(view.cells.iter().filter(|cell| keep(&view.cell(cell))));
            if cells.len() > first_cell as usize {
                rows.push(RowRef { first_cell, ..*row });
            }
        }
        (self.rows, self.cells) = (rows, cells);
    }

    /// The bytes of a span of this block.
    pub fn slice(&self, span: Span) -> &[u8] {
        &self.bytes[span.offset as usize..][..span.len as usize]
    }

    /// Row `index`; rows keep the order in which they came.
    pub fn row(&self, index: usize) -> Option<RowView<'_>> {
        let row = self.rows.get(index)?;
        let end = self.rows.get(index + 1).map_or(self.cells.len(), |next| next.first_cell as usize);
        Some(RowView { block: self, key: self.slice(row.key), cells: &self.cells[row.first_cell as usize..end] })
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowView<'_>> {
        (0..self.rows.len()).map(|index| {
            let row = self.rows[index];
            let end = self.rows.get(index + 1).map_or(self.cells.len(), |next| next.first_cell as usize);
            RowView { block: self, key: self.slice(row.key), cells: &self.cells[row.first_cell as usize..end] }
        })
    }

    /// All cells in order.
    pub fn iter(&self) -> impl Iterator<Item = Cell<'_>> {
        self.rows().flat_map(|row| row.iter())
    }
}

/// Takes the cells of one row, whose bytes are in the buffer already.
pub struct RowCells<'a> {
    cells: &'a mut Vec<CellRef>,
    families: &'a mut Vec<Vec<u8>>,
    last: Option<u8>,
}

impl RowCells<'_> {
    /// Adds a cell whose spans lie in the buffer.
    ///
    /// # Errors
    /// [`OutOfSpace`] for the 256th family.
    #[inline]
    pub fn add(
        &mut self,
        family: &[u8],
        qualifier: Span,
        value: Span,
        timestamp: i64,
        kind: u8,
    ) -> Result<(), OutOfSpace> {
        // Nearly all tables have one family, so the one of the cell before is tried first.
        let same = self.last.filter(|last| self.families.get(usize::from(*last)).is_some_and(|known| known == family));
        let family = match same {
            Some(family) => family,
            None => *self.last.insert(family_of(self.families, family)?),
        };
        self.cells.push(CellRef { qualifier, value, timestamp, family, kind });
        Ok(())
    }
}

fn family_of(families: &mut Vec<Vec<u8>>, name: &[u8]) -> Result<u8, OutOfSpace> {
    let at = match families.iter().position(|family| family == name) {
        Some(at) => at,
        None => {
            families.push(name.to_vec());
            families.len() - 1
        }
    };
    u8::try_from(at).map_err(|_| OutOfSpace)
}

/// One row of a [`CellBlock`].
#[derive(Debug, Clone, Copy)]
pub struct RowView<'a> {
    block: &'a CellBlock,
    /// Row key.
    pub key: &'a [u8],
    /// Where its cells are; [`cell`](Self::cell) turns one into bytes.
    pub cells: &'a [CellRef],
}

impl<'a> RowView<'a> {
    /// The number of a family in the block, if any cell has it.
    pub fn family_number(&self, name: &[u8]) -> Option<u8> {
        let at = self.block.families.iter().position(|family| family == name)?;
        u8::try_from(at).ok()
    }

    /// The bytes of the block, which the spans of the cells are of.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        &self.block.bytes
    }

    /// The bytes behind a reference of this row.
    #[inline]
    pub fn cell(&self, cell: &CellRef) -> Cell<'a> {
        Cell {
            row: self.key,
            family: &self.block.families[usize::from(cell.family)],
            qualifier: self.block.slice(cell.qualifier),
            timestamp: cell.timestamp,
            kind: cell.kind,
            value: self.block.slice(cell.value),
        }
    }

    /// The cells of the row in order.
    pub fn iter(&self) -> impl Iterator<Item = Cell<'a>> + use<'a> {
        let row = *self;
        row.cells.iter().map(move |cell| row.cell(cell))
    }
}
