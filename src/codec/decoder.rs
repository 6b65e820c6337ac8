//! The decoder of one shard: rows in, typed rows, raw cells and the tally out.

use std::collections::HashMap;

use crate::codec::entries::Entry;
use crate::codec::rebuild::Scratch;
use crate::codec::{RollupTable, data_row, is_storable, meta_table, tree_table, uid_table, visibility};
use crate::model::{
    Cell, CellHasher, CellRef, KeyLayout, PointBatch, RawCell, RawReason, RowView, TableKind, Tally, TypedRows, kind,
};

/// Decodes the rows of one table, as one shard delivers them.
///
/// The series indexes of the points belong to the decoder and the [`TypedRows`] it fills: pass the same one until
/// [`take_points`](Self::take_points).
#[derive(Debug)]
pub struct Decoder {
    pub(super) kind: TableKind,
    pub(super) layout: KeyLayout,
    pub(super) rollups: Option<RollupTable>,
    pub(super) hasher: CellHasher,
    pub(super) entries: Vec<Entry>,
    pub(super) padded: Vec<u8>,
    pub(super) scratch: Scratch,
    pub(super) claims: Vec<(i64, std::cmp::Reverse<i64>, u64, usize)>,
    tsuid: Vec<u8>,
    series: HashMap<Vec<u8>, u32>,
    live: Vec<CellRef>,
    hidden: Vec<(CellRef, RawReason)>,
}

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

impl Decoder {
    /// A decoder for one table. `rollups` names aggregators and gives the interval; without it those columns stay empty.
    pub fn new(kind: TableKind, layout: KeyLayout, rollups: Option<RollupTable>) -> Self {
        Self {
            kind,
            layout,
            rollups,
            hasher: CellHasher::new(),
            entries: Vec::new(),
            padded: Vec::new(),
            scratch: Scratch::default(),
            claims: Vec::new(),
            tsuid: Vec::new(),
            series: HashMap::new(),
            live: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// Decodes one whole row into `out` and adds all its cells to `tally`.
    ///
    /// Total: never panics, and every cell ends up in exactly one of an exact point segment, a typed row that holds the
    /// cell, or `out.raw`. Points of a cell in `out.raw` that a TSD would read are in a segment with `exact` false.
    pub fn row(&mut self, row: RowView<'_>, out: &mut TypedRows, tally: &mut Tally) {
        tally.rows += 1;
        self.hasher.row(row.key);
        let mut sink = Sink { out, tally };
        if !visibility::has_markers(row.cells) || self.kind == TableKind::Other {
            return self.visible(row, row.cells, &mut sink);
        }
        let (mut live, mut hidden) = (std::mem::take(&mut self.live), std::mem::take(&mut self.hidden));
        visibility::split(row, &mut live, &mut hidden);
        for (cell, reason) in &hidden {
            let cell = row.cell(cell);
            self.count(&cell, &mut sink);
            sink.raw(&cell, *reason);
        }
        self.visible(row, &live, &mut sink);
        (self.live, self.hidden) = (live, hidden);
    }

    fn visible(&mut self, row: RowView<'_>, cells: &[CellRef], sink: &mut Sink<'_>) {
        match self.kind {
            TableKind::Data | TableKind::Rollup => data_row::decode(self, row, cells, sink),
            _ => self.small_table(row, cells, sink),
        }
    }

    /// Hashes a cell once, for the tally and for the segment it may join.
    #[inline]
    pub(super) fn count(&mut self, cell: &Cell<'_>, sink: &mut Sink<'_>) -> u64 {
        let hash = self.hasher.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
        sink.tally.add_cell(cell, hash);
        hash
    }

    fn small_table(&mut self, row: RowView<'_>, cells: &[CellRef], sink: &mut Sink<'_>) {
        let mut previous: Option<Cell<'_>> = None;
        for cell in cells {
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
            TableKind::Uid => out.uids.push(uid_table::read(cell)?),
            TableKind::Meta => out.meta.push(meta_table::read(cell, &self.layout)?),
            _ => out.tree.push(tree_table::read(cell)?),
        }
        Ok(())
    }

    /// The index of a series, adding it when it is new.
    pub(super) fn series_index(&mut self, metric: &[u8], tags: &[u8], batch: &mut PointBatch) -> u32 {
        self.tsuid.clear();
        self.tsuid.extend_from_slice(metric);
        self.tsuid.extend_from_slice(tags);
        if let Some(index) = self.series.get(&self.tsuid)
            && batch.series.get(*index as usize) == Some(&self.tsuid)
        {
            return *index;
        }
        if self.series.len() != batch.series.len() {
            // Another batch than before: its own series decide.
            self.series = batch.series.iter().cloned().zip(0..).collect();
            if let Some(index) = self.series.get(&self.tsuid) {
                return *index;
            }
        }
        let index = batch.series.len() as u32;
        batch.series.push(self.tsuid.clone());
        self.series.insert(self.tsuid.clone(), index);
        index
    }

    /// Takes the points collected so far; series indexes start anew.
    pub fn take_points(&mut self, out: &mut TypedRows) -> PointBatch {
        self.take_points_into(out, PointBatch::default())
    }

    /// Like [`take_points`](Self::take_points), going on in the memory of a batch that nobody needs any more.
    pub fn take_points_into(&mut self, out: &mut TypedRows, mut spare: PointBatch) -> PointBatch {
        self.series.clear();
        spare.clear();
        std::mem::replace(&mut out.points, spare)
    }
}
