//! The rows of all tables, by what is in the table.

use crate::codec::decoder::{Decoder, Enough, Sink, before};
use crate::codec::{data_row, is_storable, meta_table, tree_table, uid_table, visibility};
use crate::model::{Cell, CellRef, RawReason, RowView, TableKind, Tally, TypedRows, kind};

impl Decoder {
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
}
