//! Counts and an order-independent checksum of cells.
//!
//! The checksum of a set of cells is the wrapping 64-bit sum of one hash per cell, so it does not depend on the order
//! in which cells come, can be taken apart and added up again, and notices a cell that is doubled. The hash of a cell
//! is XXH3-64 with seed 0 over
//!
//! ```text
//! u32 LE row length | row | u8 family length | family | u32 LE qualifier length | qualifier |
//! i64 LE timestamp | u8 type | value
//! ```
//!
//! XXH3 is no cryptographic hash: it proves that nothing was lost or changed by accident.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::model::Cell;

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

/// Hashes cells; keeps the encoded row key between the cells of one row.
#[derive(Debug, Clone, Default)]
pub struct CellHasher {
    scratch: Vec<u8>,
    row_len: usize,
}

impl CellHasher {
    /// A hasher without a row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the row of the cells that follow.
    pub fn row(&mut self, key: &[u8]) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(key);
        self.row_len = self.scratch.len();
    }

    /// The hash of a cell of the row set before.
    #[inline]
    pub fn cell(&mut self, family: &[u8], qualifier: &[u8], timestamp: i64, kind: u8, value: &[u8]) -> u64 {
        self.scratch.truncate(self.row_len);
        self.scratch.push(family.len() as u8);
        self.scratch.extend_from_slice(family);
        self.scratch.extend_from_slice(&(qualifier.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(qualifier);
        self.scratch.extend_from_slice(&timestamp.to_le_bytes());
        self.scratch.push(kind);
        self.scratch.extend_from_slice(value);
        xxh3_64(&self.scratch)
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
