//! One shard of a table as pages of cells, statelessly: every page is a request of its own that starts behind the last
//! row of the page before. That survives restarts of gateways and moving regions, and repeats exactly.

mod order;

use crate::cluster::{Client, ClusterError, PageRequest, PageStats, hex};
use crate::model::{CellBlock, KeyRange, Retry, successor};

/// Reads of the same page that may arrive in disorder before the shard is given up.
const DISORDER_LIMIT: u32 = 3;
/// Growth of the rows per page from one page to the next.
const GROWTH: u32 = 2;
/// A page of more than this many times its size ends early: the rows became longer all of a sudden.
const OVERSIZE: usize = 2;

/// Bytes per row from which on the rows of a page are confirmed by a second look at their keys.
///
/// HBase leaves out great rows now and then, without an error: the page that crossed into the new region of a split, while
/// that was being compacted, began with its ninth row (HBase 2.6.1, rows of 10 MiB, about one split in three under load).
/// A moment later the same request is answered rightly. Smaller rows were never seen to go missing.
const GREAT_ROW: u64 = 1 << 20;
/// Reads of a page of great rows that may disagree with their keys before the shard is given up.
const CONFIRM_LIMIT: u32 = 5;

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
        }
    }
}

/// Why a shard could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The gateway or HBase.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// HBase fails at a row: it has a negative timestamp, or its file is damaged.
    #[error(
        "table {table}: HBase cannot read the first row at or after {row}: {source}; a cell with a negative timestamp does \
             that, and `hbase hfile -p` or a raw scan of that row shows it; delete the row, or copy the rest of the table"
    )]
    BadRow {
        /// Table.
        table: String,
        /// Where it is, in hex; empty is the beginning of the table.
        row: String,
        /// The gateway's error.
        source: Box<ClusterError>,
    },
    /// A page that HBase cannot have meant: rows outside the range or out of order, again and again.
    #[error("table {table}, range {range}: {what}; the region may be damaged, or the gateway mixes up answers")]
    Disorder {
        /// Table.
        table: String,
        /// What was left of the range.
        range: KeyRange,
        /// What is wrong, with the row in hex.
        what: String,
    },
}

impl ScanError {
    /// True when the stop flag ended the scan.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Cluster(error) if error.is_interrupted())
    }

    /// Whether another try may succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Cluster(error) => error.retry(),
            Self::Disorder { .. } => Retry::Transient,
            Self::BadRow { .. } => Retry::Permanent,
        }
    }
}

/// Reads a key range of a table page by page.
#[derive(Debug)]
pub struct ShardScan<'c> {
    client: &'c mut Client,
    table: String,
    /// What is left to read; `None` when nothing is.
    left: Option<KeyRange>,
    options: ScanOptions,
    rows: u32,
}

impl<'c> ShardScan<'c> {
    /// A scan of the range; nothing is sent yet.
    pub fn new(client: &'c mut Client, table: impl Into<String>, range: KeyRange, options: ScanOptions) -> Self {
        let left = (!range.is_empty()).then_some(range);
        let rows = options.first_rows.clamp(1, options.max_rows.max(1));
        Self { client, table: table.into(), left, options, rows }
    }

    /// The first key that was not read yet; `None` at the end of the range.
    pub fn position(&self) -> Option<&[u8]> {
        self.left.as_ref().map(|range| range.start.as_slice())
    }

    /// Rows that the next page asks for.
    pub fn page_rows(&self) -> u32 {
        self.rows
    }

    /// Reads the next page into `block`, replacing what was there. `None` ends the shard; only an empty page does, a
    /// short one means nothing.
    ///
    /// # Errors
    /// [`ScanError`]; the position stays, so the call may be repeated.
    pub fn next_page(&mut self, block: &mut CellBlock) -> Result<Option<PageStats>, ScanError> {
        let Some(range) = &self.left else {
            block.clear();
            return Ok(None);
        };
        let stats = read(self.client, &self.table, range, &self.options, self.rows, block)?;
        let last = block.row_count().checked_sub(1).and_then(|last| block.row(last));
        let Some(last) = last else {
            tracing::debug!(table = self.table, %range, "no more rows");
            self.left = None;
            return Ok(None);
        };
        let rest = successor(last.key).map(|start| KeyRange::new(start, range.stop.clone()));
        self.left = rest.filter(|rest| !rest.is_empty());
        self.rows = next_rows(&self.options, stats.asked_rows, block.row_count(), stats.wire_bytes);
        Ok(Some(stats))
    }
}

