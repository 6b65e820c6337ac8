//! How a shard is read.

use crate::scan::WantedRows;

/// How a shard is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Versions of each column; `i32::MAX` for all of them.
    pub max_versions: i32,
    /// Delete markers and deleted cells too.
    pub raw: bool,
    /// Bytes of a reply to aim at.
    pub page_bytes: usize,
    /// Rows of the first page, before their size is known.
    pub first_rows: u32,
    /// Rows of a page at most.
    pub max_rows: u32,
    /// Only these families; empty is all.
    pub families: Vec<Vec<u8>>,
    /// Row keys only: the first cell of each row, without its value.
    pub keys_only: bool,
    /// All cells, without their values.
    pub no_values: bool,
    /// Only cells with this timestamp in ms or a later one; a Thrift1 gateway cannot, and returns all.
    pub written_since: Option<i64>,
    /// Only these rows; `None` is all.
    pub wanted: Option<WantedRows>,
}

impl ScanOptions {
    /// Row keys, `rows` of them in the first page.
    pub fn keys_only(rows: u32) -> Self {
        Self { first_rows: rows, keys_only: true, ..Self::default() }
    }
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            max_versions: 1,
            raw: false,
            page_bytes: 4 << 20,
            first_rows: 200,
            max_rows: 20_000,
            families: Vec::new(),
            keys_only: false,
            no_values: false,
            written_since: None,
            wanted: None,
        }
    }
}
