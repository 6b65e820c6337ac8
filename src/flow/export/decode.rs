//! Pages to typed rows, with the tally of everything that came.

use crate::codec::Decoder;
use crate::model::{CellBlock, PointBatch, Tally, TypedRows};

/// Memory of typed rows besides points that makes a batch full.
const OTHER_ROWS_BYTES: usize = 24 << 20;

/// The decoder of one shard and what it has collected since the last batch was taken.
pub struct ShardDecoder {
    decoder: Decoder,
    rows: TypedRows,
    tally: Tally,
    other_bytes: usize,
    counted: usize,
    batch_points: usize,
}

/// Typed rows on their way to the encoder.
pub struct Batch {
    /// Points, in scan order.
    pub points: PointBatch,
    /// Everything else; its points are empty.
    pub rows: TypedRows,
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
            counted: 0,
            batch_points,
        }
    }

    /// Decodes a page.
    pub fn page(&mut self, page: &CellBlock) {
        for row in page.rows() {
            self.decoder.row(row, &mut self.rows, &mut self.tally);
        }
        let others = other_rows(&self.rows);
        if others > self.counted {
            // The cells of a page weigh at most what the page weighs; a row of its own about 200 bytes more.
            self.other_bytes += page.bytes().len() + (others - self.counted) * 200;
            self.counted = others;
        }
    }

    /// True when the batch should be taken.
    pub fn is_full(&self) -> bool {
        self.rows.points.len() >= self.batch_points || self.other_bytes >= OTHER_ROWS_BYTES
    }

    /// Takes what was collected, and goes on in the memory of a batch that is done with.
    pub fn take(&mut self, spare: PointBatch) -> Batch {
        self.other_bytes = 0;
        self.counted = 0;
        let points = self.decoder.take_points_into(&mut self.rows, spare);
        Batch { points, rows: std::mem::take(&mut self.rows) }
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