/// Reads one page and checks it; a page in disorder is read again, because a flush or split under an old scanner can
/// show such a page once.
fn read(
    client: &mut Client,
    table: &str,
    range: &KeyRange,
    options: &ScanOptions,
    rows: u32,
    block: &mut CellBlock,
) -> Result<PageStats, ScanError> {
    let families: Vec<&[u8]> = options.families.iter().map(Vec::as_slice).collect();
    let mut request = PageRequest::new(table, &range.start, &range.stop, rows);
    request.max_versions = options.max_versions;
    request.raw = options.raw;
    request.families = &families;
    request.most_bytes = options.page_bytes.saturating_mul(OVERSIZE);
    request.filter = options.keys_only.then_some(PageRequest::KEYS_ONLY);
    let mut tries = 0;
    loop {
        let stats = match client.scan_page(&request, block) {
            Err(error) if error.tells_of_a_bad_row() => return Err(bad_row(client, request, block, error)),
            other => other?,
        };
        let checked = order::check(range, block);
        let limit = if checked.is_err() { DISORDER_LIMIT } else { CONFIRM_LIMIT };
        let Err(what) = checked.and(confirm(client, &request, stats.wire_bytes, block)?) else { return Ok(stats) };
        tries += 1;
        tracing::warn!(table, %range, what, "page in disorder");
        if tries >= limit {
            block.clear();
            return Err(ScanError::Disorder { table: table.to_owned(), range: range.clone(), what });
        }
    }
}

/// Looks whether no row is missing between the great rows of a page: their keys, asked for alone, are the same.
fn confirm(
    client: &mut Client,
    request: &PageRequest<'_>,
    bytes: u64,
    block: &CellBlock,
) -> Result<Result<(), String>, ScanError> {
    let rows = block.row_count();
    if rows == 0 || bytes / (rows as u64) < GREAT_ROW || request.filter.is_some() {
        return Ok(Ok(()));
    }
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    let filter = Some(PageRequest::KEYS_ONLY);
    let mut keys = CellBlock::new();
    client.scan_page(&PageRequest { rows, filter, max_versions: 1, ..*request }, &mut keys)?;
    let same = block.rows().zip(keys.rows()).all(|(row, key)| row.key == key.key);
    // Fewer keys than asked for are a right answer to a page; more rows than keys are none of theirs.
    Ok(if same && keys.row_count() > 0 { Ok(()) } else { Err("a second look finds other rows".into()) })
}

/// Finds the row that HBase fails at by reading ever fewer rows in front of it.
fn bad_row(client: &mut Client, mut request: PageRequest<'_>, block: &mut CellBlock, error: ClusterError) -> ScanError {
    let (table, end, mut start) = (request.table.to_owned(), request.stop.to_vec(), request.start.to_vec());
    while request.rows > 1 {
        request.rows /= 2;
        let ahead = PageRequest { start: &start, stop: &end, ..request };
        match client.scan_page(&ahead, block) {
            Ok(_) => {
                let last = block.row_count().checked_sub(1).and_then(|last| block.row(last));
                let Some(next) = last.and_then(|last| successor(last.key)) else { break };
                start = next;
            }
            Err(other) if other.tells_of_a_bad_row() => {}
            Err(other) => return other.into(),
        }
    }
    block.clear();
    ScanError::BadRow { table, row: hex(&start), source: Box::new(error) }
}

/// Rows for the next page: as many as fill the page by the size of the rows just read, at most twice as many as now.
fn next_rows(options: &ScanOptions, asked: u32, got: usize, bytes: u64) -> u32 {
    let fitting = (options.page_bytes as u64).saturating_mul(got as u64) / bytes.max(1);
    let most = options.max_rows.min(asked.saturating_mul(GROWTH)).max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_and_shrink_with_the_rows() {
        let options = ScanOptions { page_bytes: 1000, max_rows: 500, ..ScanOptions::default() };
        assert_eq!(next_rows(&options, 10, 10, 100), 20, "at most twice as many");
        assert_eq!(next_rows(&options, 400, 400, 400), 500, "the limit");
        assert_eq!(next_rows(&options, 100, 100, 10_000), 10, "as many as fit");
        assert_eq!(next_rows(&options, 10, 1, 1 << 30), 1, "never none");
        assert_eq!(next_rows(&options, u32::MAX, 1, 1), 500);
    }
}
