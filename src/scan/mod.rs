//! One shard of a table as pages of cells, statelessly: every page is a request of its own that starts behind the last
//! row that was handed out. That survives restarts of gateways and moving regions, and repeats exactly.
//!
//! The last row of a page is handed out only when it is known what follows it; [`seam`] says why.

mod error;
mod gap;
mod options;
mod order;
mod seam;
mod wanted;

pub use error::ScanError;
pub use gap::Blame;
pub use options::ScanOptions;
pub use wanted::{Wanted, WantedRows};

use crate::cluster::{Client, ClusterError, PageRequest, PageStats, hex};
use crate::model::{CellBlock, GapReason, KeyRange, successor};

/// Reads of the same page that may arrive in disorder before the shard is given up.
const DISORDER_LIMIT: u32 = 5;
/// A page with fewer rows is not shortened by its last one: reading that again would cost too much.
const SHORT_PAGE: usize = 32;
/// Growth of the rows per page from one page to the next.
const GROWTH: u32 = 2;
/// A page of more than this many times its size ends early: the rows became longer all of a sudden.
const OVERSIZE: usize = 2;

/// Reads a key range of a table page by page.
#[derive(Debug)]
pub struct ShardScan<'c> {
    client: &'c mut Client,
    table: String,
    /// What is left to read; `None` when nothing is.
    left: Option<KeyRange>,
    /// Pages end here although the range does not: the boundary of a region that they came back in disorder from.
    seam: Option<Vec<u8>>,
    options: ScanOptions,
    rows: u32,
}

impl<'c> ShardScan<'c> {
    /// A scan of the range; nothing is sent yet.
    pub fn new(client: &'c mut Client, table: impl Into<String>, range: KeyRange, options: ScanOptions) -> Self {
        let left = (!range.is_empty()).then_some(range);
        let rows = options.first_rows.clamp(1, options.max_rows.max(1));
        Self { client, table: table.into(), left, seam: None, options, rows }
    }

    /// The first key that was not handed out yet; `None` at the end of the range.
    pub fn position(&self) -> Option<&[u8]> {
        self.left.as_ref().map(|range| range.start.as_slice())
    }

    /// Rows that the next page asks for.
    pub fn page_rows(&self) -> u32 {
        self.rows
    }

    /// Reads the next page into `block`, replacing what was there. `None` ends the shard; a short page means nothing, nor
    /// does an empty one of a scan of wanted rows.
    ///
    /// # Errors
    /// [`ScanError`]; the position stays, so the call may be repeated.
    pub fn next_page(&mut self, block: &mut CellBlock) -> Result<Option<PageStats>, ScanError> {
        loop {
            let (Some(left), Some(part)) = (self.left.clone(), self.part()) else {
                self.left = None;
                block.clear();
                return Ok(None);
            };
            let stats = self.read(&part, block)?;
            let rows = block.row_count();
            let held_back = usize::from(rows >= SHORT_PAGE);
            block.truncate_rows(rows - held_back);
            let start = match block.row_count().checked_sub(1).and_then(|last| block.row(last)) {
                Some(last) => successor(last.key),
                // Behind a part that is not the last there may be others.
                None => self.seam.take().or_else(|| Some(part.stop.clone()).filter(|stop| !stop.is_empty())),
            };
            tracing::trace!(table = self.table, range = %part, rows, "page");
            self.left = start.map(|start| KeyRange::new(start, left.stop)).filter(|rest| !rest.is_empty());
            if let Some(WantedRows(wanted)) = &self.options.wanted {
                wanted.filter(block);
            }
            if rows > 0 {
                self.rows = next_rows(&self.options, stats.asked_rows, rows, stats.wire_bytes);
            }
            // Many parts may be empty: whoever reads is asked after each whether to go on.
            if rows > 0 || self.options.wanted.is_some() {
                return Ok(Some(stats));
            }
        }
    }

    /// The keys that the next page is of: what is left, or the first wanted part of it.
    fn part(&self) -> Option<KeyRange> {
        let left = self.left.as_ref()?;
        match &self.options.wanted {
            Some(WantedRows(wanted)) => wanted.next(left).filter(|part| !part.is_empty()),
            None => Some(left.clone()),
        }
    }

    /// Finds out what made the last page fail, and where the rows that did begin and end.
    ///
    /// # Errors
    /// The gateway's.
    pub fn find_gap(&mut self, error: &ScanError) -> Result<Blame, ScanError> {
        let cause = match error {
            ScanError::Cluster(cause) => cause,
            ScanError::Unreadable { source, .. } => source,
            ScanError::Disorder { .. } => return Ok(Blame::Cluster),
        };
        let (Some(reason), Some(left)) = (gap::reason(cause), self.part()) else { return Ok(Blame::Cluster) };
        let mut search = gap::Search { client: &mut *self.client, table: &self.table, options: &self.options };
        search.find(&left, self.rows, reason, cause)
    }

