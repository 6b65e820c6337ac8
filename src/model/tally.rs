//! Counts and an order-independent checksum of cells.
//!
//! The checksum of a set of cells is the wrapping 64-bit sum of one hash per cell, so it does not depend on the order
//! in which cells come, can be taken apart and added up again, and notices a cell that is doubled. The hash of a cell
//! is XXH3-64, with the XXH3-64 (seed 0) of the row key as its seed, over
//!
//! ```text
//! u8 family length | family | u32 LE qualifier length | qualifier | i64 LE timestamp | u8 type | value
//! ```
//!
//! XXH3 is no cryptographic hash: it proves that nothing was lost or changed by accident.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use crate::model::{Cell, CellBlock};

/// What a set of cells adds up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Rows, counted where a row begins.
    pub rows: u64,
    /// Cells, delete markers included.
    pub cells: u64,
    /// Points that the cells decode to.
    pub points: u64,
    /// Bytes of row keys (once per cell), families, qualifiers and values.
    pub bytes: u64,
    /// Wrapping sum of the cell hashes; written as 16 hex digits.
    #[serde(with = "hex64")]
    pub checksum: u64,
}

impl Tally {
    /// Adds another set. Recorded numbers may be anything: they end at the greatest one instead of wrapping.
    pub fn add(&mut self, other: &Tally) {
        self.rows = self.rows.saturating_add(other.rows);
        self.cells = self.cells.saturating_add(other.cells);
        self.points = self.points.saturating_add(other.points);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.checksum = self.checksum.wrapping_add(other.checksum);
    }

    /// Takes out cells that were added before. Rows and points stay: some of their cells may be left.
    pub fn remove(&mut self, cells: &Tally) {
        self.cells = self.cells.saturating_sub(cells.cells);
        self.bytes = self.bytes.saturating_sub(cells.bytes);
        self.checksum = self.checksum.wrapping_sub(cells.checksum);
    }

    /// Adds one cell, given its hash. Rows and points are counted by the caller.
    #[inline]
    pub fn add_cell(&mut self, cell: &Cell<'_>, hash: u64) {
        self.cells += 1;
        self.bytes += (cell.row.len() + cell.family.len() + cell.qualifier.len() + cell.value.len()) as u64;
        self.checksum = self.checksum.wrapping_add(hash);
    }

    /// True when both describe the same set of cells (points are an interpretation and are left out).
    pub fn same_cells(&self, other: &Tally) -> bool {
        (self.cells, self.bytes, self.checksum) == (other.cells, other.bytes, other.checksum)
    }
}

/// The sum of recorded numbers, which may be anything.
pub fn saturating_sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// Hashes cells, row by row.
#[derive(Debug, Clone, Default)]
pub struct CellHasher {
    seed: u64,
    scratch: Vec<u8>,
}

/// A value of 1, 2, 4 or 8 bytes in the upper end of a word.
#[inline]
fn word(value: &[u8]) -> Option<u64> {
    match *value {
        [a] => Some(u64::from(a) << 56),
        [a, b] => Some(u64::from(u16::from_be_bytes([a, b])) << 48),
        [a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d])) << 32),
        [a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

impl CellHasher {
    /// A hasher without a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the row of the cells that follow.
    #[inline]
    pub fn row(&mut self, key: &[u8]) {
        self.seed = xxh3_64(key);
    }

    /// The tally of a block of cells; points are not counted.
    pub fn block(&mut self, block: &CellBlock) -> Tally {
        let mut tally = Tally::default();
        for row in block.rows() {
            tally.rows += 1;
            self.row(row.key);
            for cell in row.iter() {
                let hash = self.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value);
                tally.add_cell(&cell, hash);
            }
        }
        tally
    }

    /// The hash of a cell of the row set before.
    #[inline]
    pub fn cell(&mut self, family: &[u8], qualifier: &[u8], timestamp: i64, kind: u8, value: &[u8]) -> u64 {
        if let ([family], [first, second]) = (family, qualifier)
            && let Some(word) = word(value)
        {
            return self.short([*family, kind], [*first, *second], timestamp, word, value.len());
        }
        self.any(family, qualifier, timestamp, kind, value)
    }

    /// The hash of a cell of the row set before with a family of one byte, a qualifier of two, and a value of `width` bytes,
    /// at most 8: the first bytes of `word`, big-endian. The commonest cell, in sizes that the compiler knows.
    #[inline]
    pub fn short(&self, [family, kind]: [u8; 2], qualifier: [u8; 2], timestamp: i64, word: u64, width: usize) -> u64 {
        let mut bytes = [0; 25];
        (bytes[0], bytes[1], bytes[2]) = (1, family, 2);
        bytes[6..8].copy_from_slice(&qualifier);
        bytes[8..16].copy_from_slice(&timestamp.to_le_bytes());
        bytes[16] = kind;
        bytes[17..25].copy_from_slice(&word.to_be_bytes());
        xxh3_64_with_seed(&bytes[..17 + width.min(8)], self.seed)
    }

    fn any(&mut self, family: &[u8], qualifier: &[u8], timestamp: i64, kind: u8, value: &[u8]) -> u64 {
        self.scratch.clear();
        self.scratch.push(family.len() as u8);
        self.scratch.extend_from_slice(family);
        self.scratch.extend_from_slice(&(qualifier.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(qualifier);
        self.scratch.extend_from_slice(&timestamp.to_le_bytes());
        self.scratch.push(kind);
        self.scratch.extend_from_slice(value);
        xxh3_64_with_seed(&self.scratch, self.seed)
    }

    /// Sets the row and hashes the cell.
    pub fn whole(&mut self, cell: &Cell<'_>) -> u64 {
        self.row(cell.row);
        self.cell(cell.family, cell.qualifier, cell.timestamp, cell.kind, cell.value)
    }
}

mod hex64 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a checksum is 16 hex digits"))
    }
}

/// What two values are taken to be equal by where they cannot be held: their XXH3-128.
pub fn value_hash(value: &[u8]) -> u128 {
    xxh3_128(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_hashes_the_same() {
        let mut hasher = CellHasher::new();
        hasher.row(b"some row");
        for width in 0..12 {
            let value = &b"\x80\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b"[..width];
            for (family, qualifier) in [(&b"t"[..], &b"\xf1\x02"[..]), (b"tt", b"ab"), (b"t", b"abc"), (b"", b"")] {
                let long = hasher.any(family, qualifier, -5, 4, value);
                assert_eq!(hasher.cell(family, qualifier, -5, 4, value), long, "{width} {family:?}");
            }
        }
        // From the definition: an independent XXH3 of the bytes.
        hasher.row(b"r");
        let bytes = [&[1, b't'][..], &2_u32.to_le_bytes(), b"qq", &7_i64.to_le_bytes(), &[4], b"v"].concat();
        assert_eq!(hasher.cell(b"t", b"qq", 7, 4, b"v"), xxh3_64_with_seed(&bytes, xxh3_64(b"r")));
    }
}
