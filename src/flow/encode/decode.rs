//! Pages to typed rows, with the tally of everything that came.

use crate::codec::Decoder;
use crate::model::{CellBlock, PointBatch, Tally, TypedRows};

/// Memory of typed rows besides points that makes a batch full.
const OTHER_ROWS_BYTES: usize = 16 << 20;
/// What a row costs besides the bytes of its cell, about.
pub const ROW_BYTES: usize = 250;

/// A series takes the memory of this many points: TSUID, label, and entries in the dictionaries of its columns.
const SERIES_POINTS: usize = 8;

/// The decoder of one shard and what it has collected since the last batch was taken.
pub struct ShardDecoder {
    decoder: Decoder,
    rows: TypedRows,
    tally: Tally,
    /// Memory of the rows besides points, about.
    other_bytes: usize,
    batch_points: usize,
    at: Place,
}

/// The first cell of a page that is not decoded yet.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    row: usize,
    cell: usize,
}

/// Typed rows on their way to the encoder.
pub struct Batch {
    /// Points, in scan order.
    pub points: PointBatch,
    /// Everything else; its points are empty.
    pub rows: TypedRows,
    /// Memory of `rows`, about.
    pub other_bytes: usize,
}

impl ShardDecoder {
    /// A decoder whose batches hold about `batch_points` points; the first one goes into the memory of `spare`.
    pub fn new(decoder: Decoder, batch_points: usize, mut spare: PointBatch) -> Self {
        spare.clear();
        Self {
            decoder,
            rows: TypedRows { points: spare, ..TypedRows::default() },
            tally: Tally::default(),
            other_bytes: 0,
            batch_points,
            at: Place::default(),
        }
    }

    /// Decodes a page, or what is left of it, and stops where the batch is full. True: nothing is left.
    pub fn page(&mut self, page: &CellBlock) -> bool {
        while let Some(row) = page.row(self.at.row) {
            if self.is_full() {
                return false;
            }
            let (others, bytes) = (other_rows(&self.rows), self.tally.bytes);
            let room = OTHER_ROWS_BYTES.saturating_sub(self.other_bytes);
            // The bytes of points are counted too, but only where a row has other cells besides.
            let cost = |rows: &TypedRows, tally: &Tally| match other_rows(rows) - others {
                0 => 0,
                more => (tally.bytes - bytes) as usize + more * ROW_BYTES,
            };
            let enough = &|rows: &TypedRows, tally: &Tally| cost(rows, tally) >= room;
            let left = self.decoder.row_from(row, self.at.cell, &mut self.rows, &mut self.tally, enough);
            self.other_bytes += cost(&self.rows, &self.tally);
            match left {
                Some(cell) => self.at.cell = cell,
                None => self.at = Place { row: self.at.row + 1, cell: 0 },
            }
        }
        self.at = Place::default();
        true
    }

    /// True when the batch should be taken.
    pub fn is_full(&self) -> bool {
        // Inside a row the points stay, because which of them a query shows is known at its end.
        let points = &self.rows.points;
        let full = points.len() + SERIES_POINTS * points.series.len() >= self.batch_points;
        self.other_bytes >= OTHER_ROWS_BYTES || self.at.cell == 0 && full
    }

    /// True when the points of the batch stay here.
    pub fn is_inside_row(&self) -> bool {
        self.at.cell > 0
    }

    /// Takes what was collected, and continues in the memory of a batch that is done with. Inside a row, takes all but
    /// the points, and that memory stays unused.
    pub fn take(&mut self, mut spare: PointBatch) -> Batch {
        let other_bytes = std::mem::take(&mut self.other_bytes);
        if self.is_inside_row() {
            let points = std::mem::take(&mut self.rows.points);
            let rows = std::mem::replace(&mut self.rows, TypedRows { points, ..TypedRows::default() });
            spare.clear();
            return Batch { points: spare, rows, other_bytes };
        }
        let points = self.decoder.take_points_into(&mut self.rows, spare);
        Batch { points, rows: std::mem::take(&mut self.rows), other_bytes }
    }

    /// All cells so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

fn other_rows(rows: &TypedRows) -> usize {
    rows.annotations.len()
        + rows.histograms.len()
        + rows.rollups.len()
        + rows.uids.len()
        + rows.meta.len()
        + rows.tree.len()
        + rows.raw.len()
}