    /// Whether [`find_gap`](Self::find_gap) may find the rows to blame for an error.
    pub fn may_be_gap(error: &ScanError) -> bool {
        match error {
            ScanError::Cluster(cause) => gap::reason(cause).is_some(),
            ScanError::Unreadable { .. } => true,
            ScanError::Disorder { .. } => false,
        }
    }

    /// The same error with the first row that cannot be read instead of the first of the page, where finding it takes
    /// no long time.
    pub fn locate(&mut self, error: ScanError) -> ScanError {
        let (ScanError::Unreadable { table, source, .. }, Some(left)) = (&error, self.part()) else {
            return error;
        };
        // A file that HBase fails at costs a minute a look.
        if !source.is_out_of_order() {
            return error;
        }
        let mut search = gap::Search { client: &mut *self.client, table: &self.table, options: &self.options };
        match search.first_unreadable(&left, self.rows, GapReason::Unreadable) {
            Ok(Some(KeyRange { start: key, .. })) if !key.is_empty() => {
                let ScanError::Unreadable { table, source, .. } = error else { return error };
                ScanError::Unreadable { table, row: hex(&key), source }
            }
            Ok(_) => error,
            Err(other) => {
                tracing::debug!(table, %other, "the first row that cannot be read was not found");
                error
            }
        }
    }

    /// Ends the range in front of a key.
    pub fn end_at(&mut self, stop: &[u8]) {
        self.left =
            self.left.take().filter(|left| left.start.as_slice() < stop).map(|left| KeyRange::new(left.start, stop));
        self.seam = None;
    }

    /// Whether an error is about a table or its rows, and not about a gateway or a connection.
    pub fn is_damage(error: &ClusterError) -> bool {
        match error.cause() {
            ClusterError::Regions { .. } | ClusterError::TableDisabled { .. } => true,
            ClusterError::Lost { .. } | ClusterError::Rejected { .. } | ClusterError::TimedOut { .. } => false,
            _ => gap::reason(error).is_some(),
        }
    }

    fn unreadable(&self, error: ClusterError) -> ScanError {
        let row = match self.position() {
            None | Some([]) => "the beginning of the table".to_string(),
            Some(key) => hex(key),
        };
        ScanError::Unreadable { table: self.table.clone(), row, source: Box::new(error) }
    }

    /// Reads one page and checks it. A page in disorder is read again, because a flush or split under an old scanner can
    /// show such a page once, and only up to the end of its region, because a half of a split region can show it for long.
    fn read(&mut self, left: &KeyRange, block: &mut CellBlock) -> Result<PageStats, ScanError> {
        let families: Vec<&[u8]> = self.options.families.iter().map(Vec::as_slice).collect();
        let mut tries = 0;
        loop {
            let range = KeyRange::new(left.start.clone(), self.seam.as_ref().unwrap_or(&left.stop).clone());
            let mut request = PageRequest::new(&self.table, &range.start, &range.stop, self.rows);
            request.max_versions = self.options.max_versions;
            request.raw = self.options.raw;
            request.families = &families;
            request.most_bytes = self.options.page_bytes.saturating_mul(OVERSIZE);
            request.written_since = self.options.written_since;
            request.filter = match (self.options.keys_only, self.options.no_values) {
                (true, _) => Some(PageRequest::KEYS_ONLY),
                (false, true) => Some(PageRequest::NO_VALUES),
                (false, false) => None,
            };
            let stats = match self.client.scan_page(&request, block) {
                Err(error) if error.is_unreadable() => return Err(self.unreadable(error)),
                other => other?,
            };
            let mut checked = order::check(&range, block);
            if checked.is_ok() && block.row_count() < SHORT_PAGE {
                checked = match seam::check(self.client, &request, block) {
                    // The next page meets that row and names it.
                    Err(error) if error.is_unreadable() => Ok(()),
                    other => other?,
                };
            }
            let Err(what) = checked else { return Ok(stats) };
            tries += 1;
            tracing::warn!(table = self.table, %range, what, "page in disorder");
            if tries >= DISORDER_LIMIT {
                block.clear();
                return Err(ScanError::Disorder { table: self.table.clone(), range, what });
            }
            self.seam = seam::find(self.client, &self.table, left)?;
        }
    }
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
