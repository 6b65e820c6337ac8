//! Rows for tests, and what a decode makes of them.

use crate::codec::{Decoder, RollupTable, Scratch, prove, rebuild_segment};
use crate::model::{
    Cell, CellBlock, CellHasher, KeyLayout, KeyLayouts, OwnedCell, PointBatch, RawReason, TableKind, Tally, TypedRows,
    kind,
};

/// Bytes of a hex text; spaces are ignored.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    crate::model::unhex(digits.as_bytes()).unwrap()
}

/// The row key of the vectors: metric 000001, 2013-01-01T00:00:00Z, one tag.
pub const KEY: &str = "00000150E22700000001000001";
/// Its base time.
pub const BASE: i64 = 1_356_998_400;

/// A put in family `t`.
pub fn put(row: &[u8], qualifier: &[u8], timestamp: i64, value: &[u8]) -> OwnedCell {
    OwnedCell {
        row: row.to_vec(),
        family: b"t".to_vec(),
        qualifier: qualifier.to_vec(),
        timestamp,
        kind: kind::PUT,
        value: value.to_vec(),
    }
}

/// A block of cells; neighbours with one row key share a row.
pub fn block(cells: &[OwnedCell]) -> CellBlock {
    let mut block = CellBlock::new();
    let mut row: Option<&[u8]> = None;
    for cell in cells {
        if row != Some(&cell.row) {
            block.push_row(&cell.row).unwrap();
            row = Some(&cell.row);
        }
        block.push_cell(&cell.family, &cell.qualifier, cell.timestamp, cell.kind, &cell.value).unwrap();
    }
    block
}

/// Everything that a decode gives.
pub struct Decoded {
    pub out: TypedRows,
    pub tally: Tally,
    pub layout: KeyLayouts,
}

pub fn decode_with(
    cells: &[OwnedCell],
    kind: TableKind,
    layout: impl Into<KeyLayouts>,
    rollups: Option<RollupTable>,
) -> Decoded {
    let layout = layout.into();
    let mut decoder = Decoder::new(kind, layout.clone(), rollups);
    let (mut out, mut tally) = (TypedRows::default(), Tally::default());
    for row in block(cells).rows() {
        decoder.row(row, &mut out, &mut tally);
    }
    let points = decoder.take_points(&mut out);
    out.points = points;
    Decoded { out, tally, layout }
}

pub fn decode(cells: &[OwnedCell]) -> Decoded {
    decode_with(cells, TableKind::Data, KeyLayout::default(), None)
}

/// One cell in the row of the vectors.
pub fn decode_one(qualifier: &str, value: &str) -> Decoded {
    decode(&[put(&hex(KEY), &hex(qualifier), 1_400_000_000_000, &hex(value))])
}

/// A point as tests compare it: time in ms, flags without the superseded mark, value as bits of the f64 or as integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Int(i64),
    Float(f64),
}

/// (series index, time, flags, value) of all points in order.
pub fn points(batch: &PointBatch) -> Vec<(u32, i64, u8, Value)> {
    let (mut points, mut ints, mut floats) = (Vec::new(), batch.ints.iter(), batch.floats.iter());
    for segment in &batch.segments {
        for at in segment.start..segment.start + segment.len {
            let flags = batch.flags[at];
            let value =
                if flags & 8 == 0 { Value::Int(*ints.next().unwrap()) } else { Value::Float(*floats.next().unwrap()) };
            points.push((segment.series, batch.timestamps[at], flags, value));
        }
    }
    assert!(ints.next().is_none() && floats.next().is_none());
    points
}

impl Decoded {
    /// All cells from their sources, sorted.
    pub fn cells(&self) -> Vec<OwnedCell> {
        let out = &self.out;
        let mut cells: Vec<OwnedCell> = Vec::new();
        cells.extend(out.annotations.iter().map(|row| row.cell.clone()));
        cells.extend(out.histograms.iter().map(|row| row.cell.clone()));
        cells.extend(out.rollups.iter().map(|row| row.cell.clone()));
        cells.extend(out.uids.iter().map(|row| row.cell.clone()));
        cells.extend(out.meta.iter().map(|row| row.cell.clone()));
        cells.extend(out.tree.iter().map(|row| row.cell.clone()));
        cells.extend(out.raw.iter().map(|row| row.cell.clone()));
        let mut scratch = Scratch::default();
        for segment in crate::codec::merged_segments(&out.points).iter().filter(|segment| segment.exact) {
            let mut sink = |cell: Cell<'_>| cells.push(cell.to_owned());
            rebuild_segment(&out.points, segment, &self.layout, &mut scratch, &mut sink).unwrap();
        }
        cells.sort();
        cells
    }

    /// Checks that nothing is lost and nothing invented.
    pub fn assert_complete(&self, input: &[OwnedCell]) {
        let mut expected = input.to_vec();
        expected.sort();
        assert_eq!(self.cells(), expected);
        let mut hasher = CellHasher::new();
        let checksum = input.iter().fold(0_u64, |sum, cell| sum.wrapping_add(hasher.whole(&cell.as_cell())));
        assert_eq!((self.tally.cells, self.tally.checksum), (input.len() as u64, checksum));
        assert_eq!(self.tally.points, self.out.points.len() as u64);
        prove(&self.out.points, &self.layout).unwrap();
    }

    /// The reasons of the raw cells, in order.
    pub fn reasons(&self) -> Vec<RawReason> {
        self.out.raw.iter().map(|raw| raw.reason).collect()
    }
}

/// A small seeded generator (xorshift64*), so that every run tries the same bytes.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn layout(&mut self) -> KeyLayout {
        KeyLayout {
            metric_width: 1 + self.below(8) as u8,
            tagk_width: 1 + self.below(8) as u8,
            tagv_width: 1 + self.below(8) as u8,
            salt_width: self.below(9) as u8,
            salt_buckets: *self.pick(&[1, 2, 20, 300, 70_000, u32::MAX]),
        }
    }
}
