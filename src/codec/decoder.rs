//! The decoder of one shard: rows in, typed rows, raw cells and the tally out.

use crate::codec::RollupTable;
use crate::codec::entries::Entry;
use crate::codec::rebuild::Scratch;
use crate::model::{
    Cell, CellHasher, CellRef, KeyLayouts, NameCharset, PointBatch, RawCell, RawReason, RowView, TableKind, Tally,
    TypedRows,
};

/// Decodes the rows of one table, as one shard delivers them.
///
/// A row that is decoded in part goes on in the same [`TypedRows`].
#[derive(Debug)]
pub struct Decoder {
    pub(super) kind: TableKind,
    pub(super) layouts: KeyLayouts,
    pub(super) charset: NameCharset,
    pub(super) rollups: Option<RollupTable>,
    pub(super) hasher: CellHasher,
    pub(super) entries: Vec<Entry>,
    pub(super) scratch: Scratch,
    pub(super) claims: Vec<(i64, std::cmp::Reverse<i64>, u64, usize)>,
    tsuid: Vec<u8>,
    pub(super) live: Vec<CellRef>,
    pub(super) hidden: Vec<(CellRef, RawReason)>,
    /// Where the row stands that was decoded in part.
    pub(super) open: OpenRow,
}

/// What the rest of a row must know of the part before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenRow {
    pub series: Option<u32>,
    pub first_segment: usize,
    pub last_time: i64,
    pub growing: bool,
}

/// Cells of a row between two looks at whether it is enough.
pub(super) const PART: usize = 64;

/// Whether what was decoded should be taken before more is added.
pub type Enough<'a> = &'a dyn Fn(&TypedRows, &Tally) -> bool;

/// Where the cells of a row go.
pub(super) struct Sink<'a> {
    pub out: &'a mut TypedRows,
    pub tally: &'a mut Tally,
}

impl Sink<'_> {
    /// Keeps a cell raw.
    pub fn raw(&mut self, cell: &Cell<'_>, reason: RawReason) {
        self.out.raw.push(RawCell { cell: cell.to_owned(), reason });
    }
}

/// The cell before the one with this index.
pub(super) fn before<'a>(row: RowView<'a>, cells: &[CellRef], at: usize) -> Option<Cell<'a>> {
    at.checked_sub(1).and_then(|before| cells.get(before)).map(|cell| row.cell(cell))
}

impl Decoder {
    /// A decoder for one table. `rollups` names aggregators and gives the interval; without it those columns stay empty.
    pub fn new(kind: TableKind, layouts: impl Into<KeyLayouts>, rollups: Option<RollupTable>) -> Self {
        Self {
            kind,
            layouts: layouts.into(),
            charset: NameCharset::default(),
            rollups,
            hasher: CellHasher::new(),
            entries: Vec::new(),
            scratch: Scratch::default(),
            claims: Vec::new(),
            tsuid: Vec::new(),
            live: Vec::new(),
            hidden: Vec::new(),
            open: OpenRow::default(),
        }
    }

    /// Reads names in this charset instead of ISO-8859-1.
    #[must_use]
    pub fn with_charset(mut self, charset: NameCharset) -> Self {
        self.charset = charset;
        self
    }

    /// Hashes a cell once, for the tally and for the segment it may join.
    #[inline]
    pub(super) fn count(&mut self, cell: &Cell<'_>, sink: &mut Sink<'_>) -> u64 {
        let hash = self.hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
        sink.tally.add_cell(cell, hash);
        hash
    }

    /// The index of a series, adding it when it is new.
    pub(super) fn series_index(&mut self, metric: &[u8], tags: &[u8], batch: &mut PointBatch) -> u32 {
        self.tsuid.clear();
        self.tsuid.extend_from_slice(metric);
        self.tsuid.extend_from_slice(tags);
        batch.series.index_of(&self.tsuid)
    }

    /// Takes the points collected so far; series indexes start anew.
    pub fn take_points(&mut self, out: &mut TypedRows) -> PointBatch {
        self.take_points_into(out, PointBatch::default())
    }

    /// Like [`take_points`](Self::take_points), reusing the memory of a batch that nobody needs any more.
    pub fn take_points_into(&mut self, out: &mut TypedRows, mut spare: PointBatch) -> PointBatch {
        spare.clear();
        std::mem::replace(&mut out.points, spare)
    }
}
