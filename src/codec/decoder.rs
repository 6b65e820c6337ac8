//! The decoder of one shard: rows in, typed rows, raw cells and the tally out.

use crate::codec::entries::Entry;
use crate::codec::rebuild::Scratch;
use crate::codec::{RollupTable, data_row, is_storable, meta_table, tree_table, uid_table, visibility};
use crate::model::{
    Cell, CellHasher, CellRef, KeyLayouts, NameCharset, PointBatch, RawCell, RawReason, RowView, TableKind, Tally,
    TypedRows, kind,
};

/// Decodes the rows of one table, as one shard delivers them.
///
/// A row that is decoded in part goes on in the same [`TypedRows`].
#[derive(Debug)]
pub struct Decoder {
    pub(super) kind: TableKind,
    pub(super) layouts: KeyLayouts,
    charset: NameCharset,
    pub(super) rollups: Option<RollupTable>,
    pub(super) hasher: CellHasher,
    pub(super) entries: Vec<Entry>,
    pub(super) scratch: Scratch,
    pub(super) claims: Vec<(i64, std::cmp::Reverse<i64>, u64, usize)>,
    tsuid: Vec<u8>,
    live: Vec<CellRef>,
    hidden: Vec<(CellRef, RawReason)>,
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

    /// Decodes one whole row into `out` and adds all its cells to `tally`.
    ///
    /// Total: never panics, and every cell ends up in exactly one of an exact point segment, a typed row that holds the
    /// cell, or `out.raw`. Points of a cell in `out.raw` that a TSD would read are in a segment with `exact` false.
    pub fn row(&mut self, row: RowView<'_>, out: &mut TypedRows, tally: &mut Tally) {
        self.row_from(row, 0, out, tally, &|_, _| false);
    }

    /// Like [`row`](Self::row) from the cell with this index on, and only until `enough` says so: returns the index of
    /// the first cell that was left. Before the call that continues there, everything but the points may be taken out of `out`.
    ///
    /// A row with delete markers is always decoded whole.
    pub fn row_from(
        &mut self,
        row: RowView<'_>,
        from: usize,
        out: &mut TypedRows,
        tally: &mut Tally,
        enough: Enough<'_>,
    ) -> Option<usize> {
        tally.rows += u64::from(from == 0);
        self.hasher.row(row.key);
        let mut sink = Sink { out, tally };
        if self.kind == TableKind::Other || !visibility::has_markers(row.cells) {
            return self.visible(row, row.cells, from, &mut sink, enough);
        }
        let (mut live, mut hidden) = (std::mem::take(&mut self.live), std::mem::take(&mut self.hidden));
        visibility::split(row, &mut live, &mut hidden);
        for (cell, reason) in &hidden {
            let cell = row.cell(cell);
            self.count(&cell, &mut sink);
            sink.raw(&cell, *reason);
        }
        self.visible(row, &live, 0, &mut sink, &|_, _| false);
        (self.live, self.hidden) = (live, hidden);
        None
    }

    fn visible(
        &mut self,
        row: RowView<'_>,
        cells: &[CellRef],
        from: usize,
        sink: &mut Sink<'_>,
        enough: Enough<'_>,
    ) -> Option<usize> {
        match self.kind {
            TableKind::Data | TableKind::Rollup => data_row::decode(self, row, cells, from, sink, enough),
            _ => self.small_table(row, cells, from, sink, enough),
        }
    }

    /// Hashes a cell once, for the tally and for the segment it may join.
    #[inline]
    pub(super) fn count(&mut self, cell: &Cell<'_>, sink: &mut Sink<'_>) -> u64 {
        let hash = self.hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
        sink.tally.add_cell(cell, hash);
        hash
    }

    fn small_table(
        &mut self,
        row: RowView<'_>,
        cells: &[CellRef],
        from: usize,
        sink: &mut Sink<'_>,
        enough: Enough<'_>,
    ) -> Option<usize> {
        let mut previous = before(row, cells, from);
        for (at, cell) in cells.iter().enumerate().skip(from) {
            // Here a cell may be of any size.
            if at > from && enough(sink.out, sink.tally) {
                return Some(at);
            }
            let cell = row.cell(cell);
            self.count(&cell, sink);
            let older = previous.is_some_and(|p| p.family == cell.family && p.qualifier == cell.qualifier);
            previous = Some(cell);
            let result = if older && self.kind != TableKind::Other {
                Err(RawReason::OldVersion)
            } else {
                self.small_cell(&cell, sink.out)
            };
            if let Err(reason) = result {
                sink.raw(&cell, reason);
            }
        }
        None
    }

    fn small_cell(&self, cell: &Cell<'_>, out: &mut TypedRows) -> Result<(), RawReason> {
        if self.kind == TableKind::Other {
            let marker = cell.kind != kind::PUT;
            return Err(if marker { RawReason::DeleteMarker } else { RawReason::ForeignTable });
        }
        if !is_storable(cell.timestamp) {
            return Err(RawReason::OddTimestamp);
        }
        match self.kind {
            TableKind::Uid => out.uids.push(uid_table::read(cell, self.charset)?),
            TableKind::Meta => out.meta.push(meta_table::read(cell, self.layouts.main())?),
            _ => out.tree.push(tree_table::read(cell)?),
        }
        Ok(())
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
